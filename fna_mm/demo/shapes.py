"""The demo's data: a detection data set of circles, squares and triangles, drawn from a random seed."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

import cv2
import numpy as np

from fna_mm.checks import check_integer

CLASSES = ('circle', 'square', 'triangle')
#: The order is fixed, because the index of a split is part of the random seed of its images.
SPLITS = ('train', 'val', 'test')
MARKER = 'shapes.json'

_MAX_SHAPES = 6
#: Radius of the circle around a shape, as a share of the image's shorter side.
_RADII = (.1, .28)
#: Smallest visible share of a shape's area; the rest is hidden by other shapes or lies outside the image.
_MIN_VISIBLE = .5
#: Smallest Euclidean distance in BGR between a shape's colour and the mean colour below it.
_MIN_CONTRAST = 45.
_JPEG_QUALITY = 92


@dataclass(frozen=True)
class Sample:
    """One drawn image.

    Args:
        image (np.ndarray): BGR, (height, width, 3) uint8.
        labels (tuple[int, ...]): Index in ``CLASSES`` of every shape, in the order of drawing.
        masks (np.ndarray): Visible pixels of every shape, (shapes, height, width) bool.
    """

    image: np.ndarray
    labels: tuple[int, ...]
    masks: np.ndarray


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The smallest box around a mask, as COCO writes it: (x, y, width, height) in pixels.

    Args:
        mask (np.ndarray): (height, width) bool.

    Raises:
        ValueError: If the mask is empty.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        raise ValueError('an empty mask has no box')
    return (int(columns[0]), int(rows[0]), int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1)


def _background(rng: np.random.RandomState, size: tuple[int, int]) -> np.ndarray:
    """Draw clouds of colour, stripes, a few lines and noise; (height, width, 3) float32, BGR."""
    height, width = size
    image = np.full((height, width, 3), rng.uniform(60, 190, 3), np.float32)
    for cells, strength in ((3, 45.), (9, 30.)):
        clouds = rng.uniform(-strength, strength, (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(clouds, (width, height), interpolation=cv2.INTER_CUBIC)
    angle, period = rng.uniform(0, math.pi), rng.uniform(6, 24)
    y, x = np.mgrid[:height, :width]
    stripes = np.sin((x * math.cos(angle) + y * math.sin(angle)) * 2 * math.pi / period)
    image += (stripes[..., None] * rng.uniform(-22, 22, 3)).astype(np.float32)
    for _ in range(rng.randint(2, 7)):  # edges that belong to no shape
        ends = (rng.uniform(size=(2, 2)) * (width, height)).astype(int)
        cv2.line(image, tuple(map(int, ends[0])), tuple(map(int, ends[1])), rng.uniform(20, 235, 3).tolist(),
                 int(rng.randint(1, 4)))
    return image + rng.normal(0, 7, image.shape).astype(np.float32)


def _shape_mask(rng: np.random.RandomState, label: int, size: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Draw a shape at random: its visible pixels, (height, width) bool, and its whole area in pixels."""
    height, width = size
    low, high = (share * min(size) for share in _RADII)
    radius = math.exp(rng.uniform(math.log(low), math.log(high)))
    center = rng.uniform(size=2) * (width, height)
    canvas = np.zeros(size, np.uint8)
    if CLASSES[label] == 'circle':
        radius *= .85  # so that it looks as large as a square with this diagonal
        cv2.circle(canvas, tuple(map(int, np.rint(center))), max(1, round(radius)), 1, -1)
        return canvas.astype(bool), math.pi * radius**2
    corners = 4 if CLASSES[label] == 'square' else 3
    angles = rng.uniform(0, 2 * math.pi) + np.arange(corners) * 2 * math.pi / corners
    points = center + radius * np.stack([np.cos(angles), np.sin(angles)], 1)
    cv2.fillPoly(canvas, [np.rint(points).astype(np.int32)], 1)
    return canvas.astype(bool), corners / 2 * radius**2 * math.sin(2 * math.pi / corners)


def _paint(rng: np.random.RandomState, image: np.ndarray, mask: np.ndarray) -> None:
    """Fill a mask with a shaded colour that differs from what lies below it."""
    below = image[mask].mean(0)
    color = rng.uniform(15, 240, 3)
    while np.linalg.norm(color - below) < _MIN_CONTRAST:
        color = rng.uniform(15, 240, 3)
    shade = np.linspace(-1, 1, image.shape[1], dtype=np.float32)[None, :, None] * rng.uniform(-30, 30, 3)
    noise = rng.normal(0, 9, image.shape)
    image[mask] = (color + shade + noise)[mask]


def draw_sample(rng: np.random.RandomState, size: tuple[int, int]) -> Sample:
    """Draw one image with one to six shapes; later shapes may hide parts of earlier ones.

    Args:
        rng (np.random.RandomState): Source of random numbers.
        size (tuple[int, int]): (height, width) in pixels.
    """
    image = _background(rng, size)
    labels: list[int] = []
    areas: list[float] = []
    masks = np.zeros((0, *size), bool)
    for _ in range(rng.randint(1, _MAX_SHAPES + 1)):
        label = int(rng.randint(len(CLASSES)))
        mask, area = _shape_mask(rng, label, size)
        visible = np.concatenate([masks & ~mask, mask[None]])
        shares = visible.sum((1, 2)) / np.array([*areas, area])
        # A shape that does not fit is left out; the first one is drawn again until it fits.
        while not labels and shares[0] < _MIN_VISIBLE:
            mask, area = _shape_mask(rng, label, size)
            visible, shares = mask[None], np.array([mask.sum() / area])
        if shares.min() < _MIN_VISIBLE:
            continue
        _paint(rng, image, mask)
        masks = visible
        labels.append(label)
        areas.append(area)
    blurred = cv2.GaussianBlur(image, (3, 3), .6)  # edges are not sharper than in photographs
    return Sample(np.clip(np.rint(blurred), 0, 255).astype(np.uint8), tuple(labels), masks)


