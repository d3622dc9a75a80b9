"S4D, TCN and OmniScaleCNN beside literal forms: a recurrence in complex numbers, sums over steps, a convolution for each size"
import copy, math, pickle

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tsfast.models.omniscale import OmniScaleCNN, OmniScaleConv, prime_sizes
from tsfast.models.s4d import S4D, DiagonalSSM, long_conv
from tsfast.models.tcn import TCN, CausalConv1d
from tsfast.models.utils import count_parameters
from helpers_models import sizes_of

B, C, L = 5, 3, 40
S4D_SMALL, TCN_SMALL = dict(d_model=8, n_layers=2, d_state=8, dropout=0.), dict(layers=[6]*3, ks=3)


def series(n=B, c=C, length=L, seed=0): return torch.randn(n, c, length, generator=torch.Generator().manual_seed(seed))

def seeded(cls, *args, **kwargs):
    "What starts from 0, such as differences from initial values, is random"
    torch.manual_seed(0)
    m = cls(*args, **kwargs)
    for p in m.parameters():
        if not p.any(): torch.nn.init.normal_(p, std=0.3)
    return m

def numpy(t): return t.detach().double().numpy()

def padding(lengths, length=L): return torch.arange(length) >= torch.tensor(lengths)[:, None]

def check_grads(f, g, inputs, tol=1e-3):
    "Outputs and gradients of two forms"
    a, b = f(), g()
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    w = torch.randn(a.shape, generator=torch.Generator().manual_seed(1))
    for u, v in zip(*(torch.autograd.grad((o*w).sum(), inputs) for o in (a, b))): torch.testing.assert_close(u, v, atol=tol, rtol=tol)


# ---------------------------------------------------------------- S4D

def state_space(ssm):
    "A, Δ, C, D of a layer, in float64 and complex128"
    dt, A = np.exp(numpy(ssm.log_dt())), -np.exp(numpy(ssm.log_decay())) + 1j*numpy(ssm.freq())
    return A, dt, numpy(ssm.C)[..., 0] + 1j*numpy(ssm.C)[..., 1], numpy(ssm.D)

def recurrence(ssm, u):
    "x_{k+1} = A_bar x_k + B_bar u_k, with a zero-order hold: one series, one feature, one state, one step after the other"
    A, dt, C, D = state_space(ssm)
    y = np.zeros(u.shape)
    for b in range(u.shape[0]):
        for h in range(u.shape[1]):
            for n in range(A.shape[1]):
                a_bar = np.exp(dt[h, 0]*A[h, n])
                b_bar, x = (a_bar - 1)/A[h, n], 0j
                for k in range(u.shape[2]):
                    x = a_bar*x + b_bar*u[b, h, k]
                    y[b, h, k] += 2*(C[h, n]*x).real
            y[b, h] += D[h]*u[b, h]
    return y

@pytest.mark.parametrize('length', [1, 2, 3, 17, 200])
def test_recurrence(length):
    ssm, u = seeded(DiagonalSSM, 3, 8), series(2, 3, length)
    np.testing.assert_allclose(numpy(ssm(u)), recurrence(ssm, u.double().numpy()), atol=1e-4, rtol=1e-4)

def kernel(ssm, length):
    "The formula, as one table of features, states and steps"
    A, dt, C, _ = state_space(ssm)
    return 2*(C[..., None]*((np.exp(dt*A) - 1)/A)[..., None]*np.exp((dt*A)[..., None]*np.arange(length))).sum(1).real

@pytest.mark.parametrize('length', [1, 5, 64, 65, 5000])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_kernel(length, dtype):
    "In float32 angles of thousands of turns lose digits, of values that have faded"
    ssm = seeded(DiagonalSSM, 6, 64).to(dtype)
    want, got = kernel(ssm, length), ssm.kernel(length)
    assert got.dtype == dtype and got.shape == (6, length)
    np.testing.assert_allclose(numpy(got), want, atol=(1e-4 if dtype == torch.float32 else 1e-12)*np.abs(want).max())

def test_kernel_of_small_steps():
    "The difference e^ΔA - 1 keeps its digits"
    ssm = DiagonalSSM(4, 2, dt_range=(1e-6, 1e-5))
    np.testing.assert_allclose(numpy(ssm.kernel(10)), kernel(ssm, 10), rtol=1e-5)

