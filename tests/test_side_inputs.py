"Static columns and values known in advance, for every architecture: data, training, predictions, bundles, and what is refused"
import importlib.util, inspect, subprocess, sys

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.mixup import MixUp
from torch import nn

from tsfast.bundle import CONFIG, read_bundle
from tsfast.data.core import TSDataLoaders, TSDatasets, get_ts_dls
import tsfast.data.factories # noqa: it gives TSDataLoaders its methods
from tsfast.data.known import calendar_features
from tsfast.data.recordings import read_frame
from tsfast.data.preprocessing import TSNan2Value, TSStandardize
from tsfast.data.forecast_target import TSForecast
from tsfast.data.targets import TSRegression
from tsfast.data.windows import SlidingWindow
from tsfast.deploy import export_onnx, export_program, to_predictor
from tsfast.inference import Predictor
from tsfast.learner import load_learner, ts_learner
from tsfast.models.fcn import FCN
from tsfast.models.feature_model import FeatureModel
from tsfast.models.heads import body_head_params, output_shape
from tsfast.models.registry import get_arch, list_models
from tsfast.models.side_inputs import SideInputs

N, C, L, H = 24, 2, 40, 5
rng = np.random.default_rng(0)
X = rng.normal(size=(N, C, L)).astype(np.float32)
TABLE = pd.DataFrame(dict(age=rng.normal(40, 9, N), site=rng.choice(['A', 'B', 'C'], N), weight=rng.normal(size=N)))
KNOWN = rng.normal(size=(N, 3, L + H)).astype(np.float32)
y = np.where((X[:, 0].mean(1) > 0) ^ (TABLE.site == 'A'), 'yes', 'no')
FUTURE = rng.normal(size=(N, C, H)).astype(np.float32)
splits = range(16), range(16, N)
SMALL = dict(nf=8, hidden_size=16, d_model=16, d_ff=16, n_heads=2, n_layers=2, encoder_layers=2, num_features=840, k=4, g=8, n_shapelets=280,
             rnn_dropout=0., dropout=0., size=64, d_scalar=4)
ARCHS = list_models()

def small(name): return {k: v for k, v in SMALL.items() if k in inspect.signature(get_arch(name)).parameters}
def dls_of(y=y, tfm=None, **kw):
    return get_ts_dls(X, y, splits=splits, tfms=[None, tfm], **{'static': TABLE, 'bs': 8, 'device': 'cpu', **kw})
def quiet(learn, f=lambda o: o.fit(1, 1e-3)):
    with learn.no_bar(), learn.no_logging(): return f(learn)
def trained(dls, arch='FCN', f=lambda o: o.fit(1, 1e-3), **kw):
    learn = ts_learner(dls, arch, seed=0, **(small(arch) if isinstance(arch, str) else {}), **kw)
    quiet(learn, f)
    return learn
def few(n=5, **kw): return dict(static=TABLE[:n], **kw)


# ---------------------------------------------------------------- every architecture

def one_step(name, c_out, d=None, known=None):
    "A training step and predictions of a small model; built again from its arguments, it predicts the same"
    m = SideInputs(C, c_out, L, d, name, small(name), numbers=2, categories=[4], known=known)
    x = torch.from_numpy(X[:6]), torch.randn(6, 2), torch.randint(0, 4, (6, 1)), *([torch.from_numpy(KNOWN[:6])] if known else [])
    if not m.fitted: m.fit([(x, torch.zeros(6).long())])
    opt = torch.optim.SGD(m.parameters(), 1e-3)
    out = m.train()(*x)
    assert out.shape == (6, *output_shape(c_out, d)) and out.isfinite().all()
    out.square().mean().backward(); opt.step()
    again = SideInputs(**m.init_args)
    again.load_state_dict(m.state_dict())
    with torch.no_grad():
        want = m.eval()(*x)
        assert torch.equal(again.eval()(*x), want) and want.isfinite().all()
        assert m.forward_features(x[0], **dict(zip(m.input_names, x[1:]))).shape[1] == m.head_nf
    return m

@pytest.mark.parametrize('name', ARCHS)
def test_classification(name):
    m = one_step(name, 3)
    assert issubclass(get_arch(name), FeatureModel) == (m.kind == 'columns')
    groups = body_head_params(m)
    ids = {id(p) for p in groups[-1]}
    assert {id(p) for k in ('table', 'mix', 'head') if isinstance(getattr(m, k, None), nn.Module) for p in getattr(m, k).parameters()} <= ids

