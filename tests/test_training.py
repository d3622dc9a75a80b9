"One training run: its settings, the three ways to it, its key, its folder, and many runs in processes"
import json, os, signal, subprocess, sys, threading, time

import msgspec
import numpy as np
import pytest
import torch
from fastai.metrics import accuracy
from safetensors.torch import load_file

from tsfast.cli import main
from tsfast.data.core import get_ts_dls
from tsfast.data.external import get_UCR_data
from tsfast.data.preprocessing import TSStandardize
from tsfast.data.targets import TSClassification, TSRegression
from tsfast.estimator_base import seeds_from
from tsfast.estimators import TSNetClassifier, TSNetRegressor
from tsfast.inference import Predictor
from tsfast.learner import ts_learner
from tsfast.recipe import recipe
from tsfast.settings import DEFAULTS, KINDS, checked
from tsfast.training import (RunData, RunSettings, TrainingRun, batch_transforms, filled, run_key, run_many, run_once, run_states, settings_from,
                             settings_json)

TINY = dict(arch='FCN', arch_args=dict(layers=[4, 4, 4]), epochs=2, bs=16, lr=1e-2, device='cpu')
ITALY = RunSettings(dsid='ItalyPowerDemand', **TINY)
N = 48
rng = np.random.default_rng(0)
X, y, numbers = rng.normal(size=(N, 2, 20)).astype(np.float32), np.array(['a', 'b', 'c'])[rng.integers(0, 3, N)], rng.normal(size=N)
SPLITS = range(32), range(32, N)


def quiet(run, **kwargs):
    "The run, trained without a word"
    with run.learner().no_bar(), run.learner().no_logging(): return run.train(**kwargs)

def weights(run): return {k: v.clone() for k, v in run.learner().model.state_dict().items()}

def same(a, b): return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# ---- settings

def test_settings_round_trip():
    s = RunSettings(dsid='a', arch='FCN', arch_args=dict(layers=[1, 2], name=None), epochs=np.int64(3), lr=np.float32(.5), bs=8, seed=None, schedule='plateau',
                    wd=0, label_smoothing=.1, batch_tfms=['clip:low=-1'], valid_size=.2, patience=4, ridge=np.bool_(True), path='p', device='cpu')
    assert settings_from(settings_json(s)) == s == settings_from(msgspec.to_builtins(s))
    assert type(s.epochs) is int and type(s.lr) is float and type(s.wd) is float and s.ridge is True
    assert settings_from('{}') == RunSettings() and DEFAULTS == msgspec.to_builtins(RunSettings())


@pytest.mark.parametrize('given, words', [
    ({'epoch': 3}, "There is no setting 'epoch'. Did you mean 'epochs'"),
    ({'epochs': 0}, 'epochs is 0. Expected a whole number from 1 up'), ({'epochs': 2.}, 'epochs is 2.0'), ({'epochs': True}, 'epochs is True'),
    ({'bs': 1}, 'bs is 1. Expected a whole number from 2 up'), ({'lr': 0}, 'lr is 0. Expected a number above 0'),
    ({'lr': float('nan')}, 'lr is nan'), ({'wd': float('inf')}, 'wd is inf'), ({'valid_size': 1}, 'Expected a share'),
    ({'seed': -1}, 'seed is -1'), ({'schedule': 'one cycle'}, "Expected one of one_cycle, flat, flat_cos, plateau"),
    ({'arch': 3}, 'arch is 3. Expected text'), ({'batch_tfms': 'standardize'}, 'batch_tfms is'), ({'ridge': 1}, 'Expected True or False'),
    ({'patience': 3}, 'valid_size is 0'), ('[1]', 'a list'), ('{', 'no JSON'), (b'{"epochs": "3"}', "epochs is '3'")], ids=str)
def test_settings_refused(given, words):
    with pytest.raises(ValueError, match='.') as e: settings_from(given)
    assert words in str(e.value)


@pytest.mark.parametrize('arch', ['InceptionTime', 'MiniRocket'])
@pytest.mark.parametrize('n', [20, 500, 10**4])
def test_defaults_of_the_recipe(n, arch):
    usual, s = recipe(n, 30, arch), filled(RunSettings(arch=arch), n, 30)
    assert {k: getattr(s, k) for k in usual} == usual
    s = filled(RunSettings(arch=arch, epochs=7, lr=.5, wd=0.), n, 30)
    assert (s.epochs, s.lr, s.wd, s.bs) == (7, .5, 0., usual['bs'])
    assert filled(s, n, 30) == s and filled(s, 10*n, 30).bs == s.bs       # what is set stays


