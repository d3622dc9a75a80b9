"Predictions for the windows of recordings: what is taken, what the table holds, and what is refused"
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch

from tsfast.data.core import TSDataLoaders, get_ts_dls
from tsfast.data import factories # noqa: it gives the loaders from_df
from tsfast.data.preprocessing import TSNan2Value, TSStandardize
from tsfast.data.steps import RecordingSettings, even_steps
from tsfast.data.targets import TSClassification, TSMultiLabelClassification, TSRegression
from tsfast.data.windows import SlidingWindow
from tsfast.deploy import to_predictor
from tsfast.inference import Predictor
from tsfast.learner import ts_learner

C, W, N = 2, 16, 40
NAMES = ['left', 'right']
rng = np.random.default_rng(0)
X = rng.normal(2, 3, size=(N, C, W)).astype(np.float32)
y = np.array(['no', 'yes', 'maybe'])[rng.integers(0, 3, N)]
steps = rng.normal(2, 3, size=(150, C)).astype(np.float32)       # a recording


def make(y=y, t=None, X=X, tfms=None, recording=None, arch='FCN', layers=(4, 6), **kwargs):
    "A small learner"
    dls = get_ts_dls(X, y, splits=(range(30), range(30, N)), tfms=[None, t or TSClassification()], batch_tfms=tfms or TSStandardize(by_var=True),
                     bs=8, **kwargs)
    for o in dls.loaders: o.dataset.recording = recording
    extra = dict(layers=list(layers), kss=[3, 3]) if arch == 'FCN' else {}
    learn = ts_learner(dls, arch, seed=0, **extra)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-2)
    return learn

@pytest.fixture(scope='module')
def learn(): return make(channels=NAMES)

@pytest.fixture(scope='module')
def p(learn, tmp_path_factory): return Predictor(learn.save_bundle(tmp_path_factory.mktemp('bundles')/'b'))

def probas(table): return table.filter(like='p(').to_numpy()

def frame(a=steps, **columns): return pd.DataFrame({**columns, **dict(zip(NAMES, a.T))})


# ---------------------------------------------------------------- the same as windows by hand

@pytest.mark.parametrize('stride', [1, 5, 16, 21])
@pytest.mark.parametrize('bs', [64, 7, 1])
def test_same_as_sliding_window(learn, p, stride, bs):
    "To the bit, with the same batch size"
    windows = SlidingWindow(W, horizon=0, stride=stride)(steps)[0]
    want, n = p(windows, bs=bs), len(windows)
    for o in (p, learn):
        table = o.predict_windows(steps, stride=stride, bs=bs)
        assert list(table.columns) == ['start', 'end', 'label', 'p(maybe)', 'p(no)', 'p(yes)'] and table['p(no)'].dtype == np.float32
        assert np.array_equal(probas(table)[:n], want.numpy()) and list(table.label[:n]) == p.decode(want).tolist()
        assert table.start[:n].tolist() == list(range(0, 150 - W + 1, stride)) and (table.end - table.start == W - 1).all()
        assert len(table) == n + (stride > 1) and table.end.max() == 149

def test_stride_and_window_of_training(tmp_path):
    "A bundle knows them"
    learn = make(recording=RecordingSettings(window=W, stride=6))
    for o in (learn, Predictor(learn.save_bundle(tmp_path/'b'))):
        assert o.predict_windows(steps).start.tolist() == [*range(0, 150 - W + 1, 6), 134]
        assert o.predict_windows(steps, stride=50).start.tolist() == [0, 50, 100]
        assert o.predict_windows(steps, window=30, stride=60).start.tolist() == [0, 60, 120]

@pytest.mark.parametrize('last,want', [('shift', [0, 10, 20, 24]), ('drop', [0, 10, 20]), ('pad', [0, 10, 20, 30])])
def test_last_window(last, want):
    p = to_predictor(make(tfms=[TSStandardize(by_var=True), TSNan2Value()]))
    table = p.predict_windows(steps[:40], stride=10, last=last)
    assert table.start.tolist() == want and table.end.max() == (35 if last == 'drop' else 39)
    if last == 'pad':
        assert np.allclose(probas(table)[-1:], p([steps[30:40].T]).numpy(), atol=1e-5)
        assert p.predict_windows(steps[:5], last='pad').values.tolist() == p.predict_windows(steps[:5], last='pad', stride=3).values.tolist()
        assert p.predict_windows(steps[:5], last='pad').end.tolist() == [4]

