# The same for the child of the search without remapping.
_base_ = './imagenet_pretrain_remapped.py'
work_dir = '{{$FNA_ABLATION_DIR:work_dirs/ablations}}/{{ fileBasenameNoExtension }}'
model = dict(backbone=dict(arch='{{$FNA_ABLATION_DIR:work_dirs/ablations}}/search_random/arch.json'))
