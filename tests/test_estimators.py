"Estimators: the checks of scikit-learn and of sktime, and what those do not look at"
import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import cloudpickle
import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback
from fastai.callback.progress import CSVLogger
from fastai.callback.tracker import EarlyStoppingCallback
from sklearn.base import clone
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier, BaggingRegressor, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import check_estimator as sklearn_check

from tsfast.callbacks import BF16
from tsfast.core import rng_state
from tsfast.data.core import get_ts_dls
from tsfast.data.external import get_UCR_data
from tsfast.data.preprocessing import TSNan2Value, TSNormalize, TSStandardize
from tsfast.data.targets import TSClassification
from tsfast.estimator_base import TensorsOf, copied_to, seeds_from
from tsfast.estimators import BestWeights, TSNetClassifier, TSNetRegressor, panel_to_array
from tsfast.learner import ts_learner
from tsfast.losses import FocalLoss
from tsfast.models.fcn import FCN
from waves import C, L, N, X, kind, numbers, y

FAST = dict(arch='FCN', arch_params=dict(layers=[8, 8, 8]), epochs=4, bs=8, lr=1e-2, device='cpu', random_state=0)


# the checks of the libraries

SGD = {'check_sample_weight_equivalence_on_dense_data':
       'batches are drawn at random: a weight of 2 and a series that is there twice agree in expectation only'}

SMALL = dict(arch='FCN', arch_params=dict(layers=[8, 8, 8]), epochs=4, bs=32, lr=3e-2, device='cpu', random_state=0)

@pytest.mark.parametrize('est', [TSNetClassifier(**SMALL), TSNetRegressor(**{**SMALL, 'epochs': 8, 'bs': 16, 'lr': 2e-2})],
                         ids=lambda o: type(o).__name__)
def test_sklearn_check(est):
    # of scikit-learn's checks one is skipped: array API input, which needs an environment variable before scipy is imported
    res = sklearn_check(est, expected_failed_checks=SGD, on_skip=None)
    assert {o['check_name'] for o in res if o['status'] == 'xfail'} == set(SGD)
    assert {o['check_name'] for o in res if o['status'] == 'skipped'} <= {'check_array_api_input'}


@pytest.mark.parametrize('name', ['TSNetSktimeClassifier', 'TSNetSktimeRegressor', 'TSForestSktimeClassifier', 'TSForestSktimeRegressor'])
def test_sktime_check(name):
    from sktime.utils.estimator_checks import check_estimator
    import tsfast.sktime_estimators as m
    res = check_estimator(getattr(m, name), raise_exceptions=False, verbose=False)
    assert len(res) > 100
    assert not {k: v for k, v in res.items() if v != 'PASSED'}


# seeds

@pytest.mark.parametrize('est', [TSNetClassifier(**FAST), TSNetRegressor(**FAST),
                                 TSNetClassifier(**{**FAST, 'arch': 'HydraPlus', 'arch_params': dict(k=2, g=4)}, ridge=True),
                                 TSNetClassifier(**FAST, early_stopping=True, n_estimators=2)],
                         ids=['classifier', 'regressor', 'ridge', 'stopped'])
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
    assert seeds_from(3, 5)[:2] == seeds_from(3, 2) != seeds_from(4, 2)
    assert seeds_from(None, 1) != seeds_from(None, 1)
    for make in (np.random.RandomState, np.random.default_rng):
        assert seeds_from(make(0), 2) == seeds_from(make(0), 2)
        g = make(0)
        assert seeds_from(g, 2) != seeds_from(g, 2)      # a generator moves on
    for bad in (-1, 1.5, True, 'a'):
        with pytest.raises(ValueError, match='random_state'): seeds_from(bad, 1)


# equal to what it is made of

