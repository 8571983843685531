"""Measuring a trained model on images: resumable, and shared among the processes of a run."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, Optional

import numpy as np
from mmengine.dist import all_gather_object, get_dist_info
from torch import Tensor

from fna_mm.adaptation.chain import Chain
from fna_mm.adaptation.images import MeasuredImages
from fna_mm.adaptation.kernels import fit_kernels
from fna_mm.adaptation.scores import Measurements, Replacement, Scorer
from fna_mm.adaptation.statistics import Statistics, collect
from fna_mm.adaptation.taps import TapsStatistics, weigh_readers
from fna_mm.adaptation.work_folder import Sums, WorkFolder, gather_scores

#: Seconds between two savings of what was measured.
_SAVE_EVERY = 15.
#: Images on which the normalisations behind smaller kernels are set right.
_KERNEL_IMAGES = 16
#: Images on which what reads a tap is weighed.
_READER_IMAGES = 16

#: (what is done, number of steps) → a context that gives a progress bar, whose ``update(n)`` goes on by n steps.
Progress = Callable[[str, int], AbstractContextManager[Any]]


class _NoBar:
    def update(self, steps: int) -> None:
        pass


@contextmanager
def no_progress(label: str, steps: int) -> Iterator[Any]:
    """Show nothing."""
    yield _NoBar()


class _Clock:
    """Says when it is time to save."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def due(self) -> bool:
        if time.monotonic() - self.last < _SAVE_EVERY:
            return False
        self.last = time.monotonic()
        return True


def normalised_images(model: Any, images: MeasuredImages, positions: Sequence[int]) -> Iterator[Tensor]:
    """The images at some places, (1, 3, H, W) each, as the model's backbone takes them."""
    for position in positions:
        yield model.data_preprocessor(images[position], False)['inputs']


def measure_statistics(model: Any, chain: Chain, statistics: Statistics, images: MeasuredImages,
                       positions: Sequence[int], folder: WorkFolder, progress: Optional[Progress] = None,
                       taps: Optional[TapsStatistics] = None) -> None:
    """Add up the statistics of all blocks and taps over images, and find the orders of elimination.

    Args:
        model (nn.Module): The trained model.
        chain (Chain): Its backbone.
        statistics (Statistics): The statistics; they are empty at first.
        images (MeasuredImages): The images.
        positions (Sequence[int]): Which of them are used.
        folder (WorkFolder): Where sums are saved.
        progress (Progress, optional): Shows the progress. Defaults to None: nothing is shown.
        taps (Mapping[int, TapStatistics], optional): Statistics of taps; they are empty at first. Defaults to None:
            there are none.
    """
    taps = taps or {}
    everything: Sums = {**statistics, **{(row, 0): of_tap for row, of_tap in taps.items()}}
    own_kernels = {(index, link.spec.kernel_size) for index, link in enumerate(chain.links)}
    # On every process alike, and again in every run: they are few.
    fit_kernels(chain, {key: block.link for key, block in statistics.items() if key not in own_kernels},
                normalised_images(model, images, list(positions)[:_KERNEL_IMAGES]))
    if folder.finished_statistics(everything):
        return
    rank, world = get_dist_info()
    known = folder.load_statistics(everything)
    done = list(known) if rank == 0 else []
    own = [position for position in positions if position not in known][rank::world]
    clock, show = _Clock(), progress or no_progress
    with show('statistics', len(own)) as bar:
        for position, inputs in zip(own, normalised_images(model, images, own)):
            maps = collect(chain, inputs, statistics)
            for of_tap in taps.values():
                of_tap.moments.add(maps[of_tap.tap.position])
            done.append(position)
            bar.update(1)
            if clock.due():
                folder.save_statistics(everything, done)
    for block in everything.values():
        block.merge()
    if taps:  # on every process alike
        weigh_readers(model, taps, statistics, normalised_images(model, images, list(positions)[:_READER_IMAGES]))
    shared = [key for key, block in everything.items() if block.ranked]
    with show('elimination', len(shared[rank::world])) as bar:
        orders = {}
        for key in shared[rank::world]:
            orders[key] = everything[key].orders()
            bar.update(1)
    for part in all_gather_object(orders):
        for key, of_block in part.items():
            everything[key].set_orders(of_block)
    folder.finish_statistics(everything)


def measure_candidates(scorer: Scorer, images: MeasuredImages, positions: Sequence[int],
                       measured: Sequence[Replacement], folder: WorkFolder, progress: Optional[Progress] = None
                       ) -> Measurements:
    """Measure candidates on images, as far as they are not measured yet.

    Args:
        scorer (Scorer): Measures.
        images (MeasuredImages): The images.
        positions (Sequence[int]): Which of them are used.
        measured (Sequence[Replacement]): The candidates.
        folder (WorkFolder): Where it is saved.
        progress (Progress, optional): Shows the progress. Defaults to None: nothing is shown.

    Returns:
        Measurements: What all processes have measured, also earlier.
    """
    rank, world = get_dist_info()
    rows = folder.load_scores()
    wanted: list[Optional[Replacement]] = [None, *measured]
    missing = {position: [key for key in wanted if key not in rows.get(position, {})] for position in positions}
    own = {position: keys for position, keys in list(missing.items())[rank::world] if keys}
    clock, show = _Clock(), progress or no_progress
    with show('scores', sum(map(len, own.values()))) as bar:
        for position, keys in own.items():
            for key, found in scorer.measure(images[position], keys):
                rows.setdefault(position, {})[key] = found
                bar.update(1)
                if clock.due():
                    folder.save_scores(rows)
    folder.save_scores(rows)
    return gather_scores(rows)


class OnImages(NamedTuple):
    """What was measured on the same images.

    Args:
        seed (np.ndarray): Losses of the trained model, (images,).
        differences (dict[Replacement, np.ndarray]): Candidate → what it adds to them, (images,).
        errors (dict[Replacement, np.ndarray]): Candidate → errors of its maps, (images, maps).
    """

    seed: np.ndarray
    differences: dict[Replacement, np.ndarray]
    errors: dict[Replacement, np.ndarray]


def on_images(measured: Measurements, positions: Sequence[int]) -> OnImages:
    """What was measured on images, of all candidates that were measured on each of them.

    Args:
        measured (Measurements): Everything that was measured.
        positions (Sequence[int]): The images.
    """
    rows = [measured[position] for position in positions]
    seed = np.array([row[None].loss for row in rows])
    complete = sorted(key for key in rows[0] if key is not None and all(key in row for row in rows))
    return OnImages(seed, {key: np.array([row[key].loss for row in rows]) - seed for key in complete},
                    {key: np.array([row[key].errors for row in rows]) for key in complete})
