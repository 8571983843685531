"""What measured adaptation gives: train a model to the end, adapt it, test every child as it is and fine-tuned.

python -m tools.results.adapted_runs run CASE SEED WORK SEED.pth    a training and all its children; resumable
python -m tools.results.adapted_runs collect WORK docs/results      add all runs to adaptation.json and adaptation.md
python -m tools.results.adapted_runs alike ADAPTED ADAPTED…         how alike are the children of adaptations
"""

import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

from tabulate import tabulate

from fna_mm.report.canvas import to_png
from tools.results.adapted_front import front, points
from tools.results.collect import insert
from tools.results.result_rows import CASES

ROOT = Path(__file__).resolve().parents[2]
BUDGETS = ('1', '0.8', '0.6', '0.5', '0.4', '0.25')
#: Package of mim, and share of the training that a child is fine-tuned for.
PACKAGES = dict(camvid_deeplabv3=('mmseg', .2), bccd_retinanet=('mmdet', .125), bccd_ssdlite=('mmdet', .2))
#: The case with mm's own ResNet has a page of its own: its name, package and share, its config, and its budgets.
RESNET, _RESNET_PACKAGE = 'camvid_resnet18', ('mmseg', .2)
_RESNET_CONFIG, RESNET_BUDGETS = 'configs/resnet/resnet18_camvid_deeplabv3.py', ('1', '0.7', '0.5', '0.3')
_RESNET_METRIC = ('CamVid', 'DeepLabv3 with ResNet-18', 'mIoU', 1)
#: Children that are also fine-tuned without the distillation: with so small a weight of it that it is none.
PLAIN = ('0.5', '0.4', '0.25')
_NO_WEIGHT = 'custom_hooks.1.weight=1e-9'
TIMES = 'cpu_minutes.json'


class Step(NamedTuple):
    """One command of a run.

    Args:
        name (str): Its name; a step that is in the run's times is done.
        command (list[str]): What is called.
    """

    name: str
    command: list[str]


def _last_checkpoint(folder: Path) -> str:
    return (folder / 'last_checkpoint').read_text().strip()


def resumed(folder: Path) -> list[str]:
    """The options of a training that goes on if there is something to resume; more options may follow.

    Args:
        folder (Path): Its work directory.
    """
    return ['--resume', '--cfg-options', 'load_from=None'] if (folder / 'last_checkpoint').exists() else [
        '--cfg-options']


def budgets_of(case: str) -> tuple[str, ...]:
    """The budgets of a case."""
    return RESNET_BUDGETS if case == RESNET else BUDGETS


def plain_of(case: str) -> tuple[str, ...]:
    """The budgets of a case whose children are also fine-tuned without the distillation."""
    return () if case == RESNET else PLAIN


def _metric_of(case: str) -> tuple[str, str, str, int]:
    return _RESNET_METRIC if case == RESNET else CASES[case]


def steps_of(case: str, seed: int, run: Path, checkpoint: str) -> Iterator[Step]:
    """The steps of a run, each as soon as the one before is done.

    Args:
        case (str): One of the cases.
        seed (int): Seed of the training and of the order of images.
        run (Path): Folder of the run.
        checkpoint (str): The ImageNet checkpoint; ``random`` for none, with mm's own ResNet.
    """
    package, share = _RESNET_PACKAGE if case == RESNET else PACKAGES[case]
    config = str(ROOT / (_RESNET_CONFIG if case == RESNET else f'configs/adaptation/mobilenet_v2_{case}.py'))
    start = (f'model.backbone.init_cfg.checkpoint={checkpoint}' if case != RESNET else
             f'model.pretrained={None if checkpoint == "random" else checkpoint}')
    trained, adapted = run / 'trained', run / 'adapted'
    seeded = f'randomness.seed={seed}'
    yield Step('trained', ['mim', 'train', package, config, '--work-dir', str(trained), *resumed(trained), seeded,
                           start])
    budgets = [text for budget in budgets_of(case) for text in ('--budget', budget)]
    yield Step('adapted', ['fna', 'adapt', config, _last_checkpoint(trained), *budgets, '--schedule', str(share),
                           '--seed', str(seed), '--work-dir', str(adapted)])
    for budget in budgets_of(case):
        child = adapted / f'budget_{budget}'
        test = ['mim', 'test', package, str(child / 'child_config.py')]
        yield Step(f'raw_{budget}', [*test, '--checkpoint', str(child / 'child.pth'), '--work-dir',
                                     str(run / f'raw_{budget}')])
    for kind, budget in [*(('tuned', budget) for budget in budgets_of(case)),
                         *(('plain', budget) for budget in plain_of(case))]:
        config, tuned = str(adapted / f'budget_{budget}/child_config.py'), run / f'{kind}_{budget}'
        yield Step(tuned.name, ['mim', 'train', package, config, '--work-dir', str(tuned), *resumed(tuned), seeded,
                                *([_NO_WEIGHT] if kind == 'plain' else [])])
        yield Step(f'{tuned.name}_test', ['mim', 'test', package, config, '--checkpoint', _last_checkpoint(tuned),
                                          '--work-dir', str(run / f'{tuned.name}_test')])


