"The forecaster of sktime: its checks, horizons, several series, exogenous variables, updates, seeds"
import pickle

import numpy as np
import pandas as pd
import pytest
from sktime.forecasting.base import ForecastingHorizon
from sktime.utils.estimator_checks import check_estimator
from tsfast.models.registry import get_arch
from tsfast.sktime_forecasters import TSNetForecaster

SMALL = dict(window_len=6, epochs=1, bs=16, random_state=0, device='cpu')


def frame(n=40, names=('a', 'b'), freq='D', seed=0):
    a = np.random.default_rng(seed).normal(size=(n, len(names))).cumsum(0)
    return pd.DataFrame(a, index=pd.date_range('2026-01-01', periods=n, freq=freq), columns=list(names))

@pytest.mark.filterwarnings('ignore:Sorting')      # sktime joins frames in a manner that pandas 4 will change
def test_sktime_check():
    res = check_estimator(TSNetForecaster, raise_exceptions=False, verbose=False)
    assert len(res) > 500
    assert not {k: v for k, v in res.items() if v != 'PASSED'}

@pytest.mark.parametrize('fh', [[1], [3], [1, 2, 3], [5, 2], range(1, 5), np.array([4])], ids=str)
def test_horizons(fh):
    "Relative and absolute horizons give the rows of one forecast"
    y = frame()
    f = TSNetForecaster(**SMALL).fit(y[:30], fh=fh)
    p, steps = f.predict(), np.sort(list(fh))
    assert list(p.columns) == ['a', 'b'] and list(p.index) == list(y.index[29 + steps])
    dates = ForecastingHorizon(y.index[29 + steps], is_relative=False)
    pd.testing.assert_frame_equal(TSNetForecaster(**SMALL).fit(y[:30], fh=dates).predict(), p, check_freq=False)
    with pytest.raises(ValueError): f.predict(fh=[7])

def test_forecast_is_that_of_the_model():
    "The last window, scaled by the training series, through the network"
    import torch
    y = frame()
    f = TSNetForecaster('LSTM', arch_params=dict(hidden_size=4), **SMALL).fit(y, fh=[1, 2])
    z = (y - y.mean())/y.std(ddof=0)
    p = f.model_(torch.tensor(z[-6:].to_numpy().T[None], dtype=torch.float32))[0].detach().numpy().T
    np.testing.assert_allclose(f.predict(), p*y.std(ddof=0).to_numpy() + y.mean().to_numpy(), rtol=1e-5)

def test_in_sample_is_refused():
    with pytest.raises(NotImplementedError, match='in-sample'): TSNetForecaster(**SMALL).fit(frame(), fh=[-1, 1]).predict()

@pytest.mark.parametrize('index', ['range', 'period', 'month'])
def test_indices(index):
    y = frame(freq='MS')['a']
    y.index = dict(range=pd.RangeIndex(40), period=y.index.to_period('M'), month=y.index)[index]
    p = TSNetForecaster(**SMALL).fit(y[:36], fh=[1, 4]).predict()
    assert isinstance(p, pd.Series) and list(p.index) == [y.index[36], y.index[39]] and p.notna().all()

def test_exogenous_and_update():
    y, X = frame(), frame(names=('x',), seed=1)
    f = TSNetForecaster('LSTM', arch_params=dict(hidden_size=4), **SMALL).fit(y[:30], X=X[:30], fh=[1, 2])
    assert f.model_.c_in == 3 and f.window_.shape == (6, 3)
    p, w = f.predict(X=X[30:32]), {k: v.clone() for k, v in f.model_.state_dict().items()}
    other = TSNetForecaster('LSTM', arch_params=dict(hidden_size=4), **SMALL).fit(y[:30], X=-X[:30]**2, fh=[1, 2]).predict(X=X[30:32])
    assert not np.allclose(p, other)
    f.update(y[30:34], X=X[30:34], update_params=False)
    np.testing.assert_allclose(f.window_, pd.concat([y, X], axis=1)[28:34])
    assert list(f.predict(X=X[34:36]).index) == list(y.index[34:36])
    assert all((w[k] == v).all() for k, v in f.model_.state_dict().items())
    with pytest.raises(ValueError, match='given 2 variables, and fit 3'): f.update(y[34:36], update_params=False)

def test_seed_clone_and_pickle():
    "The same seed gives the same bits, and the global generator is left alone"
    y = frame()
    f, before = TSNetForecaster(**SMALL), np.random.get_state()[1].copy()
    p = f.fit(y, fh=[1, 2]).predict()
    assert (before == np.random.get_state()[1]).all()
    for other in (f.clone().fit(y, fh=[1, 2]), pickle.loads(pickle.dumps(f))): pd.testing.assert_frame_equal(other.predict(), p)
    assert not np.allclose(f.clone().set_params(random_state=1, arch='LSTM').fit(y, fh=[1, 2]).predict(), p)

def test_architectures_as_classes():
    p = TSNetForecaster(get_arch('NLinear'), **SMALL).fit(frame(), fh=[1]).predict()
    pd.testing.assert_frame_equal(p, TSNetForecaster('NLinear', **SMALL).fit(frame(), fh=[1]).predict())

def test_constant_series():
    y = frame()
    y['b'] = 3.
    assert np.allclose(TSNetForecaster('NLinear', **SMALL).fit(y, fh=[1]).predict()['b'], 3., atol=.5)

@pytest.mark.parametrize('args, n, match', [(dict(window_len=0), 40, 'window_len is 0'), (dict(window_len=12), 14, '14 steps, too few'),
                                            (dict(arch='DLinea'), 40, 'DLinear'), (dict(epochs=0), 40, 'epochs is 0')])
def test_wrong_settings(args, n, match):
    with pytest.raises((ValueError, KeyError), match=match): TSNetForecaster(**{**SMALL, **args}).fit(frame(n), fh=[1, 2, 3])
