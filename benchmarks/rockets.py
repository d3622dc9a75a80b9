"""The transforms of MiniRocket, MultiRocket and Hydra beside those of aeon, sktime and tsai, on the CPU: seconds and memory.

    python -m benchmarks.rockets [--threads 1] [--repeats 3] [--shapes 884x1x136] [--no-peers]

aeon and tsai are installed into virtual environments of their own on the first run; sktime is a dependency. Each transform of each
library has a process of its own, for its memory; they take turns, and the figure is the median over the repeats, after a first round that
does not count (it compiles). `cpu_times_tsfast` compares the time that the processes had a core: on a busy machine it is the fairer
figure. `added_mb` is by how much fitting, compiling and transforming raise the peak memory over that of the imports, which belong to the
builds that are installed. tsai's MiniRocket is its own, in torch; the other one that tsai offers is sktime's. Two rows more tell how long
the first call takes with an empty cache of compiled code, and in a second process."""
import argparse, sys, tempfile
from benchmarks.common import Worker, in_turns, median, peer, ratio, write

QUICK = ['--repeats', '1', '--no-peers', '--shapes', '200x6x100']
SHAPES = ['884x1x136', '1000x1x500', '200x6x100']

DATA = '''
import numpy as np
n, C, L = config['shape']
def serve_one(make):
    global base
    base = peak_mb()
    f = make()
    def once(): f(); return 1
    serve({config['name']: once})
X = np.random.default_rng(0).standard_normal((n, C, L)).astype('float32')
'''
TORCH = DATA + '''
import torch
torch.set_num_threads(config['threads'])
x = torch.from_numpy(X)
torch.set_grad_enabled(False)
'''
TSFAST = TORCH + '''
from tsfast.models.hydra import HydraBackbonePlus
from tsfast.models.minirocket import MiniRocketFeatures
from tsfast.models.multirocket import MultiRocketFeatures
def make():
    kw = dict(random_state=0, backend=config['backend'])
    if config['transform'] == 'Hydra': m = HydraBackbonePlus(C, 2, L, **kw)
    else: m = dict(MiniRocket=MiniRocketFeatures, MultiRocket=MultiRocketFeatures)[config['transform']](C, L, **kw).fit(X)
    return lambda: m(x)
serve_one(make)
'''
AEON = DATA + '''
from aeon.transformations.collection import convolution_based as room
def make():
    cls = getattr(room, dict(Hydra='HydraTransformer').get(config['transform'], config['transform']))
    m = cls(n_jobs=config['threads'], random_state=0).fit(X)
    return lambda: m.transform(X)
serve_one(make)
'''
SKTIME = DATA + '''
from sktime.transformations import rocket
def make():
    m = getattr(rocket, config['transform'] + 'Multivariate'*(C > 1))(random_state=0, n_jobs=config['threads'])
    Z = X.astype('float64') if config['transform'] == 'MultiRocket' and C > 1 else X
    m.fit(Z)
    return lambda: m._transform(Z)      # without the conversions around it
serve_one(make)
'''
TSAI = TORCH + '''
from tsai.models.HydraPlus import HydraBackbonePlus
from tsai.models.MINIROCKET_Pytorch import MiniRocketFeatures, get_minirocket_features
def make():
    if config['transform'] == 'Hydra': m = HydraBackbonePlus(C, 2, L); return lambda: m(x)
    m = MiniRocketFeatures(C, L, random_state=0); m.fit(X)
    return lambda: get_minirocket_features(X, m, use_cuda=False)
serve_one(make)
'''
# library: (its code, the transforms it has)
CONTENDERS = {'tsfast': (TSFAST, ('MiniRocket', 'MultiRocket', 'Hydra')), 'tsfast, plain torch': (TSFAST, ('MiniRocket', 'Hydra')),
              'aeon': (AEON, ('MiniRocket', 'MultiRocket', 'Hydra')), 'sktime': (SKTIME, ('MiniRocket', 'MultiRocket')),
              'tsai': (TSAI, ('MiniRocket', 'Hydra'))}


def start(exe, code, library, transform, shape, threads, **env):
    config = dict(name=f'{library}: {transform}', transform=transform, shape=shape, threads=threads,
                  backend='torch' if 'torch' in library else 'auto')
    return Worker(exe, code, config, threads, own=library.startswith('tsfast'), **env)


def measure(python, shape, threads, repeats):
    "Rows of one shape"
    workers = {(lib, what): start(python[lib], code, lib, what, shape, threads) for lib,
               (code, has) in CONTENDERS.items() if lib in python for what in has}
    ready = {k: w.read() for k, w in workers.items()}
    turns = in_turns([(w, ready[k]['ready']) for k, w in workers.items()], repeats)
    for w in workers.values(): w.close()
    rows = []
    for (lib, what), w in sorted(workers.items(), key=lambda o: o[0][1]):
        t, own = turns[f'{lib}: {what}'], turns[f'tsfast: {what}']
        rows.append(dict(transform=what, shape=' x '.join(map(str, shape)), threads=threads, library=lib, seconds=f'{median(t):.4f}',
                         times_tsfast=f'{ratio(t, own):.2f}',
                         cpu_times_tsfast=f'{ratio(t, own, 1):.2f}', added_mb=w.added_mb, repeats=repeats,
                         versions=' '.join(f'{k} {v}' for k, v in ready[lib, what]['versions'].items())))
    return rows


def first_calls():
    "How long the first call takes where nothing is compiled yet, and where another process has done so"
    with tempfile.TemporaryDirectory() as cache:
        for what in ('empty cache', 'second process'):
            w = start(sys.executable, TSFAST, 'tsfast', 'MiniRocket', (16, 1, 136), 1, NUMBA_CACHE_DIR=cache)
            name, = w.read()['ready']
            yield dict(transform=f'MiniRocket, first call, {what}', shape='16 x 1 x 136', threads=1, library='tsfast',
                       seconds=f'{w.run(name)[0]:.3f}', repeats=1)
            w.close()


def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks.rockets', description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--threads', type=int, nargs='+', default=[1]); p.add_argument('--repeats', type=int, default=3)
    p.add_argument('--shapes', nargs='+', default=SHAPES, help='series x channels x steps')
    p.add_argument('--no-peers', action='store_true', help='without aeon and tsai, which need environments of their own')
    a = p.parse_args(argv)
    python = dict.fromkeys(('tsfast', 'tsfast, plain torch', 'sktime'), sys.executable)
    if not a.no_peers: python |= {k: e for k in ('aeon', 'tsai') if (e := peer(k))}
    rows = [r for shape in a.shapes for threads in a.threads
            for r in measure(python, tuple(map(int, shape.split('x'))), threads, a.repeats)]
    write('rockets', rows + list(first_calls()))


if __name__ == '__main__': main()