def test_equals_learner(ucr_path):
    "On ECGFiveDays an estimator is the learner that one would write by hand"
    X, y, splits = get_UCR_data('ECGFiveDays', path=ucr_path, split_data=False)
    train, test = splits
    est = TSNetClassifier(**{**FAST, 'epochs': 10}, batch_tfms=TSStandardize(), label_smoothing=0., wd=0.01).fit(X[train], y[train])
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], batch_tfms=TSStandardize(), bs=8, device='cpu')
    learn = ts_learner(dls, FCN, layers=[8, 8, 8], seed=seeds_from(0, 1)[0])
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
    for o in (torch.from_numpy(X), X.astype(np.float64), X.tolist(),
              *(convert_to(X, k, as_scitype='Panel') for k in ('nested_univ', 'pd-multiindex', 'df-list'))):
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


PANELS = ('nested_univ', 'pd-multiindex', 'df-list')

def _panel(form, columns=('b', 'a')):
    "The series as a panel, with the channels that are called `columns`"
    from sktime.datatypes import convert_to
    frames = [pd.DataFrame(o.T, columns=['b', 'a'])[list(columns)] for o in X]
    return convert_to(frames, form, as_scitype='Panel')

@pytest.mark.parametrize('form', PANELS)
def test_channel_names(form):
    "In the order of training, or a ValueError; an array has none"
    est = TSNetClassifier(**FAST).fit(_panel(form), y)
    assert est.channel_names_ == ['b', 'a']
    want = est.predict_proba(X)
    for other in PANELS: np.testing.assert_array_equal(est.predict_proba(_panel(other)), want)
    np.testing.assert_array_equal(est.predict_proba(_panel(form, ['a', 'b'])), want)
    assert est.learner_.channels == ['b', 'a']
    with pytest.raises(ValueError, match=r"Series 0 lacks the channels \['a'\] of training. Expected"): est.predict(_panel(form, ['b']))
    other = [o.rename(columns={'a': 'c'}) for o in _panel('df-list')]
    with pytest.raises(ValueError, match="'c'"): est.predict(other)
    plain = clone(est).fit(X, y)
    assert plain.channel_names_ is None and len(plain.predict(_panel(form, ['a', 'b']))) == N
    assert est.fit(X, y).channel_names_ is None


@pytest.mark.parametrize('form', PANELS)
@pytest.mark.parametrize('missing', [None, 0.])
def test_channel_names_in_sktime(form, missing):
    from tsfast.sktime_estimators import TSNetSktimeClassifier, TSNetSktimeRegressor
    for cls, t in ((TSNetSktimeClassifier, y), (TSNetSktimeRegressor, numbers)):
        est = cls(**{**FAST, 'epochs': 1}, missing=missing).fit(_panel(form), t)
        np.testing.assert_array_equal(est.predict(_panel(form)), est.predict(X))
        np.testing.assert_array_equal(est.predict(_panel(form, ['a', 'b'])), est.predict(X))


def test_channels_of_one_panel():
    frames = _panel('df-list')
    for bad in (frames[1][['a', 'b']], frames[1][['b']]):
        with pytest.raises(ValueError, match='Series 1 of the panel has the channels'): panel_to_array([frames[0], bad])


def _ragged(kind):
    "The series, of which every second is shorter"
    parts = [o[:, :15] if i % 2 else o for i, o in enumerate(X)]
    if kind in PANELS:
        from sktime.datatypes import convert_to
        return convert_to([pd.DataFrame(o.T) for o in parts], kind, as_scitype='Panel')
    if kind == 'two dimensions': return [o[0] for o in parts]
    if kind == 'tensors': return [torch.from_numpy(o) for o in parts]
    if kind == 'list': return parts
    res = np.empty(N, dtype=object); res[:] = parts
    return pd.Series(res) if kind == 'column' else res

@pytest.mark.parametrize('kind', ['list', 'two dimensions', 'tensors', 'array of arrays', 'column'])
def test_lists_of_unequal_lengths(kind):
    for work in (TSNetClassifier(**FAST).fit, lambda o, y: TSNetClassifier(**FAST).fit(X, y).predict(o)):
        with pytest.raises(ValueError, match='have missing values .NaN.. Fit with missing=0.'): work(_ragged(kind), y)
    padded = X.copy(); padded[1::2, :, 15:] = np.nan
    if kind == 'two dimensions': padded = padded[:, :1]
    est = TSNetClassifier(**FAST, missing=0.).fit(_ragged(kind), y)
    np.testing.assert_array_equal(est.predict_proba(_ragged(kind)),
                                  TSNetClassifier(**FAST, missing=0.).fit(padded, y).predict_proba(padded))


