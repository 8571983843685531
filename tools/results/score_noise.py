"""How much of a score is noise: what one image says of a candidate, by the loss and by the errors of maps.

python -m tools.results.score_noise ADAPTED…    a line for every work directory of fna adapt
"""

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fna_mm.adaptation.measuring import on_images
from fna_mm.adaptation.scores import Replacement
from fna_mm.adaptation.sensitivity import steadied
from fna_mm.adaptation.work_folder import read_scores


class Noise(NamedTuple):
    """What one image says, against the mean over images.

    Args:
        images (int): Number of images.
        candidates (int): Number of candidates.
        loss (float): Standard deviation over images of what a candidate adds to the loss, as a share of its mean; the
            median of the candidates whose loss grows.
        maps (float): The same of what the maps say that it adds.
        spread (float): Spread of the loss around what the maps say, as :class:`Sensitivity` has it.
    """

    images: int
    candidates: int
    loss: float
    maps: float
    spread: float


def noise_of(folder: Path) -> Noise:
    """The noise of an adaptation's scores.

    Args:
        folder (Path): Work directory of ``fna adapt``.

    Raises:
        FileNotFoundError: If nothing was scored there.
    """
    rows = read_scores(folder)
    if not rows:
        raise FileNotFoundError(f'{folder} has no scores_0.json: fna adapt has scored nothing there')
    _, differences, errors = on_images(rows, list(rows))
    _, found = steadied(differences, errors)
    said = {key: of_key @ np.array(found.weights) for key, of_key in errors.items()}
    return Noise(len(rows), len(differences), _share(differences), _share(said), found.spread)


def _share(values: dict[Replacement, np.ndarray]) -> float:
    return statistics.median(float(of_key.std() / of_key.mean()) for of_key in values.values() if of_key.mean() > 0)


def main(arguments: Sequence[str]) -> None:
    """The command.

    Args:
        arguments (Sequence[str]): Work directories.
    """
    if not arguments:
        raise SystemExit(__doc__)
    for folder in map(Path, arguments):
        noise = noise_of(folder)
        print(f'{folder}: {noise.candidates} candidates on {noise.images} images; one image is off by '
              f'{noise.loss:.0%} by the loss, by {noise.maps:.0%} by the maps, which the loss follows within '
              f'{noise.spread:.0%}')


if __name__ == '__main__':
    main(sys.argv[1:])
