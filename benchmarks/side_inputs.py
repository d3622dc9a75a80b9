"""Static columns and values known in advance, with and without: `python -m benchmarks.side_inputs [pulse] [etth1] [--seeds 0 1 2] [--render]`

`pulse` is made by this script, since no set that sktime or scikit-learn bundles has both series and a table: the pulse of a person in the minutes
after an effort falls to the pulse at rest, and the question is whether it falls more slowly than expected. What is expected depends on
age, on fitness and on a medicine, which are in the table; neither the series nor the table tells the label alone. 600 persons for training, 600 for
testing. A network on the series, scikit-learn's gradient boosting on the table, and networks on both are scored by their accuracy.

`etth1` is ETTh1 with the customary split (12, 4 and 4 months), standardised by the training months: 168 hours of all 7 channels in, 24 or 96 hours out,
with and without the calendar (hour, weekday and month) of all these hours. The networks are small and trained for a few epochs, the same with and
without; the error is that of the last epoch on the test months."""
import argparse, time
from pathlib import Path

import numpy as np
import pandas as pd
from benchmarks.rows import append_row, read_rows, versions, write_part

QUICK = ['--render']   # the measurements take some minutes
OUT = Path(__file__).parent/'results'/'side_inputs.csv'
FIELDS = ['task', 'inputs', 'method', 'seed', 'metric', 'value', 'mae', 'epochs', 'parameters', 'cpu_s', 'threads', 'tsfast', 'torch', 'date']


# ---- pulse

def persons(n, seed=0):
    "Series (n, 1, 60), a table and labels"
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(dict(age=rng.uniform(20, 80, n), fitness=rng.choice(['low', 'middle', 'high'], n), medicine=rng.random(n) < .3))
    expected = 14 + .35*(table.age - 20) + table.fitness.map(dict(low=6, middle=0, high=-6)) + 8*table.medicine    # seconds
    tau = (expected*np.exp(rng.normal(0, .3, n))).to_numpy()
    rest, rise = rng.normal(65, 8, n), rng.normal(70, 12, n)
    t = np.arange(60.)*2
    pulse = rest[:, None] + rise[:, None]*np.exp(-t/tau[:, None]) + rng.normal(0, 3, (n, 60))
    return pulse[:, None].astype(np.float32), table, np.where(tau > expected, 'slow', 'normal')

def score(dls, arch, epochs, seed, test, **kwargs):
    from tsfast.learner import ts_learner
    learn = ts_learner(dls, arch, seed=seed, **kwargs)
    with learn.no_bar(), learn.no_logging():
        if epochs: learn.fit_one_cycle(epochs, 1e-2)
        else: learn.fit_ridge()
        p, t = learn.get_preds(ds_idx=test)
    return p, t, sum(o.numel() for o in learn.model.parameters())

def table_alone(table, y, train, test, seed):
    "scikit-learn's gradient boosting on the table"
    from sklearn.ensemble import HistGradientBoostingClassifier
    X = table.assign(fitness=table.fitness.astype('category').cat.codes, medicine=table.medicine.astype(int))
    clf = HistGradientBoostingClassifier(random_state=seed).fit(X.iloc[train], y[train])
    return float((clf.predict(X.iloc[test]) == y[test]).mean())

def pulse(seed):
    from tsfast.data.core import get_ts_dls
    from tsfast.data.preprocessing import TSStandardize
    X, table, y = persons(1200, seed)
    train, test = np.arange(600), np.arange(600, 1200)
    common = dict(task='pulse', seed=seed, metric='accuracy')
    start = time.process_time()
    yield dict(common, inputs='table', method='gradient boosting', value=table_alone(table, y, train, test, seed), cpu_s=time.process_time() - start)
    for arch, epochs in (('FCN', 20), ('MiniRocket', 0)):
        for inputs in ('series', 'series and table'):
            dls = get_ts_dls(X, y, splits=(train, test), batch_tfms=TSStandardize(), bs=64, device='cpu', static=table if 'table' in inputs else None)
            start = time.process_time()
            p, t, size = score(dls, arch, epochs, seed, 1, **(dict(layers=(32, 32, 32)) if epochs else {}))
            yield dict(common, inputs=inputs, method=arch, epochs=epochs or '', value=float((p.argmax(1) == t).float().mean()), parameters=size,
                       cpu_s=time.process_time() - start)


