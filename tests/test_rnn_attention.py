"The attention-RNN family and TST: the page's numbers, an effect for every argument, and masks that mask."
import copy, inspect, math, pickle
import pytest, torch
from torch import nn
from torch.nn import functional as F
from tsfast.models.attention import MeanSteps, _StepNorm, _TSTEncoder, mask_bias
from tsfast.models.rnn_attention import GRUAttentionPlus, LSTMAttentionPlus, RNNAttentionPlus, _MultiHeadAttention, _TSTEncoderLayer
from tsfast.models.tst import TST
from tsfast.models.utils import count_parameters

FAMILY = [RNNAttentionPlus, LSTMAttentionPlus, GRUAttentionPlus]
NAN = float('nan')
SMALL = dict(hidden_size=16, n_heads=4, d_ff=32, encoder_layers=2)
TST_SMALL = dict(d_model=16, n_heads=4, d_ff=32, n_layers=2)

@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng(): torch.manual_seed(0); yield

def make(arch, *args, **kwargs): return arch(*args, **{**(TST_SMALL if arch is TST else SMALL), **kwargs})
def names(m): return [n for n, _ in m.named_parameters()]
def padding(B, L, low=3): return torch.arange(L) >= torch.randint(low, L, (B, 1))
def close(a, b, tol=1e-5): torch.testing.assert_close(a, b, atol=tol, rtol=tol)

# --- the page

def test_page_signature():
    args = dict(d=None, hidden_size=128, rnn_layers=1, bias=True, rnn_dropout=0, bidirectional=False, encoder_layers=3, n_heads=16,
        d_k=None, d_v=None, d_ff=256,
                encoder_dropout=0.1, act='gelu', fc_dropout=0.0, y_range=None, custom_head=None, use_bn=True, flatten=True)
    for arch in FAMILY:
        ps = inspect.signature(arch).parameters
        assert [k for k, o in ps.items() if o.kind != o.KEYWORD_ONLY] == ['c_in', 'c_out', 'seq_len', *args]
        assert {k: ps[k].default for k in args} == args

@pytest.mark.parametrize('arch,args,n', [
    (RNNAttentionPlus, dict(c_in=9, c_out=2, seq_len=500), 541_698), (RNNAttentionPlus, dict(c_in=9, c_out=2, seq_len=60), 429_058),
    (RNNAttentionPlus, dict(c_in=9, c_out=2, seq_len=60, d=10), 567_572),
    (RNNAttentionPlus, dict(c_in=9, c_out=2, seq_len=60, d=(3, 10)), 874_812),
    (RNNAttentionPlus, dict(c_in=3, c_out=4, seq_len=50), 438_532), (LSTMAttentionPlus, dict(c_in=3, c_out=4, seq_len=50), 489_604),
    (GRUAttentionPlus, dict(c_in=3, c_out=4, seq_len=50), 472_580)])
def test_page_parameters(arch, args, n):
    m = arch(**args)
    assert count_parameters(m) == n
    x = torch.randn(2, args['c_in'], args['seq_len'])
    d = args.get('d', ()); d = d if isinstance(d, tuple) else (d,)
    assert m(x).shape == (2, *d, args['c_out'])

def test_page_blocks():
    t = torch.rand(16, 50, 128)
    out, attn = _MultiHeadAttention(d_model=128, n_heads=3, d_k=8, d_v=6)(t, t, t)
    assert out.shape == (16, 50, 128) and attn.shape == (16, 3, 50, 50)
    layer = _TSTEncoderLayer(q_len=50, d_model=128, n_heads=3, d_k=None, d_v=None, d_ff=512, dropout=0.1, activation='gelu')
    assert layer(t).shape == (16, 50, 128)
    assert layer.self_attn.d_k == layer.self_attn.d_v == 42
    with pytest.raises(ValueError, match='50 steps'): layer(t[:, 1:])

# --- attention

def reference(mha, Q, K, V, blocked=None):
    "Section 3.2 of the paper, one head at a time"
    heads = []
    for h in range(mha.n_heads):
        k, v = slice(h*mha.d_k, (h+1)*mha.d_k), slice(h*mha.d_v, (h+1)*mha.d_v)
        q_, k_, v_ = Q @ mha.W_Q.weight[k].T, K @ mha.W_K.weight[k].T, V @ mha.W_V.weight[v].T
        s = q_ @ k_.transpose(1, 2) / math.sqrt(mha.d_k)
        if blocked is not None: s = s.masked_fill(blocked, -math.inf)
        heads.append(s.softmax(-1) @ v_)
    return torch.cat(heads, -1) @ mha.W_O.weight.T

