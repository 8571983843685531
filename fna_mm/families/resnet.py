"""ResNets and the networks that adaptation makes of them (He et al. 2016)."""

from collections.abc import Mapping, Sequence
from typing import Any

from fna_mm.checks import check_integer, check_number
from fna_mm.families.family import IMAGE_CHANNELS, BlockOptions, BlockSpec, Convolution, Family
from fna_mm.families.layouts import TENSOR, Layout, own_layout, slot_table
from fna_mm.families.residual import ResidualSpec

#: Depth → layers of every stage, and whether blocks are bottlenecks (He et al. 2016, table 1).
_DEPTHS = {18: ((2, 2, 2, 2), False), 34: ((3, 4, 6, 3), False), 50: ((3, 4, 6, 3), True), 101: ((3, 4, 23, 3), True)}
_STEM_CHANNELS, _STRIDES = 64, (1, 2, 2, 2)
#: Output channels of a bottleneck for each of its inner channels.
_EXPANSION = 4
#: Arguments of mm's ResNets that a child has, too.
_KEPT = ('frozen_stages', 'norm_eval', 'with_cp', 'norm_cfg')
#: Arguments of mm's ResNets → the only values of them that a child can have.
_FIXED: dict[str, tuple[Any, ...]] = dict(
    in_channels=(IMAGE_CHANNELS, ), conv_cfg=(None, ), dcn=(None, ), plugins=(None, ), multi_grid=(None, ),
    avg_down=(False, ), stem_channels=(None, _STEM_CHANNELS), base_channels=(_STEM_CHANNELS, ))
_HEAD = r'(\w*head|neck|fc|classifier)\..*'
_NEVER = r'(?!)(?P<slot>)(?P<tensor>)'
#: Part of a block → the slots of its convolution and of its normalisation.
_Slots = Mapping[str, Sequence[str]]


def _stages_of(depth: int) -> str:
    """The text form of a published ResNet."""
    depths, bottleneck = _DEPTHS[depth]
    kind, expansion = ('bottleneck', _EXPANSION) if bottleneck else ('basic', 1)
    stages, in_channels = [], _STEM_CHANNELS
    for number, (layers, stride) in enumerate(zip(depths, _STRIDES)):
        inner = _STEM_CHANNELS * 2**number
        stages.append(f'[[{in_channels}, {inner * expansion}], {[f"k3_{kind}{inner}"] * layers}, {stride}]')
        in_channels = inner * expansion
    return '|'.join(stages)


def _forms(bottleneck: _Slots, basic: _Slots, side: Sequence[str]) -> list[_Slots]:
    """Part → slots of a bottleneck and of a basic block, each with and without a convolution in the shortcut."""
    return [dict(bottleneck, side=side), bottleneck, dict(basic, side=side), basic]


def _own(stem_convolutions: int) -> Layout:
    reduce, inner, outer, side = ((f'{part}_conv.conv', f'{part}_conv.bn') for part in (
        'reduce', 'inner', 'outer', 'side'))
    basic = dict(inner=inner, outer=outer)
    return own_layout('fna_mm', _forms(dict(basic, reduce=reduce), basic, side), _HEAD, stem_convolutions)


_FIRST, _SECOND, _THIRD = ((f'conv{number}', f'bn{number}') for number in (1, 2, 3))
#: Blocks in torchvision's, timm's and mm's checkpoints.
_SLOTS = tuple(slot_table(form) for form in _forms(
    dict(reduce=_FIRST, inner=_SECOND, outer=_THIRD), dict(inner=_FIRST, outer=_SECOND),
    ('downsample.0', 'downsample.1')))
_BLOCK = rf'layer(?P<stage>\d+)\.(?P<layer>\d+)\.(?P<slot>conv[123]|bn[123]|downsample\.[01])\.{TENSOR}'


def _library_layout(name: str, stem: str, ends: Mapping[str, Any]) -> Layout:
    return Layout(name, stem, _NEVER, _BLOCK, ends, _SLOTS, _HEAD)


