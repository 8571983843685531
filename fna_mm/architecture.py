"""Architectures as values: parse, validate, count, print. This module needs neither torch nor a model."""

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional, Union

from fna_mm import families
from fna_mm.checkpoints.whole_files import regular_text
from fna_mm.checks import (
    MOST_CHANNELS,
    MOST_LAYERS,
    MOST_PARAMETERS,
    check_input_shape,
    check_integer,
    check_number,
    shown,
)
from fna_mm.families import BlockSpec, Convolution
from fna_mm.families.family import chain_madds, chain_params, strided_size
from fna_mm.families.mbconv import MBConvSpec

__all__ = ['SKIP', 'Architecture', 'MBConvSpec', 'PlacedLayer', 'PlacedStage', 'Stage']

SKIP = 'skip'
JSON_FORMAT = 'fna_mm.architecture'
JSON_VERSION = 1

#: Name of a family in front of the stages in the text form.
_FAMILY_PREFIX = re.compile(r'\s*([A-Za-z_]\w*)\s*:')


@dataclass(frozen=True)
class PlacedLayer:
    """The place of a layer in a network.

    Args:
        stage (int): Index of the layer's stage, from 0.
        index (int): Index of the layer in its stage, from 0.
        in_channels (int): Input channels of the layer.
        out_channels (int): Output channels of the layer.
        stride (int): Stride of the layer.
        dilation (int): Dilation of the layer.
        input_size (tuple[int, int], optional): (height, width) of the layer's input, if the image's size is known.
    """

    stage: int
    index: int
    in_channels: int
    out_channels: int
    stride: int
    dilation: int
    input_size: Optional[tuple[int, int]]

    def madds(self, spec: BlockSpec) -> int:
        """Multiply-adds of a block in this place.

        Raises:
            ValueError: If the image's size is not known.
        """
        if self.input_size is None:
            raise ValueError('multiply-adds need the size of the image: give input_shape')
        return spec.madds(self.in_channels, self.out_channels, self.stride, self.input_size)


@dataclass(frozen=True)
class PlacedStage:
    """The place of a stage in a network.

    Args:
        index (int): Index of the stage, from 0.
        stage (Stage): Channels and layers of the stage.
        stride (int): Stride of the first layer; 1 where the output stride removes the stage's stride.
        dilation (int): Dilation of all layers of the stage.
        input_size (tuple[int, int], optional): (height, width) of the stage's input, if the image's size is known.
    """

    index: int
    stage: 'Stage'
    stride: int
    dilation: int
    input_size: Optional[tuple[int, int]]

    @property
    def output_size(self) -> Optional[tuple[int, int]]:
        """(height, width) of the stage's output, if the image's size is known."""
        return None if self.input_size is None else strided_size(self.input_size, self.stride)

    def layer(self, index: int) -> PlacedLayer:
        """The place of the layer with an index. The first layer has the stride and changes the channels.

        The index may be larger than the stage is deep: a supernet has more layers than its seed.
        """
        first = index == 0
        return PlacedLayer(self.index, index, self.stage.in_channels if first else self.stage.out_channels,
                           self.stage.out_channels, self.stride if first else 1, self.dilation,
                           self.input_size if first else self.output_size)

    def layers(self) -> Iterator[tuple[BlockSpec, PlacedLayer]]:
        """The layers of the stage with their places, in order."""
        return ((spec, self.layer(index)) for index, spec in enumerate(self.stage.layers))


