"Windows of recordings that overlap are cut when they are read: the same series, batches and statistics as copies of them"
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from tsfast.data.core import TSDataLoaders, get_ts_dls
from tsfast.data.factories import read_arrays, read_frame
from tsfast.data.preprocessing import TSNan2Value, TSStandardize
from tsfast.data.sources import WindowSource
from tsfast.learner import ts_learner
from tsfast.models.fcn import FCN

rng = np.random.default_rng(0)
SIZES, WINDOW, STRIDE = (90, 41, 70, 30, 55), 16, 3


def frame(sizes=SIZES, holes=()):
    "Recordings with a time, two channels and an activity"
    df = pd.concat([pd.DataFrame(dict(rec=f'r{i}', t=np.arange(n)/10, ax=rng.normal(size=n), ay=rng.normal(size=n).cumsum(),
                                      act=np.array(list('abc'))[np.arange(n)//7 % 3])) for i, n in enumerate(sizes)], ignore_index=True)
    return df.drop(index=list(holes))

how = dict(id='rec', time='t', y='act', window=WINDOW, stride=STRIDE)

def copied(recordings, window=WINDOW, stride=STRIDE): # frames
    return np.concatenate([sliding_window_view(o[['ax', 'ay']].to_numpy(np.float32), window, axis=0)[::stride] for o in recordings])

def parts_of(df): return [g for _, g in df.groupby('rec')]


def test_the_same_series():
    df = frame()
    data, want = read_frame(df, **how), copied(parts_of(df))
    assert isinstance(data.X, WindowSource) and data.X.shape == want.shape and data.X.dtype == np.float32 and len(data) == len(want)
    for got, w in ((np.asarray(data.X), want), (data.X[5], want[5]), (data.X[-1], want[-1]), (data.X[3:9], want[3:9]), (data.X[[4, 1]], want[[4, 1]]),
                   (data.X[:, 0], want[:, 0]), (data.X[2:8, 1, ::2], want[2:8, 1, ::2]), (data.X[1, 1, 3], want[1, 1, 3]), (data.X[:, :, -1], want[:, :, -1]),
                   (data.X[np.arange(len(want)) % 2 == 0], want[::2]), (np.isnan(data.X), np.isnan(want))):
        assert np.array_equal(got, w)
    assert np.array_equal(data.X.mean(2), want.mean(2)) and data.X.reshape(len(want), -1).shape == (len(want), 32) and not hasattr(data.X, 'iloc')
    with pytest.raises(IndexError, match='Expected positions or slices'): data.X[[0, 1], [0, 1]]
    assert str(len(want)) in str(data) and 'windows of 16 steps, a new one every 3' in str(data)

def test_shuffled_rows_and_even_steps():
    "What changes the recordings comes before the windows"
    df = frame()
    assert np.array_equal(read_frame(df.sample(frac=1, random_state=1), **how).X[:], read_frame(df, **how).X[:])
    holed = df.drop(index=[5, 6, 100])
    data = read_frame(holed, **how, freq=.1, fill='previous')
    filled = df.copy()
    filled.loc[[5, 6, 100], ['ax', 'ay']] = df.loc[[4, 4, 99], ['ax', 'ay']].to_numpy()
    assert isinstance(data.X, WindowSource) and np.array_equal(data.X[:], copied(parts_of(filled)))

def test_one_recording_lists_and_wide_rows():
    one = frame((200,))
    assert np.array_equal(read_frame(one, **how).X[:], copied([one]))
    parts = parts_of(frame())
    data = read_arrays([o[['ax', 'ay']].to_numpy().T for o in parts], window=WINDOW, stride=STRIDE)
    assert isinstance(data.X, WindowSource) and np.array_equal(data.X[:], copied(parts))
    wide = pd.DataFrame(rng.normal(size=(9, 30)).astype(np.float32)).add_prefix('t')
    data = read_frame(wide, wide=True, window=10, stride=4)
    assert np.array_equal(data.X[:, 0], sliding_window_view(wide.to_numpy(), 10, axis=1)[:, ::4].reshape(-1, 10))

def test_windows_without_a_label_are_left_out():
    df = frame()
    df.loc[:30, 'act'] = None
    with pytest.warns(UserWarning, match='have no target in'): data = read_frame(df, **how)
    keep = np.ones(len(copied(parts_of(df))), bool)
    keep[[i for i, s in enumerate(range(0, 90 - 15, STRIDE)) if s + 15 <= 30]] = False
    assert len(data.y) == len(data.X) == keep.sum() and np.array_equal(data.X[:], copied(parts_of(df))[keep])

def test_windows_that_do_not_overlap_are_an_array():
    df = frame()
    for stride in (None, WINDOW, 20):
        data = read_frame(df, **how | dict(stride=stride))
        assert type(data.X) is np.ndarray and np.array_equal(data.X, copied(parts_of(df), stride=stride or WINDOW))

@pytest.mark.parametrize('holes', [False, True])
def test_equal_batches_and_a_training(holes):
    df = frame()
    if holes: df.loc[::9, 'ax'] = np.nan
    tfms = lambda: [TSStandardize(by_var=True), *([TSNan2Value()] if holes else [])]
    dls = TSDataLoaders.from_df(df, **how, batch_tfms=tfms(), bs=8, valid_groups=['r1', 'r3'], device='cpu')
    data = read_frame(df, **how)
    splits = [np.flatnonzero(np.isin(data.groups, ['r1', 'r3']) == o) for o in (False, True)]
    want = get_ts_dls(copied(parts_of(df)), data.y, splits=splits, batch_tfms=tfms(), bs=8, device='cpu', channels=['ax', 'ay'])
    assert isinstance(dls.train_ds.X, WindowSource)
    for a, b in zip(dls.loaders, want.loaders):
        torch.manual_seed(0); x = list(a)
        torch.manual_seed(0); y = list(b)
        assert len(x) == len(y) > 1 and all(torch.equal(u, v) for p, q in zip(x, y) for u, v in zip(p, q))
    out = []
    for o in (dls, want):
        learn = ts_learner(o, FCN, layers=[4, 4, 4], seed=0)
        with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-2)
        out.append(learn.get_X_preds(data.X)[0])
    assert torch.equal(*out)

def test_nan_is_found():
    df = frame()
    df.loc[50, 'ax'] = np.nan
    with pytest.raises(ValueError, match=r'of \d+ series of the training split have missing values'):
        TSDataLoaders.from_df(df, **how, valid_groups=['r1'], bs=8, device='cpu')

def test_memory():
    "Windows that take 20 times the memory of their recordings, 16 MB"
    x = rng.normal(size=4*10**6).astype(np.float32)
    df = pd.DataFrame(dict(rec=np.repeat(np.arange(4), 10**6), x=x, act=np.repeat(np.arange(4) % 2, 10**6)))
    tracemalloc.start()
    try:
        dls = TSDataLoaders.from_df(df, id='rec', y='act', window=1000, stride=50, bs=64, batch_tfms=TSStandardize(), valid_groups=[0, 1], device='cpu')
        x, _ = dls.one_batch()
        peak = tracemalloc.get_traced_memory()[1]
    finally: tracemalloc.stop()
    assert dls.train_ds.X.nbytes > 300e6 and x.shape == (64, 1, 1000)
    assert peak < 250e6, peak
