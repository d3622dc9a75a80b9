"Conformal sets and intervals, calibration of several labels, abstention, and the distance to the training data; in bundles, too"
import json, pickle
import numpy as np
import pytest
import torch
from scipy.stats import betabinom

from tsfast.bundle import CONFIG, check_config, config_digest, read_bundle
from tsfast.conformal import (Uncertainty, conformal_intervals, conformal_quantile, conformal_quantiles,
                              conformal_sets, set_scores, series_needed)
from tsfast.data.core import get_ts_dls
from tsfast.data.forecast_target import TSForecast
from tsfast.data.preprocessing import TSStandardize
from tsfast.data.targets import TSClassification, TSMultiLabelClassification, TSRegression
from tsfast.deploy import to_predictor
from tsfast.inference import Predictor, load_bundle
from tsfast.interpret import (abstention_curve, confidences, cross_conformal, expected_calibration_error, fit_temperature, plot_reliability,
                              reliability_table, risk_coverage_area)
from tsfast.interpret.conformal import uncertainty_of
from tsfast.learner import ts_learner
from tsfast.novelty import MahalanobisNovelty, NearestNovelty

N_CAL, M, DRAWS = 60, 50, 250


def softmax(z): return (e := np.exp(z - z.max(-1, keepdims=True)))/e.sum(-1, keepdims=True)

def draw_classes(rng, n, k=4):
    "Probabilities that are twice as sure as they should be, and classes"
    z = rng.normal(size=(n, k))
    return softmax(2*z), (z + rng.gumbel(size=z.shape)).argmax(1)

def draw_numbers(rng, n, d=()):
    "Predictions with errors whose size is known"
    scale = rng.uniform(.2, 3, size=(n, *d))
    return np.zeros((n, *d)), scale*rng.normal(size=(n, *d)), scale

def expect_coverage(counts, alpha, n=N_CAL, m=M):
    "Counts of covered series, of `m` each in independent draws, have a beta-binomial distribution: mean and quantiles"
    k = int(np.floor((n + 1)*alpha + 1e-9))
    dist = betabinom(m, n + 1 - k, k)
    counts = np.asarray(counts)
    assert abs(counts.mean() - dist.mean()) < 4.5*dist.std()/len(counts)**.5, (counts.mean(), dist.mean())
    assert abs(counts.var()/dist.var() - 1) < .45
    for q in (.1, .5, .9): assert abs((counts <= dist.ppf(q)).mean() - dist.cdf(dist.ppf(q))) < .1


# --- the quantile
@pytest.mark.parametrize('n, alpha', [(9, .1), (19, .05), (100, .1), (99, .01), (57, .2), (1, .5)])
def test_quantile_is_the_ranked_score(n, alpha):
    rng = np.random.default_rng(n)
    s = rng.normal(size=n)
    rank = next(k for k in range(1, n + 2) if k >= (n + 1)*(1 - alpha) - 1e-9)      # the smallest whole number from there up
    assert conformal_quantile(s, alpha) == sorted(s)[rank - 1]
    both = np.stack([s, -s], 1)
    assert conformal_quantile(both, alpha).tolist() == [conformal_quantile(s, alpha), conformal_quantile(-s, alpha)]


@pytest.mark.parametrize('alpha', [.5, .3, .1, .05, .01, 1/3])
def test_fewest_series(alpha):
    n = series_needed(alpha)
    assert conformal_quantile(np.arange(n), alpha) == n - 1
    if n > 1:
        with pytest.raises(ValueError, match=f'needs at least {n}'): conformal_quantile(np.arange(n - 1), alpha)


@pytest.mark.parametrize('alpha', [0, 1, -1, 'a', None, True, np.nan])
def test_alpha_is_a_share(alpha):
    with pytest.raises(ValueError, match='alpha is'): conformal_quantile(np.arange(100), alpha)


def test_unknown_targets_do_not_count():
    s = np.array([[1., np.nan], [2, 5], [3, 6], [4, np.nan]])
    assert conformal_quantile(s, .4).tolist() == [3, 6] and conformal_quantile(s, .5).tolist() == [3, 6]
    with pytest.raises(ValueError, match='There are 2 calibration series'): conformal_quantile(s, .25)


# --- coverage over fresh exchangeable draws
@pytest.mark.parametrize('alpha', [.1, .25])
@pytest.mark.parametrize('method', ['lac', 'aps', 'raps'])
def test_coverage_of_sets(method, alpha):
    rng, counts = np.random.default_rng(1), []
    for _ in range(DRAWS):
        conf = conformal_sets(*draw_classes(rng, N_CAL), alpha, method)
        p, y = draw_classes(rng, M)
        counts.append(conf.contains(p)[np.arange(M), y].sum())
    expect_coverage(counts, alpha)


