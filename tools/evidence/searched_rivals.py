"""The paper's search with a budget, from the ImageNet seed or from fitted candidates, and its children."""

from pathlib import Path
from typing import Any, Optional

from mmengine.config import Config

from fna_mm import FNAChildNet
from fna_mm.checkpoints.opening import load_checkpoint
from fna_mm.checkpoints.search_child import child_weights
from fna_mm.checkpoints.whole_files import write_whole
from fna_mm.configs import config_text
from tools.evidence.child_files import Source, whole_child
from tools.evidence.protocol import Task

#: Rate of the weight steps of a search that starts from trained weights, as a share of the search's own: as in the
#: rehearsal of fna adapt and in the demo's search.
_TRAINED_RATE = .2


def search_config(task: Task, budget: float, seed: int, checkpoint: str, prepared: Optional[str] = None) -> Config:
    """The config of a search with a budget.

    Args:
        task (Task): The task.
        budget (float): Share of MobileNetV2's multiply-adds.
        seed (int): Seed of the run.
        checkpoint (str): The ImageNet checkpoint.
        prepared (str, optional): The checkpoint of fitted candidates that it starts from. Defaults to None: it starts
            from the ImageNet checkpoint, as the paper's does.
    """
    cfg = Config.fromfile(str(task.search))
    cfg.randomness = dict(seed=seed)
    cost = cfg.custom_hooks[0].cost
    cfg.custom_hooks[0].cost = dict(type='MAddsCost', input_shape=tuple(cost['input_shape']), budget=budget)
    cfg.custom_hooks[1].pop('child_config', None)  # the rival's own config takes its place
    if prepared is None:
        cfg.model.backbone.init_cfg.checkpoint = checkpoint
    else:
        cfg.model.backbone.init_cfg = None
        cfg.load_from = prepared
        cfg.optim_wrapper.optimizer.lr = cfg.optim_wrapper.optimizer.lr * _TRAINED_RATE
    return cfg


def write_search(cfg: Config, path: Path) -> None:
    """Write the config of a search.

    Args:
        cfg (Config): The config.
        path (Path): The file.
    """
    write_whole({str(path): config_text(cfg, 'A search of the evidence: mim train runs it.').encode()})


def found_child(source: Source, search: Path) -> tuple[FNAChildNet, Any]:
    """The backbone of a search's child with the weights that the search gave it, and the whole model.

    Args:
        source (Source): The trained model; its neck and head are replaced by the search's.
        search (Path): The search's last checkpoint.
    """
    return whole_child(source, *child_weights(load_checkpoint(str(search))))
