# Search a RetinaNet backbone on BCCD: minutes on two cores.
_base_ = ['../_base_/retinanet_bccd_supernet.py', '../_base_/bccd_search.py']

custom_hooks = [
    dict(
        type='AlternatingOptimizerHook',
        begin_epoch=4,
        dataloader={{_base_.arch_dataloader}},
        # Two hundred architecture steps instead of the paper's tens of thousands: a higher rate.
        optim_wrapper=dict(
            optimizer=dict(type='Adam', lr=0.05, betas=(0.5, 0.999), weight_decay=1e-3),
            clip_grad=dict(max_norm=35, norm_type=2)),
        cost=dict(type='MAddsCost', input_shape={{_base_.input_shape}}, weight=0.02, log_base=10, scale=5)),
    dict(type='ArchitectureExportHook', child_config='{{ fileDirname }}/fna_retinanet_retrain.py')
]
