"""The most probable path within a budget, against enumeration and in the search spaces that ship."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fna_mm.configs import config_names, config_path, read_search
from fna_mm.cost import CostTable, madds_table
from fna_mm.cost.best_path import most_probable_path

SEARCHES = [name for name in config_names() if name.endswith('search.py') and name.split('/')[0] in
            ('bccd', 'camvid')]


@given(seed=st.integers(0, 10**6), share=st.floats(.2, 1.))
def test_against_enumeration(seed, share):
    random = np.random.default_rng(seed)
    layers = tuple(tuple(random.uniform(.1, 1, 4).tolist()) for _ in range(4))
    table = CostTable(.3, layers)
    probabilities = [np.log(random.dirichlet(np.ones(4))).tolist() for _ in range(4)]
    budget = table.fixed + share * sum(map(max, layers))
    paths = {path: sum(layer[index] for layer, index in zip(probabilities, path))
             for path in itertools.product(range(4), repeat=4)}
    within = {path: value for path, value in paths.items() if table.of_path(path) <= budget * (1 + 1e-12)}
    # Costs are rounded up to a twenty-thousandth each: at the ends of the band a path may be missed.
    using = {path: value for path, value in within.items() if .9903 * budget <= table.of_path(path) <= .9997 * budget}
    path = most_probable_path(probabilities, table, budget)
    if not within:
        assert path is None
        return
    assert path in within
    if using:
        assert paths[path] >= max(using.values()) - 1e-9
        assert table.of_path(path) >= .99 * budget
    else:
        assert paths[path] <= max(within.values()) + 1e-9


def test_a_band_without_a_path():
    table = CostTable(0., ((1., 2.), (1., 2.)))
    assert most_probable_path([[-1., -2.], [-3., -1.]], table, 3.9) == (0, 1)
    assert most_probable_path([[-1., -2.], [-3., -1.]], table, 1.9) is None


@pytest.mark.parametrize('name', SEARCHES)
@pytest.mark.parametrize('share', [.5, .8, 1.])
def test_every_small_search_space_reaches_its_budget_within_a_hundredth(name, share):
    search = read_search(config_path(name))
    table = madds_table(search.space, search.input_shape, search.output_stride)
    seed = search.space.seed.madds(search.input_shape, search.output_stride) / 1e9
    for number in range(3):
        random = np.random.default_rng(number)
        alphas = [np.log(random.dirichlet(np.full(len(layer), .3)) + 1e-12).tolist() for layer in table.layers]
        cost = table.of_path(most_probable_path(alphas, table, share * seed))
        assert .99 * share * seed <= cost <= share * seed


@pytest.mark.parametrize('name', SEARCHES)
def test_the_seed_costs_as_much_as_the_seed(name):
    """A search from measured scores starts with the seed as its most probable path, and 1.0 is a budget like others."""
    search = read_search(config_path(name))
    path = search.space.choice(search.space.seed)
    alphas = [[0. if index == picked else -5. for index in range(len(layer.candidates))]
              for layer, picked in zip(search.space.layers, path)]
    for height in range(96, 513, 32):
        shape = height, 256
        seed = search.space.seed.madds(shape, search.output_stride) / 1e9
        assert most_probable_path(alphas, madds_table(search.space, shape, search.output_stride), seed) == path
