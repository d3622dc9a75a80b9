"Series of unequal length: NaN up to the end travels with the batch, and models that mask it give what the series alone would give."
import functools, inspect
import numpy as np, pytest, torch
from tsfast.data.core import get_ts_dls
from tsfast.data.preprocessing import TSNan2Value, TSNormalize, TSStandardize
from tsfast.data.targets import TSClassification
from tsfast.inference import load_bundle, pooled_features
from tsfast.learner import solve_head, ts_learner
from tsfast.models.registry import get_arch, list_models
from tsfast.models.scaling import FillNaN, padding_mask
import tsfast.deploy, tsfast.interpret  # noqa: methods of learners

MASKING = [n for n in list_models() if 'mask_padding' in inspect.signature(get_arch(n)).parameters]
attention = dict(hidden_size=16, n_heads=4, d_ff=32, encoder_layers=2)
transformer = dict(d_model=16, n_heads=4, d_ff=32, n_layers=2)
SMALL = dict(TST=transformer, PatchTST=transformer, gMLP=dict(d_model=16, d_ffn=16, depth=2), TSiT=dict(d_model=16, n_heads=4, depth=2),
             TSSequencer=dict(d_model=16, depth=2), Mantis=transformer | dict(size=64), MantisV2=transformer | dict(size=64)) | {f'{o}AttentionPlus': attention for o in ('RNN', 'LSTM', 'GRU')}
N, C, L = 24, 3, 20

def data(seed=0):
    "(X with NaN up to the ends, lengths, labels); the first series has its full length"
    rng = np.random.default_rng(seed)
    X, n = rng.normal(2, 3, (N, C, L)).astype(np.float32), np.r_[L, rng.integers(5, L, N - 1)]
    y = np.where(np.arange(N) % 2, 'up', 'down')
    X[1::2] += np.linspace(0, 5, L, dtype=np.float32)
    for x, k in zip(X, n): x[:, k:] = np.nan
    return X, n, y

def learner(arch, epochs=1, tfms=None, **kwargs):
    X, n, y = data()
    dls = get_ts_dls(X, y, splits=(range(16), range(16, N)), tfms=[None, TSClassification()],
                     batch_tfms=tfms or [TSStandardize(by_var=True), TSNan2Value(keep_padding=True)], bs=8)
    learn = ts_learner(dls, arch, seed=0, **{**SMALL.get(arch if isinstance(arch, str) else '', {}), **kwargs})
    with learn.no_bar(), learn.no_logging():
        if epochs: learn.fit_one_cycle(epochs, 1e-3)
    return learn, X, n

def test_what_masks():
    assert set(MASKING) == {'ConvTran', 'GRU', 'GRUAttentionPlus', 'LSTM', 'LSTMAttentionPlus', 'PatchTST', 'RNN', 'RNNAttentionPlus',
                            'Mantis', 'MantisV2', 'S4D', 'TCN', 'TSSequencer', 'TST', 'TSiT', 'gMLP'}

@pytest.mark.parametrize('arch', MASKING)
def test_trains_and_ignores_what_pads(arch):
    "What a loop of one's own gives with a mask is what the learner gives without one"
    learn, X, n = learner(arch)
    assert learn.model.mask_padding and np.isfinite(learn.history.valid_loss).all()
    x = learn.dls.new_dl(X, bs=N).one_batch()[0].as_subclass(torch.Tensor)
    mask = torch.arange(L) >= torch.from_numpy(n)[:, None]
    assert torch.equal(x.isnan(), mask.unsqueeze(1).expand_as(x))
    model = learn.model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(x), model(x.masked_fill(mask.unsqueeze(1), 7.), mask=mask), atol=1e-5, rtol=1e-5)
        assert (model(x) - model(x.nan_to_num())).abs().max() > 1e-4

@pytest.mark.parametrize('arch,kw',
                         [(o, {}) for o in ('RNN', 'LSTM', 'GRU')] + [('LSTM', dict(bidirectional=True, n_layers=2)),
                                                                      ('GRU', dict(n_layers=2))]
                         + [(o, dict(flatten=False)) for o in ('RNNAttentionPlus', 'LSTMAttentionPlus', 'GRUAttentionPlus')], ids=str)
