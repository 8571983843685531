"""Reading a search or a training from its work directory."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from fna_mm.architecture import Architecture
from fna_mm.checks import check_input_shape
from fna_mm.configs import CHILD, SUPERNET, package_of
from fna_mm.cost.complexity import Complexity, count_config
from fna_mm.report.history import FOLDER, SearchState, history_path, read_history
from fna_mm.report.mm_logs import (
    account,
    is_evaluation,
    is_training,
    metrics_of,
    read_log,
    read_scalars,
    read_tests,
    timestamped,
)
from fna_mm.search_space import SearchSpace
from fna_mm.sections import find_sections

#: Letters of an error that are shown.
_MOST_LETTERS = 300
#: What an adaptation writes into its work directory.
ADAPTATION = 'front.json'
#: Depth to which work directories are looked for in a folder: a demo's folder holds that of a search, this a child's.
_DEPTH = 2
#: Metrics that stand for a result, in this order. If none of them is there, the evaluator's first metric does.
_MAIN_METRICS = ('coco/bbox_mAP', 'coco/segm_mAP', 'mIoU', 'pascal_voc/mAP', 'accuracy/top1')


def main_metric(metrics: Mapping[str, float]) -> str:
    """The name of the metric that stands for a result; an empty text if there is none.

    Args:
        metrics (Mapping[str, float]): Name → value.
    """
    return next((name for name in (*_MAIN_METRICS, *metrics) if name in metrics), '')


@dataclass(frozen=True)
class Run:
    """A search or a training in one work directory.

    Args:
        path (str): The work directory.
        name (str): Name of the run in tables and figures.
        searched (bool): Whether the run is a search.
        scalars (Sequence[Mapping]): The joined lines of mm's ``scalars.json``.
        tests (Sequence[Mapping]): The metrics of every test, oldest first.
        history (Sequence[SearchState]): The states of the search by rising step.
        config (Config, optional): The config of the run.
        seconds (Mapping[str, float]): Wall-clock time by the names of ``TimeAccount``.
        processes (int): Number of processes of the training.
        device (str): ``'GPU'``, ``'CPU'``, or ``''`` if it is not known.
        architecture (Architecture, optional): Architecture of a training's backbone, or of a search's best path.
        complexity (Complexity, optional): Cost of the whole model of a training. Defaults to None.
        uncounted (str): The reason if there is no ``complexity``. Defaults to ''.
        problems (Sequence[str]): What of the work directory could not be read. Defaults to ().
    """

    path: str
    name: str
    searched: bool
    scalars: Sequence[Mapping[str, Any]]
    tests: Sequence[Mapping[str, float]]
    history: Sequence[SearchState]
    config: Optional[Config] = field(repr=False)
    seconds: Mapping[str, float]
    processes: int
    device: str
    architecture: Optional[Architecture]
    complexity: Optional[Complexity] = None
    uncounted: str = ''
    problems: Sequence[str] = ()

    @property
    def total_seconds(self) -> float:
        """Wall-clock time of the training."""
        return sum(self.seconds.values())

    @property
    def device_hours(self) -> float:
        """Hours of the training, summed over all processes."""
        return self.total_seconds * self.processes / 3600

    @property
    def validation(self) -> dict[str, float]:
        """The metrics of the last evaluation during training; empty if there was none."""
        lines = [line for line in self.scalars if is_evaluation(line)]
        return metrics_of(lines[-1]) if lines else {}

    @property
    def remapped(self) -> bool:
        """Whether the training started from remapped parameters."""
        return self.config is not None and any(
            list(find_sections(self.config._cfg_dict, f'ParameterRemapping{kind}')) for kind in ('', 'Hook'))

    @property
    def loaded(self) -> bool:
        """Whether the training started from the weights of a checkpoint, such as that of ``fna child``."""
        return self.config is not None and bool(self.config.get('load_from'))

    @property
    def package(self) -> str:
        """The name of the config's package for ``mim train``."""
        scope = self.config.get('default_scope', 'mmengine') if self.config is not None else 'mmengine'
        return package_of(scope)

    @property
    def checkpoint(self) -> str:
        """The path of the last checkpoint; empty if there is none."""
        try:
            written = Path((Path(self.path) / 'last_checkpoint').read_text().strip())
        except FileNotFoundError:
            return ''
        here = Path(self.path) / written.name  # the folder may have been moved
        return str(here if here.is_file() else written)

    @property
    def progress(self) -> tuple[int, int]:
        """Iterations or epochs so far, and their number in all; 0 if it is not known."""
        if self.history and self.history[-1].max_steps:
            return self.history[-1].step, self.history[-1].max_steps
        loop = self.config.get('train_cfg') or {} if self.config is not None else {}
        lines = [line for line in self.scalars if is_training(line)]
        unit, total = ('epoch', loop.get('max_epochs')) if loop.get('max_epochs') else ('iter', loop.get('max_iters'))
        return (int(lines[-1].get(unit, 0)) if lines else 0), int(total or 0)

    @property
    def finished(self) -> bool:
        """Whether the run is finished: its last iteration is logged, or it was tested."""
        made, total = self.progress
        return bool(self.tests) or 0 < total <= made

    def scores(self, metric: Optional[str] = None) -> Optional[tuple[str, float, str]]:
        """(metric, value, split) of the last test, or of the last validation if there was no test.

        Args:
            metric (str, optional): Name of the metric. Defaults to None: the usual one of the run's task.
        """
        return next(((name, value, split) for split in ('test', 'validation')
                     for name, value in self.score_on(split, metric)), None)

    def score_on(self, split: str, metric: Optional[str] = None) -> list[tuple[str, float]]:
        """The metric's (name, value) in the last evaluation on one split; empty if there was none.

        Args:
            split (str): ``'test'`` or ``'validation'``.
            metric (str, optional): Name of the metric. Defaults to None: the usual one of the run's task.
        """
        metrics = self.validation if split == 'validation' else self.tests[-1] if self.tests else {}
        name = metric or main_metric(metrics)
        return [(name, metrics[name])] if name in metrics else []


