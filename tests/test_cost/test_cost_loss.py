import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.registry import TASK_UTILS

from fna_mm import MAddsCost, SearchSpace
from fna_mm.cost import expected_cost, madds_table

COSTS = ((1., 2., 4.), (0., 3.))


def softmax(*layers):
    return [torch.tensor(layer, dtype=torch.double).softmax(0) for layer in layers]


# Expected cost


def test_expected_cost_written_out():
    probabilities = [torch.tensor([.5, .25, .25]), torch.tensor([.1, .9])]
    assert expected_cost(probabilities, COSTS, fixed=10.).item() == pytest.approx(10 + .5 + .5 + 1 + 2.7)
    assert expected_cost(probabilities, COSTS).item() == pytest.approx(4.7)


@given(st.lists(st.floats(-5, 5), min_size=5, max_size=5), st.floats(0, 100))
def test_expected_cost_is_the_mean_over_all_paths(values, fixed):
    probabilities = softmax(values[:3], values[3:])
    mean = sum(float(probabilities[0][i] * probabilities[1][j]) * (fixed + COSTS[0][i] + COSTS[1][j])
               for i, j in itertools.product(range(3), range(2)))
    assert expected_cost(probabilities, COSTS, fixed).item() == pytest.approx(mean)


@pytest.mark.parametrize('path', [(0, 0), (2, 1), (1, 1)])
def test_one_hot_costs_what_the_path_costs(path):
    probabilities = [torch.eye(3)[path[0]], torch.eye(2)[path[1]]]
    assert expected_cost(probabilities, COSTS, 1.).item() == 1 + COSTS[0][path[0]] + COSTS[1][path[1]]


def test_one_hot_in_a_real_space():
    space = SearchSpace()
    table = madds_table(space, (800, 1088))
    choice = [2] * len(space.layers)
    probabilities = [torch.eye(len(layer.candidates))[2] for layer in space.layers]
    assert expected_cost(probabilities, table.layers, table.fixed).item() == pytest.approx(table.of_path(choice))


def test_gradient_is_the_cost():
    probabilities = [p.requires_grad_(True) for p in softmax([0, 0, 0], [0, 0])]
    expected_cost(probabilities, COSTS, 5.).backward()
    assert [p.grad.tolist() for p in probabilities] == [list(costs) for costs in COSTS]


@pytest.mark.parametrize(('costs', 'message'), [
    (((1., 2., 4.), ), r'probabilities have \[3, 2\] candidates in their layers, the cost table \[3\]'),
    (((1., 2.), (0., 3., 4.)), r'the cost table \[2, 3\]'),
])
def test_other_layers_than_the_table(costs, message):
    with pytest.raises(ValueError, match=message):
        expected_cost(softmax([0, 0, 0], [0, 0]), costs)


# The cost term


@pytest.mark.parametrize(('weight', 'base', 'scale'), [(9e-3, 45, 10), (.02, 10, 5), (.2, 10, 10)])
@pytest.mark.parametrize('cost', [.05, 1., 4.8])
def test_formula_with_the_papers_numbers(weight, base, scale, cost):
    term = MAddsCost((800, 1088), weight, base, scale)(torch.tensor(cost, dtype=torch.double))
    assert term.item() == pytest.approx(weight * math.log(scale * cost, base))


def test_defaults_are_retinanets():
    cost = MAddsCost((800, 1088))
    assert (cost.input_shape, cost.weight, cost.log_base, cost.scale) == ((800, 1088), .02, 10., 5.)


def gradient(**arguments):
    cost = torch.tensor(2., dtype=torch.double, requires_grad=True)
    MAddsCost((64, 64), **arguments)(cost).backward()
    return cost.grad.item()


def test_gradient():
    assert gradient() == pytest.approx(.02 / (2 * math.log(10)))
    assert gradient(scale=10) == pytest.approx(gradient(scale=1))  # γ shifts the value alone
    assert gradient(weight=.2) == pytest.approx(10 * gradient(weight=.02))
    assert gradient(weight=0) == 0


def test_descent_makes_cheap_candidates_more_probable():
    parameters = torch.zeros(5, dtype=torch.double, requires_grad=True)

    def expected():
        return expected_cost([alpha.softmax(0) for alpha in parameters.split([3, 2])], COSTS, 1.)

    before = expected().item()
    MAddsCost((64, 64), weight=1.)(expected()).backward()
    assert parameters.grad[0] < parameters.grad[1] < parameters.grad[2]
    assert parameters.grad[3] < 0 < parameters.grad[4]
    with torch.no_grad():
        parameters -= parameters.grad
    assert expected().item() < before


def test_registered():
    cfg = dict(type='MAddsCost', input_shape=[800, 1088], weight=.1)
    cost = TASK_UTILS.build(cfg)
    assert type(cost) is MAddsCost
    assert (cost.input_shape, cost.weight) == ((800, 1088), .1)
    assert cfg == dict(type='MAddsCost', input_shape=[800, 1088], weight=.1)


