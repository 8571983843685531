"""Whether the trained model has stopped improving: the same training once more, twice as long."""

import json
from pathlib import Path
from typing import Any, Optional

from mmengine.config import Config

from fna_mm.checkpoints.whole_files import write_whole
from fna_mm.configs import config_text
from tools.evidence.protocol import FOLDER, Task
from tools.evidence.testing import MEASURED

#: The step that trains twice as long, and the folders of the two validations.
DOUBLED = 'doubled'
VALIDATED = ('trained_validated', 'doubled_validated')
#: Changes by fewer points than this say that a model was trained to the end.
LEAST_CHANGE = 1.


def doubled_config(task: Task, checkpoint: str) -> Config:
    """The config of the training, twice as long; the warm-up stays.

    Args:
        task (Task): The task.
        checkpoint (str): The ImageNet checkpoint.
    """
    cfg = Config.fromfile(str(task.trained))
    cfg.model.backbone.init_cfg.checkpoint = checkpoint
    loop = cfg.train_cfg
    name = 'max_epochs' if 'max_epochs' in loop else 'max_iters'
    length = loop[name]
    loop[name] = loop['val_interval'] = 2 * length
    for schedule in cfg.param_scheduler:
        if schedule.get('end') == length:
            schedule.update({key: 2 * schedule[key] for key in ('end', 'T_max') if key in schedule})
            if 'milestones' in schedule:
                schedule['milestones'] = [2 * milestone for milestone in schedule['milestones']]
    return cfg


def write_doubled(task: Task, checkpoint: str, path: Path) -> None:
    """Write the config of the longer training.

    Args:
        task (Task): The task.
        checkpoint (str): The ImageNet checkpoint.
        path (Path): The file.
    """
    text = config_text(doubled_config(task, checkpoint), 'The trained model once more, twice as long.')
    write_whole({str(path): text.encode()})


def validations(run: Path) -> Optional[list[float]]:
    """The validation metric in percent of the trained model and of the longer training; None if one is missing.

    Args:
        run (Path): Folder of the run.
    """
    found: list[float] = []
    for folder in VALIDATED:
        path = run / FOLDER / folder / MEASURED
        if path.exists():
            measured: dict[str, Any] = json.loads(path.read_text())
            found.append(round(measured['val']['value'], 2))
    return found if len(found) == len(VALIDATED) else None
