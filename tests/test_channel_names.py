"Names of channels: from frames and arguments to loaders, pictures, importances, bundles, predictors and estimators"
import copy, importlib.util, json, pickle
from pathlib import Path

import numpy as np
import pandas as pd
import matplotlib.pyplot as plt
import pytest
import torch

from tsfast.bundle import check_config
from tsfast.data.core import get_ts_dl, get_ts_dls
from tsfast.data.inputs import channel_numbers, short_list
from tsfast.data.files import read_data
from tsfast.data.panels import frame_channels, named_series, ordered_channels, panel_frames
from tsfast.data.preprocessing import TSNan2Value, TSStandardize
from tsfast.data.steps import RecordingSettings
from tsfast.data.tensor import TSTensor
from tsfast.deploy import export_onnx, export_program, to_predictor
from tsfast.estimators import TSNetClassifier
from tsfast.inference import CONFIG, Predictor
from tsfast.learner import load_learner, ts_learner
from tsfast.models.fcn import FCN
from tsfast.settings import RunSettings
from tsfast.training import RunData, archive_data
from tsfast.training.summary import data_summary, draw_series
import tsfast.interpret  # noqa: F401

root = Path(__file__).resolve().parents[1]
N, L, NAMES = 30, 20, ['x', 'z', 'heart rate']
rng = np.random.default_rng(0)
X = rng.normal(size=(N, 3, L)).astype(np.float32)
y = np.array(['no', 'yes'])[np.arange(N) % 2]
splits = range(20), range(20, N)
frames = [pd.DataFrame(o.T, columns=NAMES) for o in X]
mixed = [o[['heart rate', 'x', 'z']] if i % 2 else o[['z', 'heart rate', 'x']] for i, o in enumerate(frames)]
steps = RecordingSettings(id=['subject'], time='t', window=L, stride=5, freq='20ms', fill={'x': 'linear', 'z': 'none'})


def loaders(data=X, bs=8, **kwargs):
    return get_ts_dls(data, y, splits=splits, batch_tfms=TSStandardize(), bs=bs, device='cpu', **kwargs)

def learner(**kwargs):
    learn = ts_learner(loaders(**{'channels': NAMES, **kwargs}), FCN, layers=[4, 4, 4], seed=0)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-2)
    return learn

@pytest.fixture(scope='module')
def trained(): return learner()


# where names come from
def test_from_frames_and_arguments():
    assert loaders(frames).channels == loaders(channels=NAMES).channels == NAMES and loaders().channels is None
    assert loaders([pd.DataFrame(o.T) for o in X][:N], sel_vars=None).channels is None           # numbered columns are no names
    assert frame_channels(X) is None and frame_channels([]) is None and frame_channels(frames) == NAMES
    assert frame_channels(np.array([*frames, None], dtype=object)[:-1]) == NAMES
    assert get_ts_dl(X, y, channels=NAMES, device='cpu').channels == NAMES

def test_other_libraries():
    pl = pytest.importorskip('polars')
    polars = [pl.DataFrame({c: o[c].to_numpy() for c in o}) for o in mixed]
    assert loaders([pl.DataFrame({c: o[c].to_numpy() for c in o}) for o in frames]).channels == NAMES
    assert np.array_equal(np.stack(named_series(polars, NAMES)).astype(np.float32), X)
    pa = pytest.importorskip('pyarrow')
    assert np.array_equal(np.stack(named_series([pa.table({c: o[c].to_numpy() for c in o}) for o in mixed], NAMES)).astype(np.float32), X)

