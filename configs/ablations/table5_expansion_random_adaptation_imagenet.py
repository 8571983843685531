# The child of the search without remapping, pre-trained on ImageNet: the sixth combination, not in the paper.
_base_ = './table5_expansion_remapped_adaptation_imagenet.py'
work_dir = '{{$FNA_ABLATION_DIR:work_dirs/ablations}}/{{ fileBasenameNoExtension }}'
model = dict(
    backbone=dict(
        arch='{{$FNA_ABLATION_DIR:work_dirs/ablations}}/search_random/arch.json',
        init_cfg=dict(checkpoint='{{$FNA_ABLATION_DIR:work_dirs/ablations}}/imagenet_pretrain_random/epoch_300.pth')))
