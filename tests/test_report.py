"The report of a model: well-formed, self-contained, for all kinds of targets; what goes wrong costs a section and not the run"
import json, re, shutil, subprocess, time
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from fastai.learner import Learner
from fastai.metrics import accuracy

import tsfast.report
from tsfast.cli import main
from tsfast.core import rng_state
from tsfast.data.core import get_ts_dls
from tsfast.data.external import get_UCR_data
from tsfast.data.preprocessing import TSNan2Value, TSStandardize
from tsfast.data.targets import TSClassification, TSMultiLabelClassification, TSRegression
from tsfast.estimators import TSNetClassifier
from tsfast.learner import ts_learner
from tsfast.report import SECTIONS
from tsfast.report.evidence import About, Evidence, LeftOut
from tsfast.report.page import cell, number, page, section, shown, table
from tsfast.report.reasons import deadline, importances
from tsfast.report.results import MATRIX, last_values, scored, summary
from tsfast.training import RESULTS, RunData, RunSettings, TrainingRun, run_key, run_many, run_once
from tsfast.training.summary import class_counts

TINY = dict(arch='FCN', arch_args=dict(layers=[4, 4, 4]), epochs=2, bs=16, lr=1e-2, device='cpu')
N, C, L = 60, 2, 30
rng = np.random.default_rng(0)
X = rng.normal(size=(N, C, L)).astype(np.float32)
SPLITS = range(40), range(40, N)
LABELS = np.array(['<b>run</b>', 'a&b', '"quoted" \'$x_1$\' \\frac'])[rng.integers(0, 3, N)]
TARGETS = dict(classes=(LABELS, TSClassification()),
               steps=(rng.integers(0, 3, (N, L)), TSClassification()),
               labels=([['a', 'b<i>'][:i] for i in rng.integers(0, 3, N)], TSMultiLabelClassification()),
               number=(rng.normal(size=N), TSRegression(standardize=True)), numbers=(rng.normal(size=(N, 3)), TSRegression()),
               forecast=(rng.normal(size=(N, C, 5)), TSRegression(standardize=True)), grid=(rng.normal(size=(N, 3, 5)), TSRegression()),
               unknown=(np.where(rng.random((N, 3)) < .3, np.nan, rng.normal(size=(N, 3))), TSRegression(allow_nan=True, standardize=True)))
VOID = {'meta', 'br', 'img', 'link', 'hr', 'input'}


class Page(HTMLParser):
    "A page that was read: refuses what is not well-formed"
    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts, self.section, self.by_section = [], [], [], None, {}
        self.feed(text)
        self.close()
        assert not self.open, f'never closed: {self.open}'

    def handle_starttag(self, tag, attrs):
        assert len({k for k, _ in attrs}) == len(attrs), f'an attribute twice in {tag}'
        self.tags.append((tag, dict(attrs)))
        if tag == 'section': self.section = dict(attrs)['id']
        if tag not in VOID: self.open.append(tag)
    def handle_startendtag(self, tag, attrs): self.tags.append((tag, dict(attrs)))
    def handle_endtag(self, tag): assert self.open and self.open.pop() == tag, f'{tag} closes something else'
    def handle_data(self, data):
        if 'style' in self.open: return
        self.texts.append(data)
        if self.open[-1:] and 'main' in self.open: self.by_section[self.section] = self.by_section.get(self.section, '') + data + ' '

    def of(self, *names): return [a for t, a in self.tags if t in names]


