"""Let mmengine's own checkpoints open under torch's safe loading.

torch ≥ 2.6 opens checkpoints with ``weights_only=True``, and refuses what mmengine 0.10 writes beside
the weights: its message hub's history buffers, with numpy arrays and scalars in them. Named here is
exactly that and nothing more, so a checkpoint still cannot bring code of its own.
"""

from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

_STATISTICS = ('min', 'max', 'current', 'mean')


def history_buffer_statistic(owner: Any, name: str) -> Any:
    """What ``builtins.getattr`` means inside a checkpoint: a statistic of mmengine's HistoryBuffer.

    Raises:
        AttributeError: If anything else is asked for.
    """
    if owner is HistoryBuffer and name in _STATISTICS:
        return getattr(owner, name)
    raise AttributeError(f'a checkpoint may name only the statistics {_STATISTICS} of HistoryBuffer, '
                         f'not {name!r} of {owner!r}')


def allow_mmengine_checkpoints() -> None:
    """Register the names with torch; does nothing on a torch without safe loading."""
    if not hasattr(torch.serialization, 'add_safe_globals'):
        return
    reconstruct: Any = np.zeros(1).__reduce__()[0]
    scalar: Any = np.float64(0).__reduce__()[0]
    dtypes = {type(np.dtype(kind)) for kind in ('float64', 'float32', 'float16', 'int64', 'int32', 'uint8', 'bool')}
    # Older numpy writes its core's former name.
    former: list[Any] = [(function, f'numpy.core.multiarray.{function.__name__}') for function in (reconstruct, scalar)]
    torch.serialization.add_safe_globals([
        HistoryBuffer, np.ndarray, np.dtype, reconstruct, scalar, *dtypes, *former,
        (history_buffer_statistic, 'builtins.getattr')])
