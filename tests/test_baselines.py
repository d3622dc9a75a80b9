"FCN, ResNet, LSTM-FCN, GRU-FCN and the plain recurrent networks."
import copy, inspect, pickle
import pytest, torch
from torch import nn
from tsfast.models.fcn import FCN
from tsfast.models.resnet import ResNet
from tsfast.models.rnn import GRU, LSTM, RNN, LastStep, run_rnn
from tsfast.models.rnn_fcn import GRU_FCN, LSTM_FCN, SqueezeExcite
from tsfast.models.registry import get_arch
from tsfast.models.utils import count_parameters

SMALL = {FCN: dict(layers=(8, 16, 8)), ResNet: dict(nf=8), RNN: dict(hidden_size=8), LSTM: dict(hidden_size=8), GRU: dict(hidden_size=8),
         LSTM_FCN: dict(hidden_size=8, conv_layers=(8, 16, 8)), GRU_FCN: dict(hidden_size=8, conv_layers=(8, 16, 8))}
ARCHS, RNNS, FCNS = list(SMALL), [RNN, LSTM, GRU], [LSTM_FCN, GRU_FCN]

@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng(): torch.manual_seed(0); yield

def make(arch, c_in=3, c_out=2, seq_len=12, **kwargs): return arch(c_in, c_out, seq_len=seq_len, **{**SMALL[arch], **kwargs})
def close(a, b, tol=1e-5): torch.testing.assert_close(a, b, atol=tol, rtol=tol)

# --- all of them

@pytest.mark.parametrize('arch', ARCHS)
def test_contract(arch):
    x = torch.randn(4, 3, 12)
    m = make(arch); y = m(x)
    assert get_arch(arch.__name__) is arch and y.shape == (4, 2) and y.isfinite().all()
    y.square().sum().backward(); assert all(p.grad is not None for p in m.parameters())
    assert m.forward_features(x).shape[1] == m.head_nf
    m.eval(); y = m(x); other = make(arch).eval(); other.load_state_dict(m.state_dict())
    assert torch.equal(other(x), y) and torch.equal(copy.deepcopy(m)(x), y) and torch.equal(pickle.loads(pickle.dumps(m))(x), y)
    assert copy.deepcopy(m).double()(x.double()).dtype == torch.float64
    assert m.reset_head(5)(x).shape == (4, 5)
    for bad, what in ((x[:, :2], '3 channels'), (x[0], '2 dimensions')):
        with pytest.raises(ValueError, match=what): m(bad)

@pytest.mark.parametrize('arch', ARCHS)
def test_targets(arch):
    x = 10*torch.randn(4, 3, 12)
    assert make(arch, c_out=1, d=(7, 5))(x).shape == (4, 7, 5) and make(arch, c_out=3, d=12)(x).shape == (4, 12, 3)
    for d in (None, 4):
        y = make(arch, c_out=1, d=d, y_range=(-1, 2))(x); assert -1 <= y.min() and y.max() <= 2
    m = make(arch, fc_dropout=0.5)
    assert [l.p for l in getattr(m, m.head_names[-1]).modules() if isinstance(l, nn.Dropout)] == [0.5]
    m = make(arch, custom_head=nn.Identity()).eval(); assert torch.equal(m(x), m.forward_features(x))
    seen = []
    def head(nf, c_out, seq_len): seen.append((nf, c_out, seq_len)); return nn.Identity()
    make(arch, custom_head=head); assert seen == [(m.head_nf, 2, 12)]

@pytest.mark.parametrize('arch', [a for a in ARCHS if a not in FCNS])
def test_any_length(arch):
    m = make(arch).eval()
    for L in (1, 5, 30): assert m(torch.randn(2, 3, L)).shape == (2, 2)

# --- convolutional ones

def test_parameters():
    assert count_parameters(FCN(3, 2)) == 3*128*7 + 128*256*5 + 256*128*3 + 2*512 + 258
    assert count_parameters(ResNet(3, 2)) == 479_490

def test_fcn_arguments():
    m = FCN(3, 2, layers=(4, 8), kss=(9, 2))
    assert [c[0].kernel_size[0] for c in m.convs] == [9, 1] and [c[0].out_channels for c in m.convs] == [4, 8] and m.head_nf == 8
    with pytest.raises(ValueError, match='kernel size for each layer'): FCN(3, 2, layers=(4,))
    with pytest.raises(ValueError, match='at least one layer'): FCN(3, 2, layers=(), kss=())

def test_resnet_arguments():
    m = ResNet(3, 2, nf=8, kss=(5, 3), n_blocks=4)
    assert len(m.blocks) == 4 and len(m.blocks[0].convs) == 2 and m.head_nf == 16
    assert ResNet(3, 2, nf=8, n_blocks=1).head_nf == 8
    assert isinstance(ResNet(8, 2, nf=8).blocks[0].shortcut, nn.BatchNorm1d)
    x = torch.randn(2, 3, 10); b = m.blocks[0].eval()
    close(b(x), torch.relu(b.convs(x) + b.shortcut(x)))
    assert (b.convs(x) < 0).any()                              # the last convolution has no activation before the sum
    with pytest.raises(ValueError, match='at least one block'): ResNet(3, 2, n_blocks=0)

@pytest.mark.parametrize('arch', [FCN, ResNet])
def test_class_activation_map(arch):
    m, x = make(arch).eval(), torch.randn(2, 3, 12)
    cam = torch.einsum('bcl,kc->bkl', m.forward_features(x), m.fc.weight)
    close(cam.mean(-1) + m.fc.bias, m(x))

# --- LSTM-FCN, GRU-FCN

