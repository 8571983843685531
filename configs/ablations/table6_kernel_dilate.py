# Table 6: larger kernels are filled with gaps (equation 6). 75.6 mIoU in the paper.
_base_ = './table5_expansion_remapped_adaptation_remapped.py'
work_dir = '{{$FNA_ABLATION_DIR:work_dirs/ablations}}/{{ fileBasenameNoExtension }}'
model = dict(backbone=dict(init_cfg=dict(kernel='dilate')))
