# The baseline trained five times as long, until it has stopped improving: what measured adaptation starts from.
_base_ = '../comparison/bccd_ssdlite/small/mobilenet_v2.py'

train_cfg = dict(max_epochs=48, val_interval=8)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=48, milestones=[36, 44], gamma=0.1)
]
