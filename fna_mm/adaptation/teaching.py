"""What a child is held near while it is fine-tuned: the outputs of the trained model's head, or its backbone's maps."""

import copy
from collections.abc import Mapping
from typing import Any, Optional

import torch
from torch import nn

from fna_mm.hooks.output_distillation_hook import maps_by_kind, teacher_outputs
from fna_mm.sections import without_weights

#: The trained model beside the folders of its children.
TEACHER = 'teacher.pth'
#: Weights of the losses of both hooks, for a ``distill`` of 1.
OF_OUTPUTS, OF_MAPS = 10., 1.
_CHECKPOINT = f'{{{{ fileDirname }}}}/../{TEACHER}'
#: Parts of models whose forward pass gives a head's outputs, and the class of mm that such a head is of.
_PARTS = (('bbox_head', 'BaseDenseHead'), ('decode_head.conv_seg', 'BaseDecodeHead'))


def outputs_of(model: Any, data: Mapping[str, Any]) -> str:
    """The part of a model whose outputs a child's can be compared with: it reads nothing but the backbone's maps.

    Known are the dense heads of mmdet's detectors of one stage and the heads of mmseg. It is tried out whether the
    model's loss computes the outputs, once and from the image alone.

    Args:
        model (nn.Module): The trained model, in evaluation mode.
        data (Mapping): Images and their labels, as the model's data preprocessor gives them.

    Returns:
        str: Path of the part; '' if there is none.
    """
    for path, kind in _PARTS:
        head = getattr(model, path.partition('.')[0], None)
        if kind in {base.__name__ for base in type(head).__mro__} and path in dict(model.named_modules()):
            return path if _loss_calls(model, path, data) else ''
    return ''


def _loss_calls(model: Any, path: str, data: Mapping[str, Any]) -> bool:
    found: list[Any] = []
    handle = model.get_submodule(path).register_forward_hook(lambda module, inputs, outputs: found.append(outputs))
    try:
        with torch.no_grad():
            model(**data, mode='loss')
    finally:
        handle.remove()
    if len(found) != 1:
        return False
    with torch.no_grad():
        own, wanted = maps_by_kind(found[0]), teacher_outputs(model, path, data['inputs'])
    return bool(own) and [[one.shape for one in kind] for kind in own] == [
        [one.shape for one in kind] for kind in wanted] and all(
            torch.allclose(one, other, rtol=1e-3, atol=1e-3) for ours, others in zip(own, wanted)
            for one, other in zip(ours, others))


def distillation_of(section: Mapping[str, Any], outputs: str, distill: float, channels: Optional[str] = None
                    ) -> dict[str, Any]:
    """The section of the hook that holds a child near the trained model.

    Args:
        section (Mapping): Section of the trained model, with an ``FNAChildNet`` as its backbone.
        outputs (str): What :func:`outputs_of` gave.
        distill (float): Factor of the loss's weight.
        channels (str, optional): Path of the file that says which channels of the maps the child has; it is not needed
            for outputs. Defaults to None: all.
    """
    backbone = without_weights(section['backbone'])
    if not outputs:
        return dict(type='FeatureDistillationHook', teacher=backbone, checkpoint=_CHECKPOINT,
                    weight=OF_MAPS * distill, **({} if channels is None else dict(channels=channels)))
    whole = {**without_weights(section), 'backbone': backbone}
    return dict(type='OutputDistillationHook', teacher=copy.deepcopy(whole), checkpoint=_CHECKPOINT, outputs=outputs,
                weight=OF_OUTPUTS * distill)


def teacher_state(model: nn.Module, outputs: str) -> dict[str, torch.Tensor]:
    """The weights of the teacher: of the whole model, or of its backbone.

    Args:
        model (nn.Module): The trained model.
        outputs (str): What :func:`outputs_of` gave.
    """
    return {key: value.cpu() for key, value in model.state_dict().items()
            if outputs or key.startswith('backbone.')}
