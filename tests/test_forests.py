"Forests: the checks of scikit-learn, features and trees put together by hand, batches, and what those checks do not look at"
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, StackingClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import check_estimator

from tsfast.core import rng_state
from tsfast.estimators import TSForestClassifier, TSForestRegressor, TSNetClassifier
from tsfast.estimator_checks import seeds_from
from tsfast.models.quant import QuantFeatures
from waves import L, N, X, numbers, y

FAST = dict(n_estimators=20, device='cpu', random_state=0)
BOTH = [TSForestClassifier(**FAST), TSForestRegressor(**FAST)]


def features(X): return QuantFeatures(*X.shape[1:])(torch.from_numpy(X)).numpy()


@pytest.mark.parametrize('est', BOTH, ids=lambda o: type(o).__name__)
def test_sklearn_check(est):
    res = check_estimator(est, on_skip=None)
    assert {o['check_name'] for o in res if o['status'] == 'skipped'} <= {'check_array_api_input'}


@pytest.mark.parametrize('est,t,trees', [(BOTH[0], y, ExtraTreesClassifier(20, criterion='entropy', max_features=.1)),
                                         (BOTH[1], numbers, ExtraTreesRegressor(20, max_features=.1))], ids=['classes', 'numbers'])
def test_equals_its_parts(est, t, trees):
    trees.set_params(random_state=seeds_from(0, 1)[0]).fit(features(X[:30]), t[:30])
    est = clone(est).fit(X[:30], t[:30])
    np.testing.assert_array_equal(est.predict(X[30:]), trees.predict(features(X[30:])))
    if t is y: np.testing.assert_array_equal(est.predict_proba(X[30:]), trees.predict_proba(features(X[30:])))


@pytest.mark.parametrize('est', BOTH, ids=lambda o: type(o).__name__)
def test_same_seed_same_bits(est):
    t = y if hasattr(est, 'predict_proba') else numbers
    before = rng_state()
    out = clone(est).set_params(batch_size=20).fit(X, t).predict(X)
    after = rng_state()
    assert before['python'] == after['python'] and torch.equal(before['torch'], after['torch'])
    assert all(np.array_equal(a, b) for a, b in zip(before['numpy'], after['numpy']))
    np.random.seed(1); torch.manual_seed(1)
    est = clone(est).set_params(batch_size=20)
    np.testing.assert_array_equal(out, est.fit(X, t).predict(X))
    again = est.set_params(n_jobs=2).fit(X, t).predict(X)      # threads add the trees up in any order
    assert np.allclose(out, again) if t is numbers else (out == again).all()


def test_batches():
    "Each batch grows its share of the trees on series that no other has, the classes are spread, and probabilities sum to 1"
    clf = TSForestClassifier(**FAST, batch_size=13)
    seen = []
    clf._features = lambda X, rows: seen.append(rows) or features(X[rows].numpy())
    clf.fit(X, y)
    assert len(seen) == 4 and len(clf.forest_) == 20
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(N))
    for rows in seen:
        assert len(rows) == 12
        for c in 'abc': assert abs((y[rows] == c).sum() - (y == c).mean()*12) < 1.01
    # the first trees are those of a forest that was grown on the first batch alone
    alone = ExtraTreesClassifier(5, criterion='entropy', max_features=.1, random_state=seeds_from(0, 1)[0])
    alone.fit(features(X[seen[0]]), y[seen[0]])
    for a, b in zip(alone, clf.forest_): np.testing.assert_array_equal(a.tree_.threshold, b.tree_.threshold)
    np.testing.assert_allclose(clf.predict_proba(X).sum(1), 1)
    assert clf.score(X, y) > .8


def test_a_class_that_a_batch_lacks():
    "It is known to all trees, and the series that stands for it counts nothing"
    lonely = np.where(np.arange(N) == 5, 'z', y)
    clf = TSForestClassifier(**FAST, batch_size=16).fit(X, lonely)
    assert clf.predict_proba(X).shape == (N, 4)
    p = np.stack([t.predict_proba(features(X))[:, 3] for t in clf.forest_])
    knows = p.any(1)
    assert 0 < knows.sum() <= 7     # a third of the trees


