"""Test accuracy before and after `learn.prune_features()`, with how many features are left and how long the selection takes.

    TSFAST_DATA=<folder with <Name>/<Name>_TRAIN.tsv> python -m benchmarks.pruning [--models MiniRocket …] [--sets GunPoint …]
    [--seeds 0 1]
    python -m benchmarks.pruning --means     # the means of what has been measured

The selection sees the training split alone. A row is written as soon as it is measured, and rows that are there are not measured again."""
import argparse, time

import numpy as np
import pandas as pd
import torch

from benchmarks.rows import RESULTS, append_row, read_rows
from tsfast.data.external import get_UCR_data
from tsfast.models.pruning import prune_ridge_head
from tsfast.models.registry import get_arch
from tsfast.models.ridge import fit_ridge_head

FILE = RESULTS/'pruning.csv'
FIELDS = ['model', 'dataset', 'seed', 'n_train', 'features', 'kept', 'accuracy', 'pruned_accuracy', 'weights_kb', 'pruned_weights_kb',
          'seconds', 'threads']
SETS = ('ArrowHead Beef BeetleFly CBF Coffee ECG200 FaceFour GunPoint ItalyPowerDemand Lightning7 MoteStrain OSULeaf Plane '
        'SonyAIBORobotSurface1 Trace TwoLeadECG').split()


def size(model): return round(sum(o.nbytes for o in model.state_dict().values())/1000)

@torch.no_grad()
def accuracy(model, X, y): return round(float(np.mean(torch.cat([model(x).argmax(1) for x in X.split(512)]).numpy() == y)), 4)

def measure(model, name, seed):
    "One row: all features, then those that are left"
    X, y, X_test, y_test = get_UCR_data(name)
    vocab, y = np.unique(y, return_inverse=True)
    X, y, X_test, y_test = torch.as_tensor(X), torch.as_tensor(y), torch.as_tensor(X_test), np.searchsorted(vocab, y_test)
    batches = list(zip(X.split(512), y.split(512)))
    m = get_arch(model)(X.shape[1], len(vocab), seq_len=X.shape[2], random_state=seed).eval()
    fit_ridge_head(m, batches, len(vocab))
    row = dict(model=model, dataset=name, seed=seed, n_train=len(X), features=m.head_nf, accuracy=accuracy(m, X_test, y_test),
               weights_kb=size(m), threads=torch.get_num_threads())
    t = time.perf_counter()
    prune_ridge_head(m, batches, len(vocab))
    return dict(row, seconds=round(time.perf_counter() - t, 1), kept=m.head_nf, pruned_accuracy=accuracy(m, X_test, y_test),
                pruned_weights_kb=size(m))

def means():
    "A row for each model: mean accuracies, medians of the rest"
    df = pd.read_csv(FILE)
    by_set = df.groupby(['model', 'dataset']).mean()
    g = by_set.groupby('model')
    rest = [k for k in FIELDS[4:11] if 'accuracy' not in k]
    return pd.concat([g.size().rename('sets'), g[['accuracy', 'pruned_accuracy']].mean().round(4), g[rest].median().round(1)], axis=1)

def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks.pruning', description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--models', nargs='+', default=['MiniRocket', 'MiniRocketHydra'])
    p.add_argument('--sets', nargs='+', default=SETS)
    p.add_argument('--seeds', type=int, nargs='+', default=[0, 1])
    p.add_argument('--means', action='store_true', help='print the means of what has been measured')
    a = p.parse_args(argv)
    done = {(r['model'], r['dataset'], int(r['seed'])) for r in read_rows(FILE)}
    todo = [] if a.means else [(m, n, s) for s in a.seeds for m in a.models for n in a.sets]
    for key in todo:
        if key in done: continue
        row = measure(*key)
        append_row(row, FILE, FIELDS)
        print(row, flush=True)
    print(means().to_string())


if __name__ == '__main__': main()
