"""The child of a search with the weights that the search gave it: one path out of the supernet's checkpoint."""

import re
from typing import Any

import torch
from torch import Tensor

from fna_mm.architecture import Architecture
from fna_mm.checkpoints.opening import load_checkpoint
from fna_mm.checkpoints.searched import ARCHITECTURE_META, PARAMETERS, best_path
from fna_mm.checkpoints.whole_files import check_outputs, checkpoint_bytes, write_whole
from fna_mm.checkpoints.whole_models import check_finite
from fna_mm.search_space import candidate_name

#: A tensor of a candidate: what is before its stage, stage, layer, candidate, the tensor within the block.
_CANDIDATE = re.compile(r'(.*\blayer)(\d+)\.(\d+)\.candidates\.([^.]+)\.(.+)')
#: A tensor of the normalisation behind the stem.
_STEM_NORM = re.compile(r'(?P<backbone>.*)\bconv1\.(?P<norm>(?!conv\b)\w+)\.(?P<tensor>\w+)')


def child_weights(checkpoint: Any) -> tuple[Architecture, dict[str, Tensor]]:
    """The best path of a search, and its weights with those of all that is not searched, under a child's names.

    Candidates whose normalisation has no scale, shift or running statistics get those of a fresh one: measure the
    statistics before the child is used (``BNCalibrationHook``).

    Args:
        checkpoint (dict): A checkpoint of mm's runner, with the config in it.

    Raises:
        ValueError: If it is not the checkpoint of a search, or lacks weights of the path.
    """
    space, path = best_path(checkpoint)
    chosen, position = {}, dict.fromkeys(space.searched_stages, 0)
    for searched, index in zip(space.layers, path):
        spec = searched.candidates[index]
        if spec is not None:
            chosen[searched.stage, searched.index] = candidate_name(spec), position[searched.stage]
            position[searched.stage] += 1
    weights: dict[str, Tensor] = {}
    found = set()
    for key, value in checkpoint['state_dict'].items():
        match = _CANDIDATE.fullmatch(key)
        if match is None:
            if not key.endswith(PARAMETERS):
                weights[key] = value
            continue
        before, stage, layer, name, rest = match.groups()
        place = int(stage) - 1, int(layer)
        if place in chosen and chosen[place][0] == name:
            found.add(place)
            weights[f'{before}{stage}.{chosen[place][1]}.{rest}'] = value
    if lacking := sorted(set(chosen) - found):
        lost, index = lacking[0]
        raise ValueError(f'the checkpoint lacks the weights of layer{lost + 1}.{index} for the candidate '
                         f'{chosen[lacking[0]][0]}: it is not whole')
    return space.architecture(path), _with_norms(weights)


def _with_norms(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add what a fresh normalisation like the stem's has, where candidates have none: scale, shift, statistics."""
    stems = [match for key in weights if (match := _STEM_NORM.fullmatch(key))]
    if not stems:
        return weights
    norm, backbone = stems[0]['norm'], stems[0]['backbone']
    names = [match['tensor'] for match in stems if match['norm'] == norm]
    result: dict[str, Tensor] = {}
    for key, value in weights.items():
        result[key] = value
        if key.startswith(f'{backbone}layer') and key.endswith('.conv.weight'):
            for name in names:
                fresh = f'{key.removesuffix("conv.weight")}{norm}.{name}'
                if fresh not in weights:
                    result[fresh] = (torch.zeros((), dtype=torch.long) if name == 'num_batches_tracked' else
                                     value.new_ones(len(value)) if name in ('weight', 'running_var') else
                                     value.new_zeros(len(value)))
    return result


def write_search_child(search: str, out: str) -> str:
    """Write the checkpoint of a search's child, a whole model, for ``load_from``.

    Args:
        search (str): Path of a checkpoint of the search.
        out (str): Path of the new checkpoint.

    Returns:
        str: The child's architecture.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not the checkpoint of a search, holds a NaN or infinity, or would be overwritten.
        OSError: If the file cannot be written.
    """
    check_outputs([out], [search])
    checkpoint = load_checkpoint(search)
    try:
        architecture, weights = child_weights(checkpoint)
    except ValueError as error:
        raise ValueError(f'{search}: {error}') from error
    check_finite(weights, search)
    meta: dict[str, Any] = {ARCHITECTURE_META: architecture.to_text().replace('\n', ' '), 'made_by': 'fna child'}
    if isinstance(known := checkpoint.get('meta'), dict) and 'dataset_meta' in known:
        meta['dataset_meta'] = known['dataset_meta']
    write_whole({out: checkpoint_bytes(dict(meta=meta, state_dict=weights))})
    return str(architecture)
