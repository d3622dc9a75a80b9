"Splits: what holds for every split, and forecasting without leakage"
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given, settings, strategies as st

from tsfast.data.splits import check_splits, combine_split_data, get_forecasting_splits, get_predefined_splits, get_splits
from tsfast.data.splits import get_walk_forward_splits
from tsfast.data.core import get_ts_dls
from tsfast.data.windows import SlidingWindow

quick = settings(deadline=None, max_examples=60, derandomize=True, database=None) # the same examples each time, and no files
size = st.one_of(st.floats(.05, .45), st.integers(1, 30))


def whole(parts, n):
    "The parts are sorted, do not overlap, and together are all there is"
    for o in parts: assert o.dtype == np.int64 and (np.diff(o) > 0).all()
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(n))


# ---------------------------------------------------------------- get_splits

@quick
@given(st.integers(2, 200), size, st.one_of(st.just(0.), size), st.booleans(), st.integers(0, 9))
def test_random_and_time_order(n, valid_size, test_size, shuffle, seed):
    k = lambda s: s if isinstance(s, int) else int(np.ceil(s*n-1e-9))
    assume(k(valid_size)+k(test_size) < n)
    res = get_splits(n, valid_size=valid_size, test_size=test_size, shuffle=shuffle, random_state=seed)
    assert [len(o) for o in res[1:]] == [k(valid_size), k(test_size)][:len(res)-1] and len(res) == 2 + (k(test_size) > 0)
    whole(res, n); check_splits(res, n)
    if not shuffle: assert np.array_equal(np.concatenate(res), np.arange(n))
    for a, b in zip(res, get_splits(n, valid_size=valid_size, test_size=test_size, shuffle=shuffle, random_state=seed)):
        assert np.array_equal(a, b)


@quick
@given(st.lists(st.integers(8, 40), min_size=2, max_size=5), st.floats(.15, .4), st.sampled_from([0., .2]),
       st.sampled_from(['int', 'str', 'bool', 'object']))
def test_stratified(counts, valid_size, test_size, kind):
    if kind == 'bool': counts = counts[:2]
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    y = y.astype({'int': int, 'str': str, 'bool': bool, 'object': object}[kind])
    res = get_splits(y, valid_size=valid_size, test_size=test_size); whole(res, len(y))
    for c, k in zip(np.unique(y), counts):
        for o in res: assert abs((y[o] == c).sum() - k*len(o)/len(y)) < 2


@quick
@given(st.integers(2, 6), st.integers(20, 90), st.sampled_from([0., .1, 5]), st.booleans())
def test_folds(k, n, test_size, stratify):
    y = np.arange(n) % 2
    folds = get_splits(y, n_splits=k, test_size=test_size, stratify=stratify)
    assert len(folds) == k
    for o in folds: whole(o, n)
    rest = np.setdiff1d(np.arange(n), folds[0][2] if test_size else [])
    assert np.array_equal(np.sort(np.concatenate([o[1] for o in folds])), rest) # each series in one validation set
    if test_size: assert all(np.array_equal(o[2], folds[0][2]) for o in folds) # one test set for all
    if stratify:
        for o in folds: assert abs(np.mean(y[o[1]]) - .5) < .26


@quick
@given(st.integers(4, 30), st.integers(30, 90), st.floats(.1, .4), st.sampled_from([0., .2]), st.booleans())
def test_groups(g, n, valid_size, test_size, folds):
    groups = np.random.default_rng(n).integers(0, g, n)
    assume(len(np.unique(groups)) >= 4)
    y = np.array(['a', 'b'])[np.arange(n) % 2]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning) # scikit-learn: a class that is in few groups
        res = get_splits(y, n_splits=3 if folds else 1, valid_size=valid_size, test_size=test_size, groups=groups)
    for parts in (res if folds else [res]):
        whole(parts, n)
        sets = [set(groups[o]) for o in parts]
        for i in range(len(sets)):
            for j in range(i): assert not sets[i] & sets[j]


@quick
@given(st.integers(2, 5), st.integers(12, 60), st.sampled_from([0, 4]))
def test_time_order_folds(k, n, test_size):
    for train, valid, *test in get_splits(n, n_splits=k, test_size=test_size, shuffle=False):
        assert train.max() < valid.min() and (not test or valid.max() < test[0].min())


