"Pretraining without labels: literal references, every architecture, padding and missing values, seeds, and resumed runs"
import inspect, math

import numpy as np, pytest, torch
from fastai.callback.core import Callback
from fastai.callback.tracker import SaveModelCallback
from torch import nn

from test_models import SMALL
import tsfast.deploy  # noqa: methods of learners
from tsfast.checkpoint import Checkpoint
from tsfast.data.core import get_ts_dls
from tsfast.data.preprocessing import TSNan2Value, TSStandardize
from tsfast.inference import load_bundle
from tsfast.learner import ts_learner
from tsfast.models.heads import head_params
from tsfast.models.lite import LITE
from tsfast.models.registry import get_arch, list_models
from tsfast.models.rnn import GRU
from tsfast.models.tst import TST
from tsfast.pretraining import Contrastive, InfoNCE, MaskedReconstruction, MaskedValueLoss, pretrain_learner, right_pairs
from tsfast.pretraining.contrastive import random_crops
from tsfast.pretraining.masked import channel_moments, draw_mask, span_mask
from tsfast.pretraining.tasks import known_values

N, C, L = 40, 2, 24
TASKS = ['masked', 'contrastive']
ARCHS = list_models()
FIXED = ['DLinear', 'HydraPlus', 'MiniRocket', 'MiniRocketHydra', 'MultiRocket', 'MultiRocketHydra', 'NLinear', 'Quant', 'RDST']

def waves(n=N, c=C, length=L, seed=0):
    rng = np.random.default_rng(seed)
    t, phase = np.arange(length), rng.uniform(0, 6, (n, c, 1))
    return (np.sin(t*.5 + phase) + .1*rng.normal(size=(n, c, length))).astype(np.float32)

def gappy():
    "Series with missing values and padding, and which values are known"
    X, rng = waves(), np.random.default_rng(1)
    X[rng.random(X.shape) < .1] = np.nan
    X[:, :, 0] = 1.     # so that no series is empty
    for x, n in zip(X, rng.integers(3, L + 1, N)): x[:, n:] = np.nan
    return X, ~np.isnan(X)

def padded():
    "Series with padding alone"
    X, known = waves(), gappy()[1]
    for x, k in zip(X, known): x[:, np.flatnonzero(k.any(0)).max() + 1:] = np.nan
    return X, ~np.isnan(X)

def loaders(X=None, y=None, tfms=None, bs=10, **kwargs):
    return get_ts_dls(waves() if X is None else X, y, splits=(range(30), range(30, N)), bs=bs, batch_tfms=tfms or TSStandardize(), device='cpu', **kwargs)

def small(arch): return {k: v for k, v in SMALL.items() if k in inspect.signature(get_arch(arch)).parameters}

def learner(task='masked', arch='GRU', dls=None, seed=0, **kwargs):
    learn = pretrain_learner(loaders() if dls is None else dls, arch, task, seed=seed, **small(arch), **kwargs)
    learn.remove_cb(learn.progress); learn.logger = lambda o: None
    return learn

def gen(seed=0): return torch.Generator().manual_seed(seed)


# ---- every architecture

@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('arch', [o for o in ARCHS if o not in FIXED])
def test_gradients_reach_the_body(arch, task):
    "A step of training, and of validation, in the training loop; every parameter outside the head gets a gradient"
    learn = learner(task, arch, loaders(bs=30))
    seen = {}
    class Look(Callback):
        def before_step(self):
            for n, p in self.model.named_parameters():
                if p.grad is not None: seen[n] = seen.get(n, 0) + p.grad.abs()
    learn.fit(2, 1e-3, cbs=Look())      # scales that start from zero pass no gradient on in the first step
    head = {id(p) for p in head_params(learn.model)}
    body = [n for n, p in learn.model.named_parameters() if id(p) not in head and p.requires_grad]
    assert body and all(n in seen and torch.isfinite(seen[n]).all() for n in body)
    assert sum(bool(seen[n].any()) for n in body) > .8*len(body)
    assert np.isfinite(learn.history.to_numpy()).all()
    x = learn.dls.one_batch()[0].as_subclass(torch.Tensor)
    with torch.no_grad(): out = learn.model.eval()(x)
    assert out.shape == (x.shape if task == 'masked' else (len(x), 128))