@pytest.mark.parametrize('method', ['absolute', 'normalized', 'cqr', 'each step', 'simultaneous'])
def test_coverage_of_intervals(method):
    rng, counts, alpha = np.random.default_rng(2), [], .1
    for _ in range(DRAWS):
        d = (3,) if method in ('each step', 'simultaneous') else ()
        (a, y, s), (b, t, u) = draw_numbers(rng, N_CAL, d), draw_numbers(rng, M, d)
        if method == 'cqr':
            low, high = conformal_quantiles(a - s, a + s, y, alpha).interval(b - u, b + u)
        else:
            scaled = method == 'normalized'
            conf = conformal_intervals(a, y, alpha, s if scaled else None, simultaneous=method == 'simultaneous', steps=[1, 2, 3] if method == 'simultaneous' else None)
            low, high = conf.interval(b, scale=u if scaled else None)
        inside = (low <= t) & (t <= high)
        counts.append(inside[:, 1].sum() if method == 'each step' else inside.all(1).sum() if d else inside.sum())
    expect_coverage(counts, alpha)


def test_coverage_in_groups():
    "Of the difficult group too, which the common quantile fails"
    rng, alpha, own, common = np.random.default_rng(3), .1, [], []
    def draw(n):
        g = np.array(['easy', 'hard'])[(np.arange(n) % 5 == 0).astype(int)]
        return np.zeros(n), rng.normal(size=n)*np.where(g == 'hard', 5, 1), g
    for _ in range(DRAWS):
        (a, y, g), (b, t, h) = draw(5*N_CAL), draw(5*M)
        for groups, counts in ((g, own), (None, common)):
            low, high = conformal_intervals(a, y, alpha, groups=groups).interval(b, groups=None if groups is None else h)
            counts.append(((low <= t) & (t <= high))[h == 'hard'].sum())
    expect_coverage(own, alpha)
    assert np.mean(common)/M < .75


def test_coverage_of_each_class():
    rng, alpha, k, counts, others = np.random.default_rng(4), .2, 3, [], []
    def draw(n):
        "Class 2 is rare, and seldom the most probable"
        y = rng.choice(k, n, p=[.45, .4, .15])
        return softmax(rng.normal(size=(n, k)) + 1.5*np.eye(k)[y] - [0, 0, 1.5]), y
    while len(counts) < DRAWS:
        p, y = draw(400)
        keep = np.concatenate([np.flatnonzero(y == c)[:30] for c in range(k)])      # 30 of each, so that the distribution is known
        if (np.bincount(y) < 30).any(): continue
        p2, y2 = draw(400)
        new = np.flatnonzero(y2 == 2)[:25]
        if len(new) < 25: continue
        counts.append(conformal_sets(p[keep], y[keep], alpha, groups='class').contains(p2)[new, 2].sum())
        others.append(conformal_sets(p, y, alpha).contains(p2)[new, 2].sum())
    expect_coverage(counts, alpha, 30, 25)
    assert np.mean(others)/25 < .7


# --- scores, literally
@pytest.mark.parametrize('method', ['lac', 'aps', 'raps'])
def test_scores_against_loops(method):
    p = draw_classes(np.random.default_rng(5), 40, 6)[0]
    want = np.zeros_like(p)
    for i, row in enumerate(p):
        ranked = sorted(range(6), key=lambda j: -row[j])
        for y in range(6):
            above = sum(row[j] for j in ranked[:ranked.index(y)])
            want[i, y] = 1 - row[y] if method == 'lac' else above + row[y]/2 + .3*max(0, ranked.index(y) + 1 - 2)*(method == 'raps')
    np.testing.assert_allclose(set_scores(p, method, .3, 2), want, atol=1e-6)


def test_empty_sets_may_get_the_most_probable_class():
    rng = np.random.default_rng(6)
    conf = conformal_sets(*draw_classes(rng, 500), .7)
    p = draw_classes(rng, 300)[0]
    empty = ~conf.contains(p).any(1)
    assert empty.any() and (conf.contains(p, nonempty=True)[empty].argmax(1) == p[empty].argmax(1)).all()
    assert conf.contains(p, nonempty=True).sum() == conf.contains(p).sum() + empty.sum()


