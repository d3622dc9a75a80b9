"Streams: the rows of the whole recording, whatever the parts, as soon as they are complete, and with one window of the past"
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings, strategies as st

from tsfast.data.even_stream import EvenStream
from tsfast.data.pieces import Piece
from tsfast.data.steps import RecordingSettings, even_steps
from tsfast.data.targets import TSClassification
from tsfast.streams import WindowPredictions

rng = np.random.default_rng(0)
steps = rng.normal(size=(60, 2)).astype(np.float32)


class Mean(WindowPredictions):
    "Probabilities from the mean of a window: a model of which each window is computed by itself, to the bit"
    input_shape, channels, target = (2, 8), ['a', 'b'], TSClassification().setup(np.array(['high', 'low']))
    def __init__(self, fills=False): self.fills_missing, self.seen = fills, []
    def window_outputs(self, X, bs, inputs):
        assert X.dtype == np.float32 and X.flags.c_contiguous and X.shape[1:] == (2, 8)
        if not self.fills_missing and np.isnan(X).any(): raise ValueError('NaN')
        self.seen.append(len(X))
        p = torch.tensor([float(1/(1 + np.exp(-np.nanmean(o.astype(float))))) for o in X])
        return torch.stack([p, 1 - p], 1)

def joined(tables): return pd.concat(list(tables), ignore_index=True)

def frame(a, **columns): return pd.DataFrame({**columns, 'a': a[:, 0], 'b': a[:, 1]})

cuts = st.lists(st.integers(0, 60), max_size=12).map(sorted)
plans = st.fixed_dictionaries(dict(stride=st.integers(1, 13), average=st.booleans(), last=st.sampled_from(['shift', 'drop', 'pad']), bs=st.integers(1, 5)))


@settings(max_examples=150, deadline=None)
@given(n=st.integers(1, 60), cuts=cuts, plan=plans)
def test_same_as_the_whole(n, cuts, plan):
    "For chunks of any sizes, empty ones among them"
    a, model = steps[:n], Mean(fills=plan['last'] == 'pad')
    if n < 8 and plan['last'] != 'pad':
        for f in (lambda: model.predict_windows(a, **plan), lambda: joined(model.stream_windows(iter(np.split(a, cuts)), **plan))):
            with pytest.raises(ValueError, match=f'has {n} steps, too few'): f()
        return
    want = model.predict_windows(a, **plan)
    pd.testing.assert_frame_equal(joined(model.stream_windows(iter(np.split(a, cuts)), **plan)), want)
    assert max(model.seen) <= 5*16

@settings(max_examples=100, deadline=None)
@given(ends=st.lists(st.integers(8, 30), min_size=1, max_size=4), cuts=cuts, plan=plans)
def test_several_recordings(ends, cuts, plan):
    "With times and ids, which a chunk may cut anywhere"
    plan['last'] = 'shift' if plan['last'] == 'pad' else plan['last']
    n = sum(ends)
    t = pd.date_range('2024-01-31', periods=n, freq='min', tz='Europe/Berlin')
    df = frame(rng.normal(size=(n, 2)), who=np.repeat([f's{i}' for i in range(len(ends))], ends), t=t)
    want = Mean().predict_windows(df, id='who', **plan)
    edges = [0, *(min(c, n) for c in cuts), n]
    chunks = [df.iloc[i:j] for i, j in zip(edges, edges[1:])]
    pd.testing.assert_frame_equal(joined(Mean().stream_windows(iter(chunks), id='who', **plan)), want)

WAYS = ['none', 'previous', 'linear', 'nearest', 'zero', 'mean']

@settings(max_examples=200, deadline=None)
@given(fill=st.one_of(st.sampled_from(WAYS), st.fixed_dictionaries(dict(a=st.sampled_from(WAYS), b=st.sampled_from(WAYS)))), cuts=cuts, seed=st.integers(0, 999),
       kind=st.sampled_from(['numbers', 'dates', 'months', 'durations']), share=st.sampled_from([0., .3, .9]))
