"The learner: fastai works on it, seeds reproduce to the bit, predictions come in the user's words and units"
import copy, os, random, subprocess, sys, warnings
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as skm
import torch
from fastai.callback.core import Callback, CancelFitException
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.mixup import CutMix, MixUp
from fastai.callback.tracker import EarlyStoppingCallback, ReduceLROnPlateau, SaveModelCallback
from fastai.interpret import ClassificationInterpretation, Interpretation
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat, MSELossFlat
from fastai.optimizer import OptimWrapper
from fastai.callback.progress import CSVLogger
from fastai.metrics import F1Score, R2Score, RocAuc, RocAucBinary, accuracy, accuracy_multi, error_rate, mae, rmse
from torch import Tensor, nn

from tsfast.callbacks import BF16, PaddingAtEnd, UserUnits, training_batches
from tsfast.core import rng_state, seeded
from tsfast.data.augment import TSNoise
from tsfast.data.core import StratifiedSampler, TSDatasets, get_ts_dls
from tsfast.data.preprocessing import TSBatchTransform, TSNan2Value, TSStandardize
from tsfast.data.targets import TSClassification, TSMultiLabelClassification, TSRegression
from tsfast.deploy import export_onnx
from tsfast.inference import Predictor
from tsfast.learner import check_width, class_weights, load_learner, spoilt_by_padding, ts_learner
from tsfast.losses import FocalLoss, MaskedLoss
from tsfast.metrics import skm_known
from tsfast.models.heads import TSModule
from tsfast.models.inception_time import InceptionTime
from tsfast.models.minirocket import MiniRocket
from tsfast.models.registry import build_ts_model, list_models
from tsfast.models.rnn import LSTM
from tsfast.models.xception_time import XceptionTime

small, NAN = dict(nf=4, depth=3), float('nan')
n, C, L = 60, 2, 24
rng = np.random.default_rng(0)
labels = np.array(['up', 'down', 'flat'])[np.arange(n) % 3]
slopes = np.select([labels == 'up', labels == 'down'], [1, -1], 0)[:, None, None]
X = (rng.normal(scale=.5, size=(n, C, L)) + slopes*np.linspace(-2, 2, L)).astype(np.float32)*10 + 50
numbers = (1000 + 5*(X[:, :, -1] - X[:, :, 0]).mean(1)).astype(np.float64)
splits = (range(42), range(42, n))


def class_dls(**k):
    return get_ts_dls(X, labels, splits=splits, **{'batch_tfms': TSStandardize(by_var=True), 'bs': 16, 'device': 'cpu', **k})
def number_dls(y=numbers, **k):
    return get_ts_dls(X, y, splits=splits, tfms=[None, TSRegression(standardize=True)], batch_tfms=TSStandardize(), bs=16, device='cpu',
                      **k)
def quiet(learn):
    learn.remove_cbs([o for o in learn.cbs if type(o).__name__ == 'ProgressCallback']); learn.logger = lambda *a, **k: None
    return learn
def classifier(dls=None, **k): return quiet(ts_learner(dls or class_dls(), InceptionTime, **{'metrics': accuracy, 'seed': 0, **small, **k}))
def weights(learn): return torch.cat([o.flatten().float() for o in learn.model.state_dict().values()])

@pytest.fixture(scope='module')
def trained():
    learn = classifier(); learn.fit_one_cycle(8, 1e-2)
    return learn

@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close('all')


# ---------------------------------------------------------------- fastai on it

def test_trains(trained):
    assert trained.validate()[1] > .9 and list(trained.history) == ['train_loss', 'valid_loss', 'accuracy'] and len(trained.history) == 8

def test_plain_fastai_learner(tmp_path):
    "fastai's own class, with a model of the user's"
    class Net(nn.Sequential):
        def __init__(self): super().__init__(nn.Flatten(), nn.Linear(C*L, 16), nn.ReLU(), nn.Linear(16, 3))
    torch.manual_seed(0)
    learn = quiet(Learner(class_dls(), Net(), metrics=accuracy, path=tmp_path))
    assert type(learn.loss_func) is CrossEntropyLossFlat
    assert 1e-8 < learn.lr_find(show_plot=False).valley < 10
    learn.fit_one_cycle(20, 1e-2)
    assert learn.validate()[1] > .8
    learn.show_results(max_n=2); assert len(plt.figure(plt.get_fignums()[-1]).axes) == 2
    assert learn.predict(X[50])[0] in learn.dls.vocab and learn.get_X_preds(X[:3])[2].dtype.kind == 'U'
    assert ClassificationInterpretation.from_learner(learn).confusion_matrix().sum() == 18
    learn.export('plain.pkl')      # the class of the model is found again, since it is a local one only here
    learn.save('m'); learn.load('m')

def test_lr_find_and_schedules(tmp_path):
    learn = classifier(path=tmp_path)
    before = weights(learn)
    r = learn.lr_find(show_plot=True); assert 1e-8 < r.valley < 10 and torch.equal(before, weights(learn))
    learn.fit_flat_cos(2, 1e-3); learn.fit_sgdr(2, 1, 1e-3)
    learn.recorder.plot_loss(); learn.recorder.plot_sched()

@pytest.mark.parametrize('max_n', [1, 2, 5, 9])
def test_show(trained, max_n):
    trained.show_results(max_n=max_n); fig = plt.figure(plt.get_fignums()[-1]); assert sum(bool(o.lines) for o in fig.axes) == max_n
    trained.show_results(ds_idx=0, max_n=max_n, shuffle=False); trained.dls.show_batch(max_n=max_n)

def test_titles_say_label_and_prediction(trained):
    trained.show_results(max_n=3, shuffle=False)
    labels_, (_, _, decoded) = labels[42:45], trained.get_X_preds(X[42:45])
    assert [o.get_title() for o in plt.gcf().axes] == [f'{a} → {b}' for a, b in zip(labels_, decoded)]

def test_a_folder_that_does_not_exist_yet(tmp_path):
    "Callbacks write into `learn.path` while training"
    learn = classifier(path=tmp_path/'runs'/'one'); learn.fit(1, cbs=CSVLogger())
    assert len((tmp_path/'runs'/'one'/'history.csv').read_text().splitlines()) == 2


def test_plot_metrics(trained):
    assert len([o for o in trained.plot_metrics().flat if o.lines]) == 2
    trained.plot_metrics(nrows=2, figsize=(4, 4), log_loss=True)
    trained.validate()
    assert len(trained.plot_metrics().flat[0].lines[0].get_xdata()) == 8    # validation does not wipe it out
    axs = plt.subplots(1, 2)[1]
    figures = plt.get_fignums()
    trained.plot_metrics(ax=axs)
    assert plt.get_fignums() == figures and all(o.lines for o in axs)
    with pytest.raises(ValueError, match='Train first'): classifier().plot_metrics()

def test_predict(trained):
    p = trained.get_preds()[0]
    for i, x in ((42, X[42]), (43, torch.from_numpy(X[43])), (44, trained.dls.valid.dataset[2][0])):
        label, idx, probs = trained.predict(x)
        torch.testing.assert_close(probs, p[i-42], atol=1e-5, rtol=0)
        assert label == trained.dls.vocab[int(idx)] and int(probs.argmax()) == int(idx)
    x, label, *_ = trained.predict(X[42], with_input=True); np.testing.assert_allclose(np.asarray(x), X[42], atol=1e-3)

