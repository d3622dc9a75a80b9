"Pictures draw what the user gave: names, gaps, the ends of series, dates and line styles"
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from fastai.data.transforms import DisplayedTransform
from fastai.interpret import Interpretation
from matplotlib.dates import num2date
from torch import Tensor

from tsfast.data.augment import TSNoise, TSTimeWarp, TSWindowSlice
from tsfast.data.core import get_ts_dls
from tsfast.data.drawing import MAX_PANELS, add_legend, axis_times, draw_channels, later_times, panels_of
from tsfast.data.preprocessing import TSBatchTransform, TSClip, TSNan2Value, TSStandardize
from tsfast.data.splits import get_splits
from tsfast.data.targets import TSRegression
from tsfast.data.tensor import TSTensor, draw_forecast
from tsfast.data.windows import SlidingWindow
from tsfast.learner import ts_learner
from tsfast.models.dlinear import DLinear
from tsfast.models.fcn import FCN
import tsfast.interpret  # noqa: F401

N, L = 24, 40
rng = np.random.default_rng(0)
y = np.array(['no', 'yes'])[np.arange(N) % 2]
splits = range(16), range(16, N)

@pytest.fixture(autouse=True)
def drawn():
    "Every figure can be drawn without a warning"
    plt.close('all')
    yield
    for i in plt.get_fignums(): plt.figure(i).canvas.draw()
    plt.close('all')

def series(C=3): return (rng.normal(size=(N, C, L)) + np.arange(C)[:, None]).astype(np.float32)

def gappy(C=3):
    "Series with a gap, a single value between two gaps, and ends of different lengths"
    X = series(C)
    X[:, 0, 10:15] = X[:, -1, 20] = X[:, -1, 22] = np.nan
    for i in range(N): X[i, :, 30 + i % 10:] = np.nan
    return X

def texts(fig): return [o.get_text() for o in fig.legends[0].get_texts()]

def shown(ax): return np.stack([o.get_ydata() for o in ax.lines])

def check_drawn(axes, X, find=None, atol=1e-4):
    "Each of the axes shows one of the series as it is in `X`, its gaps and its end included"
    for ax in axes:
        got = shown(ax)
        i = min(range(len(X)), key=lambda i: np.nan_to_num(np.abs(X[i] - got)).sum())
        assert np.array_equal(np.isnan(got), np.isnan(X[i]))
        np.testing.assert_allclose(got, X[i], atol=atol)
        assert ax.get_xlim() == (0, np.flatnonzero(~np.isnan(X[i]).all(0))[-1])
        alone = [o.get_markevery() for o in ax.lines]
        assert alone[0] is None and alone[-1] == [21] if np.isnan(X[i, -1, 20]) else True


# names
@pytest.mark.parametrize('C,n,title', [(2, 2, ''), (3, 3, ''), (9, 9, ''), (10, 10, ''), (20, 10, '10 of 20 channels')])
def test_one_legend_in_a_figure(C, n, title):
    names = [f'c{i}' for i in range(C)]
    dls = get_ts_dls(series(C), y, channels=names, bs=8, device='cpu')
    for draw in (dls.show_batch, dls.valid.show_batch):
        draw(max_n=4)
        fig = plt.gcf()
        assert len(fig.legends) == 1 and not any(o.get_legend() for o in fig.axes) and fig.legends[0].get_title().get_text() == title
        assert len(texts(fig)) == n and texts(fig)[0] == 'c0' and texts(fig)[-1] == f'c{C - 1}'
        used = [o.get_color() for o in fig.axes[0].lines]
        assert len(used) == len(set(used)) == C
        for name, handle in zip(texts(fig), fig.legends[0].get_lines()): assert handle.get_color() == used[int(name[1:])]

