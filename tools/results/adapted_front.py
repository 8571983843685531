"""The figure of measured adaptation: points behind the trained model against the backbone's multiply-adds."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from fna_mm.report.canvas import new_figure

#: Two sides of the figure: key of the values, title.
SIDES = (('raw', 'not trained'), ('tuned', 'fine-tuned, like the trained model'))
#: Colours that differ in grey, too, and markers.
STYLES = (('#1b4f72', 'o'), ('#d35400', 's'), ('#7d8a97', '^'))
_LOWEST = -6.


def points(row: Mapping[str, Any], trained: Mapping[str, Any], key: str) -> list[float]:
    """How far a child is above the trained model, in points of the metric, for every seed that has both.

    Args:
        row (Mapping): The child's row of ``adaptation.json``.
        trained (Mapping): The row of budget 1.
        key (str): ``raw``, ``tuned``, or ``plain``, fine-tuned without the distillation.
    """
    # The trained model is never held near itself: its fine-tuning is that of both kinds.
    other = dict(zip(trained['seeds'], trained['tuned' if key == 'plain' else key]))
    return [value - other[seed] for seed, value in zip(row['seeds'], row[key])
            if value is not None and other.get(seed) is not None]


def front(rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> Figure:
    """Draw the figure.

    Args:
        rows (Sequence[Mapping]): The rows of ``adaptation.json``.
        titles (Mapping[str, str]): Case → its name in the legend.
    """
    figure = new_figure(9.4, 3.7)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (key, title) in zip(axes, SIDES):
        axis.axhline(0, color='.6', linewidth=1)
        for (case, name), (colour, marker) in zip(titles.items(), STYLES):
            of_case = [row for row in rows if row['case'] == case]
            trained = next(row for row in of_case if row['budget'] == '1')
            known = [(100 * float(row['budget']), found) for row in of_case if (found := points(row, trained, key))]
            places, means = [place for place, _ in known], [statistics.mean(found) for _, found in known]
            spreads = [statistics.stdev(found) if len(found) > 1 else 0. for _, found in known]
            axis.errorbar(places, means, spreads, color=colour, marker=marker, capsize=3, label=name)
            for place, mean in zip(places, means):
                if mean < _LOWEST:
                    axis.annotate(f'{mean:.0f}', (place, _LOWEST), (5, 4), textcoords='offset points', color=colour)
        axis.set_title(title, fontsize=11)
        axis.set_xlabel("multiply-adds of the backbone, % of MobileNetV2's")
        axis.set_ylim(_LOWEST, 2.5)
        axis.grid(color='.92')
        axis.spines[['top', 'right']].set_visible(False)
    axes[0].set_ylabel('points of mAP or mIoU\nabove the trained model')
    axes[1].legend(loc='lower right', frameon=False)
    return figure
