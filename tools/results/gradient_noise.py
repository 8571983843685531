"""How much of an architecture step's gradient is signal: many steps of a finished search's last checkpoint, none taken.

python -m tools.results.gradient_noise work_dirs/comparison/small/camvid_deeplabv3/main/seed_0/search [STEPS]
"""

import logging
import sys
import warnings
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner, find_latest_checkpoint, load_checkpoint

from fna_mm.backbones import find_supernet
from fna_mm.hooks.alternating_optimizer_hook import only_architecture_trains
from fna_mm.sections import find_sections


def gradients(run: Path, steps: int) -> torch.Tensor:
    """Gradients of the architecture parameters, without the cost term: (steps, candidates of all layers)."""
    cfg = Config.fromfile(run.with_suffix('.py'))
    init_default_scope(cfg.default_scope)
    MMLogger.get_instance('gradient_noise', log_level=logging.ERROR)
    model = MODELS.build(cfg.model)
    load_checkpoint(model, find_latest_checkpoint(str(run)), map_location='cpu', logger='silent')
    (hook, ) = find_sections(cfg.custom_hooks, 'AlternatingOptimizerHook')
    loader = Runner.build_dataloader(dict(hook['dataloader'], num_workers=0), seed=0)
    supernet = find_supernet(model)
    model.train()
    found: list[torch.Tensor] = []
    while len(found) < steps:
        for batch in loader:
            supernet.architecture_parameters.grad = None
            with only_architecture_trains(model, supernet):
                loss, _ = model.parse_losses(model(**model.data_preprocessor(batch, True), mode='loss'))
                loss.backward()
            found.append(supernet.architecture_parameters.grad.clone())
    return torch.stack(found[:steps])


if __name__ == '__main__':
    warnings.simplefilter('ignore')
    found = gradients(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 30)
    ratio = found.mean(0).abs() / found.std(0)
    halves = torch.corrcoef(torch.stack([found[::2].mean(0), found[1::2].mean(0)]))[0, 1]
    away = (ratio * len(found)**.5 > 2).float().mean()
    print(f'{sys.argv[1]}: {len(found)} steps; |mean| / standard deviation of a step, median of the candidates '
          f'{ratio.median():.3f} (noise alone: {.674 / len(found)**.5:.3f}); more than two standard errors from 0 '
          f'{away:.0%} (noise alone: 5%); correlation of the means of two halves {halves:.2f}')
