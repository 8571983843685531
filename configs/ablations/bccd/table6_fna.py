# Table 6: FNA's own remapping, by first channels and central kernels: the run of table 5.
# The paper does not say whether the other methods of this table replace it in the search as well. Here they
# remap the child only, that of one and the same search, so that nothing but the method differs.
_base_ = './table5_expansion_remapped_adaptation_remapped.py'
work_dir = '{{$FNA_ABLATION_DIR:work_dirs/ablations/bccd}}/{{ fileBasenameNoExtension }}'
