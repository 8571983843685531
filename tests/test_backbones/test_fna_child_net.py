import copy

import mmdet.registry
import mmengine.registry
import mmseg.registry
import pytest
import torch
from mmdet.models.backbones import MobileNetV2 as DetMobileNetV2
from mmengine.config import ConfigDict
from mmengine.registry import MODELS
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from mmseg.models.backbones import MobileNetV2 as SegMobileNetV2
from torch import nn

from fna_mm import Architecture, FNAChildNet, FNASuperNet
from fna_mm.families.mobilenet_v2 import PUBLISHED

SIZE = 64
ALL = tuple(range(8))
REGISTRIES = [mmengine.registry.MODELS, mmdet.registry.MODELS, mmseg.registry.MODELS]


def image(*shape):
    return torch.rand(*(shape or (1, 3, SIZE, SIZE)), generator=torch.Generator().manual_seed(5)) * 4 - 2


# Outputs


@pytest.mark.parametrize(('output_stride', 'shapes'), [
    (32, [(16, 32), (24, 16), (32, 8), (64, 4), (96, 4), (160, 2), (320, 2), (1280, 2)]),
    (16, [(16, 32), (24, 16), (32, 8), (64, 4), (96, 4), (160, 4), (320, 4), (1280, 4)]),
    (8, [(16, 32), (24, 16), (32, 8), (64, 8), (96, 8), (160, 8), (320, 8), (1280, 8)]),
])
@pytest.mark.parametrize('arch', sorted(PUBLISHED))
def test_all_outputs(arch, output_stride, shapes):
    net = FNAChildNet(arch, out_indices=ALL, output_stride=output_stride).eval()
    with torch.no_grad():
        outs = net(image())
    assert isinstance(outs, tuple)
    assert [tuple(out.shape) for out in outs] == [(1, channels, side, side) for channels, side in shapes]
    assert net.out_channels == (16, 24, 32, 64, 96, 160, 320, 1280)
    assert net.output_stride == output_stride


@pytest.mark.parametrize(('out_indices', 'channels'), [
    ((0, ), (16, )), ((6, ), (320, )), ((7, ), (1280, )), ((1, 2, 4, 6), (24, 32, 96, 320)), ((4, 7), (96, 1280)),
    ([1, 6], (24, 320))])
def test_chosen_outputs(out_indices, channels):
    net = FNAChildNet('fna_ssdlite', out_indices=out_indices).eval()
    with torch.no_grad():
        outs = net(image())
        everything = FNAChildNet('fna_ssdlite', out_indices=ALL).eval()
        everything.load_state_dict(net.state_dict(), strict=False)
        expected = [everything(image())[index] for index in out_indices]
    assert tuple(out.shape[1] for out in outs) == net.out_channels == channels
    for out, other in zip(outs, expected):
        torch.testing.assert_close(out, other)


def test_default_outputs():
    net = FNAChildNet('mobilenet_v2')
    assert net.out_indices == (1, 2, 4, 6)
    assert net.out_channels == (24, 32, 96, 320)


def test_odd_sizes_round_up():
    with torch.no_grad():
        outs = FNAChildNet('fna_retinanet').eval()(image(2, 3, 65, 97))
    assert [tuple(out.shape) for out in outs] == [(2, 24, 17, 25), (2, 32, 9, 13), (2, 96, 5, 7), (2, 320, 3, 4)]


def test_last_convolution_only_when_asked_for():
    assert not any(key.startswith('conv2') for key in FNAChildNet('mobilenet_v2').state_dict())
    net = FNAChildNet('mobilenet_v2', out_indices=(7, ), head_channels=10)
    assert net.conv2.conv.weight.shape == (10, 320, 1, 1)
    assert net.out_channels == (10, )
    assert (net.built_head_channels, FNAChildNet('mobilenet_v2').built_head_channels) == (10, 0)


