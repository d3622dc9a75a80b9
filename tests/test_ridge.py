"The closed-form solver, beside scikit-learn's"
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from sklearn.linear_model import RidgeClassifierCV, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from tsfast.models.fcn import FCN
from tsfast.models.feature_model import FeatureModel, FeatureNorm
from tsfast.models.hydra import SparseScaler
from tsfast.models.ridge import fit_ridge_head, ridge_loo, ridge_targets, set_linear_head
from tsfast.models.rnn_attention import RNNAttentionPlus
from tsfast.models.xception_time import XceptionTime

ALPHAS = np.logspace(-3, 3, 10)


def data(n, p, k, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, p)) * rng.uniform(0.1, 10, p) + rng.normal(size=p)*5
    t = z[:, :3] @ rng.normal(size=(3, k)) / 5 + rng.normal(size=(n, k)) + 2
    return z, t


def batches(z, t, bs=13): return [(torch.as_tensor(z[i:i + bs]), torch.as_tensor(t[i:i + bs])) for i in range(0, len(z), bs)]


@pytest.mark.parametrize('n,p', [(30, 100), (100, 30), (40, 40), (3, 5), (41, 40), (40, 41), (50, 1)])
@pytest.mark.parametrize('k', [1, 3])
@pytest.mark.parametrize('scale', [False, True])
@pytest.mark.parametrize('budget', [0, 10_000, 2**28])
def test_regression(n, p, k, scale, budget):
    z, t = data(n, p, k) if p > 2 else (np.random.default_rng(0).normal(size=(n, p)), np.random.default_rng(1).normal(size=(n, k)))
    s = ridge_loo(batches(z, t), ALPHAS, scale, budget)
    ref = RidgeCV(ALPHAS).fit(StandardScaler(with_mean=False).fit_transform(z) if scale else z, t)
    coef = np.atleast_2d(ref.coef_) / (z.std(0) if scale else 1)
    assert s.alpha == pytest.approx(ref.alpha_) and s.loss == pytest.approx(-ref.best_score_, rel=1e-6)
    np.testing.assert_allclose(s.coef, coef, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(s.intercept, ref.intercept_, rtol=1e-6, atol=1e-7)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(3, 40), p=st.integers(1, 60), k=st.integers(1, 3), bs=st.integers(1, 41), budget=st.sampled_from([0, 2000, 2**28]),
    seed=st.integers(0, 99))
def test_leaving_one_out_by_hand(n, p, k, bs, budget, seed):
    "The score is that of n regressions on n-1 series each"
    rng = np.random.default_rng(seed)
    z, t = rng.normal(size=(n, p)) + 1, rng.normal(size=(n, k))
    s = ridge_loo(batches(z, t, bs), [0.5, 20.], budget=budget)
    for alpha, loss in zip((0.5, 20.), s.losses):
        errors = []
        for i in range(n):
            a, b = np.delete(z, i, 0), np.delete(t, i, 0)
            ac, bc = a - a.mean(0), b - b.mean(0)
            w = np.linalg.solve(ac.T @ ac + alpha*np.eye(p), ac.T @ bc)
            errors.append(t[i] - (z[i] - a.mean(0)) @ w - b.mean(0))
        assert float(loss) == pytest.approx(np.square(errors).mean(), rel=1e-6)


def test_constant_and_repeated_features():
    z, t = data(30, 20, 2)
    z[:, 3], z[:, 4] = 7.3, z[:, 5]
    for z in (z, np.tile(z, (1, 3))):
        s = ridge_loo(batches(z, t), ALPHAS, scale=True)
        ref = make_pipeline(StandardScaler(), RidgeCV(ALPHAS)).fit(z, t)
        assert s.alpha == pytest.approx(ref[-1].alpha_) and s.coef[:, 3].abs().max() < 1e-9
        np.testing.assert_allclose(z @ s.coef.T.numpy() + s.intercept.numpy(), ref.predict(z), rtol=1e-6, atol=1e-6)


