_base_ = './coco_ssd.py'

# COCO's training set in two random halves. The weights see SSD's augmentation, but no flipping, as in the paper's
# searches; the architecture sees the images as they are, as in the published search.
coco = dict(
    type='CocoDataset',
    data_root={{_base_.data_root}},
    ann_file='annotations/instances_train2017.json',
    data_prefix=dict(img='train2017/'),
    filter_cfg=dict(filter_empty_gt=True, min_size=32))
weights_dataset = dict(
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='Expand', mean=[123.675, 116.28, 103.53], to_rgb=True, ratio_range=(1, 4)),
        dict(type='MinIoURandomCrop', min_ious=(0.1, 0.3, 0.5, 0.7, 0.9), min_crop_size=0.3),
        dict(type='Resize', scale={{_base_.image_scale}}, keep_ratio=False),
        dict(
            type='PhotoMetricDistortion', brightness_delta=32, contrast_range=(0.5, 1.5),
            saturation_range=(0.5, 1.5), hue_delta=18),
        dict(type='PackDetInputs')
    ],
    **coco)
arch_dataset = dict(
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='Resize', scale={{_base_.image_scale}}, keep_ratio=False),
        dict(type='PackDetInputs')
    ],
    **coco)
train_dataloader = dict(
    batch_size=16,
    # Fresh workers every epoch: a resumed search then reads what the uninterrupted one would have read.
    persistent_workers=False,
    dataset=dict(
        _delete_=True,
        type='RepeatDataset',
        times=5,
        dataset=dict(type='RandomSplit', dataset=weights_dataset, ratio=0.5, part='weights', seed=0)))
arch_dataloader = dict(
    batch_size=16,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='RandomSplit', dataset=arch_dataset, ratio=0.5, part='arch', seed=0))
