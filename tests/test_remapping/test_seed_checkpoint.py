from collections import OrderedDict

import mmdet.models.backbones
import mmseg.models.backbones
import pytest
import torch

from fna_mm import Architecture, FNAChildNet, FNASuperNet, MBConvSpec, Stage
from fna_mm.families.layouts import STEM, Key
from fna_mm.families.mobilenet_v2 import OWN
from fna_mm.remapping.seed_checkpoint import read_seed, stage_depths, unwrap

LAYOUTS = ('torchvision', 'timm', 'mmdet', 'mmseg')
NAMES = dict(torchvision='torchvision', timm='timm', mmdet='mmdet', mmseg='mmseg/mmpretrain')
DEPTHS = (1, 2, 3, 4, 3, 3, 1)
IGNORED = dict(torchvision=('classifier.1.weight', 'classifier.1.bias'), timm=('classifier.weight', 'classifier.bias'))
PREFIXES = ('', 'backbone.', 'module.', 'module.backbone.', 'model.', 'model.module.', 'module.model.backbone.')


def prefixed(state, prefix):
    return OrderedDict((prefix + key, value) for key, value in state.items())


#: How trainers save: mmengine, torchvision's references, PyTorch's ImageNet example (whose accuracy is a tensor), timm.
WRAPPERS = {
    'bare': lambda state: state,
    'mmengine': lambda state: dict(meta=dict(epoch=3), state_dict=state, message_hub={}, optimizer=dict(state={})),
    'references': lambda state: dict(model=state, epoch=3, args=None),
    'example': lambda state: dict(epoch=3, arch='mobilenet_v2', best_acc1=torch.tensor(71.9), state_dict=state),
    'ema': lambda state: dict(state_dict_ema=state, epoch=3),
    'bare ema': lambda state: dict(ema=state, epoch=3),
    'ema of mmengine': lambda state: dict(ema_state_dict=dict(prefixed(state, 'module.'), steps=torch.tensor(3))),
    'twice': lambda state: dict(model=dict(state_dict=state)),
}


def assert_seed(seed, expected, layout):
    """The seed holds the tensors of ``expected``, a state dict of mmdet's layout, and nothing else."""
    assert seed.layout == NAMES[layout]
    assert seed.depths == DEPTHS
    assert seed.unknown == ()
    wanted = {OWN.parse(key)[0]: value for key, value in expected.items()}
    assert set(seed.tensors) == set(seed.names) == set(wanted)
    assert len(wanted) == len(expected) == 312
    for key, value in wanted.items():
        assert torch.equal(seed.tensors[key], value), key


# Layouts


@pytest.mark.parametrize('wrapper', sorted(WRAPPERS))
@pytest.mark.parametrize('layout', LAYOUTS)
def test_every_wrapper(seed_layouts, layout, wrapper):
    seed = read_seed(WRAPPERS[wrapper](seed_layouts[layout]))
    assert_seed(seed, seed_layouts['mmdet'], layout)
    if wrapper == 'ema of mmengine':
        assert seed.ignored == ('steps', *IGNORED.get(layout, ()))
        return
    assert seed.ignored == IGNORED.get(layout, ())


@pytest.mark.parametrize('prefix', PREFIXES)
@pytest.mark.parametrize('layout', LAYOUTS)
def test_every_prefix(seed_layouts, layout, prefix):
    assert_seed(read_seed(dict(state_dict=prefixed(seed_layouts[layout], prefix))), seed_layouts['mmdet'], layout)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_names_are_the_checkpoints_own(seed_layouts, layout):
    state = seed_layouts[layout]
    seed = read_seed(state)
    for key, name in seed.names.items():
        assert seed.tensors[key] is state[name]


