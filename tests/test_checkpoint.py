"Training that was interrupted ends with the same bits as training that was not"
import os, random, signal, subprocess, sys, textwrap

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from fastai.callback.tracker import EarlyStoppingCallback, ReduceLROnPlateau, SaveModelCallback
from fastai.learner import Learner
from fastai.metrics import accuracy
from fastai.optimizer import OptimWrapper

from tsfast import checkpoint
from tsfast.checkpoint import Checkpoint, as_plain, read_checkpoint, write_checkpoint
from tsfast.data.core import StratifiedSampler, get_ts_dls
from tsfast.data.external import get_UCR_data
from tsfast.data.preprocessing import TSStandardize
from tsfast.data.targets import TSClassification
from tsfast.learner import ts_learner


class BreakOff(Callback):
    "Stands for Ctrl-C in the middle of an epoch"
    def __init__(self, epoch): self.at = epoch
    def after_batch(self):
        if self.training and self.epoch == self.at and self.iter == 1: raise KeyboardInterrupt


@pytest.fixture(scope='module')
def data(): return get_UCR_data('ItalyPowerDemand', split_data=False)

def loaders(data, **kwargs):
    X, y, splits = data
    kwargs = {'bs': 16, **kwargs}
    return get_ts_dls(X, y, splits=(splits[0], list(splits[1])[:200]), tfms=[None, TSClassification()], batch_tfms=TSStandardize(),
                      val_bs=256, device='cpu', **kwargs)

def quiet(learn):
    learn.remove_cb(learn.progress); learn.logger = lambda o: None
    return learn

class Steps(Callback):
    "Counts the steps of all trainings of a learner"
    def after_create(self): self.learn.steps = 0
    def after_step(self): self.learn.steps += 1

def learner(data, path=None, seed=0, arch='InceptionTime', dls=None, **kwargs):
    kwargs = {**dict(nf=4, depth=3, fc_dropout=.3), **kwargs}
    return quiet(ts_learner(dls or loaders(data), arch, metrics=accuracy, seed=seed, path=path, cbs=Steps(), **kwargs))

def same(a, b):
    for (k, v), (l, w) in zip(a.model.state_dict().items(), b.model.state_dict().items(), strict=True):
        assert k == l and torch.equal(v, w), k
    for k in ('values', 'iters', 'lrs', 'losses'): assert getattr(a.recorder, k) == getattr(b.recorder, k), k
    assert a.history.equals(b.history)
    if hasattr(a.recorder, 'hps'): assert a.recorder.hps == b.recorder.hps
    assert as_plain(a.opt.hypers) == as_plain(b.opt.hypers)

def trackers():
    return [ReduceLROnPlateau(monitor='train_loss', patience=2, factor=2, min_delta=1.), SaveModelCallback(monitor='accuracy'),
            EarlyStoppingCallback(monitor='valid_loss', patience=3)]

one_cycle = lambda learn, cbs: learn.fit_one_cycle(6, 1e-2, cbs=cbs)
flat_cos = lambda learn, cbs: learn.fit_flat_cos(6, 1e-2, cbs=cbs)
plateau = lambda learn, cbs: learn.fit(6, 1e-2, cbs=[*trackers(), *cbs])


