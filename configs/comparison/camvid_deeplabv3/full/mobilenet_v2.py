# The baseline, on which alone the fine-tuning's learning rate was chosen:
# DeepLabv3 on CamVid at full size: minutes on one GPU.
_base_ = '../../../camvid/fna_deeplabv3_retrain_full.py'

model = dict(backbone=dict(arch='mobilenet_v2'))

train_cfg = dict(max_iters=4000, val_interval=500)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=200),
    dict(type='PolyLR', eta_min=0, power=0.9, by_epoch=False, begin=200, end=4000)
]
default_hooks = dict(checkpoint=dict(interval=500))