def test_as_mapie_has_it():
    mapie = pytest.importorskip('mapie.classification')
    from mapie.regression import SplitConformalRegressor
    from sklearn.linear_model import LinearRegression, LogisticRegression
    rng = np.random.default_rng(7)
    X = rng.normal(size=(300, 3)); y = (X @ [1, 2, 0] + rng.normal(size=300) > 0).astype(int) + (X[:, 2] > 1)
    fit, cal, new = slice(0, 100), slice(100, 200), slice(200, 300)
    clf, reg = LogisticRegression().fit(X[fit], y[fit]), LinearRegression().fit(X[fit], X[fit, 0] + rng.normal(size=100))
    theirs = mapie.SplitConformalClassifier(clf, confidence_level=.9, conformity_score='lac').conformalize(X[cal], y[cal]).predict_set(X[new])[1][:, :, 0]
    assert (conformal_sets(clf.predict_proba(X[cal]), y[cal]).contains(clf.predict_proba(X[new])) == theirs).all()
    t = X[cal, 0] + rng.normal(size=100)
    theirs = SplitConformalRegressor(reg, confidence_level=.9).conformalize(X[cal], t).predict_interval(X[new])[1][:, :, 0]
    np.testing.assert_allclose(np.stack(conformal_intervals(reg.predict(X[cal]), t).interval(reg.predict(X[new])), 1), theirs, atol=1e-5)


# --- learners and bundles
def data(n=400, C=2, L=16, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, C, L)).astype(np.float32)
    X[:, 0] += np.sin(np.arange(L)/3)*rng.integers(0, 3, n)[:, None]
    return X, X[:, 0].mean(1)

def learner(kind='classes', arch='FCN', **kwargs):
    X, v = data()
    y, tfm = dict(classes=(np.array(['a', 'b', 'c'])[np.digitize(v, [.1, .4])], TSClassification()), number=(v, TSRegression()),
                  forecast=(X[:, :1, -4:].cumsum(2), TSRegression()),
                  quantiles=(X[..., -4:].cumsum(2)*np.float32([[1], [50]]), TSForecast((.3, .5, .7))),
                  labels=(np.stack([v > .1, v > .4], 1).astype(int), TSMultiLabelClassification()))[kind]
    dls = get_ts_dls(X[:200], y[:200], splits=(range(150), range(150, 200)), tfms=[None, tfm], batch_tfms=TSStandardize(), bs=64)
    learn = ts_learner(dls, arch, seed=0, **kwargs)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, 1e-2)
    return learn, X[200:300], y[200:300], X[300:], y[300:]

@pytest.fixture(scope='module')
def classifier(): return learner()
@pytest.fixture(scope='module')
def forecaster(): return learner('forecast')

@pytest.mark.parametrize('kwargs', [dict(), dict(method='raps', penalty=.2), dict(groups='class', alpha=.3), dict(groups=np.arange(100) % 2)])
def test_sets_in_bundles(classifier, kwargs, tmp_path):
    learn, X, y, new, labels = classifier
    conf = learn.conformal(X, y, **kwargs)
    more = dict(groups=np.arange(len(new)) % 2) if isinstance(kwargs.get('groups'), np.ndarray) else {}
    sets = conf.predict_sets(new, **more)
    p = load_bundle(learn.save_bundle(tmp_path/'b'))
    assert p.config['format_version'] == 9 and p.config['conformal']['kind'] == 'sets'
    assert p.predict_sets(new, **more) == sets == to_predictor(learn).predict_sets(new, **more)
    assert p.predict_sets(new, 7, alpha=.5, **more) == conf.predict_sets(new, alpha=.5, **more)
    assert np.mean([t in s for t, s in zip(labels, sets)]) > .5
    assert all(set(b) <= set(a) for a, b in zip(sets, p.predict_sets(new, alpha=.5, **more)))
    with pytest.raises(ValueError, match='has ConformalSets'): p.predict_interval(new)


@pytest.mark.parametrize('kwargs', [dict(), dict(simultaneous=True), dict(method='normalized'), dict(method='normalized', simultaneous=True)])
def test_intervals_in_bundles(forecaster, kwargs, tmp_path):
    learn, X, y, new, truth = forecaster
    conf = learn.conformal(X, y, alpha=.2, **kwargs)
    low, high = conf.predict_interval(new)
    assert low.shape == truth.shape and (low < high).all()
    inside = (low <= truth) & (truth <= high)
    assert (inside.all((1, 2)) if kwargs.get('simultaneous') else inside).mean() > .6
    p = load_bundle(learn.save_bundle(tmp_path/'b'))
    for a, b in zip(p.predict_interval(new), (low, high)): np.testing.assert_allclose(a, b, atol=1e-4)
    a = to_predictor(learn).predict_interval(new, 5, alpha=.4)
    assert (a[1] - a[0] <= high - low + 1e-4).all()


@pytest.fixture(scope='module')
def quantiles(): return learner('quantiles')

