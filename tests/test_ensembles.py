"Ensembles: scikit-learn's checks, weights by hand, folds, bundles and forged ones, processes, and scikit-learn's own ensembles"
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, StackingClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import check_estimator

from tsfast.bundle import CONFIG, WEIGHTS, config_digest
from tsfast.core import rng_state
from tsfast.ensemble_bundle import own_digest
from tsfast.ensemble_weights import find_temperature, mixture_weights, regression_weights
from tsfast.estimator_ensembles import TSEnsembleClassifier, TSEnsembleRegressor
from tsfast.estimators import TSForestClassifier, TSForestRegressor, TSNetClassifier, TSNetRegressor
from tsfast.held_back import fold_numbers, solves_head
from tsfast.inference import Predictor, load_bundle
from tsfast.models.ridge import ridge_loo
from tsfast.models.trees import Trees
from waves import L, N, X, numbers, y

FCN = dict(arch='FCN', arch_params=dict(layers=[8, 8, 8]), epochs=3, bs=8, lr=1e-2, device='cpu')


def members(kind='Classifier', net=True, **kw):
    forest, network = dict(Classifier=(TSForestClassifier, TSNetClassifier), Regressor=(TSForestRegressor, TSNetRegressor))[kind]
    res = [('quantiles', network('Quant', device='cpu', **kw)), ('forest', forest(20, device='cpu', **kw))]
    return [*res, ('network', network(**FCN, **kw))] if net else res

def classifier(net=True, **kw): return TSEnsembleClassifier(members(net=net), cv=2, random_state=0, **kw)
def regressor(net=True, **kw): return TSEnsembleRegressor(members('Regressor', net), cv=2, random_state=0, **kw)

@pytest.fixture(scope='module')
def clf(): return classifier().fit(X, y)

@pytest.fixture(scope='module')
def bundle(clf, tmp_path_factory): return clf.save_bundle(tmp_path_factory.mktemp('bundles')/'b')


# scikit-learn

LEFT_OUT = {'check_sample_weight_equivalence_on_dense_data':
            'a series that is there twice is left out once at a time; with a weight of 2 it is left out as a whole'}

@pytest.mark.parametrize('make', [classifier, regressor])
def test_sklearn_check(make):
    res = check_estimator(make(net=False).set_params(forest__n_estimators=5), expected_failed_checks=LEFT_OUT, on_skip=None)
    assert {o['check_name'] for o in res if o['status'] == 'xfail'} <= set(LEFT_OUT)
    assert {o['check_name'] for o in res if o['status'] == 'skipped'} <= {'check_array_api_input'}


def test_nested_arguments(clf):
    est = clone(clf).set_params(forest__n_estimators=5, network__arch_params__layers=[4, 4, 4])
    assert est.get_params()['forest__n_estimators'] == 5 and dict(est.estimators)['network'].arch_params == dict(layers=[4, 4, 4])
    est.set_params(network=TSForestClassifier(3, device='cpu'))
    assert len(est.fit(X, y).members_['network'][0].forest_) == 3
    assert len(clf.members_['forest'][0].forest_) == 20 and clf.get_params()['forest__n_estimators'] == 20
    search = GridSearchCV(classifier(net=False), dict(forest__depth=[1, 3], cv=[2]), cv=2).fit(X, y)
    assert set(search.best_params_) == {'forest__depth', 'cv'}
    assert TSEnsembleClassifier('best').set_params(missing=0.).get_params()['missing'] == 0.


def test_inside_voting_and_stacking():
    "Estimators with three dimensions, ensembles among them, in scikit-learn's own ensembles"
    pair = [('ensemble', classifier(net=False)), ('forest', TSForestClassifier(20, device='cpu', random_state=0))]
    vote = VotingClassifier(pair, voting='soft').fit(X, y)
    np.testing.assert_allclose(vote.predict_proba(X), sum(o.fit(X, y).predict_proba(X) for _, o in pair)/2)
    assert StackingClassifier(pair, LogisticRegression(), cv=2).fit(X, y).score(X, y) > .8


