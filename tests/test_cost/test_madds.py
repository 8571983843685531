import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fna_mm import Architecture, FNAChildNet, SearchSpace
from fna_mm.cost import CostTable, madds_table
from fna_mm.families.mobilenet_v2 import PUBLISHED

#: One stage that is not searched and two that are; strides 1, 2 and 2 behind the stem's.
SEED = "[[4, 4], ['k3_e1'], 1]|[[4, 6], ['k3_e6'], 2]|[[6, 8], ['k3_e6'], 2]"


@pytest.fixture(scope='session')
def space():
    return SearchSpace((1, 2), (3, 7), (1, 6), seed=SEED)


def test_table_by_hand(space):
    table = madds_table(space, (32, 48), output_stride=8)
    k3_e1, k7_e1, k3_e6, k7_e6 = table.layers[0]
    # The stem leaves 16x24, stage 1 (stride 2) 8x12, stage 2 (stride 2) 4x6.
    stem, fixed = 27 * 4 * 16 * 24, (9 * 4 + 4 * 4) * 16 * 24
    assert table.fixed * 1e9 == pytest.approx(stem + fixed)
    assert k3_e1 * 1e9 == pytest.approx((9 * 4 + 4 * 6) * 8 * 12)
    assert k7_e1 * 1e9 == pytest.approx((49 * 4 + 4 * 6) * 8 * 12)
    assert k3_e6 * 1e9 == pytest.approx(4 * 24 * 16 * 24 + (9 * 24 + 24 * 6) * 8 * 12)
    assert k7_e6 * 1e9 == pytest.approx(4 * 24 * 16 * 24 + (49 * 24 + 24 * 6) * 8 * 12)
    assert table.layers[2][3] * 1e9 == pytest.approx((8 * 48 + 49 * 48 + 48 * 8) * 4 * 6)
    assert table.layers[2][4] == 0  # the identity
    assert [len(layer) for layer in table.layers] == [4, 4, 5]


def test_table_of_a_dilated_supernet_by_hand():
    """A stage that lost its stride computes on the larger map, its first layer included."""
    plain = madds_table(SearchSpace(), (64, 64))
    dilated = madds_table(SearchSpace(), (64, 64), output_stride=16)
    for layer, one, other in zip(SearchSpace().layers, plain.layers, dilated.layers):
        if layer.stage < 5:
            assert one == other
    k3_e6 = dilated.layers[16][3]  # layer6.0: 96 → 160 on 4x4 instead of 4x4 → 2x2
    assert k3_e6 * 1e9 == pytest.approx((96 * 576 + 9 * 576 + 576 * 160) * 4 * 4)
    assert dilated.layers[17][3] * 1e9 == pytest.approx((160 * 960 + 9 * 960 + 960 * 160) * 4 * 4)
    assert plain.layers[17][3] * 1e9 == pytest.approx((160 * 960 + 9 * 960 + 960 * 160) * 2 * 2)


def test_last_convolution_is_fixed_cost(space):
    without, with_head = (madds_table(space, (32, 32), 8, channels) for channels in (0, 10))
    assert (with_head.fixed - without.fixed) * 1e9 == pytest.approx(8 * 10 * 4 * 4)
    assert with_head.layers == without.layers


def test_of_path():
    table = CostTable(1., ((.5, 2.), (0., 3., 4.)))
    assert table.of_path((0, 0)) == 1.5
    assert table.of_path([1, 2]) == 7


def random_choice(space, seed):
    rng = random.Random(seed)
    return tuple(rng.randrange(len(layer.candidates)) for layer in space.layers)


@given(st.integers(0, 10**6), st.tuples(st.integers(16, 300), st.integers(16, 300)), st.sampled_from([8, 16, 32]),
       st.sampled_from([0, 1280]))
def test_a_path_costs_what_its_architecture_costs(seed, shape, output_stride, head_channels):
    space = SearchSpace((2, 3, 1, 4, 2, 1))
    choice = random_choice(space, seed)
    table = madds_table(space, shape, output_stride, head_channels)
    madds = space.architecture(choice).madds(shape, output_stride, head_channels)
    assert table.of_path(choice) * 1e9 == pytest.approx(madds, rel=1e-12)


@pytest.mark.parametrize('shape', [(64, 96), (65, 97)])
@pytest.mark.parametrize('output_stride', [32, 16, 8])
@pytest.mark.parametrize('seed', [0, 1])
def test_a_path_costs_what_flows_through_its_child(count_by_hooks, seed, output_stride, shape):
    space = SearchSpace((2, 3, 1, 4, 2, 1))
    choice = random_choice(space, seed)
    child = FNAChildNet(space.architecture(choice), (6, ), output_stride).eval()
    counted = count_by_hooks(child, lambda: child(torch.zeros(1, 3, *shape)))
    assert madds_table(space, shape, output_stride).of_path(choice) * 1e9 == pytest.approx(counted, rel=1e-12)


@pytest.mark.parametrize('name', sorted(PUBLISHED))
def test_published_paths(name):
    space = SearchSpace((4, 4, 6, 6, 4, 1))
    architecture = Architecture.create(name)
    table = madds_table(space, (800, 1088))
    assert table.of_path(space.choice(architecture)) * 1e9 == pytest.approx(architecture.madds((800, 1088)))


def test_illegal_output_stride(space):
    with pytest.raises(ValueError, match='output_stride=4 is not possible'):
        madds_table(space, (64, 64), output_stride=4)


@pytest.mark.parametrize('shape', [None, (800, ), (800, 1088, 3), (0, 64), (64., 64), '64', 64])
def test_illegal_input_shape(space, shape):
    with pytest.raises(ValueError, match=r'input_shape must be \(height, width\) in pixels'):
        madds_table(space, shape)
