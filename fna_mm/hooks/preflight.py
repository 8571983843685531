"""What would fail hours later, looked at before the first iteration."""

import math
import os
import shutil
from collections.abc import Iterator
from typing import Any

from mmengine.fileio import join_path, put_text, remove
from torch import nn

from fna_mm.cost.madds import CostTable
from fna_mm.datasets import RandomSplit

#: Copies of the weights in a checkpoint: themselves, and at most two moments of the optimizer.
_COPIES = 3
_PROBE = '.fna_mm_can_write'


def find_splits(dataset: Any) -> Iterator[RandomSplit]:
    """Every ``RandomSplit`` in a data set, through mm's wrappers.

    Args:
        dataset (Dataset): A data set, a wrapper of one, or of several.
    """
    if isinstance(dataset, RandomSplit):
        yield dataset
        return
    for inner in [getattr(dataset, 'dataset', None), *getattr(dataset, 'datasets', ())]:
        if inner is not None:
            yield from find_splits(inner)


def check_parts_are_disjoint(weights: Any, arch: Any) -> None:
    """Check that no sample trains both the weights and the architecture (paper, section 3.2).

    Only parts of one data set can be compared; what is no ``RandomSplit`` is the user's own choice.

    Args:
        weights (Dataset): The data set of the weight steps.
        arch (Dataset): The data set of the architecture steps.

    Raises:
        ValueError: If two parts of one data set overlap.
    """
    for one in find_splits(weights):
        for other in find_splits(arch):
            if one.whole != other.whole:
                continue
            shared = set(one.indices.tolist()) & set(other.indices.tolist())
            if shared:
                raise ValueError(
                    f'the data of the weights and of the architecture share {len(shared)} of {one.whole[-1]} samples: '
                    'both RandomSplits need the same ratio and seed, one part=\'weights\', the other part=\'arch\'; '
                    f'they are {one.described()} and {other.described()}')


def check_costs_are_finite(table: CostTable) -> None:
    """Check a table of GMAdds.

    Raises:
        ValueError: If an entry is no finite number.
    """
    entries = [table.fixed, *(cost for layer in table.layers for cost in layer)]
    if not all(math.isfinite(entry) for entry in entries):
        raise ValueError(f'the cost table holds {sum(not math.isfinite(entry) for entry in entries)} entries that are '
                         'no finite numbers')


def check_can_write(folder: str) -> None:
    """Write into a folder, on any mmengine file backend, and remove what was written.

    Args:
        folder (str): Where something is going to be written during the run.

    Raises:
        OSError: If that is not possible.
    """
    path = join_path(folder, _PROBE)
    try:
        put_text('', path)
        remove(path)
    except OSError as error:
        raise OSError(f'{folder!r} cannot be written to, which the run will want to do: {error}') from error


def check_space(model: nn.Module, folder: str) -> None:
    """Check that a checkpoint of the model fits on the disk of a local folder.

    Args:
        model (nn.Module): What will be saved, with up to two tensors of the optimizer for each weight.
        folder (str): Where to.

    Raises:
        OSError: If there is less space.
    """
    if not os.path.isdir(folder):  # on another file backend
        return
    tensors = [*model.parameters(), *model.buffers()]
    needed = _COPIES * sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(f'{free / 1e6:.0f} MB are free in {folder!r}, but a checkpoint may take {needed / 1e6:.0f} MB: '
                      'make space, or set another work_dir')
