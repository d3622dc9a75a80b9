"Augmentations: batch transforms that touch training alone"
import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from torch import Tensor

from tsfast.data.augment import (CutMix1d, TSAugment, TSMagWarp, TSNoise, TSRandomScale, TSTimeWarp, TSWindowSlice, at_nearest,
                                 on_own_lengths, random_curves, resample)
from tsfast.data.augment_policy import LARGEST, AugmentSchedule, RandAugment
from tsfast.data.augment_show import show_augmented
from tsfast.data.augment_time import TSPermutation, TSWindowWarp
from tsfast.data.augment_values import TSMaskChannels, TSMaskFrequencies, TSMaskSpans, TSRotate, random_rotations
from tsfast.data.core import TSTensor, get_ts_dls
from tsfast.data.preprocessing import TSNan2Value, TSStandardize
from tsfast.data.targets import TSClassification, TSMultiLabelClassification, TSRegression

TIME = [TSTimeWarp, TSWindowSlice, TSWindowWarp, TSPermutation]
VALUES = [TSNoise, TSRandomScale, TSMagWarp, TSMaskSpans, TSMaskChannels, TSMaskFrequencies, TSRotate]
ALL = [*VALUES, *TIME, RandAugment]
MANY = [o for o in ALL if o not in (TSMaskChannels, TSRotate)]          # of channels they need one alone
IN_PLACE = [TSNoise, TSRandomScale, TSMagWarp, TSMaskSpans, TSMaskChannels, TSMaskFrequencies]     # missing values stay where they are
every = pytest.mark.parametrize('tfm', ALL)
moving = pytest.mark.parametrize('tfm', TIME)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(60, 3, 40)).cumsum(-1) + 5).astype(np.float32)
    return X, np.repeat(['a', 'b'], 30), (list(range(0, 60, 2)), list(range(1, 60, 2)))


@every
@pytest.mark.parametrize('shape', [(1, 1, 1), (1, 1, 2), (5, 1, 3), (1, 3, 1), (2, 3, 2), (7, 4, 33), (0, 3, 10)])
def test_shape_dtype_and_input_kept(tfm, shape):
    if shape[1] < 3 and tfm not in MANY: pytest.skip('needs more channels')
    x = torch.randn(shape)
    before = x.clone()
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        for p in (0.5, 1.):
            given = x.to(dtype)
            again = given.clone()
            out = tfm(p=p).on_series(given)
            assert out.shape == x.shape and out.dtype == dtype and type(out) is Tensor and torch.isfinite(out).all()
            assert torch.equal(given, again)
    assert torch.equal(x, before)


@every
def test_p(tfm):
    x = torch.randn(2000, 3, 30).cumsum(-1)
    assert tfm(p=0).on_series(x) is x
    state = torch.get_rng_state(); tfm(p=0).on_series(x); assert torch.equal(state, torch.get_rng_state())    # and draws nothing
    changed = (tfm(p=0.25).on_series(x) != x).flatten(1).any(1).float().mean().item()
    assert abs(changed - 0.25) < 0.05
    assert (tfm(p=1).on_series(x) != x).flatten(1).any(1).float().mean() > 0.98
    for p in (-0.1, 1.1, float('nan')):
        with pytest.raises(ValueError, match='probability from 0 to 1'): tfm(p=p)


@every
def test_same_seed_same_draws_and_other_series_other_draws(tfm):
    x, f = torch.randn(1, 3, 200).cumsum(-1).expand(6, -1, -1), tfm(p=1)
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        runs.append(f.on_series(x))
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])
    assert any(not torch.equal(runs[0][0], o) for o in runs[0][1:])


@every
def test_training_alone(tfm, data):
    X, y, splits = data
    kw = dict(splits=splits, bs=30, shuffle_train=False, drop_last=False)
    plain, aug = get_ts_dls(X, y, batch_tfms=TSStandardize(), **kw), get_ts_dls(X, y, batch_tfms=[tfm(p=1), TSStandardize()], **kw)
    as_tensor = lambda dl: torch.cat([o[0].as_subclass(Tensor) for o in dl])
    assert not torch.equal(as_tensor(plain.train), as_tensor(aug.train))
    assert torch.equal(as_tensor(plain.valid), as_tensor(aug.valid))
    assert torch.equal(as_tensor(plain.new_dl(X)), as_tensor(aug.new_dl(X)))
    assert isinstance(aug.one_batch()[0], TSTensor)
    # statistics for a model with fixed features come from series as evaluation sees them
    from tsfast.callbacks import training_batches
    assert torch.equal(torch.cat([o[0] for o in training_batches(plain)]), torch.cat([o[0] for o in training_batches(aug)]))
    # its units come back as they were
    assert torch.allclose(aug.valid.decode(aug.valid.one_batch())[0].as_subclass(Tensor), torch.tensor(X[splits[1]]), atol=1e-4)


