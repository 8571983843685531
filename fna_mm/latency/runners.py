"""Modules that can be timed: in PyTorch, or as ONNX files in ONNX Runtime."""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from fna_mm.export.onnx_file import INPUT, check_packages, written_network
from fna_mm.export.onnx_timing import open_session

RUNTIMES = ('onnxruntime', 'torch')

#: Runs a module some times, and returns the seconds of one run.
Timed = Callable[[int], float]


def check_runtime(runtime: str, device: str) -> None:
    """Check that a runtime is there, on a device.

    Args:
        runtime (str): ``'onnxruntime'`` or ``'torch'``.
        device (str): ``'cpu'``, or for PyTorch ``'cuda'``.

    Raises:
        ValueError: If it is none of these, or the device is not there.
        ImportError: If a package is missing.
    """
    if runtime not in RUNTIMES:
        raise ValueError(f'runtime={runtime!r} must be one of {list(RUNTIMES)}')
    if device not in ('cpu', 'cuda'):
        raise ValueError(f"device={device!r} must be 'cpu' or 'cuda'")
    if runtime == 'onnxruntime':
        if device != 'cpu':
            raise ValueError(f"device={device!r}: in ONNX Runtime, blocks are measured on the CPU; use --runtime torch")
        check_packages('runtime=onnxruntime')
    elif device == 'cuda' and not torch.cuda.is_available():
        raise ValueError("device='cuda', but PyTorch sees no GPU")


def timed(module: nn.Module, image: Tensor, runtime: str, threads: int, device: str) -> Timed:
    """Make a module ready to be timed.

    Args:
        module (nn.Module): The module, from a tensor to a tensor or several.
        image (Tensor): Its input, (1, C, H, W).
        runtime (str): As in :func:`check_runtime`.
        threads (int): Threads of one operator. PyTorch's are those of the process.
        device (str): As in :func:`check_runtime`.
    """
    module.eval()
    if runtime == 'torch':
        return _in_torch(module.to(device), image.to(device), device)
    with torch.no_grad():
        content = written_network(module, image)
    session, inputs = open_session(content, threads), {INPUT: image.numpy()}

    def run(times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            session.run(None, inputs)
        return (time.perf_counter() - start) / times
    return run


def _in_torch(module: nn.Module, image: Tensor, device: str) -> Timed:
    wait = torch.cuda.synchronize if device == 'cuda' else (lambda: None)

    @torch.inference_mode()
    def run(times: int) -> float:
        wait()
        start = time.perf_counter()
        for _ in range(times):
            module(image)
        wait()
        return (time.perf_counter() - start) / times
    return run
