"Runs one notebook. This is a separate module, because a running notebook replaces `__main__`"
import builtins, time, warnings
from pathlib import Path

root = Path(__file__).resolve().parents[1]


def set_filters():
    "Warnings are errors, as in the tests, with the exceptions in pyproject.toml"
    import tomllib
    for f in tomllib.loads((root/'pyproject.toml').read_text())['tool']['pytest']['ini_options']['filterwarnings']:
        action, _, rest = f.partition(':')
        msg, _, cat = rest.rpartition(':')
        warnings.filterwarnings(action, msg, getattr(builtins, cat, Warning))


def run_notebook(path):
    "Run the notebook at `path`, and store the outputs in it"
    import random, numpy as np, torch, matplotlib.pyplot as plt
    from nbdev.test import test_nb
    for seed in (random.seed, np.random.seed, torch.manual_seed): seed(0)
    start = time.time()
    with warnings.catch_warnings(), plt.rc_context({'figure.max_open_warning': 0}):
        set_filters()
        ok, _ = test_nb(path, skip_flags=['slow'], basepath=root, save=True, cell_timeout=300)
    plt.close('all')
    return path, ok, time.time() - start
