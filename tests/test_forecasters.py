"Reversible instance normalisation, the option `revin` of every architecture, and the forecasters, beside literal forms of their equations"
import copy, importlib.util, inspect, math, pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import tsfast.deploy  # noqa: methods of learners
from tsfast.core import seeded
from tsfast.data.core import get_ts_dls
from tsfast.data.preprocessing import TSNan2Value, TSStandardize
from tsfast.data.targets import TSRegression
from tsfast.data.windows import SlidingWindow
from tsfast.inference import Predictor, pooled_features
from tsfast.learner import ts_learner
from tsfast.models.feature_model import FeatureModel
from tsfast.models.heads import TSModule
from tsfast.models.itransformer import iTransformer
from tsfast.models.nlinear import NLinear
from tsfast.models.patchtst import PatchTST
from tsfast.models.registry import build_ts_model, get_arch, list_models
from tsfast.models.revin import RevIN
from tsfast.models.tsmixer import TSMixer
from tsfast.models.utils import count_parameters
from test_models import SMALL

B, C, L, H = 6, 3, 24, 5
NAN = float('nan')
FORECASTERS = ['DLinear', 'NLinear', 'PatchTST', 'TSMixer', 'iTransformer']
MASKING = [o for o in list_models() if 'mask_padding' in inspect.signature(get_arch(o)).parameters]

def series(n=B, c=C, length=L, seed=0): return torch.randn(n, c, length, generator=torch.Generator().manual_seed(seed))

def make(arch, d=(C, H), c_out=1, fit=True, **kwargs):
    "A small model whose head has random weights"
    ps = inspect.signature(get_arch(arch)).parameters
    small = {k: v for k, v in SMALL.items() if k in ps} | (dict(random_state=0) if 'random_state' in ps else {})
    with seeded(0):
        m = build_ts_model(arch, C, c_out, seq_len=L, d=d, **small | kwargs)
        for p in m.parameters():
            if not p.any(): nn.init.normal_(p, std=.1)
    if fit and not getattr(m, 'fitted', True): m.fit(series(32))
    return m.eval()

def shuffled(m, std=.3):
    "Biases and weights of normalisations that differ from their first values"
    with seeded(1):
        for p in m.parameters():
            if p.ndim == 1: nn.init.normal_(p, 1., std)
    return m


# ---------------------------------------------------------------- the normalisation

def literal(x, mask, weight, bias, last, together, eps):
    "One series and channel after the other, in float64"
    z, back = np.full(x.shape, np.nan), np.zeros((*x.shape[:2], 2))
    for i in range(len(x)):
        steps = [t for t in range(x.shape[2]) if mask is None or not mask[i, t]]
        for c in range(x.shape[1]):
            values = [x[i, k, t] for k in (range(x.shape[1]) if together else [c]) for t in steps]
            mean = sum(values)/len(values)
            std = math.sqrt(sum((v - mean)**2 for v in values)/len(values) + eps)
            center = x[i, c, steps[-1]] if last else mean
            for t in steps: z[i, c, t] = (x[i, c, t] - center)/std*weight[c] + bias[c]
            back[i, c] = center, std
    return z, back

@pytest.mark.parametrize('affine', [False, True])
@pytest.mark.parametrize('last', [False, True])
@pytest.mark.parametrize('dim', [2, (1, 2)])
@pytest.mark.parametrize('masked', [False, True])
def test_literal_normalisation(affine, last, dim, masked):
    m = shuffled(RevIN(C, affine, last, dim, eps=1e-3)).double()
    x = (series()*torch.tensor([1., 10, .1])[:, None] + torch.tensor([0., -40, 5])[:, None]).double()
    mask = torch.arange(L) >= torch.tensor([24, 3, 11, 1, 20, 8])[:, None] if masked else None
    w, b = (m.weight, m.bias) if affine else (torch.ones(C), torch.zeros(C))
    want, back = literal(x.numpy(), mask, w.tolist(), b.tolist(), last, dim != 2, 1e-3)
    hidden = x if mask is None else x.masked_fill(mask[:, None], NAN)
    z, stats = m(hidden, mask)
    np.testing.assert_allclose(z.detach(), want, atol=1e-9)
    for h in ((), (4,), (4, 2)):
        y = torch.randn(B, C, *h).double()
        each = (back[..., 0], back[..., 1], w[None], b[None])
        center, std, scale, shift = (torch.as_tensor(o).double().reshape(*o.shape, *[1]*len(h)) for o in each)
        torch.testing.assert_close(m.inverse(y, stats), (y - shift)/scale*std + center)

