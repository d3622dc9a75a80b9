"Hand-made filters, beside sums written out from the paper; HInceptionTime, LITE and LITEMV, which have them in the first layer"
import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tsfast.core import seeded
from tsfast.models.hand_filters import HandFilters
from tsfast.models.inception_time import HInceptionTime, InceptionTime
from tsfast.models.lite import LITE, LITEMV
from helpers_models import series

MODELS = [HInceptionTime, LITE, LITEMV]


def literal_filters():
    "The weights of the 17 filters, each number by itself"
    for first in (-1, 1):
        for n in (2, 4, 8, 16, 32, 64): yield [first if j % 2 == 0 else -first for j in range(n)]
    for n in (6, 12, 24, 48, 96):
        m = n//6
        up, down = [((j + 1)/m)**2 for j in range(m)], [((m - j)/m)**2 for j in range(m)]
        yield [-v for v in up] + [-v for v in down] + [2*v for v in up] + [2*v for v in down] + [-v for v in up] + [-v for v in down]

def literal_output(x, w):
    "Weighted sums of one channel: step t sees len(w)/2 - 1 steps before it and len(w)/2 after it; there are zeros around the series"
    before = len(w)//2 - 1
    at = lambda i: x[i] if 0 <= i < len(x) else 0.
    return np.array([sum(v*at(t - before + j) for j, v in enumerate(w)) for t in range(len(x))])


@pytest.mark.parametrize('shape', [(1, 1, 1), (1, 1, 7), (2, 3, 60), (5, 3, 60), (3, 2, 130)])
def test_filters(shape):
    "In either layout, of the sum of the channels and of each channel"
    x = series(*shape)
    want = np.array([[[literal_output(c, w) for w in literal_filters()] for c in s] for s in x.double().numpy()])     # (B, C, 17, L)
    B, C, n, L = want.shape
    got = HandFilters(C)(x), HandFilters(C, depthwise=True)(x)
    assert n == 17 and HandFilters(C).nout == 17 and HandFilters(C, depthwise=True).nout == 17*C
    np.testing.assert_allclose(got[0], want.sum(1), atol=1e-4)
    np.testing.assert_allclose(got[1], want.reshape(B, 17*C, L), atol=1e-4)

def test_what_they_detect():
    "Each filter is largest at what it is named after, and a level is zero but for the ends of the series"
    m, L = HandFilters(), 300
    assert m(torch.ones(1, 1, L))[..., 50:-50].abs().max() < 1e-4
    peak = torch.zeros(1, 1, L); peak[..., 140:156] = 1         # 16 steps: a third of 48
    assert m(peak)[0, 15].argmax() in range(145, 151)
    step = (torch.arange(L) >= 150).float()[None, None]
    assert m(step)[0, :6].max() == 1 == -m(step)[0, 6:12].min() and m(-step)[0, 6:12].max() == 1


@pytest.mark.parametrize('arch', MODELS)
@pytest.mark.parametrize('optimiser', [torch.optim.AdamW, torch.optim.SGD])
def test_training_leaves_them(arch, optimiser):
    "Neither gradients nor weight decay change them; they take no place in `state_dict` and follow the model's type"
    m = arch(3, 2, nf=4)
    found = [o for o in m.modules() if isinstance(o, HandFilters)]
    before = found[0].weight.clone()
    opt = optimiser(m.parameters(), lr=.1, weight_decay=.5)
    for _ in range(3):
        opt.zero_grad(); m(series(4, 3, 40)).square().sum().backward(); opt.step()
    assert len(found) == 1 and torch.equal(found[0].weight, before) and not [*found[0].parameters(), *found[0].state_dict()]
    assert copy.deepcopy(m).double().state_dict().keys() == m.state_dict().keys()
    assert next(o for o in copy.deepcopy(m).double().modules() if isinstance(o, HandFilters)).weight.dtype == torch.float64

def test_inception_time_is_as_before():
    "Without the filters nothing of them is there; with them only the first module and what reads it change"
    old, new = InceptionTime(3, 2), HInceptionTime(3, 2)
    assert not any(isinstance(o, HandFilters) for o in old.modules()) and 'hand_filters' not in repr(old)
    assert old.state_dict().keys() == new.state_dict().keys()
    changed = {k for k, v in old.state_dict().items() if v.shape != new.state_dict()[k].shape}
    assert changed == {f'inceptionblock.inception.{k}' for k in ('0.bn.weight', '0.bn.bias', '0.bn.running_mean', '0.bn.running_var',
                                                                 '1.bottleneck.weight', '1.maxconvpool.1.weight')}
    assert HInceptionTime(3, 2).init_args == {**InceptionTime(3, 2).init_args, 'hand_filters': True}


def literal_lite(m, x):
    "The network of the paper from the weights of `m`, in float64, with torch's padding 'same'"
    p = {k: v.double() for k, v in m.state_dict().items()}
    x, C = x.double(), x.shape[1]
    def norm(z, k): return F.batch_norm(z, *(p[f'{k}.{o}'] for o in ('running_mean', 'running_var', 'weight', 'bias'))).relu()
    def conv(z, k, **kwargs): return F.conv1d(z, p[f'{k}.weight'], padding='same', **kwargs)
    first = 'body.0.convs.{}.{}'.format
    separable = first(0, 2) + '.weight' in p
    zs = [conv(conv(x, first(i, 1), groups=C), first(i, 2)) if separable else conv(x, first(i, 1)) for i in range(3)]
    filters = [[literal_output(c, w) for c in s for w in literal_filters()] if separable else
               [literal_output(s.sum(0), w) for w in literal_filters()] for s in x.numpy()]
    z = norm(torch.cat([*zs, torch.from_numpy(np.array(filters))], 1), 'body.0.bn')
    for i, d in ((1, 2), (2, 4)):
        z = norm(conv(conv(z, f'body.{i}.0', dilation=d, groups=z.shape[1]), f'body.{i}.1'), f'body.{i}.2')
    return F.linear(z.mean(2), p['fc.weight'], p['fc.bias'])

@pytest.mark.filterwarnings('ignore:Using padding:UserWarning')
@pytest.mark.parametrize('arch,c_in,length', [(LITE, 1, 130), (LITE, 3, 60), (LITEMV, 3, 60), (LITEMV, 1, 20)])
def test_lite_is_the_network_of_the_paper(arch, c_in, length):
    with seeded(0): m = arch(c_in, 3)
    m.train()(series(16, c_in, length))     # running statistics other than those at the start
    x = series(4, c_in, length, seed=1)
    with torch.no_grad(): torch.testing.assert_close(m.eval()(x).double(), literal_lite(m, x), atol=1e-4, rtol=1e-4)

def test_kernels_and_parameters_of_lite():
    "Even kernels as in the paper, and its number of parameters"
    m = LITE(1, 2)
    convs = [(o.kernel_size[0], o.dilation[0]) for o in m.modules() if isinstance(o, nn.Conv1d) and o.kernel_size[0] > 1]
    assert convs == [(40, 1), (20, 1), (10, 1), (97, 1), (20, 2), (10, 4)]
    assert sum(p.numel() for p in m.body.parameters()) == 9814
