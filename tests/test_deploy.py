"Bundles, Predictor, ONNX and exported programs: equal to the learner, and nothing but clear errors for what is broken"
import copy, hashlib, importlib.util, inspect, json, os, random, subprocess, sys, time, warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tsfast.cli import main
from tsfast.data.core import get_ts_dls
from tsfast.data.preprocessing import TSBatchTransform, TSClip, TSNan2Value, TSNormalize, TSRobustScale, TSStandardize
from tsfast.data.targets import TSClassification, TSMultiLabelClassification, TSRegression
from tsfast.deploy import _cummax, export_onnx, export_program, to_predictor
from tsfast.inference import CONFIG, WEIGHTS, Predictor, config_digest, load_bundle
from tsfast.interpret import CalibratedLoss
from tsfast.learner import ts_learner
from tsfast.models.feature_model import FeatureModel
from tsfast.models.registry import get_arch, list_models, register_model
from tsfast.models.fcn import FCN

root = Path(__file__).resolve().parents[1]
N, C, L = 40, 2, 16
SMALL = dict(nf=4, hidden_size=8, d_model=8, d_ff=8, n_heads=2, n_layers=1, encoder_layers=1, num_features=672, n_shapelets=224, k=2, g=2, size=64, d_scalar=4, layers=[8, 8], conv_layers=[8, 8], kss=[5, 3])
TINY = dict(layers=[4, 6], kss=[3, 3])
rng = np.random.default_rng(0)
X = rng.normal(2, 3, size=(N, C, L)).astype(np.float32)
y = np.array(['no', 'yes', 'maybe'])[rng.integers(0, 3, N)]
splits = range(30), range(30, N)


def make(arch='FCN', X=X, y=y, t=None, batch_tfms=None, train=True, lr=1e-2, **kwargs):
    "A small learner, trained for an epoch"
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, t or TSClassification()], batch_tfms=TSStandardize(by_var=True) if batch_tfms is None else batch_tfms, bs=8, val_bs=10)
    if isinstance(arch, str):
        ps = inspect.signature(get_arch(arch)).parameters
        kwargs = {**{k: v for k, v in (TINY if arch == 'FCN' else SMALL).items() if k in ps}, **kwargs}
    learn = ts_learner(dls, arch, seed=0, **kwargs)
    if train:
        with learn.no_bar(), learn.no_logging(): learn.fit(1, lr)
    return learn

def same(learn, p, X=X, bs=64):
    probas, _, decoded = learn.get_X_preds(X, bs=bs)
    assert torch.equal(p(X, bs=bs), probas)
    got = p.predict(X, bs=bs)
    assert type(got) is type(decoded)
    assert got == decoded if isinstance(got, list) else got.dtype == decoded.dtype and np.array_equal(got, decoded)

@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return make().save_bundle(tmp_path_factory.mktemp('bundles')/'b')


@pytest.mark.parametrize('arch', list_models())
def test_every_architecture(arch, tmp_path):
    "Learner, bundle in a folder and bundle in memory agree to the bit at the same batch size"
    learn = make(arch)
    before = torch.get_rng_state()
    p = Predictor(learn.save_bundle(tmp_path/'b'))
    assert torch.equal(torch.get_rng_state(), before)    # first weights were drawn out of sight
    for bs in (64, 7, 1): same(learn, p, bs=bs)
    same(learn, to_predictor(learn))
    z = p.embeddings(X)
    assert z.shape == (N, learn.model.head_nf) and np.isfinite(z).all()
    json.dumps(learn.model.init_args)

def test_new_head(tmp_path):
    "What `reset_head` did is in the bundle"
    m = FCN(C, 7, layers=[4, 4], kss=[3, 3]).reset_head(3, fc_dropout=0.5)
    learn = make(m)
    p = Predictor(learn.save_bundle(tmp_path/'b'))
    assert (p.config['architecture']['arguments']['c_out'], p.config['architecture']['arguments']['fc_dropout']) == (3, 0.5)
    same(learn, p)