def test_kinds_cover_all():
    assert set(KINDS) == set(DEFAULTS)
    for k, v in DEFAULTS.items(): assert checked(k, v, KINDS[k]) == v


# ---- one run, three ways

@pytest.mark.parametrize('schedule', ['one_cycle', 'flat', 'flat_cos', 'plateau'])
def test_equals_what_is_written_by_hand(schedule):
    from fastai.callback.tracker import ReduceLROnPlateau
    run = quiet(TrainingRun(RunSettings(schedule=schedule, wd=.1, **TINY), RunData(X, y, SPLITS)), validate=True)
    dls = get_ts_dls(X, y, splits=SPLITS, tfms=[None, TSClassification()], batch_tfms=TSStandardize(by_var=True), bs=16, device='cpu')
    learn = ts_learner(dls, 'FCN', layers=[4, 4, 4], seed=0, wd=.1, metrics=accuracy)
    with learn.no_bar(), learn.no_logging():
        if schedule == 'one_cycle': learn.fit_one_cycle(2, 1e-2)
        elif schedule == 'flat_cos': learn.fit_flat_cos(2, 1e-2)
        else: learn.fit(2, 1e-2, cbs=[ReduceLROnPlateau(monitor='train_loss', patience=3, factor=2, min_lr=1e-3)]*(schedule == 'plateau'))
        probs, targs = learn.get_preds()
    assert same(weights(run), learn.model.state_dict())
    p = run.predict()
    assert torch.equal(p.probs, probs) and torch.equal(p.targs, targs)
    assert (p.true == y[32:]).all() and (p.pred == np.array(dls.vocab)[probs.argmax(1)]).all()
    assert run.learner().history.equals(learn.history)


@pytest.mark.parametrize('kind', ['classes', 'numbers', 'ridge', 'stopped'])
def test_estimators_train_the_same(kind):
    settings, est, more = dict(TINY), dict(arch='FCN', arch_params=TINY['arch_args'], epochs=2, bs=16, lr=1e-2, device='cpu', random_state=0), {}
    if kind == 'ridge':
        settings = dict(arch='MiniRocket', arch_args=dict(num_features=84), ridge=True, device='cpu')
        est = dict(arch='MiniRocket', arch_params=settings['arch_args'], ridge=True, device='cpu', random_state=0)
    if kind == 'stopped':
        more = dict(early_stopping=True, validation_fraction=.25, n_iter_no_change=2)
        settings |= dict(epochs=15, schedule='flat', valid_size=.25, patience=2)
        est['epochs'] = 15
    t, target = (numbers, TSRegression(standardize=True)) if kind == 'numbers' else (y, TSClassification())
    run = TrainingRun(RunSettings(seed=seeds_from(0, 1)[0], **settings), RunData(X, t, target=target), val_bs=64)
    quiet(run)
    fitted = (TSNetRegressor if kind == 'numbers' else TSNetClassifier)(**est, **more).fit(X, t)
    assert same(weights(run), fitted.learner_.model.state_dict())
    np.testing.assert_array_equal(run.learner().get_X_preds(X)[0].numpy().reshape(N, -1), fitted._outputs(X).reshape(N, -1).astype(np.float32))


def test_command_line_trains_the_same(tmp_path, capsys):
    argv = 'train italypowerdemand --arch FCN --arch-args layers=[4,4,4] --epochs 2 --bs 16 --lr 1e-2 --device cpu --no-report --out'.split()
    assert main([*argv, str(tmp_path/'cli')]) == 0
    run = quiet(TrainingRun(ITALY), validate=True)
    results = run.save(tmp_path/'run', report=False)
    a, b = (load_file(tmp_path/o/'model'/'model.safetensors') for o in ('cli', 'run'))
    assert same(a, b)
    cli = json.loads((tmp_path/'cli'/'results.json').read_text())
    for o in (cli, results): o.pop('seconds'), o.pop('finished')
    assert cli == results
    assert (tmp_path/'cli'/'metrics.csv').read_text() == (tmp_path/'run'/'metrics.csv').read_text()
    assert settings_from(json.loads((tmp_path/'cli'/'args.json').read_text())['settings']) == msgspec.structs.replace(run.settings, batch_tfms=['standardize:by_var=True'])
    Xt, yt = get_UCR_data('ItalyPowerDemand')[2:]
    p = Predictor(tmp_path/'run'/'model')
    assert (p.predict(Xt) == yt).mean() == pytest.approx(results['test']['accuracy'])
    np.testing.assert_allclose(p.predict_proba(Xt), run.predict().probs, atol=1e-6)


