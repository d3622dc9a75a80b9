"Batch transforms: statistics of the whole training split and of nothing else, and what was encoded decodes to float32 rounding"
import copy, itertools, pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from tsfast.data.core import TSDatasets, get_ts_dls
from tsfast.data.preprocessing import TSClip, TSNan2Value, TSNormalize, TSRobustScale, TSStandardize
from tsfast.models.scaling import ScaleSeries

quick = settings(deadline=None, max_examples=60, derandomize=True, database=None)
n, C, L = 30, 4, 12
rng = np.random.default_rng(0)
X = (rng.normal(size=(n, C, L))*[[1], [20], [.01], [300]] + [[0], [50], [.1], [-4000]]).astype(np.float32)
G = X.copy(); G[rng.random(G.shape) < .2] = np.nan      # with gaps
y, splits = np.arange(n) % 2, (range(1, 20), range(20, n))

options = [dict(), dict(by_var=True), dict(by_step=True), dict(by_var=True, by_step=True), dict(by_sample=True), dict(by_sample=True, by_var=True), dict(by_var=[[0, 1], [2, 3]]), dict(by_var=[[0, 3]]),
           dict(exclude_vars=[1]), dict(by_var=True, exclude_vars=[0, 2]), dict(by_sample=True, exclude_vars=[3]), dict(by_sample=True, by_var=True, exclude_vars=3), dict(by_step=True, exclude_vars=[1]),
           dict(by_var=[[0, 1]], exclude_vars=[2]), dict(by_var=[[0, 1], [2, 3]], by_step=True)]
kinds = [TSStandardize, TSNormalize, TSRobustScale]
cases = list(itertools.product(kinds, options))
name_of = lambda o: o.__name__ if isinstance(o, type) else str(o)

def loaders(X, tfm, bs=7, **kwargs): return get_ts_dls(X, y, splits=splits, batch_tfms=tfm, bs=bs, drop_last=False, device='cpu', **kwargs)
def plain(b): return b[0].as_subclass(Tensor)
def all_of(dl): return torch.cat([plain(b) for b in dl]).numpy()
def groups(o):
    "The channels that share statistics, by the words of the documentation"
    excluded = np.atleast_1d(o.get('exclude_vars', [])).tolist()
    by_var = o.get('by_var', False)
    if isinstance(by_var, list): return by_var + [[i] for i in range(C) if i not in sum(by_var, []) + excluded]
    rest = [i for i in range(C) if i not in excluded]
    return [[i] for i in rest] if by_var else [rest]

def expected(cls, o, X, train):
    "The same arithmetic in float64 and plain numpy"
    out = X.astype(np.float64).copy()
    for g in groups(o):
        def scaled(ref, x, axes):
            if cls is TSStandardize: return (x - np.nanmean(ref, axes, keepdims=True))/np.nanstd(ref, axes, keepdims=True)
            if cls is TSNormalize:
                low, high = np.nanmin(ref, axes, keepdims=True), np.nanmax(ref, axes, keepdims=True)
                return (x - low)/(high - low)*2 - 1
            q = np.nanquantile(ref, [.25, .5, .75], axis=axes, keepdims=True)
            return (x - q[1])/(q[2] - q[0])
        x, ref = out[:, g], (X if o.get('by_sample') else train).astype(np.float64)[:, g]
        out[:, g] = scaled(ref, x, (1, 2) if o.get('by_sample') else (0, 1) if o.get('by_step') else (0, 1, 2))
    return out


# ---------------------------------------------------------------- statistics, and back

