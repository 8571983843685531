# The architecture that the search with the same seed found.
_base_ = './mobilenet_v2.py'

model = dict(backbone=dict(arch='{{$FNA_ABLATION_DIR:work_dirs/comparison}}/search/arch.json'))
