"""Parts of pages that load no other file: style, tables, figures."""

import base64
from collections.abc import Iterable, Sequence
from html import escape

from fna_mm.report.drawing import Drawn

#: Pages up to this width in pixels show the narrow layouts of figures and tables.
_NARROW_PAGE = 760

_STYLE = f'''
:root {{ color-scheme: light; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; max-width: 1190px; padding: 14px 20px 40px; color: #1c1c1c; background: #fff;
       font: 15px/1.45 system-ui, "DejaVu Sans", sans-serif; }}
h1 {{ font-size: 21px; margin: 0; }}
h2 {{ font-size: 18px; margin: 34px 0 8px; border-bottom: 1px solid #ccc; }}
h3 {{ font-size: 13px; margin: 0; color: #555; font-weight: normal; }}
p {{ margin: 5px 0; }}
.about {{ color: #555; margin-bottom: 12px; overflow-wrap: anywhere; }}
.answers {{ display: grid; grid-template-columns: 1fr 1fr 1.25fr; gap: 14px; }}
.answers > div {{ border: 1px solid #bbb; border-top: 4px solid #1b1b6b; border-radius: 4px; padding: 8px 12px;
                 min-width: 0; }}
.headline {{ font-size: 17px; font-weight: bold; }}
pre {{ margin: 2px 0 7px; padding: 5px 8px; background: #f1f1f1; border-radius: 3px; white-space: pre-wrap;
      overflow-wrap: anywhere; font: 12px/1.35 ui-monospace, "DejaVu Sans Mono", monospace; }}
pre span {{ white-space: nowrap; }}
table {{ border-collapse: collapse; width: 100%; margin: 14px 0; font-variant-numeric: tabular-nums; }}
caption {{ text-align: left; color: #555; padding-bottom: 3px; }}
th, td {{ padding: 3px 8px; text-align: right; border-bottom: 1px solid #ddd; }}
th {{ font-size: 13px; vertical-align: bottom; }}
th:first-child, td:first-child, .results :is(th, td):nth-child(2) {{ text-align: left; }}
td {{ overflow-wrap: anywhere; }}
tr.first td {{ font-weight: bold; }}
figure {{ margin: 14px 0; text-align: center; }}
figure img {{ max-width: 100%; height: auto; }}
figcaption {{ font-size: 13px; color: #555; text-align: left; }}
.small {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(330px, 1fr)); gap: 10px; }}
.small figcaption {{ text-align: center; }}
.note {{ font-size: 13px; color: #555; }}
@media (max-width: {_NARROW_PAGE}px) {{
  body {{ padding: 10px 8px 30px; }}
  .answers {{ grid-template-columns: 1fr; }}
  .small {{ grid-template-columns: 1fr; }}
  thead {{ display: none; }}
  tr {{ display: block; border-bottom: 2px solid #bbb; padding: 5px 0; }}
  td {{ display: flex; justify-content: space-between; gap: 12px; border: 0; padding: 1px 4px; }}
  td:first-child {{ font-weight: bold; }}
  td:not(:first-child)::before {{ content: attr(data-label); color: #555; font-weight: normal; text-align: left; }}
}}
@media print {{ .answers > div, figure, table {{ break-inside: avoid; }} }}
'''


def table_html(headers: Sequence[str], rows: Iterable[Sequence[str]], caption: str, first: Sequence[int] = (),
          kind: str = '') -> str:
    """Make a table.

    Args:
        headers (Sequence[str]): Texts of the head.
        rows (Iterable[Sequence[str]]): Texts of the cells.
        caption (str): What the table shows.
        first (Sequence[int]): Indices of the rows that are set in bold. Defaults to ().
        kind (str): CSS class. Defaults to ''.
    """
    head = ''.join(f'<th scope="col">{escape(header)}</th>' for header in headers)
    body = ''.join(
        f'<tr{" class=first" if number in first else ""}>' + ''.join(
            f'<td data-label="{escape(header)}">{escape(cell)}</td>' for header, cell in zip(headers, row)) + '</tr>\n'
        for number, row in enumerate(rows))
    return (f'<table class="{kind}">\n<caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n'
            f'<tbody>\n{body}</tbody>\n</table>\n')


def _uri(svg: bytes) -> str:
    return f'data:image/svg+xml;base64,{base64.b64encode(svg).decode()}'


def figure_html(drawn: Drawn) -> str:
    """A figure with its caption, and with its narrow layout for narrow pages if it has one."""
    source = '' if drawn.narrow_svg is None else \
        f'<source media="(max-width: {_NARROW_PAGE}px)" srcset="{_uri(drawn.narrow_svg)}">'
    return (f'<figure><picture>{source}<img src="{_uri(drawn.svg)}" alt="{escape(drawn.caption)}"></picture>\n'
            f'<figcaption>{escape(drawn.caption)}</figcaption></figure>\n')


def figures_html(figures: Sequence[Drawn]) -> str:
    """The figures in their order. Neighbours without a narrow layout stand side by side."""
    html, row = '', ''
    for drawn in figures:
        if drawn.narrow_svg is None:
            row += figure_html(drawn)
            continue
        html, row = html + (f'<div class="small">\n{row}</div>\n' if row else '') + figure_html(drawn), ''
    return html + (f'<div class="small">\n{row}</div>\n' if row else '')


def whole_page(title: str, body: str) -> str:
    """Make a page.

    Args:
        title (str): Title of the window.
        body (str): HTML between the body's tags.
    """
    return f'''<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
{body}</body>
</html>
'''
