import pytest
import torch
from torch import nn

from fna_mm import MBConvSpec
from fna_mm.backbones.mixed_op import MixedOp
from fna_mm.families.mbconv_block import MBConv
from fna_mm.search_space import SearchableLayer

SPECS = (MBConvSpec(3, 3), MBConvSpec(5, 6), MBConvSpec(7, 3))
FIRST = SearchableLayer(1, 0, 4, 6, SPECS)
LATER = SearchableLayer(1, 1, 4, 4, SPECS + (None, ))


@pytest.fixture
def x():
    return torch.randn(2, 4, 9, 8, generator=torch.Generator().manual_seed(3))


def test_candidates_by_name():
    net = MixedOp(LATER)
    assert net.names == tuple(net.candidates) == ('k3_e3', 'k5_e6', 'k7_e3', 'skip')
    assert [type(candidate) for candidate in net.candidates.values()] == [MBConv, MBConv, MBConv, nn.Identity]
    shapes = [tuple(net.candidates[name].depthwise_conv.conv.weight.shape) for name in net.names[:3]]
    assert shapes == [(12, 1, 3, 3), (24, 1, 5, 5), (12, 1, 7, 7)]


@pytest.mark.parametrize('stride', [1, 2])
def test_every_path_has_the_same_shape(x, stride):
    net = MixedOp(FIRST, stride=stride).eval()
    shapes = {tuple(net.forward_path(x, index).shape) for index in range(3)}
    assert shapes == {(2, 6, -(-9 // stride), 8 // stride)}
    assert tuple(net.forward_mixture(x, torch.ones(3) / 3).shape) in shapes


def test_a_path_is_its_candidate_alone(randomize, x):
    net = randomize(MixedOp(LATER)).eval()
    outputs = [net.forward_path(x, index) for index in range(4)]
    for name, output in zip(net.names, outputs):
        torch.testing.assert_close(output, net.candidates[name](x))
    torch.testing.assert_close(outputs[3], x)
    for index in range(3):
        assert (outputs[index] - outputs[(index + 1) % 3]).abs().max() > .01


def test_a_path_runs_no_other_candidate(x):
    net = MixedOp(LATER)
    runs = []
    for name, candidate in net.candidates.items():
        candidate.register_forward_hook(lambda *_, name=name: runs.append(name))
    net.forward_path(x, 1)
    assert runs == ['k5_e6']
    net.forward_path(x, 3)
    assert runs == ['k5_e6', 'skip']


@pytest.mark.parametrize('weights', [(.1, .2, .3, .4), (2., -1., 0., .5)])
def test_mixture_is_the_weighted_sum(randomize, x, weights):
    net = randomize(MixedOp(LATER)).eval()
    k3, k5, k7, skip = weights
    expected = (k3 * net.candidates['k3_e3'](x) + k5 * net.candidates['k5_e6'](x) + k7 * net.candidates['k7_e3'](x)
                + skip * x)
    torch.testing.assert_close(net.forward_mixture(x, torch.tensor(weights)), expected)


@pytest.mark.parametrize(('layer', 'index'), [(LATER, index) for index in range(4)] + [(FIRST, 1)])
def test_one_hot_weights_are_the_path(randomize, x, layer, index):
    net = randomize(MixedOp(layer)).eval()
    weights = torch.eye(len(layer.candidates))[index]
    torch.testing.assert_close(net.forward_mixture(x, weights), net.forward_path(x, index))


def test_gradient_of_a_weight_is_its_candidates_share(randomize, x):
    net = randomize(MixedOp(LATER)).eval()
    weights = torch.full((4, ), .25, requires_grad=True)
    upstream = torch.randn(2, 4, 9, 8, generator=torch.Generator().manual_seed(4))
    net.forward_mixture(x, weights).backward(upstream)
    expected = torch.stack([(upstream * net.forward_path(x, index)).sum() for index in range(4)]).detach()
    torch.testing.assert_close(weights.grad, expected, rtol=1e-4, atol=1e-3)


def test_arguments_reach_every_candidate():
    net = MixedOp(FIRST, stride=2, dilation=2, norm_cfg=dict(type='BN', affine=False, track_running_stats=False),
                  act_cfg=dict(type='ReLU'), with_cp=True)
    assert len(net.candidates) == 3
    for candidate in net.candidates.values():
        assert candidate.depthwise_conv.conv.stride == candidate.depthwise_conv.conv.dilation == (2, 2)
        assert isinstance(candidate.depthwise_conv.activate, nn.ReLU)
        assert not isinstance(candidate.depthwise_conv.activate, nn.ReLU6)
        assert candidate.with_cp is True
        assert candidate.linear_conv.bn.running_mean is None
        assert candidate.linear_conv.bn.weight is None


def test_checkpointing_gives_the_same_gradients(randomize, x):
    results = []
    for with_cp in (False, True):
        net = randomize(MixedOp(LATER, with_cp=with_cp)).train()
        weights = torch.tensor([.1, .2, .3, .4], requires_grad=True)
        out = net.forward_mixture(x, weights)
        out.square().sum().backward()
        results.append([out.detach(), weights.grad] + [parameter.grad for parameter in net.parameters()])
    assert len(results[0]) == len(results[1]) == 2 + 3 * 9
    for plain, checkpointed in zip(*results):
        torch.testing.assert_close(checkpointed, plain, rtol=1e-4, atol=1e-5)
