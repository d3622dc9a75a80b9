"MultiRocket: equal to a literal form and, where it follows the paper, to sktime"
import copy, pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers_models import literal_outputs, normal
from tsfast.models.multirocket import MultiRocket, MultiRocketFeatures, pool_torch

BACKENDS = ['torch', 'numba']


def literal_pool(z):
    "PPV, MPV, MIPV, LSPV of one series, word for word"
    at = [i for i, v in enumerate(z) if v > 0]
    run = best = 0
    for v in z:
        run = run + 1 if v > 0 else 0
        best = max(best, run)
    return len(at) / len(z), np.mean([z[i] for i in at]) if at else 0, np.mean(at) if at else -1, best


def literal(X, part):
    "MultiRocket's features of one representation, (n, 4, features), and how near the nearest output lies to each bias"
    pools, gap = zip(*(([literal_pool(z) for z in c], np.abs(c).min(1)) for c in literal_outputs(X, part)))
    return np.array(pools).transpose(1, 2, 0), np.stack(gap, 1)


def test_pool():
    z = torch.tensor(normal(5, 7, 30)); z[0, 0] = -1; z[0, 1] = 1
    got = torch.stack(pool_torch(z), -1).numpy()
    np.testing.assert_allclose(got, [[literal_pool(r) for r in row] for row in z.numpy()], atol=1e-5)


@pytest.mark.parametrize('C,L', [(1, 10), (1, 40), (3, 25)])
def test_literal(C, L):
    X = normal(5, C, L)
    m = MultiRocketFeatures(C, L, 1400, random_state=0).fit(X[:4])
    refs = [literal(X, m.raw), literal(np.diff(X), m.diff)]
    ref = np.concatenate([r.reshape(5, -1) for r, _ in refs], 1)
    gap = np.concatenate([np.repeat(g[:, None], 4, 1).reshape(5, -1) for _, g in refs], 1)
    for m.backend in BACKENDS:
        z = m(torch.from_numpy(X)).numpy()
        differs = ~np.isclose(z, ref, atol=1e-4)
        assert differs.mean() < .01 and (not differs.any() or gap[differs].max() < 1e-4)


STORED = Path(__file__).parent/'data'/'multirocket_sktime.npz'

def store_sktime():
    "Features of sktime 1.2, for `test_sktime`; its kernels take minutes to compile, so they are stored: `python tests/test_multirocket.py`"
    from sktime.transformations import rocket
    out = {}
    for C in (1, 4):
        X = normal(4, C, 31).astype(np.float64)
        theirs = (rocket.MultiRocket if C == 1 else rocket.MultiRocketMultivariate)(num_kernels=400, random_state=0).fit(
            X.astype(np.float32) if C == 1 else X)
        out[f'ref{C}'] = np.asarray(theirs.transform(X.astype(np.float32) if C == 1 else X)).astype(np.float32).reshape(4, 2, 4, -1)
        for k, p in (('raw', theirs.parameter), ('diff', theirs.parameter1)):
            for i, o in enumerate(p): out[f'{k}{C}_{i}'] = np.asarray(o)
    np.savez_compressed(STORED, **out)


@pytest.mark.parametrize('C', [1, 4])
def test_sktime(C):
    "The series' own features are sktime's; on differences, sktime shifts half of each kernel by a step too few, which is not in the paper"
    o, X = np.load(STORED), normal(4, C, 31)
    m = MultiRocketFeatures.from_parameters(C, 31, *(tuple(o[f'{k}{C}_{i}'] for i in range(3 if C == 1 else 5)) for k in ('raw', 'diff')))
    ref, bias = o[f'ref{C}'], m.raw.biases.numpy()
    assert m(torch.from_numpy(X)).shape == (4, ref[0].size)
    for m.backend in BACKENDS:
        ppv, mpv, mipv, lspv = np.moveaxis(m(torch.from_numpy(X)).numpy().reshape(4, 2, 4, -1)[:, 0], 1, 0)
        same = lambda a, b: np.isclose(a, b, atol=1e-3).mean() > 1 - 1e-3
        assert same(ppv, ref[:, 0, 0]) and same(mipv, ref[:, 0, 3])
        assert same(np.where(ppv > 0, mpv + 2*bias, 0), ref[:, 0, 2])      # sktime adds the bias where the paper subtracts it
        assert (np.abs(ref[:, 0, 1] - lspv) <= 1).mean() > 1 - 1e-3        # and counts to the step after a stretch, or from the one before


def test_state():
    X = normal(12, 2, 30); x = torch.from_numpy(X)
    m = MultiRocket(2, 3, 30, 1400, random_state=0)
    with pytest.raises(ValueError, match='not fitted'): m(x)
    m.fit(X)
    for p in m.parameters(): torch.nn.init.normal_(p, std=.1)
    m.eval(); y = m(x).detach()
    fresh = MultiRocket(2, 3, 30, 1400).eval(); fresh.load_state_dict(m.state_dict())
    for o in (fresh, copy.deepcopy(m), pickle.loads(pickle.dumps(m))): assert o.fitted and torch.equal(o(x).detach(), y)
    again = MultiRocket(2, 3, 30, 1400, random_state=0).fit(list(x.split(5)), chunksize=3)
    for k in ('raw', 'diff'): assert torch.equal(getattr(again.backbone, k).biases, getattr(m.backbone, k).biases)
    d = copy.deepcopy(m).double()
    assert d(x.double()).isfinite().all() and d.backbone(x.double()).dtype == torch.float64
    assert m.backbone(x[:0]).shape == (0, m.head_nf)


def test_errors_and_corners():
    with pytest.raises(ValueError, match='at least 10'): MultiRocket(1, 2, 9)
    with pytest.raises(ValueError, match='at least 672'): MultiRocketFeatures(1, 20, 600)
    with pytest.raises(ValueError, match='NaN'): MultiRocketFeatures(1, 20).fit(np.full((3, 1, 20), np.nan))
    assert MultiRocketFeatures(1, 100).num_features == 49_728
    X = np.ones((6, 1, 30), np.float32)
    m = MultiRocketFeatures(1, 30, 1400, random_state=0).fit(X)
    for m.backend in BACKENDS: assert m(torch.from_numpy(X)).isfinite().all()


if __name__ == '__main__': store_sktime()