@pytest.mark.parametrize('C', [1, 3])
def test_without_names(C):
    "One channel needs no legend; several have numbers"
    get_ts_dls(series(C), y, bs=8, device='cpu').show_batch(max_n=2)
    fig = plt.gcf()
    if C == 1: assert not fig.legends and not any(o.get_legend() for o in fig.axes)
    else: assert texts(fig) == ['0', '1', '2'] and fig.legends[0].get_title().get_text() == 'channel'

def test_one_named_channel():
    get_ts_dls(series(1), y, channels=['pulse'], bs=8, device='cpu').show_batch(max_n=2)
    assert texts(plt.gcf()) == ['pulse']

def test_odd_names():
    "Nothing is read as a formula, or left out"
    names = ['_x', 'US$ per EU$', r'$\frac{', 'a'*100, '']
    get_ts_dls(series(5), y, channels=names, bs=8, device='cpu').show_batch(max_n=1)
    plt.gcf().canvas.draw()
    assert texts(plt.gcf()) == [' _x', r'US\$ per EU\$', r'\$\frac{', 'a'*39 + '…', ' ']

def test_given_axes_have_the_legend_inside():
    dls = get_ts_dls(series(), y, channels=list('xyz'), bs=8, device='cpu')
    axs = plt.subplots(1, 2)[1]
    dls.show_batch(max_n=2, ctxs=axs)
    assert [o.get_text() for o in axs[0].get_legend().get_texts()] == list('xyz') and axs[1].get_legend() is None
    a, b = plt.subplots(1, 2)[1]
    x = dls.train_ds[0][0]
    assert x.show(ax=a) is a and x.show(ctx=b) is b
    assert a.get_legend() is not None and b.get_legend() is None and add_legend(a) is None

def test_ones_own_look():
    "A colour for all lines leaves nothing to name; other arguments reach the lines"
    dls = get_ts_dls(series(), y, channels=list('xyz'), bs=8, device='cpu')
    dls.show_batch(max_n=2, color='black', lw=3)
    assert not plt.gcf().legends and {(o.get_color(), o.get_linewidth()) for o in plt.gcf().axes[0].lines} == {('black', 3)}
    dls.train_ds[0][0].show(marker='x', ls=':')
    assert {(o.get_marker(), o.get_linestyle()) for o in plt.gcf().axes[0].lines} == {('x', ':')} and texts(plt.gcf()) == list('xyz')

@pytest.mark.parametrize('C', [1, 3, 9, 20, MAX_PANELS + 6])
def test_panels(C):
    names = [f'c{i}' for i in range(C)]
    dls = get_ts_dls(series(C), y, channels=names, bs=8, device='cpu')
    dls.show_batch(max_n=2, panels=True)
    fig = plt.gcf()
    assert not fig.legends and len(fig.axes) == 2 and fig.axes[0].get_title() in ('no', 'yes')
    panels = panels_of(fig.axes[0])
    assert [o.get_ylabel() for o in panels] == names[:MAX_PANELS] and all(len(o.lines) == 1 for o in panels)
    assert ('and 6 more channels' in panels[-1].get_xlabel()) == (C > MAX_PANELS)
    a, b = panels[0], panels[-1]
    a.set_xlim(3, 5); assert b.get_xlim() == (3, 5)
    x, = {id(o): o for o in [dls.train_ds[0][0]]}.values()
    ax = x.show(panels=True)
    assert np.array_equal(np.concatenate([shown(o) for o in panels_of(ax)]), x.numpy()[:MAX_PANELS])

def test_bad_names_of_a_picture():
    with pytest.raises(ValueError, match='2 names for 3 channels'): TSTensor(series()[0]).show(names=['a', 'b'])


# missing values, and ends
@pytest.mark.parametrize('tfms', [
    [TSNan2Value()], [TSStandardize(), TSNan2Value()], [TSStandardize(by_sample=True, by_var=True), TSNan2Value(method='median')],
    [TSStandardize(), TSNan2Value(keep_padding=True)]], ids=str)