def read(file, failing=()):
    "A report, after the checks that each must pass"
    raw = file.read_bytes()
    assert len(raw) < 2*10**6 and raw.startswith(b'<!DOCTYPE html>')
    text = raw.decode('utf-8')
    p = Page(text)
    levels = [int(t[1]) for t, _ in p.tags if re.fullmatch('h[1-6]', t)]
    assert levels[0] == 1 and levels.count(1) == 1 and all(b <= a + 1 for a, b in zip(levels, levels[1:]))
    assert p.of('html')[0]['lang'] == 'en' and len(p.of('main')) == len(p.of('title')) == 1
    for a in p.of('svg'): assert a['role'] == 'img' and len(a['aria-label']) > 20
    for a in p.of('img'): assert a['alt'] and a['src'].startswith('data:')
    assert not p.of('script', 'link', 'iframe', 'object', 'embed')
    assert not [a for _, a in p.tags for k, v in a.items() if k in ('src', 'href', 'xlink:href') and not v.startswith(('#', 'data:'))]
    assert 'url(http' not in text and '@import' not in text
    ids = [a['id'] for _, a in p.tags if 'id' in a]
    assert len(ids) == len(set(ids)) and set(SECTIONS) <= set(ids)
    refs = [v[1:] for _, a in p.tags for k, v in a.items() if k == 'href'] + re.findall(r'url\(#([^)]+)\)', text)
    assert set(refs) <= set(ids)
    assert len(p.of('table')) == len(p.of('caption')) and all(a.get('scope') in ('col', 'row') for a in p.of('th'))
    failed = [k for k, v in p.by_section.items() if 'could not be made' in v]
    assert failed == list(failing), [p.by_section[o][:300] for o in failed]
    p.text = ' '.join(p.texts)
    return p


def trained(y=LABELS, target=None, X=X, splits=SPLITS, arch='FCN', epochs=1, seed=0, dls=None, batch_tfms=None, **kwargs):
    "A learner, trained for a moment"
    if dls is None: dls = get_ts_dls(X, y, splits=splits, tfms=[None, target or TSClassification()], bs=16, device='cpu',
                                     batch_tfms=TSStandardize() if batch_tfms is None else batch_tfms)
    learn = ts_learner(dls, arch, seed=seed, **({'layers': [4, 4, 4]} if arch == 'FCN' else {}), **kwargs)
    with learn.no_bar(), learn.no_logging(): learn.fit(epochs, 1e-3)
    return learn

def quiet(run):
    with run.learner().no_bar(), run.learner().no_logging(): return run.train()

def run_on(y=LABELS, target=None, X=X, splits=SPLITS, **settings):
    return quiet(TrainingRun(RunSettings(**{**TINY, **settings}), RunData(X, y, splits, target)))


# ---- all kinds

@pytest.mark.parametrize('kind', list(TARGETS))
def test_kinds(tmp_path, kind):
    y, target = TARGETS[kind]
    results = run_on(y, target).save(tmp_path, report=dict(seconds=1))
    p = read(tmp_path/'report.html')
    assert 'test series' in p.text and 'validation' not in p.by_section['training']
    assert 'not asked for' not in p.text and 'Rise of the loss' in p.by_section['importance']
    assert len(p.of('svg')) >= 8
    if target.cat:
        for o in target.setup(y).vocab: assert str(o) in p.by_section['predictions'] and str(o) in p.by_section['data']
        assert 'calibration error' in p.by_section['calibration']
        first = next(iter(results['test'].values()))
        assert f'{first:.1%}' in p.texts[2] or f'{first:.1%}' in p.text
    else:
        assert 'no probabilities' in p.by_section['calibration'] and number(results['test']['mae']) in p.text


def test_text_from_data_is_escaped(tmp_path):
    dls = get_ts_dls(X, LABELS, splits=SPLITS, tfms=[None, TSClassification()], bs=16, device='cpu', channels=['acc <x>', '</table>&amp;'])
    file = trained(dls=dls).report(tmp_path/'r.html', name='<script>alert(1)</script>.csv', facts={'<u>': '<img src=x onerror=y>'}, bundle='a"b\'<c>')
    p = read(file)
    for o in (*set(LABELS), 'acc <x>', '</table>&amp;', '<script>alert(1)</script>.csv', '<u>', '<img src=x onerror=y>'): assert o in p.text, o
    assert not {'b', 'u', 'script', 'img', 'x'} & {t for t, _ in p.tags}


def test_text_that_html_cannot_hold(tmp_path):
    "Control characters, half of a pair of code units, other scripts and very long labels"
    names = ['a\x00\x1b', 'b\ud800', '走る', 'long'*100]
    y = np.array(names)[np.arange(N) % 4]
    p = read(trained(y).report(tmp_path/'r.html', seconds=1))
    assert '走る' in p.text and 'a\ufffd\ufffd' in p.text and 'long'*30 not in p.text
    test = shown('x'*100, 10)
    assert len(test) == 10 and test.endswith('…')


