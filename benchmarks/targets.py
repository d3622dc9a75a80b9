"""Forecasts and regressions against what needs no model: `python -m benchmarks.targets [etth1 covid electricity natops motions] [--epochs
N]`

ETTh1 (12, 4 and 4 months for training, validation and test, as is customary): 168 hours of all 7 channels in, the next 24 hours out. The
errors are on data standardised by the training months, beside those of repeating the last day. The archive's regression sets are beside
the mean of the training targets. Several labels per series are made from BasicMotions, whose four activities differ in whether the feet
move, whether a racket swings, and how fast both go."""
import argparse, csv, os
from pathlib import Path

import numpy as np
import pandas as pd
from fastai.metrics import accuracy, accuracy_multi, mae, mse

from tsfast.data.external import get_regression_data, get_UCR_data
from tsfast.data.splits import get_forecasting_splits
from tsfast.data.targets import TSClassification, TSMultiLabelClassification, TSRegression
from tsfast.data.windows import SlidingWindow
from tsfast.training import RunData, RunSettings, TrainingRun

RESULTS = Path(__file__).parent/'results'/'targets.csv'
COLUMNS = ['task', 'arch', 'epochs', 'metric', 'value', 'baseline', 'baseline_is', 'mae', 'baseline_mae', 'seconds']


def save(row):
    "One row for each task and architecture; a new run replaces the old row"
    old = pd.read_csv(RESULTS) if RESULTS.exists() else pd.DataFrame()
    if len(old): old = old[~((old.task == row['task']) & (old.arch == row['arch']))]
    RESULTS.parent.mkdir(exist_ok=True)
    rows = pd.concat([old, pd.DataFrame([row])]).reindex(columns=COLUMNS).sort_values(['task', 'arch'])
    rows.to_csv(RESULTS, index=False, quoting=csv.QUOTE_MINIMAL, float_format='%.4f')
    print(row)

def trained(data, arch, epochs, metrics, lr=1e-3, **settings):
    "A run; without epochs, the head is solved in closed form"
    how = dict(epochs=epochs, lr=lr) if epochs else dict(ridge=True)
    return TrainingRun(RunSettings(arch=arch, **how, **settings), data, metrics=metrics).train(validate=True)

def etth1_hours():
    "The 20 months that are in use, standardised by the first 12"
    files = (Path(d)/'ETT'/'ETTh1.csv' for d in os.environ.get('TSFAST_DATA', '').split(os.pathsep))
    f = next((o for o in files if o.exists()), None)
    if f is None: raise SystemExit('ETT/ETTh1.csv is in none of the directories of TSFAST_DATA.')
    month = 30*24
    df = pd.read_csv(f)[:20*month].drop(columns='date')
    return (df - df[:12*month].mean()) / df[:12*month].std(ddof=0), month

def etth1(arch, epochs, lr=1e-3, name=None, **arch_args):
    df, month = etth1_hours()
    X, y = SlidingWindow(168, 24)(df)
    splits = get_forecasting_splits(df, 168, 24, valid_size=4*month, test_size=4*month)
    data = RunData(X, y, splits, TSRegression())
    run = trained(data, arch, epochs, [mse, mae], lr, bs=64, batch_tfms=['none'], arch_args=arch_args)
    p, test = run.predict(), splits[2]
    errors, naive = p.pred - p.true, X[test][:, :, -24:] - y[test]
    return dict(task='ETTh1, 24 hours ahead', arch=name or arch, epochs=epochs, metric='MSE', value=(errors**2).mean(), baseline=(naive**2).mean(),
                mae=np.abs(errors).mean(), baseline_mae=np.abs(naive).mean(), baseline_is='the last day again', seconds=run.seconds)

