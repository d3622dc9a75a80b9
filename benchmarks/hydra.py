"""Hydra's transform beside tsai's and aeon's: seconds and peak memory, in one run, on the CPU.

    python -m benchmarks.hydra [--threads 1 2] [--repeats 5] [--libraries aeon tsai] [--out benchmarks/results/hydra.csv]

The peers are installed into virtual environments of their own on the first run. Each timing runs in a process of its own,
after one call that does not count (it compiles); implementations take turns, and the median over the repeats is reported. `cpu_s` is the time that the process had a core: on a busy machine it is the fairer figure.
"""
import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.common import peer

SHAPES = [(884, 1, 136), (1000, 1, 500), (200, 6, 100)]

# A worker: reads (n, C, L), threads and repeats; prints seconds of each repeat, and the peak memory of the process
WORKER = '''
import json, resource, sys, time, warnings; warnings.simplefilter('ignore')
import numpy as np, torch
kind, n, C, L, threads, repeats = sys.argv[1], *map(int, sys.argv[2:7])
torch.set_num_threads(threads)
X = np.random.default_rng(0).standard_normal((n, C, L)).astype('float32'); x = torch.from_numpy(X)
if kind.startswith('tsfast'):
    from tsfast.models.hydra import HydraBackbonePlus
    m = HydraBackbonePlus(C, 2, L, random_state=0, backend='torch' if kind.endswith('torch') else 'numba'); f = lambda: m(x)
elif kind == 'tsai':
    from tsai.models.HydraPlus import HydraBackbonePlus
    m = HydraBackbonePlus(C, 2, L); f = lambda: m(x)
else:
    from aeon.transformations.collection.convolution_based import HydraTransformer
    m = HydraTransformer(n_jobs=threads, random_state=0).fit(X); f = lambda: m.transform(X)
with torch.no_grad():
    t = time.perf_counter(); z = f(); first = time.perf_counter() - t
    seconds, cpu = [], []
    for _ in range(repeats): t, c = time.perf_counter(), time.process_time(); f(); seconds.append(time.perf_counter() - t); cpu.append(time.process_time() - c)
print(json.dumps(dict(seconds=seconds, cpu=cpu, first=first, features=int(np.prod(z.shape[1:])), peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024, torch=torch.__version__)))
'''


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--threads', type=int, nargs='+', default=[1, 2])
    p.add_argument('--repeats', type=int, default=5)
    p.add_argument('--libraries', nargs='+', default=['aeon', 'tsai'])
    p.add_argument('--out', type=Path, default=Path(__file__).parent/'results'/'hydra.csv')
    a = p.parse_args()
    python = {'tsfast': sys.executable, 'tsfast, plain torch': sys.executable, **{k: e for k in a.libraries if (e := peer(k))}}
    env = {**os.environ, 'PYTHONPATH': str(Path(__file__).resolve().parents[1])}
    rows = []
    for shape in SHAPES:
        for threads in a.threads:
            got = {}
            for _ in range(a.repeats):           # in turns, so that a busy moment of the machine hits all alike
                for kind, exe in python.items():
                    e = dict(env, OMP_NUM_THREADS=str(threads), NUMBA_NUM_THREADS=str(threads))
                    if not kind.startswith('tsfast'): e.pop('PYTHONPATH')
                    out = subprocess.run([exe, '-c', WORKER, kind, *map(str, shape), str(threads), '1'], env=e, capture_output=True, text=True)
                    if out.returncode: sys.exit(f'{kind}: {out.stderr[-2000:]}')
                    got.setdefault(kind, []).append(json.loads(out.stdout.strip().splitlines()[-1]))
            t = {k: statistics.median(s for o in v for s in o['seconds']) for k, v in got.items()}
            c = {k: statistics.median(s for o in v for s in o['cpu']) for k, v in got.items()}
            for kind, v in got.items():
                rows.append(dict(shape=' x '.join(map(str, shape)), threads=threads, library=kind, seconds=round(t[kind], 4), times_tsfast=round(t[kind] / t['tsfast'], 1), cpu_s=round(c[kind], 4), cpu_times_tsfast=round(c[kind] / c['tsfast'], 1),
                                 features=v[0]['features'], first_call=round(statistics.median(o['first'] for o in v), 3), peak_mb=round(max(o['peak_mb'] for o in v)), torch=v[0]['torch'],
                                 cpu=platform.processor() or platform.machine(), cores=os.cpu_count()))
                print(rows[-1], flush=True)
    a.out.parent.mkdir(parents=True, exist_ok=True)
    with open(a.out, 'w', newline='') as f:
        w = csv.DictWriter(f, rows[0]); w.writeheader(); w.writerows(rows)


if __name__ == '__main__': main()