@pytest.mark.parametrize('kwargs', [dict(), dict(groups=np.arange(100) % 2), dict(simultaneous=True), dict(method='absolute'), dict(method='normalized')])
def test_intervals_of_quantiles(quantiles, kwargs, tmp_path):
    "The outermost levels are corrected, for each step and variable, whatever their scales; or the medians get intervals"
    learn, X, y, new, truth = quantiles
    conf = learn.conformal(X, y, alpha=.2, **kwargs)
    more = dict(groups=np.arange(100) % 2) if 'groups' in kwargs else {}
    q, _, median = (o if o is None else np.asarray(o) for o in learn.get_X_preds(new))
    low, high = learn.predict_interval(new, **more)
    inside, raw = (low <= truth) & (truth <= high), (q[..., 0] <= truth) & (truth <= q[..., -1])
    assert conf.method == kwargs.get('method', 'cqr') and low.shape == truth.shape == (100, 2, 4) and (low <= high).all()
    assert raw.mean() < .65 < (inside.all((1, 2)) if 'simultaneous' in kwargs else inside).mean() < .92
    if conf.method == 'cqr':
        c = conf.quantiles()*(1 if conf.steps is None else conf.steps)
        c = c[more['groups']] if more else c
        np.testing.assert_allclose((low, high), (q[..., 0] - c, q[..., -1] + c), atol=1e-3)
        assert np.shape(c)[-2:] == (2, 4) and (c[..., 1, :] > 3*c[..., 0, :]).all()
    else: assert ((low < median) & (median < high)).all()
    p = load_bundle(learn.save_bundle(tmp_path/'b'))
    for a, b, c in zip(p.predict_interval(new, **more), (low, high), to_predictor(learn).predict_interval(new, 7, **more)):
        np.testing.assert_allclose(a, b, atol=2e-3); np.testing.assert_allclose(c, b, atol=2e-3)
    assert (np.diff(p.predict_interval(new, alpha=.5, **more), axis=0)[0] <= high - low + 2e-3).all()


def test_flat_quantiles_and_unknown_targets():
    "Targets (n, h); what is not known of them does not count"
    X, v = data()
    y = X[:, 0, -3:].copy()
    dls = get_ts_dls(X[:200], y[:200], splits=(range(150), range(150, 200)), tfms=[None, TSForecast((.1, .9), allow_nan=True)], bs=64)
    learn, holes = ts_learner(dls, 'FCN', seed=0), y[200:300].copy()
    holes[::2, 1] = np.nan
    conf, full = learn.conformal(X[200:300], holes, .2), learn.conformal(X[200:300], y[200:300], .2)
    assert conf.quantiles().shape == (3,) and (conf.quantiles() == full.quantiles()).tolist()[::2] == [True, True]
    assert learn.predict_interval(X[300:])[0].shape == (100, 3)


def test_coverage_of_corrected_quantiles():
    "Of a learner, with the quantiles of one training: the corrected ones cover as promised, each step by itself"
    rng, alpha, counts = np.random.default_rng(17), .1, []
    def draw(n):
        x = rng.normal(size=(n, 1, 8)).astype(np.float32)
        return x, x[:, :, :2] + rng.normal(size=(n, 1, 2)).astype(np.float32)*(.2 + abs(x[:, :, :1]))
    X, y = draw(200)
    dls = get_ts_dls(X, y, splits=(range(150), range(150, 200)), tfms=[None, TSForecast((.2, .8))], bs=64)
    learn = ts_learner(dls, 'NLinear', seed=0)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(3, 1e-2)
    X, y = draw(DRAWS*(N_CAL + M))
    with learn.no_bar(): low, high = learn.dls.train_ds.target.outer(learn.get_X_preds(X, bs=4096)[0])
    for a, b, t in zip(*(o[:, 0].reshape(DRAWS, N_CAL + M, 2) for o in (low, high, y))):
        l, h = conformal_quantiles(a[:N_CAL], b[:N_CAL], t[:N_CAL], alpha).interval(a[N_CAL:], b[N_CAL:])
        counts.append(((l <= t[N_CAL:]) & (t[N_CAL:] <= h))[:, 1].sum())
    expect_coverage(counts, alpha)
    l, h = learn.conformal(X[:N_CAL], y[:N_CAL], alpha).predict_interval(X[N_CAL:N_CAL + M])
    assert ((l <= y[N_CAL:N_CAL + M]) & (y[N_CAL:N_CAL + M] <= h))[:, 0, 1].sum() == counts[0]