@pytest.mark.parametrize('n,stride,want', [(16, 16, [0]), (17, 16, [0, 1]), (32, 16, [0, 16]), (40, 30, [0, 24]), (46, 30, [0, 30]), (30, 30, [0]),
                                           (31, 30, [0, 15]), (18, 1, [0, 1, 2])])
def test_windows_reach_the_end(p, n, stride, want):
    "Steps between two windows are left out by a stride above the window, steps at the end are not"
    assert p.predict_windows(steps[:n], stride=stride).start.tolist() == want


# ---------------------------------------------------------------- what a recording may be

def arrays(tmp_path):
    np.save(tmp_path/'a.npy', steps)
    yield 'tensor', torch.from_numpy(steps), {}
    yield 'float64', steps.astype(np.float64), {}
    yield 'lists', steps.tolist(), {}
    yield 'channels first', steps.T, dict(seq_first=False)
    yield 'tensor, channels first', torch.from_numpy(steps.T.copy()), dict(seq_first=False)
    yield 'memory map', np.load(tmp_path/'a.npy', mmap_mode='r'), {}
    yield 'masked', np.ma.masked_invalid(steps), {}
    yield 'positions', np.c_[steps[:, 1], steps[:, 0], steps[:, 0]], dict(channels=[1, 0])
    yield 'dict', dict(zip(NAMES, steps.T)), {}
    yield 'dict of tensors and lists', dict(right=steps[:, 1].tolist(), left=torch.from_numpy(steps[:, 0])), {}
    yield 'frame', frame()[NAMES[::-1]], {}
    yield 'frame with more columns', frame(note=['x']*150, other=1.), {}
    yield 'frame of other names', frame().rename(columns=dict(left='L', right='R')), dict(channels=['L', 'R'])
    yield 'frame of nullable numbers', frame().convert_dtypes(), {}

def test_forms_of_a_recording(learn, p, tmp_path):
    want = p.predict_windows(steps, stride=5)
    for name, o, kwargs in arrays(tmp_path):
        for model in (p, learn): pd.testing.assert_frame_equal(model.predict_windows(o, stride=5, **kwargs), want, obj=name)

@pytest.mark.parametrize('module', ['polars', 'pyarrow', 'zarr', 'h5py'])
def test_forms_of_other_libraries(p, module, tmp_path):
    lib = pytest.importorskip(module)
    if module == 'polars': o = lib.DataFrame(dict(zip(NAMES, steps.T)))
    elif module == 'pyarrow': o = lib.table(dict(zip(NAMES, map(np.ascontiguousarray, steps.T))))
    elif module == 'zarr': o = lib.array(steps, chunks=(20, 2))
    else: o = lib.File(tmp_path/'a.h5', 'w').create_dataset('a', data=steps, chunks=(20, 2))
    pd.testing.assert_frame_equal(p.predict_windows(o, stride=5), p.predict_windows(steps, stride=5))

def test_one_channel():
    p = to_predictor(make(X=X[:, :1]))
    want = p(SlidingWindow(W, horizon=0, stride=W)(steps[:, 0])[0]).numpy()
    for o in (steps[:, 0], steps[:, :1], torch.from_numpy(steps[:, 0]), pd.Series(steps[:, 0]), pd.Series(steps[:, 0], name='x'), steps[:, 0].tolist()):
        assert np.array_equal(probas(p.predict_windows(o))[:9], want)
    assert np.array_equal(probas(p.predict_windows(steps[:, :1].T, seq_first=False))[:9], want)

def test_memory_map_is_read_in_parts(p, tmp_path):
    "The memory needed does not grow with the recording"
    def peak(n):
        a = np.lib.format.open_memmap(tmp_path/f'{n}.npy', 'w+', np.float64, (n, C))      # zeros
        tracemalloc.start()
        try: p.predict_windows(a, stride=400)
        finally: _, top = tracemalloc.get_traced_memory(); tracemalloc.stop()
        return top
    a, b = peak(200_000), peak(2_000_000)      # 3.2 MB and 32 MB
    assert b < a + 4e6, (a, b)


