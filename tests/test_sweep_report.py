"The comparison of many runs: the table of a folder and of a CSV file, ranks and tests against scipy, what is missing, and the page"
import json, re

import msgspec
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_report import CHROMIUM, Page, seen

from tsfast.cli import main
from tsfast.data.external import published_accuracy
from tsfast.sweeps.compare import Comparison, comparison, higher_is_better
from tsfast.sweeps.page import comparison_html
from tsfast.sweeps.ranking import friedman, groups, holm, least_p, mean_ranks, pair_tests, said_of_tests, signed_rank
from tsfast.sweeps.table import failures_table, metrics_of, model_names, rows_table, runs_table
from tsfast.training import RunSettings, run_many, run_once

TINY = dict(dsid='ItalyPowerDemand', arch='FCN', arch_args=dict(layers=[4, 4, 4]), epochs=2, bs=16, lr=1e-2, device='cpu')
N = 12
rng = np.random.default_rng(0)
LEVEL = rng.uniform(.5, .8, N)
SCORES = pd.DataFrame({'best': LEVEL + .1, 'twin': LEVEL + .1 + rng.normal(0, .01, N).round(3), 'middle': LEVEL, 'worst': LEVEL - .1},
                      index=[f'set {i:02}' for i in range(N)]).round(4)


def rows(scores=SCORES, seeds=3, **more):
    "Runs whose means over seeds are `scores`"
    offsets = np.arange(seeds) - (seeds - 1)/2
    return pd.DataFrame([dict(dataset=d, model=m, seed=s, accuracy=v + o/100, seconds=10.**i, **more)
                         for i, m in enumerate(scores) for d, v in scores[m].items() for s, o in enumerate(offsets)])


# ---- ranks and tests

def test_ranks_are_those_written_by_hand():
    s = pd.DataFrame(dict(a=[.9, .8, .7], b=[.9, .7, .8], c=[.1, .7, .9]))
    assert mean_ranks(s).to_dict() == pytest.approx({'a': (1.5 + 1 + 3)/3, 'b': (1.5 + 2.5 + 2)/3, 'c': (3 + 2.5 + 1)/3})
    assert mean_ranks(s, higher=False).to_dict() == pytest.approx({'a': (2.5 + 3 + 1)/3, 'b': (2.5 + 1.5 + 2)/3, 'c': (1 + 1.5 + 3)/3})


@pytest.mark.parametrize('n', [8, 30])
def test_p_values_are_scipys(n):
    "Also with equal scores"
    g = np.random.default_rng(n)
    s = pd.DataFrame({m: (g.integers(0, 40, n) + i)/40 for i, m in enumerate('abcd')})
    t = pair_tests(s)
    assert len(t) == 6 and (t.better + t.same + t.worse == n).all()
    for o in t.itertuples():
        d = np.round(s[o.first] - s[o.second], 9)
        assert o.p == pytest.approx(stats.wilcoxon(d, zero_method='pratt').pvalue), (o.first, o.second)
    assert friedman(s) == pytest.approx(stats.friedmanchisquare(*s.to_numpy().T).pvalue)
    m, by_hand = len(t), [None]*len(t)
    for i, k in enumerate(np.argsort(t.p, kind='stable')): by_hand[k] = max([(m - j)*t.p[l] for j, l in enumerate(np.argsort(t.p, kind='stable')[:i + 1])])
    np.testing.assert_allclose(t.p_holm, np.minimum(by_hand, 1))


def test_tests_of_few_sets():
    assert least_p(6) < .05 < least_p(5) and least_p(0) == 1
    for n in range(6):
        t = pair_tests(SCORES[:n])
        assert t.p.isna().all() and not t.differs.any() and friedman(SCORES[:n]) is None and groups(mean_ranks(SCORES[:n]), t) == []
    assert pair_tests(SCORES[['best', 'worst']][:6]).p.item() == pytest.approx(2/2**6) and pair_tests(SCORES[['best', 'worst']][:6]).differs.item()
    assert 'data set even' in said_of_tests(1, 3) and 'none apart' in said_of_tests(6, 5)


