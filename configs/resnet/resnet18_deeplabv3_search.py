# Search a ResNet-18 for DeepLabv3 on Cityscapes, at 70 % of its multiply-adds.
_base_ = '../_base_/deeplabv3_resnet_search.py'

model = dict(
    backbone=dict(
        seed='resnet18_v1c',
        layers_per_stage=(2, 2, 2, 2),
        init_cfg=dict(type='ParameterRemapping', checkpoint='open-mmlab://resnet18_v1c')),
    decode_head=dict(in_channels=512, channels=128),
    auxiliary_head=dict(in_channels=256, channels=64))
custom_hooks = [
    {{_base_.search_hook}},
    dict(type='ArchitectureExportHook', interval=10, child_config='{{ fileDirname }}/resnet18_deeplabv3.py')
]
