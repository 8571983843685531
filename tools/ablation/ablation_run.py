"""One training of an ablation: where it lies and what it left."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from mmengine.config import Config

from fna_mm.checkpoints.whole_files import write_whole
from fna_mm.configs import SUPERNET
from fna_mm.sections import find_sections

#: Configs find each other's results in the folder that this environment variable names.
FOLDER = 'FNA_ABLATION_DIR'
#: Files in a run's work directory.
RESULT, PROGRESS, LOG = 'result.json', 'progress.json', 'run.log'


@dataclass(frozen=True)
class AblationRun:
    """One training: a config with a seed.

    Args:
        name (str): The config's name without folder and suffix.
        seed (int): Of weights, order of data and sampling.
        work_dir (Path): Where it trains. Its complete config lies beside it.
        search (bool): Whether its model has a supernet; such a run is not tested.
        metric (str, optional): What its evaluator is asked for first, if the config says so.
        needs (tuple[str, ...]): Runs of the same seed whose files the config names.
        same_as (str, optional): An earlier run of the same seed that is the same training.
    """

    name: str
    seed: int
    work_dir: Path
    search: bool
    metric: Optional[str]
    needs: tuple[str, ...]
    same_as: Optional[str]

    @property
    def config(self) -> Path:
        """The complete config."""
        return self.work_dir.with_name(f'{self.name}.py')

    def result(self) -> Optional[dict]:
        """What the run left when it finished: metrics, parameters, multiply-adds, minutes."""
        return read_json(self.work_dir / RESULT)

    def value(self, metric: Optional[str] = None) -> Optional[tuple[str, float]]:
        """Name and value of a metric; None without a result or in a search.

        Args:
            metric (str, optional): Its name. Defaults to the evaluator's first.

        Raises:
            ValueError: If the run has metrics, but not this one.
        """
        metrics = (self.result() or {}).get('metrics')
        if not metrics:
            return None
        name = metric or self.metric or next(iter(metrics))
        if name not in metrics:
            raise ValueError(f'{self.name} has no metric {name!r}: choose one of {", ".join(metrics)}')
        return name, metrics[name]


def is_search(cfg: Config) -> bool:
    """Whether a config's model has a supernet."""
    return any(find_sections(cfg.model, SUPERNET))


def read_json(path: Path) -> Optional[dict]:
    """What a file holds; None if there is no such file."""
    return json.loads(path.read_text()) if path.is_file() else None


def write_json(path: Path, content: dict) -> None:
    """Write a file, whole or not at all, whenever the process is killed."""
    write_whole({str(path): json.dumps(content).encode()})
