"""The cost term of the search's loss."""

import math
from collections.abc import Sequence
from typing import Any, Optional, Union

import torch
from torch import Tensor

from fna_mm.checks import check_input_shape, check_number
from fna_mm.cost.budget import Budget
from fna_mm.cost.madds import GIGA, CostTable

#: λ of the paper's RetinaNet, where neither weight nor budget is given.
_WEIGHT = .02
#: Largest share of the seed's cost that a budget may be; supernets are several times as large as their seed.
MOST = 100.


def expected_cost(probabilities: Sequence[Tensor], costs: Sequence[Sequence[float]], fixed: float = 0.) -> Tensor:
    """The expected cost of a path that is drawn from ``probabilities``, differentiable in them.

    The value is exact, because layers are drawn independently and their costs add up.

    Args:
        probabilities (Sequence[Tensor]): Probabilities of the candidates of every layer, each (candidates,).
        costs (Sequence[Sequence[float]]): Costs of the candidates of every layer, in GMAdds.
        fixed (float): Cost of the parts that are not searched, in GMAdds. Defaults to 0.

    Returns:
        Tensor: The expected cost, a scalar in GMAdds.

    Raises:
        ValueError: If ``probabilities`` and ``costs`` have other layers or other candidates.
    """
    if [len(p) for p in probabilities] != [len(c) for c in costs]:
        raise ValueError(f'probabilities have {[len(p) for p in probabilities]} candidates in their layers, '
                         f'the cost table {[len(c) for c in costs]}')
    flat = torch.cat(tuple(probabilities))
    table = flat.new_tensor([cost for layer in costs for cost in layer])
    return (flat * table).sum() + fixed


class MAddsCost:
    """The cost term of the search's loss: λ · log_τ(γ · cost) (paper, section 4.1), or a budget.

    γ changes the value of the loss, but not its gradient.

    With a budget there is no λ to guess. The constraint g = log(cost / budget) = 0 is met by an augmented Lagrangian:
    the term is s · (μ · g + ρ/2 · g²), and after every architecture step μ grows by η · g. The scale s is the running
    mean of the task loss, so that η and ρ have no unit. ``FNASuperNet.best_path``, and with it evaluation and export,
    is the most probable path within the budget. s and μ are in the checkpoint.

    Args:
        input_shape (Sequence[int]): (height, width) of the image at which MAdds are counted.
        weight (float, optional): λ, the weight of the term; with 0 the cost does not count.
            Defaults to None: 0.02 (RetinaNet in the paper), unless there is a budget.
        log_base (float): τ, the base of the logarithm. Defaults to 10.
        scale (float): γ, the factor of the cost in GMAdds. Defaults to 5.
        budget (float | str, optional): What the backbone may cost: a share of the seed's MAdds, or a number such as
            ``'250M'``. Defaults to None: λ weighs the cost.

    Raises:
        ValueError: If ``input_shape`` is missing or illegal, another argument is out of range, or both ``weight`` and
            ``budget`` are given.

    >>> round(float(MAddsCost((800, 1088), weight=0.02, log_base=10, scale=5)(torch.tensor(2.))), 6)
    0.02
    """

    #: ρ and η of the augmented Lagrangian.
    PENALTY, RATE = 10., .3
    #: Share of the newest task loss in the running mean.
    _NEWEST = .1

    def __init__(self,
                 input_shape: Optional[Sequence[int]] = None,
                 weight: Optional[float] = None,
                 log_base: float = 10,
                 scale: float = 5,
                 budget: Optional[Union[float, str]] = None) -> None:
        self.input_shape = check_input_shape(input_shape, 'input_shape of MAddsCost, where MAdds are counted,')
        if weight is not None and budget is not None:
            raise ValueError(f'MAddsCost has both weight={weight!r} and budget={budget!r}: the weight of a budget '
                             'follows the search, give one of the two')
        self.weight = check_number('weight (λ) of MAddsCost', _WEIGHT if weight is None else weight, least=0)
        self.log_base = check_number('log_base (τ) of MAddsCost', log_base, above=1)
        self.scale = check_number('scale (γ) of MAddsCost', scale, above=0)
        self.budget = None if budget is None else Budget.parse(budget, most=MOST)
        #: The budget in GMAdds, as soon as the seed's cost is known.
        self.gmadds: Optional[float] = None
        self.multiplier = 0.
        self.task_loss: Optional[float] = None

    def __call__(self, cost: Tensor) -> Tensor:
        """The loss term of an expected cost in GMAdds, a scalar.

        Raises:
            ValueError: If there is a budget, and :meth:`resolve` was not called.
        """
        if self.budget is None:
            return self.weight * torch.log(self.scale * cost) / math.log(self.log_base)
        if self.gmadds is None:
            raise ValueError('the budget of MAddsCost is a share of a seed that it does not know yet')
        excess = torch.log(cost / self.gmadds)
        return (self.task_loss or 1.) * (self.multiplier * excess + self.PENALTY / 2 * excess.square())

    def resolve(self, table: CostTable, seed: float) -> None:
        """Find out what the budget is in a search space, and whether it can be reached.

        Args:
            table (CostTable): Costs of all candidates.
            seed (float): GMAdds of the seed.

        Raises:
            ValueError: If no path is as cheap as the budget, or all are cheaper.
        """
        if self.budget is None:
            return
        self.gmadds = self.budget.of_backbone(seed * GIGA, 0., 'backbone') / GIGA
        least, most = (table.fixed + sum(pick(costs) for costs in table.layers) for pick in (min, max))
        if not least <= self.gmadds <= most:
            raise ValueError(f'budget={self.budget.text} of MAddsCost is {self.gmadds:.4g} GMAdds, but the paths of '
                             f'the search space cost from {least:.4g} to {most:.4g}, {least / seed:.2f} to '
                             f'{most / seed:.2f} of the seed')

    def follow(self, cost: float, task_loss: float) -> None:
        """Let the weight follow the constraint, after a step.

        Args:
            cost (float): Expected cost before the step, in GMAdds.
            task_loss (float): The step's loss without the cost term, the mean of all processes.
        """
        if self.gmadds is None:
            return
        if math.isfinite(task_loss):
            known = task_loss if self.task_loss is None else self.task_loss
            self.task_loss = known + self._NEWEST * (task_loss - known)
        self.multiplier += self.RATE * math.log(cost / self.gmadds)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed search needs: the multiplier and the running mean of the task loss."""
        return dict(multiplier=self.multiplier, task_loss=self.task_loss)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        self.multiplier, self.task_loss = state['multiplier'], state['task_loss']
