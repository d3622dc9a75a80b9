"Transforms of one's own with a module of their own: undone in plots, the same in a bundle as in the loader"
import numpy as np
import pytest
import torch

from tsfast.data.core import get_ts_dls
from tsfast.data.preprocessing import TSBatchTransform
from tsfast.inference import Predictor
from tsfast.learner import ts_learner
from tsfast.models.scaling import SeriesModule

X, y = np.random.default_rng(0).normal(size=(24, 2, 20)).astype('float32')*50, np.array(['a', 'b']*12)

def loaders(tfm): return get_ts_dls(X, y, splits=(range(16), range(16, 24)), batch_tfms=tfm, bs=8, device='cpu')
def learner(tfm): return ts_learner(loaders(tfm), 'FCN', layers=[4, 4], kss=[3, 3], seed=0)

class PerSeries(SeriesModule):
    "Divide each series by its largest absolute value"
    def __init__(self, eps:float=1e-8):
        super().__init__()
        self.eps = eps
    def stats(self, x):
        m = x.abs().nan_to_num(0.).amax((1, 2), keepdim=True)
        return torch.where(m > self.eps, m, torch.ones_like(m)),
    def forward(self, x, stats=None): return x/(self.stats(x) if stats is None else stats)[0].to(x.device)
    def inverse(self, x, stats=None): return x if stats is None else x*stats[0].to(x.device)

class TSPerSeries(TSBatchTransform):
    order, by_sample = 90, True
    def __init__(self): super().__init__(); self.fn = PerSeries()

def test_a_transform_of_each_series_is_undone_and_bundled(tmp_path):
    "The module does all the work; nothing is written twice"
    dls = loaders(TSPerSeries())
    b = dls.valid.one_batch()
    assert float(b[0].abs().max()) == 1
    np.testing.assert_allclose(torch.stack([o[0].as_subclass(torch.Tensor) for o in dls.valid.decode_batch(b)]), X[16:], rtol=1e-5)
    learn = learner(TSPerSeries())
    assert torch.equal(Predictor(learn.save_bundle(tmp_path/'b'))(X), learn.get_X_preds(X)[0])

class Sign(TSPerSeries):
    def __init__(self): super().__init__(); self.on_series = lambda x, stats=None: torch.sign(x)

class Flips(SeriesModule):
    def __init__(self): super().__init__(); self.drop = torch.nn.Dropout(.5)
    def forward(self, x): return self.drop(x)
class TSFlips(TSBatchTransform):
    def __init__(self): super().__init__(); self.fn = Flips()

def test_a_bundle_does_what_the_loader_does(tmp_path):
    with pytest.raises(ValueError, match='code of its own'): learner(Sign()).save_bundle(tmp_path/'b')
    learn = learner(TSFlips())      # in evaluation mode, as after training
    assert torch.equal(Predictor(learn.save_bundle(tmp_path/'b'))(X), learn.get_X_preds(X)[0])

class Halves(SeriesModule):
    def forward(self, x): return x.div_(2.)
class TSHalves(TSBatchTransform):
    def __init__(self): super().__init__(); self.fn = Halves()

def test_a_module_that_works_in_place_leaves_the_series_alone(tmp_path):
    learn = learner(TSHalves())
    p, before = Predictor(learn.save_bundle(tmp_path/'b')), X.copy()
    assert torch.equal(p(X), p(X)) and np.array_equal(X, before)