def test_groups():
    ranks, t = mean_ranks(SCORES), pair_tests(SCORES)
    assert groups(ranks, t) == [tuple(ranks.index[:2])] and set(ranks.index[:2]) == {'best', 'twin'} and ranks['worst'] == 4
    same = pd.DataFrame(dict(a=LEVEL, b=LEVEL, c=LEVEL))
    assert groups(mean_ranks(same), pair_tests(same)) == [('a', 'c')] and (mean_ranks(same) == 2).all() and friedman(same) == 1
    assert signed_rank(LEVEL, LEVEL + 1e-15) == 1


@pytest.mark.parametrize('scale', [1e-7, 1e6])
def test_errors_in_units(scale):
    "Ratios do not depend on the units of a data set"
    units = scale*10.**np.arange(N)
    errors = (1 - SCORES).mul(units, axis=0)
    a, b = pair_tests(1 - SCORES, False, True), pair_tests(errors, False, True)
    np.testing.assert_allclose(a.p, b.p); np.testing.assert_allclose(a.difference, b.difference)
    c = Comparison(rows(errors).rename(columns=dict(accuracy='rmse')).assign(rmse=lambda d: [errors.loc[i, m] for i, m in zip(d.dataset, d.model)]))
    ratio = errors.div(errors.min(axis=1), axis=0)
    assert c.metric == 'rmse' and not c.higher and c.relative
    np.testing.assert_allclose(c.mean_scores(), np.exp(np.log(ratio).mean())[c.models])
    assert 'in the units of each data set' in ' '.join(c.notes()) and 'section id="runs"' in comparison_html(c)


# ---- comparisons

def test_means_over_seeds():
    c = Comparison(rows())
    pd.testing.assert_frame_equal(c.table()[list(SCORES)], SCORES, check_names=False)
    assert c.models == list(mean_ranks(SCORES).index) and c.table(3).loc['set 00', 'best'] == f'{SCORES.best.iloc[0]:.3f} ± 0.010 (3)'
    r = c.ranks()
    assert (r.datasets == N).all() and (r.runs == 3*N).all()
    assert r.seconds.to_dict() == pytest.approx(dict(zip(SCORES, [1, 10, 100, 1000]))) and r['mean'].to_dict() == pytest.approx(SCORES.mean().to_dict())
    assert len(c.missing()) == 0 and repr(c).count('\n') >= 5


def test_folds_count_like_seeds():
    df = pd.concat([rows(seeds=1).assign(fold=i, accuracy=lambda d: d.accuracy + (i - 1)/100) for i in range(3)])
    c = Comparison(df)
    pd.testing.assert_frame_equal(c.table()[list(SCORES)], SCORES, check_names=False)
    assert c.repeated == 0 and (c.ranks().runs == 3*N).all()
    assert Comparison(df[(df.fold < 2) | (df.model != 'best')]).missing()[['model', 'fold']].drop_duplicates().values.tolist() == [['best', 2]]


def test_missing_runs_and_failures():
    df = rows()
    left = df[~((df.model == 'twin') & (df.dataset == 'set 03') & (df.seed > 0)) & ~((df.model == 'worst') & (df.dataset == 'set 05'))]
    failures = pd.DataFrame([dict(dataset='set 03', arch='twin', seed=2, error='ValueError: it diverged')])
    c = Comparison(left, failures=failures)
    m = c.missing()
    assert m.groupby(['model', 'dataset']).seed.apply(list).to_dict() == {('twin', 'set 03'): [1, 2], ('worst', 'set 05'): [0, 1, 2]}
    assert m[m.failed].values.tolist() == [['twin', 'set 03', 2, True]]
    assert len(c.common) == N - 1 and 'set 05' not in c.common.index and 'worst (11)' in c.notes()[0] and '1 run failed.' in c.notes()
    assert 'it diverged' in comparison_html(c)


