"""Many trainings, each in a process of its own: configs times seeds, then one table (paper, tables 5 and 6)."""

import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import asdict
from typing import Optional

import click
from mmengine.fileio import put_text

from tools.ablation.plan import parse_options, plan_runs
from tools.ablation.schedule import carry_out
from tools.ablation.table import ablation_table, collect_rows

__all__ = ['ablation_table', 'carry_out', 'collect_rows', 'parse_options', 'plan_runs', 'run_ablation']


def run_ablation(configs: Sequence[str], seeds: Sequence[int] = (0, ), work_dir: str = 'work_dirs/ablations',
                 options: Sequence[str] = (), seed_checkpoint: Optional[str] = None, jobs: int = 1,
                 metric: Optional[str] = None, out: Optional[str] = None, markdown: bool = False,
                 as_json: bool = False) -> None:
    """Train and test configs with seeds; print a table. What is finished already is not repeated.

    Args:
        configs (Sequence[str]): Paths of configs.
        seeds (Sequence[int]): The seeds. Defaults to (0,).
        work_dir (str): Where everything goes. Defaults to 'work_dirs/ablations'.
        options (Sequence[str]): ``KEY=VALUE``, replaced in every config. Defaults to ().
        seed_checkpoint (str, optional): In place of the checkpoint of every parameter remapping.
        jobs (int): Trainings at a time. Defaults to 1.
        metric (str, optional): Of the table. Defaults to the evaluator's first.
        out (str, optional): A file for the rows.
        markdown (bool): The table in Markdown, and in the file instead of JSON. Defaults to False.
        as_json (bool): Print the rows as JSON instead of the table, and anything else on the error
            stream. Defaults to False.

    Raises:
        ValueError: As :func:`plan_runs`; if there is no such metric.
        FileNotFoundError: If there is no such config.
        ChildProcessError: At the end, if runs failed.
    """
    runs = plan_runs(configs, seeds, work_dir, parse_options(options), seed_checkpoint)
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        failed = carry_out(runs, jobs, metric)
    rows = collect_rows(runs, metric)
    table, values = ablation_table(rows, markdown), json.dumps([asdict(row) for row in rows], indent=2)
    click.echo(values if as_json else f'\n{table}')
    if out:
        put_text(f'{table if markdown else values}\n', out)
        click.echo(f'written: {out}', err=as_json)
    if failed:
        raise ChildProcessError(f'{len(failed)} of {len(runs)} runs failed or were skipped: '
                                + ', '.join(f'seed {run.seed} {run.name}' for run in failed))
