"""Every code base's own MobileNetV2, with random weights, against the child that is remapped from its checkpoint."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from fna_mm import Architecture, FNAChildNet, MBConvSpec, Stage
from fna_mm.remapping.parameter_remapping import remap_parameters
from fna_mm.remapping.seed_checkpoint import read_seed

STRIDES = (1, 2, 2, 2, 1, 2, 1)
DEPTHS = (1, 2, 3, 4, 3, 3, 1)
#: Stem, stages and last convolution at each width multiplier, as the code bases round them.
WIDTHS = {
    1.: (32, 16, 24, 32, 64, 96, 160, 320, 1280),
    .5: (16, 8, 16, 16, 32, 48, 80, 160, 1280),
    .75: (24, 16, 24, 24, 48, 72, 120, 240, 1280),
    1.4: (48, 24, 32, 48, 88, 136, 224, 448, 1792),
    # timm's mobilenetv2_110d and 120d: stem and last convolution as they were.
    1.1: (32, 16, 24, 32, 72, 104, 176, 352, 1280),
    1.2: (32, 24, 32, 40, 80, 112, 192, 384, 1280),
}


@dataclass
class Network:
    """Somebody's MobileNetV2, taken apart; ``stages`` are lists of blocks."""

    module: nn.Module
    stem: Callable
    stages: list
    last: Callable
    forward: Callable  #: Image → what it returns last, by its own code.


def torchvision(width):
    model = pytest.importorskip('torchvision.models').mobilenet_v2(width_mult=width, num_classes=5)
    blocks = iter(model.features[1:-1])
    return Network(model, model.features[0], [[next(blocks) for _ in range(depth)] for depth in DEPTHS],
                   model.features[-1], model.features)


def timm(name):
    model = pytest.importorskip('timm').create_model(name, num_classes=5)
    return Network(model, nn.Sequential(model.conv_stem, model.bn1), [list(stage) for stage in model.blocks],
                   nn.Sequential(model.conv_head, model.bn2), model.forward_features)


def mm(package, width):
    backbones = pytest.importorskip(f'{package}.models.backbones')
    # mmseg's has no last convolution, and returns a single map as it is.
    model = backbones.MobileNetV2(widen_factor=width, out_indices=(5, 6) if package == 'mmseg' else (6, 7))
    return Network(model, model.conv1, [list(getattr(model, f'layer{i}')) for i in range(1, 8)],
                   getattr(model, 'conv2', None), lambda x: model(x)[-1])


#: Name → how to build it, width multiplier, depths.
NETWORKS = {
    **{f'torchvision {width}': (lambda width=width: torchvision(width), width, DEPTHS) for width in (1., .5, .75, 1.4)},
    'timm mobilenetv2_100': (lambda: timm('mobilenetv2_100'), 1., DEPTHS),
    'timm mobilenetv2_050': (lambda: timm('mobilenetv2_050'), .5, DEPTHS),
    'timm mobilenetv2_140': (lambda: timm('mobilenetv2_140'), 1.4, DEPTHS),
    'timm mobilenetv2_110d': (lambda: timm('mobilenetv2_110d'), 1.1, (1, 3, 4, 5, 4, 4, 1)),
    'timm mobilenetv2_120d': (lambda: timm('mobilenetv2_120d'), 1.2, (1, 3, 5, 6, 5, 5, 1)),
    **{f'{package} {width}': (lambda package=package, width=width: mm(package, width), width, DEPTHS)
       for package in ('mmdet', 'mmseg', 'mmpretrain') for width in (1., .5)},
}
LAYOUTS = dict(mmseg='mmseg/mmpretrain', mmpretrain='mmseg/mmpretrain')


def build(name, randomize):
    make, width, depths = NETWORKS[name]
    network = make()
    randomize(network.module, seed=3).eval()
    return network, width, depths


def child_of(network, width, depths, kernel=3, more=0, kernel_method='center'):
    """The child of that width, remapped; ``more`` layers in every stage but the first and last."""
    stem, *outs, head = WIDTHS[width]
    spec = MBConvSpec(kernel, 6)
    stages = []
    for i, (a, b, stride, depth) in enumerate(zip((stem, *outs), outs, STRIDES, depths)):
        layers = (MBConvSpec(kernel, 1), ) * depth if i == 0 else (spec, ) * (depth + more * (i < 6))
        stages.append(Stage(a, b, stride, layers))
    child = FNAChildNet(Architecture(tuple(stages)), tuple(range(7 + (network.last is not None))), head_channels=head)
    state, report = remap_parameters(read_seed(network.module.state_dict()), child.state_dict(), kernel=kernel_method)
    assert report.problems() == ()
    child.load_state_dict(state, strict=True)
    return child.eval(), report


def image():
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(5)) * 4 - 2


def maps(network, more=0):
    """The maps behind every stage, their own blocks run one by one, each stage's last one ``more`` times again."""
    x, outs = network.stem(image()), []
    for index, blocks in enumerate(network.stages):
        for block in blocks + blocks[-1:] * (more if 0 < index < 6 else 0):
            x = block(x)
        outs.append(x)
    return outs + ([network.last(x)] if network.last is not None else [])


@torch.no_grad()
def differences(network, child, more=0):
    """Largest absolute difference of each map, and of the largest value in it."""
    theirs = maps(network, more)
    if not more:  # taking it apart has not changed it
        torch.testing.assert_close(theirs[-1], network.forward(image()), rtol=0, atol=0)
    ours = child(image())
    assert len(ours) == len(theirs) == 7 + (network.last is not None)
    assert [out.shape for out in ours] == [out.shape for out in theirs]
    return [(float((out - their).abs().max()), float(their.abs().max())) for out, their in zip(ours, theirs)]


def assert_equal(found):
    for difference, largest in found:
        assert largest > .1
        assert difference < 1e-5 * max(1, largest)


@pytest.mark.parametrize('name', NETWORKS)
def test_remapped_mobilenet_v2_is_their_own(name, randomize):
    network, width, depths = build(name, randomize)
    child, report = child_of(network, width, depths)
    assert report.layout == LAYOUTS.get(name.split()[0], name.split()[0])
    assert {row.action for row in report.rows} == {'copied'}
    assert report.unused == report.unknown == ()
    assert_equal(differences(network, child))


@pytest.mark.parametrize('name', NETWORKS)
def test_larger_kernels_keep_their_function(name, randomize):
    network, width, depths = build(name, randomize)
    child, report = child_of(network, width, depths, kernel=7)
    assert {row.action for row in report.rows if 'depthwise_conv.conv' in row.target} == {'kernel 3 → 7'}
    assert_equal(differences(network, child))


@pytest.mark.parametrize('name', NETWORKS)
def test_deeper_is_their_last_blocks_run_again(name, randomize):
    network, width, depths = build(name, randomize)
    child, report = child_of(network, width, depths, more=2)
    assert {row.action for row in report.rows} == {'copied'}
    assert_equal(differences(network, child, more=2))


@pytest.mark.parametrize('name', NETWORKS)
def test_another_width_is_refused_by_layer(name, randomize):
    network, width, _ = build(name, randomize)
    child = FNAChildNet(Architecture.create('mobilenet_v2'))
    _, report = remap_parameters(read_seed(network.module.state_dict()), child.state_dict())
    if width == 1:
        assert report.problems() == ()
    else:
        first = {1.1: 'layer4.0.linear_conv.conv.weight', 1.2: 'layer1.0.linear_conv.conv.weight'}
        assert report.problems()[0].startswith(f'{first.get(width, "conv1.conv.weight")}: ')
        assert ' does not fit: shape (' in report.problems()[0]