def test_names_put_frames_in_order():
    "With channels=, frames are read by name, whatever the order of their columns, and however many steps they have"
    dls = loaders(mixed, channels=NAMES)
    assert torch.equal(dls.train_ds.X, torch.from_numpy(X)) and dls.channels == NAMES
    ragged = [o.iloc[:10 + i % 7] for i, o in enumerate(mixed)]
    dls = get_ts_dls(ragged, y, channels=NAMES, batch_tfms=TSNan2Value(), device='cpu')
    assert dls.len == 16 and np.array_equal(dls.train_ds.X[3, :, :13], X[3, :, :13]) and dls.train_ds.X[3, :, 13:].isnan().all()
    digits = [o.rename(columns={'x': 'ch1', 'z': 'ch2', 'heart rate': 'ch3'}) for o in frames]       # as (C, L) these would be misread
    assert torch.equal(get_ts_dls(digits, y, channels=['ch1', 'ch2', 'ch3'], device='cpu').train_ds.X, torch.from_numpy(X))

@pytest.mark.parametrize('names,text', [
    ('abc', 'Expected a list'), (['a', 'a', 'b'], 'more than once'), (['a'], '1 names, and X has 3 channels')])
def test_bad_names(names, text):
    with pytest.raises(ValueError, match=text): loaders(channels=names)

@pytest.mark.parametrize('sel,kept', [
    (['x', 'heart rate'], [0, 2]), (['heart rate', 'x'], [2, 0]), ('z', [1]), (np.array(['z', 'x']), [1, 0]), (pd.Index(['z']), [1]),
    ([0, 2], [0, 2]), (slice(1, None), [1, 2]), (np.array([True, False, True]), [0, 2]), (None, [0, 1, 2]), (1, [1])])
def test_selection_by_name(sel, kept):
    dls = loaders(channels=NAMES, sel_vars=sel)
    assert dls.channels == [NAMES[i] for i in kept] and np.array_equal(dls.train_ds.X, X[:, kept])

@pytest.mark.parametrize('sel,names,text', [
    (['x', 'zz'], NAMES, r"no channel 'zz'. Did you mean 'z'\? The channels: \['x'"), (['x', 1], NAMES, 'There is no channel 1'),
    (['x'], None, "names \\['x'\\], and the channels of X have no names"), ({'x', 'z'}, NAMES, 'Expected indices')])
def test_selection_says_no(sel, names, text):
    with pytest.raises(ValueError, match=text): loaders(channels=names, sel_vars=sel)
    assert channel_numbers({1}, NAMES) == {1}

def test_a_transform_that_changes_the_channels_takes_the_names():
    dls = loaders(channels=NAMES, tfms=[lambda o: o[:, :2], None])
    assert dls.vars == 2 and dls.channels is None


# who carries them
def test_splits_new_data_and_copies_have_names():
    dls = loaders(channels=NAMES, sel_vars=['z', 'x'])
    assert all(o.dataset.channels == ['z', 'x'] for o in (*dls, dls.new_dl(X[:3]), dls.test_dl(X[:3])))
    for again in (pickle.loads(pickle.dumps(dls)), copy.deepcopy(dls)): assert again.channels == ['z', 'x']
    assert "channels=[z, x]" in repr(dls) and 'channels=[z, x]' in repr(dls.train_ds) and 'channels' not in repr(loaders())
    assert dls.train_ds[0][0].channels == ['z', 'x'] and short_list('abcdefgh') == '[a, b, c, d, e, f, …]'

def test_data_sets_of_older_pickles():
    "They have neither names nor times nor settings of recordings"
    ds = loaders(channels=NAMES).train_ds
    for k in ('_channels', 'times', 'recording'): ds.__dict__.pop(k, None)
    again = pickle.loads(pickle.dumps(ds))
    assert again.channels is None and again.recording is None and again.times_of(torch.arange(2)) is None and again.new(X).channels is None

def test_export(trained, tmp_path):
    assert trained.channels == NAMES
    trained.path = tmp_path
    trained.export('e.pkl')
    back = load_learner(tmp_path/'e.pkl')
    assert back.channels == NAMES and torch.equal(back.get_X_preds(mixed)[0], trained.get_X_preds(X)[0])
    back.dls.train_ds.__dict__.pop('_channels'); assert back.channels is None

