"""The runs that run.sh left in a work directory, as the rows of docs/results/results.json."""

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from mmengine.config import Config

from fna_mm import Architecture

#: Data set, framework, metric and what makes it percent, by the name of a case.
CASES = dict(
    camvid_deeplabv3=('CamVid', 'DeepLabv3', 'mIoU', 1),
    bccd_retinanet=('BCCD', 'RetinaNet', 'coco/bbox_mAP', 100),
    bccd_ssdlite=('BCCD', 'SSDLite', 'coco/bbox_mAP', 100))
MODELS = dict(mobilenet_v2='MobileNetV2', published="the paper's own", found='found here', random='random')
SEARCHES = dict(main='short', x_quiet='long')
#: What run.sh changes for the longer search.
LONG_SEARCH = dict(
    camvid_deeplabv3='train_cfg.max_epochs=12 train_cfg.val_interval=12 param_scheduler.1.end=12 '
                     'custom_hooks.0.begin_epoch=8 custom_hooks.0.dataloader.batch_size=12',
    bccd_retinanet='train_cfg.max_epochs=30 train_cfg.val_interval=30 custom_hooks.0.begin_epoch=20 '
                   'custom_hooks.0.dataloader.batch_size=12',
    bccd_ssdlite='train_cfg.max_epochs=30 train_cfg.val_interval=30 custom_hooks.0.begin_epoch=20 '
                 'custom_hooks.0.dataloader.batch_size=12')
#: The paper's table 5, beside main: search and fine-tuning from random weights, one of them or both.
RANDOM_SEARCH = 'random start'
ABLATION = dict(
    main_adaptation_random=('short', False),
    expansion_random=(RANDOM_SEARCH, True),
    expansion_random_adaptation_random=(RANDOM_SEARCH, False))
SIZES = ('small', 'full')

ResultRow = dict[str, Any]


def _scalars(run: Path) -> list[dict[str, Any]]:
    """What mm logged of a run, training and validation, all attempts."""
    return [json.loads(line) for path in sorted(run.glob('*/vis_data/scalars.json'))
            for line in path.read_text().splitlines()]


def validation(run: Path, metric: str) -> Optional[float]:
    """The last value of a metric on the validation split in a finished run; the test's is logged after it.

    Args:
        run (Path): The run's work directory.
        metric (str): Its name.
    """
    lines = [line for path in sorted(run.glob('*/*.log')) for line in path.read_text().splitlines()
             if ('Iter(val)' in line or 'Epoch(val)' in line) and f'{metric}: ' in line]
    return float(lines[-1].split(f'{metric}: ')[1].split()[0]) if lines and (run / 'result.json').is_file() else None


def _minutes(scalars: Sequence[Mapping[str, Any]]) -> Optional[float]:
    """Minutes of the iterations, at the median of their times: interruptions do not count."""
    lines = [line for line in scalars if 'loss' in line and 'time' in line]
    if not lines:
        return None
    last = lines[-1].get('iter', lines[-1]['step'])
    # Between two lines mm averages: with architecture steps every few iterations, 'time' holds their share.
    kinds = [[line['time'] for line in lines if ('arch_step_time' in line) is both] for both in (False, True)]
    mean = sum(statistics.median(kind) * len(kind) for kind in kinds if kind) / len(lines)
    return round(mean * last / 60, 3)


def _runs_of(case: Path, folder: str, name: str) -> Iterator[tuple[int, Path, dict]]:
    """Seed, work directory and result of every finished run."""
    for path in sorted(case.glob(f'{folder}/seed_*/{name}/result.json')):
        yield int(path.parts[-3].removeprefix('seed_')), path.parent, json.loads(path.read_text())


def _text(arch: Path) -> str:
    return Architecture.create(str(arch)).to_text().replace('\n', '')


def _architecture(run: Path, case: str, model: str) -> str:
    """The name of a published architecture, or the text form of a found or random one."""
    if model in ('found', 'random'):
        return _text(run.with_name('search') / 'arch.json' if model == 'found' else run.with_name('random_arch.json'))
    return 'mobilenet_v2' if model == 'mobilenet_v2' else f'fna_{case.partition("_")[2]}'


