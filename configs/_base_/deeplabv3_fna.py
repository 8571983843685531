# DeepLabv3 as in the paper: depthwise-separable ASPP of 256 channels on the last map, no auxiliary head.
_base_ = __import__('fna_mm').config_path('mmseg::_base_/models/deeplabv3_r50-d8.py')
custom_imports = dict(imports=['fna_mm'], allow_failed_imports=False)

# MobileNetV2 trained on ImageNet. A torchvision or mmseg checkpoint on disk works as well.
seed_checkpoint = 'open-mmlab://mmdet/mobilenet_v2'
# (height, width) at which MAdds are counted.
input_shape = (1024, 2048)

model = dict(
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='FNAChildNet',
        arch='mobilenet_v2',
        out_indices=(6, ),
        output_stride=16,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        init_cfg=dict(type='ParameterRemapping', checkpoint=seed_checkpoint)),
    decode_head=dict(
        type='SeparableASPPHead', in_channels=320, in_index=0, channels=256, dilations=(1, 6, 12, 18),
        norm_cfg=dict(type='SyncBN', requires_grad=True)),
    auxiliary_head=None)
