"Layers that keep channels last give the numbers of torch's own layers"
import copy, itertools, pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tsfast.core import seeded
from tsfast.models import layers
from tsfast.models.layers import Concat, channels_last
from tsfast.models.registry import build_ts_model, list_models

PLAIN = {layers.Conv1d: nn.Conv1d, layers.BatchNorm1d: nn.BatchNorm1d, layers.MaxPool1d: nn.MaxPool1d,
         layers.AvgPool1d: nn.AvgPool1d}
CONVOLUTIONAL = [n for n in list_models() if any(type(m) is layers.Conv1d for m in build_ts_model(n, 2, 2, seq_len=40).modules())]

def plain(m):
    "A copy of `m` with the layers of torch, and the same weights"
    m = copy.deepcopy(m)
    for l in m.modules(): l.__class__ = PLAIN.get(type(l), type(l))
    return m

def grads(m, x, dtype=torch.float32):
    "Outputs in training, and the gradients of the input and of each weight"
    m, x = copy.deepcopy(m).to(dtype).train(), x.detach().to(dtype, copy=True).requires_grad_()
    out = m(x)
    (out*torch.linspace(1, 2, out.numel(), dtype=dtype).view_as(out)).sum().backward()
    return out.detach(), {'x': x.grad, **{k: p.grad for k, p in m.named_parameters() if p.requires_grad}}

def check_gradients(m, x, tol=2e-2):
    "Errors of outputs and gradients, beside float64, are of the size of those of torch's layers; a ReLU at zero may switch"
    out, g = grads(m, x); ref, r = grads(plain(m), x, torch.float64); theirs = grads(plain(m), x)[1]
    torch.testing.assert_close(out.double(), ref, rtol=1e-4, atol=1e-5)
    assert list(g) == list(r)
    scale = max(v.norm() for v in r.values())
    for k, v in r.items():
        error, usual = ((o[k] - v).norm() for o in (g, theirs))
        assert error <= max(4*usual, tol*v.norm(), 1e-6*scale), k

def last(x):
    "The same values with channels last"
    return x.transpose(1, 2).contiguous().transpose(1, 2)

def series(*shape, seed=0): return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_usual_ones_are_convolutional():
    assert {'InceptionTime', 'XceptionTime', 'ResNet', 'FCN', 'LSTM_FCN', 'GRU_FCN'} <= set(CONVOLUTIONAL)

@pytest.mark.parametrize('shape', [(16, 1, 40), (16, 5, 40), (2, 5, 40), (1, 2, 300)])
@pytest.mark.parametrize('name', CONVOLUTIONAL)
def test_architecture(name, shape):
    with seeded(0): m = build_ts_model(name, shape[1], 3, seq_len=shape[2])
    for l in m.modules():
        if isinstance(l, nn.Dropout): l.p = 0.
    x, theirs = series(*shape), plain(m)
    assert repr(m) == repr(theirs) and [*m.state_dict()] == [*theirs.state_dict()]
    with torch.no_grad(): torch.testing.assert_close(m.eval()(x), theirs.eval()(x), rtol=1e-4, atol=1e-5)
    if shape[0] > 1: check_gradients(m, x)

@pytest.mark.parametrize('name', CONVOLUTIONAL)
def test_channels_stay_last(name):
    "No layer of a network falls back to the other layout"
    m = build_ts_model(name, 1, 2, seq_len=100)
    found = []
    for l in m.modules():
        if isinstance(l, (layers.Conv1d, layers.BatchNorm1d)):
            l.register_forward_hook(lambda l, i, o: found.append(o))
    m(series(8, 1, 100))
    maps = [o for o in found if o.dim() == 3 and o.shape[1] >= 16 and o.shape[2] > 1]
    assert maps and all(map(channels_last, maps))

GRID = [dict(stride=s, padding=p, dilation=d, groups=g, bias=b) for s, p, d, g, b in
        itertools.product((1, 2), (0, 4, 20), (1, 3), (1, 2, 8), (False, True))]

@pytest.mark.parametrize('kw', GRID, ids=lambda o: '-'.join(str(int(v)) for v in o.values()))
@pytest.mark.parametrize('c_out', [8, 16])
def test_convolution(kw, c_out):
    check_gradients(layers.Conv1d(8, c_out, 9, **kw), series(8, 8, 50), tol=1e-5)

@pytest.mark.parametrize('l', [
    layers.Conv1d(1, 8, 5), layers.Conv1d(4, 1, 5), layers.Conv1d(4, 8, 5, padding='same'), layers.Conv1d(4, 8, 1),
    layers.Conv1d(4, 4, 5, padding=2, padding_mode='circular'), layers.Conv1d(4, 4, 4, padding=1, groups=4),
    layers.MaxPool1d(3), layers.MaxPool1d(3, 1, 1), layers.MaxPool1d(2, 2, ceil_mode=True), layers.MaxPool1d((3,), (2,), (1,), (2,)),
    layers.AvgPool1d(3), layers.AvgPool1d(3, 1, 1), layers.AvgPool1d(2, 2, ceil_mode=True), layers.AvgPool1d((3,), (2,), (1,), count_include_pad=False),
    layers.BatchNorm1d(4), layers.BatchNorm1d(16), layers.BatchNorm1d(16, affine=False), layers.BatchNorm1d(16, track_running_stats=False),
    layers.BatchNorm1d(16, momentum=None)], ids=lambda l: repr(l).replace(' ', ''))