def test_get_X_preds_is_validation(trained):
    p, t, d = trained.get_preds(with_decoded=True)
    for bs in (1, 5, 18, 64):
        q, u, words = trained.get_X_preds(X[42:], labels[42:], bs=bs)
        torch.testing.assert_close(p, q, atol=1e-5, rtol=0)
        assert torch.equal(t, u) and words.tolist() == [trained.dls.vocab[i] for i in d]
    assert trained.get_X_preds(X[42:])[1] is None and len(trained.get_X_preds(X[42:], with_decoded=False)) == 2
    x, q, t, words, loss = trained.get_X_preds(X[42:], labels[42:], with_input=True, with_loss=True)
    torch.testing.assert_close(loss, -q.log()[range(18), t], atol=1e-4, rtol=1e-3); assert x.shape == (18, C, L) and x.abs().max() < 10
    logits = trained.get_X_preds(X[42:], act=lambda o: o)[0]; torch.testing.assert_close(logits.softmax(1), p, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match='no series'): trained.get_X_preds(X[:0])
    with pytest.raises(ValueError, match="act is 'softmax'. Expected a function"): trained.get_X_preds(X[42:], act='softmax')
    with pytest.raises(ValueError, match='needs the targets'): trained.get_X_preds(X, with_loss=True)
    with pytest.raises(ValueError, match="Unknown label: 'sideways'"): trained.get_X_preds(X[:1], ['sideways'])

def test_interpretation(trained, capsys):
    interp = ClassificationInterpretation.from_learner(trained)
    cm = interp.confusion_matrix(); assert cm.sum() == 18 and (cm.sum(1) == 6).all()
    interp.plot_confusion_matrix(); interp.plot_confusion_matrix(normalize=True)
    interp.print_classification_report(); assert 'flat' in capsys.readouterr().out
    assert all(a != b for a, b, _ in interp.most_confused())
    for k in (1, 4): interp.plot_top_losses(k)
    assert plt.gcf()._suptitle.get_text().endswith('probability') and plt.gcf().axes[0].get_title().count(' / ') == 3
    axs = plt.subplots(1, 2)[1]
    figures = plt.get_fignums()
    interp.plot_top_losses(2, ax=axs)
    assert plt.get_fignums() == figures and all(o.lines for o in axs)
    with pytest.raises(ValueError, match='Expected 3'): interp.plot_top_losses(3, ax=axs)
    interp.plot_top_losses(4, nrows=2, largest=False)
    loss, idx, items = interp.top_losses(3, items=True); assert len(items) == 3 and (loss.diff() <= 0).all()
    torch.testing.assert_close(loss, trained.get_preds(with_loss=True)[2][idx], atol=1e-5, rtol=0)
    interp.show_results([0, 3]); Interpretation.from_learner(trained, ds_idx=0).top_losses(2)

def test_export_and_fresh_process(trained, tmp_path):
    "Saved here, loaded there: equal predictions, and the training data is not in the file"
    trained.path, old = tmp_path, trained.path
    try: trained.export('learner.pkl')
    finally: trained.path = old
    np.save(tmp_path/'X.npy', X[42:])
    code = ("import numpy as np, torch, warnings; warnings.simplefilter('ignore')\nfrom tsfast.learner import load_learner\n"
            "learn = load_learner('learner.pkl'); X = np.load('X.npy')\np, _, words = learn.get_X_preds(X)\n"
            "assert len(learn.dls.train.dataset) == 0\n"
            "torch.save((p, list(map(str, words)), learn.predict(X[0])[0]), 'out.pt')")
    r = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True,
                       env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)})
    assert not r.returncode, r.stderr
    p, words, label = torch.load(tmp_path/'out.pt', weights_only=False)
    want = trained.get_X_preds(X[42:]); assert torch.equal(p, want[0]) and words == want[2].tolist() and label == words[0]
    assert (tmp_path/'learner.pkl').stat().st_size < 200_000

def test_tracking_callbacks(tmp_path):
    learn = classifier(path=tmp_path)
    learn.fit(6, 1e-2, cbs=[SaveModelCallback(monitor='accuracy', fname='best'),
                            ReduceLROnPlateau(monitor='valid_loss', patience=1, min_delta=10., factor=10)])
    assert (tmp_path/'models'/'best.pth').exists() and learn.opt.hypers[-1]['lr'] < 1e-2
    assert abs(learn.validate()[1] - learn.history['accuracy'].max()) < 1e-6           # the best comes back
    learn = classifier(path=tmp_path)
    learn.fit(20, 1e-2, cbs=EarlyStoppingCallback(monitor='valid_loss', min_delta=100., patience=2))
    assert len(learn.history) == 3

@pytest.mark.filterwarnings('ignore:.*CUDA is not available')
def test_mixed_precision(tmp_path):
    "On a GPU in earnest; on the CPU torch's autocast for CUDA does nothing, and training goes on"
    learn = classifier(path=tmp_path).to_fp16(); assert any(isinstance(o, MixedPrecision) for o in learn.cbs)
    learn.fit_one_cycle(1, 1e-3); learn = learn.to_fp32(); learn.fit(1, 1e-3); assert torch.isfinite(weights(learn)).all()

def test_summary(trained):
    text = str(trained.summary()); assert 'InceptionTime' in text and 'Total params' in text and 'Linear' in text

@pytest.mark.parametrize('cb', [MixUp(.4)], ids=type)
def test_mixup(cb):
    learn = classifier(); learn.fit(3, 1e-2, cbs=cb); assert torch.isfinite(weights(learn)).all() and len(learn.history) == 3
    learn = quiet(ts_learner(number_dls(), InceptionTime, seed=0, **small)); learn.fit(1, 1e-3, cbs=MixUp(.4))

def test_body_and_head():
    for arch, k in ((InceptionTime, small), (XceptionTime, dict(nf=4)), ('FCN', {})):
        learn = quiet(ts_learner(class_dls(), arch, seed=0, **k)); learn.create_opt()
        body, head = learn.opt.param_lists; assert len(body) > len(head) > 0
        assert sum(map(len, (body, head))) == len(list(learn.model.parameters()))
        learn.freeze()
        bn = {id(p) for m in learn.model.modules() if isinstance(m, nn.BatchNorm1d) for p in m.parameters()}
        assert all(p.requires_grad == (id(p) in bn) for p in body) and all(p.requires_grad for p in head)
        before = [p.detach().clone() for p in body]; learn.fit(1, 1e-2)
        assert all(torch.equal(a, b) for a, b, p in zip(before, body, body) if id(p) not in bn)
        learn.unfreeze()
        learn.fit(1, slice(1e-4, 1e-2))
        assert not torch.equal(before[0], body[0]) and learn.opt.hypers[0]['lr'] < learn.opt.hypers[-1]['lr']

def test_weight_decay_leaves_norms_and_biases_alone():
    learn = classifier(wd=.1); learn.create_opt()
    off = {id(p) for p, s in ((p, learn.opt.state[p]) for g in learn.opt.param_lists for p in g) if s.get('do_wd', True) is False}
    bn = {id(p) for m in learn.model.modules() if isinstance(m, nn.BatchNorm1d) for p in m.parameters()}
    assert bn <= off and id(learn.model.fc.bias) in off and id(learn.model.fc.weight) not in off

def test_train_metrics():
    learn = classifier(train_metrics=True)
    learn.fit(1, 1e-3)
    assert 'train_accuracy' in learn.history and 'valid_accuracy' in learn.history
    learn.plot_metrics()
    learn = classifier(valid_metrics=False, train_metrics=True)
    learn.fit(1, 1e-3)
    assert list(learn.history) == ['train_loss', 'accuracy']
    learn = classifier(metrics=[accuracy, F1Score(average='macro')]); learn.fit(1, 1e-3); assert 'f1_score' in learn.history

def test_callbacks_see_series_as_series():
    class Look(Callback):
        def before_batch(self): self.learn.seen = (type(self.x).__name__, self.x.shape[1:], type(self.y))
    learn = classifier(); learn.fit(1, 1e-3, cbs=Look()); assert learn.seen[0] == 'TSTensor' and learn.seen[1] == (C, L)


# ---------------------------------------------------------------- what arch may be

class Own(nn.Module):
    "A user's own network, which asks for what it needs"
    def __init__(self, c_in, c_out, seq_len, width=4):
        super().__init__()
        self.a, self.b, self.seq_len = nn.Linear(c_in*seq_len, width), nn.Linear(width, c_out), seq_len
    def forward(self, x): return self.b(torch.relu(self.a(x.flatten(1))))

