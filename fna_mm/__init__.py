"""FNA: adapt the architecture and the parameters of a pre-trained backbone to detection or segmentation, inside mm.

Importing the package registers all its names in mmengine's root registries; configs import it with
``custom_imports = dict(imports=['fna_mm'])``. The modules behind the names, and PyTorch with them, are imported when a
name is used.
"""

from typing import TYPE_CHECKING, Any

from fna_mm import registration

if TYPE_CHECKING:
    from fna_mm.architecture import Architecture, MBConvSpec, Stage
    from fna_mm.backbones import FNAChildNet, FNADistributedDataParallel, FNAElasticNet, FNASuperNet
    from fna_mm.configs import config_path
    from fna_mm.cost import MAddsCost, TableCost
    from fna_mm.datasets import RandomSplit
    from fna_mm.hooks import (
        AlternatingOptimizerHook,
        ArchitectureExportHook,
        BNCalibrationHook,
        FeatureDistillationHook,
        OutputDistillationHook,
        RehearsalHook,
    )
    from fna_mm.remapping import ParameterRemapping, ParameterRemappingHook
    from fna_mm.search_space import SearchSpace

__version__ = '0.1.0'

__all__ = [
    'AlternatingOptimizerHook', 'Architecture', 'ArchitectureExportHook', 'BNCalibrationHook', 'FNAChildNet',
    'FNADistributedDataParallel', 'FNAElasticNet', 'FNASuperNet', 'FeatureDistillationHook', 'MAddsCost', 'MBConvSpec',
    'OutputDistillationHook', 'ParameterRemapping', 'ParameterRemappingHook', 'RandomSplit', 'RehearsalHook',
    'SearchSpace', 'Stage', 'TableCost', '__version__', 'config_path'
]

registration.register()


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for (PEP 562)."""
    if name in registration.MODULES and name in __all__:
        value = globals()[name] = registration.load(registration.MODULES[name], name)
        return value
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
