"""Figures of a search: probabilities, multiply-adds, losses, entropy."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from fna_mm import families
from fna_mm.architecture import SKIP
from fna_mm.report.canvas import MARK, NARROW, WIDE, new_figure

#: Layer name → candidate name → probability.
Probabilities = Mapping[str, Mapping[str, float]]
#: Colours of kernel sizes, smallest first. Colour-blind people can tell them apart, and a grey print too.
_KERNEL_COLORS = ('#56b4e9', '#b5420a', '#1b1b6b', '#009e73')
#: Dashes of numbers of hidden channels, largest first.
_WIDTH_DASHES: tuple[Any, ...] = ('-', (0, (3, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
#: A curve as a pair of iterations and values.
Curve = tuple[Sequence[float], Sequence[float]]


def _names(probabilities: Probabilities) -> list[str]:
    """The names of all candidates, in the order of the layers."""
    return list(dict.fromkeys(name for of_layer in probabilities.values() for name in of_layer))


def _styles(names: Sequence[str], family: str) -> dict[str, dict[str, Any]]:
    """The style of each candidate's line: colours stand for kernel sizes, dashes for hidden channels."""
    specs = {name: families.family(family).parse_spec(name) for name in names if name != SKIP}
    kernels = sorted({spec.kernel_size for spec in specs.values()})
    widths = sorted({spec.hidden_channels(1) for spec in specs.values()}, reverse=True)
    styles: dict[str, dict[str, Any]] = {
        name: dict(color=_KERNEL_COLORS[kernels.index(spec.kernel_size) % len(_KERNEL_COLORS)],
                   linestyle=_WIDTH_DASHES[widths.index(spec.hidden_channels(1)) % len(_WIDTH_DASHES)], linewidth=1.3)
        for name, spec in specs.items()}
    styles[SKIP] = dict(color='#888888', linestyle='-', linewidth=2.6, alpha=.6)
    return {name: styles[name] for name in names}


def _best(of_layer: Mapping[str, float]) -> str:
    return max(of_layer, key=lambda name: of_layer[name])


def _plain(axes: Axes) -> None:
    axes.spines[['top', 'right']].set_visible(False)
    axes.tick_params(labelsize=7, length=2)


def probability_figure(probabilities: Probabilities, title: str = '', narrow: bool = False) -> Figure:
    """Draw a heat map with a column for each layer and a row for each candidate; the most probable one is framed.

    Args:
        probabilities (Mapping): Layer name → candidate name → probability.
        title (str): Title above the picture. Defaults to ''.
        narrow (bool): Draw layers as rows and candidates as columns. Defaults to False.
    """
    names, layers = _names(probabilities), list(probabilities)
    grid = np.full((len(names), len(layers)), np.nan)
    for column, of_layer in enumerate(probabilities.values()):
        for name, value in of_layer.items():
            grid[names.index(name), column] = value
    width, height = (NARROW, .21 * len(layers) + .7) if narrow else \
        (min(WIDE, max(4., .5 * len(layers) + 2)), .34 * len(names) + 1.05)
    # Axes are placed by hand, because a layout engine measures every number in the grid.
    figure = new_figure(width, height, constrained=False)
    figure.subplots_adjust(left=.65 / width, right=1 - (.1 if narrow else .85) / width, bottom=(.3 if narrow else .7)
                           / height, top=1 - .32 / height)
    axes = figure.add_subplot()
    axes.set_facecolor('#eeeeee')
    top = max(.01, float(np.nanmax(grid)))
    image = axes.imshow(grid.T if narrow else grid, cmap='Blues', vmin=0, vmax=top, aspect='auto')
    for name, layer in zip(*np.nonzero(~np.isnan(grid))):
        value, place = grid[name, layer], (name, layer) if narrow else (layer, name)
        axes.text(*place, f'{value:.2f}', ha='center', va='center', fontsize=6.5,
                  color='white' if value > .6 * top else 'black')
    for layer, of_layer in enumerate(probabilities.values()):
        best = names.index(_best(of_layer))
        x, y = (best, layer) if narrow else (layer, best)
        axes.add_patch(Rectangle((x - .5, y - .5), 1, 1, fill=False, edgecolor=MARK, linewidth=1.8))
    if narrow:
        axes.set_xticks(range(len(names)), names, fontsize=7)
        axes.set_yticks(range(len(layers)), layers, fontsize=7)
    else:
        axes.set_xticks(range(len(layers)), layers, rotation=60, fontsize=7)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        scale = figure.add_axes((1 - .72 / width, .7 / height, .16 / width, 1 - 1.02 / height))
        figure.colorbar(image, cax=scale).set_label('probability', fontsize=8)
        scale.tick_params(labelsize=7)
    axes.set_title(title, fontsize=9)
    return figure