@pytest.mark.parametrize(('layout', 'key', 'name'), [
    ('torchvision', Key(STEM, 0, 'stem', 'bn', 'running_var'), 'features.0.1.running_var'),
    ('torchvision', Key(0, 0, 'depthwise', 'conv', 'weight'), 'features.1.conv.0.0.weight'),
    ('torchvision', Key(0, 0, 'project', 'bn', 'bias'), 'features.1.conv.2.bias'),
    ('torchvision', Key(2, 1, 'expand', 'conv', 'weight'), 'features.5.conv.0.0.weight'),
    ('torchvision', Key(6, 0, 'project', 'conv', 'weight'), 'features.17.conv.2.weight'),
    ('torchvision', Key(0, 0, 'last', 'conv', 'weight'), 'features.18.0.weight'),
    ('timm', Key(STEM, 0, 'stem', 'bn', 'running_var'), 'bn1.running_var'),
    ('timm', Key(0, 0, 'depthwise', 'conv', 'weight'), 'blocks.0.0.conv_dw.weight'),
    ('timm', Key(0, 0, 'project', 'conv', 'weight'), 'blocks.0.0.conv_pw.weight'),
    ('timm', Key(0, 0, 'project', 'bn', 'bias'), 'blocks.0.0.bn2.bias'),
    ('timm', Key(2, 1, 'expand', 'conv', 'weight'), 'blocks.2.1.conv_pw.weight'),
    ('timm', Key(2, 1, 'depthwise', 'bn', 'weight'), 'blocks.2.1.bn2.weight'),
    ('timm', Key(6, 0, 'project', 'conv', 'weight'), 'blocks.6.0.conv_pwl.weight'),
    ('timm', Key(0, 0, 'last', 'bn', 'weight'), 'bn2.weight'),
    ('mmseg', Key(0, 0, 'depthwise', 'conv', 'weight'), 'layer1.0.conv.0.conv.weight'),
    ('mmseg', Key(5, 2, 'depthwise', 'bn', 'weight'), 'layer6.2.conv.1.bn.weight'),
    ('mmdet', Key(5, 2, 'depthwise', 'bn', 'weight'), 'layer6.2.depthwise_conv.bn.weight'),
])
def test_places_written_out(seed_layouts, layout, key, name):
    assert read_seed(seed_layouts[layout]).names[key] == name


def test_tables_fit_the_originals(seed_layouts):
    """The layouts of the fixtures are those of the code bases themselves."""
    det = mmdet.models.backbones.MobileNetV2(out_indices=(7, ))
    seg = mmseg.models.backbones.MobileNetV2(out_indices=(6, ))
    assert set(det.state_dict()) == set(seed_layouts['mmdet'])
    assert set(seg.state_dict()) == {key for key in seed_layouts['mmseg'] if not key.startswith('conv2')}
    for net, layout in ((det, 'mmdet'), (seg, 'mmseg')):
        seed = read_seed(net.state_dict())
        assert (seed.layout, seed.depths, seed.unknown) == (NAMES[layout], DEPTHS, ())


def test_real_seed(real_seed, seed_layouts):
    state = torch.load(real_seed, weights_only=True)
    assert set(state) == set(seed_layouts['torchvision'])
    seed = read_seed(state)
    assert (seed.layout, seed.depths, seed.unknown) == ('torchvision', DEPTHS, ())
    assert seed.ignored == ('classifier.1.weight', 'classifier.1.bias')
    assert seed.tensors[Key(0, 0, 'last', 'conv', 'weight')].shape == (1280, 320, 1, 1)


def test_whole_detector(seed_layouts):
    """Its neck and heads stand beside the backbone."""
    state = prefixed(seed_layouts['mmdet'], 'backbone.')
    beside = {'neck.fpn_convs.0.conv.weight': torch.zeros(3), 'bbox_head.retina_cls.bias': torch.zeros(2)}
    seed = read_seed(dict(state_dict=OrderedDict(**state, **beside), meta=dict()))
    assert_seed(seed, seed_layouts['mmdet'], 'mmdet')
    assert seed.ignored == tuple(beside)


def test_classifier_head_of_mmpretrain(seed_layouts):
    state = dict(prefixed(seed_layouts['mmseg'], 'backbone.'), **{'head.fc.weight': torch.zeros(2, 1280)})
    seed = read_seed(dict(state_dict=state))
    assert_seed(seed, seed_layouts['mmdet'], 'mmseg')
    assert seed.ignored == ('head.fc.weight', )


def test_without_last_convolution(seed_layouts):
    state = {key: value for key, value in seed_layouts['mmdet'].items() if not key.startswith('conv2')}
    seed = read_seed(state)
    assert not any(key.part == 'last' for key in seed.tensors)
    assert len(seed.tensors) == 306


