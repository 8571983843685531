"""Two disjoint parts of a data set, one for the weights, one for the architecture."""

import copy
from typing import Any, Union

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from fna_mm.checks import check_number

PARTS = ('weights', 'arch')


def split_indices(length: int, ratio: float, seed: int) -> dict[str, np.ndarray]:
    """Indices of both parts, each rising.

    Args:
        length (int): Samples in the whole data set.
        ratio (float): Share of the samples that the part ``'arch'`` gets, between 0 and 1.
        seed (int): Decides which.

    Raises:
        ValueError: If a part would be empty.
    """
    num_arch = int(round(length * ratio))
    if not 0 < num_arch < length:
        raise ValueError(f'a data set of {length} samples cannot be split with ratio={ratio}: one part would be '
                         f'empty; both parts need at least one sample')
    # RandomState's stream is frozen for ever, default_rng's may change with numpy's version.
    order = np.random.RandomState(seed).permutation(length)
    return dict(arch=np.sort(order[:num_arch]), weights=np.sort(order[num_arch:]))


@DATASETS.register_module(force=True)
class RandomSplit:
    """One of two random, disjoint parts of a data set, the same on every rank and after every restart.

    Wrap the same data set twice, with the same ``ratio`` and ``seed``: ``part='weights'`` in
    ``train_dataloader`` and ``part='arch'`` in ``AlternatingOptimizerHook``. Put it around the data
    set itself; wrappers such as ``RepeatDataset`` go around ``RandomSplit``.

    Args:
        dataset (dict | BaseDataset): The whole data set, or its config.
        ratio (float): Share of the samples that the part ``'arch'`` gets: 0.5 for detection, 0.2 for
            segmentation in the paper.
        part (str): ``'weights'`` or ``'arch'``.
        seed (int): Decides which samples go where. Defaults to 0.
        lazy_init (bool): Put off reading the annotations until :meth:`full_init`. Defaults to False.

    Raises:
        ValueError: If ``ratio`` or ``part`` is illegal, or a part would be empty.
        TypeError: If the data set is not one of mmengine's ``BaseDataset``.
    """

    def __init__(self,
                 dataset: Union[dict, BaseDataset],
                 ratio: float,
                 part: str,
                 seed: int = 0,
                 lazy_init: bool = False) -> None:
        if part not in PARTS:
            raise ValueError(f"part of RandomSplit must be 'weights' or 'arch', not {part!r}")
        check_number('ratio of RandomSplit, the share that updates the architecture,', ratio, above=0, below=1)
        whole = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        if not isinstance(whole, BaseDataset):
            # A wrapper's inner data set replaces unusable samples by random ones, from both parts.
            raise TypeError(f'RandomSplit needs a data set of mmengine\'s BaseDataset, not a {type(whole).__name__}: '
                            'put wrappers around RandomSplit, not inside it')
        self.dataset: BaseDataset = whole
        self.ratio = ratio
        self.part = part
        self.seed = seed
        self._fully_initialized = False
        if not lazy_init:
            self.full_init()

    @property
    def metainfo(self) -> dict:
        """The data set's classes and palette."""
        return self.dataset.metainfo  # a lazy data set learns its classes from the annotation file

    def full_init(self) -> None:
        """Read the annotations and keep this part's."""
        if self._fully_initialized:
            return
        self.dataset.full_init()
        length = len(self.dataset)
        try:
            indices = split_indices(length, self.ratio, self.seed)[self.part]
        except ValueError as error:
            raise ValueError(f'RandomSplit of {type(self.dataset).__name__} '
                             f'({self.dataset.ann_file or "no annotation file"}): {error}') from None
        # Not get_subset: in mmengine 0.10 all its deep copies share one memo, which remembers objects that are gone
        # and may hand out one of them for a new one at the same address.
        #: What it is a part of (type, annotations, images, samples), and its samples' places there.
        self.whole = (type(self.dataset).__name__, self.dataset.ann_file, str(self.dataset.data_prefix), length)
        self.indices = indices
        subset = copy.copy(self.dataset)
        subset.get_subset_(indices.tolist())
        self.dataset = subset
        self._fully_initialized = True

    def described(self) -> str:
        """Its arguments, for messages."""
        return f'RandomSplit(ratio={self.ratio}, part={self.part!r}, seed={self.seed})'

    def get_data_info(self, idx: int) -> dict:
        """Annotations of one sample, by its place in this part."""
        self.full_init()
        return self.dataset.get_data_info(idx)

    def get_cat_ids(self, idx: int) -> Any:
        """Categories in one sample, for data sets that know them."""
        self.full_init()
        return self.dataset.get_cat_ids(idx)

    def __getitem__(self, idx: int) -> Any:
        self.full_init()
        return self.dataset[idx]

    def __len__(self) -> int:
        self.full_init()
        return len(self.dataset)
