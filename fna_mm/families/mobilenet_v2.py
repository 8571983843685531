"""MobileNetV2 and the networks that FNA makes of it (Sandler et al. 2018; Fang et al. 2020)."""

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from fna_mm.families.family import IMAGE_CHANNELS, BlockOptions, BlockSpec, Convolution, Family
from fna_mm.families.layouts import CONV_MODULE, TENSOR, Layout, own_layout, slot_table
from fna_mm.families.mbconv import MBConvSpec

#: Expansion ratio of every searched layer of the seed (Sandler et al. 2018, table 2).
_SEED_RATIO = 6
#: Strides of the seed's stages.
_STRIDES = (1, 2, 2, 2, 1, 2, 1)


def _forms(expand: Sequence[str], depthwise: Sequence[str], project: Sequence[str]) -> dict[str, Sequence[str]]:
    return dict(expand=expand, depthwise=depthwise, project=project)


#: The layout of this package's networks, which have mmdet's names.
OWN = own_layout(
    'mmdet',
    slots=(
        _forms(('expand_conv.conv', 'expand_conv.bn'), ('depthwise_conv.conv', 'depthwise_conv.bn'),
               ('linear_conv.conv', 'linear_conv.bn')),
        _forms((), ('depthwise_conv.conv', 'depthwise_conv.bn'), ('linear_conv.conv', 'linear_conv.bn')),
    ),
    head=r'(\w*head|neck|fc|classifier)\..*')

#: The start of every key of the backbone's stem and stages in the authors' release.
RELEASE_BLOCKS = 'blocks.'
#: The layout of the authors' release: its ``seed_mbv2.pt`` and its retrained networks.
RELEASE = Layout(
    name='FNA release',
    stem=rf'blocks\.0\.(?P<slot>[01])\.{TENSOR}',
    last=rf'blocks\.[1-9]\d*\.conv\.(?P<slot>[01])\.{TENSOR}',
    block=rf'blocks\.(?P<stage>[1-9]\d*)\.layers\.(?P<layer>\d+)\.op\.(?P<slot>\d)\.{TENSOR}',
    ends={'0': 'conv', '1': 'bn'},
    slots=(
        slot_table(_forms(('0', '1'), ('3', '4'), ('6', '7'))),
        slot_table(_forms((), ('0', '1'), ('3', '4'))),
    ),
    head=r'(classifier|extra)\..*')

LAYOUTS = (
    OWN,
    Layout(
        name='mmseg/mmpretrain',
        stem=OWN.stem,
        last=OWN.last,
        block=rf'layer(?P<stage>\d+)\.(?P<layer>\d+)\.conv\.(?P<slot>\d\.(?:conv|bn))\.{TENSOR}',
        ends=CONV_MODULE,
        slots=(
            slot_table(_forms(('0.conv', '0.bn'), ('1.conv', '1.bn'), ('2.conv', '2.bn'))),
            slot_table(_forms((), ('0.conv', '0.bn'), ('1.conv', '1.bn'))),
        ),
        head=OWN.head),
    Layout(
        name='torchvision',
        stem=rf'features\.0\.(?P<slot>[01])\.{TENSOR}',
        last=rf'features\.[1-9]\d*\.(?P<slot>[01])\.{TENSOR}',
        block=rf'features\.(?P<index>\d+)\.conv\.(?P<slot>\d(?:\.\d)?)\.{TENSOR}',
        ends={'0': 'conv', '1': 'bn'},
        slots=(
            slot_table(_forms(('0.0', '0.1'), ('1.0', '1.1'), ('2', '3'))),
            slot_table(_forms((), ('0.0', '0.1'), ('1', '2'))),
        ),
        head=r'classifier\..*'),
    RELEASE,
    Layout(
        name='timm',
        stem=rf'(?P<slot>conv_stem|bn1)\.{TENSOR}',
        last=rf'(?P<slot>conv_head|bn2)\.{TENSOR}',
        block=rf'blocks\.(?P<stage>\d+)\.(?P<layer>\d+)\.(?P<slot>conv_pw|conv_dw|conv_pwl|bn[123])\.{TENSOR}',
        ends={'conv_stem': 'conv', 'bn1': 'bn', 'conv_head': 'conv', 'bn2': 'bn'},
        slots=(
            slot_table(_forms(('conv_pw', 'bn1'), ('conv_dw', 'bn2'), ('conv_pwl', 'bn3'))),
            slot_table(_forms((), ('conv_dw', 'bn1'), ('conv_pw', 'bn2'))),
        ),
        head=r'classifier\..*',
        first_stage=0),
)

