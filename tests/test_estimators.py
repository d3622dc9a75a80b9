"Estimators: the checks of scikit-learn and of sktime, and what those do not look at"
import pickle
import random
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import check_estimator as sklearn_check

from tsfast.core import rng_state
from tsfast.data.core import get_ts_dls
from tsfast.data.external import get_UCR_data
from tsfast.data.preprocessing import TSNormalize, TSStandardize
from tsfast.data.targets import TSClassification
from tsfast.estimators import BestWeights, TSNetClassifier, TSNetRegressor, _seeds, panel_to_array
from tsfast.learner import ts_learner
from tsfast.models.fcn import FCN

FAST = dict(arch='FCN', arch_params=dict(layers=[8, 8, 8]), epochs=4, bs=8, lr=1e-2, device='cpu', random_state=0)
N, C, L = 48, 2, 20
rng = np.random.default_rng(0)
kind, height = rng.integers(0, 3, N), rng.uniform(1, 3, N)
# noise, with a wave whose frequency is that of its class and whose height is the number to predict
X = (height[:, None, None] * np.sin(np.arange(L) * (0.4 + 0.6*kind[:, None]))[:, None] + 0.1*rng.normal(size=(N, C, L))).astype(np.float32)
y = np.array(['a', 'b', 'c'])[kind]
numbers = 5 - 2*height


# the checks of the libraries

SGD = {'check_sample_weight_equivalence_on_dense_data': 'batches are drawn at random: a weight of 2 and a series that is there twice agree in expectation only'}

@pytest.mark.parametrize('est', [TSNetClassifier('FCN', dict(layers=[16, 16, 16]), epochs=8, bs=16, lr=2e-2, device='cpu', random_state=0),
                                 TSNetRegressor('FCN', dict(layers=[8, 8, 8]), epochs=8, bs=16, lr=2e-2, device='cpu', random_state=0)], ids=lambda o: type(o).__name__)
def test_sklearn_check(est):
    # of scikit-learn's checks one is skipped: array API input, which needs an environment variable before scipy is imported
    res = sklearn_check(est, expected_failed_checks=SGD, on_skip=None)
    assert {o['check_name'] for o in res if o['status'] == 'xfail'} == set(SGD)
    assert {o['check_name'] for o in res if o['status'] == 'skipped'} <= {'check_array_api_input'}


@pytest.mark.parametrize('name', ['TSNetSktimeClassifier', 'TSNetSktimeRegressor'])
def test_sktime_check(name):
    from sktime.utils.estimator_checks import check_estimator
    import tsfast.sktime_estimators as m
    res = check_estimator(getattr(m, name), raise_exceptions=False, verbose=False)
    assert len(res) > 100
    assert not {k: v for k, v in res.items() if v != 'PASSED'}


# seeds

@pytest.mark.parametrize('est', [TSNetClassifier(**FAST), TSNetRegressor(**FAST), TSNetClassifier(**{**FAST, 'arch': 'HydraPlus', 'arch_params': dict(k=2, g=4)}, ridge=True),
                                 TSNetClassifier(**FAST, early_stopping=True, n_estimators=2)], ids=['classifier', 'regressor', 'ridge', 'stopped'])
def test_same_seed_same_bits(est):
    t = numbers if isinstance(est, TSNetRegressor) else y
    before = rng_state()
    out = est.fit(X, t)._outputs(X)
    again = clone(est).fit(X, t)._outputs(X)
    after = rng_state()
    np.testing.assert_array_equal(out, again)
    assert before['python'] == after['python'] and torch.equal(before['torch'], after['torch'])
    assert all(np.array_equal(a, b) for a, b in zip(before['numpy'], after['numpy']))
    random.seed(1); np.random.seed(1); torch.manual_seed(1)      # other code's generators have no influence
    np.testing.assert_array_equal(out, clone(est).fit(X, t)._outputs(X))
    assert not np.array_equal(out, clone(est).set_params(random_state=1).fit(X, t)._outputs(X))


def test_random_state_kinds():
    assert _seeds(3, 5)[:2] == _seeds(3, 2) != _seeds(4, 2)
    assert _seeds(None, 1) != _seeds(None, 1)
    for make in (np.random.RandomState, np.random.default_rng):
        assert _seeds(make(0), 2) == _seeds(make(0), 2)
        g = make(0)
        assert _seeds(g, 2) != _seeds(g, 2)      # a generator moves on
    for bad in (-1, 1.5, True, 'a'):
        with pytest.raises(ValueError, match='random_state'): _seeds(bad, 1)


# equal to what it is made of

