"Every architecture serves every kind of target: trained for a moment, it beats the best constant prediction on its training data"
import inspect

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback, CancelFitException

from tsfast.data.core import get_ts_dls
from tsfast.data.preprocessing import TSStandardize
from tsfast.data.targets import TSClassification, TSMultiLabelClassification, TSRegression
from tsfast.learner import ts_learner
from tsfast.models.registry import get_arch, list_models
from test_models import SMALL

N, C, L = 48, 2, 24
rng = np.random.default_rng(0)
# noise, with a wave whose frequency is that of its class and whose height is the number to predict
kind, height = rng.integers(0, 3, N), rng.uniform(0.5, 2, N)
wave = np.sin(np.arange(L) * (0.4 + 0.6*kind[:, None])) * height[:, None]
X = (wave[:, None] + 0.1*rng.normal(size=(N, C, L))).astype(np.float32)

TASKS = {
    'classes':     (np.array(['a', 'b', 'c'])[kind],                     None,                            (3,)),
    'multi-label': ([['wave'] * int(k > 0) + ['high'] * int(h > 1.2) for k, h in zip(kind, height)], TSMultiLabelClassification(), (2,)),
    'regression':  (-3*height,                                           None,                            (1,)),
    'targets':     (np.stack([height, 5 - height, kind], 1),             TSRegression(standardize=True),  (3,)),
    'shape':       (height[:, None, None] * np.ones((1, 2, 5)) * [[[1.], [-1.]]], TSRegression(standardize=True), (2, 5)),
    'steps':       (np.where(wave > 0, 'up', 'down'),                    TSClassification(),              (L, 2)),
}


class StopWhenBetter(Callback):
    "End the training once the loss on a whole epoch is clearly below `goal`"
    def __init__(self, goal): self.goal, self.reached = goal, False
    def before_train(self): self.losses = []
    def after_batch(self):
        if self.training: self.losses.append(self.loss.item())
    def after_train(self):
        if np.mean(self.losses) < 0.9*self.goal: self.reached = True; raise CancelFitException


def constant_loss(dls, loss_func):
    "The loss of the best constant prediction, for the losses of `TASKS`"
    ds = dls.train_ds
    y = ds.y[ds.idxs]
    if not ds.cat: return float(y.var(0, correction=0).mean())
    if y.is_floating_point(): p = y.mean(0); return float(torch.nn.functional.binary_cross_entropy(p.expand_as(y), y))
    rows = y.reshape(len(y), -1).T                                    # a constant may differ from step to step
    return float(np.mean([torch.nn.functional.cross_entropy((torch.bincount(r, minlength=ds.c)/len(r)).clamp(min=1e-9).log().expand(len(r), -1), r) for r in rows]))


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('arch', list_models())
def test_task(arch, task):
    y, tfm, shape = TASKS[task]
    dls = get_ts_dls(X, y, splits=(range(N - 8), range(N - 8, N)), tfms=[None, tfm], batch_tfms=TSStandardize(), bs=20, device='cpu')
    ps = inspect.signature(get_arch(arch)).parameters
    small = {**{k: v for k, v in SMALL.items() if k in ps}, **({'random_state': 0} if 'random_state' in ps else {})}
    learn = ts_learner(dls, arch, seed=1, **small)
    goal = StopWhenBetter(constant_loss(dls, learn.loss_func))
    with learn.no_bar(), learn.no_logging(): learn.fit(80, 1e-2, cbs=goal)
    assert goal.reached, f'loss {np.mean(goal.losses):.3f}, that of a constant {goal.goal:.3f}'
    preds, targs = learn.get_preds()
    assert preds.shape == (8, *shape) and torch.isfinite(preds).all()
    decoded = learn.get_X_preds(X[:5])[2]
    assert len(decoded) == 5
    if task == 'regression': assert preds.min() < 0
    if tfm is not None and not dls.cat: assert np.allclose(targs, dls.valid_ds.target.unscale(dls.valid_ds.y[dls.valid_ds.idxs]), atol=1e-4)


# ---------------------------------------------------------------- real data: what costs nothing is beaten

@pytest.mark.parametrize('task,arch', [('covid', 'MiniRocket'), ('etth1', 'DLinear'), ('motions', 'LSTM_FCN')])
def test_better_than_the_baseline(task, arch, request):
    "The mean of the training targets, the last day again, no label at all"
    from benchmarks.targets import RUNS
    if task == 'etth1' and not (request.getfixturevalue('ucr_path')/'ETT'/'ETTh1.csv').exists(): pytest.skip('needs ETT/ETTh1.csv in TSFAST_DATA')
    run, _, epochs, kwargs = next(o for o in RUNS[task] if o[1] == arch)
    row = run(arch, epochs, **kwargs)
    assert row['value'] > .95 if 'accuracy' in row['metric'] else row['value'] < .95*row['baseline']

@pytest.mark.slow
@pytest.mark.parametrize('arch,goal', [('LSTM_FCN', .9), ('RNNAttentionPlus', .85)])
def test_natops(arch, goal, ucr_path):
    from benchmarks.targets import RUNS
    if not (ucr_path/'NATOPS').is_dir(): pytest.skip('needs NATOPS in TSFAST_DATA')
    run, _, epochs, _ = next(o for o in RUNS['natops'] if o[1] == arch)
    assert run(arch, epochs)['value'] >= goal