def test_seeds():
    "The same seed gives the same bits, whatever was drawn before; a run with another seed shares the loaders"
    first = quiet(TrainingRun(RunSettings(**TINY), RunData(X, y, SPLITS)))
    torch.manual_seed(99); np.random.seed(99)
    again = TrainingRun(RunSettings(**TINY), RunData(X, y, SPLITS))
    other = again.with_seed(1)
    assert same(weights(first), weights(quiet(again)))
    shared = quiet(again.with_seed(0))
    assert same(weights(first), weights(shared)) and shared.dls() is again.dls()
    assert not same(weights(first), weights(quiet(other))) and other.settings.seed == 1


def test_missing_values_are_replaced():
    gaps = X.copy(); gaps[0, 0, 3:] = np.nan
    run = TrainingRun(RunSettings(**TINY), RunData(gaps, y, SPLITS))
    quiet(run)
    assert run.added_fill and not TrainingRun(RunSettings(**TINY), RunData(X, y, SPLITS)).added_fill
    assert np.isfinite(run.predict().losses).all()
    assert len(batch_transforms(['none'])) == 0 and len(batch_transforms(None)) == 0


def test_held_out():
    "Some series are held out for validation; the test split waits for the end"
    run = quiet(TrainingRun(RunSettings(valid_size=.25, **TINY), RunData(X, y, SPLITS)))
    a, b, test = run.data.splits
    assert len(b) == 8 and sorted([*a, *b]) == list(SPLITS[0]) and list(test) == list(SPLITS[1])
    assert len(run.predict().true) == 16 and 'valid_loss' in run.learner().history
    with pytest.raises(ValueError, match='no test split'): TrainingRun(RunSettings(**TINY), RunData(X, y)).predict()


def test_diverged():
    with pytest.raises(ValueError, match=r'diverged.*lr=1e\+30'):
        quiet(TrainingRun(RunSettings(**{**TINY, 'lr': 1e30}), RunData(X, numbers, SPLITS, TSRegression())))


def test_no_data():
    with pytest.raises(ValueError, match='name no data set'): TrainingRun(RunSettings(**TINY)).dls()


# ---- keys and folders

def test_keys():
    key = run_key(ITALY)
    assert key == run_key(ITALY) == run_key(msgspec.structs.replace(ITALY, device=None)) == run_key(msgspec.structs.replace(ITALY, dsid='italypowerdemand'))
    assert key == run_key(msgspec.structs.replace(ITALY, wd=1e-2))      # what the recipe says anyway
    changed = [dict(seed=1), dict(epochs=3), dict(wd=.5), dict(arch_args=dict(layers=[4, 4, 8])), dict(batch_tfms=['none']), dict(dsid='GunPoint')]
    keys = {run_key(msgspec.structs.replace(ITALY, **o)) for o in changed}
    assert len(keys) == len(changed) and key not in keys


def test_keys_of_data(monkeypatch):
    s = RunSettings(**TINY)
    key = run_key(s, RunData(X, y, SPLITS))
    assert key == run_key(s, RunData(X.copy(), list(y), SPLITS))
    other = X.copy(); other[-1, -1, -1] += 1
    rest = [RunData(other, y, SPLITS), RunData(X, y[::-1], SPLITS), RunData(X, y, (range(31), range(31, N)))]
    assert len({key, *(run_key(s, o) for o in rest)}) == 4
    monkeypatch.setattr('tsfast.__version__', '99')
    assert run_key(s, RunData(X, y, SPLITS)) != key


def test_save_is_atomic(tmp_path, monkeypatch):
    "A failure on the way leaves no half result, and what was there before"
    run = quiet(TrainingRun(ITALY))
    run.save(tmp_path/'o')
    before = {o.relative_to(tmp_path).as_posix(): o.read_bytes() for o in tmp_path.rglob('*') if o.is_file()}
    def fails(*args): raise OSError('disk full')
    monkeypatch.setattr('tsfast.training.report.write_json', fails)
    with pytest.raises(OSError, match='disk full'): run.save(tmp_path/'o')
    assert {o.relative_to(tmp_path).as_posix(): o.read_bytes() for o in tmp_path.rglob('*') if o.is_file()} == before
    with pytest.raises(OSError, match='disk full'): run.save(tmp_path/'new')
    assert not list((tmp_path/'new').iterdir())


