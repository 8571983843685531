"""The tables and the figure of the pages in docs/results, from the rows of results.json."""

import statistics
from collections.abc import Sequence
from typing import Any, Optional

from matplotlib.figure import Figure
from tabulate import tabulate

from fna_mm import Architecture
from tools.results.distance_from_seed import CHANGES, LONGER_TUNINGS, correlations
from tools.results.result_rows import CASES, MODELS, SEARCHES, ResultRow, figures, mean_of

#: By model and length of the search.
_STYLES: dict[tuple[str, Optional[str]], dict[str, Any]] = {
    ('mobilenet_v2', None): dict(color='black', marker='*'),
    ('published', None): dict(color='tab:purple', marker='s'),
    ('found', 'short'): dict(color='tab:blue', marker='o'),
    ('random', 'short'): dict(color='tab:orange', marker='x'),
    ('found', 'long'): dict(color='tab:green', marker='D'),
    ('random', 'long'): dict(color='tab:red', marker='+')}
#: What is different in the folders beside main.
_VARIANTS = {
    'main': 'as above',
    'lambda_0.1': 'five times the weight of the cost term',
    'x_affine_false': 'candidates without scale and shift',
    'x_depth': 'no deeper than the seed',
    'x_sampling': 'two sampled candidates in each architecture step',
    'x_preference': 'starts near the seed, half the rate',
    'x_quiet': 'three times the epochs, batches of 12',
    'x_double': 'three times the epochs; fine-tuned on twice the images',
    'x_long': 'as above; fine-tuned three times as long'}
#: The paper's table 5.
_REMAPPINGS = dict(
    expansion_random_adaptation_random=('random', 'random'),
    main_adaptation_random=('remapped', 'random'),
    expansion_random=('random', 'remapped'),
    main=('remapped', 'remapped'))
#: Layers of the longest stage that is searched.
_DEPTH = 6


def _plus_minus(mean: float, std: Optional[float]) -> str:
    return f'{mean:.1f}' if std is None else f'{mean:.1f} ± {std:.1f}'


def _table(lines: Sequence[tuple], *header: str) -> str:
    """A table for GitHub, every cell as it is."""
    return '(not run)' if not lines else tabulate(lines, header, tablefmt='github', disable_numparse=True)


def _measured(row: ResultRow) -> tuple[str, str, str, str]:
    """The cells that tables of fine-tunings end with: seeds, GMAdds and the metric on both splits."""
    return (str(len(row['seeds'])), f'{row["madds_g"]:.3f}',
            _plus_minus(row['validation_mean'], row['validation_std']), _plus_minus(row['mean'], row['std']))


def _find(rows: Sequence[ResultRow], name: str, folder: str, model: Optional[str] = None) -> Optional[ResultRow]:
    """The fine-tunings of a model in a folder of a case; without a model, the folder's searches."""
    return next((row for row in rows if (row['dataset'], row['framework']) == CASES[name][:2]
                 and row.get('folder') == folder and row.get('model') == model), None)


def _compared(rows: Sequence[ResultRow]) -> list[ResultRow]:
    return [row for row in rows if row['table'] == 'comparison']


def _label(row: ResultRow) -> str:
    """The backbone in tables and figures."""
    return MODELS[row['model']] + (', longer search' if row['search'] == 'long' else '')


def _by_seed(row: ResultRow) -> str:
    """The metric on the test split with every seed, bold where the validation split is best."""
    best = max(range(len(row['values'])), key=lambda seed: row['validation_values'][seed])
    return ', '.join(f'**{value:.1f}**' if i == best else f'{value:.1f}' for i, value in enumerate(row['values']))


def main_table(rows: Sequence[ResultRow]) -> str:
    """Every backbone in every framework."""
    lines = [(row['dataset'], row['framework'], _label(row), f'{row["params_m"]:.3f}', *_measured(row)[1:],
              _by_seed(row)) for row in _compared(rows)]
    return _table(lines, 'data', 'framework', 'backbone', 'params (M)', 'GMAdds', 'validation', 'test', 'test, by seed')


