"The contract of every registered architecture: a new model needs no new test"
import contextlib, copy, inspect, io, pickle, random, subprocess, sys, warnings
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from tsfast.core import seeded
from tsfast.models.fcn import FCN
from tsfast.models.heads import NotPlain, TSModule, body_head_params, head_params
from tsfast.models.registry import build_ts_model, get_arch, list_models, model_modules, register_model
from tsfast.models.utils import attribution_copy, get_layers

C_IN, L, B = 3, 40, 6
# widths that keep the tests quick, for whichever architecture has such an argument
SMALL = dict(nf=8, hidden_size=16, d_model=16, d_ff=16, n_heads=2, n_layers=2, encoder_layers=2, num_features=840, k=4, g=8,
    n_shapelets=280, rnn_dropout=0., dropout=0., size=64, d_scalar=4)
ARCHS = list_models()


def make(name, c_out=2, c_in=C_IN, seq_len=L, fit=True, seed=0, **kwargs):
    "A small model of the architecture, fitted where it needs that; a head that would start from zeros has random weights"
    ps = inspect.signature(get_arch(name)).parameters
    with seeded(seed):
        m = build_ts_model(name, c_in, c_out, seq_len=seq_len, **{**{k: v for k, v in SMALL.items() if k in ps},
            **({'random_state': 0} if 'random_state' in ps else {}), **kwargs})
        for p in head_params(m):
            if not p.any(): nn.init.normal_(p, std=.1)
    if fit and not getattr(m, 'fitted', True): m.fit(series(32, c_in, seq_len))
    return m

def series(n=B, c_in=C_IN, length=L, seed=0): return torch.randn(n, c_in, length, generator=torch.Generator().manual_seed(seed))

def predict(m, x):
    with torch.no_grad(): return m.eval()(x)

def trainable(m): return [p for p in m.parameters() if p.requires_grad]


@pytest.fixture(params=ARCHS)
def arch(request): return request.param


def own(name, module='__main__', base=FCN):
    "A class such as a script, or another module, would define"
    def __init__(self, c_in, c_out, **kwargs): base.__init__(self, c_in, c_out, **kwargs)
    return type(name, (base,), dict(__module__=module, __init__=__init__))

@pytest.fixture
def archs(monkeypatch):
    "A registry that may be changed"
    from tsfast.models import registry
    monkeypatch.setattr(registry, '_archs', dict(registry._archs))
    return registry._archs


def test_every_architecture_is_registered():
    "Each public `TSModule` of `tsfast.models` but for the bases; its name is found in any case"
    classes = {k: o for m in model_modules() for k, o in vars(m).items() if isinstance(o, type) and o.__module__ == m.__name__}
    found = {k: o for k, o in classes.items() if issubclass(o, TSModule) and k[0] != '_'}
    bases = {'TSModule', 'SequenceModule', 'FeatureModel', 'MiniRocketHead', 'EncoderModel'}     # the last takes a module of the user's
    assert set(ARCHS) == set(found) - bases and {'InceptionTime', 'XceptionTime'} <= set(ARCHS)
    for k in ARCHS: assert all(get_arch(o) is found[k] for o in (k, k.upper(), k.lower()))
    assert list_models('*ROCKET*') == ['MiniRocket', 'MiniRocketHydra', 'MultiRocket', 'MultiRocketHydra']
    with pytest.raises(KeyError, match="Did you mean 'InceptionTime'"): get_arch('InceptonTime')


def test_names_that_differ_in_case(archs):
    "The exact name wins; a name that could mean both is an error"
    mine = register_model(own('fcn'))
    assert get_arch('FCN') is FCN and get_arch('fcn') is mine
    with pytest.raises(KeyError, match="'FCN' or 'fcn'"): get_arch('Fcn')


@pytest.mark.parametrize('script', ['__main__', '__mp_main__'])
def test_a_script_takes_a_name(archs, script, monkeypatch):
    "With a warning, and where tsfast's own class was not imported before, too"
    del archs['ResNet']
    monkeypatch.delitem(sys.modules, 'tsfast.models.resnet'); monkeypatch.delattr('tsfast.models.resnet')
    with pytest.warns(UserWarning, match="already an architecture 'ResNet', in tsfast.models.resnet"):
        mine = register_model(own('ResNet', script))
    assert get_arch('ResNet') is get_arch('resnet') is mine
    again = register_model(own('ResNet', script))      # a cell that is run again says nothing
    assert get_arch('ResNet') is again
    with pytest.raises(ValueError, match='already an architecture'): register_model(own('FCN', 'my_models'))


