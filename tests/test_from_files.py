"Your own files: read_data and TSDataLoaders.from_csv, from_parquet, from_folder, and what they say of files that do not fit"
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsfast.data.core import TSDataLoaders
from tsfast.data.factories import split_series
from tsfast.data.files import find_files, read_data
from tsfast.data.preprocessing import TSNan2Value, TSStandardize
from tsfast.data.recordings import read_frame
from tsfast.data.sources import NpySource
from tsfast.data.table_files import read_table

rng = np.random.default_rng(0)

def recording(n, i=0): return pd.DataFrame(dict(t=np.arange(n)*.5, ax=rng.normal(size=n).round(3), ay=rng.normal(size=n).round(3) + i % 2))

parts = [recording(n, i) for i, n in enumerate([20, 26, 31, 24])]
long = pd.concat([p.assign(run=f'run{i}', machine='AABB'[i], state=['ok', 'broken'][i % 2]) for i, p in enumerate(parts)], ignore_index=True)
roles = dict(id='run', time='t', y='state', group='machine')
want = read_frame(long, **roles)
wide = pd.DataFrame(rng.normal(size=(8, 12)).round(3)).rename(columns=str).assign(label=list('aabb')*2)

def same(a, b=want):
    return (np.array_equal(a.X, b.X, equal_nan=True) and a.channels == b.channels and np.asarray(a.y).tolist() == np.asarray(b.y).tolist()
            and list(a.groups) == list(b.groups))

def write(df, file):
    "A table in the format that the name says"
    kind = file.suffix[1:]
    if kind in ('parquet', 'pq', 'feather', 'arrow'): pytest.importorskip('pyarrow')
    if kind == 'tsv': df.to_csv(file, sep='\t', index=False)
    elif kind in ('csv', 'txt'): df.to_csv(file, index=False)
    elif kind in ('parquet', 'pq'): df.to_parquet(file, index=False)
    else: df.to_feather(file)
    return file

suffixes = ['csv', 'tsv', 'txt', 'parquet', 'pq', 'feather', 'arrow']


# ---------------------------------------------------------------- one table, and one in parts

@pytest.mark.parametrize('suffix', suffixes)
def test_a_table(tmp_path, suffix):
    assert same(read_data(write(long, tmp_path/f'long.{suffix}'), **roles))
    data = read_data(str(write(wide, tmp_path/f'wide.{suffix}')), y='label')
    assert np.array_equal(data.X[:, 0], wide.iloc[:, :12].to_numpy(np.float32)) and data.y.tolist() == wide.label.tolist()

