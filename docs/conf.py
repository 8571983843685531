"""Sphinx builds the pages of this folder: ``make docs``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import fna_mm

project, author, release = 'fna_mm', 'the authors of fna_mm', fna_mm.__version__
extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx_click']
myst_enable_extensions = ['colon_fence']
myst_heading_anchors = 3
autodoc_typehints = 'none'
autodoc_member_order = 'bysource'
html_theme = 'alabaster'
html_theme_options = dict(description='Adapt a trained backbone to a budget, inside mm', page_width='1100px')
exclude_patterns = ['pictures']