targets = {
    'strings': (y, TSClassification()), 'integers': (rng.integers(-1, 2, N), TSClassification()), 'booleans': (rng.random(N) > 0.5, TSClassification()),
    'order': (y, TSClassification(vocab=['yes', 'no', 'maybe'])),
    'steps': (np.array(['up', 'down'])[rng.integers(0, 2, (N, L))], TSClassification()),
    'lists': ([['a'], ['a', 'b'], [], ['c']]*(N//4), TSMultiLabelClassification(thresh=0.4)), 'matrix': (rng.integers(0, 2, (N, 3)), TSMultiLabelClassification()),
    'number': (rng.normal(50, 9, N), TSRegression()), 'scaled': (rng.normal(50, 9, N), TSRegression(standardize=True)), 'several': (rng.normal(50, 9, (N, 3)), TSRegression(standardize=True)),
    'forecast': (rng.normal(50, 9, (N, 2, 5)), TSRegression(standardize=True)),
    # float32 holds steps of 1 at this level: these need float64 from the outputs on
    'far': (rng.normal(1e7, .16, N), TSRegression(standardize=True)), 'far, several': (rng.normal([5, 1e7, -3e8], [2, .16, 1], (N, 3)), TSRegression(standardize=True)),
    'far, forecast': (rng.normal(1e7, .16, (N, 2, 5)), TSRegression(standardize=True))}

@pytest.mark.parametrize('name', targets)
def test_targets(name, tmp_path):
    learn = make(y=targets[name][0], t=targets[name][1])
    p = Predictor(learn.save_bundle(tmp_path/'b'))
    same(learn, p); same(learn, p, bs=3)
    if p.kind == 'regression':
        with pytest.raises(ValueError, match='no probabilities'): p.predict_proba(X)
        far = name.startswith('far')
        assert p(X).dtype == (torch.float64 if far else torch.float32) and p.config['format_version'] == (2 if far else 1)
        if far: assert len(np.unique(p.predict(X))) > N//2      # not rounded to the steps of float32
    else: assert p.predict_proba(X).shape[-1] == len(p.classes)

gaps = X.copy(); gaps[rng.random(X.shape) < 0.1] = np.nan
tfms = {
    'plain': [], 'shared': TSStandardize(), 'channels': TSStandardize(by_var=True), 'steps': TSStandardize(by_step=True, by_var=True), 'groups': TSStandardize(by_var=[[0, 1]]), 'left out': TSStandardize(by_var=True, exclude_vars=[1]),
    'sample': TSStandardize(by_sample=True), 'sample, channels': TSStandardize(by_sample=True, by_var=True, exclude_vars=[0]), 'known': TSStandardize(mean=1., std=2.),
    'minmax': TSNormalize(by_var=True), 'minmax sample': TSNormalize(by_sample=True, low=0., high=1.), 'minmax left out': TSNormalize(0., 2., by_var=True, exclude_vars=[0]), 'robust': TSRobustScale(), 'robust sample': TSRobustScale(by_sample=True),
    'clip': [TSStandardize(), TSClip(-1, 1)], 'gaps': [TSStandardize(by_var=True), TSNan2Value()], 'gaps, median': [TSNan2Value(method='median'), TSNormalize(), TSClip(-.5, .5)]}

@pytest.mark.parametrize('name', tfms)
def test_preprocessing(name, tmp_path):
    data = gaps if name.startswith('gaps') else X
    learn = make(X=data, batch_tfms=tfms[name])
    same(learn, Predictor(learn.save_bundle(tmp_path/'b')), X=data)

def test_selection(tmp_path):
    dls = get_ts_dls(X, y, splits=splits, sel_vars=[1], sel_steps=slice(4, None, 2), batch_tfms=TSStandardize(), bs=8)
    learn = ts_learner(dls, FCN, **TINY)
    p = Predictor(learn.save_bundle(tmp_path/'b'))
    same(learn, p)
    assert p.input_shape == (C, L) and p.shape == (1, 6)
    with pytest.raises(ValueError, match='number 1'): p(X[:, :1])

def test_temperature(tmp_path):
    learn = make()
    learn.loss_func = CalibratedLoss(learn.loss_func, 1.7)
    p = Predictor(learn.save_bundle(tmp_path/'b'))
    assert p.config['temperature'] == 1.7
    same(learn, p)

def test_plain_loss(tmp_path):
    "A loss of torch knows nothing of probabilities: learner and bundle give them all the same, and agree"
    learn = make(loss_func=nn.CrossEntropyLoss())
    p = Predictor(learn.save_bundle(tmp_path/'b'))
    assert torch.equal(p(X), learn.get_X_preds(X, with_decoded=False)[0]) and torch.allclose(p(X).sum(1), torch.ones(len(X)))


def test_input(bundle):
    "Whatever holds series: arrays of any kind, tensors, frames, memory maps; and clear errors"
    p = Predictor(bundle)
    want = p(X)
    assert torch.equal(p(X.astype(np.float64)), want) and torch.equal(p(torch.from_numpy(X)), want) and torch.equal(p(list(X)), want)
    torch.testing.assert_close(p(X[::-1])[0], p(X[-1:])[0], atol=1e-5, rtol=0); assert torch.equal(p(np.asfortranarray(X)), want)
    for bad, text in ((X[:, :1], 'Expected (n, 2, 16)'), (X[:0], 'no series'), (X[0, 0], 'dimension'), (gaps, 'missing values'), (np.where(X > 0, X, np.inf), 'infinite'), (y, 'dtype')):
        with pytest.raises(ValueError) as e: p(bad)
        assert text in str(e.value)
    with pytest.raises(ValueError, match='bs is 0'): p(X, bs=0)
    with pytest.raises(ValueError, match='bs is'): Predictor(bundle, bs=True)

def test_statistics_of_targets_have_no_device(tmp_path):
    "They stay on the CPU, where predictions end: not every device has float64; and follow what they are applied to"
    p = to_predictor(make(y=targets['far'][0], t=targets['far'][1])).to('meta')
    assert {o.device.type for o in p.model.parameters()} == {'meta'} and p.pipeline.mean.device.type == 'cpu'
    assert p.pipeline.finish(torch.zeros(3, 1, device='meta')).device.type == 'meta'

# series of other lengths
@pytest.mark.parametrize('arch', list_models())
def test_other_lengths(arch, tmp_path):
    "From its shortest up, where the network takes any length; else the message says why not"
    learn = make(arch, train=issubclass(get_arch(arch), FeatureModel))
    p = Predictor(learn.save_bundle(tmp_path/'b'))
    assert p(X).shape == (N, 3)
    shortest = learn.model.min_len
    for n in (shortest, 7, 33):
        other = np.tile(X, 3)[..., :n]
        if learn.model.seq_len is not None:
            with pytest.raises(ValueError, match=f'Expected .n, 2, 16.*; {arch} is built for one length'): p(other)
            continue
        got = p(other, bs=9)
        with torch.no_grad(): want = p.pipeline(torch.from_numpy(other))
        assert got.shape == (N, 3) and torch.allclose(got, want, atol=1e-5)
        assert p.embeddings(other).shape == (N, learn.model.head_nf)

@pytest.mark.parametrize('kwargs,text', [
    (dict(batch_tfms=TSStandardize(by_step=True)), 'its scaling has statistics for each step'),
    (dict(y=targets['steps'][0]), 'it gives a label for each step')])
def test_what_binds_to_a_length(kwargs, text, tmp_path):
    p = to_predictor(make('InceptionTime', train=False, **kwargs))
    assert len(p(X)) == N
    with pytest.raises(ValueError, match=text): p(X[..., :9])

def test_other_lengths_that_fail_in_the_network(tmp_path):
    "A network that says nothing about lengths, and takes one only; and one that has a shortest length"
    class Mine(_Mine):
        def __init__(self, c_in, c_out):
            super().__init__(c_in, c_out, L)
    from tsfast.models import registry
    register_model(Mine)
    try:
        p = to_predictor(make(Mine, train=False))
        with pytest.raises(ValueError, match='was trained on series of 16 steps, and cannot take 9'): p(X[..., :9])
    finally: del registry._archs['Mine']
    p = to_predictor(make('FCN', train=False))
    p.model.min_len = 5
    with pytest.raises(ValueError, match='at least 5 steps; these have 4'): p(X[..., :4])

def test_padding(bundle, tmp_path):
    "Series padded with NaN: a model that knows what to do with it, and a sentence where it does not"
    padded = X.copy(); padded[::2, :, 11:] = np.nan
    with pytest.raises(ValueError, match='one length at a time'): Predictor(bundle)(padded)
    kept = to_predictor(make('GRU', X=padded, batch_tfms=[TSStandardize(by_var=True), TSNan2Value(keep_padding=True)], train=False, mask_padding=True))
    assert torch.allclose(kept(padded)[::2], kept(X[::2, :, :11]), atol=1e-5)     # padding changes nothing
    ragged = [x[:, :L if i % 2 else 11] for i, x in enumerate(X)]
    for given in (ragged, list(map(torch.tensor, ragged)), np.array([*ragged, None], dtype=object)[:-1]): assert torch.equal(kept(given), kept(padded))
    with pytest.raises(ValueError, match='Series 1 of X has 1 channels'): kept([X[0], X[1, :1, :9]])

def test_memory_map(bundle, tmp_path):
    np.save(tmp_path/'X.npy', X)
    assert torch.equal(Predictor(bundle)(np.load(tmp_path/'X.npy', mmap_mode='r'), bs=9), Predictor(bundle)(X, bs=9))


def run(code, *args):
    r = subprocess.run([sys.executable, '-c', code, *map(str, args)], cwd=root, capture_output=True, text=True, env={**os.environ, 'PYTHONPATH': str(root)})
    assert not r.returncode, r.stderr
    return r.stdout

def test_fresh_process_on_torch_alone(tmp_path):
    "No fastai, pandas, sktime or matplotlib in the process, little time to import, and the same bits"
    learn = make('InceptionTime', depth=3)
    folder = learn.save_bundle(tmp_path/'b')
    np.save(tmp_path/'X.npy', X); np.save(tmp_path/'p.npy', learn.get_X_preds(X)[0].numpy())
    out = run('''
import sys, time, torch, numpy as np
before, t = set(sys.modules), time.process_time()
import tsfast.inference
t = time.process_time() - t
p = tsfast.inference.Predictor(sys.argv[1])
assert np.array_equal(p.predict_proba(np.load(sys.argv[2])), np.load(sys.argv[3]))
new = set(sys.modules) - before
print(t); print(*sorted({o.split(".")[0] for o in new} | new & {"torch._dynamo"}))''', folder, tmp_path/'X.npy', tmp_path/'p.npy').split('\n')
    assert float(out[0]) < 0.3
    assert not set(out[1].split()) & {'fastai', 'fastcore', 'fasttransform', 'pandas', 'sktime', 'sklearn', 'scipy', 'matplotlib', 'IPython', 'numba', 'torch._dynamo'}


# what is refused when it is written
class _Demean(TSBatchTransform):
    def on_series(self, x, stats=None): return x - x.mean(2, keepdim=True)

class _Mine(nn.Module):
    def __init__(self, c_in, c_out, seq_len):
        super().__init__()
        self.fc = nn.Linear(c_in*seq_len, c_out)
    def forward(self, x): return self.fc(x.flatten(1))

def _head(nf, c_out, seq_len): return nn.Sequential(nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(nf, c_out))

@pytest.mark.parametrize('kwargs,text', [
    (dict(arch=_Mine), '@register_model'), (dict(custom_head=_head), 'make_head gives your head'), (dict(custom_head=_head(6, 3, L)), 'make_head gives your head'),
    (dict(batch_tfms=_Demean()), 'code of its own'), (dict(arch='MiniRocket', train=False), 'not fitted')])
def test_refused(kwargs, text, tmp_path):
    learn = make(**{'train': False, **kwargs})
    with pytest.raises(ValueError) as e: learn.save_bundle(tmp_path/'b')
    assert text in str(e.value) and not list(tmp_path.iterdir())

def test_registered_module_of_ones_own(tmp_path):
    from tsfast.models import registry
    register_model(_Mine)
    try:
        learn = make(_Mine)
        folder = learn.save_bundle(tmp_path/'b')
        same(learn, Predictor(folder))
        with pytest.raises(ValueError, match='no embeddings'): Predictor(folder).embeddings(X)
    finally: del registry._archs['_Mine']
    with pytest.raises(ValueError, match='import the module'): Predictor(folder)

@pytest.mark.parametrize('arch,where', [('HydraPlus', dict(device='cpu')), ('MiniRocket', dict(backend='torch')), ('MultiRocket', dict(backend='numba')), ('HydraPlus', dict(backend='torch'))])
def test_where_a_model_runs_is_no_part_of_it(arch, where, tmp_path):
    learn = make(arch, **where)
    assert not set(where) & set(learn.model.init_args)
    folder = learn.save_bundle(tmp_path/'b')
    cfg = json.loads((folder/CONFIG).read_text())
    assert not {'device', 'backend'} & set(cfg['architecture']['arguments'])
    want = Predictor(folder)(X)
    # as older versions wrote it, on another machine
    cfg['architecture']['arguments'].update({k: dict(device='cuda:3', backend='triton')[k] for k in where})
    p = Predictor(copy_to(folder, tmp_path/'c', cfg, sign=True))
    # the bundle takes what is fastest, the learner what it was asked for: where they round differently, a count of winners may change by one
    assert torch.equal(p(X), want) and torch.allclose(want, learn.get_X_preds(X)[0], atol=1e-5 if 'device' in where else 1e-2)

def test_what_is_written_is_compared_on_the_same_implementation(tmp_path, monkeypatch):
    "One that rounds differently from the other is no changed network"
    from tsfast.models.hydra import HydraBackbonePlus
    monkeypatch.setattr(HydraBackbonePlus, 'forward', lambda self, x, real=HydraBackbonePlus.forward: real(self, x)*(1 if self.backend == 'torch' else 1 + 1e-6))
    make('HydraPlus', backend='torch').save_bundle(tmp_path/'b')

def test_a_selection_from_other_channels(tmp_path):
    "Channels counted from the end, or in the middle, would be others"
    dls = get_ts_dls(np.concatenate([X, X], 1), y, sel_vars=[-1, 0], tfms=[None, TSClassification()], bs=20, device='cpu')
    learn = ts_learner(dls, 'FCN', layers=[4, 4], kss=[3, 3], seed=0); more = np.concatenate([X, X, X], 1)
    with pytest.raises(ValueError, match=r'Expected \(n, 4, 16\)'): learn.get_X_preds(more)
    with pytest.raises(ValueError, match=r'Expected \(n, 4, 16\)'): to_predictor(learn)(more)

def test_another_default_dtype(bundle, tmp_path):
    "Bundles hold float32, whatever torch's default is where they are written and read"
    learn, was, want = make('InceptionTime'), torch.get_default_dtype(), Predictor(bundle)(X)
    try:
        torch.set_default_dtype(torch.float64)
        p = Predictor(learn.save_bundle(tmp_path/'b'))
        assert {o.dtype for o in p.model.parameters()} == {torch.float32} and torch.equal(Predictor(bundle)(X), want)
    finally: torch.set_default_dtype(was)

def test_spoilt_weights_are_not_written(tmp_path):
    learn = make('FCN')
    with torch.no_grad(): next(learn.model.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match='NaN or infinite: the training diverged'): learn.save_bundle(tmp_path/'b')
    assert not list(tmp_path.iterdir())

def test_a_class_says_itself_where_it_runs(tmp_path):
    "Its `backend` may be the network that it consists of"
    class Mine(FCN):
        where_args = ()
        def __init__(self, c_in, c_out, *, seq_len=None, backend='small'):
            super().__init__(c_in, c_out, layers=[4 if backend == 'small' else 8, 4], kss=[3, 3])
    from tsfast.models import registry
    register_model(Mine)
    try:
        learn = make(Mine, train=False, backend='large')
        p = Predictor(learn.save_bundle(tmp_path/'b'))
        assert p.config['architecture']['arguments']['backend'] == 'large'
        same(learn, p)
    finally: del registry._archs['Mine']

def test_changed_after_it_was_built(tmp_path):
    learn = make()
    learn.model.convs[0][2] = nn.Tanh()
    with pytest.raises(ValueError, match='changed after it was built'): learn.save_bundle(tmp_path/'b')
    assert not list(tmp_path.iterdir())

def test_replaced_as_a_whole(tmp_path, monkeypatch):
    "A bundle is the old one or the new one, whatever happens in between; and strangers' folders are left alone"
    a, b = make(), make(lr=1e-1)
    folder = a.save_bundle(tmp_path/'b')
    import tsfast.deploy
    with monkeypatch.context() as m:
        m.setattr(tsfast.deploy, 'build_pipeline', lambda *a: 1/0)
        with pytest.raises(ZeroDivisionError): b.save_bundle(folder)
    same(a, Predictor(folder))
    replace = os.replace
    for move in (1, 2):      # the first move takes the older bundle away, the second one brings the new one
        with monkeypatch.context() as m:
            moves = []
            def fail(src, dst):
                moves.extend([src]*src.is_dir())
                return replace(src, dst) if len(moves) != move or not src.is_dir() else 1/0
            m.setattr(os, 'replace', fail)
            with pytest.raises(ZeroDivisionError): b.save_bundle(folder)
        assert len(moves) == (1 if move == 1 else 3)
        same(a, Predictor(folder))
        assert [o.name for o in tmp_path.iterdir()] == ['b']
    b.save_bundle(folder)
    same(b, Predictor(folder))
    assert [o.name for o in tmp_path.iterdir()] == ['b']
    (tmp_path/'c').mkdir(); (tmp_path/'c/thesis.tex').touch(); (tmp_path/'d').touch()
    for o in 'cd':
        with pytest.raises(FileExistsError): a.save_bundle(tmp_path/o)
    assert (tmp_path/'c/thesis.tex').exists()


# what is refused when it is read
def copy_to(src, dst, cfg=None, data=None, sign=False):
    "A copy of a bundle with another configuration or other weights; `sign` makes the checksums right again, as a forger would"
    from safetensors.torch import load, save
    dst.mkdir(exist_ok=True)
    cfg = json.loads((src/CONFIG).read_text()) if cfg is None else cfg
    data = (src/WEIGHTS).read_bytes() if data is None else data
    if sign:
        try: data = save(load(data), metadata=dict(config_sha256=config_digest(cfg)))
        except Exception: pass
        if isinstance(cfg, dict) and isinstance(cfg.get('weights'), dict): cfg['weights'].update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    (dst/CONFIG).write_text(json.dumps(cfg)); (dst/WEIGHTS).write_bytes(data)
    return dst

def at(cfg, path, value):
    for k in path[:-1]: cfg = cfg[k]
    cfg[path[-1]] = value

@pytest.mark.parametrize('path,value,text', [
    ('format', 'zip', 'written by learn.save_bundle'), ('format_version', 10, 'Update tsfast'), ('format_version', True, 'whole number'),
    ('architecture.name', 'FNC', 'Unknown architecture'), ('architecture.name', 'os.system', 'Unknown architecture'),
    ('architecture.arguments.layers', [10**6, 6], 'convs.0.0.weight'), ('architecture.arguments.layers', [10**9, 6], "layers[0] is '1000000000'. Expected `int` <= 16777216"),
    ('architecture.arguments.layers', [4, 7], 'convs.1.0.weight'), ('architecture.arguments.c_out', 4, 'the target needs'),
    ('architecture.arguments.c_in', 1, 'as in series'), ('architecture.arguments.colour', 1, "no argument 'colour'"),
    ('architecture.arguments.layers', 'os', 'cannot be built'), ('architecture.arguments.custom_head', 'os.system', 'cannot be built'),
    ('series.length', 0, "series.length is '0'. Expected `int` >= 1"), ('series.channels', '2', "series.channels is '2'. Expected `int`"),
    ('series.input', {'channels': 2}, 'series.input: Object missing required field `length`'), ('series.input', {'channels': 0, 'length': 16}, 'Expected `int` >= 1'),
    ('preprocessing.0.kind', 'Pickle', 'one of'), ('preprocessing.0.arguments.kind', 'x', "preprocessing[0].arguments.kind: Invalid enum value 'x'"),
    ('preprocessing.0.arguments.by_sample', 1, "preprocessing[0].arguments.by_sample is '1'. Expected `bool`"), ('preprocessing', [], 'no place'), ('preprocessing', {}, 'a list'),
    ('target.kind', 'cat', 'one of'), ('target.classes', ['a', 'a', 'b'], 'once'), ('target.classes', None, "target.classes is 'None'. Expected `array`"),
    ('target.shape', [16], 'the target needs'), ('target.standardized', True, 'classes are not scaled'), ('activation', 'relu', 'activation'), ('activation', 'sigmoid', 'softmax for classification'),
    ('temperature', 0, 'Expected `float` > 0'), ('temperature', 'hot', 'float'), ('inputs', [dict(name='a b', shape=[], dtype='float32')], 'inputs[0].name'),
    ('inputs', [dict(name='series', shape=[], dtype='float32')], 'each name once'), ('inputs', [dict(name='age', shape=[1], dtype='float32')], 'forward has no parameter'),
    ('weights.file', '../model.safetensors', 'nothing outside its folder'), ('weights.file', '/etc/passwd', 'nothing outside its folder'),
    ('versions.torch', 2, 'Expected `str`')])
def test_forged(bundle, tmp_path, path, value, text):
    "Forged configurations whose checksums are right"
    cfg = json.loads((bundle/CONFIG).read_text())
    at(cfg, [int(o) if o.isdigit() else o for o in path.split('.')], value)
    with pytest.raises(ValueError) as e: load_bundle(copy_to(bundle, tmp_path/'b', cfg, sign=True))
    assert text in str(e.value)

def test_large_and_endless_constructions(bundle, tmp_path):
    "A forged size ends quickly, and takes no memory: the network is compared with the tensors before it gets any"
    for name, args in (('InceptionTime', dict(nf=10**6)), ('InceptionTime', dict(nf=1, depth=10**7)), ('LSTM', dict(hidden_size=10**7)), ('HydraPlus', dict(g=10**6, k=10**6)), ('MiniRocket', dict(num_features=10**7)),
                       ('TST', dict(d_ff=10**7)), ('FCN', dict(layers=[8]*10**4, kss=[10**6]*10**4))):
        cfg = json.loads((bundle/CONFIG).read_text())
        cfg['architecture'] = dict(name=name, arguments=dict(c_in=C, c_out=3, seq_len=L, **args))
        t = time.process_time()
        copy_to(bundle, tmp_path/'b', cfg, sign=True)
        assert peak_of(lambda: pytest.raises(ValueError, load_bundle, tmp_path/'b')) < 2**16
        assert time.process_time() - t < 20 and torch.is_grad_enabled()

def test_memory_that_a_forged_bundle_takes(bundle, tmp_path):
    "Of the process, in one of its own: a network that would take 40 GB"
    cfg = json.loads((bundle/CONFIG).read_text())
    cfg['architecture'] = dict(name='LSTM', arguments=dict(c_in=C, c_out=3, seq_len=L, hidden_size=50_000))
    out = run('''
import resource, sys
from tsfast.inference import load_bundle
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try: load_bundle(sys.argv[1])
except ValueError as e: print("lacks" in str(e), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)''', copy_to(bundle, tmp_path/'b', cfg, sign=True))
    said, kib = out.split()
    assert said == 'True' and int(kib) < 50_000

@pytest.mark.parametrize('arch,arg,values', [('XceptionTime', 'adaptive_size', (2**16, 2**22, 2**24)), ('DLinear', 'kernel_size', (2**21, 2**24))])
def test_large_forward_passes(arch, arg, values, tmp_path):
    "An argument that no weight shows, and that makes a prediction large, is refused before anything large is made"
    b = make(arch, train=False, **(dict(nf=1) if arch == 'XceptionTime' else {})).save_bundle(tmp_path/'a')
    for v in (50, *values):
        cfg = json.loads((b/CONFIG).read_text())
        cfg['architecture']['arguments'][arg] = v
        copy_to(b, tmp_path/'b', cfg, sign=True)
        if v == 50: load_bundle(tmp_path/'b')(X); continue
        peak = peak_of(lambda: pytest.raises(ValueError, load_bundle, tmp_path/'b').match('far more memory'))
        assert peak < 2**23
    assert torch.is_grad_enabled()

def peak_of(f):
    "Bytes of the largest array that torch made meanwhile"
    from torch.utils._python_dispatch import TorchDispatchMode
    class Largest(TorchDispatchMode):
        most = 0
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for o in out if isinstance(out, (list, tuple)) else [out]:
                if isinstance(o, torch.Tensor) and not o.is_meta: self.most = max(self.most, o.nbytes)
            return out
    with Largest() as mode: f()
    return mode.most

class _Grows(FCN):
    "Makes a large array by a function that asks for none"
    def __init__(self, c_in, c_out, *, seq_len=None, wide=1):
        super().__init__(c_in, c_out, layers=[4, 4], kss=[3, 3])
        self.wide = wide
    def forward_features(self, x):
        z = super().forward_features(x)
        return (z.unsqueeze(-1) + torch.zeros(self.wide)).flatten(2)

def test_large_forward_passes_of_ones_own(tmp_path):
    "What grows by broadcasting or step by step is refused as well"
    from tsfast.models import registry
    register_model(_Grows)
    try:
        b = make(_Grows, train=False, wide=3).save_bundle(tmp_path/'a')
        assert len(load_bundle(b)(X)) == N
        cfg = json.loads((b/CONFIG).read_text())
        cfg['architecture']['arguments']['wide'] = 2**20
        with pytest.raises(ValueError, match='far more memory'): load_bundle(copy_to(b, tmp_path/'b', cfg, sign=True))
    finally: del registry._archs['_Grows']

@pytest.mark.parametrize('arch', ['FCN', 'XceptionTime', 'TST', 'LSTM'])
def test_long_series_are_no_forgery(arch, tmp_path):
    "Real networks of their default sizes, on long series of many channels, are far from the bound"
    from tsfast.bundle import _try_forward
    from tsfast.models.pipeline import Pipeline
    for c, n in ((1, 1000), (60, 300), (1, 9)):
        model = get_arch(arch)(c, 2, seq_len=n).eval()
        _try_forward(Pipeline([], model), dict(series=dict(channels=c, length=n)), sum(o.nbytes for o in model.state_dict().values()))

@pytest.mark.parametrize('steps', [[0]*9999, list(range(16))*700])
def test_a_selection_that_repeats_is_refused(bundle, tmp_path, steps):
    cfg = json.loads((bundle/CONFIG).read_text())
    cfg['preprocessing'].insert(0, dict(kind='SelectSeries', arguments=dict(vars=None, steps=steps, vars_slice=False, steps_slice=False)))
    data = json.loads(json.dumps(cfg))
    from safetensors.torch import load, save
    t = {k.replace('preprocessing.0', 'preprocessing.1'): v for k, v in load((bundle/WEIGHTS).read_bytes()).items()}
    with pytest.raises(ValueError, match='each once|of length <= 10000'): load_bundle(copy_to(bundle, tmp_path/'b', data, save(t), sign=True))

def test_links_and_odd_files(bundle, tmp_path):
    for name in (CONFIG, WEIGHTS):
        b = copy_to(bundle, tmp_path/f'link {name}')
        (b/name).unlink(); (b/name).symlink_to(bundle/name)
        with pytest.raises(ValueError, match='nothing outside its folder'): load_bundle(b)
        (b/name).unlink()
        with pytest.raises(FileNotFoundError, match=name): load_bundle(b)
        (b/name).mkdir()
        with pytest.raises(OSError, match='not a plain file'): load_bundle(b)
    if hasattr(os, 'mkfifo'):
        b = copy_to(bundle, tmp_path/'fifo'); (b/WEIGHTS).unlink(); os.mkfifo(b/WEIGHTS)
        with pytest.raises(OSError, match='not a plain file'): load_bundle(b)
    with pytest.raises(FileNotFoundError): load_bundle(tmp_path/'nothing')
    with pytest.raises(NotADirectoryError, match='is a file'): load_bundle(bundle/CONFIG)

def test_odd_json(bundle, tmp_path):
    b = copy_to(bundle, tmp_path/'b'); text = (b/CONFIG).read_text()
    for bad in ('', '[]', 'null', '{', '[' * 10**5, text[:-5], text.replace('"softmax"', 'NaN'), text[:-1] + ', "format": "x"}', '1' * 10**5, text.replace('softmax', '\\ud800'), '{"format": "tsfast-bundle"}', text.replace('"length": 16', '"length": 1e999')):
        (b/CONFIG).write_text(bad)
        with pytest.raises(ValueError): load_bundle(b)
    (b/CONFIG).write_bytes(b'\xff\xfe' + text.encode())
    with pytest.raises(ValueError): load_bundle(b)


values = [None, True, False, 0, 1, -1, 2, 3, 7, 255, 10**6, 10**9, 10**18, -10**30, 10**400, 0.5, -2.5, 1e300, float('inf'), float('nan'), '', 'x', 'FCN', 'LSTM', 'HydraPlus', '../x', 'é\ud800', 'x'*5000, [], [1], [None], [[[[[[1]]]]]], list(range(50)), ['a', 'b', 'c'], {}, {'a': 1}, {'kind': 'ClipSeries', 'arguments': {'low': 1, 'high': 0}}]

def places(o, path=()):
    if path: yield path
    for k, v in (o.items() if isinstance(o, dict) else enumerate(o) if isinstance(o, list) else ()): yield from places(v, (*path, k))

def forge_config(cfg, r):
    for _ in range(r.choice((1, 1, 1, 2, 4))):
        path = r.choice(list(places(cfg)))
        parent = cfg
        for k in path[:-1]: parent = parent[k]
        how = r.random()
        if how < 0.7: parent[path[-1]] = copy.deepcopy(r.choice(values))
        elif how < 0.85: del parent[path[-1]]
        elif isinstance(parent, dict): parent[r.choice(['extra', 'kind', 'seq_len', 'd', 'nf', 'depth', '\ud800'])] = copy.deepcopy(r.choice(values))
        else: parent.append(copy.deepcopy(r.choice(values)))
    return cfg

def forge_tensors(data, r):
    from safetensors.torch import load, save
    t = load(data); k = r.choice(list(t)); how = r.randrange(8)
    if how == 0: del t[k]
    elif how == 1: t[r.choice(['x', 'model.x', 'preprocessing.9.shift', 'mean', '\u00e9', k + '.y'])] = t[k].clone()
    elif how == 2: t[k] = t[k][None].clone()
    elif how == 3: t[k] = t[k].flatten()[:r.randrange(1, 9)].clone()
    elif how == 4: t[k] = t[k].to(r.choice([torch.float16, torch.int64, torch.bool, torch.float64, torch.bfloat16]))
    elif how == 5: t[k] = torch.zeros(0)
    elif how == 6: t[k] = torch.full_like(t[k], float('nan')) if t[k].is_floating_point() else t[k] + 1
    else: t = {k: t[k].clone()}
    return save(t)

def flip(data, r):
    data = bytearray(data); n = len(data); how = r.randrange(6)
    if how == 0:
        for _ in range(r.choice((1, 1, 3, 20))): data[r.randrange(n)] ^= 1 << r.randrange(8)
    elif how == 1: data = data[:r.randrange(n)]
    elif how == 2: data[r.randrange(n):0] = r.randbytes(r.randrange(1, 40))
    elif how == 3: i = r.randrange(n); del data[i:i + r.randrange(1, 40)]
    elif how == 4: data[:min(8, n)] = r.randbytes(8)                # safetensors: the length of the header
    else: i = r.randrange(n); data[i:i + 1] = r.choice([b'0', b'9', b'"', b'{', b'}', b'-', b'\0', b'\xff'])
    return bytes(data)

ROUNDS = int(os.environ.get('TSFAST_FUZZ', 150))

@pytest.mark.parametrize('kind', ['bytes', 'signed bytes', 'json', 'tensors', 'json of DLinear', 'json of XceptionTime'])
def test_fuzz(bundle, tmp_path, kind):
    "Whatever is done to the files: a model that predicts in little memory, or a ValueError or OSError"
    if 'of' in kind: bundle = make(kind.split()[-1], train=False).save_bundle(tmp_path/'a')
    r, refused, p0 = random.Random(kind), 0, Predictor(bundle)(X[:3])
    data, cfg = (bundle/WEIGHTS).read_bytes(), (bundle/CONFIG).read_text()
    for i in range(ROUNDS):
        if 'json' in kind:
            c = json.loads(cfg)
            for k in {'adaptive_size', 'kernel_size'} & set(c['architecture']['arguments']): c['architecture']['arguments'][k] = r.choice((7, 100, 10**4, 10**6, 2**24))
            b = copy_to(bundle, tmp_path/'b', forge_config(c, r) if r.random() < .7 else c, sign=True)
        elif kind == 'tensors': b = copy_to(bundle, tmp_path/'b', data=forge_tensors(data, r), sign=True)
        elif kind == 'signed bytes':
            b, bad = copy_to(bundle, tmp_path/'b'), flip(data, r)
            c = json.loads(cfg); c['weights'].update(bytes=len(bad), sha256=hashlib.sha256(bad).hexdigest())
            (b/WEIGHTS).write_bytes(bad); (b/CONFIG).write_text(json.dumps(c))
        else:
            b = copy_to(bundle, tmp_path/'b')
            f = b/r.choice((CONFIG, WEIGHTS))
            f.write_bytes(flip(f.read_bytes(), r))
        out = []
        def use():
            try: out.append(load_bundle(b)(X[:3]))
            except (ValueError, OSError) as e: assert str(e)
        assert peak_of(use) < 2**28
        refused += not out
        if out:
            out = out[0]
            assert out.shape == p0.shape
            if kind == 'bytes': assert torch.equal(out, p0)    # white space in the configuration, say
    assert refused > ROUNDS//3 and torch.is_grad_enabled()


# bundles that were written once and are read for ever after
@pytest.mark.parametrize('folder', sorted((root/'tests/data').glob('bundle_v*')), ids=lambda o: o.name)
def test_stored_bundles(folder):
    z = np.load(folder.with_name(folder.name.replace('bundle', 'expected') + '.npz'))
    p = load_bundle(folder)
    spread = z['out'].std() if p.kind == 'regression' else .1      # of numbers far from 0, the size says nothing about the error
    side = {o['name']: z[o['name']] for o in p.config.get('inputs', ())}
    assert np.abs(p(z['X'], **side).numpy() - z['out']).max() < 1e-4*spread and p.input_shape == z['X'].shape[1:]
    assert np.array_equal(p.predict(z['X'], **side), z['predicted']) if p.kind == 'classification' else True
    assert np.allclose(p.embeddings(z['X'], **side), z['embeddings'], rtol=1e-3, atol=1e-4)
    if 'sets' in z: assert [len(o) for o in p.predict_sets(z['X'], **side)] == z['sets'].tolist()
    if 'interval' in z: assert np.allclose(p.predict_interval(z['X'], **side), z['interval'], rtol=1e-3, atol=1e-4*spread)
    if 'novelty' in z: assert np.allclose(p.novelty(z['X'], **side), z['novelty'], atol=.02)

def test_there_are_stored_bundles():
    for n, k in ((1, 3), (2, 2), (4, 1), (8, 1), (9, 2)): assert len(list((root/'tests/data').glob(f'bundle_v{n}_*'))) >= k


# ONNX and torch.export
onnx = pytest.mark.skipif(not all(importlib.util.find_spec(o) for o in ('onnx', 'onnxruntime', 'onnxscript')), reason='needs onnx, onnxscript and onnxruntime')

def session(file):
    import onnxruntime
    opts = onnxruntime.SessionOptions(); opts.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), opts, providers=['CPUExecutionProvider'])

