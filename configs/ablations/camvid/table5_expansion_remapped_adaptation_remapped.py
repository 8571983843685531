# Table 5: the child of the remapped search, remapped and fine-tuned. This is FNA.
_base_ = '../../camvid/fna_deeplabv3_retrain.py'
work_dir = '{{$FNA_ABLATION_DIR:work_dirs/ablations/camvid}}/{{ fileBasenameNoExtension }}'
model = dict(backbone=dict(arch='{{$FNA_ABLATION_DIR:work_dirs/ablations/camvid}}/search_remapped/arch.json'))

train_dataloader = dict(batch_size=4)
train_cfg = dict(max_iters=200, val_interval=200)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type='PolyLR', eta_min=0, power=0.9, by_epoch=False, begin=20, end=200)
]
custom_hooks = [dict(type='BNCalibrationHook', num_iters=20)]
