"""One step of each kind on two images, by mm's Runner, before a config is written."""

import logging
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import nn

from fna_mm.backbones.believed_strides import check_strides
from fna_mm.sections import find_sections, type_of

#: Images in a step of the trial.
IMAGES = 2
_SEARCH = 'AlternatingOptimizerHook'
_SECTIONS = ('launcher', 'model_wrapper_cfg', 'visualizer', 'param_scheduler', 'auto_scale_lr', 'val_dataloader',
             'val_cfg', 'val_evaluator', 'test_dataloader', 'test_cfg', 'test_evaluator', 'compile', 'load_from')


def make_steps(config: Config, what: str) -> set[str]:
    """Build what a config trains with, and make a weight step, in a search with an architecture step behind it.

    Args:
        config (Config): The config; it is not changed.
        what (str): Name of the model with its backbone, for messages.

    Returns:
        set[str]: Names of the model's parameters that a gradient reached.

    Raises:
        ValueError: If anything fails; the message says what mm said.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet(), _scope():
        runner = None
        try:
            runner = Runner.from_cfg(_short(config, folder))
            check_strides(runner.model)
            reached = _watch(runner.model)
            runner.train()
        except Exception as error:
            raise ValueError(f'{what} does not train: {_told(error)}') from error
        finally:
            # mm's logger of the trial stays the current one; its file is in the folder.
            logger = runner.logger if runner is not None else MMLogger.get_current_instance()
            for handler in [one for one in logger.handlers if isinstance(one, logging.FileHandler)]:
                handler.close()
                logger.removeHandler(handler)
    return reached


def _told(error: Exception) -> str:
    text = str(error).strip()
    if isinstance(error, ValueError) and text:
        return text
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    code = place.tb_frame.f_code if place is not None else None
    line = f' in {code.co_filename}:{place.tb_lineno}' if code is not None and place is not None else ''
    return f'{type(error).__name__}{f": {text}" if text else ""}{line}'


def _short(config: Config, folder: str) -> Config:
    values = config.to_dict()
    values.update(
        work_dir=folder, resume=False, log_level='INFO', experiment_name=f'trial_{uuid.uuid4().hex}',
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=1))
    for name in _SECTIONS:
        values.pop(name, None)
    for section in (values['model'], values['model'].get('backbone') or {}):
        section.pop('init_cfg', None)
    hooks = list(find_sections(values.get('custom_hooks'), _SEARCH))
    for hook in hooks:
        hook.pop('begin_epoch', None)
        hook['begin_iter'] = 0
        hook['dataloader'] = _two_images(hook['dataloader'])
    values['custom_hooks'] = hooks
    values['train_dataloader'] = _two_images(values['train_dataloader'])
    values['default_hooks'] = dict(checkpoint=None)
    wrapper = values.get('optim_wrapper') or {}
    if type_of(wrapper) == 'AmpOptimWrapper' and not torch.cuda.is_available():
        values['optim_wrapper'] = {key: value for key, value in wrapper.items() if key not in ('loss_scale', 'dtype')}
        values['optim_wrapper']['type'] = 'OptimWrapper'
    return Config(values)


def _two_images(loader: dict) -> dict:
    kept = {key: value for key, value in loader.items() if key not in ('prefetch_factor', 'persistent_workers')}
    return dict(kept, batch_size=IMAGES, num_workers=0)


def _watch(model: nn.Module) -> set[str]:
    reached: set[str] = set()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.register_hook(lambda gradient, name=name: reached.add(name))
    return reached


@contextmanager
def _quiet() -> Iterator[None]:
    """Without mm's log on the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


@contextmanager
def _scope() -> Iterator[None]:
    """With the scope of before, afterwards: a runner leaves its own."""
    before = DefaultScope.get_current_instance()
    try:
        yield
    finally:
        if before is not None:
            DefaultScope.get_instance(f'behind_a_trial_{uuid.uuid4().hex}', scope_name=before.scope_name)