@every
def test_order_of_the_list_does_not_matter(tfm, data):
    "Random transforms come after scaling and before filling, rotation before both"
    X, y, splits = data
    X[::3, :, 30:] = np.nan
    def batches(*tfms):
        torch.manual_seed(0)
        dls = get_ts_dls(X, y, splits=splits, batch_tfms=[o() if isinstance(o, type) else o for o in tfms], bs=30, shuffle_train=False,
                         device='cpu')
        return [o[0].as_subclass(Tensor) for o in dls.train]
    first, last = batches(tfm(p=1), TSNan2Value, TSStandardize), batches(TSStandardize, TSNan2Value, tfm(p=1))
    assert all(torch.equal(a, b) and a.isfinite().all() for a, b in zip(first, last))
    X[np.isnan(X)] = 0      # in the place of NaN stands the mean, where nothing else stood before
    torch.manual_seed(0)
    dls = get_ts_dls(data[0], y, splits=splits, batch_tfms=[TSStandardize(), TSNan2Value()], bs=30, device='cpu')
    order = [type(o).__name__ for o in get_ts_dls(data[0], y, splits=splits, batch_tfms=[TSNan2Value(), tfm(p=1), TSStandardize()]).train.after_batch.fs]
    names = [tfm.__name__, 'TSStandardize', 'TSNan2Value'] if tfm is TSRotate else ['TSStandardize', tfm.__name__, 'TSNan2Value']
    assert order == names and len(dls.train.after_batch.fs) == 2


@every
def test_missing_values(tfm):
    "They move with their steps and do not spread; padding stays padding, and only that"
    x = torch.randn(60, 3, 60).cumsum(-1)
    x[:, :, 50:] = torch.nan; x[3] = torch.nan; x[:, 0, 20:23] = torch.nan; x[5, :, 30:] = torch.nan
    for strength in (1., .5):
        f = tfm(p=1); f.strength = strength
        out = f.on_series(x)
        assert out[3].isnan().all()
        lengths = lambda o: (~o.isnan().all(1)).flip(1).cumsum(1).gt(0).sum(1)
        assert torch.equal(lengths(out), lengths(x))
        if tfm in IN_PLACE: assert torch.equal(out.isnan(), x.isnan()); continue
        gaps = lambda o: o.isnan()[:, 0].sum(1) - (60 - lengths(x))
        assert (gaps(out) - gaps(x)).abs().max() <= 6
        assert torch.equal(out[:, 1].isnan(), x[:, 1].isnan()) or tfm is TSRotate
        if tfm is TSPermutation: assert torch.equal(gaps(out), gaps(x))


@moving
def test_a_series_is_moved_within_its_own_length(tfm):
    "A padded series gives what it gives alone, up to its own number of steps"
    line = torch.arange(80.).expand(300, 1, 80).clone()
    line[::2, :, 50:] = torch.nan; line[1::6, :, 20:] = torch.nan
    n = (~line[:, 0].isnan()).sum(1)
    out = tfm(p=1).on_series(line)[:, 0]
    for i, k in enumerate(n.tolist()):
        t = out[i, :k]
        assert out[i, k:].isnan().all() and t.isfinite().all() and t.min() >= 0 and t.max() <= k - 1
        if tfm is TSPermutation: assert torch.equal(t.sort().values, torch.arange(float(k)))
        elif tfm is not TSWindowSlice: assert t[0] == 0 and abs(t[-1] - (k - 1)) < 1e-3 and (t.diff() > 0).all()
        else: assert abs((t[-1] - t[0]) - 0.9*(k - 1)) < 1e-3
    times = torch.rand(4, 30).sort(1).values * 29
    assert torch.equal(on_own_lengths(times, torch.full((4, 1), 30.)), times)           # nothing changes where nothing is padded


def literal(x, t):
    "A loop over steps: linear between neighbours, the nearest where one of them is missing"
    out = np.empty((*x.shape[:2], t.shape[1]), np.float32)
    for b in range(len(x)):
        for c in range(x.shape[1]):
            for k, u in enumerate(t[b]):
                i = min(int(np.floor(u)), x.shape[2] - 2)
                w = np.float32(u - i)
                lo, hi = x[b, c, i], x[b, c, i + 1]
                near = lo if w < .5 else hi
                out[b, c, k] = near if np.isnan(lo) or np.isnan(hi) else lo + w*(hi - lo)
    return out

def test_resample_beside_gaps():
    x, t = torch.randn(4, 2, 30), torch.rand(4, 50)*29
    x[torch.rand(4, 2, 30) < .2] = torch.nan
    np.testing.assert_allclose(resample(x, t), literal(x.numpy(), t.numpy()), atol=1e-5)
    y = torch.randint(5, (4, 30))
    want = [[y[b, int(np.floor(u + np.float32(.5)))] for u in t[b].numpy()] for b in range(4)]
    assert (at_nearest(y, t) == torch.tensor(want)).float().mean() > .99               # but for ties in rounding


