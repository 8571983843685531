"""Multiply-adds of every choice in a search space, by arithmetic. Needs neither torch nor a model."""

from collections.abc import Sequence
from dataclasses import dataclass

from fna_mm.architecture import IMAGE_CHANNELS, STEM_STRIDE, check_input_shape, conv_madds, strided_size
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
    size = strided_size(check_input_shape(input_shape), STEM_STRIDE)
    fixed = conv_madds(IMAGE_CHANNELS, space.seed.stem_channels, 3, size)
    layers = []
    strides = space.seed.strides_and_dilations(output_stride)
    for index, (stage, (stride, _)) in enumerate(zip(space.seed.stages, strides)):
        if index not in space.searched_stages:
            fixed += stage.madds(size, stride)
        for layer in (layer for layer in space.layers if layer.stage == index):
            first = layer.index == 0
            layers.append(tuple(
                0. if spec is None else spec.madds(layer.in_channels, layer.out_channels, stride if first else 1,
                                                   size if first else strided_size(size, stride)) / GIGA
                for spec in layer.candidates))
        size = strided_size(size, stride)
    fixed += conv_madds(space.seed.stages[-1].out_channels, head_channels, 1, size)
    return CostTable(fixed / GIGA, tuple(layers))
