"""Figures of architectures and searches, from values; no model is needed."""

from fna_mm.visualization.architectures import STAGE_COLORS, architecture_figure
from fna_mm.visualization.canvas import image_to_png, to_image, to_png, to_svg
from fna_mm.visualization.searches import (
           candidates_figure,
           entropy_figure,
           loss_figure,
           madds_figure,
           probability_figure,
)
from fna_mm.visualization.times import time_figure

__all__ = ['STAGE_COLORS', 'architecture_figure', 'candidates_figure', 'entropy_figure', 'image_to_png', 'loss_figure',
           'madds_figure', 'probability_figure', 'time_figure', 'to_image', 'to_png', 'to_svg']
