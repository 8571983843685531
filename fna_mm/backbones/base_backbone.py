"""What supernet and child have in common as backbones of mm."""

from collections.abc import Sequence
from typing import Any, Optional, Union

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmengine.model.weight_init import initialize
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import Tensor, nn

from fna_mm.architecture import Architecture
from fna_mm.blocks import build_stem

#: The initializer's name in the registry. Backbones know it by this name only.
REMAPPING = 'ParameterRemapping'
DEFAULT_INIT = (dict(type='Kaiming', layer='Conv2d'),
                dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']))


class FNABackbone(BaseModule):
    """Stem (``conv1``), stages (``layer1`` …) and the optional last convolution (``conv2``).

    Args:
        skeleton (Architecture): Gives the channels of every stage.
        stages (Sequence[nn.Module]): The stages' modules, in order.
        out_indices (Sequence[int]): Stages whose output is returned, from 0; the number of stages
            itself asks for the 1x1 convolution behind the last stage.
        head_channels (int): Outputs of that 1x1 convolution.
        frozen_stages (int): -1 freezes nothing, 0 the stem, i the stem and the first i stages.
        norm_eval (bool): Keep BN in evaluation mode while training.
        norm_cfg (dict): Normalisation of stem and last convolution.
        act_cfg (dict): Activation of stem and last convolution.
        init_cfg (dict | list[dict], optional): Initialization.

    Raises:
        ValueError: If ``out_indices`` or ``frozen_stages`` is out of range.
    """

    def __init__(self, skeleton: Architecture, stages: Sequence[nn.Module], out_indices: Sequence[int],
                 head_channels: int, frozen_stages: int, norm_eval: bool, norm_cfg: dict, act_cfg: dict,
                 init_cfg: Optional[Union[dict, list]]) -> None:
        super().__init__(init_cfg)
        self.init_cfg: Any
        num_stages = len(skeleton.stages)
        legal = range(num_stages + 1)
        if not out_indices or not all(index in legal for index in out_indices):
            raise ValueError(f'out_indices={tuple(out_indices)} must name stages from 0 to {num_stages - 1}, or '
                             f'{num_stages} for the {head_channels}-channel convolution behind them')
        if list(out_indices) != sorted(set(out_indices)):
            raise ValueError(f'out_indices={tuple(out_indices)} must rise, without repetition: features are '
                             'returned from the finest to the coarsest map')
        if frozen_stages not in range(-1, num_stages + 1):
            raise ValueError(f'frozen_stages={frozen_stages!r} must be from -1 (nothing frozen) '
                             f'to {num_stages} (stem and all stages)')
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.conv1 = build_stem(skeleton.stem_channels, norm_cfg, act_cfg)
        self.num_stages = num_stages
        for index, stage in enumerate(stages):
            self.add_module(f'layer{index + 1}', stage)
        #: Outputs of the last convolution, 0 if it is not built.
        self.built_head_channels = head_channels if num_stages in self.out_indices else 0
        if self.built_head_channels:
            self.conv2 = ConvModule(skeleton.stages[-1].out_channels, head_channels, 1, norm_cfg=norm_cfg,
                                    act_cfg=act_cfg)
        channels = [stage.out_channels for stage in skeleton.stages] + [head_channels]
        #: Channels of each returned map, for the neck's or head's ``in_channels``.
        self.out_channels = tuple(channels[index] for index in self.out_indices)
        # Not only in train(): DDP wraps a model before that, and then waits for every gradient it saw.
        self._freeze()

    def stage(self, index: int) -> nn.Module:
        """The module of a stage, counted from 0."""
        return getattr(self, f'layer{index + 1}')

    def init_weights(self) -> None:
        """Initialize, and apply parameter remapping last.

        mmengine runs an initializer before it lets submodules initialize themselves (only its own
        ``Pretrained`` comes after them), which would overwrite the remapped weights.
        """
        given: Any = self.init_cfg
        cfgs = [given] if isinstance(given, dict) else list(given or [])
        remapping = [cfg for cfg in cfgs if cfg['type'] == REMAPPING]
        others = [cfg for cfg in cfgs if cfg['type'] != REMAPPING]
        self.init_cfg = others or [dict(cfg) for cfg in DEFAULT_INIT]
        try:
            super().init_weights()
        finally:
            self.init_cfg = given
        if remapping:
            initialize(self, remapping)

    def run_stage(self, index: int, x: Tensor) -> Tensor:
        """Run one stage on x of shape (N, C, H, W)."""
        return self.stage(index)(x)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (N, 3, H, W) → the maps of ``out_indices``, each (N, C, H / stride, W / stride)."""
        x = self.conv1(x)
        outs = []
        for index in range(self.num_stages):
            x = self.run_stage(index, x)
            if index in self.out_indices:
                outs.append(x)
        if self.built_head_channels:
            outs.append(self.conv2(x))
        return tuple(outs)

    def _freeze(self) -> None:
        frozen = [self.conv1] if self.frozen_stages >= 0 else []
        frozen += [self.stage(index) for index in range(self.frozen_stages)]
        for module in frozen:
            module.eval()
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> 'FNABackbone':
        """Switch the mode, but leave frozen stages, and BN under ``norm_eval``, in evaluation mode."""
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self