class ResNet(Family):
    """A 7x7 convolution and a pooling, then four stages of basic blocks or bottlenecks.

    A bottleneck has its stride in its 3x3 convolution (mm's ``style='pytorch'``).

    What a search or an adaptation changes: the depth of a stage, the inner channels of a block in multiples of 16, and
    the kernel of its inner convolution. The output channels of a stage cannot change: the shortcut adds the input of
    every block to its output, so all blocks of a stage have the same ones, and so has the 1x1 convolution of the
    shortcut. The first convolution of a block reads that sum, whose channels are not its own; only its outputs can be
    narrowed. In a bottleneck the 3x3 convolution is narrowed on both sides, by the same number. The first block of a
    stage, which changes the channels, stays.
    """

    name = 'resnet'
    title = 'ResNet'
    published = {f'resnet{depth}': _stages_of(depth) for depth in _DEPTHS}
    example = 'k3_bottleneck64'
    stem_stride = 4
    act_cfg = dict(type='ReLU')
    width_step = 16
    search_space = dict(kernel_sizes=(3, 5), expand_ratios=(0.5, 1))
    library: tuple[str, ...] = ('ResNet', )
    layouts: tuple[Layout, ...] = (_own(1), _library_layout('torchvision/timm/mm', rf'(?P<slot>conv1|bn1)\.{TENSOR}',
                                        dict(conv1='conv', bn1='bn')))
    hidden_dims = {('reduce', 'conv'): {0: 'reduce'}, ('reduce', 'bn'): {0: 'reduce'},
                   ('inner', 'conv'): {0: 'inner', 1: 'reduce'}, ('inner', 'bn'): {0: 'inner'},
                   ('outer', 'conv'): {1: 'inner'}}
    ranked_part = 'inner'
    output_part = 'outer'
    deep_stem = False
    strided_first = False

    @property
    def seeds(self) -> tuple[str, ...]:
        """All published ResNets."""
        return tuple(self.published)

    def parse_spec(self, text: Any) -> ResidualSpec:
        """Build a block's spec as :meth:`ResidualSpec.parse` does."""
        return ResidualSpec.parse(text, self.strided_first)

    def layer_candidates(self, kernel_sizes: Sequence[int], expand_ratios: Sequence[float], seed: BlockSpec,
                         in_channels: int) -> tuple[BlockSpec, ...]:
        """All kernels with the first width, then with the next, and so on.

        Ratios are shares of the seed's inner channels, up to 1, rounded to multiples of 16: the seed's weights have no
        more of them.

        Args:
            kernel_sizes (Sequence[int]): Kernels to choose from.
            expand_ratios (Sequence[float]): Shares of the seed's inner channels.
            seed (BlockSpec): The seed's block in this place, or its last one of the stage.
            in_channels (int): Input channels of the layer.

        Raises:
            ValueError: If a share is not above 0 and up to 1, or a kernel no positive integer.
        """
        for ratio in expand_ratios:
            if check_number('an expansion ratio of a ResNet, a share of the inner channels,', ratio, above=0) > 1:
                raise ValueError(f'expand_ratios={tuple(expand_ratios)} of a ResNet are shares of the seed\'s inner '
                                 f'channels, such as (0.5, 1): {ratio} is above 1')
        for kernel in kernel_sizes:
            check_integer('a kernel size', kernel)
        channels = seed.hidden_channels(in_channels)
        widths = [self.scaled_channels(channels, ratio) for ratio in expand_ratios]
        return tuple(seed.resized(kernel, min(width, channels), in_channels)
                     for width in dict.fromkeys(widths) for kernel in kernel_sizes)

    def stem(self, out_channels: int) -> tuple[Convolution, ...]:
        """The convolutions in front of the pooling."""
        if not self.deep_stem:
            return (Convolution(IMAGE_CHANNELS, out_channels, 7, 2), )
        half = out_channels // 2
        return (Convolution(IMAGE_CHANNELS, half, 3, 2), Convolution(half, half, 3), Convolution(half, out_channels, 3))

    def scaled_channels(self, channels: int, factor: float) -> int:
        """The nearest multiple of 16, and at least 16."""
        step = self.width_step
        return max(step, int(channels * factor / step + .5) * step)

    def build_stem(self, out_channels: int, norm_cfg: dict, act_cfg: dict) -> Any:
        """Build the convolutions and the pooling."""
        from fna_mm.families.residual_block import build_stem
        return build_stem(out_channels, norm_cfg, act_cfg, self.deep_stem)

    def build_block(self, spec: BlockSpec, options: BlockOptions) -> Any:
        """Build a ``ResidualBlock``."""
        from fna_mm.families.residual_block import ResidualBlock
        assert isinstance(spec, ResidualSpec)
        return ResidualBlock(spec, options)

    def shortcut(self, block: Any, x: Any) -> Any:
        """The input, or what the 1x1 convolution of the shortcut makes of it."""
        return block.shortcut(x)

    def behind_sum(self, block: Any, total: Any) -> Any:
        """ReLU."""
        return block.activate(total)

    def child_arguments(self, section: Mapping[str, Any], backbone: Any) -> dict[str, Any]:
        """As :meth:`Family.child_arguments`, for mmdet's and mmseg's ResNets."""
        other = {name: value for name, legal in _FIXED.items()
                 if (value := section.get(name, getattr(backbone, name, legal[0]))) not in legal}
        if other or backbone.depth not in _DEPTHS:
            given = ', '.join(f'{name}={value!r}' for name, value in (other or dict(depth=backbone.depth)).items())
            raise ValueError(f'a child cannot be the backbone with {given}: it can be a ResNet of depth '
                             f'{sorted(_DEPTHS)} without deformable convolutions, plugins, multi_grid and avg_down')
        bottleneck = _DEPTHS[backbone.depth][1]
        kind = ('_v1c' if backbone.deep_stem else '_caffe' if bottleneck and backbone.style == 'caffe' else '')
        if backbone.deep_stem and bottleneck and backbone.style == 'caffe':
            raise ValueError("a child cannot be a ResNet with deep_stem=True and style='caffe'")
        arch = f'resnet{backbone.depth}{kind}'
        kept = {name: section[name] for name in _KEPT if name in section}
        contracted = dict(dilated='contract') if getattr(backbone, 'contract_dilation', False) else {}
        return dict(kept, arch=arch, out_indices=tuple(backbone.out_indices), strides=tuple(backbone.strides),
                    dilations=tuple(backbone.dilations), **contracted)


