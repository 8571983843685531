"""The figure of a task: what every model is above MobileNetV2, with intervals, against multiply-adds."""

import statistics
from collections.abc import Sequence

from matplotlib.figure import Figure

from fna_mm.report.canvas import new_figure
from tools.results.result_rows import ResultRow

#: Model → its name in tables and figures.
NAMES = dict(
    mobilenet_v2='MobileNetV2', narrowed='narrowed evenly', pruned_norm='pruned, group norm',
    pruned_taylor='pruned, Taylor', random='random', random_fitted='random, fitted', adapted='fna adapt',
    grown='fna adapt --grow', found="the paper's search", found_fitted='search, fitted')
#: Colours that differ in grey, too, and markers.
_STYLES = dict(
    mobilenet_v2=('black', '*'), narrowed=('#7d8a97', 'v'), pruned_norm=('#a04000', '<'),
    pruned_taylor=('#e59866', '>'), random=('#b7950b', 'x'), random_fitted=('#f4d03f', 'P'), adapted=('#1b4f72', 'o'),
    grown=('#2e86c1', 's'), found=('#6c3483', 'D'), found_fitted=('#bb8fce', 'd'))
#: Points in percent of multiply-adds between models of one budget, so that intervals do not hide each other.
_BESIDE = .8
_LOWEST = -12.


def evidence_figure(rows: Sequence[ResultRow], title: str, metric: str) -> Figure:
    """Draw the figure.

    Args:
        rows (Sequence[dict]): The rows of a task.
        title (str): What stands above it.
        metric (str): What the points are points of.
    """
    figure = new_figure(9.4, 4.2)
    axis = figure.subplots()
    axis.axhline(0, color='.6', linewidth=1)
    models = [model for model in NAMES if any(row['model'] == model for row in rows)]
    for number, model in enumerate(models):
        own = [row for row in rows if row['model'] == model]
        colour, marker = _STYLES[model]
        beside = _BESIDE * (number - (len(models) - 1) / 2)
        places = [100 * statistics.mean(run['share'] for run in row['runs']) + beside for row in own]
        means = [row['difference'] or 0. for row in own]
        ends = [row['interval'] or (mean, mean) for row, mean in zip(own, means)]
        # An interval of percentiles need not hold the mean of the seeds.
        bars = [[max(0., mean - low) for mean, (low, _) in zip(means, ends)],
                [max(0., high - mean) for mean, (_, high) in zip(means, ends)]]
        axis.errorbar(places, means, bars, color=colour, marker=marker, linestyle='none', capsize=2, label=NAMES[model])
        for place, mean in zip(places, means):
            if mean < _LOWEST:
                axis.annotate(f'{mean:.0f}', (place, _LOWEST), (0, 4), textcoords='offset points', color=colour,
                              ha='center')
    axis.set_ylim(bottom=max(_LOWEST, axis.get_ylim()[0]))
    axis.set_title(title, fontsize=11)
    axis.set_xlabel("multiply-adds of the backbone, % of MobileNetV2's")
    axis.set_ylabel(f'points of {metric}\nabove MobileNetV2')
    axis.grid(color='.92')
    axis.spines[['top', 'right']].set_visible(False)
    figure.legend(loc='outside right upper', frameon=False, fontsize='small')
    return figure
