import json
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.backbones import MobileNetV2 as DetMobileNetV2
from torch.nn.functional import pad

from fna_mm import Architecture, FNAChildNet, FNASuperNet, MBConvSpec, Stage
from fna_mm.families.mobilenet_v2 import OWN, PUBLISHED
from fna_mm.remapping.parameter_remapping import remap_parameters
from fna_mm.remapping.seed_checkpoint import read_seed
from fna_mm.remapping.tensor_remapping import KERNEL_METHODS, WIDTH_METHODS

ALL = tuple(range(8))
#: Small enough for many of them; a tensor is read by its name and shape only.
SUPERNET = dict(layers_per_stage=(1, 3, 1, 5, 1, 1), out_indices=(7, ))
#: What a block holds, and which dimension of it counts the channels that narrowing takes away.
HIDDEN = {
    'expand_conv.conv.weight': 0,
    'depthwise_conv.conv.weight': 0,
    'linear_conv.conv.weight': 1,
    **{f'{part}.bn.{tensor}': 0 for part in ('expand_conv', 'depthwise_conv')
       for tensor in ('weight', 'bias', 'running_mean', 'running_var')}}


def image():
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(5)) * 4 - 2


def remap(seed_state, net, width='first', kernel='center'):
    """Remap a state dict, which must explain everything, and load it into ``net``."""
    state, report = remap_parameters(read_seed(seed_state), net.state_dict(), width, kernel, net.no_weights)
    assert report.problems() == ()
    own = set(net.state_dict()) - {'architecture_parameters'}
    assert set(state) == own == {row.target for row in report.rows if row.source}
    net.load_state_dict(state, strict=False)
    return net, report


def outputs(net):
    net.eval()
    with torch.no_grad():
        return net(image())


def toy_child(text, **kwargs):
    """A child with the toy's channels and other layers, a list of operations for each stage."""
    channels, strides = (8, 4, 6, 8), (1, 2, 2)
    stages = [Stage.from_operations(*channels[i:i + 2], strides[i], operations.split())
              for i, operations in enumerate(text.split('|'))]
    return FNAChildNet(Architecture(tuple(stages)), (3, ), 8, head_channels=10, **kwargs)


