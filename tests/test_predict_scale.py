"Predictions at scale: batches of columns for Ray and Spark, shares that can be started again, and the examples of the tutorial as they stand"
import asyncio, os, pickle, signal, subprocess, sys, time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fastcore.nbio import read_nb

from tsfast.batches import series_of_columns
from tsfast.cli import main
from tsfast.cli.shares import spans
from tsfast.data.core import get_ts_dls
from tsfast.data.file_parts import count_series, series_parts
from tsfast.data.preprocessing import TSNan2Value, TSStandardize
from tsfast.data.targets import TSClassification, TSMultiLabelClassification, TSRegression
import tsfast.deploy # noqa: it gives learners save_bundle
from tsfast.inference import Predictor
from tsfast.learner import ts_learner
from tsfast.spark import predict_frames

C, L, N = 2, 8, 41
rng = np.random.default_rng(0)
X = rng.normal(size=(N, C, L)).astype(np.float32)
y = np.array(['no', 'yes'])[np.arange(N) % 2]
root = Path(__file__).resolve().parents[1]


def save(path, y=y, t=None, fill=False, **kwargs):
    batch_tfms = [TSStandardize(), *([TSNan2Value()] if fill else [])]
    dls = get_ts_dls(X, y, splits=(range(30), range(30, N)), tfms=[None, t or TSClassification()], batch_tfms=batch_tfms, bs=8, device='cpu', **kwargs)
    return ts_learner(dls, 'FCN', seed=0, layers=[4, 4], kss=[3, 3]).save_bundle(path)

@pytest.fixture(scope='module')
def bundle(tmp_path_factory): return save(tmp_path_factory.mktemp('bundles')/'b', channels=['left', 'right'])

@pytest.fixture
def file(tmp_path):
    "Series in several row groups that are no multiples of a batch"
    pa, pq = pytest.importorskip('pyarrow'), pytest.importorskip('pyarrow.parquet')
    series = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), C*L)
    pq.write_table(pa.table(dict(id=np.arange(N), series=series, label=y)), tmp_path/'x.parquet', row_group_size=7)
    return tmp_path/'x.parquet'

def predict(*args): return main(['predict', *map(str, args)])

def page_code(start):
    "A block of code of the tutorial"
    nb = read_nb(root/'nbs'/'tutorials'/'11_predictions_at_scale.ipynb')
    blocks = [c.source for c in nb.cells if c.cell_type == 'code']
    blocks += [o.split('```')[0] for c in nb.cells if c.cell_type == 'markdown' for o in c.source.split('```python\n')[1:]]
    return next(o for o in blocks if o.startswith(start))


# ---------------------------------------------------------------- batches of columns

def nested(v):
    "As pandas reads lists of lists from Parquet"
    res = np.empty(len(v), dtype=object)
    for i, o in enumerate(v): res[i] = np.fromiter(o, dtype=object, count=len(o)) if o.ndim == 2 else o
    return res

@pytest.mark.parametrize('form', ['3d', 'flat', 'objects', 'nested', 'lists', 'tensor', 'float64'])
def test_forms_of_a_column(bundle, form):
    v = {'3d': X, 'flat': X.reshape(N, -1), 'objects': nested(X.reshape(N, -1)), 'nested': nested(X), 'lists': X.tolist(), 'tensor': torch.tensor(X), 'float64': X.astype(np.float64)}[form]
    p = Predictor(bundle)
    out = p({'id': np.arange(N), 'series': v})
    assert list(out) == ['id', 'prediction', 'p(no)', 'p(yes)'] and out['id'].tolist() == list(range(N))
    assert np.array_equal(np.stack([out['p(no)'], out['p(yes)']], 1), p(X).numpy()) and out['prediction'].tolist() == p.predict(X).tolist()

