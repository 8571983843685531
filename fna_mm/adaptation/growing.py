"""Growing: from a trained model to a rehearsed one whose blocks may become larger, and to the teacher of a child."""

import copy
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Optional

from mmengine.dist import barrier, is_main_process
from torch import Tensor

from fna_mm.adaptation.candidates import Candidate
from fna_mm.adaptation.chain import Chain
from fna_mm.adaptation.growth import Growth, elastic_section, settle, start_growing
from fna_mm.adaptation.images import MeasuredImages
from fna_mm.adaptation.measuring import normalised_images
from fna_mm.adaptation.rehearsal import Growing, rehearsal_config, run_rehearsal
from fna_mm.adaptation.statistics import Statistics, statistics_of
from fna_mm.adaptation.trained_model import TrainedModel
from fna_mm.adaptation.work_folder import WorkFolder
from fna_mm.backbones.elastic_space import ElasticSpace
from fna_mm.backbones.fna_child_net import FNAChildNet
from fna_mm.checkpoints.opening import load_checkpoint
from fna_mm.checkpoints.whole_files import checkpoint_bytes, write_whole
from fna_mm.checkpoints.whole_models import not_finite

#: Images on which new channels are normalised, and running statistics are set right behind the rehearsal.
CALIBRATION = 32
_START, _REHEARSED, _FOLDER = 'growing_start.pth', 'rehearsed.pth', 'rehearsal'


def space_of(backbone: FNAChildNet, growing: Growing) -> ElasticSpace:
    """What a backbone may grow to.

    Args:
        backbone (FNAChildNet): The trained backbone.
        growing (Growing): How it grows.

    Raises:
        ValueError: If nothing of it can grow.
    """
    return ElasticSpace(backbone.architecture, **growing.space, tapped_stages=backbone.tapped_stages,
                        frozen_stages=backbone.frozen_stages)


def rehearse(trained: TrainedModel, growing: Growing, images: MeasuredImages, used: Sequence[int],
             held_out: Sequence[int], folder: WorkFolder, seed: int) -> tuple[TrainedModel, Growth]:
    """Let a trained model grow, and train it on paths near the trained one; a stopped rehearsal goes on.

    Args:
        trained (TrainedModel): The trained model; it is not changed.
        growing (Growing): How it grows.
        images (MeasuredImages): The training images.
        used (Sequence[int]): Places of images on which new channels are normalised.
        held_out (Sequence[int]): Places of images that the rehearsal must not see: scores are measured on them.
        folder (WorkFolder): Where everything is saved.
        seed (int): Seed of the rehearsal.

    Returns:
        tuple: The rehearsed model on its own path, and what it may grow to.
    """
    section = dict(trained.config.model.backbone)
    start, rehearsed = folder.file(_START), folder.file(_REHEARSED)
    if not os.path.exists(rehearsed):
        if not os.path.exists(start) and is_main_process():
            elastic = start_growing(trained.backbone, section, growing.space, list(
                normalised_images(trained.model, images, used)), seed)
            write_whole({start: checkpoint_bytes(dict(state_dict=_with_backbone(trained.model, elastic.state_dict())))})
        barrier()
        cfg = rehearsal_config(trained.config, elastic_section(section, trained.backbone, growing.space, growing.boost,
                                                               growing.kept), growing, images.without(held_out), seed)
        state = run_rehearsal(cfg, start, folder.file(_FOLDER))
        if broken := not_finite(state):
            raise ValueError(f'the rehearsal diverged: {broken[0]} is not finite; give a smaller rate than '
                             f'{growing.rate}')
        if is_main_process():
            write_whole({rehearsed: checkpoint_bytes(dict(state_dict=state))})
        barrier()
    state = load_checkpoint(rehearsed)['state_dict']
    device = next(trained.model.parameters()).device
    growth = Growth(space_of(trained.backbone, growing), section,
                    {key.removeprefix('backbone.'): value.to(device) for key, value in state.items()
                     if key.startswith('backbone.')})
    model = copy.deepcopy(trained.model)
    model.load_state_dict({key: value for key, value in state.items() if not key.startswith('backbone.')}, strict=False)
    model.backbone = growth.backbone(growth.space.seed_path)
    return replace(trained, model=model), growth


def _with_backbone(model: Any, backbone: Mapping[str, Tensor]) -> dict[str, Tensor]:
    state = {key: value for key, value in model.state_dict().items() if not key.startswith('backbone.')}
    state.update({f'backbone.{key}': value for key, value in backbone.items()})
    return {key: value.cpu() for key, value in state.items()}


def teacher_of(growth: Growth, choice: Sequence[Candidate], calibration: Iterable[Tensor]) -> FNAChildNet:
    """The rehearsed backbone that holds all that was chosen; the child is cut from it and fitted to it.

    Args:
        growth (Growth): What the backbone may be.
        choice (Sequence[Candidate]): One candidate for every row of the table.
        calibration (Iterable[Tensor]): Images that running statistics are set right on, each (N, 3, H, W).
    """
    backbone = growth.backbone(growth.teacher_path(choice))
    settle(backbone, calibration)
    return backbone


def needed_statistics(chain: Chain, choice: Sequence[Candidate], images: Optional[int] = None) -> Statistics:
    """Empty statistics of those blocks of a teacher that a child has narrower, with a smaller kernel, or last in front
    of one that it leaves out.

    Args:
        chain (Chain): The teacher.
        choice (Sequence[Candidate]): One candidate for every block of it.
        images (int, optional): Number of images that will be added. Defaults to None: it is not known.
    """
    needed = set()
    for index, (link, candidate) in enumerate(zip(chain.links, choice)):
        follows = index + 1 < len(choice) and choice[index + 1].spec is None
        if candidate.spec is not None and (follows or candidate.width < link.hidden
                                           or candidate.kernel != link.spec.kernel_size):
            needed.add((index, candidate.kernel))
    return {key: block for key, block in statistics_of(chain, images).items() if key in needed}

