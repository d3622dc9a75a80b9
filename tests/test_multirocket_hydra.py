"MultiRocketHydra: two feature sets, each with its own scaling, in one model"
import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifierCV
from sklearn.preprocessing import StandardScaler

from tsfast.models.hydra import SparseScaler
from tsfast.models.multirocket_hydra import MultiRocketHydra
from tsfast.models.ridge import fit_ridge_head

SMALL = dict(num_features=672, g=4, k=4, random_state=0)


def series(n, seed=0):
    x = torch.randn(n, 2, 40, generator=torch.Generator().manual_seed(seed)); y = torch.arange(n) % 3
    x[y == 1] += torch.sin(torch.arange(40) / 2); x[y == 2] = x[y == 2].cumsum(-1) / 3
    return x, y


@pytest.fixture(scope='module')
def fitted():
    x, y = series(60)
    m = MultiRocketHydra(2, 3, 40, **SMALL)
    return m, fit_ridge_head(m, list(zip(x.split(17), y.split(17))), n_classes=3)


def test_features_and_head_are_those_of_scikit_learn(fitted):
    (x, y), (m, s) = series(60), fitted
    multi, hydra = m.backbone.multirocket, m.backbone.hydra
    scaler = StandardScaler().fit(multi(x).double().numpy())
    sparse = SparseScaler(hydra.num_features).fit([hydra(x)])
    def literal(x): return np.concatenate([scaler.transform(multi(x).double().numpy()), sparse(hydra(x)).numpy()], 1)
    def near(a, b, tol): assert np.median(np.abs(a - b)) < tol and (np.abs(a - b) < 0.05).mean() > 0.999
    near(m.features(x).numpy() * np.r_[np.full(multi.num_features, np.sqrt(60/59)), np.ones(hydra.num_features)], literal(x), 1e-4)
    ref, xt = RidgeClassifierCV(alphas=np.logspace(-3, 3, 10)).fit(m.features(x, to_np=True).astype(float), y.numpy()), series(40, 1)[0]
    assert s.alpha == pytest.approx(ref.alpha_)
    np.testing.assert_allclose(m.eval()(xt).detach(), ref.decision_function(m.features(xt, to_np=True)), atol=1e-3)


def test_plain_torch_agrees(fitted):
    m, x = copy.deepcopy(fitted[0]).eval(), series(40, 1)[0]
    ref = m(x).detach()
    m.backbone.multirocket.backend = m.backbone.hydra.backend = 'torch'
    assert ((m(x) - ref).abs() < 0.02).float().mean() > 0.95 and (m(x).argmax(1) == ref.argmax(1)).float().mean() > 0.95


def test_state(fitted):
    m, x = fitted[0].eval(), series(40, 1)[0]
    with torch.no_grad(): ref = m(x)
    with torch.no_grad():
        for o in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))): assert o.fitted and torch.equal(o(x), ref)
        for bs in (1, 7): torch.testing.assert_close(torch.cat([m(o) for o in x.split(bs)]), ref, atol=1e-5, rtol=1e-5)
        assert copy.deepcopy(m).double()(x.double()).isfinite().all()


def test_options_and_errors():
    x, y = series(20)
    state = torch.get_rng_state()
    a, b = (MultiRocketHydra(2, 3, 40, **SMALL, zero_init=False).fit(x) for _ in range(2))
    for k, v in a.state_dict().items(): assert torch.equal(b.state_dict()[k], v), k
    assert torch.equal(torch.get_rng_state(), state)
    assert MultiRocketHydra(2, 1, 40, **SMALL, d=(2, 3), y_range=(0, 1), fc_dropout=0.1).fit(x)(x).shape == (20, 2, 3)
    assert MultiRocketHydra(2, 5, 40, **SMALL, custom_head=torch.nn.Linear).fit(x)(x).shape == (20, 5)
    with pytest.raises(ValueError, match='not fitted'): MultiRocketHydra(2, 3, 40, **SMALL)(x)
    with pytest.raises(ValueError, match='at least 10'): MultiRocketHydra(2, 3, 9)
    with pytest.raises(ValueError, match='only once'): MultiRocketHydra(2, 3, 40, **SMALL).fit(iter([x]))
