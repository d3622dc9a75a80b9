"Names of the columns of a wide table: from frames and files to loaders, bundles, predictors and the command line"
import json

import numpy as np
import pandas as pd
import pytest
import torch

from tsfast.bundle import check_config
from tsfast.cli import main
from tsfast.data.core import TSDataLoaders, get_ts_dls
from tsfast.data.factories import read_frame
from tsfast.data.preprocessing import TSStandardize
from tsfast.deploy import to_predictor
from tsfast.inference import CONFIG, Predictor
from tsfast.learner import load_learner, ts_learner
from tsfast.models.fcn import FCN
from tsfast.training import TrainingRun
from tsfast.settings import FileSettings, RunSettings

N, L = 40, 12
rng = np.random.default_rng(0)
X = rng.normal(size=(N, L)).astype(np.float32)
y = np.array(['no', 'yes'])[np.arange(N) % 2]
steps = [f't{i}' for i in range(L)]
wide = pd.DataFrame(X, columns=steps)
mixed = wide[[steps[i] for i in rng.permutation(L)]]
two = pd.DataFrame(X, columns=[f'{c}_{i}' for c in ('up', 'down') for i in range(L//2)])

def learner(dls):
    learn = ts_learner(dls, FCN, layers=[4, 4, 4], seed=0)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-2)
    return learn

def of_frame(df, **kwargs): return learner(TSDataLoaders.from_df(df, batch_tfms=TSStandardize(), bs=8, device='cpu', **kwargs))

@pytest.fixture(scope='module')
def trained(): return of_frame(wide.assign(label=y), y='label')

@pytest.fixture(scope='module')
def bundle(trained, tmp_path_factory): return trained.save_bundle(tmp_path_factory.mktemp('steps')/'b')


def test_a_frame_in_any_order(trained, bundle, tmp_path):
    p, cfg = Predictor(bundle), json.loads((bundle/CONFIG).read_text())
    assert cfg['series']['columns'] == p.columns == steps and cfg['format_version'] == 5
    want = p(X[:, None])
    trained.export(tmp_path/'learn.pkl')
    with pytest.warns(UserWarning): again = load_learner(tmp_path/'learn.pkl')
    for o in (p, to_predictor(trained), lambda X: trained.get_X_preds(X)[0], lambda X: again.get_X_preds(X)[0]):
        for df in (wide, mixed, wide.set_axis(range(L), axis=1), wide.set_axis([f'2030-01-{i + 1:02}' for i in range(L)], axis=1)):
            assert torch.equal(o(df), want)
    pl = pytest.importorskip('polars')
    assert torch.equal(p(pl.from_pandas(mixed)), want)

def test_a_missing_and_an_unknown_column(trained, bundle):
    for o in (Predictor(bundle), trained.get_X_preds):
        with pytest.raises(ValueError, match=r"X lacks 2 of the 12 columns of training: \['t3', 't7'\]"): o(mixed.drop(columns=['t3', 't7']))
        with pytest.raises(ValueError, match=r"lacks 1 of .*\['t3'\].* It has \['t_3'\].* Did you mean"): o(wide.rename(columns=dict(t3='t_3')))
        with pytest.raises(ValueError, match=r"X has the columns \['t12'\], which are no steps of training.*X.to_numpy"): o(wide.assign(t12=0.))
        with pytest.raises(ValueError, match="X has a column more than once"): o(pd.concat([wide, wide[['t1']]], axis=1))

def test_loaders_of_a_frame(tmp_path):
    learn = learner(get_ts_dls(wide, y, batch_tfms=TSStandardize(), bs=8, device='cpu'))
    p = Predictor(learn.save_bundle(tmp_path/'b'))
    assert p.columns == steps and torch.equal(p(mixed), p(X[:, None])) and learn.dls.train_ds.columns == steps

@pytest.mark.parametrize('names', [range(L), range(1, L + 1), [str(i) for i in range(L)], ['t0' + 'x'*1000, *steps[1:]]], ids=['from 0', 'from 1', 'texts', 'too long'])
def test_names_that_only_count_are_not_stored(tmp_path, names):
    df = wide.set_axis(list(names), axis=1)
    assert read_frame(df, wide=True).columns is None
    p = Predictor(learner(get_ts_dls(df, y, bs=8, device='cpu')).save_bundle(tmp_path/'b'))
    assert p.columns is None and p.config['format_version'] == 1 and torch.equal(p(df), p(X[:, None])) and torch.equal(p(mixed), p(mixed.to_numpy()))

def test_several_channels(tmp_path):
    learn = of_frame(two.assign(label=y), y='label')
    p = Predictor(learn.save_bundle(tmp_path/'b'))
    assert p.channels == ['up', 'down'] and p.columns == list(two) and p.config['format_version'] == 5
    want = p(X.reshape(N, 2, -1))
    turned = two[list(two)[::-1]]
    for o in (p, lambda X: learn.get_X_preds(X)[0]):
        for df in (two, turned, two.set_axis(pd.MultiIndex.from_tuples([tuple(c.split('_')) for c in two]), axis=1)): assert torch.equal(o(df), want)
    with pytest.raises(ValueError, match=r"X has columns that are not numbers: \['up_0'\]"): p(two.assign(up_0='a'))
    assert read_frame(two.assign(label=y), y='label', window=3, wide=True).columns is None       # windows have other steps

def test_selected_steps(tmp_path):
    p = Predictor(learner(get_ts_dls(wide, y, sel_steps=slice(2, 8), bs=8, device='cpu')).save_bundle(tmp_path/'b'))
    assert p.columns == steps and torch.equal(p(mixed), p(X[:, None]))

def test_old_bundles(bundle, tmp_path):
    cfg = json.loads((bundle/CONFIG).read_text())
    del cfg['series']['columns']
    for version in (1, 4): check_config({**cfg, 'format_version': version})

@pytest.mark.parametrize('value,text', [
    (steps[1:], 'Expected 12 names, one for each value'), ([*steps[1:], 't1'], 'Expected each name once'), ('t', 'series.columns is'),
    ([*steps[1:], 3], r'series.columns\[11\] is .3.'), (None, 'series.columns is'), ([*steps[1:], 'h'*2000], 'series.columns'),
    (['a']*10**5, 'series.columns')])
def test_forged(bundle, value, text):
    cfg = json.loads((bundle/CONFIG).read_text())
    cfg['series']['columns'] = value
    with pytest.raises(ValueError, match=text): check_config(cfg)


# files and the command line
def predicted(model, table, out, capsys):
    capsys.readouterr()
    assert main(['predict', str(model), str(table), '--out', str(out)]) == 0, capsys.readouterr().err
    return pd.read_csv(out)

@pytest.mark.parametrize('suffix', ['csv', 'parquet'])
@pytest.mark.parametrize('df', [wide, two], ids=['one channel', 'two channels'])
def test_a_bundle_alone_on_the_command_line(tmp_path, capsys, df, suffix):
    p = to_predictor(of_frame(df.assign(label=y), y='label'))
    b = of_frame(df.assign(label=y), y='label').save_bundle(tmp_path/'b')
    want = p(X.reshape(N, -1, L if df is wide else L//2))[:, 1].numpy()
    turned, write = df[list(df)[::-1]], lambda o, f: o.to_csv(f, index=False) if suffix == 'csv' else o.to_parquet(f)
    for table in (df, turned, turned.assign(label=y), turned.assign(label=y, note='x', age=3)):
        write(table, f := tmp_path/f't.{suffix}')
        got = predicted(b, f, tmp_path/'p.csv', capsys)
        assert np.allclose(got['p(yes)'], want, atol=1e-5) and ('label' in got) == ('label' in table)
    write(df.iloc[:, :-1].assign(more=1.), f)
    assert main(['predict', str(b), str(f)]) == 1
    assert f"lacks 1 of the 12 columns with values that the table of training had: {df.columns[-1]!r}" in capsys.readouterr().err

@pytest.mark.parametrize('df', [wide, two], ids=['one channel', 'two channels'])
def test_a_run_of_files(tmp_path, capsys, df):
    "The columns of a test file, too, are found by name"
    table = df.assign(label=y)
    table.iloc[:30].to_csv(tmp_path/'a.csv', index=False)
    table.iloc[30:, ::-1].to_csv(tmp_path/'b.csv', index=False)
    data = FileSettings(path=str(tmp_path/'a.csv'), test=str(tmp_path/'b.csv'), y='label')
    run = TrainingRun(RunSettings(data=data, arch='FCN', epochs=1, device='cpu'))
    assert np.array_equal(run.data.X.reshape(N, L), X) and run.data.columns == list(df)
    assert run.learner().dls.train_ds.columns == list(df)
