"""A toy search on several processes, run by torchrun from test_distributed.py.

python distributed_search.py OUT [strays | batches | waits | distils | nccl]
With "strays" one rank's architecture leaves the others'. With "batches" it makes the searches of ``BATCH_CONFIGS``, to
be compared with one process that has batches of twice the size, and one with scaled losses. With "waits" DDP is left as
mm sets it up. With "distils" a child is trained under mm's own DDP, near the teacher in OUT. With "nccl" mm sets up the
process group, on GPUs.

A CPU-only mmengine cannot set up the process group itself; it takes the one that is there.
"""

import sys
from pathlib import Path

import torch
import torch.distributed
from mmengine.optim.optimizer import amp_optimizer_wrapper
from toy_search import (
    CHILD,
    SUPERNET,
    build,
    child_net_config,
    find_hook,
    search_config,
    snapshot,
    toy_dataloader,
    train,
)

#: Arguments of ``batch_config``.
BATCH_CONFIGS = [dict(accumulative_counts=1), dict(accumulative_counts=2)]


def batch_config(work_dir, batch_size, accumulative_counts, **overrides):
    """Twenty steps of each kind, in which an image's part in a step does not depend on the others in its batch."""
    group_norm = dict(type='GN', num_groups=2)
    # A rate at which rounding does not grow from step to step.
    wrapper = dict(optimizer=dict(type='SGD', lr=.02, momentum=.9), accumulative_counts=accumulative_counts,
                   clip_grad=dict(max_norm=1.))
    plain = dict(batch_size=batch_size, ratio=.5)
    arch = toy_dataloader('arch', **plain)
    weights = toy_dataloader('weights', **plain)
    arch['dataset']['dataset']['pipeline'] = weights['dataset']['dataset']['pipeline'] = []
    return search_config(
        work_dir, epochs=10, train_dataloader=weights, optim_wrapper=dict(wrapper, type='OptimWrapper'),
        hook=dict(begin_epoch=0, dataloader=arch, optim_wrapper=wrapper),
        model=dict(type='ToyClassifier', norm_cfg=group_norm, dropout=0., backbone=dict(
            SUPERNET, norm_cfg=group_norm, candidate_norm_cfg=group_norm)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=10)), **overrides)


def make_batches(out):
    for index, arguments in enumerate(BATCH_CONFIGS):
        train(batch_config(out / str(index), 2, **arguments, experiment_name=f'batches_{index}', launcher='pytorch',
                           model_wrapper_cfg=dict(type='FNADistributedDataParallel')))


def make_scaled(out):
    """A search whose second weight step has gradients of the candidates that are not finite, on rank 1 alone.

    The optimizers' wrapper is mm's for mixed precision, which mm allows on GPUs only, with a scaler of the CPU.
    """
    amp_optimizer_wrapper.is_cuda_available = lambda: True
    cfg = search_config(
        out / 'scaled', epochs=2, experiment_name='scaled', launcher='pytorch',
        optim_wrapper=dict(type='AmpOptimWrapper', dtype='bfloat16', optimizer=dict(type='SGD', lr=.05)),
        model_wrapper_cfg=dict(type='FNADistributedDataParallel'))
    cfg.train_dataloader.batch_size = cfg.custom_hooks[0].dataloader.batch_size = 2
    runner = build(cfg)
    rank, train_step, record = torch.distributed.get_rank(), runner.model.train_step, []

    def recorded_train_step(data, optim_wrapper):
        if not record:
            optim_wrapper.loss_scaler = torch.amp.GradScaler('cpu', init_scale=1024.)
        handles = [parameter.register_hook(lambda gradient: gradient * torch.inf)
                   for parameter in runner.model.module.backbone.candidate_parameters()
                   if rank == 1 and len(record) == 1]
        before = snapshot(runner.model.module)
        logs = train_step(data, optim_wrapper)
        record.append((before, snapshot(runner.model.module), optim_wrapper.loss_scaler.get_scale()))
        for handle in handles:
            handle.remove()
        return logs

    runner.model.train_step = recorded_train_step
    runner.train()
    torch.save(record, out / f'scaled_{rank}.pth')


def main(out, mode):
    if mode == 'nccl':
        train(search_config(out, epochs=3, launcher='pytorch', sync_bn='torch', experiment_name='nccl',
                            model_wrapper_cfg=dict(type='FNADistributedDataParallel')))
        return
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo')
    rank = torch.distributed.get_rank()
    if mode == 'batches':
        make_batches(out)
        if hasattr(torch.amp, 'GradScaler'):  # from PyTorch 2.3 on; the one for CUDA alone is older
            make_scaled(out)
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
        return
    if mode == 'distils':
        distillation = dict(type='FeatureDistillationHook', teacher=CHILD, checkpoint=str(out / 'teacher.pth'))
        cfg = child_net_config(out / 'work', launcher='pytorch', experiment_name='distils',
                               custom_hooks=[distillation], model_wrapper_cfg=dict(
                                   type='MMDistributedDataParallel', broadcast_buffers=False, device_ids=None))
        train(cfg)
        return
    strays = mode == 'strays'
    # A step of plain SGD is the gradient itself. Every rank starts its random numbers elsewhere.
    cfg = search_config(
        out / 'work', epochs=3, hook=dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=1.))),
        experiment_name='distributed', launcher='pytorch', randomness=dict(seed=3, diff_rank_seed=True),
        model_wrapper_cfg=dict(type='FNADistributedDataParallel'))
    if mode == 'waits':
        cfg.model_wrapper_cfg = dict(type='MMDistributedDataParallel', broadcast_buffers=False, device_ids=None)
    cfg.train_dataloader.batch_size = cfg.custom_hooks[0].dataloader.batch_size = 2
    cfg.custom_hooks.append(dict(type='ArchitectureExportHook', out_dir=str(out / f'export_{rank}')))
    runner = build(cfg)
    runner.model.module.dropout.p = 0.  # the test repeats the steps
    hook = find_hook(runner, 'AlternatingOptimizerHook')
    record = dict(steps=[], weight_batches=[], paths=[])
    arch_step = hook.arch_step

    def recorded_step(batch):
        model = runner.model.module
        step = dict(before=snapshot(model), batch={key: value.clone() for key, value in batch.items()})
        logs = arch_step(batch)
        record['steps'].append(dict(step, after=snapshot(model)))
        return logs

    own_step = hook.arch_step

    def straying_step(batch):
        logs = own_step(batch)
        runner.model.module.backbone.architecture_parameters[0] += 2**-20
        return logs

    use_path = runner.model.module.backbone.use_path

    def recorded_path(path):
        record['paths'].append(tuple(path))
        use_path(path)

    train_step = runner.model.train_step

    def recorded_train_step(data, optim_wrapper):
        record['weight_batches'].append(data['inputs'].clone())
        return train_step(data, optim_wrapper)

    if strays and rank == 1:
        arch_step = straying_step
    hook.arch_step = recorded_step
    runner.model.module.backbone.use_path = recorded_path
    runner.model.train_step = recorded_train_step
    runner.train()
    record['end'] = snapshot(runner.model.module)
    torch.save(record, out / f'rank_{rank}.pth')
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == '__main__':
    main(Path(sys.argv[1]), sys.argv[2] if sys.argv[2:] else '')
