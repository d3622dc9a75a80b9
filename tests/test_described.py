"A new kind of target and a new batch transform, each defined in this file alone, go through everything that tsfast does with them"
from typing import Annotated

import msgspec
import numpy as np
import pytest
import torch

from tsfast.bundle import check_config
from tsfast.cli import main
from tsfast.data.core import get_ts_dls
from tsfast.data.preprocessing import TSBatchTransform, TSStandardize
from tsfast.data.targets import TSClassification, TSMultiLabelClassification, TSRegression, TSTarget
from tsfast.deploy import export_program, to_predictor
from tsfast.described import Described
from tsfast.inference import load_bundle
from tsfast.learner import ts_learner
from tsfast.models.scaling import ClipSeries, FillNaN, ScaleSeries, SelectSeries, SeriesModule

N, C, L = 40, 2, 12
rng = np.random.default_rng(0)
grades = rng.integers(1, 5, N)
X = np.abs(rng.normal(size=(N, C, L))).astype(np.float32) + grades[:, None, None].astype(np.float32)
splits = (range(30), range(30, N))
TINY = dict(layers=[4, 4], kss=[3, 3], seed=0)


class TSGrades(TSTarget):
    "Grades 1, 2, …: output number k is the probability that the grade is above k + 1"
    kind, activation, cat = 'test grades', 'sigmoid', True
    schema = dict(c=Annotated[int, msgspec.Meta(ge=1, le=100)])
    def setup(self, y):
        self.c = int(max(y)) - 1
        return self
    def encode(self, y): return (torch.as_tensor(np.asarray(y))[:, None] > torch.arange(1, self.c + 1)).float()
    def decode(self, t): return 1 + (t > .5).sum(-1).numpy()
    def loss_func(self):
        from fastai.losses import BCEWithLogitsLossFlat
        return BCEWithLogitsLossFlat()

class LoggedSeries(SeriesModule):
    "The logarithm of `x + offset`"
    def __init__(self, offset:float=1., scale:torch.Tensor|None=None):
        super().__init__()
        self.offset = offset
        self.register_buffer('scale', scale)
    def forward(self, x): return torch.log(x + self.offset)*(1 if self.scale is None else self.scale)
    def check_series(self, channels, length, given=(None, None)):
        if self.scale is not None and self.scale.shape != (channels, 1): raise ValueError("scale has another number of channels.")

class TSLog(TSBatchTransform):
    "`LoggedSeries` of each batch, before scaling"
    order = 80
    def __init__(self, offset=1., scale=None):
        super().__init__()
        self.fn = LoggedSeries(offset, scale)
    def inverse(self, x, stats=None): return torch.exp(x) - self.fn.offset


def make(y=grades, t=None, tfms=()):
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, t or TSGrades()], batch_tfms=[*tfms, TSStandardize()], bs=8, val_bs=10, device='cpu')
    return ts_learner(dls, 'FCN', **TINY)

def test_a_new_kind_of_target(tmp_path, capsys):
    "Loaders, fit, predictions, bundle, predictor, exported program, command line"
    learn = make()
    assert learn.dls.c == 3 and learn.dls.cat
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(15, 1e-2)
    probas, _, decoded = learn.get_X_preds(X)
    assert probas.shape == (N, 3) and (decoded[30:] == grades[30:]).mean() > .5
    p = load_bundle(learn.save_bundle(tmp_path/'b'))
    assert p.kind == 'test grades' and p.config['target'] == dict(kind='test grades', c=3) and p.config['format_version'] == 1
    assert torch.equal(p(X), probas) and np.array_equal(p.predict(X), decoded) and np.array_equal(p.predict_proba(X), probas.numpy())
    assert p.classes is None and repr(p) and torch.equal(to_predictor(learn)(X), probas)
    assert torch.allclose(export_program(learn).module()(torch.from_numpy(X[:5])), probas[:5], atol=1e-5)
    np.save(tmp_path/'x.npy', X); capsys.readouterr()
    assert main(['predict', str(tmp_path/'b'), str(tmp_path/'x.npy')]) == 0
    assert [int(o.split(',')[1]) for o in capsys.readouterr().out.splitlines()[1:]] == decoded.tolist()

def test_schema_of_a_new_kind(tmp_path):
    "Its entries are checked, and others are refused"
    cfg = load_bundle(make().save_bundle(tmp_path/'b')).config
    for target, text in ((dict(c=0), 'target.c'), (dict(c='3'), 'target.c'), (dict(c=3, d=1), 'unknown field'), ({}, 'required field `c`'), (dict(c=4), 'the target needs')):
        with pytest.raises(ValueError, match=text): check_config({**cfg, 'target': dict(kind='test grades', **target)})
    with pytest.raises(ValueError, match='target.kind.*import the module'): check_config({**cfg, 'target': dict(kind='not known here', c=3)})

def test_a_subclass_without_a_name_is_no_kind(tmp_path):
    "It may decode otherwise, and the name would lead to its base"
    class Mine(TSClassification): pass
    with pytest.raises(ValueError, match='its own `kind`'): make(t=Mine()).save_bundle(tmp_path/'b')

