import pytest
from hypothesis import given
from hypothesis import strategies as st

from fna_mm import Architecture, MBConvSpec, SearchSpace
from fna_mm.families.mobilenet_v2 import PUBLISHED
from fna_mm.search_space import candidate_name

SEGMENTATION = (4, 4, 6, 6, 4, 1)
# What each published network was found in.
SPACES = dict(
    mobilenet_v2=SearchSpace(), fna_retinanet=SearchSpace(), fna_ssdlite=SearchSpace(),
    fna_deeplabv3=SearchSpace(SEGMENTATION))

SMALL_SEED = "[[4, 4], ['k3_e1'], 1]|[[4, 6], ['k3_e6', 'k3_e6'], 2]|[[6, 8], ['k3_e1'], 1]|[[8, 8], ['k3_e6'], 2]"


@st.composite
def spaces(draw):
    kernels = draw(st.lists(st.sampled_from([3, 5, 7, 9]), min_size=1, max_size=3, unique=True))
    ratios = draw(st.lists(st.integers(1, 8), min_size=1, max_size=3, unique=True))
    depths = draw(st.lists(st.integers(1, 5), min_size=2, max_size=2))
    return SearchSpace(depths, kernels, ratios, seed=SMALL_SEED)


@st.composite
def choices(draw):
    space = draw(spaces())
    return space, tuple(draw(st.integers(0, len(layer.candidates) - 1)) for layer in space.layers)


def sorted_skips(space, choice):
    """The choice with every stage's identities moved behind its MBConv layers."""
    result = []
    for stage in space.searched_stages:
        chosen = [index for layer, index in zip(space.layers, choice) if layer.stage == stage]
        size = len(space.layers[0].candidates)  # of a layer that cannot be left out
        result += sorted(chosen, key=lambda index: index == size)
    return tuple(result)


@pytest.mark.parametrize(('layers_per_stage', 'num_layers', 'num_candidates'), [
    ((4, 4, 4, 4, 4, 1), 21, 141),
    (SEGMENTATION, 25, 169),
    ((1, 1, 1, 1, 1, 1), 6, 36),
])
def test_golden_sizes(layers_per_stage, num_layers, num_candidates):
    space = SearchSpace(layers_per_stage)
    assert len(space.layers) == num_layers
    assert space.num_candidates == num_candidates
    assert space.searched_stages == (1, 2, 3, 4, 5, 6)


def test_candidates_spelled_out():
    space = SearchSpace()
    first, second = space.layers[:2]
    assert [candidate_name(c) for c in first.candidates] == ['k3_e3', 'k5_e3', 'k7_e3', 'k3_e6', 'k5_e6', 'k7_e6']
    assert second.candidates == first.candidates + (None, )
    assert candidate_name(None) == 'skip'
    assert [layer.name for layer in space.layers[:5]] == ['layer2.0', 'layer2.1', 'layer2.2', 'layer2.3', 'layer3.0']
    assert space.layers[-1].name == 'layer7.0'
    assert [(layer.stage, layer.index, layer.in_channels, layer.out_channels) for layer in space.layers[3:6]] == [
        (1, 3, 24, 24), (2, 0, 24, 32), (2, 1, 32, 32)
    ]


def test_only_expanded_stages_are_searched():
    space = SearchSpace((2, 3), (3, 5), (6, ), seed=SMALL_SEED)
    assert space.searched_stages == (1, 3)
    assert [len(layer.candidates) for layer in space.layers] == [2, 3, 2, 3, 3]
    stages = space.architecture((1, 2, 0, 2, 1)).stages
    assert [' '.join(map(str, stage.layers)) for stage in stages] == ['k3_e1', 'k5_e6', 'k3_e1', 'k3_e6 k5_e6']


@pytest.mark.parametrize('name', sorted(PUBLISHED))
def test_published_architectures_round_trip(name):
    space, architecture = SPACES[name], Architecture.create(name)
    choice = space.choice(architecture)
    assert space.architecture(choice) == architecture
    assert sorted_skips(space, choice) == choice


def test_choice_of_fna_retinanet_written_out():
    k3_e6, k5_e6, k7_e3, k7_e6, skip = 3, 4, 2, 5, 6
    assert SPACES['fna_retinanet'].choice(Architecture.create('fna_retinanet')) == (
        k3_e6, k3_e6, skip, skip, k7_e6, k5_e6, skip, skip, k3_e6, k5_e6, k7_e6, k3_e6, k5_e6, k7_e6, skip, skip,
        k7_e6, k7_e6, k7_e3, k7_e6, k7_e6)


@given(choices())
def test_choice_and_architecture_round_trip(drawn):
    space, choice = drawn
    architecture = space.architecture(choice)
    assert space.choice(architecture) == sorted_skips(space, choice)
    assert space.architecture(space.choice(architecture)) == architecture


