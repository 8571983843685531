"""What was measured in a folder of runs, as rows of results.json."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np

from fna_mm import Architecture
from tools.evidence.child_files import COSTS
from tools.evidence.intervals import Difference, paired
from tools.evidence.plan import TRAINED
from tools.evidence.protocol import FOLDER, MODELS, REFERENCE, Rival, read_minutes, rivals_of
from tools.evidence.testing import MEASURED, RESAMPLED
from tools.evidence.trained_to_the_end import validations
from tools.evidence.work_queue import MINUTES
from tools.results.adapted_runs import PACKAGES, TIMES
from tools.results.result_rows import CASES, ResultRow, figures

TABLE = 'evidence'
#: The model whose lead over every other one at its budget is in its rows.
LEADER = 'adapted'
#: Model → those over which its rows have its lead.
_LEADS = {LEADER: tuple(model for model in MODELS if model != LEADER), 'found_fitted': ('random', )}
#: Steps that are part of making a rival, beside the writing of its child.
_SHARED = dict(adapted=('adapted', ), random_fitted=('adapted', ), grown=('grown', ),
               found=('search_{}', ), found_fitted=('adapted', 'prepared', 'fitted_search_{}'))


class Tested(NamedTuple):
    """A rival of one run.

    Args:
        run (dict): What its row says of it.
        value (float): The metric on the test split, in percent.
        resampled (np.ndarray): The same on every resample of the images, (draws,).
    """

    run: dict[str, Any]
    value: float
    resampled: np.ndarray


def _measured(folder: Path) -> Optional[dict[str, Any]]:
    path = folder / MEASURED
    found: Optional[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else None
    return found


def making_minutes(rival: Rival, minutes: Mapping[str, float]) -> float:
    """CPU minutes of all that makes a rival of the trained model, without its fine-tuning.

    Of what several rivals share, such as the statistics of fna adapt, each has the whole.

    Args:
        rival (Rival): The rival.
        minutes (Mapping[str, float]): CPU minutes of every step of its run.
    """
    steps = [*(name.format(rival.budget) for name in _SHARED.get(rival.model, ())), f'{rival.name}/child']
    return sum(minutes[step] for step in steps)


def tested_rival(task: str, rival: Rival, run: Path) -> Optional[Tested]:
    """What a run has measured of a rival; None if it is not tested yet.

    Args:
        task (str): Name of the task.
        rival (Rival): The rival.
        run (Path): Folder of the run.
    """
    folder = run / FOLDER / rival.name
    minutes = {**read_minutes(run / TIMES), **read_minutes(run / MINUTES)}
    tested, raw = _measured(folder / 'tested'), _measured(folder / 'raw')
    if tested is None or raw is None or f'{rival.name}/tested' not in minutes:
        return None
    _, _, metric, factor = CASES[task]
    costs = json.loads((folder / COSTS).read_text())
    made, tuned = making_minutes(rival, minutes), minutes[f'{rival.name}/tuned']
    values = dict(
        seed=int(run.name.removeprefix('seed_')),
        metrics={**tested['test']['metrics'], metric: round(tested['test']['value'] / factor, 6)},
        validation=round(tested['val']['value'] / factor, 6), raw=round(raw['test']['value'], 2),
        params=costs['params'], madds=costs['madds'], share=round(costs['share'], 4), minutes=round(made + tuned, 2),
        minutes_of=dict(trained=minutes.get(TRAINED), made=round(made, 2), tuned=tuned),
        arch=Architecture.create(str(folder / 'arch.json')).to_text().replace('\n', ''))
    return Tested(values, tested['test']['value'], np.load(folder / 'tested' / RESAMPLED))


def difference_of(own: Mapping[int, Tested], other: Mapping[int, Tested]) -> Optional[dict[str, Any]]:
    """The paired difference of two rivals over the seeds that both have; None if there are none.

    Args:
        own (Mapping[int, Tested]): Seed → one of them.
        other (Mapping[int, Tested]): Seed → the other one.
    """
    seeds = sorted(set(own) & set(other))
    if not seeds:
        return None
    ours, theirs = [own[seed] for seed in seeds], [other[seed] for seed in seeds]
    found: Difference = paired(
        [tested.value for tested in ours], [tested.value for tested in theirs],
        np.stack([tested.resampled for tested in ours]), np.stack([tested.resampled for tested in theirs]))
    return dict(difference=round(found.mean, 2), interval=found.interval and [round(end, 2) for end in found.interval],
                over=found.over, seeds=seeds)


def rows_of(work: Path, size: str = 'small') -> list[ResultRow]:
    """The rows of every task, model and budget that is tested with one seed at least.

    Args:
        work (Path): Folder of all runs.
        size (str): ``small`` or ``full``. Defaults to 'small'.
    """
    rows = []
    for task in PACKAGES:
        runs = sorted((work / task).glob('seed_*'), key=lambda run: int(run.name.removeprefix('seed_')))
        found = {rival: {of.run['seed']: of for run in runs if (of := tested_rival(task, rival, run))}
                 for rival in rivals_of(task)}
        own = [_row(task, size, rival, found) for rival in found if found[rival]]
        ends = [end for run in runs if (end := validations(run))]
        for row in own:
            if row['model'] == REFERENCE and ends:
                # Of one seed: the trained model, and the one that was trained twice as long, on the validation split.
                row['validation_of_longer_training'] = ends[0]
        rows += own
    return rows


def _row(task: str, size: str, rival: Rival, found: Mapping[Rival, Mapping[int, Tested]]) -> ResultRow:
    dataset, framework, metric, factor = CASES[task]
    own = found[rival]
    runs = [of.run for of in own.values()]
    reference = next(found[other] for other in found if other.model == REFERENCE)
    against = difference_of(own, reference) if rival.model != REFERENCE else None
    command = (f'python -m tools.evidence run {task} work_dirs/evidence/{size} mobilenet_v2.pth --seeds '
               + ' '.join(map(str, own)) + (' --size full' if size == 'full' else ''))
    known = figures(runs, metric, factor)
    row = dict(table=TABLE, size=size, dataset=dataset, framework=framework, model=rival.model, budget=rival.budget,
               remapped=True, **known, by_seed=dict(zip(map(str, known['seeds']), known['values'])))
    row.update(difference=against and against['difference'], interval=against and against['interval'],
               interval_over=against and against['over'])
    if rival.model in _LEADS:
        row['ahead_of'] = {other.model: difference for other in found
                           if other.budget == rival.budget and other.model in _LEADS[rival.model]
                           and (difference := difference_of(own, found[other]))}
    row.update(command=command, runs=runs)
    return row


def replaced(rows: Sequence[ResultRow], new: Sequence[ResultRow], size: str) -> list[ResultRow]:
    """All rows, with those of the tasks that were collected in the place of older ones.

    Args:
        rows (Sequence[dict]): The rows of results.json.
        new (Sequence[dict]): The collected ones.
        size (str): Their size.
    """
    tasks = {(row['dataset'], row['framework']) for row in new}
    return [*(row for row in rows if not (row['table'] == TABLE and row['size'] == size
                                          and (row['dataset'], row['framework']) in tasks)), *new]
