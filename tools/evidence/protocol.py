"""What is compared: tasks, rivals and budgets, and where the files of a rival are."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tools.results.adapted_runs import PACKAGES, ROOT

SIZES = ('small', 'full')
#: Shares of the multiply-adds of MobileNetV2's backbone.
WHOLE = '1'
LESS = ('0.7', '0.5', '0.3')
BUDGETS = (WHOLE, *LESS)
#: Model → budgets.
MODELS: Mapping[str, tuple[str, ...]] = dict(
    mobilenet_v2=(WHOLE, ), narrowed=LESS, pruned_norm=LESS, pruned_taylor=LESS, random=BUDGETS,
    random_fitted=BUDGETS, adapted=LESS, grown=(WHOLE, ), found_fitted=BUDGETS, found=BUDGETS)
REFERENCE = 'mobilenet_v2'
#: Order of the budgets when they are run, and the models that are run behind all others.
_FIRST = ('0.5', '0.3', '0.7', WHOLE)
_LAST = ('found_fitted', 'found')
#: The search space of the paper holds no network as cheap as these budgets, with the convolution behind SSDLite's
#: backbone counted: there are no random and no searched rivals.
NOT_REACHED = (('bccd_ssdlite', '0.3'), )
OF_THE_SPACE = ('random', 'random_fitted', 'found', 'found_fitted')
#: Folder of everything in a run's folder that adapted_runs does not write.
FOLDER = 'evidence'
#: Rate of the fine-tuning as a share of the training's, as in ``fna adapt``.
RATE = .5
#: Share of the training's length that a rival is fine-tuned for, at full size.
_FULL_SHARE = .2


class Task(NamedTuple):
    """A task at a size.

    Args:
        name (str): Its name.
        size (str): ``small`` or ``full``.
        package (str): The package of mm that trains it, as mim knows it.
        share (float): Length of the fine-tuning, as a share of the training's.
        trained (Path): Config of the model that is trained to the end.
        search (Path): Config of the paper's search.
    """

    name: str
    size: str
    package: str
    share: float
    trained: Path
    search: Path


def task_of(name: str, size: str = 'small') -> Task:
    """The task of a name.

    Args:
        name (str): One of ``PACKAGES`` of adapted_runs.
        size (str): ``small`` or ``full``. Defaults to 'small'.

    Raises:
        ValueError: If there is no such task or size.
    """
    if name not in PACKAGES:
        raise ValueError(f'task {name!r} is unknown: expected one of {list(PACKAGES)}')
    if size not in SIZES:
        raise ValueError(f'size {size!r} is unknown: expected one of {list(SIZES)}')
    package, share = PACKAGES[name]
    compared = ROOT / f'configs/comparison/{name}/{size}'
    # The configs of full size are trained to the end as they are.
    trained = ROOT / f'configs/adaptation/mobilenet_v2_{name}.py' if size == 'small' else compared / 'mobilenet_v2.py'
    return Task(name, size, package, share if size == 'small' else _FULL_SHARE, trained, compared / 'search.py')


class Rival(NamedTuple):
    """A model at a budget.

    Args:
        model (str): One of ``MODELS``.
        budget (str): One of its budgets.
    """

    model: str
    budget: str

    @property
    def name(self) -> str:
        """The name of its folder, such as ``narrowed_0.5``."""
        return f'{self.model}_{self.budget}'


def rivals_of(task: str) -> list[Rival]:
    """All rivals of a task, model after model.

    Args:
        task (str): Name of the task.
    """
    return [Rival(model, budget) for model, budgets in MODELS.items() for budget in budgets
            if (task, budget) not in NOT_REACHED or model not in OF_THE_SPACE]


def in_order(rivals: Sequence[Rival]) -> list[Rival]:
    """Rivals in the order in which they are run, so that what is done first says most.

    First what the others are compared with, then all models at half of the multiply-adds, then at the other budgets.
    Searches take longest and are last.

    Args:
        rivals (Sequence[Rival]): The rivals.
    """
    return sorted(rivals, key=lambda rival: (
        rival.model != REFERENCE, _LAST.index(rival.model) if rival.model in _LAST else -1,
        _FIRST.index(rival.budget)))


def last_checkpoint(folder: Path) -> Path:
    """The last checkpoint of a training, also if its folder was moved since.

    Args:
        folder (Path): Work directory of the training.

    Raises:
        FileNotFoundError: If there is none.
    """
    told = folder / 'last_checkpoint'
    if not told.exists():
        raise FileNotFoundError(f'{folder} has no last_checkpoint: nothing was trained there')
    return folder / Path(told.read_text().strip()).name


def read_minutes(path: Path) -> dict[str, float]:
    """CPU minutes of the steps that are done; empty if there is no file.

    Args:
        path (Path): A file of step → minutes.
    """
    found: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    return found