@pytest.mark.parametrize('arch', FIXED)
def test_nothing_to_train(arch):
    with pytest.raises(ValueError, match=f'{arch} has no trainable parameters outside its head'): pretrain_learner(loaders(), arch)


# ---- masked reconstruction

@pytest.mark.parametrize('sync,future', [(True, False), (False, False), (True, True)])
def test_what_is_hidden(sync, future):
    "Only known values; of each series (or channel) with at least two known steps at least one, and not all"
    known = torch.from_numpy(gappy()[1]).repeat(20, 1, 1)
    mask = draw_mask(known, .4, 3., sync, future, gen())
    assert not (mask & ~known).any()
    rows, hidden = (known.any(1), mask.any(1)) if sync else (known.flatten(0, 1), mask.flatten(0, 1))
    n, m = rows.sum(-1), hidden.sum(-1)
    assert (m[n > 1] > 0).all() and (m[n > 1] < n[n > 1]).all() and not m[n <= 1].any()
    if sync: assert torch.equal(mask, hidden.unsqueeze(1) & known)      # the same steps in all channels
    if future:      # what comes after a hidden step is hidden
        for r, h in zip(rows, hidden): assert h[r].tolist() == sorted(h[r].tolist()) and abs(h.sum() - .4*r.sum()) <= 1


def test_nothing_known():
    "Series of padding alone, or with one value, hide nothing, and the loss is 0"
    known = torch.zeros(3, 1, 8, dtype=torch.bool)
    known[1, 0, 2] = True
    x = torch.where(known, 1., torch.nan)
    for future in (False, True):
        visible, (target, mask) = MaskedReconstruction(future=future).make_batch(x, known, gen())
        assert not mask.any() and torch.isfinite(target).all() and torch.equal(visible.isnan(), ~known)
        assert MaskedValueLoss()(torch.randn(3, 1, 8), target, mask) == 0


@pytest.mark.parametrize('share,span', [(.5, 5.), (.15, 3.), (.75, 10.), (.5, 1.)])
def test_spans(share, span):
    "Share and mean length of the spans, counted one by one"
    mask = span_mask((300, 400), share, span, gen())
    assert abs(mask.float().mean() - share) < .01
    lengths = []
    for row in mask.tolist():
        runs, n = [], 0
        for v in [*row, False]:
            if v: n += 1
            elif n: runs.append(n); n = 0
        lengths += runs[1:-1]       # those at the ends are cut off
    assert abs(np.mean(lengths) - span) < .05*span
    assert torch.equal(mask, span_mask((300, 400), share, span, gen())) and not torch.equal(mask, span_mask((300, 400), share, span, gen(1)))


@pytest.mark.parametrize('kind', ['mse', 'l1', 'huber'])
def test_masked_loss_by_a_loop(kind):
    pred, (X, known) = torch.randn(N, C, L, generator=gen()), gappy()
    x, k = torch.from_numpy(X), torch.from_numpy(known)
    visible, (target, mask) = MaskedReconstruction(loss=kind).make_batch(x, k, gen())
    terms = []
    for i in range(N):
        for c in range(C):
            values = X[i, c][known[i, c]].astype(np.float64)
            mean, std = values.mean(), values.std()
            if std < 1e-6: std = 1.
            seen = [float(X[i, c, t]) for t in range(L) if known[i, c, t] and not mask[i, c, t]]
            for t in range(L):
                if not mask[i, c, t]: assert visible[i, c, t] == x[i, c, t] or not known[i, c, t]; continue
                assert abs(visible[i, c, t] - (np.mean(seen) if seen else 0)) < 1e-5
                e = abs(float(pred[i, c, t]) - (float(X[i, c, t]) - mean)/std)
                terms.append({'mse': e*e, 'l1': e, 'huber': e*e/2 if e < 1 else e - .5}[kind])
    np.testing.assert_allclose(MaskedValueLoss(kind)(pred, target, mask), np.mean(terms), rtol=1e-5)