def test_a_definition_repeated_is_none_of_its_own(archs):
    "What a notebook of tsfast does: it defines the class that its module holds"
    parts = {k: v for k, v in vars(FCN).items() if k not in ('__dict__', '__weakref__')}
    copy_of = type('FCN', (TSModule,), parts | dict(__module__='__main__'))
    assert register_model(copy_of) is copy_of and get_arch('FCN') is FCN


def test_signature(arch):
    "`Arch(c_in, c_out, …)`, with the options that every architecture has, and a class that says what it is"
    ps = inspect.signature(get_arch(arch)).parameters
    assert list(ps)[:2] == ['c_in', 'c_out']
    assert {'d', 'y_range', 'custom_head', 'fc_dropout'} <= set(ps)
    assert issubclass(get_arch(arch), TSModule) and get_arch(arch).__doc__


@pytest.mark.parametrize('c_in,c_out', [(1, 2), (3, 5), (3, 1)])
def test_forward(arch, c_in, c_out):
    m, x = make(arch, c_out, c_in), series(c_in=c_in)
    out = m.train()(x)
    assert out.shape == (B, c_out) and torch.isfinite(out).all()
    assert predict(m, x).shape == (B, c_out)
    assert predict(m, x[:1]).shape == (1, c_out)


@pytest.mark.parametrize('c_out,d,shape', [(1, 7, (7,)), (1, (2, 5), (2, 5)), (3, L, (L, 3)), (3, (2, 5), (2, 5, 3))])
def test_output_shapes(arch, c_out, d, shape):
    assert predict(make(arch, c_out, d=d), series()).shape == (B, *shape)


def test_features_and_head(arch):
    "`forward` is `forward_head(forward_features(x))`, and the features have `head_nf` channels"
    m, x = make(arch), series()
    with torch.no_grad():
        z = m.eval().forward_features(x)
        assert z.shape[:2] == (B, m.head_nf)
        assert torch.equal(m.forward_head(z), m(x))
    body, head = ([], *body_head_params(m)) if len(body_head_params(m)) == 1 else body_head_params(m)
    assert head and {id(p) for p in body + head} == {id(p) for p in m.parameters()}


def test_every_parameter_gets_a_gradient(arch):
    m = make(arch, 3).train()
    opt = torch.optim.SGD(trainable(m), lr=1e-2)
    for _ in range(2):      # a head that starts from zero passes no gradient to its body in the first step
        opt.zero_grad()
        nn.functional.cross_entropy(m(series()), torch.tensor([0, 1, 2]*2)).backward()
        opt.step()
    without = [n for n, p in m.named_parameters() if p.requires_grad and (p.grad is None or not torch.isfinite(p.grad).all())]
    assert not without


def test_reset_head(arch):
    m, x = make(arch, 2), series()
    with torch.no_grad():
        before = m.eval().forward_features(x)
        m.reset_head(5)
        assert torch.equal(m.eval().forward_features(x), before)
    assert predict(m, x).shape == (B, 5) and m.c_out == 5


def test_a_head_that_is_assigned(arch):
    "`model.head = …` is called, where the model has such a part, and refused elsewhere; `init_args` hold that the head is no default one"
    m, x, seen = make(arch).eval(), series(), []
    class Head(nn.Module):
        def forward(self, z): seen.append(z); return z.flatten(1)[:, :1]
    if 'head' not in m.head_names:
        with pytest.raises(ValueError, match='never be called.*reset_head'): m.head = Head()
        assert 'head' not in dict(m.named_children())
    else:
        m.head = Head()
        assert predict(m, x).shape == (B, 1) and len(seen) == 1 and isinstance(m.init_args['custom_head'], NotPlain)
    setattr(m, m.head_names[-1], Head())
    assert predict(m, x).shape == (B, 1) and isinstance(m.init_args['custom_head'], NotPlain)
    assert predict(m.reset_head(3), x).shape == (B, 3) and m.init_args['custom_head'] is None


