# Fine-tune a child on the drawn shapes: the published architecture here, the found one in what the
# search exports. The same budget for every architecture that is compared.
_base_ = '../_base_/demo_shapes.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='FNAChildNet',
        arch='fna_retinanet',
        out_indices=(1, 2, 4, 6),
        init_cfg=dict(type='ParameterRemapping', checkpoint='{{$FNA_DEMO_SEED:work_dirs/fna_demo/seed/epoch_12.pth}}')))

train_cfg = dict(max_epochs=7, val_interval=7)
custom_hooks = [dict(type='BNCalibrationHook', num_iters=25)]
