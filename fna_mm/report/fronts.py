"""The fronts of adaptations that stand beside the runs of a report."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fna_mm.report.drawing import Drawn

#: Where an adaptation's work directory has its front: the figures, and the picture of them.
_FIGURES, _PICTURE = 'front.json', 'report/front.svg'
#: Largest picture that is shown, in bytes.
_MOST = 2 * 2**20
_CAPTION = ('What the model costs and what its loss is. The curve is predicted from scores, the points are children '
            'without any training; its own page says more: {}')


def find_fronts(folders: Sequence[str]) -> list[tuple[str, Drawn]]:
    """The fronts of the adaptations whose work directories the folders are, or hold: pairs of a name and a figure.

    Args:
        folders (Sequence[str]): Work directories, or folders that hold several.
    """
    found = []
    for folder in map(Path, folders):
        for path in sorted({*folder.glob(_FIGURES), *folder.glob(f'*/{_FIGURES}')}):
            picture = path.parent / _PICTURE
            if picture.is_file() and picture.stat().st_size <= _MOST:
                page = path.parent / 'report/index.html'
                found.append((path.parent.name, Drawn('front', _CAPTION.format(page), np.zeros((1, 1, 3), np.uint8),
                                                      picture.read_bytes())))
    return found
