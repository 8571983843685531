# Search an SSDLite backbone on BCCD: minutes on two cores.
_base_ = '../_base_/ssdlite_bccd.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='FNASuperNet',
        out_indices=('expand5', 7),
        init_cfg=dict(type='ParameterRemapping', checkpoint={{_base_.seed_checkpoint}})))

# No flipping during the search, as in the paper.
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

find_unused_parameters = True
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=4)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=4e-5),
    clip_grad=dict(max_norm=35, norm_type=2))
param_scheduler = [dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=25)]

custom_hooks = [
    dict(
        type='AlternatingOptimizerHook',
        begin_epoch=4,
        dataloader=dict(
            batch_size=4,
            num_workers=2,
            drop_last=True,
            sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=dict(type='RandomSplit', dataset=search_dataset, ratio=0.5, part='arch', seed=0)),
        # Two hundred architecture steps instead of the paper's tens of thousands: a higher rate.
        optim_wrapper=dict(
            optimizer=dict(type='Adam', lr=0.05, betas=(0.5, 0.999), weight_decay=1e-3),
            clip_grad=dict(max_norm=35, norm_type=2)),
        cost=dict(type='MAddsCost', input_shape={{_base_.input_shape}}, weight=0.2, log_base=10, scale=10)),
    dict(type='ArchitectureExportHook', child_config='{{ fileDirname }}/fna_ssdlite_retrain.py')
]
