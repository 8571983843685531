# Table 6: larger kernels are filled with gaps (equation 6).
_base_ = './table5_expansion_remapped_adaptation_remapped.py'
work_dir = '{{$FNA_ABLATION_DIR:work_dirs/ablations/bccd}}/{{ fileBasenameNoExtension }}'
model = dict(backbone=dict(init_cfg=dict(kernel='dilate')))
