"""Making mmengine's own checkpoints readable under torch's safe loading.

torch ≥ 2.6 opens checkpoints with ``weights_only=True``, and refuses what mmengine 0.10 writes beside
the weights: the history buffers of its message hub, with numpy arrays and scalars in them. This module
allows exactly these types and nothing more, so a checkpoint still cannot run code.
"""

from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

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


def allow_mmengine_checkpoints() -> None:
    """Register the allowed types with torch; on a torch without safe loading, do nothing."""
    if not hasattr(torch.serialization, 'add_safe_globals'):
        return
    reconstruct: Any = np.zeros(1).__reduce__()[0]
    scalar: Any = np.float64(0).__reduce__()[0]
    dtypes = {type(np.dtype(kind)) for kind in ('float64', 'float32', 'float16', 'int64', 'int32', 'uint8', 'bool')}
    # Older versions of numpy write the former name of numpy's core.
    former: list[Any] = [(function, f'numpy.core.multiarray.{function.__name__}') for function in (reconstruct, scalar)]
    torch.serialization.add_safe_globals([
        HistoryBuffer, np.ndarray, np.dtype, reconstruct, scalar, *dtypes, *former,
        (history_buffer_statistic, 'builtins.getattr')])
