"""A trained model whose backbone is measured: config and checkpoint → the model, with a child as its backbone."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import Tensor, nn

from fna_mm import families
from fna_mm.adaptation.chain import Chain
from fna_mm.architecture import Architecture
from fna_mm.backbones.fna_child_net import FNAChildNet
from fna_mm.checkpoints.whole_models import build_trained, some_of
from fna_mm.configs import CHILD, SUPERNET
from fna_mm.remapping.parameter_remapping import remap_parameters
from fna_mm.remapping.seed_checkpoint import read_seed
from fna_mm.sections import type_of, without_weights

#: Side of the random image on which a child is compared with the backbone that it replaces.
_TRIAL = 64


@dataclass
class TrainedModel:
    """A trained model with a child as its backbone, in evaluation mode.

    Args:
        config (Config): The model's config; its backbone section is that of the child.
        model (nn.Module): The model with the checkpoint's weights.
        checkpoint (str): Path of the checkpoint.
    """

    config: Config
    model: Any
    checkpoint: str

    @property
    def backbone(self) -> FNAChildNet:
        """The backbone of the model."""
        return self.model.backbone

    @property
    def architecture(self) -> Architecture:
        """The architecture of the backbone."""
        return self.backbone.architecture


def load_trained(config: str, checkpoint: str) -> TrainedModel:
    """Build a config's model, load its checkpoint, and put a child with the same function in its backbone's place.

    Args:
        config (str): Path of an mmdet or mmseg config whose backbone is mm's own of a family, such as MobileNetV2 or
            ResNet, or an ``FNAChildNet``.
        checkpoint (str): Path or URL of the trained model's checkpoint.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If the backbone is of another kind, or the checkpoint does not fit the config, holds a NaN, or is
            not that of a trained model.
    """
    cfg = Config.fromfile(config)
    section: Any = (cfg.get('model') or {}).get('backbone') or {}
    kind = type_of(section)
    if kind == SUPERNET:
        raise ValueError(f'{config} is the config of a search: adapt takes a trained model, such as the child of that '
                         'search')
    of_library = families.library_family(kind)
    if not of_library and kind != CHILD:
        raise ValueError(f'the backbone of {config} is {kind}: adapt works on {", ".join(families.library_names())} of '
                         f'mmdet and mmseg and on {CHILD}')
    model = build_trained(cfg, config, checkpoint)
    if of_library:
        section = child_section(section, model.backbone)
        model.backbone = _child_like(model.backbone, section)
    else:
        section = copy.deepcopy(section)
    section.pop('init_cfg', None)
    cfg.model.backbone = Config(dict(section))._cfg_dict
    cfg.model.pop('pretrained', None)
    _check_backbone(model.backbone, checkpoint)
    return TrainedModel(cfg, model, checkpoint)


def section_as_child(section: Mapping[str, Any]) -> dict[str, Any]:
    """The section of the child that a backbone is, without its weights.

    Args:
        section (Mapping): The section of an ``FNAChildNet`` or of mm's own backbone of a family.

    Raises:
        ValueError: If the backbone has strides or dilations that a child cannot have.
    """
    bare = without_weights(section)
    return bare if type_of(bare) == CHILD else child_section(bare, MODELS.build(copy.deepcopy(bare)))


def child_section(section: Mapping[str, Any], backbone: nn.Module) -> dict[str, Any]:
    """The config section of a child that takes the place of mm's own backbone.

    Args:
        section (Mapping): The section of mmdet's or mmseg's MobileNetV2 or ResNet.
        backbone (nn.Module): The backbone that was built from it.

    Raises:
        ValueError: If a child cannot be that backbone; the message names what it cannot have.
    """
    family = families.library_family(type(backbone).__name__)
    assert family is not None  # what else there is was refused
    values = family.child_arguments(section, backbone)
    strides, dilations = values.pop('strides'), values.pop('dilations')
    architecture = Architecture.create(values['arch'])
    if len(strides) < len(architecture.stages):  # mm's ResNets may end earlier
        architecture = replace(architecture, stages=architecture.stages[:len(strides)])
        values['arch'] = architecture.to_text().replace('\n', ' ')
    output_stride = families.family(architecture.family).stem_stride * math.prod(strides)
    legal = output_stride in (8, 16, 32) and output_stride <= architecture.total_stride
    wanted = architecture.strides_and_dilations(output_stride) if legal else ()
    if tuple(zip(strides, dilations)) != tuple(wanted):
        raise ValueError(f'the backbone has strides={strides} and dilations={dilations}, which is no output stride of '
                         f'{CHILD}: of output stride {output_stride} are (stride, dilation) = {tuple(wanted)}')
    return dict(type=CHILD, output_stride=output_stride, **values)


def _child_like(backbone: nn.Module, section: Mapping[str, Any]) -> FNAChildNet:
    """Build the child of a section with the weights of mm's backbone, and check that it computes the same."""
    child = MODELS.build(dict(section)).eval()
    weights, report = remap_parameters(read_seed(backbone.state_dict(), child.family), child.state_dict())
    if report.problems():
        raise ValueError(f'the backbone cannot become an {CHILD}: {some_of(report.problems())}')
    child.load_state_dict(weights)
    image = torch.randn(1, 3, _TRIAL, _TRIAL, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted, found = backbone(image), child(image)
    pairs = list(zip((wanted, ) if isinstance(wanted, Tensor) else wanted, found))
    if not all(one.shape == two.shape and torch.allclose(one, two, rtol=1e-3, atol=1e-3) for one, two in pairs):
        raise ValueError(f'an {CHILD} with the weights of the backbone does not compute what the backbone computes')
    return child


def _check_backbone(backbone: FNAChildNet, checkpoint: str) -> None:
    norms = [module for module in backbone.modules() if isinstance(module, _BatchNorm)]
    if norms and all(not norm.running_mean.any() and (norm.running_var == 1).all() for norm in norms):
        raise ValueError(f'checkpoint={checkpoint!r} was never trained: every running mean of the backbone is 0 and '
                         'every running variance 1')
    for link in Chain(backbone).links:
        norm = link.output.norm
        if not isinstance(norm, _BatchNorm) or not norm.affine or not norm.track_running_stats:
            raise ValueError(f'the backbone has {type(norm).__name__} behind its blocks: adapt needs BN or SyncBN '
                             'with scale, shift and running statistics')
