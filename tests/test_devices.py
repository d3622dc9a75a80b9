"""All public flows with series, statistics and weights on one device, whatever was on another one before.

They run on CUDA where there is a GPU, and, in a process of their own, on a stand-in for a GPU that every machine has: `elsewhere.py`."""
import os, pickle, re, subprocess, sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback
from fastai.callback.mixup import MixUp
from fastai.interpret import ClassificationInterpretation, Interpretation
from fastai.learner import load_learner
from fastai.metrics import accuracy, mae
from fastai.torch_core import default_device
from sklearn.metrics import mean_absolute_error
from torch import nn

import elsewhere
from tsfast.callbacks import training_batches
from tsfast.checkpoint import Checkpoint
from tsfast.data.augment import CutMix1d, TSMagWarp, TSNoise, TSRandomScale, TSTimeWarp, TSWindowSlice
from tsfast.data.augment_policy import AugmentSchedule, RandAugment
from tsfast.data.augment_time import TSPermutation, TSWindowWarp
from tsfast.data.augment_values import TSMaskChannels, TSMaskFrequencies, TSMaskSpans, TSRotate
from tsfast.data.core import StratifiedSampler, TSDatasets, get_ts_dl, get_ts_dls
from tsfast.data.preprocessing import TSClip, TSNan2Value, TSNormalize, TSRobustScale, TSStandardize
from tsfast.data.targets import TSClassification, TSMultiLabelClassification, TSRegression
from tsfast.deploy import export_onnx, export_program, to_predictor
from tsfast.estimators import TSNetClassifier, TSNetRegressor
from tsfast.inference import Predictor, load_bundle
from tsfast.interpret import plot_importance, split_head
from tsfast.learner import ts_learner
from tsfast.losses import FocalLoss, HuberLossFlat, LogCoshLoss, MaskedLoss
from tsfast.metrics import BrierProba, GMean, LogLoss, skm_known
from tsfast.models.registry import get_arch

# the process that the last test starts has the stand-in, and this one the GPU
OTHER = os.environ.get('TSFAST_TEST_DEVICE')
DEVICES = [OTHER or pytest.param('cuda', marks=pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU'))]
if OTHER == elsewhere.NAME: elsewhere.register()

N, C, L = 40, 2, 24
rng = np.random.default_rng(0)
y = np.array(['flat', 'up', 'down'])[np.arange(N) % 3]
X = rng.normal(size=(N, C, L)).astype(np.float32)
X[y == 'up', 1, 12:18] += 3; X[y == 'down', 1, 12:18] -= 3
number = X[:, 1, 12:18].mean(1) * 10 + 100
SPLITS = range(28), range(28, N)
ARCHS = dict(InceptionTime=dict(nf=2, depth=3, ks=8), LSTM=dict(hidden_size=4),
             TST=dict(n_layers=1, d_model=8, n_heads=2, d_ff=8, flatten=False),
             MiniRocket=dict(num_features=168, random_state=0), HydraPlus=dict(k=2, g=4, random_state=0))
FEATURES = ('MiniRocket', 'HydraPlus')      # models whose features are not trained
TOL = dict(atol=1e-2, rtol=1e-2) if not OTHER else dict(atol=1e-5, rtol=1e-4)     # cuDNN convolves in TF32


@pytest.fixture(scope='module', params=DEVICES)
def device(request):
    "The fastest device of this machine, as fastai sees it"
    there = torch.zeros(1, device=request.param).device
    with pytest.MonkeyPatch.context() as m:
        for mod in list(sys.modules.values()):
            for k in [k for k, v in list(vars(mod).items()) if v is default_device]: m.setattr(mod, k, lambda use=-1: there)
        yield there

@pytest.fixture(autouse=True)
def no_figures():
    yield
    plt.close('all')

def loaders(X=X, y=y, splits=SPLITS, batch_tfms=None, **kwargs):
    return get_ts_dls(X, y, splits=splits, batch_tfms=batch_tfms or TSStandardize(by_var=True), **{**dict(bs=8, val_bs=12), **kwargs})

def quiet(learn):
    if hasattr(learn, 'progress'): learn.remove_cb(learn.progress)
    learn.logger = lambda o: None
    return learn

def trained(dls, arch='InceptionTime', seed=0, epochs=1, **kwargs):
    if isinstance(arch, str): kwargs = {**ARCHS.get(arch, {}), **kwargs}
    learn = quiet(ts_learner(dls, arch, seed=seed, **kwargs))
    if epochs: learn.fit_one_cycle(epochs, 1e-2)
    return learn

def on(device, *tensors): assert {o.device for o in tensors} == {device}

def on_cpu(learn, path):
    "The same learner on a machine without the device"
    learn.export(path/'learner.pkl')
    with elsewhere.absent(): return quiet(load_learner(path/'learner.pkl', cpu=True))

def close(a, b): torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), **TOL)


