"A second cycle of training, where a network did not learn its few training series in the first"
import math

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback, CancelFitException
from fastai.callback.mixup import MixUp
from fastai.losses import CrossEntropyLossFlat

from tsfast.checkpoint import Checkpoint
from tsfast.data.targets import TSMultiLabelClassification, TSRegression
from tsfast.estimators import TSNetClassifier
from tsfast.recipe import FEW_STEPS, HIGH_LOSS, further_epochs, recipe
from tsfast.training import RunData, RunSettings, TrainingRun, filled
from tsfast.training.run import last_loss

rng = np.random.default_rng(0)
X, y, numbers = rng.normal(size=(32, 1, 20)).astype(np.float32), np.repeat(['a', 'b'], 16), rng.normal(size=32)
SPLITS = range(0, 32, 2), range(1, 32, 2)
TINY = dict(arch='FCN', arch_args=dict(layers=[4, 4, 4]), epochs=3, bs=8, lr=1e-2, device='cpu')


def made(y=y, target=None, settings=None, **more):
    return TrainingRun(RunSettings(**{**TINY, 'second_cycle': True, **(settings or {})}), RunData(X, y, SPLITS, target), **more)

def quiet(run, **kwargs):
    with run.learner().no_bar(), run.learner().no_logging(): return run.train(**kwargs)

def weights(run): return run.learner().model.state_dict()

def same(a, b):
    assert all(torch.equal(v, weights(b)[k]) for k, v in weights(a).items())
    pd.testing.assert_frame_equal(a.learner().history, b.learner().history)

class BreakOff(Callback):
    order = 95      # after the checkpoint
    def __init__(self, cycle, epoch): self.at, self.cycle = (cycle, epoch), 0
    def before_fit(self): self.cycle += 1
    def before_epoch(self):
        if (self.cycle, self.epoch) == self.at: raise KeyboardInterrupt()
    def after_fit(self):
        if (self.cycle, self.epoch) == self.at: raise KeyboardInterrupt()


@pytest.mark.parametrize('classes', [2, 10])
def test_rule(classes):
    limit = HIGH_LOSS*math.log(classes)
    assert further_epochs(150, 450, 1.01*limit, classes) == 300
    assert further_epochs(150, 450, .99*limit, classes) == further_epochs(150, FEW_STEPS, 2*limit, classes) == 0
    assert further_epochs(150, 450, float('nan'), classes) == 0


@pytest.mark.parametrize('given, cycle', [({}, True), ({'epochs': 150}, False), ({'label_smoothing': .1}, False), ({'schedule': 'plateau'}, False),
                                          ({'ridge': True}, False), ({'valid_size': .2, 'patience': 5}, False), ({'valid_size': .2}, True),
                                          ({'second_cycle': False}, False), ({'epochs': 150, 'second_cycle': True}, True)], ids=str)
def test_settings(given, cycle):
    s = filled(RunSettings(**given), 30)
    assert s.second_cycle is cycle and filled(s, 30) == s
    assert not filled(RunSettings(), 30, classes=False).second_cycle
    assert s.epochs == recipe(30)['epochs']


def test_equals_two_calls():
    run, by_hand = quiet(made()), made(settings=dict(second_cycle=False))
    learn = by_hand.learner()
    assert len(run.learner().history) == 9 and list(run.learner().history.index) == [*range(9)] and run.learner().history.index.name == 'epoch'
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(3, 1e-2)
        assert last_loss(learn) == pytest.approx(np.mean([float(o) for o in learn.recorder.losses[-2:]]))
        learn.fit_one_cycle(6, 1e-2)
    assert all(torch.equal(v, weights(run)[k]) for k, v in learn.model.state_dict().items())


@pytest.mark.parametrize('validate', [False, True])
@pytest.mark.parametrize('at', [(1, 2), (1, 'end'), (2, 0), (2, 4)], ids=str)
def test_resume(tmp_path, at, validate):
    at = (at[0], 2) if at[1] == 'end' else at
    whole, second = quiet(made(), validate=validate), made()
    with pytest.raises(KeyboardInterrupt): quiet(made(), validate=validate, cbs=[Checkpoint(tmp_path/'c.pt'), BreakOff(*at)])
    quiet(second, validate=validate, cbs=[Checkpoint(tmp_path/'c.pt', resume=True)])
    same(whole, second)



@pytest.mark.parametrize('name', ['epochs are set', 'loss is low', 'own loss', 'MixUp', 'numbers', 'several labels'])
def test_one_cycle(name, monkeypatch):
    if name == 'loss is low': monkeypatch.setattr('tsfast.training.run.last_loss', lambda learn: .1)
    run = {'epochs are set': lambda: made(settings=dict(second_cycle=None)), 'loss is low': made,
           'own loss': lambda: made(loss_func=CrossEntropyLossFlat()), 'MixUp': lambda: made(cbs=[MixUp()]),
           'numbers': lambda: made(numbers, TSRegression()),
           'several labels': lambda: made([['a'], ['a'], ['a', 'b'], ['b']]*8, TSMultiLabelClassification())}[name]()
    assert len(quiet(run).learner().history) == 3


def test_callback_that_stops():
    "A training that a callback ends early has no second cycle"
    class Stop(Callback):
        order = 70      # after the recorder
        def after_epoch(self):
            if self.epoch == 1: raise CancelFitException()
    assert len(quiet(made(cbs=[Stop()])).learner().history) == 2


def test_estimator():
    args = dict(arch='FCN', arch_params=TINY['arch_args'], device='cpu', random_state=0)
    open_, fixed = TSNetClassifier(**args).fit(X[:12], y[10:22]), TSNetClassifier(epochs=150, **args).fit(X[:12], y[10:22])
    low = fixed.history_.train_loss.iloc[-1] < HIGH_LOSS*math.log(2)
    assert len(fixed.history_) == 150 and len(open_.history_) == (150 if low else 450)


def test_early_stopping_with_one_cycle():
    "Halving the rate works beside a schedule, too"
    run = quiet(made(settings=dict(valid_size=.25, patience=2, epochs=6, lr=1e-6, second_cycle=False)))
    assert 1 <= len(run.learner().history) <= 6
