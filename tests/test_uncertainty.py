"Conformal sets and intervals, calibration of several labels, abstention, and the distance to the training data; in bundles, too"
import json, pickle
import numpy as np
import pytest
import torch
from scipy.stats import betabinom

from tsfast.bundle import CONFIG, check_config, config_digest, read_bundle
from tsfast.conformal import (ConformalIntervals, ConformalSets, Uncertainty, conformal_intervals, conformal_quantile, conformal_quantiles,
                              conformal_sets, set_scores, series_needed)
from tsfast.core import local_seed
from tsfast.data.core import get_ts_dls
from tsfast.data.preprocessing import TSStandardize
from tsfast.data.targets import TSClassification, TSMultiLabelClassification, TSRegression
from tsfast.deploy import to_predictor
from tsfast.inference import Predictor, load_bundle
from tsfast.interpret.conformal import uncertainty_of
from tsfast.learner import ts_learner

N_CAL, M, DRAWS = 60, 50, 400


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
