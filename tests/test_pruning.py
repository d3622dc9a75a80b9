"Features that are left out: every model with fixed features, its bundle, its exports, and errors that the selection cannot embellish"
import copy, importlib.util, inspect
import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn

from tsfast.data.core import get_ts_dls
from tsfast.data.targets import TSRegression
from tsfast.deploy import export_onnx
from tsfast.inference import load_bundle
from tsfast.learner import ts_learner
from tsfast.models.feature_model import FeatureModel
from tsfast.models.minirocket import MiniRocket
from tsfast.models.pruning import held_back_errors, prune_path, prune_ridge_head, prune_sizes
from tsfast.models.registry import get_arch, list_models
from tsfast.models.ridge import fit_ridge_head, ridge_loo

MODELS = [o for o in list_models() if issubclass(get_arch(o), FeatureModel)]
SMALL = dict(num_features=1344, k=4, g=8, n_shapelets=400, random_state=0)
N, L = 60, 40


def series(seed=0):
    x = torch.randn(N, 2, L, generator=torch.Generator().manual_seed(seed)); y = torch.arange(N) % 3
    x[y == 1] += torch.sin(torch.arange(L) / 2); x[y == 2] = x[y == 2].cumsum(-1) / 3
    return x, y

def small(name): return {k: v for k, v in SMALL.items() if k in inspect.signature(get_arch(name)).parameters}

def build(name, c_out=3, **kwargs):
    return get_arch(name)(2, c_out, L, **small(name), **kwargs).eval()

@pytest.fixture(scope='module', params=MODELS)
def fitted(request):
    (x, y), m = series(), build(request.param)
    fit_ridge_head(m, [(x, y)], n_classes=3)
    return m


def test_which_models(): assert MODELS == ['HydraPlus', 'MiniRocket', 'MiniRocketHydra', 'MultiRocket', 'MultiRocketHydra', 'Quant', 'RDST']


@torch.no_grad()
def test_keep(fitted):
    "The smaller model is the larger one with weights of 0 for what is left out; a new model takes its state"
    x, m = series(1)[0], copy.deepcopy(fitted)
    index = torch.randperm(m.head_nf, generator=torch.Generator().manual_seed(0))[:50].sort().values
    zero = copy.deepcopy(m)
    rest = torch.ones(m.head_nf, dtype=torch.bool); rest[index] = False
    zero.head[-1].weight[:, rest] = 0
    for o in zero.modules():
        if hasattr(o, 'affine') and o.affine: o.bias[rest] = 0
    small = m.keep(index)
    torch.testing.assert_close(small.features(x), fitted.features(x)[:, index])
    torch.testing.assert_close(small(x), zero(x), atol=1e-4, rtol=1e-4)
    again = type(m)(**small.init_args).eval(); again.load_state_dict(small.state_dict())
    assert torch.equal(again(x), small(x)) and again.head_nf == 50 and again.fitted
    for part in small.modules():
        for k, v in (*part._parameters.items(), *part._buffers.items()):
            if k in ('running_mean', 'running_var', 'mean', 'scale') and v is not None: assert len(v) <= 50, k
    twice = small.keep(torch.arange(0, 50, 2))
    torch.testing.assert_close(twice.features(x), fitted.features(x)[:, index[::2]])


@pytest.mark.parametrize('name', ['MiniRocketHydra', 'MultiRocketHydra'])
@pytest.mark.parametrize('part', [0, 1])
@torch.no_grad()
def test_a_transform_without_features_is_not_computed(name, part):
    (x, y), m = series(), build(name).fit(series()[0])
    z, n = m.features(x), m.backbone.rocket.num_features
    index = torch.arange(5) + n*part
    m.keep(index)
    assert m.init_args['kept'] == ([5, 0], [0, 5])[part]
    (m.backbone.hydra, m.backbone.rocket)[part].forward = lambda *_: pytest.fail('computed')
    torch.testing.assert_close(m.features(x), z[:, index])
    again = type(m)(**m.init_args); again.load_state_dict(m.state_dict())
    torch.testing.assert_close(again.features(x), z[:, index])