def test_arch():
    dls = class_dls()
    assert type(ts_learner(dls).model) is type(ts_learner(dls, 'INCEPTIONTIME').model) is InceptionTime
    m = ts_learner(dls, Own, width=6).model; assert m.seq_len == L and m.a.out_features == 6 and m.b.out_features == 3
    m = Own(C, 3, L); assert ts_learner(dls, m).model is m
    assert ts_learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(C*L, 3))).loss_func
    lowest = lambda dls: min(ts_learner(dls, XceptionTime, nf=4, seed=s).model(torch.randn(64, C, L)).min() for s in range(8))
    assert lowest(dls) >= 0 > lowest(number_dls())       # the page's last ReLU, but a regression can go negative
    with pytest.raises(KeyError, match="Did you mean 'XceptionTime'"): ts_learner(dls, 'XeptionTime')
    with pytest.raises(ValueError, match='nff'): ts_learner(dls, InceptionTime, nff=3)
    for bad, message in ((Own(C, 5, L), r'\(.B., 5\).*\(.B., 3\)'), (InceptionTime(C, 2, **small), 'c_out=3'),
                         (InceptionTime(7, 3, **small), 'built for 7 channels')):
        with pytest.raises(ValueError, match=message): ts_learner(dls, bad)

def test_checking_a_model_leaves_no_trace():
    m = InceptionTime(C, 3, **small).train(); before = copy.deepcopy(m.state_dict()); torch.manual_seed(5); state = rng_state()['torch']
    ts_learner(class_dls(), m)
    assert m.training and all(torch.equal(a, b) for a, b in zip(before.values(), m.state_dict().values()))
    assert torch.equal(state, rng_state()['torch'])

def test_feature_models_are_fitted_on_training_first():
    dls = class_dls(); learn = quiet(ts_learner(dls, MiniRocket, metrics=accuracy, seed=0, num_features=84))
    assert not learn.model.fitted
    learn.fit_one_cycle(5, 1e-2); assert learn.model.fitted and learn.validate()[1] > .8
    x, t = (torch.cat(o) for o in zip(*training_batches(dls)))
    assert x.shape == (42, C, L) and torch.equal(t, dls.train_ds.y[:42])    # in order, every one


# ---------------------------------------------------------------- regression in the user's units

@pytest.mark.parametrize('y', [numbers, np.c_[numbers, -numbers/100], np.tile(numbers[:, None, None], (1, 2, 3))],
                         ids=['one', 'two', 'window'])
def test_users_units(y):
    dls = number_dls(y)
    learn = quiet(ts_learner(dls, InceptionTime, metrics=[mae, rmse], seed=0, **small)); learn.fit_one_cycle(15, 1e-2)
    loss, mae_, rmse_ = learn.validate()
    p, t, d = learn.get_preds(with_decoded=True)
    want = y[42:].astype(np.float32)
    np.testing.assert_allclose(t.reshape(want.shape), want, rtol=1e-5); assert torch.equal(p, d)
    p_ = p.reshape(want.shape).numpy(); spread = np.abs(want - want.mean(0)).mean()
    assert loss < 2 and abs(mae_ - np.abs(p_ - want).mean()) < 1e-2*spread
    assert abs(rmse_ - np.sqrt(((p_ - want)**2).mean())) < 1e-2*spread    # loss in its own units, metrics in the user's
    assert np.corrcoef(p_.reshape(18, -1)[:, 0], want.reshape(18, -1)[:, 0])[0, 1] > .5
    q, u, words = learn.get_X_preds(X[42:], y[42:])
    torch.testing.assert_close(q, p, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(words.reshape(want.shape), p_, rtol=1e-5)
    np.testing.assert_allclose(u.reshape(want.shape), want, rtol=1e-5)
    dec, pred, raw = learn.predict(X[42]); np.testing.assert_allclose(np.asarray(dec).reshape(p_[0].shape), p_[0], rtol=1e-5)
    learn.show_results(max_n=2, shuffle=False); title = plt.gcf().axes[0].get_title()
    if y.ndim == 1: a, b = title.split(' → '); assert abs(float(a) - want[0]) < 1 and abs(float(b) - p_[0]) < 1, title
    learn.dls.show_batch(max_n=1)
    Interpretation.from_learner(learn).plot_top_losses(2); title = plt.gcf()._suptitle.get_text()
    assert title == ('Loss' if y.ndim == 3 else 'Prediction / label / loss')      # forecasts are drawn, and need no words
    assert abs(learn.history['mae'].iloc[-1] - mae_) < 1e-3*abs(mae_) + 1e-3

def test_plain_learner_in_users_units():
    torch.manual_seed(0)
    learn = quiet(Learner(number_dls(), InceptionTime(C, 1, **small), cbs=UserUnits()))
    assert 500 < learn.get_preds()[0].mean() < 1500
    learn = quiet(Learner(number_dls(), InceptionTime(C, 1, **small))); assert 500 < learn.get_X_preds(X[:4])[0].mean() < 1500

def test_multi_label():
    y = [[o for o, k in (('rise', a[-1] > a[0]), ('fall', a[-1] < a[0]), ('high', a.max() > 65)) if k] for a in X[:, 0]]
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSMultiLabelClassification()], batch_tfms=TSStandardize(), bs=16, device='cpu')
    learn = quiet(ts_learner(dls, InceptionTime, metrics=accuracy_multi, seed=0, **small)); learn.fit_one_cycle(6, 1e-2)
    p, t, words = learn.get_X_preds(X[42:], y[42:])
    assert p.min() >= 0 and p.max() <= 1 and all(set(o) <= {'rise', 'fall', 'high'} for o in words) and learn.validate()[1] > .6
    assert isinstance(learn.predict(X[0])[0], list); learn.show_results(max_n=2)

def test_a_class_for_each_step():
    y = np.where(X[:, 0] > 50, 'above', 'below')
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], batch_tfms=TSStandardize(), bs=16, device='cpu')
    learn = quiet(ts_learner(dls, InceptionTime, seed=0, **small)); learn.fit(2, 1e-2)
    p, t, words = learn.get_X_preds(X[42:], y[42:])
    assert p.shape == (18, L, 2) and words.shape == (18, L) and set(words.flat) <= {'above', 'below'}
    learn.show_results(max_n=2)
    learn.predict(X[0])

def test_integer_labels_are_classes():
    learn = quiet(ts_learner(get_ts_dls(X, np.arange(n) % 3 + 5, splits=splits, bs=16, device='cpu'), InceptionTime, seed=0, **small))
    learn.fit(1, 1e-3)
    assert type(learn.loss_func) is CrossEntropyLossFlat and learn.get_X_preds(X[:9])[2].dtype.kind == 'i'
    assert set(learn.dls.vocab) == {5, 6, 7}


# ---------------------------------------------------------------- weights of classes

def test_class_weights():
    y = np.array(['a']*30 + ['b']*10 + ['c']*2 + ['a', 'b', 'c']*6)
    dls = get_ts_dls(X, y, splits=splits, bs=16, device='cpu')
    torch.testing.assert_close(class_weights('balanced', dls), 42/(3*torch.tensor([30., 10., 2.])))
    assert class_weights({'c': 4}, dls).tolist() == [1, 1, 4] and class_weights([1, 2, 3], dls).tolist() == [1, 2, 3]
    learn = classifier(dls, class_weight='balanced', label_smoothing=.1)
    learn.fit(1, 1e-3)
    assert learn.loss_func.func.label_smoothing == .1
    for bad, message in (({'z': 1}, "names 'z'"), ('even', 'balanced'), ([1, 2], r'shape \(2,\). Expected 3'),
                         ([1, -1, 1], 'Expected 3 finite'),
                         ([0, 0, 0], 'not all of them 0'), ([1, float('inf'), 1], 'finite'), ([1, NAN, 1], 'finite'),
                         ({'a': 'x'}, r"\['x', 1.0, 1.0\]. Expected numbers")):
        with pytest.raises(ValueError, match=message): classifier(dls, class_weight=bad)
    with pytest.raises(ValueError, match='for one class'): ts_learner(number_dls(), InceptionTime, class_weight='balanced', **small)
    with pytest.raises(ValueError, match='label_smoothing is for'): ts_learner(number_dls(), InceptionTime, label_smoothing=.1, **small)
    with pytest.raises(ValueError, match='default loss.*FocalLoss\\(weight'):
        classifier(dls, class_weight='balanced', loss_func=CrossEntropyLossFlat())
    with pytest.raises(ValueError, match='Expected a share'): classifier(dls, label_smoothing=1.)


