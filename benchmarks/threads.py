"""Threads beside a busy process: how much slower training becomes, and what the settings of the command `tsfast` make of it.

    python -m benchmarks.threads [--repeats 3] [--threads 1 2] [--cores 2]

Each figure is the median over processes that are started anew, alone and beside one process that keeps a core busy; with as many cores as
`--cores` says (on Linux), so that the busy process is in the way. `plain import` is a step of InceptionTime (64 x 1 x 136, forward,
backward and optimiser) as torch comes; `idle threads sleep` is the same with the variables that the command `tsfast`, `make` and
`docs/build.py` set (the last two with one thread). `tsfast train` is the training of a run on GunPoint, in seconds an epoch, with the
number of threads that the command takes; `tsfast train, nothing set` is the same without its settings. `slowdown` is busy/alone;
`to_one_thread` is busy/alone with one thread. Goal for what the command sets: at most 1.5 times one thread that is alone.
"""
import argparse, os, statistics, subprocess, sys, tempfile
from contextlib import contextmanager

from benchmarks.common import HERE, write
from tsfast.threads import set_thread_defaults

QUICK = ['--repeats', '1']

STEP = '''
import sys, time, torch
from torch.nn import functional as F
from tsfast.models.inception_time import InceptionTime
torch.manual_seed(0)
model, x, y = InceptionTime(1, 2), torch.randn(64, 1, 136), torch.randint(0, 2, (64,))
opt = torch.optim.AdamW(model.parameters())
def step(): F.cross_entropy(model(x), y).backward(); opt.step(); opt.zero_grad()
step(); start, n = time.perf_counter(), 0
while n < 3 or n < 20 and time.perf_counter() - start < 2: step(); n += 1
print((time.perf_counter() - start)/n)
'''
RUN = '''
import sys
from tsfast.cli import main, parsing, run as cli
if {plain}: parsing.set_thread_defaults = dict
fit = cli._fit
def timed(*args): s = fit(*args); print('@', s); return s
cli._fit = timed
sys.exit(main(sys.argv[1:]))
'''
BUSY = 'import os; parent = os.getppid()\nwhile os.getppid() == parent: sum(range(10**6))'    # ends with the benchmark, however that ends


def environ(**env):
    "The environment of a process in which nobody has asked for threads, but for `env`"
    env = {k: v for k, v in os.environ.items() if not k.startswith(('OMP_', 'GOMP_', 'KMP_', 'MKL_', 'NUMBA_'))} | env
    return {**env, 'MPLBACKEND': 'Agg', 'PYTHONPATH': os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get('PYTHONPATH')])])}

def output(code, *args, **env): return subprocess.run([sys.executable, '-W', 'ignore', '-c', code, *args], env=environ(**env),
                                                      capture_output=True, text=True, check=True).stdout

def sets(threads):
    "The variables that the command would set for so many threads"
    before = dict(os.environ)
    try:
        os.environ.clear(); os.environ.update(environ())
        return set_thread_defaults(threads)
    finally: os.environ.clear(); os.environ.update(before)

def step(**env): return float(output(STEP, **env))

def train(plain=False, epochs=3, **env):
    with tempfile.TemporaryDirectory() as d:
        out = output(RUN.format(plain=plain), 'train', 'GunPoint', '--epochs', str(epochs), '--bs', '16', '--device', 'cpu', '--out',
                     d + '/run', **env)
        return float(out.rpartition('@')[2].split()[0])/epochs

@contextmanager
def neighbours(n):
    "So many processes that keep a core busy"
    ps = [subprocess.Popen([sys.executable, '-c', BUSY]) for _ in range(n)]
    try: yield
    finally:
        for p in ps: p.kill(); p.wait()


def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks.threads', description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--repeats', type=int, default=3)
    p.add_argument('--threads', type=int, nargs='+', default=[1, 2]); p.add_argument('--cores', type=int, default=2)
    a = p.parse_args(argv)
    # for the processes started from here on
    if hasattr(os, 'sched_setaffinity'): os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:a.cores])
    cases = {('plain import', t): lambda t=t: step(OMP_NUM_THREADS=str(t)) for t in a.threads}
    cases |= {('idle threads sleep', t): lambda t=t: step(**sets(t)) for t in a.threads}
    cases |= {('tsfast train, nothing set', t): lambda t=t: train(True, OMP_NUM_THREADS=str(t)) for t in (1, max(a.threads))}
    n = int(sets(None)['OMP_NUM_THREADS'])
    cases |= {('tsfast train', n): train}
    times = {(*k, busy): [] for k in cases for busy in (0, 1)}
    for _ in range(a.repeats):
        for busy in (0, 1):
            with neighbours(busy):
                for k, f in cases.items(): times[*k, busy].append(f())
    med = {k: statistics.median(v) for k, v in times.items()}
    rows = []
    for what, t in cases:
        alone, busy = med[what, t, 0], med[what, t, 1]
        one = med['tsfast train, nothing set' if 'train' in what else 'plain import', 1, 0]
        goal = 1.5 if what in ('idle threads sleep', 'tsfast train') else ''
        rows.append(dict(what=what, threads=t, unit='an epoch' if 'train' in what else 'a step', alone=f'{alone:.3f}', busy=f'{busy:.3f}',
                         slowdown=f'{busy/alone:.2f}', to_one_thread=f'{busy/one:.2f}', goal=goal))
    write('threads', rows, usable_cores=a.cores, repeats=a.repeats)


if __name__ == '__main__': main()
