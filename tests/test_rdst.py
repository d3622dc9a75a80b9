"RDST: features equal to a literal form with numpy, shapelets and thresholds that are what the paper says, and state that can be trusted"
import copy

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifierCV
from sklearn.preprocessing import StandardScaler

from helpers_models import assert_features_agree, normal, series
from tsfast.models.rdst import RDST, RDSTFeatures, draw_others, draw_starts, shapelet_groups
from tsfast.models.ridge import fit_ridge_head

BACKENDS = ['numba', 'torch']


def literal_windows(x, l, d, scaled):
    "All windows of one series (L,), (windows, l), in float64"
    w = np.stack([[x[t + j*d] for j in range(l)] for t in range(len(x) - (l - 1)*d)])
    if not scaled: return w
    sd = w.std(1, keepdims=True)
    return (w - w.mean(1, keepdims=True))/np.where(np.ptp(w, axis=1, keepdims=True) == 0, 1, sd)


def literal_distances(x, shapelet, channels, l, d, scaled):
    "Distances of one shapelet (k, l) to the windows of a series (C, L)"
    return sum(np.abs(literal_windows(x[c], l, d, scaled) - shapelet[q, :l]).sum(1) for q, c in enumerate(channels))


def each(m):
    "(number, length, dilation, normalised?) of each shapelet"
    i = 0
    for l, d, scaled, many in m.groups:
        for _ in range(many):
            yield i, l, d, scaled
            i += 1


def literal(m, X):
    "Features of series (n, C, L), shapelet by shapelet and series by series"
    s, thresholds, channels, X = m.shapelets.double().numpy(), m.thresholds.double().numpy(), m.channels.numpy(), X.astype(np.float64)
    out = np.empty((len(X), 3, m.n_shapelets))
    for i, l, d, scaled in each(m):
        for n, x in enumerate(X):
            D = literal_distances(x, s[i], channels[i], l, d, scaled)
            out[n, :, i] = D.min(), D.argmin(), (D < thresholds[i]).sum()
    return out.reshape(len(X), -1)


def fitted(C=1, L=40, n=12, y=None, **kw):
    X = normal(n, C, L)
    return RDSTFeatures(C, L, **(dict(n_shapelets=80, random_state=0) | kw)).fit(X if y is None else [(torch.from_numpy(X), y)]), X


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('C,L,kw', [(1, 3, {}), (1, 4, {}), (1, 12, {}), (1, 33, {}), (1, 120, {}), (3, 40, {}), (2, 50, dict(length=(4, 7, 11))),
    (12, 30, {}), (5, 30, dict(max_c_in=1)), (1, 64, dict(length=2)), (1, 43, dict(length=21, scaled=1.)), (2, 30, dict(scaled=0.))], ids=str)
def test_literal(backend, C, L, kw):
    m, X = fitted(C, L, backend=backend, **kw)
    new = np.concatenate([X[:2], np.random.default_rng(5).normal(size=(3, C, L)).astype(np.float32)])
    ref = literal(m, new)
    assert_features_agree(m(torch.from_numpy(new)), ref, tol=1e-4)
    if backend == 'torch': assert_features_agree(copy.deepcopy(m).double()(torch.from_numpy(new).double()), ref, tol=1e-4)


@pytest.mark.parametrize('labels', [True, False])
def test_what_is_drawn(labels):
    "Each shapelet is a piece of a training series, and its threshold lies between two percentiles of the distances to another one of its class"
    y = torch.arange(12) % 3
    m, X = fitted(2, 40, y=y if labels else None)
    s, thresholds, inside = m.shapelets.double().numpy(), m.thresholds.double().numpy(), 0
    for i, l, d, scaled in each(m):
        D = [literal_distances(x, s[i], (0, 1), l, d, scaled) for x in X.astype(np.float64)]
        source = int(np.argmin([o.min() for o in D]))
        assert D[source].min() < 1e-4
        between = [np.quantile(o, .05) - 1e-3 <= thresholds[i] <= np.quantile(o, .1) + 1e-3 for o in D]
        assert any(between[n] for n in range(12) if n != source and (y[n] == y[source] or not labels))
        inside += any(between[n] for n in range(12) if y[n] == y[source] and n != source)
    if not labels: assert inside < 80


def test_a_class_of_one_series():
    "Its shapelets have thresholds from the series itself"
    y = torch.tensor([0]*11 + [1])
    m, X = fitted(1, 40, y=y)
    s, own = m.shapelets.double().numpy(), 0
    for i, l, d, scaled in each(m):
        D = literal_distances(X[11].astype(np.float64), s[i], (0,), l, d, scaled)
        if D.min() > 1e-4: continue
        own += 1
        assert np.quantile(D, .05) - 1e-3 <= m.thresholds[i] <= np.quantile(D, .1) + 1e-3
    assert own


