"MiniRocket: equal to a literal form and to sktime, stateful, streamed"
import copy, os, pickle, subprocess, sys

import numpy as np
import pytest
import torch
from torch import nn

from helpers_models import assert_features_agree, literal_outputs, normal
from tsfast.models.minirocket import (MiniRocket, MiniRocketFeatures, MiniRocketHead, fit_dilations, get_minirocket_features,
    golden_quantiles, pick_backend)
from tsfast.models.multirocket import MultiRocketFeatures

BACKENDS = ['torch', 'numba']


def literal(X, m):
    "MiniRocket's features, and how near the nearest output lies to each bias"
    return [np.stack(o, 1) for o in zip(*(((c > 0).mean(1), np.abs(c).min(1)) for c in literal_outputs(X, m)))]


def assert_same(z, ref, gap, most=0.005):
    "Equal, but where an output lies within rounding of its bias"
    differs = np.abs(z - ref) > 1e-6
    assert differs.mean() <= most and (not differs.any() or gap[differs].max() < 1e-4), (differs.mean(), gap[differs].max())


@pytest.mark.parametrize('C,L', [(1, 9), (1, 10), (1, 11), (1, 17), (1, 60), (2, 9), (3, 25), (12, 40)])
def test_literal(C, L):
    X = normal(18, C, L)
    m = MiniRocketFeatures(C, L, 1000, random_state=0).fit(X[:10])
    ref, gap = literal(X, m)
    for m.backend in BACKENDS: assert_same(m(torch.from_numpy(X)).numpy(), ref, gap, most=0.002 if L > 9 else 0.005)


def test_backends_agree():
    for C, L in ((1, 30), (1, 200), (5, 45)):
        X = torch.from_numpy(normal(37, C, L))
        m = MiniRocketFeatures(C, L, random_state=0).fit(X)
        assert_features_agree(*[m(X) for m.backend in BACKENDS])


@pytest.mark.parametrize('C,L', [(1, 9), (1, 10), (1, 33), (1, 150), (2, 12), (6, 100)])
@pytest.mark.filterwarnings('ignore')
def test_sktime(C, L):
    from sktime.transformations import rocket
    X = normal(12, C, L)
    theirs = (rocket.MiniRocket if C == 1 else rocket.MiniRocketMultivariate)(random_state=0, n_jobs=1).fit(X)
    m = MiniRocketFeatures.from_parameters(C, L, theirs.parameters)
    ref = np.asarray(theirs.transform(X))
    for m.backend in BACKENDS:
        z = m(torch.from_numpy(X)).numpy()
        differs = np.abs(z - ref) > 1e-6     # sktime adds in another order: an output within rounding of a bias may fall on its other side
        assert differs.mean() < 1e-4
        if differs.any(): assert literal(X, m)[1][differs].max() < 1e-4


@pytest.mark.filterwarnings('ignore')
def test_sktime_biases():
    "With a single training series nothing is drawn, and the biases must be the same"
    from sktime.transformations.rocket import MiniRocket as Theirs
    for L in (9, 50, 128):
        X = normal(1, 1, L)
        theirs, m = Theirs().fit(X).parameters, MiniRocketFeatures(1, L).fit(X)
        assert theirs[0].tolist() == list(m.dilations) and theirs[1].tolist() == list(m.per_dilation)
        np.testing.assert_allclose(m.biases, theirs[2], atol=1e-5)
    with pytest.raises(ValueError, match="don't belong"): MiniRocketFeatures.from_parameters(1, 60, theirs)
    with pytest.raises(ValueError, match='3 arrays|parts'): MiniRocketFeatures.from_parameters(1, 128, theirs[:2])


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', ['ItalyPowerDemand', 'ArrowHead', 'BasicMotions'])
def test_real_data(name):
    "Real series are rounded and repeat themselves, so outputs meet their biases; every difference is such a tie"
    from sktime.datasets import load_UCR_UEA_dataset
    from sktime.transformations import rocket
    X = load_UCR_UEA_dataset(name, split='train', return_X_y=True, return_type='numpy3d')[0][:16].astype(np.float32)
    theirs = (rocket.MiniRocket if X.shape[1] == 1 else rocket.MiniRocketMultivariate)(random_state=0, n_jobs=1).fit(X)
    m = MiniRocketFeatures.from_parameters(*X.shape[1:], theirs.parameters)
    ref, gap = literal(X, m)
    size = 9 * np.abs(X).max()
    for m.backend in BACKENDS:
        z = m(torch.from_numpy(X)).numpy()
        for other in (ref, np.asarray(theirs.transform(X))):
            differs = np.abs(z - other) > 1e-6
            assert differs.mean() <= 0.005
            assert not differs.any() or gap[differs].max() < 1e-5 * size


