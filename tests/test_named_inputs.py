"Models of several inputs: each input stays with its series on the way through loaders, training, predictions and pictures"
import pickle

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from fastai.interpret import ClassificationInterpretation
from fastai.learner import Learner
from fastai.metrics import accuracy
from torch import nn

import tsfast.interpret
from tsfast.callbacks import training_batches
from tsfast.checkpoint import Checkpoint
from tsfast.data.core import TSDataLoader, TSDataLoaders, TSDatasets, get_ts_dl, get_ts_dls
from tsfast.data.preprocessing import TSNan2Value, TSStandardize
from tsfast.data.sources import NpySource
from tsfast.data.targets import TSRegression
from tsfast.learner import load_learner, ts_learner

N, C, L = 40, 2, 12
rng = np.random.default_rng(0)
X = rng.normal(size=(N, C, L)).astype(np.float32)
X[:, 0, 0] = np.arange(N)                                               # the number of each series
number = np.arange(N, dtype=np.int64)
static = np.stack([np.arange(N), rng.normal(size=N), np.ones(N)], 1)    # so have its side inputs
y = np.where(rng.random(N) > .5, 'yes', 'no')
splits = range(28), range(28, N)
SIDE = dict(kind=number, static=static)


class TwoInputs(nn.Module):
    "A network of series, static numbers and a static category; the names come in another order than in the data"
    def __init__(self, c_in, c_out, p=0.):
        super().__init__()
        self.conv, self.emb, self.bn, self.drop = nn.Conv1d(c_in, 4, 3), nn.Embedding(N, 2), nn.BatchNorm1d(4 + 2 + 3), nn.Dropout(p)
        self.fc = nn.Linear(4 + 2 + 3, c_out)
    def forward(self, x, static, kind):
        assert x.ndim == 3 and static.shape == (len(x), 3) and kind.dtype == torch.int64
        return self.fc(self.drop(self.bn(torch.cat([self.conv(x).amax(-1), static, self.emb(kind)], 1))))

def dls_of(y=y, **kw): return get_ts_dls(X, y, splits=splits, inputs=SIDE, **{'bs': 8, 'device': 'cpu', **kw})
def learner(dls=None, arch=TwoInputs, **kw): return ts_learner(dls or dls_of(), arch, seed=0, **kw)
def quiet(learn, f=lambda o: o.fit_one_cycle(2, 1e-2)):
    with learn.no_bar(), learn.no_logging(): return f(learn)

def together(b):
    "Does every input of a batch belong to its series? The numbers of the series"
    series, kind, static = (o.as_subclass(torch.Tensor) for o in b[:3])
    assert torch.equal(series[:, 0, 0].long(), kind) and torch.equal(static[:, 0].long(), kind)
    return kind.tolist()


@pytest.mark.parametrize('n', [2, 3, 9, 28])
@pytest.mark.parametrize('bs', [2, 5, 64])
@pytest.mark.parametrize('shuffle', [False, True])
def test_every_series_once_with_its_inputs(n, bs, shuffle):
    ds = TSDatasets(X[:n], y[:n], inputs={k: v[:n] for k, v in SIDE.items()})
    seen = [i for b in TSDataLoader(ds, bs=bs, shuffle=shuffle, drop_last=False) for i in together(b)]
    assert (sorted(seen) if shuffle else seen) == list(range(n))


def test_names_shapes_and_order():
    dls = dls_of()
    for o in (dls, dls.valid, dls.train_ds):
        assert o.n_inp == 3 and o.input_names == ('series', 'kind', 'static')
        assert o.input_shapes == dict(series=(C, L), kind=(), static=(3,))
    b = dls.valid.one_batch()
    assert len(b) == 4 and [o.dtype for o in b] == [torch.float32, torch.int64, torch.float32, torch.int64]
    assert "inputs=['kind', 'static']" in repr(dls) and 'inputs' not in repr(get_ts_dls(X, y, splits=splits))
    one = get_ts_dls(X, y, splits=splits)
    assert one.n_inp == 1 and one.input_names == ('series',) and len(one.one_batch()) == 2