def test_models_with_few_sets_have_no_ranks():
    df = rows()
    df = df[(df.model != 'worst') | (df.dataset < 'set 02')]
    c = Comparison(df)
    assert 'worst' not in c.compared and c.models[-1] == 'worst' and len(c.common) == N and np.isnan(c.ranks().loc['worst', 'rank'])
    assert len(Comparison(df, models=['worst', 'best']).common) == 2
    assert '1 model without ranks' in comparison_html(c)


def test_repeated_runs_count_once():
    df = pd.concat([rows().assign(finished='2026-01-02'), rows().assign(finished='2026-01-01', accuracy=0.)])
    c = Comparison(df, models='best')
    assert c.repeated == 3*N and c.scores.best.min() > .5 and 'the latest counts' in ' '.join(c.notes())


def test_unequal_machines_are_named():
    df = rows(threads=1, processor='A')
    df.loc[0, 'processor'], df.loc[1, 'threads'] = 'B', 4
    said = ' '.join(Comparison(df).notes())
    assert '2 processors: B, A' in said and '2 numbers of threads' in said and said.count('cannot be compared') == 2


def test_beside_published_figures():
    ref = published_accuracy(method='fcn').dropna().iloc[:5]
    df = pd.DataFrame(dict(dataset=ref.index, model='FCN', accuracy=ref.to_numpy() + [.01, .02, 0, -.01, .03]))
    o = Comparison(df).published().iloc[0]
    assert (o.better, o.same, o.worse, o.method) == (3, 1, 1, 'fcn') and o.difference == pytest.approx(.01) and o['median'] == pytest.approx(.01)
    assert 'Published figures' in comparison_html(Comparison(df)) and not len(Comparison(df.assign(folds=5)).published())


@pytest.mark.parametrize('metric, higher', [('accuracy', True), ('f1', True), ('log_loss', False), ('RMSE', False), ('mae', False)])
def test_direction(metric, higher): assert higher_is_better(metric) is higher


@pytest.mark.parametrize('case, words', [('metric', "figure"), ('model', 'model'), ('none', 'has no figures')])
def test_wrong_names(case, words):
    df = rows()
    with pytest.raises((KeyError, ValueError), match=words):
        if case == 'metric': Comparison(df, 'acuracy')
        elif case == 'model': Comparison(df, models=['wurst'])
        else: Comparison(df.drop(columns='accuracy'))


# ---- the page

CASES = dict(all=rows(), one_model=rows(SCORES[['best']]), one_set=rows(SCORES[:1]), one_run=rows(SCORES[:1]).iloc[:1], five_sets=rows(SCORES[:5]),
             ties=rows(SCORES[['best']].assign(same=SCORES.best)), no_seeds=rows(seeds=1).drop(columns=['seed', 'seconds']),
             apart=rows()[lambda d: (d.model == 'best') == (d.dataset < 'set 04')],
             names=rows(SCORES.rename(columns=dict(best='<b>b</b> $x_1$ \u4e16', twin='a&b"')).rename(index={'set 00': '<i>\x07'})))

@pytest.mark.parametrize('case', CASES)
def test_page(case, tmp_path):
    "Well-formed, alone in one file, for whatever the rows hold"
    c = Comparison(CASES[case], name='<small> sweep')
    file = c.save(tmp_path)
    html, page = file.read_text(encoding='utf-8'), Page(file.read_text(encoding='utf-8'))
    assert {o.name for o in tmp_path.iterdir()} == {'comparison.html', 'comparison.csv'}
    assert not re.search(r'<script|https?:|\bsrc=|url\(["\']?[^#"\']', html.replace('http-equiv', '')) and '<small>' not in html and '<b>' not in html and '<i>' not in html
    ids = [a['id'] for _, a in page.tags if 'id' in a]
    assert len(ids) == len(set(ids)) and list(page.by_section)[0] == 'answer' and {'datasets', 'missing', 'runs'} <= set(page.by_section)
    assert not re.search(r'\bnan\b|\bNone\b|&lt;NA&gt;', html), case
    assert len(rows_table(file.with_suffix('.csv'))) == len(CASES[case])


