"Losses and metrics, by themselves and inside a fastai learner."
import copy, math, pickle
import numpy as np, pytest, sklearn.metrics as skm, torch
from torch import nn
from torch.nn import functional as F
import fastai.callback.progress   # Learner.no_bar
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat, L1LossFlat, MSELossFlat
from fastai.torch_core import TensorBase, to_detach
from types import SimpleNamespace
from tsfast.losses import FocalLoss, HuberLossFlat, LogCoshLoss, MaskedLoss
from tsfast.metrics import BrierProba, GMean, LogLoss, MAAPE, MAPE, MedianAE, SMAPE, skm_known

NAN = float('nan')

@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng(): torch.manual_seed(0); yield

def close(a, b, tol=1e-6): torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), atol=tol, rtol=tol, check_dtype=False)

def learner(x, y, model, loss, metrics=None, bs=7):
    dls = DataLoaders(*(DataLoader(list(zip(x, y)), bs=bs, num_workers=0, shuffle=s) for s in (True, False)))
    return Learner(dls, model, loss_func=loss, metrics=metrics)

def evaluate(metric, pred, y, bs):
    metric.reset()
    for p, t in zip(pred.split(bs), y.split(bs)): metric.accumulate(SimpleNamespace(pred=p, y=t, to_detach=to_detach))
    return metric.value

# --- focal

@pytest.mark.parametrize('shape,axis', [((12,), -1), ((4, 5), -1), ((4, 5), 1)])
@pytest.mark.parametrize('weight', [None, [1., 2., 5.]])
def test_focal_is_cross_entropy_for_gamma_0(shape, axis, weight):
    w = None if weight is None else torch.tensor(weight)
    x = torch.randn(*shape, 3).double().movedim(-1, axis).requires_grad_(); y = torch.randint(3, shape); y.view(-1)[0] = -100
    for red in ('mean', 'sum', 'none'):
        a = FocalLoss(0., weight=w, reduction=red, axis=axis)(x, y)
        b = F.cross_entropy(x.movedim(axis, 1), y, weight=None if w is None else w.double(), reduction=red)
        close(a, b, 1e-10)
        for i, j in zip(*(torch.autograd.grad(o.sum(), x, retain_graph=True) for o in (a, b))): close(i, j, 1e-10)

@pytest.mark.parametrize('gamma', [0.5, 1., 2., 5.])
def test_focal_is_the_papers(gamma):
    x, y, w = torch.randn(20, 4).double(), torch.randint(4, (20,)), torch.rand(4).double() + 0.1
    p = x.softmax(1)[range(20), y]; per = -w[y]*(1-p)**gamma*p.log()
    close(FocalLoss(gamma, weight=w, reduction='none')(x, y), per); close(FocalLoss(gamma, weight=w, reduction='sum')(x, y), per.sum())
    close(FocalLoss(gamma, weight=w)(x, y), per.sum()/w[y].sum())
    xg = x[:3].clone().requires_grad_(); assert torch.autograd.gradcheck(lambda o: FocalLoss(gamma)(o, y[:3]), (xg,))

@pytest.mark.parametrize('gamma', [0., 0.3, 1., 2.])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_focal_is_safe(gamma, dtype):
    x = torch.tensor([[300., -300.], [-300., 300.], [0., 0.], [1e4, 1e4]], dtype=dtype, requires_grad=True)
    loss = FocalLoss(gamma)(x, torch.zeros(4).long()); loss.backward()
    assert loss.isfinite() and x.grad.isfinite().all() and loss.dtype == torch.float32

def test_focal_settings():
    for bad in (dict(gamma=-1), dict(reduction='avg')):
        with pytest.raises(ValueError): FocalLoss(**bad)
    with pytest.raises(ValueError, match='targets'): FocalLoss()(torch.randn(4, 3), torch.zeros(3).long())
    for w in ([1.], [1, 2], [1, 2, 3, 4]):
        with pytest.raises(ValueError, match='Expected 3 numbers'): FocalLoss(weight=w)(torch.randn(4, 3), torch.zeros(4).long())
    with pytest.raises(ValueError, match='as integers'): FocalLoss()(torch.randn(4, 3), torch.full((4,), .7))
    l = FocalLoss(weight=[1, 2]); assert 'weight' in l.state_dict() and l.double().weight.dtype == torch.float64
    x = torch.randn(5, 3); assert torch.equal(l.activation(x), x.softmax(-1)) and torch.equal(l.decodes(x), x.argmax(-1))
    assert FocalLoss()(x, torch.tensor([0, 1, 2, 0, 1], dtype=torch.int8)).isfinite()
    assert type(FocalLoss()(TensorBase(x), torch.zeros(5).long())) is torch.Tensor

# --- regression

