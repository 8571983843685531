"""The cost term of the search's loss."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Optional, Union

import torch
from torch import Tensor

from fna_mm.checks import check_input_shape, check_number
from fna_mm.cost.block_table import BlockTable
from fna_mm.cost.budget import Budget
from fna_mm.cost.madds import GIGA, CostTable, madds_table
from fna_mm.search_space import SearchSpace

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


class CostTerm(ABC):
    """A cost term of the search's loss: λ · log_τ(γ · cost) (paper, section 4.1), or a budget.

    γ changes the value of the loss, but not its gradient.

    With a budget there is no λ to guess. The constraint g = log(cost / budget) = 0 is met by an augmented Lagrangian:
    the term is s · (μ · g + ρ/2 · g²), and after every architecture step μ grows by η · g. The scale s is the running
    mean of the task loss, so that η and ρ have no unit. ``FNASuperNet.best_path``, and with it evaluation and export,
    is the most probable path within the budget. s and μ are in the checkpoint.

    Args:
        weight (float, optional): λ, the weight of the term; with 0 the cost does not count.
            Defaults to None: 0.02 (RetinaNet in the paper), unless there is a budget.
        log_base (float): τ, the base of the logarithm. Defaults to 10.
        scale (float): γ, the factor of the cost. Defaults to 5.
        budget (float | str, optional): What the backbone may cost: a share of the seed's cost, or a number with a
            unit. Defaults to None: λ weighs the cost.

    Raises:
        ValueError: If an argument is out of range, or both ``weight`` and ``budget`` are given.
    """

    #: ρ and η of the augmented Lagrangian.
    PENALTY, RATE = 10., .3
    #: Share of the newest task loss in the running mean.
    _NEWEST = .1
    #: Unit of costs, and how many of what a budget is given in are one of it.
    unit: str = ''
    _one: float = 1.

    def __init__(self,
                 weight: Optional[float] = None,
                 log_base: float = 10,
                 scale: float = 5,
                 budget: Optional[Union[float, str]] = None) -> None:
        name = type(self).__name__
        if weight is not None and budget is not None:
            raise ValueError(f'{name} has both weight={weight!r} and budget={budget!r}: the weight of a budget '
                             'follows the search, give one of the two')
        self.weight = check_number(f'weight (λ) of {name}', _WEIGHT if weight is None else weight, least=0)
        self.log_base = check_number(f'log_base (τ) of {name}', log_base, above=1)
        self.scale = check_number(f'scale (γ) of {name}', scale, above=0)
        self.budget = None if budget is None else self.parse(budget)
        #: The budget in the unit of costs, as soon as the seed's cost is known.
        self.limit: Optional[float] = None
        self.multiplier = 0.
        self.task_loss: Optional[float] = None

    def parse(self, budget: Union[float, str]) -> Budget:
        """Read a budget.

        Args:
            budget (float | str): A share of the seed's cost, or a number with a unit.

        Raises:
            ValueError: If it is neither.
        """
        return Budget.parse(budget, MOST)

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, int]:
        """(height, width) of the image at which costs are meant."""

    @abstractmethod
    def costs(self, space: SearchSpace, output_stride: int, head_channels: int) -> tuple[CostTable, float]:
        """The costs of all candidates in a search space, and the cost of the seed.

        Args:
            space (SearchSpace): The search space.
            output_stride (int): Output stride of the supernet.
            head_channels (int): Output channels of the convolution behind the last stage; 0 if there is none.

        Raises:
            ValueError: If they are not known.
        """

    def __call__(self, cost: Tensor) -> Tensor:
        """The loss term of an expected cost, a scalar in the unit of costs.

        Raises:
            ValueError: If there is a budget, and :meth:`resolve` was not called.
        """
        if self.budget is None:
            return self.weight * torch.log(self.scale * cost) / math.log(self.log_base)
        if self.limit is None:
            raise ValueError(f'the budget of {type(self).__name__} is a share of a seed that it does not know yet')
        excess = torch.log(cost / self.limit)
        return (self.task_loss or 1.) * (self.multiplier * excess + self.PENALTY / 2 * excess.square())

    def resolve(self, table: CostTable, seed: float) -> None:
        """Find out what the budget is in a search space, and whether it can be reached.

        Args:
            table (CostTable): Costs of all candidates.
            seed (float): Cost of the seed.

        Raises:
            ValueError: If no path is as cheap as the budget, or all are cheaper.
        """
        if self.budget is not None:
            self.limit = self.within(self.budget, table, seed)

    def within(self, budget: Union[Budget, float, str], table: CostTable, seed: float) -> float:
        """What a budget is in a search space, in the unit of costs.

        Args:
            budget (Budget | float | str): The budget.
            table (CostTable): Costs of all candidates.
            seed (float): Cost of the seed.

        Raises:
            ValueError: If it is no budget, no path is as cheap, or all are cheaper.
        """
        parsed = budget if isinstance(budget, Budget) else self.parse(budget)
        limit = parsed.of_backbone(seed * self._one, 0., 'backbone') / self._one
        least, most = (table.fixed + sum(pick(costs) for costs in table.layers) for pick in (min, max))
        if not least <= limit <= most:
            raise ValueError(f'budget={parsed.text} of {type(self).__name__} is {limit:.4g} {self.unit}, but the paths '
                             f'of the search space cost from {least:.4g} to {most:.4g}, {least / seed:.2f} to '
                             f'{most / seed:.2f} of the seed')
        return limit

    def follow(self, cost: float, task_loss: float) -> None:
        """Let the weight follow the constraint, after a step.

        Args:
            cost (float): Expected cost before the step.
            task_loss (float): The step's loss without the cost term, the mean of all processes.
        """
        if self.limit is None:
            return
        if math.isfinite(task_loss):
            known = task_loss if self.task_loss is None else self.task_loss
            self.task_loss = known + self._NEWEST * (task_loss - known)
        self.multiplier += self.RATE * math.log(cost / self.limit)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed search needs: the multiplier and the running mean of the task loss."""
        return dict(multiplier=self.multiplier, task_loss=self.task_loss)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        self.multiplier, self.task_loss = state['multiplier'], state['task_loss']