@pytest.mark.parametrize('kind', PANELS)
def test_panels_of_unequal_lengths(kind):
    for work in (TSNetClassifier(**FAST).fit, lambda o, y: TSNetClassifier(**FAST).fit(X, y).predict(o)):
        with pytest.raises(ValueError, match='unequal lengths, from 15 to 20 steps. Fit with missing=0.'): work(_ragged(kind), y)
    TSNetClassifier(**FAST, missing=0.).fit(_ragged(kind), y).predict(_ragged(kind))
    TSNetClassifier(**FAST, batch_tfms=[TSStandardize(), TSNan2Value()]).fit(_ragged(kind), y).predict(_ragged(kind))


def test_arrays_of_arrays():
    whole = np.empty(N, dtype=object); whole[:] = list(X)
    want = TSNetClassifier(**FAST).fit(X, y).predict_proba(X)
    for o in (whole, pd.Series(whole), list(X), [torch.from_numpy(o) for o in X], [torch.from_numpy(o).requires_grad_() for o in X]):
        np.testing.assert_array_equal(TSNetClassifier(**FAST).fit(o, y).predict_proba(o), want)


@pytest.mark.parametrize('kind', [np.asarray, torch.from_numpy, 'memory map'])
def test_the_remedy_for_gaps_is_missing(kind, tmp_path):
    gaps = X.copy(); gaps[:2, 0, 3] = np.nan
    np.save(tmp_path/'X.npy', gaps)
    gaps = np.load(tmp_path/'X.npy', mmap_mode='r') if kind == 'memory map' else kind(gaps)
    for work in (TSNetClassifier(**FAST).fit, TSNetClassifier(**FAST, early_stopping=True).fit,
                 lambda o, y: TSNetClassifier(**FAST).fit(X, y).predict(o)):
        with pytest.raises(ValueError, match='2 of the 48 series of X have missing values.*missing=0.'): work(gaps, y)
    TSNetClassifier(**FAST, batch_tfms=[TSStandardize(), TSNan2Value()]).fit(gaps, y).predict(gaps)


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
    for share in (0.01, 0.99):
        with pytest.raises(ValueError, match=f'validation_fraction={share}'):
            TSNetClassifier(**FAST, early_stopping=True, validation_fraction=share).fit(X, y)


NUMBERS = dict(n_estimators=[0, 1.5, None], epochs=[0, 2., -1], bs=[0, 1, 2.5], lr=[0, -1, np.inf, np.nan, slice(1e-4, 1e-3)],
               wd=[-1, np.nan], validation_fraction=[0, 1, 1., 2, -0.1, None],
               n_iter_no_change=[0, 1.5, None], missing=[np.nan, 'mode'], label_smoothing=[-0.1, 1])
OTHERS = dict(arch=[3, ['FCN']], arch_params=[3, 'a', {1: 2}], batch_tfms=[3, 'a', [len, 3]], loss_func=[3, 'a', torch.nn.CrossEntropyLoss],
              cbs=[3, 'a', [BestWeights(), 3], int],
              ridge=['no', 1, None], early_stopping=['no', 1, None], class_weight=[{'a': 'x'}, [1, 'x', 2], [None, 1, 1]])
BAD = [(k, v) for k, vs in {**{k: [True, 'a', *v] for k, v in NUMBERS.items()}, **OTHERS}.items() for v in vs]

@pytest.mark.parametrize('name, value', BAD, ids=str)
def test_arguments(name, value):
    "Nonsense is a ValueError that names the argument and what was seen; `set_params` is as good a way to give it"
    with pytest.raises(ValueError) as e: TSNetClassifier(**{**FAST, name: value}).fit(X, y)
    assert str(e.value).startswith(f'{name} is {value!r}. Expected ')
    if hasattr(TSNetRegressor(), name):
        with pytest.raises(ValueError, match=f'^{name} is '): TSNetRegressor(**FAST).set_params(**{name: value}).fit(X, numbers)