def test_regression_in_batches():
    reg = TSForestRegressor(**FAST, batch_size=16).fit(X, np.stack([numbers, -numbers], 1))
    assert len(reg.forest_) == 20 and reg.predict(X).shape == (N, 2)
    np.testing.assert_allclose(reg.predict(X)[:, 0], -reg.predict(X)[:, 1], atol=.5)


def test_weights():
    "A series of weight 0 is no part of the fit, whatever it is, and class_weight is a weight of the series"
    w = np.where(np.arange(N) < 8, 0., 1.)
    odd = X.copy(); odd[:8] = 100
    for size in (None, 15):
        a, b = (TSForestClassifier(**FAST, batch_size=size).fit(o, y, sample_weight=w).predict_proba(X) for o in (X, odd))
        np.testing.assert_array_equal(a, b)
    balanced = TSForestClassifier(**FAST, class_weight='balanced', batch_size=15).fit(X, y).predict_proba(X)
    by_hand = TSForestClassifier(**FAST, batch_size=15).fit(X, y, sample_weight=[N/3/(y == c).sum() for c in y]).predict_proba(X)
    np.testing.assert_allclose(balanced, by_hand)
    with pytest.raises(ValueError, match='sample_weight has shape'): BOTH[0].fit(X, y, sample_weight=[1.])


def test_chunks(monkeypatch):
    want = clone(BOTH[0]).fit(X, y).predict_proba(X)
    monkeypatch.setattr('tsfast.estimator_forests._CHUNK', 1000)
    sizes, forward = [], QuantFeatures.forward
    monkeypatch.setattr(QuantFeatures, 'forward', lambda self, x: sizes.append(len(x)) or forward(self, x))
    np.testing.assert_allclose(clone(BOTH[0]).fit(X, y).predict_proba(X), want, atol=.05)
    assert max(sizes) < 5 and sum(sizes) == 2*N


def test_kinds_of_input(tmp_path):
    "Arrays, tensors, lists, memory maps, files, dicts of channels, panels of sktime: the same series, the same result"
    from sktime.datatypes import convert_to
    want = clone(BOTH[0]).fit(X, y).predict_proba(X)
    np.save(tmp_path/'X.npy', X)
    for o in (torch.from_numpy(X), X.astype(np.float64), X.tolist(), np.load(tmp_path/'X.npy', mmap_mode='r'), dict(u=X[:, 0], v=X[:, 1]),
              *(convert_to(X, k, as_scitype='Panel') for k in ('nested_univ', 'pd-multiindex', 'df-list'))):
        np.testing.assert_array_equal(clone(BOTH[0]).fit(o, pd.Series(y, index=range(100, 100 + N))).predict_proba(o), want)
    zarr = pytest.importorskip('zarr')
    zarr.save_array(str(tmp_path/'X.zarr'), X)
    source = zarr.open_array(str(tmp_path/'X.zarr'), mode='r')
    np.testing.assert_array_equal(clone(BOTH[0]).fit(source, y).predict_proba(source), want)
    flat = clone(BOTH[0]).fit(X[:, 0], y)
    assert flat.n_features_in_ == L and flat.predict(X[:, :1]).shape == (N,)


def test_missing_values():
    gaps = X.copy(); gaps[3, 0, 5:] = np.nan
    with pytest.raises(ValueError, match='1 of the 48 series of X have missing values'): clone(BOTH[0]).fit(gaps, y)
    filled = X.copy(); filled[3, 0, 5:] = 7
    a, b = TSForestClassifier(**FAST, missing=7.).fit(gaps, y), clone(BOTH[0]).fit(filled, y)
    np.testing.assert_array_equal(a.predict_proba(X), b.predict_proba(X))
    assert a.predict(X[..., :12]).shape == (N,)      # filled up at the end
    filled[3, 0, 5:] = X[3, 0, :5].mean()
    a = TSForestClassifier(**FAST, missing='mean').fit(gaps, y)
    np.testing.assert_allclose(a.predict_proba(X), clone(BOTH[0]).fit(filled, y).predict_proba(X), atol=.05)