def test_predictions_of_frames(trained):
    "In the order of training"
    want = trained.get_X_preds(X)[0]
    for o in (frames, mixed): assert torch.equal(trained.get_X_preds(o)[0], want)
    with pytest.raises(ValueError, match=r"Series 1 lacks the channels \['z'\]"):
        trained.get_X_preds([frames[0], frames[1][['x', 'heart rate']]])


def test_one_frame(trained):
    with trained.no_bar():
        for o in (frames[3], mixed[3]): assert torch.equal(trained.predict(o)[2], trained.predict(X[3])[2])

def test_data_sets_made_apart():
    from tsfast.data.core import TSDataLoaders, TSDatasets
    a, b, c = (TSDatasets(X, y, channels=o) for o in (NAMES, NAMES[::-1], None))
    with pytest.raises(ValueError, match=r'channels \[x, z, heart rate\] and \[heart rate, z, x\]. Expected the same'):
        TSDataLoaders.from_dsets(a, b, device='cpu')
    TSDataLoaders.from_dsets(a, c, device='cpu')


# importances and explanations
def test_importances_and_explanations_use_names(trained):
    assert list(trained.feature_importance(n_repeats=1, progress=False).index) == NAMES
    assert list(trained.feature_importance(names=['a', 'b', 'c'], n_repeats=1, progress=False).index) == ['a', 'b', 'c']
    assert list(learner(channels=None).feature_importance(n_repeats=1, progress=False).index) == [0, 1, 2]
    axs = trained.plot_explanation(X[:2])
    assert [o.get_text() for o in axs.flat[0].figure.legends[0].get_texts()] == NAMES
    axs = trained.plot_explanation(mixed[:2], method='occlusion', by_channel=True)
    assert [o.get_text() for o in axs.flat[0].get_yticklabels()] == NAMES

def test_explanation_of_a_selection():
    "The picture has the channels and the steps that the network sees"
    learn = learner(sel_vars=['heart rate', 'x'], sel_steps=range(2, 18))
    ax = learn.plot_explanation(X[:1], method='occlusion', by_channel=True, window=4).flat[0]
    assert [o.get_text() for o in ax.get_yticklabels()] == ['heart rate', 'x'] and ax.images[0].get_array().shape == (2, 16)
    ax = learn.plot_explanation(X[:1], method='cam').flat[0]
    assert np.array_equal(np.stack([o.get_ydata() for o in ax.lines]), X[0, [2, 0], 2:18])


# bundles and predictors
def test_bundle(trained, tmp_path):
    b = trained.save_bundle(tmp_path/'b')
    cfg, p = json.loads((b/CONFIG).read_text()), Predictor(b)
    assert cfg['series']['names'] == NAMES and cfg['format_version'] == 4
    assert p.channels == to_predictor(trained).channels == NAMES and p.recording is None and 'x, z, heart rate' in repr(p)
    want = p(X)
    assert torch.equal(want, trained.get_X_preds(X)[0])
    for o in (frames, mixed, tuple(mixed)): assert torch.equal(p(o), want)
    assert np.array_equal(p.predict(mixed), p.predict(X)) and np.array_equal(p.embeddings(mixed), p.embeddings(X))

def test_stored():
    "A bundle of this format, which later versions read"
    p, z = Predictor(root/'tests/data/bundle_v4_names'), np.load(root/'tests/data/expected_v4_names.npz')
    assert p.channels == ['acc x', 'acc y', 'pulse'] and p.recording == RecordingSettings(
        id=['person'], time='t', window=16, stride=8, freq='20ms', fill='linear')
    frames = [pd.DataFrame(o[::-1].T, columns=p.channels[::-1]) for o in z['X']]
    assert torch.equal(p(frames), p(z['X'])) and np.array_equal(p.predict(frames), z['predicted'])

