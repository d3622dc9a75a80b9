"The command line: what it writes, what it refuses, and what Ctrl-C leaves behind"
import json, os, resource, shutil, signal, subprocess, sys

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tsfast import __version__, cli
from tsfast.cli import main
from tsfast.cli import run as room
from tsfast.checkpoint import read_checkpoint
from tsfast.inference import Predictor
from tsfast.training import TrainingRun

TINY = '--arch-args nf=4 depth=3 --bs 16 --device cpu --no-report'.split()    # the report has tests of its own
FILES = {'model', 'metrics.csv', 'losses.png', 'confusion_matrix.png', 'series.png', 'args.json', 'results.json'}


def run(repo, *argv):
    "`tsfast` in a process of its own, with as many threads as this one has"
    env = {**os.environ, 'OMP_NUM_THREADS': str(torch.get_num_threads())}
    return subprocess.run([sys.executable, '-m', 'tsfast', *map(str, argv)], cwd=repo, env=env, capture_output=True, text=True)

def names(folder): return {o.name for o in folder.iterdir()}

def fails(*args): raise OSError('disk full')

def same_weights(a, b):
    a, b = (load_file(o/'model'/'model.safetensors') for o in (a, b))
    return all(torch.equal(a[k], b[k]) for k in a)


def test_train(tmp_path, capsys):
    "What a run prints, where stdout is no terminal, and what it writes"
    import matplotlib.pyplot as plt
    out = tmp_path/'a'/'b'
    plt.close('all')      # figures of other tests
    assert main(['train', 'gunpoint', *TINY, '--epochs', '3', '--out', str(out)]) == 0
    text, err = capsys.readouterr()
    assert names(out) == FILES and not err
    for o in ('50 training and 150 test series', 'accuracy', 'balanced accuracy', '1.0000 ± 0.0000', 'epoch 3 of 3', 'the recipe has 150 epochs'): assert o in text
    assert not set('\r█') & set(text) and '\n\n\n' not in text
    r, a = (json.loads((out/f).read_text()) for f in ('results.json', 'args.json'))
    rows = pd.read_csv(out/'metrics.csv')
    assert list(rows) == ['epoch', 'train_loss', 'valid_loss', 'accuracy'] and len(rows) == 3
    assert r['test']['accuracy'] == pytest.approx(rows.accuracy.iloc[-1]) and r['test']['loss'] == pytest.approx(rows.valid_loss.iloc[-1])
    assert f"{r['test']['accuracy']:.4f}" in text
    assert a['settings']['dsid'] == r['dataset'] == 'GunPoint' and a['settings']['epochs'] == 3 and a['versions']['torch'] == torch.__version__ and a['threads'] == torch.get_num_threads()
    use = text.strip().splitlines()[-1]
    assert use == f"In Python:  from tsfast.inference import Predictor; Predictor({str(out/'model')!r}).predict(X)"
    from tsfast.data.external import get_UCR_data
    X, y = get_UCR_data('GunPoint')[2:]
    assert (Predictor(out/'model').predict(X) == y).mean() == pytest.approx(r['test']['accuracy'])
    assert not plt.get_fignums(), 'figures are left open'


def test_learner(tmp_path, capsys):
    "The pickle on request; what predicts and exports takes the folder of either kind, and that of an older version, which has the pickle alone"
    import numpy as np
    out = tmp_path/'o'
    assert main(['train', 'ItalyPowerDemand', *TINY, '--epochs', '1', '--learner', '--out', str(out)]) == 0
    assert names(out) == FILES - {'losses.png'} | {'learner.pkl'}
    X = np.random.default_rng(0).normal(size=(5, 1, 24)).astype('float32')
    np.save(tmp_path/'x.npy', X)
    said = []
    for o in ('as it is', 'older'):
        if o == 'older': shutil.rmtree(out/'model')
        assert main(['export', str(out), str(tmp_path/o)]) == 0
        capsys.readouterr()
        assert main(['predict', str(out), str(tmp_path/'x.npy')]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] and torch.equal(Predictor(tmp_path/'as it is')(X), Predictor(tmp_path/'older')(X))
    assert main(['train', '--resume', '--out', str(out)]) == 0
    assert 'load_learner(' in capsys.readouterr().out.splitlines()[-1]