def test_even_steps(fill, cuts, seed, kind, share):
    "A stream whose steps are made even gives those of the whole, with values missing here and there, and keeps few rows"
    rng = np.random.default_rng(seed)
    x, jumps = rng.normal(size=(2, 60)), rng.choice([.3, 1, 1, 1, 1.4, 5], 60)
    at = np.cumsum(jumps + (jumps != 1)*rng.uniform(.01, .04, 60)).round(6)      # no two values are equally near to a step
    x[:, 1:][rng.random((2, 59)) < share] = np.nan
    start = pd.Timestamp('2024-01-31', tz='Europe/Berlin')
    t, freq = dict(numbers=(pd.Index(at + 7), 1.), dates=(start + pd.to_timedelta(at*60, 's'), '1min'), months=(start + pd.to_timedelta(at*9, 'D').round('h'), 'MS'),
                   durations=(pd.to_timedelta(at*60, 's'), '1min'))[kind]
    want, times = even_steps(x.T, t, freq, fill, ['a', 'b'])
    stream, edges = EvenStream(freq, fill, ['a', 'b']), [0, *cuts, 60]
    pieces = [o for i, j in zip(edges, edges[1:]) for o in stream.add(Piece((), x[:, i:j], t[i:j]))] + list(stream.end())
    assert np.allclose(np.concatenate([o.x for o in pieces], 1), want.T.astype(np.float32), atol=1e-5, equal_nan=True)
    got = pieces[0].times[:0].append([o.times for o in pieces])
    assert np.allclose(got, times) if kind == 'numbers' else (got.tz_convert('UTC').tz_localize(None) if kind in ('dates', 'months') else got).equals(times.as_unit(got.unit))

@settings(max_examples=60, deadline=None)
@given(fill=st.sampled_from(['none', 'previous', 'linear', 'nearest', 'zero', 'mean']), seed=st.integers(0, 2**31), cuts=cuts)
def test_even_steps_of_rows_that_lie_on_steps(fill, seed, cuts):
    "Any cut of a recording gives the rows of the whole, also where a chunk ends in a row that lies on a step"
    rng = np.random.default_rng(seed)
    t = np.sort(rng.choice(120, 60, replace=False))/2
    df = frame(np.where(rng.random((60, 2)) < .1, np.nan, rng.normal(size=(60, 2))), sec=t)
    class Even(Mean): recording = RecordingSettings(time='sec', freq=1., fill=fill)
    model, edges = Even(fills=True), [0, *cuts, 60]
    want = model.predict_windows(df, stride=3)
    pd.testing.assert_frame_equal(joined(model.stream_windows((df[a:b] for a, b in zip(edges, edges[1:])), stride=3)), want)

@pytest.mark.parametrize('fill', ['none', 'previous', 'linear', 'nearest', 'zero', 'mean'])
def test_even_steps_one_row_at_a_time(fill):
    stream, out = EvenStream(1., fill, ['a']), []
    for i in range(4): out += stream.add(Piece((), np.array([[float(i)]]), pd.Index([float(i)])))
    out += stream.end()
    assert np.concatenate([o.x for o in out], 1).tolist() == [[0, 1, 2, 3]] and [t for o in out for t in o.times] == [0, 1, 2, 3]

def test_even_steps_of_several_recordings():
    "Steps come as soon as their values do; recordings follow each other"
    class Even(Mean): recording = RecordingSettings(id=['who'], time='t', freq=1., fill='linear')
    df = frame(steps[:40], who=['x']*20 + ['y']*20, t=np.r_[np.arange(0, 40, 2.), np.arange(0, 10, .5)])
    want = Even().predict_windows(df, stride=4)
    for k in (1, 7, 40): pd.testing.assert_frame_equal(joined(Even().stream_windows((df[i:i + k] for i in range(0, 40, k)), stride=4, bs=1)), want)
    first = next(Even().stream_windows((df[i:i + 1] for i in range(40)), stride=4))
    assert first.end.tolist() == [7.] and want.groupby('who').end.max().to_dict() == dict(x=38., y=10.)
    with pytest.raises(ValueError, match='has no times.*freq=1.0'): joined(Even().stream_windows([frame(steps)]))
    with pytest.raises(ValueError, match='not in time order'): joined(Even().stream_windows([df[:20], df[10:20]]))
    pd.testing.assert_frame_equal(joined(Even().stream_windows([steps[:40]])), Even().predict_windows(steps[:40]))      # an array has no times

