"""mmengine's file ``last_checkpoint``: what a training goes on from, checked before it does."""

import os
from pathlib import Path
from typing import Any, Optional

from mmengine.dist import broadcast_object_list, is_main_process

from fna_mm.checkpoints.opening import load_checkpoint
from fna_mm.checkpoints.whole_files import write_whole

_FILE = 'last_checkpoint'


def _opens(path: str) -> bool:
    try:
        load_checkpoint(path)
    except (FileNotFoundError, ValueError):
        return False
    return True


def mend_last_checkpoint(work_dir: str, warn: Optional[Any] = None) -> None:
    """Let ``last_checkpoint`` name a whole checkpoint, if there is such a file.

    A kill leaves it empty or cut, or leaves half a checkpoint. It names the newest whole one of the folder then.

    Args:
        work_dir (str): Work directory of a training, a local folder.
        warn (Callable, optional): Is told what was mended. Defaults to None: nobody.

    Raises:
        ValueError: If no checkpoint of the folder is whole.
    """
    file = Path(work_dir) / _FILE
    problem = None
    if is_main_process() and file.exists():
        named = file.read_text(encoding='utf-8', errors='replace').strip()
        if not named or not _opens(named):
            others = sorted(Path(work_dir).glob('*.pth'), key=lambda path: path.stat().st_mtime, reverse=True)
            whole = next((str(path) for path in others if _opens(str(path))), None)
            if whole is None:
                problem = (f'{file} names {named!r}, which is no whole checkpoint, and there is none in {work_dir}: '
                           'remove that file to start anew')
            else:
                write_whole({str(file): whole.encode()})
                if warn is not None:
                    warn(f'{file} named {named!r}, which is no whole checkpoint: going on from the newest one that is, '
                         f'{whole}')
    told = [problem]
    broadcast_object_list(told)  # all processes stop, or none
    if told[0]:
        raise ValueError(told[0])


def latest_checkpoint(work_dir: str) -> Optional[str]:
    """The checkpoint that a training in a local folder goes on from; None if it starts anew.

    Args:
        work_dir (str): The work directory; it may not exist.

    Raises:
        ValueError: As :func:`mend_last_checkpoint`.
    """
    mend_last_checkpoint(work_dir)
    file = os.path.join(work_dir, _FILE)
    if not os.path.exists(file):
        return None
    with open(file, encoding='utf-8') as text:
        return text.read().strip()
