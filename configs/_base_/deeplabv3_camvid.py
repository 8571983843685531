# DeepLabv3 for CamVid's 11 classes, for one process: BN in the place of SyncBN.
_base_ = './deeplabv3_fna.py'

model = dict(
    backbone=dict(norm_cfg=dict(type='BN', requires_grad=True)),
    decode_head=dict(num_classes=11, norm_cfg=dict(type='BN', requires_grad=True)))
