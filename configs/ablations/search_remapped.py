# Ablations (paper, sections 4.3 and 4.4) on Cityscapes: FNA's own search, its supernet remapped from the seed.
# All that `python -m tools ablate` runs for one seed lies in FNA_ABLATION_DIR; without it, where mm's launchers put it.
_base_ = '../fna_deeplabv3_search.py'
work_dir = '{{$FNA_ABLATION_DIR:work_dirs/ablations}}/{{ fileBasenameNoExtension }}'