@pytest.fixture(scope='module', params=ARCHS)
def learn(device, request):
    learn = trained(loaders(), request.param, metrics=[accuracy, LogLoss()])
    on(device, *learn.model.state_dict().values(), learn.dls.train.after_batch.fs[0].fn.shift)
    return learn


# flows of a trained classifier
def validates(learn, path):
    assert all(map(np.isfinite, learn.validate())) and all(map(np.isfinite, learn.validate(0)))

def predicts(learn, path):
    there, here = learn, on_cpu(learn, path)
    for f in (lambda l: l.get_X_preds(X)[0], lambda l: l.get_X_preds(X, y, with_loss=True)[3],
              lambda l: l.get_X_preds(X, with_input=True)[0].as_subclass(torch.Tensor), lambda l: l.predict(X[0])[2]):
        a, b = f(there), f(here)
        on(torch.device('cpu'), a); close(a, b)
    assert there.predict(X[0])[0] == there.get_X_preds(X[:1])[2][0]
    assert there.get_preds(with_decoded=True, with_loss=True, with_input=True)[0].shape == (12, C, L)
    close(there.get_preds()[0], there.get_preds(dl=there.dls.test_dl(X[28:]))[0])

def shows_batches(learn, path):
    learn.dls.show_batch(); learn.dls.show_batch(unique=True); learn.show_results(); learn.dls.valid.show_batch()
    shown = learn.dls.valid.decode_batch(learn.dls.valid.one_batch())
    close(torch.stack([o[0].as_subclass(torch.Tensor) for o in shown]), X[28:37])

def plots_top_losses(learn, path):
    learn.plot_top_losses(4); learn.plot_top_losses(3, X, y, largest=False)
    interp = Interpretation.from_learner(learn)
    interp.plot_top_losses(3); interp.show_results([0, 2])

def confuses(learn, path):
    interp = ClassificationInterpretation.from_learner(learn)
    interp.plot_confusion_matrix(); interp.plot_top_losses(2); interp.print_classification_report(); interp.most_confused()
    for name in ('plot_confusion_matrix', 'plot_probabilities', 'plot_roc', 'plot_calibration'):
        getattr(learn, name)(); getattr(learn, name)(X, y)

def explains(learn, path):
    methods = ['occlusion'] + ['cam']*(split_head(learn.model) is not None)
    here = on_cpu(learn, path)
    for method in methods:
        for labels in (None, 'up'): close(*(l.explain(X[:6], labels=labels, method=method, window=6, stride=6) for l in (learn, here)))
    learn.explain(X[:3], by_channel=True, window=8, stride=8)
    learn.plot_explanation(X, y, max_n=3, window=8, stride=8)

def ranks(learn, path):
    here = on_cpu(learn, path)
    for score in ('loss', 'accuracy'):
        args = dict(score=score, n_repeats=1, progress=False)
        close(*(np.array(l.feature_importance(X, y, **args)) for l in (learn, here)))
        plot_importance(learn.step_importance(window=8, **args))

def calibrates(learn, path):
    loss = learn.loss_func
    try:
        T = learn.calibrate(); learn.calibrate(X, y); learn.calibration_error()
        assert T > 0 and learn.calibrate() == pytest.approx(T)
        close(learn.get_X_preds(X)[0], on_cpu(learn, path).get_X_preds(X)[0])
    finally: learn.loss_func = loss