def test_pruned_head_and_other_heads(fitted):
    (x, y), (xt, yt), m = series(), series(1), copy.deepcopy(fitted)
    p = m.head_nf
    found = prune_ridge_head(m, list(zip(x.split(17), y.split(17))), 3, drop=0.4, folds=3)
    held = np.array(found.held_back)
    assert found.sizes == prune_sizes(p, 0.4) and len(found.loo) == len(held) == len(found.sizes)
    assert m.head_nf == len(found.index) == min(np.array(found.sizes)[held <= 1.05*held.min()]) < p
    assert (m(xt).argmax(1) == yt).float().mean() > 0.9
    z = m.features(x).double()
    if not getattr(m, 'scaled_features', False): z = z / found.solution.var.sqrt().clamp_min(1e-9)
    ref = Ridge(found.solution.alpha).fit(z, 2*np.eye(3)[y] - 1)
    np.testing.assert_allclose(m(x).detach(), ref.predict(z), atol=1e-2)
    assert m.reset_head(1, d=(2, 4))(x).shape == (N, 2, 4)


def test_half_and_double(fitted):
    m, x = copy.deepcopy(fitted).keep(torch.arange(0, 150, 3)), series()[0]
    assert m.double()(x.double()).dtype == torch.float64 and m.columns.index is None or m.columns.index.dtype == torch.int64
    assert m.bfloat16()(x.bfloat16()).isfinite().all()


# --- learners
def learner(arch, y=None, t=None, **kwargs):
    x, labels = series()
    dls = get_ts_dls(x.numpy(), labels.numpy() if y is None else y, splits=(range(45), range(45, N)), tfms=[None, t] if t else None, bs=16)
    return ts_learner(dls, arch, seed=0, **(small(arch) if arch in MODELS else {}), **kwargs)

def prune(learn, **kwargs):
    with learn.no_bar(), learn.no_logging(): return learn.prune_features(drop=0.4, folds=3, **kwargs)

@pytest.mark.parametrize('arch', MODELS)
def test_learner_and_bundle(arch, tmp_path):
    learn, x = learner(arch), series()[0].numpy()
    with learn.no_bar(), learn.no_logging(): before = learn.fit_ridge().save_bundle(tmp_path/'a')
    after = prune(learn).save_bundle(tmp_path/'b')
    assert torch.equal(load_bundle(after)(x), learn.get_X_preds(x)[0])
    a, b = ((o/'model.safetensors').stat().st_size for o in (before, after))
    nf = [load_bundle(o).pipeline.model.head_nf for o in (before, after)]
    saved = 4*(3 + 4)*(nf[0] - nf[1]) - 8*nf[1]       # weights of three classes, the normalisation; less the numbers of the features
    assert a - b > saved - 1000
    c = learn.pruning
    assert c.index[c.chosen].item() == learn.ridge['n_features'] == learn.model.head_nf == nf[1] and c.index.name == 'features'
    with learn.no_bar(), learn.no_logging():
        learn.fit_ridge()                             # solved again, the features stay
        learn.fit_one_cycle(1, 1e-4)                  # and training goes on
    assert learn.ridge['n_features'] == nf[1] and np.isfinite(learn.history.valid_loss).all()

def test_numbers_as_targets(tmp_path):
    x = series()[0].numpy()
    learn = prune(learner('MiniRocket', x[:, 0].std(-1)*100, TSRegression()))
    assert torch.equal(load_bundle(learn.save_bundle(tmp_path/'b'))(x), learn.get_X_preds(x)[0])

def test_sample_weights():
    "Series of weight 0 have no say in the selection"
    x, y = series()
    w = torch.ones(N); w[40:] = 0
    a, b = build('MiniRocket').fit(x), build('MiniRocket').fit(x)
    sizes = [o for o in prune_sizes(a.head_nf, 0.5)]
    t = 2*nn.functional.one_hot(y).double() - 1
    for (i, s), (j, r) in zip(prune_path(a.features(x), t, sizes, sample_weight=w), prune_path(b.features(x[:40]), t[:40], sizes)):
        assert torch.equal(i, j); torch.testing.assert_close(s.coef, r.coef, atol=1e-8, rtol=1e-6)

