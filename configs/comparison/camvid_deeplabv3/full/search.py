# The search on CamVid at full size, minutes on one GPU: the paper's settings for Cityscapes, for fewer images.
_base_ = '../../../camvid/fna_deeplabv3_search_full.py'

custom_hooks = [
    dict(
        type='AlternatingOptimizerHook',
        begin_epoch=30,
        dataloader=dict(
            batch_size=16,
            num_workers=8,
            drop_last=True,
            sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=dict(type='RandomSplit', dataset={{_base_.search_dataset}}, ratio=0.2, part='arch', seed=0)),
        # Two hundred architecture steps instead of the paper's thousands: a higher rate.
        optim_wrapper=dict(
            optimizer=dict(type='Adam', lr=0.05, betas=(0.5, 0.999), weight_decay=4e-5),
            clip_grad=dict(max_norm=35, norm_type=2)),
        cost=dict(type='MAddsCost', input_shape={{_base_.input_shape}}, weight=3e-3, log_base=45, scale=10)),
    dict(type='ArchitectureExportHook', interval=10, child_config='{{ fileDirname }}/mobilenet_v2.py')
]
