"""The training config of an adapted child: the user's own, with a short schedule from the child's weights."""

import copy
from collections.abc import Mapping
from typing import Any, Optional

from mmengine.config import Config

from fna_mm.checks import check_number
from fna_mm.sections import type_of

#: Share of the schedule that the learning rate rises for.
WARMUP = .05
_MOST_WARMUP = 200
_DISTILLATIONS = 'FeatureDistillationHook', 'OutputDistillationHook'
_CHECKPOINT = '{{ fileDirname }}/child.pth'


def finetuning_config(trained: Config, backbone: Mapping[str, Any], share: float, rate: float,
                      distillation: Optional[Mapping[str, Any]] = None) -> Config:
    """The config of a child: it evaluates the adapted weights as they are, and fine-tunes them.

    Data, losses and hooks stay the user's. The schedule is a share of the user's, with a short warm-up and a cosine to
    zero instead of the user's own steps.

    Args:
        trained (Config): Config of the trained model; it is not changed.
        backbone (Mapping): Section of the child's backbone.
        share (float): Length of the schedule, as a share of the trained model's.
        rate (float): Learning rate, as a share of the trained model's.
        distillation (Mapping, optional): Section of the hook that holds the child near the trained model. Defaults to
            None: there is none, also if the trained model's config has one.

    Raises:
        ValueError: If a share is no positive number.
    """
    check_number('share of the schedule', share, above=0)
    check_number('share of the learning rate', rate, above=0)
    cfg = copy.deepcopy(trained)
    cfg.model.backbone = dict(backbone)
    imports = cfg.get('custom_imports') or dict(imports=[], allow_failed_imports=False)
    names = [imports['imports']] if isinstance(imports['imports'], str) else list(imports['imports'])
    if 'fna_mm' not in names:
        cfg.custom_imports = dict(imports=[*names, 'fna_mm'], allow_failed_imports=False)
    cfg.load_from = _CHECKPOINT
    # With --resume, mmdet drops load_from, and would start from random weights if there is nothing to resume yet.
    cfg.model.init_cfg = dict(type='Pretrained', checkpoint=_CHECKPOINT)
    cfg.resume = False
    for leftover in ('launcher', 'experiment_name', 'auto_scale_lr'):
        cfg.pop(leftover, None)
    if cfg.get('train_cfg'):
        _shorten(cfg, share)
    optimizer = (cfg.get('optim_wrapper') or {}).get('optimizer')
    if optimizer and 'lr' in optimizer:
        optimizer['lr'] = optimizer['lr'] * rate
    # Those of an adapted child are held near its own trained model.
    own = [hook for hook in cfg.get('custom_hooks') or [] if type_of(hook) not in _DISTILLATIONS]
    if hooks := [*own, *([dict(distillation)] if distillation else [])]:
        cfg.custom_hooks = hooks
    else:
        cfg.pop('custom_hooks', None)
    return cfg


def warm_up(iterations: int) -> dict[str, Any]:
    """The section of a learning rate that rises for some iterations.

    Args:
        iterations (int): How many.
    """
    return dict(type='LinearLR', start_factor=.01, by_epoch=False, begin=0, end=iterations)


def cosine(length: int) -> dict[str, Any]:
    """The section of a learning rate that falls to zero in a cosine, counted in iterations.

    Args:
        length (int): Iterations of the whole training.
    """
    return dict(type='CosineAnnealingLR', eta_min=0, begin=0, end=length, T_max=length, by_epoch=False)


def _shorten(cfg: Config, share: float) -> None:
    loop = cfg.train_cfg
    epochs = 'max_epochs' in loop
    name = 'max_epochs' if epochs else 'max_iters'
    length = max(1, round(share * loop[name]))
    loop[name] = length
    loop.pop('dynamic_intervals', None)
    loop.pop('val_begin', None)
    loop['val_interval'] = min(loop.get('val_interval', 1 if epochs else 1000), length)
    if epochs:
        # The warm-up is counted in iterations, whose number per epoch the config does not say.
        cfg.param_scheduler = [
            warm_up(_MOST_WARMUP // 4), dict(cosine(length), by_epoch=True, convert_to_iter_based=True)]
    else:
        cfg.param_scheduler = [warm_up(min(_MOST_WARMUP, max(1, round(WARMUP * length)))), cosine(length)]
    checkpoint = (cfg.get('default_hooks') or {}).get('checkpoint')
    if checkpoint and isinstance(checkpoint.get('interval'), int) and checkpoint['interval'] > length:
        checkpoint['interval'] = length
