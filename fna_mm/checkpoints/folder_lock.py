"""One run at a time writes a work directory."""

import contextlib
import json
import os
import socket
import sys
import time
import weakref
from pathlib import Path
from typing import Any, Optional

from filelock import FileLock, Timeout
from mmengine.dist import broadcast_object_list, is_main_process

from fna_mm.checkpoints.whole_files import write_whole

#: The file that is locked, and the one that says by whom. The system's lock ends with its process, however that ends.
LOCK, HOLDER = '.fna_mm.lock', '.fna_mm.holder'
#: The locks of this process: another run in it goes on in the folder of one that an error has stopped.
_OWN: Any = weakref.WeakValueDictionary()


class FolderLock:
    """A lock of a work directory, held until :meth:`release` or until the process or this object ends.

    All processes of a run make one; the first one locks.

    Args:
        folder (str): The folder. One on another file backend, or one that does not exist, is not locked.

    Raises:
        ValueError: If another run holds it; on all processes.
    """

    def __init__(self, folder: str) -> None:
        self._lock: Optional[FileLock] = None
        self._holder = Path(folder) / HOLDER
        problem = None
        if is_main_process() and os.path.isdir(folder):
            path = os.path.realpath(Path(folder) / LOCK)
            lock = _OWN.get(path) or FileLock(path)
            try:
                lock.acquire(blocking=False)
                self._lock = _OWN[path] = lock
            except Timeout:
                problem = f'{self._described()} writes to {folder!r}: wait until it ends, or give another work_dir'
            except OSError:  # a file system without locks
                pass
            else:
                write_whole({str(self._holder): json.dumps(dict(
                    process=os.getpid(), machine=socket.gethostname(), since=time.strftime('%Y-%m-%d %H:%M:%S'),
                    command=' '.join(map(os.path.basename, sys.argv[:3])))).encode()})
        told = [problem]
        broadcast_object_list(told)
        if told[0]:
            raise ValueError(told[0])

    def _described(self) -> str:
        try:
            holder = json.loads(self._holder.read_text(encoding='utf-8'))
            return (f'process {holder["process"]} of {holder["machine"]} ({holder["command"]}, since '
                    f'{holder["since"]})')
        except (OSError, ValueError, KeyError):
            return 'another process'

    def release(self) -> None:
        """Let other runs write to the folder."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                self._holder.unlink()
            self._lock.release(force=True)  # a run that an error has stopped has not released it
            self._lock = None
