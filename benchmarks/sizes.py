"""Small networks beside InceptionTime: parameters, weights in a file, an epoch of training and predictions.

    python -m benchmarks.sizes [--repeats 9] [--n 256] [--threads 1] [--cases 64x1x136 …]

An epoch is training on n series, in a loop by hand with AdamW; predictions are those of n series in one batch. The networks take turns.
The ratios are to InceptionTime in the same turn, and the median over turns. They count the time that the process had a core, which other
work on the machine changes least."""
import argparse, sys

from benchmarks.common import Worker, in_turns, median, ratio, write

QUICK = ['--repeats', '2', '--n', '64', '--cases', '32x1x50']
CASES = ['64x1x136', '16x1x136', '64x6x100']      # batch x channels x steps
ARCHS = ['InceptionTime', 'HInceptionTime', 'LITE', 'LITEMV']

CODE = '''
import torch
from torch.nn import functional as F
from tsfast.models.registry import build_ts_model
from tsfast.models.utils import count_parameters
n, c, L, bs = config['n'], config['channels'], config['length'], config['bs']
gen = torch.Generator().manual_seed(0)
x, y = torch.randn(n, c, L, generator=gen), torch.randint(2, (n,), generator=gen)
models = {a: build_ts_model(a, c, 2, seq_len=L) for a in config['archs']}
def epoch(m):
    opt = torch.optim.AdamW(m.parameters(), lr=1e-3)
    def run():
        m.train()
        for i in torch.randperm(n).split(bs):
            F.cross_entropy(m(x[i]), y[i]).backward(); opt.step(); opt.zero_grad()
        return 1
    return run
def predictions(m):
    def run():
        with torch.no_grad(): m.eval()(x)
        return 1
    return run
answer(**{a: [count_parameters(m), sum(v.nbytes for v in m.state_dict().values())/1000] for a, m in models.items()})
serve({f'{what} {a}': f(m) for a, m in models.items() for what, f in (('epoch', epoch), ('predictions', predictions))})
'''


def run_case(case, a):
    "A row for each network"
    bs, channels, length = map(int, case.split('x'))
    archs = [o for o in ARCHS if channels > 1 or o != 'LITEMV']       # which is LITE for one channel
    w = Worker(sys.executable, CODE, dict(archs=archs, bs=bs, channels=channels, length=length, n=a.n), a.threads)
    facts = w.read()
    res = in_turns([(w, w.read()['ready'])], a.repeats)
    w.close()
    rows = []
    for arch in archs:
        row = dict(case=case, network=arch, parameters=facts[arch][0], weights_kb=f'{facts[arch][1]:.0f}')
        for what in ('epoch', 'predictions'):
            turns, base = res[f'{what} {arch}'], res[f'{what} InceptionTime']
            row[f'{what}_cpu_s'] = f'{median(turns, 1):.4f}'
            row[f'{what}_ratio'] = f'{ratio(turns, base, 1):.3f}' if arch != 'InceptionTime' else ''
        rows.append(row)
    return rows

def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks.sizes', description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--repeats', type=int, default=9); p.add_argument('--n', type=int, default=256)
    p.add_argument('--cases', nargs='+', default=CASES, help='batch x channels x steps')
    p.add_argument('--threads', type=int, default=1)
    a = p.parse_args(argv)
    write('sizes', [row for case in a.cases for row in run_case(case, a)], n=a.n, threads=a.threads, repeats=a.repeats)


if __name__ == '__main__': main()
