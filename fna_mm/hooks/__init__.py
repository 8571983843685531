from fna_mm.hooks.alternating_optimizer_hook import AlternatingOptimizerHook
from fna_mm.hooks.architecture_export_hook import ArchitectureExportHook
from fna_mm.hooks.bn_calibration_hook import BNCalibrationHook
from fna_mm.hooks.feature_distillation_hook import FeatureDistillationHook
from fna_mm.hooks.output_distillation_hook import OutputDistillationHook
from fna_mm.hooks.rehearsal_hook import RehearsalHook

__all__ = ['AlternatingOptimizerHook', 'ArchitectureExportHook', 'BNCalibrationHook', 'FeatureDistillationHook',
           'OutputDistillationHook', 'RehearsalHook']
