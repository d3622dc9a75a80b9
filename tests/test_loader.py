"Loaders: each series once and in order, for all n and bs; none left out for good; forms of X; predictions do not depend on the batch size"
import copy, pickle, random, re, sys, warnings
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import tsfast.core
from fastai.data.core import TfmdDL
from fastai.learner import Learner
from fastai.losses import MSELossFlat
from hypothesis import example, given, settings, strategies as st
from torch import Tensor, nn

from tsfast.data.core import StratifiedSampler, TSDataLoader, TSDataLoaders, TSDatasets, TSTensor, get_ts_dl, get_ts_dls
from tsfast.data.augment import TSNoise
from tsfast.data.preprocessing import TSBatchTransform, TSNan2Value, TSStandardize
from tsfast.data.sources import NpySource
from tsfast.data.targets import TSClassification, TSMultiLabelClassification, TSRegression
from tsfast.learner import ts_learner
from tsfast.models.inception_time import InceptionTime

quick = settings(deadline=None, max_examples=60, derandomize=True, database=None)
few, many = settings(quick, max_examples=10), settings(quick, max_examples=300)
ns, sizes = st.integers(2, 70), st.integers(2, 80)


def numbered(n, C=1, L=4):
    "Series that say which they are: every value of series i is i"
    return np.broadcast_to(np.arange(n, dtype=np.float32)[:, None, None], (n, C, L)).copy()

def ids(dl):
    "The numbers of the series of each batch, as they come out"
    return [b[0].as_subclass(Tensor)[:, 0, 0].long().tolist() for b in dl]

def two(n_train, n_valid, **kwargs):
    n = n_train + n_valid
    return get_ts_dls(numbered(n), np.arange(n) % 2, splits=(range(n_train), range(n_train, n)), device='cpu', **kwargs)

@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close('all')

def flat(batches): return [i for b in batches for i in b]


# ---------------------------------------------------------------- any n, any bs

@lru_cache
def base(): return two(2, 300, val_bs=64)

@many
@given(st.integers(1, 70), st.integers(1, 80))
@example(300, 1)
@example(300, 256)
@example(257, 512)
def test_validation_once_and_in_order(n, bs):
    dl = base().valid.new(base().valid.dataset[slice(0, n)], bs=bs)
    out = ids(dl)
    assert flat(out) == list(range(2, n+2)) and len(dl) == len(out) and all(len(o) == bs for o in out[:-1])
    assert ids(base().new_dl(numbered(n), bs=bs)) == [[i - 2 for i in b] for b in out]

@many
@given(ns, sizes, st.booleans(), st.sampled_from([None, True, False]))
@example(15, 8, True, None)
@example(3, 2, True, None)
@example(5, 2, True, None)
@example(300, 299, True, None)
@example(300, 512, False, None)
@example(257, 32, True, True)
def test_training_batches(n, bs, shuffle, drop_last):
    "bs is lowered to n; no series is trained alone; less than a batch is left out, if asked for or of four or more shuffled batches"
    dl = TSDataLoader(numbers(n), bs=bs, shuffle=shuffle, drop_last=drop_last); dl.reseed(0)
    out = [b.tolist() for b in dl.batches()]
    got, lens, bs = flat(out), [len(o) for o in out], min(bs, n)
    assert len(dl) == len(out) >= 1 and min(lens) > 1 and len(set(got)) == len(got)
    evened = drop_last is None and shuffle and n <= 3*bs
    if evened: assert len(got) == n and max(lens) - min(lens) <= 1 and (max(lens) <= bs or bs == 2)
    elif drop_last or shuffle and drop_last is None: assert set(lens) == {bs} and n - len(got) < bs
    else: assert len(got) == n and set(lens[:-1]) <= {bs} and lens[-1] <= bs + 1
    assert dl.drop_last == (bool(drop_last) or len(got) < n)
    if not shuffle: assert got == list(range(len(got)))

@lru_cache
def all_numbers(): return TSDatasets(numbered(300), splits=(range(300),)).train
def numbers(n): return all_numbers()[slice(0, n)]

def test_few_batches_are_evened_out():
    "15 series in batches of 8 were 8, and 7 left out"
    dl = two(15, 3, bs=8).train
    assert [len(b) for b in dl.batches()] == [8, 7] and not dl.drop_last and sorted(flat(ids(dl))) == list(range(15))
    assert [len(b) for b in two(15, 3, bs=8, drop_last=True).train.batches()] == [8]
    assert [len(b) for b in two(31, 3, bs=8).train.batches()] == [8]*3 and two(31, 3, bs=8).train.drop_last        # the fourth would have 7
    assert [len(b) for b in dl.new(numbers(31)).batches()] == [8]*3        # as its own series ask for
    assert [len(b) for b in two(31, 3, bs=8).train.new(numbers(15)).batches()] == [8, 7]

@quick
@given(ns, sizes)
def test_no_training_series_is_left_out_for_good(n, bs):
    dl = TSDataLoader(numbers(n), bs=bs, shuffle=True); dl.reseed(1)
    seen, orders = set(), set()
    for _ in range(40):
        order = torch.cat(dl.batches()).tolist()
        seen |= set(order); orders.add(tuple(order))
        if len(seen) == n and len(orders) > 1: break
    assert seen == set(range(n)) and (len(orders) > 1 or n == 2)

@quick
@given(st.integers(2, 120), st.integers(2, 150), st.booleans(), st.sampled_from([None, True, False]),
       st.one_of(st.none(), st.floats(.05, 1.), st.integers(1, 2)), st.booleans())
def test_length_is_the_number_of_batches(n, bs, shuffle, drop_last, partial_n, weighted):
    try:
        dl = two(n, 3, bs=bs, shuffle_train=shuffle, drop_last=drop_last, partial_n=partial_n,
                 weights=np.arange(n) + 1. if weighted else None).train
    except ValueError as e:     # one series alone is not trained
        assert 'at least two series' in str(e) and (bs == 1 or partial_n in (0.3, 1) or partial_n * n < 1.5)
        return
    assert len(dl) == len(dl.batches()) == len(list(dl))

def test_whole_epoch_when_nothing_is_dropped():
    dl = two(65, 3, bs=32, drop_last=False).train     # 65 = 32 + 32 + 1: the one goes with the last batch
    out = ids(dl)
    assert [len(o) for o in out] == [32, 33] and sorted(flat(out)) == list(range(65)) and flat(out) != list(range(65))

def test_orders_differ_by_epoch_and_agree_by_seed():
    a, b = two(50, 3, bs=8).train, two(50, 3, bs=8).train
    a.reseed(3); b.reseed(3)
    first = ids(a)
    assert first == ids(b) and ids(a) != first
    a.reseed(3); assert ids(a) == first

@pytest.mark.parametrize('n', [32_760, 32_767, 32_768, 65_600])
def test_beyond_small_integers(n):
    y = (np.arange(n) % 37).astype(str)
    dls = get_ts_dls(numbered(n, L=2), y, splits=(range(100), range(100, n)), bs=64, val_bs=1000, device='cpu')
    x, t = (torch.cat([b[i] for b in dls.valid]) for i in (0, 1))
    assert np.array_equal(x[:, 0, 0].long().numpy(), np.arange(100, n)) and np.array_equal(dls.valid.dataset.target.decode(t), y[100:])
    big = get_ts_dls(numbered(n, L=2), y, splits=(range(50, n), range(50)), bs=512, drop_last=False, device='cpu').train
    assert sorted(flat(ids(big))) == list(range(50, n))


