"""A check that neck and head believe the strides that the feature maps have.

A dense head places its priors by strides that its config says. Behind a backbone whose maps have other strides, a
training runs, and every box is at the wrong place.
"""

from collections.abc import Sequence
from typing import Any, Optional

import torch
from torch import nn

#: Side of the image on which maps are measured, in units of the largest stride.
_MAPS = 4
#: Strides that differ by more than this factor are not the same stride, rounded.
_ROUNDED = 1.4


def believed_strides(head: Any) -> Optional[tuple[int, ...]]:
    """The strides that a dense head places its priors by; None if it says none.

    Args:
        head (nn.Module): The head.
    """
    # Without priors, strides are something else: SOLO resizes its maps to them.
    strides = getattr(getattr(head, 'prior_generator', None), 'strides', None)
    if not isinstance(strides, (list, tuple)) or not strides:
        return None
    sides = [max(stride) if isinstance(stride, (list, tuple)) else stride for stride in strides]
    return tuple(int(side) for side in sides)


@torch.no_grad()
def measured_strides(model: Any, largest: int) -> Optional[tuple[int, ...]]:
    """The strides of the maps that a detector's neck gives its head; None if they cannot be had.

    Args:
        model (nn.Module): The detector. Its mode comes back, nothing else changes.
        largest (int): The largest stride that is expected.
    """
    if not hasattr(model, 'extract_feat'):
        return None
    side = _MAPS * largest
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        device = next(model.parameters()).device
        maps = model.extract_feat(torch.zeros(1, 3, side, side, device=device))
    except (TypeError, ValueError, RuntimeError, AttributeError):
        return None  # another kind of model: its own error comes with its first step
    finally:
        for module, training in modes.items():
            module.training = training
    if not isinstance(maps, Sequence) or not all(isinstance(features, torch.Tensor) for features in maps):
        return None
    return tuple(round(side / features.shape[-1]) for features in maps)


def check_strides(model: nn.Module) -> None:
    """Check that the strides in a detector's head are those of its feature maps.

    Args:
        model (nn.Module): A detector with a dense head, alone or as its RPN; other models are not looked at.

    Raises:
        ValueError: If they differ.
    """
    for name in ('bbox_head', 'rpn_head', 'mask_head'):
        head = getattr(model, name, None)
        believed = believed_strides(head) if head is not None else None
        found = measured_strides(model, max(believed)) if believed else None
        # Maps of few pixels have rounded strides, such as SSD's last ones: the first map decides.
        if believed and found and max(believed[0], found[0]) > _ROUNDED * min(believed[0], found[0]):
            raise ValueError(f'{name} places its boxes by strides {believed}, but its feature maps have the strides '
                             f'{found[:len(believed)]}: set other out_indices in the backbone or other strides in '
                             f'{name}, or every box is at the wrong place')
