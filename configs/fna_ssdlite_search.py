# Search an SSDLite backbone on COCO with the paper's settings (section 4.2, appendix A.1) and, where the paper is
# silent, those of the authors' release: 8 GPUs with 16 images each, an architecture step after five weight steps.
_base_ = [
    './_base_/ssdlite_fna.py', './_base_/coco_ssd_search.py', 'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py'
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='FNASuperNet',
        layers_per_stage=(4, 4, 4, 4, 4, 1),
        kernel_sizes=(3, 5, 7),
        expand_ratios=(3, 6),
        out_indices=('expand5', 7),
        init_cfg=dict(type='ParameterRemapping', checkpoint={{_base_.seed_checkpoint}})))

# Weights: one path a step. Most parameters are not on it.
model_wrapper_cfg = dict(type='FNADistributedDataParallel')
train_cfg = dict(max_epochs=24)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='RMSprop', lr=0.03, momentum=0.9, eps=1.0, weight_decay=4e-5))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=24, milestones=[16, 22], gamma=0.1)
]

custom_hooks = [
    dict(
        type='AlternatingOptimizerHook',
        begin_epoch=12,
        weight_steps_per_arch_step=5,
        dataloader={{_base_.arch_dataloader}},
        optim_wrapper=dict(
            type='OptimWrapper',
            optimizer=dict(type='Adam', lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3),
            clip_grad=dict(max_norm=35, norm_type=2)),
        cost=dict(type='MAddsCost', input_shape={{_base_.input_shape}}, weight=0.2, log_base=10, scale=10)),
    dict(type='ArchitectureExportHook', interval=1, child_config='{{ fileDirname }}/fna_ssdlite_retrain.py')
]

randomness = dict(seed=0)
auto_scale_lr = dict(base_batch_size=128)
