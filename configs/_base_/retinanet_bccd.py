# A small RetinaNet for BCCD: narrow FPN and head, images of 240x320.
_base_ = './retinanet_fna.py'

input_shape = (240, 320)

model = dict(
    neck=dict(out_channels=64),
    bbox_head=dict(num_classes=3, in_channels=64, feat_channels=64, stacked_convs=2),
    # Cells touch and overlap.
    test_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100))
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=35, norm_type=2))
