# The paper's own architecture, found on another data set.
_base_ = './_base_/retrain_{{$FNA_COMPARISON_SIZE:small}}.py'

model = dict(backbone=dict(arch='fna_deeplabv3'))
