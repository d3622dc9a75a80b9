"A model of two inputs beside the series: pipeline, bundle, predictor, exported program and ONNX"
import importlib.util, json

import numpy as np
import pytest
import torch
from torch import nn

from tsfast.bundle import CONFIG, FORMAT, VERSION, read_bundle
from tsfast.deploy import export_onnx, export_program, write_bundle
from tsfast.inference import Predictor
from tsfast.models import registry
from tsfast.models.pipeline import Pipeline
from tsfast.models.registry import register_model
from tsfast.models.scaling import ScaleSeries

N, C, L = 9, 2, 12
gen = torch.Generator().manual_seed(0)
X, age, place = torch.randn(N, C, L, generator=gen), torch.randn(N, 3, generator=gen), torch.randint(0, 4, (N,), generator=gen)

class WithAge(nn.Module):
    "Static numbers and a category beside the series; their order in `forward` is not that of the data"
    def __init__(self, c_in, c_out, seq_len=None, places=4):
        super().__init__()
        self.conv, self.embed, self.fc = nn.Conv1d(c_in, 4, 3), nn.Embedding(places, 2), nn.Linear(9, c_out)
    def forward(self, x, place, age): return self.fc(torch.cat([self.conv(x).mean(-1), self.embed(place), age], 1))

@pytest.fixture
def parts():
    "Configuration and pipeline of a classifier"
    register_model(WithAge)
    try:
        torch.manual_seed(0)
        scale = ScaleSeries('standard', torch.full((1, C, 1), .5), torch.full((1, C, 1), 2.))
        pipeline = Pipeline([scale], WithAge(C, 2, L), 'softmax', input_names=('series', 'age', 'place')).eval()
        cfg = dict(format=FORMAT, format_version=VERSION, architecture=dict(name='WithAge', arguments=pipeline.model.init_args), series=dict(channels=C, length=L),
                   preprocessing=[scale.to_config()], target=dict(kind='classification', classes=['no', 'yes'], shape=None, threshold=None, standardized=False),
                   activation='softmax', temperature=None, training={}, versions={},
                   inputs=[dict(name='age', shape=[3], dtype='float32'), dict(name='place', shape=[], dtype='int64')])
        yield cfg, pipeline
    finally: registry._archs.pop('WithAge', None)

@pytest.fixture
def folder(parts, tmp_path):
    return write_bundle(*parts, tmp_path/'b', (X, age, place))

def test_pipeline(parts):
    "Only the series are preprocessed, and each input finds its parameter"
    model, got = parts[1].model, parts[1](X, age, place)
    assert torch.equal(got, model((X - .5)/2, place, age).softmax(-1))
    with pytest.raises(ValueError, match='weight'): Pipeline([], model, input_names=('series', 'age', 'place', 'weight'))
    with pytest.raises(ValueError, match='place'): Pipeline([], model, input_names=('series', 'age'))

def test_bundle_and_predictor(parts, folder):
    p, want = Predictor(folder), parts[1](X, age, place)
    assert p.config['format_version'] == VERSION and [o['name'] for o in p.config['inputs']] == ['age', 'place']
    torch.testing.assert_close(p(X, place=place, age=age), want)
    torch.testing.assert_close(p(X, bs=4, age=age.numpy(), place=place.tolist()), want)
    assert p.predict(X, age=age, place=place).tolist() == np.array(['no', 'yes'])[want.argmax(1)].tolist()
    assert p.predict_proba(X, age=age, place=place).shape == (N, 2)
    torch.testing.assert_close(Predictor.from_parts(*parts)(X, age=age, place=place), want)

@pytest.mark.parametrize('side,text', [
    (dict(age=age), "input 'place' is missing.*age, place"), ({}, "input 'age' is missing"), (dict(age=age, place=place, weight=age), "no input 'weight'"),
    (dict(age=age[:, :2], place=place), r"'age' has shape \(9, 2\). Expected \(9, 3\)"), (dict(age=age[:4], place=place[:4]), r"'age' has shape \(4, 3\)"),
    (dict(age=age, place=place[:, None]), r"'place' has shape \(9, 1\). Expected \(9,\)"),
    (dict(age=age, place=place + .5), "'place' has dtype"), (dict(age=age*torch.nan, place=place), "'age' has missing or infinite values"), (dict(age=['x']*N, place=place), "'age'"),
    (dict(age=age.double()*1e300 + 1e300, place=place), "'age' has missing or infinite values"),
    (dict(age=age*1j, place=place), "'age' has shape .* dtype complex64")])
def test_what_a_predictor_refuses(folder, side, text):
    with pytest.raises(ValueError, match=text): Predictor(folder)(X, **side)

def test_one_input_refuses_more(tmp_path):
    from test_deploy import make, X
    with pytest.raises(ValueError, match="no input 'age'. This model takes X alone"): Predictor(make(train=False).save_bundle(tmp_path/'b'))(X, age=X)

