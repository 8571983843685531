"""mm's own configs on tiny drawn images, as a user would have them."""

import json
from pathlib import Path

import numpy as np
from mmcv import imwrite
from mmengine.config import Config

from fna_mm.configs import config_path, config_text
from fna_mm.sections import find_sections, leaves_of

#: Sides (height, width) of the drawn images.
SIZE = 96, 128
CLASSES = ('square', 'disc')
#: Transforms' arguments that are sizes in pixels, (width, height) or (height, width).
_SIZES = ('scale', 'img_scale', 'crop_size', 'size', 'scales', 'img_size')


def draw_detection(folder, number=8):
    """Images with squares and discs, with boxes and masks in COCO's format."""
    random = np.random.default_rng(0)
    images, annotations = [], []
    for index in range(number):
        image = random.normal(100, 20, (*SIZE, 3))
        images.append(dict(id=index, file_name=f'{index}.png', height=SIZE[0], width=SIZE[1]))
        for side in (40, 32):
            x, y = (int(value) for value in random.integers(2, 50, 2))
            image[y:y + side, x:x + side] += 80
            corners = [x, y, x + side, y, x + side, y + side, x, y + side]
            annotations.append(dict(id=len(annotations) + 1, image_id=index, category_id=1 + side % 3 % 2, iscrowd=0,
                                    bbox=[x, y, side, side], area=side * side, segmentation=[corners]))
        imwrite(image.clip(0, 255).astype(np.uint8), str(folder / f'images/{index}.png'))
    categories = [dict(id=1, name=CLASSES[0]), dict(id=2, name=CLASSES[1])]
    (folder / 'labels.json').write_text(json.dumps(dict(
        images=images, annotations=annotations, categories=categories)))


def draw_segmentation(folder, number=8):
    """Images with a square, and label maps."""
    random = np.random.default_rng(0)
    for index in range(number):
        image, label = random.normal(100, 20, (*SIZE, 3)), np.zeros(SIZE, np.uint8)
        x, y = random.integers(2, 50, 2)
        image[y:y + 40, x:x + 40] += 80
        label[y:y + 40, x:x + 40] = 1
        imwrite(image.clip(0, 255).astype(np.uint8), str(folder / f'images/{index}.png'))
        imwrite(label, str(folder / f'labels/{index}.png'))


def smaller(node, side):
    """A pipeline whose sizes are at most ``side``."""
    if isinstance(node, dict):
        return {key: _at_most(value, side) if key in _SIZES else smaller(value, side) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(smaller(inner, side) for inner in node)
    return node


def _at_most(value, side):
    if isinstance(value, (list, tuple)):
        return type(value)(_at_most(inner, side) for inner in value)
    return min(value, side) if isinstance(value, int) and value > 1 else smaller(value, side)


def user_config(package, name, folder, side=128):
    """Write a stock config with the drawn images as its data; return its path.

    Args:
        package (str): mmdet or mmseg.
        name (str): Path of the config among the package's own.
        folder (Path): Where the images are, and where the config goes.
        side (int, optional): Largest side of an image in pixels; None leaves all sizes as they are.
    """
    cfg = Config.fromfile(config_path(f'{package}::{name}'))
    cfg.default_scope = package
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.num_workers, loader.persistent_workers = 0, False
        if side:
            loader.dataset = smaller(loader.dataset.to_dict(), side)
        for leaf in leaves_of(loader.dataset):
            for key in ('ann_file', 'data_prefix', 'filter_cfg', 'indices', 'seg_map_suffix', 'img_suffix'):
                leaf.pop(key, None)
            leaf.update(data_root=str(folder), metainfo=dict(classes=CLASSES))
            if package == 'mmdet':
                leaf.update(type='CocoDataset', ann_file='labels.json', data_prefix=dict(img='images/'))
            else:
                leaf.update(type='BaseSegDataset', data_prefix=dict(img_path='images', seg_map_path='labels'),
                            img_suffix='.png', seg_map_suffix='.png', reduce_zero_label=False)
    for loading in find_sections(cfg._cfg_dict, 'LoadAnnotations'):
        loading.pop('reduce_zero_label', None)
    cfg.model.data_preprocessor.pop('batch_augments', None)
    if side and cfg.model.data_preprocessor.get('size'):
        cfg.model.data_preprocessor.size = (side, side)
    path = folder / f'{Path(name).stem}.py'
    path.write_text(config_text(cfg, 'A config of a user'), encoding='utf-8')
    return str(path)
