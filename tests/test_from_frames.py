"Your own data frames: read_frame, read_arrays and TSDataLoaders.from_df against loops, in every form, and what they refuse"
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings, strategies as st

from tsfast.cli.files import as_options
from tsfast.data.core import TSDataLoaders
from tsfast.data.factories import split_series
from tsfast.data.pieces import Piece, check_times
from tsfast.data.preprocessing import TSNan2Value, TSStandardize
from tsfast.data.recordings import read_arrays, read_frame
from tsfast.data.series_data import SeriesData
from tsfast.data.prepared import prepared
from tsfast.data.steps import RecordingSettings, even_steps
from tsfast.data.targets import TSClassification, TSRegression
from tsfast.learner import ts_learner

rng = np.random.default_rng(0)

def make(sizes=(30, 44, 37, 52), numbers=False):
    "A long frame: some recordings, two channels, an activity that changes, one kind for each recording"
    def one(i, n):
        act = np.array(['rest', 'run', 'walk'])[(np.arange(n)//9 + i) % 3]
        return pd.DataFrame(dict(rec=f'r{i}', person=['ann', 'bob'][i % 2], t=np.arange(n)*.5, ax=rng.normal(size=n), ay=rng.normal(size=n),
                                 act=act, kind=['in', 'out'][i % 2], load=float(i), height=np.arange(n)*1.))
    return pd.concat([one(i, n) for i, n in enumerate(sizes)], ignore_index=True)

long = make()
channels = ['ax', 'ay']

def as_is(df): return df
def as_polars(df): return pytest.importorskip('polars').from_pandas(df)
def as_arrow(df): return pytest.importorskip('pyarrow').Table.from_pandas(df, preserve_index=False)
def as_narwhals(df): return pytest.importorskip('narwhals').from_native(df)
def as_dict(df): return {c: df[c].tolist() for c in df}
def as_batch(df): return as_arrow(df).combine_chunks().to_batches()[0]
kinds = [as_is, as_polars, as_arrow, as_narwhals, as_dict, as_batch]


# ---------------------------------------------------------------- windows and labels against a loop

rules = {None: lambda l: sorted(set(l), key=lambda o: (-list(l).count(o), o))[0], 'majority': lambda l: sorted(set(l), key=lambda o: (-list(l).count(o), o))[0],
         'last': lambda l: list(l)[-1], 'step': list, len: len, (lambda l: str(l[0])): lambda l: list(l)[0]}

def loop(df, id, time, y, rule, window, stride):
    "What a reader would write: recording by recording, window by window"
    out = []
    for i, g in df.groupby(id):
        g = g.sort_values(time)
        for a in range(0, len(g) - window + 1, stride):
            w = g.iloc[a:a + window]
            out.append((i, w[channels].to_numpy().T.astype(np.float32), rule(w[y].tolist()), w[time].iloc[0], w[time].iloc[-1]))
    return out

@pytest.mark.parametrize('kind', kinds)
@pytest.mark.parametrize('label', rules, ids=lambda o: getattr(o, '__name__', str(o)))
def test_windows_are_those_of_a_loop(kind, label):
    df = long.sample(frac=1, random_state=1)
    data = read_frame(kind(df), id='rec', time='t', channels=channels, y='act', group='person', window=12, stride=5, label=label)
    want = loop(df, 'rec', 't', 'act', rules[label], 12, 5)
    assert data.ids.tolist() == [o[0] for o in want] and np.array_equal(data.X, [o[1] for o in want]) and data.X.dtype == np.float32
    assert data.y.tolist() == [o[2] for o in want]
    assert data.starts.tolist() == [o[3] for o in want] and data.ends.tolist() == [o[4] for o in want]
    assert data.groups.tolist() == [dict(zip(df.rec, df.person))[i] for i in data.ids] and data.channels == channels
    assert data.recording == RecordingSettings(id=['rec'], time='t', window=12, stride=5)

@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(2, 25), min_size=1, max_size=5), st.integers(2, 9), st.integers(1, 9), st.sampled_from([None, 'majority', 'last', 'step']),
       st.integers(0, 99))
def test_windows_of_any_recordings(sizes, window, stride, label, seed):
    sizes = [max(sizes), *sizes] if max(sizes) >= window else [window, *sizes]
    r = np.random.default_rng(seed)
    df = pd.DataFrame(dict(id=np.repeat(np.arange(len(sizes)), sizes), t=np.concatenate([np.arange(n) for n in sizes])))
    df = df.assign(ax=r.normal(size=len(df)), ay=r.normal(size=len(df)), y=r.integers(0, 3, len(df))).sample(frac=1, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'The data frame: .*fewer steps than window')
        data = read_frame(df, id='id', time='t', y='y', window=window, stride=stride, label=label)
    want = loop(df, 'id', 't', 'y', rules[label], window, stride)
    assert np.array_equal(data.X, [o[1] for o in want]) and data.y.tolist() == [o[2] for o in want] and data.ids.tolist() == [o[0] for o in want]

@pytest.mark.parametrize('kind', kinds)
def test_whole_recordings(kind):
    data = read_frame(kind(long), id='rec', time='t', channels=channels, y='kind')
    assert data.X.shape == (4, 2, 52) and data.y.tolist() == ['in', 'out']*2 and data.groups.tolist() == ['r0', 'r1', 'r2', 'r3']
    for x, (_, g) in zip(data.X, long.groupby('rec')):
        assert np.array_equal(x[:, :len(g)], g[channels].to_numpy(np.float32).T) and np.isnan(x[:, len(g):]).all()
    assert data.ends.tolist() == [14.5, 21.5, 18, 25.5] and data.recording.window is None

def test_ways_to_say_the_target():
    kw = dict(id='rec', time='t', channels=channels)
    kind = {'r0': 'in', 'r1': 'out', 'r2': 'in', 'r3': 'out'}
    for y in ('kind', kind, pd.Series(kind), pd.Series(kind)[::-1]): assert read_frame(long, y=y, **kw).y.tolist() == list(kind.values())
    assert read_frame(long, y='load', **kw).y.tolist() == [0, 1, 2, 3]
    assert read_frame(long, y=['load', 'height'], label='last', **kw).y.tolist() == [[0, 29], [1, 43], [2, 36], [3, 51]]
    assert read_frame(long, y='height', label=np.mean, window=10, **kw).y[:2].tolist() == [4.5, 14.5]
    assert read_frame(long, y='height', label='step', window=10, **kw).y[1].tolist() == list(range(10, 20))
    padded = read_frame(long, y='height', label='step', **kw).y
    assert padded.shape == (4, 52) and np.isnan(padded[0, 30:]).all() and padded[3, 51] == 51
    fall = read_frame(long, y='act', label=lambda l: (l == 'run').any(), window=10, **kw).y
    assert fall.dtype == bool and fall.sum() not in (0, len(fall))