def test_several_columns(bundle):
    "A column for each channel, and one for each value"
    want = Predictor(bundle)(X)[:, 1].numpy()
    p = Predictor(bundle, series_columns=['left', 'right'])
    assert np.array_equal(p(dict(right=X[:, 1], left=X[:, 0], id=np.arange(N)))['p(yes)'], want)
    names = [f't{i}' for i in range(C*L)]
    wide = pd.DataFrame(X.reshape(N, -1), columns=names).assign(id=range(N))
    got = Predictor(bundle, series_columns=names).predict_columns(wide)
    assert list(got) == ['id', 'prediction', 'p(no)', 'p(yes)'] and np.array_equal(got['p(yes)'], want)

def test_a_dict_of_channels_is_none_of_columns(bundle):
    p = Predictor(bundle)
    assert torch.equal(p(dict(left=X[:, 0], right=X[:, 1])), p(X)) and torch.equal(p(X), p(torch.tensor(X)))

@pytest.mark.parametrize('fill', [False, True])
def test_lengths(tmp_path, fill):
    "Short series are padded as in a list, or predicted one length at a time"
    p = Predictor(save(tmp_path/'b', fill=fill))
    series = [x[:, :5 + i % 3] for i, x in enumerate(X)]
    out = p(dict(series=nested(series)))['p(yes)']
    want = p(series)[:, 1].numpy() if fill else np.array([p(x[None])[0, 1].item() for x in series])
    assert np.allclose(out, want, atol=1e-6)
    flat = p(dict(series=[x.ravel() for x in series]))['p(yes)']
    assert np.allclose(flat, want, atol=1e-6)

KINDS = {'number': (rng.normal(50, 9, N), TSRegression()), 'several': (rng.normal(50, 9, (N, 3)), TSRegression()),
         'lists': (([['a'], ['a', 'b'], [], ['c']]*N)[:N], TSMultiLabelClassification()), 'steps': (np.array(['up', 'down'])[rng.integers(0, 2, (N, L))], TSClassification())}

@pytest.mark.parametrize('kind', KINDS)
def test_all_targets(kind, tmp_path):
    "As dict, as frame, and with no rows; the schema fits"
    p = Predictor(save(tmp_path/'b', *KINDS[kind]))
    want, out = p.predict(X), p(dict(series=X))
    df = p.predict_columns(pd.DataFrame(dict(series=list(X))))
    assert [np.ravel(o).tolist() for o in out['prediction']] == [np.ravel(o).tolist() for o in want] == [np.ravel(o).tolist() for o in df.prediction]
    assert list(out) == list(df) == list(p(dict(series=X[:0]))) == list(p.predict_columns(pd.DataFrame(dict(series=[]))))
    assert predict_frames(tmp_path/'b').schema('id bigint').startswith('id bigint, `prediction` ' + dict(number='float', several='array<float>', lists='array<string>', steps='array<string>')[kind])

@pytest.mark.parametrize('batch,text', [
    (dict(series=[X[0], None]), "no series in row 1"), (dict(series=np.array(['a', 'b'])), 'has the type <U1'), (dict(series=X, prediction=y), "a column 'prediction' already"),
    (dict(series=X.reshape(N, -1)[:, 1:]), '15 values in a row'), (dict(series=np.ones(3)), 'one values in a row'), (dict(series=[['a'], ['b']]), 'has the type <U1'),
    (dict(series=[[1, 2, [3]]]), 'row 0'), (dict(series=np.full((2, C, L), np.nan, np.float32)), 'missing values')])
def test_what_is_refused(bundle, batch, text):
    with pytest.raises(ValueError, match=text): Predictor(bundle)(batch)

def test_refused_columns(bundle):
    with pytest.raises(KeyError, match="no column 'x'. Its columns: series"): Predictor(bundle, series_columns='x')(dict(series=X))
    with pytest.raises(ValueError, match='series of different lengths in a row'): series_of_columns(dict(a=[[1, 2]], b=[[1]]), 2)