def test_many_of_everything_stays_small(tmp_path):
    "300 classes, 90 channels of 5,000 steps, 1,000 epochs"
    n = 700
    X = rng.normal(size=(n, 90, 64)).astype(np.float32)
    learn = trained(np.arange(n) % 300, X=X, splits=(range(600), range(600, n)))
    learn.history = learn.history.loc[[0]*1000].reset_index(drop=True)
    p = read(learn.report(tmp_path/'r.html', seconds=1))
    assert 'the first 60 of 300' in p.by_section['data'] and 'Confusion matrix' not in p.text and 300 > MATRIX
    assert '4 of 90 channels are drawn' in p.by_section['examples']
    long = trained(rng.normal(size=(30, 200)), TSRegression(), rng.normal(size=(30, 2, 20_000)), (range(20), range(20, 30)))
    p = read(long.report(tmp_path/'long.html', seconds=1))
    assert 'the first 60 of 200' in p.by_section['predictions']


# ---- what there is to judge by

def test_given_series_and_samples(tmp_path):
    X, y, splits = get_UCR_data('ItalyPowerDemand', split_data=False)
    learn = trained(y, X=X, splits=splits, metrics=accuracy)
    p = read(learn.report(tmp_path/'a.html', n_series=100, n_examples=2, seconds=1))
    assert '100 of the 1,029 validation series, drawn at random' in p.text and len([a for a in p.of('svg') if 'Series ' in a['aria-label']]) == 2
    p = read(learn.report(tmp_path/'b.html', X[:50], y[:50], n_examples=0, seconds=0))
    assert 'the 50 given series' in p.text and 'not asked for (n_examples=0)' in p.text and '(seconds=0)' in p.by_section['importance']
    with pytest.raises(ValueError, match='Pass both X and y'): learn.report(tmp_path/'c.html', X[:50])
    for kwargs, words in [(dict(n_series=0), 'n_series is 0'), (dict(n_examples=-1), 'n_examples is -1'), (dict(seconds=None), 'seconds is None'),
                          (dict(seconds=float('nan')), 'seconds is nan'), (dict(random_state=.5), 'random_state is 0.5')]:
        with pytest.raises(ValueError, match=words): learn.report(tmp_path/'c.html', **kwargs)
    with pytest.raises(IsADirectoryError, match='is a folder'): learn.report(tmp_path)
    assert not (tmp_path/'c.html').exists()


def test_three_splits(tmp_path):
    p = read(trained(splits=(range(30), range(30, 40), range(40, N))).report(tmp_path/'r.html', seconds=1))
    assert 'the 20 test series' in p.text and 'validation from' in p.by_section['training']


def test_further_inputs(tmp_path):
    dls = get_ts_dls(X, LABELS, splits=SPLITS, tfms=[None, TSClassification()], bs=16, device='cpu', inputs=dict(static=rng.normal(size=(N, 3))))
    p = read(trained(dls=dls, arch=Fused).report(tmp_path/'r.html', seconds=1))
    assert 'static' in p.by_section['data'] and 'predict(X, static=static)' in p.by_section['use']

class Fused(torch.nn.Module):
    "A network with further inputs"
    def __init__(self, c_in, c_out):
        super().__init__()
        self.head = torch.nn.Linear(c_in + 3, c_out)
    def forward(self, series, static): return self.head(torch.cat([series.mean(-1), static], 1))


def test_gaps_and_lengths(tmp_path):
    Z = X.copy()
    Z[3, 0, 5:9], Z[:10, :, 20:], Z[45, :, 10:] = np.nan, np.nan, np.nan
    p = read(trained(X=Z, batch_tfms=[TSStandardize(), TSNan2Value()]).report(tmp_path/'r.html', seconds=1))
    assert '20 to 30' in p.by_section['data'] and '10 to 30' in p.by_section['data'] and 'in 1 of 40 series' in p.by_section['data']
    added = run_on(X=Z)
    p = read(added.report(tmp_path/'run.html', seconds=1))
    assert 'replaced by 0 after the batch transforms' in p.by_section['data']


