"""The evidence against rivals: ``python -m tools.evidence COMMAND``, from the repository's root."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fna_mm.cli import CONTEXT, Command
from tools.__main__ import ManyValues
from tools.evidence.protocol import MODELS, SIZES, Rival, task_of
from tools.results.adapted_runs import PACKAGES

TASK: Any = click.argument('task', type=click.Choice(list(PACKAGES)))
SIZE: Any = click.option('--size', default='small', show_default=True, type=click.Choice(SIZES),
                         help='Of images and trainings: small for CPU cores, full for a GPU.')


@click.group(cls=Command, context_settings=CONTEXT)
@click.option('--debug', is_flag=True, help='Show the whole traceback of an error.')
def main(debug: bool) -> None:
    """Compare adapted models with rivals, every one fine-tuned alike; docs/results/protocol.md says how."""


@main.command(cls=ManyValues)
@TASK
@click.argument('work', type=click.Path(path_type=Path))
@click.argument('seed_checkpoint', metavar='SEED.pth', type=click.Path(exists=True, dir_okay=False))
@click.option('--seeds', multiple=True, type=click.IntRange(0), default=(0, 1, 2), metavar='SEED...',
              help='One training with all its rivals for each. Defaults to 0 1 2.')
@click.option('--jobs', default=1, show_default=True, type=click.IntRange(1), help='Steps at a time.')
@SIZE
def run(task: str, work: Path, seed_checkpoint: str, seeds: Sequence[int], jobs: int, size: str) -> None:
    """Train, make all rivals, fine-tune and test them.

    WORK is a folder of `python -m tools.results.adapted_runs` or a new one: a training that is done
    there is not repeated, and neither is any other step when the same command is given again.

    \b
    Example:  python -m tools.evidence run bccd_retinanet work_dirs/evidence mobilenet_v2.pth --seeds 0 1 2
    """
    from tools.evidence.plan import jobs_of
    from tools.evidence.work_queue import QueuedRun, WorkQueue
    found, checkpoint = task_of(task, size), os.path.abspath(seed_checkpoint)
    if size == 'full':
        from tools.evidence.hours import predicted
        click.echo(predicted(found, seeds, checkpoint))
    folders = [(seed, work.resolve() / task / f'seed_{seed}') for seed in seeds]
    for _, folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    queue = WorkQueue([QueuedRun(folder, tuple(jobs_of(found, seed, folder, checkpoint))) for seed, folder in folders],
                      jobs)
    if not queue.work():
        raise click.ClickException('not done: ' + ', '.join(queue.failed))


@main.command()
@click.argument('work', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument('out', type=click.Path(exists=True, file_okay=False, path_type=Path))
@SIZE
def collect(work: Path, out: Path, size: str) -> None:
    """Put what was measured in WORK into results.json, evidence.md and the figures in OUT.

    Models that are not tested yet with any seed are left out.

    \b
    Example:  python -m tools.evidence collect work_dirs/evidence docs/results
    """
    from tools.evidence.evidence_page import write_evidence
    click.echo(write_evidence(work, out, size))


@main.command()
@TASK
@click.argument('model', type=click.Choice(list(MODELS)))
@click.argument('budget')
@click.argument('folder', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option('--seed', default=0, show_default=True, type=click.IntRange(0), help='Seed of the run.')
@SIZE
def make(task: str, model: str, budget: str, folder: Path, seed: int, size: str) -> None:
    """Make one rival in the FOLDER of a run; `run` calls this."""
    from tools.evidence.rival_making import make_rival
    make_rival(task_of(task, size), Rival(model, budget), seed, folder)


@main.command()
@click.argument('config', type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument('checkpoint', type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument('folder', type=click.Path(path_type=Path))
@click.option('--split', 'splits', multiple=True, type=click.Choice(['val', 'test']), default=('val', 'test'),
              show_default=True)
def measure(config: Path, checkpoint: Path, folder: Path, splits: Sequence[str]) -> None:
    """Test a checkpoint, and keep what is needed of every image in FOLDER; `run` calls this."""
    from tools.evidence.testing import measure as measure_splits
    measure_splits(config, checkpoint, folder, splits)


if __name__ == '__main__':
    main(prog_name='python -m tools.evidence')
