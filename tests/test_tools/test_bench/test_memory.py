import pytest
import torch
from mmengine.utils import digit_version
from torch import nn
from torch.utils.checkpoint import checkpoint

from tools.bench.memory import LiveBytes, held_bytes, peak_bytes

MIB = 2**20
QUARTER = MIB // 4  # float32 numbers in a MiB
#: The counter follows the Python object of a storage.
pytestmark = pytest.mark.skipif(digit_version(torch.__version__) < digit_version('2.2'),
                                reason='PyTorch 2.1 makes a new object of a storage whenever it is asked for one')


def test_what_is_freed_is_no_longer_counted():
    with LiveBytes() as memory:
        tensors = [torch.empty(QUARTER) for _ in range(3)]
        assert memory.live == 3 * MIB
        del tensors
        assert memory.live == 0
        torch.empty(2 * QUARTER)
    assert memory.peak == 3 * MIB


def test_views_and_results_in_place_are_no_memory():
    outside = torch.zeros(QUARTER)
    with LiveBytes() as memory:
        outside.add_(1).view(2, -1).t()[1:].mul_(2)
        assert memory.peak == 0
        x = torch.zeros(QUARTER)
        part = x.view(2, -1)[1]
        part.add_(1)
        del x
        assert memory.live == MIB  # a view keeps the whole
        del part
    assert (memory.live, memory.peak) == (0, MIB)


def exps(x, steps):
    for _ in range(steps):
        x = x.exp()  # keeps its result for the backward pass
    return x


@pytest.mark.parametrize(('steps', 'expected'), [(1, 3), (4, 7)])
def test_what_autograd_keeps(steps, expected):
    """All results, the gradient given, and in the backward pass a gradient, from the second on beside the last."""
    x = torch.zeros(QUARTER, requires_grad=True)
    peak = peak_bytes(lambda: torch.autograd.grad(exps(x, steps), x, torch.ones(QUARTER)), 'cpu')
    assert peak == expected * MIB


def test_recomputation_holds_less():
    x = torch.zeros(QUARTER, requires_grad=True)

    def recomputing():
        y = x
        for _ in range(3):
            y = checkpoint(exps, y, 4, use_reentrant=False)
        y.backward(torch.ones(QUARTER))

    plain = peak_bytes(lambda: exps(x, 12).backward(torch.ones(QUARTER)), 'cpu')
    x.grad = None
    # Of 12 results three, and those of one part again.
    assert peak_bytes(recomputing, 'cpu') <= plain - 5 * MIB


def test_gradients_of_weights_are_memory():
    layer = nn.Linear(512, 512, bias=False)
    x = torch.zeros(1, 512)
    peak = peak_bytes(lambda: layer(x).sum().backward(), 'cpu')
    assert MIB <= peak < MIB + 16384


def test_held_bytes():
    norm = nn.BatchNorm2d(8)  # weight, bias, mean, variance of 8 float32; a counter of int64
    assert held_bytes([norm, torch.zeros(3, dtype=torch.float16)]) == 4 * 8 * 4 + 8 + 6
