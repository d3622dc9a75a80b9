"Write the bundles of `tests/data`, once for each version of the format: they are kept, and every later tsfast reads them"
import sys
from pathlib import Path

import numpy as np

import tsfast.deploy
from tsfast.data.core import get_ts_dls
from tsfast.data.external import get_UCR_data
from tsfast.data.preprocessing import TSClip, TSNan2Value, TSStandardize
from tsfast.data.targets import TSClassification, TSRegression
from tsfast.inference import VERSION, load_bundle
from tsfast.interpret import CalibratedLoss
from tsfast.learner import ts_learner

out = Path(__file__).resolve().parents[1]/'tests'/'data'


def write(name, learn, X):
    folder = out/f'bundle_v{VERSION}_{name}'
    if folder.exists(): sys.exit(f'{folder.name} is there already, and stays as it is')
    p = load_bundle(learn.save_bundle(folder))
    arrays = dict(X=X, out=p(X).numpy(), embeddings=p.embeddings(X))
    if p.kind == 'classification': arrays['predicted'] = p.predict(X)
    np.savez_compressed(out/f'expected_v{VERSION}_{name}.npz', **arrays)


X, y, splits = get_UCR_data('ItalyPowerDemand', split_data=False)
X = X.astype(np.float32); gaps = X.copy(); gaps[::7, :, 3] = np.nan
dls = get_ts_dls(gaps, y, splits=splits, tfms=[None, TSClassification()], batch_tfms=[TSStandardize(), TSClip(-3, 3), TSNan2Value()], bs=16)
learn = ts_learner(dls, 'InceptionTime', nf=4, depth=3, seed=0); learn.fit_one_cycle(4, 1e-2)
learn.loss_func = CalibratedLoss(learn.loss_func, 1.5)
write('classes', learn, gaps[splits[1][:8]])

dls = get_ts_dls(X, np.where(y == '1', 10, 20), splits=splits, batch_tfms=TSStandardize(by_sample=True), bs=16)
learn = ts_learner(dls, 'MiniRocket', num_features=420, random_state=0, seed=0); learn.fit_one_cycle(4, 1e-2)
write('features', learn, X[splits[1][:8]])

dls = get_ts_dls(X, 100 + 9*X[:, 0, :2], splits=splits, tfms=[None, TSRegression(standardize=True)], batch_tfms=TSStandardize(by_step=True), bs=16)
learn = ts_learner(dls, 'GRU', hidden_size=8, seed=0); learn.fit_one_cycle(4, 1e-2)
write('numbers', learn, X[splits[1][:8]])