def expected_tensor(seed_state, key, shape):
    """What the paper's section 3.1 says of one tensor, in other words than the code."""
    words = key.split('.')
    if words[0].startswith('layer'):
        depth = max(int(other.split('.')[1]) for other in seed_state if other.startswith(words[0] + '.')) + 1
        words[1] = str(min(int(words[1]), depth - 1))
    source = seed_state['.'.join(words)]
    dim = HIDDEN.get('.'.join(words[2:])) if words[0].startswith('layer') else None
    if dim is not None:
        source = source.narrow(dim, 0, shape[dim])
    if source.dim() == 4:
        source = pad(source, [(shape[3] - source.shape[3]) // 2] * 4)
    return source


# The same network


@pytest.mark.parametrize('layout', ['torchvision', 'timm', 'mmdet', 'mmseg'])
def test_every_layout_gives_the_same_child(seed_layouts, layout):
    net, report = remap(seed_layouts[layout], FNAChildNet('mobilenet_v2', ALL))
    for key, value in net.state_dict().items():
        assert torch.equal(value, seed_layouts['mmdet'][key]), key
    assert {row.action for row in report.rows} == {'copied'}
    assert report.unused == report.unknown == ()


@pytest.mark.parametrize('layout', ['torchvision', 'timm', 'mmdet', 'mmseg'])
def test_remapped_mobilenet_v2_is_mmdets(seed_layouts, layout):
    net, _ = remap(seed_layouts[layout], FNAChildNet('mobilenet_v2', ALL))
    theirs = DetMobileNetV2(out_indices=ALL)
    theirs.load_state_dict(seed_layouts['mmdet'], strict=True)
    outs, their_outs = outputs(net), outputs(theirs)
    assert len(outs) == len(their_outs) == 8
    for out, their in zip(outs, their_outs):
        torch.testing.assert_close(out, their, rtol=1e-5, atol=1e-5)


def test_real_seed(real_seed, seed_state, in_layout):
    state = torch.load(real_seed, weights_only=True)
    names = in_layout({key: key for key in seed_state}, 'torchvision')  # torchvision's key → mmdet's
    theirs = DetMobileNetV2(out_indices=ALL)
    theirs.load_state_dict({names[key]: value for key, value in state.items() if 'classifier' not in key}, strict=True)
    net, _ = remap(state, FNAChildNet('mobilenet_v2', ALL))
    for out, their in zip(outputs(net), outputs(theirs)):
        assert their.abs().max() > .1
        torch.testing.assert_close(out, their, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('kernels', [(5, 3, 3), (7, 7, 7), (3, 5, 7), (11, 3, 9)])
@pytest.mark.parametrize('output_stride', [32, 16, 8])
def test_larger_kernels_keep_the_function(seed_state, kernels, output_stride):
    """Zeros around a kernel change nothing, not even at the border, which is padded with zeros."""
    seed = Architecture.create('mobilenet_v2')
    stages = [Stage(stage.in_channels, stage.out_channels, stage.stride,
                    tuple(MBConvSpec(kernels[i % 3], layer.expand_ratio) for i, layer in enumerate(stage.layers)))
              for stage in seed.stages]
    larger, report = remap(seed_state, FNAChildNet(Architecture(tuple(stages)), ALL, output_stride))
    same, _ = remap(seed_state, FNAChildNet(seed, ALL, output_stride))
    actions = {row.action for row in report.rows if row.target.endswith('depthwise_conv.conv.weight')}
    assert actions == {f'kernel 3 → {kernel}' if kernel > 3 else 'copied' for kernel in kernels}
    for out, other in zip(outputs(larger), outputs(same)):
        assert other.abs().max() > .1
        torch.testing.assert_close(out, other, rtol=1e-4, atol=1e-4)


def test_dilation_needs_no_remapping(seed_state):
    net, report = remap(seed_state, FNAChildNet('mobilenet_v2', ALL, output_stride=8))
    assert {row.action for row in report.rows} == {'copied'}


# Depth, width and kernel


def test_narrow_layer_keeps_the_first_channels(toy_seed):
    net, report = remap(toy_seed, toy_child('k3_e1|k3_e3 k3_e6|k3_e6 k3_e2 k3_e6'))
    state = net.state_dict()
    for block, channels in (('layer2.0.', 12), ('layer3.1.', 16)):
        found = {key[len(block):]: value for key, value in state.items() if key.startswith(block)}
        narrowed = 0
        for name, value in found.items():
            seed = toy_seed[block + name]
            dim = HIDDEN.get(name)
            if dim is None:  # the project convolution's BN and the counters
                assert torch.equal(value, seed)
                continue
            narrowed += 1
            assert value.shape[dim] == channels < seed.shape[dim]
            assert torch.equal(value, seed[:channels] if dim == 0 else seed[:, :channels]), name
        assert narrowed == 3 + 2 * 4
    actions = {row.target: row.action for row in report.rows}
    assert actions['layer2.0.expand_conv.conv.weight'] == 'width 24 → 12'
    assert actions['layer3.1.depthwise_conv.bn.running_var'] == 'width 48 → 16'
    assert actions['layer3.1.linear_conv.bn.weight'] == actions['layer2.1.expand_conv.conv.weight'] == 'copied'


def test_narrow_layer_computes_with_the_first_channels(toy_seed):
    """The whole block, run: as if the other channels of the seed's block were silenced."""
    narrow, _ = remap(toy_seed, toy_child('k3_e1|k3_e6 k3_e6|k3_e6 k3_e2 k3_e6'))
    silenced, _ = remap(toy_seed, toy_child('k3_e1|k3_e6 k3_e6|k3_e6 k3_e6 k3_e6'))
    with torch.no_grad():
        silenced.layer3[1].linear_conv.conv.weight[:, 16:] = 0
    torch.testing.assert_close(outputs(narrow), outputs(silenced), rtol=1e-4, atol=1e-5)


def test_added_layers_are_copies_of_the_last(toy_seed):
    net, report = remap(toy_seed, toy_child('k3_e1|k3_e6 k3_e6 k3_e6|k3_e6 k3_e6 k3_e6 k3_e6 k3_e6'))
    state = net.state_dict()
    for stage, last, added in (('layer2', 1, [2]), ('layer3', 2, [3, 4])):
        names = [key.split('.', 2)[2] for key in toy_seed if key.startswith(f'{stage}.{last}.')]
        assert len(names) == 18
        for layer in range(last + 1):
            assert all(torch.equal(state[f'{stage}.{layer}.{name}'], toy_seed[f'{stage}.{layer}.{name}'])
                       for name in names)
        for layer in added:
            for name in names:
                copied = state[f'{stage}.{layer}.{name}']
                assert torch.equal(copied, toy_seed[f'{stage}.{last}.{name}'])
                assert copied.data_ptr() != state[f'{stage}.{last}.{name}'].data_ptr()
    sources = {row.target: row.source for row in report.rows}
    assert sources['layer3.4.linear_conv.bn.bias'] == 'layer3.2.linear_conv.bn.bias'
    assert report.unused == ()


def test_fewer_layers_are_the_first_ones(toy_seed):
    net, report = remap(toy_seed, toy_child('k3_e1|k3_e6|k3_e6 k3_e6'))
    for key, value in net.state_dict().items():
        assert torch.equal(value, toy_seed[key])
    assert len(report.unused) == 2 * 18
    assert {key.rsplit('.', 3)[0] for key in report.unused} == {'layer2.1', 'layer3.2'}


def test_all_at_once_written_out(toy_seed):
    """A layer that is added, narrowed and has a larger kernel."""
    net, report = remap(toy_seed, toy_child('k5_e1|k3_e6 k3_e6 k5_e3|k3_e6'))
    state = net.state_dict()
    found = state['layer2.2.depthwise_conv.conv.weight']
    assert found.shape == (18, 1, 5, 5)
    assert torch.equal(found[:, :, 1:4, 1:4], toy_seed['layer2.1.depthwise_conv.conv.weight'][:18])
    assert torch.equal(state['layer2.2.linear_conv.conv.weight'], toy_seed['layer2.1.linear_conv.conv.weight'][:, :18])
    assert (found[:, :, 0] == 0).all()
    assert (found[..., 4] == 0).all()
    row = next(row for row in report.rows if row.target == 'layer2.2.depthwise_conv.conv.weight')
    assert (row.source, row.action) == ('layer2.1.depthwise_conv.conv.weight', 'width 36 → 18, kernel 3 → 5')


# Any architecture

widths, kernels = st.sampled_from(WIDTH_METHODS), st.sampled_from(KERNEL_METHODS)


@st.composite
def toy_operations(draw):
    stages = [st.sampled_from(['k3_e1', 'k5_e1', 'k7_e1'])]
    for _ in range(2):
        operation = st.builds('k{}_e{}'.format, st.sampled_from([3, 5, 7, 9]), st.integers(1, 6))
        stages.append(st.lists(operation, min_size=1, max_size=5).map(' '.join))
    return '|'.join(draw(stage) for stage in stages)


@given(toy_operations())
def test_any_architecture(toy_seed, operations):
    net, report = remap(toy_seed, toy_child(operations))
    state = net.state_dict()
    assert len(report.rows) == len(state)
    for key, value in state.items():
        assert torch.equal(value, expected_tensor(toy_seed, key, value.shape)), key
    # Every tensor of the seed is either the source of something or said not to be needed.
    sources = {row.source for row in report.rows}
    assert sources | set(report.unused) == set(toy_seed)
    assert not sources & set(report.unused)


def assert_remapped_onto_itself(state, operations, width, kernel):
    second, report = remap(state, toy_child(operations), width, kernel)
    for key, value in state.items():
        assert torch.equal(second.state_dict()[key], value)
    assert {row.action for row in report.rows} == {'copied'}
    assert all(row.source == row.target for row in report.rows)
    assert report.unused == ()


@pytest.mark.parametrize('kernel', KERNEL_METHODS)
@pytest.mark.parametrize('width', WIDTH_METHODS)
def test_its_own_architecture_is_the_identity(toy_seed, width, kernel):
    assert_remapped_onto_itself(toy_seed, 'k3_e1|k3_e6 k3_e6|k3_e6 k3_e6 k3_e6', width, kernel)


@settings(max_examples=20)
@given(toy_operations(), widths, kernels)
def test_remapping_again_changes_nothing(toy_seed, operations, width, kernel):
    first, _ = remap(toy_seed, toy_child(operations), width, kernel)
    assert_remapped_onto_itself(first.state_dict(), operations, width, kernel)


@settings(max_examples=20)
@given(toy_operations(), widths, kernels)
def test_every_tensor_is_accounted_for_once(toy_seed, operations, width, kernel):
    net = toy_child(operations)
    state, report = remap_parameters(read_seed(toy_seed), net.state_dict(), width, kernel)
    assert [row.target for row in report.rows] == list(net.state_dict())
    assert {name for name, _ in (*net.named_parameters(), *net.named_buffers())} == {row.target for row in report.rows}
    assert set(state) == {row.target for row in report.rows if row.source}
    for row in report.rows:
        shape, before = tuple(net.state_dict()[row.target].shape), tuple(toy_seed[row.source].shape)
        assert (row.action == 'copied') == (shape == before)
    sources = {row.source for row in report.rows}
    assert sorted([*sources, *report.unused]) == sorted(toy_seed)


#: Depth, expansion ratio and kernel of a stage.
stage_values = st.tuples(st.integers(1, 4), st.integers(2, 6), st.sampled_from([3, 5, 7, 11]))


@settings(max_examples=20)
@given(st.permutations(['depth', 'width', 'kernel']), widths, kernels, st.tuples(stage_values, stage_values))
def test_depth_width_and_kernel_commute(toy_seed, order, width, kernel, wanted):
    """One after the other, in any order, is all at once."""
    names = ('depth', 'width', 'kernel')

    def child(done):
        stages = []
        for own, new in zip(((2, 6, 3), (3, 6, 3)), wanted):
            depth, ratio, side = (new[i] if names[i] in done else own[i] for i in range(3))
            stages.append(' '.join([f'k{side}_e{ratio}'] * depth))
        return toy_child('|'.join(['k3_e1', *stages]))

    state = toy_seed
    for step in range(1, 4):
        state = remap(state, child(order[:step]), width, kernel)[0].state_dict()
    at_once, _ = remap(toy_seed, child(names), width, kernel)
    for key, value in at_once.state_dict().items():
        assert torch.equal(state[key], value), key


# The variants of section 4.4


def scores(state, block, width):
    """What each hidden channel of a block is worth, one after the other."""
    weight, scale = state[f'{block}.expand_conv.conv.weight'], state[f'{block}.expand_conv.bn.weight']
    if width == 'bn':
        return [abs(float(value)) for value in scale]
    return [float(np.std(row) if width == 'std' else np.abs(row).sum()) for row in weight.double().flatten(1).numpy()]


@pytest.mark.parametrize('width', ['bn', 'std', 'l1'])
def test_a_narrow_block_keeps_the_best_channels_in_all_its_tensors(toy_seed, width):
    net, report = remap(toy_seed, toy_child('k3_e1|k3_e3 k3_e6|k3_e6 k3_e2 k5_e3'), width)
    state = net.state_dict()
    choices = []
    for block, channels in (('layer2.0', 12), ('layer3.1', 16), ('layer3.2', 24)):
        values = scores(toy_seed, block, width)
        kept = sorted(sorted(range(len(values)), key=lambda i: (-values[i], i))[:channels])
        assert kept != list(range(channels))
        choices.append(kept)
        narrowed = [name for name in HIDDEN if f'{block}.{name}' in state]
        assert len(narrowed) == 11
        for name in narrowed:
            value = toy_seed[f'{block}.{name}'].index_select(HIDDEN[name], torch.tensor(kept))
            if value.dim() == 4 and block == 'layer3.2' and 'depthwise' in name:
                value = pad(value, [1] * 4)
            assert torch.equal(state[f'{block}.{name}'], value), name
    assert choices[1] != choices[2][:16]
    assert report.width == width


def permuted(state, block, order):
    """The same network with a block's hidden channels in another order."""
    result = dict(state)
    for name, dim in HIDDEN.items():
        result[f'{block}.{name}'] = state[f'{block}.{name}'].index_select(dim, order)
    return result


@settings(max_examples=8)
@given(st.permutations(range(36)), st.permutations(range(48)), st.integers(1, 5), st.integers(1, 5),
       st.sampled_from(['bn', 'std', 'l1']))
def test_the_order_of_a_seeds_hidden_channels_does_not_matter(toy_seed, second, third, ratio, other, width):
    """The same function before and after, narrowed too: all five parts of a block carry the same choice."""
    shuffled = permuted(permuted(toy_seed, 'layer2.1', torch.tensor(second)), 'layer3.1', torch.tensor(third))
    whole = 'k3_e1|k3_e6 k3_e6|k3_e6 k3_e6 k3_e6'
    torch.testing.assert_close(outputs(remap(shuffled, toy_child(whole))[0]),
                               outputs(remap(toy_seed, toy_child(whole))[0]), rtol=1e-4, atol=1e-4)
    narrow = f'k3_e1|k3_e6 k5_e{ratio + 1}|k3_e6 k3_e{other + 1} k3_e6'
    torch.testing.assert_close(outputs(remap(shuffled, toy_child(narrow), width)[0]),
                               outputs(remap(toy_seed, toy_child(narrow), width)[0]), rtol=1e-4, atol=1e-4)


def test_without_ranking_the_order_does_matter(toy_seed):
    shuffled = permuted(toy_seed, 'layer2.1', torch.arange(35, -1, -1))
    narrow = 'k3_e1|k3_e6 k3_e2|k3_e6'
    (first, ), (other, ) = (outputs(remap(seed, toy_child(narrow))[0]) for seed in (toy_seed, shuffled))
    assert (first - other).abs().max() > .01


def test_added_layers_keep_the_channels_of_their_source(toy_seed):
    net, _ = remap(toy_seed, toy_child('k3_e1|k3_e6 k3_e3 k3_e3|k3_e6'), 'l1')
    state = net.state_dict()
    names = [key[9:] for key in state if key.startswith('layer2.1.')]
    assert len(names) == 18
    assert all(torch.equal(state[f'layer2.1.{name}'], state[f'layer2.2.{name}']) for name in names)


@pytest.mark.parametrize('width', WIDTH_METHODS)
def test_a_supernets_candidates_of_one_width_keep_the_same_channels(seed_state, width):
    net, _ = remap(seed_state, FNASuperNet(**SUPERNET), width)
    state = net.state_dict()
    for part in ('expand_conv', 'linear_conv'):
        key = 'layer3.1.candidates.{}.' + f'{part}.conv.weight'
        for kernel in (5, 7):
            assert torch.equal(state[key.format('k3_e3')], state[key.format(f'k{kernel}_e3')])


def test_dilated_kernels(toy_seed):
    net, report = remap(toy_seed, toy_child('k5_e1|k3_e6|k11_e3'), kernel='dilate')
    state = net.state_dict()
    for key, side in (('layer1.0', 5), ('layer3.0', 11)):
        seed, found = (x[f'{key}.depthwise_conv.conv.weight'] for x in (toy_seed, state))
        assert found.shape[-1] == side
        step = (side - 1) // 2
        assert torch.equal(found[:, :, ::step, ::step], seed[:len(found)])
        assert torch.count_nonzero(found) == torch.count_nonzero(seed[:len(found)])
    assert report.kernel == 'dilate'


def test_smaller_kernels_than_the_seeds(toy_seed):
    large, _ = remap(toy_seed, toy_child('k7_e1|k5_e6|k9_e6 k9_e6'))
    net, report = remap(large.state_dict(), toy_child('k3_e1|k3_e6|k5_e3 k1_e6'))
    actions = {row.target: row.action for row in report.rows}
    assert actions['layer1.0.depthwise_conv.conv.weight'] == 'kernel 7 → 3'
    assert actions['layer3.0.depthwise_conv.conv.weight'] == 'width 36 → 18, kernel 9 → 5'
    for block in ('layer1.0', 'layer2.0'):
        assert torch.equal(net.state_dict()[f'{block}.depthwise_conv.conv.weight'],
                           toy_seed[f'{block}.depthwise_conv.conv.weight'])
    middle = toy_seed['layer3.1.depthwise_conv.conv.weight'][:, :, 1:2, 1:2]
    assert torch.equal(net.state_dict()['layer3.1.depthwise_conv.conv.weight'], middle)


def test_dilate_that_does_not_come_out_even(toy_seed):
    large, _ = remap(toy_seed, toy_child('k3_e1|k5_e6|k3_e6'))
    state, report = remap_parameters(read_seed(large.state_dict()), toy_child('k3_e1|k7_e6|k3_e6').state_dict(),
                                     kernel='dilate')
    assert report.problems() == (
        "layer2.0.depthwise_conv.conv.weight: layer2.0.depthwise_conv.conv.weight does not fit: kernel='dilate' does "
        'not go between 5x5 and 7x7: the places 1 + i * (7 - 1) / (5 - 1) are not whole numbers', )


def test_no_scale_to_rank_by():
    """A seed whose BN has no affine parameters."""
    bare = dict(norm_cfg=dict(type='BN', affine=False))
    seed = read_seed(toy_child('k3_e1|k3_e6|k3_e6', **bare).state_dict())
    narrow = toy_child('k3_e1|k3_e6|k3_e3', **bare).state_dict()
    state, report = remap_parameters(seed, narrow, 'bn')
    problems = report.problems()
    assert {line.split(': ')[0] for line in problems} == {
        f'layer3.0.{name}' for name in HIDDEN if f'layer3.0.{name}' in narrow}
    assert len(problems) == 3 + 2 * 2
    assert all("fit: width='bn' needs the scale of the BN that makes the channels" in line for line in problems)
    assert remap_parameters(seed, narrow, 'l1')[1].problems() == ()
    assert remap_parameters(seed, toy_child('k3_e1|k3_e6|k5_e6', **bare).state_dict(), 'bn')[1].problems() == ()


def test_a_block_whose_tensors_do_not_belong_together(toy_seed):
    seed = dict(toy_seed, **{'layer2.0.depthwise_conv.bn.bias': torch.zeros(20)})
    _, report = remap_parameters(read_seed(seed), toy_child('k3_e1|k3_e3|k3_e6').state_dict(), 'l1')
    assert [line.partition(': ')[2] for line in report.problems()] == [
        'layer2.0.depthwise_conv.bn.bias does not fit: it has 20 channels, but the convolution that makes them 24']


@pytest.mark.parametrize('width', WIDTH_METHODS)
def test_inputs_are_not_chosen_among(toy, toy_seed, width):
    """A block without expansion convolves its input's channels: none of them can be left out."""
    stages = (Stage(6, 4, 1, toy.stages[0].layers), *toy.stages[1:])
    _, report = remap_parameters(read_seed(toy_seed), FNAChildNet(Architecture(stages), (2, ), 8).state_dict(), width)
    lines = [line for line in report.problems() if line.startswith('layer1.0')]
    assert len(lines) == 6
    assert all('expands nothing: its 8 channels are those of its input, where 6 are wanted' in line for line in lines)
    assert report.problems()[0].startswith('conv1.conv.weight: conv1.conv.weight does not fit: shape (8, 3, 3, 3)')


@given(toy_operations())
def test_only_names_and_shapes_of_the_target_are_read(toy_seed, operations):
    net = toy_child(operations)
    state, report = remap_parameters(read_seed(toy_seed), net.state_dict())
    shapes, other = remap_parameters(read_seed(toy_seed), net.to('meta').state_dict())
    assert report == other
    assert all(torch.equal(state[key], shapes[key]) for key in state)


@pytest.mark.parametrize('arch', sorted(PUBLISHED))
def test_published_architectures(seed_state, arch):
    net, _ = remap(seed_state, FNAChildNet(arch, (7, )))
    for key, value in net.state_dict().items():
        assert torch.equal(value, expected_tensor(seed_state, key, value.shape)), key


def test_seed_is_neither_changed_nor_shared(toy_seed):
    before = {key: value.clone() for key, value in toy_seed.items()}
    state, _ = remap_parameters(read_seed(toy_seed), toy_child('k3_e1|k3_e6 k3_e3|k3_e6').state_dict())
    for value in state.values():
        value.fill_(77)
    assert all(torch.equal(toy_seed[key], value) for key, value in before.items())


def test_parameters_as_seed(toy, toy_seed):
    """The tensors of a live network require gradients; the remapped ones do not."""
    net = FNAChildNet(toy, (3, ), 8, head_channels=10)
    net.load_state_dict(toy_seed)
    live = dict(net.named_parameters())
    live.update(net.named_buffers())
    state, _ = remap_parameters(read_seed(live), toy_child('k5_e1|k3_e3|k3_e6').state_dict())
    assert not any(value.requires_grad for value in state.values())


def test_type_of_the_target(toy_seed):
    state, _ = remap_parameters(read_seed(toy_seed), toy_child('k5_e1|k3_e3|k3_e6').half().state_dict())
    assert state['layer1.0.depthwise_conv.conv.weight'].dtype == torch.float16
    assert state['conv1.bn.num_batches_tracked'].dtype == torch.int64


# Onto a supernet


@pytest.mark.parametrize('candidate_norm', [dict(type='BN'), dict(type='BN', affine=False, track_running_stats=False)],
                         ids=['with_statistics', 'bare'])
def test_every_candidate_of_a_supernet(seed_state, candidate_norm):
    net = FNASuperNet(**SUPERNET, candidate_norm_cfg=candidate_norm)
    before = net.architecture_parameters.clone()
    _, report = remap(seed_state, net)
    state = net.state_dict()
    assert torch.equal(state.pop('architecture_parameters'), before)
    candidates = set()
    for key, value in state.items():
        place, candidate = OWN.parse(key)
        candidates.add((place.stage, place.layer, candidate))
        plain = key.replace(f'candidates.{candidate}.', '')
        assert torch.equal(value, expected_tensor(seed_state, plain, value.shape)), key
    assert len([entry for entry in candidates if entry[2]]) == 12 * 6
    assert len(report.rows) == len(state) + 1
    # Whatever has affine parameters or statistics got the seed's.
    assert any('candidates' in key and 'running_mean' in key for key in state) == ('affine' not in candidate_norm)


def test_supernet_starts_where_the_child_starts(seed_state):
    """A candidate in the supernet and the same layer of the child hold the same weights."""
    net, _ = remap(seed_state, FNASuperNet())
    child, _ = remap(seed_state, FNAChildNet('fna_retinanet'))
    state = net.state_dict()
    compared = 0
    for stage, layers in enumerate(child.architecture.stages):
        for layer, spec in enumerate(layers.layers if stage else ()):
            for part in ('expand_conv', 'depthwise_conv', 'linear_conv'):
                key = f'layer{stage + 1}.{layer}.{part}.conv.weight'
                other = f'layer{stage + 1}.{layer}.candidates.{spec}.{part}.conv.weight'
                assert torch.equal(child.state_dict()[key], state[other])
                compared += 1
    assert compared == 3 * 15


# Reports


def test_table(toy_seed):
    seed = dict(toy_seed, **{'fc.weight': torch.zeros(1), 'layer2.0.se.weight': torch.zeros(1)})
    net = toy_child('k3_e1|k3_e6|k3_e6 k3_e6 k3_e6 k5_e3')
    _, report = remap_parameters(read_seed(seed), net.state_dict())
    lines = [line.split(None, 3) for line in report.table().splitlines()]
    assert lines[0] == ['layer', 'seed', 'tensors', 'remapped']
    rows = {line[0]: line[1:] for line in lines[1:] if line[0] != '-'}
    assert list(rows) == ['conv1', 'layer1.0', 'layer2.0', 'layer3.0', 'layer3.1', 'layer3.2', 'layer3.3', 'conv2']
    assert rows['conv1'] == ['conv1', '6', 'copied (6)']
    assert rows['layer3.1'] == ['layer3.1', '18', 'copied (18)']
    source, tensors, actions = rows['layer3.3']
    assert (source, tensors) == ('layer3.2', '18')
    assert set(actions.split(', ')) == {'copied (7)', 'width 48 → 24 (10)', 'width 48 → 24', 'kernel 3 → 5 (1)'}
    rest = report.table().splitlines()[-3:]
    assert [line.split()[-1] for line in rest] == ['needed', 'backbone', 'unknown']
    assert [line.split('  ')[0] for line in rest] == ['-'] * 3
    assert 'layer2.1.expand_conv.conv.weight …' in rest[0]
    assert ' 18 ' in rest[0]
    assert 'fc.weight' in rest[1]
    assert 'layer2.0.se.weight' in rest[2]


def test_plain_values(toy_seed):
    seed = dict(toy_seed, **{'fc.weight': torch.zeros(1), 'extra': torch.zeros(1)})
    _, report = remap_parameters(read_seed(seed), toy_child('k5_e1|k3_e6|k3_e6').state_dict(), 'std', 'dilate')
    values = json.loads(json.dumps(report.to_dict()))
    assert list(values) == ['layout', 'width', 'kernel', 'tensors', 'unused', 'ignored', 'unknown']
    assert (values['layout'], values['width'], values['kernel']) == ('mmdet', 'std', 'dilate')
    assert len(values['tensors']) == len(report.rows)
    assert dict(target='layer1.0.depthwise_conv.conv.weight', source='layer1.0.depthwise_conv.conv.weight',
                action='kernel 3 → 5') in values['tensors']
    assert (values['ignored'], values['unknown']) == (['fc.weight'], ['extra'])
    assert values['unused'] == list(report.unused)


def test_table_of_a_torchvision_seed(seed_layouts):
    _, report = remap(seed_layouts['torchvision'], FNAChildNet('fna_retinanet'))
    rows = {line.split()[0]: line.split()[1] for line in report.table().splitlines()}
    assert rows['layer2.1'] == 'features.3'
    assert rows['layer6.3'] == rows['layer6.2'] == 'features.16'


def problems(seed_state, net):
    state, report = remap_parameters(read_seed(seed_state), net.state_dict(), no_weights=net.no_weights)
    return state, report.problems()


@pytest.mark.parametrize(('operations', 'key', 'message'), [
    ('k3_e1|k3_e8|k3_e6', 'layer2.0.expand_conv.conv.weight', "32 channels cannot be taken from the seed's 24"),
    ('k3_e2|k3_e6|k3_e6', 'layer1.0.expand_conv.conv.weight', 'the seed has no such layer'),
])
def test_what_does_not_fit_is_named(toy_seed, operations, key, message):
    net = toy_child(operations)
    state, found = problems(toy_seed, net)
    assert key not in state
    assert [line for line in found if re.search(f'^{re.escape(key)}: .*{message}', line)]


def test_other_channels(toy_seed):
    stages = list(Architecture.create(toy_child('k3_e1|k3_e6|k3_e6').architecture).stages)
    stages[2] = Stage(6, 12, 2, stages[2].layers)
    _, found = problems(toy_seed, FNAChildNet(Architecture(tuple(stages)), (2, ), 8))
    assert len(found) == 5  # the project convolution and its BN
    assert 'layer3.0.linear_conv.conv.weight: layer3.0.linear_conv.conv.weight does not fit: shape (8, 36, 1, 1) ' \
           'in the seed, (12, 36, 1, 1) here' in found


def test_more_stages_than_the_seed(toy_seed):
    stages = toy_child('k3_e1|k3_e6|k3_e6').architecture.stages
    net = FNAChildNet(Architecture((*stages, Stage(8, 8, 1, (MBConvSpec(3, 6), )))), (3, ), 8)
    _, found = problems(toy_seed, net)
    assert len(found) == 18 - 3  # its counters may start at 0
    assert all("the seed has no such layer (3, 0, '" in line for line in found)


def test_deeper_last_stage_of_one_layer(seed_state):
    """MobileNetV2's last stage has one layer, whose input is narrower than that of a copy."""
    _, found = problems(seed_state, FNASuperNet((1, 1, 1, 1, 1, 2)))
    assert found
    assert all(line.startswith('layer7.1.') for line in found)


def test_a_seed_without_a_last_convolution(toy, toy_seed):
    """As backbones of segmentors are saved: the target's own keeps its start, and the report says so."""
    seed = read_seed({key: value for key, value in toy_seed.items() if not key.startswith('conv2')})
    target = FNAChildNet(toy, (3, ), toy.total_stride, head_channels=10).state_dict()
    state, report = remap_parameters(seed, target)
    assert set(target) - set(state) == {key for key in target if key.startswith('conv2')}
    assert report.problems() == ()
    assert [row.action for row in report.rows if row.target == 'conv2.conv.weight'] == ['left at its start']
    assert any('conv2' in line and 'left at its start' in line for line in report.table().splitlines())


def test_a_last_convolution_of_which_a_part_is_missing(toy, toy_seed):
    seed = read_seed({key: value for key, value in toy_seed.items() if key != 'conv2.bn.bias'})
    target = FNAChildNet(toy, (3, ), toy.total_stride, head_channels=10).state_dict()
    (problem, ) = remap_parameters(seed, target)[1].problems()
    assert problem.startswith('conv2.bn.bias: the seed has no such layer')


def test_missing_counters_are_no_problem(toy_seed):
    seed = {key: value for key, value in toy_seed.items() if 'num_batches' not in key}
    state, found = problems(seed, toy_child('k3_e1|k3_e6|k3_e6'))
    assert found == ()
    assert not any('num_batches' in key for key in state)


@pytest.mark.parametrize('key', ['layer2.0.depthwise_conv.bn.running_mean', 'conv1.conv.weight', 'conv2.bn.bias'])
def test_a_missing_tensor_is_a_problem(toy_seed, key):
    seed = {name: value for name, value in toy_seed.items() if name != key}
    _, found = problems(seed, toy_child('k3_e1|k3_e6|k3_e6'))
    assert len(found) == 1
    assert found[0].startswith(f'{key}: the seed has no such layer')


def test_an_unknown_tensor_is_a_problem(toy_seed):
    _, found = problems(dict(toy_seed, extra=torch.zeros(1)), toy_child('k3_e1|k3_e6|k3_e6'))
    assert found == ('extra: unknown in the mmdet layout', )


@pytest.mark.parametrize('arguments', [dict(width='l3'), dict(kernel='corner')])
def test_unknown_method(toy_seed, arguments):
    with pytest.raises(ValueError, match='is no remapping method'):
        remap_parameters(read_seed(toy_seed), {}, **arguments)