def test_quantiles_run_once():
    "One sequence over all features: each kernel's biases come from other quantiles"
    q = golden_quantiles(9996)
    assert len(np.unique(q)) == 9996 and abs(q.mean() - .5) < 1e-3
    X = normal(1, 1, 60)
    m = MiniRocketFeatures(1, 60).fit(X)
    d, per = m.dilations[1], m.per_dilation[1]
    xp = np.pad(X[0, 0].astype(np.float64), 4*d)
    c = sum((2 if j in (0, 1, 2) else -1) * xp[j*d:j*d + 60] for j in range(9))
    start = 84*m.per_dilation[0]
    np.testing.assert_allclose(m.biases[start:start + per], np.quantile(c, q[start:start + per].astype(np.float64)), atol=1e-5)


# ---------- fitting

def test_fit_takes_everything(tmp_path):
    X = normal(50, 2, 30)
    t = torch.from_numpy(X)
    np.save(tmp_path/'x.npy', X)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(t, torch.zeros(50)), batch_size=8)
    forms = [X, t, X.astype(np.float64), np.load(tmp_path/'x.npy', mmap_mode='r'), loader, list(t.split(7)),
        [(o, None) for o in t.split(20)]]
    ms = [MiniRocketFeatures(2, 30, random_state=3).fit(o, chunksize=c) for o, c in zip(forms, (None, 7, 50, 16, None, 3, 1000))]
    for m in ms: assert torch.equal(m.biases, ms[0].biases) and torch.equal(m.channels, ms[0].channels)
    assert not torch.equal(MiniRocketFeatures(2, 30, random_state=4).fit(X).biases, ms[0].biases)
    with pytest.raises(ValueError, match='only once'): MiniRocketFeatures(2, 30).fit(iter(loader))


def test_own_generators():
    state, np_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    X = normal(10, 1, 20)
    MiniRocketFeatures(1, 20, random_state=0).fit(X)(torch.from_numpy(X))
    assert torch.equal(state, torch.get_rng_state()) and (np_state == np.random.get_state()[1]).all()
    a, b = MiniRocketFeatures(4, 20), MiniRocketFeatures(4, 20)
    assert a.seed != b.seed


def test_errors():
    with pytest.raises(ValueError, match='at least 9'): MiniRocketFeatures(1, 8)
    with pytest.raises(ValueError, match='at least 9'): MiniRocket(1, 2, 8)
    with pytest.raises(ValueError, match='at least 84'): MiniRocketFeatures(1, 50, 83)
    with pytest.raises(ValueError, match='backend'): MiniRocketFeatures(1, 9, 84, backend='C').fit(normal(2, 1, 9))(torch.zeros(1, 1, 9))
    m = MiniRocketFeatures(1, 20, 84)
    with pytest.raises(ValueError, match='not fitted'): m(torch.zeros(1, 1, 20))
    with pytest.raises(ValueError, match='not fitted'): MiniRocket(1, 2, 20, 84).eval()(torch.zeros(1, 1, 20))
    with pytest.raises(ValueError, match='no series|no channels'): m.fit(np.zeros((0, 1, 20)))
    with pytest.raises(ValueError, match='built for series'): m.fit(normal(3, 1, 21))
    X = normal(5, 1, 20)
    for bad in (np.nan, np.inf):
        X[3, 0, 7] = bad
        with pytest.raises(ValueError, match='NaN or infinite'): m.fit(X)
    assert not m.fitted


def test_constant_series():
    X = np.ones((6, 1, 30), np.float32)
    m = MiniRocket(1, 2, 30, 500, random_state=0).fit(X)
    for m.backbone.backend in BACKENDS:
        z = m.features(X)
        assert z.isfinite().all() and z.min() >= 0 and z.max() <= 1
        assert m(torch.from_numpy(X)).isfinite().all() and (m.head[0](z).abs() < 1e-3).all()


def test_few_features_and_long_dilations():
    for kwargs in (dict(num_features=84), dict(num_features=200, max_dilations_per_kernel=1),
        dict(num_features=9996, max_dilations_per_kernel=119)):
        m = MiniRocketFeatures(1, 100, random_state=0, **kwargs).fit(normal(4, 1, 100))
        X = normal(3, 1, 100)
        ref, gap = literal(X, m)
        for m.backend in BACKENDS: assert_same(m(torch.from_numpy(X)).numpy(), ref, gap)
    assert max(fit_dilations(9)[0]) == 1


# ---------- state

