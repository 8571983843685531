# The baseline, on which alone the fine-tuning's learning rate was chosen:
# SSDLite on BCCD at 192x256: minutes on one CPU core.
_base_ = ['../../../_base_/ssdlite_bccd.py', '../../../_base_/bccd_192x256.py']

input_shape = (192, 256)  # (height, width)
model = dict(
    backbone=dict(arch='mobilenet_v2'),
    bbox_head=dict(
        anchor_generator=dict(min_sizes=[18, 40, 80, 120, 160, 184], max_sizes=[80, 120, 160, 184, 208, 232])))
train_pipeline = {{_base_.cropping_pipeline}}
# The last levels are single pixels: BN needs more than one image.
train_dataloader = dict(drop_last=True, dataset=dict(pipeline={{_base_.cropping_pipeline}}))

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=10, val_interval=5)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=10, milestones=[7, 9], gamma=0.1)
]
custom_hooks = [dict(type='BNCalibrationHook', num_iters=25)]
