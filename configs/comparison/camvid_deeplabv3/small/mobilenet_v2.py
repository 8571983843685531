# The baseline, on which alone the fine-tuning's learning rate was chosen:
# DeepLabv3 on CamVid at half size, crops of 161: minutes on one CPU core.
_base_ = '../../../camvid/fna_deeplabv3_retrain.py'

model = dict(backbone=dict(arch='mobilenet_v2'))

train_dataloader = dict(batch_size=4)
train_cfg = dict(max_iters=400, val_interval=100)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=40),
    dict(type='PolyLR', eta_min=0, power=0.9, by_epoch=False, begin=40, end=400)
]
default_hooks = dict(checkpoint=dict(interval=100))
