# A small RetinaNet with mmdet's own ResNet-18 on BCCD at 192x256: a quarter of an hour on one core. It is trained until
# it has stopped improving; fna adapt starts from it.
_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py', '../_base_/bccd_192x256.py']
custom_imports = dict(imports=['fna_mm'], allow_failed_imports=False)

input_shape = (192, 256)  # (height, width) at which MAdds are counted
model = dict(
    backbone=dict(
        depth=18, frozen_stages=-1, norm_eval=False,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18')),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=64),
    bbox_head=dict(num_classes=3, in_channels=64, feat_channels=64, stacked_convs=2),
    # Cells touch and overlap.
    test_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100))

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=24, val_interval=4)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=35, norm_type=2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=24, milestones=[18, 22], gamma=0.1)
]
