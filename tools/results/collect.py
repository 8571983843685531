"""What docs/results/run.sh measured: the learning rate to take; results.json, tables, figures and logs.

python docs/results/collect.py rate WORK/CASE          the rate with the baseline's best validation metric
python docs/results/collect.py results WORK docs/results
"""

import json
import re
import shutil
import statistics
import sys
from pathlib import Path
from typing import Optional

from distance_from_seed import CHANGES, LONGER_TUNINGS, correlations
from finished_runs import (
    CASES,
    MODELS,
    SEARCHES,
    compared,
    mean_minutes,
    row_of,
    rows_of,
    runs_of,
    scalars,
    validated_rates,
)
from matplotlib.figure import Figure
from mmengine.config import Config
from tabulate import tabulate

from fna_mm import Architecture

# By model and length of the search.
STYLES = {
    ('mobilenet_v2', None): dict(color='black', marker='*'),
    ('published', None): dict(color='tab:purple', marker='s'),
    ('found', 'short'): dict(color='tab:blue', marker='o'),
    ('random', 'short'): dict(color='tab:orange', marker='x'),
    ('found', 'long'): dict(color='tab:green', marker='D'),
    ('random', 'long'): dict(color='tab:red', marker='+')}
# What is different in the folders beside main.
VARIANTS = {
    'main': 'as above',
    'lambda_0.1': 'five times the weight of the cost term',
    'x_affine_false': 'candidates without scale and shift',
    'x_depth': 'no deeper than the seed',
    'x_sampling': 'two sampled candidates in each architecture step',
    'x_preference': 'starts near the seed, half the rate',
    'x_quiet': 'three times the epochs, batches of 12',
    'x_double': 'three times the epochs; fine-tuned on twice the images',
    'x_long': 'as above; fine-tuned three times as long'}
# The paper's table 5.
REMAPPINGS = dict(
    expansion_random_adaptation_random=('random', 'random'),
    main_adaptation_random=('remapped', 'random'),
    expansion_random=('random', 'remapped'),
    main=('remapped', 'remapped'))
BEGIN, END = '<!-- made by collect.py: {} -->', '<!-- end of {} -->'


def best_rate(case: Path) -> str:
    """The learning rate whose MobileNetV2 is best on the validation split."""
    found = validated_rates(case)
    missing = [rate for rate, value in found.items() if value is None]
    if missing or not found:
        raise SystemExit(f'{case}: no validation of the rates {missing or "at all"}; run docs/results/run.sh')
    return max(found, key=lambda rate: found[rate] or 0.)


def plus_minus(mean: float, std: Optional[float]) -> str:
    """Both as text."""
    return f'{mean:.1f}' if std is None else f'{mean:.1f} ± {std:.1f}'


def table(lines: list[tuple], *header: str) -> str:
    """A table for GitHub, every cell as it is."""
    return '(not run)' if not lines else tabulate(lines, header, tablefmt='github', disable_numparse=True)


def measured(row: dict) -> tuple[str, str, str, str]:
    """The cells that tables of fine-tunings end with: seeds, GMAdds and the metric on both splits."""
    return (str(len(row['seeds'])), f'{row["madds_g"]:.3f}', plus_minus(row['validation_mean'], row['validation_std']),
            plus_minus(row['mean'], row['std']))


def by_seed(row: dict) -> str:
    """The metric on the test split with every seed, bold where the validation split is best."""
    best = max(range(len(row['values'])), key=lambda seed: row['validation_values'][seed])
    return ', '.join(f'**{value:.1f}**' if i == best else f'{value:.1f}' for i, value in enumerate(row['values']))


def label_of(row: dict) -> str:
    """The backbone in tables and figures."""
    return MODELS[row['model']] + (', longer search' if row['search'] == 'long' else '')


def main_table(rows: list[dict]) -> str:
    """Every backbone in every framework."""
    lines = [(row['dataset'], row['framework'], label_of(row), f'{row["params_m"]:.3f}', *measured(row)[1:],
              by_seed(row)) for row in compared(rows)]
    return table(lines, 'data', 'framework', 'backbone', 'params (M)', 'GMAdds', 'validation', 'test', 'test, by seed')


