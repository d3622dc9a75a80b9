"""How time grows with the number of series, of channels and of steps: the rocket transforms beside aeon's, an epoch of InceptionTime beside
the loop by hand, and prediction.

    python -m benchmarks.growth [--repeats 3] [--threads 1] [--no-peers]

Each of the three sizes grows while the others stay: 64 series, 1 channel, 64 steps. All contenders of a size take turns; the figure is
the median over the repeats, after a first round that does not count. `results/growth.svg` shows them on logarithmic axes, where a slope
of 1 is growth in proportion."""
import argparse, csv, sys
from benchmarks.common import RESULTS, Worker, in_turns, median, peer, ratio, write

QUICK = ['--repeats', '1']
BASE = dict(series=64, channels=1, steps=64)
SIZES = dict(series=(64, 256, 1024), channels=(1, 8, 64), steps=(64, 256, 1024))

DATA = '''
import numpy as np
X = np.random.default_rng(0).standard_normal((config['series'], config['channels'], config['steps'])).astype('float32')
def once(f): return lambda: (f(), 1)[1]
'''

TSFAST = DATA + '''
import torch
from fastai.learner import Learner
from tsfast.data.core import get_ts_dls
from tsfast.data.preprocessing import TSStandardize
from tsfast.learner import ts_learner
from tsfast.models.hydra import HydraBackbonePlus
from tsfast.models.inception_time import InceptionTime
from tsfast.models.minirocket import MiniRocketFeatures
from tsfast.models.multirocket import MultiRocketFeatures
torch.set_num_threads(config['threads'])
n, C, L = X.shape
x, y = torch.from_numpy(X), np.arange(n) % 2
mini, multi = MiniRocketFeatures(C, L, random_state=0).fit(X), MultiRocketFeatures(C, L, random_state=0).fit(X)
hydra = HydraBackbonePlus(C, 2, L, random_state=0)

dls = get_ts_dls(np.concatenate([X, X[:2]]), np.arange(n + 2) % 2, splits=(range(n), range(n, n + 2)),
                 batch_tfms=TSStandardize(by_var=True), bs=64)
learn = ts_learner(dls, InceptionTime, seed=0)
def epoch():
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)

model, loss = InceptionTime(C, 2), torch.nn.CrossEntropyLoss()
opt, t = torch.optim.AdamW(model.parameters(), 1e-3), torch.from_numpy(y)
z = (x - x.mean((0, 2), keepdim=True)) / x.std((0, 2), keepdim=True)
def by_hand():
    model.train()
    order = torch.randperm(n)
    for i in range(0, n - n % 64, 64):
        b = order[i:i + 64]
        opt.zero_grad(); loss(model(z[b]), t[b]).backward(); opt.step()

def predict():
    with learn.no_bar(): learn.get_X_preds(X, bs=256, with_decoded=False)

def quiet(f):
    def g():
        with torch.no_grad(): f()
    return once(g)
serve({'MiniRocket': quiet(lambda: mini(x)), 'MultiRocket': quiet(lambda: multi(x)), 'Hydra': quiet(lambda: hydra(x)),
       'InceptionTime, epoch': once(epoch), 'InceptionTime, epoch by hand': once(by_hand), 'InceptionTime, prediction': once(predict)})
'''

AEON = DATA + '''
from aeon.transformations.collection.convolution_based import HydraTransformer, MiniRocket, MultiRocket
fs = {'MiniRocket, aeon': MiniRocket, 'MultiRocket, aeon': MultiRocket, 'Hydra, aeon': HydraTransformer}
fs = {k: f(n_jobs=config['threads'], random_state=0).fit(X) for k, f in fs.items()}
serve({k: once(lambda f=f: f.transform(X)) for k, f in fs.items()})
'''

BESIDE = {'InceptionTime, epoch by hand': 'InceptionTime, epoch', 'MiniRocket, aeon': 'MiniRocket', 'MultiRocket, aeon': 'MultiRocket',
          'Hydra, aeon': 'Hydra'}


def measure(size, threads, repeats, aeon):
    "Seconds of every contender for data of one size"
    config = dict(size, threads=threads)
    workers = [Worker(sys.executable, TSFAST, config, threads)] + ([Worker(aeon, AEON, config, threads, own=False)] if aeon else [])
    res = in_turns([(w, w.read()['ready']) for w in workers], repeats)
    for w in workers: w.close()
    return res


def rows_of(what, size, turns):
    return [dict(grows=what, **size, contender=k, seconds=f'{median(v):.4f}',
                 times_tsfast=f'{ratio(v, turns[BESIDE[k]]):.2f}' if k in BESIDE else '') for k, v in turns.items()]


def draw(rows, file):
    "A panel for each size that grows; colours are methods, lines are libraries"
    import matplotlib; matplotlib.use('svg')
    import matplotlib.pyplot as plt
    plt.rcParams['svg.hashsalt'] = 'growth'      # the same rows give the same file
    fig, axs = plt.subplots(1, len(SIZES), figsize=(11, 4), sharey=True, layout='constrained')
    method = lambda name: name if 'prediction' in name else name.split(',')[0]
    methods = list(dict.fromkeys(method(r['contender']) for r in rows))
    for ax, what in zip(axs, SIZES):
        for name in dict.fromkeys(r['contender'] for r in rows):
            pts = [(int(r[what]), float(r['seconds'])) for r in rows if r['grows'] == what and r['contender'] == name]
            if pts: ax.plot(*zip(*pts), color=f'C{methods.index(method(name))}', ls='--' if name in BESIDE else '-', marker='o', ms=4,
                            label=name)
        ax.set(xscale='log', yscale='log', xlabel=what, xticks=SIZES[what], xticklabels=SIZES[what]); ax.minorticks_off(); ax.grid(alpha=.3)
    axs[0].set_ylabel('seconds')
    fig.legend(*axs[0].get_legend_handles_labels(), loc='outside right center', frameon=False, fontsize=8)
    fig.savefig(file, metadata=dict(Date=None)); plt.close(fig)


def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks.growth', description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--repeats', type=int, default=3); p.add_argument('--threads', type=int, default=1)
    p.add_argument('--no-peers', action='store_true', help='without aeon')
    p.add_argument('--render', action='store_true', help='only draw the rows that are stored')
    a = p.parse_args(argv)
    if not a.render:
        aeon, rows = None if a.no_peers else peer('aeon'), []
        for what, sizes in SIZES.items():
            for v in sizes: rows += rows_of(what, {**BASE, what: v}, measure({**BASE, what: v}, a.threads, a.repeats, aeon))
        write('growth', rows, threads=a.threads, repeats=a.repeats)
    with open(RESULTS/'growth.csv', newline='') as f: draw(list(csv.DictReader(f)), RESULTS/'growth.svg')


if __name__ == '__main__': main()