def test_attribution_copy(arch):
    "Equal outputs; each layer without weights is called once, no maximum has windows that overlap, and the model itself stays as it is"
    m, x = make(arch).eval(), series()
    before, calls = repr(m), Counter()
    c = attribution_copy(m, x[:1])
    for l in get_layers(c, lambda l: not l.state_dict()): l.register_forward_pre_hook(lambda l, _: calls.update([l]))
    torch.testing.assert_close(predict(c, x), predict(m, x), atol=1e-5, rtol=1e-5)
    acts = [l for l in c.modules() if isinstance(l, (nn.ReLU, nn.GELU, nn.Sigmoid, nn.MaxPool1d))]
    assert set(calls.values()) <= {1} and all(calls[l] == 1 for l in acts)
    assert all(l.stride >= l.kernel_size for l in acts if isinstance(l, nn.MaxPool1d))
    assert repr(m) == before and not calls.keys() & set(m.modules())
    assert c.state_dict().keys() == m.state_dict().keys() and not any(p is q for p, q in zip(c.parameters(), m.parameters()))


@pytest.mark.parametrize('ks,stride,padding,length', [(3, 1, 1, 20), (3, 2, 1, 20), (5, 2, 2, 21), (4, 3, 0, 20), (2, 1, 0, 9),
    (3, 3, 0, 20), ((3,), (1,), (1,), 20)])
def test_overlapping_windows(ks, stride, padding, length):
    "In a copy for attribution, a maximum over windows that overlap has the same outputs and gradients; other ones stay"
    m, x = nn.Sequential(nn.Conv1d(3, 4, 1), nn.MaxPool1d(ks, stride, padding), nn.ReLU()), series(length=length) - 3
    c = attribution_copy(m, x)
    assert torch.equal(c(x), m(x)) and isinstance(c[1], nn.MaxPool1d) == (stride == ks)
    grads = [torch.autograd.grad(o(x).square().sum(), o[0].weight)[0] for o in (m, c)]
    torch.testing.assert_close(*grads, atol=1e-5, rtol=1e-5)


def test_options(arch):
    "y_range, fc_dropout and custom_head have their effect"
    x = series()
    y = predict(make(arch, 1, y_range=(-1, 3)), 100*x)
    assert ((y >= -1) & (y <= 3)).all()
    y = predict(make(arch, 1, d=4, y_range=(-1, 3)), 100*x)
    assert y.shape == (B, 4) and ((y >= -1) & (y <= 3)).all()
    m = make(arch, fc_dropout=0.5)
    assert any(isinstance(o, nn.Dropout) and o.p == 0.5 for k in m.head_names for o in getattr(m, k).modules())
    class Head(nn.Module):
        def __init__(self, nf, c_out, seq_len):
            super().__init__()
            self.args, self.fc = (nf, c_out, seq_len), nn.Linear(nf, c_out)
        def forward(self, z): return self.fc(z.flatten(2).mean(2) if z.ndim > 2 else z)
    m = make(arch, 4, custom_head=Head)
    assert predict(m, x).shape == (B, 4)
    head = next(o for o in m.modules() if isinstance(o, Head))
    assert head.args == (m.head_nf, 4, L)
    y = predict(make(arch, 1, custom_head=Head, y_range=(-1, 3)), 100*x)
    assert ((y >= -1) & (y <= 3)).all()
    with pytest.raises(ValueError, match='into your custom_head'): make(arch, custom_head=Head, fc_dropout=0.5, fit=False)

@pytest.mark.parametrize('arch,kwargs,match', [
    ('InceptionTime', dict(d=2.5), 'd is 2.5'), ('InceptionTime', dict(d='10'), "d is '10'"),
    ('InceptionTime', dict(nf=2.5), 'nf is 2.5. Expected a whole number'),
    ('InceptionTime', dict(fc_dropout='a'), 'Expected a number'), ('RNNAttentionPlus', dict(encoder_layers=-1), 'at least 0'),
    ('RNNAttentionPlus', dict(n_heads=2.5), 'n_heads is 2.5'),
    ('RNNAttentionPlus', dict(act=None), 'act is None'), ('RNNAttentionPlus', dict(bidirectional='yes'), 'Expected True or False'),
    ('DLinear', dict(kernel_size=2.5), 'kernel_size is 2.5'),
    ('LSTM_FCN', dict(se=-1), 'se is -1'), ('TST', dict(y_range=5), 'low < high'),
    ('TST', dict(y_range=([0, 0, 0], [1, 1, 1])), r'of shape \(2,\)')], ids=str)
