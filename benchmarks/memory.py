"""Peak private memory while data on the disk is read: statistics, an epoch, a closed-form head, predictions.

    python -m benchmarks.memory [--gb 0.25 4] [--formats npy zarr h5 parquet] [--folder DIR] [--workers 0 2]

Files of random series (3 channels, 1000 steps, float32) are made in a temporary folder below DIR, one at a time. Each format and size is
read in a process of its own. `peak_mb` is the highest private memory (`RssAnon`, looked at every 2 ms) above that after the
imports; `worker_mb` is the highest of one worker process (its private pages, looked at every 20 ms). glibc is told to give back what is
freed at once, and Arrow to take its memory from glibc, so that the figures are of what is in use. Linux alone: it reads /proc."""
import argparse, sys, tempfile
from pathlib import Path

import numpy as np

from benchmarks.common import Worker, write

QUICK = ['--gb', '0.05', '0.2', '--workers', '0']

C, L, ROWS = 3, 1000, 500       # channels, steps, series in a unit

READ = '''
import glob, threading, time
import numpy as np, torch
from torch import nn
import tsfast.all
from tsfast.data.core import get_ts_dls
from tsfast.data.preprocessing import TSRobustScale, TSStandardize
from tsfast.learner import ts_learner
class Pooled(nn.Module):
    "Means of 16 parts of each channel, and one linear layer"
    def __init__(self, c_in, c_out):
        super().__init__(); self.pool, self.fc = nn.AdaptiveAvgPool1d(16), nn.Linear(16*c_in, c_out)
    def forward(self, x): return self.fc(self.pool(x).flatten(1))
def private(): return int(next(l for l in open('/proc/self/status') if l.startswith('RssAnon')).split()[1])/1024
def of_workers():
    "Private pages of the largest child, in MB"
    most = 0
    for o in glob.glob('/proc/self/task/*/children'):
        try:
            for pid in open(o).read().split():
                lines = open(f'/proc/{pid}/smaps_rollup').read().splitlines()
                most = max(most, int(next(l for l in lines if l.startswith('Private_Dirty')).split()[1])/1024)
        except (OSError, StopIteration): pass       # it has just ended
    return most
state, base = {}, private()
def loaders(tfm):
    return get_ts_dls(config['path'], np.arange(config['n']) % 2, batch_tfms=tfm, bs=256, num_workers=config['workers'], device='cpu')
def statistics(): state['dls'] = loaders(TSStandardize(by_var=True)); state['learn'] = ts_learner(state['dls'], Pooled, seed=0)
def robust(): loaders(TSRobustScale())
def epoch():
    for b in state['dls'].train: pass
def ridge():
    with state['learn'].no_bar(), state['learn'].no_logging(): state['learn'].fit_ridge()
def predict():
    with state['learn'].no_bar(): state['p'] = state['learn'].get_X_preds(config['path'], bs=256, with_decoded=False)[0]
def watched(f):
    def run():
        peak, stop = [0., 0.], threading.Event()
        def watch():
            k = 0
            while not stop.wait(.002):
                peak[0], k = max(peak[0], private()), k + 1
                if config['workers'] and k % 10 == 0: peak[1] = max(peak[1], of_workers())
        t = threading.Thread(target=watch); t.start()
        clock = time.perf_counter()
        try: f()
        finally: seconds = time.perf_counter() - clock; stop.set(); t.join()
        answer(peak_mb=round(peak[0] - base), worker_mb=round(peak[1]), took=round(seconds, 1))
        return 1
    return run
serve({k: watched(f) for k, f in dict(statistics=statistics, robust=robust, epoch=epoch, ridge=ridge, predict=predict).items()})
'''


def make(path, fmt, n):
    "A file of `n` random series; written in parts, so that making it needs no memory"
    rng = np.random.default_rng(0)
    parts = ((i, rng.standard_normal((min(ROWS, n - i), C, L), dtype=np.float32)) for i in range(0, n, ROWS))
    if fmt == 'npy':
        a = np.lib.format.open_memmap(path, 'w+', np.float32, (n, C, L))
        for i, x in parts: a[i:i + len(x)] = x
        a.flush()
    elif fmt == 'zarr':
        import zarr
        a = zarr.create_array(path, shape=(n, C, L), chunks=(ROWS, C, L), dtype='f4')
        for i, x in parts: a[i:i + len(x)] = x
    elif fmt == 'parquet':
        import pyarrow as pa, pyarrow.parquet as pq
        schema = pa.schema([('X', pa.list_(pa.float32(), C*L), {'shape': f'[{C}, {L}]'})])
        with pq.ParquetWriter(path, schema) as f:
            for _, x in parts:
                values = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), C*L)
                f.write_table(pa.table([values], schema=schema), row_group_size=ROWS)
    else:
        import h5py
        with h5py.File(path, 'w') as f:
            a = f.create_dataset('X', (n, C, L), 'f4', chunks=(ROWS, C, L))
            for i, x in parts: a[i:i + len(x)] = x


def measured(fmt, path, n, workers):
    "A row for each step; worker processes read batches, and have no part in statistics"
    w, rows = Worker(sys.executable, READ, dict(path=path, n=n, workers=workers), 1, MALLOC_MMAP_THRESHOLD_='1000000',
                     ARROW_DEFAULT_MEMORY_POOL='system'), []
    w.read()
    for step in ('statistics', 'epoch') if workers else ('statistics', 'robust', 'epoch', 'ridge', 'predict'):
        w.p.stdin.write(step + '\n'); w.p.stdin.flush()
        o = w.read()
        w.read()        # of `serve`
        if workers and step == 'statistics': continue
        rows.append(dict(format=fmt, size_mb=round(n*C*L*4/2**20), series=n, workers=workers, step=step, peak_mb=o['peak_mb'],
                         worker_mb=o['worker_mb'] or '', seconds=o['took']))
        print(rows[-1], file=sys.stderr, flush=True)
    w.close()
    return rows


def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks.memory', description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--gb', type=float, nargs='+', default=[0.25, 4.])
    p.add_argument('--formats', nargs='+', default=['npy', 'zarr', 'h5', 'parquet'])
    p.add_argument('--workers', type=int, nargs='+', default=[0, 2])
    p.add_argument('--folder', help='a folder on the disk that is to be measured; default: that of temporary files')
    a = p.parse_args(argv)
    if not sys.platform.startswith('linux'): sys.exit('benchmarks.memory reads /proc, which only Linux has')
    rows = []
    for gb in a.gb:
        n = int(gb*2**30 / (4*C*L))
        for fmt in a.formats:
            with tempfile.TemporaryDirectory(dir=a.folder) as d:
                path = str(Path(d)/f'X.{fmt}')
                make(path, fmt, n)
                for k in a.workers:
                    rows += measured(fmt, path, n, k)
    write('memory', rows, shape=f'{C} x {L} float32', unit=ROWS)


if __name__ == '__main__': main()