# ---------------------------------------------------------------- seeds

def run(seed, dls=None, epochs=(2,), schedule='one', **k):
    learn = classifier(dls, seed=seed, fc_dropout=.3, **k)
    for e in epochs: learn.fit_one_cycle(e, 1e-2) if schedule == 'one' else learn.fit(e, 1e-2)
    return weights(learn), learn.history

def global_state(): return random.getstate(), np.random.get_state()[1].tolist(), np.random.get_state()[2], torch.get_rng_state().tolist()

@pytest.mark.parametrize('epochs', [(2,), (1, 2)], ids=str)
def test_a_seed_reproduces_to_the_bit(epochs):
    torch.manual_seed(1); a, ha = run(3, epochs=epochs)
    torch.manual_seed(2); np.random.seed(5); random.seed(6); b, hb = run(3, epochs=epochs)
    c, _ = run(4, epochs=epochs)
    assert torch.equal(a, b) and ha.equals(hb) and not torch.equal(a, c)

def test_two_fits_are_not_the_same_fit_twice():
    "The second fit goes on with the generators where the first left off"
    class Order(Callback):
        def before_fit(self): self.seen = []
        def before_batch(self):
            if self.training: self.seen.append(self.x[:, 0, 0].tolist())
    learn = classifier(); o = Order(); learn.fit(1, 1e-3, cbs=o); a = o.seen; learn.fit(1, 1e-3, cbs=o); assert a != o.seen

def test_learners_that_share_loaders_do_not_disturb_each_other():
    dls = class_dls()
    alone = classifier(class_dls(), seed=1); alone.fit(1, 1e-2); alone.fit(2, 1e-2)
    one, other = classifier(dls, seed=1), classifier(dls, seed=2)
    one.fit(1, 1e-2); other.fit(1, 1e-2); next(iter(dls.train)); one.fit(2, 1e-2)
    assert torch.equal(weights(one), weights(alone))

def test_the_sampler_is_seeded_too():
    def go(): return run(7, class_dls(sampler=StratifiedSampler(labels[:42], bs=16)))[0]
    assert torch.equal(go(), go())
    def go(): return run(7, class_dls(weights=np.arange(42) + 1.))[0]
    assert torch.equal(go(), go())

def test_global_generators_are_given_back():
    random.seed(0); np.random.seed(0); torch.manual_seed(0); before = global_state()
    learn = classifier(seed=5); assert global_state() == before
    learn.fit_one_cycle(1, 1e-3); assert global_state() == before
    learn.validate(); learn.get_X_preds(X[:3]); learn.predict(X[0]); assert global_state() == before

@pytest.mark.parametrize('error', [ZeroDivisionError, KeyboardInterrupt, CancelFitException], ids=lambda o: o.__name__)
def test_global_generators_are_given_back_after_an_error(error):
    class Stop(Callback):
        def before_batch(self):
            if self.training and self.iter == 1: np.random.rand(); random.random(); torch.rand(1); raise error('now')
    learn = classifier(seed=5); before = global_state()
    try: learn.fit(1, 1e-3, cbs=Stop())
    except (ZeroDivisionError, KeyboardInterrupt): pass
    assert global_state() == before and not any(isinstance(o, Stop) for o in learn.cbs)
    learn.fit(1, 1e-3); assert global_state() == before and len(learn.history) == 1        # and the learner goes on

def test_without_a_seed_the_global_generators_decide():
    def go(k): torch.manual_seed(k); learn = classifier(seed=None); learn.fit(1, 1e-2); return weights(learn)
    a, b, c = go(1), go(1), go(2); assert torch.equal(a, b) and not torch.equal(a, c)

@pytest.mark.parametrize('seed', [0, 2**31, -1 % 2**63, 2**40])
def test_any_integer_is_a_seed(seed): assert torch.equal(run(seed, epochs=(1,))[0], run(seed, epochs=(1,))[0])

def test_start_epoch_of_fastai():
    learn = classifier(); learn.fit(3, 1e-3, start_epoch=2); assert len(learn.history) == 1


def test_bfloat16_on_the_cpu():
    "The same training but for rounding, without a warning; taken back, predictions are those of float32"
    learn = classifier()
    assert learn.to_bf16().to_bf16() is learn and len(learn._grab_cbs(BF16)) == 1
    learn.fit(2, 1e-3)
    rounded = learn.get_preds()[0]
    plain = learn.to_fp32().get_preds()[0]
    assert not learn._grab_cbs(BF16) and rounded.dtype == plain.dtype == torch.float32
    assert {p.dtype for p in learn.model.parameters()} == {torch.float32}
    assert not torch.equal(rounded, plain) and torch.allclose(rounded, plain, atol=.05)


@pytest.mark.parametrize('arch', list_models())
def test_a_seed_gives_the_weights_that_torch_gives(arch):
    "Construction draws from generators of its own, and comes out as after `torch.manual_seed`"
    dls = class_dls(); before = global_state()
    got = ts_learner(dls, arch, seed=3).model.state_dict(); assert global_state() == before
    with seeded(3): want = build_ts_model(arch, dls=dls).state_dict()
    assert all(torch.equal(a, b) for a, b in zip(got.values(), want.values(), strict=True))

def test_nothing_is_seeded_outside_training(monkeypatch):
    "Not even for a moment, since another thread may look"
    dls, model = class_dls(batch_tfms=[TSNoise(.1, p=1.), TSStandardize()]), InceptionTime(C, 3, fc_dropout=.5, **small)
    padded = padded_dls()
    def refuse(*args, **kwargs): raise AssertionError('a global generator was seeded')
    for module, name in ((random, 'seed'), (np.random, 'seed'), (np.random, 'set_state'), (torch, 'manual_seed'), (torch, 'set_rng_state')):
        monkeypatch.setattr(module, name, refuse)
    before = global_state()
    learn = ts_learner(dls, InceptionTime, seed=1, **small); ts_learner(dls, model); ts_learner(padded, LastStep, seed=1)
    learn.validate(0); learn.get_preds(0); learn.predict(X[0])
    assert global_state() == before

@pytest.mark.parametrize('seed', [0, None])
@pytest.mark.parametrize('arch,k', [('InceptionTime', small), ('MiniRocket', dict(num_features=84)), ('GRU', dict(hidden_size=4))],
                         ids=lambda o: o if isinstance(o, str) else '')
def test_lr_find_does_not_change_the_training_after_it(arch, k, seed, tmp_path):
    def go(find):
        torch.manual_seed(1); np.random.seed(1); random.seed(1)
        learn = quiet(ts_learner(class_dls(), arch, metrics=accuracy, seed=seed, path=tmp_path, **k))
        if find: learn.lr_find(show_plot=False, num_it=10); assert learn.history is None
        learn.fit_one_cycle(2, 1e-2); return weights(learn), learn.history
    (a, ha), (b, hb) = go(False), go(True); assert torch.equal(a, b) and ha.equals(hb)

@pytest.fixture
def late_cuda(monkeypatch):
    "A machine with a GPU that nobody has used yet: the seeds that torch hands on to it"
    seeds = []
    for name, f in dict(is_available=lambda: True, is_initialized=lambda: False, manual_seed_all=seeds.append).items():
        monkeypatch.setattr(torch.cuda, name, f)
    return seeds

def test_cuda_that_starts_later_is_not_left_seeded(late_cuda):
    torch.manual_seed(11)
    with seeded(3): assert late_cuda[-1] == 3
    assert late_cuda[-1] == 11      # what it would have started from without the block

