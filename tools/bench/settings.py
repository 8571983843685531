"""What is measured, and on what."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

import torch

PRECISIONS = dict(float32=torch.float32, fp16=torch.float16, bf16=torch.bfloat16)
#: Smaller images would leave no pixel for batch statistics at stride 32.
MIN_INPUT_SIZE = 64


@dataclass(frozen=True)
class Settings:
    """The settings of a benchmark.

    Args:
        device (str): ``cpu`` or ``cuda``.
        precision (str): ``float32``, or ``fp16`` or ``bf16`` for autocast.
        channels_last (bool): Memory format of weights and images.
        threads (int): Of torch on the CPU.
        batch_size (int): Images in a step, at least 2 for batch statistics.
        input_size (int): Height and width of the images.
        repeats (int): Measured rounds; twice as many for inference.
        iterations (int): Measured iterations of each kind in whole searches.
        whole_size (bool): Whole searches with the images and batches of their configs, rather than with
            ``batch_size`` and ``input_size``.
        keep_memory (bool): Whether the process keeps the memory that it frees, see
            :func:`tools.bench.kept_memory.keep_freed_memory`.
        quick (bool): Chosen only to show that everything runs.

    Raises:
        ValueError: If a setting is illegal, or there is no such device.
    """

    device: str
    precision: str
    channels_last: bool
    threads: int
    batch_size: int
    input_size: int
    repeats: int
    iterations: int
    whole_size: bool
    keep_memory: bool
    quick: bool

    def __post_init__(self) -> None:
        if self.device not in ('cpu', 'cuda'):
            raise ValueError(f'device={self.device!r} must be cpu or cuda')
        if self.device == 'cuda' and not torch.cuda.is_available():
            raise ValueError(f"device='cuda', but torch {torch.__version__} finds no GPU here: use cpu")
        if self.precision not in PRECISIONS:
            raise ValueError(f'precision={self.precision!r} must be one of {", ".join(PRECISIONS)}')
        for name, least in (('threads', 1), ('batch_size', 2), ('input_size', MIN_INPUT_SIZE), ('repeats', 1),
                            ('iterations', 1)):
            if getattr(self, name) < least:
                raise ValueError(f'{name}={getattr(self, name)} must be at least {least}')

    @classmethod
    def create(cls, device: str, quick: bool, **given: Any) -> 'Settings':
        """Fill in what is not given.

        On the CPU 4 images of 224x224; on the GPU 16 of 321x321, as in the paper's segmentation search,
        and whole searches with the images of their configs, 200 iterations of each kind.

        Args:
            device (str): ``cpu`` or ``cuda``.
            quick (bool): Only show that everything runs: the figures are worth nothing.
            given (dict): Other settings; None means not given.
        """
        values: dict[str, Any] = dict(
            precision='float32', channels_last=False, threads=torch.get_num_threads(), batch_size=4, input_size=224,
            repeats=15, iterations=10, whole_size=False, keep_memory=False)
        if device == 'cuda':
            values.update(batch_size=16, input_size=321, repeats=50, iterations=200, whole_size=True)
        if quick:
            values.update(batch_size=2, input_size=MIN_INPUT_SIZE, repeats=1, iterations=1, whole_size=False)
        values.update({name: value for name, value in given.items() if value is not None})
        return cls(device=device, quick=quick, **values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @property
    def dtype(self) -> torch.dtype:
        """Of convolutions and their outputs."""
        return PRECISIONS[self.precision]

    @property
    def memory_format(self) -> torch.memory_format:
        """Of weights and images."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def autocast(self) -> AbstractContextManager:
        """What a forward pass runs in."""
        if self.precision == 'float32':
            return contextlib.nullcontext()
        return torch.autocast(self.device, self.dtype)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Within: torch has the number of threads, and cuDNN chooses its kernels by measurement."""
        threads, chosen = torch.get_num_threads(), torch.backends.cudnn.benchmark
        torch.set_num_threads(self.threads)
        torch.backends.cudnn.benchmark = True
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.backends.cudnn.benchmark = chosen
