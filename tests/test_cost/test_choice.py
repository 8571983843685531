"""The knapsack against enumeration."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fna_mm.cost.choice import DepthLimit, choose

problems = st.lists(
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 10**7)), min_size=1, max_size=4), min_size=1, max_size=4)


def best(problem, budget, limits=(), left_out=()):
    """The least sum of values within the budget, by trying everything; None if nothing is within it."""
    sums = [sum(problem[block][index][0] for block, index in enumerate(picked))
            for picked in itertools.product(*(range(len(block)) for block in problem))
            if sum(problem[block][index][1] for block, index in enumerate(picked)) <= budget
            and all(sum(picked[block] == left_out[block] for block in range(start, stop)) <= most
                    for start, stop, most in limits)]
    return min(sums, default=None)


def solve(problem, budget, limits=(), left_out=()):
    return choose([[value for value, _ in block] for block in problem],
                  [[cost for _, cost in block] for block in problem], budget, limits, left_out)


@given(problem=problems, share=st.floats(0, 1.1))
def test_nothing_is_better_within_the_budget(problem, share):
    budget = int(share * sum(max(cost for _, cost in block) for block in problem))
    picked, expected = solve(problem, budget), best(problem, budget)
    assert (picked is None) == (expected is None)
    if picked is not None:
        assert sum(problem[block][index][1] for block, index in enumerate(picked)) <= budget
        assert sum(problem[block][index][0] for block, index in enumerate(picked)) == pytest.approx(expected, abs=1e-9)


@given(problem=problems, share=st.floats(.3, 1.1), most=st.integers(0, 2), cut=st.integers(0, 4), data=st.data())
def test_depth_limits_hold(problem, share, most, cut, data):
    """Two stages; some blocks have a candidate that leaves them out."""
    budget = int(share * sum(max(cost for _, cost in block) for block in problem))
    left_out = [data.draw(st.sampled_from([None, len(block) - 1])) for block in problem]
    cut = min(cut, len(problem))
    limits = [DepthLimit(0, cut, most), DepthLimit(cut, len(problem), 1)]
    picked, expected = solve(problem, budget, limits, left_out), best(problem, budget, limits, left_out)
    assert (picked is None) == (expected is None)
    if picked is not None:
        for start, stop, allowed in limits:
            assert sum(picked[block] == left_out[block] for block in range(start, stop)) <= allowed
        assert sum(problem[block][index][1] for block, index in enumerate(picked)) <= budget
        assert sum(problem[block][index][0] for block, index in enumerate(picked)) == pytest.approx(expected, abs=1e-9)


def test_a_budget_that_is_just_enough():
    # Sums of large costs that differ by one: a solver with a tolerance would let the dearer one pass.
    problem = [[(0., 10**9 + 1), (1., 10**9)], [(0., 10**9), (1., 10**9 - 1)]]
    assert solve(problem, 2 * 10**9 + 1) == [0, 0]
    assert sum(solve(problem, 2 * 10**9)) == 1
    assert solve(problem, 2 * 10**9 - 1) == [1, 1]
    assert solve(problem, 2 * 10**9 - 2) is None


@given(costs=st.lists(st.lists(st.floats(1e-3, 1), min_size=2, max_size=4), min_size=2, max_size=21),
       scale=st.floats(0, 1e4), data=st.data())
def test_a_choice_that_uses_the_budget_to_the_last_digit(costs, scale, data):
    """The costs add up to the budget in one order of additions; in another one their sum may be larger."""
    wanted = [data.draw(st.integers(0, len(block) - 1)) for block in costs]
    values = [[scale + (index != picked) for index in range(len(block))] for block, picked in zip(costs, wanted)]
    order = data.draw(st.permutations(range(len(costs))))
    assert choose(values, costs, sum(costs[block][wanted[block]] for block in order)) == wanted


def test_a_problem_of_the_size_of_mobilenet_v2():
    """Seventeen blocks of a hundred candidates with nearly smooth scores."""
    random = np.random.default_rng(0)
    values, costs = [], []
    for _ in range(17):
        shares = np.linspace(1, .01, 100)
        values.append(random.uniform(.5, 2) * (1 - shares)**2 + random.uniform(0, 1e-3, 100) * (shares < 1))
        costs.append(np.round(random.uniform(1e6, 4e7) * shares))
    budget = .5 * sum(block[0] for block in costs)
    picked = choose(values, costs, budget)
    cost = sum(block[index] for block, index in zip(costs, picked))
    assert .999 * budget < cost <= budget
    # No exchange of two blocks' candidates is better.
    total = sum(block[index] for block, index in zip(values, picked))
    for one, other in itertools.combinations(range(17), 2):
        rest_cost = cost - costs[one][picked[one]] - costs[other][picked[other]]
        rest_value = total - values[one][picked[one]] - values[other][picked[other]]
        sums = np.add.outer(values[one], values[other])
        legal = np.add.outer(costs[one], costs[other]) + rest_cost <= budget
        assert rest_value + sums[legal].min() >= total - 1e-9