def test_series_by_channel(learn, p):
    "A dict of channels is a set of series: by name where the model knows names, else in order"
    want, plain = p(X), to_predictor(make())
    for o in (dict(left=X[:, 0], right=X[:, 1]), dict(right=torch.from_numpy(X[:, 1]), left=pd.DataFrame(X[:, 0]))):
        assert torch.equal(p(o), want) and torch.equal(learn.get_X_preds(o)[0], want)
    assert torch.equal(plain(dict(b=X[:, 0], a=X[:, 1])), plain(X))
    for model in (p, lambda o: learn.get_X_preds(o)):
        with pytest.raises(ValueError, match="lacks the channel 'left' and has 'lefft'"): model(dict(lefft=X[:, 0], right=X[:, 1]))
        with pytest.raises(ValueError, match="has 'up', which is no channel"): model(dict(left=X[:, 0], right=X[:, 1], up=X[:, 1]))
        with pytest.raises(ValueError, match="lacks the channel 'left'. Expected"): model(dict(right=X[:, 1]))
        with pytest.raises(ValueError, match=r"'left' \(40, 2, 16\)"): model(dict(left=X, right=X))
    with pytest.raises(ValueError, match='X is a dict of 1 arrays'): plain(dict(X=X))


# ---------------------------------------------------------------- times and ids

TIMES = {
    'index': (pd.date_range('2024-01-31', periods=150, freq='h'), None), 'zone': (pd.date_range('2024-01-31', periods=150, freq='h', tz='Europe/Berlin'), None),
    'periods': (pd.period_range('2024-01', periods=150, freq='M'), None), 'durations': (pd.timedelta_range(0, periods=150, freq='min'), None),
    'column': (pd.date_range('2024-01-31', periods=150, freq='h'), 'when'), 'seconds': (np.arange(150)*.5, 'time'), 'numbers': (np.arange(150)*2, 'timestamp')}

@pytest.mark.parametrize('kind', TIMES)
@pytest.mark.parametrize('average', [False, True])
def test_times(p, kind, average):
    "In the table stands what the user gave"
    t, column = TIMES[kind]
    df = frame().set_index(t) if column is None else frame(**{column: t})
    plain, table = (p.predict_windows(o, stride=5, average=average) for o in (steps, df))
    assert np.array_equal(probas(table), probas(plain))
    for c in (('time',) if average else ('start', 'end')):
        assert table[c].tolist() == [t[i] for i in plain['step' if average else c]] and table[c].dtype == pd.Series(t).dtype

def test_times_as_text(p):
    t = pd.date_range('2024-01-31', periods=150, freq='s')
    table = p.predict_windows(frame(note='x', taken=t.astype(str)), stride=5)
    assert table.start.tolist() == [t[i] for i in p.predict_windows(steps, stride=5).start]
    assert p.predict_windows(frame(first=t[::-1], second=t), time='second').start[0] == t[0]

def test_an_index_of_numbers_is_no_time(p):
    assert p.predict_windows(frame().set_index(np.arange(150)[::-1])).start[0] == 0

@pytest.mark.parametrize('mixed', [False, True])
def test_ids(p, mixed):
    "Each recording by itself, in the order in which they begin; rows may be mixed"
    df = pd.concat([frame(steps[:60], subject='b', t=np.arange(60)), frame(steps[60:], subject='a', t=np.arange(90))])
    if mixed: df = df.sort_values('t', kind='stable')
    table = p.predict_windows(df, stride=7, id='subject')
    assert list(table.columns[:3]) == ['subject', 'start', 'end'] and table.subject.unique().tolist() == ['b', 'a']
    for k, part in (('b', steps[:60]), ('a', steps[60:])):
        one, alone = table[table.subject == k], p.predict_windows(part, stride=7)
        assert one.start.tolist() == alone.start.tolist() and np.allclose(probas(one), probas(alone), atol=1e-6)
    steps_ = p.predict_windows(df, id='subject', stride=7, average=True)
    assert steps_.groupby('subject').size().to_dict() == dict(a=90, b=60) and list(steps_.columns[:2]) == ['subject', 'time']

