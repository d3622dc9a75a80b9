"""Accuracy and seconds of models with fixed features, for each set of the archive and each seed: MiniRocket, HydraPlus, MiniRocketHydra,
MultiRocketHydra and Quant with a closed-form head, and TSForestClassifier.

    TSFAST_DATA=<folder with <Name>/<Name>_TRAIN.tsv> python -m benchmarks.rocket_accuracy [--models MiniRocket …] [--sets GunPoint …]
    [--seeds 0 1 2]
    python -m benchmarks.rocket_accuracy --markdown     # the table of what has been measured

A row is written as soon as it is measured, and rows that are there are not measured again, so a run can be stopped and continued. Sets
without a published figure for the method (those with missing values) are left out; MiniRocketHydra, which has none on the default split,
is measured on the sets of MultiRocketHydra. Series are taken as they are in the archive.
Quant with the closed-form head is set beside the published figure for QUANT, which is of trees; it draws nothing, so a seed is enough.
"""
import argparse
import csv
import inspect
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from tsfast.data.external import get_UCR_data, published_accuracy
from tsfast.estimators import TSForestClassifier
from tsfast.models.registry import get_arch
from tsfast.models.ridge import fit_ridge_head

COLUMNS = dict(MiniRocket='minirocket', HydraPlus='hydra', MiniRocketHydra=None, MultiRocketHydra='multirocket_hydra', Quant='quant',
               TSForestClassifier='quant')      # of the published figures
FIELDS = ['model', 'dataset', 'seed', 'accuracy', 'published', 'fit_s', 'predict_s', 'alpha', 'n_train', 'n_test', 'length', 'threads']


class ClosedForm:
    "An architecture with its head in closed form, behind `fit` and `predict`"
    def __init__(self, model, seed): self.arch, self.seed = get_arch(model), seed

    def fit(self, X, y):
        self.vocab, y = np.unique(y, return_inverse=True)
        X, y = torch.as_tensor(X), torch.as_tensor(y)
        drawn = dict(random_state=self.seed) if 'random_state' in inspect.signature(self.arch).parameters else {}
        self.model = self.arch(X.shape[1], len(self.vocab), seq_len=X.shape[2], **drawn).eval()
        self.alpha = fit_ridge_head(self.model, list(zip(X.split(512), y.split(512))), n_classes=len(self.vocab)).alpha
        return self

    def predict(self, X):
        with torch.no_grad(): return self.vocab[torch.cat([self.model(x).argmax(1) for x in torch.as_tensor(X).split(512)])]


def measure(model, name, seed):
    "One row: fit on the training split, predict the test split"
    X, y, X_test, y_test = get_UCR_data(name)
    forest = model == 'TSForestClassifier'
    m = TSForestClassifier(random_state=seed, device='cpu', n_jobs=torch.get_num_threads()) if forest else ClosedForm(model, seed)
    t = time.perf_counter()
    m.fit(X, y)
    fitted = time.perf_counter()
    pred = m.predict(X_test)
    done = time.perf_counter()
    return dict(model=model, dataset=name, seed=seed, accuracy=round(float((pred == y_test).mean()), 4),
                published=published_accuracy(name, COLUMNS[model]) if COLUMNS[model] else '',
                fit_s=round(fitted - t, 3), predict_s=round(done - fitted, 3),
                alpha='' if forest else f'{m.alpha:.4g}', n_train=len(X), n_test=len(X_test), length=X.shape[2],
                threads=torch.get_num_threads())


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