def test_nothing_to_judge_by(tmp_path):
    "No series beside those of training, no targets, no training series"
    run = run_on(splits=None)
    p = read(run.report(tmp_path/'a.html'))
    assert 'no series beside those of training' in p.by_section['result'] and '60' in p.by_section['data'] and p.of('pre')
    est = TSNetClassifier('FCN', dict(layers=[4, 4, 4]), epochs=1, random_state=0).fit(X, LABELS)
    p = read(est.learner_.report(tmp_path/'b.html', X, LABELS, seconds=1))
    assert 'the 60 given series' in p.text and 'baseline' not in p.text
    read(est.learner_.report(tmp_path/'c.html'))
    dls = get_ts_dls(X, splits=SPLITS, bs=16, device='cpu')
    learn = ts_learner(dls, torch.nn.Sequential(torch.nn.Conv1d(C, 3, 3), torch.nn.Flatten(), torch.nn.Linear(84, 1)), loss_func=lambda p, *y: p.square().mean())
    p = read(learn.report(tmp_path/'d.html'))
    assert 'no targets' in p.by_section['result'] and 'No training is recorded' in p.by_section['training']


def test_held_out_without_test_split(tmp_path):
    p = read(run_on(splits=None, valid_size=.25).report(tmp_path/'r.html', seconds=1))
    assert 'the 15 validation series' in p.text


def test_plain_learner(tmp_path):
    "fastai's own, without tsfast's callbacks and history"
    learn = trained()
    plain = Learner(learn.dls, learn.model, loss_func=torch.nn.CrossEntropyLoss())
    p = read(plain.report(tmp_path/'r.html', seconds=1))
    assert 'No training is recorded' in p.by_section['training'] and 'validation series correctly' in p.text


@pytest.mark.parametrize('some', [False, True])
def test_predictions_that_are_not_finite(tmp_path, some):
    class Breaks(torch.nn.Module):
        def __init__(self, c_in, c_out):
            super().__init__()
            self.f = torch.nn.Linear(c_in, c_out)
        def forward(self, x):
            out = self.f(x.mean(-1))
            return out.masked_fill((x[:, 0, :1] > 0) | (not some), float('nan')) if not self.training else out
    p = read(trained(arch=Breaks).report(tmp_path/'r.html', seconds=1))
    assert ('predictions are not finite numbers and are left out' if some else 'Did the training diverge?') in p.by_section['result']


def test_closed_form(tmp_path):
    run = quiet(TrainingRun(RunSettings(dsid='ItalyPowerDemand', arch='MiniRocket', arch_args=dict(num_features=84), ridge=True, device='cpu')))
    run.save(tmp_path, report=dict(seconds=1))
    p = read(tmp_path/'report.html')
    assert 'solved in closed form' in p.by_section['training'] and '0.9631' in p.text and 'Published of' not in p.text
    assert 'MiniRocket, one run' in p.by_section['result'] and 'HIVE-COTE 2' in p.by_section['result']


# ---- figures

def test_baselines():
    "Scores and baselines as they are by hand"
    y = np.array(['often']*30 + ['seldom']*10 + ['often']*12 + ['seldom']*8)
    ev = Evidence(trained(y), trained(y).dls.valid, 'validation', About())
    scores, baselines = scored(ev)
    assert next(iter(baselines.values()))['accuracy'] == 12/20 and 'always often' in next(iter(baselines))
    probs, targs = ev.learn.get_preds()
    assert scores['accuracy'] == pytest.approx(float((probs.argmax(1) == targs).float().mean()))
    if scores['accuracy'] <= .6: assert 'no better than that' in summary(ev)
    numbers = TARGETS['number'][0]
    ev = Evidence(trained(numbers, TSRegression(standardize=True)), trained(numbers, TSRegression(standardize=True)).dls.valid, 'validation', About())
    scores, baselines = scored(ev)
    assert baselines['always the mean of training']['MAE'] == pytest.approx(np.abs(numbers[40:] - numbers[:40].mean()).mean(), rel=1e-5)
    assert scores['MAE'] == pytest.approx(np.abs(ev.learn.get_X_preds(X[40:])[0].numpy().ravel() - numbers[40:]).mean(), rel=1e-4)


def test_last_value_of_padded_series():
    Z = X.copy()
    Z[41, 0, 12:] = np.nan
    learn = trained(TARGETS['forecast'][0], TSRegression(), Z, batch_tfms=[TSStandardize(), TSNan2Value()])
    got = last_values(Evidence(learn, learn.dls.valid, 'validation', About())).reshape(20, 2, 5)
    assert (got[1, 0] == Z[41, 0, 11]).all() and (got[1, 1] == Z[41, 1, -1]).all() and (got[0, 0] == Z[40, 0, -1]).all()


