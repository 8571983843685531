"""Figures of an adaptation: scores, what was removed, and the front."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from fna_mm.report.canvas import MARK, NARROW, WIDE, new_figure

_SEED, _CHILD = '#cfd4e6', '#1b1b6b'


def _names(axes: Any, blocks: Sequence[Mapping[str, Any]]) -> None:
    axes.set_xticks(range(len(blocks)), [block['name'] for block in blocks], rotation=90, fontsize=8)
    for index in range(1, len(blocks)):
        if blocks[index]['stage'] != blocks[index - 1]['stage']:
            axes.axvline(index - .5, color='#888', linewidth=.6)


def scores_figure(blocks: Sequence[Mapping[str, Any]], narrow: bool = False) -> Figure:
    """The heat map of scores: how much the loss grows when one block keeps a share of its hidden channels.

    Args:
        blocks (Sequence[Mapping]): Of every block its name, stage, hidden channels, measured scores and the scores of
            all shares.
        narrow (bool): The layout for narrow pages. Defaults to False.
    """
    figure = new_figure(NARROW if narrow else WIDE, 4.2)
    axes = figure.subplots()
    shares = blocks[0]['shares']
    grid = np.full((len(shares) + 1, len(blocks)), np.nan)
    for column, block in enumerate(blocks):
        scores = [np.nan if score is None else score for score in block['scores']]
        grid[:-1, column] = scores
        if block['left_out'] is not None:
            grid[-1, column] = block['left_out'][0]
    positive = grid[np.isfinite(grid) & (grid > 0)]
    low, high = (np.quantile(positive, .1), positive.max()) if len(positive) else (1e-6, 1.)
    image = axes.imshow(np.maximum(grid, low), aspect='auto', cmap='viridis', interpolation='nearest',
                        norm=LogNorm(low, max(high, low * 1.01)))
    for column, block in enumerate(blocks):
        for width in block['measured']:
            row = np.interp(int(width) / block['hidden'], shares[::-1], np.arange(len(shares))[::-1])
            axes.plot(column, row, '.', color='white', markersize=3)
        if block['left_out'] is not None:
            axes.plot(column, len(shares), '.', color='white', markersize=3)
    rows = [*range(0, len(shares), max(1, len(shares) // 5)), len(shares)]
    axes.set_yticks(rows, [*(f'{shares[row]:.0%}' for row in rows[:-1]), 'left out'])
    axes.set_ylabel('hidden channels kept')
    _names(axes, blocks)
    # The texts of pages are no formulas: plain numbers instead of powers of ten.
    figure.colorbar(image, ax=axes, label='growth of the loss', location='bottom' if narrow else 'right',
                    format=FuncFormatter(lambda value, _: f'{value:g}'))
    return figure


def layers_figure(layers: Sequence[Mapping[str, Any]], title: str, narrow: bool = False) -> Figure:
    """The hidden channels of every layer: of the trained backbone, and of a child.

    Args:
        layers (Sequence[Mapping]): Of every layer its name, stage, and hidden channels and kernel before and now; 0
            channels are no layer.
        title (str): Title of the figure.
        narrow (bool): The layout for narrow pages. Defaults to False.
    """
    figure = new_figure(NARROW if narrow else WIDE / 2, 2.6)
    axes = figure.subplots()
    places = np.arange(len(layers))
    axes.bar(places, [layer['hidden'] for layer in layers], color=_SEED, label='trained')
    axes.bar(places, [layer['width'] for layer in layers], .5, color=_CHILD, label='child')
    gone = [index for index, layer in enumerate(layers) if layer['hidden'] and not layer['width']]
    if gone:
        axes.plot(gone, [0] * len(gone), 'x', color=MARK, clip_on=False, label='left out')
    for index, layer in enumerate(layers):
        if layer['width'] and layer['new_kernel'] != layer['kernel']:
            axes.annotate(f'k{layer["new_kernel"]}', (index, max(layer['width'], layer['hidden'])), ha='center',
                          va='bottom', fontsize=7)
    _names(axes, layers)
    axes.set_ylabel('hidden channels')
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8, frameon=False)
    return figure


def growth_figure(growth: Sequence[Mapping[str, Any]], narrow: bool = False) -> Figure:
    """What the loss gains or loses when one layer grows, with standard errors.

    Args:
        growth (Sequence[Mapping]): Of every measured candidate the name and stage of its layer, what grows, score and
            standard error.
        narrow (bool): The layout for narrow pages. Defaults to False.
    """
    figure = new_figure(NARROW if narrow else WIDE, 3.4)
    axes = figure.subplots()
    layers = list({row['name']: dict(name=row['name'], stage=row['stage']) for row in growth}.values())
    places = {layer['name']: place for place, layer in enumerate(layers)}
    kinds = sorted({row['kind'] for row in growth})
    for number, kind in enumerate(kinds):
        rows = [row for row in growth if row['kind'] == kind]
        shift = (number - (len(kinds) - 1) / 2) * .7 / len(kinds)
        axes.errorbar([places[row['name']] + shift for row in rows], [row['score'] for row in rows],
                      [row['error'] for row in rows], fmt='o', markersize=3, linewidth=1, label=kind)
    axes.axhline(0, color='#888', linewidth=.8)
    _names(axes, layers)
    axes.set_ylabel('growth of the loss')
    axes.legend(fontsize=8, frameon=False, ncols=1 if narrow else 3)
    return figure


def front_figure(values: Mapping[str, Any], metric: str = '', narrow: bool = False) -> Figure:
    """The front: what the loss is said to be at every cost, and what it is for the children that were made.

    Args:
        values (Mapping): The content of ``front.json``.
        metric (str): Name of a metric that is drawn in a second panel. Defaults to '': there is none.
        narrow (bool): The layout for narrow pages. Defaults to False.
    """
    panels = 2 if metric else 1
    figure = (new_figure(NARROW, 2.9 * panels) if narrow else new_figure(WIDE * (.5 if panels == 1 else 1), 3.2))
    axes = figure.subplots(*((panels, 1) if narrow else (1, panels)), squeeze=False).ravel()
    of = values.get('front_of', 'backbone')
    share = 'share_of_model' if of == 'model' else 'share'
    growth = values.get('growth')
    loss, children = (growth or values['trained'])['loss'], values['children']
    front = sorted(values['front'], key=lambda point: point['share'])
    shares = [point['share'] for point in front]
    predicted = np.array([loss + point['predicted'] for point in front])
    errors = np.array([point['error'] for point in front])
    axes[0].fill_between(shares, predicted - errors, predicted + errors, color=_SEED, label='± one standard error')
    axes[0].plot(shares, predicted, color=_CHILD, label='predicted')
    axes[0].errorbar([child[share] for child in children], [loss + child['measured'] for child in children],
                     [child['measured_error'] for child in children], fmt='o', color=MARK, label='children, refitted')
    axes[0].plot(1, values['trained']['loss'], 's', color='black', label='trained model')
    if growth and not growth['kept']:
        axes[0].plot(1, loss, 's', color='black', markerfacecolor='white', label='rehearsed model')
    axes[0].set_ylabel('loss')
    axes[0].legend(fontsize=8, frameon=False)
    if metric:
        points = [(child[share], child['metrics'][metric]) for child in children if metric in child['metrics']]
        axes[1].plot(*zip(*points), 'o', color=MARK, label='children, not trained')
        axes[1].plot(1, values['trained']['metrics'][metric], 's', color='black', label='trained model')
        axes[1].axhline(values['trained']['metrics'][metric], color='#888', linewidth=.6)
        axes[1].set_ylabel(metric)
        axes[1].legend(fontsize=8, frameon=False)
    for panel in axes:
        panel.set_xlabel(f'share of the trained {of}\'s {values["unit"]}')
    return figure
