"ConvTran beside a literal form of the paper's equations, with weights that are written out; its size, its stride and its padding"
import importlib.util, math
import pytest
import torch
from torch.nn import functional as F

from tsfast.models.attention import sincos_encoding
from tsfast.models.convtran import ConvTran, by_distance
from tsfast.models.tst import TST
from tsfast.models.utils import count_parameters
from helpers_models import sizes_of

B, C, L, SMALL = 5, 3, 24, dict(d_model=8, n_heads=2, d_ff=12, dropout=0.)


def series(n=B, c=C, length=L, seed=0): return torch.randn(n, c, length, generator=torch.Generator().manual_seed(seed))

def make(*shape, **kwargs):
    torch.manual_seed(0)
    m = ConvTran(*(shape or (C, 4, L)), **{**SMALL, **kwargs})
    for p in m.parameters():
        if p.ndim == 1 or p is m.attn.bias_table: torch.nn.init.normal_(p, std=0.5)
    return m

def padding(lengths): return torch.arange(L) >= torch.tensor(lengths)[:, None]


def norm(z, layer, dims, real=None):
    "Normalisation with statistics over `dims`, of what is real"
    real = torch.ones_like(z[..., :1]) if real is None else real.to(z)
    n = real.expand_as(z).sum(dims, keepdim=True)
    mean = (z*real).sum(dims, keepdim=True)/n
    var = ((z - mean).square()*real).sum(dims, keepdim=True)/n
    return (z - mean)/(var + layer.eps).sqrt()*layer.weight + layer.bias