@pytest.mark.parametrize('name', ARCHS)
def test_regression(name): one_step(name, 1)

@pytest.mark.parametrize('name', ARCHS)
def test_forecast_with_known_values(name):
    m = one_step(name, 1, (C, H), [3, L + H])
    assert bool(m.past) != (name in ('DLinear', 'NLinear', 'PatchTST'))

@pytest.mark.parametrize('name', ['FCN', 'LSTM', 'TST', 'DLinear', 'MiniRocket'])
@pytest.mark.parametrize('c_out,d,known', [(3, (L,), None), (2, None, [3, L + H]), (1, (4,), [3, L + H]), (3, (L,), [3, L]), (1, (C, 7), [3, L + H])])
def test_other_targets(name, c_out, d, known): one_step(name, c_out, d, known)

class Plain(nn.Module):
    "A network of a user, which knows nothing of side inputs"
    head_nf = 4
    def __init__(self, c_in, c_out): super().__init__(); self.conv, self.head = nn.Conv1d(c_in, 4, 3), nn.Linear(4, c_out)
    def forward_features(self, x): return self.conv(x)
    def forward(self, x): return self.head(self.forward_features(x).mean(-1))

class ByName(nn.Module):
    "A network that takes them by name"
    def __init__(self, c_in, c_out): super().__init__(); self.fc = nn.Linear(c_in + 2, c_out)
    def forward(self, x, static_cat, static_cont):
        assert static_cat.shape[1] == 1 and static_cont.shape[1] == 2
        return self.fc(torch.cat([x.mean(-1), static_cont], 1))

def test_networks_of_a_user():
    assert isinstance(trained(dls_of(), Plain).model, SideInputs) and isinstance(trained(dls_of(), ByName).model, ByName)
    with pytest.raises(ValueError, match='takes series alone'): ts_learner(dls_of(), Plain(C, 2))
    given = SideInputs(C, 2, L, arch=Plain(C, 2), numbers=2, categories=[4])
    assert trained(dls_of(), given).model is given
    with pytest.raises(ValueError, match='no method forward_features'): SideInputs(C, 2, L, arch=nn.Linear(2, 2), numbers=1)
    with pytest.raises(ValueError, match='has the inputs other beside'): ts_learner(dls_of(inputs=dict(other=np.zeros(N))), 'FCN')


# ---------------------------------------------------------------- data

def test_statistics_are_of_the_training_split():
    table = TABLE.copy()
    table.loc[20:, 'age'] += 1000; table.loc[3, 'age'] = np.nan
    ds = TSDatasets(X, y, splits=splits, static=table)
    age = table.age[:16].dropna()
    cont = ds.side['static_cont'][:, 0].numpy()
    np.testing.assert_allclose(cont[:3], (table.age[:3] - age.mean())/age.std(ddof=0), rtol=1e-5)
    assert cont[3] == pytest.approx((age.median() - age.mean())/age.std(ddof=0), rel=1e-4) and cont[20] > 50
    assert ds.side['static_cat'][:, 0].tolist() == [1 + 'ABC'.index(o) for o in table.site]
    assert ds.side['static_cont'].dtype == torch.float32 and ds.side['static_cat'].dtype == torch.int64

def test_kinds_of_tables():
    want = TSDatasets(X, y, static=TABLE).side
    for o in (TABLE.to_dict('list'), {k: v.to_numpy() for k, v in TABLE.items()}, TABLE.to_dict('records'), TABLE.set_index('weight', drop=False)):
        got = TSDatasets(X, y, static=o).side
        assert all(torch.equal(got[k], want[k]) for k in want)
    assert TSDatasets(X, y, static=TABLE[['age', 'weight']].to_numpy()).input_shapes['static_cont'] == (2,)
    assert TSDatasets(X, y, static=TABLE.site).input_names == ('series', 'static_cat')
    codes = TSDatasets(X, y, static=dict(code=np.arange(N) % 3), cat_names=['code'])
    assert codes.side['static_cat'].max() == 3 and TSDatasets(X, y, static=dict(code=np.arange(N) % 3)).input_names[1:] == ('static_cont',)
    flags = TSDatasets(X, y, static=dict(flag=np.arange(N) > 9, text=['7']*N), cont_names='text')
    assert flags.input_shapes['static_cont'] == flags.input_shapes['static_cat'] == (1,)

