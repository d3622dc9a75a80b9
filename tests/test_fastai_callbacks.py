"fastai's own callbacks on a classification and on a regression: each does what it is for, and none stands in the way of saving the learner"
import json, pickle

import numpy as np
import pandas as pd
import pytest
import torch
import wandb
from fastai.callback.core import Callback
from fastai.callback.mixup import MixUp
from fastai.callback.progress import CSVLogger
from fastai.callback.tensorboard import TensorBoardCallback
from fastai.callback.tracker import EarlyStoppingCallback, ReduceLROnPlateau, SaveModelCallback
from fastai.callback.training import GradientAccumulation, GradientClip
from fastai.callback.wandb import WandbCallback
from fastai.metrics import accuracy, rmse
from fastcore.basics import noop
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from tsfast.data.core import get_ts_dls
from tsfast.data.preprocessing import TSStandardize
from tsfast.data.targets import TSRegression
from tsfast.learner import load_learner, ts_learner

n, epochs = 40, 3
rng = np.random.default_rng(0)
X = (rng.normal(size=(n, 2, 16)) + np.linspace(-1, 1, n)[:, None, None]).astype(np.float32)
tasks = {'classification': (np.where(X.mean((1, 2)) > 0, 'up', 'down'), None, accuracy),
         'regression': (100 + 10*X.mean((1, 2)), TSRegression(standardize=True), rmse)}

class Steps(Callback):
    "Counts the steps of the optimiser, and keeps the largest norm of a gradient that goes into one"
    order = 80   # after GradientClip
    def before_fit(self): self.learn.steps, self.learn.norm = 0, 0.
    def before_step(self):
        norm = torch.stack([p.grad.norm() for p in self.learn.model.parameters() if p.grad is not None]).norm()
        self.learn.steps, self.learn.norm = self.learn.steps + 1, max(self.learn.norm, float(norm))

@pytest.fixture(params=tasks)
def make(request, tmp_path, monkeypatch):
    "A function that builds a learner"
    monkeypatch.chdir(tmp_path)
    y, target, metric = tasks[request.param]
    dls = get_ts_dls(X, y, splits=(range(0, n, 2), range(1, n, 2)), tfms=[None, target], batch_tfms=TSStandardize(), bs=4, device='cpu')
    def make(*cbs, **kwargs):
        learn = ts_learner(dls, 'InceptionTime', metrics=metric, seed=0, path=tmp_path, cbs=[*cbs, Steps()], nf=4, depth=3, **kwargs)
        learn.remove_cb(learn.progress)
        learn.logger = noop
        return learn
    return make

@pytest.fixture
def run(tmp_path, monkeypatch):
    "A run of wandb that needs no network"
    monkeypatch.setenv('WANDB_SILENT', 'true')
    with wandb.init(project='tsfast', mode='offline', dir=tmp_path) as run: yield run


def plain(make):
    learn = make()
    learn.fit(epochs, 1e-2)
    return learn

def tensorboard(learn, plain, path):
    log, = (path/'runs').iterdir()
    events = EventAccumulator(str(log))
    events.Reload()
    tags = events.Tags()
    assert {'train_loss', 'valid_loss', *learn.metrics.attrgot('name')} <= set(tags['scalars'])
    assert tags['images'] == ['Sample results'] and tags['graph']
    assert [o.value for o in events.Scalars('valid_loss')] == pytest.approx(list(learn.history['valid_loss']))

def csv_logger(learn, plain, path):
    rows = pd.read_csv(path/'history.csv')
    assert list(rows['valid_loss']) == pytest.approx(list(learn.history['valid_loss'])) and learn.metrics[0].name in rows

def mixup(learn, plain, path): assert not learn.history.equals(plain.history) and np.isfinite(learn.history.to_numpy()).all()
def accumulation(learn, plain, path): assert learn.steps == epochs*20//8 and plain.steps == epochs*20//4
def clip(learn, plain, path): assert learn.norm <= .0101 < plain.norm
def save_model(learn, plain, path):
    assert (path/'models'/'best.pth').exists() and learn.validate()[0] == pytest.approx(learn.history['valid_loss'].min())
