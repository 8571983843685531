"""The page of the evidence: two tables, what they say of the targets, and a figure for each task."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from tabulate import tabulate

from fna_mm.report.canvas import to_png
from tools.evidence.evidence_figure import NAMES, evidence_figure
from tools.evidence.evidence_rows import LEADER, TABLE, replaced, rows_of
from tools.evidence.protocol import BUDGETS, LESS, OF_THE_SPACE
from tools.evidence.verdicts import in_brackets, verdicts
from tools.results.collect import insert, rows_text
from tools.results.result_rows import CASES, ResultRow, mean_of
from tools.results.result_tables import agreement

PAGE = 'evidence.md'
_SIZES = dict(small='', full=', full size')
_METRICS = {'mIoU': 'mIoU', 'coco/bbox_mAP': 'mAP'}


def _signed(difference: Optional[float], interval: Optional[Sequence[float]]) -> str:
    if difference is None:
        return ''
    return f'{difference:+.1f}{in_brackets(interval)}'


def _plus_minus(mean: float, std: Optional[float]) -> str:
    return f'{mean:.1f}' if std is None else f'{mean:.1f} ± {std:.1f}'


def _table(cells: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """A table in Markdown without padding: pages have an upper limit of bytes."""
    return re.sub(' +', ' ', re.sub('-+', '---', tabulate([], header, tablefmt='github').strip()) + '\n' + '\n'.join(
        f'| {" | ".join(row)} |' for row in cells))


def _cell(row: ResultRow, most: int) -> str:
    """The metric of a row, in brackets its difference, and how many seeds it has if others have more."""
    parts = [_plus_minus(row['mean'], row['std'])]
    if row['difference'] is not None:
        parts.append(f'({_signed(row["difference"], row["interval"])})')
    if len(row['seeds']) < most:
        parts.append(f'{len(row["seeds"])} of {most} seeds')
    return ' '.join(parts)


def _models(rows: Sequence[ResultRow], title: str, budgets: Sequence[str], cell: Callable[[ResultRow], str]) -> str:
    """A line for every model, a column for every budget, and what ``cell`` says of each row."""
    found = {(row['model'], row['budget']): row for row in rows}
    cells = []
    for model, name in NAMES.items():
        own = [found.get((model, budget)) for budget in budgets]
        if any(own):
            cells.append([name, *('' if row is None else cell(row) for row in own)])
    return _table(cells, (title, *(f'{float(budget):.0%}' for budget in budgets)))


def models_table(rows: Sequence[ResultRow]) -> str:
    """The metric of every model at every budget, and in brackets its difference to MobileNetV2.

    Args:
        rows (Sequence[dict]): The rows of a task.
    """
    most = max(len(row['seeds']) for row in rows)
    return _models(rows, 'model', BUDGETS, lambda row: _cell(row, most))


def raw_table(rows: Sequence[ResultRow]) -> str:
    """The metric of every model before its fine-tuning, at those budgets below 100 % that there are.

    Args:
        rows (Sequence[dict]): The rows of a task.
    """
    budgets = [budget for budget in LESS if any(row['budget'] == budget for row in rows)]
    return _models(rows, 'not trained', budgets, lambda row: f'{mean_of(run["raw"] for run in row["runs"]):.1f}')


def leads_table(rows: Sequence[ResultRow]) -> str:
    """By how much fna adapt is ahead of every other model of its budget; how far architectures agree.

    Args:
        rows (Sequence[dict]): The rows of a task.
    """
    cells = []
    leaders = [row for row in rows if row['model'] == LEADER]
    for model, name in NAMES.items():
        leads = [row['ahead_of'].get(model) for row in leaders]
        agreements = [agreement(row) if model in OF_THE_SPACE else '-' for leader in leaders for row in rows
                      if (row['model'], row['budget']) == (model, leader['budget'])]
        if any(leads):
            same = ', '.join(agreements) if any(share != '-' for share in agreements) else ''
            cells.append([name, *(_signed(lead['difference'], lead['interval']) if lead else '' for lead in leads),
                          same])
    return _table(cells, (f'{NAMES[LEADER]} is ahead of', *(f'at {float(row["budget"]):.0%}' for row in leaders),
                          'equal layers'))


def figure_name(row: ResultRow) -> str:
    """The name of the figure of a row's task.

    Args:
        row (dict): The row.
    """
    task = next(name for name, case in CASES.items() if case[:2] == (row['dataset'], row['framework']))
    return f'evidence_{task}{"_full" if row["size"] == "full" else ""}.png'


def by_task(rows: Sequence[ResultRow]) -> dict[str, list[ResultRow]]:
    """Title of a task → its rows, for those tasks that have any.

    Args:
        rows (Sequence[dict]): All rows of results.json.
    """
    found: dict[str, list[ResultRow]] = {}
    for row in rows:
        if row['table'] == TABLE:
            found.setdefault(f'{row["dataset"]}, {row["framework"]}{_SIZES[row["size"]]}', []).append(row)
    return found


def content_of(rows: Sequence[ResultRow]) -> str:
    """What stands between the page's marks.

    Args:
        rows (Sequence[dict]): All rows of results.json.
    """
    parts = []
    for title, own in by_task(rows).items():
        over = sorted({row['interval_over'] for row in own if row['interval_over']})
        drawn = f' Intervals are over {", or ".join(over)}.' if over else ''
        seeds = own[0]['seeds']
        parts += [f'## {title}', f'{_METRICS[own[0]["metric"]]} in percent, seed{"s" if len(seeds) > 1 else ""} '
                  f'{", ".join(map(str, seeds))}.{drawn}', models_table(own)]
        if any(row['model'] == LEADER for row in own):
            parts += [leads_table(own), raw_table(own)]
        parts += [f'![{title}: points above MobileNetV2, against multiply-adds]({figure_name(own[0])})',
                  '\n'.join(f'- {sentence}' for sentence in verdicts(own))]
    return '\n\n'.join(filter(None, parts)) or 'Nothing was run yet.'


def page_of(text: str, rows: Sequence[ResultRow]) -> str:
    """The page with its tables made anew.

    Args:
        text (str): The page as it is.
        rows (Sequence[dict]): All rows of results.json.
    """
    return insert(text, TABLE, content_of(rows))


def figures_of(rows: Sequence[ResultRow]) -> Mapping[str, Any]:
    """Name of the file → figure, of every task that has rows.

    Args:
        rows (Sequence[dict]): All rows of results.json.
    """
    return {figure_name(own[0]): evidence_figure(own, title, _METRICS[own[0]['metric']])
            for title, own in by_task(rows).items()}


def write_evidence(work: Path, out: Path, size: str) -> str:
    """Put what was measured into results.json, the page and its figures.

    Args:
        work (Path): Folder of all runs.
        out (Path): docs/results.
        size (str): ``small`` or ``full``.

    Returns:
        str: The page's tables.
    """
    path, page = out / 'results.json', out / PAGE
    rows = replaced(json.loads(path.read_text()), rows_of(work, size), size)
    path.write_text(f'[\n{rows_text(rows)}\n]\n')
    page.write_text(page_of(page.read_text(), rows))
    for name, figure in figures_of(rows).items():
        (out / name).write_bytes(to_png(figure))
    return content_of(rows)
