"""The cost term of the search's loss."""

import math
from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor

from fna_mm.checks import check_input_shape, check_number


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
    """The cost term of the search's loss, λ · log_τ(γ · cost) (paper, section 4.1).

    γ changes the value of the loss, but not its gradient.

    Args:
        input_shape (Sequence[int]): (height, width) of the image at which MAdds are counted.
        weight (float): λ, the weight of the term; with 0 the cost does not count.
            Defaults to 0.02 (RetinaNet in the paper).
        log_base (float): τ, the base of the logarithm. Defaults to 10.
        scale (float): γ, the factor of the cost in GMAdds. Defaults to 5.

    Raises:
        ValueError: If ``input_shape`` is missing or illegal, or another argument is out of range.

    >>> round(float(MAddsCost((800, 1088), weight=0.02, log_base=10, scale=5)(torch.tensor(2.))), 6)
    0.02
    """

    def __init__(self,
                 input_shape: Optional[Sequence[int]] = None,
                 weight: float = 0.02,
                 log_base: float = 10,
                 scale: float = 5) -> None:
        self.input_shape = check_input_shape(input_shape, 'input_shape of MAddsCost, where MAdds are counted,')
        self.weight = check_number('weight (λ) of MAddsCost', weight, least=0)
        self.log_base = check_number('log_base (τ) of MAddsCost', log_base, above=1)
        self.scale = check_number('scale (γ) of MAddsCost', scale, above=0)

    def __call__(self, cost: Tensor) -> Tensor:
        """The loss term of an expected cost in GMAdds, a scalar."""
        return self.weight * torch.log(self.scale * cost) / math.log(self.log_base)
