# Search a ResNet-50 for RetinaNet on COCO, at 70 % of its multiply-adds; data and schedule as for MobileNetV2.
# 8 GPUs with 2 images each, as mmdet's learning rates assume.
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py', '../_base_/coco_search_data.py',
    'mmdet::_base_/schedules/schedule_1x.py', 'mmdet::_base_/default_runtime.py'
]
custom_imports = dict(imports=['fna_mm'], allow_failed_imports=False)

input_shape = (800, 1088)  # (height, width) at which MAdds are counted
model = dict(
    backbone=dict(
        _delete_=True,
        type='FNASuperNet',
        seed='resnet50',
        layers_per_stage=(3, 4, 6, 3),
        kernel_sizes=(3, 5),
        expand_ratios=(0.5, 1),
        init_cfg=dict(type='ParameterRemapping', checkpoint='torchvision://resnet50')))

# Weights: one path a step. Most parameters are not on it.
model_wrapper_cfg = dict(type='FNADistributedDataParallel')
train_cfg = dict(max_epochs=14)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=14, milestones=[8, 11], gamma=0.1)
]
custom_hooks = [
    dict(
        type='AlternatingOptimizerHook',
        begin_epoch=8,
        dataloader={{_base_.arch_dataloader}},
        optim_wrapper=dict(
            type='OptimWrapper',
            optimizer=dict(type='Adam', lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3),
            clip_grad=dict(max_norm=35, norm_type=2)),
        cost=dict(type='MAddsCost', input_shape=input_shape, budget=0.7)),
    dict(type='ArchitectureExportHook', child_config='{{ fileDirname }}/resnet50_retinanet.py')
]
randomness = dict(seed=0)
auto_scale_lr = dict(base_batch_size=16)