def regression(arch, epochs, dsid, by_sample=False):
    "`epochs=0`: a feature model with its head in closed form"
    X, y, splits = get_regression_data(dsid, split_data=False)
    tfms = [f'standardize:by_sample={by_sample}', 'nan2value']
    run = trained(RunData(X, y, splits, TSRegression(standardize=True)), arch, epochs, mae, bs=32, batch_tfms=tfms)
    p = run.predict()
    errors, base = p.pred - p.true, y[list(splits[0])].mean() - p.true
    return dict(task=dsid, arch=arch, epochs=epochs, metric='RMSE', value=np.sqrt((errors**2).mean()), baseline=np.sqrt((base**2).mean()),
                mae=np.abs(errors).mean(), baseline_mae=np.abs(base).mean(), baseline_is='mean of the training targets',
                seconds=run.seconds)

def natops(arch, epochs):
    X, y, splits = get_UCR_data('NATOPS', split_data=False)
    run = trained(RunData(X, y, splits, TSClassification()), arch, epochs, accuracy, bs=32)
    p = run.predict()
    return dict(task='NATOPS', arch=arch, epochs=epochs, metric='accuracy', value=float((p.true == p.pred).mean()), baseline=1/6,
                baseline_is='a guess', seconds=run.seconds)


LABELS = {'Standing': [], 'Walking': ['feet'], 'Running': ['feet', 'fast'], 'Badminton': ['racket', 'fast']}

def motions(arch, epochs):
    X, y, splits = get_UCR_data('BasicMotions', split_data=False)
    labels = [LABELS[o] for o in y]
    run = trained(RunData(X, labels, splits, TSMultiLabelClassification()), arch, epochs, accuracy_multi, bs=16)
    learn = run.learner()
    with learn.no_bar(): value = float(learn.validate()[1])
    none = 1 - np.mean([len(LABELS[o]) for o in y[list(splits[1])]])/3      # say of every label that it is absent
    return dict(task='BasicMotions, labels feet, racket, fast', arch=arch, epochs=epochs, metric='accuracy of labels', value=value,
                baseline=none, baseline_is='no label', seconds=run.seconds)


COVID = dict(dsid='Covid3Month', by_sample=True)        # the countries' counts span orders of magnitude: each series on a scale of its own
SMALL = dict(n_heads=4, d_model=16, d_ff=128, dropout=.2)    # of PatchTST's paper, for this data
RUNS = {'etth1': [(etth1, 'DLinear', 4, dict(lr=2e-3)), (etth1, 'NLinear', 4, dict(lr=2e-3)),
                  (etth1, 'LSTM', 5, {}), (etth1, 'LSTM', 5, dict(name='LSTM, revin', revin=True)),
                  (etth1, 'TSMixer', 5, dict(name='TSMixer, revin', revin=True)), (etth1, 'PatchTST', 5, dict(n_layers=3, **SMALL)),
                  (etth1, 'iTransformer', 5, dict(name='iTransformer, revin', n_heads=4, d_model=64, d_ff=64, revin=dict(affine=False)))],
        'covid': [(regression, 'InceptionTime', 50, COVID), (regression, 'MiniRocket', 0, COVID)],
        'electricity': [(regression, 'GRU', 30, dict(dsid='ElectricityPredictor'))],
        'natops': [(natops, 'LSTM_FCN', 30, {}), (natops, 'RNNAttentionPlus', 30, {})],
        'motions': [(motions, 'LSTM_FCN', 30, {}), (motions, 'RNNAttentionPlus', 30, {})]}

def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks.targets', description=__doc__.split('\n')[0])
    p.add_argument('tasks', nargs='*', default=list(RUNS), help=f"some of {', '.join(RUNS)}")
    p.add_argument('--archs', nargs='+', help='only these architectures')
    p.add_argument('--epochs', type=int, help='instead of the number of each run')
    a = p.parse_args(argv)
    for task in a.tasks:
        for run, arch, epochs, kwargs in RUNS[task]:
            if not a.archs or arch in a.archs: save(run(arch, a.epochs or epochs, **kwargs))


if __name__ == '__main__': main()
