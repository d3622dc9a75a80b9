"`tsfast train` and `tsfast data` on files of one's own: what is understood, what is refused, what is left behind"
import json, os, re, shutil

import msgspec
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tsfast.bundle import check_config
from tsfast.cli import main
from tsfast.cli import run as room
from tsfast.cli.files import as_options
from tsfast.cli.given import run_settings
from tsfast.data.recordings import read_frame
from tsfast.inference import Predictor
from tsfast.settings import DEFAULTS, FileSettings, settings_from
from tsfast.training import RunData, RunSettings, TrainingRun, data_name, file_data, file_digest, run_key, run_once
from tsfast.training.summary import class_counts, data_summary

TINY = ['--arch', 'FCN', '--arch-args', 'layers=[4,4,4]', '--epochs', '1', '--bs', '16', '--device', 'cpu', '--no-report']
LONG = '--id subject --time t --label activity --window 20 --stride 10'.split()
CHANNELS = ['acc_x', 'acc_y', 'acc_z', 'gyr_x', 'gyr_y', 'gyr_z']
ACTIVITIES = ['rest', 'run', 'walk']


def activity(n_subjects=30, n_steps=60):
    "A row for each step: subjects, times, six channels, and an activity that changes twice"
    rng, n = np.random.default_rng(0), n_subjects*n_steps
    df = pd.DataFrame(dict(subject=np.repeat([f's{i:02}' for i in range(n_subjects)], n_steps), t=np.tile(np.arange(n_steps)*.02, n_subjects).round(2)))
    k = (np.arange(n)//20 + np.repeat(np.arange(n_subjects), n_steps)) % 3
    for j, c in enumerate(CHANNELS): df[c] = (k*np.sin((j + 1)*df.t*20) + .1*rng.normal(size=n)).round(3)
    return df.assign(activity=np.array(ACTIVITIES)[k])

def wide(n=40, length=24, numbers=0):
    "A row for each series; classes, or columns of numbers"
    rng = np.random.default_rng(1)
    df = pd.DataFrame(rng.normal(size=(n, length)).round(3)).rename(columns=str)
    df.iloc[::2] += np.sin(np.arange(length)) * 3
    if not numbers: return df.assign(label=np.where(np.arange(n) % 2, 'flat', 'wave'))
    return df.assign(**{f'target{i}': rng.normal(size=n).round(3) for i in range(numbers)})

def folder_of_recordings(folder, n=14):
    rng = np.random.default_rng(2)
    folder.mkdir(exist_ok=True)
    for i in range(n): pd.DataFrame(rng.normal(size=(rng.integers(20, 40), 2)), columns=['acc', 'hr']).round(3).to_csv(folder/f'r{i:02}.csv', index=False)
    pd.DataFrame(dict(file=[f'r{i:02}.csv' for i in range(n)], label=['a', 'b']*(n//2), patient=[i//2 for i in range(n)])).to_csv(folder/'labels.csv', index=False)
    return folder

def arrays(folder, n=40, name='X'):
    rng = np.random.default_rng(len(name))
    np.save(folder/f'{name}.npy', rng.normal(size=(n, 2, 25)).astype(np.float32))
    np.save(folder/f'{name.lower()}_y.npy', np.array(['a', 'b'])[np.arange(n) % 2])
    return folder/f'{name}.npy', folder/f'{name.lower()}_y.npy'

@pytest.fixture
def csv(tmp_path):
    activity().to_csv(tmp_path/'activity.csv', index=False)
    return tmp_path/'activity.csv'

def run(*argv, out=None):
    "The exit code of `tsfast train`, of a small network"
    return main(['train', *map(str, argv), *TINY, *(['--out', str(out)] if out else [])])

def weights(out): return load_file(out/'model'/'model.safetensors')

def same(a, b): return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)

def settings_of(out): return json.loads((out/'args.json').read_text())['settings']


# ---- each form of data

def test_long_csv(csv, tmp_path, capsys):
    "What is understood is said before training: channels by name, windows, classes by split, groups that are in one split alone"
    assert run(csv, *LONG, out=tmp_path/'o') == 0
    said, err = capsys.readouterr()
    assert not err
    lines = said.splitlines()
    assert lines[0] == str(csv) and '' in lines[:20]
    for o in ('one of 3 classes for each series', '150 from 30 recordings, windows of 20 steps, a new one every 10', f"6: {', '.join(CHANNELS)}", '30, each in one split alone',
              '120 training (24 groups), 30 test (6 groups)'): assert o in said
    assert said.index('splits') < said.index('epoch 1 of 1')
    use = lines[-2:]
    assert use == [f"To use it:  tsfast predict {tmp_path/'o'} FILE --windows",
                   f"In Python:  from tsfast.inference import Predictor; Predictor({str(tmp_path/'o'/'model')!r}).predict_windows(recording)"]
    p = Predictor(tmp_path/'o'/'model')
    assert p.channels == CHANNELS and (p.recording.id, p.recording.time, p.recording.window, p.recording.stride) == (['subject'], 't', 20, 10)
    assert main(['predict', str(tmp_path/'o'), str(csv), '--windows', '--out', str(tmp_path/'p.csv')]) == 0
    table, o = pd.read_csv(tmp_path/'p.csv'), file_data(settings_from(settings_of(tmp_path/'o')))
    assert (table.subject == o.ids).all() and np.allclose(table.start, o.starts) and (table.label == p.predict(o.X)).all()
    capsys.readouterr()
    r = json.loads((tmp_path/'o'/'results.json').read_text())
    assert (r['dataset'], r['n_train'], r['n_test'], r['published']) == ('activity', 120, 30, {})
    s = settings_from(settings_of(tmp_path/'o'))
    assert s.data.path == str(csv) and s.data.digest == file_digest(s.data) and s.dsid == 'activity'
    assert settings_from(msgspec.json.encode(s)) == s


def test_python_does_the_same(csv, tmp_path, capsys):
    "The settings alone give the same weights, as do series that were read before"
    assert run(csv, *LONG, out=tmp_path/'o') == 0
    stored = settings_from(settings_of(tmp_path/'o'))
    given = FileSettings(path=str(csv), id='subject', time='t', y='activity', window=20, stride=10)
    tiny = dict(arch='FCN', arch_args=dict(layers=[4, 4, 4]), epochs=1, bs=16, device='cpu')
    df = pd.read_csv(csv)
    read = RunData.from_series(read_frame(df, id='subject', time='t', y='activity', window=20, stride=10), seed=0)
    for o in (TrainingRun(stored), TrainingRun(RunSettings(data=given, **tiny)), TrainingRun(RunSettings(**tiny), read)):
        with o.learner().no_bar(), o.learner().no_logging(): o.train(validate=True)
        o.save(tmp_path/'again', report=False)
        assert same(weights(tmp_path/'again'), weights(tmp_path/'o'))
        ds = o.learner().dls.train_ds
        assert ds.channels == CHANNELS and ds.recording.window == 20 and ds.recording.time == 't'
        assert o.data.channels == CHANNELS and len(o.data.ids) == len(o.data.groups) == len(o.data.X) == 150


@pytest.mark.parametrize('kind', ['classes', 'numbers', 'several numbers'])
def test_wide_csv(tmp_path, capsys, kind):
    n = dict(classes=0, numbers=1).get(kind, 2)
    wide(numbers=n).to_csv(tmp_path/'w.csv', index=False)
    label = ['label'] if not n else [f'target{i}' for i in range(n)]
    assert run(tmp_path/'w.csv', '--label', *label, out=tmp_path/'o') == 0
    said = capsys.readouterr().out
    assert {0: 'one of 2 classes for each series', 1: 'a number for each series', 2: '2 numbers for each series'}[n] in said
    assert '32 training, 8 test' in said
    assert ((tmp_path/'o'/'scatter.png').exists(), (tmp_path/'o'/'confusion_matrix.png').exists()) == (bool(n), not n)
    if n: return
    assert main(['predict', str(tmp_path/'o'), str(tmp_path/'w.csv'), '--out', str(tmp_path/'p.csv')]) == 0
    assert len(pd.read_csv(tmp_path/'p.csv')) == 40 and '40 agree' in capsys.readouterr().out


def test_ids_with_leading_zeros(csv, tmp_path):
    "Windows are printed with the ids of the file"
    df = activity(12).assign(subject=lambda o: o.subject.str[1:].str.zfill(3))
    df.to_csv(csv, index=False)
    assert run(csv, *LONG, out=tmp_path/'o') == 0
    for more in ([], ['--id', 'subject']):
        assert main(['predict', str(tmp_path/'o'), str(csv), '--windows', *more, '--out', str(tmp_path/'p.csv')]) == 0
        assert pd.read_csv(tmp_path/'p.csv', dtype=dict(subject=str)).subject.unique().tolist() == [f'{i:03}' for i in range(12)]

def test_columns_of_training_by_name(tmp_path, capsys):
    "The id, label and group of training are found by name, and steps in any order; the table of training is not needed"
    df, out = wide(length=16), tmp_path/'p.csv'
    df.columns = [*(f't{i}' for i in range(16)), 'kind']
    steps, df = list(df.columns[:16]), df.assign(patient=np.arange(40)//3)
    df.insert(0, 'sid', [f'{i:03}' for i in range(40)])
    df.insert(5, 'kind', df.pop('kind'))
    df.to_csv(tmp_path/'w.csv', index=False)
    assert run(tmp_path/'w.csv', '--label', 'kind', '--id', 'sid', '--group', 'patient', out=tmp_path/'o') == 0
    assert json.loads((tmp_path/'o'/'args.json').read_text())['columns'] == list(df.columns)
    shutil.move(tmp_path/'w.csv', tmp_path/'same.csv')
    p = Predictor(tmp_path/'o'/'model')
    want = p(df[steps].to_numpy(np.float32)[:, None])[:, 1].numpy()
    tables = dict(same=df, new=df[['sid', *steps]], reversed=df[['sid', *steps[::-1]]], plain=df[steps], more=df.assign(note='x')[['note', *steps, 'patient', 'kind']])
    for name, table in tables.items():
        if name != 'same': table.to_csv(tmp_path/f'{name}.csv', index=False)
        for model in ('o', 'o/model'):
            capsys.readouterr()
            assert main(['predict', str(tmp_path/model), str(tmp_path/f'{name}.csv'), '--out', str(out)]) == 0, capsys.readouterr().err
            got, said = pd.read_csv(out), capsys.readouterr().out
            assert np.allclose(got[f'p({p.classes[1]})'], want, atol=1e-5), name
            assert ('label' in got) == ('kind' in table) == ('agree with the labels' in said)
            if 'label' in got: assert got.label.tolist() == df.kind.tolist()
    df[['sid', *steps[:3], *steps[5:]]].to_csv(tmp_path/'short.csv', index=False)
    assert main(['predict', str(tmp_path/'o'), str(tmp_path/'short.csv')]) == 1
    assert "lacks 2 of the 16 columns with values that the table of training had: 't3', 't4'" in capsys.readouterr().err
    df[['sid', *steps]].rename(columns=lambda c: c.replace('t', 'x')).to_csv(tmp_path/'other.csv', index=False)      # other names: in order
    assert main(['predict', str(tmp_path/'o'), str(tmp_path/'other.csv'), '--out', str(out)]) == 0
    assert np.allclose(pd.read_csv(out)[f'p({p.classes[1]})'], want, atol=1e-5) and 'label' not in pd.read_csv(out)

def test_folder(tmp_path, capsys):
    "Recordings of unequal length, whose labels and patients are in labels.csv"
    assert run(folder_of_recordings(tmp_path/'rec'), '--label', 'label', '--group', 'patient', out=tmp_path/'o') == 0
    said = capsys.readouterr().out
    for o in ('14 from 14 recordings', '2: acc, hr', 'shorter series have NaN at the end', '7, each in one split alone', 'nan2value puts 0 in their place'): assert o in said
    assert settings_of(tmp_path/'o')['dsid'] == 'rec'
    assert main(['predict', str(tmp_path/'o'), str(tmp_path/'rec'), '--out', str(tmp_path/'p.csv')]) == 0
    table = pd.read_csv(tmp_path/'p.csv')
    assert table.recording.tolist() == [f'r{i:02}.csv' for i in range(14)] and np.allclose(table['p(a)'] + table['p(b)'], 1, atol=1e-5)
    assert main(['predict', str(tmp_path/'o'), str(tmp_path/'rec'/'r03.csv'), '--out', str(tmp_path/'q.csv')]) == 0
    assert pd.read_csv(tmp_path/'q.csv')['p(a)'][0] == pytest.approx(table['p(a)'][3], abs=1e-5)
    o = file_data(settings_from(settings_of(tmp_path/'o')))
    assert Predictor(tmp_path/'o'/'model').predict(o.X).tolist() == table.prediction.tolist()


def test_windows_of_a_folder(tmp_path, capsys):
    assert run(folder_of_recordings(tmp_path/'rec'), '--label', 'label', '--window', '10', out=tmp_path/'o') == 0
    assert '--windows' in capsys.readouterr().out.splitlines()[-2]
    assert main(['predict', str(tmp_path/'o'), str(tmp_path/'rec'), '--windows', '--out', str(tmp_path/'p.csv')]) == 0
    table = pd.read_csv(tmp_path/'p.csv')
    assert table.file.nunique() == 14 and {'start', 'end', 'label', 'p(a)', 'p(b)'} < set(table)


def test_recordings_in_one_table(tmp_path, capsys):
    "Whole recordings, of unequal length, are series of a long table"
    rng = np.random.default_rng(3)
    sizes = rng.integers(20, 30, 12)
    df = pd.DataFrame(dict(id=np.repeat(np.arange(12), sizes), acc=rng.normal(size=sizes.sum()), hr=rng.normal(size=sizes.sum())))
    df.assign(y=df.id % 2).to_csv(tmp_path/'a.csv', index=False)
    assert run(tmp_path/'a.csv', '--id', 'id', '--label', 'y', out=tmp_path/'o') == 0
    df[df.id > 3].to_csv(tmp_path/'new.csv', index=False)
    assert main(['predict', str(tmp_path/'o'), str(tmp_path/'new.csv'), '--out', str(tmp_path/'p.csv')]) == 0
    assert pd.read_csv(tmp_path/'p.csv').recording.tolist() == list(range(4, 12))


def test_arrays(tmp_path, capsys):
    X, y = arrays(tmp_path)
    Xt, yt = arrays(tmp_path, 10, 'Xt')
    assert run(X, '--y', y, '--test', Xt, '--test-y', yt, out=tmp_path/'o') == 0
    assert '40 training, 10 test' in capsys.readouterr().out
    assert main(['predict', str(tmp_path/'o'), str(Xt), '--out', str(tmp_path/'p.csv')]) == 0
    assert len(pd.read_csv(tmp_path/'p.csv')) == 10
    p = Predictor(tmp_path/'o'/'model').predict(np.load(Xt))
    assert (p == np.load(yt)).mean() == pytest.approx(json.loads((tmp_path/'o'/'results.json').read_text())['test']['accuracy'])


def test_one_recording(tmp_path, capsys):
    "The test split is the end of the recording; no step is in two splits, and the held-out windows come before it"
    activity(1, 400).drop(columns='subject').to_csv(tmp_path/'one.csv', index=False)
    s = FileSettings(path=str(tmp_path/'one.csv'), time='t', y='activity', window=20, stride=10, label='step')
    o = TrainingRun(RunSettings(data=s, valid_size=.2)).data
    steps = [set(np.r_[tuple(np.arange(a, b) for a, b in zip(np.searchsorted(np.arange(400)*.02, o.starts[r]), np.searchsorted(np.arange(400)*.02, o.ends[r]) + 1))].tolist()) for r in o.splits]
    assert not steps[0] & steps[1] and not steps[0] & steps[2] and not steps[1] & steps[2]
    assert max(steps[0]) < min(steps[1]) and max(steps[1]) < min(steps[2])
    assert 'one of 3 classes for each step' in data_summary(o)['task'] and 'its end in time' in o.notes[0]
    assert run(tmp_path/'one.csv', '--time', 't', '--label', 'activity', '--window', '20', '--window-label', 'step', out=tmp_path/'o') == 0


def test_test_file(csv, tmp_path, capsys):
    "A file of the test split; channels are found by name"
    other = activity(4)
    other['subject'] = 'x' + other.subject
    other[[*reversed(CHANNELS), 'activity', 't', 'subject']].to_csv(tmp_path/'test.csv', index=False)
    assert run(csv, *LONG, '--test', tmp_path/'test.csv', out=tmp_path/'o') == 0
    assert '150 training (30 groups), 20 test (4 groups)' in capsys.readouterr().out
    s = settings_from(settings_of(tmp_path/'o'))
    o = file_data(s)
    np.testing.assert_array_equal(o.X[150:], read_frame(other, id='subject', time='t', y='activity', window=20, stride=10, channels=CHANNELS).X)
    activity(4).to_csv(tmp_path/'test.csv', index=False)
    assert run(csv, *LONG, '--test', tmp_path/'test.csv', out=tmp_path/'o2') == 0
    assert '4 groups are in' in capsys.readouterr().out


def test_parts_and_parquet(csv, tmp_path):
    "One table in several files, as a pattern, a list or a folder; and a Parquet file"
    df, parts = activity(), tmp_path/'parts'
    parts.mkdir()
    for i in range(3): df[df.subject.isin(df.subject.unique()[10*i:10*i + 10])].to_csv(parts/f'{i}.csv', index=False)
    want = file_data(RunSettings(data=FileSettings(path=str(csv), id='subject', time='t', y='activity', window=20)))
    read = lambda path: file_data(RunSettings(data=FileSettings(path=path, id='subject', time='t', y='activity', window=20)))
    for path in (str(parts), str(parts/'*.csv'), [str(parts/f'{i}.csv') for i in range(3)]):
        got = read(path)
        np.testing.assert_array_equal(got.X, want.X)
        assert got.name == 'parts' and (got.y == want.y).all()
    pytest.importorskip('pyarrow')
    df.to_parquet(tmp_path/'a.parquet')
    np.testing.assert_array_equal(read(str(tmp_path/'a.parquet')).X, want.X)


def test_stored_arrays(tmp_path, capsys):
    "Zarr and HDF5, with the targets in the same file"
    zarr, h5py = pytest.importorskip('zarr'), pytest.importorskip('h5py')
    X, y = (np.load(o) for o in arrays(tmp_path))
    zarr.create_array(str(tmp_path/'X.zarr'), data=X, chunks=(8, 2, 25))
    with h5py.File(tmp_path/'all.h5', 'w') as f: f['X'], f['y'] = X, [o.encode() for o in y]
    assert run(tmp_path/'X.zarr', '--y', tmp_path/'x_y.npy', out=tmp_path/'a') == 0
    assert run(f"{tmp_path/'all.h5'}::X", '--y', f"{tmp_path/'all.h5'}::y", out=tmp_path/'b') == 0
    assert capsys.readouterr().out.count('32 training, 8 test') == 2
    assert (settings_of(tmp_path/'a')['dsid'], settings_of(tmp_path/'b')['dsid']) == ('X', 'all')


def test_report(csv, tmp_path):
    "The page says where the data comes from, and what was noted"
    argv = ['train', str(csv), *LONG, *TINY[:-1], '--out', str(tmp_path/'o')]
    assert main(argv) == 0
    page = (tmp_path/'o'/'report.html').read_text(encoding='utf-8')
    for o in (str(csv), '150 from 30 recordings', '120 training (24 groups), 30 test (6 groups)', 'acc_x', 'published'): assert (o in page) == (o != 'published')


def test_splits(csv):
    "Whole groups at random, by the seed; a share of each class where there are no groups"
    s = FileSettings(path=str(csv), id='subject', time='t', y='activity', window=20, test_size=.5)
    a, b, c = (file_data(RunSettings(data=s, seed=o)) for o in (0, 0, 1))
    assert all((x == y).all() for x, y in zip(a.splits, b.splits)) and set(a.splits[1]) != set(c.splits[1])
    assert len({*a.groups[a.splits[1]]}) == 15 and not {*a.groups[a.splits[0]]} & {*a.groups[a.splits[1]]}
    held = TrainingRun(RunSettings(data=s, valid_size=.4)).data
    parts = [{*held.groups[o]} for o in held.splits]
    assert [len(o) for o in parts] == [9, 6, 15] and not parts[0] & parts[1] and len(set.union(*parts)) == 30
    assert sum(sum(o) for o in class_counts(held).values()) == 90


# ---- resume, keys

def test_resume(csv, tmp_path, capsys, monkeypatch):
    "After an interruption: the weights of a run that was left alone, from a copy of the files too; changed data and other options are refused"
    argv = [csv, *LONG]
    stop, seen = room._Lines.__call__, []
    def interrupted(self, log):
        stop(self, log)
        if log[0] == 1: raise KeyboardInterrupt
    more = ['--epochs', '4', '--batch-tfms', 'standardize']
    tiny = [o for o in TINY if o not in ('--epochs', '1')]
    with monkeypatch.context() as m:
        m.setattr(room, 'CHECKPOINT_SECONDS', 0); m.setattr(room._Lines, '__call__', interrupted)
        assert main(['train', *map(str, argv), *tiny, *more, '--out', str(tmp_path/'o')]) == 130
    assert {o.name for o in (tmp_path/'o').iterdir()} == {'args.json', 'checkpoint.pt'}
    capsys.readouterr()
    resume = lambda *a: main(['train', *map(str, a), '--resume', '--no-report', '--out', str(tmp_path/'o')])
    assert resume(csv, '--window', '30') == 1 and '--window is 30, but the run' in capsys.readouterr().err
    assert resume(csv, '--label', 'acc_x') == 1 and "--label is 'acc_x', but the run" in capsys.readouterr().err
    assert resume('ItalyPowerDemand') == 1 and 'is of activity, not of ItalyPowerDemand' in capsys.readouterr().err
    whole = csv.read_text()
    csv.write_text(whole.replace('0.1', '0.2', 1))
    assert resume() == 1
    err = capsys.readouterr().err
    assert 'is no longer what it was when the run began' in err and str(csv) in err and err.count('\n') == 1
    csv.unlink()
    (tmp_path/'elsewhere').mkdir()
    (tmp_path/'elsewhere'/'activity.csv').write_text(whole)
    assert resume() == 1 and 'no file' in capsys.readouterr().err
    assert resume(tmp_path/'elsewhere'/'activity.csv', '--window', '20') == 0 and 'Going on after epoch' in capsys.readouterr().out
    csv.write_text(whole)
    assert main(['train', *map(str, argv), *tiny, *more, '--out', str(tmp_path/'whole')]) == 0
    assert same(weights(tmp_path/'o'), weights(tmp_path/'whole'))
    assert (tmp_path/'o'/'metrics.csv').read_text() == (tmp_path/'whole'/'metrics.csv').read_text()


def test_settings_of_older_versions(tmp_path, capsys):
    "They have no files"
    assert main(['train', 'ItalyPowerDemand', *TINY, '--out', str(tmp_path/'o')]) == 0
    a = json.loads((tmp_path/'o'/'args.json').read_text())
    a['settings'].pop('data')
    (tmp_path/'o'/'args.json').write_text(json.dumps(a))
    capsys.readouterr()
    assert main(['train', '--resume', '--out', str(tmp_path/'o')]) == 0 and 'is finished' in capsys.readouterr().out
    wide().to_csv(tmp_path/'w.csv')
    assert main(['train', str(tmp_path/'w.csv'), '--resume', '--out', str(tmp_path/'o')]) == 1
    assert 'is of the data set ItalyPowerDemand' in capsys.readouterr().err


def test_key(csv, tmp_path):
    "Content counts, the folder does not"
    s = RunSettings(data=FileSettings(path=str(csv), id='subject', time='t', y='activity', window=20), arch='FCN', arch_args=dict(layers=[4, 4, 4]), epochs=1, bs=16, device='cpu')
    key = run_key(s)
    shutil.copytree(tmp_path, tmp_path.parent/'copy', dirs_exist_ok=True)
    there = msgspec.structs.replace(s, data=msgspec.structs.replace(s.data, path=str(tmp_path.parent/'copy'/'activity.csv')))
    assert run_key(there) == key and run_key(msgspec.structs.replace(s, data=msgspec.structs.replace(s.data, window=10))) != key
    activity().round(2).to_csv(csv, index=False)
    assert run_key(s) != key
    here, there = tmp_path/'here', tmp_path/'there'
    for o in (here, there): o.mkdir(); arrays(o)
    a, b = (run_key(RunSettings(data=FileSettings(path=str(o/'X.npy'), y=str(o/'x_y.npy')))) for o in (here, there))
    assert a == b
    assert run_once(s, tmp_path/'runs')['results']['dataset'] == 'activity'


# ---- what is refused

def long_with(**columns): return lambda tmp: activity(6).assign(**columns).to_csv(tmp/'a.csv', index=False)

def _early(tmp):
    text = activity(6).to_csv(index=False)
    (tmp/'a.csv').write_text(text[:len(text)//2])

def _doubled(tmp):
    df = activity(6)
    pd.concat([df, df.iloc[:3]]).to_csv(tmp/'a.csv', index=False)

def _unequal(tmp):
    (tmp/'parts').mkdir()
    activity(2).to_csv(tmp/'parts'/'a.csv', index=False)
    activity(2).drop(columns='gyr_z').to_csv(tmp/'parts'/'b.csv', index=False)

def _unseen(tmp):
    activity(6).to_csv(tmp/'a.csv', index=False)
    activity(2).replace('rest', 'sleep').to_csv(tmp/'test.csv', index=False)

def _lacking(tmp):
    activity(6).to_csv(tmp/'a.csv', index=False)
    activity(2).rename(columns=dict(gyr_z='gyrz')).to_csv(tmp/'test.csv', index=False)

def _numbers(tmp):
    activity(6).to_csv(tmp/'a.csv', index=False)
    activity(2).assign(activity=.5).to_csv(tmp/'test.csv', index=False)

def _arrays(tmp):
    arrays(tmp)
    np.save(tmp/'short.npy', np.arange(3))

PLAIN = 'train {}/a.csv --id subject --time t --label activity --window 20'
@pytest.mark.parametrize('make, argv, code, words', [
    (long_with(), PLAIN.replace('activity', 'activty'), 1, ["'activty'. Did you mean 'activity'?", '{}/a.csv', '--label names a column']),
    (long_with(), PLAIN + ' --channels acc_x acc_w', 1, ["'acc_w'", 'Did you mean', '--channels']),
    (long_with(note='x'), PLAIN, 1, ["column 'note' holds text", "'x' in row 0", '{}/a.csv', '--channels']),
    (long_with(activity=np.arange(360)), PLAIN + ' --window-label last', 1, ['nearly all different', "{}/a.csv, column 'activity'", '--task numbers']),
    (long_with(activity=[f'n{i}' for i in range(360)]), PLAIN + ' --window-label last', 1, ["column 'activity'", 'look like names']),
    (long_with(activity=np.repeat(list('abcdef'), 60)), PLAIN, 1, ["6 of 6 classes are in one group alone, such as 'a' in 's00'"]),
    (long_with(), PLAIN.replace('20', '200'), 1, ['--window 200 is longer than all 6 recordings', '60 steps', '{}/a.csv']),
    (long_with(), PLAIN + ' --group activity', 1, ["'activity'"]),
    (long_with(), PLAIN.replace('--id subject', '--id t'), 1, ["'t'"]),
    (long_with(), PLAIN.replace('--id subject --time t', '--id subject t').replace(' --window 20', ''), 1, ['each recording has one step', '{}/a.csv']),
    (_early, PLAIN, 1, ['{}/a.csv, line', 'may end early']),
    (_doubled, PLAIN, 1, ["'s00' has the time 0.0 more than once", "column 't'", '--freq … and --fill mean']),
    (_unequal, PLAIN.replace('a.csv', 'parts'), 1, ['{}/parts/b.csv', '{}/parts/a.csv', "lacks ['gyr_z']"]),
    (_unseen, PLAIN + ' --test {}/test.csv', 1, ["'sleep'", '{}/test.csv has 1 class', 'not trained']),
    (_lacking, PLAIN + ' --test {}/test.csv', 1, ["'gyr_z'. Did you mean 'gyrz'?", '{}/test.csv']),
    (_numbers, PLAIN + ' --test {}/test.csv', 1, ['are numbers', 'are classes', '{}/test.csv']),
    (lambda tmp: (tmp/'none').mkdir(), 'train {}/none --label a', 1, ['{}/none', 'it is empty']),
    (_arrays, 'train {}/X.npy --y {}/short.npy', 1, ['40 series and 3 targets']),
    (_arrays, 'train {}/X.npy', 1, ['{}/X.npy', 'without a target', '--label']),
    (_arrays, 'train {}/X.npy --y {}/y.npy', 1, ['--y', '{}/y.npy is no file']),
    (_arrays, 'train {}/X.npy --y {}/x_y.npy --test {}/X.npy', 1, ['--test-y']),
    (_arrays, 'train {}/X.npy --y {}/x_y.npy --time t', 1, ['--time t is for tables']),
    (long_with(), 'train {}/b.csv --label a', 1, ["There is no file", "Did you mean 'a.csv'?"]),
    (long_with(), 'train {}/x/a.csv --label a', 1, ['no folder {}/x']),
    (long_with(), PLAIN + ' --fill acc=linear --freq 0.02', 1, ["['acc']", '--fill names channels']),
    (long_with(), PLAIN + ' --freq 1s', 1, ['--freq 1s', 'are numbers']),
    (long_with(), PLAIN + ' --test-size 0.2 --test {}/a.csv', 2, ['not allowed with']),
    (long_with(), PLAIN + ' --test-size 1', 2, ['a share between 0 and 1']),
    (long_with(), PLAIN + ' --stride 0', 2, ['from 1 up']),
    (long_with(), PLAIN + ' --path {}', 2, ['--path is for names of data sets']),
    (long_with(), PLAIN + ' --fill linear mean', 2, ['CHANNEL=HOW']),
    (long_with(), 'train --label activity {}/a.csv', 2, ['was read as a value of --label', 'tsfast train {}/a.csv --label activity']),
    (long_with(), 'train GunPoint --label activity', 2, ['--label is for files of your own', 'GunPoint']),
    (long_with(), 'train {}/a.csv GunPoint', 1, ['There is no file GunPoint']),
    (long_with(), 'train GunPoint more', 2, ['expected the name of one data set'])], ids=lambda o: o if isinstance(o, str) else '')
def test_refused(tmp_path, capsys, make, argv, code, words):
    "One line that names file, row or column, with the options of the command line; no folder is made"
    make(tmp_path)
    before = {o.name for o in tmp_path.iterdir()}
    assert main([*argv.replace('{}', str(tmp_path)).split(), *TINY, '--out', str(tmp_path/'o')]) == code
    err = capsys.readouterr().err
    assert err.startswith('tsfast: ') and err.count('\n') == 1
    for o in words: assert o.replace('{}', str(tmp_path)) in err, err
    assert {o.name for o in tmp_path.iterdir()} == before


@pytest.mark.skipif(os.name == 'nt' or not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='permissions of POSIX systems, which root passes by')
def test_no_permission(csv, tmp_path, capsys):
    csv.chmod(0)
    assert run(csv, *LONG, out=tmp_path/'o') == 1
    err = capsys.readouterr().err
    assert f'{csv} cannot be read: there is no permission' in err and err.count('\n') == 1


def test_no_permission_for_anyone(csv, tmp_path, capsys, monkeypatch):
    "Said in a sentence"
    def refused(s): raise PermissionError(13, 'Permission denied', str(csv))
    monkeypatch.setattr('tsfast.training.files.file_digest', refused)
    assert run(csv, *LONG, out=tmp_path/'o') == 1
    assert f'{csv} cannot be read: there is no permission' in capsys.readouterr().err and not (tmp_path/'o').exists()


@pytest.mark.parametrize('make, words', [
    (lambda: activity(6).replace({'subject': 's00'}, 'z').assign(activity=lambda d: np.where(d.subject == 'z', 'fall', d.activity)), ["Class 'fall' is in one group alone, 'z'"]),
    (lambda: activity(6).assign(t=lambda d: np.where(d.subject == 's01', 4*d.t, d.t)), ['different steps', "'s01'", '--freq']),
    (lambda: activity(6).iloc[np.r_[0:30, 33:360]], ["'s00' has a hole", '--freq', '--fill']),
    (lambda: activity(6).iloc[10:360].iloc[:-50], ['fewer steps than --window 20', "'s05' has 10"])], ids=['class', 'frequencies', 'hole', 'short'])
def test_notes(tmp_path, capsys, make, words):
    "What a reader warns of is a note among what was understood"
    make().to_csv(tmp_path/'a.csv', index=False)
    assert main(['data', str(tmp_path/'a.csv'), *LONG]) == 0
    said, err = capsys.readouterr()
    notes = [o for o in said.splitlines() if o.startswith('  note')]
    assert not err and any(all(w in o for w in words) for o in notes), said


@pytest.mark.parametrize('text, said', [
    ("Pass id='subject' and y=['a b', 'c']", "Pass --id subject and --label 'a b' c"), ('wide=True or wide=False', '--wide or --long'),
    ('window=100 is longer', '--window 100 is longer'), ("y='/a/y.npy' is no file", '--y /a/y.npy is no file'), ('Name it, y=….', 'Name it, --label ….'),
    ("label='last', 'majority'", "--window-label last, 'majority'"), ("df.drop(columns='id')", "df.drop(columns='id')"),
    ("y names a column", "--label names a column"), ("test_size=0.2", '--test-size 0.2'), ('nothing', 'nothing')], ids=str)
def test_messages_in_options(text, said): assert as_options(text) == said


# ---- names and paths

def test_path_or_name(tmp_path, capsys, monkeypatch):
    "What exists is a path; a folder with the two files of a set is that set; a name beside a file of that name suggests the file"
    from tsfast.data.archive import find_set
    monkeypatch.chdir(tmp_path)
    (tmp_path/'sets'/'Mine').mkdir(parents=True)
    for part, file in zip(('TRAIN', 'TEST'), find_set('ItalyPowerDemand')[1]): shutil.copy(file, tmp_path/'sets'/'Mine'/f'Mine_{part}{file.suffix}')
    assert run('sets/Mine', out=tmp_path/'a') == 0
    by_path = capsys.readouterr().out
    assert run('Mine', '--path', 'sets', out=tmp_path/'b') == 0
    assert capsys.readouterr().out.splitlines()[0] == by_path.splitlines()[0] == 'Mine: 67 training and 1029 test series, 1 channel, 24 steps, 2 classes'
    assert same(weights(tmp_path/'a'), weights(tmp_path/'b')) and settings_of(tmp_path/'a') == settings_of(tmp_path/'b')
    wide().to_csv('GunPoint', index=False)
    assert run('GunPoint', '--label', 'label') == 1 and 'GunPoint ends in' in capsys.readouterr().err
    wide().to_csv('power.csv', index=False)
    assert run('power') == 1 and "Did you mean the file 'power.csv'?" in capsys.readouterr().err
    assert run('power.csv', '--label', 'label') == 0 and (tmp_path/'runs'/'power-FCN'/'results.json').exists()


@pytest.mark.parametrize('path, name', [('a/b.csv', 'b'), (['a/x.csv', 'a/y.csv'], 'a'), ('a/*.csv', 'a'), ('a/sub/**/x*.csv', 'sub')])
def test_names(tmp_path, path, name):
    (tmp_path/'a'/'sub').mkdir(parents=True)
    at = lambda o: str(tmp_path/o)
    assert data_name([at(o) for o in path] if isinstance(path, list) else at(path)) == name


# ---- tsfast data

def test_data_of_a_set(tmp_path, capsys):
    assert main(['data', 'italypowerdemand', '--out', str(tmp_path/'p.png')]) == 0
    said = capsys.readouterr().out
    for o in ('ItalyPowerDemand: univariate, from sktime', '0.9642', '67 training, 1029 test', 'one of 2 classes', 'To train on it:  tsfast train ItalyPowerDemand'): assert o in said
    assert (tmp_path/'p.png').read_bytes()[:4] == b'\x89PNG'
    assert main(['data', 'Covid3Month']) == 0 and 'a number for each series' in capsys.readouterr().out
    assert main(['data', 'ItalyPowerDemand', '--out', str(tmp_path/'p.bad')]) == 1 and 'which is no picture' in capsys.readouterr().err


def test_data_of_files(csv, tmp_path, capsys):
    "The same lines as before training; data that cannot be trained on as well"
    assert main(['data', str(csv), *LONG, '--out', str(tmp_path/'p.svg')]) == 0
    said = capsys.readouterr().out
    assert run(csv, *LONG, out=tmp_path/'o') == 0
    assert said.split('\n\n')[0] == capsys.readouterr().out.split('\n\n')[0] and (tmp_path/'p.svg').exists()
    X, _ = arrays(tmp_path)
    assert main(['data', str(X)]) == 0
    said = capsys.readouterr().out
    assert 'there are no targets' in said and 'without a target' in said and '--label' in said
    activity(1).to_csv(tmp_path/'one.csv', index=False)
    assert main(['data', str(tmp_path/'one.csv'), '--id', 'subject', '--time', 't', '--label', 'activity', '--window', '60', '--window-label', 'last']) == 0
    assert 'splits' not in capsys.readouterr().out.split('note')[0]


def test_data_list(tmp_path, capsys):
    "Sizes of the sets on this machine"
    assert main(['data', '--here', 'italy']) == 0
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row[:9] == ['ItalyPowerDemand', 'univariate', row[2], '67', '+', '1029', '1', '24', '2']
    for argv, code in ((['a', 'b'], 2), (['--label', 'x'], 2), (['--out', 'x.png'], 2), (['nothinglikethis'], 1), (['nothing.csv'], 1)):
        assert main(['data', *argv]) == code
        err = capsys.readouterr().err
        assert err.startswith('tsfast: ') and err.count('\n') == 1

def test_files_with_gaps_and_windows_of_rows(tmp_path, capsys):
    "Labels with a gap stay classes, files of labels of another length are refused, and wide tables are windowed"
    rows = wide(40).drop(columns='label')
    rows.assign(label=pd.array([1, 2]*19 + [None, 2], dtype='Int64')).to_csv(tmp_path/'gap.csv', index=False)
    rows.assign(label=list('ab')*20, who=range(40)).to_csv(tmp_path/'wide.csv', index=False)
    X, _ = arrays(tmp_path)
    (tmp_path/'y.csv').write_text('\n'.join(['up', 'down']*20 + ['up']))
    for argv, code, texts in (
            (['gap.csv', '--label', 'label'], 0, ['one of 2 classes', "1 of 40 series have no target in column 'label'"]), (['gap.csv', '--label', 'label', '--task', 'numbers'], 0, ['a number for each series']),
            (['wide.csv', '--label', 'label', '--id', 'who', '--window', '6'], 0, ['160 from 40 recordings']), (['wide.csv', '--label', 'label', '--window', '6'], 1, ['pass --wide, and windows are cut from each row']),
            ([X.name, '--y', str(tmp_path/'y.csv')], 1, [f"--y {tmp_path/'y.csv'} has 41 values, and there are 40 series"])):
        assert main(['data', str(tmp_path/argv[0]), *argv[1:]]) == code
        said = ''.join(capsys.readouterr())
        for o in texts: assert o in said, said

# ---- numbers to predict

def machines(n=24, steps=60):
    "A row for each step: the target, in hundreds, is told by the frequency of a channel"
    rng = np.random.default_rng(5)
    f = rng.uniform(.1, 1, n)
    t, i = np.tile(np.arange(steps), n), np.repeat(np.arange(n), steps)
    return pd.DataFrame(dict(machine=i, t=t, temp=np.sin(t*f[i]), rul=(1000*f[i]).round(1) + .05))

def test_numbers_are_standardized(tmp_path, capsys):
    "Said first; predictions, figures and bundles stay in the user's units; `--no-standardize-targets` leaves them as they are"
    machines().to_csv(tmp_path/'m.csv', index=False)
    argv = ['train', str(tmp_path/'m.csv'), *'--id machine --time t --label rul --window 20 --epochs 20 --arch FCN --device cpu --no-report'.split()]
    mae = {}
    for out, more in (('on', []), ('off', ['--no-standardize-targets'])):
        assert main([*argv, *more, '--out', str(tmp_path/out)]) == 0
        said = capsys.readouterr().out
        assert ('; standardized for training' in said.split('epoch ')[0]) == (out == 'on')
        mae[out] = json.loads((tmp_path/out/'results.json').read_text())['test']['mae']
        assert settings_of(tmp_path/out)['standardize_targets'] == (out == 'on') == Predictor(tmp_path/out/'model').target.scaled
    y = machines().groupby('machine').rul.first()
    assert mae['on'] < .6*(y - y.mean()).abs().mean() and mae['off'] > 1.5*mae['on']
    p = Predictor(tmp_path/'on'/'model').predict_windows(machines().drop(columns='rul'))
    assert y.min() - 200 < p.prediction.min() < p.prediction.max() < y.max() + 200

def test_an_older_run_goes_on_without_standardized_targets():
    "It was begun without"
    stored = {k: v for k, v in DEFAULTS.items() if k != 'standardize_targets'}
    assert run_settings({}, stored, 'runs/x')['standardize_targets'] is False and run_settings({}, None, 'runs/x')['standardize_targets'] is True
    assert room._is_whole(dict(settings=stored))


# ---- what predictions and reports call series and targets

@pytest.mark.parametrize('suffix', ['csv', 'parquet'])
def test_predictions_are_called_by_the_ids(tmp_path, capsys, suffix):
    "Of a table with a row for each series, as they are written there; with --shard, too"
    df = wide().rename(columns=lambda c: f't{c}' if c.isdigit() else c).assign(patient=[f'{i:03}' for i in range(40)])
    write = lambda df, name: (df.to_csv if suffix == 'csv' else df.to_parquet)(tmp_path/f'{name}.{suffix}', index=False)
    write(df, 'w')
    assert run(tmp_path/f'w.{suffix}', '--id', 'patient', '--label', 'label', out=tmp_path/'o') == 0
    write(df[::-1].drop(columns='label'), 'new')
    for more, rows in (([], slice(None)), (['--shard', '2/2', '--bs', '16', '--overwrite'], slice(32, 40))):
        assert main(['predict', str(tmp_path/'o'), str(tmp_path/f'new.{suffix}'), '--out', str(tmp_path/'p.csv'), *more]) == 0
        p = pd.read_csv(tmp_path/'p.csv', dtype={'patient': str})
        assert list(p.columns[:2]) == ['patient', 'prediction'] and p.patient.tolist() == df.patient[::-1].tolist()[rows]
    write(df.drop(columns=['patient', 'label']), 'bare')
    assert main(['predict', str(tmp_path/'o'), str(tmp_path/f'bare.{suffix}'), '--out', str(tmp_path/'p.csv')]) == 0
    assert pd.read_csv(tmp_path/'p.csv').series.tolist() == list(range(40))

def test_several_targets_keep_their_names(tmp_path, capsys):
    "In predictions of series and of windows, by the bundle alone, and in the report"
    df = machines().assign(wear=lambda o: o.rul/100, start=lambda o: -o.rul)
    df.to_csv(tmp_path/'m.csv', index=False)
    argv = ['train', str(tmp_path/'m.csv'), *'--id machine --time t --label rul wear start --channels temp --window 20'.split(), *[o for o in TINY if o != '--no-report']]
    assert main([*argv, '--out', str(tmp_path/'o')]) == 0
    shutil.copytree(tmp_path/'o'/'model', tmp_path/'b')
    p = Predictor(tmp_path/'b')
    assert p.target.names == ['rul', 'wear', 'start'] and p.config['format_version'] == 6
    table = p.predict_windows(df)
    assert list(table.columns) == ['machine', 'start', 'end', 'rul', 'wear', 'prediction_start']
    assert np.allclose(table[['rul', 'wear', 'prediction_start']], p.predict(file_data(settings_from(settings_of(tmp_path/'o'))).X), rtol=1e-4)
    text = (tmp_path/'o'/'report.html').read_text()
    assert 'output 0' not in text and 'of wear' in text
    np.save(tmp_path/'x.npy', file_data(settings_from(settings_of(tmp_path/'o'))).X[:5])
    assert main(['predict', str(tmp_path/'b'), str(tmp_path/'x.npy'), '--out', str(tmp_path/'p.csv')]) == 0
    assert list(pd.read_csv(tmp_path/'p.csv').columns) == ['series', 'rul', 'wear', 'prediction_start']
    cfg = json.loads((tmp_path/'b'/'config.json').read_text())
    with pytest.raises(ValueError, match='targets is .* 3 names, each once'): check_config({**cfg, 'targets': ['rul', 'wear']})

@pytest.mark.parametrize('times, words', [(lambda t: t, r'\(\d+, from \d+\)'), (lambda t: pd.Timestamp('2024') + pd.to_timedelta(t, unit='h'), r'\(\d+, from 2024-01-0\d \d\d:00:00\)'), (None, r'\(\d+, from step \d+\)')])
def test_a_report_names_windows(tmp_path, capsys, times, words):
    "By their recording and their first step"
    df = machines(8)
    df = df.drop(columns='t') if times is None else df.assign(t=times(df.t))
    df.to_csv(tmp_path/'m.csv', index=False)
    time = [] if times is None else ['--time', 't']
    argv = ['train', str(tmp_path/'m.csv'), *'--id machine --label rul --window 20'.split(), *time, *[o for o in TINY if o != '--no-report']]
    assert main([*argv, '--out', str(tmp_path/'o')]) == 0
    said = re.findall(r'Series \d+ [^:]*(?::\d\d:\d\d)?[^:]*:', (tmp_path/'o'/'report.html').read_text())
    assert said and all(re.search(words, o) for o in said)