def literal(m, x, mask=None):
    "Training mode, without a stride: attention weights are a softmax, and then the bias is added to them"
    B, C, L = x.shape
    real = torch.ones(B, L) if mask is None else (~mask).float()
    x = torch.nan_to_num(x)*real[:, None]
    image = F.pad(x[:, None], ((m.ks - 1)//2, m.ks//2))                                                     # (B, 1, C, L + ks - 1)
    z = F.conv2d(image, m.conv.weight[:, :, None], m.conv.bias).permute(0, 2, 3, 1)                         # (B, C, L, nf)
    z = F.gelu(norm(z, m.conv_norm, (0, 1, 2), real[:, None, :, None]))*real[:, None, :, None]
    over_channels = m.mix.weight.unflatten(1, (C, -1)).transpose(1, 2)[..., None]                           # (d_model, nf, C, 1)
    z = F.conv2d(z.permute(0, 3, 1, 2), over_channels, m.mix.bias)[:, :, 0].transpose(1, 2)                 # (B, L, d_model)
    z = F.gelu(norm(z, m.mix_norm, (0, 1), real[..., None]))*real[..., None]
    d, h = z.shape[-1], m.attn.n_heads
    position = torch.zeros(L, d)
    for t in range(L):
        for i in range(0, d, 2):
            w = t*10_000**(-i/d)*d/L
            position[t, i], position[t, i + 1] = math.sin(w), math.cos(w)
    u = (z + position)*real[..., None]
    heads = []
    for a in range(h):
        s = slice(a*d//h, (a + 1)*d//h)
        q, k, v = (u @ w.weight[s].T for w in (m.attn.W_Q, m.attn.W_K, m.attn.W_V))
        scores = q @ k.transpose(1, 2)/math.sqrt(d) + torch.where(real[:, None] > 0, 0., -math.inf)
        bias = torch.stack([torch.stack([m.attn.bias_table[i - j + L - 1, a] for j in range(L)]) for i in range(L)])
        heads.append((scores.softmax(-1) + bias) @ v)
    z = norm(z + norm(torch.cat(heads, -1), m.attn.norm, -1), m.attn_norm, -1)
    ff = m.ff[3](m.ff[0](z).relu())
    z = norm(z + ff, m.ff_norm, -1)
    return m.head((z*real[..., None]).sum(1)/real.sum(1, keepdim=True))


@pytest.mark.parametrize('lengths', [None, [24, 3, 11, 20, 8]])
@pytest.mark.parametrize('ks', [8, 5, 1])
def test_literal_form(lengths, ks):
    "Outputs and gradients"
    m, x, mask = make(ks=ks).train(), series(), None if lengths is None else padding(lengths)
    if mask is not None: x = x.masked_fill(mask[:, None], torch.nan)
    a, b = m(x, mask), literal(m, x, mask)
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    w, ps = torch.randn(B, 4), list(m.parameters())
    for (name, _), u, v in zip(m.named_parameters(), *(torch.autograd.grad((o*w).sum(), ps) for o in (a, b))):
        torch.testing.assert_close(u, v, atol=2e-3, rtol=1e-3, msg=lambda s: f'{name}: {s}')


@pytest.mark.parametrize('c,k,length,d,h,ff', [(1, 2, 50, 16, 8, 256), (9, 15, 144, 16, 8, 256), (3, 4, 30, 32, 4, 64)])
def test_size(c, k, length, d, h, ff):
    "Convolutions with biases and their normalisation; queries, keys, values; the table; three layer normalisations; the rest"
    conv, attention = 4*d*8 + 3*4*d + 4*d*c*d + 3*d, 3*d*d + (2*length - 1)*h
    assert count_parameters(ConvTran(c, k, length, d_model=d, n_heads=h, d_ff=ff)) == conv + attention + 6*d + 2*d*ff + ff + d + d*k + k


def test_positions():
    want = torch.tensor([[math.sin(t*10_000**(-i/6)*6/50) for i in (0, 2, 4)] for t in range(50)])
    torch.testing.assert_close(sincos_encoding(50, 6, 6/50)[:, ::2], want, atol=1e-5, rtol=1e-5)
    assert torch.equal(make().W_pos, sincos_encoding(L, 8, 8/L))
    assert by_distance(torch.zeros(1, 2)).shape == (2, 1, 1)


def test_no_matrix_of_weights_for_each_series():
    "Nothing of the size of (B, n_heads, L, L) is made, forward or backward"
    m, x = make(1, 2, 300, nf=4), series(16, 1, 300)
    sizes = sizes_of(lambda: m(x).sum().backward())
    assert sizes and max(sizes) < 16*2*300*300/4


@pytest.mark.parametrize('most,stride', [(24, 1), (10, 3), (7, 4), (1, 24)])
def test_stride(most, stride):
    "The second convolution takes `stride` steps at a time"
    m, x = make(max_seq_len=most).eval(), series()
    assert m.stride == stride == TST(C, 2, L, max_seq_len=most).stride and m.n_steps == math.ceil(L/stride)
    assert m.forward_features(x).shape == (B, 8, m.n_steps) and m.attn.bias_table.shape == (2*m.n_steps - 1, 2)
    z = F.gelu(m.conv_norm(m.conv(F.pad(x.reshape(-1, 1, L), (3, 4))).transpose(1, 2))).view(B, C, L, -1)
    z = F.pad(z, (0, 0, 0, m.n_steps*stride - L)).permute(0, 3, 1, 2)                                        # (B, nf, C, L)
    weight = m.mix.weight.view(8, C, stride, -1).permute(0, 3, 1, 2)
    z = F.conv2d(z, weight, m.mix.bias, stride=(1, stride))[:, :, 0]                                         # (B, d_model, n_steps)
    torch.testing.assert_close(m.embed(x), F.gelu(m.mix_norm(z.transpose(1, 2))), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('kw', [{}, dict(max_seq_len=10), dict(max_seq_len=7)], ids=str)
def test_padding_has_no_effect(kw):
    "Outputs, statistics and gradients, whatever stands there; a series of nothing but padding gives numbers"
    m, mask, found = make(**kw), padding([24, 2, 9, 17, 0]), []
    for value in (0., 1e3, torch.nan):
        o = make(**kw).train()
        o.load_state_dict(m.state_dict())
        out = o(series().masked_fill(mask[:, None], value), mask)
        out.square().sum().backward()
        assert out.isfinite().all()
        found.append([out.detach(), *(p.grad for p in o.parameters()), *o.buffers()])
    for other in found[1:]: assert all(torch.equal(a, b) for a, b in zip(found[0], other))
    seen = make(mask_padding=True, **kw).eval()
    x = series().masked_fill(mask[:, None], torch.nan)
    assert torch.equal(seen(x), seen(x, mask))


def test_arguments():
    for name, bad, text in (('n_heads', 3, 'divides'), ('n_heads', 0, 'divides'), ('ks', 0, 'at least 1'), ('max_seq_len', 0, 'at least 1')):
        with pytest.raises(ValueError, match=text): make(**{name: bad})
    assert make(nf=5).conv.out_channels == 5 and make().conv.out_channels == 32 and make(ks=30)(series()).shape == (B, 4)


@pytest.mark.skipif(not all(importlib.util.find_spec(o) for o in ('onnx', 'onnxruntime', 'onnxscript')), reason='needs onnx')
def test_onnx_with_a_stride_and_a_mask(tmp_path):
    import numpy as np, onnxruntime
    from tsfast.data.core import get_ts_dls
    from tsfast.data.preprocessing import TSNan2Value, TSStandardize
    from tsfast.deploy import export_onnx
    from tsfast.learner import ts_learner
    X = series(12).masked_fill(padding([24, 9, 13]*4)[:, None], torch.nan).numpy()
    dls = get_ts_dls(X, np.arange(12) % 2, splits=(range(8), range(8, 12)), bs=4,
                     batch_tfms=[TSStandardize(by_var=True), TSNan2Value(keep_padding=True)])
    learn = ts_learner(dls, 'ConvTran', max_seq_len=10, seed=0, **SMALL)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    s = onnxruntime.InferenceSession(str(export_onnx(learn, tmp_path/'m.onnx')), providers=['CPUExecutionProvider'])
    assert np.allclose(s.run(None, {'series': X})[0], learn.get_X_preds(X)[0].numpy(), rtol=1e-4, atol=1e-5)
