# Fine-tune an architecture in RetinaNet on BCCD: the published one here, another one by
# model.backbone.arch=PATH/arch.json.
_base_ = ['../_base_/retinanet_bccd.py', '../_base_/bccd.py']

model = dict(backbone=dict(arch='fna_retinanet'))

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=12, milestones=[8, 11], gamma=0.1)
]
custom_hooks = [dict(type='BNCalibrationHook', num_iters=25)]