def _input_shape(config: Optional[Config]) -> Optional[tuple[int, int]]:
    """The input size (height, width) at which a config's MAdds are counted."""
    if config is None:
        return None
    shapes = [section.get('input_shape') for section in find_sections(config.get('custom_hooks'), 'MAddsCost')]
    shape = next((shape for shape in (config.get('input_shape'), *shapes) if shape), None)
    return None if shape is None else check_input_shape(tuple(shape))


def count_shape(run: Run) -> Optional[tuple[int, int]]:
    """The input size (height, width) at which MAdds are counted, from the config of a run; None if it has no legal one.
    """
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        return _input_shape(run.config)
    return None


def _only(config: Optional[Config], kind: str) -> Optional[Any]:
    sections = list(find_sections(config.get('model'), kind)) if config is not None else []
    return sections[0] if len(sections) == 1 else None


def _config(folder: Path, problems: list[str]) -> Optional[Config]:
    """The config that the newest run saved; None if there is no readable one."""
    for run in reversed(timestamped(folder)):
        path = run / 'vis_data/config.py'
        if path.is_file():
            try:
                return Config.fromfile(str(path), import_custom_modules=False)
            except (Exception, SystemExit) as error:  # a config is code, and may raise anything
                problems.append(f'the config {run.name}/vis_data/config.py cannot be read ({type(error).__name__}: '
                                f'{str(error)[:_MOST_LETTERS]})')
    return None


