"""Rivals that are fitted to the trained model, as fna adapt fits the children that it chooses."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fna_mm import Architecture, FNAChildNet
from fna_mm.adaptation.chain import Chain
from fna_mm.adaptation.child import Origin, build_child
from fna_mm.adaptation.measuring import measure_statistics
from fna_mm.adaptation.narrow_block import copy_block
from fna_mm.adaptation.refit import fit_alone, refit
from fna_mm.adaptation.statistics import Statistics, statistics_of
from fna_mm.adaptation.work_folder import IDENTITY, WorkFolder
from fna_mm.remapping.tensor_remapping import depth_index
from tools.evidence.child_files import Source

_STATISTICS = 'statistics.pth'


def measured_statistics(source: Source, chain: Chain, adapted: Path, folder: Path) -> tuple[Statistics, range]:
    """The statistics that fna adapt measured, and the images that they are of.

    Args:
        source (Source): The trained model.
        chain (Chain): Its backbone.
        adapted (Path): Work directory of fna adapt.
        folder (Path): Where links to its files are put: several rivals may be made at a time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(adapted / IDENTITY, folder)
    if not (folder / _STATISTICS).exists():
        os.symlink((adapted / _STATISTICS).resolve(), folder / _STATISTICS)
    identity = json.loads((adapted / IDENTITY).read_text())
    positions = range(identity['statistics_images'])
    statistics = statistics_of(chain)
    measure_statistics(source.trained.model, chain, statistics, source.images, positions,
                       WorkFolder(str(folder), identity))
    return statistics, positions


def origins_in(chain: Chain, architecture: Architecture, statistics: Statistics) -> list[Origin]:
    """Where every block of an architecture comes from.

    A block comes from the trained block in the same place. The last block of a shallower stage stands for those that
    are left out. Layers behind the trained ones come from the last of these and stand for none: what they are fitted to
    is what the blocks before them leave over.

    Args:
        chain (Chain): The trained backbone.
        architecture (Architecture): The architecture; no block is wider than its trained one.
        statistics (Statistics): Statistics of the trained backbone's blocks.
    """
    places = {(link.stage, link.layer): index for index, link in enumerate(chain.links)}
    depths = [len(stage.layers) for stage in chain.backbone.architecture.stages]
    result = []
    for place in architecture.walk():
        depth, own = depths[place.index], len(place.stage.layers)
        for spec, layer in place.layers():
            index = places[place.index, depth_index(layer.index, depth)]
            link = chain.links[index]
            width = spec.hidden_channels(layer.in_channels)
            kept = (torch.arange(width) if width == link.hidden else
                    statistics[index, link.spec.kernel_size].kept(width))
            upto = index
            if layer.index >= depth:
                upto = index - 1
            elif layer.index + 1 == own:
                upto = places[place.index, depth - 1]
            result.append(Origin(index, upto, kept, link.spec.kernel_size))
    return result


def added(origins: Sequence[Origin]) -> list[int]:
    """The blocks that the trained backbone does not have.

    Args:
        origins (Sequence[Origin]): Where the blocks come from.
    """
    return [index for index, origin in enumerate(origins) if origin.upto < origin.block]


def fitted(trained: Chain, section: Mapping[str, Any], architecture: Architecture, statistics: Statistics,
           images: Callable[[], Iterable[Tensor]]) -> FNAChildNet:
    """A backbone that is fitted to a trained one, block after block.

    Args:
        trained (Chain): The trained backbone.
        section (Mapping): Its section in the config.
        architecture (Architecture): The new backbone's architecture; no block is wider than its trained one.
        statistics (Statistics): Statistics of the trained backbone's blocks.
        images (Callable): Gives the images of the refit, each (1, 3, H, W) as the backbone takes them.
    """
    origins = origins_in(trained, architecture, statistics)
    backbone = build_child(trained.backbone, dict(section), architecture, origins, statistics)
    child = Chain(backbone, trained.input_shape)
    fit_alone(child, trained, origins, statistics)
    for index in added(origins):
        link, origin = child.links[index], origins[index]
        copy_block(link.block, trained.links[origin.block].block, origin.kept, link.family)
        nn.init.zeros_(link.output.norm.weight)  # the identity, until the refit
        nn.init.zeros_(link.output.norm.bias)
    refit(trained, child, origins, images)
    return backbone