def fitted(c_in=2, L=30, nf=1000, **kwargs):
    X = normal(20, c_in, L)
    return MiniRocket(c_in, 3, L, nf, random_state=0, **kwargs).fit(X), torch.from_numpy(X)


def with_weights(m):
    for p in m.parameters(): nn.init.normal_(p, std=.1)
    return m.eval()


def test_copies_and_dtypes():
    m, x = fitted(); with_weights(m)
    y = m(x).detach()
    for o in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))): assert o.fitted and torch.equal(o(x), y)
    d = copy.deepcopy(m).double()
    assert d(x.double()).dtype == torch.float64 and torch.allclose(d(x.double()).float(), y, atol=.05)
    h = copy.deepcopy(m).half()
    assert h.backbone.biases.dtype == torch.float32 and torch.equal(h.backbone.biases, m.backbone.biases)
    assert h.backbone(x.half()).dtype == torch.float16 and torch.allclose(
        h.backbone(x.half()).float(), m.backbone(x.half().float()), atol=1e-3)
    empty = m.backbone(x[:0]); assert empty.shape == (0, m.head_nf)


def test_an_unfitted_model_is_not_exported():
    with pytest.raises(ValueError): torch.export.export(MiniRocket(2, 3, 30, 200).eval(), (torch.zeros(5, 2, 30),))


def test_gradients():
    m, x = fitted()
    m(x).square().sum().backward()   # zero weights: no gradient yet for what lies behind them
    with_weights(m).train()(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in m.parameters())
    assert not m.backbone(x).requires_grad


# ---------- heads

def test_heads():
    m, x = fitted()
    assert torch.equal(m(x), torch.zeros(20, 3))
    z = m.head[0](m.features(x))
    moves = m.features(x).std(0) > .02   # below that, eps shows
    assert torch.allclose(z.mean(0), torch.zeros(m.head_nf), atol=1e-4) and torch.allclose(
        z.std(0)[moves], torch.ones(int(moves.sum())), atol=.02)
    assert torch.allclose(m(x[:1]), m.eval()(x[:1]))
    assert fitted(bn=False)[0].fitted and isinstance(fitted(bn=False)[0].head, nn.Linear)
    assert [type(o).__name__ for o in fitted(fc_dropout=.1)[0].head] == ['FeatureNorm', 'Dropout', 'Linear']
    assert fitted(d=(4, 5))[0](x).shape == (20, 4, 5, 3)
    y = with_weights(fitted(y_range=(0, 2))[0])(x); assert 0 <= y.min() and y.max() <= 2
    c, _ = fitted(custom_head=lambda nf, c_out, seq_len: nn.Linear(nf, 7))
    assert c.fitted and c(x).shape == (20, 7)
    assert m.reset_head(5).fitted and m(x).shape == (20, 5)
    assert MiniRocketHead(10, 3)(torch.randn(4, 10, 1)).shape == (4, 3) and MiniRocketHead(10, 3, 2)(torch.randn(4, 10, 2)).shape == (4, 3)


def test_get_features(tmp_path):
    m, x = fitted()
    a = get_minirocket_features(x, m, chunksize=6)
    assert a.shape == (20, m.head_nf, 1) and a.dtype == np.float32
    assert_features_agree(a[..., 0], m.features(x))
    np.save(tmp_path/'x.npy', x.numpy())
    b = get_minirocket_features(np.load(tmp_path/'x.npy', mmap_mode='r'), m.backbone, to_np=False, use_cuda=False)
    assert isinstance(b, torch.Tensor); assert_features_agree(a, b)
    assert_features_agree(a, get_minirocket_features(list(x.split(7)), m.backbone))


@pytest.mark.parametrize('use_cuda', [None, True])
def test_features_on_the_second_gpu(monkeypatch, use_cuda):
    "Series go to the device of the model, not to the current one"
    from types import SimpleNamespace
    from tsfast.models import minirocket
    class There(nn.Module):
        def buffers(self): return [SimpleNamespace(device=torch.device('cuda', 1))]
        def forward(self, x): return x.flatten(1)
    devices = []
    monkeypatch.setattr(minirocket, 'iter_chunks', lambda X, chunksize, device: (devices.append(device), iter([torch.from_numpy(X)]))[1])
    assert get_minirocket_features(normal(3, 1, 9), There(), use_cuda=use_cuda).shape == (3, 9, 1) and devices == [torch.device('cuda', 1)]