@pytest.mark.parametrize('layout', ['usual', 'last'])
def test_layer(l, layout):
    x = series(8, getattr(l, 'in_channels', getattr(l, 'num_features', 16)), 51)
    if layout == 'last': x = last(x)
    check_gradients(l, x, tol=1e-5)
    if isinstance(l, nn.BatchNorm1d) and l.track_running_stats:
        a, b = copy.deepcopy(l), plain(l)
        for m in (a, b): m(x); m(2*x)
        for k, v in b.state_dict().items(): torch.testing.assert_close(a.state_dict()[k], v)

def test_indices_of_a_pooling():
    x = last(series(8, 16, 50))
    for a, b in zip(layers.MaxPool1d(3, return_indices=True)(x), nn.MaxPool1d(3, return_indices=True)(x)): assert torch.equal(a, b)

def test_concat():
    a, b = (last(series(4, 3, 20, seed=i)) for i in (0, 1))
    out = Concat()([a, b])
    assert channels_last(out) and torch.equal(out, torch.cat([a, b], 1))
    assert torch.equal(Concat(2)([a, b]), torch.cat([a, b], 2)) and torch.equal(Concat()([a, b.contiguous()]), out)

def test_without_a_batch():
    l, x = layers.Conv1d(4, 8, 5), series(4, 300)
    torch.testing.assert_close(l(x), plain(l)(x)); torch.testing.assert_close(l(series(0, 4, 300)), series(0, 8, 296))
    for m in (l, layers.Conv1d(4, 4, 3, groups=4)):
        with pytest.raises(RuntimeError, match='3 channels'): m(series(9, 3, 300))
        with pytest.raises(RuntimeError, match='(?i)kernel size'): m(series(300, 4, 1))
    with pytest.raises(ValueError, match='2D or 3D'): layers.BatchNorm1d(4)(series(2, 4, 3, 5))
    assert layers.BatchNorm1d(4)(series(9, 4)).shape == (9, 4)

DATA = {'constant': lambda s: torch.full(s, 3.3), 'normal': lambda s: series(*s), 'around 1': lambda s: series(*s) + 1,
        'far from 0': lambda s: 100 + .01*series(*s)}

@pytest.mark.parametrize('data', DATA)
@pytest.mark.parametrize('shape', [(64, 16, 136), (64, 16, 5000)])
def test_digits_of_batch_normalisation(data, shape):
    "Many steps, and values far from 0, cost no more digits than in torch's contiguous layout"
    x, w = DATA[data](shape), torch.linspace(0, 1, 16*shape[2]).view(16, shape[2])
    def both(l, x):
        x = x.detach().requires_grad_(); y = l(x)
        (y*w.to(y.dtype)).sum().backward()
        return y.detach().double(), x.grad.double(), l.running_mean.double(), l.running_var.double()
    ref = both(nn.BatchNorm1d(16).double(), x.double())
    for new, usual, r in zip(both(layers.BatchNorm1d(16), last(x)), both(nn.BatchNorm1d(16), x), ref):
        assert (new - r).norm() <= 10*(usual - r).norm() + 1e-6*r.norm()

BLOCKS = {'dense': layers.Conv1d(16, 16, 9, padding=4), 'depthwise': layers.Conv1d(16, 16, 9, padding=4, groups=16, bias=False),
          'normalised': layers.BatchNorm1d(16), 'pooled': layers.MaxPool1d(3, 1, 1)}

@pytest.mark.parametrize('name', BLOCKS)
def test_changed_in_place(name):
    l, x = BLOCKS[name], last(series(8, 16, 50))
    y = nn.Sequential(l, nn.ReLU(inplace=True))(x); z = l(x); z += 1
    if z.requires_grad: (y + z).sum().backward()
    torch.testing.assert_close(y + z, plain(l)(x).relu() + plain(l)(x) + 1, rtol=1e-4, atol=1e-5)

@pytest.mark.filterwarnings('ignore:.*forward-mode AD')
@pytest.mark.parametrize('name', BLOCKS)
def test_forward_derivatives(name):
    l, x, v = BLOCKS[name], last(series(8, 16, 50)), last(series(8, 16, 50, seed=1))
    def out(l):
        l = copy.deepcopy(l); p = {k: t.detach() for k, t in l.named_parameters()}
        dp = {k: torch.linspace(-1, 1, t.numel()).view_as(t) for k, t in p.items()}
        if hasattr(l, 'running_mean'): l.running_mean = l.running_var = l.num_batches_tracked = None
        return torch.func.jvp(lambda p, x: torch.func.functional_call(l, p, x), (p, x), (dp, v))[1]
    torch.testing.assert_close(out(l), out(plain(l)), rtol=1e-3, atol=1e-4)

