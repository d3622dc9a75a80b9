"`tsfast predict` reads, predicts and writes some rows at a time: the same rows as at once, memory that does not grow, nothing half-written"
import csv, os, subprocess, sys, tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsfast.cli import deployed, main
from tsfast.data import file_parts
from tsfast.data.core import get_ts_dls
from tsfast.data.file_parts import recording_parts, series_parts
from tsfast.data.preprocessing import TSNan2Value, TSStandardize
from tsfast.data.steps import RecordingSettings
from tsfast.data.table_files import read_table
from tsfast.data.tables import read_series
from tsfast.data.targets import TSClassification, TSMultiLabelClassification, TSRegression
import tsfast.deploy # noqa: it gives learners save_bundle
from tsfast.inference import Predictor
from tsfast.learner import ts_learner

C, L, N = 2, 8, 40
rng = np.random.default_rng(0)
X = rng.normal(size=(N, C, L)).astype(np.float32)
y = np.array(['no', 'yes'])[np.arange(N) % 2]
NAMES = ['left', 'right']
steps = rng.normal(size=(300, C)).astype(np.float32)


def save(path, y=y, t=None, recording=None, **kwargs):
    dls = get_ts_dls(X, y, splits=(range(30), range(30, N)), tfms=[None, t or TSClassification()], batch_tfms=[TSStandardize(), TSNan2Value()], bs=8, **kwargs)
    for o in dls.loaders: o.dataset.recording = recording
    return ts_learner(dls, 'FCN', seed=0, layers=[4, 4], kss=[3, 3]).save_bundle(path)

@pytest.fixture(scope='module')
def bundle(tmp_path_factory): return save(tmp_path_factory.mktemp('bundles')/'b', channels=NAMES)

@pytest.fixture
def small(monkeypatch):
    "Files are read in small parts"
    monkeypatch.setattr(deployed, '_PART', 1)
    monkeypatch.setattr(file_parts, '_FIRST', 200)

def write_csv(file, X, y=None, sep=',', header=False):
    with open(file, 'w') as f:
        if header: f.write(sep.join([*(['label'] if y is not None else []), *(f't{i}' for i in range(X[0].size))]) + '\n')
        for i, x in enumerate(X): f.write(sep.join([*([y[i]] if y is not None else []), *(f'{v:.9g}' for v in x.ravel())]) + '\n')

def rows_of(file): return list(csv.DictReader(Path(file).read_text(encoding='utf-8').splitlines()))

def predict(*args): return main(['predict', *map(str, args)])


# ---------------------------------------------------------------- series

@pytest.mark.parametrize('rows', [1, 7, 40, 100])
@pytest.mark.parametrize('kind', ['csv', 'tsv', 'txt', 'npy', 'ts', 'parquet', 'lists'])
def test_parts_are_the_whole(tmp_path, rows, kind):
    f = tmp_path/f"x.{'parquet' if kind == 'lists' else kind}"
    labels = y
    if kind == 'npy': np.save(f, X); labels = None
    elif kind == 'ts': f.write_text('@timeStamps false\n@classLabel true no yes\n@data\n' + ''.join(':'.join(','.join(f'{v:.9g}' for v in c) for c in x) + f':{l}\n' for x, l in zip(X, y)))
    elif kind in ('parquet', 'lists'):
        pytest.importorskip('pyarrow')
        df = pd.DataFrame(X.reshape(N, -1)).add_prefix('t') if kind == 'parquet' else pd.DataFrame({n: list(X[:, i]) for i, n in enumerate(NAMES)})
        df.assign(label=y).to_parquet(f)
    else: write_csv(f, X, y, dict(csv=',', tsv='\t', txt=' ')[kind], header=kind == 'csv')
    got = list(series_parts(f, C, L, rows))
    assert np.array_equal(np.concatenate([np.asarray(x) for x, _ in got]), X)
    if labels is not None: assert np.concatenate([o for _, o in got]).tolist() == y.tolist()
    if kind != 'ts': assert [len(x) for x, _ in got] == [min(rows, N - i) for i in range(0, N, rows)]
    if kind not in ('parquet', 'lists'): assert np.array_equal(read_series(f, C, L)[0], X)