@pytest.mark.parametrize('d_k,d_v', [(None, None), (8, 6), (5, 12)])
@pytest.mark.parametrize('masks', [(), ('pad',), ('causal',), ('pad', 'causal')])
def test_fused_equals_written_out(d_k, d_v, masks):
    mha, Q, K = _MultiHeadAttention(24, 3, d_k, d_v).double(), torch.randn(4, 9, 24).double(), torch.randn(4, 9, 24).double()
    V = torch.randn(4, 9, 24).double()
    pad, causal = padding(4, 9, 1), torch.ones(9, 9).triu(1).bool()
    kw = dict(key_padding_mask=pad if 'pad' in masks else None, attn_mask=causal if 'causal' in masks else None)
    a, w = mha(Q, K, V, **kw); b, none = mha(Q, K, V, need_weights=False, **kw)
    assert none is None
    close(a, b, 1e-12)
    blocked = torch.zeros(4, 9, 9).bool()
    if 'pad' in masks: blocked |= pad[:, None]
    if 'causal' in masks: blocked |= causal
    close(a, reference(mha, Q, K, V, blocked), 1e-12)
    assert (w.transpose(0, 1)[:, blocked] == 0).all()
    close(w.sum(-1), torch.ones(4, 3, 9).double())
    ga, gb = (torch.autograd.grad(o.square().sum(), list(mha.parameters()), retain_graph=True) for o in (a, b))
    for i, j in zip(ga, gb): close(i, j, 1e-10)

def test_attention_of_other_length_and_added_scores():
    mha, Q, K = _MultiHeadAttention(16, 4), torch.randn(2, 5, 16), torch.randn(2, 9, 16)
    bias = torch.randn(2, 4, 5, 9)
    (a, w), (b, _) = mha(Q, K, attn_mask=bias), mha(Q, K, attn_mask=bias, need_weights=False)
    assert w.shape == (2, 4, 5, 9); close(a, b)
    assert (mha(Q, K)[0] - a).abs().max() > 1e-4
    blocked = torch.zeros(5, 9).bool(); blocked[:, 4:] = True
    close(mha(Q, K, attn_mask=blocked)[0], mha(Q, K[:, :4])[0])
    close(mha(Q, K, attn_mask=torch.zeros(5, 9).masked_fill(blocked, -math.inf), need_weights=False)[0], mha(Q, K[:, :4])[0])

@pytest.mark.parametrize('need_weights', [True, False])
def test_nowhere_to_look_gives_zeros(need_weights):
    mha, t = _MultiHeadAttention(16, 4), torch.randn(2, 5, 16, requires_grad=True)
    pad = torch.zeros(2, 5).bool(); pad[0] = True
    out, w = mha(t, key_padding_mask=pad, need_weights=need_weights)
    assert (out[0] == 0).all() and (out[1] != 0).any()
    out.sum().backward(); assert not t.grad.isnan().any() and not any(p.grad.isnan().any() for p in mha.parameters())
    assert mask_bias(t, None, None) == (None, None)

@pytest.mark.parametrize('need_weights', [True, False])
@pytest.mark.parametrize('fill', [NAN, math.inf])
def test_what_stands_in_masked_keys_does_not_matter(need_weights, fill):
    mha, Q, K, pad = _MultiHeadAttention(24, 3), torch.randn(4, 9, 24), torch.randn(4, 9, 24), padding(4, 9, 1)
    kw, bad = dict(key_padding_mask=pad, need_weights=need_weights), K.masked_fill(pad.unsqueeze(-1), fill)
    want = mha(Q, K, **kw)[0]
    assert torch.equal(mha(Q, bad, **kw)[0], want) and torch.equal(mha(Q, K, bad, **kw)[0], want)
    with pytest.raises(ValueError, match=r'attn_mask.bool\(\)'): mha(Q, K, attn_mask=torch.ones(9, 9).triu(1).int())

@pytest.mark.parametrize('train', [True, False])
def test_nan_in_the_padding_of_an_encoder_layer(train):
    layer, z, pad = _TSTEncoderLayer(None, 16, 4, dropout=0.).train(train), torch.randn(4, 9, 16), padding(4, 9)
    results = []
    for fill in (0., NAN):
        layer.zero_grad(); out = layer(z.masked_fill(pad.unsqueeze(-1), fill), pad)[~pad]
        out.square().sum().backward(); results.append([out.detach(), *(p.grad.clone() for p in layer.parameters())])
    for a, b in zip(*results): assert a.isfinite().all() and torch.equal(a, b)