def test_page_says_why_there_is_no_test():
    text = {k: re.sub('<[^>]+>', ' ', comparison_html(Comparison(CASES[k]))) for k in ('all', 'five_sets', 'one_model', 'one_set')}
    assert 'does not tell apart' in text['all'] and 'The tests tell 5 of 6 pairs apart' in text['all']
    assert 'No test: with 5 data sets' in text['five_sets'] and "Friedman's test is not made" in text['five_sets']
    assert 'nothing to compare it with' in text['one_model'] and 'No test: with 1 data set ' in text['one_set']


def test_page_is_written_whole(tmp_path, monkeypatch):
    "An error leaves the page that was there"
    c = Comparison(rows())
    before = c.save(tmp_path).read_text()
    monkeypatch.setattr('tsfast.sweeps.page.missing_section', lambda c: 1/0)
    with pytest.raises(ZeroDivisionError): c.save(tmp_path)
    assert (tmp_path/'comparison.html').read_text() == before and len(list(tmp_path.iterdir())) == 2
    with pytest.raises(ValueError, match='is no page'): c.save(tmp_path/'page.txt')


@pytest.mark.skipif(CHROMIUM is None, reason='needs Chromium or Chrome')
def test_in_a_browser(tmp_path):
    "Nothing is wider than the screen, and text and lines stand out in the light and in the dark, details open"
    file = Comparison(rows(SCORES.rename(columns=lambda o: f'{o} layers=128,256,128 batch_tfms=clip')), name='a_long_name_'*9).save(tmp_path)
    file.write_text(file.read_text(encoding='utf-8').replace('<details>', '<details open>'), encoding='utf-8')
    for dark in (False, True):
        for o in seen(file, tmp_path, dark):
            if dark and not o['dark']: pytest.skip('the browser has no dark scheme')
            assert o['width'] <= o['inner'] and o['height'] > 1000 and o['dark'] == dark
            assert o['least'] >= 4.5, o['which']
            assert o['drawn'] >= 3 and o['svgs'] == 8, o['colour']


def test_drawing():
    c = Comparison(rows())
    texts = lambda fig: [o.get_text() for o in fig.findobj(lambda o: hasattr(o, 'get_text'))]
    assert any('Wilcoxon' in o for o in texts(c.plot_critical_difference())) and any(o.startswith('4.00  worst') for o in texts(c.plot_critical_difference()))
    assert set(SCORES) <= set(texts(c.plot_time())) and {'best', 'twin'} <= set(texts(c.plot_scatter('best', 'twin')))
    with pytest.raises(ValueError, match='no ranks to draw'): Comparison(CASES['one_model']).plot_critical_difference()
    with pytest.raises(ValueError, match='no data set in common'): Comparison(CASES['apart']).plot_scatter('best', 'twin')


# ---- tables of runs

