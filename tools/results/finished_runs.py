"""What the runs of docs/results/run.sh left in their folders."""

import json
import os
import statistics
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Optional

from mmengine.config import Config

CASES = dict(
    camvid_deeplabv3=('CamVid', 'DeepLabv3', 'mIoU', 1),
    bccd_retinanet=('BCCD', 'RetinaNet', 'coco/bbox_mAP', 100),
    bccd_ssdlite=('BCCD', 'SSDLite', 'coco/bbox_mAP', 100))
MODELS = dict(mobilenet_v2='MobileNetV2', published="the paper's own", found='found here', random='random')
SEARCHES = dict(main='short', x_quiet='long')
# What docs/results/run.sh changes for the longer search.
LONG_SEARCH = dict(
    camvid_deeplabv3='train_cfg.max_epochs=12 train_cfg.val_interval=12 param_scheduler.1.end=12 '
                     'custom_hooks.0.begin_epoch=8 custom_hooks.0.dataloader.batch_size=12',
    bccd_retinanet='train_cfg.max_epochs=30 train_cfg.val_interval=30 custom_hooks.0.begin_epoch=20 '
                   'custom_hooks.0.dataloader.batch_size=12',
    bccd_ssdlite='train_cfg.max_epochs=30 train_cfg.val_interval=30 custom_hooks.0.begin_epoch=20 '
                 'custom_hooks.0.dataloader.batch_size=12')
# The paper's table 5, beside main: search and fine-tuning from random weights, one of them or both.
RANDOM_SEARCH = 'random start'
ABLATION = dict(
    main_adaptation_random=('short', False),
    expansion_random=(RANDOM_SEARCH, True),
    expansion_random_adaptation_random=(RANDOM_SEARCH, False))


def scalars(run: Path) -> list[dict[str, Any]]:
    """What mm logged of a run, training and validation, all attempts."""
    return [json.loads(line) for path in sorted(run.glob('*/vis_data/scalars.json'))
            for line in path.read_text().splitlines()]


@cache
def validation(run: Path, metric: str) -> Optional[float]:
    """The last value of a metric on the validation split; the test's is logged after it."""
    lines = [line for path in sorted(run.glob('*/*.log')) for line in path.read_text().splitlines()
             if ('Iter(val)' in line or 'Epoch(val)' in line) and f'{metric}: ' in line]
    return float(lines[-1].split(f'{metric}: ')[1].split()[0]) if lines and (run / 'result.json').is_file() else None


def validated(run: Path, metric: str) -> float:
    """The last value of a metric on the validation split in a run that is finished."""
    if (value := validation(run, metric)) is None:
        raise SystemExit(f'{run}: no {metric} of the validation split in the log of a finished run')
    return value


def validated_rates(case: Path) -> dict[str, Optional[float]]:
    """Learning rates, and the metric of MobileNetV2 on the validation split where it is finished."""
    return {path.name.removeprefix('lr_'): validation(path / 'seed_0/mobilenet_v2', CASES[case.name][2])
            for path in sorted(case.glob('lr_*'))}


def runs_of(case: Path, folder: str, name: str) -> Iterator[tuple[int, Path, dict]]:
    """Seed, folder and result of every finished run."""
    for path in sorted(case.glob(f'{folder}/seed_*/{name}/result.json')):
        yield int(path.parts[-3].removeprefix('seed_')), path.parent, json.loads(path.read_text())


def minutes(run: Path) -> Optional[float]:
    """Minutes of the iterations, at the median of their times: interruptions do not count."""
    lines = [line for line in scalars(run) if 'loss' in line and 'time' in line]
    if not lines:
        return None
    last = lines[-1].get('iter', lines[-1]['step'])
    # Between two lines mm averages: with architecture steps every few iterations, 'time' holds their share.
    kinds = [[line['time'] for line in lines if ('arch_step_time' in line) is both] for both in (False, True)]
    mean = sum(statistics.median(kind) * len(kind) for kind in kinds if kind) / len(lines)
    return mean * last / 60


def mean_minutes(runs: Iterable[Path]) -> Optional[float]:
    """The mean of what the runs took, of those that logged it."""
    times = [spent for run in runs if (spent := minutes(run)) is not None]
    return statistics.mean(times) if times else None


def spread(values: list[float]) -> Optional[float]:
    """Standard deviation (n - 1), if there is one."""
    return round(statistics.stdev(values), 2) if len(values) > 1 else None