@pytest.mark.parametrize('cls,o', cases, ids=name_of)
@pytest.mark.parametrize('data', [X, G], ids=['whole', 'gaps'])
def test_statistics_and_decoding(cls, o, data):
    o = {'by_var': False, **o}
    tfms = [cls(**o)] + ([TSNan2Value()] if data is G else [])
    keep = data.copy()
    dls = loaders(data, tfms)
    want = expected(cls, o, data, data[list(splits[0])])
    got = all_of(dls.valid)
    ok = np.isfinite(data[20:])
    level = 1 + (np.nanmax(np.abs(want[20:])) if data is X else np.nanmax(np.abs(want[20:][ok])))
    np.testing.assert_allclose(got[ok], want[20:][ok], atol=2e-6*level + 1e-4*o.get('by_sample', False), rtol=2e-4)
    if data is G: assert (got[~ok] == 0).all()
    back = torch.cat([plain(dls.valid.decode(b)) for b in dls.valid]).numpy()
    spread = np.abs(np.where(ok, data[20:], 0)).max((0, 2), keepdims=True) if o['by_var'] is True else np.nanmax(np.abs(data))
    assert (np.abs(back - data[20:])[ok] <= 4e-6*np.broadcast_to(spread, ok.shape)[ok]).all()
    x, _ = dls.valid.decode_batch(dls.valid.one_batch())[2]; np.testing.assert_allclose(x.numpy()[ok[2]], data[22][ok[2]], atol=4e-6*np.nanmax(np.abs(data)))
    assert np.array_equal(data, keep, equal_nan=True)                                    # the caller's array stays his own
    for v in np.atleast_1d(o.get('exclude_vars', [])): assert np.array_equal(got[:, v][ok[:, v]], data[20:, v][ok[:, v]])      # to the bit

@pytest.mark.parametrize('cls,o', [(c, o) for c, o in cases if not o.get('by_sample')], ids=name_of)
def test_only_training_counts(cls, o):
    other = X.copy(); other[0] = 1e6; other[20:] = -1e6          # series 0 is in no split
    a, b = (loaders(data, cls(**o)).train.after_batch.fs[0].fn for data in (X, other))
    assert torch.equal(a.shift, b.shift) and torch.equal(a.scale, b.scale)

@pytest.mark.parametrize('cls', kinds, ids=name_of)
@pytest.mark.parametrize('o', [dict(), dict(by_var=True), dict(by_step=True)], ids=str)
def test_chunks_bs_and_seed_make_no_difference(cls, o, monkeypatch):
    def stats(rows, bs, seed):
        torch.manual_seed(seed); np.random.seed(seed)
        chunks = TSDatasets.chunks
        with monkeypatch.context() as m:
            m.setattr(TSDatasets, 'chunks', lambda self: chunks(self, rows))
            f = loaders(G, [cls(**o), TSNan2Value()], bs=bs).train.after_batch.fs[0].fn
        return f.shift, f.scale
    a = stats(None, 5, 0)
    for rows, bs, seed in ((1, 3, 1), (4, 19, 2), (19, 7, 3)):
        for u, v in zip(a, stats(rows, bs, seed)): torch.testing.assert_close(u, v, rtol=1e-6, atol=0)
    for u, v in zip(a, stats(None, 16, 9)): assert torch.equal(u, v)      # the same on every run, to the bit

@quick
@given(st.integers(0, 10**6), st.sampled_from([1., 1e-5, 1e4]), st.sampled_from([0., 3., -1e3, 1e5]), st.sampled_from(kinds), st.sampled_from([o for o in options if 'exclude_vars' not in o]))
def test_encode_then_decode(seed, scale, offset, cls, o):
    data = np.random.default_rng(seed).normal(offset, scale, (n, C, L)).astype(np.float32)
    dls = loaders(data, cls(**o))
    got = all_of(dls.valid); back = torch.cat([plain(dls.valid.decode(b)) for b in dls.valid]).numpy()
    assert np.isfinite(got).all() and np.abs(back - data[20:]).max() <= 3e-6*np.abs(data).max()

def test_large_offsets_keep_their_statistics():
    "float32 sums would not see a deviation of 1 at 1e5, over 200,000 values"
    data = (1e5 + np.random.default_rng(0).normal(size=(400, 1, 500))).astype(np.float32)
    f = TSStandardize().fit(TSDatasets(data)).fn
    assert abs(f.shift.item() - data.astype(float).mean()) < 1e-2 and abs(f.scale.item()/data.astype(float).std() - 1) < 1e-5


# ---------------------------------------------------------------- corners