def test_log_cosh():
    e = torch.cat([torch.linspace(-20, 20, 401), torch.tensor([0., 1e-6, -1e-6])]).double().requires_grad_()
    out = LogCoshLoss('none')(e, torch.zeros_like(e))
    close(out, e.detach().cosh().log(), 1e-9); out.sum().backward(); close(e.grad, e.detach().tanh(), 1e-9)
    big = torch.tensor([1e30, -1e30, 1e4], requires_grad=True); l = LogCoshLoss('none')(big, torch.zeros(3)); l.sum().backward()
    assert l.isfinite().all() and big.grad.tolist() == [1., -1., 1.]
    assert LogCoshLoss()(torch.zeros(4, 1), torch.zeros(4)) == 0 and LogCoshLoss('sum')(torch.ones(2), torch.zeros(2)) > 0.8
    with pytest.raises(ValueError, match='same shape'): LogCoshLoss()(torch.zeros(4, 2), torch.zeros(4))
    with pytest.raises(ValueError, match='reduction'): LogCoshLoss('avg')

def test_huber_keeps_order_and_never_broadcasts():
    x, y = torch.randn(9, 1), torch.randn(9)
    close(HuberLossFlat(delta=0.5, reduction='none')(x, y), torch.stack([F.huber_loss(a[0], b, delta=0.5) for a, b in zip(x, y)]))
    l = HuberLossFlat(); close(l(x, y), F.huber_loss(x[:, 0], y)); l.reduction = 'none'; assert l(x, y).shape == (9,)

# --- targets with gaps

ELEMENTWISE = [nn.MSELoss, nn.L1Loss(), MSELossFlat(), L1LossFlat(), HuberLossFlat(), LogCoshLoss(), F.smooth_l1_loss,
    lambda a, b, reduction: (a - b)**2]

@pytest.mark.parametrize('loss', ELEMENTWISE)
@pytest.mark.parametrize('shape', [(12,), (4, 3), (4, 3, 2)])
def test_masked(loss, shape):
    x, y = torch.randn(shape, requires_grad=True), torch.randn(shape); gone = torch.rand(shape) < 0.4; gone.view(-1)[0] = True
    f = loss() if isinstance(loss, type) else loss
    per = torch.stack([f(a[None], b[None], **({} if hasattr(f, 'reduction') else dict(reduction='none'))).sum()
        for a, b in zip(x.flatten(), y.flatten())]).view(shape)
    per = per.masked_fill(gone, 0)
    m = MaskedLoss(loss, 'none'); yn = y.masked_fill(gone, NAN)
    close(m(x, yn), per); assert m(x, yn).shape == shape
    m.reduction = 'sum'; close(m(x, yn), per.sum(), 1e-5)
    m.reduction = 'mean'; close(m(x, yn), per.sum()/(~gone).sum(), 1e-5)
    g = torch.autograd.grad(m(x, yn), x)[0]; assert (g[gone] == 0).all() and (g[~gone] != 0).all()
    # even where the prediction itself is NaN
    x_nan = x.detach().masked_fill(gone, NAN).requires_grad_()
    m(x_nan, yn).backward()
    assert x_nan.grad.isfinite().all()

@pytest.mark.parametrize('red', ['mean', 'sum', 'none'])
def test_masked_batch_without_targets(red):
    model, x = nn.Linear(3, 2), torch.randn(4, 3)
    loss = MaskedLoss(reduction=red)(model(x), torch.full((4, 2), NAN)); loss.sum().backward()
    assert (loss == 0).all() and all((p.grad == 0).all() for p in model.parameters())

def test_masked_settings():
    inner = nn.MSELoss(); MaskedLoss(inner); assert inner.reduction == 'mean'           # the caller's own stays as it is
    close(MaskedLoss()(torch.ones(4, 1), torch.tensor([0., NAN, 0., 0.])), 1.)
    with pytest.raises(ValueError, match='same shape'): MaskedLoss()(torch.zeros(4, 2), torch.zeros(4))
    with pytest.raises(ValueError, match='for each element'):
        MaskedLoss(lambda a, b, reduction: ((a - b)**2).mean())(torch.zeros(4), torch.zeros(4))
    with pytest.raises(ValueError, match='Expected a loss'): MaskedLoss(3)
    x = torch.randn(3); assert MaskedLoss().activation(x) is x and MaskedLoss().decodes(x) is x
    assert pickle.loads(pickle.dumps(MaskedLoss(L1LossFlat())))(x, x) == 0

# --- in a learner

@pytest.mark.parametrize('loss', [MaskedLoss, LogCoshLoss, HuberLossFlat])
def test_regression_learner(loss):
    x = torch.randn(40, 3); y = x @ torch.tensor([1., -2., 3.]) + 0.5
    if loss is MaskedLoss: y[torch.rand(40) < 0.3] = NAN
    learn = learner(x, y, nn.Linear(3, 1), loss(), metrics=[MedianAE(), skm_known(skm.mean_absolute_error)])
    with learn.no_bar(), learn.no_logging(): learn.fit(30, 0.1)
    assert learn.recorder.values[-1][1] < 0.05 < learn.recorder.values[0][1]
    pred, targ, dec, per = learn.get_preds(with_decoded=True, with_loss=True)
    assert pred.shape == (40, 1) and per.numel() == 40 and torch.equal(dec, pred)
    known = ~targ.isnan()
    close(learn.validate()[0], per.as_subclass(torch.Tensor).flatten()[known].mean(), 0.02)   # fastai averages over batches
    assert learn.loss_func.reduction == 'mean'