def test_a_target_for_each_row():
    "A Series with the index of the frame, a list or an array is one target for each row, also where ids look like numbers of rows"
    df = long.assign(rec=long.rec.str[1:].astype(int))
    kw = dict(id='rec', time='t', channels=channels, window=10)
    want = read_frame(df, y='act', **kw)
    for y in (df.act, df.act.rename(None), df.act.to_numpy(), df.act.tolist(), pd.Categorical(df.act)): assert read_frame(df, y=y, **kw).y.tolist() == want.y.tolist()
    for o in (df.sample(frac=1, random_state=0), df.set_index('t'), df.set_index(['rec', 't'])): assert read_frame(o, y=o.act, **({} if o.index.nlevels > 1 else kw) | dict(channels=channels, window=10)).y.tolist() == want.y.tolist()
    assert read_frame(df.drop(columns='act'), y=df.act, id='rec', time='t', channels=channels, window=10).y.tolist() == want.y.tolist()
    by_id = pd.Series(list('abab'))
    assert read_frame(df, y=by_id, **kw).y.tolist() == read_frame(df, y=by_id.to_dict(), **kw).y.tolist()
    with pytest.raises(ValueError, match="of which 3 is no recording of The data frame.*name of a column, or y.to_dict"): read_frame(df.iloc[:99], y=df.act, **kw)
    with pytest.raises(ValueError, match="y is a Series called 't0', and the column of that name"): read_frame(wide, y=wide.t0 + 1)

def test_targets_of_wide_rows():
    want, y = labelled.label.tolist(), labelled.label
    df = labelled.drop(columns=['label', 'person'])
    for o in (y, want, y.to_numpy()): assert read_frame(df, y=o).y.tolist() == want
    assert read_frame(df.set_axis(list('abcdefghijkl')), y=y.set_axis(list('abcdefghijkl'))).y.tolist() == want
    for o in (y[::-1], y[:6], y.to_dict(), dict(enumerate(y))):
        with pytest.raises(ValueError, match='without an id, and y gives targets by id.*Series with the index of the frame'): read_frame(df, y=o)
    other = df.assign(n=np.arange(12)[::-1])
    assert read_frame(other, id='n', y=y.to_dict()).y.tolist() == want[::-1]
    with pytest.raises(ValueError, match='are both the rows of the frame and the ids.*name of a column, or as a dict'): read_frame(other, id='n', y=y)

def test_several_columns_tell_recordings_apart():
    df = long.assign(day=long.rec.map(dict(r0=1, r1=1, r2=2, r3=2)), n=long.rec.map(dict(r0=1, r1=2, r2=1, r3=2)))
    data = read_frame(df, id=['day', 'n'], time='t', channels=channels, window=10)
    assert sorted(set(data.ids)) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    train, valid = split_series(data, .25)
    assert not set(data.groups[train]) & set(data.groups[valid])
    from sklearn.model_selection import GroupKFold
    for a, b in GroupKFold(2).split(data.X, groups=data.groups): assert not set(data.groups[a]) & set(data.groups[b])
    dls = TSDataLoaders.from_series(data, valid_groups=[(1, 2)])
    assert len(dls.valid.dataset) == list(data.groups).count((1, 2)) == 4

def test_the_index_has_a_role():
    by_columns = read_frame(long, id='rec', time='t', channels=channels, y='act', window=10)
    df = long[['rec', 't', *channels, 'act']]
    for o, kw in [(df.set_index(['rec', 't']), {}), (df.set_index('t'), dict(id='rec')), (df.set_index('rec'), dict(id='rec', time='t')),
                  (df.rename(columns=dict(rec='subject')).set_index('subject'), dict(time='t')), (df.set_axis(rng.permutation(len(df))), dict(id='rec', time='t')),
                  (df.set_index(['rec', 't']).rename_axis([None, None]), {}), (df.set_index(pd.Index(np.arange(len(df)), name='row')), dict(id='rec', time='t'))]:
        data = read_frame(o, y='act', window=10, **kw)
        assert np.array_equal(data.X, by_columns.X) and np.array_equal(data.y, by_columns.y) and data.channels == channels
    assert 'levels of the index' in str(read_frame(df.set_index(['rec', 't']), y='act', window=10))

def test_times_of_each_kind_sort_rows():
    want = read_frame(long, id='rec', time='t', channels=channels, window=10)
    date = pd.Timestamp('2024-01-31 10:00') + pd.to_timedelta(long.t, unit='s')
    for time in (date, date.dt.strftime('%Y-%m-%d %H:%M:%S.%f'), date.dt.tz_localize('Europe/Berlin'), date - date[0], date.dt.to_period('ms'),
                 date.astype(object), pd.Series(pd.Categorical(date)), pd.Series(pd.Categorical(date.astype(str))), pd.Series(pd.Categorical(long.t)), long.t.astype('Float64'), (long.t*2).astype(int), (long.t*2).astype('Int64')):
        data = read_frame(long.assign(t=time).sample(frac=1, random_state=3), id='rec', time='t', channels=channels, window=10)
        assert np.array_equal(data.X, want.X), time.dtype
    assert str(read_frame(long.assign(t=date), id='rec', time='t', channels=channels).starts.dtype).startswith('datetime64')

def test_channels_without_saying_so():
    "x, y and z are axes; numbers, booleans and integers are channels; missing values stay"
    df = long[['rec', 't']].assign(x=1, y=True, z=long.ax.where(long.t > 3))
    data = read_frame(df, id='rec', time='t')
    assert data.channels == ['x', 'y', 'z'] and np.isnan(data.X[0, 2, :7]).all() and '4 series' in str(data) or 'missing' in str(data)
    with pytest.warns(UserWarning, match="id='subject' and time='t' are taken by the names of columns"):
        assert read_frame(df.rename(columns=dict(rec='subject'))).channels == ['x', 'y', 'z']


# ---------------------------------------------------------------- wide frames, arrays

wide = pd.DataFrame(rng.normal(size=(12, 20))).rename(columns='t{}'.format)
labelled = wide.assign(label=list('aabb')*3, person=list('xxyyzz')*2)

@pytest.mark.parametrize('kind', kinds)
def test_wide_frames(kind):
    data = read_frame(kind(labelled), y='label', group='person')
    assert np.array_equal(data.X[:, 0], wide.to_numpy(np.float32)) and data.y.tolist() == list('aabb')*3 and data.groups.tolist() == list('xxyyzz')*2
    assert data.channels is None and data.recording is None and data.ids is None
    two = read_frame(kind(labelled), y='label', group='person', channels=dict(up=list(wide)[:10], down=list(wide)[10:]))
    assert np.array_equal(two.X, wide.to_numpy(np.float32).reshape(12, 2, 10)) and two.channels == ['up', 'down']
    ids = read_frame(kind(labelled.assign(id=range(12))), id='id', y='label', channels=list(wide)[:5])
    assert ids.ids.tolist() == list(range(12)) and ids.X.shape == (12, 1, 5)

