"Frozen encoders: what an encoder may be, the cache, the model for learners, and the estimators with the checks of scikit-learn"
import os, pickle, subprocess, sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV, RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

from tsfast.core import rng_state
from tsfast.data.core import get_ts_dls
from tsfast.data.targets import TSClassification
from tsfast.estimator_checks import seeds_from
from tsfast.estimator_encoders import RidgeHead, TSEncoderClassifier, TSEncoderRegressor, TSEncoderTransformer
from tsfast.inference import load_bundle
from tsfast.learner import ts_learner
from tsfast.models.embedding_cache import EmbeddingCache
from tsfast.models.encoders import EncoderFeatures, EncoderModel
from tsfast.models.fcn import FCN
from tsfast.models.rnn import GRU
import tsfast.deploy  # noqa: methods of learners
from waves import L, N, X, numbers, y

C = X.shape[1]


def summary(x): return torch.cat([x.mean(-1), x.std(-1, unbiased=False), x.amax(-1), x.diff().abs().mean(-1) if x.shape[-1] > 1 else x[..., 0]], 1)

def flat(x): return x.flatten(1)

class Net(nn.Module):
    "Normalisation in training would depend on the batch, dropout on chance; each call is counted"
    def __init__(self, length=L, nf=5):
        super().__init__()
        self.fc, self.bn, self.drop, self.calls = nn.Linear(length, nf), nn.BatchNorm1d(nf), nn.Dropout(.5), []
    def forward(self, x):
        assert not torch.is_grad_enabled() and not self.training
        self.calls.append(len(x))
        return self.drop(self.bn(self.fc(x)))

def net(seed=0):
    torch.manual_seed(seed)
    return Net()

def by_hand(m, x): # each channel alone, joined
    with torch.no_grad(): return torch.cat([m.eval().drop(m.bn(m.fc(torch.from_numpy(x[:, i])))) for i in range(C)], 1).numpy()


# --- embeddings
@pytest.mark.parametrize('bs', [1, 7, N, 1000])
def test_chunks(bs):
    m = net()
    f = EncoderFeatures(m, by_channel=True, batch_size=bs, device='cpu')
    np.testing.assert_allclose(f(X), by_hand(net(), X), atol=1e-5)
    assert f(X).dtype == np.float32
    assert f.run.module.encoder.calls[:1] == [min(bs, N)*C] and m.calls == [] and m.training      # a copy works


@pytest.mark.parametrize('make', [lambda: summary, lambda: lambda x: summary(x).numpy(), lambda: lambda x: summary(x).double(),
                                  lambda: lambda x: summary(x).tolist(), lambda: lambda x: sparse.csr_array(summary(x).numpy())],
                         ids=['tensor', 'array', 'double', 'list', 'sparse'])
def test_outputs_of_functions(make):
    f = make()
    if isinstance(f(torch.from_numpy(X[:2])), list):
        with pytest.raises(ValueError, match='gives a list'): EncoderFeatures(f)(X)
    else: np.testing.assert_allclose(EncoderFeatures(f)(X), summary(torch.from_numpy(X)).numpy(), atol=1e-6)


def test_forms_of_series(tmp_path):
    "Arrays, tensors, float64, one channel in two dimensions, a memory map"
    want = EncoderFeatures(summary)(X)
    np.save(tmp_path/'x.npy', X)
    for o in (torch.from_numpy(X), np.load(tmp_path/'x.npy', mmap_mode='r')):
        np.testing.assert_array_equal(EncoderFeatures(summary, batch_size=7)(o), want)
    np.testing.assert_allclose(EncoderFeatures(summary)(X[:, 0]), EncoderFeatures(summary)(X[:, :1]))


def test_a_model_of_tsfast_gives_its_features():
    torch.manual_seed(0)
    m = FCN(C, 4, layers=[6, 5], kss=[3, 3])
    got = EncoderFeatures(m, device='cpu')(X)
    with torch.no_grad(): np.testing.assert_allclose(got, m.eval().forward_features(torch.from_numpy(X)).mean(-1).numpy(), atol=1e-5)


