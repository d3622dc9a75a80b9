"Archive data: every source, both file forms, the cache, downloads, and what goes wrong"
import concurrent.futures as cf, json, os, shutil, subprocess, sys, threading, time
from pathlib import Path

import numpy as np
import pytest

from tsfast.data import archive
from tsfast.data.external import (cache_dir, get_regression_data, get_UCR_data, list_UCR, published_accuracy, published_rmse, read_ts, read_tsv)

BUNDLED = ['ACSF1', 'ArrowHead', 'BasicMotions', 'GunPoint', 'ItalyPowerDemand', 'JapaneseVowels', 'OSULeaf', 'UnitTest']

# name: train, test, channels, length, classes, from the archive's published tables
COUNTS = dict(ECGFiveDays=(23, 861, 1, 136, 2), GunPoint=(50, 150, 1, 150, 2), ItalyPowerDemand=(67, 1029, 1, 24, 2),
              ArrowHead=(36, 175, 1, 251, 3),
    OSULeaf=(200, 242, 1, 427, 6), Coffee=(28, 28, 1, 286, 2), ECG200=(100, 100, 1, 96, 2), TwoLeadECG=(23, 1139, 1, 82, 2),
    MoteStrain=(20, 1252, 1, 84, 2),
    SonyAIBORobotSurface1=(20, 601, 1, 70, 2), CBF=(30, 900, 1, 128, 3), Trace=(100, 100, 1, 275, 4), FaceFour=(24, 88, 1, 350, 4),
    Lightning7=(70, 73, 1, 319, 7),
    Beef=(30, 30, 1, 470, 5), Adiac=(390, 391, 1, 176, 37), SwedishLeaf=(500, 625, 1, 128, 15), ECG5000=(500, 4500, 1, 140, 5),
    ChlorineConcentration=(467, 3840, 1, 166, 3), SyntheticControl=(300, 300, 1, 60, 6), Plane=(105, 105, 1, 144, 7),
    DodgerLoopGame=(20, 138, 1, 288, 2),
    PickupGestureWiimoteZ=(50, 50, 1, 361, 10), BasicMotions=(40, 40, 6, 100, 4), JapaneseVowels=(270, 370, 12, 29, 9),
    NATOPS=(180, 180, 24, 51, 6),
    RacketSports=(151, 152, 6, 30, 4))
REGRESSION = dict(Covid3Month=(140, 61, 1, 84), ElectricityPredictor=(567, 243, 4, 168))

TS = '''# a comment
@problemName Toy
@timeStamps false
@missing true
@univariate false
@dimensions 2
@equalLength false
@classLabel true Up Down
@data
1,2,3:4,?,6:Up
7,8:9,10:Down
'''


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    "Each test has a cache of its own, and sees no data but sktime's"
    monkeypatch.setenv('TSFAST_CACHE', str(tmp_path/'cache'))
    monkeypatch.delenv('TSFAST_DATA', raising=False)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    "No test reaches for the network"
    def fail(name, folder): raise ConnectionError('no route to host')
    monkeypatch.setattr(archive, 'fetch', fail)


def put(folder, name, train=TS, test=TS, ext='ts'):
    d = folder/name; d.mkdir(parents=True, exist_ok=True)
    for part, text in (('TRAIN', train), ('TEST', test)): (d/f'{name}_{part}.{ext}').write_text(text, encoding='utf-8')
    return d


# ---------------------------------------------------------------- real archives

@pytest.mark.parametrize('name', COUNTS)
def test_archive_counts(ucr_path, name):
    n_train, n_test, c, length, n_classes = COUNTS[name]
    X, y, splits = get_UCR_data(name, path=ucr_path, split_data=False)
    assert X.shape == (n_train+n_test, c, length) and X.dtype == np.float32
    assert y.shape == (n_train+n_test,) and y.dtype.kind == 'U' and len(np.unique(y)) == n_classes
    assert [list(o) for o in splits] == [list(range(n_train)), list(range(n_train, n_train+n_test))]
    Xt, yt, Xv, yv = get_UCR_data(name, path=ucr_path) # from the cache by now
    for a, b in ((Xt, X[splits[0]]), (yt, y[splits[0]]), (Xv, X[splits[1]]), (yv, y[splits[1]])): np.testing.assert_array_equal(a, b)
    nan = np.isnan(X)
    inside = nan[..., :-1] & ~np.logical_and.accumulate(nan[..., ::-1], -1)[..., ::-1][..., :-1] # missing, and not padding
    assert inside.any() == (name == 'DodgerLoopGame')
    assert nan.any() == (name in ('DodgerLoopGame', 'PickupGestureWiimoteZ', 'JapaneseVowels'))