def test_head_widths():
    assert _MultiHeadAttention(128, 3).W_Q.out_features == 3*42
    m = _MultiHeadAttention(16, 4, d_k=7, d_v=3)
    assert (m.W_Q.out_features, m.W_K.out_features, m.W_V.out_features, m.W_O.in_features) == (28, 28, 12, 12)
    for bad in (lambda: _MultiHeadAttention(8, 16), lambda: RNNAttentionPlus(3, 2, 10, hidden_size=8), lambda: TST(3, 2, 10, d_model=8)):
        with pytest.raises(ValueError, match='n_heads <= d_model'): bad()
    RNNAttentionPlus(3, 2, 10, hidden_size=8, bidirectional=True)   # an encoder of width 16
    with pytest.raises(ValueError, match='d_k'): _MultiHeadAttention(8, 2, d_k=0)
    with pytest.raises(ValueError, match='n_heads'): _MultiHeadAttention(8, 0)

# --- every argument has an effect

@pytest.mark.parametrize('arch', FAMILY)
def test_recurrent_arguments(arch):
    x = torch.randn(4, 3, 10)
    assert make(arch, 3, 2, 10, rnn_layers=2).rnn.num_layers == 2
    m = make(arch, 3, 2, 10, bias=False)
    assert not [n for n in names(m) if n.startswith('rnn') and 'bias' in n] and [n 
        for n in names(make(arch, 3, 2, 10)) if n.startswith('rnn') and 'bias' in n]
    assert isinstance(m.rnn, {'RNN': nn.RNN, 'LST': nn.LSTM, 'GRU': nn.GRU}[arch.__name__[:3]])
    m = make(arch, 3, 2, 10, bidirectional=True)
    assert m.head_nf == 32 and m.forward_features(x).shape == (4, 32, 10) and m.encoder.layers[0].ff[0].in_features == 32
    assert m.rnn(x.transpose(1, 2))[0].shape == (4, 10, 32)

def takes(arch, names): return set(names) <= set(inspect.signature(arch).parameters)

@pytest.mark.parametrize('arch,kw', [(a, k) for a in (*FAMILY, TST) for k in ('rnn_dropout', 'encoder_dropout', 'fc_dropout', 'dropout')
    if takes(a, [k])])
def test_dropout(arch, kw):
    base = dict(rnn_layers=2, encoder_dropout=0.) if arch is not TST else dict(dropout=0.)
    x = torch.randn(4, 3, 10)
    def spread(**kwargs):
        m = make(arch, 3, 2, 10, **{**base, **kwargs}).train()
        return (m(x) - m(x)).abs().max()
    assert spread() == 0
    assert spread(**{kw: 0.5}) > 1e-4
    m = make(arch, 3, 2, 10, **{**base, kw: 0.5}).eval()
    assert torch.equal(m(x), m(x))
    with pytest.raises(ValueError, match='robability'): make(arch, 3, 2, 10, **{**base, kw: 1.5})

def test_rnn_dropout_is_that_of_torch():
    assert make(RNNAttentionPlus, 3, 2, 10, rnn_layers=2, rnn_dropout=0.3).rnn.dropout == 0.3
    # torch says that there is nothing to drop between layers
    with pytest.warns(UserWarning, match='dropout'): make(RNNAttentionPlus, 3, 2, 10, rnn_dropout=0.3)

@pytest.mark.parametrize('arch', [*FAMILY, TST])
def test_encoder_arguments(arch):
    m = make(arch, 3, 2, 10, d_k=5, d_v=7, d_ff=24, act='relu', n_heads=2, **({'n_layers': 4} if arch is TST else {'encoder_layers': 4}))
    assert len(m.encoder.layers) == 4
    layer = m.encoder.layers[0]
    assert (layer.self_attn.d_k, layer.self_attn.d_v, layer.self_attn.n_heads, layer.ff[0].out_features) == (5, 7, 2, 24)
    assert isinstance(layer.ff[1], nn.ReLU) and isinstance(make(arch, 3, 2, 10).encoder.layers[0].ff[1], nn.GELU)
    relu, gelu = make(arch, 3, 2, 10, act='relu').eval(), make(arch, 3, 2, 10, act='gelu').eval()
    gelu.load_state_dict(relu.state_dict()); x = torch.randn(2, 3, 10)
    assert (relu(x) - gelu(x)).abs().max() > 1e-4
    with pytest.raises(KeyError, match="Did you mean 'relu'"): make(arch, 3, 2, 10, act='rellu')

