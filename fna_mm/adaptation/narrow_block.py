"""A trained block with fewer hidden channels or another kernel, before its last convolution is fitted."""

import copy
from collections.abc import Mapping
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fna_mm import families
from fna_mm.adaptation.fitting import absorbed
from fna_mm.adaptation.statistics import BlockStatistics, readers_of
from fna_mm.remapping.tensor_remapping import remap_kernel


def _selected(state: Mapping[str, Tensor], kept: Mapping[str, Tensor], family: str) -> dict[str, Tensor]:
    """The tensors of a block with the kept hidden channels, by their names."""
    own = families.family(family)
    places, result = own.places, {}
    for key, value in state.items():
        for dim, group in own.hidden_groups(*places[key.rpartition('.')[0]]).items():
            if group in kept and value.dim() > dim:
                value = value.index_select(dim, kept[group].to(value.device))
        result[key] = value
    return result


def copy_block(block: nn.Module, source: nn.Module, kept: Tensor, family: str,
               inner: Optional[Mapping[str, Tensor]] = None) -> None:
    """Copy a trained block into one that is narrower or has another kernel.

    Every tensor that has the hidden channels keeps the same ones. A larger kernel has the trained one in its centre
    (equation 3). Tensors that the block does not have, such as running statistics, are left out.

    Args:
        block (nn.Module): The block; it is changed.
        source (nn.Module): The trained block.
        kept (Tensor): Indices of the hidden channels, (K,).
        family (str): Name of the family of both.
        inner (Mapping[str, Tensor], optional): Indices of inner channels, by the part that computes them. Defaults to
            None: the block keeps all, or has none.
    """
    wanted, state = block.state_dict(), {}
    groups = {families.family(family).ranked_part: kept, **(inner or {})}
    for key, value in _selected(source.state_dict(), groups, family).items():
        if key not in wanted:
            continue
        if value.dim() == 4 and value.shape[-1] != wanted[key].shape[-1]:
            value = remap_kernel(value, wanted[key].shape[-1])
        state[key] = value
    block.load_state_dict(state)


def _absorb(block: nn.Module, statistics: BlockStatistics, width: int) -> None:
    """Let the layers of a narrower block that read inner channels make up for those that are lost.

    Args:
        block (nn.Module): The narrower block; it is changed.
        statistics (BlockStatistics): Statistics of the trained block.
        width (int): Hidden channels of the narrower one.
    """
    link, rows, inner = statistics.link, statistics.kept(width), statistics.kept_inner(width)
    layers = readers_of(block, link.family)
    for group, reader in readers_of(link.block, link.family).items():
        weight, moments = reader.conv.weight.detach(), statistics.inner[group]
        weight, constant = absorbed(weight[rows.to(weight.device)], moments.mean, moments.covariance,
                                    inner[group].to(moments.gram.device))
        layer = layers[group]
        if layer.conv.kernel_size != weight.shape[2:]:
            weight = remap_kernel(weight, layer.conv.kernel_size[0])
        layer.conv.weight.copy_(weight)
        if layer.norm.running_mean is not None:
            layer.norm.running_mean.sub_(constant.to(layer.norm.running_mean))


@torch.no_grad()
def fill_block(block: nn.Module, statistics: BlockStatistics, width: int) -> None:
    """Copy a trained block into a narrower one, in which what read lost inner channels makes up for them.

    Args:
        block (nn.Module): The block; it is changed.
        statistics (BlockStatistics): Statistics of the trained block.
        width (int): Hidden channels of the narrower one.
    """
    link = statistics.link
    copy_block(block, link.block, statistics.kept(width), link.family, statistics.kept_inner(width))
    if width < link.hidden:
        _absorb(block, statistics, width)


@torch.no_grad()
def narrowed_copy(statistics: BlockStatistics, width: int) -> nn.Module:
    """A copy of a trained block with fewer hidden channels, without a new fit of its last convolution.

    Args:
        statistics (BlockStatistics): Statistics of the trained block.
        width (int): Hidden channels of the copy.
    """
    link = statistics.link
    block = copy.deepcopy(link.block)
    groups = {families.family(link.family).ranked_part: statistics.kept(width), **statistics.kept_inner(width)}
    for key, value in _selected(link.block.state_dict(), groups, link.family).items():
        path, _, name = key.rpartition('.')
        owner: Any = block.get_submodule(path)
        if name in owner._parameters:
            setattr(owner, name, nn.Parameter(value.clone(), owner._parameters[name].requires_grad))
        else:
            setattr(owner, name, value.clone())
        if value.dim() == 4:
            owner.out_channels = len(value)
            owner.groups = len(value) if owner.groups > 1 else 1
            owner.in_channels = value.shape[1] * owner.groups
        elif hasattr(owner, 'num_features') and value.dim():
            owner.num_features = len(value)
    _absorb(block, statistics, width)
    return block
