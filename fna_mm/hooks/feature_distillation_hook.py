"""A fine-tuning that holds the maps of a child near those of the network that it was cut from."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import torch
from mmengine.fileio import get_text
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS, MODELS
from torch import Tensor, nn

from fna_mm.checkpoints.whole_models import load_weights, read_weights
from fna_mm.checks import check_number

#: Name of the loss in the log.
LOSS = 'loss_distillation'
_PREFIX = 'backbone.'


def relative_error(maps: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Mean over maps of the mean squared difference, as a share of the wanted map's variance; a scalar.

    Args:
        maps (Sequence[Tensor]): Maps of one network, each (N, C, H, W).
        wanted (Sequence[Tensor]): Maps of the other one, of the same shapes.
    """
    errors = []
    for one, other in zip(maps, wanted):
        one, other = one.float(), other.float()
        variance = other.var(dim=(0, 2, 3), unbiased=False).mean()
        errors.append((one - other).square().mean() / variance.clamp(min=torch.finfo(torch.float32).tiny))
    return torch.stack(errors).mean()


@HOOKS.register_module(force=True)
class FeatureDistillationHook(Hook):
    """Add to the model's losses by how much the maps of its backbone differ from those of a trained one.

    The loss is ``weight`` times :func:`relative_error` of all maps that the backbone gives (FitNets, ICLR 2015, with a
    teacher of the same width). The teacher sees the same images, is not trained, and is no part of the model: not of
    its checkpoints either. ``fna adapt`` writes this hook into the config of a child, whose maps have the
    shapes of those of the trained model's backbone.

    Args:
        teacher (dict): Config section of the trained backbone.
        checkpoint (str): Path of its weights, or of a model's whose ``backbone`` it is.
        weight (float): Weight of the loss. Defaults to 1.
        channels (str, optional): Path of a JSON file with one list for every map: the channels of the teacher's map
            that are those of the child's, or null for all of them. Defaults to None: all of every map.

    Raises:
        ValueError: If the weight is no positive number; before training, if the checkpoint does not fit the teacher,
            or the file of channels is none; in the first iteration, if the maps have other shapes than the teacher's,
            or the file has lists for other maps or names other channels.
        FileNotFoundError: Before training, if there is no such checkpoint or file.
        TypeError: Before training, if the model has no backbone.
    """

    def __init__(self, teacher: Mapping[str, Any], checkpoint: str, weight: float = 1.,
                 channels: Optional[str] = None) -> None:
        self.teacher, self.checkpoint, self.channels = dict(teacher), checkpoint, channels
        #: Of every map, the largest channel and all channels; None for all.
        self._kept: list[Optional[tuple[int, Tensor]]] = []
        self.weight = check_number('weight of FeatureDistillationHook', weight, above=0)
        self._handles: list[Any] = []
        self._loss: Any = None

    def before_train(self, runner: Any) -> None:
        """Build the teacher, and listen to the model."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        backbone = getattr(model, 'backbone', None)
        if not isinstance(backbone, nn.Module):
            raise TypeError(f'FeatureDistillationHook needs a model with a backbone, not {type(model).__name__}')
        try:
            weights = read_weights(self.checkpoint)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'FeatureDistillationHook: checkpoint={self.checkpoint!r} of the teacher does not exist: give its '
                'path, or leave the hook out of custom_hooks') from error
        if any(key.startswith(_PREFIX) for key in weights):
            weights = {key.removeprefix(_PREFIX): value for key, value in weights.items() if key.startswith(_PREFIX)}
        teacher = MODELS.build(dict(self.teacher))
        load_weights(teacher, weights, 'the teacher of FeatureDistillationHook', self.checkpoint)
        device = next(model.parameters()).device
        self._kept = [] if self.channels is None else self._read_channels(self.channels, device)
        self._net = teacher.to(device).eval().requires_grad_(False)
        # Forward hooks also run below the wrapper for several processes, whose forward pass calls the model's.
        self._handles = [backbone.register_forward_hook(self._compare),
                         model.register_forward_hook(self._add, with_kwargs=True)]

    @staticmethod
    def _read_channels(path: str, device: torch.device) -> list[Optional[tuple[int, Tensor]]]:
        wanted = 'it must be a list with null, or a list of channels, for every map of the backbone'
        try:
            values = json.loads(get_text(path))
        except FileNotFoundError as error:
            raise FileNotFoundError(f'FeatureDistillationHook: channels={path!r} does not exist: {wanted}') from error
        except ValueError as error:
            raise ValueError(f'FeatureDistillationHook: channels={path!r} is no JSON: {wanted}') from error
        if not isinstance(values, list) or not all(row is None or isinstance(row, list) and row and all(
                isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in row) for row in values):
            raise ValueError(f'FeatureDistillationHook: channels={path!r}: {wanted}')
        return [None if row is None else (max(row), torch.tensor(row, device=device)) for row in values]

    def _selected(self, maps: list[Tensor]) -> list[Tensor]:
        """The channels of the teacher's maps that the child has."""
        if not self._kept:
            return maps
        if len(self._kept) != len(maps):
            raise ValueError(f'FeatureDistillationHook: channels={self.channels!r} has {len(self._kept)} lists, the '
                             f'backbone {len(maps)} maps')
        for map, kept in zip(maps, self._kept):
            if kept and kept[0] >= map.shape[1]:
                raise ValueError(f'FeatureDistillationHook: channels={self.channels!r} names channel {kept[0]} '
                                 f'of a map that has {map.shape[1]}')
        return [map[:, kept[1]] if kept else map for map, kept in zip(maps, self._kept)]

    def after_train(self, runner: Any) -> None:
        """Let go of model and teacher."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._loss, self._net = [], None, None

    def _compare(self, backbone: nn.Module, inputs: tuple[Tensor, ...], outputs: Any) -> None:
        if not backbone.training or not torch.is_grad_enabled():
            return
        with torch.no_grad():
            wanted = self._selected(_as_maps(self._net(*inputs)))
        maps = _as_maps(outputs)
        shapes, expected = ([tuple(one.shape) for one in some] for some in (maps, wanted))
        if shapes != expected:
            raise ValueError(f'the backbone gives maps of {shapes}, the teacher of FeatureDistillationHook of '
                             f'{expected}: they must have the same shapes')
        self._loss = self.weight * relative_error(maps, wanted)

    def _add(self, model: nn.Module, inputs: tuple[Any, ...], options: Mapping[str, Any], losses: Any) -> Any:
        loss, self._loss = self._loss, None
        if loss is None or options.get('mode') != 'loss':
            return losses
        return {**losses, LOSS: loss}


def _as_maps(outputs: Any) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)