def test_memory_does_not_grow(tmp_path):
    "The peak above the result is the same for 4 times the series: one chunk is held at a time"
    code = '''if True:
        import numpy as np, resource, sys, torch
        from tsfast.models.minirocket import MiniRocketFeatures, get_minirocket_features
        m = MiniRocketFeatures(1, 400, 84, random_state=0).fit(np.random.default_rng(0).normal(size=(20, 1, 400)))
        X = np.lib.format.open_memmap(sys.argv[1], 'w+', np.float32, (40_000, 1, 400)); X[:] = 1; X.flush(); del X
        X = np.load(sys.argv[1], mmap_mode='r')
        def anonymous(): return int([l for l in open('/proc/self/status') if l.startswith('RssAnon')][0].split()[1]) // 1024
        get_minirocket_features(X[:100], m, chunksize=100)
        import threading; peak = [0]; stop = threading.Event()
        def watch():
            while not stop.wait(.002): peak[0] = max(peak[0], anonymous())
        base = anonymous(); t = threading.Thread(target=watch); t.start()
        get_minirocket_features(X, m, chunksize=500); stop.set(); t.join()
        out = 40_000*84*4 / 2**20
        print(peak[0] - base - out)'''
    if not sys.platform.startswith('linux'): pytest.skip('reads /proc')
    r = subprocess.run([sys.executable, '-c', code, str(tmp_path/'x.npy')], capture_output=True, text=True,
        env=os.environ | dict(PYTHONPATH=os.getcwd()))
    assert r.returncode == 0, r.stderr
    assert float(r.stdout) < 20, r.stdout   # MiB; the set itself has 61


# ---------- kernels

def test_triton():
    "Without a GPU in Triton's interpreter, in a process that is told so before Triton is imported; on a GPU as it is"
    pytest.importorskip('triton')
    code = """if True:
        import torch
        from tsfast.models.minirocket import MiniRocketFeatures
        gpu = torch.cuda.is_available()
        for C, L, n, nf in (((1, 136, 50, 9996), (6, 100, 50, 9996), (1, 1000, 20, 9996)) if gpu else ((1, 20, 1, 168), (3, 12, 1, 84))):
            x = torch.randn(n, C, L, generator=torch.Generator().manual_seed(0))
            m = MiniRocketFeatures(C, L, nf, random_state=0, backend='torch').fit(torch.cat([x, -x]))
            z = m(x)
            m.backend = 'triton'
            if gpu: m, x = m.cuda(), x.cuda()
            assert ((m(x).cpu() - z).abs() > 1e-5).float().mean() <= 1e-3   # of counts of comparisons, a few may be rounded otherwise"""
    env = os.environ | dict(PYTHONPATH=os.getcwd()) | ({} if torch.cuda.is_available() else dict(TRITON_INTERPRET='1'))
    subprocess.run([sys.executable, '-c', code], check=True, env=env)


def test_triton_launches_where_its_input_is(monkeypatch):
    "Triton launches on the current device, which is not always that of the input: launches happen inside of `torch.cuda.device_of(x)`"
    from contextlib import contextmanager
    from tsfast.models.kernels import rocket_cuda
    there, launched = [], []
    @contextmanager
    def device_of(x): there.append(x); yield; there.pop()
    class Kernel:
        def __getitem__(self, grid): return lambda x, out, *args, **kwargs: (out.zero_(), launched.append((grid, len(x), len(there))))
    for k, v in (('triton', object()), ('_ppv', Kernel())): monkeypatch.setattr(rocket_cuda, k, v)
    monkeypatch.setattr(torch.cuda, 'device_of', device_of)
    m, x = fitted(nf=84)
    b = m.backbone
    assert rocket_cuda.ppv_features(x, b.dilations, b.per_dilation, b.channels, b.biases).shape == (20, 84)
    assert launched == [((20*84*len(b.dilations),), 20, 1)]


def test_threads_agree():
    from tsfast.models.kernels.rocket_cpu import ppv_features
    m, x = fitted(c_in=3, L=50)
    b = m.backbone
    args = x.numpy()[:, :3].repeat(5, 0), b.dilations, b.per_dilation, b.channels.numpy(), b.biases.numpy()
    for t in (2, 3, 8): assert_features_agree(ppv_features(*args, threads=t), ppv_features(*args))


NO_CACHE = """if True:
    import numba.core.caching
    numba.core.caching.CacheImpl._locator_classes = []      # as where neither the package nor the home folder can be written
    import numpy as np, torch
    from tsfast.models import hydra, minirocket
    from tsfast.models.kernels.rocket_cpu import jit
    assert minirocket.pick_backend(torch.zeros(1, 1, 9)) == 'numba' and hydra._cpu_kernels() is not None
    @jit()
    def total(x):
        s = 0.
        for v in x: s += v
        return s
    assert total(np.arange(4.)) == 6 and not total.stats.cache_path"""