def test_series_alone(arch, kw):
    "A padded series gives what the series cut to its length gives: outputs, embeddings"
    learn, X, n = learner(arch, **kw)
    model = learn.model.eval()
    x = learn.dls.new_dl(X, bs=N).one_batch()[0].as_subclass(torch.Tensor)
    with torch.no_grad():
        for i, k in enumerate(n):
            torch.testing.assert_close(model(x)[i], model(x[i:i + 1, :, :k])[0], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(pooled_features(model, x)[i], pooled_features(model, x[i:i + 1, :, :k])[0], atol=1e-5, rtol=1e-5)

@pytest.mark.parametrize('arch', MASKING)
def test_bundle(arch, tmp_path):
    learn, X, n = learner(arch)
    learn.save_bundle(tmp_path/'m')
    torch.testing.assert_close(load_bundle(tmp_path/'m')(X), learn.get_X_preds(X)[0], atol=1e-6, rtol=1e-6)

@pytest.mark.parametrize('arch', ['TST', 'ConvTran', 'GRU', 'LSTMAttentionPlus'])
def test_export(arch):
    "The mask is part of the graph"
    learn, X, n = learner(arch)
    prog = tsfast.deploy.export_program(learn)
    with torch.no_grad(): torch.testing.assert_close(prog.module()(torch.from_numpy(X)), learn.get_X_preds(X)[0], atol=1e-5, rtol=1e-4)

@pytest.mark.parametrize('arch,method',
                         [('LSTM', 'occlusion'), ('GRUAttentionPlus', 'occlusion'), ('GRUAttentionPlus', 'cam'), ('TST', 'cam'),
                          ('ConvTran', 'cam')])
def test_explanations_say_nothing_of_padding(arch, method):
    learn, X, n = learner(arch, epochs=3, **(dict(flatten=False) if method == 'cam' and arch != 'ConvTran' else {}))
    maps = learn.explain(X, method=method)
    assert maps.shape == (N, L) and np.isfinite(maps).all() and np.abs(maps).max() > 0
    if method == 'cam': assert all((m[k:] == 0).all() for m, k in zip(maps, n))

def test_batches_in_pictures():
    "Lines end where series end"
    import matplotlib.pyplot as plt
    learn, X, n = learner('LSTM')
    for draw in (learn.dls.valid.show_batch, learn.show_results):
        axes = plt.subplots(1, 8)[1]
        draw(max_n=8, ctxs=axes)
        for ax in axes:
            got = np.stack([o.get_ydata() for o in ax.lines])
            i = np.abs(X[:, 0, 0] - got[0, 0]).argmin()      # `show_results` shuffles
            np.testing.assert_allclose(got, X[i], atol=1e-4); assert ax.get_xlim() == (0, n[i] - 1)
        plt.close('all')

def test_statistics_are_of_what_is_there():
    learn, X, n = learner('LSTM', tfms=[TSNormalize(), TSNan2Value(keep_padding=True)])
    x = learn.dls.train_ds.read(torch.arange(16))[0]
    z = learn.dls.train.transform(x)
    assert torch.equal(z.isnan(), x.isnan()) and z.nan_to_num().min() >= -1 - 1e-5 and z.nan_to_num().max() <= 1 + 1e-5

@pytest.mark.parametrize('arch', [o for o in list_models() if o not in MASKING])
def test_models_without_a_mask_are_refused(arch):
    with pytest.raises(ValueError, match='does not mask them|at least .* steps') as e: learner(arch, epochs=0)
    if 'does not mask' in str(e.value): assert str(e.value).endswith(f"a model that masks them: {', '.join(MASKING)}.")

def test_instances():
    with pytest.raises(ValueError, match='mask_padding=True'): learner(get_arch('LSTM')(C, 2), epochs=0)
    learner(get_arch('LSTM')(C, 2, mask_padding=True))
    with pytest.raises(ValueError, match='mask_padding=True'): learner('LSTM', epochs=0, mask_padding=False)

def test_without_padding_nothing_changes():
    m = get_arch('GRU')(C, 2, mask_padding=True).eval(); x = torch.randn(4, C, L)
    with torch.no_grad():
        torch.testing.assert_close(m(x), m.forward_head(m.forward_features(x, torch.zeros(4, L).bool()), torch.zeros(4, L).bool()),
                                   atol=1e-6, rtol=1e-6)

def test_padding_mask():
    x = torch.zeros(4, 2, 5)
    x[1, 0, 3:] = torch.nan; x[2, :, 3:] = torch.nan; x[2, :, 1] = torch.nan; x[3] = torch.nan
    assert padding_mask(x).tolist() == [[False]*5, [False]*5, [False]*3 + [True]*2, [True]*5]
    y = FillNaN(9., keep_padding=True)(x)
    assert y[1, 0, 3:].tolist() == [9., 9.] and y[2, :, 1].tolist() == [9., 9.] and y[2, :, 3:].isnan().all() and y[3].isnan().all()

@pytest.mark.parametrize('arch', MASKING)
def test_a_series_of_nothing(arch):
    "All NaN: there is no answer, but no NaN either, and the others keep theirs"
    m = get_arch(arch)(C, 2, **(dict(seq_len=L) if arch not in ('RNN', 'LSTM', 'GRU') else {}), **SMALL.get(arch, {}),
                       mask_padding=True).eval()
    x = torch.randn(4, C, L); x[0] = torch.nan
    with torch.no_grad():
        assert m(x).isfinite().all()
        torch.testing.assert_close(m(x)[1:], m(x[1:]), atol=1e-5, rtol=1e-5)

# --- what does not go together with padding, or has to take care of it

TFMS = [TSStandardize(by_var=True), TSNan2Value(keep_padding=True)]

@pytest.mark.parametrize('arch', ['LSTM', 'GRUAttentionPlus', 'TST'])
@pytest.mark.parametrize('mix', ['MixUp', 'CutMix1d'])
def test_mixing_series_of_unequal_length(arch, mix):
    from fastai.callback.mixup import MixUp
    from tsfast.data.augment import CutMix1d
    learn, X, n = learner(arch, epochs=2, cbs=dict(MixUp=MixUp, CutMix1d=CutMix1d)[mix]())
    assert all(p.isfinite().all() for p in learn.model.parameters()) and np.isfinite(learn.history.valid_loss).all()

def test_cutmix_keeps_the_lengths():
    from tsfast.data.augment import CutMix1d
    learn, X, n = learner('LSTM', epochs=0)
    cut = CutMix1d(); learn.add_cb(cut)
    x, y = learn.dls.train.one_batch()
    learn.xb, learn.yb, cut.stack_y = (x,), (y,), True
    cut.before_batch()
    assert torch.equal(learn.xb[0].isnan(), x.as_subclass(torch.Tensor).isnan())
    assert ((0 <= cut.lam) & (cut.lam <= 1)).all() and (cut.lam < 1).any()

class _Plain(torch.nn.Module):
    def __init__(self, c_in, c_out): super().__init__(); self.head = torch.nn.Linear(c_in, c_out)
    def forward(self, x): return self.head(x.mean(-1))
class _Wrapped(torch.nn.Module):
    def __init__(self, c_in, c_out): super().__init__(); self.net = get_arch('LSTM')(c_in, c_out)
    def forward(self, x): return self.net(x)
class _Aware(_Plain):
    def forward(self, x): return self.head(x.nanmean(-1))
class _Handed(get_arch('LSTM')):
    def __init__(self, c_in, c_out, **kwargs): super().__init__(c_in, c_out, **kwargs)
class _Deaf(get_arch('LSTM')):
    def __init__(self, c_in, c_out, **kwargs): super().__init__(c_in, c_out, **kwargs)
    def forward_features(self, x, mask=None): return self.rnn(x.transpose(1, 2))[0].transpose(1, 2)

@pytest.mark.parametrize('arch', [_Plain, _Wrapped, _Plain(C, 2), _Deaf], ids=['class', 'wrapper', 'instance', 'deaf'])
def test_models_of_ones_own_are_tried(arch):
    with pytest.raises(ValueError, match='does not mask them'): learner(arch, epochs=0)

@pytest.mark.parametrize('arch', [_Aware, _Handed])
def test_models_of_ones_own_that_know(arch):
    learn, *_ = learner(arch)
    assert np.isfinite(learn.history.valid_loss).all()

@pytest.mark.parametrize('arch,kw', [('LSTM', dict(bidirectional=True)), ('GRUAttentionPlus', dict(bidirectional=True)),
                                     ('TSSequencer', {})])
def test_export_says_what_it_cannot(arch, kw):
    learn, *_ = learner(arch, **kw)
    with pytest.raises(ValueError, match='bidirectional=False'): tsfast.deploy.export_program(learn)

def test_a_later_fill_ends_it():
    tfms = [TSStandardize(), TSNan2Value(keep_padding=True), TSNan2Value()]
    learn, *_ = learner('InceptionTime', tfms=tfms, nf=4)
    assert not learn.dls.keeps_padding and np.isfinite(learn.history.valid_loss).all()

def test_estimator_keeps_what_is_asked_for():
    from tsfast.estimators import TSNetClassifier
    X, n, y = data()
    for missing in (None, 0.):
        m = TSNetClassifier('LSTM', batch_tfms=TFMS, missing=missing, epochs=1, random_state=0).fit(X, y)
        assert m.learner_.model.mask_padding and m.learner_.dls.keeps_padding
        assert np.isfinite(m.predict_proba(X[..., :12])).all()

def test_importance_of_a_channel_that_nobody_reads():
    learn, X, n = learner('LSTM', epochs=2)
    with torch.no_grad(): learn.model.rnn.weight_ih_l0[:, 1] = 0
    table = learn.feature_importance(progress=False)
    assert table.importance[1] == 0 and table.importance.abs().max() > 0

def test_occlusion_of_padding_is_nothing():
    learn, X, n = learner('LSTM', epochs=2)
    for m, k in zip(learn.explain(X, method='occlusion', window=6), n): assert (m[k:] == 0).all() and np.abs(m[:k]).max() > 0

def test_resume_notices(tmp_path):
    from tsfast.checkpoint import Checkpoint
    def run(keep, resume=False):
        return learner('LSTM', epochs=2, tfms=[TSStandardize(by_var=True), TSNan2Value(keep_padding=keep)],
                       cbs=Checkpoint(tmp_path/'c.pt', resume=resume))
    run(True); run(True, resume=True)
    with pytest.raises(ValueError, match='padding'): run(False, resume=True)

@pytest.mark.parametrize('bad', [1, 'yes', None])
def test_bad_argument(bad):
    with pytest.raises(ValueError, match='True or False'): TSNan2Value(keep_padding=bad)

def test_modules_from_before():
    "Pickled objects of earlier versions have no such attributes of their own"
    f, m = FillNaN(), get_arch('LSTM')(C, 2)
    del f.__dict__['keep_padding'], m.__dict__['mask_padding']
    assert not f(torch.full((1, C, 4), torch.nan)).isnan().any() and m(torch.zeros(1, C, 4)).shape == (1, 2)

@pytest.mark.parametrize('word,keep',
                         [('nan2value', False), ('nan2value:keep_padding', True), ('nan2value:keep_padding=false', False),
                          ('nan2value:keep_padding=True', True)])
def test_words_of_the_command_line(word, keep):
    from tsfast.cli import batch_transform
    assert batch_transform(word).keep_padding is keep


# ---------------------------------------------------------------- a series alone and among others

UNEQUAL = [np.random.default_rng(k).normal(size=k).astype('f4') for k in range(10, 34)]

@functools.cache
def on_lists(arch, **kwargs):
    dls = get_ts_dls(UNEQUAL, np.arange(24)//2 % 2, splits=(range(1, 24, 2), range(0, 24, 2)), tfms=[None, TSClassification()],
                     batch_tfms=[TSStandardize(), TSNan2Value()], bs=8, device='cpu', **kwargs)
    learn = ts_learner(dls, arch, seed=0, **SMALL.get(arch, {}))
    if hasattr(learn.model, 'fitted'): solve_head(learn)
    else:
        with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-3)
    return learn