def test_quantiles_that_cannot_be_corrected(quantiles, forecaster):
    from tsfast.conformal import ConformalIntervals
    learn, X, y, *_ = quantiles
    with pytest.raises(ValueError, match="Expected 'absolute' or 'normalized' for numbers, or 'cqr'"): learn.conformal(X, y, method='lac')
    with pytest.raises(ValueError, match="method='cqr' corrects predicted quantiles"): forecaster[0].conformal(*forecaster[1:3], method='cqr')
    with pytest.raises(ValueError, match='NaN or infinite'): conformal_quantiles([np.nan]*9, [1]*9, [0]*9)
    conf = conformal_quantiles(np.zeros((9, 1, 4)), np.ones((9, 1, 4)), np.zeros((9, 1, 4)))
    with pytest.raises(ValueError, match='that predicts quantiles'): conf.check_model(forecaster[0].dls.train_ds.target, None)
    learn.uncertainty = {}
    with pytest.raises(ValueError, match='has nothing where ConformalIntervals'): learn.predict_interval(X)
    learn.conformal(X, y)
    with pytest.raises(ValueError, match='has ConformalIntervals where ConformalSets'): learn.predict_sets(X)
    assert isinstance(uncertainty_of(learn)['conformal'], ConformalIntervals)


def test_intervals_of_single_numbers(tmp_path):
    learn, X, y, new, truth = learner('number')
    low, high = learn.conformal(X, y).predict_interval(new)
    assert low.shape == truth.shape == (100,) and ((low <= truth) & (truth <= high)).mean() > .75
    a, b = Predictor(learn.save_bundle(tmp_path/'b')).predict_interval(new)
    np.testing.assert_allclose((a, b), (low, high), atol=1e-5)


def test_bundles_without_it_are_as_before(classifier, tmp_path):
    learn, X, y, new, _ = classifier
    learn.uncertainty = {}
    p = load_bundle(learn.save_bundle(tmp_path/'b'))
    assert p.config['format_version'] == 1 and 'conformal' not in p.config
    with pytest.raises(ValueError, match=r"no section 'conformal'. Call learn.conformal"): p.predict_sets(new)
    with pytest.raises(ValueError, match=r"no section 'novelty'. Call learn.novelty"): p.novelty(new)


def test_learners_keep_it_in_a_pickle(classifier, tmp_path):
    learn, X, y, new, _ = classifier
    conf = learn.conformal(X, y)
    assert pickle.loads(pickle.dumps(uncertainty_of(learn)))['conformal'].quantiles() == conf.quantiles()
    assert pickle.loads(pickle.dumps(learn)).uncertainty['conformal'][0].classes == ['a', 'b', 'c']


def test_further_training_is_noticed(tmp_path):
    learn, X, y, *_ = learner()
    learn.conformal(X, y)
    learn.calibrate(X, y)
    with pytest.raises(ValueError, match='Call learn.conformal again, or remove it'): learn.save_bundle(tmp_path/'b')
    learn.conformal(X, y); learn.save_bundle(tmp_path/'b')
    del learn.uncertainty['conformal']
    assert not uncertainty_of(learn)


# --- bad input
def test_series_that_were_trained_on(classifier):
    learn, X, y, *_ = classifier
    Xt, yt = data()[0][:150], learn.dls.train_ds.target.decode(learn.dls.train_ds.y[:150])
    mixed = np.concatenate([X[:30], Xt[:20]]), np.concatenate([y[:30], yt[:20]])
    with pytest.raises(ValueError, match=r'20 of the 50 calibration series are in the training split \(the first is number 30\)'): learn.conformal(*mixed)
    assert len(learn.conformal(*mixed, allow_trained=True)) == 50
    with pytest.warns(UserWarning, match='validation split calibrates'): assert len(learn.conformal()) == 50


@pytest.mark.parametrize('kwargs, says', [(dict(method='absolute'), 'the targets are classes'), (dict(method='best'), "Expected 'lac', 'aps' or 'raps'"),
                         (dict(alpha=.001), 'needs at least 999'), (dict(groups=[1, 2]), 'groups has shape'), (dict(alpha=2), 'alpha is 2')])
def test_bad_settings_of_sets(classifier, kwargs, says):
    learn, X, y, *_ = classifier
    with pytest.raises(ValueError, match=says): learn.conformal(X, y, **kwargs)


@pytest.mark.parametrize('kwargs, says', [(dict(method='lac'), "'normalized' for numbers"), (dict(simultaneous=True, scale_share=2), 'scale_share is 2'),
                                          (dict(simultaneous=True, scale_share=1e-4), 'There are 0 series')])
def test_bad_settings_of_intervals(forecaster, kwargs, says):
    learn, X, y, *_ = forecaster
    with pytest.raises(ValueError, match=says): learn.conformal(X, y, **kwargs)


def test_several_labels_have_no_sets():
    learn, X, y, *_ = learner('labels')
    with pytest.raises(ValueError, match='several labels'): learn.conformal(X, y)