# ---------------------------------------------------------------- new loaders, orders and reordering

class First(nn.Module):
    "Gives back the number of the series, as a prediction"
    def __init__(self): super().__init__(); self.w = nn.Parameter(torch.ones(1))
    def forward(self, x): return self.w * x[:, 0, :1]

def order_learner(dls): return Learner(dls, First(), loss_func=MSELossFlat())

@pytest.mark.parametrize('kwargs',
                         [{}, dict(drop_last=False), dict(shuffle_train=False), dict(partial_n=20), dict(partial_n=20, shuffle_train=False),
                          dict(weights=np.r_[np.ones(5), np.zeros(48)]),
                          dict(sort=True), dict(sampler=range(52, -1, -1)),
                          dict(sampler=StratifiedSampler(np.arange(53) % 2, bs=8))])
def test_get_preds_of_training_and_validation(kwargs):
    "Predictions stand in the order of the data set, whatever order training draws"
    n, m = 53, 31
    dls = get_ts_dls(numbered(n+m), np.arange(n+m, dtype=np.float32), splits=(range(n), range(n, n+m)), bs=8, device='cpu', **kwargs)
    learn = order_learner(dls)
    with learn.no_bar():
        for k, want in ((0, range(n)), (1, range(n, n+m))):
            for reorder in (True, False):
                p, t = learn.get_preds(ds_idx=k, reorder=reorder)
                assert p.flatten().tolist() == t.flatten().tolist() == list(want)
        p, t = learn.get_preds(dl=dls.train.new(shuffle=False)); assert p.flatten().tolist() == list(range(n))
        p, t = learn.get_preds(dl=dls.train); assert torch.equal(p.flatten(), t.flatten())     # each target beside its own prediction
        p, t = learn.get_preds(dl=dls.valid.new(shuffle=True, drop_last=False))
        assert p.flatten().tolist() == t.flatten().tolist() == list(range(n, n+m))

def test_new_keeps_and_changes():
    dls = two(20, 5, bs=4, weights=np.r_[np.ones(3), np.zeros(17)])
    again = dls.train.new()
    assert set(flat(ids(again))) <= {0, 1, 2} and again.bs == 4 and again.shuffle
    assert flat(ids(dls.train.new(shuffle=False))) == list(range(20))
    assert flat(ids(dls.train.new(shuffle=False, bs=7))) == list(range(20))
    assert sorted(flat(ids(dls.valid.new(shuffle=True, drop_last=False)))) == list(range(20, 25))

@few
@given(st.integers(1, 40), st.integers(1, 64), st.integers(0, 9))
def test_predictions_do_not_depend_on_bs(n, bs, seed):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(3, 5, (n + 12, 2, 24)).astype(np.float32), np.array(['a', 'b', 'c'])[np.arange(n + 12) % 3]
    torch.manual_seed(seed)
    model = InceptionTime(2, 3, nf=4, depth=3)
    splits = (range(12), range(12, n + 12))
    get = lambda **k: get_ts_dls(X, y, splits=splits, batch_tfms=TSStandardize(by_sample=seed % 2 == 1), device='cpu', **k)
    learn = ts_learner(get(bs=12), model)
    with learn.no_bar():
        p, t, d = learn.get_preds(with_decoded=True)
        other = ts_learner(get(bs=12, val_bs=bs), model)
        with other.no_bar(): q, u, e = other.get_preds(with_decoded=True)
        torch.testing.assert_close(p, q, atol=1e-5, rtol=0); assert torch.equal(t, u)
        r, v, labels = learn.get_X_preds(X[12:], y[12:], bs=bs)
        torch.testing.assert_close(p, r, atol=1e-5, rtol=0); assert torch.equal(t, v)
        clear = p.sort(1).values.diff(dim=1)[:, -1] > 2e-5
        assert torch.equal(d[clear], e[clear]) and np.array_equal(np.array(list(learn.dls.vocab))[d[clear].numpy()], labels[clear.numpy()])


# ---------------------------------------------------------------- ways to draw

def test_weights_of_all_series_or_of_the_training_split():
    X, y = numbered(40), np.arange(40) % 2
    splits = (range(1, 40, 2), range(0, 40, 2))         # training has the odd ones
    w = np.where(np.arange(40) % 4 == 1, 1., 0.)
    for weights in (w, w[1::2], torch.as_tensor(w), pd.Series(w[1::2]), list(w)):
        dls = get_ts_dls(X, y.astype(str), splits=splits, tfms=[None, TSClassification(vocab=['0', '1'])], weights=weights, bs=5,
                         device='cpu')
        drawn = flat(ids(dls.train))
        assert len(drawn) == 20 and all(i % 4 == 1 for i in drawn)
    for bad in (w[:7], -w, np.zeros(40), np.full(40, np.nan)):
        with pytest.raises(ValueError, match='weights'):
            get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification(vocab=[0, 1])], weights=bad, device='cpu')

def test_weights_are_proportions():
    dl = two(100, 3, bs=50, weights=np.r_[np.full(50, 3.), np.full(50, 1.)]).train; dl.reseed(0)
    share = np.mean([i < 50 for _ in range(60) for i in torch.cat(dl.batches()).tolist()])
    assert abs(share - .75) < .02

def test_partial_n():
    dl = two(100, 3, bs=8, partial_n=0.2).train; dl.reseed(0)
    assert [len(b) for b in ids(dl)] == [7, 7, 6] and len(dl) == 3                        # 20 series
    assert [len(b) for b in ids(two(100, 3, bs=8, partial_n=35).train)] == [8]*4
    seen = set(flat(o for _ in range(80) for o in ids(dl))); assert seen == set(range(100))   # another part each time
    assert flat(ids(two(100, 3, bs=8, partial_n=10, shuffle_train=False).train)) == list(range(10))
    for bad in (0, 101, 1.5, 0., -3):
        with pytest.raises(ValueError, match='partial_n'): two(100, 3, partial_n=bad)

def test_sort_and_sampler():
    dl = two(64, 3, bs=16, sort=True).train; dl.reseed(0)
    out = ids(dl); assert all(o == sorted(o) for o in out) and flat(out) != list(range(64))
    assert ids(two(10, 3, bs=4, sampler=range(9, -1, -1), drop_last=False).train) == [[9, 8, 7, 6], [5, 4, 3, 2], [1, 0]]
    assert ids(two(10, 3, sampler=[[1, 2], [5, 6, 7]]).train) == [[1, 2], [5, 6, 7]]

@quick
@given(st.lists(st.integers(1, 40), min_size=2, max_size=4), st.integers(2, 70), st.booleans(), st.integers(0, 5))
def test_stratified_sampler(counts, bs, shuffle, seed):
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts)); n = len(y)
    s = StratifiedSampler(y, bs=bs, shuffle=shuffle, random_state=seed)
    out = list(s)
    assert len(out) == len(s) and sorted(flat(out)) == list(range(n)) and (n < 2 or min(map(len, out)) > 1)
    for b in out:
        for c, k in enumerate(counts): assert abs((y[b] == c).sum() - k*len(b)/n) <= 2
    dropped = list(StratifiedSampler(y, bs=bs, drop_last=True, random_state=seed))
    assert {len(b) for b in dropped} == {min(bs, n)}

