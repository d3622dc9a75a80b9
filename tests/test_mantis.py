"Mantis beside a literal form of its equations, reading of published files that are made here, what is wrong with them, and the frozen and trained use"
import json, math, subprocess, sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from tsfast.data.core import get_ts_dls
from tsfast.data.targets import TSClassification
from tsfast.estimators import TSNetClassifier
from tsfast.inference import load_bundle, pooled_features
from tsfast.learner import ts_learner
from tsfast.models.mantis import Mantis, MantisV2, load_mantis, load_mantis_weights, mantis_name
from tsfast.models.utils import count_parameters
from tsfast.models.registry import build_ts_model
import tsfast.deploy  # noqa: methods of learners
from helpers_models import sizes_of

BOTH = pytest.mark.parametrize('v2', [False, True], ids=['Mantis', 'MantisV2'])
D, HEADS, D_HEAD, FF, DEPTH, SCALAR, KS = 12, 3, 6, 10, 3, 4, 9
SMALL = dict(d_model=D, n_heads=HEADS, d_head=D_HEAD, d_ff=FF, n_layers=DEPTH, d_scalar=SCALAR, ks=KS, size=256)


def test_other_sources(tmp_path):
    "A bundle of tsfast, something that is no path, and a misspelt argument"
    learn = ts_learner(get_ts_dls(series(20).numpy(), ['a', 'b']*10, splits=(range(10), range(10, 20)), bs=5, device='cpu'), Mantis, **SMALL)
    with pytest.raises(ValueError, match='a bundle of tsfast'): load_mantis(learn.save_bundle(tmp_path/'b'))
    checkpoint(tmp_path/'m', False)
    with pytest.raises(ValueError, match='load_mantis'): ts_learner(learn.dls, pretrained=tmp_path/'m')
    with pytest.raises(ValueError, match="no argument 'outputs'. Did you mean 'output'"): load_mantis(tmp_path/'m', size=256, outputs='cls')
    for bad in (5, None):
        with pytest.raises(ValueError, match='Expected a safetensors file'): load_mantis(bad)


def series(n=5, c=2, length=70, seed=0): return torch.randn(n, c, length, generator=torch.Generator().manual_seed(seed)).cumsum(-1)

def published_shapes(v2, unit='transf_unit', d=D, heads=HEADS, d_head=D_HEAD, ff=FF, depth=DEPTH, scalar=SCALAR, ks=KS):
    "Names and shapes of a file of the authors, written down from one"
    res, inner = {'prj.0.weight': (d,), 'prj.0.bias': (d,), 'prj.1.weight': (d, d), 'prj.1.bias': (d,), f'{unit}.cls_token': (d,)}, heads*d_head
    for i in '01':
        res |= {f'tokgen_unit.convs.{i}.conv.weight': (d, 1, ks), f'tokgen_unit.convs.{i}.conv.bias': (d,), f'tokgen_unit.scalar_encoders.{i}.scales': (9,),
                f'tokgen_unit.layer_norms.{i}.weight': (d,), f'tokgen_unit.layer_norms.{i}.bias': (d,)}
        for j in range(9):
            e = f'tokgen_unit.scalar_encoders.{i}.encoders.{j}'
            res |= {f'{e}.w': (1, scalar), f'{e}.b': (1, scalar), f'{e}.layer_norm.weight': (scalar,), f'{e}.layer_norm.bias': (scalar,)}
    res |= {'tokgen_unit.linear_encoder.linear.weight': (d, 2*d + 2*scalar), 'tokgen_unit.linear_encoder.linear.bias': (d,),
            'tokgen_unit.linear_encoder.layer_norm.weight': (d,), 'tokgen_unit.linear_encoder.layer_norm.bias': (d,)}
    if not v2: res[f'{unit}.pos_encoder.pe'] = (33, 1, d)
    for i in range(depth):
        b = f'{unit}.transformer.layers.{i}'
        res |= {f'{b}.{k}': s for k, s in ({'norm1.scale': (d,), 'norm2.scale': (d,), 'attention.wQKV.weight': (3*inner, d), 'attention.wQKV.bias': (3*inner,),
            'attention.wO.weight': (d, inner), 'attention.wO.bias': (d,), 'mlp.0.weight': (2*ff, d), 'mlp.0.bias': (2*ff,), 'mlp.2.weight': (d, ff),
            'mlp.2.bias': (d,)} if v2 else {'0.norm.weight': (d,), '0.norm.bias': (d,), '0.fn.to_qkv.weight': (3*inner, d), '0.fn.to_out.0.weight': (d, inner),
            '0.fn.to_out.0.bias': (d,), '1.norm.weight': (d,), '1.norm.bias': (d,), '1.fn.net.0.weight': (ff, d), '1.fn.net.0.bias': (ff,),
            '1.fn.net.3.weight': (d, ff), '1.fn.net.3.bias': (d,)}).items()}
    return res

