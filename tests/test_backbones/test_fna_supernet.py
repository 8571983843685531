import copy
import math

import mmdet.registry
import mmengine.registry
import mmseg.registry
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import nn

from fna_mm import Architecture, FNAChildNet, FNASuperNet, SearchSpace
from fna_mm.cost import madds_table
from fna_mm.families.mbconv_block import MBConv

SIZE = 64
ALL = tuple(range(8))
REGISTRIES = [mmengine.registry.MODELS, mmdet.registry.MODELS, mmseg.registry.MODELS]
#: Two candidates and the identity where there may be one: 13 candidates in 7 layers.
SMALL = dict(layers_per_stage=(1, 2, 1, 1, 1, 1), kernel_sizes=(3, 5), expand_ratios=(3, ))
PATH = (1, 0, 2, 1, 1, 0, 1)
#: The same normalisation inside and outside of the candidates, so that a child can have it too.
BARE = dict(type='BN', affine=False, track_running_stats=False)


def image(*shape):
    return torch.rand(*(shape or (2, 3, SIZE, SIZE)), generator=torch.Generator().manual_seed(5)) * 4 - 2


@pytest.fixture
def net(randomize):
    torch.manual_seed(0)
    return randomize(FNASuperNet(**SMALL))


def set_parameters(net, layers):
    """Write architecture parameters, a list for every layer."""
    with torch.no_grad():
        net.architecture_parameters.copy_(torch.tensor([value for layer in layers for value in layer]))


def peaks(net, path, height=200.):
    """Parameters whose softmax is 1 on the path, exactly, and 0 elsewhere."""
    return [[height * (index == chosen) for index in range(len(layer.candidates))]
            for layer, chosen in zip(net.search_space.layers, path)]


def outputs(net, x=None):
    with torch.no_grad():
        return net(image() if x is None else x)


def assert_same(outs, others):
    assert len(outs) == len(others) > 0
    for out, other in zip(outs, others):
        assert out.abs().max() > .01
        torch.testing.assert_close(out, other, rtol=1e-4, atol=1e-4)


def differ(outs, others):
    return any((out - other).abs().max() > 1e-2 for out, other in zip(outs, others))


# The three modes


def test_modes(net):
    assert net.mode == 'best_path'
    net.use_path(PATH)
    assert net.mode == 'path'
    net.use_mixture()
    assert net.mode == 'mixture'
    net.use_best_path()
    assert net.mode == 'best_path'


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('seed', [0, 1])
def test_best_path_follows_the_architecture_parameters(net, training, seed):
    net.train(training)
    rng = np.random.default_rng(seed)
    values = [rng.normal(size=len(layer.candidates)).tolist() for layer in net.search_space.layers]
    set_parameters(net, values)
    best = tuple(max(range(len(layer)), key=layer.__getitem__) for layer in values)
    assert net.best_path() == best
    found = outputs(net)
    net.use_path(best)
    assert_same(found, outputs(net))
    # The parameters move on, the best path with them.
    set_parameters(net, [[-value for value in layer] for layer in values])
    assert_same(found, outputs(net))
    net.use_best_path()
    assert net.best_path() != best
    assert differ(found, outputs(net))


def test_best_architecture():
    net = FNASuperNet()
    choice = net.search_space.choice(Architecture.create('fna_retinanet'))
    set_parameters(net, peaks(net, choice, .01))
    assert net.best_path() == choice
    assert net.best_architecture() == Architecture.create('fna_retinanet')


# The tapped layer

TAPPED = dict(SMALL, expand_ratios=(3, 6), out_indices=(1, 'expand5', 7))


@pytest.fixture
def tapped(randomize):
    torch.manual_seed(0)
    return randomize(FNASuperNet(**TAPPED))


def test_a_tapped_layer_searches_its_width_alone(tapped):
    names = [[str(spec) for spec in layer.candidates] for layer in tapped.search_space.layers]
    assert names[5] == ['k3_e6', 'k5_e6']  # the first of stage 5: MobileNetV2's ratio
    assert names[0] == names[6] == ['k3_e3', 'k5_e3', 'k3_e6', 'k5_e6']
    assert tapped.out_channels == (24, 576, 1280)
    table = madds_table(tapped.search_space, (64, 64), head_channels=1280)
    assert [len(layer) for layer in table.layers] == [len(layer) for layer in names]
    # 96 → 576 on 4x4, depthwise and 576 → 160 on 2x2.
    assert table.layers[5][0] * 1e9 == pytest.approx(96 * 576 * 16 + (9 + 160) * 576 * 4)


