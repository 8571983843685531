"""How long a task will take on this machine, from ten iterations of its training and of its search."""

import copy
import statistics
import time
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any, Optional

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from tools.evidence.protocol import WHOLE, Task, rivals_of
from tools.evidence.searched_rivals import search_config

#: Iterations that are timed, and those before them, in which a GPU chooses its algorithms.
ITERATIONS, WARMING = 10, 3
_SEARCHED = ('found', 'found_fitted')


class IterationTimes(Hook):
    """Keeps the seconds of every iteration, with the loading of its data and its architecture step."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def before_train(self, runner: Any) -> None:
        """Start the clock."""
        self._last = time.perf_counter()

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None,
                         outputs: Optional[dict] = None) -> None:
        """Note the time since the last iteration."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds.append(now - self._last)
        self._last = now


def whole_length(loop: Any, per_epoch: int) -> int:
    """Iterations of a whole training.

    Args:
        loop (dict): Its ``train_cfg``.
        per_epoch (int): Batches of an epoch.
    """
    return int(loop['max_iters'] if 'max_iters' in loop else loop['max_epochs'] * per_epoch)


def hours_of(cfg: Config) -> float:
    """Hours of the whole training of a config, as if all its iterations took what ten of them take.

    A search makes its architecture steps from the first iteration on here, so that the answer is rather too large.

    Args:
        cfg (Config): The config; it is not changed.
    """
    short = copy.deepcopy(cfg)
    short.train_cfg = dict(type='IterBasedTrainLoop', max_iters=ITERATIONS + WARMING, val_interval=10**9)
    searching = [hook for hook in cfg.get('custom_hooks') or [] if hook['type'] == 'AlternatingOptimizerHook']
    short.custom_hooks = [{**{key: value for key, value in hook.items() if key != 'begin_epoch'}, 'begin_iter': 0}
                          for hook in searching]
    for name in ('param_scheduler', 'val_dataloader', 'val_cfg', 'val_evaluator', 'test_dataloader', 'test_cfg',
                 'test_evaluator'):
        short.pop(name, None)
    short.default_hooks = dict(checkpoint=None)
    short.log_processor = dict(by_epoch=False)
    with TemporaryDirectory() as folder:
        short.work_dir = folder
        short.experiment_name = f'hours_{time.time_ns()}'
        short.visualizer = dict(type='Visualizer', name=short.experiment_name)
        runner = Runner.from_cfg(short)
        times = IterationTimes()
        runner.register_hook(times)
        runner.train()
        iterations = whole_length(cfg.train_cfg, len(runner.train_dataloader))
    return statistics.mean(times.seconds[WARMING:]) * iterations / 3600


def predicted(task: Task, seeds: Sequence[int], checkpoint: str) -> str:
    """A sentence on the hours of a task.

    Args:
        task (Task): The task.
        seeds (Sequence[int]): The seeds.
        checkpoint (str): The ImageNet checkpoint.
    """
    trained = Config.fromfile(str(task.trained))
    trained.model.backbone.init_cfg.checkpoint = checkpoint
    training, search = hours_of(trained), hours_of(search_config(task, float(WHOLE), 0, checkpoint))
    rivals = rivals_of(task.name)
    searches = sum(rival.model in _SEARCHED for rival in rivals)
    of_seed = training * (1 + task.share * len(rivals)) + search * searches
    return (f'{task.name}, {task.size}: a training takes about {training:.2f} hours, each of {len(rivals)} '
            f'fine-tunings {task.share * training:.2f}, each of {searches} searches {search:.2f}; with {len(seeds)} '
            f'seed(s) {of_seed * len(seeds):.1f} hours one after the other, without adaptations and tests')
