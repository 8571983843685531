"""Writing several files together: if an error occurs before all are complete, none of them is written."""

import io
import os
from collections.abc import Mapping
from typing import Any

import torch


def checkpoint_bytes(checkpoint: Any) -> bytes:
    """The bytes that ``torch.save`` writes for a checkpoint."""
    content = io.BytesIO()
    torch.save(checkpoint, content)
    return content.getvalue()


def write_whole(files: Mapping[str, bytes]) -> None:
    """Write all files or none. An existing file is replaced only by a complete new one; folders are created.

    Args:
        files (Mapping[str, bytes]): Local path → content.

    Raises:
        ValueError: If a path is a folder.
        OSError: If a file cannot be written.
    """
    for path in files:
        if os.path.isdir(path):
            raise ValueError(f'{path!r} cannot be written: it is a folder')
    written: dict[str, str] = {}
    try:
        for path, content in files.items():
            os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
            written[path] = f'{path}.{os.getpid()}.tmp'
            with open(written[path], 'wb') as file:
                file.write(content)
        for path, temporary in written.items():
            os.replace(temporary, path)
    finally:
        for temporary in written.values():
            if os.path.exists(temporary):
                os.remove(temporary)