@pytest.mark.parametrize('kind', ['zarr', 'h5', 'arrow'])
def test_stored_arrays(bundle, small, tmp_path, kind, capsys):
    "Arrays of series that are read as sources, and a recording"
    lib = pytest.importorskip(dict(zarr='zarr', h5='h5py', arrow='pyarrow')[kind])
    f, r, name = tmp_path/f'x.{kind}', tmp_path/f'r.{kind}', ''
    if kind == 'zarr':
        lib.create_array(f, data=X, chunks=(7, C, L)); lib.create_array(r, data=steps, chunks=(50, C))
    elif kind == 'h5':
        with lib.File(f, 'w') as o: o['X'] = X; o['other'] = X[:1]
        with lib.File(r, 'w') as o: o['a'] = steps
        name = '::X'
    else:
        from pyarrow import feather
        feather.write_feather(lib.table({'series': lib.FixedSizeListArray.from_arrays(lib.array(X.ravel()), C*L)}), f)
    assert predict(bundle, f'{f}{name}', '--bs', 4, '--out', tmp_path/'p.csv') == 0
    assert [o['prediction'] for o in rows_of(tmp_path/'p.csv')] == Predictor(bundle).predict(X).tolist()
    if kind != 'arrow':
        assert predict(bundle, r, '--windows', '--stride', 5, '--out', tmp_path/'q.csv') == 0
        assert [o['label'] for o in rows_of(tmp_path/'q.csv')] == Predictor(bundle).predict_windows(steps, stride=5).label.tolist()
    capsys.readouterr()
    assert predict(bundle, tmp_path/f'no.{kind}') == 1 and 'There is no file' in capsys.readouterr().err

@pytest.mark.parametrize('header,body,label', [
    ('', '{i},5.5,6,{i}.5\n', 'first'), ('', '{i}.25,6,7.5,{i}\n', 'last'), ('0,1,2\n', '5.5,6,{i}\n', None), ('a,b,c,label\n', '5.5,6,7,{i}\n', 'last'),
    ('id,0,1,2,label\n', '{i},5.5,6,7,2\n', 'known'), (',0,1,2\n', '{i},5.5,6,7\n', None)])
@pytest.mark.filterwarnings('ignore:.*is read as names of columns:UserWarning')
def test_the_first_part_decides(tmp_path, header, body, label):
    "As the whole does, where its rows are alike"
    f = tmp_path/'a.csv'
    f.write_text(header + ''.join(body.replace('{i}', str(i)) for i in range(300)))
    whole, parts = read_series(f, 1, 3), list(series_parts(f, 1, 3, 64))
    assert np.array_equal(np.concatenate([x for x, _ in parts]), whole[0]) and len(whole[0]) == 300
    assert (whole[1] is None) == (label is None) == (parts[0][1] is None)
    table = file_parts.TextTable(f, 1, 3, 300)
    assert np.array_equal(np.concatenate([x for x, _ in table.parts(64)]), whole[0])

def test_errors_beyond_the_first_part(tmp_path):
    "They name the line, or the byte"
    f, good = tmp_path/'a.csv', '1.5,2.5,3.5\n'*2000
    for end, text in ((b'1,2\n', 'line 2001: 2 values, separated by commas'), (b'1,2,x\n', "line 2001, column 3: could not convert 'x'"), (b'1,\xfc,3\n', 'byte 24002 is 0xfc')):
        f.write_bytes(good.encode() + end)
        with pytest.raises(ValueError, match=text): list(file_parts.TextTable(f, 1, 3, 300).parts(64))
    f.write_text(good.replace(',', ';') + '1,5;2,5;3,5\n')
    with pytest.raises(ValueError, match='commas and numbers with points'): list(file_parts.TextTable(f, 1, 3, 300).parts(64))

