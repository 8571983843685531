"""A toy search that may be killed at a given moment, run by test_faults.py, under torchrun or alone.

python faulty_search.py WORK_DIR epochs|iters FAULT [EPOCHS]
FAULT is none, or where the first rank's process kills itself: weight_step, arch_step, checkpoint, evaluation. It
does so once in a work directory; started again, the run resumes.
"""

import os
import signal
import sys
from pathlib import Path

import torch
import torch.distributed
from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook
from toy_search import build, search_config, toy_dataloader

#: The file that says that this work directory's run was killed already.
KILLED = 'killed'


#: The file that says that this process trains.
STARTED = 'started'


class Started(Hook):
    """Says so once, when the first iteration begins."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        (Path(runner.work_dir) / STARTED).touch()


def kill(work_dir):
    (work_dir / KILLED).touch()
    os.kill(os.getpid(), signal.SIGKILL)


def kill_in_forward(runner, work_dir, mode, path, count):
    """In the count-th forward pass of a kind, behind the backbone."""
    model = runner.model.module if hasattr(runner.model, 'module') else runner.model
    seen = [0]

    def hook(module, args, output):
        seen[0] += model.modes[-1] == (mode, path)
        if seen[0] == count:
            kill(work_dir)

    model.neck.register_forward_hook(hook)


def kill_in_checkpoint(work_dir):
    """In the middle of writing that of the third epoch, or of the sixth iteration."""
    put = LocalBackend.put

    def put_half(backend, obj, filepath):
        if str(filepath).endswith(('epoch_3.pth', 'iter_6.pth')):
            Path(filepath).write_bytes(obj[:len(obj) // 2])
            kill(work_dir)
        put(backend, obj, filepath)

    LocalBackend.put = put_half


def main(work_dir, loop, fault, epochs=4):
    epochs = int(epochs)
    torch.set_num_threads(1)
    distributed = int(os.environ.get('WORLD_SIZE', 1)) > 1
    overrides = dict(experiment_name='faulty', resume=True, randomness=dict(seed=3, deterministic=True))
    if distributed:
        torch.distributed.init_process_group('gloo')
        overrides.update(launcher='pytorch', model_wrapper_cfg=dict(type='FNADistributedDataParallel'))
    length = dict(epochs=epochs) if loop == 'epochs' else dict(iters=2 * epochs, hook=dict(begin_iter=2))
    cfg = search_config(work_dir, **length, **overrides)
    cfg.train_cfg.val_interval = 1 if loop == 'epochs' else 2
    if loop == 'iters':
        cfg.train_dataloader = toy_dataloader('weights', sampler=dict(type='InfiniteSampler'))
        cfg.default_hooks.checkpoint.interval = 2
        # Checkpoints fall between two updates of either optimizer.
        cfg.optim_wrapper.accumulative_counts = cfg.custom_hooks[0].optim_wrapper.accumulative_counts = 3
    if distributed:
        cfg.train_dataloader.batch_size = cfg.custom_hooks[0].dataloader.batch_size = 2
    cfg.default_hooks.checkpoint.max_keep_ckpts = 4
    cfg.param_scheduler = [dict(type='LinearLR', start_factor=.1, by_epoch=False, begin=0, end=6)]
    cfg.custom_hooks.append(dict(type='ArchitectureExportHook', by_epoch=loop == 'epochs'))
    runner = build(cfg)
    runner.register_hook(Started())
    if fault != 'none' and not (work_dir / KILLED).exists() and int(os.environ.get('RANK', 0)) == 0:
        if fault == 'weight_step':
            kill_in_forward(runner, work_dir, 'loss', 'path', 6)
        elif fault == 'arch_step':
            kill_in_forward(runner, work_dir, 'loss', 'mixture', 3)
        elif fault == 'evaluation':
            kill_in_forward(runner, work_dir, 'predict', 'best_path', 3)
        else:
            kill_in_checkpoint(work_dir)
    runner.train()
    if distributed:
        torch.distributed.barrier()  # whoever leaves first closes connections that the other still reads from
        torch.distributed.destroy_process_group()


if __name__ == '__main__':
    main(Path(sys.argv[1]), *sys.argv[2:])
