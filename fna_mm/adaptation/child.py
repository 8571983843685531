"""The child of a choice: its backbone with the kept channels of the trained one, before and while it is refitted."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from fna_mm import families
from fna_mm.adaptation.candidates import LEFT_OUT, Candidate
from fna_mm.adaptation.chain import Chain, Link
from fna_mm.adaptation.fitting import Fit, Normalised, normalised
from fna_mm.adaptation.narrow_block import copy_block, fill_block
from fna_mm.adaptation.statistics import Statistics
from fna_mm.architecture import Architecture
from fna_mm.backbones.base_backbone import widened_head_channels
from fna_mm.backbones.fna_child_net import FNAChildNet
from fna_mm.search_space import tapped_stages


class Origin(NamedTuple):
    """Where a block of a child comes from.

    Args:
        block (int): Index of its block in the trained backbone.
        upto (int): Index of the last block that it stands for: behind it, blocks were left out. Less than ``block``:
            it stands for none, and is there besides.
        kept (Tensor): The hidden channels that it keeps, (K,).
        kernel (int): Side of its kernel.
    """

    block: int
    upto: int
    kept: Tensor
    kernel: int

    def is_whole(self, source: Link) -> bool:
        """Whether the block has all hidden channels and the kernel of its block of the trained backbone."""
        return len(self.kept) == source.hidden and self.kernel == source.spec.kernel_size


def origins_of(chain: Chain, choice: Sequence[Candidate], statistics: Statistics) -> list[Origin]:
    """Where every block of the child comes from.

    Args:
        chain (Chain): The trained backbone.
        choice (Sequence[Candidate]): One candidate for every block.
        statistics (Statistics): Statistics of the trained backbone's blocks.
    """
    result: list[Origin] = []
    for index, candidate in enumerate(choice):
        if candidate.width == LEFT_OUT:
            result[-1] = result[-1]._replace(upto=index)
        else:
            whole = candidate.width == chain.links[index].hidden
            kept = (torch.arange(candidate.width) if whole else
                    statistics[index, candidate.kernel].kept(candidate.width))
            result.append(Origin(index, index, kept, candidate.kernel))
    return result


def build_child(trained: FNAChildNet, section: dict[str, Any], architecture: Architecture,
                origins: Sequence[Origin], statistics: Statistics, last: Optional[Tensor] = None) -> FNAChildNet:
    """Build the backbone of a child with the weights of the trained one's kept channels.

    Args:
        trained (FNAChildNet): The trained backbone.
        section (dict): Its config section.
        architecture (Architecture): The child's architecture.
        origins (Sequence[Origin]): Where every block of the child comes from.
        statistics (Statistics): Statistics of the trained backbone's blocks; they hold those with smaller kernels.
        last (Tensor, optional): Channels that the last convolution keeps, (K,). Defaults to None: all of them.
    """
    child = MODELS.build(child_section_of(section, architecture, None if last is None else len(last)))
    device = next(trained.parameters()).device
    child.to(device).eval()
    own, theirs = Chain(child), Chain(trained)
    for link, origin in zip(own.links, origins):
        source = theirs.links[origin.block]
        if origin.is_whole(source):
            copy_block(link.block, source.block, origin.kept, trained.family)
        else:
            fill_block(link.block, statistics[origin.block, origin.kernel], len(origin.kept))
    stem = origins[0].kept if architecture.stem_channels != trained.architecture.stem_channels else None
    _copy_some(child.conv1, trained.conv1, stem)
    if hasattr(child, 'conv2'):
        _copy_some(child.conv2, trained.conv2, last)
    return child


def _copy_some(layer: nn.Module, source: nn.Module, kept: Optional[Tensor]) -> None:
    """Copy the weights of a convolution and its BN, those of some output channels if these are given."""
    state = source.state_dict()
    layer.load_state_dict(state if kept is None else {
        name: value.index_select(0, kept.to(value.device)) if value.dim() else value for name, value in state.items()})


def child_section_of(section: dict[str, Any], architecture: Architecture, head_channels: Optional[int] = None
                     ) -> dict[str, Any]:
    """The config section of a child: that of the trained backbone with another architecture.

    Args:
        section (dict): The section of the trained backbone.
        architecture (Architecture): The child's architecture.
        head_channels (int, optional): Output channels of its last convolution. Defaults to None: as the section says.
    """
    result = dict(section, arch=architecture.to_text().replace('\n', ' '))
    factor = result.pop('widen_factor', 1.)  # the architecture has the widened channels
    if head_channels is None and factor > 1:
        head_channels = widened_head_channels(result.get('head_channels'), architecture.family, factor)
    if head_channels:  # a family may have no last convolution
        result['head_channels'] = head_channels
    tapped = [architecture.stages[number] for number in tapped_stages(section.get('out_indices'))]
    widths = [stage.layers[0].hidden_channels(stage.in_channels) for stage in tapped]
    seeds = [families.family(architecture.family).tapped_channels(stage.in_channels) for stage in tapped]
    result.pop('tapped_channels', None)
    if widths != seeds:
        result['tapped_channels'] = widths
    return result


def write_fit(output: Any, fit: Fit, running_var: Tensor) -> None:
    """Write a linear map into a block's last convolution and its BN.

    Args:
        output (nn.Module): mm's ConvModule.
        fit (Fit): The linear map.
        running_var (Tensor): The variance in front of the BN that the weights are scaled to, (T,).
    """
    norm = output.norm
    written: Normalised = normalised(fit, running_var, norm.eps)
    with torch.no_grad():
        output.conv.weight.copy_(written.weight.reshape(output.conv.weight.shape))
        if norm.track_running_stats:
            norm.running_mean.copy_(written.running_mean)
            norm.running_var.copy_(written.running_var)
        norm.weight.copy_(written.scale)
        norm.bias.copy_(written.shift)
