# Table 5: the child of the remapped search, pre-trained on ImageNet instead of remapped. 76.5 mIoU in the paper.
# All else is as in FNA: BN statistics are measured on Cityscapes first.
_base_ = './table5_expansion_remapped_adaptation_remapped.py'
work_dir = '{{$FNA_ABLATION_DIR:work_dirs/ablations}}/{{ fileBasenameNoExtension }}'
model = dict(
    backbone=dict(
        init_cfg=dict(
            _delete_=True,
            type='Pretrained',
            checkpoint='{{$FNA_ABLATION_DIR:work_dirs/ablations}}/imagenet_pretrain_remapped/epoch_300.pth',
            prefix='backbone.')))
