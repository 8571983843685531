# Table 5: the child of the remapped search, trained from a random start.
# mm's Kaiming normal start (the paper: "based on the standard normal distribution"). Its BN statistics are
# not measured first: they would be those of random weights, which the first steps replace.
_base_ = './table5_expansion_remapped_adaptation_remapped.py'
work_dir = '{{$FNA_ABLATION_DIR:work_dirs/ablations/bccd}}/{{ fileBasenameNoExtension }}'
model = dict(backbone=dict(init_cfg=None))
custom_hooks = []
