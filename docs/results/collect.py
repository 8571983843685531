"""What docs/results/run.sh measured: the learning rate to take; results.json, tables, figures and logs.

python docs/results/collect.py rate WORK/CASE          the rate with the baseline's best validation metric
python docs/results/collect.py results WORK docs/results
"""

import json
import re
import shutil
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from matplotlib.figure import Figure
from mmengine.config import Config
from tabulate import tabulate

from fna_mm import Architecture

CASES = dict(
    camvid_deeplabv3=('CamVid', 'DeepLabv3', 'mIoU', 1),
    bccd_retinanet=('BCCD', 'RetinaNet', 'coco/bbox_mAP', 100),
    bccd_ssdlite=('BCCD', 'SSDLite', 'coco/bbox_mAP', 100))
MODELS = dict(mobilenet_v2='MobileNetV2', published="the paper's own", found='found here', random='random')
COLORS = dict(mobilenet_v2='black', published='tab:purple', found='tab:blue', random='tab:orange')
MARKERS = dict(mobilenet_v2='*', published='s', found='o', random='x')
BEGIN, END = '<!-- made by collect.py: {} -->', '<!-- end of {} -->'


def scalars(run: Path) -> list[dict[str, Any]]:
    """What mm logged of a run, training and validation, all attempts."""
    return [json.loads(line) for path in sorted(run.glob('*/vis_data/scalars.json'))
            for line in path.read_text().splitlines()]


def validation(run: Path, metric: str) -> Optional[float]:
    """The last value of a metric on the validation split; the test's is logged after it."""
    lines = [line for path in sorted(run.glob('*/*.log')) for line in path.read_text().splitlines()
             if ('Iter(val)' in line or 'Epoch(val)' in line) and f'{metric}: ' in line]
    return float(lines[-1].split(f'{metric}: ')[1].split()[0]) if lines and (run / 'result.json').is_file() else None


def validated_rates(case: Path) -> dict[str, Optional[float]]:
    """Learning rates, and the metric of MobileNetV2 on the validation split where it is finished."""
    return {path.name.removeprefix('lr_'): validation(path / 'seed_0/mobilenet_v2', CASES[case.name][2])
            for path in sorted(case.glob('lr_*'))}


def best_rate(case: Path) -> str:
    """The learning rate whose MobileNetV2 is best on the validation split."""
    found = validated_rates(case)
    missing = [rate for rate, value in found.items() if value is None]
    if missing or not found:
        raise SystemExit(f'{case}: no validation of the rates {missing or "at all"}; run docs/results/run.sh')
    return max(found, key=lambda rate: found[rate] or 0.)


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


def spread(values: list[float]) -> Optional[float]:
    """Standard deviation (n - 1), if there is one."""
    return round(statistics.stdev(values), 2) if len(values) > 1 else None


def rows_of(work: Path) -> list[dict[str, Any]]:
    """A row for every data set, framework and model; none of a framework whose runs are not finished for all models."""
    rows = []
    for name, (dataset, framework, metric, factor) in CASES.items():
        case = work / name
        finished = {model: list(runs_of(case, 'main', model)) for model in MODELS}
        for model, runs in finished.items() if all(finished.values()) else ():
            values = [factor * result['metrics'][metric] for _, _, result in runs]
            checks = [factor * value for _, run, _ in runs if (value := validation(run, metric)) is not None]
            times = [spent for _, run, _ in runs if (spent := minutes(run)) is not None]
            rows.append(dict(
                dataset=dataset, framework=framework, model=model, remapped=True,
                params_m=round(statistics.mean(result['params'] for _, _, result in runs) / 1e6, 3),
                madds_g=round(statistics.mean(result['madds'] for _, _, result in runs) / 1e9, 4),
                metric=metric, mean=round(statistics.mean(values), 2), std=spread(values),
                seeds=[seed for seed, _, _ in runs],
                command=f'fna ablate configs/comparison/{name}/{model}.py',
                values=[round(value, 2) for value in values],
                madds_g_of_seeds=[round(result['madds'] / 1e9, 4) for _, _, result in runs],
                validation_mean=round(statistics.mean(checks), 2), validation_std=spread(checks),
                minutes=round(statistics.mean(times), 1)))
    return rows


