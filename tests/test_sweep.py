"Sweeps: runs that follow from settings, folds and groups, several machines, interruptions, and equal results from every executor"
import importlib.util, json, os, re, signal, subprocess, sys, time
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

from tsfast.cli import main
from tsfast.sweeps import folder_sweep, read_sweep, sweep, sweep_from, sweep_runs, sweep_states
from tsfast.training import RunSettings, TrainingRun, run_key, run_recorded
from tsfast.training.data import RunData, in_folds
from tsfast.training.once import clear_dead

SETS = ['ItalyPowerDemand', 'BasicMotions', 'ArrowHead', 'GunPoint']     # they come with sktime
FCN = dict(arch='FCN', arch_args=dict(layers=[4, 4, 4]))
RESNET = dict(arch='ResNet', arch_args=dict(nf=4))
ROCKET = dict(arch='MiniRocket', arch_args=dict(num_features=500), ridge=True)
FOUR_BY_THREE = dict(data=SETS, models=[FCN, RESNET, ROCKET], seeds=[0, 1], settings=dict(epochs=1, bs=64, device='cpu'))
NEEDS = {o: pytest.mark.skipif(importlib.util.find_spec(o) is None, reason=f'{o} is not installed') for o in ('ray', 'submitit')}


# ---- what is to be trained

def test_runs_of_a_grid():
    "The grid concerns models that are trained step by step; arguments of a model, of all runs and of the grid come together"
    s = sweep_from(dict(data=['gunpoint'], models=[FCN, ROCKET, dict(preset='fast')], seeds=[3], settings=dict(epochs=4, lr=.5),
                        grid={'lr': [.1, .2], 'arch_args.bn': [True, False]}))
    runs = sweep_runs(s)
    assert [(o.arch, o.preset, o.lr) for o in runs] == [('FCN', None, .1)]*2 + [('FCN', None, .2)]*2 + [('MiniRocket', None, .5), ('InceptionTime', 'fast', .5)]
    assert {o.dsid for o in runs} == {'GunPoint'} and {o.seed for o in runs} == {3} and {o.epochs for o in runs} == {4}
    assert sweep_from(dict(data='GunPoint', models='FCN', grid=dict(lr=[.1], arch_args=dict(bn=[True])))).grid == {'lr': [.1], 'arch_args.bn': [True]}
    assert [o.arch_args for o in runs[:2]] == [dict(layers=[4, 4, 4], bn=True), dict(layers=[4, 4, 4], bn=False)]


@pytest.mark.parametrize('o, words', [
    ('GunPoint', 'Expected names and values'),
    (dict(data=['GunPoint'], models='FCN', cv=1), 'another kind'),
    (dict(data=['GunPoint'], models='FCN', settings=dict(seed=3)), 'seed is not a setting of one model'),
    (dict(data=['GunPoint'], models='FCN', settings=dict(arch_args=3)), 'arch_args is 3. Expected names and values'),
    (dict(data=['GunPoint'], models='FCN', grid=dict(lr=[])), 'grid has no values for lr'),
    (dict(data=['GunPoint'], models='FCN', grid=dict(lrate=[1])), "no setting 'lrate'"),
    (dict(data=['GunPoint'], models=[dict(arch='FCN', fold=1)]), 'fold is not a setting of one model'),
    (dict(data=[dict(path='a.csv', ids='b')], models='FCN'), "Did you mean 'id'"),
    (dict(data=['GunPoint'], models='FCN', seed=[1]), "Did you mean 'seeds'")], ids=str)
def test_wrong_sweeps(o, words):
    with pytest.raises(ValueError, match=re.escape(words)): sweep_from(o)


@pytest.mark.parametrize('o, words', [
    (dict(data=['GunPoint'], models='FCNN'), "Did you mean 'FCN'"),
    (dict(data=['GunPiont'], models='FCN'), "Did you mean 'GunPoint'"),
    (dict(data=['GunPoint'], models='FCN', settings=dict(epochs=0)), 'epochs is 0'),
    (dict(data=[dict(path='a.csv', test='b.csv')], models='FCN', cv=3), 'folds share all series out')], ids=str)