# what others consist of is tried with them; TSFAST_FUZZ asks for everything
ALIKE = () if 'TSFAST_FUZZ' in os.environ else ('MultiRocket', 'MultiRocketHydra', 'LSTMAttentionPlus', 'RNNAttentionPlus', 'LSTM', 'LSTM_FCN', 'xresnet1d34',
                                                           'TSSequencer', 'Mantis')

@onnx
@pytest.mark.parametrize('arch', [o for o in list_models() if o not in ALIKE])
def test_onnx(arch, tmp_path):
    learn = make(arch)
    s = session(export_onnx(learn, tmp_path/'m.onnx'))
    for n in (1, 6, N): assert np.allclose(s.run(None, {'series': X[:n]})[0], learn.get_X_preds(X[:n])[0].numpy(), rtol=1e-4, atol=1e-5)
    assert s.get_inputs()[0].shape == ['batch', C, L] and s.get_outputs()[0].shape == ['batch', 3]
    assert json.loads(s.get_modelmeta().custom_metadata_map['target'])['classes'] == ['maybe', 'no', 'yes']

@pytest.mark.parametrize('length', [1, 2, 7, 64])
def test_running_maximum(length):
    "Stands in for `cummax`, which ONNX lacks and MultiRocket uses"
    x = torch.from_numpy(rng.normal(size=(3, 2, length)))
    assert torch.equal(_cummax(x, -1)[0], x.cummax(-1).values)