def embeds(learn, path): close(learn.embeddings(X), on_cpu(learn, path).embeddings(X))

def saves(learn, path):
    p = learn.get_X_preds(X)[0]
    file = learn.save(path/'model', with_opt=True)
    other = trained(loaders(), type(learn.model).__name__, epochs=0)
    other.load(file.with_suffix(''), with_opt=True)
    close(other.get_X_preds(X)[0], p)
    other.fit_one_cycle(1, 1e-3)

def exports(learn, path):
    device = learn.dls.device
    here = on_cpu(learn, path)
    on(torch.device('cpu'), *here.model.state_dict().values())
    close(here.predict(X[0])[2], learn.predict(X[0])[2])
    here.explain(X[:2]); here.embeddings(X[:2]); here.save_bundle(path/'b')
    again = quiet(load_learner(path/'learner.pkl', cpu=False))
    close(again.get_X_preds(X)[0], here.get_X_preds(X)[0])
    on(device, *learn.model.state_dict().values())       # the learner itself stays where it is

def bundles(learn, path):
    p = learn.get_X_preds(X)[0]
    with elsewhere.absent(): close(Predictor(learn.save_bundle(path/'b'))(X), p)
    there = load_bundle(path/'b', learn.dls.device)
    on(there.device, *there.pipeline.state_dict().values())
    close(there(X), p); close(there.predict_proba(X[:5]), p[:5]); there.predict(X); close(there.embeddings(X), learn.embeddings(X))
    on(torch.device('cpu'), there.to('cpu')(X)); close(there(X), p)
    close(to_predictor(learn, learn.dls.device)(X), p); close(to_predictor(learn)(X), p)
    on(learn.dls.device, *learn.model.state_dict().values(), learn.dls.train.after_batch.fs[0].fn.shift)

def solves(learn, path):
    other = trained(loaders(), type(learn.model).__name__, epochs=0)
    other.fit_ridge()
    on(other.dls.device, *other.model.state_dict().values())
    close(other.get_X_preds(X)[0], on_cpu(other, path).get_X_preds(X)[0])
    if type(learn.model).__name__ in FEATURES: assert other.validate()[0] < 2

def finds_rates(learn, path): trained(loaders(), type(learn.model).__name__, epochs=0).lr_find(num_it=12, show_plot=False)

def resumes(learn, path):
    def start(**kwargs):
        l = trained(loaders(), type(learn.model).__name__, epochs=0)
        return l, lambda *cbs: l.fit_one_cycle(3, 1e-2, cbs=[Checkpoint(path/'c.pt', **kwargs), *cbs])
    whole, fit = start(); fit()
    class BreakOff(Callback):
        def before_epoch(self):
            if self.epoch == 2: raise KeyboardInterrupt
    first, fit = start()
    with pytest.raises(KeyboardInterrupt): fit(BreakOff())
    second, fit = start(resume=True); fit()
    close(second.get_X_preds(X)[0], whole.get_X_preds(X)[0])
    assert len(second.history) == 3

@pytest.mark.parametrize('flow', [validates, predicts, shows_batches, plots_top_losses, confuses, explains, ranks, calibrates, embeds,
                                  saves, exports, bundles, solves, finds_rates, resumes],
                         ids=lambda f: f.__name__)
@pytest.mark.filterwarnings('ignore:.* of the .* predictions are correct:UserWarning',
                            'ignore:.* is ill-defined:sklearn.exceptions.UndefinedMetricWarning')   # after one epoch
def test_classifier(learn, flow, tmp_path): flow(learn, tmp_path)

