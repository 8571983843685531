# A short search on the demo's photographs, from the trained detector with all candidates fitted to it.
_base_ = './mobilenet_v2_cells.py'

input_shape = (192, 256)  # (height, width)
model = dict(
    backbone=dict(
        _delete_=True,
        type='FNASuperNet',
        layers_per_stage=(2, 3, 4, 3, 3, 1),
        out_indices=(1, 2, 4, 6),
        candidate_norm_cfg=dict(type='BN', affine=True, track_running_stats=False)))
train_dataloader = dict(
    dataset=dict(
        _delete_=True, type='RandomSplit', dataset={{_base_.search_dataset}}, ratio=0.5, part='weights', seed=0))

model_wrapper_cfg = dict(type='FNADistributedDataParallel')
train_cfg = dict(max_epochs=4, val_interval=4)
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=10)]
optim_wrapper = dict(optimizer=dict(lr=0.002))
custom_hooks = [
    dict(
        type='AlternatingOptimizerHook',
        begin_epoch=1,
        dataloader=dict(
            batch_size=4,
            num_workers=0,
            drop_last=True,
            sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=dict(type='RandomSplit', dataset={{_base_.search_dataset}}, ratio=0.5, part='arch', seed=0)),
        optim_wrapper=dict(
            optimizer=dict(type='Adam', lr=0.05, betas=(0.5, 0.999), weight_decay=1e-3),
            clip_grad=dict(max_norm=35, norm_type=2)),
        cost=dict(type='MAddsCost', input_shape=input_shape, budget=0.5)),
    dict(type='ArchitectureExportHook', child_config='{{ fileDirname }}/cells_found.py')
]
