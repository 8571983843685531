# An architecture drawn at random from the search space, of the found one's MAdds: `fna arch random`.
_base_ = './mobilenet_v2.py'

model = dict(backbone=dict(arch='{{$FNA_ABLATION_DIR:work_dirs/comparison}}/random_arch.json'))