def test_subsets_share_and_items_have_all():
    ds = TSDatasets(X, y, splits=splits, inputs=SIDE)
    assert [i for b in TSDataLoader(ds.valid, bs=5) for i in together(b)] == list(range(28, N))
    assert [i for b in TSDataLoader(ds[[7, 3]], bs=5) for i in together(b)] == [7, 3]
    series, kind, static, label = ds.valid[2]
    assert (int(series[0, 0]), int(kind), int(static[0]), ds.vocab[label]) == (30, 30, 30, y[30])
    empty = ds.new_empty()
    assert len(empty) == 0 and empty.input_names == ds.input_names
    again = pickle.loads(pickle.dumps(ds))
    assert torch.equal(again.side['static'], ds.side['static'])


def test_without_targets():
    dl = get_ts_dl(X, inputs=SIDE, bs=16, device='cpu')
    assert [len(b) for b in dl] == [3, 3, 3] and sum((together(b) for b in dl), []) == list(range(N))


@pytest.mark.parametrize('workers', [0, 2])
def test_memory_map(tmp_path, workers):
    np.save(tmp_path/'X.npy', X)
    mapped = np.load(tmp_path/'X.npy', mmap_mode='r')
    dls = get_ts_dls(mapped, y, splits=splits, inputs=SIDE, bs=8, num_workers=workers, device='cpu')
    assert isinstance(dls.train_ds.X, NpySource)
    assert sorted(i for b in dls.train.new(drop_last=False) for i in together(b)) == list(range(28))
    assert [i for b in dls.valid for i in together(b)] == list(range(28, N))


def test_on_the_device_of_the_series():
    ds = TSDatasets(X, y, inputs=SIDE)
    ds.X = ds.X.to('meta')      # stands in for a GPU
    assert {o.device.type for o in ds.read(ds.idxs)} == {'meta'}
    assert len(ds.placed('meta')) == 4 and {o.device.type for o in ds.placed('meta')} == {'meta'}


def test_batch_transforms_change_the_series_alone():
    dls = dls_of(batch_tfms=[TSStandardize(), TSNan2Value()])
    _, kind, static, _ = dls.valid.one_batch()
    assert torch.equal(static[:, 0].long(), kind)
    back = dls.valid.decode(dls.valid.one_batch())
    assert torch.allclose(back[0].as_subclass(torch.Tensor), torch.from_numpy(X[28:36]), atol=1e-4)
    assert together((back[0].round(), *back[1:])) == list(range(28, 36))


@pytest.mark.parametrize('bad, message', [
    (dict(series=number), "'series' is X itself"), ({'a b': number}, "name 'a b'"), (dict(kind=number[:5]), 'one row per series'),
    (dict(kind=np.full(N, np.nan)), 'missing or infinite'), (dict(kind=np.array(['x']*N)), 'has no numbers'),
    ([number], 'Expected a dict')])
def test_bad_inputs(bad, message):
    with pytest.raises(ValueError, match=message): TSDatasets(X, y, inputs=bad)


@pytest.mark.parametrize('given, message', [
    (None, "'kind' is missing"), (dict(kind=number[:4]), "'static' is missing"), (dict(SIDE, ages=number), "no input 'ages'"),
    (dict(kind=number[:4], static=static[:4, :2]), 'as in training'), (dict(kind=number[:4] + .5, static=static[:4]), 'Expected integers'),
    (dict(kind=number[:3], static=static[:4]), 'one row per series')])
def test_new_data_needs_the_inputs_of_training(given, message):
    if given and 'ages' in given: given = {k: v[:4] for k, v in given.items()}
    with pytest.raises(ValueError, match=message): dls_of().new_dl(X[:4], inputs=given)
    with pytest.raises(ValueError, match=message): learner().get_X_preds(X[:4], inputs=given)


def test_data_sets_made_apart_need_the_same_inputs():
    with pytest.raises(ValueError, match='have the inputs'):
        TSDataLoaders.from_dsets(TSDatasets(X, y, inputs=SIDE), TSDatasets(X, y))


