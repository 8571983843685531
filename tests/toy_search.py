"""A search that takes a second: a tiny classifier on random images, as configs and registered classes.

A module rather than fixtures, because other processes import it too: ``custom_imports`` names it.
"""

import itertools
import os

import numpy as np
import torch
from mmcv.cnn import ConvModule
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS, TRANSFORMS
from mmengine.runner import Runner
from torch import nn

import fna_mm  # noqa: F401  registers what the configs below name
from fna_mm.checkpoints.opening import load_checkpoint

SIZE = 32
#: A network of the family that is small enough to be built by the dozen: three stages, output stride 8.
TOY = """[[8, 4], ['k3_e1'], 1]|
         [[4, 6], ['k3_e6', 'k3_e6'], 2]|
         [[6, 8], ['k3_e6', 'k3_e6', 'k3_e6'], 2]"""
#: Three layers to search, of 4, 5 and 4 candidates.
SUPERNET = dict(
    type='FNASuperNet', seed=TOY, layers_per_stage=(2, 1), kernel_sizes=(3, 5), expand_ratios=(3, 6),
    out_indices=(2, ), output_stride=8)
CHILD = dict(type='FNAChildNet', arch=TOY, out_indices=(2, ), output_stride=8)
COST = dict(type='MAddsCost', input_shape=(SIZE, SIZE), weight=0.02)

_NAMES = itertools.count()


@MODELS.register_module(force=True)
class ToyClassifier(BaseModel):
    """A backbone, and behind it what an architecture step must not touch: weights and BN statistics.

    It keeps in ``modes`` which mode its supernet ran in, one entry a forward. ``channels`` are those of the backbone's
    map: 8 of the toy network, 320 of MobileNetV2.
    """

    def __init__(self, backbone, norm_cfg=None, dropout=.3, data_preprocessor=None, channels=8):
        super().__init__(data_preprocessor)
        self.backbone = MODELS.build(backbone)
        self.neck = ConvModule(channels, 8, 1, norm_cfg=norm_cfg or dict(type='BN'))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8, 2)
        self.modes = []

    def forward(self, inputs, labels=None, mode='tensor'):
        self.modes.append((mode, getattr(self.backbone, 'mode', None)))
        scores = self.head(self.dropout(self.neck(self.backbone(inputs)[0]).mean((2, 3))))
        if mode == 'loss':
            return dict(loss_cls=nn.functional.cross_entropy(scores, labels))
        return list(scores)


@TRANSFORMS.register_module(force=True)
class ToyNoise:
    """An augmentation that draws from numpy's and torch's global generators."""

    def __call__(self, results):
        noise = .3 * torch.randn(()) + .3 * np.random.randn()
        return dict(results, inputs=results['inputs'] + float(noise))


@DATASETS.register_module(force=True)
class ToyImages(BaseDataset):
    """Random images of two classes, bright and dark on one side."""

    METAINFO = dict(classes=('left', 'right'))

    def __init__(self, length=16, **kwargs):
        self.length = length
        super().__init__(serialize_data=False, **kwargs)

    def load_data_list(self):
        generator = torch.Generator().manual_seed(11)
        samples = []
        for index in range(self.length):
            image = torch.randn(3, SIZE, SIZE, generator=generator)
            image[:, :, (index % 2) * SIZE // 2:][:, :, :SIZE // 2] += 1
            samples.append(dict(inputs=image, labels=index % 2))
        return samples

    def prepare_data(self, idx):
        info = self.get_data_info(idx)
        return self.pipeline(dict(inputs=info['inputs'], labels=info['labels']))


@METRICS.register_module(force=True)
class ToyScore(BaseMetric):
    """The mean of the scores: a number that differs whenever an output does."""

    def process(self, data_batch, data_samples):
        self.results += [float(scores.sum()) for scores in data_samples]

    def compute_metrics(self, results):
        return dict(score=float(np.mean(results)))


@HOOKS.register_module(force=True)
class Recorder(Hook):
    """Copies of the model's state dict around every iteration, and its batches.

    With ``priority='HIGH'`` ``after`` is what the weight step left, before ``AlternatingOptimizerHook``
    comes to its turn; by default it is what that hook left.
    """

    priority = 'LOWEST'

    def __init__(self):
        self.before, self.after, self.batches = [], [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.before.append(snapshot(runner.model))
        self.batches.append(data_batch['inputs'].clone())

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.after.append(snapshot(runner.model))


def snapshot(model):
    """A copy of everything in the model that a step may change, architecture parameters under 'alpha'."""
    state = {key: value.clone() for key, value in model.state_dict().items()}
    (key, ) = [key for key in state if key.endswith('architecture_parameters')]
    return dict(state, alpha=state.pop(key))


def changed(before, after):
    """The keys whose tensors differ in any bit."""
    assert list(before) == list(after)
    return {key for key in before if not torch.equal(before[key], after[key])}


def assert_same(one, other, path=''):
    """Equal in every bit, dicts and lists all the way down."""
    assert type(one) is type(other), path
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    elif isinstance(one, dict):
        assert list(one) == list(other), path
        for key in one:
            assert_same(one[key], other[key], f'{path}.{key}')
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), path
        for index, pair in enumerate(zip(one, other)):
            assert_same(*pair, f'{path}.{index}')
    else:
        assert one == other, path


def toy_dataloader(part, ratio=.5, batch_size=4, length=16, **kwargs):
    """A section like ``train_dataloader``, of one part of the toy images, or of all under ``part=None``."""
    dataset = dict(type='ToyImages', length=length, pipeline=[dict(type='ToyNoise')] if part else [])
    if part is not None:
        dataset = dict(type='RandomSplit', dataset=dataset, ratio=ratio, part=part)
    return dict(dict(
        batch_size=batch_size, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=part is not None),
        collate_fn=dict(type='default_collate'), dataset=dataset), **kwargs)


