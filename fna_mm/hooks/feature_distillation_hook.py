"""A fine-tuning that holds the maps of a child near those of the network that it was cut from."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import torch
from mmengine.fileio import get_text
from mmengine.registry import HOOKS
from torch import Tensor, nn

from fna_mm.hooks.distillation import PREFIX, DistillationHook, error_of_kinds, is_trained


def relative_error(maps: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Mean over maps of the mean squared difference, as a share of the wanted map's variance; a scalar.

    Args:
        maps (Sequence[Tensor]): Maps of one network, each (N, C, H, W).
        wanted (Sequence[Tensor]): Maps of the other one, of the same shapes.
    """
    return error_of_kinds([[one] for one in maps], [[one] for one in wanted])


@HOOKS.register_module(force=True)
class FeatureDistillationHook(DistillationHook):
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
        super().__init__(teacher, checkpoint, weight)
        self.channels = channels
        #: Of every map, the largest channel and all channels; None for all.
        self._kept: list[Optional[tuple[int, Tensor]]] = []

    def weights_of_teacher(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of the backbone, if the checkpoint is a model's."""
        if any(key.startswith(PREFIX) for key in weights):
            return {key.removeprefix(PREFIX): value for key, value in weights.items() if key.startswith(PREFIX)}
        return weights

    def listen(self, model: nn.Module, device: torch.device) -> list[Any]:
        """Listen to the backbone."""
        self._kept = [] if self.channels is None else self._read_channels(self.channels, device)
        return [model.get_submodule('backbone').register_forward_hook(self._compare)]

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

    def _compare(self, backbone: nn.Module, inputs: tuple[Tensor, ...], outputs: Any) -> None:
        if not is_trained(backbone):
            return
        with torch.no_grad():
            wanted = self._selected(_as_maps(self._net(*inputs)))
        maps = _as_maps(outputs)
        shapes, expected = ([tuple(one.shape) for one in some] for some in (maps, wanted))
        if shapes != expected:
            raise ValueError(f'the backbone gives maps of {shapes}, the teacher of FeatureDistillationHook of '
                             f'{expected}: they must have the same shapes')
        self._loss = relative_error(maps, wanted)


def _as_maps(outputs: Any) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)