def sample_of(split: str, index: int, size: Sequence[int], seed: int) -> Sample:
    """Draw one image of a split; it depends on the arguments alone.

    Args:
        split (str): ``'train'``, ``'val'`` or ``'test'``.
        index (int): Index of the image in the split, from 0.
        size (Sequence[int]): (height, width) in pixels.
        seed (int): Random seed of the data set.
    """
    # The random numbers of RandomState never change. Those of default_rng may change with numpy's version.
    rng = np.random.RandomState([seed, SPLITS.index(split), index])
    return draw_sample(rng, (size[0], size[1]))


def _draw_split(root: Path, split: str, number: int, size: Sequence[int], seed: int) -> None:
    folder = root / 'images' / split
    folder.mkdir(parents=True, exist_ok=True)
    images: list[dict] = []
    annotations: list[dict] = []
    for index in range(number):
        sample = sample_of(split, index, size, seed)
        name = f'{index:05d}.jpg'
        _, encoded = cv2.imencode('.jpg', sample.image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        (folder / name).write_bytes(encoded.tobytes())
        images.append(dict(id=index, file_name=name, height=size[0], width=size[1]))
        annotations += [
            dict(id=len(annotations) + number_in_image, image_id=index, category_id=label, bbox=tight_box(mask),
                 area=int(mask.sum()), iscrowd=0)
            for number_in_image, (label, mask) in enumerate(zip(sample.labels, sample.masks), 1)
        ]
    categories = [dict(id=label, name=name) for label, name in enumerate(CLASSES)]
    path = root / 'annotations' / f'{split}.json'
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))


def _check_arguments(num_images: Mapping[str, int], size: Sequence[int], seed: int) -> dict[str, Any]:
    """Check the arguments; return what the marker file holds, by which the data set is recognised."""
    numbers = dict(num_images)
    if not numbers or not set(numbers) <= set(SPLITS) or not all(
            isinstance(number, int) and number > 0 for number in numbers.values()):
        raise ValueError(f'num_images must give a positive number for some of {SPLITS}, such as '
                         f'dict(train=400, val=50, test=200), not {num_images!r}')
    if len(size) != 2 or not all(isinstance(side, int) and side >= 32 for side in size):
        raise ValueError(f'size must be (height, width) of at least 32 pixels each, not {size!r}')
    check_integer('seed', seed, least=0, most=2**32 - 1)
    return dict(num_images=numbers, size=list(size), seed=seed)


def _read_marker(root: Path) -> Optional[dict[str, Any]]:
    try:
        return json.loads((root / MARKER).read_text())
    except FileNotFoundError:
        return None


def _is_complete(root: Path, num_images: Mapping[str, int]) -> bool:
    return all((root / 'annotations' / f'{split}.json').is_file() and all(
        (root / 'images' / split / f'{index:05d}.jpg').is_file() for index in range(number))
        for split, number in num_images.items())


def draw_shapes(root: Union[str, Path],
                num_images: Mapping[str, int],
                size: Sequence[int] = (128, 128),
                seed: int = 0) -> bool:
    """Draw a detection data set in COCO format; nothing is drawn when it is already there.

    The folder then holds ``images/<split>/00000.jpg`` …, ``annotations/<split>.json`` and
    ``shapes.json``, which stores the arguments. Boxes are tight around the visible part of a shape.

    Args:
        root (str | Path): Folder of the data set; it is created if it does not exist.
        num_images (Mapping[str, int]): Images of each split, such as dict(train=400, val=50, test=200).
        size (Sequence[int]): (height, width) of all images in pixels. Defaults to (128, 128).
        seed (int): Random seed that decides all images. Defaults to 0.

    Returns:
        bool: Whether anything was drawn.

    Raises:
        ValueError: If an argument is illegal.
        FileExistsError: If the folder holds other files, or shapes drawn with other arguments. No file is
            overwritten then.
    """
    root = Path(root)
    wanted = _check_arguments(num_images, size, seed)
    marker = _read_marker(root)
    if marker is None and root.exists() and any(root.iterdir()):
        raise FileExistsError(f'{root} is not empty and has no {MARKER}: give draw_shapes a folder of its own')
    if marker is not None and marker.get('arguments') != wanted:
        raise FileExistsError(f'{root} holds shapes drawn with {marker.get("arguments")}, asked for are {wanted}: '
                              'give another folder, or delete this one')
    if marker is not None and marker.get('complete') and _is_complete(root, num_images):
        return False
    root.mkdir(parents=True, exist_ok=True)
    (root / MARKER).write_text(json.dumps(dict(arguments=wanted, complete=False)))
    for split, number in num_images.items():
        _draw_split(root, split, number, size, seed)
    (root / MARKER).write_text(json.dumps(dict(arguments=wanted, complete=True)))
    return True
