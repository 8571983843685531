"""A toy search on several processes, run by torchrun from test_distributed.py.

python distributed_search.py OUT [strays]
With "strays" one rank's architecture leaves the others'.

A CPU-only mmengine cannot set up the process group itself; it takes the one that is there.
"""

import sys
from pathlib import Path

import torch
import torch.distributed
from toy_search import build, find_hook, search_config, snapshot


def main(out, strays):
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo')
    rank = torch.distributed.get_rank()
    # A step of plain SGD is the gradient itself. Every rank starts its random numbers elsewhere.
    cfg = search_config(
        out / 'work', epochs=3, hook=dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=1.))),
        experiment_name='distributed', launcher='pytorch', randomness=dict(seed=3, diff_rank_seed=True),
        model_wrapper_cfg=dict(type='FNADistributedDataParallel'))
    cfg.train_dataloader.batch_size = cfg.custom_hooks[0].dataloader.batch_size = 2
    cfg.custom_hooks.append(dict(type='ArchitectureExportHook', out_dir=str(out / f'export_{rank}')))
    runner = build(cfg)
    runner.model.module.dropout.p = 0.  # the test repeats the steps
    hook = find_hook(runner, 'AlternatingOptimizerHook')
    record = dict(steps=[], weight_batches=[], paths=[])
    arch_step = hook.arch_step

    def recorded_step(batch):
        model = hook._model
        step = dict(before=snapshot(model), batch={key: value.clone() for key, value in batch.items()})
        logs = arch_step(batch)
        record['steps'].append(dict(step, after=snapshot(model)))
        return logs

    own_step = hook.arch_step

    def straying_step(batch):
        logs = own_step(batch)
        hook._supernet.architecture_parameters[0] += 2**-20
        return logs

    train_step = runner.model.train_step

    def recorded_train_step(data, optim_wrapper):
        record['weight_batches'].append(data['inputs'].clone())
        record['paths'].append(hook._supernet._path)
        return train_step(data, optim_wrapper)

    if strays and rank == 1:
        arch_step = straying_step
    hook.arch_step = recorded_step
    runner.model.train_step = recorded_train_step
    runner.train()
    record['end'] = snapshot(hook._model)
    torch.save(record, out / f'rank_{rank}.pth')
    torch.distributed.destroy_process_group()


if __name__ == '__main__':
    main(Path(sys.argv[1]), 'strays' in sys.argv[2:])
