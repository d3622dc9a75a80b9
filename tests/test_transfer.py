"A new learner from a trained network: what is copied, what is named, what is frozen; and bundles without a head"
import copy, inspect, json, shutil, subprocess, sys, warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from fastai.torch_core import norm_bias_params

from tsfast.bundle import CONFIG, WEIGHTS, config_digest
from tsfast.data.core import get_ts_dls
from tsfast.data.preprocessing import TSNan2Value, TSStandardize
from tsfast.data.targets import TSRegression
from tsfast.deploy import export_program, save_encoder, to_predictor
from tsfast.inference import Predictor, load_bundle
from tsfast.learner import ts_learner
from tsfast.learner.transfer import body_state
from tsfast.models.fcn import FCN
from tsfast.models.feature_model import FeatureModel
from tsfast.models.heads import head_params
from tsfast.models.pipeline import pooled_features
from tsfast.models.registry import get_arch, list_models, register_model

root = Path(__file__).resolve().parents[1]
SMALL = dict(nf=4, hidden_size=8, d_model=8, d_ff=8, n_heads=2, n_layers=1, encoder_layers=1, num_features=672, n_shapelets=224, k=2, g=2, layers=[8, 8],
             conv_layers=[8, 8], kss=[5, 3])
NO_BODY = {'DLinear', 'NLinear', 'Quant'}       # nothing is learnt before their heads
FEATURES = {k for k in list_models() if issubclass(get_arch(k), FeatureModel)}
FIXED = {'MLP', 'OmniScaleCNN', 'TSMixer', 'XCM'} | FEATURES      # most of their body belongs to one length
rng = np.random.default_rng(0)

