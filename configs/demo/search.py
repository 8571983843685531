# Search a RetinaNet backbone on the drawn shapes.
_base_ = '../_base_/demo_shapes.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='FNASuperNet',
        layers_per_stage=(3, 3, 4, 3, 3, 1),
        out_indices=(1, 2, 4, 6),
        init_cfg=dict(type='ParameterRemapping', checkpoint='{{$FNA_DEMO_SEED:work_dirs/fna_demo/seed/epoch_12.pth}}')))

# No flipping during the search, as in the paper.
search_dataset = dict(
    type='CocoDataset',
    data_root={{_base_.data_root}},
    metainfo={{_base_.metainfo}},
    ann_file='annotations/train.json',
    data_prefix=dict(img='images/train'),
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='Resize', scale={{_base_.image_scale}}),
        dict(type='PackDetInputs')
    ])
train_dataloader = dict(
    dataset=dict(_delete_=True, type='RandomSplit', dataset=search_dataset, ratio=0.5, part='weights', seed=0))

model_wrapper_cfg = dict(type='FNADistributedDataParallel')
train_cfg = dict(max_epochs=8, val_interval=8)
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=40)]

custom_hooks = [
    dict(
        type='AlternatingOptimizerHook',
        begin_epoch=1,
        dataloader=dict(
            batch_size=8,
            num_workers=0,
            drop_last=True,
            sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=dict(type='RandomSplit', dataset=search_dataset, ratio=0.5, part='arch', seed=0)),
        # Fewer than two hundred architecture steps instead of the paper's tens of thousands: a higher rate.
        optim_wrapper=dict(
            optimizer=dict(type='Adam', lr=0.1, betas=(0.5, 0.999), weight_decay=1e-3),
            clip_grad=dict(max_norm=35, norm_type=2)),
        cost=dict(type='MAddsCost', input_shape=(128, 128), weight=0.02, log_base=10, scale=5)),
    dict(type='ArchitectureExportHook', child_config='{{ fileDirname }}/retrain.py')
]
