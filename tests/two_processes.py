"""What each of two processes does in `test_distributed.py`: `python -m tests.two_processes FOLDER PORT PORT …` writes FOLDER/{rank}.pt.

A launcher's variables say which process it is. Called without them, the functions are the one process that the two are compared with"""
import faulthandler, os, sys, time, warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn
from fastai.callback.core import Callback, CancelFitException
from fastai.callback.progress import CSVLogger
from fastai.callback.tracker import EarlyStoppingCallback, ReduceLROnPlateau, SaveModelCallback
from fastai.learner import Learner, Metric
from fastai.metrics import F1Score, accuracy
from sklearn.metrics import mean_absolute_error

from tsfast.checkpoint import Checkpoint
from tsfast.data.augment import TSNoise
from tsfast.data.core import StratifiedSampler, get_ts_dls
from tsfast.data.preprocessing import TSStandardize
from tsfast.data.targets import TSClassification, TSRegression
from tsfast.learner import ts_learner
from tsfast.metrics import skm_known
from tsfast.training import BestWeights
import tsfast.all, tsfast.deploy

loaded = [o for o in ('accelerate', 'fastai.distributed', 'torch._dynamo') if o in sys.modules]

rank = int(os.environ.get('RANK', 0))
N, M = 75, 21                           # training and validation series
splits = range(N), range(N, N + M)


class Plain(nn.Module):
    "A network without statistics of batches: two batches of n are one of 2n"
    def __init__(self, c_in, c_out):
        super().__init__()
        self.conv, self.fc = nn.Conv1d(c_in, 8, 5), nn.Linear(8, c_out)
    def forward(self, x): return self.fc(torch.relu(self.conv(x)).mean(2))

class LargestLoss(Metric):
    "A metric that looks at the learner, and is no mean over series"
    def reset(self): self.losses = []
    def accumulate(self, learn): self.losses.append((float(learn.loss.mean()), len(learn.pred)))
    @property
    def value(self): return max(self.losses, default=(0.,))[0]

def spread(pred, targ): return (pred - targ.float().mean()).std()      # of a batch: another one for other batches

def known_error(pred, targ):
    known = ~targ.isnan()
    return (pred - targ)[known].abs().mean() if known.any() else torch.tensor(0.)

def data():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, N + M)
    return (rng.normal(size=(N + M, 2, 24)) + y[:, None, None]*np.sin(np.arange(24))).astype('float32'), y

def loaders(bs=8, **kwargs):
    X, y = data()
    kwargs = {'batch_tfms': TSStandardize(), **kwargs}
    return get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], bs=bs, device='cpu', **kwargs)

def quiet(learn):
    learn.remove_cbs(list(learn._grab_cbs(type(learn.progress)))); learn.logger = lambda o: None
    return learn

def learner(dls=None, arch='InceptionTime', seed=0, metrics=accuracy, **kwargs):
    args = dict(nf=4, depth=3, fc_dropout=.3) if arch == 'InceptionTime' else {}
    return quiet(ts_learner(dls or loaders(), arch, metrics=metrics, seed=seed, path=os.environ.get('TEST_FOLDER', '.'), **args, **kwargs))

def state(learn): return {k: v.clone() for k, v in learn.model.state_dict().items()}


class Seen(Callback):
    "The series of each training batch, and a number that this process draws"
    order, run_valid = 95, False
    def before_fit(self):
        if self.fitting: self.rows, self.draws, self.ends = [], [], []
    def before_batch(self):
        self.rows.append((self.epoch, self.dl.rows.tolist())); self.draws.append(float(torch.rand(())))
    def after_train(self): self.ends.append((self.pct_train, self.train_iter))


# ---- what is compared: each gives what can be saved

def metrics_of_equal_weights():
    "Validation of untrained weights: classes, and numbers in the user's units"
    learn = learner(metrics=[accuracy, F1Score(average='macro'), spread, LargestLoss()])
    X, y = data()
    numbers = get_ts_dls(X, np.where(y[:, None] == 0, np.nan, y[:, None] + X[:, 0, :2]), splits=splits, bs=8, device='cpu',
                         tfms=[None, TSRegression(standardize=True, allow_nan=True)])
    other = learner(numbers, 'FCN', metrics=[known_error, skm_known(mean_absolute_error)])
    with learn.distrib_ctx(), other.distrib_ctx():
        res = dict(classes=list(map(float, learn.validate())), numbers=list(map(float, other.validate())),
                   training=list(map(float, learn.validate(0))))
        res['preds'] = learn.get_preds(with_input=True, with_loss=True, with_decoded=True)
        res['unseen'] = learn.get_X_preds(X[:7], y[:7], with_loss=True)
        res['one'] = learn.get_X_preds(X[:1])[0]
        res['preds'] = [torch.as_tensor(o).clone() for o in res['preds']]
    res['after'] = len(learn.get_preds()[0])        # after the block each process is alone
    return res

