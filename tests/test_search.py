"Hyperparameter search: trials that are training runs, pruning, storages that processes share, and mistakes"
import os, subprocess, sys, time
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.metrics import accuracy, rmse
from torch import nn

if __name__ != '__main__': optuna = pytest.importorskip('optuna')
else: import optuna

from tests.two_processes import learner
from tsfast.data.targets import TSRegression
from tsfast.inference import Predictor
from tsfast.tuning import PruneTrial, best_settings, search
from tsfast.training import RunData, RunSettings, TrainingRun

root = Path(__file__).resolve().parents[1]
TINY = RunSettings(arch='FCN', arch_args=dict(layers=[4, 4, 4]), epochs=2, bs=16, lr=1e-2, valid_size=.25, device='cpu')
ITALY = msgspec.structs.replace(TINY, dsid='ItalyPowerDemand')
N = 60
rng = np.random.default_rng(0)
y = np.array(['a', 'b'])[np.arange(N) % 2]
X = (rng.normal(size=(N, 2, 24)) + (np.arange(N) % 2)[:, None, None]*np.sin(np.arange(24))).astype('float32')
DATA = RunData(X, y, (range(40), range(40, N)))

class Always(optuna.pruners.BasePruner):
    "Ends a trial after so many epochs"
    def __init__(self, after): self.after = after
    def prune(self, study, trial): return len(trial.intermediate_values) >= self.after

def rates(trial): return dict(lr=trial.suggest_float('lr', 1e-3, 1e-1, log=True))

def states(study): return [o.state.name for o in study.trials]


# ---- the callback

class Events(Callback):
    def __init__(self): self.seen = []
    def before_fit(self): self.seen.append('begun')
    def after_epoch(self): self.seen.append(self.epoch)
    def after_cancel_fit(self): self.seen.append('broken off')
    def after_fit(self): self.seen.append('ended')


def test_pruning_leaves_the_learner_sound():
    study = optuna.create_study(pruner=Always(2))
    learn, events, trial = learner(), Events(), study.ask()
    cbs, state = list(learn.cbs), torch.get_rng_state()
    with pytest.raises(optuna.TrialPruned, match='valid_loss was .* after 2 epochs') as e: learn.fit_one_cycle(5, cbs=[PruneTrial(trial), events])
    assert 'Exception occured' not in str(e.value)
    assert events.seen == ['begun', 0, 1, 'broken off', 'ended'] and len(learn.history) == 2
    reported = study.trials[0].intermediate_values
    assert list(reported) == [0, 1] and list(reported.values()) == pytest.approx(learn.history.valid_loss.tolist())
    assert list(learn.cbs) == cbs and learn.loss_grad is None and learn.dl is None and not learn.fitting and torch.equal(torch.get_rng_state(), state)
    learn.fit(1)
    assert len(learn.history) == 1 and len(learn.get_preds()[0])
    again = learner()
    for o in (learn, again):    # the weights are those of a training that somebody else broke off
        o.model.load_state_dict(learn.model.state_dict())
    assert torch.equal(learn.get_preds()[0], again.get_preds()[0])


def test_pruning_a_learner_of_fastai():
    ds = [(x, int(c == 'b')) for x, c in zip(torch.from_numpy(X), y)]
    dls = DataLoaders.from_dsets(ds[:40], ds[40:], bs=10, device='cpu')
    learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), loss_func=nn.CrossEntropyLoss(), metrics=accuracy)
    study = optuna.create_study(pruner=Always(1))
    with learn.no_bar(), learn.no_logging():
        with pytest.raises(optuna.TrialPruned): learn.fit(3, cbs=PruneTrial(study.ask(), 'accuracy'))
        learn.fit(2)
    assert list(study.trials[0].intermediate_values) == [0] and len(learn.recorder.values) == 2


def test_only_training_is_reported():
    "Epochs are counted through, and evaluations and a search for a learning rate are not"
    study = optuna.create_study(pruner=optuna.pruners.NopPruner())
    learn, prune = learner(), PruneTrial(study.ask())
    learn.add_cb(prune)
    learn.fit(1); learn.validate(); learn.get_preds(); learn.lr_find(show_plot=False, num_it=12); learn.fit(2)
    assert list(study.trials[0].intermediate_values) == [0, 1, 2] == list(range(prune.reported))


# ---- searches

def test_search():
    "The best of the trials, trained anew, without looking at the test split"
    spoiled = RunData(X.copy(), y, DATA.splits)
    spoiled.X[40:] = 1e6
    a, b = (search(TINY, rates, 3, data=o, metric='accuracy') for o in (DATA, spoiled))
    assert [o.value for o in a.trials] == [o.value for o in b.trials] and a.direction.name == 'MAXIMIZE' and states(a) == ['COMPLETE']*3
    for o in a.trials:
        assert o.value == o.user_attrs['scores']['accuracy'] == o.intermediate_values[1] and o.user_attrs['epochs'] == 2
    best = best_settings(a, TINY)
    assert best == msgspec.structs.replace(TINY, lr=a.best_params['lr'], valid_size=0.)
    assert len(TrainingRun(best, DATA).dls().train_ds) == 40