def test_arguments_of_numpy():
    "What a search draws"
    own = dict(epochs=np.int64(1), bs=np.int32(8), lr=np.float32(1e-2), wd=np.float32(0.), n_estimators=np.int64(1), missing=np.float32(0),
               validation_fraction=np.float32(0.25),
               early_stopping=np.bool_(True), n_iter_no_change=np.int64(2), label_smoothing=np.float32(0.1), class_weight=np.ones(3),
               random_state=np.int64(0))
    TSNetClassifier(**{**FAST, **own}).fit(X, y).predict(X)
    TSNetClassifier(**{**FAST, 'epochs': 1}, class_weight=torch.ones(3)).fit(X, y)


@pytest.mark.parametrize('device', [
    'foo', 1.5, pytest.param('cuda', marks=pytest.mark.skipif(torch.cuda.is_available(), reason='there is one'))])
def test_devices(device):
    with pytest.raises(ValueError, match='no device'): TSNetClassifier(**{**FAST, 'device': device}).fit(X, y)
    with pytest.raises(ValueError, match='no device'): TSNetClassifier(**FAST).fit(X, y).set_params(device=device).predict(X)


@pytest.mark.parametrize('cls', [TSNetClassifier, TSNetRegressor])
def test_no_learner_before_fit(cls):
    with pytest.raises(NotFittedError): cls().learner_
    assert not hasattr(cls(), 'learner_')


@pytest.mark.parametrize('labels', [[1, 'a', None], ['a', None], ['a', 1], [1, None], [None, None], [{}, {}], [1, 2, pd.NA], [True, 'a']],
                         ids=str)
def test_labels_of_mixed_types(labels):
    labels = pd.Series((labels*N)[:N], dtype=object)
    for t in (labels, labels.to_numpy()):     # numpy makes text of a list of numbers and text
        with pytest.raises(ValueError, match='Give all one type|cannot be read'): TSNetClassifier(**FAST).fit(X, t)
        with pytest.raises(ValueError): TSNetRegressor(**FAST).fit(X, t)


REFITS = dict(arch=lambda o: o.set_params(arch='Incept').fit(X, np.char.add(y, '!')),
              steps=lambda o: o.fit(X[:, :, :12], y[:3]),
              labels=lambda o: o.fit(X, ['a']*N),
              flat=lambda o: o.fit(pd.DataFrame(X[:, 0]).rename(columns=str), y[:3]),
              panel=lambda o: o.fit(_panel('df-list'), y[:3]),
              argument=lambda o: o.set_params(lr=-1).fit(X[:, :1], y),
              diverged=lambda o: o.set_params(lr=1e30, n_estimators=2).fit(X, np.char.add(y, '!')))

@pytest.mark.parametrize('name', REFITS)
def test_failed_refit(name):
    "The estimator stays as it was; one that was not fitted stays unfitted"
    est = TSNetClassifier(**FAST).fit(X, y)
    before, want = vars(est).copy(), est.predict_proba(X)
    with pytest.raises((ValueError, KeyError)): REFITS[name](est)
    np.testing.assert_array_equal(est.predict_proba(X), want)
    assert {k: v for k, v in vars(est).items() if k.endswith('_')} == {k: v for k, v in before.items() if k.endswith('_')}
    fresh = TSNetClassifier(**FAST)
    with pytest.raises((ValueError, KeyError)): REFITS[name](fresh)
    with pytest.raises(NotFittedError): fresh.predict(X)


def test_interrupted_refit():
    "The way out of a training that takes too long costs nothing"
    class Interrupt(Callback):
        def after_epoch(self): raise KeyboardInterrupt
    est = TSNetClassifier(**FAST).fit(X, y)
    want = est.predict_proba(X)
    with pytest.raises(KeyboardInterrupt): est.set_params(cbs=Interrupt()).fit(X[:, :1], y)
    np.testing.assert_array_equal(est.predict_proba(X), want)


