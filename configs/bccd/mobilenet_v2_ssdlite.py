# The baseline: MobileNetV2 itself, trained exactly as the child is.
_base_ = './fna_ssdlite_retrain.py'

model = dict(backbone=dict(arch='mobilenet_v2'))