def test_equals_learner(ucr_path):
    "On ECGFiveDays an estimator is the learner that one would write by hand"
    X, y, splits = get_UCR_data('ECGFiveDays', path=ucr_path, split_data=False)
    train, test = splits
    est = TSNetClassifier(**{**FAST, 'epochs': 10}, batch_tfms=TSStandardize(), label_smoothing=0., wd=0.01).fit(X[train], y[train])
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], batch_tfms=TSStandardize(), bs=8, device='cpu')
    learn = ts_learner(dls, FCN, layers=[8, 8, 8], seed=_seeds(0, 1)[0])
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(10, 1e-2, wd=0.01)
    p, _, labels = learn.get_X_preds(X[test])
    np.testing.assert_array_equal(est.predict_proba(X[test]), p.numpy())
    np.testing.assert_array_equal(est.predict(X[test]), labels)


def test_ensemble():
    one, three = TSNetClassifier(**FAST).fit(X, y), TSNetClassifier(**FAST, n_estimators=3).fit(X, y)
    ps = [o.get_X_preds(X)[0].numpy() for o in three.learners_]
    np.testing.assert_array_equal(ps[0], one.predict_proba(X))
    assert not np.array_equal(ps[0], ps[1])
    np.testing.assert_allclose(three.predict_proba(X), np.mean(ps, 0), atol=1e-6)
    assert list(three.history_.index.names) == ['network', 'epoch'] and len(three.history_) == 3*FAST['epochs']


def test_accuracy_and_units():
    clf = TSNetClassifier(**{**FAST, 'epochs': 30}).fit(X[:36], y[:36])
    assert clf.score(X[36:], y[36:]) > 0.8
    reg = TSNetRegressor(**{**FAST, 'epochs': 25}).fit(X[:36], 1000*numbers[:36])
    assert reg.score(X[:36], 1000*numbers[:36]) > 0.5 and reg.predict(X).dtype == np.float64


# input

def test_kinds_of_input():
    "Arrays, tensors, lists, memory maps, sktime's panels: the same series, the same result"
    from sktime.datatypes import convert_to
    want = TSNetClassifier(**FAST).fit(X, y).predict_proba(X)
    for o in (torch.from_numpy(X), X.astype(np.float64), X.tolist(), *(convert_to(X, k, as_scitype='Panel') for k in ('nested_univ', 'pd-multiindex', 'df-list'))):
        np.testing.assert_array_equal(TSNetClassifier(**FAST).fit(o, pd.Series(y, index=range(100, 100 + N))).predict_proba(o), want)
    flat = TSNetClassifier(**FAST).fit(X[:, 0], y)
    assert flat.n_features_in_ == L and not hasattr(TSNetClassifier(**FAST).fit(X, y), 'n_features_in_')
    np.testing.assert_array_equal(flat.predict_proba(X[:, 0]), flat.predict_proba(X[:, :1]))
    frame = pd.DataFrame(X[:, 0], columns=[f't{i}' for i in range(L)])
    assert list(TSNetClassifier(**FAST).fit(frame, y).feature_names_in_) == list(frame)
    assert not hasattr(flat.fit(X, y), 'n_features_in_')     # fitted anew with three dimensions


def test_memory_map(tmp_path):
    np.save(tmp_path/'X.npy', X)
    o = np.load(tmp_path/'X.npy', mmap_mode='r')
    np.testing.assert_array_equal(TSNetClassifier(**FAST).fit(o, y).predict_proba(o), TSNetClassifier(**FAST).fit(X, y).predict_proba(X))


def test_gaps_and_lengths():
    from sktime.datatypes import convert_to
    gaps = X.copy(); gaps[0, 0, 3] = np.nan; gaps[1, :, 15:] = np.nan
    with pytest.raises(ValueError, match='missing values'): TSNetClassifier(**FAST).fit(gaps, y)
    with pytest.raises(ValueError, match='NaN'): TSNetClassifier(**FAST).fit(gaps[:, 0], y)
    panel = convert_to([pd.DataFrame(o.T).iloc[:15 if i == 1 else None] for i, o in enumerate(gaps)], 'nested_univ')
    for missing in (0., 'mean', 'median'):
        est = TSNetClassifier(**FAST, missing=missing).fit(gaps, y)
        assert np.isfinite(est.predict_proba(gaps)).all()
        np.testing.assert_array_equal(clone(est).fit(panel, y).predict_proba(panel), est.predict_proba(gaps))
        np.testing.assert_array_equal(est.predict_proba(gaps[1:2, :, :15]), est.predict_proba(gaps[1:2]))
        with pytest.raises(ValueError, match='Crop or resample'): est.predict(np.concatenate([X, X], 2))
    np.testing.assert_array_equal(np.isnan(panel_to_array(panel)), np.isnan(gaps))
    inf = X.copy(); inf[0, 0, 0] = np.inf
    with pytest.raises(ValueError, match='infinite'): TSNetClassifier(**FAST, missing=0.).fit(inf, y)


