"Literal forms of the pieces of ResCNN and its neighbours, with weights that are written out; sizes; what they refuse"
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tsfast.models.rescnn import ResCNN
from tsfast.models.utils import count_parameters

B, C, L = 5, 3, 40


def series(n=B, c=C, length=L, seed=0): return torch.randn(n, c, length, generator=torch.Generator().manual_seed(seed))

def seeded(make, seed=0):
    "A model whose normalisations are not where they start"
    torch.manual_seed(seed)
    m = make()
    for name, p in m.named_parameters():
        if p.ndim == 1: nn.init.normal_(p, mean=1. if name.endswith('weight') else 0., std=.3)
    for l in m.modules():
        if isinstance(l, nn.modules.batchnorm._BatchNorm): l.running_mean.normal_(); l.running_var.uniform_(.5, 2)
    return m.eval()

def bn(z, l):
    "Batch normalisation in evaluation, of channels in dimension 1"
    mean, var, w, b = (o.view(-1, *[1]*(z.ndim - 2)) for o in (l.running_mean, l.running_var, l.weight, l.bias))
    return (z - mean)/(var + l.eps).sqrt()*w + b

def close(a, b, tol=1e-4): torch.testing.assert_close(a, b, atol=tol, rtol=tol)


# ---------------------------------------------------------------- ResCNN

def test_rescnn():
    m, x = seeded(lambda: ResCNN(C, 4, nf=8)), series()
    z = x
    for i, (conv, norm, *_) in enumerate(m.block.convs):
        z = bn(F.conv1d(z, conv.weight, padding=(7, 5, 3)[i]//2), norm)
        if i < 2: z = z.clamp(min=0)
    conv, norm = m.block.shortcut
    z = (z + bn(F.conv1d(x, conv.weight), norm)).clamp(min=0)
    slope = m.convs[1][2].weight
    acts = (lambda z: torch.where(z > 0, z, .2*z), lambda z: torch.where(z > 0, z, slope*z), lambda z: torch.where(z > 0, z, .3*(z.exp() - 1)))
    for (conv, norm, _), act in zip(m.convs, acts): z = act(bn(F.conv1d(z, conv.weight, padding=1), norm))
    close(m(x), z.mean(-1) @ m.fc.weight.T + m.fc.bias)

def test_rescnn_positions():
    "Before each convolution, the shortcut's too"
    m, x = seeded(lambda: ResCNN(C, 4, coord=True, separable=True, nf=8)), series()
    position = lambda z: torch.cat([z, torch.linspace(-1, 1, L).expand(B, 1, L)], 1)
    def conv(z, l):
        coords, sep = l
        d, p = sep.depthwise_conv.weight, sep.pointwise_conv.weight
        return F.conv1d(F.conv1d(position(z), d, padding=d.shape[2]//2, groups=len(d)), p)
    z = x
    for i, (l, norm, *_) in enumerate(m.block.convs):
        z = bn(conv(z, l), norm)
        if i < 2: z = z.relu()
    z = (z + bn(F.conv1d(position(x), m.block.shortcut[0][1].weight), m.block.shortcut[1])).relu()
    for l, norm, act in m.convs: z = act(bn(conv(z, l), norm))
    close(m.forward_features(x), z)
