"""What a convolution reads, as rows of features: pixels for a 1x1 convolution, patches for a larger one."""

import math
from typing import Any, Optional

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Numbers in the patches of one image: 32 MB in double precision. More positions of a map are thinned out evenly.
MOST_NUMBERS = 2**22
#: Patches for every feature that a fit has enough with, over all images. A 3x3 convolution of 512 channels has 4,608.
ENOUGH = 4
#: Positions of every image that are looked at in any case.
_LEAST_POSITIONS = 64


def is_pointwise(convolution: Any) -> bool:
    """Whether a convolution reads single pixels.

    Args:
        convolution (nn.Conv2d): The convolution.
    """
    return convolution.kernel_size == (1, 1) and convolution.stride == (1, 1) and not any(convolution.padding)


def patches(features: Tensor, convolution: nn.Conv2d, places: Tensor) -> Tensor:
    """The patches that a convolution sees at some positions of its output, (N, C · k · k, 1, positions).

    Args:
        features (Tensor): Input of the convolution, (N, C, H, W).
        convolution (nn.Conv2d): The convolution, without groups.
        places (Tensor): Indices of positions of the output, row by row.
    """
    if is_pointwise(convolution):
        rows = features.flatten(2)
    else:
        padding: Any = convolution.padding
        rows = functional.unfold(features, convolution.kernel_size, convolution.dilation, padding, convolution.stride)
    return rows[:, :, places].unsqueeze(2)


def places_of(output: Tensor, most: int) -> Tensor:
    """Positions of an output that are looked at: all, or ones that are spread evenly.

    Args:
        output (Tensor): (N, T, H, W).
        most (int): So many at most.
    """
    number = output.shape[2] * output.shape[3]
    if number <= most:
        return torch.arange(number, device=output.device)
    return torch.linspace(0, number - 1, most, device=output.device).long()


def seen_by(convolution: Any, features: Tensor, target: Tensor, images: Optional[int] = None
            ) -> tuple[Tensor, Tensor]:
    """What a convolution reads and what it is to give, position by position.

    A convolution that is larger than 1x1 is looked at in as many positions as a fit needs.

    Args:
        convolution (nn.Conv2d): The convolution, without groups and with stride 1.
        features (Tensor): Its input, (N, C, H, W).
        target (Tensor): What it is to give, (N, T, H, W).
        images (int, optional): Number of images that are looked at. Defaults to None: it is not known.

    Returns:
        tuple[Tensor, Tensor]: Features (N, C · k · k, …) and targets (N, T, …) of the same positions.
    """
    if is_pointwise(convolution):
        return features, target
    numbers = features.shape[1] * convolution.kernel_size[0] * convolution.kernel_size[1]
    most = MOST_NUMBERS // numbers if images is None else math.ceil(ENOUGH * numbers / images)
    places = places_of(target, max(_LEAST_POSITIONS, most))
    return patches(features, convolution, places), target.flatten(2)[:, :, places].unsqueeze(2)


def patch_size(convolution: Any) -> int:
    """Positions of a convolution's kernel: features for every channel that it reads.

    Args:
        convolution (nn.Conv2d): The convolution.
    """
    return int(convolution.kernel_size[0] * convolution.kernel_size[1])