def test_seed(tmp_path, capsys):
    for o in 'ab': assert main(['train', 'ItalyPowerDemand', *TINY, '--epochs', '2', '--seed', '3', '--out', str(tmp_path/o)]) == 0
    assert same_weights(tmp_path/'a', tmp_path/'b')


@pytest.mark.parametrize('argv, files, words', [
    ('JapaneseVowels --schedule plateau --valid-size 0.2 --epochs 2', FILES, ['216 training, 54 held-out and 370 test series, 12 channels', 'nan2value puts 0 in their place, which is the mean after scaling.']),
    ('JapaneseVowels --batch-tfms none --epochs 1', FILES - {'losses.png'}, ['nan2value puts 0 in their place', 'not centred', '--batch-tfms nan2value:method=mean', '1 epoch,', '1 epoch;']),
    ('Covid3Month --schedule flat --batch-tfms robust clip:high=5 --epochs 2', FILES - {'confusion_matrix.png'} | {'scatter.png'}, ['mae', 'rmse']),
    ('ItalyPowerDemand --schedule flat_cos --wd 0.1 --label-smoothing 0.1 --batch-tfms none --epochs 1', FILES - {'losses.png'}, ['1 channel, 24 steps, 2 classes'])],
    ids=lambda o: ' '.join(o.split()[:3]) if isinstance(o, str) else '')
def test_kinds(tmp_path, capsys, argv, files, words):
    assert main(['train', *argv.split(), *TINY, '--out', str(tmp_path/'o')]) == 0
    assert names(tmp_path/'o') == files
    out = capsys.readouterr().out
    for o in words: assert o in out


def test_ridge(tmp_path, capsys, monkeypatch):
    "The closed form; and the folder has the names of the archive and the registry, however they were written"
    monkeypatch.chdir(tmp_path)
    assert main(['train', 'italypowerdemand', '--arch', 'minirocket', '--ridge', '--device', 'cpu', '--no-report']) == 0
    assert json.loads((tmp_path/'runs'/'ItalyPowerDemand-MiniRocket'/'results.json').read_text())['test']['accuracy'] > .95
    out = capsys.readouterr().out
    assert '0.9631' in out and '\n\n\n' not in out   # the published figure; one empty line between the parts


@pytest.mark.parametrize('kw, words', [
    (dict(epochs=150), 'That is BELOW what is published'),
    (dict(epochs=200, recipe_epochs=150), 'That is BELOW what is published'),
    (dict(epochs=149, recipe_epochs=150), 'It is not compared with what is published: the recipe has 150 epochs'),
    (dict(epochs=150, recipe_epochs=150, arch_args=dict(nf=4)), 'It is not compared with what is published: the network has other arguments (nf=4)')])
def test_published(tmp_path, capsys, kw, words):
    "Only a run as long as the recipe says, of the network as it is published, is compared"
    known = dict(accuracy=.96, sd=.001, what='one Inception network', others={})
    room._show(dict(n_train=67, n_test=1029, seconds=1, test=dict(accuracy=.8), published=known, **kw), tmp_path)
    out = capsys.readouterr().out
    assert words in out and out.count('what is published') == 1


def test_standardize():
    "One meaning: statistics of each channel, as in the estimators; a run of an older version keeps its own"
    from tsfast.estimators import TSNetClassifier
    assert cli.batch_transform('standardize').by_var is TSNetClassifier()._tfms()[0].by_var is True
    assert cli.batch_transform('standardize:by_sample').by_var is True and cli.batch_transform('standardize:by_var=False').by_var is False
    new = cli.run_settings({'dsid': 'GunPoint', 'batch_tfms': ['Standardize', 'clip:low=-5']}, None, None)
    assert new['batch_tfms'] == ['Standardize:by_var=True', 'clip:low=-5']
    for stored, by_var in ((new, True), ({**new, 'batch_tfms': ['standardize']}, False)):
        for given in ({}, {'batch_tfms': stored['batch_tfms']}, {'batch_tfms': ['Standardize', 'clip:low=-5']} if by_var else {}):
            assert cli.batch_transform(cli.run_settings(given, stored, None)['batch_tfms'][0]).by_var is by_var
    with pytest.raises(ValueError, match='--batch-tfms is'): cli.run_settings({'batch_tfms': ['standardize:by_var=False']}, new, None)


