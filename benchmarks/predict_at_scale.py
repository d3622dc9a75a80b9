"""Predictions at scale on one core, beside the bare network: batches of columns, Ray Data, and `tsfast predict` from Parquet to Parquet.

    python -m benchmarks.predict_at_scale [--repeats 5] [--series 8192]

Series of one channel and 136 steps, in batches of 64, for an InceptionTime and a MiniRocket that were trained for a moment on random
series. `bare network` is `model(x)` in a loop over standardised series that are in memory. `columns` is `Predictor` with a dict of columns,
4096 rows at a time, `frames` is `predict_frames`, and `tsfast predict` reads and writes Parquet; both are in the same process, so that
imports do not count. They take turns, and the first round does not count. Times are of the processor, which other programs on the machine
change less than those of the clock; the ratio is the median of the ratios of each round. `Ray Data` is one actor, from Parquet to Parquet,
where Ray is installed: the clock counts, and the processor only inside the calls of the actor, since Ray itself works in several processes. Each
round starts a new actor, so its first call, with the compiled code of MiniRocket to load, is among them, and its start is in the seconds.
"""
import argparse, contextlib, io, statistics, tempfile, time, warnings
from pathlib import Path

import numpy as np

from benchmarks.common import write

QUICK = ['--repeats', '2', '--series', '512']
LENGTH, BS, ROWS = 136, 64, 4096


def saved(arch, folder, **kwargs):
    "A bundle, and its network"
    from tsfast.all import TSStandardize, get_ts_dls, ts_learner
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(128, 1, LENGTH)).astype(np.float32), np.repeat(['no', 'yes'], 64)
    dls = get_ts_dls(X, y, batch_tfms=TSStandardize(), bs=BS, device='cpu')
    learn = ts_learner(dls, arch, seed=0, **kwargs)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    return learn.save_bundle(folder), learn.model.eval()

def bare(model, X):
    import torch
    with torch.inference_mode(): return [model(o) for o in torch.from_numpy(X).split(BS)]

def measured(f):
    t, c = time.perf_counter(), time.process_time()
    f()
    return time.perf_counter() - t, time.process_time() - c

def contenders(bundle, model, X, folder):
    import pandas as pd
    from tsfast.cli import main
    from tsfast.inference import Predictor
    from tsfast.spark import predict_frames
    p, frames = Predictor(bundle), predict_frames(bundle)
    parts = [slice(i, i + ROWS) for i in range(0, len(X), ROWS)]
    tables = [pd.DataFrame(dict(id=range(len(X[o])), series=list(X[o, 0]))) for o in parts]
    def command():
        with contextlib.redirect_stdout(io.StringIO()):
            assert main(['predict', str(bundle), str(folder/'x.parquet'), '--out', str(folder/'p.parquet')]) == 0
    return {'bare network': lambda: bare(model, X), 'Predictor, array': lambda: p(X),
            'Predictor, columns': lambda: [p({'series': X[o, 0]}) for o in parts],
            'predict_frames': lambda: list(frames(tables)), 'tsfast predict': command}

def with_ray(bundle, folder, repeats):
    "Seconds by the clock of one actor, and those of the processor in its calls; None without Ray"
    try: import ray
    except ImportError: return None
    from tsfast.inference import Predictor
    class Timed(Predictor):
        def __call__(self, batch):
            c = time.process_time()
            out = super().__call__(batch)
            return {**out, 'cpu': np.full(len(batch['series']), time.process_time() - c)/len(batch['series'])}
    res = []
    for i in range(1 + repeats):
        t = time.perf_counter()
        ds = ray.data.read_parquet(f'{folder}/x.parquet').map_batches(
            Timed, fn_constructor_args=(str(bundle),), batch_format='numpy', batch_size=ROWS, compute=ray.data.ActorPoolStrategy(size=1))
        ds.write_parquet(f'{folder}/ray{i}')
        import pandas as pd
        if i: res.append((time.perf_counter() - t, pd.read_parquet(f'{folder}/ray{i}').cpu.sum()))
    return res


def main(argv=None):
    a = argparse.ArgumentParser(prog='python -m benchmarks.predict_at_scale', description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--repeats', type=int, default=5)
    a.add_argument('--series', type=int, default=8192)
    a = a.parse_args(argv)
    warnings.simplefilter('ignore')
    import pyarrow as pa, pyarrow.parquet as pq, torch
    torch.set_num_threads(1)
    try:
        import ray
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=dict(env_vars=dict(
            PYTHONPATH=str(Path(__file__).resolve().parents[1]), OMP_NUM_THREADS='1', NUMBA_NUM_THREADS='1')))
        ray.data.DataContext.get_current().enable_progress_bars = False
    except ImportError: ray = None
    rows = []
    X = np.random.default_rng(1).normal(size=(a.series, 1, LENGTH)).astype(np.float32)
    for arch, kwargs in (('InceptionTime', {}), ('MiniRocket', dict(random_state=0))):
        with tempfile.TemporaryDirectory() as d:
            folder = Path(d)
            bundle, model = saved(arch, folder/'model', **kwargs)
            pq.write_table(pa.table(dict(id=np.arange(len(X)), series=pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), LENGTH))),
                           folder/'x.parquet', row_group_size=ROWS)
            fs = contenders(bundle, model, X, folder)
            turns = {k: [] for k in fs}
            for i in range(1 + a.repeats):
                for k, f in fs.items():
                    s = measured(f)
                    if i: turns[k].append(s)
            if (s := with_ray(bundle, folder, a.repeats)) is not None: turns['Ray Data, one actor'] = s
            for k, v in turns.items():
                cpu, to = statistics.median(o[1] for o in v), statistics.median(x[1]/y[1] for x, y in zip(v, turns['bare network']))
                rows.append(dict(what=k, model=arch, series=len(X), series_per_cpu_second=f'{len(X)/cpu:.0f}', cpu_ratio=f'{to:.3f}',
                                 seconds=f'{statistics.median(o[0] for o in v):.2f}', cpu_seconds=f'{cpu:.2f}'))
    if ray is not None: ray.shutdown()
    write('predict_at_scale', rows, threads=1, repeats=a.repeats, bs=BS)


if __name__ == '__main__': main()
