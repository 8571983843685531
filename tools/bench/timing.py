"""Variants timed in turn, so that whatever else the machine does meets all of them alike."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from click import progressbar

#: Unmeasured rounds at the start: memory is allocated, kernels are chosen.
WARMUP_ROUNDS = 2


def synchronize(device: str) -> None:
    """Wait until everything that was asked of the device is done.

    Args:
        device (str): ``cpu``, where nothing has to be waited for, or ``cuda``.
    """
    if device == 'cuda':
        torch.cuda.synchronize()


def progress(length: int, label: str) -> Any:
    """A progress bar on the error stream; where that is no terminal, its label.

    Args:
        length (int): Steps to come.
        label (str): What is being done.
    """
    return progressbar(length=length, label=f'{label:<34}', file=sys.stderr)


def interleaved(variants: Mapping[str, Callable[[int], Any]], repeats: int, device: str,
                label: str) -> dict[str, tuple[float, ...]]:
    """Seconds of every variant in every round; in a round each runs once, in order.

    Args:
        variants (Mapping[str, Callable]): By name; each is called with the number of the round.
        repeats (int): Measured rounds.
        device (str): ``cpu`` or ``cuda``.
        label (str): Of the progress bar.
    """
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    with progress((WARMUP_ROUNDS + repeats) * len(variants), label) as bar:
        for number in range(-WARMUP_ROUNDS, repeats):
            for name, variant in variants.items():
                synchronize(device)
                start = time.perf_counter()
                variant(max(number, 0))
                synchronize(device)
                if number >= 0:
                    seconds[name].append(time.perf_counter() - start)
                bar.update(1)
    return {name: tuple(values) for name, values in seconds.items()}


def ratio(seconds: Sequence[float], others: Sequence[float]) -> float:
    """Median of the quotients of each round, in which slow moments of the machine cancel.

    Args:
        seconds (Sequence[float]): Of one variant, by round.
        others (Sequence[float]): Of the other one, by round.
    """
    return statistics.median(one / other for one, other in zip(seconds, others))


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median, quartiles and number of measurements, for JSON."""
    low, median, high = statistics.quantiles(seconds, n=4, method='inclusive') if len(seconds) > 1 else [seconds[0]] * 3
    return dict(median_s=median, lower_quartile_s=low, upper_quartile_s=high, repeats=len(seconds))
