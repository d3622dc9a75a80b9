"Hydra: equal to a literal reference, with all of its state in buffers"
import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifierCV
from torch.overrides import TorchFunctionMode

from helpers_models import assert_features_agree, series
from tsfast.models import hydra
from tsfast.models.hydra import HydraBackbonePlus, HydraPlus, SparseScaler
from tsfast.models.ridge import fit_ridge_head
from tsfast.models.utils import count_parameters


def literal(m, x):
    "The paper's transform, one response at a time, in float64: features, and how near each group's closest contest was"
    w, ch, x = m.weight.double().numpy(), m.channels.bool().numpy(), x.double().numpy()
    out, gap = np.zeros((len(x), len(m.dilations), 2, m.g, m.k)), np.full((len(x), len(m.dilations), 2, m.g), np.inf)
    for n in range(len(x)):
        for i, d in enumerate(m.dilations):
            for g in range(m.g):
                s = (x[n] if g < m.n_raw else np.diff(x[n]))[ch[i, g]].sum(0)
                p = np.concatenate([np.zeros(4*d), s, np.zeros(4*d)])
                for t in range(len(s)):
                    z = [sum(w[i, g, k, j] * p[t + j*d] for j in range(9)) for k in range(m.k)]
                    out[n, i, 0, g, int(np.argmax(z))] += max(z)
                    out[n, i, 1, g, int(np.argmin(z))] += 1
                    o = np.sort(z)
                    if m.k > 1: gap[n, i, :, g] = np.minimum(gap[n, i, :, g], [o[-1] - o[-2], o[1] - o[0]])
    return np.maximum(out, 0) if m.clip else out, gap


@pytest.mark.parametrize('backend', ['numba', 'torch'])
@pytest.mark.parametrize('c_in,L,kw', [(1, 9, {}), (1, 33, {}), (1, 50, dict(k=3, g=5)), (3, 40, dict(clip=False)),
    (6, 25, dict(use_diff=False)), (5, 17, dict(max_c_in=1, k=1, g=1))])
def test_equals_the_literal_reference(backend, c_in, L, kw):
    kw = dict(k=4, g=4) | kw
    m, x = HydraBackbonePlus(c_in, 2, L, random_state=1, backend=backend, **kw), series(3, c_in, L)
    z, (ref, gap) = m(x).view(3, -1, 2, m.g, m.k).double().numpy(), literal(m, x)
    # a contest that rounding could decide otherwise may; there is hardly any
    clear = gap > 1e-5
    assert clear.mean() > 0.98
    np.testing.assert_allclose(z[clear], ref[clear], rtol=1e-4, atol=1e-4)


def test_kernels_are_those_of_the_paper():
    m = HydraBackbonePlus(1, 2, 200, random_state=0)
    torch.testing.assert_close(m.weight.sum(-1), torch.zeros(m.weight.shape[:-1]), atol=1e-6, rtol=0)
    torch.testing.assert_close(m.weight.abs().sum(-1), torch.ones(m.weight.shape[:-1]))
    assert m.dilations == (1, 2, 4, 8, 16) and m.num_features == 5*2*64*8
    assert HydraBackbonePlus(1, 2, 9).dilations == (1,) and HydraBackbonePlus(1, 2, 17).dilations == (1, 2)


@pytest.mark.parametrize('c_in,max_c_in,n', [(1, 8, 1), (2, 8, 2), (3, 8, 2), (12, 8, 6), (40, 8, 8), (12, 3, 3)])
def test_groups_add_up_distinct_channels(c_in, max_c_in, n):
    ch = HydraBackbonePlus(c_in, 2, 20, max_c_in=max_c_in).channels
    assert set(ch.unique().tolist()) <= {0., 1.} and (ch.sum(-1) == n).all()


def test_parameter_counts():
    assert count_parameters(HydraPlus(3, 4, 100)) == 24580
    assert count_parameters(HydraPlus(3, 4, 100, use_bn=False)) == 4096*4 + 4
    assert count_parameters(HydraPlus(3, 4, 100, use_diff=False)) == 24580


def test_every_argument_has_an_effect():
    x = series(4, 5, 40)
    def z(**kw): return HydraPlus(5, 3, 40, **(dict(random_state=0, g=8) | kw)).backbone(x)
    base = z()
    assert torch.equal(base, z())
    assert z(k=4).shape[1] == base.shape[1] // 2 and z(g=4).shape[1] == base.shape[1] // 2
    for kw in (dict(use_diff=False), dict(max_c_in=1), dict(random_state=1)): assert not torch.equal(z(**kw), base), kw
    raw = z(clip=False, k=2)
    assert raw.min() < 0 and torch.equal(raw.clamp_min(0), z(k=2))
    assert (HydraPlus(5, 3, 40, zero_init=False).head[-1].weight != 0).any() and not HydraPlus(5, 3, 40).head[-1].weight.any()
    assert any(isinstance(o, torch.nn.Dropout) and o.p == 0.3 for o in HydraPlus(5, 3, 40, fc_dropout=0.3).modules())
    assert not torch.equal(HydraPlus(5, 3, 40, g=8, random_state=0, sparse_scale=False).forward_features(x),
        HydraPlus(5, 3, 40, g=8, random_state=0).forward_features(x))
    assert HydraPlus(5, 3, 40, device='meta').backbone.weight.device.type == 'meta'