def test_ids_of_training(tmp_path):
    "Columns that training knew, more than one, with a missing value; a frame without them is one recording"
    p = Predictor(make(recording=RecordingSettings(id=['who', 'day'], time='sec'), channels=NAMES).save_bundle(tmp_path/'b'))
    df = frame(who=['a']*50 + [None]*50 + ['a']*50, day=[1]*100 + [2]*50, sec=np.arange(150))
    table = p.predict_windows(df)
    assert table.drop_duplicates(['who', 'day'])[['who', 'day']].fillna('-').values.tolist() == [['a', 1], ['-', 1], ['a', 2]]
    assert list(p.predict_windows(frame(sec=np.arange(150))).columns[:2]) == ['start', 'end']
    by_level = df.dropna().set_index(['who', 'day', 'sec'])
    assert p.predict_windows(by_level)[['who', 'day']].drop_duplicates().values.tolist() == [['a', 1], ['a', 2]]

def test_even_steps_of_training(tmp_path):
    "A recording with holes is brought to even steps, as in training"
    p = Predictor(make(recording=RecordingSettings(time='sec', freq=1., fill='linear', window=W, stride=8), channels=NAMES).save_bundle(tmp_path/'b'))
    kept = np.sort(np.random.default_rng(1).choice(150, 100, replace=False))
    a, t = even_steps(steps[kept], kept, 1., 'linear')
    table = p.predict_windows(frame(steps[kept], sec=kept))
    assert np.array_equal(probas(table), probas(p.predict_windows(a.astype(np.float32))))
    assert table.start.tolist() == t[p.predict_windows(a.astype(np.float32)).start].tolist()
    dates = pd.Timestamp('2024-01-31', tz='Europe/Berlin') + pd.to_timedelta(kept, 's')
    q = Predictor(make(recording=RecordingSettings(time='sec', freq='1s', fill='linear', window=W), channels=NAMES).save_bundle(tmp_path/'c'))
    assert q.predict_windows(frame(steps[kept], sec=dates)).start[0] == dates[0]
    with pytest.raises(ValueError, match='has no times.*freq=1.0'): p.predict_windows(frame(steps))


# ---------------------------------------------------------------- steps

@pytest.mark.parametrize('stride', [1, 5, 16, 21])
def test_average(learn, p, stride):
    "The mean over the windows that hold a step; a step that none holds has no row"
    windows, table = p.predict_windows(steps, stride=stride), p.predict_windows(steps, stride=stride, average=True)
    want, n = np.zeros((150, 3)), np.zeros(150)
    for s, e, q in zip(windows.start, windows.end, probas(windows)): want[s:e + 1] += q; n[s:e + 1] += 1
    held = np.flatnonzero(n)
    assert list(table.columns) == ['step', 'label', 'p(maybe)', 'p(no)', 'p(yes)'] and table.step.tolist() == held.tolist()
    assert np.allclose(probas(table), want[held]/n[held, None], atol=1e-6) and len(table) == (150 if stride < 21 else len(held))
    assert table.label.tolist() == p.classes[probas(table).argmax(1)].tolist()
    assert np.allclose(probas(learn.predict_windows(steps, stride=stride, average=True)), probas(table), atol=1e-6)

def test_a_label_for_each_step():
    "Rows are steps, and the place in the window counts"
    p = to_predictor(make(np.array(['up', 'down'])[rng.integers(0, 2, (N, W))]))
    table, w = p.predict_windows(steps, stride=6), p(SlidingWindow(W, horizon=0, stride=6)(steps)[0]).numpy()
    assert table.step.tolist() == list(range(150)) and np.array_equal(probas(table)[:6], w[0, :6])
    assert np.allclose(probas(table)[12:16], (w[0, 12:16].astype(float) + w[1, 6:10] + w[2, :4])/3, atol=1e-6)
    with pytest.raises(ValueError, match='windows of 16 steps alone: it gives a label for each step'): p.predict_windows(steps, window=20)


# ---------------------------------------------------------------- targets

