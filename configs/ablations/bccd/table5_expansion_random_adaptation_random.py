# Table 5: no remapping at all.
_base_ = './table5_expansion_remapped_adaptation_random.py'
work_dir = '{{$FNA_ABLATION_DIR:work_dirs/ablations/bccd}}/{{ fileBasenameNoExtension }}'
model = dict(backbone=dict(arch='{{$FNA_ABLATION_DIR:work_dirs/ablations/bccd}}/search_random/arch.json'))