@pytest.mark.parametrize('layout', LAYOUTS)
def test_other_depths(toy, randomize, in_layout, layout):
    """Stages come from the names, or, where blocks are counted through, from the channels."""
    child = randomize(FNAChildNet(toy, (3, ), 8))
    assert read_seed(in_layout(child.state_dict(), layout)).depths == (1, 2, 3)


def test_old_checkpoints_have_no_counters(seed_layouts):
    state = {key: value for key, value in seed_layouts['torchvision'].items() if 'num_batches' not in key}
    seed = read_seed(state)
    assert seed.depths == DEPTHS
    assert len(seed.tensors) == 312 - 52


def test_unknown_tensors_are_named(seed_layouts):
    state = dict(seed_layouts['mmdet'], **{'layer2.0.se.weight': torch.zeros(1), 'extra': torch.zeros(1)})
    assert read_seed(state).unknown == ('layer2.0.se.weight', 'extra')


def test_a_checkpoint_is_not_changed(seed_layouts):
    checkpoint = dict(state_dict=prefixed(seed_layouts['mmdet'], 'module.'), meta=dict(epoch=1))
    keys, inner = list(checkpoint), list(checkpoint['state_dict'])
    read_seed(checkpoint)
    assert list(checkpoint) == keys
    assert list(checkpoint['state_dict']) == inner


# Our own networks' keys


@pytest.mark.parametrize('net', [
    lambda: FNAChildNet('fna_ssdlite', out_indices=(7, )),
    lambda: FNASuperNet((1, 2, 1, 1, 1, 1), out_indices=(7, ), candidate_norm_cfg=dict(type='BN')),
], ids=['child', 'supernet'])
def test_own_keys_are_all_parsed(net):
    state = net().state_dict()
    state.pop('architecture_parameters', None)
    parsed = [OWN.parse(key) for key in state]
    assert None not in parsed
    assert len(set(parsed)) == len(state)


@pytest.mark.parametrize(('key', 'place', 'candidate'), [
    ('conv1.bn.running_mean', Key(STEM, 0, 'stem', 'bn', 'running_mean'), None),
    ('conv2.conv.weight', Key(0, 0, 'last', 'conv', 'weight'), None),
    ('layer10.12.linear_conv.bn.bias', Key(9, 12, 'project', 'bn', 'bias'), None),
    ('layer2.3.candidates.k7_e3.depthwise_conv.conv.weight', Key(1, 3, 'depthwise', 'conv', 'weight'), 'k7_e3'),
])
def test_own_key_written_out(key, place, candidate):
    assert OWN.parse(key) == (place, candidate)


@pytest.mark.parametrize('key', ['architecture_parameters', 'layer1.0.conv.0.conv.weight', 'conv3.conv.weight', '',
                                 'layer2.0.expand_conv.conv.weight.x', 'xlayer2.0.expand_conv.conv.weight'])
def test_no_weight_of_ours(key):
    assert OWN.parse(key) is None


# What is no seed


@pytest.mark.parametrize(('checkpoint', 'message'), [
    ({}, r'no tensors in the checkpoint: expected a state dict, found \[\]'),
    (None, 'expected a state dict, found NoneType'),
    (torch.zeros(3), 'expected a state dict, found Tensor'),
    ([1, 2], 'expected a state dict, found list'),
    (dict(epoch=3, args='x'), r"found \['args', 'epoch'\]"),
    (dict(state_dict=dict()), 'no tensors in the checkpoint'),
    (dict(state_dict=3), r"found \['state_dict'\]"),
    (dict(model=dict(model=dict(model=dict(model=dict(model=3))))), 'no tensors in the checkpoint'),
    (dict(conv1=torch.zeros(1)), 'keys are those of no known MobileNetV2 layout .*the first of 1 are conv1'),
])
def test_no_state_dict(checkpoint, message):
    with pytest.raises(ValueError, match=message):
        read_seed(checkpoint)


def test_a_checkpoint_that_holds_itself():
    checkpoint = {}
    checkpoint['model'] = checkpoint
    with pytest.raises(ValueError, match='no tensors in the checkpoint'):
        unwrap(checkpoint)


