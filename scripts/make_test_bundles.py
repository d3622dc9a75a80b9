"Write the missing bundles of `tests/data`. Existing ones are kept: every later version of tsfast must read them"
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import tsfast.deploy
from tsfast.data.core import get_ts_dls
from tsfast.data.external import get_UCR_data
from tsfast.data.preprocessing import TSClip, TSNan2Value, TSStandardize
from tsfast.data.targets import TSClassification, TSRegression
from tsfast.inference import load_bundle, read_config
from tsfast.interpret import CalibratedLoss
from tsfast.learner import ts_learner

out = Path(__file__).resolve().parents[1]/'tests'/'data'


def write(name, learn, X, static=None, **kwargs):
    "The folder is named after the format version that the bundle needs"
    with tempfile.TemporaryDirectory() as d: version = read_config(learn.save_bundle(f'{d}/b', **kwargs))['format_version']
    folder = out/f'bundle_v{version}_{name}'
    if folder.exists(): print(f'{folder.name} is there already, and stays as it is'); return
    p = load_bundle(learn.save_bundle(folder, **kwargs))
    side = {} if static is None else p.encode_inputs(len(X), static=static)
    arrays = dict(X=X, out=p(X, **side).numpy(), embeddings=p.embeddings(X, **side), **{k: np.asarray(v) for k, v in side.items()})
    if p.kind == 'classification': arrays['predicted'] = p.predict(X, **side)
    calibrated = 'conformal' in p.config
    if calibrated and p.kind == 'classification': arrays['sets'] = np.array([len(o) for o in p.predict_sets(X, **side)])
    if calibrated and p.kind != 'classification': arrays['interval'] = np.stack(p.predict_interval(X, **side))
    if 'novelty' in p.config: arrays['novelty'] = np.asarray(p.novelty(X, **side))
    np.savez_compressed(out/f'expected_v{version}_{name}.npz', **arrays)


X, y, splits = get_UCR_data('ItalyPowerDemand', split_data=False)
X = X.astype(np.float32); gaps = X.copy(); gaps[::7, :, 3] = np.nan
dls = get_ts_dls(gaps, y, splits=splits, tfms=[None, TSClassification()], batch_tfms=[TSStandardize(), TSClip(-3, 3), TSNan2Value()], bs=16)
learn = ts_learner(dls, 'InceptionTime', nf=4, depth=3, seed=0); learn.fit_one_cycle(4, 1e-2)
learn.loss_func = CalibratedLoss(learn.loss_func, 1.5)
write('classes', learn, gaps[splits[1][:8]])

dls = get_ts_dls(X, np.where(y == '1', 10, 20), splits=splits, batch_tfms=TSStandardize(by_sample=True), bs=16)
learn = ts_learner(dls, 'MiniRocket', num_features=420, random_state=0, seed=0); learn.fit_one_cycle(4, 1e-2)
write('features', learn, X[splits[1][:8]])

numbers = [None, TSRegression(standardize=True)]
dls = get_ts_dls(X, 100 + 9*X[:, 0, :2], splits=splits, tfms=numbers, batch_tfms=TSStandardize(by_step=True), bs=16)
learn = ts_learner(dls, 'GRU', hidden_size=8, seed=0); learn.fit_one_cycle(4, 1e-2)
write('numbers', learn, X[splits[1][:8]])

# version 2: targets that need float64, and a selection that says what it selects from
dls = get_ts_dls(X, 1e7 + .16*X[:, 0, 1], splits=splits, tfms=[None, TSRegression(standardize=True)], batch_tfms=TSStandardize(), bs=16)
learn = ts_learner(dls, 'FCN', layers=[4, 6], kss=[3, 3], seed=0); learn.fit_one_cycle(4, 1e-2)
write('far', learn, X[splits[1][:8]])

dls = get_ts_dls(np.concatenate([X, -X], 1), y, splits=splits, sel_vars=[1], sel_steps=slice(4, None, 2), batch_tfms=TSStandardize(), bs=16)
learn = ts_learner(dls, 'XceptionTime', nf=2, adaptive_size=12, seed=0); learn.fit_one_cycle(4, 1e-2)
write('selection', learn, np.concatenate([X, -X], 1)[splits[1][:8]])

# version 8: an encoder, without a head
dls = get_ts_dls(X, y, splits=splits, batch_tfms=TSStandardize(by_sample=True), bs=16)
learn = ts_learner(dls, 'FCN', layers=[4, 6], kss=[3, 3], seed=0); learn.fit_one_cycle(4, 1e-2)
write('encoder', learn, X[splits[1][:8]], encoder_only=True)

# version 9: a table beside the series, conformal sets and the distance to the training data; quantiles of forecasts with calibrated intervals
import tsfast.interpret
from tsfast.data.forecast_target import TSForecast
table = pd.DataFrame(dict(age=np.arange(len(X)) % 50 + .5, sex=np.where(np.arange(len(X)) % 3, 'f', 'm')))
train, rest = range(67), range(67, 300)
dls = get_ts_dls(X, y, splits=(train, rest), static=table, batch_tfms=TSStandardize(by_sample=True), bs=16)
learn = ts_learner(dls, 'FCN', layers=[4, 6], kss=[3, 3], seed=0); learn.fit_one_cycle(4, 1e-2)
new, cal = slice(600, 608), slice(300, 600)
learn.conformal(X[cal], y[cal], inputs=dict(static=table[cal]))
learn.novelty(X[cal], inputs=dict(static=table[cal]))
write('tables', learn, X[new], static=table[new])

dls = get_ts_dls(X[..., :18], X[..., 18:], splits=(train, rest), tfms=[None, TSForecast(quantiles=(.1, .5, .9))], bs=16)
learn = ts_learner(dls, 'DLinear', seed=0); learn.fit_one_cycle(4, 1e-2)
learn.conformal(X[cal, :, :18], X[cal, :, 18:])
write('forecast', learn, X[new, :, :18])
