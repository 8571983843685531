"""What an ablation gave: a row for each config, over its seeds."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from tabulate import tabulate

from tools.ablation.ablation_run import AblationRun


@dataclass(frozen=True)
class AblationRow:
    """A config's line in the table.

    Args:
        config (str): The config's name.
        params_m (float, optional): Millions of parameters, mean over the seeds; of searches unknown.
        madds_g (float, optional): GMAdds at the config's ``input_shape``, mean over the seeds.
        metric (str, optional): Name of the metric.
        values (list[float | None]): Its value with each seed; None where the run failed.
        mean (float, optional): Of the values.
        std (float, optional): Their standard deviation (n - 1); None for fewer than two.
        seeds (list[int]): The seeds, in the order of the values.
        minutes (float, optional): Wall-clock time of one run, mean over the seeds.
    """

    config: str
    params_m: Optional[float]
    madds_g: Optional[float]
    metric: Optional[str]
    values: list[Optional[float]]
    mean: Optional[float]
    std: Optional[float]
    seeds: list[int]
    minutes: Optional[float]


def collect_rows(runs: Sequence[AblationRun], metric: Optional[str] = None) -> list[AblationRow]:
    """A row for each config, in the order of the runs.

    Args:
        runs (Sequence[AblationRun]): Of all seeds.
        metric (str, optional): Its name. Defaults to the evaluator's first.

    Raises:
        ValueError: If a run has metrics, but not this one.
    """
    rows = []
    for name in dict.fromkeys(run.name for run in runs):
        own = [run for run in runs if run.name == name]
        results = [run.result() or {} for run in own]
        measured = [run.value(metric) for run in own]
        values = [value[1] for value in measured if value]
        params, madds, minutes = (_mean([result[key] for result in results if result.get(key) is not None])
                                  for key in ('params', 'madds', 'minutes'))
        rows.append(AblationRow(
            config=name,
            params_m=None if params is None else params / 1e6,
            madds_g=None if madds is None else madds / 1e9,
            metric=next((value[0] for value in measured if value), None),
            values=[value[1] if value else None for value in measured],
            mean=_mean(values),
            std=statistics.stdev(values) if len(values) > 1 else None,
            seeds=[run.seed for run in own],
            minutes=minutes))
    return rows


def _mean(values: Sequence[float]) -> Optional[float]:
    return statistics.mean(values) if values else None


def ablation_table(rows: Sequence[AblationRow], markdown: bool = False) -> str:
    """The rows as a table.

    Args:
        rows (Sequence[AblationRow]): All with the same seeds.
        markdown (bool): Markdown instead of plain text. Defaults to False.
    """
    def cell(value: Optional[float], form: str) -> str:
        return '-' if value is None else format(value, form)

    lines = [(row.config, cell(row.params_m, '.3f'), cell(row.madds_g, '.4f'), row.metric or '-',
              *(cell(value, '.4g') for value in row.values), cell(row.mean, '.4g'), cell(row.std, '.2g'),
              cell(row.minutes, '.1f')) for row in rows]
    seeds = [f'seed {seed}' for seed in (rows[0].seeds if rows else ())]
    headers = ('config', 'params (M)', 'MAdds (G)', 'metric', *seeds, 'mean', 'std', 'minutes')
    align = ('left', 'right', 'right', 'left', *('right' for _ in range(len(seeds) + 3)))
    return tabulate(lines, headers, tablefmt='github' if markdown else 'plain', disable_numparse=True, colalign=align)
