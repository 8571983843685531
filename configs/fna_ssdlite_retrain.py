# Fine-tune an architecture in SSDLite on COCO with the paper's settings (appendix A.1): the published one here;
# another one, whose layer tapped by 'expand5' expands by 6, by model.backbone.arch=PATH/arch.json. 8 GPUs with 64
# images each, as in the authors' release.
_base_ = [
    './_base_/ssdlite_fna.py', './_base_/coco_ssd.py', 'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py'
]

model = dict(backbone=dict(arch='fna_ssdlite'))

train_cfg = dict(max_epochs=60, val_interval=5)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='RMSprop', lr=0.2, momentum=0.9, eps=1.0, weight_decay=4e-5))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=60, milestones=[36, 50, 56], gamma=0.1)
]
auto_scale_lr = dict(base_batch_size=512)