def test_groups_of_new_series():
    rng = np.random.default_rng(8)
    conf = conformal_intervals(np.zeros(40), rng.normal(size=40), .2, groups=['a', 'b']*20)
    with pytest.raises(ValueError, match="groups is missing. Expected one of 'a', 'b'"): conf.interval(np.zeros(3))
    with pytest.raises(ValueError, match="No calibration series is in the group 'z'"): conf.interval(np.zeros(2), groups=['a', 'z'])
    with pytest.raises(ValueError, match="There are 2 calibration series in the group 'c'"):
        conformal_intervals(np.zeros(42), rng.normal(size=42), .2, groups=['a', 'b']*20 + ['c']*2)


def changed(cfg, **kwargs):
    cfg = json.loads(json.dumps(cfg))
    for k, v in kwargs.items():
        *path, last = k.split('__')
        o = cfg
        for key in path: o = o[key]
        o[last] = v
    return cfg

@pytest.mark.parametrize('change, says', [(dict(conformal__alpha=1.5), 'conformal.alpha'), (dict(conformal__kind='code'), 'conformal.kind'), (dict(format_version=8), 'format_version'),
    (dict(conformal__extra=1), 'extra'), (dict(conformal=[]), 'conformal'), (dict(novelty=dict(kind='sets', method='lac', alpha=.1, classes=['a'], groups=None, by_class=False, penalty=.1, free=1)), 'novelty.kind')])
def test_configurations_that_cannot_be(classifier, change, says):
    learn, X, y, *_ = classifier
    learn.conformal(X, y)
    cfg = {**to_predictor(learn).config, 'weights': dict(file='model.safetensors', bytes=1, sha256='0'*64)}
    check_config(cfg)
    with pytest.raises(ValueError, match=says): check_config(changed(cfg, **change))


@pytest.mark.parametrize('make, says', [(lambda t: {**t, 'scores': t['scores'].double()}, 'float64'), (lambda t: {}, 'scores is missing'), (lambda t: {**t, 'x': t['scores']}, 'not expected'),
    (lambda t: {'scores': t['scores']*torch.inf}, 'infinite'), (lambda t: {'scores': t['scores'][:, None]}, 'one number'), (lambda t: {**t, 'codes': torch.zeros(100, dtype=torch.int64)}, 'belong together')])
def test_tensors_that_cannot_be(make, says):
    conf = conformal_sets(*draw_classes(np.random.default_rng(9), 100))
    cfg, t = conf.to_config(), conf.to_tensors()
    assert (Uncertainty.from_config(cfg, t).scores == conf.scores).all()
    with pytest.raises(ValueError, match=says): Uncertainty.from_config(cfg, make(t))


def test_it_belongs_to_its_model(classifier, tmp_path):
    "A section with other classes than the model's is refused"
    from safetensors.torch import load, save
    import hashlib
    learn, X, y, *_ = classifier
    learn.conformal(X, y)
    b = learn.save_bundle(tmp_path/'b')
    cfg, tensors = json.loads((b/CONFIG).read_text()), load((b/'model.safetensors').read_bytes())
    cfg['conformal']['classes'] = ['a', 'b', 'z']
    blob = save(tensors, metadata=dict(format='pt', config_sha256=config_digest(cfg)))
    cfg['weights'].update(bytes=len(blob), sha256=hashlib.sha256(blob).hexdigest())
    (b/'model.safetensors').write_bytes(blob); (b/CONFIG).write_text(json.dumps(cfg))
    with pytest.raises(ValueError, match='other classes'): read_bundle(b)


# --- cross-conformal
def test_cv_plus_against_loops():
    rng = np.random.default_rng(10)
    n, K, m, alpha = 23, 4, 6, .2
    folds, y, oof, preds = np.arange(n) % K, rng.normal(size=(n, 2)), rng.normal(size=(n, 2)), rng.normal(size=(K, m, 2))
    low, high = cross_conformal(oof, y, folds, alpha).interval(preds)
    for j in range(m):
        for d in range(2):
            down = sorted(preds[folds[i], j, d] - abs(y[i, d] - oof[i, d]) for i in range(n))
            up = sorted(preds[folds[i], j, d] + abs(y[i, d] - oof[i, d]) for i in range(n))
            assert low[j, d] == down[int(np.floor(alpha*(n + 1) + 1e-9)) - 1] and high[j, d] == up[int(np.ceil((1 - alpha)*(n + 1) - 1e-9)) - 1]