@pytest.mark.parametrize('name', REGRESSION)
def test_regression_counts(ucr_path, name):
    n_train, n_test, c, length = REGRESSION[name]
    X, y, splits = get_regression_data(name, path=ucr_path, split_data=False)
    assert X.shape == (n_train+n_test, c, length) and y.dtype == np.float32 and y.shape == (n_train+n_test,)
    assert len(splits[0]) == n_train and np.isfinite(y).all() and not np.isnan(X).any()


@pytest.mark.parametrize('name', ['GunPoint', 'ItalyPowerDemand', 'ArrowHead', 'OSULeaf'])
def test_ts_and_tsv_agree(ucr_path, name):
    "sktime's `.ts` and the archive's `.tsv` of one set: the same series, and the same labels"
    X, y, splits = get_UCR_data(name, split_data=False)
    X2, y2, splits2 = get_UCR_data(name, path=ucr_path, split_data=False)
    np.testing.assert_allclose(X, X2, atol=1e-5); np.testing.assert_array_equal(y, y2)
    assert splits == splits2


# ---------------------------------------------------------------- sktime's sets

@pytest.mark.parametrize('name', ['BasicMotions', 'JapaneseVowels', 'UnitTest', 'ItalyPowerDemand'])
def test_bundled_equals_sktime(name):
    "Value for value what sktime's own loader reads; its labels are in lower case"
    import sktime.datasets
    from sktime.datasets import load_from_tsfile
    X, y, splits = get_UCR_data(name, split_data=False)
    for part, split in zip(('TRAIN', 'TEST'), splits):
        df, y2 = load_from_tsfile(str(Path(sktime.datasets.__file__).parent/'data'/name/f'{name}_{part}.ts'),
                                  return_data_type='nested_univ')
        assert [o.lower() for o in y[split]] == y2.tolist()
        for i in range(0, len(df), 7):
            for j in range(df.shape[1]):
                want = df.iloc[i, j].to_numpy(np.float32)
                got = X[split[i], j]
                np.testing.assert_array_equal(got[:len(want)], want)
                assert np.isnan(got[len(want):]).all()


def test_bundled_regression():
    X_train, y_train, X_valid, y_valid = get_regression_data('covid3month')
    assert X_train.shape == (140, 1, 84) and X_valid.shape == (61, 1, 84) and y_train.dtype == np.float32
    with pytest.raises(ValueError, match='get_regression_data'): get_UCR_data('Covid3Month')
    with pytest.raises(ValueError, match='get_UCR_data'): get_regression_data('GunPoint')


def test_nothing_heavy_is_imported():
    "Neither importing the module nor loading a set imports sktime"
    code = "import sys, tsfast.data.external as e; e.get_UCR_data('UnitTest'); e.list_UCR(); " \
           "assert 'sktime' not in sys.modules and 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, '-c', code], check=True, env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)})


# ---------------------------------------------------------------- reading

def test_labels_keep_their_case():
    assert set(get_UCR_data('BasicMotions')[1]) == {'Standing', 'Running', 'Walking', 'Badminton'}


def test_unequal_and_missing(tmp_path):
    long = TS.replace('7,8:9,10', '7,8,9,10,11:1,2,3,4,5')
    put(tmp_path, 'Toy', test=long)
    X, y, splits = get_UCR_data('Toy', path=tmp_path, split_data=False)
    n = np.nan
    np.testing.assert_array_equal(X, np.float32([[[1, 2, 3, n, n], [4, n, 6, n, n]], [[7, 8, n, n, n], [9, 10, n, n, n]],
                                                 [[1, 2, 3, n, n], [4, n, 6, n, n]], [[7, 8, 9, 10, 11], [1, 2, 3, 4, 5]]]))
    assert y.tolist() == ['Up', 'Down']*2


def test_channels_of_unequal_length(tmp_path):
    f = put(tmp_path, 'Toy', TS.replace('4,?,6', '4'))/'Toy_TRAIN.ts'
    np.testing.assert_array_equal(read_ts(f)[0][0], np.float32([[1, 2, 3], [4, np.nan, np.nan]]))


@pytest.mark.parametrize('change', [('\n', '\r\n'), ('# a comment', '\ufeff% a comment\n\nwithout a mark'),
                                    ('@classLabel true', '@CLASSLABEL   True'), (',', ' , ')])
def test_ts_dialects(tmp_path, change):
    a, b = (read_ts(put(tmp_path/o, 'Toy', t)/'Toy_TRAIN.ts') for o, t in (('a', TS), ('b', TS.replace(*change))))
    np.testing.assert_array_equal(a[0], b[0]); assert a[1].tolist() == b[1].tolist()


@pytest.mark.parametrize('label,want', [('1', '1'), ('-1', '-1'), ('1.0', '1'), ('2.0000000e+00', '2'), ('1.5', '1.5'), ('Up', 'Up'),
                                        ('inf', 'inf')])