def test_arguments_of_the_wrong_kind(arch, kwargs, match):
    with pytest.raises(ValueError, match=match): make(arch, **kwargs)


def test_sizes_that_make_no_sense(arch):
    "Zero, negative numbers, text and empty lists are taken or refused with a message, and never end inside torch"
    sizes = {k: p.default for k, p in inspect.signature(get_arch(arch)).parameters.items() if k not in ('c_in', 'c_out', 'seq_len', 'kwargs')}
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Initializing zero-element tensors', UserWarning)     # torch's word on a width of 0
        for k, default in sizes.items():
            if default is None or isinstance(default, (bool, str, type)): continue
            for v in (0, -1, 'x', 2.5, (0,), []):
                with contextlib.suppress(ValueError, KeyError): make(arch, fit=False, **{k: v})


@pytest.mark.parametrize('name,args', [(a, {k: 0}) for a, ks in dict(InceptionTime='nf ks', XceptionTime='nf ks', LITE='nf ks', ResNet='nf', ResCNN='nf',
                                                                  TCN='ks', ConvTran='ks').items() for k in ks.split()]
                         + [('ConvTran', dict(max_seq_len=2.5)), ('TST', dict(max_seq_len=0))], ids=str)
def test_sizes_of_no_layer(name, args):
    with pytest.raises(ValueError, match=f'{[*args][0]} is .*at least 1'): make(name, fit=False, **args)


def test_features_are_fitted_to_series_alone():
    m = make('MiniRocket', fit=False)
    with pytest.raises(ValueError, match='chunksize is .*number of series'): m.fit(series(), ['a', 'b'])


def test_numbers_of_numpy_are_arguments():
    make('TST', n_heads=np.int64(2), dropout=np.float32(.1), d=(np.int32(3),), learn_pe=np.bool_(True))


def test_state(arch):
    "The whole state is in `state_dict`: another model of the same arguments, loaded with it, is bit-equal"
    m, x = make(arch), series()
    f = io.BytesIO(); torch.save(m.state_dict(), f); f.seek(0)
    other = make(arch, fit=False, seed=1, **({'random_state': 1} if 'random_state' in inspect.signature(get_arch(arch)).parameters else {}))
    other.load_state_dict(torch.load(f, weights_only=True))
    assert torch.equal(predict(other, x), predict(m, x))


FRESH = """if True:
    import sys, torch
    from pathlib import Path
    from tsfast.models.registry import build_ts_model, list_models
    list_models()
    assert not {'fastai', 'fastcore', 'numba', 'triton', 'sktime', 'matplotlib'} & set(sys.modules)
    folder, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    bad = []
    for o in sorted(Path(folder).glob('*.pt')):
        pickled, kwargs, state, x, y = torch.load(o, weights_only=False)
        built = build_ts_model(o.stem, **kwargs).eval()
        built.load_state_dict(state)
        for k, m in dict(pickled=pickled.eval(), built=built).items():
            with torch.no_grad(): same = torch.equal(m(x), y)
            if not same or not getattr(m, 'fitted', True): bad.append((o.stem, k))
    assert not bad, bad
    assert 'fastai' not in sys.modules"""


def test_state_in_a_fresh_process(tmp_path):
    """Saved, loaded in a fresh process (one for all architectures, since each costs seconds): equal predictions of the pickled model,
    and of one that is built there and takes the state"""
    x = series()
    for name in ARCHS:
        m = make(name)
        ps = inspect.signature(get_arch(name)).parameters
        kwargs = {k: v for k, v in m.init_args.items() if k in ps and k not in ('random_state', 'device')}
        torch.save((m, kwargs, m.state_dict(), x, predict(m, x)), tmp_path/f'{name}.pt')
    cmd = [sys.executable, '-W', 'error', '-c', FRESH, str(tmp_path), str(torch.get_num_threads())]
    r = subprocess.run(cmd, capture_output=True, text=True)
    assert not r.returncode, r.stderr


