"""Reading mm's own log files of a work directory, with all its timestamped runs joined."""

import contextlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Optional

from fna_mm.report.time_account import ARCHITECTURE, DATA, EVALUATION, OTHER, WEIGHTS

_TIMESTAMP = re.compile(r'\d{8}_\d{6}')
_LOGGED = re.compile(r'(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) - mmengine - \w+ - ?(.*)')
_PROGRESS = re.compile(r'(?:Epoch|Iter)\((train|val)\)|Saving checkpoint')
#: The last line of an evaluation: iterations so far, iterations in all, and the mean time of one.
_EVALUATED = re.compile(r'(?:Epoch|Iter)\(val\).*\[ *(\d+)/ *(\d+)\].* time: (\d+\.?\d*)')

#: What every line of ``scalars.json`` says of its iterations.
_COUNTS = ('step', 'iter', 'epoch', 'time', 'data_time', 'weight_step_time')
#: Larger numbers are no measurements.
_MOST = 1e30

Scalars = Mapping[str, Any]


def timestamped(work_dir: Path) -> list[Path]:
    """The folders that mm's runners created in a work directory, oldest first."""
    return sorted(path for path in work_dir.iterdir() if path.is_dir() and _TIMESTAMP.fullmatch(path.name))


def is_training(line: Scalars) -> bool:
    """Whether a line of ``scalars.json`` is about training iterations."""
    return 'iter' in line and 'time' in line


def is_evaluation(line: Scalars) -> bool:
    """Whether a line of ``scalars.json`` is about an evaluation."""
    return 'iter' not in line and 'time' in line


def metrics_of(line: Scalars) -> dict[str, float]:
    """The metrics in a line of ``scalars.json`` about an evaluation."""
    return {name: float(value) for name, value in line.items()
            if name not in ('step', 'time', 'data_time') and isinstance(value, (int, float))}


def _is_number(value: Any) -> bool:
    """Whether a value can be drawn; a NaN can, as a gap."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not abs(value) > _MOST


def _readable(line: Mapping[str, Any]) -> Optional[dict[str, Any]]:
    """The numbers and texts of a line of ``scalars.json``; None if what every line has is no number."""
    if any(name in line and not (_is_number(line[name]) and math.isfinite(line[name])) for name in _COUNTS) or (
            is_training(line) and 'step' not in line):
        return None
    return {name: value for name, value in line.items() if isinstance(value, str) or _is_number(value)}


def _objects(path: Path, problems: Optional[list[str]] = None) -> Iterator[dict]:
    """Read the JSON objects in the lines of a file. Other lines, such as an unfinished last one, are skipped."""
    try:
        text = path.read_text(encoding='utf-8', errors='replace')
    except FileNotFoundError:
        return
    for number, line in enumerate(text.splitlines(), 1):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        value = _readable(value) if isinstance(value, dict) else None
        if value is not None:
            yield value
        elif problems is not None:
            problems.append(f'line {number} of {path.parent.parent.name}/{path.parent.name}/{path.name} cannot be read')


def read_scalars(work_dir: Path, problems: Optional[list[str]] = None) -> list[dict]:
    """Read and join the lines of all ``scalars.json``.

    From the first training step of a later run on, its lines replace those of earlier runs.

    Args:
        work_dir (Path): An mm work directory.
        problems (list[str], optional): Gets a sentence for every line that was skipped. Defaults to None.
    """
    joined: list[dict] = []
    for folder in timestamped(work_dir):
        lines = list(_objects(folder / 'vis_data/scalars.json', problems))
        first = next((line['step'] for line in lines if is_training(line)), None)
        if first is not None:
            known = [index for index, line in enumerate(joined) if is_training(line) and line['step'] >= first]
            joined = joined[:known[0]] if known else joined
        joined += lines
    return joined


def read_tests(work_dir: Path) -> list[dict[str, float]]:
    """Read the metrics of every test, oldest first."""
    found = (metrics_of(values) for folder in timestamped(work_dir)
             for values in _objects(folder / f'{folder.name}.json'))
    return [metrics for metrics in found if metrics]


@dataclass(frozen=True)
class LogText:
    """Facts that only the text of the logs contains.

    Args:
        seconds (float): Seconds from the start of each run to its last iteration, evaluation or checkpoint.
        evaluation (float): Seconds of evaluations during training.
        processes (int): Number of processes of the training.
        device (str): ``'GPU'``, ``'CPU'``, or ``''`` if the log does not name the device.
    """

    seconds: float
    evaluation: float
    processes: int
    device: str


def read_log(work_dir: Path) -> LogText:
    """Read the ``.log`` files of a work directory."""
    total, evaluation, processes, device = 0., 0., 1, ''
    for folder in timestamped(work_dir):
        try:
            lines = (folder / f'{folder.name}.log').read_text(encoding='utf-8', errors='replace').splitlines()
        except FileNotFoundError:
            continue
        times: list[datetime] = []
        for line in lines:
            logged = _LOGGED.match(line)
            if logged and (not times or _PROGRESS.match(logged[2])):
                with contextlib.suppress(ValueError):  # a line that was cut: no such day
                    times.append(datetime.strptime(logged[1], '%Y/%m/%d %H:%M:%S'))
            evaluated = _EVALUATED.match(logged[2]) if logged else None
            if evaluated and evaluated[1] == evaluated[2]:
                evaluation += int(evaluated[1]) * float(evaluated[3])
            words = line.split()
            if words[:2] == ['GPU', 'number:'] and words[2:] and words[2].isdecimal():
                processes = max(1, int(words[2]))
            elif words[:2] == ['CUDA', 'available:'] and words[2:]:
                device = 'GPU' if words[2] == 'True' else 'CPU'
        total += (times[-1] - times[0]).total_seconds() if times else 0.
    return LogText(total, evaluation, processes, device)


def account(scalars: Sequence[Scalars], log: LogText) -> dict[str, float]:
    """Compute the time account of a training, or of a search without one, from the mean times that mm logs.

    Args:
        scalars (Sequence[Mapping]): The joined lines of ``scalars.json``.
        log (LogText): Facts from the text of the logs.
    """
    parts = dict.fromkeys((WEIGHTS, ARCHITECTURE, DATA), 0.)
    before = 0
    for line in filter(is_training, scalars):
        iterations, before = max(0, line['step'] - before), line['step']
        data = line.get('data_time', 0.)
        search = max(0., line['time'] - data - line['weight_step_time']) \
            if 'arch_loss' in line and 'weight_step_time' in line else 0.
        for part, seconds in ((DATA, data), (ARCHITECTURE, search), (WEIGHTS, line['time'] - data - search)):
            parts[part] += iterations * seconds
    parts[EVALUATION] = log.evaluation
    return dict(parts, **{OTHER: max(0., log.seconds - sum(parts.values()))})
