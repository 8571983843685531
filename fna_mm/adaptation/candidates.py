"""The candidates of every block: narrower widths, smaller kernels and leaving it out, each with its cost."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Optional

from fna_mm import families
from fna_mm.adaptation.chain import Chain
from fna_mm.adaptation.kernels import smaller_kernels
from fna_mm.adaptation.prices import Prices
from fna_mm.architecture import Architecture, Stage
from fna_mm.backbones.elastic_space import ElasticSpace
from fna_mm.checks import check_integer, check_number
from fna_mm.families import BlockSpec

#: Width of a block that is left out.
LEFT_OUT = 0


class Candidate(NamedTuple):
    """What may become of a block, or of the last convolution.

    Args:
        width (int): Hidden channels; 0 leaves the block out.
        spec (BlockSpec, optional): Spec of the block; None if it is left out, or is the last convolution.
        cost (float): Its cost.
    """

    width: int
    spec: Optional[BlockSpec]
    cost: float

    @property
    def kernel(self) -> int:
        """Side of the kernel; 0 if the block is left out."""
        return 0 if self.spec is None else self.spec.kernel_size


@dataclass(frozen=True)
class Limits:
    """What the candidates are limited to.

    Args:
        min_width (float): Smallest width of a block, as a share of its hidden channels; one step of the family at
            least, 8 channels for MobileNetV2. Defaults to 0.1.
        min_depth (int): Layers that every stage keeps at least, if it has as many. Defaults to 1.

    Raises:
        ValueError: If a number is out of range.
    """

    min_width: float = .1
    min_depth: int = 1

    def __post_init__(self) -> None:
        check_number('min_width', self.min_width, least=0)
        if self.min_width > 1:
            raise ValueError(f'min_width is a share of a block\'s hidden channels from 0 to 1, not {self.min_width}')
        check_integer('min_depth', self.min_depth)


def widths(channels: int, least: float, step: int) -> tuple[int, ...]:
    """The widths that a number of channels may become, falling: itself, and all smaller multiples of a step.

    Args:
        channels (int): The number.
        least (float): Smallest width, as a share of it.
        step (int): The step.
    """
    floor = max(step, least * channels)
    return (channels, *(width for width in range((channels - 1) // step * step, 0, -step) if width >= floor))


def candidates_of(chain: Chain, prices: Prices, limits: Limits, space: Optional[ElasticSpace] = None,
                  taps: Collection[int] = (), stem: bool = False) -> list[tuple[Candidate, ...]]:
    """The candidates of every block of a chain, the block itself first.

    A tapped block, whose hidden features a head takes, keeps its width unless what reads them is known. Kernels are
    the block's own and smaller ones, and larger ones if it may grow.

    Args:
        chain (Chain): The backbone; its places know their size.
        prices (Prices): What blocks cost.
        limits (Limits): Limits of width and depth.
        space (ElasticSpace, optional): What the backbone may grow to. Added layers follow behind the blocks, absent
            first. Defaults to None: it does not grow.
        taps (Collection[int]): Rows of the taps that can be narrowed: indices of blocks, or the number of blocks for
            the last convolution, which is the last row then. Defaults to ().
        stem (bool): Whether the stem may have fewer channels, where they are the first block's hidden ones. The cost of
            that block is then one of both. Defaults to False.
    """
    result = []
    grown: list[tuple[Optional[BlockSpec], ...]] = (
        [layer.choices[1:] for layer in space.own] if space else [()] * len(chain.links))
    depths = [len(stage.layers) for stage in chain.backbone.architecture.stages]
    for index, (link, choices) in enumerate(zip(chain.links, grown)):
        found = [Candidate(link.hidden, link.spec, prices.of_block(link.place, link.spec))]
        tapped = link.layer == 0 and link.stage in chain.backbone.tapped_stages and index not in taps
        if link.spec.searchable:
            legal = widths(link.hidden, 1. if tapped else limits.min_width, families.family(link.family).width_step)
            larger = sorted({spec.kernel_size for spec in choices if spec} - {link.spec.kernel_size})
            for kernel in (link.spec.kernel_size, *reversed(smaller_kernels(link)), *larger):
                for width in legal:
                    spec = link.spec.resized(kernel, width, link.place.in_channels)
                    if (kernel, width) != (link.spec.kernel_size, link.hidden):
                        found.append(Candidate(width, spec, prices.of_block(link.place, spec)))
        if stem and index == 0 and chain.stem_is_hidden:
            step = families.family(link.family).width_step
            each = _cost_of_stem(chain, prices) / link.hidden
            found = [Candidate(width, link.spec, each * width)
                     for width in widths(link.hidden, limits.min_width, step)]
        wider = [(spec.hidden_channels(link.place.in_channels), spec) for spec in choices if spec]
        found += [Candidate(width, spec, prices.of_block(link.place, spec)) for width, spec in wider
                  if width > link.hidden]
        if link.shortcut and depths[link.stage] > limits.min_depth:
            found.append(Candidate(LEFT_OUT, None, 0))
        result.append(tuple(found))
    places = list(space.largest.walk(chain.backbone.output_stride, chain.input_shape)) if space else []
    for layer in space.added if space else ():
        place = places[layer.stage].layer(layer.place)
        result.append((Candidate(LEFT_OUT, None, 0), *(
            Candidate(spec.hidden_channels(layer.in_channels), spec, prices.of_block(place, spec))
            for spec in layer.choices if spec)))
    if len(chain.links) in taps:
        step = families.family(chain.backbone.family).width_step
        result.append(tuple(Candidate(width, None, prices.of_last(chain.backbone, chain.input_shape or (0, 0), width))
                            for width in widths(chain.backbone.built_head_channels, limits.min_width, step)))
    return result


def _cost_of_stem(chain: Chain, prices: Prices) -> float:
    """What the stem and the first block cost in proportion to the channels between them."""
    channels, backbone, shape = chain.links[0].hidden, chain.backbone, chain.input_shape or (0, 0)
    half = with_stem(backbone.architecture, channels // 2)
    saved = prices.of_backbone(backbone, shape) - prices.of_architecture(half, backbone, shape)
    return saved * channels / (channels - channels // 2)


def with_stem(architecture: Architecture, width: int) -> Architecture:
    """An architecture whose stem has some number of channels.

    Args:
        architecture (Architecture): The architecture.
        width (int): Output channels of the stem.
    """
    first, *others = architecture.stages
    return replace(architecture, stages=(replace(first, in_channels=width), *others))


def chosen_architecture(architecture: Architecture, choice: Sequence[Candidate]) -> Architecture:
    """The architecture in which every block of another one has become what was chosen for it.

    Args:
        architecture (Architecture): The architecture of the trained backbone.
        choice (Sequence[Candidate]): One candidate for every block, in order.
    """
    rest = iter(choice)
    stages = []
    for stage in architecture.stages:
        specs = [next(rest).spec for _ in stage.layers]
        stages.append(Stage(stage.in_channels, stage.out_channels, stage.stride,
                            tuple(spec for spec in specs if spec is not None)))
    result = Architecture(tuple(stages), architecture.family)
    first = architecture.stages[0]
    # A block without an expansion is as narrow as the stem in front of it.
    return result if first.layers[0].searchable or choice[0].width in (LEFT_OUT, first.in_channels) else with_stem(
        result, choice[0].width)
