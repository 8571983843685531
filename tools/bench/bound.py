"""How long a step would take at least: its multiply-adds and its traffic, by arithmetic."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Optional

import torch
from torch.nn import functional

from fna_mm.architecture import Architecture, PlacedLayer
from fna_mm.families import BlockSpec, Convolution, family
from fna_mm.search_space import SearchSpace
from tools.bench.settings import Settings
from tools.bench.timing import synchronize

_PROBES = 5
#: Matrices grow until a product takes this long, seconds; small ones do not reach the peak.
_MATRIX_SIDES = (256, 512, 1024, 2048, 4096, 8192)
_LONG_ENOUGH = .02
#: Numbers that are moved, more than fit into any cache.
_MOVED = 2**25


@dataclass(frozen=True)
class Work:
    """What convolutions do in one pass over them at batch 1.

    Args:
        madds (float): Multiply-adds, each counted once. Defaults to 0.
        elements (float): Of their inputs and outputs, which cross the memory once a pass. Defaults to 0.
    """

    madds: float = 0
    elements: float = 0

    def __add__(self, other: 'Work') -> 'Work':
        return Work(self.madds + other.madds, self.elements + other.elements)

    def __mul__(self, times: float) -> 'Work':
        return Work(self.madds * times, self.elements * times)


def chain_work(convolutions: Sequence[Convolution], input_size: Sequence[int]) -> Work:
    """Convolutions that follow each other.

    Args:
        convolutions (Sequence[Convolution]): In order.
        input_size (Sequence[int]): (height, width) of the first one's input.
    """
    total, size = Work(), (input_size[0], input_size[1])
    for convolution in convolutions:
        output_size = convolution.output_size(size)
        total += Work(convolution.madds(size),
                      convolution.in_channels * prod(size) + convolution.out_channels * prod(output_size))
        size = output_size
    return total


def layer_work(spec: BlockSpec, place: PlacedLayer) -> Work:
    """The convolutions of a block.

    Args:
        spec (BlockSpec): The block.
        place (PlacedLayer): Where it stands, with the size of its input.
    """
    assert place.input_size is not None
    channels = place.in_channels, place.out_channels, place.stride
    beside = sum((chain_work([one], place.input_size) for one in spec.side_convolutions(*channels)), Work())
    return chain_work(spec.convolutions(*channels), place.input_size) + beside


def _stem(architecture: Architecture, input_size: Sequence[int], first: Optional[int] = None) -> Work:
    """The convolutions of the stem, or its first ones."""
    return chain_work(family(architecture.family).stem(architecture.stem_channels)[:first], input_size)


def _stages_work(architecture: Architecture, input_size: Sequence[int]) -> tuple[Work, ...]:
    return tuple(sum((layer_work(*layer) for layer in place.layers()), Work())
                 for place in architecture.walk(input_shape=input_size))


def weight_step_work(architecture: Architecture, input_size: Sequence[int]) -> Work:
    """Forward, gradients of inputs and of weights, at batch 1; the image needs no gradient.

    Args:
        architecture (Architecture): What is trained.
        input_size (Sequence[int]): (height, width) of the image.
    """
    whole = sum(_stages_work(architecture, input_size), Work()) + _stem(architecture, input_size)
    return whole * 3 + _stem(architecture, input_size, 1) * -1


def inference_work(architecture: Architecture, input_size: Sequence[int]) -> Work:
    """A forward pass at batch 1.

    Args:
        architecture (Architecture): What runs.
        input_size (Sequence[int]): (height, width) of the image.
    """
    return sum(_stages_work(architecture, input_size), Work()) + _stem(architecture, input_size)


def architecture_step_work(space: SearchSpace, input_size: Sequence[int], with_cp: bool = False) -> Work:
    """Forward through all candidates, gradients of their inputs, none of weights, at batch 1.

    Before the first searched layer, and in its candidates, nothing requires a gradient.

    Args:
        space (SearchSpace): All candidates.
        input_size (Sequence[int]): (height, width) of the image.
        with_cp (bool): The forward pass once more, where gradients go. Defaults to False.
    """
    total = _stem(space.seed, input_size)
    for place, work in zip(space.seed.walk(input_shape=input_size), _stages_work(space.seed, input_size)):
        if place.index not in space.searched_stages:
            total += work
        for layer in (layer for layer in space.layers if layer.stage == place.index):
            candidates = sum((layer_work(spec, place.layer(layer.index)) for spec in layer.candidates
                              if spec is not None), Work())
            total += candidates * (1 if layer is space.layers[0] else 3 if with_cp else 2)
    return total


@dataclass(frozen=True)
class Peak:
    """What the machine can do, measured.

    Args:
        madds_per_second (float): Of the faster of a large matrix product and a large convolution.
        bytes_per_second (float): Read and written by a large addition.
    """

    madds_per_second: float
    bytes_per_second: float

    def bounds(self, work: Work, batch_size: int, element_size: int) -> dict[str, float]:
        """Seconds that a step needs for its multiply-adds, and for its traffic.

        Args:
            work (Work): At batch 1.
            batch_size (int): Images in the step.
            element_size (int): Bytes of a number.
        """
        return dict(gmadds=work.madds * batch_size / 1e9,
                    arithmetic_bound_s=work.madds * batch_size / self.madds_per_second,
                    traffic_bound_s=work.elements * batch_size * element_size / self.bytes_per_second)


def _fastest(operation: Any, device: str) -> float:
    operation()
    seconds = []
    for _ in range(_PROBES):
        synchronize(device)
        start = time.perf_counter()
        operation()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def measure_peak(settings: Settings) -> Peak:
    """Measure the machine with operations of its ``device``, ``precision`` and ``memory_format``.

    Args:
        settings (Settings): Of the benchmark.
    """
    device, dtype = settings.device, settings.dtype
    with torch.no_grad():
        side, seconds = _MATRIX_SIDES[0], 0.
        for side in _MATRIX_SIDES:
            a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
            seconds = _fastest(lambda a=a, b=b: a @ b, device)  # type: ignore
            if seconds > _LONG_ENOUGH:
                break
        # 256 channels on 32x32 and a 3x3 kernel: 0.6 GMAdds an image.
        madds = Convolution(256, 256, 3).madds((32, 32))
        images = max(1, round(side**3 / madds))
        x = torch.randn(images, 256, 32, 32, device=device, dtype=dtype).to(memory_format=settings.memory_format)
        weight = torch.randn(256, 256, 3, 3, device=device, dtype=dtype).to(memory_format=settings.memory_format)
        convolution = images * madds / _fastest(
            lambda: functional.conv2d(x, weight, padding=1), device)
        source = torch.zeros(_MOVED, device=device, dtype=dtype)
        target = torch.empty_like(source)
        moved = 2 * source.numel() * source.element_size() / _fastest(lambda: torch.add(source, 1, out=target), device)
    return Peak(max(side**3 / seconds, convolution), moved)
