# The same at output stride 8.
_base_ = './fna_deeplabv3plus_os16_retrain.py'

model = dict(backbone=dict(output_stride=8))
