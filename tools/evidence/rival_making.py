"""Making a rival: which way its backbone comes from the trained model."""

import json
from pathlib import Path

from torch import Tensor

from fna_mm import Architecture
from fna_mm.adaptation.chain import Chain
from fna_mm.adaptation.measuring import normalised_images
from fna_mm.adaptation.tap_widths import CHANNELS, KeptOfTaps
from fna_mm.adaptation.teaching import TEACHER
from fna_mm.checkpoints.opening import load_checkpoint
from tools.evidence.child_files import Source, whole_child, write_child, write_teacher
from tools.evidence.fitted_rivals import fitted, measured_statistics
from tools.evidence.protocol import FOLDER, Rival, Task, last_checkpoint
from tools.evidence.pruned_rivals import IMPORTANCES, pruned_to
from tools.evidence.remapped_rivals import (
    exported_architecture,
    narrowed_child,
    random_architecture,
    remapped,
)
from tools.evidence.searched_rivals import found_child

#: Rivals whose children fna adapt itself writes, and its work directory.
ADAPTED = dict(adapted='adapted', grown='grown')


def make_rival(task: Task, rival: Rival, seed: int, run: Path) -> None:
    """Write the child of a rival.

    Args:
        task (Task): The task.
        rival (Rival): The rival.
        seed (int): Seed of the run.
        run (Path): Folder of the run.
    """
    source = Source.load(task, last_checkpoint(run / 'trained'), seed)
    work, folder, budget = run / FOLDER, run / FOLDER / rival.name, float(rival.budget)
    if not (work / TEACHER).exists():
        write_teacher(source, work)
    model, calibrated = None, False
    kept: KeptOfTaps = {}
    if rival.model == 'mobilenet_v2':
        backbone, calibrated = source.backbone, True
    elif rival.model == 'narrowed':
        backbone, kept = narrowed_child(source, budget)
    elif rival.model == 'random':
        backbone = remapped(source, random_architecture(source, budget))
    elif rival.model == 'random_fitted':
        chain = Chain(source.backbone, source.shape)
        statistics, positions = measured_statistics(source, chain, work / 'adapted', folder / 'statistics')
        backbone = fitted(chain, source.trained.config.model.backbone, random_architecture(source, budget), statistics,
                          lambda: normalised_images(source.trained.model, source.images, positions))
        calibrated = True
    elif rival.model in IMPORTANCES:
        backbone, kept = pruned_to(source, rival.model, budget)
    elif rival.model == 'found':
        backbone = remapped(source, exported_architecture(work / f'search_{rival.budget}'))
    elif rival.model == 'found_fitted':
        backbone, model = found_child(source, last_checkpoint(work / f'fitted_search_{rival.budget}'))
    else:
        child = work / ADAPTED[rival.model] / f'budget_{rival.budget}'
        kept = kept_in(source, child)
        backbone, model = whole_child(source, Architecture.create(str(child / 'arch.json')),
                                      load_checkpoint(str(child / 'child.pth'))['state_dict'], kept)
        calibrated = True
    if kept and model is None:
        model = source.taps.cut(kept, backbone)
    write_child(source, folder, backbone, calibrated, model, kept)


def kept_in(source: Source, child: Path) -> dict[int, Tensor]:
    """The channels that neck and head read of a child that fna adapt wrote: row of a narrower tap → channels.

    Args:
        source (Source): The trained model.
        child (Path): Folder of the child.
    """
    path = child / CHANNELS
    return source.taps.kept_of_maps(json.loads(path.read_text()) if path.exists() else ())