def expanded_by_hand(net, x):
    """What 'expand5' is: the output of the ReLU6 behind stage 5's first expand convolution."""
    caught = []
    handle = net.stage(5)[0].expand_conv.activate.register_forward_hook(lambda module, x, out: caught.append(out))
    with torch.no_grad():
        net(x)
    handle.remove()
    return caught[0]


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('output_stride', [32, 16, 8])
@pytest.mark.parametrize('arch', ['mobilenet_v2', 'fna_ssdlite', 'fna_retinanet'])
def test_expanded_features(arch, output_stride, with_cp, randomize):
    """576 channels at the depthwise convolution's input resolution; the other maps stay what they are."""
    net = randomize(FNAChildNet(arch, (4, 'expand5', 5, 7), output_stride, with_cp=with_cp)).eval()
    outs = net(image())
    side = SIZE // min(output_stride, 16)
    assert net.out_channels == (96, 576, 160, 1280)
    assert outs[1].shape == (1, 576, side, side)
    assert 0 == outs[1].min() < outs[1].max() <= 6
    assert torch.equal(outs[1], expanded_by_hand(net, image()))
    plain = FNAChildNet(arch, (4, 5, 7), output_stride).eval()
    plain.load_state_dict(net.state_dict())
    for out, other in zip((outs[0], outs[2], outs[3]), plain(image())):
        assert torch.equal(out, other)


def test_a_narrower_tapped_layer_is_refused():
    """fna_ssdlite with ratio 3 where SSDLite takes its 576 channels."""
    text = Architecture.create('fna_ssdlite').to_text().replace("['k5_e6', 'k7_e6', 'k7_e6'], 2]|\n[[160",
                                                                "['k5_e3', 'k7_e6', 'k7_e6'], 2]|\n[[160")
    assert FNAChildNet(text, (5, )).architecture.stages[5].layers[0].expand_ratio == 3
    with pytest.raises(ValueError, match=r"'expand5', whose layer must have 576 hidden channels, those of the seed, "
                                         r'but the first layer of the stage 96 → 160 is k5_e3 with 288'):
        FNAChildNet(text, ('expand5', 7))


def test_a_tapped_layer_may_have_the_channels_that_are_said():
    net = FNAChildNet(narrow_tapped(), (1, 'expand5', 7), tapped_channels=(200, ))
    assert net.out_channels == (24, 200, 1280)
    assert [one.shape[1] for one in net(torch.zeros(2, 3, 64, 64))] == [24, 200, 1280]


@pytest.mark.parametrize(('channels', 'message'), [
    ((208, ), r"'expand5', whose layer must have 208 hidden channels, as tapped_channels says, but .* with 200"),
    ((200, 200), r"tapped_channels=\(200, 200\) must have one number for every expandN of out_indices="),
    (200, r'tapped_channels must be a list or tuple, not 200')])
def test_bad_tapped_channels(channels, message):
    with pytest.raises(ValueError, match=message):
        FNAChildNet(narrow_tapped(), ('expand5', 7), tapped_channels=channels)


def narrow_tapped():
    """MobileNetV2 with 200 hidden channels in the first layer of stage 5."""
    values = Architecture.create('mobilenet_v2').to_dict()
    values['stages'][5]['layers'][0] = 'k3_c200'
    return Architecture.create(values)



@pytest.mark.parametrize('widen_factor', [.35, .5, .75, 1., 1.4, 2])
def test_widths_are_those_of_mmdet(widen_factor):
    net = FNAChildNet('mobilenet_v2', ALL, widen_factor=widen_factor)
    theirs = DetMobileNetV2(widen_factor=widen_factor, out_indices=ALL)
    assert {key: value.shape for key, value in net.state_dict().items()} == {
        key: value.shape for key, value in theirs.state_dict().items()}
    net.load_state_dict(theirs.state_dict())
    net.eval()
    theirs.eval()
    with torch.no_grad():
        for out, channels, other in zip(net(image()), net.out_channels, theirs(image())):
            assert out.shape[1] == channels
            torch.testing.assert_close(out, other)


def test_expanded_features_of_a_wider_network():
    net = FNAChildNet('fna_ssdlite', ('expand5', ), widen_factor=.5)
    assert net.out_channels == (48 * 6, )
    assert net(image())[0].shape[1] == 48 * 6


def test_every_parameter_gets_a_gradient(toy, randomize):
    net = randomize(FNAChildNet(toy, out_indices=(0, 3), output_stride=8)).train()
    sum(out.square().sum() for out in net(image())).backward()
    parameters = dict(net.named_parameters())
    assert len(parameters) == 3 * (1 + 2 + 5 * 3 + 1)  # convolution, BN scale and shift
    assert [name for name, parameter in parameters.items() if parameter.grad is None] == []
    assert [name for name, parameter in parameters.items() if parameter.grad.abs().sum() == 0] == []