@pytest.mark.parametrize('argv, code, words', [
    ('', 2, None),
    ('trian', 2, "Did you mean 'train'?"),
    ('nothinglikethis', 2, "invalid choice: 'nothinglikethis'"),
    ('--versoin', 2, "Did you mean '--version'?"),
    ('train', 2, 'name a data set'),
    ('train GunPoint --epochs 0', 2, "expected a whole number from 1 up, not '0'"),
    ('train GunPoint --epochs', 2, '--epochs: expected one argument'),
    ('train GunPoint --lr nan', 2, 'expected a number above 0'),
    ('train GunPoint --lr 0', 2, 'expected a number above 0'),
    ('train GunPoint --valid-size 1', 2, 'expected a share'),
    ('train GunPoint --arch-args nf', 2, 'expected name=value'),
    ('train GunPoint --schedule steps', 2, "invalid choice: 'steps'"),
    ('train GunPoint --schedule onecycle', 2, "Did you mean 'one_cycle'?"),
    ('train GunPoint --epoch 3', 2, "unrecognized arguments: --epoch 3. Did you mean '--epochs'?"),
    ('train GunPoint more', 2, 'expected the name of one data set, or files'),
    ('train GunPoint --resume --overwrite', 2, 'choose one'),
    ('train GunPoint --arch minirocket --ridge --epochs 3', 2, 'where --epochs has no effect'),
    ('train GunPoint --ridge --lr 1 --schedule flat --wd 0 --label-smoothing 0', 2, 'where --lr, --schedule, --wd, --label-smoothing have no effect'),
    ('train GunPint --out {}', 1, "Did you mean 'GunPoint'?"),
    ('train GunPoint --arch InceptionTine --out {}', 1, "Did you mean 'InceptionTime'?"),
    ('train GunPoint --arch-args nff=3 --out {}', 1, "Did you mean 'nf'?"),
    ('train GunPoint --batch-tfms standardise --out {}', 1, "Did you mean 'standardize'?"),
    ('train GunPoint --batch-tfms clip:lo=1 --out {}', 1, "no argument 'lo'"),
    ('train GunPoint --device qpu --out {}', 1, 'There is no device'),
    ('train GunPoint --ridge --out {}', 1, 'for models with fixed features'),
    ('train GunPoint --path {}/nowhere --out {}', 1, 'is not a folder'),
    ('train --resume --out {}/none', 1, 'There is no run in'),
    ('models nothinglikethis', 1, 'No architecture matches'),
    ('data nothinglikethis', 1, 'No data set matches')], ids=lambda o: o if isinstance(o, str) else '')
def test_errors(tmp_path, capsys, argv, code, words):
    assert main(argv.replace('{}', str(tmp_path)).split()) == code
    err = capsys.readouterr().err
    if words: assert words in err and err.startswith('tsfast: ') and err.count('\n') == 1
    assert not list(tmp_path.iterdir()), 'an error leaves files behind'


def test_debug(tmp_path):
    with pytest.raises(KeyError): main(['train', 'GunPint', '--out', str(tmp_path), '--debug'])


def test_out(tmp_path, capsys):
    "A run is not replaced by accident"
    out = tmp_path/'o'
    train = lambda *more: main(['train', 'ItalyPowerDemand', *TINY, '--epochs', '1', '--out', str(out), *more])
    assert train() == 0
    whole = lambda: {o.relative_to(out).as_posix(): o.read_bytes() for o in out.rglob('*') if o.is_file()}
    before, weights, files = whole(), (out/'model'/'model.safetensors').read_bytes(), names(out)
    assert train() == 1 and 'holds a finished run' in capsys.readouterr().err
    assert train('--overwrite', '--device', 'qpu') == 1   # a mistake costs nothing
    assert train('--resume') == 0 and 'is finished' in capsys.readouterr().out
    assert train('--resume', '--epochs', '2') == 1 and '--epochs is 2, but the run' in capsys.readouterr().err
    assert main(['train', 'GunPoint', '--resume', '--out', str(out)]) == 1 and 'is of ItalyPowerDemand, not of GunPoint' in capsys.readouterr().err
    assert whole() == before
    (out/'mine.txt').write_text('kept')
    assert train('--overwrite', '--seed', '7') == 0
    assert names(out) == {*files, 'mine.txt'} and (out/'model'/'model.safetensors').read_bytes() != weights
    (tmp_path/'f').write_text('')
    assert main(['train', 'GunPoint', '--out', str(tmp_path/'f')]) == 1 and 'is a file' in capsys.readouterr().err
    capsys.readouterr()
    (tmp_path/'g').mkdir(); (tmp_path/'g'/'metrics.csv').write_text('of something else')
    assert main(['train', 'GunPoint', '--out', str(tmp_path/'g')]) == 1 and 'would be replaced' in capsys.readouterr().err