def _rate_table(rows: Sequence[ResultRow]) -> str:
    """What the learning rate was chosen by."""
    lines = [(row['dataset'], row['framework'], row['folder'].removeprefix('lr_'), f'{row["validation_mean"]:.1f}')
             for row in rows if row['table'] == 'rates']
    return _table(lines, 'data', 'framework', 'learning rate', 'validation, MobileNetV2')


def _cost_table(rows: Sequence[ResultRow]) -> str:
    """Minutes of the search, of the fine-tuning of each backbone, and the search's share in what 'found' costs."""
    lines = []
    for name, (dataset, framework, _, _) in CASES.items():
        tuned = {(row['model'], row['search']): row['minutes'] for row in _compared(rows)
                 if (row['dataset'], row['framework']) == (dataset, framework)}
        for folder, length in SEARCHES.items():
            search, found = _find(rows, name, folder), tuned.get(('found', length))
            if search and found:
                others = [tuned.get((model, None)) or tuned.get((model, length)) for model in MODELS]
                spent = mean_of((run['minutes'] for run in search['runs']), 3) or 0.
                lines.append((dataset, framework, length, f'{spent:.1f}',
                              *('-' if minutes is None else f'{minutes:.1f}' for minutes in others),
                              f'{spent / (spent + found):.0%}'))
    tunings = [f'fine-tuning: {label}' for label in MODELS.values()]
    return _table(lines, 'data', 'framework', 'search', 'minutes', *tunings, 'share of the search')


def _weight_table(rows: Sequence[ResultRow]) -> str:
    """Sensitivity to the weight of the cost term: what was found with each, with the seeds that all of them have."""
    lines = []
    for name, (dataset, framework, metric, factor) in CASES.items():
        pairs = [(search, tuned) for row in rows if row['table'] == 'searches'
                 and (row['folder'] == 'main' or row['folder'].startswith('lambda_'))
                 and (search := _find(rows, name, row['folder'])) is row
                 and (tuned := _find(rows, name, row['folder'], 'found'))]
        shared = set.intersection(*(set(row['seeds']) for _, row in pairs)) if len(pairs) > 1 else set()
        for search, row in sorted(pairs, key=lambda pair: pair[0]['cost_weight']) if shared else ():
            own = figures([run for run in row['runs'] if run['seed'] in shared], metric, factor)
            lines.append((dataset, framework, f'{search["cost_weight"]:g}', *_measured(own)))
    return _table(lines, 'data', 'framework', 'λ', 'seeds', 'GMAdds', 'validation', 'test')


def _variant_table(rows: Sequence[ResultRow]) -> str:
    """Other ways of searching and fine-tuning, each with the agreement of its searches."""
    lines = []
    for name, (dataset, framework, _, _) in CASES.items():
        for folder, label in _VARIANTS.items():
            search = _find(rows, name, folder)
            for model in MODELS if folder in LONGER_TUNINGS else ('found', 'random'):
                if row := _find(rows, name, folder, model):
                    searched = (f'{search["minutes"]:.1f}', agreement(search)) if model == 'found' and search else (
                        '-', '-')
                    lines.append((dataset, framework, label, MODELS[model], *searched, *_measured(row)))
    return _table(lines, 'data', 'framework', 'search', 'backbone', 'search: minutes', 'equal layers', 'seeds',
                  'GMAdds', 'validation', 'test')


def _remapping_table(rows: Sequence[ResultRow]) -> str:
    """The paper's table 5."""
    lines = []
    for name, (dataset, framework, _, _) in CASES.items():
        found = [(*stages, *_measured(row)) for folder, stages in _REMAPPINGS.items()
                 if (row := _find(rows, name, folder, 'found'))]
        lines += [(dataset, framework, *cells) for cells in found if len(found) > 1]
    return _table(lines, 'data', 'framework', 'search', 'fine-tuning', 'seeds', 'GMAdds', 'validation', 'test')


def _change_table(rows: Sequence[ResultRow]) -> str:
    """Which changes of the seed's architecture go with a better or worse metric."""
    lines = [(dataset, framework, *cells) for name, (dataset, framework, _, _) in CASES.items()
             if (cells := correlations(rows, name))]
    return _table(lines, 'data', 'framework', 'fine-tunings', *CHANGES)


