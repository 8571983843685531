"""The report: one page about searches and their children, made from work directories."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Optional

from fna_mm.checkpoints.whole_files import write_whole
from fna_mm.report.answers import cast_roles
from fna_mm.report.canvas import image_to_png
from fna_mm.report.drawing import Drawn, draw_search, draw_times, file_prefix
from fna_mm.report.fronts import Front, find_fronts
from fna_mm.report.history import FOLDER
from fna_mm.report.page import report_page
from fna_mm.report.run import Run, count_shape, counted, find_runs

__all__ = ['make_report', 'write_report']


def write_report(runs: Sequence[Run], out_dir: str, metric: Optional[str] = None,
                 fronts: Sequence[Front] = ()) -> tuple[str, list[Drawn]]:
    """Write ``index.html``, which contains the whole report, and each figure as PNG and SVG.

    Args:
        runs (Sequence[Run]): The runs, searches first; at least one is a search.
        out_dir (str): Folder of the report; it is created if it does not exist.
        metric (str, optional): Metric that is compared. Defaults to None: the usual one of the task.
        fronts (Sequence[Front]): The adaptations, which come first. Defaults to ().

    Returns:
        tuple: The page's path, and the figures.
    """
    searches = [run for run in runs if run.searched]
    drawn, problems = [], []
    for run in searches:
        try:
            drawn.append(draw_search(run, file_prefix(run) if len(searches) > 1 else ''))
        except Exception as error:  # of data that nobody foresaw; all other runs are shown
            drawn.append([])
            problems.append(replace(run, problems=[*run.problems, f'its figures cannot be drawn ({error})']))
    runs = [next((other for other in problems if other.path == run.path), run) for run in runs]
    times = draw_times(runs)
    figures = [figure for figures in (*drawn, times) for figure in figures]
    files = {f'{figure.name}.svg': figure.svg for figure in figures}
    files.update({f'{figure.name}.png': image_to_png(figure.image) for figure in figures})
    page = report_page(runs, cast_roles(runs), drawn, times, metric, fronts)
    files['index.html'] = page.encode('utf-8', 'replace')
    write_whole({os.path.join(out_dir, name): content for name, content in files.items()})
    return os.path.join(out_dir, 'index.html'), figures


def make_report(folders: Sequence[str], out_dir: Optional[str] = None, metric: Optional[str] = None,
                progress: Optional[Callable[[Sequence], Iterable]] = None) -> str:
    """Make a report from the work directories of searches and of the trainings that are compared.

    Args:
        folders (Sequence[str]): Work directories, or folders that hold several, such as a demo's.
        out_dir (str, optional): Folder of the report. Defaults to None: ``fna_report`` in the first folder.
        metric (str, optional): Metric that is compared. Defaults to None: the usual one of the task.
        progress (Callable, optional): Iterates over the runs and shows the progress.

    Returns:
        str: The path of the page.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If a folder holds no run, the folders together hold no search, or no run has ``metric``.
    """
    runs = find_runs(folders)
    known = sorted({name for run in runs for metrics in (run.validation, *run.tests) for name in metrics})
    if metric is not None and metric not in known:
        raise ValueError(f'no run has the metric {metric!r}; there are {known}')
    shape = next((shape for shape in map(count_shape, runs) if shape), None)
    runs = [run if run.searched else counted(run, shape) for run in (progress or iter)(runs)]
    return write_report(runs, out_dir or os.path.join(folders[0], FOLDER), metric, find_fronts(folders))[0]
