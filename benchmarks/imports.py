"""Imports: seconds in a fresh process, beside what they stand on, and beside tsai.

    python -m benchmarks.imports [--repeats 7] [--no-peers]

Each statement has a process of its own each time; all take turns, and the first round does not count (it fills the disk's cache). The
starting of Python is not counted. Goal: `tsfast.all` costs at most half a second more than `fastai.basics`; `import tsfast` costs
nothing. `more` is the median over turns of the difference; the columns with `cpu` count only the time that the process had a core.
"""
import argparse, statistics, subprocess, sys

from benchmarks.common import environ, median, peer, write

QUICK = ['--repeats', '3']

# statement: what it is compared with, and how many seconds it may cost beyond that
OWN = {'import torch': (None, None), 'from fastai.basics import *': (None, None), 'import tsfast': (None, .01),
       'from tsfast.all import *': ('from fastai.basics import *', .5),
       'from tsfast.basics import *': ('from fastai.basics import *', .5),
       'from tsfast.models.inception_time import InceptionTime': ('import torch', .1)}
TSAI = {'from tsai.basics import *': ('from fastai.basics import *', None), 'from tsai.all import *': ('from fastai.basics import *', None)}


MEASURED = """
def _measured():
    import time
    t, c = time.perf_counter(), time.process_time()
    exec({code}, {{}})
    print('@', time.perf_counter() - t, time.process_time() - c)
_measured()
"""

def seconds(exe, code, own):
    "Of one import in a fresh process, by the clock and of the processor; None where it fails"
    measured = MEASURED.format(code=repr(code))
    r = subprocess.run([exe, '-W', 'ignore', '-c', measured], env=environ(1, own), capture_output=True, text=True)
    return tuple(map(float, r.stdout.rsplit('@', 1)[1].split())) if not r.returncode and '@' in r.stdout else None


def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks.imports', description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--repeats', type=int, default=15); p.add_argument('--no-peers', action='store_true')
    a = p.parse_args(argv)
    exe = None if a.no_peers else peer('tsai')
    turns = [(sys.executable, o, True) for o in OWN] + ([(exe, o, False) for o in TSAI] if exe else [])
    res = {o: [] for _, o, _ in turns}
    for i in range(1 + a.repeats):
        for e, code, own in turns:
            s = seconds(e, code, own)
            if s is None and own: sys.exit(f'{code!r} fails')
            if i: res[code].append(s)
    rows = []
    for code, (other, goal) in {**OWN, **TSAI}.items():
        ss = res.get(code)
        if ss is None: continue
        if None in ss: rows.append(dict(statement=code, seconds='fails')); continue
        more = lambda i: f'{statistics.median(x[i] - y[i] for x, y in zip(ss, res[other])):.3f}' if other else ''
        rows.append(dict(statement=code, seconds=f'{median(ss):.3f}', cpu=f'{median(ss, 1):.3f}', more=more(0), more_cpu=more(1),
                         than=other or '', goal='' if goal is None else goal))
    write('imports', rows, repeats=a.repeats)


if __name__ == '__main__': main()
