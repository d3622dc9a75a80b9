"""Two processes that train one model, beside one process: series a second, one thread each, on the CPU.

    python -m benchmarks.distributed [--repeats 5] [--n 1024] [--cases InceptionTime-64x1x136 …]

An epoch is training on n series, without validation, inside `learn.distrib_ctx()`; 64 series in a batch of each process, connected by gloo.
The start of the processes is not counted; what each `fit` does anew, such as wrapping the model, is. `ratio` is the median over turns of
series a second of two processes over those of one; goal: 1.6. It needs two quiet cores. On a busy machine look at `cpu_ratio`: the same
of the processor's time of the slower process, which says how the work is shared out, but not how long one process waits for the other.
"""
import argparse, os, socket, sys

from benchmarks.common import Worker, in_turns, median, ratio, write
from benchmarks.training import config_of

QUICK = ['--repeats', '2', '--n', '128', '--cases', 'FCN-32x1x50']
CASES = {'InceptionTime-64x1x136': 1.6, 'ResNet-64x1x136': 1.6, 'FCN-64x1x136': None, 'InceptionTime-64x6x500': None}

CODE = '''
import numpy as np, torch
from tsfast.data.core import get_ts_dls
from tsfast.learner import ts_learner
from tsfast.training import NoValidation
rng = np.random.default_rng(0)
n, bs = config['n'], config['bs']
X = rng.normal(size=(n + 8, config['channels'], config['length'])).astype('float32'); y = rng.integers(0, 2, n + 8)
dls = get_ts_dls(X, y, splits=(range(n), range(n, n + 8)), bs=bs, device='cpu')
learn = ts_learner(dls, config['arch'], seed=0, cbs=NoValidation())
learn.recorder.valid_metrics = False
learn.remove_cbs([learn.progress]); learn.logger = lambda *a: None
def epoch():
    with learn.distrib_ctx(): learn.fit(1, 1e-3)
    return 1
serve({'processes': epoch})
'''


class Together:
    "Workers that run at the same time; the slower one counts"
    def __init__(self, workers): self.workers = workers
    def run(self, name):
        for w in self.workers: w.p.stdin.write('processes\n'); w.p.stdin.flush()
        res = [w.read() for w in self.workers]
        return max(o['seconds'] for o in res), max(o['cpu'] for o in res)

def start(k, config):
    "`k` processes, with the variables that a launcher would set"
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = str(s.getsockname()[1])
    env = dict(WORLD_SIZE=str(k), MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    workers = [Worker(sys.executable, CODE, config, 1, **env, RANK=str(r), LOCAL_RANK=str(r)) for r in range(k)]
    for w in workers: w.read()
    return Together(workers)

def run_case(case, a):
    "Rows of one process and of two"
    config = config_of(case, a.n)
    groups = {str(k): start(k, config) for k in (1, 2)}
    res = in_turns([(g, [k]) for k, g in groups.items()], a.repeats)
    for g in groups.values():
        for w in g.workers: w.close()
    rows = []
    for k in groups:
        more = dict(ratio=f"{ratio(res['1'], res[k]):.2f}", cpu_ratio=f"{ratio(res['1'], res[k], 1):.2f}") if k != '1' else {}
        rows.append(dict(case=case, processes=k, series_a_second=f'{a.n/median(res[k]):.1f}', ratio='', cpu_ratio='',
                         goal=CASES.get(case) or '' if k != '1' else '') | more)
    return rows

def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks.distributed', description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--repeats', type=int, default=5); p.add_argument('--n', type=int, default=1024)
    p.add_argument('--cases', nargs='+', default=list(CASES), help='architecture-batch x channels x steps')
    a = p.parse_args(argv)
    busy = f'{os.getloadavg()[0]:.1f}' if hasattr(os, 'getloadavg') else ''
    write('distributed', [row for case in a.cases for row in run_case(case, a)], n=a.n, repeats=a.repeats, load=busy)


if __name__ == '__main__': main()
