# Table 5: the child of the remapped search, remapped and fine-tuned. This is FNA: 76.6 mIoU in the paper.
_base_ = '../fna_deeplabv3_retrain.py'
work_dir = '{{$FNA_ABLATION_DIR:work_dirs/ablations}}/{{ fileBasenameNoExtension }}'
model = dict(backbone=dict(arch='{{$FNA_ABLATION_DIR:work_dirs/ablations}}/search_remapped/arch.json'))