@pytest.mark.parametrize('arch', [*FAMILY, TST])
@pytest.mark.parametrize('d', [None, 6, (3, 4)])
def test_y_range(arch, d):
    x = 100*torch.randn(8, 3, 10)
    y = make(arch, 3, 1, 10, d=d, y_range=(-2, 3)).eval()(x)
    assert y.shape == (8, *((1,) if d is None else d if isinstance(d, tuple) else (d,)))
    assert -2 <= y.min() < y.max() <= 3
    with pytest.raises(ValueError, match='low < high'): make(arch, 3, 1, 10, d=d, y_range=(3, -2))

@pytest.mark.parametrize('arch', [*FAMILY, TST])
@pytest.mark.parametrize('flatten', [True, False])
def test_use_bn(arch, flatten):
    n = [count_parameters(make(arch, 3, 2, 10, d=6, use_bn=o, flatten=flatten)) for o in (False, True)]
    assert n[1] - n[0] == 2*16                                # with d: a weight and a bias for each feature
    n = [count_parameters(make(arch, 3, 2, 10, use_bn=o, flatten=flatten)) for o in (False, True)]
    assert n[1] == n[0]                                       # without d: no place, as the page's counts show
    m, x = make(arch, 3, 2, 10, d=6, use_bn=True, flatten=flatten), torch.randn(8, 3, 10)
    bn = [l for l in m.modules() if type(l) is nn.BatchNorm1d]
    assert len(bn) == 1 and m(x).shape == (8, 6, 2)
    assert bn[0].running_mean.abs().max() > 0

@pytest.mark.parametrize('arch', [*FAMILY, TST])
@pytest.mark.parametrize('d', [None, 6])
def test_flatten(arch, d):
    joined, mean = make(arch, 3, 2, 10, d=d, use_bn=False), make(arch, 3, 2, 10, d=d, use_bn=False, flatten=False).eval()
    n_out = 2*(d or 1)
    assert count_parameters(joined) - count_parameters(mean) == 9*16*n_out
    x = torch.randn(4, 3, 10)
    close(mean(x), mean.head(mean.forward_features(x).mean(-1)))
    with pytest.raises(ValueError, match='10 steps'): joined(x[..., :9])
    if arch is TST:
        with pytest.raises(ValueError, match='10 steps'): mean(x[..., :9])
    else: assert mean(x[..., :7]).shape == mean(x).shape      # any length

@pytest.mark.parametrize('arch', [*FAMILY, TST])
def test_custom_head(arch):
    x, seen = torch.randn(4, 3, 10), []
    def head(nf, c_out, seq_len): seen.append((nf, c_out, seq_len)); return nn.Sequential(nn.Flatten(), nn.Linear(nf*seq_len, 5))
    assert make(arch, 3, 2, 10, custom_head=head)(x).shape == (4, 5) and seen == [(16, 2, 10)]
    m = make(arch, 3, 2, 10, custom_head=nn.Identity()).eval()
    assert torch.equal(m(x), m.forward_features(x)) and m(x).shape == (4, 16, 10)
    assert m.reset_head(3)(x).shape == (4, 3)

# --- masks

@pytest.mark.parametrize('arch,kw', [(a, k) for a in (*FAMILY, TST) for k in (dict(), dict(flatten=False), dict(d=4, use_bn=True),
    dict(bidirectional=True, rnn_layers=2),
                                                                             dict(max_seq_len=4)) if takes(a, k)], ids=str)
@pytest.mark.parametrize('train', [False, True])
def test_padding_has_no_effect(arch, kw, train):
    drop = {'dropout' if arch is TST else 'encoder_dropout': 0.}
    m = make(arch, 3, 2, 10, **kw, **drop)
    x, mask = torch.randn(6, 3, 10), padding(6, 10)
    outs, grads = [], []
    for fill in (0., 1e4, float('nan')):
        m_ = copy.deepcopy(m).train(train)
        xi = x.masked_fill(mask.unsqueeze(1), fill).requires_grad_()
        y = m_(xi, mask=mask); y.square().sum().backward()
        assert (xi.grad.transpose(1, 2)[mask] == 0).all() and xi.grad.isfinite().all()
        outs.append(y); grads.append(torch.cat([p.grad.flatten() for p in m_.parameters()]))
    for o, g in zip(outs[1:], grads[1:]): assert torch.equal(o, outs[0]) and torch.equal(g, grads[0])
    assert outs[0].isfinite().all()
    assert (m.eval()(x) - m(x, mask=mask)).abs().max() > 1e-4
    if train is False: close(m(x, mask=torch.zeros(6, 10).bool()), m(x), 1e-5)