@pytest.mark.parametrize('L', [3, 7, 25, 101, 512])
@pytest.mark.parametrize('n', [1, 10, 9999])
def test_groups(L, n):
    "Shares of dilations and of normalisation are those of the paper's distribution, but for rounding"
    l = min(11, max(3, L//2))
    g = shapelet_groups(n, L, (l,))
    assert sum(o[3] for o in g) == n and all(o[3] > 0 and (l - 1)*o[1] < L for o in g)
    assert abs(sum(o[3] for o in g if o[2]) - .8*n) < 1
    most = (L - 1)//(l - 1)
    for d in range(1, most + 1):
        want = (min(np.log2(d + 1), np.log2((L - 1)/(l - 1))) - np.log2(d))/np.log2((L - 1)/(l - 1)) if most > 1 else 1
        assert abs(sum(o[3] for o in g if o[1] == d) - n*want) <= 1


def test_starts_share_at_most_half_of_their_steps():
    series_, start = draw_starts(5, 100, 60, 3, 6, np.random.default_rng(0))
    steps = [{(a, t + 3*j) for j in range(11)} for a, t in zip(series_, start)]
    assert max(len(a & b) for i, a in enumerate(steps) for b in steps[:i]) <= 5
    series_, start = draw_starts(2, 4, 1000, 1, 6, np.random.default_rng(0))       # far more than there are: all of them occur
    assert len(set(zip(series_, start))) == 8
    assert set(np.bincount(series_)) == {500}


def test_others():
    y = np.array([0, 1, 0, 1, 2, 0])
    s = np.random.default_rng(0).integers(0, 6, 1000)
    o = draw_others(s, 6, np.random.default_rng(1), y)
    assert (y[o] == y[s]).all() and ((o != s) | (s == 4)).all() and set(o[s == 0]) == {2, 5}


@pytest.mark.parametrize('backend', BACKENDS)
def test_strange_series(backend):
    "Flat, stepwise and far from 0: what is equal but for rounding has equal features, whatever computes them"
    rng = np.random.default_rng(0)
    onoff = np.repeat(rng.integers(0, 3, (10, 1, 12)), 5, -1).astype(np.float32)*.7
    m = RDSTFeatures(1, 60, 200, random_state=0, backend=backend).fit(onoff)
    ref = literal(m, onoff).reshape(10, 3, -1)
    z = m(torch.from_numpy(onoff)).view(10, 3, -1).numpy()
    np.testing.assert_allclose(z[:, 0], ref[:, 0], atol=1e-4)
    m.backend = 'torch'
    assert_features_agree(z, copy.deepcopy(m).double()(torch.from_numpy(onoff).double()).view(10, 3, -1), tol=1e-4)
    m.backend = backend
    flat = torch.stack([torch.zeros(1, 60), torch.full((1, 60), .1), torch.full((1, 60), 1e6)])
    z = m(flat).view(3, 3, -1)
    scaled = torch.tensor([bool(o[3]) for o in each(m)])
    assert z.isfinite().all() and not z[:, 1].any()                            # all windows are equal: the first
    assert torch.equal(z[0, 0, scaled], z[2, 0, scaled])                       # constant windows become 0
    bad = torch.randn(3, 1, 60, generator=torch.Generator().manual_seed(0)); bad[0, 0, 5] = torch.nan; bad[1, 0, 5] = torch.inf
    assert m(bad).isnan().all(1).tolist() == [True, True, False] and not m(bad)[2].isnan().any()


def test_fit_takes_arrays_and_batches():
    X, y = normal(30, 2, 40), torch.arange(30) % 3
    def state(data, **kw): return RDSTFeatures(2, 40, 90, random_state=0).fit(data, **kw).state_dict()
    def same(a, b): return all(torch.equal(a[k], b[k]) for k in a)
    plain, classes = state(X), state([(torch.from_numpy(X), y)])
    assert same(plain, state(X, chunksize=7)) and same(plain, state([(o, None) for o in torch.from_numpy(X).split(4)]))
    assert same(plain, state([(torch.from_numpy(X), y.float())]))              # numbers are no classes
    assert same(classes, state([(a, b) for a, b in zip(torch.from_numpy(X).split(4), y.split(4))]))
    assert torch.equal(plain['shapelets'], classes['shapelets']) and not torch.equal(plain['thresholds'], classes['thresholds'])
    with pytest.raises(ValueError, match='only once'): RDSTFeatures(2, 40).fit(iter([torch.from_numpy(X)]))
    bad = X.copy(); bad[4, 1, 3] = np.nan
    with pytest.raises(ValueError, match='1 of the series 0 to 29 have NaN'): RDSTFeatures(2, 40).fit(bad)
    one = RDSTFeatures(2, 40, 10, random_state=0).fit(X[:1])
    assert one.thresholds.isfinite().all()


def test_any_batch_any_number_of_threads():
    m, X = fitted(2, 60, 37)
    x, threads = torch.from_numpy(X), torch.get_num_threads()
    ref = m(x)
    for bs in (1, 5, 36): assert torch.equal(torch.cat([m(o) for o in x.split(bs)]), ref)
    try: torch.set_num_threads(3); assert torch.equal(m(x), ref)
    finally: torch.set_num_threads(threads)
    assert m(x[:0]).shape == (0, 240)
    view = torch.from_numpy(normal(5, 60, 2)).transpose(1, 2)                   # not contiguous
    assert torch.equal(m(view), m(view.contiguous()))
    m.backend = 'torch'
    assert_features_agree(m(x), ref, tol=1e-4)


def test_every_argument_has_an_effect():
    X = normal(10, 10, 60)
    def z(**kw): return RDSTFeatures(10, 60, **(dict(n_shapelets=60, random_state=0) | kw)).fit(X)(torch.from_numpy(X))
    base = z()
    assert torch.equal(base, z()) and z(n_shapelets=20).shape == (10, 60)
    for kw in (dict(length=7), dict(length=(7, 11)), dict(scaled=.5), dict(alpha=0.), dict(max_c_in=3), dict(random_state=1)):
        assert not torch.equal(z(**kw), base), kw


def test_precision():
    "Shapelets keep it in half precision"
    m, X = fitted()
    half = copy.deepcopy(m).half()
    assert half.shapelets.dtype == half.thresholds.dtype == torch.float32 and torch.equal(half(torch.from_numpy(X)), m(torch.from_numpy(X)))


def test_ridge_equals_scikit_learn():
    "The head in closed form is the paper's classifier: a ridge regression on standardised features"
    x, y = series(60, 1, 40), torch.arange(60) % 3
    x[y == 1] += torch.sin(torch.arange(40)/2); x[y == 2] = x[y == 2].cumsum(-1)
    test, m = series(30, 1, 40, seed=1).cumsum(-1), RDST(1, 3, 40, n_shapelets=200, random_state=0)
    s = fit_ridge_head(m, [(x, y)], n_classes=3)
    scaler = StandardScaler().fit(m.features(x, to_np=True).astype(float))
    ref = RidgeClassifierCV(alphas=np.logspace(-3, 3, 10)).fit(scaler.transform(m.features(x, to_np=True).astype(float)), y.numpy())
    assert s.alpha == pytest.approx(ref.alpha_)
    with torch.no_grad(): got = m.eval()(test).numpy()
    np.testing.assert_allclose(got, ref.decision_function(scaler.transform(m.features(test, to_np=True).astype(float))), atol=2e-3)


def test_errors():
    for kw, match in ((dict(length=1), 'at least 2'), (dict(n_shapelets=0), 'at least 1'), (dict(alpha=-1), 'from 0 to 1'), (dict(backend='jax'), "'numba'")):
        with pytest.raises(ValueError, match=match): RDST(1, 2, 20, **kw)
    with pytest.raises(ValueError, match='at least 3 steps'): RDST(1, 2, 2)
    with pytest.raises(ValueError, match='not fitted'): RDSTFeatures(1, 20)(torch.zeros(1, 1, 20))
    m, X = fitted(backend='numba')
    with pytest.raises(ValueError, match='float32 series on the CPU'): m(torch.from_numpy(X).double())


@pytest.mark.parametrize('bad', [-1, 3, 2**40])
def test_forged_channels(bad):
    "Numbers of channels are addresses in the compiled code, so those of a stranger are checked"
    m, _ = fitted(3, 40)
    state = m.state_dict() | dict(channels=torch.full_like(m.channels, bad))
    with pytest.raises(ValueError, match='Expected 0 to 2'): RDSTFeatures(3, 40, 80).load_state_dict(state)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_cuda():
    m, X = fitted(3, 200)
    assert_features_agree(copy.deepcopy(m).cuda()(torch.from_numpy(X).cuda()).cpu(), m(torch.from_numpy(X)), tol=1e-4)


@pytest.mark.parametrize('name,floor', [('GunPoint', .98), ('BeetleFly', .9)])
def test_accuracy_on_the_archive(ucr_path, name, floor):
    from tsfast.data.external import get_UCR_data
    X, y, X_test, y_test = get_UCR_data(name)
    vocab, y = np.unique(y, return_inverse=True)
    m = RDST(X.shape[1], len(vocab), X.shape[2], random_state=0).eval()
    fit_ridge_head(m, [(torch.as_tensor(X), torch.as_tensor(y))], n_classes=len(vocab))
    with torch.no_grad(): assert (vocab[m(torch.as_tensor(X_test)).argmax(1)] == y_test).mean() >= floor
