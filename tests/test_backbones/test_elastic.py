"""Networks that may grow: their space, and the backbone that holds all of it."""

import copy

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

from fna_mm import Architecture
from fna_mm.backbones.elastic_space import ElasticSpace
from fna_mm.backbones.fna_elastic_net import FNAElasticNet, central_part

TINY = "[[8, 4], ['k3_e1'], 1]| [[4, 6], ['k3_e6', 'k5_e4'], 2]| [[6, 8], ['k3_e6'], 2]"


def test_the_choices_of_every_layer():
    space = ElasticSpace(Architecture.create(TINY))
    found = [[str(choice) for choice in layer.choices] for layer in space.layers]
    assert found == [
        ['k3_e1'],
        ['k3_e6', 'k5_e6', 'k7_e6', 'k3_e8', 'k5_e8', 'k7_e8'],  # 24 channels become 32, a multiple of 8 up to 36
        ['k5_e4', 'k7_e4', 'k5_c32', 'k7_c32'],
        ['None', 'k5_e4', 'k7_e4'],
        ['k3_e6', 'k5_e6', 'k7_e6', 'k3_e8', 'k5_e8', 'k7_e8']]
    assert str(space.largest.to_text()).count('k7_') == 4
    assert space.architecture(space.seed_path) == Architecture.create(TINY)
    assert len(space.architecture((0, 0, 0, 1, 0)).stages[1].layers) == 3


@pytest.mark.parametrize(('arguments', 'number', 'choices'), [
    (dict(tapped_stages=(1, )), 1, ['k3_e6', 'k5_e6', 'k7_e6']),
    (dict(frozen_stages=2), 1, ['k3_e6']),
    (dict(frozen_stages=2), 3, ['k3_e6', 'k5_e6', 'k7_e6', 'k3_e8', 'k5_e8', 'k7_e8']),
    (dict(kernel_sizes=(), added_layers=0), 1, ['k3_e6', 'k3_e8']),
    (dict(width=1, added_layers=2), 4, ['None', 'k5_e4', 'k7_e4'])])
def test_limits_of_growth(arguments, number, choices):
    space = ElasticSpace(Architecture.create(TINY), **arguments)
    assert [str(choice) for choice in space.layers[number].choices] == choices


@pytest.mark.parametrize(('arguments', 'message'), [
    (dict(kernel_sizes=(4, )), 'must be odd'), (dict(width=.5), 'width'), (dict(added_layers=-1), 'added_layers'),
    (dict(kernel_sizes=(3, ), width=1, added_layers=0), 'nothing of the backbone can grow'),
    (dict(frozen_stages=3), 'nothing of the backbone can grow')])
def test_what_cannot_grow_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ElasticSpace(Architecture.create(TINY), **arguments)


def test_paths_are_near_the_network():
    space = ElasticSpace(Architecture.create('mobilenet_v2'))
    paths = [space.sample_path(np.random.default_rng((0, step)), .25) for step in range(400)]
    changed = np.mean([[choice > 0 for choice in path] for path in paths], 0)
    can_grow = np.array([len(layer.choices) > 1 for layer in space.layers])
    assert changed[~can_grow].sum() == 0
    assert changed[can_grow] == pytest.approx(.25, abs=.1)
    for number, layer in enumerate(space.layers):
        assert {path[number] for path in paths} == set(range(len(layer.choices)))
    assert space.sample_path(np.random.default_rng((0, 7)), .25) == paths[7]


def test_the_central_part_is_the_first_channels_and_the_middle_of_the_kernel():
    tensor = torch.arange(4 * 2 * 7 * 7.).reshape(4, 2, 7, 7)
    part = central_part(tensor, (3, 1, 3, 3))
    assert torch.equal(part, tensor[:3, :1, 2:5, 2:5])
    part.zero_()
    assert tensor[1, 0, 3, 3] == 0  # a view


@pytest.mark.parametrize('arguments', [
    dict(out_indices=(0, 1, 3), output_stride=8), dict(out_indices=('expand2', 3), output_stride=8),
    dict(out_indices=(4, ), output_stride=8, dilated='first', with_cp=True, widen_factor=2.)])
