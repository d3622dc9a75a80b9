"Bundles are loaded and predicted with from many threads at once: same numbers, and nothing that belongs to the process is touched"
import functools, random, sys, threading, warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from tsfast.data.core import get_ts_dls
from tsfast.data.preprocessing import TSClip, TSNan2Value, TSStandardize
from tsfast.deploy import to_predictor
from tsfast.inference import Predictor, load_bundle
from tsfast.learner import ts_learner

THREADS = 8
N, C, L = 24, 2, 20
rng = np.random.default_rng(0)
X = rng.normal(2, 3, size=(N, C, L)).astype(np.float32)
X[::5, 0, 3] = np.nan
y = np.array(['no', 'yes'])[np.arange(N) % 2]
splits = range(16), range(16, N)
SMALL = {'FCN': dict(layers=[4, 6], kss=[3, 3]), 'XceptionTime': dict(nf=2), 'TST': dict(d_model=8, d_ff=8, n_heads=2, n_layers=1), 'LSTM': dict(hidden_size=8),
         'MiniRocket': dict(num_features=168), 'HydraPlus': dict(k=2, g=2, random_state=0), 'MultiRocketHydra': dict(num_features=672, k=2, g=2, random_state=0)}


@pytest.fixture(scope='module', params=SMALL)
def bundle(request, tmp_path_factory):
    dls = get_ts_dls(X, y, splits=splits, batch_tfms=[TSStandardize(by_var=True), TSClip(-3, 3), TSNan2Value()], bs=8)
    learn = ts_learner(dls, request.param, seed=0, **SMALL[request.param])
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    return learn.save_bundle(tmp_path_factory.mktemp('bundles')/'b')

def at_once(f, times=2):
    "What `f` gives in each of eight threads that start together, some times over"
    start, before = threading.Barrier(THREADS), sys.getswitchinterval()
    def work(i):
        start.wait()
        return [f(i) for _ in range(times)]
    sys.setswitchinterval(1e-4)     # change threads in the middle of everything
    try:
        with ThreadPoolExecutor(THREADS) as pool: return [o for rs in pool.map(work, range(THREADS)) for o in rs]
    finally: sys.setswitchinterval(before)

def process_state():
    "What all threads share"
    return dict(random=random.getstate(), numpy=str(np.random.get_state()), torch=torch.get_rng_state().tolist(), filters=list(warnings.filters), threads=torch.get_num_threads(),
                grad=torch.is_grad_enabled(), dtype=torch.get_default_dtype())

def numbers(p, bs=5): return [p(X, bs=bs), torch.from_numpy(p.embeddings(X, bs=bs)), p.predict(X, bs=bs).tolist(), p.predict_proba(X, bs=bs).tolist()]
def equal(a, b): return all(torch.equal(u, v) if isinstance(u, torch.Tensor) else u == v for u, v in zip(a, b))


def test_eight_threads_load_and_predict(bundle):
    want, state = numbers(Predictor(bundle)), process_state()
    got = at_once(lambda i: numbers(load_bundle(bundle)))
    assert process_state() == state
    assert len(got) == 2*THREADS and all(equal(o, want) for o in got)

def test_eight_threads_share_a_predictor(bundle):
    p = Predictor(bundle)
    want, state = numbers(p), process_state()
    assert all(equal(o, want) for o in at_once(lambda i: numbers(p)))
    assert process_state() == state and not any(m.training for m in p.pipeline.modules())

def test_a_model_that_is_trained_meanwhile_keeps_its_mode(bundle):
    "Some modules in training mode, as fine-tuning leaves them: no thread sees another mode, and all predict as in evaluation"
    p = Predictor(bundle)
    want = numbers(p)
    p.model.train()
    next(p.model.children()).eval()
    modes = [m.training for m in p.pipeline.modules()]
    seen = []
    def watch(i):
        if i == 0: seen.append([m.training for m in p.pipeline.modules()])
        return numbers(p)
    assert all(equal(o, want) for o in at_once(watch))
    assert all(o == modes for o in seen) and [m.training for m in p.pipeline.modules()] == modes

def test_weights_that_change_are_seen(tmp_path):
    "Predictions in the middle of training use the weights of that moment, not a copy of older ones"
    dls = get_ts_dls(X, y, splits=splits, batch_tfms=[TSStandardize(), TSNan2Value()], bs=8)
    p = to_predictor(ts_learner(dls, 'FCN', seed=0, **SMALL['FCN']))
    before = p(X)
    p.model.train()
    with torch.no_grad(): p.model.fc.bias += torch.tensor([1., -1.])
    lock, calls = threading.Lock(), []       # a hook is no part of the model, and may hold what cannot be copied
    p.model.fc.register_forward_hook(functools.partial(lambda lock, *args: calls.append(lock.locked()), lock))
    after = p(X)
    assert calls and not torch.allclose(before, after)
    p.model.eval()
    assert torch.equal(p(X), after)

def test_other_threads_draw_their_own_numbers(bundle):
    "A thread that draws while others load bundles gets the numbers of its own seed"
    def draws(): return [random.random() for _ in range(3)], np.random.rand(3).tolist(), torch.rand(3).tolist()
    def seed(): random.seed(3); np.random.seed(3); torch.manual_seed(3)
    seed()
    want = [draws() for _ in range(8)]
    seed()
    got = []
    def work(i):
        if i: load_bundle(bundle)
        else: got.append(draws())
    at_once(work, times=8)
    assert got == want