def test_failed_refit_in_sktime():
    from sktime.exceptions import NotFittedError
    from tsfast.sktime_estimators import TSNetSktimeClassifier
    est = TSNetSktimeClassifier(**FAST).fit(X, y)
    with pytest.raises(ValueError, match='lr is -1'): est.set_params(lr=-1).fit(X, y)
    with pytest.raises(NotFittedError): est.predict(X)


# training

class GivenLosses(Callback):
    "Validation losses that are given: those of the epochs, and the last for all later ones"
    order = 51      # after the recorder, before `BestWeights`
    def __init__(self, losses): self.given = losses
    def before_fit(self): self.seen_weights = []
    def after_epoch(self):
        self.recorder.values[-1][1] = self.given[min(self.epoch, len(self.given) - 1)]
        self.seen_weights.append(next(self.model.parameters()).detach().clone())

@pytest.mark.parametrize('losses, best', [([3, 2, 1, 1.5], 2), ([1, 2], 0), ([5, 6, 6, 4, 5], 3), ([2, 2, 2], 0)], ids=str)
def test_early_stopping(losses, best):
    "Four epochs after the best one, whose weights come back"
    est = TSNetClassifier(**{**FAST, 'epochs': 20}, early_stopping=True, n_iter_no_change=4, validation_fraction=0.25,
                          cbs=GivenLosses(losses)).fit(X, y)
    assert len(est.history_) == best + 1 + 4
    seen = est.learner_.given_losses.seen_weights
    assert torch.equal(next(est.learner_.model.parameters()), seen[best]) and not torch.equal(seen[best], seen[-1])


def test_early_stopping_waits_no_longer_than_the_epochs():
    est = TSNetClassifier(**{**FAST, 'epochs': 5}, early_stopping=True, n_iter_no_change=4, cbs=GivenLosses([5, 4, 3, 2, 1])).fit(X, y)
    assert len(est.history_) == 5


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


ROCKET = dict(arch='MiniRocket', arch_params=dict(num_features=84), device='cpu', random_state=0)

@pytest.mark.parametrize('params', [{}, dict(n_estimators=2), dict(bs=16)], ids=str)
def test_closed_form_by_default(params):
    "For fixed features, with the numbers of ridge=True"
    for cls, t in ((TSNetClassifier, y), (TSNetRegressor, numbers)):
        auto, asked = cls(**{**ROCKET, **params}).fit(X, t), cls(**{**ROCKET, **params}, ridge=True).fit(X, t)
        assert list(auto.history_) == ['alpha', 'loo_loss'] and auto.learner_.ridge['n_series'] == N
        np.testing.assert_array_equal(auto.predict(X), asked.predict(X))


@pytest.mark.parametrize('params', [dict(epochs=1), dict(lr=1e-3), dict(early_stopping=True), dict(loss_func=FocalLoss()),
                                    dict(class_weight='balanced'), dict(label_smoothing=0.1),
                                    dict(cbs=BestWeights), dict(ridge=False), dict(arch='FCN', arch_params=dict(layers=[4, 4, 4])),
                                    dict(arch_params=dict(num_features=84, custom_head=lambda nf, c: torch.nn.Linear(nf, c)))])
def test_trained_where_the_closed_form_has_no_place(params):
    quick = {} if 'lr' in params else dict(epochs=1)
    est = TSNetClassifier(**{**ROCKET, **params})
    dls = get_ts_dls(X, y, splits=(range(24), range(24, N)), tfms=[None, TSClassification()], bs=8, device='cpu')
    arch, kwargs = est.arch, est.arch_params
    assert not est._in_closed_form(ts_learner(dls, arch, **kwargs).model, N)
    if quick and 'cbs' not in params and 'custom_head' not in kwargs: assert 'train_loss' in est.set_params(**quick).fit(X, y).history_