@pytest.mark.parametrize(('arguments', 'message'), [
    (dict(), r'input_shape of MAddsCost, where MAdds are counted, must be \(height, width\) in pixels.* not None'),
    (dict(input_shape=(800, )), r'not \(800,\)'),
    (dict(input_shape=(800, 1088, 3)), 'input_shape of MAddsCost'),
    (dict(input_shape=(0, 64)), 'input_shape of MAddsCost'),
    (dict(input_shape=(64., 64)), 'input_shape of MAddsCost'),
    (dict(input_shape='64'), 'input_shape of MAddsCost'),
    (dict(input_shape=640), 'input_shape of MAddsCost'),
    (dict(weight=-1), r'weight \(λ\) of MAddsCost must be a number of at least 0, not -1'),
    (dict(weight=math.nan), r'weight \(λ\)'),
    (dict(log_base=1), r'log_base \(τ\) of MAddsCost must be a number above 1, not 1'),
    (dict(log_base=math.inf), r'log_base \(τ\)'),
    (dict(scale=0), r'scale \(γ\) of MAddsCost must be a positive number, not 0'),
    (dict(scale=-5), r'scale \(γ\)'),
])
def test_illegal_arguments(arguments, message):
    if arguments and 'input_shape' not in arguments:
        arguments = dict(arguments, input_shape=(64, 64))
    with pytest.raises(ValueError, match=message):
        MAddsCost(**arguments)


TABLE = madds_table(SearchSpace(), (128, 128))
SEED = SearchSpace().seed.madds((128, 128)) / 1e9


@pytest.mark.parametrize(('budget', 'gmadds'), [(.8, .8 * SEED), (1.2, 1.2 * SEED), ('80M', .08)])
def test_a_budget_in_gmadds(budget, gmadds):
    cost = MAddsCost((128, 128), budget=budget)
    with pytest.raises(ValueError, match='a seed that it does not know yet'):
        cost(torch.tensor(1.))
    cost.resolve(TABLE, SEED)
    assert cost.limit == pytest.approx(gmadds)


@pytest.mark.parametrize(('arguments', 'message'), [
    (dict(budget=.5, weight=.02), r'both weight=0\.02 and budget=0\.5'),
    (dict(budget=0), 'budget=0 must be a share above 0'), (dict(budget='much'), "budget='much' must be a share")])
def test_illegal_budgets(arguments, message):
    with pytest.raises(ValueError, match=message):
        MAddsCost((128, 128), **arguments)


@pytest.mark.parametrize('budget', [.05, 50., '1M'])
def test_budgets_that_no_path_has(budget):
    with pytest.raises(ValueError, match=r'the paths of the search space cost from 0\.\d+ to'):
        MAddsCost((128, 128), budget=budget).resolve(TABLE, SEED)


@pytest.mark.parametrize(('budget', 'scale'), [(.6, 1.), (1.5, 1.), (.8, 100.)])
def test_the_weight_follows_the_constraint(budget, scale):
    """A task that likes cost, with noise as in a search: the expected cost still becomes the budget."""
    cost = MAddsCost((128, 128), budget=budget)
    cost.resolve(TABLE, SEED)
    sizes = [len(layer) for layer in TABLE.layers]
    alphas = torch.zeros(sum(sizes), requires_grad=True)
    optimizer = torch.optim.Adam([alphas], lr=.05, betas=(.5, .999))
    costs = torch.tensor([value for layer in TABLE.layers for value in layer])
    generator = torch.Generator().manual_seed(0)
    errors = []
    for _ in range(400):
        probabilities = [alpha.softmax(0) for alpha in alphas.split(sizes)]
        expected = expected_cost(probabilities, TABLE.layers, TABLE.fixed)
        liking = .05 * torch.randn(len(alphas), generator=generator) - .05 * costs / costs.max()
        task = scale * (1 + (liking * torch.cat(probabilities)).sum())
        optimizer.zero_grad()
        (task + cost(expected)).backward()
        optimizer.step()
        cost.follow(float(expected.detach()), float(task.detach()))
        errors.append(float(expected.detach()) / cost.limit - 1)
    assert max(map(abs, errors[-100:])) < .1
    assert abs(sum(errors[-100:])) / 100 < .04


def test_the_state_of_a_budget():
    one, other = (MAddsCost((128, 128), budget=.8) for _ in range(2))
    for cost in (one, other):
        cost.resolve(TABLE, SEED)
    for loss in (2., 3., float('nan')):
        one.follow(SEED, loss)
    other.load_state_dict(one.state_dict())
    expected = torch.tensor(.9 * SEED)
    assert float(one(expected)) == float(other(expected))
    assert one.multiplier == pytest.approx(3 * .3 * math.log(1 / .8))
    assert one.task_loss == pytest.approx(2.1)
