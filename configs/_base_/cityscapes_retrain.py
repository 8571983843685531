# Fine-tuning on Cityscapes as in the paper (section 4.1): statistics of BN for 2000 iterations, then SGD
# for 100,000 on crops of 769, 16 a step: 4 GPUs with 4 images each. Whole images of 1024x2048 in evaluation.
_base_ = [
    __import__('fna_mm').config_path('mmseg::_base_/datasets/cityscapes.py'),
    __import__('fna_mm').config_path('mmseg::_base_/default_runtime.py')
]

crop_size = (769, 769)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomChoiceResize',
        scales=[(1536, 768), (2048, 1024), (2560, 1280), (3072, 1536), (3584, 1792), (4096, 2048)],
        keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=1.0),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs')
]
train_dataloader = dict(batch_size=4, num_workers=4, dataset=dict(pipeline=train_pipeline))

optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4))
# From 1e-4 to 0.01 (the paper does not say for how long), then to 0.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=1000),
    dict(type='PolyLR', eta_min=0, power=0.9, by_epoch=False, begin=1000, end=100000)
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=100000, val_interval=10000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
custom_hooks = [dict(type='BNCalibrationHook', num_iters=2000)]
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=10000, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook'))
randomness = dict(seed=0)