def read_run(work_dir: str, name: Optional[str] = None) -> Run:
    """Read a run from an mm work directory.

    Args:
        work_dir (str): The work directory.
        name (str, optional): Name of the run in tables and figures. Defaults to None: the folder's name.
    """
    folder = Path(work_dir)
    problems: list[str] = []
    config, scalars = _config(folder, problems), read_scalars(folder, problems)
    log, history = read_log(folder), read_history(work_dir, problems)
    supernet, child = _only(config, SUPERNET), _only(config, CHILD)
    searched = bool(history or supernet is not None or (child is None and (folder / 'arch.json').is_file()))
    architecture = history[-1].architecture if history else None
    arch = str(folder / 'arch.json') if searched else child.get('arch') if child is not None else None
    if architecture is None and arch is not None:
        with contextlib.suppress(ValueError, OSError):
            architecture = Architecture.create(arch)
    if searched and not history and architecture is not None:
        history = [SearchState(0, 0, 'the last export', architecture, SearchSpace().seed, {})]
    last = history[-1] if history else None
    measured = last is not None and last.seconds is not None
    return Run(
        str(folder), name or folder.resolve().name, searched, scalars, read_tests(folder), history, config,
        dict(last.seconds) if last and last.seconds else account(scalars, log),
        last.processes if last and measured else log.processes,
        ('CPU' if last.device == 'CPU' else 'GPU') if last and measured else log.device, architecture,
        problems=problems)


def counted(run: Run, input_shape: Optional[tuple[int, int]] = None) -> Run:
    """Count the parameters and multiply-adds of a run's whole model, which is built for that; return the run with them.

    Args:
        run (Run): A training.
        input_shape (tuple[int, int], optional): Input size (height, width) for a run whose config has none.
            Defaults to None.
    """
    values = dict(vars(run))
    shape = count_shape(run) or input_shape
    if run.config is None or shape is None:
        values['uncounted'] = 'no config' if run.config is None else 'no input_shape in its config'
        return Run(**values)
    try:
        if run.config.get('custom_imports'):
            import_modules_from_strings(**run.config.custom_imports)
        values['complexity'], _ = count_config(run.config, shape)
    except Exception as error:  # a model that cannot be built may raise anything; only its figures are missing then
        values['uncounted'] = f'{type(error).__name__}: {error}'
    return Run(**values)


def _is_run(folder: Path) -> bool:
    return (Path(history_path(str(folder))).is_file() or (folder / 'arch.json').is_file()
            or any((run / 'vis_data').is_dir() for run in timestamped(folder)))


def _below(folder: Path, depth: int) -> list[Path]:
    if (folder / ADAPTATION).is_file():  # its children and evaluations are no runs of their own, their trainings are
        return sorted(path for path in folder.glob('*/fine_tuning') if _is_run(path))
    found = [folder] if _is_run(folder) else []
    if depth:
        timestamps = timestamped(folder)
        for path in sorted(path for path in folder.iterdir() if path.is_dir() and path.name != FOLDER):
            if path not in timestamps:
                found += _below(path, depth - 1)
    return found


def find_runs(folders: Sequence[str]) -> list[Run]:
    """Read all work directories among the folders and in them; searches come first.

    Args:
        folders (Sequence[str]): Work directories, or folders that hold several.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If a folder holds no run, or the folders together hold no search.
    """
    paths: dict[Path, Path] = {}
    for folder in folders:
        if not Path(folder).is_dir():
            raise FileNotFoundError(f'{folder!r} is no folder: a report is made from the work directory of a search')
        found = _below(Path(folder), _DEPTH)
        if not found:
            raise ValueError(f'{folder!r} holds no search and no training: neither it nor its subfolders have '
                             f'{FOLDER}/{history_path("")[len(FOLDER) + 1:]}, arch.json or mm\'s '
                             'YYYYMMDD_HHMMSS/vis_data')
        paths.update({path.resolve(): path for path in found})
    names = [path.name for path in paths]
    runs = [read_run(str(shown), path.name if names.count(path.name) == 1 else f'{path.parent.name}/{path.name}')
            for path, shown in paths.items()]
    if not any(run.searched for run in runs):
        raise ValueError(f'no search in {", ".join(map(repr, folders))}: looked for {history_path("…")}, an arch.json, '
                         f'or a config with {SUPERNET}')
    return sorted(runs, key=lambda run: not run.searched)
