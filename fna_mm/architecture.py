"""Architectures as values: parse, validate, count, print. Needs neither torch nor a model."""

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Union

STEM_STRIDE = 2
IMAGE_CHANNELS = 3
SKIP = 'skip'
JSON_FORMAT = 'fna_mm.architecture'
JSON_VERSION = 1

_OPERATION = re.compile(r'k(\d+)_e(\d+)')


def conv_madds(in_channels: int, out_channels: int, kernel_size: int, output_size: Sequence[int],
               groups: int = 1) -> int:
    """Multiply-adds of a convolution without bias, one multiply-add counted once.

    Args:
        in_channels (int): Input channels.
        out_channels (int): Output channels.
        kernel_size (int): Side of the square kernel.
        output_size (Sequence[int]): (height, width) of the output map.
        groups (int): Groups of the convolution. Defaults to 1.
    """
    height, width = output_size
    return kernel_size**2 * (in_channels // groups) * out_channels * height * width


def scaled_channels(channels: int, factor: float) -> int:
    """Channels under a width multiplier: a multiple of 8, as near as possible, never below nine tenths.

    Sandler et al. 2018 and every MobileNetV2 of mm round this way.

    Args:
        channels (int): Channels at width 1.
        factor (float): The width multiplier.
    """
    rounded = max(8, int(channels * factor + 4) // 8 * 8)
    return rounded + 8 if rounded < .9 * channels * factor else rounded


def strided_size(size: Sequence[int], stride: int) -> tuple[int, int]:
    """(height, width) behind a convolution whose odd kernel is padded to keep the size at stride 1."""
    return -(-size[0] // stride), -(-size[1] // stride)


@dataclass(frozen=True)
class MBConvSpec:
    """One MBConv layer: the kernel of its depthwise convolution and its expansion ratio.

    Args:
        kernel_size (int): Side of the depthwise kernel, odd.
        expand_ratio (int): Hidden channels per input channel; 1 leaves out the expand convolution.

    Raises:
        ValueError: If the kernel is not odd and positive or the ratio not positive.

    >>> str(MBConvSpec(5, 6))
    'k5_e6'
    """

    kernel_size: int
    expand_ratio: int

    def __post_init__(self) -> None:
        for field, value in (('kernel_size', self.kernel_size), ('expand_ratio', self.expand_ratio)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f'{field} of an MBConv must be a positive integer, not {value!r}')
        if self.kernel_size % 2 == 0:
            raise ValueError(f'kernel_size of an MBConv must be odd, not {self.kernel_size}')

    @classmethod
    def parse(cls, text: str) -> 'MBConvSpec':
        """``'k5_e6'`` → kernel 5, expansion ratio 6.

        Raises:
            ValueError: If the text has another form.
        """
        match = _OPERATION.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ValueError(f'unknown operation {text!r}: expected kK_eE (K an odd kernel size, E an '
                             f"expansion ratio), such as 'k5_e6', or {SKIP!r}")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f'k{self.kernel_size}_e{self.expand_ratio}'

    def hidden_channels(self, in_channels: int) -> int:
        """Channels of the depthwise convolution."""
        return in_channels * self.expand_ratio

    def madds(self, in_channels: int, out_channels: int, stride: int, input_size: Sequence[int]) -> int:
        """Multiply-adds of the layer; dilation does not change them.

        Args:
            in_channels (int): Input channels.
            out_channels (int): Output channels.
            stride (int): Stride of the depthwise convolution.
            input_size (Sequence[int]): (height, width) of the input map.
        """
        hidden = self.hidden_channels(in_channels)
        output_size = strided_size(input_size, stride)
        expand = conv_madds(in_channels, hidden, 1, input_size) if self.expand_ratio > 1 else 0
        depthwise = conv_madds(hidden, hidden, self.kernel_size, output_size, groups=hidden)
        return expand + depthwise + conv_madds(hidden, out_channels, 1, output_size)

    def params(self, in_channels: int, out_channels: int) -> int:
        """Parameters of the layer with affine BN, running statistics not counted."""
        hidden = self.hidden_channels(in_channels)
        expand = in_channels * hidden + 2 * hidden if self.expand_ratio > 1 else 0
        depthwise = self.kernel_size**2 * hidden + 2 * hidden
        return expand + depthwise + hidden * out_channels + 2 * out_channels


@dataclass(frozen=True)
class Stage:
    """Consecutive MBConv layers; the first changes the channels and takes the stride.

    Args:
        in_channels (int): Channels that enter the first layer.
        out_channels (int): Channels of every layer's output.
        stride (int): Stride of the first layer, 1 or 2.
        layers (tuple[MBConvSpec, ...]): The layers in order, at least one.

    Raises:
        ValueError: If a number is out of range or the stage is empty.
    """

    in_channels: int
    out_channels: int
    stride: int
    layers: tuple[MBConvSpec, ...]

    def __post_init__(self) -> None:
        for field, value in (('in_channels', self.in_channels), ('out_channels', self.out_channels)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f'{field} of a stage must be a positive integer, not {value!r}')
        if type(self.stride) is not int or self.stride not in (1, 2):
            raise ValueError(f'stride of the stage {self.label} must be 1 or 2, not {self.stride!r}')
        object.__setattr__(self, 'layers', tuple(self.layers))
        if not self.layers:
            raise ValueError(f'the stage {self.label} is empty: it needs at least one MBConv layer')
        for layer in self.layers:
            if not isinstance(layer, MBConvSpec):
                raise ValueError(f'the stage {self.label} holds {layer!r}, which is no MBConvSpec')

    @property
    def label(self) -> str:
        """How tables and errors call the stage: ``'16 → 24'``."""
        return f'{self.in_channels} → {self.out_channels}'

    @classmethod
    def from_operations(cls, in_channels: int, out_channels: int, stride: int,
                        operations: Sequence[str]) -> 'Stage':
        """Build a stage from operation names; ``'skip'`` leaves a layer out.

        Args:
            in_channels (int): Channels that enter the first layer.
            out_channels (int): Channels of every layer's output.
            stride (int): Stride of the first layer.
            operations (Sequence[str]): Such as ``['k3_e6', 'skip']``.

        Raises:
            ValueError: If an operation is unknown or the first one is an identity.
        """
        label = f'{in_channels} → {out_channels}'
        if isinstance(operations, str) or not isinstance(operations, Sequence):
            raise ValueError(f'the layers of the stage {label} must be a list of operations, '
                             f'not {operations!r}')
        if operations and operations[0] == SKIP:
            raise ValueError(f'the first layer of the stage {label} is {SKIP!r}, but an identity cannot '
                             'change channels or stride: put an MBConv such as k3_e6 there')
        layers = []
        for index, operation in enumerate(operations):
            if operation == SKIP:
                continue
            try:
                layers.append(MBConvSpec.parse(operation))
            except ValueError as error:
                raise ValueError(f'layer {index} of the stage {label}: {error}') from None
        return cls(in_channels, out_channels, stride, tuple(layers))

    def madds(self, input_size: Sequence[int], stride: Union[int, None] = None) -> int:
        """Multiply-adds of the stage on a map of (height, width); ``stride`` overrides its own."""
        stride = self.stride if stride is None else stride
        total, channels = 0, self.in_channels
        for layer in self.layers:
            total += layer.madds(channels, self.out_channels, stride, input_size)
            input_size, stride, channels = strided_size(input_size, stride), 1, self.out_channels
        return total

    def params(self) -> int:
        """Parameters of the stage with affine BN."""
        channels = (self.in_channels, ) + (self.out_channels, ) * (len(self.layers) - 1)
        return sum(layer.params(c, self.out_channels) for layer, c in zip(self.layers, channels))


@dataclass(frozen=True)
class Architecture:
    """A backbone of the MobileNetV2 family: a 3x3 stem with stride 2, then stages of MBConv layers.

    Args:
        stages (tuple[Stage, ...]): The stages; the first one's input is the stem's output.

    Raises:
        ValueError: If there is no stage or the channels of neighbours do not chain.

    >>> Architecture.create('fna_retinanet').params()
    2055712
    """

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, 'stages', tuple(self.stages))
        if not self.stages:
            raise ValueError('an architecture needs at least one stage')
        for before, after in zip(self.stages, self.stages[1:]):
            if before.out_channels != after.in_channels:
                raise ValueError(f'channels do not chain: the stage {before.label} is followed by '
                                 f'{after.label}, which should start with {before.out_channels}')

    @property
    def stem_channels(self) -> int:
        """Output channels of the stem."""
        return self.stages[0].in_channels

    def widened(self, factor: float) -> 'Architecture':
        """The same layers with the channels of stem and stages multiplied (:func:`scaled_channels`).

        Args:
            factor (float): The width multiplier; 1 changes nothing.

        Raises:
            ValueError: If it is no positive number.
        """
        if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 < factor < math.inf:
            raise ValueError(f'the width multiplier (widen_factor) must be a positive number, not {factor!r}')
        if factor == 1:
            return self
        return Architecture(tuple(
            replace(stage, in_channels=scaled_channels(stage.in_channels, factor),
                    out_channels=scaled_channels(stage.out_channels, factor)) for stage in self.stages))

    @property
    def total_stride(self) -> int:
        """Input pixels per pixel of the last map, along one side, without dilation."""
        stride = STEM_STRIDE
        for stage in self.stages:
            stride *= stage.stride
        return stride

    def strides_and_dilations(self, output_stride: int = 32) -> tuple[tuple[int, int], ...]:
        """(stride, dilation) of every stage when the last map keeps ``output_stride``.

        A stage whose stride is taken away is dilated from its first layer on, as in the published
        release and in mmseg.

        Args:
            output_stride (int): Input pixels per pixel of the last map. Defaults to 32.

        Raises:
            ValueError: If the architecture cannot have that output stride.
        """
        legal, stride = [], STEM_STRIDE
        for stage in self.stages:
            stride *= stage.stride
            legal.append(stride)
        legal = sorted({stride for stride in legal if stride >= 8} | {self.total_stride})
        if output_stride not in legal:
            raise ValueError(f'output_stride={output_stride!r} is not possible for this architecture: '
                             f'choose one of {legal}')
        current, dilation, result = STEM_STRIDE, 1, []
        for stage in self.stages:
            if current * stage.stride > output_stride:
                dilation *= stage.stride
                result.append((1, dilation))
            else:
                current *= stage.stride
                result.append((stage.stride, dilation))
        return tuple(result)

    def madds(self, input_shape: Sequence[int], output_stride: Union[int, None] = None,
              head_channels: int = 0) -> int:
        """Multiply-adds at batch 1: convolutions only, each multiply-add counted once.

        Args:
            input_shape (Sequence[int]): (height, width) of the image.
            output_stride (int, optional): See :meth:`strides_and_dilations`. Defaults to the
                architecture's own total stride.
            head_channels (int): Outputs of a 1x1 convolution behind the last stage; 0 for none.
                Defaults to 0.

        Raises:
            ValueError: If ``input_shape`` is not (height, width) in positive integers.
        """
        size = strided_size(check_input_shape(input_shape), STEM_STRIDE)
        total = conv_madds(IMAGE_CHANNELS, self.stem_channels, 3, size)
        strides = self.strides_and_dilations(output_stride or self.total_stride)
        for stage, (stride, _) in zip(self.stages, strides):
            total += stage.madds(size, stride)
            size = strided_size(size, stride)
        return total + conv_madds(self.stages[-1].out_channels, head_channels, 1, size)

    def params(self, head_channels: int = 0) -> int:
        """Parameters with affine BN, running statistics not counted."""
        stem = IMAGE_CHANNELS * 9 * self.stem_channels + 2 * self.stem_channels
        head = (self.stages[-1].out_channels + 2) * head_channels
        return stem + sum(stage.params() for stage in self.stages) + head

    @classmethod
    def create(cls, arch: Union['Architecture', str, Mapping[str, Any]]) -> 'Architecture':
        """Build an architecture from whatever a config may hold.

        Args:
            arch (Architecture | str | dict): An architecture; the name of a published one; a dict as
                in ``arch.json``; the path of an ``arch.json`` (any mmengine file backend); or the
                published text form.

        Raises:
            ValueError: If it is none of these, or not a valid architecture.
            FileNotFoundError: If it is a path and there is no such file.
        """
        if isinstance(arch, Architecture):
            return arch
        if isinstance(arch, Mapping):
            return cls.from_dict(arch)
        if not isinstance(arch, str):
            raise ValueError(f'arch must be a name, a dict, a path or the published text form, not {arch!r}')
        if arch in PUBLISHED:
            return cls.parse(PUBLISHED[arch])
        if '[' in arch:
            return cls.parse(arch)
        if not arch.endswith('.json'):
            raise ValueError(f'unknown arch {arch!r}: expected one of {sorted(PUBLISHED)}, '
                             'the path of an arch.json, a dict, or the published text form')
        from mmengine.fileio import exists, get_text  # imports torch, which this module must not need

        if not exists(arch):
            raise FileNotFoundError(f'arch={arch!r}: there is no such file; published names are '
                                    f'{sorted(PUBLISHED)}')
        return cls.from_json(get_text(arch))

    @classmethod
    def parse(cls, text: str) -> 'Architecture':
        """Read the published text form, stages separated by ``|``; nothing in it is evaluated.

        Raises:
            ValueError: If the text does not have that form; the message names the stage.
        """
        stages = []
        for index, part in enumerate(part for part in text.split('|') if part.strip()):
            try:
                (in_channels, out_channels), operations, stride = ast.literal_eval(part.strip())
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                raise ValueError(f'stage {index} of the architecture text is {part.strip()[:200]!r}: expected '
                                 "[[in_channels, out_channels], ['k3_e6', ...], stride]") from None
            stages.append(Stage.from_operations(in_channels, out_channels, stride, operations))
        return cls(tuple(stages))

    def to_text(self) -> str:
        """The published text form, one stage a line, layers that are left out not written."""
        return '|\n'.join(
            f'[[{stage.in_channels}, {stage.out_channels}], '
            f'{[str(layer) for layer in stage.layers]}, {stage.stride}]' for stage in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as in ``arch.json``."""
        return dict(
            format=JSON_FORMAT,
            version=JSON_VERSION,
            stages=[
                dict(in_channels=stage.in_channels, out_channels=stage.out_channels, stride=stage.stride,
                     layers=[str(layer) for layer in stage.layers]) for stage in self.stages
            ])

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> 'Architecture':
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: If a key is missing, unknown or holds an illegal value.
        """
        if values.get('format', JSON_FORMAT) != JSON_FORMAT or values.get('version', 1) != JSON_VERSION:
            raise ValueError(f'format {values.get("format")!r} version {values.get("version")!r} is unknown: '
                             f'this release reads {JSON_FORMAT!r} version {JSON_VERSION}')
        stages = values.get('stages')
        if not isinstance(stages, Sequence) or isinstance(stages, str):
            raise ValueError(f'an architecture needs a list under "stages", not {stages!r}')
        fields = {'in_channels', 'out_channels', 'stride', 'layers'}
        built = []
        for index, stage in enumerate(stages):
            if not isinstance(stage, Mapping) or set(stage) != fields:
                raise ValueError(f'stage {index} of the architecture must have exactly the keys '
                                 f'{sorted(fields)}, but is {stage!r}')
            built.append(Stage.from_operations(stage['in_channels'], stage['out_channels'],
                                               stage['stride'], stage['layers']))
        return cls(tuple(built))

    def to_json(self) -> str:
        """``arch.json``: small, one line a stage, meant to be compared line by line."""
        values = self.to_dict()
        stages = ',\n'.join('    ' + json.dumps(stage) for stage in values.pop('stages'))
        head = json.dumps(values)[1:-1]
        return f'{{\n  {head},\n  "stages": [\n{stages}\n  ]\n}}\n'

    @classmethod
    def from_json(cls, text: str) -> 'Architecture':
        """The inverse of :meth:`to_json`.

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


def check_input_shape(input_shape: Any) -> tuple[int, int]:
    """(height, width) as a tuple.

    Raises:
        ValueError: If it is not a pair of positive integers.
    """
    legal = (isinstance(input_shape, Sequence) and not isinstance(input_shape, str) and len(input_shape) == 2
             and all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in input_shape))
    if not legal:
        raise ValueError(f'input_shape must be (height, width) in pixels, such as (800, 1088), '
                         f'not {input_shape!r}')
    return input_shape[0], input_shape[1]


# MobileNetV2: Sandler et al. 2018, table 2. The FNA networks: figure 4 of the paper and the net_config
# files of the authors' release, layers they left out not written.
PUBLISHED: dict[str, str] = {
    'mobilenet_v2':
    """[[32, 16], ['k3_e1'], 1]|
       [[16, 24], ['k3_e6', 'k3_e6'], 2]|
       [[24, 32], ['k3_e6', 'k3_e6', 'k3_e6'], 2]|
       [[32, 64], ['k3_e6', 'k3_e6', 'k3_e6', 'k3_e6'], 2]|
       [[64, 96], ['k3_e6', 'k3_e6', 'k3_e6'], 1]|
       [[96, 160], ['k3_e6', 'k3_e6', 'k3_e6'], 2]|
       [[160, 320], ['k3_e6'], 1]""",
    'fna_retinanet':
    """[[32, 16], ['k3_e1'], 1]|
       [[16, 24], ['k3_e6', 'k3_e6', 'skip', 'skip'], 2]|
       [[24, 32], ['k7_e6', 'k5_e6', 'skip', 'skip'], 2]|
       [[32, 64], ['k3_e6', 'k5_e6', 'k7_e6', 'k3_e6'], 2]|
       [[64, 96], ['k5_e6', 'k7_e6', 'skip', 'skip'], 1]|
       [[96, 160], ['k7_e6', 'k7_e6', 'k7_e3', 'k7_e6'], 2]|
       [[160, 320], ['k7_e6'], 1]""",
    'fna_ssdlite':
    """[[32, 16], ['k3_e1'], 1]|
       [[16, 24], ['k5_e6', 'skip', 'skip', 'skip'], 2]|
       [[24, 32], ['k5_e6', 'k5_e6', 'k3_e6', 'k5_e6'], 2]|
       [[32, 64], ['k5_e6', 'k7_e6', 'k3_e6', 'skip'], 2]|
       [[64, 96], ['k7_e6', 'k7_e6', 'k7_e6', 'k7_e6'], 1]|
       [[96, 160], ['k5_e6', 'k7_e6', 'k7_e6', 'skip'], 2]|
       [[160, 320], ['k7_e6'], 1]""",
    'fna_deeplabv3':
    """[[32, 16], ['k3_e1'], 1]|
       [[16, 24], ['k3_e6', 'k3_e6', 'skip', 'skip'], 2]|
       [[24, 32], ['k7_e6', 'k3_e6', 'k3_e6', 'k3_e6'], 2]|
       [[32, 64], ['k7_e6', 'k7_e6', 'k5_e6', 'k7_e6', 'k7_e6', 'k5_e6'], 2]|
       [[64, 96], ['k7_e6', 'k7_e6', 'k7_e6', 'k7_e6', 'skip', 'skip'], 1]|
       [[96, 160], ['k7_e6', 'k5_e6', 'skip', 'skip'], 2]|
       [[160, 320], ['k7_e3'], 1]""",
}
