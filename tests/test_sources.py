"Sources: files of each kind give what the array in memory gives, in loaders, statistics, training and predictions; orders; damage; memory"
import copy, multiprocessing, operator, os, pickle, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import Tensor

from tsfast.data import preprocessing
from tsfast.data.core import StratifiedSampler, TSDatasets, get_ts_dl, get_ts_dls
from tsfast.data.preprocessing import TSNan2Value, TSNormalize, TSRobustScale, TSStandardize
from tsfast.data.sources import ArraySource, ArrowSource, H5Source, NpySource, ShardedSource, Source, WindowSource, ZarrSource, as_source
from tsfast.data.workers import BatchReader
from tsfast.deploy import to_predictor
from tsfast.estimators import TSNetClassifier
from tsfast.learner import ts_learner
from tsfast.models.inception_time import InceptionTime
from tsfast.models.minirocket import MiniRocket
from tsfast.series import as_series, check_series, is_source
from tsfast.settings import RunSettings
from tsfast.training import RunData, TrainingRun
from tsfast.training.data import lacks_values
from tsfast.training.once import data_digest

# Zarr has threads of its own, and worker processes start as copies of this one
pytestmark = pytest.mark.filterwarnings('ignore:.*use of fork.* may lead to deadlocks:DeprecationWarning')

N, C, L, UNIT = 60, 2, 16, 8
rng = np.random.default_rng(0)
STEPS = rng.normal(3, 5, (500, C)).astype('f4')
# windows of a recording, so that a WindowSource has the same values
X = np.ascontiguousarray(np.stack([STEPS[s:s + L].T for s in range(0, 7*N, 7)]))
Y = np.array(['a', 'b', 'c'])[np.arange(N) % 3]
SPLITS = (range(1, N, 2), range(0, N, 2))

def written(kind, d):
    "Series in a file of some kind, below the folder `d`: what is passed as X, and the values that it stands for"
    starts = np.arange(0, 7*N, 7)
    def npy(name, a): np.save(d/name, a); return d/name
    if kind == 'npy': return str(npy('X.npy', X)), X
    if kind == 'Path': return npy('P.npy', X), X
    if kind == 'memory map': return np.load(npy('M.npy', X), mmap_mode='r'), X
    if kind == 'part of a map': return np.load(npy('Q.npy', np.repeat(X, 2, 0)), mmap_mode='r')[::2], X
    if kind == 'copy on write': return np.load(npy('W.npy', X), mmap_mode='c'), X
    if kind == 'npy shards': return [npy('1.npy', X[:7]), str(npy('2.npy', X[7:8])), npy('3.npy', X[8:])], X
    if kind == 'big-endian': return npy('B.npy', X.astype('>f8')), X
    if kind == 'fortran': return npy('F.npy', np.asfortranarray(X)), X
    if kind == 'int16': return npy('I.npy', (X*10).astype('i2')), (X*10).astype('i2')
    if kind == 'two dimensions': return npy('2D.npy', X[:, 0]), X[:, :1]
    if kind == 'windows': return WindowSource(STEPS, starts, L), X
    if kind == 'windows of files':
        return WindowSource([npy('r0.npy', STEPS[:219]), npy('r1.npy', STEPS[203:])], [starts[:29], starts[29:] - 203], L), X
    if kind == 'array': return ArraySource(X, chunk=UNIT), X
    if kind == 'mixed shards': return ShardedSource([X[:9], npy('S.npy', X[9:20]), ArraySource(X[20:], chunk=UNIT)]), X
    library = dict(z='zarr', h='h5py', p='pyarrow', f='pyarrow', c='pyarrow')[kind[0]]
    pytest.importorskip(library, reason=f'needs {library}')
    return dict(zarr=zarr_file, h5py=h5_file, pyarrow=arrow_file)[library](kind, d), X

def zarr_file(kind, d):
    import zarr
    chunks = dict(data=X, chunks=(UNIT, C, L))
    if kind == 'zarr': zarr.create_array(d/'X.zarr', **chunks); return d/'X.zarr'
    if kind == 'zarr array': return zarr.create_array(d/'A.zarr', **chunks)
    if kind == 'zarr group': zarr.create_array(d/'G.zarr', name='train/X', **chunks); return f'{d}/G.zarr::train/X'
    if kind == 'zarr, in parts': return zarr.create_array(d/'C.zarr', data=X, chunks=(UNIT, 1, 5))
    if kind == 'zarr shards': return zarr.create_array(d/'S.zarr', shards=(2*UNIT, C, L), **chunks)
    if kind == 'zarr 2': zarr.create_array(d/'2.zarr', zarr_format=2, **chunks); return d/'2.zarr'
    if kind == 'zarr in memory': return zarr.create_array({}, **chunks)
    if kind == 'zarr files': return [zarr.create_array(d/f'{i}.zarr', data=o, chunks=(UNIT, C, L)) for i, o in enumerate((X[:33], X[33:]))]
    if kind == 'zarr zip':
        with zarr.storage.ZipStore(d/'X.zarr.zip', mode='w') as s: zarr.create_array(s, **chunks)
        return d/'X.zarr.zip'
    if kind == 'zarr windows':
        return WindowSource(zarr.create_array(d/'R.zarr', data=STEPS, chunks=(50, C)), np.arange(0, 7*N, 7), L)