def test_nothing_is_kept():
    "The statistics of a batch are in no attribute, and the module has no buffers"
    m = RevIN(C)
    before = {k: v for k, v in vars(m).items() if k[0] != '_'}
    m(series()); m(series(2, seed=1))
    assert {k: v for k, v in vars(m).items() if k[0] != '_'} == before and not list(m.buffers())

@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes(dtype):
    "Statistics of half precision are summed in float32; constant series stay near 0"
    m, x = RevIN(C, affine=False), (100 + series(length=2000)).to(dtype)
    z, stats = m(x)
    assert z.dtype == stats[0].dtype == dtype and m.inverse(z, stats).dtype == dtype
    torch.testing.assert_close(z.double().mean(2), torch.zeros(B, C).double(), atol=5e-2, rtol=0)
    for level in (0., 1., 3e4):
        z, stats = m(torch.full((2, C, 999), level).to(dtype))
        assert z.abs().max() <= 1 and (m.inverse(z, stats).double() - level).abs().max() <= .02*level

def test_gradients_of_constant_and_padded_series():
    m, x = RevIN(C), series().requires_grad_()
    with torch.no_grad(): x[0] = 3.; x[1] = NAN; x[2, :, 5:] = NAN
    mask = x.isnan().all(1)
    z, stats = m(x, mask)
    m.inverse(z.masked_fill(mask[:, None], 0), stats).square().sum().backward()
    assert all(g.isfinite().all() for g in (x.grad, m.weight.grad, m.bias.grad)) and not x.grad[1].any()


# ---------------------------------------------------------------- the option of every architecture

@pytest.mark.parametrize('arch', list_models())
def test_forecasts_follow_level_and_scale(arch):
    "Of a*x + b the forecast is a times that of x, plus b; and off, nothing is there"
    with torch.no_grad():
        m, x = make(arch, revin=dict(eps=1e-12)).double(), series().double()
        a, b = torch.tensor([1., 20, .1])[:, None], torch.tensor([0., 100, -5])[:, None]
        # thresholds of the ROCKETs may lie within rounding of a value
        error = (m(x*a + b) - (m(x)*a + b)).abs().div(a)
        assert error.median() < 1e-4 and (isinstance(m, FeatureModel) or error.max() < 1e-3)
        assert m.init_args['revin'] == dict(eps=1e-12) and m(x).shape == (B, C, H)
    on, plain = make(arch, revin=True, fit=False), make(arch, fit=False, **dict(revin=False) if arch == 'PatchTST' else {})
    assert 'RevIN' not in repr(plain) and not any('revin' in k for k in plain.state_dict())
    assert inspect.signature(get_arch(arch)).parameters['revin'].default is (None if arch == 'PatchTST' else False)
    assert count_parameters(on) - count_parameters(plain) == (0 if isinstance(m, (FeatureModel, PatchTST)) else 2*C)

@pytest.mark.parametrize('arch', ['LSTM', 'TST', 'FCN', 'MiniRocket', *FORECASTERS])
@pytest.mark.parametrize('kw', [dict(c_out=4, d=None), dict(d=None), dict(d=H), dict(d=(2, H)), dict(c_out=4, d=(C,)), dict(d=(H, C))],
                         ids=str)