def test_a_call_does_not_call_itself(bundle):
    "Ray wraps `__call__` so that it runs in one thread: a call inside a call would wait for ever"
    class Once(Predictor):
        busy = False
        def __call__(self, *args, **kwargs):
            assert not self.busy
            self.busy = True
            try: return super().__call__(*args, **kwargs)
            finally: self.busy = False
    p = Once(bundle)
    assert len(p(dict(series=X))['prediction']) == N == len(p(X))
    with pytest.raises(ValueError): p(dict(series=[X[0], X[1][:, :4]*np.nan]))


# ---------------------------------------------------------------- Spark

def test_frames(bundle, file):
    "What Spark does: pickles the function, and calls it in another process with an iterator of frames"
    df, f = pd.read_parquet(file), predict_frames(bundle)
    assert len(pickle.dumps(f)) < 1000
    got = pd.concat(pickle.loads(pickle.dumps(f))(df[i:i + 10] for i in range(0, N, 10)))
    assert got.prediction.tolist() == Predictor(bundle).predict(X).tolist() and list(got) == ['id', 'label', 'prediction', 'p(no)', 'p(yes)']
    assert f.schema('id bigint, label string') == 'id bigint, label string, `prediction` string, `p(no)` float, `p(yes)` float'
    assert f.predictor is predict_frames(str(bundle)).predictor, 'one predictor for each process'
    code = f"import pickle, pandas as pd\nf = pickle.loads({pickle.dumps(f)!r})\nprint(len(next(f(iter([pd.read_parquet({str(file)!r})])))))"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == str(N)
    cloudpickle = pytest.importorskip('cloudpickle')
    assert len(next(pickle.loads(cloudpickle.dumps(f))([df]))) == N

@pytest.mark.filterwarnings('ignore:PySpark does not yet fully support pandas:FutureWarning')
@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::ResourceWarning')
def test_spark(bundle, file, tmp_path, monkeypatch):
    sql = pytest.importorskip('pyspark.sql')
    monkeypatch.setenv('PYSPARK_PYTHON', sys.executable)
    spark = sql.SparkSession.builder.master('local[1]').config('spark.ui.enabled', 'false').getOrCreate()
    try:
        f = predict_frames(bundle)
        spark.read.parquet(str(file)).drop('label').mapInPandas(f, f.schema('id bigint')).write.parquet(str(tmp_path/'out'))
    finally: spark.stop()
    got = pd.read_parquet(tmp_path/'out').sort_values('id')
    assert got.prediction.tolist() == Predictor(bundle).predict(X).tolist()


# ---------------------------------------------------------------- shares

@pytest.mark.parametrize('n', [1, 2, 3, 5, 8])
@pytest.mark.parametrize('counts', [[41], [8], [1], [16, 3, 20], [0, 9]])
def test_spans(n, counts):
    "All series once, in order, and batches stay whole"
    got = [o for i in range(1, n + 1) for o in spans(counts, 8, (i, n))]
    assert [(j, k) for j, (a, b) in got for k in range(a, b)] == [(j, k) for j, c in enumerate(counts) for k in range(c)]
    assert all(a % 8 == 0 and (b % 8 == 0 or b == counts[j]) for j, (a, b) in got)
    sizes = [sum(b - a for _, (a, b) in spans(counts, 8, (i, n))) for i in range(1, n + 1)]
    assert max(sizes) - min(sizes) <= 16

def as_kind(file, kind):
    f = file.with_name(f'{file.stem}.{kind}')
    if kind == 'npy': np.save(f, X)
    elif kind == 'ts': f.write_text('@timeStamps false\n@classLabel true no yes\n@data\n' + ''.join(':'.join(','.join(f'{v:.9g}' for v in c) for c in x) + f':{l}\n' for x, l in zip(X, y)))
    elif kind == 'csv': pd.DataFrame(X.reshape(N, -1)).add_prefix('t').assign(label=y).to_csv(f, index=False)
    elif kind == 'zarr': pytest.importorskip('zarr').create_array(f, data=X, chunks=(7, C, L))
    return f

