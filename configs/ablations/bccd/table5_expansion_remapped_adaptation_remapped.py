# Table 5: the child of the remapped search, remapped and fine-tuned until it has stopped improving. This is FNA.
_base_ = '../../adaptation/mobilenet_v2_bccd_retinanet.py'
work_dir = '{{$FNA_ABLATION_DIR:work_dirs/ablations/bccd}}/{{ fileBasenameNoExtension }}'
model = dict(backbone=dict(arch='{{$FNA_ABLATION_DIR:work_dirs/ablations/bccd}}/search_remapped/arch.json'))
train_cfg = dict(val_interval=24)
