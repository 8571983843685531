"""Parameter remapping in mm's configs: an initializer for ``init_cfg``, and a runner hook."""

import os
from typing import Any, Optional

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.model.weight_init import update_init_info
from mmengine.registry import HOOKS, WEIGHT_INITIALIZERS
from torch import nn

from fna_mm.checkpoints.opening import load_checkpoint
from fna_mm.remapping.normalisation import warn_of_normalisation
from fna_mm.remapping.parameter_remapping import Report, remap_parameters
from fna_mm.remapping.seed_checkpoint import Seed, read_seed
from fna_mm.remapping.tensor_remapping import check_methods

_MAX_PROBLEMS = 10


@WEIGHT_INITIALIZERS.register_module(force=True)
class ParameterRemapping:
    """Initialize a supernet or child from a checkpoint of its seed (paper, section 3.1).

    The checkpoint's layout (torchvision, timm, mmdet, mmseg/mmpretrain) is recognised by its keys. New
    layers are copies of the last layer of their stage in the seed. All tensors of a narrower block keep
    the same channels. A larger kernel holds the values of the seed's kernel, a smaller one holds some of
    them. A table in the log says where every tensor came from.

    Args:
        checkpoint (str): A path (any mmengine file backend), ``https://``, ``open-mmlab://`` or
            ``torchvision://``; safetensors too, if that package is installed.
        width (str): How narrowed blocks choose channels: the ``first`` ones (equation 2), or those
            whose expand convolution has the largest BN scale (``bn``), standard deviation of its
            weights (``std``) or L1 norm (``l1``), in their old order (section 4.4).
            Defaults to 'first'.
        kernel (str): How kernels of another size are filled: around the ``center`` (equation 3), or
            spread from corner to corner (``dilate``, equation 6). The values of a kernel that is smaller
            than the seed's are read from the same places. Defaults to 'center'.
        strict (bool): Raise an error if a tensor of the network has no source in the seed, instead of
            leaving it at its random start. Defaults to True.

    Raises:
        FileNotFoundError: When called, if there is no such checkpoint.
        ImportError: When called, if the checkpoint is a safetensors file and that package is missing.
        ValueError: If a method is unknown; when called, if the checkpoint cannot be read, has an
            unknown layout or broken numbers, or does not fit under ``strict``. Then no tensor is changed.
    """

    def __init__(self, checkpoint: str, width: str = 'first', kernel: str = 'center', strict: bool = True) -> None:
        if not isinstance(checkpoint, (str, os.PathLike)) or not str(checkpoint):
            raise ValueError(f'checkpoint must be a path or URL of a checkpoint of the seed, not {checkpoint!r}')
        check_methods(width, kernel)
        self.checkpoint = str(checkpoint)
        self.width = width
        self.kernel = kernel
        self.strict = strict

    def read_seed(self, family: Optional[str] = None) -> Seed:
        """Open the checkpoint and bring it into canonical form.

        Args:
            family (str, optional): The family that the seed must be of. Defaults to None: any.
        """
        loaded = load_checkpoint(self.checkpoint)
        try:
            return read_seed(loaded, family)
        except ValueError as error:
            raise ValueError(f'ParameterRemapping cannot use checkpoint={self.checkpoint!r}: {error}') from error

    def apply(self, seed: Seed, module: nn.Module) -> Report:
        """Remap a seed onto ``module``, a backbone with this package's or mmdet's MobileNetV2 names."""
        state, report = remap_parameters(seed, module.state_dict(), self.width, self.kernel,
                                         getattr(module, 'no_weights', ()))
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
        return report

    def __call__(self, module: nn.Module) -> Report:
        """Remap the checkpoint onto ``module``, and log where every tensor came from."""
        report = self.apply(self.read_seed(getattr(module, 'family', None)), module)
        print_log(f'ParameterRemapping onto {type(module).__name__} from {self.checkpoint} ({report.layout} layout, '
                  f'width={self.width}, kernel={self.kernel}):\n{report.table()}', logger='current')
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'{type(self).__name__}: remapped from {self.checkpoint}')
        return report


@HOOKS.register_module(force=True)
class ParameterRemappingHook(Hook):
    """Parameter remapping for a config whose backbone section is not to be changed.

    The hook runs before training, after mm has initialized the model. When the run resumes or loads a
    checkpoint (``load_from``), the model keeps the weights of that checkpoint and nothing is remapped.

    Args:
        checkpoint (str): As in :class:`ParameterRemapping`.
        width (str): As in :class:`ParameterRemapping`. Defaults to 'first'.
        kernel (str): As in :class:`ParameterRemapping`. Defaults to 'center'.
        strict (bool): As in :class:`ParameterRemapping`. Defaults to True.

    Raises:
        ValueError: If a method is unknown; before training, as in :class:`ParameterRemapping`.
        FileNotFoundError: Before training, if there is no such checkpoint.
        ImportError: Before training, as in :class:`ParameterRemapping`.
    """

    priority = 'VERY_HIGH'

    def __init__(self, checkpoint: str, width: str = 'first', kernel: str = 'center', strict: bool = True) -> None:
        self.remapping = ParameterRemapping(checkpoint, width, kernel, strict)
        self._loaded = False

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Remember that the model has the weights of a checkpoint."""
        self._loaded = True

    def before_train(self, runner: Any) -> None:
        """Remap onto the model's backbone, or onto the model if it has none."""
        if self._loaded:
            runner.logger.info('ParameterRemappingHook: the run continues from a checkpoint, nothing is remapped')
            return
        warn_of_normalisation(runner)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self.remapping(getattr(model, 'backbone', model))