@pytest.mark.parametrize('cls,o', cases, ids=name_of)
@pytest.mark.parametrize('value', [0., .1, 1/3, 1e4, -12345.678, 1e-20])
def test_a_constant_channel_does_not_explode(cls, o, value):
    data = X.copy(); data[:, 1] = value
    dls = loaders(data, cls(**o))
    level = max([1e3] + [np.abs(data[:, v]).max() for v in np.atleast_1d(o.get('exclude_vars', []))])
    got = all_of(dls.valid); assert np.isfinite(got).all() and np.abs(got).max() <= level
    everything = np.full_like(X, value)
    got = all_of(loaders(everything, cls(**o)).valid); assert np.isfinite(got).all() and np.abs(got).max() <= max(1., abs(value))

@pytest.mark.parametrize('value', [.1, 1/3, 1e4, -12345.678])
@pytest.mark.parametrize('cls', [TSStandardize, TSRobustScale], ids=name_of)
def test_a_constant_series_becomes_zero(cls, value):
    "Rounding of the mean is no variation"
    for length in (7, 136, 1000):
        data = np.random.default_rng(0).normal(size=(n, C, length)).astype(np.float32); data[:, 1] = value
        got = all_of(loaders(data, cls(by_sample=True, by_var=True)).valid); assert np.abs(got[:, 1]).max() < 1e-2
        got = all_of(loaders(data, cls(by_var=True)).valid); assert np.abs(got[:, 1]).max() < 1e-2

@pytest.mark.parametrize('cls,o', cases, ids=name_of)
def test_nothing_but_gaps(cls, o):
    "A channel, a series or a step without a single value"
    data = X.copy(); data[:, 1] = np.nan; data[22] = np.nan; data[3, 0] = np.nan; data[:, :, 5] = np.nan
    got = all_of(loaders(data, [cls(**o), TSNan2Value()]).valid); assert np.isfinite(got).all()

def test_known_statistics():
    f = TSStandardize(mean=[1, 2, 3, 4], std=[1, 2, 4, 8], exclude_vars=[2])
    got = all_of(loaders(X, f).valid)
    want = (X[20:] - np.array([1, 2, 0, 4])[:, None])/np.array([1, 2, 1, 8])[:, None]; np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    assert f.fn.shift.shape == (1, 4, 1) and f.fn.shift[0, 2] == 3           # the caller's own is as it was
    np.testing.assert_allclose(all_of(loaders(X, TSStandardize(mean=5., std=2.)).valid), (X[20:] - 5)/2, rtol=1e-6)

@pytest.mark.parametrize('mean,std', [(0., np.full((1, C, L), 2.)), (np.arange(L)[None, None].repeat(C, 1), 2.), ([1, 2, 3, 4], np.linspace(1, 2, L)[None]), (np.ones((C, 1)), np.full((1, 1, L), 3.)),
                                      (torch.tensor(1.), torch.arange(1., C + 1)), (np.float32(3), np.int64(2))], ids=['std', 'mean', 'both', 'channels and steps', 'tensors', 'numpy scalars'])