class MAddsCost(CostTerm):
    """The cost term over multiply-adds in G, which are counted.

    Args:
        input_shape (Sequence[int]): (height, width) of the image at which MAdds are counted.
        weight (float, optional): λ, as in :class:`CostTerm`. Defaults to None: 0.02, unless there is a budget.
        log_base (float): τ, as in :class:`CostTerm`. Defaults to 10.
        scale (float): γ, the factor of the cost in GMAdds. Defaults to 5.
        budget (float | str, optional): What the backbone may cost: a share of the seed's MAdds, or a number such as
            ``'250M'``. Defaults to None: λ weighs the cost.

    Raises:
        ValueError: If ``input_shape`` is missing or illegal, or as :class:`CostTerm`.

    >>> round(float(MAddsCost((800, 1088), weight=0.02, log_base=10, scale=5)(torch.tensor(2.))), 6)
    0.02
    """

    unit = 'GMAdds'
    _one = GIGA

    def __init__(self,
                 input_shape: Optional[Sequence[int]] = None,
                 weight: Optional[float] = None,
                 log_base: float = 10,
                 scale: float = 5,
                 budget: Optional[Union[float, str]] = None) -> None:
        self._input_shape = check_input_shape(input_shape, 'input_shape of MAddsCost, where MAdds are counted,')
        super().__init__(weight, log_base, scale, budget)

    @property
    def input_shape(self) -> tuple[int, int]:
        """(height, width) of the image at which MAdds are counted."""
        return self._input_shape

    def costs(self, space: SearchSpace, output_stride: int, head_channels: int) -> tuple[CostTable, float]:
        """As :meth:`CostTerm.costs`, in GMAdds."""
        size = self.input_shape, output_stride, head_channels
        return madds_table(space, *size), space.seed.madds(*size) / GIGA


class TableCost(CostTerm):
    """The cost term over a table of what blocks cost on a device, such as ``fna latency`` writes.

    Args:
        table (str): Path of the table, on any mmengine file backend.
        weight (float, optional): λ, as in :class:`CostTerm`. Defaults to None: 0.02, unless there is a budget.
        log_base (float): τ, as in :class:`CostTerm`. Defaults to 10.
        scale (float): γ, the factor of the cost. Defaults to 5.
        budget (float | str, optional): What the backbone may cost: a share of the seed's cost, or a number in the
            table's unit such as ``'12ms'``. Defaults to None: λ weighs the cost.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no table; in a search, if it was made for another one; or as :class:`CostTerm`.
    """

    def __init__(self,
                 table: str,
                 weight: Optional[float] = None,
                 log_base: float = 10,
                 scale: float = 5,
                 budget: Optional[Union[float, str]] = None) -> None:
        if not isinstance(table, str):
            raise ValueError(f'table of TableCost must be the path of a file that fna latency wrote, not {table!r}')
        self.table = BlockTable.read(table)
        self.unit = self.table.unit
        super().__init__(weight, log_base, scale, budget)

    def parse(self, budget: Union[float, str]) -> Budget:
        """As :meth:`CostTerm.parse`, with numbers in the unit of the table."""
        return Budget.parse(budget, MOST, self.unit)

    @property
    def input_shape(self) -> tuple[int, int]:
        """(height, width) of the image at which the table was made."""
        return self.table.input_shape

    def costs(self, space: SearchSpace, output_stride: int, head_channels: int) -> tuple[CostTable, float]:
        """As :meth:`CostTerm.costs`, in the unit of the table."""
        self.table.check(space.seed, output_stride)
        return self.table.of_space(space), self.table.of_network(space.seed)