def candidates_figure(steps: Sequence[int], probabilities: Sequence[Probabilities], title: str = '',
                      narrow: bool = False, family: str = families.DEFAULT) -> Figure:
    """Draw a small panel for every layer, with the probability of each candidate over time.

    Args:
        steps (Sequence[int]): Iterations of the exports.
        probabilities (Sequence[Mapping]): Layer name → candidate name → probability, for each of the iterations.
        title (str): Title above the picture. Defaults to ''.
        narrow (bool): Draw at most three layers in a row instead of seven. Defaults to False.
        family (str): Name of the family of the candidates. Defaults to 'mobilenet_v2'.
    """
    layers, names = list(probabilities[-1]), _names(probabilities[-1])
    styles = _styles(names, family)
    per_row = min(len(layers), 3 if narrow else 7)
    rows = math.ceil(len(layers) / per_row)
    legend_columns = 4 if narrow else len(names)
    legend = .3 + .18 * math.ceil(len(names) / legend_columns)
    width = NARROW if narrow else max(5.5, WIDE * per_row / 7)
    above, each, below = .25 + legend, (1.05 if narrow else 1.2), .42
    height = above + each * rows + below
    # Axes are placed by hand, because a layout engine measures every panel and takes seconds.
    figure = new_figure(width, height, constrained=False)
    figure.subplots_adjust(left=.42 / width, right=1 - .1 / width, top=1 - above / height, bottom=below / height,
                           hspace=.32, wspace=.1)
    top = 1.08 * max(p for at in probabilities for of_layer in at.values() for p in of_layer.values())
    marker = 'o' if len(steps) == 1 else None
    for index, layer in enumerate(layers):
        axes = figure.add_subplot(rows, per_row, index + 1)
        best = _best(probabilities[-1][layer])
        for name in probabilities[-1][layer]:
            axes.plot(steps, [at[layer][name] for at in probabilities], marker=marker, markersize=3,
                      zorder=3 if name == best else 2, **styles[name])
        _plain(axes)
        axes.set_ylim(0, top)
        axes.locator_params(axis='x', nbins=2 if narrow else 3)
        axes.locator_params(axis='y', nbins=3)
        axes.tick_params(labelsize=6.5, labelleft=index % per_row == 0, labelbottom=index + per_row >= len(layers))
        axes.set_title(f'{layer}: {best}', fontsize=7, pad=2)
    figure.suptitle(title, fontsize=9, y=1 - .06 / height, va='top')
    figure.legend([Line2D([], [], **styles[name]) for name in names], names, loc='upper center', frameon=False,
                  bbox_to_anchor=(.5, 1 - .24 / height), ncols=legend_columns, fontsize=7, handlelength=2.4)
    figure.text(.5, .05 / height, 'iteration', ha='center', va='bottom', fontsize=7)
    return figure


def _curves(curves: Mapping[str, Curve], styles: Mapping[str, dict[str, Any]], title: str,
            y_label: str) -> tuple[Figure, Axes]:
    figure = new_figure(3.75, 2.6)
    axes = figure.add_subplot()
    for name, (steps, values) in curves.items():
        axes.plot(steps, values, label=name, marker='o' if len(values) == 1 else None, markersize=3, **styles[name])
    _plain(axes)
    axes.locator_params(axis='x', nbins=5)
    axes.set_xlabel('iteration', fontsize=8)
    axes.set_ylabel(y_label, fontsize=8)
    axes.set_title(title, fontsize=9)
    return figure, axes


def cost_figure(expected: Curve, best_path: Curve, seed: Optional[float] = None,
                title: str = 'Multiply-adds of the backbone', unit: str = 'GMAdds') -> Figure:
    """Draw the expected cost and that of the best path over time, and that of the seed.

    Args:
        expected (tuple): Iterations, and the expected cost of a path that is drawn from the probabilities.
        best_path (tuple): Iterations, and the cost of the most probable path.
        seed (float, optional): Cost of the seed. Defaults to None.
        title (str): Title above the picture. Defaults to 'Multiply-adds of the backbone'.
        unit (str): Unit of all costs. Defaults to 'GMAdds'.
    """
    styles = {'expected': dict(color='#56b4e9', linewidth=2.2),
              'best path': dict(color='#1b1b6b', linewidth=1.3, drawstyle='steps-post')}
    figure, axes = _curves({'expected': expected, 'best path': best_path}, styles, title, unit)
    if seed is not None:
        axes.axhline(seed, color='#555555', linestyle=(0, (4, 3)), linewidth=1.2, label='seed')
    axes.margins(y=.15)
    axes.legend(fontsize=7, frameon=False, ncols=3, loc='lower center', bbox_to_anchor=(.5, -.02))
    return figure


def loss_figure(losses: Mapping[str, Curve], title: str = 'Losses') -> Figure:
    """Draw the losses of both kinds of steps.

    Args:
        losses (Mapping): Name → iterations and values; the losses of weight steps come first.
        title (str): Title above the picture. Defaults to 'Losses'.
    """
    looks = (dict(color='#56b4e9', linewidth=2.), dict(color='#1b1b6b', linewidth=1.2, linestyle=(0, (4, 1.5))),
             dict(color='#d55e00', linewidth=1.2, linestyle=(0, (1, 1))))
    figure, axes = _curves(losses, {name: looks[index % len(looks)] for index, name in enumerate(losses)}, title,
                           'loss')
    axes.legend(fontsize=7, frameon=False)
    return figure


def entropy_figure(entropies: Mapping[str, Curve], title: str = 'Entropy of the layers’ choices') -> Figure:
    """Draw the entropy of every layer's distribution over time, and their mean.

    Args:
        entropies (Mapping): Layer name → iterations, which are the same for all layers, and entropies in nats.
        title (str): Title above the picture. Defaults to 'Entropy of the layers’ choices'.
    """
    (steps, _), *_ = entropies.values()
    mean = np.mean([values for _, values in entropies.values()], axis=0)
    styles: dict[str, dict[str, Any]] = {name: dict(color='#aaaaaa', linewidth=.7) for name in entropies}
    styles['mean'] = dict(color='#1b1b6b', linewidth=2.)
    figure, axes = _curves({**entropies, 'mean': (steps, list(mean))}, styles, title, 'nats (0: decided)')
    axes.set_ylim(bottom=0)
    handles = axes.get_lines()
    axes.legend([handles[0], handles[-1]], ['each layer', 'mean'], fontsize=7, frameon=False, loc='lower left')
    return figure
