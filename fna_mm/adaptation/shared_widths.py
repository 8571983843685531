"""Widths of neck and head: numbers of channels that a config says once, and the convolutions that share them."""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

import torch
from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from torch import nn

from fna_mm.adaptation.candidates import widths

#: Widths of necks and heads are multiples of this number, as hardware likes them.
STEP = 8
#: Names of the arguments of a stacked head that hold its width.
_FEATURES, _IN, _OUT, _CHANNELS = 'feat_channels', 'in_channels', 'out_channels', 'channels'


class Consumer(NamedTuple):
    """A convolution that takes channels.

    Args:
        path (str): Its path in the model.
        first (int): Which of its input channels the first of them is.
    """

    path: str
    first: int = 0


class ChannelGroup(NamedTuple):
    """Channels that are one set of indices: all that make them, and all that take them.

    Args:
        producers (tuple[str, ...]): Paths of the convolutions whose output channels they are.
        consumers (tuple[Consumer, ...]): The convolutions that take them.
    """

    producers: tuple[str, ...]
    consumers: tuple[Consumer, ...]


class SharedWidth(NamedTuple):
    """A number of channels that the config of neck or head says.

    Args:
        name (str): Its name, such as ``neck.out_channels``.
        width (int): The number.
        step (int): Narrower widths are multiples of this.
        settings (tuple[tuple[str, str], ...]): Sections of the model and their arguments that hold it.
        groups (tuple[ChannelGroup, ...]): The groups of channels that have this width; each may keep other channels.
    """

    name: str
    width: int
    step: int
    settings: tuple[tuple[str, str], ...]
    groups: tuple[ChannelGroup, ...]


class Outside(NamedTuple):
    """What of a model outside of its backbone can be narrowed.

    Args:
        widths (tuple[SharedWidth, ...]): The widths.
        waves (tuple[tuple[str, ...], ...]): Paths of all convolutions that are fitted, in the order of the computation;
            those of a wave do not need each other.
    """

    widths: tuple[SharedWidth, ...]
    waves: tuple[tuple[str, ...], ...]

    def width(self, name: str) -> SharedWidth:
        """The width with a name."""
        return next(width for width in self.widths if width.name == name)

    @property
    def narrowed(self) -> set[str]:
        """Paths of all convolutions that have fewer channels when a width is smaller."""
        groups = [group for shared in self.widths for group in shared.groups]
        return {path for group in groups for path in (*group.producers, *(one.path for one in group.consumers))}


def convolution_at(model: nn.Module, path: str) -> tuple[nn.Conv2d, Optional[nn.Module], nn.Module]:
    """The convolution at a path, the normalisation behind it, and the module that is watched.

    Args:
        model (nn.Module): The model.
        path (str): Path of a ``Conv2d`` or of mm's ``ConvModule``.
    """
    module: Any = model.get_submodule(path)
    if isinstance(module, ConvModule):
        return module.conv, module.norm if module.with_norm else None, module
    return module, None, module


def outside_of(model: Any) -> Outside:
    """Find what of a model outside of its backbone can be narrowed.

    Known are mm's ``FPN``, dense heads with stacked convolutions in ``cls_convs`` and ``reg_convs`` (RetinaNet, FCOS,
    ATSS, GFL and their like), and the ``FCNHead`` and ASPP heads of segmentation. Other parts stay as they are.

    Args:
        model (nn.Module): An mm model.
    """
    found_widths: list[SharedWidth] = []
    waves: list[tuple[str, ...]] = []
    head_name = next((name for name in ('bbox_head', 'decode_head') if getattr(model, name, None) is not None), '')
    head = getattr(model, head_name) if head_name else None
    neck, neck_waves = _fpn(model, head, head_name)
    found_widths += neck
    waves += neck_waves
    found: Any = ([], [])
    if isinstance(head, nn.Module):
        kinds = {kind.__name__ for kind in type(head).__mro__}
        if _is_stacked(head):
            found = _stacked(model, head, head_name)
        elif 'ASPPHead' in kinds and not {'DepthwiseSeparableASPPHead', 'DeepLabV3PlusHead'} & kinds:
            found = _aspp(head, head_name)
        elif type(head).__name__ == 'FCNHead':
            found = _fcn(head, head_name)
    found_widths += found[0]
    waves += found[1]
    return Outside(tuple(found_widths), tuple(wave for wave in waves if wave))


def _step(*modules: nn.Module) -> int:
    """Widths are multiples of 8, and of the groups of a normalisation."""
    groups = [norm.num_groups for module in modules for norm in module.modules() if isinstance(norm, nn.GroupNorm)]
    return math.lcm(STEP, *groups)


def _is_stacked(head: Any) -> bool:
    """Whether a head is one of stacked convolutions that all levels share."""
    stacks = [getattr(head, name, None) for name in ('cls_convs', 'reg_convs')]
    width = getattr(head, _FEATURES, None)
    return bool(width) and all(
        isinstance(stack, nn.ModuleList) and len(stack) and all(
            isinstance(layer, ConvModule) and layer.conv.out_channels == width and type(layer.conv) is nn.Conv2d
            and layer.conv.groups == 1 for layer in stack) for stack in stacks)


