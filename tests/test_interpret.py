"What one sees of a trained learner: pictures, maps that add up, importances that find the channel that counts, calibration"
import pickle

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from fastai.interpret import ClassificationInterpretation
from torch import nn

from tsfast.core import rng_state
from tsfast.data.core import get_ts_dls
from tsfast.data.preprocessing import TSStandardize
from tsfast.data.targets import TSMultiLabelClassification, TSRegression
from tsfast.inference import Predictor
from tsfast.interpret import CalibratedLoss, class_maps, expected_calibration_error, fit_temperature, plot_importance, split_head
from tsfast.learner import ts_learner
from tsfast.models.layers import GAP1d
from tsfast.models.registry import build_ts_model, get_arch
import tsfast.deploy

N, L = 90, 32
rng = np.random.default_rng(0)
y = np.array(['flat', 'up', 'down'])[np.arange(N) % 3]
X = rng.normal(size=(N, 2, L)).astype(np.float32)
for label, size in (('up', 3), ('down', -3)): X[y == label, 1, 20:28] += size      # the second channel tells, from step 20 to 27
splits = range(60), range(60, N)

def close(a, b): torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope='module', params=['FCN', 'MiniRocket'])
def learn(request):
    kw = dict(layers=[16, 16], kss=[5, 3]) if request.param == 'FCN' else dict(num_features=420, random_state=0)
    dls = get_ts_dls(X, y, splits=splits, batch_tfms=TSStandardize(by_var=True), bs=16, val_bs=20)
    learn = ts_learner(dls, request.param, seed=0, **kw)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(20, 1e-2)
    assert (learn.get_X_preds(X)[2] == y).mean() > .95
    return learn

def tiny(y, target, **kw):
    "A small network for targets of another kind, not trained"
    return ts_learner(get_ts_dls(X, y, splits=splits, tfms=[None, target], bs=16), 'FCN', layers=[8], kss=[3], **kw)

@pytest.fixture(autouse=True)
def no_figures():
    plt.close('all')    # what other tests left open is not counted here
    yield
    plt.close('all')


@pytest.mark.parametrize('name', ['plot_confusion_matrix', 'plot_probabilities', 'plot_roc', 'plot_calibration'])
def test_pictures_take_and_give_axes(learn, name):
    f = getattr(learn, name)
    ax = f(figsize=(3, 2))
    assert ax.figure.get_size_inches().tolist() == [3, 2]
    mine = plt.subplots()[1]
    assert f(X, y, ax=mine) is mine and len(plt.get_fignums()) == 2
    mine.figure.canvas.draw()
    with pytest.raises(ValueError, match='both X and y'): f(X)

def test_confusion_matrix(learn):
    interp = ClassificationInterpretation.from_learner(learn)
    ax = learn.plot_confusion_matrix()
    assert [int(o.get_text()) for o in ax.texts] == interp.confusion_matrix().flatten().tolist()
    assert [float(o.get_text()) for o in learn.plot_confusion_matrix(X, y, normalize='true').texts][0] <= 1
    interp.plot_confusion_matrix(); interp.plot_top_losses(3); interp.print_classification_report()

def test_one_class_alone(learn):
    "A set with one class only can be drawn, but for an ROC curve"
    one = y == 'up'
    learn.plot_confusion_matrix(X[one], y[one]); learn.plot_probabilities(X[one], y[one]); learn.plot_calibration(X[one], y[one])
    with pytest.raises(ValueError, match='one class'): learn.plot_roc(X[one], y[one])

def test_top_losses(learn):
    axs = learn.plot_top_losses(4, X, y)
    losses = learn.get_X_preds(X, y, with_loss=True, with_decoded=False)[2]
    assert f'{float(losses.max()):.2f}' in axs[0].get_title() and len(axs) >= 4
    assert len(learn.plot_top_losses(100, figsize=(9, 9))) >= len(splits[1])

def test_other_targets():
    learn = tiny([['a']*(o != 'up') + ['b']*(o != 'down') for o in y], TSMultiLabelClassification())
    assert len(learn.plot_roc().lines) >= 2
    for f in (learn.plot_confusion_matrix, learn.plot_probabilities, learn.plot_abstention):
        with pytest.raises(ValueError, match='is for classes'): f()
    learn = tiny(X[:, 1, 20:28].mean(1), TSRegression(standardize=True))
    with pytest.raises(ValueError, match='is for classes'): learn.plot_roc()
    assert learn.explain(X[:4]).shape == learn.explain(X[:4], method='occlusion').shape == (4, L)
    learn.plot_explanation(X[:2]); learn.plot_top_losses(2)
    table = learn.feature_importance(score='mae', n_repeats=2, progress=False)
    assert list(table.columns) == ['importance', 'low', 'high'] and (table.low <= table.high).all()
    with pytest.raises(ValueError, match="Expected one of \\['loss', 'mae'\\]"): learn.feature_importance(score='accuracy')