def sinusoid(n, d):
    return torch.tensor([[math.sin(t*1e4**(-i/d)) if i % 2 == 0 else math.cos(t*1e4**(-(i - 1)/d)) for i in range(d)] for t in range(n)])

def checkpoint(folder, v2, seed=0, config=True, **kwargs):
    "A tiny published file of random numbers, and the configuration beside it"
    gen = torch.Generator().manual_seed(seed)
    t = {k: torch.randn(s, generator=gen)*.3 for k, s in published_shapes(v2, **kwargs).items()}
    for k in t:
        if k.endswith('.scales'): t[k] = torch.tensor([10.**i for i in range(-4, 5)])
        if k.endswith('.pe'): t[k] = sinusoid(33, t[k].shape[-1]).unsqueeze(1)
    folder.mkdir(exist_ok=True, parents=True)
    save_file(t, folder/'model.safetensors')
    cfg = dict(hidden_dim=D, num_patches=32, scalar_scales=None, hidden_dim_scalar_enc=SCALAR, epsilon_scalar_enc=1.1, transf_depth=DEPTH,
               transf_num_heads=HEADS, transf_mlp_dim=FF, transf_dim_head=D_HEAD, transf_dropout=.1, device='cuda', pre_training=False)
    if config: (folder/'config.json').write_text(json.dumps(cfg | (dict(kernel_size=KS) if v2 else dict(seq_len=256))))
    return t

def load(folder, *args, **kwargs): return load_mantis(folder, *args, **dict(size=256) | kwargs).eval()


# --- a literal form, from the tensors of the file
def norm(z, t, name, eps=1e-5): return F.layer_norm(z, z.shape[-1:], t[f'{name}.weight'], t[f'{name}.bias'], eps)

