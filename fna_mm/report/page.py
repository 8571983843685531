"""The report as one HTML page that loads no other file."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Optional

from fna_mm.report.answers import Cast, hours, is_it_better, role, what_did_it_cost, what_do_i_run_now
from fna_mm.report.drawing import Drawn
from fna_mm.report.fronts import Front
from fna_mm.report.html import Table, rendered
from fna_mm.report.run import Run
from fna_mm.report.time_account import PARTS

#: Costs in tables 2 and 4 of Fang et al. 2020: network, in all, search, fine-tuning.
_PAPER = (('DeepLabv3, Cityscapes (paper)', '35.8 GPU hours', '1.4', '34.4'),
          ('RetinaNet, COCO (paper)', '9.2 GPU days', '6', '3.2'),
          ('SSDLite, COCO (paper)', '21.6 GPU days', '6.6', '15'))
#: Problems of a run that are shown.
_MOST_PROBLEMS = 5


def _few(problems: Sequence[str]) -> list[str]:
    more = len(problems) - _MOST_PROBLEMS
    return [*problems[:_MOST_PROBLEMS], *([f'{more} more such lines'] if more > 0 else [])]


def _result_row(run: Run, runs: Sequence[Run], metric: Optional[str], splits: Sequence[str]) -> list[str]:
    complexity, seconds = run.complexity, run.total_seconds
    scores = [run.score_on(split, metric) for split in splits]
    return [run.name, role(run, runs), *(f'{score[0][1]:.4g}' if score else '–' for score in scores),
            f'{complexity.params / 1e6:.3f}' if complexity else '–',
            f'{complexity.madds / 1e9:.4g}' if complexity else '–',
            f'{seconds / 60:.1f}' if seconds else '–',
            hours([run]) if seconds else '–']


def _results(runs: Sequence[Run], cast: Cast, metric: Optional[str]) -> Table:
    shown = next((scores[0] for scores in (run.scores(metric) for run in (*(r for r in runs if not r.searched), *runs))
                  if scores), metric or 'result')
    # A figure of the validation split and one of the test split are no pair to compare: each has its column.
    splits = [split for split in ('test', 'validation') if any(run.score_on(split, metric) for run in runs)]
    headers = ('run', 'what', *(f'{shown}, {split}' for split in splits), 'params (M)', 'MAdds (G)', 'minutes', 'cost')
    order = sorted(runs, key=lambda run: (run is not cast.child, run is not cast.baseline, run.searched))
    rows = [_result_row(run, runs, metric, splits) for run in order]
    caption = ('Figures are of whole models; a multiply-add counts once. A search is evaluated on its best path, with '
               'shared weights.')
    first = [index for index, run in enumerate(order) if run is cast.child]
    return Table(headers, rows, caption, first, 'results')


def _account(runs: Sequence[Run], cast: Cast) -> list[Table]:
    parts = [part for part in PARTS if any(run.seconds.get(part) for run in runs)]
    rows = [[run.name, *(f'{run.seconds.get(part, 0.) / 60:.1f}' for part in parts), f'{run.total_seconds / 60:.1f}',
             str(run.processes), hours([run])] for run in runs if run.total_seconds]
    minutes = Table(('minutes of', *parts, 'in all', 'processes', 'cost'), rows,
                    '‘Other’ is start-up, calibration of BN, checkpoints, exports.')
    chain = [run for run in (cast.search, cast.child) if run is not None and run.total_seconds]
    ours = ('this report', hours(chain), *(f'{run.device_hours:.3g}' for run in chain))
    rows = [[*ours, '–'][:4]] if chain else []
    return [minutes, Table(('', 'in all', 'search', 'fine-tuning'), [*rows, *_PAPER],
                           'As in tables 2 and 4 of the paper (on TITAN Xp and V100).')]


def report_page(runs: Sequence[Run], cast: Cast, search_figures: Sequence[Sequence[Drawn]],
                time_figures: Sequence[Drawn], metric: Optional[str] = None,
                fronts: Sequence[Front] = ()) -> str:
    """Make the whole page.

    Args:
        runs (Sequence[Run]): All runs, searches first.
        cast (Cast): The runs by their roles.
        search_figures (Sequence[Sequence[Drawn]]): The figures of each search.
        time_figures (Sequence[Drawn]): The figures of the time account.
        metric (str, optional): Metric that is compared. Defaults to None: the usual one of the task.
        fronts (Sequence[Front]): The adaptations beside the runs. Defaults to ().
    """
    searches = [run for run in runs if run.searched]
    about = []
    for run in searches:
        made, total = run.progress
        state = 'finished' if run.finished else f'at {made} of {total}' if total else 'not finished'
        about.append(f'{run.path} ({state})')
    better = is_it_better(cast, metric)
    adapted = next((front.answer for front in fronts if front.answer), None)
    if adapted and (cast.child is None or cast.baseline is None):
        better = replace(adapted, text=f'{adapted.text} The search: {better.text}')
    answers = (('Is it better?', better), ('What did it cost?', what_did_it_cost(cast)),
               ('What do I run now?', what_do_i_run_now(cast)))
    notes = [(run.name, f'parameters and multiply-adds are not known ({run.uncounted})')
             for run in runs if run.uncounted]
    notes += [(run.name, problem) for run in runs for problem in _few(run.problems)]
    return rendered('report.html', title=f'FNA: {searches[0].name}', about='; '.join(about), answers=answers,
                    fronts=fronts, results=_results(runs, cast, metric), notes=notes,
                    searches=list(zip((run.name for run in searches), search_figures)), times=time_figures,
                    accounts=_account(runs, cast))
