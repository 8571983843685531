"""Pictures of the predictions of several models on the same images, drawn by mm's own visualizer."""

import copy
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Optional

import mmcv
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, VISUALIZERS, init_default_scope

from fna_mm.checkpoints.whole_files import put_whole
from fna_mm.checkpoints.whole_models import build_trained

#: Images whose shorter side has fewer pixels are enlarged before boxes and names are drawn on them.
_LEAST_SIDE = 384
_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.ppm')
#: Characters that fit above a picture in a line of a title, and the most lines.
_TITLE_WIDTH, _TITLE_LINES = 38, 3
#: Largest number of rows in one picture.
_MOST_ROWS = 50


@dataclass(frozen=True)
class TrainedModel:
    """A trained mm model.

    Args:
        name (str): Title of the model's column.
        config (Config): Config of the model; its test set or test pipeline is used.
        checkpoint (str): Path or URL of the model's weights.
    """

    name: str
    config: Config
    checkpoint: str


def trained_models(named: Sequence[tuple[str, str, str]]) -> list[TrainedModel]:
    """Open the configs of models.

    Args:
        named (Sequence[tuple[str, str, str]]): Title, path of the config and checkpoint of each model.

    Raises:
        FileNotFoundError: If there is no such config.
    """
    return [TrainedModel(name, Config.fromfile(config), checkpoint) for name, config, checkpoint in named]


def _last_folders(path: str) -> str:
    """The end of a path: its file, and the folder around it."""
    return '/'.join(Path(path).parts[-2:])


def _fit_title(name: str) -> str:
    """Break a title into lines that are no wider than a picture; of a very long one, the end is shown."""
    lines = textwrap.wrap(name, _TITLE_WIDTH) or ['']
    shown = lines[-_TITLE_LINES:]
    return '\n'.join(shown if shown == lines else ['…' + shown[0][1:], *shown[1:]])