@pytest.mark.parametrize('kind', ['parquet', 'npy', 'ts', 'csv', 'zarr'])
def test_parts_of_files(file, kind):
    f = as_kind(file, kind)
    assert count_series(f, C, L) == N
    for span in ((0, N), (8, 24), (7, 14), (40, N), (3, 4)):
        for rows in (1, 5, 100):
            got = list(series_parts(f, C, L, rows, span=span))
            assert np.array_equal(np.concatenate([np.asarray(x) for x, _ in got]), X[slice(*span)])
            if kind not in ('npy', 'zarr'): assert np.concatenate([o for _, o in got]).tolist() == y[slice(*span)].tolist()
            if kind != 'ts': assert [len(x) for x, _ in got[:-1]] == [rows]*(len(got) - 1)

def test_other_row_groups_are_not_read(file, monkeypatch):
    import pyarrow.parquet as pq
    seen, plain = [], pq.ParquetFile.iter_batches
    def iter_batches(self, *args, row_groups=None, **kwargs):
        seen.append(row_groups)
        return plain(self, *args, row_groups=row_groups, **kwargs)
    monkeypatch.setattr(pq.ParquetFile, 'iter_batches', iter_batches)
    list(series_parts(file, C, L, 8, span=(8, 16)))
    assert seen == [[1, 2]]

@pytest.mark.parametrize('kind', ['parquet', 'npy', 'csv'])
@pytest.mark.parametrize('suffix', ['parquet', 'csv'])
def test_shares_are_the_whole(bundle, file, tmp_path, kind, suffix):
    f, read = as_kind(file, kind), dict(parquet=pd.read_parquet, csv=pd.read_csv)[suffix]
    for i in (1, 2, 3): assert predict(bundle, f, '--bs', 4, '--shard', f'{i}/3', '--out', tmp_path/('part-{i:02}of{n}.' + suffix)) == 0
    assert predict(bundle, f, '--bs', 4, '--out', tmp_path/f'all.{suffix}') == 0
    parts = [read(tmp_path/f'part-{i:02}of3.{suffix}') for i in (1, 2, 3)]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), read(tmp_path/f'all.{suffix}'))
    assert [len(o) for o in parts] == [16, 16, 9]

def test_several_files(bundle, file, tmp_path):
    "They have a column with their names, and shares go over all of them"
    a, b = tmp_path/'a.npy', tmp_path/'b.npy'
    np.save(a, X[:13]); np.save(b, X[13:])
    assert predict(bundle, a, b, '--bs', 4, '--out', tmp_path/'all.csv') == 0
    for i in (1, 2): assert predict(bundle, a, b, '--bs', 4, '--shard', f'{i}/2', '--out', tmp_path/'p{i}.csv') == 0
    got = pd.read_csv(tmp_path/'all.csv')
    pd.testing.assert_frame_equal(pd.concat([pd.read_csv(tmp_path/f'p{i}.csv') for i in (1, 2)], ignore_index=True), got)
    assert got.file.tolist() == [str(a)]*13 + [str(b)]*28 and got.series.tolist() == [*range(13), *range(28)] and got.prediction.tolist() == Predictor(bundle).predict(X).tolist()

def test_files_of_recordings_are_dealt_out_whole(bundle, tmp_path):
    (tmp_path/'days').mkdir()
    for i in range(3): pd.DataFrame(dict(left=X[i].ravel(), right=X[i + 3].ravel())).to_csv(tmp_path/'days'/f'{i}.csv', index=False)
    assert predict(bundle, tmp_path/'days', '--windows', '--out', tmp_path/'all.csv') == 0
    for i in (1, 2): assert predict(bundle, tmp_path/'days', '--windows', '--shard', f'{i}/2', '--out', tmp_path/'p{i}.csv') == 0
    parts = [pd.read_csv(tmp_path/f'p{i}.csv') for i in (1, 2)]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), pd.read_csv(tmp_path/'all.csv'))
    assert [o.file.unique().tolist() for o in parts] == [['0.csv', '1.csv'], ['2.csv']]