def test_mps_is_given_back(monkeypatch):
    state = {'now': torch.tensor([1], dtype=torch.uint8)}
    monkeypatch.setattr(torch.backends.mps, 'is_available', lambda: True)
    for name, f in dict(get_rng_state=lambda: state['now'], set_rng_state=lambda s: state.update(now=s),
                        manual_seed=lambda s: state.update(now=torch.tensor([s], dtype=torch.uint8))).items():
        monkeypatch.setattr(torch.mps, name, f)
    with seeded(3): assert state['now'].item() == 3
    assert state['now'].item() == 1


# ---------------------------------------------------------------- real data, as long as it takes: pytest -m slow, with TSFAST_DATA set

@pytest.fixture
def ecg(ucr_path):
    if not (ucr_path/'ECGFiveDays').is_dir(): pytest.skip('needs ECGFiveDays in TSFAST_DATA')

def test_the_five_lines(ecg, tmp_path, monkeypatch):
    "As they stand, but for the number of epochs"
    monkeypatch.chdir(tmp_path)
    ns = {}
    exec("""
from tsfast.all import *
X, y, splits = get_UCR_data('ECGFiveDays', split_data=False)
dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], batch_tfms=TSStandardize(), bs=64)
learn = ts_learner(dls, InceptionTime, metrics=accuracy)
with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-3)
""", ns)
    assert len(ns['learn'].history) == 1

def ecg_accuracy(arch, train):
    from tsfast.data.external import get_UCR_data
    X, y, splits = get_UCR_data('ECGFiveDays', split_data=False)
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], batch_tfms=TSStandardize(), bs=64)
    learn = quiet(ts_learner(dls, arch, metrics=accuracy, seed=0)); train(learn)
    return learn.validate()[1]

@pytest.mark.slow
def test_inception_time_one_cycle(ecg): assert ecg_accuracy(InceptionTime, lambda l: l.fit_one_cycle(50, 1e-3)) >= .99

@pytest.mark.slow
def test_inception_time_plateau(ecg):
    assert ecg_accuracy(InceptionTime, lambda l: l.fit(50, 1e-3, cbs=ReduceLROnPlateau(patience=5, factor=2, min_lr=1e-5))) >= .99

@pytest.mark.slow
def test_xception_time_one_cycle(ecg): assert ecg_accuracy(XceptionTime, lambda l: l.fit_one_cycle(100, 1e-2)) >= .95


@pytest.mark.parametrize('loss', [torch.nn.CrossEntropyLoss(), torch.nn.functional.cross_entropy], ids=['module', 'function'])
def test_plain_losses_predict(loss):
    X, y = np.random.default_rng(0).normal(size=(24, 1, 8)), np.array(['a', 'b'])[np.arange(24) % 2]
    learn = ts_learner(get_ts_dls(X, y, bs=8, device='cpu'), 'InceptionTime', loss_func=loss, nf=4, depth=3)
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    probs, _, labels, losses = learn.get_X_preds(X, y, with_loss=True)
    assert torch.allclose(probs.sum(1), torch.ones(24)) and set(labels) <= {'a', 'b'} and losses.shape == (24,)


def metrics_mse(p, y): return ((p.reshape(y.shape) - y)**2).mean()

def test_plain_regression_loss_is_aligned():
    X, y = np.random.default_rng(0).normal(size=(24, 1, 8)), np.linspace(0., 1., 24)
    dls = get_ts_dls(X, y, splits=(range(20), range(20, 24)), bs=8, device='cpu')
    learn = ts_learner(dls, 'InceptionTime', loss_func=torch.nn.MSELoss(), metrics=[metrics_mse], nf=4, depth=3)
    loss, metric = learn.validate()
    assert abs(loss - metric) < 1e-6
    assert learn.get_X_preds(X)[2].shape == (24,)


def test_y_range_is_in_the_users_units():
    X, y = np.random.default_rng(0).normal(size=(24, 1, 8)), np.linspace(400., 500., 24)
    dls = get_ts_dls(X, y, splits=(range(20), range(20, 24)), tfms=[None, TSRegression(standardize=True)], bs=8, device='cpu')
    preds = ts_learner(dls, 'InceptionTime', y_range=(380, 520), nf=4, depth=3).get_preds()[0]
    assert ((preds >= 380) & (preds <= 520)).all()


def test_weights_do_not_stand_in_the_way(tmp_path):
    X, y = np.random.default_rng(0).normal(size=(24, 1, 10)), np.arange(24) % 2
    dls = get_ts_dls(X, y, bs=8, device='cpu')
    learn = ts_learner(dls, 'InceptionTime', sample_weight=np.ones(24), nf=4, depth=3, path=tmp_path)
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    learn.export('m.pkl')
    assert torch.equal(load_learner(tmp_path/'m.pkl').get_X_preds(X)[0], learn.get_X_preds(X)[0])
    for w in (np.zeros(24), np.full(24, np.nan), np.ones(3), 'balanced'):
        with pytest.raises(ValueError, match='weight'): ts_learner(dls, 'InceptionTime', sample_weight=w, nf=4)
    for kw in (dict(class_weight='balanced'), dict(label_smoothing=0.1)):
        with pytest.raises(ValueError, match='closed form'): ts_learner(dls, 'MiniRocket', num_features=84, **kw).fit_ridge()


@pytest.mark.parametrize('weights', [None, np.arange(42) + 1.], ids=['shuffled', 'weighted'])
def test_evaluation_of_the_training_split_sees_all_without_augmentation(weights):
    dls = class_dls(batch_tfms=[TSStandardize(by_var=True), TSNoise(5., p=1.)], weights=weights)
    assert not torch.equal(dls.train.transform(torch.from_numpy(X[:2])), dls.valid.transform(torch.from_numpy(X[:2])))
    learn = classifier(dls)
    p, _, _, losses = learn.get_X_preds(X[:42], labels[:42], with_loss=True)     # as new series, which are never augmented
    preds, targs = learn.get_preds(ds_idx=0)
    torch.testing.assert_close(preds, p, atol=1e-5, rtol=0); assert torch.equal(targs, dls.train_ds.y[:42])
    loss, acc = learn.validate(ds_idx=0)
    assert loss == pytest.approx(float(losses.mean()), rel=1e-5) and acc == pytest.approx(float((p.argmax(1) == targs).float().mean()))
    torch.testing.assert_close(Interpretation.from_learner(learn, ds_idx=0).losses, losses, atol=1e-5, rtol=0)


def first_loss(dls, **k):
    "Loss of the first batch of training, and what has reached the model by then"
    class Stop(Callback):
        order = 90
        def before_backward(self): self.learn.got = self.loss_grad.item(); raise CancelFitException()
    learn = quiet(ts_learner(dls, InceptionTime, seed=0, **small, **k)); learn.fit(1, 1e-3, cbs=Stop())
    return learn.got

gappy = np.where(rng.random((n, 3)) < .6, NAN, rng.normal(size=(n, 3)))
steps = np.where(X[:, 0] > 50, 'above', 'below')
weightings = {'plain': (labels, None, {}), 'class weights': (labels, None, dict(class_weight=[10, 10, 1])),
              'smooth': (labels, None, dict(class_weight=[10, 10, 1], label_smoothing=.1)),
              'focal': (labels, None, dict(loss_func=FocalLoss(weight=[1, 2, 30]))),
              'a class a step': (steps, TSClassification(), dict(class_weight=[1, 20])),
              'torch': (labels, None, dict(loss_func=nn.CrossEntropyLoss(weight=torch.tensor([1., 2., 30.])))),
              'gaps': (gappy, TSRegression(allow_nan=True), {}),
              'sum': (gappy, TSRegression(allow_nan=True), dict(loss_func=MaskedLoss(reduction='sum')))}

@pytest.mark.parametrize('kind', weightings)
def test_equal_sample_weights_change_nothing(kind):
    y, target, k = weightings[kind]
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, target], bs=16, device='cpu')
    plain = first_loss(dls, **k)
    assert first_loss(dls, sample_weight=np.full(n, 3.), **k) == pytest.approx(plain, rel=1e-5) and plain > 0