def training():
    "An ordinary training, with dropout and augmentation"
    dls = loaders(batch_tfms=[TSStandardize(), TSNoise(p=1.)])
    learn, seen = learner(dls), Seen()
    with learn.distrib_ctx(): learn.fit_one_cycle(3, 1e-2, cbs=[seen])
    return dict(state=state(learn), history=learn.history.to_numpy(), rows=seen.rows, draws=seen.draws, ends=seen.ends,
                lrs=learn.recorder.lrs, last_lr=learn.opt.hypers[-1]['lr'])

def equal_steps(bs):
    "A training whose steps do not depend on how a batch is cut: the last one is incomplete, and series have weights"
    dls = loaders(bs, drop_last=False)
    learn = learner(dls, Plain, sample_weight=np.linspace(.1, 2, N + M))
    with learn.distrib_ctx(): learn.fit_one_cycle(2, 1e-2)
    return state(learn)

def orders():
    "Samplers, weights and parts of an epoch: what each process reads"
    class NoGenerator:
        "Draws from a generator that nobody knows of"
        def __len__(self): return 5
        def __iter__(self): return iter(torch.from_numpy(np.random.default_rng().permutation(N)[:40]).split(8))
        batch_size = 8
    res = {}
    for k, kwargs in dict(sampler=dict(sampler=StratifiedSampler(data()[1][:N], bs=8)), none=dict(sampler=NoGenerator()),
                          weights=dict(weights=np.arange(N) % 2), part=dict(partial_n=33), few=dict(bs=64)).items():
        learn, seen = learner(loaders(**kwargs), Plain, seed=None), Seen()
        with learn.distrib_ctx(): learn.fit(1, cbs=[seen])
        res[k] = [o for _, o in seen.rows]
    return res

def features():
    "Fixed features that differ by process unless they are shared, and heads in closed form"
    torch.manual_seed(rank)
    learn, res = learner(loaders(), 'MiniRocket', seed=None, num_features=168), {}
    with learn.distrib_ctx(): learn.fit(1)
    res['shared'] = state(learn)
    w = np.linspace(.1, 2, N + M)
    w, rocket = np.linspace(.1, 2, N + M), dict(arch='MiniRocket', random_state=0, num_features=168)
    # more features than series, and fewer; each with weights and without. The budget is too small to keep features
    problems = {'dual': rocket, 'primal': {}, 'weighted dual': dict(rocket, sample_weight=w), 'weighted primal': dict(sample_weight=w)}
    for k, kwargs in problems.items():
        learn = learner(**kwargs)
        with learn.distrib_ctx(): learn.fit_ridge(**({} if k == 'dual' else dict(budget=0)))
        res[k] = learn.ridge, state(learn), learn.history.to_numpy()
    pruned = learner(loaders(), 'MiniRocket', random_state=0, num_features=84)
    with pruned.distrib_ctx(): pruned.prune_features()
    return {**res, 'pruned': len(pruned.model.columns.index)}

def resuming(folder):
    "A training that is interrupted in epoch 2, and another one that goes on from its checkpoint"
    class BreakOff(Callback):
        def after_batch(self):
            if self.training and self.epoch == 2 and self.iter == 1: raise KeyboardInterrupt
    file = Path(folder)/'resume.pt'
    def fit(cbs):
        learn = learner(loaders(batch_tfms=[TSStandardize(), TSNoise(p=1.)]))
        with learn.distrib_ctx(): learn.fit_one_cycle(4, 1e-2, cbs=[ReduceLROnPlateau(patience=1), *cbs])
        return learn
    whole = fit([])
    try: fit([Checkpoint(file, resume=True), BreakOff()])
    except KeyboardInterrupt: next_port()
    resumed = fit([Checkpoint(file, resume=True)])
    return dict(whole=state(whole), resumed=state(resumed), histories=[whole.history.to_numpy(), resumed.history.to_numpy()])

def verdicts():
    "Callbacks that end a training in one process, or that see other numbers there"
    class Stop(Callback):
        def after_batch(self):
            if self.training and rank == 1 and self.train_iter == 4: raise CancelFitException
    class Late(Callback):
        "A clock that one process alone looks at"
        order = 70
        def after_epoch(self):
            if rank == 1: raise CancelFitException
    class Bend(Callback):
        "Makes the numbers of the processes differ"
        order = 49
        def after_epoch(self): self.recorder.log[2] += 10*rank*self.epoch
    res = {}
    for k, cbs in dict(stop=[Stop()], late=[Late()], early=[Bend(), EarlyStoppingCallback(min_delta=10.), SaveModelCallback(fname='best')],
                       best=[BestWeights(2)]).items():
        learn, seen = learner(seed=1), Seen()
        with learn.distrib_ctx(): learn.fit(3, 1e-2, cbs=[*cbs, seen])
        res[k] = len(seen.rows), state(learn)
    return res

