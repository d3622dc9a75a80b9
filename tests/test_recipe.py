"The default settings, and the sweep and search behind them"
import math

import numpy as np
import pytest
import torch

from tsfast.models.registry import get_arch, list_models
from tsfast.recipe import recipe

SIZES = [1, 2, 5, 16, 20, 24, 67, 79, 80, 100, 200, 467, 500, 1000, 5000, 8926, 10**5, 10**7]


@pytest.mark.parametrize('arch', [None, 'InceptionTime', 'MiniRocket', 'HydraPlus', 'LSTM'])
def test_in_bounds_and_steady(arch):
    rs = [recipe(n, 100, arch) for n in SIZES]
    for n, r in zip(SIZES, rs):
        assert set(r) == {'epochs', 'bs', 'lr', 'wd', 'label_smoothing'}
        assert 25 <= r['epochs'] <= 150 and type(r['epochs']) is int     # a tenth of InceptionTime's 1,500 at most
        assert 8 <= r['bs'] <= 64 and type(r['bs']) is int and math.log2(r['bs']).is_integer()
        assert 1e-5 < r['lr'] <= 0.1 and r['wd'] >= 0 and 0 <= r['label_smoothing'] < 1
    assert all(a['bs'] <= b['bs'] and a['epochs'] >= b['epochs'] for a, b in zip(rs, rs[1:]))     # larger sets: larger batches, no more epochs


def test_enough_steps():
    for n in SIZES[4:]:
        r = recipe(n)
        steps = r['epochs'] * max(n//r['bs'], 1)
        assert steps >= 300 and (n > 10_000 or steps < 20_000)


def test_kinds_of_arch_agree():
    for name in list_models():
        assert recipe(50, 100, name) == recipe(50, 100, name.lower()) == recipe(50, 100, get_arch(name))
    model = get_arch('FCN')(1, 2)
    assert recipe(50, arch=model) == recipe(50, arch='FCN')
    assert recipe(50, arch=torch.nn.Linear) == recipe(50, arch=torch.nn.Linear(3, 2)) == recipe(50)       # a network of one's own


def test_errors():
    for n in (0, -3, float('nan'), True):
        with pytest.raises(ValueError, match='Expected the number of training series'): recipe(n)
    with pytest.raises(KeyError, match="Did you mean 'InceptionTime'"): recipe(10, arch='InceptionTim')


def test_it_is_what_trains():
    "The settings fit the functions that they are for"
    from tsfast.data.core import get_ts_dls
    from tsfast.learner import ts_learner
    X, y = np.random.default_rng(0).normal(size=(24, 1, 20)), np.repeat(['a', 'b'], 12)
    r = recipe(24, 20, 'FCN')
    dls = get_ts_dls(X, y, splits=(range(20), range(20, 24)), bs=r['bs'])
    learn = ts_learner(dls, 'FCN', wd=r['wd'], label_smoothing=r['label_smoothing'], layers=[4, 4, 4], seed=0)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, r['lr'])
    assert np.isfinite(learn.recorder.values[-1]).all()


# ---- benchmarks/accuracy.py

@pytest.fixture
def bench(tmp_path, monkeypatch):
    accuracy, report = pytest.importorskip('benchmarks.accuracy'), pytest.importorskip('benchmarks.accuracy_report')
    for m in (accuracy, report):
        monkeypatch.setattr(m, 'RESULTS', tmp_path); monkeypatch.setattr(m, 'CACHE', tmp_path/'probs')
    monkeypatch.setattr(report, 'ENSEMBLES', tmp_path/'accuracy_ensembles.csv')
    return accuracy, report, tmp_path


