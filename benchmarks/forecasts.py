"""Long forecasts of ETTh1 beside what needs no training and beside published figures: runs that can be stopped and go on where they stopped

    TSFAST_DATA=<folder with ETT/ETTh1.csv> python -m benchmarks.forecasts [--methods DLinear …] [--horizons 96 720] [--seeds 0]
    python -m benchmarks.forecasts --render       # writes the part of the results page from what has been measured
    python -m benchmarks.forecasts --choose LSTM --horizons 96 --try lr=3e-3 hidden_size=64    # validation error of other settings

The customary protocol: 12, 4 and 4 months for training, validation and test, all 7 channels standardised by the training months, errors on
this scale over all windows of the test months, of which none is dropped. A training is one cycle, and the weights of the epoch with the lowest
validation error count. The number of epochs keeps a training below about 6 minutes of one processor, which is less than the papers took
(PatchTST: 100 epochs). Settings of the LSTM were chosen by the validation error of horizon 96: at a constant learning rate, reading all
channels together gave 0.861, and each channel by itself 0.713; repeating the last day gives 0.827. `--choose` does not look at the test months."""
import argparse, ast, time
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from benchmarks.common import processor
from benchmarks.rows import append_row, read_rows, versions, write_part
from benchmarks.targets import etth1_hours

QUICK = ['--render']   # the trainings take an hour
OUT = Path(__file__).parent/'results'/'forecasts.csv'
FIELDS = ['data', 'method', 'horizon', 'input', 'seed', 'mse', 'mae', 'mase', 'valid_mse', 'epochs', 'max_epochs', 'lr', 'bs', 'arch_args', 'parameters',
          'cpu_s', 'n_train', 'n_valid', 'n_test', 'tsfast', 'torch', 'fastai', 'threads', 'device', 'processor', 'date']
DAY = 24
REPEATS = {'last value': 1, 'last day': DAY, 'last week': 7*DAY}
PATCHTST = dict(n_layers=3, n_heads=4, d_model=16, d_ff=128, dropout=.3, patch_len=16, stride=8)
# of each method: architecture, input, most epochs, learning rate, batch size, arguments
TRAINED = {'DLinear': ('DLinear', 336, 10, 1e-3, 32, {}),
           'PatchTST': ('PatchTST', 336, 5, 2e-3, 128, PATCHTST),
           'PatchTST 512': ('PatchTST', 512, 4, 2e-3, 128, PATCHTST),
           'LSTM by channel': ('LSTM', 336, 3, 2e-3, 448, dict(hidden_size=32, revin=True)),
           'LSTM': ('LSTM', 336, 5, 1e-3, 64, dict(hidden_size=64, fc_dropout=.2, revin=True))}
BY_CHANNEL = ['LSTM by channel']      # each channel is a series of its own, as in DLinear and PatchTST
# MSE and MAE. DLinear and the last value: Table 2 of Zeng et al. 2023; PatchTST/42 (336 steps) and /64 (512): Table 3 of Nie et al. 2023
PUBLISHED = {('DLinear', 96): (.375, .399), ('DLinear', 720): (.472, .490), ('last value', 96): (1.295, .713), ('last value', 720): (1.339, .756),
             ('PatchTST', 96): (.375, .399), ('PatchTST', 720): (.449, .466), ('PatchTST 512', 96): (.370, .400), ('PatchTST 512', 720): (.447, .468)}


@lru_cache(1)
def windows(length, horizon):
    "All windows, their splits, and the training months"
    from tsfast.data.splits import get_forecasting_splits
    from tsfast.data.windows import SlidingWindow
    df, month = etth1_hours()
    X, y = SlidingWindow(length, horizon)(df)
    return X, y, get_forecasting_splits(df, length, horizon, valid_size=4*month, test_size=4*month), df[:12*month].to_numpy()

def row_of(method, horizon, length, seed, errors, splits, **more):
    sizes = dict(zip(('n_train', 'n_valid', 'n_test'), map(len, splits)))
    return dict(data='ETTh1', method=method, horizon=horizon, input=length, seed=seed, **{k.lower(): round(v, 5) for k, v in errors.items()},
                **sizes, **more, **versions(), processor=processor())

def repeated(method, horizon, seed=0):
    "One row: a forecast that repeats what the window ends with"
    from tsfast.baselines import forecast_errors, seasonal_forecast, seasonal_scale
    X, y, splits, history = windows(336, horizon)
    scale = seasonal_scale(history, DAY)
    valid, test = (forecast_errors(y[o], seasonal_forecast(X[o], horizon, REPEATS[method]), scale) for o in splits[1:])
    return row_of(method, horizon, 336, seed, test, splits, valid_mse=round(valid['MSE'], 5))

def each_channel(X, y, splits):
    "Every channel of a window as a series of one channel"
    C = X.shape[1]
    return X.reshape(-1, 1, X.shape[2]), y.reshape(-1, 1, y.shape[2]), [(o[:, None]*C + np.arange(C)).ravel() for o in splits]