def test_tsv_labels(tmp_path, label, want):
    assert read_tsv(put(tmp_path, 'Toy', f'{label}\t1\t2\n', ext='tsv')/'Toy_TRAIN.tsv')[1].tolist() == [want]


@pytest.mark.parametrize('label', ['up', 'UP', 'Up'])
def test_labels_are_spelt_as_in_the_header(tmp_path, label):
    "Also across the two files of a set"
    put(tmp_path, 'Toy', test=TS.replace(':Up', f':{label}'))
    assert get_UCR_data('Toy', path=tmp_path)[3].tolist() == ['Up', 'Down']


def test_labels_that_differ_in_case_alone(tmp_path):
    f = put(tmp_path, 'Toy', TS.replace('Up Down', 'Up down Down'))/'Toy_TRAIN.ts'
    assert read_ts(f)[1].tolist() == ['Up', 'Down']


def test_series_without_labels(tmp_path):
    plain = TS.replace('@classLabel true Up Down', '@classLabel false').replace(':Up', '').replace(':Down', '')
    X, y = read_ts(put(tmp_path, 'Toy', plain)/'Toy_TRAIN.ts')
    assert X.shape == (2, 2, 3) and y is None
    with pytest.raises(ValueError, match='Toy_TRAIN.ts has no labels.*read_ts'): get_UCR_data('Toy', path=tmp_path)


def test_header_with_other_dimensions(tmp_path):
    f = put(tmp_path, 'Toy', TS.replace('@dimensions 2', '@dimensions 3'))/'Toy_TRAIN.ts'
    with pytest.warns(UserWarning, match='says 3 dimensions, and every series has 2'): assert read_ts(f)[0].shape == (2, 2, 3)


STAMPED = TS.replace('Stamps false', 'Stamps true')
@pytest.mark.parametrize('rows', ['(0,1),(1,2),(2,3):(5,4),(6,?),(7,6):Up\n(0.5,7),(1.5,8):(0,9),(1,10):Down\n',
                                  '(2020-01-31 00:00:00,1),(2020-02-01 00:00:00,2),(2020-02-02 00:00:00,3):(0,4),(1,?),(2,6):Up\n'
                                  '(0,7),(1,8):(0,9),(1,10):Down\n'])
def test_time_stamps_at_equal_steps(tmp_path, rows):
    f = put(tmp_path, 'Toy', STAMPED[:STAMPED.index('1,2,3')] + rows)/'Toy_TRAIN.ts'
    np.testing.assert_array_equal(read_ts(f)[0], read_ts(put(tmp_path, 'Plain')/'Plain_TRAIN.ts')[0])


@pytest.mark.parametrize('cell,msg', [('(0,1),(1,2),(3,3)', 'not evenly spaced: 1 is followed by 3'),
                                      ('(0,1),(0,2)', 'not evenly spaced: 0 is followed by 0'),
                                      ('(monday,1),(tuesday,2)', "times are like 'monday'"), ('(0,1),2', 'Expected pairs'),
                                      ('(0,one)', "value 1 is 'one'")])
def test_time_stamps_that_cannot_be_read(tmp_path, cell, msg):
    f = put(tmp_path, 'Toy', STAMPED[:STAMPED.index('1,2,3')] + f'{cell}:(0,1),(1,2):Up\n')/'Toy_TRAIN.ts'
    with pytest.raises(ValueError, match=f'line 10: .*{msg}'): read_ts(f)


ARFF = "@relation Toy\n@attribute att0 numeric\n@attribute att1 numeric\n@attribute target {up,down}\n@data\n1,2,up\n?,4,down\n"
ARFF2 = "@relation Toy\n@attribute rel relational\n@attribute t0 numeric\n@end rel\n@attribute target {up,down}\n" \
        "@data\n'1,2\\n3,4',up\n'5,6\\n7,8',down\n"
@pytest.mark.parametrize('ext_,text,want', [('arff', ARFF, [[[1, 2]], [[np.nan, 4]]]),
                                            ('arff', ARFF2, [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]),
                                            ('txt', '  1.0000000e+00  1 2\n  2.0  NaN 4\n', [[[1, 2]], [[np.nan, 4]]]),
                                            ('txt', '1,1,2\n2,?,4\n', [[[1, 2]], [[np.nan, 4]]])])
def test_other_forms_of_the_archives(tmp_path, ext_, text, want):
    put(tmp_path, 'Toy', text, text, ext=ext_)
    X, y, *_ = get_UCR_data('toy', path=tmp_path)
    np.testing.assert_array_equal(X, np.float32(want))
    assert y.tolist() == (['up', 'down'] if ext_ == 'arff' else ['1', '2'])
    assert list_UCR(path=tmp_path).loc['Toy'].tolist() == ['multivariate' if text is ARFF2 else 'univariate', True, 'path']


