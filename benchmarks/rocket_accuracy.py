"""Accuracy and seconds of MiniRocket, HydraPlus, MiniRocketHydra and MultiRocketHydra with a closed-form head, for each set and each
seed.

    TSFAST_DATA=<folder with <Name>/<Name>_TRAIN.tsv> python -m benchmarks.rocket_accuracy [--models MiniRocket …] [--sets GunPoint …]
    [--seeds 0 1 2]
    python -m benchmarks.rocket_accuracy --markdown     # the table of what has been measured

A row is written as soon as it is measured, and rows that are there are not measured again, so a run can be stopped and continued. Sets
without a published figure for the method (those with missing values) are left out; MiniRocketHydra, which has none on the default split,
is measured on the sets of MultiRocketHydra. Series are taken as they are in the archive.
"""
import argparse
import csv
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from tsfast.data.external import get_UCR_data, published_accuracy
from tsfast.models.registry import get_arch
from tsfast.models.ridge import fit_ridge_head

COLUMNS = dict(MiniRocket='minirocket', HydraPlus='hydra', MiniRocketHydra=None, MultiRocketHydra='multirocket_hydra')    # published
FIELDS = ['model', 'dataset', 'seed', 'accuracy', 'published', 'fit_s', 'predict_s', 'alpha', 'n_train', 'n_test', 'length', 'threads']


def measure(model, name, seed):
    "One row: fit on the training split, predict the test split"
    X, y, X_test, y_test = get_UCR_data(name)
    vocab, y = np.unique(y, return_inverse=True)
    X, X_test, y = torch.as_tensor(X), torch.as_tensor(X_test), torch.as_tensor(y)
    m = get_arch(model)(X.shape[1], len(vocab), seq_len=X.shape[2], random_state=seed).eval()
    t = time.perf_counter()
    s = fit_ridge_head(m, list(zip(X.split(512), y.split(512))), n_classes=len(vocab))
    fitted = time.perf_counter()
    with torch.no_grad(): pred = torch.cat([m(x).argmax(1) for x in X_test.split(512)])
    done = time.perf_counter()
    return dict(model=model, dataset=name, seed=seed, accuracy=round(float((vocab[pred] == y_test).mean()), 4),
                published=published_accuracy(name, COLUMNS[model]) if COLUMNS[model] else '',
                fit_s=round(fitted - t, 3), predict_s=round(done - fitted, 3), alpha=f'{s.alpha:.4g}', n_train=len(X), n_test=len(X_test),
                length=X.shape[2], threads=torch.get_num_threads())


def markdown(df):
    "A table a data set, and a row of means"
    models = [m for m in COLUMNS if m in set(df.model)]
    g = df.groupby(['dataset', 'model']).agg(accuracy=('accuracy', 'mean'), sd=('accuracy', lambda o: o.std(ddof=0)),
                                             published=('published', 'first'), seconds=('fit_s', 'mean'), predict=('predict_s', 'mean'))
    lines = ['| set | ' + ' | '.join(f'{m} | published | s' for m in models) + ' |', '|---|' + '---|---|---|'*len(models)]
    def known(o, digits): return '' if pd.isna(o) else f'{100*o:.{digits}f}'
    def cell(r): return f'{100*r.accuracy:.1f} ± {100*r.sd:.1f} | {known(r.published, 1)} | {r.seconds + r.predict:.1f}'
    for name in df.dataset.unique(): lines.append(f'| {name} | ' + ' | '.join(cell(g.loc[name, m]) if (name, m) in g.index else ' | | '
        for m in models) + ' |')
    means = g.groupby('model').mean()
    def mean(m): return f'**{100*means.accuracy[m]:.2f}** | {known(means.published[m], 2)} | {means.seconds[m] + means.predict[m]:.1f}'
    lines.append('| **mean** | ' + ' | '.join(map(mean, models)) + ' |')
    return '\n'.join(lines)


def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks.rocket_accuracy', description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--models', nargs='+', default=list(COLUMNS), choices=COLUMNS)
    p.add_argument('--sets', nargs='+', default=None)
    p.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    p.add_argument('--out', type=Path, default=Path(__file__).parent/'results'/'rocket_accuracy.csv')
    p.add_argument('--markdown', action='store_true', help='print the table of what has been measured')
    a = p.parse_args(argv)
    done = pd.read_csv(a.out) if a.out.exists() else pd.DataFrame(columns=FIELDS)
    if a.markdown: return print(markdown(done))
    keys = set(zip(done.model, done.dataset, done.seed))
    a.out.parent.mkdir(parents=True, exist_ok=True)
    for model in a.models:
        for name in a.sets or published_accuracy(method=COLUMNS[model] or 'multirocket_hydra').index:
            for seed in a.seeds:
                if (model, name, seed) in keys: continue
                row = measure(model, name, seed)
                new = not a.out.exists()
                with open(a.out, 'a', newline='') as f:
                    w = csv.DictWriter(f, FIELDS)
                    if new: w.writeheader()
                    w.writerow(row)
                print(row, flush=True)
        df = pd.read_csv(a.out); df = df[df.model == model]
        by_set = df.groupby('dataset')[['accuracy', 'published']].mean()
        mean, known = (100*by_set[k].mean() for k in ('accuracy', 'published'))
        print(f'{model}: mean {mean:.2f}, published {known:.2f}, over {len(by_set)} sets, {df.seed.nunique()} seeds', flush=True)


if __name__ == '__main__': main()
