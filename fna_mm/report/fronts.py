"""The fronts of adaptations that stand beside the runs of a report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import numpy as np

from fna_mm.report.drawing import Drawn
from fna_mm.report.run import ADAPTATION

#: Pictures of an adaptation's front in its work directory, for wide and for narrow pages.
_PICTURE, _NARROW = 'report/front.svg', 'report/front_narrow.svg'
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
        for path in sorted({*folder.glob(ADAPTATION), *folder.glob(f'*/{ADAPTATION}')}):
            wide, narrow = (_picture(path.parent / name) for name in (_PICTURE, _NARROW))
            if wide is not None:
                caption = _CAPTION.format(path.parent / 'report/index.html')
                found.append((path.parent.name, Drawn('front', caption, np.zeros((1, 1, 3), np.uint8), wide, narrow)))
    return found


def _picture(path: Path) -> Optional[bytes]:
    return path.read_bytes() if path.is_file() and path.stat().st_size <= _MOST else None
