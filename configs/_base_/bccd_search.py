# BCCD's training set in two random halves: one for the weights, one for the architecture.
_base_ = './bccd.py'

train_dataloader = dict(
    dataset=dict(
        _delete_=True, type='RandomSplit', dataset={{_base_.search_dataset}}, ratio=0.5, part='weights', seed=0))
arch_dataloader = dict(
    batch_size=4,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='RandomSplit', dataset={{_base_.search_dataset}}, ratio=0.5, part='arch', seed=0))

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=4)
param_scheduler = [dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=25)]
