# The published architecture in DeepLabv3+ at output stride 16, ordinary convolutions in its head.
_base_ = './fna_deeplabv3_retrain.py'

model = dict(
    backbone=dict(out_indices=(1, 6)),
    decode_head=dict(type='DeepLabV3PlusHead', in_index=1, c1_index=0, c1_in_channels=24, c1_channels=48))
