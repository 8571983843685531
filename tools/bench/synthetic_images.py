"""Random images with random labels, which stand in for a data set on a disk."""

from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

#: Images that are really kept; samples take them in turn.
_KEPT = 4
#: COCO has 7.3 objects an image.
_BOXES = 7


@DATASETS.register_module(force=True)
class SyntheticImages(BaseDataset):
    """What mm's loading transforms would give, from memory: no file is read or decoded.

    Args:
        length (int): Samples.
        size (tuple[int, int]): (height, width) of the images.
        task (str): ``segmentation`` or ``detection``.
        num_classes (int): Of the labels.
        kwargs (dict): As of ``BaseDataset``.
    """

    def __init__(self, length: int, size: tuple[int, int], task: str, num_classes: int, **kwargs: Any) -> None:
        self.length = length
        self.size = size
        self.task = task
        self.num_classes = num_classes
        rng = np.random.default_rng(0)
        self._images = rng.integers(0, 256, (_KEPT, *size, 3), dtype=np.uint8)
        self._maps = rng.integers(0, num_classes, (_KEPT, *size), dtype=np.uint8)
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """One entry a sample."""
        height, width = self.size
        return [dict(img_id=index, img_path='', height=height, width=width) for index in range(self.length)]

    def prepare_data(self, idx: int) -> Any:
        """The sample through the pipeline, which must not load anything."""
        image = self._images[idx % _KEPT]
        results = dict(self.get_data_info(idx), img=image, img_shape=self.size, ori_shape=self.size)
        if self.task == 'segmentation':
            results.update(gt_seg_map=self._maps[idx % _KEPT], seg_fields=['gt_seg_map'])
        else:
            results.update(self._objects(np.random.default_rng(idx)))
        return self.pipeline(results)

    def _objects(self, rng: np.random.Generator) -> dict[str, Any]:
        from mmdet.structures.bbox import HorizontalBoxes
        height, width = self.size
        corners = rng.random((_BOXES, 2)) * (.7 * width, .7 * height)
        sides = (.05 + .25 * rng.random((_BOXES, 2))) * (width, height)
        boxes = np.concatenate((corners, corners + sides), axis=1).astype(np.float32)
        return dict(gt_bboxes=HorizontalBoxes(boxes), gt_bboxes_labels=rng.integers(0, self.num_classes, _BOXES),
                    gt_ignore_flags=np.zeros(_BOXES, bool))
