"""Compare `Mantis` and `MantisV2` with the authors' package, layer by layer, with the same random weights.

The package, mantis-tsfm, cannot be installed beside tsfast (it needs pandas < 3). So there are two steps, each in an environment of its own;
this file imports the one or the other:

    python -m venv reference && reference/bin/pip install mantis-tsfm==1.1.0
    reference/bin/python benchmarks/compare_mantis.py write FOLDER
    python benchmarks/compare_mantis.py compare FOLDER

The first writes random weights as a published file, series, and what each block makes of them. The second reads them with `load_mantis`,
prints the largest differences, and ends with an error where one is above the tolerance."""
import argparse, json, sys
from pathlib import Path

import torch
from torch.nn import functional as F

SEED, DEPTH = 0, 6
NETWORKS = {'MantisV1': {}, 'Mantis8M': {}, 'MantisV2': {}, 'MantisV1-small': dict(hidden_dim=48, transf_num_heads=3, transf_dim_head=20,
            transf_mlp_dim=40, hidden_dim_scalar_enc=12, num_patches=16, seq_len=256, scalar_scales=[0.1, 1., 10.]),
            'MantisV2-small': dict(hidden_dim=48, transf_num_heads=3, transf_dim_head=20, transf_mlp_dim=40, hidden_dim_scalar_enc=12,
            num_patches=16, kernel_size=9)}


def series(length, gen):
    "Walks, noise and waves of very different sizes, and a constant series: (12, 1, length)"
    noise = torch.randn(9, length, generator=gen)
    x = torch.cat([noise[:3], noise[3:6].cumsum(1), (torch.arange(length)/noise[6:, :1].abs().add(3)).sin()])
    x = x*torch.tensor([1., 1e-4, 1e4])[torch.arange(9) % 3, None] + torch.tensor([0., 5., -300.])[torch.arange(9)//3, None]
    flat = torch.stack([torch.zeros(length), torch.full((length,), 7.), F.pad(torch.ones(length//2), (length - length//2, 0))])
    return torch.cat([x, flat]).unsqueeze(1)


def write(folder):
    "In the environment of the authors' package"
    from safetensors.torch import save_file
    import mantis.architecture as reference
    for name, args in NETWORKS.items():
        torch.manual_seed(SEED)
        net = getattr(reference, name.partition('-')[0])(device='cpu', **args).eval()
        gen = torch.Generator().manual_seed(SEED)
        with torch.no_grad():
            for p in net.parameters(): p.add_(torch.randn(p.shape, generator=gen)*.1)       # biases and norms take part, too
        out = folder/name
        out.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in net.state_dict().items()}, out/'model.safetensors')
        (out/'config.json').write_text(json.dumps(dict(args, device='cpu', pre_training=False)))
        x = series(args.get('seq_len', 512), gen)
        seen = blocks(net, x)
        for p in net.parameters(): p.grad = None
        (net(x)*torch.linspace(-1, 1, seen['cls'].shape[1])).sum().backward()
        grads = {f'grad.{k}': p.grad for k, p in net.named_parameters() if p.grad is not None}
        save_file({k: v.detach().contiguous() for k, v in (seen | grads | {'x': x}).items()}, out/'seen.safetensors')
        print(f'{name}: {sum(p.numel() for p in net.parameters()):,} parameters, {len(seen)} outputs, {len(grads)} gradients')


@torch.no_grad()
def blocks(net, x):
    "What each part of the authors' network gives"
    unit = getattr(net, 'transf_unit', None) or net.vit_unit
    got = {}
    hook = unit.transformer.register_forward_pre_hook(lambda _, args: got.update(input=args[0]))
    seen = dict(tokens=net.tokgen_unit(x), cls=net(x))
    hook.remove()
    legacy = type(net).__name__ == 'Mantis8M'
    if not legacy:
        net.output_token = 'mean_token'
        seen['mean'] = net(x)
        net.output_token = 'cls_token'
    net.pre_training = True
    seen['projected'] = net(x)
    net.pre_training = False
    for i in range(DEPTH): seen[f'block.{i}'] = unit.transformer(got['input'], return_layer=i)
    seen = {k: v.flatten(1, 2) if v.ndim == 4 else v for k, v in seen.items()}               # the second version has an axis of variates
    return seen | {'input': got['input'].flatten(1, 2) if got['input'].ndim == 4 else got['input']}


def compare(folder, tol):
    "In the environment of tsfast"
    from safetensors.torch import load_file
    from tsfast.models.mantis import load_mantis, mantis_name
    bad = []
    for name in NETWORKS:
        seen = load_file(folder/name/'seen.safetensors')
        x, model = seen.pop('x'), load_mantis(folder/name).eval()
        found = parts(model, x[:, 0])
        with torch.no_grad():
            for k, own in (('mean', dict(output='mean')), ('projected', dict(projector=True)), ('both', dict(output='both', return_block=2))):
                found[k] = load_mantis(folder/name, **own).eval().forward_features(x)
        third = seen['block.2']
        cls, rest = (third[:, 0], third[:, 1:]) if model.cls_first else (third[:, -1], third[:, :-1])
        seen['both'] = torch.cat([cls, rest.mean(1)], 1)
        (model.forward_features(x)*torch.linspace(-1, 1, seen['cls'].shape[1])).sum().backward()
        own = dict(model.named_parameters())
        found |= {k: own[mantis_name(k.removeprefix('grad.'))].grad for k in seen if k.startswith('grad.')}
        print(f'\n{name}: {type(model).__name__}')
        worst = {}
        for k, want in seen.items():
            if k not in found: continue
            d, scale = (found[k].detach() - want).abs().max().item(), max(want.abs().max().item(), 1.)
            label = 'gradients' if k.startswith('grad.') else k
            worst[label] = max(worst.get(label, (0., 0.)), (d/scale, d))
        for k, (relative, d) in sorted(worst.items()):
            print(f'  {k:10} largest difference {d:.1e}, relative to the largest value {relative:.1e}')
            if relative > tol: bad.append(f'{name} {k}')
    if bad: sys.exit(f'Above the tolerance of {tol}: {", ".join(bad)}')


@torch.no_grad()
def parts(model, x):
    "What each part of the model gives, under the names of `blocks`"
    seen = dict(tokens=model.tokens(x), cls=model.encode(x))
    hooks = [b.register_forward_hook(lambda _, args, out, i=i: seen.update({f'block.{i}': out} | ({'input': args[0]} if i == 0 else {})))
             for i, b in enumerate(model.blocks)]
    model.encode(x)
    for h in hooks: h.remove()
    return seen


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('step', choices=['write', 'compare'])
    parser.add_argument('folder', type=Path, help='where the files of the comparison lie')
    parser.add_argument('--tol', type=float, default=1e-5, help='largest difference, relative to the largest value of an output (at least 1)')
    args = parser.parse_args()
    if args.step == 'write': write(args.folder)
    else: compare(args.folder, args.tol)