@onnx
@pytest.mark.parametrize('name', ['steps', 'lists', 'several', 'forecast', 'far', 'far, several'])
def test_onnx_targets(name, tmp_path):
    learn = make(y=targets[name][0], t=targets[name][1])
    s = session(export_onnx(to_predictor(learn), tmp_path/'m.onnx'))
    far = name.startswith('far')
    assert np.allclose(s.run(None, {'series': X})[0], learn.get_X_preds(X)[0].numpy(), rtol=0 if far else 1e-4, atol=1e-4)
    if far: assert torch.allclose(export_program(learn).module()(torch.from_numpy(X)), learn.get_X_preds(X)[0], rtol=0, atol=1e-4)

@onnx
@pytest.mark.parametrize('name', ['sample, channels', 'minmax', 'gaps', 'clip', 'robust'])
def test_onnx_preprocessing(name, tmp_path):
    data = gaps if name.startswith('gaps') else X
    learn = make(X=data, batch_tfms=tfms[name])
    s = session(export_onnx(learn, tmp_path/'m.onnx'))
    assert np.allclose(s.run(None, {'series': data})[0], learn.get_X_preds(data)[0].numpy(), rtol=1e-4, atol=1e-5)

@onnx
def test_what_cannot_be_exported_says_so(tmp_path):
    with pytest.raises(ValueError, match='cannot be exported to ONNX'): export_onnx(make(X=gaps, batch_tfms=tfms['gaps, median']), tmp_path/'m.onnx')
    with pytest.raises(ValueError, match='Expected a learner'): export_onnx(FCN(2, 3), tmp_path/'m.onnx')
    dls = get_ts_dls(X, y, splits=splits, sel_vars=[1], bs=8)
    p = to_predictor(ts_learner(dls, FCN, **TINY))
    del p.config['series']['input']      # as in bundles of older versions
    with pytest.raises(ValueError, match='before get_ts_dls'): export_onnx(p, tmp_path/'m.onnx')
    assert not list(tmp_path.iterdir())

