"""What the fine-tuned architectures changed in the seed's, and how that goes with their metric."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from finished_runs import CASES, MODELS, runs_of, validated

from fna_mm import Architecture

LONGER_TUNINGS = ('x_double', 'x_long')
CHANGES = ('layers added', 'layers left out', 'halved expansions', 'larger kernels')


def changes(arch: Architecture, seed: Architecture) -> tuple[int, ...]:
    """How many layers of the stages behind the first differ from the seed's in each of the ways of ``CHANGES``."""
    depths = [len(stage.layers) - len(own.layers) for stage, own in zip(arch.stages[1:], seed.stages[1:])]
    layers = [layer for stage in arch.stages[1:] for layer in stage.layers]
    return (sum(max(0, depth) for depth in depths), sum(max(0, -depth) for depth in depths),
            sum(layer.hidden_channels(1) < 6 for layer in layers), sum(layer.kernel_size > 3 for layer in layers))


def fine_tunings(work: Path, name: str) -> Iterator[tuple[tuple[int, ...], float]]:
    """Changes and validation metric (%) of every fine-tuning with the same budget and the same remapping."""
    _, _, metric, factor = CASES[name]
    seed = Architecture.create('mobilenet_v2')
    folders = [path.name for path in sorted((work / name).glob('*'))
               if path.name == 'main' or path.name.startswith(('lambda_', 'x_')) and path.name not in LONGER_TUNINGS]
    for folder in folders:
        for model in MODELS:
            for _, run, _ in runs_of(work / name, folder, model):
                arch = dict(mobilenet_v2='mobilenet_v2', published=f'fna_{name.partition("_")[2]}',
                            found=str(run.with_name('search') / 'arch.json'),
                            random=str(run.with_name('random_arch.json')))[model]
                yield changes(Architecture.create(arch), seed), factor * validated(run, metric)


def correlations(work: Path, name: str) -> list[str]:
    """How many fine-tunings there are, and the correlation of their validation metric with each kind of change."""
    found = list(fine_tunings(work, name))
    if len(found) < 8:
        return []
    metrics = [metric for _, metric in found]
    columns = zip(*(counts for counts, _ in found))
    return [str(len(found)), *(f'{np.corrcoef(column, metrics)[0, 1]:+.2f}' for column in columns)]
