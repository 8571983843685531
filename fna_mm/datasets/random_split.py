"""Two disjoint parts of a data set: one trains the weights, the other the architecture."""

import copy
import os
from typing import Any, Union

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from fna_mm.checks import check_number

PARTS = ('weights', 'arch')


def split_indices(length: int, ratio: float, seed: int) -> dict[str, np.ndarray]:
    """Draw the indices of both parts, each in rising order.

    Args:
        length (int): Number of samples in the whole data set.
        ratio (float): Share of the samples that the part ``'arch'`` gets, between 0 and 1.
        seed (int): Random seed of the split.

    Raises:
        ValueError: If a part would be empty.
    """
    num_arch = int(round(length * ratio))
    if not 0 < num_arch < length:
        raise ValueError(f'a data set of {length} samples cannot be split with ratio={ratio}: one part would be '
                         f'empty; both parts need at least one sample')
    # The random numbers of RandomState never change. Those of default_rng may change with numpy's version.
    order = np.random.RandomState(seed).permutation(length)
    return dict(arch=np.sort(order[:num_arch]), weights=np.sort(order[num_arch:]))


def _resolved(dataset: BaseDataset) -> list[str]:
    """Annotation file and folders of a data set, however they are spelled."""
    paths = [dataset.ann_file, *(path for _, path in sorted(dataset.data_prefix.items()) if isinstance(path, str))]
    return [os.path.realpath(path) if path else '' for path in paths]


@DATASETS.register_module(force=True)
class RandomSplit:
    """One of two random, disjoint parts of a data set, the same on every rank and after every restart.

    Use it twice for the same data set, with the same ``ratio`` and ``seed``: with ``part='weights'`` in
    ``train_dataloader`` and with ``part='arch'`` in ``AlternatingOptimizerHook``. It wraps the data set
    itself; put wrappers such as ``RepeatDataset`` around ``RandomSplit``.

    Args:
        dataset (dict | BaseDataset): The whole data set, or its config.
        ratio (float): Share of the samples that the part ``'arch'`` gets: 0.5 for detection, 0.2 for
            segmentation in the paper.
        part (str): ``'weights'`` or ``'arch'``.
        seed (int): Random seed of the split. Defaults to 0.
        lazy_init (bool): Read the annotations later, in :meth:`full_init`. Defaults to False.

    Raises:
        ValueError: If ``ratio`` or ``part`` is illegal, or a part would be empty.
        TypeError: If the data set is no ``BaseDataset`` of mmengine.
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
            # A data set inside a wrapper replaces unusable samples by random ones of the whole data set.
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

    @property
    def pipeline(self) -> Any:
        """The data set's transforms; mmdet's ``PipelineSwitchHook`` sets others."""
        return self.dataset.pipeline

    @pipeline.setter
    def pipeline(self, pipeline: Any) -> None:
        self.dataset.pipeline = pipeline

    def full_init(self) -> None:
        """Read the annotations and keep those of this part."""
        if self._fully_initialized:
            return
        self.dataset.full_init()
        length = len(self.dataset)
        try:
            indices = split_indices(length, self.ratio, self.seed)[self.part]
        except ValueError as error:
            raise ValueError(f'RandomSplit of {type(self.dataset).__name__} '
                             f'({self.dataset.ann_file or "no annotation file"}): {error}') from None
        # get_subset is not used: in mmengine 0.10 all its deep copies share one memo. The memo keeps entries of deleted
        # objects and may return one of them for a new object at the same address.
        #: What the whole data set is read from, how it is read, and this part's indices in it.
        self.source = (type(self.dataset).__name__, *_resolved(self.dataset))
        self.read_as = dict(samples=length, filter_cfg=getattr(self.dataset, 'filter_cfg', None))
        self.indices = indices
        subset = copy.copy(self.dataset)
        subset.get_subset_(indices.tolist())
        self.dataset = subset
        self._fully_initialized = True

    @property
    def has_source(self) -> bool:
        """Whether it is known what the whole data set is read from."""
        return any(self.source[1:])

    def images(self) -> set[str]:
        """Resolved paths of this part's images; empty if the samples name none."""
        self.full_init()
        paths = (self.dataset.get_data_info(index).get('img_path') for index in range(len(self.dataset)))
        return {os.path.realpath(path) for path in paths if path}

    def described(self) -> str:
        """The arguments of this split, for messages."""
        return f'RandomSplit(ratio={self.ratio}, part={self.part!r}, seed={self.seed})'

    def get_data_info(self, idx: int) -> dict:
        """The annotations of the sample with an index in this part."""
        self.full_init()
        return self.dataset.get_data_info(idx)

    def get_cat_ids(self, idx: int) -> Any:
        """The categories in one sample, if the data set knows them."""
        self.full_init()
        return self.dataset.get_cat_ids(idx)

    def __getitem__(self, idx: int) -> Any:
        self.full_init()
        return self.dataset[idx]

    def __len__(self) -> int:
        self.full_init()
        return len(self.dataset)