def test_gaps(tfms):
    X = gappy()
    dls = get_ts_dls(X, y, splits=splits, batch_tfms=tfms, bs=8, device='cpu')
    for draw in (dls.show_batch, dls.valid.show_batch):
        draw(max_n=8)
        check_drawn(plt.gcf().axes[:8], X)

class Zeros(TSBatchTransform):
    "A filler of one's own, which keeps nothing of what was missing"
    fills_missing = True
    def on_series(self, x): return x.nan_to_num()

class FastaiZeros(DisplayedTransform):
    "The same in fastai's way"
    handles_nan = True
    def encodes(self, x:TSTensor): return x.as_subclass(Tensor).nan_to_num().as_subclass(TSTensor)

@pytest.mark.parametrize('tfm', [Zeros, FastaiZeros])
def test_gaps_of_fillers_that_keep_nothing(tfm):
    X = gappy()
    dls = get_ts_dls(X, y, splits=splits, batch_tfms=tfm(), bs=8, device='cpu')
    dls.show_batch(max_n=8)
    check_drawn(plt.gcf().axes[:8], X)
    x = dls.valid.one_batch()[0]
    assert not x.isnan().any() and dls.valid.decode(x)[0].isnan().any()

def test_gaps_of_results_and_largest_losses():
    "fastai's interpretation collects predictions of its own, and the pictures show the series nevertheless"
    X = gappy()
    for tfms in ([TSStandardize(by_sample=True), TSNan2Value()], [Zeros()]):
        dls = get_ts_dls(X, y, splits=splits, batch_tfms=tfms, bs=8, device='cpu', channels=list('xyz'))
        learn = ts_learner(dls, FCN, layers=[4, 4, 4])
        with learn.no_bar(), learn.no_logging():
            learn.fit(1, 1e-3)
            interp = Interpretation.from_learner(learn)
            for draw in (lambda: learn.show_results(max_n=6), lambda: learn.plot_top_losses(6), lambda: interp.plot_top_losses(6),
                         lambda: interp.show_results([2, 0, 5]), lambda: learn.plot_top_losses(6, X[:9], y[:9])):
                plt.close('all'); draw()
                axs = [o for o in plt.gcf().axes if o.lines]
                check_drawn(axs, X)
                assert texts(plt.gcf()) == list('xyz')
        x = learn.get_preds(with_input=True)[0]
        assert np.array_equal(dls.valid.decode(x)[0].isnan().numpy(), np.isnan(X[16:]))

def test_decoded_inputs_of_predictions_are_in_order():
    "Of a shuffled loader, too; where the order is not known, nothing is guessed"
    X = gappy()
    dls = get_ts_dls(X, y, splits=splits, batch_tfms=[TSStandardize(by_sample=True), TSNan2Value()], bs=8, device='cpu')
    learn = ts_learner(dls, FCN, layers=[4, 4, 4])
    with learn.no_bar():
        x = learn.get_preds(dl=dls.train.new(shuffle=True, drop_last=False), with_input=True)[0]
        assert len(x) == 16 and np.allclose(dls.valid.decode(x)[0], X[:16], atol=1e-4, equal_nan=True)
        x = learn.get_preds(dl=dls.train.new(shuffle=True, drop_last=False), with_input=True, reorder=False)[0]
        assert getattr(x, 'source', None) is None

def test_gaps_move_with_a_random_transform():
    "Filled values are not drawn as data where a transform of training moves them"
    X = np.zeros((N, 1, L), np.float32)
    X[:, :, 12:20] = np.nan
    X[:, :, 20:] = 1
    for tfm in (TSTimeWarp(p=1.), TSWindowSlice(.4, p=1.), TSNoise(p=1.)):
        dls = get_ts_dls(X, y, splits=splits, batch_tfms=[TSNan2Value(50.), tfm], bs=8, device='cpu')
        dls.show_batch(max_n=8)
        got = np.stack([shown(o) for o in plt.gcf().axes[:8]])
        assert np.isnan(got).any(-1).all() and np.nanmax(got) < 3         # 50 is nowhere
    class Sums(TSTimeWarp):
        "Needs series without gaps"
        order = 100     # after filling
        def augment(self, x): return x + 0*x.sum(-1, keepdim=True)
    dls = get_ts_dls(X, y, splits=splits, batch_tfms=[TSNan2Value(50.), Sums(p=1.)], bs=8, device='cpu')
    dls.show_batch(max_n=4)
    assert np.isfinite(shown(plt.gcf().axes[0])).any()