def test_known_statistics_are_broadcast(mean, std):
    f = TSStandardize(mean=mean, std=std, exclude_vars=[2])
    as3d = lambda o: np.asarray(o, dtype=float).reshape(1, -1, 1) if np.ndim(o) == 1 else np.asarray(o, dtype=float).reshape((1,)*(3 - np.ndim(o)) + np.shape(o))
    want = (X[20:] - as3d(mean))/as3d(std); want[:, 2] = X[20:, 2]
    dls = loaders(X, f)
    np.testing.assert_allclose(all_of(dls.valid), want, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(torch.cat([plain(dls.valid.decode(b)) for b in dls.valid]), X[20:], rtol=1e-5, atol=1e-3)

@pytest.mark.parametrize('mean,std', [([1, 2, 3], 1.), (0., np.ones((1, C, L + 1))), (np.zeros((2, C, 1)), 1.), (np.zeros(L), np.ones((1, 1, L + 2)))], ids=['channels', 'steps', 'series', 'both'])
def test_known_statistics_of_another_shape(mean, std):
    with pytest.raises(ValueError, match=rf'broadcast to \(1, {C}, {L}\)'): loaders(X, TSStandardize(mean=mean, std=std))

@pytest.mark.parametrize('o,message', [(dict(by_sample=True, by_step=True), 'Choose one'), (dict(by_sample=True, by_var=[[0, 1]]), 'Groups'), (dict(mean=1.), 'both'), (dict(mean=1., std=0.), 'positive'),
                                       (dict(mean=[0, 0], std=[1, -1]), 'positive'), (dict(mean=np.nan, std=1.), 'finite'), (dict(mean=0., std=np.inf), 'positive')], ids=str)
def test_bad_options(o, message):
    with pytest.raises(ValueError, match=message): TSStandardize(**o)

@pytest.mark.parametrize('o,message', [(dict(by_var=[[0, 9]]), 'each channel in one group'), (dict(by_var=[[0, 1], [1, 2]]), 'each channel in one group'), (dict(exclude_vars=[4]), 'exclude_vars has 4'),
                                       (dict(exclude_vars=[-1]), 'exclude_vars has -1'), (dict(by_var=[[0, 1]], exclude_vars=[1]), 'cannot be in a group'), (dict(by_sample=True, exclude_vars=[7]), 'exclude_vars has 7')], ids=str)
def test_options_that_do_not_fit_the_data(o, message):
    with pytest.raises(ValueError, match=message): loaders(X, TSStandardize(**o))

def test_range_of_normalise():
    for low, high in ((-1., 1.), (0., 1.), (0., 10.), (-5., -2.)):
        got = all_of(loaders(X, TSNormalize(low, high, by_var=True)).train); np.testing.assert_allclose((got.min((0, 2)), got.max((0, 2))), np.array([[low]*C, [high]*C]), atol=1e-5)
    with pytest.raises(ValueError, match='low < high'): TSNormalize(1., 1.)

def test_outliers_do_not_count_for_robust():
    data = X.copy(); data[1, :, 0] *= 1e6
    a, b = (loaders(o, TSRobustScale()).train.after_batch.fs[0].fn for o in (X, data)); torch.testing.assert_close(a.scale, b.scale, rtol=.05, atol=0)


# ---------------------------------------------------------------- gaps, infinities, clipping

@pytest.mark.parametrize('method', [None, 'mean', 'median'])
def test_nan2value(method):
    got = all_of(loaders(G, TSNan2Value(7., method)).valid)
    ok = np.isfinite(G[20:])
    fill = np.full(G[20:].shape, 7.) if method is None else np.broadcast_to((np.nanmean if method == 'mean' else np.nanmedian)(G[20:].astype(float), 2, keepdims=True), ok.shape)
    assert np.array_equal(got[ok], G[20:][ok])
    if method == 'median': assert all(got[i, c, t] <= fill[i, c, t] + 1e-3 for i, c, t in np.argwhere(~ok))       # torch takes the lower of two middle values
    else: np.testing.assert_allclose(got[~ok], fill[~ok], rtol=1e-5)
    with pytest.raises(ValueError, match='method'): TSNan2Value(method='mode')

def test_clip():
    got = all_of(loaders(X, [TSStandardize(by_var=True), TSClip(-1, 1)]).valid); assert np.abs(got).max() == 1
    got = all_of(loaders(X, TSClip(-1, 1)).valid); np.testing.assert_array_equal(got, X[20:].clip(-1, 1))
    with pytest.raises(ValueError, match='low < high'): TSClip(1, -1)

def test_order_follows_the_transforms_not_the_list():
    a, b = (all_of(loaders(G, t).valid) for t in ([TSNan2Value(), TSClip(-2, 2), TSStandardize()], [TSStandardize(), TSClip(-2, 2), TSNan2Value()])); assert np.array_equal(a, b)

@pytest.mark.parametrize('tfms', [None, TSStandardize(), TSNormalize(by_var=True), TSRobustScale(), TSStandardize(by_sample=True)], ids=str)
def test_gaps_and_infinities_are_refused(tfms):
    for where in (2, 25):
        bad = X.copy(); bad[where, 0, 3] = np.nan
        with pytest.raises(ValueError, match=f"1 of .* series of the {'training' if where < 20 else 'validation'} split have missing values.*TSNan2Value"): loaders(bad, tfms)
        bad[where, 0, 3] = np.inf
        with pytest.raises(ValueError, match='infinite values'): loaders(bad, tfms)
    dls = loaders(X, tfms); bad = X[:3].copy(); bad[1, 0, 0] = np.nan
    with pytest.raises(ValueError, match='1 of 3 series of the new data have missing'): dls.new_dl(bad)


# ---------------------------------------------------------------- one instance, many loaders

@pytest.mark.parametrize('cls', kinds, ids=name_of)
def test_the_instance_stays_unfitted(cls):
    f = cls(by_var=True)
    a, b = loaders(X, f), loaders(X*10, f)
    assert f.fn.shift is None and f.fn.scale is None
    sa, sb = (d.train.after_batch.fs[0].fn.scale for d in (a, b)); torch.testing.assert_close(sa*10, sb, rtol=1e-5, atol=0)
    torch.testing.assert_close(a.train.after_batch.fs[0].fn.scale, sa)
    assert cls in [type(o) for o in loaders(X, cls).train.after_batch.fs]                # the class will do

def test_unseen_series_see_the_training_statistics():
    dls = loaders(X, TSStandardize(by_var=True))
    np.testing.assert_array_equal(all_of(dls.new_dl(X[20:])), all_of(dls.valid))
    one = torch.cat([plain(dls.new_dl(X[i:i+1]).one_batch()) for i in range(20, 30)]).numpy(); np.testing.assert_allclose(one, all_of(dls.valid), rtol=1e-6)

def test_pickle_and_copy():
    dls = loaders(X, [TSStandardize(by_var=True), TSClip()])
    for again in (pickle.loads(pickle.dumps(dls)), copy.deepcopy(dls)): assert np.array_equal(all_of(again.valid), all_of(dls.valid))

def test_module_is_the_same_function():
    "What a deployed model runs"
    dls = loaders(X, TSStandardize(by_var=True)); f = dls.train.after_batch.fs[0].fn
    assert isinstance(f, ScaleSeries)
    np.testing.assert_allclose(f(torch.from_numpy(X[20:])).numpy(), all_of(dls.valid), rtol=1e-6)


# ---------------------------------------------------------------- devices and lengths

@pytest.mark.parametrize('cls,o', cases, ids=name_of)
def test_statistics_follow_the_series(cls, o):
    "`meta` stands in for a GPU, where statistics that stay behind could not be used"
    x = torch.from_numpy(G)
    f, fill = cls(**o).fit(TSDatasets(X)), TSNan2Value()
    stats, missing = f.stats(x), fill.stats(x)
    there = x.to('meta')
    for out in (f.on_series(there), f.on_series(there, stats), f.undo(there, stats), f.undo(there), fill.on_series(there), fill.undo(there, missing), f.fn.inverse(there, stats)):
        assert out.device.type == 'meta' and out.shape == x.shape
    back = fill.undo(f.undo(fill.on_series(f.on_series(x, stats), missing), stats), missing)
    ok = np.isfinite(G); assert np.array_equal(back.isnan(), ~ok) and np.abs(back.numpy() - G)[ok].max() <= 4e-6*np.nanmax(np.abs(G))

@pytest.mark.parametrize('o', [dict(by_step=True), dict(by_step=True, by_var=True), dict(by_step=True, exclude_vars=[1])], ids=str)
def test_statistics_of_steps_are_for_their_length(o):
    f = TSStandardize(**o).fit(TSDatasets(X)); f.check_len(L)
    with pytest.raises(ValueError, match=f'have 7 steps, and TSStandardize has statistics for each of {L} steps'): f.check_len(7)
    for g in (TSStandardize(by_var=True).fit(TSDatasets(X)), TSStandardize(by_sample=True), TSNan2Value(), TSClip(), TSStandardize(**o)): g.check_len(7)

def test_missing_values_come_back():
    dls = loaders(G, [TSStandardize(by_var=True), TSNan2Value()])
    back = torch.cat([plain(dls.valid.decode(b)) for b in dls.valid]).numpy()
    assert np.array_equal(np.isnan(back), np.isnan(G[20:])) and np.isfinite(all_of(dls.valid)).all()