@pytest.mark.skipif(not all(importlib.util.find_spec(o) for o in ('onnx', 'onnxruntime', 'onnxscript')), reason='needs onnx')
@pytest.mark.parametrize('arch', ['MiniRocket', 'HydraPlus', 'MiniRocketHydra'])
def test_onnx(arch, tmp_path):
    import onnxruntime
    learn, x = prune(learner(arch)), series()[0].numpy()
    s = onnxruntime.InferenceSession(str(export_onnx(learn, tmp_path/'m.onnx')), providers=['CPUExecutionProvider'])
    assert np.allclose(s.run(None, {'series': x})[0], learn.get_X_preds(x)[0].numpy(), rtol=1e-4, atol=1e-5)

def test_forged_numbers_of_features(tmp_path):
    m = MiniRocket(2, 3, L, kept=3)
    state = m.state_dict() | {'columns.index': torch.tensor([0, 1, 10**6])}
    with pytest.raises(ValueError, match='Expected 0 to 9995'): m.load_state_dict(state)
    for bad in (-1, 10**5):
        with pytest.raises(ValueError, match='from 0 to 9996'): MiniRocket(2, 3, L, kept=bad)

def test_refusals():
    x, y = series()
    with pytest.raises(ValueError, match='no features to select'): prune(learner('FCN'))
    with pytest.raises(ValueError, match="Did you mean 'folds'"): prune(learner('MiniRocket'), fold=3)
    with pytest.raises(ValueError, match='Give the weights'): prune(learner('MiniRocket'), sample_weight=3)
    with pytest.raises(ValueError, match='one linear layer'):
        MiniRocket(2, 3, L, custom_head=nn.Sequential(nn.Linear(9996, 4), nn.ReLU(), nn.Linear(4, 3))).keep([0])
    class Fixed(FeatureModel):
        def __init__(self, c_in, c_out):
            super().__init__(c_in, nn.Flatten(), c_in*L)
            self.reset_head(c_out)
    with pytest.raises(ValueError, match='no argument `kept`'): Fixed(2, 3).keep([0])
    with pytest.raises(ValueError, match='Call learn.prune_features'): learner('MiniRocket').plot_pruning()


# --- the errors
@pytest.mark.parametrize('weighted', [False, True])
def test_held_back_errors_by_hand(weighted):
    "For each fold: the whole path on the others, and the weighted error of its regressions on the fold"
    gen = torch.Generator().manual_seed(0)
    z, t = torch.randn(24, 30, generator=gen), torch.randn(24, 2, generator=gen)
    w = torch.rand(24, generator=gen).double() + 0.5 if weighted else None
    sizes, total = prune_sizes(30, 0.5, 4), 0.
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    for i in range(3):
        held = order[i::3]
        rest = torch.tensor([o for o in range(24) if o not in held.tolist()])
        index, alphas, errors = torch.arange(30), [0.1, 10.], []
        for m in sizes:
            if m < 30:
                index = index[(s.coef*s.var.sqrt()).norm(dim=0).argsort(descending=True)[:m].sort().values]
                alphas = [first*m/30]
            s = ridge_loo((z[rest][:, index], t[rest]), alphas, sample_weight=None if w is None else w[rest])
            if m == 30: first = s.alpha
            e = (t[held] - z[held][:, index].double() @ s.coef.T - s.intercept).square().mean(1)
            errors.append((e*(1 if w is None else w[held])).sum())
        total = total + torch.stack(errors)
    want = total/(24 if w is None else w.sum())
    torch.testing.assert_close(held_back_errors(z, t, sizes, 3, w, alphas=[0.1, 10.]), want)


def test_noise_is_not_predicted():
    "The leave-one-out error of selected features falls on noise, and the held-back one does not"
    gen = torch.Generator().manual_seed(1)
    z, t = torch.randn(50, 400, generator=gen), torch.randn(50, 1, generator=gen)
    sizes = prune_sizes(400, 0.2, 40)
    loo, held = [s.loss for _, s in prune_path(z, t, sizes)], held_back_errors(z, t, sizes)
    assert min(loo) < 0.6*loo[0] and held.min() > 0.9*t.var()
