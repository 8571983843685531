"""What run.sh measured: the learning rate to take; results.json, the tables and figures of the pages.

python -m tools.results.collect rate WORK/CASE                     the rate with the baseline's best validation metric
python -m tools.results.collect results WORK docs/results SIZE     SIZE is small or full
python -m tools.results.collect page docs/results                  the pages anew, from results.json alone
"""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.results.result_rows import CASES, SIZES, ResultRow, rows_of, validation
from tools.results.result_tables import cost_figure, main_table, tables_of

#: Tables of results.json whose rows are no runs of run.sh; they stay as they are.
OTHERS = ('small data', 'ablations', 'evidence')
_BEGIN, _END = '<!-- made by collect.py: {} -->', '<!-- end of {} -->'
#: Of a search in the work directory, shown on the page.
_CANDIDATES = 'camvid_deeplabv3/main/seed_0/search/fna_report/candidates.png'


def best_rate(case: Path) -> str:
    """The learning rate whose MobileNetV2 is best on the validation split.

    Args:
        case (Path): The case's folder in the work directory.
    """
    found = {path.name.removeprefix('lr_'): validation(path / 'seed_0/mobilenet_v2', CASES[case.name][2])
             for path in sorted(case.glob('lr_*'))}
    missing = [rate for rate, value in found.items() if value is None]
    if missing or not found:
        raise SystemExit(f'{case}: no validation of the rates {missing or "at all"}; run tools/results/run.sh')
    return max(found, key=lambda rate: found[rate] or 0.)


def insert(text: str, name: str, content: str) -> str:
    """Replace what stands between two marks.

    Args:
        text (str): The page.
        name (str): Name of the marks.
        content (str): What stands between them afterwards.
    """
    begin, end = _BEGIN.format(name), _END.format(name)
    before, rest = text.split(begin)
    return f'{before}{begin}\n\n{content}\n\n{end}{rest.split(end)[1]}'


def page_of(text: str, rows: Sequence[ResultRow]) -> str:
    """A page with those of the tables that it has marks for made anew.

    Args:
        text (str): The page as it is.
        rows (Sequence[dict]): All rows of results.json.
    """
    for name, table in tables_of(rows).items():
        if _BEGIN.format(name) in text:
            text = insert(text, name, table)
    return text


def write_page(out: Path, rows: Sequence[ResultRow]) -> None:
    """The tables of all pages, and the figure of costs and metrics.

    Args:
        out (Path): docs/results.
        rows (Sequence[dict]): All rows of results.json.
    """
    for page in out.glob('*.md'):
        page.write_text(page_of(page.read_text(), rows))
    (out / 'comparison').mkdir(exist_ok=True)
    cost_figure(rows).savefig(out / 'comparison/madds.png', dpi=120)


def write_results(work: Path, out: Path, size: str) -> None:
    """Everything in docs/results that the runs in ``work`` give.

    Args:
        work (Path): The work directory that was given to run.sh.
        out (Path): docs/results.
        size (str): ``small`` or ``full``.
    """
    path = out / 'results.json'
    before: list[ResultRow] = json.loads(path.read_text()) if path.is_file() else []
    rows = [*rows_of(work, size), *(row for row in before if row['table'] in OTHERS)]
    path.write_text(f'[\n{rows_text(rows)}\n]\n')
    write_page(out, rows)
    if (work / _CANDIDATES).is_file():
        shutil.copy(work / _CANDIDATES, out / 'comparison/candidates.png')
    print(main_table(rows))


def rows_text(rows: Sequence[ResultRow]) -> str:
    """The rows as JSON, a run in one line.

    Args:
        rows (Sequence[dict]): The rows.
    """
    texts = []
    for row in rows:
        runs = ',\n'.join(f'  {json.dumps(run, ensure_ascii=False)}' for run in row['runs'])
        head = ',\n '.join(f'{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}'
                           for key, value in row.items() if key != 'runs')
        texts.append(f'{{{head},\n "runs": [\n{runs}]}}')
    return ',\n'.join(texts)


if __name__ == '__main__':
    words = sys.argv[1:]
    if len(words) == 2 and words[0] == 'rate':
        print(best_rate(Path(words[1])))
    elif len(words) == 4 and words[0] == 'results' and words[3] in SIZES:
        write_results(Path(words[1]), Path(words[2]), words[3])
    elif len(words) == 2 and words[0] == 'page':
        write_page(Path(words[1]), json.loads(Path(words[1], 'results.json').read_text()))
    else:
        raise SystemExit(__doc__)
