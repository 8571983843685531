"""What several trained models make of the same images, side by side, drawn by mm's own visualizer."""

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, VISUALIZERS, init_default_scope
from mmengine.runner import load_checkpoint

#: Smaller images are enlarged to about this many pixels a side before boxes and names are drawn on them.
_LEAST_SIDE = 384


@dataclass(frozen=True)
class TrainedModel:
    """A model of mm that was trained.

    Args:
        name (str): Above its column.
        config (Config): Its config, whose test set is shown.
        checkpoint (str): Path or URL of its weights.
    """

    name: str
    config: Config
    checkpoint: str


def predict(trained: TrainedModel, num_images: int) -> tuple[list[Any], dict]:
    """Data samples with truth and predictions, of images spread evenly over the test set.

    Args:
        trained (TrainedModel): The model.
        num_images (int): How many images; no more than there are.

    Returns:
        tuple: The samples, and the data set's meta information (classes and colours).

    Raises:
        ValueError: If the config has no test set.
        FileNotFoundError: If there is no such checkpoint.
    """
    cfg = copy.deepcopy(trained.config)
    if not cfg.get('test_dataloader'):
        raise ValueError(f'the config of {trained.name} has no test_dataloader: its test set is what is shown')
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    model = MODELS.build(cfg.model).to(device).eval()
    load_checkpoint(model, trained.checkpoint, map_location='cpu', logger='silent')
    indices = np.linspace(0, len(dataset) - 1, min(num_images, len(dataset))).round().astype(int)
    with torch.no_grad():
        samples = [model.test_step(pseudo_collate([dataset[int(index)]]))[0].cpu() for index in indices]
    return samples, dict(dataset.metainfo)


def _draw(visualizer: Any, image: np.ndarray, sample: Any, truth: bool, score_threshold: float) -> np.ndarray:
    sample, scale = copy.deepcopy(sample), max(1, round(_LEAST_SIDE / min(image.shape[:2])))
    options: dict[str, Any] = dict(draw_gt=truth, draw_pred=not truth)
    if 'gt_instances' in sample:
        image = image.repeat(scale, 0).repeat(scale, 1)
        for instances in (sample.gt_instances, sample.pred_instances):
            instances.bboxes = instances.bboxes * scale
        options['pred_score_thr'] = score_threshold
    else:
        options['with_labels'] = False
    visualizer.add_datasample('', image, sample, **options)
    return visualizer.get_image()


def comparison_figure(models: Sequence[TrainedModel], num_images: int = 4, score_threshold: float = .4) -> Figure:
    """One row an image: the input, the truth, and each model's answer (paper, figure 5).

    Works for detection and for semantic segmentation, with the visualizer that the first config names.

    Args:
        models (Sequence[TrainedModel]): Models of one task and one test set.
        num_images (int): Rows, spread evenly over the test set. Defaults to 4.
        score_threshold (float): Detections below it are not drawn. Defaults to 0.4.

    Raises:
        ValueError: If there is no model, two have the same name, or one was tested on other images.
        FileNotFoundError: If there is no such checkpoint.
    """
    if not models:
        raise ValueError('nothing to compare: give at least one model')
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        raise ValueError(f'the models must have different names, not {names}')
    predicted = [predict(model, num_images) for model in models]
    answers = {model.name: samples for model, (samples, _) in zip(models, predicted)}
    return samples_figure(answers, models[0].config, predicted[0][1], score_threshold)


def samples_figure(answers: Mapping[str, Sequence[Any]], config: Config, dataset_meta: Mapping[str, Any],
                   score_threshold: float = .4) -> Figure:
    """The same picture from data samples that are there already.

    Args:
        answers (Mapping[str, Sequence]): For every model, by its name: data samples of the same images,
            with truth and predictions.
        config (Config): Names the visualizer and its scope.
        dataset_meta (Mapping): Classes and colours.
        score_threshold (float): Detections below it are not drawn. Defaults to 0.4.

    Raises:
        ValueError: If a model answers for other images than the first.
    """
    import mmcv
    names = list(answers)
    paths = {name: [sample.img_path for sample in samples] for name, samples in answers.items()}
    for name in names:
        if paths[name] != paths[names[0]]:
            raise ValueError(f'{name} is tested on other images ({paths[name][0]}, …) than {names[0]} '
                             f'({paths[names[0]][0]}, …): give the configs the same test set')
    init_default_scope(config.get('default_scope', 'mmengine'))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of the visualizer: that it stores nothing, that a box leaves the image
        visualizer = VISUALIZERS.build(dict(config.visualizer, vis_backends=None, name='fna_comparison'))
        visualizer.dataset_meta = dict(dataset_meta)
        rows = []
        for row, path in enumerate(paths[names[0]]):
            image = mmcv.imread(path, channel_order='rgb')
            drawn = [_draw(visualizer, image, answers[name][row], False, score_threshold) for name in names]
            rows.append([image, _draw(visualizer, image, answers[names[0]][row], True, score_threshold), *drawn])
    titles = ['input', 'truth', *names]
    height, width = rows[0][0].shape[:2]
    figure = Figure(figsize=(3. * len(titles), 3. * height / width * len(rows) + .3), layout='constrained')
    FigureCanvasAgg(figure)
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            axes = figure.add_subplot(len(rows), len(titles), row * len(titles) + column + 1)
            axes.imshow(picture)
            axes.set_axis_off()
            if row == 0:
                axes.set_title(titles[column], fontsize=9)
    return figure
