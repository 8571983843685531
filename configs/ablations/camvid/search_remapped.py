# Ablations (paper, sections 4.3 and 4.4) on CamVid at half size: FNA's own search, its supernet remapped from
# the seed. Short, so that tables 5 and 6 with two seeds take about half an hour on two cores.
_base_ = '../../camvid/fna_deeplabv3_search.py'
work_dir = '{{$FNA_ABLATION_DIR:work_dirs/ablations/camvid}}/{{ fileBasenameNoExtension }}'
# Candidates without scale and shift, as the paper's.
model = dict(backbone=dict(candidate_norm_cfg=dict(affine=False)))
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
        # A step on the mixture costs four on a path.
        weight_steps_per_arch_step=4,
        dataloader=dict(
            batch_size=4,
            num_workers=2,
            drop_last=True,
            sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=dict(type='RandomSplit', dataset={{_base_.search_dataset}}, ratio=0.2, part='arch', seed=0)),
        # 54 architecture steps instead of the paper's thousands: a higher rate.
        optim_wrapper=dict(
            optimizer=dict(type='Adam', lr=0.1, betas=(0.5, 0.999), weight_decay=4e-5),
            clip_grad=dict(max_norm=35, norm_type=2)),
        cost=dict(type='MAddsCost', input_shape={{_base_.input_shape}}, weight=9e-3, log_base=45, scale=10)),
    dict(type='ArchitectureExportHook', child_config='{{ fileDirname }}/../../camvid/fna_deeplabv3_retrain.py')
]
