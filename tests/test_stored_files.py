"Zarr arrays and HDF5 files as the data of `read_data`, `from_arrays` and runs: read where they are, and by name"
import numpy as np
import pytest
from fastcore.test import test_close as close, test_eq as eq

from tsfast.data.all import TSDataLoaders, read_arrays, read_data
from tsfast.data.sources import Source
from tsfast.settings import FileSettings, RunSettings
from tsfast.training import data_name, file_data

zarr, h5py = pytest.importorskip('zarr'), pytest.importorskip('h5py')
rng = np.random.default_rng(0)
X, y = rng.normal(size=(12, 2, 20)).astype(np.float32), np.array(['on', 'öff']*6)


@pytest.fixture
def files(tmp_path, monkeypatch):
    "A folder with the same series as a Zarr array, in a Zarr group, and in an HDF5 file with their labels"
    monkeypatch.chdir(tmp_path)
    zarr.create_array('X.zarr', data=X, chunks=(4, 2, 20))
    zarr.open_group('all.zarr', mode='w').create_array('series', data=X)
    with h5py.File('all.h5', 'w') as f: f['X'], f['y'], f['group'] = X, [o.encode() for o in y], np.arange(12)//3
    np.save('y.npy', y)
    return tmp_path


@pytest.mark.parametrize('path', ['X.zarr', 'all.zarr', 'all.zarr::series', 'all.h5::X'])
def test_read_where_they_are(files, path):
    data = read_data(path, y='y.npy')
    assert isinstance(data.X, Source)
    close(data.X[:], X)
    eq(data.y, y)


def test_targets_and_groups_in_the_file(files):
    data = read_data('all.h5::X', y='all.h5::y', group='all.h5::group')
    eq(data.y, y)
    eq(data.groups, np.arange(12)//3)


def test_several_are_one_after_the_other(files):
    zarr.create_array('more.zarr', data=X + 1)
    data = read_data(['X.zarr', 'more.zarr'], y=np.tile(y, 2))
    close(data.X[:], np.concatenate([X, X + 1]))


def test_windows(files):
    data = read_data('X.zarr', y='y.npy', window=10)
    eq(data.X.shape, (24, 2, 10))
    close(data.X[3], X[1, :, 10:])
    eq(data.groups, np.repeat(np.arange(12), 2))


def test_a_recording_in_each_file(tmp_path):
    for i in range(6):
        folder = tmp_path/['on', 'off'][i % 2]
        folder.mkdir(exist_ok=True)
        with h5py.File(folder/f'{i}.h5', 'w') as f: f['x'] = X[i, :, :10 + i]
    data = read_data(tmp_path)
    eq(data.X.shape, (6, 2, 15))
    eq(sorted(data.y), ['off']*3 + ['on']*3)
    i = data.ids.tolist().index('on/2.h5')
    close(data.X[i, :, :12], X[2, :, :12])


@pytest.mark.parametrize('path,message', [
    ('Y.zarr', "no file .*Y.zarr.* Did you mean 'X.zarr'"), ('all.h5', "holds 3 arrays"), ('all.h5::Z', "holds no array 'Z'"),
    ('none.h5::X', 'no file .*none.h5')])
def test_what_is_not_there(files, path, message):
    with pytest.raises((OSError, KeyError), match=message): read_data(path, y='y.npy')


def test_columns_are_for_tables(files):
    with pytest.raises(ValueError, match="id='subject' is for tables"): read_data('X.zarr', y='y.npy', id='subject')


def test_from_arrays_takes_what_get_ts_dls_takes(files):
    for o in ('X.zarr', zarr.open_array('X.zarr', mode='r'), 'all.h5::X'):
        dls = TSDataLoaders.from_arrays(o, y, np.arange(12)//2, channels=['a', 'b'], bs=4)
        assert isinstance(dls.train_ds.X, Source)
        eq(dls.channels, ['a', 'b'])
    eq(read_arrays('X.zarr').X.shape, X.shape)


def run_settings(**files): return RunSettings(data=FileSettings(**files))

def test_a_run_reads_them_where_they_are(files):
    data = file_data(run_settings(path='X.zarr', y='all.h5::y'))
    assert isinstance(data.X, Source) and data.name == 'X'
    eq([len(o) for o in data.splits], [9, 3])
    eq(data_name('all.h5::X'), 'all')


def test_a_run_from_elsewhere_reads_the_same(files, monkeypatch, tmp_path_factory):
    settings = run_settings(path='all.h5::X', y='all.h5::y')
    monkeypatch.chdir(tmp_path_factory.mktemp('elsewhere'))
    eq(file_data(settings).y, y)


def test_other_content_is_noticed(files):
    first = file_data(run_settings(path='X.zarr', y='y.npy')).digest
    eq(file_data(run_settings(path='X.zarr', y='y.npy')).digest, first)
    zarr.open_array('X.zarr', mode='r+')[5] = 0
    assert file_data(run_settings(path='X.zarr', y='y.npy')).digest != first


def test_a_test_file_is_not_copied(files):
    zarr.create_array('more.zarr', data=X[:4] + 1)
    np.save('more.npy', y[:4])
    data = file_data(run_settings(path='X.zarr', y='y.npy', test='more.zarr', test_y='more.npy'))
    assert isinstance(data.X, Source)
    eq([len(o) for o in data.splits], [12, 4])
    close(data.X[12:], X[:4] + 1)