@onnx
def test_onnx_selection(tmp_path):
    dls = get_ts_dls(X, y, splits=splits, sel_vars=[1], sel_steps=slice(4, None, 2), batch_tfms=TSStandardize(by_step=True), bs=8)
    learn = ts_learner(dls, FCN, **TINY)
    for o in (learn, Predictor(learn.save_bundle(tmp_path/'b'))):
        s = session(export_onnx(o, tmp_path/'m.onnx'))
        assert np.allclose(s.run(None, {'series': X})[0], learn.get_X_preds(X)[0].numpy(), rtol=1e-4, atol=1e-5)

@pytest.mark.parametrize('arch', ['FCN', 'MiniRocket', 'GRU'])
def test_export_program(arch, tmp_path):
    learn = make(arch, batch_tfms=[TSStandardize(by_sample=True), TSClip(-2, 2)])
    export_program(learn, tmp_path/'m.pt2')
    m = torch.export.load(tmp_path/'m.pt2').module()
    for n in (1, 9): assert torch.allclose(m(torch.from_numpy(X[:n])), learn.get_X_preds(X[:n])[0], rtol=1e-4, atol=1e-5)

def test_custom_head_can_be_exported():
    learn = make(custom_head=_head)
    assert torch.allclose(export_program(learn).module()(torch.from_numpy(X[:4])), learn.get_X_preds(X[:4])[0], rtol=1e-4, atol=1e-5)


