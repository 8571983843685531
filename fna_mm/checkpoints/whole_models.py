"""The weights of a whole model, detector or segmentor, from the checkpoint of its training."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

from fna_mm.checkpoints.opening import load_checkpoint

_SHOWN = 3


def read_weights(checkpoint: str) -> dict[str, Tensor]:
    """The tensors of a model's checkpoint. Behind an EMA hook they are the averaged ones, which mm evaluates with.

    Args:
        checkpoint (str): As in :func:`load_checkpoint`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no weights, a NaN or infinity, or is no readable checkpoint.
    """
    loaded = load_checkpoint(checkpoint)
    # With an EMA hook, mmengine writes the averaged weights under this key.
    state = loaded.get('state_dict', loaded) if isinstance(loaded, Mapping) else {}
    tensors = {str(key).removeprefix('module.'): value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(f'checkpoint={checkpoint!r} holds no weights: expected the checkpoint of a training')
    check_finite(tensors, f'checkpoint={checkpoint!r}')
    return tensors


def check_finite(tensors: Mapping[str, Any], name: str) -> None:
    """Check that no tensor holds a NaN or infinity.

    Args:
        tensors (Mapping[str, Any]): Name → tensor; what is no tensor is not looked at.
        name (str): Name of the checkpoint, for the message.

    Raises:
        ValueError: If one does.
    """
    if broken := not_finite(tensors):
        raise ValueError(f'{name} holds a NaN or infinity in {some_of(broken)}: the training went wrong, or the file '
                         'is damaged')


def not_finite(tensors: Mapping[str, Any]) -> list[str]:
    """The names of the tensors that hold a NaN or infinity.

    Args:
        tensors (Mapping[str, Any]): Name → tensor; what is no tensor is not looked at.
    """
    return [key for key, value in tensors.items()
            if isinstance(value, Tensor) and value.is_floating_point() and not value.isfinite().all()]


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], config: str, checkpoint: str) -> None:
    """Load the weights of a whole model.

    Args:
        model (nn.Module): The model.
        weights (Mapping[str, Tensor]): What :func:`read_weights` gave.
        config (str): Name of the model's config, for the message.
        checkpoint (str): Name of the checkpoint, for the message.

    Raises:
        ValueError: If the model has other tensors, or tensors of other shapes.
    """
    own = model.state_dict()
    missing = [key for key in own if key not in weights and not key.endswith('num_batches_tracked')]
    unknown = [key for key in weights if key not in own]
    shapes = [f'{key} {tuple(weights[key].shape)} instead of {tuple(own[key].shape)}' for key in own
              if key in weights and weights[key].shape != own[key].shape]
    for keys, what in ((shapes, 'has other shapes'), (missing, 'lacks'), (unknown, 'has besides')):
        if keys:
            raise ValueError(f'checkpoint={checkpoint!r} does not fit {config}: it {what}: {some_of(keys)}')
    model.load_state_dict(dict(weights), strict=False)


def some_of(names: Sequence[str]) -> str:
    """The first names, and how many more there are.

    Args:
        names (Sequence[str]): The names.
    """
    more = f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''
    return ', '.join(names[:_SHOWN]) + more


def build_trained(cfg: Any, config: str, checkpoint: str) -> Any:
    """Build the model of a config with the weights of a checkpoint, in evaluation mode.

    Args:
        cfg (Config): The config.
        config (str): Its name, for messages.
        checkpoint (str): As in :func:`load_checkpoint`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the config has no model, or the checkpoint does not fit it.
    """
    if not cfg.get('model'):
        raise ValueError(f'{config} has no model')
    weights = read_weights(checkpoint)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    model = MODELS.build(copy.deepcopy(cfg.model))  # mmdet's detectors change their config
    load_weights(model, weights, config, checkpoint)
    return model.eval()