def test_train_size():
    for n, kw in [(100, {}), (100, dict(stratify=False)), (100, dict(shuffle=False))]:
        train, valid = get_splits(np.arange(n) % 4, train_size=40, **kw)
        assert len(train) == 40 and len(valid) == 20 and not set(train) & set(valid)
    train, valid = get_splits(100, train_size=40, shuffle=False)
    assert np.array_equal(train, np.arange(40, 80)) # the latest
    assert [len(o[0]) for o in get_splits(100, n_splits=4, train_size=.5)] == [50]*4


def test_what_is_not_a_class_is_not_stratified():
    for o in (np.random.rand(30), np.zeros((30, 1, 5)), [['a'], ['a', 'b']]*15, [f'id{i}' for i in range(30)],
              pd.Series(np.random.rand(30)), torch.rand(30)):
        whole(get_splits(o), 30)


def test_global_generators_are_left_alone():
    import random
    torch.manual_seed(1); np.random.seed(1); random.seed(1)
    a = torch.rand(1), np.random.rand(), random.random()
    torch.manual_seed(1); np.random.seed(1); random.seed(1)
    get_splits(50, random_state=7); get_splits(50, n_splits=3, random_state=None)
    assert a == (torch.rand(1), np.random.rand(), random.random())
    assert not np.array_equal(get_splits(500, random_state=None)[1], get_splits(500, random_state=None)[1])


Y = np.array(['a']*40 + ['b']*10)