def test_initial_values():
    torch.manual_seed(0)
    ssm = DiagonalSSM(2000, 64)
    A, dt, C, _ = state_space(ssm)
    np.testing.assert_allclose(A, np.broadcast_to(-.5 + 1j*np.pi*np.arange(32), A.shape), rtol=1e-6)
    assert dt.shape == (2000, 1) and 1e-3 <= dt.min() < 1.1e-3 and .09 < dt.max() <= .1 + 1e-6
    assert abs(np.log10(dt).mean() + 2) < .05 and abs((np.abs(C)**2).mean() - 1) < .02

@pytest.mark.parametrize('length', [1, 2, 7, 100, 1009])
def test_long_convolution(length):
    u, k = series(2, 4, length).requires_grad_(), series(1, 4, length, seed=1)[0].requires_grad_()
    literal = lambda: F.conv1d(F.pad(u, (length - 1, 0)), k.flip(1).unsqueeze(1), groups=4)
    check_grads(lambda: long_conv(u, k), literal, (u, k))
    assert long_conv(u[:0], k).shape == (0, 4, length)

def test_derivatives_of_the_long_convolution():
    u, k = series(2, 2, 9).double().requires_grad_(), series(1, 2, 9, seed=1)[0].double().requires_grad_()
    assert torch.autograd.gradcheck(long_conv, (u, k)) and torch.autograd.gradgradcheck(long_conv, (u, k))
    each = torch.func.vmap(torch.func.grad(lambda k, u: long_conv(u[None], k).square().sum()), (None, 0))(k.detach(), u.detach())
    for i, g in enumerate(each): torch.testing.assert_close(g, torch.autograd.grad(long_conv(u[i:i+1], k).square().sum(), k)[0])

def test_no_table_of_features_states_and_steps():
    "Forward and backward, no tensor has more than a few numbers for each feature and step, and what is kept grows with the length"
    m, x = S4D(1, 2, n_layers=1), series(2, 1, 4000)
    sizes = sizes_of(lambda: m(x).sum().backward())
    assert max(sizes) <= 2*64*2*4400 and 64*32*4000 > 10*max(sizes)/2.5
    kept = {}
    def keep(t): s = t.untyped_storage(); kept[s.data_ptr()] = s.nbytes(); return t
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t): m(x)
    assert sum(kept.values()) < 4*16*2*64*4000

