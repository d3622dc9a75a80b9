"Forecasts without training, their errors, and the table beside a model"
import numpy as np
import pandas as pd
import pytest
from sktime.performance_metrics.forecasting import mean_absolute_scaled_error
from tsfast.baselines import forecast_errors, season_of, seasonal_forecast, seasonal_scale
from tsfast.data.core import get_ts_dls
from tsfast.data.preprocessing import TSStandardize
from tsfast.data.splits import get_forecasting_splits
from tsfast.data.targets import TSClassification, TSRegression
from tsfast.data.windows import SlidingWindow
from tsfast.learner import ts_learner

RNG = np.random.default_rng(0)


def literal(x, horizon, season):
    "One value after the other: the latest known value of the same phase"
    res = np.full((*x.shape[:2], horizon), np.nan)
    for i, c, k in np.ndindex(res.shape):
        for t in range(x.shape[2] - season + k % season, -1, -season):
            if not np.isnan(x[i, c, t]): res[i, c, k] = x[i, c, t]; break
    return res

@pytest.mark.parametrize('missing', [0, .5])
@pytest.mark.parametrize('season', [1, 2, 5, 7, 10])
@pytest.mark.parametrize('horizon', [1, 4, 12])
def test_seasonal_forecast(season, horizon, missing):
    x = RNG.normal(size=(3, 2, 10))
    x[RNG.random(x.shape) < missing] = np.nan
    before = x.copy()
    np.testing.assert_array_equal(seasonal_forecast(x, horizon, season), literal(x, horizon, season))
    np.testing.assert_array_equal(x, before)

@pytest.mark.parametrize('freq, want', [('min', 1440), ('15min', 96), ('h', 24), ('7h', None), ('D', 7), ('2D', None), ('W', 52), ('MS', 12), ('QS', 4), ('YS', None)])
def test_season_of(freq, want):
    t = pd.date_range('2026-01-01', periods=30, freq=freq)
    assert season_of(t) == season_of(t.to_numpy()) == want

def test_season_of_numbers(): assert season_of(np.arange(5)) is season_of(pd.date_range('2026', periods=1, freq='D')) is None

@pytest.mark.parametrize('season', [1, 3])
def test_errors(season):
    t, p, history = RNG.normal(size=(6, 3, 4)), RNG.normal(size=(6, 3, 4)), RNG.normal(size=(50, 3))*[1, 10, .1]
    e = forecast_errors(t, p, seasonal_scale(history, season))
    rows = [o.swapaxes(1, 2).reshape(-1, 3) for o in (t, p)]
    np.testing.assert_allclose([e['MSE'], e['MAE']], [((t - p)**2).mean(), abs(t - p).mean()])
    np.testing.assert_allclose(e['MASE'], mean_absolute_scaled_error(*rows, y_train=history, sp=season, multioutput='raw_values').mean())

def test_scale_with_missing_values():
    a = RNG.normal(size=(40, 2))
    a[RNG.random(a.shape) < .3] = np.nan
    want = [np.mean([abs(a[i, j] - a[i - 5, j]) for i in range(5, 40) if not np.isnan(a[i, j] + a[i - 5, j])]) for j in range(2)]
    np.testing.assert_allclose(seasonal_scale(a, 5), want)
    np.testing.assert_allclose(seasonal_scale(pd.DataFrame(a), 5), want)
    windows = np.stack([a[:20].T, a[20:].T])
    each = [abs(w[:, 5:] - w[:, :-5]) for w in windows]
    np.testing.assert_allclose(seasonal_scale(windows, 5), np.nanmean(np.concatenate(each, 1), 1))

def make(arch='DLinear', tfms=None, target=None, n=300, get_y=None, times=True, **kwargs):
    t = np.arange(n)
    df = pd.DataFrame({'a': 100 + 5*np.sin(t*2*np.pi/24), 'b': np.cos(t*2*np.pi/24)}, index=pd.date_range('2026-01-01', periods=n, freq='h'))
    df += RNG.normal(size=df.shape)*.1
    w = SlidingWindow(48, 6, get_y=get_y)
    X, y = w(df)
    splits = get_forecasting_splits(df, 48, 6, valid_size=.3, test_size=0)
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, target or TSRegression()], batch_tfms=tfms, device='cpu', times=w.times(df.index) if times else None)
    return X, y, splits, ts_learner(dls, arch, seed=0, **kwargs)

@pytest.mark.parametrize('scaled', [False, True])
def test_table_is_in_the_users_units(scaled):
    X, y, (_, valid), learn = make('LSTM', TSStandardize(by_var=True) if scaled else None, TSRegression(standardize=scaled), hidden_size=4)
    t = learn.compare_forecasts(linear=0)
    x, true = X[valid].astype(np.float64), y[valid].astype(np.float64)
    forecasts = [np.asarray(learn.get_X_preds(X[valid])[0]), np.repeat(x[:, :, -1:], 6, 2), x[:, :, -24:-18]]
    assert list(t.index) == ['LSTM', 'naive', 'seasonal naive, 24 steps']
    np.testing.assert_allclose(t.MSE, [((p - true)**2).mean() for p in forecasts], rtol=1e-3)
    np.testing.assert_allclose(t.MAE, [abs(p - true).mean() for p in forecasts], rtol=1e-3)
    again = learn.compare_forecasts(X[valid], y[valid], season=24, linear=0)
    np.testing.assert_allclose(again, t, rtol=1e-4)

def test_linear_baseline():
    X, y, _, learn = make('DLinear')
    t = learn.compare_forecasts(linear=3)
    assert list(t.index) == ['DLinear', 'naive', 'seasonal naive, 24 steps', 'DLinear, baseline']
    assert t.MSE['DLinear, baseline'] != t.MSE['DLinear']
    pd.testing.assert_frame_equal(learn.compare_forecasts(linear=3), t)

def test_no_season_and_gap():
    X, y, (_, valid), learn = make('LSTM', times=False, hidden_size=4)
    assert list(learn.compare_forecasts(linear=0).index) == ['LSTM', 'naive']
    t = learn.compare_forecasts(linear=0, season=24, gap=3)
    np.testing.assert_allclose(t.MSE['seasonal naive, 24 steps'], ((X[valid][:, :, -21:-15] - y[valid])**2).mean(), rtol=1e-3)

def test_some_channels():
    X, y, (_, valid), learn = make('LSTM', get_y=['b'], hidden_size=4)
    with pytest.raises(ValueError, match='2 channels, and the targets 1 variables'): learn.compare_forecasts(linear=0)
    t = learn.compare_forecasts(linear=0, channels=[1])
    np.testing.assert_allclose(t.MSE['naive'], ((X[valid][:, 1:, -1:] - y[valid])**2).mean(), rtol=1e-3)

def test_refusals():
    X, y, _, learn = make('LSTM', hidden_size=4)
    with pytest.raises(ValueError, match='both X and y'): learn.compare_forecasts(X)
    with pytest.raises(ValueError, match='season is 60, and the windows have 48 steps'): learn.compare_forecasts(season=60, history=y[:, :, 0])
    classes = ts_learner(get_ts_dls(X, np.arange(len(X)) % 2, tfms=[None, TSClassification()], device='cpu'), 'LSTM', hidden_size=4)
    with pytest.raises(ValueError, match='Expected forecasts'): classes.compare_forecasts()
    for bad, match in ((dict(season=11), 'season is 11'), (dict(season=0), 'season is 0'), (dict(horizon=-1), 'horizon is -1')):
        with pytest.raises(ValueError, match=match): seasonal_forecast(np.zeros((2, 1, 10)), **{'horizon': 2, **bad})