@pytest.mark.parametrize('text,y', [(ARFF.replace('up\n', 'up % note, 50%\n').replace('@data', '@data % note\n% the series\n  % of two'),
                                     ['up', 'down']), ("% Bob's set\n" + ARFF.replace('up', "'50% up'"), ['50% up', 'down']),
                                    (ARFF.replace('2,up\n', '2,"5%" % "note"\n').replace('{up', '{"5%"'), ['5%', 'down'])])
def test_comments_of_arff_files(tmp_path, text, y):
    put(tmp_path, 'Toy', text, text, ext='arff')
    X, got, *_ = get_UCR_data('Toy', path=tmp_path)
    np.testing.assert_array_equal(X, np.float32([[[1, 2]], [[np.nan, 4]]])); assert got.tolist() == y


@pytest.mark.parametrize('name', ['Toy', 'GunPointX'])
def test_csv_files_are_named(tmp_path, name):
    folder = put(tmp_path, name, '1,1,2\n2,?,4\n', '1,1,2\n2,?,4\n', ext='csv')
    with pytest.raises(FileNotFoundError,
                       match=rf"{name}_TRAIN.csv was found.*\.csv is no form.*\.ts, \.tsv, \.arff or \.txt.*pd\.read_csv"):
        get_UCR_data(name.lower(), path=tmp_path)
    for f in folder.iterdir(): f.rename(f.with_suffix('.txt'))      # as the message says
    assert get_UCR_data(name, path=tmp_path)[0].shape == (2, 1, 2)


@pytest.mark.parametrize('ext_,text,msg', [
    ('arff', ARFF.replace('1,2', '1,x'), "Toy_TRAIN.arff, line 6: value 2 is 'x'"), ('arff', '', 'no line @data'),
    ('arff', ARFF[:ARFF.index('1,2')], 'has no series after @data'),
    ('arff', ARFF.replace('1,2,up', '1,2'), "line 6: the label is '2'. Expected one of those in the header, up down"),
    ('arff', ARFF.replace('1,2,up', '1,up'), 'line 6: 1 values. Expected 2'),
    ('arff', ARFF.replace(',up', ',left'), "the label is 'left'"),
    ('arff', ARFF.replace('{up,down}', 'numeric'), 'no class among the attributes'),
    ('arff', '@relation Toy\n@attribute c {a,b}\n@attribute t0 numeric\n@data\na,1\n', 'line 3: an attribute after the class'),
    ('arff', ARFF.replace('att0 numeric', 'att0 string'), "type 'string'"),
    ('arff', ARFF2.replace(r'5,6\n7,8', '5,6'), 'line 8: 1 channels'),
    ('txt', '1 2 3\n4 5\n', 'line 2: 1 values. Expected 2'), ('txt', '1\n', "no commas in '1'")])
def test_other_forms_that_are_damaged(tmp_path, ext_, text, msg):
    put(tmp_path, 'Toy', text, text, ext=ext_)
    with pytest.raises(ValueError, match=msg): get_UCR_data('Toy', path=tmp_path)


@pytest.mark.parametrize('there,lacking', [('TRAIN', 'TEST'), ('TEST', 'TRAIN')])
def test_one_file_of_two(tmp_path, there, lacking):
    (put(tmp_path, 'GunPointX')/f'GunPointX_{lacking}.ts').unlink()
    with pytest.raises(FileNotFoundError, match=f'GunPointX_{there}.ts was found, and GunPointX_{lacking}.ts was not'):
        get_UCR_data('gunpointx', path=tmp_path)


@pytest.mark.skipif(os.name == 'nt', reason='a umask is of POSIX')
def test_others_may_read_the_cache():
    old = os.umask(0o022)
    try: get_UCR_data('UnitTest')
    finally: os.umask(old)
    assert {o.stat().st_mode & 0o777 for o in (cache_dir()/'parsed').iterdir()} == {0o644}


BAD_TS = [
    (('7,8:', '7,eight:'),         r"Toy_TRAIN\.ts, line 11: value 2 is 'eight'. Expected a number"),
    (('7,8:', '7,,8:'),            r"line 11: value 2 is ''"),
    (('7,8:', ''),                 r"line 11: 1 channels. Expected 2, as in the header"),
    ((':Down', ':Left'),           r"line 11: the label is 'Left'. Expected one of those in the header, Up Down"),
    ((':Down', ''),                r"line 11: the label is '9,10'"),
    (('7,8:9,10:Down', '7,8'),     r"line 11: no ':'"),
    (('equalLength false', 'equalLength true'), r"line 11: 2 values in channel 1. Expected 3"),
    (('Stamps false', 'Stamps true'), r"line 10: '1,2,3'. Expected pairs of a time and a value"),
    (('@classLabel true Up Down', '@classLabel false'), r"line 10: value 1 is 'Up'"),
    (('@data\n', ''),              r"line 1: no line @data"),
    ((TS[TS.index('1,2,3'):], ''), r"line 9: the file ends after its header"),
    ((TS, ''),                     r"is empty"),
    ((TS, '<!DOCTYPE html>\n'),    r"line 1: no line @data in the file, which starts with '<!DOCTYPE html>'"),
    (('@classLabel true Up Down', '@targetLabel true'), r"line 10: the target is 'Up'. Expected a number"),
]

