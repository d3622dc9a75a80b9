"Bad inputs, each with the message it gets: what was seen, what was expected, how to mend it. `nbs/explanations/10_errors.ipynb` shows them to readers"
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tsfast.core import check_series, pad_series
from tsfast.data import archive
from tsfast.data.core import TSDataLoaders, TSDatasets, get_ts_dls
from tsfast.data.external import get_regression_data, get_UCR_data
from tsfast.data import factories      # noqa: from_df
from tsfast.data.preprocessing import TSNan2Value, TSStandardize
from tsfast.data.recordings import read_frame
from tsfast.data.splits import get_splits
from tsfast.data.targets import TSClassification, TSRegression
from tsfast.data.windows import SlidingWindow
from tsfast.estimators import TSNetClassifier
from tsfast.inference import load_bundle
from tsfast.learner import ts_learner
from tsfast.models.inception_time import InceptionTime
from tsfast.models.minirocket import MiniRocketHead
from tsfast.models.registry import build_ts_model, get_arch

n, C, L = 20, 2, 30
X = np.random.default_rng(0).normal(size=(n, C, L)).astype(np.float32)
y = np.array(['walk', 'run'])[np.arange(n) % 2]
splits = (list(range(14)), list(range(14, n)))

def dls(X=X, y=y, splits=splits, **k): return get_ts_dls(X, y, splits=splits, **{'device': 'cpu', **k})
def with_(value, i=3): Z = X.copy(); Z[i, 0, 5] = value; return Z
def relabelled(): z = y.astype(object); z[17] = 'swim'; return z
ragged = [x[:, :L - i] for i, x in enumerate(X)]
long = pd.DataFrame(dict(id=np.repeat(range(n), 3), time=np.tile(range(3), n), load=1.))
days = pd.DataFrame(dict(day=pd.date_range('2024', periods=n), load=1.))

class Foreign:
    "A data frame of another library, which cannot be read"
    def __dataframe__(self): raise NotImplementedError

class Patchy(nn.Module):
    "Needs 64 steps or more"
    def __init__(self, c_in, c_out): super().__init__(); self.conv, self.fc = nn.Conv1d(c_in, 4, 64), nn.Linear(4, c_out)
    def forward(self, x): return self.fc(self.conv(x).mean(2))

