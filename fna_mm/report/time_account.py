"""The time account: how many seconds a search spends on what."""

import time
from collections.abc import Mapping
from typing import Optional

#: Parts of the account in the order of tables and figures.
PARTS = WEIGHTS, ARCHITECTURE, DATA, EVALUATION, OTHER = ('weight steps', 'architecture steps', 'data', 'evaluation',
                                                          'other')


class TimeAccount:
    """The wall-clock seconds of a search by the parts on which they were spent.

    Each call of :meth:`lap` books the time since the call before. Time that is not booked belongs to 'other'.

    Args:
        seconds (Mapping[str, float], optional): Seconds of an interrupted run, by parts. Defaults to None: none.
    """

    def __init__(self, seconds: Optional[Mapping[str, float]] = None) -> None:
        self._seconds = dict(dict.fromkeys((WEIGHTS, ARCHITECTURE, DATA, EVALUATION), 0.), **(seconds or {}))
        self._before = sum(self._seconds.values())
        self._start = self._last = time.perf_counter()

    def lap(self, part: Optional[str] = None) -> float:
        """Book the time since the last call.

        Args:
            part (str, optional): Part on which the time was spent. Defaults to None: the part 'other'.

        Returns:
            float: The seconds since the last call.
        """
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        if part is not None:
            self._seconds[part] += seconds
        return seconds

    def move(self, seconds: float, source: str, target: str) -> None:
        """Move seconds from one part to another.

        Args:
            seconds (float): Number of seconds.
            source (str): Part that loses the seconds.
            target (str): Part that gets the seconds.
        """
        self._seconds[source] -= seconds
        self._seconds[target] += seconds

    def seconds(self) -> dict[str, float]:
        """The seconds of all parts so far; their sum is the whole time."""
        parts = {name: seconds for name, seconds in self._seconds.items() if name != OTHER}
        total = self._before + time.perf_counter() - self._start
        return {name: round(seconds, 3) for name, seconds in
                dict(parts, **{OTHER: max(0., total - sum(parts.values()))}).items()}