@pytest.mark.parametrize('change,msg', BAD_TS, ids=range(len(BAD_TS)))
def test_corrupt_ts(tmp_path, change, msg):
    put(tmp_path, 'Toy', TS.replace(*change))
    with pytest.raises(ValueError, match=msg): get_UCR_data('Toy', path=tmp_path)


@pytest.mark.parametrize('text,msg', [
    ('1\t2\t3\n1\t4\n',    r'Toy_TRAIN\.tsv, line 2: 1 values. Expected 2'),
    ('1\t2\t3\n1\t4\tx\n', r"line 2: value 2 is 'x'"),
    ('1,2,3\n',            r'line 1: no tab'),
    ('\t2\t3\n',           r"line 1: the label is ''"),
    ('',                   r'is empty')])
def test_corrupt_tsv(tmp_path, text, msg):
    put(tmp_path, 'Toy', text, ext='tsv')
    with pytest.raises(ValueError, match=msg): get_UCR_data('Toy', path=tmp_path)


def test_binary_garbage(tmp_path):
    d = put(tmp_path, 'Toy')
    (d/'Toy_TEST.ts').write_bytes(os.urandom(5000))
    with pytest.raises(ValueError, match='Toy_TEST'): get_UCR_data('Toy', path=tmp_path)


def test_parts_that_do_not_fit(tmp_path):
    put(tmp_path, 'Toy', test=TS.replace('@dimensions 2\n', '').replace('7,8:', '').replace('1,2,3:', ''))
    with pytest.raises(ValueError, match='2 channels.*1'): get_UCR_data('Toy', path=tmp_path)


# ---------------------------------------------------------------- names and sources

@pytest.mark.parametrize('name', ['gunpoint', 'GUNPOINT', ' GunPoint '])
def test_case(name): assert get_UCR_data(name)[0].shape == (50, 1, 150)


@pytest.mark.parametrize('typo,near', [('GunPont', 'GunPoint'), ('ecgfivday', 'ECGFiveDays'), ('Covid3Months', 'Covid3Month')])
def test_typo(typo, near):
    with pytest.raises(KeyError, match=f"Did you mean '{near}'"): get_UCR_data(typo)


@pytest.mark.parametrize('name', [None, 3, ['GunPoint']])
def test_not_a_name(name):
    with pytest.raises(ValueError, match='name of a data set'): get_UCR_data(name)


def test_order_of_sources(tmp_path, monkeypatch):
    "path, TSFAST_DATA, cache, sktime: the first that has the set"
    row = lambda v: f'a\t{v}\t{v}\n'
    for i, o in enumerate(['path', 'env1', 'env2', 'cache/archive']): put(tmp_path/o, 'GunPoint', row(i), row(i), 'tsv')
    monkeypatch.setenv('TSFAST_DATA', os.pathsep.join(str(tmp_path/o) for o in ('absent', 'env1', 'env2')))
    first = lambda **kw: get_UCR_data('gunpoint', **kw)[0][0, 0, 0]
    assert first(path=tmp_path/'path') == 0
    assert first() == 1
    shutil.rmtree(tmp_path/'env1'); assert first() == 2
    (tmp_path/'env2'/'GunPoint'/'GunPoint_TEST.tsv').unlink(); assert first() == 3 # half a set is none
    shutil.rmtree(tmp_path/'cache'); assert get_UCR_data('gunpoint')[0].shape == (50, 1, 150)
    assert get_UCR_data('UnitTest', path=tmp_path/'path')[0].shape == (20, 1, 24) # not in path: the next source
    with pytest.raises(FileNotFoundError, match='is not a folder'): first(path=tmp_path/'absent')


def test_folders_in_any_case(tmp_path):
    d = put(tmp_path, 'toy'); d.rename(tmp_path/'TOY')
    assert get_UCR_data('Toy', path=tmp_path)[0].shape == (2, 2, 3)
    assert get_UCR_data('Toy', path=tmp_path/'TOY')[0].shape == (2, 2, 3) # the set's own folder