# what is wrong: (what does it, exception, what the message must say)
table = {
    # shapes and kinds
    'one series': (lambda: dls(X[0, 0]), ValueError, ['1 dimension', '(30,)', '(n_series, n_channels, length)', 'x[None, None]']),
    'four dimensions': (lambda: dls(X[..., None]), ValueError, ['4 dimensions', '(20, 2, 30, 1)', 'Expected']),
    'a single number': (lambda: dls(np.float32(3)), ValueError, ['X is a float32', 'Expected a numpy array']),
    'no steps': (lambda: dls(X[:, :, :0]), ValueError, ['(20, 2, 0)', 'no time steps']),
    'no series': (lambda: dls(X[:0], y[:0], None), ValueError, ['0 series', 'at least 2']),
    'objects': (lambda: dls(np.array([None, 1.]*10, dtype=object)), ValueError, ['dtype object', "astype('float32')", 'list of arrays']),
    'series of different lengths without a transform': (lambda: dls(ragged), ValueError, ['13 of 14 series', 'NaN', 'TSNan2Value()']),
    'different channels in a list': (lambda: dls([*ragged[:-1], X[0, :1]]), ValueError, ['Series 19 of X has 1 channels', 'series 0 has 2', 'the same channels']),
    'different lengths, channels last': (lambda: dls([x.T for x in ragged]), ValueError, ['(29, 2)', '[x.T for x in X]']),
    'different lengths in a series': (lambda: dls([[[1, 2], [3]]]*n), ValueError, ['Series 0 of X', 'channels of different lengths']),
    'a series and a number': (lambda: dls([1., [2., 3.]]*10), ValueError, ['Series 0 of X has shape ()']),
    'an empty series in a list': (lambda: dls([*ragged[:-1], X[0, :, :0]]), ValueError, ['Series 19', '(2, 0)', 'at least one step']),
    'text in a list': (lambda: dls([np.array(['a']), np.zeros(3)]*10), ValueError, ['Series 0', 'other than numbers']),
    'a long frame': (lambda: dls(long), ValueError, ["['id', 'time']", "TSDataLoaders.from_df(df, id='id', time='time', y=<label>)", "read_frame(df, id='id', time='time', y=<label>)", 'window=<steps>']),
    'a long frame with other names': (lambda: dls(pd.DataFrame(dict(patient=1, t=range(60), hr=1., bp=2.))), ValueError, ["['patient', 't']", "from_df(df, id='patient', time='t'"]),
    'a frame of channels with a label': (lambda: dls(pd.DataFrame(dict(hr=range(60), bp=2., label=1))), ValueError, ["['label']", 'by its name', "y = df.pop('label')"]),
    'a frame with the index of another': (lambda: dls(pd.DataFrame(dict(hr=range(60), bp=2., index=1)).rename(columns=dict(index='Unnamed: 0'))), ValueError, ["'Unnamed: 0'", 'set_index']),
    'a long frame, and one label a series': (lambda: dls(long, splits=None), ValueError, ["['id', 'time']", "from_df(df, id='id', time='time'"]),
    'a frame with a MultiIndex, and one label a series': (lambda: dls(long.set_index(['id', 'time']), splits=None), ValueError, ['MultiIndex', 'from_df(df, y=<label>)']),
    'a nested frame': (lambda: dls(pd.DataFrame(dict(dim_0=list(map(pd.Series, X[:, 0]))))), ValueError, ['nested', 'panel_to_array(X)']),
    'a list of frames with times': (lambda: dls([g for _, g in long.groupby('id')]), ValueError, ["Series 0 of X", "['id', 'time']", 'g.drop(columns=']),
    'a list of frames of other channels': (lambda: dls([pd.DataFrame(x.T, columns=['a', 'b'] if i else ['b', 'a']) for i, x in enumerate(X)]), ValueError, ['Series 1', "['a', 'b']", 'the same order']),
    'a frame with a MultiIndex': (lambda: dls(long.set_index(['id', 'time'])), ValueError, ['MultiIndex', "['id', 'time']", 'from_df(df, y=<label>)', 'read_frame', 'the last level']),
    'columns with a MultiIndex': (lambda: dls(long.set_index(['id', 'time']).unstack()), ValueError, ['columns have a MultiIndex', 'TSDataLoaders.from_df(df, y=<label>)', 'read_frame(df).X']),
    'a frame with dates': (lambda: dls(days), ValueError, ["['day']", 'dates', "from_df(df, id=<id>, time='day', y=<label>)"]),
    'a frame with durations': (lambda: dls(days.assign(day=days.day - days.day[0])), ValueError, ["['day']", 'dates']),
    'a frame of an unknown library': (lambda: dls(Foreign()), ValueError, ['X is a ', 'Foreign', 'Convert it to a pandas data frame']),
    'text': (lambda: dls(X.astype(str)), ValueError, ['dtype', "astype('float32')"]),
    'complex numbers': (lambda: dls(X.astype(complex)), ValueError, ['complex', 'Expected']),
    'a dictionary': (lambda: dls({'a': 1}), ValueError, ['dict', 'Expected a numpy array']),
    'a dictionary, without splits': (lambda: dls(dict(X=X), splits=None), ValueError, ['X is a dict', "X['X']", 'list(X.values())', 'np.stack']),
    'a generator': (lambda: dls((x for x in X), splits=None), ValueError, ['X is a generator', 'list(X)']),
    'a file name': (lambda: dls('X.npy'), OSError, ['There is no file', 'X.npy']),
    'a frame with a column of text': (lambda: dls(pd.DataFrame({'a': [1., 2.], 'name': ['x', 'y']}), y[:2]), ValueError, ["['name']", 'one row per series', 'Drop or encode']),
    'unknown channels': (lambda: dls(sel_vars=[5]), ValueError, ['sel_vars is [5]', 'Expected indices below 2']),
    # values
    'missing values without a transform': (lambda: dls(with_(np.nan)), ValueError, ['1 of 14 series of the training split', 'NaN', 'TSNan2Value()']),
    'missing values, standardised only': (lambda: dls(with_(np.nan, 16), batch_tfms=TSStandardize()), ValueError, ['1 of 6 series of the validation split', 'TSNan2Value()']),
    'infinite values': (lambda: dls(with_(np.inf), batch_tfms=[TSStandardize(), TSNan2Value()]), ValueError, ['infinite', 'Replace them']),
    **{f'values beyond float32, {k}': (lambda f=f: dls(f(X*np.float64(1e300)), splits=None), ValueError, ['X has values larger than float32 holds', '3.4e+38', 'Scale'])
       for k, f in dict(array=np.asarray, tensor=torch.tensor, frame=lambda o: pd.DataFrame(o[:, 0]), list=lambda o: [x[:, :L - i] for i, x in enumerate(o)], masked=np.ma.array).items()},
    'missing values in new series': (lambda: dls().new_dl(with_(np.nan)), ValueError, ['1 of 20 series of the new data', 'TSNan2Value()']),
    'new series of another shape': (lambda: dls().new_dl(X[:, :1]), ValueError, ['(20, 1, 30)', 'Expected (n, 2, 30)']),
    # splits
    'an empty split': (lambda: dls(splits=(list(range(20)), [])), ValueError, ['The valid split is empty', 'at least one index']),
    'overlapping splits': (lambda: dls(splits=([0, 1, 2, 3], [3, 4, 5])), ValueError, ['train and valid splits overlap', 'index 3']),
    'an index out of range': (lambda: dls(splits=([0, 1], [2, 99])), ValueError, ['99', 'out of range for 20 series']),
    'an index twice': (lambda: dls(splits=([0, 1, 1], [2])), ValueError, ['index 1 more than once']),
    'one list instead of two': (lambda: dls(splits=[0, 1, 2]), ValueError, ['Expected a tuple of index lists']),
    'a single training series': (lambda: dls(splits=([0], [1, 2]), y=np.arange(n).astype(float)), ValueError, ['1 series', 'at least two']),
    'batches of one': (lambda: dls(bs=1), ValueError, ['bs is 1', 'at least two']),
    'a bs of zero': (lambda: dls(bs=0), ValueError, ['bs is 0', 'positive']),
    # targets
    'the name of a column': (lambda: dls(y='label'), ValueError, ["single str, 'label'", "y=df.pop('label')"]),
    'the name of a column, without splits': (lambda: dls(y='label', splits=None), ValueError, ["single str, 'label'", "y=df.pop('label')"]),
    'targets in another order': (lambda: dls(pd.DataFrame(X[:, 0]), pd.Series(y)[::-1]), ValueError, ['same index in another order', 'row 0 is 0 in X and 19 in y', 'y.loc[X.index]', 'y.to_numpy()']),
    'new targets in another order': (lambda: dls(X[:, 0]).new_dl(pd.DataFrame(X[:, 0]), pd.Series(y)[::-1]), ValueError, ['y.loc[X.index]']),
    'a generator of targets': (lambda: dls(y=(o for o in y)), ValueError, ['y is a generator', 'list(y)']),
    'a generator of targets, without splits': (lambda: dls(y=map(str, y), splits=None), ValueError, ['y is a map', 'list(y)']),
    'too few targets': (lambda: dls(y=y[:7]), ValueError, ['20 series and 7 targets']),
    'a label only validation has': (lambda: dls(y=relabelled()), ValueError, ["'swim'", "'run', 'walk'", 'training split']),
    'a label never seen': (lambda: dls().new_dl(X[:1], ['fly']), ValueError, ["'fly'", "'run', 'walk'"]),
    'one class': (lambda: dls(y=['walk']*n), ValueError, ["only one class: 'walk'", 'at least two']),
    'a missing label': (lambda: dls(y=np.where(np.arange(n) == 4, None, y)), ValueError, ['missing label', 'number 4', 'Remove them']),
    'labels of two types': (lambda: dls(y=['walk', 1]*10), ValueError, ['int', 'str', 'y.astype(str)']),
    'words as numbers': (lambda: dls(tfms=[None, TSRegression()]), ValueError, ["'walk'", 'TSClassification()']),
    'a matrix without saying what it is': (lambda: dls(y=np.zeros((n, 3))), ValueError, ['(20, 3)', 'TSRegression()', 'TSMultiLabelClassification()']),
    'a missing number': (lambda: dls(y=np.where(np.arange(n) == 4, np.nan, 1.)), ValueError, ['NaN', 'number 4', 'allow_nan=True']),
    # models
    'a mistyped architecture': (lambda: ts_learner(dls(), 'InceptonTime'), KeyError, ["'InceptonTime'", "Did you mean 'InceptionTime'?"]),
    'a mistyped argument': (lambda: ts_learner(dls(), InceptionTime, dephts=3), ValueError, ['dephts', "Did you mean 'depth'?"]),
    'a misspelt argument of the learner': (lambda: ts_learner(dls(), InceptionTime, metric=[]), ValueError, ["ts_learner has no argument 'metric'", "Did you mean 'metrics'?"]),
    'the same, with the default': (lambda: ts_learner(dls(), metric=[]), ValueError, ["'metric'", "Did you mean 'metrics'?"]),
    'the same, with an instance': (lambda: ts_learner(dls(), InceptionTime(2, 2), metric=[]), ValueError, ["'metric'", "Did you mean 'metrics'?"]),
    'a metric by name': (lambda: ts_learner(dls(), metrics='accuracy'), ValueError, ["metrics has 'accuracy'", 'from fastai.metrics import accuracy']),
    'a metric by name among others': (lambda: ts_learner(dls(), metrics=[len, 3]), ValueError, ['metrics has 3', 'Expected functions']),
    'a batch size under another name': (lambda: dls(batch_size=8), ValueError, ["'batch_size'", "Did you mean 'bs'?"]),
    'a bundle that is a file': (lambda: load_bundle(__file__), NotADirectoryError, ['test_errors.py is a file', 'learn.save_bundle', 'load_learner(']),
    'no architecture': (lambda: ts_learner(dls(), 3), (ValueError, KeyError), ['3']),
    'too many channels': (lambda: ts_learner(dls(), InceptionTime(3, 2)), ValueError, ['built for 3 channels', 'have 2']),
    'too few outputs': (lambda: ts_learner(dls(), InceptionTime(2, 5)), ValueError, ["('B', 5)", "('B', 2)", 'c_out=2']),
    'an instance and arguments': (lambda: ts_learner(dls(), InceptionTime(2, 2), nf=8), ValueError, ['built already', 'nf']),
    'too short for the model': (lambda: ts_learner(dls(X[:, :, :4]), 'MiniRocket'), ValueError, ['MiniRocket', 'have 4', 'at least 9 steps']),
    'another shape at the model': (lambda: InceptionTime(2, 2)(torch.zeros(4, 30)), ValueError, ['2 dimensions', '(batch, channels, length)']),
    'no targets': (lambda: ts_learner(dls(y=None), InceptionTime), ValueError, ['no targets', 'Pass y']),
    # archive
    'a mistyped set': (lambda: get_UCR_data('GunPont'), KeyError, ["'GunPont'", "Did you mean 'GunPoint'?"]),
    'an unknown set': (lambda: get_UCR_data('Zzyzx'), KeyError, ["'Zzyzx'"]),
    'classes as numbers': (lambda: get_regression_data('GunPoint'), ValueError, ['GunPoint', 'get_UCR_data']),
    'no such folder': (lambda: get_UCR_data('GunPoint', path='nowhere'), OSError, ["'nowhere'", 'is not a folder', '<Name>_TRAIN.ts']),
}

