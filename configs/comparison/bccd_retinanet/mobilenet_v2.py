# The baseline, on which alone the fine-tuning's learning rate was chosen.
_base_ = './_base_/retrain_{{$FNA_COMPARISON_SIZE:small}}.py'

model = dict(backbone=dict(arch='mobilenet_v2'))