def search_of(folder: str) -> str:
    """The kind of search whose architectures a folder fine-tunes."""
    return SEARCHES.get(folder) or ABLATION.get(folder, ('short', ))[0]


def compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the comparison, without those of the ablation."""
    return [row for row in rows if row['remapped'] and row['search'] != RANDOM_SEARCH]


def command_of(name: str, model: str, folder: str, seeds: list[int], rate: float, remapped: bool) -> str:
    """What measures a row, from the project's root; docs/results/run.sh does it for all rows at once."""
    size = os.environ.get('FNA_COMPARISON_SIZE', 'small')
    configs, own = f'configs/comparison/{name}', f'work_dirs/comparison/{size}/{name}/{folder}'
    rest = f'--seeds {" ".join(map(str, seeds))} --seed-checkpoint mobilenet_v2.pth'
    searched = own.removesuffix('_adaptation_random')  # which only fine-tunes in another way
    steps = [] if size == 'small' else [f'export FNA_COMPARISON_SIZE={size}']
    if model in ('found', 'random'):
        options = dict(long=LONG_SEARCH[name], **{RANDOM_SEARCH: 'model.backbone.init_cfg=None'}).get(search_of(folder))
        steps.append(f'fna ablate {configs}/search.py --work-dir {searched} {rest}'
                     + (f' --cfg-options {options}' if options else ''))
    if searched != own:
        steps += [f'mkdir -p {own}/seed_{seed}/search && '
                  f'cp {searched}/seed_{seed}/search/arch.json {own}/seed_{seed}/search' for seed in seeds]
    if model == 'random':
        draw = '1' if search_of(folder) == 'long' else ''  # before the seed: other draws than those of main
        steps += [f'fna arch random {configs}/search.py {own}/seed_{seed}/random_arch.json '
                  f'--like {own}/seed_{seed}/search/arch.json --seed {draw}{seed}' for seed in seeds]
    start = '' if remapped else ' model.backbone.init_cfg=None'
    steps.append(f'fna ablate {configs}/{model}.py --work-dir {own} {rest} '
                 f'--cfg-options optim_wrapper.optimizer.lr={rate:g}{start}')
    return ' && '.join(steps)


@cache
def row_of(work: Path, name: str, folder: str, model: str, remapped: bool = True,
           only: Optional[frozenset[int]] = None) -> Optional[dict[str, Any]]:
    """What the seeds of one model gave, or those that are asked for; none where no run is finished."""
    dataset, framework, metric, factor = CASES[name]
    runs = [run for run in runs_of(work / name, folder, model) if only is None or run[0] in only]
    if not runs:
        return None
    seeds = [seed for seed, _, _ in runs]
    # The complete config beside a run's folder has the rate that was chosen.
    rate = Config.fromfile(runs[0][1].with_suffix('.py')).optim_wrapper.optimizer.lr
    values = [factor * result['metrics'][metric] for _, _, result in runs]
    checks = [factor * validated(run, metric) for _, run, _ in runs]
    return dict(
        dataset=dataset, framework=framework, model=model, remapped=remapped,
        search=search_of(folder) if model in ('found', 'random') else None,
        params_m=round(statistics.mean(result['params'] for _, _, result in runs) / 1e6, 3),
        madds_g=round(statistics.mean(result['madds'] for _, _, result in runs) / 1e9, 4),
        metric=metric, mean=round(statistics.mean(values), 2), std=spread(values),
        seeds=seeds, command=command_of(name, model, folder, seeds, rate, remapped),
        values=[round(value, 2) for value in values],
        validation_values=[round(value, 2) for value in checks],
        madds_g_of_seeds=[round(result['madds'] / 1e9, 4) for _, _, result in runs],
        validation_mean=round(statistics.mean(checks), 2), validation_std=spread(checks),
        minutes=round(mean_minutes(run for _, run, _ in runs) or 0., 1))


def rows_of(work: Path) -> list[dict[str, Any]]:
    """A row for every data set, framework and model; none of a framework whose runs are not finished for all models.

    Behind them, where these were run, what the longer search found, random architectures of its cost, and the paper's
    table 5.
    """
    rows = []
    for name in CASES:
        found = [row_of(work, name, 'main', model) for model in MODELS]
        if all(found):
            found += [row_of(work, name, 'x_quiet', model) for model in ('found', 'random')]
            found += [row_of(work, name, folder, 'found', remapped) for folder, (_, remapped) in ABLATION.items()]
            rows += [row for row in found if row]
    return rows