def test_stratified_sampler_in_a_loader():
    y = np.repeat(['x', 'y'], [60, 20])
    dls = get_ts_dls(numbered(100), np.r_[y, y[:20]], splits=(range(80), range(80, 100)), tfms=[None, TSClassification(vocab=['x', 'y'])],
                     sampler=StratifiedSampler(y, bs=16), device='cpu')
    out = [t.float().mean().item() for _, t in dls.train]
    assert len(out) == len(dls.train) == 5 and all(abs(o - .25) < .07 for o in out)
    dls.train.reseed(0); a = ids(dls.train); b = ids(dls.train); dls.train.reseed(0)
    assert ids(dls.train) == a != b                     # a seed reaches the sampler


# ---------------------------------------------------------------- kinds of X

def kinds():
    X = np.random.default_rng(0).normal(size=(20, 2, 6)).astype(np.float32)
    yield 'numpy', X, X
    yield 'float64', X.astype(np.float64), X
    yield 'float16', X.astype(np.float16), X.astype(np.float16)
    yield 'integer', (X*10).astype(np.int16), (X*10).astype(np.int16)
    yield 'bool', X > 0, X > 0
    yield 'fortran', np.asfortranarray(X), X
    yield 'strided', np.repeat(X, 2, axis=2)[:, :, ::2], X
    yield 'reversed', X[::-1, :, ::-1], X[::-1, :, ::-1]
    ro = X.copy(); ro.flags.writeable = False
    yield 'read-only', ro, X
    yield 'big-endian', X.astype('>f4'), X
    yield 'big-endian f8', X.astype('>f8'), X
    yield 'torch', torch.from_numpy(X), X
    yield 'torch f64', torch.from_numpy(X).double(), X
    yield 'torch transposed', torch.from_numpy(X.transpose(0, 2, 1).copy()).transpose(1, 2), X
    yield 'torch int', torch.from_numpy((X*10).astype(np.int64)), (X*10).astype(np.int64)
    yield 'list of arrays', list(X), X
    yield 'list of tensors', [torch.from_numpy(o) for o in X], X
    yield 'TSTensor', TSTensor(X), X
    yield 'masked', np.ma.masked_array(X, np.zeros(X.shape, bool)), X
    yield 'two dimensions', X[:, 0], X[:, :1]
    yield 'frame', pd.DataFrame(X[:, 0], index=range(100, 120)), X[:, :1]
    yield 'nullable frame', pd.DataFrame(X[:, 0]).astype('Float64'), X[:, :1]
    yield 'int frame', pd.DataFrame((X[:, 0]*10).astype(int)), (X[:, :1]*10).astype(int)

@pytest.mark.parametrize('name,given,want', list(kinds()), ids=[o[0] for o in kinds()])
def test_kinds_of_X(name, given, want):
    before = copy.deepcopy(given)
    dls = get_ts_dls(given, np.arange(20) % 2, splits=(range(10), range(10, 20)), bs=4, batch_tfms=TSStandardize(), device='cpu')
    for b in dls.train: assert b[0].dtype == torch.float32 and type(b[0]) is TSTensor
    x = torch.cat([dls.valid.decode(b)[0].as_subclass(Tensor) for b in dls.valid])
    np.testing.assert_allclose(x.numpy(), np.asarray(want[10:], dtype=np.float32),
                               atol=2e-6*max(1, np.abs(np.asarray(want, dtype=float)).max()))
    assert np.array_equal(np.asarray(given), np.asarray(before))                        # the caller's data stays as it is
    n, = {len(b[0]) for b in dls.new_dl(given, bs=20)}; assert n == 20

def test_masked_values_are_missing_values():
    X = np.ma.masked_array(numbered(8), np.zeros((8, 1, 4), bool)); X[3, 0, 1] = np.ma.masked
    assert TSDatasets(X).scan() == (1, 0)

def test_shape_is_known_at_construction():
    X, y = numbered(20, C=3, L=7), np.arange(20) % 4
    dls = get_ts_dls(X, y, splits=(range(10), range(10, 20)), device='cpu')
    assert (dls.vars, dls.len, dls.c, dls.d, dls.cat, list(dls.vocab)) == (3, 7, 4, None, True, [0, 1, 2, 3])
    dls = get_ts_dls(X, X[:, :2, :3], splits=(range(10), range(10, 20)), tfms=[None, TSRegression()], device='cpu')
    assert (dls.c, dls.d, dls.cat, dls.vocab) == (1, (2, 3), False, None)


# ---------------------------------------------------------------- memory maps and workers

@pytest.fixture
def memmap(tmp_path):
    X = np.random.default_rng(0).normal(size=(50, 3, 10))
    np.save(tmp_path/'X.npy', X.astype('>f8'))
    return np.load(tmp_path/'X.npy', mmap_mode='r'), X.astype(np.float32)

@pytest.mark.parametrize('num_workers', [0, 2])
@pytest.mark.parametrize('inplace', [True, False])
def test_memmap(memmap, num_workers, inplace):
    mm, X = memmap
    y = np.arange(50) % 2
    dls = get_ts_dls(mm, y, splits=(range(30), range(30, 50)), sel_vars=[0, 2], sel_steps=slice(2, None), tfms=[lambda x: x*2, None],
                     inplace=inplace, batch_tfms=TSStandardize(by_var=True), bs=8, num_workers=num_workers, sort=True, device='cpu')
    assert isinstance(dls.train.dataset.X, NpySource) and (dls.vars, dls.len) == (2, 8)
    want = 2*X[:, [0, 2], 2:]
    x = torch.cat([dls.valid.decode(b)[0].as_subclass(Tensor) for b in dls.valid]).numpy()
    np.testing.assert_allclose(x, want[30:], atol=1e-5)
    np.testing.assert_allclose(dls.train.after_batch.fs[0].fn.shift[0, :, 0], want[:30].mean((0, 2), dtype=np.float64), atol=1e-6)
    got = np.concatenate([dls.train.decode(b)[0].numpy() for b in dls.train.new(drop_last=False)])
    # each is one of the training series
    assert len(got) == 30 and np.abs(got[:, None] - want[None, :30]).max((2, 3)).min(1).max() < 1e-5
    # selected and transformed as before
    np.testing.assert_allclose(dls.valid.decode(dls.new_dl(mm[:5]).one_batch())[0].numpy(), want[:5], atol=1e-5)
    np.testing.assert_allclose(dls.valid.decode(dls.new_dl(X[:5]).one_batch())[0].numpy(), want[:5], atol=1e-5)
    del dls, mm

@pytest.mark.parametrize('num_workers', [0, 2])
def test_memmap_trains_as_an_array_does(memmap, num_workers):
    mm, X = memmap
    y = X.mean((1, 2)) > 0
    def run(X, **k):
        learn = ts_learner(get_ts_dls(X, y, splits=(range(30), range(30, 50)), bs=8, batch_tfms=TSStandardize(), device='cpu', **k),
                           InceptionTime, nf=4, depth=3, seed=0)
        with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-2)
        return learn.model.fc.weight.detach()
    assert torch.equal(run(X), run(mm, num_workers=num_workers))

