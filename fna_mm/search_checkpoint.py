"""The architecture that a checkpoint of a search holds, without building its model."""

from typing import Any

from mmengine.config import Config

from fna_mm.architecture import Architecture
from fna_mm.child_config import SUPERNET, find_sections
from fna_mm.remapping.initializer import load_checkpoint
from fna_mm.search_space import SearchSpace

_PARAMETERS = 'architecture_parameters'


def best_architecture(checkpoint: Any) -> Architecture:
    """The best path of a search's checkpoint.

    Args:
        checkpoint (dict): As mm's runner saves it, config included.

    Raises:
        ValueError: If it is not the checkpoint of a search.
    """
    state = checkpoint.get('state_dict', {}) if isinstance(checkpoint, dict) else {}
    parameters = [value for key, value in state.items() if key.rpartition('.')[2] == _PARAMETERS]
    text = checkpoint.get('meta', {}).get('cfg') if parameters else None
    sections = list(find_sections(Config.fromstring(text, '.py').model, SUPERNET)) if text else []
    if len(parameters) != 1 or len(sections) != 1:
        raise ValueError(f'no checkpoint of a search: it must hold one {_PARAMETERS} and a config with one {SUPERNET}, '
                         f'but has {len(parameters)} and {len(sections)}')
    names = ('layers_per_stage', 'kernel_sizes', 'expand_ratios')
    space = SearchSpace(**{name: sections[0][name] for name in names if name in sections[0]})
    alphas = parameters[0].split([len(layer.candidates) for layer in space.layers])
    return space.architecture([int(alpha.argmax()) for alpha in alphas])


def read_architecture(source: str) -> Architecture:
    """An architecture from a search's checkpoint (``*.pth``) or anything :meth:`Architecture.create` takes.

    Raises:
        ValueError: If there is none in it.
        FileNotFoundError: If there is no such file.
    """
    if not source.endswith(('.pth', '.pt')):
        return Architecture.create(source)
    try:
        return best_architecture(load_checkpoint(source))
    except ValueError as error:
        raise ValueError(f'{source}: {error}') from error