@pytest.mark.parametrize('tfm', [*TIME, RandAugment])
@pytest.mark.parametrize('p', [.5, 1.])
def test_labels_of_steps_move_along(tfm, p):
    "In batches of a loader; side inputs stay, padding keeps its labels"
    level = np.repeat(np.arange(8.), 10)
    X = np.broadcast_to(level[None, None], (60, 1, 80)).astype(np.float32).copy()
    X[::3, :, 60:] = np.nan
    steps = np.broadcast_to(level.astype(int)[None], (60, 80)).copy()
    age = np.arange(60.)
    f = tfm(p=p) if tfm is not RandAugment else RandAugment(tfms=['TSTimeWarp', 'TSWindowSlice', 'TSWindowWarp'], p=p)
    dls = get_ts_dls(X, steps, splits=(range(40), range(40, 60)), tfms=[None, TSClassification()], batch_tfms=[f, TSNan2Value(99.)], bs=40,
                     shuffle_train=False, inputs=dict(age=age), device='cpu')
    x, side, y = dls.train.one_batch()
    x, real = x.as_subclass(Tensor)[:, 0], x.as_subclass(Tensor)[:, 0] != 99
    assert torch.equal(real, torch.tensor(~np.isnan(X[:40, 0]))) and torch.equal(side.float().flatten(), torch.arange(40.))
    changed = (y != torch.tensor(steps[:40])).any(1).float().mean()
    assert changed == 1 if p == 1 and tfm is not RandAugment else .2 < changed <= 1
    assert ((x - y).abs()[real] <= 0.5 + 1e-4 if tfm is not RandAugment else (x - y).abs()[real] <= 1.01).all()
    assert torch.equal(y[~real], torch.tensor(steps[:40])[~real])
    assert torch.equal(dls.valid.one_batch()[2], torch.tensor(steps[40:]))

def test_labels_of_steps_and_a_plain_transform():
    from fastai.data.transforms import Transform
    class Plain(Transform):
        def encodes(self, x:TSTensor): return x
    dls = get_ts_dls(np.zeros((20, 1, 9), np.float32), np.arange(180).reshape(20, 9) % 2, splits=(range(10), range(10, 20)),
                     tfms=[None, TSClassification()], batch_tfms=[TSTimeWarp(), Plain()], device='cpu')
    with pytest.raises(ValueError, match='TSTimeWarp moves steps, and Plain has no method on_series'): dls.train.one_batch()
    dls.valid.one_batch()


@every
@pytest.mark.parametrize('shape', [(2, 5), (40,), (1, 40), (4,), ()], ids=str)
def test_forecasts(tfm, shape):
    "What would change the past alone is refused, with the names of what is safe"
    X, y = np.random.default_rng(0).normal(size=(20, 3, 40)).astype(np.float32), np.random.default_rng(1).normal(size=(20, *shape))
    go = lambda: get_ts_dls(X, y, splits=(range(10), range(10, 20)), tfms=[None, TSRegression()], batch_tfms=[TSStandardize(), tfm(p=1)],
                            shuffle_train=False, device='cpu')
    if shape in ((4,), ()) or tfm in (TSNoise, TSMaskSpans, TSMaskChannels, TSMaskFrequencies):
        assert torch.equal(go().train.one_batch()[1].as_subclass(Tensor), torch.tensor(y[:10], dtype=torch.float32))
        return
    with pytest.raises(ValueError, match='no longer belong together.*TSNoise, TSMaskSpans, TSMaskChannels, TSMaskFrequencies'): go()


@every
def test_no_gradient_and_no_slow_loop(tfm):
    x = torch.randn(4, 3, 20, requires_grad=True)
    assert not tfm(p=1).on_series(x).requires_grad


@every
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_on_a_gpu(tfm):
    out = tfm().on_series(torch.randn(8, 3, 40, device='cuda'))
    assert out.is_cuda and out.isfinite().all()


@pytest.mark.parametrize('tfm', [o for o in ALL if o not in (TSMaskFrequencies, RandAugment)])     # which look at values
def test_on_any_device(tfm):
    "What is made on the CPU is moved: the meta device would refuse to mix"
    assert tfm().on_series(torch.empty(8, 3, 40, device='meta')).device.type == 'meta'


@every
def test_bad_magnitude(tfm):
    for bad in (0, -1., float('nan'), float('inf')):
        with pytest.raises(ValueError, match='magnitude is'): tfm(magnitude=bad)


@every
def test_arguments_of_other_types(tfm):
    for kwargs in (dict(magnitude='a'), dict(magnitude=True), dict(magnitude=[.1]), dict(p='a')):
        with pytest.raises(ValueError, match='Expected'): tfm(**kwargs)


