"""Multiply-adds of every candidate in a search space, by arithmetic. This module needs neither torch nor a model."""

from collections.abc import Sequence
from dataclasses import dataclass

from fna_mm.search_space import SearchSpace

GIGA = 1e9


@dataclass(frozen=True)
class CostTable:
    """Costs of all candidates in GMAdds (1e9 multiply-adds, each counted once, for one image).

    Args:
        fixed (float): Cost of all parts that are not searched: stem, fixed stages, last convolution.
        layers (tuple[tuple[float, ...], ...]): Costs of the candidates of every searchable layer.
    """

    fixed: float
    layers: tuple[tuple[float, ...], ...]

    def of_path(self, choice: Sequence[int]) -> float:
        """GMAdds of a path, which has one candidate for each layer."""
        return self.fixed + sum(costs[index] for costs, index in zip(self.layers, choice))


def madds_table(space: SearchSpace, input_shape: Sequence[int], output_stride: int = 32,
                head_channels: int = 0) -> CostTable:
    """Count the cost of every candidate at an input size.

    Args:
        space (SearchSpace): The search space.
        input_shape (Sequence[int]): (height, width) of the image.
        output_stride (int): Input pixels per pixel of the last feature map. Defaults to 32.
        head_channels (int): Output channels of a 1x1 convolution behind the last stage; 0 means that there is none.
            Defaults to 0.

    Raises:
        ValueError: If ``input_shape`` is not (height, width) in positive integers, or the output
            stride is not possible.
    """
    fixed = space.seed.ends_madds(input_shape, output_stride, head_channels)
    layers = []
    for place in space.seed.walk(output_stride, input_shape):
        if place.index not in space.searched_stages:
            fixed += sum(layer.madds(spec) for spec, layer in place.layers())
        layers += [tuple(0. if spec is None else place.layer(layer.index).madds(spec) / GIGA
                         for spec in layer.candidates) for layer in space.layers if layer.stage == place.index]
    return CostTable(fixed / GIGA, tuple(layers))
