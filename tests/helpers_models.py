"What the tests of models share"
from itertools import combinations

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode


def normal(*shape): return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def series(*shape, seed=0): return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def literal_outputs(X, m):
    "For each feature of a fitted `m`: the convolution that it looks at, (n, steps), less its bias, as a weighted sum of nine steps in float64"
    channels, biases, f, L = m.channels.numpy(), m.biases.numpy().astype(np.float64), 0, X.shape[2]
    for i, (d, per) in enumerate(zip(m.dilations, m.per_dilation)):
        padded = np.pad(X.astype(np.float64), ((0, 0), (0, 0), (4*d, 4*d)))
        for k, twos in enumerate(combinations(range(9), 3)):
            xs = padded[:, channels[84*i + k]].sum(1)
            c = sum((2 if j in twos else -1) * xs[:, j*d:j*d + L] for j in range(9))
            if (i + k) % 2: c = c[:, 4*d:L - 4*d]
            for bias in biases[f:f + per]: yield c - bias
            f += per


def assert_features_agree(a, b, tol=1e-5, most=1e-3):
    """Features of ROCKETs agree to `tol`, but for a share `most` of them.

    They are counts of comparisons. Across batch sizes, thread counts and processors a sum may be rounded otherwise,
    and then a value that lies within rounding of its threshold falls on the other side."""
    a, b = (o.detach().numpy() if isinstance(o, torch.Tensor) else np.asarray(o) for o in (a, b))
    assert a.shape == b.shape
    differs = ~np.isclose(a, b, atol=tol, rtol=tol)
    assert differs.mean() <= most, f'{differs.mean():.2%} of the features differ, by at most {np.abs(a - b).max()}'


def sizes_of(f):
    "Numbers of elements of all tensors that are made"
    sizes = []
    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            sizes.extend(o.numel() for o in (out if isinstance(out, (tuple, list)) else [out]) if isinstance(o, torch.Tensor))
            return out
    with Sizes(): f()
    return sizes