@pytest.mark.parametrize('keep', [True, False])
def test_padding_and_missing_values_never_count(keep):
    "Whatever fills them: known values, masks and targets are those of the data, and the loss does not depend on the output elsewhere"
    X, known = padded() if keep else gappy()
    dls = loaders(X, tfms=[TSStandardize(), TSNan2Value(value=7., keep_padding=keep)])
    learn = learner('masked', 'GRU', dls)
    for dl in (dls.train, dls.valid):
        for b in dl: assert torch.equal(known_values(b[0].as_subclass(torch.Tensor), dl), torch.from_numpy(known)[dl.rows])
    seen = []
    class Look(Callback):
        order = 99
        def after_pred(self): seen.append((self.dl.rows, *self.yb))
    learn.fit(2, 1e-3, cbs=Look())
    assert np.isfinite(learn.history.to_numpy()).all()
    for rows, target, mask in seen: assert mask.any() and not mask[~torch.from_numpy(known)[rows]].any()
    learner('contrastive', 'GRU', dls).fit(1, 1e-3)
    x, mask, out = learn.reconstruct()
    assert torch.equal(x.isnan(), torch.from_numpy(~known)[30:]) and out.isfinite().all()
    axs = learn.show_reconstruction(n=4)
    assert len(axs.flat) >= 4


def test_features_of_fewer_steps():
    "The head gives all steps, whatever the features look like"
    for length in (23, 24, 40):
        learn = learner('masked', 'xresnet1d18', loaders(waves(length=length)))
        assert learn.model.eval()(torch.randn(3, C, length)).shape == (3, C, length)


# ---- contrastive learning

def test_infonce_by_a_loop():
    pred, B, tau = torch.randn(10, 6, generator=gen()), 5, .1
    z = pred.double().numpy()
    unit = [v/np.sqrt(sum(o*o for o in v)) for v in z]
    loss = found = 0.
    for i in range(B):
        for mine, others in ((unit[i], unit[B:]), (unit[B + i], unit[:B])):
            scores = [sum(a*b for a, b in zip(mine, o))/tau for o in others]
            loss -= scores[i] - np.log(sum(np.exp(s) for s in scores))
            found += max(scores) == scores[i]
    np.testing.assert_allclose(InfoNCE(tau)(pred, None), loss/(2*B), rtol=1e-5)
    np.testing.assert_allclose(right_pairs(pred, None), found/(2*B), rtol=1e-6)


def test_crops_by_a_loop():
    "Linear interpolation of a window of the known part, and padding behind it"
    X, known = padded()
    crops = random_crops(torch.from_numpy(X), torch.from_numpy(known), .3, gen=gen()).numpy()
    drawn = torch.rand(2, N, 1, generator=gen()).double().numpy()
    for i in range(N):
        n = int(known[i, 0].sum())
        size = (1 - .3*drawn[0, i, 0])*(n - 1)
        times = drawn[1, i, 0]*(n - 1 - size) + np.linspace(0, size, n)
        for c in range(C): np.testing.assert_allclose(crops[i, c, :n], np.interp(times, np.arange(n), X[i, c, :n]), atol=1e-4)
        assert np.isnan(crops[i, :, n:]).all()
    longer = random_crops(torch.from_numpy(X), torch.from_numpy(known), .3, 48, gen())
    assert longer.shape == (N, C, 48) and torch.equal((~longer.isnan()).sum(-1)[:, 0], torch.from_numpy(2*known[:, 0].sum(-1)))


def test_a_length_of_its_own():
    "Crops have the length that the architecture was built for"
    model = get_arch('TST')(C, 2, seq_len=L + 8, **small('TST'))
    X = waves()
    learn = pretrain_learner(loaders(X), model, 'contrastive')
    learn.remove_cb(learn.progress); learn.logger = lambda o: None
    learn.fit(1, 1e-3)
    assert len(learn.history) == 1


# ---- training

@pytest.mark.parametrize('task', TASKS)
def test_the_loss_goes_down(task):
    learn = learner(task, 'LITE', loaders())
    learn.fit_one_cycle(10, 1e-2)
    losses = learn.history.valid_loss
    assert losses.iloc[-1] < .7*losses.iloc[0]
    if task == 'contrastive': assert learn.history.right_pairs.iloc[-1] > .3


@pytest.mark.parametrize('task', TASKS)
def test_seeds(task):
    "One seed, one result; validation draws the same in every epoch; the global generator is as it was"
    before = torch.get_rng_state()
    a, b, c = (learner(task, seed=s) for s in (1, 1, 2))
    for o in (a, b, c): o.fit(2, 1e-3)
    assert torch.equal(before, torch.get_rng_state())
    assert a.history.equals(b.history) and not a.history.equals(c.history)
    assert a.validate() == a.validate() == list(a.history.iloc[-1, 1:])
    still = learner(task)
    still.fit(2, 0.)
    assert still.history.valid_loss.nunique() == 1


