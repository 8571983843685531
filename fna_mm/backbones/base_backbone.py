"""The base class of supernet and child."""

from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmengine.model.weight_init import initialize
from mmengine.registry import MODELS
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import Tensor, nn

from fna_mm import families
from fna_mm.architecture import Architecture, PlacedLayer, PlacedStage, Stage
from fna_mm.checks import MOST_CHANNELS, check_integer, check_list
from fna_mm.families import BlockOptions
from fna_mm.search_space import tapped_stage, tapped_stages

#: Which layers of a dilated stage are dilated: all, the first one, or all, the first one as those of the stage before.
DILATED = ('stage', 'first', 'contract')
#: What stands in the place of an activation's section for that of the family.
OWN_ACTIVATION = 'family'
#: The initializer's name in the registry. Backbones do not import the initializer.
REMAPPING = 'ParameterRemapping'
DEFAULT_INIT = (dict(type='Kaiming', layer='Conv2d'),
                dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']))


def check_pretrained(pretrained: Any) -> None:
    """Check that a model did not pass its own ``pretrained`` on, which names the weights of the backbone it had before.

    Args:
        pretrained (str, optional): The argument.

    Raises:
        ValueError: If it is not None.
    """
    if pretrained is not None:
        raise ValueError(f'the model passes pretrained={pretrained!r} on to its backbone: set pretrained=None in the '
                         "model, and init_cfg=dict(type='ParameterRemapping', checkpoint='open-mmlab://mmdet/"
                         "mobilenet_v2') in the backbone")


def checked_norm_cfg(norm_cfg: Any, name: str = 'norm_cfg') -> dict[str, Any]:
    """Check that a normalisation exists, and return its section; mmcv's own errors do not name what is missing.

    Args:
        norm_cfg (dict): The section.
        name (str): Name of the argument, for the message. Defaults to 'norm_cfg'.

    Raises:
        ValueError: If it is no section, its ``type`` is not registered, or GN has no number of groups.
    """
    if not isinstance(norm_cfg, Mapping):
        raise ValueError(f"{name} must be a section such as dict(type='BN'), not {norm_cfg!r}: every convolution of "
                         'these blocks has a normalisation')
    if MODELS.get(str(norm_cfg.get('type'))) is None:
        raise ValueError(f'{name}={dict(norm_cfg)!r}: there is no such normalisation; use BN, SyncBN or GN')
    if norm_cfg['type'] == 'GN' and 'num_groups' not in norm_cfg:
        raise ValueError(f'{name}={dict(norm_cfg)!r} does not say num_groups, which has to divide all numbers of '
                         'channels: 8, say')
    return dict(norm_cfg)


def checked_act_cfg(act_cfg: Any, family: str) -> dict[str, Any]:
    """Check that an activation exists, and return its section.

    Args:
        act_cfg (dict | str): The section; :data:`OWN_ACTIVATION` for that of the family.
        family (str): Name of the family.

    Raises:
        ValueError: If it is no section, or its ``type`` is not registered.
    """
    act_cfg = families.family(family).act_cfg if act_cfg == OWN_ACTIVATION else act_cfg
    if not isinstance(act_cfg, Mapping) or MODELS.get(str(act_cfg.get('type'))) is None:
        raise ValueError(f"act_cfg must be the section of an activation, such as dict(type='ReLU6'), not {act_cfg!r}")
    return dict(act_cfg)


def build_stage(place: PlacedStage, family: str, norm_cfg: dict, act_cfg: dict, with_cp: bool,
                dilated: str = 'stage') -> nn.Sequential:
    """Build the layers of a stage that is not searched.

    Args:
        place (PlacedStage): The stage with its place in the network.
        family (str): Name of the family of its blocks.
        norm_cfg (dict): Normalisation of the blocks.
        act_cfg (dict): Activation of the blocks.
        with_cp (bool): Recompute blocks in the backward pass to save memory.
        dilated (str): Which layers of a dilated stage are dilated: all of the ``stage``, or the ``first``. Defaults to
            'stage'.
    """
    build = families.family(family).build_block
    return nn.Sequential(*(build(spec, block_options(layer, norm_cfg, act_cfg, with_cp, dilated))
                           for spec, layer in place.layers()))


def block_options(layer: PlacedLayer, norm_cfg: dict, act_cfg: dict, with_cp: bool, dilated: str) -> BlockOptions:
    """What a block is built with in the place of a layer.

    Args:
        layer (PlacedLayer): The place.
        norm_cfg (dict): Normalisation of the block.
        act_cfg (dict): Activation of the block.
        with_cp (bool): Recompute the block in the backward pass to save memory.
        dilated (str): As in :func:`build_stage`.
    """
    return BlockOptions(layer.in_channels, layer.out_channels, layer.stride, dilation_of(layer, dilated), norm_cfg,
                        act_cfg, with_cp)


def dilation_of(layer: PlacedLayer, dilated: str) -> int:
    """The dilation of a layer.

    Args:
        layer (PlacedLayer): Its place.
        dilated (str): As in :func:`build_stage`.

    Raises:
        ValueError: If ``dilated`` is neither.
    """
    if dilated not in DILATED:
        raise ValueError(f'dilated={dilated!r} must be one of {list(DILATED)}')
    if dilated == 'contract' and layer.index == 0:
        return max(1, layer.dilation // 2)
    return 1 if dilated == 'first' and layer.index else layer.dilation


def _tapped_channels(stage: Stage) -> int:
    return stage.layers[0].hidden_channels(stage.in_channels)


def checked_head_channels(head_channels: Optional[int], family: str) -> int:
    """Check the output channels of the last 1x1 convolution, and return them; 0 if the family has no such convolution.

    Args:
        head_channels (int, optional): The channels; None for those of the family.
        family (str): Name of the family.

    Raises:
        ValueError: If it is no legal number, or the family has no such convolution.
    """
    own = families.family(family)
    if own.head_channels is None:
        if head_channels is not None:
            raise ValueError(f'head_channels={head_channels!r}: a {own.title} has no convolution behind its stages; '
                             'leave it out')
        return 0
    return check_integer('head_channels', own.head_channels if head_channels is None else head_channels,
                         most=MOST_CHANNELS)


def widened_head_channels(head_channels: Optional[int], family: str, widen_factor: float) -> int:
    """Check the output channels of the last 1x1 convolution, and multiply them by a factor if that is above 1.

    Args:
        head_channels (int, optional): As in :func:`checked_head_channels`.
        family (str): Name of the family.
        widen_factor (float): The factor.

    Raises:
        ValueError: As :func:`checked_head_channels`.
    """
    return int(checked_head_channels(head_channels, family) * max(1., widen_factor))


def check_out_indices(out_indices: Sequence[Union[int, str]], skeleton: Architecture, head_channels: int,
                      tapped_channels: Optional[Sequence[int]] = None) -> None:
    """Check the ``out_indices`` of a backbone.

    Args:
        out_indices (Sequence[int | str]): As in :class:`FNABackbone`.
        skeleton (Architecture): Stages and layers of the backbone.
        head_channels (int): Output channels of the last 1x1 convolution; 0 if there can be none.
        tapped_channels (Sequence[int], optional): As in :class:`FNABackbone`. Defaults to None: the seed's.

    Raises:
        ValueError: If an entry names no feature map, the order is wrong, or a tapped layer has other hidden channels
            than the seed (SSDLite needs MobileNetV2's 576) or than ``tapped_channels``.
    """
    num_stages = len(skeleton.stages)
    check_list('out_indices', out_indices)
    shown = f'out_indices={tuple(out_indices)!r}'
    tapped = [tapped_stage(index) for index in out_indices]
    last = num_stages + (head_channels > 0)
    legal = all((index in range(last) and not isinstance(index, bool)) if stage is None else
                stage < num_stages for index, stage in zip(out_indices, tapped))
    if not out_indices or not legal:
        behind = (f", or {num_stages} for the {head_channels}-channel convolution behind them, or 'expandN' for the "
                  'expanded features of stage N') if head_channels else ''
        raise ValueError(f'{shown} must name stages from 0 to {num_stages - 1}{behind}')
    # The expanded features of stage N have the size of the output of stage N - 1.
    places = [2 * int(index) if stage is None else 2 * stage - 1 for index, stage in zip(out_indices, tapped)]
    if places != sorted(set(places)):
        raise ValueError(f"{shown} must rise, without repetition, 'expandN' standing before N: features are "
                         'returned from the finest to the coarsest map')
    numbers = tapped_stages(out_indices)
    if tapped_channels is not None:
        check_list('tapped_channels', tapped_channels)
    if tapped_channels is not None and len(tapped_channels) != len(numbers):
        raise ValueError(f'tapped_channels={tuple(tapped_channels)} must have one number for every expandN of '
                         f'{shown}, which has {len(numbers)}')
    for place, number in enumerate(numbers):
        stage = skeleton.stages[number]
        wanted, whose = families.family(skeleton.family).tapped_channels(stage.in_channels), 'those of the seed'
        if tapped_channels is not None:
            wanted, whose = tapped_channels[place], 'as tapped_channels says'
        if _tapped_channels(stage) != wanted:
            raise ValueError(f"out_indices asks for 'expand{number}', whose layer must have {wanted} hidden channels, "
                             f'{whose}, but the first layer of the stage {stage.label} is {stage.layers[0]} '
                             f'with {_tapped_channels(stage)}')


class FNABackbone(BaseModule):
    """Stem (``conv1``), stages (``layer1`` …) and the optional last convolution (``conv2``).

    Args:
        skeleton (Architecture): The architecture that gives the channels of every stage.
        stages (Sequence[nn.Module]): The modules of the stages, in order.
        out_indices (Sequence[int | str], optional): Stages whose output is returned, counted from 0; None for the
            family's. The number of stages stands for the 1x1 convolution behind the last stage; ``'expandN'`` stands
            for the expanded features of stage N's first layer, after their activation.
        head_channels (int): Output channels of that 1x1 convolution; 0 if there can be none.
        frozen_stages (int): -1 freezes nothing, 0 the stem, i the stem and the first i stages.
        norm_eval (bool): Keep BN in evaluation mode while training.
        norm_cfg (dict): Normalisation of stem and last convolution.
        act_cfg (dict): Activation of stem and last convolution.
        init_cfg (dict | list[dict], optional): Initialization of the backbone.
        tapped_channels (Sequence[int], optional): Hidden channels of the tapped layers, one number for every
            ``'expandN'``. Defaults to None: the seed's.

    Raises:
        ValueError: If ``out_indices`` or ``frozen_stages`` is out of range, or a tapped layer has other hidden channels
            than the seed, or than ``tapped_channels``.
    """

    def __init__(self, skeleton: Architecture, stages: Sequence[nn.Module],
                 out_indices: Optional[Sequence[Union[int, str]]], head_channels: int, frozen_stages: int,
                 norm_eval: bool, norm_cfg: dict, act_cfg: dict, init_cfg: Optional[Union[dict, list]],
                 tapped_channels: Optional[Sequence[int]] = None) -> None:
        super().__init__(init_cfg)
        self.init_cfg: Any
        num_stages = len(skeleton.stages)
        if out_indices is None:
            out_indices = families.family(skeleton.family).out_indices or tuple(range(num_stages))
        check_out_indices(out_indices, skeleton, head_channels, tapped_channels)
        if frozen_stages not in range(-1, num_stages + 1):
            raise ValueError(f'frozen_stages={frozen_stages!r} must be from -1 (nothing frozen) '
                             f'to {num_stages} (stem and all stages)')
        #: The name of the seed family.
        self.family = skeleton.family
        #: Keys of the state dict that parameter remapping does not change.
        self.no_weights: tuple[str, ...] = ()
        self.out_indices = tuple(out_indices)
        self.tapped_stages = tapped_stages(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.conv1 = families.family(skeleton.family).build_stem(skeleton.stem_channels, norm_cfg, act_cfg)
        self.num_stages = num_stages
        for index, stage in enumerate(stages):
            self.add_module(f'layer{index + 1}', stage)
        #: Output channels of the last convolution; 0 if it is not built.
        self.built_head_channels = head_channels if num_stages in self.out_indices else 0
        if self.built_head_channels:
            self.conv2 = ConvModule(skeleton.stages[-1].out_channels, head_channels, 1, norm_cfg=norm_cfg,
                                    act_cfg=act_cfg)
        channels: dict[Union[int, str], int] = {i: stage.out_channels for i, stage in enumerate(skeleton.stages)}
        channels[num_stages] = head_channels
        channels.update({f'expand{i}': _tapped_channels(skeleton.stages[i]) for i in self.tapped_stages})
        #: Channels of each returned feature map, for the neck's or head's ``in_channels``.
        self.out_channels = tuple(channels[index] for index in self.out_indices)
        # Freezing in train() alone is too late: DDP wraps the model before, and waits for the gradients of all
        # parameters that were not frozen then.
        self._freeze()

    def stage(self, index: int) -> nn.Module:
        """The module of a stage, counted from 0."""
        return getattr(self, f'layer{index + 1}')

    def init_weights(self) -> None:
        """Initialize the backbone, and apply parameter remapping last.

        mmengine runs an initializer before the submodules initialize themselves (only its own
        ``Pretrained`` runs after them). They would overwrite the remapped weights.
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

    def run_tapped_stage(self, index: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Run one stage on x; return its output and the expanded features of its first layer."""
        layers: Any = self.stage(index)
        x, expanded = layers[0].forward_tapped(x)
        for layer in list(layers)[1:]:
            x = layer(x)
        return x, expanded

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (N, 3, H, W) → the feature maps of ``out_indices``, each (N, C, H / stride, W / stride)."""
        x = self.conv1(x)
        outs = []
        for index in range(self.num_stages):
            if index in self.tapped_stages:
                x, expanded = self.run_tapped_stage(index, x)
                outs.append(expanded)
            else:
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
        """Switch the mode; frozen stages, and with ``norm_eval`` all BN, stay in evaluation mode."""
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self
