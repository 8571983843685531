# Fine-tune an architecture in SSDLite on BCCD: the published one here, another one by
# model.backbone.arch=PATH/arch.json.
_base_ = '../_base_/ssdlite_bccd.py'

model = dict(backbone=dict(arch='fna_ssdlite'))

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=16, val_interval=8)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=4e-5),
    clip_grad=dict(max_norm=35, norm_type=2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=16, milestones=[11, 15], gamma=0.1)
]
custom_hooks = [dict(type='BNCalibrationHook', num_iters=25)]