def _layers(arch: str) -> list[tuple[str, ...]]:
    """The layers of every stage, the left-out ones as ``skip``."""
    stages = Architecture.create(arch).stages[1:]
    return [tuple(str(layer) for layer in stage.layers) + ('skip', ) * (_DEPTH - len(stage.layers)) for stage in stages]


def equal_layers(row: Optional[ResultRow]) -> Optional[float]:
    """The share of layers that two of a row's architectures have in common, of those that either has.

    Args:
        row (dict, optional): The row; None is the answer if there is none, or only one architecture.
    """
    found = [_layers(run['arch']) for run in row['runs']] if row else []
    pairs = [(a, b) for i, a in enumerate(found) for b in found[i + 1:]]
    same = [sum(x == y and x != 'skip' for s, t in zip(a, b) for x, y in zip(s, t)) for a, b in pairs]
    total = [sum(x != 'skip' or y != 'skip' for s, t in zip(a, b) for x, y in zip(s, t)) for a, b in pairs]
    return sum(same) / sum(total) if pairs else None


def percent(share: Optional[float]) -> str:
    """A share in percent; ``-`` for None.

    Args:
        share (float, optional): The share.
    """
    return '-' if share is None else f'{share:.0%}'


def agreement(row: Optional[ResultRow]) -> str:
    """:func:`equal_layers` in percent; ``-`` if there is no row, or only one architecture.

    Args:
        row (dict, optional): The row.
    """
    return percent(equal_layers(row))


def _agreement_table(rows: Sequence[ResultRow]) -> str:
    """How far searches with other seeds agree, and what random architectures of the same cost agree by."""
    lines = []
    for name, (dataset, framework, _, _) in CASES.items():
        search = _find(rows, name, 'main')
        cells = [agreement(search), agreement(_find(rows, name, 'main', 'random'))]
        if search and cells[0] != '-':
            entropies = [run['entropy'] for run in search['runs'] if run['entropy'] is not None]
            lines.append((dataset, framework, *cells, f'{entropies[-1]:.2f}' if entropies else '-'))
    return _table(lines, 'data', 'framework', 'equal layers, searches', 'equal layers, random', 'entropy: nats')


def tables_of(rows: Sequence[ResultRow]) -> dict[str, str]:
    """Every table of the page, by the name in its marks.

    Args:
        rows (Sequence[dict]): All rows of results.json.
    """
    return dict(
        comparison=main_table(rows), rates=_rate_table(rows), cost=_cost_table(rows), weights=_weight_table(rows),
        agreement=_agreement_table(rows), variants=_variant_table(rows), remapping=_remapping_table(rows),
        changes=_change_table(rows))


def cost_figure(rows: Sequence[ResultRow]) -> Figure:
    """MAdds against the test metric, a panel for each framework.

    Args:
        rows (Sequence[dict]): All rows of results.json.
    """
    shown = _compared(rows)
    cases = list(dict.fromkeys((row['dataset'], row['framework']) for row in shown))
    figure = Figure((3.6 * len(cases), 3.6), layout='constrained')
    for case, axes in zip(cases, figure.subplots(1, len(cases), squeeze=False)[0]):
        for row in shown:
            if (row['dataset'], row['framework']) == case:
                style = _STYLES[row['model'], row['search']]
                axes.scatter(row['madds_g_of_seeds'], row['values'], s=24, alpha=.6, **style)
                axes.errorbar(statistics.mean(row['madds_g_of_seeds']), row['mean'], row['std'] or 0, ms=9, capsize=3,
                              label=_label(row), **style)
        axes.set_title(' '.join(reversed(case)))
        axes.set_xlabel('GMAdds')
        axes.set_ylabel('test mIoU' if case[0] == 'CamVid' else 'test mAP')
        axes.spines[['top', 'right']].set_visible(False)
    entries = {label: entry for axes in figure.axes for entry, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(entries.values(), entries.keys(), loc='outside lower center', ncols=3, frameon=False,
                  fontsize='small')
    return figure
