"Targets: what people have as labels and numbers comes back as it was; what cannot be right is refused, with the reason"
import copy, pickle

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from tsfast.data.core import TSDatasets, get_ts_dls
from tsfast.data.targets import ScaledTarget, TSClassification, TSMultiLabelClassification, TSRegression, as_targets, infer_target

quick = settings(deadline=None, max_examples=80, derandomize=True, database=None)
X = np.random.default_rng(0).normal(size=(12, 1, 8)).astype(np.float32)
splits = (range(8), range(8, 12))


# ---------------------------------------------------------------- classes

strings = np.array(['b', 'a', 'c', 'a']*3)
labels = {
    'strings': strings, 'list': list(strings), 'tuple': tuple(strings), 'object': strings.astype(object), 'bytes': strings.astype('S1'),
    'series': pd.Series(strings, index=range(50, 62)), 'categorical': pd.Categorical(strings, categories=['c', 'b', 'a', 'unused']),
    'categorical series': pd.Series(strings).astype('category'), 'string dtype': pd.Series(strings, dtype='string'), 'index': pd.Index(strings),
    'StringDType': strings.astype(np.dtypes.StringDType()), 'string array': pd.array(strings, dtype='string'),
    'integers': np.array([3, -1, 7, 3]*3), 'int8': np.array([3, -1, 7, 3]*3, dtype=np.int8), 'unsigned': np.array([3, 1, 7, 3]*3, dtype=np.uint16), 'integer list': [3, -1, 7, 3]*3,
    'big-endian': np.array([3, -1, 7, 3]*3, dtype='>i4'), 'nullable integers': pd.Series([3, -1, 7, 3]*3, dtype='Int64'), 'torch': torch.tensor([3, -1, 7, 3]*3), 'torch bool': torch.tensor([True, False]*6),
    'bools': np.array([True, False]*6), 'bool list': [True, False]*6, 'floats': np.array([1., 2.5, -1.]*4), 'huge integers': np.array([2**62, -2**62, 0]*4),
    'integer objects': np.array([3, -1, 7, 3]*3, dtype=object), 'read-only': np.frombuffer(np.array([3, -1, 7, 3]*3).tobytes(), dtype=np.int64),
}

@pytest.mark.parametrize('name', labels)
def test_labels_round_trip(name):
    y = labels[name]
    before = copy.deepcopy(y)
    flat = np.asarray(y).tolist()
    t = TSClassification().setup(y)
    code = t.encode(y)
    assert code.dtype == torch.int64 and list(t.vocab) == sorted(set(flat)) and t.decode(code).tolist() == flat
    assert [t.vocab[i] for i in code] == flat                                           # fastai's own way to decode
    assert t.c == len(set(flat)) and t.d is None and t.cat
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], bs=4, device='cpu')
    assert dls.c == t.c and dls.valid.dataset.target.decode(torch.cat([b[1] for b in dls.valid])).tolist() == flat[8:]
    assert (np.asarray(y) == np.asarray(before)).all()
    again = pickle.loads(pickle.dumps(t)); assert again.decode(again.encode(y)).tolist() == flat

@pytest.mark.parametrize('name', [o for o in labels if o != 'floats'])
def test_what_is_not_a_float_is_a_class(name):
    "Integers are classes without a transform, too"
    ds = TSDatasets(X, labels[name], splits=splits)
    assert ds.cat and type(ds.loss_func).__name__ == 'CrossEntropyLossFlat'
    assert type(TSDatasets(X, labels['floats'], splits=splits).target) is TSRegression

@quick
@given(st.lists(st.one_of(st.integers(-5, 5)), min_size=2, max_size=30), st.sampled_from([int, str, float, bool, object]))
def test_any_labels(values, kind):
    y = np.array(values).astype(kind)
    if len(set(y.tolist())) < 2: return
    t = TSClassification().setup(y)
    assert t.decode(t.encode(y)).tolist() == y.tolist() and sorted(t.vocab) == list(t.vocab)
    for v in set(y.tolist()): assert t.vocab[int(t.encode(np.array([v]))[0])] == v