@pytest.mark.parametrize('seed', range(4))
def test_every_architecture_of_a_tapped_search_can_be_tapped(tapped, seed):
    path = tapped.sample_path(np.random.default_rng(seed), uniform=True)
    architecture = tapped.search_space.architecture(path)
    child = FNAChildNet(architecture, ('expand5', 7))
    assert child.out_channels == (576, 1280)


@pytest.mark.parametrize('with_cp', [False, True])
def test_expanded_features_of_a_path_are_the_childs(randomize, with_cp):
    torch.manual_seed(0)
    net = randomize(FNASuperNet(**dict(TAPPED, norm_cfg=BARE, candidate_norm_cfg=BARE, with_cp=with_cp)))
    path = (1, 2, 4, 3, 0, 1, 2)
    net.use_path(path)
    child = FNAChildNet(net.search_space.architecture(path), (1, 'expand5', 7), norm_cfg=BARE)
    weights = net.state_dict()
    state, taken = {}, {}
    for layer, choice in zip(net.search_space.layers, path):
        spec = layer.candidates[choice]
        if spec is None:
            continue
        stage = f'layer{layer.stage + 1}'
        prefix = f'{stage}.{layer.index}.candidates.{spec}.'
        place = taken[stage] = taken.get(stage, -1) + 1
        state.update({f'{stage}.{place}.{key[len(prefix):]}': value for key, value in weights.items()
                      if key.startswith(prefix)})
    state.update({key: value for key, value in weights.items() if key.startswith(('conv', 'layer1.'))})
    child.load_state_dict(state)
    x = image(2, 3, 128, 128)
    assert_same(outputs(net, x), outputs(child, x))
    assert net(x)[1].shape == (2, 576, 8, 8)


def test_expanded_features_of_the_mixture(tapped):
    """The weighted sum of the candidates', from which the architecture parameters have gradients."""
    tapped.use_mixture()
    tapped.architecture_parameters.requires_grad_(True)
    x = image(2, 3, 128, 128)
    expanded = tapped(x)[1]
    (gradient, ) = torch.autograd.grad(expanded.square().sum(), tapped.architecture_parameters)
    of_layer = gradient.split([len(layer.candidates) for layer in tapped.search_space.layers])
    assert of_layer[5].abs().max() > 0
    assert of_layer[6].abs().max() == 0  # behind the tap
    caught = []
    layer = tapped.layer6[0]
    original = layer.forward_mixture_tapped
    layer.forward_mixture_tapped = lambda x, weights, _: caught.append((x, weights)) or original(x, weights)
    with torch.no_grad():
        expanded = tapped(x)[1]
        (given, weights), = caught
        by_hand = sum(weight * layer.candidates[name].expand_conv(given) for weight, name in zip(weights, layer.names))
    assert torch.allclose(expanded, by_hand, atol=1e-5)


@pytest.mark.parametrize(('arguments', 'message'), [
    (dict(expand_ratios=(3, ), out_indices=('expand5', )),
     r"'expand5' hands out 576 channels, those of the seed, but no candidate has as many; expand_ratios is \(3,\)"),
    (dict(out_indices=('expand0', )), r"'expand0' asks for hidden features .* stages are \[1, 2, 3, 4, 5, 6\]"),
])
def test_what_cannot_be_tapped(arguments, message):
    with pytest.raises(ValueError, match=message):
        FNASuperNet(**arguments)


@pytest.mark.parametrize('path', [PATH, (0, ) * 7])
def test_one_hot_mixture_is_the_path(net, path):
    net.eval()
    set_parameters(net, peaks(net, path))
    net.use_mixture()
    mixture = outputs(net)
    net.use_path(path)
    assert_same(mixture, outputs(net))


def test_mixture_mixes(net):
    """It changes with every layer's parameters, also with a candidate's that is not the best one."""
    net.eval()
    net.use_mixture()
    set_parameters(net, peaks(net, PATH, 1.))
    before = outputs(net)
    for layer in range(len(PATH)):
        values = peaks(net, PATH, 1.)
        values[layer][PATH[layer] - 1] = .9
        set_parameters(net, values)
        assert net.best_path() == PATH
        assert differ(before, outputs(net)), layer


def test_paths_differ(net):
    net.eval()
    net.use_path(PATH)
    before = outputs(net)
    for layer in range(len(PATH)):
        other = list(PATH)
        other[layer] = 0 if PATH[layer] else 1
        net.use_path(other)
        assert differ(before, outputs(net)), layer