@pytest.mark.parametrize('suffix', ['parquet', 'csv'])
def test_parts_that_are_there_are_kept(bundle, file, tmp_path, capsys, suffix):
    args, part = (bundle, file, '--bs', 4, '--shard', '1/2', '--out', tmp_path/('p{i}.' + suffix)), tmp_path/f'p1.{suffix}'
    assert predict(*args) == 0 and '24 predictions' in capsys.readouterr().out
    before = part.stat().st_mtime_ns
    assert predict(*args) == 0 and 'there already, and is kept' in capsys.readouterr().out and part.stat().st_mtime_ns == before
    assert predict(*args, '--overwrite') == 0 and '24 predictions' in capsys.readouterr().out and part.stat().st_mtime_ns > before

def test_a_share_does_not_replace_another_one(bundle, file, tmp_path, capsys):
    "Without its number in the name, which a shell may have put there"
    for i in (1, 2): assert predict(bundle, file, '--bs', 4, '--shard', f'{i}/2', '--out', tmp_path/f'p-{i}.csv') == 0
    capsys.readouterr()
    before = (tmp_path/'p-1.csv').read_bytes()
    assert predict(bundle, file, '--bs', 4, '--shard', '2/2', '--out', tmp_path/'p-1.csv') == 2 and 'p-1-{i}.csv; or --overwrite' in capsys.readouterr().err
    assert (tmp_path/'p-1.csv').read_bytes() == before
    assert predict(bundle, file, '--bs', 4, '--shard', '2/2', '--out', tmp_path/'p-1.csv', '--overwrite') == 0
    assert (tmp_path/'p-1.csv').read_bytes() == (tmp_path/'p-2.csv').read_bytes() != before

def test_parts_of_something_else_are_refused(bundle, file, tmp_path, capsys):
    out = tmp_path/'p{i}.parquet'
    assert predict(bundle, file, '--shard', '1/2', '--bs', 4, '--out', out) == 0
    other = save(tmp_path/'other', y[::-1].copy())
    for args, text in (((bundle, file, '--shard', '1/4', '--bs', 4), 'has shard [1, 2], not [1, 4]'), ((bundle, file, '--shard', '1/2', '--bs', 8), 'has bs 4, not 8'), ((other, file, '--shard', '1/2', '--bs', 4), 'is of another model')):
        assert predict(*args, '--out', out) == 1
        err = capsys.readouterr().err
        assert text in err and '--overwrite' in err
    pd.DataFrame(dict(a=[1])).to_parquet(tmp_path/'p1.parquet')
    assert predict(bundle, file, '--shard', '1/2', '--out', out) == 1 and 'does not say what it is' in capsys.readouterr().err

def test_an_interrupted_part_starts_anew(bundle, tmp_path):
    "A process that is killed leaves no file under the final name; what it leaves is removed by the next"
    np.save(tmp_path/'x.npy', np.tile(X, (2000, 1, 1)))
    args = ['predict', str(bundle), str(tmp_path/'x.npy'), '--bs', '4', '--shard', '1/2', '--out', str(tmp_path/'out'/'p{i}.csv')]
    p = subprocess.Popen([sys.executable, '-c', f'import sys; from tsfast.cli import main; sys.exit(main({args!r}))'], env={**os.environ, 'OMP_NUM_THREADS': '1'})
    try:
        end = time.time() + 60
        while time.time() < end and not any(o.stat().st_size for o in (tmp_path/'out').glob('.p1.csv.*')): time.sleep(.02)
    finally: p.kill(); p.wait()
    left = list((tmp_path/'out').iterdir())
    assert p.returncode == -signal.SIGKILL and len(left) == 1 and left[0].suffix == '.tmp' and left[0].stat().st_size
    np.save(tmp_path/'x.npy', X)
    assert main(args) == 0 and [o.name for o in (tmp_path/'out').iterdir()] == ['p1.csv']