@pytest.mark.parametrize('build', [
    lambda: mmdet.models.backbones.EfficientNet('b0'),
    lambda: mmseg.models.backbones.MobileNetV3('small'),
], ids=['efficientnet', 'mobilenet_v3'])
def test_another_network(build):
    with pytest.raises(ValueError, match=r'no known MobileNetV2 layout \(mmdet, mmseg/mmpretrain, torchvision'):
        read_seed(build().state_dict())


def test_a_resnet_is_called_one():
    with pytest.raises(ValueError, match=r"layout \(.*\) but look like a ResNet's: the first of 120 are conv1\.weight"):
        read_seed(mmdet.models.backbones.ResNet(18).state_dict(), 'mobilenet_v2')
    assert read_seed(mmdet.models.backbones.ResNet(18).state_dict()).family == 'resnet'
    with pytest.raises(ValueError, match='no known MobileNetV2 layout') as caught:
        read_seed(mmdet.models.backbones.EfficientNet('b0').state_dict())
    assert 'ResNet' not in str(caught.value)


def test_a_search_is_no_seed():
    """Its layers have many candidates; which of them would be the seed's is not for us to guess."""
    net = FNASuperNet((1, 1, 1, 1, 1, 1), candidate_norm_cfg=dict(type='BN'))
    with pytest.raises(ValueError, match=r"2\.0\.candidates\..* and 'layer2\.0\.candidates\..* have the same place"):
        read_seed(net.state_dict())


@pytest.mark.parametrize('names', [
    ['classifier.1.weight', 'classifier.1.bias'], ['classifier.weight'], ['head.fc.weight', 'head.fc.bias'],
    ['bbox_head.cls.weight', 'neck.convs.0.weight']])
def test_classes_only(names):
    with pytest.raises(ValueError, match=f'only what stands behind a backbone, such as a classifier .{names[0]}'):
        read_seed(dict(state_dict={name: torch.zeros(5, 8) for name in names}))


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
@pytest.mark.parametrize('key', ['layer3.1.depthwise_conv.conv.weight', 'conv1.bn.running_var', 'conv2.conv.weight'])
@pytest.mark.parametrize('layout', LAYOUTS)
def test_broken_numbers(seed_state, in_layout, layout, key, value):
    names = dict(zip(in_layout({name: name for name in seed_state}, layout).values(),
                     in_layout({name: name for name in seed_state}, layout)))
    state = in_layout(seed_state, layout)
    broken = state[names[key]].clone()
    broken.view(-1)[-3] = value
    state[names[key]] = broken
    with pytest.raises(ValueError, match=f'{names[key]} holds a NaN or infinity in 1 of {broken.numel()} places'):
        read_seed(state)


def test_a_negative_variance(seed_state):
    broken = seed_state['layer3.1.depthwise_conv.bn.running_var'].clone()
    broken[2] = -.5
    with pytest.raises(ValueError, match=r'layer3\.1\.depthwise_conv\.bn\.running_var holds -0\.5: a variance is not'):
        read_seed(dict(seed_state, **{'layer3.1.depthwise_conv.bn.running_var': broken}))


def test_numbers_outside_the_backbone_do_not_matter(seed_layouts):
    state = dict(seed_layouts['torchvision'], **{'classifier.1.weight': torch.full((5, 1280), float('nan'))})
    assert read_seed(state).depths == DEPTHS


@pytest.mark.parametrize(('key', 'change', 'message'), [
    ('features.3.conv.0.0.weight', lambda x: (x * 9).to(torch.int8), r"torch.int8 .*: a conv's weight is float"),
    ('features.3.conv.0.0.weight', lambda x: x.flatten(1), r'of shape \(144, 24\): .* with 4 dimensions'),
    ('features.3.conv.2.weight', lambda x: x.sum(), r'of shape \(\): .* with 4 dimensions'),
    ('features.3.conv.3.weight', lambda x: x[None], r"of shape \(1, 24\): a bn's weight is .* with 1 dimension \("),
    ('features.0.0.weight', lambda x: x.to_sparse(), "a conv's weight is floating point"),
])
def test_tensors_of_another_kind(seed_layouts, key, change, message):
    state = dict(seed_layouts['torchvision'])
    state[key] = change(state[key])
    with pytest.raises(ValueError, match=f'{key} is .*{message}'):
        read_seed(state)