@pytest.mark.parametrize('name', labels)
def test_one_column_is_one_target_a_series(name):
    "As in one dimension, with a transform and without, and stratified in the same way"
    y = labels[name]
    for column in (pd.DataFrame(dict(label=y if not isinstance(y, torch.Tensor) else y.numpy())), y[:, None] if isinstance(y, (np.ndarray, torch.Tensor)) else np.asarray(y)[:, None]):
        for tfms in (None, [None, TSClassification()]):
            a, b = (get_ts_dls(X, o, splits=splits, tfms=tfms, device='cpu') for o in (column, y))
            assert type(a.dataset.target) is type(b.dataset.target) and a.vocab == b.vocab and a.d is b.d is None and torch.equal(a.dataset.y, b.dataset.y)
            assert torch.equal(a.new_dl(X, column).dataset.y, a.new_dl(X, y).dataset.y)

def test_one_column_is_stratified():
    y = np.repeat(['a', 'b'], [9, 3]); a, b = (get_ts_dls(X, o, device='cpu') for o in (pd.DataFrame(dict(label=y)), y))
    assert torch.equal(a.valid.dataset.idxs, b.valid.dataset.idxs)

@pytest.mark.parametrize('y', [np.array([1., 2.]*6), [1., 2.]*6, torch.tensor([0., 1.]*6), pd.DataFrame(dict(y=[1., 2., 3.]*4)), np.array([1., 2., 5., 9.]*3, dtype=np.float16)], ids=lambda o: type(o).__name__)
def test_few_whole_floats_may_be_classes(y):
    with pytest.warns(UserWarning, match=r'all whole: .*y\.astype\(int\).*TSClassification\(\)'): ds = TSDatasets(X, y, splits=splits)
    assert type(ds.target) is TSRegression
    for t in (TSRegression(), TSClassification()): TSDatasets(X, y, tfms=[None, t], splits=splits)       # said: no warning

@pytest.mark.parametrize('y', [np.arange(12.), np.array([.5, 1.]*6), np.full(12, 3.), np.array([1., 2., 3., 4., 5.]*2 + [1., 2.])], ids=str)
def test_numbers_that_are_no_classes(y): assert type(TSDatasets(X, y, splits=splits).target) is TSRegression

def test_vocab_sets_the_order():
    t = TSClassification(vocab=['low', 'mid', 'high']).setup(['high', 'low'])
    assert t.encode(['low', 'mid', 'high']).tolist() == [0, 1, 2] and t.c == 3
    assert TSClassification(vocab=[3, 1, 2]).setup([1, 2]).encode([1, 2, 3]).tolist() == [1, 2, 0]
    with pytest.raises(ValueError, match="Unknown label: 'other'"): TSDatasets(X, ['low', 'other']*6, tfms=[None, TSClassification(vocab=['low', 'high'])])

def test_a_class_for_each_step():
    y = np.random.default_rng(0).choice(['a', 'b', 'c'], (12, 8))
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], device='cpu')
    assert dls.d == (8,) and dls.c == 3 and (dls.valid.dataset.target.decode(dls.valid.one_batch()[1]) == y[8:]).all()

@pytest.mark.parametrize('y,message', [
    (['a']*12, "only one class: 'a'"), (np.zeros(12, int), 'only one class: 0'),
    (np.array(['a', None]*6, dtype=object), 'missing label'), (np.array([1., np.nan]*6), 'missing label'), (['a', float('nan')]*6, 'missing label'), (['a', 1]*6, 'different types'), ([None, 'a']*6, '6 of 8|4 of 8'),
    (np.array(['a', None]*6, dtype=np.dtypes.StringDType(na_object=None)), 'missing label'), (np.array(['a', np.nan]*6, dtype=np.dtypes.StringDType(na_object=np.nan)), 'missing label'),
    (pd.Series(['a', None]*6), 'missing label'), (pd.Series(['a', None]*6, dtype='string'), 'missing label'), (pd.Series([1, None]*6, dtype='Int64'), 'missing label'),
    (pd.Series(['a', None]*6).astype('category'), 'missing label'),
    (np.array(['a', 1]*6, dtype=object), 'different types'), (np.zeros((12, 2, 2), int), 'TSMultiLabelClassification'), ('abc', 'single str'), (3, 'single int'),
    ([['a'], ['a', 'b']]*6, 'TSMultiLabelClassification'), (['a', 'b']*5, '12 series and 10 targets'), (np.arange(13) % 2, '12 series and 13 targets'),
], ids=str)
def test_bad_labels(y, message):
    with pytest.raises(ValueError, match=message): TSDatasets(X, y, tfms=[None, TSClassification()], splits=splits)

