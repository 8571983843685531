"""The blocks that a table of latencies holds, of an adaptation and of a search."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from mmengine.registry import MODELS, init_default_scope

from fna_mm import families
from fna_mm.adaptation.trained_model import section_as_child
from fna_mm.architecture import Architecture, Stage
from fna_mm.configs import CHILD, SUPERNET
from fna_mm.cost.block_table import Place
from fna_mm.families import BlockSpec
from fna_mm.search_space import SearchSpace
from fna_mm.sections import type_of, without_weights

#: Kernels that layers may have.
KERNELS = (3, 5, 7)
#: Shares of a block's hidden channels that are measured; costs between them are interpolated.
SHARES = (.125, .25, .375, .5, .625, .75, .875, 1.)
#: How much wider than now a layer may grow.
_GROWTH = 1.5


@dataclass(frozen=True)
class MeasuredNetwork:
    """The backbone whose blocks are measured.

    Args:
        architecture (Architecture): The network, or the seed of the search.
        output_stride (int): Its output stride.
        dilated (str): Which layers of a dilated stage are dilated.
        out_indices (tuple): Maps that it returns.
        blocks (dict[Place, dict[int, BlockSpec]]): Place → hidden channels → block.
    """

    architecture: Architecture
    output_stride: int
    dilated: str
    out_indices: tuple
    blocks: dict[Place, dict[int, BlockSpec]]


def measured_network(cfg: Any, config: str, input_shape: tuple[int, int]) -> MeasuredNetwork:
    """The backbone of a config, and the blocks that a search or an adaptation may choose.

    Args:
        cfg (Config): The config; its backbone is an ``FNASuperNet``, an ``FNAChildNet`` or mm's MobileNetV2.
        config (str): Its path, for messages.
        input_shape (tuple[int, int]): (height, width) of the image.

    Raises:
        ValueError: If the backbone is another one.
    """
    section = (cfg.get('model') or {}).get('backbone')
    kind = type_of(section or {})
    if kind not in (SUPERNET, CHILD, *families.library_names()):
        raise ValueError(f'the backbone of {config} is {kind if section else "missing"}: the blocks of {SUPERNET}, '
                         f'{CHILD} and mm\'s own {", ".join(families.library_names())} can be measured')
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    values = cfg.model.backbone.to_dict()
    backbone: Any = MODELS.build(without_weights(values) if kind == SUPERNET else section_as_child(values))
    architecture = backbone.search_space.seed if kind == SUPERNET else backbone.architecture
    blocks = (_of_search(backbone.search_space, backbone.output_stride, input_shape) if kind == SUPERNET else
              _of_adaptation(architecture, backbone.output_stride, input_shape))
    return MeasuredNetwork(architecture, backbone.output_stride, backbone.dilated, tuple(backbone.out_indices), blocks)


def _of_search(space: SearchSpace, output_stride: int, input_shape: tuple[int, int]
               ) -> dict[Place, dict[int, BlockSpec]]:
    blocks: dict[Place, dict[int, BlockSpec]] = {}
    for stage in space.seed.walk(output_stride, input_shape):
        placed = [(spec, layer) for spec, layer in stage.layers()]
        placed += [(spec, stage.layer(layer.index)) for layer in space.layers if layer.stage == stage.index
                   for spec in layer.candidates if spec is not None]
        for spec, layer in placed:
            blocks.setdefault(Place.of(layer, spec), {})[spec.hidden_channels(layer.in_channels)] = spec
    return blocks


def _of_adaptation(architecture: Architecture, output_stride: int, input_shape: tuple[int, int]
                   ) -> dict[Place, dict[int, BlockSpec]]:
    """Every place with the kernels and widths to which a layer may shrink or grow."""
    blocks: dict[Place, dict[int, BlockSpec]] = {}
    for stage in architecture.walk(output_stride, input_shape):
        for spec, layer in stage.layers():
            hidden = spec.hidden_channels(layer.in_channels)
            if not spec.searchable:
                blocks.setdefault(Place.of(layer, spec), {})[hidden] = spec
                continue
            step = families.family(architecture.family).width_step
            widths = {step, hidden, _multiple(_GROWTH * hidden, step)}
            widths |= {_multiple(share * hidden, step) for share in SHARES}
            for kernel in sorted({spec.kernel_size, *KERNELS}):
                for width in sorted(widths):
                    changed = spec.resized(kernel, width, layer.in_channels)
                    blocks.setdefault(Place.of(layer, changed), {})[width] = changed
        # One layer more than the stage has.
        last, layer = stage.stage.layers[-1], stage.layer(len(stage.stage.layers))
        if last.searchable:
            for kernel in sorted({last.kernel_size, *KERNELS}):
                width = last.hidden_channels(layer.in_channels)
                changed = last.resized(kernel, width, layer.in_channels)
                blocks.setdefault(Place.of(layer, changed), {}).setdefault(width, changed)
    return blocks


def _multiple(width: float, step: int) -> int:
    return max(step, round(width / step) * step)


def random_networks(network: MeasuredNetwork, number: int, seed: int) -> list[Architecture]:
    """Networks of blocks that are in a table, or between those that are.

    Args:
        network (MeasuredNetwork): The measured backbone.
        number (int): How many.
        seed (int): Random seed.
    """
    generator = np.random.RandomState(seed)  # whose numbers never change
    return [_draw(network, generator) for _ in range(number)]


def _draw(network: MeasuredNetwork, generator: np.random.RandomState) -> Architecture:
    stages = []
    share, step = generator.uniform(.15, 1.), families.family(network.architecture.family).width_step
    for placed in network.architecture.walk(network.output_stride):
        layers: list[BlockSpec] = []
        for spec, layer in placed.layers():
            if not spec.searchable:
                layers.append(spec)
            elif layer.index == 0 or generator.rand() < .8:
                own = spec.hidden_channels(layer.in_channels)
                width = min(own, _multiple(own * min(1., max(.1, generator.normal(share, .2))), step))
                layers.append(spec.resized(int(generator.choice(KERNELS)), width, layer.in_channels))
        stage = placed.stage
        stages.append(Stage(stage.in_channels, stage.out_channels, stage.stride, tuple(layers)))
    return Architecture(tuple(stages), network.architecture.family)
