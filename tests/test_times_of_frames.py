"The times of a data frame, on the axes of pictures"
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from tsfast.data.core import TSDataLoaders
from tsfast.data.drawing import EvenTimes
from tsfast.data.factories import read_frame

rng = np.random.default_rng(0)
days = pd.date_range('2024-03-01', periods=40, freq='D')


def frame(times=days, recordings=6):
    n = len(times)
    return pd.concat([pd.DataFrame(dict(rec=i, day=times, a=rng.normal(size=n), b=rng.normal(size=n), y='no' if i % 2 else 'yes')) for i in range(recordings)])

def loaders(df, **kwargs):
    return TSDataLoaders.from_df(df, **{**dict(id='rec', time='day', y='y', bs=4, valid_pct=2, device='cpu'), **kwargs})

def on_the_axes(dls):
    "The x positions of the first lines that show_batch draws"
    dls.show_batch(max_n=2)
    axes = [o for o in plt.gcf().axes if o.lines]
    plt.close('all')
    return [o.lines[0].get_xdata() for o in axes]

@pytest.mark.parametrize('window,stride', [(None, None), (10, None), (10, 5)])
def test_dates(window, stride):
    dls = loaders(frame(), window=window, stride=stride)
    steps, starts = window or 40, set(range(0, 41 - (window or 40), stride or window or 1))
    for x in on_the_axes(dls):
        assert x.dtype.kind == 'M' and len(x) == steps and (np.diff(x) == np.timedelta64(1, 'D')).all() and list(days).index(x[0]) in starts
    ds = dls.valid_ds
    assert all((ds[i][0].times == t).all() for i in range(len(ds)) for t in [ds.times_of(ds.idxs[[i]])[0]]) and len(ds[0][0].times) == steps

def test_even_by_freq_months_and_numbers():
    holed = frame().drop(index=[3, 17])
    with pytest.warns(UserWarning, match='[Hh]ole|missing|step'): uneven = loaders(holed)
    assert uneven.train_ds.times is None and on_the_axes(uneven)[0].dtype.kind in 'iu'
    even = loaders(holed, freq='1D', fill='linear')
    assert on_the_axes(even)[0].dtype.kind == 'M' and len(even.train_ds[0][0].times) == 40
    months = loaders(frame(pd.date_range('2020-01', periods=36, freq='MS')))
    assert str(months.train_ds[0][0].times[0])[:10] == '2020-01-01' and str(months.train_ds[0][0].times[-1])[:7] == '2022-12'
    seconds = loaders(frame(np.arange(40)/2), window=10)
    assert all(x.dtype.kind == 'f' and np.allclose(np.diff(x), .5) for x in on_the_axes(seconds))

def test_recordings_of_unequal_length_and_a_gap_at_the_end():
    parts = [frame(days[:n], 1).assign(rec=i) for i, n in enumerate((40, 25, 31, 40))]
    parts[1].loc[20:, ['a', 'b']] = np.nan         # the times go on where values are missing
    data = read_frame(pd.concat(parts), id='rec', time='day', y='y')
    assert [len(data.times[i]) for i in range(4)] == [40, 25, 31, 40] and data.times[1][-1] == days[24]

def test_without_a_time_and_with_the_users_own():
    assert read_frame(frame(), id='rec', time='day', y='y').times is not None
    plain = frame().drop(columns='day')
    assert read_frame(plain, id='rec', y='y').times is None and on_the_axes(loaders(plain, time=None))[0].dtype.kind in 'iu'
    own = loaders(frame(), times=[np.arange(40)*2.]*6)
    assert np.array_equal(own.train_ds[0][0].times, np.arange(40)*2.)

def test_series_without_a_target_have_none():
    df = frame().reset_index(drop=True)
    df.loc[df.rec == 0, 'y'] = None
    df['day'] += pd.to_timedelta(df.rec*100, unit='D')
    with pytest.warns(UserWarning, match='have no target'): data = read_frame(df, id='rec', time='day', y='y', window=10, stride=5)
    assert len(data.times) == len(data) == len(data.X) and data.times[0][0] == days[0] + pd.Timedelta(days=100)
    assert all(t[0] == s and t[-1] == e for t, s, e in zip(map(data.times.__getitem__, range(len(data))), data.starts, data.ends))

def test_zones_and_periods():
    for times in (days.tz_localize('Europe/Berlin'), days.to_period('D')):
        data = read_frame(frame(times), id='rec', time='day', y='y', window=8, stride=4)
        assert isinstance(data.times, EvenTimes) and data.times[0].dtype.kind == 'M' and len(data.times[0]) == 8