@pytest.mark.parametrize('arch', ['InceptionTime', 'MiniRocket'])     # two, as exporting takes seconds
def test_exported_graphs(device, arch, tmp_path):
    "From a learner, or from a bundle on the device: the graph is one for the CPU"
    learn = trained(loaders(), arch)
    p = learn.get_X_preds(X)[0]
    for o in (learn, load_bundle(learn.save_bundle(tmp_path/'b'), device)):
        close(export_program(o, tmp_path/'m.pt2').module()(torch.from_numpy(X)), p)
    on(device, *learn.model.state_dict().values())
    if arch == 'InceptionTime':
        pytest.importorskip('onnx'); pytest.importorskip('onnxscript')
        export_onnx(learn, tmp_path/'m.onnx')


# other data, other targets, other transforms
KINDS = dict(   # y, its transform, metrics
    regression=lambda: (number, TSRegression(), mae), standardized=lambda: (number, TSRegression(standardize=True), mae),
    far=lambda: (number + 1e7, TSRegression(standardize=True), skm_known(mean_absolute_error)),
    several=lambda: (np.stack([number, -number], 1), TSRegression(standardize=True), mae),
    forecast=lambda: (X[..., :4] * 3, TSRegression(), mae),
    missing=lambda: (np.where(np.arange(N) % 5 == 0, np.nan, number), TSRegression(standardize=True, allow_nan=True), None),
    labels=lambda: ([['a']*(o != 'up') + ['b']*(o != 'down') for o in y], TSMultiLabelClassification(), None),
    steps=lambda: (np.where(X[:, 1] > 0, 'a', 'b'), TSClassification(), accuracy))

@pytest.mark.parametrize('kind', KINDS)
def test_targets(device, kind, tmp_path):
    t, tfm, metrics = KINDS[kind]()
    learn = trained(loaders(X, t, tfms=[None, tfm]), metrics=metrics)
    learn.validate(); learn.show_results(); learn.dls.show_batch(); Interpretation.from_learner(learn).plot_top_losses(3)
    here = on_cpu(learn, tmp_path)
    for l in (learn, here): close(l.get_X_preds(X)[0], learn.get_X_preds(X)[0])
    assert str(learn.predict(X[0])[0]) == str(here.predict(X[0])[0])
    if kind != 'missing': learn.get_X_preds(X, t, with_loss=True)
    predictor = Predictor(learn.save_bundle(tmp_path/'b'), device)
    close(predictor(X), Predictor(tmp_path/'b')(X))
    close(torch.as_tensor(predictor(X)).reshape(-1), learn.get_X_preds(X)[0].reshape(-1)); predictor.predict(X)
    assert 'could not be made' not in learn.report(tmp_path/'r.html', seconds=1, n_examples=2).read_text(encoding='utf-8')
    if kind in ('regression', 'standardized', 'far'): learn.feature_importance(score='mae', n_repeats=1, progress=False)
    if kind in ('regression', 'standardized', 'labels'): learn.explain(X[:3], labels='a' if kind == 'labels' else None); learn.fit_ridge()

RANDOM = [TSNoise(p=1.), TSRandomScale(p=.5), TSMagWarp(p=.5), TSTimeWarp(p=.5), TSWindowSlice(p=.5), TSWindowWarp(), TSPermutation(),
          TSMaskSpans(), TSMaskChannels(), TSMaskFrequencies(), RandAugment()]
TFMS = dict(standardize=[TSStandardize()], by_sample=[TSStandardize(by_sample=True, by_var=True, exclude_vars=[0])],
            by_step=[TSStandardize(by_step=True, by_var=True)],
            normalize=[TSNormalize(by_var=True, exclude_vars=[1])], sample_range=[TSNormalize(by_sample=True)], robust=[TSRobustScale()],
            sample_robust=[TSRobustScale(by_sample=True)],
            given=[TSStandardize(mean=np.zeros(C), std=np.ones(C))], random=[TSStandardize(), TSClip(), *RANDOM],
            mean=[TSStandardize(), TSNan2Value(method='mean')], median=[TSNan2Value(method='median'), TSStandardize()])