@pytest.mark.parametrize('tfm', [TSMagWarp, TSTimeWarp])
@pytest.mark.parametrize('knots', [0, -1, 2.5, True])
def test_bad_knots(tfm, knots):
    with pytest.raises(ValueError, match='knots is'): tfm(knots=knots)


def test_statistics():
    torch.manual_seed(0)
    x = torch.randn(3000, 2, 50) * torch.tensor([1., 1e3])[:, None] - 4
    noise = (TSNoise(0.05, p=1).augment(x) - x).std((0, 2)) / torch.tensor([1., 1e3])
    assert torch.allclose(noise, torch.tensor(0.05), atol=1e-3)
    k = TSRandomScale(0.1, p=1).augment(x)/x
    assert abs(k.mean() - 1) < 0.01 and abs(k.mean(2).std() - 0.1) < 0.005
    assert abs(torch.corrcoef(k.mean(2).T)[0, 1]) < 0.06                        # each channel has a factor of its own
    c = random_curves((4000,), 101, 0.2, knots=4)
    assert abs(c.mean() - 1) < 0.01 and torch.allclose(c[:, ::20].std(0), torch.tensor(0.2), atol=0.01)
    const = torch.full((10, 1, 20), 3.)
    assert torch.equal(TSNoise(p=1).augment(const), const)                       # nothing that varies: no noise


def test_times():
    torch.manual_seed(0)
    for f in (TSTimeWarp(0.2, p=1), TSTimeWarp(2., p=1)):                       # time runs forward for wild speeds too
        t = f.times(500, 200)
        assert (t.diff(dim=1) > 0).all() and (t[:, 0] == 0).all() and torch.allclose(t[:, -1], torch.tensor(199.), atol=1e-2)
    line = torch.arange(101.).expand(4000, 2, 101)
    s = TSWindowSlice(0.2, p=1).augment(line)
    assert torch.allclose(s.diff(dim=2), torch.tensor(0.8), atol=1e-3)
    assert s.min() >= 0 and s.max() <= 100 and s[:, 0, 0].min() < 0.5 and s[:, 0, 0].max() > 19.5   # anywhere
    with pytest.raises(ValueError, match='between 0 and 1'): TSWindowSlice(1.)


def test_resample_is_linear_interpolation():
    x, t = torch.randn(5, 3, 20), torch.rand(5, 33)*25 - 3
    want = np.stack([[np.interp(t[i].numpy(), np.arange(20), x[i, j].numpy()) for j in range(3)] for i in range(5)])
    assert torch.allclose(resample(x, t), torch.tensor(want, dtype=torch.float32), atol=1e-5)
    x[:, :, 7] = torch.nan
    steps = torch.arange(20.).expand(5, -1)
    assert torch.equal(resample(x, steps).isnan(), x.isnan())                    # 0 * NaN does not spread


def test_base_needs_a_change():
    with pytest.raises(NotImplementedError): TSAugment(p=1).on_series(torch.zeros(1, 1, 4))


# each against a plain computation
def test_window_warp_in_a_loop():
    for seed in range(20):
        torch.manual_seed(seed)
        t = TSWindowWarp(1., window=0.2, p=1).times(1, 101)[0].numpy()
        torch.manual_seed(seed)
        f = 2. if torch.rand(1, 1) < 0.5 else .5
        s = float(torch.rand(1, 1) * 0.8)
        # the window as knots: where it begins and ends now, and before
        total = 1 - 0.2 + 0.2*f
        want = np.interp(np.linspace(0, 1, 101)*total, [0, s, s + 0.2*f, total], [0, s, s + 0.2, 1]) * 100
        np.testing.assert_allclose(t, want, atol=1e-3)

def test_permutation_keeps_segments_whole():
    line = torch.arange(200.).expand(500, 1, 200)
    for k in (2, 3, 7):
        t = TSPermutation(k, p=1).augment(line)[:, 0].numpy()
        for row in t:
            parts = np.split(row, np.flatnonzero(np.diff(row) != 1) + 1)
            assert 2 <= len(parts) <= k and (np.sort(row) == np.arange(200)).all()
        assert max(len(np.split(row, np.flatnonzero(np.diff(row) != 1) + 1)) for row in t) == k
    sizes = np.diff(np.flatnonzero(np.diff(TSPermutation(4, p=1).augment(line)[0, 0].numpy()) != 1))
    assert (sizes > 200/4/4).all()