def test_wide_frames_with_two_levels_of_columns_and_windows():
    two = pd.concat(dict(up=wide.iloc[:, :10].set_axis(range(10), axis=1), down=wide.iloc[:, 10:].set_axis(range(10), axis=1)), axis=1)
    two['label'] = list('aabb')*3
    data = read_frame(two, y='label')
    assert data.channels == ['up', 'down'] and np.array_equal(data.X, wide.to_numpy(np.float32).reshape(12, 2, 10))
    holed = wide.copy(); holed.iloc[0, 12:] = np.nan
    cut = read_frame(holed.assign(label=list('aabb')*3), y='label', wide=True, window=8, stride=4)
    assert cut.X.shape == (2 + 11*4, 1, 8) and cut.ids.tolist() == [0]*2 + sum(([i]*4 for i in range(1, 12)), []) and set(cut.y[:6]) == {'a'}
    assert read_frame(wide.rename_axis('day'), wide=True).ids.tolist() == list(range(12))

@pytest.mark.parametrize('sep', ['_', '.', ' ', '-'])
def test_names_of_wide_columns_tell_channels(sep):
    v = {c: rng.normal(size=(6, 12)) for c in ('vibration', 'motor_current')}
    frames = [pd.DataFrame({f'{c}{sep}{i}': v[c][:, i] for c, i in pairs}) for pairs in ([(c, i) for c in v for i in range(12)],
              [(c, i) for i in range(12) for c in v], [(c, i) for c in v for i in sorted(range(12), key=str)])]
    for df in frames:
        data = read_frame(df.assign(kind=list('aabbcc')), y='kind')
        assert data.channels == list(v) and np.array_equal(data.X, np.stack(list(v.values()), 1).astype(np.float32))
        assert 'names of columns tell channels: vibration, motor_current' in str(data)
    numbered = read_frame(frames[1].rename(columns=lambda c: c.replace('vibration', 'motor1').replace('motor_current', 'motor2')))
    assert numbered.channels == ['motor1', 'motor2'] and np.array_equal(numbered.X, read_frame(frames[0]).X)
    one = read_frame(frames[0], channels=list(frames[0]))
    assert one.X.shape == (6, 1, 24)
    with pytest.raises(ValueError, match="step 11 is there for 'vibration' and not for 'motor_current'"): read_frame(frames[0].iloc[:, :-1])
    with pytest.raises(ValueError, match="and 't7' is called otherwise"): read_frame(frames[0].assign(t7=1.))
    with pytest.raises(ValueError, match="each channel would have one step"): read_frame(frames[1].iloc[:, :2], wide=True)

@pytest.mark.parametrize('names', [[f't{i}' for i in range(20)], list(range(20)), [str(i) for i in range(20)], [f'step_{i}' for i in range(20)],
    [f'2024-{m:02d}' for m in range(1, 21)], [f'{m}_{y}' for y in (2023, 2024) for m in ('Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct')],
    [f'2024_{m}' for m in range(20)], [f'day{d}_{h}' for d in range(2) for h in range(10)], [f'v_0_{i}' for i in range(20)]])
def test_plain_wide_columns_are_one_channel(names):
    assert read_frame(wide.set_axis(names, axis=1)).X.shape == (12, 1, 20)