@pytest.mark.parametrize('train,other,message', [
    (['a', 'b'], ['c'], "Unknown label: 'c'"), ([1, 2], [3], 'Unknown label: 3'), ([1, 2], ['1'], 'same type'), (['1', '2'], [1], 'same type'), (['a', 'b'], [np.nan], 'missing label'),
    ([True, False], ['True'], 'same type'), ([1, 2], [1.5], 'Unknown label: 1.5'), (['a', 'b'], [['a', 'b']], r'dimension'), ([1, 2], [0], 'Unknown label: 0'), (['b', 'c'], ['a', 'z'], "'a', 'z'"),
], ids=str)
def test_unseen_labels_are_named(train, other, message):
    t = TSClassification().setup(np.array(train))
    with pytest.raises(ValueError, match=message): t.encode(other)

def test_a_label_of_validation_alone_is_an_error():
    y = ['a', 'b']*4 + ['a', 'b', 'walk', 'a']
    with pytest.raises(ValueError, match="Unknown label: 'walk'.*'a', 'b'"): get_ts_dls(X, y, splits=splits, device='cpu')

def test_one_instance_serves_twice():
    t = TSClassification()
    a, b = TSDatasets(X, strings, tfms=[None, t]), TSDatasets(X, np.arange(12), tfms=[None, t])
    assert t.vocab is None and a.c == 3 and b.c == 12


# ---------------------------------------------------------------- several labels a series

lists = [['a'], ['b', 'a'], [], ['c']]*3
matrix = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1]]*3)

@pytest.mark.parametrize('y', [lists, tuple(lists), [tuple(o) for o in lists], [set(o) for o in lists], pd.Series(lists, index=range(12, 0, -1)), np.array([list(o) for o in lists], dtype=object)], ids=lambda o: type(o).__name__)
def test_lists_of_labels(y):
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSMultiLabelClassification()], device='cpu')
    b = torch.cat([o[1] for o in dls.valid])
    assert list(dls.vocab) == ['a', 'b', 'c'] and dls.cat and b.dtype == torch.float32 and np.array_equal(b, matrix[8:]) and dls.valid.dataset.target.decode(b) == [sorted(o) for o in lists[8:]]

@pytest.mark.parametrize('y', [matrix, matrix.astype(bool), matrix.astype(np.float64), torch.from_numpy(matrix), torch.from_numpy(matrix).float(), pd.DataFrame(matrix, index=range(12, 0, -1)), matrix.astype('>i2')], ids=lambda o: f'{type(o).__name__} {getattr(o, "dtype", "")}')
def test_matrices_of_labels(y):
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSMultiLabelClassification(vocab=['x', 'y', 'z'])], device='cpu')
    b = torch.cat([o[1] for o in dls.valid]); assert np.array_equal(b, matrix[8:]) and dls.valid.dataset.target.decode(b) == [['x'], ['x', 'y'], [], ['z']]
    assert list(TSMultiLabelClassification().setup(y).vocab) == [0, 1, 2]

rows = {
    'list': matrix.tolist(), 'arrays': list(matrix), 'floats': matrix.astype(float).tolist(), 'float arrays': list(matrix.astype(float)), 'numpy integers': [list(r) for r in matrix], 'bools': matrix.astype(bool).tolist(),
    'tensors': list(torch.tensor(matrix)), 'learnt tensors': list(torch.tensor(matrix, dtype=torch.float32, requires_grad=True)), 'tuples': tuple(tuple(o) for o in matrix), 'series': pd.Series(list(matrix)),
    'objects': matrix.astype(object), 'mixed frame': pd.DataFrame(matrix).astype({0: bool}).rename(columns=str), 'learnt tensor': torch.tensor(matrix, dtype=torch.float32, requires_grad=True),
}

@pytest.mark.parametrize('given', [splits, None], ids=['splits', 'no splits'])
@pytest.mark.parametrize('name', rows)
def test_rows_of_0_and_1_are_a_matrix(name, given):
    dls = get_ts_dls(X, rows[name], splits=given, tfms=[None, TSMultiLabelClassification()], device='cpu')
    assert dls.c == 3 and list(map(str, dls.vocab)) == ['0', '1', '2'] and np.array_equal(dls.dataset.y, matrix)
    assert np.array_equal(dls.dataset.target.encode(rows[name]), matrix)

