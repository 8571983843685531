# Ablations (paper, sections 4.3 and 4.4) with RetinaNet on BCCD, trained to the end: FNA's own search, its supernet
# remapped from the seed.
_base_ = '../../comparison/bccd_retinanet/small/search.py'
work_dir = '{{$FNA_ABLATION_DIR:work_dirs/ablations/bccd}}/{{ fileBasenameNoExtension }}'
