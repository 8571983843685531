import pytest
from hypothesis import given
from hypothesis import strategies as st

from fna_mm import Architecture, SearchSpace
from fna_mm.configs import config_path, read_search
from fna_mm.cost.random_architecture import TOLERANCE, draw_architecture

SPACE, SIZE = SearchSpace(), (64, 96)
SEED = Architecture.create('mobilenet_v2')


@given(st.integers(0, 1000), st.sampled_from([8, 16, 32]), st.sampled_from(['mobilenet_v2', 'fna_retinanet']))
def test_is_in_the_space_and_costs_the_same(seed, output_stride, name):
    like = Architecture.create(name)
    drawn = draw_architecture(SPACE, like, SIZE, output_stride, seed)
    assert drawn.madds(SIZE, output_stride) == pytest.approx(like.madds(SIZE, output_stride), rel=TOLERANCE)
    assert SPACE.architecture(SPACE.choice(drawn)) == drawn


def test_only_the_seed_decides():
    drawn = [draw_architecture(SPACE, SEED, SIZE, seed=seed) for seed in range(10)]
    assert drawn == [draw_architecture(SPACE, SEED, SIZE, seed=seed) for seed in range(10)]
    assert len(set(drawn)) == 10


def test_a_tapped_layer_keeps_its_width():
    space = SearchSpace(tapped_stages=(5, ))
    for seed in range(5):
        drawn = draw_architecture(space, SEED, SIZE, seed=seed)
        assert drawn.stages[5].layers[0].expand_ratio == 6


def test_the_space_of_a_config():
    search = read_search(config_path('fna_ssdlite_search.py'))
    assert (search.input_shape, search.output_stride) == ((320, 320), 32)
    like = Architecture.create('fna_ssdlite')
    assert draw_architecture(search.space, like, search.input_shape, search.output_stride, 3) == \
        draw_architecture(SearchSpace(tapped_stages=(5, )), like, (320, 320), 32, 3)


def test_nothing_costs_as_much():
    space = SearchSpace((1, ) * 6, kernel_sizes=(3, ), expand_ratios=(3, ))
    with pytest.raises(ValueError, match=r'no architecture of about 0.0342\d+ GMAdds was found; this search space '
                                         r'has 0.008\d+ to 0.008\d+ at 64x96'):
        draw_architecture(space, SEED, SIZE)


def test_a_config_without_a_search():
    path = config_path('bccd/fna_ssdlite_retrain.py')
    with pytest.raises(ValueError, match='must be the config of a search, with one FNASuperNet and input_shape'):
        read_search(path)