def test_older_formats_where_nothing_new_is_used(tmp_path):
    learn = learner(channels=None)
    b = learn.save_bundle(tmp_path/'b')
    cfg, p = json.loads((b/CONFIG).read_text()), Predictor(b)
    assert cfg['format_version'] == 1 and 'names' not in cfg['series'] and 'recording' not in cfg and p.channels is p.recording is None
    assert torch.equal(p(frames), p(X)) and torch.equal(p([o.to_numpy().T for o in frames]), p(X))       # by position, as ever

def test_names_of_the_input_before_a_selection(tmp_path):
    learn = learner(sel_vars=['heart rate', 'x'])
    p = Predictor(learn.save_bundle(tmp_path/'b'))
    assert learn.channels == ['heart rate', 'x'] and p.channels == NAMES and p.input_shape == (3, L)
    assert torch.equal(p(mixed), p(X)) and torch.equal(p(X), learn.get_X_preds(X)[0])

@pytest.mark.parametrize('form', ['nested_univ', 'pd-multiindex'])
def test_panels(trained, form):
    datatypes = pytest.importorskip('sktime.datatypes')
    panel = datatypes.convert_to(frames, form, as_scitype='Panel')
    p = to_predictor(trained)
    assert torch.equal(p(panel), p(X)) and torch.equal(p(panel[['z', 'x', 'heart rate']]), p(X))
    with pytest.raises(ValueError, match=r"Series 0 has the columns \['t'\], which are no channels"): p(panel.assign(t=panel['x']))

def test_predictor_says_no(trained):
    p = to_predictor(trained)
    for bad, text in (([o.rename(columns={'z': 'Z'}) for o in frames],
                       r"Series 0 lacks the channels \['z'\] of training. It has \['Z'\], which .* Did you mean 'Z'"),
                      ([o.assign(time=0.) for o in frames],
                       r"Series 0 has the columns \['time'\], which are no channels .* leave others out"),
                      ([frames[0], pd.concat([frames[1], frames[1]['x']], axis=1)], 'Series 1 has a column more than once'),
                      ([o.assign(z='a') for o in frames], r"Series 0 has columns that are not numbers: \['z'\]"),
                      ([o.rename(columns=dict(zip(NAMES, 'abc'))) for o in frames], r"lacks the channels \['x', 'z', 'heart rate'\]"),
                      (X[:, :2], 'Expected')):
        with pytest.raises(ValueError, match=text): p(bad)

def test_wide_frames_as_before():
    learn = ts_learner(get_ts_dls(X[:, 0], y, channels=['pulse'], bs=8, device='cpu'), FCN, layers=[4, 4, 4])
    p = to_predictor(learn)
    wide = pd.DataFrame(X[:, 0], columns=[f't{i}' for i in range(L)])
    assert torch.equal(p(wide), p(X[:, :1])) and torch.equal(p([pd.DataFrame({'pulse': o}) for o in X[:, 0]]), p(X[:, :1]))
    assert p.channels == ['pulse']

def test_ragged_frames(tmp_path):
    "Lists of frames are padded as lists of arrays are"
    dls = get_ts_dls(X, y, channels=NAMES, batch_tfms=[TSStandardize(), TSNan2Value()], bs=8, device='cpu')
    learn = ts_learner(dls, FCN, layers=[4, 4, 4])
    p, cut = to_predictor(learn), [o.iloc[:5 + i % 9] for i, o in enumerate(mixed)]
    assert torch.equal(p(cut), p([o[NAMES].to_numpy().T for o in cut])) and torch.equal(p(cut)[:1], p(cut[:1]))

def test_recording(tmp_path):
    learn = learner()
    for dl in learn.dls: dl.dataset.recording = steps
    b = learn.save_bundle(tmp_path/'b')
    p, cfg = Predictor(b), json.loads((b/CONFIG).read_text())
    assert p.recording == steps == to_predictor(learn).recording and cfg['recording']['freq'] == '20ms' and cfg['format_version'] == 4
    learn = learner(channels=None)
    learn.dls.loaders[-1].dataset.recording = RecordingSettings(freq=.5)
    p = Predictor(learn.save_bundle(tmp_path/'c'))
    assert p.recording == RecordingSettings(freq=.5) and p.channels is None and p.config['format_version'] == 4