def plus_minus(mean: float, std: Optional[float]) -> str:
    """Both as text."""
    return f'{mean:.1f}' if std is None else f'{mean:.1f} ± {std:.1f}'


def main_table(rows: list[dict]) -> str:
    """Every backbone in every framework."""
    lines = [(row['dataset'], row['framework'], MODELS[row['model']], f'{row["params_m"]:.3f}', f'{row["madds_g"]:.3f}',
              plus_minus(row['validation_mean'], row['validation_std']), plus_minus(row['mean'], row['std']),
              ', '.join(f'{value:.1f}' for value in row['values'])) for row in rows]
    return tabulate(lines, ('data', 'framework', 'backbone', 'params (M)', 'GMAdds', 'validation', 'test',
                            'test, by seed'), tablefmt='github', disable_numparse=True)


def rate_table(work: Path) -> str:
    """What the learning rate was chosen by."""
    lines = [(dataset, framework, rate, f'{factor * value:.1f}')
             for name, (dataset, framework, _, factor) in CASES.items()
             for rate, value in validated_rates(work / name).items() if value is not None]
    return tabulate(lines, ('data', 'framework', 'learning rate', 'validation, MobileNetV2'), tablefmt='github',
                    disable_numparse=True)


def cost_table(work: Path, rows: list[dict]) -> str:
    """Minutes of the search and of one fine-tuning."""
    lines = []
    for name, (dataset, framework, _, _) in CASES.items():
        searches = [spent for _, run, _ in runs_of(work / name, 'main', 'search')
                    if (spent := minutes(run)) is not None]
        found = [row['minutes'] for row in rows if (row['dataset'], row['framework'], row['model']) ==
                 (dataset, framework, 'found')]
        if searches and found:
            search = statistics.mean(searches)
            share = search / (search + found[0])
            lines.append((dataset, framework, f'{search:.1f}', f'{found[0]:.1f}', f'{share:.0%}'))
    return tabulate(lines, ('data', 'framework', 'search: min', 'fine-tuning: min', 'share of the search'),
                    tablefmt='github', disable_numparse=True)


def search_weight(run: Path) -> float:
    """The weight of the cost term in a search."""
    return float(Config.fromfile(run.with_suffix('.py')).custom_hooks[0].cost.weight)


def weight_table(work: Path) -> str:
    """Sensitivity to the weight of the cost term."""
    lines = []
    for name, (dataset, framework, metric, factor) in CASES.items():
        found = []
        for folder in ['main', *(path.name for path in sorted((work / name).glob('lambda_*')))]:
            for seed, run, result in runs_of(work / name, folder, 'found'):
                if seed == 0:
                    value = validation(run, metric)
                    found.append((search_weight(run.with_name('search')), result['madds'] / 1e9,
                                  None if value is None else factor * value, factor * result['metrics'][metric]))
        lines += [(dataset, framework, f'{weight:g}', f'{madds:.3f}', '-' if check is None else f'{check:.1f}',
                   f'{value:.1f}') for weight, madds, check, value in sorted(found) if len(found) > 1]
    return tabulate(lines, ('data', 'framework', 'λ', 'GMAdds', 'validation', 'test'), tablefmt='github',
                    disable_numparse=True)


def layers_of(path: Path, depths: int = 6) -> list[tuple[str, ...]]:
    """The layers of every stage, the left-out ones as ``skip``."""
    stages = Architecture.create(str(path)).stages[1:]
    return [tuple(str(layer) for layer in stage.layers) + ('skip', ) * (depths - len(stage.layers)) for stage in stages]


def agreement_table(work: Path) -> str:
    """How far searches with other seeds agree, and what random architectures of the same cost agree by."""
    lines = []
    for name, (dataset, framework, _, _) in CASES.items():
        cells = []
        for what in ('search/arch.json', 'random_arch.json'):
            found = [layers_of(path) for path in sorted((work / name).glob(f'main/seed_*/{what}'))]
            pairs = [(a, b) for i, a in enumerate(found) for b in found[i + 1:]]
            same = [sum(x == y and x != 'skip' for s, t in zip(a, b) for x, y in zip(s, t)) for a, b in pairs]
            total = [sum(x != 'skip' or y != 'skip' for s, t in zip(a, b) for x, y in zip(s, t)) for a, b in pairs]
            cells.append(f'{sum(same) / sum(total):.0%}' if pairs else '-')
        entropies = [line['arch_entropy'] for _, run, _ in runs_of(work / name, 'main', 'search')
                     for line in scalars(run)[-20:] if 'arch_entropy' in line][-1:]
        if cells[0] != '-':
            lines.append((dataset, framework, *cells, f'{entropies[0]:.2f}' if entropies else '-'))
    return tabulate(lines, ('data', 'framework', 'equal layers, searches', 'equal layers, random', 'entropy: nats'),
                    tablefmt='github', disable_numparse=True)


