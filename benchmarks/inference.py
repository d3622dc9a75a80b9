"""Predictor, beside load_learner and ONNX Runtime: time to start, and time to predict.

    python -m benchmarks.inference [--repeats 9] [--threads 1]

An InceptionTime and a MiniRocket, trained for a moment on ECGFiveDays (or on bundled ItalyPowerDemand where that is not at hand), are
saved as a bundle, as fastai's learner.pkl and as ONNX. `start` is a fresh process, from its first import to its first prediction; each
takes turns with the others, and the first round does not count (it fills the disk's cache, and numba's). Seconds are by the clock; `cpu`
is what the processor spent, which a busy machine changes less, and `cpu_ratio` compares it with that of the bare network. Goals: `import
tsfast.inference` costs at most 0.3 s more than `import torch`; a prediction of one series by Predictor takes at most 1.2 times what the
bare network takes.
"""
import argparse, statistics, subprocess, sys, tempfile, time, warnings
from pathlib import Path

import numpy as np

from benchmarks.common import environ, write

QUICK = ['--repeats', '3', '--many', '200']

IMPORTS = {'import torch': 'import torch', 'import tsfast.inference': 'import torch\nimport tsfast.inference',
           'import load_learner': 'import torch\nfrom fastai.learner import load_learner\nimport tsfast.learner'}
PREDICTOR = """
import numpy as np
from tsfast.inference import Predictor
Predictor(folder + '/bundle').predict_proba(np.load(folder + '/x.npy')[:1])
"""
LEARNER = """
import warnings; warnings.simplefilter('ignore')
import numpy as np
from fastai.learner import load_learner
learn = load_learner(folder + '/learner.pkl')
with learn.no_bar(): learn.get_X_preds(np.load(folder + '/x.npy')[:1])
"""
ONNX = """
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(folder + '/m.onnx', providers=['CPUExecutionProvider'])
session.run(None, {'series': np.load(folder + '/x.npy')[:1]})
"""
STARTS = {'Predictor': PREDICTOR, 'load_learner': LEARNER, 'ONNX Runtime': ONNX}
MEASURED = """
import time; _s, _c = time.perf_counter(), time.process_time()
folder = FOLDER
CODE
print('@%f %f' % (time.perf_counter() - _s, time.process_time() - _c))
"""


def fresh(code, threads, folder=''):
    "Seconds by the clock and of the processor, of `code` in a process of its own; the starting of Python does not count"
    code = MEASURED.replace('FOLDER', repr(str(folder))).replace('CODE', code)
    r = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], env=environ(threads), capture_output=True, text=True)
    if r.returncode: raise OSError((r.stderr.strip().splitlines() or ['it fails'])[-1])
    return tuple(map(float, r.stdout.rsplit('@', 1)[1].split()))

def saved(arch, folder, **kwargs):
    "A trained learner, in all its forms"
    from tsfast.all import TSClassification, TSStandardize, get_UCR_data, get_ts_dls, load_bundle, ts_learner
    from tsfast.deploy import export_onnx
    try: name, (X, y, splits) = 'ECGFiveDays', get_UCR_data('ECGFiveDays', split_data=False)
    except (OSError, ValueError): name, (X, y, splits) = 'ItalyPowerDemand', get_UCR_data('ItalyPowerDemand', split_data=False)
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], batch_tfms=TSStandardize(), bs=16, device='cpu')
    learn = ts_learner(dls, arch, seed=0, **kwargs)
    with learn.no_bar(), learn.no_logging(): learn.fit(2, 1e-3)
    learn.save_bundle(folder/'bundle'); learn.export(folder/'learner.pkl')
    x = np.ascontiguousarray(X[splits[1]], dtype=np.float32); np.save(folder/'x.npy', x)
    p, q = load_bundle(folder/'bundle'), learn.get_X_preds(x)[0]
    same = bool((p(x) == q).all())
    try: export_onnx(learn, folder/'m.onnx'); import onnxruntime
    except ImportError: return name, learn, p, None, x, same, None
    opts = onnxruntime.SessionOptions(); opts.intra_op_num_threads = int(__import__('os').environ.get('OMP_NUM_THREADS', 0))
    s = onnxruntime.InferenceSession(folder/'m.onnx', opts, providers=['CPUExecutionProvider'])
    return name, learn, p, s, x, same, float(np.abs(s.run(None, {'series': x})[0] - q.numpy()).max())

