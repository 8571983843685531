"""The feature maps that a backbone gives, asked of the backbone itself, and the stages of a seed that give the same."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor

from fna_mm import families
from fna_mm.architecture import Architecture
from fna_mm.sections import without_weights

#: Side of the image on which a backbone is asked; the other one is for transformers with one size.
_SIDES = (256, 224)
_OUTPUT_STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class FeatureMap:
    """One of a backbone's feature maps.

    Args:
        channels (int): Number of channels.
        stride (int): Pixels of the image for each pixel of the map, a power of two.
    """

    channels: int
    stride: int


def described(maps: Sequence[FeatureMap]) -> str:
    """The maps in words.

    Args:
        maps (Sequence[FeatureMap]): The maps.
    """
    plural = 's' if len(maps) > 1 else ''
    return (f'{in_words(str(one.channels) for one in maps)} channels at stride{plural} '
            f'{in_words(str(one.stride) for one in maps)}')


def in_words(names: Iterable[str]) -> str:
    """Names as a list in a sentence.

    Args:
        names (Iterable[str]): The names.
    """
    *first, last = names
    return f'{", ".join(first)} and {last}' if first else last


@torch.no_grad()
def maps_of(section: Mapping[str, Any]) -> tuple[FeatureMap, ...]:
    """Build a backbone without weights, and look at the maps that it gives.

    Args:
        section (Mapping): The config section of the backbone.

    Raises:
        ValueError: If it cannot be built, or gives no feature maps of shape (N, C, H, W).
    """
    name = section.get('type')
    try:
        backbone = MODELS.build(without_weights(section))
    except Exception as error:  # a user's own backbone may raise anything
        raise ValueError(f'the backbone {name} cannot be built: {type(error).__name__}: {error}') from error
    backbone.eval()  # mm's ResNet returns None
    reason: Any = None
    for side in _SIDES:
        try:
            found = backbone(torch.zeros(1, 3, side, side))
        except Exception as error:
            reason = reason or f'{type(error).__name__}: {error}'
            continue
        found = [found] if isinstance(found, Tensor) else found
        if isinstance(found, Sequence) and found and all(isinstance(one, Tensor) and one.ndim == 4 for one in found):
            return tuple(FeatureMap(one.shape[1], _power_of_two(side / one.shape[-1])) for one in found)
    raise ValueError(f'the backbone {name} gives no feature maps of shape (N, C, H, W), which a neck or head could '
                     f'also take from MobileNetV2{f": {reason}" if reason else ""}')


def _power_of_two(stride: float) -> int:
    """The nearest power of two: maps of odd sizes have strides such as 7.9."""
    return min((2**n for n in range(10)), key=lambda power: abs(power - stride))


def stages_like(maps: Sequence[FeatureMap], architecture: Architecture, name: str) -> tuple[int, tuple[int, ...]]:
    """The output stride and the stages of a seed whose maps have the same strides as another backbone's.

    Of the stages with one stride, the last ones are taken: they see most. Stages that a smaller output stride keeps at
    the same size count one each for every stride that they would have had.

    Args:
        maps (Sequence[FeatureMap]): The maps of the other backbone, in its order.
        architecture (Architecture): The seed's architecture.
        name (str): Name of the other backbone, for the message.

    Returns:
        tuple: Output stride, and ``out_indices``.

    Raises:
        ValueError: If the seed has no such maps.
    """
    strides = [one.stride for one in maps]
    largest = max(strides)
    output_stride = largest if largest in _OUTPUT_STRIDES else 32 if largest < 8 else 0
    if not output_stride:
        raise ValueError(f'{name} gives maps of strides {strides}: MobileNetV2 has output strides 8, 16 and 32')
    if strides != sorted(strides):
        raise ValueError(f'{name} gives maps of strides {strides}, which do not rise: MobileNetV2 cannot give them in '
                         'this order')
    free = _last_stages(architecture, output_stride)
    chosen: list[int] = []
    for stride in dict.fromkeys(strides):
        stages = [index for index, its_stride in free if its_stride == stride]
        number = strides.count(stride)
        if number > len(stages):
            raise ValueError(f'{name} gives {number} map{"s" * (number > 1)} of stride {stride}: at output stride '
                             f'{output_stride} MobileNetV2 has {len(stages)} of this stride')
        chosen += stages[-number:]
    return output_stride, tuple(chosen)


def _last_stages(architecture: Architecture, output_stride: int) -> list[tuple[int, int]]:
    """The last stage in front of each change of size, as (index, stride at this output stride)."""
    full, reduced = (_strides(architecture, stride) for stride in (32, output_stride))
    return [(index, reduced[index]) for index in range(len(full))
            if index + 1 == len(full) or full[index + 1] != full[index]]


def _strides(architecture: Architecture, output_stride: int) -> list[int]:
    strides, total = [], families.family(architecture.family).stem_stride
    for stride, _ in architecture.strides_and_dilations(output_stride):
        total *= stride
        strides.append(total)
    return strides