@pytest.mark.parametrize('name', table)
def test_message(name):
    f, error, parts = table[name]
    with pytest.raises(error) as e: f()
    text = str(e.value)
    for o in parts: assert o in text, text
    assert len(text) < 900 and text.rstrip('"\'')[-1] in '.)?]:', text     # sentences

def test_errors_are_of_the_kinds_that_people_catch():
    assert all(issubclass(e, (ValueError, KeyError, OSError)) for _, e, _ in table.values() if isinstance(e, type))

def test_nothing_is_left_half_done():
    "After a refusal the same inputs, mended, work"
    tfm = TSStandardize()
    with pytest.raises(ValueError): dls(with_(np.nan), batch_tfms=tfm)
    d = dls(with_(np.nan), batch_tfms=[tfm, TSNan2Value()]); assert torch.isfinite(d.one_batch()[0]).all() and tfm.fn.shift is None


# ---------------------------------------------------------------- models of one's own

def test_own_model_that_is_too_short():
    "torch's own message, and before training"
    with pytest.raises(RuntimeError, match='[Kk]ernel size'): ts_learner(dls(), Patchy(2, 2))

@pytest.mark.parametrize('name', ['InceptionTime', 'XceptionTime', 'MiniRocket'])
def test_shortest_series(name):
    arch = get_arch(name); k = arch.min_len
    if k > 1:
        with pytest.raises(ValueError, match=f'at least {k} steps'): build_ts_model(name, 1, 2, k-1)
    assert build_ts_model(name, 1, 2, k) is not None