def test_a_trial_is_a_run():
    "A run with the same settings has the same score, also where trials have seeds of their own; arguments are added to the common ones"
    def space(trial): return dict(seed=trial.suggest_int('seed', 1, 9), arch_args=dict(kss=[trial.suggest_categorical('ks', [3, 5])]*3), epochs=1)
    study = search(TINY, space, 2, data=DATA)
    held_out = TrainingRun(TINY, DATA).data
    for o in study.trials:
        s = msgspec.structs.replace(TINY, seed=o.params['seed'], arch_args=dict(layers=[4, 4, 4], kss=[o.params['ks']]*3), epochs=1)
        run = TrainingRun(msgspec.structs.replace(s, valid_size=0.), RunData(X, y, held_out.splits))
        with run.learner().no_bar(), run.learner().no_logging(): run.train(validate=True)
        assert run.learner().history.valid_loss.iloc[-1] == pytest.approx(o.value, abs=1e-6)
    assert best_settings(study, TINY).arch_args['layers'] == [4, 4, 4]


def test_groups_are_held_out_whole():
    groups = np.arange(N)//5
    run = TrainingRun(TINY, RunData(X, y, DATA.splits, groups=groups))
    a, b, _ = run.with_settings(msgspec.structs.replace(TINY, seed=7)).data.splits
    assert not set(groups[a]) & set(groups[b]) and set(a) | set(b) == set(range(40)) and a is run.data.splits[0]
    assert states(search(TINY, rates, 1, data=RunData(X, y, DATA.splits, groups=groups))) == ['COMPLETE']


def test_own_validation_split():
    splits = range(30), range(30, 40), range(40, N)
    s = msgspec.structs.replace(TINY, valid_size=0.)
    study = search(s, rates, 1, data=RunData(X, y, splits))
    other = y.copy()
    other[30:40] = y[29:39]
    assert study.best_value != search(s, rates, 1, data=RunData(X, other, splits)).best_value
    assert study.best_value == search(s, rates, 1, data=RunData(X, np.r_[y[:40], y[39:59]], splits)).best_value


def test_feature_models_and_bundles(tmp_path):
    "A ridge classifier is judged by its accuracy; models are left as bundles"
    s = RunSettings(arch='MiniRocket', ridge=True, valid_size=.25, device='cpu')
    def space(trial): return dict(arch_args=dict(num_features=trial.suggest_categorical('n', [84, 168])))
    study = search(s, space, 2, data=DATA, folder=tmp_path)
    assert states(study) == ['COMPLETE']*2 and study.direction.name == 'MAXIMIZE'
    held_out = TrainingRun(s, DATA).data.splits[1]
    for o in study.trials:
        assert o.user_attrs['epochs'] == 0
        assert (Predictor(tmp_path/f'{o.number:04d}').predict(X[held_out]) == y[held_out]).mean() == pytest.approx(o.value)


def test_numbers_and_patience():
    data = RunData(X, X[:, 0, :3].mean(1), DATA.splits, TSRegression(standardize=True))
    s = msgspec.structs.replace(TINY, patience=3)
    study = search(s, rates, 2, data=data, metric='mae')
    assert study.direction.name == 'MINIMIZE' and best_settings(study, s).valid_size == .25
    own = search(TINY, rates, 1, data=data, metric='rmse', direction='minimize', metrics=[rmse])
    assert list(own.best_trial.user_attrs['scores']) == ['valid_loss', 'rmse']


def test_pruned_trials(tmp_path):
    study = search(TINY, rates, 3, data=DATA, pruner=Always(1), folder=tmp_path)
    assert states(study) == ['PRUNED']*3 and [o.user_attrs['epochs'] for o in study.trials] == [1]*3 and not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match='None of 3 trials was completed'): best_settings(study, TINY)


def test_failing_trials():
    "A training that fails is recorded and counted, and the others go on"
    def space(trial): return dict(arch_args=dict(layers=[4, 4, 4 if trial.number else -4]))
    study = search(TINY, space, 3, data=DATA)
    assert states(study) == ['FAIL', 'COMPLETE', 'COMPLETE'] and 'Error' in study.trials[0].user_attrs['error']
    with pytest.raises(ValueError, match='None of 1 trials was completed, .* The first error: '):
        best_settings(search(TINY, space, 1, data=DATA), TINY)


# ---- storages

def interrupted(trial):
    if trial.number == 1: raise KeyboardInterrupt
    return rates(trial)