def rate_table(work: Path) -> str:
    """What the learning rate was chosen by."""
    lines = [(dataset, framework, rate, f'{factor * value:.1f}')
             for name, (dataset, framework, _, factor) in CASES.items()
             for rate, value in validated_rates(work / name).items() if value is not None]
    return table(lines, 'data', 'framework', 'learning rate', 'validation, MobileNetV2')


def cost_table(work: Path, rows: list[dict]) -> str:
    """Minutes of the search, of the fine-tuning of each backbone, and the search's share in what 'found' costs."""
    lines = []
    for name, (dataset, framework, _, _) in CASES.items():
        tuned = {(row['model'], row['search']): row['minutes'] for row in compared(rows)
                 if (row['dataset'], row['framework']) == (dataset, framework)}
        for folder, length in SEARCHES.items():
            search = mean_minutes(run for _, run, _ in runs_of(work / name, folder, 'search'))
            found = tuned.get(('found', length))
            if search and found:
                others = [tuned.get((model, None)) or tuned.get((model, length)) for model in MODELS]
                lines.append((dataset, framework, length, f'{search:.1f}',
                              *('-' if spent is None else f'{spent:.1f}' for spent in others),
                              f'{search / (search + found):.0%}'))
    tunings = [f'fine-tuning: {label}' for label in MODELS.values()]
    return table(lines, 'data', 'framework', 'search', 'minutes', *tunings, 'share of the search')


def search_weight(run: Path) -> float:
    """The weight of the cost term in a search."""
    return float(Config.fromfile(run.with_suffix('.py')).custom_hooks[0].cost.weight)


def weight_table(work: Path) -> str:
    """Sensitivity to the weight of the cost term: what was found with each, with the seeds that all of them have."""
    lines = []
    for name, (dataset, framework, _, _) in CASES.items():
        seeds = {path.name: frozenset(seed for seed, _, _ in runs_of(work / name, path.name, 'found'))
                 for path in (work / name / 'main', *sorted((work / name).glob('lambda_*')))}
        finished = [folder for folder in seeds if seeds[folder]]
        shared = frozenset.intersection(*(seeds[folder] for folder in finished)) if len(finished) > 1 else frozenset()
        found = [(search_weight(work / name / folder / f'seed_{row["seeds"][0]}/search'), row)
                 for folder in finished if (row := row_of(work, name, folder, 'found', only=shared))]
        lines += [(dataset, framework, f'{weight:g}', *measured(row))
                  for weight, row in sorted(found, key=lambda pair: pair[0])]
    return table(lines, 'data', 'framework', 'λ', 'seeds', 'GMAdds', 'validation', 'test')


def variant_table(work: Path) -> str:
    """Other ways of searching and fine-tuning, each with the agreement of its searches."""
    lines = []
    for name, (dataset, framework, _, _) in CASES.items():
        for folder, label in VARIANTS.items():
            agreed = agreement(sorted((work / name).glob(f'{folder}/seed_*/search/arch.json')))
            spent = mean_minutes(run for _, run, _ in runs_of(work / name, folder, 'search'))
            for model in MODELS if folder in LONGER_TUNINGS else ('found', 'random'):
                if row := row_of(work, name, folder, model):
                    searched = (f'{spent:.1f}', agreed) if model == 'found' and spent else ('-', '-')
                    lines.append((dataset, framework, label, MODELS[model], *searched, *measured(row)))
    return table(lines, 'data', 'framework', 'search', 'backbone', 'search: minutes', 'equal layers', 'seeds', 'GMAdds',
                 'validation', 'test')


def remapping_table(work: Path) -> str:
    """The paper's table 5."""
    lines = []
    for name, (dataset, framework, _, _) in CASES.items():
        rows = [(*stages, *measured(row)) for folder, stages in REMAPPINGS.items()
                if (row := row_of(work, name, folder, 'found'))]
        lines += [(dataset, framework, *row) for row in rows if len(rows) > 1]
    return table(lines, 'data', 'framework', 'search', 'fine-tuning', 'seeds', 'GMAdds', 'validation', 'test')