# The same network as mm's own


@pytest.mark.parametrize('mode', ['eval', 'train'])
def test_is_mmdets_mobilenet_v2(seed_state, mode):
    ours = FNAChildNet('mobilenet_v2', out_indices=ALL)
    theirs = DetMobileNetV2(out_indices=ALL)
    ours.load_state_dict(seed_state, strict=True)
    theirs.load_state_dict(seed_state, strict=True)
    x = image(2, 3, SIZE, 96)
    for net in (ours, theirs):
        net.train(mode == 'train')
    with torch.no_grad():
        ours_out, theirs_out = ours(x), theirs(x)
    assert len(ours_out) == len(theirs_out) == 8
    for our, their in zip(ours_out, theirs_out):
        assert their.abs().max() > .1
        torch.testing.assert_close(our, their, rtol=1e-5, atol=1e-5)


SEG_DILATIONS = {
    32: dict(strides=(1, 2, 2, 2, 1, 2, 1), dilations=(1, 1, 1, 1, 1, 1, 1)),
    16: dict(strides=(1, 2, 2, 2, 1, 1, 1), dilations=(1, 1, 1, 1, 1, 2, 2)),
    8: dict(strides=(1, 2, 2, 1, 1, 1, 1), dilations=(1, 1, 1, 2, 2, 4, 4)),  # mmseg's configs
}


