"Bad inputs, each with the message it gets: what was seen, what was expected, how to mend it. `nbs/explanations/10_errors.ipynb` shows them to readers"
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tsfast.data import external
from tsfast.data.core import TSDatasets, get_ts_dls
from tsfast.data.external import get_regression_data, get_UCR_data
from tsfast.data.preprocessing import TSNan2Value, TSStandardize
from tsfast.data.splits import get_splits
from tsfast.data.targets import TSClassification, TSRegression
from tsfast.learner import ts_learner
from tsfast.models.inception_time import InceptionTime
from tsfast.models.registry import build_ts_model, get_arch

n, C, L = 20, 2, 30
X = np.random.default_rng(0).normal(size=(n, C, L)).astype(np.float32)
y = np.array(['walk', 'run'])[np.arange(n) % 2]
splits = (list(range(14)), list(range(14, n)))

def dls(X=X, y=y, splits=splits, **k): return get_ts_dls(X, y, splits=splits, **{'device': 'cpu', **k})
def with_(value, i=3): Z = X.copy(); Z[i, 0, 5] = value; return Z
def relabelled(): z = y.astype(object); z[17] = 'swim'; return z
ragged = np.array([np.zeros(3), np.zeros(5)], dtype=object)

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
    'an object array': (lambda: dls(ragged, y[:2]), ValueError, ['object', 'padded with NaN at the end']),
    'a list of series of different lengths': (lambda: dls([np.zeros(3), np.zeros(5)], y[:2]), ValueError, ['different shapes', 'Pad them with NaN']),
    'text': (lambda: dls(X.astype(str)), ValueError, ['dtype', "astype('float32')"]),
    'complex numbers': (lambda: dls(X.astype(complex)), ValueError, ['complex', 'Expected']),
    'a dictionary': (lambda: dls({'a': 1}), ValueError, ['dict', 'Expected a numpy array']),
    'a file name': (lambda: dls('X.npy'), ValueError, ['str', 'Expected a numpy array']),
    'a frame with a column of text': (lambda: dls(pd.DataFrame({'a': [1., 2.], 'name': ['x', 'y']}), y[:2]), ValueError, ["['name']", 'a row a series', 'Drop or encode']),
    'unknown channels': (lambda: dls(sel_vars=[5]), ValueError, ['sel_vars is [5]', 'Expected indices below 2']),
    # values
    'missing values without a transform': (lambda: dls(with_(np.nan)), ValueError, ['1 of 14 series of the training split', 'NaN', 'TSNan2Value()']),
    'missing values, standardised only': (lambda: dls(with_(np.nan, 16), batch_tfms=TSStandardize()), ValueError, ['1 of 6 series of the validation split', 'TSNan2Value()']),
    'infinite values': (lambda: dls(with_(np.inf), batch_tfms=[TSStandardize(), TSNan2Value()]), ValueError, ['infinite', 'Replace them']),
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
    monkeypatch.setattr(external, 'cache_dir', lambda: tmp_path/'cache')
    write(tmp_path, 'Toy', text, good)
    with pytest.raises(ValueError) as e: get_UCR_data('Toy', path=tmp_path)
    for o in ['Toy_TRAIN.ts'] + parts: assert o in str(e.value), str(e.value)
    write(tmp_path, 'Fine', good)
    assert get_UCR_data('fine', path=tmp_path)[0].shape == (2, 1, 3)

def test_no_network(tmp_path, monkeypatch):
    "An OSError that says what was tried, what there is without a network, and leaves nothing behind"
    def offline(name, folder): raise ConnectionError('no route to host')
    monkeypatch.setattr(external, '_fetch', offline); monkeypatch.setattr(external, 'cache_dir', lambda: tmp_path/'cache'); monkeypatch.delenv('TSFAST_DATA', raising=False)
    with pytest.raises(OSError) as e: get_UCR_data('ECGFiveDays')
    for o in ("'ECGFiveDays'", 'no route to host', 'TSFAST_DATA', 'ECGFiveDays_TRAIN.ts', 'without a network', 'GunPoint', 'ItalyPowerDemand'): assert o in str(e.value), str(e.value)
    assert not [o for o in tmp_path.rglob('*') if o.is_file()]

def test_splits_that_cannot_be():
    for k, message in ((dict(valid_size=1.5), 'valid_size'), (dict(valid_size=40), 'valid_size')):
        with pytest.raises(ValueError, match=message): get_splits(y, **k)

def test_series_in_the_wrong_order_of_axes():
    "Nobody can know, but new data that disagrees is refused"
    d = get_ts_dls(X.transpose(0, 2, 1), y, splits=splits, device='cpu'); assert (d.vars, d.len) == (30, 2)
    with pytest.raises(ValueError, match=r'Expected \(n, 30, 2\)'): d.new_dl(X)
