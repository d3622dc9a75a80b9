"Static columns of one's own files: `tsfast train --static`, `predict`, `--resume`, the report, the card; and what is refused"
import json

import msgspec
import numpy as np
import pandas as pd
import pytest

from tsfast.cli import main
from tsfast.data.core import TSDataLoaders
from tsfast.data.file_parts import static_parts
from tsfast.data.files import read_data
from tsfast.data.recordings import read_frame
from tsfast.data.static import fit_static
from tsfast.inference import Predictor
from tsfast.publish import write_model_card
from tsfast.settings import FileSettings, RunSettings, settings_from, settings_json
from tsfast.training import file_data, run_key
from tsfast.training.summary import data_summary

TINY = ['--arch', 'FCN', '--arch-args', 'layers=[4,4,4]', '--epochs', '1', '--bs', '16', '--device', 'cpu', '--no-report']
STATIC = ['--static', 'age', 'sex']

def wide(n=40, length=12):
    "A row for each series, with an age, a sex and a label between and behind the values"
    rng = np.random.default_rng(0)
    df = pd.DataFrame(rng.normal(size=(n, length)).round(3)).rename(columns=str)
    df.insert(3, 'age', rng.integers(20, 80, n))
    return df.assign(sex=rng.choice(['f', 'm'], n), label=np.where(np.arange(n) % 2, 'flat', 'wave'))

def long(n=20, steps=10):
    "A row for each step, whose recording has an age and a sex; some rows do not say them"
    rng = np.random.default_rng(1)
    age, sex = rng.integers(20, 80, n).astype(float), rng.choice(['f', 'm'], n)
    df = pd.DataFrame(dict(id=np.repeat([f'p{i:02}' for i in range(n)], steps), t=np.tile(np.arange(steps), n), acc=rng.normal(size=n*steps).round(3),
                           hr=rng.normal(size=n*steps).round(3), age=np.repeat(age, steps), sex=np.repeat(sex, steps), y=np.repeat(np.array(['a', 'b'])[np.arange(n) % 2], steps)))
    df.loc[df.t == 3, ['age', 'sex']] = None
    return df

LONG = '--id id --time t --label y'.split()

@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    d = tmp_path_factory.mktemp('files')
    wide().to_csv(d/'wide.csv', index=False)
    long().to_csv(d/'long.csv', index=False)
    return d

@pytest.fixture(scope='module')
def trained(folder):
    "A run of the wide table"
    assert main(['train', str(folder/'wide.csv'), '--label', 'label', *STATIC, *TINY, '--out', str(folder/'w')]) == 0
    return folder/'w'

def predictions(*argv): return main(['predict', *map(str, argv)])


# ---- reading

def test_read_wide_and_long():
    data = read_frame(wide(), y='label', static=['age', 'sex'])
    assert data.X.shape == (40, 1, 12) and data.static.equals(wide()[['age', 'sex']]) and 'static' in data.summary()
    data = read_frame(long(), 'id', 't', y='y', static=['sex', 'age'])
    assert data.channels == ['acc', 'hr'] and list(data.static) == ['sex', 'age'] and len(data.static) == 20 and not data.static.isna().any(axis=None)
    want = long().groupby('id')[['sex', 'age']].first()
    assert data.static.equals(want.loc[data.ids].reset_index(drop=True))
    windows = read_frame(long().drop(columns='sex'), 'id', 't', y='y', window=4, static='age')
    assert windows.static.age.tolist() == want.age[windows.ids].tolist() and len(windows) == 40

def test_rows_without_target_are_left_out():
    df = wide()
    df.loc[[1, 5], 'label'] = None
    with pytest.warns(UserWarning, match='have no target'): data = read_frame(df, y='label', static=['age', 'sex'])
    assert data.static.age.tolist() == df.age.drop([1, 5]).tolist() and len(data) == 38

def test_loaders_from_csv(folder):
    dls = TSDataLoaders.from_csv(str(folder/'long.csv'), id='id', time='t', y='y', static=['age', 'sex'], bs=8)
    assert dls.input_names == ('series', 'static_cont', 'static_cat') and dls.train_ds.static_columns.names == ['age', 'sex']

@pytest.mark.parametrize('args, said', [
    (dict(static='aeg'), "static names a column that is not there: 'aeg'. Did you mean 'age'?"),
    (dict(static=['age', 'sex', 'y']), "column 'y' is named in y= and in static="),
    (dict(static=['age', 'sex', 'hr']), "column 'hr' is static, static='hr', and changes within 20 of 20 recordings, such as 'p00',"),
    (dict(static='age'), "column 'sex' holds text in 180 of 200 rows, such as")])
def test_refused_columns(args, said):
    with pytest.raises(ValueError) as e: read_frame(long(), 'id', 't', y='y', **args)
    assert said in str(e.value)