@pytest.fixture(scope='module')
def config(trained):
    cfg = copy.deepcopy(to_predictor(trained).config)
    cfg |= dict(weights=dict(file='model.safetensors', bytes=1, sha256='0'), recording=dict(id=['s'], time='t', window=L, stride=5))
    return check_config(cfg)

@pytest.mark.parametrize('path,value,text', [
    ('series.names', ['x', 'z'], 'Expected 3 names'), ('series.names', ['x', 'x', 'z'], 'Expected each name once'),
    ('series.names', 'xyz', 'series.names is'), ('series.names', ['x', 'z', 3], r'series.names\[2\] is .3.'),
    ('series.names', None, 'series.names is'), ('series.names', ['x', 'z', 'h'*2000], 'series.names'),
    ('series.names', ['a']*10**5, 'series.names'),
    ('recording', [], 'recording is'), ('recording', None, 'recording is'), ('recording.window', L + 1, f'Expected {L}, the length'),
    ('recording.window', 0, 'recording.window'), ('recording.window', '5', 'recording.window'),
    ('recording.window', 10**9, 'recording.window'),
    ('recording.stride', -1, 'recording.stride'), ('recording.stride', True, 'recording.stride'),
    ('recording.id', 's', 'recording.id'), ('recording.id', [1], r'recording.id\[0\]'), ('recording.id', ['a']*20_000, 'recording.id'),
    ('recording.time', 3, 'recording.time'), ('recording.freq', [], 'recording.freq'), ('recording.freq', 'x'*2000, 'recording.freq'),
    ('recording.fill', {'x': 1}, 'recording.fill'), ('recording.code', 'os.system', 'unknown field `code`')])
def test_forged(config, path, value, text):
    cfg = at = copy.deepcopy(config)
    *way, last = path.split('.')
    for k in way: at = at[k]
    at[last] = value
    with pytest.raises(ValueError, match=text): check_config(cfg)

def test_all_settings_pass(config):
    "A bundle holds whatever `RecordingSettings` holds"
    for rec in ({}, dict(freq=.1), dict(freq='1s', fill='linear'), dict(id=[], window=None, stride=None, fill={})):
        check_config({**copy.deepcopy(config), 'recording': rec})
    cfg = copy.deepcopy(config); del cfg['recording'], cfg['series']['names']
    check_config(cfg)

def test_names_that_a_bundle_cannot_hold(tmp_path):
    learn = learner(channels=['x', 'z', 'h'*2000])
    with pytest.raises(ValueError, match='series.names'): learn.save_bundle(tmp_path/'b')
    assert not list(tmp_path.iterdir())

def test_exported_program(trained, tmp_path):
    for o in (trained, to_predictor(trained)):
        export_program(o, tmp_path/'p.pt2')
        extra = {'channels.json': ''}
        torch.export.load(tmp_path/'p.pt2', extra_files=extra)
        assert json.loads(extra['channels.json']) == NAMES

@pytest.mark.skipif(not all(importlib.util.find_spec(o) for o in ('onnx', 'onnxscript')), reason='needs onnx and onnxscript')
def test_onnx(trained, tmp_path):
    import onnx
    for o in (trained, to_predictor(trained)):
        props = {p.key: p.value for p in onnx.load(export_onnx(o, tmp_path/'m.onnx')).metadata_props}
        assert json.loads(props['channels']) == NAMES