@pytest.mark.parametrize('method', ['lac', 'aps'])
def test_cross_sets_against_loops(method):
    rng = np.random.default_rng(11)
    n, K, m = 30, 3, 5
    (oof, y), folds, probas = draw_classes(rng, n), np.arange(n) % K, np.stack([draw_classes(rng, m)[0] for _ in range(K)])
    conf = cross_conformal(oof, y, folds, .2, classes=range(4), method=method)
    own, got = set_scores(oof, method)[np.arange(n), y], conf.p_values(probas)
    for j in range(m):
        for c in range(4):
            count = sum(own[i] >= set_scores(probas[folds[i]], method)[j, c] for i in range(n))
            assert got[j, c] == pytest.approx((1 + count)/(n + 1))
    assert (conf.contains(probas) == (got > .2)).all()


def test_coverage_of_cross_sets():
    "Where all models are the same, it is split conformal prediction: the coverage is the promised one"
    rng, counts = np.random.default_rng(12), []
    for _ in range(DRAWS):
        (p, y), (p2, y2) = draw_classes(rng, N_CAL), draw_classes(rng, M)
        conf = cross_conformal(p, y, np.arange(N_CAL) % 3, .1, classes=range(4))
        counts.append(conf.contains(np.stack([p2]*3))[np.arange(M), y2].sum())
    expect_coverage(counts, .1)


# --- calibration
def test_temperature_of_several_labels(tmp_path):
    rng = np.random.default_rng(13)
    z = torch.from_numpy(2*rng.normal(size=(5000, 3)))
    t = (torch.from_numpy(rng.random((5000, 3))) < z.sigmoid()).double()
    t[::7, 1] = torch.nan
    assert fit_temperature(2.5*z, t) == pytest.approx(2.5, rel=.08)
    learn, X, y, new, labels = learner('labels')
    before = learn.get_X_preds(new)[0]
    T = learn.calibrate(X, y)
    after = learn.get_X_preds(new)
    logit = torch.logit(before.double())
    torch.testing.assert_close(after[0].double(), (logit/T).sigmoid(), atol=1e-4, rtol=1e-3)
    assert learn.loss_func.several and ((after[0] > .5) == (before > .5)).all()
    p = load_bundle(learn.save_bundle(tmp_path/'b'))
    assert p.config['format_version'] == 9 and p.config['temperature'] == T
    torch.testing.assert_close(p(new), after[0], atol=1e-5, rtol=0)
    assert p.predict(new) == after[2]
    with pytest.raises(ValueError, match='9 or more for a temperature'): check_config(changed(p.config, format_version=8))
    assert learn.calibration_error(X, y) >= 0 and learn.plot_calibration(X, y, consistency=True).lines
    with learn.no_bar(), learn.no_logging(): learn.fit(1)      # the loss itself is unchanged


def test_confidences_of_classes_and_labels():
    p = np.array([[.7, .3], [.2, .8]])
    assert [o.tolist() for o in confidences(p, [0, 0])] == [[.7, .8], [True, False]]
    assert [o.tolist() for o in confidences(p, [[1, 0], [np.nan, 1]])] == [[.7, .3, .8], [True, False, True]]


@pytest.mark.parametrize('strategy', ['uniform', 'quantile'])
def test_bins_are_those_of_scikit_learn(strategy):
    from sklearn.calibration import calibration_curve
    rng = np.random.default_rng(14)
    conf = rng.random(300); right = rng.random(300) < conf
    df = reliability_table(conf, right, 7, strategy)
    share, mean = calibration_curve(right, conf, n_bins=7, strategy=strategy)
    np.testing.assert_allclose(df[['share', 'confidence']], np.stack([share, mean], 1))
    assert df.n.sum() == 300 and ((df.low <= df.share) & (df.share <= df.high)).all()


def test_intervals_of_reliability_cover():
    "Clopper-Pearson intervals hold the true share at least as often as they say; consistency bands hold what exact confidences give"
    rng, covered, consistent = np.random.default_rng(15), [], []
    for _ in range(30):
        conf = rng.choice([.55, .75, .95], 120)
        right = rng.random(120) < conf
        df = reliability_table(conf, right, 5, level=.9, draws=150)
        covered += ((df.low <= df.confidence) & (df.confidence <= df.high)).tolist()
        consistent += ((df.band_low <= df.share) & (df.share <= df.band_high)).tolist()
    assert np.mean(covered) > .88 and .82 < np.mean(consistent) <= 1


def test_any_ensemble():
    "The functions take whatever has predict_proba"
    from sklearn.ensemble import RandomForestClassifier
    X, v = data()
    y = (v > .3).astype(int)
    rf = RandomForestClassifier(30, random_state=0).fit(X[:200].reshape(200, -1), y[:200])
    p = rf.predict_proba(X[200:].reshape(200, -1))
    conf, right = confidences(p, y[200:])
    assert 0 <= expected_calibration_error(conf, right) < .5 and plot_reliability(conf, right).lines
    sets = conformal_sets(p[:100], y[200:300], .2, groups='class').contains(p[100:])
    assert sets[np.arange(100), y[300:]].mean() > .65


