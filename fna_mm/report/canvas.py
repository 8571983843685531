"""Figures without pyplot's global state, and what becomes of them: PNG, SVG, an image."""

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave

#: Inches; at 96 pixels an inch, a wide figure fills a screen's window and a narrow one a telephone's.
WIDE, NARROW = 11.9, 3.9
#: Of what is to be seen first: frames of the best, of what changed.
MARK = '#b00020'
_DPI = 110


def new_figure(width: float, height: float, constrained: bool = True) -> Figure:
    """An empty figure.

    Args:
        width (float): Inches.
        height (float): Inches.
        constrained (bool): Whether matplotlib places the axes; it measures every text for that.
            Defaults to True.
    """
    figure = Figure(figsize=(width, height), layout='constrained' if constrained else None)
    FigureCanvasAgg(figure)
    return figure


def to_image(figure: Figure) -> np.ndarray:
    """The figure as an RGB image, (height, width, 3) uint8, as mm's visualizers take it."""
    figure.set_dpi(_DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def image_to_png(image: np.ndarray) -> bytes:
    """An image, as :func:`to_image` gives it, as a PNG file's bytes; it need not be drawn again for that."""
    buffer = io.BytesIO()
    imsave(buffer, image, format='png')
    return buffer.getvalue()


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG file's bytes."""
    return image_to_png(to_image(figure))


def to_svg(figure: Figure) -> bytes:
    """The figure as an SVG file's bytes, texts as outlines, without a date."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format='svg', metadata=dict(Date=None, Creator=None, Format=None, Type=None))
    return buffer.getvalue()
