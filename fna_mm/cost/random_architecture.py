"""Random architectures of a search space at a given cost. A search has to find better ones."""

import numpy as np

from fna_mm.architecture import Architecture
from fna_mm.cost.madds import GIGA, madds_table
from fna_mm.search_space import SearchSpace

#: Largest relative difference of a drawn architecture's MAdds.
TOLERANCE = .01
_BATCH = 4096
_MAX_DRAWS = 500 * _BATCH


def draw_architecture(space: SearchSpace, like: Architecture, input_shape: tuple[int, int], output_stride: int = 32,
                      seed: int = 0) -> Architecture:
    """Draw an architecture that has the MAdds of another one within 1 %.

    First a probability of leaving out a layer is drawn. Then every layer that may be left out is left out with that
    probability; otherwise all its other candidates are equally likely. Architectures with other MAdds are drawn again.
    So deep and narrow networks are drawn as well as shallow and wide ones.

    Args:
        space (SearchSpace): The search space to draw from.
        like (Architecture): The architecture whose MAdds are matched; it may lie outside the search space.
        input_shape (tuple[int, int]): (height, width) at which MAdds are counted.
        output_stride (int): Output stride of the backbone. Defaults to 32.
        seed (int): Random seed; the same seed draws the same architecture. Defaults to 0.

    Raises:
        ValueError: If no architecture of the search space with these MAdds is found.
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
