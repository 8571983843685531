# Table 6, and a row that the paper does not have: blocks are fitted to those of the seed on training images, without
# labels, as fna adapt fits them to those of a trained model.
_base_ = './table5_expansion_remapped_adaptation_remapped.py'
work_dir = '{{$FNA_ABLATION_DIR:work_dirs/ablations/bccd}}/{{ fileBasenameNoExtension }}'
custom_imports = dict(imports=['fna_mm', 'tools.ablation.fitted_remapping_hook'], allow_failed_imports=False)
custom_hooks = [dict(type='FittedRemappingHook'), dict(type='BNCalibrationHook', num_iters=25)]
