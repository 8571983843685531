"""Names in mm's root registries before the modules behind them are imported.

Importing PyTorch, mmcv, mmdet and mmseg takes seconds, and one of the last two may be missing. So each name stands
for a function at first, which imports its class when a config asks for one and builds it; registries of mmengine take
functions as well as classes. A module that is imported puts its classes in the functions' place
(``register_module(force=True)``). One name waits for its class: mmengine compares models with whatever is registered as
a model's wrapper, by isinstance.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any, Optional

from mmengine.registry import DATASETS, HOOKS, MODELS, TASK_UTILS, WEIGHT_INITIALIZERS, Registry

#: Everything that configs name: registry (None for the name that waits), module, classes.
REGISTERED: tuple[tuple[Optional[Registry], str, tuple[str, ...]], ...] = (
    (None, 'fna_mm.backbones', ('FNADistributedDataParallel', )),
    (MODELS, 'fna_mm.backbones', ('FNAChildNet', 'FNASuperNet')),
    (MODELS, 'fna_mm.heads.aspp_heads', ('SeparableASPPHead', 'DeepLabV3PlusHead')),
    (MODELS, 'fna_mm.heads.ssd_head', ('SSDLiteHead', )),
    (WEIGHT_INITIALIZERS, 'fna_mm.remapping', ('ParameterRemapping', )),
    (TASK_UTILS, 'fna_mm.cost', ('MAddsCost', )),
    (DATASETS, 'fna_mm.datasets', ('RandomSplit', )),
    (DATASETS, 'fna_mm.bench.synthetic_images', ('SyntheticImages', )),
    (HOOKS, 'fna_mm.remapping', ('ParameterRemappingHook', )),
    (HOOKS, 'fna_mm.hooks', ('AlternatingOptimizerHook', 'ArchitectureExportHook', 'BNCalibrationHook')),
)


def load(module: str, name: str) -> Any:
    """A class of this package, and with it safe loading of mmengine's checkpoints.

    Raises:
        ImportError: If a package that it needs is missing.
    """
    from fna_mm.safe_globals import allow_mmengine_checkpoints
    allow_mmengine_checkpoints()
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        raise ImportError(f'{name} needs the package {error.name}, which is not installed') from error


def _builder(module: str, name: str) -> Callable[..., Any]:
    def build(*args: Any, **kwargs: Any) -> Any:
        return load(module, name)(*args, **kwargs)

    # What mmengine's log says of a thing that was built.
    build.__name__, build.__module__ = name, module
    return build


def register() -> None:
    """Enter every name.

    Raises:
        KeyError: If another package uses one of them.
    """
    for registry, module, names in REGISTERED:
        if registry is not None:
            for name in names:
                registry.register_module(name=name, module=_builder(module, name))  # type: ignore[arg-type]