def _fpn(model: Any, head: Any, head_name: str) -> tuple[list[SharedWidth], list[tuple[str, ...]]]:
    neck = getattr(model, 'neck', None)
    if type(neck).__name__ != 'FPN' or not isinstance(neck, nn.Module):
        return [], []
    fpn: Any = neck
    laterals = [f'neck.lateral_convs.{index}' for index in range(len(fpn.lateral_convs))]
    outs = [f'neck.fpn_convs.{index}' for index in range(len(fpn.fpn_convs))]
    first, extra = outs[:len(laterals)], outs[len(laterals):]
    waves = [tuple(laterals), (*first, *(extra[:1] if fpn.add_extra_convs != 'on_output' else []))]
    waves += [(path, ) for path in (extra if fpn.add_extra_convs == 'on_output' else extra[1:])]
    if head is None or not _is_stacked(head):
        return [], waves
    width, starts = fpn.out_channels, [f'{head_name}.{name}.0' for name in ('cls_convs', 'reg_convs')]
    on_lateral = extra[:1] if fpn.add_extra_convs == 'on_lateral' else []
    further = extra if fpn.add_extra_convs == 'on_output' else extra[1:]
    inner = ChannelGroup(tuple(laterals), tuple(Consumer(path) for path in (*first, *on_lateral)))
    outer = ChannelGroup(tuple(outs), tuple(Consumer(path) for path in (*starts, *further)))
    settings = (('neck', _OUT), (head_name, _IN))
    return [SharedWidth('neck.out_channels', width, _step(fpn), settings, (inner, outer))], waves


def _stacked(model: Any, head: Any, name: str) -> tuple[list[SharedWidth], list[tuple[str, ...]]]:
    groups, waves = [], []
    ends = {}
    for stack in ('cls_convs', 'reg_convs'):
        paths = [f'{name}.{stack}.{index}' for index in range(len(getattr(head, stack)))]
        ends[stack] = _taken_by(model, head, name, paths[-1])
        if not ends[stack]:
            return [], []
        following = [(Consumer(path), ) for path in paths[1:]] + [tuple(Consumer(path) for path in ends[stack])]
        groups += [ChannelGroup((path, ), consumers) for path, consumers in zip(paths, following)]
        waves.append(paths)
    depth = max(map(len, waves))
    ordered = [tuple(paths[index] for paths in waves if index < len(paths)) for index in range(depth)]
    ordered.append(tuple(path for paths in ends.values() for path in paths))
    shared = SharedWidth(f'{name}.{_FEATURES}', getattr(head, _FEATURES), _step(head), ((name, _FEATURES), ),
                         tuple(groups))
    return [shared], ordered


def _taken_by(model: Any, head: Any, name: str, path: str) -> list[str]:
    """The head's own convolutions that take the output of a layer, seen while an image runs through the model."""
    outputs: list[Any] = []
    found: list[str] = []
    handles = [model.get_submodule(path).register_forward_hook(lambda module, inputs, output: outputs.append(output))]
    for inner, module in head.named_modules():
        if isinstance(module, nn.Conv2d) and module.groups == 1 and '.' not in inner:
            def watch(module: Any, inputs: Any, inner: str = inner) -> None:
                if any(inputs[0] is output for output in outputs) and inner not in found:
                    found.append(inner)
            handles.append(module.register_forward_pre_hook(watch))
    device = next(model.parameters()).device
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, 128, 128, device=device), None, mode='tensor')
    except (TypeError, AttributeError, RuntimeError):
        return []
    finally:
        for handle in handles:
            handle.remove()
    return [f'{name}.{inner}' for inner in found]


def _aspp(head: Any, name: str) -> tuple[list[SharedWidth], list[tuple[str, ...]]]:
    branches = [f'{name}.image_pool.1']
    for index, module in enumerate(head.aspp_modules):
        inner = '.pointwise_conv' if isinstance(module, DepthwiseSeparableConvModule) else ''
        branches.append(f'{name}.aspp_modules.{index}{inner}')
    width = head.channels
    groups = [ChannelGroup((path, ), (Consumer(f'{name}.bottleneck', index * width), ))
              for index, path in enumerate(branches)]
    groups.append(ChannelGroup((f'{name}.bottleneck', ), (Consumer(f'{name}.conv_seg'), )))
    shared = SharedWidth(f'{name}.{_CHANNELS}', width, _step(head), ((name, _CHANNELS), ), tuple(groups))
    return [shared], [tuple(branches), (f'{name}.bottleneck', ), (f'{name}.conv_seg', )]


def _fcn(head: Any, name: str) -> tuple[list[SharedWidth], list[tuple[str, ...]]]:
    if not isinstance(head.convs, nn.Sequential):
        return [], [(f'{name}.conv_seg', )]
    paths = [f'{name}.convs.{index}' for index in range(len(head.convs))]
    ends = [f'{name}.conv_cat', f'{name}.conv_seg'] if head.concat_input else [f'{name}.conv_seg']
    consumers = [Consumer(path) for path in paths[1:]]
    consumers.append(Consumer(ends[0], head.in_channels if head.concat_input else 0))
    groups = [ChannelGroup((path, ), (consumer, )) for path, consumer in zip(paths, consumers)]
    if head.concat_input:
        groups.append(ChannelGroup((ends[0], ), (Consumer(ends[1]), )))
    shared = SharedWidth(f'{name}.{_CHANNELS}', head.channels, _step(head), ((name, _CHANNELS), ), tuple(groups))
    return [shared], [(path, ) for path in (*paths, *ends)]


def narrowed_section(model: Mapping[str, Any], outside: Outside, chosen: Mapping[str, int]) -> dict[str, Any]:
    """The section of a model whose neck and head have other widths.

    Args:
        model (Mapping): The section; it is not changed.
        outside (Outside): What can be narrowed.
        chosen (Mapping[str, int]): Name of a width → the number.
    """
    result: Any = copy.deepcopy(dict(model))
    for name, width in chosen.items():
        for section, argument in outside.width(name).settings:
            result[section][argument] = width
    return result


def legal_widths(shared: SharedWidth, least: float) -> Sequence[int]:
    """The widths that a width may become, falling, itself first.

    Args:
        shared (SharedWidth): The width.
        least (float): Smallest width, as a share of it.
    """
    return widths(shared.width, least, shared.step)
