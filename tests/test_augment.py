"Augmentations: batch transforms that touch training alone"
import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from torch import Tensor

from tsfast.data.augment import CutMix1d, TSAugment, TSMagWarp, TSNoise, TSRandomScale, TSTimeWarp, TSWindowSlice, random_curves, resample
from tsfast.data.core import TSTensor, get_ts_dls
from tsfast.data.preprocessing import TSNan2Value, TSStandardize
from tsfast.data.targets import TSClassification

FIVE = [TSNoise, TSRandomScale, TSMagWarp, TSTimeWarp, TSWindowSlice]
five = pytest.mark.parametrize('tfm', FIVE)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(60, 3, 40)).cumsum(-1) + 5).astype(np.float32)
    return X, np.repeat(['a', 'b'], 30), (list(range(0, 60, 2)), list(range(1, 60, 2)))


@five
@pytest.mark.parametrize('shape', [(1, 1, 1), (1, 1, 2), (5, 1, 3), (7, 4, 33), (0, 2, 10)])
def test_shape_dtype_and_input_kept(tfm, shape):
    x = torch.randn(shape)
    before = x.clone()
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for p in (0.5, 1.):
            out = tfm(p=p).on_series(x.to(dtype))
            assert out.shape == x.shape and out.dtype == dtype and type(out) is Tensor and torch.isfinite(out).all()
    assert torch.equal(x, before)


@five
def test_p(tfm):
    x = torch.randn(2000, 2, 30).cumsum(-1)
    assert tfm(p=0).on_series(x) is x
    state = torch.get_rng_state(); tfm(p=0).on_series(x); assert torch.equal(state, torch.get_rng_state())    # and draws nothing
    changed = (tfm(p=0.25).on_series(x) != x).flatten(1).any(1).float().mean().item()
    assert abs(changed - 0.25) < 0.05
    assert (tfm(p=1).on_series(x) != x).flatten(1).any(1).all()
    for p in (-0.1, 1.1, float('nan')):
        with pytest.raises(ValueError, match='probability from 0 to 1'): tfm(p=p)


@five
def test_same_seed_same_draws_and_other_series_other_draws(tfm):
    x, f = torch.randn(1, 2, 50).cumsum(-1).expand(6, -1, -1), tfm(p=1)
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        runs.append(f.on_series(x))
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])
    assert all(not torch.equal(runs[0][0], o) for o in runs[0][1:])


@five
def test_training_alone(tfm, data):
    X, y, splits = data
    kw = dict(splits=splits, bs=30, shuffle_train=False, drop_last=False)
    plain, aug = get_ts_dls(X, y, batch_tfms=TSStandardize(), **kw), get_ts_dls(X, y, batch_tfms=[tfm(p=1), TSStandardize()], **kw)
    as_tensor = lambda dl: torch.cat([o[0].as_subclass(Tensor) for o in dl])
    assert not torch.equal(as_tensor(plain.train), as_tensor(aug.train))
    assert torch.equal(as_tensor(plain.valid), as_tensor(aug.valid))
    assert torch.equal(as_tensor(plain.new_dl(X)), as_tensor(aug.new_dl(X)))
    assert isinstance(aug.one_batch()[0], TSTensor)
    # statistics for a model with fixed features come from series as evaluation sees them
    from tsfast.callbacks import training_batches
    assert torch.equal(torch.cat([o[0] for o in training_batches(plain)]), torch.cat([o[0] for o in training_batches(aug)]))
    # its units come back as they were
    assert torch.allclose(aug.valid.decode(aug.valid.one_batch())[0].as_subclass(Tensor), torch.tensor(X[splits[1]]), atol=1e-4)


@five
def test_order_of_the_list_does_not_matter(tfm, data):
    "Random transforms come after scaling and filling"
    X, y, splits = data
    X[::3, :, 30:] = np.nan
    def batches(*tfms):
        torch.manual_seed(0)
        dls = get_ts_dls(X, y, splits=splits, batch_tfms=[o() if isinstance(o, type) else o for o in tfms], bs=30, shuffle_train=False, device='cpu')
        return [o[0].as_subclass(Tensor) for o in dls.train]
    first, last = batches(tfm(p=1), TSNan2Value, TSStandardize), batches(TSStandardize, TSNan2Value, tfm(p=1))
    assert all(torch.equal(a, b) and a.isfinite().all() for a, b in zip(first, last))
    torch.manual_seed(0)
    x = batches(TSStandardize, TSNan2Value)[0]; torch.manual_seed(0)
    assert torch.equal(tfm(p=1).on_series(x), first[0])