def test_seeds():
    before = rng_state()
    a = classifier().fit(X, y).predict_proba(X)
    after = rng_state()
    assert before['python'] == after['python'] and torch.equal(before['torch'], after['torch'])
    assert all(np.array_equal(u, v) for u, v in zip(before['numpy'], after['numpy']))
    np.random.seed(1); torch.manual_seed(1)
    np.testing.assert_array_equal(classifier().fit(X, y).predict_proba(X), a)
    assert not np.array_equal(classifier().set_params(random_state=1).fit(X, y).predict_proba(X), a)
    assert len({o.random_state for o in classifier().fit(X, y).members_['network']}) == 2


def test_processes(clf):
    "Side by side, the result is the same"
    other = classifier(n_jobs=2).fit(X, y)
    np.testing.assert_array_equal(other.predict_proba(X), clf.predict_proba(X))
    assert other.weights_ == clf.weights_ and other.temperatures_ == clf.temperatures_


def test_processes_inside_of_threads():
    "Fits seed the generators of their process, so that no two share one, whatever joblib was told to use"
    from joblib import parallel_config
    class Where(TSForestClassifier):
        def fit(self, X, y):
            import os
            self.pid_ = os.getpid()
            return super().fit(X, y)
    est = TSEnsembleClassifier([('a', Where(3, device='cpu')), ('b', Where(3, device='cpu'))], cv=2, n_jobs=2)
    with parallel_config(backend='threading'): est.fit(X, y)
    assert os.getpid() not in {o[0].pid_ for o in est.members_.values()}


def test_pickle(clf):
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    assert again.weight_table().equals(clf.weight_table())


# held-back predictions and weights

def test_leave_one_out_errors():
    "Those of a fit without each series in turn, with the same penalty, weighted or not, for few and for many series"
    g = torch.Generator().manual_seed(0)
    for n, p in ((12, 30), (30, 12)):
        z, t, w = torch.randn(n, p, generator=g), torch.randn(n, 2, generator=g), torch.rand(n, generator=g).double()
        for weights in (None, w):
            s = ridge_loo((z, t), [.5, 20.], sample_weight=weights)
            for i in range(n):
                rest = torch.arange(n) != i
                o = ridge_loo((z[rest], t[rest]), [s.alpha], sample_weight=None if weights is None else w[rest])
                torch.testing.assert_close(t[i].double() - o.coef @ z[i].double() - o.intercept, s.errors[i])


def test_held_back_by_hand(clf):
    "Trees and networks have not seen the series that they are judged by"
    assert set(clf.held_back_) == {'quantiles', 'forest', 'network'} and [len(o) for o in clf.members_.values()] == [1, 1, 2]
    for p in clf.held_back_.values(): np.testing.assert_allclose(p.sum(1), 1, atol=1e-6)
    seen = [o.predict_proba(X) for o in clf.members_['network']]
    held = clf.held_back_['network']
    first = np.isclose(seen[0], held, atol=1e-5).all(1)     # each series was held back from one of the two
    np.testing.assert_allclose(np.where(first[:, None], seen[0], seen[1]), held, atol=1e-5)
    assert 20 <= first.sum() <= 28
    noise = classifier(net=False).fit(X, np.random.default_rng(0).permutation(y))
    assert noise.score(X, y) < .7 and all((p.argmax(1) == np.searchsorted(noise.classes_, noise.classes_[noise._true])).mean() < .6
                                          for p in noise.held_back_.values())


def test_combination_by_hand(clf):
    total = 0.
    for name, models in clf.members_.items():
        p = np.mean([o.predict_proba(X).astype(float) for o in models], 0)
        q = np.maximum(p, 1e-3/3)**(1/clf.temperatures_[name])
        total = total + clf.weights_[name]*q/q.sum(1, keepdims=True)
    np.testing.assert_allclose(clf.predict_proba(X), total, atol=1e-6)
    np.testing.assert_array_equal(clf.predict(X), np.array(['a', 'b', 'c'])[total.argmax(1)])