# maps
@pytest.mark.parametrize('arch', ['InceptionTime', 'XceptionTime', 'FCN', 'ResNet'])
@pytest.mark.parametrize('kwargs', [{}, dict(fc_dropout=.5)])
def test_class_maps_add_up(arch, kwargs):
    "Found by structure; the mean of a map over time is the output, but for the bias, and a step of the input counts most where it is"
    m = build_ts_model(arch, 2, 3, seq_len=50, **kwargs).eval()        # XceptionTime's pooled length, so that no map is stretched
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 2, 50)).astype(np.float32))
    other = x.clone(); other[..., -1] += 5
    linear = split_head(m)[1]
    with torch.no_grad():
        maps, changed = class_maps(m, x), (class_maps(m, other) - class_maps(m, x)).abs().sum((0, 1))
        assert maps.shape == (5, 3, 50) and changed[-5:].mean() > 1.2*changed[:5].mean()
        torch.testing.assert_close(maps.mean(-1) + (linear[-1].bias if linear else 0), m(x), atol=1e-5, rtol=1e-4)

def pooled(pool): return dict(custom_head=nn.Sequential(pool(1), nn.Flatten(), nn.Linear(128, 3)))

@pytest.mark.parametrize('arch,kwargs,has', [
    ('TST', dict(flatten=False), True), ('TST', {}, False), ('GRU', {}, False), ('LSTM_FCN', {}, False), ('MiniRocket', {}, False),
    ('InceptionTime', pooled(nn.AdaptiveAvgPool1d), True), ('InceptionTime', dict(y_range=(0, 1)), False),
    ('FCN', pooled(nn.AdaptiveMaxPool1d), False)])
def test_which_networks_have_maps(arch, kwargs, has):
    m = build_ts_model(arch, 2, 3, seq_len=L, **kwargs).eval()
    assert (split_head(m) is not None) == has
    if has:
        with torch.no_grad(): assert class_maps(m, torch.from_numpy(X[:2])).shape == (2, 3, L)
    elif getattr(m, 'fitted', True):
        with pytest.raises(ValueError, match="Use method='occlusion'"): class_maps(m, torch.from_numpy(X[:2]))

def test_explanations_find_the_place(learn):
    "Steps 20 to 27 of the second channel"
    up = X[y == 'up'][:12]
    methods = ['auto', 'occlusion'] if split_head(learn.model) is None else ['auto', 'cam', 'occlusion']
    for method in methods:
        m = learn.explain(up, method=method, window=4, stride=2).mean(0)
        assert m[20:28].mean() > 2*np.delete(m, range(16, 32)).mean() and 18 <= m.argmax() <= 29
    m = learn.explain(up, by_channel=True, window=4).mean(0)
    assert m.shape == (2, L) and m[1].sum() > 3*abs(m[0].sum())
    assert learn.explain(up, labels=['down']*len(up), method='occlusion').mean() < learn.explain(up, method='occlusion').mean()

def test_explanations_leave_the_input_alone(learn):
    before = X.copy()
    learn.explain(X[:9], method='occlusion', bs=4); learn.plot_explanation(X, y, max_n=2)
    assert np.array_equal(X, before)

def test_explain_says_no(learn):
    for kw, text in ((dict(method='gradcam'), "Expected 'auto'"), (dict(window=0), 'from 1 to 32'),
                     (dict(window=4, stride=5), 'stride is 5. Expected a number of steps from 1 to 4'),
                     (dict(method='cam', by_channel=True), 'no channels')):
        with pytest.raises(ValueError, match=text): learn.explain(X[:2], **kw)
    with pytest.raises(ValueError, match='no series'): learn.explain(X[:0])
    steps = tiny(np.where(X[:, 1] > 0, 'a', 'b'), type(learn.dls.train_ds.target)())
    with pytest.raises(ValueError, match='one map'): steps.explain(X[:2])
    steps.plot_confusion_matrix()

def test_plot_explanation(learn):
    axs = learn.plot_explanation(X, y, max_n=4, ncols=2, figsize=(6, 4))
    assert axs.shape == (2, 2) and '→' in axs[0, 0].get_title() and all(len(a.images) == 1 for a in axs.flat)
    mine = plt.subplots()[1]
    axs = learn.plot_explanation(X, labels=['up'], max_n=1, ax=mine, method='occlusion', by_channel=True)
    assert axs[0] is mine and 'for up' in mine.get_title()
    with pytest.raises(ValueError, match='Expected 2: one for each panel'): learn.plot_explanation(X, max_n=2, ax=mine)


