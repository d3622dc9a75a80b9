"""An epoch of training beside a loop written by hand in torch, and beside tsai: seconds, on the CPU.

    python -m benchmarks.training [--repeats 9] [--n 256] [--threads 1] [--cases InceptionTime-64x1x136 …] [--no-peers]

An epoch is training on n series and validation on n/4, with AdamW and accuracy; standardised series. Contenders of a case, on the same
network, optimiser and batches:

- torch: the loop by hand, where each layer is torch's own
- by hand: the same loop with the layers of tsfast, which keep the channels of a time step together
- tsfast: the learner; tsfast bf16: after `learn.to_bf16()`, on processors with instructions for it

Their ratios are to `torch`. A contender of tsai is compared with the loop by hand over tsai's own network, in its own environment. The
`ratio` is the median over turns; `cpu_ratio` counts only the time that the process had a core, which is the fairer figure on a busy
machine.
"""
import argparse, sys

from benchmarks.common import Worker, in_turns, median, peer, processor, ratio, write

QUICK = ['--repeats', '2', '--n', '64', '--cases', 'InceptionTime-32x1x50', 'FCN-32x3x50']

# architecture-batch x channels x steps: (goal of the learner, goal in bfloat16)
CASES = {'InceptionTime-64x1x136': (.6, .4), 'InceptionTime-64x6x100': (.55, .25), 'InceptionTime-16x1x136': (None, None),
         'InceptionTime-32x1x500': (None, None), 'XceptionTime-64x1x136': (.5, None), 'ResNet-64x1x136': (.9, None),
         'FCN-64x1x136': (.9, None)}

COMMON = '''
import numpy as np, torch
from torch.nn import functional as F
rng = np.random.default_rng(0)
n, m, bs, c = config['n'], config['n']//4, config['bs'], config['channels']
X = rng.normal(size=(n + m, c, config['length'])).astype('float32'); y = rng.integers(0, 2, n + m).astype(str)
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
import copy
from torch import nn
from fastai.metrics import accuracy
from tsfast.data.core import get_ts_dls
from tsfast.data.preprocessing import TSStandardize
from tsfast.learner import ts_learner
from tsfast.models import layers
from tsfast.models.registry import build_ts_model
dls = get_ts_dls(X, y, splits=splits, batch_tfms=TSStandardize(), bs=bs, device='cpu')
net = build_ts_model(config['arch'], c, 2, seq_len=config['length'])
def of_torch(m):
    m = copy.deepcopy(m)
    for l in m.modules():
        if isinstance(l, (layers.Conv1d, layers.BatchNorm1d, layers.MaxPool1d)): l.__class__ = getattr(nn, type(l).__name__)
    return m
def learner(): return ts_learner(dls, copy.deepcopy(net), metrics=accuracy)
contenders = {'torch': ByHand(of_torch(net)), 'by hand': ByHand(copy.deepcopy(net)), 'tsfast': fastai_epoch(learner())}
if config['bf16']: contenders['tsfast bf16'] = fastai_epoch(learner().to_bf16())
serve(contenders)
'''
TSAI = COMMON + '''
from fastai.metrics import accuracy
from tsai.data.core import get_ts_dls, TSClassification
from tsai.data.preprocessing import TSStandardize
from tsai.learner import ts_learner
from tsai.models.InceptionTime import InceptionTime
dls = get_ts_dls(X, y, splits=splits, tfms=[None, TSClassification()], batch_tfms=TSStandardize(), bs=bs, num_workers=0,
                 device=torch.device('cpu'))
serve({'by hand (tsai)': ByHand(InceptionTime(c, 2)), 'tsai': fastai_epoch(ts_learner(dls, InceptionTime, metrics=accuracy))})
'''


def config_of(case, n):
    "A case as a dictionary"
    arch, shape = case.split('-')
    bs, channels, length = map(int, shape.split('x'))
    return dict(arch=arch, bs=bs, channels=channels, length=length, n=n, bf16='bf16' in processor())

def run_case(case, a):
    "Rows of the contenders"
    config, (goal, goal16) = config_of(case, a.n), CASES.get(case, (None, None))
    workers = [Worker(sys.executable, OWN, config, a.threads)]
    exe = None if a.no_peers or case != 'InceptionTime-64x1x136' else peer('tsai')
    if exe: workers.append(Worker(exe, TSAI, config, a.threads, own=False))
    ready = []
    for w in workers:
        try: ready.append((w, w.read()['ready']))
        except OSError as e:
            if w is workers[0]: raise
            print(f'tsai is left out: {e}', file=sys.stderr)
    res = in_turns(ready, a.repeats)
    for w, _ in ready: w.close()
    rows = []
    for name in sorted(res, key=lambda o: ('tsai' in o, o != 'torch', o)):
        other = {'torch': None, 'by hand (tsai)': None, 'tsai': 'by hand (tsai)'}.get(name, 'torch')
        rows.append(dict(case=case, epoch=name, seconds=f'{median(res[name]):.3f}',
                         ratio=f'{ratio(res[name], res[other]):.3f}' if other else '',
                         cpu_ratio=f'{ratio(res[name], res[other], 1):.3f}' if other else '', to=other or '',
                         goal={'tsfast': goal, 'tsfast bf16': goal16}.get(name) or ''))
    return rows

def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks.training', description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--repeats', type=int, default=9); p.add_argument('--n', type=int, default=256)
    p.add_argument('--cases', nargs='+', default=list(CASES), help='architecture-batch x channels x steps')
    p.add_argument('--threads', type=int, default=1); p.add_argument('--no-peers', action='store_true')
    a = p.parse_args(argv)
    write('training', [row for case in a.cases for row in run_case(case, a)], keep_others=True, n=a.n, threads=a.threads, repeats=a.repeats)


if __name__ == '__main__': main()