def test_sample_weights_multiply_class_weights():
    class Look(Callback):
        order = 90
        def after_pred(self): self.learn.seen = self.pred.detach(), self.y, self.dls.train.rows
        def before_backward(self): self.learn.got = self.loss_grad.item(); raise CancelFitException()
    w, cw = pd.Series(np.arange(n) % 4, index=np.arange(n) + 100), torch.tensor([1., 5., 20.])     # pandas' own index plays no part
    learn = classifier(class_weight=cw, sample_weight=w); learn.fit(1, 1e-3, cbs=Look())
    pred, y, rows = learn.seen; w = torch.tensor(w.to_numpy() / w[:42].mean())[rows]
    each = nn.functional.cross_entropy(pred.as_subclass(Tensor), y, weight=cw, reduction='none')
    assert learn.got == pytest.approx(float((w*each).sum()/cw[y].sum()), rel=1e-5)

@pytest.mark.parametrize('standardize', [False, True])
def test_gaps_in_the_targets(standardize):
    "The default loss masks them, and the loss of a series is the mean over its known targets"
    dls = get_ts_dls(X, gappy, splits=splits, tfms=[None, TSRegression(standardize, allow_nan=True)], bs=16, device='cpu')
    learn = quiet(ts_learner(dls, InceptionTime, metrics=skm_known(skm.mean_absolute_error), seed=0, **small)); learn.fit(1, 1e-3)
    assert type(learn.loss_func) is MaskedLoss and np.isfinite(learn.history.to_numpy()).all() and torch.isfinite(weights(learn)).all()
    p, t, _, loss = learn.get_X_preds(X[42:], gappy[42:], with_loss=True)
    scale = dls.train_ds.target.std if standardize else 1
    want = (((p - t)/scale)**2).nanmean(1).nan_to_num(0); assert loss.shape == (18,)
    torch.testing.assert_close(loss, want, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(Interpretation.from_learner(learn).losses, want, atol=1e-4, rtol=1e-4)

@pytest.mark.parametrize('loss', [nn.CrossEntropyLoss(), nn.functional.cross_entropy, nn.CrossEntropyLoss(weight=torch.tensor([1., 2.]))],
                         ids=['module', 'function', 'weighted'])
def test_a_class_a_step_with_torchs_loss(loss):
    dls = get_ts_dls(X, steps, splits=splits, tfms=[None, TSClassification()], bs=16, device='cpu')
    own = CrossEntropyLossFlat(weight=getattr(loss, 'weight', None))
    assert first_loss(dls, loss_func=loss) == pytest.approx(first_loss(dls, loss_func=own), rel=1e-5)
    p, t, words, per = quiet(ts_learner(dls, InceptionTime, loss_func=loss, **small)).get_X_preds(X[42:], steps[42:], with_loss=True)
    assert p.shape == (18, L, 2) and words.shape == (18, L) and per.shape == (18,)


targets = {'one': numbers, 'two': np.c_[numbers, -numbers/100], 'window': np.tile(numbers[:, None, None], (1, 2, 3)) * np.array([1, 2, 3]),
           'far': numbers/100 + 1e5}

@pytest.mark.parametrize('kind', targets)
@pytest.mark.parametrize('standardize', [False, True])
def test_y_range_for_every_regression(kind, standardize, tmp_path):
    y = targets[kind]; low, high = float(y.min()) - .5, float(y.max()) + .5
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSRegression(standardize)], bs=16, device='cpu')
    learn = quiet(ts_learner(dls, InceptionTime, y_range=(low, high), seed=0, **small))
    slack, fc = (high - low)*(2e-3 if kind == 'far' else 1e-4), learn.model.fc[0]
    for end, b in ((low, -1e3), (high, 1e3), (None, 0)):
        nn.init.constant_(fc.bias, b); p = learn.get_preds()[0].numpy()
        assert p.min() >= low - slack and p.max() <= high + slack and (end is None or abs(p - end).max() <= slack)
    np.testing.assert_allclose(Predictor(learn.save_bundle(tmp_path/'m'))(X[42:]), p, atol=slack, rtol=0)
    if kind == 'window':
        ort = pytest.importorskip('onnxruntime'); export_onnx(learn, tmp_path/'m.onnx')
        np.testing.assert_allclose(ort.InferenceSession(tmp_path/'m.onnx').run(None, {'series': X[42:]})[0], p, atol=slack)

def test_a_range_for_each_target():
    y = targets['two']; ends = (y.min(0) - .5).tolist(), (y.max(0) + .5).tolist()
    p = ts_learner(number_dls(y), InceptionTime, y_range=ends, **small).get_preds()[0].numpy()
    assert (p >= ends[0]).all() and (p <= ends[1]).all()

@pytest.mark.parametrize('dls,arch,y_range,message', [
    (class_dls, InceptionTime, (0, 1), 'for numbers'), (class_dls, InceptionTime(C, 3, y_range=(0, 1), **small), (), 'for numbers'),
    (number_dls, InceptionTime(C, 1, y_range=(0, 1000), **small), (), 'Pass its class'),
    (number_dls, InceptionTime, (2000, 500), r'y_range is \(2000, 500\)'),
    (number_dls, InceptionTime, 5, 'low < high'), (number_dls, InceptionTime, (None, 5), 'low < high')])
def test_y_range_that_cannot_be(dls, arch, y_range, message):
    with pytest.raises(ValueError, match=message): ts_learner(dls(), arch, **({} if y_range == () else dict(y_range=y_range)))


# ---------------------------------------------------------------- what is refused, or said, when a learner is made

class Wide(nn.Module):
    "A network of a user's that does not do what its arguments say"
    def __init__(self, c_in, c_out): super().__init__(); self.fc = nn.Linear(c_in, 7)
    def forward(self, x): return self.fc(x.mean(-1))

def test_a_class_of_the_wrong_width():
    with pytest.raises(ValueError, match=r"Wide gives .*\('B', 7\).* need \('B', 3\).*arguments ask for: c_out=3"):
        ts_learner(class_dls(), Wide)
    with pytest.raises(ValueError, match=r"\('B', 5\)"):
        ts_learner(class_dls(), InceptionTime,
                   custom_head=lambda nf, c_out, seq_len: nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(nf, 5)), **small)

def test_modes_of_modules_are_kept():
    m = InceptionTime(C, 3, **small).train(); m.inceptionblock.eval(); modes = [o.training for o in m.modules()]
    ts_learner(class_dls(), m); assert [o.training for o in m.modules()] == modes
    m = MiniRocket(C, 3, L, num_features=84).train(); m.head.eval(); modes = [o.training for o in m.modules()]
    learn = ts_learner(class_dls(), m); learn.model.fit(X); learn.model.features(X); assert [o.training for o in m.modules()] == modes
    from tsfast.models.ridge import fit_ridge_head
    fit_ridge_head(m, training_batches(learn.dls), 3); assert [o.training for o in m.modules()] == modes

def test_statistics_on_another_device():
    "Series lie on the CPU, statistics and model where the loaders are: 'meta' stands for a GPU"
    dls, m = class_dls(), InceptionTime(C, 3, **small).to('meta')
    dls.to(torch.device('meta'))
    for f in dls.train.after_batch.fs: f.to('meta')
    check_width(m, dls)
    with pytest.raises(ValueError, match='c_out=3'): check_width(InceptionTime(C, 2, **small).to('meta'), dls)

@pytest.mark.parametrize('metric,name',
                         [(accuracy, 'accuracy'), (error_rate, 'error_rate'), (F1Score(average='macro'), 'f1_score'),
                          (RocAuc(), 'roc_auc_score')], ids=lambda o: o if isinstance(o, str) else '')
def test_a_metric_for_classes_meets_numbers(metric, name):
    "Classes written 1.0 and 2.0 are numbers, and an accuracy of 0.0 in each epoch would be all that is said"
    y = np.where(labels == 'up', 1., 2.)
    with pytest.warns(UserWarning, match='2 different ones, all whole'): dls = get_ts_dls(X, y, splits=splits, bs=16, device='cpu')
    with pytest.warns(UserWarning, match=f'for classes.*{name}.*TSClassification'): ts_learner(dls, metrics=[mae, metric], **small)
    ts_learner(number_dls(), metrics=[mae, rmse, R2Score(), skm_known(skm.max_error), metrics_mse], **small)
    classifier(metrics=[metric])    # no warning

