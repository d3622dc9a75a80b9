"Forecasts of quantiles, and with dates: every architecture, from the target to bundles"
import importlib.util, inspect, math

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as skm
import torch
from fastai.metrics import mae

import tsfast.deploy  # noqa: methods of learners
from tsfast.data.core import TSDataLoaders, get_ts_dls
from tsfast.data.forecast_factory import describe_forecast
from tsfast.data.forecast_plots import plot_forecast
from tsfast.data.forecast_target import TSForecast
from tsfast.data.preprocessing import TSStandardize
from tsfast.data.targets import TSRegression
from tsfast.data.windows import SlidingWindow
from tsfast.inference import Predictor
from tsfast.learner import ts_learner
from tsfast.metrics import skm_known
from tsfast.models.registry import get_arch, list_models
from tsfast.quantile_losses import PinballLoss
from tsfast.quantile_metrics import CRPS, Coverage, IntervalWidth, Pinball
from test_models import SMALL

Q = (.1, .5, .9)
L, H, C = 24, 4, 2
LOAD = np.random.default_rng(0).normal(size=(150, C)).cumsum(0)*[1, 10] + [0, 200]
FORECASTERS = ['DLinear', 'NLinear', 'PatchTST', 'TSMixer', 'iTransformer']

def learner(arch='NLinear', target=None, get_y=None, y=None, epochs=1, cbs=None, metrics=None, tfms=TSStandardize(by_var=True), **kwargs):
    X, made = SlidingWindow(L, horizon=H, get_y=get_y)(LOAD)
    y, n = made if y is None else y(made), len(X)
    target = TSForecast(Q) if target is None else target
    dls = get_ts_dls(X, y, splits=(range(n - 40), range(n - 40, n)), tfms=[None, target], batch_tfms=tfms, bs=32, device='cpu')
    ps = inspect.signature(get_arch(arch)).parameters
    small = {k: v for k, v in SMALL.items() if k in ps} | (dict(random_state=0) if 'random_state' in ps else {})
    learn = ts_learner(dls, arch, seed=0, cbs=cbs, metrics=metrics, **small | kwargs)
    with learn.no_bar(), learn.no_logging():
        if epochs: learn.fit(epochs, 1e-2)
    return learn, X, y


# ---------------------------------------------------------------- quantiles, for every architecture

@pytest.mark.parametrize('arch,revin', [*((o, True) for o in list_models()), *((o, False) for o in ['LSTM', 'MiniRocket', *FORECASTERS])])
def test_every_architecture(arch, revin):
    "It trains, its quantiles never cross, and RevIN brings them back to the units of the series"
    learn, X, y = learner(arch, revin=revin)
    assert isinstance(learn.loss_func, PinballLoss) and math.isfinite(learn.recorder.losses[-1])
    assert learn.model(torch.zeros(2, C, L)).shape == (2, C, H, 3) and hasattr(learn.model, 'revin') == revin
    q, targs, point = learn.get_X_preds(X[:7], y[:7])
    assert q.shape == (7, C, H, 3) and (q.diff(dim=-1) >= 0).all() and q.isfinite().all()
    np.testing.assert_allclose(point, q[..., 1], rtol=1e-6)
    np.testing.assert_allclose(targs, y[:7], rtol=1e-4, atol=1e-3)

@pytest.mark.parametrize('arch', ['LSTM', 'MiniRocket', *FORECASTERS])
def test_level_and_scale_of_revin(arch):
    "Of a*x + b the quantiles are a times those of x, plus b"
    learn, X, _ = learner(arch, TSForecast(Q, standardize=False), tfms=None, epochs=0, revin=dict(eps=1e-12))
    m = learn.model
    with torch.no_grad():
        if not getattr(m, 'fitted', True): m.fit(torch.from_numpy(X))
        for p in m.parameters():
            if not p.any(): torch.nn.init.normal_(p, std=.1, generator=torch.Generator().manual_seed(0))
        m, x = m.eval().double(), torch.from_numpy(X[:20]).double()
        a, b = torch.tensor([2., .1])[:, None], torch.tensor([100., -5])[:, None]
        error = (m(x*a + b) - (m(x)*a[..., None] + b[..., None])).abs().div(a[..., None])
        assert error.median() < 1e-3

