"""What a search pays once: building, remapping, the cost table."""

import time
from collections.abc import Callable
from typing import Any

from fna_mm.backbones import FNAChildNet, FNASuperNet
from fna_mm.cost.madds import madds_table
from fna_mm.remapping import ParameterRemapping


def fixed_costs(seed: str, repeats: int) -> dict[str, tuple[float, ...]]:
    """Seconds of each, by name; all on the CPU, as in a search.

    Args:
        seed (str): Path of the checkpoint that is remapped.
        repeats (int): Measurements of each.
    """
    supernet, child, remapping = FNASuperNet(), FNAChildNet('fna_retinanet'), ParameterRemapping(seed)
    costs: dict[str, Callable[[], Any]] = {
        'building the supernet': FNASuperNet,
        'building and initializing it': lambda: FNASuperNet().init_weights(),
        'remapping onto the supernet': lambda: remapping(supernet),
        'building the child': lambda: FNAChildNet('fna_retinanet'),
        'remapping onto the child': lambda: remapping(child),
        'cost table': lambda: madds_table(supernet.search_space, (800, 1088)),
    }
    result = {}
    for name, run in costs.items():
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        result[name] = tuple(seconds)
    return result
