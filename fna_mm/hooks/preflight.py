"""Checks before the first iteration, of errors that would appear hours later."""

import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.fileio import join_path, put_text, remove
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fna_mm.backbones import FNADistributedDataParallel
from fna_mm.cost.madds import CostTable
from fna_mm.datasets import RandomSplit

#: Largest size of a checkpoint in sizes of the weights: the weights and two moments of the optimizer.
_COPIES = 3
_PROBE = '.fna_mm_can_write'


def find_splits(dataset: Any) -> Iterator[RandomSplit]:
    """Find every ``RandomSplit`` in a data set, also inside mm's wrappers.

    Args:
        dataset (Dataset): A data set, or a wrapper of one or several data sets.
    """
    if isinstance(dataset, RandomSplit):
        yield dataset
        return
    for inner in [getattr(dataset, 'dataset', None), *getattr(dataset, 'datasets', ())]:
        if inner is not None:
            yield from find_splits(inner)


def check_parts_are_disjoint(weights: Any, arch: Any) -> None:
    """Check that no sample trains both the weights and the architecture (paper, section 3.2).

    Parts of the same data set are compared by their indices, others by the images that they name. Data sets that are
    no ``RandomSplit`` are not checked.

    Args:
        weights (Dataset): The data set of the weight steps.
        arch (Dataset): The data set of the architecture steps.

    Raises:
        ValueError: If two parts overlap, or are parts of the same data that was read in two ways.
    """
    for one in find_splits(weights):
        for other in find_splits(arch):
            same = one.source == other.source
            if same and one.read_as != other.read_as and one.has_source:
                raise ValueError(
                    'the data of the weights and of the architecture are read from the same files in two ways, so that '
                    f'their parts are not those of one whole: {one.read_as} and {other.read_as}; give both '
                    'RandomSplits the same data set')
            shared: set[Any] = (
                set(one.indices.tolist()) & set(other.indices.tolist()) if same and one.read_as == other.read_as else
                one.images() & other.images())
            if shared:
                raise ValueError(
                    f'the data of the weights and of the architecture share {len(shared)} of {one.read_as["samples"]} '
                    "samples: both RandomSplits need the same ratio and seed, one part='weights', the other "
                    f"part='arch'; they are {one.described()} and {other.described()}")


def check_training_mode(model: nn.Module, cfg: Mapping[str, Any]) -> None:
    """Check that wrapper and config allow another path in every step.

    Args:
        model (nn.Module): The runner's model, in its wrapper if it has one.
        cfg (Mapping): The runner's config.

    Raises:
        ValueError: If DDP would wait for the gradients of all candidates, or if mm would compile the model.
    """
    if cfg.get('compile'):
        raise ValueError(f'compile={cfg["compile"]!r} in a search: every step runs another path, and each path would '
                         'be compiled anew; remove it from this config, and set it in the config of the child')
    if (isinstance(model, DistributedDataParallel) and not isinstance(model, FNADistributedDataParallel)
            and not model.find_unused_parameters):
        raise ValueError(f'{type(model).__name__} waits for the gradients of all candidates, of which a step uses '
                         "one a layer: set model_wrapper_cfg=dict(type='FNADistributedDataParallel')")


def check_statistics(dataloader: Any, model: Any, supernet: Any) -> None:
    """Check that BN sees more than one number of each channel in the smallest batch, which PyTorch asks for.

    Args:
        dataloader (DataLoader): The data of one kind of step. Its first sample is read if a batch may be of one image.
        model (nn.Module): The model, unwrapped.
        supernet (FNASuperNet): Its supernet.

    Raises:
        ValueError: If it would see a single one.
    """
    size, length = dataloader.batch_size, len(dataloader.dataset)
    single = size == 1 or (length % (size or 1) == 1 and not dataloader.drop_last)
    norms = [module for module in supernet.modules() if isinstance(module, _BatchNorm)]
    if not single or not norms or (get_world_size() > 1 and all('Sync' in type(norm).__name__ for norm in norms)):
        return
    data: Any = model.data_preprocessor(dataloader.collate_fn([dataloader.dataset[0]]), True)
    inputs = data.get('inputs') if isinstance(data, Mapping) else data[0]
    if not isinstance(inputs, torch.Tensor) or inputs.ndim != 4:
        return
    image = (int(inputs.shape[-2]), int(inputs.shape[-1]))
    if supernet.search_space.seed.walk(supernet.output_stride, image)[-1].output_size == (1, 1):
        raise ValueError(f'a batch of one image of {image[0]}x{image[1]} (batch_size={size}, {length} images) has a '
                         'last map of a single pixel, of which BN has no statistics: use larger batches with '
                         "drop_last=True, larger images, or norm_cfg and candidate_norm_cfg of type 'GN'")


def check_memory(trial: Callable[[], None], supernet: nn.Module, batch_size: int) -> None:
    """Try an architecture step, which needs far more memory than a weight step, and free its memory.

    Args:
        trial (Callable): Function that makes the step and changes nothing.
        supernet (nn.Module): The supernet of the step.
        batch_size (int): Number of images in the step.

    Raises:
        RuntimeError: If the device has too little memory; the message says which setting to change first.
    """
    try:
        trial()
        fits = True
    except torch.cuda.OutOfMemoryError:
        fits = False
    torch.cuda.empty_cache()
    if not fits:  # raised outside of except, because the traceback there keeps the tensors of the step
        recomputes = any(getattr(module, 'with_cp', False) for module in supernet.modules())
        first = (f"lower batch_size of AlternatingOptimizerHook's dataloader (now {batch_size}), or the size of its "
                 'images' if recomputes else 'set with_cp=True in model.backbone, which recomputes the candidates in '
                 "the backward pass; after that, lower batch_size of AlternatingOptimizerHook's dataloader (now "
                 f'{batch_size})')
        raise RuntimeError(f'an architecture step does not fit into the memory of the device: {first}')


def check_costs_are_finite(table: CostTable) -> None:
    """Check that all costs in a table are finite.

    Raises:
        ValueError: If an entry is no finite number.
    """
    entries = [table.fixed, *(cost for layer in table.layers for cost in layer)]
    if not all(math.isfinite(entry) for entry in entries):
        raise ValueError(f'the cost table holds {sum(not math.isfinite(entry) for entry in entries)} entries that are '
                         'no finite numbers')


def check_can_write(folder: str) -> None:
    """Check that a folder, on any mmengine file backend, can be written to, by writing and removing a file.

    Args:
        folder (str): Folder that the run will write to.

    Raises:
        OSError: If the folder cannot be written to.
    """
    path = join_path(folder, _PROBE)
    try:
        put_text('', path)
        remove(path)
    except OSError as error:
        raise OSError(f'{folder!r} cannot be written to, but the run needs to write there: {error}') from error


def check_space(model: nn.Module, folder: str) -> None:
    """Check that a checkpoint of the model fits on the disk of a local folder.

    Args:
        model (nn.Module): Model that will be saved, with up to two tensors of the optimizer for each weight.
        folder (str): Folder of the checkpoints.

    Raises:
        OSError: If the disk has too little free space.
    """
    if not os.path.isdir(folder):  # the folder is on another file backend
        return
    tensors = [*model.parameters(), *model.buffers()]
    needed = _COPIES * sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(f'{free / 1e6:.0f} MB are free in {folder!r}, but a checkpoint may take {needed / 1e6:.0f} MB: '
                      'make space, or set another work_dir')