@pytest.mark.parametrize('arch', FCNS)
def test_rnn_fcn_arguments(arch):
    ps = inspect.signature(arch).parameters
    order = 'c_in c_out seq_len hidden_size rnn_layers bias cell_dropout rnn_dropout bidirectional shuffle fc_dropout conv_layers kss'
    assert list(ps)[:13] == order.split()
    assert ps['rnn_dropout'].default == 0.8 and ps['shuffle'].default is True
    assert make(arch).rnn.input_size == 12 and make(arch, shuffle=False).rnn.input_size == 3
    assert make(arch, bidirectional=True).head_nf == 2*8 + 8
    assert make(arch, rnn_layers=2, cell_dropout=0.3).rnn.dropout == 0.3
    assert not [n for n, _ in make(arch, bias=False).rnn.named_parameters() if 'bias' in n]
    assert [c[0].kernel_size[0] for c in make(arch, kss=(9, 5, 1)).convs] == [9, 5, 1]
    m = make(arch, rnn_dropout=0.); x = torch.randn(4, 3, 12)
    assert torch.equal(m(x), m(x)); m = make(arch); assert not torch.equal(m(x), m(x))
    with pytest.raises(ValueError, match='rnn_dropout'): make(arch, rnn_dropout=1.)
    with pytest.raises(ValueError, match='needs seq_len'): arch(3, 2)
    with pytest.raises(ValueError, match='12 steps'): make(arch)(x[..., :11])
    assert make(arch, seq_len=None, shuffle=False)(x[..., :11]).shape == (4, 2)

@pytest.mark.parametrize('arch', FCNS)
@pytest.mark.parametrize('bidirectional', [False, True])
def test_dimension_shuffle(arch, bidirectional):
    m, x = make(arch, bidirectional=bidirectional).eval(), torch.randn(4, 3, 12)
    out, h = m.rnn(x)                                          # three steps, one a channel, of 12 numbers
    assert out.shape[1] == 3
    h = h[0] if isinstance(h, tuple) else h                    # torch's own final states
    close(m.forward_features(x)[:, :-8], torch.cat(list(h), 1))
    close(m.forward_features(x)[:, -8:], m.convs(x).mean(-1))

def test_squeeze_and_excitation():
    m = make(LSTM_FCN, se=4)
    assert [len(c) for c in m.convs] == [2, 2, 3] and isinstance(m.convs[0][1], SqueezeExcite)   # all but the last
    assert count_parameters(m) - count_parameters(make(LSTM_FCN)) == 2*8*2 + 2*16*4
    se, x = SqueezeExcite(8, 4), torch.randn(2, 8, 10)
    w = se(x) / x; close(w, w[..., :1].expand_as(w), 1e-4); assert 0 < w.min() and w.max() < 1

# --- recurrent ones

@pytest.mark.parametrize('arch', RNNS)
def test_rnn_arguments(arch):
    order = 'c_in c_out hidden_size n_layers bias rnn_dropout bidirectional fc_dropout'
    assert list(inspect.signature(arch).parameters)[:8] == order.split()
    m = make(arch, n_layers=2, rnn_dropout=0.5, bias=False, bidirectional=True)
    assert (m.rnn.num_layers, m.rnn.dropout, m.rnn.bias, m.rnn.bidirectional, m.head_nf) == (2, 0.5, False, True, 16)
    x = torch.randn(4, 3, 12); assert not torch.equal(m(x), m(x))
    w, v = make(arch).rnn.weight_hh_l0[:8], make(arch, init_weights=False).rnn.weight_hh_l0[:8]
    close(w @ w.T, torch.eye(8)); assert (v @ v.T - torch.eye(8)).abs().max() > 0.1
    for bad in (dict(hidden_size=0), dict(n_layers=0), dict(rnn_dropout=1.5)):
        with pytest.raises(ValueError): make(arch, **bad)

@pytest.mark.parametrize('arch', RNNS)
@pytest.mark.parametrize('bidirectional', [False, True])
def test_rnn_head_sees_final_states(arch, bidirectional):
    m, x = make(arch, bidirectional=bidirectional, n_layers=2).eval(), torch.randn(4, 3, 12)
    h = m.rnn(x.transpose(1, 2))[1]; h = h[0] if isinstance(h, tuple) else h
    close(m(x), m.head(torch.cat(list(h[-2:] if bidirectional else h[-1:]), 1)))

@pytest.mark.parametrize('arch', RNNS)
def test_rnn_mask(arch):
    m, x = make(arch, bidirectional=True, n_layers=2).eval(), torch.randn(6, 3, 12)
    mask = torch.rand(6, 12) < 0.4; mask[:, 5] = False         # padding anywhere
    y = m(x.masked_fill(mask.unsqueeze(1), float('nan')), mask=mask)
    for o, k, yi in zip(x, mask, y): close(yi, m(o[None, :, ~k])[0])
    mask[0] = True; assert m(x, mask=mask).isfinite().all()
    with pytest.raises(ValueError, match='batch, length'): m(x, mask=mask[:, 1:])

def test_last_step():
    z = torch.arange(12.).view(1, 2, 6); mask = torch.tensor([[True, False, False, True, False, True]])
    assert LastStep()(z).tolist() == [[5., 11.]] and LastStep()(z, mask).tolist() == [[4., 10.]]
    assert LastStep(True)(z).tolist() == [[5., 6.]] and LastStep(True)(z, mask).tolist() == [[4., 7.]]

def test_run_rnn_without_mask_is_torch():
    rnn, x = nn.GRU(3, 4, batch_first=True), torch.randn(2, 5, 3)
    assert torch.equal(run_rnn(rnn, x), rnn(x)[0])
    close(run_rnn(rnn, x, torch.zeros(2, 5).bool()), rnn(x)[0])
