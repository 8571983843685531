"""FNA: adapt a MobileNetV2's architecture and parameters to detection or segmentation, inside mm.

Importing the package registers everything in mmengine's root registries; configs do it with
``custom_imports = dict(imports=['fna_mm'])``. Heads are registered where the mm package that they need is
installed.
"""

from contextlib import suppress

from fna_mm.architecture import Architecture, MBConvSpec, Stage
from fna_mm.backbones import FNAChildNet, FNADistributedDataParallel, FNASuperNet
from fna_mm.cost import MAddsCost
from fna_mm.datasets import RandomSplit
from fna_mm.hooks import AlternatingOptimizerHook, ArchitectureExportHook, BNCalibrationHook
from fna_mm.remapping import ParameterRemapping, ParameterRemappingHook
from fna_mm.safe_globals import allow_mmengine_checkpoints
from fna_mm.search_space import SearchSpace

__version__ = '0.1.0'

allow_mmengine_checkpoints()

# A package that is missing, or whose own checks refuse the mmcv beside it, is no reason to refuse the other half.
with suppress(ImportError, AssertionError):
    import fna_mm.heads.aspp_heads
with suppress(ImportError, AssertionError):
    import fna_mm.heads.ssd_head  # noqa: F401

__all__ = [
    'AlternatingOptimizerHook', 'Architecture', 'ArchitectureExportHook', 'BNCalibrationHook', 'FNAChildNet',
    'FNADistributedDataParallel', 'FNASuperNet', 'MAddsCost', 'MBConvSpec', 'ParameterRemapping',
    'ParameterRemappingHook', 'RandomSplit', 'SearchSpace', 'Stage', '__version__'
]