def pruning():
    "Trials of a search, which the first process has: the error ends a training, a training and its block, and one of a learner of fastai"
    import optuna
    from tsfast.tuning import PruneTrial
    class Second(optuna.pruners.BasePruner):
        def prune(self, study, trial): return len(trial.intermediate_values) == 2
    study, said = None if rank else optuna.create_study(pruner=Second()), []
    def fit(learn):
        try: learn.fit(4, cbs=PruneTrial(None if rank else study.ask()))
        except optuna.TrialPruned as e: said.append(str(e)); raise
    def expect(f):
        try: f()
        except optuna.TrialPruned: pass
    def through_the_block(learn):
        with learn.distrib_ctx(): fit(learn)
    learn = learner(arch=Plain)
    with learn.distrib_ctx():
        expect(lambda: fit(learn))
        learn.fit(1)
        fastais = Learner(learner().dls, Plain(2, 3), nn.CrossEntropyLoss())
        fastais.distributed_trainer = 'as if fastai had connected the processes'
        with fastais.no_bar(), fastais.no_logging(): expect(lambda: fit(fastais))
    expect(lambda: through_the_block(learner(arch=Plain)))
    with learn.distrib_ctx(): learn.fit(1)
    return dict(said=said, state=state(learn), reported=None if rank else [len(o.intermediate_values) for o in study.trials])

def files(folder):
    "What the first process writes, and all read"
    learn, folder = learner(), Path(folder)
    with learn.distrib_ctx():
        learn.fit(2, cbs=[CSVLogger(folder/'log.csv')])
        bundle = learn.save_bundle(folder/'bundle')
        read = tsfast.deploy.Predictor(bundle)(data()[0][:3])
        learn.save('weights'); learn.load('weights')
        lr = learn.lr_find(show_plot=False, num_it=12)
        learn.export(folder/'learner.pkl')
    learn.save_bundle(folder/'bundle')      # after the block
    return dict(read=torch.as_tensor(read), state=state(learn), lr=float(lr.valley), opt=len(learn.opt.state),
                temporary=[o.name for o in (learn.path/'models').iterdir() if o.is_dir()])

def wide():
    "Layers whose gradients have other strides than their weights, of which torch warns: here a warning is an error"
    X = np.random.default_rng(0).normal(size=(40, 1, 136))
    dls = get_ts_dls(X, np.arange(40) % 2, splits=(range(32), range(32, 40)), bs=16, device='cpu')
    learn = quiet(ts_learner(dls, 'InceptionTime', seed=0, depth=3))
    with learn.distrib_ctx(): learn.fit(1)
    return state(learn)

def differing_data():
    "Splits that are drawn in each process"
    X, y = data()
    order = np.random.default_rng(rank).permutation(N + M)
    learn = learner(get_ts_dls(X, y, splits=(order[:N], order[N:]), bs=8, device='cpu'), Plain)
    try:
        with learn.distrib_ctx(): learn.fit(1)
    except ValueError as e: return str(e)

# ---- what goes wrong, each with a connection of its own

def raised(how, timeout=60):
    "What this process sees where the other one raises, waits or ends"
    class Wrong(Callback):
        def after_batch(self):
            if not self.training or self.train_iter != 3 or rank == 0: return
            if how == 'raises': raise ValueError('something is wrong here')
            if how == 'waits': time.sleep(8)
            if how == 'ends': os._exit(7)
    start, learn = time.monotonic(), learner(arch=Plain)
    try:
        with learn.distrib_ctx(timeout=timeout): learn.fit(2, cbs=[Wrong()])
    except Exception as e: return type(e).__name__, str(e), time.monotonic() - start

ports = []
def next_port():
    "The next connection takes another port: the first one may be in use for a while"
    os.environ['MASTER_PORT'] = ports.pop(0)

def main(folder, *more):
    faulthandler.dump_traceback_later(100, exit=True)     # a process that hangs says where
    ports.extend(more); next_port()
    os.environ['TEST_FOLDER'] = folder
    warnings.simplefilter('error')
    warnings.filterwarnings('ignore', 'numpy.core is deprecated', DeprecationWarning)      # as in pyproject.toml
    res = dict(loaded=loaded)
    def keep(name, f, *args):
        start = time.monotonic()
        res[name] = f(*args)
        res.setdefault('seconds', {})[name] = time.monotonic() - start
        torch.save(res, f'{folder}/{rank}.pt')
    for f in (metrics_of_equal_weights, training, orders, features, verdicts): keep(f.__name__, f)
    keep('equal_steps', equal_steps, 8)
    keep('files', files, folder)
    keep('resuming', resuming, folder)
    keep('wide', wide)
    keep('differing_data', differing_data)
    if find_spec('optuna'): keep('pruning', pruning)
    for how, timeout in (('raises', 60), ('waits', 3), ('ends', 60)):
        next_port()
        keep(how, raised, how, timeout)

def ray_loop(config):
    "What each worker of Ray Train does: the same lines as under any launcher"
    torch.set_num_threads(1)
    learn = quiet(ts_learner(loaders(), 'FCN', layers=[4, 4, 4], seed=0))
    with learn.distrib_ctx():
        learn.fit_one_cycle(2, 1e-2)
        found, world = list(learn.validate()), learn.processes.world
    torch.save(dict(weights=learn.model.state_dict(), found=found, world=world), f"{config['folder']}/{os.environ['RANK']}.pt")


if __name__ == '__main__': main(*sys.argv[1:])