def test_columns_are_classes():
    df = pd.DataFrame(matrix, columns=['walk', 'sit', 'run'])
    for given in (splits, None):
        dls = get_ts_dls(X, df, splits=given, tfms=[None, TSMultiLabelClassification()], device='cpu')
        assert list(dls.vocab) == ['walk', 'sit', 'run'] and np.array_equal(dls.new_dl(X, df[['run', 'walk', 'sit']]).dataset.y, matrix)
    text = pd.DataFrame(dict(first=['a', 'b'], second=['b', 'c'])); t = TSMultiLabelClassification().setup(text)
    assert list(t.vocab) == ['a', 'b', 'c'] and t.encode(text).tolist() == [[1, 1, 0], [0, 1, 1]]
    t = TSMultiLabelClassification().setup(df)
    with pytest.raises(ValueError, match="columns .'a'.*'walk', 'sit', 'run'"): t.encode(df.set_axis(['a', 'b', 'c'], axis=1))
    with pytest.raises(ValueError, match="'sit' twice"): TSMultiLabelClassification().setup(df.set_axis(['walk', 'sit', 'sit'], axis=1))
    assert np.array_equal(TSMultiLabelClassification(vocab=['run', 'sit', 'walk']).setup(df).encode(df), matrix[:, ::-1])    # by name

def test_lists_of_numbers_as_labels():
    for y in ([[3, 5], [2]], [np.array([3, 5]), np.array([2])], [torch.tensor([3, 5]), torch.tensor([2])]):
        t = TSMultiLabelClassification().setup(y); assert list(t.vocab) == [2, 3, 5] and t.encode(y).tolist() == [[0, 1, 1], [1, 0, 0]]
    t = TSMultiLabelClassification().setup([[0], [1], []]); assert t.encode([[0, 1], [1, 0]]).tolist() == [[1, 1], [1, 1]]
    with pytest.raises(ValueError, match='4 columns; there are 3'): TSMultiLabelClassification().setup(matrix).encode([[0, 1, 1, 0]])

@pytest.mark.parametrize('y', [pd.Series(lists), np.array([list(o) for o in lists], dtype=object), [set(o) for o in lists]], ids=lambda o: type(o).__name__)
def test_lists_of_labels_without_splits(y):
    dls = get_ts_dls(X, y, tfms=[None, TSMultiLabelClassification()], device='cpu')
    assert np.array_equal(dls.dataset.y, matrix)

@pytest.mark.parametrize('make,message', [
    (lambda: TSMultiLabelClassification().setup(np.zeros((4, 3, 2))), r'shape \(4, 3, 2\)'), (lambda: TSMultiLabelClassification().setup([[None], [None]]), 'missing labels'),
    (lambda: TSMultiLabelClassification().setup([['a'], ['b', float('nan')]]), 'missing labels'), (lambda: TSMultiLabelClassification(vocab=['a', 'a', 'b']).setup(lists), "'a' twice"),
    (lambda: TSMultiLabelClassification(thresh=2), 'thresh=2'), (lambda: TSMultiLabelClassification(thresh='a'), "thresh='a'"), (lambda: TSMultiLabelClassification(thresh=-.1), 'thresh=-0.1'),
    (lambda: TSMultiLabelClassification().setup(matrix).encode(np.ma.masked_equal(matrix, 1)), 'Unknown label: None'),
])
def test_bad_multi_labels(make, message):
    with pytest.raises(ValueError, match=message): make()

def test_probabilities_and_threshold():
    t = TSMultiLabelClassification(thresh=0.7).setup(np.array([[.2, .9], [.71, .69]]))
    assert t.decode(t.encode(np.array([[.2, .9], [.71, .69]]))) == [[1], [0]]

@pytest.mark.parametrize('y,message', [
    (matrix*2, r'outside \[0, 1\], such as 2'), (-matrix, r'outside \[0, 1\]'), (np.where(matrix == 1, np.nan, 0), r'outside \[0, 1\], such as nan'), (list('abcd')*3, 'TSClassification'), (np.arange(12), 'TSClassification'),
    ([['a'], ['b', 1], [], []]*3, 'different types'), ([[]]*12, 'no labels at all'), ([['a']]*8 + [['q']]*4, "Unknown label: 'q', of series 8 of those given"), (lists[:5], '12 series and 5 targets'),
], ids=str)
def test_bad_label_lists(y, message):
    with pytest.raises(ValueError, match=message): TSDatasets(X, y, tfms=[None, TSMultiLabelClassification()], splits=splits)
    with pytest.raises(ValueError, match='2 columns'): TSMultiLabelClassification().setup(matrix).encode(matrix[:, :2])