class OneInput(nn.Module):
    def __init__(self, c_in, c_out): super().__init__(); self.fc = nn.Linear(c_in, c_out)
    def forward(self, x): return self.fc(x.mean(-1))

class ThreeInputs(TwoInputs):
    def forward(self, x, static, kind, age): return super().forward(x, static, kind)

@pytest.mark.parametrize('arch, dls, message', [
    (OneInput, dls_of, "no parameter 'kind'"), ('FCN', dls_of, "no parameter 'kind'"), (ThreeInputs, dls_of, "no input 'age'"),
    (TwoInputs, lambda: get_ts_dls(X, y, splits=splits), "no input 'static'")])
def test_a_model_of_other_inputs_is_refused(arch, dls, message):
    with pytest.raises(ValueError, match=message): learner(dls(), arch)


def test_training_uses_all_inputs():
    learn = learner(metrics=accuracy)
    before = {k: v.clone() for k, v in learn.model.state_dict().items()}
    quiet(learn)
    for k in ('conv.weight', 'emb.weight', 'fc.weight'): assert not torch.equal(before[k], learn.model.state_dict()[k])
    assert len(learn.history) == 2 and np.isfinite(learn.validate()).all() and np.isfinite(learn.validate(0)).all()
    assert torch.equal(learn.model.fc.weight, quiet(learner(metrics=accuracy), lambda o: (o.fit_one_cycle(2, 1e-2), o.model.fc.weight)[1]))


def test_a_plain_learner_passes_them_as_they_come():
    class InOrder(TwoInputs):
        def forward(self, x, kind, static): return super().forward(x, static, kind)
    learn = Learner(dls_of(), InOrder(C, 2))
    quiet(learn, lambda o: o.fit(1))
    assert learn.get_preds()[0].shape == (12, 2)


def test_predictions():
    learn = learner(dls_of(batch_tfms=TSStandardize()))
    quiet(learn)
    valid = {k: v[28:] for k, v in SIDE.items()}
    want = learn.get_preds()[0]
    inputs, probas, targets, labels, losses = learn.get_X_preds(X[28:], y[28:], inputs=valid, with_input=True, with_loss=True)
    assert torch.allclose(probas, want, atol=1e-5) and losses.shape == (12,)
    assert isinstance(inputs, tuple) and inputs[1].tolist() == list(range(28, N))       # in the order of the data
    assert torch.allclose(inputs[2], torch.as_tensor(valid['static']).float())
    assert torch.allclose(learn.get_X_preds(X[28:], inputs=valid, bs=5)[0], probas, atol=1e-5)
    other = learn.get_X_preds(X[28:], inputs=dict(valid, static=valid['static'] + 3))[0]
    assert not torch.allclose(other, probas, atol=1e-3)                 # the model looks at them
    label, _, p = learn.predict((X[30], 30, static[30]))
    assert label == labels[2] and torch.allclose(p, probas[2], atol=1e-5)
    series, *_ = learn.predict((X[30], 30, static[30]), with_input=True)
    assert int(series[1]) == 30 and torch.allclose(series[0].as_subclass(torch.Tensor), torch.from_numpy(X[30]), atol=1e-4)


def test_numbers_as_targets():
    learn = learner(dls_of(100 + number.astype(float), tfms=[None, TSRegression(standardize=True)]))
    quiet(learn)
    p, t = learn.get_preds()
    assert t.flatten().tolist() == pytest.approx(list(range(128, 140)), abs=1e-3) and p.mean() > 50
    assert learn.get_X_preds(X[:3], inputs={k: v[:3] for k, v in SIDE.items()})[2].shape[0] == 3


def test_batches_for_fixed_features():
    for x, t in training_batches(dls_of()): assert together(x) and len(x) == 3 and type(x[0]) is torch.Tensor and len(t) == len(x[0])


