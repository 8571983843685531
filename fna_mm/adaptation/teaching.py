"""What a child is held near while it is fine-tuned: outputs of the trained model's head, or maps of its backbone."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from fna_mm.adaptation.tap_widths import CHANNELS
from fna_mm.hooks.distillation import PREFIX
from fna_mm.hooks.output_distillation_hook import maps_by_kind, noted_outputs, shapes_of, teacher_outputs
from fna_mm.sections import without_weights

#: The trained model beside the folders of its children.
TEACHER = 'teacher.pth'
#: Weights of the losses of both hooks, for a ``distill`` of 1; that of outputs is a multiple of the model's own loss.
OF_OUTPUTS, OF_MAPS = 5., 1.
_CHECKPOINT = f'{{{{ fileDirname }}}}/../{TEACHER}'
#: The part of a detector whose forward pass gives its outputs, and the class of mm that it must be of.
_HEAD, _KIND = 'bbox_head', 'BaseDenseHead'


def outputs_of(model: Any, data: Mapping[str, Any]) -> str:
    """The part of a model whose outputs a child is held near to, where that is better than to hold the backbone's maps.

    It is with the dense heads of mmdet's detectors of one stage, and is not with the heads of mmseg
    (docs/results/adaptation_changes.md). The outputs must come from the backbone's maps alone: whether the model's loss
    computes them once, and as the head does by itself, is tried out.

    Args:
        model (nn.Module): The trained model, in evaluation mode.
        data (Mapping): Images and their labels, as the model's data preprocessor gives them.

    Returns:
        str: Path of the part; '' if there is none.
    """
    kinds = {base.__name__ for base in type(getattr(model, _HEAD, None)).__mro__}
    return _HEAD if _KIND in kinds and _loss_calls(model, _HEAD, data) else ''


def _loss_calls(model: Any, path: str, data: Mapping[str, Any]) -> bool:
    with torch.no_grad(), noted_outputs(model, path) as found:
        model(**data, mode='loss')
    if len(found) != 1:
        return False
    with torch.no_grad():
        own, wanted = maps_by_kind(found[0]), teacher_outputs(model, path, data['inputs'])
    return bool(own) and shapes_of(own) == shapes_of(wanted) and all(
        torch.allclose(one, other, rtol=1e-3, atol=1e-3) for ours, others in zip(own, wanted)
        for one, other in zip(ours, others))


def distillation_of(section: Mapping[str, Any], outputs: str, distill: float, narrower: bool) -> dict[str, Any]:
    """The section of the hook that holds a child near the trained model.

    Args:
        section (Mapping): Section of the trained model, with an ``FNAChildNet`` as its backbone.
        outputs (str): What :func:`outputs_of` gave.
        distill (float): Factor of the loss's weight.
        narrower (bool): Whether a file beside the child says which channels of the maps it has.
    """
    backbone = without_weights(section['backbone'])
    if outputs:
        return dict(type='OutputDistillationHook', teacher={**without_weights(section), 'backbone': backbone},
                    checkpoint=_CHECKPOINT, outputs=outputs, weight=OF_OUTPUTS * distill)
    hook = dict(type='FeatureDistillationHook', teacher=backbone, checkpoint=_CHECKPOINT, weight=OF_MAPS * distill)
    return dict(hook, channels=f'{{{{ fileDirname }}}}/{CHANNELS}') if narrower else hook


def teacher_state(model: nn.Module, outputs: str) -> dict[str, torch.Tensor]:
    """The weights of the teacher: of the whole model, or of its backbone.

    Args:
        model (nn.Module): The trained model.
        outputs (str): What :func:`outputs_of` gave.
    """
    return {key: value.cpu() for key, value in model.state_dict().items()
            if outputs or key.startswith(PREFIX)}
