from collections import OrderedDict

import mmdet.models.backbones
import mmseg.models.backbones
import pytest
import torch

from fna_mm import FNAChildNet, FNASuperNet
from fna_mm.remapping.seed_checkpoint import STEM, Key, parse_own_key, read_seed, unwrap

LAYOUTS = ('torchvision', 'mmdet', 'mmseg')
NAMES = dict(torchvision='torchvision', mmdet='mmdet', mmseg='mmseg/mmpretrain')
DEPTHS = (1, 2, 3, 4, 3, 3, 1)
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
    'twice': lambda state: dict(model=dict(state_dict=state)),
}


def assert_seed(seed, expected, layout):
    """The seed holds the tensors of ``expected``, a state dict of mmdet's layout, and nothing else."""
    assert seed.layout == NAMES[layout]
    assert seed.depths == DEPTHS
    assert seed.unknown == ()
    wanted = {parse_own_key(key)[0]: value for key, value in expected.items()}
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
    assert seed.ignored == (('classifier.1.weight', 'classifier.1.bias') if layout == 'torchvision' else ())


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
    parsed = [parse_own_key(key) for key in state]
    assert None not in parsed
    assert len(set(parsed)) == len(state)


@pytest.mark.parametrize(('key', 'place', 'candidate'), [
    ('conv1.bn.running_mean', Key(STEM, 0, 'stem', 'bn', 'running_mean'), None),
    ('conv2.conv.weight', Key(0, 0, 'last', 'conv', 'weight'), None),
    ('layer10.12.linear_conv.bn.bias', Key(9, 12, 'project', 'bn', 'bias'), None),
    ('layer2.3.candidates.k7_e3.depthwise_conv.conv.weight', Key(1, 3, 'depthwise', 'conv', 'weight'), 'k7_e3'),
])
def test_own_key_written_out(key, place, candidate):
    assert parse_own_key(key) == (place, candidate)


@pytest.mark.parametrize('key', ['architecture_parameters', 'layer1.0.conv.0.conv.weight', 'conv3.conv.weight', '',
                                 'layer2.0.expand_conv.conv.weight.x', 'xlayer2.0.expand_conv.conv.weight'])
def test_no_weight_of_ours(key):
    assert parse_own_key(key) is None


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
    lambda: mmdet.models.backbones.ResNet(18),
    lambda: mmdet.models.backbones.EfficientNet('b0'),
    lambda: mmseg.models.backbones.MobileNetV3('small'),
], ids=['resnet', 'efficientnet', 'mobilenet_v3'])
def test_another_network(build):
    with pytest.raises(ValueError, match=r'no known MobileNetV2 layout \(mmdet, mmseg/mmpretrain, torchvision'):
        read_seed(build().state_dict())


@pytest.mark.parametrize(('layout', 'missing', 'message'), [
    ('mmdet', 'layer3.1.depthwise_conv.bn.', r"block of 'layer3\.1\..* \(mmdet layout\) is no whole MBConv: it has"),
    ('mmseg', 'layer3.1.conv.1.bn.', r"block of 'layer3\.1\..* is no whole MBConv"),
    ('torchvision', 'features.5.conv.1.', r"block of 'features\.5\..* \(torchvision layout\) is no whole MBConv"),
    ('mmdet', 'layer3.1.', r'\(mmdet layout\) lacks layer 1 of stage 2: it is not whole'),
    ('mmseg', 'layer5.', r'lacks layer 0 of stage 4'),
    ('torchvision', 'features.5.', r'lacks the blocks \[5\] of those up to 17: it is not whole'),
    ('mmdet', 'conv1.', 'no known MobileNetV2 layout'),
])
def test_part_of_a_checkpoint(seed_layouts, layout, missing, message):
    state = {key: value for key, value in seed_layouts[layout].items() if not key.startswith(missing)}
    assert len(state) < len(seed_layouts[layout])
    with pytest.raises(ValueError, match=message):
        read_seed(state)