def h5_file(kind, d):
    import h5py
    with h5py.File(d/f'{kind}.h5', 'w') as f:
        stored = {} if kind == 'h5 contiguous' else dict(chunks=(UNIT, C, L), compression='gzip')
        f.create_dataset('in/X', data=X, **stored)
        f.create_dataset('R', data=STEPS, chunks=(50, C))
    if kind == 'h5 windows': return WindowSource(f'{d}/{kind}.h5::R', np.arange(0, 7*N, 7), L)
    if kind == 'h5 data set': return h5py.File(d/f'{kind}.h5')['in/X']
    return f'{d}/{kind}.h5::in/X'

def arrow_file(kind, d):
    import pyarrow as pa, pyarrow.feather as feather, pyarrow.parquet as pq
    column = pa.FixedSizeListArray.from_arrays(X.ravel(), C*L)
    table = pa.table([column], schema=pa.schema([pa.field('series', column.type, metadata=dict(shape=f'[{C}, {L}]'))]))
    if kind == 'parquet': pq.write_table(table, d/'X.parquet', row_group_size=UNIT); return d/'X.parquet'
    if kind == 'feather': feather.write_feather(table, d/'X.feather', chunksize=UNIT); return f'{d}/X.feather::series'
    if kind == 'column': return pa.FixedShapeTensorArray.from_numpy_ndarray(X)
    if kind == 'column, transposed':
        return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(X.transpose(0, 2, 1)).transpose(0, 2, 1))
    if kind == 'parquet files':
        for i, k in enumerate((0, 25)): pq.write_table(table[k:k + 25 + 10*i], d/f'{i}.parquet', row_group_size=UNIT)
        return [d/'0.parquet', d/'1.parquet']

KINDS = ['npy', 'Path', 'memory map', 'part of a map', 'copy on write', 'npy shards', 'big-endian', 'fortran', 'int16', 'two dimensions',
         'windows', 'windows of files', 'array', 'mixed shards', 'zarr', 'zarr array', 'zarr group', 'zarr, in parts', 'zarr shards',
         'zarr 2', 'zarr in memory', 'zarr files', 'zarr zip', 'zarr windows', 'h5', 'h5 contiguous', 'h5 data set', 'h5 windows',
         'parquet', 'feather', 'column', 'column, transposed', 'parquet files']
FEW = ['npy', 'mixed shards', 'zarr', 'h5', 'parquet', 'zarr windows']      # one of each way to read

@pytest.fixture(scope='module')
def files(tmp_path_factory):
    "Each kind is written once"
    made, folder = {}, tmp_path_factory.mktemp('sources')
    def get(kind):
        if kind not in made:
            (folder/kind).mkdir()
            made[kind] = written(kind, folder/kind)
        return made[kind]
    yield get
    for given, _ in made.values():
        if hasattr(given, 'file'): given.file.close()

@pytest.fixture(params=KINDS)
def pair(request, files): return files(request.param)

@pytest.fixture(params=FEW)
def few(request, files): return files(request.param)

def loaders(X, **kwargs):
    args = dict(splits=SPLITS, batch_tfms=TSStandardize(by_var=True), bs=8, device='cpu') | kwargs
    return get_ts_dls(X, Y, **args)

def batches(dl): return [tuple(o.as_subclass(Tensor).clone() for o in b) for b in dl]
def rows(dl): return [dl.rows.tolist() for _ in dl]
def flat(o): return [i for b in o for i in b]
def equal(a, b): return len(a) == len(b) and all(torch.equal(x, y) for p, q in zip(a, b) for x, y in zip(p, q))


# ---------------------------------------------------------------- the same values as in memory

@pytest.mark.parametrize('idx', [[3], [5, 1, 40], [7, 7, -1, 0, 7], [], np.arange(60), np.arange(59, -1, -1), slice(3, 30),
                                 slice(None, None, -3), np.arange(60) % 3 == 0, -60, torch.tensor([2, 1]), np.arange(7, 10),
                                 np.uint8([9, 8])],
                         ids=lambda o: f'{type(o).__name__} {o if isinstance(o, slice) else np.asarray(o).size}')
def test_rows(few, idx):
    given, want = few
    got = as_source(given)[idx]
    assert np.array_equal(got, want[idx]) and (got.dtype == want.dtype or got.dtype == '>f8')

def test_all_rows(pair):
    given, want = pair
    s = as_source(given)
    assert is_source(s) and check_series(s) is s and s.shape == want.shape and len(s) == N and s.nbytes == N*s.row_bytes
    order = np.random.default_rng(1).integers(-N, N, 100)
    for _ in range(2):      # the second time with a unit that is kept
        assert np.array_equal(s.read(order), want[order]) and np.array_equal(s[5:7], want[5:7])
    assert np.array_equal(np.asarray(s), want) and torch.equal(as_series(s), as_series(want))
    s.close(); assert np.array_equal(s[-1], want[-1]) and repr(s)

def test_rows_that_are_not_there(few):
    s = as_source(few[0])
    for bad, text in (([60], 'no series 60 in .* which has 60'), ([0, -61], 'no series -61'), ([1.5], 'numbers of series'),
                      ([[1]], 'shape .1, 1.')):
        with pytest.raises(IndexError, match=text): s.read(bad)
    with pytest.raises(IndexError): s[np.ones(59, bool)]

