"""Running the steps of many runs, some at a time, so that a stopped command goes on."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

from fna_mm.checkpoints.folder_lock import FolderLock
from tools.evidence.plan import TRAINED, Job
from tools.evidence.protocol import FOLDER, read_minutes
from tools.results.adapted_runs import ROOT, TIMES

#: CPU minutes of the steps that are not those of adapted_runs.
MINUTES = 'evidence_minutes.json'


class QueuedRun(NamedTuple):
    """A training and all that is made of it.

    Args:
        folder (Path): Its folder.
        jobs (tuple[Job, ...]): Its steps, in their order.
    """

    folder: Path
    jobs: tuple[Job, ...]

    def minutes_of(self, name: str) -> Path:
        """The file that has the minutes of a step."""
        return self.folder / (TIMES if name == TRAINED else MINUTES)

    def done(self) -> set[str]:
        """Names of the steps that are done."""
        known = set(read_minutes(self.folder / MINUTES))
        return known | ({TRAINED} & set(read_minutes(self.folder / TIMES)))


class WorkQueue:
    """Does what is not done yet.

    Args:
        runs (Sequence[QueuedRun]): The runs; of those that can be started, the steps of the first run come first.
        jobs (int): Steps at a time.
    """

    def __init__(self, runs: Sequence[QueuedRun], jobs: int) -> None:
        self._runs, self._jobs = runs, jobs
        self._lock = threading.Lock()
        self._done = [run.done() for run in runs]
        self._started: set[tuple[int, str]] = set()
        self.failed: list[str] = []

    def _ready(self) -> list[tuple[int, Job]]:
        return [(number, job) for number, run in enumerate(self._runs) for job in run.jobs
                if job.name not in self._done[number] and (number, job.name) not in self._started
                and set(job.needs) <= self._done[number]]

    def work(self) -> bool:
        """Do everything; a step that fails stops those alone that need it.

        Returns:
            bool: Whether all is done.

        Raises:
            ValueError: If another queue works on one of the runs.
        """
        locks = [FolderLock(str(run.folder)) for run in self._runs]
        try:
            self._work()
        finally:
            for lock in locks:
                lock.release()
        return all({job.name for job in run.jobs} <= done for run, done in zip(self._runs, self._done))

    def _work(self) -> None:
        with ThreadPoolExecutor(self._jobs) as pool:
            running: dict[Future[bool], tuple[int, Job]] = {}
            while True:
                for number, job in self._ready()[:self._jobs - len(running)]:
                    self._started.add((number, job.name))
                    running[pool.submit(self._do, self._runs[number], job)] = number, job
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    number, job = running.pop(future)
                    if future.result():
                        self._done[number].add(job.name)
                    else:
                        self.failed.append(f'{self._runs[number].folder}: {job.name}')

    def _do(self, run: QueuedRun, job: Job) -> bool:
        log = run.folder / FOLDER / 'logs' / f'{job.name.replace("/", "_")}.log'
        log.parent.mkdir(parents=True, exist_ok=True)
        print(f'{run.folder.parent.name} {run.folder.name}: {job.name}', flush=True)
        with open(log, 'a') as file:
            try:
                command = job.command()
            except (OSError, ValueError) as error:
                file.write(f'{error}\n')
                command = []
            code, minutes = _call(command, file.fileno()) if command else (1, 0.)
        if code:
            print(f'{run.folder.parent.name} {run.folder.name}: {job.name} failed, see {log}', file=sys.stderr,
                  flush=True)
            return False
        with self._lock:
            path = run.minutes_of(job.name)
            times = dict(read_minutes(path), **{job.name: round(minutes, 2)})
            path.with_suffix('.new').write_text(json.dumps(times, indent=1))
            path.with_suffix('.new').replace(path)
        return True


def _call(command: Sequence[str], output: int) -> tuple[int, float]:
    """Run a command; return its exit status, and its CPU minutes with those of the processes that it waited for."""
    words = [sys.executable if word == 'python' and not place else word for place, word in enumerate(command)]
    with subprocess.Popen(words, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, (usage.ru_utime + usage.ru_stime) / 60
