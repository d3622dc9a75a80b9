"QUANT: equal to a literal form with numpy, whatever the length, the batch, the dtype or the form of export"
import io

import numpy as np
import pytest
import torch

from helpers_models import normal
from tsfast.models.quant import Quant, QuantFeatures, interval_bounds


def literal_intervals(L, depth):
    "The steps of each interval, in the order of the features"
    res = []
    for level in range(min(depth, int(np.floor(np.log2(L))) + 1)):
        parts = [np.arange(i*L//2**level, (i + 1)*L//2**level) for i in range(2**level)]
        median = np.sort([len(o) for o in parts])[(len(parts) - 1)//2]
        res += parts
        if level > 0 and median > 1: res += [o + int(np.ceil(median/2)) for o in parts[:-1]]
    return sorted(res, key=lambda o: (-len(o), o[0]))


def literal(X, depth=6, div=4):
    "QUANT's features of series (n, C, L), word for word, in float64"
    X, out = X.astype(np.float64), []
    diff = np.diff(X)
    forms = [X, np.abs(np.fft.rfft(X))]
    if X.shape[2] > 2: forms.insert(1, np.diff(X, 2))
    if X.shape[2] > 1:
        padded = np.concatenate([diff[..., :1]]*2 + [diff] + [diff[..., -1:]]*2, -1)
        forms.insert(1, sum(padded[..., i:i + diff.shape[-1]] for i in range(5))/5)
    for form in forms:
        for c in range(X.shape[1]):
            for steps in literal_intervals(form.shape[-1], depth):
                z = form[:, c, steps]
                k = 1 + (len(steps) - 1)//div
                q = np.quantile(z, np.linspace(0, 1, k) if k > 1 else [.5], axis=1)
                q[1::2] -= z.mean(1)
                out.append(q.T)
    return np.concatenate(out, 1)


@pytest.mark.parametrize('C', [1, 3])
@pytest.mark.parametrize('L', [*range(1, 14), 17, 31, 32, 33, 64, 100, 251])
def test_literal(C, L):
    X = normal(4, C, L)
    ref = literal(X)
    m = QuantFeatures(C, L)
    assert m.num_features == ref.shape[1]
    np.testing.assert_allclose(m(torch.from_numpy(X)).numpy(), ref, atol=1e-5*max(1, np.abs(ref).max()))
    np.testing.assert_allclose(m(torch.from_numpy(X).double()).numpy(), ref, atol=1e-10)


@pytest.mark.parametrize('depth,div', [(1, 1), (3, 2), (8, 4), (6, 100)])
def test_arguments(depth, div):
    X = normal(3, 2, 300)
    np.testing.assert_allclose(QuantFeatures(2, 300, depth, div)(torch.from_numpy(X).double()).numpy(), literal(X, depth, div), atol=1e-9)


def test_intervals():
    "Each level covers the series without gaps, and the shifted intervals lie inside it"
    for L in range(1, 400):
        bounds = interval_bounds(L)
        assert all(0 <= a < b <= L for a, b in bounds) and bounds[0] == (0, L)
        if L >= 32: assert {t for a, b in bounds if b - a <= L//32 + 1 for t in range(a, b)} == set(range(L))


def test_strange_series():
    "Constant series, and values with a large offset, which must not disturb the differences"
    m = QuantFeatures(1, 40)
    z = m(torch.full((2, 1, 40), 3.)).split([o.num_features for o in m.intervals], 1)
    assert z[0].unique().tolist() == [0, 3] and not z[1].any() and not z[2].any() and z[3].isfinite().all() and z[3].max() == 120
    X = normal(3, 1, 40)
    np.testing.assert_allclose(QuantFeatures(1, 40)(torch.from_numpy(X + 1000).double()).numpy(), literal(X + 1000), atol=1e-8)


@pytest.mark.parametrize('L', [1, 2, 3, 30, 1500])
def test_exported_program(L):
    "The spectrum of an exported model comes from matrices, in several blocks for long series: the numbers are the same"
    m, x = Quant(2, 3, L).eval(), torch.from_numpy(normal(5, 2, L))
    for p in m.parameters(): torch.nn.init.normal_(p, std=.01)
    m.fit(x)
    program = torch.export.export(m, (x,), dynamic_shapes=({0: torch.export.Dim('batch', min=1, max=4096)},))
    f = io.BytesIO(); torch.export.save(program, f); f.seek(0)
    with torch.no_grad(): torch.testing.assert_close(torch.export.load(f).module()(x[:3]), m(x[:3]), atol=1e-4, rtol=1e-4)


def test_gradients():
    "Where a graph is recorded, torch sorts: the gradient is that of finite differences"
    x = torch.from_numpy(normal(2, 2, 12)).double().requires_grad_()
    assert torch.autograd.gradcheck(QuantFeatures(2, 12), x)


def test_chunks_and_missing_values():
    X = normal(9, 2, 50)
    m = Quant(2, 3, 50).fit(X)
    torch.testing.assert_close(m.features(X, chunksize=2), m.features(X), atol=1e-5, rtol=1e-5)
    X[4, 1, 3] = np.nan
    for call in (m.fit, m.features):
        with pytest.raises(ValueError, match='1 of the series 0 to 8 have NaN'): call(X)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_cuda():
    X = torch.from_numpy(normal(6, 3, 200))
    torch.testing.assert_close(QuantFeatures(3, 200).cuda()(X.cuda()).cpu(), QuantFeatures(3, 200)(X), atol=1e-4, rtol=1e-4)
