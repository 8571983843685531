# Search a DeepLabv3 backbone on CamVid at full size on one GPU: the paper's settings for Cityscapes but for the
# candidates' normalisation.
_base_ = ['../_base_/deeplabv3_camvid_supernet.py', '../_base_/camvid_full.py']

input_shape = (360, 480)  # (height, width) at which MAdds are counted
model = dict(data_preprocessor=dict(size={{_base_.crop_size}}))

train_dataloader = dict(
    persistent_workers=False,  # fresh workers every epoch: a resumed search reads what the other would have
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    dataset=dict(
        _delete_=True, type='RandomSplit', dataset={{_base_.search_dataset}}, ratio=0.2, part='weights', seed=0))

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=80, val_interval=10)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.005, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-3, by_epoch=True, begin=5, end=80, convert_to_iter_based=True)
]
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
        optim_wrapper=dict(
            optimizer=dict(type='Adam', lr=1e-3, betas=(0.5, 0.999), weight_decay=4e-5),
            clip_grad=dict(max_norm=35, norm_type=2)),
        cost=dict(type='MAddsCost', input_shape=input_shape, weight=9e-3, log_base=45, scale=10)),
    dict(type='ArchitectureExportHook', interval=10, child_config='{{ fileDirname }}/fna_deeplabv3_retrain_full.py')
]
log_processor = dict(by_epoch=True)