# ---------------------------------------------------------------- the archive

def write(folder, name, train, test=None):
    (folder/name).mkdir()
    for part, text in (('TRAIN', train), ('TEST', train if test is None else test)): (folder/name/f'{name}_{part}.ts').write_text(text)

head = '@problemName Toy\n@timeStamps false\n@univariate true\n@equalLength true\n@seriesLength 3\n@classLabel true a b\n@data\n'
good = head + '1,2,3:a\n4,5,6:b\n'

@pytest.mark.parametrize('text,parts', [
    ('', ['empty']), ('hello\nthere', ['line 1', '@data']), (head, ['after its header']), (head + '1,2,x:a\n', ['line 8', "'x'", 'number']), (head + '1,2,3\n', ['line 8', "no ':'"]),
    (head + '1,2,3:c\n', ['line 8', "'c'", 'in the header']), (good + '7,8:a\n', ['line 10', '3']), (good[:-7] , ['line']), ('<html>not found</html>', ['line 1']),
], ids=['empty', 'no header', 'no data', 'not a number', 'no label', 'unknown label', 'short line', 'cut off', 'a web page'])
def test_corrupt_ts_file(tmp_path, text, parts, monkeypatch):
    monkeypatch.setattr(archive, 'cache_dir', lambda: tmp_path/'cache')
    write(tmp_path, 'Toy', text, good)
    with pytest.raises(ValueError) as e: get_UCR_data('Toy', path=tmp_path)
    for o in ['Toy_TRAIN.ts'] + parts: assert o in str(e.value), str(e.value)
    write(tmp_path, 'Fine', good)
    assert get_UCR_data('fine', path=tmp_path)[0].shape == (2, 1, 3)