def cost_figure(rows: list[dict]) -> Figure:
    """MAdds against the test metric, a panel for each framework."""
    cases = list(dict.fromkeys((row['dataset'], row['framework']) for row in rows))
    figure = Figure((3.6 * len(cases), 3.2), layout='constrained')
    for case, axes in zip(cases, figure.subplots(1, len(cases), squeeze=False)[0]):
        for row in rows:
            if (row['dataset'], row['framework']) == case:
                style = dict(color=COLORS[row['model']], marker=MARKERS[row['model']])
                axes.scatter(row['madds_g_of_seeds'], row['values'], s=24, alpha=.6, **style)
                axes.errorbar(statistics.mean(row['madds_g_of_seeds']), row['mean'], row['std'] or 0, ms=9, capsize=3,
                              label=MODELS[row['model']], **style)
        axes.set_title(' '.join(reversed(case)))
        axes.set_xlabel('GMAdds')
        axes.set_ylabel('test mIoU' if case[0] == 'CamVid' else 'test mAP')
        axes.spines[['top', 'right']].set_visible(False)
    axes.legend(frameon=False, fontsize='small')
    return figure


def keep_logs(work: Path, out: Path) -> None:
    """Logs, complete configs, results and architectures, without weights."""
    for case in (work / name for name in CASES):
        for result in sorted(case.glob('*/seed_*/*/result.json')):
            run, target = result.parent, out / result.parent.parent.relative_to(work)
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(result, target / f'{run.name}_result.json')
            # Without the names of this machine's folders.
            config = run.with_name(f'{run.name}.py').read_text().replace(f'{Path.cwd()}/', '')
            (target / f'{run.name}.py').write_text(re.sub(r"(checkpoint=\s*)'[^']*/([^'/]+)'", r"\1'\2'", config))
            with (target / f'{run.name}.jsonl').open('w') as log:
                log.writelines(f'{json.dumps(line)}\n' for line in scalars(run))
            if (run / 'arch.json').is_file():
                shutil.copy(run / 'arch.json', target / f'{run.name}_arch.json')
                shutil.copy(run / 'fna_report/candidates.png', target / f'{run.name}_candidates.png')
            if (run.parent / 'random_arch.json').is_file():
                shutil.copy(run.parent / 'random_arch.json', target)


def insert(text: str, name: str, content: str) -> str:
    """Replace what stands between two marks."""
    begin, end = BEGIN.format(name), END.format(name)
    before, rest = text.split(begin)
    return f'{before}{begin}\n\n{content}\n\n{end}{rest.split(end)[1]}'


def write_results(work: Path, out: Path) -> None:
    """Everything in docs/results that the runs in ``work`` give."""
    rows = rows_of(work)
    (out / 'results.json').write_text(f'{json.dumps(rows, indent=1)}\n')
    keep_logs(work, out / 'comparison')
    cost_figure(rows).savefig(out / 'comparison/madds.png', dpi=120)
    page = out / 'README.md'
    text = page.read_text()
    for name, table in (('comparison', main_table(rows)), ('rates', rate_table(work)), ('cost', cost_table(work, rows)),
                        ('weights', weight_table(work)), ('agreement', agreement_table(work))):
        text = insert(text, name, table)
    page.write_text(text)
    print(main_table(rows))


if __name__ == '__main__':
    if sys.argv[1:2] == ['rate'] and len(sys.argv) == 3:
        print(best_rate(Path(sys.argv[2])))
    elif sys.argv[1:2] == ['results'] and len(sys.argv) == 4:
        write_results(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        raise SystemExit(__doc__)