@pytest.mark.parametrize('sel_vars,sel_steps',
                         [([0, 2], None), (slice(0, 2), slice(None, None, 2)), (1, [0, 1, 5]),
                          (np.array([True, False, True]), np.arange(10) % 3 == 0), ([-1], range(4))])
def test_selections(memmap, sel_vars, sel_steps):
    mm, X = memmap
    steps = slice(None) if sel_steps is None else list(sel_steps) if isinstance(sel_steps, range) else sel_steps
    v, s = np.r_[np.arange(3)[sel_vars]], np.arange(10)[steps]
    want = X[:, v][..., s]
    for data in (X, mm, torch.from_numpy(X)):
        for inplace in (True, False):
            ds = TSDatasets(data, sel_vars=sel_vars, sel_steps=sel_steps, inplace=inplace)
            assert np.array_equal(ds.read(torch.arange(50))[0].numpy(), want) and ds.shape == want.shape[1:]
            assert np.array_equal(ds.new(data[:4]).read(torch.arange(4))[0].numpy(), want[:4])


# ---------------------------------------------------------------- splits, targets, parts

def test_three_splits():
    X, y = numbered(30), np.arange(30) % 2
    dls = get_ts_dls(X, y, splits=(range(10), range(10, 18), range(18, 30)), bs=4, batch_tfms=TSStandardize(), device='cpu')
    assert len(dls.loaders) == 3 and [len(o.dataset) for o in dls] == [10, 8, 12]
    x = torch.cat([dls[2].decode(b)[0].as_subclass(Tensor)[:, 0, 0] for b in dls[2]]); torch.testing.assert_close(x, torch.arange(18., 30))
    learn = order_learner(get_ts_dls(X, y.astype(float), tfms=[None, TSRegression()], splits=(range(10), range(10, 18), range(18, 30)),
                                     device='cpu'))
    with learn.no_bar(): assert learn.get_preds(ds_idx=2)[0].flatten().tolist() == list(range(18, 30))

def test_default_splits_are_stratified():
    y = np.repeat(['a', 'b'], [80, 20])
    dls = get_ts_dls(numbered(100), y, device='cpu')
    assert [len(o.dataset) for o in dls] == [80, 20] and (dls.valid.dataset.y[dls.valid.dataset.idxs] == 1).sum() == 4
    dls = get_ts_dls(numbered(50), np.random.default_rng(0).normal(size=50), device='cpu'); assert [len(o.dataset) for o in dls] == [40, 10]
    dls = get_ts_dls(numbered(50), np.zeros((50, 2)), tfms=[None, TSRegression()], device='cpu')
    assert [len(o.dataset) for o in dls] == [40, 10]
    dls = get_ts_dls(numbered(50), [['a'], ['b', 'a']]*25, tfms=[None, TSMultiLabelClassification()], device='cpu')
    assert [len(o.dataset) for o in dls] == [40, 10]

def test_without_targets():
    dls = get_ts_dls(numbered(30), splits=(range(20), range(20, 30)), bs=8, device='cpu')
    assert len(dls.one_batch()) == 1 and flat(ids(dls.valid)) == list(range(20, 30)) and dls.c is None and dls.loss_func is None
    x, = dls.valid.decode_batch(dls.valid.one_batch())[0]; assert x.shape == (1, 4)
    dls.show_batch(max_n=2)
    with pytest.raises(ValueError, match='no targets'): ts_learner(dls, InceptionTime)
    with pytest.raises(ValueError, match='had none'): dls.new_dl(numbered(2), [0, 1])
    assert [len(o.dataset) for o in get_ts_dls(numbered(30), device='cpu')] == [24, 6]

def test_targets_of_single_series():
    X, y = numbered(20), np.array(['a', 'b']*10)
    dls = get_ts_dls(X, y, splits=(range(10), range(10, 20)), device='cpu')
    pairs = list(zip(X[:3], y[:3]))
    assert dls.test_dl(pairs, with_labels=True).one_batch()[1].tolist() == [0, 1, 0] and len(dls.test_dl(pairs).one_batch()) == 1
    assert len(dls.test_dl(X, bs=4, shuffle=True)) == 5
    with pytest.raises(ValueError, match="no argument 'batchsize'"): dls.test_dl(X, batchsize=4)

def test_series_in_no_split_may_have_any_label():
    y = np.array(['a', 'b']*10 + ['?']*5)
    dls = get_ts_dls(numbered(25), y, splits=(range(10), range(10, 20)), device='cpu'); assert list(dls.vocab) == ['a', 'b']

def test_get_ts_dl():
    y = np.arange(11) % 2
    assert flat(ids(get_ts_dl(numbered(11), y, bs=4, device='cpu'))) == list(range(11))
    dl = get_ts_dl(numbered(11), y, bs=4, shuffle=True, drop_last=False, device='cpu'); assert sorted(flat(ids(dl))) == list(range(11))
    assert flat(ids(get_ts_dl(numbered(1), device='cpu'))) == [0]

class Noise(TSBatchTransform):
    "A random transform of training batches alone"
    split_idx = 0
    def on_series(self, x): return x + 1000

class FastaiNoise(Noise):
    on_series = property()     # without it a transform goes fastai's own way
    def encodes(self, x:TSTensor): return (x.as_subclass(Tensor) + 1000).as_subclass(TSTensor)

@pytest.mark.parametrize('tfm', [Noise(), FastaiNoise()])
def test_random_transforms_are_for_training(tfm):
    X, y = numbered(20), np.arange(20) % 2
    dls = get_ts_dls(X, y, splits=(range(10), range(10, 20)), bs=5, batch_tfms=tfm, device='cpu')
    for (a, _), (b, _) in zip(dls.train, dls.valid): assert a.min() >= 1000 and b.max() < 1000     # also when both are read in turns
    assert dls.new_dl(X).one_batch()[0].max() < 1000
    whole = TSDatasets(X, y)
    apart = TSDataLoaders.from_dsets(whole, whole.new(X, y), batch_tfms=tfm, bs=5, device='cpu')
    assert apart.train.one_batch()[0].min() >= 1000 and apart.valid.one_batch()[0].max() < 1000
    assert get_ts_dl(X, y, batch_tfms=tfm, shuffle=True, device='cpu').one_batch()[0].min() >= 1000
    assert get_ts_dl(X, y, batch_tfms=tfm, device='cpu').one_batch()[0].max() < 1000

def test_data_sets_made_apart_must_agree():
    X = numbered(6)
    with pytest.raises(ValueError, match='different targets'):
        # 'b' would be 1 here and 0 there
        TSDataLoaders.from_dsets(TSDatasets(X, list('abcabc')), TSDatasets(X, list('bcbcbc')), device='cpu')
    TSDataLoaders.from_dsets(TSDatasets(X, list('abcabc')), TSDatasets(X, list('cabcab')), device='cpu')

def test_pickle_and_copy():
    dls = two(20, 6, bs=4)
    for again in (pickle.loads(pickle.dumps(dls)), copy.deepcopy(dls)): assert flat(ids(again.valid)) == list(range(20, 26))