def test_metrics_of_far_targets():
    "fastai's own functions cast to float32; scikit-learn's are computed in float64"
    far = 1e7 + .16*np.random.default_rng(0).normal(size=len(X))
    dls = get_ts_dls(X, far, splits=splits, tfms=[None, TSRegression(standardize=True)], bs=16, device='cpu')
    with pytest.warns(UserWarning, match='computes mae, r2_score, rmse in float32.*skm_known'):
        ts_learner(dls, metrics=[mae, R2Score(), rmse], **small)
    learn = quiet(ts_learner(dls, metrics=skm_known(skm.mean_absolute_error), seed=0, **small)); learn.fit(1, 1e-3)
    p, t, _ = learn.get_X_preds(X[splits[1]], far[splits[1]])
    assert learn.validate()[1] == pytest.approx(np.abs(p.numpy().ravel() - far[splits[1]]).mean(), rel=1e-6)

@pytest.mark.parametrize('monitor', ['acuracy', 'time', 'train_accuracy'])
def test_a_monitor_that_is_not_recorded(monitor):
    learn = classifier(); before = weights(learn)
    for tracker in (EarlyStoppingCallback, SaveModelCallback, ReduceLROnPlateau):
        with pytest.raises(ValueError, match=f"{tracker.__name__} monitors '{monitor}'.*Recorded: train_loss, valid_loss, accuracy"):
            learn.fit_one_cycle(1, cbs=tracker(monitor=monitor))
    assert torch.equal(before, weights(learn)) and not [o for o in learn.cbs if 'Tracker' in str(type(o).__mro__)]
    with pytest.raises(ValueError, match="'valid_loss', which this training does not record.*Recorded: train_loss, accuracy"):
        classifier(valid_metrics=False, train_metrics=True, cbs=EarlyStoppingCallback()).fit(1)

def test_names_of_metrics():
    learn = quiet(ts_learner(number_dls(), metrics=rmse, seed=0, **small))
    learn.fit(1, 1e-3, cbs=EarlyStoppingCallback(monitor='rmse', comp=np.less))
    assert list(learn.history) == ['train_loss', 'valid_loss', 'rmse']
    learn.metrics = [rmse, mae]; assert list(learn.metrics.attrgot('name')) == ['rmse', 'mae']


@pytest.mark.parametrize('kw,text',
                         [(dict(sample_weight=np.ones(42)), r"no argument 'sample_weight'.*ts_learner\(\.\.\., sample_weight"),
                          (dict(alpha=[1.]), "no argument 'alpha'.*Did you mean 'alphas'"), (dict(seed=1), "no argument 'seed'")])
def test_arguments_of_fit_ridge(kw, text):
    with pytest.raises(ValueError, match=text): classifier().fit_ridge(**kw)