def test_wrong_runs(o, words):
    with pytest.raises((ValueError, KeyError), match=re.escape(words)): sweep_runs(sweep_from(o))


def test_toml(tmp_path):
    (tmp_path/'sweep.toml').write_text('data = ["GunPoint"\n')
    with pytest.raises(ValueError, match='sweep.toml is no TOML'): read_sweep(tmp_path/'sweep.toml')
    (tmp_path/'sweep.toml').write_text('data = ["GunPoint", "x/a.csv"]\nmodels = ["FCN"]\ncv = 4\nfiles = {y = "label", group = "who"}')
    s = read_sweep(tmp_path/'sweep.toml')
    assert s.data == ['GunPoint', str(tmp_path/'x'/'a.csv')] and len(sweep_runs(s)) == 8
    assert sweep_runs(s)[-1].data.group == 'who' and sweep_runs(s)[-1].folds == 4
    with pytest.raises(FileNotFoundError): read_sweep(tmp_path/'none.toml')


# ---- folds

def test_every_series_is_tested_once():
    rng = np.random.default_rng(0)
    X, y, groups = rng.normal(size=(60, 1, 8)).astype('float32'), np.tile(['a', 'b', 'c'], 20), np.repeat(np.arange(12), 5)
    for data in (RunData(X, y), RunData(X, y, groups=groups)):
        parts = [in_folds(data, 4, i, seed=1).splits for i in range(4)]
        assert sorted(np.concatenate([b for _, b in parts])) == list(range(60))
        for a, b in parts:
            assert not set(a) & set(b) and len(a) + len(b) == 60
            if data.groups is not None: assert not set(groups[a]) & set(groups[b])
            else: assert np.unique(y[b], return_counts=True)[1].tolist() == [5, 5, 5]
    assert not np.array_equal(in_folds(RunData(X, y), 4, 0, 1).splits[1], in_folds(RunData(X, y), 4, 0, 2).splits[1])