def among_others(predict):
    "What each series gives does not depend on the company"
    want = predict(UNEQUAL)
    for some in ([0], [0, 1], [3, 4, 5], [22], [0, 23]):
        for kind in (list, tuple, arrays): np.testing.assert_allclose(predict(kind(UNEQUAL[i] for i in some)), want[some], atol=1e-5)
    np.testing.assert_allclose(predict([UNEQUAL[5][None], UNEQUAL[5][None]]), want[[5, 5]], atol=1e-5)      # of equal length
    np.testing.assert_allclose(predict([torch.from_numpy(UNEQUAL[5])]), want[[5]], atol=1e-5)

def arrays(o):
    o = list(o)
    res = np.empty(len(o), dtype=object)
    for i, x in enumerate(o): res[i] = x
    return res

ONE_LENGTH = ['MiniRocket', 'TST']

@pytest.mark.parametrize('arch', ['InceptionTime', 'LSTM', *ONE_LENGTH])
@pytest.mark.parametrize('how', ['get_X_preds', 'Predictor', 'test_dl'])
def test_predictions_do_not_depend_on_the_other_series(arch, how, tmp_path):
    learn = on_lists(arch)
    if how == 'Predictor': learn.save_bundle(tmp_path/'b')
    among_others({'get_X_preds': lambda X: learn.get_X_preds(X)[0].numpy(),
                  'test_dl': lambda X: learn.get_preds(dl=learn.dls.test_dl(list(X)))[0].numpy(),
                  'Predictor': lambda X: load_bundle(tmp_path/'b')(X).numpy()}[how])