def training(method, horizon, seed, changes=None):
    "A run that has been trained, its settings and seconds of the processor"
    from tsfast.data.targets import TSRegression
    from tsfast.training import RunData, RunSettings, TrainingRun
    from tsfast.training.run import BestWeights
    arch, length, epochs, lr, bs, arch_args = TRAINED[method]
    how = dict(epochs=epochs, lr=lr, bs=bs)
    for k, v in (changes or {}).items():
        if k in how: how[k] = v
        else: arch_args = {**arch_args, k: v}
    X, y, splits, _ = windows(length, horizon)
    if method in BY_CHANNEL: X, y, splits = each_channel(X, y, splits)
    run = TrainingRun(RunSettings(arch=arch, arch_args=arch_args, seed=seed, batch_tfms=['none'], device='cpu', **how),
                      RunData(X, y, splits, TSRegression()))
    start = time.process_time()
    learn = run.learner()
    with learn.no_bar(), learn.no_logging(): run.train([BestWeights(how['epochs'])], validate=True)
    return run, dict(max_epochs=how['epochs'], lr=how['lr'], bs=how['bs'], arch_args=' '.join(f'{k}={v}' for k, v in arch_args.items()),
                     cpu_s=round(time.process_time() - start))

def course(run): return [round(float(o[1]), 4) for o in run.learner().recorder.values]

def trained(method, horizon, seed):
    "One row: train, and score the test months"
    from tsfast.baselines import forecast_errors, seasonal_scale
    from tsfast.models.utils import count_parameters
    run, how = training(method, horizon, seed)
    length, valid = TRAINED[method][1], course(run)
    _, y, splits, history = windows(length, horizon)
    true = y[splits[2]]
    errors = forecast_errors(true, np.asarray(run.predict().pred).reshape(true.shape), seasonal_scale(history, DAY))
    return row_of(method, horizon, length, seed, errors, splits, valid_mse=min(valid), epochs=len(valid),
                  parameters=count_parameters(run.learner().model), **how)

def table(rows):
    "A row for each horizon and method: the mean over seeds, with the standard deviation where there are several"
    df = pd.DataFrame(rows)
    if not len(df): return 'Nothing has been measured yet.'
    for k in ('mse', 'mae', 'mase', 'horizon', 'cpu_s', 'epochs'): df[k] = pd.to_numeric(df[k])
    lines = ['| hours ahead | method | MSE | MAE | MASE | published MSE | MAE | seeds | epochs | minutes of the processor |', '|---'*10 + '|']
    def mean(o, k): return f'{o[k].mean():.3f}' + (f' ± {o[k].std():.3f}' if len(o) > 1 else '')
    for h in sorted(df.horizon.unique()):
        for m in (*REPEATS, *TRAINED):
            o = df[(df.horizon == h) & (df.method == m)]
            if not len(o): continue
            known = [f'{v:.3f}' for v in PUBLISHED.get((m, h), ())] or ['', '']
            took = ['', '', ''] if m in REPEATS else [str(len(o)), f'{o.epochs.mean():g}', f'{o.cpu_s.mean()/60:.1f}']
            lines.append('| ' + ' | '.join([str(h), m, *(mean(o, k) for k in ('mse', 'mae', 'mase')), *known, *took]) + ' |')
    return '\n'.join(lines)

HEAD = """How these were made: `python -m benchmarks.forecasts`, one thread. ETTh1, 12, 4 and 4 months for training, validation and test; all 7 channels,
standardised by the training months; 336 hours in (512 for *PatchTST 512*), all test windows. Errors are on this scale; MASE has the error of
repeating the last day in the training months as its unit. A training is one cycle; the epoch with the lowest validation error counts.
PatchTST has the paper's small settings for this data (width 16, 4 heads, 128 hidden units, dropout 0.3, patches of 16 every 8 steps).
Both LSTMs have `revin`. One reads each channel as a series of its own, as DLinear and PatchTST do, and one reads all channels together;
their settings were chosen by the validation error. Published figures: DLinear and the last value from
Table 2 of [Zeng et al. 2023](https://doi.org/10.1609/aaai.v37i9.26317), PatchTST from Table 3 of
[Nie et al. 2023](https://openreview.net/forum?id=Jbdc0vTOcol). The papers' code of that time dropped the last incomplete batch of test windows."""

def render(rows, out=OUT.with_suffix('.md')):
    "Write the page's part"
    return write_part(out, '## Long forecasts', HEAD, table(rows))

def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks.forecasts', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--methods', nargs='+', default=[*REPEATS, *TRAINED], choices=[*REPEATS, *TRAINED])
    p.add_argument('--horizons', nargs='+', type=int, default=[96, 720])
    p.add_argument('--seeds', nargs='+', type=int, default=[0])
    p.add_argument('--choose', choices=list(TRAINED), help='print the validation errors of other settings of this method; nothing is stored')
    p.add_argument('--try', nargs='+', default=[], dest='changes', metavar='NAME=VALUE', help='settings to change with --choose')
    p.add_argument('--out', type=Path, default=OUT)
    p.add_argument('--render', action='store_true', help='write the part of the results page from what has been measured')
    a = p.parse_args(argv)
    if a.render: return print(render(read_rows(a.out)))
    if a.choose:
        for h in a.horizons:
            run, how = training(a.choose, h, a.seeds[0], {k: ast.literal_eval(v) for k, v in (o.split('=') for o in a.changes)})
            print(f"{a.choose} {h} hours: validation errors {course(run)}  {how}", flush=True)
        return
    for seed in a.seeds:
        for horizon in a.horizons:
            for method in a.methods:
                done = {(r['method'], r['horizon'], r['seed']) for r in read_rows(a.out)}
                if (method, str(horizon), str(seed)) in done or seed and method in REPEATS: continue
                row = (repeated if method in REPEATS else trained)(method, horizon, seed)
                append_row(row, a.out, FIELDS)
                print(f"{method:16}{horizon:4} hours  MSE {row['mse']:.4f}  MAE {row['mae']:.4f}  {row.get('cpu_s', 0)} s", flush=True)


if __name__ == '__main__': main()