@pytest.mark.parametrize('y', [None, lambda y: y[:, 0], lambda y: y[:, :1]], ids=['channels', 'flat', 'one'])
@pytest.mark.parametrize('standardize', [True, False])
@pytest.mark.parametrize('quantiles', [None, (.5,), Q])
def test_shapes(y, standardize, quantiles):
    "y (n, v, h) and (n, h); a single level has no dimension of its own"
    learn, X, y = learner('FCN', TSForecast(quantiles, standardize), y=y)
    q, targs, point, losses = learn.get_X_preds(X[:5], y[:5], with_loss=True)
    assert q.shape == (*y[:5].shape, *[3]*(quantiles == Q)) and point.shape == y[:5].shape and losses.shape == (5,)
    np.testing.assert_allclose(targs, y[:5], rtol=1e-4, atol=1e-3)
    assert learn.dls.train_ds.target.output_shape == tuple(q.shape[1:]) or y.ndim == 2 and quantiles is None

@pytest.mark.parametrize('q,text', [((.9, .1), 'levels that rise'), ((.5, .5), 'each level once'), ((0, .5), 'below 1'), ((), 'such as'), ('.5', 'such as')])
def test_bad_levels(q, text):
    for f in (TSForecast, PinballLoss, Coverage):
        with pytest.raises(ValueError, match=text): f(q)

def test_bad_targets():
    with pytest.raises(ValueError, match='variables, steps'): learner(y=lambda y: y[:, 0, 0])
    learn = learner(epochs=0)[0]
    with pytest.raises(ValueError, match='means and no quantiles'): learn.fit_ridge()
    with pytest.raises(ValueError, match='for quantiles'): learner(target=TSForecast(), metrics=CRPS())

def test_quantiles_of_a_known_distribution():
    "Of noise, trained quantiles are those of the noise; without quantiles the forecast is the mean"
    noise = np.random.default_rng(0).normal(5, 2, (3000, 1))
    X, y = SlidingWindow(8, horizon=1)(noise)
    dls = get_ts_dls(X, y, splits=(range(2000), range(2000, len(X))), tfms=[None, TSForecast(Q)], batch_tfms=TSStandardize(), bs=200, device='cpu')
    learn = ts_learner(dls, 'DLinear', seed=0, metrics=[Coverage(), CRPS()])
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(10, .1)
    q = learn.get_X_preds(X)[0].mean((0, 1, 2))
    np.testing.assert_allclose(q, [5 - 2*1.2816, 5, 5 + 2*1.2816], atol=.25)
    assert abs(learn.history.coverage.iloc[-1] - .8) < .05

def test_metrics():
    "In the user's units, over all validation targets; those for numbers take the median"
    learn, X, y = learner(metrics=[mae, skm_known(skm.mean_absolute_error, name='known'), Pinball(), CRPS(), Coverage(), IntervalWidth()])
    q, targs, point = learn.get_X_preds(X[-40:], y[-40:])
    row, t, p = learn.history.iloc[-1], y[-40:].astype(float).reshape(-1), q.double().numpy().reshape(-1, 3)
    want = np.mean([skm.mean_pinball_loss(t, p[:, i], alpha=a) for i, a in enumerate(Q)])
    assert row.mae == pytest.approx(np.abs(point - y[-40:]).mean(), rel=1e-4) == pytest.approx(row.known, rel=1e-4)
    assert row.pinball == pytest.approx(want, rel=1e-4) and row.crps == pytest.approx(2*want, rel=1e-4)
    assert row.coverage == pytest.approx(((p[:, 0] <= t) & (t <= p[:, 2])).mean()) and row.width == pytest.approx((p[:, 2] - p[:, 0]).mean(), rel=1e-4)
    assert learn.validate()[1] == pytest.approx(row.mae)

