"""Rivals that are remapped from the trained model by the paper's rule: narrowed, random, found."""

from pathlib import Path
from typing import Optional

import torch
from torch import Tensor

from fna_mm import Architecture, FNAChildNet
from fna_mm.configs import read_search
from fna_mm.cost.random_architecture import draw_architecture
from fna_mm.remapping.parameter_remapping import remap_parameters
from fna_mm.remapping.seed_checkpoint import read_seed
from tools.evidence.child_files import Source
from tools.evidence.even_widths import narrowed, narrowed_with_last


def narrowed_child(source: Source, budget: float) -> tuple[FNAChildNet, dict[int, Tensor]]:
    """MobileNetV2 narrowed evenly to a budget, with what neck and head read where that is known.

    Args:
        source (Source): The trained model.
        budget (float): Share of the trained backbone's multiply-adds.

    Returns:
        tuple: The backbone, and row of a narrower tap → its channels: the first ones, as in the paper's rule.
    """
    taps = source.taps
    if not taps.last:
        return remapped(source, narrowed_architecture(source, budget)), {}
    architecture, last = narrowed_with_last(source.backbone.architecture, budget, source.shape,
                                            source.backbone.output_stride, taps.last)
    child = remapped(source, architecture, last)
    widths = child.out_channels
    return child, {tap.row: torch.arange(widths[tap.position]) for tap in taps.taps if widths[tap.position] < tap.width}


def narrowed_architecture(source: Source, budget: float) -> Architecture:
    """MobileNetV2 narrowed evenly to a budget, with all channels that neck and head read.

    Args:
        source (Source): The trained model.
        budget (float): Share of the trained backbone's multiply-adds.
    """
    return narrowed(source.backbone.architecture, budget, source.shape, source.backbone.output_stride,
                    source.backbone.built_head_channels, source.kept)


def random_architecture(source: Source, budget: float) -> Architecture:
    """An architecture of the paper's search space, drawn at random, of a budget's multiply-adds within 1 %.

    The paper's rule and the fitted remapping draw the same one.

    Args:
        source (Source): The trained model; its seed is that of the draw.
        budget (float): Share of the trained backbone's multiply-adds.
    """
    space = read_search(str(source.task.search)).space
    return draw_architecture(space, narrowed_architecture(source, budget), source.shape,
                             source.backbone.output_stride, source.seed)


def remapped(source: Source, architecture: Architecture, last: Optional[int] = None) -> FNAChildNet:
    """A backbone with the trained one's weights by the paper's rule (equations 1 to 3).

    Args:
        source (Source): The trained model.
        architecture (Architecture): The backbone's architecture.
        last (int, optional): Channels of its last convolution. Defaults to None: those of the trained one.

    Raises:
        ValueError: If a tensor has no source.
    """
    child = source.child(architecture, last)
    state = source.backbone.state_dict()
    if last is not None:  # the paper's rule is one for hidden channels; the last convolution keeps its first ones, too
        state = {key: value[:last] if key.startswith('conv2.') and value.dim() else value
                 for key, value in state.items()}
    weights, report = remap_parameters(read_seed(state), child.state_dict(), width='first')
    if report.problems():
        raise ValueError(f'the trained backbone cannot be remapped: {report.problems()[0]}')
    child.load_state_dict(weights)
    return child


def exported_architecture(search: Path) -> Architecture:
    """The architecture that a search found.

    Args:
        search (Path): Work directory of the search.
    """
    return Architecture.create(str(search / 'arch.json'))