# importance
def test_importance_finds_the_channel_and_the_steps(learn):
    before, state = X.copy(), torch.get_rng_state()
    for score in ('loss', 'accuracy'):
        t = learn.feature_importance(names=['noise', 'signal'], score=score, n_repeats=3, progress=False)
        assert t.low['signal'] > 0 and t.importance['signal'] > 5*abs(t.importance['noise'])
        s = learn.step_importance(window=4, score=score, n_repeats=3, progress=False)
        assert s.importance.idxmax() in (20, 24) and len(s) == L//4
    assert np.array_equal(X, before) and torch.equal(torch.get_rng_state(), state)
    assert torch.equal(learn.dls.train_ds.X, torch.from_numpy(before))
    assert learn.feature_importance(X, y, progress=False).equals(learn.feature_importance(X, y, progress=False))     # seeded
    for table in (t, s):
        ax = plot_importance(table, figsize=(3, 2))
        assert plot_importance(table, ax=ax) is ax

def test_importance_is_undone_after_an_error(learn):
    before, was = X.copy(), learn.model.training
    def boom(*args): raise RuntimeError('boom')
    h = learn.model.register_forward_hook(boom)
    try:
        with pytest.raises(RuntimeError, match='boom'): learn.feature_importance(X, y, progress=False)
    finally: h.remove()
    assert np.array_equal(X, before) and learn.model.training == was

def test_importance_says_no(learn):
    for kw, text in ((dict(score='auc'), 'Expected one of'), (dict(n_repeats=0), 'at least 1'), (dict(level=95), 'between 0 and 1'),
                     (dict(names=['a']), '1 names and 2 channels'), (dict(X=X), 'both X and y'), (dict(X=X[:1], y=y[:1]), 'at least 2')):
        with pytest.raises(ValueError, match=text): learn.feature_importance(progress=False, **kw)
    with pytest.raises(ValueError, match='from 1 to 32'): learn.step_importance(window=0)


# calibration
@pytest.mark.parametrize('true', [0.3, 1., 4.])
def test_temperature_is_found(true):
    g = torch.Generator().manual_seed(0)
    z = 2*torch.randn(20_000, 5, generator=g)
    t = torch.multinomial(z.softmax(-1), 1, generator=g)[:, 0]
    assert fit_temperature(true*z, t) == pytest.approx(true, rel=.05)
    conf = lambda T: ((true*z/T).softmax(-1).max(-1).values.numpy(), ((true*z).argmax(-1) == t).numpy())
    assert expected_calibration_error(*conf(fit_temperature(true*z, t))) < .02
    off = ((true*z).softmax(-1).max(-1).values - z.softmax(-1).max(-1).values).abs().mean().item()    # on one side for all series
    assert expected_calibration_error(*conf(1.)) == pytest.approx(off, abs=.02)

def test_calibration_error():
    assert expected_calibration_error(np.array([.95, .95, .95, .95]), np.array([True, True, True, False])) == pytest.approx(.2)
    assert expected_calibration_error(np.ones(3), np.ones(3, bool)) == 0

@pytest.mark.filterwarnings('ignore:100% of the:UserWarning')   # one of the two is right everywhere, so it cannot be too sure
def test_calibrate(learn, tmp_path):
    "Labels stay, probabilities change everywhere: predictions, validation, bundles, pickles; training does not"
    loss = learn.loss_func
    try:
        p, _, labels = learn.get_X_preds(X)
        valid = learn.validate()[0]
        T = learn.calibrate()
        q, _, after = learn.get_X_preds(X)
        logits = learn.get_X_preds(X, act=lambda o: o)[0]
        assert .1 <= T <= 10 and np.array_equal(after, labels) and not torch.allclose(p, q)
        close(q, (logits/T).softmax(-1))
        close(learn.get_preds()[0], q[60:])                         # in other batches, so the last bits may differ
        assert learn.validate()[0] == valid                         # the loss itself is as it was
        assert learn.get_X_preds(X, y, with_loss=True)[3].shape == (N,)
        assert learn.calibrate() == pytest.approx(T)                # from the outputs, not from what was calibrated
        close(Predictor(learn.save_bundle(tmp_path/'b'))(X), q)          # other batches, too
        assert pickle.loads(pickle.dumps(learn.loss_func)).temperature == T
        assert 'temperature' in repr(learn.loss_func)
    finally: learn.loss_func = loss