def early_stopping(learn, plain, path): assert len(learn.history) == 2
def reduce_lr(learn, plain, path): assert learn.opt.hypers[-1]['lr'] == pytest.approx(1e-4)

callbacks = {tensorboard: TensorBoardCallback, csv_logger: CSVLogger, mixup: MixUp, accumulation: lambda: GradientAccumulation(8),
             clip: lambda: GradientClip(.01),
             save_model: lambda: SaveModelCallback(fname='best'), early_stopping: lambda: EarlyStoppingCallback(min_delta=100.),
             reduce_lr: lambda: ReduceLROnPlateau(min_delta=100., factor=10)}

@pytest.mark.parametrize('check', callbacks, ids=lambda o: o.__name__)
def test_callback(make, tmp_path, check, capsys):
    learn = make(callbacks[check]())
    learn.fit(epochs, 1e-2)
    check(learn, plain(make), tmp_path)
    travels(learn, tmp_path)

def test_wandb(make, tmp_path, run):
    learn = make(WandbCallback())
    learn.fit(epochs, 1e-2)
    assert run.summary['valid_loss'] == pytest.approx(learn.history['valid_loss'].iloc[-1]) and learn.metrics[0].name in run.summary.keys()
    assert run.config['architecture'] == 'InceptionTime' and run.config['arguments']['nf'] == 4
    table, = tmp_path.rglob('*.table.json')
    table = json.loads(table.read_text())
    assert table['columns'] == ['Series', 'Ground_Truth', 'Predictions'] and len(table['data']) == n//2
    assert all(all(row) for row in table['data'])
    travels(learn, tmp_path)

def travels(learn, path):
    "A learner that keeps its callback is exported and pickled, predicts the same, and trains on"
    learn.export('learner.pkl')
    want = learn.get_X_preds(X)[0]
    for again in (load_learner(path/'learner.pkl'), pickle.loads(pickle.dumps(learn))):
        assert torch.equal(again.get_X_preds(X)[0], want) and [type(o) for o in again.cbs] == [type(o) for o in learn.cbs]
    again.fit(1, 1e-3)

def test_interrupted_logger(make, tmp_path):
    "A training that breaks off leaves an open file in CSVLogger, and its writer as the logger of the learner"
    class Stop(Callback):
        def after_batch(self): raise KeyboardInterrupt
    learn, logger = make(), CSVLogger()
    with pytest.raises(KeyboardInterrupt): learn.fit(1, cbs=[logger, Stop()])
    learn.export('learner.pkl')
    assert load_learner(tmp_path/'learner.pkl').logger is print
    logger.file.close()

@pytest.mark.parametrize('loss', [nn.CrossEntropyLoss(), nn.functional.cross_entropy, nn.NLLLoss(weight=torch.tensor([1., 2.]))],
                         ids=['module', 'function', 'weighted'])
def test_mixup_with_torchs_losses(loss, tmp_path):
    y, _, _ = tasks['classification']
    dls = get_ts_dls(X, y, bs=8, device='cpu')
    def losses(**kwargs):
        learn = ts_learner(dls, 'InceptionTime', seed=0, cbs=MixUp(), nf=4, depth=3, **kwargs)
        with learn.no_bar(), learn.no_logging(): learn.fit(2, 1e-2)
        assert not hasattr(learn.loss_func, '__self__')
        return learn.history
    got = losses(loss_func=loss)
    assert np.isfinite(got.to_numpy()).all()
    if not isinstance(loss, nn.NLLLoss): np.testing.assert_allclose(got, losses(), rtol=1e-4)   # as with the default loss


def test_the_log_of_a_training_is_kept(make, tmp_path):
    "`validate`, `lr_find` and `fit_ridge` do not begin the file of `CSVLogger` anew"
    learn = make(); learn.path = tmp_path; learn.add_cb(CSVLogger()); learn.fit(2)
    log = (tmp_path/'history.csv').read_text()
    learn.validate(); learn.lr_find(show_plot=False, suggest_funcs=None)
    assert (tmp_path/'history.csv').read_text() == log and len(log.splitlines()) == 3 and learn._grab_cbs(CSVLogger)