def test_explanations_end_where_series_end():
    X = gappy()
    dls = get_ts_dls(X, y, splits=splits, batch_tfms=[TSStandardize(), TSNan2Value()], bs=8, device='cpu', channels=list('xyz'))
    learn = ts_learner(dls, FCN, layers=[4, 4, 4])
    axs = learn.plot_explanation(X[:4], method='occlusion')
    for i, ax in enumerate(axs.flat[:4]):
        n = 30 + i
        assert ax.images[0].get_array().shape == (1, n) and np.array_equal(np.isnan(shown(ax)), np.isnan(X[i]))
    axs = learn.plot_explanation(X[:2], method='occlusion', by_channel=True)
    assert axs.flat[1].images[0].get_array().shape == (3, 31) and [o.get_text() for o in axs.flat[0].get_yticklabels()] == list('xyz')

def test_only_missing_values_and_single_steps():
    x = np.full((2, 5), np.nan, np.float32); x[1, 2] = 1
    ax = TSTensor(x).show(names=['a', 'b'])
    assert ax.lines[1].get_markevery() == [2] and ax.lines[1].get_marker() == '.'
    TSTensor(np.full((2, 5), np.nan)).show()
    one = TSTensor(np.ones((1, 1))).show()
    assert one.lines[0].get_markevery() == [0]

def test_values_that_clip_or_scale_back(recwarn):
    "A batch of validation is drawn in the units of the user"
    X = series()
    dls = get_ts_dls(X, y, splits=splits, batch_tfms=[TSStandardize(by_var=True), TSClip(-1, 1)], bs=8, device='cpu')
    dls.valid.show_batch(max_n=2)
    assert np.abs(shown(plt.gcf().axes[0])).max() <= np.abs(X).max()


# forecasts
HOURS = pd.date_range('2024-02-25', periods=300, freq='h', tz='Europe/Berlin')
table = pd.DataFrame(np.sin(np.arange(300)[:, None]/6 + np.arange(3)), columns=['load', 'sun', 'wind'], index=HOURS.tz_localize(None))

def windows(o=table, horizon=6, gap=0, **kwargs):
    w = SlidingWindow(24, horizon=horizon, stride=6, gap=gap, **kwargs)
    return w, *w(o)

def forecasts(X, yw, **kwargs):
    splits = get_splits(len(X), valid_size=.3, shuffle=False)
    return get_ts_dls(X, yw, splits=splits, tfms=[None, TSRegression()], bs=8, device='cpu', **kwargs)

def test_forecasts_say_what_is_dashed_and_dotted():
    w, X, yw = windows()
    learn = ts_learner(forecasts(X, yw, channels=list(table)), DLinear)
    learn.dls.valid.show_batch(max_n=2)
    assert texts(plt.gcf()) == ['load', 'sun', 'wind', 'series', 'target']
    ax = plt.gcf().axes[0]
    assert [o.get_linestyle() for o in ax.lines] == ['-']*3 + ['--']*3 and [o.get_color() for o in ax.lines] == ['C0', 'C1', 'C2']*2
    assert list(ax.lines[3].get_xdata()) == list(range(24, 30)) and ax.get_xlim() == (0, 29)
    with learn.no_bar():
        learn.show_results(max_n=2, shuffle=False)
        assert texts(plt.gcf()) == ['load', 'sun', 'wind', 'series', 'target', 'prediction']
        ax = plt.gcf().axes[0]
        assert [o.get_linestyle() for o in ax.lines] == ['-']*3 + ['--']*3 + [':']*3
        n = len(learn.dls.train_ds)
        for line, want in zip(ax.lines, (*X[n], *yw[n])): np.testing.assert_allclose(line.get_ydata(), want, atol=1e-5)
        learn.plot_top_losses(2)
        assert texts(plt.gcf()) == ['load', 'sun', 'wind', 'target', 'prediction'] and len(plt.gcf().axes[0].lines) == 9
        learn.show_results(max_n=1, panels=True)
        assert texts(plt.gcf()) == ['series', 'target', 'prediction'] and [len(o.lines) for o in panels_of(plt.gcf().axes[0])] == [3, 3, 3]