def test_folds_of_one_recording(tmp_path):
    "Training ends before the test begins, and no step is in both"
    n = 400
    pd.DataFrame(dict(t=np.arange(n), a=np.random.default_rng(0).normal(size=n), label=np.tile(['x', 'y'], n//2))).to_csv(tmp_path/'a.csv', index=False)
    files = dict(path=str(tmp_path/'a.csv'), time='t', y='label', id=None, window=20, stride=10, label='last')
    runs = sweep_runs(sweep_from(dict(data=[files | dict(label='majority')], models=[FCN], cv=3)))
    for o in runs:
        data = TrainingRun(o).data
        assert np.asarray(data.ends)[data.splits[0]].max() < np.asarray(data.starts)[data.splits[1]].min()


def test_settings_of_folds():
    with pytest.raises(ValueError, match='a fold from 0 to folds - 1'): RunSettings(dsid='GunPoint', folds=3, fold=3)
    with pytest.raises(ValueError, match='a fold from 0 to folds - 1'): RunSettings(dsid='GunPoint', folds=3)
    s = RunSettings(dsid='ItalyPowerDemand', epochs=1, device='cpu', **FCN)
    a = msgspec.structs.replace(s, folds=2, fold=0)
    assert len({run_key(s), run_key(a), run_key(msgspec.structs.replace(s, folds=2, fold=1))}) == 3
    res = run_of(a).evaluate()
    assert res['fold'] == 0 and res['n_train'] + res['n_test'] == 1096 and res['published'] == {}

def run_of(s):
    run = TrainingRun(s)
    learn = run.learner()
    with learn.no_bar(), learn.no_logging(): return run.train()


def test_groups_of_files(tmp_path, capsys):
    "From the command line: a table of recordings, with people who are in one fold alone"
    rng = np.random.default_rng(0)
    rows = [pd.DataFrame(dict(rec=i, who=f'p{i//4}', t=np.arange(16), a=rng.normal(size=16) + 3*(i % 2), label='ab'[i % 2])) for i in range(24)]
    pd.concat(rows).to_csv(tmp_path/'m.csv', index=False)
    argv = ['sweep', str(tmp_path/'m.csv'), '--id', 'rec', '--time', 't', '--label', 'label', '--group', 'who', '--cv', '3', '--models', 'MiniRocket+ridge',
            '--set', 'device=cpu', '--workers', '1', '--out', str(tmp_path/'o')]
    assert main(argv) == 0
    assert '3 of 3  m  MiniRocket + ridge  seed 0 fold 2: accuracy' in capsys.readouterr().out
    for o in (json.loads(f.read_text()) for f in (tmp_path/'o').glob('*/args.json')):
        assert o['settings']['folds'] == 3 and o['settings']['data']['group'] == 'who'
    assert len(list((tmp_path/'o').glob('*/results.json'))) == 3


# ---- a failure, and what is there

def test_a_failure_stops_nothing(tmp_path, capsys):
    wrong = tmp_path/'wrong.csv'
    wrong.write_text('id,a\n0,1\n0,2\n')
    s = dict(data=['ItalyPowerDemand', str(wrong)], models=[FCN], settings=FOUR_BY_THREE['settings'], files=dict(id='id', y='label'))
    said = []
    a, bad = sweep(tmp_path/'o', **s, workers=1, show=said.append)
    assert (a['status'], bad['status']) == ('done', 'failed') and "'label'" in bad['error'] and len(said) == 2
    states = sweep_states(tmp_path/'o')
    assert states.state.tolist() == ['done', 'failed'] and "'label'" in states.error[1]
    wrong.write_text('id,a,label\n' + ''.join(f'{i},{i + j},{"xy"[i % 2]}\n' for i in range(20) for j in range(12)))
    assert [o['status'] for o in sweep(tmp_path/'o', **s, workers=1, show=None)] == ['skipped', 'done']
    assert main(['sweep', '--status', '--out', str(tmp_path/'o')]) == 0
    assert capsys.readouterr().out.startswith('2 done of 2 runs')


def test_results_that_were_deleted_or_damaged(tmp_path):
    "Such a run is trained anew, and its folder is replaced"
    s = RunSettings(dsid='GunPoint', **FCN, epochs=1, bs=64, device='cpu')
    first = run_recorded(s, tmp_path)
    file = tmp_path/first['key']/'results.json'
    for damage in (file.unlink, lambda: file.write_text('{"test')):
        damage()
        again = run_recorded(s, tmp_path)
        assert again['status'] == 'done' and again['results']['test'] == first['results']['test']
        assert json.loads(file.read_text())['test'] == first['results']['test'] and run_recorded(s, tmp_path)['status'] == 'skipped'
    assert not list(tmp_path.glob('.*'))


def test_no_such_sweep(tmp_path, capsys):
    assert main(['sweep', str(tmp_path/'none.toml')]) == 1 and 'Expected a sweep as TOML' in capsys.readouterr().err


def test_options_of_the_local_executor(tmp_path):
    with pytest.raises(ValueError, match="The executor 'local' has no options, and foo is given"):
        sweep(tmp_path, ['GunPoint'], 'FCN', foo=1)


def test_a_fast_ensemble_is_a_model(tmp_path):
    (res,) = sweep(tmp_path, ['ItalyPowerDemand'], dict(preset='fast'), settings=dict(device='cpu'), workers=1, show=None)
    assert res['status'] == 'done' and res['results']['test']['accuracy'] > .95
    assert json.loads((tmp_path/res['key']/'args.json').read_text())['settings']['preset'] == 'fast'


def test_shards_are_the_whole(tmp_path):
    s = dict(data=['ItalyPowerDemand'], models=[FCN, ROCKET], seeds=[0, 1], settings=FOUR_BY_THREE['settings'], workers=1, show=None)
    keys = [o['key'] for i in (1, 2, 3) for o in sweep(tmp_path, shard=f'{i}/3', **s)]
    assert len(set(keys)) == 4 and sweep_states(tmp_path).state.tolist() == ['done']*4


def test_what_the_dead_left(tmp_path):
    "Half-written folders of processes that have ended go, those of others stay"
    code = "import os, platform, sys; from pathlib import Path; Path(sys.argv[1], f'.writing-00ff-{platform.node()}-{os.getpid()}').mkdir()"
    subprocess.run([sys.executable, '-c', code, tmp_path], check=True)
    (tmp_path/'.writing-00ff-elsewhere-1').mkdir()
    clear_dead(tmp_path)
    assert [o.name for o in tmp_path.iterdir()] == ['.writing-00ff-elsewhere-1']


# ---- killed, and gone on

SCRIPT = """
import json, sys
from tsfast.sweeps import sweep
if __name__ == '__main__':
    args = json.loads(sys.argv[2])
    print(*[o['status'] for o in sweep(sys.argv[1], **args, show=lambda o: print(o, flush=True))])
"""

def start(folder, script, **args):
    env = {**os.environ, 'PYTHONPATH': str(Path(__file__).parents[1])}
    return subprocess.Popen([sys.executable, script, folder, json.dumps(args)], env=env, stdout=subprocess.PIPE, text=True, start_new_session=True)

def results_in(folder):
    "The results in their place; a folder whose name begins with a point is being written, and was left so by a kill"
    return list(folder.glob('[!.]*/results.json'))

def kill_after(p, folder, more, seconds=240):
    "Kill the process and its workers when so many more results are there"
    there, end = len(results_in(folder)), time.monotonic() + seconds
    while len(results_in(folder)) < there + more and time.monotonic() < end and p.poll() is None: time.sleep(.05)
    os.killpg(p.pid, signal.SIGKILL)
    p.communicate()

def weights(folder): return {o.parent.name: load_file(o/'model.safetensors') for o in folder.glob('*/model')}


@pytest.mark.skipif(os.name == 'nt', reason='signals of POSIX systems')
@pytest.mark.parametrize('executor', ['local', pytest.param('ray', marks=NEEDS['ray'])])
def test_killed_twice(tmp_path, executor):
    "4 sets × 3 models × 2 seeds; every result is whole, none is trained twice but what was being trained, and all equal those of one process"
    (tmp_path/'script.py').write_text(SCRIPT)
    folder, args = tmp_path/'o', dict(FOUR_BY_THREE, workers=2, executor=executor)
    for more in (5, 6): kill_after(start(folder, tmp_path/'script.py', **args), folder, more)
    there = {o.parent.name: o.stat().st_mtime_ns for o in results_in(folder)}
    assert 11 <= len(there) < 24
    p = start(folder, tmp_path/'script.py', **args)
    out, _ = p.communicate(timeout=400)
    assert p.returncode == 0 and out.count('(was there)') >= len(there)
    assert {k: (folder/k/'results.json').stat().st_mtime_ns for k in there} == there
    assert not list(folder.glob('.writing-*')) and not list((folder/'running').iterdir()) and not (folder/'failed').exists()
    runs = sweep_runs(folder_sweep(folder))
    assert {o.parent.name for o in folder.glob('*/results.json')} == {run_key(o) for o in runs} and len(runs) == 24
    found = weights(folder)
    for o in runs[::5]:      # the same in one process
        res = run_recorded(o, tmp_path/'here')
        here = load_file(tmp_path/'here'/res['key']/'model'/'model.safetensors')
        assert all((v == found[res['key']][k]).all() for k, v in here.items())


@pytest.mark.parametrize('executor, options', [pytest.param('submitit', dict(cluster='local', poll=.2), marks=NEEDS['submitit']),
                                               pytest.param('ray', {}, marks=NEEDS['ray'])])
def test_engines(tmp_path, executor, options):
    "The same results as in processes; a failure stops nothing"
    s = dict(data=['ItalyPowerDemand'], models=[FCN, dict(FCN, arch_args=dict(layers=[4, 4]))], settings=FOUR_BY_THREE['settings'], show=None)
    a, bad = sweep(tmp_path/'a', **s, executor=executor, workers=2, **options)
    b, _ = sweep(tmp_path/'b', **s, workers=1)
    assert (a['status'], bad['status']) == ('done', 'failed') and a['key'] == b['key'] and a['results']['test'] == b['results']['test']
    assert [o['status'] for o in sweep(tmp_path/'a', **s, executor=executor, workers=2, **options)] == ['skipped', 'failed']
