"""Pictures of architectures and searches, from values; no model is needed."""

import io
from collections.abc import Sequence
from typing import Optional

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.patches import Rectangle

from fna_mm.architecture import Architecture, MBConvSpec
from fna_mm.search_space import SearchSpace, candidate_name

# Texts within the axes are in_layout=False: measuring them would take longer than drawing the picture.
STAGE_COLORS = ('#c9c9c9', '#8dd3c7', '#fdb462', '#80b1d3', '#fb8072', '#b3de69', '#bc80bd', '#ffed6f')


def _draw_architecture(axes: Axes, architecture: Architecture, y: float,
                       reference: Optional[Architecture] = None) -> None:
    """One row of blocks: width is the expansion ratio, height the kernel, red frames what differs."""
    x = 0.
    for index, stage in enumerate(architecture.stages):
        known = reference.stages[index].layers if reference and index < len(reference.stages) else ()
        axes.text(x, y - .62, stage.label, fontsize=7, va='center', in_layout=False)
        for position, layer in enumerate(stage.layers):
            width, height = .35 + .07 * layer.expand_ratio, .12 * layer.kernel_size
            changed = reference is not None and known[position:position + 1] != (layer, )
            axes.add_patch(Rectangle((x, y - height / 2), width, height,
                                     facecolor=STAGE_COLORS[index % len(STAGE_COLORS)],
                                     edgecolor='#b00020' if changed else '#333333', linewidth=1.8 if changed else .8))
            axes.text(x + width / 2, y, f'k{layer.kernel_size}\ne{layer.expand_ratio}', fontsize=6.5, ha='center',
                      va='center', fontweight='bold' if changed else 'normal', in_layout=False)
            x += width + .08
        x += .3
    axes.update_datalim([(0, y - 1), (x, y + .6)])


def architecture_figure(architecture: Architecture, seed: Optional[Architecture] = None, title: str = '') -> Figure:
    """The architecture as blocks in stage colours, the seed above it, as in the paper's figure 4.

    Args:
        architecture (Architecture): What was found.
        seed (Architecture, optional): What it is compared with; layers that differ are framed red.
        title (str): Above the picture. Defaults to ''.
    """
    figure = Figure(figsize=(14, 3.2 if seed else 1.9), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if seed is not None:
        _draw_architecture(axes, seed, 2.)
        axes.text(-.2, 2., 'seed', ha='right', va='center', fontsize=9)
        axes.text(-.2, .4, 'found', ha='right', va='center', fontsize=9)
    _draw_architecture(axes, architecture, .4, seed)
    axes.autoscale_view()
    axes.set_axis_off()
    axes.set_title(title, fontsize=10)
    return figure


def probability_figure(space: SearchSpace, probabilities: Sequence[Sequence[float]], title: str = '') -> Figure:
    """A heat map: one column a layer, one row a candidate, the most probable one framed.

    Args:
        space (SearchSpace): The search space.
        probabilities (Sequence[Sequence[float]]): For every layer, one per candidate.
        title (str): Above the picture. Defaults to ''.
    """
    specs: list[Optional[MBConvSpec]] = []
    for layer in space.layers:
        specs += [spec for spec in layer.candidates if spec not in specs]
    grid = np.full((len(specs), len(space.layers)), np.nan)
    for column, (layer, values) in enumerate(zip(space.layers, probabilities)):
        for spec, value in zip(layer.candidates, values):
            grid[specs.index(spec), column] = value
    figure = Figure(figsize=(max(4., .55 * len(space.layers) + 2), .42 * len(specs) + 1.6), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_facecolor('#eeeeee')
    top = max(.01, float(np.nanmax(grid)))
    image = axes.imshow(grid, cmap='Blues', vmin=0, vmax=top, aspect='auto')
    for row, column in zip(*np.nonzero(~np.isnan(grid))):
        value = grid[row, column]
        axes.text(column, row, f'{value:.2f}', ha='center', va='center', fontsize=6.5,
                  color='white' if value > .6 * top else 'black', in_layout=False)
    for column in range(len(space.layers)):
        axes.add_patch(Rectangle((column - .5, int(np.nanargmax(grid[:, column])) - .5), 1, 1, fill=False,
                                 edgecolor='#b00020', linewidth=1.8))
    axes.set_xticks(range(len(space.layers)), [layer.name for layer in space.layers], rotation=60, fontsize=7)
    axes.set_yticks(range(len(specs)), [candidate_name(spec) for spec in specs], fontsize=8)
    figure.colorbar(image, ax=axes, label='probability')
    axes.set_title(title, fontsize=10)
    return figure


def to_image(figure: Figure) -> np.ndarray:
    """The figure as an RGB image, (height, width, 3) uint8, as mm's visualizers take it."""
    figure.set_dpi(110)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def encode_png(image: np.ndarray) -> bytes:
    """An RGB image, (height, width, 3) uint8, as a PNG file's bytes."""
    buffer = io.BytesIO()
    imsave(buffer, image, format='png')
    return buffer.getvalue()


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG file's bytes. ``Figure.savefig`` would lay it out and draw it twice."""
    return encode_png(to_image(figure))