def test_refused_without_a_forecast(arch, kw):
    with pytest.raises(ValueError, match=r'd=\(3, steps\)'): make(arch, revin=True, fit=False, **kw)

def test_refused_arguments():
    for revin in ('yes', 2, None, dict(afine=True), dict(c_in=4)):
        with pytest.raises(ValueError, match='Expected True, False, or a dict'): make('LSTM', revin=revin)
    with pytest.raises(ValueError, match="affine is 'yes'"): make('LSTM', revin=dict(affine='yes'))
    with pytest.raises(ValueError, match='do not go together'): make('LSTM', revin=True, y_range=(0, 1))
    with pytest.raises(ValueError, match='fitted once'): make('MiniRocket', revin=dict(affine=True))
    with pytest.raises(ValueError, match='asks for the opposite'): make('MiniRocket', revin=True).reset_head(2)

@pytest.mark.parametrize('d', [(C,), (C, H), (C, H, 2)])
@pytest.mark.parametrize('arch', ['LSTM', 'TST', *FORECASTERS])
def test_shapes_that_start_with_the_channels(arch, d):
    m, x = make(arch, d=d, revin=True), series()
    assert m.forecasts and m(x).shape == (B, *d)
    torch.testing.assert_close(m(10*x + 50), 10*m(x) + 50, atol=2e-2, rtol=1e-3)

def test_what_the_network_sees():
    "Embeddings and heads of one's own work on the normalised series"
    m, x = make('LSTM', revin=dict(affine=False)), series()
    plain = make('LSTM')
    plain.load_state_dict(m.state_dict())
    z, stats = RevIN(C, affine=False)(5*x - 9)
    torch.testing.assert_close(pooled_features(m, 5*x - 9), pooled_features(plain, z))
    torch.testing.assert_close(m(5*x - 9), RevIN(C, affine=False).inverse(plain(z), stats))
    head = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(128, C*H), nn.Unflatten(1, (C, H)))
    own = make('FCN', revin=True, custom_head=head)
    torch.testing.assert_close(own(10*x + 50), 10*own(x) + 50, atol=1e-2, rtol=1e-3)

def test_a_new_head():
    m = make('GRU', revin=True)
    assert hasattr(m.reset_head(1, d=(C, 7), revin=dict(affine=False)), 'revin') and m.init_args['revin'] == dict(affine=False)
    assert m(series()).shape == (B, C, 7) and not hasattr(m.reset_head(4), 'revin') and m.init_args['revin'] is False
    m = make('PatchTST')
    assert hasattr(m, 'revin') and not hasattr(m.reset_head(4), 'revin') and hasattr(m.reset_head(1, d=(C, 2)), 'revin')
    assert not hasattr(m.reset_head(1, d=(C, 2), y_range=(0, 1)), 'revin') and not hasattr(m.reset_head(1, d=(C, 2), revin=False), 'revin')
    again = PatchTST(**m.init_args); again.load_state_dict(m.state_dict())

@pytest.mark.parametrize('arch', MASKING)
def test_padding(arch):
    "NaN at the end and a mask of it are the same, and what stands there has no effect"
    m, x = make(arch, revin=True, mask_padding=True), 5*series() + 20
    mask = torch.arange(L) >= torch.tensor([24, 3, 11, 18, 20, 8])[:, None]
    nan = x.masked_fill(mask[:, None], NAN)
    with torch.no_grad():
        want = m(nan)
        torch.testing.assert_close(m(x, mask=mask), want, atol=1e-4, rtol=1e-4)
        if m.seq_len is None:
            for i, n in enumerate(L - mask.sum(1)): torch.testing.assert_close(m(x[i:i+1, :, :n])[0], want[i], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(m(nan*10 - 7), want*10 - 7, atol=5e-2, rtol=1e-3)
        nan[0] = NAN
        assert m(nan).isfinite().all()
    m.train()(nan).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in m.parameters())

