"""Forecasts and regressions against what needs no model: `python -m benchmarks.targets [etth1 covid electricity natops motions] [--epochs N]`

ETTh1 (12, 4 and 4 months for training, validation and test, as is customary): 168 hours of all 7 channels in, the next 24 hours out. The errors are on data
standardised by the training months, beside those of repeating the last day. The archive's regression sets are beside the mean of the training targets.
Several labels a series are made from BasicMotions, whose four activities differ in whether the feet move, whether a racket swings, and how fast both go."""
import argparse, csv, os, time
from pathlib import Path

import numpy as np
import pandas as pd
from fastai.metrics import accuracy, accuracy_multi, mae, mse

from tsfast.data.all import (SlidingWindow, TSClassification, TSMultiLabelClassification, TSNan2Value, TSRegression, TSStandardize, get_forecasting_splits, get_regression_data, get_ts_dls,
                             get_UCR_data)
from tsfast.learner import ts_learner

RESULTS = Path(__file__).parent/'results'/'targets.csv'
COLUMNS = ['task', 'arch', 'epochs', 'metric', 'value', 'baseline', 'baseline_is', 'mae', 'baseline_mae', 'seconds']


def save(row):
    "One row for each task and architecture; a new run replaces the old row"
    old = pd.read_csv(RESULTS) if RESULTS.exists() else pd.DataFrame()
    if len(old): old = old[~((old.task == row['task']) & (old.arch == row['arch']))]
    RESULTS.parent.mkdir(exist_ok=True)
    pd.concat([old, pd.DataFrame([row])]).reindex(columns=COLUMNS).sort_values(['task', 'arch']).to_csv(RESULTS, index=False, quoting=csv.QUOTE_MINIMAL, float_format='%.4f')
    print(row)


def etth1(arch, epochs, lr=1e-3):
    files = (Path(d)/'ETT'/'ETTh1.csv' for d in os.environ.get('TSFAST_DATA', '').split(os.pathsep))
    f = next((o for o in files if o.exists()), None)
    if f is None: raise SystemExit('ETT/ETTh1.csv is in none of the directories of TSFAST_DATA.')
    month = 30*24
    df = pd.read_csv(f)[:20*month].drop(columns='date')
    df = (df - df[:12*month].mean()) / df[:12*month].std(ddof=0)
    X, y = SlidingWindow(168, 24)(df)
    splits = get_forecasting_splits(df, 168, 24, valid_size=4*month, test_size=4*month)
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSRegression()], bs=64, val_bs=256)
    learn = ts_learner(dls, arch, metrics=[mse, mae], seed=0)
    t = time.time()
    learn.fit_one_cycle(epochs, lr, wd=0.01)
    seconds = time.time() - t
    test = splits[2]
    naive = X[test][:, :, -24:] - y[test]
    preds = learn.get_X_preds(X[test], bs=256, with_decoded=False)[0].numpy() - y[test]
    return dict(task='ETTh1, 24 hours ahead', arch=arch, epochs=epochs, metric='MSE', value=(preds**2).mean(), baseline=(naive**2).mean(), mae=np.abs(preds).mean(), baseline_mae=np.abs(naive).mean(), baseline_is='the last day again', seconds=seconds)


def regression(arch, epochs, dsid, by_sample=False):
    "`epochs=0`: a feature model with its head in closed form"
    X, y, splits = get_regression_data(dsid, split_data=False)
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSRegression(standardize=True)], batch_tfms=[TSStandardize(by_var=True, by_sample=by_sample), TSNan2Value()], bs=32, val_bs=256)
    learn = ts_learner(dls, arch, metrics=mae, seed=0)
    t = time.time()
    if epochs: learn.fit_one_cycle(epochs, 1e-3)
    else: learn.fit_ridge()
    seconds = time.time() - t
    preds, targs = (o.numpy().ravel() for o in learn.get_preds())
    base = y[list(splits[0])].mean()
    return dict(task=dsid, arch=arch, epochs=epochs, metric='RMSE', value=np.sqrt(((preds - targs)**2).mean()), baseline=np.sqrt(((base - targs)**2).mean()), mae=np.abs(preds - targs).mean(),
         baseline_mae=np.abs(base - targs).mean(), baseline_is='mean of the training targets', seconds=seconds)


def natops(arch, epochs):
    X, y, splits = get_UCR_data('NATOPS', split_data=False)
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], batch_tfms=TSStandardize(by_var=True), bs=32, val_bs=256)
    learn = ts_learner(dls, arch, metrics=accuracy, seed=0)
    t = time.time()
    learn.fit_one_cycle(epochs, 1e-3)
    return dict(task='NATOPS', arch=arch, epochs=epochs, metric='accuracy', value=float(learn.validate()[1]), baseline=1/6, baseline_is='a guess', seconds=time.time() - t)


LABELS = {'Standing': [], 'Walking': ['feet'], 'Running': ['feet', 'fast'], 'Badminton': ['racket', 'fast']}

def motions(arch, epochs):
    X, y, splits = get_UCR_data('BasicMotions', split_data=False)
    labels = [LABELS[o] for o in y]
    dls = get_ts_dls(X, labels, splits=splits, tfms=[None, TSMultiLabelClassification()], batch_tfms=TSStandardize(by_var=True), bs=16, val_bs=64)
    learn = ts_learner(dls, arch, metrics=accuracy_multi, seed=0)
    t = time.time()
    learn.fit_one_cycle(epochs, 1e-3)
    none = 1 - np.mean([len(LABELS[o]) for o in y[list(splits[1])]])/3      # say of every label that it is absent
    return dict(task='BasicMotions, labels feet, racket, fast', arch=arch, epochs=epochs, metric='accuracy of labels', value=float(learn.validate()[1]), baseline=none, baseline_is='no label', seconds=time.time() - t)


RUNS = {'etth1': [(etth1, 'DLinear', 4, dict(lr=2e-3)), (etth1, 'LSTM', 5, {})],
        # the countries' counts span orders of magnitude: each series on a scale of its own
        'covid': [(regression, 'InceptionTime', 50, dict(dsid='Covid3Month', by_sample=True)), (regression, 'MiniRocket', 0, dict(dsid='Covid3Month', by_sample=True))],
        'electricity': [(regression, 'GRU', 30, dict(dsid='ElectricityPredictor'))],
        'natops': [(natops, 'LSTM_FCN', 30, {}), (natops, 'RNNAttentionPlus', 30, {})],
        'motions': [(motions, 'LSTM_FCN', 30, {}), (motions, 'RNNAttentionPlus', 30, {})]}

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('tasks', nargs='*', default=list(RUNS), help=f"some of {', '.join(RUNS)}")
    p.add_argument('--archs', nargs='+', help='only these architectures')
    p.add_argument('--epochs', type=int, help='instead of the number of each run')
    args = p.parse_args()
    for task in args.tasks:
        for run, arch, epochs, kwargs in RUNS[task]:
            if not args.archs or arch in args.archs: save(run(arch, args.epochs or epochs, **kwargs))