@pytest.mark.parametrize('args,code,text', [
    (['--shard', '0/4'], 2, "expected i/n, such as 1/4, not '0/4'"), (['--shard', '5/4'], 2, "not '5/4'"), (['--shard', 'x'], 2, "not 'x'"), (['--out', 'p{i}.csv'], 2, 'Add --shard'),
    (['--overwrite'], 2, '--overwrite is for parts'), (['--shard', '30/30'], 1, 'no series for --shard 30/30'), (['--shard', '1/2', '--windows'], 2, '--shard is for series')])
def test_wrong_options(bundle, tmp_path, capsys, monkeypatch, args, code, text):
    np.save(tmp_path/'x.npy', X)
    monkeypatch.chdir(tmp_path)
    assert predict(bundle, 'x.npy', *args) == code and text in capsys.readouterr().err
    assert predict(bundle, tmp_path, 'x.npy') == 2 and 'is a folder. Give several files, or one folder' in capsys.readouterr().err


# ---------------------------------------------------------------- the examples of the tutorial

@pytest.fixture
def italy(tmp_path, monkeypatch, file):
    "The folder that the examples run in"
    save(tmp_path/'italy')
    file.rename(tmp_path/'series.parquet')
    monkeypatch.chdir(tmp_path)
    return Predictor('italy')

@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_server_collects_requests(italy):
    "Requests at the same time are one batch; a wrong one is answered by itself"
    pytest.importorskip('fastapi')
    httpx = pytest.importorskip('httpx')
    space = {}
    exec(page_code("server = '''"), dict(Path=Path), space)
    app = {}
    exec(space['server'], app)
    sizes, plain = [], app['predictor']
    def counted(batch): sizes.append(len(batch['series'])); return plain(batch)
    app['predictor'] = type('Counted', (), dict(__call__=lambda self, b: counted(b), input_shape=plain.input_shape))()
    async def ask():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app['app']), base_url='http://test') as client:
            post = lambda o: client.post('/predict', json=o)
            return await asyncio.gather(*(post(x.tolist()) for x in X), post(X[0, :, 1:].tolist()), post('x'))
    *answers, short, text = asyncio.run(ask())
    assert len(sizes) < 5 and sum(sizes) == N
    want = italy(dict(series=X))
    assert [o.json()['prediction'] for o in answers] == want['prediction'].tolist() and np.allclose([o.json()['p(yes)'] for o in answers], want['p(yes)'], atol=1e-5)
    assert short.status_code == text.status_code == 422 and 'Expected (channels, length) = (2, 8)' in short.text
    assert len([o for o in space['server'].splitlines() if o.strip()]) <= 25

@pytest.fixture(scope='module')
def ray():
    "A local Ray with two cores. Its warnings are its own"
    ray = pytest.importorskip('ray')
    pytest.importorskip('ray.data')
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=dict(env_vars=dict(PYTHONPATH=str(root))))
        yield ray
        ray.shutdown()

@pytest.mark.filterwarnings('ignore')
def test_ray_data(italy, ray, monkeypatch):
    monkeypatch.setattr(ray, 'init', lambda **kwargs: None)
    code = page_code('import ray\n')
    assert 'map_batches(Predictor' in code
    exec(code, dict(os=os))
    got = pd.read_parquet('predictions').sort_values('id')
    assert list(got) == ['id', 'label', 'prediction', 'p(no)', 'p(yes)'] and got.prediction.tolist() == italy.predict(X).tolist()
    assert np.allclose(got['p(yes)'], italy(X)[:, 1], atol=1e-5)

@pytest.mark.filterwarnings('ignore')
def test_ray_serve(italy, ray):
    serve = pytest.importorskip('ray.serve')
    httpx = pytest.importorskip('httpx')
    exec(page_code('import numpy as np\nfrom ray import serve'), dict(os=os, __name__='server'))
    try:
        answer = httpx.post('http://127.0.0.1:8000/', json=X[0].tolist(), timeout=30).json()
        assert answer['prediction'] == italy.predict(X[:1])[0]
    finally: serve.shutdown()