def literal_s4d(m, x):
    z = F.linear(x.transpose(1, 2), m.proj.weight, m.proj.bias)                             # (B, L, d_model)
    for o in m.blocks:
        k = torch.as_tensor(kernel(o.ssm, x.shape[-1])).float()
        y = torch.stack([sum(k[:, l]*z[:, t - l] for l in range(t + 1)) for t in range(x.shape[-1])], 1) + o.ssm.D*z
        y = F.linear(F.gelu(y), o.mix.weight, o.mix.bias)
        a, b = y.chunk(2, -1)
        z = z + a*torch.sigmoid(b)
        z = (z - z.mean(-1, keepdim=True))/(z.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()*o.norm.weight + o.norm.bias
    return F.linear(z.mean(1), m.head.weight, m.head.bias)

def test_literal_s4d():
    m, x = seeded(S4D, C, 4, **S4D_SMALL), series()
    torch.testing.assert_close(m(x), literal_s4d(m, x), atol=1e-4, rtol=1e-4)

@pytest.mark.parametrize('c,k,h,n,layers', [(1, 2, 64, 64, 4), (9, 5, 16, 8, 2), (3, 3, 32, 2, 1)])
def test_size_of_s4d(c, k, h, n, layers):
    block = h + 3*h*n//2 + h*n//2 + h + (2*h*h + 2*h) + 2*h
    assert count_parameters(S4D(c, k, d_model=h, n_layers=layers, d_state=n)) == c*h + h + layers*block + h*k + k

def test_slow_parameters():
    "A step of Adam moves them a tenth as far as the others, and weight decay draws them to their initial values"
    m = DiagonalSSM(4, 8)
    before = {k: getattr(m, k)().detach().clone() for k in ('log_dt', 'log_decay', 'freq')} | dict(C=m.C.detach().clone())
    opt = torch.optim.Adam(m.parameters(), 1e-2)
    m(series(2, 4, 50)).square().sum().backward(); opt.step()
    for k in ('log_dt', 'log_decay', 'freq'):
        moved = (getattr(m, k)() - before[k]).abs().max().item()
        assert moved == pytest.approx(1e-3, rel=1e-2)
    assert (m.C - before['C']).abs().max().item() == pytest.approx(1e-2, rel=1e-2)
    with torch.no_grad():
        for p in m.parameters(): p.zero_()
    for k in ('log_dt', 'log_decay', 'freq'): assert torch.equal(getattr(m, k)(), before[k])

def test_weights_in_a_state():
    "What was drawn is in the state; nothing in it is complex"
    a, b = S4D(C, 2, **S4D_SMALL).eval(), S4D(C, 2, **S4D_SMALL).eval()
    b.load_state_dict(a.state_dict())
    assert torch.equal(a(series()), b(series())) and not any(t.is_complex() for t in a.state_dict().values())

@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_of_s4d(dtype):
    "Kernel and transforms are computed in float32"
    m, x = S4D(C, 2, **S4D_SMALL).eval(), series()
    with torch.no_grad():
        want, got = m(x), copy.deepcopy(m).to(dtype)(x.to(dtype))
        assert got.dtype == dtype
        torch.testing.assert_close(got.float(), want, atol=.1, rtol=.1)

def test_autocast_of_s4d():
    m, x, seen = S4D(C, 2, **S4D_SMALL), series(), []
    m.blocks[1].ssm.register_forward_hook(lambda l, i, o: seen.append((i[0].dtype, o.dtype)))
    with torch.autocast('cpu', torch.bfloat16): out = m(x)
    out.float().sum().backward()
    torch.testing.assert_close(out.float(), m(x), atol=.05, rtol=.05)
    assert all(p.grad.isfinite().all() and p.grad.dtype == torch.float32 for p in m.parameters())
    ssm, u = DiagonalSSM(4, 8), series(2, 4, 30)
    with torch.autocast('cpu', torch.bfloat16): inside = ssm(u)
    assert torch.equal(inside, ssm(u))

@pytest.mark.parametrize('length,masks', [(40, True), (301, False)])
def test_exported_s4d(length, masks):
    "No Fourier transform and no complex number; equal outputs"
    m, x = seeded(S4D, C, 2, mask_padding=masks, **S4D_SMALL).eval(), series(length=length)
    if masks: x = x.masked_fill(padding([40, 9, 13, 1, 39])[:, None], torch.nan)
    program = torch.export.export(m, (x,), dynamic_shapes=({0: torch.export.Dim('batch', min=1, max=64)},))
    assert not any('fft' in str(o.target) or 'complex' in str(o.meta.get('val')) for o in program.graph.nodes)
    with torch.no_grad(): torch.testing.assert_close(program.module()(x), m(x), atol=1e-5, rtol=1e-5)
    traced = torch.jit.trace(m, x)
    assert 'fft' not in str(traced.inlined_graph)
    with torch.no_grad(): torch.testing.assert_close(traced(x), m(x), atol=1e-5, rtol=1e-5)

@pytest.mark.filterwarnings('ignore:.*should not be instantiated:DeprecationWarning')    # what torch's compiler itself does
def test_compiled_s4d():
    "`torch.compile` keeps the Fourier transforms"
    m, x, found = S4D(C, 2, **S4D_SMALL), series(), []
    def look(graph, inputs): found.extend(str(o.target) for o in graph.graph.nodes); return graph
    torch.testing.assert_close(torch.compile(m, backend=look)(x), m(x), atol=1e-5, rtol=1e-5)
    torch._dynamo.reset()
    assert not any('conv1d' in o for o in found)


# ---------------------------------------------------------------- TCN

def weights(conv):
    v = numpy(conv.weight)
    return torch.as_tensor(v/np.sqrt((v**2).sum((1, 2), keepdims=True))*numpy(conv.g)).float()

def literal_conv(conv, x, dilation):
    "A sum over the steps of the kernel, the last of which is the present one"
    w, ks = weights(conv), conv.kernel_size[0]
    y = torch.zeros(len(x), len(w), x.shape[-1])
    for t in range(x.shape[-1]):
        for i in range(ks):
            at = t - (ks - 1 - i)*dilation
            if at >= 0: y[..., t] += x[..., at] @ w[..., i].T
    return y + conv.bias[:, None]

def literal_tcn(m, x):
    for i, o in enumerate(m.tcn):
        y = literal_conv(o.net[0], x, 2**i).relu()
        y = literal_conv(o.net[3], y, 2**i).relu()
        mix = None if isinstance(o.downsample, torch.nn.Identity) else o.downsample
        x = (y + (x if mix is None else mix.weight[..., 0] @ x + mix.bias[:, None])).relu()
    return F.linear(x.mean(-1), m.head.weight, m.head.bias)

@pytest.mark.parametrize('layers,ks', [([6, 6, 6], 3), ([4, 8], 2), ([5], 1), ([4]*4, 8)])
def test_literal_tcn(layers, ks):
    m, x = seeded(TCN, C, 4, layers=layers, ks=ks), series()
    for p in m.parameters(): p.data += .1*torch.randn_like(p)
    with torch.no_grad(): torch.testing.assert_close(m(x), literal_tcn(m, x), atol=1e-4, rtol=1e-4)

@pytest.mark.parametrize('ni,nf,shape', [(3, 6, (5, 3, 40)), (16, 25, (16, 16, 60)), (25, 25, (1, 25, 300)), (25, 25, (16, 25, 10))])
@pytest.mark.parametrize('layout', ['usual', 'last'])
def test_weight_normalisation(ni, nf, shape, layout):
    "As torch's, in values and gradients, whatever the layout of the input"
    torch.manual_seed(0)
    conv, x = CausalConv1d(ni, nf, 7, dilation=4), series(*shape)
    conv.g.data *= torch.rand_like(conv.g) + .5
    if layout == 'last': x = x.transpose(1, 2).contiguous().transpose(1, 2)
    x = x.requires_grad_()
    torchs = lambda: F.conv1d(F.pad(x, (24, 0)), torch._weight_norm(conv.weight, conv.g, 0), conv.bias, dilation=4)
    check_grads(lambda: conv(x), torchs, (x, conv.weight, conv.g, conv.bias), tol=5e-3)

@pytest.mark.parametrize('c,k,of_tsai', [(1, 2, 66_702), (3, 5, 67_180), (6, 4, 67_754)])
def test_size_of_tcn(c, k, of_tsai): assert count_parameters(TCN(c, k)) == of_tsai      # tsai 1.0.1

@pytest.mark.parametrize('n,ks', [(8, 7), (3, 2), (1, 5)])
def test_receptive_field(n, ks):
    "1 + 2 (ks - 1)(2^n - 1) steps, of which the last is the present one"
    r = 1 + 2*(ks - 1)*(2**n - 1)
    m, x = TCN(1, 2, layers=[4]*n, ks=ks).double(), series(1, 1, r + 20).double().requires_grad_()
    with torch.no_grad():
        for p in m.parameters(): p.abs_()          # no path is closed by a ReLU
    g, = torch.autograd.grad(m.forward_features(x.abs())[..., -11].sum(), x)
    assert g.flatten().nonzero().flatten().tolist()[::max(1, ks - 1)][0] == r + 20 - 11 - (r - 1) and not g[..., -10:].any()

def test_pickled_tcn():
    m = TCN(C, 2, **TCN_SMALL).eval()
    for o in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))): assert torch.equal(o(series()), m(series()))