KINDS = {
    'number': (rng.normal(50, 9, N), TSRegression(standardize=True), ['prediction']),
    'several': (rng.normal(50, 9, (N, 3)), TSRegression(standardize=True), ['prediction_0', 'prediction_1', 'prediction_2']),
    'forecast': (rng.normal(50, 9, (N, 1, 2)), TSRegression(), ['prediction_0_0', 'prediction_0_1']),
    'lists': ([['a'], ['a', 'b'], [], ['c']]*(N//4), TSMultiLabelClassification(thresh=0.4), ['label', 'p(a)', 'p(b)', 'p(c)']),
    'integers': (np.arange(N) % 3 - 1, TSClassification(), ['label', 'p(-1)', 'p(0)', 'p(1)'])}

@pytest.mark.parametrize('kind', KINDS)
def test_kinds_of_targets(kind):
    y, t, columns = KINDS[kind]
    learn = make(y, t)
    p, windows = to_predictor(learn), SlidingWindow(W, horizon=0, stride=7)(steps)[0]
    for o in (learn, p):
        table = o.predict_windows(steps, stride=7, last='drop')
        assert list(table.columns[2:]) == columns
        assert np.array_equal(table[[c for c in columns if c != 'label']].to_numpy(), p(windows).reshape(len(windows), -1).numpy())
        if 'label' in columns: assert list(table.label) == list(p.predict(windows))
        rows = o.predict_windows(steps, stride=7, average=True)
        assert list(rows.columns) == ['step', *columns] and len(rows) == 150

def test_inputs_beside_the_series():
    "The values of one series, which hold for the whole recording"
    learn = make(inputs=dict(age=rng.normal(size=(N, 2)).astype(np.float32)), arch=_WithAge)
    windows = SlidingWindow(W, horizon=0, stride=7)(steps)[0]
    table = learn.predict_windows(steps, stride=7, last='drop', inputs=dict(age=[1., 2]))
    assert np.array_equal(probas(table), learn.get_X_preds(windows, inputs=dict(age=np.tile([1., 2], (len(windows), 1))))[0].numpy())
    with pytest.raises(ValueError, match="'age' is missing"): learn.predict_windows(steps)

class _WithAge(torch.nn.Module):
    def __init__(self, c_in, c_out, seq_len):
        super().__init__()
        self.series, self.more = torch.nn.Linear(c_in*seq_len, c_out), torch.nn.Linear(2, c_out)
    def forward(self, x, age): return self.series(x.flatten(1)) + self.more(age)


# ---------------------------------------------------------------- bad input

gap, hole = steps.copy(), np.arange(150)
gap[37, 1], hole = np.nan, np.r_[np.arange(80), np.arange(80, 150)]
BAD = {
    'short': (steps[:15], {}, 'has 15 steps, too few for one window of 16'), 'none': (steps[:0], {}, 'has no steps'),
    'channels': (steps[:, :1], {}, r'has shape \(150, 1\). Expected \(steps, channels\) with 2 channels'), 'flat': (steps[:, 0], {}, r'has shape \(150,\)'),
    'layout': (steps.T, {}, 'pass seq_first=False'), 'layout back': (steps, dict(seq_first=False), 'pass seq_first=True'),
    'three dimensions': (steps[None], {}, r'has shape \(1, 150, 2\)'), 'text': (steps.astype(str), {}, 'Expected numbers'), 'positions': (steps, dict(channels=[0, 2]), 'Expected positions'),
    'few positions': (steps, dict(channels=[0]), 'names 1 positions'), 'a set': (steps, dict(channels={0, 1}), 'no order'),
    'missing': (gap, {}, r"channel 'right', step 37: the value is missing \(NaN\), and this model was trained without"), 'infinite': (np.where(gap != gap, np.inf, gap), {}, "channel 'right', step 37: the value is infinite"),
    'too large': (steps.astype(np.float64)*1e300, {}, 'larger than float32'),
    'too large, in a frame': (frame(steps.astype(np.float64)*1e300), {}, 'larger than float32'),
    'names': (frame().rename(columns=dict(right='rigth')), {}, r"no column 'right', and the model was trained on the channels \['left', 'right'\].*channels=\['left', 'rigth'\]"),
    'a name': (frame()[['left']], {}, "no column 'right'"), 'no such column': (frame(), dict(channels=['left', 'rihgt']), "no column 'rihgt'. Did you mean 'right'"),
    'one name': (frame(), dict(channels='left'), 'channels names 1 columns.*the model takes 2 channels'), 'twice': (pd.concat([frame(), frame()], axis=1), {}, "more than one column 'left'"),
    'text column': (frame().assign(right='x'), {}, "'right' of the recording is a channel and holds something other than numbers, such as 'x'"),
    'no time': (frame(), dict(time='when'), "no column 'when'"), 'no id': (frame(), dict(id='who'), "no column 'who'"),
    'doubled': (frame(time=np.r_[0:100, 99:149]), {}, 'has the time 99 twice'),
    'no times': (frame(time=np.where(np.arange(150) == 7, np.nan, np.arange(150))), {}, 'a step without a time'), 'words': (frame(time=['noon']*150), {}, "'noon' for a time"),
    'ids by name': (frame(subject=['a']*75 + ['b']*75), {}, "Pass id='subject'"), 'a short one': (frame(who=['a']*140 + ['b']*10), dict(id='who'), "with who 'b' has 10 steps, too few"),
    'dict': (dict(left=steps[:, 0], right=steps[:9, 0]), {}, r"shapes 'left' \(150,\), 'right' \(9,\)"),
    'stride': (steps, dict(stride=0), 'stride=0. Expected a whole number'), 'window': (steps, dict(window=2.5), 'window=2.5'), 'batch size': (steps, dict(bs=0), 'bs=0'),
    'last': (steps, dict(last='keep'), "last='keep'. Expected 'shift'"), 'pad': (steps, dict(last='pad'), 'without a transform that fills missing values')}

@pytest.mark.parametrize('name', BAD)
def test_bad_input(learn, p, name):
    o, kwargs, text = BAD[name]
    for model in (learn, p):
        with pytest.raises(ValueError, match=text) as e: model.predict_windows(o, **kwargs)
        assert len(str(e.value)) < 420 and '\n' not in str(e.value)

def test_uneven_times_are_told(p):
    with pytest.warns(UserWarning, match='has a hole'): p.predict_windows(frame(time=np.where(np.arange(150) < 80, 0, 20) + np.arange(150)))

def test_missing_values_by_time(p):
    df = frame(gap).set_index(pd.date_range('2024-01-31', periods=150, freq='h'))
    with pytest.raises(ValueError, match=r"step 37 \(2024-02-01 13:00:00\)"): p.predict_windows(df, stride=5)

def test_missing_values_are_filled():
    p = to_predictor(make(tfms=[TSStandardize(by_var=True), TSNan2Value()]))
    assert np.array_equal(probas(p.predict_windows(gap, stride=5, last='drop')), p(SlidingWindow(W, horizon=0, stride=5)(gap)[0]).numpy())
    assert len(p.predict_windows(pd.DataFrame(gap).astype('Float32').rename(columns=str))) == 10

def test_lost_digits_are_told(p):
    for o in (steps.astype(np.float64) + 1e9, frame(steps.astype(np.float64) + 1e9)):
        with pytest.warns(UserWarning, match='float32 keeps fewer than two digits'): p.predict_windows(o)

def test_a_selection(tmp_path):
    "A recording has what the model selects from, and only what it selects must be there"
    learn = make(sel_vars=[1], channels=NAMES)
    a = steps.copy(); a[40, 0] = np.nan
    for o in (learn, Predictor(learn.save_bundle(tmp_path/'b'))):
        assert np.array_equal(probas(o.predict_windows(frame(a)[NAMES[::-1]])), probas(o.predict_windows(steps)))
        with pytest.raises(ValueError, match='with 2 channels'): o.predict_windows(steps[:, :1])
    steps_only = make(sel_steps=slice(4, None, 2))
    assert len(steps_only.predict_windows(steps)) == 10


# ---------------------------------------------------------------- from a frame to a table

@pytest.mark.parametrize('freq', [None, 1.])
def test_from_a_frame_to_a_table(tmp_path, freq):
    "What `from_df` was told, the bundle knows: names, ids, times, windows and even steps"
    rng = np.random.default_rng(0)
    parts = [pd.DataFrame(dict(subject=f's{i}', sec=np.arange(120.), right=rng.normal(size=120), left=rng.normal(size=120) + i % 2, act=['sit', 'run'][i % 2])) for i in range(8)]
    df = pd.concat(parts, ignore_index=True)
    if freq: df = df[df.sec % 7 != 3]
    dls = TSDataLoaders.from_df(df, id='subject', time='sec', channels=['right', 'left'], y='act', group='subject', window=W, stride=8, freq=freq,
                                fill='linear' if freq else 'none', bs=8, batch_tfms=TSStandardize(by_var=True))
    learn = ts_learner(dls, 'FCN', seed=0, layers=[4, 6], kss=[3, 3])
    p = Predictor(learn.save_bundle(tmp_path/'b'))
    table = p.predict_windows(df[['act', 'left', 'sec', 'subject', 'right']])
    assert list(table.columns) == ['subject', 'start', 'end', 'label', 'p(run)', 'p(sit)'] and table.subject.unique().tolist() == [f's{i}' for i in range(8)]
    one = table[table.subject == 's3']
    assert one.start.tolist() == [*np.arange(0., 105., 8)] and one.end.tolist() == [*np.arange(15., 120., 8)]
    ids, valid = np.unique(df.subject), dls.valid_ds
    x = valid.read(valid.idxs[:14])[0]          # the windows of one subject of validation
    each = table.groupby('subject')[['p(run)', 'p(sit)']].apply(lambda o: o.to_numpy())
    assert any(np.allclose(p(x), each[i], atol=1e-6) for i in ids)
    pd.testing.assert_frame_equal(learn.predict_windows(df), table, check_exact=False, atol=1e-6)
    streamed = pd.concat(p.stream_windows(df[i:i + 50] for i in range(0, len(df), 50)), ignore_index=True)
    pd.testing.assert_frame_equal(streamed, table, check_exact=False, atol=1e-5)

def test_estimators_take_series_by_channel():
    "A dict in `fit` and in `predict`; names are those of `fit`, in any order"
    from tsfast.estimators import TSNetClassifier
    args = dict(arch='FCN', arch_params=dict(layers=[4, 4], kss=[3, 3]), epochs=1, random_state=0, device='cpu')
    want = TSNetClassifier(**args).fit(X, y).predict_proba(X)
    est = TSNetClassifier(**args).fit(dict(left=X[:, 0], right=X[:, 1]), y)
    assert est.channel_names_ == NAMES and np.array_equal(est.predict_proba(dict(right=X[:, 1], left=X[:, 0])), want) and np.array_equal(est.predict_proba(X), want)
    with pytest.raises(ValueError, match="lacks the channel 'left' and has 'lefft'"): est.predict(dict(lefft=X[:, 0], right=X[:, 1]))
    with pytest.raises(ValueError, match=r"'X' \(40, 2, 16\)"): TSNetClassifier(**args).fit(dict(X=X), y)

@pytest.mark.parametrize('freq', [None, 1.])
def test_rows_of_a_frame_are_sorted_by_time(freq):
    "As in training, within each recording; its dates may be the index"
    df = pd.concat([frame(who='a', time=np.arange(150.)), frame(who='b', time=np.arange(150.) + 7)], ignore_index=True)
    known = make(channels=NAMES, recording=RecordingSettings(id=['who'], time='time', freq=freq))
    want = known.predict_windows(df, stride=5)
    mixed = known.predict_windows(df.sample(frac=1, random_state=0), stride=5)
    pd.testing.assert_frame_equal(mixed.sort_values(['who', 'start'], ignore_index=True), want)
    dates = frame().set_index(pd.date_range('2024', periods=150, freq='h'))
    if freq is None: pd.testing.assert_frame_equal(known.predict_windows(dates.assign(time=dates.index)[::-1]), known.predict_windows(dates.assign(time=dates.index)))
    with pytest.raises(ValueError, match='not in time order.*give the whole frame to predict_windows'): list(known.stream_windows([df[::-1]]))

def test_frames_of_training_are_predicted_with_their_ids_and_times(tmp_path):
    "As `predict_windows` takes them; other columns are still refused"
    learn = make(channels=NAMES, recording=RecordingSettings(id=['who'], time='time', window=W))
    p = Predictor(learn.save_bundle(tmp_path/'b'))
    frames = [frame(x.T, who=f's{i}', time=pd.date_range('2024', periods=W, freq='h')) for i, x in enumerate(X[:5])]
    assert np.array_equal(p.predict_proba(frames), p.predict_proba(X[:5]))
    assert torch.equal(learn.get_X_preds(frames)[0], learn.get_X_preds(X[:5])[0])
    with pytest.raises(ValueError, match="the columns \\['more'\\], which are no channels"): p.predict_proba([o.assign(more=1) for o in frames])
