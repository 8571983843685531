"""ResNets and EfficientNet-Lite0 beside the libraries that they come from."""

import copy

import pytest
import torch
from torch import nn

from fna_mm import Architecture, FNAChildNet, FNASuperNet, ParameterRemapping, SearchSpace
from fna_mm.families.residual import ResidualSpec
from fna_mm.remapping.parameter_remapping import remap_parameters
from fna_mm.remapping.seed_checkpoint import read_seed

#: timm 1.0's own models without classifier at 224x224, counted: name → multiply-adds, parameters. It publishes them as
#: 1.8, 3.7, 4.1 and 7.8 GMACs and, with the classifier, 11.7, 21.8, 25.6 and 44.5 M parameters.
TIMM = {
    'resnet18': (1_813_561_344, 11_176_512),
    'resnet34': (3_663_249_408, 21_284_672),
    'resnet50': (4_087_136_256, 23_508_032),
    'resnet101': (7_799_357_440, 42_500_160),
}
PUBLISHED = {'resnet18': ('1.8', '11.7'), 'resnet34': ('3.7', '21.8'), 'resnet50': ('4.1', '25.6'),
             'resnet101': ('7.8', '44.5')}
LIBRARY = [
    ('mmdet', 'ResNet', dict(depth=18), 'resnet18', {}),
    ('mmseg', 'ResNet', dict(depth=34), 'resnet34', {}),
    ('mmdet', 'ResNet', dict(depth=50), 'resnet50', {}),
    ('mmseg', 'ResNet', dict(depth=50), 'resnet50', {}),
    ('mmdet', 'ResNet', dict(depth=50, style='caffe'), 'resnet50_caffe', {}),
    ('mmdet', 'ResNet', dict(depth=101), 'resnet101', {}),
    ('mmdet', 'ResNet', dict(depth=50, deep_stem=True), 'resnet50_v1c', {}),
    ('mmdet', 'ResNet', dict(depth=50, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)), 'resnet50',
     dict(output_stride=8)),
    ('mmseg', 'ResNetV1c', dict(depth=18), 'resnet18_v1c', {}),
    ('mmseg', 'ResNetV1c', dict(depth=18, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)), 'resnet18_v1c',
     dict(output_stride=16)),
    ('mmseg', 'ResNetV1c', dict(depth=50, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), contract_dilation=True),
     'resnet50_v1c', dict(output_stride=8, dilated='contract')),
    ('mmseg', 'ResNet', dict(depth=50, style='caffe', strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
     'resnet50_caffe', dict(output_stride=16)),
]


def library_net(package, name, arguments, randomize):
    """mm's own network with random weights, in evaluation mode."""
    backbones = pytest.importorskip(f'{package}.models.backbones')
    net = getattr(backbones, name)(**arguments)
    randomize(net, seed=4)
    net.eval()  # which returns None
    return net


