"""The work directory of an adaptation: what was measured so far, so that a stopped run goes on."""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional, Union

from mmengine.dist import all_gather_object, barrier, get_rank, is_main_process

from fna_mm.adaptation.scores import Measurement, Measurements, Replacement
from fna_mm.adaptation.statistics import BlockStatistics
from fna_mm.adaptation.taps import TapStatistics
from fna_mm.checkpoints.folder_lock import HOLDER, LOCK, FolderLock
from fna_mm.checkpoints.opening import load_checkpoint
from fna_mm.checkpoints.whole_files import checkpoint_bytes, finished_name, write_whole

IDENTITY = 'adaptation.json'
#: Of the files: that of 1 had one order for a block, that of 2 no errors of maps, that of 3 no taps and no stem.
_FORMAT = 4
#: Key of the trained model's own loss in a file of scores.
_SEED = 'trained model'
_STATISTICS = 'statistics.pth'
#: What a process that was killed before it wrote the identity may have left.
_OF_THE_START = (LOCK, HOLDER, IDENTITY)


#: (index of a block, side of its kernel; 0 for a tap) → statistics.
Sums = Mapping[tuple[int, int], Union[BlockStatistics, TapStatistics]]


def _name(*numbers: int) -> str:
    return ':'.join(map(str, numbers))


def _parts(folder: Path, kind: str) -> list[Path]:
    return sorted(path for path in folder.glob(f'{kind}_*') if re.fullmatch(rf'{kind}_\d+\.\w+', path.name))


def read_scores(folder: Path) -> dict[int, dict[Optional[Replacement], Measurement]]:
    """Read what all processes have measured: image → candidate → what was measured.

    Args:
        folder (Path): Work directory of an adaptation; it may be one that is finished.
    """
    rows: dict[int, dict[Optional[Replacement], Measurement]] = {}
    for path in _parts(folder, 'scores'):
        for image, row in json.loads(path.read_text(encoding='utf-8')).items():
            rows.setdefault(int(image), {}).update(
                (None if key == _SEED else Replacement(*map(int, key.split(':'))), Measurement(loss, tuple(errors)))
                for key, (loss, *errors) in row.items())
    return rows


def file_digest(path: str) -> str:
    """A digest of a local file's content; another address stands for itself."""
    if not os.path.isfile(path):
        return path
    sha = hashlib.sha256()
    with open(path, 'rb') as file:
        while part := file.read(2**20):
            sha.update(part)
    return sha.hexdigest()


class WorkFolder:
    """Files of an adaptation. Every process writes what it measured; whoever goes on reads all of it.

    Args:
        path (str): The folder. It is created if it does not exist.
        identity (Mapping): What the measurements depend on, as plain values. A folder with another identity is refused.

    Raises:
        ValueError: If the folder holds something else than this adaptation, or another process works on it.
    """

    def __init__(self, path: str, identity: Mapping[str, Any]) -> None:
        self.path = Path(path)
        known = self.path / IDENTITY
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f'work_dir={path!r} is a file: give the path of a folder')
        # JSON has no tuples: both sides are compared as JSON.
        wanted = json.loads(json.dumps(dict(identity, format=_FORMAT)))
        if known.exists():
            found = json.loads(known.read_text(encoding='utf-8'))
            other = [f'{name}: {found.get(name)!r} there, {wanted.get(name)!r} here'
                     for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
            if other:
                raise ValueError(f'work_dir={path!r} holds another adaptation ({"; ".join(other)}): give another '
                                 'folder, or remove this one')
        elif self.path.exists() and not all(finished_name(path.name) in _OF_THE_START for path in self.path.iterdir()):
            raise ValueError(f'work_dir={path!r} holds files, but no adaptation: give a new or empty folder')
        barrier()
        if is_main_process():
            self.path.mkdir(parents=True, exist_ok=True)
        self._lock = FolderLock(str(path))
        if is_main_process():
            write_whole({str(known): (json.dumps(wanted, indent=1) + '\n').encode()})
        barrier()

    def file(self, name: str) -> str:
        """The path of a file in the folder."""
        return str(self.path / name)

    def save_statistics(self, statistics: Sums, done: Sequence[int]) -> None:
        """Save the sums of this process, with the images that are in them."""
        state = dict(done=list(done), moments={_name(*key): block.state() for key, block in statistics.items()})
        write_whole({self.file(f'statistics_{get_rank()}.pth'): checkpoint_bytes(state)})

    def load_statistics(self, statistics: Sums) -> list[int]:
        """Load what all processes have saved; the first process takes over the sums, all learn which images are done.

        Returns:
            list[int]: The images that are in the sums.
        """
        done: list[int] = []
        for number, path in enumerate(_parts(self.path, 'statistics')):
            state = load_checkpoint(str(path))
            done += state['done']
            if is_main_process():
                for key, block in statistics.items():
                    block.load(state['moments'][_name(*key)], add=number > 0)
        return done

    def finish_statistics(self, statistics: Sums) -> None:
        """Save the sums of all processes and the orders of elimination; partial sums are removed."""
        if is_main_process():
            state = {_name(*key): dict(moments=block.state(),
                                       orders=block.orders() if block.ranked else {})
                     for key, block in statistics.items()}
            write_whole({self.file(_STATISTICS): checkpoint_bytes(state)})
        barrier()
        if is_main_process():
            for path in _parts(self.path, 'statistics'):
                os.remove(path)

    def finished_statistics(self, statistics: Sums) -> bool:
        """Load the finished sums and orders, if there are any, and say whether there are."""
        if not os.path.exists(self.file(_STATISTICS)):
            return False
        state = load_checkpoint(self.file(_STATISTICS))
        for key, block in statistics.items():
            block.load(state[_name(*key)]['moments'])
            block.set_orders(state[_name(*key)]['orders'])
        return True

    def save_scores(self, rows: Measurements) -> None:
        """Save what this process has measured.

        Args:
            rows (Mapping): Image → candidate → what was measured; None stands for the trained model.
        """
        values = {str(image): {_SEED if key is None else _name(*key): [found.loss, *found.errors]
                               for key, found in row.items()} for image, row in rows.items()}
        write_whole({self.file(f'scores_{get_rank()}.json'): json.dumps(values).encode()})

    def load_scores(self) -> dict[int, dict[Optional[Replacement], Measurement]]:
        """Load what all processes have saved."""
        return read_scores(self.path)

    def seconds(self) -> dict[str, float]:
        """Seconds of every part so far, over all runs of the command."""
        path = self.path / 'seconds.json'
        return json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}

    def add_seconds(self, part: str, seconds: float) -> None:
        """Add to the seconds of a part."""
        if is_main_process():
            known = self.seconds()
            known[part] = known.get(part, 0.) + seconds
            write_whole({self.file('seconds.json'): json.dumps(known).encode()})


def gather_scores(rows: Measurements
                  ) -> dict[int, dict[Optional[Replacement], Measurement]]:
    """What all processes have measured, in the order of the images.

    Args:
        rows (Mapping): What this process has measured.
    """
    merged: dict[int, dict[Optional[Replacement], Measurement]] = {}
    for part in all_gather_object(dict(rows)):
        for image, row in part.items():
            merged.setdefault(image, {}).update(row)
    return dict(sorted(merged.items()))
