"""Measured adaptation: a trained model and a budget in, a child that keeps what the model knows out."""

import copy
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any, Optional, Union

import numpy as np
import torch
from mmengine.dist import barrier, get_dist_info, is_main_process
from mmengine.logging import print_log
from torch import Tensor

from fna_mm.adaptation.candidate_table import MOST_MEASURED, CandidateTable, Choice
from fna_mm.adaptation.candidates import Candidate, Limits, chosen_architecture
from fna_mm.adaptation.chain import Chain
from fna_mm.adaptation.child import build_child, child_section_of, origins_of
from fna_mm.adaptation.evaluation import evaluate_checkpoint
from fna_mm.adaptation.finetuning import finetuning_config
from fna_mm.adaptation.growing import CALIBRATION, needed_statistics, rehearse, space_of, teacher_of
from fna_mm.adaptation.growth import Growth, settle
from fna_mm.adaptation.images import MeasuredImages
from fna_mm.adaptation.measuring import (
    Progress,
    measure_candidates,
    measure_statistics,
    no_progress,
    normalised_images,
    on_images,
)
from fna_mm.adaptation.options import MOST, AdaptedChild, AdaptOptions, needs_growing
from fna_mm.adaptation.outside import OutsideWidths
from fna_mm.adaptation.page import report_files, said_of_fixed
from fna_mm.adaptation.prepared_search import build_search, prepare_model
from fna_mm.adaptation.refit import fit_alone, refit
from fna_mm.adaptation.rehearsal import Growing, check_can_train
from fna_mm.adaptation.scores import Measurement, Replacement, Scorer, first_measured, grown_measured, mean_and_error
from fna_mm.adaptation.shared_widths import outside_of
from fna_mm.adaptation.statistics import Statistics, statistics_of
from fna_mm.adaptation.tap_widths import CHANNELS, KeptOfTaps, TapWidths
from fna_mm.adaptation.taps import tap_statistics_of, taps_of
from fna_mm.adaptation.teaching import TEACHER, distillation_of, outputs_of, teacher_state
from fna_mm.adaptation.trained_model import TrainedModel, load_trained
from fna_mm.adaptation.work_folder import WorkFolder, file_digest, gather_scores
from fna_mm.backbones.elastic_space import ElasticSpace
from fna_mm.backbones.fna_child_net import FNAChildNet
from fna_mm.checkpoints.whole_files import checkpoint_bytes, write_whole
from fna_mm.configs import config_text, package_of
from fna_mm.cost.budget import Budget
from fna_mm.hooks.rank_agreement import digest
from fna_mm.report.run import ADAPTATION

#: Images for statistics, and the largest and first number of images for scores.
_STATISTICS, _SCORES, _FIRST_SCORES = 256, 128, 16
#: First number of images for scores if the errors of the backbone's maps do not tell some of them.
_FIRST_LOSSES = 48
#: Share of the images that statistics may use: scores need others.
_STATISTICS_SHARE = .6
#: Share of the images that scores may use if the network grows: the rehearsal does not see them.
_HELD_OUT_SHARE = .25
_LEAST_IMAGES = 8
#: Share of the trained model's loss below which the error of a predicted growth does not matter.
_SMALL = .02
#: Folder of the model behind the rehearsal, with the trained backbone's architecture.
_REHEARSED = 'rehearsed'
_TITLE = ('An adapted model, written by fna_mm: mim test evaluates child.pth beside this file, mim train fine-tunes '
          'it.')


def adapt(config: str, checkpoint: str, budgets: Sequence[Union[str, float]] = (.5, ), work_dir: Optional[str] = None,
          options: Optional[AdaptOptions] = None, progress: Optional[Progress] = None) -> list[AdaptedChild]:
    """Adapt a trained model to budgets.

    Args:
        config (str): Path of the trained model's config.
        checkpoint (str): Path of its checkpoint.
        budgets (Sequence): Shares (``0.5``) or absolute numbers (``'250M'``). Defaults to (0.5,).
        work_dir (str, optional): Folder of all files. Defaults to None: ``work_dirs/<config>_adapted``.
        options (AdaptOptions, optional): Everything else. Defaults to None: the defaults of these.
        progress (Progress, optional): Shows the progress. Defaults to None: nothing is shown.

    Returns:
        list[AdaptedChild]: One child for every budget.

    Raises:
        FileNotFoundError: If the config or the checkpoint does not exist.
        ValueError: If anything that was given is wrong; nothing was written then.
    """
    options = options or AdaptOptions()
    unit = options.prices.unit
    wanted = list(dict.fromkeys(Budget.parse(budget, MOST, unit) for budget in budgets))
    if not wanted:
        raise ValueError('give at least one budget, such as 0.5')
    if options.grow is None and needs_growing(budgets, unit):
        options = replace(options, grow=Growing())
    trained = load_trained(config, checkpoint)
    images = MeasuredImages(trained.config, options.seed)
    images.check_labels()
    adaptation = _Adaptation(trained, images, wanted, options, progress or no_progress)
    adaptation.open_folder(work_dir or _default_folder(config), config, checkpoint)
    if options.grow:
        adaptation.grow(options.grow)
    return adaptation.run(config)