# the command line
@pytest.fixture(scope='module')
def run_folder(tmp_path_factory):
    out = tmp_path_factory.mktemp('runs')/'italy'
    assert main(['train', 'ItalyPowerDemand', '--arch-args', 'nf=4', 'depth=3', '--epochs', '2', '--device', 'cpu', '--learner', '--no-report', '--out', str(out)]) == 0
    return out

def test_command_line(run_folder, tmp_path, capsys):
    "A run becomes a bundle; both predict the same from every kind of file"
    import csv
    from fastai.learner import load_learner
    from tsfast.data.external import get_UCR_data
    X, y = get_UCR_data('ItalyPowerDemand')[2:]
    X, y = X[:20].astype(np.float32), y[:20]
    assert main(['export', str(run_folder), str(tmp_path/'b')]) == 0 and 'MB' in capsys.readouterr().out
    learn = load_learner(run_folder/'learner.pkl')
    same(learn, Predictor(tmp_path/'b'), X=X)
    np.save(tmp_path/'x.npy', X)
    np.savetxt(tmp_path/'x.csv', X[:, 0], delimiter=',', fmt='%.9g')
    (tmp_path/'x.tsv').write_text(''.join('\t'.join([l, *(f'{v:.9g}' for v in x[0])]) + '\n' for l, x in zip(y, X)))
    (tmp_path/'x.ts').write_text('@problemName x\n@timeStamps false\n@univariate true\n@classLabel true 1 2\n@data\n' + ''.join(','.join(f'{v:.9g}' for v in x[0]) + f':{l}\n' for l, x in zip(y, X)))
    want = [str(o) for o in learn.get_X_preds(X)[2]]
    for model in (tmp_path/'b', run_folder, run_folder/'learner.pkl'):
        for name in ('x.npy', 'x.csv', 'x.tsv', 'x.ts'):
            assert main(['predict', str(model), str(tmp_path/name), '--out', str(tmp_path/'o'/'p.csv'), '--bs', '7']) == 0
            rows = list(csv.DictReader((tmp_path/'o'/'p.csv').read_text().splitlines()))
            assert [o['prediction'] for o in rows] == want and [o['series'] for o in rows] == [str(i) for i in range(20)]
            assert np.allclose([[float(o['p(1)']), float(o['p(2)'])] for o in rows], learn.get_X_preds(X)[0].numpy(), atol=1e-5)
            text = capsys.readouterr().out
            assert ('accuracy' in text) == (name[-3:] != 'npy' and name != 'x.csv') and ('label' in rows[0]) == ('accuracy' in text)
    assert main(['predict', str(tmp_path/'b'), str(tmp_path/'x.npy')]) == 0
    assert capsys.readouterr().out.splitlines()[0] == 'series,prediction,p(1),p(2)'
    assert main(['export', str(tmp_path/'b'), str(tmp_path/'m.pt2')]) == 0
    with torch.no_grad(): assert torch.allclose(torch.export.load(tmp_path/'m.pt2').module()(torch.from_numpy(X)), learn.get_X_preds(X)[0], atol=1e-5)

