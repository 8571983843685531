"""A row of table 6 that the paper does not have: the backbone of a training is fitted to the seed, without labels."""

import copy
import tempfile
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS, MODELS

from fna_mm.adaptation.chain import Chain
from fna_mm.adaptation.images import MeasuredImages
from fna_mm.adaptation.measuring import measure_statistics, normalised_images
from fna_mm.adaptation.statistics import statistics_of
from fna_mm.adaptation.work_folder import WorkFolder
from fna_mm.checks import check_integer
from fna_mm.sections import without_weights
from tools.evidence.fitted_rivals import fitted


@HOOKS.register_module(force=True)
class FittedRemappingHook(Hook):
    """Fit the backbone of a training to the seed that its parameters are remapped from, as ``fna adapt`` fits children.

    Statistics and refit see training images as evaluation does, without labels. When a run resumes, the hook does
    nothing.

    Args:
        images (int): Number of training images; fewer if there are no more. Defaults to 128.
        seed_arch (str): Architecture of the seed. Defaults to 'mobilenet_v2'.

    Raises:
        ValueError: If ``images`` is no positive integer; before training, if the backbone has no ``init_cfg`` that
            remaps parameters onto it.
    """

    # Before BN statistics are measured (HIGH).
    priority = 'VERY_HIGH'

    def __init__(self, images: int = 128, seed_arch: str = 'mobilenet_v2') -> None:
        self.images = check_integer('images of FittedRemappingHook', images)
        self.seed_arch = seed_arch

    def before_train(self, runner: Any) -> None:
        """Fit the backbone, unless the run resumes."""
        if runner.iter > 0:
            return
        section = dict(runner.cfg.model.backbone)
        if (section.get('init_cfg') or {}).get('type') != 'ParameterRemapping':
            raise ValueError(f'the backbone has init_cfg={section.get("init_cfg")}: FittedRemappingHook needs a '
                             'ParameterRemapping, whose checkpoint is the seed')
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        images = MeasuredImages(runner.cfg, runner.seed)
        positions = range(min(self.images, len(images)))
        chain = Chain(self._seed(section).to(next(model.parameters()).device))
        statistics = statistics_of(chain)
        with tempfile.TemporaryDirectory() as folder:
            measure_statistics(model, chain, statistics, images, positions, WorkFolder(folder, dict(by='fit')))
        backbone = fitted(chain, without_weights(section), model.backbone.architecture, statistics,
                          lambda: normalised_images(model, images, positions))
        model.backbone.load_state_dict(backbone.state_dict())
        runner.logger.info(f'FittedRemappingHook: the backbone is fitted to the seed on {len(positions)} images')

    def _seed(self, section: dict) -> Any:
        seed = MODELS.build({**copy.deepcopy(section), 'arch': self.seed_arch})
        seed.init_weights()
        return seed.eval()
