# Table 6: narrowed layers keep the channels of the largest BN scales.
_base_ = './table5_expansion_remapped_adaptation_remapped.py'
work_dir = '{{$FNA_ABLATION_DIR:work_dirs/ablations/bccd}}/{{ fileBasenameNoExtension }}'
model = dict(backbone=dict(init_cfg=dict(width='bn')))