@pytest.mark.parametrize('inputs,text', [
    ([dict(name='age', shape=[3], dtype='float32')], 'has no input'), ([dict(name='bs', shape=[3], dtype='float32')], 'each name once'),
    ([dict(name='age', shape=[2**30], dtype='float32')], 'inputs'), ([dict(name='age', shape=[3], dtype='float64')], 'inputs'), ([dict(name='age', shape=[3])], 'dtype'),
    ([dict(name='age', shape=[5], dtype='float32'), dict(name='place', shape=[], dtype='int64')], 'cannot predict'), ([], 'cannot predict')])
def test_forged_inputs(parts, folder, tmp_path, inputs, text):
    from test_deploy import copy_to
    cfg = {**json.loads((folder/CONFIG).read_text()), 'inputs': inputs}
    with pytest.raises(ValueError, match=text): read_bundle(copy_to(folder, tmp_path/'c', cfg, sign=True))

def test_exported_program(parts, folder):
    prog = export_program(Predictor(folder))
    for n in (1, 4): torch.testing.assert_close(prog.module()(X[:n], age[:n], place[:n]), parts[1](X[:n], age[:n], place[:n]))

@pytest.mark.skipif(not all(importlib.util.find_spec(o) for o in ('onnx', 'onnxruntime', 'onnxscript')), reason='needs onnx, onnxscript and onnxruntime')
def test_onnx(parts, folder, tmp_path):
    "Its inputs have the names"
    import onnxruntime
    s = onnxruntime.InferenceSession(export_onnx(Predictor(folder), tmp_path/'m.onnx'), providers=['CPUExecutionProvider'])
    assert [(o.name, o.shape) for o in s.get_inputs()] == [('series', ['batch', C, L]), ('age', ['batch', 3]), ('place', ['batch'])]
    for n in (1, 4):
        got = s.run(None, dict(series=X[:n].numpy(), age=age[:n].numpy(), place=place[:n].numpy()))[0]
        np.testing.assert_allclose(got, parts[1](X[:n], age[:n], place[:n]).detach().numpy(), atol=1e-5)

# ---------------------------------------------------------------- from a learner

@pytest.fixture(scope='module')
def learn():
    "A trained learner whose loaders have the same two inputs beside the series"
    from tsfast.data.core import get_ts_dls
    from tsfast.data.preprocessing import TSStandardize
    from tsfast.learner import ts_learner
    register_model(WithAge)
    try:
        dls = get_ts_dls(X, ['no', 'yes', 'no']*3, splits=(range(6), range(6, N)), inputs=dict(age=age, place=place), batch_tfms=TSStandardize(), bs=3, device='cpu')
        learn = ts_learner(dls, WithAge, seed=0)
        with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-2)
        yield learn
    finally: registry._archs.pop('WithAge', None)

def test_learner_to_predictor(learn, tmp_path):
    from tsfast.deploy import to_predictor
    probas, _, decoded = learn.get_X_preds(X, inputs=dict(age=age, place=place))
    p = Predictor(learn.save_bundle(tmp_path/'b'))
    assert p.config['inputs'] == [dict(name='age', shape=[3], dtype='float32'), dict(name='place', shape=[], dtype='int64')] and p.config['format_version'] == 3
    assert torch.equal(p(X, age=age, place=place), probas) and np.array_equal(p.predict(X, age=age, place=place), decoded)
    assert torch.equal(to_predictor(learn)(X, age=age, place=place), probas)

@pytest.mark.skipif(not all(importlib.util.find_spec(o) for o in ('onnx', 'onnxruntime', 'onnxscript')), reason='needs onnx, onnxscript and onnxruntime')
def test_learner_to_onnx(learn, tmp_path):
    import onnxruntime
    want = learn.get_X_preds(X, inputs=dict(age=age, place=place))[0]
    torch.testing.assert_close(export_program(learn).module()(X, age, place), want)
    s = onnxruntime.InferenceSession(export_onnx(learn, tmp_path/'m.onnx'), providers=['CPUExecutionProvider'])
    np.testing.assert_allclose(s.run(None, dict(series=X.numpy(), age=age.numpy(), place=place.numpy()))[0], want.numpy(), atol=1e-5)

def test_columns_of_a_batch(folder):
    "Inputs are found among the columns of a batch, and stay in it; or they are passed by name"
    p = Predictor(folder)
    want = p(X, age=age, place=place)[:, 1].numpy()
    out = p(dict(series=X.numpy(), age=list(age.numpy()), place=place.numpy()))
    assert list(out) == ['age', 'place', 'prediction', 'p(no)', 'p(yes)'] and np.array_equal(out['p(yes)'], want)
    assert np.array_equal(p(dict(series=X, age=age), place=place)['p(yes)'], want)
    assert len(p(dict(series=X[:0], age=age[:0], place=place[:0]))['prediction']) == 0
    with pytest.raises(ValueError, match="input 'place' is missing"): p(dict(series=X, age=age))