@pytest.mark.parametrize(('package', 'name', 'arguments', 'arch', 'options'), LIBRARY)
def test_a_child_is_the_librarys_network(package, name, arguments, arch, options, randomize, tmp_path):
    """The same checkpoint, all four maps, sizes that no stride divides; in any wrapper."""
    net = library_net(package, name, arguments, randomize)
    torch.save(dict(state_dict={f'backbone.{key}': value for key, value in net.state_dict().items()}),
               tmp_path / 'seed.pth')
    child = FNAChildNet(arch, init_cfg=dict(type='ParameterRemapping', checkpoint=str(tmp_path / 'seed.pth')),
                        **options).eval()
    child.init_weights()
    x = torch.randn(1, 3, 70, 93)
    with torch.no_grad():
        wanted, found = net(x), child(x)
    assert len(wanted) == len(found) == 4
    for one, two in zip(wanted, found):
        assert torch.allclose(one, two, rtol=1e-5, atol=1e-5)
    assert sum(parameter.numel() for parameter in child.parameters()) == sum(
        parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize('name', list(TIMM))
def test_counts_are_those_that_timm_publishes(name):
    architecture, (madds, params) = Architecture.create(name), TIMM[name]
    assert (architecture.madds((224, 224)), architecture.params()) == (madds, params)
    classes = 1000 * architecture.stages[-1].out_channels
    published = tuple(float(text) for text in PUBLISHED[name])
    assert round((madds + classes) / 1e9, 1) == published[0]
    assert (params + classes + 1000) / 1e6 == pytest.approx(published[1], rel=5e-3)


def test_efficientnet_lite0_is_what_timm_counts():
    """385,187,552 multiply-adds and 4,652,008 parameters with the classifier of 1000 classes."""
    architecture = Architecture.create('efficientnet_lite0')
    assert architecture.madds((224, 224), head_channels=1280) + 1280 * 1000 == 385_187_552
    assert architecture.params(1280) + 1280 * 1000 + 1000 == 4_652_008


def as_timm(state):
    """A MobileNetV2-like state dict of ours with timm's names."""
    ends = {'conv1.conv': 'conv_stem', 'conv1.bn': 'bn1', 'conv2.conv': 'conv_head', 'conv2.bn': 'bn2'}
    parts = dict(expand_conv=('conv_pw', 'bn1'), depthwise_conv=('conv_dw', 'bn2'), linear_conv=('conv_pwl', 'bn3'))
    first = dict(depthwise_conv=('conv_dw', 'bn1'), linear_conv=('conv_pw', 'bn2'))
    result = {}
    for key, value in state.items():
        words = key.split('.')
        if words[0].startswith('conv'):
            result[f'{ends[".".join(words[:2])]}.{words[2]}'] = value
            continue
        stage = int(words[0][5:]) - 1
        slot = (parts if stage else first)[words[2]][words[3] == 'bn']
        result[f'blocks.{stage}.{words[1]}.{slot}.{words[4]}'] = value
    return result


def test_timms_efficientnet_lite0_is_read(randomize):
    net = randomize(FNAChildNet('efficientnet_lite0', (7, )), seed=5)
    seed = read_seed(as_timm(net.state_dict()), 'efficientnet_lite0')
    state, report = remap_parameters(seed, net.state_dict())
    assert (report.layout, report.problems()) == ('timm', ())
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


def test_squeeze_excitation_is_refused(randomize, tmp_path):
    """EfficientNet-B0 has the names of EfficientNet-Lite0, and more."""
    net = randomize(FNAChildNet('efficientnet_lite0', (7, )), seed=5)
    state = as_timm(net.state_dict())
    state['blocks.1.0.se.conv_reduce.weight'] = torch.zeros(4, 96, 1, 1)
    torch.save(state, tmp_path / 'b0.pth')
    with pytest.raises(ValueError, match=r'blocks\.1\.0\.se\.conv_reduce\.weight: unknown in the timm layout'):
        ParameterRemapping(str(tmp_path / 'b0.pth'))(net)


def test_timms_deep_stem_is_read(randomize):
    net = library_net('mmseg', 'ResNetV1c', dict(depth=18), randomize)
    names = {'stem.0': 'conv1.0', 'stem.1': 'conv1.1', 'stem.3': 'conv1.3', 'stem.4': 'conv1.4', 'stem.6': 'conv1.6',
             'stem.7': 'bn1'}
    renamed = {}
    for key, value in net.state_dict().items():
        module, _, tensor = key.rpartition('.')
        renamed[f'{names.get(module, module)}.{tensor}'] = value
    renamed['fc.weight'] = torch.zeros(10, 512)
    child = FNAChildNet('resnet18_v1c')
    one, other = (remap_parameters(read_seed(state, child.family), child.state_dict())
                  for state in (net.state_dict(), renamed))
    assert (one[1].layout, other[1].layout, other[1].ignored) == ('mm', 'timm', ('fc.weight', ))
    assert one[1].problems() == other[1].problems() == ()
    assert all(torch.equal(one[0][key], other[0][key]) for key in one[0])


def test_a_resnet_has_relu_and_all_four_maps():
    net = FNAChildNet('resnet18')
    assert net.out_indices == (0, 1, 2, 3)
    assert net.out_channels == (64, 128, 256, 512)
    assert not [module for module in net.modules() if isinstance(module, nn.ReLU6)]
    other = FNAChildNet('resnet18', act_cfg=dict(type='LeakyReLU'))
    assert not [module for module in other.modules() if isinstance(module, nn.ReLU)]


def test_frozen_stages_are_stem_and_stages():
    net = FNAChildNet('resnet18', frozen_stages=1, norm_eval=True).train()
    frozen = {name.split('.')[0] for name, parameter in net.named_parameters() if not parameter.requires_grad}
    assert frozen == {'conv1', 'layer1'}
    assert not any(module.training for module in net.modules() if isinstance(module, nn.BatchNorm2d))


@pytest.mark.parametrize('arch', ['resnet18', 'resnet50_v1c'])
def test_checkpointing_changes_no_gradient(arch, randomize):
    net = randomize(FNAChildNet(arch), seed=1).eval()
    other = FNAChildNet(arch, with_cp=True).eval()
    other.load_state_dict(net.state_dict())
    x = torch.randn(1, 3, 64, 64)
    grads = []
    for one in (net, other):
        one(x)[-1].sum().backward()
        grads.append(one.conv1[0].conv.weight.grad if arch.endswith('c') else one.conv1.conv.weight.grad)
    assert torch.allclose(*grads, rtol=1e-4, atol=1e-4 * float(grads[0].abs().max()))


@pytest.mark.parametrize(('arguments', 'message'), [
    (dict(arch='resnet18', out_indices=(4, )), r'out_indices=\(4,\) must name stages from 0 to 3$'),
    (dict(arch='resnet18', head_channels=1280), 'a ResNet has no convolution behind its stages'),
    (dict(arch='resnet18', out_indices=('expand2', )), "hidden features .*'expandN'.*, which a ResNet does not return"),
    (dict(arch='resnet18', output_stride=4), r'output_stride=4 is not possible .* choose one of \[8, 16, 32\]'),
    (dict(arch='resnet18', dilated='second'), r"must be one of \['stage', 'first', 'contract'\]"),
    (dict(arch="resnet: [[64, 64], ['k3_e6'], 1]"), "unknown operation 'k3_e6': expected kK_basicC"),
    (dict(arch="resnet: [[64, 64], ['k4_basic64'], 1]"), 'kernel_size of a residual block must be odd, not 4'),
    (dict(arch='resnet152'), "unknown arch 'resnet152': expected one of .*'resnet101'"),
])
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        FNAChildNet(**arguments)


def test_the_widths_of_a_search_are_shares_of_the_seeds():
    space = SearchSpace((2, 2, 2, 2), (3, 5), (.3, 1), 'resnet18')
    assert space.candidate_names()['layer2.1'] == ['k3_basic32', 'k5_basic32', 'k3_basic128', 'k5_basic128', 'skip']
    with pytest.raises(ValueError, match=r"are shares of the seed's inner channels, such as \(0.5, 1\): 3 is above 1"):
        SearchSpace((2, 2, 2, 2), (3, 5), (3, 6), 'resnet18')
    with pytest.raises(ValueError, match='an expansion ratio of a ResNet'):
        FNASuperNet((2, 2, 2, 2), (3, 5), (0, 1), seed='resnet18')


def test_a_scaled_resnet_scales_its_inner_channels():
    half = Architecture.create('resnet50').widened(.5)
    assert [stage.out_channels for stage in half.stages] == [128, 256, 512, 1024]
    assert half.stages[2].layers[0] == ResidualSpec(3, 128, bottleneck=True)


def test_caffes_stride_costs_less():
    """The stride in the first convolution leaves fewer pixels to the 3x3 one."""
    caffe, other = (Architecture.create(name).madds((224, 224)) for name in ('resnet50_caffe', 'resnet50'))
    assert caffe < other
    assert Architecture.create('resnet50_caffe').params() == Architecture.create('resnet50').params()


def test_specs_that_differ_in_their_stride_are_different():
    one, other = (Architecture.create(name).stages[1].layers[0] for name in ('resnet50', 'resnet50_caffe'))
    assert str(one) == str(other)
    assert one != other
    assert copy.copy(other) == other