def mean_of(values: Iterable[Optional[float]], digits: int = 1) -> Optional[float]:
    """The rounded mean of those values that there are.

    Args:
        values (Iterable[float | None]): The values.
        digits (int): Digits that are kept. Defaults to 1.
    """
    known = [value for value in values if value is not None]
    return round(statistics.mean(known), digits) if known else None


def _spread(values: Sequence[float]) -> Optional[float]:
    """Standard deviation (n - 1), if there is one."""
    return round(statistics.stdev(values), 2) if len(values) > 1 else None


def figures(runs: Sequence[Mapping[str, Any]], metric: str, factor: float) -> ResultRow:
    """The figures of a row, from its runs.

    Args:
        runs (Sequence[dict]): One a seed, as :func:`rows_of` makes them.
        metric (str): Name of the metric.
        factor (float): What makes it percent.
    """
    values = [factor * run['metrics'][metric] for run in runs]
    checks = [factor * run['validation'] for run in runs]
    return dict(
        params_m=mean_of((run['params'] / 1e6 for run in runs), 3),
        madds_g=mean_of((run['madds'] / 1e9 for run in runs), 4),
        metric=metric, mean=mean_of(values, 2), std=_spread(values), seeds=[run['seed'] for run in runs],
        values=[round(value, 2) for value in values], validation_values=[round(value, 2) for value in checks],
        madds_g_of_seeds=[round(run['madds'] / 1e9, 4) for run in runs],
        validation_mean=mean_of(checks, 2), validation_std=_spread(checks),
        minutes=mean_of(run['minutes'] for run in runs) or 0.)


def _search_of(folder: str) -> str:
    """The kind of search whose architectures a folder fine-tunes."""
    return SEARCHES.get(folder) or ABLATION.get(folder, ('short', ))[0]


def command_of(size: str, name: str, model: str, folder: str, seeds: Sequence[int], rate: float, remapped: bool) -> str:
    """What measures a row of the comparison, from the project's root; run.sh does it for all rows at once.

    Args:
        size (str): ``small`` or ``full``.
        name (str): Of the case.
        model (str): One of ``MODELS``.
        folder (str): Where its runs lie in the case's work directory.
        seeds (Sequence[int]): Its seeds.
        rate (float): The fine-tuning's learning rate.
        remapped (bool): Whether the fine-tuning starts with remapped weights.
    """
    configs, own = f'configs/comparison/{name}/{size}', f'work_dirs/comparison/{size}/{name}/{folder}'
    rest = f'--seeds {" ".join(map(str, seeds))} --seed-checkpoint mobilenet_v2.pth'
    searched = own.removesuffix('_adaptation_random')  # which only fine-tunes in another way
    steps = []
    if model in ('found', 'random'):
        options = dict(long=LONG_SEARCH[name], **{RANDOM_SEARCH: 'model.backbone.init_cfg=None'}).get(
            _search_of(folder))
        steps.append(f'python -m tools ablate {configs}/search.py --work-dir {searched} {rest}'
                     + (f' --cfg-options {options}' if options else ''))
    if searched != own:
        steps += [f'mkdir -p {own}/seed_{seed}/search && '
                  f'cp {searched}/seed_{seed}/search/arch.json {own}/seed_{seed}/search' for seed in seeds]
    if model == 'random':
        draw = '1' if _search_of(folder) == 'long' else ''  # before the seed: other draws than those of main
        steps += [f'fna arch random {configs}/search.py {own}/seed_{seed}/random_arch.json '
                  f'--like {own}/seed_{seed}/search/arch.json --seed {draw}{seed}' for seed in seeds]
    start = '' if remapped else ' model.backbone.init_cfg=None'
    steps.append(f'python -m tools ablate {configs}/{model}.py --work-dir {own} {rest} '
                 f'--cfg-options optim_wrapper.optimizer.lr={rate:g}{start}')
    return ' && '.join(steps)


