"""The mixture as equation 4 reads, the yardstick of the fast one in speed and in its results."""

from typing import Any

from torch import Tensor

from fna_mm.backbones.mixed_op import MixedOp


def simple_mixture(layer: MixedOp, x: Tensor, weights: Tensor) -> Tensor:
    """The candidates one after another, each times its weight, and summed (paper, equation 4).

    Args:
        layer (MixedOp): The layer, whose candidates run as ordinary modules.
        x (Tensor): Input, (N, in_channels, H, W).
        weights (Tensor): One weight per candidate, (candidates,).

    Returns:
        Tensor: (N, out_channels, ceil(H / stride), ceil(W / stride)).
    """
    candidates: Any = layer.candidates
    return sum(weight * candidates[name](x) for name, weight in zip(layer.names, weights.unbind()))  # type: ignore
