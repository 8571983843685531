"""The rehearsal: the candidates of a network that grows are trained together on mm's Runner, each a little."""

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_dist_info
from mmengine.runner import Runner

from fna_mm.adaptation.finetuning import WARMUP, cosine, warm_up
from fna_mm.checkpoints.last_checkpoint import latest_checkpoint
from fna_mm.checks import check_integer, check_number
from fna_mm.sections import leaves_of

#: Share of the rehearsal's length between two checkpoints.
_SAVED = .1


@dataclass(frozen=True)
class Growing:
    """How a trained backbone grows.

    Args:
        steps (int): Weight steps of the rehearsal. Defaults to 500.
        kernel_sizes (tuple[int, ...]): Kernels to which a smaller one may grow. Defaults to (5, 7).
        width (float): Factor of the hidden channels of a layer that has more of them. Defaults to 1.5.
        added_layers (int): Layers that a stage may have more. Defaults to 1.
        share (float): Probability that a layer of a rehearsed path is another one than the trained. Defaults to 0.25.
        rate (float): Learning rate, as a share of the trained model's. Defaults to 0.05.
        boost (float): Factor of the gradients of what starts at zero, as in ``FNAElasticNet``. Defaults to 10.
        kept (bool): Whether the trained weights stay as they are, and only what the backbone may grow to is trained.
            Defaults to True.

    Raises:
        ValueError: If a number is out of range.
    """

    steps: int = 500
    kernel_sizes: tuple[int, ...] = (5, 7)
    width: float = 1.5
    added_layers: int = 1
    share: float = .25
    rate: float = .05
    boost: float = 10.
    kept: bool = True

    def __post_init__(self) -> None:
        check_integer('steps of the rehearsal', self.steps)
        check_number('rate of the rehearsal', self.rate, above=0)
        if check_number('share of the layers that change', self.share, above=0) > 1:
            raise ValueError(f'share={self.share} of the layers that change must not be above 1')

    @property
    def space(self) -> dict[str, Any]:
        """The arguments of ``ElasticSpace``."""
        return dict(kernel_sizes=self.kernel_sizes, width=self.width, added_layers=self.added_layers)


def check_can_train(cfg: Config) -> None:
    """Check that a config says how its model is trained.

    Args:
        cfg (Config): Config of the trained model.

    Raises:
        ValueError: If it has no optimizer with a learning rate.
    """
    if 'lr' not in ((cfg.get('optim_wrapper') or {}).get('optimizer') or {}):
        raise ValueError('growing trains the model: its config needs optim_wrapper=dict(optimizer=dict(type=…, lr=…))')


def rehearsal_config(trained: Config, backbone: Mapping[str, Any], growing: Growing,
                     kept: Sequence[Sequence[int]], seed: int) -> Config:
    """The config of the rehearsal: the user's model, data and optimizer, and a schedule of its own.

    The user's own hooks (``custom_hooks``) and learning rate schedule are left out: they are made for the length of the
    whole training.

    Args:
        trained (Config): Config of the trained model; it is not changed.
        backbone (Mapping): Section of the elastic backbone.
        growing (Growing): How the backbone grows.
        kept (Sequence[Sequence[int]]): Indices of the images that are used, of every data set in the training data.
        seed (int): Seed of the run.
    """
    cfg = copy.deepcopy(trained)
    cfg.model.backbone = dict(backbone)
    for leaf, indices in zip(leaves_of(cfg.train_dataloader['dataset']), kept):
        own = leaf.get('indices')
        known = range(own) if isinstance(own, int) else own
        leaf['indices'] = [int(index if known is None else known[index]) for index in indices]
    for name in ('val_dataloader', 'val_cfg', 'val_evaluator', 'test_dataloader', 'test_cfg', 'test_evaluator',
                 'experiment_name', 'auto_scale_lr', 'custom_hooks', 'resume'):
        cfg.pop(name, None)
    steps = growing.steps
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=steps, val_interval=steps + 1)
    cfg.param_scheduler = [warm_up(max(1, round(WARMUP * steps))), cosine(steps)]
    optimizer = cfg.optim_wrapper['optimizer']
    optimizer['lr'] = optimizer['lr'] * growing.rate
    if growing.kept:
        optimizer['weight_decay'] = 0.  # it would move what has no gradient
    cfg.default_hooks = dict(
        timer=dict(type='IterTimerHook'), logger=dict(type='LoggerHook', interval=max(1, steps // 20)),
        param_scheduler=dict(type='ParamSchedulerHook'), sampler_seed=dict(type='DistSamplerSeedHook'),
        checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=max(1, round(_SAVED * steps)),
                        max_keep_ckpts=2))
    cfg.custom_hooks = [dict(type='RehearsalHook', share=growing.share, seed=seed)]
    cfg.log_processor = dict(type='LogProcessor', window_size=20, by_epoch=False)
    cfg.randomness = dict(seed=seed)
    return cfg


def run_rehearsal(cfg: Config, start: str, work_dir: str) -> dict[str, Any]:
    """Run a rehearsal, or go on with one that was stopped, and return the state dict of its model.

    Args:
        cfg (Config): What :func:`rehearsal_config` gave; it is completed.
        start (str): Path of the checkpoint that it starts from.
        work_dir (str): Folder of mm's logs and checkpoints.
    """
    cfg.work_dir, cfg.load_from = work_dir, start
    latest = latest_checkpoint(work_dir)
    if latest is not None:
        cfg.load_from, cfg.resume = latest, True
    cfg.experiment_name = f'rehearsal_{os.path.basename(os.path.dirname(os.path.abspath(work_dir)))}'
    cfg.visualizer = dict(type='Visualizer', name=cfg.experiment_name)
    if get_dist_info()[1] > 1:
        cfg.launcher = 'pytorch'  # the group exists already: mmengine takes it as it is
        cfg.model_wrapper_cfg = dict(type='MMDistributedDataParallel', find_unused_parameters=True,
                                     broadcast_buffers=False)
        if not torch.cuda.is_available():
            cfg.model_wrapper_cfg['device_ids'] = None
    else:
        cfg.launcher = 'none'
    runner = Runner.from_cfg(cfg)
    runner.train()
    model: Any = runner.model
    return {key.removeprefix('module.'): value.detach().cpu() for key, value in model.state_dict().items()}