def data(n=24, C=2, L=16, classes=2, **kwargs):
    X, y = rng.normal(size=(n, C, L)).astype(np.float32), np.arange(n) % classes
    return get_ts_dls(X, y, splits=(range(n//2), range(n//2, n)), batch_tfms=TSStandardize(by_sample=True), bs=6, **kwargs)

two, three = data(), data(classes=3)
longer, wider = data(L=20, classes=3), data(C=3, classes=3)

def make(arch='FCN', dls=two, train=True, **kwargs):
    ps = inspect.signature(get_arch(arch)).parameters
    learn = ts_learner(dls, arch, seed=0, **({k: v for k, v in SMALL.items() if k in ps} | kwargs))
    if train: quiet(learn, lambda: learn.fit(1, 1e-2))
    return learn

def quiet(learn, f):
    with learn.no_bar(), learn.no_logging(): return f()

def equal_bodies(a, b):
    a, b = body_state(a), body_state(b)
    return a.keys() == b.keys() and all(torch.equal(a[k].cpu(), b[k].cpu()) for k in a)

@pytest.fixture(scope='module')
def learn(): return make()

@pytest.fixture(scope='module')
def encoder(learn, tmp_path_factory): return learn.save_bundle(tmp_path_factory.mktemp('transfer')/'encoder', encoder_only=True)


@pytest.mark.parametrize('arch', list_models())
def test_every_architecture(arch, tmp_path):
    "Encoder bundle, its embeddings, a new learner from it with other classes, and fastai's ways to freeze and to look for a rate"
    learn = make(arch)
    p = load_bundle(learn.save_bundle(tmp_path/'b', encoder_only=True))
    X = two.valid_ds.X[:6].numpy()
    assert p.config['format_version'] == 8 and p.kind == 'embeddings' and not head_params(p.model.body)
    np.testing.assert_allclose(p.predict(X), to_predictor(learn).embeddings(X), atol=1e-6)
    np.testing.assert_array_equal(p.predict(X), p.embeddings(X))
    if arch in NO_BODY:
        assert not body_state(learn.model)
        with pytest.raises(ValueError, match='no weights before its head'): ts_learner(three, pretrained=tmp_path/'b')
        return
    new = ts_learner(three, pretrained=tmp_path/'b', seed=0)
    assert type(new.model) is type(learn.model) and equal_bodies(new.model, learn.model) and new.model.c_out == 3
    groups = new.splitter(new.model)
    assert [id(o) for o in groups[-1]] == [id(o) for o in head_params(new.model)] and len(groups) == (1 if arch in FEATURES else 2)
    before = {k: v.clone() for k, v in new.model.named_parameters()}
    frozen = {k for k, p in new.model.named_parameters() if any(p is o for o in groups[0])} if len(groups) > 1 else set()
    quiet(new, lambda: new.fit(1, 1e-2))
    moved = {k for k, p in new.model.named_parameters() if not torch.equal(p, before[k])}
    norms = {id(p) for p in norm_bias_params(new.model, with_bias=False)}
    normalised = {k for k, p in new.model.named_parameters() if id(p) in norms}
    assert moved and not moved & frozen - normalised     # as in fastai, normalisation is trained in frozen groups too
    if arch in FEATURES: assert equal_bodies(new.model, learn.model) and new.model.fitted
    new.unfreeze(); assert new.opt.frozen_idx == 0
    new.freeze_to(-1); assert new.opt.frozen_idx == len(groups) - 1
    quiet(new, lambda: new.lr_find(num_it=3, show_plot=False, suggest_funcs=None))
    quiet(new, lambda: new.fine_tune(1, base_lr=2e-3))
    assert new.opt.frozen_idx == 0 and len({h['lr'] for h in new.opt.hypers}) == len(groups)      # the body has a lower rate
    if frozen: assert any(not torch.equal(p, before[k]) for k, p in new.model.named_parameters() if k in frozen)


@pytest.mark.parametrize('dls', [longer, wider], ids=['length', 'channels'])
@pytest.mark.parametrize('arch', [o for o in list_models() if o not in NO_BODY])
def test_other_shapes(arch, dls):
    "What fits is copied, and what does not is named, whatever the architecture"
    source = make(arch, train=arch in FEATURES).model
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        try: new = ts_learner(dls, pretrained=source, seed=0)
        except ValueError as e:
            assert arch in FIXED | {'LITEMV'} and ('too few to start from' in str(e) or 'were fitted to series of' in str(e))
            return
    a, b = body_state(source), body_state(new.model)
    other = [k for k in b if k not in a or a[k].shape != b[k].shape]
    assert all(torch.equal(a[k], b[k]) for k in b if k not in other)
    texts = [str(o.message) for o in seen if 'What does not fit' in str(o.message)]
    assert bool(texts) == bool(other) and all(f'{k}: ' in texts[0] for k in other[:3])
    last = {id(p) for p in new.splitter(new.model)[-1]}
    assert all(id(p) in last for k, p in new.model.named_parameters() if k in other)      # trained with the head
    quiet(new, lambda: new.fine_tune(1))


@pytest.mark.parametrize('source', ['folder', 'whole bundle', 'module', 'learner', 'predictor', 'encoder'])
def test_sources(source, learn, encoder, tmp_path):
    o = dict(folder=encoder, module=learn.model, learner=learn, predictor=to_predictor(learn), encoder=load_bundle(encoder).model).get(source)
    if o is None: o = str(learn.save_bundle(tmp_path/'b'))
    new = ts_learner(three, pretrained=o, seed=0)
    assert equal_bodies(new.model, learn.model) and new.model is not learn.model and new.model.init_args['layers'] == [8, 8]
    assert new.model.convs[0][0].weight.data_ptr() != learn.model.convs[0][0].weight.data_ptr()

def test_model_of_an_encoder(learn, encoder):
    p = load_bundle(encoder)
    x = torch.randn(3, 2, 16)
    assert torch.equal(p.model(x), pooled_features(learn.model.eval(), x)) and p.model(x).shape == (3, learn.model.head_nf)
    with pytest.raises(ValueError, match='no probabilities'): p.predict_proba(x)
    assert copy.deepcopy(p.model)(x).shape == (3, 8) and 'embeddings' in repr(p)

def test_same_class_takes_the_arguments_of_the_source(encoder):
    assert ts_learner(three, FCN, pretrained=encoder).model.init_args['layers'] == [8, 8]
    assert ts_learner(three, 'FCN', pretrained=encoder, fc_dropout=.5).model.init_args['fc_dropout'] == .5
    with pytest.raises(ValueError, match='too few'): ts_learner(three, 'FCN', pretrained=encoder, layers=[16, 4])

def test_arch_may_be_an_instance(learn, encoder):
    model = FCN(2, 3, layers=[8, 8], kss=[5, 3])
    assert ts_learner(three, model, pretrained=encoder).model is model and equal_bodies(model, learn.model)

def test_nothing_fits(encoder):
    with pytest.raises(ValueError, match=r'0% of the numbers in the body of LSTM.*nothing in the source'): ts_learner(three, 'LSTM', pretrained=encoder)

def test_other_sources_are_refused(tmp_path):
    with pytest.raises(ValueError, match='Expected the folder of a bundle'): ts_learner(two, pretrained=3)
    with pytest.raises(FileNotFoundError): ts_learner(two, pretrained=tmp_path/'nothing')
    with pytest.raises(ValueError, match='not fitted yet'): ts_learner(two, pretrained=make('MiniRocket', train=False))
    class Own(nn.Module):
        def forward_features(self, x): return x
    with pytest.raises(ValueError, match='Pass its class'): ts_learner(two, pretrained=Own())

def test_splitter_of_the_users_own(encoder):
    mine = lambda m: [list(m.convs[0].parameters()), list(m.convs[1].parameters()), head_params(m)]
    new = ts_learner(three, pretrained=encoder, splitter=mine)
    assert new.splitter is mine and new.opt.frozen_idx == 2
    new.freeze_to(-2); assert new.opt.frozen_idx == 1

def test_seed_reproduces(encoder):
    runs = [ts_learner(data_, pretrained=encoder, seed=3) for data_ in (three, three)]
    for o in runs: quiet(o, lambda: o.fine_tune(1))
    assert all(torch.equal(a, b) for a, b in zip(runs[0].model.state_dict().values(), runs[1].model.state_dict().values()))

def test_closed_form_on_a_frozen_body(learn, encoder):
    new = ts_learner(three, pretrained=encoder)
    quiet(new, new.fit_ridge)
    assert equal_bodies(new.model, learn.model)

def test_export_and_bundle_of_a_pretrained_learner(encoder, tmp_path):
    new = ts_learner(three, pretrained=encoder, seed=0, path=tmp_path)
    quiet(new, lambda: new.fine_tune(1))
    X = three.valid_ds.X[:4].numpy()
    p = Predictor(new.save_bundle(tmp_path/'b'))
    assert torch.equal(p(X), new.get_X_preds(X)[0]) and p.config['training']['pretrained'] == encoder.name
    new.export('l.pkl')
    from tsfast.learner import load_learner
    assert load_learner(tmp_path/'l.pkl').splitter.new == set()
    export_program(load_bundle(encoder), tmp_path/'e.pt2')

def test_forecasts_keep_the_normalisation(tmp_path):
    X, y = rng.normal(50, 9, (24, 2, 16)).astype(np.float32), rng.normal(50, 9, (24, 2, 4)).astype(np.float32)
    dls = get_ts_dls(X, y, splits=(range(12), range(12, 24)), tfms=[None, TSRegression()], bs=6)
    for arch in ('PatchTST', 'iTransformer', 'FCN'):
        learn = make(arch, dls, revin=True)
        p = load_bundle(learn.save_bundle(tmp_path/arch, encoder_only=True))
        np.testing.assert_allclose(p.predict(X), to_predictor(learn).embeddings(X), atol=1e-5)
        assert equal_bodies(ts_learner(dls, pretrained=tmp_path/arch, revin=True).model, learn.model)

def test_without_targets(tmp_path):
    "Loaders without targets, as in self-supervised pretraining"
    X = rng.normal(3, 2, (24, 2, 16)).astype(np.float32)
    X[::3, :, 12:] = np.nan
    dls = get_ts_dls(X, splits=(range(12), range(12, 24)), batch_tfms=[TSStandardize(by_var=True), TSNan2Value()], bs=6)
    assert dls.train_ds.target is None
    model = FCN(2, 5, layers=[8, 8], kss=[5, 3], custom_head=nn.Identity())
    p = load_bundle(save_encoder(model, dls, tmp_path/'b', dict(task='masked')))
    assert p.predict(X).shape == (24, 8) and p.config['training'] == dict(task='masked')
    x = dls.valid.transform(torch.from_numpy(X))
    torch.testing.assert_close(p(X), pooled_features(model.eval(), x).detach(), atol=1e-5, rtol=0)
    assert equal_bodies(ts_learner(three, pretrained=tmp_path/'b').model, model)

def test_custom_heads_are_left_out(tmp_path):
    "A head that a whole bundle cannot hold is no part of an encoder"
    learn = make(custom_head=lambda nf, c_out, L: nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(nf, c_out)))
    with pytest.raises(ValueError, match='custom_head'): learn.save_bundle(tmp_path/'a')
    assert load_bundle(learn.save_bundle(tmp_path/'b', encoder_only=True)).predict(two.valid_ds.X[:2].numpy()).shape == (2, 8)

class Aged(FCN):
    "Takes another input beside the series"
    def __init__(self, c_in:int, c_out:int, layers:list=[8, 8], kss:list=[5, 3], **head): super().__init__(c_in, c_out, layers=layers, kss=kss, **head)
    def forward_features(self, x, age): return super().forward_features(x) + age[:, None, None]
    def forward(self, x, age): return self.forward_head(self.forward_features(x, age))

def test_named_inputs(tmp_path):
    register_model(Aged)
    try:
        X, age = rng.normal(size=(24, 2, 16)).astype(np.float32), rng.normal(size=24).astype(np.float32)
        dls = get_ts_dls(X, np.arange(24) % 2, splits=(range(12), range(12, 24)), inputs=dict(age=age), bs=6)
        model = Aged(2, 2).eval()
        p = load_bundle(save_encoder(model, dls, tmp_path/'b'))
        with torch.no_grad(): want = model.forward_features(torch.from_numpy(X), torch.from_numpy(age)).mean(2)
        np.testing.assert_allclose(p.predict(X, age=age), want.numpy(), atol=1e-5)
        with pytest.raises(ValueError, match='age'): p.predict(X)
    finally:
        from tsfast.models import registry
        registry._archs.pop('Aged')


def test_the_folder_of_a_run(encoder, tmp_path):
    "tsfast train --pretrained RUN means the bundle in the run, as tsfast predict RUN does"
    from argparse import Namespace
    from tsfast.cli.given import given_settings
    (tmp_path/'run').mkdir()
    shutil.copytree(encoder, tmp_path/'run'/'model')
    args = dict(words=['ECG200'], resume=False, overwrite=False, out=None)
    for given, want in (('run', 'run/model'), ('run/model', 'run/model'), ('other', 'other')):
        assert given_settings(Namespace(**args, pretrained=str(tmp_path/given)))['pretrained'] == str(tmp_path/want)


def rewritten(folder, to, **changes):
    "A copy of a bundle with other entries and fitting checksums"
    import hashlib
    from safetensors.torch import load, save
    cfg, tensors = json.loads((folder/CONFIG).read_text()), load((folder/WEIGHTS).read_bytes())
    for k, v in changes.items():
        *path, last = k.split('__')
        o = cfg
        for part in path: o = o[part]
        o[last] = v
    data = save(tensors, metadata=dict(format='pt', config_sha256=config_digest(cfg)))
    cfg['weights'] |= dict(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    to.mkdir()
    (to/CONFIG).write_text(json.dumps(cfg)); (to/WEIGHTS).write_bytes(data)
    return to

@pytest.mark.parametrize('changes,text', [
    (dict(target__features=9), 'features'), (dict(target__features=0), 'features'), (dict(target__features='8'), 'features'), (dict(format_version=7), 'format_version'),
    (dict(activation='softmax'), 'activation'), (dict(temperature=2.), 'temperature'), (dict(targets=['a']), 'targets'), (dict(target__more=1), 'more'),
    (dict(architecture__arguments__c_out=2**24), 'far more memory'), (dict(architecture__arguments__layers=[16, 8]), 'needs'),
    (dict(architecture__name='QuantForest'), 'forest'), (dict(target=dict(kind='regression', classes=None, shape=[1], threshold=None, standardized=False)), 'lacks|holds')])
def test_forged(encoder, tmp_path, changes, text):
    with pytest.raises(ValueError, match=text): load_bundle(rewritten(encoder, tmp_path/'b', **changes))

def test_changed_files(encoder, tmp_path):
    b = rewritten(encoder, tmp_path/'b')
    load_bundle(b)
    (b/CONFIG).write_text((b/CONFIG).read_text().replace('"features": 8', '"features": 16'))
    with pytest.raises(ValueError, match='changed since'): load_bundle(b)

def test_fresh_process_without_fastai(encoder, tmp_path):
    "An encoder, and the bundle of a learner that started from it"
    new = ts_learner(three, pretrained=encoder, seed=0)
    quiet(new, lambda: new.fine_tune(1))
    new.save_bundle(tmp_path/'b')
    X = three.valid_ds.X[:4].numpy()
    np.save(tmp_path/'X.npy', X); np.save(tmp_path/'z.npy', load_bundle(encoder).predict(X)); np.save(tmp_path/'p.npy', new.get_X_preds(X)[0].numpy())
    code = f"""
import sys, numpy as np
from tsfast.inference import Predictor
X, z, p = (np.load(f'{tmp_path}/{{o}}.npy') for o in 'Xzp')
assert np.allclose(Predictor({str(encoder)!r}).predict(X), z, atol=1e-6) and np.allclose(Predictor({str(tmp_path/'b')!r}).predict_proba(X), p, atol=1e-6)
assert not [o for o in sys.modules if o.split('.')[0] in ('fastai', 'fastcore', 'huggingface_hub')]
"""
    r = subprocess.run([sys.executable, '-c', code], cwd=root, capture_output=True, text=True)
    assert not r.returncode, r.stderr


def test_training_runs(encoder, learn, tmp_path):
    "Settings that name a bundle: its architecture, the head first, then all; and the key follows the weights"
    from tsfast.settings import RunSettings, settings_from, settings_json
    from tsfast.training import RunData, TrainingRun
    from tsfast.training.once import run_key
    y = np.arange(24) % 3
    X = rng.normal(size=(24, 2, 16)).astype(np.float32)
    data_ = RunData(X, y, (range(18), range(18, 24)), name='own')
    s = RunSettings(pretrained=str(encoder), epochs=2, lr=1e-2, bs=6, device='cpu', wd=0., label_smoothing=0.)
    assert settings_from(settings_json(s)) == s
    for schedule in ('one_cycle', 'plateau'):
        run = TrainingRun(settings_from({**json.loads(settings_json(s)), 'schedule': schedule}), data_)
        quiet(run.learner(), run.train)
        assert run.settings.arch == 'FCN' and type(run.learner().model) is FCN and run.learner().opt.frozen_idx == 0
        assert not equal_bodies(run.learner().model, learn.model) and run.learner().pretrained == encoder.name
        rates = [h['lr'] for h in run.learner().opt.hypers]
        assert (rates[0] < rates[1]) == (schedule == 'one_cycle')
    import shutil
    shutil.copytree(encoder, tmp_path/'moved')
    keys = [run_key(RunSettings(pretrained=o and str(o), epochs=2, lr=1e-2, bs=6, device='cpu'), data_) for o in (encoder, tmp_path/'moved', None)]
    assert keys[0] == keys[1] != keys[2]

def test_command_line(encoder, tmp_path, capsys):
    from tsfast.cli import main
    y = np.arange(24) % 3
    np.save(tmp_path/'X.npy', rng.normal(size=(24, 2, 16)).astype(np.float32)); np.save(tmp_path/'y.npy', y)
    argv = ['train', str(tmp_path/'X.npy'), '--y', str(tmp_path/'y.npy'), '--pretrained', str(encoder), '--epochs', '1', '--bs', '6', '--device', 'cpu', '--no-report']
    assert main([*argv, '--out', str(tmp_path/'run')]) == 0, capsys.readouterr()
    p = load_bundle(tmp_path/'run'/'model')
    assert p.config['architecture']['name'] == 'FCN' and p.config['training']['pretrained'] == encoder.name
    assert main(['predict', str(encoder), str(tmp_path/'X.npy'), '--out', str(tmp_path/'z.csv')]) == 0
    assert len((tmp_path/'z.csv').read_text().splitlines()) == 25
    assert main(['predict', 'hf://no', str(tmp_path/'X.npy')]) == 1 and 'no name on the hub' in capsys.readouterr().err