def test_global_generators_are_left_alone():
    torch.manual_seed(0); np.random.seed(0)
    t, n = torch.get_rng_state(), np.random.get_state()[1].copy()
    a, b = (HydraPlus(2, 2, 30, random_state=3, zero_init=False) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), t) and (np.random.get_state()[1] == n).all()
    for k, v in a.state_dict().items(): assert torch.equal(b.state_dict()[k], v)
    torch.manual_seed(5); a = HydraBackbonePlus(1, 2, 30)
    torch.manual_seed(5); b, c = HydraBackbonePlus(1, 2, 30), HydraBackbonePlus(1, 2, 30)
    assert torch.equal(a.weight, b.weight) and not torch.equal(b.weight, c.weight)


def test_any_batch_any_number_of_threads():
    x, m = series(37, 2, 60), HydraPlus(2, 3, 60, random_state=0, zero_init=False, g=16).fit(series(20, 2, 60, seed=1)).eval()
    ref, threads = m.backbone(x), torch.get_num_threads()
    for bs in (1, 5, 16, 36): assert_features_agree(torch.cat([m.backbone(o) for o in x.split(bs)]), ref)
    try: torch.set_num_threads(3); assert_features_agree(m.backbone(x), ref)
    finally: torch.set_num_threads(threads)
    assert m(x[:0]).shape == (0, 3)
    view = series(37, 60, 2).transpose(1, 2)                # not contiguous
    assert torch.equal(m.backbone(view), m.backbone(view.contiguous()))


class TF32(TorchFunctionMode):
    "Convolutions and matrix products of float32 as a GPU may compute them: from numbers of 10 bits"
    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (torch.conv1d, torch.Tensor.__matmul__, torch.matmul):
            args = [self.round(o) if isinstance(o, torch.Tensor) else o for o in args]
        return func(*args, **kwargs or {})
    def round(self, x): return ((x.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32) if x.dtype == torch.float32 else x


@pytest.mark.parametrize('c_in', [1, 12])
def test_no_tf32_on_a_gpu(monkeypatch, c_in):
    "What runs on CUDA, here on the CPU, where TF32 stands in for float32: the features are those of the CPU"
    m, x = HydraBackbonePlus(c_in, 2, 100, random_state=0, g=16), series(20, c_in, 100)
    ref = m(x)
    m.backend = 'torch'
    with TF32(), pytest.raises(AssertionError, match='features differ'): assert_features_agree(m(x), ref, tol=1e-4, most=2e-3)
    monkeypatch.setattr(hydra, '_response_dtype', lambda x: torch.float64)
    with TF32(): assert_features_agree(m(x), ref, tol=1e-4, most=2e-3)


def test_response_dtype():
    class OnCUDA: device, dtype = torch.device('cuda'), torch.float32
    assert hydra._response_dtype(OnCUDA) == torch.float64 and hydra._response_dtype(torch.zeros(1)) == torch.float32
    assert hydra._response_dtype(torch.zeros(1).double()) == torch.float64


def test_memory_is_bounded(monkeypatch):
    m, sizes, counts = HydraBackbonePlus(1, 2, 16, random_state=0, backend='torch'), [], HydraBackbonePlus.counts
    monkeypatch.setattr(HydraBackbonePlus, 'counts', lambda self, x: (sizes.append(len(x)), counts(self, x))[1])
    x = series(300, 1, 16)
    z = m(x)
    # responses of a chunk: series * groups * kernels * steps * 4 bytes
    assert sum(sizes) == 300 and len(sizes) > 1 and max(sizes) * 64*8*16*4 <= 2**22
    monkeypatch.undo()
    assert_features_agree(z, m.counts(x).flatten(1).clamp_min(0), tol=1e-4)


def test_strange_series():
    m = HydraPlus(1, 2, 30, random_state=0, g=8).fit(series(10, 1, 30))
    for backend in ('numba', 'torch'):
        m.backbone.backend = backend
        z = m.backbone(torch.stack([torch.zeros(1, 30), torch.full((1, 30), 5.), torch.full((1, 30), 1e6)]))
        assert torch.isfinite(z).all() and z[0].view(-1, 2, 8, 8)[:, 0].abs().max() == 0
        gap = series(2, 1, 30); gap[0, 0, 3] = float('nan')
        z = m.backbone(gap)
        # a gap is seen in the output, and only in that of its own series
        assert z[0].isnan().any() and z[1].isfinite().all() and m(gap)[0].isnan().any()


def test_gradients_reach_the_series():
    m, x = HydraPlus(2, 3, 30, random_state=0, g=8, zero_init=False).fit(series(20, 2, 30)), series(4, 2, 30).requires_grad_()
    m(x).square().sum().backward()
    assert torch.isfinite(x.grad).all() and x.grad.abs().max() > 0
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in m.parameters())


