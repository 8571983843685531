"""A table of what blocks cost on a device, such as milliseconds: its file, and the cost of a network by it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, NamedTuple, Optional

import numpy as np

from fna_mm.architecture import Architecture, PlacedLayer
from fna_mm.checkpoints.whole_files import regular_text
from fna_mm.checks import check_input_shape, check_integer, check_number
from fna_mm.cost.madds import CostTable
from fna_mm.families import BlockSpec
from fna_mm.search_space import SearchSpace

FORMAT = 1
_NEEDED = ('format', 'unit', 'family', 'input_shape', 'output_stride', 'fixed', 'blocks')


class Place(NamedTuple):
    """What a block's cost depends on, besides its hidden channels.

    Args:
        in_channels (int): Input channels.
        out_channels (int): Output channels.
        stride (int): Stride.
        dilation (int): Dilation.
        height (int): Height of the input.
        width (int): Width of the input.
        kernel (int): Side of the kernel.
        expands (bool): Whether the block has its expand convolution.
    """

    in_channels: int
    out_channels: int
    stride: int
    dilation: int
    height: int
    width: int
    kernel: int
    expands: bool

    @classmethod
    def of(cls, layer: PlacedLayer, spec: BlockSpec) -> 'Place':
        """The place of a block in a network whose input size is known.

        Args:
            layer (PlacedLayer): The layer.
            spec (BlockSpec): The block.
        """
        assert layer.input_size is not None
        return cls(layer.in_channels, layer.out_channels, layer.stride, layer.dilation, *layer.input_size,
                   spec.kernel_size, spec.searchable)

    def __str__(self) -> str:
        dilated = f', dilation {self.dilation}' if self.dilation > 1 else ''
        return (f'{self.in_channels} → {self.out_channels} channels, kernel {self.kernel}, stride {self.stride}'
                f'{dilated}, at {self.height}x{self.width}')


@dataclass(frozen=True)
class BlockCost:
    """One entry of a table.

    Args:
        place (Place): Where the block is, and its kernel.
        hidden (int): Its hidden channels.
        cost (float): Its cost, in the unit of the table.
        spread (float, optional): Half of the distance between the quartiles of the measurements. Defaults to None.
    """

    place: Place
    hidden: int
    cost: float
    spread: Optional[float] = None


@dataclass(frozen=True)
class BlockTable:
    """What the blocks of a family cost on a device, at one input size.

    The cost of a network is the sum over its blocks, and ``fixed``. Between two numbers of hidden channels that are in
    the table the cost is interpolated linearly.

    Args:
        unit (str): Unit of all costs, such as ``'ms'``.
        family (str): Name of the family of the blocks.
        input_shape (tuple[int, int]): (height, width) of the image.
        output_stride (int): Output stride of the network.
        fixed (float): Cost of what no block is: stem, last convolution, overhead.
        blocks (tuple[BlockCost, ...]): The entries.
        rest (float, optional): Cost of neck and head of the model that the table was made for. Defaults to None.
        made (Mapping, optional): What people want to know: device, runtime, versions, threads, …. Defaults to None:
            nothing.

    Raises:
        ValueError: If a number is not finite or below zero, or there are no entries.
    """

    unit: str
    family: str
    input_shape: tuple[int, int]
    output_stride: int
    fixed: float
    blocks: tuple[BlockCost, ...]
    rest: Optional[float] = None
    made: Optional[Mapping[str, Any]] = None

    def __post_init__(self) -> None:
        object.__setattr__(self, 'made', dict(self.made or {}))
        object.__setattr__(self, 'input_shape', check_input_shape(tuple(self.input_shape)))
        check_integer('output_stride of a table of costs', self.output_stride)
        check_number('fixed of a table of costs', self.fixed, least=0)
        if self.rest is not None:
            check_number('rest of a table of costs', self.rest, least=0)
        if not self.blocks:
            raise ValueError('a table of costs needs at least one block')
        for block in self.blocks:
            check_number(f'cost of the block {block.place} with {block.hidden} hidden channels', block.cost, least=0)

    @classmethod
    def read(cls, path: str) -> 'BlockTable':
        """Read a table.

        Args:
            path (str): Path of its JSON file, on any mmengine file backend.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no table; the message names what is missing or wrong.
        """
        try:
            values = json.loads(regular_text(path))
        except (ValueError, RecursionError) as error:
            raise ValueError(f'table={path!r} is no JSON file: {error}') from error
        missing = [name for name in _NEEDED if name not in values] if isinstance(values, dict) else list(_NEEDED)
        if missing:
            raise ValueError(f'table={path!r} is no table of costs: it lacks {", ".join(missing)}; docs/latency.md '
                             'describes the format')
        if values['format'] != FORMAT:
            raise ValueError(f'table={path!r} has the format {values["format"]!r}: this version reads format {FORMAT}')
        try:
            blocks = tuple(_entry(entry) for entry in values['blocks'])
            return cls(str(values['unit']), str(values['family']), tuple(values['input_shape']),
                       values['output_stride'], values['fixed'], blocks, values.get('rest'),
                       values.get('made'))
        except (TypeError, KeyError, ValueError) as error:
            what = f'lacks {error}' if isinstance(error, KeyError) else str(error)
            raise ValueError(f'table={path!r}: {what}') from error

    def to_json(self) -> str:
        """The text of the file."""
        head = dict(format=FORMAT, unit=self.unit, family=self.family, input_shape=list(self.input_shape),
                    output_stride=self.output_stride, made=self.made, fixed=self.fixed, rest=self.rest)
        lines = [json.dumps({**block.place._asdict(), **{key: value for key, value in asdict(block).items()
                                                         if key != 'place' and value is not None}})
                 for block in self.blocks]
        rows = ',\n  '.join(lines)
        return f'{json.dumps(head, indent=1)[:-2]},\n "blocks": [\n  {rows}\n ]\n}}\n'

    @cached_property
    def _curves(self) -> dict[Place, list[tuple[int, float]]]:
        curves: dict[Place, dict[int, float]] = {}
        for block in self.blocks:
            curves.setdefault(block.place, {})[block.hidden] = block.cost
        return {place: sorted(curve.items()) for place, curve in curves.items()}

    def check(self, architecture: Architecture, output_stride: int,
              input_shape: Optional[Sequence[int]] = None) -> None:
        """Check that the table was made for a network.

        Args:
            architecture (Architecture): Architecture of the network.
            output_stride (int): Its output stride.
            input_shape (Sequence[int], optional): (height, width) of its images, if it is known. Defaults to None.

        Raises:
            ValueError: If it was made for another family, output stride or size.
        """
        for name, own, wanted in (('family', self.family, architecture.family),
                                  ('output stride', self.output_stride, output_stride),
                                  ('input size', self.input_shape, tuple(input_shape or self.input_shape))):
            if own != wanted:
                raise ValueError(f'the table of costs was made for the {name} {own}, the network has {wanted}: measure '
                                 'it again with fna latency')

    def of_block(self, layer: PlacedLayer, spec: BlockSpec) -> float:
        """The cost of a block.

        Args:
            layer (PlacedLayer): Its place in a network whose input size is known.
            spec (BlockSpec): The block.

        Raises:
            ValueError: If the table has no such block.
        """
        place, hidden = Place.of(layer, spec), spec.hidden_channels(layer.in_channels)
        curve = self._curves.get(place)
        if curve is None:
            near = sorted({str(other) for other in self._curves
                           if other[:2] == place[:2]}) or sorted({str(other) for other in self._curves})
            raise ValueError(f'the table of costs has no block of {place}; it has, for example: {near[0]}')
        least, most = curve[0][0], curve[-1][0]
        if not least <= hidden <= most:
            raise ValueError(f'the table of costs has blocks of {place} with {least} to {most} hidden channels, not '
                             f'with {hidden}')
        return float(np.interp(hidden, [width for width, _ in curve], [cost for _, cost in curve]))

    def of_network(self, architecture: Architecture) -> float:
        """The cost of a backbone, stem included.

        Args:
            architecture (Architecture): Its architecture.

        Raises:
            ValueError: If the table has not all of its blocks.
        """
        return self.fixed + math.fsum(
            self.of_block(layer, spec) for stage in architecture.walk(self.output_stride, self.input_shape)
            for spec, layer in stage.layers())

    def of_space(self, space: SearchSpace) -> CostTable:
        """The costs of all candidates in a search space.

        Args:
            space (SearchSpace): The search space.

        Raises:
            ValueError: If the table has not all of them.
        """
        fixed, layers = self.fixed, []
        for stage in space.seed.walk(self.output_stride, self.input_shape):
            if stage.index not in space.searched_stages:
                fixed += sum(self.of_block(layer, spec) for spec, layer in stage.layers())
            layers += [tuple(0. if spec is None else self.of_block(stage.layer(layer.index), spec)
                             for spec in layer.candidates) for layer in space.layers if layer.stage == stage.index]
        return CostTable(fixed, tuple(layers))


def _entry(values: Mapping[str, Any]) -> BlockCost:
    numbers = {name: values[name] for name in (*Place._fields, 'hidden')}
    for name, value in numbers.items():
        if name != 'expands' and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f'{name}={value!r} of a block must be a positive integer')
    hidden = numbers.pop('hidden')
    return BlockCost(Place(**numbers), hidden, values['cost'], values.get('spread'))