def change_table(work: Path) -> str:
    """Which changes of the seed's architecture go with a better or worse metric."""
    lines = [(dataset, framework, *cells) for name, (dataset, framework, _, _) in CASES.items()
             if (cells := correlations(work, name))]
    return table(lines, 'data', 'framework', 'fine-tunings', *CHANGES)


def layers_of(path: Path, depths: int = 6) -> list[tuple[str, ...]]:
    """The layers of every stage, the left-out ones as ``skip``."""
    stages = Architecture.create(str(path)).stages[1:]
    return [tuple(str(layer) for layer in stage.layers) + ('skip', ) * (depths - len(stage.layers)) for stage in stages]


def agreement(paths: list[Path]) -> str:
    """Layers that two of the architectures have in common, of those that either has."""
    found = [layers_of(path) for path in paths]
    pairs = [(a, b) for i, a in enumerate(found) for b in found[i + 1:]]
    same = [sum(x == y and x != 'skip' for s, t in zip(a, b) for x, y in zip(s, t)) for a, b in pairs]
    total = [sum(x != 'skip' or y != 'skip' for s, t in zip(a, b) for x, y in zip(s, t)) for a, b in pairs]
    return f'{sum(same) / sum(total):.0%}' if pairs else '-'


def agreement_table(work: Path) -> str:
    """How far searches with other seeds agree, and what random architectures of the same cost agree by."""
    lines = []
    for name, (dataset, framework, _, _) in CASES.items():
        cells = [agreement(sorted((work / name).glob(f'main/seed_*/{what}')))
                 for what in ('search/arch.json', 'random_arch.json')]
        entropies = [line['arch_entropy'] for _, run, _ in runs_of(work / name, 'main', 'search')
                     for line in scalars(run)[-20:] if 'arch_entropy' in line][-1:]
        if cells[0] != '-':
            lines.append((dataset, framework, *cells, f'{entropies[0]:.2f}' if entropies else '-'))
    return table(lines, 'data', 'framework', 'equal layers, searches', 'equal layers, random', 'entropy: nats')


def cost_figure(rows: list[dict]) -> Figure:
    """MAdds against the test metric, a panel for each framework."""
    shown = compared(rows)
    cases = list(dict.fromkeys((row['dataset'], row['framework']) for row in shown))
    figure = Figure((3.6 * len(cases), 3.6), layout='constrained')
    for case, axes in zip(cases, figure.subplots(1, len(cases), squeeze=False)[0]):
        for row in shown:
            if (row['dataset'], row['framework']) == case:
                style = STYLES[row['model'], row['search']]
                axes.scatter(row['madds_g_of_seeds'], row['values'], s=24, alpha=.6, **style)
                axes.errorbar(statistics.mean(row['madds_g_of_seeds']), row['mean'], row['std'] or 0, ms=9, capsize=3,
                              label=label_of(row), **style)
        axes.set_title(' '.join(reversed(case)))
        axes.set_xlabel('GMAdds')
        axes.set_ylabel('test mIoU' if case[0] == 'CamVid' else 'test mAP')
        axes.spines[['top', 'right']].set_visible(False)
    entries = {label: entry for axes in figure.axes for entry, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(entries.values(), entries.keys(), loc='outside lower center', ncols=3, frameon=False,
                  fontsize='small')
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
    comparison = main_table(rows)
    (out / 'results.json').write_text(f'{json.dumps(rows, indent=1)}\n')
    keep_logs(work, out / 'comparison')
    cost_figure(rows).savefig(out / 'comparison/madds.png', dpi=120)
    page = out / 'README.md'
    text = page.read_text()
    for name, made in (('comparison', comparison), ('rates', rate_table(work)), ('cost', cost_table(work, rows)),
                       ('weights', weight_table(work)), ('agreement', agreement_table(work)),
                       ('variants', variant_table(work)), ('remapping', remapping_table(work)),
                       ('changes', change_table(work))):
        text = insert(text, name, made)
    page.write_text(text)
    print(comparison)


if __name__ == '__main__':
    if sys.argv[1:2] == ['rate'] and len(sys.argv) == 3:
        print(best_rate(Path(sys.argv[2])))
    elif sys.argv[1:2] == ['results'] and len(sys.argv) == 4:
        write_results(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        raise SystemExit(__doc__)
