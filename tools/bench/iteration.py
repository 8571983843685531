"""Whole search iterations: the shipped configs on mm's own Runner, on synthetic images."""

import math
import os
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

import tools.bench.synthetic_images  # noqa: F401  registers the data set that the configs get
from fna_mm.configs import configs_dir
from fna_mm.sections import find_sections
from tools.bench.settings import Settings
from tools.bench.timing import progress, synchronize


@dataclass(frozen=True)
class Search:
    """A shipped search.

    Args:
        config (str): Its file.
        package (str): What it needs beside mmengine and mmcv.
        task (str): ``segmentation`` or ``detection``.
        image_size (tuple[int, int]): (height, width) of its images on the disk.
        num_images (int): In its training set.
        num_classes (int): Of its data.
        paper_gpu_hours (float): What the search took in the paper.
    """

    config: str
    package: str
    task: str
    image_size: tuple[int, int]
    num_images: int
    num_classes: int
    paper_gpu_hours: float


#: Hours: the paper's section 4, one V100 for segmentation, TITAN Xp for detection.
#: COCO's images without objects are left out, as the config does it; its usual size is 640x480.
SEARCHES = dict(
    retinanet=Search('fna_retinanet_search.py', 'mmdet', 'detection', (480, 640), 117266, 80, 6 * 24.),
    deeplabv3=Search('fna_deeplabv3_search.py', 'mmseg', 'segmentation', (1024, 2048), 2975, 19, 1.4))
_LOADING = ('LoadImageFromFile', 'LoadAnnotations')
#: (height, width) of an image and (width, height) it is resized to, in shares of the input size, of other sizes.
_REDUCED = dict(detection=((.75, 1.), (4 / 3, 1.)), segmentation=((3., 6.), (3., 1.5)))
#: Iterations of each kind that are not measured: memory is allocated, kernels are chosen.
WARMUP = dict(cpu=2, cuda=10)
PARTS = ('data', 'weight_step', 'architecture_data', 'architecture_step', 'rest')


class Stamp(Hook):
    """Notes the time at moments of every iteration.

    Args:
        stamps (dict): Where to: time by (iteration, name).
        names (dict): Name of the stamp by moment: ``before_train_iter``, ``after_train_iter``.
        device (str): Waited for before each look at the clock.
    """

    def __init__(self, stamps: dict[tuple[int, str], float], names: Mapping[str, str], device: str) -> None:
        self.stamps = stamps
        self.names = names
        self.device = device

    def _stamp(self, runner: Any, moment: str) -> None:
        if moment in self.names:
            synchronize(self.device)
            self.stamps[runner.iter, self.names[moment]] = time.perf_counter()

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Note the time if it was asked for."""
        self._stamp(runner, 'before_train_iter')

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None,
                         outputs: Optional[dict] = None) -> None:
        """Note the time if it was asked for."""
        self._stamp(runner, 'after_train_iter')


class _Bar(Hook):
    """Moves a progress bar, notes how long the architecture's data was waited for."""

    priority = 'LOWEST'

    def __init__(self, label: str) -> None:
        self.label = label
        self.waited: dict[int, float] = {}

    def before_train(self, runner: Any) -> None:
        self._bar = progress(runner.max_iters, self.label)
        self._bar.__enter__()

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None,
                         outputs: Optional[dict] = None) -> None:
        scalars = runner.message_hub.log_scalars
        if 'train/arch_data_time' in scalars:
            self.waited[runner.iter] = float(scalars['train/arch_data_time'].current())
        self._bar.update(1)

    def after_train(self, runner: Any) -> None:
        self._bar.__exit__(None, None, None)


@dataclass(frozen=True)
class Measured:
    """Times of a search.

    Args:
        iterations (dict): Seconds of whole iterations, by kind: ``weights``, ``both``.
        parts (dict): Seconds of each of the ``PARTS`` in iterations with both steps.
        boundaries (tuple[float, ...]): Seconds that the first iteration of an epoch takes longer than
            the other ones of its kind: new workers, the checkpoint.
        export (tuple[float, ...]): Seconds of an export by ``ArchitectureExportHook``.
        hours (float): Of the whole schedule of the config on one device, from the means.
        description (dict): Batch, size and so on.
    """

    iterations: dict[str, tuple[float, ...]]
    parts: dict[str, tuple[float, ...]]
    boundaries: tuple[float, ...]
    export: tuple[float, ...]
    hours: float
    description: dict[str, Any]

    def shares(self) -> dict[str, float]:
        """The mean share of each part in an iteration with both steps."""
        means = {name: statistics.fmean(seconds) for name, seconds in self.parts.items()}
        return {name: mean / sum(means.values()) for name, mean in means.items()}