def test_learner_on_request(tmp_path):
    run = quiet(TrainingRun(ITALY))
    run.save(tmp_path, report=False)
    assert not (tmp_path/'learner.pkl').exists()
    run.save(tmp_path, learner=True, report=False)
    assert (tmp_path/'learner.pkl').exists() and (tmp_path/'model'/'config.json').exists()


def test_run_once(tmp_path, monkeypatch):
    "Whole or not at all; skipped if it is there"
    first = run_once(ITALY, tmp_path)
    assert first['status'] == 'done' and {o.name for o in tmp_path.iterdir()} == {first['key']} == {run_key(ITALY)}
    monkeypatch.setattr(TrainingRun, 'train', None)
    again = run_once(ITALY, tmp_path)
    assert again == {**first, 'status': 'skipped'}
    def stop(*args, **kwargs): raise KeyboardInterrupt
    monkeypatch.setattr(TrainingRun, 'train', stop)
    with pytest.raises(KeyboardInterrupt): run_once(msgspec.structs.replace(ITALY, seed=5), tmp_path)
    assert {o.name for o in tmp_path.iterdir()} == {first['key']}


# ---- many

def test_run_many(tmp_path):
    "A failing run is recorded with its traceback, and does not stop the others; what is there is skipped, and equals a run in this process"
    runs = [ITALY, msgspec.structs.replace(ITALY, arch='FCNN'), msgspec.structs.replace(ITALY, seed=1)]
    said = []
    a, bad, b = run_many(runs, tmp_path, workers=2, show=said.append)
    assert [o['status'] for o in (a, bad, b)] == ['done', 'failed', 'done'] and "Did you mean 'FCN'?" in bad['error']
    assert len(said) == 3 and any('failed' in o for o in said) and any('accuracy' in o for o in said) and said[-1].startswith('3 of 3')
    (record,) = (tmp_path/'failed').iterdir()
    record = json.loads(record.read_text())
    assert settings_from(record['settings']) == runs[1] and 'Traceback' in record['traceback'] and record['error'] == bad['error']
    assert {o.name for o in tmp_path.iterdir()} == {a['key'], b['key'], 'failed', 'done', 'running'}
    assert not list((tmp_path/'running').iterdir()) and run_states(runs, tmp_path).state.tolist() == ['done', 'failed', 'done']
    here = run_once(ITALY, tmp_path/'here')
    assert here['key'] == a['key'] and here['results']['test'] == a['results']['test']
    x, z = (load_file(o/a['key']/'model'/'model.safetensors') for o in (tmp_path, tmp_path/'here'))
    assert same(x, z)
    assert run_many([ITALY], tmp_path, workers=1, show=None) == [{**a, 'status': 'skipped'}]
    with pytest.raises(ValueError, match='workers is 0'): run_many(runs, tmp_path, workers=0)


@pytest.mark.skipif(os.name == 'nt', reason='signals of POSIX systems')
def test_interrupted_pool(repo, tmp_path):
    "Ctrl-C leaves whole results only, and no process behind; one that is killed is a failure"
    code = ("from tsfast.training import *; import signal, sys\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)   # a shell may start what runs in the background without it\n"
            f"runs = [settings_from({settings_json(ITALY)!r}), settings_from({settings_json(msgspec.structs.replace(ITALY, epochs=10**5))!r})]\n"
            f"if __name__ == '__main__': run_many(runs, {str(tmp_path/'o')!r}, workers=1, show=lambda s: print(s, flush=True))\n")
    (tmp_path/'script.py').write_text(code)
    env = {**os.environ, 'PYTHONPATH': str(repo)}
    p = subprocess.Popen([sys.executable, tmp_path/'script.py'], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    timer = threading.Timer(240, p.kill); timer.start()
    try:
        assert p.stdout.readline().startswith('1 of 2')
        time.sleep(3)
        p.send_signal(signal.SIGINT)
        out, err = p.communicate()
    finally: timer.cancel()
    assert 'KeyboardInterrupt' in err and p.returncode
    assert {o.name for o in (tmp_path/'o').iterdir()} == {run_key(ITALY), 'done', 'running'} and not list((tmp_path/'o'/'running').iterdir())