@five
def test_gaps(tfm):
    x = torch.randn(50, 2, 60).cumsum(-1)
    x[:, :, 50:] = torch.nan; x[3] = torch.nan; x[:, 0, 20:23] = torch.nan
    out = tfm(p=1).on_series(x)
    assert out[3].isnan().all()
    share = out.isnan().float().mean((1, 2)) - x.isnan().float().mean((1, 2))
    assert share.abs().max() < 0.25 and out[[0, 1, 2]].isfinite().any()
    if tfm in (TSNoise, TSRandomScale, TSMagWarp): assert torch.equal(out.isnan(), x.isnan())


@five
def test_no_gradient_and_no_slow_loop(tfm):
    x = torch.randn(4, 1, 20, requires_grad=True)
    assert not tfm(p=1).on_series(x).requires_grad


@five
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_on_a_gpu(tfm):
    out = tfm().on_series(torch.randn(8, 2, 40, device='cuda'))
    assert out.is_cuda and out.isfinite().all()


@five
def test_on_any_device(tfm):
    "Nothing is made on the CPU on the way: the meta device would refuse to mix"
    assert tfm().on_series(torch.empty(8, 2, 40, device='meta')).device.type == 'meta'


@five
def test_bad_magnitude(tfm):
    for bad in (0, -1., float('nan'), float('inf')):
        with pytest.raises(ValueError, match='magnitude is'): tfm(bad)


@pytest.mark.parametrize('tfm', [TSMagWarp, TSTimeWarp])
@pytest.mark.parametrize('knots', [0, -1, 2.5, True])
def test_bad_knots(tfm, knots):
    with pytest.raises(ValueError, match='knots is'): tfm(knots=knots)


def test_statistics():
    torch.manual_seed(0)
    x = torch.randn(3000, 2, 50) * torch.tensor([1., 1e3])[:, None] - 4
    noise = (TSNoise(0.05, p=1).augment(x) - x).std((0, 2)) / torch.tensor([1., 1e3])
    assert torch.allclose(noise, torch.tensor(0.05), atol=1e-3)
    k = TSRandomScale(0.1, p=1).augment(x)/x
    assert abs(k.mean() - 1) < 0.01 and abs(k.mean(2).std() - 0.1) < 0.005
    assert abs(torch.corrcoef(k.mean(2).T)[0, 1]) < 0.06                        # each channel has a factor of its own
    c = random_curves((4000,), 101, 0.2, knots=4)
    assert abs(c.mean() - 1) < 0.01 and torch.allclose(c[:, ::20].std(0), torch.tensor(0.2), atol=0.01)
    const = torch.full((10, 1, 20), 3.)
    assert torch.equal(TSNoise(p=1).augment(const), const)                       # nothing that varies: no noise


def test_times():
    torch.manual_seed(0)
    for f in (TSTimeWarp(0.2, p=1), TSTimeWarp(2., p=1)):                       # time runs forward for wild speeds too
        t = f.times(500, 200)
        assert (t.diff(dim=1) > 0).all() and (t[:, 0] == 0).all() and torch.allclose(t[:, -1], torch.tensor(199.), atol=1e-2)
    line = torch.arange(101.).expand(4000, 2, 101)
    s = TSWindowSlice(0.2, p=1).augment(line)
    assert torch.allclose(s.diff(dim=2), torch.tensor(0.8), atol=1e-3)
    assert s.min() >= 0 and s.max() <= 100 and s[:, 0, 0].min() < 0.5 and s[:, 0, 0].max() > 19.5   # anywhere
    with pytest.raises(ValueError, match='between 0 and 1'): TSWindowSlice(1.)