def test_no_network(tmp_path, monkeypatch):
    "An OSError that says what was tried, what there is without a network, and leaves nothing behind"
    def offline(name, folder): raise ConnectionError('no route to host')
    monkeypatch.setattr(archive, 'fetch', offline); monkeypatch.setattr(archive, 'cache_dir', lambda: tmp_path/'cache'); monkeypatch.delenv('TSFAST_DATA', raising=False)
    with pytest.raises(OSError) as e: get_UCR_data('ECGFiveDays')
    for o in ("'ECGFiveDays'", 'no route to host', 'TSFAST_DATA', 'ECGFiveDays_TRAIN.ts', 'without a network', 'GunPoint', 'ItalyPowerDemand'): assert o in str(e.value), str(e.value)
    assert not [o for o in tmp_path.rglob('*') if o.is_file()]

def test_splits_that_cannot_be():
    for k, message in ((dict(valid_size=1.5), 'valid_size'), (dict(valid_size=40), 'valid_size')):
        with pytest.raises(ValueError, match=message): get_splits(y, **k)

def test_series_in_the_wrong_order_of_axes():
    "Fewer than 3 steps and more channels are hardly meant; new data that disagrees is refused"
    with pytest.warns(UserWarning, match=r'\(20, 30, 2\).*X\.transpose\(0, 2, 1\)'): d = get_ts_dls(X.transpose(0, 2, 1), y, splits=splits, device='cpu')
    assert (d.vars, d.len) == (30, 2)
    with pytest.raises(ValueError, match=r'Expected \(n, 30, 2\)'): d.new_dl(X)