def test_no_network(tmp_path):
    with pytest.raises(OSError) as e: get_UCR_data('ECGFiveDays')
    msg = str(e.value)
    assert all(o in msg for o in ('ECGFiveDays', 'no route to host', 'TSFAST_DATA', 'Looked in', str(tmp_path/'cache'),
                                  'Available without a network')) and '\n' not in msg
    assert all(o in msg for o in BUNDLED)
    assert not any(o for o in cache_dir().iterdir() if o.name.startswith('.'))


def test_list_UCR(tmp_path, monkeypatch):
    df = list_UCR()
    counts = df.kind.value_counts()
    assert counts['univariate'] >= 128 and counts['multivariate'] >= 30 and counts['regression'] >= 63 and df.index.is_unique
    assert df.loc['GunPoint'].tolist() == ['univariate', True, 'sktime'] and not df.loc['Wafer', 'here']
    assert set(BUNDLED) <= set(list_UCR(here=True).index)
    put(tmp_path/'mine', 'Toy'); put(tmp_path/'mine', 'Flat', 'a\t1\n', 'a\t1\n', 'tsv')
    put(tmp_path/'mine', 'Num', *[TS.replace('classLabel true Up Down', 'targetLabel true').replace('Up', '1').replace('Down', '2')]*2)
    monkeypatch.setenv('TSFAST_DATA', str(tmp_path/'mine'))
    df = list_UCR(here=True)
    assert df.loc[['Toy', 'Flat', 'Num'], 'kind'].tolist() == ['multivariate', 'univariate', 'regression']
    assert set(list_UCR('regression', here=True).index) >= {'Num', 'Covid3Month'}


# ---------------------------------------------------------------- cache

def test_cache_holds_and_follows_the_source(tmp_path, monkeypatch):
    d = put(tmp_path/'data', 'Toy'); before = sorted(o.name for o in d.iterdir())
    X = get_UCR_data('Toy', path=tmp_path/'data')[0]
    parsed = lambda: [o.name for o in (cache_dir()/'parsed').iterdir()]
    assert len(parsed()) == 1 and sorted(o.name for o in d.iterdir()) == before # nothing beside the source
    with monkeypatch.context() as m:
        m.setitem(archive.READERS, '.ts', lambda f: pytest.fail('parsed again'))
        np.testing.assert_array_equal(get_UCR_data('Toy', path=tmp_path/'data')[0], X)
    (d/'Toy_TRAIN.ts').write_text(TS.replace('1,2,3', '5,2,3')) # the same size
    os.utime(d/'Toy_TRAIN.ts', ns=(1, 1))
    assert get_UCR_data('Toy', path=tmp_path/'data')[0][0, 0, 0] == 5 and len(parsed()) == 1
    shutil.copytree(tmp_path/'data', tmp_path/'other')
    (tmp_path/'other'/'Toy'/'Toy_TRAIN.ts').write_text(TS)
    assert get_UCR_data('Toy', path=tmp_path/'other')[0][0, 0, 0] == 1 and len(parsed()) == 2