def test_same_series_in_two_splits(tmp_path):
    Z = X.copy()
    Z[50:53] = Z[:3]
    p = read(trained(X=Z).report(tmp_path/'r.html', seconds=0))
    assert '3 validation series are in the training split, too' in p.by_section['data']


# ---- time, randomness, state

def test_time_limit(tmp_path):
    "A slow model: the importances are left out with a sentence, or stopped"
    class Slow(torch.nn.Module):
        def __init__(self, c_in, c_out):
            super().__init__()
            self.f, self.calls, self.wait = torch.nn.Linear(c_in, c_out), 0, 0.
        def forward(self, x):
            self.calls += 1
            time.sleep(self.wait)
            return self.f(x.mean(-1))
    learn = trained(arch=Slow)
    learn.model.wait = .05
    start = time.monotonic()
    p = read(learn.report(tmp_path/'r.html', seconds=.2, n_examples=1))
    assert p.by_section['importance'].count('would take longer than') == 2 and learn.model.calls < 20
    learn.model.wait, calls = 0., learn.model.calls
    ev = Evidence(learn, learn.dls.valid, 'validation', About(), seconds=.5)
    real = learn.get_preds
    def slower(*args, **kwargs):     # the pass that is timed is fast, and those after it are not
        res = real(*args, **kwargs)
        learn.model.wait = .3
        return res
    learn.get_preds = slower
    assert 'longer than' in importances(ev)['channels'] and learn.model.calls - calls < 12
    assert time.monotonic() - start < 60


def test_deadline_is_taken_back():
    m = torch.nn.Linear(2, 2)
    with pytest.raises(TimeoutError, match='0 seconds'):
        with deadline(m, 0): time.sleep(.01); m(torch.zeros(1, 2))
    m(torch.zeros(1, 2))
    assert not m._forward_pre_hooks


def test_leaves_all_as_it_was(tmp_path):
    "The same page twice, and nothing of the process, the learner or pyplot is changed"
    import matplotlib, matplotlib.pyplot as plt
    learn = trained(metrics=accuracy)
    before, weights, history, dls = rng_state(), {k: v.clone() for k, v in learn.model.state_dict().items()}, learn.history.copy(), learn.dls
    style, values, figures = dict(matplotlib.rcParams), list(learn.recorder.values), plt.get_fignums()
    a, b = (learn.report(tmp_path/o, n_series=15, seconds=60).read_text(encoding='utf-8') for o in 'ab')
    dated = re.compile(r'Made by tsfast [^<]*')
    assert dated.sub('', a) == dated.sub('', b)
    now = rng_state()
    assert torch.equal(now['torch'], before['torch']) and now['python'] == before['python'] and (now['numpy'][1] == before['numpy'][1]).all()
    assert all(torch.equal(v, weights[k]) for k, v in learn.model.state_dict().items()) and learn.history.equals(history)
    assert learn.dls is dls and dict(matplotlib.rcParams) == style and plt.get_fignums() == figures
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)      # and goes on as it would have
    other = trained(metrics=accuracy)
    with other.no_bar(), other.no_logging(): other.fit(1, 1e-3)
    assert all(torch.equal(v, other.model.state_dict()[k]) for k, v in learn.model.state_dict().items())


# ---- failures

def test_a_section_that_fails(tmp_path, monkeypatch):
    "It says so in one sentence; the others are there, and so are the results"
    def fails(ev): raise RuntimeError('no <idea>\nat all')
    monkeypatch.setitem(SECTIONS, 'calibration', ('Calibration', fails))
    run_on().save(tmp_path, report=dict(seconds=0))
    p = read(tmp_path/'report.html', ['calibration'])
    assert 'This section could not be made: RuntimeError: no <idea> at all' in p.by_section['calibration']
    assert (tmp_path/'results.json').exists() and (tmp_path/'model'/'config.json').exists()
    def left(ev): raise LeftOut('There is nothing to say.')
    monkeypatch.setitem(SECTIONS, 'calibration', ('Calibration', left))
    run_on().report(tmp_path/'again.html', seconds=0)
    assert 'There is nothing to say.' in read(tmp_path/'again.html').by_section['calibration']