def as_child(net, path):
    """A child with the path's architecture and the path's own weights."""
    child = FNAChildNet(net.search_space.architecture(path), net.out_indices, net.output_stride, norm_cfg=BARE,
                        dilated=net.dilated)
    state, source = {}, net.state_dict()
    depth = dict.fromkeys(range(7), 0)
    for layer, chosen in zip(net.search_space.layers, path):
        if layer.candidates[chosen] is None:
            continue
        old = f'{layer.name}.candidates.{layer.candidates[chosen]}.'
        new = f'layer{layer.stage + 1}.{depth[layer.stage]}.'
        depth[layer.stage] += 1
        state.update({new + key[len(old):]: value for key, value in source.items() if key.startswith(old)})
    state.update({key: value for key, value in source.items() if key.startswith(('conv', 'layer1.'))})
    child.load_state_dict(state, strict=True)
    return child


@pytest.mark.parametrize(('output_stride', 'dilated'), [(32, 'stage'), (16, 'stage'), (8, 'stage'), (8, 'first')])
def test_a_path_is_the_child_of_its_architecture(randomize, output_stride, dilated):
    net = randomize(FNASuperNet(**SMALL, out_indices=ALL, output_stride=output_stride, norm_cfg=BARE, dilated=dilated))
    net.use_path(PATH)
    child = as_child(net, PATH)
    assert len(child.architecture.stages[2].layers) == 1  # PATH leaves a layer out
    assert_same(outputs(net), outputs(child))


# What the steps of a search see


def test_architecture_parameters_are_a_buffer():
    torch.manual_seed(0)
    net = FNASuperNet()
    state = net.state_dict()
    assert state['architecture_parameters'].shape == (141, )
    net.architecture_parameters.requires_grad_(True)
    assert 'architecture_parameters' in dict(net.named_buffers())
    assert not any(parameter is net.architecture_parameters for parameter in net.parameters())
    # Authors' release: 1e-3 times a standard normal.
    assert net.architecture_parameters.std().item() == pytest.approx(1e-3, rel=.2)
    assert abs(net.architecture_parameters.mean().item()) < 3e-4


def test_architecture_parameters_travel_in_the_state_dict(net):
    set_parameters(net, peaks(net, PATH, 1.))
    other = FNASuperNet(**SMALL)
    other.load_state_dict(copy.deepcopy(net.state_dict()), strict=True)
    assert torch.equal(other.architecture_parameters, net.architecture_parameters)
    assert other.best_path() == PATH
    missing = {key: value for key, value in net.state_dict().items() if key != 'architecture_parameters'}
    with pytest.raises(RuntimeError, match='architecture_parameters'):
        other.load_state_dict(missing, strict=True)


def test_initialization_leaves_the_architecture_parameters(net):
    before = net.architecture_parameters.clone()
    net.init_weights()
    assert torch.equal(net.architecture_parameters, before)
    assert (net.conv1.bn.weight == 1).all()


def test_weight_step_touches_the_path_alone(net):
    net.use_path(PATH)
    sum(out.square().mean() for out in net(image())).backward()
    assert net.architecture_parameters.grad is None
    with_grad = {name for name, parameter in net.named_parameters() if parameter.grad is not None}
    on_path = {f'{layer.name}.candidates.{layer.candidates[chosen]}'
               for layer, chosen in zip(net.search_space.layers, PATH) if layer.candidates[chosen] is not None}
    assert len(on_path) == 6
    assert {'.'.join(name.split('.')[:4]) for name in with_grad if 'candidates' in name} == on_path
    assert any(name.startswith('conv1') for name in with_grad)
    assert any(name.startswith('layer1') for name in with_grad)


def test_mixture_gives_every_architecture_parameter_its_gradient(randomize):
    net = randomize(FNASuperNet(**SMALL)).double().eval()
    net.use_mixture()
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    alphas = net.architecture_parameters.requires_grad_(True)
    x = image().double()

    def loss():
        return sum(out.square().mean() for out in net(x))

    loss().backward()
    gradient = alphas.grad.clone()
    assert (gradient.abs() > 1e-9).all()
    # Probabilities of a layer add up to 1, so its gradients add up to 0.
    for layer in gradient.split([len(layer.candidates) for layer in net.search_space.layers]):
        assert abs(layer.sum().item()) < 1e-9
    direction = torch.randn(len(alphas), dtype=torch.double, generator=torch.Generator().manual_seed(1))
    step = 1e-7  # with 1e-5 some pixel often passes a kink of ReLU6 in between
    with torch.no_grad():
        alphas += step * direction
        above = loss()
        alphas -= 2 * step * direction
        below = loss()
    assert ((above - below) / (2 * step)).item() == pytest.approx(float(gradient @ direction), rel=1e-5)