@pytest.mark.parametrize('tfms', TFMS)
def test_transforms(device, tfms, tmp_path):
    x = X.copy()
    if tfms in ('mean', 'median', 'by_sample'): x[::3, 0, 20:] = np.nan
    dls = loaders(x, batch_tfms=TFMS[tfms] + [TSNan2Value()]*(tfms == 'by_sample'))
    learn = trained(dls)
    shown = torch.stack([o[0].as_subclass(torch.Tensor) for o in dls.valid.decode_batch(dls.valid.one_batch())])
    if tfms not in ('mean', 'median', 'by_sample'): close(shown, x[28:37])
    learn.show_results(); learn.plot_top_losses(2); learn.predict(x[0]); learn.explain(x[:2])
    dls.show_batch(unique=True)
    close(learn.get_X_preds(x)[0], on_cpu(learn, tmp_path).get_X_preds(x)[0])
    close(learn.get_X_preds(x)[0], Predictor(learn.save_bundle(tmp_path/'b'), device)(x))

ONE_BY_ONE = [*RANDOM, TSRotate(p=1.)]

@pytest.mark.parametrize('f', ONE_BY_ONE, ids=lambda f: type(f).__name__)
def test_random_transforms_are_those_of_the_cpu(device, f):
    "The same seed gives the same series and labels on every device, and the generator of the CPU is the only one that is used"
    x = torch.randn(30, 3, 40, generator=torch.Generator().manual_seed(0)).cumsum(-1)
    x[::4, :, 30:] = torch.nan; x[1, 0, 5:7] = torch.nan
    labels = torch.arange(30*40).reshape(30, 40) % 7
    both, states = [], []
    for where in ('cpu', device):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            out = f.on_batch(x.to(where), labels.to(where))
            states.append(torch.get_rng_state())
        on(torch.device(where), *out); both.append([o.cpu() for o in out])
    assert torch.equal(*states) and torch.equal(both[0][1], both[1][1]) and torch.equal(both[0][0].isnan(), both[1][0].isnan())
    torch.testing.assert_close(both[0][0], both[1][0], equal_nan=True, atol=1e-4, rtol=1e-4)

def test_augmented_training(device):
    "A policy with a schedule, labels of each step, and test-time augmentation"
    steps = np.where(X[:, 0] > 0, 'high', 'low')
    dls = loaders(y=steps, batch_tfms=[TSStandardize(), RandAugment()], tfms=[None, TSClassification()])
    trained(dls, 'FCN', cbs=AugmentSchedule(), layers=[4, 4, 4])
    learn = trained(loaders(batch_tfms=[TSStandardize(), TSTimeWarp()]), cbs=AugmentSchedule())
    learn.tta(n=2)

def own(c_in=C, c_out=3):
    "A network of one's own"
    return nn.Sequential(nn.Conv1d(c_in, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, c_out))

@pytest.mark.parametrize('where', ['cpu', 'there'])
@pytest.mark.parametrize('arch', [*ARCHS, 'own'])
def test_instances(device, arch, where):
    "A network that was built already, whatever device it is on"
    model = own() if arch == 'own' else get_arch(arch)(C, 3, **({} if arch == 'LSTM' else dict(seq_len=L)), **ARCHS[arch])
    learn = trained(loaders(), model.to(device if where == 'there' else 'cpu'))
    on(device, *learn.model.state_dict().values())
    learn.predict(X[0])
    with pytest.raises(ValueError, match='needs? '): ts_learner(loaders(), own(c_out=4).to(device if where == 'there' else 'cpu'))

class Masks(nn.Module):
    "A network of one's own that takes padding"
    def __init__(self, c_in, c_out, seq_len): super().__init__(); self.net = own(c_in, c_out)
    def forward(self, x): return self.net(x.nan_to_num())

