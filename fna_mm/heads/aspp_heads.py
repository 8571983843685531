"""The paper's two decode heads for segmentation, made from mmseg's parts. This module needs MMSegmentation."""

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmengine.registry import MODELS
from mmseg.models.decode_heads.aspp_head import ASPPHead
from mmseg.models.decode_heads.sep_aspp_head import DepthwiseSeparableASPPModule
from mmseg.models.utils import resize
from torch import Tensor, nn


class _PointwiseASPPHead(ASPPHead):
    """mmseg's ASPP with the 1x1 convolution of the DeepLabv3 paper, instead of a 3x3 one, that joins its branches."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bottleneck = self._conv((len(self.dilations) + 1) * self.channels, self.channels, 1)

    def _conv(self, in_channels: int, out_channels: int, kernel_size: int) -> ConvModule:
        return ConvModule(
            in_channels,
            out_channels,
            kernel_size,
            padding=kernel_size // 2,
            conv_cfg=self.conv_cfg,
            norm_cfg=self.norm_cfg,
            act_cfg=self.act_cfg)


@MODELS.register_module(force=True)
class SeparableASPPHead(_PointwiseASPPHead):
    """DeepLabv3 with depthwise-separable atrous convolutions, as in the paper (section 4.1).

    mmseg's ``DepthwiseSeparableASPPHead`` has two more convolutions behind the pyramid and joins the
    branches with a 3x3 convolution. This head has 755,795 parameters with 320 input channels and 19 classes.

    Args:
        dilations (Sequence[int]): Dilations of the pyramid's branches; 1 stands for a 1x1 convolution.
            Defaults to (1, 6, 12, 18).
        kwargs (Any): Arguments of mmseg's ``BaseDecodeHead``: ``in_channels``, ``in_index``, ``channels``
            (256 in the paper), ``num_classes``, ``dropout_ratio``, ``norm_cfg``, ``align_corners``, ….
    """

    def __init__(self, dilations: Sequence[int] = (1, 6, 12, 18), **kwargs: Any) -> None:
        super().__init__(dilations=tuple(dilations), **kwargs)
        self.aspp_modules = DepthwiseSeparableASPPModule(
            dilations=self.dilations,
            in_channels=self.in_channels,
            channels=self.channels,
            conv_cfg=self.conv_cfg,
            norm_cfg=self.norm_cfg,
            act_cfg=self.act_cfg)


@MODELS.register_module(force=True)
class DeepLabV3PlusHead(_PointwiseASPPHead):
    """DeepLabv3+ with ordinary convolutions, as in the paper (table 1).

    The pyramid's output is enlarged to the size of a finer feature map of the backbone, concatenated with
    it, and refined by two 3x3 convolutions. The head has 4,003,827 parameters with 24 and 320 input
    channels and 19 classes.

    Args:
        c1_in_channels (int): Channels of the finer feature map. Defaults to 24.
        c1_channels (int): Channels to which a 1x1 convolution reduces or expands the finer map. Defaults to 48.
        c1_index (int): Index of the finer map among the backbone's outputs. Defaults to 0.
        dilations (Sequence[int]): Dilations of the pyramid's branches; 1 stands for a 1x1 convolution.
            Defaults to (1, 6, 12, 18).
        kwargs (Any): Arguments of mmseg's ``BaseDecodeHead``; ``in_index`` is the index of the coarse map.
    """

    def __init__(self,
                 c1_in_channels: int = 24,
                 c1_channels: int = 48,
                 c1_index: int = 0,
                 dilations: Sequence[int] = (1, 6, 12, 18),
                 **kwargs: Any) -> None:
        super().__init__(dilations=tuple(dilations), **kwargs)
        self.c1_index = c1_index
        self.c1_bottleneck = self._conv(c1_in_channels, c1_channels, 1)
        self.decoder = nn.Sequential(
            self._conv(self.channels + c1_channels, self.channels, 3), self._conv(self.channels, self.channels, 3))

    def _forward_feature(self, inputs: Sequence[Tensor]) -> Tensor:
        """Maps of the backbone, each (N, C, H, W) → features (N, ``channels``, H, W) of the finer map's size."""
        coarse = super()._forward_feature(inputs)
        fine = self.c1_bottleneck(inputs[self.c1_index])
        coarse = resize(coarse, size=fine.shape[2:], mode='bilinear', align_corners=self.align_corners)
        return self.decoder(torch.cat([coarse, fine], dim=1))