@pytest.mark.parametrize('mode', ['path', 'best_path'])
def test_single_paths_give_the_architecture_parameters_no_gradient(net, mode):
    if mode == 'path':
        net.use_path(PATH)
    net.architecture_parameters.requires_grad_(True)
    sum(out.mean() for out in net(image())).backward()
    assert net.architecture_parameters.grad is None


def test_nothing_of_a_step_is_kept(net):
    """EMAHook copies a model, which fails while it holds a tensor in the middle of a graph."""
    net.architecture_parameters.requires_grad_(True)
    net.use_mixture()
    net(image())
    assert copy.deepcopy(net).mode == 'mixture'


def test_an_error_in_a_step_keeps_nothing(net):
    net.architecture_parameters.requires_grad_(True)
    net.use_mixture()
    with pytest.raises(RuntimeError, match='channels'):
        net(torch.zeros(2, 5, SIZE, SIZE))
    assert copy.deepcopy(net).mode == 'mixture'


@pytest.mark.parametrize('mode', ['path', 'mixture'])
def test_with_cp_gives_the_same_maps_and_gradients(randomize, mode):
    results = []
    for with_cp in (False, True):
        net = randomize(FNASuperNet(**SMALL, with_cp=with_cp)).train()
        blocks = [module for module in net.modules() if isinstance(module, MBConv)]
        assert len(blocks) == 1 + 14
        assert {block.with_cp for block in blocks} == {with_cp}
        set_parameters(net, peaks(net, PATH, 1.))
        net.architecture_parameters.requires_grad_(True)
        net.use_path(PATH) if mode == 'path' else net.use_mixture()
        outs = net(image())
        sum(out.square().mean() for out in outs).backward()
        gradients = {name: parameter.grad for name, parameter in net.named_parameters() if parameter.grad is not None}
        if mode == 'mixture':
            gradients['architecture_parameters'] = net.architecture_parameters.grad
        results.append((outs, gradients))
    (plain_outs, plain), (outs, checkpointed) = results
    assert_same(outs, plain_outs)
    assert set(plain) == set(checkpointed)
    assert len(plain) > 20
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-3, atol=1e-4, msg=name)


# Sampling


def probabilities_by_hand(layers):
    return [np.exp(np.array(layer) - max(layer)) / np.exp(np.array(layer) - max(layer)).sum() for layer in layers]


def frequencies(net, draws, **kwargs):
    rng = np.random.default_rng(0)
    paths = np.array([net.sample_path(rng, **kwargs) for _ in range(draws)])
    return [np.bincount(column, minlength=len(layer.candidates)) / draws
            for column, layer in zip(paths.T, net.search_space.layers)]


def test_softmax_frequencies(net):
    values = [[.5 * index + .2 * position for index in range(len(layer.candidates))]
              for position, layer in enumerate(net.search_space.layers)]
    values[2] = [2., 0., -1.]
    set_parameters(net, values)
    draws = 3000
    for found, expected in zip(frequencies(net, draws), probabilities_by_hand(values)):
        # Four standard deviations of a frequency.
        assert np.all(np.abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / draws))


def test_uniform_frequencies_ignore_the_parameters(net):
    set_parameters(net, peaks(net, PATH, 5.))
    draws = 3000
    for found in frequencies(net, draws, uniform=True):
        expected = 1 / len(found)
        assert np.all(np.abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) / draws))


