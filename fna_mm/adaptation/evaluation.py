"""The metrics of a checkpoint on the validation data of its config, by mm's own runner."""

import os
from numbers import Real

from mmengine.config import Config
from mmengine.runner import Runner


def evaluate_checkpoint(config: str, checkpoint: str, work_dir: str) -> dict[str, float]:
    """Evaluate a checkpoint on the validation data, or on the test data if there is no validation.

    Args:
        config (str): Path of the config.
        checkpoint (str): Path of the checkpoint.
        work_dir (str): Folder of mm's logs.
    """
    cfg = Config.fromfile(config)
    cfg.work_dir = work_dir
    cfg.load_from, cfg.resume = checkpoint, False
    cfg.experiment_name = f'fna_adapt_{os.path.basename(os.path.dirname(work_dir))}'
    cfg.visualizer = dict(cfg.get('visualizer') or dict(type='Visualizer'), name=cfg.experiment_name)
    runner = Runner.from_cfg(cfg)
    metrics = runner.val() if cfg.get('val_dataloader') else runner.test()
    return {name: float(value) for name, value in metrics.items() if isinstance(value, Real)}
