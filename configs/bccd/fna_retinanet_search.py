# Search a RetinaNet backbone on BCCD: minutes on two cores.
_base_ = ['../_base_/retinanet_bccd.py', '../_base_/bccd_search.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='FNASuperNet',
        out_indices=(1, 2, 4, 6),
        # The seed's scale and shift stay in the candidates: a short search cannot learn them anew.
        candidate_norm_cfg=dict(type='BN', affine=True, track_running_stats=False),
        init_cfg=dict(type='ParameterRemapping', checkpoint={{_base_.seed_checkpoint}})))
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=35, norm_type=2))
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
