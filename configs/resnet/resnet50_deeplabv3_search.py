# Search a ResNet-50 for DeepLabv3 on Cityscapes, at 70 % of its multiply-adds.
_base_ = '../_base_/deeplabv3_resnet_search.py'

model = dict(
    backbone=dict(
        seed='resnet50_v1c',
        layers_per_stage=(3, 4, 6, 3),
        init_cfg=dict(type='ParameterRemapping', checkpoint='open-mmlab://resnet50_v1c')))
custom_hooks = [
    {{_base_.search_hook}},
    dict(type='ArchitectureExportHook', interval=10, child_config='{{ fileDirname }}/resnet50_deeplabv3.py')
]