# estimators
def test_estimators(tmp_path):
    est = TSNetClassifier('FCN', {'layers': [4, 4, 4]}, epochs=1, lr=1e-2, device='cpu', random_state=0)
    est.fit(frames, y)
    want = est.predict_proba(X)
    assert est.channel_names_ == est.learner_.channels == NAMES and np.array_equal(est.predict_proba(mixed), want)
    assert Predictor(est.learner_.save_bundle(tmp_path/'b')).channels == NAMES
    again = pickle.loads(pickle.dumps(est))
    assert np.array_equal(again.predict_proba(mixed), want) and again.learner_.channels == NAMES
    for bad, text in (([o[['x', 'z']] for o in frames], 'lacks the channels'), ([o.assign(t=1) for o in frames], r"columns \['t'\]")):
        with pytest.raises(ValueError, match=text): est.predict(bad)
    assert est.fit(X, y).channel_names_ is None and est.learner_.channels is None

def test_panel_frames_by_name():
    assert [list(o) for o in panel_frames(mixed[:3], NAMES)] == [NAMES]*3
    with pytest.raises(ValueError, match='Series 1 of the panel has the channels'): panel_frames(mixed[:2])
    assert ordered_channels(frames[0], NAMES) is frames[0] and named_series(X, NAMES) is X and named_series(frames, None) is frames

def test_a_tensor_knows_its_names_but_no_pickle_its_data():
    dls = loaders(channels=NAMES)
    x = dls.one_batch()[0]
    assert x.source[0] is dls.train.dataset and torch.equal(x[3:5].source[1], x.source[1][3:5])
    again = pickle.loads(pickle.dumps(x))
    assert type(again) is TSTensor and again.source is None and torch.equal(again, x) and copy.deepcopy(x).source is None


# ---- sets of the archives, and pictures of many channels

HEAD = """#1. Hand left, X
#2. Hand left, Y
#  3) Hand right, X
#
#The classes:
#1: up
#2: down
@problemName Gesture
@dimensions 3
@classLabel true a b
@data
"""

def write_set(folder, head=HEAD):
    (folder/'Gesture').mkdir(exist_ok=True)
    for part in ('TRAIN', 'TEST'):
        rows = ''.join(':'.join(','.join(f'{o:.2f}' for o in rng.normal(size=8)) for _ in range(3)) + f':{"ab"[i % 2]}\n' for i in range(8))
        (folder/'Gesture'/f'Gesture_{part}.ts').write_text(head + rows)

def test_names_in_the_comments_of_a_set(tmp_path):
    "A numbered list with an entry for each channel; other lists, and one that may be of the classes, are none"
    write_set(tmp_path)
    names = ['Hand left, X', 'Hand left, Y', 'Hand right, X']
    data = archive_data(RunSettings(dsid='gesture', path=str(tmp_path)))
    assert data.channels == names == read_data(tmp_path/'Gesture'/'Gesture_TRAIN.ts').channels and 'Hand left, X' in data_summary(data)['channels']
    assert read_data(tmp_path/'Gesture'/'Gesture_TRAIN.ts', channels=list('abc')).channels == ['a', 'b', 'c']
    for head in (HEAD.replace('#2. Hand left, Y\n', ''), HEAD.replace('Y\n', 'X\n'), HEAD.replace('true a b', 'true a b c'), HEAD.split('#\n')[1]):
        write_set(tmp_path, head)
        assert archive_data(RunSettings(dsid='gesture', path=str(tmp_path))).channels is None

@pytest.mark.parametrize('C, named', [(3, True), (3, False), (14, True), (14, False)])
def test_channels_of_a_picture_of_data_are_told(C, named):
    "By a legend, or by a panel for each of many channels"
    names = [f'c{i} $' for i in range(C)] if named else None
    fig = draw_series(RunData(rng.normal(size=(12, C, 20)), np.array(list('ab')*6), channels=names))
    if C == 3: assert [o.get_text() for o in fig.legends[0].get_texts()] == (['c0 \\$', 'c1 \\$', 'c2 \\$'] if named else ['0', '1', '2'])
    else:
        assert not fig.legends and [len(o.child_axes) for o in fig.axes[:3]] == [C]*3
        assert [o.get_ylabel() for o in fig.axes[0].child_axes][:2] == (['c0 \\$', 'c1 \\$'] if named else ['0', '1'])
    plt.close(fig)
