# Search a DeepLabv3 backbone on CamVid at half size: under half an hour on one core. A third of it, with smaller
# batches for the architecture, finds worse children (docs/results/why.md).
_base_ = ['../_base_/deeplabv3_camvid_supernet.py', '../_base_/camvid.py']

input_shape = (180, 240)  # (height, width) at which MAdds are counted
model = dict(data_preprocessor=dict(size={{_base_.crop_size}}))

train_dataloader = dict(
    batch_size=4,
    persistent_workers=False,  # fresh workers every epoch: a resumed search reads what the other would have
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    dataset=dict(
        _delete_=True, type='RandomSplit', dataset={{_base_.search_dataset}}, ratio=0.2, part='weights', seed=0))

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=12)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=5e-4))
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
        # 146 architecture steps instead of the paper's thousands: a higher rate.
        optim_wrapper=dict(
            optimizer=dict(type='Adam', lr=0.1, betas=(0.5, 0.999), weight_decay=4e-5),
            clip_grad=dict(max_norm=35, norm_type=2)),
        cost=dict(type='MAddsCost', input_shape=input_shape, weight=3e-3, log_base=45, scale=10)),
    dict(type='ArchitectureExportHook', child_config='{{ fileDirname }}/fna_deeplabv3_retrain.py')
]
log_processor = dict(by_epoch=True)