def test_arrays_have_no_columns(tmp_path):
    np.save(tmp_path/'X.npy', np.zeros((4, 1, 8), np.float32))
    with pytest.raises(ValueError, match="static='age' is for tables, and .* has no columns"): read_data(str(tmp_path/'X.npy'), static='age')

def test_a_file_for_the_test_split(folder, tmp_path):
    wide(10).to_csv(tmp_path/'test.csv', index=False)
    s = FileSettings(path=str(folder/'wide.csv'), y='label', static=['age', 'sex'], test=str(tmp_path/'test.csv'))
    data = file_data(RunSettings(data=s))
    assert len(data.static) == len(data.X) == 50 and data.static.age[40:].tolist() == wide(10).age.tolist()
    wide(10).assign(age='old').to_csv(tmp_path/'test.csv', index=False)
    with pytest.raises(ValueError, match="Column 'age' of static holds numbers in .*wide.csv, and categories in .*test.csv"): file_data(RunSettings(data=s))


# ---- settings

def test_settings(folder):
    s = RunSettings(data=FileSettings(path=str(folder/'wide.csv'), y='label', static=['age', 'sex']))
    assert settings_from(settings_json(s)) == s and s.data.static == ['age', 'sex']
    keys = {run_key(msgspec.structs.replace(s, data=msgspec.structs.replace(s.data, static=o, channels=[str(i) for i in range(12)]))) for o in (None, 'age', ['age', 'sex'])}
    assert len(keys) == 3
    assert data_summary(file_data(s))['static'] == 'age (numbers), sex (2 categories)'
    with pytest.raises(ValueError, match='static is 3'): FileSettings(path='a.csv', static=3)


# ---- the command line

def test_train(trained, capsys):
    bundle = json.loads((trained/'model'/'config.json').read_text())
    assert [o['name'] for o in bundle['static']['numbers']] == ['age'] and bundle['static']['categories'][0]['classes'] == ['f', 'm']
    assert json.loads((trained/'args.json').read_text())['settings']['data']['static'] == ['age', 'sex']
    results = json.loads((trained/'results.json').read_text())
    assert results['arch'] == 'FCN' and results['static'] == ['age', 'sex']

def test_resume(trained, folder, capsys):
    assert main(['train', '--resume', '--out', str(trained)]) == 0 and 'is finished' in capsys.readouterr().out
    assert main(['train', str(folder/'wide.csv'), '--static', 'sex', '--resume', '--out', str(trained)]) != 0
    assert "--static is 'sex', but the run in" in capsys.readouterr().err

def test_predict_by_name(trained, folder, tmp_path, capsys):
    "Columns in another order, without label, in parts, in Parquet; and as in Python"
    df = wide()
    new = df[['sex', *map(str, range(12)), 'age']]
    new.to_csv(tmp_path/'new.csv', index=False)
    new.to_parquet(tmp_path/'new.parquet')
    p = Predictor(trained/'model')
    want = p.predict_proba(df[list(map(str, range(12)))].to_numpy(np.float32), static=df[['age', 'sex']])
    for file, more in (('new.csv', []), ('new.parquet', []), ('new.csv', ['--bs', '7'])):
        assert predictions(trained, tmp_path/file, '--out', tmp_path/'p.csv', *more) == 0
        np.testing.assert_allclose(pd.read_csv(tmp_path/'p.csv')[['p(flat)', 'p(wave)']], want, atol=1e-5)
    assert 'FCN in SideInputs' in capsys.readouterr().out
    for i in (1, 2): assert predictions(trained, tmp_path/'new.csv', '--bs', '8', '--shard', f'{i}/2', '--out', tmp_path/'part-{i}.csv') == 0
    parts = pd.concat([pd.read_csv(tmp_path/f'part-{i}.csv') for i in (1, 2)])
    np.testing.assert_allclose(parts['p(flat)'], want[:, 0], atol=1e-5)

def test_bundle_alone(trained, tmp_path):
    "Without the folder of the run the columns are known by the bundle"
    wide().to_csv(tmp_path/'all.csv', index=False)
    (trained/'model').rename(tmp_path/'model')
    try: assert predictions(tmp_path/'model', tmp_path/'all.csv', '--out', tmp_path/'p.csv') == 0
    finally: (tmp_path/'model').rename(trained/'model')
    assert len(pd.read_csv(tmp_path/'p.csv')) == 40

def test_predict_refused(trained, tmp_path, capsys):
    wide().drop(columns=['sex', 'age']).to_csv(tmp_path/'lacks.csv', index=False)
    assert predictions(trained, tmp_path/'lacks.csv') != 0
    assert "lacks the static columns 'age', 'sex', which the model takes beside the series. It has '0', '1'" in capsys.readouterr().err
    np.save(tmp_path/'X.npy', np.zeros((4, 1, 12), np.float32))
    assert predictions(trained, tmp_path/'X.npy') != 0
    assert "X.npy has no names of columns, and the model takes the static columns 'age', 'sex'" in capsys.readouterr().err

