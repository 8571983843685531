# Search a ResNet-18 for DeepLabv3 on CamVid at half size, at 70 % of its multiply-adds: half an hour on two cores.
_base_ = './resnet18_camvid_deeplabv3.py'

model = dict(
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='FNASuperNet',
        seed='resnet18_v1c',
        layers_per_stage=(2, 2, 2, 2),
        kernel_sizes=(3, 5),
        expand_ratios=(0.5, 1),
        output_stride=16,
        dilated='contract',
        # The seed's scale and shift stay in the candidates: a short search cannot learn them anew.
        candidate_norm_cfg=dict(type='BN', affine=True, track_running_stats=False),
        init_cfg=dict(type='ParameterRemapping', checkpoint='open-mmlab://resnet18_v1c')))
model_wrapper_cfg = dict(type='FNADistributedDataParallel')

train_dataloader = dict(
    persistent_workers=False,  # fresh workers every epoch: a resumed search reads what the other would have
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    dataset=dict(
        _delete_=True, type='RandomSplit', dataset={{_base_.search_dataset}}, ratio=0.2, part='weights', seed=0))
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=12, val_interval=12)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.005, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-3, by_epoch=True, begin=1, end=12, convert_to_iter_based=True)
]
custom_hooks = [
    dict(
        type='AlternatingOptimizerHook',
        begin_epoch=8,
        weight_steps_per_arch_step=2,
        dataloader=dict(
            batch_size=12,
            num_workers=2,
            drop_last=True,
            sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=dict(type='RandomSplit', dataset={{_base_.search_dataset}}, ratio=0.2, part='arch', seed=0)),
        # 146 architecture steps: a higher rate.
        optim_wrapper=dict(
            optimizer=dict(type='Adam', lr=0.1, betas=(0.5, 0.999), weight_decay=4e-5),
            clip_grad=dict(max_norm=35, norm_type=2)),
        cost=dict(type='MAddsCost', input_shape={{_base_.input_shape}}, budget=0.7)),
    dict(type='ArchitectureExportHook', child_config='{{ fileDirname }}/resnet18_camvid_deeplabv3.py')
]
log_processor = dict(by_epoch=True)
default_hooks = dict(
    logger=dict(log_metric_by_epoch=True), checkpoint=dict(by_epoch=True, interval=1))