def search_config(work_dir, epochs=2, iters=None, hook=None, **overrides):
    """The config of a toy search: 2 iterations an epoch, architecture steps after the first one.

    Args:
        work_dir (str | Path): The runner's.
        epochs (int): Epochs, unless ``iters`` is given.
        iters (int, optional): Iterations under ``IterBasedTrainLoop``.
        hook (dict, optional): Arguments of ``AlternatingOptimizerHook`` to replace.
        **overrides: Top-level sections to replace.
    """
    by_epoch = iters is None
    train_cfg = (dict(type='EpochBasedTrainLoop', max_epochs=epochs, val_interval=100) if by_epoch else
                 dict(type='IterBasedTrainLoop', max_iters=iters, val_interval=100))
    search = dict(
        type='AlternatingOptimizerHook', dataloader=toy_dataloader('arch'), cost=COST,
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=.05, betas=(.5, .999), weight_decay=1e-3),
                           clip_grad=dict(max_norm=35)))
    search.update(dict(begin_epoch=1) if by_epoch else dict(begin_iter=2))
    search.update(hook or {})
    cfg = dict(
        custom_imports=dict(imports=['fna_mm', 'toy_search']),
        default_scope='mmengine',
        experiment_name=f'toy_{os.getpid()}_{next(_NAMES)}',  # mmengine's logger and hub are global, by this name
        work_dir=str(work_dir),
        model=dict(type='ToyClassifier', backbone=SUPERNET),
        train_dataloader=toy_dataloader('weights'),
        val_dataloader=toy_dataloader(None, length=4),
        val_evaluator=dict(type='ToyScore'),
        val_cfg=dict(type='ValLoop'),
        train_cfg=train_cfg,
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=.05, momentum=.9, weight_decay=1e-4)),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1),
            checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=by_epoch)),
        custom_hooks=[search],
        log_level='WARNING',
        visualizer=dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]),
        log_processor=dict(window_size=1, by_epoch=by_epoch),
        randomness=dict(seed=3))
    cfg.update(overrides)
    return Config(cfg)


def child_net_config(work_dir, **overrides):
    """The config of a plain training of the toy classifier with a small child in it."""
    cfg = search_config(work_dir, **dict(dict(epochs=1), **overrides))
    cfg.model = dict(type='ToyClassifier', backbone=CHILD)
    cfg.train_dataloader = toy_dataloader(None, length=8)
    if 'custom_hooks' not in overrides:
        cfg.custom_hooks = []
    return cfg


def build(cfg):
    """The runner of a config, with the global state of an earlier one out of its way."""
    return Runner.from_cfg(cfg)


def train(cfg):
    """Build the runner, train, and return it."""
    runner = build(cfg)
    runner.train()
    return runner


def find_hook(runner, name):
    """The runner's hook whose class has this name."""
    (hook, ) = [hook for hook in runner.hooks if type(hook).__name__ == name]
    return hook


def load(path):
    """A checkpoint, opened without running any code in it."""
    return load_checkpoint(str(path))
