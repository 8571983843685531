"""One training of an ablation, in its own process: ``python -m tools.ablation.training CONFIG``."""

import copy
import os
import sys
import time
from pathlib import Path
from typing import Any, Optional

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from fna_mm.cost.complexity import count_config
from tools.ablation.ablation_run import PROGRESS, RESULT, is_search, read_json, write_json


class _TrainingProgress(Hook):
    """Notes how far the training is, and ends it when nobody waits for it any more."""

    priority = 'LOWEST'

    def __init__(self, path: Path) -> None:
        self.path = path
        self.earlier = (read_json(path) or dict(seconds=0.))['seconds']
        self._start = self._last = time.monotonic()
        self._parent = os.getppid()

    def seconds(self) -> float:
        """Spent so far, earlier attempts included."""
        return self.earlier + time.monotonic() - self._start

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None,
                         outputs: Optional[dict] = None) -> None:
        if os.getppid() != self._parent:
            raise SystemExit('the process that started this training is gone')
        if time.monotonic() - self._last >= 1:
            self._last = time.monotonic()
            write_json(self.path, dict(seconds=self.seconds(), done=(runner.iter + 1) / runner.max_iters))


def train_and_test(config: str) -> None:
    """Train a complete config, from its last checkpoint if there is one; test it; leave the result.

    Args:
        config (str): Path of the config, with a ``work_dir`` in it.
    """
    cfg = Config.fromfile(config)
    folder = Path(cfg.work_dir)
    if (folder / 'last_checkpoint').is_file():
        cfg.resume, cfg.load_from = True, None
    progress = _TrainingProgress(folder / PROGRESS)
    runner = Runner.from_cfg(copy.deepcopy(cfg))
    runner.register_hook(progress)
    runner.train()
    result: dict[str, Any] = dict(metrics={}, params=None, madds=None)
    if not is_search(cfg):
        if cfg.get('test_dataloader'):
            result['metrics'] = {name: float(value) for name, value in runner.test().items()}
        if cfg.get('input_shape'):
            counted, _ = count_config(cfg, cfg.input_shape)
            result.update(params=counted.params, madds=counted.madds)
    write_json(folder / RESULT, dict(result, minutes=progress.seconds() / 60))


if __name__ == '__main__':
    train_and_test(sys.argv[1])