@pytest.mark.parametrize('arch', ['LSTM', 'TST', 'TSMixer'])
def test_copies_threads_and_pickles(arch):
    m = make(arch, revin=True)
    x = [series(seed=i)*(i + 1) + 10*i for i in range(16)]
    with torch.no_grad():
        want = [m(o) for o in x]
        for o in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))): assert all(torch.equal(o(u), v) for u, v in zip(x, want))
        call = torch.no_grad()(m.forward)
        with ThreadPoolExecutor(8) as pool: got = list(pool.map(call, x*4))
    assert all(torch.equal(a, b) for a, b in zip(got, want*4))

def test_a_forward_of_ones_own():
    "It applies the option, or refuses it"
    class Own(get_arch('FCN')):
        def forward(self, x): return super().forward(x) + 1
    with pytest.raises(ValueError, match='@undoes_revin'): Own(C, 1, d=(C, H), revin=True)
    assert Own(C, 1, d=(C, H))(series()).shape == (B, C, H)
    assert TSModule.forward.undoes_revin


# ---------------------------------------------------------------- in a learner

LOAD = np.random.default_rng(0).normal(size=(400, C)).cumsum(0)*[1, 10, .1] + [0, 200, -5]

def learner(arch, target=TSRegression(standardize=True), tfms=TSStandardize(by_var=True), epochs=1, **kwargs):
    X, y = SlidingWindow(L, horizon=H)(LOAD)
    n = len(X)
    dls = get_ts_dls(X, y, splits=(range(n - 100), range(n - 100, n)), tfms=[None, target], batch_tfms=tfms, bs=64, device='cpu')
    ps = inspect.signature(get_arch(arch)).parameters
    learn = ts_learner(dls, arch, seed=0, **{k: v for k, v in SMALL.items() if k in ps} | kwargs)
    with learn.no_bar(), learn.no_logging():
        if epochs: learn.fit_one_cycle(epochs, 1e-2)
    return learn, X

@pytest.mark.parametrize('arch', ['LSTM', 'TST', 'MiniRocket', *FORECASTERS])
def test_bundle(arch, tmp_path):
    kw = dict(num_features=84, random_state=0) if arch == 'MiniRocket' else {}
    learn, X = learner(arch, revin=dict(subtract_last=True), **kw)
    p = Predictor(learn.save_bundle(tmp_path/'b'))
    assert p.config['architecture']['arguments']['revin'] == dict(subtract_last=True)
    torch.testing.assert_close(p(X[:9]), learn.get_X_preds(X[:9])[0], rtol=1e-4, atol=1e-3)
    assert p.embeddings(X[:9]).shape == (9, learn.model.head_nf)

@pytest.mark.filterwarnings("ignore:The tensor attribute.* assigned during export:UserWarning")
@pytest.mark.parametrize('arch', ['LSTM', 'PatchTST'])
def test_exports(arch, tmp_path):
    "Exported program and ONNX give the forecasts of the learner, in the user's units"
    learn, X = learner(arch, revin=True)
    X, want, tol = X[:9], learn.get_X_preds(X[:9])[0], dict(rtol=1e-4, atol=1e-3)
    with torch.no_grad(): torch.testing.assert_close(tsfast.deploy.export_program(learn).module()(torch.from_numpy(X)), want, **tol)
    if all(importlib.util.find_spec(o) for o in ('onnx', 'onnxruntime', 'onnxscript')):
        import onnxruntime
        s = onnxruntime.InferenceSession(str(tsfast.deploy.export_onnx(learn, tmp_path/'m.onnx')), providers=['CPUExecutionProvider'])
        torch.testing.assert_close(torch.from_numpy(s.run(None, {'series': X})[0]), want, **tol)

