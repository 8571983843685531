arch_dataloader = dict(
    batch_size=4,
    dataset=dict(
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
                dict(keep_ratio=False, scale=(
                    320,
                    240,
                ), type='Resize'),
                dict(type='PackDetInputs'),
            ],
            type='CocoDataset'),
        part='arch',
        ratio=0.5,
        seed=0,
        type='RandomSplit'),
    num_workers=2,
    sampler=dict(shuffle=True, type='DefaultSampler'))
classes = (
    'RBC',
    'WBC',
    'Platelets',
)
custom_hooks = [
    dict(
        begin_epoch=3,
        cost=dict(
            input_shape=(
                192,
                256,
            ),
            log_base=10,
            scale=5,
            type='MAddsCost',
            weight=0.02),
        dataloader=dict(
            batch_size=4,
            dataset=dict(
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
                            keep_ratio=False,
                            scale=(
                                256,
                                192,
                            ),
                            type='Resize'),
                        dict(type='PackDetInputs'),
                    ],
                    type='CocoDataset'),
                part='arch',
                ratio=0.5,
                seed=0,
                type='RandomSplit'),
            drop_last=True,
            num_workers=2,
            sampler=dict(shuffle=True, type='DefaultSampler')),
        optim_wrapper=dict(
            clip_grad=dict(max_norm=35, norm_type=2),
            optimizer=dict(
                betas=(
                    0.5,
                    0.999,
                ), lr=0.1, type='Adam', weight_decay=0.001)),
        type='AlternatingOptimizerHook',
        weight_steps_per_arch_step=2),
    dict(
        child_config=
        'configs/comparison/bccd_retinanet/_base_/retrain_small.py',
        type='ArchitectureExportHook'),
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
load_from = None
log_level = 'INFO'
log_processor = dict(
    _scope_='mmdet', by_epoch=True, type='LogProcessor', window_size=50)
model = dict(
    _scope_='mmdet',
    backbone=dict(
        candidate_norm_cfg=dict(
            affine=False, track_running_stats=False, type='BN'),
        init_cfg=dict(
            checkpoint=
            'mobilenet_v2_imagenet_torchvision.pth',
            type='ParameterRemapping'),
        out_indices=(
            1,
            2,
            4,
            6,
        ),
        type='FNASuperNet'),
    bbox_head=dict(
        anchor_generator=dict(
            octave_base_scale=4,
            ratios=[
                0.5,
                1.0,
                2.0,
            ],
            scales_per_octave=3,
            strides=[
                8,
                16,
                32,
                64,
                128,
            ],
            type='AnchorGenerator'),
        bbox_coder=dict(
            target_means=[
                0.0,
                0.0,
                0.0,
                0.0,
            ],
            target_stds=[
                1.0,
                1.0,
                1.0,
                1.0,
            ],
            type='DeltaXYWHBBoxCoder'),
        feat_channels=64,
        in_channels=64,
        loss_bbox=dict(loss_weight=1.0, type='L1Loss'),
        loss_cls=dict(
            alpha=0.25,
            gamma=2.0,
            loss_weight=1.0,
            type='FocalLoss',
            use_sigmoid=True),
        num_classes=3,
        stacked_convs=2,
        type='RetinaHead'),
    data_preprocessor=dict(
        bgr_to_rgb=True,
        mean=[
            123.675,
            116.28,
            103.53,
        ],
        pad_size_divisor=32,
        std=[
            58.395,
            57.12,
            57.375,
        ],
        type='DetDataPreprocessor'),
    neck=dict(
        add_extra_convs='on_input',
        in_channels=[
            24,
            32,
            96,
            320,
        ],
        num_outs=5,
        out_channels=64,
        start_level=1,
        type='FPN'),
    test_cfg=dict(
        max_per_img=100,
        min_bbox_size=0,
        nms=dict(iou_threshold=0.5, type='nms'),
        nms_pre=1000,
        score_thr=0.05),
    train_cfg=dict(
        allowed_border=-1,
        assigner=dict(
            ignore_iof_thr=-1,
            min_pos_iou=0,
            neg_iou_thr=0.4,
            pos_iou_thr=0.5,
            type='MaxIoUAssigner'),
        debug=False,
        pos_weight=-1,
        sampler=dict(type='PseudoSampler')),
    type='RetinaNet')
model_wrapper_cfg = dict(type='FNADistributedDataParallel')
optim_wrapper = dict(
    clip_grad=dict(max_norm=35, norm_type=2),
    optimizer=dict(lr=0.01, momentum=0.9, type='SGD', weight_decay=0.0001),
    type='OptimWrapper')
param_scheduler = [
    dict(begin=0, by_epoch=False, end=25, start_factor=0.01, type='LinearLR'),
]
randomness = dict(seed=1)
resume = False
search_dataset = dict(
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
            256,
            192,
        ), type='Resize'),
        dict(type='PackDetInputs'),
    ],
    type='CocoDataset')
search_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(keep_ratio=False, scale=(
        256,
        192,
    ), type='Resize'),
    dict(type='PackDetInputs'),
]
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
train_cfg = dict(max_epochs=10, type='EpochBasedTrainLoop', val_interval=10)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
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
                dict(keep_ratio=False, scale=(
                    256,
                    192,
                ), type='Resize'),
                dict(type='PackDetInputs'),
            ],
            type='CocoDataset'),
        part='weights',
        ratio=0.5,
        seed=0,
        type='RandomSplit'),
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
    dict(keep_ratio=False, scale=(
        320,
        240,
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
work_dir = 'work_dirs/comparison/small/bccd_retinanet/x_affine_false/seed_1/search'