@pytest.mark.parametrize('tfm', [TSStandardize(by_var=True), TSNormalize(by_var=True, by_step=True), TSRobustScale()], ids=str)
def test_loaders(pair, tfm):
    given, want = pair
    a, b = loaders(given, batch_tfms=tfm), loaders(want, batch_tfms=tfm)
    f, g = (o.train.after_batch.fs[0].fn for o in (a, b))
    assert torch.equal(f.shift, g.shift) and torch.equal(f.scale, g.scale)
    assert equal(batches(a.valid), batches(b.valid)) and equal(batches(a.new_dl(given)), batches(b.new_dl(want)))
    assert equal(batches(a.train.new(shuffle=False)), batches(b.train.new(shuffle=False)))
    ds = a.train.dataset
    assert ds.scan() == (0, 0) and (a.vars, a.len, a.c) == (b.vars, b.len, b.c) and ds.X.kind in repr(ds)

@pytest.mark.parametrize('kwargs', [dict(sel_vars=[1], sel_steps=slice(2, None, 3)), dict(tfms=[lambda x: x.cumsum(2), None]),
                                    dict(inputs=dict(age=np.arange(N)/7)), dict(sel_vars=-1, tfms=[lambda x: x*2, None], inplace=False)],
                         ids=['selection', 'function', 'inputs', 'both'])
def test_data_sets(few, kwargs):
    given, want = few
    a, b = (TSDatasets(o, Y, splits=SPLITS, **kwargs) for o in (given, want))
    for p, q in ((a, b), (a.train, b.train), (a.valid[[3, 1]], b.valid[[3, 1]]), (a.valid[4:], b.valid[4:])):
        assert len(p) == len(q) and p.shape == q.shape and equal([p.read(p.idxs)], [q.read(q.idxs)])
        assert equal([[o] for o in p.chunks(7)], [[o] for o in q.chunks(7)])
    assert torch.equal(a.valid[2][0], b.valid[2][0])
    more = dict(inputs=dict(age=np.arange(N)/7)) if 'inputs' in kwargs else {}
    assert equal([a.new(given, Y, **more).read(a.idxs)], [b.new(want, Y, **more).read(b.idxs)]) and len(a.new_empty()) == 0

def test_predictions(pair):
    given, want = pair
    learn = ts_learner(loaders(want), InceptionTime, nf=4, depth=3, seed=0)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-2)
        p, t, labels = learn.get_X_preds(want, Y, bs=13)
        q, u, others = learn.get_X_preds(given, Y, bs=13)
    assert torch.equal(p, q) and torch.equal(t, u) and np.array_equal(labels, others)

def test_training(few):
    "Without units the order is that of an array, and so are the weights; with units, of an array that is shuffled in them"
    def train(X, **kwargs):
        learn = ts_learner(loaders(X, **kwargs), InceptionTime, nf=4, depth=3, seed=0)
        with learn.no_bar(), learn.no_logging(): learn.fit(2, 1e-2)
        return torch.cat([o.flatten() for o in learn.model.parameters()])
    given, want = few
    assert torch.equal(train(given, shuffle_chunks=False), train(want))
    if isinstance(as_source(given), ZarrSource):
        assert torch.equal(train(given, buffer=2*UNIT), train(want, shuffle_chunks=UNIT, buffer=2*UNIT))

def test_predictions_of_splits(few):
    "In the order of the data, whatever order training draws; and what deploys a model takes a source, too"
    given, want = few
    a, b = (ts_learner(loaders(o, buffer=UNIT), InceptionTime, nf=4, depth=3, seed=0) for o in (given, want))
    with a.no_bar(), b.no_bar():
        for i in (0, 1): assert all(torch.equal(p, q) for p, q in zip(a.get_preds(ds_idx=i), b.get_preds(ds_idx=i)))
        assert torch.equal(a.get_preds(dl=a.dls.test_dl(given))[0], b.get_preds(dl=b.dls.test_dl(want))[0])
        assert torch.equal(to_predictor(a)(as_source(given)), to_predictor(b)(want))
    a.show_results(max_n=2); a.dls.show_batch(max_n=2, unique=True); plt.close('all')

@pytest.mark.parametrize('arch', [MiniRocket, InceptionTime])
def test_closed_form(few, arch):
    def solve(X):
        size = dict(num_features=84) if arch is MiniRocket else dict(nf=4, depth=3)
        learn = ts_learner(loaders(X, batch_tfms=None), arch, seed=0, **size)
        with learn.no_bar(), learn.no_logging(): learn.fit_ridge()
        return torch.cat([o.flatten() for o in learn.model.parameters()])
    assert torch.equal(solve(few[0]), solve(few[1]))

def test_estimator_and_run(few):
    given, want = few
    fit = lambda X: TSNetClassifier('InceptionTime', epochs=1, arch_params=dict(nf=4, depth=3), random_state=0, device='cpu').fit(X, Y)
    same_order = fit(want).predict_proba(want)
    p = fit(given)
    assert np.array_equal(p.predict_proba(given), p.predict_proba(want)) and p.n_channels_ == C
    if as_source(given).chunk is None: assert np.array_equal(p.predict_proba(want), same_order)
    a, b = (RunData(o, Y, SPLITS) for o in (given, want))
    assert data_digest(a) == data_digest(b) and not lacks_values(a.X)
    assert len(TrainingRun(RunSettings(epochs=1, device='cpu'), a).dls().train.dataset) == 30

