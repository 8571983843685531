"""Opening the file of a checkpoint from any place. Code that the file may contain is never executed."""

import os
import pickle
import pickletools
import re
import urllib.parse
import zipfile
from collections.abc import Sequence
from typing import Any

import torch

from fna_mm.checkpoints import restricted_pickle
from fna_mm.checkpoints.safe_globals import TORCH_LOADS_SAFELY, allow_mmengine_checkpoints
from fna_mm.checkpoints.whole_files import check_regular

_SAFETENSORS = '.safetensors'
_ZIP_START, _PICKLE_START = b'PK\x03\x04', b'\x80'
#: Older versions of torch.save wrote four pickles (the last one names the tensors), then the numbers, and no zip
#: archive.
_LEGACY_PICKLES = 4


class _Refused(Exception):
    """A file that is not opened, because it would take more memory than its size says."""


def resolve_checkpoint(checkpoint: str) -> str:
    """Replace an ``open-mmlab://`` or ``torchvision://`` name by its URL; other paths stay as they are.

    Raises:
        ValueError: If the name is not in mmengine's or torchvision's list.
    """
    from mmengine.runner.checkpoint import get_external_models, get_torchvision_models
    for prefix, models in (('open-mmlab://', get_external_models), ('torchvision://', get_torchvision_models)):
        if checkpoint.startswith(prefix):
            known, name = models(), checkpoint[len(prefix):]
            if name not in known:
                near = sorted(key for key in known if 'mobilenet' in key)
                raise ValueError(f'checkpoint={checkpoint!r}: {prefix} has no {name!r}; its MobileNets are {near}')
            return known[name]
    return checkpoint


def load_checkpoint(checkpoint: str) -> Any:
    """Open a checkpoint on the CPU.

    Args:
        checkpoint (str): A path (any mmengine file backend), ``https://``, ``open-mmlab://`` or
            ``torchvision://``. The file was written by ``torch.save``, or is a safetensors file, which is
            recognised by its content or suffix.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If it is a safetensors file and that package is not installed.
        ValueError: If the file is no readable checkpoint, holds more than tensors, or more than its size allows.
    """
    from mmengine.fileio import exists, get_local_path, isdir
    location = resolve_checkpoint(checkpoint)
    remote = location.startswith(('http://', 'https://'))
    if not remote and not exists(location):
        raise FileNotFoundError(f'checkpoint={checkpoint!r}: there is no such file (seen from {os.getcwd()}); give '
                                'the path of a MobileNetV2 checkpoint, or open-mmlab://mmdet/mobilenet_v2')
    if not remote and isdir(location):
        raise ValueError(f'checkpoint={checkpoint!r} is no readable checkpoint: it is a folder')
    check_regular(location)
    if remote and not location.endswith(_SAFETENSORS):
        location = _fetched(location)
    with get_local_path(location) as path:
        try:
            if location.endswith(_SAFETENSORS) or _is_safetensors(path):
                return _load_safetensors(path, checkpoint)
            members = _members(path)
            if _is_torchscript(members):
                # torch before 2.6 runs it, whatever it is told.
                raise pickle.UnpicklingError('GLOBAL torch.jit.ScriptModule')
            _check_members(members, os.path.getsize(path))
            loaded = _load(path)
            _check_tensors(loaded, os.path.getsize(path))
            return loaded
        except ImportError:
            raise
        except _Refused as error:
            raise ValueError(f'checkpoint={checkpoint!r} is no readable checkpoint: {error}') from None
        except Exception as error:  # torch raises many types for damaged files: OSError, AssertionError, …
            raise ValueError(f'checkpoint={checkpoint!r} is no readable checkpoint: {_diagnosis(path, error)}'
                             ) from error


def _fetched(url: str) -> str:
    """The path of a file in torch's cache, where it is downloaded to unless it is there."""
    folder = os.path.join(torch.hub.get_dir(), 'checkpoints')
    path = os.path.join(folder, os.path.basename(urllib.parse.urlparse(url).path))
    if not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
        torch.hub.download_url_to_file(url, path)
    return path


def _load(path: Any) -> Any:
    """What torch.save has written, with tensors and mmengine's log alone."""
    if TORCH_LOADS_SAFELY:
        allow_mmengine_checkpoints()  # every time: an mmengine that lets through the same names takes them back
        return torch.load(path, map_location='cpu', weights_only=True)
    return torch.load(path, map_location='cpu', pickle_module=restricted_pickle, weights_only=False)