# ---------------------------------------------------------------- numbers

far = 1e9 + np.arange(24.)

@pytest.mark.parametrize('y,where', [(far, ''), (far.tolist(), ''), (torch.from_numpy(far), ''), (far.astype(np.int64), ''), (np.c_[np.arange(24.), far], ', in column 1'),
                                     (np.stack([far, far], 1)[:, None], ', in column 0'), (np.where(np.arange(24) == 3, np.nan, far), '')],
                         ids=['array', 'list', 'tensor', 'integers', 'two', 'forecast', 'missing'])
def test_targets_that_lose_their_digits_are_told(y, where):
    with pytest.warns(UserWarning, match=rf'y has targets near 1(\.0+1)?e\+09 that vary by [67][.\d]*{where}, and float32.*standardize=True') as w: TSRegression(allow_nan=True).setup(y)
    assert len(w) == 1
    t = TSRegression(standardize=True, allow_nan=True).setup(y)      # the mend
    np.testing.assert_allclose(t.decode(t.wrap(t.encode(y))), np.asarray(y), rtol=0, atol=1e-3)

@pytest.mark.parametrize('y', [far.astype(np.float32), np.arange(24.), np.full(24, 1e9 + 1), np.full(24, .1), 1e4 + np.arange(24.), np.arange(24.)*1e-30, far*np.arange(24)], ids=str)
def test_targets_that_float32_holds_need_no_warning(y): TSRegression().setup(y)

def test_the_warning_about_digits_comes_once():
    with pytest.warns(UserWarning, match='targets near') as w: TSDatasets(np.zeros((24, 1, 5), np.float32), far, tfms=[None, TSRegression()], splits=(range(12), range(12, 24)))
    assert len(w) == 1 and w[0].filename == __file__

@quick
@pytest.mark.filterwarnings('ignore:y has targets near')
@given(st.integers(2, 40), st.sampled_from([(), (1,), (3,), (2, 5)]), st.booleans(), st.sampled_from([1e-6, 1., 1e5]), st.sampled_from([0., -7., 1e4]), st.sampled_from(['numpy', 'f32', 'torch', 'list', 'big-endian']))
def test_numbers_round_trip(n, shape, standardize, scale, offset, kind):
    y = np.random.default_rng(n).normal(offset, scale, (n, *shape))
    given = {'numpy': y, 'f32': y.astype(np.float32), 'torch': torch.from_numpy(y), 'list': y.tolist(), 'big-endian': y.astype('>f8')}[kind]
    t = TSRegression(standardize=standardize).setup(given)
    z = t.encode(given)
    assert z.dtype == torch.float32 and (t.c, t.d) == ((1, None) if not shape else (shape[0], None) if len(shape) == 1 else (1, shape))
    back = t.decode(t.wrap(z))
    np.testing.assert_allclose(back, y, atol=1e-6*max(abs(offset), 3*scale)*4, rtol=1e-6)
    if standardize and n > 2 and scale/(abs(offset) + scale) > 1e-3:
        assert z.mean(0).abs().max() < 1e-2 and (z.std(0, correction=0) - 1).abs().max() < 1e-2
        assert type(t.wrap(z)) is ScaledTarget and type(t.restore(z)) is Tensor and torch.equal(t.restore(z), z)      # what is in the user's units stays
    else: assert t.scaled == standardize

def test_statistics_come_from_training_alone():
    y = np.r_[np.arange(8.), np.full(4, 1e6)]
    ds = TSDatasets(X, y, tfms=[None, TSRegression(standardize=True)], splits=splits)
    assert ds.target.mean.item() == 3.5 and abs(ds.target.std.item() - np.arange(8.).std()) < 1e-6

def test_constant_target_keeps_its_scale():
    t = TSRegression(standardize=True).setup(np.full(5, 7.)); assert t.std.item() == 1. and t.encode(np.full(5, 7.)).abs().max() == 0
    t = TSRegression(standardize=True).setup(np.c_[np.full(5, .1), np.arange(5.)]); assert t.std[0] == 1 and torch.isfinite(t.encode(np.ones((5, 2)))).all()