def test_half_precision():
    m = net()
    got = EncoderFeatures(m.to(torch.bfloat16), by_channel=True, device='cpu')(X)
    assert got.dtype == np.float32 and np.abs(got - by_hand(net(), X)).max() < .2


def test_many_threads():
    f = EncoderFeatures(net(), by_channel=True, batch_size=5, device='cpu')
    want = f(X)
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: f(X), range(16)): np.testing.assert_array_equal(got, want)


def test_draws_nothing():
    before = rng_state()
    EncoderFeatures(summary)(X)
    assert torch.equal(rng_state()['torch'], before['torch'])


@pytest.mark.parametrize('f,match', [(lambda x: x, r'into \(40, \d, \d+\). Expected \(40, features\). Take the mean'), (lambda x: x[0], 'by_channel=True'),
    (lambda x: x.sum(), r'into \(\)'), (lambda x: (x, x), 'tuple'), (lambda x: summary(x)*torch.nan, 'half precision'),
    (lambda x: summary(x)*1e30*1e30, 'NaN or infinite'), (lambda x: summary(x).double()*1e200, 'NaN or infinite'),
    (lambda x: x.new_zeros(len(x), 0), 'Expected')])
def test_outputs_that_are_refused(f, match):
    with pytest.raises(ValueError, match=match.replace('40', str(N))): EncoderFeatures(f)(X)


def test_widths_that_change():
    with pytest.raises(ValueError, match='for one chunk'): EncoderFeatures(lambda x: x.new_zeros(len(x), len(x)), batch_size=N - 1)(X)


# --- cache
def test_cache_follows_the_content(tmp_path):
    def calls(enc, x=X, **kwargs):
        f = EncoderFeatures(enc, by_channel=True, device='cpu', cache=tmp_path, **kwargs)
        z = f(x)
        return z, len(f.run.module.encoder.calls)
    z, n = calls(net()); assert n == 1
    again, n = calls(net(), batch_size=7); assert n == 0 and np.array_equal(z, again)
    assert calls(net(seed=1))[1] == 1                                         # other weights
    m = net(); m.bn.running_mean[0] += 1e-3; assert calls(m)[1] == 1          # another buffer
    other = X.copy(); other[-1, -1, -1] = np.nextafter(other[-1, -1, -1], np.float32(9)); assert calls(net(), other)[1] == 1
    assert calls(net(), X[:-1])[1] == 1 and calls(net(), X, encoder_id='b')[1] == 1
    assert len(EmbeddingCache(tmp_path).entries()) == 6


def test_key_is_the_same_in_another_process(tmp_path):
    code = ("import torch; from torch import nn; from tsfast.models.encoders import EncoderFeatures\n"
            "torch.manual_seed(0); print(EncoderFeatures(nn.Sequential(nn.Linear(4, 2), nn.GELU()), by_channel=True, device='cpu').key(torch.ones(3, 2, 4)))")
    there = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip()
    torch.manual_seed(0)
    assert there == EncoderFeatures(nn.Sequential(nn.Linear(4, 2), nn.GELU()), by_channel=True, device='cpu').key(torch.ones(3, 2, 4))


def test_transformers_are_told_apart_by_what_they_learnt(tmp_path):
    a, b = (PCA(3, random_state=0).fit(X[i::2, 0]) for i in (0, 1))
    keys = [EncoderFeatures(o, by_channel=True, cache=tmp_path).key(X) for o in (a, pickle.loads(pickle.dumps(a)), b)]
    assert keys[0] == keys[1] != keys[2]
    with pytest.raises(ValueError, match='encoder_id'): EncoderFeatures(summary, cache=tmp_path)


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    cache, z = EmbeddingCache(tmp_path), np.ones((3, 2), np.float32)
    monkeypatch.setattr(os, 'replace', lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt): cache.put('a'*64, z)
    assert list(tmp_path.iterdir()) == []


def test_use_keeps_an_entry(tmp_path):
    z = np.ones((50, 20), np.float32)
    cache = EmbeddingCache(tmp_path, limit=3*z.nbytes)
    for i, k in enumerate('ab'):
        cache.put(k*64, z)
        os.utime(cache._file(k*64), (i, i))
    assert cache.get('a'*64, 50) is not None        # a was used last
    cache.put('c'*64, z)
    assert cache.get('b'*64, 50) is None and cache.get('a'*64, 50) is not None and cache.get('c'*64, 50) is not None


