"""Multiply-adds of every choice in a search space, by arithmetic. Needs neither torch nor a model."""

from collections.abc import Sequence
from dataclasses import dataclass

from fna_mm.search_space import SearchSpace

GIGA = 1e9


@dataclass(frozen=True)
class CostTable:
    """What each candidate costs, in GMAdds (1e9 multiply-adds, each counted once, batch 1).

    Args:
        fixed (float): Everything that is not searched: stem, fixed stages, last convolution.
        layers (tuple[tuple[float, ...], ...]): For every searchable layer, the cost of each candidate.
    """

    fixed: float
    layers: tuple[tuple[float, ...], ...]

    def of_path(self, choice: Sequence[int]) -> float:
        """GMAdds of one candidate per layer."""
        return self.fixed + sum(costs[index] for costs, index in zip(self.layers, choice))


def madds_table(space: SearchSpace, input_shape: Sequence[int], output_stride: int = 32,
                head_channels: int = 0) -> CostTable:
    """The cost of every candidate at an input size.

    Args:
        space (SearchSpace): The search space.
        input_shape (Sequence[int]): (height, width) of the image.
        output_stride (int): Input pixels per pixel of the last map. Defaults to 32.
        head_channels (int): Outputs of a 1x1 convolution behind the last stage; 0 for none. Defaults to 0.

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