@pytest.mark.parametrize('n', [10, 20, 40])
def test_weights_do_not_fit_noise(n):
    "Members that are equally good have nearly equal weights, and few series do not make a temperature extreme"
    rng = np.random.default_rng(n)
    far = [abs(mixture_weights(np.where(rng.uniform(size=(n, 3)) < .8, .9, .05)) - 1/3).max() for _ in range(200)]
    assert np.mean(far) < .2 and max(far) < .5
    perfect = np.eye(2)[rng.integers(0, 2, n)]*.9 + .05
    assert .2 < find_temperature(perfect, perfect.argmax(1)) < 1
    assert find_temperature(perfect[:0], np.zeros(0, int)) == pytest.approx(1, abs=1e-2)
    t = rng.normal(size=n)
    far = [abs(regression_weights(t[:, None] + rng.normal(size=(n, 3)), t) - 1/3).max() for _ in range(200)]
    assert np.mean(far) < .25


def test_a_useless_member_loses_its_weight():
    n = 300
    rng = np.random.default_rng(0)
    assert mixture_weights(np.stack([np.full(n, .9), rng.uniform(0, .2, n)], 1))[1] < .03
    t = rng.normal(size=n)
    assert regression_weights(np.stack([t + .1*rng.normal(size=n), rng.normal(size=n)], 1), t)[1] < .03


def test_lonely_classes():
    "A class of one series stays in all training parts; where all are, the weights are equal, and a warning says so"
    labels = y.copy(); labels[3] = 'z'
    est = classifier().fit(X, labels)
    assert est.predict_proba(X).shape == (N, 4) and all(np.isnan(p[3]).all() and np.isfinite(np.delete(p, 3, 0)).all() for p in est.held_back_.values())
    est.weight_table()
    with pytest.warns(UserWarning, match='equal weights'): est = classifier().fit(X[:3], ['a', 'b', 'c'])
    assert set(est.weights_.values()) == {1/3} and [len(o) for o in est.members_.values()] == [1, 1, 1]
    assert est.predict(X[:3]).shape == (3,) and est.temperatures_['quantiles'] == .25
    with pytest.warns(UserWarning, match='equal weights'): regressor().fit(X[:2], [1., 2.]).weight_table()


def test_weights_of_series():
    "A series of weight 0 is no part of the fit and of the weights"
    w = np.where(np.arange(N) < 8, 0., 1.)
    odd, labels = X.copy(), y.copy()
    labels[:8] = 'a'
    a, b = (classifier(net=False).fit(odd, t, sample_weight=w) for t in (y, labels))
    assert a.weights_ == pytest.approx(b.weights_) and np.isnan(a.held_back_['forest'][:8]).all()
    np.testing.assert_allclose(a.predict_proba(X), b.predict_proba(X), atol=1e-6)
    class Plain(DecisionTreeClassifier):
        def fit(self, X, y): return super().fit(np.asarray(X).reshape(len(X), -1), y)
        def predict_proba(self, X): return super().predict_proba(np.asarray(X).reshape(len(X), -1))
    plain = TSEnsembleClassifier([('tree', Plain()), ('forest', TSForestClassifier(5, device='cpu'))], cv=2)
    with pytest.raises(ValueError, match="'tree', Plain, takes no sample_weight"): plain.fit(X, y, sample_weight=w)
    assert plain.fit(X, y).score(X, y) > .8      # any estimator that takes series can be a member


def test_features_with_a_head_that_is_trained():
    "A head that no closed form solves has held-back predictions by folds"
    head = torch.nn.Sequential(torch.nn.LazyLinear(1))
    for args in (dict(y_range=(-3., 3.)), dict(custom_head=head)):
        assert not solves_head(TSNetRegressor('Quant', args, device='cpu'), N)
    est = TSEnsembleRegressor([('quantiles', TSNetRegressor('Quant', dict(y_range=(-3., 3.)), device='cpu')), members('Regressor')[1]],
                              cv=2, random_state=0).fit(X[..., :8], numbers)
    assert set(est.held_back_) == {'quantiles', 'forest'} and len(est.members_['quantiles']) == 2


def test_folds():
    for k in (2, 3, 5):
        f = fold_numbers(y, k, np.random.default_rng(0))
        counts = np.bincount(f, minlength=k)
        assert counts.max() - counts.min() <= 1
        for c in 'abc': assert np.ptp([(f[y == c] == i).sum() for i in range(k)]) <= 1


# kinds of series and of targets