def bare(learn, x):
    "The network of the learner on standardised series, 64 at a time, without anything around it"
    import torch
    with torch.inference_mode(): return [learn.model.eval()(o) for o in torch.from_numpy(x).split(64)]

def timed(f, n):
    t, c = time.perf_counter(), time.process_time()
    for _ in range(n): f()
    return (time.perf_counter() - t)/n, (time.process_time() - c)/n

def median(v, i): return statistics.median(o[i] for o in v)


def main(argv=None):
    a = argparse.ArgumentParser(prog='python -m benchmarks.inference', description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--repeats', type=int, default=9)
    a.add_argument('--many', type=int, default=10_000, help='series, for the throughput'); a.add_argument('--rounds', type=int, default=3)
    a.add_argument('--threads', type=int, default=1)
    a = a.parse_args(argv)
    import torch
    torch.set_num_threads(a.threads)
    warnings.simplefilter('ignore')
    rows, turns = [], {k: [] for k in IMPORTS}
    for i in range(1 + a.repeats):
        for k, code in IMPORTS.items():
            s = fresh(code, a.threads)
            if i: turns[k].append(s)
    for k, v in turns.items():
        more = statistics.median(x[1] - y[1] for x, y in zip(v, turns['import torch']))
        rows.append(dict(what=k, model='', series='', ms=f'{1000*median(v, 0):.0f}', cpu_ms=f'{1000*median(v, 1):.0f}',
                         cpu_ratio='',
                         note=f'{1000*more:.0f} ms (cpu) over import torch' if k != 'import torch' else ''))
    for arch, kwargs in (('InceptionTime', {}), ('MiniRocket', dict(random_state=0))):
        with tempfile.TemporaryDirectory() as d:
            name, learn, p, session, x, same, diff = saved(arch, Path(d), **kwargs)
            quiet = learn.no_bar(); quiet.__enter__()
            starts = {k: v for k, v in STARTS.items() if k != 'ONNX Runtime' or session}
            res = {k: [] for k in starts}
            for i in range(1 + a.repeats):
                for k, code in starts.items():
                    s = fresh(code, a.threads, d)
                    if i: res[k].append(s)
            note = {'Predictor': f"{'bit-equal to the learner' if same else 'NOT EQUAL to the learner'} on {len(x)} series of {name}",
                    'ONNX Runtime': f'differs by at most {diff:.1g}' if session else ''}
            for k, v in res.items(): rows.append(dict(what=f'start, {k}', model=arch, series=1, ms=f'{1000*median(v, 0):.0f}',
                                                      cpu_ms=f'{1000*median(v, 1):.0f}', cpu_ratio='', note=note.get(k, '')))
            for n, repeats, calls in ((1, a.repeats, 20), (64, a.repeats, 10), (a.many, a.rounds, 1)):
                b = np.ascontiguousarray(np.resize(x, (n, *x.shape[1:])))
                fs = {'bare network': lambda: bare(learn, b), 'Predictor': lambda: p(b), 'get_X_preds': lambda: learn.get_X_preds(b, bs=64)}
                if session: fs['ONNX Runtime'] = lambda: [session.run(None, {'series': b[i:i + 64]}) for i in range(0, n, 64)]
                res = {k: [] for k in fs}
                for i in range(1 + repeats):
                    for k, f in fs.items():
                        s = timed(f, calls)
                        if i: res[k].append(s)
                for k, v in res.items():
                    to = statistics.median(x[1]/y[1] for x, y in zip(v, res['bare network']))
                    rows.append(dict(what=f'predict, {k}', model=arch, series=n, ms=f'{1000*median(v, 0):.2f}',
                                     cpu_ms=f'{1000*median(v, 1):.2f}', cpu_ratio='' if k == 'bare network' else f'{to:.2f}', note=''))
    write('inference', rows, threads=a.threads, repeats=a.repeats)


if __name__ == '__main__': main()
