"""A new architecture is one decorated class.

The class below touches no other file, and passes the contract tests, trains in a learner, travels in a bundle and is listed by the
command line. What a new architecture has to touch beyond its class would show here"""
import inspect, itertools

import numpy as np
import pytest
import torch
from torch import nn

import test_models as contract
from tsfast.all import TSClassification, TSStandardize, get_ts_dls, ts_learner
from tsfast.cli import main
from tsfast.inference import Predictor
from tsfast.models import registry
from tsfast.models.heads import TSModule, linear_head, takes_head_args
from tsfast.models.layers import GAP1d
from tsfast.models.registry import get_arch, list_models, register_model


def decorated():
    "What `@register_model` above the class does, in a registry that only this file sees"
    @register_model
    class Toy(TSModule):
        "One convolution, and its mean over time: `(B, c_in, L)` to `(B, c_out)`"
        min_len, head_names = 3, ('gap', 'fc')
        @takes_head_args
        def __init__(self, c_in:int, c_out:int, nf:int=8, *, seq_len:int|None=None, **head):
            super().__init__(c_in, seq_len)
            self.conv, self.act, self.head_nf = nn.Conv1d(c_in, nf, 3), nn.ReLU(), nf
            self.reset_head(c_out, **head)
        def make_head(self, c_out, **kwargs): return dict(gap=GAP1d(), fc=linear_head(self.head_nf, c_out, **kwargs))
        def forward_features(self, x): return self.act(self.conv(x))                    # (B, nf, L-2)
    return Toy

@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr(registry, '_archs', {k: registry._archs[k] for k in list_models()})
    cls = decorated()
    cls.__qualname__ = 'Toy'                                    # as at the top of a module, where pickle finds it
    monkeypatch.setitem(globals(), 'Toy', cls)
    return 'Toy'


def cases():
    "Each contract test, and each combination of its parameters"
    for name, f in vars(contract).items():
        if not name.startswith('test_') or 'arch' not in inspect.signature(f).parameters: continue
        marks = [o.args for o in getattr(f, 'pytestmark', []) if o.name == 'parametrize']
        names = [o.replace(' ', '').split(',') for o, _ in marks]
        if 'arch' in itertools.chain(*names): continue           # about certain architectures
        for values in itertools.product(*(v for _, v in marks)):
            args = {k: v for ks, vs in zip(names, values) for k, v in zip(ks, vs if len(ks) > 1 else [vs])}
            yield pytest.param(f, args, id='-'.join([name, *map(str, args.values())]))

@pytest.mark.parametrize('f,args', list(cases()))
def test_contract(f, args, toy, request):
    others = [k for k in inspect.signature(f).parameters if k != 'arch' and k not in args]
    f(arch=toy, **args, **{k: request.getfixturevalue(k) for k in others})

def test_there_are_contract_tests(): assert len(list(cases())) >= 20


def test_signature_and_arguments(toy):
    "The options of the head are in the signature, and a slip in a name is refused"
    ps = inspect.signature(get_arch(toy)).parameters
    assert list(ps) == ['c_in', 'c_out', 'nf', 'seq_len', 'd', 'y_range', 'fc_dropout', 'custom_head', 'revin']
    assert {k: p.default for k, p in ps.items()} | dict(nf=8, d=None, fc_dropout=0., revin=False) == {k: p.default for k, p in ps.items()}
    assert get_arch(toy)(2, 3, fc_dropout=.1).init_args['fc_dropout'] == .1
    with pytest.raises(TypeError, match='fc_dropot'): get_arch(toy)(2, 3, fc_dropot=.1)


def test_learner_bundle_and_list(toy, tmp_path, capsys):
    rng = np.random.default_rng(0)
    y = np.array(['a', 'b'])[np.arange(60) % 2]
    X = (rng.normal(size=(60, 2, 20)) + (y == 'b')[:, None, None]).astype(np.float32)
    splits = list(range(40)), list(range(40, 60))
    dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], batch_tfms=TSStandardize(), bs=8, device='cpu')
    learn = ts_learner(dls, toy.lower(), seed=0)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(15, 3e-2)
    want, _, labels = learn.get_X_preds(X[40:])
    assert (np.asarray(labels) == y[40:]).mean() > .7
    learn.save_bundle(tmp_path/'bundle')
    got = Predictor(tmp_path/'bundle')(X[40:])
    torch.testing.assert_close(torch.as_tensor(got), torch.as_tensor(want), atol=1e-5, rtol=1e-5)
    assert main(['models']) in (0, None) and 'Toy' in capsys.readouterr().out