# MobileNetV2 is from table 2 of Sandler et al. 2018. The FNA networks are from figure 4 of the paper and the net_config
# files of the authors' release.
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


def release_name(stage: int, layer: Optional[int] = None) -> str:
    """The name of a stage, or of one of its layers, in the authors' release.

    Args:
        stage (int): Index of the stage from 0; -1 is the stem.
        layer (int, optional): Index of the layer in the stage. Defaults to None: the name of the stage.
    """
    return f'{RELEASE_BLOCKS}{stage + 1}' + ('' if layer is None else f'.layers.{layer}')


class MobileNetV2(Family):
    """A 3x3 convolution with stride 2, then stages of MBConv layers."""

    name = 'mobilenet_v2'
    title = 'MobileNetV2'
    published = PUBLISHED
    example = 'k3_e6'
    stem_stride = 2
    head_channels = 1280
    out_indices = (1, 2, 4, 6)
    library: tuple[str, ...] = ('MobileNetV2', )
    layouts = LAYOUTS
    hidden_dims = {('expand', 'conv'): 0, ('expand', 'bn'): 0, ('depthwise', 'conv'): 0, ('depthwise', 'bn'): 0,
                   ('project', 'conv'): 1}
    ranked_part = 'expand'
    output_part = 'project'

    def parse_spec(self, text: Any) -> MBConvSpec:
        """Build a block's spec as :meth:`MBConvSpec.parse` does."""
        return MBConvSpec.parse(text)

    def candidates(self, kernel_sizes: Sequence[int], expand_ratios: Sequence[Any]) -> tuple[BlockSpec, ...]:
        """All kernels with the first expansion ratio, then with the next, and so on (paper, section 3.2)."""
        return tuple(MBConvSpec(kernel, ratio) for ratio in expand_ratios for kernel in kernel_sizes)

    def spec_of(self, kernel_size: int, hidden_channels: int, in_channels: int) -> MBConvSpec:
        """Build the spec of a block from the shapes of its tensors."""
        ratio, rest = divmod(hidden_channels, in_channels)
        return MBConvSpec(kernel_size, channels=hidden_channels) if rest else MBConvSpec(kernel_size, ratio)

    def tapped_channels(self, in_channels: int) -> int:
        """Six times the input channels, as in every searched layer of MobileNetV2 (SSDLite: 96 · 6 = 576)."""
        return in_channels * _SEED_RATIO

    def stem(self, out_channels: int) -> tuple[Convolution, ...]:
        """A 3x3 convolution with stride 2."""
        return (Convolution(IMAGE_CHANNELS, out_channels, 3, self.stem_stride), )

    def scaled_channels(self, channels: int, factor: float) -> int:
        """The nearest multiple of 8 that is not more than a tenth below the product.

        Sandler et al. 2018 and every MobileNetV2 of mm round in this way.
        """
        rounded = max(8, int(channels * factor + 4) // 8 * 8)
        return rounded + 8 if rounded < .9 * channels * factor else rounded

    def child_arguments(self, section: Mapping[str, Any], backbone: Any) -> dict[str, Any]:
        """As :meth:`Family.child_arguments`, for mmdet's and mmseg's MobileNetV2."""
        values = {key: value for key, value in section.items()
                  if key not in ('type', 'init_cfg', 'pretrained', 'conv_cfg', 'strides', 'dilations')}
        values['out_indices'] = tuple(values.get('out_indices', getattr(backbone, 'out_indices', self.out_indices)))
        strides = tuple(section.get('strides') or _STRIDES)
        dilations = tuple(section.get('dilations') or (1, ) * len(strides))
        # mmseg dilates the first layer of a stage alone.
        dilated = dict(dilated='first') if max(dilations) > 1 else {}
        return dict(dict(widen_factor=1.), **values, arch=self.name, strides=strides, dilations=dilations, **dilated)

    def build_stem(self, out_channels: int, norm_cfg: dict, act_cfg: dict) -> Any:
        """Build the 3x3 convolution with its normalisation and activation."""
        from fna_mm.families.mbconv_block import build_stem
        return build_stem(out_channels, norm_cfg, act_cfg, self.stem_stride)

    def build_block(self, spec: BlockSpec, options: BlockOptions) -> Any:
        """Build an ``MBConv``."""
        from fna_mm.families.mbconv_block import MBConv
        assert isinstance(spec, MBConvSpec)
        return MBConv(spec, options.in_channels, options.out_channels, options.stride, options.dilation,
                      options.norm_cfg, options.act_cfg, options.with_cp)