# --- a model for learners
def test_model_in_a_learner():
    dls = get_ts_dls(X, y, splits=(range(40), range(40, N)) if N > 45 else (range(N - 8), range(N - 8, N)), tfms=[None, TSClassification()], bs=16)
    m = net()
    learn = ts_learner(dls, EncoderModel, encoder=m, by_channel=True, seed=0)
    before = {k: v.clone() for k, v in learn.model.backbone.state_dict().items()}
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, 1e-2)
    learn.fit_ridge(scale=True)
    after = learn.model.backbone.state_dict()
    assert all(torch.equal(before[k], after[k].to(before[k].device)) for k in before)
    assert all(p.requires_grad for p in m.parameters()) and m.training
    train = learn.dls.train_ds
    z = by_hand(net(), X[np.asarray(train.idxs)])
    one = RidgeHead(classes=True).fit(z, np.asarray(y)[np.asarray(train.idxs)])
    np.testing.assert_allclose(learn.get_X_preds(X[:5])[0].cpu().numpy(), one.predict_proba(by_hand(net(), X[:5])), atol=1e-4)
    assert learn.ridge['alpha'] == one.alpha_


# --- estimators
FAST = dict(random_state=0, device='cpu')
CASES = [TSEncoderClassifier(summary, head, **FAST) for head in ('ridge', 'linear', 'forest')] + \
        [TSEncoderRegressor(summary, head, **FAST) for head in ('ridge', 'forest')]
for o in CASES:
    if o.head == 'forest': o.set_params(head_params=dict(n_estimators=10))

# the same check for both: in the ridge, a weight of 2 is left out as one series, and two equal series are left out one after the other, so
# another penalty may be chosen; scikit-learn's logistic regression stops a little earlier or later
SAME_WEIGHTS = dict(ridge={'check_sample_weight_equivalence_on_dense_data'}, linear={'check_sample_weight_equivalence_on_dense_data'})

@pytest.mark.parametrize('est', CASES, ids=lambda o: f'{type(o).__name__}-{o.head}')
def test_sklearn_check(est):
    est = clone(est).set_params(encoder=flat)       # the checks ask for a good score, on data that is no series
    res = check_estimator(est, on_skip=None, on_fail=None)
    failed = {o['check_name'] for o in res if o['status'] == 'failed'}
    assert failed <= SAME_WEIGHTS.get(est.head, set()), {o['check_name']: o['exception'] for o in res if o['status'] == 'failed'}
    assert {o['check_name'] for o in res if o['status'] == 'skipped'} <= {'check_array_api_input'}

def test_sklearn_check_of_the_transformer():
    res = check_estimator(TSEncoderTransformer(summary, device='cpu'), on_skip=None)
    assert {o['check_name'] for o in res if o['status'] == 'skipped'} <= {'check_array_api_input'}


def test_heads_put_together_by_hand():
    z = EncoderFeatures(summary)(X)
    seed = seeds_from(0, 1)[0]
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, random_state=seed)).fit(z, y)
    np.testing.assert_array_equal(CASES[1].fit(X, y).predict_proba(X), linear.predict_proba(z))
    forest = ExtraTreesClassifier(10, criterion='entropy', max_features='sqrt', random_state=seed).fit(z, y)
    np.testing.assert_array_equal(CASES[2].fit(X, y).predict_proba(X), forest.predict_proba(z))
    scaler = StandardScaler().fit(z)
    theirs = RidgeClassifierCV(alphas=np.logspace(-3, 3, 10)).fit(scaler.transform(z).astype(np.float64), y)
    mine = CASES[0].fit(X, y)
    assert mine.head_.alpha_ == pytest.approx(theirs.alpha_)
    np.testing.assert_allclose(mine.head_.decision_function(z), theirs.decision_function(scaler.transform(z)), atol=1e-3)
    reg, other = CASES[3].fit(X, numbers), RidgeCV(alphas=np.logspace(-3, 3, 10)).fit(scaler.transform(z).astype(np.float64), numbers)
    np.testing.assert_allclose(reg.predict(X), other.predict(scaler.transform(z)), rtol=1e-3, atol=1e-3*np.abs(numbers).max())


