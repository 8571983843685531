# DeepLabv3 with mmseg's own ResNet-18 on CamVid at half size: half an hour on one core. It is trained until it has
# stopped improving; fna adapt starts from it.
_base_ = [__import__('fna_mm').config_path('mmseg::_base_/models/deeplabv3_r50-d8.py'), '../_base_/camvid.py']
custom_imports = dict(imports=['fna_mm'], allow_failed_imports=False)

input_shape = (180, 240)  # (height, width) at which MAdds are counted
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    pretrained='open-mmlab://resnet18_v1c',
    data_preprocessor=dict(size={{_base_.crop_size}}),
    # Output stride 16.
    backbone=dict(depth=18, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), norm_cfg=norm_cfg),
    decode_head=dict(in_channels=512, channels=128, dilations=(1, 6, 12, 18), num_classes=11, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=256, channels=64, num_classes=11, norm_cfg=norm_cfg))

train_dataloader = dict(batch_size=4)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=4000, val_interval=500)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='PolyLR', eta_min=0, power=0.9, by_epoch=False, begin=100, end=4000)
]
log_processor = dict(by_epoch=False)
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False), checkpoint=dict(by_epoch=False, interval=500))