@pytest.mark.parametrize('output_stride', sorted(SEG_DILATIONS))
def test_is_mmsegs_mobilenet_v2(seed_state, in_layout, output_stride):
    ours = FNAChildNet('mobilenet_v2', out_indices=ALL[:7], output_stride=output_stride)
    theirs = SegMobileNetV2(out_indices=ALL[:7], **SEG_DILATIONS[output_stride])
    for net in (ours, theirs):
        net.eval()
    state = {key: value for key, value in seed_state.items() if not key.startswith('conv2')}
    ours.load_state_dict(state, strict=True)
    theirs.load_state_dict(in_layout(state, 'mmseg'), strict=True)
    # mmseg dilates the first layer of a stage only, the authors' release and we all of them.
    for index, dilation in enumerate(SEG_DILATIONS[output_stride]['dilations'], 1):
        for layer in getattr(theirs, f'layer{index}'):
            depthwise = layer.conv[-2].conv
            depthwise.dilation = depthwise.padding = (dilation, dilation)
    with torch.no_grad():
        ours_out, theirs_out = ours(image()), theirs(image())
    assert len(ours_out) == len(theirs_out) == 7
    for our, their in zip(ours_out, theirs_out):
        torch.testing.assert_close(our, their, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(('output_stride', 'dilations'), [
    (32, [1] * 7), (16, [1, 1, 1, 1, 1, 2, 2]), (8, [1, 1, 1, 2, 2, 4, 4])])
def test_every_layer_of_a_stage_is_dilated(output_stride, dilations):
    net = FNAChildNet('fna_deeplabv3', output_stride=output_stride)
    found = [{layer.depthwise_conv.conv.dilation for layer in net.stage(index)} for index in range(7)]
    assert found == [{(dilation, dilation)} for dilation in dilations]
    assert net.conv1.conv.dilation == (1, 1)


@pytest.mark.parametrize('output_stride', [16, 8])
def test_state_does_not_depend_on_the_output_stride(output_stride):
    full, dilated = (FNAChildNet('fna_ssdlite', output_stride=stride).state_dict() for stride in (32, output_stride))
    assert {key: value.shape for key, value in full.items()} == {key: value.shape for key, value in dilated.items()}


# Training


def batch_norms(module):
    return [child for child in module.modules() if isinstance(child, _BatchNorm)]


@pytest.mark.parametrize('frozen_stages', [-1, 0, 1, 4, 7])
def test_frozen_stages(frozen_stages):
    net = FNAChildNet('fna_retinanet', out_indices=(7, ), frozen_stages=frozen_stages)
    net.train()
    parts = [net.conv1] + [net.stage(index) for index in range(7)] + [net.conv2]
    for place, part in enumerate(parts):
        frozen = place <= frozen_stages
        assert {parameter.requires_grad for parameter in part.parameters()} == {not frozen}
        assert {norm.training for norm in batch_norms(part)} == {not frozen}
    before = copy.deepcopy(net.state_dict())
    net(image(2, 3, SIZE, SIZE))[0].sum().backward()
    changed = {key.split('.')[0] for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    names = ['conv1'] + [f'layer{index}' for index in range(1, 8)] + ['conv2']
    assert changed == set(names[frozen_stages + 1:])
    with_grad = {name.split('.')[0] for name, parameter in net.named_parameters() if parameter.grad is not None}
    assert with_grad == set(names[frozen_stages + 1:])


def test_frozen_before_the_first_call_of_train():
    """DDP wraps a model before its train() is called, and then waits for every gradient it saw."""
    net = FNAChildNet('mobilenet_v2', frozen_stages=2)
    trained = {name.split('.')[0] for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert trained == {'layer3', 'layer4', 'layer5', 'layer6', 'layer7'}


def test_frozen_stages_stay_frozen_after_evaluation():
    net = FNAChildNet('mobilenet_v2', frozen_stages=1)
    net.train()
    net.eval()
    net.train()
    assert not net.conv1.training
    assert not any(norm.training for norm in batch_norms(net.stage(0)))
    assert all(norm.training for norm in batch_norms(net.stage(1)))


@pytest.mark.parametrize('norm_type', ['BN', 'SyncBN'])
@pytest.mark.parametrize('norm_eval', [True, False])
def test_norm_eval(norm_eval, norm_type):
    net = FNAChildNet('fna_ssdlite', norm_eval=norm_eval, norm_cfg=dict(type=norm_type))
    assert net.train() is net
    assert net.training
    norms = batch_norms(net)
    assert len(norms) == 1 + 2 + 3 * sum(len(stage.layers) for stage in net.architecture.stages[1:])
    assert {norm.training for norm in norms} == {not norm_eval}
    assert all(parameter.requires_grad for parameter in net.parameters())
    net.eval()
    assert {norm.training for norm in norms} == {False}


def test_with_cp_gives_the_same_maps_and_gradients(toy, randomize):
    results = []
    for with_cp in (False, True):
        net = randomize(FNAChildNet(toy, (0, 2), 8, with_cp=with_cp)).train()
        assert {layer.with_cp for index in range(3) for layer in net.stage(index)} == {with_cp}
        outs = net(image(2, 3, 32, 32))
        sum(out.square().sum() for out in outs).backward()
        results.append([out.detach() for out in outs] + [parameter.grad for parameter in net.parameters()])
    assert len(results[0]) == len(results[1]) == 2 + 3 * 18
    for plain, checkpointed in zip(*results):
        torch.testing.assert_close(checkpointed, plain, rtol=1e-4, atol=1e-4)


def test_sync_bn_can_be_built_and_evaluated():
    net = FNAChildNet('fna_retinanet', norm_cfg=dict(type='SyncBN', requires_grad=True)).eval()
    assert {isinstance(norm, nn.SyncBatchNorm) for norm in batch_norms(net)} == {True}
    with torch.no_grad():
        assert [out.shape[1] for out in net(image())] == [24, 32, 96, 320]


def test_norm_cfg_without_gradients():
    net = FNAChildNet('mobilenet_v2', norm_cfg=dict(type='BN', requires_grad=False))
    assert {parameter.requires_grad for norm in batch_norms(net) for parameter in norm.parameters()} == {False}
    assert net.stage(1)[0].expand_conv.conv.weight.requires_grad


@pytest.mark.parametrize(('act_cfg', 'kind'), [(dict(type='ReLU6'), nn.ReLU6), (dict(type='LeakyReLU'), nn.LeakyReLU),
                                               (dict(type='HSwish'), nn.Hardswish)])
def test_act_cfg(act_cfg, kind):
    net = FNAChildNet('fna_retinanet', out_indices=(7, ), act_cfg=act_cfg)
    kinds = [type(module) for module in net.modules() if isinstance(module, (nn.ReLU, nn.ReLU6, nn.LeakyReLU,
                                                                            nn.Hardswish))]
    # stem, last convolution, two in each MBConv but the one of expansion 1
    assert kinds == [kind] * (2 + 1 + 2 * 15)


def test_activations_default_to_relu6():
    net = FNAChildNet('mobilenet_v2')
    assert isinstance(net.conv1.activate, nn.ReLU6)
    assert isinstance(net.stage(3)[0].depthwise_conv.activate, nn.ReLU6)


# Arguments


@pytest.mark.parametrize(('arguments', 'message'), [
    (dict(out_indices=(8, )), r'out_indices=\(8,\) must name stages from 0 to 6, or 7 for the 1280-channel conv'),
    (dict(out_indices=(-1, )), r'out_indices=\(-1,\) must name stages'),
    (dict(out_indices=()), r'out_indices=\(\) must name stages'),
    (dict(out_indices=('4', )), r"out_indices=\('4',\) must name stages"),
    (dict(out_indices=(4, 1)), r'out_indices=\(4, 1\) must rise, without repetition'),
    (dict(out_indices=(1, 1)), r'out_indices=\(1, 1\) must rise, without repetition'),
    (dict(out_indices=(5, 'expand5')), r"out_indices=\(5, 'expand5'\) must rise, .*'expand5?N?' standing before N"),
    (dict(out_indices=('expand7', )), r"must name stages from 0 to 6, .*or 'expandN'"),
    (dict(out_indices=('expand', )), r"out_indices=\('expand',\) must name stages"),
    (dict(out_indices=('expand0', )), r"'expand0', whose layer must have 192 hidden channels.* is k3_e1 with 32"),
    (dict(widen_factor=0), r'width multiplier \(widen_factor\) must be a positive number, not 0'),
    (dict(widen_factor='1'), "must be a positive number, not '1'"),
    (dict(frozen_stages=8), r'frozen_stages=8 must be from -1 \(nothing frozen\) to 7'),
    (dict(frozen_stages=-2), 'frozen_stages=-2 must be from -1'),
    (dict(output_stride=4), r'output_stride=4 is not possible .*choose one of \[8, 16, 32\]'),
    (dict(output_stride=64), 'output_stride=64 is not possible'),
    (dict(arch='mobilenet_v3'), "unknown arch 'mobilenet_v3'"),
    (dict(arch=None), 'arch must be a name, a dict, a path or the published text form, not None'),
])
def test_illegal_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        FNAChildNet(**dict(dict(arch='mobilenet_v2'), **arguments))


def test_missing_arch_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'arch\.json'):
        FNAChildNet(str(tmp_path / 'arch.json'))


def test_unknown_argument():
    with pytest.raises(TypeError, match='width'):
        FNAChildNet('mobilenet_v2', width=.5)


def test_arch_in_every_form(toy, tmp_path):
    path = tmp_path / 'arch.json'
    path.write_text(toy.to_json(), encoding='utf-8')
    for arch in (toy, toy.to_dict(), toy.to_text(), str(path), ConfigDict(toy.to_dict())):
        assert FNAChildNet(arch, (2, ), 8).architecture == toy


def test_a_config_is_not_changed(toy):
    cfg = dict(
        type='FNAChildNet', arch=toy.to_dict(), out_indices=[1, 2], output_stride=8, norm_cfg=dict(type='BN', eps=1e-3),
        act_cfg=dict(type='ReLU6'), init_cfg=dict(type='Kaiming', layer='Conv2d'))
    before = copy.deepcopy(cfg)
    net = mmengine.registry.MODELS.build(cfg)
    net.init_weights()
    assert cfg == before
    assert net.conv1.bn.eps == 1e-3


@pytest.mark.parametrize('registry', REGISTRIES, ids=lambda registry: registry.scope)
def test_found_from_every_scope(registry):
    net = registry.build(dict(type='FNAChildNet', arch='fna_retinanet'))
    assert type(net) is FNAChildNet
    assert net.architecture == Architecture.create('fna_retinanet')
    assert mmengine.registry.MODELS.module_dict['FNAChildNet'] is FNAChildNet


# Initialization without a seed


def test_random_initialization():
    torch.manual_seed(0)
    net = FNAChildNet('fna_retinanet')
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(9.)
    net.init_weights()
    for norm in batch_norms(net):
        assert (norm.weight == 1).all()
        assert (norm.bias == 0).all()
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 2000:
            fan_out = module.weight.shape[0] * module.weight[0, 0].numel()  # as torch and mm count it
            assert module.weight.std().item() == pytest.approx((2 / fan_out)**.5, rel=.2), name


def test_own_init_cfg_takes_the_place_of_the_default(toy):
    net = FNAChildNet(toy, (2, ), 8, init_cfg=dict(type='Constant', layer='Conv2d', val=.125))
    net.init_weights()
    convs = [module for module in net.stage(1).modules() if isinstance(module, nn.Conv2d)]
    assert len(convs) == 6
    assert all((conv.weight == .125).all() for conv in convs)
    assert net.init_cfg == dict(type='Constant', layer='Conv2d', val=.125)


def test_pretrained_loads_a_finished_child_as_it_is(toy, randomize, tmp_path):
    child = randomize(FNAChildNet(toy, (2, ), 8), seed=6)
    path = str(tmp_path / 'child.pth')
    torch.save(dict(state_dict=child.state_dict()), path)
    net = FNAChildNet(toy, (2, ), 8, init_cfg=dict(type='Pretrained', checkpoint=path))
    net.init_weights()
    state = net.state_dict()
    assert list(state) == list(child.state_dict())
    for key, value in child.state_dict().items():
        assert torch.equal(state[key], value), key


@pytest.mark.parametrize('kind', ['FNAChildNet', 'FNASuperNet'])
def test_a_models_own_pretrained_is_refused(kind):
    """Most mmseg configs name the weights of their ResNet in the model, which passes them on."""
    mmengine.registry.init_default_scope('mmseg')
    backbone = dict(type=kind) if kind == 'FNASuperNet' else dict(type=kind, arch='mobilenet_v2')
    model = dict(
        type='EncoderDecoder', pretrained='open-mmlab://resnet50_v1c', backbone=backbone,
        decode_head=dict(type='FCNHead', in_channels=320, in_index=3, channels=8, num_classes=2))
    with pytest.raises(ValueError, match=r"passes pretrained='open-mmlab://resnet50_v1c' on .*: set pretrained=None"):
        mmseg.registry.MODELS.build(ConfigDict(copy.deepcopy(model)))
    assert mmseg.registry.MODELS.build(ConfigDict(model, pretrained=None)).backbone.out_channels[-1] == 320


# Plausible mistakes


@pytest.mark.parametrize('kind', ['FNAChildNet', 'FNASuperNet'])
@pytest.mark.parametrize(('wrong', 'message'), [
    (dict(norm_cfg=None), r"norm_cfg must be a section such as dict\(type='BN'\), not None"),
    (dict(norm_cfg='BN'), "norm_cfg must be a section .* not 'BN'"),
    (dict(norm_cfg=dict(type='GN')), 'does not say num_groups'),
    (dict(act_cfg=None), 'act_cfg must be the section of an activation, .* not None'),
    (dict(act_cfg=dict(type='ReLU66')), "act_cfg must be .*ReLU66"),
    (dict(out_indices=6), 'out_indices must be a list or tuple, not 6'),
    (dict(out_indices='6'), "out_indices must be a list or tuple, not '6'"),
    (dict(out_indices=(True, )), r'out_indices=\(True,\) must name stages'),
    (dict(head_channels=0), 'head_channels must be .*, not 0'),
    (dict(head_channels='64'), "head_channels must be .*, not '64'")])
def test_arguments_that_are_refused(kind, wrong, message):
    arch = dict(arch='mobilenet_v2') if kind == 'FNAChildNet' else {}
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(type=kind, **arch, **wrong))


@pytest.mark.parametrize('make', [
    lambda: FNAChildNet('[[32, 16], ["k9999_e1"], 1]'),
    lambda: FNAChildNet('mobilenet_v2', widen_factor=1e6),
    lambda: FNAChildNet('|'.join(['[[16000, 16000], ["k3_e99"], 1]'] * 3)),
    lambda: FNAChildNet(f'[[32, 16], {["k3_e1"] * 10**5}, 1]'),
    lambda: FNASuperNet(layers_per_stage=(10**6, 4, 4, 4, 4, 1)),
    lambda: FNASuperNet(kernel_sizes=(3, 20001)),
    lambda: FNASuperNet(expand_ratios=(3, 10**5))])
def test_what_no_network_has_is_refused_before_it_takes_memory(make):
    import resource
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r'from 1 to|at most'):
        make()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**17  # KiB: 128 MiB
