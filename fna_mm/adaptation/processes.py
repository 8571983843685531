"""The processes of a command under torchrun."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed


@contextmanager
def join_processes() -> Iterator[bool]:
    """Join the processes that torchrun has started, if it has, and say whether this is the first one.

    A process has its own GPU, or all of them use the CPU with gloo.
    """
    if int(os.environ.get('WORLD_SIZE', '1')) == 1 or distributed.is_initialized():
        yield not distributed.is_initialized() or distributed.get_rank() == 0
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ['LOCAL_RANK']) % torch.cuda.device_count())
    distributed.init_process_group('nccl' if torch.cuda.is_available() else 'gloo')
    try:
        yield distributed.get_rank() == 0
    finally:
        distributed.destroy_process_group()
