"""Writing files whole: nobody sees half of one, no input is overwritten, and of several files all appear or none."""

import glob
import io
import os
import re
import stat
from collections.abc import Mapping, Sequence
from typing import Any

#: What a file is called while it is written: its name, the process, ``.tmp``.
_TEMPORARY = '.tmp'
_LEFT_BY = re.compile(rf'\.(\d+){re.escape(_TEMPORARY)}$')


def checkpoint_bytes(checkpoint: Any) -> bytes:
    """The bytes that ``torch.save`` writes for a checkpoint."""
    import torch  # commands that write text need no PyTorch
    content = io.BytesIO()
    torch.save(checkpoint, content)
    return content.getvalue()


def check_regular(path: str) -> None:
    """Check that what is to be read is no device, pipe or socket, which might never end.

    Args:
        path (str): A path; one that does not exist, or an address, is not looked at.

    Raises:
        ValueError: If it is one.
    """
    if os.path.exists(path) and not os.path.isdir(path) and not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f'{path!r} cannot be read: it is no regular file')


def regular_text(path: str) -> str:
    """Read a text on any of mmengine's file backends, without the mark with which some editors begin a file.

    Args:
        path (str): Path or address.

    Raises:
        OSError: If it cannot be read.
        UnicodeDecodeError: If it is no text in UTF-8.
        ValueError: As :func:`check_regular`.
    """
    from mmengine.fileio import get_text  # imports torch, which commands that read no file need not
    check_regular(path)
    return get_text(path, encoding='utf-8').removeprefix('\ufeff')


def check_outputs(outputs: Sequence[str], inputs: Sequence[str] = ()) -> None:
    """Check, before any work, that files can be written without loss.

    Args:
        outputs (Sequence[str]): Paths of files that will be written.
        inputs (Sequence[str]): Paths, names or addresses of what is read. Defaults to (): nothing.

    Raises:
        ValueError: If an output is an input or another output, through whatever links or spelling, or is a folder, a
            device, a pipe or a socket.
    """
    taken = {os.path.realpath(path): 'one of the inputs' for path in inputs}
    for path in outputs:
        real = os.path.realpath(path)
        for other, what in taken.items():
            # Hard links have no real path in common.
            if real == other or (os.path.exists(real) and os.path.exists(other) and os.path.samefile(real, other)):
                raise ValueError(f'{path!r} cannot be written: it is {what}')
        if os.path.isdir(real):
            raise ValueError(f'{path!r} cannot be written: it is a folder')
        if os.path.exists(real) and not stat.S_ISREG(os.stat(real).st_mode):
            raise ValueError(f'{path!r} cannot be written: it is no regular file')
        taken[real] = 'another output'


def write_whole(files: Mapping[str, bytes]) -> None:
    """Write all files or none. An existing file is replaced only by a complete new one; folders are created.

    A symbolic link stays one: the file that it names is replaced. What a killed process left half is removed.

    Args:
        files (Mapping[str, bytes]): Local path → content.

    Raises:
        ValueError: If a path is a folder, a device, a pipe or a socket, or two paths are one file.
        OSError: If a file cannot be written.
    """
    check_outputs(list(files))
    written: dict[str, str] = {}
    try:
        for path, content in files.items():
            real = os.path.realpath(path)
            os.makedirs(os.path.dirname(real) or '.', exist_ok=True)
            _remove_leftovers(real)
            written[real] = f'{real}.{os.getpid()}{_TEMPORARY}'
            with open(written[real], 'wb') as file:
                file.write(content)
        for real, temporary in written.items():
            os.replace(temporary, real)
    finally:
        for temporary in written.values():
            if os.path.exists(temporary):
                os.remove(temporary)


def _remove_leftovers(path: str) -> None:
    """Remove what processes that do not live any more left of a file."""
    for temporary in glob.glob(f'{glob.escape(path)}.*{_TEMPORARY}'):
        process = _LEFT_BY.search(temporary)
        if process and finished_name(temporary) == path and not _lives(int(process[1])):
            os.remove(temporary)


def finished_name(path: str) -> str:
    """The path that a half written file was to have; other paths stay as they are."""
    return _LEFT_BY.sub('', path)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):  # the second: a number that no process has
        return False
    except OSError:
        pass  # it lives, and belongs to someone else
    return True


def put_whole(files: Mapping[str, bytes]) -> None:
    """Write files on any of mmengine's file backends; on the local one as :func:`write_whole` does.

    Args:
        files (Mapping[str, bytes]): Path → content.

    Raises:
        ValueError: As :func:`write_whole`.
        OSError: If a file cannot be written.
    """
    from mmengine.fileio import LocalBackend, get_file_backend, put
    local = {path: content for path, content in files.items() if isinstance(get_file_backend(path), LocalBackend)}
    write_whole(local)
    for path, content in files.items():
        if path not in local:
            put(content, path)
