# The search on CamVid at half size: minutes on one CPU core.
_base_ = '../../../camvid/fna_deeplabv3_search.py'

train_dataloader = dict(batch_size=4)
train_cfg = dict(max_epochs=4, val_interval=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.005, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-3, by_epoch=True, begin=1, end=4, convert_to_iter_based=True)
]
custom_hooks = [
    dict(
        type='AlternatingOptimizerHook',
        begin_epoch=1,
        weight_steps_per_arch_step=2,
        dataloader=dict(
            batch_size=4,
            num_workers=2,
            drop_last=True,
            sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=dict(type='RandomSplit', dataset={{_base_.search_dataset}}, ratio=0.2, part='arch', seed=0)),
        # A hundred architecture steps instead of the paper's thousands: a higher rate.
        optim_wrapper=dict(
            optimizer=dict(type='Adam', lr=0.1, betas=(0.5, 0.999), weight_decay=4e-5),
            clip_grad=dict(max_norm=35, norm_type=2)),
        cost=dict(type='MAddsCost', input_shape={{_base_.input_shape}}, weight=3e-3, log_base=45, scale=10)),
    dict(type='ArchitectureExportHook', child_config='{{ fileDirname }}/mobilenet_v2.py')
]
