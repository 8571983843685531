classes = (
    'RBC',
    'WBC',
    'Platelets',
)
cudnn_benchmark = True
custom_hooks = [
    dict(num_iters=25, type='BNCalibrationHook'),
]
custom_imports = dict(
    allow_failed_imports=False, imports=[
        'fna_mm',
    ])
data_root = 'data/bccd/'
default_hooks = dict(
    checkpoint=dict(
        _scope_='mmdet', interval=1, max_keep_ckpts=2, type='CheckpointHook'),
    logger=dict(_scope_='mmdet', interval=10, type='LoggerHook'),
    param_scheduler=dict(_scope_='mmdet', type='ParamSchedulerHook'),
    sampler_seed=dict(_scope_='mmdet', type='DistSamplerSeedHook'),
    timer=dict(_scope_='mmdet', type='IterTimerHook'),
    visualization=dict(_scope_='mmdet', type='DetVisualizationHook'))
default_scope = 'mmdet'
env_cfg = dict(
    cudnn_benchmark=False,
    dist_cfg=dict(backend='nccl'),
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
image_scale = (
    256,
    192,
)
input_shape = (
    192,
    256,
)
input_size = 300
level_channels = (
    576,
    1280,
    512,
    256,
    256,
    128,
)
light = dict(
    act_cfg=dict(type='ReLU6'),
    norm_cfg=dict(eps=0.001, momentum=0.03, type='BN'),
    use_depthwise=True)
load_from = None
log_level = 'INFO'
log_processor = dict(
    _scope_='mmdet', by_epoch=True, type='LogProcessor', window_size=50)
model = dict(
    _scope_='mmdet',
    backbone=dict(
        arch=
        'work_dirs/comparison/small/bccd_ssdlite/lambda_0.01/seed_0/search/arch.json',
        init_cfg=dict(
            checkpoint=
            'mobilenet_v2_imagenet_torchvision.pth',
            type='ParameterRemapping'),
        norm_cfg=dict(requires_grad=True, type='BN'),
        out_indices=(
            'expand5',
            7,
        ),
        type='FNAChildNet'),
    bbox_head=dict(
        act_cfg=dict(type='ReLU6'),
        anchor_generator=dict(
            max_sizes=[
                80,
                120,
                160,
                184,
                208,
                232,
            ],
            min_sizes=[
                18,
                40,
                80,
                120,
                160,
                184,
            ],
            ratios=[
                [
                    2,
                ],
                [
                    2,
                    3,
                ],
                [
                    2,
                    3,
                ],
                [
                    2,
                    3,
                ],
                [
                    2,
                ],
                [
                    2,
                ],
            ],
            scale_major=False,
            strides=[
                16,
                32,
                64,
                107,
                160,
                320,
            ],
            type='SSDAnchorGenerator'),
        bbox_coder=dict(
            target_means=[
                0.0,
                0.0,
                0.0,
                0.0,
            ],
            target_stds=[
                0.1,
                0.1,
                0.2,
                0.2,
            ],
            type='DeltaXYWHBBoxCoder'),
        in_channels=(
            576,
            1280,
            512,
            256,
            256,
            128,
        ),
        init_cfg=dict(layer='Conv2d', std=0.001, type='Normal'),
        norm_cfg=dict(eps=0.001, momentum=0.03, type='BN'),
        num_classes=3,
        type='SSDLiteHead',
        use_depthwise=True),
    data_preprocessor=dict(
        bgr_to_rgb=True,
        mean=[
            123.675,
            116.28,
            103.53,
        ],
        pad_size_divisor=1,
        std=[
            58.395,
            57.12,
            57.375,
        ],
        type='DetDataPreprocessor'),
    neck=dict(
        act_cfg=dict(type='ReLU6'),
        in_channels=(
            576,
            1280,
        ),
        init_cfg=dict(layer='Conv2d', std=0.03, type='TruncNormal'),
        l2_norm_scale=None,
        level_paddings=(
            1,
            1,
            1,
            1,
        ),
        level_strides=(
            2,
            2,
            2,
            2,
        ),
        norm_cfg=dict(eps=0.001, momentum=0.03, type='BN'),
        out_channels=(
            576,
            1280,
            512,
            256,
            256,
            128,
        ),
        type='SSDNeck',
        use_depthwise=True),
    test_cfg=dict(
        max_per_img=200,
        min_bbox_size=0,
        nms=dict(iou_threshold=0.45, type='nms'),
        nms_pre=1000,
        score_thr=0.02),
    train_cfg=dict(
        allowed_border=-1,
        assigner=dict(
            gt_max_assign_all=False,
            ignore_iof_thr=-1,
            min_pos_iou=0.0,
            neg_iou_thr=0.5,
            pos_iou_thr=0.5,
            type='MaxIoUAssigner'),
        debug=False,
        neg_pos_ratio=3,
        pos_weight=-1,
        sampler=dict(type='PseudoSampler'),
        smoothl1_beta=1.0),
    type='SingleStageDetector')
optim_wrapper = dict(
    clip_grad=dict(max_norm=35, norm_type=2),
    optimizer=dict(lr=0.01, momentum=0.9, type='SGD', weight_decay=4e-05),
    type='OptimWrapper')
param_scheduler = [
    dict(begin=0, by_epoch=False, end=50, start_factor=0.01, type='LinearLR'),
    dict(
        begin=0,
        by_epoch=True,
        end=10,
        gamma=0.1,
        milestones=[
            7,
            9,
        ],
        type='MultiStepLR'),
]
randomness = dict(seed=0)
resume = False
seed_checkpoint = 'open-mmlab://mmdet/mobilenet_v2'
test_cfg = dict(type='TestLoop')
test_dataloader = dict(
    batch_size=4,
    dataset=dict(
        ann_file='annotations/test.json',
        data_prefix=dict(img='images/'),
        data_root='data/bccd/',
        metainfo=dict(classes=(
            'RBC',
            'WBC',
            'Platelets',
        )),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(keep_ratio=False, scale=(
                256,
                192,
            ), type='Resize'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(
                meta_keys=(
                    'img_id',
                    'img_path',
                    'ori_shape',
                    'img_shape',
                    'scale_factor',
                ),
                type='PackDetInputs'),
        ],
        test_mode=True,
        type='CocoDataset'),
    num_workers=2,
    sampler=dict(shuffle=False, type='DefaultSampler'))
test_evaluator = dict(
    ann_file='data/bccd/annotations/test.json',
    metric='bbox',
    type='CocoMetric')
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(keep_ratio=False, scale=(
        256,
        192,
    ), type='Resize'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        meta_keys=(
            'img_id',
            'img_path',
            'ori_shape',
            'img_shape',
            'scale_factor',
        ),
        type='PackDetInputs'),
]
train_cfg = dict(max_epochs=10, type='EpochBasedTrainLoop', val_interval=5)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        ann_file='annotations/train.json',
        data_prefix=dict(img='images/'),
        data_root='data/bccd/',
        filter_cfg=dict(filter_empty_gt=True),
        metainfo=dict(classes=(
            'RBC',
            'WBC',
            'Platelets',
        )),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(
                min_crop_size=0.6,
                min_ious=(
                    0.5,
                    0.7,
                    0.9,
                ),
                type='MinIoURandomCrop'),
            dict(keep_ratio=False, scale=(
                256,
                192,
            ), type='Resize'),
            dict(prob=0.5, type='RandomFlip'),
            dict(type='PackDetInputs'),
        ],
        type='CocoDataset'),
    drop_last=True,
    num_workers=2,
    sampler=dict(shuffle=True, type='DefaultSampler'))