def test_numba_without_a_cache():
    subprocess.run([sys.executable, '-c', NO_CACHE], check=True, env=os.environ | dict(PYTHONPATH=os.getcwd()))


@pytest.fixture
def broken_kernels(monkeypatch):
    "numba is there, but the kernels cannot be loaded"
    from tsfast.models.feature_model import load_kernels
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name.startswith('tsfast.models.kernels.'): raise RuntimeError('numba does not work here')
    for k in [o for o in sys.modules if o.startswith('tsfast.models.kernels.')]: monkeypatch.delitem(sys.modules, k)
    monkeypatch.setattr(sys, 'meta_path', [Broken(), *sys.meta_path])
    load_kernels.cache_clear()
    yield
    load_kernels.cache_clear()


def test_plain_torch_serves_where_numba_does_not_work(broken_kernels):
    from tsfast.models.hydra import HydraBackbonePlus
    m, x = fitted(nf=200)
    assert pick_backend(x) == 'torch' and m(x).isfinite().all()
    assert HydraBackbonePlus(2, 2, 30, g=4)(x).isfinite().all()
    m.backbone.backend = 'numba'
    with pytest.raises(RuntimeError, match='does not work here'): m(x)     # asked for by name: the reason is shown


def test_backend_choice():
    x = torch.zeros(1, 1, 9)
    assert pick_backend(x) == 'numba' and pick_backend(x.double()) == 'torch' and pick_backend(x, 'torch') == 'torch'
    for backend, where in (('numba', 'the CPU'), ('triton', 'a CUDA GPU')):
        with pytest.raises(ValueError, match=f'takes float32 on {where}; this input is torch.float64 on cpu'):
            pick_backend(x.double(), backend)
    if not os.environ.get('TRITON_INTERPRET'):
        for make in (lambda: MiniRocketFeatures(1, 9, 84, backend='triton'), lambda: MultiRocketFeatures(1, 10, 672, backend='triton')):
            m = make(); m.fit(np.ones((2, 1, m.seq_len), np.float32))
            with pytest.raises(ValueError, match="backend='triton' takes float32 on a CUDA GPU.*'auto'"): m(torch.zeros(1, 1, m.seq_len))
    with pytest.raises(ValueError, match='Expected'): pick_backend(x, 'cuda')


def test_accuracy(ucr_path):
    "The page's online example: one epoch of one batch, and no longer chance"
    from sklearn.linear_model import RidgeClassifierCV
    def read(split):
        a = np.loadtxt(ucr_path/'ECGFiveDays'/f'ECGFiveDays_{split}.tsv')
        return torch.tensor(a[:, None, 1:], dtype=torch.float32), torch.tensor(a[:, 0] == 2).long()
    (X, y), (Xt, yt) = read('TRAIN'), read('TEST')
    m = MiniRocket(1, 2, 136, random_state=0).fit(X)
    z, zt = m.head[0](m.features(X)).detach(), m.head[0](m.features(Xt)).detach()
    assert RidgeClassifierCV(np.logspace(-3, 3, 10)).fit(z, y).score(zt, yt) > .98
    loss = nn.functional.cross_entropy(m(X), y)
    assert abs(loss.item() - np.log(2)) < 1e-6
    loss.backward(); torch.optim.AdamW(m.parameters(), lr=4e-4).step()
    # the page's offline example: .7526; online it was .5029
    with torch.no_grad(): assert (m.eval()(Xt).argmax(1) == yt).float().mean() > .73


@pytest.mark.parametrize('bad', [np.nan, np.inf])
@pytest.mark.parametrize('name', ['MiniRocket', 'MultiRocket', 'HydraPlus', 'MultiRocketHydra'])
def test_one_bad_series_is_refused(name, bad):
    "By all models with fixed features alike: it would spoil the statistics of every series"
    from tsfast.models.registry import build_ts_model
    X = np.random.default_rng(0).normal(size=(12, 2, 40)).astype(np.float32)
    gap = X.copy(); gap[7, 1, 3] = bad
    m, match = build_ts_model(name, 2, 3, 40), '1 of the series 5 to 9 have NaN or infinite'
    state = copy.deepcopy(m.state_dict())
    with pytest.raises(ValueError, match=match): m.fit(gap, chunksize=5)
    assert not m.fitted and all(torch.equal(v, state[k]) for k, v in m.state_dict().items())
    m.fit(X, chunksize=5)
    with pytest.raises(ValueError, match=match): m.features(gap, chunksize=5)
    with pytest.raises(ValueError, match=match): get_minirocket_features(gap, m, chunksize=5)
