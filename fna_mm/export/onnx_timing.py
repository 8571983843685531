"""Milliseconds of exported networks in ONNX Runtime, side by side."""

import statistics
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

_WARM_UP, _REPEATS = 3, 20


def open_session(content: bytes, threads: int = 1) -> Any:
    """Open an ONNX file on the CPU.

    Args:
        content (bytes): The file.
        threads (int): Threads of one operator. Defaults to 1.
    """
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])


def milliseconds(sessions: Mapping[str, Any], image: np.ndarray) -> dict[str, float]:
    """The median time of every network on one image. They take turns, so that all see the same machine.

    Args:
        sessions (Mapping): Name → session.
        image (np.ndarray): (1, 3, H, W).
    """
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for repeat in range(_WARM_UP + _REPEATS):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run(None, {session.get_inputs()[0].name: image})
            if repeat >= _WARM_UP:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}