def test_kinds_of_numbers():
    for y in (np.arange(12), np.arange(12) > 5, pd.Series(np.arange(12.), index=range(12, 0, -1)), pd.Series(range(12), dtype='Int64'), torch.arange(12), np.arange(12.).astype(object), list(map(str, range(12)))):
        ds = TSDatasets(X, y, tfms=[None, TSRegression()], splits=splits)
        np.testing.assert_array_equal(ds.y, np.asarray(as_targets(y), dtype=np.float32)); assert not ds.cat
    assert (TSDatasets(X, pd.DataFrame(np.ones((12, 3))), tfms=[None, TSRegression()]).c) == 3

def test_gaps_where_they_are_allowed():
    y = np.where(np.arange(12) % 3 == 0, np.nan, np.arange(12.))
    t = TSDatasets(X, y, tfms=[None, TSRegression(standardize=True, allow_nan=True)], splits=splits)
    assert torch.isnan(t.y).sum() == 4 and torch.isfinite(t.target.mean)

@pytest.mark.parametrize('y', [np.ma.masked_equal(np.arange(12.), 3.), np.ma.masked_equal(np.arange(12), 3), np.ma.masked_equal(np.arange(12, dtype=np.float32), 3)], ids=lambda o: str(o.dtype))
def test_masked_targets_are_missing(y):
    ds = TSDatasets(X, y, tfms=[None, TSRegression(allow_nan=True)], splits=splits)
    assert torch.isnan(ds.y).nonzero().tolist() == [[3]] and ds.y[4:].tolist() == list(range(4, 12))
    with pytest.raises(ValueError, match='first is number 3 of'): TSDatasets(X, y, tfms=[None, TSRegression()], splits=splits)

def test_masked_labels_are_missing():
    for y in (np.ma.masked_equal(np.arange(12) % 3, 1), np.ma.array(strings, mask=strings == 'a')):
        with pytest.raises(ValueError, match='missing label'): TSDatasets(X, y, splits=splits)
    assert list(TSDatasets(X, np.ma.array(strings), splits=splits).vocab) == ['a', 'b', 'c']

def test_targets_that_require_gradients():
    y = torch.arange(12.).requires_grad_()
    for tfms in (None, [None, TSRegression()]): assert not get_ts_dls(X, y, tfms=tfms, device='cpu').dataset.y.requires_grad

@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('y,kw,message', [
    (np.where(np.arange(12) == 5, np.inf, 1.), dict(allow_nan=True), 'first is number 5 .*inf'), (np.where(np.arange(12) == 5, -np.inf, 1.), dict(allow_nan=True), '-inf'),
    (np.arange(12.)*1e39, {}, r'number 1 .*1e\+39; float32 ends'), (np.arange(12.)*1e39, dict(standardize=True, allow_nan=True), 'float32 ends'), (np.full(12, 1e300), {}, 'float32 ends'), (np.full(12, np.inf, np.float16), {}, 'infinite'),
    (np.full(12, np.nan), dict(standardize=True, allow_nan=True), 'no target but NaN'), (np.c_[np.arange(12.), np.full(12, np.nan)], dict(standardize=True, allow_nan=True), r'column \(1,\)'),
    (np.arange(12)*1j, {}, 'complex128'), (pd.date_range('2020', periods=12), {}, 'datetime64'), (np.arange(12).astype('m8[s]'), {}, 'timedelta64'), (np.zeros((12, 0)), {}, r'shape \(8, 0\)'),
], ids=str)
def test_numbers_that_cannot_be_trained_on(y, kw, message):
    with pytest.raises(ValueError, match=message): TSDatasets(X, y, tfms=[None, TSRegression(**kw)], splits=splits)

def test_the_array_is_the_users_own():
    y = np.arange(12.).astype(np.float32); keep = y.copy()
    ds = TSDatasets(X, y, tfms=[None, TSRegression()]); ds.y += 1; assert np.array_equal(y, keep)

@pytest.mark.parametrize('y,message', [
    (np.where(np.arange(12) == 5, np.nan, 1.), 'NaN or infinite targets .the first is number 5 of the training split'), (np.where(np.arange(12) == 2, np.inf, 1.), 'infinite'), (strings, 'TSClassification'),
    (np.zeros((3, 2)), '12 series and 3 targets'), ([[1.], [1., 2.]]*6, 'different lengths'), (np.array([1., None]*6, dtype=object), 'NaN or infinite'),
], ids=str)
def test_bad_numbers(y, message):
    with pytest.raises(ValueError, match=message): TSDatasets(X, y, tfms=[None, TSRegression()], splits=splits)

