"""MobileNetV2 narrowed evenly: the hidden channels of every block times one share, within a budget."""

from collections.abc import Collection
from dataclasses import replace

from fna_mm import Architecture, families
from fna_mm.families import BlockSpec

_HALVINGS = 40
#: Shares above the common one that single blocks may have, as factors of it.
_WIDER = (1., 1.02, 1.04, 1.06, 1.08, 1.1)


def _times(channels: int, share: float, step: int) -> int:
    """Channels times a share, as the nearest multiple of a step, at least one."""
    return min(channels, max(step, round(share * channels / step) * step))


def with_share(architecture: Architecture, share: float, kept: Collection[tuple[int, int]] = ()) -> Architecture:
    """The architecture with the hidden channels of every searched block times a share, as the nearest multiples of 8.

    Args:
        architecture (Architecture): The architecture.
        share (float): The share, from 0 to 1.
        kept (Collection[tuple[int, int]]): (stage, layer) of the blocks that keep their width. Defaults to ().
    """
    stages, step = [], families.family(architecture.family).width_step
    for place in architecture.walk():
        specs = []
        for spec, layer in place.layers():
            if spec.searchable and (layer.stage, layer.index) not in kept:
                width = _times(spec.hidden_channels(layer.in_channels), share, step)
                spec = spec.resized(spec.kernel_size, width, layer.in_channels)
            specs.append(spec)
        stages.append(replace(place.stage, layers=tuple(specs)))
    return replace(architecture, stages=tuple(stages))


def narrowed(architecture: Architecture, budget: float, shape: tuple[int, int], output_stride: int,
             head_channels: int = 0, kept: Collection[tuple[int, int]] = ()) -> Architecture:
    """The widest evenly narrowed architecture within a budget.

    Blocks that are equally wide would reach their next multiple of 8 together: as many of them do as the budget allows.
    What is left of it then goes to blocks that are a tenth wider at most.

    Args:
        architecture (Architecture): The architecture.
        budget (float): Share of its multiply-adds that the result may have.
        shape (tuple[int, int]): (height, width) of the image at which multiply-adds are counted.
        output_stride (int): Output stride of the backbone.
        head_channels (int): Output channels of the convolution behind the last stage. Defaults to 0: there is none.
        kept (Collection[tuple[int, int]]): As in :func:`with_share`. Defaults to ().

    Raises:
        ValueError: If no width is cheap enough.
    """
    return _narrowed(architecture, budget, shape, output_stride, head_channels, kept, False)[0]


def narrowed_with_last(architecture: Architecture, budget: float, shape: tuple[int, int], output_stride: int,
                       head_channels: int) -> tuple[Architecture, int]:
    """As :func:`narrowed`, and the convolution behind the last stage has the same share of its channels.

    Args:
        architecture (Architecture): The architecture.
        budget (float): As in :func:`narrowed`.
        shape (tuple[int, int]): As in :func:`narrowed`.
        output_stride (int): As in :func:`narrowed`.
        head_channels (int): Output channels of that convolution before.

    Returns:
        tuple[Architecture, int]: The architecture and the output channels of that convolution.

    Raises:
        ValueError: If no width is cheap enough.
    """
    return _narrowed(architecture, budget, shape, output_stride, head_channels, (), True)


def _narrowed(architecture: Architecture, budget: float, shape: tuple[int, int], output_stride: int,
              head_channels: int, kept: Collection[tuple[int, int]], with_last: bool) -> tuple[Architecture, int]:
    step = families.family(architecture.family).width_step

    def last_of(share: float) -> int:
        return _times(head_channels, share, step) if with_last else head_channels

    def cost(share: float) -> int:
        return with_share(architecture, share, kept).madds(shape, output_stride, last_of(share))

    most = budget * architecture.madds(shape, output_stride, head_channels)
    low, high = 0., 1.
    if cost(high) <= most:
        return with_share(architecture, high, kept), last_of(high)
    if cost(low) > most:
        raise ValueError(f'budget {budget}: with {step} hidden channels in every block the backbone still costs more')
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if cost(middle) <= most:
            low = middle
        else:
            high = middle
    found, size = with_share(architecture, low, kept), (shape, output_stride, last_of(low))
    for factor in _WIDER:
        for number, stage in enumerate(with_share(architecture, min(1., factor * high), kept).stages):
            for index, spec in enumerate(stage.layers):
                tried = _with_block(found, number, index, spec)
                if tried.madds(*size) <= most:
                    found = tried
    return found, last_of(low)


def _with_block(architecture: Architecture, stage: int, index: int, spec: BlockSpec) -> Architecture:
    stages = list(architecture.stages)
    layers = list(stages[stage].layers)
    layers[index] = spec
    stages[stage] = replace(stages[stage], layers=tuple(layers))
    return replace(architecture, stages=tuple(stages))
