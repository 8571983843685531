# Fine-tune an architecture in SSDLite on BCCD: the published one here, another one by
# model.backbone.arch=PATH/arch.json.
_base_ = ['../_base_/ssdlite_bccd.py', '../_base_/bccd.py']

model = dict(backbone=dict(arch='fna_ssdlite'))

# Random crops besides flipping: SSD's anchors are matched to few of the few images' boxes.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='MinIoURandomCrop', min_ious=(0.5, 0.7, 0.9), min_crop_size=0.6),
    dict(type='Resize', scale=(320, 240), keep_ratio=False),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs')
]
# The last levels are single pixels: BN needs more than one image.
train_dataloader = dict(drop_last=True, dataset=dict(pipeline=train_pipeline))

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=16, val_interval=8)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=16, milestones=[11, 15], gamma=0.1)
]
custom_hooks = [dict(type='BNCalibrationHook', num_iters=25)]