def test_embeddings(learn):
    z = learn.embeddings(X, bs=7)
    assert z.shape == (N, learn.model.head_nf) and np.allclose(z, learn.embeddings(X, bs=64), atol=1e-5)
    assert np.allclose(z, tsfast.deploy.to_predictor(learn).embeddings(X), atol=1e-5)
    dls = get_ts_dls(X, y, splits=splits, bs=16)
    with pytest.raises(ValueError, match='forward_features'): ts_learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(2*L, 3))).embeddings(X)


# --- found by others

@pytest.mark.parametrize('call,text', [
    (lambda l: l.plot_top_losses(0), 'k is 0'), (lambda l: l.plot_top_losses(X=X[:0], y=y[:0]), 'no series'),
    (lambda l: l.plot_confusion_matrix(X[:0], y[:0]), 'no series'), (lambda l: l.calibration_error(n_bins=0), 'n_bins is 0'),
    (lambda l: l.explain(X[:4], labels=['up']*3), '3 labels for 4 series'),
    (lambda l: l.explain(X[:4], window=2.5, method='occlusion'), 'window is 2.5'),
    (lambda l: l.plot_explanation(X[:4], y[:2]), '2 labels for 4 series'), (lambda l: l.plot_explanation(X[:4], max_n=-1), 'max_n is -1'),
    (lambda l: l.feature_importance(bs=0), 'bs is 0'), (lambda l: l.feature_importance(n_repeats=1.5), 'n_repeats is 1.5'),
    (lambda l: plot_importance(l.history), "no column 'high'")])
def test_says_no(learn, call, text):
    with pytest.raises(ValueError, match=text): call(learn)

def test_one_label_for_all(learn):
    assert np.array_equal(learn.explain(X[:4], labels='up'), learn.explain(X[:4], labels=['up']*4))

def test_outputs_of_a_regression():
    "Of several numbers the user says which; of one there is no choice"
    t = np.stack([X[:, 1, 20:28].mean(1), X[:, 0].mean(1)], 1)
    learn = tiny(t, TSRegression(), seed=0)
    with learn.no_bar():
        with pytest.raises(ValueError, match='predicts 2 numbers'): learn.explain(X[:4])
        assert learn.explain(X[:4], labels=1).shape == (4, L)
        with pytest.raises(ValueError, match='labels names 2'): learn.explain(X[:4], labels=2)

LOOKS = dict(
    confusion=lambda l: l.plot_confusion_matrix(), confusion_X=lambda l: l.plot_confusion_matrix(X, y),
    top=lambda l: l.plot_top_losses(2), top_X=lambda l: l.plot_top_losses(2, X, y), probabilities=lambda l: l.plot_probabilities(),
    roc=lambda l: l.plot_roc(), curve=lambda l: l.plot_calibration(), error=lambda l: l.calibration_error(X, y),
    fit=lambda l: l.calibrate(),
    explain=lambda l: l.explain(X[:4]), occlude=lambda l: l.explain(X[:4], method='occlusion'),
    plot=lambda l: l.plot_explanation(X, y, max_n=2), channels=lambda l: l.feature_importance(n_repeats=1, progress=False),
    steps=lambda l: l.step_importance(X, y, n_repeats=1, progress=False), embeddings=lambda l: l.embeddings(X[:4]),
    validate=lambda l: l.validate(), predict=lambda l: l.predict(X[0]))

@pytest.mark.parametrize('look', LOOKS)
@pytest.mark.filterwarnings('ignore:100% of the:UserWarning')
def test_looking_changes_nothing(learn, look):
    "Each module keeps its mode, and the global generators their states"
    mods, loss, rng = list(learn.model.modules()), learn.loss_func, rng_state()
    learn.model.train(); mods[-1].eval(); modes = [m.training for m in mods]
    try:
        LOOKS[look](learn)
        assert [m.training for m in mods] == modes
        now = rng_state()
        assert now['python'] == rng['python'] and torch.equal(now['torch'], rng['torch'])
        assert np.array_equal(now['numpy'][1], rng['numpy'][1]) and now['numpy'][2:] == rng['numpy'][2:]
    finally: learn.model.eval(); learn.loss_func = loss

def test_top_losses_on_given_axes(learn):
    axs = plt.subplots(1, 2)[1]
    assert list(learn.plot_top_losses(2, ax=axs)) == list(axs) and len(plt.get_fignums()) == 1 and all(a.lines for a in axs)

def test_bands_of_channels(learn):
    "Explained by channel, each channel has a band with its name, and its curve lies inside"
    ax = learn.plot_explanation(X[:1], method='occlusion', by_channel=True).flat[0]
    assert [o.get_text() for o in ax.get_yticklabels()] == ['0', '1']
    for c, line in enumerate(ax.lines): assert c - .5 < line.get_ydata().min() and line.get_ydata().max() < c + .5