def test_forecasts_of_other_channels():
    "They have a colour of their own, and a panel of their own"
    w, X, yw = windows(get_y=['sun'])
    dls = forecasts(X, yw, channels=list(table))
    dls.show_batch(max_n=1)
    assert [o.get_color() for o in plt.gcf().axes[0].lines] == ['C0', 'C1', 'C2', 'black']
    dls.show_batch(max_n=1, panels=True)
    assert [o.get_ylabel() for o in panels_of(plt.gcf().axes[0])] == ['load', 'sun', 'wind', 'target']
    assert [o.get_linestyle() for o in panels_of(plt.gcf().axes[0])[3].lines][-1] == '--'

def test_one_channel_names_the_lines_alone():
    w, X, yw = windows(table['load'])
    forecasts(X, yw).show_batch(max_n=1)
    assert texts(plt.gcf()) == ['series', 'target']

def dates(line): return pd.DatetimeIndex(np.asarray(line.get_xdata(), 'M8[ns]'))

@pytest.mark.parametrize('gap', [0, 3])
def test_dates_of_forecasts(gap):
    w, X, yw = windows(gap=gap)
    t = HOURS.tz_localize(None)
    rows = [t[6*i:6*i + 24 + gap + 6] for i in range(len(X))]
    dls = forecasts(X, yw, times=rows)
    for dl in (dls.train, dls.valid):
        dl.show_batch(max_n=3)
        for ax in plt.gcf().axes[:3]:
            x, after = dates(ax.lines[0]), dates(ax.lines[3])
            assert len(x) == 24 and after[0] - x[-1] == pd.Timedelta(gap + 1, 'h') and len(after) == 6
            i = t.get_loc(x[0])
            np.testing.assert_allclose(ax.lines[0].get_ydata(), table['load'][i:i + 24], atol=1e-5)
            np.testing.assert_allclose(ax.lines[3].get_ydata(), table['load'][i + 24 + gap:i + 30 + gap], atol=1e-5)

def test_dates_of_the_series_alone():
    "The forecast goes on evenly"
    w, X, yw = windows()
    t = np.stack([HOURS.tz_localize(None)[6*i:6*i + 24] for i in range(len(X))])
    forecasts(X, yw, times=t).show_batch(max_n=1)
    ax = plt.gcf().axes[0]
    assert (np.diff(np.concatenate([dates(ax.lines[0]), dates(ax.lines[3])])) == np.timedelta64(1, 'h')).all()

def test_dates_with_a_selection_of_steps():
    X, t = series(1), pd.date_range('2024-01-01', periods=L)
    dls = get_ts_dls(X, y, sel_steps=range(5, 25), times=[t]*N, bs=8, device='cpu')
    assert np.array_equal(dls.train_ds.times_of(torch.tensor([0]))[0], t[5:25].to_numpy('M8[ns]'))
    dls = get_ts_dls(X, y, tfms=[lambda o: o[..., ::2], None], times=[t]*N, bs=8, device='cpu')
    assert dls.train_ds.times_of(torch.tensor([0])) is None       # whose steps these are is not known
    assert get_ts_dls(X, y, times=[t]*N, device='cpu').new_dl(X).dataset.times is None