def test_sweep_goes_on_where_it_stopped(bench, capsys):
    accuracy, _, tmp = bench
    out, plan = tmp/'accuracy.csv', tmp/'plan.toml'
    def main(*seeds):
        plan.write_text('data = ["ItalyPowerDemand"]\nmodels = [{arch = "FCN", epochs = 1, bs = 64}, {arch = "MiniRocket", ridge = true}]\n'
                        f'settings = {{device = "cpu"}}\nseeds = {[*seeds]}')
        accuracy.main(['--plan', str(plan), '--out', str(out)])
    main(0)
    rows = accuracy.read_rows(out)
    assert [(r['arch'], r['seed'], r['recipe']) for r in rows] == [('FCN', '0', 'custom'), ('MiniRocket', '0', 'ridge')]
    assert all(float(r['accuracy']) > .3 and math.isfinite(float(r['log_loss'])) for r in rows) and math.isfinite(float(rows[0]['train_loss']))
    assert len(list((tmp/'probs').iterdir())) == 2
    with open(out, 'a') as f: f.write('ItalyPowerDemand,FCN,2,cus')         # the power went off
    assert accuracy.read_rows(out) == rows
    main(0, 1)
    assert [r['seed'] for r in accuracy.read_rows(out)] == ['0', '0', '1', '1'] and accuracy.read_rows(out)[:2] == rows
    assert not accuracy.missing(plan, accuracy.read_rows(out)) and len(accuracy.missing(accuracy.PLAN, [])) > 500


def test_search_reads_training_splits_alone(monkeypatch):
    search = pytest.importorskip('benchmarks.recipe_search')
    y = np.array(list('aab')*40)
    train, valid = search.sample(y, 24, 0)
    assert sorted([*train, *valid]) == list(range(120)) and (y[train] == 'b').sum() == 8
    assert not np.array_equal(train, search.sample(y, 24, 1)[0]) and np.array_equal(train, search.sample(y, 24, 0)[0])
    for c in search.CONFIGS: search.built(search.CONFIGS[c], 24)
    assert search.built(search.CONFIGS['base'], 24)['epochs'] == 150
    longer = search.built(search.CONFIGS['s1500'], 24)
    assert longer['epochs'] == 500 and 'steps' not in longer                     # 3 steps an epoch


@pytest.mark.parametrize('config', ['TSNoise', 'MixUp'])
def test_search_of_augmentations(config):
    search = pytest.importorskip('benchmarks.recipe_search')
    X, y = np.random.default_rng(0).normal(size=(24, 1, 30)).astype(np.float32), np.array(['a', 'b'])[np.arange(24) % 2]
    settings = search.built(search.CONFIGS[config], 12) | dict(epochs=1)
    done, _ = search.trained(X, y, (range(12), range(12, 24)), arch='FCN', arch_args=dict(layers=[4, 4, 4]), seed=0, **settings)
    learn = done.learner()
    assert config in [type(o).__name__ for o in [*learn.dls.train.after_batch.fs, *learn.cbs]]


def test_search_keeps_other_weights_of_a_run(monkeypatch, tmp_path):
    search, rows = pytest.importorskip('benchmarks.recipe_search'), pytest.importorskip('benchmarks.rows')
    monkeypatch.setattr(search, 'OUT', tmp_path/'rows.csv'); monkeypatch.setattr(search, 'CACHE', tmp_path)
    short = dict(epochs=12, bs=8, lr=1e-2, wd=0., arch='FCN', arch_args=dict(layers=[4, 4, 4]))
    monkeypatch.setattr(search, 'CONFIGS', dict(a=short, b=dict(short, lr=1e-3)))
    monkeypatch.setattr(search, 'MEANS', {'a and b': ('a', 'b')})
    for _ in range(2): search.main(['--datasets', 'ItalyPowerDemand', '--configs', 'a', 'b', '--seeds', '0'])    # the second does nothing
    found = {r['config']: r for r in rows.read_rows(search.OUT)}
    assert len(rows.read_rows(search.OUT)) == len(found) == 11 and set(found) == {
        'a', 'a on', 'a ema', 'a swa', 'a best', 'b', 'b on', 'b ema', 'b swa', 'b best', 'a and b'}
    assert found['a']['steps'] == '36' and 0 < float(found['a']['train_loss']) and 0.4 < float(found['a best']['train_accuracy'])
    assert found['a on']['steps'] == '108' and float(found['a on']['train_loss']) < float(found['a']['train_loss'])     # its loss was high
    losses = {found[k]['log_loss'] for k in ('a', 'a on', 'a ema', 'a swa')}
    assert len(losses) == 4                                                      # different weights
    assert found['a and b']['log_loss'] not in (found['a']['log_loss'], found['b']['log_loss'])


