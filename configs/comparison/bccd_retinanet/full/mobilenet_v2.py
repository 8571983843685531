# The baseline, on which alone the fine-tuning's learning rate was chosen:
# RetinaNet on BCCD at its full size of 480x640: minutes on one GPU.
_base_ = ['../../../_base_/retinanet_bccd.py', '../../../_base_/bccd_480x640.py']

input_shape = (480, 640)  # (height, width)
model = dict(backbone=dict(arch='mobilenet_v2'))

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=48, val_interval=8)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=48, milestones=[36, 44], gamma=0.1)
]
custom_hooks = [dict(type='BNCalibrationHook', num_iters=25)]
