"""What the fine-tuned architectures changed in the seed's, and how that goes with their metric."""

from collections.abc import Sequence

import numpy as np

from fna_mm import Architecture
from tools.results.result_rows import CASES, ResultRow

LONGER_TUNINGS = ('x_double', 'x_long')
CHANGES = ('layers added', 'layers left out', 'halved expansions', 'larger kernels')


def _changes(arch: Architecture, seed: Architecture) -> tuple[int, ...]:
    """How many layers of the stages behind the first differ from the seed's in each of the ways of ``CHANGES``."""
    depths = [len(stage.layers) - len(own.layers) for stage, own in zip(arch.stages[1:], seed.stages[1:])]
    layers = [layer for stage in arch.stages[1:] for layer in stage.layers]
    return (sum(max(0, depth) for depth in depths), sum(max(0, -depth) for depth in depths),
            sum(layer.hidden_channels(1) < 6 for layer in layers), sum(layer.kernel_size > 3 for layer in layers))


def correlations(rows: Sequence[ResultRow], name: str) -> list[str]:
    """How many fine-tunings there are, and the correlation of their validation metric with each kind of change.

    Fine-tunings of one budget and from remapped weights alone; nothing where there are fewer than eight.

    Args:
        rows (Sequence[dict]): All rows.
        name (str): Of the case.
    """
    seed = Architecture.create('mobilenet_v2')
    found = [(_changes(Architecture.create(run['arch']), seed), run['validation']) for row in rows
             if (row['dataset'], row['framework']) == CASES[name][:2] and row['table'] in ('comparison', 'variants')
             and row['folder'] not in LONGER_TUNINGS for run in row['runs']]
    if len(found) < 8:
        return []
    metrics = [metric for _, metric in found]
    columns = zip(*(counts for counts, _ in found))
    return [str(len(found)), *(f'{np.corrcoef(column, metrics)[0, 1]:+.2f}' for column in columns)]