@given(choices())
def test_architecture_keeps_the_seeds_frame(drawn):
    space, choice = drawn
    architecture = space.architecture(choice)
    frame = [(stage.in_channels, stage.out_channels, stage.stride) for stage in architecture.stages]
    assert frame == [(4, 4, 1), (4, 6, 2), (6, 8, 1), (8, 8, 2)]
    for index in (0, 2):
        assert architecture.stages[index] == space.seed.stages[index]
    chosen = [layer.candidates[i] for layer, i in zip(space.layers, choice)]
    assert [spec for i in space.searched_stages for spec in architecture.stages[i].layers] == [
        spec for spec in chosen if spec is not None
    ]


def test_search_space_takes_every_form_of_seed():
    architecture = Architecture.parse(SMALL_SEED)
    for seed in (SMALL_SEED, architecture, architecture.to_dict()):
        assert SearchSpace((1, 1), seed=seed).seed == architecture


@pytest.mark.parametrize(('arguments', 'message'), [
    (dict(layers_per_stage=(4, 4)), r'layers_per_stage=\(4, 4\) has 2 entries, but the seed has 6 stages to search'),
    (dict(layers_per_stage=()), 'has 0 entries, but the seed has 6'),
    (dict(layers_per_stage=(4, 4, 4, 4, 0, 1)), 'must be an integer from 1 to .*, not 0'),
    (dict(layers_per_stage=(4, 4, 4, 4, -2, 1)), 'must be an integer from 1 to .*, not -2'),
    (dict(layers_per_stage=(4, 4, 4, 4, 2., 1)), 'must be an integer from 1 to .*, not 2.0'),
    (dict(layers_per_stage=(4, 4, 4, 4, True, 1)), 'must be an integer from 1 to .*, not True'),
    (dict(kernel_sizes=()), r'kernel_sizes must be a list of different numbers, not \(\)'),
    (dict(kernel_sizes=(3, 5, 3)), r'kernel_sizes must be a list of different numbers, not \(3, 5, 3\)'),
    (dict(expand_ratios=[]), r'expand_ratios must be a list of different numbers, not \[\]'),
    (dict(expand_ratios=(6, 6)), r'expand_ratios must be a list of different numbers, not \(6, 6\)'),
    (dict(kernel_sizes=(3, 4)), 'kernel_size of an MBConv must be odd, not 4'),
    (dict(expand_ratios=(0, 6)), 'expand_ratio of an MBConv must be an integer from 1 to .*, not 0'),
    (dict(seed='resnet'), "unknown arch 'resnet'"),
])
def test_illegal_search_space(arguments, message):
    with pytest.raises(ValueError, match=message):
        SearchSpace(**arguments)


@pytest.mark.parametrize(('choice', 'message'), [
    ((0, ) * 20, 'a path needs one index for each of the 21 layers, not 20'),
    ((0, ) * 22, 'a path needs one index for each of the 21 layers, not 22'),
    ((), 'a path needs one index for each of the 21 layers, not 0'),
    ((6, ) + (0, ) * 20, r'layer2\.0 has candidates 0 to 5, not 6'),
    ((0, -1) + (0, ) * 19, r'layer2\.1 has candidates 0 to 6, not -1'),
    ((0, ) * 20 + (7, ), r'layer7\.0 has candidates 0 to 5, not 7'),
])
def test_illegal_choice(choice, message):
    space = SearchSpace()
    with pytest.raises(ValueError, match=message):
        space.check_choice(choice)
    with pytest.raises(ValueError, match=message):
        space.architecture(choice)


def test_check_choice_returns_plain_ints():
    import numpy as np
    checked = SearchSpace().check_choice(np.zeros(21, dtype=np.int64))
    assert checked == (0, ) * 21
    assert {type(index) for index in checked} == {int}


def replaced(name, stage, layers):
    architecture = Architecture.create(name)
    stages = list(architecture.stages)
    old = stages[stage]
    stages[stage] = type(old)(old.in_channels, old.out_channels, old.stride,
                              tuple(MBConvSpec.parse(layer) for layer in layers))
    return Architecture(stages)


@pytest.mark.parametrize(('architecture', 'message'), [
    (replaced('mobilenet_v2', 2, ['k3_e6', 'k9_e6']),
     r"layer3\.1 is k9_e6, but the search space offers \['k3_e3', .*'skip'\]"),
    (replaced('mobilenet_v2', 2, ['k3_e4']), r'layer3\.0 is k3_e4, but the search space offers'),
    (replaced('mobilenet_v2', 6, ['k3_e6', 'k3_e6']),
     r'the stage 160 → 320 has 2 layers \(k3_e6 k3_e6\), the search space at most k3_e6'),
    (replaced('mobilenet_v2', 0, ['k5_e1']), r'the stage 32 → 16 has 1 layers \(k5_e1\)'),
    (Architecture.parse(SMALL_SEED), r'the architecture has stages \(in, out, stride\) \[\(4, 4, 1\)'),
])
def test_architecture_outside_the_search_space(architecture, message):
    with pytest.raises(ValueError, match=message):
        SearchSpace().choice(architecture)


def test_deeper_architecture_needs_the_deeper_space():
    with pytest.raises(ValueError, match='the stage 32 → 64 has 6 layers'):
        SearchSpace().choice(Architecture.create('fna_deeplabv3'))