def name_models(files: Sequence[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """Choose different titles for models, from the names of their configs and, if needed, checkpoints and folders.

    Args:
        files (Sequence[tuple[str, str]]): Path of the config and checkpoint of each model.
    """
    for title in (lambda config, checkpoint: Path(config).stem,
                  lambda config, checkpoint: f'{Path(config).stem}, {Path(checkpoint).stem}',
                  lambda config, checkpoint: f'{_last_folders(config)}, {_last_folders(checkpoint)}',
                  lambda config, checkpoint: f'{config}, {checkpoint}'):
        names = [title(*pair) for pair in files]
        if len(set(names)) == len(names):
            break
    return [(name, *pair) for name, pair in zip(names, files)]


def find_images(paths: Sequence[str]) -> list[str]:
    """Find the images in files and folders; the images of a folder are sorted by name.

    Args:
        paths (Sequence[str]): Image files, and folders of image files.

    Raises:
        FileNotFoundError: If there is no such file or folder, or no image in a folder.
    """
    found: list[str] = []
    for path in paths:
        inside = sorted(Path(path).iterdir()) if Path(path).is_dir() else []
        images = [str(file) for file in inside if file.suffix.lower() in _SUFFIXES]
        if not images and not Path(path).is_file():
            raise FileNotFoundError(f'no image in the folder {path}: expected files ending in {", ".join(_SUFFIXES)}'
                                    if Path(path).is_dir() else f'{path}: there is no such image or folder')
        found += images or [path]
    return found


def _load(trained: TrainedModel) -> tuple[Any, Any]:
    """Build the model with its weights; return it and the section of its test set, which is not built."""
    cfg = copy.deepcopy(trained.config)
    if not cfg.get('model') or not cfg.get('test_dataloader'):
        raise ValueError(f'the config of {trained.name} has no model, or no test_dataloader: that says how its images '
                         'are prepared and what its classes are')
    model = build_trained(cfg, f'the config of {trained.name}', trained.checkpoint)
    model.cfg = cfg  # mm's inference reads it
    return model.to('cuda' if torch.cuda.is_available() else 'cpu').eval(), cfg.test_dataloader.dataset


def predict(trained: TrainedModel, num_images: int, progress: Optional[Callable[[Sequence], Iterable]] = None
            ) -> tuple[list[Any], dict]:
    """Predict images that are spread evenly over the test set; the data samples also hold the truth.

    Args:
        trained (TrainedModel): The model.
        num_images (int): Number of images; a smaller test set is predicted as a whole.
        progress (Callable, optional): Iterates over the images and shows the progress.

    Returns:
        tuple: The samples, and the data set's meta information (classes and colours).

    Raises:
        ValueError: If the config has no test set, or the checkpoint does not fit the model.
        FileNotFoundError: If there is no such checkpoint.
    """
    model, section = _load(trained)
    dataset = DATASETS.build(section)
    indices = np.linspace(0, len(dataset) - 1, min(num_images, len(dataset))).round().astype(int)
    with torch.no_grad():
        samples = [model.test_step(pseudo_collate([dataset[int(index)]]))[0].cpu()
                   for index in (progress or iter)(indices)]
    return samples, dict(dataset.metainfo)


def predict_images(trained: TrainedModel, paths: Sequence[str],
                   progress: Optional[Callable[[Sequence], Iterable]] = None) -> tuple[list[Any], dict]:
    """Predict any images with mmdet's or mmseg's own inference.

    Args:
        trained (TrainedModel): The model.
        paths (Sequence[str]): Image files.
        progress (Callable, optional): Iterates over the images and shows the progress.

    Returns:
        tuple: The samples, and the data set's meta information (classes and colours).

    Raises:
        ValueError: If the model is neither mmdet's nor mmseg's, or the checkpoint does not fit the model.
        FileNotFoundError: If there is no such checkpoint.
    """
    scope = trained.config.get('default_scope')
    if scope == 'mmdet':
        from mmdet.apis import inference_detector as inference
    elif scope == 'mmseg':
        from mmseg.apis import inference_model as inference
    else:
        raise ValueError(f'the config of {trained.name} has default_scope={scope!r}: image files work with models of '
                         'mmdet and mmseg only; compare other models on their test set')
    model, section = _load(trained)
    section.lazy_init = True  # classes and colours are read without annotation files
    metainfo = dict(DATASETS.build(section).metainfo)
    return [inference(model, path).cpu() for path in (progress or iter)(paths)], metainfo


def _read(path: str) -> np.ndarray:
    """Read an image, (height, width, 3) RGB."""
    image = mmcv.imread(path)
    if image is None:
        raise ValueError(f'{path} is no image that can be read')
    return mmcv.bgr2rgb(image)


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


def comparison_figure(models: Sequence[TrainedModel], num_images: int = 4, score_threshold: float = .4,
                      paths: Sequence[str] = (), progress: Optional[Callable[[Sequence], Iterable]] = None) -> Figure:
    """Draw each image in a row: input, truth if there is one, each model's predictions (paper, figures 5 and 6).

    This works for detection and for semantic segmentation, with the visualizer of the first config.

    Args:
        models (Sequence[TrainedModel]): Models of one task; without ``paths``, models of one test set.
        num_images (int): Number of rows; the images are spread evenly over the test set. Defaults to 4.
        score_threshold (float): Detections with a lower score are not drawn. Defaults to 0.4.
        paths (Sequence[str]): Image files to draw instead of the test set, without truth. Defaults to ().
        progress (Callable, optional): Iterates over each model's images and shows the progress.

    Raises:
        ValueError: If there is no model, two models have the same name or other test images, a checkpoint
            does not fit its model, or there are too many images for a picture.
        FileNotFoundError: If there is no such checkpoint.
    """
    if not models:
        raise ValueError('nothing to compare: give at least one model')
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        raise ValueError(f'the models must have different names, not {names}')
    rows = len(paths) or num_images
    if rows > _MOST_ROWS:
        raise ValueError(f'{rows} images are too many for one picture: give at most {_MOST_ROWS}')
    for path in paths:
        _read(path)
    predicted = [predict_images(model, paths, progress) if paths else predict(model, num_images, progress)
                 for model in models]
    answers = {model.name: samples for model, (samples, _) in zip(models, predicted)}
    return samples_figure(answers, models[0].config, predicted[0][1], score_threshold, not paths)


def samples_figure(answers: Mapping[str, Sequence[Any]], config: Config, dataset_meta: Mapping[str, Any],
                   score_threshold: float = .4, truth: bool = True) -> Figure:
    """Draw the picture of :func:`comparison_figure` from data samples with predictions.

    Args:
        answers (Mapping[str, Sequence]): Model name → its data samples of the images; all models have the
            same images.
        config (Config): A config with the visualizer and its scope.
        dataset_meta (Mapping): Classes and colours of the data set.
        score_threshold (float): Detections with a lower score are not drawn. Defaults to 0.4.
        truth (bool): Whether the samples hold the truth. Defaults to True.

    Raises:
        ValueError: If the models have samples of different images.
    """
    names = list(answers)
    paths = {name: [sample.img_path for sample in samples] for name, samples in answers.items()}
    for name in names:
        if paths[name] != paths[names[0]]:
            raise ValueError(f'{name} is tested on other images ({paths[name][0]}, …) than {names[0]} '
                             f'({paths[names[0]][0]}, …): give the configs the same test set')
    init_default_scope(config.get('default_scope', 'mmengine'))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the visualizer warns that it stores nothing, and of boxes outside the image
        visualizer = VISUALIZERS.build(dict(config.visualizer, vis_backends=None, name='fna_comparison'))
        visualizer.dataset_meta = dict(dataset_meta)
        rows = []
        for row, path in enumerate(paths[names[0]]):
            image = _read(path)
            first = [_draw(visualizer, image, answers[names[0]][row], True, score_threshold)] if truth else []
            drawn = [_draw(visualizer, image, answers[name][row], False, score_threshold) for name in names]
            rows.append([image, *first, *drawn])
    titles = ['input', *(['truth'] if truth else []), *names]
    heights = [images[0].shape[0] / images[0].shape[1] for images in rows]
    figure = Figure(figsize=(3. * len(titles), 3. * sum(heights) + .3), layout='constrained')
    grid = figure.add_gridspec(len(rows), len(titles), height_ratios=heights)
    FigureCanvasAgg(figure)
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(picture)
            axes.set_axis_off()
            if row == 0:
                axes.set_title(_fit_title(titles[column]), fontsize=9, parse_math=False)
    return figure


def picture_format(out: str) -> str:
    """The format of a picture by its file's suffix.

    Raises:
        ValueError: If matplotlib cannot write that format.
    """
    formats = FigureCanvasAgg(Figure()).get_supported_filetypes()
    suffix = Path(out).suffix[1:].lower()
    if suffix not in formats:
        raise ValueError(f'{out!r} does not end in the format of a picture: expected .png, .jpg, .svg or .pdf')
    return suffix


def write_picture(figure: Figure, out: str) -> None:
    """Write a figure in the format of the file's suffix.

    Args:
        figure (Figure): The figure.
        out (str): Path of the file, on any mmengine file backend.

    Raises:
        ValueError: If matplotlib cannot write that format.
    """
    buffer = BytesIO()
    figure.savefig(buffer, format=picture_format(out), dpi=110)
    put_whole({out: buffer.getvalue()})
