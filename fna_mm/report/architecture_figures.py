"""Architectures as pictures."""

from collections.abc import Sequence
from typing import Optional

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fna_mm.architecture import Architecture, PlacedStage
from fna_mm.families import BlockSpec
from fna_mm.report.canvas import MARK, NARROW, WIDE, new_figure

STAGE_COLORS = ('#c9c9c9', '#8dd3c7', '#fdb462', '#80b1d3', '#fb8072', '#b3de69', '#bc80bd', '#ffed6f')
_GAP = .08


#: A layer, and the width at which it is drawn.
_Layer = tuple[BlockSpec, float]


def _layers(place: PlacedStage) -> list[_Layer]:
    """The layers of a stage; the width of each shows the number of hidden channels for one input channel."""
    return [(spec, .45 + .06 * spec.hidden_channels(layer.in_channels) / layer.in_channels)
            for spec, layer in place.layers()]


def _stage_width(layers: Sequence[_Layer]) -> float:
    return sum(width + _GAP for _, width in layers)


def _draw_layers(axes: Axes, layers: Sequence[_Layer], x: float, y: float, color: str, separator: str,
                 known: Optional[Sequence[_Layer]] = None) -> None:
    """Draw one stage. A block's height is its kernel; changed layers have a heavy frame, left-out ones a dashed one."""
    left_out = tuple(known or ())[len(layers):]
    for position, (layer, width) in enumerate((*layers, *left_out)):
        gone = position >= len(layers)
        changed = known is not None and not gone and [spec for spec, _ in known[position:position + 1]] != [layer]
        height = .12 * layer.kernel_size
        axes.add_patch(Rectangle(
            (x, y - height / 2), width, height, facecolor='none' if gone else color,
            edgecolor=MARK if changed or gone else '#333333', linewidth=2 if changed else .8,
            linestyle=(0, (2, 2)) if gone else '-'))
        axes.text(x + width / 2, y, '–' if gone else str(layer).replace('_', separator),
                  fontsize=6.5, ha='center', va='center', fontweight='bold' if changed else 'normal')
        x += width + _GAP


def architecture_figure(architecture: Architecture, seed: Optional[Architecture] = None, title: str = '',
                        narrow: bool = False) -> Figure:
    """Draw an architecture as blocks in stage colours, with the seed above it, as in the paper's figure 4.

    Args:
        architecture (Architecture): The architecture that was found.
        seed (Architecture, optional): The architecture that it is compared with. Layers that differ have a heavy
            red frame, left-out layers a dashed one. Defaults to None.
        title (str): Title above the picture. Defaults to ''.
        narrow (bool): Draw each stage in a line of its own instead of all in one line. Defaults to False.
    """
    rows = [('', architecture)] if seed is None else [('seed', seed), ('found', architecture)]
    stages = range(max(len(row.stages) for _, row in rows))
    layers = {name: [_layers(place) for place in row.walk()] + [[]] * (len(stages) - len(row.stages))
              for name, row in rows}
    labels = [next(row.stages[index].label for _, row in rows if index < len(row.stages)) for index in stages]
    height = 1.35 if narrow else 1.25
    # The place of every stage: its left end, and the middle of its first row.
    x, y, places = 0., 0., []
    for index in stages:
        places.append((x, y))
        if narrow:
            y -= height * len(rows) + .25
        else:
            x += max(_stage_width(row[index]) for row in layers.values()) + .3
    figure = new_figure(NARROW, .45 - .32 * y) if narrow else new_figure(WIDE, .75 + .9 * len(rows))
    axes = figure.add_subplot()
    for index, (x, y) in zip(stages, places):
        color = STAGE_COLORS[index % len(STAGE_COLORS)]
        for number, (name, _) in enumerate(rows):
            known = layers['seed'][index] if name == 'found' else None
            _draw_layers(axes, layers[name][index], x, y - height * number, color, ' ' if narrow else '\n', known)
        below = y - height * (len(rows) - 1) / 2 if narrow else y - height * (len(rows) - 1) - .7
        axes.text(*((-.15, below) if narrow else (x, below)), labels[index], fontsize=7, va='center',
                  ha='right' if narrow else 'left')
    if not narrow:
        for number, (name, _) in enumerate(rows):
            axes.text(-.2, -height * number, name, ha='right', va='center', fontsize=8)
    right = max(x + _stage_width(row[index]) for index, (x, _) in zip(stages, places) for row in layers.values())
    axes.set_xlim(-1.15 if narrow else -.95 if seed else -.1, right + .1)
    axes.set_ylim(places[-1][1] - height * (len(rows) - 1) - (.6 if narrow else .85), .6)
    axes.set_axis_off()
    axes.set_title(title, fontsize=9)
    return figure