def test_names_of_models():
    same, three = [{}]*4, ['a']*4
    assert model_names(['FCN', 'FCN', 'TST', 'TST'], [dict(lr=.1), dict(lr=.1), {}, dict(bs=8)], three, same) == ['FCN', 'FCN', 'TST', 'TST bs=8']
    assert model_names(['A', 'A', 'B', 'B'], [dict(layers=[1, 2]), dict(layers=[3]), dict(x=True), dict(x=True)], three, same) == ['A layers=1,2', 'A layers=3', 'B', 'B']
    assert model_names(['A']*2, [{}]*2, ['x', 'y'], [dict(window=3), dict(window=4)]) == ['A', 'A']        # another data set, another window
    assert model_names([], [], [], []) == []


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "A sweep: two networks with two seeds, a head in closed form, folds, a failure, and what else may lie there"
    d = tmp_path_factory.mktemp('sweep')
    for s in (dict(), dict(seed=1), dict(arch_args=dict(layers=[8, 8, 8])), dict(arch='MiniRocket', arch_args=dict(num_features=84), ridge=True),
              dict(folds=3, fold=0), dict(folds=3, fold=1)):
        run_once(RunSettings(**{**TINY, **s}), d)
    run_many([RunSettings(**{**TINY, 'arch': 'FCNN'})], d, workers=1, show=None)
    for o in ('.writing-abc-host-1', 'notes', 'damaged', 'other'): (d/o).mkdir()
    (d/'damaged'/'results.json').write_text('{"test":'); (d/'other'/'results.json').write_text('[1]')
    (d/'comparison.csv').write_text('x')
    return d


def test_runs_of_a_folder(folder):
    df = runs_table(folder)
    assert len(df) == 6 and metrics_of(df) == ['accuracy', 'balanced_accuracy', 'loss']
    assert sorted(df.model) == ['FCN layers=4,4,4']*4 + ['FCN layers=8,8,8', 'MiniRocket + ridge']
    assert sorted(set(df.dataset)) == ['ItalyPowerDemand', 'ItalyPowerDemand, 3 folds'] and df.fold.dropna().tolist() in ([0, 1], [1, 0])
    assert set(df.attrs['left_out']) == {'.writing-abc-host-1', 'notes', 'damaged', 'other'} and 'damaged' in df.attrs['left_out']['damaged']
    assert (df.n_test[df.fold.isna()] == 1029).all() and df.processor.notna().all() and (df.threads > 0).all() and df.tsfast.notna().all()
    f = failures_table(folder)
    assert len(f) == 1 and f.dataset[0] == 'ItalyPowerDemand' and 'FCNN' in f.error[0] and '\n' not in f.error[0]


def test_compares_a_folder(folder):
    c = comparison(folder)
    assert c.name == folder.name and c.metric == 'accuracy' and len(c.failures) == 1 and len(c.left_out) == 4
    assert '4 folders without a finished run are left out.' in c.notes()
    assert comparison(folder, 'loss').higher is False and comparison(folder, models=['MiniRocket']).models == ['MiniRocket + ridge']
    html = comparison_html(c)
    assert 'damaged' in html and 'FCNN' in html


def test_older_runs_are_read(folder, tmp_path):
    "Without processor, threads, folds, or args.json"
    key = next(o.parent for o in folder.glob('*/args.json'))
    results = json.loads((key/'results.json').read_text())
    for k in ('processor', 'threads', 'fold'): results.pop(k, None)
    (tmp_path/'old').mkdir()
    (tmp_path/'old'/'results.json').write_text(json.dumps(results))
    df = runs_table(tmp_path)
    assert len(df) == 1 and df.dataset[0] == results['dataset'] and df.seed[0] == results['seed'] and df.threads.isna().all()
    assert 'section id="runs"' in comparison_html(comparison(tmp_path))


def test_same_name_in_two_folders(tmp_path):
    for i, where in enumerate('ab'):
        (tmp_path/str(i)).mkdir()
        s = msgspec.to_builtins(RunSettings(data=dict(path=f'{where}/series.csv', y='label'), arch='FCN'))
        (tmp_path/str(i)/'args.json').write_text(json.dumps(dict(settings=s)))
        (tmp_path/str(i)/'results.json').write_text(json.dumps(dict(dataset='series', arch='FCN', test=dict(accuracy=.5))))
    assert sorted(runs_table(tmp_path).dataset) == ['a/series', 'b/series']


@pytest.mark.parametrize('paths, names', [
    (['x/sub/series.csv', 'y/sub/series.csv'], ['x/sub/series', 'y/sub/series']),
    (['a/series.csv', 'a/series.parquet'], ['a/series.csv', 'a/series.parquet']),
    ([None, 'a/series.csv'], ['a/series', 'series']),
    (['x/a/series.csv', 'y/a/series.csv|same', 'y/b/series.csv|same'], ['x/a/series', 'y/a/series', 'y/a/series'])])