def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match='has already'): type('Other', (TSTarget,), dict(kind='classification'))
    with pytest.raises(ValueError, match='has already'): type('ClipSeries', (SeriesModule,), {})
    assert TSTarget.kinds['classification'] is TSClassification and SeriesModule.kinds['ClipSeries'] is ClipSeries

@pytest.mark.parametrize('scale', [None, torch.full((C, 1), 2.)])
def test_a_new_batch_transform(tmp_path, scale):
    "With a module of its own, its argument and its statistics in the bundle"
    learn = make(tfms=[TSLog(2., scale)])
    p = load_bundle(learn.save_bundle(tmp_path/'b'))
    assert p.config['preprocessing'][0] == dict(kind='LoggedSeries', arguments=dict(offset=2.))
    assert torch.equal(p(X), learn.get_X_preds(X)[0])
    if scale is None: np.testing.assert_allclose(learn.dls.valid.decode(learn.dls.valid.one_batch())[0].numpy(), X[30:], atol=1e-4)
    cfg = {**p.config, 'preprocessing': [dict(kind='LoggedSeries', arguments=dict(offset='2'))]}
    with pytest.raises(ValueError, match=r"preprocessing\[0\].arguments.offset is '2'"): check_config(cfg)

def test_names_of_earlier_versions():
    "Transforms that were written for `undo` and `handles_nan` work on"
    class Old(TSBatchTransform):
        handles_nan = True
        def on_series(self, x): return x.nan_to_num()*2
        def undo(self, x, stats=None): return x/2
    gaps = X.copy(); gaps[::3, 0, 4] = np.nan
    dls = get_ts_dls(gaps, grades, splits=splits, tfms=[None, TSGrades()], batch_tfms=Old(), bs=8, device='cpu')
    assert Old.fills_missing
    decoded = dls.valid.decode(dls.valid.one_batch())[0][0]      # missing values are missing again
    np.testing.assert_array_equal(decoded.numpy(), gaps[30])
    t = TSRegression(standardize=True).setup([1., 2., 3.]); z = t.encode([1., 5.])
    assert torch.equal(t.unscale(z), t.inverse(z)) and torch.equal(t.restore(t.wrap(z)), t.unwrap(t.wrap(z)))
    assert TSStandardize(mean=1., std=2.).undo(torch.zeros(1, 1, 3)).eq(1).all()

targets = {
    'labels': (TSClassification(), ['b', 'a', 'b']), 'steps': (TSClassification(), np.array([['a', 'b'], ['b', 'b']])), 'order': (TSClassification(vocab=[3, 1]), [1, 3]),
    'lists': (TSMultiLabelClassification(thresh=.3), [['a'], ['b', 'a']]), 'number': (TSRegression(), [1., 2.]), 'scaled': (TSRegression(standardize=True), np.arange(6.).reshape(3, 2)),
    'far': (TSRegression(standardize=True), [1e9, 1e9 + .1]), 'forecast': (TSRegression(standardize=True), np.arange(24.).reshape(2, 3, 4))}

@pytest.mark.parametrize('name', targets)
def test_targets_come_back(name):
    t, y = targets[name]
    t.setup(np.asarray(y) if name != 'lists' else y)
    cfg = msgspec.json.decode(msgspec.json.encode(t.to_config()))
    assert cfg == t.to_config() and msgspec.convert(cfg, type(t).struct(tag=t.kind, tag_field='kind'))
    again = TSTarget.from_config(cfg, t.statistics)
    assert type(again) is type(t) and again.to_config() == cfg and again.output_shape == t.output_shape and (again.c, again.d, again.cat, again.by_step) == (t.c, t.d, t.cat, t.by_step)
    z = t.encode(y)
    torch.testing.assert_close(again.encode(y), z)
    a, b = again.decode(again.wrap(z)), t.decode(t.wrap(z))
    assert a == b if isinstance(a, list) else a.dtype == b.dtype and np.allclose(a, b, rtol=1e-12) if a.dtype.kind == 'f' else np.array_equal(a, b)
    if t.activation == 'softmax': assert np.array_equal(t.decode(torch.nn.functional.one_hot(z).float()), b)

@pytest.mark.parametrize('f', [ScaleSeries('minmax', torch.zeros(1, 2, 1), torch.ones(1, 2, 1), low=-1., high=2), ScaleSeries(by_sample=True, dims=(2,), keep_vars=[1]),
                               ClipSeries(-1, 2.5), FillNaN(1., 'mean', True), SelectSeries([1, 0], [0, None, 2], steps_slice=True)], ids=lambda f: type(f).__name__)
def test_modules_come_back(f):
    cfg = msgspec.json.decode(msgspec.json.encode(f.to_config()))
    tensors = f.state_dict()
    again = SeriesModule.from_config(cfg, tensors)
    x = torch.randn(3, 2, 8)
    assert torch.equal(again(x), f(x)) and again.to_config() == f.to_config() and set(cfg['arguments']) == set(type(f).schema)

def test_families_are_apart():
    assert not set(TSTarget.kinds) & set(SeriesModule.kinds) and not Described.kinds