def test_TSTensor():
    b = TSTensor(numbered(5, C=2, L=3))
    assert type(b[0]) is type(b[1:3]) is TSTensor and len(list(b)) == 5 and b[2].shape == (2, 3) and (b.vars, b.len) == (2, 3)
    assert type(b + 1) is Tensor and 'series=5, vars=2, len=3' in repr(b) and 'missing' in repr(TSTensor(np.full((1, 1, 3), np.nan)))
    assert repr(b[0, 0, 0]) and repr(TSTensor(np.zeros((2, 0, 3))))

def test_pictures():
    dls = get_ts_dls(numbered(20, C=2), list('ab')*10, splits=(range(10), range(10, 20)), batch_tfms=TSStandardize(), bs=4, device='cpu')
    for k in (dict(), dict(max_n=1), dict(max_n=3, nrows=1), dict(unique=True), dict(ncols=2, figsize=(3, 3))): dls.show_batch(**k)
    dls.valid.show_batch(max_n=2); assert len(dls.train.show_batch(show=False, max_n=2)[2]) == 2


def test_looking_does_not_touch_the_order():
    "`show_batch` and `len` draw nothing from what a seed has fixed"
    dl = two(40, 3, bs=8).train
    dl.reseed(0); want = dl.batches()
    dl.reseed(0); len(dl); state = dl.gen.get_state()
    dl.show_batch(dl.new(shuffle=False).one_batch(), max_n=1)
    dl.show_batch(max_n=1, unique=True)
    assert 'get_idxs' not in dl.__dict__ and torch.equal(dl.gen.get_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(dl.batches(), want))


@pytest.mark.parametrize('kwargs,message', [
    (dict(batch_tfm=TSStandardize()), "'batch_tfm'"), (dict(foo=3), "'foo'"), (dict(batch_size=3), "'batch_size'"),
    (dict(bs=1), 'at least two'),
    (dict(partial_n=1), 'at least two'), (dict(sampler=[0, 1], partial_n=2), 'sampler'),
    (dict(tfms=[TSStandardize(), None]), 'batch_tfms')], ids=str)
def test_slips_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message): get_ts_dls(np.zeros((20, 1, 5)), np.arange(20) % 2, **kwargs)


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_bad_values_in_memory_maps_are_refused(tmp_path, bad):
    X = np.random.default_rng(0).normal(size=(20, 1, 5)).astype(np.float32)
    dls = get_ts_dls(X, np.arange(20) % 2)
    X[19, 0, 2] = bad
    np.save(tmp_path/'X.npy', X)
    m = np.load(tmp_path/'X.npy', mmap_mode='r')
    with pytest.raises(ValueError, match='missing values|infinite'): dls.new_dl(m)
    with pytest.raises(ValueError, match='missing values|infinite'): get_ts_dls(m, np.arange(20) % 2, splits=(range(15), range(15, 20)))


# ---------------------------------------------------------------- arguments and samplers that would do nothing, or the wrong thing

@pytest.mark.parametrize('kwargs,message', [
    *[({k: lambda o: o}, 'would never call it') for k in ('after_item', 'before_batch', 'create_item', 'create_batch', 'create_batches',
                                                          'do_batch', 'retain', 'sample', 'shuffle_fn')],
    (dict(persistent_workers=True), 'start anew'), (dict(n=5), "no argument 'n'"), (dict(indexed=False), "no argument 'indexed'"),
    (dict(verbose=True), "no argument 'verbose'"), (dict(do_setup=False), "no argument 'do_setup'"),
    (dict(pin_memory_device='cuda'), "Did you mean 'pin_memory'")], ids=lambda o: next(iter(o)) if isinstance(o, dict) else '')
def test_arguments_without_effect_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message): two(20, 5, **kwargs)
    with pytest.raises(ValueError, match=message): two(20, 5).valid.new(**kwargs)

def test_arguments_with_an_effect(memmap, tmp_path):
    calls = []
    dl = TSDataLoader(numbers(10), bs=5, before_iter=lambda: calls.append('before'), after_iter=lambda: calls.append('after'),
                      get_idxs=lambda: [3, 1, 2])
    assert flat(ids(dl)) == [3, 1, 2] and calls == ['before', 'after']
    assert flat(ids(dl.new())) == [3, 1, 2] and len(calls) == 4
    dl = TSDataLoader(TSDatasets(memmap[0]), bs=5, num_workers=1, timeout=60, wif=(tmp_path/'worker').touch)
    assert len(list(dl)) == 10 and (tmp_path/'worker').exists()

def test_state_is_that_of_a_fastai_loader():
    "It is made without fastai's __init__, which draws from the global generator"
    theirs, ours = TfmdDL(list(range(5)), bs=2, num_workers=0), TSDataLoader(numbers(5), bs=2)
    missing = set(vars(theirs)) - set(vars(ours))
    assert not missing and {k: getattr(theirs, k) for k in ('num_workers', 'offs', 'timeout', 'pin_memory', 'indexed', 'n')} == \
                           {k: getattr(ours, k) for k in ('num_workers', 'offs', 'timeout', 'pin_memory', 'indexed', 'n')}

@pytest.mark.parametrize('labels', [12, 19, 21, 24])
def test_stratified_sampler_of_another_length(labels):
    with pytest.raises(ValueError, match=rf'made for {labels} series; this split has 20.*StratifiedSampler\(y\[splits'):
        two(20, 4, sampler=StratifiedSampler(np.arange(labels) % 2))

@pytest.mark.parametrize('sampler,bad', [(range(21), 20), ([0, -1], -1), ([[0, 1], [2, 99]], 99)])
def test_indices_beyond_the_split(sampler, bad):
    with pytest.raises(ValueError, match=f'index {bad}. Expected positions in this split, from 0 to 19'):
        list(two(20, 4, sampler=sampler).train)


# ---------------------------------------------------------------- functions of X

SHIFTED = numbered(40, C=2, L=6) + np.arange(6, dtype=np.float32)

@pytest.mark.parametrize('f', [lambda x: x - x.mean(), lambda x: x/x.std(), lambda x: x/x.abs().max(), lambda x: x - x.mean(0),
                               lambda x: x.flip(0), lambda x: x.cumsum(0)],
                         ids=['mean', 'std', 'max', 'by step', 'reversed', 'sum'])
@pytest.mark.parametrize('inplace', [True, False])
@pytest.mark.parametrize('on_disk', [False, True])
def test_functions_that_depend_on_the_batch_are_refused(f, inplace, on_disk, tmp_path):
    X = SHIFTED
    if on_disk: np.save(tmp_path/'X.npy', X); X = np.load(tmp_path/'X.npy', mmap_mode='r')
    with pytest.raises(ValueError, match='depend on the batch.*batch_tfms=TSStandardize'): TSDatasets(X, tfms=[f, None], inplace=inplace)

@pytest.mark.parametrize('f,message', [(lambda x: x * torch.arange(40.)[:, None, None], 'fails for a part of the series .*RuntimeError'),
                                       (lambda x: x[1:], 'gives a series something else|fails')], ids=['weights', 'fewer'])
def test_functions_of_all_series_are_refused(f, message):
    with pytest.raises(ValueError, match=message): TSDatasets(SHIFTED, tfms=[f, None])