@pytest.mark.skipif(os.name == 'nt', reason='folders cannot be locked there')
def test_two_runs_in_one_folder(tmp_path, capsys):
    "The second is refused, and changes nothing; one that comes after the end of the first is told what is there"
    out = tmp_path/'o'
    train = lambda *more: main(['train', 'ItalyPowerDemand', *TINY, '--epochs', '1', '--out', str(out), *more])
    with room.alone(out):
        for more in ([], ['--overwrite'], ['--resume']):
            assert train(*more) == 1 and f'Another run is writing to {out}' in capsys.readouterr().err
        assert not names(out)
    make = room._made
    def slowly(s):
        "The other run ends while this one reads its data"
        (out/'results.json').write_text('{}'); return make(s)
    with pytest.MonkeyPatch.context() as m:
        m.setattr(room, '_made', slowly)
        assert train() == 1 and 'holds a finished run' in capsys.readouterr().err
    assert names(out) == {'results.json'} and train('--overwrite') == 0


def test_resume_settings(tmp_path, capsys):
    stored = cli.run_settings({'dsid': 'GunPoint'}, None, tmp_path)
    assert cli.run_settings({'dsid': 'gunpoint', 'arch': 'inceptiontime'}, stored, tmp_path) == stored
    with pytest.raises(ValueError, match="--arch is 'FCN', but the run"): cli.run_settings({'arch': 'FCN'}, stored, tmp_path)
    for o in ({}, [], {'settings': None}, {'settings': {'dsid': 'GunPoint'}}):
        (tmp_path/'args.json').write_text(json.dumps(o))
        for argv in (['train'], ['train', 'GunPoint']):
            assert main([*argv, '--resume', '--out', str(tmp_path)]) == 1
            assert f'{tmp_path} holds no run to resume' in capsys.readouterr().err


def test_half_a_report(tmp_path, capsys, monkeypatch):
    "Whatever goes wrong at the end: no half results, and --resume only has to write them"
    out = tmp_path/'o'
    train = lambda *more: main(['train', 'ItalyPowerDemand', *TINY, '--epochs', '2', '--out', str(out), *more])
    with monkeypatch.context() as m:
        m.setattr(TrainingRun, 'show_test', fails)
        assert train() == 1
    assert capsys.readouterr().err == 'tsfast: disk full\n'
    assert names(out) == {'args.json', 'checkpoint.pt'}
    assert train() == 1 and 'holds an interrupted run' in capsys.readouterr().err
    assert main(['train', '--resume', '--no-report', '--out', str(out)]) == 0
    assert names(out) == FILES and 'Going on after epoch 2' in capsys.readouterr().out
    assert len(pd.read_csv(out/'metrics.csv')) == 2


def test_damaged_checkpoint(tmp_path, capsys, monkeypatch):
    out = tmp_path/'o'
    with monkeypatch.context() as m:
        m.setattr(room, '_report', fails)
        assert main(['train', 'ItalyPowerDemand', *TINY, '--epochs', '1', '--out', str(out)]) == 1
    whole = (out/'checkpoint.pt').read_bytes()
    (out/'checkpoint.pt').write_bytes(whole[:1000])
    capsys.readouterr()
    assert main(['train', '--resume', '--out', str(out)]) == 1
    err = capsys.readouterr().err
    assert 'damaged' in err and err.count('\n') == 1
    (out/'args.json').write_text('{')
    assert main(['train', '--resume', '--out', str(out)]) == 1 and 'args.json is damaged' in capsys.readouterr().err