def test_frequencies_one_series_at_a_time():
    "Each series as if it were alone, with its own length"
    x = torch.randn(12, 2, 60) + 4
    x[3:6, :, 41:] = torch.nan; x[7, 0, 10:12] = torch.nan
    torch.manual_seed(5); out = TSMaskFrequencies(.3, bands=2, p=1).augment(x)
    torch.manual_seed(5); at = torch.rand(12, 2, 1)
    for i, row in enumerate(x):
        m = 41 if 3 <= i < 6 else 60
        n = m//2
        size = max(1, round(n*.3/2))
        for c in range(2):
            v = row[c, :m].numpy().astype(np.float64)
            mean, gap = np.nanmean(v), np.isnan(v)
            F = np.fft.rfft(np.where(gap, 0, v - mean))
            for u in at[i, :, 0].tolist():
                start = 1 + int(np.floor(np.float32(u)*np.float32(n - size + 1)))
                F[start:start + size] = 0
            want = np.where(gap, np.nan, np.fft.irfft(F, m) + mean)
            np.testing.assert_allclose(out[i, c, :m], want, atol=1e-4)

def test_masks_in_a_loop():
    x = torch.randn(40, 3, 50) + 2
    x[:10, :, 33:] = torch.nan; x[2, 1, 4] = torch.nan
    torch.manual_seed(0); out = TSMaskSpans(.3, spans=2, by_channel=True, value=-9., p=1).augment(x)
    torch.manual_seed(0); u = torch.rand(40, 3, 2, 1)
    for i in range(40):
        m = 33 if i < 10 else 50
        size = max(1, round(np.float32(m)*np.float32(.15)))
        for c in range(3):
            want = x[i, c].clone()
            for k in range(2):
                start = int(torch.floor(u[i, c, k, 0]*(m - size + 1)))
                want[start:start + size] = torch.where(want[start:start + size].isnan(), torch.nan, -9.)
            assert torch.equal(out[i, c].nan_to_num(77.), want.nan_to_num(77.))
    hidden = TSMaskChannels(.99, value=0., p=1).augment(x.nan_to_num(1.))
    assert ((hidden == 0).all(2).sum(1) == 2).all()                                       # never all
    means = TSMaskSpans(.5, p=1).augment(x)
    assert torch.allclose(torch.where(means != x, means, torch.nan).nanmean(-1)[20:], x.nanmean(-1)[20:], atol=1e-4)

def test_rotation_is_a_matrix_product():
    x = torch.randn(30, 7, 20)
    x[4, 1, 3] = torch.nan
    torch.manual_seed(2); out = TSRotate(((4, 1, 0), (2, 3, 6)), 90., p=1).augment(x)
    torch.manual_seed(2); R = random_rotations(30, 90.)
    for g in ((4, 1, 0), (2, 3, 6)): torch.testing.assert_close(out[:, g], R @ x[:, g], equal_nan=True, atol=1e-5, rtol=1e-5)
    assert torch.equal(out[:, 5], x[:, 5]) and torch.equal(out[4].isnan().any(0), x[4].isnan().any(0))      # other steps stay known
    for bad in ((), ((0, 1),), ((0, 1, 1),), ((0, 1, 2), (2, 3, 4)), ((0, 1, -1),)):
        with pytest.raises(ValueError, match='groups of three channel numbers'): TSRotate(bad)
    with pytest.raises(ValueError, match='up to 180'): TSRotate(magnitude=181)
    with pytest.raises(ValueError, match='3 channels: numbers go up to 2'): TSRotate(((0, 1, 3),), p=1).augment(x[:, :3])

@pytest.mark.parametrize('make', [lambda: TSMaskSpans(spans=0), lambda: TSMaskFrequencies(bands=1.5), lambda: TSWindowWarp(window=1.),
                                  lambda: TSPermutation(1), lambda: RandAugment(0), lambda: RandAugment(n=1.), lambda: RandAugment(magnitude=1.1),
                                  lambda: RandAugment(tfms=['TSNoize']), lambda: RandAugment(tfms=[]), lambda: TSRotate((0, 1, 2)),
                                  lambda: TSRotate('xyz'), lambda: RandAugment(groups=5), lambda: TSWindowWarp(window='a'), lambda: AugmentSchedule(.5)])
def test_bad_arguments(make):
    with pytest.raises(ValueError, match='Expected'): make()


@every
def test_strength(tfm):
    "0 is no change, and a smaller one is a smaller change"
    x = torch.randn(400, 3, 60).cumsum(-1)
    def change(strength):
        f = tfm(p=1); f.strength = strength
        torch.manual_seed(0)
        return (f.on_series(x) - x).abs().mean()
    assert change(0.) == 0 < change(1.)
    if tfm not in (TSPermutation, TSMaskChannels): assert 0 < change(.3) < change(1.)      # these count in whole segments and channels

