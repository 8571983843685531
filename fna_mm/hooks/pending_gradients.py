"""Gradients between two updates of an optimizer that accumulates: what mm's checkpoints lack."""

from collections.abc import Mapping, Sequence

from mmengine.dist import all_gather_object, get_rank, get_world_size
from torch import Tensor

#: Name of a tensor that is trained → its gradient, in one process.
Gradients = Mapping[str, Tensor]


def gather_gradients(trained: Mapping[str, Tensor]) -> list[Gradients]:
    """The gradients that every process holds, by rank, on the CPU; empty right after an update.

    All processes call it.

    Args:
        trained (Mapping[str, Tensor]): Name → what is trained.
    """
    own = {name: tensor.grad.cpu() for name, tensor in trained.items() if tensor.grad is not None}
    parts = all_gather_object(own)
    return parts if any(parts) else []


def restore_gradients(trained: Mapping[str, Tensor], parts: Sequence[Gradients]) -> None:
    """Give tensors the gradients that a checkpoint holds.

    On another number of processes, each one gets the mean: the mean of all is what an update takes.

    Args:
        trained (Mapping[str, Tensor]): Name → what is trained.
        parts (Sequence[Mapping]): What :func:`gather_gradients` gave.
    """
    if not parts:
        return
    same = len(parts) == get_world_size()
    for name, tensor in trained.items():
        found = [part[name] for part in ([parts[get_rank()]] if same else parts) if name in part]
        if found:
            tensor.grad = (sum(found[1:], found[0]) / (1 if same else len(parts))).to(tensor)
