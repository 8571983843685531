"""Checks of numbers that users give. A bad value raises one error that names it and says what is right."""

import math
import operator
from collections.abc import Sequence
from typing import Any, Optional

#: More than any network has: limits on what is built from a text that somebody wrote.
MOST_KERNEL, MOST_RATIO, MOST_CHANNELS, MOST_LAYERS, MOST_PARAMETERS = 63, 100, 2**14, 1000, 10**9

def shown(value: Any, most: int = 200) -> str:
    """A value as messages show it: what Python writes, cut where it is longer than anybody reads.

    Args:
        value (Any): The value.
        most (int): Characters. Defaults to 200.
    """
    text = repr(value[:most + 1]) if isinstance(value, str) else repr(value)
    return text if len(text) <= most else f'{text[:most]}…'


def check_integer(name: str, value: Any, least: int = 1, most: Optional[int] = None, note: str = '') -> int:
    """Check that a value is an integer in range, and return it.

    Args:
        name (str): Name of the value in the message, such as ``'interval of ArchitectureExportHook'``.
        value (Any): The value; booleans are no integers.
        least (int): The smallest allowed value. Defaults to 1.
        most (int, optional): The largest allowed value. Defaults to None: no limit.
        note (str): Text that the message adds after the range. Defaults to ''.

    Raises:
        ValueError: If the value is no integer or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        wanted = (f'an integer from {least} to {most}' if most is not None else
                  'a positive integer' if least == 1 else f'an integer of at least {least}')
        raise ValueError(f'{name} must be {wanted}{note}, not {shown(value)}')
    return value


def check_list(name: str, values: Any) -> None:
    """Check that a value is a list or tuple.

    Args:
        name (str): Name of the value in the message.
        values (Any): The value.

    Raises:
        ValueError: If it is none.
    """
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes)):
        raise ValueError(f'{name} must be a list or tuple, not {shown(values)}')


def check_number(name: str, value: Any, least: Optional[float] = None, above: Optional[float] = None,
                 below: Optional[float] = None) -> float:
    """Check that a value is a finite number in range, and return it as a float.

    Args:
        name (str): Name of the value in the message.
        value (Any): The value; booleans are no numbers.
        least (float, optional): The smallest allowed value. Defaults to None: no limit.
        above (float, optional): The value must be larger than this. Defaults to None: no limit.
        below (float, optional): The value must be smaller than this. Defaults to None: no limit.

    Raises:
        ValueError: If the value is no finite number or out of range.
    """
    legal = not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value)
    bounds = []
    for word, bound, holds in (('of at least', least, operator.ge), ('above', above, operator.gt),
                               ('below', below, operator.lt)):
        if bound is not None:
            bounds.append(f'{word} {bound:g}')
            legal = legal and holds(value, bound)
    if not legal:
        wanted = 'a positive number' if bounds == ['above 0'] else f'a number {" and ".join(bounds)}'.strip()
        raise ValueError(f'{name} must be {wanted}, not {shown(value)}')
    return float(value)


def check_input_shape(input_shape: Any, name: str = 'input_shape') -> tuple[int, int]:
    """Check an input size, and return it as a tuple (height, width).

    Args:
        input_shape (Any): The value.
        name (str): Name of the value in the message. Defaults to 'input_shape'.

    Raises:
        ValueError: If it is not a pair of positive integers.
    """
    legal = (isinstance(input_shape, Sequence) and not isinstance(input_shape, str) and len(input_shape) == 2
             and all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in input_shape))
    if not legal:
        raise ValueError(f'{name} must be (height, width) in pixels, such as (800, 1088), not {shown(input_shape)}')
    return input_shape[0], input_shape[1]