def test_shape_of_new_numbers():
    t = TSRegression().setup(np.zeros((5, 2)))
    with pytest.raises(ValueError, match='training targets have shape'): t.encode(np.zeros((3, 3)))
    with pytest.raises(ValueError, match='training targets have shape'): t.encode(np.zeros(3))
    with pytest.raises(ValueError, match=r'shape \(n,\)\.'): TSRegression().setup(np.zeros(3)).encode(np.zeros((3, 3)))


# ---------------------------------------------------------------- which, and how they are given

def test_ambiguous_targets_must_be_said():
    for y in (matrix, matrix.astype(float), np.zeros((12, 8))):
        with pytest.raises(ValueError, match='TSRegression.*TSClassification.*TSMultiLabelClassification'): TSDatasets(X, y, splits=splits)
    with pytest.raises(ValueError, match='TSMultiLabelClassification'): infer_target(np.array([['a'], ['b', 'c']], dtype=object))

@pytest.mark.parametrize('tfms,message', [
    ([None], '1 entries'), ([None, None, None], '3 entries'), ([None, str.upper], 'another TSTarget'), ([None, 'class'], "'class'. Expected TSClassification"), ([None, [TSClassification(), TSRegression()]], '2 transforms of y'),
], ids=str)
def test_bad_tfms(tfms, message):
    with pytest.raises(ValueError, match=message): TSDatasets(X, strings, tfms=tfms)

def test_transform_without_targets():
    with pytest.raises(ValueError, match='TSClassification, but no y'): TSDatasets(X, tfms=[None, TSClassification()])

def test_a_class_instead_of_an_instance():
    assert TSDatasets(X, strings, tfms=[None, TSClassification]).c == 3


def test_what_could_mean_two_things_is_refused():
    with pytest.raises(ValueError, match='TSRegression'): TSClassification().setup(np.random.default_rng(0).normal(size=40))
    with pytest.raises(ValueError, match='twice'): TSClassification(vocab=['a', 'a']).setup(np.array(['a', 'b']))
    assert TSClassification().setup(np.array([['a'], ['b']])).d is None


def test_a_large_offset_keeps_its_digits():
    y = 1.7e9 + np.arange(-50., 51.)
    t = TSRegression(standardize=True).setup(y).encode(y)
    assert len(t.unique()) == 101 and abs(float(t.std(correction=0)) - 1) < 1e-5


def test_a_large_offset_comes_back_in_full():
    y = 1e9 + .1*np.random.default_rng(0).normal(size=60)
    t = TSRegression(standardize=True).setup(y)
    np.testing.assert_allclose(t.decode(t.wrap(t.encode(y))), y, rtol=0, atol=1e-6)
    assert abs((t.unscale(t.encode(y)) - t.unscale(torch.zeros(60))).abs().mean() - np.abs(y - y.mean()).mean()) < 1e-4
    near = TSRegression(standardize=True).setup(y - 1e9); assert near.unscale(near.encode(y - 1e9)).dtype == torch.float32


@pytest.mark.parametrize('y,message', [
    (np.arange(361, 373), 'Unknown label.*TSRegression'), (np.r_[np.arange(361, 372), 361], 'has one member.*TSRegression'), (['a', None]*6, '6 of 12 series have a missing label'), ([[None]]*12, 'missing label'),
    (strings[:10], '12 series and 10 targets'), (np.r_[strings, strings], '12 series and 24 targets'), (np.array(['a']*11 + ['b']), r"Class 'b' has one member[^T]*$"),
], ids=str)
def test_what_is_said_without_splits(y, message):
    with pytest.raises(ValueError, match=message): get_ts_dls(X, y, device='cpu')


def test_what_decode_gives_is_labels():
    "Lists narrower than the matrix are labels; with a vocabulary that has 0 or 1 all lists are"
    t = TSMultiLabelClassification().setup(np.array([[1, 0, 1], [0, 1, 0], [1, 1, 1]]))
    m = torch.tensor([[1., 1, 0], [1, 1, 0]])
    assert torch.equal(t.encode(t.decode(m)), m) and t.encode([[0], [1]]).tolist() == [[1, 0, 0], [0, 1, 0]]
    t = TSMultiLabelClassification(vocab=[0, 1]); y = [[0, 1], [1, 0], [0, 1]]
    assert t.setup(y).encode(y).tolist() == [[1, 1]]*3