class ResNetCaffe(ResNet):
    """ResNets whose bottlenecks have the stride in their first convolution (mm's ``style='caffe'``)."""

    name = 'resnet_caffe'
    title = 'ResNet (Caffe)'
    published = {f'resnet{depth}_caffe': _stages_of(depth) for depth in (50, 101)}
    strided_first = True


class ResNetV1c(ResNet):
    """ResNets with three 3x3 convolutions in the stem (He et al. 2019, ResNet-C; mm's ``ResNetV1c``)."""

    name = 'resnet_v1c'
    title = 'ResNetV1c'
    published = {f'resnet{depth}_v1c': _stages_of(depth) for depth in _DEPTHS}
    library = ('ResNetV1c', 'ResNet')
    deep_stem = True
    layouts = (
        _own(3),
        _library_layout('mm', rf'stem\.(?P<slot>[013467])\.{TENSOR}', {
            str(3 * number + place): (number, kind) for number in range(3)
            for place, kind in enumerate(('conv', 'bn'))}),
        _library_layout('timm', rf'(?P<slot>conv1\.[01346]|bn1)\.{TENSOR}', {
            'conv1.0': (0, 'conv'), 'conv1.1': (0, 'bn'), 'conv1.3': (1, 'conv'), 'conv1.4': (1, 'bn'),
            'conv1.6': (2, 'conv'), 'bn1': (2, 'bn')}))