def test_missing_values_and_channels(tmp_path):
    gaps = X.copy(); gaps[3, 0, 5:] = np.nan
    with pytest.raises(ValueError, match='missing values'): classifier().fit(gaps, y)
    est = TSEnsembleClassifier(members(missing='mean'), cv=2, random_state=0).fit(dict(u=gaps[:, 0], v=gaps[:, 1]), y)
    p = load_bundle(est.save_bundle(tmp_path/'b'))
    assert p.channels == ['u', 'v'] and p.fills_missing
    for o in (gaps, dict(v=gaps[:, 1], u=gaps[:, 0])): np.testing.assert_allclose(p.predict_proba(o), est.predict_proba(o), atol=1e-6)
    np.testing.assert_allclose(p.predict_proba(list(X[:2, :, :12])), est.predict_proba(X[:2, :, :12]), atol=1e-6)
    mixed = TSEnsembleClassifier([members(missing=0., net=False)[0], members(net=False)[1]], cv=2).fit(X, y)
    with pytest.raises(ValueError, match='missing values'): mixed.predict(gaps)
    with pytest.raises(ValueError, match='missing values'): load_bundle(mixed.save_bundle(tmp_path/'c')).predict(gaps)


@pytest.mark.parametrize('labels', [[3, 7, 11], [True, False], ['b', 'a', 'c']], ids=str)
def test_labels(labels, tmp_path):
    t = np.array(labels)[np.searchsorted(np.unique(y), y) % len(labels)]
    est = classifier(net=False).fit(X, t)
    p = load_bundle(est.save_bundle(tmp_path/'b'))
    assert est.predict(X).dtype == t.dtype and est.score(X, t) > .9
    np.testing.assert_array_equal(p.predict(X), est.predict(X)); np.testing.assert_array_equal(p.classes, est.classes_)


@pytest.mark.parametrize('t', [numbers, np.stack([numbers, 1e3*numbers], 1), 1e6 + numbers], ids=['one', 'two', 'far from 0'])
def test_regression(t, tmp_path):
    est = regressor(net=False).fit(X, t)
    assert est.score(X, t) > .8 and sum(est.weights_.values()) == pytest.approx(1) and est.temperatures_ is None
    total = sum(est.weights_[k]*est.members_[k][0].predict(X) for k in est.weights_)
    np.testing.assert_allclose(est.predict(X), total)
    np.testing.assert_allclose(load_bundle(est.save_bundle(tmp_path/'b')).predict(X), est.predict(X), rtol=1e-5)


def test_default_on_short_series():
    est = TSEnsembleClassifier(device='cpu', random_state=0).fit(X[..., :5], y)
    assert set(est.weights_) == {'quantiles', 'forest'}


@pytest.mark.parametrize('length,names', [(8, ['quantiles', 'forest', 'network']), (L, ['rocket', 'forest', 'shapelets', 'network'])], ids=str)
def test_best(monkeypatch, tmp_path, length, names):
    "The preset with networks, which are trained for one epoch here; closed forms are solved once, and predict each series without it"
    from tsfast import ensemble_presets
    monkeypatch.setattr(ensemble_presets, 'preset_network', lambda n, length: ('LITE', 1))
    est = TSEnsembleClassifier('best', cv=2, device='cpu', random_state=0).fit(X[..., :length], y)
    assert list(est.weights_) == names and [len(est.members_[k]) for k in names] == [2 if k == 'network' else 1 for k in names]
    assert all(np.isfinite(p).all() for p in est.held_back_.values())
    np.testing.assert_allclose(load_bundle(est.save_bundle(tmp_path/'b')).predict_proba(X[..., :length]), est.predict_proba(X[..., :length]), atol=1e-5)


# bundles

def test_bundle(clf, bundle):
    p = load_bundle(bundle)
    assert isinstance(p, Predictor) and 'Ensemble' in repr(p) and p.input_shape == (2, L)
    for bs in (1, 7, 64): np.testing.assert_allclose(p.predict_proba(X, bs=bs), clf.predict_proba(X), atol=1e-6)
    np.testing.assert_array_equal(p.predict(X), clf.predict(X))
    assert p.predict_windows(np.concatenate(X[:3], 1).T).shape[0] == 3
    with pytest.raises(ValueError, match='built for one length'): p.predict(X[..., :12])
    for name in ('member-0-0', 'member-1-0', 'member-2-1'): assert load_bundle(bundle/name).predict(X).shape == (N,)


