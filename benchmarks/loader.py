"""The loader beside indexing a tensor by hand, and beside tsai's loader: microseconds for each batch, on the CPU.

    python -m benchmarks.loader [--repeats 30] [--n 884] [--bs 64] [--channels 1] [--length 136] [--threads 1] [--no-peers]

By hand means: one random order an epoch, then `X[i], y[i]` for each batch; with arithmetic, `(X[i] - mean) / std`. Data is in memory,
shuffled, without worker processes. Goals: at most 3 times indexing without batch transforms, at most 5 times indexing and arithmetic with
TSStandardize. A contender of tsai is compared with indexing by hand in tsai's own environment, since that may have another torch. The
`ratio` is the median over turns; `cpu_ratio` counts only the time that the process had a core, which is the fairer figure on a busy
machine.
"""
import argparse, sys

from benchmarks.common import Worker, in_turns, median, peer, ratio, write

QUICK = ['--repeats', '30']

COMMON = '''
import numpy as np, torch
rng = np.random.default_rng(0)
n, bs, k = config['n'], config['bs'], config['epochs']
X = rng.normal(size=(n + bs, config['channels'], config['length'])).astype('float32'); y = rng.integers(0, 2, n + bs).astype(str)
splits = list(range(n)), list(range(n, n + bs))
Xt, yt = torch.from_numpy(X[:n]), torch.from_numpy((y[:n] == '1').astype('int64')); mean, std = Xt.mean(), Xt.std()
def by_hand(f):
    def run():
        b = 0
        for _ in range(k):
            for i in torch.randperm(n).split(bs):
                if len(i) == bs: f(i); b += 1
        return b
    return run
def loop(dl):
    def run():
        b = 0
        for _ in range(k):
            for xb, yb in dl: b += 1
        return b
    return run
def indexed(i): return Xt[i], yt[i]
def scaled(i): return (Xt[i] - mean) / std, yt[i]
'''
OWN = COMMON + '''
from tsfast.data.core import get_ts_dls
from tsfast.data.preprocessing import TSStandardize
dl = lambda t: get_ts_dls(X, y, splits=splits, batch_tfms=t, bs=bs, device='cpu').train
serve({'by hand': by_hand(indexed), 'tsfast': loop(dl(None)), 'by hand, scaled': by_hand(scaled),
       'tsfast, TSStandardize': loop(dl(TSStandardize())),
       'tsfast, TSStandardize(by_sample=True)': loop(dl(TSStandardize(by_sample=True)))})
'''
TSAI = COMMON + '''
from tsai.data.core import get_ts_dls, TSClassification
from tsai.data.preprocessing import TSStandardize
dl = lambda t: get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], batch_tfms=t, bs=bs, num_workers=0,
                          device=torch.device('cpu')).train
serve({'by hand (tsai)': by_hand(indexed), 'tsai': loop(dl(None)), 'by hand, scaled (tsai)': by_hand(scaled),
       'tsai, TSStandardize': loop(dl(TSStandardize()))})
'''

# contender: what it is compared with, and the goal
GOALS = {'tsfast': ('by hand', 3), 'tsfast, TSStandardize': ('by hand, scaled', 5),
         'tsfast, TSStandardize(by_sample=True)': ('by hand, scaled', None),
         'tsai': ('by hand (tsai)', None), 'tsai, TSStandardize': ('by hand, scaled (tsai)', None)}


def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks.loader', description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--repeats', type=int, default=100)
    p.add_argument('--n', type=int, default=884)
    p.add_argument('--bs', type=int, default=64); p.add_argument('--channels', type=int, default=1)
    p.add_argument('--length', type=int, default=136)
    p.add_argument('--epochs', type=int, default=3)
    p.add_argument('--threads', type=int, default=1); p.add_argument('--no-peers', action='store_true')
    a = p.parse_args(argv)
    workers = [(Worker(sys.executable, OWN, vars(a), a.threads), None)]
    exe = None if a.no_peers else peer('tsai')
    if exe: workers.append((Worker(exe, TSAI, vars(a), a.threads, own=False), None))
    ready = []
    for w, _ in workers:
        try: ready.append((w, w.read()['ready']))
        except OSError as e:
            if w is workers[0][0]: raise
            print(f'tsai is left out: {e}', file=sys.stderr)
    res = in_turns(ready, a.repeats, warm=2)
    for w, _ in ready: w.close()
    rows = []
    for n in sorted(res, key=lambda o: ('tsai' in o, o)):
        other, goal = GOALS.get(n, (None, None))
        rows.append(dict(loader=n, us_per_batch=f'{median(res[n])*1e6:.1f}', ratio=f'{ratio(res[n], res[other]):.2f}' if other else '',
                         cpu_ratio=f'{ratio(res[n], res[other], 1):.2f}' if other else '', to=other or '', goal=goal or ''))
    write('loader', rows, batch=f'{a.bs} x {a.channels} x {a.length}', n=a.n, threads=a.threads, repeats=a.repeats)


if __name__ == '__main__': main()