def test_parquet_files_that_do_not_fit(tmp_path):
    pytest.importorskip('pyarrow')
    f = tmp_path/'a.parquet'
    for df, text in ((pd.DataFrame(np.ones((3, 5))).add_prefix('t'), '5 columns. Expected 2 × 8 = 16'), (pd.DataFrame(dict(left=[[1.]], up=[[1.]], down=[[1.]])), r"3 columns of lists, \['left', 'up', 'down'\]"),
                     (pd.DataFrame(dict(left=[np.ones(9)], right=[np.ones(9)])), "'left' has a list of 9. Expected 8"), (pd.DataFrame(dict(left=[['x']], right=[['x']])), "column 'left' has the type list<.*Expected numbers"),
                     (pd.DataFrame(np.ones((0, 16))).add_prefix('t'), 'holds no series')):
        df.to_parquet(f)
        with pytest.raises(ValueError, match=text): list(series_parts(f, C, L, 4))
    f.write_bytes(b'no')
    with pytest.raises(ValueError, match='cannot be read as a Parquet file'): list(series_parts(f, C, L, 4))
    pd.DataFrame(dict(right=[[1., 2], [3.]], left=[[4.], [5., 6]])).to_parquet(f)
    x = next(series_parts(f, C, L, 4, NAMES))[0]
    for lists in (list(X.reshape(N, -1)), [list(map(list, o)) for o in X]):
        pd.DataFrame(dict(id=range(N), series=lists)).to_parquet(f)
        assert np.array_equal(np.concatenate([o for o, _ in series_parts(f, C, L, 7)]), X)
    pd.DataFrame(dict(series=[np.ones(16), np.ones(15)])).to_parquet(f)
    with pytest.raises(ValueError, match='a list of 15. Expected 16'): list(series_parts(f, C, L, 4))
    assert x[:, 0, 0].tolist() == [4, 5] and x[0, 1, :2].tolist() == [1, 2] and np.isnan(x[1, 1, 1:]).all()

@pytest.mark.parametrize('out', ['p.csv', 'p.parquet', None, '-'])
def test_command_writes_as_it_comes(bundle, small, tmp_path, capsys, out):
    write_csv(tmp_path/'x.csv', X, y, header=True)
    if out == 'p.parquet': pytest.importorskip('pyarrow')
    file = None if out is None else out if out == '-' else tmp_path/'new'/out
    assert predict(bundle, tmp_path/'x.csv', '--bs', 4, *(('--out', file) if file else ())) == 0
    said, p = capsys.readouterr(), Predictor(bundle)
    want, labels = p(X, bs=4).numpy(), p.predict(X, bs=4)
    agree = f'{(labels == y).sum()} of 40 agree with the labels'
    if out in (None, '-'): rows = list(csv.DictReader(said.out.splitlines())); assert agree in said.err
    else:
        assert agree in said.out and '40 predictions of FCN' in said.out and len(list(file.parent.iterdir())) == 1
        rows = rows_of(file) if out == 'p.csv' else pd.read_parquet(file).to_dict('records')
    assert [str(o['series']) for o in rows] == [str(i) for i in range(N)] and [o['prediction'] for o in rows] == labels.tolist()
    assert np.allclose([[float(o['p(no)']), float(o['p(yes)'])] for o in rows], want, atol=1e-5) and [o['label'] for o in rows] == y.tolist()
    if out == 'p.parquet': assert pd.read_parquet(file)['p(no)'].to_numpy().tolist() == want[:, 0].tolist() and pd.read_parquet(file).series.dtype == np.int64