def test_range_is_trained():
    "The closed form would be cut to the range"
    est = TSNetRegressor('MiniRocket', dict(num_features=84, y_range=(-2, 4)), device='cpu', random_state=0)
    dls = get_ts_dls(X, numbers, splits=(range(24), range(24, N)), bs=8, device='cpu')
    assert not est._in_closed_form(ts_learner(dls, 'MiniRocket', **est.arch_params).model, N)
    with pytest.raises(ValueError, match='y_range'): est.set_params(ridge=True).fit(X, numbers)
    assert 'train_loss' in est.set_params(ridge='auto', epochs=1).fit(X, numbers).history_
    clf = TSNetClassifier(**ROCKET)
    model = ts_learner(get_ts_dls(X, y, splits=(range(24), range(24, N)), bs=8, device='cpu'), 'MiniRocket', num_features=84).model
    assert clf._in_closed_form(model, 10**6)
    model.head_nf = 30_000
    assert not clf._in_closed_form(model, 10**6) and clf._in_closed_form(model, 1000)     # a matrix of 30 000 on a side


def test_weights_in_closed_form():
    "A weight of 2 is a series that is there twice; 0 leaves it out"
    w = np.random.default_rng(1).integers(0, 3, N)
    for cls, t in ((TSNetClassifier, y), (TSNetRegressor, numbers)):
        model = cls(**ROCKET).fit(X, t).learner_.model      # with features of its own, which do not depend on the weights
        solve = lambda **kwargs: cls(arch=model, device='cpu', random_state=0, batch_tfms=None, **kwargs)
        a = solve().fit(X, t, sample_weight=w)._outputs(X)
        assert not np.allclose(a, solve().fit(X, t)._outputs(X), atol=1e-3)
        wrong = np.where(w == 0, t[::-1], t)                # labels without weight have no influence
        np.testing.assert_allclose(solve().fit(X, wrong, sample_weight=w)._outputs(X), a, atol=1e-6 if cls is TSNetClassifier else 1e-4)


@pytest.mark.parametrize('make', [lambda: BaggingClassifier(TSNetClassifier(**ROCKET), 2, random_state=0),
                                  lambda: AdaBoostClassifier(TSNetClassifier(**ROCKET, ridge=True), n_estimators=2, random_state=0),
                                  lambda: BaggingRegressor(TSNetRegressor(**ROCKET, ridge=True), 2, random_state=0)])
def test_ensembles_that_weight(make):
    est = make()
    t = numbers if isinstance(est, BaggingRegressor) else y
    assert est.fit(X[:, 0], t).score(X[:, 0], t) > 0.8


# threads

def _in_threads(f, n=8):
    with ThreadPoolExecutor(n) as pool: return list(pool.map(lambda _: f(), range(3*n)))

@pytest.mark.parametrize('est', [TSNetClassifier(**FAST, n_estimators=2), TSNetRegressor(**FAST), TSNetClassifier(**ROCKET),
                                 TSNetClassifier(**FAST, cbs=BF16), TSNetClassifier(**FAST, missing='mean')],
                         ids=['classifier', 'regressor', 'ridge', 'callback', 'missing'])
def test_threads_share_an_estimator(est):
    est.fit(X, numbers if isinstance(est, TSNetRegressor) else y)
    want, before = est._outputs(X), rng_state()
    for out in _in_threads(lambda: est._outputs(X)): np.testing.assert_array_equal(out, want)
    for out in _in_threads(lambda: pickle.loads(pickle.dumps(est))._outputs(X), 4): np.testing.assert_array_equal(out, want)
    after = rng_state()
    assert before['python'] == after['python'] and torch.equal(before['torch'], after['torch'])
    assert all(np.array_equal(a, b) for a, b in zip(before['numpy'], after['numpy']))


def test_prediction_seeds_nothing(monkeypatch):
    "Not even for a moment: another thread may draw just then"
    est = TSNetClassifier(**FAST).fit(X, y)
    def stop(*args): raise AssertionError('a global generator is seeded')
    for module, names in ((random, ('seed', 'setstate', 'random')), (np.random, ('seed', 'set_state', 'rand')),
                          (torch, ('manual_seed', 'set_rng_state', 'randperm'))):
        for k in names: monkeypatch.setattr(module, k, stop)
    est.predict(X), est.predict_proba(X)


def test_prediction_leaves_modes_alone():
    "A learner that is being trained on in another thread stays in training mode"
    est = TSNetClassifier(**FAST).fit(X, y)
    want = est.predict_proba(X)
    est.learner_.model.train()
    np.testing.assert_array_equal(est.predict_proba(X), want)
    assert all(m.training for m in est.learner_.model.modules())


