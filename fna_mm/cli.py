"""The ``fna`` command: arguments only, every command is one call."""

import sys
import warnings
from collections.abc import Sequence
from typing import Any, Optional

import click

# mmengine's and mim's use of it; nothing that a user of this command could change.
warnings.filterwarnings('ignore', message='pkg_resources is deprecated')


class Command(click.Group):
    """Shows bad input as one line instead of a traceback, unless ``--debug`` is given."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except (ValueError, OSError, ImportError, KeyError, TypeError, SyntaxError) as error:
            if ctx.params.get('debug'):
                raise
            # The last three come out of a user's config, and say little without their name.
            name = f'{type(error).__name__}: ' if isinstance(error, (KeyError, TypeError, SyntaxError)) else ''
            raise click.ClickException(f'{name}{error}') from error


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


@click.group(cls=Command, context_settings=dict(help_option_names=['-h', '--help']))
@click.option('--debug', is_flag=True, help='Show the whole traceback of an error.')
@click.version_option(package_name='fna-mm')
def main(debug: bool) -> None:
    """FNA: adapt MobileNetV2's architecture and parameters to your detection or segmentation task."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


@main.command()
@click.argument('targets', nargs=-1, metavar='TARGET...')
@click.option('--shape', nargs=2, type=int, metavar='H W', help='Input height and width in pixels. '
              "Defaults to the config's input_shape.")
@click.option('--output-stride', type=int, help="Of an architecture. Defaults to the architecture's own.")
@click.option('--paper', is_flag=True, help='Count every model of the paper, beside its published figures.')
@click.option('--format', 'style', type=click.Choice(['text', 'markdown', 'json']), default='text', show_default=True)
def complexity(targets: Sequence[str], shape: Optional[tuple[int, int]], output_stride: Optional[int], paper: bool,
               style: str) -> None:
    """Parameters and multiply-adds of configs and architectures.

    A TARGET is an mm config, whose model and backbone are counted, or an architecture (a published
    name, an arch.json). Convolutions and linear layers count, each multiply-add once, at batch 1.

    \b
    Example:  fna complexity configs/fna_retinanet_retrain.py
              fna complexity fna_deeplabv3 --shape 1024 2048 --output-stride 16
              fna complexity --paper
    """
    if bool(targets) == paper or (paper and (shape or output_stride)):
        raise click.UsageError('give either TARGETs or --paper, which has sizes of its own')
    from fna_mm.cost.complexity import complexity_table
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # mm's about building; nothing is trained here
        if paper:
            from fna_mm.cost.paper import paper_table
            table = paper_table(style)
        else:
            table = complexity_table(targets, shape or None, output_stride, style)
    click.echo(table)


@main.group()
def arch() -> None:
    """Show architectures; export them from checkpoints."""


@arch.command()
@click.argument('architecture')
def show(architecture: str) -> None:
    """Print an architecture as a table.

    A published name, an arch.json, the published text form, or a checkpoint of a search or of
    `fna convert`.

    \b
    Example:  fna arch show work_dirs/fna_retinanet_search/arch.json
    """
    from fna_mm.search_checkpoint import read_architecture
    click.echo(str(read_architecture(architecture)))


@arch.command()
@click.argument('source')
@click.argument('out', required=False)
def export(source: str, out: Optional[str]) -> None:
    """Write an arch.json from a checkpoint, or from anything else that `fna arch show` takes.

    Without OUT it goes to the screen.

    \b
    Example:  fna arch export work_dirs/fna_retinanet_search/epoch_12.pth arch_12.json
    """
    from fna_mm.search_checkpoint import read_architecture
    text = read_architecture(source).to_json()
    if out is None:
        click.echo(text, nl=False)
        return
    from mmengine.fileio import put_text
    put_text(text, out)
    click.echo(f'written: {out}')


@main.command()
@click.argument('released')
@click.argument('out')
@click.option('--net-config', metavar='FILE', help='The net_config that came with the checkpoint: its strides, checked '
              'against the weights.')
def convert(released: str, out: str, net_config: Optional[str]) -> None:
    """Turn a checkpoint of the authors' release into one of mm's with our names.

    The released seed, detectors and segmentation networks; the architecture is read from names and
    shapes. It is written beside OUT as well, as OUT's name with .arch.json, which arch= takes in a config.

    \b
    Example:  fna convert fna_retinanet.pth converted/fna_retinanet.pth --net-config net_config
    """
    from fna_mm.released_checkpoint import convert_file
    conversion, files = convert_file(released, out, net_config)
    click.echo(conversion.report())
    click.echo(f'written: {", ".join(files)}')


@main.command()
@click.argument('seed')
@click.argument('architecture', metavar='ARCH')
@click.argument('out', metavar='OUT.pth')
@click.option('--width', default='first', show_default=True, help='How narrowed blocks choose channels: first, bn, '
              'std, l1.')
@click.option('--kernel', default='center', show_default=True, help='How kernels of another size are filled: center, '
              'dilate.')