@pytest.mark.parametrize('arch', ['LSTM', 'TST', 'GRUAttentionPlus', Masks])
def test_kept_padding(device, arch, tmp_path):
    x = X.copy(); x[::3, :, 18:] = np.nan; x[1, 0, 3:5] = np.nan
    dls = loaders(x, batch_tfms=[TSStandardize(by_var=True), TSNan2Value(keep_padding=True)])
    learn = trained(dls, arch, **(dict(hidden_size=4, rnn_layers=1, n_heads=2) if arch == 'GRUAttentionPlus' else {}))
    close(learn.get_X_preds(x)[0], on_cpu(learn, tmp_path).get_X_preds(x)[0])
    learn.explain(x[:3], method='occlusion', window=6, stride=6)
    learn.feature_importance(n_repeats=1, progress=False)
    learn.plot_explanation(x[:2], method='occlusion', window=6, stride=6); learn.show_results(); learn.plot_top_losses(2)
    if arch is not Masks: close(Predictor(learn.save_bundle(tmp_path/'b'), device)(x), learn.get_X_preds(x)[0])
    with pytest.raises(ValueError, match='does not mask'): trained(dls, own(), epochs=0)

LOSSES = dict(class_weight=dict(class_weight='balanced'), smoothing=dict(label_smoothing=.1),
              sample_weight=dict(sample_weight=np.arange(1, N + 1)), focal=dict(loss_func=FocalLoss(weight=[1., 2., 3.])),
              torch=dict(loss_func=nn.CrossEntropyLoss(weight=torch.tensor([1., 2., 3.]))), mixup=dict(cbs=MixUp()),
              cutmix=dict(cbs=CutMix1d()), brier=dict(metrics=[BrierProba(), GMean()]))

@pytest.mark.parametrize('case', LOSSES)
def test_losses(device, case, tmp_path):
    learn = trained(loaders(), **LOSSES[case])
    learn.validate(); learn.plot_top_losses(2); learn.show_results()
    if 'cbs' not in LOSSES[case]:
        close(learn.get_X_preds(X, y, with_loss=True)[3].mean(), learn.get_X_preds(X, y, bs=7, with_loss=True)[3].mean())
    here = on_cpu(learn, tmp_path)
    close(here.get_X_preds(X, y, with_loss=True)[3], learn.get_X_preds(X, y, with_loss=True)[3])

@pytest.mark.parametrize('loss', [HuberLossFlat, LogCoshLoss, lambda: MaskedLoss(nn.L1Loss)], ids=['huber', 'logcosh', 'masked'])
def test_losses_of_numbers(device, loss):
    trained(loaders(y=number, tfms=[None, TSRegression(standardize=True)]), loss_func=loss(), metrics=mae).plot_top_losses(2)

DRAWS = dict(plain={}, weights=dict(weights=np.arange(1, 29)), part=dict(partial_n=.5),
             sampler=dict(sampler=StratifiedSampler(y[:28], bs=8, random_state=0)), sort=dict(sort=True), by_batch=dict(inplace=False))

@pytest.mark.parametrize('kind,draws', [(k, 'plain') for k in ('array', 'tensor', 'memmap')] + [('there', o) for o in DRAWS])
def test_where_series_lie(device, kind, draws, tmp_path):
    "An array, a tensor on the CPU or on the device, or a file: batches are on the device, and hold the same series"
    if kind == 'memmap': np.save(tmp_path/'x.npy', X)
    data = dict(array=lambda: X, tensor=lambda: torch.from_numpy(X), there=lambda: torch.from_numpy(X).to(device),
                memmap=lambda: np.load(tmp_path/'x.npy', mmap_mode='r'))[kind]()
    target = torch.from_numpy(number).to(device) if kind == 'there' else number
    dls = loaders(data, target, tfms=[None, TSRegression()], **DRAWS[draws])
    for xb, yb in dls.train: on(device, xb, yb)
    close(torch.cat([b[0].as_subclass(torch.Tensor) for b in dls.valid]).cpu(),
          dls.valid.transform(torch.from_numpy(X[28:]).to(device)).cpu())
    close(dls.train_ds[0][0].as_subclass(torch.Tensor).cpu(), X[0]); repr(dls); repr(dls.train_ds); repr(xb)
    dls.show_batch(); dls.train_ds[0][0].show()
    learn = trained(dls)
    p = learn.get_X_preds(X)[0]
    close(learn.get_X_preds(data)[0], p); close(learn.get_X_preds(data, target, with_loss=True)[0], p)
    if kind != 'memmap':
        learn.explain(data[:2])
        learn.plot_explanation(data[:2], target[:2])
        learn.plot_explanation(data[:2], by_channel=True, window=8, stride=8)
        learn.embeddings(data[:2]); learn.feature_importance(data, target, n_repeats=1, progress=False)
        learn.plot_top_losses(2, data, target)
    if draws == 'plain': assert 'could not be made' not in learn.report(tmp_path/'r.html', seconds=1, n_examples=1).read_text(encoding='utf-8')
    close(Predictor(learn.save_bundle(tmp_path/'b'), device)(data).reshape(-1), p.reshape(-1))
    close(to_predictor(learn)(data).reshape(-1), p.reshape(-1))
    learn.save_bundle(tmp_path/'b')