def test_probabilities(net):
    values = [[.3 * index * position for index in range(len(layer.candidates))]
              for position, layer in enumerate(net.search_space.layers)]
    set_parameters(net, values)
    found = net.probabilities()
    assert len(found) == len(values) == 7
    for layer, expected in zip(found, probabilities_by_hand(values)):
        np.testing.assert_allclose(layer.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize('uniform', [True, False])
def test_rng_alone_decides_the_path(net, uniform):
    set_parameters(net, [[.1 * index for index in range(len(layer.candidates))] for layer in net.search_space.layers])
    torch.manual_seed(1)
    first = [net.sample_path(np.random.default_rng((7, step)), uniform) for step in range(20)]
    torch.manual_seed(2)
    np.random.seed(3)
    second = [net.sample_path(np.random.default_rng((7, step)), uniform) for step in range(20)]
    assert first == second
    assert len(set(first)) > 10


def test_golden_path():
    """Resumed runs of a later release must draw what the earlier one would have drawn."""
    path = FNASuperNet().sample_path(np.random.default_rng((0, 100)), uniform=True)
    draws = np.random.default_rng((0, 100)).random(21)
    sizes = [6, 7, 7, 7] * 5 + [6]
    assert path == tuple(int(draw * size) for draw, size in zip(draws, sizes))


class OneDraw:
    """The same number for every layer."""

    def __init__(self, value):
        self.value = value

    def random(self, size):
        return np.full(size, self.value)


FIRST_DRAW, LAST_DRAW = OneDraw(0.), OneDraw(np.nextafter(1, 0))


SUPERNET = FNASuperNet(**SMALL)
NUM_SMALL = SUPERNET.search_space.num_candidates


@given(st.lists(st.floats(-2**99, 2**99, width=32), min_size=NUM_SMALL, max_size=NUM_SMALL), st.integers(0, 2**32),
       st.booleans())
@settings(max_examples=100)
def test_sampled_paths_are_legal(values, seed, uniform):
    with torch.no_grad():
        SUPERNET.architecture_parameters.copy_(torch.tensor(values))
    for rng in (np.random.default_rng(seed), FIRST_DRAW, LAST_DRAW):
        path = SUPERNET.sample_path(rng, uniform)
        assert SUPERNET.search_space.check_choice(path) == path
        assert {type(index) for index in path} == {int}
    assert SUPERNET.search_space.check_choice(SUPERNET.best_path()) == SUPERNET.best_path()


def test_ends_of_the_draws(net):
    assert net.sample_path(FIRST_DRAW, uniform=True) == (0, ) * 7
    assert net.sample_path(LAST_DRAW, uniform=True) == (1, 1, 2, 1, 1, 1, 1)


def test_an_impossible_candidate_is_never_drawn(net):
    set_parameters(net, peaks(net, PATH, 2000.))  # e^-2000 is 0 in double precision
    for rng in (FIRST_DRAW, LAST_DRAW, np.random.default_rng(0)):
        assert net.sample_path(rng) == PATH


@pytest.mark.parametrize(('path', 'message'), [
    ((0, ) * 6, 'a path needs one index for each of the 7 layers, not 6'),
    ((0, ) * 8, 'a path needs one index for each of the 7 layers, not 8'),
    ((2, ) + (0, ) * 6, r'layer2\.0 has candidates 0 to 1, not 2'),
    ((0, 0, -1, 0, 0, 0, 0), r'layer3\.1 has candidates 0 to 2, not -1'),
])
def test_illegal_path(net, path, message):
    net.eval()
    net.use_path(PATH)
    before = outputs(net)
    net.use_best_path()
    with pytest.raises(ValueError, match=message):
        net.use_path(path)
    assert net.mode == 'best_path'
    net.use_path(PATH)
    with pytest.raises(ValueError, match=message):
        net.use_path(path)
    assert_same(outputs(net), before)


# Sampled candidates


@pytest.fixture
def sampling(randomize):
    """Ready for architecture steps on 2 of 2 to 3 candidates."""
    torch.manual_seed(0)
    net = randomize(FNASuperNet(**SMALL, arch_sample_num=2)).double()
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    net.architecture_parameters.requires_grad_(True)
    return net


def test_without_a_number_all_candidates_are_sampled(net):
    rng = np.random.default_rng(0)
    assert net.arch_sample_num is None
    assert net.sample_candidates(rng) is None
    assert rng.random() == np.random.default_rng(0).random()


def test_sampling_all_is_the_full_mixture(randomize):
    net = randomize(FNASuperNet((1, ) * 6, (3, 5), (3, ), arch_sample_num=2)).double()
    assert net.sample_candidates(np.random.default_rng(0)) == ((0, 1), ) * 6
    net.architecture_parameters.requires_grad_(True)
    results = []
    for sampled in (None, net.sample_candidates(np.random.default_rng(0))):
        net.use_mixture(sampled)
        outs = net(image().double())
        (gradient, ) = torch.autograd.grad(sum(out.square().mean() for out in outs), net.architecture_parameters)
        results.append((*outs, gradient, torch.cat(net.mixture_probabilities())))
    for full, sampled in zip(*results):
        torch.testing.assert_close(sampled, full)


@pytest.mark.parametrize('out_indices', [(1, 2, 4, 6), (1, 'expand5', 6)])
def test_only_sampled_candidates_run_and_get_gradients(randomize, out_indices):
    net = randomize(FNASuperNet((1, 3, 1, 1, 1, 1), (3, 5, 7), (3, 6), out_indices, arch_sample_num=2)).double()
    alphas = net.architecture_parameters.requires_grad_(True)
    sampled = net.sample_candidates(np.random.default_rng(4))
    net.use_mixture(sampled)
    runs = []
    for layer in net.search_space.layers:
        for place, (name, candidate) in enumerate(net.stage(layer.stage)[layer.index].candidates.items()):
            part = candidate if name == 'skip' else candidate.linear_conv
            part.register_forward_hook(lambda *_, key=(layer.name, place): runs.append(key))
    (of_outputs, ) = torch.autograd.grad(sum(out.square().mean() for out in net(image().double())), alphas)
    wanted = [(layer.name, place) for layer, places in zip(net.search_space.layers, sampled) for place in places]
    assert runs == wanted
    costs = torch.rand(len(alphas), dtype=torch.double)
    (of_cost, ) = torch.autograd.grad((torch.cat(net.mixture_probabilities()) * costs).sum(), alphas)
    places = [(layer.name, place) for layer in net.search_space.layers for place in range(len(layer.candidates))]
    for gradient in (of_outputs, of_cost):
        assert [place for place, value in zip(places, gradient) if value] == wanted


def test_sampled_weights_are_renormalised(sampling):
    values = [[.4 * index - .1 * position for index in range(len(layer.candidates))]
              for position, layer in enumerate(sampling.search_space.layers)]
    set_parameters(sampling, values)
    sampled = sampling.sample_candidates(np.random.default_rng(1))
    sampling.use_mixture(sampled)
    for found, indices, layer in zip(sampling.mixture_probabilities(), sampled, values):
        expected = np.zeros(len(layer))
        expected[list(indices)] = probabilities_by_hand([[layer[index] for index in indices]])[0]
        np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-6)
    sampling.use_mixture()
    assert (torch.cat(sampling.mixture_probabilities()) > 0).all()