KINDS = {'number': (rng.normal(50, 9, N), TSRegression()), 'several': (rng.normal(50, 9, (N, 3)), TSRegression()), 'lists': ([['a'], ['a', 'b'], [], ['c']]*(N//4), TSMultiLabelClassification()),
         'steps': (np.array(['up', 'down'])[rng.integers(0, 2, (N, L))], TSClassification())}

@pytest.mark.parametrize('kind', KINDS)
def test_parquet_of_all_targets(kind, small, tmp_path):
    pytest.importorskip('pyarrow')
    b = save(tmp_path/'b', *KINDS[kind])
    np.save(tmp_path/'x.npy', X)
    assert predict(b, tmp_path/'x.npy', '--bs', 8, '--out', tmp_path/'p.parquet') == 0 == predict(b, tmp_path/'x.npy', '--bs', 8, '--out', tmp_path/'p.csv')
    got, want = pd.read_parquet(tmp_path/'p.parquet'), Predictor(b).predict(X, bs=8)
    assert [np.ravel(o).tolist() for o in got.prediction] == [np.ravel(o).tolist() for o in want]
    assert len(rows_of(tmp_path/'p.csv')) == N and list(rows_of(tmp_path/'p.csv')[0]) == list(got.columns)

def test_shards(bundle, small, tmp_path, capsys):
    "They follow each other, in whole batches; one after the other they are the whole"
    write_csv(tmp_path/'x.csv', X, y)
    parts = []
    for i in (1, 2, 3):
        assert predict(bundle, tmp_path/'x.csv', '--bs', 4, '--shard', f'{i}/3', '--out', tmp_path/f'{i}.csv') == 0
        parts += rows_of(tmp_path/f'{i}.csv')
    predict(bundle, tmp_path/'x.csv', '--bs', 4, '--out', tmp_path/'all.csv')
    assert parts == rows_of(tmp_path/'all.csv')
    assert [len(rows_of(tmp_path/f'{i}.csv')) for i in (1, 2, 3)] == [16, 12, 12]
    capsys.readouterr()
    assert predict(bundle, tmp_path/'x.csv', '--bs', 40, '--shard', '2/2') == 1 and 'has no series for --shard 2/2' in capsys.readouterr().err
    assert predict(bundle, tmp_path/'x.csv', '--shard', '3/2') == 2 and "expected i/n, such as 1/4, not '3/2'" in capsys.readouterr().err

@pytest.mark.parametrize('out', ['p.csv', 'p.parquet'])
def test_nothing_half_written(bundle, small, tmp_path, capsys, out):
    "An error in the last row leaves the older file, and no other"
    if out == 'p.parquet': pytest.importorskip('pyarrow')
    write_csv(tmp_path/'x.csv', X, y)
    assert predict(bundle, tmp_path/'x.csv', '--out', tmp_path/'o'/out) == 0
    before = (tmp_path/'o'/out).read_bytes()
    with open(tmp_path/'x.csv', 'a') as f: f.write('no,1,2\n')
    for _ in range(2):
        assert predict(bundle, tmp_path/'x.csv', '--bs', 4, '--out', tmp_path/'o'/out) == 1 and 'line 41: 3 values' in capsys.readouterr().err
        assert not list((tmp_path/'o').iterdir()) or (tmp_path/'o'/out).read_bytes() == before and len(list((tmp_path/'o').iterdir())) == 1
        (tmp_path/'o'/out).unlink(missing_ok=True)
    assert predict(bundle, tmp_path/'x.csv', '--bs', 4) == 1 and len(capsys.readouterr().out.splitlines()) == 41     # what came before

@pytest.mark.parametrize('kind', ['csv', 'npy'])
def test_memory_does_not_grow_with_the_rows(bundle, tmp_path, kind, monkeypatch):
    monkeypatch.setattr(deployed, '_PART', 2**13)
    monkeypatch.setattr(file_parts, '_FIRST', 2**16)
    def peak(n):
        f, data = tmp_path/f'{n}.{kind}', np.tile(X, (n, 1, 1))
        np.save(f, data.astype(np.float64)) if kind == 'npy' else write_csv(f, data)
        del data
        tracemalloc.start()
        try: assert predict(bundle, f, '--out', tmp_path/'p.csv') == 0
        finally: _, top = tracemalloc.get_traced_memory(); tracemalloc.stop()
        return top, f.stat().st_size
    few, many = (peak(n) for n in (100, 400))
    assert many[1] > 4*few[1] - 1000 and many[0] < few[0] + (many[1] - few[1])/4, (few, many)

def test_a_file_larger_than_the_memory(bundle, tmp_path):
    "An array of 256 MB with 100 MB of memory beyond what the program itself has"
    resource = pytest.importorskip('resource')
    if not Path('/proc/self/status').exists(): pytest.skip('needs /proc')
    code = f"""
import resource, sys
from tsfast.cli import main
import tsfast.deploy, tsfast.data.file_parts, torch
torch.set_num_threads(1)
import numpy as np
np.save({str(tmp_path/'few.npy')!r}, np.zeros((2, {C}, {L}), np.float32))
assert main(['predict', {str(bundle)!r}, {str(tmp_path/'few.npy')!r}, '--out', {str(tmp_path/'few.csv')!r}]) == 0
used = next(int(o.split()[1])*1024 for o in open('/proc/self/status') if o.startswith('VmData'))
resource.setrlimit(resource.RLIMIT_DATA, (used + 100*2**20, -1))
sys.exit(main(['predict', {str(bundle)!r}, {str(tmp_path/'x.npy')!r}, '--windows', '--stride', '4096', '--out', {str(tmp_path/'p.csv')!r}]))"""
    np.lib.format.open_memmap(tmp_path/'x.npy', 'w+', np.float32, (2**25, C)).flush()      # zeros, which take no room on the disk
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    assert r.returncode == 0, r.stderr[-2000:]
    assert len(rows_of(tmp_path/'p.csv')) == 2**25//4096


# ---------------------------------------------------------------- recordings

day = pd.DataFrame(dict(when=pd.date_range('2024-01-31', periods=300, freq='s').astype(str), left=steps[:, 0], note='x', right=steps[:, 1]))

@pytest.mark.parametrize('kind', ['csv', 'tsv', 'semicolons', 'utf-16', 'npy', 'channels first', 'parquet', 'index'])
def test_recordings(bundle, tmp_path, monkeypatch, kind):
    "From each kind of file the same windows"
    monkeypatch.setattr(recording_parts, '__defaults__', (32, None))
    f = tmp_path/('x.' + {'npy': 'npy', 'channels first': 'npy', 'parquet': 'parquet', 'tsv': 'tsv'}.get(kind, 'csv'))
    if kind == 'npy': np.save(f, steps)
    elif kind == 'channels first': np.save(f, steps.T)
    elif kind == 'parquet': pytest.importorskip('pyarrow'); day.to_parquet(f)
    elif kind == 'semicolons': day.to_csv(f, sep=';', decimal=',', index=False)
    elif kind == 'index': day.to_csv(f)
    else: day.to_csv(f, sep='\t' if kind == 'tsv' else ',', index=False, encoding=kind if kind == 'utf-16' else None)
    assert predict(bundle, f, '--windows', '--stride', 5, '--out', tmp_path/'p.csv') == 0
    got, want = rows_of(tmp_path/'p.csv'), Predictor(bundle).predict_windows(steps if f.suffix == '.npy' else day, stride=5)
    assert list(got[0]) == ['start', 'end', 'label', 'p(no)', 'p(yes)'] and [o['label'] for o in got] == want.label.tolist()
    assert [o['start'] for o in got] == want.start.astype(str).tolist() and [o['end'] for o in got] == want.end.astype(str).tolist()
    assert np.allclose([float(o['p(yes)']) for o in got], want['p(yes)'], atol=1e-5)

def test_recordings_with_ids_and_options(tmp_path, monkeypatch):
    monkeypatch.setattr(recording_parts, '__defaults__', (32, None))
    pytest.importorskip('pyarrow')
    b = save(tmp_path/'b')
    df = pd.DataFrame(dict(who=['a']*100 + ['b']*200, t=np.r_[:100, :200], u=steps[:, 1], v=steps[:, 0]))
    df.to_csv(tmp_path/'x.csv', index=False)
    assert predict(b, tmp_path/'x.csv', '--windows', '--stride', 3, '--average', '--id', 'who', '--time', 't', '--channels', 'v', 'u', '--out', tmp_path/'p.parquet') == 0
    want = Predictor(b).predict_windows(df, stride=3, average=True, id='who', time='t', channels=['v', 'u'])
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path/'p.parquet'), want, check_dtype=False, atol=1e-5)
    np.save(tmp_path/'x.npy', steps[:, ::-1])
    assert predict(b, tmp_path/'x.npy', '--windows', '--channels', 1, 0, '--out', tmp_path/'q.csv') == 0
    assert np.allclose([float(o['p(yes)']) for o in rows_of(tmp_path/'q.csv')], Predictor(b).predict_windows(steps)['p(yes)'], atol=1e-5)