def test_recordings_and_windows(folder, tmp_path, capsys):
    "Whole recordings, and windows of them, with the row of their recording"
    for name, more, flag in (('l', [], []), ('lw', ['--window', '5'], ['--windows'])):
        assert main(['train', str(folder/'long.csv'), *LONG, *STATIC, *more, *TINY, '--out', str(tmp_path/name)]) == 0
        assert predictions(tmp_path/name, folder/'long.csv', '--out', tmp_path/f'{name}.csv', *flag) == 0
    df = long()
    p, found = Predictor(tmp_path/'lw'/'model'), pd.read_csv(tmp_path/'lw.csv')
    data = read_frame(df, 'id', 't', y='y', window=5, static=['age', 'sex'])
    assert found.id.tolist() == data.ids.tolist() and len(found) == 40
    np.testing.assert_allclose(found['p(a)'], p.predict_proba(data.X[:], static=data.static)[:, 0], atol=1e-5)
    whole = read_frame(df, 'id', 't', y='y', static=['age', 'sex'])
    np.testing.assert_allclose(pd.read_csv(tmp_path/'l.csv')['p(a)'], Predictor(tmp_path/'l'/'model').predict_proba(whole.X, static=whole.static)[:, 0], atol=1e-5)
    df.drop(columns='sex').to_csv(tmp_path/'lacks.csv', index=False)
    capsys.readouterr()
    assert predictions(tmp_path/'lw', tmp_path/'lacks.csv', '--windows') != 0 and "lacks the static column 'sex'" in capsys.readouterr().err
    df.assign(age=np.arange(len(df))).to_csv(tmp_path/'rises.csv', index=False)
    assert predictions(tmp_path/'lw', tmp_path/'rises.csv', '--windows') != 0 and "changes within the recording" in capsys.readouterr().err

def test_train_refused(folder, tmp_path, capsys):
    said = lambda *more: (main(['train', str(folder/'wide.csv'), '--label', 'label', *more, '--out', str(tmp_path/'x')]), capsys.readouterr().err)
    code, err = said('--static', 'sec', *TINY)
    assert code and "--static names a column that is not there: 'sec'. Did you mean 'sex'?" in err
    code, err = said(*STATIC, '--preset', 'fast')
    assert code and 'the data has static columns. Train a network instead, without --preset' in err
    code, err = said(*STATIC, '--arch', 'FCN', '--ridge', '--no-report')
    assert code and '--ridge is for models with fixed features' in err
    assert main(['train', 'ECGFiveDays', '--static', 'age', '--out', str(tmp_path/'x')]) and '--static is for files of your own' in capsys.readouterr().err

def test_static_parts(tmp_path):
    "Text stays text, also where a part of the file has digits alone; decimal commas are numbers"
    pd.DataFrame(dict(a=['1,5', '2,5', '', '4,5'], ward=['07', '8', 'B', 'None'])).to_csv(tmp_path/'t.csv', sep=';', index=False)
    columns = fit_static(dict(a=[1.5, 2.5, 3.5], ward=['07', '8', 'B']))
    parts = list(static_parts(tmp_path/'t.csv', columns, rows=2, span=(1, 4)))
    assert [len(o) for o in parts] == [2, 1] and parts[0].ward.tolist() == ['8', 'B'] and parts[1].ward.tolist() == ['None']
    np.testing.assert_array_equal(np.concatenate([o.a for o in parts]), [2.5, np.nan, 4.5])


# ---- report and card

def test_report_and_card(tmp_path):
    wide(80).to_csv(tmp_path/'more.csv', index=False)
    dls = TSDataLoaders.from_csv(str(tmp_path/'more.csv'), y='label', static=['age', 'sex'], bs=16)
    from tsfast.learner import ts_learner
    import tsfast.report, tsfast.deploy     # noqa: F401   # they give the learner its methods
    learn = ts_learner(dls, 'FCN', layers=[4, 4, 4], seed=0)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-2)
    page = learn.report(tmp_path/'report.html').read_text()
    for o in ('static columns', 'The static columns, in the training series', 'age (beside the series)', 'sex (beside the series)', '2 categories', 'FCN in SideInputs',
              'predictor.predict(X, static=static)'): assert o in page, o
    assert 'could not be made' not in page and 'static_cont' not in page
    card = write_model_card(learn.save_bundle(tmp_path/'model')).read_text()
    for o in ('FCN in SideInputs for time series', 'with static columns', '| static numbers | `age` |', '| static categories | `sex` |', 'p.predict(X, static=static)'): assert o in card, o
