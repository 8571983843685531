"""Where the time of a search goes."""

import time
from collections.abc import Mapping
from typing import Optional

#: Parts of the account, in the order in which they are shown.
PARTS = WEIGHTS, ARCHITECTURE, DATA, EVALUATION, OTHER = ('weight steps', 'architecture steps', 'data', 'evaluation',
                                                          'other')


class TimeAccount:
    """Wall-clock seconds of a search by what they were spent on.

    A stretch of time begins with :meth:`lap` and is booked by the next one; what is booked nowhere is 'other'.

    Args:
        seconds (Mapping[str, float], optional): What an interrupted run had spent. Defaults to None: nothing.
    """

    def __init__(self, seconds: Optional[Mapping[str, float]] = None) -> None:
        self._seconds = dict(dict.fromkeys((WEIGHTS, ARCHITECTURE, DATA, EVALUATION), 0.), **(seconds or {}))
        self._before = sum(self._seconds.values())
        self._start = self._last = time.perf_counter()

    def lap(self, part: Optional[str] = None) -> float:
        """Book the time since the last call.

        Args:
            part (str, optional): What it was spent on. Defaults to None: other things.

        Returns:
            float: The seconds booked.
        """
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        if part is not None:
            self._seconds[part] += seconds
        return seconds

    def move(self, seconds: float, source: str, target: str) -> None:
        """Book seconds from one part to another.

        Args:
            seconds (float): How many.
            source (str): The part that loses them.
            target (str): The part that gets them.
        """
        self._seconds[source] -= seconds
        self._seconds[target] += seconds

    def seconds(self) -> dict[str, float]:
        """All parts up to now; together, the whole time."""
        parts = {name: seconds for name, seconds in self._seconds.items() if name != OTHER}
        total = self._before + time.perf_counter() - self._start
        return {name: round(seconds, 3) for name, seconds in
                dict(parts, **{OTHER: max(0., total - sum(parts.values()))}).items()}
