"""Pages that load no other file, from the templates beside this module; whatever comes from outside is escaped."""

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.utils import markupsafe

from fna_mm.report.drawing import Drawn

#: Pages up to this width in pixels show the narrow layouts of figures and tables.
_NARROW_PAGE = 760


@dataclass(frozen=True)
class Table:
    """A table of a page.

    Args:
        headers (Sequence[str]): Texts of the head.
        rows (Sequence[Sequence[str]]): Texts of the cells.
        caption (str): What the table shows.
        first (Sequence[int]): Indices of the rows that are set in bold. Defaults to ().
        kind (str): CSS class. Defaults to ''.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    first: Sequence[int] = ()
    kind: str = ''


def _uri(svg: bytes) -> str:
    return f'data:image/svg+xml;base64,{base64.b64encode(svg).decode()}'


def _command(text: str) -> markupsafe.Markup:
    """Lines break between words, and not after the dashes of an option."""
    return markupsafe.Markup(re.sub(r'--[\w-]+', r'<span>\g<0></span>', str(markupsafe.escape(text))))


def _side_by_side(figures: Sequence[Drawn]) -> Iterator[list[Drawn]]:
    """The figures in their order; neighbours without a narrow layout stand side by side."""
    row: list[Drawn] = []
    for drawn in figures:
        if drawn.narrow_svg is None:
            row.append(drawn)
            continue
        if row:
            yield row
        yield [drawn]
        row = []
    if row:
        yield row


@cache
def _environment() -> Environment:
    loader = FileSystemLoader(Path(__file__).parent / 'templates')
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.filters.update(uri=_uri, command=_command, side_by_side=_side_by_side)
    environment.globals.update(narrow=_NARROW_PAGE)
    return environment


def rendered(template: str, **values: Any) -> str:
    """Make a page.

    Args:
        template (str): Name of the template.
        values (Any): What it shows.
    """
    return _environment().get_template(template).render(**values)
