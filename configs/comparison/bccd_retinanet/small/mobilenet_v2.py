# The baseline, on which alone the fine-tuning's learning rate was chosen:
# RetinaNet on BCCD at 192x256: minutes on one CPU core.
_base_ = ['../../../_base_/retinanet_bccd.py', '../../../_base_/bccd_192x256.py']

input_shape = (192, 256)  # (height, width)
model = dict(backbone=dict(arch='mobilenet_v2'))

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=8, val_interval=2)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=8, milestones=[6, 7], gamma=0.1)
]
custom_hooks = [dict(type='BNCalibrationHook', num_iters=25)]
