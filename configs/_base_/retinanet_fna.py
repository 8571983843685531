# RetinaNet as in the paper: FPN on the maps of 24, 32, 96 and 320 channels, from the second on.
_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'

custom_imports = dict(imports=['fna_mm'], allow_failed_imports=False)

# An ImageNet-trained MobileNetV2: a path, a URL, open-mmlab://mmdet/mobilenet_v2, ….
seed_checkpoint = 'open-mmlab://mmdet/mobilenet_v2'
input_shape = (800, 1088)  # (height, width) at which MAdds are counted

model = dict(
    backbone=dict(
        _delete_=True,
        type='FNAChildNet',
        arch='mobilenet_v2',
        out_indices=(1, 2, 4, 6),
        norm_cfg=dict(type='BN', requires_grad=True),
        init_cfg=dict(type='ParameterRemapping', checkpoint=seed_checkpoint)),
    neck=dict(in_channels=[24, 32, 96, 320]))