@pytest.mark.parametrize('task', TASKS)
def test_targets_and_inputs_are_not_looked_at(task):
    y = np.array(['a', 'b']*20)
    plain, labelled = learner(task), learner(task, dls=loaders(y=y, tfms=TSStandardize()))
    numbers = learner(task, dls=loaders(y=np.linspace(-1e3, 1e3, N)))
    aside = learner(task, dls=loaders(inputs=dict(age=np.arange(N)[:, None])))
    for o in (plain, labelled, numbers, aside): o.fit(1, 1e-3)
    assert all(o.history.equals(plain.history) for o in (labelled, numbers, aside))


class BreakOff(Callback):
    "Stands for Ctrl-C in the middle of an epoch"
    def after_batch(self):
        if self.training and self.epoch == 2 and self.iter == 1: raise KeyboardInterrupt

@pytest.mark.parametrize('task', TASKS)
def test_resumed(task, tmp_path):
    "An interrupted run that is resumed ends with the same bits"
    whole = learner(task)
    whole.fit_one_cycle(4, 1e-3)
    with pytest.raises(KeyboardInterrupt): learner(task).fit_one_cycle(4, 1e-3, cbs=[Checkpoint(tmp_path/'a.pt'), BreakOff()])
    again = learner(task)
    again.fit_one_cycle(4, 1e-3, cbs=Checkpoint(tmp_path/'a.pt', resume=True))
    assert again.history.equals(whole.history)
    for (k, v), w in zip(again.model.state_dict().items(), whole.model.state_dict().values(), strict=True): assert torch.equal(v, w), k
    other = learner(MaskedReconstruction(share=.3) if task == 'masked' else Contrastive(cut=.1))
    with pytest.raises(ValueError, match='another run.*(share|cut) was'): other.fit_one_cycle(4, 1e-3, cbs=Checkpoint(tmp_path/'a.pt', resume=True))


def test_fastai_callbacks(tmp_path):
    "The best model is kept and loaded; a search for the learning rate changes nothing"
    learn = learner(path=tmp_path)
    before = {k: v.clone() for k, v in learn.model.state_dict().items()}
    with learn.no_bar(): learn.lr_find(num_it=5, show_plot=False, suggest_funcs=None)
    assert all(torch.equal(v, before[k]) for k, v in learn.model.state_dict().items())
    learn.fit(3, 1e-3, cbs=SaveModelCallback(fname='best'))
    learn.load('best', with_opt=False)
    assert abs(learn.validate()[0] - learn.history.valid_loss.min()) < 1e-6


def test_encoder():
    "The body without the head: the same features, and a copy"
    for task in TASKS:
        learn = learner(task)
        learn.fit(1, 1e-3)
        x, body = learn.dls.one_batch()[0].as_subclass(torch.Tensor), learn.encoder
        with torch.no_grad(): torch.testing.assert_close(body(x), learn.model.eval().forward_features(x))
        assert not {id(p) for p in body.parameters()} & {id(p) for p in learn.model.parameters()} and not head_params(body)


def test_refused():
    dls = loaders()
    with pytest.raises(ValueError, match='no forward_features'): pretrain_learner(dls, nn.Linear(2, 2))
    with pytest.raises(ValueError, match='built already'): pretrain_learner(dls, LITE(C, 2), nf=8)
    with pytest.raises(ValueError, match='no argument'): pretrain_learner(dls, 'GRU', widht=8)
    with pytest.raises(ValueError, match='Expected'): pretrain_learner(dls, 'GRU', Contrastive)
    X, _ = gappy()
    with pytest.raises(ValueError, match='does not mask'):
        pretrain_learner(loaders(X, tfms=[TSStandardize(), TSNan2Value(keep_padding=True)]), 'LITE')


