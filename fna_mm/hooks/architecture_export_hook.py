"""What the search has found so far, written down for people and for the next training."""

import os.path as osp
from typing import Any, Optional

from mmengine.config import Config
from mmengine.dist import is_main_process, master_only
from mmengine.fileio import join_path, put, put_text
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from fna_mm.backbones import find_supernet
from fna_mm.child_config import child_config, dump_child_config
from fna_mm.hooks.alternating_optimizer_hook import AlternatingOptimizerHook
from fna_mm.hooks.preflight import check_can_write
from fna_mm.visualization import architecture_figure, encode_png, probability_figure, to_image


@HOOKS.register_module(force=True)
class ArchitectureExportHook(Hook):
    """Write the currently best architecture, its training config and pictures of it.

    In the work directory: ``arch.json`` (and ``arch_epoch_N.json`` or ``arch_iter_N.json`` beside it),
    ``child_config.py``, a complete config that mm's tools train as it is, ``architecture.png`` and
    ``probabilities.png``.

    Args:
        interval (int): Epochs or iterations between two exports. Defaults to 1.
        by_epoch (bool): Whether ``interval`` counts epochs; set it to False under
            ``IterBasedTrainLoop``. Defaults to True.
        child_config (str, optional): Path of a retraining config with an ``FNAChildNet``; the child's
            config is built on it. Defaults to None: on the search's own config with the search taken
            out.
        out_dir (str, optional): Where to write. Defaults to None: the work directory.

    Raises:
        ValueError: If ``interval`` is no positive integer; before training, if ``child_config`` has
            no ``FNAChildNet``, or no ``AlternatingOptimizerHook`` searches.
        FileNotFoundError: Before training, if ``child_config`` does not exist.
    """

    # After the architecture step and before checkpoints.
    priority = 'LOW'

    def __init__(self,
                 interval: int = 1,
                 by_epoch: bool = True,
                 child_config: Optional[str] = None,
                 out_dir: Optional[str] = None) -> None:
        if isinstance(interval, bool) or not isinstance(interval, int) or interval < 1:
            raise ValueError(f'interval of ArchitectureExportHook must be a positive integer, not {interval!r}')
        self.interval = interval
        self.by_epoch = by_epoch
        self.child_config = child_config
        self.out_dir = out_dir
        self._retraining: Optional[Config] = None

    def before_train(self, runner: Any) -> None:
        """Read the retraining config and try to build a child's config, before any long work."""
        supernet = find_supernet(runner.model)
        if not any(isinstance(hook, AlternatingOptimizerHook) for hook in runner.hooks):
            raise ValueError('ArchitectureExportHook without an AlternatingOptimizerHook: nothing would change the '
                             'architecture that it exports; add one to custom_hooks')
        if self.child_config is not None:
            self._retraining = Config.fromfile(self.child_config)
        child_config(runner.cfg, supernet.best_architecture(), runner.work_dir, self._retraining)
        if is_main_process():
            check_can_write(self.out_dir or runner.work_dir)

    def after_train_epoch(self, runner: Any) -> None:
        """Export every ``interval`` epochs and after the last one."""
        if self.by_epoch and (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            self.export(runner, f'epoch_{runner.epoch + 1}', runner.iter)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None,
                         outputs: Optional[dict] = None) -> None:
        """Export every ``interval`` iterations and after the last one."""
        if not self.by_epoch and (self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)):
            self.export(runner, f'iter_{runner.iter + 1}', runner.iter + 1)

    @master_only
    def export(self, runner: Any, moment: str, step: int) -> None:
        """Write everything.

        Args:
            runner (Runner): The runner of the search.
            moment (str): Such as ``epoch_3``; becomes part of the second JSON file's name.
            step (int): Iterations made so far, under which the visualizer files the pictures.
        """
        out_dir = self.out_dir or runner.work_dir
        supernet = find_supernet(runner.model)
        architecture, space = supernet.best_architecture(), supernet.search_space
        config = child_config(runner.cfg, architecture, osp.join(runner.work_dir, 'child'), self._retraining)
        title = moment.replace('_', ' ')
        figures = dict(
            architecture=architecture_figure(architecture, space.seed, f'Best path after {title}'),
            probabilities=probability_figure(space, [p.detach().cpu().tolist() for p in supernet.probabilities()],
                                             f'Probability of each candidate after {title}'))
        # Everything is made before anything is written: what cannot be made leaves the last export whole.
        images = {name: to_image(figure) for name, figure in figures.items()}
        pictures = {name: encode_png(image) for name, image in images.items()}
        text = architecture.to_json()
        put_text(text, join_path(out_dir, f'arch_{moment}.json'))
        put_text(text, join_path(out_dir, 'arch.json'))
        dump_child_config(config, join_path(out_dir, 'child_config.py'))
        for name, image in images.items():
            put(pictures[name], join_path(out_dir, f'{name}.png'))
            # No slash in the name: LocalVisBackend makes a file of it, in a folder that it would not make.
            runner.visualizer.add_image(f'fna_{name}', image, step=step)
        runner.logger.info(f'Best architecture after {title} (child: {join_path(out_dir, "child_config.py")}):\n'
                           f'{architecture}')
