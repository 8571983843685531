# Fine-tune an architecture in RetinaNet on COCO with the paper's settings (appendix A.1): the published
# one here; another one by model.backbone.arch=PATH/arch.json. 8 GPUs with 2 images each; the paper does
# not give its batch size.
_base_ = [
    './_base_/retinanet_fna.py', 'mmdet::_base_/datasets/coco_detection.py',
    'mmdet::_base_/schedules/schedule_1x.py', 'mmdet::_base_/default_runtime.py'
]

model = dict(backbone=dict(arch='fna_retinanet'))

optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-5))
