# Table 5: pre-train the child of the remapped search on ImageNet with mmpretrain's settings for MobileNetV2,
# 8 GPUs with 32 images each.
_base_ = 'mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py'
custom_imports = dict(imports=['fna_mm'], allow_failed_imports=False)
work_dir = '{{$FNA_ABLATION_DIR:work_dirs/ablations}}/{{ fileBasenameNoExtension }}'
input_shape = (224, 224)  # (height, width) at which MAdds are counted
model = dict(
    backbone=dict(
        _delete_=True,
        type='FNAChildNet',
        arch='{{$FNA_ABLATION_DIR:work_dirs/ablations}}/search_remapped/arch.json',
        out_indices=(7, )))
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
