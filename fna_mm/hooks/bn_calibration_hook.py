"""BN statistics of a remapped child, measured on the target data before it is fine-tuned."""

import itertools
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from torch.nn.modules.batchnorm import _BatchNorm

from fna_mm.checks import check_integer


def calibrate_batch_norm(model: Any, batches: Any, num_iters: int, progress: Any = None) -> None:
    """Replace all BN running statistics by their mean over ``num_iters`` batches.

    Args:
        model (nn.Module): An mm model without its wrapper. Its modes and momenta are restored at the end.
        batches (Iterator): Batches of an mm dataloader.
        num_iters (int): Number of batches to use.
        progress (Callable, optional): Called with the number of batches done.
    """
    norms: list[Any] = [module for module in model.modules()
                        if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return
    modes = {module: module.training for module in model.modules()}
    momenta = [norm.momentum for norm in norms]
    model.train()
    try:
        for norm in norms:
            norm.train()  # also under norm_eval and frozen_stages, because the user asks for new statistics
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean instead of a moving average
        with torch.no_grad():
            for done, batch in enumerate(itertools.islice(batches, num_iters), 1):
                data = model.data_preprocessor(batch, True)
                _ = model(**data, mode='loss') if isinstance(data, dict) else model(*data, mode='loss')
                if progress is not None:
                    progress(done)
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
        for module, training in modes.items():
            module.training = training
    for norm in norms:
        all_reduce(norm.running_mean, op='mean')
        all_reduce(norm.running_var, op='mean')


def _own_dataloader(runner: Any) -> Any:
    """Build a second training dataloader, because ``IterBasedTrainLoop`` already iterates over the first.

    A second iteration over the first one would wait for the batches that its persistent workers are
    loading, and take images from its endless sampler.
    """
    cfg = runner.cfg.get('train_dataloader')
    if not isinstance(cfg, dict):  # the runner was given a dataloader instead of a config
        return runner.train_dataloader
    # The workers stop after the calibration.
    return runner.build_dataloader(dict(cfg, persistent_workers=False), seed=runner.seed)


@HOOKS.register_module(force=True)
class BNCalibrationHook(Hook):
    """Measure BN statistics on the training data before the first iteration (paper, section 4.1).

    Larger kernels, copied layers and dropped channels change the features of a remapped network, so the
    seed's statistics no longer fit. The new statistics are the plain mean over the batches and over the
    ranks. When a run resumes, the hook does nothing.

    Args:
        num_iters (int): Number of batches on every rank. Defaults to 2000.

    Raises:
        ValueError: If ``num_iters`` is no positive integer; before training, if there is no batch.
    """

    # After parameter remapping (VERY_HIGH), before hooks that use the model.
    priority = 'HIGH'

    def __init__(self, num_iters: int = 2000) -> None:
        self.num_iters = check_integer('num_iters of BNCalibrationHook', num_iters)

    def before_train(self, runner: Any) -> None:
        """Calibrate, unless the run resumes."""
        if runner.iter > 0:
            runner.logger.info('BNCalibrationHook: the run resumes, BN statistics stay as they are')
            return
        if len(runner.train_dataloader) == 0:  # the repetition below would never end
            raise ValueError('BNCalibrationHook needs batches, but train_dataloader has none: '
                             f'{len(runner.train_dataloader.dataset)} samples with drop_last; use a smaller batch_size '
                             'or more data')
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        batches = itertools.chain.from_iterable(itertools.repeat(_own_dataloader(runner)))
        interval = max(1, self.num_iters // 10)
        runner.logger.info(f'BNCalibrationHook: measuring BN statistics on {self.num_iters} batches')

        def progress(done: int) -> None:
            if done % interval == 0:
                runner.logger.info(f'BN calibration [{done}/{self.num_iters}]')

        calibrate_batch_norm(model, batches, self.num_iters, progress)