@pytest.mark.parametrize('f', [lambda x: x - x.mean(2, keepdim=True), lambda x: x.diff(dim=2), lambda x: torch.fft.rfft(x).abs(),
                               lambda x: x.mul_(2), lambda x: x[:, :1].numpy(),
                               torch.nn.Conv1d(2, 3, 3).requires_grad_(False)], ids=['mean', 'diff', 'fft', 'in place', 'numpy', 'module'])
def test_functions_of_each_series_give_the_same_for_both_settings(f):
    X, idx = SHIFTED.copy(), torch.tensor([3, 30, 7])
    a, b = (TSDatasets(X, tfms=[f, None], inplace=o).read(idx)[0] for o in (True, False))
    torch.testing.assert_close(a, b); assert np.array_equal(X, SHIFTED)

def test_a_function_that_draws_may_stay():
    ds = TSDatasets(SHIFTED, tfms=[lambda x: x + torch.randn_like(x), None], inplace=False)
    assert not torch.equal(ds.read(ds.idxs)[0], ds.read(ds.idxs)[0])


# ---------------------------------------------------------------- digits

def digits(X, **kwargs):
    with warnings.catch_warnings(record=True) as w:
        warnings.simplefilter('always'); TSDatasets(X, **kwargs)
    return [str(o.message) for o in w]

rng = np.random.default_rng(0)
noise = rng.normal(size=(20, 3, 8))
far = np.array([0., 1.7e9, 5.])[:, None]

@pytest.mark.parametrize('X', [far + noise, torch.from_numpy(far + noise), (far + 3*noise).astype(np.int64),
                               pd.DataFrame((far + noise)[:, 1]), (far + noise)[:, 1],
                               np.where(rng.random(noise.shape) < .2, np.nan, far + noise), far*np.arange(1, 21)[:, None, None] + noise,
                               20240101. + rng.integers(0, 28, (20, 1, 8)), np.repeat((1.7e9 + np.arange(20.))[:, None, None], 8, 2)],
                         ids=['array', 'tensor', 'integers', 'frame', 'two dimensions', 'missing', 'levels', 'dates', 'constant series'])
def test_lost_digits_are_told(X):
    message, = digits(X)
    channel = 1 if np.ndim(X) == 3 and X.shape[1] == 3 else 0
    assert re.search(rf'Channel {channel} of X has values near (1\.[78]\d*|17\d+|202401\d+).* vary by .*Subtract a constant such as ',
                     message), message

@pytest.mark.parametrize('X', [noise, (far + noise).astype(np.float32), far*0 + 1e4 + noise, (noise*100).astype(np.int64),
                               np.full((20, 1, 8), .1), np.full((20, 1, 8), 1e9 + 1),
                               torch.from_numpy(noise).bfloat16(), noise*1e-30, np.full((20, 1, 8), 2**24) + 2*np.arange(8)],
                         ids=['near', 'float32', 'ten thousand', 'integers', 'constant', 'far constant', 'bfloat16', 'small', 'even'])
def test_what_float32_holds_needs_no_warning(X): assert not digits(X)

def test_channels_that_are_not_used_need_no_warning():
    assert not digits(far + noise, sel_vars=[0, 2]) and 'Channel 1' in digits(far + noise, sel_vars=[2, 1])[0]

def test_lost_digits_of_a_memory_map(tmp_path):
    np.save(tmp_path/'X.npy', far + noise)
    assert 'Channel 1' in digits(np.load(tmp_path/'X.npy', mmap_mode='r'))[0]


# ---------------------------------------------------------------- series of other lengths

@pytest.mark.parametrize('L', [4, 30, 31, 90])
@pytest.mark.parametrize('tfms', [None, TSStandardize(by_var=True), TSStandardize(by_sample=True), [TSNan2Value(keep_padding=True)]],
                         ids=str)
def test_new_series_of_another_length(L, tfms):
    X = rng.normal(size=(20, 2, 30)).astype(np.float32)
    dls = get_ts_dls(X, np.arange(20) % 2, splits=(range(10), range(10, 20)), batch_tfms=tfms, device='cpu')
    dl = dls.new_dl(new := rng.normal(size=(7, 2, L)).astype(np.float32), bs=4)
    assert (dl.len, dls.len) == (L, 30) and [b[0].shape for b in dl] == [(4, 2, L), (3, 2, L)]
    np.testing.assert_allclose(np.concatenate([dl.decode(b)[0] for b in dl]), new, atol=1e-5)
    dls.test_dl(list(new)).show_batch(max_n=2)

def test_model_of_any_length_predicts_any_length():
    X = rng.normal(size=(20, 2, 30)).astype(np.float32)
    dls = get_ts_dls(X, np.arange(20) % 2, splits=(range(10), range(10, 20)), batch_tfms=TSStandardize(), device='cpu')
    learn = ts_learner(dls, InceptionTime, nf=4, depth=3, seed=0)
    with learn.no_bar(), torch.no_grad():
        p = learn.get_X_preds(X[:5, :, :12])[0]
        z = (torch.from_numpy(X[:5, :, :12]) - dls.after_batch.fs[0].fn.shift) / dls.after_batch.fs[0].fn.scale
        torch.testing.assert_close(p, learn.model.eval()(z).softmax(1), atol=1e-5, rtol=0)

def test_lengths_that_statistics_or_labels_do_not_fit():
    X, y = rng.normal(size=(20, 2, 30)).astype(np.float32), np.arange(20) % 2
    make = lambda y=y, **k: get_ts_dls(X, y, splits=(range(10), range(10, 20)), device='cpu', **k)
    with pytest.raises(ValueError, match='have 12 steps, and TSStandardize has statistics for each of 30 steps.*by_step=False'):
        make(batch_tfms=TSStandardize(by_step=True)).new_dl(X[..., :12])
    make(batch_tfms=TSStandardize(by_step=True)).new_dl(X[:3])
    steps = np.where(X[:, 0] > 0, 'a', 'b')
    with pytest.raises(ValueError, match='a label for each of 30 steps'): make(steps, tfms=[None, TSClassification()]).new_dl(X[..., :12])
    with pytest.raises(ValueError, match='steps beyond that'): make(sel_steps=[0, 20]).new_dl(X[..., :12])
    assert make(sel_steps=[0, 20]).new_dl(X[..., :25]).len == 2 and make(sel_steps=slice(5, None)).new_dl(X[..., :25]).len == 20
    with pytest.raises(ValueError, match=r'\(20, 1, 30\). Expected \(n, 2, 30\)'): make().new_dl(X[:, :1])
    with pytest.raises(ValueError, match='channels'): make(sel_vars=[0, 1]).new_dl(X[:, :1])

needs_padding = pytest.mark.skipif(not hasattr(tsfast.core, 'pad_series'), reason='lists of unequal series are padded by check_series')

