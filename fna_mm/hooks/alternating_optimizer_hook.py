"""The search: after weight steps on one sampled path, an architecture step on the mixture of all."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Optional, Union

import numpy as np
import torch
from mmengine.dist import all_reduce, broadcast_object_list, get_world_size
from mmengine.hooks import CheckpointHook, Hook, LoggerHook
from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import HOOKS, TASK_UTILS
from mmengine.runner import BaseLoop, IterBasedTrainLoop
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fna_mm.backbones import find_supernet
from fna_mm.backbones.believed_strides import check_strides
from fna_mm.checkpoints.folder_lock import FolderLock
from fna_mm.checkpoints.last_checkpoint import mend_last_checkpoint
from fna_mm.checkpoints.whole_models import check_finite
from fna_mm.checks import check_integer
from fna_mm.cost.best_path import most_probable_path
from fna_mm.cost.cost_loss import expected_cost
from fna_mm.cost.madds import CostTable, madds_table
from fna_mm.hooks.architecture_optimizer import build_architecture_optimizer, check_sections, named_errors
from fna_mm.hooks.endless_batches import EndlessBatches, SeededBatches, seed_random_numbers
from fna_mm.hooks.pending_gradients import Gradients, gather_gradients, restore_gradients
from fna_mm.hooks.preflight import (
    check_costs_are_finite,
    check_memory,
    check_parts_are_disjoint,
    check_space,
    check_statistics,
    check_training_mode,
)
from fna_mm.hooks.rank_agreement import check_ranks_agree
from fna_mm.remapping.normalisation import warn_of_normalisation

STATE = 'alternating_optimizer'
#: Makes the generator of an architecture step's candidates another one than those of paths.
STREAM_OF_CANDIDATES = 2


@contextmanager
def only_architecture_trains(model: nn.Module, supernet: Any) -> Iterator[None]:
    """Within: the mixture runs and only the architecture parameters require gradients.

    Afterwards, even when a step raises: weights require gradients as before, the architecture
    parameters do not, and every other buffer (BN statistics of stem, neck and head, which a forward
    pass in training mode moves) has its old value.

    Args:
        model (nn.Module): The whole model, unwrapped.
        supernet (FNASuperNet): Its supernet.
    """
    architecture = supernet.architecture_parameters
    trained: list[nn.Parameter] = []
    buffers: list[tuple[dict, str, Tensor]] = []
    for module in model.modules():  # once: a large model has thousands
        trained += [parameter for parameter in module._parameters.values()
                    if parameter is not None and parameter.requires_grad]
        buffers += [(module._buffers, name, buffer.clone()) for name, buffer in module._buffers.items()
                    if buffer is not None and buffer is not architecture]
    supernet.use_mixture()
    for parameter in trained:
        parameter.requires_grad_(False)
    architecture.requires_grad_(True)
    try:
        yield
    finally:
        architecture.requires_grad_(False)
        for parameter in trained:
            parameter.requires_grad_(True)
        with torch.no_grad():
            for owner, name, value in buffers:
                owner[name].copy_(value)
        supernet.use_best_path()


@HOOKS.register_module(force=True)
class AlternatingOptimizerHook(Hook):
    """Differentiable search on an unchanged runner (paper, section 3.2).

    Every training iteration is a weight step on one path of the supernet, drawn uniformly until the
    architecture steps begin and from the softmax of the architecture parameters afterwards. From then
    on every ``weight_steps_per_arch_step``-th is followed by an architecture step: a batch of the
    architecture's own data through the weighted mixture, the cost term, one step of the architecture
    optimizer. Such a step changes the architecture parameters and nothing else.

    Paths and every random number in a step depend on (seed, iteration) only; the optimizer and the
    place in the data are in the checkpoint. A resumed search continues as if it had not been stopped.

    Args:
        dataloader (dict): The architecture's data, as mm's ``train_dataloader``.
        optim_wrapper (dict): The architecture's optimizer, as mm's ``optim_wrapper``; AMP,
            accumulation and clipping work as there.
        begin_epoch (int, optional): Epochs of weight steps alone, before the architecture steps.
        begin_iter (int, optional): The same in iterations. Give one of the two.
        weight_steps_per_arch_step (int): Defaults to 1.
        cost (dict, optional): The cost term, such as ``dict(type='MAddsCost', input_shape=(800,
            1088), weight=0.02)``. Defaults to None: accuracy alone.

    Raises:
        ValueError: If an argument is illegal, here; before training, if the architecture steps would
            never begin, there is no supernet, or no data.
    """

    # Before the timer, whose 'time' thereby holds both kinds of step, and before checkpoints.
    priority = 'ABOVE_NORMAL'

    def __init__(self,
                 dataloader: Union[dict, DataLoader],
                 optim_wrapper: dict,
                 begin_epoch: Optional[int] = None,
                 begin_iter: Optional[int] = None,
                 weight_steps_per_arch_step: int = 1,
                 cost: Optional[dict] = None) -> None:
        if (begin_epoch is None) == (begin_iter is None):
            raise ValueError('AlternatingOptimizerHook needs either begin_epoch or begin_iter: when the '
                             f'architecture steps begin; given are begin_epoch={begin_epoch}, begin_iter={begin_iter}')
        for name, value, least in (('begin_epoch', begin_epoch, 0), ('begin_iter', begin_iter, 0),
                                   ('weight_steps_per_arch_step', weight_steps_per_arch_step, 1)):
            if value is not None:
                check_integer(f'{name} of AlternatingOptimizerHook', value, least)
        self.begin_epoch = begin_epoch
        self.begin_iter = begin_iter
        self.weight_steps_per_arch_step = weight_steps_per_arch_step
        check_sections(dataloader, optim_wrapper, cost)
        self.cost: Any = TASK_UTILS.build(cost) if isinstance(cost, dict) else cost
        self.arch_steps = 0
        self.skipped_steps = 0
        self._dataloader = dataloader
        self._optim_wrapper_cfg = optim_wrapper
        self._loaded_state: Optional[dict] = None
        self._lock: Optional[FolderLock] = None
        #: An iteration behind which a checkpoint is written, and the gradients of all processes there.
        self._gradients: tuple[int, list[Gradients]] = (-1, [])

    def first_iter(self, runner: Any) -> int:
        """The iteration, from 0, whose weight step is the first that counts towards an architecture step.

        Raises:
            ValueError: If training ends before it.
        """
        by_iter = isinstance(runner.train_loop, IterBasedTrainLoop)
        if self.begin_epoch is not None:
            if by_iter:
                raise ValueError(f'begin_epoch={self.begin_epoch} has no meaning under IterBasedTrainLoop: '
                                 'use begin_iter')
            if self.begin_epoch >= runner.max_epochs:
                raise ValueError(f'begin_epoch={self.begin_epoch}, but training ends after {runner.max_epochs} '
                                 f'epochs: no architecture step would be made; use at most {runner.max_epochs - 1}')
            # From where the run is: one that was saved on another number of processes had other epochs.
            return runner.iter + (self.begin_epoch - runner.epoch) * len(runner.train_dataloader)
        assert self.begin_iter is not None  # one of the two is, says __init__
        if self.begin_iter >= runner.max_iters:
            raise ValueError(f'begin_iter={self.begin_iter}, but training ends after {runner.max_iters} iterations: '
                             f'no architecture step would be made; use at most {runner.max_iters - 1}')
        return self.begin_iter

    @property
    def _budget(self) -> bool:
        """Whether the cost term has a budget. Cost terms of a user may have none."""
        return getattr(self.cost, 'budget', None) is not None

    def is_arch_step(self, iteration: int) -> bool:
        """Whether an architecture step follows the weight step of ``iteration`` (from 0)."""
        weight_steps = iteration + 1 - self._first_iter
        return weight_steps > 0 and weight_steps % self.weight_steps_per_arch_step == 0

    def before_train(self, runner: Any) -> None:
        """Build what the architecture steps need, and check it before the first iteration."""
        if sum(isinstance(hook, AlternatingOptimizerHook) for hook in runner.hooks) > 1:
            raise ValueError('the config has more than one AlternatingOptimizerHook: keep one')
        self._first_iter = self.first_iter(runner)
        weight_steps = runner.max_iters - self.begin_iter if self.begin_iter is not None else \
            (runner.max_epochs - (self.begin_epoch or 0)) * len(runner.train_dataloader)
        total = weight_steps // self.weight_steps_per_arch_step
        if total == 0:
            raise ValueError(f'weight_steps_per_arch_step={self.weight_steps_per_arch_step}, but only {weight_steps} '
                             'iterations are left when the architecture steps begin: no architecture step would be '
                             'made; begin earlier or train longer')
        self._model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._supernet = find_supernet(self._model)
        check_training_mode(runner.model, runner.cfg)
        check_strides(self._model)
        warn_of_normalisation(runner)
        seed = [runner.seed]
        broadcast_object_list(seed)
        resumed = self._loaded_state if runner.iter > 0 else None
        self._seed = int(seed[0]) if resumed is None else resumed['seed']
        dataloader: Any = self._dataloader
        if isinstance(dataloader, dict):
            # The ranks' common seed: under diff_rank_seed their own ones would shuffle differently.
            with named_errors('dataloader'):
                dataloader = runner.build_dataloader(dataloader, seed=self._seed)
        self._batches = EndlessBatches(dataloader)
        self.optim_wrapper = build_architecture_optimizer(self._supernet.architecture_parameters,
                                                          self._optim_wrapper_cfg)
        self._table: Optional[CostTable] = None
        if self.cost is not None:
            size = self._supernet.search_space, self._supernet.output_stride, self._supernet.built_head_channels
            # A cost term of a user may be one of MAdds alone.
            self._table, seed_cost = self.cost.costs(*size) if hasattr(self.cost, 'costs') else (
                madds_table(size[0], self.cost.input_shape, *size[1:]), 0.)
            check_costs_are_finite(self._table)
            if self._budget:
                self.cost.resolve(self._table, seed_cost)
                self._supernet.limit_best_path(partial(
                    most_probable_path, table=self._table, budget=self.cost.limit))
        for loader in (runner.train_dataloader, dataloader):
            check_statistics(loader, self._model, self._supernet)
        check_parts_are_disjoint(runner.train_dataloader.dataset, dataloader.dataset)
        check_space(self._model, runner.work_dir)
        self._checkpoint_hooks = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
        if any(hook.max_keep_ckpts == 1 for hook in self._checkpoint_hooks):
            runner.logger.warning('CheckpointHook(max_keep_ckpts=1) removes the last checkpoint before it writes the '
                                  'next one: killed in between, the search would have to start anew; keep two')
        self._log_interval = next((hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)), 10)
        if self._supernet.architecture_parameters.is_cuda:
            check_memory(lambda: self._try_step(dataloader), self._supernet, dataloader.batch_size)
        if runner.iter > 0:
            self._restore(runner)
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            loop = runner.train_loop
            loop.dataloader_iterator = SeededBatches(loop.dataloader_iterator, self._seed_data)
        self.optim_wrapper.initialize_count_status(self._model, self.arch_steps, total)
        runner.logger.info(
            f'Search: {self._supernet.search_space.num_candidates} candidates in '
            f'{len(self._supernet.search_space.layers)} layers; architecture steps from iteration '
            f'{self._first_iter + self.weight_steps_per_arch_step} of {runner.max_iters}, '
            f'{total} in all, on {len(dataloader.dataset)} samples')

    def _restore(self, runner: Any) -> None:
        state = self._loaded_state
        if state is None:
            runner.logger.warning(f'the checkpoint resumed from has no {STATE!r}: the architecture optimizer and its '
                                  'data start anew')
            return
        self.optim_wrapper.load_state_dict(state['optim_wrapper'])
        self.arch_steps, self.skipped_steps = state['arch_steps'], state['skipped_steps']
        if self._budget and state.get('cost'):
            self.cost.load_state_dict(state['cost'])
        then, now = state['world_size'], get_world_size()
        if then != now:
            runner.logger.warning(
                f'the search was saved by {then} processes and is resumed by {now}: a step sees {now}/{then} as many '
                'images, for which the learning rates are not changed; epochs have another number of iterations; the '
                'order of the data and the random numbers of each process are others. The architecture, both '
                'optimizers, the paths and the two parts of the data go on as they were')
        runner.logger.info(f'Search resumed: {self.arch_steps} architecture steps made, '
                           f'data at epoch {state["data"]["epoch"]}, batch {state["data"]["batch"]}')
        self._batches.load_state_dict(state['data'], then / now)
        restore_gradients(self._trained(), state.get('gradients', ()))

    def _trained(self) -> dict[str, Tensor]:
        """All that either optimizer trains, by name."""
        return dict(self._model.named_parameters(), architecture_parameters=self._supernet.architecture_parameters)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Put the architecture optimizer, its place in the data, the seed and gradients into the checkpoint."""
        checkpoint[STATE] = dict(
            optim_wrapper=self.optim_wrapper.state_dict(),
            arch_steps=self.arch_steps,
            skipped_steps=self.skipped_steps,
            world_size=get_world_size(),
            seed=self._seed,
            candidates=self._supernet.search_space.candidate_names(),
            cost=dict(self.cost.state_dict(), limit=self.cost.limit, fixed=self._table.fixed,
                      layers=[list(costs) for costs in self._table.layers]) if self._budget and self._table else None,
            data=self._batches.state_dict(),
            # Wherever a checkpoint is written: one process alone holds all gradients.
            gradients=self._gradients[1] if self._gradients[0] == runner.iter else
            gather_gradients(self._trained()) if get_world_size() == 1 else [])

    def before_run(self, runner: Any) -> None:
        """Lock the work directory; look at what a resumed search goes on from, before mm does.

        Raises:
            ValueError: If another search writes to the work directory, or none of its checkpoints is whole.
        """
        if isinstance(runner._train_loop, BaseLoop):  # a test beside a running search harms nothing
            self._lock = FolderLock(runner.work_dir)
        if runner._resume and runner._load_from is None:  # where mm looks for the last checkpoint itself
            mend_last_checkpoint(runner.work_dir, runner.logger.warning)

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Keep the state for :meth:`before_train`, which uses it if the run resumes.

        Raises:
            ValueError: If a search is to be resumed in another search space, or from numbers that are not finite.
        """
        check_finite(checkpoint.get('state_dict', {}), 'the checkpoint that the search starts from')
        self._loaded_state = state = checkpoint.get(STATE)
        if runner._resume and state is not None:  # as mm's EMAHook asks
            then, now = state['candidates'], find_supernet(runner.model).search_space.candidate_names()
            if then != now:
                layer = next(name for name in {**then, **now} if then.get(name) != now.get(name))
                raise ValueError('the checkpoint is of a search in another space, which cannot be resumed here: its '
                                 f'layer {layer} has {then.get(layer, "no candidates")}, the config\'s '
                                 f'{now.get(layer, "no candidates")}; give the backbone the arguments of that search, '
                                 'or start anew in another work_dir')

    def after_run(self, runner: Any) -> None:
        """Unlock the work directory."""
        if self._lock is not None:
            self._lock.release()

    def before_train_epoch(self, runner: Any) -> None:
        """Seed what happens between here and the first iteration: loading its batch."""
        self._seed_data(runner.iter)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Draw the path of the weight step from (seed, iteration)."""
        if runner.iter >= self._first_iter:
            self._batches.prefetch()  # before the seeding: a new pass draws a random number
        rng = np.random.default_rng((self._seed, runner.iter))
        self._supernet.use_path(self._supernet.sample_path(rng, uniform=runner.iter < self._first_iter))
        seed_random_numbers(self._seed, runner.iter)  # dropout and the like
        self._weight_step_start = time.perf_counter()

    def _seed_data(self, iteration: int) -> None:
        """Make the augmentation of an iteration's batch in this process a function of (seed, iteration, rank)."""
        seed_random_numbers(self._seed, iteration, stream=1)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None,
                         outputs: Optional[dict] = None) -> None:
        """Make an architecture step if it is time for one."""
        now = time.perf_counter()
        runner.message_hub.update_scalar('train/weight_step_time', now - self._weight_step_start)
        if self.is_arch_step(runner.iter):
            batch = next(self._batches)
            logs = dict(arch_data_time=time.perf_counter() - now, **self.arch_step(batch))
            logs['arch_step_time'] = time.perf_counter() - now
            for name, value in logs.items():
                runner.message_hub.update_scalar(f'train/{name}', value)
        if runner.iter >= self._first_iter and self.every_n_train_iters(runner, self._log_interval):
            runner.visualizer.add_scalars(self._layer_entropies(), step=runner.iter + 1)
        if any(not hook.by_epoch and (self.every_n_train_iters(runner, hook.interval)
                                      or self.is_last_train_iter(runner)) for hook in self._checkpoint_hooks):
            self._prepare_checkpoint(runner)

    def after_train_epoch(self, runner: Any) -> None:
        """Before a checkpoint is written, compare what the ranks hold."""
        if any(hook.by_epoch and (self.every_n_epochs(runner, hook.interval) or self.is_last_train_epoch(runner))
               for hook in self._checkpoint_hooks):
            self._prepare_checkpoint(runner)

    def _prepare_checkpoint(self, runner: Any) -> None:
        check_ranks_agree(self._supernet.architecture_parameters, 'the architecture parameters')
        check_ranks_agree(self.optim_wrapper.state_dict(), 'the states of the architecture optimizer')
        self._gradients = runner.iter, gather_gradients(self._trained())

    def arch_step(self, batch: Any) -> dict[str, float]:
        """One step of the architecture optimizer on a batch of the dataloader.

        Returns:
            dict[str, float]: The losses, each with ``arch_`` before its name; the cost term; expected
            and best path's cost, in GMAdds or the unit of a table; mean entropy of the layers' distributions, nats.
        """
        architecture, unit = self._supernet.architecture_parameters, getattr(self.cost, 'unit', 'GMAdds').lower()
        with only_architecture_trains(self._model, self._supernet):
            loss, log_vars = self._mixture_loss(batch)
            task_loss = loss.detach().clone()
            logs = {f'arch_{name}': float(torch.as_tensor(value).detach()) for name, value in log_vars.items()}
            if self._table is not None:
                cost_loss = self.cost(expected_cost(self._supernet.mixture_probabilities(), self._table.layers,
                                                    self._table.fixed))
                expected = expected_cost(self._supernet.probabilities(), self._table.layers, self._table.fixed)
                logs.update({'arch_cost_loss': float(cost_loss.detach()), f'expected_{unit}': float(expected.detach())})
                loss = loss + cost_loss
            # What OptimWrapper.update_params does, with the ranks' mean between backward and step.
            self.optim_wrapper.backward(self.optim_wrapper.scale_loss(loss))
            if self.optim_wrapper.should_update():
                all_reduce(architecture.grad, op='mean')
                self._step(architecture)
        self.arch_steps += 1
        if self._budget:
            all_reduce(task_loss, op='mean')  # the ranks see other images, and must go on with the same weight
            self.cost.follow(logs[f'expected_{unit}'], float(task_loss))
            logs['arch_cost_multiplier'] = self.cost.multiplier
        if self._table is not None:
            logs[f'best_path_{unit}'] = self._table.of_path(self._supernet.best_path())
        entropies = self._layer_entropies().values()
        logs['arch_skipped_steps'] = float(self.skipped_steps)
        logs['arch_entropy'] = sum(entropies) / len(entropies)
        norms = self.optim_wrapper.message_hub.log_scalars.get('train/grad_norm')
        if norms is not None:
            logs['arch_grad_norm'] = float(norms.current())
        return logs

    def _mixture_loss(self, batch: Any) -> tuple[Tensor, dict[str, Any]]:
        """The loss of a batch of the dataloader, on the candidates drawn for this step, and what mm logs of it."""
        self._supernet.use_mixture(self._supernet.sample_candidates(
            np.random.default_rng((self._seed, self.arch_steps, STREAM_OF_CANDIDATES))))
        with self.optim_wrapper.optim_context(self._model):
            data = self._model.data_preprocessor(batch, True)
            losses = self._model(**data, mode='loss') if isinstance(data, dict) else self._model(*data, mode='loss')
            return self._model.parse_losses(losses)

    def _try_step(self, dataloader: Any) -> None:
        """Forward and backward of an architecture step on the first samples; nothing changes."""
        samples = [dataloader.dataset[index % len(dataloader.dataset)] for index in range(dataloader.batch_size)]
        self._model.train()
        with only_architecture_trains(self._model, self._supernet):
            loss, _ = self._mixture_loss(dataloader.collate_fn(samples))
            torch.autograd.grad(loss, self._supernet.architecture_parameters)

    def _step(self, architecture: Tensor) -> None:
        """One step of the optimizer, unless the gradients are not finite: one NaN would stay in them for ever."""
        assert architecture.grad is not None  # backward has just been called
        finite = bool(torch.isfinite(architecture.grad).all())  # after the all-reduce: alike on all ranks
        if not finite:
            self.skipped_steps += 1
        # A gradient scaler skips such a step itself, and must see it to lower its scale.
        if finite or isinstance(self.optim_wrapper, AmpOptimWrapper):
            self.optim_wrapper.step()
        self.optim_wrapper.zero_grad()

    def _layer_entropies(self) -> dict[str, float]:
        """Entropy of every layer's distribution over its candidates, nats."""
        probabilities = [p.detach().double().cpu() for p in self._supernet.probabilities()]
        return {f'arch_entropy/{layer.name}': float(torch.special.entr(p).sum())
                for layer, p in zip(self._supernet.search_space.layers, probabilities)}

    def before_val_epoch(self, runner: Any) -> None:
        """Evaluate the best path."""
        find_supernet(runner.model).use_best_path()

    def before_test_epoch(self, runner: Any) -> None:
        """Evaluate the best path."""
        find_supernet(runner.model).use_best_path()