@pytest.mark.parametrize('text,names', [
    ('a,b\n1,2.5\n', ['a', 'b']), ('0,1\n1,2.5\n', ['0', '1']), ('0,1\n1,2\n', [0, 1]), ('2024-01-31,1\n2024-02-01,2\n', [0, 1]), ('who,t,1\nx,0,1.5\n', ['who', 't', '1']),
    (',a,b\n0,1,2\n', ['a', 'b']), ('a b\n1 2\n', ['a', 'b']), ('a\n1\n', ['a']), ('a;b\n1,5;?\n', ['a', 'b']), ('1,2\n', [0, 1])])
def test_names_of_columns(tmp_path, text, names):
    f = tmp_path/'a.csv'; f.write_text(text)
    df = next(recording_parts(f))
    assert list(df.columns) == names and len(df) == text.count('\n') - (type(names[0]) is str)

@pytest.mark.parametrize('enc', ['utf-8', 'utf-16', 'utf-16-le'])
@pytest.mark.parametrize('text', ['a|b\n1|2\n', '2024-01-31,1\n2024-02-01,2\n', 't;a\n0;1,5\n1;?\n', ',a,b\n0,1,2\n', 'up,1.5,2\ndown,4,3.5\n', 'up,1,2\nup,3,4\n', 'id,1,2,4\nx,1.5,2,3\n', '0,1\n1,2.5\n',
                                  'a;b\n' + '1;2\n'*60 + '1,5;2\n', '"a, left"\tb\n1\t2\n'])