@needs_padding
def test_lists_of_unequal_series():
    lens = [6, 3, 5, 6, 2, 4]*3
    lists = [rng.normal(size=(2, k)).astype(np.float32) for k in lens]
    y = np.arange(18) % 2
    with pytest.raises(ValueError, match=r'missing values.*TSNan2Value\(keep_padding=True\)'): get_ts_dls(lists, y, device='cpu')
    dls = get_ts_dls(lists, y, splits=(range(12), range(12, 18)), batch_tfms=[TSStandardize(), TSNan2Value()], device='cpu')
    assert (dls.vars, dls.len) == (2, 6)
    back = np.concatenate([dls.valid.decode(b)[0] for b in dls.valid])
    for got, want in zip(back, lists[12:]):
        np.testing.assert_allclose(got[:, :want.shape[1]], want, atol=1e-5)
        assert np.isnan(got[:, want.shape[1]:]).all()
    for dl in (dls.new_dl(lists[:5]), dls.test_dl(lists[:5])):
        assert dl.len == 6 and len(dl.dataset) == 5 and dl.one_batch()[0].isfinite().all()
    one = get_ts_dls([o[0] for o in lists], y, batch_tfms=TSNan2Value(), device='cpu')
    assert one.vars == 1 and one.new_dl([o[0, :2] for o in lists]).len == 6 and one.new_dl(np.stack([o[0, :2] for o in lists])).len == 2
    assert get_ts_dl(lists, y, batch_tfms=TSNan2Value(), device='cpu').len == 6


# ---------------------------------------------------------------- devices, without a GPU

def test_targets_come_with_their_series():
    "`meta` stands in for a GPU: indexing there by indices from here must not fail, nor leave targets behind"
    ds = TSDatasets(numbered(10), np.arange(10) % 2, splits=(range(6), range(6, 10)))
    ds.X = ds.X.to('meta')
    for o in (ds, ds.train, ds.valid, ds[[1, 2]]): assert {t.device.type for t in o.read(o.idxs)} == {'meta'}
    X, y = ds.placed('cpu'); assert X.device.type == y.device.type == 'meta' and ds.idxs.device.type == 'cpu'

def test_indices_are_copied_once_for_all_batches(monkeypatch):
    dl = two(40, 4, bs=8).train
    dl.dataset.X = dl.dataset.X.to('meta')
    dl.device, copies, to = torch.device('meta'), [], Tensor.to
    def counted(self, *args, **kwargs):
        if self.dtype == torch.int64 and self.device.type == 'cpu' and str(args[:1]).find('meta') >= 0: copies.append(self.shape)
        return to(self, *args, **kwargs)
    dl.dataset.placed('meta')        # the targets, once for all epochs
    monkeypatch.setattr(Tensor, 'to', counted)
    assert [len(b[0]) for b in dl] == [8]*5 and copies == [(40,)] and dl.rows.device.type == 'cpu'

def test_pinned_memory_is_not_asked_for_on_the_CPU(): assert flat(ids(two(5, 20, pin_memory=True).valid)) == list(range(5, 25))

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')

@gpu
@pytest.mark.parametrize('kwargs', [{}, dict(pin_memory=True), dict(num_workers=2), dict(num_workers=2, pin_memory=True)], ids=str)
@pytest.mark.parametrize('where', ['cpu', 'cuda', 'memory map'])
def test_on_a_gpu(kwargs, where, tmp_path):
    X, y = numbered(50), np.arange(50) % 3
    np.save(tmp_path/'X.npy', X)
    given = np.load(tmp_path/'X.npy', mmap_mode='r') if where == 'memory map' else torch.from_numpy(X).to(where)
    tfms = [TSStandardize(by_var=True), TSStandardize(by_sample=True), TSNan2Value()]
    dls = get_ts_dls(given, y, splits=(range(30), range(30, 50)), bs=8, batch_tfms=tfms, device='cuda', **kwargs)
    assert all(o.is_cuda for b in dls.train for o in b)
    assert sorted(flat(b[1].tolist() for b in dls.train.new(drop_last=False))) == sorted(y[:30])
    x, t = zip(*(dls.valid.decode(b) for b in dls.valid))
    assert torch.cat(x).device.type == 'cpu' and np.allclose(torch.cat(x), X[30:], atol=1e-3) and np.array_equal(torch.cat(t), y[30:])
    dls.show_batch(max_n=2)
    learn = ts_learner(dls, InceptionTime, nf=4, depth=3)
    with learn.no_bar(), learn.no_logging(): learn.fit(1); learn.predict(X[0]); learn.show_results(max_n=2); learn.tta()


# ---------------------------------------------------------------- other threads

def generators(): return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

@pytest.mark.parametrize('num_workers', [0, 1])
def test_loaders_for_prediction_touch_no_global_generator(num_workers, memmap):
    mm, X = memmap
    dls = get_ts_dls(mm if num_workers else X, np.arange(50) % 2, splits=(range(30), range(30, 50)),
                     batch_tfms=[TSStandardize(), TSNan2Value()], num_workers=num_workers, bs=8, device='cpu')
    want = torch.cat([b[0].as_subclass(Tensor) for b in dls.new_dl(X, bs=9)])
    def read(i):
        ds = dls.valid.dataset.new(X)
        loaders = (dls.new_dl(X, bs=9), dls.test_dl(X, bs=9), dls.test_dl(list(X), bs=9), dls.valid.new(ds, bs=9),
                   TSDataLoader(ds, bs=9, after_batch=dls.after_batch))
        return all(torch.equal(torch.cat([b[0].as_subclass(Tensor) for b in dl]), want) for dl in loaders[:2 if num_workers else None])
    random.seed(7); np.random.seed(7); torch.manual_seed(7)
    before = generators()
    assert read(0) and generators() == before
    if not num_workers:
        every = sys.getswitchinterval(); sys.setswitchinterval(1e-5)
        try:
            with ThreadPoolExecutor(8) as pool: assert all(pool.map(read, range(40)))
        finally: sys.setswitchinterval(every)
        assert generators() == before


# ---------------------------------------------------------------- worker processes

def of_a_module(x): return x*2

def test_lambdas_and_worker_processes(memmap, monkeypatch):
    f = lambda x: x*2
    make = lambda f, **k: TSDataLoader(TSDatasets(memmap[0], tfms=[f, None]), bs=10, num_workers=1, **k)
    assert len(list(make(f))) == 5                  # processes that start as copies need nothing sent
    class Context:
        def get_start_method(self): return 'spawn'
    monkeypatch.setattr(torch.multiprocessing, 'get_context', lambda *a: Context())
    with pytest.raises(ValueError, match="'spawn'.*<lambda>.*cannot be sent.*def at the top of a module.*num_workers=0"):
        next(iter(make(f)))
    with pytest.raises(ValueError, match='lambda'): next(iter(make(of_a_module, wif=lambda: None)))
    assert len(list(TSDataLoader(TSDatasets(memmap[0], tfms=[f, None]), bs=10))) == 5
    session = type(sys)('__main__'); session.of_a_module = of_a_module
    monkeypatch.setattr(of_a_module, '__module__', '__main__'); monkeypatch.setitem(sys.modules, '__main__', session)
    with pytest.raises(ValueError, match='of_a_module.*interactive session'): next(iter(make(of_a_module)))

def views(mm):
    yield 'whole', mm
    yield 'rows', mm[700:]
    yield 'strided', mm[::3, 1:, ::2]
    yield 'reversed', mm[::-1, :, ::-1]
    yield 'transposed', mm.transpose(0, 2, 1)
    yield 'two dimensions', mm[:, 1]

