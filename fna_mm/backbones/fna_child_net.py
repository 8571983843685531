"""The backbone of a given architecture."""

from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

from mmengine.registry import MODELS

from fna_mm.architecture import Architecture
from fna_mm.backbones.base_backbone import (
    OWN_ACTIVATION,
    FNABackbone,
    build_stage,
    check_pretrained,
    checked_act_cfg,
    checked_norm_cfg,
    widened_head_channels,
)


@MODELS.register_module(force=True)
class FNAChildNet(FNABackbone):
    """A network of a seed family, by default of MobileNetV2, with the blocks of an architecture in its stages.

    .. code:: text

        image ─ conv1 ─ layer1 ─ layer2 ─ … ─ layer7 ─ conv2
                 /2      [0]      [1]          [6]      [7]     out_indices

    With ``arch='mobilenet_v2'`` it is mmdet's MobileNetV2, with the same state dict keys. With ``arch='resnet50'`` it
    is mm's ResNet, whose checkpoints ``ParameterRemapping`` reads.

    Args:
        arch (str | dict | Architecture): The name of a published architecture (``mobilenet_v2``,
            ``fna_retinanet``, ``fna_ssdlite``, ``fna_deeplabv3``, ``resnet50``, ``resnet50_v1c``, …), a dict, the path
            of an ``arch.json`` (any mmengine file backend), or the published text form.
        out_indices (Sequence[int | str], optional): Stages whose feature maps are returned: 0 is 32 → 16, 6 is
            160 → 320. 7 is the 1x1 convolution to ``head_channels``, which is built only when it is
            listed. ``'expand5'``, listed before 5, stands for the expanded features of stage 5's first
            layer, 576 channels at stride 16 (SSDLite). Defaults to None: (1, 2, 4, 6) for MobileNetV2, all stages for
            a ResNet.
        output_stride (int): Input pixels per pixel of the last feature map. If it is smaller than the
            network's own stride, the last stages are dilated instead of strided. Defaults to 32.
        head_channels (int, optional): Output channels of the last convolution. Defaults to None: the family's
            (MobileNetV2: 1280; a ResNet has no such convolution).
        widen_factor (float): Factor of the channels of ``arch``, rounded as in mm's MobileNetV2. A factor
            below 1 does not change the last convolution. Defaults to 1.
        frozen_stages (int): -1 freezes nothing, 0 the stem, i the stem and the first i stages. Defaults to -1.
        norm_eval (bool): Keep BN in evaluation mode while training. Defaults to False.
        with_cp (bool): Recompute blocks in the backward pass to save memory. Defaults to False.
        norm_cfg (dict): Normalisation of all layers, such as BN or SyncBN. Defaults to dict(type='BN').
        act_cfg (dict | str): Activation of all layers; ``'family'`` is dict(type='ReLU6') for MobileNetV2 and
            dict(type='ReLU') for a ResNet. Defaults to 'family'.
        init_cfg (dict | list[dict], optional): Initialization; ``ParameterRemapping`` is applied
            last. Defaults to None: Kaiming for convolutions.
        dilated (str): Which layers of a dilated stage are dilated: all of the ``stage``, as in the authors' release;
            the ``first``, as in mmseg's MobileNetV2, whose checkpoints need it; or, with ``contract``, all, the first
            one as the layers of the stage before, as in mmseg's ResNets with ``contract_dilation``. Defaults to
            'stage'.
        pretrained (str, optional): What a model with an argument ``pretrained`` passes on to its backbone. Another
            value than None is refused with what to write instead. Defaults to None.
        tapped_channels (Sequence[int], optional): Hidden channels of the layers that ``out_indices`` taps, one number
            for every ``'expandN'``; neck or head are built for them. Defaults to None: the seed's, 576 of
            ``'expand5'``.

    Raises:
        ValueError: If an argument is illegal; the message says what is legal.
        FileNotFoundError: If ``arch`` is the path of a file that does not exist.

    >>> import torch
    >>> net = FNAChildNet('fna_retinanet').eval()
    >>> [tuple(x.shape) for x in net(torch.zeros(1, 3, 64, 64))]
    [(1, 24, 16, 16), (1, 32, 8, 8), (1, 96, 4, 4), (1, 320, 2, 2)]
    """

    def __init__(self,
                 arch: Union[str, Mapping[str, Any], Architecture],
                 out_indices: Optional[Sequence[Union[int, str]]] = None,
                 output_stride: int = 32,
                 head_channels: Optional[int] = None,
                 widen_factor: float = 1.,
                 frozen_stages: int = -1,
                 norm_eval: bool = False,
                 with_cp: bool = False,
                 norm_cfg: Mapping[str, Any] = dict(type='BN'),
                 act_cfg: Union[Mapping[str, Any], str] = OWN_ACTIVATION,
                 init_cfg: Optional[Union[dict, list]] = None,
                 dilated: str = 'stage',
                 pretrained: Optional[str] = None,
                 tapped_channels: Optional[Sequence[int]] = None) -> None:
        check_pretrained(pretrained)
        architecture = Architecture.create(arch).widened(widen_factor)
        head_channels = widened_head_channels(head_channels, architecture.family, widen_factor)
        norm_cfg, act_cfg = checked_norm_cfg(norm_cfg), checked_act_cfg(act_cfg, architecture.family)
        stages = [build_stage(place, architecture.family, norm_cfg, act_cfg, with_cp, dilated)
                  for place in architecture.walk(output_stride)]
        super().__init__(architecture, stages, out_indices, head_channels, frozen_stages, norm_eval,
                         norm_cfg, act_cfg, init_cfg, tapped_channels)
        self.architecture = architecture
        self.output_stride = output_stride
        self.dilated = dilated