@pytest.mark.parametrize('o,kw,msg', [
    (1, {}, '1 series cannot be split'), ([], {}, '0 series'), (Y, dict(n_splits=0), 'n_splits=0'), (Y, dict(n_splits=2.5), 'n_splits=2.5'),
    (Y, dict(valid_size=0), 'valid_size=0. Expected more than 0'), (Y, dict(valid_size=50), 'leaves nothing for training'),
    (Y, dict(valid_size=-1), 'valid_size=-1'),
    (Y, dict(valid_size=1.), 'valid_size=1.0. Expected a share'), (Y, dict(valid_size='a'), "valid_size='a'"),
    (Y, dict(valid_size=.5, test_size=.5), 'leave nothing'),
    (Y, dict(train_size=45), 'are more than the 50'), (Y, dict(train_size=0), 'train_size=0'),
    (Y, dict(groups=[0]*49), r'groups has shape \(49,\)'),
    (Y, dict(groups=[0]*50), 'has 1 group'), (Y, dict(groups=np.arange(50)//25, n_splits=3), '3 folds of 2 groups'),
    (Y, dict(groups=np.arange(50), shuffle=False), 'cannot be combined'),
    (np.append(Y, 'c'), {}, "Class 'c' has one member"), (Y, dict(n_splits=11), "Class 'b' has 10 members, too few"),
    (Y, dict(valid_size=1), 'no room for one of each of 2 classes'),
    (10, dict(n_splits=11), '11 folds of 10')])
def test_bad_splits_asked_for(o, kw, msg):
    with pytest.raises(ValueError, match=msg): get_splits(o, **kw)


# ---------------------------------------------------------------- given splits

@quick
@given(st.lists(st.integers(0, 20), min_size=1, max_size=4))
def test_predefined(lens):
    res = get_predefined_splits(*[np.zeros(o) for o in lens])
    assert [len(o) for o in res] == lens and [i for o in res for i in o] == list(range(sum(lens)))


def test_combine():
    xs, ys = [np.random.rand(4, 1, 3), np.random.rand(3, 1, 3)], [np.arange(4), np.arange(3)]
    X, y, splits = combine_split_data(xs, ys)
    for x, t, s in zip(xs, ys, splits): assert np.array_equal(X[s], x) and np.array_equal(y[s], t)
    with pytest.raises(ValueError, match='Expected the same'): combine_split_data(xs, ys[::-1])


@pytest.mark.parametrize('a,b', [([0, 2], [1, 3]), ((0, 2), (1, 3)), (np.array([0, 2]), np.array([1, 3])),
                                 (torch.tensor([0, 2]), torch.tensor([1, 3])),
    (range(0, 4, 2), range(1, 4, 2)), (slice(0, 4, 2), slice(1, 4, 2)), (np.array([1, 0, 1, 0], bool), [False, True, False, True]),
    (pd.Index([0, 2]), pd.Series([1, 3]))])
def test_check_splits_forms(a, b):
    for splits in ((a, b), [a, b]):
        x, y = check_splits(splits, 4)
        assert x.tolist() == [0, 2] and y.tolist() == [1, 3] and x.dtype == y.dtype == np.int64


def test_check_splits_takes_L():
    from fastcore.foundation import L
    assert [o.tolist() for o in check_splits(L(L(0, 1), L(2)), 3)] == [[0, 1], [2]]


@pytest.mark.parametrize('splits,msg', [
    (([], [1]), 'train split is empty'), (([0], []), 'valid split is empty'), (([0], [1], []), 'test split is empty'),
    (([0], [1], [2], []), '4th split is empty'),
    (([0, 1], [1]), 'train and valid splits overlap: both have index 1'), (([0], [1], [2, 0]), 'train and test splits overlap'),
    (([0, 0], [1]), 'index 0 more than once'),
    (([0], [4]), 'valid split has index 4, out of range for 4 series: expected 0 to 3'), (([0], [-1]), 'index -1'),
    (([0.], [1.]), 'whole numbers'), ((['a'], ['b']), 'whole numbers'),
    (([[0, 1]], [[2]]), r'shape \(1, 2\)'), (([True, False], [1]), r'mask of shape \(2,\)'), (([False]*4, [1]), 'mask is False everywhere'),
    ([0, 1], 'Expected a tuple of index lists'), (np.arange(3), 'Expected a tuple'), (None, 'Expected a tuple'), ((), 'Expected a tuple'),
    (dict(train=[0]), 'Expected a tuple'),
    ((None, [1]), 'train split is a NoneType')])
def test_check_splits_refuses(splits, msg):
    with pytest.raises(ValueError, match=msg): check_splits(splits, 4)


# ---------------------------------------------------------------- forecasting

win = dict(w=st.integers(1, 12), h=st.integers(1, 6), stride=st.integers(1, 5), gap=st.integers(0, 4))

def steps_of(n, w, h, stride, gap):
    "Which steps each window reads and predicts, from the windows of a series that counts its steps"
    X, y = SlidingWindow(w, h, stride, gap)(np.arange(n))
    return X[:, 0].astype(int), y[:, 0].astype(int)


@quick
@given(n=st.integers(20, 200), **win)
def test_windows(n, w, h, stride, gap):
    assume(w+gap+h <= n)
    x, y = steps_of(n, w, h, stride, gap)
    s = np.arange(0, n-w-gap-h+1, stride)
    assert np.array_equal(x, s[:, None]+np.arange(w)) and np.array_equal(y, s[:, None]+w+gap+np.arange(h))


@quick
@given(n=st.integers(60, 300), valid_size=st.sampled_from([.1, .25, 20]), test_size=st.sampled_from([0, .2, 15]), overlap=st.booleans(),
       **win)
def test_forecasting_splits_do_not_leak(n, valid_size, test_size, overlap, w, h, stride, gap):
    try: res = get_forecasting_splits(n, w, h, stride, gap, valid_size, test_size, overlap=overlap)
    except ValueError as e: assert 'no room' in str(e); return
    x, y = steps_of(n, w, h, stride, gap)
    check_splits(res, len(x))
    assert len(res) == 2 + (test_size > 0)
    for a, b in zip(res, res[1:]):
        assert max(x[a].max(), y[a].max()) < y[b].min()     # what is learnt from lies before what is predicted
        assert y[a].max() <= x[b[0]].max()                  # and is known when the first forecast is made
        if not overlap: assert y[a].max() < x[b].min()      # and before what is read
    k = n - sum(o if isinstance(o, int) else int(np.ceil(o*n-1e-9)) for o in (valid_size, test_size))
    assert y[res[0]].max() < k <= y[res[1]].min()


@quick
@given(n=st.integers(40, 300), n_splits=st.integers(1, 6), valid_size=st.sampled_from([None, 3]), max_train=st.sampled_from([None, 5]),
       **win)
def test_walk_forward_does_not_leak(n, n_splits, valid_size, max_train, w, h, stride, gap):
    try: res = get_walk_forward_splits(n, w, h, stride, gap, n_splits, valid_size=valid_size, max_train_size=max_train)
    except ValueError as e: assert 'too few' in str(e); return
    x, y = steps_of(n, w, h, stride, gap)
    assert len(res) == n_splits
    last = -1
    for train, valid in res:
        check_splits((train, valid), len(x))
        assert max(x[train].max(), y[train].max()) < y[valid].min() and valid.min() > last
        assert y[train].max() <= x[valid[0]].max() # known when the first forecast is made
        assert y[train.max()+1].max() > x[valid[0]].max() # and nothing that is known is left out, at the end of training
        assert (max_train is None or len(train) <= max_train) and (valid_size is None or len(valid) == valid_size)
        last = valid.max()
    assert last == len(x)-1 # nothing at the end is left unused


@pytest.mark.parametrize('f,kw,msg', [
    (get_walk_forward_splits, dict(max_train_size=0), 'max_train_size=0'),
    (get_walk_forward_splits, dict(max_train_size=-5), 'max_train_size=-5'),
    (get_walk_forward_splits, dict(max_train_size=2.), 'max_train_size=2.0'),
    (get_walk_forward_splits, dict(valid_size=.2), 'valid_size=0.2. Expected a number of windows'),
    (get_walk_forward_splits, dict(valid_size=-3), 'valid_size=-3'), (get_walk_forward_splits, dict(valid_size=0), 'valid_size=0'),
    (get_walk_forward_splits, dict(valid_size=True), 'valid_size=True'),
    (get_forecasting_splits, dict(valid_size=0), 'valid_size=0. Expected more than 0'),
    (get_forecasting_splits, dict(valid_size=0.), 'valid_size=0.0')])
def test_bad_forecasting_splits(f, kw, msg):
    with pytest.raises(ValueError, match=msg): f(60, 4, 2, **kw)


def test_window_sources():
    a = np.random.rand(50, 3).astype(np.float32)
    df = pd.DataFrame(a, columns=list('abc')).assign(date=pd.date_range('2020', periods=50), name='x')
    X, y = SlidingWindow(10, 2, get_y=[0])(a)
    assert X.shape == (39, 3, 10) and y.shape == (39, 1, 2) and X.dtype == y.dtype == np.float32
    for o, kw in [(df, dict(get_y='a')), (df, dict(get_x=['a', 'b', 'c'], get_y=['a'])), (a.T, dict(seq_first=False, get_y=[0])),
                  (torch.tensor(a), dict(get_y=0)), (a.tolist(), dict(get_y=[0]))]:
        X2, y2 = SlidingWindow(10, 2, **kw)(o)
        assert np.array_equal(X, X2) and np.array_equal(y, y2)
    assert np.array_equal(SlidingWindow(10)(df['a'])[0], SlidingWindow(10)(a[:, 0])[0])
    assert np.array_equal(SlidingWindow(10)(torch.tensor(a, requires_grad=True))[0], SlidingWindow(10)(a)[0])
    assert np.array_equal(np.isnan(SlidingWindow(10, 0)(np.ma.masked_less(a, .5))[0]), SlidingWindow(10, 0)(a)[0] < .5)


@pytest.mark.parametrize('cols', [['a', 'c'], ('a', 'c'), np.array(['a', 'c']), pd.Index(['a', 'c']), pd.Series(['a', 'c'])],
                         ids=lambda o: type(o).__name__)
def test_names_of_columns(cols):
    df = pd.DataFrame(np.random.rand(20, 3), columns=list('abc'))
    X, y = SlidingWindow(4, get_x=cols, get_y=cols)(df); want = SlidingWindow(4)(df[['a', 'c']])
    assert np.array_equal(X, want[0]) and np.array_equal(y, want[1])


def test_other_names_of_columns():
    a = np.random.rand(20, 3); want = SlidingWindow(4)(a[:, [0, 2]])[0]
    for cols in ([0, 2], np.array([0, 2]), torch.tensor([0, 2]), range(0, 3, 2), [True, False, True]):
        assert np.array_equal(SlidingWindow(4, get_x=cols)(a)[0], want)
    df = pd.DataFrame(a, columns=pd.MultiIndex.from_tuples([('load', 'max'), ('load', 'min'), ('temp', 'max')]))
    for cols, n in ((('load', 'max'), 1), ('load', 2), ([('load', 'max'), ('temp', 'max')], 2)):
        assert SlidingWindow(4, get_x=cols)(df)[0].shape[1] == n


hours = pd.DataFrame(dict(a=np.arange(20.), b=np.arange(20.)), index=pd.date_range('2024', periods=20, freq='h'))

@pytest.mark.parametrize('o,kw,msg', [
    (hours.sample(frac=1, random_state=0), {}, r'sort_index\(\)'), (hours[::-1]['a'], {}, 'sort_index'),
    (hours.iloc[[0, 1, 1, *range(2, 20)]], {}, '2024-01-01 01:00:00.*index.duplicated'),
    (hours.to_period('h')[::-1], {}, 'sort_index'), (hours.set_axis(['a', 'a'], axis=1), {}, "more than one column 'a'"),
    (hours.assign(c=['1', '2', 'n/a', '3']*5), {}, "text or objects: .'c'.*pd.to_numeric.*get_x"),
    (hours.assign(c=pd.Series([1, 2., None, 4]*5, dtype=object, index=hours.index)), {}, "text or objects: .'c'"),
    (hours, dict(get_x=[]), 'get_x names no variables'), (hours, dict(get_y=[]), 'get_y names no variables'),
    (np.zeros((20, 2)), dict(get_x=[]), 'get_x names no variables'), (hours, dict(get_x={'a', 'b'}), 'is a set'),
    (hours, dict(get_x=('a', 'z')), "does not have: .'z'")])
def test_frames_that_need_care(o, kw, msg):
    with pytest.raises(ValueError, match=msg): SlidingWindow(4, **kw)(o)


def test_frames_that_are_as_they_should_be():
    text = hours.assign(c='n/a', d=pd.Timestamp('2024'), e=pd.Series([pd.Timestamp('2024').date()]*20, dtype=object, index=hours.index),
                        f=None)
    for o, kw in [(hours, {}), (hours.to_period('h'), {}),
                  (hours.resample('MS').sum().reindex(pd.date_range('2024', periods=20, freq='MS')), {}),
                  (hours.set_axis(pd.bdate_range('2024', periods=20)), {}), (text, {}),
                  (hours.assign(c=['1', 'x']*10), dict(get_x=['a', 'b'], get_y=['a']))]:
        assert SlidingWindow(4, **kw)(o)[0].shape[1] == 2


days = pd.DataFrame(dict(date=pd.date_range('2024', periods=20), v=np.arange(20.)))
as_text = days.assign(date=days.date.dt.strftime('%Y-%m-%d'))

@pytest.mark.parametrize('o,msg', [
    (days.sample(frac=1, random_state=0), r"'date'.*not in time order.*sort_values\('date'\)"), (as_text[::-1], r"sort_values\('date'\)"),
    (pd.concat([days, days]), 'not in time order.*each recording by itself'),
    (days.iloc[[0, 1, 1, 2, 3, 4]], r"2024-01-02 00:00:00.*drop_duplicates\('date'\)"),
    (days.assign(date=days.date.dt.to_period('D'))[::-1], 'not in time order'),
    (days.assign(date=days.date.where(days.v != 3)), 'missing times, the first in row 3'),
    (days.assign(id=0).set_index(['id', 'date']), 'MultiIndex.*groupby'), ([np.zeros(9), np.zeros(8)], 'items of different lengths')],
                         ids=str)
def test_rows_that_are_no_steps_in_time(o, msg):
    with pytest.raises(ValueError, match=msg): SlidingWindow(4)(o)
    # as the message says
    if hasattr(o, 'columns') and 'date' in o.columns: SlidingWindow(4)(o.drop(columns='date').reset_index(drop=True))


@pytest.mark.parametrize('o,msg', [
    (days.drop(index=[5, 6, 12]), "'date' .*2024-01-05 00:00:00 and 2024-01-08.*rows 4 and 5.*2 steps are too wide.*set_index"),
    (as_text.drop(index=5), "'date' .*1 step is too wide"), (days.set_index('date').drop(days.date[5:6]), r'index.*df\.asfreq'),
    (days.set_index('date').to_period('D').drop(pd.Period('2024-01-06')), 'index.*rows 4 and 5'),
    (days.set_index(days.date - days.date[0])[['v']].drop(pd.Timedelta('5D')), 'rows 4 and 5')])
def test_missing_steps_are_named(o, msg):
    with pytest.warns(UserWarning, match=msg): X, _ = SlidingWindow(4)(o)
    assert X.shape == (len(o) - 4, 1, 4)


rows = pd.DataFrame(dict(v=np.arange(20.), w=1.))

@pytest.mark.parametrize('o,kw,msg', [
    (rows[::-1], {}, r'index.*not in time order.*sort_index.*reset_index\(drop=True\)'),
    (rows.set_axis(np.arange(20)[::-1]/10), {}, 'index.*not in time order'),
    (pd.concat([rows, rows]), {}, 'index.*not in time order.*each recording by itself'),
    (rows.iloc[[0, 1, 1, 2, 3]], {}, 'a time more than once, such as 1'), (rows.v[::-1], {}, 'sort_index'),
    (rows.set_axis(as_text.date[::-1]), {}, 'index.*not in time order'),
    (rows.set_axis(as_text.date).iloc[[0, 1, 1, 2]], {}, 'more than once, such as 2024-01-02'),
    (rows.assign(id=[1]*10 + [2]*10), {}, r"'id'.*2 different values.*\(g.drop\(columns='id'\)\).*groupby\('id'\)"),
    (rows.assign(patient=['a']*10 + ['b']*10), {}, "'patient'.*2 different values"),
    (rows.assign(subject=[1]*10 + [2]*10), dict(get_x='v'), "'subject'.*2 different values"),
    (rows.assign(id=1), {}, r"'id'.*recordings or rows.*df.drop\(columns='id'\)\. .*get_x"),
    (rows.assign(time=range(20)), {}, r"'time'.*numbers of steps.*df.drop\(columns='time'\).*set_index\('time'\).*get_x"),
    (rows.assign(t=range(20)), {}, "'t'.*numbers of steps"),
    (rows.assign(time=np.arange(20.)[::-1]), dict(get_x='v'), r"'time'.*not in time order.*sort_values\('time'\)"),
    (rows.assign(time=[*range(19), np.nan]), dict(get_x='v'), 'missing times, the first in row 19')], ids=str)
def test_rows_that_are_no_steps_of_one_recording(o, kw, msg):
    with pytest.raises(ValueError, match=msg): SlidingWindow(4, **kw)(o)


def test_what_the_messages_of_windows_name_works():
    ids, times = rows.assign(id=[1]*10 + [2]*10), rows.assign(time=range(20))
    assert [SlidingWindow(4)(g.drop(columns='id'))[0].shape for _, g in ids.groupby('id')] == [(6, 2, 4)]*2
    for o in (rows[::-1].sort_index(), rows[::-1].reset_index(drop=True), times.drop(columns='time'), times.set_index('time')):
        assert SlidingWindow(4)(o)[0].shape == (16, 2, 4)
    assert SlidingWindow(4, get_x=['id', 'v'])(ids)[0].shape == SlidingWindow(4, get_x=['time', 'v'])(times)[0].shape == (16, 2, 4)


def test_rows_that_are_as_they_should_be():
    """also a column T, a constant id of text, one column alone, other starts and steps of the index, and dates that tell the order where
    the index does not"""
    for o in (rows.assign(T=1.).drop(columns='w'), rows.assign(id='a'), pd.DataFrame(dict(t=np.arange(20.), w='x')),
              pd.Series(np.arange(20.), name='time').to_frame(), rows.set_axis(range(5, 25)), rows.set_axis(range(0, 40, 2)),
              rows.set_axis(np.arange(20)/10),
              rows.set_axis(as_text.date), rows.set_axis(list('abcdefghijklmnopqrst')),
              days[::-1].reset_index(drop=True).sort_values('date')):
        SlidingWindow(4)(o)


@pytest.mark.parametrize('o,kw,msg', [
    (rows.drop(index=[5, 6]), {}, r'index.*between 4 and 7 \(rows 4 and 5\) lie 3 usual steps.*df\.reindex.*reset_index'),
    (rows.set_axis(np.arange(20)/10).drop(index=[.5]), {}, 'index.*between 0.4 and 0.6'),
    (rows.v.where(rows.v != 7).dropna(), {}, 'between 6 and 8'),
    (rows.set_axis(as_text.date).drop(index='2024-01-06'), {}, 'index.*2024-01-05 00:00:00 and 2024-01-07'),
    (rows.assign(time=range(20)).drop(index=5).reset_index(drop=True), dict(get_x='v'),
     r"'time'.*between 4 and 6.*set_index\('time'\)\.reindex")])
def test_missing_rows_are_named(o, kw, msg):
    with pytest.warns(UserWarning, match=msg): SlidingWindow(4, **kw)(o)


def test_lost_digits_are_named():
    number = days.date.dt.strftime('%Y%m%d').astype(int)
    for window_len in (4, 15):
        with pytest.warns(UserWarning, match="Column 'day' .*float32"): SlidingWindow(window_len)(days.assign(day=number))
    SlidingWindow(4, get_x='v', get_y='v')(days.assign(day=number)); SlidingWindow(4)(number - 20240101)
    # varies by much, and still
    many = np.r_[20240101:20240131, 20250101:20250131, 20260101:20260131, 20270101:20270131, 20350101:20350131]
    with pytest.warns(UserWarning, match='Column 0 .*20240103 and 20240104.*become equal'): SlidingWindow(140)(many)
    # large and fine numbers that float32 holds well
    SlidingWindow(4)(np.random.default_rng(0).integers(0, 10**9, 100)); SlidingWindow(50)(np.sin(np.arange(100)/1e3))


def test_windows_share_memory_with_loaders(tmp_path):
    "A loader of overlapping windows takes the memory of the series"
    a = np.random.default_rng(0).normal(size=(3000, 2)).astype(np.float32)
    np.save(tmp_path/'a.npy', a)
    for o in (a, np.load(tmp_path/'a.npy', mmap_mode='r')):
        X, y = SlidingWindow(200, get_y=0, view=True)(o); want = X.copy()
        for kw in (dict(), dict(inplace=False), dict(tfms=[lambda x: x*1., None], inplace=False), dict(sel_vars=[0, 1][:1])):
            dls = get_ts_dls(X, splits=(range(2000), range(2000, len(X))), device='cpu', bs=16, **kw)
            store = dls.dataset.X
            if 'sel_vars' not in kw: assert store.data_ptr() == o.ctypes.data and store.untyped_storage().nbytes() <= a.nbytes
            b = dls.valid.one_batch()[0]
            assert b.is_contiguous() and np.array_equal(b, want[2000:2016] if 'sel_vars' not in kw else want[2000:2016, :1])
        assert np.array_equal(o, a)


def test_windows_are_copies():
    "also where one window is the whole series"
    a = np.zeros(10, np.float32)
    X, y = SlidingWindow(10, 0)(a); X[:] = 1
    assert a.sum() == 0 and y is None
    X, y = SlidingWindow(4, view=True)(a)
    assert np.shares_memory(X, a) and not X.flags.writeable


@pytest.mark.parametrize('kw,msg', [(dict(window_len=0), 'window_len=0'), (dict(window_len=2.5), 'window_len=2.5'),
                                    (dict(window_len=3, horizon=-1), 'horizon=-1'), (dict(window_len=3, horizon=[1, 2]), 'horizon='),
    (dict(window_len=3, stride=0), 'stride=0'), (dict(window_len=3, gap=-1), 'gap=-1'),
    (dict(window_len=10), 'too few for one window of 11'), (dict(window_len=3, get_y=[2]), 'does not fit')])
def test_bad_windows(kw, msg):
    with pytest.raises(ValueError, match=msg): SlidingWindow(**kw)(np.arange(10.))


def test_bad_series():
    for o in (np.zeros((2, 3, 4)), np.array(['a'])):
        with pytest.raises(ValueError, match='Expected numbers'): SlidingWindow(1)(o)
    with pytest.raises(ValueError, match='no columns of numbers'): SlidingWindow(1)(pd.DataFrame(dict(a=['x', 'y'])))


def test_etth1(ucr_path):
    "The customary split of ETTh1: 12, 4 and 4 months"
    f = ucr_path/'ETT'/'ETTh1.csv'
    if not f.exists(): pytest.skip('needs ETT/ETTh1.csv')
    month = 30*24
    df = pd.read_csv(f)[:20*month]
    X, y = SlidingWindow(168, 24)(df)
    assert X.shape == (20*month-191, 7, 168) and y.shape == (20*month-191, 7, 24) and not np.isnan(X).any()
    train, valid, test = get_forecasting_splits(df, 168, 24, valid_size=4*month, test_size=4*month)
    assert [len(o) for o in (train, valid, test)] == [12*month-191, 4*month-23, 4*month-23]
    np.testing.assert_array_equal(y[valid[0], :, 0], df.iloc[12*month, 1:].to_numpy(np.float32))