@pytest.mark.skipif(os.name == 'nt', reason='signals of POSIX systems')
@pytest.mark.parametrize('schedule', ['one_cycle', 'plateau'])
def test_interrupt(repo, tmp_path, capsys, monkeypatch, schedule):
    "Ctrl-C, then --resume in a new process: the weights and the record of a run that was left alone"
    argv = ['train', 'ItalyPowerDemand', *TINY, '--epochs', '12', '--schedule', schedule, '--lr', '1e-2']
    write, before = room._Lines.__call__, signal.signal(signal.SIGINT, signal.default_int_handler)   # a test run in the background may ignore the signal
    def interrupted(self, log):
        write(self, log)
        if log[0] == 4: signal.raise_signal(signal.SIGINT)
    with monkeypatch.context() as m:
        m.setattr(room, 'CHECKPOINT_SECONDS', 0); m.setattr(room._Lines, '__call__', interrupted)
        try: assert main([*argv, '--out', str(tmp_path/'o')]) == 130
        finally: signal.signal(signal.SIGINT, before)
    assert names(tmp_path/'o') == {'args.json', 'checkpoint.pt'}
    done = read_checkpoint(tmp_path/'o'/'checkpoint.pt')['epoch']
    assert 4 <= done < 12
    assert capsys.readouterr().err == f"tsfast: interrupted; {done} of 12 epochs are kept. Go on with: tsfast train --resume --out {tmp_path/'o'}\n"
    r = run(repo, 'train', '--resume', '--no-report', '--out', tmp_path/'o')
    assert r.returncode == 0 and f'Going on after epoch {done}.' in r.stdout, r.stderr
    assert main([*argv, '--out', str(tmp_path/'whole')]) == 0
    assert same_weights(tmp_path/'o', tmp_path/'whole')
    assert (tmp_path/'o'/'metrics.csv').read_text() == (tmp_path/'whole'/'metrics.csv').read_text()


@pytest.mark.parametrize('verb, words', [('models', 'interrupted'), ('train', 'interrupted before there was anything to keep')])
def test_interrupt_elsewhere(tmp_path, capsys, monkeypatch, verb, words):
    "Ctrl-C outside training, and before the first checkpoint"
    def stop(*args):
        "As the user does"
        raise KeyboardInterrupt
    monkeypatch.setitem(cli.commands, 'models', (stop, cli.commands['models'][1]))
    monkeypatch.setattr(room, '_fit', stop)
    assert main(['models'] if verb == 'models' else ['train', 'ItalyPowerDemand', *TINY, '--out', str(tmp_path/'o')]) == 130
    assert capsys.readouterr().err == f'tsfast: {words}\n'


def test_models(capsys):
    assert main(['models', '*time', '--c-in', '3']) == 0
    out = capsys.readouterr().out
    assert '399,540' in out and 'XceptionTime' in out and 'FCN' not in out
    assert main(['models']) == 0
    assert 'FCN' in capsys.readouterr().out


def test_data(capsys):
    assert main(['data', 'italy', '--here']) == 0
    out = capsys.readouterr().out
    assert 'ItalyPowerDemand' in out and '0.9642' in out and '1 set, 1 of them' in out
    assert main(['data', '--kind', 'regression']) == 0
    out = capsys.readouterr().out
    assert 'Covid3Month' in out and 'GunPoint' not in out and 'published' not in out   # of none, so there is no such column


def test_light(repo):
    "Help and version answer at once: nothing heavy is imported"
    code = 'import sys; from tsfast import cli; cli.parser().format_help(); print(*sys.modules)'
    r = subprocess.run([sys.executable, '-c', code], cwd=repo, capture_output=True, text=True)
    assert not {'torch', 'numpy', 'pandas', 'fastai', 'matplotlib'} & set(r.stdout.split()), r.stderr
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    r = run(repo, '--help')
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert r.returncode == 0 and all(o in r.stdout for o in ('train', 'models', 'data'))
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < .3
    assert run(repo, '--version').stdout == f'tsfast {__version__}\n'


def test_closed_pipe(repo):
    "`tsfast data | head -1`"
    code = 'import sys; from tsfast import cli; sys.exit(cli.main(["data"]))'
    p = subprocess.Popen([sys.executable, '-c', code], cwd=repo, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    p.stdout.readline(); p.stdout.close()
    err = p.stderr.read(); p.stderr.close()
    assert p.wait(60) == 0 and not err, err
