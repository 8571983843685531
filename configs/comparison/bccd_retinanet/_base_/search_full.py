# The search on BCCD at its full size of 480x640, minutes on one GPU.
_base_ = '../../../bccd/fna_retinanet_search.py'

input_shape = (480, 640)  # (height, width)
image_scale = (640, 480)
search_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=image_scale, keep_ratio=False),
    dict(type='PackDetInputs')
]
search_dataset = dict(
    type='CocoDataset',
    data_root={{_base_.data_root}},
    metainfo=dict(classes={{_base_.classes}}),
    ann_file='annotations/train.json',
    data_prefix=dict(img='images/'),
    filter_cfg=dict(filter_empty_gt=True),
    pipeline=search_pipeline)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=image_scale, keep_ratio=False),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
]
train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    dataset=dict(_delete_=True, type='RandomSplit', dataset=search_dataset, ratio=0.5, part='weights', seed=0))
val_dataloader = dict(num_workers=4, dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(num_workers=4, dataset=dict(pipeline=test_pipeline))

train_cfg = dict(max_epochs=80, val_interval=20)
custom_hooks = [
    dict(
        type='AlternatingOptimizerHook',
        begin_epoch=20,
        dataloader=dict(
            batch_size=8,
            num_workers=8,
            drop_last=True,
            sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=dict(type='RandomSplit', dataset=search_dataset, ratio=0.5, part='arch', seed=0)),
        # Less than a thousand architecture steps instead of the paper's tens of thousands: a higher rate.
        optim_wrapper=dict(
            optimizer=dict(type='Adam', lr=0.02, betas=(0.5, 0.999), weight_decay=1e-3),
            clip_grad=dict(max_norm=35, norm_type=2)),
        cost=dict(type='MAddsCost', input_shape=input_shape, weight=0.02, log_base=10, scale=5)),
    dict(type='ArchitectureExportHook', interval=10, child_config='{{ fileDirname }}/retrain_full.py')
]