def test_weights_in_a_damaged_file(tmp_path):
    learn = classifier(path=tmp_path); file = learn.save('w'); data = file.read_bytes(); before = weights(learn)
    file.write_bytes(data[:len(data)//2])
    with pytest.raises(ValueError, match='cannot be read.*damaged'): learn.load('w')
    assert torch.equal(before, weights(learn))


# ---------------------------------------------------------------- another head

def test_another_head_is_trained():
    "Also where the optimiser was made before, with the other parameters"
    learn = classifier(); learn.fit(1, 1e-2)
    with pytest.raises(ValueError, match=r"has no part 'head'.*'gap' and 'fc'.*reset_head"): learn.model.head = nn.Linear(16, 3)
    learn.model.fc = nn.Linear(learn.model.head_nf, 3); before = learn.model.fc.weight.detach().clone()
    learn.fit_one_cycle(1, 1e-2); assert not torch.equal(before, learn.model.fc.weight)
    learn.model.reset_head(3); before = learn.model.fc.weight.detach().clone(); opt = learn.opt
    learn.fit(1, 1e-2); assert not torch.equal(before, learn.model.fc.weight) and learn.opt is not opt
    opt = learn.opt; learn.fit(1, 1e-2); assert learn.opt is opt
    learn.freeze(); learn.model.reset_head(3); learn.fit(1, 1e-2)
    assert learn.opt.frozen_idx == 1
    assert not any(p.requires_grad for k, p in learn.model.named_parameters() if 'conv' in k)
    assert learn.model.fc.weight.requires_grad

def test_ridge_leaves_the_learning_rate():
    learn = quiet(ts_learner(class_dls(), MiniRocket, metrics=accuracy, lr=5e-3, num_features=84)); learn.fit_ridge()
    assert learn.lr == 5e-3


# ---------------------------------------------------------------- files

def paths_in(file):
    "Names of classes of paths in the pickle of a learner"
    import pickletools, zipfile
    z = zipfile.ZipFile(file); data = z.read(next(o for o in z.namelist() if o.endswith('data.pkl')))
    named = {str(arg) for _, arg, _ in pickletools.genops(data) if 'Path' in str(arg) and 'pathlib' in str(arg)}
    return named | {o for o in ('PosixPath', 'WindowsPath') if o.encode() in data}

def test_a_learner_from_another_system_and_folder(tmp_path):
    from fastai.callback.progress import CSVLogger
    home, there = tmp_path/'home', tmp_path/'there'; home.mkdir()
    dls = class_dls(path=home/'data')
    learn = classifier(dls, path=home, model_dir=home/'m', cbs=[SaveModelCallback(), CSVLogger(home/'log.csv')])
    learn.fit(1, 1e-2)
    learn.export('a.pkl')
    assert not paths_in(home/'a.pkl')
    there.mkdir(); (home/'a.pkl').rename(there/'b.pkl')
    again = load_learner(there/'b.pkl')
    assert again.path == there and again.dls.path == home/'data' and again.model_dir == home/'m'
    assert again.csv_logger.fname == home/'log.csv'
    assert torch.equal(again.get_X_preds(X[:4])[0], learn.get_X_preds(X[:4])[0]) and learn.path == home
    learn = classifier(path=home); learn.export('c.pkl'); (home/'c.pkl').rename(there/'c.pkl')
    again = load_learner(there/'c.pkl'); again.dls = class_dls(); again.lr_find(show_plot=False, num_it=8); assert (there/'models').is_dir()
    assert load_learner(str(there/'c.pkl')).path == there

def test_an_export_that_fails_leaves_all_as_it_was(tmp_path):
    learn = classifier(path=tmp_path)
    learn.fit(1, 1e-3)
    learn.export('m.pkl')
    before, dls, opt = (tmp_path/'m.pkl').read_bytes(), learn.dls, learn.opt
    learn.unpicklable = (o for o in ())
    with pytest.raises(TypeError, match='generator'): learn.export('m.pkl')
    assert learn.dls is dls and learn.opt is opt and (tmp_path/'m.pkl').read_bytes() == before
    assert {o.name for o in tmp_path.iterdir()} == {'m.pkl'}

def test_files_of_another_kind(tmp_path):
    from tsfast.checkpoint import Checkpoint
    learn = classifier(path=tmp_path)
    learn.fit(1, 1e-3, cbs=Checkpoint(tmp_path/'c.pt'))
    learn.save('w')
    learn.export('m.pkl')
    learn.save_bundle(tmp_path/'b')
    (tmp_path/'text.pkl').write_text('text')
    for file, match in (('models/w.pth', r"holds weights.*learn.load\('.*w'\)"), ('c.pt', 'checkpoint.*resume=True'), ('b', 'load_bundle'),
                        ('text.pkl', 'no learner')):
        with pytest.raises(ValueError, match=match): load_learner(tmp_path/file)
    torch.save([1], tmp_path/'list.pkl')
    with pytest.raises(ValueError, match='holds a list'): load_learner(tmp_path/'list.pkl', cpu=False)
    with pytest.raises(FileNotFoundError): load_learner(tmp_path/'none.pkl')
    (tmp_path/'m.pkl').rename(tmp_path/'models'/'m.pth')
    with pytest.raises(ValueError, match='read by load_learner'): learn.load('m')

def test_weights_of_another_model(tmp_path):
    learn = classifier(path=tmp_path); learn.fit(1, 1e-3); learn.save('w')
    other = quiet(ts_learner(get_ts_dls(X, np.arange(n) % 5, splits=splits, bs=16, device='cpu'), InceptionTime, path=tmp_path, **small))
    before = weights(other)
    with pytest.raises(ValueError,
                       match=r'fc.weight: \(3, 16\) in the file, \(5, 16\) here; fc.bias.*same architecture, '
                             r'arguments and classes.*strict=False'):
        other.load('w')
    assert torch.equal(before, weights(other))
    head = other.model.fc.weight.detach().clone(); other.load('w', strict=False)
    bodies = (o.model.inceptionblock.state_dict().values() for o in (other, learn))
    assert all(torch.equal(a, b) for a, b in zip(*bodies))
    assert torch.equal(head, other.model.fc.weight)
    other.fit(1, 1e-3); assert torch.isfinite(weights(other)).all()
    with pytest.raises(ValueError, match='nothing in the file, '): quiet(ts_learner(class_dls(), 'FCN', path=tmp_path)).load('w')
    assert torch.equal(weights(classifier(path=tmp_path).load('w')), weights(learn))


# ---------------------------------------------------------------- series that were not asked for

def test_one_series_instead_of_many(trained):
    for x in (X[0], torch.from_numpy(X[0]), pd.DataFrame(X[0])):
        with pytest.raises(ValueError, match=r'X has shape \(2, 24\).*Expected \(n, 2, 24\).*X\[0\]\[None\]'): trained.get_X_preds(x)
    assert len(trained.get_X_preds(X[0][None])[0]) == 1

@pytest.mark.parametrize('arch,k,length,message',
                         [('InceptionTime', small, 7, None), ('InceptionTime', small, 60, None), ('LSTM', dict(hidden_size=4), 5, None),
                          ('MiniRocket', dict(num_features=84), 30, 'built for series of 24 steps.*InceptionTime'),
                          ('XceptionTime', dict(nf=4), 1, None)], ids=str)
def test_series_of_another_length(arch, k, length, message):
    learn = quiet(ts_learner(class_dls(), arch, seed=0, **k)); learn.fit(1, 1e-3)
    x = np.resize(X[:3], (3, C, length))
    if message is None and length >= learn.model.min_len: assert learn.get_X_preds(x)[0].shape == (3, 3)
    else:
        with pytest.raises(ValueError, match=message or 'at least'): learn.get_X_preds(x)


# ---------------------------------------------------------------- padding that is kept

class LastStep(nn.Module):
    "A user's network that masks padding, with what draws in training: dropout of three kinds"
    def __init__(self, c_in, c_out):
        super().__init__()
        self.rnn, self.bn = nn.LSTM(c_in, 4, 2, batch_first=True, dropout=.5), nn.BatchNorm1d(4)
        self.drop, self.fc = nn.Dropout(.5), nn.Linear(4, c_out)
    def forward(self, x):
        z = self.rnn(x.nan_to_num(0).movedim(1, 2))[0][:, 0]
        return self.fc(nn.functional.dropout(self.drop(self.bn(z)), .5, self.training))

class Spoilt(LastStep):
    "Here NaN reaches batch normalisation"
    def forward(self, x): return self.fc(self.bn(self.rnn(x.movedim(1, 2))[0][:, -1]))

gap = X.copy(); gap[::2, :, 18:] = np.nan
def padded_dls(*tfms):
    return get_ts_dls(gap, labels, splits=splits, batch_tfms=[TSStandardize(), TSNan2Value(keep_padding=True), *tfms], bs=16, device='cpu')

def test_own_networks_and_padding():
    dls = padded_dls(); assert not spoilt_by_padding(LastStep(C, 3), dls) and spoilt_by_padding(Spoilt(C, 3), dls)
    ts_learner(dls, LastStep)
    with pytest.raises(ValueError, match='Spoilt does not mask them'): ts_learner(dls, Spoilt)

class Roll(TSBatchTransform):
    "Moves padding into the series, from a certain call on"
    order, split_idx = 100, 0
    def __init__(self, start): super().__init__(); self.calls, self.start = 0, start
    def on_series(self, x): self.calls += 1; return x.roll(3, -1) if self.calls > self.start else x

def test_padding_is_looked_at_in_each_batch_once(monkeypatch):
    looks = []
    check = PaddingAtEnd.check
    monkeypatch.setattr(PaddingAtEnd, 'check', lambda self: (looks.append(self.epoch), check(self)))
    def learner(start): learn = quiet(ts_learner(padded_dls(Roll(start)), LSTM, seed=0, hidden_size=4)); looks.clear(); return learn
    learn = learner(99); learn.fit(3, 1e-3); first = [0]*(len(learn.dls.train) + 1)
    assert looks == [*first, 1, 2]      # the batches and the end of the epoch, then the ends alone: to look makes a GPU wait
    for start, seen in ((0, [0]), (1, [0, 0]), (len(first) - 1, [*first, 1]), (2*len(first) - 1, [*first, 1, 2])):
        with pytest.raises(ValueError, match='before the end of a series'): learner(start).fit(3, 1e-3)
        assert looks == seen


# ---------------------------------------------------------------- losses of both signs, another default dtype

def signed(pred, targ, center, scale, reduction='mean'):
    "A loss of both signs, whose sum is 0 or rounding; its gradients are not"
    e = (pred.reshape(targ.shape) - targ).tanh(); e = scale*(e - (e.detach() if center == 'each' else e.detach().mean()))
    return e if reduction == 'none' else e.mean() if reduction == 'mean' else e.sum()

@pytest.mark.parametrize('scale', [1., 1e-12])
@pytest.mark.parametrize('center', ['each', 'all'])
def test_sample_weights_with_losses_that_cancel(center, scale):
    def go(**k):
        learn = quiet(ts_learner(number_dls(), InceptionTime, loss_func=partial(signed, center=center, scale=scale),
                                 opt_func=partial(OptimWrapper, opt=torch.optim.SGD), seed=0, **small, **k))
        learn.fit(2, 1e-2/scale, wd=0.); return weights(learn)
    plain = go(); torch.testing.assert_close(go(sample_weight=np.full(n, 3.)), plain, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(go(sample_weight=np.arange(n) % 2), plain, atol=1e-4)

@pytest.fixture
def double_default():
    torch.set_default_dtype(torch.float64); yield; torch.set_default_dtype(torch.float32)

@pytest.mark.parametrize('arch,k',
                         [('InceptionTime', small), ('MiniRocket', dict(num_features=84)), ('TST', dict(d_model=8, n_heads=2, n_layers=1)),
                          ('GRU_FCN', {}), ('LSTMAttentionPlus', {})], ids=lambda o: o if isinstance(o, str) else '')
def test_another_default_dtype(double_default, arch, k):
    learn = quiet(ts_learner(class_dls(), arch, metrics=accuracy, seed=0, **k)); learn.fit_one_cycle(2, 1e-3, cbs=MixUp())
    assert {p.dtype for p in learn.model.parameters()} == {torch.float32} and torch.get_default_dtype() == torch.float64
    p, _, words = learn.get_X_preds(X[:5])
    assert p.dtype == torch.float32 and set(words) <= set(labels)
    learn.validate()
    learn.predict(X[0])

def test_a_model_in_float64_is_named(double_default):
    with pytest.raises(ValueError, match=r'InceptionTime has parameters in float64, such as .*model.float\(\)'):
        ts_learner(class_dls(), InceptionTime(C, 3, **small))
def test_no_bar_for_one_batch(trained, capsys):
    "One batch has no progress bar, which would stand in the log of every call; several have one, where the learner shows any"
    from fastai.callback.progress import ProgressCallback
    learn = copy.deepcopy(trained)
    learn.add_cb(ProgressCallback())
    learn.get_X_preds(X[:5])
    assert capsys.readouterr().out == ''
    learn.get_X_preds(X, bs=8)
    assert '[8/8' in capsys.readouterr().out
