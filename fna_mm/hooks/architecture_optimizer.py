"""The optimizer of the architecture parameters, and checks of what a search's hook is given."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fna_mm.checks import check_integer, check_number

_OF_HOOK = 'of AlternatingOptimizerHook'
#: Arguments of clipping that are numbers.
_BOUNDS = ('max_norm', 'clip_value')


def check_sections(dataloader: Any, optim_wrapper: Any, cost: Any) -> None:
    """Check the sections of a search's hook, before anything is built.

    Args:
        dataloader (dict | DataLoader): The architecture's data.
        optim_wrapper (dict): The architecture's optimizer.
        cost (dict | Callable, optional): The cost term.

    Raises:
        ValueError: If one is no section, or lacks what it needs.
    """
    if not isinstance(dataloader, DataLoader) and not (
            isinstance(dataloader, Mapping) and dataloader.get('dataset') is not None):
        raise ValueError(f"dataloader {_OF_HOOK} must be a section with a dataset, as mm's train_dataloader, not "
                         f'{dataloader!r}')
    if not isinstance(optim_wrapper, Mapping) or not isinstance(optim_wrapper.get('optimizer'), Mapping):
        raise ValueError(f'optim_wrapper {_OF_HOOK} needs an optimizer, such as '
                         f"dict(optimizer=dict(type='Adam', lr=3e-4)), but is {optim_wrapper!r}")
    if not (cost is None or isinstance(cost, Mapping) or callable(cost)):
        raise ValueError(f"cost {_OF_HOOK} must be a section such as dict(type='MAddsCost', input_shape=(800, 1088), "
                         f'budget=0.7), not {cost!r}')


@contextmanager
def named_errors(name: str) -> Iterator[None]:
    """Within: what mm and PyTorch say of a wrong argument becomes an error that names the section.

    Args:
        name (str): Name of the section.

    Raises:
        ValueError: If anything within raises an error that a wrong argument may cause.
    """
    try:
        yield
    except (TypeError, ValueError, AssertionError, AttributeError) as error:
        raise ValueError(f'{name} {_OF_HOOK}: {str(error) or type(error).__name__}') from error


def _check_clipping(cfg: Any) -> None:
    """Check ``clip_grad`` now; mm would at the first step, which may be hours away."""
    said = f"clip_grad={cfg!r} of AlternatingOptimizerHook's optim_wrapper"
    if not isinstance(cfg, Mapping):
        raise ValueError(f'{said} should be such as dict(max_norm=35)')
    arguments = dict(cfg)
    clip: Any = nn.utils.clip_grad_value_ if arguments.pop('type', 'norm') == 'value' else nn.utils.clip_grad_norm_
    try:
        inspect.signature(clip).bind([], **arguments)
    except TypeError as error:
        raise ValueError(f'{said}: {error}; it should be such as dict(max_norm=35)') from error
    for name in _BOUNDS:
        if name in arguments:
            check_number(f'{name} in {said}', arguments[name], above=0)


def build_architecture_optimizer(parameters: Tensor, cfg: Mapping[str, Any]) -> OptimWrapper:
    """The OptimWrapper of the architecture parameters.

    Args:
        parameters (Tensor): The architecture parameters, (candidates of all layers,).
        cfg (dict): As mm's ``optim_wrapper``: ``type``, ``optimizer``, ``clip_grad``, ….

    Raises:
        KeyError: If there is no optimizer or wrapper of that type.
        ValueError: If ``cfg`` has no ``optimizer``, one that needs the loss again and again, or illegal arguments.
    """
    check_sections(dict(dataset=()), cfg, None)
    if cfg.get('clip_grad'):
        _check_clipping(cfg['clip_grad'])
    check_integer('accumulative_counts of optim_wrapper of AlternatingOptimizerHook', cfg.get('accumulative_counts', 1))
    values = dict(cfg, type=cfg.get('type', 'OptimWrapper'))
    section = dict(values.pop('optimizer'))
    if 'lr' in section:
        check_number(f'lr of the optimizer {_OF_HOOK}', section['lr'], least=0)
    with named_errors(f'optim_wrapper={dict(cfg)!r}'):
        optimizer = OPTIMIZERS.build(dict(section, params=[parameters]))
        if inspect.signature(type(optimizer).step).parameters['closure'].default is inspect.Parameter.empty:
            raise ValueError(f'{type(optimizer).__name__} computes the loss several times in a step, which a search '
                             'does not: use Adam or SGD')
        wrapper = OPTIM_WRAPPERS.build(values, default_args=dict(optimizer=optimizer))
    # Clipping logs 'train/grad_norm', a name that belongs to the weights' wrapper. Not get_instance, which
    # would make this hub the current one, where mm's modules look for the iteration.
    wrapper.message_hub = MessageHub('fna_architecture_optimizer')
    return wrapper
