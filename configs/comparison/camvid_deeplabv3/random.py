# An architecture drawn at random from the search space, of the found one's MAdds: `fna arch random`.
_base_ = './_base_/retrain_{{$FNA_COMPARISON_SIZE:small}}.py'

model = dict(backbone=dict(arch='{{$FNA_ABLATION_DIR:work_dirs/comparison}}/random_arch.json'))