def test_a_path_computes_what_its_own_network_computes(arguments):
    arch = TINY + "| [[8, 8], ['k3_e6', 'k3_e6'], 2]"
    net = FNAElasticNet(arch, **arguments)
    net.init_weights()
    net.train()
    for name, buffer in net.named_buffers():
        if name.endswith('running_mean'):
            buffer.normal_()
    x = torch.randn(2, 3, 32, 32)
    for step in range(4):
        net.path = net.space.sample_path(np.random.default_rng(step), .8)
        child = MODELS.build(dict(arguments, type='FNAChildNet', arch=net.space.architecture(net.path), widen_factor=1.,
                                  head_channels=net.built_head_channels or None)).eval()
        state, depths = {}, {}
        for layer, choice in zip(net.space.layers, net.path):
            if layer.choices[choice] is not None:
                index = depths[layer.stage] = depths.get(layer.stage, -1) + 1
                prefix, source = f'layer{layer.stage + 1}.{index}.', f'layer{layer.stage + 1}.{layer.place}.'
                state.update({prefix + key[len(source):]: value for key, value in net.state_dict().items()
                              if key.startswith(source)})
        state.update({key: value for key, value in net.state_dict().items() if key.startswith('conv')})
        child.load_state_dict({key: central_part(state[key], value.shape) for key, value in child.state_dict().items()})
        net.zero_grad(set_to_none=True)
        outputs, wanted = net(x), child(x)
        for output, other in zip(outputs, wanted, strict=True):
            torch.testing.assert_close(output, other)
        sum(output.square().sum() for output in outputs).backward()
        # Gradients reach the layers of the path, and no other ones.
        for layer, choice in zip(net.space.layers, net.path):
            weight = net.stage(layer.stage)[layer.place].linear_conv.conv.weight
            assert (weight.grad is not None) == (layer.choices[choice] is not None)
    assert not any(module.training for name, module in net.named_modules() if name.endswith('bn'))


def test_what_starts_at_zero_learns_faster():
    slow = FNAElasticNet(TINY, out_indices=(2, ), output_stride=8)
    slow.init_weights()
    fast = FNAElasticNet(TINY, out_indices=(2, ), output_stride=8, boost=10.)
    fast.load_state_dict(slow.state_dict())
    x = torch.randn(2, 3, 32, 32)
    for net in (slow, fast):
        net.path = tuple(len(layer.choices) - 1 for layer in net.space.layers)
        net(x)[0].square().sum().backward()

    def check(name, part, factor):
        one, two = (dict(net.named_parameters())[name].grad[part] for net in (slow, fast))
        assert one.abs().sum() > 0
        torch.testing.assert_close(two, factor * one)

    everything = slice(None)
    check('layer2.0.depthwise_conv.conv.weight', (everything, everything, slice(2, 5), slice(2, 5)), 1)
    check('layer2.0.depthwise_conv.conv.weight', (everything, everything, 0), 10)
    check('layer2.0.linear_conv.conv.weight', (everything, slice(24)), 1)
    check('layer2.0.linear_conv.conv.weight', (everything, slice(24, None)), 10)
    check('layer2.2.linear_conv.bn.weight', everything, 10)
    check('layer2.1.linear_conv.bn.weight', everything, 1)
    check('layer2.0.expand_conv.conv.weight', everything, 1)


def test_what_is_kept_is_not_trained():
    """What a network has is as it was after any step; all that it may grow to moves."""
    arch = TINY + "| [[8, 8], ['k3_e6', 'k3_e6'], 2]"
    net = FNAElasticNet(arch, out_indices=(3, ), output_stride=8, boost=10., kept=True)
    net.init_weights()
    before = copy.deepcopy(net)
    optimizer = torch.optim.SGD(net.parameters(), .1, momentum=.9)
    x = torch.randn(2, 3, 32, 32)
    for step in range(4):
        net.path = net.space.sample_path(np.random.default_rng(step), .9)
        net(x)[0].square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    net.path = net.space.seed_path
    for output, wanted in zip(net(x), before(x), strict=True):
        torch.testing.assert_close(output, wanted, rtol=0, atol=0)
    moved = {name for (name, one), two in zip(net.named_parameters(), before.parameters()) if not torch.equal(one, two)}
    for layer in net.space.layers:
        prefix = f'layer{layer.stage + 1}.{layer.place}.'
        own = {name for name in moved if name.startswith(prefix)}
        if layer.added:
            assert own == {name for name, _ in net.named_parameters() if name.startswith(prefix)}
        elif len(layer.choices) > 1:
            # The shift behind the block serves the network as it was, too.
            assert own == {prefix + name for name in (
                'expand_conv.conv.weight', 'expand_conv.bn.weight', 'expand_conv.bn.bias', 'depthwise_conv.conv.weight',
                'depthwise_conv.bn.weight', 'depthwise_conv.bn.bias', 'linear_conv.conv.weight')}
        else:
            assert not own
    assert not any(name.startswith('conv1') for name in moved)
