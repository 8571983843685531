"""The training images that a model is measured on, as evaluation sees them, with their labels."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from fna_mm.sections import leaves_of, type_of

_LOADING = ('LoadImageFromFile', 'LoadImageFromNDArray')
_ANNOTATIONS = 'LoadAnnotations'


def evaluation_pipeline(test: Sequence[Mapping[str, Any]], train: Sequence[Mapping[str, Any]]) -> list[dict]:
    """The pipeline of evaluation, with labels that follow the image.

    mm's test pipelines load labels behind the last change of size, for the metric. A loss needs labels in the
    coordinates of the image that the model sees: they are loaded right behind the image.

    Args:
        test (Sequence[dict]): Pipeline of the validation or test data.
        train (Sequence[dict]): Pipeline of the training data; its ``LoadAnnotations`` says which labels there are.

    Raises:
        ValueError: If one of the pipelines has no place for labels.
    """
    labels = next((dict(transform) for transform in train if type_of(transform) == _ANNOTATIONS), None)
    rest = [dict(transform) for transform in test if type_of(transform) != _ANNOTATIONS]
    loading = [index for index, transform in enumerate(rest) if type_of(transform) in _LOADING]
    if labels is None or not loading:
        raise ValueError(f'the pipelines have no {_LOADING[0]} for the images or no {_ANNOTATIONS} for the labels: the '
                         'loss of a model needs both')
    rest.insert(loading[-1] + 1, labels)
    return rest


def _loaders(cfg: Config) -> tuple[Any, Any]:
    train = cfg.get('train_dataloader')
    test = cfg.get('val_dataloader') or cfg.get('test_dataloader')
    if not train or not test:
        raise ValueError('the config needs train_dataloader, whose images are measured, and val_dataloader or '
                         'test_dataloader, whose pipeline says how')
    return train, test


def _pipeline(leaf: Mapping[str, Any], wrapper: Optional[Mapping[str, Any]] = None) -> list:
    return list(leaf.get('pipeline') or []) + list((wrapper or {}).get('pipeline') or [])


class MeasuredImages:
    """Training images with their labels, in a random order, each as a batch of one.

    Args:
        cfg (Config): The config of the trained model. Wrappers of its training data set (``RepeatDataset``,
            ``MultiImageMixDataset`` and others) are left out, so that every image counts once.
        seed (int): Seed of the order. Defaults to 0.

    Raises:
        ValueError: If there are no images, or the config lacks what is needed.
    """

    def __init__(self, cfg: Config, seed: int = 0) -> None:
        train, test = _loaders(cfg)
        init_default_scope(cfg.get('default_scope', 'mmengine'))
        view = _pipeline(leaves_of(test['dataset'])[0])
        self.parts = []
        for leaf in leaves_of(train['dataset']):
            section = copy.deepcopy(leaf)
            section['pipeline'] = evaluation_pipeline(view, _pipeline(leaf, train['dataset']))
            section['test_mode'] = False
            try:
                self.parts.append(DATASETS.build(section))
            except ValueError as error:  # mm concatenates the images' records, also if there are none
                raise ValueError(f'the training data set {leaf.get("type")} in {leaf.get("data_root")} has no images, '
                                 f'or cannot be read: {error}') from error
        self.places = [(part, index) for part, dataset in enumerate(self.parts) for index in range(len(dataset))]
        if not self.places:
            raise ValueError(f'the training data set has no images: {leaves_of(train["dataset"])[0]}')
        order = torch.randperm(len(self.places), generator=torch.Generator().manual_seed(seed))
        self.order = order.tolist()

    @property
    def metainfo(self) -> dict[str, Any]:
        """What the data set says of its classes."""
        return dict(self.parts[0].metainfo)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> dict[str, Any]:
        """The raw batch of the image at a place in the random order, as a data preprocessor takes it."""
        part, index = self.places[self.order[position]]
        item = self.parts[part][index]
        return dict(inputs=[item['inputs']], data_samples=[item['data_samples']])

    def without(self, positions: Sequence[int]) -> list[list[int]]:
        """The indices of all other images than those at some places, for every data set in the training data.

        Args:
            positions (Sequence[int]): Places in the random order.
        """
        left = {self.places[self.order[position]] for position in positions}
        return [[index for index in range(len(dataset)) if (part, index) not in left]
                for part, dataset in enumerate(self.parts)]

    def check_labels(self, number: int = 20) -> None:
        """Check that the first images have labels.

        Args:
            number (int): How many images are looked at. Defaults to 20.

        Raises:
            ValueError: If none of them has any.
        """
        for position in range(min(number, len(self))):
            sample = self[position]['data_samples'][0]
            if len(getattr(sample, 'gt_instances', ())) or hasattr(sample, 'gt_sem_seg'):
                return
        raise ValueError(f'the first {min(number, len(self))} training images have no labels: scores are losses, and '
                         'these need labels')
