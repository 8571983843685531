"""What the layers of a network may grow to: larger kernels, more hidden channels, more layers."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, Optional

import numpy as np

from fna_mm import families
from fna_mm.architecture import Architecture
from fna_mm.checks import check_integer, check_number
from fna_mm.families import BlockSpec


class ElasticLayer(NamedTuple):
    """A layer and what it may be.

    Args:
        stage (int): Index of its stage.
        place (int): Index in the stage of the largest network.
        in_channels (int): Input channels of the layer.
        added (bool): Whether the network that grows does not have the layer.
        choices (tuple[BlockSpec | None, ...]): The layer as it was, None if it is added, and what it may grow to.
        largest (BlockSpec): The spec that holds all choices.
    """

    stage: int
    place: int
    in_channels: int
    added: bool
    choices: tuple[Optional[BlockSpec], ...]
    largest: BlockSpec


class ElasticSpace:
    """The networks that a network may grow to.

    Every searchable layer may have a larger kernel or more hidden channels or both. Every stage may have more layers,
    behind its own ones, like its last layer; a stage whose only layer changes the channels has no such layer. A layer
    whose hidden features are returned keeps its width. Frozen stages do not grow: nothing in them would be trained.

    Args:
        base (Architecture): The network that grows.
        kernel_sizes (Sequence[int]): Kernels to which a smaller one may grow. Defaults to (5, 7).
        width (float): Factor of the hidden channels of a layer that has more of them; 1 for none. Defaults to 1.5.
        added_layers (int): Layers that a stage may have more. Defaults to 1.
        tapped_stages (Sequence[int]): Stages whose first layer's hidden features are returned. Defaults to ().
        frozen_stages (int): As in ``FNAChildNet``. Defaults to -1.

    Raises:
        ValueError: If a number is out of range, or nothing can grow.
    """

    def __init__(self, base: Architecture, kernel_sizes: Sequence[int] = (5, 7), width: float = 1.5,
                 added_layers: int = 1, tapped_stages: Sequence[int] = (), frozen_stages: int = -1) -> None:
        for kernel in kernel_sizes:
            check_integer('a kernel to grow to', kernel)
            if kernel % 2 == 0:
                raise ValueError(f'kernel_sizes={tuple(kernel_sizes)} must be odd')
        check_number('width, the factor of hidden channels,', width, least=1)
        check_integer('added_layers', added_layers, least=0)
        self.base = base
        self._kernels, self._width = tuple(sorted(set(kernel_sizes))), width
        layers: list[ElasticLayer] = []
        for number, stage in enumerate(base.stages):
            frozen = number < frozen_stages
            for index, spec in enumerate(stage.layers):
                in_channels = stage.in_channels if index == 0 else stage.out_channels
                tapped = index == 0 and number in tapped_stages
                layers.append(self._own(number, index, in_channels, spec, frozen, tapped))
            if not frozen and len(stage.layers) > 1 and stage.layers[-1].searchable:
                layers += [self._added(number, len(stage.layers) + more, stage.out_channels, stage.layers[-1])
                           for more in range(added_layers)]
        #: All layers, in the order of the largest network.
        self.layers = tuple(layers)
        if all(len(layer.choices) == 1 for layer in layers):
            raise ValueError('nothing of the backbone can grow: its kernels are not smaller than kernel_sizes='
                             f'{tuple(kernel_sizes)}, width={width} and added_layers={added_layers} add nothing, or '
                             'its stages are frozen')
        #: The network that holds all others.
        self.largest = self._stages(lambda layer, number: layer.largest)

    def _own(self, stage: int, index: int, in_channels: int, spec: BlockSpec, frozen: bool, tapped: bool
             ) -> ElasticLayer:
        hidden = spec.hidden_channels(in_channels)
        choices = [spec]
        if spec.searchable and not frozen:
            step = families.family(self.base.family).width_step
            wide = hidden if tapped else max(hidden, int(hidden * self._width / step) * step)
            kernels = [spec.kernel_size, *(kernel for kernel in self._kernels if kernel > spec.kernel_size)]
            choices += [spec.resized(kernel, channels, in_channels) for channels in dict.fromkeys((hidden, wide))
                        for kernel in kernels if (kernel, channels) != (spec.kernel_size, hidden)]
        return ElasticLayer(stage, index, in_channels, False, tuple(choices), choices[-1])

    def _added(self, stage: int, index: int, channels: int, spec: BlockSpec) -> ElasticLayer:
        kernels = [spec.kernel_size, *(kernel for kernel in self._kernels if kernel > spec.kernel_size)]
        hidden = spec.hidden_channels(channels)
        choices = [spec.resized(kernel, hidden, channels) for kernel in kernels]
        return ElasticLayer(stage, index, channels, True, (None, *choices), choices[-1])

    def _stages(self, spec_of: Callable[[ElasticLayer, int], Optional[BlockSpec]]) -> Architecture:
        chosen: list[list[BlockSpec]] = [[] for _ in self.base.stages]
        for number, layer in enumerate(self.layers):
            spec = spec_of(layer, number)
            if spec is not None:
                chosen[layer.stage].append(spec)
        return replace(self.base, stages=tuple(replace(stage, layers=tuple(specs))
                                               for stage, specs in zip(self.base.stages, chosen)))

    @property
    def own(self) -> tuple[ElasticLayer, ...]:
        """The layers that the network has."""
        return tuple(layer for layer in self.layers if not layer.added)

    @property
    def added(self) -> tuple[ElasticLayer, ...]:
        """The layers that it may have more."""
        return tuple(layer for layer in self.layers if layer.added)

    def architecture(self, path: Sequence[int]) -> Architecture:
        """The architecture of a path.

        Args:
            path (Sequence[int]): Index of the choice of every layer; 0 is the layer as it was.
        """
        return self._stages(lambda layer, number: layer.choices[path[number]])

    @property
    def seed_path(self) -> tuple[int, ...]:
        """The path of the network that grows."""
        return (0, ) * len(self.layers)

    def sample_path(self, rng: np.random.Generator, share: float) -> tuple[int, ...]:
        """Draw a path near the network that grows.

        Args:
            rng (np.random.Generator): Source of random numbers; two are drawn for each layer.
            share (float): Probability that a layer is another one than it was.
        """
        path = []
        for layer in self.layers:
            changed, number = rng.random() < share, rng.random()
            grown = len(layer.choices) - 1
            path.append(1 + int(number * grown) if changed and grown else 0)
        return tuple(path)
