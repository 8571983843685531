# The architecture that the search with the same seed found.
_base_ = './_base_/retrain_{{$FNA_COMPARISON_SIZE:small}}.py'

model = dict(backbone=dict(arch='{{$FNA_ABLATION_DIR:work_dirs/comparison}}/search/arch.json'))