def _tuning_row(case: Path, folder: str, model: str, size: str) -> Optional[ResultRow]:
    """What the seeds of one model gave; none where no run is finished."""
    name = case.name
    dataset, framework, metric, factor = CASES[name]
    runs: list[ResultRow] = []
    rate = 0.
    for seed, path, result in _runs_of(case, folder, model):
        checked = validation(path, metric)
        if checked is None:
            raise SystemExit(f'{path}: no {metric} of the validation split in the log of a finished run')
        # The complete config beside a work directory has the rate that was chosen.
        rate = Config.fromfile(path.with_suffix('.py')).optim_wrapper.optimizer.lr
        runs.append(dict(
            seed=seed, metrics={key: round(value, 6) for key, value in result['metrics'].items()}, validation=checked,
            params=result['params'], madds=result['madds'], minutes=_minutes(_scalars(path)),
            arch=_architecture(path, name, model)))
    if not runs:
        return None
    table = 'rates' if folder.startswith('lr_') else 'variants'
    if folder in ABLATION:
        table = 'remapping'
    elif folder in SEARCHES:
        table = 'comparison'
    remapped = ABLATION.get(folder, ('', True))[1]
    everything = f'{"SIZE=full " if size == "full" else ""}tools/results/run.sh mobilenet_v2.pth'
    own = table in ('comparison', 'remapping')
    seeds = [run['seed'] for run in runs]
    return dict(
        table=table, folder=folder, dataset=dataset, framework=framework, model=model, remapped=remapped,
        search=_search_of(folder) if model in ('found', 'random') else None, learning_rate=rate,
        **figures(runs, metric, factor),
        command=command_of(size, name, model, folder, seeds, rate, remapped) if own else everything, runs=runs)


def _search_row(case: Path, folder: str) -> Optional[ResultRow]:
    """What the searches of a folder took and found; none where none is finished."""
    dataset, framework, _, _ = CASES[case.name]
    runs: list[ResultRow] = []
    weight = 0.
    for seed, path, _ in _runs_of(case, folder, 'search'):
        scalars = _scalars(path)
        entropies = [line['arch_entropy'] for line in scalars[-20:] if 'arch_entropy' in line]
        weight = float(Config.fromfile(path.with_suffix('.py')).custom_hooks[0].cost.weight)
        runs.append(dict(seed=seed, minutes=_minutes(scalars), entropy=round(entropies[-1], 4) if entropies else None,
                         arch=_text(path / 'arch.json')))
    if not runs:
        return None
    return dict(table='searches', folder=folder, dataset=dataset, framework=framework, cost_weight=weight,
                seeds=[run['seed'] for run in runs], minutes=mean_of(run['minutes'] for run in runs), runs=runs)


def rows_of(work: Path, size: str = 'small') -> list[ResultRow]:
    """The rows of all runs, the tables one behind the other.

    Of the comparison and of the paper's table 5, there are none of a framework whose runs are not finished for all
    models.

    Args:
        work (Path): The work directory that was given to run.sh.
        size (str): ``small`` or ``full``: of which configs the runs are. Defaults to 'small'.
    """
    rows: list[Optional[ResultRow]] = []
    others: list[Optional[ResultRow]] = []
    for name in CASES:
        case = work / name
        main = [_tuning_row(case, 'main', model, size) for model in MODELS]
        if all(main):
            rows += main
            rows += [_tuning_row(case, 'x_quiet', model, size) for model in ('found', 'random')]
            rows += [_tuning_row(case, folder, 'found', size) for folder in ABLATION]
        for folder in sorted(path.name for path in case.glob('*')):
            others.append(_search_row(case, folder))
            if folder not in SEARCHES and folder not in ABLATION:
                others += [_tuning_row(case, folder, model, size) for model in MODELS]
    order = ('searches', 'rates', 'variants')
    return [*(row for row in rows if row),
            *sorted((row for row in others if row), key=lambda row: order.index(row['table']))]