def test_one_step_of_many_channels():
    "Features of each series for a model that takes them, channels-last data for any other"
    d = get_ts_dls(X.transpose(0, 2, 1)[..., :1], y, splits=splits, device='cpu', bs=8)
    ts_learner(d, MiniRocketHead)
    with pytest.warns(UserWarning, match=r', 30, 1\).*X\.transpose\(0, 2, 1\)'): ts_learner(d, 'FCN')

@pytest.mark.parametrize('X', [np.zeros((5, 2, 3)), np.zeros((5, 2, 2)), np.zeros((5, 1, 1)), np.zeros((5, 2)), np.zeros((5, 3, 3))], ids=lambda o: str(o.shape))
def test_short_series_are_no_mistake(X): assert check_series(X).shape[0] == 5      # warnings are errors here

def test_channels_of_new_data_are_known():
    "Where training fixed the number of channels, short series are no question"
    assert dls(X).new_dl(X[:, :, :1]).dataset.len == 1

def test_a_frame_of_two_columns_is_hardly_wide():
    with pytest.warns(UserWarning, match='20 rows and 2 columns.*20 series of 2 steps.*from_df'): check_series(pd.DataFrame(dict(a=np.arange(20.), b=1.)))
    check_series(pd.DataFrame(np.zeros((20, 3))))

wide = pd.DataFrame(X[:, 0])

@pytest.mark.parametrize('name', ['label', 'y', 'target', 'class', 'index', 'Unnamed: 0', 'patient', 't', 'ts', 'time', 'sample', 'record', 'seq', 'Patient ID', 'diagnosis'])
@pytest.mark.parametrize('step', [int, 't{}'.format, lambda i: str(pd.Timestamp('2024') + pd.Timedelta(days=i)), pd.Timestamp], ids=['numbers', 'text', 'dates as text', 'dates'])
def test_a_column_that_is_no_step(name, step):
    df = wide.rename(columns=step)
    for i in (0, L):
        other = df.copy(); other.insert(i, name, 1.)
        with pytest.raises(ValueError) as e: check_series(other)
        for o in (f"column [{name!r}] is no time step, where 30 others", f"y = df.pop({name!r})", f"df.set_index({name!r})"): assert o in str(e.value)
        assert np.array_equal(check_series(other.set_index(name)), X[:, :1])

@pytest.mark.parametrize('names', [['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'], [f'Unnamed: {i}' for i in range(5)], [f'time_{i}' for i in range(5)], [f'{h}:00' for h in range(24)]], ids=lambda o: o[0])
def test_names_of_steps(names): assert check_series(pd.DataFrame(np.zeros((40, len(names))), columns=names)).shape == (40, 1, len(names))      # warnings are errors here

def test_a_frame_of_a_few_words_is_hardly_wide():
    with pytest.warns(UserWarning, match=r'20 rows and 3 columns \(hr, bp, T\).*from_df'): check_series(pd.DataFrame(dict(hr=np.arange(20.), bp=1., T=2.)))