# Stages of blocks that are counted through

#: Output channels of MobileNetV2's stages by width multiplier, as its paper's code rounds them.
WIDTHS = {
    .25: (8, 8, 8, 16, 24, 40, 80), .35: (8, 8, 16, 24, 32, 56, 112), .5: (8, 16, 16, 32, 48, 80, 160),
    .75: (16, 24, 24, 48, 72, 120, 240), 1.: (16, 24, 32, 64, 96, 160, 320), 1.4: (24, 32, 48, 88, 136, 224, 448)}


def blocks(channels, depths):
    return [channel for channel, depth in zip(channels, depths) for _ in range(depth)]


@pytest.mark.parametrize('width', sorted(WIDTHS))
def test_stages_of_equal_channels(width):
    assert stage_depths(blocks(WIDTHS[width], DEPTHS)) == DEPTHS


@pytest.mark.parametrize('depths', [(1, 1, 1, 1, 1, 1, 1), (1, 3, 4, 5, 4, 4, 1), (2, 2, 2, 4, 3, 3, 1)])
def test_seven_changes_are_seven_stages_of_any_depth(depths):
    """The last has as many blocks as MobileNetV2: what changes in it wins over what is usual."""
    assert stage_depths(blocks(WIDTHS[1.], depths)) == depths


@pytest.mark.parametrize(('width', 'depths'), [
    (.5, (1, 3, 4, 5, 4, 4, 1)), (.75, (1, 2, 3, 3, 3, 3, 1)), (.25, (2, 2, 3, 4, 3, 3, 1)),
    (.5, (1, 2, 3, 3, 4, 3, 1))])
def test_stages_that_cannot_be_told_apart(width, depths):
    channels = blocks(WIDTHS[width], depths)
    with pytest.raises(ValueError, match=rf'cannot be told apart: the {len(channels)} blocks have \[.*\] output'):
        stage_depths(channels)


def test_half_width_in_torchvisions_layout(randomize, in_layout):
    outs = WIDTHS[.5]
    stages = [Stage(a, b, stride, (MBConvSpec(3, 1 if i == 0 else 6), ) * depth) for i, (a, b, stride, depth) in
              enumerate(zip((16, *outs), outs, (1, 2, 2, 2, 1, 2, 1), DEPTHS))]
    net = randomize(FNAChildNet(Architecture(tuple(stages)), (7, )))
    seed = read_seed(in_layout(net.state_dict(), 'torchvision'))
    assert_seed(seed, net.state_dict(), 'torchvision')


@pytest.mark.parametrize(('layout', 'missing', 'message'), [
    ('mmdet', 'layer3.1.depthwise_conv.bn.', r"block of 'layer3\.1\..* \(mmdet layout\) is no whole block: it has"),
    ('mmseg', 'layer3.1.conv.1.bn.', r"block of 'layer3\.1\..* is no whole block"),
    ('torchvision', 'features.5.conv.1.', r"block of 'features\.5\..* \(torchvision layout\) is no whole block"),
    ('mmdet', 'layer3.1.', r'\(mmdet layout\) lacks layer 1 of stage 2: it is not whole'),
    ('mmseg', 'layer5.', r'lacks layer 0 of stage 4'),
    ('torchvision', 'features.5.', r'lacks the blocks \[5\] of those up to 17: it is not whole'),
    ('timm', 'blocks.2.1.conv_dw.', r"block of 'blocks\.2\.1\..* \(timm layout\) is no whole block: it has"),
    ('timm', 'blocks.2.1.', r'\(timm layout\) lacks layer 1 of stage 2: it is not whole'),
    ('mmdet', 'conv1.', 'no known MobileNetV2 layout'),
])
def test_part_of_a_checkpoint(seed_layouts, layout, missing, message):
    state = {key: value for key, value in seed_layouts[layout].items() if not key.startswith(missing)}
    assert len(state) < len(seed_layouts[layout])
    with pytest.raises(ValueError, match=message):
        read_seed(state)