def test_missing_targets():
    def holes(y): y = y.copy(); y[::3, 0, 1] = np.nan; y[5] = np.nan; return y
    with pytest.raises(ValueError, match='NaN'): learner(y=holes)
    learn, X, y = learner(target=TSForecast(Q, allow_nan=True), y=holes, metrics=[Pinball(), Coverage()])
    q, _, _, losses = learn.get_X_preds(X[-40:], y[-40:], with_loss=True)
    assert all(map(math.isfinite, learn.validate())) and q.isfinite().all() and losses.isfinite().all()
    weighted = learner(target=TSForecast(Q, allow_nan=True), y=holes, sample_weight=np.ones(len(X)))[0]
    assert weighted.history.valid_loss.iloc[-1] == pytest.approx(learn.history.valid_loss.iloc[-1], rel=1e-3)

def test_range_and_losses_of_ones_own():
    learn, X, _ = learner('FCN', y_range=(-50, 300))
    q = learn.get_X_preds(X[:5])[0]
    assert q.min() >= -50 and q.max() <= 300
    learn, X, _ = learner('FCN', loss_func=lambda p, t, reduction='mean': ((p - t.unsqueeze(-1))**2).mean())
    assert (learn.get_X_preds(X[:5])[0].diff(dim=-1) >= 0).all()


# ---------------------------------------------------------------- afterwards