def test_lists_of_series_with_a_row_for_each_step():
    "Frames with named columns, and whatever differs in its rows alone"
    frames = [pd.DataFrame(x.T, columns=['hr', 'bp']) for x in ragged]
    for o in (frames, [f.set_axis(range(C), axis=1) for f in frames]): assert np.array_equal(check_series(o), pad_series(ragged), equal_nan=True)
    assert np.array_equal(check_series([f[:9] for f in frames]), X[:, :, :9]) and np.array_equal(check_series(frames[:1])[0], X[0])
    for make in (np.array, torch.tensor): assert np.array_equal(pad_series([make(x[:1].T) for x in ragged]), pad_series([x[:1] for x in ragged]), equal_nan=True)
    assert dls(frames, batch_tfms=TSNan2Value()).vars == C

@pytest.mark.parametrize('Z,t,msg', [(wide.rename(columns=str).assign(label=1.), y, r"y = df.pop\('label'\)"), (wide, pd.Series(y)[::-1], r'y.loc\[X.index\]'), (long, y, "from_df.*id='id', time='time'")], ids=['label', 'order', 'long'])
def test_estimators_look_at_frames_too(Z, t, msg):
    with pytest.raises(ValueError, match=msg): TSNetClassifier('MiniRocket', ridge=True, device='cpu').fit(Z, t)

def test_an_index_that_says_nothing_of_the_order():
    s = pd.Series(y)
    for Z, t in ((wide, s), (wide.iloc[::-1], s[::-1]), (wide, s.set_axis(range(5, 25))), (wide, s.set_axis([0]*n)), (wide, s[::-1].to_numpy()), (X, s[::-1])): dls(Z, t)

def test_what_the_messages_name_works():
    df = long.assign(load=np.arange(60.), temp=0.)
    want = np.stack([np.arange(60.).reshape(20, 3), np.zeros((20, 3))], axis=1)
    indexed = df.set_index(['id', 'time'])
    for o in (read_frame(df, id='id', time='time'), read_frame(indexed)): assert np.array_equal(o.X, want) and o.channels == ['load', 'temp']
    swapped = indexed.unstack(); assert np.array_equal(read_frame(swapped).X, want)
    d = TSDataLoaders.from_df(df.assign(label=np.where(df.id % 2, 'a', 'b')), id='id', time='time', y='label')
    assert (d.vars, d.len, list(d.vocab)) == (2, 3, ['a', 'b'])


# ---------------------------------------------------------------- series of different lengths

kinds = {
    'list': ragged, 'tuple': tuple(ragged), 'object array': np.array([*ragged, None], dtype=object)[:-1], 'tensors': [torch.tensor(x) for x in ragged], 'learnt tensors': [torch.tensor(x, requires_grad=True) for x in ragged],
    'lists': [x.tolist() for x in ragged], 'float64': [x.astype(np.float64) for x in ragged], 'tensors and arrays': [torch.tensor(x) if i % 2 else x for i, x in enumerate(ragged)], 'column': pd.Series(ragged, index=range(50, 70)),
    'masked': [np.ma.array(x) for x in ragged], 'read-only': [np.broadcast_to(x, x.shape) for x in ragged], 'frames': [pd.DataFrame(x) for x in ragged],
}

@pytest.mark.parametrize('name', kinds)
def test_series_of_different_lengths(name):
    a = check_series(kinds[name])
    assert isinstance(a, np.ndarray) and a.dtype == np.float32 and a.shape == (n, C, L)
    for i, x in enumerate(ragged): assert np.array_equal(a[i, :, :L - i], x) and np.isnan(a[i, :, L - i:]).all()
    d = get_ts_dls(kinds[name], y, splits=splits, batch_tfms=[TSStandardize(), TSNan2Value()], device='cpu')
    assert (d.vars, d.len) == (C, L) and torch.isfinite(d.one_batch()[0]).all() and len(d.new_dl(kinds[name]).dataset) == n
    assert get_ts_dls(kinds[name], y, batch_tfms=TSNan2Value(), device='cpu').len == L

@pytest.mark.parametrize('make', [lambda x: x, torch.tensor, np.ndarray.tolist, pd.Series], ids=['array', 'tensor', 'list', 'column'])
def test_different_lengths_of_one_channel(make):
    a = pad_series([make(x[0]) for x in ragged]); assert np.array_equal(a, check_series(ragged)[:, :1], equal_nan=True)

