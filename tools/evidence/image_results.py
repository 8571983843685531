"""The metric of a model on any selection of test images, from what was kept of each image."""

import contextlib
import io
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

#: Detections of an image that count, as in COCO's mAP.
_DETECTIONS = 100


class ImageResults(ABC):
    """What is known of every image."""

    @property
    @abstractmethod
    def number(self) -> int:
        """Number of images."""

    @abstractmethod
    def value(self, images: np.ndarray) -> float:
        """The metric in percent on some of the images.

        Args:
            images (np.ndarray): Their indices, (images,); an image that is there twice counts twice.
        """

    @property
    def whole(self) -> float:
        """The metric in percent on all images."""
        return self.value(np.arange(self.number))


class SegmentationResults(ImageResults):
    """Mean intersection over union; classes that are neither there nor predicted are left out.

    Args:
        intersection (np.ndarray): Pixels of every class that are predicted rightly, (images, classes).
        union (np.ndarray): Pixels of every class in the truth or the prediction, (images, classes).
    """

    def __init__(self, intersection: np.ndarray, union: np.ndarray) -> None:
        self.intersection, self.union = np.asarray(intersection, float), np.asarray(union, float)

    @property
    def number(self) -> int:
        """As :attr:`ImageResults.number`."""
        return len(self.union)

    def value(self, images: np.ndarray) -> float:
        """As :meth:`ImageResults.value`."""
        inner, outer = self.intersection[images].sum(0), self.union[images].sum(0)
        return 100 * float((inner[outer > 0] / outer[outer > 0]).mean())


class DetectionResults(ImageResults):
    """COCO's mean average precision over 10 thresholds: images are evaluated once, and accumulated for any selection.

    Args:
        truth (Mapping): Annotations in COCO's form: ``images``, ``annotations``, ``categories``.
        detections (Sequence[dict]): Detections in COCO's form.
    """

    def __init__(self, truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]]) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            known, found = COCO(), COCO()
            known.dataset = dict(truth)
            known.createIndex()
            found.dataset = dict(truth, annotations=[])
            found.createIndex()
            self._evaluation = COCOeval(known, known.loadRes(list(detections)) if detections else found, 'bbox')
            params = self._evaluation.params
            params.areaRng, params.areaRngLbl, params.maxDets = [params.areaRng[0]], ['all'], [_DETECTIONS]
            self._evaluation.evaluate()
        self._number = len(params.imgIds)
        # (categories, images): there is one range of areas.
        rows = np.empty(len(params.catIds) * self._number, object)
        rows[:] = self._evaluation.evalImgs
        self._images = rows.reshape(len(params.catIds), self._number)

    @property
    def number(self) -> int:
        """As :attr:`ImageResults.number`."""
        return self._number

    def value(self, images: np.ndarray) -> float:
        """As :meth:`ImageResults.value`; there must be as many images as there are in all."""
        if len(images) != self._number:
            raise ValueError(f'{len(images)} images, but accumulation is over {self._number}')
        self._evaluation.evalImgs = self._images[:, images].ravel().tolist()
        with contextlib.redirect_stdout(io.StringIO()):
            self._evaluation.accumulate()
        precision = self._evaluation.eval['precision']
        counted = precision[precision > -1]
        return 100 * float(counted.mean()) if counted.size else 0.
