"""A pickle module for ``torch.load`` that knows tensors and mmengine's log, and refuses every other name.

PyTorch before 2.6 has ``weights_only=True`` too, but cannot be told what else mmengine writes (see
:mod:`fna_mm.checkpoints.safe_globals`). There :func:`fna_mm.checkpoints.opening.load_checkpoint` gives this module to
``torch.load`` as its ``pickle_module``. A name in a file is looked up in a table, nothing is imported.
"""

import pickle
from _codecs import encode
from collections import OrderedDict
from typing import Any

import torch
from torch import _utils

from fna_mm.checkpoints.safe_globals import mmengine_names

#: Python 2's names for modules, which pickles of protocol 2 and below still use.
_RENAMED = {'__builtin__': 'builtins', 'copy_reg': 'copyreg'}
#: Name in a file → what it stands for. Storages are missing because torch.load itself finds them.
_NAMES: dict[str, Any] = {
    'collections.OrderedDict': OrderedDict,
    '_codecs.encode': encode,  # bytes, as protocol 2 writes them
    'torch.Size': torch.Size,
    'torch.device': torch.device,
    'torch.nn.parameter.Parameter': torch.nn.Parameter,
    **{str(kind): kind for kind in vars(torch).values() if isinstance(kind, torch.dtype)},
    **{f'torch._utils.{name}': getattr(_utils, name)
       for name in ('_rebuild_parameter', '_rebuild_tensor', '_rebuild_tensor_v2')},
    **mmengine_names(),
}


class Unpickler(pickle.Unpickler):
    """Reads a pickle; a name that is not in the table is an error."""

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the file stands for.

        Raises:
            pickle.UnpicklingError: If it is not in the table.
        """
        full = f'{_RENAMED.get(module, module)}.{name}'
        if full not in _NAMES:
            raise pickle.UnpicklingError(f'GLOBAL {full} is neither a tensor nor a part of mmengine\'s log')
        return _NAMES[full]


def load(file: Any, **options: Any) -> Any:
    """Read one pickle, as ``pickle.load`` does.

    Args:
        file (Any): A binary file.
        options: Of ``pickle.Unpickler``.
    """
    return Unpickler(file, **options).load()