def _resize(transform: Any, search: Search, settings: Settings) -> Any:
    if settings.whole_size:
        return transform
    size = settings.input_size
    if transform['type'] == 'Resize':
        width, height = _REDUCED[search.task][1]
        return dict(transform, scale=(round(width * size), round(height * size)))
    return dict(transform, crop_size=(size, size)) if transform['type'] == 'RandomCrop' else transform


def _image_size(search: Search, settings: Settings) -> tuple[int, int]:
    height, width = _REDUCED[search.task][0]
    return search.image_size if settings.whole_size else (
        round(height * settings.input_size), round(width * settings.input_size))


def search_config(search: Search, settings: Settings, seed: str, work_dir: str) -> tuple[Config, dict[str, Any]]:
    """The config of a search on synthetic images, shortened, and what its whole schedule is.

    Args:
        search (Search): The search.
        settings (Settings): Of the benchmark.
        seed (str): Path of the checkpoint that is remapped.
        work_dir (str): Of the runner.

    Returns:
        tuple: The config; ``batch_size``, and of the whole schedule ``epochs``, ``begin_epoch`` and
        ``iterations_per_epoch``.
    """
    cfg = Config.fromfile(str(configs_dir() / search.config))
    (hook, ) = find_sections(cfg.custom_hooks, 'AlternatingOptimizerHook')
    loaders = (cfg.train_dataloader, hook['dataloader'])
    splits = [split for loader in loaders for split in find_sections(loader, 'RandomSplit')]
    ratio = splits[0]['ratio']
    batch_size = cfg.train_dataloader.batch_size if settings.whole_size else settings.batch_size
    wanted = WARMUP[settings.device] + settings.iterations
    whole = dict(batch_size=batch_size, epochs=cfg.train_cfg['max_epochs'], begin_epoch=hook['begin_epoch'],
                 iterations_per_epoch=(search.num_images - round(search.num_images * ratio)) // batch_size)
    if settings.whole_size and whole['iterations_per_epoch'] <= wanted:
        images = search.num_images  # passes as long as they really are
    else:
        images, ratio = 2 * wanted * batch_size, .5
    per_epoch = (images - round(images * ratio)) // batch_size
    for loader in loaders:
        loader['batch_size'] = batch_size
        loader['num_workers'] = min(loader['num_workers'], os.cpu_count() or 1)
        (loader.get('batch_sampler') or loader)['drop_last'] = True
    for split in splits:
        pipeline = [_resize(transform, search, settings) for transform in split['dataset']['pipeline']
                    if transform['type'] not in _LOADING]
        split['ratio'] = ratio
        split['dataset'] = dict(type='SyntheticImages', length=images, size=_image_size(search, settings),
                                task=search.task, num_classes=search.num_classes, pipeline=pipeline)
    for init in find_sections(cfg.model, 'ParameterRemapping'):
        init['checkpoint'] = seed
    for norm in find_sections(cfg.model, 'SyncBN'):  # the same in one process, and runs on the CPU
        norm['type'] = 'BN'
    if search.task == 'segmentation' and not settings.whole_size:
        cfg.model.data_preprocessor.size = (settings.input_size, ) * 2
    begin = math.ceil(wanted / per_epoch)
    cfg.train_cfg.max_epochs, hook['begin_epoch'] = 2 * begin, begin
    if settings.precision != 'float32':
        dtype = dict(fp16='float16', bf16='bfloat16')[settings.precision]
        for wrapper in (cfg.optim_wrapper, hook['optim_wrapper']):
            wrapper.update(type='AmpOptimWrapper', dtype=dtype)
    for name in ('val', 'test'):
        for section in ('dataloader', 'cfg', 'evaluator'):
            cfg[f'{name}_{section}'] = None
    # A visualizer of its own: mm finds them by name, and this one's folder will be gone.
    cfg.visualizer = dict(type='Visualizer', name=f'fna_bench_{search.package}')
    cfg.update(work_dir=work_dir, log_level='ERROR', launcher='none', default_scope=search.package)
    return cfg, whole


def measure_search(name: str, settings: Settings, seed: str, work_dir: str) -> Measured:
    """Run a shortened search on mm's Runner and time it.

    Args:
        name (str): One of ``SEARCHES``.
        settings (Settings): Of the benchmark.
        seed (str): Path of the checkpoint that is remapped.
        work_dir (str): Of the runner.
    """
    cfg, whole = search_config(SEARCHES[name], settings, seed, work_dir)
    torch.backends.cudnn.benchmark = False  # unless the config wants it
    runner = Runner.from_cfg(cfg)
    stamps: dict[tuple[int, str], float] = {}
    bar = _Bar(f'search iterations: {name}')
    # Priorities: before everything; after the weight step; after the architecture step; after everything.
    for priority, names in dict(
            HIGHEST=dict(before_train_iter='begin'), HIGH=dict(after_train_iter='weights'),
            NORMAL=dict(after_train_iter='architecture'), LOWEST=dict(after_train_iter='end')).items():
        runner.register_hook(Stamp(stamps, names, settings.device), priority)
    runner.register_hook(bar)
    if settings.channels_last:
        runner.model.to(memory_format=settings.memory_format)
    runner.train()
    per_epoch = len(runner.train_dataloader)
    (hook, ) = find_sections(cfg.custom_hooks, 'AlternatingOptimizerHook')
    iterations, parts, boundaries = _from_stamps(stamps, bar.waited, per_epoch, runner.max_iters,
                                                 hook['begin_epoch'] * per_epoch, WARMUP[settings.device])
    schedule = {key: value for key, value in whole.items() if key != 'batch_size'}
    description = dict(
        config=f'configs/{SEARCHES[name].config}', input='as the config has it' if settings.whole_size else
        f'{settings.input_size} pixels', workers=cfg.train_dataloader.num_workers, schedule=whole,
        images='synthetic, from memory: resized, cropped and packed as the config says; no file is decoded')
    return Measured(iterations, parts, boundaries, _export_seconds(runner, min(3, settings.iterations)),
                    projected_hours(iterations, boundaries, **schedule), description)


def _from_stamps(stamps: Mapping[tuple[int, str], float], waited: Mapping[int, float], per_epoch: int, total: int,
                 first: int, warmup: int) -> tuple[dict[str, tuple[float, ...]], dict[str, tuple[float, ...]],
                                                   tuple[float, ...]]:
    """Iterations by kind, parts, boundaries between epochs; the first of each kind are left out."""
    iterations: dict[str, list[float]] = dict(weights=[], both=[])
    parts: dict[str, list[float]] = {name: [] for name in PARTS}
    firsts = []
    for index in range(1, total):
        kind, start = ('weights', 0) if index < first else ('both', first)
        begin, weights, architecture, end = (stamps[index, name] for name in (
            'begin', 'weights', 'architecture', 'end'))
        seconds = end - stamps[index - 1, 'end']
        if index % per_epoch == 0:
            firsts.append((kind, seconds))
        elif index - start >= warmup:
            iterations[kind].append(seconds)
            if kind == 'both':
                loading = waited[index]
                for name, value in zip(PARTS, (begin - stamps[index - 1, 'end'], weights - begin, loading,
                                               architecture - weights - loading, end - architecture)):
                    parts[name].append(value)
    means = {kind: statistics.fmean(values) for kind, values in iterations.items()}
    boundaries = tuple(max(0., seconds - means[kind]) for kind, seconds in firsts)
    return ({kind: tuple(values) for kind, values in iterations.items()},
            {name: tuple(values) for name, values in parts.items()}, boundaries)


def projected_hours(iterations: Mapping[str, tuple[float, ...]], boundaries: tuple[float, ...], epochs: int,
                    begin_epoch: int, iterations_per_epoch: int) -> float:
    """Hours of a whole schedule, from mean iterations and what an epoch adds; evaluations are not in it.

    Args:
        iterations (dict): Seconds by kind, ``weights`` alone and ``both``.
        boundaries (tuple[float, ...]): Seconds that an epoch adds.
        epochs (int): Of the schedule.
        begin_epoch (int): Of these, with weight steps alone.
        iterations_per_epoch (int): Weight steps in an epoch.
    """
    weights, both = (statistics.fmean(iterations[kind]) for kind in ('weights', 'both'))
    added = statistics.fmean(boundaries) if boundaries else 0.
    seconds = iterations_per_epoch * (begin_epoch * weights + (epochs - begin_epoch) * both) + epochs * added
    return seconds / 3600


def _export_seconds(runner: Any, repeats: int) -> tuple[float, ...]:
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == 'ArchitectureExportHook')
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        hook.export(runner, 'bench', runner.iter)
        seconds.append(time.perf_counter() - start)
    return tuple(seconds)
