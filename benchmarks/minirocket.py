"""MiniRocket's transform beside aeon's, sktime's and tsai's, and MultiRocket's beside sktime's: seconds in one run, on the CPU.

    python -m benchmarks.minirocket [--threads 1 2] [--repeats 7] [--libraries tsfast aeon sktime tsai] [--out benchmarks/results/minirocket.csv]

aeon and tsai are installed into virtual environments of their own on the first run; sktime is a dependency. Each library has a process of its own
for each shape and number of threads. One call does not count (it compiles); then the libraries take turns, and the median over the repeats is reported.
A last row tells how long the first call takes with an empty cache of compiled code, and in a second process.
"""
import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.common import peer

SHAPES = [(884, 1, 136), (1000, 1, 500), (200, 6, 100)]

# Transforms once for each line that it reads, and answers with the seconds
WORKER = '''
import json, resource, sys, time, warnings; warnings.simplefilter('ignore')
import numpy as np
kind, n, C, L, threads = sys.argv[1], *map(int, sys.argv[2:6])
X = np.random.default_rng(0).standard_normal((n, C, L)).astype('float32')
if kind.startswith('tsfast'):
    import torch; torch.set_num_threads(threads)
    from tsfast.models.minirocket import MiniRocketFeatures
    from tsfast.models.multirocket import MultiRocketFeatures
    m = (MultiRocketFeatures if 'multi' in kind else MiniRocketFeatures)(C, L, random_state=0, backend='torch' if 'torch' in kind else 'auto').fit(X); x = torch.from_numpy(X); f = lambda: m(x)
elif kind == 'tsai':
    import torch; torch.set_num_threads(threads)
    from tsai.models.MINIROCKET_Pytorch import MiniRocketFeatures, get_minirocket_features
    m = MiniRocketFeatures(C, L, random_state=0); m.fit(X); f = lambda: get_minirocket_features(X, m, use_cuda=False)
elif kind.startswith('sktime'):
    from sktime.transformations import rocket
    m = getattr(rocket, ('MultiRocket' if 'multi' in kind else 'MiniRocket') + 'Multivariate'*(C > 1))(random_state=0, n_jobs=threads)
    X = X.astype('float64') if 'multi' in kind and C > 1 else X
    m.fit(X); m.reset_config() if hasattr(m, 'reset_config') else None; f = lambda: m._transform(X)
else:
    from aeon.transformations.collection.convolution_based import MiniRocket
    m = MiniRocket(random_state=0, n_jobs=threads).fit(X); f = lambda: m.transform(X)
t = time.perf_counter(); f(); print(json.dumps(dict(first=time.perf_counter() - t)), flush=True)
for _ in sys.stdin:
    t = time.perf_counter(); f()
    print(json.dumps(dict(seconds=time.perf_counter() - t, peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)), flush=True)
'''


class Worker:
    def __init__(self, exe, kind, shape, threads, env):
        env = dict(env, OMP_NUM_THREADS=str(threads), NUMBA_NUM_THREADS=str(threads))
        if kind in ('aeon', 'tsai'): env.pop('PYTHONPATH')
        self.kind = kind
        self.p = subprocess.Popen([exe, '-c', WORKER, kind, *map(str, shape), str(threads)], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.seconds, self.first, self.peak_mb = [], self.answer()['first'], 0

    def answer(self):
        while line := self.p.stdout.readline():
            if line.startswith('{'): return json.loads(line)
        sys.exit(f'{self.kind} stopped; its message is above')

    def run(self):
        self.p.stdin.write('\n'); self.p.stdin.flush()
        o = self.answer()
        self.seconds.append(o['seconds']); self.peak_mb = o['peak_mb']

    def close(self):
        self.p.stdin.close(); self.p.wait()


def measure(kinds, python, shape, threads, repeats, env):
    "Rows of one shape: every library in its own process, in turns"
    ws = [Worker(python[k.split('-')[0]], k, shape, threads, env) for k in kinds]
    slow = {w.kind for w in ws if w.first > 20 and w.kind == 'tsai'}
    for i in range(repeats):
        for w in ws:
            if w.kind not in slow or i < 2: w.run()
    for w in ws: w.close()
    t = {w.kind: statistics.median(w.seconds) for w in ws}
    own = {k: 'tsfast-multi' if 'multi' in k else 'tsfast' for k in t}
    return [dict(shape=' x '.join(map(str, shape)), threads=threads, library=w.kind, seconds=round(t[w.kind], 4), fastest=round(min(w.seconds), 4), times_tsfast=round(t[w.kind] / t[own[w.kind]], 2),
                 repeats=len(w.seconds), peak_mb=w.peak_mb) for w in ws]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--threads', type=int, nargs='+', default=[1, 2])
    p.add_argument('--repeats', type=int, default=7)
    p.add_argument('--libraries', nargs='+', default=['tsfast', 'tsfast-torch', 'aeon', 'sktime', 'tsai', 'tsfast-multi', 'sktime-multi'])
    p.add_argument('--out', type=Path, default=Path(__file__).parent/'results'/'minirocket.csv')
    a = p.parse_args()
    kinds = list(dict.fromkeys(['tsfast', *(['tsfast-multi'] if 'sktime-multi' in a.libraries else []), *a.libraries]))
    python = {'tsfast': sys.executable, 'sktime': sys.executable} | {k: e for k in ('aeon', 'tsai') if k in kinds and (e := peer(k))}
    kinds = [k for k in kinds if k.split('-')[0] in python]
    env = {**os.environ, 'PYTHONPATH': str(Path(__file__).resolve().parents[1])}
    rows = []
    for shape in SHAPES:
        for threads in a.threads:
            rows += measure(kinds, python, shape, threads, a.repeats, env)
            for r in rows[-len(kinds):]: print(*r.values(), sep='\t', flush=True)
    with tempfile.TemporaryDirectory() as cache:
        for what in ('first call, empty cache', 'first call, second process'):
            w = Worker(sys.executable, 'tsfast', (16, 1, 136), 1, dict(env, NUMBA_CACHE_DIR=cache)); w.close()
            rows.append(dict(shape='16 x 1 x 136', threads=1, library=f'tsfast, {what}', seconds=round(w.first, 3))); print(*rows[-1].values(), sep='\t')
    a.out.parent.mkdir(parents=True, exist_ok=True)
    for r in rows: r['machine'] = f'{platform.machine()}, {os.cpu_count()} cores'
    with a.out.open('w', newline='') as f:
        w = csv.DictWriter(f, rows[0].keys()); w.writeheader(); w.writerows(rows)
    print(f'{a.out}: {len(rows)} rows')


if __name__ == '__main__': main()