@pytest.mark.parametrize('arch', FAMILY)
def test_padded_series_is_the_series(arch):
    m = make(arch, 3, 2, 12, bidirectional=True, rnn_layers=2, flatten=False).eval()
    x, mask = torch.randn(6, 3, 12), padding(6, 12)
    for o, k, y in zip(x, mask, m(x, mask=mask)): close(y, m(o[None, :, ~k])[0])
    front = mask.flip(1); xf = x.flip(2)                       # padding at the front, or in between, does as well
    for o, k, y in zip(xf, front, m(xf, mask=front)): close(y, m(o[None, :, ~k])[0])

@pytest.mark.parametrize('arch', [*FAMILY, TST])
def test_series_of_padding_only(arch):
    m, x, mask = make(arch, 3, 2, 10, flatten=False), torch.randn(4, 3, 10), torch.zeros(4, 10).bool()
    mask[0] = True
    y = m(x, mask=mask); y.sum().backward()
    assert y.isfinite().all() and all(p.grad.isfinite().all() for p in m.parameters())

@pytest.mark.parametrize('arch', [*FAMILY, TST])
def test_bad_masks(arch):
    m, x = make(arch, 3, 2, 10), torch.randn(4, 3, 10)
    with pytest.raises(ValueError, match=r'\(4, 10\)'): m(x, mask=torch.zeros(4, 9).bool())
    with pytest.raises(ValueError, match='torch.bool'): m(x, mask=torch.zeros(4, 10))

def test_norm_has_no_shape_that_depends_on_the_mask():
    "So that a GPU need not wait for one, and 'meta' has nothing to compute"
    bn, z = _StepNorm(4).to('meta'), torch.randn(6, 10, 4, device='meta', requires_grad=True)
    bn(z, torch.zeros(6, 10, dtype=torch.bool, device='meta')).sum().backward(); assert z.grad.shape == z.shape

def test_norm_counts_real_steps_only():
    bn, ref, z = _StepNorm(4), nn.BatchNorm1d(4), torch.randn(6, 10, 4)
    mask = padding(6, 10)
    out = bn(z, mask)
    close(out[~mask], ref(z[~mask])); close(bn.running_var, ref.running_var)
    assert bn.num_batches_tracked == 1
    enc = _TSTEncoder(None, 4, 2).eval()
    close(enc(z, mask)[~mask], enc(z.masked_fill(mask.unsqueeze(-1), 9.), mask)[~mask])

def test_mean_steps():
    z, mask = torch.randn(6, 4, 10), padding(6, 10)
    for o, k, m in zip(z, mask, MeanSteps()(z, mask)): close(m, o[:, ~k].mean(-1))

# --- TST

def test_tst_reduces_long_series():
    m = make(TST, 3, 2, 50, max_seq_len=20)
    assert (m.stride, m.n_steps) == (3, 17) and m(torch.randn(2, 3, 50)).shape == (2, 2)
    assert make(TST, 3, 2, 50, max_seq_len=50).stride == 1 and make(TST, 3, 2, 50).n_steps == 50
    mask = torch.zeros(2, 50).bool(); mask[:, 49:] = True      # the last step of the encoder holds two time steps, both in part padding
    assert not m.step_mask(mask).any()
    mask[:, 48:] = True
    assert m.step_mask(mask).sum(1).tolist() == [1, 1]
    with pytest.raises(ValueError, match='max_seq_len'): TST(3, 2, 50, max_seq_len=0)

def test_tst_positions():
    m = make(TST, 3, 2, 10)
    assert 'W_pos' in names(m) and m.W_pos.abs().max() <= 0.02
    f = make(TST, 3, 2, 10, learn_pe=False)
    assert 'W_pos' not in names(f) and 'W_pos' in f.state_dict()
    close(f.W_pos[:, 0], torch.arange(10).float().sin())

# --- portable

@pytest.mark.parametrize('arch', [*FAMILY, TST])
def test_portable(arch):
    m = make(arch, 3, 2, 10).eval(); x = torch.randn(4, 3, 10)
    y = m(x)
    other = make(arch, 3, 2, 10).eval(); other.load_state_dict(m.state_dict()); assert torch.equal(other(x), y)
    assert torch.equal(copy.deepcopy(m)(x), y) and torch.equal(pickle.loads(pickle.dumps(m))(x), y)
    assert copy.deepcopy(m).double()(x.double()).dtype == torch.float64
    assert copy.deepcopy(m).half().state_dict()['head.weight'].dtype == torch.float16