def test_one_set_of_rules_for_text(tmp_path, text, enc):
    "Separator, decimal mark, encoding and names are the same for training and for predictions"
    (tmp_path/'a.csv').write_bytes(text.encode(enc))
    a, b = read_table(tmp_path/'a.csv'), pd.concat(recording_parts(tmp_path/'a.csv'))
    pd.testing.assert_frame_equal(a, b.set_axis(list(map(str, b.columns)), axis=1))

def test_what_is_refused(bundle, tmp_path, capsys):
    f = tmp_path/'a.csv'
    np.save(tmp_path/'a.npy', np.ones((20, 3))); np.save(tmp_path/'b.npy', np.ones((2, 2, 2)))
    (tmp_path/'a.ts').write_text('@data\n')
    for data, args, text in (
            ('left,right\n1,2\n3,x\n'*1, ['--windows'], "'right' of the recording is a channel and holds something other than numbers, such as 'x' in row 1"), ('left,right\n1,2\n', ['--windows'], 'has 1 steps, too few'),
            ('left,rigth\n' + '1,2\n'*9, ['--windows'], "no column 'right'"), ('', ['--windows'], 'a.csv is empty'), ('left,right\n1,2\n1,2,3\n', ['--windows'], 'line 3'),
            ('left,right\n' + '1,2\n'*9, ['--stride', '3'], '--stride is for the windows of recordings. Add --windows'), ('left,right\n' + '1,2\n'*9, ['--windows', '--shard', '1/2'], '--shard is for series'),
            ('left,right\n' + '1,2\n'*9, [], 'pass --windows'), (b'left,right\n1,\xfc\n', ['--windows'], 'cannot be read as UTF-8: byte 13 is 0xfc')):
        f.write_bytes(data if isinstance(data, bytes) else data.encode())
        assert predict(bundle, f, *args) in (1, 2)
        err = capsys.readouterr().err
        assert text in err and err.count('\n') == 1, err
    for name, text in (('a.npy', '(20, 3)'), ('b.npy', '(2, 2, 2)'), ('a.ts', "ends in '.ts'. Expected .npy, .parquet"), ('none.csv', 'no file')):
        assert predict(bundle, tmp_path/name, '--windows') == 1 and text in capsys.readouterr().err