def test_features_far_from_zero():
    "Sums run around the mean: nothing cancels, in float32 features either"
    z, t = data(60, 10, 1)
    z = (z + 1e4).astype(np.float32)
    s, ref = ridge_loo(batches(z, t), ALPHAS), RidgeCV(ALPHAS).fit(z.astype(float), t)
    np.testing.assert_allclose(s.coef[0], ref.coef_, rtol=1e-5, atol=1e-8)


def test_refusals():
    z, t = data(30, 10, 1)
    with pytest.raises(ValueError, match='step by step'): ridge_loo(batches(z, t), max_size=5)
    with pytest.raises(ValueError, match='above 0'): ridge_loo(batches(z, t), alphas=[])
    with pytest.raises(ValueError, match='above 0'): ridge_loo(batches(z, t), alphas=[-1.])
    with pytest.raises(ValueError, match='at least two'): ridge_loo(batches(z[:1], t[:1]))
    with pytest.raises(ValueError, match='features hold NaN'): ridge_loo(batches(np.where(z > 8, np.nan, z), t))
    with pytest.raises(ValueError, match='targets hold NaN'): ridge_loo(batches(z, t*np.nan))
    with pytest.raises(ValueError, match='only once'): ridge_loo(iter(batches(z, t)), budget=0)
    assert ridge_loo(iter(batches(z, t))).n == 30      # once is enough where all is kept

    class Shuffled:
        def __iter__(self): i = np.random.default_rng().permutation(30); return iter(batches(z[i], t[i]))
    class Shrinking:
        n = 30
        def __iter__(self): self.n -= 1; return iter(batches(z[:self.n], t[:self.n]))
    with pytest.raises(ValueError, match='does not shuffle'): [ridge_loo(Shuffled(), budget=0) for _ in range(5)]
    with pytest.raises(ValueError, match='each series once'): ridge_loo(Shrinking(), budget=0)


def test_memory_follows_the_smaller_side():
    "What is kept of features is bounded; the rest is read again"
    z, t, passes = *data(64, 500, 1), []
    class Counted:
        def __iter__(self): passes.append(1); return iter(batches(z, t, 8))
    ref = ridge_loo(batches(z, t), budget=2**28)
    s = ridge_loo(Counted(), budget=16*500*8)
    # one for the statistics, one for each sixteen series, one for the coefficients
    assert len(passes) == 1 + 64//16 + 1
    torch.testing.assert_close(s.coef, ref.coef)


class Moments(nn.Module):
    def forward(self, x): return torch.cat([x.mean(-1), x.std(-1), x.amax(-1), x.diff().std(-1)], 1)


class Tiny(FeatureModel):
    def __init__(self, c_in, c_out, bn=True, **kw):
        super().__init__(c_in, Moments(), 4*c_in, bn=bn)
        self.reset_head(c_out, **kw)


