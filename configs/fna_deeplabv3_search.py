# Search a DeepLabv3 backbone on Cityscapes with the paper's settings (section 4.1): one GPU, 16 crops a step.
_base_ = [
    './_base_/deeplabv3_fna.py', './_base_/cityscapes_search_data.py',
    __import__('fna_mm').config_path('mmseg::_base_/default_runtime.py')
]

model = dict(
    data_preprocessor=dict(size={{_base_.search_crop}}),
    backbone=dict(
        _delete_=True,
        type='FNASuperNet',
        layers_per_stage=(4, 4, 6, 6, 4, 1),
        kernel_sizes=(3, 5, 7),
        expand_ratios=(3, 6),
        out_indices=(6, ),
        output_stride=16,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        init_cfg=dict(type='ParameterRemapping', checkpoint={{_base_.seed_checkpoint}})))

model_wrapper_cfg = dict(type='FNADistributedDataParallel')
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=80, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.005, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-3, by_epoch=True, begin=5, end=80, convert_to_iter_based=True)
]
custom_hooks = [
    dict(
        type='AlternatingOptimizerHook',
        begin_epoch=30,
        dataloader={{_base_.arch_dataloader}},
        optim_wrapper=dict(
            type='OptimWrapper',
            optimizer=dict(type='Adam', lr=1e-3, betas=(0.5, 0.999), weight_decay=4e-5),
            clip_grad=dict(max_norm=35, norm_type=2)),
        cost=dict(type='MAddsCost', input_shape={{_base_.input_shape}}, weight=9e-3, log_base=45, scale=10)),
    dict(type='ArchitectureExportHook', interval=10, child_config='{{ fileDirname }}/fna_deeplabv3_retrain.py')
]
log_processor = dict(by_epoch=True)
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook'))
randomness = dict(seed=0)