@pytest.mark.parametrize('est', CASES, ids=lambda o: f'{type(o).__name__}-{o.head}')
def test_weights_of_zero_leave_series_out(est):
    t, w = (y if est.classes else numbers), np.ones(N)
    w[::5] = 0
    a = clone(est).fit(X, t, sample_weight=w).predict(X)
    b = clone(est).fit(X[w > 0], t[w > 0], sample_weight=w[w > 0]).predict(X)
    np.testing.assert_array_equal(a, b) if est.classes else np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_class_without_weight():
    t, w = np.where(np.arange(N) == 3, 'z', y), np.ones(N)
    w[3] = 0
    est = TSEncoderClassifier(summary, **FAST).fit(X, t, sample_weight=w)
    p = est.predict_proba(X)
    assert list(est.classes_) == sorted({*y, 'z'}) and (p[:, -1] == 0).all() and p.shape[1] == len(est.classes_)


def test_search_uses_the_cache(tmp_path):
    seen = []
    def enc(x): seen.append(len(x)); return summary(x)
    est = TSEncoderClassifier(enc, cache=tmp_path, encoder_id='1', **FAST)
    GridSearchCV(est, dict(head=['ridge', 'linear', 'forest']), cv=2).fit(X, y)
    assert sum(seen) == 2*N and len(list(tmp_path.iterdir())) == 3        # two halves, which take turns as training and test series, and all


def test_clones_of_transformers():
    pca = PCA(4).fit(X[:, 0])
    TSEncoderClassifier(pca, by_channel=True).fit(X, y)
    with pytest.raises(ValueError, match='FrozenEstimator'): clone(TSEncoderClassifier(pca, by_channel=True)).fit(X, y)
    clone(TSEncoderClassifier(FrozenEstimator(pca), by_channel=True)).fit(X, y)


def test_encoders_of_networks_travel(tmp_path):
    est = TSEncoderClassifier(net(), by_channel=True, **FAST).fit(X, y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(est)).predict_proba(X), est.predict_proba(X))
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: est.predict_proba(X), range(8)): np.testing.assert_array_equal(got, est.predict_proba(X))


def test_single_channels_of_a_network(tmp_path):
    "With by_channel, networks of one channel and bundles of them take the channels one by one"
    net = GRU(1, 3, hidden_size=4).eval()
    want = np.concatenate([EncoderFeatures(net, device='cpu')(X[:, i:i + 1]) for i in range(X.shape[1])], 1)
    np.testing.assert_allclose(EncoderFeatures(net, True, device='cpu')(X), want, atol=1e-6)
    learn = ts_learner(get_ts_dls(X[:, :1], y, splits=(range(20), range(20, N)), bs=10, device='cpu'), net)
    p = load_bundle(learn.save_bundle(tmp_path/'b', encoder_only=True))
    for o in (p, p.pipeline, p.model): np.testing.assert_allclose(EncoderFeatures(o, True, device='cpu')(X), want, atol=1e-5)
    with pytest.raises(ValueError, match='learn.model'): EncoderFeatures(learn)


def test_linear_head_and_processes():
    "`n_jobs` is for forests: scikit-learn warns of it in a linear head"
    assert TSEncoderClassifier(summary, 'linear', n_jobs=1).fit(X, y).predict(X).shape == (N,)


def test_messages():
    with pytest.raises(NotFittedError): TSEncoderClassifier(summary).predict(X)
    with pytest.raises(ValueError, match='Pass one'): TSEncoderTransformer().fit(X)
    with pytest.raises(ValueError, match='batch_size is 0'): TSEncoderClassifier(summary, batch_size=0).fit(X, y)
    with pytest.raises(ValueError, match='limit is 0'): TSEncoderClassifier(summary, cache='x', cache_limit=0, encoder_id='1').fit(X, y)
    with pytest.raises(ValueError, match='channels'): TSEncoderClassifier(summary).fit(X, y).predict(X[:, :1])
    with pytest.raises(AttributeError): TSEncoderClassifier(summary, RidgeClassifierCV()).fit(X, y).predict_proba(X)