as_given = {'list': list, 'tuple': tuple, 'object array': lambda o: np.array([*o, None], dtype=object)[:-1], 'column': pd.Series, 'tensors': lambda o: list(map(torch.tensor, o)),
            'masked': lambda o: list(map(np.ma.array, o)), 'lists': lambda o: [x.tolist() for x in o]}

@pytest.mark.parametrize('name', as_given)
def test_lost_digits_of_different_lengths(name):
    "As for an array, before the padding makes float32 of them"
    far = as_given[name]([x.astype(np.float64) + 1.7e9 for x in ragged])
    with pytest.warns(UserWarning, match='values near 1.*float32 keeps fewer'): TSDatasets(far, y)

def test_pad_series_of_odd_items():
    a = pad_series([np.ma.masked_less(np.arange(4.), 2), pd.Series([1, None], dtype='Int64'), torch.ones(1, 3, dtype=torch.bfloat16), np.array([True])])
    np.testing.assert_array_equal(a[:, 0], [[np.nan, np.nan, 2, 3], [1, np.nan, np.nan, np.nan], [1, 1, 1, np.nan], [1, np.nan, np.nan, np.nan]])
    assert np.isnan(check_series([np.ma.masked_less(np.arange(4.), 2)]*3)).sum() == 6      # of one length, too
    with pytest.raises(ValueError, match='empty list'): pad_series([])

def test_classifier_of_different_lengths():
    clf = TSNetClassifier('MiniRocket', ridge=True, arch_params=dict(num_features=168), batch_tfms=TSNan2Value(), device='cpu').fit(ragged, y)
    assert clf.predict(ragged).shape == (n,)


# ---------------------------------------------------------------- frames of other libraries

class Column:
    def __init__(self, a): self.a = a
    def to_numpy(self): return self.a

class Polars:
    "What matters of polars here: `to_pandas` needs a package that is not installed"
    def __init__(self, df): self.df = df
    columns = property(lambda self: list(self.df.columns))
    def __len__(self): return len(self.df)
    def __getitem__(self, c): return Column(self.df[c].to_numpy())
    def to_pandas(self): raise ModuleNotFoundError('pyarrow')
    def to_numpy(self): return self.df.to_numpy()

class Arrow(Polars):
    columns, column_names = property(lambda self: [self.df[c] for c in self.df]), property(lambda self: list(self.df.columns))
    def to_pandas(self): return self.df

@pytest.mark.parametrize('kind', [Polars, Arrow])
def test_frames_of_other_libraries(kind):
    wide, labels = pd.DataFrame(X[:, 0]).rename(columns=str), pd.DataFrame(dict(label=y))
    assert np.array_equal(check_series(kind(wide)), X[:, :1])
    d = get_ts_dls(kind(wide), kind(labels), device='cpu'); assert list(d.vocab) == ['run', 'walk'] and d.len == L
    with pytest.raises(ValueError, match="'day'.*dates"): check_series(kind(days))
    with pytest.raises(ValueError, match="from_df.*id='id', time='time'"): check_series(kind(long))
    assert np.array_equal(SlidingWindow(4)(kind(days))[0], SlidingWindow(4)(days)[0])
    with pytest.raises(ValueError, match='not in time order'): SlidingWindow(4)(kind(days[::-1]))

def test_channels_last_of_many_steps():
    "A few steps of far more channels; many channels of an EEG are none, nor are features"
    for shape, warns in [((20, 300, 3), True), ((20, 160, 16), True), ((20, 128, 16), False), ((20, 3, 300), False), ((20, 400, 1), False), ((20, 400, 40), False)]:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter('always')
            check_series(np.zeros(shape, np.float32))
            check_series(np.zeros(shape, np.float32), 'a/b.npy')
        said = [str(o.message) for o in seen]
        assert bool(said) == warns
        if warns: assert 'pass X.transpose(0, 2, 1)' in said[0] and 'a/b.npy.transpose' not in said[1] and 'x.T for a file with one series' in said[1]