@pytest.mark.filterwarnings("ignore:The tensor attribute.* assigned during export:UserWarning")
def test_deployed_with_padding(tmp_path):
    "The statistics of a graph leave the padding out, too"
    tfms = [TSStandardize(by_var=True), TSNan2Value(keep_padding=True)]
    learn, X = learner('GRU', tfms=tfms, revin=dict(affine=False))
    X = X[:9].copy()
    X[::2, :, 15:] = np.nan
    want = learn.get_X_preds(X)[0]
    torch.testing.assert_close(Predictor(learn.save_bundle(tmp_path/'b'))(X), want, rtol=1e-4, atol=1e-3)
    prog = tsfast.deploy.export_program(learn).module()
    with torch.no_grad(): torch.testing.assert_close(prog(torch.from_numpy(X)), want, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(learn.get_X_preds(X[:1, :, :15])[0], want[:1], rtol=1e-4, atol=1e-3)

@pytest.mark.parametrize('target,tfms,fits', [
    (True, TSStandardize(by_var=True), True), (False, None, True), (False, TSStandardize(by_sample=True), True),
    (False, TSStandardize(by_var=True), False), (True, None, False), (True, TSStandardize(), False)])
def test_units(target, tfms, fits):
    "Targets have to be in the units of the series, for which all channels may not share one scale"
    args = 'NLinear', TSRegression(standardize=target), tfms, 0
    learner(*args)
    if fits: learner(*args, revin=True)
    else:
        with pytest.raises(ValueError, match='or neither of them'): learner(*args, revin=True)

def test_units_of_defaults_and_instances():
    "The check is for every model that has `revin`: by default, or built by the user"
    for arch in ('PatchTST', 'NLinear'):
        other = TSRegression(), TSStandardize(by_var=True)
        if arch == 'PatchTST':
            assert hasattr(learner(arch, epochs=0)[0].model, 'revin') and not hasattr(learner(arch, *other, epochs=0)[0].model, 'revin')
            with pytest.raises(ValueError, match='or revin=False'): learner(arch, *other, epochs=0, revin=True)
        X, y = SlidingWindow(L, horizon=H)(LOAD)
        for (target, tfms), fits in ((other, False), ((TSRegression(), None), True)):
            dls = get_ts_dls(X, y, splits=(range(200), range(200, len(X))), tfms=[None, target], batch_tfms=tfms, bs=64, device='cpu')
            if fits: ts_learner(dls, make(arch, revin=True))
            else:
                with pytest.raises(ValueError, match='or neither of them'): ts_learner(dls, make(arch, revin=True))

def test_closed_form_heads():
    "The last linear layer is not the output"
    learn, _ = learner('LSTM', revin=True, epochs=0)
    with pytest.raises(ValueError, match='revin'): learn.fit_ridge()


# ---------------------------------------------------------------- the forecasters, literally

def linear(layer, v): return (layer.weight.double() @ v + (0 if layer.bias is None else layer.bias.double()))

def attention(a, z):
    "Rows of `z` (n, d_model), each looking at all of them, one head after the other"
    heads = []
    for h in range(a.n_heads):
        k, v = slice(h*a.d_k, (h + 1)*a.d_k), slice(h*a.d_v, (h + 1)*a.d_v)
        q_, k_, v_ = z @ a.W_Q.weight[k].double().T, z @ a.W_K.weight[k].double().T, z @ a.W_V.weight[v].double().T
        heads.append((q_ @ k_.T/math.sqrt(a.d_k)).softmax(-1) @ v_)
    return torch.cat(heads, -1) @ a.W_O.weight.double().T

def batch_norm(bn, z): return (z - bn.running_mean.double())/(bn.running_var.double() + bn.eps).sqrt()*bn.weight.double() + bn.bias.double()

def layer_norm(ln, z): return F.layer_norm(z, z.shape[-1:], ln.weight.double(), ln.bias.double(), ln.eps)

def encoder(layers, z, norm):
    for l in layers:
        z = norm(l.attn_norm, z + attention(l.self_attn, z))
        z = norm(l.ff_norm, z + torch.stack([linear(l.ff[2], F.gelu(linear(l.ff[0], row))) for row in z]))
    return z

def with_statistics(m):
    "Running statistics that differ from their first values"
    with seeded(2):
        for o in m.modules():
            if isinstance(o, nn.modules.batchnorm._BatchNorm): nn.init.normal_(o.running_mean); nn.init.uniform_(o.running_var, .5, 2)
    return shuffled(m).eval()

def test_nlinear():
    m, x = NLinear(C, 1, L, d=(C, H)), series().double()
    for p in m.parameters(): nn.init.normal_(p)
    fc = m.head[0].fc
    want = torch.stack([torch.stack([linear(fc, row - row[-1]) + row[-1] for row in o]) for o in x])
    torch.testing.assert_close(m.double()(x), want)

@pytest.mark.parametrize('act', ['relu', 'gelu'])
def test_tsmixer(act):
    m, x = with_statistics(TSMixer(C, 1, L, n_layers=2, d_ff=7, d=(C, H), act=act)), series().double()
    f = F.relu if act == 'relu' else F.gelu
    want = torch.zeros(B, C, H).double()
    for i in range(B):
        z = x[i].clone()
        for b in m.blocks:
            v = batch_norm(b.time_norm, z.flatten()).view(C, L)
            z = z + torch.stack([f(linear(b.time[0], v[c])) for c in range(C)])
            v = batch_norm(b.channel_norm, z.flatten()).view(C, L)
            z = z + torch.stack([linear(b.channels[3], f(linear(b.channels[0], v[:, t]))) for t in range(L)], 1)
        want[i] = torch.stack([linear(m.head[0], z[c]) for c in range(C)])
    torch.testing.assert_close(m.double()(x), want)
    flat = with_statistics(TSMixer(C, 4, L, n_layers=1)).double()
    torch.testing.assert_close(flat(x), flat.head[1](flat.forward_features(x).flatten(1)))

def test_itransformer():
    m, x = shuffled(iTransformer(C, 1, L, n_layers=2, n_heads=2, d_model=8, d_ff=12, d=(C, H))).eval(), series().double()
    want = []
    for o in x:
        z = encoder(m.encoder.layers, torch.stack([linear(m.embed, row) for row in o]), layer_norm)
        want.append(torch.stack([linear(m.head[1][0], row) for row in z]))
    torch.testing.assert_close(m.double()(x), torch.stack(want))
    classes = shuffled(iTransformer(C, 4, L, n_heads=2, d_model=8, d_ff=12)).eval().double()
    assert classes(x).shape == (B, 4) and classes.forward_features(x).shape == (B, 8, C)

@pytest.mark.parametrize('P,S,pad', [(8, 4, True), (8, 4, False), (5, 7, True), (24, 3, True), (30, 8, True), (1, 1, False)])
def test_patchtst(P, S, pad):
    kw = dict(n_layers=2, n_heads=2, d_model=8, d_ff=12, patch_len=P, stride=S, padding_patch=pad)
    m, x = with_statistics(PatchTST(C, 1, L, (C, H), revin=True, affine=True, **kw)), 7*series().double() + 30
    size = min(P, L)
    starts = range(0, L + S*pad - size + 1, S)
    assert m.n_patches == len(starts) and (P > L or m.n_patches == (L - P)//S + 1 + pad)
    norm = copy.deepcopy(m.revin).double()
    z, stats = norm(x)
    want, numbers = torch.zeros(B, C, H).double(), torch.zeros(B, C, 8).double()
    for i in range(B):
        for c in range(C):
            row = z[i, c].tolist() + [z[i, c, -1].item()]*S
            tokens = torch.stack([linear(m.W_P, torch.tensor(row[s:s + size]).double()) for s in starts]) + m.W_pos.double()
            tokens = encoder(m.encoder.layers, tokens, batch_norm)
            want[i, c], numbers[i, c] = linear(m.head[0], tokens.T.flatten()), tokens.mean(0)
    torch.testing.assert_close(copy.deepcopy(m).double()(x), norm.inverse(want, stats))
    classes = PatchTST(C, 4, L, **kw)
    state = {k: v for k, v in m.state_dict().items() if not k.startswith(('head', 'revin'))}
    classes.load_state_dict(classes.state_dict() | state)
    torch.testing.assert_close(classes.eval().double()(z), classes.head.double()(numbers.flatten(1)))

def test_patches_of_padding():
    "A patch is padding where all of its steps are; the repeated end belongs to what it repeats"
    m = PatchTST(1, 2, 12, patch_len=4, stride=2, n_layers=1, n_heads=2, d_model=8, d_ff=8)
    for n in range(1, 13):
        mask = torch.arange(12)[None] >= n
        want = [all(min(t, 11) >= n for t in range(s, s + 4)) for s in range(0, 11, 2)]
        assert m.step_mask(mask)[0].tolist() == want

def test_signature_of_patchtst():
    "Names, order and defaults of tsai 1.0.1, but for those that have no counterpart"
    theirs = dict(c_in=..., c_out=..., seq_len=..., pred_dim=None, n_layers=2, n_heads=8, d_model=512, d_ff=2048, dropout=.05,
                  attn_dropout=0., patch_len=16,
                  stride=8, padding_patch=True, revin=True, affine=False, individual=False, subtract_last=False,
                  decomposition=False, kernel_size=25, activation='gelu', norm='BatchNorm', pre_norm=False, res_attention=True,
                  store_attn=False)
    ours = {'pred_dim' if k == 'd' else k: p.default for k, p in inspect.signature(PatchTST).parameters.items() if p.kind != p.KEYWORD_ONLY}
    assert [k for k in theirs if k in ours] == list(ours)
    assert [k for k in theirs if k not in ours] == ['attn_dropout', 'individual', 'decomposition', 'kernel_size', 'norm', 'pre_norm',
                                                    'res_attention', 'store_attn']
    assert all(ours[k] == v for k, v in theirs.items() if k in ours and v is not ... and k != 'revin')
    assert hasattr(PatchTST(1, 1, 24, (1, 5), d_model=8, d_ff=8, n_layers=1), 'revin')

@pytest.mark.parametrize('kw,tsai', [
    (dict(n_layers=3, n_heads=16, d_model=128, d_ff=256), 921_198), (dict(n_layers=3, n_heads=4, d_model=16, d_ff=128), 81_742),
    (dict(n_layers=3, n_heads=4, d_model=16, d_ff=128, stride=16), 50_702)], ids=str)
def test_size_beside_tsai(kw, tsai):
    "tsai 1.0.1's PatchTST(7, 1, 336, 96, …) has 14 weights of RevIN that it does not use, and biases in the attention, too"
    assert count_parameters(PatchTST(7, 1, 336, (7, 96), **kw)) == tsai - 14 - kw['n_layers']*4*kw['d_model']

@pytest.mark.parametrize('kw,text', [(dict(arch='PatchTST', stride=0), 'stride is 0'), (dict(arch='PatchTST', n_heads=20), 'n_heads'),
    (dict(arch='PatchTST', activation='rellu'), "Did you mean 'relu'"), (dict(arch='TSMixer', d_ff=0), 'd_ff is 0'),
    (dict(arch='iTransformer', n_layers=-1), 'at least 0'), (dict(arch='NLinear', fc_dropout=2.), 'probability')], ids=str)
def test_arguments(kw, text):
    with pytest.raises((ValueError, KeyError), match=text): make(**kw)

@pytest.mark.parametrize('arch', FORECASTERS)
def test_dropout_of_the_head(arch):
    m = make(arch, fc_dropout=.5)
    with torch.no_grad():
        x, m = series(), m.train()
        for o in m.modules():
            if isinstance(o, nn.Dropout) and o.p != .5 or isinstance(o, nn.modules.batchnorm._BatchNorm): o.eval()
        assert not torch.equal(m(x), m(x))