HARM = dict(cut=lambda b: b[:-3], empty=lambda b: b'', noise=lambda b: os.urandom(len(b)), longer=lambda b: b + b'x'*8,
            header=lambda b: b[:200],
            bit=lambda b: b[:len(b)//2] + bytes([b[len(b)//2] ^ 1]) + b[len(b)//2+1:])

@pytest.mark.parametrize('on_disk', [False, True])
@pytest.mark.parametrize('harm', HARM.values(), ids=HARM)
def test_damaged_cache(harm, on_disk):
    X, y, _ = get_UCR_data('UnitTest', split_data=False)
    f, = (cache_dir()/'parsed').iterdir(); good = f.read_bytes()
    f.write_bytes(harm(good))
    X2, y2, _ = get_UCR_data('UnitTest', split_data=False, on_disk=on_disk)
    assert y2.tolist() == y.tolist() and X2.shape == X.shape
    if not (on_disk and harm is HARM['bit']): # a memory map is not read through, so a single bit of X goes unnoticed there
        np.testing.assert_array_equal(np.asarray(X2), X)


def test_on_disk(tmp_path):
    X, y, splits = get_UCR_data('BasicMotions', split_data=False, on_disk=True)
    assert isinstance(X, np.memmap)
    want = get_UCR_data('BasicMotions', split_data=False)[0]
    np.testing.assert_array_equal(np.asarray(X), want)
    X[:] = 0; del X # the user's copy
    np.testing.assert_array_equal(get_UCR_data('BasicMotions', split_data=False)[0], want)
    assert all(isinstance(get_UCR_data('BasicMotions', on_disk=True)[i], np.memmap) for i in (0, 2))


def test_unwritable_cache(tmp_path, monkeypatch):
    "A file where the folder should be: no user, not even root, can write there"
    (tmp_path/'file').write_text('')
    monkeypatch.setenv('TSFAST_CACHE', str(tmp_path/'file'/'cache'))
    X = get_UCR_data('UnitTest')[0]
    assert X.shape == (20, 1, 24)
    with pytest.warns(UserWarning, match='cannot be written'): assert not isinstance(get_UCR_data('UnitTest', on_disk=True)[0], np.memmap)
    monkeypatch.setattr(archive, 'fetch', lambda name, folder: put(Path(folder), name))
    assert get_UCR_data('NATOPS')[0].shape == (2, 2, 3) # a download works as well, and is not kept
    monkeypatch.setattr(archive, 'cache_dir', lambda: None) # no home directory
    assert get_UCR_data('UnitTest')[0].shape == (20, 1, 24)
    assert get_UCR_data('NATOPS')[0].shape == (2, 2, 3)


def test_interrupted_cache_write(monkeypatch):
    "An interruption is passed on, and no half-written file stays"
    def stop(*_): raise KeyboardInterrupt
    with monkeypatch.context() as m:
        m.setattr(archive.os, 'replace', stop)
        with pytest.raises(KeyboardInterrupt): get_UCR_data('UnitTest')
    assert not list((cache_dir()/'parsed').iterdir())


def test_concurrent_cache_writes():
    "Many readers and writers of one cache file: each gets the whole set"
    want = archive.read_set(archive.find_set('ItalyPowerDemand')[1])[0]
    def go(i):
        if i % 3 == 0:
            for f in (cache_dir()/'parsed').glob('*.npy'): f.unlink(missing_ok=True) # all write again
        return get_UCR_data('ItalyPowerDemand', split_data=False)[0]
    with cf.ThreadPoolExecutor(8) as pool:
        for X in pool.map(go, range(40)): np.testing.assert_array_equal(X, want)
    assert not [o for o in (cache_dir()/'parsed').iterdir() if o.name.startswith('.')]


def test_concurrent_processes(tmp_path):
    put(tmp_path, 'Toy')
    code = f"from tsfast.data.external import *; print(get_UCR_data('Toy', path={str(tmp_path)!r})[0].shape)"
    ps = [subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True,
                           env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}) for _ in range(2)]
    assert [p.communicate()[0].strip() for p in ps] == ['(2, 2, 3)']*2 and not any(p.returncode for p in ps)


@pytest.mark.parametrize('plat,env,want', [('linux', dict(HOME='/h'), '/h/.local/share/tsfast'),
                                           ('linux', dict(HOME='/h', XDG_DATA_HOME='/x'), '/x/tsfast'),
    ('darwin', dict(HOME='/h'), '/h/Library/Application Support/tsfast'), ('linux', dict(HOME='/h', TSFAST_CACHE='~/c'), '/h/c')])
def test_cache_dir(monkeypatch, plat, env, want):
    for o in ('TSFAST_CACHE', 'XDG_DATA_HOME'): monkeypatch.delenv(o, raising=False)
    for k, v in env.items(): monkeypatch.setenv(k, v)
    monkeypatch.setattr(archive.sys, 'platform', plat)
    assert cache_dir() == Path(want)


# ---------------------------------------------------------------- download

def left_over():
    return sorted(str(o.relative_to(cache_dir())) for o in cache_dir().rglob('*') if o.is_file()) if cache_dir().exists() else []


def test_download_is_kept(monkeypatch):
    calls = []
    monkeypatch.setattr(archive, 'fetch', lambda name, folder: calls.append(name) or put(Path(folder), name))
    X = get_UCR_data('natops', split_data=False)[0]
    assert X.shape == (4, 2, 3) and calls == ['NATOPS']
    np.testing.assert_array_equal(get_UCR_data('NATOPS', split_data=False)[0], X)
    assert len(calls) == 1 and list_UCR().loc['NATOPS'].tolist() == ['multivariate', True, 'cache']
    assert [o for o in left_over() if not o.startswith('parsed')] == ['archive/NATOPS/NATOPS_TEST.ts', 'archive/NATOPS/NATOPS_TRAIN.ts']
    assert isinstance(get_UCR_data('NATOPS', on_disk=True)[0], np.memmap)


@pytest.mark.parametrize('error', [KeyboardInterrupt, ConnectionResetError('reset'), RuntimeError('all strategies failed')])
def test_interrupted_download(monkeypatch, error):
    def half(name, folder):
        d = put(Path(folder), name); (d/f'{name}_TEST.ts').unlink(); (Path(folder)/'x.zip').write_text('half')
        raise error
    monkeypatch.setattr(archive, 'fetch', half)
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else OSError): get_UCR_data('NATOPS')
    assert left_over() == [] and not list_UCR().loc['NATOPS', 'here']
    monkeypatch.setattr(archive, 'fetch', lambda name, folder: put(Path(folder), name))
    assert get_UCR_data('NATOPS')[0].shape == (2, 2, 3) # the next attempt works


