"""What fused attention brings: `python -m benchmarks.attention`

torch's `scaled_dot_product_attention` against the written-out form of the same layer, which also gives the weights; taken in turn,
medians, on the CPU or a GPU."""
import argparse, statistics, time

import pandas as pd
import torch

from benchmarks.common import RESULTS
from tsfast.models.attention import _MultiHeadAttention


def seconds(fs, repeats, device):
    "Median seconds of each of `fs`, taken in turn"
    times = [[] for _ in fs]
    for i in range(repeats + 2):
        for f, ts in zip(fs, times):
            t = time.perf_counter(); f()
            if device.type == 'cuda': torch.cuda.synchronize()
            if i > 1: ts.append(time.perf_counter() - t)
    return [statistics.median(o) for o in times]


def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks.attention', description=__doc__.split('\n')[0])
    p.add_argument('--lengths', type=int, nargs='+', default=[50, 200, 400])
    p.add_argument('--repeats', type=int, default=7)
    p.add_argument('--threads', type=int, default=1)
    args = p.parse_args(argv)
    torch.set_num_threads(args.threads)
    device, rows = torch.device('cuda' if torch.cuda.is_available() else 'cpu'), []
    for L in args.lengths:
        torch.manual_seed(0)
        m, x = _MultiHeadAttention(128, 16).to(device), torch.randn(32, L, 128, device=device)
        pad = (torch.arange(L, device=device) >= L*3//4).expand(32, L)
        def step(weights, mask=None):
            def f(): m.zero_grad(); m(x, need_weights=weights, key_padding_mask=mask)[0].sum().backward()
            return f
        def forward(weights):
            def f():
                with torch.no_grad(): m(x, need_weights=weights)
            return f
        for name, fs in {'training step': (step(True), step(False)), 'training step, masked': (step(True, pad), step(False, pad)),
                         'prediction': (forward(True), forward(False))}.items():
            written, fused = seconds(fs, args.repeats, device)
            rows.append(dict(length=L, what=name, written_ms=written*1e3, fused_ms=fused*1e3, ratio=written/fused, batch=32, d_model=128,
                             heads=16, device=device.type, threads=args.threads))
            print(rows[-1])
    RESULTS.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(RESULTS/'attention.csv', index=False, float_format='%.3f')

if __name__ == '__main__': main()