def test_policy():
    "Each series passes n transforms of the set; magnitudes are shares of the table"
    class One(TSAugment):
        magnitude = 1.
        def augment(self, x): return x + 1
    f = RandAugment(3, .5)
    assert [type(o) for o in f.fs] == [k for k in LARGEST if k not in (TSPermutation, TSRotate)]
    assert all(o.magnitude == LARGEST[type(o)]*.5 for o in f.fs)
    assert RandAugment(magnitude=1., tfms=[TSPermutation, 'TSRotate'], groups=((2, 1, 0),)).fs[1].groups == [[2, 1, 0]]
    assert RandAugment(np.int64(3)).n == 3 and [type(o) for o in RandAugment(tfms='TSNoise').fs] == [TSNoise]
    f.fs = [One(p=1), One(p=1)]
    assert torch.equal(f.on_series(torch.zeros(50, 1, 4)), torch.full((50, 1, 4), 3.))
    RandAugment().on_series(torch.randn(40, 1, 30))             # without masks of channels, which need several

def test_schedule(data):
    from fastai.callback.schedule import SchedLin
    from tsfast.learner import ts_learner
    class Look(Callback):
        def before_fit(self): self.seen = []
        def before_batch(self):
            if self.training: self.seen.append([o.strength for o in self.dls.train.after_batch.fs if isinstance(o, TSAugment)])
    X, y, splits = data
    dls = get_ts_dls(X, y, splits=splits, batch_tfms=[TSStandardize(), TSNoise(), RandAugment()], bs=10)
    def go(cb, dls=dls):
        learn = ts_learner(dls, 'FCN', layers=[4, 4, 4], cbs=[cb, Look()], seed=0)
        with learn.no_bar(), learn.no_logging(): learn.fit(4, 1e-3)
        return np.array(learn.look.seen), learn
    seen, learn = go(AugmentSchedule(SchedLin(0., 1.)))
    np.testing.assert_allclose(seen, np.repeat(np.arange(12)[:, None]/12, 2, 1), atol=1e-6)
    assert [o.strength for o in dls.train.after_batch.fs[1:]] == [1., 1.] and learn.dls.train.after_batch.fs[2].fs[0].strength == 1.
    with learn.no_bar(): learn.tta(n=1)                              # which is no training: at full strength
    warm = go(AugmentSchedule())[0][:, 0]
    assert warm[0] == 0 and (warm[4:] == 1).all() and 0 < warm[2] < 1
    with pytest.raises(ValueError, match='sched gives 2'): go(AugmentSchedule(lambda p: 2.))
    with pytest.raises(ValueError, match='no random transform'): go(AugmentSchedule(), get_ts_dls(X, y, splits=splits, bs=10))
    class Interrupt(Callback):
        def after_batch(self): raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), learn.no_bar(), learn.no_logging(): learn.fit(4, 1e-3, cbs=Interrupt())
    assert [o.strength for o in dls.train.after_batch.fs[1:]] == [1., 1.]      # for runs without a schedule

@every
def test_a_seed_reproduces_the_training(tfm, data):
    X, y, splits = data
    from tsfast.learner import ts_learner
    def go(seed):
        learn = ts_learner(get_ts_dls(X, y, splits=splits, batch_tfms=[TSStandardize(), tfm()], bs=10), 'FCN', layers=[4, 4, 4], seed=seed)
        before = torch.get_rng_state(), np.random.get_state()[1].tolist()
        with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
        assert torch.equal(before[0], torch.get_rng_state()) and before[1] == np.random.get_state()[1].tolist()
        return torch.cat([o.flatten() for o in learn.model.state_dict().values()])
    a, b, c = go(0), go(0), go(1)
    assert torch.equal(a, b) and not torch.equal(a, c)


# test-time augmentation
def small(data, y, target=None, tfms=(TSTimeWarp(p=1.), TSNoise(.3, p=1.)), **kwargs):
    from tsfast.learner import ts_learner
    X, _, splits = data
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, target], batch_tfms=[TSStandardize(), *tfms], bs=10)
    return ts_learner(dls, 'FCN', layers=[4, 4, 4], seed=0, **kwargs)

@pytest.mark.parametrize('kind', ['classes', 'labels', 'numbers', 'far'])
def test_tta(kind, data):
    y = dict(classes=data[1], labels=[['p'] if i % 2 else ['p', 'q'] for i in range(60)], numbers=np.arange(60.), far=np.arange(60.)*10 + 1e5)[kind]
    target = dict(labels=TSMultiLabelClassification(), far=TSRegression(standardize=True)).get(kind)
    learn = small(data, y, target)
    idx, before = learn.dls.valid.dataset.split_idx, torch.get_rng_state()
    with learn.no_bar():
        plain, targs = learn.get_preds()
        (aug, same), t = learn.tta(beta=None)
        p, _, out = learn.tta(with_decoded=True)
        assert torch.equal(t, targs) and torch.equal(same, plain) and not torch.equal(aug, plain)
        torch.testing.assert_close(p, torch.lerp(aug, plain, .25))
        torch.testing.assert_close(learn.tta(use_max=True)[0] >= plain, torch.ones_like(plain, dtype=torch.bool))
        assert not torch.equal(learn.tta(seed=1)[0], p) and torch.equal(learn.tta(ds_idx=0)[0], learn.tta(ds_idx=0)[0])
        assert len(learn.tta(dl=learn.dls.new_dl(data[0][:7]))[0]) == 7
        swapped = learn.tta(batch_tfms=TSNoise(1e-6, p=1.))[0]
    torch.testing.assert_close(swapped, plain, atol=1e-3, rtol=1e-5)
    assert torch.equal(before, torch.get_rng_state()) and learn.dls.valid.dataset.split_idx == idx
    assert len(learn.dls.valid.after_batch.fs) == 3
    if kind == 'classes': assert set(out) <= {'a', 'b'}
    if kind == 'labels': assert all(set(o) <= {'p', 'q'} for o in out)
    if kind == 'far': assert out.shape == (30,) and abs(out.mean() - 1e5) < 1e3