def prepare_search(config: str, checkpoint: str, search: str, work_dir: Optional[str] = None,
                   options: Optional[AdaptOptions] = None, progress: Optional[Progress] = None) -> str:
    """Write a checkpoint from which a gradient search starts where a trained model is.

    Every candidate of the search is fitted to the trained model, and the architecture parameters are what the scores
    say. The search loads the file with ``load_from``.

    Args:
        config (str): Path of the trained model's config.
        checkpoint (str): Path of its checkpoint.
        search (str): Path of the search's config.
        work_dir (str, optional): As in :func:`adapt`. Defaults to None.
        options (AdaptOptions, optional): As in :func:`adapt`. Defaults to None.
        progress (Progress, optional): As in :func:`adapt`. Defaults to None.

    Returns:
        str: Path of the checkpoint.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If anything that was given is wrong.
    """
    options = options or AdaptOptions()
    if options.grow:
        raise ValueError('a search that is prepared does not grow: its own space says what layers may become; leave '
                         'out grow')
    trained = load_trained(config, checkpoint)
    model = build_search(search, trained)
    images = MeasuredImages(trained.config, options.seed)
    images.check_labels()
    # Images are added until the scores are good enough for a child of half the cost.
    adaptation = _Adaptation(trained, images, [Budget.parse(.5)], options, progress or no_progress)
    adaptation.open_folder(work_dir or _default_folder(config), config, checkpoint)
    adaptation.measure()
    counts = prepare_model(model, trained, adaptation.chain, adaptation.table, adaptation.statistics)
    path = adaptation.folder.file('prepared_search.pth')
    if is_main_process():
        meta = dict(made_by='fna_mm adapt', search=os.path.basename(search), **counts)
        write_whole({path: checkpoint_bytes(dict(meta=meta, state_dict=model.state_dict()))})
    barrier()
    return path


def _default_folder(config: str) -> str:
    return os.path.join('work_dirs', f'{os.path.splitext(os.path.basename(config))[0]}_adapted')