def test_ensembles_of_scikit_learn():
    "Three dimensions pass through voting, stacking and searches, beside a network"
    net = TSNetClassifier('MiniRocket', dict(num_features=84), device='cpu', random_state=0)
    members = [('forest', clone(BOTH[0])), ('net', net)]
    vote = VotingClassifier(members, voting='soft').fit(X, y)
    alone = [o.fit(X, y).predict_proba(X) for o in (clone(BOTH[0]), net)]
    np.testing.assert_allclose(vote.predict_proba(X), sum(alone)/2, atol=1e-6)
    assert StackingClassifier(members, LogisticRegression(), cv=2).fit(X, y).score(X, y) > .8
    search = GridSearchCV(clone(BOTH[0]), dict(depth=[1, 3], max_features=['sqrt', .2]), cv=2).fit(X, y)
    assert set(search.best_params_) == {'depth', 'max_features'}


def test_threads_and_pickle():
    clf = clone(BOTH[0]).fit(X, y)
    want = clf.predict_proba(X)
    with ThreadPoolExecutor(4) as pool:
        for p in pool.map(clf.predict_proba, [X]*8): np.testing.assert_array_equal(p, want)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(clf)).predict_proba(X), want)


def test_forest_params():
    clf = TSForestClassifier(**FAST, forest_params=dict(bootstrap=True, oob_score=True, min_samples_leaf=2)).fit(X, y)
    assert clf.forest_.oob_score_ > .5 and clf.forest_.min_samples_leaf == 2
    assert clone(clf).get_params()['forest_params'] == clf.forest_params


def test_class_weight_in_order():
    a, b = (TSForestClassifier(**FAST, class_weight=o).fit(X, y).predict_proba(X) for o in (dict(a=1, b=5, c=.1), [1, 5, .1]))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize('kwargs,match', [
    (dict(n_estimators=0), 'n_estimators is 0. Expected a whole number from 1 up'), (dict(depth=1.5), 'depth is 1.5'),
    (dict(div=0), 'div is 0'),
    (dict(batch_size=0), 'batch_size is 0'), (dict(batch_size=2), 'makes 24 batches, and there are 20 trees'),
    (dict(forest_params=[1]), 'forest_params is'),
    (dict(forest_params=dict(min_leaf=1)), "'min_leaf', which scikit-learn's forest does not take"),
    (dict(forest_params=dict(n_estimators=7)), "'n_estimators', which is an argument of TSForestClassifier itself"),
    (dict(forest_params=dict(class_weight='balanced')), "'class_weight', which is an argument of TSForestClassifier itself"),
    (dict(forest_params=dict(warm_start=False)), "'warm_start', which batch_size sets"),
    (dict(class_weight=dict(a=-1)), r"class_weight is {'a': -1}. Expected 'balanced'"), (dict(class_weight=[1, 2]), 'or 3 weights'),
    (dict(class_weight=dict.fromkeys('abc', 0)), 'numbers from 0 up'),
    (dict(missing='mode'), "missing is 'mode'"), (dict(device='abacus'), 'no device'), (dict(random_state=-1), 'random_state is -1'),
    (dict(criterion='best'), 'criterion'), (dict(max_features=0.), 'max_features'),
    (dict(min_weight_fraction_leaf=2.), 'min_weight_fraction_leaf'), (dict(class_weight='fair'), 'class_weight')], ids=str)
def test_arguments(kwargs, match):
    clf = clone(BOTH[0]).fit(X, y)
    before = clf.predict_proba(X)
    with pytest.raises(ValueError, match=match): clf.set_params(**kwargs).fit(X, y)
    np.testing.assert_array_equal(clf.forest_.predict_proba(features(X)), before)      # the fit that failed left the forest as it was


def test_errors():
    with pytest.raises(NotFittedError): TSForestClassifier().predict(X)
    with pytest.raises(ValueError, match='one class only'): TSForestClassifier().fit(X, ['a']*N)
    with pytest.raises(ValueError, match='cannot be ordered'): TSForestClassifier().fit(X, ['a', 1]*(N//2))
    with pytest.raises(ValueError, match="such as 'c', and TSForestRegressor takes numbers"): TSForestRegressor().fit(X, y)
    clf = clone(BOTH[0]).fit(X, y)
    with pytest.raises(ValueError, match='1 channels. The training series had 2'): clf.predict(X[:, :1])
    with pytest.raises(ValueError, match='series of 12 steps; those of the training had 20'): clf.predict(X[..., :12])