def test_classification_learner():
    x = torch.randn(60, 3); y = x.argmax(1)
    learn = learner(x, y, nn.Linear(3, 3), FocalLoss(weight=[1., 1., 2.]), metrics=[LogLoss(), BrierProba(), GMean()])
    with learn.no_bar(), learn.no_logging(): learn.fit(30, 0.1)
    probs, targ, dec, per = learn.get_preds(with_decoded=True, with_loss=True)
    close(probs.sum(1), torch.ones(60), 1e-5); assert per.shape == (60,) and (dec == targ).float().mean() > 0.9
    p = probs.double().numpy(); p /= p.sum(1, keepdims=True)
    close(learn.recorder.values[-1][-3:], [skm.log_loss(targ, p), ((p - np.eye(3)[targ])**2).sum(1).mean(),
        skm.recall_score(targ, dec, average=None).prod()**(1/3)], 1e-4)

# --- metrics

@pytest.mark.parametrize('bs', [1, 7, 100])
def test_metrics_do_not_depend_on_batches(bs):
    x, y = torch.randn(50, 4), torch.randint(3, (50,))              # a fourth class that never comes
    p = x.double().softmax(1).numpy()
    close(evaluate(LogLoss(), x, y, bs), skm.log_loss(y, p, labels=range(4)), 1e-6)
    close(evaluate(BrierProba(), x, y, bs), ((p - np.eye(4)[y])**2).sum(1).mean(), 1e-6)
    close(evaluate(GMean(), x, y, bs), skm.recall_score(y, p.argmax(1), average=None, labels=range(3)).prod()**(1/3), 1e-6)
    pred, t = torch.randn(50, 1), torch.randn(50); a, b = pred[:, 0].double().numpy(), t.double().numpy()
    for m, ref in ((MAPE, np.mean(abs(a-b)/abs(b))), (SMAPE, np.mean(2*abs(a-b)/(abs(a)+abs(b)))),
        (MAAPE, np.arctan(abs(a-b)/abs(b)).mean()), (MedianAE, np.median(abs(a-b)))):
        close(evaluate(m(), pred, t, bs), ref, 1e-6)

@pytest.mark.parametrize('func', [skm.r2_score, skm.mean_absolute_error, skm.mean_absolute_percentage_error, skm.median_absolute_error,
    skm.root_mean_squared_error])
@pytest.mark.parametrize('shape', [(30,), (30, 1), (30, 3), (30, 2, 4)])
def test_several_targets_are_scored_as_scikit_learn_does(func, shape):
    y = torch.randn(shape); y.view(30, -1)[:, -1].mul_(1000); pred = y + torch.randn(shape)
    a, b = (o.reshape(30, -1).double().numpy() for o in (y, pred))
    close(evaluate(skm_known(func), pred.reshape(30, 1) if len(shape) == 1 else pred, y, 7), func(a, b), 1e-5)
    y.view(30, -1)[:5, 0] = NAN                                     # each target over the series where it is known
    close(skm_known(func)(pred, y), np.mean([func(a[k:, j], b[k:, j]) for j in range(a.shape[1]) for k in [0 if j else 5]]), 1e-5)

@pytest.mark.parametrize('metric,pred,y,match', [(LogLoss, (8, 3), torch.zeros(8, 3), 'end in Multi'),
    (BrierProba, (8, 1), torch.zeros(8), 'one class'), (MAPE, (8, 3), torch.zeros(8).long(), 'for numbers')])
def test_metrics_of_the_wrong_kind(metric, pred, y, match):
    with pytest.raises(ValueError, match=match): metric()(torch.randn(pred), y)

def test_metrics_at_their_limits():
    one = torch.tensor([1., 2.]); zero = torch.zeros(2)
    assert SMAPE()(one, zero) == 2 and SMAPE()(zero, zero) == 0 and MAAPE()(zero, zero) == 0
    close(MAAPE()(one, zero), math.pi/2)
    assert math.isnan(MAPE()(one, zero*NAN)) and MAPE()(torch.tensor([5., -1.1]), torch.tensor([NAN, -1.])) == pytest.approx(0.1, abs=1e-6)
    assert evaluate(GMean(), torch.eye(2)[[0, 0]], torch.tensor([0, 1]), 2) == 0
    sure = torch.tensor([[1000., -1000.]])
    assert math.isfinite(evaluate(LogLoss(), sure, torch.tensor([1]), 1)) and evaluate(BrierProba(), sure, torch.tensor([1]), 1) == 2

def test_metrics_pickle_and_have_names():
    for m, name in ((LogLoss(), 'log_loss'), (BrierProba(), 'brier_proba'), (GMean(), 'g_mean'), (MAPE(), 'mape'), (SMAPE(), 'smape'),
        (MAAPE(), 'maape'), (MedianAE(), 'median_ae')):
        assert pickle.loads(pickle.dumps(m)).name == m.name == name
    assert skm_known(skm.mean_pinball_loss, alpha=0.9)(torch.tensor([0.]), torch.tensor([1.])) == pytest.approx(0.9)