def test_times_of_padded_series():
    "As many times as steps"
    X, t = gappy(1), pd.date_range('2024-01-01', periods=L)
    dls = get_ts_dls(X, y, batch_tfms=TSNan2Value(), times=[t[:30 + i % 10] for i in range(N)], bs=8, device='cpu')
    dls.show_batch(max_n=4)
    for ax in plt.gcf().axes[:4]:
        assert len(dates(ax.lines[0])) >= 30 and num2date(ax.get_xlim()[1]).day == dates(ax.lines[0])[-1].day
    short = get_ts_dls(X, y, batch_tfms=TSNan2Value(), times=[t[:9]]*N, bs=8, device='cpu')
    with pytest.raises(ValueError, match='9 times for a series of'): short.show_batch(max_n=1)

def test_a_forecast_follows_the_end_of_a_padded_series():
    X = series(1); X[:, :, 33:] = np.nan
    dls = get_ts_dls(X, series(1)[:, :, :5], tfms=[None, TSRegression()], batch_tfms=TSNan2Value(), bs=8, device='cpu')
    dls.show_batch(max_n=1)
    assert list(plt.gcf().axes[0].lines[1].get_xdata()) == list(range(33, 38)) and plt.gcf().axes[0].get_xlim() == (0, 37)

@pytest.mark.parametrize('times,text', [([[0]*L]*3, f'3 rows for {N} series'), ([['a']*L]*N, 'Expected dates or numbers')])
def test_bad_times(times, text):
    with pytest.raises(ValueError, match=text): get_ts_dls(series(), y, times=times, device='cpu')

def test_times_of_a_frame():
    "A row of dates for each series"
    t = pd.DataFrame([pd.date_range('2024-01-01', periods=L)]*N)
    get_ts_dls(series(), y, times=t, bs=8, device='cpu').show_batch(max_n=1)
    assert dates(plt.gcf().axes[0].lines[0])[1] == pd.Timestamp('2024-01-02')

def test_later_times_of_working_days_and_months():
    for freq, n in (('B', 12), ('MS', 4), ('YS', 3), ('D', 10), ('7min', 3)):
        t = pd.date_range('2024-01-01', periods=n + 4, freq=freq)
        assert (later_times(axis_times(t[:n]), n, 4, n) == t[n:].to_numpy('M8[ns]')).all()
    assert list(later_times(axis_times([0., .5, 1.]), 3, 2, 3)) == [1.5, 2.]

@pytest.mark.parametrize('unit', ['ms', 's', 'm', 'h', 'D', 'W'])
def test_axes_of_dates_draw_without_a_warning(unit):
    for n in (1, 2, 3, 17, 62, 130, 1000):
        fig, ax = plt.subplots(figsize=(3, 2))
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            t = np.datetime64('2024-02-20T03:07') + np.arange(n)*np.timedelta64(1, unit)
            draw_channels(ax, np.arange(n)[None].astype(float), times=t)
            fig.canvas.draw()
        plt.close(fig)

def test_draw_forecast_as_in_earlier_versions():
    ax = plt.subplots()[1]
    draw_forecast(ax, 5, np.ones((2, 3)), ls=':')
    assert [list(o.get_xdata()) for o in ax.lines] == [[5, 6, 7]]*2 and [o.get_color() for o in ax.lines] == ['C0', 'C1']


# costs
def test_nothing_is_read_for_batches_that_nobody_draws(monkeypatch):
    X = gappy()
    dls = get_ts_dls(X, y, splits=splits, batch_tfms=[TSStandardize(), TSNan2Value()], bs=8, device='cpu', channels=list('xyz'))
    reads = []
    was = type(dls.train_ds).read
    monkeypatch.setattr(type(dls.train_ds), 'read', lambda self, *args: reads.append(1) or was(self, *args))
    for _ in dls.train: pass
    assert len(reads) == 2
    dls.valid.decode(dls.valid.one_batch()); assert len(reads) == 3        # the transforms kept what was missing
