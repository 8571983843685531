# The baseline trained ten times as long, until it has stopped improving: what measured adaptation starts from.
_base_ = '../comparison/camvid_deeplabv3/small/mobilenet_v2.py'

train_cfg = dict(max_iters=4000, val_interval=500)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=40),
    dict(type='PolyLR', eta_min=0, power=0.9, by_epoch=False, begin=40, end=4000)
]
default_hooks = dict(checkpoint=dict(interval=500))
