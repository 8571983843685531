"""The most probable path of a supernet within a budget."""

from collections.abc import Sequence
from typing import Optional

import numpy as np

from fna_mm.cost.choice import choose
from fna_mm.cost.madds import CostTable

#: The most probable path within the budget costs at least this share of it, if there is one.
USED = .99
_BINS = 20000


def most_probable_path(log_probabilities: Sequence[Sequence[float]], table: CostTable,
                       budget: float) -> Optional[tuple[int, ...]]:
    """The most probable path whose cost is within a budget, by a knapsack over log probabilities.

    Of the paths that cost at least 99 % of the budget, the most probable one is taken: what was asked for is used. If
    there is none, it is the most probable of all within the budget.

    Args:
        log_probabilities (Sequence[Sequence[float]]): Logarithms of the probabilities of every layer's candidates.
        table (CostTable): Costs of the candidates.
        budget (float): GMAdds.

    Returns:
        tuple[int, ...] | None: Index of a candidate for every layer; None if no path is within the budget.
    """
    values = [[-value for value in layer] for layer in log_probabilities]
    found = choose(values, table.layers, budget - table.fixed)
    if found is None:
        return None
    path: tuple[int, ...] = tuple(found)
    if table.of_path(path) >= USED * budget:
        return path
    return _within_band(values, table, budget) or path


def _within_band(values: Sequence[Sequence[float]], table: CostTable, budget: float) -> Optional[tuple[int, ...]]:
    """The best path whose cost is between 99 % and 100 % of the budget.

    The cost of each layer is rounded up to a twenty-thousandth of the budget, so that the budget holds exactly; a path
    that uses the budget to its last thousandth may be missed.
    """
    room = budget - table.fixed
    unit = budget / _BINS
    size = int(room / unit) + 1
    best, steps = np.full(size, np.inf), []
    best[0] = 0.
    for layer, costs in zip(values, table.layers):
        extended, chosen = np.full(size, np.inf), np.zeros(size, int)
        for index, (value, cost) in enumerate(zip(layer, costs)):
            bins = int(np.ceil(cost / unit - 1e-9))
            if bins >= size:
                continue
            moved = np.concatenate([np.full(bins, np.inf), best[:size - bins] + value])
            better = moved < extended
            extended[better], chosen[better] = moved[better], index
        best = extended
        steps.append(chosen)
    ends = np.argsort(best, kind='stable')
    for end in ends[np.isfinite(best[ends])]:
        path, place = [], int(end)
        for chosen, costs in zip(reversed(steps), reversed(table.layers)):
            index = int(chosen[place])
            path.append(index)
            place -= int(np.ceil(costs[index] / unit - 1e-9))
        total = table.of_path(path[::-1])
        if USED * budget <= total <= budget:
            return tuple(path[::-1])
    return None