def test_sparse_scaler_literally():
    z = torch.poisson(torch.full((40, 6), 2.), generator=torch.Generator().manual_seed(0)) * torch.tensor([1, 1, 1, 0, 1, 1.])
    z[:, 4] = 3.; z[1:, 5] = 0.
    s = SparseScaler(6).fit(z.split(7))
    r = z.double().sqrt()
    sd = r.std(0) + (z == 0).double().mean(0)**4
    for j in (0, 1, 2, 5):
        torch.testing.assert_close(s(z)[:, j].double(), torch.where(z[:, j] == 0, 0., (r[:, j] - r[:, j].mean()) / sd[j]),
            atol=1e-5, rtol=1e-5)
    assert s(z)[:, 3].abs().max() == 0 and s(z)[:, 4].abs().max() < 1e-6


def test_fit_takes_arrays_and_batches():
    x = series(30, 2, 40)
    a = HydraPlus(2, 3, 40, random_state=0, g=8).fit(x.numpy(), chunksize=7)
    b = HydraPlus(2, 3, 40, random_state=0, g=8)
    assert a.fitted and not b.fitted
    b.fit([(o, None) for o in x.split(4)])
    for k, v in a.state_dict().items(): torch.testing.assert_close(b.state_dict()[k], v, atol=1e-5, rtol=1e-5)
    z = a.head[0](a.forward_features(x))
    torch.testing.assert_close(z.mean(0), torch.zeros_like(z[0]), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match='only once'): b.fit(iter([x]))


def test_copies():
    x = series(20, 2, 40)
    m = HydraPlus(2, 3, 40, g=8, zero_init=False).fit(x).eval()
    with torch.no_grad(): ref = m(x)
    for o in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        assert o.fitted
        with torch.no_grad(): assert torch.equal(o(x), ref)


def test_double_and_half():
    x = series(20, 2, 40)
    m = HydraPlus(2, 3, 40, g=8, random_state=0, zero_init=False).fit(x).eval()
    with torch.no_grad():
        assert_features_agree(copy.deepcopy(m).double().backbone(x.double()), m.backbone(x), tol=1e-4)
        assert copy.deepcopy(m).double()(x.double()).isfinite().all()
        assert copy.deepcopy(m).half()(x.half()).dtype == torch.float16
        for m.backbone.backend in ('numba', 'torch'):
            ref = m.forward_features(x)
            with torch.autocast('cpu', dtype=torch.bfloat16): assert torch.equal(m.forward_features(x), ref)


def test_ridge_equals_scikit_learn():
    x, y = series(60, 1, 40), torch.arange(60) % 3
    x[y == 1] += torch.sin(torch.arange(40) / 2); x[y == 2] = x[y == 2].cumsum(-1)
    test, m = series(30, 1, 40, seed=1).cumsum(-1), HydraPlus(1, 3, 40, random_state=0)
    s = fit_ridge_head(m, [(x, y)], n_classes=3)
    ref = RidgeClassifierCV(alphas=np.logspace(-3, 3, 10)).fit(m.features(x, to_np=True).astype(float), y.numpy())
    assert s.alpha == pytest.approx(ref.alpha_)
    for train in (False, True):      # statistics are kept in training too, so training goes on from this very solution
        np.testing.assert_allclose(m.train(train)(test).detach(), ref.decision_function(m.features(test, to_np=True)), atol=1e-4)


def test_errors():
    with pytest.raises(ValueError, match='at least 9 steps'): HydraPlus(1, 2, 8)
    with pytest.raises(ValueError, match='20 steps'): HydraPlus(1, 2, 20)(torch.zeros(1, 1, 30))
    with pytest.raises(ValueError, match='at least 1'): HydraPlus(1, 2, 20, k=0)
    with pytest.raises(ValueError, match="'torch'"): HydraPlus(1, 2, 20, backend='jax')
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no device 'cuda'"): HydraPlus(1, 2, 20, device='cuda')
    with pytest.raises(ValueError, match='float32 series on the CPU'):
        HydraPlus(1, 2, 20, backend='numba').double()(torch.zeros(1, 1, 20).double())


@pytest.mark.parametrize('name,floor', [('GunPoint', 0.98), ('OSULeaf', 0.96)])
def test_accuracy_on_the_archive(ucr_path, name, floor):
    from tsfast.data.external import get_UCR_data
    X, y, X_test, y_test = get_UCR_data(name)
    vocab, y = np.unique(y, return_inverse=True)
    m = HydraPlus(X.shape[1], len(vocab), X.shape[2], random_state=0).eval()
    fit_ridge_head(m, [(torch.as_tensor(X), torch.as_tensor(y))], n_classes=len(vocab))
    with torch.no_grad(): assert (vocab[m(torch.as_tensor(X_test)).argmax(1)] == y_test).mean() >= floor
