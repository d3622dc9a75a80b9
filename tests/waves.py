"Series that the tests of estimators share: noise, and a wave whose frequency is that of its class and whose height is the number to predict"
import numpy as np

N, C, L = 48, 2, 20
rng = np.random.default_rng(0)
kind, height = rng.integers(0, 3, N), rng.uniform(1, 3, N)
X = (height[:, None, None] * np.sin(np.arange(L) * (0.4 + 0.6*kind[:, None]))[:, None] + 0.1*rng.normal(size=(N, C, L))).astype(np.float32)
y = np.array(['a', 'b', 'c'])[kind]
numbers = 5 - 2*height