def test_names_of_different_data(tmp_path, paths, names):
    for i, o in enumerate(paths):
        (tmp_path/str(i)).mkdir()
        path, _, digest = (o or '').partition('|')
        s = dict(seed=i, arch='FCN', dsid=None if o else 'series', data=dict(path=path, y='label', digest=digest or None) if o else None)
        (tmp_path/str(i)/'args.json').write_text(json.dumps(dict(settings=s)))
        (tmp_path/str(i)/'results.json').write_text(json.dumps(dict(dataset='series', arch='FCN', test=dict(accuracy=.5))))
    assert sorted(runs_table(tmp_path).dataset) == names


def test_folders_that_hold_no_runs(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match='is no folder'): comparison(tmp_path/'none')
    with pytest.raises(ValueError, match='holds no finished run. Expected folders with a results.json'): comparison(tmp_path)
    (tmp_path/'.writing-x-host-1').mkdir()
    with pytest.raises(ValueError, match='1 folders that hold none|is being written'): comparison(tmp_path)
    key = next(o.parent for o in folder.glob('*/args.json'))
    with pytest.raises(ValueError, match='is one run: its page is'): comparison(key)


# ---- CSV files and the command

def test_rows_of_the_benchmark(repo):
    c = comparison(repo/'benchmarks'/'results'/'accuracy.csv')
    df = pd.read_csv(repo/'benchmarks'/'results'/'accuracy.csv')
    mine = df[(df.arch == 'InceptionTime') & (df.recipe == 'recipe')].groupby('dataset').accuracy.mean()
    np.testing.assert_allclose(c.scores['InceptionTime'].dropna(), mine.loc[c.scores['InceptionTime'].dropna().index])
    assert {'MiniRocket', 'MiniRocket + ridge'} <= set(c.models) and metrics_of(c.runs)[:2] == ['accuracy', 'balanced_accuracy']


@pytest.mark.parametrize('text, words', [('', 'is empty'), ('a,b\n1,2\n', 'no column dataset'), ('dataset,acc\nx,1\n', 'no column model or arch'),
                                         ('dataset,model,accuracy\n', 'has no rows'), ('dataset,model\nx,y\n', 'has no figures')])
def test_files_refused(tmp_path, text, words):
    (tmp_path/'runs.csv').write_text(text)
    with pytest.raises(ValueError, match=words): comparison(tmp_path/'runs.csv')


def test_command(folder, tmp_path, capsys):
    out = tmp_path/'page'/'all.html'
    assert main(['report', str(folder), '--out', str(out), '--metric', 'loss']) == 0
    said = capsys.readouterr().out
    assert 'MiniRocket + ridge' in said and 'mean loss' in said and str(out) in said and out.exists() and out.with_suffix('.csv').exists()
    rows().to_csv(tmp_path/'runs.csv', index=False)
    assert main(['report', str(tmp_path/'runs.csv'), '--pair', 'worst', 'best', '--models', 'best', 'twin', 'worst']) == 0
    html = (tmp_path/'runs-comparison.html').read_text()
    assert 'worst is better on 0, best on 12 of 12 data sets' in html and html.count('<svg') == 3
    for argv, words in ((['--pair', 'best', 'wurst'], "Did you mean 'worst'"), (['--metric', 'acc'], 'figure'), (['--out', 'x.png'], 'is no page')):
        assert main(['report', str(tmp_path/'runs.csv'), *argv]) == 1 and words in capsys.readouterr().err


def test_runs_say_where_they_were_timed(folder):
    for o in folder.glob('*/args.json'):
        r = json.loads((o.parent/'results.json').read_text())
        assert r['processor'].strip() and r['threads'] >= 1
