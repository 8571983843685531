# Table 5: the child of the search without remapping, remapped and fine-tuned.
_base_ = './table5_expansion_remapped_adaptation_remapped.py'
work_dir = '{{$FNA_ABLATION_DIR:work_dirs/ablations/bccd}}/{{ fileBasenameNoExtension }}'
model = dict(backbone=dict(arch='{{$FNA_ABLATION_DIR:work_dirs/ablations/bccd}}/search_random/arch.json'))