# ---------------------------------------------------------------- padding of the causal networks

@pytest.mark.parametrize('cls,kwargs', [(S4D, S4D_SMALL), (TCN, TCN_SMALL)], ids=['S4D', 'TCN'])
def test_padded_series(cls, kwargs):
    "A padded series gives what it gives alone, in values and gradients, whatever stands in the padding"
    m, x, lengths = seeded(cls, C, 4, mask_padding=True, **kwargs), series(), [40, 2, 13, 39, 1]
    padded = x.masked_fill(padding(lengths)[:, None], torch.nan)
    alone = lambda: torch.cat([m(x[i:i+1, :, :n]) for i, n in enumerate(lengths)])
    check_grads(lambda: m(padded), alone, list(m.parameters()))
    for value in (0., 1e3, math.nan): assert torch.equal(m(x.masked_fill(padding(lengths)[:, None], value), padding(lengths)), m(padded))
    assert not m.forward_features(padded).masked_select(padding(lengths)[:, None]).any()

@pytest.mark.parametrize('cls,kwargs', [(S4D, S4D_SMALL), (TCN, TCN_SMALL), (OmniScaleCNN, dict(seq_len=L))])
@pytest.mark.parametrize('length', [1, 7, 300])
def test_other_lengths(cls, kwargs, length):
    m = cls(C, 4, **kwargs).eval()
    assert m(series(length=length)).shape == (B, 4) and m.forward_features(series(length=length)).shape == (B, m.head_nf, length)


