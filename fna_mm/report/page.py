"""The report as one HTML page that loads no other file."""

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Optional

from fna_mm.report.answers import Answer, Cast, hours, is_it_better, role, what_did_it_cost, what_do_i_run_now
from fna_mm.report.drawing import Drawn
from fna_mm.report.run import Run
from fna_mm.report.time_account import PARTS

#: Costs in tables 2 and 4 of Fang et al. 2020: network, in all, search, fine-tuning.
_PAPER = (('DeepLabv3, Cityscapes (paper)', '35.8 GPU hours', '1.4', '34.4'),
          ('RetinaNet, COCO (paper)', '9.2 GPU days', '6', '3.2'),
          ('SSDLite, COCO (paper)', '21.6 GPU days', '6.6', '15'))
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


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]], caption: str, first: Sequence[int] = (),
           kind: str = '') -> str:
    head = ''.join(f'<th scope="col">{escape(header)}</th>' for header in headers)
    body = ''.join(
        f'<tr{" class=first" if number in first else ""}>' + ''.join(
            f'<td data-label="{escape(header)}">{escape(cell)}</td>' for header, cell in zip(headers, row)) + '</tr>\n'
        for number, row in enumerate(rows))
    return (f'<table class="{kind}">\n<caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n'
            f'<tbody>\n{body}</tbody>\n</table>\n')


def _answer(question: str, answer: Answer) -> str:
    # Lines break between words, and not after the dashes of an option.
    commands = ''.join(
        f'<p>{escape(what)}:</p><pre>' + re.sub(r'--[\w-]+', r'<span>\g<0></span>', escape(command)) + '</pre>'
        for what, command in answer.commands)
    text = f'<p>{escape(answer.text)}</p>' if answer.text else ''
    return (f'<div><h3>{escape(question)}</h3>\n<p class="headline">{escape(answer.headline)}</p>\n'
            f'{text}{commands}</div>\n')


def _uri(svg: bytes) -> str:
    return f'data:image/svg+xml;base64,{base64.b64encode(svg).decode()}'


def _figure(drawn: Drawn) -> str:
    source = '' if drawn.narrow_svg is None else \
        f'<source media="(max-width: {_NARROW_PAGE}px)" srcset="{_uri(drawn.narrow_svg)}">'
    return (f'<figure><picture>{source}<img src="{_uri(drawn.svg)}" alt="{escape(drawn.caption)}"></picture>\n'
            f'<figcaption>{escape(drawn.caption)}</figcaption></figure>\n')


def _figures(figures: Sequence[Drawn]) -> str:
    """The figures in their order. Neighbours without a narrow layout stand side by side."""
    html, row = '', ''
    for drawn in figures:
        if drawn.narrow_svg is None:
            row += _figure(drawn)
            continue
        html, row = html + (f'<div class="small">\n{row}</div>\n' if row else '') + _figure(drawn), ''
    return html + (f'<div class="small">\n{row}</div>\n' if row else '')


def _result_row(run: Run, runs: Sequence[Run], metric: Optional[str]) -> list[str]:
    scores, complexity = run.scores(metric), run.complexity
    seconds = run.total_seconds
    return [run.name, role(run, runs),
            f'{scores[1]:.4g} ({scores[2]})' if scores else '–',
            f'{complexity.params / 1e6:.3f}' if complexity else '–',
            f'{complexity.madds / 1e9:.4g}' if complexity else '–',
            f'{seconds / 60:.1f}' if seconds else '–',
            hours([run]) if seconds else '–']


def _results(runs: Sequence[Run], cast: Cast, metric: Optional[str]) -> str:
    shown = next((scores[0] for scores in (run.scores(metric) for run in (*(r for r in runs if not r.searched), *runs))
                  if scores), metric or 'result')
    headers = ('run', 'what', shown, 'params (M)', 'MAdds (G)', 'minutes', 'cost')
    order = sorted(runs, key=lambda run: (run is not cast.child, run is not cast.baseline, run.searched))
    rows = [_result_row(run, runs, metric) for run in order]
    caption = ('Figures are of whole models; a multiply-add counts once. A search is evaluated on its best path, with '
               'shared weights.')
    return _table(headers, rows, caption, [index for index, run in enumerate(order) if run is cast.child], 'results')


def _account(runs: Sequence[Run], cast: Cast) -> str:
    parts = [part for part in PARTS if any(run.seconds.get(part) for run in runs)]
    rows = [[run.name, *(f'{run.seconds.get(part, 0.) / 60:.1f}' for part in parts), f'{run.total_seconds / 60:.1f}',
             str(run.processes), hours([run])] for run in runs if run.total_seconds]
    table = _table(('minutes of', *parts, 'in all', 'processes', 'cost'), rows,
                   '‘Other’ is start-up, calibration of BN, checkpoints, exports.')
    chain = [run for run in (cast.search, cast.child) if run is not None and run.total_seconds]
    ours = ('this report', hours(chain), *(f'{run.device_hours:.3g}' for run in chain))
    rows = [[*ours, '–'][:4]] if chain else []
    return table + _table(('', 'in all', 'search', 'fine-tuning'), [*rows, *_PAPER],
                          'As in tables 2 and 4 of the paper (on TITAN Xp and V100).')


def report_page(runs: Sequence[Run], cast: Cast, search_figures: Sequence[Sequence[Drawn]],
                time_figures: Sequence[Drawn], metric: Optional[str] = None) -> str:
    """Make the whole page.

    Args:
        runs (Sequence[Run]): All runs, searches first.
        cast (Cast): The runs by their roles.
        search_figures (Sequence[Sequence[Drawn]]): The figures of each search.
        time_figures (Sequence[Drawn]): The figures of the time account.
        metric (str, optional): Metric that is compared. Defaults to None: the usual one of the task.
    """
    searches = [run for run in runs if run.searched]
    about = []
    for run in searches:
        made, total = run.progress
        state = 'finished' if run.finished else f'at {made} of {total}' if total else 'not finished'
        about.append(f'{run.path} ({state})')
    answers = (_answer('Is it better?', is_it_better(cast, metric)),
               _answer('What did it cost?', what_did_it_cost(cast)),
               _answer('What do I run now?', what_do_i_run_now(cast)))
    sections = ''.join(f'<h2>Search: {escape(run.name)}</h2>\n{_figures(figures)}'
                       for run, figures in zip(searches, search_figures))
    uncounted = ''.join(f'<p class="note">{escape(run.name)}: parameters and multiply-adds are not known '
                        f'({escape(run.uncounted)}).</p>\n' for run in runs if run.uncounted)
    return f'''<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>FNA: {escape(searches[0].name)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Fast Neural Network Adaptation: report</h1>
<p class="about">{escape("; ".join(about))}</p>
<div class="answers">
{"".join(answers)}</div>
{_results(runs, cast, metric)}{uncounted}{sections}<h2>Cost</h2>
{_figures(time_figures)}{_account(runs, cast)}</body>
</html>
'''
