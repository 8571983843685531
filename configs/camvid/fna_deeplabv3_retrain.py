# Fine-tune an architecture in DeepLabv3 on CamVid at half size: minutes on two cores. The published
# architecture here, another one by model.backbone.arch=PATH/arch.json.
_base_ = ['../_base_/deeplabv3_camvid.py', '../_base_/camvid.py']

input_shape = (180, 240)  # (height, width) at which MAdds are counted
model = dict(data_preprocessor=dict(size={{_base_.crop_size}}), backbone=dict(arch='fna_deeplabv3'))

train_cfg = dict(type='IterBasedTrainLoop', max_iters=400, val_interval=200)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', eta_min=0, power=0.9, by_epoch=False, begin=50, end=400)
]
custom_hooks = [dict(type='BNCalibrationHook', num_iters=40)]
log_processor = dict(by_epoch=False)
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False), checkpoint=dict(by_epoch=False, interval=200))
