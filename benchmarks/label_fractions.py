"""Accuracy with few labels, with and without pretraining on the series alone: a sweep that can be stopped and goes on where it stopped.

    TSFAST_DATA=<folder with <Name>/<Name>_TRAIN.tsv> python -m benchmarks.label_fractions [--sets Plane …] [--seeds 0 1 2]
    python -m benchmarks.label_fractions --render       # writes the part of the results page from what has been measured

All methods see the same labels: a stratified draw of 1, 5, 10 or 100 % of the training split, at least one series per class. The network is a
ResNet with 16 filters. From scratch and after pretraining it takes the same number of steps, with the same batch size and learning rate;
pretraining comes on top, on all training series, without labels and without the test split. MiniRocket has its closed-form
head. All methods are scored once, on the default test split, after the last step. Seeds draw the labels, the networks and the kernels.
The network was chosen for its cost. A pretrained one is fine-tuned in two ways: the head alone first, and then everything with a tenth of the rate
for the body, which was chosen after a look at MiddlePhalanxTW, which is not in the table; and exactly as from scratch, with another start (`_all`),
which was added when the first rows had shown that a slow body holds the network back where all labels are there. Seconds are those of the processor."""
import argparse, time
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from benchmarks.rows import append_row, read_rows, versions, write_part

QUICK = ['--render']   # the sweep itself takes an hour
OUT = Path(__file__).parent/'results'/'label_fractions.csv'
SETS = 'ECG200 Plane SyntheticControl FacesUCR ProximalPhalanxTW SwedishLeaf ECG5000'.split()
SHARES = .01, .05, .1, 1.
METHODS = dict(scratch='from scratch', masked='masked first, slow body', masked_all='masked first, same training',
               contrastive='contrastive first, slow body', contrastive_all='contrastive first, same training', minirocket='MiniRocket')
FIELDS = ['dataset', 'share', 'seed', 'method', 'labels', 'accuracy', 'cpu_s', 'pretrain_cpu_s', 'pretrain_loss', 'steps', 'pretrain_steps',
          'n_train', 'n_test', 'classes', 'length', 'threads', 'tsfast', 'torch', 'date']
STEPS, FROZEN, BS, LR, PRETRAIN_STEPS = 300, 100, 32, 3e-3, 500
ARCH = dict(arch='ResNet', nf=16)


@lru_cache(2)
def data(name):
    "Series, labels, and the two splits of the archive"
    from tsfast.data.external import get_UCR_data
    return get_UCR_data(name, split_data=False)

def drawn_labels(y, share, seed):
    "Numbers of the series whose labels are seen: a share of each class, at least one series"
    rng, taken = np.random.default_rng(seed), []
    for c in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == c))
        taken.append(rows[:max(1, round(share*len(rows)))])      # a larger share of the same seed has all series of a smaller one
    return np.sort(np.concatenate(taken))

