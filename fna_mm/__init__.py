"""FNA: adapt a MobileNetV2's architecture and parameters to detection or segmentation, inside mm.

Importing the package registers everything in mmengine's root registries; configs do it with
``custom_imports = dict(imports=['fna_mm'])``.
"""

import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from fna_mm import registration
from fna_mm.architecture import Architecture, MBConvSpec, Stage
from fna_mm.search_space import SearchSpace
from fna_mm.shipped_configs import config_path

__version__ = '0.1.0'

registration.register()

# The command answers at once, and imports PyTorch where it has to: `fna arch show`, `fna --help` and the shell's
# completion do not. Anywhere else all is there after the import.
if TYPE_CHECKING or [PurePath(program).stem for program in sys.argv[:1]] != ['fna']:
    from fna_mm.backbones import FNAChildNet, FNADistributedDataParallel, FNASuperNet
    from fna_mm.cost import MAddsCost
    from fna_mm.datasets import RandomSplit
    from fna_mm.hooks import AlternatingOptimizerHook, ArchitectureExportHook, BNCalibrationHook
    from fna_mm.remapping import ParameterRemapping, ParameterRemappingHook
    from fna_mm.safe_globals import allow_mmengine_checkpoints

    allow_mmengine_checkpoints()

__all__ = [
    'AlternatingOptimizerHook', 'Architecture', 'ArchitectureExportHook', 'BNCalibrationHook', 'FNAChildNet',
    'FNADistributedDataParallel', 'FNASuperNet', 'MAddsCost', 'MBConvSpec', 'ParameterRemapping',
    'ParameterRemappingHook', 'RandomSplit', 'SearchSpace', 'Stage', '__version__', 'config_path'
]


def __getattr__(name: str) -> Any:
    """In the command, what was not imported yet: a user's config may import it from here."""
    for _, module, names in registration.REGISTERED:
        if name in __all__ and name in names:
            return registration.load(module, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
