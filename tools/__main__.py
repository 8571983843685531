"""The tools of this repository's people: ``python -m tools COMMAND``, from the repository's root."""

from collections.abc import Sequence
from typing import Any, Optional

import click

from fna_mm.cli import CONTEXT, Command, progress


class ManyValues(click.Command):
    """Takes several values behind an option that may be repeated, as mm's ``--cfg-options`` does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option before each value."""
        many = {name for option in self.params if getattr(option, 'multiple', False) for name in option.opts}
        repeated: list[str] = []
        option, values = '', 0
        for arg in args:
            if arg.startswith('-'):
                option, values = arg, 0
            else:
                repeated += [option] if option in many and values else []
                values += 1
            repeated.append(arg)
        return super().parse_args(ctx, repeated)


@click.group(cls=Command, context_settings=CONTEXT)
@click.option('--debug', is_flag=True, help='Show the whole traceback of an error.')
def main(debug: bool) -> None:
    """Measure this repository: ablations, the bench, the table of the paper."""


@main.command(cls=ManyValues)
@click.argument('configs', nargs=-1, required=True, type=click.Path(), metavar='CONFIG...')
@click.option('--seeds', multiple=True, type=click.IntRange(0), default=(0, ), metavar='SEED...',
              help='Train every config with each of them. Defaults to 0.')
@click.option('--work-dir', default='work_dirs/ablations', show_default=True, type=click.Path(),
              help='Where everything goes.')
@click.option('--cfg-options', multiple=True, metavar='KEY=VALUE...', help='Replaced in every config.')
@click.option('--seed-checkpoint', help='In place of the checkpoint of every parameter remapping.')
@click.option('--jobs', default=1, show_default=True, type=click.IntRange(1), help='Trainings at a time, which share '
              'the cores unless OMP_NUM_THREADS is set.')
@click.option('--metric', help="Of the table. Defaults to the evaluator's first.")
@click.option('--out', type=click.Path(), help='A file for the rows.')
@click.option('--format', 'form', default='json', show_default=True, type=click.Choice(['json', 'markdown']),
              help="Of --out's file; with markdown, the printed table is Markdown as well.")
@click.option('--json', 'as_json', is_flag=True, help='Print the rows as JSON, for programs, and how it goes on the '
              'error stream.')
def ablate(configs: Sequence[str], seeds: Sequence[int], work_dir: str, cfg_options: Sequence[str],
           seed_checkpoint: Optional[str], jobs: int, metric: Optional[str], out: Optional[str], form: str,
           as_json: bool) -> None:
    """Train and test many configs with several seeds, and print one table.

    Every run is a process of its own in WORK_DIR/seed_S/NAME; a config names the files of another one
    there by the environment variable FNA_ABLATION_DIR, and then waits for it. Given again, the
    command repeats nothing that is finished and continues what was interrupted.

    \b
    Example:  python -m tools ablate configs/ablations/camvid/*.py --seeds 0 1 --jobs 2 --out ablations.json
    """
    from tools.ablation import run_ablation
    run_ablation(configs, seeds, work_dir, cfg_options, seed_checkpoint, jobs, metric, out, form == 'markdown',
                 as_json)


@main.command()
@click.option('--device', type=click.Choice(['cpu', 'cuda']), help='Defaults to cuda if there is a GPU.')
@click.option('--precision', type=click.Choice(['float32', 'fp16', 'bf16']), default='float32', show_default=True,
              help='The last two by autocast.')
@click.option('--channels-last', is_flag=True, help='Memory format of weights and images.')
@click.option('--threads', type=click.IntRange(1), help="Of the CPU. Defaults to torch's choice.")
@click.option('--batch-size', type=click.IntRange(2), help='Images in a step. Defaults to 4, on a GPU to 16.')
@click.option('--input-size', type=click.IntRange(64), help='Of the images, in pixels. Defaults to 224, on a GPU to '
              '321.')
@click.option('--repeats', type=click.IntRange(1), help='Measured rounds. Defaults to 15, on a GPU to 50.')
@click.option('--iterations', type=click.IntRange(1), help='Measured search iterations of each kind. Defaults to 10, '
              'on a GPU to 200.')
@click.option('--keep-memory', is_flag=True, help='Keep the memory that is freed, for the next step: on the CPU, with '
              'glibc.')
@click.option('--quick', is_flag=True, help='Only show that everything runs; the figures are worth nothing.')
@click.option('--out', metavar='FILE', help='Write everything as JSON.')
def bench(device: Optional[str], quick: bool, out: Optional[str], **settings: Any) -> None:
    """Time the search's steps beside a plain MobileNetV2, and say what bounds them.

    Steps run in turn in one process; ratios are medians over rounds. Whole search iterations of
    RetinaNet and DeepLabv3 run on mm's Runner with synthetic images; on a GPU at the size of their
    configs, from which the hours of the whole schedule are projected.

    \b
    Example:  python -m tools bench --out bench.json
              python -m tools bench --device cuda --precision fp16 --out bench.json
    """
    import torch

    from tools.bench.measurement import run_bench
    from tools.bench.settings import Settings
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    run_bench(Settings.create(device, quick, **settings), out)


@main.command()
@click.option('--format', 'style', type=click.Choice(['text', 'markdown', 'json']), default='text', show_default=True)
def paper(style: str) -> None:
    """Count every model of the paper, beside its published figures.

    \b
    Example:  python -m tools paper --format markdown
    """
    from tools.paper_table import paper_table
    click.echo(paper_table(style, progress))


if __name__ == '__main__':
    main(prog_name='python -m tools')