def test_bundle_needs_torch_and_numpy_alone(bundle, tmp_path):
    np.save(tmp_path/'X.npy', X)
    code = (f"import sys, numpy as np\nfrom tsfast.inference import load_bundle\nX = np.load({str(tmp_path/'X.npy')!r})\n"
            f"print(load_bundle({str(bundle)!r}).predict_proba(X).shape)\n"
            "print(*sorted({o.split('.')[0] for o in sys.modules} & {'fastai', 'fastcore', 'sklearn', 'scipy', 'pandas', 'sktime', 'joblib'}))")
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert r.stdout.split('\n')[:2] == [f'({N}, 3)', ''], r.stderr


def test_command_line(clf, bundle, tmp_path, capsys):
    from tsfast.cli import main
    np.save(tmp_path/'X.npy', X)
    assert main(['predict', str(bundle), str(tmp_path/'X.npy'), '--out', str(tmp_path/'out.csv')]) in (0, None)
    assert 'predictions of Ensemble' in capsys.readouterr().out
    rows = (tmp_path/'out.csv').read_text().split()
    assert [o.split(',')[1] for o in rows[1:]] == clf.predict(X).tolist()


def test_train_from_the_command_line(tmp_path, capsys):
    "A preset leaves the files of a run; options of networks are refused beside it"
    from tsfast.cli import main
    np.save(tmp_path/'X.npy', X[..., :8]); np.save(tmp_path/'y.npy', y)
    train = ['train', str(tmp_path/'X.npy'), '--y', str(tmp_path/'y.npy'), '--preset', 'fast', '--device', 'cpu', '--out', str(tmp_path/'run')]
    assert not main(train)
    assert 'quantiles' in capsys.readouterr().out
    assert {'args.json', 'confusion_matrix.png', 'model', 'results.json', 'weights.csv'} == {o.name for o in (tmp_path/'run').iterdir()}
    r = json.loads((tmp_path/'run/results.json').read_text())
    assert r['preset'] == 'fast' and sum(r['weights'].values()) == pytest.approx(1) and r['test']['accuracy'] > .5
    assert not main(['predict', str(tmp_path/'run'), str(tmp_path/'X.npy'), '--out', str(tmp_path/'out.csv')])
    assert not main([*train, '--overwrite'])
    for more, text in ((['--epochs', '3'], '--epochs is for a network: leave it out, or --preset'),
                       (['--epochs', '3', '--lr', '.1'], '--epochs, --lr are for a network: leave them out'),
                       (['--resume'], '--resume'), ([], 'finished run')):
        assert main([*train, *more]) != 0
        assert text in capsys.readouterr().err


@pytest.mark.parametrize('label', ['0', 'z'])
def test_label_of_the_test_split_alone(label):
    "Is refused before the training, and named"
    from tsfast.training import RunData, RunSettings
    from tsfast.training.ensemble import EnsembleRun
    labels = y.copy(); labels[-1] = label
    run = EnsembleRun(RunSettings(device='cpu'), 'fast', RunData(X, labels, (range(N - 9), range(N - 9, N)), None))
    with pytest.raises(ValueError, match=f"'{label}'"): run.train()


def test_program(bundle):
    "An ensemble, with its forest, becomes a graph of torch, for any number of series"
    from tsfast.deploy import export_program
    p = load_bundle(bundle)
    np.testing.assert_allclose(export_program(p).module()(torch.from_numpy(X)).detach().numpy(), p(X).numpy(), atol=1e-5)


def signed(cfg): return {**cfg, 'sha256': own_digest(cfg)}

