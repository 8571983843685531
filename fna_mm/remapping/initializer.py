"""Parameter remapping as mm's users meet it: an initializer in ``init_cfg``, or a runner hook."""

import os
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.model.weight_init import update_init_info
from mmengine.registry import HOOKS, WEIGHT_INITIALIZERS
from torch import nn

from fna_mm.remapping.parameter_remapping import Report, remap_parameters
from fna_mm.remapping.seed_checkpoint import read_seed
from fna_mm.remapping.tensor_remapping import check_methods

_MAX_PROBLEMS = 10


def resolve_checkpoint(checkpoint: str) -> str:
    """``open-mmlab://`` and ``torchvision://`` names → their URL; anything else as it is.

    Raises:
        ValueError: If the name is not in mmengine's or torchvision's list.
    """
    from mmengine.runner.checkpoint import get_external_models, get_torchvision_models
    for prefix, models in (('open-mmlab://', get_external_models), ('torchvision://', get_torchvision_models)):
        if checkpoint.startswith(prefix):
            known, name = models(), checkpoint[len(prefix):]
            if name not in known:
                near = sorted(key for key in known if 'mobilenet' in key)
                raise ValueError(f'checkpoint={checkpoint!r}: {prefix} has no {name!r}; its MobileNets are {near}')
            return known[name]
    return checkpoint


def load_checkpoint(checkpoint: str) -> Any:
    """Open a checkpoint on the CPU; code that it may carry is never executed.

    Args:
        checkpoint (str): A path (any mmengine file backend), ``https://``, ``open-mmlab://`` or
            ``torchvision://``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no readable checkpoint, or one that holds more than tensors.
    """
    from mmengine.fileio import exists, get_local_path
    location = resolve_checkpoint(checkpoint)
    if location.startswith(('http://', 'https://')):
        return torch.hub.load_state_dict_from_url(location, map_location='cpu', weights_only=True)
    if not exists(location):
        raise FileNotFoundError(f'checkpoint={checkpoint!r}: there is no such file (seen from {os.getcwd()}); give '
                                'the path of a MobileNetV2 checkpoint, or open-mmlab://mmdet/mobilenet_v2')
    try:
        with get_local_path(location) as path:
            return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # what torch raises over a damaged file has no end: OSError, AssertionError, …
        reason = str(error).split('\n')[0][:200]
        raise ValueError(f'checkpoint={checkpoint!r} is no readable checkpoint (truncated, of another kind, or with '
                         f'more in it than tensors): {type(error).__name__}: {reason}') from error


@WEIGHT_INITIALIZERS.register_module()
class ParameterRemapping:
    """Initialize a supernet or child from a MobileNetV2 checkpoint (paper, section 3.1).

    The checkpoint's layout (torchvision, mmdet, mmseg/mmpretrain) is recognised by its keys. New
    layers are copies of their stage's last one, narrower layers keep the first channels, larger
    kernels hold the old one in their centre. One table in the log says what came from where.

    Args:
        checkpoint (str): A path (any mmengine file backend), ``https://``, ``open-mmlab://`` or
            ``torchvision://``.
        width (str): How narrowed layers choose channels: ``first``. Defaults to 'first'.
        kernel (str): How larger kernels are filled: ``center``. Defaults to 'center'.
        strict (bool): Refuse a seed that does not explain every tensor, instead of leaving
            such tensors at their random start. Defaults to True.

    Raises:
        FileNotFoundError: When called, if there is no such checkpoint.
        ValueError: If a method is unknown; when called, if the checkpoint cannot be read, has an
            unknown layout, or does not fit under ``strict``. Nothing is changed then.
    """

    def __init__(self, checkpoint: str, width: str = 'first', kernel: str = 'center', strict: bool = True) -> None:
        if not isinstance(checkpoint, (str, os.PathLike)) or not str(checkpoint):
            raise ValueError(f'checkpoint must be a path or URL of a MobileNetV2 checkpoint, not {checkpoint!r}')
        check_methods(width, kernel)
        self.checkpoint = str(checkpoint)
        self.width = width
        self.kernel = kernel
        self.strict = strict

    def __call__(self, module: nn.Module) -> Report:
        """Remap onto ``module``, a backbone with this package's or mmdet's MobileNetV2 names."""
        try:
            seed = read_seed(load_checkpoint(self.checkpoint))
        except ValueError as error:
            raise ValueError(f'ParameterRemapping cannot use checkpoint={self.checkpoint!r}: {error}') from error
        target = module.state_dict()
        state, report = remap_parameters(seed, target, self.width, self.kernel)
        problems = report.problems()
        if not state:
            problems = (f'no tensor of {type(module).__name__} has a name that remapping knows '
                        '(those of FNAChildNet, FNASuperNet and mmdet\'s MobileNetV2)', ) + problems
        if problems and (self.strict or not state):
            shown = '\n  '.join(problems[:_MAX_PROBLEMS])
            more = f'\n  … and {len(problems) - _MAX_PROBLEMS} more' if len(problems) > _MAX_PROBLEMS else ''
            raise ValueError(f'checkpoint={self.checkpoint!r} does not fit {type(module).__name__} '
                             f'(strict=False would leave these at their random start):\n  {shown}{more}')
        module.load_state_dict(state, strict=False)
        print_log(f'ParameterRemapping onto {type(module).__name__} from {self.checkpoint} ({seed.layout} layout, '
                  f'width={self.width}, kernel={self.kernel}):\n{report.table()}', logger='current')
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'{type(self).__name__}: remapped from {self.checkpoint}')
        return report


@HOOKS.register_module()
class ParameterRemappingHook(Hook):
    """Parameter remapping for a config whose backbone section should stay as it is.

    Runs before training, after mm has initialized the model. When the run resumes or loads a
    checkpoint (``load_from``), that checkpoint stands and nothing is remapped.

    Args:
        checkpoint (str): As in :class:`ParameterRemapping`.
        width (str): As there. Defaults to 'first'.
        kernel (str): As there. Defaults to 'center'.
        strict (bool): As there. Defaults to True.

    Raises:
        ValueError: If a method is unknown; the rest as in :class:`ParameterRemapping`.
        FileNotFoundError: Before training, if there is no such checkpoint.
    """

    priority = 'VERY_HIGH'

    def __init__(self, checkpoint: str, width: str = 'first', kernel: str = 'center', strict: bool = True) -> None:
        self.remapping = ParameterRemapping(checkpoint, width, kernel, strict)
        self._loaded = False

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Remember that the model has weights of its own."""
        self._loaded = True

    def before_train(self, runner: Any) -> None:
        """Remap onto the model's backbone, or onto the model if it has none."""
        if self._loaded:
            runner.logger.info('ParameterRemappingHook: the run continues from a checkpoint, nothing is remapped')
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self.remapping(getattr(model, 'backbone', model))
