"""Exporting the architecture that the search has found so far."""

import os.path as osp
import time
from collections.abc import Sequence
from typing import Any, Optional, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import get_world_size, is_main_process, master_only
from mmengine.fileio import join_path
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop

from fna_mm.architecture import Architecture
from fna_mm.backbones import find_supernet
from fna_mm.checkpoints.whole_files import put_whole
from fna_mm.checks import check_integer
from fna_mm.configs import child_config, child_config_text
from fna_mm.cost.best_path import most_probable_path
from fna_mm.cost.madds import GIGA, CostTable, madds_table
from fna_mm.hooks.alternating_optimizer_hook import AlternatingOptimizerHook
from fna_mm.hooks.preflight import check_can_write
from fna_mm.report import write_report
from fna_mm.report.architecture_figures import architecture_figure
from fna_mm.report.canvas import image_to_png, to_image
from fna_mm.report.history import FOLDER, Gmadds, SearchState, append_history, named_probabilities, start_history
from fna_mm.report.run import read_run
from fna_mm.report.search_figures import probability_figure
from fna_mm.report.time_account import ARCHITECTURE, DATA, EVALUATION, WEIGHTS, TimeAccount

STATE = 'architecture_export'
#: Figures that every export writes. The other figures go to the visualizer whenever the report is drawn.
EXPORTED = ('architecture', 'probabilities')
#: Exports of a search whose loop counts iterations, where ``interval`` is not given.
EXPORTS = 10
#: Largest share of the time that is spent on drawing reports.
REPORT_SHARE = .05