def test_classes_on_the_device(device):
    codes = torch.from_numpy(np.arange(N) % 3).to(device)
    learn = trained(loaders(torch.from_numpy(X).to(device), codes), class_weight='balanced', sample_weight=torch.ones(N, device=device))
    learn.get_X_preds(X, codes); learn.plot_confusion_matrix(X, codes); learn.plot_top_losses(2)
    learn.explain(X[:4], labels=codes[:4])
    learn.plot_explanation(X[:4], codes, labels=codes[:4], max_n=2)
    learn.feature_importance(X, codes, n_repeats=1, progress=False); learn.calibration_error(X, codes)
    dl = get_ts_dl(torch.from_numpy(X).to(device), codes, batch_tfms=TSStandardize())
    for xb, yb in dl: on(device, xb, yb)
    trained(learn.dls, epochs=0, sample_weight=torch.ones(N, device=device)).fit_ridge()

class Sums(Callback):
    "Remembers a tensor on the device of its learner"
    def before_fit(self):
        if not hasattr(self, 'total'): self.total = torch.zeros(C, device=self.dls.device)
    def after_batch(self): self.total += self.x.as_subclass(torch.Tensor).sum((0, 2))

def test_resume_with_series_and_callbacks_on_the_device(device, tmp_path):
    "The series are looked at to tell runs apart, and what a callback remembers comes back to where it was"
    def start(*cbs, **kwargs):
        learn = trained(loaders(torch.from_numpy(X).to(device)), epochs=0)
        learn.fit_one_cycle(2, 1e-2, cbs=[sums := Sums(), Checkpoint(tmp_path/'c.pt', **kwargs), *cbs])
        return learn, sums
    class BreakOff(Callback):
        def before_epoch(self):
            if self.epoch == 1: raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): start(BreakOff())
    (second, resumed), (first, whole) = start(resume=True), start()
    on(device, resumed.total); close(resumed.total.cpu(), whole.total.cpu()); close(second.get_X_preds(X)[0], first.get_X_preds(X)[0])
    assert len(second.history) == 2

@pytest.mark.parametrize('arch', FEATURES)
@pytest.mark.parametrize('kind', ['array', 'tensor', 'there'])
def test_feature_models(device, arch, kind):
    "Fitted by hand, on data that is on another device or on the same"
    data = dict(array=lambda: X, tensor=lambda: torch.from_numpy(X), there=lambda: torch.from_numpy(X).to(device))[kind]()
    here, there = (get_arch(arch)(C, 3, seq_len=L, **ARCHS[arch]) for _ in range(2))
    here.fit(X); there.to(device).fit(data)
    on(device, *there.state_dict().values()); close(there.features(data), here.features(X))
    there.backbone.backend = 'torch'; close(there.features(data), here.features(X))
    there.reset_head(2); there.to(device); on(device, *there.state_dict().values())

@pytest.mark.parametrize('params', [dict(class_weight='balanced'), dict(arch='MiniRocket', ridge=True),
                                    dict(early_stopping=True, n_iter_no_change=1), dict(n_estimators=2, missing=0.),
                                    dict(loss_func=FocalLoss(weight=[1., 2., 3.])), dict(arch=own())],
                         ids=lambda p: '-'.join(p))
