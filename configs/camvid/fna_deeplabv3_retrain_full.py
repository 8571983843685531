# Fine-tune an architecture in DeepLabv3 on CamVid at full size, on one GPU.
_base_ = ['../_base_/deeplabv3_camvid.py', '../_base_/camvid_full.py']

input_shape = (360, 480)  # (height, width) at which MAdds are counted
model = dict(data_preprocessor=dict(size={{_base_.crop_size}}), backbone=dict(arch='fna_deeplabv3'))

train_cfg = dict(type='IterBasedTrainLoop', max_iters=10000, val_interval=1000)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=500),
    dict(type='PolyLR', eta_min=0, power=0.9, by_epoch=False, begin=500, end=10000)
]
custom_hooks = [dict(type='BNCalibrationHook', num_iters=200)]
log_processor = dict(by_epoch=False)
default_hooks = dict(
    logger=dict(interval=50, log_metric_by_epoch=False), checkpoint=dict(by_epoch=False, interval=1000))