def test_unknown_and_missing_categories():
    table = TABLE.copy()
    table.loc[20, 'site'] = 'D'; table.loc[1, 'site'] = None
    with pytest.warns(UserWarning, match="1 of 24 rows have a category of 'site' .* such as 'D'"): ds = TSDatasets(X, y, splits=splits, static=table)
    assert ds.side['static_cat'][[1, 20], 0].tolist() == [0, 0] and ds.static_columns.sizes == [4]

@pytest.mark.parametrize('static,message', [
    (TABLE[:5], "'age' of static has 5 rows, and there are 24"), (TABLE.assign(born=pd.Timestamp('2001-01-01')), 'holds times'),
    (TABLE.assign(age=np.inf), 'infinite'), (TABLE.assign(age=np.nan), 'missing in all training series'), ('age', 'Expected a data frame'),
    (np.zeros((N, 2, 2)), r'shape \(24, 2, 2\)')])
def test_bad_tables(static, message):
    with pytest.raises(ValueError, match=message): TSDatasets(X, y, static=static)

@pytest.mark.parametrize('given,message', [
    ({}, "static is missing.*'age', 'weight', 'site'"), (dict(static=TABLE[:5].drop(columns='site')), "no column 'site'"),
    (dict(static=TABLE[:5].assign(sex='f')), "has a column 'sex'"), (dict(static=TABLE[:4]), '4 rows, and there are 5'),
    (dict(static=TABLE[:5].to_numpy()), 'static is an array'), (dict(static=TABLE[:5].assign(age='old')), "holds 'old'"),
    (dict(static=TABLE[:5], known=KNOWN[:5]), "known")])
def test_new_data(given, message):
    dls = dls_of()
    with pytest.raises(ValueError, match=message): dls.new_dl(X[:5], **given)
    with pytest.raises(ValueError, match=message): to_predictor(ts_learner(dls, 'FCN', **small('FCN')))(X[:5], **given)

def test_names_that_are_not_there():
    with pytest.raises(ValueError, match="cat_names names 'sites'.*Did you mean 'site'"): dls_of(cat_names='sites')
    with pytest.raises(ValueError, match="in cat_names and in cont_names"): dls_of(cat_names='age', cont_names='age')
    with pytest.raises(ValueError, match="Pass static"): dls_of(static=None, cat_names='age')
    with pytest.raises(ValueError, match='differently'): TSDataLoaders.from_dsets(TSDatasets(X, y, static=TABLE), TSDatasets(X, y, static=TABLE.assign(age=1)))

def test_known_values_and_their_windows():
    times = pd.date_range('2024-01-01', periods=90, freq='1h')
    w = SlidingWindow(L, horizon=H)
    W, Y = w(np.stack([np.arange(90.), np.arange(90.)], 1))
    calendar = calendar_features(times, ('hour', 'weekday'))
    known = w.known(calendar)
    assert known.shape == (len(W), 4, L + H)
    dls = get_ts_dls(W, Y, splits=(range(30), range(30, len(W))), tfms=[None, TSRegression()], known=known, bs=8, device='cpu')
    assert dls.input_names == ('series', 'known_steps') and dls.train_ds.known_values.horizon == H
    train = known[:30]
    np.testing.assert_allclose(dls.train_ds.known_values.mean, train.mean((0, 2)), atol=1e-5)
    for bad, message in ((known[..., :L], 'known has 40 steps, too few. Expected 45: 40 of the series, and 5'), (known[:9], 'a row for each series'),
                         (known*np.nan, 'missing or infinite')):
        with pytest.raises(ValueError, match=message): get_ts_dls(W, Y, tfms=[None, TSRegression()], known=bad)
    with pytest.raises(ValueError, match='2 channels. Expected 4'): dls.new_dl(W[:3], known=known[:3, :2])
    with pytest.raises(ValueError, match='known is missing'): dls.new_dl(W[:3])


