crop_size = (
    161,
    161,
)
custom_hooks = [
    dict(num_iters=40, type='BNCalibrationHook'),
]
custom_imports = dict(
    allow_failed_imports=False, imports=[
        'fna_mm',
    ])
data_preprocessor = dict(
    _scope_='mmseg',
    bgr_to_rgb=True,
    mean=[
        123.675,
        116.28,
        103.53,
    ],
    pad_val=0,
    seg_pad_val=255,
    std=[
        58.395,
        57.12,
        57.375,
    ],
    type='SegDataPreProcessor')
data_root = 'data/camvid/'
default_hooks = dict(
    checkpoint=dict(
        by_epoch=False, interval=100, max_keep_ckpts=2, type='CheckpointHook'),
    logger=dict(interval=10, log_metric_by_epoch=False, type='LoggerHook'),
    param_scheduler=dict(type='ParamSchedulerHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    timer=dict(type='IterTimerHook'),
    visualization=dict(type='SegVisualizationHook'))
default_scope = 'mmseg'
env_cfg = dict(
    cudnn_benchmark=True,
    dist_cfg=dict(backend='nccl'),
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
image_scale = (
    240,
    180,
)
input_shape = (
    180,
    240,
)
load_from = None
log_level = 'INFO'
log_processor = dict(by_epoch=False)
metainfo = dict(
    classes=(
        'sky',
        'building',
        'pole',
        'road',
        'pavement',
        'tree',
        'sign',
        'fence',
        'car',
        'pedestrian',
        'bicyclist',
    ),
    palette=[
        [
            128,
            128,
            128,
        ],
        [
            128,
            0,
            0,
        ],
        [
            192,
            192,
            128,
        ],
        [
            128,
            64,
            128,
        ],
        [
            60,
            40,
            222,
        ],
        [
            128,
            128,
            0,
        ],
        [
            192,
            128,
            128,
        ],
        [
            64,
            64,
            128,
        ],
        [
            64,
            0,
            128,
        ],
        [
            64,
            64,
            0,
        ],
        [
            0,
            128,
            192,
        ],
    ])
model = dict(
    _scope_='mmseg',
    auxiliary_head=None,
    backbone=dict(
        arch=
        'work_dirs/comparison/small/camvid_deeplabv3/x_preference/seed_2/search/arch.json',
        init_cfg=dict(
            checkpoint=
            'mobilenet_v2_imagenet_torchvision.pth',
            type='ParameterRemapping'),
        norm_cfg=dict(requires_grad=True, type='BN'),
        out_indices=(6, ),
        output_stride=16,
        type='FNAChildNet'),
    data_preprocessor=dict(
        bgr_to_rgb=True,
        mean=[
            123.675,
            116.28,
            103.53,
        ],
        pad_val=0,
        seg_pad_val=255,
        size=(
            161,
            161,
        ),
        std=[
            58.395,
            57.12,
            57.375,
        ],
        type='SegDataPreProcessor'),
    decode_head=dict(
        align_corners=False,
        channels=256,
        dilations=(
            1,
            6,
            12,
            18,
        ),
        dropout_ratio=0.1,
        in_channels=320,
        in_index=0,
        loss_decode=dict(
            loss_weight=1.0, type='CrossEntropyLoss', use_sigmoid=False),
        norm_cfg=dict(requires_grad=True, type='BN'),
        num_classes=11,
        type='SeparableASPPHead'),
    pretrained=None,
    test_cfg=dict(mode='whole'),
    train_cfg=dict(),
    type='EncoderDecoder')
norm_cfg = dict(_scope_='mmseg', requires_grad=True, type='SyncBN')
optim_wrapper = dict(
    optimizer=dict(lr=0.02, momentum=0.9, type='SGD', weight_decay=0.0005),
    type='OptimWrapper')
param_scheduler = [
    dict(begin=0, by_epoch=False, end=40, start_factor=0.01, type='LinearLR'),
    dict(
        begin=40, by_epoch=False, end=400, eta_min=0, power=0.9,
        type='PolyLR'),
]
randomness = dict(seed=2)
resume = False
seed_checkpoint = 'open-mmlab://mmdet/mobilenet_v2'
test_cfg = dict(type='TestLoop')
test_dataloader = dict(
    batch_size=1,
    dataset=dict(
        data_prefix=dict(img_path='img_dir/test', seg_map_path='ann_dir/test'),
        data_root='data/camvid/',
        metainfo=dict(
            classes=(
                'sky',
                'building',
                'pole',
                'road',
                'pavement',
                'tree',
                'sign',
                'fence',
                'car',
                'pedestrian',
                'bicyclist',
            ),
            palette=[
                [
                    128,
                    128,
                    128,
                ],
                [
                    128,
                    0,
                    0,
                ],
                [
                    192,
                    192,
                    128,
                ],
                [
                    128,
                    64,
                    128,
                ],
                [
                    60,
                    40,
                    222,
                ],
                [
                    128,
                    128,
                    0,
                ],
                [
                    192,
                    128,
                    128,
                ],
                [
                    64,
                    64,
                    128,
                ],
                [
                    64,
                    0,
                    128,
                ],
                [
                    64,
                    64,
                    0,
                ],
                [
                    0,
                    128,
                    192,
                ],
            ]),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(keep_ratio=True, scale=(
                240,
                180,
            ), type='Resize'),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
        type='BaseSegDataset'),
    num_workers=2,
    sampler=dict(shuffle=False, type='DefaultSampler'))
test_evaluator = dict(
    iou_metrics=[
        'mIoU',
    ], type='IoUMetric')
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(keep_ratio=True, scale=(
        240,
        180,
    ), type='Resize'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_cfg = dict(max_iters=400, type='IterBasedTrainLoop', val_interval=100)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        data_prefix=dict(
            img_path='img_dir/train', seg_map_path='ann_dir/train'),
        data_root='data/camvid/',
        metainfo=dict(
            classes=(
                'sky',
                'building',
                'pole',
                'road',
                'pavement',
                'tree',
                'sign',
                'fence',
                'car',
                'pedestrian',
                'bicyclist',
            ),
            palette=[
                [
                    128,
                    128,
                    128,
                ],
                [
                    128,
                    0,
                    0,
                ],
                [
                    192,
                    192,
                    128,
                ],
                [
                    128,
                    64,
                    128,
                ],
                [
                    60,
                    40,
                    222,
                ],
                [
                    128,
                    128,
                    0,
                ],
                [
                    192,
                    128,
                    128,
                ],
                [
                    64,
                    64,
                    128,
                ],
                [
                    64,
                    0,
                    128,
                ],
                [
                    64,
                    64,
                    0,
                ],
                [
                    0,
                    128,
                    192,
                ],
            ]),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(
                keep_ratio=True,
                ratio_range=(
                    0.75,
                    2.0,
                ),
                scale=(
                    240,
                    180,
                ),
                type='RandomResize'),
            dict(cat_max_ratio=1.0, crop_size=(
                161,
                161,
            ), type='RandomCrop'),
            dict(prob=0.5, type='RandomFlip'),
            dict(type='PackSegInputs'),
        ],
        type='BaseSegDataset'),
    drop_last=True,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(shuffle=True, type='InfiniteSampler'))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        keep_ratio=True,
        ratio_range=(
            0.75,
            2.0,
        ),
        scale=(
            240,
            180,
        ),
        type='RandomResize'),
    dict(cat_max_ratio=1.0, crop_size=(
        161,
        161,
    ), type='RandomCrop'),
    dict(prob=0.5, type='RandomFlip'),
    dict(type='PackSegInputs'),
]
tta_model = dict(_scope_='mmseg', type='SegTTAModel')
val_cfg = dict(type='ValLoop')
val_dataloader = dict(
    batch_size=1,
    dataset=dict(
        data_prefix=dict(img_path='img_dir/val', seg_map_path='ann_dir/val'),
        data_root='data/camvid/',
        metainfo=dict(
            classes=(
                'sky',
                'building',
                'pole',
                'road',
                'pavement',
                'tree',
                'sign',
                'fence',
                'car',
                'pedestrian',
                'bicyclist',
            ),
            palette=[
                [
                    128,
                    128,
                    128,
                ],
                [
                    128,
                    0,
                    0,
                ],
                [
                    192,
                    192,
                    128,
                ],
                [
                    128,
                    64,
                    128,
                ],
                [
                    60,
                    40,
                    222,
                ],
                [
                    128,
                    128,
                    0,
                ],
                [
                    192,
                    128,
                    128,
                ],
                [
                    64,
                    64,
                    128,
                ],
                [
                    64,
                    0,
                    128,
                ],
                [
                    64,
                    64,
                    0,
                ],
                [
                    0,
                    128,
                    192,
                ],
            ]),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(keep_ratio=True, scale=(
                240,
                180,
            ), type='Resize'),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
        type='BaseSegDataset'),
    num_workers=2,
    sampler=dict(shuffle=False, type='DefaultSampler'))
val_evaluator = dict(
    iou_metrics=[
        'mIoU',
    ], type='IoUMetric')
vis_backends = [
    dict(_scope_='mmseg', type='LocalVisBackend'),
]
visualizer = dict(
    _scope_='mmseg',
    name='visualizer',
    type='SegLocalVisualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
    ])
work_dir = 'work_dirs/comparison/small/camvid_deeplabv3/x_preference/seed_2/found'
