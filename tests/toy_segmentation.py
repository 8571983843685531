"""A trained segmentation model that takes a second: a tiny network that finds bright squares, with its data on disk."""

import numpy as np
import torch
from mmcv import imwrite
from mmengine.config import Config
from mmengine.runner import Runner
from toy_search import TOY

SIZE = 32

CONFIG = '''
custom_imports = dict(imports=['fna_mm', 'mmseg.models', 'mmseg.datasets', 'mmseg.evaluation'])
default_scope = 'mmseg'
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[128.] * 3, std=[64.] * 3, bgr_to_rgb=True, pad_val=0, seg_pad_val=255,
        size=({size}, {size})),
    backbone=dict(type='FNAChildNet', arch="""{arch}""", out_indices=(1, 2), output_stride=8, norm_cfg=norm_cfg),
    decode_head=dict(
        type='FCNHead', in_channels=8, in_index=1, channels=8, num_convs=1, kernel_size=1, concat_input=False,
        num_classes=2, norm_cfg=norm_cfg, align_corners=False, dropout_ratio=0.1,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0)),
    train_cfg=dict(), test_cfg=dict(mode='whole'))
metainfo = dict(classes=('ground', 'square'), palette=[[0, 0, 0], [255, 0, 0]])
train_pipeline = [
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs')]
test_pipeline = [
    dict(type='LoadImageFromFile'), dict(type='Resize', scale=({size}, {size}), keep_ratio=True),
    dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
dataset = dict(
    type='BaseSegDataset', data_root='{root}', metainfo=metainfo, img_suffix='.png', seg_map_suffix='.png',
    data_prefix=dict(img_path='images', seg_map_path='labels'), pipeline=train_pipeline)
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='InfiniteSampler', shuffle=True), drop_last=True, dataset=dataset)
val_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(dataset, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
train_cfg = dict(type='IterBasedTrainLoop', max_iters=200, val_interval=200)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4))
param_scheduler = [dict(type='PolyLR', eta_min=0, power=0.9, by_epoch=False, begin=0, end=200)]
default_hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=200))
log_processor = dict(by_epoch=False)
log_level = 'WARNING'
randomness = dict(seed=0)
'''


def draw_images(root, number=24):
    """Write noisy images with a bright square, and their labels."""
    random = np.random.default_rng(0)
    for index in range(number):
        image = random.normal(100, 30, (SIZE, SIZE, 3))
        label = np.zeros((SIZE, SIZE), np.uint8)
        side, (top, left) = random.integers(8, 16), random.integers(0, SIZE - 16, 2)
        image[top:top + side, left:left + side] += 70
        label[top:top + side, left:left + side] = 1
        imwrite(image.clip(0, 255).astype(np.uint8), str(root / f'images/{index:02}.png'))
        imwrite(label, str(root / f'labels/{index:02}.png'))


def write_config(folder, **replaced):
    """Write the config; return its path.

    Args:
        folder (Path): Where it goes, and where the images are.
        **replaced: Texts in the config → other texts, by any name.
    """
    text = CONFIG.replace('{arch}', TOY).replace('{size}', str(SIZE)).replace('{root}', str(folder))
    for before, after in replaced.values():
        assert before in text
        text = text.replace(before, after)
    path = folder / f'{"_".join(replaced) or "toy"}.py'
    path.write_text(text)
    return path


def train_segmentor(folder, **replaced):
    """Draw the images, train the model, and return the paths of its config and its checkpoint.

    Args:
        folder (Path): Where everything goes.
        **replaced: As in :func:`write_config`.
    """
    draw_images(folder)
    config = write_config(folder, **replaced)
    cfg = Config.fromfile(config)
    cfg.work_dir = str(folder / 'trained')
    cfg.experiment_name = f'toy_segmentation_{folder.name}'
    torch.manual_seed(0)
    Runner.from_cfg(cfg).train()
    return str(config), str(folder / 'trained/iter_200.pth')