def test_arrays_and_lists():
    lists = [rng.normal(size=(2, n)) for n in (30, 42, 25)]
    data = read_arrays(lists, ['a', 'b', 'a'], channels=['u', 'v'])
    assert data.X.shape == (3, 2, 42) and np.isnan(data.X[2, :, 25:]).all() and data.channels == ['u', 'v']
    cut = read_arrays(lists, ['a', 'b', 'a'], window=10, stride=5)
    assert cut.ids.tolist() == [0]*5 + [1]*7 + [2]*4 and cut.y.tolist() == ['a']*5 + ['b']*7 + ['a']*4
    assert np.array_equal(cut.X[6], lists[1][:, 5:15].astype(np.float32))
    steps = read_arrays(lists, [np.arange(x.shape[1]) // 15 for x in lists], window=10, label='last')
    assert steps.y.tolist() == [0, 1, 1, 0, 1, 1, 2, 0, 1]
    frames = read_arrays([pd.DataFrame(x.T, columns=['u', 'v']) for x in lists], [1., 2., 3.])
    assert frames.channels == ['u', 'v'] and np.array_equal(frames.X, data.X, equal_nan=True)
    X = np.zeros((4, 2, 9), np.float32)
    assert read_arrays(X, np.arange(36).reshape(4, 9), window=3, label='last').y[:4].tolist() == [2, 5, 8, 11]
    assert read_arrays(X).X is X and read_arrays(X, np.zeros(4), groups=[1, 1, 2, 2]).groups.tolist() == [1, 1, 2, 2]

@pytest.mark.parametrize('sizes, i', [((30, 40, 25), 1), ((30, 45, 25), 1), ((30, 42, 42), 2), ((42, 42, 42), 0), ((50, 50, 50), 0)])
def test_labels_of_other_steps(sizes, i):
    lists = [rng.normal(size=(2, n)) for n in (30, 42, 25)]
    steps = [30, 42, 25][i]
    with pytest.raises(ValueError, match=f'y has {sizes[i]} labels for recording {i}, which has {steps} steps'):
        read_arrays(lists, [['a', 'b']*(n//2) + ['a']*(n % 2) for n in sizes], window=10, label='last')


# ---------------------------------------------------------------- even steps

def reference(v, t, step, fill):
    "Each step by itself"
    n, out = int(np.floor((t[-1] - t[0])/step + (0 if fill == 'mean' else .5) + 1e-6)) + 1, []
    for g in t[0] + step*np.arange(n):
        known = [(abs(a - g), -a, b) for a, b in zip(t, v) if not np.isnan(b)]      # of two equally near the later one
        near = min(known)[2] if known and min(known)[0] <= step/2 + 1e-9 else np.nan
        if fill == 'previous': out.append(next((b for _, a, b in reversed(known) if -a <= g + 1e-9), np.nan))
        elif fill == 'mean': out.append(np.mean([b for _, a, b in known if g - 1e-9 <= -a < g + step - 1e-9] or [np.nan]))
        else: out.append(0. if fill == 'zero' and np.isnan(near) else near)
    return out

@settings(max_examples=80, deadline=None)
@example([1, 1, 7, 2], 'none', 0, False)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.sampled_from(['none', 'previous', 'zero', 'mean']), st.integers(0, 99), st.booleans())
def test_even_steps_are_those_of_a_loop(gaps, fill, seed, dates):
    t = np.r_[0, np.cumsum(gaps)].astype(float)
    v = np.random.default_rng(seed).normal(size=(len(t), 2))
    v[1::3, 1] = np.nan
    times = pd.Timestamp('2024-03-31') + pd.to_timedelta(t, unit='s') if dates else t
    got, grid = even_steps(v, times, '10s' if dates else 10, fill)
    for c in range(2): np.testing.assert_allclose(got[:, c], reference(v[:, c], t, 10, fill))
    assert len(grid) == len(got) and grid[0] == times[0]

def test_a_rate_for_each_channel():
    t = pd.date_range('2024', periods=9, freq='1s')
    df = pd.DataFrame(dict(fast=np.arange(9.), slow=[0, None, None, None, 4, None, None, None, 8], state=[1] + [None]*3 + [2] + [None]*4), index=t)
    values, _ = even_steps(df, t, '1s', dict(slow='linear', state='previous'))
    assert values.T.tolist() == [list(range(9)), list(range(9)), [1]*4 + [2]*5]

def test_prepared_does_what_training_did():
    df = long.drop(index=[3, 4, 40]).sample(frac=1, random_state=0)
    data = read_frame(df, id='rec', time='t', channels=channels, window=10, freq=.5, fill=dict(ax='linear', ay='previous'))
    for i, g in df.groupby('rec'):
        values, times = prepared(g, data.recording, channels)
        assert values.dtype == np.float32 and np.array_equal(values[:10].T, data.X[data.ids == i][0]) and times[9] == data.ends[data.ids == i][0]
    values, times = prepared(np.ones((5, 2)), data.recording)
    assert values.shape == (5, 2) and times is None
    with pytest.raises(ValueError, match="'ay', which training had"): prepared(df[['t', 'ax']], data.recording, channels)
    assert prepared(long[:5].set_index('t'), data.recording, channels)[1].tolist() == [0, .5, 1, 1.5, 2]

def test_labels_in_even_steps():
    df = long[long.t % 1.5 != 1]
    data = read_frame(df, id='rec', time='t', channels=channels, y='act', window=8, freq=.5, fill='nearest', label='step')
    assert data.y.shape == data.X[:, 0].shape and set(data.y.ravel()) == {'rest', 'run', 'walk'} and not np.isnan(data.X).any()
    assert 'freq=0.5 added' in str(data) and data.recording.freq == .5
    at = dict(zip(zip(df.rec, df.t), df.act))
    assert all(data.y[k, j] == at[(i, s + .5*j)] for k, (i, s) in enumerate(zip(data.ids, data.starts)) for j in range(8) if (i, s + .5*j) in at)

@pytest.mark.parametrize('fill', ['none', 'previous', 'linear', 'nearest', 'zero', 'mean', dict(ax='mean', ay='linear')])
def test_labels_change_no_step(fill):
    "With and without labels, and in prediction, a recording has the same even steps"
    df = long.assign(t=long.t + long.groupby('rec').cumcount() % 3*.1)
    if fill == 'mean': df = pd.concat([df, df[::5]], ignore_index=True)
    kw = dict(id='rec', time='t', channels=channels, freq=.8, fill=fill)
    data, plain = read_frame(df, y='kind', **kw), read_frame(df, **kw)
    assert np.array_equal(data.X, plain.X, equal_nan=True) and data.ends.tolist() == plain.ends.tolist() and data.y.tolist() == ['in', 'out']*2
    for x, (_, g) in zip(data.X, df.groupby('rec')):
        v, t = prepared(g, data.recording, channels)
        assert np.array_equal(x[:, :len(v)].T, v, equal_nan=True) and np.isnan(x[:, len(v):]).all()


# ---------------------------------------------------------------- splits and loaders

@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), min_size=8, max_size=60), st.floats(.1, .5), st.integers(0, 99), st.booleans())
def test_groups_are_never_divided(pairs, share, seed, grouped):
    groups, y = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    data = SeriesData(np.zeros((len(y), 1, 2), np.float32), y, groups=groups if grouped else None)
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Class .* is in one')
        try: train, valid = split_series(data, share, seed=seed)
        except ValueError as e: assert 'alone' in str(e) or 'No split' in str(e) or 'one group' in str(e); return
    assert sorted([*train, *valid]) == list(range(len(y))) and len(valid) and len(train)
    assert set(y[train]) == set(y)
    if grouped: assert not set(groups[train]) & set(groups[valid])

def test_splits_as_asked():
    data = read_frame(long, id='rec', time='t', channels=channels, y='act', window=10)
    train, valid = split_series(data, valid_groups=['r1', 'r3'])
    assert set(data.groups[valid]) == {'r1', 'r3'} and set(data.groups[train]) == {'r0', 'r2'}
    for idx in (valid, np.isin(data.groups, ['r1', 'r3']), valid.tolist()): assert np.array_equal(split_series(data, valid_idx=idx)[1], valid)
    parts = split_series(data, .25, test_pct=.25)
    assert [len(set(data.groups[o])) for o in parts] == [2, 1, 1] and not set(data.groups[parts[1]]) & set(data.groups[parts[2]])
    assert any(not np.array_equal(split_series(data, seed=i)[1], split_series(data, seed=0)[1]) for i in range(5))
    late = np.flatnonzero(data.starts >= 10)
    assert np.array_equal(split_series(data, valid_idx=late)[1], late)        # windows that do not overlap may be divided in time
    overlapping = read_frame(long, id='rec', time='t', channels=channels, y='act', window=10, stride=5)
    with pytest.raises(ValueError, match="divides 4 groups: 'r0' has 4 series in training and 1 in validation"): split_series(overlapping, valid_idx=overlapping.starts >= 10)

def test_from_df_trains():
    df = make([60]*10).assign(person=lambda d: d.rec)
    dls = TSDataLoaders.from_df(df, id='rec', time='t', channels=channels, y='act', group='person', window=20, stride=10, batch_tfms=TSStandardize(), bs=8)
    assert dls.channels == channels and list(dls.vocab) == ['rest', 'run', 'walk'] and dls.len == 20
    for dl in dls.loaders: assert dl.dataset.recording == RecordingSettings(id=['rec'], time='t', window=20, stride=10)
    assert dls.new_dl(np.zeros((3, 2, 20))).dataset.recording == dls.train.dataset.recording
    learn = ts_learner(dls, 'FCN')
    with learn.no_bar(): learn.fit(1)
    assert np.isfinite(learn.recorder.values[-1]).all()

@pytest.mark.parametrize('y,label,target,shape', [
    ('kind', None, TSClassification, 'cls'), ('load', None, TSRegression, ()), (['load', 'height'], 'last', TSRegression, (2,)),
    ('act', 'step', TSClassification, (10,)), ('height', 'step', TSRegression, (10,)), ('height', np.mean, TSRegression, ()),
    ('act', lambda l: (l == 'run').any(), TSClassification, 'cls'), (None, None, type(None), None)])
def test_the_target_follows_from_what_y_is(y, label, target, shape):
    df = make([40]*8).assign(load=lambda d: d.load + .25)
    dls = TSDataLoaders.from_df(df, id='rec', time='t', channels=channels, y=y, label=label, window=10)
    t = dls.train.dataset.target
    assert type(t) is target
    if target is TSRegression: assert t.shape == shape
    elif shape is not None: assert (t.d or 'cls') == shape

@pytest.mark.parametrize('kind', [as_is, as_polars, as_arrow])
def test_loaders_of_each_form(kind):
    dls = TSDataLoaders.from_df(kind(labelled), y='label', group='person', seed=1)
    assert len(dls.train.dataset) + len(dls.valid.dataset) == 12 and dls.channels is None
    lists, y = [rng.normal(size=(2, n)) for n in (20, 30, 25, 22)*3], list('abab')*3
    dls = TSDataLoaders.from_arrays(lists, y, groups=list('uvwxyz')*2, batch_tfms=[TSStandardize(), TSNan2Value()], bs=4)
    assert dls.len == 30 and dls.vars == 2
    with pytest.raises(ValueError, match=r'missing values \(NaN\), and no batch transform.*TSNan2Value'): TSDataLoaders.from_arrays(lists, y)

def test_a_class_in_one_group():
    df = make([30]*6).assign(kind=lambda d: np.where(d.rec == 'r4', 'rare', d.kind))
    kw = dict(id='rec', time='t', channels=channels, y='kind', window=10)
    for seed in range(6):
        with pytest.warns(UserWarning, match="Class 'rare' is in one group alone, 'r4'. It is in the training split"): dls = TSDataLoaders.from_df(df, seed=seed, **kw)
        assert 'rare' in dls.vocab
    with pytest.raises(ValueError, match="Class 'rare' is in the groups of validation alone, such as 'r4'"): TSDataLoaders.from_df(df, valid_groups=['r4'], **kw)
    two = df[df.rec.isin(['r0', 'r1'])]
    with pytest.raises(ValueError, match="2 of 2 classes are in one group alone, such as 'in' in 'r0', and no split of the 2 groups"): TSDataLoaders.from_df(two, **kw)


# ---------------------------------------------------------------- bad input

kw = dict(id='rec', time='t', channels=channels)
plain = long[['rec', 't', *channels]]
bad = {
    'an unknown column': (lambda: read_frame(long, id='recc'), ["id names a column that is not there: 'recc'", "Did you mean 'rec'", "'person'"]),
    'a column in two roles': (lambda: read_frame(long, id='rec', y='act', channels=['ax', 'act']), ["column 'act' is named in channels= and in y="]),
    'a text column among the channels': (lambda: read_frame(plain.assign(note=['x', 'y']*81 + ['z']), id='rec', time='t'), ["column 'note' holds text in 163 of 163 rows, such as 'x' in row 0", "pass y='note'"]),
    'a text among numbers': (lambda: read_frame(plain.assign(ay=['oops', *plain.ay[1:].astype(str)]), id='rec', time='t'), ["column 'ay' holds text in 1 of 163 rows, such as 'oops' in row 0", "errors='coerce'"]),
    'numbers as text': (lambda: read_frame(plain.assign(ay=plain.ay.astype(str)), id='rec', time='t'), ["column 'ay' holds numbers as text", "pd.to_numeric"]),
    'a label that would be a channel': (lambda: read_frame(plain.assign(label=1), id='rec', time='t'), ["column 'label' is the target by its name", "Pass y='label'", "channels=['ax', 'ay', 'label']"]),
    'an id that would be a channel': (lambda: read_frame(plain.assign(trial=1), id='rec', time='t'), ["column 'trial' tells recordings apart by its name", "id='trial'"]),
    'a stored index': (lambda: read_frame(plain.assign(**{'Unnamed: 0': 1}), id='rec', time='t'), ["'Unnamed: 0' is a stored index", "df.drop(columns='Unnamed: 0')"]),
    'two columns of dates': (lambda: read_frame(plain.assign(t=pd.Timestamp('2024'), u=pd.Timestamp('2024')), id='rec'), ["the columns ['t', 'u'] could all be the times of rows", "time='t'"]),
    'several ids': (lambda: read_frame(plain.assign(trial=plain.rec, subject=plain.rec)), ["the columns ['trial', 'subject'] could all be recordings", "id=['trial', 'subject']"]),
    'rows of what': (lambda: read_frame(plain[channels]), ["163 rows with the values ['ax', 'ay']", 'not clear whether a row is a time step or a series', 'wide=True']),
    'windows of a wide frame': (lambda: read_frame(wide, window=5), ['12 rows with the values', 'not clear', 'wide=False', 'wide=True']),
    'an id in each row': (lambda: read_frame(plain.assign(rec=range(163)), id='rec', time='t'), ["163 of 163 recordings have one step alone, such as 0, as told apart by 'rec'"]),
    'an id in each row, without a time': (lambda: read_frame(long[channels].assign(row=range(163)), id='row'), ["163 rows, and 'row' is different in each", 'wide=True']),
    'a missing id': (lambda: read_frame(plain.assign(rec=plain.rec.where(plain.index != 7)), id='rec', time='t'), ["column 'rec' is missing in 1 of 163 rows; the first is row 7"]),
    'a missing time': (lambda: read_frame(plain.assign(t=plain.t.where(plain.index != 7)), id='rec', time='t'), ["Recording 'r0' has no time in row 7, column 't', and 1 such row", "dropna(subset=['t'])"]),
    'a doubled time': (lambda: read_frame(pd.concat([plain, plain[35:40]]), id='rec', time='t'), ["Recording 'r1' has the time 2.5 more than once in column 't', and 5 rows", "df.drop_duplicates(['rec', 't'])", "fill='mean'"]),
    'times that are text': (lambda: read_frame(plain.assign(t='03/04/2024'), id='rec', time='t'), ["The data frame: column 't' has '03/04/2024' for a time", 'pd.to_datetime']),
    'times with and without an offset': (lambda: read_frame(plain.assign(t=['2024-01-31 10:00:00', *(f'2024-01-31T10:{i//60:02d}:{i%60:02d}+01:00' for i in range(162))]), id='rec', time='t'), ["column 't' has '2024-01-31T10:00:00+01:00', with an offset from UTC, and '2024-01-31 10:00:00', without one", 'Give all times an offset, or none']),
    'a missing categorical time': (lambda: read_frame(plain.assign(t=pd.Categorical(plain.t.where(plain.index != 7))), id='rec', time='t'), ["Recording 'r0' has no time in row 7"]),
    'a missing categorical time, as text': (lambda: read_frame(plain.assign(t=pd.Categorical((pd.Timestamp('2024') + pd.to_timedelta(plain.t, unit='s')).astype(str).where(plain.index != 7))), id='rec', time='t'), ["Recording 'r0' has no time in row 7"]),
    'two groups in a recording': (lambda: read_frame(long, group='act', window=5, **kw), ["recording 'r0' belongs to two groups, 'rest' and 'walk', by 'act'"]),
    'a label that varies': (lambda: read_frame(long, y='act', **kw), ["The target of recording 'r0' is not the same in all steps: column 'act' holds", "Pass window=", "'step' for one target"]),
    'a number that varies': (lambda: read_frame(long, y='height', window=5, **kw), ["The target of recording 'r0'", 'holds 0.0, 4.0', 'np.mean']),
    'a majority of numbers': (lambda: read_frame(long, y='load', label='majority', window=5, **kw), ["label='majority', and column 'load' holds numbers", 'astype(int)']),
    'an unknown rule': (lambda: read_frame(long, y='act', label='mode', window=5, **kw), ["label='mode'. Expected 'majority'"]),
    'text among several targets': (lambda: read_frame(long, y=['load', 'kind'], **kw), ["y names several columns, and 'kind' is"]),
    'targets that are dates': (lambda: read_frame(long.assign(when=pd.Timestamp('2024')), y='when', **kw), ["column 'when' holds datetime64", 'is no target']),
    'targets of other ids': (lambda: read_frame(long, y={0: 'a', 1: 'b'}, **kw), ['y has the ids [0, 1], and none of them is a recording', "'r0'"]),
    'no target': (lambda: read_frame(long.assign(kind=None), y='kind', **kw), ["column 'kind' holds no target in any row"]),
    'labels that are almost unique': (lambda: read_frame(labelled.assign(name=[f'p{i}' for i in range(12)]).drop(columns='label'), y='name', group='person'), ["column 'name' has 12 different labels for 12 series, such as 'p0' and 'p1'", 'They look like names']),
    'classes for each step of unequal recordings': (lambda: read_frame(long, y='act', label='step', **kw), ['takes series of one length, and recordings have 30 to 52 steps', 'window=']),
    'a step without a label': (lambda: read_frame(long.assign(act=long.act.where(long.index != 3)), y='act', label='step', window=5, **kw), ['lacks the label of a step, in series 0']),
    'windows longer than all': (lambda: read_frame(long, window=99, **kw), ['window=99 is longer than all 4 recordings, which have up to 52 steps']),
    'a window of no steps': (lambda: read_frame(long, window=0, **kw), ['window=0. Expected a number of steps']),
    'a stride alone': (lambda: read_frame(long, stride=3, **kw), ['stride=3 without windows']),
    'a freq without a time': (lambda: read_frame(long.rename(columns=dict(t='s')), id='rec', channels=channels, freq=1), ['freq=1.0 needs the times of rows', 'time=']),
    'a freq of dates for numbers': (lambda: read_frame(long, freq='1s', **kw), ["Recording 'r0' has times that are numbers, and freq='1s'"]),
    'a freq of numbers for dates': (lambda: read_frame(long.assign(t=pd.Timestamp('2024') + pd.to_timedelta(long.t, unit='s')), freq=1, **kw), ["Recording 'r0' has times that are dates or durations, and freq=1.0", "'15min'"]),
    'a freq that is too fine': (lambda: read_frame(long, freq=1e-9, **kw), ["Recording 'r0' has 30 rows, and freq=1e-09 makes 14,500,000,001 steps of them"]),
    'an unknown fill': (lambda: read_frame(long, freq=1, fill='spline', **kw), ["fill is 'spline'. Expected one of 'none'"]),
    'a fill for no channel': (lambda: read_frame(long, freq=1, fill=dict(az='zero'), **kw), ["fill names channels that are not there: ['az']"]),
    'a column twice': (lambda: read_frame(pd.concat([plain, plain.ax], axis=1), id='rec'), ["more than one column 'ax'"]),
    'an array': (lambda: read_frame(np.zeros((3, 4))), ['is a ndarray', 'read_arrays']),
    'a frame without rows': (lambda: read_frame(long[:0], **kw), ['has no rows']),
    'a dict of unequal columns': (lambda: read_frame(dict(a=[1], b=[1, 2])), ["is a dict of columns with the shapes 'a' (1,), 'b' (2,)"]),
    'a column beside the steps': (lambda: read_frame(labelled.drop(columns='person')), ["column 'label' is no time step by its name, where 20 others", "y='label'"]),
    'a freq of a wide frame': (lambda: read_frame(labelled, y='label', group='person', wide=True, freq=1), ['has a row for each series, and freq=1.0']),
    'channels of unequal steps': (lambda: read_frame(wide, channels=dict(a=['t0'], b=['t1', 't2'])), ["channels have different numbers of steps, {'a': 1, 'b': 2}"]),
    'groups of arrays': (lambda: read_arrays(np.zeros((3, 2, 9)), groups=[1, 2]), ['groups has shape (2,). Expected (3,)']),
    'names of channels': (lambda: read_arrays(np.zeros((3, 2, 9)), channels=['a']), ['channels names 1 channels', 'has 2']),
    'a label of whole arrays': (lambda: read_arrays(np.zeros((3, 2, 9)), label='last'), ["label='last' is for windows"]),
    'one group': (lambda: TSDataLoaders.from_df(long[long.rec == 'r0'], y='act', window=5, **kw), ["All 6 series are of one group or recording, 'r0'", 'valid_idx=range(4, 6)']),
    'an unknown group': (lambda: TSDataLoaders.from_df(long, y='act', window=5, valid_groups=['r9'], **kw), ["valid_groups has 'r9', which is no group", "'r0'"]),
    'all groups': (lambda: TSDataLoaders.from_df(long, y='act', window=5, valid_groups=['r0', 'r1', 'r2', 'r3'], **kw), ['valid_groups names', 'Expected some on both sides']),
    'groups where there are none': (lambda: TSDataLoaders.from_arrays(np.zeros((8, 1, 4)), list('ab')*4, valid_groups=['a']), ['the series have no groups']),
    'an index that is too large': (lambda: TSDataLoaders.from_df(long, y='act', window=5, valid_idx=[999], **kw), ['valid_idx holds [999]', 'from 0 to']),
    'two ways to split': (lambda: TSDataLoaders.from_df(long, y='act', window=5, valid_idx=[0], valid_groups=['r0'], **kw), ['Both valid_idx and valid_groups']),
    'a misspelt argument': (lambda: TSDataLoaders.from_df(long, y='act', windw=5, **kw), ["no argument 'windw'", "Did you mean 'window'"]),
    'the batch size': (lambda: TSDataLoaders.from_df(long, y='act', window=5, batch_size=3, **kw), ["no argument 'batch_size'", "Did you mean 'bs'"]),
    'no id': (lambda: read_frame(plain[['t', *channels]], time='t', window=5), ['The recording has the time 0.0 more than once', 'another column tells recordings apart, name it in id=.']),
    'times that fall': (lambda: even_steps(np.zeros((2, 1)), [1, 0], 1), ['The recording has times that do not rise']),
    'times that repeat': (lambda: even_steps(np.zeros((2, 1)), [1, 1], 1), ['The recording has the time 1 more than once', "fill='mean'"]),
    'several recordings for prediction': (lambda: prepared(long, RecordingSettings(id=['rec'], time='t'), channels), ["holds 4 recordings by its column 'rec', such as 'r0'", 'groupby']),
    'numbers as classes': (lambda: TSDataLoaders.from_arrays(np.zeros((30, 1, 4)), np.arange(30)), ['y has 30 different whole numbers for 30 series', 'TSRegression()']),
}

@pytest.mark.parametrize('name', bad)
def test_message(name):
    call, parts = bad[name]
    with pytest.raises(ValueError) as e: call()
    for o in parts: assert o in str(e.value), str(e.value)

warned = {
    'a hole': (plain.drop(index=[10, 11, 12]), dict(window=5), r"Recording 'r0' has a hole: between 4.5 and 6.5 in column 't' lie 4 usual steps of 0.5. 1 of 4 recordings.*freq=.*fill="),
    'dates with holes': (plain.assign(t=pd.Timestamp('2024') + pd.to_timedelta(plain.t, unit='s')).drop(index=[10, 80]), {}, r"between 2024-01-01 00:00:04.500000 and 2024-01-01 00:00:05.500000.*2 of 4 recordings have holes, 2 in all"),
    'mixed frequencies': (plain.assign(t=plain.t*np.where(plain.rec == 'r2', 4, 1)), {}, r"Recordings have different steps in column 't': 0.5 in 'r0' and 2 in 'r2'.*Pass freq="),
    'short recordings': (plain, dict(window=40), r"2 of 4 recordings have fewer steps than window=40, and are left out; 'r0' has 30"),
    'one step': (plain[29:], {}, r"1 of 4 recordings have one step alone, such as 'r0'"),
    'series without a target': (plain.assign(y=[None]*30 + ['a']*60 + ['b']*73), dict(y='y', window=10), r"3 of 15 series have no target in column 'y', and are left out"),
    'digits': (plain.assign(ax=plain.ax + 1e9), {}, r"Column 'ax' has values near 1e\+09"),
}

@pytest.mark.parametrize('name', warned)
def test_warning(name):
    df, args, match = warned[name]
    with pytest.warns(UserWarning, match=match): data = read_frame(df, id='rec', time='t', **args)
    assert len(data) and not np.isnan(data.X).all()

def test_even_times_are_not_warned_of():
    "Months, working days and a little jitter"
    t = pd.date_range('2024', periods=30, freq='MS'), pd.bdate_range('2024', periods=30), np.arange(30) + rng.uniform(-.2, .2, 30)
    for o in t: read_frame(dict(a=np.arange(30.), t=o), time='t', window=5)
    mixed = plain.assign(t=plain.t*np.where(plain.rec == 'r2', 4, 1)).drop(index=[10, 11])
    data = read_frame(mixed, id='rec', time='t', freq=.5, fill='linear')
    assert data.X.shape == (4, 2, 145) and '3 recordings' not in str(data) and not np.isnan(data.X[2]).any()
    twice = pd.concat([plain, plain])
    assert np.allclose(read_frame(twice, id='rec', time='t', freq=.5, fill='mean').X, read_frame(plain, id='rec', time='t').X, equal_nan=True)

def test_a_lazy_frame_is_named():
    pl = pytest.importorskip('polars')
    with pytest.raises(ValueError, match=r'polars LazyFrame.*df.collect\(\)'): read_frame(pl.from_pandas(long).lazy(), **kw)

def test_functions_of_labels_see_what_is_missing():
    df = pd.DataFrame(dict(rec=np.repeat([0, 1], 8), a=np.arange(16.), act=['in', None, 'in', 'in', 'out', 'out', 'out', None]*2))
    seen = []
    read_frame(df, id='rec', y='act', window=4, label=lambda v: seen.append([None if pd.isna(o) else o for o in v]) or 'x')
    assert seen == [['in', None, 'in', 'in'], ['out', 'out', 'out', None]]*2

def test_whole_numbers_with_a_gap():
    df = pd.DataFrame(dict(rec=np.repeat([0, 1, 2], 4), a=np.arange(12.), act=[1, 1, 1, None, 2, 2, 2, 2, 1, 1, 1, 1]))
    with pytest.warns(UserWarning, match="'act' holds whole numbers and is missing in 1 row, the first of which is 3. They are taken for classes.*'Int64'"): data = read_frame(df, id='rec', y='act')
    assert data.y.dtype.kind == 'i' and data.y.tolist() == [1, 2, 1]
    assert read_frame(df.astype({'act': 'Int64'}), id='rec', y='act').y.tolist() == [1, 2, 1]
    with pytest.warns(UserWarning, match='left out'): assert read_frame(df.drop(columns='act'), id='rec', y={0: 1.5, 1: None, 2: 1}).y.tolist() == [1.5, 1]

def test_windows_of_rows_that_are_series():
    "A row whose id comes once, with numbered columns, is a series also where windows are asked for"
    ids = wide.assign(who=range(len(wide)), lab=np.arange(len(wide)) % 2)
    asked = dict(y='lab', channels=list(wide), window=10)
    assert np.array_equal(read_frame(ids, id='who', **asked).X, read_frame(ids, id='who', wide=True, **asked).X)
    with pytest.raises(ValueError, match='if a row is a series, pass wide=True, and windows are cut from each row; if rows are steps') as e: read_frame(ids, **asked)
    assert 'pass --wide, and windows are cut from each row' in as_options(str(e.value))

def test_validation_by_whole_numbers_and_none_at_all():
    data = read_arrays(np.zeros((12, 1, 5), np.float32), np.array([0, 1]*6), groups=np.arange(12)//3)
    for asked, said in ((['3'], r"has '3', which is no group. Did you mean 3, as int\? There are 4, such as \[0, 1, 2, 3\]"), (np.array([3, 7]), 'has 7, which is no group')):
        with pytest.raises(ValueError, match=said): split_series(data, valid_groups=asked)
    for pct in (0, 0.):
        train, = split_series(data, pct)
        assert train.tolist() == list(range(12))
        with pytest.raises(ValueError, match='valid_pct=0 and test_pct=0.2. Expected more than 0 for both'): split_series(data, pct, test_pct=.2)
    dls = TSDataLoaders.from_series(data, valid_pct=0, bs=4)
    assert len(dls.loaders) == 1 and len(dls.train.dataset) == 12

def test_messages_show_values_without_numpy():
    df = pd.DataFrame(dict(rec=np.repeat([0, 1], 4), t=[0, 1, 2, 3, 0, 1, 1, 2], a=np.arange(8.)))
    piece = Piece((('rec', np.int64(1)), ('kind', 'x')), np.zeros((1, 2), np.float32), pd.Index([1, 1]))
    calls = (lambda: check_times(piece), lambda: read_frame(df, id='rec', time='t'), lambda: prepared(df, RecordingSettings(id=['rec'], time='t'), ['a']),
             lambda: read_frame(df[:4], id='rec', time='t', y=pd.Series([1, 2], [np.int64(0), np.int64(0)])), lambda: read_frame(df.drop(columns='t'), id='rec', window=np.float64(2.5)),
             lambda: split_series(SeriesData(np.zeros((4, 1, 2)), groups=np.arange(4)), valid_groups=np.array([9])))
    for call in calls:
        with pytest.raises(ValueError) as e: call()
        assert 'np.' not in str(e.value)

# ---------------------------------------------------------------- numbers to predict have units of their own

@pytest.mark.parametrize('y', [['load'], ['load', 'height']])
def test_numbers_are_standardized_by_the_training_split(y):
    "Every way in does so, and gives predictions back in the user's units; transforms that are given are taken as they are"
    df = make((30,)*12).assign(load=lambda o: 500 + 40*o.load, height=lambda o: o.load*2)
    dls = TSDataLoaders.from_df(df, id='rec', time='t', channels=channels, y=y, window=10, bs=8)
    target, data = dls.train_ds.target, read_frame(df, id='rec', time='t', channels=channels, y=y, window=10)
    trained = data.y[dls.train_ds.idxs.numpy()]
    assert np.allclose(target.statistics[0], trained.mean(0)) and np.allclose(target.statistics[1], trained.std(0))
    assert np.allclose(target.decode(target.inverse(target.encode(trained))), trained, rtol=1e-4)
    plain = TSDataLoaders.from_series(data, tfms=[None, TSRegression()]).train_ds.target
    assert not plain.scaled and TSDataLoaders.from_arrays(data.X, data.y, data.groups).train_ds.target.scaled

def test_seeds_have_draws_of_their_own():
    "Where groups are balanced by trying, neighbouring seeds do not try the same splits; one seed gives one split"
    df = make((40,)*20).assign(load=0.)
    data = read_frame(df, id='rec', time='t', channels=channels, y='act', window=5)
    split = lambda seed: tuple(sorted(set(data.groups[split_series(data, .3, seed=seed)[1]])))
    found = [split(seed) for seed in range(30)]
    assert len(set(found)) >= 28 and found[:3] == [split(seed) for seed in range(3)]

def test_fill_needs_freq():
    "Otherwise nothing would be filled, and a bundle would hold it without effect"
    for y in (long, pd.DataFrame(np.zeros((20, 5))).add_prefix('t')):
        with pytest.raises(ValueError, match="fill='linear' without freq="): read_frame(y, fill='linear')
    with pytest.raises(ValueError, match="fill=.*without freq="): TSDataLoaders.from_df(long, id='rec', time='t', channels=channels, fill=dict(ax='linear'))

@pytest.mark.parametrize('fill, steps, words', [('none', 42, "rows between the steps are left out; fill='mean' takes the mean"), ('mean', 40, 'a step has the mean of its rows'),
                                         (dict(ax='mean'), 42, "left out for channels without fill='mean'")])
def test_rows_that_a_longer_step_leaves_out_are_noted(fill, steps, words):
    fast = make((200, 200))
    data = read_frame(fast, id='rec', time='t', channels=channels, y='kind', window=5, freq=5., fill=fill)
    assert any(o.startswith(f'freq=5.0 made {steps} steps of 400 rows in 2 of 2 recordings: ') and words in o for o in data.notes)
    assert not any('made' in o for o in read_frame(fast, id='rec', time='t', channels=channels, y='kind', window=5, freq=.5, fill=fill).notes)

def test_a_stated_target_leaves_y_a_channel(tmp_path):
    "x and y are axes where the target is named otherwise; without a target y is asked about, and other names of targets in any case"
    df = long[['rec', 't', 'ax', 'ay', 'kind']].rename(columns=dict(ax='x', ay='y'))
    kinds = df.groupby('rec').kind.first()
    for y in ('kind', kinds.to_dict()): assert read_frame(df.drop(columns=[] if y == 'kind' else 'kind'), id='rec', time='t', y=y).channels == ['x', 'y']
    for i, g in df.groupby('rec'): g[['t', 'x', 'y']].to_csv(tmp_path/f'{i}.csv', index=False)
    kinds.rename_axis('file').rename('label').to_csv(tmp_path/'labels.csv')
    assert TSDataLoaders.from_folder(tmp_path, time='t', bs=2, valid_pct=2, batch_tfms=TSNan2Value()).channels == ['x', 'y']
    with pytest.raises(ValueError, match="'y' is the target by its name"): read_frame(df.drop(columns='kind'), id='rec', time='t')
    with pytest.raises(ValueError, match="'label' is the target by its name"): read_frame(df.rename(columns=dict(y='label')), id='rec', time='t', y='kind')

def test_messages_name_the_target_that_was_named():
    "A channel or an id that was taken for the target leaves the true one over, and what was named is likely the mistake"
    df = long[['rec', 't', 'ax', 'ay', 'kind']]
    with pytest.raises(ValueError, match="column 'kind' holds text.* The target was named as y='ax', which holds numbers, 163 different ones in 163 rows"): read_frame(df, id='rec', time='t', y='ax', label='last')
    wide = pd.DataFrame(np.zeros((8, 6))).add_prefix('t').assign(id=list('abcdefgh'), label=list('uv')*4)
    with pytest.raises(ValueError, match="'label' is no time step.*named as y='id', which holds text, 8 different ones in 8 rows") as e: read_frame(wide, y='id')
    assert "named as --label id, which holds text" in as_options(str(e.value))