def recordings(ids=('007', '01', '7')):
    return pd.concat([pd.DataFrame(dict(who=w, t=np.arange(8), left=rng.normal(size=8), right=rng.normal(size=8))) for w in ids], ignore_index=True)

def test_recordings_whose_rows_are_mixed(tmp_path, monkeypatch, capsys):
    "Files are read some rows at a time: the row is named in which a recording comes back, in whatever part it lies"
    b = save(tmp_path/'b', channels=NAMES, recording=RecordingSettings(id=['who'], time='t', window=8, stride=8))
    for rows in (2**16, 2):
        monkeypatch.setattr(recording_parts, '__defaults__', (rows, None))
        recordings(['a', 'b']).sort_values('t', kind='stable').to_csv(tmp_path/'x.csv', index=False)
        assert predict(b, tmp_path/'x.csv', '--windows') == 1
        err = capsys.readouterr().err
        if rows > 2: assert f"{tmp_path/'x.csv'}: The recording with who 'a' comes back in row 2, after rows of another one" in err and "df.sort_values(['who', 't'])" in err

@pytest.mark.parametrize('window', [None, 8])
def test_ids_are_written_as_in_the_file(tmp_path, window):
    b = save(tmp_path/'b', channels=NAMES, recording=RecordingSettings(id=['who'], time='t', window=window, stride=window))
    for ids in (['007', '01', '7'], ['1.10', '1.1'], ['7', '8'], ['2.0', '3.5'], ['12345678901234567890123', '5']):
        recordings(ids).to_csv(tmp_path/'x.csv', index=False)
        assert predict(b, tmp_path/'x.csv', *(['--windows'] if window else []), '--out', tmp_path/'p.csv') == 0
        assert {o['who' if window else 'recording'] for o in rows_of(tmp_path/'p.csv')} == set(ids)

@pytest.mark.parametrize('window', [None, 8])
def test_question_marks_are_missing_values(tmp_path, window, capsys):
    "As in .ts files; other text is named with its file, row and column"
    b = save(tmp_path/'b', channels=NAMES, recording=RecordingSettings(id=['who'], time='t', window=window, stride=window))
    df, out = recordings().astype({'left': object}), {}
    for v in ('?', '', 'bad'):
        df.loc[9, 'left'] = v
        df.to_csv(tmp_path/'x.csv', index=False)
        code = predict(b, tmp_path/'x.csv', *(['--windows'] if window else []), '--out', tmp_path/'p.csv')
        err = capsys.readouterr().err
        if v == 'bad': assert code == 1 and all(o in err for o in (str(tmp_path/'x.csv'), 'olumn \'left\'', "'bad' in row 9"))
        else: assert code == 0; out[v] = rows_of(tmp_path/'p.csv')
    assert out['?'] == out['']