train_dataset = dict(
    ann_file='annotations/train.json',
    data_prefix=dict(img='images/'),
    data_root='data/bccd/',
    filter_cfg=dict(filter_empty_gt=True),
    metainfo=dict(classes=(
        'RBC',
        'WBC',
        'Platelets',
    )),
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(keep_ratio=False, scale=(
            320,
            240,
        ), type='Resize'),
        dict(prob=0.5, type='RandomFlip'),
        dict(type='PackDetInputs'),
    ],
    type='CocoDataset')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        min_crop_size=0.6, min_ious=(
            0.5,
            0.7,
            0.9,
        ), type='MinIoURandomCrop'),
    dict(keep_ratio=False, scale=(
        256,
        192,
    ), type='Resize'),
    dict(prob=0.5, type='RandomFlip'),
    dict(type='PackDetInputs'),
]
val_cfg = dict(type='ValLoop')
val_dataloader = dict(
    batch_size=4,
    dataset=dict(
        ann_file='annotations/val.json',
        data_prefix=dict(img='images/'),
        data_root='data/bccd/',
        metainfo=dict(classes=(
            'RBC',
            'WBC',
            'Platelets',
        )),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(keep_ratio=False, scale=(
                256,
                192,
            ), type='Resize'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(
                meta_keys=(
                    'img_id',
                    'img_path',
                    'ori_shape',
                    'img_shape',
                    'scale_factor',
                ),
                type='PackDetInputs'),
        ],
        test_mode=True,
        type='CocoDataset'),
    num_workers=2,
    sampler=dict(shuffle=False, type='DefaultSampler'))
val_evaluator = dict(
    ann_file='data/bccd/annotations/val.json',
    metric='bbox',
    type='CocoMetric')
vis_backends = [
    dict(_scope_='mmdet', type='LocalVisBackend'),
]
visualizer = dict(
    _scope_='mmdet',
    name='visualizer',
    type='DetLocalVisualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
    ])
work_dir = 'work_dirs/comparison/small/bccd_ssdlite/lambda_0.01/seed_0/found'