def test_a_head_with_view():
    class Head(nn.Module):
        def __init__(self, nf, c_out, length): super().__init__(); self.fc = nn.Linear(nf*length, c_out)
        def forward(self, z): return self.fc(z.view(len(z), -1))
    m = build_ts_model('FCN', 2, 3, seq_len=50, custom_head=lambda nf, c_out, length: Head(nf, c_out, length))
    assert m(series(16, 2, 50)).shape == (16, 3)

@pytest.mark.filterwarnings('ignore:TF32 acceleration on top of oneDNN')
def test_onednn_switched_off():
    x, l = last(series(8, 16, 50)), layers.Conv1d(16, 16, 9, groups=16)
    with torch.backends.mkldnn.flags(enabled=False): assert not channels_last(x) and torch.equal(l(x), plain(l)(x))

@pytest.mark.parametrize('name', ['dense', 'depthwise', 'normalised'])
def test_second_derivatives(name):
    l = BLOCKS[name]
    def second(l):
        x = last(series(8, 16, 50)).requires_grad_()
        g, = torch.autograd.grad((l(x)**3).sum(), x, create_graph=True)
        return torch.autograd.grad(g.square().sum(), (x, l.weight))
    for a, b in zip(second(l), second(plain(l))): torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)

@pytest.mark.parametrize('groups', [1, 8])
def test_functional_derivatives(groups):
    "Gradients of each series by `torch.func`"
    l, x = layers.Conv1d(8, 8, 9, padding=4, groups=groups, bias=False), series(6, 8, 300)
    def per_series(l):
        def loss(w, x): return torch.func.functional_call(l, {'weight': w}, x[None]).square().sum()
        return torch.func.vmap(torch.func.grad(loss), (None, 0))(l.weight.detach(), x)
    torch.testing.assert_close(per_series(l), per_series(plain(l)), rtol=1e-4, atol=1e-3)

@pytest.mark.parametrize('dtype', [torch.float64, torch.float16])
def test_other_dtypes(dtype):
    l, x = layers.Conv1d(4, 8, 5).to(dtype), series(8, 4, 50).to(dtype)
    assert torch.equal(l(x), plain(l)(x)) and l(x).dtype == dtype

@pytest.mark.filterwarnings('ignore:The tensor attributes self.rnn')
@pytest.mark.parametrize('name', CONVOLUTIONAL)
def test_exports_see_torch(name):
    "An exported or traced model has the operations of torch's layers"
    with seeded(0): m = build_ts_model(name, 3, 2, seq_len=40).eval()
    x = series(32, 3, 40)
    batch = {0: torch.export.Dim('batch', min=1, max=4096)}
    with torch.no_grad():
        codes = [torch.export.export(o, (x,), dynamic_shapes=(batch,)).graph_module.code for o in (m, plain(m))]
    assert codes[0] == codes[1] and 'conv2d' not in codes[0]

@pytest.mark.parametrize('name', ['FCN', 'InceptionTime', 'XceptionTime'])
def test_traces_see_torch(name):
    m = build_ts_model(name, 3, 2, seq_len=40).eval()
    trace = torch.jit.trace(m, x := series(32, 3, 40))
    torch.testing.assert_close(trace(x), m(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(trace(x[:1, :, :30]), m(x[:1, :, :30]), rtol=1e-4, atol=1e-5)

def test_bfloat16():
    "Under autocast: dense convolutions in bfloat16, those in groups in float32"
    dense, deep = layers.Conv1d(8, 8, 5, padding=2), layers.Conv1d(8, 8, 19, padding=9, groups=8)
    x, seen = series(8, 8, 50).requires_grad_(), []
    with torch.autocast('cpu', torch.bfloat16):
        mid = dense(x); assert mid.dtype == torch.bfloat16 and channels_last(mid)
        out = deep(mid); assert out.dtype == torch.bfloat16 and channels_last(out)
    out.float().sum().backward()
    expected = F.conv1d(mid.detach().float(), deep.weight, deep.bias, padding=9, groups=8)
    torch.testing.assert_close(out.float(), expected, rtol=1e-2, atol=1e-2)
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in [*dense.parameters(), *deep.parameters()])
    assert deep.bfloat16()(x.detach().bfloat16()).dtype == torch.bfloat16

def test_models_pickled_before():
    "A model with torch's own layers goes on as it is"
    with seeded(0): m = build_ts_model('InceptionTime', 1, 2, nf=4, depth=3)
    old = pickle.loads(pickle.dumps(plain(m)))
    m.load_state_dict(old.state_dict()); x = series(16, 1, 40)
    torch.testing.assert_close(old.eval()(x), m.eval()(x), rtol=1e-4, atol=1e-5)
