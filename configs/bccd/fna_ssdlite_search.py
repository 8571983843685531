# Search an SSDLite backbone on BCCD: minutes on two cores.
_base_ = ['../_base_/ssdlite_bccd_supernet.py', '../_base_/bccd_search.py']

# The last levels are single pixels: BN needs more than one image.
train_dataloader = dict(drop_last=True)
custom_hooks = [
    dict(
        type='AlternatingOptimizerHook',
        begin_epoch=4,
        dataloader=dict(
            batch_size=4,
            num_workers=2,
            drop_last=True,
            sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=dict(
                type='RandomSplit', dataset={{_base_.search_dataset}}, ratio=0.5, part='arch', seed=0)),
        # Two hundred architecture steps instead of the paper's tens of thousands: a higher rate.
        optim_wrapper=dict(
            optimizer=dict(type='Adam', lr=0.05, betas=(0.5, 0.999), weight_decay=1e-3),
            clip_grad=dict(max_norm=35, norm_type=2)),
        cost=dict(type='MAddsCost', input_shape={{_base_.input_shape}}, weight=0.2, log_base=10, scale=10)),
    dict(type='ArchitectureExportHook', child_config='{{ fileDirname }}/fna_ssdlite_retrain.py')
]
