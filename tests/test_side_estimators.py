"Static tables in the estimators for scikit-learn: fit, predict, score, routing, bundles; and what is refused"
import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from tsfast.estimators import TSForestClassifier, TSNetClassifier, TSNetRegressor
from tsfast.inference import Predictor
from tsfast.models.side_inputs import SideInputs

N, L = 96, 16
NET = dict(arch='FCN', arch_params=dict(layers=[8, 8, 8]), epochs=12, bs=16, lr=2e-2, device='cpu', random_state=0)

def waves(seed=0):
    "Series that are high or low, and a table; the class is which, turned round for one of two groups"
    rng = np.random.default_rng(seed)
    high, group = rng.random(N) < .5, rng.choice(['f', 'm'], N)
    X = (rng.normal(size=(N, 1, L))*.3 + np.where(high, 1, -1)[:, None, None]).astype(np.float32)
    table = pd.DataFrame(dict(age=rng.normal(50, 10, N).round(), sex=group))
    return X, np.where(high == (group == 'm'), 'a', 'b'), table

X, y, table = waves()
X_new, y_new, table_new = waves(1)

@pytest.fixture(scope='module')
def net(): return TSNetClassifier(**NET).fit(X, y, static=table)


def test_both_are_needed(net):
    "The class follows from series and table together; from series alone it cannot be known"
    assert net.score(X_new, y_new, static=table_new) > .9
    assert TSNetClassifier(**NET).fit(X, y).score(X_new, y_new) < .7
    assert isinstance(net.learner_.model, SideInputs)

def test_predictions_agree(net):
    probs = net.predict_proba(X_new, static=table_new)
    assert probs.shape == (N, 2) and (net.classes_[probs.argmax(1)] == net.predict(X_new, static=table_new)).all()
    np.testing.assert_allclose(net.predict_proba(X_new[7:8], static=table_new[7:8]), probs[7:8], atol=1e-5)
    shuffled = table_new[['sex', 'age']].to_dict('list')       # by name, and of any form
    np.testing.assert_array_equal(net.predict_proba(X_new, static=shuffled), probs)
    assert net.score(X_new, y_new, static=table_new) == (net.predict(X_new, static=table_new) == y_new).mean()

def test_no_series_are_kept(net):
    assert not len(net.learner_.dls.train_ds) and all(not len(o) for o in net.learner_.dls.train_ds.side.values())
    again = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(again.predict_proba(X_new, static=table_new), net.predict_proba(X_new, static=table_new))

def test_bundle(net, tmp_path):
    p = Predictor(net.learner_.save_bundle(tmp_path/'model'))
    assert p.static_columns.names == ['age', 'sex']
    np.testing.assert_allclose(p.predict_proba(X_new, static=table_new), net.predict_proba(X_new, static=table_new), atol=1e-6)

def test_regressor_and_ensemble():
    "Several networks, several targets, early stopping, and an array without names"
    targets = np.stack([X.mean((1, 2))*10, table.age], 1)
    est = TSNetRegressor(**{**NET, 'epochs': 15}, n_estimators=2).fit(X, targets, static=table)
    assert len(est.learners_) == 2 and est.predict(X_new, static=table_new).shape == (N, 2)
    new = np.stack([X_new.mean((1, 2))*10, table_new.age], 1)
    assert est.score(X_new, new, static=table_new) > .6
    stopped = TSNetRegressor(**{**NET, 'epochs': 2}, early_stopping=True).fit(X, table.age, static=table[['age']].to_numpy())
    assert stopped.predict(X[:3], static=table[['age']].to_numpy()[:3]).shape == (3,)

def test_closed_form():
    "Columns beside fixed features: solved, not trained; `y_range` asks for a training"
    est = TSNetRegressor('MiniRocket', dict(num_features=84), device='cpu', random_state=0).fit(X, table.age, static=table)
    assert set(est.history_) == {'alpha', 'loo_loss'} and est.score(X_new, table_new.age, static=table_new) > .9
    ranged = TSNetRegressor('MiniRocket', dict(num_features=84, y_range=(0, 100)), device='cpu', random_state=0, bs=32).fit(X[:32], table.age[:32], static=table[:32])
    assert 'train_loss' in ranged.history_

def test_routing():
    "Cross-validation, a search and a pipeline hand each fold its rows of the table"
    label, rocket = table.sex, TSNetClassifier('MiniRocket', dict(num_features=84), device='cpu', random_state=0)     # known from the table alone
    with sklearn.config_context(enable_metadata_routing=True):
        est = clone(rocket).set_fit_request(static=True).set_score_request(static=True)
        assert cross_val_score(est, X, label, cv=3, params=dict(static=table)).mean() > .9
        pipe = make_pipeline(FunctionTransformer(lambda o: o*2), est)
        assert cross_val_score(pipe, X, label, cv=2, params=dict(static=table)).mean() > .9
        assert GridSearchCV(est, dict(arch_params__num_features=[84, 168]), cv=2).fit(X, label, static=table).best_score_ > .9
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError): cross_val_score(rocket, X, label, cv=2, params=dict(static=table), error_score='raise')
    assert cross_val_score(rocket, X, label, cv=3).mean() < .8

@pytest.mark.parametrize('static, said', [
    (None, "static is missing. Pass static=, with 'age', 'sex', as in training; "),
    (table_new[['age']], "static has no column 'sex'"),
    (table_new.assign(height=1.), "static has a column 'height', which training had not"),
    (table_new[:5], "Column 'age' of static has 5 rows, and there are 96 series"),
    (table_new.to_numpy(), "static is an array, and the columns of training have names"),
    (table_new.assign(age='old'), "Column 'age' of static holds 'old'. Expected numbers")])
def test_refused_at_prediction(net, static, said):
    for f in (net.predict, net.predict_proba, lambda X, static: net.score(X, y_new, static=static)):
        with pytest.raises(ValueError, match='.*') as e: f(X_new, static=static)
        assert said in str(e.value)

def test_refused_at_fit(net):
    before = net.predict_proba(X_new, static=table_new)
    with pytest.raises(ValueError, match='Column .age. of static has 5 rows, and there are 96 series'): net.fit(X, y, static=table[:5])
    with pytest.raises(ValueError, match='infinite values'): net.fit(X, y, static=table.assign(age=np.inf))
    np.testing.assert_array_equal(net.predict_proba(X_new, static=table_new), before)      # a fit that fails changes nothing
    with pytest.raises(ValueError, match='static is given, and the training data had none'): clone(net).set_params(epochs=1).fit(X, y).predict(X, static=table)
    with pytest.raises(TypeError, match='static'): TSForestClassifier(4).fit(X, y, static=table)

def test_unknown_category(net):
    with pytest.warns(UserWarning, match="1 of 96 rows have a category of 'sex' that the training split has not, such as 'x'"):
        net.predict(X_new, static=table_new.assign(sex=['x', *table_new.sex[1:]]))
