"""Registration of the package's names in mm's root registries, without importing the modules behind them.

Importing PyTorch, mmcv, mmdet and mmseg takes seconds, and mmdet or mmseg may be missing. So the registry first gets a
function for every name. When a config uses the name, the function imports the class and builds it; mmengine's
registries accept functions as well as classes. When a module is imported, its classes replace the functions
(``register_module(force=True)``). The model wrapper has no such function, because mmengine checks of every model
whether it is an instance of a registered wrapper. Importing the supernet registers the wrapper's class.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, Optional

try:
    from mmengine.registry import DATASETS, HOOKS, MODELS, TASK_UTILS, WEIGHT_INITIALIZERS, Registry
except ModuleNotFoundError as error:
    if error.name != 'mmengine':
        raise
    raise ImportError("fna_mm needs mm, which comes with an extra: pip install 'fna-mm[det]' for detection, "
                      "'fna-mm[seg]' for segmentation, or onedl-det and onedl-seg for the maintained line") from error

#: All names that configs use: registry (None for the model wrapper), module, classes.
REGISTERED: tuple[tuple[Optional[Registry], str, tuple[str, ...]], ...] = (
    (None, 'fna_mm.backbones', ('FNADistributedDataParallel', )),
    (MODELS, 'fna_mm.backbones', ('FNAChildNet', 'FNAElasticNet', 'FNASuperNet')),
    (MODELS, 'fna_mm.heads.aspp_heads', ('SeparableASPPHead', 'DeepLabV3PlusHead')),
    (MODELS, 'fna_mm.heads.ssd_head', ('SSDLiteHead', )),
    (WEIGHT_INITIALIZERS, 'fna_mm.remapping', ('ParameterRemapping', )),
    (TASK_UTILS, 'fna_mm.cost', ('MAddsCost', 'TableCost')),
    (DATASETS, 'fna_mm.datasets', ('RandomSplit', )),
    (HOOKS, 'fna_mm.remapping', ('ParameterRemappingHook', )),
    (HOOKS, 'fna_mm.hooks', ('AlternatingOptimizerHook', 'ArchitectureExportHook', 'BNCalibrationHook',
                              'FeatureDistillationHook', 'OutputDistillationHook', 'RehearsalHook')),
)
#: The module of every class and function that the package offers by name.
MODULES: dict[str, str] = {
    'Architecture': 'fna_mm.architecture', 'MBConvSpec': 'fna_mm.architecture', 'Stage': 'fna_mm.architecture',
    'SearchSpace': 'fna_mm.search_space', 'config_path': 'fna_mm.configs',
    **{name: module for _, module, names in REGISTERED for name in names}}


def load(module: str, name: str) -> Any:
    """Import a class or function of this package.

    Raises:
        ImportError: If a package that it needs is missing.
    """
    try:
        found = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        package = str(error.name).partition('.')[0]
        raise ImportError(f'{name} needs the package {package}, which is not installed') from error
    allow_checkpoints()
    return found


def allow_checkpoints() -> None:
    """Let mmengine's checkpoints open under torch's safe loading, in a program that has imported PyTorch."""
    if sys.modules.get('torch'):
        from fna_mm.checkpoints.safe_globals import allow_mmengine_checkpoints
        allow_mmengine_checkpoints()


def _builder(module: str, name: str) -> Callable[..., Any]:
    def build(*args: Any, **kwargs: Any) -> Any:
        return load(module, name)(*args, **kwargs)

    # mmengine's log shows the name and module of the object that it built.
    build.__name__, build.__module__ = name, module
    return build


def register() -> None:
    """Register every name.

    Raises:
        KeyError: If another package has registered one of the names.
    """
    for registry, module, names in REGISTERED:
        if registry is not None:
            for name in names:
                registry.register_module(name=name, module=_builder(module, name))  # type: ignore[arg-type]
    allow_checkpoints()