@pytest.mark.parametrize('change,match', [
    (lambda c: c['members'][0].update(weight=.9), 'sum 1'), (lambda c: c['members'][0].update(temperature=None), 'temperature'),
    (lambda c: c['members'][0].update(temperature=-1.), 'temperature'), (lambda c: c['members'][0].update(temperature=1e-320), 'temperature'),
    (lambda c: c['members'].clear(), 'members'), (lambda c: c.update(target=None), 'target'), (lambda c: c.update(target=[1]), 'target'),
    (lambda c: c['members'][0]['models'][0].update(folder='../b'), 'folder'), (lambda c: c['series'].update(length=9), 'has length 20'),
    (lambda c: c['target'].update(classes=['c', 'b', 'a']), 'has the target'), (lambda c: c.update(format_version=10), 'Update tsfast'),
    (lambda c: c['members'][0]['models'].append(c['members'][1]['models'][0]), 'each folder once'),
    (lambda c: c['members'][0]['models'][0].update(sha256='0'*64), 'not the file that was written'), (lambda c: c.update(more=1), 'more'),
    (lambda c: c['series'].update(names=['u', 'u']), 'each name once')], ids=lambda o: o if isinstance(o, str) else '')
def test_forged_configurations(bundle, tmp_path, change, match):
    import shutil
    b = shutil.copytree(bundle, tmp_path/'b')
    cfg = json.loads((b/CONFIG).read_text())
    change(cfg)
    (b/CONFIG).write_text(json.dumps(cfg))
    with pytest.raises(ValueError, match='has been changed|Update tsfast|' + match): load_bundle(b)
    (b/CONFIG).write_text(json.dumps(signed(cfg)))
    with pytest.raises(ValueError, match=match): load_bundle(b)


def test_folders_that_are_missing_or_links(bundle, tmp_path):
    import shutil
    b = shutil.copytree(bundle, tmp_path/'b')
    shutil.rmtree(b/'member-1-0')
    with pytest.raises(FileNotFoundError): load_bundle(b)
    (b/'member-1-0').symlink_to(bundle/'member-1-0', target_is_directory=True)
    with pytest.raises(ValueError, match='is a link'): load_bundle(b)


def test_members_that_no_bundle_can_hold(tmp_path):
    class Flat(DecisionTreeClassifier):
        def fit(self, X, y, sample_weight=None): return super().fit(np.asarray(X).reshape(len(X), -1), y)
        def predict_proba(self, X): return super().predict_proba(np.asarray(X).reshape(len(X), -1))
    est = TSEnsembleClassifier([('tree', Flat()), ('forest', TSForestClassifier(5, device='cpu'))], cv=2).fit(X, y)
    with pytest.raises(ValueError, match="'tree' is a Flat, which no bundle can hold"): est.save_bundle(tmp_path/'b')
    assert not list(tmp_path.iterdir())


def test_files_beside_an_older_bundle(clf, bundle, tmp_path):
    "A bundle is replaced as a whole, so it must hold nothing else"
    import shutil
    b = shutil.copytree(bundle, tmp_path/'b')
    (b/'notes.txt').touch()
    with pytest.raises(FileExistsError, match='notes.txt'): clf.save_bundle(b)
    (b/'notes.txt').unlink()
    clf.save_bundle(b)
    (tmp_path/'empty').mkdir(); (tmp_path/'file').touch()
    clf.save_bundle(tmp_path/'empty')
    forest = TSForestClassifier(5, device='cpu').fit(X, y)
    for est in (forest, clf): assert load_bundle(est.save_bundle(tmp_path/'empty')).predict(X[:2]) is not None      # either replaces the other
    with pytest.raises(FileExistsError, match='something other'): clf.save_bundle(tmp_path/'file')


# trees as arrays

@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('kind', ['two', 'many', 'leaf', 'number', 'numbers'])
def test_trees_are_those_of_scikit_learn(seed, kind):
    "Values that lie exactly on thresholds among them"
    rng = np.random.default_rng(seed)
    z = rng.integers(0, 6, (60, 5)).astype(np.float32)/3
    t = dict(two=rng.integers(0, 2, 60), many=rng.integers(0, 9, 60), leaf=rng.integers(0, 3, 60), number=rng.normal(size=60), numbers=rng.normal(size=(60, 2)))[kind]
    cls = ExtraTreesRegressor if kind.startswith('number') else ExtraTreesClassifier
    f = cls(9, min_samples_leaf=31 if kind == 'leaf' else 1, random_state=seed).fit(z, t)
    new = np.concatenate([z, rng.normal(size=(60, 5)).astype(np.float32), f.estimators_[0].tree_.threshold.astype(np.float32)[:, None]*np.ones((1, 5), np.float32)])
    want = f.predict(new) if cls is ExtraTreesRegressor else f.predict_proba(new)
    got = Trees.from_forest(f)(torch.from_numpy(new)).numpy()
    np.testing.assert_allclose(got.reshape(want.shape), want, atol=1e-12)


