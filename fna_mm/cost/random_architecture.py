"""Architectures drawn at random from a search space: what a search has to beat at equal cost."""

import numpy as np

from fna_mm.architecture import Architecture
from fna_mm.cost.madds import GIGA, madds_table
from fna_mm.search_space import SearchSpace

#: By how much the MAdds of a drawn architecture may differ, relative.
TOLERANCE = .01
_BATCH = 4096
_MAX_DRAWS = 500 * _BATCH


def draw_architecture(space: SearchSpace, like: Architecture, input_shape: tuple[int, int], output_stride: int = 32,
                      seed: int = 0) -> Architecture:
    """An architecture of a search space with the MAdds of another one, within 1 %.

    A share of layers to leave out is drawn first, then for every layer whether it is left out, or which of
    its other candidates it is, all equally likely; what does not cost the same is drawn again. So the cost
    is reached by deep and narrow networks as well as by shallow and wide ones.

    Args:
        space (SearchSpace): What to draw from.
        like (Architecture): Whose MAdds to match; it need not be in the space.
        input_shape (tuple[int, int]): (height, width) at which MAdds are counted.
        output_stride (int): Of the backbone. Defaults to 32.
        seed (int): The same seed draws the same architecture. Defaults to 0.

    Raises:
        ValueError: If no architecture of the space costs as much.
    """
    table = madds_table(space, input_shape, output_stride)
    madds = like.madds(input_shape, output_stride) / GIGA
    rng = np.random.default_rng(seed)
    least, most = (table.fixed + sum(extreme(costs) for costs in table.layers) for extreme in (min, max))
    for _ in range(_MAX_DRAWS // _BATCH):
        skipped = rng.random(_BATCH)
        choices = []
        for layer in space.layers:
            kept = [index for index, spec in enumerate(layer.candidates) if spec is not None]
            choice = rng.choice(kept, _BATCH)
            if None in layer.candidates:
                choice = np.where(rng.random(_BATCH) < skipped, layer.candidates.index(None), choice)
            choices.append(choice)
        cost = table.fixed + sum(np.array(costs)[choice] for costs, choice in zip(table.layers, choices))
        fitting = np.flatnonzero(np.abs(cost - madds) <= TOLERANCE * madds)
        if len(fitting):
            return space.architecture([int(choice[fitting[0]]) for choice in choices])
    raise ValueError(f'no architecture of about {madds:.4g} GMAdds was found; this search space has {least:.4g} to '
                     f'{most:.4g} at {input_shape[0]}x{input_shape[1]}')
