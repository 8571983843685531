"""A fine-tuning that holds the outputs of a child's head near those of the network that it was cut from."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.registry import HOOKS
from torch import Tensor, nn

from fna_mm.hooks.distillation import DistillationHook, error_of_kinds, is_trained


def maps_by_kind(outputs: Any) -> list[list[Tensor]]:
    """The maps of a head's outputs: one list for every kind of output, such as classes and boxes, with all levels.

    Args:
        outputs (Tensor | Sequence): A map (N, C, H, W), or a sequence of maps, or of lists of these, one for each level
            of a pyramid. What is no tensor is left out.
    """
    if isinstance(outputs, Tensor):
        return [[outputs]]
    kinds = [[one] if isinstance(one, Tensor) else [level for level in one if isinstance(level, Tensor)]
             for one in outputs if isinstance(one, (Tensor, list, tuple))]
    return [kind for kind in kinds if kind]


@contextmanager
def noted_outputs(model: Any, path: str) -> Iterator[list[Any]]:
    """Note what each call of a part of a model gives while the context lasts.

    Args:
        model (nn.Module): The model.
        path (str): Path of the part.
    """
    found: list[Any] = []
    handle = model.get_submodule(path).register_forward_hook(lambda module, inputs, outputs: found.append(outputs))
    try:
        yield found
    finally:
        handle.remove()


def teacher_outputs(model: Any, path: str, images: Tensor) -> list[list[Tensor]]:
    """The outputs of a part of a head on images, as :func:`maps_by_kind` orders them.

    Args:
        model (nn.Module): The model.
        path (str): Path of the part, such as ``'bbox_head'`` or ``'decode_head.conv_seg'``.
        images (Tensor): Images as the backbone takes them, (N, 3, H, W).
    """
    with noted_outputs(model, path) as found:
        model.get_submodule(path.partition('.')[0])(model.extract_feat(images))
    return maps_by_kind(found[-1])


def shapes_of(outputs: list[list[Tensor]]) -> list[list[tuple[int, ...]]]:
    """The shapes of outputs.

    Args:
        outputs (list[list[Tensor]]): What :func:`maps_by_kind` gave.
    """
    return [[tuple(one.shape) for one in kind] for kind in outputs]


@HOOKS.register_module(force=True)
class OutputDistillationHook(DistillationHook):
    """Add to the model's losses by how much the outputs of its head differ from those of a trained model.

    The loss is :func:`error_of_kinds` of what the part ``outputs`` of the head gives: the logits of all classes and the
    regressed boxes, before any activation (regression on logits, Ba and Caruana, NeurIPS 2014). It counts ``weight``
    times the sum of the model's own losses, whose size differs a lot between heads. A child whose backbone, neck and
    head have other channels than the teacher's has the same outputs nevertheless. ``fna adapt`` writes this hook into
    the config of a detector with a dense head.

    Args:
        teacher (dict): Config section of the whole trained model.
        checkpoint (str): Path of its weights.
        outputs (str): Path of the part of the model that is compared: ``'bbox_head'`` for a dense head of mmdet,
            ``'decode_head.conv_seg'`` for a head of mmseg.
        weight (float): Weight of the loss, as a multiple of the model's own. Defaults to 5.

    Raises:
        ValueError: If the weight is no positive number; before training, if the checkpoint does not fit the teacher,
            or model or teacher have no such part; in the first iteration, if the part's outputs have other shapes
            than the teacher's, or its loss does not call it.
        FileNotFoundError: Before training, if there is no such checkpoint.
        TypeError: Before training, if the model has no backbone.
    """

    def __init__(self, teacher: Mapping[str, Any], checkpoint: str, outputs: str, weight: float = 5.) -> None:
        super().__init__(teacher, checkpoint, weight)
        self.outputs = outputs
        self._images: Any = None

    def listen(self, model: nn.Module, device: torch.device) -> list[Any]:
        """Listen to the backbone, for its images, and to the part of the head."""
        for net, name in ((model, 'the model'), (self._net, 'its teacher')):
            if self.outputs not in dict(net.named_modules()) or not self.outputs:
                raise ValueError(f"{self.name}: {name} has no outputs={self.outputs!r}: give the path of a module, "
                                 "such as 'bbox_head' or 'decode_head.conv_seg'")
        backbone, part = model.get_submodule('backbone'), model.get_submodule(self.outputs)
        return [backbone.register_forward_hook(self._remember), part.register_forward_hook(self._compare),
                model.register_forward_hook(self._check, with_kwargs=True)]

    def _remember(self, backbone: nn.Module, inputs: tuple[Tensor, ...], outputs: Any) -> None:
        self._images = inputs[0] if is_trained(backbone) else None

    def _compare(self, part: nn.Module, inputs: Any, outputs: Any) -> None:
        if self._images is None:
            return
        images, self._images = self._images, None
        with torch.no_grad():
            wanted = teacher_outputs(self._net, self.outputs, images)
        own = maps_by_kind(outputs)
        shapes, expected = shapes_of(own), shapes_of(wanted)
        if shapes != expected:
            raise ValueError(f'{self.outputs} gives outputs of {shapes}, that of the teacher of {self.name} of '
                             f'{expected}: they must have the same shapes')
        self._loss = error_of_kinds(own, wanted)

    def weighted(self, loss: Tensor, model: Any, losses: Mapping[str, Any]) -> Tensor:
        """The error has no unit: it counts in proportion to what the model's own losses are."""
        return self.weight * loss * model.parse_losses(losses)[0].detach()

    def _check(self, model: nn.Module, inputs: Any, options: Mapping[str, Any], outputs: Any) -> None:
        """That the loss of this hook is missing may not stay unseen."""
        images, self._images = self._images, None
        if images is not None and options.get('mode') == 'loss':
            raise ValueError(f"{self.name}: the model's loss does not call outputs={self.outputs!r}: give the path of "
                             'the module whose forward pass gives the outputs')