def test_threads_of_joblib():
    import joblib
    nets = [(str(i), TSNetClassifier(**{**FAST, 'random_state': i, 'epochs': 1})) for i in range(2)]
    want = VotingClassifier(nets, voting='soft').fit(X, y).predict_proba(X)
    est = VotingClassifier(nets, voting='soft').fit(X, y)
    fitted = BaggingClassifier(TSNetClassifier(**ROCKET), 4, random_state=0).fit(X[:, 0], y)
    one = fitted.predict_proba(X[:, 0])
    with joblib.parallel_backend('threading', n_jobs=4):
        np.testing.assert_array_equal(est.predict_proba(X), want)
        np.testing.assert_allclose(fitted.set_params(n_jobs=4).predict_proba(X[:, 0]), one, atol=1e-6)


# devices

def test_copy_on_another_device():
    "All tensors go along, those of the loss and of callbacks too: 'meta' stands in for a machine with another accelerator"
    class Holder(Callback):
        def before_fit(self): self.kept = torch.ones(3)
    est = TSNetClassifier(**FAST, class_weight='balanced', cbs=Holder).fit(X, y)
    assert est.learner_.loss_func.func.weight is not None
    there = copied_to(est.learner_, torch.device('meta'))
    assert there.loss_func.func.weight.is_meta and there.holder.kept.is_meta and there.dls.device.type == 'meta'
    assert all(o.is_meta for o in TensorsOf(there).found) and not any(o.is_meta for o in TensorsOf(est.learner_).found)
    assert isinstance(next(there.model.parameters()), torch.nn.Parameter)
    assert copied_to(est.learner_, torch.device('cpu')) is est.learner_


# among the tools of scikit-learn

def test_search_and_pipelines():
    search = GridSearchCV(TSNetClassifier(**FAST), {'lr': [1e-3, 1e-2], 'arch_params': [dict(layers=[4, 4, 4])]}, cv=2,
                          scoring='neg_log_loss').fit(X, y)
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


def test_pickle_with_an_open_file(tmp_path):
    class Here(Callback): # where the file goes
        order = -50
        def before_fit(self): self.learn.path = tmp_path
    for cbs in ([CSVLogger(), Here()], [CSVLogger(append=True), Here()]):
        est = TSNetClassifier(**FAST, cbs=cbs).fit(X, y)
        again = cloudpickle.loads(cloudpickle.dumps(est))
        np.testing.assert_array_equal(again.predict_proba(X), est.predict_proba(X))


def test_monitor_that_is_not_recorded():
    for name in ('accuracy', 'valid_los'):
        with pytest.raises(ValueError, match=f"EarlyStoppingCallback monitors '{name}'.*Recorded: train_loss"):
            TSNetClassifier(**FAST, early_stopping=True, cbs=EarlyStoppingCallback(monitor=name)).fit(X, y)


def test_class_with_one_series():
    lonely = np.where(np.arange(N) == 3, 'z', y)
    with pytest.raises(ValueError, match="class 'z' has one series only. Use early_stopping=False") as e:
        TSNetClassifier(**FAST, early_stopping=True).fit(X, lonely)
    assert 'stratify' not in str(e.value)


def test_class_weight_of_a_class_that_is_not_there():
    "A fold may lack a class; a name that is none stays an error"
    few, t = X[kind < 2], y[kind < 2]
    weight = {'a': 1, 'b': 5}
    want = TSNetClassifier(**FAST, class_weight=weight).fit(few, t).predict_proba(X)
    np.testing.assert_array_equal(TSNetClassifier(**FAST, class_weight={**weight, 'c': 9}).fit(few, t).predict_proba(X), want)
    with pytest.raises(ValueError, match='not in class_weight'): TSNetClassifier(**FAST, class_weight={'a': 1, 'B': 5}).fit(few, t)


