"""The modules of MobileNetV2's networks: the stem and the MBConv block."""

from typing import Optional

from mmcv.cnn import ConvModule
from torch import Tensor

from fna_mm.families.family import IMAGE_CHANNELS
from fna_mm.families.mbconv import MBConvSpec
from fna_mm.families.tapped_block import TappedBlock


class MBConv(TappedBlock):
    """Inverted residual block (Sandler et al. 2018, figure 3).

    A 1x1 convolution expands the channels, a depthwise convolution follows, and a 1x1 convolution without activation
    projects to the output channels. The three parts have the names of mmdet's ``InvertedResidual``, so a child with
    MobileNetV2's architecture has the state dict keys of mmdet's MobileNetV2.

    Args:
        spec (MBConvSpec): Kernel and expansion ratio.
        in_channels (int): Input channels.
        out_channels (int): Output channels.
        stride (int): Stride of the depthwise convolution. Defaults to 1.
        dilation (int): Dilation of the depthwise convolution. Defaults to 1.
        norm_cfg (dict, optional): Normalisation of each convolution. Defaults to None: BN.
        act_cfg (dict, optional): Activation of the first two convolutions. Defaults to None: ReLU6.
        with_cp (bool): Recompute the block in the backward pass to save memory. Defaults to False.
    """

    def __init__(self,
                 spec: MBConvSpec,
                 in_channels: int,
                 out_channels: int,
                 stride: int = 1,
                 dilation: int = 1,
                 norm_cfg: Optional[dict] = None,
                 act_cfg: Optional[dict] = None,
                 with_cp: bool = False) -> None:
        super().__init__(with_cp)
        norm_cfg = norm_cfg or dict(type='BN')
        act_cfg = act_cfg or dict(type='ReLU6')
        hidden = spec.hidden_channels(in_channels)
        self.with_expand_conv = spec.expands
        self.with_shortcut = stride == 1 and in_channels == out_channels
        if self.with_expand_conv:
            self.expand_conv = ConvModule(in_channels, hidden, 1, norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.depthwise_conv = ConvModule(
            hidden,
            hidden,
            spec.kernel_size,
            stride=stride,
            padding=dilation * (spec.kernel_size // 2),
            dilation=dilation,
            groups=hidden,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg)
        self.linear_conv = ConvModule(hidden, out_channels, 1, norm_cfg=norm_cfg, act_cfg=None)

    def _forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        expanded = self.expand_conv(x) if self.with_expand_conv else x
        out = self.linear_conv(self.depthwise_conv(expanded))
        return (x + out if self.with_shortcut else out), expanded


def build_stem(out_channels: int, norm_cfg: dict, act_cfg: dict, stride: int) -> ConvModule:
    """Build the 3x3 convolution in front of the first stage.

    Supernet and child have the same activation here; the authors' supernet has a ReLU, their child a ReLU6.

    Args:
        out_channels (int): Output channels of the stem.
        norm_cfg (dict): Normalisation of the stem.
        act_cfg (dict): Activation of the stem.
        stride (int): Stride of the stem.
    """
    return ConvModule(IMAGE_CHANNELS, out_channels, 3, stride=stride, padding=1, norm_cfg=norm_cfg, act_cfg=act_cfg)
