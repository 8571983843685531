# The search on BCCD at 192x256: minutes on one CPU core. found.py fine-tunes its architecture.
_base_ = ['../../../_base_/ssdlite_bccd_supernet.py', '../../../_base_/bccd_192x256.py']

input_shape = (192, 256)  # (height, width)
model = dict(
    bbox_head=dict(
        anchor_generator=dict(min_sizes=[18, 40, 80, 120, 160, 184], max_sizes=[80, 120, 160, 184, 208, 232])))
# The last levels are single pixels: BN needs more than one image.
train_dataloader = dict(
    drop_last=True,
    dataset=dict(
        _delete_=True, type='RandomSplit', dataset={{_base_.search_dataset}}, ratio=0.5, part='weights', seed=0))

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=10, val_interval=10)
param_scheduler = [dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=25)]
custom_hooks = [
    dict(
        type='AlternatingOptimizerHook',
        begin_epoch=3,
        weight_steps_per_arch_step=2,
        dataloader=dict(
            batch_size=4,
            num_workers=2,
            drop_last=True,
            sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=dict(type='RandomSplit', dataset={{_base_.search_dataset}}, ratio=0.5, part='arch', seed=0)),
        # A hundred architecture steps instead of the paper's tens of thousands: a higher rate.
        optim_wrapper=dict(
            optimizer=dict(type='Adam', lr=0.1, betas=(0.5, 0.999), weight_decay=1e-3),
            clip_grad=dict(max_norm=35, norm_type=2)),
        cost=dict(type='MAddsCost', input_shape=input_shape, weight=0.05, log_base=10, scale=10)),
    dict(type='ArchitectureExportHook', child_config='{{ fileDirname }}/mobilenet_v2.py')
]
