"""Run the trainings of an ablation, one after the other or several at a time."""

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import click

from tools.ablation.ablation_run import FOLDER, LOG, PROGRESS, RESULT, AblationRun, read_json

#: Where ``tools`` is found from.
ROOT = str(Path(__file__).resolve().parents[2])
_POLL = .2
#: Seconds between two lines of progress where no line can be rewritten.
_LINE_EVERY = 60.
_ERROR_LINES = 5


class _Screen:
    """A line for each run that ended, and below them one that changes."""

    def __init__(self, total: int) -> None:
        self.total, self.ended = total, 0
        self._start = self._last = time.monotonic()
        self._rewrites = sys.stdout.isatty()
        self._shown = 0

    def _print(self, text: str, end: str) -> None:
        pad = ' ' * (self._shown - len(text))
        click.echo(f'{chr(13) if self._rewrites else ""}{text}{pad}{end}', nl=False)
        self._shown = len(text) if not end else 0

    def end(self, run: AblationRun, outcome: str) -> None:
        self.ended += 1
        elapsed = (time.monotonic() - self._start) / 60
        self._print(f'[{self.ended}/{self.total}] seed {run.seed} {run.name}: {outcome} '
                    f'({elapsed:.1f} min elapsed)', '\n')

    def due(self) -> bool:
        """Whether it is time for the next line of progress."""
        return time.monotonic() - self._last >= (1 if self._rewrites else _LINE_EVERY)

    def running(self, text: str, left: Optional[float]) -> None:
        self._last = now = time.monotonic()
        about = 'time left not known yet' if left is None else f'about {left:.1f} min left'
        self._print(f'   {text}; {(now - self._start) / 60:.1f} min elapsed, {about}', '' if self._rewrites else '\n')


def _minutes_left(runs: Sequence[AblationRun], open_runs: Sequence[AblationRun], jobs: int) -> Optional[float]:
    """From what runs of the same kind took, or will take at the speed that they have so far."""
    spent = dict.fromkeys(runs, 0.0)
    whole: dict[bool, list[float]] = {True: [], False: []}
    own = {}
    for run in runs:
        result, progress = run.result(), read_json(run.work_dir / PROGRESS)
        if result:
            whole[run.search].append(result['minutes'])
        elif progress and progress.get('done'):
            spent[run], own[run] = progress['seconds'] / 60, progress['seconds'] / 60 / progress['done']
            whole[run.search].append(own[run])
    if not any(whole.values()):
        return None
    means = {kind: statistics.mean(known or whole[not kind]) for kind, known in whole.items()}
    return sum(max(0., own.get(run, means[run.search]) - spent[run]) for run in open_runs if not run.same_as) / jobs


def _start(run: AblationRun, jobs: int) -> subprocess.Popen:
    run.work_dir.mkdir(parents=True, exist_ok=True)
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    environment = {'OMP_NUM_THREADS': threads, **os.environ, FOLDER: str(run.work_dir.parent),
                   'PYTHONPATH': os.pathsep.join(filter(None, [ROOT, os.environ.get('PYTHONPATH')]))}
    with (run.work_dir / LOG).open('a') as log:
        return subprocess.Popen([sys.executable, '-m', 'tools.ablation.training', str(run.config)], stdout=log,
                                stderr=subprocess.STDOUT, env=environment)


def _outcome(run: AblationRun, metric: Optional[str]) -> str:
    result, value = run.result() or {}, run.value(metric)
    measured = f'{value[0]} {value[1]:.4g}, ' if value else ''
    return f'{measured}{result["minutes"]:.1f} min'


def _error(run: AblationRun, code: int) -> str:
    lines = [line for line in (run.work_dir / LOG).read_text(errors='replace').splitlines() if line.strip()]
    how = f'killed by signal {-code}' if code < 0 else f'exit code {code}'
    return '\n      '.join([f'FAILED, {how}, see {run.work_dir / LOG}', *lines[-_ERROR_LINES:]])


def carry_out(runs: Sequence[AblationRun], jobs: int = 1, metric: Optional[str] = None) -> list[AblationRun]:
    """Train what is not finished, and say how it goes.

    Args:
        runs (Sequence[AblationRun]): The runs; each waits for those of its seed that it needs.
        jobs (int): How many run at a time. Defaults to 1.
        metric (str, optional): What is shown of a result. Defaults to the evaluator's first.

    Returns:
        list: The runs that failed, and those that were skipped because of them.
    """
    screen, failed, waiting = _Screen(len(runs)), [], []
    for run in runs:
        if run.result():
            screen.end(run, f'finished earlier, {_outcome(run, metric)}')
        else:
            waiting.append(run)
    processes: dict[AblationRun, subprocess.Popen] = {}
    try:
        while waiting or processes:
            for run, process in list(processes.items()):
                if process.poll() is None:
                    continue
                del processes[run]
                if not run.result():
                    failed.append(run)
                    screen.end(run, _error(run, process.returncode))
                else:
                    screen.end(run, _outcome(run, metric))
            for run in list(waiting):
                before = {other.name: other for other in runs if other.seed == run.seed
                          and other.name in (*run.needs, run.same_as)}
                lost = [name for name, other in before.items() if other in failed]
                if lost:
                    waiting.remove(run)
                    failed.append(run)
                    screen.end(run, f'SKIPPED, it needs {", ".join(lost)}')
                elif not all(other.result() and other not in processes for other in before.values()):
                    continue
                elif run.same_as:
                    waiting.remove(run)
                    run.work_dir.mkdir(parents=True, exist_ok=True)
                    shutil.copy(before[run.same_as].work_dir / RESULT, run.work_dir / RESULT)
                    screen.end(run, f'the same training as {run.same_as}, {_outcome(run, metric)}')
                elif len(processes) < jobs:
                    waiting.remove(run)
                    processes[run] = _start(run, jobs)
            if screen.due():  # what it shows is read from many files
                screen.running(', '.join(_share(run) for run in processes),
                               _minutes_left(runs, [*processes, *waiting], jobs))
            time.sleep(_POLL)
    finally:
        for process in processes.values():
            process.terminate()
            process.wait()
    return failed


def _share(run: AblationRun) -> str:
    done = (read_json(run.work_dir / PROGRESS) or {}).get('done', 0)
    return f'seed {run.seed} {run.name} {done:.0%}'