def test_pictures():
    learn = learner()
    quiet(learn)
    learn.dls.show_batch(max_n=4)
    assert [o.get_title() for o in plt.gcf().axes[:4]] != ['']*4 and {o.get_title() for o in plt.gcf().axes} <= {'yes', 'no', ''}
    quiet(learn, lambda o: o.show_results(max_n=3, shuffle=False))
    titles = [o.get_title() for o in plt.gcf().axes if o.get_title()]
    assert [o.split(' → ')[0] for o in titles] == list(y[28:31])
    its = learn.dls.valid.decode_batch(learn.dls.valid.one_batch(), max_n=3)
    assert [(int(o[1]), o[3]) for o in its] == [(i, y[i]) for i in range(28, 31)]
    plt.close('all')


def test_interpretation():
    learn = learner()
    quiet(learn)
    with learn.no_bar():
        interp = ClassificationInterpretation.from_learner(learn)
        assert interp.confusion_matrix().sum() == 12
        interp.plot_top_losses(3)
    losses, idx = interp.top_losses(3)
    title = plt.gcf().axes[0].get_title().split(' / ')
    assert title[1] == y[28 + int(idx[0])] and float(title[2]) == pytest.approx(float(losses[0]), abs=.01)
    plt.close('all')


def test_importance_keeps_the_other_inputs():
    learn = learner()
    quiet(learn)
    table = learn.feature_importance(n_repeats=2, progress=False)
    assert len(table) == C and np.isfinite(table.to_numpy()).all()
    assert table.attrs['base'] == pytest.approx(float(quiet(learn, lambda o: o.validate())[0]), abs=1e-5)
    few = {k: v[:3] for k, v in SIDE.items()}
    maps = learn.explain(X[:3], inputs=few)
    assert maps.shape == (3, L) and np.isfinite(maps).all() and not np.allclose(maps, learn.explain(X[:3], inputs=dict(few, kind=few['kind'] + 9)))
    with pytest.raises(ValueError, match="'kind' is missing"): learn.explain(X[:3])
    with pytest.raises(ValueError, match='forward_features'): learn.embeddings(X[:3], inputs=few)


def test_the_closed_form_takes_all_inputs():
    learn = learner()
    quiet(learn, lambda o: o.fit_ridge())
    assert learn.ridge['n_features'] == 4 + 2 + 3 and np.isfinite(learn.validate()).all()


def test_padding_that_the_model_masks():
    U = X.copy(); U[::3, :, 8:] = np.nan
    class Masked(TwoInputs):
        def forward(self, x, static, kind): return super().forward(x.nan_to_num(), static, kind)
    dls = get_ts_dls(U, y, splits=splits, inputs=SIDE, bs=8, batch_tfms=TSNan2Value(keep_padding=True), device='cpu')
    learn = learner(dls, Masked)
    quiet(learn)
    assert learn.get_preds()[0].isfinite().all()
    with pytest.raises(ValueError, match='does not mask'): learner(dls)


def test_sample_weights_and_bfloat16():
    learn = learner(sample_weight=np.linspace(.5, 1.5, N))
    quiet(learn)
    learn.to_bf16()
    quiet(learn)
    assert learn.get_preds()[0].dtype == torch.float32


def test_export(tmp_path):
    learn = learner(arch=TwoInputs(C, 2), path=tmp_path)
    quiet(learn)
    learn.export()
    again, few = load_learner(tmp_path/'export.pkl'), {k: v[:3] for k, v in SIDE.items()}
    assert again.dls.input_names == learn.dls.input_names
    assert torch.equal(again.get_X_preds(X[:3], inputs=few)[0], learn.get_X_preds(X[:3], inputs=few)[0])


def test_resume(tmp_path):
    def run(cbs=(), p=.3):
        learn = learner(arch=lambda c_in, c_out: TwoInputs(c_in, c_out, p))
        quiet(learn, lambda o: o.fit_one_cycle(4, 1e-2, cbs=list(cbs)))
        return learn.model.state_dict()
    class BreakOff(Callback):
        def after_batch(self):
            if self.training and self.epoch == 2 and self.iter == 1: raise KeyboardInterrupt
    want = run()
    with pytest.raises(KeyboardInterrupt): run([Checkpoint(tmp_path/'c.pth'), BreakOff()])
    got = run([Checkpoint(tmp_path/'c.pth', resume=True)])
    assert all(torch.equal(want[k], got[k]) for k in want)
