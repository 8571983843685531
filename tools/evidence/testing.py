"""Testing a checkpoint on mm's Runner, and keeping what is needed of every image."""

import json
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any, Optional

import numpy as np
from mmengine.config import Config
from mmengine.registry import METRICS
from mmengine.runner import Runner
from mmseg.evaluation import IoUMetric

from tools.evidence.image_results import DetectionResults, ImageResults, SegmentationResults
from tools.evidence.intervals import resampled

#: Files in the folder of a test.
MEASURED, RESAMPLED = 'measured.json', 'resampled.npy'


@METRICS.register_module(force=True)
class ImageAreas(IoUMetric):
    """mmseg's ``IoUMetric`` that also writes the areas of every image.

    Args:
        out (str): The file, with ``intersection`` and ``union``, each (images, classes).
        options: As in mmseg's ``IoUMetric``.
    """

    def __init__(self, out: str, **options: Any) -> None:
        super().__init__(**options)
        self.out = out

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Write the areas, and compute what mmseg does.

        Args:
            results (list): Areas of every image.
        """
        intersection, union = (np.stack([image[place].cpu().numpy() for image in results]) for place in (0, 1))
        np.savez_compressed(self.out, intersection=intersection, union=union)
        metrics: dict[str, float] = super().compute_metrics(results)
        return metrics


def image_results(folder: Path, split: str, annotations: Optional[str]) -> ImageResults:
    """What a test has kept of every image.

    Args:
        folder (Path): Folder of the test.
        split (str): ``val`` or ``test``.
        annotations (str, optional): File of COCO's annotations; None for a segmentation.
    """
    if annotations is None:
        areas = np.load(folder / f'{split}.npz')
        return SegmentationResults(areas['intersection'], areas['union'])
    detections = folder / f'{split}.bbox.json'
    return DetectionResults(json.loads(Path(annotations).read_text()), json.loads(detections.read_text()))


def _run(config: Path, checkpoint: Path, folder: Path, split: str) -> tuple[dict[str, float], Runner, Optional[str]]:
    cfg = Config.fromfile(str(config))
    evaluator = cfg[f'{split}_evaluator']
    annotations = evaluator.get('ann_file')
    if annotations:
        evaluator.outfile_prefix = str(folder / split)
    else:
        evaluator.update(type='ImageAreas', out=str(folder / f'{split}.npz'))
    cfg.test_dataloader, cfg.test_evaluator = cfg[f'{split}_dataloader'], evaluator
    for name in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'val_dataloader', 'val_cfg',
                 'val_evaluator', 'custom_hooks'):
        cfg.pop(name, None)
    cfg.work_dir, cfg.load_from, cfg.resume = str(folder / 'mm'), str(checkpoint), False
    cfg.model.pop('init_cfg', None)
    cfg.experiment_name = f'{folder.parent.name}_{folder.name}_{split}'
    cfg.visualizer = dict(type='Visualizer', name=cfg.experiment_name)
    cfg.default_hooks.pop('visualization', None)
    runner = Runner.from_cfg(cfg)
    metrics = {name: float(value) for name, value in runner.test().items() if isinstance(value, Real)}
    return metrics, runner, annotations


def measure(config: Path, checkpoint: Path, folder: Path, splits: Sequence[str] = ('val', 'test')) -> None:
    """Test a checkpoint, and write its metrics and, of the test split, those on resampled images.

    Args:
        config (Path): Config of the model.
        checkpoint (Path): Its checkpoint.
        folder (Path): Where everything is written.
        splits (Sequence[str]): ``val``, ``test`` or both. Defaults to ('val', 'test').
    """
    folder.mkdir(parents=True, exist_ok=True)
    measured: dict[str, Any] = {}
    for split in splits:
        metrics, runner, annotations = _run(config, checkpoint, folder, split)
        results = image_results(folder, split, annotations)
        measured[split] = dict(metrics=metrics, value=results.whole, images=results.number)
        measured['params'] = sum(parameter.numel() for parameter in runner.model.parameters())
        if split == 'test':
            np.save(folder / RESAMPLED, resampled(results))
    (folder / MEASURED).write_text(json.dumps(measured, indent=1) + '\n')
