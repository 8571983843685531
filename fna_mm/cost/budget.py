"""Budgets: what a user asks for → what the backbone may cost."""

import re
from dataclasses import dataclass
from typing import Optional, Union

from fna_mm.checks import check_number

_UNITS = {'k': 1e3, 'm': 1e6, 'g': 1e9}
_NUMBER = r'(\d+(?:\.\d*)?|\.\d+)'
WHOLES = ('backbone', 'model')


@dataclass(frozen=True)
class Budget:
    """What a child may cost.

    Args:
        text (str): What the user asked for; it names the child's folder.
        fraction (float, optional): Share of the trained backbone's or model's cost. None for an absolute budget.
        absolute (float, optional): Multiply-adds or parameters of the backbone or model, or what another unit counts.
            None for a fraction.
    """

    text: str
    fraction: Optional[float]
    absolute: Optional[float]

    @classmethod
    def parse(cls, value: Union[str, float], most: float = 1., unit: str = '') -> 'Budget':
        """Read a budget: ``0.5`` is a share, ``'250M'`` or ``'1.2G'`` an absolute number.

        Args:
            value (str | float): The budget.
            most (float): The largest share. Defaults to 1.
            unit (str): Unit of absolute numbers, such as ``'ms'`` for ``'12ms'``. Defaults to '': multiply-adds or
                parameters, with K, M or G.

        Raises:
            ValueError: If it is neither.
        """
        text = str(value).strip()
        match = re.fullmatch(rf'{_NUMBER}\s*({re.escape(unit) if unit else "[kmg]"})', text, re.IGNORECASE)
        if match:
            amount = float(match[1]) * (1. if unit else _UNITS[match[2].lower()])
            return cls(text, None, check_number('budget', amount, above=0))
        try:
            number = float(text)
        except ValueError:
            number = float('nan')
        if not 0 < number <= most:
            raise ValueError(f'budget={value!r} must be a share above 0 and not above {most:g}, such as 0.5, or a '
                             + (f"number in {unit}, such as '12{unit}'" if unit else
                                "number with K, M or G, such as '250M'"))
        return cls(f'{number:g}', number, None)

    def of_backbone(self, backbone: float, rest: float, whole: str) -> float:
        """What the backbone may cost.

        Args:
            backbone (float): Cost of the trained backbone.
            rest (float): Cost of the rest of the model.
            whole (str): ``'backbone'`` or ``'model'``: what the budget is meant for.
        """
        rest = rest if whole == 'model' else 0.
        if self.absolute is not None:
            return self.absolute - rest
        return (self.fraction or 0.) * (backbone + rest) - rest
