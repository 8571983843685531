# Fine-tune what the search on the demo's photographs found, with the weights that it has from the search.
_base_ = './mobilenet_v2_cells.py'

load_from = '{{$FNA_DEMO_FOUND:work_dirs/fna_demo/search/child.pth}}'
model = dict(
    backbone=dict(
        _delete_=True,
        type='FNAChildNet',
        arch='fna_retinanet',
        out_indices=(1, 2, 4, 6)))
train_cfg = dict(max_epochs=6, val_interval=6)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', eta_min=0, begin=0, end=6, T_max=6, convert_to_iter_based=True)
]
optim_wrapper = dict(optimizer=dict(lr=0.005))
custom_hooks = [dict(type='BNCalibrationHook', num_iters=25)]
