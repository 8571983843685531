# Fine-tune an architecture in DeepLabv3 on Cityscapes: the published one here, another one by
# model.backbone.arch=PATH/arch.json.
_base_ = ['./_base_/deeplabv3_fna.py', './_base_/cityscapes_retrain.py']

model = dict(data_preprocessor=dict(size={{_base_.crop_size}}), backbone=dict(arch='fna_deeplabv3'))
