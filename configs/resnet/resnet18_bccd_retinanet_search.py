# Search a ResNet-18 for RetinaNet on BCCD at 192x256, at 70 % of its multiply-adds: minutes on two cores.
_base_ = './resnet18_bccd_retinanet.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='FNASuperNet',
        seed='resnet18',
        layers_per_stage=(2, 2, 2, 2),
        kernel_sizes=(3, 5),
        expand_ratios=(0.5, 1),
        # The seed's scale and shift stay in the candidates: a short search cannot learn them anew.
        candidate_norm_cfg=dict(type='BN', affine=True, track_running_stats=False),
        init_cfg=dict(type='ParameterRemapping', checkpoint='torchvision://resnet18')))
model_wrapper_cfg = dict(type='FNADistributedDataParallel')

train_dataloader = dict(
    dataset=dict(
        _delete_=True, type='RandomSplit', dataset={{_base_.search_dataset}}, ratio=0.5, part='weights', seed=0))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=4)
param_scheduler = [dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=25)]
custom_hooks = [
    dict(
        type='AlternatingOptimizerHook',
        begin_epoch=4,
        dataloader=dict(
            batch_size=4,
            num_workers=2,
            sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=dict(type='RandomSplit', dataset={{_base_.search_dataset}}, ratio=0.5, part='arch', seed=0)),
        # Two hundred architecture steps: a higher rate.
        optim_wrapper=dict(
            optimizer=dict(type='Adam', lr=0.05, betas=(0.5, 0.999), weight_decay=1e-3),
            clip_grad=dict(max_norm=35, norm_type=2)),
        cost=dict(type='MAddsCost', input_shape={{_base_.input_shape}}, budget=0.7)),
    dict(type='ArchitectureExportHook', child_config='{{ fileDirname }}/resnet18_bccd_retinanet.py')
]