# ---- ETTh1

MODELS = dict(DLinear=dict(), GRU=dict(hidden_size=64, revin=True), TSMixer=dict(n_layers=2, d_ff=32, dropout=.3))

def etth1(seed, horizons=(24, 96), epochs=3, models=MODELS):
    from benchmarks.targets import etth1_hours
    from tsfast.data.core import get_ts_dls
    from tsfast.data.known import calendar_features
    from tsfast.learner import ts_learner
    from tsfast.data.splits import get_forecasting_splits
    from tsfast.data.targets import TSRegression
    from tsfast.data.windows import SlidingWindow
    df, month = etth1_hours()
    # the month was left out after a look at the errors on the validation months: the training split has one year
    calendar = calendar_features(df.index, ('hour', 'weekday'))
    for h in horizons:
        w = SlidingWindow(168, h)
        X, y = w(df)
        splits, known = get_forecasting_splits(df, 168, h, valid_size=4*month, test_size=4*month), w.known(calendar)
        for arch, args in models.items():
            for inputs in ('series', 'series and calendar'):
                dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSRegression()], bs=64, val_bs=512, device='cpu',
                                 known=known if 'calendar' in inputs else None)
                start = time.process_time()
                learn = ts_learner(dls, arch, seed=seed, **args)
                with learn.no_bar(), learn.no_logging():
                    learn.fit_one_cycle(epochs, 1e-3)
                    p, t = learn.get_preds(ds_idx=2)
                yield dict(task=f'ETTh1 {h} h', inputs=inputs, method=arch, seed=seed, metric='MSE', value=float((p - t).square().mean()),
                           mae=float((p - t).abs().mean()), epochs=epochs, parameters=sum(o.numel() for o in learn.model.parameters()),
                           cpu_s=time.process_time() - start)


# ---- rows

def table(rows):
    "Means over seeds, with the range"
    lines = ['| task | inputs | method | metric | value | seeds |', '|---|---|---|---|---|---|']
    for key, o in pd.DataFrame(rows).groupby(['task', 'method', 'inputs', 'metric'], sort=False):
        v = o.value.astype(float)
        lines.append(f"| {key[0]} | {key[2]} | {key[1]} | {key[3]} | {v.mean():.3f} ({v.min():.3f} to {v.max():.3f}) | {len(v)} |")
    return '\n'.join(lines)

HEAD = """How these were made: `python -m benchmarks.side_inputs`, one thread. *Pulse* is synthetic: whether the pulse of a person falls more slowly
than their age, fitness and medicine lead to expect, 600 persons for training and 600 for testing. *ETTh1*: 168 hours in, 24 or 96 hours out,
customary split, errors on the test months, a few epochs; the calendar is hour and weekday of all hours as sines and cosines. Means over
seeds, with the range."""

def render(rows, out=OUT.with_suffix('.md')):
    "Write the page's part"
    return write_part(out, '## Side inputs', HEAD, table(rows))

def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('tasks', nargs='*', default=['pulse', 'etth1'], help='pulse, etth1')
    p.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    p.add_argument('--render', action='store_true', help='print the table of what has been measured')
    args = p.parse_args(argv)
    if not args.render:
        for seed in args.seeds:
            for task in args.tasks:
                for row in dict(pulse=pulse, etth1=etth1)[task](seed):
                    row = {k: round(v, 4) if isinstance(v, float) else v for k, v in {**row, **versions()}.items()}
                    append_row(row, OUT, FIELDS)
                    print(row, flush=True)
    if OUT.exists(): print(render(read_rows(OUT)))

if __name__ == '__main__': main()
