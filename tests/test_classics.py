"Literal forms of the pieces of ResCNN and its neighbours, with weights that are written out; sizes; what they refuse"
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tsfast.models.gmlp import gMLP
from tsfast.models.mlp import MLP
from tsfast.models.mwdn import band_matrix, mWDN, wavelet_filters
from tsfast.models.rescnn import ResCNN
from tsfast.models.tsit import TSiT
from tsfast.models.tssequencer import TSSequencer
from tsfast.models.utils import count_parameters
from tsfast.models.xcm import XCM
from tsfast.models.xresnet1d import xresnet1d18, xresnet1d34, xresnet1d50

B, C, L = 5, 3, 40


def series(n=B, c=C, length=L, seed=0): return torch.randn(n, c, length, generator=torch.Generator().manual_seed(seed))

def seeded(make, seed=0):
    "A model whose normalisations are not where they start"
    torch.manual_seed(seed)
    m = make()
    for name, p in m.named_parameters():
        if p.ndim == 1: nn.init.normal_(p, mean=1. if name.endswith('weight') else 0., std=.3)
    for l in m.modules():
        if isinstance(l, nn.modules.batchnorm._BatchNorm): l.running_mean.normal_(); l.running_var.uniform_(.5, 2)
    return m.eval()

def bn(z, l):
    "Batch normalisation in evaluation, of channels in dimension 1"
    mean, var, w, b = (o.view(-1, *[1]*(z.ndim - 2)) for o in (l.running_mean, l.running_var, l.weight, l.bias))
    return (z - mean)/(var + l.eps).sqrt()*w + b

def close(a, b, tol=1e-4): torch.testing.assert_close(a, b, atol=tol, rtol=tol)


# ---------------------------------------------------------------- ResCNN