@pytest.mark.parametrize('arch', ['LSTM', 'MiniRocket', *FORECASTERS])
@pytest.mark.parametrize('y', [None, lambda y: y[:, 0]], ids=['channels', 'flat'])
def test_bundles(arch, y, tmp_path):
    learn, X, y = learner(arch, y=y, **dict(num_features=84) if arch == 'MiniRocket' else {})
    want, _, point = learn.get_X_preds(X[:9])
    p = Predictor(learn.save_bundle(tmp_path/'b'))
    assert p.config['format_version'] == 9 and p.config['target']['quantiles'] == list(Q) and p.kind == 'forecast'
    torch.testing.assert_close(p(X[:9]), want, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(p.predict(X[:9]), point, rtol=1e-4, atol=1e-3)
    assert (p(X).diff(dim=-1) >= 0).all() and '3' in repr(p)

def test_bundles_without_quantiles(tmp_path):
    "Are those of TSRegression, which earlier versions read"
    learn, X, _ = learner(target=TSForecast())
    p = Predictor(learn.save_bundle(tmp_path/'b'))
    assert p.config['format_version'] == 1 and p.config['target']['kind'] == 'regression' and 'quantiles' not in p.config['target']
    torch.testing.assert_close(p(X[:9]), learn.get_X_preds(X[:9])[0], rtol=1e-4, atol=1e-3)

@pytest.mark.filterwarnings("ignore:The tensor attribute.* assigned during export:UserWarning")
@pytest.mark.parametrize('arch', ['PatchTST'])
def test_exports(arch, tmp_path):
    learn, X, _ = learner(arch)
    X, want, tol = X[:9], learn.get_X_preds(X[:9])[0], dict(rtol=1e-4, atol=1e-3)
    with torch.no_grad(): torch.testing.assert_close(tsfast.deploy.export_program(learn).module()(torch.from_numpy(X)), want, **tol)
    if all(importlib.util.find_spec(o) for o in ('onnx', 'onnxruntime', 'onnxscript')):
        import onnxruntime
        s = onnxruntime.InferenceSession(str(tsfast.deploy.export_onnx(learn, tmp_path/'m.onnx')), providers=['CPUExecutionProvider'])
        got = torch.from_numpy(s.run(None, {'series': X})[0])
        torch.testing.assert_close(got, want, **tol)
        assert (got.diff(dim=-1) >= 0).all()

def test_bad_bundles(tmp_path):
    from tsfast.bundle import check_config
    cfg = Predictor(learner()[0].save_bundle(tmp_path/'b')).config
    for change, text in [(dict(format_version=8), '9 or more for quantiles'), (dict(target={**cfg['target'], 'quantiles': [.9, .5, .1]}), 'levels that rise'),
                         (dict(target={**cfg['target'], 'quantiles': [.5, .6]}), 'the target needs'), (dict(target={**cfg['target'], 'quantiles': []}), 'quantiles'),
                         (dict(target={**cfg['target'], 'shape': [2, 2, 2]}), 'steps')]:
        with pytest.raises(ValueError, match=text): check_config({**cfg, **change})

def test_pictures_exports_and_more(tmp_path):
    from matplotlib import pyplot as plt
    learn, X, y = learner('FCN', metrics=mae)
    learn.dls.show_batch(max_n=2)
    with learn.no_bar(): learn.show_results(max_n=2)
    plt.close('all')
    learn.export(tmp_path/'l.pkl')
    from tsfast.learner import load_learner
    again = load_learner(tmp_path/'l.pkl')
    torch.testing.assert_close(again.get_X_preds(X[:5])[0], learn.get_X_preds(X[:5])[0])
    frame = learn.predict_windows(LOAD[:60], stride=10)
    assert list(frame)[2:5] == ['prediction_0_0_0.1', 'prediction_0_0_0.5', 'prediction_0_0_0.9'] and len(list(frame)) == 2 + C*H*3
    assert (frame['prediction_1_3_0.9'] >= frame['prediction_1_3_0.1']).all()
    assert learn.feature_importance(X[-20:], y[-20:], score='mae', n_repeats=1) is not None if hasattr(learn, 'feature_importance') else True


# ---------------------------------------------------------------- with dates and names

WAVES = dict(load=20 + 5*np.sin(np.arange(200)*2*np.pi/24), temp=np.cos(np.arange(200)*2*np.pi/24))

def frame(freq='h', n=200, **kwargs): return pd.DataFrame(WAVES, pd.date_range('2024-01-31', periods=200, freq=freq, **kwargs)).iloc[:n]

def trained(df, epochs=1, quantiles=Q, **kwargs):
    dls = TSDataLoaders.from_forecast(df, **dict(window=24, horizon=6, y='load', quantiles=quantiles, bs=32, device='cpu') | kwargs)
    learn = ts_learner(dls, 'NLinear', seed=0)
    with learn.no_bar(), learn.no_logging(): learn.fit(epochs, 1e-2)
    return learn

@pytest.mark.parametrize('freq', ['h', 'D', 'B', 'MS', 'ME', 'QS', 'W-SUN', '15min', '2D', 'YS'])
def test_frequencies(freq):
    "The dates that follow are those of pandas"
    df = frame(freq)
    res = trained(df, epochs=0).forecast(df)
    want = pd.date_range(df.index[-1], periods=7, freq=freq)[1:]
    assert list(res.index) == list(want) and list(res.columns) == [('load', o) for o in Q] and list(res.columns.names) == ['target', 'quantile']

@pytest.mark.parametrize('df', [frame(tz='Europe/Berlin'), frame().to_period(), frame().set_axis(np.arange(200)), frame().set_axis(np.arange(200)*.5),
                                frame().reset_index(names='when'), frame().reset_index(names='when').assign(when=lambda o: o.when.astype(str)),
                                frame()[['load']].load], ids=['zone', 'periods', 'whole', 'numbers', 'column', 'text', 'series'])
def test_kinds_of_times(df, tmp_path):
    "The index that follows is of the kind of the frame; a predictor gives what the learner gives"
    learn = trained(df, epochs=0, **dict(y=None) if isinstance(df, pd.Series) else {})
    res = learn.forecast(df)
    if 'when' in df: assert res.index.name == 'when' and res.index[0] == pd.Timestamp(df.when.iloc[-1]) + pd.Timedelta('1h')
    else: assert res.index.dtype == df.index.dtype and (res.index[0] - df.index[-1] == df.index[1] - df.index[0])
    pd.testing.assert_frame_equal(Predictor(learn.save_bundle(tmp_path/'b')).forecast(df), res, rtol=1e-4)

@pytest.mark.parametrize('quantiles', [None, (.5,), Q])
def test_values(quantiles, tmp_path):
    "They are the predictions for the last window; rows and columns may come in any order, and more of them"
    learn, df = trained(frame(), quantiles=quantiles, gap=2), frame(n=150)
    out, _, point = learn.get_X_preds(df.to_numpy(np.float32).T[None, :, -24:])
    res = learn.forecast(df)
    np.testing.assert_allclose(res.to_numpy(), out[0, 0].reshape(6, -1), rtol=1e-5)
    assert res.index[0] == df.index[-1] + pd.Timedelta('3h')
    np.testing.assert_allclose(learn.forecast(df, point=True)['load'], point[0, 0], rtol=1e-5)
    pd.testing.assert_frame_equal(learn.forecast(df.sample(frac=1, random_state=0)[['temp', 'load']].assign(x='text')), res, check_freq=False)
    p = Predictor(learn.save_bundle(tmp_path/'b'))
    assert p.forecast_settings == learn.dls.train_ds.forecast and p.config['format_version'] == 9 and p.channels == ['load', 'temp']
    pd.testing.assert_frame_equal(p.forecast(df), res, rtol=1e-4)

def test_several_recordings(tmp_path):
    df = pd.concat([frame().assign(site=s, load=lambda o: o.load + i) for i, s in enumerate('ab')]).reset_index(names='at')
    learn = trained(df, id='site')
    res = learn.forecast(df)
    assert res.index.names == ['site', 'at'] and len(res) == 12 and learn.dls.train_ds.forecast.id == ['site']
    pd.testing.assert_frame_equal(res.loc['b'], learn.forecast(df[df.site == 'b']).loc['b'], rtol=1e-4)
    panel = df.set_index(['site', 'at'])
    pd.testing.assert_frame_equal(learn.forecast(panel), res)
    pd.testing.assert_frame_equal(trained(panel).forecast(panel), res)
    assert len(plot_forecast(panel, res, truth=panel)) == 2
    with pytest.raises(ValueError, match="of ids and times: \\['site'\\]"): Predictor(learn.save_bundle(tmp_path/'b')).forecast(df.drop(columns='site'), id='site')
    with pytest.raises(ValueError, match='more than once'): learn.forecast(df.drop(columns='site'))

@pytest.mark.parametrize('quantiles', [None, Q])
def test_calibrated_intervals(quantiles, tmp_path):
    "lower, forecast and upper for each date: those of predict_interval; a bundle gives the same, and they are drawn"
    from matplotlib import pyplot as plt
    df, learn = frame(n=150), trained(frame(), quantiles=quantiles)
    X, y = SlidingWindow(24, horizon=6, get_y=[0])(np.random.default_rng(0).normal(20, 5, (90, 2)))
    with pytest.raises(ValueError, match='Call learn.conformal'): learn.forecast(df, interval=.9)
    learn.conformal(X, y, alpha=.2)
    res, window = learn.forecast(df, interval=True), df.to_numpy(np.float32).T[None, :, -24:]
    assert list(res.columns) == [('load', o) for o in ('lower', 'forecast', 'upper')] and res.columns.names == ['target', 'bound']
    np.testing.assert_allclose(res['load'][['lower', 'upper']].T, np.stack(learn.predict_interval(window))[:, 0, 0], rtol=1e-5)
    np.testing.assert_allclose(res['load']['forecast'], learn.forecast(df, point=True)['load'], rtol=1e-5)
    pd.testing.assert_frame_equal(learn.forecast(df, interval=.8), res)
    p, wide = Predictor(learn.save_bundle(tmp_path/'b')), learn.forecast(df, interval=.95)
    pd.testing.assert_frame_equal(p.forecast(df, interval=.95), wide, rtol=1e-4)
    assert (wide['load']['upper'] >= res['load']['upper']).all() and (wide['load']['lower'] <= res['load']['lower']).all()
    ax = plot_forecast(df, res, truth=frame()).flat[0]
    assert len(ax.collections) == 1 and len(ax.lines) == 3 and 'interval' in [o.get_text() for o in ax.figure.legends[0].get_texts()]
    np.testing.assert_allclose(ax.lines[2].get_ydata(), res['load']['forecast'])
    plt.close('all')
    with pytest.raises(ValueError, match='interval is 90'): p.forecast(df, interval=90)

BAD = {'1 rows': lambda o: o[:1], 'at least 24': lambda o: o[:23], "training: \\['temp'\\]": lambda o: o.drop(columns='temp'), 'rows are missing': lambda o: o.drop(index=o.index[-5]),
       "'2h' apart, and those of training were 'h'": lambda o: o[::2], 'were dates': lambda o: o.reset_index(drop=True), 'missing values': lambda o: o.assign(load=o.load.where(o.index != o.index[-3])),
       'no numbers': lambda o: o.astype(dict(load=str)).assign(load='a'), 'more than once': lambda o: pd.concat([o, o]), 'Expected a data frame': lambda o: o.to_numpy(),
       'no rows': lambda o: o[:0], 'apart, and those of training': lambda o: o.set_axis(o.index + pd.to_timedelta(np.arange(200)**2, unit='s'))}

@pytest.fixture(scope='module')
def hourly(): return trained(frame(), epochs=0)

@pytest.mark.parametrize('text', BAD)
def test_frames_that_do_not_fit(hourly, text):
    with pytest.raises(ValueError, match=text): hourly.forecast(BAD[text](frame()))

def test_loaders_without_times(hourly):
    with pytest.raises(ValueError, match='describe_forecast'): learner(epochs=0)[0].forecast(frame())
    with pytest.raises(ValueError, match='Expected the frame'): describe_forecast(hourly.dls, frame(), SlidingWindow(24, horizon=5, get_y='load'))

def test_bad_sections(hourly, tmp_path):
    from tsfast.bundle import check_config
    cfg = Predictor(hourly.save_bundle(tmp_path/'b')).config
    for text, change in {'horizon': dict(horizon=0), 'forecast.targets': dict(horizon=7), 'as the series': dict(window=23), 'freq': dict(freq=None), 'strange': dict(strange=1)}.items():
        with pytest.raises(ValueError, match=text): check_config({**cfg, 'forecast': {**cfg['forecast'], **change}})
    with pytest.raises(ValueError, match='section forecast|for quantiles'): check_config({**cfg, 'format_version': 8})

def test_learner_and_pictures(hourly, tmp_path):
    "A pickled learner still knows names and times"
    from matplotlib import pyplot as plt
    from tsfast.learner import load_learner
    hourly.export(tmp_path/'l.pkl')
    pd.testing.assert_frame_equal(load_learner(tmp_path/'l.pkl').forecast(frame()), hourly.forecast(frame()))
    axs = hourly.show_forecasts(max_n=3)
    assert len(axs.flat[0].lines) == 3 and len(axs.flat[0].collections) == 1 and axs.flat[0].get_title() == 'load'
    plot_forecast(frame(n=150), hourly.forecast(frame(n=150)), truth=frame())
    for arch in (learner(epochs=0)[0], learner(epochs=0, y=lambda y: y[:, 0])[0], learner(epochs=0, target=TSRegression())[0]): arch.show_forecasts(max_n=2)
    plt.close('all')

def test_resumed_training(tmp_path):
    "A training that breaks off and goes on ends as one without a break"
    from tsfast.checkpoint import Checkpoint
    def run(learn, epochs, cbs=()):
        with learn.no_bar(), learn.no_logging(): learn.fit(epochs, 1e-2, cbs=list(cbs))
        return learn
    from fastai.callback.core import Callback
    class Break(Callback):
        order = 95
        def after_epoch(self):
            if self.epoch == 1: raise KeyboardInterrupt
    whole = run(learner(epochs=0, metrics=[Pinball(), mae])[0], 4)
    with pytest.raises(KeyboardInterrupt): run(learner(epochs=0, metrics=[Pinball(), mae])[0], 4, [Checkpoint(tmp_path/'c.pt'), Break()])
    again = run(learner(epochs=0, metrics=[Pinball(), mae])[0], 4, [Checkpoint(tmp_path/'c.pt', resume=True)])
    pd.testing.assert_frame_equal(whole.history, again.history)

def test_report_and_augmentation(tmp_path):
    "Medians stand for forecasts of quantiles"
    import tsfast.report  # noqa: its method
    from tsfast.data.augment import TSNoise
    learn, X, y = learner('NLinear')
    with learn.no_bar(): assert learn.tta(batch_tfms=TSNoise(.1), n=1, with_decoded=True)[2].shape == (40, C, H)
    text = learn.report(tmp_path/'r.html').read_text()
    error = np.abs(learn.get_X_preds(X[-40:])[2] - y[-40:]).mean()
    assert f'{error:.4g}'[:4] in text and 'PinballLoss' in text
