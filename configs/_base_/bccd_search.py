_base_ = './bccd.py'

# BCCD's training set in two random halves: one for the weights, one for the architecture. No flipping during the
# search, as in the paper.
search_dataset = dict(
    type='CocoDataset',
    data_root={{_base_.data_root}},
    metainfo=dict(classes={{_base_.classes}}),
    ann_file='annotations/train.json',
    data_prefix=dict(img='images/'),
    filter_cfg=dict(filter_empty_gt=True),
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='Resize', scale=(320, 240), keep_ratio=False),
        dict(type='PackDetInputs')
    ])
train_dataloader = dict(
    dataset=dict(_delete_=True, type='RandomSplit', dataset=search_dataset, ratio=0.5, part='weights', seed=0))
arch_dataloader = dict(
    batch_size=4,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='RandomSplit', dataset=search_dataset, ratio=0.5, part='arch', seed=0))

model_wrapper_cfg = dict(type='FNADistributedDataParallel')
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=4)
param_scheduler = [dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=25)]