def test_estimators(device, params, tmp_path):
    arch = params.get('arch', 'InceptionTime')
    est = TSNetClassifier(**{**dict(epochs=1, bs=8, random_state=0, device=device,
                                    arch_params=ARCHS.get(arch) if isinstance(arch, str) else None), **params}).fit(X, y)
    p = est.predict_proba(X)
    for x in (torch.from_numpy(X), torch.from_numpy(X).to(device)): close(est.predict_proba(x), p)
    data = pickle.dumps(est)
    with elsewhere.absent(): back = pickle.loads(data).set_params(device='cpu')
    close(back.predict_proba(X), p); close(est.predict_proba(X), p)
    on(torch.device('cpu'), *back.learner_.model.state_dict().values()); on(device, *est.learner_.model.state_dict().values())
    est.fit(torch.from_numpy(X).to(device), y)
    est.learner_.explain(X[:2])

def test_estimators_of_numbers(device):
    reg = TSNetRegressor(arch_params=ARCHS['InceptionTime'], epochs=1, bs=8, random_state=0, device=device)
    reg.fit(X, number, sample_weight=np.arange(1., N + 1))
    p = reg.predict(X)
    data = pickle.dumps(reg)
    with elsewhere.absent(): close(pickle.loads(data).set_params(device='cpu').predict(X), p)


# what the tests above cannot show if the stand-in is wrong
@pytest.mark.skipif(OTHER != elsewhere.NAME, reason='in a process of its own, below')
def test_the_stand_in_is_strict(device):
    a, b = torch.randn(3, 4, device=device), torch.randn(3, 4)
    at = torch.tensor([2, 0])
    for f in (lambda: a + b, lambda: b + a, lambda: a @ b.T, lambda: torch.cat([a, b]), lambda: torch.stack([a, b]),
              lambda: torch.where(a > 0, a, b), lambda: b[at.to(device)], lambda: b.add_(a), lambda: b[0, 0].add_(a[0, 0]),
              lambda: a.gather(1, torch.zeros(3, 1, dtype=torch.long)), lambda: nn.Linear(4, 2)(a),
              lambda: nn.functional.cross_entropy(a, torch.tensor([0, 1, 2])), lambda: torch.add(a, a, out=torch.empty(3, 4)),
              lambda: a.masked_fill(b > 0, 0.), lambda: a.index_select(0, at), lambda: nn.Conv1d(3, 2, 1)(a), lambda: nn.LSTM(4, 2)(a)):
        with pytest.raises(RuntimeError, match='same device|should be either on cpu|on the cpu'): f()
    for f in (a.numpy, lambda: np.asarray(a)):
        with pytest.raises(TypeError, match="can't convert"): f()
    on(device, a + torch.tensor(1.), a[at], a.to(device), a[b > 0], torch.as_tensor([1.], device=device), torch.zeros_like(a),
       a.new_ones(2), a.double(), a.clone().copy_(b))
    on(torch.device('cpu'), b.clone().copy_(a), a.cpu(), torch.randn(2).to(a).cpu())
    a[1:, 0] = b[1:, 0]; close(a[1:, 0].cpu(), b[1:, 0])
    a[:, 1].zero_(); assert a.cpu()[:, 1].eq(0).all() and a.tolist()[0][1] == 0 and a[0, 1].item() == 0
    with elsewhere.absent(), pytest.raises(RuntimeError, match='is_available'): pickle.loads(pickle.dumps(a))
    close(pickle.loads(pickle.dumps(a)).cpu(), a.cpu())

@pytest.mark.skipif(bool(OTHER) or not elsewhere.available, reason='this is that process, or torch is too old')
def test_on_another_device(repo, tmp_path):
    "All of the above once more, in a process whose fastest device is the stand-in"
    env = {**os.environ, 'TSFAST_TEST_DEVICE': elsewhere.NAME, 'PYTHONPATH': os.pathsep.join([str(repo), os.environ.get('PYTHONPATH', '')])}
    done = subprocess.run([sys.executable, '-m', 'pytest', '-q', '--tb=short', '-p', 'no:cacheprovider', f'--basetemp={tmp_path}/t',
                           __file__], env=env, cwd=repo, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