def batches(n, steps, bs, seed):
    "So many batches of positions: all series once, in random order, again and again"
    rng, res = np.random.default_rng(seed), []
    while len(res) < steps:
        order = rng.permutation(n)
        res += [o for o in np.array_split(order, max(1, n//bs))]
    return res[:steps]

def loaders(X, y, splits, steps, bs, seed):
    "An epoch has all steps of the training"
    from tsfast.data.core import get_ts_dls
    from tsfast.data.preprocessing import TSStandardize
    return get_ts_dls(X, y, splits=splits, bs=bs, val_bs=256, sampler=batches(len(splits[0]), steps, bs, seed), device='cpu',
                      batch_tfms=TSStandardize(by_sample=True, by_var=True))

def quiet_fit(learn, lr):
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, lr)

@lru_cache(4)
def pretrained(name, task, seed):
    "A learner after pretraining on the training split without labels; its loss, and seconds of the processor"
    from tsfast.pretraining import Contrastive, MaskedReconstruction, pretrain_learner
    X, _, (train, _) = data(name)
    start, n, few = time.process_time(), len(train), 2
    twice = np.concatenate([X[train], X[train[:few]]])      # a learner validates on something; nothing is chosen by it
    bs = BS if task == 'contrastive' else 2*BS              # as many rows in a step, since contrastive learning has two crops of each series
    dls = loaders(twice, None, (np.arange(n), np.arange(n, n + few)), PRETRAIN_STEPS, bs, seed)
    task = Contrastive() if task == 'contrastive' else MaskedReconstruction()
    learn = pretrain_learner(dls, **ARCH, task=task, seed=seed)
    quiet_fit(learn, LR)
    return learn, float(learn.recorder.smooth_loss.value), time.process_time() - start

def network(X, y, splits, seed, start=None, slow_body=False):
    """Accuracy of the network on the second split, from scratch or from a pretrained one, after the same number of steps.

    With `slow_body`, the head is trained alone first, and then all, with a rate of the body that is a tenth of that of the head"""
    from fastai.metrics import accuracy
    from tsfast.learner import ts_learner
    from tsfast.learner.transfer import copy_body, read_pretrained
    n = FROZEN if slow_body else STEPS
    learn = ts_learner(loaders(X, y, splits, n, BS, seed), **ARCH, metrics=accuracy, seed=seed)
    if start is not None: copy_body(learn.model, read_pretrained(start))
    if slow_body: learn.freeze()
    quiet_fit(learn, LR)
    if slow_body:
        learn.dls = loaders(X, y, splits, STEPS - FROZEN, BS, seed + 1000)
        learn.unfreeze()
        quiet_fit(learn, slice(LR/10, LR))
    return float(learn.recorder.values[-1][-1])

def minirocket(X, y, splits, seed):
    "Accuracy of MiniRocket with its closed-form head"
    from fastai.metrics import accuracy
    from tsfast.data.core import get_ts_dls
    from tsfast.learner import ts_learner
    learn = ts_learner(get_ts_dls(X, y, splits=splits, bs=256, device='cpu'), 'MiniRocket', metrics=accuracy, seed=seed)
    learn.fit_ridge()
    with learn.no_bar(): return float(learn.validate()[1])

def measure(name, share, seed, method):
    "One row: the labels of a share of the training split, scored on the test split"
    X, y, (train, test) = data(name)
    train, test = np.asarray(train), np.asarray(test)
    task, _, way = method.partition('_')
    pre = pretrained(name, task, seed) if task in ('masked', 'contrastive') else (None, '', 0.)
    rows = train[drawn_labels(y[train], share, seed)]
    start = time.process_time()
    acc = minirocket(X, y, (rows, test), seed) if method == 'minirocket' else network(X, y, (rows, test), seed, pre[0], pre[0] is not None and way != 'all')
    return dict(dataset=name, share=share, seed=seed, method=method, labels=len(rows), accuracy=round(acc, 4),
                cpu_s=round(time.process_time() - start, 1), pretrain_cpu_s=round(pre[2], 1) or '', pretrain_loss=pre[1] and round(pre[1], 4),
                steps='' if method == 'minirocket' else STEPS, pretrain_steps=PRETRAIN_STEPS if pre[0] else '', n_train=len(train),
                n_test=len(test), classes=len(np.unique(y)), length=X.shape[2], **versions())

def table(rows):
    "Accuracies in percent, the mean over seeds: a row for each set and share, and means over the sets that all methods have"
    df = pd.DataFrame(rows)
    if not len(df): return 'Nothing has been measured yet.'
    for k in ('share', 'accuracy', 'labels', 'seed'): df[k] = pd.to_numeric(df[k])
    wide = df.pivot_table(index=['dataset', 'share', 'seed'], columns='method', values='accuracy').reindex(columns=list(METHODS)).dropna()
    if not len(wide): return 'Nothing has been measured yet.'
    labels, mean = df.groupby(['dataset', 'share']).labels.first(), wide.groupby(['dataset', 'share']).mean()
    spread, seeds = wide.groupby(['dataset', 'share']).std(), wide.groupby(['dataset', 'share']).size()
    def line(*cells): return '| ' + ' | '.join(map(str, cells)) + ' |'
    def values(acc, sd):
        return [f'**{t}**' if v == acc.max() else t for v, t in ((acc[m], f'{100*acc[m]:.1f}' + ('' if pd.isna(sd[m]) else f' ± {100*sd[m]:.1f}'))
                                                                 for m in METHODS)]
    lines = [line('set', 'labels', *METHODS.values(), 'seeds'), '|---'*(len(METHODS) + 3) + '|']
    lines += [line(name, f'{labels[name, share]} ({100*share:g} %)', *values(mean.loc[(name, share)], spread.loc[(name, share)]), seeds[name, share])
              for name, share in mean.index]
    whole = mean.groupby('dataset').filter(lambda o: len(o) == len(SHARES)).groupby('share')
    none = dict.fromkeys(METHODS)
    for share, o in whole: lines.append(line(f'**mean of {len(o)}**', f'{100*share:g} %', *values(o.mean(), none), ''))
    return '\n'.join(lines) + '\n\n' + comparison(wide)

def comparison(wide):
    "On how many of the measured pairs (set, seed) a pretrained network is better than the same one from scratch, for each share"
    res = ['Beside the same network from scratch, the mean difference in points, and on how many pairs of set and seed it is better and worse:', '',
           '| labels | ' + ' | '.join(METHODS[m] for m in list(METHODS)[1:]) + ' |', '|---'*len(METHODS) + '|']
    for share, o in wide.groupby('share'):
        d = {m: 100*(o[m] - o.scratch) for m in list(METHODS)[1:]}
        res.append(f'| {100*share:g} % | ' + ' | '.join(f'{v.mean():+.1f} ({(v > 0).sum()}/{(v < 0).sum()} of {len(v)})' for v in d.values()) + ' |')
    return '\n'.join(res)

HEAD = f"""How these were made: `python -m benchmarks.label_fractions`, one thread. All methods see the same labels, a stratified draw with at least one
series per class; the test split is the archive's. The network is a {ARCH['arch']} with {ARCH['nf']} filters, which trains for {STEPS} steps of up to
{BS} series, from scratch and after pretraining. *Same training* differs from scratch in the first weights of the body alone; with a *slow body*,
{FROZEN} steps train the head, and the rest everything, the body with a tenth of the rate. Pretraining takes {PRETRAIN_STEPS} steps on all training
series, without labels. MiniRocket has its closed-form head. Accuracies in percent, the mean over seeds with its standard deviation; the best of a row is bold."""

def render(rows, out=OUT.with_suffix('.md')):
    "Write the page's part"
    return write_part(out, '## Few labels', HEAD, table(rows))

def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks.label_fractions', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--sets', nargs='+', default=SETS)
    p.add_argument('--shares', nargs='+', type=float, default=SHARES)
    p.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    p.add_argument('--methods', nargs='+', default=list(METHODS), choices=list(METHODS))
    p.add_argument('--out', type=Path, default=OUT)
    p.add_argument('--render', action='store_true', help='write the part of the results page from what has been measured')
    a = p.parse_args(argv)
    if a.render: return print(render(read_rows(a.out)))
    for seed in a.seeds:
        for name in a.sets:
            for method in a.methods:        # the body of a task is pretrained once for all shares
                for share in a.shares:
                    key = name, f'{share:g}', str(seed), method
                    if any((r['dataset'], f"{float(r['share']):g}", r['seed'], r['method']) == key for r in read_rows(a.out)): continue
                    row = measure(name, share, seed, method)
                    append_row(row, a.out, FIELDS)
                    print(f"{name:20}{share:<6}seed {seed}  {method:12}{row['labels']:>5} labels  accuracy {row['accuracy']:.4f}  {row['cpu_s']:.0f} s", flush=True)


if __name__ == '__main__': main()
