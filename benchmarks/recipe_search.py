"""Where the numbers of `tsfast.recipe.recipe` come from: small samples of training splits, judged on the rest of these splits

No test split is read.

    python -m benchmarks.recipe_search

Most sets of the archive have 20 to 100 training series, so the settings have to suit samples of that size. Cross-validation within 20
series tells little, since one series is worth 5 points. Therefore sets with a larger training split are used: a sample of 24 to 48 series
to train on, and all the others to judge by."""
import argparse, itertools, time
from pathlib import Path

import numpy as np
from benchmarks.accuracy import fit
from benchmarks.rows import RESULTS, append_row, read_rows, scores, versions

SETS = dict(ItalyPowerDemand=24, SyntheticControl=24, ECG200=32, SwedishLeaf=45, Plane=28)    # series to train on
BASE = dict(epochs=150, bs=8, lr=1e-3, wd=1e-2)
CONFIGS = dict(
    base=BASE, bs4=dict(BASE, bs=4), bs16=dict(BASE, bs=16), lr3=dict(BASE, lr=3e-3), smooth=dict(BASE, label_smoothing=0.1),
    wd1=dict(BASE, wd=0.1), e75=dict(BASE, epochs=75), bs4lr3=dict(BASE, bs=4, lr=3e-3),
    # half of the series each, with the papers' magnitudes
    **{k: dict(BASE, tfms=[k]) for k in ('TSNoise', 'TSRandomScale', 'TSMagWarp', 'TSTimeWarp', 'TSWindowSlice')},
    **{k: dict(BASE, cbs=[k]) for k in ('MixUp', 'CutMix1d')},
    # fixed features: a linear layer is all that is trained
    **{f'MiniRocket {lr:g}': dict(BASE, arch='MiniRocket', lr=lr) for lr in (1e-4, 1e-3, 1e-2)},
    **{f'MiniRocket 0.001 {k}': dict(BASE, arch='MiniRocket', **v) for k, v in dict(wd1=dict(wd=1.), e25=dict(epochs=25)).items()})
FIXED = [k for k in CONFIGS if k.startswith('MiniRocket')]
FIELDS = ['dataset', 'config', 'seed', 'n_train', 'n_valid', 'accuracy', 'balanced_accuracy', 'log_loss', 'seconds',
          'tsfast', 'torch', 'fastai', 'date']
OUT = RESULTS/'recipe_search.csv'

def sample(y, n, seed):
    "`n` series, each class as often as in `y` and at least twice, and the others"
    rng = np.random.default_rng(seed)
    order, classes = rng.permutation(len(y)), np.unique(y)
    per = {c: max(2, round(n*(y == c).mean())) for c in classes}
    train = np.concatenate([order[y[order] == c][:per[c]] for c in classes])
    return train, np.setdiff1d(np.arange(len(y)), train)

def built(config):
    "Settings with classes instead of names"
    from fastai.callback.mixup import MixUp
    from tsfast.data import augment
    made = {k: [{'MixUp': MixUp, **vars(augment)}[n]() for n in config[k]] for k in ('tfms', 'cbs') if k in config}
    return {**config, **made}

def run(name, config, seed):
    "One row"
    from tsfast.data.external import get_UCR_data
    X, y, _, _ = get_UCR_data(name)
    splits = sample(y, SETS[name], seed)
    start = time.perf_counter()
    p, _ = fit(X, y, splits, **dict(dict(arch='InceptionTime'), **built(CONFIGS[config])), seed=seed)
    return dict(dataset=name, config=config, seed=seed, n_train=len(splits[0]), n_valid=len(splits[1]),
                **scores(p.probs.numpy(), p.targs.numpy()), seconds=round(time.perf_counter() - start, 1), **versions())

def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks.recipe_search', description=__doc__.split('\n')[0])
    p.add_argument('--configs', nargs='+', default=list(CONFIGS))
    p.add_argument('--datasets', nargs='+', default=list(SETS))
    p.add_argument('--seeds', nargs='+', type=int, default=[0, 1])
    p.add_argument('--threads', type=int)
    a = p.parse_args(argv)
    import torch
    if a.threads: torch.set_num_threads(a.threads)
    for seed, config, name in itertools.product(a.seeds, a.configs, a.datasets):
        if any((r['dataset'], r['config'], r['seed']) == (name, config, str(seed)) for r in read_rows(OUT)): continue
        row = run(name, config, seed)
        append_row(row, OUT, FIELDS)
        print(f"{name:20}{config:10}seed {seed}  accuracy {row['accuracy']:.4f}  log loss {row['log_loss']:.3f}  {row['seconds']:.0f} s",
              flush=True)


if __name__ == '__main__': main()