def test_refused_before_training():
    "Loaders and models that do not fit are a message, and not an error of torch in the first batch"
    dls, lone = loaders(), get_ts_dls(waves(), splits=(range(30),), bs=10, device='cpu')
    with pytest.raises(ValueError, match='no validation split'): pretrain_learner(lone, 'GRU')
    for bad in (waves(), dls.train):
        with pytest.raises(ValueError, match='Expected the TSDataLoaders'): pretrain_learner(bad, 'GRU')
    with pytest.raises(ValueError, match=f'{C + 1} channels; the series have {C}'): pretrain_learner(dls, GRU(C + 1, 2))
    with pytest.raises(ValueError, match=f'{L + 1} steps; these have {L}'): pretrain_learner(dls, TST(C, 2, L + 1, d_model=8, n_heads=2, n_layers=1))
    with pytest.raises(ValueError, match='have 1 step. Expected two'): pretrain_learner(loaders(waves()[:, :, :1]), 'GRU')


@pytest.mark.parametrize('make', [lambda: MaskedReconstruction(share='a'), lambda: MaskedReconstruction(span='a'), lambda: MaskedReconstruction(span=math.nan),
    lambda: Contrastive(cut='a'), lambda: Contrastive(temperature='a'), lambda: Contrastive(width=0), lambda: Contrastive(width='a')])
def test_settings_refused(make):
    with pytest.raises(ValueError, match='Expected'): make()


def test_a_task_for_two_learners():
    "Each has a copy: the first one goes on after the second was made"
    task = MaskedReconstruction(span=3)
    one, two = learner(task), learner(task, 'LITE')
    for o in (one, two, one): o.fit(1, 1e-3)
    assert one.task is not two.task and one.task.run_facts() == two.task.run_facts() and task.learn is None


def test_no_predictions():
    "Without labels there is nothing to predict, and the message names what there is"
    learn = learner('contrastive', dls=loaders(y=np.array(['a', 'b']*20)))
    for call in (lambda: learn.get_X_preds(waves()), lambda: learn.predict(waves()[0]), learn.show_results, learn.fit_ridge, lambda: learn.save_bundle('nowhere')):
        with pytest.raises(ValueError, match='encoder_only=True'): call()


def test_an_instance_goes_on():
    "A model that is given keeps its body, and gets the head of the task"
    model = GRU(C, 3, hidden_size=8)
    body = [p.clone() for p in model.rnn.parameters()]
    learn = pretrain_learner(loaders(), model)
    assert learn.model is model and all(torch.equal(a, b) for a, b in zip(body, model.rnn.parameters()))


def test_moments():
    mean, std = channel_moments(torch.tensor([[[1., 3., 9.], [2., 2., 2.], [5., 5., 5.]]]), torch.tensor([[[1, 1, 0], [1, 1, 1], [0, 0, 0]]]).bool())
    assert mean.flatten().tolist() == [2, 2, 0] and std.flatten().tolist() == [1, 1, 1]


# ---- afterwards

@pytest.mark.parametrize('task,arch', [('masked', 'LITE'), ('masked', 'TST'), ('contrastive', 'GRU')])
def test_fine_tuned(task, arch, tmp_path):
    "From the learner and from an encoder's bundle: the same body, frozen at first, in loaders with labels"
    learn = learner(task, arch)
    learn.fit(1, 1e-3)
    folder = tmp_path/'body'
    learn.save_bundle(folder, encoder_only=True)
    body = {k: v.clone() for k, v in learn.encoder.state_dict().items()}
    dls = loaders(y=np.array(['a', 'b']*20))
    for source in (learn, folder, learn.encoder):
        tuned = ts_learner(dls, pretrained=source, seed=0)
        state = tuned.model.state_dict()
        assert type(tuned.model) is get_arch(arch) and all(torch.equal(v, state[k]) for k, v in body.items())
        with tuned.no_bar(), tuned.no_logging(): tuned.fine_tune(1, 1e-3)
        assert np.isfinite(tuned.history.valid_loss).all() and not all(torch.equal(v, tuned.model.state_dict()[k]) for k, v in body.items())
    X = waves(4, seed=3)
    with torch.no_grad(): z = learn.encoder(next(iter(learn.dls.new_dl(X)))[0].as_subclass(torch.Tensor))
    out = torch.from_numpy(np.asarray(load_bundle(folder)(X)))
    assert out.shape[0] == 4 and out.shape[1] >= z.shape[1] and torch.isfinite(out).all()


def test_whole_bundle():
    "What has no targets is no predictor"
    with pytest.raises(ValueError): learner().save_bundle('nowhere')