def test_copies(arch):
    m, x = make(arch), series()
    want = predict(m, x)
    assert torch.equal(predict(copy.deepcopy(m), x), want)
    assert torch.equal(predict(pickle.loads(pickle.dumps(m)), x), want)


def test_double(arch):
    m, x = make(arch), series()
    want = predict(m, x)
    got = predict(copy.deepcopy(m).double(), x.double())
    # counts of values above a threshold may differ where a value lies within rounding of it
    assert got.dtype == torch.float64 and (got.float() - want).abs().median() < 1e-3


def test_half(arch):
    assert torch.isfinite(predict(make(arch).to(torch.bfloat16), series().to(torch.bfloat16)).float()).all()


def test_no_device_is_chosen(arch):
    "Built under another default device, a model lives there, buffers and all; what it draws from a seed is drawn on the CPU"
    kwargs = {'random_state': 0} if 'random_state' in inspect.signature(get_arch(arch)).parameters else {}
    with torch.device('meta'): m = build_ts_model(arch, C_IN, 1, seq_len=L, y_range=(0, 1), **kwargs)
    assert {p.device.type for p in (*m.parameters(), *m.buffers())} == {'meta'}


# torch's own recurrent layers keep a list of their weights, which export notices; the exported numbers are compared below
@pytest.mark.filterwarnings("ignore:The tensor attribute.* assigned during export:UserWarning")
def test_export(arch):
    "`torch.export` with a dynamic batch gives the same numbers as the readable form in torch"
    m, x = make(arch, seq_len=12).eval(), series(length=12)
    program = torch.export.export(m, (x,), dynamic_shapes=({0: torch.export.Dim('batch', min=1, max=4096)},))
    for o in m.modules():
        if hasattr(o, 'backend'): o.backend = 'torch'
    for n in (1, 2, 9):
        other = series(n, length=12, seed=n)
        torch.testing.assert_close(program.module()(other), predict(m, other), atol=1e-4, rtol=1e-4)


def test_batches_do_not_matter(arch):
    m, x = make(arch), series(20)
    assert torch.allclose(torch.cat([predict(m, o) for o in x.split(3)]), predict(m, x), atol=1e-5)


def test_no_global_generator_is_touched(arch, monkeypatch):
    "With a `random_state`, building and fitting neither draw from global generators nor seed them for a moment: other threads may draw"
    ps = inspect.signature(get_arch(arch)).parameters
    if 'random_state' not in ps: pytest.skip('draws nothing of its own')
    def build():
        kwargs = {k: v for k, v in (SMALL | dict(zero_init=False)).items() if k in ps}
        return build_ts_model(arch, C_IN, 2, seq_len=L, random_state=3, **kwargs).fit(series(32))
    seeds = [(torch, 'manual_seed'), (torch, 'set_rng_state'), (np.random, 'seed'), (np.random, 'set_state'),
             (random, 'seed'), (random, 'setstate')]
    for o, k in seeds:
        monkeypatch.setattr(o, k, lambda *args, name=f'{o.__name__}.{k}': pytest.fail(f'{name} was called'))
    state, np_state, own = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    a, b = build(), build()
    assert torch.equal(torch.get_rng_state(), state) and (np.random.get_state()[1] == np_state).all() and random.getstate() == own
    assert all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values()))


def test_bad_input(arch):
    m = make(arch)
    with pytest.raises(ValueError, match='3 channels'): m(series(c_in=2))
    with pytest.raises(ValueError, match='dimensions'): m(series()[0])
    with pytest.raises(ValueError, match='at least 1'): build_ts_model(arch, C_IN, 0, seq_len=L)
    with pytest.raises(ValueError, match='low < high'): make(arch, 1, y_range=(3, 1), fit=False)
    short = get_arch(arch).min_len - 1
    if short:
        with pytest.raises(ValueError, match='at least'): build_ts_model(arch, C_IN, 2, seq_len=short)
    if m.seq_len is not None:
        with pytest.raises(ValueError, match=f'{L} steps'): m(series(length=L+5))


def test_shortest(arch):
    "The stated shortest length works"
    n = max(get_arch(arch).min_len, 1)
    m = make(arch, seq_len=n)
    assert torch.isfinite(predict(m, series(length=n))).all()