@pytest.fixture(scope='module')
def forest(tmp_path_factory):
    est = TSForestClassifier(20, device='cpu', random_state=0).fit(X, y)
    return est, est.save_bundle(tmp_path_factory.mktemp('forests')/'b')


def test_forest_alone(forest):
    est, b = forest
    np.testing.assert_allclose(load_bundle(b).predict_proba(X), est.predict_proba(X), atol=1e-12)
    assert {o.name for o in b.iterdir()} == {CONFIG, WEIGHTS}
    with pytest.raises(NotFittedError): TSForestClassifier().save_bundle(b)


@pytest.mark.parametrize('name,value,match', [
    ('branches', 10**6, 'children'), ('branches', 0, 'before their parents'), ('branches', -10**6, 'children'), ('feature', -1, 'features'),
    ('feature', 10**6, 'features'), ('roots', 10**6, 'roots'), ('threshold', float('nan'), 'thresholds'), ('leaves', float('inf'), 'leaves'),
    ('leaves', -1., 'shares'), ('leaves', .9, 'shares'), ('branches', None, 'shape'), ('leaves', None, 'shape')])
def test_forged_forests(forest, tmp_path, name, value, match):
    import hashlib, shutil
    from safetensors.torch import load, save
    b = shutil.copytree(forest[1], tmp_path/'b')
    cfg, t, k = json.loads((b/CONFIG).read_text()), load((b/WEIGHTS).read_bytes()), f'model.trees.{name}'
    t[k] = t[k][:-1].clone() if value is None else torch.full_like(t[k], value)
    data = save(t, metadata=dict(format='pt', config_sha256=config_digest(cfg)))
    cfg['weights'] = dict(file=WEIGHTS, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    (b/WEIGHTS).write_bytes(data); (b/CONFIG).write_text(json.dumps(cfg))
    with pytest.raises(ValueError, match=match): load_bundle(b)


# errors

@pytest.mark.parametrize('kwargs,match', [
    (dict(estimators='slow'), 'Known: best, fast'), (dict(estimators=3), 'estimators is 3'), (dict(estimators=[]), 'Expected'),
    (dict(estimators=[TSForestClassifier()]), 'Expected'), (dict(estimators=[('a', TSForestRegressor())]), 'no predict_proba'),
    (dict(estimators=[('a', 'drop')]), 'Expected estimators with fit and predict_proba'),
    (dict(estimators=[('a', TSForestClassifier()), ('a', TSForestClassifier())]), 'unique'), (dict(cv=1), 'at least 2 folds'),
    (dict(missing='mean'), "missing='mean' is for presets"), (dict(device='cpu'), "device='cpu' is for presets"),
    (dict(cv='2'), "cv is '2'"), (dict(random_state=-1), 'random_state is -1'), (dict(estimators='fast', device='abacus'), 'no device')], ids=str)
def test_arguments(kwargs, match):
    with pytest.raises(ValueError, match=match): classifier(net=False).set_params(**kwargs).fit(X, y)


def test_errors(clf, tmp_path):
    with pytest.raises(NotFittedError): classifier().predict(X)
    with pytest.raises(NotFittedError): classifier().save_bundle(tmp_path/'b')
    with pytest.raises(ValueError, match='one class only'): classifier().fit(X, ['a']*N)
    with pytest.raises(ValueError, match='one class only: 3\\.'): classifier().fit(X, np.full(N, 3))
    with pytest.raises(ValueError, match='1 channels'): clf.predict(X[:, :1])
    with pytest.raises(ValueError, match='takes numbers'): regressor().fit(X, y)
    before = clf.weights_
    with pytest.raises(ValueError): clf.fit(X, ['a']*N)
    assert clf.weights_ is before       # a fit that fails leaves the estimator as it was