def test_report_of_the_search(bench):
    _, report, tmp = bench
    search, rows, out = pytest.importorskip('benchmarks.recipe_search'), pytest.importorskip('benchmarks.rows'), tmp/'recipe_search.csv'
    assert report.search_table() is None and report.search_by_fit() is None
    add = lambda dataset, config, acc, loss, **kw: rows.append_row(
        dict(dataset=dataset, config=config, seed=0, accuracy=acc, log_loss=loss, classes=2, **kw), out, search.FIELDS)
    for d, acc in (('A', .8), ('B', .6)):
        add(d, 'base', .7, 1., steps=450, train_loss=.01); add(d, 's1500', acc, 2., steps=1350, train_loss=.001)
        add(d, 'FCN base', .5, 1., steps=450, train_loss=.5); add(d, 'FCN s1500', .9, .5, steps=1350, train_loss=.1)
    add('A', 'smooth', .7, 1.)                                                   # from before steps were counted
    t = report.search_table().set_index('settings')
    assert t.loc['s1500', 'against base there'] == '+0.00 ± 10.00' and t.loc['s1500', 'steps'] == '3.0' and t.loc['smooth', 'steps'] == ''
    assert t.loc['FCN s1500', 'against base there'] == '+40.00 ± 0.00'           # against FCN, not InceptionTime
    fit = report.search_by_fit().set_index('training loss')
    assert list(fit.index) == ['below 3 %', 'above 20 %'] and list(fit.runs) == [2, 2]
    assert fit.loc['below 3 %', 'better, worse'] == '1, 1' and fit.loc['above 20 %', 'log loss'] == '-0.50 ± 0.00'


def test_report(bench):
    accuracy, report, tmp = bench
    rng = np.random.default_rng(0)
    sets = report.GROUPS['telling'] + ['Coffee']
    for d in sets:
        targs = rng.integers(0, 2, 30)
        for seed in range(3):
            probs = np.eye(2)[np.where(rng.random(30) < 0.8, targs, 1 - targs)]*0.8 + 0.1
            row = dict(dataset=d, arch='InceptionTime', seed=seed, recipe='recipe', epochs=150, bs=8, lr=1e-3, seconds=1., **accuracy.scores(probs, targs))
            accuracy.append_row(row, tmp/'accuracy.csv')
            (tmp/'probs').mkdir(exist_ok=True)
            np.savez(tmp/'probs'/f'{d}_InceptionTime_recipe_150-8-0.001_{seed}.npz', probs=probs.astype(np.float16), targs=targs)
    for d in sets[:4]: accuracy.append_row(dict(dataset=d, arch='FCN', seed=0, recipe='recipe', epochs=150, bs=8, lr=1e-3, accuracy=0.5), tmp/'accuracy.csv')
    accuracy.append_row(dict(dataset='Beef', arch='ResNet', seed=0, recipe='custom', epochs=1, bs=8, lr=1e-3, accuracy=0.1), tmp/'accuracy.csv')
    monkey = report.read_rows.__defaults__
    report.read_rows.__defaults__ = (tmp/'accuracy.csv',)
    try:
        text = report.render(tmp).read_text()
        means = report.means().set_index('model')
        assert means.loc['InceptionTime', 'sets'] == 10 and means.loc['FCN', 'sets'] == 4 and 'ResNet' not in means.index
        assert means.loc['InceptionTime ×3', 'sets'] == 10                      # majority of three
        t = report.table()
        assert '±' in t.loc['Beef', 'InceptionTime'] and t.loc['Beef', 'FCN'] == '' and t.loc['Beef', 'published FCN'] == '66.0'
        assert (tmp/'accuracy_univariate.svg').read_text().count('tsfast InceptionTime') >= 2 and 'accuracy_univariate.svg' in text
        assert report.missing().set_index('model').loc['InceptionTime', 'sets with no run'] == len(report.GROUPS['univariate'] + report.GROUPS['multivariate']) - 10
        n = len(report.read_rows(tmp/'accuracy_ensembles.csv')); report.render(tmp)
        assert len(report.read_rows(tmp/'accuracy_ensembles.csv')) == n == 10   # nothing twice
    finally: report.read_rows.__defaults__ = monkey