def test_tta_of_single_batches_and_last_series(data):
    "A rest of one series is not lost, and one series alone is predicted"
    learn = small(data, data[1])
    with learn.no_bar():
        for n in (1, 11): assert len(learn.tta(dl=learn.dls.new_dl(data[0][:n], bs=10))[0]) == n

def test_tta_refused(data):
    steps = np.where(data[0][:, 0] > 5, 'u', 'd')
    learn = small(data, steps, TSClassification())
    with learn.no_bar():
        with pytest.raises(ValueError, match='TSTimeWarp moves steps.*TSNoise'): learn.tta()
        assert learn.tta(batch_tfms=[TSNoise(), TSMaskSpans()])[0].shape == (30, 40, 2)
        learn = small(data, data[0][:, :1, -4:], TSRegression(), tfms=[TSNoise()])
        assert learn.tta()[0].shape == (30, 1, 4)
        with pytest.raises(ValueError, match='no longer belong together'): learn.tta(batch_tfms=[TSWindowWarp()])
        with pytest.raises(ValueError, match='item_tfms'): learn.tta(item_tfms=[1])
        with pytest.raises(ValueError, match='no random transform'): small(data, data[1], tfms=()).tta()
        with pytest.raises(ValueError, match='beta is None'): learn.tta(beta=None, with_decoded=True)
        for bad in (dict(n=0), dict(n='a'), dict(beta=2.), dict(beta='a'), dict(dl=data[0]), dict(batch_tfms=TSNoise), dict(batch_tfms='TSNoise')):
            with pytest.raises(ValueError, match='Expected'): learn.tta(**bad)


def test_pictures(data):
    X, y, splits = data
    X[:, :, 30:] = np.nan
    dls = get_ts_dls(X, y, splits=splits, batch_tfms=[TSStandardize(), TSNan2Value(), TSTimeWarp(p=.1), TSRotate()], bs=10)
    state = torch.get_rng_state()
    axs = show_augmented(dls)
    assert axs.shape == (2, 2) and axs[0, 0].get_ylabel() == 'target a' and axs[0, 1].get_title() == 'TSTimeWarp(0.2)'
    assert torch.equal(state, torch.get_rng_state()) and axs[0, 1].get_ylim() == axs[0, 0].get_ylim()
    given, new = (np.stack([o.get_ydata() for o in axs[0, 1].lines[k:k + 3]]) for k in (0, 3))
    assert np.isnan(given[:, 30:]).all() and np.isnan(new[:, 30:]).all() and not np.isnan(new[:, :30]).any()
    assert show_augmented(X[:, 0], TSNoise(), n=3).shape == (3, 1)
    with pytest.raises(ValueError, match='no random transform'): show_augmented(X)
    import matplotlib.pyplot as plt
    plt.close('all')


def fit(data, cb, target=None, **kw):
    from tsfast.learner import ts_learner
    X, y, splits = data
    dls = get_ts_dls(X, y if target is None else target, splits=splits, batch_tfms=TSStandardize(), bs=10)
    learn = ts_learner(dls, 'FCN', cbs=cb, seed=0, **kw)
    loss = learn.loss_func
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, 1e-3)
    assert learn.loss_func is loss and np.isfinite([float(o) for o in learn.recorder.losses]).all()
    return learn


def test_mixing_in_a_learner(data):
    from fastai.callback.mixup import MixUp
    for cb in (MixUp(), CutMix1d(), CutMix1d(0.2)):
        fit(data, cb)
        fit(data, cb, target=np.arange(60).astype(np.float32))                  # numbers: the targets are mixed
    fit(data, CutMix1d(), label_smoothing=0.1)
    a, b = (fit(data, CutMix1d()).model.state_dict() for _ in range(2))
    assert all(torch.equal(a[k], b[k]) for k in a)                              # to the bit with the same seed
    with pytest.raises(ValueError, match='alpha is'): CutMix1d(0.)