def test_unreadable_download(monkeypatch):
    monkeypatch.setattr(archive, 'fetch', lambda name, folder: put(Path(folder), name, test=TS[:-6]))
    with pytest.raises(OSError, match="not readable.*line 11: the label is '9,10'"): get_UCR_data('NATOPS')
    assert left_over() == []


def test_sktime_fetches_what_it_cannot_read(monkeypatch):
    "sktime parses what it downloads; where its parser fails and ours does not, the set is fine"
    def fetch(name, folder): put(Path(folder), name); raise OSError("sktime's reader failed")
    monkeypatch.setattr(archive, 'fetch', fetch)
    assert get_UCR_data('NATOPS')[0].shape == (2, 2, 3)


def test_two_downloads_at_once(monkeypatch):
    barrier = threading.Barrier(2)
    def fetch(name, folder): put(Path(folder), name); barrier.wait(5)
    monkeypatch.setattr(archive, 'fetch', fetch)
    with cf.ThreadPoolExecutor(2) as pool: a, b = pool.map(lambda _: get_UCR_data('NATOPS')[0], range(2))
    np.testing.assert_array_equal(a, b)
    assert len(left_over()) == 3


def test_stale_download_is_removed(monkeypatch):
    old, new = cache_dir()/'.download-old', cache_dir()/'.download-new'
    for o in (old, new): put(o, 'NATOPS')
    os.utime(old, (time.time()-10**6,)*2)
    monkeypatch.setattr(archive, 'fetch', lambda name, folder: put(Path(folder), name))
    get_UCR_data('NATOPS')
    assert not old.exists() and new.exists() # another process may be at work in the newer


def test_real_fetch_goes_through_sktime(tmp_path, monkeypatch):
    "sktime downloads in a process of its own, with a time-out for its sockets; ours keeps its time-out and its warning filters"
    import socket, warnings
    monkeypatch.undo()
    fake = tmp_path/'fake'/'sktime'/'datasets'; fake.mkdir(parents=True)
    (fake.parent/'__init__.py').write_text('')
    (fake/'__init__.py').write_text('import json, socket, warnings\n'
        'def load_UCR_UEA_dataset(name, split=None, extract_path=None):\n'
        '    if name == "Gone": raise ConnectionError("no route to host")\n'
        '    warnings.warn("a mirror is left out")\n'
        '    json.dump([name, split, socket.getdefaulttimeout()], open(extract_path + "/seen.json", "w"))\n')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path/'fake'))
    before = socket.getdefaulttimeout(), list(warnings.filters)
    archive.fetch('NATOPS', tmp_path)
    assert json.loads((tmp_path/'seen.json').read_text()) == ['NATOPS', 'train', 30]
    with pytest.raises(OSError, match='no route to host'): archive.fetch('Gone', tmp_path)
    assert (socket.getdefaulttimeout(), list(warnings.filters)) == before


# ---------------------------------------------------------------- published figures

def test_published():
    df = published_accuracy()
    assert df.shape == (188, 31) and ((df.fillna(.5) >= 0) & (df.fillna(.5) <= 1)).all().all() and df.index.is_unique
    # the means that the sources give for the 112 sets that all have
    means = df.dropna(subset=['minirocket'])[['hive_cote2', 'multirocket_hydra', 'rdst', 'minirocket', 'hydra', 'quant']].mean()*100
    assert means.tolist() == pytest.approx([87.64, 86.80, 86.31, 85.80, 85.35, 85.44], abs=.006)
    assert published_accuracy('NATOPS', 'convtran') == .9444 and published_accuracy('natops', 'rdst') is None
    many = published_accuracy(resamples=True)
    assert len(many) == 142 and many.dropna()[['hive_cote2', 'multirocket_hydra', 'minirocket']].mean().round(4).tolist() == [.8914, .8840, .8744]
    assert published_accuracy('ACSF1', 'quant', resamples=True) == .8103
    with pytest.raises(KeyError, match='Did you mean'): published_accuracy(method='fcnn', resamples=True)
    assert published_accuracy('ecgfivedays')['inceptiontime'] == 1. and published_accuracy('Beef', 'inception_x1_sd') == .0447
    df.loc['Beef'] = 0 # the caller's copy
    assert published_accuracy('Beef', 'rocket') == .8333
    with pytest.raises(KeyError, match='minirocket'): published_accuracy('Beef', 'minirokcet')
    errors = published_rmse()
    assert errors.shape == (63, 23) and not (errors <= 0).any().any()
    assert published_rmse('acousticcontaminationmadrid_nmv', 'inceptiontime') == 4.7351 and published_rmse('ECG200').empty