def test_errors():
    for est in (TSNetClassifier(), TSNetRegressor()):
        with pytest.raises(NotFittedError): est.predict(X)
    with pytest.raises(ValueError, match='2 channels'): TSNetClassifier(**FAST).fit(X[:, :1], y).predict(X)
    with pytest.raises(ValueError, match='4 dim|dim 4'): TSNetClassifier(**FAST).fit(X[None], y)
    with pytest.raises(ValueError, match='1 series'): TSNetClassifier(**FAST).fit(X[:1], y[:1])
    with pytest.raises(ValueError, match='inconsistent'): TSNetClassifier(**FAST).fit(X, y[1:])
    with pytest.raises(ValueError, match='at least 9 steps'): TSNetClassifier('MiniRocket', ridge=True).fit(X[..., :8], y)
    with pytest.raises(KeyError, match='InceptionTime'): TSNetClassifier('InceptionTim').fit(X, y)
    with pytest.raises(ValueError, match='diverged'): TSNetRegressor(**{**FAST, 'lr': 1e30}).fit(X, numbers)
    with pytest.raises(ValueError, match='no weights'): TSNetRegressor(ridge=True).fit(X, numbers, sample_weight=np.ones(N))
    with pytest.raises(ValueError, match='validation_fraction'): TSNetClassifier(**FAST, early_stopping=True, validation_fraction=0.01).fit(X, y)


# training

def test_early_stopping():
    est = TSNetClassifier(**{**FAST, 'epochs': 60, 'lr': 3e-2}, early_stopping=True, n_iter_no_change=4, validation_fraction=0.25).fit(X, y)
    loss = est.history_.valid_loss.to_numpy()
    assert len(loss) == 60 or len(loss) == loss.argmin() + 1 + 4
    assert est.score(X, y) > 0.8


def test_best_weights_come_back():
    dls = get_ts_dls(X, y, splits=(range(24), range(24, N)), tfms=[None, TSClassification()], bs=8, device='cpu')
    learn = ts_learner(dls, FCN, layers=[8, 8, 8], seed=0)
    with learn.no_bar(), learn.no_logging():
        learn.fit(25, 0.1, cbs=BestWeights(3))
        assert learn.validate()[0] == pytest.approx(learn.history.valid_loss.min(), rel=1e-5)


def test_weights():
    "Weights move the predictions in their direction; 0 leaves a series out"
    half = (kind == 0).astype(float)
    plain, heavy = TSNetClassifier(**FAST).fit(X, y), TSNetClassifier(**FAST).fit(X, y, sample_weight=1 + 50*half)
    assert heavy.predict_proba(X)[:, 0].mean() > plain.predict_proba(X)[:, 0].mean()
    assert TSNetClassifier(**FAST, class_weight={'b': 100}).fit(X, y).predict_proba(X)[:, 1].mean() > plain.predict_proba(X)[:, 1].mean()
    TSNetClassifier(**FAST, class_weight='balanced').fit(X, y)
    wrong = np.where(np.arange(N) < 10, 'a', y); w = (np.arange(N) >= 10).astype(float)
    assert TSNetClassifier(**{**FAST, 'epochs': 15}).fit(X, wrong, sample_weight=w).score(X[10:], y[10:]) > 0.8
    for bad, msg in ((w[1:], 'shape'), (-w, 'negative'), (0*w, 'non-zero')):
        with pytest.raises(ValueError, match=msg): TSNetClassifier(**FAST).fit(X, y, sample_weight=bad)


def test_any_architecture():
    "By name in any case, by class, or built; with callbacks, a loss and transforms of one's own"
    from fastai.losses import L1LossFlat
    a = TSNetClassifier(**{**FAST, 'arch': 'fcn'}).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(a, TSNetClassifier(**{**FAST, 'arch': FCN}).fit(X, y).predict_proba(X))
    model = FCN(C, 3, layers=[8, 8, 8]); before = {k: v.clone() for k, v in model.state_dict().items()}
    TSNetClassifier(**{**FAST, 'arch': model, 'arch_params': None}).fit(X, y)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())     # a copy was trained
    TSNetRegressor(**FAST, loss_func=L1LossFlat(), batch_tfms=[TSNormalize(by_var=True)]).fit(X, numbers)
    TSNetRegressor(**FAST, batch_tfms=None).fit(X, numbers)


