# The baseline trained three times as long, until it has stopped improving: what measured adaptation starts from.
_base_ = '../comparison/bccd_retinanet/small/mobilenet_v2.py'

train_cfg = dict(max_epochs=24, val_interval=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=24, milestones=[18, 22], gamma=0.1)
]
