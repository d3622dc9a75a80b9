"""What the benchmarks share: peers in environments of their own, contenders that take turns, medians, CSV rows and a table"""
import csv, json, os, platform, re, statistics, subprocess, sys, time
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = Path(os.environ.get('TSFAST_BENCH_RESULTS') or HERE/'results')      # the quick round writes elsewhere
VENVS = HERE.parent/'build'/'peers'                                           # `build` is not in git
PEERS = {'tsai': ['tsai==1.0.1'], 'aeon': ['aeon==1.6.0', 'torch']}


# ---- peers

def peer(name, packages=None):
    """The Python of a peer's own environment, made on first use; None, with the reason on stderr, where it cannot be installed.

    tsfast's environment stays as it is"""
    folder = VENVS/name
    exe, ready = folder/('Scripts/python.exe' if os.name == 'nt' else 'bin/python'), folder/'ready'
    if ready.exists(): return str(exe)
    print(f'Installing {name} into {folder.relative_to(HERE.parent)} …', file=sys.stderr, flush=True)
    try:
        subprocess.run([sys.executable, '-m', 'venv', '--clear', folder], check=True)
        r = subprocess.run([exe, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', *(packages or PEERS[name])],
                           capture_output=True, text=True, timeout=1800)
        if r.returncode: raise OSError((r.stderr.strip().splitlines() or ['pip failed'])[-1])
    except (OSError, subprocess.SubprocessError) as e:
        print(f'{name} is left out: {e}', file=sys.stderr)
        return None
    ready.touch()
    return str(exe)

def environ(threads, own=True):
    "Environment variables of a process with that many threads; with the checkout on its path if it is to see tsfast"
    env = {**os.environ, **{f'{k}_NUM_THREADS': str(threads) for k in ('OMP', 'MKL', 'NUMBA')}, 'MPLBACKEND': 'Agg'}
    if own: env['PYTHONPATH'] = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get('PYTHONPATH')])])
    else: env.pop('PYTHONPATH', None)
    return env


# ---- contenders

PRELUDE = '''
import json, statistics, sys, time, warnings; warnings.simplefilter('ignore')
def answer(**o): print('\\n@' + json.dumps(o), flush=True)
base = None     # memory before the work began, where a contender sets it
def peak_mb():
    "Most memory that this process has had so far"
    try: import resource
    except ImportError: return None     # Windows
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024**2 if sys.platform == 'darwin' else 1024)
def serve(contenders):
    "For each name on stdin: run that contender once, and answer with seconds a unit of work: by the clock, and of the processor"
    versions = {k: sys.modules[k].__version__ for k in ('torch', 'numba') if k in sys.modules}
    answer(ready=sorted(contenders), versions=versions)
    for name in map(str.strip, sys.stdin):
        t, c = time.perf_counter(), time.process_time()
        units = contenders[name]()
        t, c = time.perf_counter() - t, time.process_time() - c
        answer(seconds=t/units, cpu=c/units, added_mb=None if base is None else peak_mb() - base)
'''

class Worker:
    "A process that holds some contenders and runs one when asked"
    added_mb = None   # by how much the peak has risen, after the last run
    def __init__(self, exe, code, config, threads, own=True, **env):
        self.p = subprocess.Popen([exe, '-c', PRELUDE + f'\nconfig = json.loads({json.dumps(config)!r})\n' + code],
                                  env={**environ(threads, own), **env}, cwd=HERE.parent,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE if not own else None, text=True)
    def read(self):
        while line := self.p.stdout.readline():
            if line.startswith('@'): return json.loads(line[1:])
        self.p.wait()
        raise OSError(((self.p.stderr.read() if self.p.stderr else '').strip().splitlines()
                       or ['the process ended; its message is above'])[-1])
    def run(self, name):
        self.p.stdin.write(name + '\n'); self.p.stdin.flush()
        o = self.read()
        self.added_mb = o['added_mb']
        return o['seconds'], o['cpu']
    def close(self): self.p.stdin.close(); self.p.wait()

def in_turns(workers, repeats, warm=1):
    """`{contender: [(seconds, seconds of the processor)]}`.

    All contenders of all workers run one after the other in each round, so that a busy machine slows all of them alike. The first rounds do
    not count"""
    turns = [(w, n) for w, names in workers for n in names]
    res = {n: [] for _, n in turns}
    for i in range(warm + repeats):
        for w, n in turns:
            s = w.run(n)
            if i >= warm: res[n].append(s)
    return res

def median(turns, i=0):
    "Median over turns, by the clock (0) or of the processor (1)"
    return statistics.median(o[i] for o in turns)

def ratio(a, b, i=0):
    "Median of the ratios of each round: what slows a round slows both"
    return statistics.median(x[i]/y[i] for x, y in zip(a, b))


# ---- results

def processor():
    "Maker of the processor and its widest vectors"
    try: info = Path('/proc/cpuinfo').read_text()
    except OSError: return platform.processor()
    made = re.search(r'vendor_id\s*: (\w+)', info)
    wide = [k for k in ('amx_bf16', 'avx512_bf16', 'avx512f', 'avx2') if k in info]
    return ' '.join(([made[1]] if made else []) + wide[:1])

def machine(): return ', '.join(filter(None, [f"{platform.machine()} {platform.system()}", f"{os.cpu_count()} cores", processor()]))

def write(name, rows, keep_others=False, **same):
    """`results/<name>.csv`, made anew; columns in `same` are the same in all rows. Prints the table too.

    With `keep_others` the rows of other machines stay"""
    RESULTS.mkdir(parents=True, exist_ok=True)
    rows = [{**r, **same, 'machine': machine(), 'date': time.strftime('%Y-%m-%d')} for r in rows]
    others = []
    if keep_others and (RESULTS/f'{name}.csv').exists():
        with open(RESULTS/f'{name}.csv', newline='', encoding='utf-8') as f:
            others = [r for r in csv.DictReader(f) if r['machine'] != machine()]
    new, rows = rows, others + rows
    fields = list(dict.fromkeys(k for r in rows for k in r))
    with open(RESULTS/f'{name}.csv', 'w', newline='', encoding='utf-8') as f:
        w = csv.DictWriter(f, fields, lineterminator='\n', restval=''); w.writeheader(); w.writerows(rows)
    print(markdown([{k: r[k] for k in r if k not in ('machine', 'date', *same)} for r in new]), flush=True)

def markdown(rows):
    "Rows as a Markdown table"
    cols = list(dict.fromkeys(k for r in rows for k in r))
    line = lambda o: '| ' + ' | '.join(map(str, o)) + ' |'
    return '\n'.join([line(cols), '|' + '---|'*len(cols), *(line(r.get(k, '') for k in cols) for r in rows)]) + '\n'