@click.option('--report', metavar='FILE.json', help='Write where every tensor came from.')
def remap(seed: str, architecture: str, out: str, width: str, kernel: str, report: Optional[str]) -> None:
    """Remap a MobileNetV2 checkpoint onto an architecture, and write a checkpoint for load_from.

    SEED is a file, a URL or an open-mmlab:// name; ARCH anything `fna arch export` takes. In a config
    with an FNAChildNet of that architecture, load_from = 'OUT.pth' starts from the result, and so does
    the backbone's init_cfg=dict(type='Pretrained', checkpoint='OUT.pth', prefix='backbone.').

    \b
    Example:  fna remap mobilenet_v2.pth fna_retinanet remapped.pth --report remapped.json
    """
    from fna_mm.remapped_checkpoint import write_remapped_checkpoint
    click.echo(write_remapped_checkpoint(seed, architecture, out, width, kernel, report))
    click.echo(f'written: {out}')


@main.command()
@click.option('--model', 'models', nargs=3, multiple=True, required=True, metavar='NAME CONFIG CHECKPOINT',
              help='A trained model; give the option once for each.')
@click.option('--images', default=4, show_default=True, type=click.IntRange(1), help='How many, spread over the test '
              'set.')
@click.option('--out', default='comparison.png', show_default=True, help='Where the picture goes.')
def compare(models: Sequence[tuple[str, str, str]], images: int, out: str) -> None:
    """Draw what trained models make of the same test images: input, truth, each model, in one row.

    \b
    Example:  fna compare --model MobileNetV2 configs/camvid/mobilenet_v2_deeplabv3.py seed.pth
                          --model child child_config.py child.pth --out comparison.png
    """
    from mmengine.config import Config
    from mmengine.fileio import put

    from fna_mm.comparison import TrainedModel, comparison_figure
    from fna_mm.visualization import to_png
    figure = comparison_figure([TrainedModel(name, Config.fromfile(config), checkpoint)
                                for name, config, checkpoint in models], images)
    put(to_png(figure), out)
    click.echo(f'written: {out}')


@main.command()
@click.argument('work_dirs', nargs=-1, required=True, metavar='WORK_DIR...')
@click.option('--out', metavar='DIR', help='Where index.html and the figures go. Defaults to fna_report in the first '
              'WORK_DIR.')
@click.option('--metric', help="What is compared. Defaults to the task's usual one, such as coco/bbox_mAP or mIoU.")
def report(work_dirs: Sequence[str], out: Optional[str], metric: Optional[str]) -> None:
    """Make one HTML page of a search and of what was trained after it.

    A WORK_DIR is mm's of a search or of a training, or a folder that holds some; runs are told apart by
    their configs and compared side by side.

    \b
    Example:  fna report work_dirs/fna_retinanet_search work_dirs/mobilenet_v2_retinanet --out report
    """
    from fna_mm.report import make_report
    click.echo(f'written: {make_report(work_dirs, out, metric)}')


@main.command(cls=ManyValues)
@click.argument('configs', nargs=-1, required=True, metavar='CONFIG...')
@click.option('--seeds', multiple=True, type=click.IntRange(0), default=(0, ), metavar='SEED...',
              help='Train every config with each of them. Defaults to 0.')
@click.option('--work-dir', default='work_dirs/ablations', show_default=True, help='Where everything goes.')
@click.option('--cfg-options', multiple=True, metavar='KEY=VALUE...', help='Replaced in every config.')
@click.option('--seed-checkpoint', help='In place of the checkpoint of every parameter remapping.')
@click.option('--jobs', default=1, show_default=True, type=click.IntRange(1), help='Trainings at a time, which share '
              'the cores unless OMP_NUM_THREADS is set.')
@click.option('--metric', help="Of the table. Defaults to the evaluator's first.")
@click.option('--out', help='A file for the rows.')
@click.option('--format', 'form', default='json', show_default=True, type=click.Choice(['json', 'markdown']),
              help="Of --out's file; with markdown, the printed table is Markdown as well.")
def ablate(configs: Sequence[str], seeds: Sequence[int], work_dir: str, cfg_options: Sequence[str],
           seed_checkpoint: Optional[str], jobs: int, metric: Optional[str], out: Optional[str], form: str) -> None:
    """Train and test many configs with several seeds, and print one table.

    Every run is a process of its own in WORK_DIR/seed_S/NAME; a config names the files of another one
    there by the environment variable FNA_ABLATION_DIR, and then waits for it. Given again, the
    command repeats nothing that is finished and continues what was interrupted.

    \b
    Example:  fna ablate configs/ablations/camvid/*.py --seeds 0 1 --jobs 2 --out ablations.json
    """
    from fna_mm.ablation import run_ablation
    run_ablation(configs, seeds, work_dir, cfg_options, seed_checkpoint, jobs, metric, out, form == 'markdown')


@main.command()
@click.option('--work-dir', default='work_dirs/fna_demo', show_default=True, help='Where everything goes.')
@click.option('--seed', default=0, show_default=True, help='Of the drawn data and the training.')
def demo(work_dir: str, seed: int) -> None:
    """The whole flow on drawn images, in minutes on two CPU cores, without any download.

    Draws a detection data set, trains a seed detector, searches, remaps, fine-tunes, evaluates.

    \b
    Example:  fna demo --work-dir work_dirs/fna_demo
    """
    from fna_mm.demo import run_demo
    run_demo(work_dir, seed)
