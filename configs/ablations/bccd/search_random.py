# Table 5: the search without remapping, its supernet at a random start.
_base_ = './search_remapped.py'
work_dir = '{{$FNA_ABLATION_DIR:work_dirs/ablations/bccd}}/{{ fileBasenameNoExtension }}'
model = dict(backbone=dict(init_cfg=None))
