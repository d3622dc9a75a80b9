"""Accuracy with few labels, with and without pretraining on the series alone: a sweep that can be stopped and goes on where it stopped.

    TSFAST_DATA=<folder with <Name>/<Name>_TRAIN.tsv> python -m benchmarks.label_fractions [--sets Plane …] [--seeds 0 1 2]
    python -m benchmarks.label_fractions --render       # writes the part of the results page from what has been measured

Four methods see the same labels: a stratified draw of 1, 5, 10 or 100 % of the training split, at least one series per class. The network is a
ResNet with 16 filters. From scratch and after pretraining it takes the same number of steps, with the same batch size and learning rate;
pretraining comes on top, on all training series, without labels and without the test split. The fourth method is MiniRocket with its closed-form
head. All methods are scored once, on the default test split, after the last step. Seeds draw the labels, the networks and the kernels.
The settings were chosen on MiddlePhalanxTW, WordSynonyms and ChlorineConcentration, which are not in the table. Seconds are those of the processor."""
import argparse, time
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from benchmarks.rows import append_row, read_rows, versions

QUICK = ['--render']   # the sweep itself takes an hour
OUT = Path(__file__).parent/'results'/'label_fractions.csv'
SETS = 'ECG200 Plane SyntheticControl FacesUCR ProximalPhalanxTW SwedishLeaf ECG5000'.split()
SHARES = .01, .05, .1, 1.
METHODS = dict(scratch='from scratch', masked='after masked reconstruction', contrastive='after contrastive learning', minirocket='MiniRocket')
FIELDS = ['dataset', 'share', 'seed', 'method', 'labels', 'accuracy', 'cpu_s', 'pretrain_cpu_s', 'pretrain_loss', 'steps', 'pretrain_steps',
          'n_train', 'n_test', 'classes', 'length', 'threads', 'tsfast', 'torch', 'date']
STEPS, BS, LR, PRETRAIN_STEPS = 300, 32, 3e-3, 500
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
    return learn

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
    learn = quiet_fit(pretrain_learner(dls, **ARCH, task=task, seed=seed), LR)
    return learn, float(learn.recorder.smooth_loss.value), time.process_time() - start

def network(X, y, splits, seed, start=None):
    "Accuracy of the network on the second split, from scratch or from a pretrained one"
    from fastai.metrics import accuracy
    from tsfast.learner import ts_learner
    learn = ts_learner(loaders(X, y, splits, STEPS, BS, seed), **ARCH, metrics=accuracy, seed=seed)
    if start is not None:
        own, body = learn.model.state_dict(), start.encoder.state_dict()
        learn.model.load_state_dict(own | {k: v for k, v in body.items() if k in own and not k.startswith('fc.')})
    quiet_fit(learn, LR)
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
    pre = pretrained(name, method, seed) if method in ('masked', 'contrastive') else (None, '', 0.)
    rows = train[drawn_labels(y[train], share, seed)]
    start = time.process_time()
    acc = minirocket(X, y, (rows, test), seed) if method == 'minirocket' else network(X, y, (rows, test), seed, pre[0])
    return dict(dataset=name, share=share, seed=seed, method=method, labels=len(rows), accuracy=round(acc, 4),
                cpu_s=round(time.process_time() - start, 1), pretrain_cpu_s=round(pre[2], 1) or '', pretrain_loss=pre[1] and round(pre[1], 4),
                steps='' if method == 'minirocket' else STEPS, pretrain_steps=PRETRAIN_STEPS if pre[0] else '', n_train=len(train),
                n_test=len(test), classes=len(np.unique(y)), length=X.shape[2], **versions())