# ---------------------------------------------------------------- OmniScaleCNN

def test_prime_sizes():
    for most in range(60):
        assert prime_sizes(most) == [1] + [p for p in range(2, most + 1) if not any(p % q == 0 for q in range(2, p))]

def literal_omni(m, x):
    "A convolution for each size, and normalisation over the batch"
    for conv, bn, _ in m.net:
        maps = []
        for i, ks in enumerate(conv.kss):
            w, b = getattr(conv, f'weight_{ks}'), conv.bias[i*conv.nf:(i + 1)*conv.nf]
            assert w.shape == (conv.nf, x.shape[1], ks)
            maps.append(F.conv1d(F.pad(x, ((ks - 1)//2, ks//2)), w, b))
        z = torch.cat(maps, 1)
        z = (z - z.mean((0, 2), keepdim=True))/(z.var((0, 2), keepdim=True, correction=0) + bn.eps).sqrt()
        x = (z*bn.weight[:, None] + bn.bias[:, None]).relu()
    return F.linear(x.mean(-1), m.fc.weight, m.fc.bias)

@pytest.mark.parametrize('seq_len,kwargs', [(40, {}), (40, dict(max_ks=4)), (9, {}), (40, dict(layers=[200, 3000, 5000]))], ids=str)
def test_literal_omniscale(seq_len, kwargs):
    m, x = seeded(OmniScaleCNN, C, 4, seq_len, **kwargs), series(length=seq_len)
    torch.testing.assert_close(m.train()(x), literal_omni(m, x), atol=1e-3, rtol=1e-3)

@pytest.mark.parametrize('kss', [[1], [1, 2], [2], [1, 2, 3, 5, 7], [4, 9]], ids=str)
def test_kernels_of_many_sizes(kss):
    torch.manual_seed(0)
    conv, x = OmniScaleConv(4, 3, kss), series(16, 4, 50).requires_grad_()
    each = lambda: torch.cat([F.conv1d(F.pad(x, ((k - 1)//2, k//2)), getattr(conv, f'weight_{k}'), b)
                              for k, b in zip(kss, conv.bias.split(3))], 1)
    check_grads(lambda: conv(x), each, [x, *conv.parameters()], tol=5e-3)
    for k in kss: assert getattr(conv, f'weight_{k}').abs().max() <= 1/math.sqrt(4*k) + 1e-6     # torch's own initial values

# of tsai 1.0.1; in_channels, filters and sizes of its layers, too
@pytest.mark.parametrize('args,n,layers', [
    ((1, 2, 24), 485_669, [(1, 93, 4), (372, 56, 4), (224, 372, 2)]), ((3, 5, 50), 684_248, [(3, 11, 6), (66, 119, 6), (714, 210, 2)]),
    ((6, 4, 100), 919_120, [(6, 1, 10), (10, 227, 10), (2270, 100, 2)]),
    ((30, 4, 100), 921_544, [(30, 1, 10), (10, 227, 10), (2270, 100, 2)]),
    ((1, 2, 140), 272_084, [(1, 6, 12), (72, 19, 12), (228, 72, 2)]), ((1, 2, 500), 211_559, [(1, 1, 31), (31, 4, 31), (124, 31, 2)]),
    ((1, 2, 1500), 955_917, [(1, 1, 75), (75, 1, 75), (75, 75, 2)])], ids=str)
def test_size_of_omniscale(args, n, layers):
    m = OmniScaleCNN(*args)
    assert count_parameters(m) == n and [(o[0].in_channels, o[0].nf, len(o[0].kss)) for o in m.net] == layers

@pytest.mark.parametrize('layers', [(), (0, 8), (-5, 10)])
def test_omniscale_refuses_layers_without_weights(layers):
    with pytest.raises(ValueError, match='at least one layer|whole numbers from 1 up'): OmniScaleCNN(2, 3, 24, layers)
