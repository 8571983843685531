# What searches of ResNets for DeepLabv3 on Cityscapes share; data and schedule as for MobileNetV2: one GPU, 16 crops a
# step.
_base_ = [
    __import__('fna_mm').config_path('mmseg::_base_/models/deeplabv3_r50-d8.py'), './cityscapes_search_data.py',
    __import__('fna_mm').config_path('mmseg::_base_/default_runtime.py')
]
custom_imports = dict(imports=['fna_mm'], allow_failed_imports=False)

input_shape = (1024, 2048)  # (height, width) at which MAdds are counted
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    pretrained=None,
    data_preprocessor=dict(size={{_base_.search_crop}}),
    backbone=dict(
        _delete_=True,
        type='FNASuperNet',
        kernel_sizes=(3, 5),
        expand_ratios=(0.5, 1),
        output_stride=8,
        dilated='contract',
        norm_cfg=norm_cfg),
    decode_head=dict(norm_cfg=norm_cfg),
    auxiliary_head=dict(norm_cfg=norm_cfg))

model_wrapper_cfg = dict(type='FNADistributedDataParallel')
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=80, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.005, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-3, by_epoch=True, begin=5, end=80, convert_to_iter_based=True)
]
search_hook = dict(
    type='AlternatingOptimizerHook',
    begin_epoch=30,
    dataloader={{_base_.arch_dataloader}},
    optim_wrapper=dict(
        type='OptimWrapper',
        optimizer=dict(type='Adam', lr=1e-3, betas=(0.5, 0.999), weight_decay=4e-5),
        clip_grad=dict(max_norm=35, norm_type=2)),
    cost=dict(type='MAddsCost', input_shape=input_shape, budget=0.7))
log_processor = dict(by_epoch=True)
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook'))
randomness = dict(seed=0)