def test_fused_and_simple_mixture_of_samples_agree(sampling):
    sampled = sampling.sample_candidates(np.random.default_rng(2))
    sampling.use_mixture(sampled)
    gradients = []
    for requires_grad in (False, True):  # the second runs its third stage one after another
        sampling.layer3.requires_grad_(requires_grad)
        loss = sum(out.square().mean() for out in sampling(image().double()))
        gradients.append(torch.autograd.grad(loss, sampling.architecture_parameters)[0])
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-9)


def test_samples_depend_on_the_generator_alone(sampling):
    torch.manual_seed(1)
    first = [sampling.sample_candidates(np.random.default_rng((7, step))) for step in range(20)]
    torch.manual_seed(2)
    np.random.seed(3)
    assert first == [sampling.sample_candidates(np.random.default_rng((7, step))) for step in range(20)]
    assert len(set(first)) == 3  # of one layer with three candidates
    for layers in first:
        assert [len(set(indices)) for indices in layers] == [2] * 7
        assert all(list(indices) == sorted(indices) for indices in layers)


def test_frequencies_of_samples(sampling):
    """Without replacement: the second is drawn from the rest of the softmax."""
    values = [[0.] * len(layer.candidates) for layer in sampling.search_space.layers]
    values[2] = [2., 0., -1.]
    set_parameters(sampling, values)
    p = probabilities_by_hand(values)[2]
    rng, draws = np.random.default_rng(0), 2000
    found = [sampling.sample_candidates(rng)[2] for _ in range(draws)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        expected = p[one] * p[other] / (1 - p[one]) + p[other] * p[one] / (1 - p[other])
        assert abs(found.count((one, other)) / draws - expected) < 4 * np.sqrt(expected * (1 - expected) / draws)


def test_a_sampled_mixture_can_be_copied(sampling):
    sampling.use_mixture(sampling.sample_candidates(np.random.default_rng(1)))
    sampling(image().double())
    other = copy.deepcopy(sampling)
    assert other.mode == 'mixture'
    torch.testing.assert_close(other.mixture_probabilities(), sampling.mixture_probabilities())


@pytest.mark.parametrize('number', [0, 3, -1, True, 2., '2'])
def test_illegal_number_of_samples(number):
    with pytest.raises(ValueError, match='arch_sample_num must be an integer from 1 to 2, the candidates of the '
                                         f'smallest layer, or None for all candidates, not {number!r}'):
        FNASuperNet(**SMALL, arch_sample_num=number)


def test_a_preference_for_the_seed():
    torch.manual_seed(3)
    plain = FNASuperNet()
    torch.manual_seed(3)
    net = FNASuperNet(seed_preference=2.)
    assert net.best_architecture() == Architecture.create('mobilenet_v2')
    added = net.architecture_parameters - plain.architecture_parameters
    own = [layer.argmax() for layer in added.split([len(layer.candidates) for layer in net.search_space.layers])]
    assert net.search_space.architecture(own) == Architecture.create('mobilenet_v2')
    assert torch.equal(added.round(decimals=5).unique(), torch.tensor([0., 2.]))
    assert int((added > 1).sum()) == 21
    probability = net.probabilities()[1].max()
    assert float(probability.detach()) == pytest.approx(math.e**2 / (math.e**2 + 6), abs=.002)


@pytest.mark.parametrize('preference', [-1, math.inf, math.nan, '2', True, None])
def test_illegal_preference(preference):
    with pytest.raises(ValueError, match=f'seed_preference must be a number of at least 0, not {preference!r}'):
        FNASuperNet(**SMALL, seed_preference=preference)


def test_a_preference_for_a_seed_that_is_not_there():
    with pytest.raises(ValueError, match='seed_preference=2, but the seed is not in the search space: .* most k3_e6'):
        FNASuperNet((1, ) * 6, seed_preference=2)


@pytest.mark.parametrize(('sampled', 'message'), [
    (((0, 1), ) * 6, 'a path needs one index for each of the 7 layers, not 6'),
    (((0, 1), ) * 6 + ((0, 2), ), r'layer7\.0 has candidates 0 to 1, not 2'),
    (((0, 1), ) * 6 + ((1, 1), ), r'all different; not \(1, 1\) beside \(0, 1\)'),
    (((0, 1), ) * 6 + ((1, ), ), r'equally many .* not \(1,\) beside \(0, 1\)'),
    (((), ) * 7, 'at least one'),
])
def test_illegal_samples(net, sampled, message):
    with pytest.raises(ValueError, match=message):
        net.use_mixture(sampled)
    assert net.mode == 'best_path'


# Outputs


@pytest.mark.parametrize(('output_stride', 'shapes'), [
    (32, [(16, 32), (24, 16), (32, 8), (64, 4), (96, 4), (160, 2), (320, 2), (1280, 2)]),
    (16, [(16, 32), (24, 16), (32, 8), (64, 4), (96, 4), (160, 4), (320, 4), (1280, 4)]),
    (8, [(16, 32), (24, 16), (32, 8), (64, 8), (96, 8), (160, 8), (320, 8), (1280, 8)]),
])
@pytest.mark.parametrize('mode', ['best_path', 'mixture'])
def test_all_outputs(output_stride, shapes, mode):
    net = FNASuperNet(**SMALL, out_indices=ALL, output_stride=output_stride).eval()
    if mode == 'mixture':
        net.use_mixture()
    outs = outputs(net)
    assert isinstance(outs, tuple)
    assert [tuple(out.shape) for out in outs] == [(2, channels, side, side) for channels, side in shapes]
    assert net.out_channels == (16, 24, 32, 64, 96, 160, 320, 1280)
    assert net.output_stride == output_stride


@pytest.mark.parametrize(('out_indices', 'channels'), [
    ((0, ), (16, )), ((7, ), (1280, )), ((1, 2, 4, 6), (24, 32, 96, 320)), ((1, 7), (24, 1280))])
def test_chosen_outputs(out_indices, channels):
    net = FNASuperNet(**SMALL, out_indices=out_indices).eval()
    assert tuple(out.shape[1] for out in outputs(net)) == net.out_channels == channels
    assert any(key.startswith('conv2') for key in net.state_dict()) == (7 in out_indices)


def test_default_space_is_the_papers():
    net = FNASuperNet()
    assert net.out_indices == (1, 2, 4, 6)
    assert net.search_space.layers == SearchSpace().layers
    assert [len(net.stage(index)) for index in range(7)] == [1, 4, 4, 4, 4, 4, 1]


@pytest.mark.parametrize(('output_stride', 'dilations'), [
    (32, [1] * 6), (16, [1, 1, 1, 1, 2, 2]), (8, [1, 1, 2, 2, 4, 4])])
def test_every_candidate_of_a_stage_is_dilated(output_stride, dilations):
    net = FNASuperNet(**SMALL, output_stride=output_stride)
    found = [{candidate.depthwise_conv.conv.dilation for layer in net.stage(index)
              for candidate in layer.candidates.values() if not isinstance(candidate, nn.Identity)}
             for index in range(1, 7)]
    assert found == [{(dilation, dilation)} for dilation in dilations]


# Normalisation and registration


def test_candidates_keep_no_statistics(net):
    inside = [module for index in range(1, 7) for module in net.stage(index).modules()
              if isinstance(module, _BatchNorm)]
    assert len(inside) == 3 * 2 * 7
    assert {(norm.affine, norm.track_running_stats, norm.running_mean) for norm in inside} == {(False, False, None)}
    outside = [module for part in (net.conv1, net.stage(0)) for module in part.modules()
               if isinstance(module, _BatchNorm)]
    assert len(outside) == 3
    assert {(norm.affine, norm.track_running_stats) for norm in outside} == {(True, True)}
    assert sum('running_mean' in key for key in net.state_dict()) == 3


def test_evaluation_of_candidates_does_not_depend_on_earlier_batches(net):
    net.eval()
    before = outputs(net)
    net(image(4, 3, SIZE, 96) * 9)
    assert_same(before, outputs(net))


def test_sync_bn_can_be_built_and_evaluated():
    net = FNASuperNet(**SMALL, norm_cfg=dict(type='SyncBN', requires_grad=True),
                      candidate_norm_cfg=dict(type='SyncBN', affine=False, track_running_stats=False)).eval()
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    assert {isinstance(norm, nn.SyncBatchNorm) for norm in norms} == {True}
    assert [out.shape[1] for out in outputs(net)] == [24, 32, 96, 320]


def test_candidates_with_statistics_of_their_own():
    net = FNASuperNet(**SMALL, candidate_norm_cfg=dict(type='BN'))
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    assert {norm.affine and norm.track_running_stats for norm in norms} == {True}


@pytest.mark.parametrize('registry', REGISTRIES, ids=lambda registry: registry.scope)
def test_found_from_every_scope(registry):
    net = registry.build(dict(type='FNASuperNet', **SMALL))
    assert type(net) is FNASuperNet
    assert mmengine.registry.MODELS.module_dict['FNASuperNet'] is FNASuperNet


def test_a_config_is_not_changed():
    cfg = dict(type='FNASuperNet', **copy.deepcopy(SMALL), out_indices=[1, 6], norm_cfg=dict(type='BN', eps=1e-3),
               candidate_norm_cfg=dict(type='BN', affine=False, track_running_stats=False),
               init_cfg=dict(type='Kaiming', layer='Conv2d'))
    before = copy.deepcopy(cfg)
    net = mmengine.registry.MODELS.build(cfg)
    net.init_weights()
    assert cfg == before
    assert net.conv1.bn.eps == 1e-3


@pytest.mark.parametrize(('arguments', 'message'), [
    (dict(layers_per_stage=(4, 4)), 'has 2 entries, but the seed has 6 stages'),
    (dict(kernel_sizes=(3, 4)), 'kernel_size of an MBConv must be odd, not 4'),
    (dict(expand_ratios=()), 'expand_ratios must be a list of different numbers'),
    (dict(out_indices=(8, )), 'out_indices=.* must name stages from 0 to 6, or 7 for the 1280-channel'),
    (dict(output_stride=4), 'output_stride=4 is not possible'),
    (dict(dilated='last'), "dilated='last' must be one of"),
])
def test_illegal_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        FNASuperNet(**dict(SMALL, **arguments))


# Cost


@pytest.mark.parametrize(('output_stride', 'out_indices', 'head_channels'), [
    (32, (1, 2, 4, 6), 0), (16, (1, 6), 0), (8, (7, ), 1280)])
@pytest.mark.parametrize('seed', [0, 1])
def test_table_is_what_a_path_and_its_child_cost(count_by_hooks, output_stride, out_indices, head_channels, seed):
    net = FNASuperNet((1, 3, 1, 2, 1, 1), (3, 7), (3, 6), out_indices, output_stride).eval()
    path = net.sample_path(np.random.default_rng(seed), uniform=True)
    x = torch.zeros(1, 3, 64, 96)
    table = madds_table(net.search_space, (64, 96), output_stride, head_channels)
    assert net.built_head_channels == head_channels
    net.use_path(path)
    counted = count_by_hooks(net, lambda: net(x))
    assert table.of_path(path) * 1e9 == pytest.approx(counted, rel=1e-12)
    child = FNAChildNet(net.search_space.architecture(path), out_indices, output_stride).eval()
    assert count_by_hooks(child, lambda: child(x)) == counted