@pytest.mark.parametrize('every', [1, 2])
@pytest.mark.parametrize('at', [0, 3, 5])
@pytest.mark.parametrize('fit', [one_cycle, flat_cos, plateau], ids=['one_cycle', 'flat_cos', 'plateau'])
def test_resume(data, tmp_path, fit, at, every):
    whole, second = learner(data, tmp_path/'whole'), learner(data, tmp_path/'second')
    fit(whole, [])
    with pytest.raises(KeyboardInterrupt): fit(learner(data, tmp_path/'first'), [Checkpoint(tmp_path/'c.pt', every=every), BreakOff(at)])
    c = read_checkpoint(tmp_path/'c.pt')
    assert (c['epoch'], c['n_epoch']) == (at//every*every, 6)
    random.seed(5); np.random.seed(5); torch.manual_seed(5)   # wherever the generators of the new process are
    fit(second, [Checkpoint(tmp_path/'c.pt', every=every, resume=True)])
    same(whole, second)
    assert second.steps == whole.steps - c['epoch']*whole.steps//len(whole.history)     # the epochs before the file are not trained again


def test_twice_interrupted(data, tmp_path):
    whole, last = learner(data), learner(data)
    one_cycle(whole, [])
    for at in (2, 4):
        with pytest.raises(KeyboardInterrupt): one_cycle(learner(data), [Checkpoint(tmp_path/'c.pt', resume=True), BreakOff(at)])
    one_cycle(last, [Checkpoint(tmp_path/'c.pt', resume=True)])
    same(whole, last)


def test_same_learner(data, tmp_path):
    "In a notebook, after Ctrl-C, the learner is still there"
    whole, learn = learner(data), learner(data)
    one_cycle(whole, [])
    with pytest.raises(KeyboardInterrupt): one_cycle(learn, [Checkpoint(tmp_path/'c.pt'), BreakOff(3)])
    one_cycle(learn, [Checkpoint(tmp_path/'c.pt', resume=True)])
    same(whole, learn)


def test_tracker_state(data, tmp_path):
    "The plateau's rate, the patience that is used up, the best model"
    seen = []
    class Look(Callback):
        order = 80
        def before_epoch(self): seen.append([self.epoch, self.opt.hypers[-1]['lr'], *(getattr(self.learn, n).__dict__.get(k) for n, k in
                                             (('reduce_lr_on_plateau', 'wait'), ('reduce_lr_on_plateau', 'best'),
                                              ('early_stopping', 'wait'), ('save_model', 'best'), ('early_stopping', 'best')))])
    plateau(learner(data, tmp_path/'a'), [Look()])
    whole, seen[:] = list(seen), []
    with pytest.raises(KeyboardInterrupt): plateau(learner(data, tmp_path/'b'), [Checkpoint(tmp_path/'c.pt'), BreakOff(4), Look()])
    seen.clear()
    plateau(learner(data, tmp_path/'c'), [Checkpoint(tmp_path/'c.pt', resume=True), Look()])
    assert seen == whole[4:]
    assert len({o[1] for o in whole}) > 1, 'the rate was never reduced: the test tests nothing'


def test_early_stop(data, tmp_path):
    "A run that stops early stops in the same epoch when resumed, also after the fact"
    cbs = lambda: [EarlyStoppingCallback(monitor='valid_loss', min_delta=10., patience=3)]
    fit = lambda learn, *more: learn.fit(9, 1e-2, cbs=[*cbs(), *more])
    whole, second, third = (learner(data) for _ in range(3))
    fit(whole)
    assert len(whole.history) == 4
    with pytest.raises(KeyboardInterrupt): fit(learner(data), Checkpoint(tmp_path/'c.pt'), BreakOff(2))
    fit(second, Checkpoint(tmp_path/'c.pt', resume=True)); same(whole, second)
    fit(third, Checkpoint(tmp_path/'c.pt', resume=True)); same(whole, third)


def test_finished(data, tmp_path):
    "Resuming a finished run trains no more, and has its weights and its record"
    a, b = learner(data), learner(data)
    one_cycle(a, [Checkpoint(tmp_path/'c.pt')])
    one_cycle(b, [Checkpoint(tmp_path/'c.pt', resume=True)])
    same(a, b)


def test_without_seed(data, tmp_path):
    "Without a seed the global generators go on where they were"
    def fit(learn, *cbs):
        one_cycle(learn, cbs)
        return learn
    torch.manual_seed(3); np.random.seed(3); random.seed(3)
    whole = fit(learner(data, seed=None))
    torch.manual_seed(3); np.random.seed(3); random.seed(3)
    with pytest.raises(KeyboardInterrupt): fit(learner(data, seed=None), Checkpoint(tmp_path/'c.pt'), BreakOff(3))
    torch.manual_seed(9)
    same(whole, fit(learner(data, seed=None), Checkpoint(tmp_path/'c.pt', resume=True)))


@pytest.mark.parametrize('what', ['sampler', 'weights', 'torch optimiser', 'frozen', 'gru', 'augmented'])
def test_variants(data, tmp_path, what):
    X, y, splits = data
    def make():
        if what == 'sampler': return learner(data, dls=loaders(data, sampler=StratifiedSampler(y[:67], bs=16, random_state=1)))
        if what == 'weights': return learner(data, dls=loaders(data, weights=np.linspace(.1, 1, 67)))
        if what == 'torch optimiser': return learner(data, opt_func=lambda ps, lr, **kw: OptimWrapper(ps, torch.optim.RAdam, lr=lr))
        if what == 'gru': return quiet(ts_learner(loaders(data), 'GRU', metrics=accuracy, seed=0, hidden_size=8))
        learn = learner(data)
        if what == 'frozen': learn.freeze()
        return learn
    class Jitter(Callback):   # a random callback with generators of its own
        run_valid = False
        def __init__(self):
            self.gen, self.np_gen, self.py_gen = torch.Generator().manual_seed(1), np.random.default_rng(1), random.Random(1)
        def before_batch(self):
            self.learn.xb = (self.x + .1*torch.randn(self.x.shape, generator=self.gen) + self.np_gen.normal()*.1 + self.py_gen.random()*.1,)
    cbs = lambda: [Jitter()] if what == 'augmented' else []
    whole, second = make(), make()
    one_cycle(whole, cbs())
    with pytest.raises(KeyboardInterrupt): one_cycle(make(), [Checkpoint(tmp_path/'c.pt'), BreakOff(3), *cbs()])
    one_cycle(second, [Checkpoint(tmp_path/'c.pt', resume=True), *cbs()])
    same(whole, second)

@pytest.mark.parametrize('fit', [one_cycle, plateau], ids=['one_cycle', 'plateau'])
def test_several_processes(data, tmp_path, monkeypatch, fit):
    "Every process goes on from the file, and the first one alone writes"
    c, whole, second = tmp_path/'c.pt', learner(data, tmp_path/'whole'), learner(data, tmp_path/'second')
    fit(whole, [])
    with pytest.raises(KeyboardInterrupt): fit(learner(data, tmp_path/'first'), [Checkpoint(c), BreakOff(3)])
    before, waits = c.read_bytes(), []
    monkeypatch.setattr(checkpoint, 'distrib_barrier', lambda: waits.append(c.exists()))
    monkeypatch.setenv('RANK', '1')     # as torch tells the second process
    if fit is plateau:      # the first process has written the best model so far
        (tmp_path/'second'/'models').mkdir(parents=True)
        torch.save(whole.model.state_dict(), tmp_path/'second'/'models'/'model.pth')
    fit(second, [Checkpoint(c, resume=True)])
    same(whole, second)
    assert second.steps < whole.steps and c.read_bytes() == before and waits == [True]
    third = learner(data, tmp_path/'third')
    one_cycle(third, [Checkpoint(tmp_path/'none.pt', resume=True)])
    assert len(third.history) == 6 and not (tmp_path/'none.pt').exists()


def test_other_run(data, tmp_path):
    "Whatever would end elsewhere is refused, with the difference, before anything is changed"
    c = tmp_path/'c.pt'
    with pytest.raises(KeyboardInterrupt): one_cycle(learner(data), [Checkpoint(c), BreakOff(3)])
    resume = lambda: Checkpoint(c, resume=True)
    def refused(match, learn, fit):
        before = {k: v.clone() for k, v in learn.model.state_dict().items()}
        with pytest.raises(ValueError, match=match): fit(learn)
        assert all(torch.equal(v, before[k]) for k, v in learn.model.state_dict().items())
    X, y, splits = data
    refused('epochs: was 6, is 7', learner(data), lambda o: o.fit_one_cycle(7, 1e-2, cbs=resume()))
    refused('schedule of lr: was', learner(data), lambda o: o.fit_one_cycle(6, 1e-3, cbs=resume()))
    refused('schedule of lr: was there then only', learner(data), lambda o: o.fit(6, 1e-2, cbs=resume()))
    refused("architecture: was 'InceptionTime', is 'FCN'", quiet(ts_learner(loaders(data), 'FCN', seed=0, metrics=accuracy)),
            lambda o: one_cycle(o, resume()))
    refused('parameters: was', learner(data, nf=5), lambda o: one_cycle(o, resume()))
    refused('seed: was 0, is 1', learner(data, seed=1), lambda o: one_cycle(o, resume()))
    refused('batch size: was 16, is 8', learner(data, dls=loaders(data, bs=8)), lambda o: one_cycle(o, resume()))
    refused('other values', learner(data, dls=loaders((X + 1, y, splits))), lambda o: one_cycle(o, resume()))
    refused('early_stopping: is there now only', learner(data), lambda o: one_cycle(o, [resume(), EarlyStoppingCallback()]))
    refused('weight decay', learner(data, wd=.1), lambda o: one_cycle(o, resume()))
    with pytest.raises(KeyboardInterrupt): learner(data).fit(6, 1e-2, cbs=[ReduceLROnPlateau(patience=2), Checkpoint(c), BreakOff(3)])
    refused('patience was 2, is 3', learner(data), lambda o: o.fit(6, 1e-2, cbs=[ReduceLROnPlateau(patience=3), resume()]))


def test_damaged(data, tmp_path):
    c = tmp_path/'c.pt'
    learn = learner(data)
    learn.fit(1, cbs=Checkpoint(c))
    whole = c.read_bytes()
    torch.load(c, weights_only=True)   # nothing but tensors, numbers and text
    rng = random.Random(0)
    for n in [0, 1, 100, len(whole)//2, len(whole) - 1]:
        c.write_bytes(whole[:n])
        with pytest.raises(ValueError, match='damaged'): learner(data).fit(1, cbs=Checkpoint(c, resume=True))
    for _ in range(10):   # in the middle of the file lie the tensors, which have check sums
        o = bytearray(whole); o[rng.randrange(len(o)//4, len(o)//2)] ^= 0xff
        c.write_bytes(o)
        try: read_checkpoint(c)
        except ValueError: pass   # the padding between the tensors may be anything
    c.write_bytes(b'\x80\x02cos\nsystem\n(S"false"\ntR.')
    with pytest.raises(ValueError, match='damaged, or not a checkpoint'): read_checkpoint(c)
    torch.save(learn.model.state_dict(), c)
    with pytest.raises(ValueError, match='not a checkpoint of tsfast'): read_checkpoint(c)
    write_checkpoint(c, {'tsfast_checkpoint': 99, 'version': '99'})
    with pytest.raises(ValueError, match='newer tsfast'): read_checkpoint(c)
    with pytest.raises(FileNotFoundError): read_checkpoint(tmp_path/'none.pt')
    with pytest.raises(OSError): read_checkpoint(tmp_path)


@pytest.mark.skipif(not hasattr(os, 'getuid'), reason='permissions of POSIX systems')
def test_others_may_read(data, tmp_path):
    "The files have the permissions that the umask leaves, as other files do"
    umask = os.umask(0o022)
    try:
        learn = learner(data, tmp_path)
        with pytest.raises(KeyboardInterrupt):
            learn.fit(3, 1e-2, cbs=[SaveModelCallback(monitor='accuracy', fname='best'), Checkpoint(tmp_path/'c.pt'), BreakOff(2)])
        (tmp_path/'models'/'best.pth').unlink()
        learner(data, tmp_path).fit(3, 1e-2, cbs=[SaveModelCallback(monitor='accuracy', fname='best'),
                                                  Checkpoint(tmp_path/'c.pt', resume=True)])
    finally: os.umask(umask)
    assert {oct(o.stat().st_mode & 0o777) for o in (tmp_path/'c.pt', tmp_path/'models'/'best.pth')} == {'0o644'}


@pytest.mark.parametrize('error', [OSError('disk full'), KeyboardInterrupt()], ids=lambda e: type(e).__name__)
def test_write_is_whole_or_not_at_all(tmp_path, monkeypatch, error):
    c = tmp_path/'c.pt'
    write_checkpoint(c, {'tsfast_checkpoint': 1, 'a': 1})
    def save(state, f): f.write(b'half'); raise error
    monkeypatch.setattr(torch, 'save', save)
    with pytest.raises(type(error)): write_checkpoint(c, {'tsfast_checkpoint': 1, 'a': 2})
    assert read_checkpoint(c)['a'] == 1
    assert list(tmp_path.iterdir()) == [c]


def test_only_while_training(data, tmp_path):
    "Validation, predictions and the learning rate finder leave the file alone, even if the callback stays with the learner"
    c, learn = tmp_path/'c.pt', learner(data, tmp_path)
    learn.add_cb(Checkpoint(c))
    learn.validate(); learn.get_preds(); learn.lr_find(show_plot=False, num_it=10)
    assert not c.exists()
    learn.fit(2)
    stamp = c.read_bytes()
    learn.validate(); learn.get_preds()
    assert c.read_bytes() == stamp


def test_fit_after_resume(data, tmp_path):
    "The first epoch is that of the checkpoint once only"
    with pytest.raises(KeyboardInterrupt): one_cycle(learner(data), [Checkpoint(tmp_path/'c.pt'), BreakOff(3)])
    learn = learner(data)
    one_cycle(learn, [Checkpoint(tmp_path/'c.pt', resume=True)])
    learn.fit(2)
    assert len(learn.history) == 2


def test_one_object_several_fits(data, tmp_path):
    "A checkpoint covers one fit: the next one with the same object starts its own, unless the last one was interrupted"
    c, whole, learn = tmp_path/'c.pt', learner(data), learner(data)
    whole.fine_tune(2, freeze_epochs=1)
    learn.fine_tune(2, freeze_epochs=1, cbs=Checkpoint(c, resume=True))
    same(whole, learn)
    assert (read_checkpoint(c)['epoch'], read_checkpoint(c)['n_epoch']) == (2, 2)
    cb, whole, learn = Checkpoint(tmp_path/'d.pt', resume=True), learner(data), learner(data)
    with pytest.raises(KeyboardInterrupt): one_cycle(learn, [cb, BreakOff(3)])
    one_cycle(learn, [cb]); one_cycle(whole, [])
    same(whole, learn)


def test_refused(data, tmp_path):
    with pytest.raises(ValueError, match='every is 0'): Checkpoint(tmp_path/'c.pt', every=0)
    dls = loaders(data)
    plain = quiet(Learner(dls, learner(data).model, path=tmp_path))
    with pytest.raises(ValueError, match='Build it with ts_learner'): plain.fit(1, cbs=Checkpoint(tmp_path/'c.pt'))


SCRIPT = textwrap.dedent('''
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from test_checkpoint import *
    where, schedule = Path(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(int(sys.argv[4]))
    class Kill(Callback):
        def after_batch(self):
            if self.training and self.epoch == 3: os.kill(os.getpid(), signal.SIGKILL)
    globals()[schedule](learner(get_UCR_data('ItalyPowerDemand', split_data=False), where/'first'), [Checkpoint(where/'c.pt'), Kill()])
''')

@pytest.mark.skipif(not hasattr(signal, 'SIGKILL'), reason='a signal of POSIX systems')
@pytest.mark.parametrize('schedule', [one_cycle, plateau], ids=['one_cycle', 'plateau'])
def test_killed_process(repo, data, tmp_path, request, schedule):
    "A process that is killed in the middle of an epoch, and another one, with as many threads, that goes on"
    name = request.node.callspec.id
    r = subprocess.run([sys.executable, '-W', 'ignore', '-c', SCRIPT, str(repo/'tests'), str(tmp_path), name, str(torch.get_num_threads())],
                       cwd=repo, capture_output=True, text=True)
    assert r.returncode == -signal.SIGKILL, r.stderr
    assert read_checkpoint(tmp_path/'c.pt')['epoch'] == 3
    second, whole = learner(data, tmp_path/'second'), learner(data, tmp_path/'whole')
    schedule(second, [Checkpoint(tmp_path/'c.pt', resume=True)])
    schedule(whole, [])
    same(whole, second)