@pytest.mark.parametrize('name', ['examples', 'importance', 'training'])
def test_broken_pictures(tmp_path, monkeypatch, name):
    "Real errors on the way, in what several sections use"
    where = dict(examples='tsfast.report.reasons.series_figure', importance='tsfast.report.reasons.predicted', training='tsfast.report.results.line_figure')
    def fails(*args, **kwargs): raise MemoryError('no room')
    learn = trained()
    monkeypatch.setattr(where[name], fails)
    read(learn.report(tmp_path/'r.html'), [name])


def test_a_report_that_cannot_be_written(tmp_path, monkeypatch):
    "The run is not lost, and an older report is not taken for its own"
    run = run_on()
    (tmp_path/'report.html').write_text('of an older run')
    def fails(*args, **kwargs): raise OSError('disk full')
    monkeypatch.setattr('tsfast.report.atomic_write', fails)
    with pytest.warns(UserWarning, match='report could not be written.*disk full'): results = run.save(tmp_path, report=dict(seconds=0))
    assert json.loads((tmp_path/'results.json').read_text())['test'] == results['test'] and not (tmp_path/'report.html').exists()
    assert not [o for o in tmp_path.iterdir() if o.name.startswith('.')]


def test_written_aside(tmp_path, monkeypatch):
    learn = trained()
    file = learn.report(tmp_path/'r.html', seconds=0)
    before = file.read_bytes()
    monkeypatch.setattr('os.replace', lambda *args: (_ for _ in ()).throw(OSError('no')))
    with pytest.raises(OSError): learn.report(file, seconds=0, name='other')
    assert file.read_bytes() == before and [o.name for o in tmp_path.iterdir()] == ['r.html']


# ---- runs and the command line

def test_sweeps_have_none_unless_asked(tmp_path):
    s = RunSettings(dsid='ItalyPowerDemand', **TINY)
    a = run_once(s, tmp_path/'a')
    assert not (tmp_path/'a'/a['key']/'report.html').exists()
    b = run_once(s, tmp_path/'b', report=True)
    p = read(tmp_path/'b'/b['key']/'report.html')
    assert str(tmp_path/'b'/b['key']/'model') in p.by_section['use']
    (c,) = run_many([s], tmp_path/'c', workers=1, show=None, report=True)
    assert c['key'] == run_key(s) and 'report.html' in {o.name for o in (tmp_path/'c'/c['key']).iterdir()}


CLI = 'train ItalyPowerDemand --arch-args nf=4 depth=3 --bs 16 --device cpu --epochs 2'.split()

def test_command_line(tmp_path, capsys, monkeypatch):
    "On by default, off by --no-report; a resumed run has one, too"
    out = tmp_path/'a <b> c'
    assert main([*CLI, '--out', str(out)]) == 0
    said = capsys.readouterr().out
    assert f"report.html           {RESULTS['report.html']}" in said
    p = read(out/'report.html')
    assert p.text.strip().startswith('InceptionTime on ItalyPowerDemand') and f"Predictor({str(out/'model')!r})" in p.by_section['use']
    assert '0.9642' in p.by_section['result'] and '2' in p.by_section['settings'] and 'tsfast predict' in p.by_section['use']
    assert main([*CLI, '--no-report', '--overwrite', '--out', str(out)]) == 0 and not (out/'report.html').exists()
    assert 'report.html' not in capsys.readouterr().out
    from tsfast.training import report as room
    def stops(*args, **kwargs): raise KeyboardInterrupt
    with monkeypatch.context() as m:
        m.setattr(TrainingRun, 'write_results', stops)
        assert main([*CLI, '--out', str(tmp_path/'r')]) == 130
    assert not (tmp_path/'r'/'report.html').exists()
    assert main([*CLI, '--resume', '--out', str(tmp_path/'r')]) == 0
    read(tmp_path/'r'/'report.html')
    with monkeypatch.context() as m:
        m.setattr(room, 'write_report', stops)
        assert main([*CLI, '--out', str(tmp_path/'late')]) == 130
    assert 'the results are in' in capsys.readouterr().err and (tmp_path/'late'/'results.json').exists()


# ---- parts

def test_parts():
    assert [number(o) for o in (1029, .96421, 1234567.8, 0., -0.5, float('inf'), np.float32(.25), np.int64(1000))] == \
        ['1,029', '0.9642', '1,234,568', '0', '-0.5', '∞', '0.25', '1,000']
    assert cell(None).children == ('',) and cell(True).children == ('True',)
    class Sly(str):
        def __html__(self): return '<b>'
    html = page('t', 'l', [section('s', 'S', table('c', ['a', 'b'], [(Sly('x'), Sly('y'))]))])
    assert '<b>' not in html     # a subclass of str does not get past the escaping


