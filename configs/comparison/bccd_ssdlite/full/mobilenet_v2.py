# The baseline, on which alone the fine-tuning's learning rate was chosen:
# SSDLite on BCCD at its full size of 480x640: minutes on one GPU.
_base_ = ['../../../_base_/ssdlite_bccd.py', '../../../_base_/bccd_480x640.py']

input_shape = (480, 640)  # (height, width)
model = dict(
    backbone=dict(arch='mobilenet_v2'),
    bbox_head=dict(
        anchor_generator=dict(min_sizes=[44, 100, 200, 300, 400, 460], max_sizes=[200, 300, 400, 460, 520, 580])))
train_pipeline = {{_base_.cropping_pipeline}}
# The last levels are single pixels: BN needs more than one image.
train_dataloader = dict(drop_last=True, dataset=dict(pipeline={{_base_.cropping_pipeline}}))

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=48, val_interval=8)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=48, milestones=[36, 44], gamma=0.1)
]
custom_hooks = [dict(type='BNCalibrationHook', num_iters=25)]
