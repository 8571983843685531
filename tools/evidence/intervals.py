"""Paired differences with intervals: a bootstrap over the seeds of trainings and over the images of the test split."""

from collections.abc import Sequence
from typing import NamedTuple, Optional

import numpy as np

from tools.evidence.image_results import ImageResults

#: Resamples of the bootstrap; the same ones for all models, so that they are paired.
DRAWS = 1000
_SEED = 0
_PERCENTILES = (2.5, 97.5)


class Difference(NamedTuple):
    """A paired difference.

    Args:
        mean (float): Mean of the seeds' differences, in points.
        interval (tuple[float, float] | None): Ends of its 95 % interval; None with one seed and no images.
        over (str): What was drawn: ``seeds and images``, ``images`` or ``seeds``.
    """

    mean: float
    interval: Optional[tuple[float, float]]
    over: str


def image_draws(images: int, draws: int = DRAWS) -> np.ndarray:
    """Images drawn with replacement, (draws, images); of a number of images always the same ones.

    Args:
        images (int): Number of images.
        draws (int): Number of resamples. Defaults to 1000.
    """
    return np.random.default_rng(_SEED).integers(images, size=(draws, images))


def resampled(results: ImageResults, draws: int = DRAWS) -> np.ndarray:
    """The metric on every resample of the images, (draws,).

    Args:
        results (ImageResults): What is known of every image.
        draws (int): Number of resamples. Defaults to 1000.
    """
    return np.array([results.value(images) for images in image_draws(results.number, draws)])


def paired(own: Sequence[float], other: Sequence[float], own_resampled: Optional[np.ndarray] = None,
           other_resampled: Optional[np.ndarray] = None) -> Difference:
    """The mean difference of two models that were trained with the same seeds, and its interval.

    Every draw takes as many seeds as there are, with replacement, and one resample of the images for all of them.

    Args:
        own (Sequence[float]): The metric of one model, of every seed.
        other (Sequence[float]): The metric of the other one, of the same seeds.
        own_resampled (np.ndarray, optional): The metric on resampled images, (seeds, draws). Defaults to None: nothing
            is known of images, and seeds alone are drawn.
        other_resampled (np.ndarray, optional): The same of the other model. Defaults to None.

    Raises:
        ValueError: If the two have other seeds or other draws.
    """
    if len(own) != len(other) or not len(own):
        raise ValueError(f'{len(own)} and {len(other)} seeds cannot be paired')
    differences = np.asarray(own, float) - np.asarray(other, float)
    mean, seeds = float(differences.mean()), len(differences)
    if own_resampled is None or other_resampled is None:
        if seeds == 1:
            return Difference(mean, None, 'seeds')
        by_image, over = np.repeat(differences[:, None], DRAWS, 1), 'seeds'
    else:
        if own_resampled.shape != other_resampled.shape or len(own_resampled) != seeds:
            raise ValueError(f'resampled metrics of the shapes {own_resampled.shape} and {other_resampled.shape} do '
                             f'not belong to {seeds} seeds')
        by_image, over = own_resampled - other_resampled, 'seeds and images' if seeds > 1 else 'images'
    draws = by_image.shape[1]
    chosen = np.random.default_rng(_SEED + 1).integers(seeds, size=(seeds, draws))
    low, high = np.percentile(np.take_along_axis(by_image, chosen, 0).mean(0), _PERCENTILES)
    return Difference(mean, (float(low), float(high)), over)
