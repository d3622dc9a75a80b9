"""Test accuracy on the archive's default splits: a sweep that can be stopped at any time and goes on where it stopped.

    python -m benchmarks.accuracy                                            # what is missing of the default plan
    python -m benchmarks.accuracy --datasets ECG200 Beef --archs FCN --seeds 0 1 2
    python -m benchmarks.accuracy --archs MiniRocket Hydra --ridge           # heads in closed form
    python -m benchmarks.accuracy --render                                   # only the pages' table and diagrams

Test data affects no choice: the settings come from `tsfast.recipe.recipe`, which sees the number of training series, their length and the
architecture and is the same for all data sets; it was chosen inside training splits (`benchmarks/recipe_search.py`). Each network is
trained by `tsfast.training.TrainingRun` on the whole training split and evaluated once, with the weights of the last epoch. Data is found
on the ordinary search path of `get_UCR_data` (a folder in TSFAST_DATA, the cache, sktime's package, download).

One row per run in `benchmarks/results/accuracy.csv`. The probabilities of each run are kept in `benchmarks/.cache/` (not in git), from
which rows of ensembles are made."""
import argparse, time
from pathlib import Path

import numpy as np
from benchmarks.rows import CACHE, FIELDS, GROUPS, RESULTS, append_row, probs_file, read_rows, scores, versions

QUICK = ['--render']   # the quick round renews the table from the rows; the sweep itself takes hours
KEY = ['dataset', 'arch', 'seed', 'recipe', 'epochs', 'bs', 'lr']


def key_of(row): return tuple(f'{float(row[k]):g}' if k in ('epochs', 'bs', 'lr', 'seed') else str(row[k]) for k in KEY)

def trained(X, y, splits, arch, seed, tfms=(), cbs=None, arch_args=None, ridge=False, train_cbs=(), **settings):
    "Train on the first split, once: (the run, training loss of the last epoch). `train_cbs` are callbacks of the training alone"
    from tsfast.training import RunData, RunSettings, TrainingRun, batch_transforms
    s = RunSettings(arch=arch, arch_args=arch_args or {}, seed=seed, ridge=ridge, **settings)
    tfms = [*batch_transforms(['standardize', 'nan2value']), *tfms]
    run = TrainingRun(s, RunData(X, y, splits), tfms=tfms, cbs=cbs)
    learn = run.learner()
    with learn.no_bar(), learn.no_logging(): run.train(cbs=train_cbs, validate=False)
    return run, '' if ridge else last_loss(learn)       # predictions empty the recorder

def last_loss(learn):
    "Mean training loss of the last epoch"
    return round(float(np.mean([float(o) for o in learn.recorder.losses[-len(learn.dls.train):]])), 5)

def fit(*args, **kw):
    "Train on the first split, once, and predict the second, once: (predictions, training loss of the last epoch)"
    run, train_loss = trained(*args, **kw)
    return run.predict(), train_loss

def settings(n_train, length, arch, ridge=False, **changes):
    "The recipe, and its name: 'recipe' as it is, 'ridge' for heads in closed form, 'custom' where anything was changed by hand"
    from tsfast.recipe import recipe
    if ridge: return dict(recipe='ridge', epochs=0, bs=64, lr=0., wd=0., label_smoothing=0.)
    changes = {k: v for k, v in changes.items() if v is not None}
    return dict(recipe='custom' if changes else 'recipe', **{**recipe(n_train, length, arch), **changes})

def run(dataset, arch, seed, done=(), ridge=False, out=RESULTS/'accuracy.csv', save=True, **changes):
    "One row; None if it is there already"
    from tsfast.data.external import get_UCR_data
    X, y, splits = get_UCR_data(dataset, split_data=False)
    s = settings(len(splits[0]), X.shape[-1], arch, ridge, **changes)
    row = dict(dataset=dataset, arch=arch, seed=seed, **s, n_train=len(splits[0]), n_test=len(splits[1]))
    if key_of(row) in done: return None
    if ridge: args = dict(bs=s['bs'], ridge=True, arch_args=dict(random_state=seed))
    else: args = {k: v for k, v in s.items() if k != 'recipe'} | dict(second_cycle=s['recipe'] == 'recipe')
    start = time.perf_counter()
    p, train_loss = fit(X, y, splits, arch, seed, **args)
    probs, targs = p.probs.numpy(), p.targs.numpy()
    row.update(scores(probs, targs), seconds=round(time.perf_counter() - start, 1), train_loss=train_loss, **versions())
    append_row(row, out)
    if save:
        CACHE.mkdir(parents=True, exist_ok=True)
        np.savez(probs_file(CACHE, row), probs=probs.astype(np.float16), targs=targs)
    return row

def arguments(argv):
    p = argparse.ArgumentParser(prog='python -m benchmarks.accuracy', description=__doc__.split('\n')[0],
                                formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument('--datasets', nargs='+', default=['telling'], help=f"names of sets, or of groups: {', '.join(GROUPS)}")
    p.add_argument('--archs', nargs='+', default=['InceptionTime'], help='registered architectures')
    p.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    p.add_argument('--epochs', type=int, help='instead of the recipe')
    p.add_argument('--bs', type=int, help='instead of the recipe')
    p.add_argument('--lr', type=float, help='instead of the recipe')
    p.add_argument('--ridge', action='store_true', help='heads in closed form, for models with fixed features')
    p.add_argument('--threads', type=int, help="torch's threads")
    p.add_argument('--out', type=Path, default=RESULTS/'accuracy.csv')
    p.add_argument('--render', action='store_true', help='only make the table and the diagrams from the rows')
    return p.parse_args(argv)

def sweep(a):
    "All runs that are missing. A first figure for every set comes before a second for any"
    names = [n for o in a.datasets for n in GROUPS.get(o, [o])]
    for seed in a.seeds:
        for arch in a.archs:
            for name in names:
                done = {key_of(r) for r in read_rows(a.out)}    # read anew: another process may be at work
                row = run(name, arch, seed, done, a.ridge, a.out, epochs=a.epochs, bs=a.bs, lr=a.lr)
                if row: print(f"{name:24}{arch:18}seed {seed}  accuracy {row['accuracy']:.4f}  {row['seconds']:.0f} s", flush=True)

def main(argv=None):
    a = arguments(argv)
    if a.render:
        from benchmarks.accuracy_report import render
        print(render())
        return
    import torch
    if a.threads: torch.set_num_threads(a.threads)
    sweep(a)


if __name__ == '__main__': main()