@dataclass(frozen=True)
class Stage:
    """Consecutive layers, of which the first changes the channels and has the stride.

    Args:
        in_channels (int): Input channels of the first layer.
        out_channels (int): Output channels of every layer.
        stride (int): Stride of the first layer, 1 or 2.
        layers (tuple[BlockSpec, ...]): The layers in order, at least one.

    Raises:
        ValueError: If a number is out of range or the stage is empty.
    """

    in_channels: int
    out_channels: int
    stride: int
    layers: tuple[BlockSpec, ...]

    def __post_init__(self) -> None:
        check_integer('in_channels of a stage', self.in_channels, most=MOST_CHANNELS)
        check_integer('out_channels of a stage', self.out_channels, most=MOST_CHANNELS)
        if type(self.stride) is not int or self.stride not in (1, 2):
            raise ValueError(f'stride of the stage {self.label} must be 1 or 2, not {shown(self.stride)}')
        object.__setattr__(self, 'layers', tuple(self.layers))
        if not self.layers:
            raise ValueError(f'the stage {self.label} is empty: it needs at least one layer')
        if len(self.layers) > MOST_LAYERS:
            raise ValueError(f'the stage {self.label} has {len(self.layers)} layers: at most {MOST_LAYERS} are read')
        for layer in self.layers:
            if not isinstance(layer, BlockSpec):
                raise ValueError(f'the stage {self.label} holds {shown(layer)}, which is no block of a family')

    @property
    def label(self) -> str:
        """The name of the stage in tables and errors, such as ``'16 → 24'``."""
        return f'{self.in_channels} → {self.out_channels}'

    @classmethod
    def from_operations(cls, in_channels: int, out_channels: int, stride: int,
                        operations: Sequence[str], family: str = families.DEFAULT) -> 'Stage':
        """Build a stage from operation names; ``'skip'`` leaves a layer out.

        Args:
            in_channels (int): Input channels of the first layer.
            out_channels (int): Output channels of every layer.
            stride (int): Stride of the first layer.
            operations (Sequence[str]): Names of the operations, such as ``['k3_e6', 'skip']``.
            family (str): The family of the operations. Defaults to 'mobilenet_v2'.

        Raises:
            ValueError: If an operation is unknown or the first one is an identity.
        """
        label = f'{in_channels} → {out_channels}'
        if isinstance(operations, str) or not isinstance(operations, Sequence):
            raise ValueError(f'the layers of the stage {label} must be a list of operations, '
                             f'not {shown(operations)}')
        if operations and operations[0] == SKIP:
            raise ValueError(f'the first layer of the stage {label} is {SKIP!r}, but an identity cannot '
                             'change channels or stride: put a block such as '
                             f'{families.family(family).example} there')
        layers: list[BlockSpec] = []
        for index, operation in enumerate(operations):
            if operation == SKIP:
                continue
            try:
                layers.append(families.family(family).parse_spec(operation))
            except ValueError as error:
                raise ValueError(f'layer {index} of the stage {label}: {error}') from None
        return cls(in_channels, out_channels, stride, tuple(layers))

    def params(self) -> int:
        """Number of parameters of the stage with affine normalisation."""
        return sum(spec.params(place.in_channels, place.out_channels, place.stride)
                   for spec, place in PlacedStage(0, self, self.stride, 1, None).layers())


