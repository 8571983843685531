# Table 5: the child of the search without remapping, remapped and fine-tuned. 76.0 mIoU in the paper.
_base_ = './table5_expansion_remapped_adaptation_remapped.py'
work_dir = '{{$FNA_ABLATION_DIR:work_dirs/ablations}}/{{ fileBasenameNoExtension }}'
model = dict(backbone=dict(arch='{{$FNA_ABLATION_DIR:work_dirs/ablations}}/search_random/arch.json'))
