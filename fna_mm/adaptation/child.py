"""The child of a choice: its backbone with the kept channels of the trained one, before and while it is refitted."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from fna_mm import families
from fna_mm.adaptation.candidates import LEFT_OUT, Candidate
from fna_mm.adaptation.chain import Chain
from fna_mm.adaptation.fitting import Fit, Normalised, normalised
from fna_mm.adaptation.statistics import Statistics
from fna_mm.architecture import Architecture
from fna_mm.backbones.fna_child_net import FNAChildNet
from fna_mm.remapping.tensor_remapping import remap_kernel


class Origin(NamedTuple):
    """Where a block of a child comes from.

    Args:
        block (int): Index of its block in the trained backbone.
        upto (int): Index of the last block that it stands for: behind it, blocks were left out.
        kept (Tensor): The hidden channels that it keeps, (K,).
        kernel (int): Side of its kernel.
    """

    block: int
    upto: int
    kept: Tensor
    kernel: int


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


def copy_block(block: nn.Module, source: nn.Module, kept: Tensor, family: str) -> None:
    """Copy a trained block into one that is narrower or has another kernel.

    Every tensor that has the hidden channels keeps the same ones. A larger kernel has the trained one in its centre
    (equation 3). Tensors that the block does not have, such as running statistics, are left out.

    Args:
        block (nn.Module): The block; it is changed.
        source (nn.Module): The trained block.
        kept (Tensor): Indices of the hidden channels, (K,).
        family (str): Name of the family of both.
    """
    own = families.family(family)
    places = {name: place for table in own.layouts[0].slots for name, place in table.items()}
    wanted, state = block.state_dict(), {}
    for key, value in source.state_dict().items():
        if key not in wanted:
            continue
        dim = own.hidden_dims.get(places[key.rpartition('.')[0]])
        if dim is not None and value.dim() > dim:
            value = value.index_select(dim, kept.to(value.device))
        if value.dim() == 4 and value.shape[-1] != wanted[key].shape[-1]:
            value = remap_kernel(value, wanted[key].shape[-1])
        state[key] = value
    block.load_state_dict(state)


def build_child(trained: FNAChildNet, section: dict[str, Any], architecture: Architecture,
                origins: Sequence[Origin], statistics: Statistics) -> FNAChildNet:
    """Build the backbone of a child with the weights of the trained one's kept channels.

    Args:
        trained (FNAChildNet): The trained backbone.
        section (dict): Its config section.
        architecture (Architecture): The child's architecture.
        origins (Sequence[Origin]): Where every block of the child comes from.
        statistics (Statistics): Statistics of the trained backbone's blocks; they hold those with smaller kernels.
    """
    child = MODELS.build(child_section_of(section, architecture))
    device = next(trained.parameters()).device
    child.to(device).eval()
    own, theirs = Chain(child), Chain(trained)
    for link, origin in zip(own.links, origins):
        source = theirs.links[origin.block]
        if origin.kernel != source.spec.kernel_size:
            source = statistics[origin.block, origin.kernel].link
        copy_block(link.block, source.block, origin.kept, trained.family)
    for name in ('conv1', 'conv2'):
        if hasattr(child, name):
            getattr(child, name).load_state_dict(getattr(trained, name).state_dict())
    return child


def child_section_of(section: dict[str, Any], architecture: Architecture) -> dict[str, Any]:
    """The config section of a child: that of the trained backbone with another architecture."""
    result = dict(section, arch=architecture.to_text().replace('\n', ' '))
    result.pop('widen_factor', None)  # the architecture has the widened channels
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