@HOOKS.register_module(force=True)
class ArchitectureExportHook(Hook):
    """Write the currently best architecture, its training config and its pictures.

    The work directory gets ``arch.json`` (and ``arch_epoch_N.json`` or ``arch_iter_N.json`` beside it),
    ``child_config.py``, which is a complete config that mm's tools train without changes,
    ``architecture.png`` and ``probabilities.png``. Its folder ``fna_report`` gets ``history.jsonl``, with one
    line for each export, and the page ``index.html``, which is drawn again at the end, and in between as
    long as drawing takes at most a twentieth of the time. Figures and scalars also go to the visualizer, and
    so to all its backends in the config.

    Args:
        interval (int, optional): Epochs or iterations between two exports. Defaults to None: 1 epoch, or a tenth of
            the iterations.
        by_epoch (bool, optional): Whether ``interval`` counts epochs. Defaults to None: as the training loop counts.
        child_config (str, optional): Path of a retraining config with an ``FNAChildNet``, on which the
            child's config is built. Defaults to None: the search's own config without the search.
        out_dir (str, optional): Folder of all files but the report. Defaults to None: the work directory.
        budgets (Sequence[float | str], optional): Budgets as in the search's cost term. For each one the most probable
            architecture within it is written, too: ``arch_budget_0.5.json`` and ``child_config_budget_0.5.py``.
            Defaults to None: none.

    Raises:
        ValueError: If ``interval`` is no positive integer; before training, if ``child_config`` has neither
            ``FNAChildNet`` nor ``MobileNetV2``, the config has no ``AlternatingOptimizerHook``, or one without a cost
            term for budgets, or a budget is illegal or cannot be reached.
        FileNotFoundError: Before training, if ``child_config`` does not exist.
    """

    # After the architecture step and before checkpoints.
    priority = 'LOW'

    def __init__(self,
                 interval: Optional[int] = None,
                 by_epoch: Optional[bool] = None,
                 child_config: Optional[str] = None,
                 out_dir: Optional[str] = None,
                 budgets: Optional[Sequence[Union[float, str]]] = None) -> None:
        self.interval = None if interval is None else check_integer('interval of ArchitectureExportHook', interval)
        self.by_epoch = by_epoch
        self.child_config = child_config
        self.out_dir = out_dir
        self.budgets = list(budgets or ())
        self._retraining: Optional[Config] = None
        self._loaded_seconds: Optional[dict[str, float]] = None
        self._exported: Optional[tuple[str, int]] = None
        self._next_report = 0.

    def before_train(self, runner: Any) -> None:
        """Read the retraining config and try to build a child's config, before any long work; start the clock."""
        supernet = find_supernet(runner.model)
        searching = [hook for hook in runner.hooks if isinstance(hook, AlternatingOptimizerHook)]
        if not searching:
            raise ValueError('ArchitectureExportHook without an AlternatingOptimizerHook: nothing would change the '
                             'architecture that it exports; add one to custom_hooks')
        if self.by_epoch is None:
            self.by_epoch = not isinstance(runner.train_loop, IterBasedTrainLoop)
        if self.interval is None:
            self.interval = 1 if self.by_epoch else max(1, runner.max_iters // EXPORTS)
        if self.child_config is not None:
            self._retraining = Config.fromfile(self.child_config)
        child_config(runner.cfg, supernet.best_architecture(), runner.work_dir, self._retraining)
        if is_main_process():
            check_can_write(self.out_dir or runner.work_dir)
            start_history(runner.work_dir, runner.iter)
        self._searching = searching[0]
        cost: Any = self._searching.cost
        if self.budgets and not hasattr(cost, 'within'):
            raise ValueError('budgets of ArchitectureExportHook need costs: give AlternatingOptimizerHook a cost, such '
                             'as MAddsCost')
        self._limits: dict[str, tuple[CostTable, float]] = {}
        if self.budgets:
            table, seed = cost.costs(supernet.search_space, supernet.output_stride, supernet.built_head_channels)
            self._limits = {cost.parse(value).text: (table, cost.within(value, table, seed)) for value in self.budgets}
        self._arch_steps = self._searching.arch_steps
        self._account = TimeAccount(self._loaded_seconds if runner.iter > 0 else None)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Put the times of the account into the checkpoint."""
        checkpoint[STATE] = dict(seconds=self._account.seconds())

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Keep the times in the checkpoint for :meth:`before_train`, which uses them if the run resumes."""
        self._loaded_seconds = (checkpoint.get(STATE) or {}).get('seconds')

    def before_train_epoch(self, runner: Any) -> None:
        """Start the time of loading data; checkpoints and exports are finished here."""
        self._account.lap()

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Book the time of loading the batch."""
        self._account.lap(DATA)

    def before_val_epoch(self, runner: Any) -> None:
        """Start the time of an evaluation; outside a training there is no account."""
        if hasattr(self, '_account'):
            self._account.lap()

    def after_val_epoch(self, runner: Any, metrics: Optional[dict[str, float]] = None) -> None:
        """Book the time of the evaluation."""
        if hasattr(self, '_account'):
            self._account.lap(EVALUATION)

    def after_train_epoch(self, runner: Any) -> None:
        """Export every ``interval`` epochs and after the last one."""
        self._account.lap()
        if self.by_epoch and (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            self.export(runner, f'epoch_{runner.epoch + 1}', runner.iter)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None,
                         outputs: Optional[dict] = None) -> None:
        """Book the time of the step; export every ``interval`` iterations and after the last one."""
        self._account.lap(WEIGHTS)
        if self._searching.arch_steps > self._arch_steps:
            self._arch_steps = self._searching.arch_steps
            self._account.move(runner.message_hub.get_scalar('train/arch_step_time').current(), WEIGHTS, ARCHITECTURE)
        if not self.by_epoch and (self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)):
            self.export(runner, f'iter_{runner.iter + 1}', runner.iter + 1)
            self._account.lap()

    @master_only
    def after_train(self, runner: Any) -> None:
        """Write the last state, whose times include the last evaluation, and the last report."""
        if self._exported is not None:
            append_history(runner.work_dir, self.search_state(runner, *self._exported))
            self._report(runner, self._exported[1])

    def search_state(self, runner: Any, moment: str, step: int) -> SearchState:
        """The state of the search now.

        Args:
            runner (Runner): The runner of the search.
            moment (str): Name of the moment, such as ``epoch_3``.
            step (int): Number of iterations so far.
        """
        supernet = find_supernet(runner.model)
        space = supernet.search_space
        probabilities = named_probabilities(space, [p.detach().cpu().tolist() for p in supernet.probabilities()])
        shape: Optional[Sequence[int]] = getattr(self._searching.cost, 'input_shape', runner.cfg.get('input_shape'))
        gmadds = None
        if shape is not None:
            size = (tuple(shape), supernet.output_stride, supernet.built_head_channels)
            gmadds = Gmadds.of(madds_table(space, *size), space, probabilities, space.seed.madds(*size) / GIGA)
        return SearchState(
            step, runner.max_iters, moment.replace('_', ' '), supernet.best_architecture(), space.seed, probabilities,
            gmadds, self._account.seconds(), get_world_size(),
            torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU')

    @master_only
    def export(self, runner: Any, moment: str, step: int) -> None:
        """Write the architecture, the child's config, the pictures and a line of the history.

        Args:
            runner (Runner): The runner of the search.
            moment (str): Name of the moment, such as ``epoch_3``; it is part of the second JSON file's name.
            step (int): Number of iterations so far; the visualizer gets it with the pictures.
        """
        out_dir = self.out_dir or runner.work_dir
        state = self.search_state(runner, moment, step)
        architecture = state.architecture
        config = child_config(runner.cfg, architecture, osp.join(runner.work_dir, 'child'), self._retraining)
        title = state.moment
        figures = dict(
            architecture=architecture_figure(architecture, state.seed, f'Best path after {title}'),
            probabilities=probability_figure(state.probabilities, f'Probability of each candidate after {title}'))
        # Everything is made before anything is written, so that an error leaves the last export as it was.
        images = {name: to_image(figure) for name, figure in figures.items()}
        text = architecture.to_json()
        front = {budget: (within, child_config(runner.cfg, within, osp.join(runner.work_dir, f'child_budget_{budget}'),
                                               self._retraining))
                 for budget, within in self._architectures_within(find_supernet(runner.model)).items()}
        files = {f'arch_{moment}.json': text, 'arch.json': text,
                 'child_config.py': child_config_text(config, 'child_config.py')}
        for budget, (within, its_config) in front.items():
            name = f'child_config_budget_{budget}.py'
            files.update({f'arch_budget_{budget}.json': within.to_json(), name: child_config_text(its_config, name)})
        put_whole({join_path(out_dir, name): content.encode() for name, content in files.items()})
        append_history(runner.work_dir, state)
        self._exported = moment, step
        runner.visualizer.add_scalars(
            {f'arch_probability/{layer}/{candidate}': p for layer, of_layer in state.probabilities.items()
             for candidate, p in of_layer.items()}, step=step)
        runner.visualizer.add_scalars(
            {f'minutes/{part.replace(" ", "_")}': seconds / 60 for part, seconds in (state.seconds or {}).items()},
            step=step)
        put_whole({join_path(out_dir, f'{name}.png'): image_to_png(image) for name, image in images.items()})
        for name, image in images.items():
            self._show(runner, name, image, step)
        if state.undecided:
            runner.logger.warning(state.undecided)
        runner.logger.info(f'{"Most probable" if state.undecided else "Best"} architecture after {title} '
                           f'(child: {join_path(out_dir, "child_config.py")}):\n{architecture}')
        # The last report is drawn after the last evaluation.
        if step < runner.max_iters and time.perf_counter() >= self._next_report:
            self._report(runner, step)

    def _architectures_within(self, supernet: Any) -> dict[str, Architecture]:
        """The most probable architecture within each of the budgets."""
        found = {}
        for budget, (table, limit) in self._limits.items():
            path = most_probable_path(supernet.log_probabilities(), table, limit)
            assert path is not None  # that there is one was checked before training
            found[budget] = supernet.search_space.architecture(path)
        return found

    def _report(self, runner: Any, step: int) -> None:
        start = time.perf_counter()
        try:
            _, figures = write_report([read_run(runner.work_dir)], osp.join(runner.work_dir, FOLDER))
        except Exception as error:  # an error in the report must not stop a search
            runner.logger.warning(f'the report could not be written: {type(error).__name__}: {error}')
            figures = []
        for figure in figures:
            if figure.name not in EXPORTED:
                self._show(runner, figure.name, figure.image, step)
        now = time.perf_counter()
        self._next_report = now + (now - start) / REPORT_SHARE

    @staticmethod
    def _show(runner: Any, name: str, image: np.ndarray, step: int) -> None:
        # The name has no slash: LocalVisBackend makes a file of that name and does not create folders.
        runner.visualizer.add_image(f'fna_{name}', image, step=step)
