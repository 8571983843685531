# RetinaNet for BCCD with the supernet of a search in the place of its backbone.
_base_ = './retinanet_bccd.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='FNASuperNet',
        out_indices=(1, 2, 4, 6),
        # The seed's scale and shift stay in the candidates: a short search cannot learn them anew.
        candidate_norm_cfg=dict(type='BN', affine=True, track_running_stats=False),
        init_cfg=dict(type='ParameterRemapping', checkpoint={{_base_.seed_checkpoint}})))
model_wrapper_cfg = dict(type='FNADistributedDataParallel')