@pytest.mark.parametrize('kind', ['number', 'several', 'lists', 'steps'])
def test_command_line_targets(kind, tmp_path, capsys):
    folder = make(y=targets[kind][0], t=targets[kind][1]).save_bundle(tmp_path/'b')
    np.save(tmp_path/'x.npy', X)
    assert main(['predict', str(folder), str(tmp_path/'x.npy')]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == N + 1 and lines[0].startswith('series,prediction') and len(lines[1].split(',')) == len(lines[0].split(','))

def test_command_line_says_no(run_folder, bundle, tmp_path, capsys):
    (tmp_path/'a.csv').write_text('1,2,3\n'); (tmp_path/'a.xls').write_text(''); (tmp_path/'a.npy').write_bytes(b'no'); (tmp_path/'e.csv').write_text('')
    for args, text in ((['predict', 'nowhere', 'x.npy'], 'neither a bundle'), (['predict', bundle, 'x.npy'], 'no file x.npy'), (['predict', bundle, tmp_path/'a.csv'], 'line 1: 3 values'), (['predict', bundle, tmp_path/'a.xls'], "ends in '.xls'"),
                       (['predict', bundle, tmp_path/'a.npy'], 'cannot be read'), (['predict', bundle, tmp_path/'e.csv'], 'no series'), (['export', bundle, tmp_path/'x'], 'a bundle already'), (['export', run_folder, tmp_path/'m.zip'], "ends in '.zip'")):
        assert main([str(o) for o in args]) == 1
        err = capsys.readouterr().err
        assert text in err and err.count('\n') == 1


# --- found by others

def test_predictor_leaves_training_mode_as_it_is(bundle):
    "A model that is being trained on predicts as in evaluation, and its statistics stay"
    p = Predictor(bundle)
    want = p(X)
    p.model.train()
    assert torch.equal(p(X), want) and p.model.training
    p.model.eval()
    assert torch.equal(p(X), want)

def test_labels_written_otherwise(tmp_path, capsys):
    "'1.0' is the class '1'; labels that are no classes are named, and give no accuracy"
    y = np.array(['1', '2'])[np.arange(N) % 2]
    learn = make(y=y)
    b, pred = learn.save_bundle(tmp_path/'b'), learn.get_X_preds(X)[2]
    write = lambda labels: (tmp_path/'a.csv').write_text('\n'.join(','.join([o, *map(str, x.ravel())]) for o, x in zip(labels, X)))
    write([f'{float(o)}' for o in y]); assert main(['predict', str(b), str(tmp_path/'a.csv'), '--out', str(tmp_path/'p.csv')]) == 0
    assert f'accuracy {(pred == y).mean():.4f}' in capsys.readouterr().out
    write(['three', *y[1:]]); main(['predict', str(b), str(tmp_path/'a.csv'), '--out', str(tmp_path/'p.csv')])
    assert 'labels that are no classes of the model, so there is no accuracy: three.' in capsys.readouterr().out

def test_places(bundle, tmp_path, monkeypatch):
    "The current folder, a link, a folder that is not there yet, and a folder where a file belongs"
    learn = make(train=False)
    (tmp_path/'here').mkdir(); monkeypatch.chdir(tmp_path/'here')
    with pytest.raises(ValueError, match='is the current folder'): learn.save_bundle('.')
    monkeypatch.chdir(tmp_path)
    same(learn, Predictor(learn.save_bundle('here')))
    (tmp_path/'link').symlink_to(tmp_path/'here')
    learn.save_bundle(tmp_path/'link')
    assert (tmp_path/'link').is_symlink() and sorted(o.name for o in tmp_path.iterdir()) == ['here', 'link']
    export_program(learn, tmp_path/'new'/'m.pt2'); assert (tmp_path/'new'/'m.pt2').stat().st_size
    for export in (export_program, export_onnx):
        with pytest.raises(IsADirectoryError, match='Expected the name of a file'): export(learn, tmp_path/'here')
    with pytest.raises(ValueError, match='opset is 3'): export_onnx(learn, tmp_path/'m.onnx', opset=3)
    assert not (tmp_path/'m.onnx').exists()

def test_device_that_is_not_there(bundle):
    with pytest.raises(ValueError, match="no device 'abacus' here"): Predictor(bundle, device='abacus')
    assert len(Predictor(bundle, bs=np.int64(3))(X)) == N


def test_tables_for_a_selection(tmp_path, capsys):
    "A file has what the model selects from; an older bundle does not say how much that is"
    t = np.abs(X)
    dls = get_ts_dls(t, y, splits=splits, sel_vars=[1], sel_steps=slice(4, None, 2), bs=8)
    learn = ts_learner(dls, FCN, **TINY)
    b = learn.save_bundle(tmp_path/'b')
    assert json.loads((b/CONFIG).read_text())['series'] == dict(channels=1, length=6, input=dict(channels=C, length=L))
    np.savetxt(tmp_path/'x.csv', t.reshape(N, -1), delimiter=',', fmt='%.9g'); np.save(tmp_path/'x.npy', t)
    want = learn.get_X_preds(t)[2].tolist(); capsys.readouterr()
    for name in ('x.csv', 'x.npy'):
        assert main(['predict', str(b), str(tmp_path/name)]) == 0
        assert [o.split(',')[1] for o in capsys.readouterr().out.splitlines()[1:]] == want
    np.savetxt(tmp_path/'few.csv', t[:, 1], delimiter=',')
    assert main(['predict', str(b), str(tmp_path/'few.csv')]) == 1 and '2 × 16 = 32' in capsys.readouterr().err
    cfg = json.loads((b/CONFIG).read_text()); del cfg['series']['input']; cfg['format_version'] = 1
    old = copy_to(b, tmp_path/'old', cfg, sign=True)
    assert main(['predict', str(old), str(tmp_path/'x.npy')]) == 0 and capsys.readouterr()
    assert main(['predict', str(old), str(tmp_path/'x.csv')]) == 1 and 'as .npy' in capsys.readouterr().err

@pytest.mark.parametrize('given', [dict(channels=3, length=16), dict(channels=2, length=14), dict(channels=1, length=16)])
def test_a_selection_must_fit_what_it_selects_from(tmp_path, given):
    dls = get_ts_dls(X, y, splits=splits, sel_vars=slice(0, None), sel_steps=slice(4, None, 2), bs=8)
    b = ts_learner(dls, FCN, **TINY).save_bundle(tmp_path/'a')
    cfg = json.loads((b/CONFIG).read_text()); cfg['series']['input'] = given
    with pytest.raises(ValueError, match='series.input'): load_bundle(copy_to(b, tmp_path/'b', cfg, sign=True))


# ---------------------------------------------------------------- digits

T = 1.6e9 + .01*np.arange(24.)[None, None] + np.arange(6.)[:, None, None]

@pytest.mark.parametrize('kind', [lambda o: o, torch.from_numpy, list, lambda o: pd.DataFrame(o[:, 0])], ids=['array', 'tensor', 'list', 'frame'])
def test_lost_digits_are_told_as_in_training(kind, tmp_path):
    X, y = T - 1.6e9, np.arange(6) % 2
    learn = ts_learner(get_ts_dls(X, y, splits=(range(4), range(4, 6)), device='cpu'), 'FCN', seed=0)
    p = to_predictor(learn)
    with pytest.warns(UserWarning, match='Channel 0 of X has values near 1.6e.09.*float32 keeps fewer') as w: p(kind(T))
    assert len(w) == 1
    p(kind(X)); p(kind(T.astype(np.float32)))

def test_lost_digits_of_channels_that_are_left_out():
    X, y = np.concatenate([T - 1.6e9, T], 1), np.arange(6) % 2
    for sel_vars, told in (([0], False), (slice(1, 2), True)):
        learn = ts_learner(get_ts_dls(X.astype(np.float32), y, splits=(range(4), range(4, 6)), sel_vars=sel_vars, device='cpu'), 'FCN', seed=0)
        with warnings.catch_warnings(record=True) as w:
            warnings.simplefilter('always'); to_predictor(learn)(X)
        assert ['Channel 1' in str(o.message) for o in w] == [True]*told