class _Adaptation:
    """The parts of one adaptation, in their order."""

    def __init__(self, trained: TrainedModel, images: MeasuredImages, budgets: Sequence[Budget],
                 options: AdaptOptions, progress: Progress) -> None:
        self.trained, self.images, self.options, self.progress = trained, images, options, progress
        self.model = trained.model
        if len(images) < _LEAST_IMAGES:
            raise ValueError(f'the training data has {len(images)} images: adapt needs at least {_LEAST_IMAGES}, some '
                             'for statistics and others for scores')
        if torch.cuda.is_available():
            self.model.cuda()
        self.prices = options.prices
        self.prices.check(trained.backbone, options.shape)
        first = next(normalised_images(self.model, images, [0]))
        self.shape = options.shape or self.prices.input_shape or (first.shape[-2], first.shape[-1])
        self.chain = Chain(trained.backbone, self.shape)
        may_narrow = options.narrow and not options.grow and self.prices.counted
        # They are always measured, so that a work directory serves any costs.
        self.measured_taps = () if options.grow else taps_of(self.model, self.chain, trained.config.model)
        self.taps = TapWidths(trained, self.measured_taps if may_narrow else (), self.chain, self.prices, self.shape)
        self.space: Optional[ElasticSpace] = None
        if options.grow:
            check_can_train(trained.config)
            self.space = space_of(trained.backbone, options.grow)
        self.growth: Optional[Growth] = None
        self.table = self._new_table()
        #: Cost of neck and head.
        self.rest = self.prices.of_rest(trained.config, self.shape, self.table.total)
        if self.rest is None and options.of == 'model':
            raise ValueError(f'of=model, but the table {options.table} does not say what neck and head cost: it has no '
                             "'rest'")
        if options.of == 'model':
            self.table.read_costs = self.taps.read_costs
        self.outside: Optional[OutsideWidths] = None
        #: What stays as it is, and its share of the whole model's cost.
        self.fixed: dict[str, float] = {}
        if options.of == 'model' and may_narrow:
            found = outside_of(trained.model)
            narrowed = {'backbone', *found.narrowed, *self.taps.readers}
            fixed = self.prices.of_parts(trained.model, self.shape, narrowed)
            self.fixed = {name: cost / (self.table.total + (self.rest or 0.)) for name, cost in fixed.items()}
            if self.fixed:
                print_log(f'of the trained model {said_of_fixed(self.fixed)}', logger='current')
            if found.widths:
                self.outside = OutsideWidths(trained, found, self.prices, self.shape, self.table.total)
        self.budgets = [(budget, self._limit(budget)) for budget in budgets]
        statistics = options.statistics_images or min(_STATISTICS, int(_STATISTICS_SHARE * len(images)))
        scores = options.score_images or (
            min(_SCORES, max(2, int(_HELD_OUT_SHARE * len(images)))) if options.grow else _SCORES)
        if statistics + 2 > len(images):
            raise ValueError(f'statistics_images={statistics} leaves no images for scores: the training data has '
                             f'{len(images)}, give at most {len(images) - 2}')
        self.statistics_positions = range(statistics)
        self.score_positions = range(statistics, min(len(images), statistics + scores))
        self.statistics: Statistics = {}
        #: The part of the model whose outputs a child is held near to; '' if it is held near the backbone's maps.
        self.outputs = ''
        self.seed_metrics: dict[str, float] = {}
        self.rehearsed_metrics: dict[str, float] = {}

    def _new_table(self) -> CandidateTable:
        return CandidateTable(self.chain, self.prices, self.options.limits or Limits(), self.space, self.taps.taps,
                              stem=self.prices.counted and not self.options.grow)

    def _limit(self, budget: Budget) -> float:
        table, of = self.table, self.options.of
        rest = self.rest or 0.
        limit = budget.of_backbone(table.total, rest, of)
        beyond = limit > table.largest and limit > table.total
        smaller = self.outside.least - rest if self.outside else 0.  # what neck and head can save
        if limit < table.smallest + smaller or beyond:
            added = rest if of == 'model' else 0.
            total = table.total + added
            which = 'largest' if beyond else 'smallest'
            end = (table.largest if beyond else table.smallest + smaller) + added
            raise ValueError(f'budget={budget.text} of the {of} cannot be reached: the {which} child costs {end:,.6g} '
                             f'{self.prices.name}, {end / total:.3f} of the trained {of}\'s {total:,.6g}'
                             + ('; with --grow, layers can become larger' if beyond and not self.space else '')
                             + ('; ' + said_of_fixed(self.fixed) if self.fixed and not beyond else ''))
        return limit

    def open_folder(self, work_dir: str, config: str, checkpoint: str) -> None:
        """Open the work directory, or refuse it."""
        sections = self.trained.config.to_dict()
        identity = dict(config=os.path.basename(config), model=digest(sections['model']),
                        data=digest(sections['train_dataloader']), checkpoint=file_digest(checkpoint),
                        seed=self.options.seed, statistics_images=len(self.statistics_positions))
        if self.options.grow:
            identity['grow'] = dict(asdict(self.options.grow), held_out=len(self.score_positions))
        self.folder = WorkFolder(work_dir, identity)

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.folder.add_seconds(part, time.monotonic() - start)

    def grow(self, growing: Growing) -> None:
        """Rehearse; from here on the trained model is the rehearsed one."""
        self.before = self.trained
        with self._timed('rehearsal'):
            self.trained, self.growth = rehearse(
                self.trained, growing, self.images, self.statistics_positions[:CALIBRATION], self.score_positions,
                self.folder, self.options.seed)
        self.model = self.trained.model
        self.chain = Chain(self.trained.backbone, self.shape)
        self.table = self._new_table()

    def measure(self) -> list[int]:
        """Measure statistics and scores; return the images of the scores."""
        self.statistics = statistics_of(self.chain, len(self.statistics_positions))
        self.taps.statistics = tap_statistics_of(self.chain, self.measured_taps)
        with self._timed('statistics'):
            measure_statistics(self.model, self.chain, self.statistics, self.images, self.statistics_positions,
                               self.folder, self.progress, self.taps.statistics)
        with self._timed('scores'):
            positions = self._score()
        if self.growth:
            model = self.model_with(copy.deepcopy(self.trained.backbone))
            settle(model.backbone, self._calibration())
            self._write_model(self.folder.file(_REHEARSED), model)
            with self._timed('check'):
                self.loss_before = self.seed_loss + self._real_difference(self.before.model, positions)[0]
        return positions

    def _calibration(self) -> Iterator[Tensor]:
        return normalised_images(self.model, self.images, self.statistics_positions[:CALIBRATION])

    def run(self, config: str) -> list[AdaptedChild]:
        """Measure, choose, refit and write."""
        positions, children = self.measure(), []
        if self._distils:
            data = self.model.data_preprocessor(self.images[positions[0]], False)
            self.outputs = outputs_of(self.model, data)
            if is_main_process():
                write_whole({self.folder.file(TEACHER): checkpoint_bytes(dict(
                    meta=dict(made_by='fna_mm adapt'), state_dict=teacher_state(self.model, self.outputs)))})
        for budget, limit in self.budgets:
            choice = self.table.choose(limit)
            assert choice is not None
            children.append(self._child(budget, choice, positions))
        if self.options.evaluate:
            children = self._evaluate(children, config)
        self._write_front(children, config)
        return children

    def _score(self) -> list[int]:
        """Measure as many candidates on as many images as the choices need; return the images."""
        scorer = Scorer(self.model, self.chain, self.statistics, self.growth.blocks() if self.growth else None,
                        self.taps.statistics)
        measured = first_measured(self.chain, self.table.allowed, self.taps.last)
        measured += grown_measured(self.space) if self.space else []
        # What grows and what is outside of the backbone has the measured loss alone.
        number = min(_FIRST_LOSSES if self.space or self.outside else _FIRST_SCORES, len(self.score_positions))
        while True:
            positions = list(self.score_positions[:number])
            seed, found, errors = on_images(measure_candidates(
                scorer, self.images, positions, measured, self.folder, self.progress), positions)
            self.seed_losses, self.seed_loss = seed, float(seed.mean())
            self.table.learn(found, errors)
            if self.outside:
                self.outside.measure(self.images, self.statistics_positions, positions, seed, self.folder,
                                     self.progress)
                self.table.outside, self.table.rest = self.outside.choices(), self.rest or 0.
            choices = [choice for _, limit in self.budgets if (choice := self.table.choose(limit))]
            more = list(dict.fromkeys(key for choice in choices for key in self.table.unmeasured(choice)))
            more = more[:max(0, MOST_MEASURED - len(measured))]
            error = max(choice.error for choice in choices)
            enough = all(self.table.doubt(choice) <= max(self.options.tolerance * choice.predicted,
                                                         _SMALL * self.seed_loss) for choice in choices)
            if more:
                measured += more
            elif not enough and number < len(self.score_positions):
                number = min(len(self.score_positions), number + number // 2)
            else:
                break
        self.measured, self.number_of_score_images = measured, number
        print_log(f'{len(measured)} candidates on {number} images; the loss is {self.seed_loss:.4f}, the standard '
                  f'error of its predicted growth at most {error:.4f}', logger='current')
        return positions

    def _child(self, budget: Budget, choice: Choice, positions: Sequence[int]) -> AdaptedChild:
        """Build, refit and write the child of a budget."""
        folder = os.path.join(self.folder.path, f'budget_{budget.text}')
        teacher, candidates, statistics = self._teacher(choice, folder)
        architecture = chosen_architecture(teacher.backbone.architecture, candidates)
        origins = origins_of(teacher, candidates, statistics)
        section = dict(self.trained.config.model.backbone)
        kept = self.taps.kept(choice, origins)
        backbone = build_child(teacher.backbone, section, architecture, origins, statistics,
                               kept.get(self.taps.last_row))
        child = Chain(backbone, self.shape)
        fit_alone(child, teacher, origins, statistics)
        rank, world = get_dist_info()
        own = list(self.statistics_positions)[rank::world]
        with self._timed('refit'), self.progress(f'refit {budget.text}', len(origins)) as bar:
            refit(teacher, child, origins, lambda: normalised_images(self.model, self.images, own),
                  done=lambda index: bar.update(1), number_of_images=len(self.statistics_positions))
        chosen = self.outside.named(choice.outside.widths) if self.outside and choice.outside else {}
        if self.outside and chosen:
            with self._timed('refit'):
                model = self.outside.narrowed(chosen, backbone, self.images, self.statistics_positions)
        elif kept:
            with self._timed('refit'):
                model = self.taps.narrowed(kept, backbone, normalised_images(self.model, self.images, own))
        else:
            model = self.model_with(backbone)
        with self._timed('check'):
            mean, error = self._real_difference(model, positions)
        self._write_model(folder, model, chosen, kept)
        rest = choice.outside.cost if choice.outside else self.rest
        of_model = None if rest is None or self.rest is None else (
            choice.cost + rest - self.taps.saved(kept)) / (self.table.total + self.rest)
        outside = {shared.name: (shared.width, chosen.get(shared.name, shared.width))
                   for shared in self.outside.outside.widths} if self.outside else self.taps.described(choice) or None
        return AdaptedChild(budget.text, folder, architecture, choice.cost, choice.cost / self.table.total,
                            of_model, choice.predicted, choice.error, mean, error,
                            tuple(candidate.width for candidate in choice.candidates), {},
                            tuple(self.table.layers_of(choice)), outside)

    @property
    def _distils(self) -> bool:
        return self.options.distill > 0 and not self.options.grow

    def _write_model(self, folder: str, model: Any, chosen: Optional[Mapping[str, int]] = None,
                     kept: Optional[KeptOfTaps] = None) -> None:
        """Write a model's ``arch.json``, ``child.pth`` and ``child_config.py``, and which channels of maps it has."""
        architecture, config, files = model.backbone.architecture, self.trained.config, {}
        if self.outside and chosen:
            config = copy.deepcopy(config)
            config.model = self.outside.section(chosen)
        if kept:
            config = copy.deepcopy(config)
            config.model = self.taps.section(kept)
            files[CHANNELS] = json.dumps(self.taps.channels_of_maps(kept)).encode()
        section, distillation = dict(self.trained.config.model.backbone), None
        # A child that is the trained model would be held near itself.
        if self._distils and (kept or architecture != self.trained.architecture):
            distillation = distillation_of(self.trained.config.model, self.outputs, self.options.distill, bool(kept))
        child = child_section_of(section, architecture, self.taps.last_of(kept))
        cfg = finetuning_config(config, child, self.options.schedule, self.options.rate, distillation)
        cfg.work_dir = os.path.join(folder, 'fine_tuning')
        state = {key: value.cpu() for key, value in model.state_dict().items()}
        meta: dict[str, Any] = dict(arch=architecture.to_text().replace('\n', ' '), made_by='fna_mm adapt')
        if self.dataset_meta:
            meta['dataset_meta'] = self.dataset_meta
        if is_main_process():
            write_whole({
                os.path.join(folder, 'arch.json'): architecture.to_json().encode(),
                os.path.join(folder, 'child.pth'): checkpoint_bytes(dict(meta=meta, state_dict=state)),
                os.path.join(folder, 'child_config.py'): config_text(cfg, _TITLE).encode(),
                **{os.path.join(folder, name): content for name, content in files.items()}})
        barrier()

    def _teacher(self, choice: Choice, folder: str) -> tuple[Chain, Sequence[Candidate], Statistics]:
        """What a child is cut from and fitted to, its candidates in the order of that backbone, and its statistics."""
        if self.growth is None:
            return self.chain, choice.candidates[:len(self.chain.links)], self.statistics
        teacher = Chain(teacher_of(self.growth, choice.candidates, self._calibration()), self.shape)
        candidates = self.growth.in_order(choice.candidates)
        statistics = needed_statistics(teacher, candidates, len(self.statistics_positions))
        if statistics:
            with self._timed('statistics'):
                identity = dict(teacher=digest(teacher.backbone.state_dict()))
                measure_statistics(self.model_with(teacher.backbone), teacher, statistics, self.images,
                                   self.statistics_positions, WorkFolder(os.path.join(folder, 'teacher'), identity),
                                   self.progress)
        return teacher, candidates, statistics

    def model_with(self, backbone: FNAChildNet) -> Any:
        """The trained model with another backbone."""
        model = copy.copy(self.model)
        model._modules = {**self.model._modules, 'backbone': backbone}
        return model

    @property
    def dataset_meta(self) -> dict[str, Any]:
        """Names and colours of the classes, as mm's checkpoints hold them."""
        return {key: value for key, value in self.images.metainfo.items() if key in ('classes', 'palette')}

    def _real_difference(self, model: Any, positions: Sequence[int]) -> tuple[float, float]:
        scorer = Scorer(model, Chain(model.backbone), {})
        rank, world = get_dist_info()
        own: dict[int, dict[Optional[Replacement], Measurement]] = {
            position: {None: next(scorer.measure(self.images[position], [None]))[1]}
               for position in list(positions)[rank::world]}
        rows = gather_scores(own)
        return mean_and_error(np.array([rows[position][None].loss for position in positions]) - self.seed_losses)

    def _evaluate(self, children: Sequence[AdaptedChild], config: str) -> list[AdaptedChild]:
        with self._timed('evaluation'):
            self.seed_metrics = evaluate_checkpoint(config, self.trained.checkpoint, self.folder.file('evaluation'))
            if self.options.grow:  # what kept its weights is the trained model
                self.rehearsed_metrics = (self.seed_metrics if self.options.grow.kept else
                                          self._metrics_of(self.folder.file(_REHEARSED)))
            return [replace(child, metrics=self._metrics_of(child.folder)) for child in children]

    def _metrics_of(self, folder: str) -> dict[str, float]:
        return evaluate_checkpoint(*(os.path.join(folder, name) for name in (
            'child_config.py', 'child.pth', 'evaluation')))

    def _write_front(self, children: Sequence[AdaptedChild], config: str) -> None:
        table, front = self.table, []
        most = max(1., *(limit / table.total for _, limit in self.budgets)) if self.growth else 1.
        # With other widths of neck and head, a share is one of the whole model.
        rest = self.rest or 0. if self.outside else 0.
        for share in np.arange(.05, most + .001, .05):
            choice = table.choose(share * (table.total + rest) - rest)
            if choice is not None:
                cost = choice.cost + (choice.outside.cost if choice.outside else 0.)
                front.append(dict(share=round(cost / (table.total + rest), 4), cost=cost,
                                  predicted=choice.predicted, error=choice.error))
        values: dict[str, Any] = dict(
            config=os.path.basename(config), unit=self.prices.name,
            package=package_of(self.trained.config.get('default_scope', 'mmdet')),
            input_shape=list(self.shape), front_of='model' if self.outside else 'backbone',
            outside=self.outside.described() if self.outside else None, taps=self.taps.names, fixed=self.fixed,
            trained=dict(arch=self.trained.architecture.to_dict(), backbone=table.total,
                         model=None if self.rest is None else table.total + self.rest,
                         loss=self.loss_before if self.growth else self.seed_loss, metrics=self.seed_metrics),
            children=[self._child_values(child) for child in children],
            front=front, blocks=table.blocks(), seconds=self.folder.seconds(), candidates=len(self.measured),
            images=dict(statistics=len(self.statistics_positions), scores=self.number_of_score_images),
            maps=None if not any(table.sensitivity.weights) else table.sensitivity._asdict())
        if self.options.grow:
            values['growth'] = dict(steps=self.options.grow.steps, kept=self.options.grow.kept, loss=self.seed_loss,
                                    metrics=self.rehearsed_metrics, candidates=table.growth())
        if is_main_process():
            files = {**report_files(values, str(self.folder.path)),
                     ADAPTATION: (json.dumps(values, indent=1) + '\n').encode()}
            write_whole({self.folder.file(name): content for name, content in files.items()})
        barrier()

    def _child_values(self, child: AdaptedChild) -> dict[str, Any]:
        names = ('budget', 'cost', 'share', 'share_of_model', 'predicted', 'predicted_error', 'measured',
                 'measured_error', 'metrics')
        return dict({name: getattr(child, name) for name in names}, widths=list(child.widths),
                    layers=list(child.layers), outside=child.outside,
                    folder=os.path.relpath(child.folder, self.folder.path), arch=child.architecture.to_dict())