@pytest.mark.parametrize('name', [o[0] for o in views(np.zeros((4, 3, 2)))])
@pytest.mark.parametrize('mode', ['r', 'r+', 'c'])
def test_what_worker_processes_are_sent_of_a_memory_map(name, mode, tmp_path):
    "Its place in the file, and not what it holds; but for copy on write, whose changes are in memory alone"
    from tsfast.data.workers import BatchReader
    np.arange(1000*3*10, dtype='>f8').reshape(1000, 3, 10).tofile(tmp_path/'X.bin')
    offset, n = (80_000, 500) if name == 'whole' else (0, 1000)
    mm = np.memmap(tmp_path/'X.bin', '>f8', mode, offset, (n, 3, 10))
    X = dict(views(mm))[name]
    if mode != 'r': X[0] = -1
    ds = TSDatasets(X, np.arange(len(X)) % 2, tfms=[of_a_module, None])
    sent = pickle.dumps(BatchReader(ds)); again, idx = pickle.loads(sent), torch.tensor([5, 0, len(X) - 1])
    assert (len(sent) < 30_000 + 9*len(X)) == (mode != 'c')
    assert all(torch.equal(a, b) for a, b in zip(again[idx], ds.read(idx))) and (mode == 'r' or (again[idx][0][1] == -2).all())
    del again, ds, X, mm


# ---------------------------------------------------------------- fastai's test-time augmentation

@pytest.mark.parametrize('target', ['classes', 'numbers'])
def test_tta(target, capsys):
    X = rng.normal(size=(40, 2, 20)).astype(np.float32); X[20:] += 1
    y = np.repeat(['a', 'b'], 20) if target == 'classes' else X.mean((1, 2))*1e3 + 5e3
    tfm = TSClassification() if target == 'classes' else TSRegression(standardize=True)
    def make(noise):
        dls = get_ts_dls(X, y, splits=(range(0, 40, 2), range(1, 40, 2)), tfms=[None, tfm], batch_tfms=[TSStandardize(), noise], bs=8,
                         device='cpu')
        return ts_learner(dls, InceptionTime, nf=4, depth=3, seed=0)
    learn, calm = make(TSNoise(.5, p=1)), make(TSNoise(.5, p=0))
    for k, n in ((0, 20), (1, 20)):
        plain, t = learn.get_preds(ds_idx=k)
        p, u = learn.tta(ds_idx=k)
        assert p.shape == plain.shape and torch.equal(t, u) and (p - plain).abs().max() > 1e-6            # the copies are noisy
        torch.testing.assert_close(calm.tta(ds_idx=k)[0], calm.get_preds(ds_idx=k)[0])                     # in order, in the user's units
    assert len(learn.tta(dl=learn.dls.new_dl(X))[0]) == 40 and len(learn.tta(beta=None)[0]) == 2
    assert learn.dls.valid.dataset.split_idx == 1 and torch.equal(learn.get_preds()[0], plain)


# ---------------------------------------------------------------- data sets made apart, statistics of a part, pictures

def test_target_scales_must_agree():
    "The metrics of the second would be in another unit"
    X, far = numbered(20), np.arange(20.)*10 + 800
    sets = lambda a, b: TSDataLoaders.from_dsets(*(TSDatasets(X, o, tfms=[None, TSRegression(standardize=True)]) for o in (a, b)),
                                                 device='cpu')
    for other in (far + 5, far*1.01, -far):
        with pytest.raises(ValueError, match='scale their targets differently.*train.new'): sets(far, other)
    assert sets(far, far[::-1].copy()).valid.dataset.target.scaled and sets(far, far.astype(np.float32))
    with pytest.raises(ValueError, match='scale their targets differently'):
        TSDataLoaders.from_dsets(TSDatasets(X, far), TSDatasets(X, far, tfms=[None, TSRegression(standardize=True)]), device='cpu')
    train = TSDatasets(X, far, tfms=[None, TSRegression(standardize=True)])
    learn = ts_learner(TSDataLoaders.from_dsets(train, train.new(X, far + 5), bs=8, device='cpu'), InceptionTime, nf=4, depth=3)
    with learn.no_bar(): assert np.allclose(learn.get_preds()[1], far + 5)
    with pytest.raises(ValueError, match='1 and 2 channels'):
        TSDataLoaders.from_dsets(TSDatasets(X), TSDatasets(numbered(4, C=2)), device='cpu')

@pytest.mark.parametrize('idx', [0, 2, -1, -3, np.int64(2), np.int64(-1), torch.tensor(1), torch.tensor(-2), slice(1, 4),
                                 slice(None, None, 2), [3, 1], [-1, 0], np.array([2, 2]), torch.tensor([4, 0]),
                                 np.arange(6) % 2 == 0, torch.arange(6) > 3, [True, False]*3], ids=str)
def test_statistics_go_with_their_series(idx):
    X = (rng.normal(size=(6, 2, 9)) * (1 + np.arange(6))[:, None, None] + 10*np.arange(6)[:, None, None]).astype(np.float32)
    dl = get_ts_dl(X, bs=6, batch_tfms=[TSStandardize(by_sample=True), TSNan2Value()], device='cpu')
    part = dl.one_batch()[0][idx]
    got = dl.decode((part,))[0].as_subclass(Tensor)
    np.testing.assert_allclose(got.reshape(-1, 2, 9), X[idx if isinstance(idx, slice) else np.asarray(idx)].reshape(-1, 2, 9), atol=1e-4)

@pytest.mark.parametrize('idx', [(0, 1), (slice(None), 0), np.s_[..., :3], None, torch.ones(6, 2, 9, dtype=torch.bool)],
                         ids=['channel', 'one channel', 'steps', 'none', 'values'])
def test_parts_of_series_have_no_statistics(idx):
    xb = get_ts_dl(noise[:6, :2].repeat(2, 2)[..., :9].astype(np.float32), bs=6, batch_tfms=TSStandardize(by_sample=True),
                   device='cpu').one_batch()[0]
    assert xb.undo is not None and xb[idx].undo is None and xb[0][0].undo is None

def drawn(axes): return [np.stack([o.get_ydata() for o in ax.lines]) for ax in axes]

@pytest.mark.parametrize('tfms', [[TSNan2Value()], [TSStandardize(), TSNan2Value()],
                                  [TSStandardize(by_sample=True), TSNan2Value(method='mean')],
                                  [TSStandardize(), TSNan2Value(keep_padding=True)]], ids=str)
def test_pictures_show_what_the_user_gave(tfms):
    "Missing values are gaps, and padding is not drawn, though the model sees numbers there"
    X = (noise*3 + 50).astype(np.float32); X[:, :, 6:] = np.nan; X[0, 0, 2] = np.nan; X[1, :, 4:] = np.nan
    dls = get_ts_dls(X, np.arange(20) % 2, splits=(range(10), range(10, 20)), batch_tfms=tfms, bs=10, shuffle_train=False, device='cpu')
    axes = plt.subplots(1, 4)[1]
    dls.show_batch(max_n=2, ctxs=axes[:2]); b = dls.train.one_batch(); dls.train.show_results(b, b[1], max_n=2, ctxs=axes[2:])
    for got, want in zip(drawn(axes), [X[0], X[1]]*2): np.testing.assert_allclose(got, want, atol=1e-3)
    assert axes[0].get_xlim() == (0, 5) and axes[1].get_xlim() == (0, 3)

def test_one_member_of_a_class():
    with pytest.raises(ValueError, match=r"'b' has one member.*splits=get_splits\(y, stratify=False\)"):
        get_ts_dls(numbered(20), ['a']*19 + ['b'], device='cpu')
