"Errors of side inputs and of uncertainty that say what to do, and the baselines beside quantiles"
import numpy as np
import pandas as pd
import pytest

from tsfast.baselines import forecast_errors
from tsfast.data.core import get_ts_dls
from tsfast.data.forecast_target import TSForecast
from tsfast.data.known import fit_known
from tsfast.data.static import fit_static
from tsfast.data.targets import TSClassification, TSRegression
from tsfast.interpret import conformal, novelty # noqa: they give Learner its methods
from tsfast.learner import ts_learner

rng = np.random.default_rng(0)
X = rng.normal(size=(90, 2, 12)).astype(np.float32)
future = rng.normal(5, 3, size=(90, 2, 4)).astype(np.float32)
splits = range(40), range(40, 60)

@pytest.mark.parametrize('quantiles', [(.1, .5, .9), (.2, .8), (.5,), None])
def test_compare_forecasts_of_quantiles(quantiles):
    learn = ts_learner(get_ts_dls(X, future, splits=splits, tfms=[None, TSForecast(quantiles)], bs=16), 'NLinear', seed=0)
    table = learn.compare_forecasts(X[60:], future[60:], linear=1)
    with learn.no_bar(): medians = learn.get_X_preds(X[60:])[2]
    want = forecast_errors(future[60:], medians)
    assert list(table.index) == ['NLinear', 'naive', 'DLinear, baseline']
    np.testing.assert_allclose(table.loc['NLinear', ['MSE', 'MAE']].astype(float), [want['MSE'], want['MAE']], rtol=1e-5)

def test_static_columns_of_other_types():
    columns = fit_static(pd.DataFrame(dict(age=np.arange(4.), site=list('abab'))))
    for age, said in ((3., "Column 'age' of static is '3.0'. Expected a value for each series"), (pd.date_range('2024', periods=4), 'holds times'),
                      (np.ones(4)*1j, 'Expected numbers'), ('old', 'Expected a value for each series')):
        with pytest.raises(ValueError) as e: columns.encode(dict(age=age, site=list('abab')), 4)
        assert said in str(e.value)

def test_known_of_single_numbers():
    with pytest.raises(ValueError, match=r'known has channels of the shapes \[\(\)\]. Expected \(n, steps\)'): fit_known(dict(a=1.), 4, 3)
    with pytest.raises(ValueError, match='known has rows of different lengths'): fit_known([[1, 2], [3]], 2, 1)

def test_missing_static_says_how():
    dls = get_ts_dls(X, np.arange(90) % 2, splits=splits, tfms=[None, TSClassification()], static=np.arange(90.), bs=16)
    learn, y = ts_learner(dls, 'FCN', layers=(4, 4, 4), seed=0), np.arange(90) % 2
    for f in (lambda **k: learn.conformal(X[60:], y[60:], **k), lambda **k: learn.novelty(X[60:], **k), lambda **k: learn.embeddings(X[60:], **k)):
        with pytest.raises(ValueError, match=r'takes inputs=dict\(static=…\)'): f()
        f(inputs=dict(static=np.arange(60., 90)))

@pytest.mark.parametrize('name, v', [('scale_share', 'x'), ('neighbours', 2.5), ('neighbours', 0), ('seed', 'x'), ('seed', -1)])
def test_arguments_of_conformal(name, v):
    learn = ts_learner(get_ts_dls(X, future, splits=splits, tfms=[None, TSRegression()], bs=16), 'NLinear', seed=0)
    with pytest.raises(ValueError, match=f'{name} is {v!r}. Expected a'): learn.conformal(X[60:], future[60:], method='normalized', **{name: v})

@pytest.mark.parametrize('k', [2.5, 'a', 0, 41, True])
def test_neighbours_of_novelty(k):
    learn = ts_learner(get_ts_dls(X, future, splits=splits, tfms=[None, TSRegression()], bs=16), 'NLinear', seed=0)
    with pytest.raises(ValueError, match=f'k is {k!r}, and there are 40 training series. Expected a whole number'): learn.novelty(X[60:], k=k)