def test_calibration_without_evidence(learn):
    i = [int((learn.get_X_preds(X)[2] == y).argmax())]      # one series, and predicted rightly
    with pytest.warns(UserWarning, match='does not determine a temperature'): learn.calibrate(X[i], y[i])
    learn.loss_func = learn.loss_func.loss


# --- models of several inputs

SIDE = dict(level=rng.normal(size=(N, 3)), site=np.arange(N) % 4)

class TwoInputs(nn.Module):
    "Adds what the side inputs say to every step, then averages over time: its class maps add up. `late`: adds it after the average instead"
    head_names = ('gap', 'fc')
    def __init__(self, c_in, c_out, late=False):
        super().__init__()
        self.conv, self.site, self.level, self.late = nn.Conv1d(c_in, 8, 3, padding=1), nn.Embedding(4, 8), nn.Linear(3, 8), late
        self.gap, self.fc, self.head_nf = GAP1d(1), nn.Linear(8, c_out), 8
    def said(self, level, site): return self.level(level) + self.site(site)
    def forward(self, x, level, site):
        z = self.gap(self.forward_features(x, level, site))
        return self.fc(z + self.said(level, site) if self.late else z)
    def forward_features(self, x, level, site):
        return self.conv(x).relu() if self.late else (self.conv(x) + self.said(level, site)[..., None]).relu()

@pytest.fixture(scope='module', params=[False, True], ids=['early', 'late'])
def learn2(request):
    dls = get_ts_dls(X, y, splits=splits, inputs=SIDE, batch_tfms=TSStandardize(by_var=True), bs=16, val_bs=20)
    learn = ts_learner(dls, TwoInputs, seed=0, late=request.param)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(20, 1e-2)
    return learn

def side(rows): return {k: v[rows] for k, v in SIDE.items()}

def test_pictures_of_two_inputs(learn2):
    rows = slice(60, N)
    for f in (learn2.plot_confusion_matrix, learn2.plot_probabilities, learn2.plot_roc, learn2.plot_calibration):
        f(); f(X[rows], y[rows], inputs=side(rows))
    assert learn2.calibration_error() == pytest.approx(learn2.calibration_error(X[rows], y[rows], inputs=side(rows)), abs=1e-5)
    learn2.plot_top_losses(2); learn2.plot_top_losses(2, X[rows], y[rows], inputs=side(rows))
    axs = learn2.plot_explanation(X[:5], y[:5], max_n=3, inputs=side(slice(5)))
    assert [len(a.images) for a in axs.flat][:3] == [1, 1, 1]
    with pytest.raises(ValueError, match="'level' is missing"): learn2.explain(X[:5])

def test_explanations_of_two_inputs(learn2):
    "The side inputs stay as they are; steps 20 to 27 of the second channel count"
    rows = np.flatnonzero(y == 'up')[:12]
    for method in ('auto', 'occlusion'):
        m = learn2.explain(X[rows], method=method, window=4, stride=2, inputs=side(rows)).mean(0)
        assert m[20:28].mean() > 2*np.delete(m, range(16, 32)).mean()
    cam = lambda **k: learn2.explain(X[rows], method='cam', inputs=side(rows), **k)
    if learn2.model.late:
        with pytest.raises(ValueError, match="Use method='occlusion'"): cam()
        return
    out = learn2.get_X_preds(X[rows], inputs=side(rows), act=lambda o: o)[0]
    bias = learn2.model.fc.bias.detach().numpy()
    assert np.allclose(cam().mean(-1), out.max(-1).values.numpy() - bias[out.argmax(-1)], atol=1e-4)

def test_importance_and_embeddings_of_two_inputs(learn2):
    rows = slice(60, N)
    t = learn2.feature_importance(names=['noise', 'signal'], n_repeats=3, progress=False)
    assert t.low['signal'] > 0 and t.importance['signal'] > 5*abs(t.importance['noise'])
    assert np.allclose(t, learn2.feature_importance(X[rows], y[rows], ['noise', 'signal'], n_repeats=3, progress=False, inputs=side(rows)))
    assert learn2.step_importance(window=4, n_repeats=2, progress=False).importance.idxmax() in (20, 24)
    assert t.attrs['base'] == pytest.approx(learn2.validate()[0], abs=1e-5)
    z, other = learn2.embeddings(X[:9], inputs=side(slice(9))), learn2.embeddings(X[:9], inputs=side(slice(9, 18)))
    assert z.shape == (9, 8) and np.allclose(z, other) == learn2.model.late
