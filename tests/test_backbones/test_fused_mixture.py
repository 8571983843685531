"""The fast mixture against the equation as it reads, in every configuration."""

import copy
import math

import pytest
import torch
from normalised_together import normalise_together, results
from torch import nn
from torch.nn.utils import parametrize

from fna_mm import FNASuperNet, MBConvSpec
from fna_mm.backbones.fused_mixture import fused_mixture, is_covered
from fna_mm.backbones.mixed_op import MixedOp
from fna_mm.families.mbconv_block import MBConv
from fna_mm.search_space import SearchableLayer
from tools.bench.simple_mixture import simple_mixture

BARE = dict(type='BN', affine=False, track_running_stats=False)
AFFINE = dict(type='BN', affine=True, track_running_stats=False)
SPECS = (MBConvSpec(3, 3), MBConvSpec(5, 3), MBConvSpec(3, 6), MBConvSpec(7, 2))
LATER = SearchableLayer(1, 1, 4, 4, SPECS + (None, ))
FIRST = SearchableLayer(1, 0, 4, 6, SPECS)
#: Small and large maps have, with few pixels per channel, other ways to statistics.
SIZES = [(3, 2), (9, 8), (20, 21), (33, 34)]


def build(randomize, layer=LATER, norm_cfg=BARE, frozen=True, dtype=torch.float64, **kwargs):
    net = randomize(MixedOp(layer, norm_cfg=norm_cfg, **kwargs)).to(dtype).train()
    for parameter in net.parameters():
        parameter.requires_grad_(not frozen)
    return net


