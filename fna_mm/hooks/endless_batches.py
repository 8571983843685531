"""Batches that a resumed run finds as the stopped one would have."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank


def seed_random_numbers(seed: int, iteration: int, stream: int = 0) -> None:
    """Make every random number of this process a function of (seed, iteration, rank).

    Args:
        seed (int): Seed of the run.
        iteration (int): Number of the iteration.
        stream (int): Separates uses in one iteration, such as the step and its data. Defaults to 0.
    """
    seeds = np.random.SeedSequence((seed, iteration, get_rank(), stream)).generate_state(3)
    random.seed(int(seeds[0]))
    np.random.seed(int(seeds[1]))
    torch.manual_seed(int(seeds[2]))


class SeededBatches:
    """An iterator that draws the random numbers of its n-th batch from n alone.

    Without workers, a batch is augmented in the training process. ``IterBasedTrainLoop`` goes through
    the batches before the one it resumes at, which draws random numbers too, and no hook runs between
    them and its first iteration. So ``AlternatingOptimizerHook`` puts this iterator in place of the loop's
    ``dataloader_iterator``. There is no other way without a change of the user's config:

    * A data set knows the index of a sample, but not in which pass over the data it is asked for.
    * A sampler knows the batch, but is the config's own, and a ``DataLoader`` refuses another one later.
    * ``worker_init_fn`` is called in workers only, of which there are none here.
    * A hook can seed the next batch after an iteration, but not the first one of a resumed run.

    Args:
        batches (Iterator): The batches.
        seed (Callable): Called with n, from 0, before the n-th batch is taken.
    """

    def __init__(self, batches: Iterator, seed: Callable[[int], None]) -> None:
        self._batches = batches
        self._seed = seed
        self._taken = 0

    def __iter__(self) -> 'SeededBatches':
        return self

    def __next__(self) -> Any:
        self._seed(self._taken)
        self._taken += 1
        return next(self._batches)

    def skip_iter(self, num_iters: int) -> None:
        """Take batches and drop them, as a loop of newer mmengines asks for before it resumes.

        Their own iterator would advance the sampler alone, and begin its pass only then. What beginning draws from the
        random numbers would be missing from the batch at which the stopped run had begun.

        Args:
            num_iters (int): How many.
        """
        for _ in range(num_iters):
            next(self)


class EndlessBatches:
    """Goes through a dataloader again and again, reshuffled each time as mm's loops do it.

    Args:
        dataloader (DataLoader): The batches.

    Raises:
        ValueError: If the dataloader has no batch.
    """

    def __init__(self, dataloader: Any) -> None:
        if len(dataloader) == 0:
            raise ValueError(f'the architecture\'s dataloader has no batch: {len(dataloader.dataset)} samples for '
                             f'batch_size={dataloader.batch_size} with drop_last; use a smaller batch or more data')
        self.dataloader = dataloader
        self.epoch = 0
        self.batch = 0
        self._iterator: Any = None
        self._next_iterator: Any = None

    def _start_pass(self, epoch: int) -> Any:
        samplers: tuple[Any, ...] = (self.dataloader.sampler, getattr(self.dataloader.batch_sampler, 'sampler', None))
        for sampler in samplers:
            if hasattr(sampler, 'set_epoch'):
                sampler.set_epoch(epoch)
        return iter(self.dataloader)

    def prefetch(self) -> None:
        """Start the workers of the next pass when those of this one have nothing left to begin.

        Otherwise the first batch of every pass would wait for new processes. Without workers, or with
        persistent ones, which can serve only one pass at a time, nothing is done.
        """
        loader = self.dataloader
        if not loader.num_workers or loader.persistent_workers:
            return
        if self._iterator is None:
            self._iterator = self._start_pass(self.epoch)
        # Fewer left than are begun ahead: the sampler, which may keep state like mmdet's AspectRatioBatchSampler,
        # has come to its end.
        elif self._next_iterator is None and \
                len(loader) - self.batch < loader.num_workers * loader.prefetch_factor:
            self._next_iterator = self._start_pass(self.epoch + 1)

    def __iter__(self) -> 'EndlessBatches':
        return self

    def __next__(self) -> Any:
        if self._iterator is None:
            self._iterator = self._start_pass(self.epoch)
        try:
            data = next(self._iterator)
        except StopIteration:
            self.epoch, self.batch = self.epoch + 1, 0
            self._iterator = self._next_iterator or self._start_pass(self.epoch)
            self._next_iterator = None
            data = next(self._iterator)
        self.batch += 1
        return data

    def state_dict(self) -> dict[str, int]:
        """Passes completed, and batches taken in this one."""
        return dict(epoch=self.epoch, batch=self.batch)

    def load_state_dict(self, state: dict[str, int], scale: float = 1.) -> None:
        """Continue at a saved place; the batches before it in its pass are loaded and dropped.

        Args:
            state (dict[str, int]): As :meth:`state_dict` gave it.
            scale (float): Batches now for one batch then, when other processes share the data.
                Defaults to 1.
        """
        self.epoch, self.batch = state['epoch'], 0
        self._iterator = self._next_iterator = None
        for _ in range(min(int(state['batch'] * scale), len(self.dataloader))):
            next(self)
