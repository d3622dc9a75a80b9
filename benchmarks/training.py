"""An epoch of InceptionTime beside a loop written by hand in torch, and beside tsai: seconds, on the CPU.

    python -m benchmarks.training [--repeats 5] [--n 512] [--bs 64] [--length 136] [--threads 2] [--no-peers]

An epoch is training on n series and validation on n/4, with Adam and accuracy. The same network, optimiser and batches by hand and in
fastai; standardised series. Goal: at most 1.02 times the loop by hand. A contender of tsai is compared with the loop by hand over tsai's
own network, in its own environment. The `ratio` is the median over turns; `cpu_ratio` counts only the time that the process had a core,
which is the fairer figure on a busy machine.
"""
import argparse, sys

from benchmarks.common import Worker, in_turns, median, peer, ratio, write

QUICK = ['--repeats', '3', '--n', '256']

COMMON = '''
import numpy as np, torch
from torch.nn import functional as F
rng = np.random.default_rng(0)
n, m, bs = config['n'], config['n']//4, config['bs']
X = rng.normal(size=(n + m, 1, config['length'])).astype('float32'); y = rng.integers(0, 2, n + m).astype(str)
splits = list(range(n)), list(range(n, n + m))
Xt, yt = torch.from_numpy((X - X[:n].mean())/X[:n].std()), torch.from_numpy((y == '1').astype('int64'))
class ByHand:
    def __init__(self, model): self.model, self.opt = model, torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    def __call__(self):
        self.model.train()
        for i in torch.randperm(n).split(bs):
            if len(i) < bs: continue
            loss = F.cross_entropy(self.model(Xt[i]), yt[i])
            loss.backward(); self.opt.step(); self.opt.zero_grad()
        self.model.eval(); right = total = 0
        with torch.no_grad():
            for i in torch.arange(n, n + m).split(bs):
                out = self.model(Xt[i])
                total += F.cross_entropy(out, yt[i], reduction='sum').item()
                right += (out.argmax(1) == yt[i]).sum().item()
        return 1
def fastai_epoch(learn):
    learn.remove_cbs([o for o in learn.cbs if type(o).__name__ == 'ProgressCallback']); learn.logger = lambda *a, **k: None
    def run(): learn.fit(1, 1e-3); return 1
    return run
'''
OWN = COMMON + '''
from fastai.metrics import accuracy
from tsfast.data.core import get_ts_dls
from tsfast.data.preprocessing import TSStandardize
from tsfast.learner import ts_learner
from tsfast.models.inception_time import InceptionTime
dls = get_ts_dls(X, y, splits=splits, batch_tfms=TSStandardize(), bs=bs, device='cpu')
serve({'by hand': ByHand(InceptionTime(1, 2)), 'tsfast': fastai_epoch(ts_learner(dls, InceptionTime, metrics=accuracy))})
'''
TSAI = COMMON + '''
from fastai.metrics import accuracy
from tsai.data.core import get_ts_dls, TSClassification
from tsai.data.preprocessing import TSStandardize
from tsai.learner import ts_learner
from tsai.models.InceptionTime import InceptionTime
dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], batch_tfms=TSStandardize(), bs=bs, num_workers=0,
                 device=torch.device('cpu'))
serve({'by hand (tsai)': ByHand(InceptionTime(1, 2)), 'tsai': fastai_epoch(ts_learner(dls, InceptionTime, metrics=accuracy))})
'''
GOALS = {'tsfast': ('by hand', 1.02), 'tsai': ('by hand (tsai)', None)}


def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks.training', description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--repeats', type=int, default=9)
    p.add_argument('--n', type=int, default=512)
    p.add_argument('--bs', type=int, default=64); p.add_argument('--length', type=int, default=136)
    p.add_argument('--threads', type=int, default=2); p.add_argument('--no-peers', action='store_true')
    a = p.parse_args(argv)
    workers = [Worker(sys.executable, OWN, vars(a), a.threads)]
    exe = None if a.no_peers else peer('tsai')
    if exe: workers.append(Worker(exe, TSAI, vars(a), a.threads, own=False))
    ready = []
    for w in workers:
        try: ready.append((w, w.read()['ready']))
        except OSError as e:
            if w is workers[0]: raise
            print(f'tsai is left out: {e}', file=sys.stderr)
    res = in_turns(ready, a.repeats)
    for w, _ in ready: w.close()
    rows = []
    for n in sorted(res, key=lambda o: ('tsai' in o, o)):
        other, goal = GOALS.get(n, (None, None))
        rows.append(dict(epoch=n, seconds=f'{median(res[n]):.3f}', ratio=f'{ratio(res[n], res[other]):.3f}' if other else '',
                         cpu_ratio=f'{ratio(res[n], res[other], 1):.3f}' if other else '', to=other or '', goal=goal or ''))
    write('training', rows, series=f'{a.n} x 1 x {a.length}', bs=a.bs, threads=a.threads, repeats=a.repeats)


if __name__ == '__main__': main()