# --- abstention
def test_abstention():
    conf, right = np.array([.9, .8, .8, .5]), np.array([True, True, False, False])
    df = abstention_curve(conf, right)
    assert df.coverage.tolist() == [.25, .75, 1] and df.accuracy.tolist() == [1, 2/3, .5] and df.threshold.tolist() == [.9, .8, .5]
    area, excess = risk_coverage_area(conf, right)
    assert area == pytest.approx(np.mean([0, .25, 1/3, .5])) and excess == pytest.approx(area - np.mean([0, 0, 1/3, .5]))
    assert risk_coverage_area(np.arange(4)[::-1], right) == pytest.approx((np.mean([0, 0, 1/3, .5]), 0))


def test_abstention_of_a_learner(classifier):
    learn, X, y, *_ = classifier
    line, = learn.plot_abstention(X, y).lines
    assert line.get_xdata()[-1] == 1 and line.get_ydata()[-1] == pytest.approx((learn.get_X_preds(X)[2] == y).mean())


# --- distance to the training data
@pytest.mark.parametrize('kwargs', [dict(), dict(method='mahalanobis'), dict(max_train=60, k=2), dict(unit=True)])
def test_novelty_in_bundles(classifier, kwargs, tmp_path):
    learn, X, y, new, _ = classifier
    learn.uncertainty = {}
    nov = learn.novelty(X, **kwargs)
    p = load_bundle(learn.save_bundle(tmp_path/'b'))
    assert p.config['format_version'] == 9 and p.config['novelty']['kind'] == kwargs.get('method', 'neighbours')
    np.testing.assert_allclose(p.novelty(new), nov.p_values(new), atol=.021)      # a distance may pass another by rounding
    assert (p.is_novel(new, .1) == (p.novelty(new) <= .1)).all() and p.is_novel(new, .1).mean() < .25
    if not kwargs.get('unit'): assert p.is_novel(20*new, .05).mean() > .9      # directions do not grow
    with pytest.raises(ValueError, match='needs at least 199'): p.is_novel(new, .005)
    learn.conformal(X, y)
    both = load_bundle(learn.save_bundle(tmp_path/'b'))
    assert set(both.uncertainty) == {'conformal', 'novelty'} and (both.novelty(new, 9) == p.novelty(new, 9)).all()


@pytest.mark.parametrize('make', [lambda z: NearestNovelty(z), lambda z: MahalanobisNovelty(z)], ids=['neighbours', 'mahalanobis'])
def test_p_values_of_usual_series(make):
    "At most a share alpha of them is flagged; over many draws the number flagged is beta-binomial"
    rng, counts, alpha = np.random.default_rng(16), [], .1
    nov = make(rng.normal(size=(100, 4)) + 1)
    for _ in range(DRAWS):
        nov.calibrated(rng.normal(size=(N_CAL, 4)) + 1)
        counts.append((nov.p_values_of(rng.normal(size=(M, 4)) + 1) > alpha + 1e-9).sum())
    expect_coverage(counts, alpha)


def test_novelty_of_what_was_trained_on(classifier):
    learn, X, y, *_ = classifier
    with pytest.raises(ValueError, match='150 of the 150 calibration series'): learn.novelty(data()[0][:150])
    with pytest.warns(UserWarning, match='validation split'): learn.novelty()
    with pytest.raises(ValueError, match="Expected 'neighbours' or 'mahalanobis'"): learn.novelty(X, method='lof')
    learn.uncertainty = {}


def test_predictors_of_uncertainty_load_without_fastai(classifier, tmp_path):
    import subprocess, sys
    learn, X, y, new, _ = classifier
    conf, nov = learn.conformal(X, y), learn.novelty(X)
    b = learn.save_bundle(tmp_path/'b'); np.save(tmp_path/'x.npy', new[:9])
    code = f"""import sys, numpy as np
from tsfast.inference import load_bundle
p, X = load_bundle({str(b)!r}), np.load({str(tmp_path/'x.npy')!r})
print(p.predict_sets(X)); print(p.novelty(X).round(6).tolist())
assert not {{'fastai', 'fastcore', 'sklearn', 'scipy', 'pandas'}} & set(sys.modules)"""
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert not r.returncode, r.stderr
    sets, values = r.stdout.splitlines()
    assert eval(sets) == conf.predict_sets(new[:9])
    np.testing.assert_allclose(eval(values), nov.p_values(new[:9]), atol=.021)
    learn.uncertainty = {}
