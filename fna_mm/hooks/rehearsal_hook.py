"""The rehearsal of a network that grows: every training step runs another path near it."""

from functools import partial
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop

from fna_mm.backbones.fna_elastic_net import FNAElasticNet
from fna_mm.checks import check_integer, check_number
from fna_mm.hooks.endless_batches import SeededBatches, seed_random_numbers


@HOOKS.register_module(force=True)
class RehearsalHook(Hook):
    """Draws the path of an ``FNAElasticNet`` for every training step, and goes back to the network's own one behind it.

    Paths and all random numbers of a step depend on (seed, iteration) alone, so that all ranks run the same path and a
    resumed run those of the uninterrupted one.

    If the backbone keeps what it had (``kept``), neck and head stay as they are, too, and every step runs a network
    that has grown: of the network itself nothing would be trained.

    Args:
        share (float): Probability that a layer is another one than it was. Defaults to 0.25.
        seed (int): Seed of the paths. Defaults to 0.

    Raises:
        ValueError: If a number is out of range.
    """

    priority = 'VERY_HIGH'

    def __init__(self, share: float = .25, seed: int = 0) -> None:
        self.share = check_number('share of the layers that change', share, above=0)
        if share > 1:
            raise ValueError(f'share={share} of the layers that change must not be above 1')
        self.seed = check_integer('seed', seed, least=0)

    def before_train(self, runner: Any) -> None:
        """Find the backbone.

        Raises:
            TypeError: If the model has no ``FNAElasticNet``.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        net = getattr(model, 'backbone', None)
        if not isinstance(net, FNAElasticNet):
            raise TypeError(f'RehearsalHook needs an FNAElasticNet as the backbone, not {type(net).__name__}')
        self._model, self._net = model, net
        if net.kept:
            own = {id(parameter) for parameter in net.parameters()}
            for parameter in model.parameters():
                if id(parameter) not in own:
                    parameter.requires_grad_(False)
        loop = runner.train_loop
        if isinstance(loop, IterBasedTrainLoop):
            loop.dataloader_iterator = SeededBatches(loop.dataloader_iterator,
                                                     partial(seed_random_numbers, self.seed, stream=1))

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Draw the path of a step."""
        rng = np.random.default_rng((self.seed, runner.iter))
        path = self._net.space.sample_path(rng, self.share)
        while self._net.kept and path == self._net.space.seed_path:
            path = self._net.space.sample_path(rng, self.share)
        self._net.path = path
        if self._net.kept:
            self._model.eval()  # batch statistics and dropout of neck and head
        seed_random_numbers(self.seed, runner.iter)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Go back to the network as it was."""
        self._net.path = self._net.space.seed_path