def test_columns_of_a_frame(tmp_path):
    "Those that do not change within a recording, by name; also from a file; or a table by recording"
    n = 12
    df = pd.DataFrame(dict(person=np.repeat(np.arange(n), 8), pulse=rng.normal(size=8*n), age=np.repeat(rng.normal(40, 9, n), 8),
                           sex=np.repeat(['f', 'm'], 4*n), label=np.repeat(['a', 'b']*(n//2), 8)))
    dls = TSDataLoaders.from_df(df, id='person', y='label', static=['age', 'sex'], bs=4, device='cpu')
    ds = dls.train_ds
    assert ds.vars == 1 and ds.static_columns.names == ['age', 'sex'] and ds.input_names == ('series', 'static_cont', 'static_cat')
    table = df.groupby('person')[['age', 'sex']].first()
    for o in (TSDataLoaders.from_df(df.drop(columns=['age', 'sex']), id='person', y='label', static=table[::-1], window=4, bs=4, device='cpu'),
              TSDataLoaders.from_df(df, id='person', y='label', static=['age', 'sex'], window=4, bs=4, device='cpu')):
        assert len(o.train_ds.X) == 2*n and o.train_ds.side['static_cat'][:4, 0].tolist() == [1]*4
    df.to_csv(tmp_path/'a.csv', index=False)
    again = TSDataLoaders.from_csv(tmp_path/'a.csv', id='person', y='label', static=['age', 'sex'], bs=4, device='cpu')
    assert torch.allclose(again.train_ds.side['static_cont'], ds.side['static_cont'])
    arrays = TSDataLoaders.from_arrays(X, y, static=TABLE, bs=4, device='cpu')
    assert arrays.train_ds.input_names == ('series', 'static_cont', 'static_cat')
    with pytest.raises(ValueError, match="column 'pulse' is static"): TSDataLoaders.from_df(df, id='person', y='label', static=['pulse', 'sex'])
    assert "static=['age']" in str(read_frame(df.drop(columns='sex'), id='person', y='label'))     # offered


# ---------------------------------------------------------------- training

def test_both_are_needed_and_used():
    "The label is the sign of the series, turned round at one site"
    rng, n = np.random.default_rng(0), 400
    sign, site = rng.choice([-1, 1], n), rng.choice(['A', 'B'], n)
    Z = (rng.normal(size=(n, 1, 20)) + sign[:, None, None]).astype(np.float32)
    labels = np.where((sign > 0) ^ (site == 'A'), 'yes', 'no')
    def accuracy(**kw):
        dls = get_ts_dls(Z, labels, splits=(range(300), range(300, n)), bs=32, device='cpu', **kw)
        learn = trained(dls, FCN, lambda o: o.fit_one_cycle(6, 1e-2), layers=(32, 32, 32))
        p, t = quiet(learn, lambda o: o.get_preds())
        return float((p.argmax(1) == t).float().mean())
    assert accuracy() < .7 and accuracy(static=dict(site=site)) > .95

def test_seed_lr_find_fine_tune_and_dataframes():
    a, b = (trained(dls_of(), f=lambda o: o.fit_one_cycle(2, 1e-2)).model for _ in range(2))
    assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())
    learn = ts_learner(dls_of(), 'FCN', seed=0, **small('FCN'))
    quiet(learn, lambda o: o.lr_find(num_it=12, show_plot=False))
    quiet(learn, lambda o: o.fine_tune(1))
    assert len(learn.opt.param_groups) == 2 and learn.opt.frozen_idx == 0

@pytest.mark.parametrize('name', ['FCN', 'MiniRocket', 'HydraPlus', 'MultiRocketHydra', 'Quant'])
def test_closed_form(name):
    learn = trained(dls_of(), name, lambda o: o.fit_ridge())
    assert learn.ridge['n_features'] == learn.model.head_nf and np.isfinite(learn.validate()).all()
    if name == 'MiniRocket':
        assert learn.ridge['n_features'] == 840 + 2 + 4
        with pytest.raises(ValueError, match='Features of series alone'): learn.prune_features()

def test_pretrained():
    alone = trained(dls_of(static=None))
    learn = ts_learner(dls_of(), pretrained=alone)
    body, there = learn.model.body.state_dict(), alone.model.state_dict()
    assert isinstance(learn.model, SideInputs) and all(torch.equal(body[k], there[k]) for k in body if not k.startswith(('gap', 'fc')))
    quiet(learn, lambda o: o.fine_tune(1))
    back = ts_learner(dls_of(static=None), pretrained=learn)
    assert not isinstance(back.model, SideInputs)

def test_padding_that_is_masked():
    U = X.copy(); U[::3, :, 30:] = np.nan
    dls = get_ts_dls(U, y, splits=splits, static=TABLE, known=KNOWN, bs=8, batch_tfms=TSNan2Value(keep_padding=True), device='cpu')
    learn = trained(dls, 'LSTM')
    assert quiet(learn, lambda o: o.get_preds())[0].isfinite().all()
    with pytest.raises(ValueError, match='FCN does not mask'): ts_learner(dls, 'FCN')
    got = quiet(learn, lambda o: o.get_X_preds(U[:1], static=TABLE[:1], known=KNOWN[:1]))[0]
    changed = KNOWN[:1].copy(); changed[..., 30:L] += 9      # in padded steps
    torch.testing.assert_close(quiet(learn, lambda o: o.get_X_preds(U[:1], static=TABLE[:1], known=changed))[0], got)

def test_what_mixes_series_is_refused():
    with pytest.raises(ValueError, match='MixUp mixes series, and the data has the inputs series, static_cont, static_cat'): trained(dls_of(), cbs=MixUp())

def test_range_and_hidden_layer():
    learn = trained(dls_of(TABLE.age.to_numpy(), TSRegression()), y_range=(0, 90), side_hidden=0)
    assert learn.model.mix is None and 0 < quiet(learn, lambda o: o.get_preds())[0].min()


# ---------------------------------------------------------------- after training

@pytest.fixture(scope='module', params=['FCN', 'MiniRocket', 'forecast'])
def learn(request):
    if request.param != 'forecast': return trained(dls_of(batch_tfms=TSStandardize()), request.param), few()
    return trained(dls_of(FUTURE, TSRegression(standardize=True), known=KNOWN, batch_tfms=TSStandardize(by_var=True)), 'DLinear'), few(known=KNOWN[:5])

def test_predictions(learn):
    learn, new = learn
    p = quiet(learn, lambda o: o.get_X_preds(X[:5], **new))
    encoded = {k: v[:5] for k, v in learn.dls.train_ds.side.items()}
    assert torch.equal(quiet(learn, lambda o: o.get_X_preds(X[:5], inputs=encoded))[0], p[0])
    assert torch.equal(quiet(learn, lambda o: o.get_X_preds(X[:5], inputs=new))[0], p[0])
    assert quiet(learn, lambda o: o.embeddings(X[:5], inputs=new)).shape[1] >= learn.model.head_nf - 6

def test_importance(learn):
    learn, _ = learn
    table = quiet(learn, lambda o: o.feature_importance(n_repeats=1, progress=False))
    want = [0, 1, 'age', 'weight', 'site'] + [f'known {i}' for i in range(3)]*('known_steps' in learn.dls.input_names)
    assert list(table.index) == want and np.isfinite(table.to_numpy()).all()

def test_bundle(learn, tmp_path):
    learn, new = learn
    want = quiet(learn, lambda o: o.get_X_preds(X[:5], **new))[0]
    p = Predictor(learn.save_bundle(tmp_path/'b'))
    assert p.config['format_version'] == 9 and p.config['static']['categories'][0]['classes'] == ['A', 'B', 'C']
    assert torch.equal(p(X[:5], **new), want) and torch.equal(to_predictor(learn)(X[:5], bs=5, **new), want)
    encoded = p.encode_inputs(5, **new)
    assert torch.equal(p(X[:5], **encoded), want)
    columns = dict(series=X[:5], **{k: v.to_numpy() for k, v in new['static'].items()}, **{k: v for k, v in new.items() if k == 'known'})
    out = p(columns)
    assert 'prediction' in out and 'age' in out
    with pytest.warns(UserWarning, match='that the training split has not'): p(X[:5], **{**new, 'static': TABLE[:5].assign(site='Z')})

def test_learner_in_a_pickle(learn, tmp_path):
    learn, new = learn
    want = quiet(learn, lambda o: o.get_X_preds(X[:5], **new))[0]
    learn.export(tmp_path/'l.pkl')
    assert torch.equal(quiet(load_learner(tmp_path/'l.pkl'), lambda o: o.get_X_preds(X[:5], **new))[0], want)

def test_predictor_without_fastai(tmp_path):
    learn, new = trained(dls_of(FUTURE, TSRegression(), known=KNOWN), 'DLinear'), few(known=KNOWN[:5])
    want = quiet(learn, lambda o: o.get_X_preds(X[:5], **new))[0]
    learn.save_bundle(tmp_path/'b'); np.savez(tmp_path/'in.npz', X=X[:5], **({'known': new['known']} if 'known' in new else {}))
    code = f"""import sys, numpy as np
from tsfast.inference import Predictor
a = np.load({str(tmp_path/'in.npz')!r})
p = Predictor({str(tmp_path/'b')!r})
out = p(a['X'], static={TABLE[:5].to_dict('list')!r}, **({{'known': a['known']}} if 'known' in a else {{}}))
np.save({str(tmp_path/'out.npy')!r}, out.numpy())
assert 'fastai' not in sys.modules and 'pandas' not in sys.modules"""
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert not r.returncode, r.stderr
    assert np.array_equal(np.load(tmp_path/'out.npy'), want.numpy())

def test_encoder(tmp_path):
    learn = trained(dls_of())
    p = Predictor(learn.save_bundle(tmp_path/'e', encoder_only=True))
    assert p(X[:3]).shape == (3, learn.model.head_nf - learn.model.side_nf)
    with pytest.raises(ValueError, match='values known in advance'): trained(dls_of(known=KNOWN)).save_bundle(tmp_path/'f', encoder_only=True)

@pytest.mark.parametrize('change,message', [
    (lambda c: c['static']['numbers'].pop(), 'as static says'), (lambda c: c['static']['categories'][0]['classes'].pop(), r"categories is '\[4\]'"),
    (lambda c: c['static']['numbers'][0].update(std=-1.), 'statistics'), (lambda c: c.update(format_version=8), '9 or more'),
    (lambda c: c['static'].update(more=1), 'static')])
def test_forged_sections(tmp_path, change, message):
    import json
    from test_deploy import copy_to
    folder = ts_learner(dls_of(), 'FCN', **small('FCN')).save_bundle(tmp_path/'b')
    cfg = json.loads((folder/CONFIG).read_text())
    change(cfg)
    with pytest.raises(ValueError, match=message): read_bundle(copy_to(folder, tmp_path/'c', cfg, sign=True))

@pytest.mark.skipif(not all(importlib.util.find_spec(o) for o in ('onnx', 'onnxruntime', 'onnxscript')), reason='needs onnx, onnxscript and onnxruntime')
def test_onnx(tmp_path):
    import onnxruntime
    learn, new = trained(dls_of(FUTURE, TSRegression(), known=KNOWN), 'DLinear'), few(known=KNOWN[:5])
    s = onnxruntime.InferenceSession(export_onnx(learn, tmp_path/'m.onnx'), providers=['CPUExecutionProvider'])
    encoded = to_predictor(learn).encode_inputs(5, **new)
    assert [o.name for o in s.get_inputs()] == ['series', *encoded]
    got = s.run(None, dict(series=X[:5], **{k: v.numpy() for k, v in encoded.items()}))[0]
    want = quiet(learn, lambda o: o.get_X_preds(X[:5], **new))[0]
    np.testing.assert_allclose(got, want.numpy(), atol=1e-4)
    torch.testing.assert_close(export_program(learn).module()(torch.from_numpy(X[:5]), *encoded.values()), want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('arch', ['DLinear', 'NLinear', 'PatchTST', 'iTransformer', 'TSMixer', 'LSTM', 'FCN', 'InceptionTime'])
@pytest.mark.parametrize('known', [False, True], ids=['table', 'table and known'])
def test_quantiles_of_forecasts(arch, known):
    "Quantiles are a dimension after the steps, and side inputs add to each"
    rng = np.random.default_rng(0)
    X, table = rng.normal(size=(40, 2, 24)).astype('float32'), pd.DataFrame(dict(age=rng.normal(size=40), sex=[*'fm']*20))
    more = dict(known=rng.normal(size=(40, 1, 24))) if known else {}
    dls = get_ts_dls(X[..., :18], X[..., 18:], splits=(range(30), range(30, 40)), tfms=[None, TSForecast(quantiles=(.1, .5, .9))], static=table, bs=8, device='cpu', **more)
    learn = ts_learner(dls, arch, seed=0)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    p = learn.get_preds()[0]
    assert p.shape == (10, 2, 6, 3) and (p.diff(dim=-1) >= 0).all()