@pytest.mark.parametrize('loss', [None, torch.nn.CrossEntropyLoss()], ids=['default', 'torch'])
def test_cutmix_with_a_label_for_each_step(data, loss):
    "Labels are cut as series are; the loss is the plain one of what the model sees"
    class Look(Callback):
        order = CutMix1d.order + 1
        def after_pred(self):
            if self.training: seen.append((self.x.as_subclass(Tensor), self.y.clone()))
        def after_loss(self):
            if self.training:
                plain = torch.nn.functional.cross_entropy(self.pred.movedim(-1, 1), self.y)
                assert torch.allclose(self.loss, plain, atol=1e-6)
    seen, (X, _, splits) = [], data
    X = np.broadcast_to(np.arange(60, dtype=np.float32)[:, None, None], X.shape).copy()     # each step says which series it is of
    steps = np.where(np.arange(60)[:, None] % 4 < 2, 'low', 'high').repeat(40, 1)
    from tsfast.learner import ts_learner
    dls = get_ts_dls(X, steps, splits=splits, tfms=[None, TSClassification()], bs=10)
    learn = ts_learner(dls, 'FCN', cbs=[CutMix1d(), Look()], seed=0, loss_func=loss)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    x, y = (torch.cat(o) for o in zip(*seen))
    assert (x[:, 0].diff(dim=1) != 0).any() and list(dls.vocab) == ["high", "low"]
    assert torch.equal(y, ((x[:, 0] % 4) < 2).long())


def test_cutmix_shares():
    class Fake: pass
    torch.manual_seed(0)
    cb = CutMix1d(); cb.learn = Fake(); cb.stack_y = False
    x, y = torch.arange(256.)[:, None, None].expand(256, 2, 64), torch.arange(256.)
    cb.learn.x, cb.learn.xb, cb.learn.yb = x, (x,), (y,)
    cb.before_batch()
    out = cb.learn.xb[0]
    assert torch.equal(out[:, 0], out[:, 1])
    own = cb.yb1[0] != y
    assert torch.allclose((out == x)[own].float().mean((1, 2)), cb.lam[own])
    assert torch.allclose(out.mean((1, 2)), cb.learn.yb[0], rtol=1e-4)           # the mixed target is the mean of what one sees
    edges = (out[:, 0].diff(dim=1) != 0).sum(1)
    assert edges.max() <= 2                                                      # one stretch
    assert abs(cb.lam.mean() - 0.5) < 0.06


# the benchmark
def test_the_benchmark_renders(tmp_path):
    "Differences are to the same set and seed; sets count once, however many seeds they have"
    from benchmarks import augmentations as bench
    row = lambda d, config, seed, acc: dict(dataset=d, config=config, seed=str(seed), accuracy=str(acc), log_loss='1.')
    rows = [row('A', 'none', 0, .5), row('A', 'none', 1, .7), row('B', 'none', 0, .9), row('A', 'TSNoise', 0, .6), row('A', 'TSNoise', 1, .8),
            row('B', 'TSNoise', 0, .8), row('B', 'TSNoise', 1, .1), row('A', 'RandAugment', 0, .45)]       # B has no base for seed 1
    text = bench.markdown(rows)
    assert '| TSNoise | 2 | 3 | +0.00 ± 10.00 | 1, 1 | +0.00 ± 0.00 |' in text and '| RandAugment | 1 | 1 | -5.00 | 0, 1 |' in text
    assert '| A | 60.0 | +10.0 | -5.0 |' in bench.by_set(rows)
    assert 'Nothing' in bench.markdown(rows[:3]) and 'Nothing' in bench.render([], [], tmp_path/'a.md').read_text(encoding='utf-8')
    costs = [dict(config=k, shape='2×3×4', us='10.4', share='0.011') for k in ('TSNoise', 'TSRotate')]
    assert '| TSRotate | 10 µs, 1.1 % |' in bench.render(rows, costs, tmp_path/'a.md').read_text(encoding='utf-8')

def test_the_benchmark_measures(monkeypatch):
    from benchmarks import augmentations as bench
    from tsfast.data import external
    X, y = np.random.default_rng(0).normal(size=(60, 6, 30)).astype(np.float32), np.repeat(['a', 'b'], 30)
    monkeypatch.setattr(external, 'get_UCR_data', lambda name: (X, y, None, None))
    monkeypatch.setattr(bench, 'STEPS', 4); monkeypatch.setattr(bench, 'N_TRAIN', 24)
    for config in bench.CONFIGS:
        assert bench.fits(config, 'RacketSports')
        r = bench.measure('RacketSports', config, 0)
        assert (r['n_train'], r['n_valid'], r['steps']) == (24, 36, 8) and set(r) <= set(bench.FIELDS) | {'fastai', 'device'}
    assert not bench.fits('TSRotate', 'Adiac')
    got = bench.cost(1, (4, 3, 20), 'cpu')
    assert {o['config'] for o in got} == {*bench.SINGLE, 'TSRandomScale + TSWindowWarp', 'RandAugment'} and all(o['us'] >= 0 for o in got)
