import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.models.backbones.mobilenet_v2 import InvertedResidual
from torch import nn

from fna_mm import MBConvSpec
from fna_mm.families.mbconv_block import MBConv, build_stem

KERNELS = (3, 5, 7)


def block(randomize, text='k3_e6', in_channels=4, out_channels=4, **kwargs):
    return randomize(MBConv(MBConvSpec.parse(text), in_channels, out_channels, **kwargs))


def by_hand(block, x):
    """The block from its tensors alone, statistics fixed."""

    def norm(x, bn):
        return F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=bn.eps)

    out = x
    if block.with_expand_conv:
        out = norm(F.conv2d(out, block.expand_conv.conv.weight), block.expand_conv.bn).clamp(0, 6)
    conv = block.depthwise_conv.conv
    out = F.conv2d(out, conv.weight, None, conv.stride, conv.padding, conv.dilation, groups=conv.weight.shape[0])
    out = norm(out, block.depthwise_conv.bn).clamp(0, 6)
    out = norm(F.conv2d(out, block.linear_conv.conv.weight), block.linear_conv.bn)
    return x + out if block.with_shortcut else out


@pytest.mark.parametrize('size', [(16, 16), (15, 10)])
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('kernel', KERNELS)
@pytest.mark.parametrize('ratio', [1, 3, 6])
def test_shape_and_value(randomize, kernel, ratio, stride, size):
    net = block(randomize, f'k{kernel}_e{ratio}', 4, 6, stride=stride).eval()
    x = torch.randn(2, 4, *size, generator=torch.Generator().manual_seed(0))
    out = net(x)
    assert out.shape == (2, 6, -(-size[0] // stride), -(-size[1] // stride))
    torch.testing.assert_close(out, by_hand(net, x))


@pytest.mark.parametrize('dilation', [1, 2, 4])
@pytest.mark.parametrize('kernel', KERNELS)
def test_padding_keeps_the_size_under_dilation(randomize, kernel, dilation):
    net = block(randomize, f'k{kernel}_e3', dilation=dilation).eval()
    conv = net.depthwise_conv.conv
    assert conv.dilation == (dilation, dilation)
    assert conv.kernel_size == (kernel, kernel)
    assert conv.padding == (dilation * (kernel - 1) // 2, ) * 2
    x = torch.randn(1, 4, 13, 9)
    assert net(x).shape == x.shape
    # One pixel reaches exactly as far as the dilated kernel does.
    with torch.no_grad():
        conv.weight.fill_(1)
        pixel = torch.zeros(1, conv.weight.shape[0], 33, 33)
        pixel[..., 16, 16] = 1
        reached = conv(pixel)[0, 0].nonzero() - 16
    steps = {dilation * step for step in range(-(kernel // 2), kernel // 2 + 1)}
    assert set(reached[:, 0].tolist()) == set(reached[:, 1].tolist()) == steps


@pytest.mark.parametrize(('in_channels', 'out_channels', 'stride', 'shortcut'), [
    (4, 4, 1, True), (4, 4, 2, False), (4, 6, 1, False), (4, 6, 2, False)])
def test_shortcut_only_where_shapes_agree(randomize, in_channels, out_channels, stride, shortcut):
    net = block(randomize, 'k3_e6', in_channels, out_channels, stride=stride).eval()
    assert net.with_shortcut is shortcut
    x = torch.randn(1, in_channels, 8, 8)
    with torch.no_grad():
        net.linear_conv.bn.weight.zero_()
        net.linear_conv.bn.bias.zero_()
        expected = x if shortcut else torch.zeros(1, out_channels, 8 // stride, 8 // stride)
        torch.testing.assert_close(net(x), expected)


def test_projection_is_linear(randomize):
    net = block(randomize)
    assert not net.linear_conv.with_activation
    assert isinstance(net.expand_conv.activate, nn.ReLU6)
    assert isinstance(net.depthwise_conv.activate, nn.ReLU6)
    assert net.depthwise_conv.conv.groups == net.depthwise_conv.conv.weight.shape[0] == 24
    assert all(conv.bias is None for conv in net.modules() if isinstance(conv, nn.Conv2d))


def test_expansion_one_has_no_expand_convolution(randomize):
    net = block(randomize, 'k3_e1')
    assert not hasattr(net, 'expand_conv')
    assert net.depthwise_conv.conv.weight.shape == (4, 1, 3, 3)


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('ratio', [1, 6])
def test_is_mmdets_inverted_residual(randomize, ratio, stride):
    theirs = InvertedResidual(
        4, 4, 4 * ratio, stride=stride, with_expand_conv=ratio > 1, act_cfg=dict(type='ReLU6')).eval()
    ours = block(randomize, f'k3_e{ratio}', stride=stride).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(1, 4, 9, 9)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize('stride', [1, 2])
def test_checkpointing_changes_nothing_but_memory(randomize, stride):
    results = []
    for with_cp in (False, True):
        net = block(randomize, 'k5_e3', stride=stride, with_cp=with_cp).train()
        x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1), requires_grad=True)
        out = net(x)
        (out * torch.arange(out.numel()).reshape(out.shape)).sum().backward()
        results.append((out.detach(), x.grad, *(parameter.grad for parameter in net.parameters())))
    assert len(results[0]) == len(results[1]) == 2 + 9
    for plain, checkpointed in zip(*results):
        assert plain.abs().sum() > 0
        torch.testing.assert_close(checkpointed, plain)


def test_checkpointing_recomputes_in_the_backward_pass_only(randomize):
    net = block(randomize, with_cp=True).eval()
    runs = []
    net.expand_conv.register_forward_hook(lambda *_: runs.append(1))
    with torch.no_grad():
        net(torch.zeros(1, 4, 8, 8))
    assert len(runs) == 1
    out = net(torch.zeros(1, 4, 8, 8))
    assert len(runs) == 2
    out.sum().backward()
    assert len(runs) == 3


@pytest.mark.parametrize(('norm_cfg', 'kind'), [
    (dict(type='BN'), nn.BatchNorm2d), (dict(type='SyncBN'), nn.SyncBatchNorm),
    (dict(type='GN', num_groups=2), nn.GroupNorm)])
def test_norm_cfg(norm_cfg, kind):
    net = MBConv(MBConvSpec(3, 6), 4, 4, norm_cfg=norm_cfg)
    for part in (net.expand_conv, net.depthwise_conv, net.linear_conv):
        assert isinstance(part.norm, kind)


def test_act_cfg():
    net = MBConv(MBConvSpec(3, 6), 4, 4, act_cfg=dict(type='LeakyReLU'))
    assert isinstance(net.expand_conv.activate, nn.LeakyReLU)
    assert isinstance(net.depthwise_conv.activate, nn.LeakyReLU)
    assert not net.linear_conv.with_activation


def test_stem():
    stem = build_stem(8, dict(type='BN'), dict(type='ReLU6'), 2)
    assert isinstance(stem, ConvModule)
    assert isinstance(stem.activate, nn.ReLU6)
    assert stem.conv.weight.shape == (8, 3, 3, 3)
    assert stem.conv.bias is None
    assert stem(torch.zeros(1, 3, 15, 16)).shape == (1, 8, 8, 8)
