"""The choice: one candidate for every block, with the least sum of values within a budget."""

from collections.abc import Sequence
from typing import NamedTuple, Optional

import numpy as np

#: Sums that differ by less than this share of them are equal: they depend on the order of the additions.
_EQUAL = 1e-12


class DepthLimit(NamedTuple):
    """A limit of how many blocks of a stage may be left out.

    Args:
        start (int): Index of the stage's first block.
        stop (int): Index behind its last block.
        most (int): How many of them may be left out.
    """

    start: int
    stop: int
    most: int


class _Bound:
    """The least value that the blocks from one on can add: the linear relaxation of the problem (a lower bound)."""

    def __init__(self, blocks: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        self.least_cost, base, steps = 0., 0., []
        for costs, values in blocks:
            hull = _lower_hull(costs, values)
            self.least_cost += hull[0][0]
            base += hull[0][1]
            steps += [(b[0] - a[0], b[1] - a[1]) for a, b in zip(hull, hull[1:])]
        steps.sort(key=lambda step: step[1] / step[0])
        self._costs = np.cumsum([0., *(cost for cost, _ in steps)])
        self._values = base + np.cumsum([0., *(value for _, value in steps)])

    def __call__(self, budget: np.ndarray) -> np.ndarray:
        bound = np.interp(budget - self.least_cost, self._costs, self._values)
        return np.where(budget < self.least_cost, np.inf, bound)


def _lower_hull(costs: np.ndarray, values: np.ndarray) -> list[tuple[float, float]]:
    """The corners of the lower convex hull, from the cheapest candidate to the one of least value."""
    hull: list[tuple[float, float]] = []
    for cost, value in sorted(zip(costs.tolist(), values.tolist())):
        if hull and value >= hull[-1][1]:
            continue  # dearer, and not better
        while len(hull) > 1 and ((hull[-1][1] - hull[-2][1]) * (cost - hull[-2][0])
                                 >= (value - hull[-2][1]) * (hull[-1][0] - hull[-2][0])):
            hull.pop()
        hull.append((cost, value))
    return hull


class _States(NamedTuple):
    """Partial choices of the blocks so far: what they cost, their value, blocks of this stage that they left out."""

    cost: np.ndarray
    value: np.ndarray
    left_out: np.ndarray


def _undominated(states: _States) -> np.ndarray:
    """Indices of the states that no other one beats in cost and value at the same number of blocks left out."""
    order = np.lexsort((states.value, states.cost, states.left_out))
    value, group = states.value[order], states.left_out[order]
    keep = np.zeros(len(order), bool)
    for number in np.unique(group):
        of_group = np.flatnonzero(group == number)
        best = np.minimum.accumulate(value[of_group])
        keep[of_group] = np.concatenate([[True], value[of_group][1:] < best[:-1]])
    return order[keep]


def choose(values: Sequence[Sequence[float]], costs: Sequence[Sequence[float]], budget: float,
           limits: Sequence[DepthLimit] = (), left_out: Sequence[Optional[int]] = ()) -> Optional[list[int]]:
    """Solve a multiple-choice knapsack problem exactly.

    Partial choices are extended block by block. One is dropped if another one has neither a higher cost nor a higher
    value, or if the linear relaxation of the remaining blocks shows that it cannot end better than a known choice.
    Of all choices with the least sum of values, one is returned; which one is not said.

    Args:
        values (Sequence[Sequence[float]]): Value of every candidate of every block; smaller is better.
        costs (Sequence[Sequence[float]]): Cost of every candidate of every block.
        budget (float): The sum of the chosen candidates' costs is not larger, but for the rounding of sums.
        limits (Sequence[DepthLimit]): How many blocks may be left out. Defaults to (): any.
        left_out (Sequence[int | None]): The candidate of every block that leaves it out. Defaults to (): there is none.

    Returns:
        list[int] | None: The index of the chosen candidate of every block; None if nothing is within the budget.
    """
    blocks = [(np.asarray(cost, float), np.asarray(value, float)) for cost, value in zip(costs, values)]
    leaves = list(left_out) or [None] * len(blocks)
    bounds = [_Bound(blocks[index:]) for index in range(len(blocks) + 1)]
    room = budget + _EQUAL * abs(budget)
    if bounds[0].least_cost > room:
        return None
    most = {index: limit.most for limit in limits for index in range(limit.start, limit.stop)}
    ends = {limit.stop for limit in limits}
    known = _greedy(blocks, budget, leaves, most)
    known += _EQUAL * (1 + abs(known))
    states = _States(np.zeros(1), np.zeros(1), np.zeros(1, int))
    steps: list[tuple[np.ndarray, np.ndarray]] = []
    for index, (cost, value) in enumerate(blocks):
        if index in ends:
            states = states._replace(left_out=np.zeros_like(states.left_out))
        leaving = np.arange(len(cost)) == (-1 if leaves[index] is None else leaves[index])
        extended = _States(*(np.add.outer(part, new).ravel() for part, new in zip(states, (
            cost, value, leaving.astype(int) * (index in most)))))
        end = extended.value + bounds[index + 1](room - extended.cost)
        reachable = np.isfinite(end) & (end <= known)
        reachable &= extended.left_out <= most.get(index, 0)
        places = np.flatnonzero(reachable)
        places = places[_undominated(_States(*(part[places] for part in extended)))]
        states = _States(*(part[places] for part in extended))
        steps.append((places // len(cost), places % len(cost)))
    if not len(states.cost):
        return None
    place, picked = int(states.value.argmin()), []
    for parents, items in reversed(steps):
        picked.append(int(items[place]))
        place = int(parents[place])
    return picked[::-1]


def _greedy(blocks: Sequence[tuple[np.ndarray, np.ndarray]], budget: float, leaves: Sequence[Optional[int]],
            most: dict[int, int]) -> float:
    """The value of some choice within the budget and the limits; infinity if none is found.

    From the cheapest candidate of every block on, what brings most for its cost is bought as long as it fits. Where
    the depth is limited, no block is left out.
    """
    usable = [np.arange(len(cost)) != (leaves[index] if index in most else -1)
              for index, (cost, _) in enumerate(blocks)]
    hulls = [_lower_hull(cost[legal], value[legal]) for (cost, value), legal in zip(blocks, usable)]
    if not all(hulls):
        return np.inf
    spent, total = sum(hull[0][0] for hull in hulls), sum(hull[0][1] for hull in hulls)
    if spent > budget:
        return np.inf
    steps = sorted(((b[1] - a[1]) / (b[0] - a[0]), b[0] - a[0], b[1] - a[1], number, place)
                   for number, hull in enumerate(hulls) for place, (a, b) in enumerate(zip(hull, hull[1:])))
    reached = [0] * len(hulls)
    for _, cost, value, number, place in steps:
        if reached[number] == place and spent + cost <= budget:
            spent, total, reached[number] = spent + cost, total + value, place + 1
    return total
