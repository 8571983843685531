# Table 5: no remapping at all. 72.4 mIoU in the paper.
_base_ = './table5_expansion_remapped_adaptation_random.py'
work_dir = '{{$FNA_ABLATION_DIR:work_dirs/ablations}}/{{ fileBasenameNoExtension }}'
model = dict(backbone=dict(arch='{{$FNA_ABLATION_DIR:work_dirs/ablations}}/search_random/arch.json'))