# ---- in a browser

CHROMIUM = next((o for o in map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome')) if o), None)

MEASURE = """
const lum = c => { const f = v => { v /= 255; return v <= .03928 ? v/12.92 : ((v + .055)/1.055)**2.4 }; return .2126*f(c[0]) + .7152*f(c[1]) + .0722*f(c[2]) };
const parse = s => { const m = s.match(/[\\d.]+/g).map(Number); return [m[0], m[1], m[2], m.length > 3 ? m[3] : 1] };
const over = (a, b) => [0, 1, 2].map(i => a[i]*a[3] + b[i]*(1 - a[3]));
const ground = (e, w) => { const all = []; for (; e; e = e.parentElement) all.push(parse(w.getComputedStyle(e).backgroundColor));
    return all.reverse().reduce((under, c) => over(c, under), [255, 255, 255]) };
const ratio = (a, b) => { const [x, y] = [lum(a), lum(b)].sort((p, q) => q - p); return (x + .05)/(y + .05) };
const measure = (doc, w) => { let least = 99, drawn = 99, which = '', colour = '';
    for (const e of doc.body.querySelectorAll('*')) {
        const own = [...e.childNodes].some(n => n.nodeType == 3 && n.textContent.trim()), s = w.getComputedStyle(e);
        if (own && !e.closest('svg')) { const r = ratio(over(parse(s.color), ground(e, w)), ground(e, w)); if (r < least) [least, which] = [r, e.outerHTML.slice(0, 80)] }
        if (e.closest('svg') && e.hasAttribute('style')) for (const k of ['fill', 'stroke'])
            if (e.getAttribute('style').includes(k + ':') && s[k].startsWith('rgb')) { const r = ratio(parse(s[k]), ground(e.closest('figure'), w)); if (r < drawn) [drawn, colour] = [r, e.outerHTML.slice(0, 200)] } }
    const el = doc.scrollingElement;
    return {width: el.scrollWidth, inner: w.innerWidth, height: el.scrollHeight, least, which, drawn, colour, dark: w.matchMedia('(prefers-color-scheme: dark)').matches,
            svgs: [...doc.querySelectorAll('svg')].map(o => o.getBoundingClientRect().width).filter(o => o > 50).length} };
addEventListener('load', () => { document.title = 'done'; document.body.setAttribute('data-found',
    JSON.stringify([...document.querySelectorAll('iframe')].map(f => measure(f.contentDocument, f.contentWindow)))) });
"""

def seen(file, tmp_path, dark):
    "What a browser says of the page at 1280 and 390 pixels"
    from html import escape
    frames = ''.join(f'<iframe width="{w}" height="900" style="border:0" srcdoc="{escape(file.read_text(encoding="utf-8"))}"></iframe>' for w in (1280, 390))
    outer = tmp_path/'outer.html'
    outer.write_text(f'<!DOCTYPE html><meta charset="utf-8"><script>{MEASURE}</script><body>{frames}', encoding='utf-8')
    argv = [CHROMIUM, '--headless=new', '--no-sandbox', '--disable-gpu', f'--user-data-dir={tmp_path/"browser"}', '--virtual-time-budget=10000', '--dump-dom',
            f'--blink-settings=preferredColorScheme={0 if dark else 1}', outer.as_uri()]
    r = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    found = re.search(r'data-found="([^"]*)"', r.stdout)
    if found is None: pytest.skip(f'the browser does not run here: {r.stderr[-200:]}')
    from html import unescape
    return json.loads(unescape(found[1]))

@pytest.mark.skipif(CHROMIUM is None, reason='needs Chromium or Chrome')
@pytest.mark.parametrize('kind', ['classes', 'steps', 'forecast'])
def test_in_a_browser(tmp_path, kind):
    "Nothing is wider than the screen, and text and lines stand out in the light and in the dark"
    y, target = TARGETS[kind]
    file = trained(y, target, metrics=accuracy if target.cat else None).report(tmp_path/'r.html', name='a_file_with_a_very_long_name_'*5 + '.csv', seconds=1)
    for dark in (False, True):
        for o in seen(file, tmp_path, dark):
            if dark and not o['dark']: pytest.skip('the browser has no dark scheme')
            assert o['width'] <= o['inner'] and o['height'] > 1000 and o['dark'] == dark
            assert o['least'] >= 4.5, o['which']
            assert o['drawn'] >= 3 and o['svgs'] >= 8, o['colour']


# ---- order of classes, settings, wide tables

def numbered(folder, classes, **settings):
    "The report of a run on classes that are called so"
    y = np.array(classes)[np.arange(N) % len(classes)]
    run = TrainingRun(RunSettings(**{**TINY, 'epochs': 1, **settings}), RunData(X, y, SPLITS, name='long'))
    with run.learner().no_bar(), run.learner().no_logging(): run.train()
    return run.report(folder/'report.html', seconds=0).read_text()

@pytest.mark.parametrize('classes, want', [(['0', '1', '10', '2', '11'], ['0', '1', '2', '10', '11']), (['1.0', '10.0', '2.0'], ['1.0', '2.0', '10.0']), (['b', '10', '2'], ['10', '2', 'b'])])
def test_whole_numbers_are_in_their_order(tmp_path, classes, want):
    "In all tables of classes; the counts are those of the class"
    text = numbered(tmp_path, classes)
    tables = [t for t in re.findall(r'<table>.*?</table>', text, re.S) if re.search(r'The classes|Confusion|Scores of each class', t)]
    rows = [re.findall(r'<th scope="row">([^<]*)</th>', t) for t in tables]
    assert len(rows) == 3 and rows == [want]*3
    confusion = next(t for t in tables if 'Confusion' in t)
    assert [o for o in re.findall(r'<th scope="col"[^>]*>([^<]*)</th>', confusion)][1:] == want
    counts = [int(t.split('</td>')[0].rpartition('>')[2]) for t in next(t for t in tables if 'The classes' in t).split('scope="row">')[1:]]
    assert counts == [int((np.array(classes)[np.arange(40) % len(classes)] == c).sum()) for c in want]
    summary = data_summary_classes(np.array(classes)[np.arange(N) % len(classes)])
    assert summary == want

def data_summary_classes(y): return list(class_counts(RunData(X, y, SPLITS)))

def test_settings_of_files_are_readable(tmp_path):
    "No dict, no digest, and no name of files as that of a data set"
    data = dict(path='/data/long.csv', y='lab', id=['a', 'b'], window=20, freq='1s', fill=dict(hr='linear'), digest='0123456789abcdef'*2)
    text = numbered(tmp_path, ['a', 'b'], data=data)
    settings = re.search(r'<table><caption>Settings of the run.*?</table>', text, re.S)[0]
    said = dict(re.findall(r'<th scope="row">([^<]*)</th><td>([^<]*)</td>', settings))
    assert said['data: path'] == '/data/long.csv' and said['data: id'] == 'a, b' and said['data: fill'] == 'hr=linear' and said['data: y'] == 'lab'
    assert 'digest' not in settings and '{' not in settings and 'dsid' not in said and 'data' not in said and said['lr'] == '0.01'
    assert 'dsid' in re.search(r'<table><caption>Settings of the run.*?</table>', numbered(tmp_path, ['a', 'b']), re.S)[0]

def test_a_wide_table_shows_that_it_goes_on():
    "Shadows at the edges of the frame, which the ground of the table covers where nothing is hidden"
    style = re.search(r'\.scroll\{[^}]*\}', page('t', 'l', []))[0]
    assert style.count('local') == 2 and style.count('no-repeat scroll') == 2 and style.count('var(--edge)') == 2

@pytest.mark.parametrize('values', [(1., .001), (.5, .2), (300., 20.)])
def test_numbers_of_logarithmic_axes(values):
    "They are plain numbers: the pictures of a page read no formulas"
    from tsfast.report.pictures import line_figure, picture
    fig = line_figure([1, 2, 3], dict(training=[*values, values[-1]]), 'epoch', 'loss', log=True)
    fig.canvas.draw()
    shown = [t.get_text() for t in [*fig.axes[0].get_yticklabels(), *fig.axes[0].get_yticklabels(minor=True)] if t.get_text()]
    assert shown and all(float(t) > 0 for t in shown) and '$' not in picture(fig, 'losses', 'a')