def test_padding_comes_before_a_selection_of_steps(tmp_path):
    learn = on_lists('InceptionTime', sel_steps=tuple(range(2, 33)))
    learn.save_bundle(tmp_path/'b')
    among_others(lambda X: learn.get_X_preds(X)[0].numpy())
    among_others(lambda X: load_bundle(tmp_path/'b')(X).numpy())

def test_estimators_give_a_series_the_same_alone():
    from tsfast.estimators import TSNetClassifier
    est = TSNetClassifier('MiniRocket', missing=0., random_state=0).fit(UNEQUAL, np.arange(24) % 2)
    among_others(lambda X: est.predict_proba(X))

def test_arrays_keep_their_length(tmp_path):
    learn = on_lists('InceptionTime')
    learn.save_bundle(tmp_path/'b')
    X = np.stack([o[:10] for o in UNEQUAL])
    assert learn.dls.new_dl(X).len == 10 and learn.dls.new_dl(list(X)).len == 33 and learn.dls.new_dl([np.ones(40), np.ones(3)]).len == 40
    torch.testing.assert_close(load_bundle(tmp_path/'b')(X), learn.get_X_preds(X)[0])
    plain = get_ts_dls(X, np.arange(24) % 2, tfms=[None, TSClassification()], device='cpu')       # nothing deals with NaN
    assert plain.new_dl([o[:5] for o in X]).len == 5

@pytest.mark.parametrize('arch', ONE_LENGTH)
def test_arrays_of_another_length_are_refused_with_padding_as_a_mend(arch, tmp_path):
    learn = on_lists(arch)
    learn.save_bundle(tmp_path/'b')
    short, long = np.ones((3, 1, 20), np.float32), np.ones((3, 1, 40), np.float32)
    for predict in (learn.get_X_preds, load_bundle(tmp_path/'b')):
        with pytest.raises(ValueError, match='Pad .*NaN at the end'): predict(short)
        with pytest.raises(ValueError) as e: predict(long)
        assert 'Pad' not in str(e.value)