@dataclass(frozen=True)
class Architecture:
    """A backbone: the stem of its family, then stages of the family's blocks.

    Args:
        stages (tuple[Stage, ...]): The stages; the input of the first one is the output of the stem.
        family (str): Name of the architecture's family. Defaults to 'mobilenet_v2'.

    Raises:
        ValueError: If there is no stage, or a stage's input channels are not the output channels of the stage before.

    >>> Architecture.create('fna_retinanet').params()
    2055712
    """

    stages: tuple[Stage, ...]
    family: str = families.DEFAULT

    def __post_init__(self) -> None:
        object.__setattr__(self, 'stages', tuple(self.stages))
        families.family(self.family)
        if not self.stages:
            raise ValueError('an architecture needs at least one stage')
        for before, after in zip(self.stages, self.stages[1:]):
            if before.out_channels != after.in_channels:
                raise ValueError(f'channels do not chain: the stage {before.label} is followed by '
                                 f'{after.label}, which should start with {before.out_channels}')
        if (params := self.params()) > MOST_PARAMETERS:
            raise ValueError(f'the architecture would have {params:,} parameters: at most {MOST_PARAMETERS:,} are '
                             'built')

    @property
    def stem_channels(self) -> int:
        """Output channels of the stem."""
        return self.stages[0].in_channels

    def widened(self, factor: float) -> 'Architecture':
        """The same layers with multiplied channels in stem and stages, rounded by the rule of the family.

        Args:
            factor (float): The width multiplier; 1 changes nothing.

        Raises:
            ValueError: If the factor is no positive number.
        """
        check_number('the width multiplier (widen_factor)', factor, above=0)
        if factor == 1:
            return self
        scaled = families.family(self.family).scaled_channels
        return replace(self, stages=tuple(
            replace(stage, in_channels=scaled(stage.in_channels, factor),
                    out_channels=scaled(stage.out_channels, factor),
                    layers=tuple(layer.widened(lambda channels: scaled(channels, factor)) for layer in stage.layers))
            for stage in self.stages))

    @property
    def total_stride(self) -> int:
        """Input pixels per pixel of the last feature map, along one side, without dilation."""
        stride = families.family(self.family).stem_stride
        for stage in self.stages:
            stride *= stage.stride
        return stride

    def strides_and_dilations(self, output_stride: int = 32) -> tuple[tuple[int, int], ...]:
        """(stride, dilation) of every stage for an output stride.

        A stage that loses its stride is dilated from its first layer on, as in the published release and
        in mmseg.

        Args:
            output_stride (int): Input pixels per pixel of the last feature map. Defaults to 32.

        Raises:
            ValueError: If the architecture cannot have that output stride.
        """
        start = families.family(self.family).stem_stride
        legal, stride = [], start
        for stage in self.stages:
            stride *= stage.stride
            legal.append(stride)
        legal = sorted({stride for stride in legal if stride >= 8} | {self.total_stride})
        if output_stride not in legal:
            raise ValueError(f'output_stride={shown(output_stride)} is not possible for this architecture: '
                             f'choose one of {legal}')
        current, dilation, result = start, 1, []
        for stage in self.stages:
            if current * stage.stride > output_stride:
                dilation *= stage.stride
                result.append((1, dilation))
            else:
                current *= stage.stride
                result.append((stage.stride, dilation))
        return tuple(result)

    def walk(self, output_stride: Optional[int] = None,
             input_shape: Optional[Sequence[int]] = None) -> tuple[PlacedStage, ...]:
        """The stages in order with their places: stride, dilation and, if ``input_shape`` is given, input size.

        Args:
            output_stride (int, optional): Output stride, see :meth:`strides_and_dilations`. Defaults to the
                architecture's own total stride.
            input_shape (Sequence[int], optional): (height, width) of the image. Defaults to None: places have no sizes.

        Raises:
            ValueError: If the architecture cannot have that output stride, or ``input_shape`` is not (height, width) in
                positive integers.
        """
        size: Optional[tuple[int, int]] = None
        if input_shape is not None:
            size = strided_size(check_input_shape(input_shape), families.family(self.family).stem_stride)
        places = []
        strides = self.strides_and_dilations(self.total_stride if output_stride is None else output_stride)
        for index, (stage, (stride, dilation)) in enumerate(zip(self.stages, strides)):
            places.append(PlacedStage(index, stage, stride, dilation, size))
            size = places[-1].output_size
        return tuple(places)

    def ends_madds(self, input_shape: Sequence[int], output_stride: Optional[int] = None,
                   head_channels: int = 0) -> int:
        """Multiply-adds of the stem and of the 1x1 convolution behind the last stage.

        Args:
            input_shape (Sequence[int]): (height, width) of the image.
            output_stride (int, optional): As in :meth:`walk`. Defaults to the architecture's own total stride.
            head_channels (int): Output channels of the 1x1 convolution; 0 means that there is none. Defaults to 0.

        Raises:
            ValueError: As :meth:`walk`.
        """
        size = self.walk(output_stride, check_input_shape(input_shape))[-1].output_size
        assert size is not None
        stem = chain_madds(families.family(self.family).stem(self.stem_channels), input_shape)
        return stem + Convolution(self.stages[-1].out_channels, head_channels).madds(size)

    def madds(self, input_shape: Sequence[int], output_stride: Optional[int] = None, head_channels: int = 0) -> int:
        """Multiply-adds of the convolutions for one image, each multiply-add counted once.

        Args:
            input_shape (Sequence[int]): (height, width) of the image.
            output_stride (int, optional): As in :meth:`walk`. Defaults to the architecture's own total stride.
            head_channels (int): Output channels of a 1x1 convolution behind the last stage; 0 means that there is none.
                Defaults to 0.

        Raises:
            ValueError: As :meth:`walk`.
        """
        return self.ends_madds(input_shape, output_stride, head_channels) + sum(
            place.madds(spec) for stage in self.walk(output_stride, input_shape) for spec, place in stage.layers())

    def params(self, head_channels: int = 0) -> int:
        """Number of parameters with affine normalisation; running statistics are not counted.

        Args:
            head_channels (int): As in :meth:`madds`. Defaults to 0.
        """
        ends = families.family(self.family).stem(self.stem_channels)
        if head_channels:
            ends = (*ends, Convolution(self.stages[-1].out_channels, head_channels))
        return chain_params(ends) + sum(stage.params() for stage in self.stages)

    @classmethod
    def create(cls, arch: Union['Architecture', str, Mapping[str, Any]]) -> 'Architecture':
        """Build an architecture from any value that a config may hold.

        Args:
            arch (Architecture | str | dict): An architecture; the name of a published one; a dict as
                in ``arch.json``; the path of an ``arch.json`` (any mmengine file backend); or the
                published text form.

        Raises:
            ValueError: If ``arch`` is none of these, or not a valid architecture.
            FileNotFoundError: If ``arch`` is a path and there is no such file.
        """
        if isinstance(arch, Architecture):
            return arch
        if isinstance(arch, Mapping):
            return cls.from_dict(arch)
        if not isinstance(arch, str):
            raise ValueError(f'arch must be a name, a dict, a path or the published text form, not {shown(arch)}')
        if published := families.find_published(arch):
            return cls._parse(published[1], published[0].name)
        if '[' in arch and not arch.endswith('.json'):
            return cls.parse(arch)
        if not arch.endswith('.json'):
            raise ValueError(f'unknown arch {shown(arch)}: expected one of {families.published_names()}, '
                             'the path of an arch.json, a dict, or the published text form')
        text = cls._text_of(arch)
        try:
            return cls.from_json(text)
        except ValueError as error:
            raise ValueError(f'arch={shown(arch)}: {error}') from None

    @staticmethod
    def _text_of(path: str) -> str:
        """The text of a file on any of mmengine's file backends."""
        from mmengine.fileio import exists  # imports torch, which this module must not need
        missing = f'arch={shown(path)}: there is no such file; published names are {families.published_names()}'
        remote = path.startswith(('http://', 'https://'))
        if not remote and not exists(path):
            raise FileNotFoundError(missing)
        try:
            return regular_text(path)
        except UnicodeDecodeError as error:
            raise ValueError(f'arch={shown(path)}: not an architecture: the file is no text ({error})') from None
        except OSError as error:
            raise (FileNotFoundError(f'{missing} ({error})') if remote else error) from None

    @classmethod
    def parse(cls, text: str) -> 'Architecture':
        """Read the published text form, in which ``|`` separates the stages; nothing in it is evaluated.

        A family other than MobileNetV2 is named before the stages: ``'name: [[…'``.

        Raises:
            ValueError: If the text does not have that form; the message names the stage.
        """
        prefix = _FAMILY_PREFIX.match(text)
        return cls._parse(text[prefix.end():], prefix[1]) if prefix else cls._parse(text, families.DEFAULT)

    @classmethod
    def _parse(cls, text: str, family: str) -> 'Architecture':
        families.family(family)
        stages = []
        for index, part in enumerate(part for part in text.split('|') if part.strip()):
            try:
                (in_channels, out_channels), operations, stride = ast.literal_eval(part.strip())
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                raise ValueError(f'stage {index} of the architecture text is {shown(part.strip())}: expected '
                                 "[[in_channels, out_channels], ['k3_e6', ...], stride]") from None
            stages.append(Stage.from_operations(in_channels, out_channels, stride, operations, family))
        return cls(tuple(stages), family)

    def to_text(self) -> str:
        """The text form that :meth:`parse` reads, with one line for each stage; left-out layers are not written."""
        prefix = '' if self.family == families.DEFAULT else f'{self.family}: '
        return prefix + '|\n'.join(
            f'[[{stage.in_channels}, {stage.out_channels}], '
            f'{[str(layer) for layer in stage.layers]}, {stage.stride}]' for stage in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """The architecture as plain values, as in ``arch.json``."""
        return dict(
            format=JSON_FORMAT,
            version=JSON_VERSION,
            family=self.family,
            stages=[
                dict(in_channels=stage.in_channels, out_channels=stage.out_channels, stride=stage.stride,
                     layers=[str(layer) for layer in stage.layers]) for stage in self.stages
            ])

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> 'Architecture':
        """Build an architecture from the values that :meth:`to_dict` gives.

        Raises:
            ValueError: If a key is missing, unknown or holds an illegal value.
        """
        if values.get('format', JSON_FORMAT) != JSON_FORMAT or values.get('version', 1) != JSON_VERSION:
            raise ValueError(f'format {shown(values.get("format"))} version {shown(values.get("version"))} is unknown: '
                             f'this release reads {JSON_FORMAT!r} version {JSON_VERSION}')
        stages, family = values.get('stages'), values.get('family', families.DEFAULT)
        if not isinstance(stages, Sequence) or isinstance(stages, str):
            raise ValueError(f'an architecture needs a list under "stages", not {shown(stages)}')
        fields = {'in_channels', 'out_channels', 'stride', 'layers'}
        built = []
        for index, stage in enumerate(stages):
            if not isinstance(stage, Mapping) or set(stage) != fields:
                raise ValueError(f'stage {index} of the architecture must have exactly the keys '
                                 f'{sorted(fields)}, but is {shown(stage)}')
            built.append(Stage.from_operations(stage['in_channels'], stage['out_channels'],
                                               stage['stride'], stage['layers'], family))
        return cls(tuple(built), family)

    def to_json(self) -> str:
        """The text of ``arch.json``, with one line for each stage, so that line-by-line comparison works."""
        values = self.to_dict()
        stages = ',\n'.join('    ' + json.dumps(stage) for stage in values.pop('stages'))
        head = json.dumps(values)[1:-1]
        return f'{{\n  {head},\n  "stages": [\n{stages}\n  ]\n}}\n'

    @classmethod
    def from_json(cls, text: str) -> 'Architecture':
        """Build an architecture from the text that :meth:`to_json` gives.

        Raises:
            ValueError: If the text is no JSON object or not a valid architecture.
        """
        try:
            values = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f'not an architecture: the text is no JSON ({error})') from None
        if not isinstance(values, dict):
            raise ValueError(f'not an architecture: expected a JSON object, not {type(values).__name__}')
        return cls.from_dict(values)

    def __str__(self) -> str:
        rows = [(stage.label, str(stage.stride), ' '.join(map(str, stage.layers))) for stage in self.stages]
        width = max(len(row[0]) for row in rows)
        lines = [f'{"stage":{width}}  stride  layers']
        return '\n'.join(lines + [f'{label:{width}}  {stride:6}  {layers}' for label, stride, layers in rows])