def literal_tokens(t, x):
    "x (256,) to (32, D), one patch after the other"
    branches = []
    for i, s in (('0', torch.cat([x[1:] - x[:-1], torch.zeros(1)])), ('1', x)):
        s = (s - s.mean())/(s.std() + 1e-5)
        z = F.conv1d(s[None, None], t[f'tokgen_unit.convs.{i}.conv.weight'], t[f'tokgen_unit.convs.{i}.conv.bias'], padding=KS//2)[0].T
        branches.append(norm(z, t, f'tokgen_unit.layer_norms.{i}'))
    tokens = []
    for p in range(32):
        patch, parts = slice(8*p, 8*p + 8), [b[8*p:8*p + 8].mean(0) for b in branches]
        for i, v in (('0', x[patch].mean()), ('1', x[patch].std())):
            total = weights = 0.
            for j in range(9):
                k, e = 10.**(j - 4), f'tokgen_unit.scalar_encoders.{i}.encoders.{j}'
                a = abs(1/math.log(abs(v.item())/k + 1.1))
                total, weights = total + a*norm(v*t[f'{e}.w'][0] + k*t[f'{e}.b'][0], t, f'{e}.layer_norm', 1e-15), weights + a
            parts.append(total/weights)
        tokens.append(F.linear(torch.cat(parts), t['tokgen_unit.linear_encoder.linear.weight'], t['tokgen_unit.linear_encoder.linear.bias']))
    return norm(torch.stack(tokens), t, 'tokgen_unit.linear_encoder.layer_norm', 1e-15)

def attend(q, k, v, scale): return ((q @ k.T)*scale).softmax(-1) @ v

def literal_block_1(t, z, i, unit):
    b = f'{unit}.transformer.layers.{i}'
    q, k, v = (norm(z, t, f'{b}.0.norm') @ t[f'{b}.0.fn.to_qkv.weight'].T).split(HEADS*D_HEAD, -1)
    heads = [slice(h*D_HEAD, (h + 1)*D_HEAD) for h in range(HEADS)]
    a = torch.cat([attend(q[:, s], k[:, s], v[:, s], D_HEAD**-.5) for s in heads], -1)
    z = z + F.linear(a, t[f'{b}.0.fn.to_out.0.weight'], t[f'{b}.0.fn.to_out.0.bias'])
    u = F.gelu(F.linear(norm(z, t, f'{b}.1.norm'), t[f'{b}.1.fn.net.0.weight'], t[f'{b}.1.fn.net.0.bias']))
    return z + F.linear(u, t[f'{b}.1.fn.net.3.weight'], t[f'{b}.1.fn.net.3.bias'])

def turn(z, sign):
    "Pairs (0, 1), (2, 3) turned by t*10000^(-i/d); numbers scaled with exponent (t - 16)/512"
    r, out = D//HEADS, z.clone()
    for p in range(33):
        for i in range(r):
            j = i//2
            w, zeta = p*1e4**(-2*j/r), (2*(i % (r//2)) + .4*r)/(1.4*r)
            other = -z[p, i + 1] if i % 2 == 0 else z[p, i - 1]
            out[p, i] = (z[p, i]*math.cos(w) + other*math.sin(w))*zeta**(sign*(p - 16)/512)
    return out

def literal_block_2(t, z, i, unit):
    b = f'{unit}.transformer.layers.{i}'
    rms = lambda z, n: z/(z.square().mean(-1, keepdim=True) + 1e-8).sqrt()*t[f'{b}.{n}.scale']
    qkv = F.linear(rms(z, 'norm1'), t[f'{b}.attention.wQKV.weight'], t[f'{b}.attention.wQKV.bias'])
    at = lambda which, h: qkv[:, which*HEADS*D_HEAD + h + HEADS*torch.arange(D_HEAD)]        # heads alternate
    a = torch.cat([attend(turn(at(0, h), 1), turn(at(1, h), -1), at(2, h), D_HEAD**-.5) for h in range(HEADS)], -1)
    z = z + F.linear(a, t[f'{b}.attention.wO.weight'], t[f'{b}.attention.wO.bias'])
    u = F.linear(rms(z, 'norm2'), t[f'{b}.mlp.0.weight'], t[f'{b}.mlp.0.bias'])
    return z + F.linear(F.silu(u[:, :FF])*u[:, FF:], t[f'{b}.mlp.2.weight'], t[f'{b}.mlp.2.bias'])

def literal(t, x, v2, depth=DEPTH, unit='transf_unit'):
    "x (256,), to (cls, mean of the other tokens)"
    z, cls = literal_tokens(t, x), t[f'{unit}.cls_token'][None]
    z = torch.cat([z, cls]) if v2 else torch.cat([cls, z]) + sinusoid(33, D)
    for i in range(depth): z = (literal_block_2 if v2 else literal_block_1)(t, z, i, unit)
    return (z[-1], z[:-1].mean(0)) if v2 else (z[0], z[1:].mean(0))


@BOTH
def test_literal_form(v2, tmp_path):
    t, x = checkpoint(tmp_path/'m', v2), series(2, 2, 70)
    resized = F.interpolate(x, size=256, mode='linear')
    want = [[literal(t, s, v2) for s in both] for both in resized]
    cls, mean = (torch.stack([torch.cat([o[i] for o in both]) for both in want]) for i in (0, 1))
    with torch.no_grad():
        for out, w in (('cls', cls), ('mean', mean)):
            m = load(tmp_path/'m', 2, 3, output=out)
            assert type(m) is (MantisV2 if v2 else Mantis) and m.head_nf == 2*D
            torch.testing.assert_close(m.forward_features(x), w, atol=2e-5, rtol=1e-4)
        m = load(tmp_path/'m', 2, 3, output='both', return_block=1)
        want = torch.stack([torch.cat([torch.cat(literal(t, s, v2, 2)) for s in both]) for both in resized])
        torch.testing.assert_close(m.forward_features(x), want, atol=2e-5, rtol=1e-4)
        m = load(tmp_path/'m', 2, 3, projector=True)
        z = torch.stack([F.linear(norm(o, t, 'prj.0'), t['prj.1.weight'], t['prj.1.bias']) for o in cls.view(4, D)]).view(2, -1)
        torch.testing.assert_close(m.forward_features(x), z, atol=2e-5, rtol=1e-4)


def test_sizes():
    "The authors' counts, with the projection and without a head"
    count = lambda m: count_parameters(m) - count_parameters(m.head)
    assert count(Mantis(1, 2, projector=True)) == 8_103_936
    assert count(MantisV2(1, 2, projector=True)) == 4_188_672
    assert count(MantisV2(1, 2, projector=True, return_block=2)) == 2_214_144
    assert count(MantisV2(1, 2, return_block=2, output='both')) == 2_214_144 - 66_304


@BOTH
def test_names_of_the_published_files(v2):
    "Each name of a published file has its place, whichever way the transformer is called there, and no two have the same"
    m = build_ts_model('MantisV2' if v2 else 'Mantis', 1, 2, projector=True, **SMALL)
    own = {k: tuple(v.shape) for k, v in m.named_parameters() if not k.startswith('head')}
    for unit in ('transf_unit', 'vit_unit'):
        shapes = published_shapes(v2, unit)
        found = {mantis_name(k): s for k, s in shapes.items()}
        assert len(found) == len(shapes)
        assert {k: s for k, s in found.items() if not k.endswith('.scales') and k != 'positions'} == own


# --- files
@BOTH
@pytest.mark.parametrize('what', ['folder', 'file', 'text', 'without config'])
def test_sources(v2, what, tmp_path):
    t = checkpoint(tmp_path/'m', v2, config=what != 'without config')
    source = {'file': tmp_path/'m'/'model.safetensors', 'text': str(tmp_path/'m')}.get(what, tmp_path/'m')
    kwargs = SMALL if what == 'without config' else {}
    m = load(source, **kwargs)
    assert torch.equal(m.cls_token, t['transf_unit.cls_token']) and m.sizes['n_heads'] == HEADS


def test_legacy_names_and_half_precision(tmp_path):
    t = checkpoint(tmp_path, False, unit='vit_unit')
    save_file({k: v.half() for k, v in t.items()}, tmp_path/'model.safetensors')
    m = load(tmp_path)
    assert m.cls_token.dtype == torch.float32 and torch.equal(m.cls_token, t['vit_unit.cls_token'].half().float())


@BOTH
def test_weights_as_an_argument(v2, tmp_path):
    "The same as `load_mantis`; bundles do not go back to the file"
    checkpoint(tmp_path/'m', v2)
    m = build_ts_model('MantisV2' if v2 else 'Mantis', 2, 3, weights=str(tmp_path/'m'), **SMALL).eval()
    assert torch.equal(m.forward_features(series()), load(tmp_path/'m', 2, 3).forward_features(series())) and 'weights' not in m.init_args


def broken(tmp_path, v2=True, drop=(), add={}, config={}, write=None, **kwargs):
    t = checkpoint(tmp_path, v2, **kwargs)
    save_file({k: v for k, v in t.items() if k not in drop} | add, tmp_path/'model.safetensors')
    cfg = json.loads((tmp_path/'config.json').read_text()) | config
    (tmp_path/'config.json').write_text(json.dumps(cfg))
    if write is not None: (tmp_path/'model.safetensors').write_bytes(write((tmp_path/'model.safetensors').read_bytes()))

@pytest.mark.parametrize('how,match', [
    (dict(drop=['transf_unit.cls_token']), "lacks 'cls_token'"), (dict(add={'other': torch.ones(2)}), "holds 'other', for which"),
    (dict(add={'transf_unit.cls_token': torch.ones(5)}), r'cls_token is \(5,\), the model needs \(12,\)'),
    (dict(add={'vit_unit.cls_token': torch.ones(D)}), 'under two names'),
    (dict(add={'transf_unit.cls_token': torch.full((D,), torch.nan)}), 'NaN or infinite'),
    (dict(add={'transf_unit.cls_token': torch.ones(D, dtype=torch.int64)}), 'torch.int64'),
    (dict(add={'tokgen_unit.scalar_encoders.0.scales': torch.ones(9)}), 'differs from what the model computes'),
    (dict(add={'transf_unit.pos_encoder.pe': torch.ones(33, 1, D)}, v2=False), 'positions in .* differs'),
    (dict(add={'transf_unit.transformer.layers.3.new.weight': torch.ones(2)}), 'for which the model has no place'),
    (dict(config=dict(hidden_dim=18)), 'other shapes'), (dict(config=dict(transf_depth=4)), 'lacks .blocks.3'),
    (dict(config=dict(transf_depth=2)), 'no place|holds'), (dict(config=dict(hidden_dim='12')), "hidden_dim is '12'. Expected a whole number"),
    (dict(config=dict(hidden_dim=10**9)), 'from 1 to 16384'), (dict(config=dict(layers=3)), "has 'layers', which tsfast does not know"),
    (dict(config=dict(epsilon_scalar_enc=.5)), 'epsilon is 0.5'), (dict(config=dict(transf_dropout=3)), 'dropout'),
    (dict(config=dict(scalar_scales=[1, 2])), 'lacks|holds'), (dict(config=dict(kernel_size=8)), 'odd'),
    (dict(write=lambda b: b[:-1]), 'cut short'), (dict(write=lambda b: b''), 'cut short'), (dict(write=lambda b: b'version https://git-lfs'), 'Git LFS'),
    (dict(write=lambda b: b'\xff'*200), 'cannot be read')], ids=lambda o: 'write' if 'write' in o else str(o))
def test_files_that_are_refused(how, match, tmp_path):
    broken(tmp_path, **how)
    with pytest.raises(ValueError, match=match): load(tmp_path)


def test_a_config_of_a_giant_takes_no_memory(tmp_path):
    "Shapes are compared on the meta device before a tensor is made"
    broken(tmp_path, config=dict(hidden_dim=12288, transf_mlp_dim=16384, transf_dim_head=4096, transf_num_heads=64))
    made = []
    class Real(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.device.type != 'meta': made.append(out.numel())
            return out
    with Real(), pytest.raises(ValueError, match='other shapes'): load(tmp_path)
    assert max(made, default=0) < 1e6


def test_heads_cannot_be_told_from_shapes(tmp_path):
    checkpoint(tmp_path, True)
    for k, v in (('n_heads', 2), ('epsilon', 1.5), ('scales', tuple(float(i) for i in range(1, 10)))):
        own = SMALL | {k: v} | (dict(d_head=9) if k == 'n_heads' else {})
        with pytest.raises(ValueError, match=f'this MantisV2 has {k}=' if k != 'scales' else 'scales in .* differs'): load_mantis_weights(MantisV2(1, 2, **own), tmp_path)


# --- the hub, with the client's own cache, and without a network
@pytest.fixture
def hub(tmp_path, monkeypatch):
    "A cache as the client of the hub leaves it: one repository, at one commit"
    pytest.importorskip('huggingface_hub')
    from huggingface_hub import constants
    repo, commit = tmp_path/'cache'/'models--owner--mantis', 'a'*40
    checkpoint(repo/'snapshots'/commit, True)
    (repo/'refs').mkdir(); (repo/'refs'/'main').write_text(commit)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path/'cache')); monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    return repo/'snapshots'/commit

def test_hub(hub):
    want = load(hub).cls_token
    for name in (f'hf://owner/mantis@{"a"*40}', 'hf://owner/mantis@main'): assert torch.equal(load(name).cls_token, want)
    with pytest.warns(UserWarning, match='to pin it, write hf://owner/mantis@a{40}$'): assert torch.equal(load('hf://owner/mantis').cls_token, want)
    for name in ('hf://owner/other@main', 'hf://owner/mantis@v2'):
        with pytest.raises(OSError, match='not in the cache, and HF_HUB_OFFLINE is set'): load(name)
    (hub/'config.json').unlink()
    with pytest.raises(OSError, match='config.json of hf://owner/mantis'): load('hf://owner/mantis@main')       # it may be there, unseen
    for name in ('hf://mantis', 'hf://a/b/c', 'hf://'):
        with pytest.raises(ValueError, match='owner/name'): load(name)

def test_a_repository_without_config(hub, monkeypatch):
    import huggingface_hub as hf, huggingface_hub.errors as errors
    real = hf.hf_hub_download
    def download(repo, file, **kwargs):
        if file == 'config.json': raise errors.EntryNotFoundError('404')
        return real(repo, file, **kwargs)
    monkeypatch.setattr(hf, 'hf_hub_download', download)
    assert load('hf://owner/mantis@main', **SMALL).sizes['d_model'] == D


# --- use
@BOTH
def test_unequal_lengths(v2):
    "A padded series gives what it gives alone, in training, too; gradients know nothing of the padding"
    torch.manual_seed(0)
    m = (MantisV2 if v2 else Mantis)(2, 3, mask_padding=True, bn=False, **SMALL | dict(dropout=0.)).train()
    x, n = series(), [70, 3, 40, 1, 69]
    padded = x.masked_fill((torch.arange(70) >= torch.tensor(n)[:, None])[:, None], torch.nan)
    alone = torch.cat([m(o[None, :, :k]) for o, k in zip(x, n)])
    torch.testing.assert_close(m(padded), alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(pooled_features(m, padded), torch.cat([pooled_features(m, o[None, :, :k]) for o, k in zip(x, n)]), atol=1e-5, rtol=1e-4)
    for a, b in zip(*(torch.autograd.grad(o.square().sum(), m.parameters()) for o in (m(padded), alone))): torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)
    assert m(series(length=4096)).shape == (5, 3)


@BOTH
def test_series_that_say_little(v2):
    "Constant, huge, tiny: numbers, and gradients"
    m = (MantisV2 if v2 else Mantis)(1, 2, **SMALL | dict(dropout=0.)).train()
    x = torch.cat([torch.zeros(1, 1, 50), torch.full((1, 1, 50), 1e6), series(2, 1, 50)*1e-8, series(2, 1, 50)*1e8]).requires_grad_()
    m(x).square().sum().backward()
    assert x.grad.isfinite().all() and all(p.grad.isfinite().all() for p in m.parameters())
    assert m.eval()(torch.full((1, 1, 50), torch.nan)).isnan().all()        # missing values are not hidden


def data(n=40):
    rng = np.random.default_rng(0)
    y = np.where(np.arange(n) % 2, 'up', 'down')
    X = rng.normal(size=(n, 2, 60)).astype(np.float32)
    X[y == 'up'] += np.sin(np.arange(60)/3).astype(np.float32)*2
    return X, y, get_ts_dls(X, y, splits=(range(30), range(30, n)), tfms=[None, TSClassification()], bs=10)

@BOTH
def test_frozen_with_the_closed_form(v2, tmp_path):
    "The encoder does not change, the head is a ridge on standardised embeddings, and the bundle needs no file of weights"
    t, (X, _, dls) = checkpoint(tmp_path/'m', v2), data()
    learn = ts_learner(dls, load(tmp_path/'m', 2, 2, return_block=1, output='both'), seed=0)
    before = {k: v.clone() for k, v in learn.model.state_dict().items() if not k.startswith('head')}
    with learn.no_bar(), learn.no_logging(): learn.fit_ridge(scale=True)
    assert all(torch.equal(v, learn.model.state_dict()[k].to(v.device)) for k, v in before.items())
    assert learn.ridge['n_features'] == 2*2*D and torch.equal(learn.model.cls_token.cpu(), t['transf_unit.cls_token'])
    path = learn.save_bundle(tmp_path/'b')
    for f in (tmp_path/'m').iterdir(): f.unlink()
    torch.testing.assert_close(load_bundle(path)(X), learn.get_X_preds(X)[0].cpu(), atol=1e-5, rtol=1e-5)

def test_bundle_predicts_without_fastai(tmp_path):
    X, y, dls = data()
    learn = ts_learner(dls, MantisV2(2, 2, **SMALL), seed=0)
    np.save(tmp_path/'x.npy', X)
    learn.save_bundle(tmp_path/'b')
    code = ("import sys, numpy as np; from tsfast.inference import load_bundle; p = load_bundle(sys.argv[1] + '/b')(np.load(sys.argv[1] + '/x.npy'))\n"
            "assert 'fastai' not in sys.modules; np.save(sys.argv[1] + '/p.npy', p.numpy())")
    subprocess.run([sys.executable, '-c', code, str(tmp_path)], check=True)
    np.testing.assert_allclose(np.load(tmp_path/'p.npy'), learn.get_X_preds(X)[0].cpu().numpy(), atol=1e-5)

def test_freeze_and_fine_tune(tmp_path):
    checkpoint(tmp_path/'m', True)
    X, y, dls = data()
    learn = ts_learner(dls, load(tmp_path/'m', 2, 2), seed=0)
    body = lambda: learn.model.blocks[0].attn.qkv.weight.detach().clone().cpu()
    before = body()
    with learn.no_bar(), learn.no_logging():
        learn.freeze(); learn.fit(1, 1e-3); assert torch.equal(body(), before)
        learn.fine_tune(1, 1e-3); assert not torch.equal(body(), before)

def test_estimator(tmp_path):
    checkpoint(tmp_path/'m', True)
    X, y, _ = data()
    arch = dict(weights=str(tmp_path/'m'), return_block=1, output='both', **SMALL)
    clf = TSNetClassifier('MantisV2', arch, ridge=True, batch_tfms=None, device='cpu', random_state=0).fit(X, y)
    assert clf.predict(X).shape == y.shape
    assert torch.equal(clf.learner_.model.cls_token, load_file(tmp_path/'m'/'model.safetensors')['transf_unit.cls_token'])

def test_embeddings_keep_no_attention_of_a_large_batch():
    "What is made is of the order of the convolutions' output"
    m, x = MantisV2(1, 2, **SMALL).eval(), series(16, 1, 100)
    with torch.no_grad(): assert max(sizes_of(lambda: m(x))) <= 16*256*max(D, KS) + 16*33*3*HEADS*D_HEAD + 16*32*9*SCALAR
