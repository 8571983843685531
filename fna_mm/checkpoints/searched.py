"""Reading the architecture in a checkpoint without building its model."""

import ast
from typing import TYPE_CHECKING, Any

from fna_mm.architecture import Architecture
from fna_mm.configs import SUPERNET
from fna_mm.search_space import SPACE_ARGUMENTS, SearchSpace

if TYPE_CHECKING:  # reading an arch.json needs no PyTorch
    from torch import Tensor

#: Key of the architecture's text in the ``meta`` of checkpoints that this package's commands write.
ARCHITECTURE_META = 'arch'
PARAMETERS = 'architecture_parameters'
#: Key of the search's state in its checkpoints.
_SEARCH_STATE = 'alternating_optimizer'
#: Arguments of a supernet's section that decide its search space.
_SPACE = (*SPACE_ARGUMENTS, 'out_indices')


def _literal(name: str, node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        raise ValueError(f'{name} of the {SUPERNET} in its config is no list of numbers: {ast.unparse(node)}') from None


def _supernet_sections(text: str) -> list[dict[str, Any]]:
    """Find the arguments that decide the search space in every supernet's section of a config, given as text.

    The config in a checkpoint is Python code of the checkpoint's author: it is parsed, never run.
    """
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return []
    sections = []
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
            items = {word.arg: word.value for word in node.keywords if word.arg}
        elif isinstance(node, ast.Dict):
            items = {str(key.value): value for key, value in zip(node.keys, node.values)
                     if isinstance(key, ast.Constant)}
        else:
            continue
        kind = items.get('type')
        if isinstance(kind, ast.Constant) and str(kind.value).rpartition('.')[2] == SUPERNET:
            sections.append({name: _literal(name, items[name]) for name in _SPACE if name in items})
    return sections


def search_parameters(checkpoint: Any) -> 'tuple[SearchSpace, tuple[Tensor, ...]]':
    """Read the search space of a search's checkpoint, and the architecture parameters of every layer.

    Args:
        checkpoint (dict): A checkpoint of mm's runner, with the config in it.

    Raises:
        ValueError: If it is not the checkpoint of a search, or holds architecture parameters that are not finite.
    """
    state = checkpoint.get('state_dict', {}) if isinstance(checkpoint, dict) else {}
    parameters = [value for key, value in state.items() if key.rpartition('.')[2] == PARAMETERS]
    text = checkpoint.get('meta', {}).get('cfg') if parameters else None
    sections = _supernet_sections(text) if isinstance(text, str) else []
    if len(parameters) != 1 or len(sections) != 1:
        raise ValueError(f'no checkpoint of a search: it must hold one {PARAMETERS} and a config with one {SUPERNET}, '
                         f'but has {len(parameters)} and {len(sections)}')
    space = SearchSpace.of_supernet(sections[0])
    if tuple(parameters[0].shape) != (space.num_candidates, ):
        raise ValueError(f'the checkpoint has architecture parameters of shape {tuple(parameters[0].shape)}, but its '
                         f'config a search space with {space.num_candidates} candidates')
    alphas = parameters[0].split([len(layer.candidates) for layer in space.layers])
    for layer, alpha in zip(space.layers, alphas):
        if not bool(alpha.isfinite().all()):
            raise ValueError(f'the architecture parameters of {layer.name} hold a NaN or infinity: the search went '
                             'wrong, or the file is damaged; take an earlier checkpoint')
    return space, alphas


def best_path(checkpoint: Any) -> tuple[SearchSpace, list[int]]:
    """Read the search space, and the candidate of every layer on the best path, in a search's checkpoint.

    Args:
        checkpoint (dict): A checkpoint of mm's runner, with the config in it.

    Raises:
        ValueError: If it is not the checkpoint of a search.
    """
    space, alphas = search_parameters(checkpoint)
    path: Any = [int(alpha.argmax()) for alpha in alphas]
    cost = (checkpoint.get(_SEARCH_STATE) or {}).get('cost')
    if cost:  # the search had a budget
        from fna_mm.cost.best_path import most_probable_path  # imports PyTorch, which an arch.json does not need
        from fna_mm.cost.madds import CostTable
        table = CostTable(cost['fixed'], tuple(map(tuple, cost['layers'])))
        path = most_probable_path([alpha.double().log_softmax(0).tolist() for alpha in alphas], table,
                                  cost.get('limit', cost.get('gmadds'))) or path
    return space, path


def best_architecture(checkpoint: Any) -> Architecture:
    """Read the architecture of the best path in a search's checkpoint.

    Args:
        checkpoint (dict): As in :func:`best_path`.

    Raises:
        ValueError: If it is not the checkpoint of a search.
    """
    space, path = best_path(checkpoint)
    return space.architecture(path)


def read_architecture(source: str) -> Architecture:
    """Read an architecture from a checkpoint (``*.pth``) or anything that :meth:`Architecture.create` takes.

    The checkpoint is one of a search, or has the architecture's text in its ``meta``, as those of
    ``fna convert`` and ``fna remap`` have.

    Raises:
        ValueError: If there is no architecture in it.
        FileNotFoundError: If there is no such file.
    """
    if not source.endswith(('.pth', '.pt')):
        return Architecture.create(source)
    from fna_mm.checkpoints.opening import load_checkpoint  # imports PyTorch, which an arch.json does not need
    checkpoint = load_checkpoint(source)
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    text = meta.get(ARCHITECTURE_META) if isinstance(meta, dict) else None
    try:
        return Architecture.parse(text) if isinstance(text, str) else best_architecture(checkpoint)
    except ValueError as error:
        raise ValueError(f'{source}: {error}') from error