@pytest.mark.parametrize('kwargs', [{}, dict(by_var=False), dict(by_step=True), dict(by_var=[[0, 1]]), dict(exclude_vars=[0])], ids=str)
def test_quartiles_of_more_than_is_held(files, kwargs, monkeypatch):
    given, want = files('npy')
    want = np.where(np.random.default_rng(2).random(want.shape) < .1, np.nan, want); want[:, 0, 3] = np.nan
    tfms = [TSRobustScale(**kwargs), TSNan2Value()]
    a = loaders(want, batch_tfms=tfms).train.after_batch.fs[0].fn
    monkeypatch.setattr(preprocessing, '_HELD', 50)
    b = loaders(want, batch_tfms=tfms).train.after_batch.fs[0].fn
    assert torch.equal(a.shift, b.shift) and torch.equal(a.scale, b.scale)


# ---------------------------------------------------------------- other processes and threads

def test_worker_processes(pair):
    given, want = pair
    a, b = loaders(given, num_workers=2, timeout=60), loaders(given)
    as_source(given)[:]     # this process has decoded before the others start
    assert equal(batches(a.valid), batches(b.valid)) and equal(batches(a.valid), batches(loaders(want).valid))
    for dls in (a, b): dls.train.reseed(3)
    for _ in range(2): assert equal(batches(a.train), batches(b.train))

@pytest.fixture(scope='module')
def pool():
    "A process that starts anew, as on macOS and Windows"
    with multiprocessing.get_context('spawn').Pool(1) as p: yield p

def test_process_that_starts_anew(pair, pool):
    given, want = pair
    ds = TSDatasets(given, Y, splits=SPLITS)
    idx = torch.tensor([5, 0, N - 1, 5])
    x, y = pool.apply(operator.getitem, (BatchReader(ds.train), idx))
    assert torch.equal(x, as_series(want)[idx]) and torch.equal(y, ds.y[idx])
    again = pickle.loads(pickle.dumps(copy.deepcopy(loaders(given))))
    assert equal(batches(again.valid), batches(loaders(want).valid))

def test_what_is_sent_does_not_grow_with_the_file(tmp_path):
    def sent(make, *sizes):
        return [len(pickle.dumps(BatchReader(TSDatasets(make(k), Y, splits=SPLITS).train))) for k in sizes]
    def npy(k): np.save(tmp_path/f'{k}.npy', np.zeros((N, C, k), 'f4')); return tmp_path/f'{k}.npy'
    def mapped(k): return np.load(npy(k), mmap_mode='r')
    kinds = [npy, mapped]
    with suppress(ImportError):
        import zarr
        def zarr_array(k): return zarr.create_array(tmp_path/f'{k}.zarr', data=np.zeros((N, C, k), 'f4'), chunks=(UNIT, C, k))
        kinds.append(zarr_array)
    for make in kinds:
        small, large = sent(make, 10, 10_000)
        assert abs(large - small) < 100 and small < 10_000

def test_files_that_are_open(files, tmp_path):
    "A group or a file that holds one array stands for it; a data set is read from its file, which may be closed then"
    with suppress(ImportError):
        import h5py
        with h5py.File(tmp_path/'X.h5', 'w') as f:
            f.create_group('deep')['X'] = X
            s = [as_source(o) for o in (f, f['deep'], f['deep/X'])]
            assert all(np.array_equal(o[3:5], X[3:5]) for o in s)
        assert all(np.array_equal(o[3:5], X[3:5]) for o in (*s, *pickle.loads(pickle.dumps(s))))
        f = h5py.File('memory', 'w', driver='core', backing_store=False); f['X'] = X
        assert np.array_equal(as_source(f['X'])[[4, 1]], X[[4, 1]])
        with pytest.raises(ValueError, match='HDF5 file in memory, which other processes cannot open'): pickle.dumps(as_source(f['X']))
    with suppress(ImportError):
        import zarr
        zarr.create_array(tmp_path/'G.zarr', name='deep/X', data=X)
        assert np.array_equal(as_source(zarr.open_group(tmp_path/'G.zarr'))[3:5], X[3:5])

def test_large_units_are_told():
    with pytest.warns(UserWarning, match='in units of 3000 series, 2.2 GB each.*smaller units'):
        Source((10_000, 2, 10**5), 'f4', chunk=3000)

def test_threads(pair):
    s, want = as_source(pair[0]), pair[1]
    def read(i):
        idx = np.random.default_rng(i).integers(i % 50, i % 50 + 9, 5)
        return np.array_equal(s.read(idx), want[idx])
    every = sys.getswitchinterval(); sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as threads: assert all(threads.map(read, range(200)))
    finally: sys.setswitchinterval(every)