def run_case(case: str, seed: int, work: Path, checkpoint: str) -> None:
    """Run what is not done yet.

    Args:
        case (str): One of the cases.
        seed (int): Seed of the training and of the order of images.
        work (Path): Folder of all runs.
        checkpoint (str): The ImageNet checkpoint.
    """
    run = work / case / f'seed_{seed}'
    run.mkdir(parents=True, exist_ok=True)
    times: dict[str, float] = json.loads((run / TIMES).read_text()) if (run / TIMES).exists() else {}
    for step in steps_of(case, seed, run, checkpoint):
        if step.name in times:
            continue
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with open(run / f'{step.name}.log', 'a') as log:
            print(f'{case} seed {seed}: {step.name}', flush=True)
            subprocess.run(step.command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times[step.name] = round((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 60, 2)
        (run / TIMES).write_text(json.dumps(times, indent=1))


def tested(folder: Path, metric: str) -> Optional[float]:
    """The metric of the last test in a work directory; None if there is none.

    Args:
        folder (Path): The work directory of mim test.
        metric (str): Its name.
    """
    found = [value for path in sorted(folder.glob('*/*.json'))
             if (value := json.loads(path.read_text()).get(metric)) is not None]
    return float(found[-1]) if found else None


def rows_of(work: Path) -> list[dict[str, Any]]:
    """One row for each case and budget: the metric of every seed without training and after it, in percent.

    Args:
        work (Path): Folder of all runs.
    """
    rows = []
    for case in (*PACKAGES, RESNET):
        _, _, metric, factor = _metric_of(case)
        for budget in budgets_of(case):
            row: dict[str, Any] = dict(case=case, budget=budget, seeds=[], raw=[], tuned=[], plain=[],
                                       share_of_model=[], minutes=[], widths=[])
            for run in sorted((work / case).glob('seed_*')):
                front = run / 'adapted/front.json'
                points_of = {kind: tested(run / name, metric) for kind, name in (
                    ('raw', f'raw_{budget}'), ('tuned', f'tuned_{budget}_test'), ('plain', f'plain_{budget}_test'))}
                if points_of['raw'] is None or not front.exists():
                    continue
                values = json.loads(front.read_text())
                child = next(child for child in values['children'] if child['budget'] == budget)
                times = json.loads((run / TIMES).read_text())
                row['seeds'].append(int(run.name.removeprefix('seed_')))
                for kind, value in points_of.items():
                    row[kind].append(None if value is None else round(factor * value, 2))
                row['share_of_model'].append(round(child['share_of_model'], 4))
                row['widths'].append(child['widths'])
                row['minutes'].append({name: times.get(name) for name in ('trained', 'adapted', f'tuned_{budget}')})
            if row['seeds']:
                rows.append(row)
    return rows


def merged(known: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the runs of two collections; of a seed that both have, those that were found.

    Args:
        known (Sequence[Mapping]): Rows that were collected earlier, maybe of a folder that is gone.
        found (Sequence[Mapping]): What :func:`rows_of` gave.
    """
    keys = 'raw', 'tuned', 'plain', 'share_of_model', 'minutes', 'widths'
    runs: dict[tuple[str, str], dict[int, tuple[Any, ...]]] = {}
    for row in (*known, *found):
        of_row = runs.setdefault((row['case'], row['budget']), {})
        of_row.update(zip(row['seeds'], zip(*(row[key] for key in keys))))
    return [dict(case=case, budget=budget, seeds=sorted(runs[case, budget]),
                 **{key: [runs[case, budget][seed][at] for seed in sorted(runs[case, budget])]
                    for at, key in enumerate(keys)})
            for case in (*PACKAGES, RESNET) for budget in budgets_of(case) if (case, budget) in runs]


def behind(row: Mapping[str, Any], trained: Mapping[str, Any], key: str) -> list[float]:
    """By how many points a child is behind the trained model, for every seed that has both.

    Args:
        row (Mapping): The child's row.
        trained (Mapping): The row of the trained model, which is the child of budget 1.
        key (str): ``raw``, ``tuned`` or ``plain``.
    """
    return [round(-value, 2) for value in points(row, trained, key)]


def alike(widths: Sequence[Sequence[int]], within: float = .25) -> Optional[float]:
    """The least share of layers whose widths two of several children have within a factor; None for less than two.

    Args:
        widths (Sequence[Sequence[int]]): Hidden channels of every layer, of every child.
        within (float): The larger one is at most this much larger. Defaults to 0.25.
    """
    shares = []
    for index, one in enumerate(widths):
        for other in widths[:index]:
            same = [max(pair) <= (1 + within) * min(pair) for pair in zip(one, other)]
            shares.append(sum(same) / len(same))
    return min(shares) if shares else None


def said_of_alike(folders: Sequence[Path]) -> str:
    """For every budget, the least share of layers whose widths two adaptations have within 25 %.

    Args:
        folders (Sequence[Path]): Work directories of ``fna adapt``.
    """
    widths: dict[str, list[list[int]]] = {}
    for folder in folders:
        for child in json.loads((folder / 'front.json').read_text())['children']:
            widths.setdefault(child['budget'], []).append(child['widths'])
    return '\n'.join(f'{budget}: {share:.0%} of {len(of_budget)} children'
                     for budget, of_budget in widths.items() if (share := alike(of_budget)) is not None)


def _mean(values: Sequence[Optional[float]]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return '–'
    spread = f' ± {statistics.stdev(known):.1f}' if len(known) > 1 else ''
    return f'{round(statistics.mean(known), 1) + 0.:.1f}{spread}'  # no -0.0


def table_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of all cases, in Markdown.

    Args:
        rows (Sequence[Mapping]): What :func:`rows_of` gave.
    """
    cells, plain_known = [], any(value is not None for row in rows for value in row['plain'])
    for row in rows:
        trained = next(other for other in rows if other['case'] == row['case'] and other['budget'] == '1')
        lost = {key: behind(row, trained, key) for key in ('raw', 'tuned', 'plain')}
        name = 'trained model' if row['budget'] == '1' else f'child, {float(row["budget"]):.0%}'
        raw, tuned, plain = ('' if row is trained else _mean(lost[key]) for key in ('raw', 'tuned', 'plain'))
        cells.append([title_of(row['case']), name, f'{statistics.mean(row["share_of_model"]):.0%}', _mean(row['raw']),
                      raw, _mean(row['tuned']), tuned, *([plain] if plain_known else []), str(len(row['seeds']))])
    headers = ['data, framework', 'backbone', 'MAdds of the model', 'not trained', 'behind by', 'fine-tuned',
               'behind by', *(['without distillation: behind by'] if plain_known else []), 'seeds']
    return tabulate(cells, headers, tablefmt='github', disable_numparse=True)


def minutes_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """CPU minutes of the training and of the adaptation to all budgets, in Markdown.

    Args:
        rows (Sequence[Mapping]): What :func:`rows_of` gave.
    """
    cells = []
    for row in rows:
        if row['budget'] != '1':
            continue
        at_half = next((other for other in rows if other['case'] == row['case'] and other['budget'] == '0.5'), row)
        share = alike(at_half['widths'])
        cells.append([title_of(row['case']), *(_mean([minutes[name] for minutes in row['minutes']])
                                               for name in ('trained', 'adapted')),
                      '–' if share is None else f'{share:.0%}'])
    number = len(budgets_of(rows[0]['case'])) if rows else 0
    return tabulate(cells, ['data, framework', 'training, CPU minutes', f'adaptation to {number} budgets',
                            'widths within 25 % of each other at 0.5, least of two seeds'],
                    tablefmt='github', disable_numparse=True)


def write(work: Path, out: Path) -> None:
    """Write ``adaptation.json``, the tables into ``adaptation.md``, and ``front.png``; the same of the ResNet's page.

    Runs that are in these files and not in the folder stay.

    Args:
        work (Path): Folder of all runs.
        out (Path): docs/results.
    """
    found = rows_of(work)
    for name, rows in (('adaptation', [row for row in found if row['case'] != RESNET]),
                       ('resnet', [row for row in found if row['case'] == RESNET])):
        if rows:
            before = out / f'{name}.json'
            rows = merged(json.loads(before.read_text()) if before.exists() else [], rows)
            lines = ',\n'.join(json.dumps(row) for row in rows)
            before.write_text(f'[\n{lines}\n]\n')
            page = out / f'{name}.md'
            page.write_text(page_of(page.read_text(), rows))
            if name == 'adaptation':
                (out / 'front.png').write_bytes(to_png(front(rows, titles())))


def title_of(case: str) -> str:
    """The name of a case in tables."""
    return ' '.join(_metric_of(case)[:2])


def titles() -> dict[str, str]:
    """Case → its name in tables and figures."""
    return {case: f'{data} {framework}' for case, (data, framework, _, _) in CASES.items()}


def page_of(text: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The page with its tables made anew.

    Args:
        text (str): The page as it is.
        rows (Sequence[Mapping]): What :func:`rows_of` gave.
    """
    return insert(insert(text, 'children', table_of(rows)), 'minutes', minutes_of(rows))


def main(arguments: Sequence[str]) -> None:
    """The command.

    Args:
        arguments (Sequence[str]): What stands behind the module's name.
    """
    if len(arguments) == 5 and arguments[0] == 'run' and arguments[1] in (*PACKAGES, RESNET):
        checkpoint = arguments[4] if arguments[1] == RESNET else os.path.abspath(arguments[4])
        run_case(arguments[1], int(arguments[2]), Path(arguments[3]).resolve(), checkpoint)
    elif len(arguments) == 3 and arguments[0] == 'collect':
        write(Path(arguments[1]), Path(arguments[2]))
    elif len(arguments) >= 3 and arguments[0] == 'alike':
        print(said_of_alike([Path(folder) for folder in arguments[1:]]))
    else:
        raise SystemExit(__doc__)


if __name__ == '__main__':
    main(sys.argv[1:])