def inputs(net, size=(9, 8), stride=1, dtype=torch.float64, images=3):
    """x, weights and the gradient of the result; x has a mean and correlated channels."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(images, 4, *size, generator=generator) * torch.tensor([.5, 1, 2, 4]).view(4, 1, 1) + 1
    x[:, 3] += 2 * x[:, 0]
    weights = torch.rand(len(net.names), generator=generator)
    channels = net.candidates['k3_e3'].linear_conv.conv.out_channels
    grad = torch.randn(images, channels, -(-size[0] // stride), -(-size[1] // stride), generator=generator)
    return x.to(dtype).requires_grad_(), weights.to(dtype).requires_grad_(), grad.to(dtype)


def assert_equal(net, x, weights, grad, parameters=(), covered=True, **tolerance):
    assert is_covered(list(net.candidates.values()), x) is covered
    expected = results(lambda x, weights: simple_mixture(net, x, weights), x, weights, grad, parameters)
    found = results(net.forward_mixture, x, weights, grad, parameters)
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        assert one.dtype == other.dtype
        assert other.abs().max() > 1e-3
        torch.testing.assert_close(one, other, **tolerance)


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('norm_cfg', [BARE, AFFINE, dict(BARE, eps=.3)], ids=['bare', 'affine', 'eps'])
@pytest.mark.parametrize(('layer', 'stride', 'dilation'), [(LATER, 1, 1), (LATER, 1, 2), (FIRST, 1, 1), (FIRST, 2, 1)])
def test_equals_the_equation(randomize, layer, stride, dilation, norm_cfg, with_cp, size):
    net = build(randomize, layer, norm_cfg, stride=stride, dilation=dilation, with_cp=with_cp)
    assert_equal(net, *inputs(net, size, stride))


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('layer', [LATER, FIRST])
def test_single_precision(randomize, layer, size):
    net = build(randomize, layer, dtype=torch.float32)
    assert_equal(net, *inputs(net, size, dtype=torch.float32), rtol=1e-4, atol=1e-4)


def test_gradients_are_those_of_the_function(randomize):
    net = build(randomize, norm_cfg=AFFINE)
    x, weights, _ = inputs(net, (4, 3))
    assert torch.autograd.gradcheck(lambda x, weights: fused_mixture(list(net.candidates.values()), x, weights),
                                    (x, weights))


def test_a_scale_of_zero(randomize):
    net = build(randomize, norm_cfg=AFFINE)
    with torch.no_grad():
        for candidate in list(net.candidates.values())[:4]:
            for part in (candidate.expand_conv, candidate.depthwise_conv, candidate.linear_conv):
                part.norm.weight[::2] = 0
                part.norm.weight[1::4] *= -1
    assert_equal(net, *inputs(net))
    assert_equal(net, *inputs(net, (20, 21)))


def test_ends_of_relu6(randomize):
    """Features of exactly 0 and 6 have no gradient, as in torch."""
    net = build(randomize, norm_cfg=AFFINE)
    with torch.no_grad():
        for candidate in list(net.candidates.values())[:4]:
            for part in (candidate.expand_conv, candidate.depthwise_conv):
                part.norm.weight[:4] = 0
                part.norm.bias[:2] = 0
                part.norm.bias[2:4] = 6
    assert_equal(net, *inputs(net))


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize(('norm_cfg', 'covered'), [
    (BARE, True), (dict(BARE, type='SyncBN'), True), (dict(type='BN'), False), (dict(type='BN', affine=False), False),
    (dict(type='GN', num_groups=1), False)
], ids=['bare', 'SyncBN', 'BN', 'statistics', 'GN'])
def test_every_normalisation(randomize, norm_cfg, covered, training):
    """Those with running statistics move them as the equation does."""
    net = build(randomize, norm_cfg=norm_cfg).train(training)
    other = copy.deepcopy(net)
    x, weights, grad = inputs(net)
    assert_equal(copy.deepcopy(net), x, weights, grad, covered=covered)
    net.forward_mixture(x, weights)
    simple_mixture(other, x, weights)
    for (name, one), two in zip(net.state_dict().items(), other.state_dict().values()):
        torch.testing.assert_close(one, two, msg=name)


@pytest.mark.parametrize('with_cp', [False, True])
def test_weights_that_require_gradients(randomize, with_cp):
    net = build(randomize, norm_cfg=AFFINE, frozen=False, with_cp=with_cp)
    assert_equal(net, *inputs(net), parameters=list(net.parameters()), covered=False)
    for parameter in list(net.parameters())[1:]:
        parameter.requires_grad_(False)
    assert_equal(net, *inputs(net), parameters=list(net.parameters())[:1], covered=False)


class Doubled(nn.Module):
    """A parametrization."""

    def forward(self, weight):
        return 2 * weight


class HalfConv(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) / 2


class LeakyReLU6(nn.ReLU6):
    def forward(self, x):
        return super().forward(x) + x / 8


class TwiceMBConv(MBConv):
    def forward(self, x):
        return 2 * super().forward(x)


def turn_into(module, kind):
    module.__class__ = kind


def replace_forward(module):
    forward = module.forward
    module.forward = lambda x: 3 * forward(x)


def reflect(conv):
    """Padding of another kind, as ``padding_mode='reflect'`` of a new convolution sets it up."""
    conv.padding_mode = 'reflect'
    conv._reversed_padding_repeated_twice = [side for side in reversed(conv.padding) for _ in range(2)]


def frozen(*shape):
    return nn.Parameter(torch.linspace(.5, 2, math.prod(shape), dtype=torch.float64).view(shape), requires_grad=False)


@pytest.mark.parametrize('change', [
    lambda block: block.depthwise_conv.conv.register_forward_hook(lambda *_: None),
    lambda block: block.depthwise_conv.activate.register_forward_hook(lambda module, x, out: out / 2),
    lambda block: block.register_forward_pre_hook(lambda *_: None),
    lambda block: block.linear_conv.norm.register_full_backward_hook(lambda *_: None),
    lambda block: block.add_module('extra', nn.Identity()),
    lambda block: block.linear_conv.add_module('extra', nn.Identity()),
    lambda block: block.depthwise_conv.conv.add_module('extra', nn.Identity()),
    lambda block: block.expand_conv.activate.add_module('extra', nn.Identity()),
    lambda block: block.expand_conv.register_parameter('extra', frozen(3)),
    lambda block: block.linear_conv.norm.register_buffer('extra', torch.ones(3)),
    lambda block: parametrize.register_parametrization(block.linear_conv.conv, 'weight', Doubled()),
    lambda block: nn.utils.weight_norm(block.expand_conv.conv),
    lambda block: turn_into(block.depthwise_conv.conv, HalfConv),
    lambda block: turn_into(block.expand_conv.activate, LeakyReLU6),
    lambda block: turn_into(block, TwiceMBConv),
    lambda block: replace_forward(block),
    lambda block: replace_forward(block.linear_conv),
    lambda block: replace_forward(block.linear_conv.norm),
    lambda block: setattr(block, 'linear_conv', nn.Conv2d(24, 4, 1, dtype=torch.float64).requires_grad_(False)),
    lambda block: setattr(block.expand_conv, 'activate', nn.Hardswish()),
    lambda block: setattr(block.expand_conv.activate, 'max_val', 1.),
    lambda block: setattr(block.linear_conv.norm, 'eps', .1),
    lambda block: setattr(block.linear_conv.norm, 'weight', frozen(4)),
    lambda block: reflect(block.depthwise_conv.conv),
    lambda block: setattr(block.depthwise_conv.conv, 'bias', frozen(24)),
    lambda block: [setattr(block.depthwise_conv.conv, name, (2, 2)) for name in ('dilation', 'padding')],
    lambda block: setattr(block.depthwise_conv, 'order', ('conv', 'act', 'norm')),
    lambda block: setattr(block.expand_conv, 'with_activation', False),
    lambda block: setattr(block, 'with_shortcut', False),
], ids=['hook', 'hook on the activation', 'pre-hook', 'backward hook', 'part of a block', 'part of a ConvModule',
        'part of a convolution', 'part of an activation', 'parameter', 'buffer', 'parametrization', 'weight norm',
        'another convolution', 'another ReLU6', 'another block', "block's forward", "part's forward", "norm's forward",
        'convolution in place of a part', 'activation', 'end of ReLU6', 'eps', 'scale', 'padding_mode', 'bias',
        'dilation', 'order', 'no activation', 'no shortcut'])
def test_one_other_part(randomize, change):
    net = build(randomize)
    change(net.candidates['k3_e6'])
    assert_equal(net, *inputs(net), covered=False)


def test_an_identity_with_a_hook(randomize):
    net = build(randomize)
    net.candidates['skip'].register_forward_hook(lambda module, x, out: 2 * out)
    assert_equal(net, *inputs(net), covered=False)


def test_a_hook_on_all_modules(randomize):
    net = build(randomize)
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, x, out: out / 2 if isinstance(module, nn.ReLU6) else None)
    try:
        assert_equal(net, *inputs(net), covered=False)
    finally:
        handle.remove()
    assert_equal(net, *inputs(net))


def test_a_change_is_noticed_and_its_end_as_well(randomize):
    """What was covered in the step before need not be in this one."""
    net = build(randomize)
    assert_equal(net, *inputs(net))
    handle = net.candidates['k5_e3'].linear_conv.register_forward_hook(lambda module, x, out: 2 * out)
    assert_equal(net, *inputs(net), covered=False)
    handle.remove()
    assert_equal(net, *inputs(net))


def refuse(*_):
    raise AssertionError('the candidates were to run one after another')


def test_not_fused(randomize, monkeypatch):
    monkeypatch.setattr('fna_mm.backbones.mixed_op.fused_mixture', refuse)
    net = build(randomize, fused=False)
    assert_equal(net, *inputs(net))


def test_other_activations(randomize):
    net = build(randomize, act_cfg=dict(type='ReLU'))
    assert_equal(net, *inputs(net), covered=False)


def test_blocks_without_expansion(randomize):
    layer = SearchableLayer(1, 1, 4, 4, (MBConvSpec(3, 1), MBConvSpec(3, 3)))
    net = build(randomize, layer)
    assert_equal(net, *inputs(net), covered=False)


def test_a_single_pixel_is_refused_as_ever(randomize):
    net = build(randomize)
    x, weights, _ = inputs(net, (1, 1), images=1)
    with pytest.raises(ValueError, match='more than 1 value per channel'):
        net.forward_mixture(x, weights)


def has_autocast(kind):
    """Whether this torch has autocast to this dtype on the CPU; 2.1 has none to float16."""
    try:
        with torch.autocast('cpu', kind):
            return True
    except RuntimeError:
        return False


@pytest.mark.filterwarnings('ignore:In CPU autocast')
@pytest.mark.parametrize('kind', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('norm_cfg', [BARE, AFFINE], ids=['bare', 'affine'])
@pytest.mark.parametrize('layer', [LATER, FIRST])
@pytest.mark.parametrize('size', SIZES)
def test_autocast(randomize, layer, norm_cfg, kind, size):
    """As far from the exact result as the equation is in the same precision.

    Rounding takes some features across an end of ReLU6, in either; the gradient of x then differs there.
    """
    if not has_autocast(kind):
        pytest.skip(f'torch {torch.__version__} has no autocast to {kind} on the CPU')
    net = build(randomize, layer, norm_cfg, dtype=torch.float32)
    x, weights, grad = inputs(net, size, dtype=torch.float32)
    exact = results(lambda x, weights: simple_mixture(net, x, weights), x, weights, grad)
    errors = []
    for mixture in (lambda x, weights: simple_mixture(net, x, weights), net.forward_mixture):
        with torch.autocast('cpu', kind):
            out = mixture(x, weights)
        assert out.dtype == (torch.float32 if layer is LATER else kind)
        found = [out.detach(), *torch.autograd.grad(out, (x, weights), grad.to(out.dtype))]
        assert [tensor.dtype for tensor in found[1:]] == [torch.float32] * 2
        errors.append([float((one - other).norm() / other.norm()) for one, other in zip(found, exact)])
    for own, simple, crossing in zip(*reversed(errors), (0, .1, 0)):
        assert own < max(2 * simple, 4 * torch.finfo(kind).eps, crossing)


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('size', SIZES)
def test_memory_formats(randomize, memory_format, size):
    net = build(randomize)
    x, weights, grad = inputs(net, size)
    x = x.detach().contiguous(memory_format=memory_format).requires_grad_()
    assert_equal(net, x, weights, grad.contiguous(memory_format=memory_format))


@pytest.mark.parametrize('needed', ['x', 'weights', 'none'])
def test_only_what_is_needed(randomize, needed):
    net = build(randomize)
    x, weights, grad = inputs(net)
    expected = results(lambda x, weights: simple_mixture(net, x, weights), x, weights, grad)
    x, weights = x.detach().requires_grad_(needed == 'x'), weights.detach().requires_grad_(needed == 'weights')
    out = net.forward_mixture(x, weights)
    torch.testing.assert_close(out.detach(), expected[0])
    if needed == 'none':
        assert not out.requires_grad
        return
    (found, ) = torch.autograd.grad(out, x if needed == 'x' else weights, grad)
    torch.testing.assert_close(found, expected[1 if needed == 'x' else 2])


def test_the_graph_can_be_walked_twice(randomize):
    net = build(randomize, with_cp=True)
    x, weights, grad = inputs(net)
    out = net.forward_mixture(x, weights)
    first = torch.autograd.grad(out, (x, weights), grad, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(out, (x, weights), grad), first)


@pytest.mark.parametrize('with_cp', [False, True])
def test_what_is_kept(randomize, with_cp):
    """Of the hidden features two tensors a block, or none at all, against six in a graph of autograd."""
    kept = {}
    for name, mixture in (('fused', MixedOp.forward_mixture), ('simple', simple_mixture)):
        net = build(randomize, with_cp=with_cp and name == 'fused')
        x, weights, _ = inputs(net, (20, 21))
        tensors = []
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensors.append(tensor) or tensor,  # noqa: B023
                                                      lambda tensor: tensor):
            mixture(net, x, weights)
        kept[name] = sum({tensor.data_ptr(): tensor.numel() for tensor in tensors}.values())
    hidden = sum(spec.hidden_channels(4) for spec in SPECS) * x.numel() // 4
    results_of_blocks = len(SPECS) * x.numel()
    assert kept['fused'] <= (0 if with_cp else 2 * hidden) + results_of_blocks + x.numel() + len(weights)
    assert kept['fused'] < (.15 if with_cp else .6) * kept['simple']


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('out_indices', [(1, 2, 4, 6), (1, 'expand5', 6)])
def test_architecture_gradients_of_a_supernet(randomize, monkeypatch, with_cp, out_indices):
    image = torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = []
    for fused in (True, False):
        if not fused:
            monkeypatch.setattr('fna_mm.backbones.mixed_op.fused_mixture', refuse)
        torch.manual_seed(0)
        net = randomize(FNASuperNet((1, 2, 1, 1, 1, 1), (3, 5), (3, 6), with_cp=with_cp, out_indices=out_indices,
                                    fused=fused)).double().train().requires_grad_(False)
        net.architecture_parameters.requires_grad_(True)
        net.use_mixture()
        outs = net(image)
        found.append(torch.autograd.grad(sum(out.square().mean() for out in outs), net.architecture_parameters)[0])
    assert found[1].abs().min() > 1e-9
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_processes_that_normalise_together(randomize, tmp_path):
    """SyncBN on parts of a batch, of unequal sizes, is BN on all of it."""
    cases, expected = [], []
    for norm_cfg in (BARE, AFFINE):
        for size in SIZES[1:]:
            net = build(randomize, FIRST, norm_cfg)
            x, weights, grad = inputs(net, size, images=4)
            expected.append(results(lambda x, weights, net=net: simple_mixture(net, x, weights), x, weights, grad))
            net = build(randomize, FIRST, dict(norm_cfg, type='SyncBN'))
            cases.append((net, x.detach(), weights.detach(), grad))
    context = torch.multiprocessing.get_context('spawn')
    queue = context.Queue()
    processes = [context.Process(target=normalise_together, args=(rank, tmp_path / 'init', cases, queue))
                 for rank in range(2)]
    for process in processes:
        process.start()
    found = dict(queue.get(timeout=300) for _ in processes)
    for process in processes:
        process.join()
    for one, other, (out, grad_x, grad_weights) in zip(found[0], found[1], expected):
        first, second = ([torch.from_numpy(array) for array in arrays] for arrays in (one, other))
        torch.testing.assert_close(torch.cat([first[0], second[0]]), out)
        torch.testing.assert_close(torch.cat([first[1], second[1]]), grad_x)
        torch.testing.assert_close(first[2] + second[2], grad_weights)
