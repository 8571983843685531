"""Making mmengine's own checkpoints readable under torch's safe loading.

torch ≥ 2.6 opens checkpoints with ``weights_only=True``, and refuses what mmengine 0.10 writes beside
the weights: the history buffers of its message hub, with numpy arrays and scalars in them. This module
allows exactly these types and nothing more, so a checkpoint still cannot run code.
"""

from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.utils import digit_version

#: Whether ``torch.load`` is safe by itself and takes names to let through. Older versions take only classes, or
#: none, and let TorchScript archives run; :mod:`fna_mm.checkpoints.restricted_pickle` reads our files there.
TORCH_LOADS_SAFELY = digit_version(torch.__version__) >= digit_version('2.6.0')
_STATISTICS = ('min', 'max', 'current', 'mean')


def history_buffer_statistic(owner: Any, name: str) -> Any:
    """Replacement of ``builtins.getattr`` inside a checkpoint; it gives statistics of mmengine's HistoryBuffer.

    Raises:
        AttributeError: If anything else is asked for.
    """
    if owner is HistoryBuffer and name in _STATISTICS:
        return getattr(owner, name)
    raise AttributeError(f'a checkpoint may name only the statistics {_STATISTICS} of HistoryBuffer, '
                         f'not {name!r} of {owner!r}')


def mmengine_names() -> dict[str, Any]:
    """The names in mmengine's checkpoints that are no tensors, and what they stand for."""
    # numpy 2 renamed its core; files of either numpy open under either.
    functions = [np.zeros(1).__reduce__()[0], np.float64(0).__reduce__()[0]]
    return {
        'mmengine.logging.history_buffer.HistoryBuffer': HistoryBuffer,
        'builtins.getattr': history_buffer_statistic,
        'numpy.ndarray': np.ndarray,
        'numpy.dtype': np.dtype,
        **{f'numpy.{core}.multiarray.{function.__name__}': function
           for core in ('core', '_core') for function in functions}}


def allow_mmengine_checkpoints() -> None:
    """Register these names with torch; on a torch before 2.6, do nothing."""
    if not TORCH_LOADS_SAFELY:
        return
    # What a dtype makes of itself has a class of its own, which torch looks up as well.
    dtypes = {type(np.dtype(kind)) for kind in ('float64', 'float32', 'float16', 'int64', 'int32', 'uint8', 'bool')}
    torch.serialization.add_safe_globals([*dtypes, *((what, name) for name, what in mmengine_names().items())])