def _members(path: Any) -> list[zipfile.ZipInfo]:
    """The members of a zip archive; none if it is damaged, or another file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    except Exception:  # zipfile raises many types for damaged archives: BadZipFile, NotImplementedError, OSError, …
        return []


def _check_members(members: Sequence[zipfile.ZipInfo], size: int) -> None:
    """Check that the members of a zip archive are as large as they say: ``torch.save`` does not compress.

    Args:
        members (Sequence[zipfile.ZipInfo]): The members.
        size (int): Size of the file in bytes.
    """
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise _Refused('it is a zip archive, but none that PyTorch wrote: its members are compressed')
    held = sum(member.file_size for member in members)
    if held > size:
        raise _Refused(f'its members would have {held:,} bytes, the file has {size:,}')


def _check_tensors(loaded: Any, size: int) -> None:
    """Check that no tensor is larger than its file, which one with a stride of 0 can be.

    Args:
        loaded (Any): What was read.
        size (int): Size of the file in bytes.
    """
    waiting, seen = [loaded], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            if value.numel() * value.element_size() > size:
                raise _Refused(f'a tensor of shape {tuple(value.shape)} in it would have '
                               f'{value.numel() * value.element_size():,} bytes, the file has {size:,}')
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            waiting += value.values() if isinstance(value, dict) else value


def _is_torchscript(members: Sequence[zipfile.ZipInfo]) -> bool:
    """Whether an archive holds a compiled module. The name of its constants is how torch tells, too."""
    return any(member.filename.endswith('/constants.pkl') for member in members)


def _is_safetensors(path: Any) -> bool:
    """Whether a file begins like a safetensors file: with the length of a JSON header, then that header."""
    with open(path, 'rb') as file:
        start = file.read(9)
    return start[8:] == b'{' and int.from_bytes(start[:8], 'little') <= os.path.getsize(path)


def _load_safetensors(path: Any, checkpoint: str) -> dict[str, torch.Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise ImportError(f'checkpoint={checkpoint!r} is a safetensors file, and the package that reads these is not '
                          'installed: pip install safetensors') from error
    return load_file(path)


def _first_line(error: Exception) -> str:
    return f'{type(error).__name__}: {next(iter(str(error).splitlines()), "")[:200]}'


def _is_cut_pickle(path: Any) -> bool:
    """Whether a file of pickles ends in the middle of one. The pickles are parsed, not executed."""
    with open(path, 'rb') as file:
        for _ in range(_LEGACY_PICKLES):
            try:
                for _ in pickletools.genops(file):
                    pass
            except Exception:  # pickletools raises many types for damaged files
                return True
            if file.tell() == os.path.getsize(path):
                return False  # the file is a whole pickle, but not one of torch.save
    return False


def _diagnosis(path: Any, error: Exception) -> str:
    """Say what is wrong with a file that could not be opened."""
    with open(path, 'rb') as file:
        start = file.read(16)
    if not start:
        return 'it is empty'
    truncated = f'it is truncated or damaged ({_first_line(error)})'
    if type(error).__name__ == 'SafetensorError':
        return f'{truncated}, or no safetensors file'
    if start.startswith(_ZIP_START):
        members = _members(path)
        if not members:
            return truncated
        if not any(member.filename.endswith('/data.pkl') for member in members):
            return 'it is a zip archive, but none that PyTorch wrote'
    elif start.startswith(_PICKLE_START) and (isinstance(error, EOFError) or 'unexpected EOF' in str(error)
                                              or _is_cut_pickle(path)):
        return truncated
    if isinstance(error, pickle.UnpicklingError):
        named = re.search(r'(?:GLOBAL|class) ([\w.]+\w)', str(error))
        if named or start.startswith(_PICKLE_START):
            what = f'opening it would run code, {named[1]}' if named else 'it is a pickle that may run code'
            return (f'it holds more than tensors: {what}. That was refused, nothing of it was run; '
                    'save the weights alone, torch.save(model.state_dict(), …)')
    return f'it is no checkpoint of PyTorch; its first bytes are {start!r} ({_first_line(error)})'
