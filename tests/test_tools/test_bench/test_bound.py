import pytest

from fna_mm import Architecture
from fna_mm.architecture import MBConvSpec, PlacedLayer
from fna_mm.cost.madds import madds_table
from fna_mm.families import Convolution, family, published_names
from fna_mm.search_space import SearchSpace
from tools.bench.bound import (
    Peak,
    Work,
    architecture_step_work,
    chain_work,
    inference_work,
    layer_work,
    measure_peak,
    weight_step_work,
)
from tools.bench.settings import Settings

SIZE = (65, 96)


def stem(architecture):
    first = family(architecture.family).stem(architecture.stem_channels)[0]
    return 3 * first.kernel_size**2 * first.out_channels * 33 * 48


@pytest.mark.parametrize('name', published_names())
def test_multiply_adds_are_those_of_the_cost_code(name):
    architecture = Architecture.create(name)
    madds = architecture.madds(SIZE)
    assert inference_work(architecture, SIZE).madds == madds
    assert weight_step_work(architecture, SIZE).madds == 3 * madds - stem(architecture)


@pytest.mark.parametrize(('with_cp', 'passes'), [(False, 2), (True, 3)])
def test_multiply_adds_of_all_candidates_are_those_of_the_cost_table(with_cp, passes):
    space = SearchSpace((3, 2, 4, 1, 2, 1))
    table = madds_table(space, SIZE)
    first, *others = (sum(layer) for layer in table.layers)
    expected = table.fixed + first + passes * sum(others)
    assert architecture_step_work(space, SIZE, with_cp).madds / 1e9 == pytest.approx(expected, rel=1e-12)


def block(spec, stride):
    """A block from 4 to 5 channels on 6x6."""
    return layer_work(spec, PlacedLayer(0, 0, 4, 5, stride, 1, (6, 6)))


def test_elements_of_a_convolution_and_of_a_block():
    assert chain_work([Convolution(3, 8, 3, 2)], (9, 10)).elements == 3 * 90 + 8 * 25
    # 4 → 24 on 6x6, 24 → 24 to 3x3, 24 → 5
    assert block(MBConvSpec(5, 6), 2).elements == (4 + 24) * 36 + 24 * (36 + 9) + (24 + 5) * 9
    assert block(MBConvSpec(3, 1), 1).elements == (4 + 4) * 36 + (4 + 5) * 36


def test_bounds():
    bounds = Peak(madds_per_second=1e9, bytes_per_second=1e6).bounds(Work(madds=5e8, elements=1000), 4, 2)
    assert bounds == dict(gmadds=2., arithmetic_bound_s=2., traffic_bound_s=.008)


def test_the_machine_is_measured():
    peak = measure_peak(Settings.create('cpu', True))
    assert 1e7 < peak.madds_per_second < 1e15
    assert 1e7 < peak.bytes_per_second < 1e14
