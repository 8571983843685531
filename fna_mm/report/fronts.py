"""The fronts of adaptations that stand beside the runs of a report."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Optional

from fna_mm.report.answers import Answer
from fna_mm.report.run import ADAPTATION, main_metric

#: Pictures of an adaptation's front in its work directory, for wide and for narrow pages.
_PICTURE, _NARROW = 'report/front.svg', 'report/front_narrow.svg'
#: Largest picture that is shown, in bytes.
_MOST = 2 * 2**20
_CAPTION = ('What the model costs and what its loss is. The curve is predicted from scores, the points are children '
            'without any training; its own page says more: {}')


class Front(NamedTuple):
    """What a report shows of an adaptation.

    Args:
        name (str): Name of its work directory.
        caption (str): Text below its front.
        svg (bytes): The front as SVG.
        narrow_svg (bytes, optional): Another layout for narrow pages; None if there is none.
        answer (Answer, optional): What its children are worth beside the trained model; None if they were not
            evaluated.
    """

    name: str
    caption: str
    svg: bytes
    narrow_svg: Optional[bytes]
    answer: Optional[Answer]


def find_fronts(folders: Sequence[str]) -> list[Front]:
    """The fronts of the adaptations whose work directories the folders are, or hold.

    Args:
        folders (Sequence[str]): Work directories, or folders that hold several.
    """
    found = []
    for folder in map(Path, folders):
        for path in sorted({*folder.glob(ADAPTATION), *folder.glob(f'*/{ADAPTATION}')}):
            wide, narrow = (_picture(path.parent / name) for name in (_PICTURE, _NARROW))
            if wide is not None:
                caption = _CAPTION.format(path.parent / 'report/index.html')
                found.append(Front(path.parent.name, caption, wide, narrow, _answer(path)))
    return found


def _picture(path: Path) -> Optional[bytes]:
    return path.read_bytes() if path.is_file() and path.stat().st_size <= _MOST else None


def _answer(path: Path) -> Optional[Answer]:
    """What the figures say; None if they do not say it, or are no such figures."""
    try:
        values = json.loads(path.read_text(encoding='utf-8'))
        trained, metric = values['trained']['metrics'], main_metric(values['trained']['metrics'])
        children = sorted((float(child['share']), float(child['metrics'][metric])) for child in values['children'])
        best = float(trained[metric])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if not children:
        return None
    said = ', '.join(f'{value:.4g} at {share:.0%}' for share, value in reversed(children))
    as_good = [share for share, value in children if value >= best]
    headline = (f'As good at {as_good[0]:.0%} of the backbone\'s cost.' if as_good else
                'Cheaper, and less accurate.')
    return Answer(headline, f'{metric.rpartition("/")[2]} of the children, without any training, is {said} of the '
                            f'backbone\'s cost, on the validation data; the trained model has {best:.4g}.')
