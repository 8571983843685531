# SSDLite as in the paper, at 320x320: maps of 576 channels (the expanded features of the first layer of stage
# 96 → 160, stride 16), 1280 (behind the last stage, stride 32) and four extra levels; anchors 4, 6, 6, 6, 4, 4 a cell.
_base_ = 'mmdet::_base_/models/ssd300.py'
custom_imports = dict(imports=['fna_mm'], allow_failed_imports=False)

# An ImageNet-trained MobileNetV2: a path, a URL, open-mmlab://mmdet/mobilenet_v2, ….
seed_checkpoint = 'open-mmlab://mmdet/mobilenet_v2'
input_shape = (320, 320)  # (height, width) at which MAdds are counted
level_channels = (576, 1280, 512, 256, 256, 128)
light = dict(
    use_depthwise=True,
    norm_cfg=dict(type='BN', eps=0.001, momentum=0.03),
    act_cfg=dict(type='ReLU6'))

model = dict(
    data_preprocessor=dict(std=[58.395, 57.12, 57.375]),
    backbone=dict(
        _delete_=True,
        type='FNAChildNet',
        arch='mobilenet_v2',
        out_indices=('expand5', 7),
        norm_cfg=dict(type='BN', requires_grad=True),
        init_cfg=dict(type='ParameterRemapping', checkpoint=seed_checkpoint)),
    neck=dict(
        in_channels=level_channels[:2],
        out_channels=level_channels,
        level_strides=(2, 2, 2, 2),
        level_paddings=(1, 1, 1, 1),
        l2_norm_scale=None,
        init_cfg=dict(type='TruncNormal', layer='Conv2d', std=0.03),
        **light),
    bbox_head=dict(
        type='SSDLiteHead',  # mmdet's SSDHead, which cannot predict in mmdet 3.3
        in_channels=level_channels,
        init_cfg=dict(type='Normal', layer='Conv2d', std=0.001),
        anchor_generator=dict(
            _delete_=True,
            type='SSDAnchorGenerator',
            scale_major=False,
            strides=[16, 32, 64, 107, 160, 320],
            ratios=[[2], [2, 3], [2, 3], [2, 3], [2], [2]],
            min_sizes=[48, 100, 150, 202, 253, 304],
            max_sizes=[100, 150, 202, 253, 304, 320]),
        **light))