def test_arguments_of_the_architecture():
    "One at a time, as searches set them"
    from tsfast.sktime_estimators import TSNetSktimeClassifier, TSNetSktimeRegressor
    for cls in (TSNetClassifier, TSNetRegressor, TSNetSktimeClassifier, TSNetSktimeRegressor):
        given = dict(nf=2, depth=3)
        est = cls(arch_params=given)
        assert cls(**est.get_params()).get_params() == est.get_params()
        assert est.set_params(arch_params__nf=4, epochs=3).arch_params == dict(nf=4, depth=3) and est.epochs == 3 and given['nf'] == 2
        assert cls().set_params(arch_params__nf=4).arch_params == dict(nf=4)
        assert est.set_params(arch_params=dict(nf=8), arch_params__depth=6).arch_params == dict(nf=8, depth=6)
        with pytest.raises(ValueError, match='nonsense'): cls().set_params(nonsense=4)
    search = GridSearchCV(TSNetClassifier(epochs=1, device='cpu', random_state=0, arch_params=dict(depth=3)), {'arch_params__nf': [1, 2]},
                          cv=2).fit(X, y)
    assert search.best_estimator_.learner_.model.init_args['nf'] in (1, 2) and search.best_estimator_.arch_params['depth'] == 3
    pipe = make_pipeline(FunctionTransformer(), TSNetClassifier()).set_params(tsnetclassifier__arch_params__nf=3)
    assert pipe[-1].arch_params == dict(nf=3)


# targets and panels of other kinds

def test_labels_of_text():
    want = TSNetClassifier(**FAST).fit(X, y).predict(X)
    text = y.astype(np.dtypes.StringDType())
    for t in (text, pd.Series(y, dtype='string'), pd.Series(y, dtype='category'), list(y)):
        np.testing.assert_array_equal(TSNetClassifier(**FAST).fit(X, t).predict(X), want)
    for est in (TSNetClassifier(**FAST), TSNetRegressor(**FAST)):
        with pytest.raises(ValueError, match="y is a single str, 'label'"): est.fit(X, 'label')


def test_panels_out_of_order():
    panel = _panel('pd-multiindex')
    for bad, text in ((panel.sample(frac=1, random_state=0), 'Sort them: X.sort_index'),
                      (pd.concat([panel, panel.iloc[:2]]).sort_index(), 'Series 0 of the panel has more than one row for the time 0'),
                      ([o[::-1] if i == 2 else o for i, o in enumerate(_panel('df-list'))],
                       'Series 2 of the panel has rows that are not in the order of time')):
        with pytest.raises(ValueError, match=text) as e: TSNetClassifier(**FAST).fit(bad, y)
        assert len(str(e.value)) < 200 and '\n' not in str(e.value)


def test_one_warning_of_channels_last():
    with pytest.warns(UserWarning, match='channels-last') as seen: est = TSNetClassifier(**FAST).fit(X.transpose(0, 2, 1)[..., :2], y)
    assert len(seen) == 1
    est.predict(X.transpose(0, 2, 1))      # said once


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
        assert set(cls().get_params()) == set({TSNetSktimeClassifier: TSNetClassifier,
                                               TSNetSktimeRegressor: TSNetRegressor}[cls]().get_params())
        assert cls.get_class_tag('capability:multivariate') and not cls.get_class_tag('capability:missing_values')
        with pytest.raises(ValueError, match='missing values'): cls(**FAST).fit(gaps, t)
        est = cls(**FAST, missing=0.)
        assert est.get_tag('capability:missing_values') and est.get_tag('capability:unequal_length')
        assert len(est.fit(gaps, t).predict(gaps)) == N
        assert not est.set_params(missing=None).get_tag('capability:missing_values')


@pytest.mark.parametrize('params,text', [(dict(arch_params={'lr': 1}), "arch_params holds 'lr'"),
                                         (dict(arch_params={'seed': 1}), "arch_params holds 'seed'"),
                                         (dict(loss_func=FocalLoss(), class_weight='balanced'), 'class_weight is for the default loss')])
def test_settings_that_would_be_lost(params, text):
    with pytest.raises(ValueError, match=text): TSNetClassifier(**{**FAST, **params}).fit(X, y)
