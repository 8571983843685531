"""All trainings of an ablation, and their complete configs, before any of them starts."""

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

from mmengine.config import Config, DictAction
from mmengine.fileio import put_text
from mmengine.logging import MMLogger

from fna_mm.sections import find_sections
from tools.ablation.ablation_run import FOLDER, AblationRun, is_search


def parse_options(options: Sequence[str]) -> dict:
    """``KEY=VALUE`` texts as mm's ``--cfg-options`` reads them.

    Args:
        options (Sequence[str]): The texts.

    Raises:
        ValueError: If there is no ``=`` in a text.
    """
    for option in options:
        if '=' not in option:
            raise ValueError(f'--cfg-options {option}: expected KEY=VALUE')
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='*', action=DictAction, default={})
    return vars(parser.parse_args(['--cfg-options', *options] if options else []))['cfg_options']


@contextmanager
def _folder_named(folder: Path) -> Iterator[None]:
    """Within: the environment variable names the folder, and mmengine does not log that it reads it."""
    logger, before = MMLogger.get_current_instance(), os.environ.get(FOLDER)
    level = logger.level
    logger.setLevel('WARNING')
    os.environ[FOLDER] = str(folder)
    try:
        yield
    finally:
        logger.setLevel(level)
        os.environ.pop(FOLDER)
        if before is not None:
            os.environ[FOLDER] = before


def _complete(path: str, name: str, seed: int, folder: Path, options: Mapping[str, Any],
              seed_checkpoint: Optional[str]) -> Config:
    """The config of one run: nothing in it depends on the environment or the command line any more."""
    with _folder_named(folder):
        cfg = Config.fromfile(path, import_custom_modules=False)
    if not cfg.get('model'):
        raise ValueError(f'{path} is no config of a training: it has no model')
    for initializer in ('ParameterRemapping', 'ParameterRemappingHook') if seed_checkpoint else ():
        for section in find_sections(cfg._cfg_dict, initializer):
            section['checkpoint'] = seed_checkpoint
    try:
        cfg.merge_from_dict(dict(options))
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f'--cfg-options do not fit {path}: {error}') from error
    cfg.work_dir = str(folder / name)
    cfg.randomness = dict(cfg.get('randomness') or {}, seed=seed)
    return cfg


def _first_metric(cfg: Config) -> Optional[str]:
    """What mmseg's evaluator is asked for; it reports the pixel accuracy before it."""
    evaluator = cfg.get('test_evaluator') or {}
    first = evaluator[0] if isinstance(evaluator, (list, tuple)) else evaluator
    return (first.get('iou_metrics') or [None])[0]


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, (Mapping, list, tuple)):
        for value in node.values() if isinstance(node, Mapping) else node:
            yield from _texts(value)


def plan_runs(configs: Sequence[str], seeds: Sequence[int], work_dir: str, options: Mapping[str, Any],
              seed_checkpoint: Optional[str] = None) -> list[AblationRun]:
    """Load every config with every seed, and write the complete configs.

    Args:
        configs (Sequence[str]): Paths of configs.
        seeds (Sequence[int]): The seeds.
        work_dir (str): Gets a folder for each seed.
        options (Mapping[str, Any]): Dotted keys and values to replace in every config.
        seed_checkpoint (str, optional): In place of the checkpoint of every parameter remapping.
            Defaults to None: what the configs say.

    Returns:
        list: The runs, seed after seed, in the order of the configs.

    Raises:
        ValueError: If two configs have the same name, a seed is given twice, an option does not fit,
            runs need each other in a circle, or the folder holds runs of other configs or options.
        FileNotFoundError: If there is no such config.
    """
    names = [Path(path).stem for path in configs]
    for what, given in (('configs are named', names), ('runs have seed', [str(seed) for seed in seeds])):
        twice = [one for one in given if given.count(one) > 1]
        if twice:
            raise ValueError(f'two {what} {twice[0]}: give each once, or another --work-dir')
    runs, texts = [], {}
    for seed in seeds:
        folder = Path(work_dir) / f'seed_{seed}'
        trainings: dict[str, dict] = {}
        for path, name in zip(configs, names):
            cfg = _complete(path, name, seed, folder, options, seed_checkpoint)
            training = {key: value for key, value in cfg.to_dict().items() if key != 'work_dir'}
            same = next((other for other, content in trainings.items() if content == training), None)
            trainings[name] = training
            needs = tuple(other for other in names
                          if other != name and any(f'{folder / other}{os.sep}' in text for text in _texts(training)))
            run = AblationRun(name, seed, folder / name, is_search(cfg), _first_metric(cfg), needs, same)
            runs.append(run)
            texts[run.config] = cfg.pretty_text
            if run.config.is_file() and run.config.read_text() != texts[run.config]:
                raise ValueError(f'{run.config} is of a run with another config or other options: give another '
                                 f'--work-dir, or remove it and {run.work_dir}')
    _check_order(runs)
    for config, text in texts.items():
        put_text(text, str(config))
    return runs


def _check_order(runs: Sequence[AblationRun]) -> None:
    """Raises: ValueError: If runs need each other in a circle."""
    waiting = {run.name: set(run.needs) for run in runs}
    while waiting:
        ready = {name for name, needs in waiting.items() if not needs & set(waiting)}
        if not ready:
            raise ValueError(f'these configs need each other\'s results: {", ".join(sorted(waiting))}')
        waiting = {name: needs for name, needs in waiting.items() if name not in ready}
