"""Long series: time and memory of a training step of S4D beside InceptionTime.

    python -m benchmarks.long_series [--steps 5000 20000] [--models S4D InceptionTime] [--bs 8] [--repeats 3] [--threads 1]

Random series of one channel, two classes, AdamW. Each model and length has a process of its own; those of a length take turns. `seconds`
is by the clock, `cpu_seconds` of the processor, each the median over the repeats, after a first step that does not count. `peak_mb` is the
highest memory of the process above that before the first step: weights and series are not part of it, the state of the optimiser is."""
import argparse, sys
from benchmarks.common import Worker, in_turns, median, write

QUICK = ['--steps', '1000', '--repeats', '1']

STEP = '''
import torch
from torch.nn.functional import cross_entropy
from tsfast.models.registry import build_ts_model
torch.set_num_threads(config['threads']); torch.manual_seed(0)
n, L = config['bs'], config['steps']
model = build_ts_model(config['model'], c_in=1, c_out=2, seq_len=L).train()
x, y = torch.randn(n, 1, L), torch.arange(n) % 2
opt = torch.optim.AdamW(model.parameters(), 1e-3)
def step():
    opt.zero_grad(); cross_entropy(model(x), y).backward(); opt.step()
    return 1
answer(parameters=sum(p.numel() for p in model.parameters()))
base = peak_mb()
serve({config['model']: step})
'''


def measured(steps, models, bs, repeats, threads):
    "A row for each model"
    workers = [Worker(sys.executable, STEP, dict(model=m, steps=steps, bs=bs, threads=threads), threads) for m in models]
    sizes = [w.read()['parameters'] for w in workers]
    res = in_turns([(w, w.read()['ready']) for w in workers], repeats)
    rows = [dict(steps=steps, model=m, parameters=p, seconds=f'{median(res[m]):.2f}', cpu_seconds=f'{median(res[m], 1):.2f}',
                 peak_mb=w.added_mb) for m, p, w in zip(models, sizes, workers)]
    for w in workers: w.close()
    for r in rows: print(r, file=sys.stderr, flush=True)
    return rows


def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks.long_series', description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--steps', type=int, nargs='+', default=[5000, 20_000])
    p.add_argument('--models', nargs='+', default=['S4D', 'InceptionTime'])
    p.add_argument('--bs', type=int, default=8); p.add_argument('--repeats', type=int, default=3)
    p.add_argument('--threads', type=int, default=1)
    a = p.parse_args(argv)
    rows = [r for steps in a.steps for r in measured(steps, a.models, a.bs, a.repeats, a.threads)]
    write('long_series', rows, bs=a.bs, threads=a.threads, repeats=a.repeats)


if __name__ == '__main__': main()