def test_rows_come_as_soon_as_they_are_complete():
    given_, got = [], []
    def chunks():
        for i in range(0, 40, 2): given_.append(i + 2); yield steps[i:i + 2]
    for table in Mean().stream_windows(chunks(), stride=4): got += [(given_[-1], e) for e in table.end]
    assert got == [(e + 1, e) for e in range(7, 40, 4)]
    given_.clear(); got.clear()
    for table in Mean().stream_windows(chunks(), stride=4, average=True, last='drop'): got += [(given_[-1], s) for s in table.step]
    assert all(n - s <= 8 for n, s in got) and [s for _, s in got] == list(range(40))

def test_of_the_past_one_window_is_kept():
    def peak(n):
        def chunks():
            for _ in range(n): yield np.zeros((500, 2), np.float32)
        tracemalloc.start()
        try: assert sum(map(len, Mean().stream_windows(chunks(), stride=250))) == 2*n
        finally: _, top = tracemalloc.get_traced_memory(); tracemalloc.stop()
        return top
    peak(5)
    assert peak(400) < peak(40) + 300_000       # 1.6 MB and 160 kB of series

def test_a_buffer_that_is_filled_again():
    "What is kept is a copy"
    def chunks():
        buffer = np.empty((3, 2), np.float32)
        for i in range(0, 60, 3): buffer[:] = steps[i:i + 3]; yield buffer
    pd.testing.assert_frame_equal(joined(Mean().stream_windows(chunks(), stride=5)), Mean().predict_windows(steps, stride=5))

def test_chunks_of_any_kind():
    want = Mean().predict_windows(steps, stride=5)
    parts = np.split(steps, [7, 30])
    for chunks in (parts, [o.tolist() for o in parts], [torch.from_numpy(o) for o in parts], [dict(b=o[:, 1], a=o[:, 0]) for o in parts], map(frame, parts)):
        pd.testing.assert_frame_equal(joined(Mean().stream_windows(chunks, stride=5)), want)
    first = [o.T for o in parts]
    pd.testing.assert_frame_equal(joined(Mean().stream_windows(first, stride=5, seq_first=False)), want)

def test_times_that_are_numbers():
    parts = [frame(steps[i:i + 20], t=np.arange(i, i + 20)/2) for i in (0, 20, 40)]
    assert joined(Mean().stream_windows(parts, stride=18)).start.tolist() == [0., 9., 18., 26.]


ok = frame(steps[:20], t=np.arange(20))
BAD = {
    'whole array': (steps, {}, 'chunks is a ndarray. Expected an iterable of parts'), 'whole frame': (ok, {}, 'chunks is a DataFrame'), 'nothing': ([], {}, 'has no steps'),
    'order': ([ok, ok], {}, 'not in time order: 0 comes after 19'), 'doubled': ([ok, frame(steps[:2], t=[19, 20])], {}, 'has the time 19 twice'),
    'other columns': ([ok, ok.rename(columns=dict(b='c'))], {}, "no column 'b'.*It was there in the first part"), 'times in some': ([ok, steps[:20]], {}, 'has times in some parts'),
    'comes again': ([ok.assign(t=np.arange(20) + 20*i, who=w) for i, w in enumerate('aba')], dict(id='who'), "with who 'a' comes back in row 40, after rows of another one"),
    'other shape': ([steps[:20], steps[:20, :1]], {}, r'has shape \(20, 1\)'), 'missing': ([steps[:20], np.full((9, 2), np.nan)], {}, "channel 'a', step 20: the value is missing"),
    'short': ([steps[:4], steps[:3]], {}, 'has 7 steps, too few'), 'stride': ([ok], dict(stride=0), 'stride=0')}

@pytest.mark.parametrize('name', BAD)
def test_bad_input(name):
    chunks, kwargs, text = BAD[name]
    with pytest.raises(ValueError, match=text): joined(Mean().stream_windows(chunks, **kwargs))

def test_arguments_are_checked_before_the_first_chunk():
    with pytest.raises(ValueError, match='window=0'): Mean().stream_windows(iter([]), window=0)

def test_a_class_without_outputs():
    class Half(WindowPredictions): input_shape = (2, 8)
    with pytest.raises(NotImplementedError): Half().predict_windows(steps)
