# The demo's seed: MobileNetV2 in a RetinaNet, trained from scratch. Elsewhere it comes from ImageNet.
_base_ = '../_base_/demo_shapes.py'

model = dict(backbone=dict(_delete_=True, type='FNAChildNet', arch='mobilenet_v2', out_indices=(1, 2, 4, 6)))