def test_rescnn():
    m, x = seeded(lambda: ResCNN(C, 4, nf=8)), series()
    z = x
    for i, (conv, norm, *_) in enumerate(m.block.convs):
        z = bn(F.conv1d(z, conv.weight, padding=(7, 5, 3)[i]//2), norm)
        if i < 2: z = z.clamp(min=0)
    conv, norm = m.block.shortcut
    z = (z + bn(F.conv1d(x, conv.weight), norm)).clamp(min=0)
    slope = m.convs[1][2].weight
    below = lambda z: .2*z, lambda z: slope*z, lambda z: .3*(z.exp() - 1)
    acts = [lambda z, f=f: torch.where(z > 0, z, f(z)) for f in below]
    for (conv, norm, _), act in zip(m.convs, acts): z = act(bn(F.conv1d(z, conv.weight, padding=1), norm))
    close(m(x), z.mean(-1) @ m.fc.weight.T + m.fc.bias)

def test_rescnn_positions():
    "Before each convolution, the shortcut's too"
    m, x = seeded(lambda: ResCNN(C, 4, coord=True, separable=True, nf=8)), series()
    position = lambda z: torch.cat([z, torch.linspace(-1, 1, L).expand(B, 1, L)], 1)
    def conv(z, l):
        coords, sep = l
        d, p = sep.depthwise_conv.weight, sep.pointwise_conv.weight
        return F.conv1d(F.conv1d(position(z), d, padding=d.shape[2]//2, groups=len(d)), p)
    z = x
    for i, (l, norm, *_) in enumerate(m.block.convs):
        z = bn(conv(z, l), norm)
        if i < 2: z = z.relu()
    z = (z + bn(F.conv1d(position(x), m.block.shortcut[0][1].weight), m.block.shortcut[1])).relu()
    for l, norm, act in m.convs: z = act(bn(conv(z, l), norm))
    close(m.forward_features(x), z)


# ---------------------------------------------------------------- XResNet

def strided(z, w, stride): return F.conv1d(z, w, stride=stride, padding=w.shape[2]//2)

def xblock(z, b, stride):
    "Convolutions of 3 steps, or of 1, 3 and 1; the stride is that of the first convolution of 3 steps"
    first, y = True, z
    for i, (conv, norm, *_) in enumerate(b.convs):
        s, first = (stride, False) if conv.weight.shape[2] == 3 and first else (1, first)
        y = bn(strided(y, conv.weight, s), norm)
        if i < len(b.convs) - 1: y = y.relu()
    if stride == 2: z = torch.stack([z[..., i:i + 2].mean(-1) for i in range(0, z.shape[2], 2)], -1)
    if isinstance(b.shortcut[-1] if len(b.shortcut) else None, nn.Sequential):
        conv, norm = b.shortcut[-1]
        z = bn(F.conv1d(z, conv.weight), norm)
    return (y + z).relu()

@pytest.mark.parametrize('arch', [xresnet1d18, xresnet1d34, xresnet1d50])
@pytest.mark.parametrize('length', [61, 64])
def test_xresnet(arch, length):
    m, x = seeded(lambda: arch(C, 4, nf=8)).double(), series(length=length).double()
    z = x
    for i in range(3): z = bn(strided(z, m.stem[i][0].weight, 1 if i else 2), m.stem[i][1]).relu()
    z = F.pad(z, (1, 1), value=-torch.inf)
    z = torch.stack([z[..., i:i + 3].amax(-1) for i in range(0, z.shape[2] - 2, 2)], -1)
    for i, stage in enumerate(m.stages):
        for j, b in enumerate(stage): z = xblock(z, b, 2 if i and not j else 1)
    close(m.forward_features(x), z)
    assert [len(s) for s in m.stages] == list(arch.layers) and z.shape == (B, 64*arch.expansion, 2)

def test_xresnet_starts_from_its_shortcuts():
    m = xresnet1d50(C, 2, nf=8)
    norms = [b.convs[-1][1].weight for s in m.stages for b in s]
    assert len(norms) == 16 and not any(o.any() for o in norms)
    assert abs(float(m.stages[3][1].convs[1][0].weight.detach().std()) - (2/(64*3))**.5) < .01


# ---------------------------------------------------------------- MLP

@pytest.mark.parametrize('use_bn,lin_first', [(False, False), (True, False), (True, True)])
def test_mlp(use_bn, lin_first):
    m, x = seeded(lambda: MLP(C, 4, L, [16, 8], .1, use_bn=use_bn, lin_first=lin_first)), series()
    z = x.reshape(B, C*L)
    for block in m.mlp:
        norm, linear = (next((l for l in block if isinstance(l, o)), None) for o in (nn.BatchNorm1d, nn.Linear))
        if norm is not None and not lin_first: z = bn(z, norm)
        z = z @ linear.weight.T
        z = (z if linear.bias is None else z + linear.bias).clamp(min=0)
        if norm is not None and lin_first: z = bn(z, norm)
    close(m.forward_features(x), z)
    close(m(x), z @ m.fc.weight.T + m.fc.bias)


# ---------------------------------------------------------------- XCM

@pytest.mark.parametrize('share,ks', [(1., 40), (.5, 20), (.33, 13), (.01, 1)])
def test_xcm(share, ks):
    "The first branch is the paper's convolution in two dimensions, with kernels of one channel"
    m, x = seeded(lambda: XCM(C, 4, L, 8, share)), series()
    assert m.ks == ks
    ends = (ks - 1)//2, ks//2
    (pad, conv), norm, _ = m.each[0]
    z = bn(F.conv2d(F.pad(x[:, None], ends), conv.weight[:, :, None]), norm).relu()                         # (B, nf, C, L)
    a = F.conv2d(z, m.each[1].weight[:, :, None], m.each[1].bias).relu()[:, 0]                              # (B, C, L)
    close(m.channel_maps(x), a)
    (pad, conv), norm, _ = m.all[0]
    z = bn(F.conv1d(F.pad(x, ends), conv.weight), norm).relu()
    b = torch.einsum('bfl,f->bl', z, m.all[1].weight[0, :, 0]) + m.all[1].bias
    (pad, conv), norm, _ = m.both
    z = bn(F.conv1d(F.pad(torch.cat([a, b.relu()[:, None]], 1), ends), conv.weight), norm).relu()
    close(m.forward_features(x), z)
    close(m(x), z.mean(-1) @ m.head.weight.T + m.head.bias)

@pytest.mark.parametrize('kw,pooled', [(dict(flatten=True), lambda z: z.flatten(1)),
                                       (dict(concat_pool=True), lambda z: torch.cat([z.mean(-1), z.amax(-1)], 1))])
def test_xcm_heads(kw, pooled):
    m, x = seeded(lambda: XCM(C, 4, L, 8, bn=True, **kw)), series()
    norm, fc = m.head
    close(m(x), bn(pooled(m.forward_features(x)), norm) @ fc.weight.T + fc.bias)


# ---------------------------------------------------------------- gMLP

def test_gmlp_refuses_empty_layers():
    for kw in (dict(d_model=0), dict(d_ffn=0)):
        with pytest.raises(ValueError, match='at least 1'): gMLP(C, 4, L, **kw)

def layer_norm(z, l):
    mean = z.mean(-1, keepdim=True)
    return (z - mean)/((z - mean).square().mean(-1, keepdim=True) + l.eps).sqrt()*l.weight + l.bias

def patches(x, size):
    "(B, C, L) to (B, steps, C*size), zeros at the end"
    x = F.pad(x, (0, -x.shape[2] % size))
    return torch.stack([x[..., i:i + size].flatten(1) for i in range(0, x.shape[2], size)], 1)

@pytest.mark.parametrize('size', [1, 7])
def test_gmlp(size):
    "The gate as a loop over steps; real steps of padded series as if W had no other rows and columns"
    m, x = seeded(lambda: gMLP(C, 4, L, size, d_model=6, d_ffn=5, depth=2)), series()
    for b in m.blocks: nn.init.normal_(b.gate.over_steps.weight)
    for n in (L, 17):
        x = series().masked_fill(torch.arange(L) >= n, 0)
        z = patches(x, size)[:, :-(-n//size)] @ m.embed.weight.T + m.embed.bias
        for b in m.blocks:
            h = layer_norm(z, b.norm) @ b.expand.weight.T + b.expand.bias
            h = h*(1 + torch.erf(h/2**.5))/2
            u, v = h[..., :5], layer_norm(h[..., 5:], b.gate.norm)
            w, bias, gated = b.gate.over_steps.weight, b.gate.over_steps.bias, []
            for i in range(z.shape[1]): gated.append(u[:, i]*(sum(w[i, j]*v[:, j] for j in range(z.shape[1])) + bias[i]))
            z = z + torch.stack(gated, 1) @ b.reduce.weight.T + b.reduce.bias
        close(m(x, mask=(torch.arange(L) >= n).expand(B, L)), z.mean(1) @ m.head.weight.T + m.head.bias)


# ---------------------------------------------------------------- TSiT and TSSequencer

def gelu(z): return z*(1 + torch.erf(z/2**.5))/2

def literal_tokens(m, x, mix, n=L):
    "The vectors of all steps; padding from step `n` on is cut off"
    z = patches(x.masked_fill(torch.arange(L) >= n, 0), m.stride)[:, :-(-n//m.stride)]
    z = z @ m.embed.weight.T + m.embed.bias
    if m.W_pos is not None: z = z + m.W_pos[:z.shape[1]]
    if m.token is not None: z = torch.cat([m.token.expand(len(z), 1, -1), z], 1)
    for l in m.layers:
        ff = lambda z: gelu(z @ l.ff[0].weight.T + l.ff[0].bias) @ l.ff[3].weight.T + l.ff[3].bias
        if m.layers[0].pre_norm:
            z = z + mix(l.mixer, layer_norm(z, l.mixer_norm))
            z = z + ff(layer_norm(z, l.ff_norm))
        else:
            z = layer_norm(z + mix(l.mixer, z), l.mixer_norm)
            z = layer_norm(z + ff(z), l.ff_norm)
    return layer_norm(z, m.norm) if isinstance(m.norm, nn.LayerNorm) else z

def attend(a, z):
    "Attention, one head and one step at a time"
    d = a.d_k
    q, k, v = (z @ w.weight.T + w.bias for w in (a.W_Q, a.W_K, a.W_V))
    heads = []
    for h in range(a.n_heads):
        s, rows = slice(h*d, (h + 1)*d), []
        for i in range(z.shape[1]):
            scores = (q[:, i, None, s]*k[..., s]).sum(-1)/d**.5*(1 if a.scale is None else a.scale)         # (B, L)
            if a.scale is not None: scores[:, i] = -torch.inf
            rows.append((scores.softmax(-1)[..., None]*v[..., s]).sum(1))
        heads.append(torch.stack(rows, 1))
    return torch.cat(heads, -1) @ a.W_O.weight.T + a.W_O.bias

def check_tokens(arch, mix, kw):
    m = seeded(lambda: arch(C, 4, L, d_model=6, depth=2, mlp_ratio=2, **kw))
    for n in (L, 17):
        x, mask = series(), (torch.arange(L) >= n).expand(B, L)
        z = literal_tokens(m, x, mix, n)
        pooled = z[:, 0] if m.use_token else torch.cat([z.mean(1), z.amax(1)], 1)
        close(m(x, mask=mask), pooled @ m.head.weight.T + m.head.bias)

@pytest.mark.parametrize('kw', [{}, *({k: True} for k in ('pre_norm', 'lsa', 'use_token')), dict(token_size=7), dict(use_pe=False)],
                         ids=str)
def test_tsit(kw): check_tokens(TSiT, attend, dict(n_heads=2, **kw))

def read(b, z):
    "The LSTM's equations, a step at a time, in both directions"
    def states(steps, suffix):
        wi, wh, bi, bh = (getattr(b.lstm, f'{k}_l0{suffix}') for k in ('weight_ih', 'weight_hh', 'bias_ih', 'bias_hh'))
        h, c, found = torch.zeros(len(z), wh.shape[1]), torch.zeros(len(z), wh.shape[1]), {}
        for t in steps:
            i, f, g, o = (z[:, t] @ wi.T + bi + h @ wh.T + bh).chunk(4, 1)
            c = f.sigmoid()*c + i.sigmoid()*g.tanh()
            found[t] = h = o.sigmoid()*c.tanh()
        return torch.stack([found[t] for t in range(z.shape[1])], 1)
    both = torch.cat([states(range(z.shape[1]), ''), states(reversed(range(z.shape[1])), '_reverse')], -1)
    return both @ b.fc.weight.T + b.fc.bias

@pytest.mark.parametrize('kw', [{}, dict(pre_norm=True), dict(use_token=True), dict(token_size=7)], ids=str)
def test_tssequencer(kw): check_tokens(TSSequencer, read, kw)

def test_layers_are_left_out():
    "In training, with a probability that grows with the depth; a series that nothing is left out of is scaled up"
    torch.manual_seed(0)
    m = TSiT(C, 4, L, d_model=6, n_heads=2, depth=3, drop_path_rate=.6).train()
    assert [round(l.drop_path.p, 6) for l in m.layers] == [0, .3, .6]
    l, z = m.layers[2], torch.randn(1, L, 6).expand(400, -1, -1)
    l.pre_norm = True
    with torch.no_grad(): added = (l(z) - z).abs().sum((1, 2))
    assert abs(float((added == 0).float().mean()) - .36) < .08          # neither part added anything


# ---------------------------------------------------------------- mWDN

# as PyWavelets 1.8.0 prints them: pywt.Wavelet('db4').dec_lo and dec_hi, pywt.Wavelet('haar').dec_lo and dec_hi
DB4 = ([-0.010597401785069032, 0.0328830116668852, 0.030841381835560764, -0.18703481171909309,
        -0.027983769416859854, 0.6308807679298589, 0.7148465705529157, 0.2303778133088965],
       [-0.2303778133088965, 0.7148465705529157, -0.6308807679298589, -0.027983769416859854,
        0.18703481171909309, 0.030841381835560764, -0.0328830116668852, -0.010597401785069032])
HAAR = ([.7071067811865476, .7071067811865476], [-.7071067811865476, .7071067811865476])

def test_filters():
    assert wavelet_filters() == wavelet_filters('db4') == wavelet_filters(DB4[0]) == DB4
    assert wavelet_filters('haar') == HAAR
    for eps, n in ((1e-3, 20), (.1, 5)):
        m = band_matrix(n, DB4[0], eps)
        for i in range(n):
            for j in range(n):
                if 0 <= j - i < 8: assert float(m[i, j]) == pytest.approx(DB4[0][j - i])
                else: assert abs(float(m[i, j])) <= eps
        assert n < 9 or len(set(m.flatten().tolist())) > 100         # the rest is random

def test_mwdn():
    "Each level as a loop over places, and the base network for what comes out"
    m, x = mWDN(C, 4, 45, 3, base_arch='FCN', base_args=dict(layers=[8, 8], kss=[5, 3])).eval(), series(length=45)
    for b, n in zip(m.blocks, (45, 22, 11)):
        close(b.low[0].weight.diagonal(3), torch.full((n - 3,), DB4[0][3])); close(b.high[0].weight.diagonal(), torch.full((n,), DB4[1][0]))
        assert not b.low[0].bias.any() and not b.high[0].bias.any()
        for o in (b.low[0], b.high[0]): nn.init.normal_(o.weight, std=.2); nn.init.normal_(o.bias)
    slow, parts = x, []
    for b in m.blocks:
        n, halves = slow.shape[2], []
        for o in (b.low[0], b.high[0]):
            a = torch.stack([sum(o.weight[i, j]*slow[..., j] for j in range(n)) + o.bias[i] for i in range(n)], -1)
            a = 1/(1 + (-a).exp())
            halves.append(torch.stack([(a[..., i] + a[..., i + 1])/2 for i in range(0, n - 1, 2)], -1))
        slow, fast = halves
        parts.append(fast)
    assert [o.shape[2] for o in (*parts, slow)] == [22, 11, 5, 5]
    for a, b in zip(m.decompose(x), (*parts, slow)): close(a, b)
    z = m.base.convs(torch.cat([*parts, slow], 2))
    close(m(x), z.mean(-1) @ m.head.layers[1].weight.T + m.head.layers[1].bias)

def test_no_maps_of_steps_that_are_not_in_order():
    from tsfast.interpret.explain import split_head
    assert split_head(mWDN(C, 2, L, base_arch='FCN')) is None and split_head(ResCNN(C, 2)) is not None

@pytest.mark.parametrize('base_args', [
    dict(custom_head=None), dict(c_out=4), dict(fc_dropout=.3), dict(d=4), dict(y_range=(0, 1)), dict(seq_len=8), [8]])
def test_mwdn_arguments_of_the_base(base_args):
    "Shapes and options of the head are not for the base network, which would refuse them as if the user had built it, or ignore them"
    with pytest.raises(ValueError, match='arguments of mWDN itself'): mWDN(C, 4, 45, base_arch='FCN', base_args=base_args)