@pytest.mark.parametrize('arch, params', [('MiniRocket', dict(num_features=420)), ('HydraPlus', dict(k=4, g=8)), ('MultiRocketHydra', {})])
def test_ridge(arch, params):
    clf = TSNetClassifier(arch, params, ridge=True, random_state=0, device='cpu').fit(X[:36], y[:36])
    assert clf.score(X[36:], y[36:]) > 0.8 and clf.history_.alpha.iloc[0] > 0
    np.testing.assert_allclose(clf.predict_proba(X).sum(1), 1, rtol=1e-5)
    assert TSNetRegressor(arch, params, ridge=True, random_state=0, device='cpu').fit(X, numbers).score(X, numbers) > 0.8


def test_several_targets():
    reg = TSNetRegressor(**FAST).fit(X, np.stack([numbers, -numbers, kind], 1))
    assert reg.predict(X[:5]).shape == (5, 3)
    assert TSNetRegressor(**FAST).fit(X, numbers[:, None]).predict(X[:5]).shape == (5, 1)


# among the tools of scikit-learn

def test_search_and_pipelines():
    search = GridSearchCV(TSNetClassifier(**FAST), {'lr': [1e-3, 1e-2], 'arch_params': [dict(layers=[4, 4, 4])]}, cv=2, scoring='neg_log_loss').fit(X, y)
    assert np.isfinite(search.best_score_)
    assert len(cross_val_score(TSNetRegressor(**FAST), X, numbers, cv=3)) == 3
    assert make_pipeline(FunctionTransformer(np.diff), TSNetClassifier(**FAST)).fit(X, y).predict(X).shape == (N,)
    assert make_pipeline(StandardScaler(), TSNetClassifier(**FAST)).fit(X[:, 0], y).predict(X[:, 0]).shape == (N,)


@pytest.mark.parametrize('dumps', [pickle.dumps, partial(pickle.dumps, protocol=5)])
def test_pickle_is_small_and_holds_no_series(dumps):
    many, t = np.repeat(X, 20, 0), np.repeat(y, 20)
    est = TSNetClassifier(**{**FAST, 'epochs': 1, 'bs': 64}).fit(many, t)
    est.predict(many)
    data = dumps(est)
    assert len(data) < many.nbytes/2 and len(est.learner_.dls.train_ds.X) == 0
    np.testing.assert_array_equal(pickle.loads(data).predict_proba(X), est.predict_proba(X))


def test_silent(capsys):
    TSNetClassifier(**FAST).fit(X, y).predict(X)
    out = capsys.readouterr()
    assert not out.out and not out.err
    TSNetClassifier(**FAST, verbose=True).fit(X, y)
    assert 'train_loss' in capsys.readouterr().out


# sktime

def test_sktime_pipeline_and_benchmark(tmp_path):
    from sktime.benchmarking.classification import ClassificationBenchmark
    from sktime.datasets import load_unit_test
    from sktime.transformations.exponent import ExponentTransformer
    from tsfast.sktime_estimators import TSNetSktimeClassifier
    clf = TSNetSktimeClassifier(**FAST)
    Xs, ys = load_unit_test('train')
    pipe = (ExponentTransformer(0.5) * clf).fit(Xs, ys)
    assert pipe.predict(Xs).shape == ys.shape
    from sklearn.model_selection import KFold
    from sklearn.metrics import accuracy_score
    bench = ClassificationBenchmark()
    bench.add_estimator(clf)
    bench.add_task(partial(load_unit_test, 'train'), KFold(2, shuffle=True, random_state=0), [accuracy_score])
    assert 'accuracy_score_mean' in bench.run(str(tmp_path/'results.csv'))


def test_sktime_tags_are_honest():
    from tsfast.sktime_estimators import TSNetSktimeClassifier, TSNetSktimeRegressor
    gaps = X.copy(); gaps[0, 0, 3] = np.nan
    for cls, t in ((TSNetSktimeClassifier, y), (TSNetSktimeRegressor, numbers)):
        assert set(cls().get_params()) == set({TSNetSktimeClassifier: TSNetClassifier, TSNetSktimeRegressor: TSNetRegressor}[cls]().get_params())
        assert cls.get_class_tag('capability:multivariate') and not cls.get_class_tag('capability:missing_values')
        with pytest.raises(ValueError, match='missing values'): cls(**FAST).fit(gaps, t)
        est = cls(**FAST, missing=0.)
        assert est.get_tag('capability:missing_values') and est.get_tag('capability:unequal_length')
        assert len(est.fit(gaps, t).predict(gaps)) == N
        assert not est.set_params(missing=None).get_tag('capability:missing_values')
