"""Making figures without pyplot's global state, and turning them into PNG, SVG or an image."""

import io

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.text import Text

#: Widths in inches. At 96 pixels for each inch, WIDE fills the window of a computer and NARROW that of a telephone.
WIDE, NARROW = 11.9, 3.9
#: Colour of the frames of best candidates and of changed layers.
MARK = '#b00020'
_DPI = 110


def new_figure(width: float, height: float, constrained: bool = True) -> Figure:
    """Make an empty figure.

    Args:
        width (float): Width in inches.
        height (float): Height in inches.
        constrained (bool): Whether matplotlib places the axes, for which it measures every text.
            Defaults to True.
    """
    figure = Figure(figsize=(width, height), layout='constrained' if constrained else None)
    FigureCanvasAgg(figure)
    return figure


def _show_texts_as_they_are(figure: Figure) -> None:
    """Names of folders, layers and metrics are no formulas, and are drawn even if they are no legal Unicode."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
        text.set_text(text.get_text().encode('utf-8', 'replace').decode())


def to_image(figure: Figure) -> np.ndarray:
    """Draw the figure as an RGB image, (height, width, 3) uint8, as mm's visualizers need it."""
    figure.set_dpi(_DPI)
    _show_texts_as_they_are(figure)
    canvas = FigureCanvasAgg(figure)
    with rc_context({'text.parse_math': False}):
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def image_to_png(image: np.ndarray) -> bytes:
    """The bytes of a PNG file with an image that :func:`to_image` has drawn."""
    buffer = io.BytesIO()
    imsave(buffer, image, format='png')
    return buffer.getvalue()


def to_png(figure: Figure) -> bytes:
    """The bytes of a PNG file with the figure."""
    return image_to_png(to_image(figure))


def to_svg(figure: Figure) -> bytes:
    """The bytes of an SVG file with the figure. Texts are outlines, and the file has no date."""
    buffer = io.BytesIO()
    _show_texts_as_they_are(figure)
    with rc_context({'text.parse_math': False}):
        figure.savefig(buffer, format='svg', metadata=dict(Date=None, Creator=None, Format=None, Type=None))
    return buffer.getvalue()