@pytest.mark.parametrize('kind', ['journal', 'sqlite'])
def test_going_on_after_an_interruption(kind, tmp_path):
    storage = dict(journal=tmp_path/'new'/'x.journal', sqlite=f'sqlite:///{tmp_path}/x.db')[kind]
    with pytest.raises(KeyboardInterrupt): search(TINY, interrupted, 3, data=DATA, storage=storage)
    study = search(TINY, rates, 3, data=DATA, storage=storage)
    assert states(study) == ['COMPLETE', 'FAIL', 'COMPLETE', 'COMPLETE']
    assert len(search(TINY, rates, 3, data=DATA, storage=storage).trials) == 4      # there are enough
    with pytest.raises(ValueError, match='of another search'): search(TINY, rates, 3, data=RunData(X + 1, y, DATA.splits), storage=storage)
    if kind == 'sqlite': return
    other = search(TINY, rates, 1, data=DATA, storage=storage, metric='accuracy', study_name='by accuracy')
    assert states(other) == ['COMPLETE']


def test_two_processes_share_the_trials(tmp_path):
    env = {**os.environ, 'PYTHONPATH': str(root)}
    ps = [subprocess.Popen([sys.executable, '-m', 'tests.test_search', str(tmp_path), str(i)], env=env, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True) for i in range(2)]
    try: out = [p.communicate(timeout=120)[0] for p in ps]
    finally:
        for p in ps: p.kill()
    assert [p.returncode for p in ps] == [0, 0], '\n'.join(out)
    study = search(ITALY, rates, 4, storage=tmp_path/'x.journal')      # there are enough
    done = [o for o in study.trials if o.state.name == 'COMPLETE']
    assert len(done) == 4 and [o.number for o in study.trials] == list(range(len(study.trials)))
    assert len({o.user_attrs['process'] for o in done}) == 2 and len({o.params['lr'] for o in done}) == 4

def main(folder, rank):
    "One of the two: they begin together"
    folder = Path(folder)
    (folder/f'ready{rank}').touch()
    while not (folder/f'ready{1 - int(rank)}').exists(): time.sleep(.01)
    search(ITALY, rates, 4, storage=folder/'x.journal')


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_asha_on_ray_tune(tmp_path):
    "As the tutorial has it: a training run is the function of Tune, and a callback reports its epochs"
    ray = pytest.importorskip('ray')
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    class ReportToTune(Callback):
        order = 100
        def after_epoch(self): tune.report(dict(valid_loss=self.recorder.values[-1][1]))
    settings = msgspec.structs.asdict(msgspec.structs.replace(ITALY, epochs=4))
    def train(config): TrainingRun(RunSettings(**{**settings, **config})).train([ReportToTune()])
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        tuner = tune.Tuner(train, param_space=dict(lr=tune.grid_search([1e-1, 1e-2, 1e-4])),
                           run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
                           tune_config=tune.TuneConfig(metric='valid_loss', mode='min', scheduler=ASHAScheduler(max_t=4, grace_period=1, reduction_factor=2)))
        results = tuner.fit()
    finally: ray.shutdown()
    epochs = [o.metrics['training_iteration'] for o in results]
    assert not results.num_errors and len(epochs) == 3 and max(epochs) == 4 and min(epochs) < 4


# ---- mistakes

@pytest.mark.parametrize('changes, words', [
    (dict(epoch=3), "There is no setting 'epoch'. Did you mean 'epochs'"), (dict(lr=-1.), 'lr is -1.0. Expected a number above 0'),
    (dict(valid_size=.5), 'space changes valid_size'), (dict(dsid='x'), 'space changes dsid'), (dict(preset='fast'), 'trains networks'), (dict(folds=2, fold=0), 'space changes folds'), (None, 'space returned None. Expected a dict'),
    (dict(label_smoothing=.1), "Give a metric, such as metric='accuracy'"), (dict(ridge=True), 'space changes ridge')], ids=str)
def test_mistakes_in_the_space(changes, words):
    "They end the search"
    with pytest.raises(ValueError) as e: search(TINY, lambda trial: changes, 3, data=DATA)
    assert words in str(e.value)


@pytest.mark.parametrize('given, words', [
    (dict(valid_size=0.), 'valid_size is 0'), (dict(seed=None), 'seed is None'), (dict(preset='fast'), "preset is 'fast'"), (dict(metric='acuracy'), "Did you mean 'accuracy'"),
    (dict(metric='rmse', metrics=[rmse]), "direction is not given"), (dict(metric='mse', direction='minimize'), "metric is 'mse'"), (dict(n_trials=0), 'n_trials is 0'), (dict(dls=1), 'dls is given'),
    (dict(storage='x.db'), "storage is 'x.db'. Expected a file that ends in .log or .journal")], ids=lambda o: ' '.join(o) if isinstance(o, dict) else None)
def test_mistakes(given, words):
    s = msgspec.structs.replace(TINY, **{k: v for k, v in given.items() if k in ('valid_size', 'seed', 'preset')})
    with pytest.raises(ValueError) as e: search(s, rates, **{'data': DATA, **{k: v for k, v in given.items() if k not in ('valid_size', 'seed', 'preset')}})
    assert words in str(e.value)


def test_without_optuna(monkeypatch):
    monkeypatch.setitem(sys.modules, 'optuna', None)
    with pytest.raises(ImportError, match=r"pip install 'tsfast-learn\[search\]'"): search(TINY, rates, data=DATA)

if __name__ == '__main__': main(*sys.argv[1:])
