"""What torch's own options bring to a training step: `torch.compile`, bfloat16, and both, beside plain float32.

    python -m benchmarks.options [--archs InceptionTime FCN] [--bs 16 64] [--length 136] [--repeats 5] [--threads 1]

A step is forward, backward and AdamW, on a GPU if there is one. `learn.model.compile()` and `learn.to_bf16()` are how a learner gets
them; they are not on by default, and this table says where they would help: `speedup` above 1. Compiling takes its time once, in the
first step (`first`, in seconds)."""
import argparse, sys

from benchmarks.common import Worker, in_turns, median, ratio, write

STEP = '''
import torch
from tsfast.core import default_device, seeded
from tsfast.models.registry import build_ts_model
torch.set_num_threads(config['threads'])
device, L, bs = default_device(), config['length'], config['bs']
x, y = torch.randn(bs, 1, L, device=device), (torch.arange(bs) % 2).to(device)
first = {}
def contender(name, compiled, bf16):
    with seeded(0): model = build_ts_model(config['arch'], 1, 2, seq_len=L).to(device).train()
    if compiled: model.compile()
    opt, loss = torch.optim.AdamW(model.parameters(), 1e-3), torch.nn.CrossEntropyLoss()
    def step():
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16): out = loss(model(x), y)
        opt.zero_grad(); out.backward(); opt.step()
    def run(n=5):
        for _ in range(n): step()
        if device.type == 'cuda': torch.cuda.synchronize()
        return n
    t = time.perf_counter()
    try: run(1)
    except Exception as e: answer(failed=name, why=' '.join(str(e).split())[:80]); return None
    first[name] = time.perf_counter() - t
    return run
cases = (('float32', False, False), ('bfloat16', False, True), ('compiled', True, False), ('compiled, bfloat16', True, True))
fs = {n: contender(n, c, b) for n, c, b in cases}
answer(first=first, device=torch.cuda.get_device_name() if device.type == 'cuda' else device.type)
serve({k: f for k, f in fs.items() if f})
'''


def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks.options', description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--archs', nargs='+', default=['InceptionTime', 'FCN']); p.add_argument('--bs', nargs='+', type=int, default=[16, 64])
    p.add_argument('--length', type=int, default=136)
    p.add_argument('--repeats', type=int, default=3); p.add_argument('--threads', type=int, default=1)
    a = p.parse_args(argv)
    rows = []
    for arch in a.archs:
        for bs in a.bs:
            w = Worker(sys.executable, STEP, dict(arch=arch, bs=bs, length=a.length, threads=a.threads), a.threads)
            failed = {}
            while 'failed' in (o := w.read()): failed[o['failed']] = o['why']
            turns = in_turns([(w, w.read()['ready'])], a.repeats)
            w.close()
            rows += [dict(arch=arch, bs=bs, option=k, ms_per_step=f'{median(v)*1e3:.1f}', speedup=f"{ratio(turns['float32'], v):.2f}",
                          first=f"{o['first'][k]:.1f}", device=o['device']) for k, v in turns.items()]
            rows += [dict(arch=arch, bs=bs, option=k, ms_per_step='fails', speedup='', first='', device=o['device']) for k in failed]
            for k, why in failed.items(): print(f'{arch}, {k}: {why}', file=sys.stderr)
    write('options', rows, length=a.length, threads=a.threads, repeats=a.repeats)


if __name__ == '__main__': main()