def test_resample_is_linear_interpolation():
    x, t = torch.randn(5, 3, 20), torch.rand(5, 33)*25 - 3
    want = np.stack([[np.interp(t[i].numpy(), np.arange(20), x[i, j].numpy()) for j in range(3)] for i in range(5)])
    assert torch.allclose(resample(x, t), torch.tensor(want, dtype=torch.float32), atol=1e-5)
    x[:, :, 7] = torch.nan
    steps = torch.arange(20.).expand(5, -1)
    assert torch.equal(resample(x, steps).isnan(), x.isnan())                    # 0 * NaN does not spread


def test_base_needs_a_change():
    with pytest.raises(NotImplementedError): TSAugment(p=1).on_series(torch.zeros(1, 1, 4))


def fit(data, cb, target=None, **kw):
    from tsfast.learner import ts_learner
    X, y, splits = data
    dls = get_ts_dls(X, y if target is None else target, splits=splits, batch_tfms=TSStandardize(), bs=10)
    learn = ts_learner(dls, 'FCN', cbs=cb, seed=0, **kw)
    loss = learn.loss_func
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, 1e-3)
    assert learn.loss_func is loss and np.isfinite([float(o) for o in learn.recorder.losses]).all()
    return learn


def test_mixing_in_a_learner(data):
    from fastai.callback.mixup import MixUp
    for cb in (MixUp(), CutMix1d(), CutMix1d(0.2)):
        fit(data, cb)
        fit(data, cb, target=np.arange(60).astype(np.float32))                  # numbers: the targets are mixed
    fit(data, CutMix1d(), label_smoothing=0.1)
    a, b = (fit(data, CutMix1d()).model.state_dict() for _ in range(2))
    assert all(torch.equal(a[k], b[k]) for k in a)                              # to the bit with the same seed
    with pytest.raises(ValueError, match='alpha is'): CutMix1d(0.)


@pytest.mark.parametrize('loss', [None, torch.nn.CrossEntropyLoss()], ids=['default', 'torch'])
def test_cutmix_with_a_label_for_each_step(data, loss):
    "Labels are cut as series are; the loss is the plain one of what the model sees"
    class Look(Callback):
        order = CutMix1d.order + 1
        def after_pred(self):
            if self.training: seen.append((self.x.as_subclass(Tensor), self.y.clone()))
        def after_loss(self):
            if self.training:
                plain = torch.nn.functional.cross_entropy(self.pred.movedim(-1, 1), self.y)
                assert torch.allclose(self.loss, plain, atol=1e-6)
    seen, (X, _, splits) = [], data
    X = np.broadcast_to(np.arange(60, dtype=np.float32)[:, None, None], X.shape).copy()     # each step says which series it is of
    steps = np.where(np.arange(60)[:, None] % 4 < 2, 'low', 'high').repeat(40, 1)
    from tsfast.learner import ts_learner
    dls = get_ts_dls(X, steps, splits=splits, tfms=[None, TSClassification()], bs=10)
    learn = ts_learner(dls, 'FCN', cbs=[CutMix1d(), Look()], seed=0, loss_func=loss)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    x, y = (torch.cat(o) for o in zip(*seen))
    assert (x[:, 0].diff(dim=1) != 0).any() and list(dls.vocab) == ["high", "low"]
    assert torch.equal(y, ((x[:, 0] % 4) < 2).long())


def test_cutmix_shares():
    class Fake: pass
    torch.manual_seed(0)
    cb = CutMix1d(); cb.learn = Fake(); cb.stack_y = False
    x, y = torch.arange(256.)[:, None, None].expand(256, 2, 64), torch.arange(256.)
    cb.learn.x, cb.learn.xb, cb.learn.yb = x, (x,), (y,)
    cb.before_batch()
    out = cb.learn.xb[0]
    assert torch.equal(out[:, 0], out[:, 1])
    own = cb.yb1[0] != y
    assert torch.allclose((out == x)[own].float().mean((1, 2)), cb.lam[own])
    assert torch.allclose(out.mean((1, 2)), cb.learn.yb[0], rtol=1e-4)           # the mixed target is the mean of what one sees
    edges = (out[:, 0].diff(dim=1) != 0).sum(1)
    assert edges.max() <= 2                                                      # one stretch
    assert abs(cb.lam.mean() - 0.5) < 0.06
