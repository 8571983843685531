"""The most memory that tensors take at one moment."""

import weakref
from collections.abc import Callable, Sequence
from typing import Any, Optional, Union

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


class LiveBytes(TorchDispatchMode):
    """Within: counts the bytes of tensors that operators make, from their making until they are freed.

    Backward passes and what autograd keeps are seen; what an operator allocates and frees inside
    itself is not, nor is anything that existed before.

    >>> with LiveBytes() as memory:
    ...     x = torch.zeros(1000)
    ...     y = (x + 1).sum()
    >>> memory.peak, memory.live
    (8004, 4004)
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._tracked: set[int] = set()

    def _free(self, address: int, size: int) -> None:
        self._tracked.discard(address)
        self.live -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Optional[dict] = None) -> Any:
        result = func(*args, **(kwargs or {}))
        # Views and results written into an argument are no new memory.
        before = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]
        given = {leaf.untyped_storage().data_ptr() for leaf in before}
        for leaf in tree_flatten(result)[0]:
            if not isinstance(leaf, Tensor):
                continue
            storage = leaf.untyped_storage()
            address, size = storage.data_ptr(), storage.nbytes()
            if size and address not in given and address not in self._tracked:
                self._tracked.add(address)
                weakref.finalize(storage, self._free, address, size)
                self.live += size
        self.peak = max(self.peak, self.live)
        return result


def held_bytes(things: Sequence[Union[nn.Module, Tensor]]) -> int:
    """Bytes of modules' parameters and buffers, and of tensors.

    Args:
        things (Sequence[nn.Module | Tensor]): What is held.
    """
    tensors = [tensor for thing in things for tensor in (
        [*thing.parameters(), *thing.buffers()] if isinstance(thing, nn.Module) else [thing])]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def peak_bytes(step: Callable[[], Any], device: str) -> int:
    """The most that a step holds at once beyond what there was before it, bytes.

    On the GPU what its allocator says; on the CPU what :class:`LiveBytes` counts.

    Args:
        step (Callable): What is measured; it runs once.
        device (str): ``cpu`` or ``cuda``.
    """
    if device == 'cuda':
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with LiveBytes() as memory:
        step()
    return memory.peak
