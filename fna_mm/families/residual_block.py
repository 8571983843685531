"""The modules of ResNets: their stems, the basic block and the bottleneck."""

from typing import Any

from mmcv.cnn import ConvModule, build_activation_layer
from mmengine.model import Sequential
from torch import Tensor, nn

from fna_mm.families.family import IMAGE_CHANNELS, BlockOptions
from fna_mm.families.residual import OUTER_KERNEL, ResidualSpec, changes_shape
from fna_mm.families.tapped_block import TappedBlock


class ResidualBlock(TappedBlock):
    """A basic block or a bottleneck (He et al. 2016, figure 5).

    ``reduce_conv`` is the first 1x1 convolution of a bottleneck, ``inner_conv`` the convolution whose kernel may
    change, ``outer_conv`` the one that computes the output. ``side_conv`` is the 1x1 convolution of the shortcut, where
    the block changes the channels or has a stride. As in mm, a dilation is that of ``inner_conv`` alone.

    Args:
        spec (ResidualSpec): Kind of the block, kernel and inner channels.
        options (BlockOptions): Channels, stride and the other arguments. The activation is ReLU unless they name one.
    """

    def __init__(self, spec: ResidualSpec, options: BlockOptions) -> None:
        super().__init__(options.with_cp)
        norm_cfg, act_cfg = options.norm_cfg or dict(type='BN'), options.act_cfg or dict(type='ReLU')
        first, second = spec.strides(options.stride)
        channels = options.in_channels
        if spec.bottleneck:
            self.reduce_conv = ConvModule(channels, spec.channels, 1, first, norm_cfg=norm_cfg, act_cfg=act_cfg)
            channels = spec.channels
        self.inner_conv = ConvModule(
            channels, spec.channels, spec.kernel_size, second, padding=options.dilation * (spec.kernel_size // 2),
            dilation=options.dilation, norm_cfg=norm_cfg, act_cfg=act_cfg)
        kernel = 1 if spec.bottleneck else OUTER_KERNEL
        self.outer_conv = ConvModule(spec.channels, options.out_channels, kernel, padding=kernel // 2,
                                     norm_cfg=norm_cfg, act_cfg=None)
        if changes_shape(options.in_channels, options.out_channels, options.stride):
            self.side_conv = ConvModule(options.in_channels, options.out_channels, 1, options.stride,
                                        norm_cfg=norm_cfg, act_cfg=None)
        self.activate = build_activation_layer(dict(act_cfg))

    def shortcut(self, x: Tensor) -> Tensor:
        """What is added to the result of the convolutions, for the block's input (N, in_channels, H, W)."""
        return self.side_conv(x) if hasattr(self, 'side_conv') else x

    def _forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.inner_conv(self.reduce_conv(x) if hasattr(self, 'reduce_conv') else x)
        return self.activate(self.outer_conv(hidden) + self.shortcut(x)), hidden


class PooledConvolution(ConvModule):
    """A convolution with normalisation and activation, and a 3x3 max pooling with stride 2.

    Args:
        args (Any): As for mm's ConvModule.
        kwargs (Any): As for mm's ConvModule.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pool = nn.MaxPool2d(3, 2, 1)

    def forward(self, x: Tensor, activate: bool = True, norm: bool = True) -> Tensor:
        """(N, C, H, W) → (N, out_channels, H / 2 / stride, W / 2 / stride)."""
        return self.pool(super().forward(x, activate, norm))


def build_stem(out_channels: int, norm_cfg: dict, act_cfg: dict, deep: bool) -> nn.Module:
    """Build the stem: (N, 3, H, W) → (N, out_channels, H / 4, W / 4).

    Args:
        out_channels (int): Output channels of the stem.
        norm_cfg (dict): Normalisation of the stem.
        act_cfg (dict): Activation of the stem.
        deep (bool): Whether it has three 3x3 convolutions (He et al. 2019, ResNet-C) instead of one of 7x7.
    """
    cfgs: dict[str, Any] = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
    if not deep:
        return PooledConvolution(IMAGE_CHANNELS, out_channels, 7, 2, 3, **cfgs)
    half = out_channels // 2
    return Sequential(ConvModule(IMAGE_CHANNELS, half, 3, 2, 1, **cfgs), ConvModule(half, half, 3, 1, 1, **cfgs),
                      PooledConvolution(half, out_channels, 3, 1, 1, **cfgs))