def classes(n_classes, n=60, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    return torch.as_tensor(rng.normal(size=(n, 2, 30)) * (1 + 0.3*y)[:, None, None] + y[:, None, None]*0.1,
        dtype=torch.float32), torch.as_tensor(y)


@pytest.mark.parametrize('n_classes', [2, 4])
@pytest.mark.parametrize('bn', [True, False])
def test_classifier(n_classes, bn):
    (x, y), (xt, _) = classes(n_classes), classes(n_classes, seed=1)
    m = Tiny(2, n_classes, bn=bn, fc_dropout=0.2).eval()
    s = fit_ridge_head(m, batches(x, y), n_classes=n_classes)
    ref = make_pipeline(StandardScaler(), RidgeClassifierCV(ALPHAS)).fit(m.features(x, to_np=True).astype(float), y.numpy())
    z, f = m.features(xt, to_np=True).astype(float), m(xt).detach().numpy()
    assert s.alpha == pytest.approx(ref[-1].alpha_) and (f.argmax(1) == ref.predict(z)).all()
    d = ref.decision_function(z)
    # with two classes there is one decision value f, and the outputs are -f and f
    np.testing.assert_allclose(f, np.stack([-d, d], 1) if n_classes == 2 else d, atol=1e-4)


def test_a_class_without_series():
    x, y = classes(3)
    m = Tiny(2, 5).eval()
    fit_ridge_head(m, batches(x, y), n_classes=5)
    assert m(x).argmax(1).max() < 3


@pytest.mark.parametrize('d', [None, 3, (2, 2)])
def test_regression_of_any_shape(d):
    x, _ = classes(2)
    m = Tiny(2, 1 if d else 2, d=d)
    t = torch.randn(60, *((2,) if d is None else (d,) if isinstance(d, int) else d), generator=torch.Generator().manual_seed(0))
    fit_ridge_head(m, batches(x, t))
    ref = make_pipeline(StandardScaler(), RidgeCV(ALPHAS)).fit(m.features(x, to_np=True).astype(float), t.flatten(1).double().numpy())
    np.testing.assert_allclose(m.eval()(x).detach().flatten(1), ref.predict(m.features(x, to_np=True)), atol=1e-4)


def test_one_number_a_series():
    x, y = classes(3)
    m = Tiny(2, 1)
    fit_ridge_head(m, batches(x, y.float()))
    ref = make_pipeline(StandardScaler(), RidgeCV(ALPHAS)).fit(m.features(x, to_np=True).astype(float), y.numpy())
    np.testing.assert_allclose(m.eval()(x).detach()[:, 0], ref.predict(m.features(x, to_np=True)), atol=1e-4)


class OnMPS(torch.Tensor):
    "A tensor that says it lies on a device without float64, and works there alone: it may be copied, to and fro"
    device = torch.device('mps')
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        kwargs, name, plain = kwargs or {}, getattr(func, '__name__', ''), lambda o: o.as_subclass(torch.Tensor)
        if name == 'cpu': return plain(args[0])
        if name == 'copy_': plain(args[0]).copy_(plain(args[1])); return args[0]
        if name == 'double' or any(o is torch.float64 for o in (*args, *kwargs.values())):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64.")
        tensors = [o for a in args for o in (a if isinstance(a, (list, tuple)) else (a,)) if isinstance(o, torch.Tensor)]
        if any(type(o) is torch.Tensor and o.ndim for o in tensors):
            raise RuntimeError('Expected all tensors to be on the same device, but found at least two devices, mps and cpu!')
        return super().__torch_function__(func, types, args, kwargs)


def on_mps(m): # a model whose parameters and buffers lie there
    for part in m.modules():
        for k, v in part._parameters.items(): part._parameters[k] = nn.Parameter(v.detach().as_subclass(OnMPS))
        for k, v in part._buffers.items(): part._buffers[k] = v if v is None else v.as_subclass(OnMPS)
    return m


def mps(o): return o.as_subclass(OnMPS)


@pytest.mark.parametrize('budget', [0, 2**28])
def test_solution_on_a_device_without_float64(budget):
    "Features and targets go to the CPU, where the solution is found"
    x, y = classes(3)
    z, t = torch.cat([x.mean(-1), x.std(-1)], 1), ridge_targets(y, 3).float()
    ref, s = (ridge_loo([(wrap(a), wrap(b)) for a, b in batches(z, t)], budget=budget) for wrap in (lambda o: o, mps))
    torch.testing.assert_close(s.coef, ref.coef)
    for y, n in ((y, 3), (nn.functional.one_hot(y).float(), 3), (y.float(), None)):
        got = ridge_targets(mps(y), n)
        assert type(got) is torch.Tensor and torch.equal(got, ridge_targets(y, n))


def test_head_on_a_device_without_float64():
    "The head takes solution and statistics where it lies; so do the scalings of fixed features"
    x, y = classes(3)
    plain, m = Tiny(2, 3), on_mps(Tiny(2, 3))
    s = fit_ridge_head(plain, batches(x, y), n_classes=3)
    set_linear_head(m, s.coef, s.intercept, s.mean, s.var)
    for k, v in plain.state_dict().items():
        if k != 'head.0.num_batches_tracked': torch.testing.assert_close(m.state_dict()[k].as_subclass(torch.Tensor), v)
    norm = plain.head[0]
    on_mps(FeatureNorm(8)).set_stats(mps(norm.running_mean), mps(norm.running_var))
    z = plain.features(x).abs()
    a, b = SparseScaler(8).fit([z]), on_mps(SparseScaler(8)).fit([mps(z)])
    for k in ('mean', 'scale'): torch.testing.assert_close(getattr(b, k).as_subclass(torch.Tensor), getattr(a, k))


def test_targets():
    assert ridge_targets(torch.tensor([0, 2]), 3).tolist() == [[1, -1, -1], [-1, -1, 1]]
    assert ridge_targets(torch.tensor([[1., 0.]]), 2).tolist() == [[1, -1]]
    assert ridge_targets(torch.tensor([[0, 1]]), 2).tolist() == [[1, -1, -1, 1]]        # a class for each of two steps
    with pytest.raises(ValueError, match='Expected 0 to 1'): ridge_targets(torch.tensor([0, 2]), 2)
    with pytest.raises(ValueError, match='integer classes'): ridge_targets(torch.tensor([0., 2.]), 2)


def test_training_goes_on_from_the_solution(tmp_path):
    x, y = classes(3)
    m = Tiny(2, 3)
    fit_ridge_head(m, batches(x, y), n_classes=3)
    before = nn.functional.cross_entropy(m(x), y)
    opt = torch.optim.SGD(m.parameters(), lr=0.01)
    for _ in range(5): opt.zero_grad(); loss = nn.functional.cross_entropy(m.train()(x), y); loss.backward(); opt.step()
    assert loss < before
    m2 = Tiny(2, 3); m2.load_state_dict(m.state_dict())
    assert torch.equal(m2.eval()(x), m.eval()(x))


@pytest.mark.parametrize('arch,kw', [(FCN, {}), (RNNAttentionPlus, dict(seq_len=30))])
def test_frozen_networks(arch, kw):
    x, y = classes(3)
    m = arch(2, 3, **kw).eval()
    state, flat = {k: v.clone() for k, v in m.state_dict().items()}, nn.functional.cross_entropy(m(x), y)
    fit_ridge_head(m.train(), batches(x, y), n_classes=3)
    assert m.training
    changed = {k for k, v in m.state_dict().items() if not torch.equal(v, state[k])}
    assert 0 < len(changed) <= 7 and (m.eval()(x).argmax(1) == y).float().mean() > 0.5, (changed, flat)


def test_models_that_do_not_end_in_a_linear_layer():
    x, y = classes(3)
    with pytest.raises(ValueError, match='no linear layer'): fit_ridge_head(XceptionTime(2, 3), batches(x, y), n_classes=3)
    with pytest.raises(ValueError, match='without y_range'): fit_ridge_head(Tiny(2, 1, y_range=(0, 3)), batches(x, y.float()))
    with pytest.raises(ValueError, match='gives 2'): fit_ridge_head(Tiny(2, 2), batches(x, y), n_classes=3)
    with pytest.raises(ValueError, match='no linear layer with a bias'):
        fit_ridge_head(nn.Sequential(nn.Flatten(), nn.Linear(60, 3, bias=False)), batches(x, y), n_classes=3)
    with pytest.raises(ValueError, match='Expected \\(batch, features\\)'): fit_ridge_head(nn.Linear(30, 3), batches(x, y), n_classes=3)
    with pytest.raises(ValueError, match='The solution maps'):
        set_linear_head(Tiny(2, 3), torch.zeros(2, 8), torch.zeros(2), torch.zeros(8), torch.ones(8))


# weights of series

def weights(n, kind, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 4, n) if kind == 'whole' else rng.uniform(0.1, 3, n)


@pytest.mark.parametrize('n,p', [(30, 100), (100, 30), (40, 40), (3, 5), (41, 40)])
@pytest.mark.parametrize('k', [1, 3])
@pytest.mark.parametrize('budget', [0, 2**28])
@pytest.mark.parametrize('kind', ['any', 'whole'])
def test_weights_as_in_scikit_learn(n, p, k, budget, kind):
    "Coefficients, penalty and leave-one-out error are those of `RidgeCV`; a weight of 0 leaves a series out"
    z, t = data(n, p, k)
    w = weights(n, kind) if n > 3 else np.array([2, 1, 3])
    s, ref = ridge_loo(batches(z, t), ALPHAS, budget=budget, sample_weight=w), RidgeCV(ALPHAS).fit(z, t, w)
    assert s.alpha == pytest.approx(ref.alpha_) and s.loss == pytest.approx(-ref.best_score_*n/w.sum(), rel=1e-6)
    np.testing.assert_allclose(s.coef, np.atleast_2d(ref.coef_), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(s.intercept, ref.intercept_, rtol=1e-6, atol=1e-7)
    there = w > 0
    without = ridge_loo(batches(z[there], t[there]), ALPHAS, sample_weight=w[there])
    np.testing.assert_allclose(s.losses, without.losses, rtol=1e-6)
    np.testing.assert_allclose(s.coef, without.coef, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize('n,p', [(20, 60), (60, 20)])
@pytest.mark.parametrize('scale', [False, True])
def test_whole_weights_repeat_series(n, p, scale):
    "For a given penalty; repeated series would be left out one by one, so that penalties are chosen otherwise"
    z, t = data(n, p, 2)
    w = weights(n, 'whole')
    for alpha in (0.1, 50.):
        a, b = ridge_loo(batches(z, t), [alpha], scale, sample_weight=w), ridge_loo(batches(z.repeat(w, 0), t.repeat(w, 0)), [alpha], scale)
        for u, v in ((a.coef, b.coef), (a.intercept, b.intercept), (a.mean, b.mean), (a.var, b.var)):
            np.testing.assert_allclose(u, v, rtol=1e-6, atol=1e-8)


@settings(max_examples=15, deadline=None)
@given(n=st.integers(3, 30), p=st.integers(1, 50), bs=st.integers(1, 31), seed=st.integers(0, 99))
def test_leaving_one_weighted_series_out_by_hand(n, p, bs, seed):
    rng = np.random.default_rng(seed)
    z, t, w = rng.normal(size=(n, p)) + 1, rng.normal(size=(n, 2)), rng.uniform(0.1, 3, n)
    s, errors = ridge_loo(batches(z, t, bs), [2.], sample_weight=w), []
    for i in range(n):
        a, b, v = np.delete(z, i, 0), np.delete(t, i, 0), np.delete(w, i)
        am, bm = np.average(a, 0, v), np.average(b, 0, v)
        coef = np.linalg.solve((v[:, None]*(a - am)).T @ (a - am) + 2*np.eye(p), (v[:, None]*(a - am)).T @ (b - bm))
        errors.append(np.square(t[i] - (z[i] - am) @ coef - bm).mean())
    assert s.loss == pytest.approx(np.average(errors, weights=w), rel=1e-6)


@pytest.mark.parametrize('n,p', [(30, 100), (100, 30)])
def test_equal_weights_change_nothing(n, p):
    z, t = data(n, p, 2)
    a, b = ridge_loo(batches(z, t), ALPHAS, True), ridge_loo(batches(z, t), ALPHAS, True, sample_weight=torch.ones(n))
    np.testing.assert_allclose(a.coef, b.coef, rtol=1e-10)
    assert a.alpha == b.alpha and a.n == b.n == n


@pytest.mark.parametrize('w,msg', [(np.ones(9), '9 numbers'), (np.ones(11), '11 numbers'), (-np.ones(10), 'from 0 up'),
    (np.full(10, np.nan), 'finite'), (np.eye(10)[0], 'at least two'),
                                   (np.ones((10, 1)), 'shape'), ('balanced', 'Expected numbers')], ids=str)
def test_weights_that_are_refused(w, msg):
    with pytest.raises(ValueError, match=msg): ridge_loo(batches(*data(10, 4, 1), 3), ALPHAS, sample_weight=w)


def test_weighted_head():
    "The head of a model that was fitted with weights is that of the weighted solution"
    x, y = classes(3)
    w = weights(len(x), 'any')
    m = Tiny(2, 3)
    fit_ridge_head(m, batches(x, y), n_classes=3, sample_weight=w)
    z = m.features(x).double().numpy()
    mean, std = np.average(z, 0, w), np.sqrt(np.average((z - np.average(z, 0, w))**2, 0, w))
    ref = RidgeCV(ALPHAS).fit((z - mean)/std, 2*np.eye(3)[y] - 1, w)
    np.testing.assert_allclose(m.eval()(x).detach(), ref.predict((z - mean)/std), atol=1e-4)