@pytest.mark.parametrize('suffix', ['csv', 'parquet'])
def test_a_table_in_parts(tmp_path, suffix):
    files = [write(g, tmp_path/f'{i}.{suffix}') for i, (_, g) in enumerate(long.groupby(np.arange(len(long))//33))]    # not cut between recordings
    for path in (tmp_path, str(tmp_path/f'*.{suffix}'), files, [str(f) for f in files]): assert same(read_data(path, **roles))
    for i, (_, g) in enumerate(wide.groupby(np.arange(8)//3)): (tmp_path/'wide').mkdir(exist_ok=True); write(g, tmp_path/'wide'/f'{i}.{suffix}')
    assert read_data(tmp_path/'wide', y='label').X.shape == (8, 1, 12)
    dls = (TSDataLoaders.from_csv if suffix == 'csv' else TSDataLoaders.from_parquet)(str(tmp_path/f'*.{suffix}'), **roles, window=8, stride=4, valid_groups=['B'])
    assert dls.len == 8 and len(dls.valid.dataset) == 6 + 5 and dls.channels == ['ax', 'ay']

def test_a_recording_in_each_file(tmp_path):
    for i, p in enumerate(parts): write(p.assign(state=['ok', 'broken'][i % 2]), tmp_path/f'run{i}.csv')
    data = read_data(tmp_path, time='t', y='state')
    assert np.array_equal(data.X, want.X, equal_nan=True) and data.ids.tolist() == [f'run{i}.csv' for i in range(4)] and data.recording.id == ['file']
    assert same(read_data(tmp_path, id='file', time='t', y='state'), data) and same(read_data(str(tmp_path/'run*.csv'), time='t', y='state'), data)

def test_stored_indices_and_types(tmp_path):
    pytest.importorskip('pyarrow')
    long.to_csv(tmp_path/'long.csv')                     # with pandas' index
    assert same(read_data(tmp_path/'long.csv', **roles))
    long.set_index(['run', 't']).to_parquet(tmp_path/'long.parquet')
    assert same(read_data(tmp_path/'long.parquet', y='state', group='machine'))
    (tmp_path/'dated').mkdir()
    for i, p in enumerate(parts): p.assign(t=pd.Timestamp('2024') + pd.to_timedelta(p.t, unit='s')).set_index('t').to_parquet(tmp_path/'dated'/f'{i}.parquet')
    data = read_data(tmp_path/'dated', time='t', y={f'{i}.parquet': 'ab'[i % 2] for i in range(4)})
    assert np.array_equal(data.X, want.X, equal_nan=True) and str(data.starts.dtype).startswith('datetime64')


# ---------------------------------------------------------------- folders with labels

@pytest.mark.parametrize('suffix', ['csv', 'parquet', 'npy'])
@pytest.mark.parametrize('names', ['{}.{}', '{}', 'sub/{}.{}'])
def test_a_folder_with_labels(tmp_path, suffix, names):
    lines, root = ['file,label,machine'], tmp_path/'sub' if names.startswith('sub') else tmp_path
    root.mkdir(exist_ok=True)
    for i, p in enumerate(parts):
        if suffix == 'npy': np.save(root/f'run{i}.npy', p[['ax', 'ay']].to_numpy().T)
        else: write(p, root/f'run{i}.{suffix}')
        lines.append(f"{names.format(f'run{i}', suffix)},{['ok', 'broken'][i % 2]},{'AABB'[i]}")
    (tmp_path/'labels.csv').write_text('\n'.join(lines) + '\n')
    args = {} if suffix == 'npy' else dict(time='t')
    for kw in ({}, dict(y='label'), dict(labels=tmp_path/'labels.csv')):
        data = read_data(tmp_path, group='machine', **kw, **args)
        assert np.array_equal(data.X, want.X, equal_nan=True) and data.y.tolist() == want.y.tolist() and list(data.groups) == list('AABB')
    windows = read_data(tmp_path, group='machine', window=8, **args)
    assert np.array_equal(windows.X, read_frame(long, **roles, window=8).X)
    dls = TSDataLoaders.from_folder(tmp_path, group='machine', valid_groups=['A'], batch_tfms=[TSStandardize(), TSNan2Value()], bs=2, **args)
    assert len(dls.valid.dataset) == 2 and list(dls.vocab) == ['broken', 'ok']

@pytest.mark.parametrize('suffix', ['csv', 'parquet', 'npy'])
def test_a_folder_for_each_class(tmp_path, suffix):
    for i, p in enumerate(parts*2):
        folder = tmp_path/['ok', 'broken'][i % 2]
        folder.mkdir(exist_ok=True)
        if suffix == 'npy': np.save(folder/f'{i}.npy', p[['ax', 'ay']].to_numpy().T)
        else: write(p[['ax', 'ay']], folder/f'{i}.{suffix}')
    (tmp_path/'ok'/'.hidden.csv').write_text('x')
    (tmp_path/'README.md').write_text('about')
    data = read_data(tmp_path, window=10)
    assert sorted(set(data.y)) == ['broken', 'ok'] and data.ids[0] == f'broken/1.{suffix}' and {i.split('/')[0] for i in data.ids[data.y == 'ok']} == {'ok'}
    train, valid = split_series(data)
    assert not set(data.ids[train]) & set(data.ids[valid])
    assert TSDataLoaders.from_folder(tmp_path, window=10).c == 2

def test_arrays_and_sets(tmp_path):
    X, y = rng.normal(size=(12, 2, 9)).astype(np.float32), np.array(list('abc')*4)
    np.save(tmp_path/'X.npy', X); np.save(tmp_path/'y.npy', y); pd.DataFrame(dict(who=list('uvwx')*3)).to_csv(tmp_path/'who.csv', index=False)
    data = read_data(tmp_path/'X.npy', y=tmp_path/'y.npy', group=str(tmp_path/'who.csv'))
    assert isinstance(data.X, NpySource) and np.array_equal(data.X, X) and data.y.tolist() == y.tolist() and data.groups.tolist() == list('uvwx')*3
    assert read_data(tmp_path/'X.npy', y=y, window=3).X.shape == (36, 2, 3) and read_data(tmp_path/'X.npy').y is None
    (tmp_path/'Toy.ts').write_text('@univariate true\n@classLabel true up down\n@data\n1,2,3:up\n3,2,1:down\n')
    toy = read_data(tmp_path/'Toy.ts')
    assert toy.X.shape == (2, 1, 3) and toy.y.tolist() == ['up', 'down']


# ---------------------------------------------------------------- text tables as they come

@pytest.mark.parametrize('text,cols', [
    ('a;b\n1,5;2\n3;4,25\n', dict(a=[1.5, 3], b=[2, 4.25])), ('a\tb\n1\t2\n', dict(a=[1], b=[2])), ('a|b\n1|2\n', dict(a=[1], b=[2])),
    ('a b\n1 2\n3  4\n', dict(a=[1, 3], b=[2, 4])), ('a,b\n1,\n2,3\n', dict(a=[1, 2], b=[np.nan, 3])), ('"a, left",b\n1,2\n', {'a, left': [1], 'b': [2]}),
    ('a, b\n1, 2\n', dict(a=[1], b=[2])), ('a\n1\n2\n', dict(a=[1, 2])), ('1.5,2\n3,4\n', {'0': [1.5, 3], '1': [2, 4]}), ('up,1.5,2\ndown,4,3.5\n', {'0': ['up', 'down'], '1': [1.5, 4], '2': [2, 3.5]}),
    ('id,0,1\n7,1.5,2\n', {'id': [7], '0': [1.5], '1': [2]}), ('0,1,2\n.5,.25,.5\n', {'0': [.5], '1': [.25], '2': [.5]}), (',a\n0,5\n1,6\n', dict(a=[5, 6])),
    ('zeit;größe\n2024-01-31;1,5\n', {'zeit': ['2024-01-31'], 'größe': [1.5]}), ('a,b\r\n1,2\r\n', dict(a=[1], b=[2])), ('a,b\n1,2', dict(a=[1], b=[2])),
    ('a,b\n1,2\n\n3,4\n', dict(a=[1, 3], b=[2, 4]))])
@pytest.mark.parametrize('enc', ['utf-8', 'utf-8-sig', 'utf-16'])
def test_text(tmp_path, text, cols, enc):
    (tmp_path/'x.csv').write_bytes(text.encode(enc))
    df = read_table(tmp_path/'x.csv')
    pd.testing.assert_frame_equal(df, pd.DataFrame(cols), check_dtype=False)

def test_a_table_without_names(tmp_path):
    wide[['label', *map(str, range(12))]].assign(label=[1, 1, 2, 2]*2).to_csv(tmp_path/'w.tsv', sep='\t', header=False, index=False)
    for y in (0, '0'): assert read_data(tmp_path/'w.tsv', y=y).y.tolist() == [1, 1, 2, 2]*2
    with pytest.warns(UserWarning, match="w.tsv has no line of names, and column '0' looks like labels, 1, 2, .* y='0'"): assert read_data(tmp_path/'w.tsv').X.shape == (8, 1, 13)


# ---------------------------------------------------------------- what does not fit

def files(root):
    "A folder of files with a fault each"
    write(long, root/'long.csv'); np.save(root/'X.npy', np.zeros((9, 2, 5)))
    (root/'early.csv').write_bytes((root/'long.csv').read_bytes()[:-40])
    (root/'earlyX.npy').write_bytes((root/'X.npy').read_bytes()[:-40])
    (root/'more.csv').write_text('t,a\n1,2\n3,4,5\n')
    (root/'none.csv').write_text('')
    (root/'names.csv').write_text('t,a\n')
    (root/'latin.csv').write_bytes('größe\n1\n'.encode('latin-1'))
    (root/'zipped.csv').write_bytes(gzip.compress(b'a\n1\n'))
    (root/'bad.parquet').write_bytes(b'PAR1')
    (root/'notes.md').write_text('x')
    for folder in ('empty', 'unequal', 'kinds', 'mixed', 'text', 'labelled', 'classes/a', 'classes/b'): (root/folder).mkdir(parents=True)
    (root/'empty'/'notes.md').write_text('x')
    for i, p in enumerate(parts):
        write(p if i < 3 else p.rename(columns=dict(ay='az')), root/'unequal'/f'{i}.csv')
        write(p if i < 3 else p.assign(ay=['?!', *p.ay[1:].astype(str)]), root/'text'/f'{i}.csv')
        write(p, root/'labelled'/f'{i}.csv'); write(p, root/'mixed'/f'{i}.csv'); write(p, root/'classes'/'ab'[i % 2]/f'{i}.csv')
    np.save(root/'mixed'/'x.npy', np.zeros(3))
    for name, text in dict(labels='file,label\n0,a\n1,b\n2,a\n9.csv,b\n', two='file,kind,state\n0,a,b\n', twice='file,label\n0,a\n0.csv,b\n', some='file,label\n0,a\n1,b\n3,a\n').items():
        (root/f'{name}.csv').write_text(text)
    return root

faults = {
    'no such file': (lambda r: read_data(r/'lng.csv'), FileNotFoundError, ['There is no file or folder', 'lng.csv', "Did you mean 'long.csv'"]),
    'no such folder': (lambda r: read_data(r/'data'/'long.csv'), FileNotFoundError, ['There is no folder', 'data either']),
    'no file of a pattern': (lambda r: read_data(r/'*.feather'), FileNotFoundError, ['*.feather']),
    'no files in a list': (lambda r: read_data([]), ValueError, ['no files in the list']),
    'a missing file in a list': (lambda r: read_data([r/'long.csv', r/'b.csv']), FileNotFoundError, ['b.csv']),
    'an empty folder': (lambda r: read_data(r/'empty'), ValueError, ['The folder', 'has no files of series: it has notes.md', '.parquet']),
    'another kind': (lambda r: read_data(r/'notes.md'), ValueError, ["notes.md ends in '.md'. Expected .csv"]),
    'a file that ends early': (lambda r: read_data(r/'early.csv', **roles), ValueError, ['early.csv, line 101: ', 'where the first line has 6. The file may end early']),
    'an array that ends early': (lambda r: read_data(r/'earlyX.npy'), ValueError, ['earlyX.npy cannot be read', 'It may end early']),
    'a Parquet file that ends early': (lambda r: read_data(r/'bad.parquet'), ValueError, ['bad.parquet cannot be read', 'It may end early']),
    'a line with more cells': (lambda r: read_data(r/'more.csv'), ValueError, ['more.csv cannot be read as a table with cells separated by commas: Expected 2 fields in line 3, saw 3']),
    'an empty file': (lambda r: read_data(r/'none.csv'), ValueError, ['none.csv is empty']),
    'names alone': (lambda r: read_data(r/'names.csv'), ValueError, ['names.csv has a line of names and no rows']),
    'another encoding': (lambda r: read_data(r/'latin.csv'), ValueError, ['latin.csv cannot be read as UTF-8: byte 2 is 0xf6']),
    'compressed': (lambda r: read_data(r/'zipped.csv'), ValueError, ['zipped.csv cannot be read as UTF-8']),
    'other columns': (lambda r: read_data(r/'unequal', time='t'), ValueError, ['3.csv has other columns than', "0.csv: it lacks ['ay'] and has ['az'] besides"]),
    'text in one file': (lambda r: read_data(r/'text', time='t'), ValueError, ["Column 'ay' holds numbers in", '0.csv', "3.csv, such as '?!' in row 0"]),
    'files of two kinds': (lambda r: read_data(r/'mixed', time='t'), ValueError, ['has files of several kinds', '0.csv', 'x.npy', "'folder/*.csv'"]),
    'the file is named in a message': (lambda r: read_data(r/'long.csv', id='run', time='t'), ValueError, ["long.csv: column 'machine' holds text"]),
    'labels of no file': (lambda r: read_data(r/'labelled', time='t', labels=r/'labels.csv'), ValueError, ["labels.csv names 1 files that are not there, such as '9.csv'", 'The folder has 4 files']),
    'two columns of labels': (lambda r: read_data(r/'labelled', time='t', labels=r/'two.csv'), ValueError, ["two.csv: it is not clear which column is the label, of ['kind', 'state']", 'y=']),
    'an unknown column of labels': (lambda r: read_data(r/'labelled', time='t', labels=r/'two.csv', y='stat'), ValueError, ["y='stat' is no column of", "Did you mean 'state'"]),
    'a file twice': (lambda r: read_data(r/'labelled', time='t', labels=r/'twice.csv'), ValueError, ["twice.csv has several lines for '0.csv'"]),
    'an argument of tables for arrays': (lambda r: read_data(r/'X.npy', id='run'), ValueError, ["id='run' is for tables, and", 'X.npy has no columns']),
    'a column for an array': (lambda r: read_data(r/'X.npy', y='label'), FileNotFoundError, ["y='label' is no file, and", 'X.npy has no columns']),
    'targets of another length': (lambda r: read_data(r/'X.npy', y=[1, 2]), ValueError, ['9 series and 2 targets']),
    'several columns of targets': (lambda r: read_data(r/'X.npy', y=r/'long.csv'), ValueError, ["long.csv has the columns ['t', 'ax'"]),
    'a misspelt argument': (lambda r: TSDataLoaders.from_csv(r/'long.csv', labell='x'), ValueError, ["no argument 'labell'", "Did you mean 'label'"]),
}

@pytest.fixture(scope='module')
def root(tmp_path_factory): return files(tmp_path_factory.mktemp('files'))

@pytest.mark.parametrize('name', faults)
def test_message(root, name):
    if 'Parquet' in name: pytest.importorskip('pyarrow')
    call, kind, parts = faults[name]
    with pytest.raises(kind) as e: call(root)
    for o in parts: assert o in str(e.value), str(e.value)

def test_files_without_a_line_are_left_out(root):
    with pytest.warns(UserWarning, match='1 of 4 files have no line in .*some.csv, and are left out; the first is 2.csv'):
        assert read_data(root/'labelled', time='t', labels=root/'some.csv').ids.tolist() == ['0.csv', '1.csv', '3.csv']

def test_names_of_digits(tmp_path):
    for i, p in enumerate(parts): write(p, tmp_path/f'00{i}.csv')
    (tmp_path/'labels.csv').write_text('file,label\n' + ''.join(f'00{i},{"ab"[i % 2]}\n' for i in range(4)))
    assert read_data(tmp_path, time='t').y.tolist() == list('abab')

def test_files_that_count_their_own_recordings(tmp_path):
    "The same id in several files is one recording where its times go on, and is refused otherwise"
    df = pd.concat([pd.DataFrame(dict(trial=k, t=np.arange(5)*.5, a=np.arange(5.))) for k in range(3)], ignore_index=True)
    for i in range(3): write(df, tmp_path/f's{i}.csv'); write(df.drop(columns='t'), tmp_path/f'n{i}.csv'); write(df.assign(t=df.t + .1*i), tmp_path/f'o{i}.csv'); write(df.assign(t=df.t + 2.5*i), tmp_path/f'g{i}.csv')
    for o, why in (('n', "there is no time .* If a recording goes on in the next file"), ('s', "their times in column 't' overlap"), ('o', "their times in column 't' overlap")):
        with pytest.raises(ValueError, match=rf"The id 0 of 'trial' is in .*{o}0.csv and in .*{o}1.csv, and {why}") as e: read_data(tmp_path/f'{o}*.csv', id='trial')
        assert "pass id=['file', 'trial']" in str(e.value)
        assert read_data(tmp_path/f'{o}*.csv', id=['file', 'trial'], time=None if o == 'n' else 't').X.shape == (9, 1, 5)
    assert read_data(tmp_path/'g*.csv', id='trial', time='t').X.shape == (3, 1, 15)

def test_ids_with_leading_zeros(tmp_path):
    "'1' and '01' are two recordings, in one file and in several; numbers without such zeros are numbers"
    df = pd.concat([recording(5).assign(run=o, kind=['00', '01'][k % 2]) for k, o in enumerate(['1', '01', '2', '02'])])
    data = read_data(write(df, tmp_path/'all.csv'), id='run', time='t', y='kind')
    assert data.ids.tolist() == ['01', '02', '1', '2'] and data.y.tolist() == ['01', '01', '00', '00']
    (tmp_path/'parts').mkdir()
    for o, g in df.groupby('run'): write(g, tmp_path/'parts'/f'{o}.csv')
    assert read_data(tmp_path/'parts', id='run', time='t', y='kind').ids.tolist() == ['01', '02', '1', '2']
    assert read_data(write(df.assign(run=df.run.astype(int).mul(3) + df.kind.astype(int), a=df.run), tmp_path/'int.csv'), id='run', time='t', channels='a').ids.tolist() == [3, 4, 6, 7]
    (tmp_path/'ends.csv').write_text('id,v,lab\n01,3,NA,\n1,4,x,\n')
    assert read_table(tmp_path/'ends.csv').to_dict('list') == dict(id=['01', '1'], v=[3, 4], lab=['NA', 'x'])
    (tmp_path/'text.tsv').write_text('subject\tv\n007\t012\n007\t013\n')
    assert read_table(tmp_path/'text.tsv').to_dict('list') == dict(subject=['007', '007'], v=[12, 13])

@pytest.mark.parametrize('word', ['None', 'NA', 'N/A', 'null'])
def test_labels_that_pandas_takes_for_missing(tmp_path, word):
    "They are missing from a file, too, and the warning says how they would be a class; elsewhere such a word is text among other text"
    for i, p in enumerate(parts): write(p, tmp_path/f'{i}.csv')
    (tmp_path/'labels.csv').write_text('file,label\n' + ''.join(f'{i},{[word, "ab", "cd"][i % 3]}\n' for i in range(4)))
    with pytest.warns(UserWarning) as seen: assert read_data(tmp_path, time='t').y.tolist() == ['ab', 'cd']
    said = [str(o.message) for o in seen]
    assert any(f"column 'label' holds '{word}' in 2 of 4 rows" in o and 'keep_default_na=False' in o for o in said)
    assert any("2 of 4 files have no label in column 'label'" in o and 'the first is 0.csv' in o for o in said)
    df = long.assign(state=long.state.replace('broken', word), note=1.)
    file = write(df, tmp_path/'long.csv')
    with pytest.warns(UserWarning) as seen: data = read_data(file, **{**roles, 'y': 'state'})
    assert f"'{word}' in " in str(seen[0].message) and 'read as a missing value' in str(seen[0].message) and '2 of 4 series have no target' in str(seen[1].message)
    with pytest.warns(UserWarning, match='2 of 4 series have no target'): other = read_frame(pd.read_csv(file), **{**roles, 'y': 'state'})
    assert data.y.tolist() == other.y.tolist() == ['ok']*2 and data.ids.tolist() == other.ids.tolist()
    kept = read_frame(pd.read_csv(file, keep_default_na=False, na_values=['']), **{**roles, 'y': 'state'})
    assert kept.y.tolist() == ['ok', word]*2
    (tmp_path/'gap.csv').write_text(f'label,0,1\n{word},1.5,2\n,1,{word}\nx,1,2\n')
    assert read_table(tmp_path/'gap.csv').isna().to_numpy().tolist() == [[False]*3, [True, False, True], [False]*3]

def test_files_are_found_in_order(root):
    found, folder = find_files(root/'classes')
    assert [f.relative_to(folder).as_posix() for f in found] == ['a/0.csv', 'a/2.csv', 'b/1.csv', 'b/3.csv']
    assert find_files(str(root/'classes'/'*'/'*.csv')) == (found, None) and isinstance(found[0], Path)

@pytest.mark.parametrize('what', ['y', 'group'])
@pytest.mark.parametrize('lines, want', [
    ('up down up down', 4), ('state up down up down', 4), ('label up down up down', 4), ('target other target other', 4), ('1 2 1 2', 4), ('0 1.5 2.5 3.5 4.5', 4), ('score 1 2 1 2', 4), ('1.5 2.5 3.5 4.5', 4),
    ('up down up', '3 values, and'), ('up down up down up', '5 values, and'), ('label up down up', "3 values, below a line of names, 'label', and"), ('1 2 1 2 1', '5 values, and'), ('score 1 2 1', "3 values, below a line of names, 'score', and"),
    ('1.5 2.5 3.5 4.5 5.5', '5 values, and'), ('label up  down up down', 'line 3 is blank')])
def test_values_in_a_text_file(tmp_path, lines, want, what):
    "The first line is a name only where a value for each series is left; other numbers of lines are refused"
    np.save(tmp_path/'X.npy', rng.normal(size=(4, 2, 9)).astype(np.float32))
    lines = lines.split(' ')
    (tmp_path/'v.csv').write_text('\n'.join(lines) + '\n\n')
    read = lambda: read_data(tmp_path/'X.npy', **{what: tmp_path/'v.csv'})
    if want == 4: assert list(map(str, getattr(read(), 'y' if what == 'y' else 'groups').tolist())) == lines[-4:]
    else:
        with pytest.raises(ValueError, match=want) as e: read()
        assert 'blank' in want or f"{what}='" in str(e.value) and 'there are 4 series' in str(e.value)

def test_labels_of_files_without_a_line_of_names(tmp_path):
    for i, p in enumerate(parts): write(p, tmp_path/f'{i}.csv')
    for lines in ([f'{i},{"ab"[i % 2]}' for i in range(4)], [f'{i}.csv,{"ab"[i % 2]}' for i in range(4)]):
        (tmp_path/'labels.csv').write_text('\n'.join(lines) + '\n')
        assert read_data(tmp_path, time='t').y.tolist() == list('abab')

@pytest.mark.parametrize('suffix', ['csv', 'parquet'])
def test_whole_numbers_with_a_gap_are_classes(tmp_path, suffix):
    "The series without a label is left out, as where labels are text; pandas alone would make numbers of them"
    numbers = pd.Series([1, 2]*3 + [None, 1], dtype='Int64')
    df = write(wide.assign(label=numbers if suffix == 'csv' else numbers.astype(float)), tmp_path/f'w.{suffix}')
    with pytest.warns(UserWarning) as seen: data = read_data(df, y='label')
    assert data.y.dtype.kind == 'i' and data.y.tolist() == [1, 2]*3 + [1] and len(data.X) == 7
    said = [str(o.message) for o in seen]
    assert any("1 of 8 series have no target in column 'label', and are left out" in o for o in said)
    assert any("column 'label' holds whole numbers and is missing in 1 row, the first of which is 6" in o for o in said) == (suffix == 'parquet')

def test_whole_numbers_with_a_gap_in_a_table_of_labels(tmp_path):
    for i, p in enumerate(parts): write(p, tmp_path/f'{i}.csv')
    (tmp_path/'labels.csv').write_text('file,label\n0,1\n1,2\n2,\n3,2\n')
    with pytest.warns(UserWarning, match="1 of 4 files have no label in column 'label' of .*, and are left out; the first is 2.csv"): data = read_data(tmp_path, time='t')
    assert data.y.dtype.kind == 'i' and data.y.tolist() == [1, 2, 2] and data.ids.tolist() == ['0.csv', '1.csv', '3.csv']
    (tmp_path/'labels.csv').write_text('file,label\n0,1.0\n1,2.5\n2,\n3,2\n')
    with pytest.warns(UserWarning, match='left out'): assert read_data(tmp_path, time='t').y.tolist() == [1, 2.5, 2]

def test_question_marks_are_missing(tmp_path):
    "In channels and in labels, as in the archives' files"
    text = 'rec,a,lab\n0,1,1\n0,?,1\n1,2,?\n1,3,?\n2,4,2\n2,5,2\n'
    for labels in (text, text.replace(',1\n', ',up\n').replace(',2\n', ',down\n')):
        (tmp_path/'x.csv').write_text(labels)
        with pytest.warns(UserWarning, match='1 of 3 series have no target'): data = read_data(tmp_path/'x.csv', id='rec', y='lab')
        assert np.array_equal(data.X[:, 0], [[1, np.nan], [4, 5]], equal_nan=True) and data.y.tolist() == ([1, 2] if labels == text else ['up', 'down'])