def test_pickles_of_earlier_versions(files):
    "They hold a memory map, which loads as an array"
    ds = TSDatasets(np.load(files('npy')[0], mmap_mode='r'), Y, splits=SPLITS)
    old = TSDatasets.__new__(TSDatasets)
    old.__setstate__({**ds.__getstate__(), 'X': pickle.loads(pickle.dumps(np.load(files('npy')[0], mmap_mode='r')))})
    assert isinstance(old.X, NpySource) and equal([old.train.read(torch.arange(5))], [ds.train.read(torch.arange(5))])


# ---------------------------------------------------------------- the order of files that are decoded in units

class Counted(Source):
    "Counts how often each unit is decoded"
    def __init__(self, n=1000, chunk=50, by_unit=False):
        super().__init__((n, 1, 4), 'f4', chunk=chunk)
        self.by_unit, self.decoded, self.most = by_unit, np.zeros(-(-n//chunk), int), 0
    def take(self, rows):
        if isinstance(rows, slice): rows = np.arange(rows.start, rows.stop)
        self.decoded[np.unique(self.units(rows))] += 1
        self.most = max(self.most, len(rows))
        return np.broadcast_to(rows[:, None, None], (len(rows), 1, 4)).astype('f4')

def counted(n_train=1000, n=1000, **kwargs):
    source = Counted(n)
    dls = get_ts_dls(source, np.arange(n) % 2, splits=(range(n_train), range(n_train, n)), **dict(bs=16, device='cpu') | kwargs)
    source.decoded[:] = 0; source.most = 0
    return source, dls

@pytest.mark.parametrize('kwargs', [{}, dict(buffer=150), dict(buffer=1), dict(buffer=10**6), dict(shuffle_chunks=30),
                                    dict(shuffle_chunks=False), dict(bs=64, buffer=100), dict(bs=700)], ids=str)
@pytest.mark.parametrize('drop_last', [None, False])
def test_each_series_once_an_epoch(kwargs, drop_last):
    source, dls = counted(990, drop_last=drop_last, **kwargs)
    dl, bs = dls.train, kwargs.get('bs', 16)
    dl.reseed(0); first = rows(dl); second = rows(dl); dl.reseed(0)
    assert rows(dl) == first != second
    for o in (first, second):
        left = 990 - len(flat(o))
        assert len(set(flat(o))) == len(flat(o)) and left < bs and (left == 0 or drop_last is None)
        assert len(o) == len(dl) and flat(o) != sorted(flat(o))
    for b, r in zip(batches(dl.new(shuffle=False)), torch.arange(990).split(bs)): assert b[0][:, 0, 0].tolist() == r.tolist()
    assert set(flat(o for _ in range(12) for o in rows(dl))) == set(range(990))

def test_series_of_each_batch(few):
    given, want = few
    dl = loaders(given, batch_tfms=None, buffer=20).train
    for b in dl: assert np.array_equal(b[0].as_subclass(Tensor).numpy(), want[dl.rows.numpy()])

def test_units_are_decoded_once_or_twice():
    source, dls = counted(990, buffer=160)
    for _ in dls.train: pass
    assert source.decoded.max() <= 2 and source.decoded.sum() <= 20 + 7 and source.most <= 160
    mixed = [len({i // 50 for i in b}) for b in rows(dls.train)]
    assert np.mean(mixed) > 2.5         # of the three or four units that are held
    source, dls = counted(990, shuffle_chunks=False)
    for _ in dls.train: pass
    assert source.decoded.sum() > 500

@pytest.mark.parametrize('by_unit', [False, True])
def test_units_in_order(by_unit):
    "Batches that follow each other decode a unit once, also without a loader"
    source = Counted(by_unit=by_unit)
    for i in range(0, 1000, 10): assert source[i:i + 10][:, 0, 0].tolist() == list(range(i, i + 10))
    assert source.decoded.max() == 1 and len(pickle.dumps(source)) < 1000
    source = Counted(by_unit=True)
    for i in range(0, 1000, 7): source[i:i + 7]
    assert source.decoded.max() == 1

def test_loads_of_worker_processes():
    for workers in (0, 2):
        source, dls = counted(990, buffer=160, num_workers=workers)
        dls.train.reseed(0)
        out = batches(dls.train)
        if workers == 0: want = out
    assert equal(out, want)

def test_part_of_an_epoch():
    source, dls = counted(990, buffer=160, partial_n=.2)
    assert len(flat(rows(dls.train))) == 198//16*16 and source.decoded.sum() <= 8
    assert len({tuple(sorted(flat(rows(dls.train)))) for _ in range(3)}) == 3

@pytest.mark.parametrize('kwargs,message', [
    (dict(shuffle_chunks='all'), "shuffle_chunks is 'all'"), (dict(shuffle_chunks=-3), 'shuffle_chunks is -3'),
    (dict(buffer=0), 'buffer is 0'), (dict(shuffle_chunk=3), "Did you mean 'shuffle_chunks'"),
    (dict(shuffle_chunks=50, weights=np.ones(990)), 'leave shuffle_chunks out'),
    (dict(shuffle_chunks=True, sampler=StratifiedSampler(np.arange(990) % 2)), 'leave shuffle_chunks out')], ids=lambda o: ' '.join(o))
def test_arguments_of_the_order(kwargs, message):
    with pytest.raises(ValueError, match=message): counted(990, **kwargs)

def test_units_of_what_has_none(files):
    given, want = files('npy')
    for o in (given, want):
        with pytest.raises(ValueError, match='not stored in units of several series.*shuffle_chunks=1000'): loaders(o, shuffle_chunks=True)
        dl = loaders(o, shuffle_chunks=10, buffer=10, batch_tfms=None).train
        dl.reseed(0); r = rows(dl)
        whole = loaders(o, shuffle_chunks=10, buffer=10, drop_last=False).train
        assert len({i // 10 for i in r[0]}) <= 3 and sorted(flat(whole.batches())) == list(range(30))
        for b in dl: assert np.array_equal(b[0].as_subclass(Tensor).numpy(), want[dl.rows.numpy()])

def test_weights_and_samplers_draw_from_everywhere():
    source, dls = counted(990, weights=np.r_[np.ones(5), np.zeros(985)])
    assert set(flat(rows(dls.train))) <= set(range(5))
    source, dls = counted(990, sampler=StratifiedSampler(np.arange(990) % 2, bs=16))
    assert sorted(flat(rows(dls.train))) == list(range(990))


# ---------------------------------------------------------------- bad input

def damaged(d):
    "Files that cannot be read, with the error that says why: (X, kind of error, message)"
    def text(name, s): (d/name).write_bytes(s); return d/name
    np.save(d/'X.npy', X); whole = (d/'X.npy').read_bytes()
    np.save(d/'object.npy', np.array([[1], [2, 3]], dtype=object)); np.save(d/'text.npy', np.array([['a', 'b']]))
    np.save(d/'flat.npy', np.zeros(9)); np.save(d/'four.npy', np.zeros((2, 2, 2, 2))); np.save(d/'complex.npy', np.zeros((3, 4), complex))
    np.save(d/'short.npy', X[..., 1:]); np.savez(d/'X.npz', X=X)
    yield d/'Y.npy', FileNotFoundError, "There is no file .*Y.npy. Did you mean 'X.npy'"
    yield d/'nowhere/X.npy', FileNotFoundError, 'folder .*nowhere does not exist'
    yield text('half.npy', whole[:len(whole)//2]), OSError, r'half.npy ends early: it has 3,\d+ bytes.*\(60, 2, 16\).* takes 7,808'
    yield text('head.npy', whole[:20]), OSError, 'head.npy cannot be read as NumPy.*write or copy it again'
    yield text('noise.npy', b'noise'*50), OSError, 'noise.npy cannot be read as NumPy'
    yield text('empty.npy', b''), OSError, 'empty.npy cannot be read as NumPy'
    yield d/'object.npy', OSError, 'object.npy holds Python objects'
    yield d/'text.npy', ValueError, 'text.npy has dtype <U1. Expected numbers'
    yield d/'complex.npy', ValueError, 'complex.npy has dtype complex128. Expected numbers'
    yield d/'flat.npy', ValueError, r'flat.npy has shape \(9,\).*WindowSource'
    yield d/'four.npy', ValueError, r'four.npy has shape \(2, 2, 2, 2\)'
    yield [d/'X.npy', d/'short.npy'], ValueError, r'Shard 1 \(.*short.npy\) has series of shape \(2, 15\); those of shard 0'
    yield [d/'X.npy', d/'Y.npy'], FileNotFoundError, 'Y.npy'
    yield d/'X.npz', ValueError, r'X.npz.*Expected .npy, .zarr.*from_csv'
    yield text('X.csv', b'1,2'), ValueError, 'X.csv.*TSDataLoaders.from_csv'
    yield 'NATOPS', FileNotFoundError, "X is 'NATOPS', and there is no such file.*get_UCR_data"
    yield d, ValueError, 'hold no array of series'
    for library, harm in (('zarr', damaged_zarr), ('h5py', damaged_h5), ('pyarrow', damaged_arrow)):
        with suppress(ImportError): yield from harm(d, text)

def damaged_zarr(d, text):
    import zarr
    zarr.create_array(d/'G.zarr', name='X', data=X, chunks=(UNIT, C, L)); zarr.create_array(d/'G.zarr', name='more/y', data=np.arange(N))
    yield d/'Y.zarr', FileNotFoundError, 'There is no file .*Y.zarr'
    yield d/'G.zarr', KeyError, "G.zarr holds 2 arrays: 'X', 'more/y'. Say which one: .*G.zarr::X"
    yield f'{d}/G.zarr::Z', KeyError, "holds no array 'Z'.*It holds: 'X', 'more/y'"
    yield zarr.open_group(d/'G.zarr', mode='r'), KeyError, "The group '' of .*holds 2 arrays: 'X', 'more/y'"
    yield f'{d}/G.zarr::more/y', ValueError, r'shape \(60,\)'
    (d/'no.zarr').mkdir()
    yield d/'no.zarr', OSError, 'no.zarr cannot be read as Zarr'
    zarr.create_array(d/'one.zarr', data=X)
    yield f'{d}/one.zarr::X', KeyError, 'one Zarr array, and no group'
    yield text('half.zarr.zip', b'PK'), OSError, 'half.zarr.zip cannot be read as Zarr'

def damaged_h5(d, text):
    import h5py
    with h5py.File(d/'X.h5', 'w') as f: f['X'] = X; f['more/y'] = np.arange(N); f['words'] = np.array([b'a', b'b'])[:, None]
    yield d/'Y.h5', FileNotFoundError, "no file .*Y.h5. Did you mean"
    yield d/'X.h5', KeyError, "X.h5 holds 3 arrays: 'X', 'more/y', 'words'. Say which one"
    yield f'{d}/X.h5::more', KeyError, "holds no array 'more'"
    yield f'{d}/X.h5::words', ValueError, 'has dtype .S1. Expected numbers'
    yield text('half.h5', (d/'X.h5').read_bytes()[:4000]), OSError, 'half.h5 cannot be read as HDF5'
    yield text('noise.h5', b'noise'*500), OSError, 'noise.h5 cannot be read as HDF5'
    f = h5py.File(d/'X.h5')
    yield f, KeyError, 'holds 3 arrays'
    closed = f['X']; f.close()
    yield closed, ValueError, 'a file that is closed'

def damaged_arrow(d, text):
    import pyarrow as pa, pyarrow.parquet as pq
    lists = pa.FixedSizeListArray.from_arrays(X.ravel(), C*L)
    pq.write_table(pa.table(dict(series=lists, again=lists, id=pa.array(range(N)))), d/'X.parquet')
    pq.write_table(pa.table(dict(id=pa.array(range(N)))), d/'flat.parquet')
    yield d/'Y.parquet', FileNotFoundError, 'no file'
    yield d/'X.parquet', KeyError, "2 columns of lists: series, again. Say which one: .*X.parquet::series"
    yield f'{d}/X.parquet::serie', KeyError, "no column 'serie'. Did you mean 'series'"
    yield f'{d}/X.parquet::id', ValueError, 'holds one value of type int64'
    yield d/'flat.parquet', ValueError, 'flat.parquet has no column of lists.*its columns: id.*pandas.read_parquet'
    yield text('half.parquet', (d/'X.parquet').read_bytes()[:3000]), OSError, 'half.parquet cannot be read as Parquet'
    yield text('noise.feather', b'noise'*50), OSError, 'noise.feather cannot be read as an Arrow file'
    yield pa.array(['a']), ValueError, 'Expected a list'
    yield pa.array([['a']]), ValueError, 'Expected numbers'

def test_what_cannot_be_read(tmp_path):
    for given, error, message in damaged(tmp_path):
        with pytest.raises(error, match=message): get_ts_dls(given, Y, device='cpu')

def test_damage_that_shows_when_it_is_read(tmp_path):
    "The error names the file and the series"
    with suppress(ImportError):
        import zarr
        zarr.create_array(tmp_path/'X.zarr', data=X, chunks=(UNIT, C, L))
        chunk = sorted(o for o in (tmp_path/'X.zarr').rglob('*') if o.is_file() and o.name != 'zarr.json')[2]
        chunk.write_bytes(chunk.read_bytes()[:9])
        with pytest.raises(OSError, match=r'Series \d+ to \d+ of .*X.zarr cannot be read .*may be damaged'):
            get_ts_dls(tmp_path/'X.zarr', Y, device='cpu')
    with suppress(ImportError):
        import pyarrow as pa, pyarrow.parquet as pq
        pq.write_table(pa.table(dict(x=pa.array([[1., 2.], [3., 4.], [5.]]))), tmp_path/'X.parquet', row_group_size=2)
        with pytest.raises(OSError, match='Series 2 to 2 of .*X.parquet.*1 rows have 1 values; expected 2'):
            as_source(tmp_path/'X.parquet')[:]
        with pytest.raises(OSError, match='a row has no list'): ArrowSource(pa.array([[1.], None]))[:]
    s = as_source(ArraySource(X))
    s.stored.shape = (61, C, L)
    with pytest.raises(OSError, match=r'had shape \(61, 2, 16\) when it was opened first'): s.read([3])
    class Short(Source):
        def take(self, rows): return np.zeros((1, 2, 3))
    with pytest.raises(OSError, match=r'gave an array of shape \(1, 2, 3\) for 2 series. Expected \(2, 2, 3\)'):
        Short((9, 2, 3), 'f4', 'mine').read([1, 5])

@pytest.mark.parametrize('library,file', [('zarr', 'X.zarr'), ('h5py', 'X.h5'), ('pyarrow', 'X.parquet'), ('pyarrow', 'X.feather')])
def test_without_the_library(library, file, tmp_path, monkeypatch):
    (tmp_path/file).write_bytes(b'0')
    monkeypatch.setitem(sys.modules, library, None)
    for k in [k for k in sys.modules if k.startswith(library + '.')]: monkeypatch.setitem(sys.modules, k, None)
    with pytest.raises(ImportError, match=rf"needs '{library}.*pip install 'tsfast-learn\[files\]'"): get_ts_dls(tmp_path/file, Y)

@pytest.mark.parametrize('bad,message', [(np.nan, 'have missing values'), (np.inf, 'infinite values')])
def test_bad_values(tmp_path, bad, message):
    a = X.copy(); a[40, 1, 3] = bad
    np.save(tmp_path/'X.npy', a)
    with pytest.raises(ValueError, match=message): get_ts_dls(tmp_path/'X.npy', Y, device='cpu')
    with pytest.raises(ValueError, match=message): loaders(X).new_dl(tmp_path/'X.npy')

def test_other_shapes_than_in_training(files):
    dls = loaders(files('npy')[0])
    with pytest.raises(ValueError, match=r'Expected \(n, 2, 16\)'): dls.new_dl(ArraySource(X[:, :1]))
    with pytest.raises(ValueError, match='60 series and 59 targets'): get_ts_dls(files('npy')[0], Y[:-1])
    with pytest.raises(ValueError, match='opened with tsfast.data.sources.as_source'): check_series(files('npy')[0])
    with pytest.raises(ValueError, match='no series'): TSDatasets(ArraySource(X[:0]))
    class Lazy: shape, dtype = (3, 4, 5), np.dtype('f4')
    with pytest.raises(ValueError, match='opened with tsfast.data.sources.ArraySource'): check_series(Lazy())


# ---------------------------------------------------------------- memory

LIMITED = '''if True:
    import resource, sys
    import numpy as np, torch
    from torch import nn
    from tsfast.data.core import get_ts_dls
    from tsfast.data.preprocessing import TSRobustScale, TSStandardize
    from tsfast.data.sources import WindowSource, as_source
    from tsfast.learner import ts_learner
    path, n, mb, kind = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    class Pooled(nn.Module):
        def __init__(self, c_in, c_out): super().__init__(); self.fc = nn.Linear(16*c_in, c_out)
        def forward(self, x): return self.fc(nn.functional.adaptive_avg_pool1d(x, 16).flatten(1))
    small = np.random.default_rng(0).normal(size=(50, 3, 1000)).astype('f4')
    def use(X, n):      # everything that a file goes through
        tfms = [TSStandardize(by_var=True), *([TSRobustScale()] if kind == 'npy' else [])]
        dls = get_ts_dls(X, np.arange(n) % 2, batch_tfms=tfms, bs=128, buffer=1000, device='cpu')
        learn = ts_learner(dls, Pooled, seed=0)
        with learn.no_bar(), learn.no_logging():
            learn.fit(1); learn.fit_ridge()
            return learn.get_X_preds(X, bs=128)[0].mean()
    use(small, 50)      # what is imported on first use
    if kind != 'windows': as_source(path)[::5]      # and the threads of a library, with their stacks
    used = int(next(l for l in open('/proc/self/status') if l.startswith('VmData')).split()[1])*1024
    resource.setrlimit(resource.RLIMIT_DATA, (used + mb*2**20,)*2)
    X = WindowSource(path, window=1000, stride=37) if kind == 'windows' else path
    print(float(use(X, len(X) if kind == 'windows' else n)))
    if kind == 'npy':   # the limit is one
        try: np.load(path)
        except MemoryError: print('too large')
'''

def large_file(kind, path, n):
    "A file of `n` series of 3 channels and 1000 steps, in units of 100"
    noise = np.random.default_rng(0).normal(size=(100, 3, 1000)).astype('f4')
    def part(i): return noise[:n - i] + np.float32(i % 7)
    if kind == 'npy':
        a = np.lib.format.open_memmap(path, 'w+', np.float32, (n, 3, 1000))
        for i in range(0, n, 100): a[i:i + 100] = part(i)
    if kind == 'windows':
        a = np.lib.format.open_memmap(path, 'w+', np.float32, (n*37, 3))
        for i in range(0, len(a), 10**5): a[i:i + 10**5] = noise.reshape(-1, 3)[:len(a) - i]
    if kind == 'zarr':
        a = pytest.importorskip('zarr').create_array(path, shape=(n, 3, 1000), chunks=(100, 3, 1000), dtype='f4')
        for i in range(0, n, 100): a[i:i + 100] = part(i)
    if kind == 'h5':
        with pytest.importorskip('h5py').File(path, 'w') as f:
            a = f.create_dataset('X', (n, 3, 1000), 'f4', chunks=(100, 3, 1000))
            for i in range(0, n, 100): a[i:i + 100] = part(i)
    if kind == 'parquet':
        pa, pq = pytest.importorskip('pyarrow'), pytest.importorskip('pyarrow.parquet')
        schema = pa.schema([pa.field('x', pa.list_(pa.float32(), 3000), metadata=dict(shape='[3, 1000]'))])
        with pq.ParquetWriter(path, schema, compression='none', use_dictionary=False) as w:
            for i in range(0, n, 100): w.write_table(pa.table([pa.FixedSizeListArray.from_arrays(part(i).ravel(), 3000)], schema=schema))

@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='limits memory as Linux does')
@pytest.mark.parametrize('kind', ['npy', 'zarr', 'h5', 'parquet', 'windows'])
def test_memory(kind, tmp_path):
    "180 MB of series are read with less private memory than they take: statistics, an epoch, the closed form, predictions"
    n, mb = 16_000, 130
    large_file(kind, path := tmp_path/f'X.{"npy" if kind == "windows" else kind}', n)
    # what is freed is given back at once
    env = os.environ | dict(PYTHONPATH=os.getcwd(), MALLOC_ARENA_MAX='2', MALLOC_MMAP_THRESHOLD_='1000000')
    r = subprocess.run([sys.executable, '-c', LIMITED, str(path), str(n), str(mb), kind], capture_output=True, text=True, env=env)
    assert r.returncode == 0, r.stderr[-3000:]
    assert kind != 'npy' or 'too large' in r.stdout
