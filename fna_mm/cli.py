"""The ``fna`` command: it reads the arguments, and each command makes one call."""

import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NoReturn, Optional

import click
from click.shell_completion import CompletionItem, get_completion_class

from fna_mm.checkpoints.whole_files import check_regular

# mmengine and mim use pkg_resources; a user of this command cannot change that.
warnings.filterwarnings('ignore', message='pkg_resources is deprecated')


CONTEXT = dict(help_option_names=['-h', '--help'], max_content_width=120)
#: Exit status of a process that SIGINT ended, as shells count it.
INTERRUPTED = 130


class Command(click.Group):
    """Shows an error as one line instead of a traceback, unless ``--debug`` is given."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise  # click handles these itself; a broken pipe ends without a message
        except KeyboardInterrupt:
            click.echo('Interrupted.', err=True)
            ctx.exit(INTERRUPTED)
        except Exception as error:
            if ctx.params.get('debug'):
                raise
            _fail(error)


def _fail(error: Exception) -> NoReturn:
    # The messages of these types are complete. Errors from a user's config or from mm need the name of their type.
    text = str(error).strip()
    if len(text) > _MOST_SHOWN:
        text = f'{text[:_MOST_SHOWN // 2]} … {text[-_MOST_SHOWN // 2:]}'
    told = text and isinstance(error, (ValueError, OSError, ImportError))
    raise click.ClickException(text if told else f'{type(error).__name__}: {text}'.rstrip(': ')) from error


def progress(items: Sequence[Any]) -> Iterator[Any]:
    """Iterate, with a progress bar if the error stream is a terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    with click.progressbar(items, file=sys.stderr) as bar:
        yield from bar


@contextmanager
def bar(label: str, steps: int) -> Iterator[Any]:
    """Show a progress bar with the time left; where the error stream is no terminal, its label alone."""
    with click.progressbar(length=steps, label=f'{label:14}', file=sys.stderr, show_eta=True) as shown:
        yield shown


def _architectures(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete an architecture: published names, or files if no name fits."""
    from fna_mm.families import published_names
    names = [CompletionItem(name) for name in published_names() if name.startswith(incomplete)]
    return names or [CompletionItem(incomplete, type='file')]


def _configs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from fna_mm.configs import config_names
    return [CompletionItem(name) for name in config_names() if name.startswith(incomplete)]


_json = click.option('--json', 'as_json', is_flag=True, help='Print JSON, for programs.')
#: The shell completes paths. The code that opens a path checks it.
class _File(click.Path):
    """A path that is no pipe and no device, from which a command would read for ever."""

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> Any:
        """Check the path."""
        try:
            check_regular(str(value))
        except (ValueError, OSError) as error:
            self.fail(str(error), param, ctx)
        return super().convert(value, param, ctx)


FILE = _File()
#: Pixels.
SIDE = click.IntRange(1)
#: Characters of a message that are shown.
_MOST_SHOWN = 2000


@click.group(cls=Command, context_settings=CONTEXT, epilog='Exit status: 0 done, '
             '1 an error, 2 wrong usage, 130 interrupted. Tab completion: fna completion --help.')
@click.option('--debug', is_flag=True, help='Show the whole traceback of an error.')
@click.version_option(package_name='fna-mm')
def main(debug: bool) -> None:
    """FNA: adapt MobileNetV2's architecture and parameters to your detection or segmentation task."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


@main.command()
@click.argument('targets', nargs=-1, required=True, metavar='TARGET...', type=FILE)
@click.option('--shape', nargs=2, type=SIDE, metavar='H W', help='Input height and width in pixels. '
              "Defaults to the config's input_shape.")
@click.option('--output-stride', type=click.IntRange(1), help='Output stride of an architecture. Defaults to its own.')
@click.option('--format', 'style', type=click.Choice(['text', 'markdown', 'json']), help='Defaults to text.')
@click.option('--json', 'as_json', is_flag=True, help='The same as --format json.')
def complexity(targets: Sequence[str], shape: Optional[tuple[int, int]], output_stride: Optional[int],
               style: Optional[str],
               as_json: bool) -> None:
    """Count the parameters and multiply-adds of configs and architectures.

    A TARGET is an mm config, whose model and backbone are counted, or an architecture (a published
    name, an arch.json). The multiply-adds of convolutions and linear layers are counted, each once, for
    one image.

    \b
    Example:  fna complexity configs/fna_retinanet_retrain.py
              fna complexity fna_deeplabv3 --shape 1024 2048 --output-stride 16
    """
    if as_json and style not in (None, 'json'):
        raise click.UsageError(f'--json and --format {style} are two formats: give one')
    style = 'json' if as_json else style or 'text'
    from fna_mm.cost.complexity import complexity_table
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # mm warns when it builds models; nothing is trained here
        table = complexity_table(targets, shape or None, output_stride, style, progress)
    click.echo(table)


def _check_out(out: Optional[str], *inputs: str) -> None:
    """Check before any work that a file can be written without loss."""
    from fna_mm.checkpoints.whole_files import check_outputs
    check_outputs([] if out is None else [out], inputs)


def _write_text(text: str, out: Optional[str]) -> None:
    """Write a text to a file, or print it if no file is given."""
    if out is None:
        click.echo(text, nl=False)
        return
    from fna_mm.checkpoints.whole_files import put_whole
    put_whole({out: text.encode()})
    click.echo(f'written: {out}')


@main.group()
def arch() -> None:
    """Show architectures, export them from checkpoints, or draw them at random."""


@arch.command()
@click.argument('architecture', shell_complete=_architectures)
@_json
def show(architecture: str, as_json: bool) -> None:
    """Print an architecture as a table.

    ARCHITECTURE is a published name, an arch.json, the published text form, or a checkpoint of a search
    or of `fna convert`.

    \b
    Example:  fna arch show work_dirs/fna_retinanet_search/arch.json
              fna arch show fna_ssdlite --json
    """
    from fna_mm.checkpoints.searched import read_architecture
    found = read_architecture(architecture)
    click.echo(found.to_json() if as_json else f'{found}\n', nl=False)


@arch.command()
@click.argument('source', shell_complete=_architectures)
@click.argument('out', required=False, type=FILE)
def export(source: str, out: Optional[str]) -> None:
    """Write the arch.json of a checkpoint, or of anything else that `fna arch show` takes.

    Without OUT it is printed.

    \b
    Example:  fna arch export work_dirs/fna_retinanet_search/epoch_12.pth arch_12.json
    """
    from fna_mm.checkpoints.searched import read_architecture
    _check_out(out, source)
    _write_text(read_architecture(source).to_json(), out)


@arch.command()
@click.argument('config', type=FILE)
@click.argument('out', required=False, type=FILE)
@click.option('--like', required=True, metavar='ARCH', shell_complete=_architectures, help='The architecture whose '
              'MAdds are matched within 1 %: anything that `fna arch show` takes.')
@click.option('--seed', default=0, show_default=True, type=click.IntRange(0), help='Random seed: another seed draws '
              'another architecture.')
def random(config: str, out: Optional[str], like: str, seed: int) -> None:
    """Draw a random architecture that costs as much as another one.

    It is drawn from the search space of CONFIG, the config of a search, and MAdds are counted at that
    config's input_shape. A good search finds something better. Without OUT it is printed.

    \b
    Example:  fna arch random configs/bccd/fna_ssdlite_search.py random_0.json --like fna_ssdlite --seed 0
    """
    from fna_mm.checkpoints.searched import read_architecture
    from fna_mm.configs import read_search
    from fna_mm.cost.random_architecture import draw_architecture
    _check_out(out, config, like)
    search = read_search(config)
    drawn = draw_architecture(search.space, read_architecture(like), search.input_shape, search.output_stride, seed)
    _write_text(drawn.to_json(), out)


@main.command()
@click.argument('released', type=FILE)
@click.argument('out', type=FILE)
@click.option('--net-config', type=FILE, metavar='FILE', help='The net_config that came with the checkpoint. Strides '
              'are taken from it, and it is checked against the weights.')
def convert(released: str, out: str, net_config: Optional[str]) -> None:
    """Convert a checkpoint of the authors' release into an mm checkpoint for this package.

    RELEASED is the released seed, a detector or a segmentation network. Its architecture is read from
    the names and shapes of the tensors and written beside OUT, under OUT's name with .arch.json; a
    config takes that file as arch=.

    \b
    Example:  fna convert fna_retinanet.pth converted/fna_retinanet.pth --net-config net_config
    """
    from fna_mm.checkpoints.released import convert_file
    conversion, files = convert_file(released, out, net_config)
    click.echo(conversion.report())
    click.echo(f'written: {", ".join(files)}')


@main.command()
@click.argument('seed', type=FILE)
@click.argument('architecture', metavar='ARCH', shell_complete=_architectures)
@click.argument('out', metavar='OUT.pth', type=FILE)
@click.option('--width', default='first', show_default=True, help='How narrowed blocks choose channels: first, bn, '
              'std, l1.')
@click.option('--kernel', default='center', show_default=True, help='How kernels of another size are filled: center, '
              'dilate.')
@click.option('--report', type=FILE, metavar='FILE.json', help='Write a file that says where every tensor came from.')
@_json
def remap(seed: str, architecture: str, out: str, width: str, kernel: str, report: Optional[str],
          as_json: bool) -> None:
    """Remap a MobileNetV2 checkpoint onto an architecture, and write a checkpoint for load_from.

    SEED is a file, a URL or an open-mmlab:// name. ARCH is anything that `fna arch export` takes. A
    config whose backbone is an FNAChildNet of that architecture starts from the result with
    load_from = 'OUT.pth', or with the backbone's
    init_cfg=dict(type='Pretrained', checkpoint='OUT.pth', prefix='backbone.').

    \b
    Example:  fna remap mobilenet_v2.pth fna_retinanet remapped.pth --report remapped.json
    """
    from fna_mm.checkpoints.remapped import write_remapped_checkpoint
    table, tensors = write_remapped_checkpoint(seed, architecture, out, width, kernel, report)
    if as_json:
        click.echo(tensors, nl=False)
        return
    click.echo(table)
    click.echo(f'written: {out}')


@main.command()
@click.argument('search', metavar='SEARCH.pth', type=FILE)
@click.argument('out', metavar='OUT.pth', type=FILE)
def child(search: str, out: str) -> None:
    """Write the child of a search with the weights that the search gave it, for load_from.

    SEARCH.pth is a checkpoint of the search. The paper remaps the child from the seed again, which a search's
    child_config.py does; a search that began at a trained model (fna adapt --prepare-search) has better weights
    itself. Measure BN statistics before the child is used: BNCalibrationHook, or a fine-tuning, does it.

    \b
    Example:  fna child work_dirs/my_search/epoch_12.pth child.pth
              mim train mmdet work_dirs/my_search/child_config.py --cfg-options load_from=child.pth
    """
    from fna_mm.checkpoints.search_child import write_search_child
    click.echo(f'{write_search_child(search, out)}\nwritten: {out}')


@main.command()
@click.argument('config', type=FILE)
@click.argument('out', metavar='OUT.py', type=FILE)
@click.option('--swap', is_flag=True, help='Write the same model with MobileNetV2 as its backbone, the baseline, '
              'instead of a search. CONFIG may have any backbone then.')
@click.option('--seed', 'seed', metavar='CHECKPOINT', help='Path or URL of the MobileNetV2 that training starts from. '
              "Defaults to CONFIG's own, or open-mmlab://mmdet/mobilenet_v2.")
@click.option('--shape', nargs=2, type=SIDE, metavar='H W', help='Height and width at which MAdds are counted. '
              'Defaults to the size to which the test pipeline resizes.')
@click.option('--budget', default='0.8', show_default=True, help="What the child's backbone may cost: a share of "
              "MobileNetV2's multiply-adds, or a number such as 250M.")
@click.option('--no-trial', is_flag=True, help='Do not make a step on two images before OUT.py is written.')
def search_config(config: str, out: str, swap: bool, seed: Optional[str], shape: Optional[tuple[int, int]],
                  budget: str, no_trial: bool) -> None:
    """Write the config of a search from a config of yours.

    CONFIG is any mmdet or mmseg config with MobileNetV2, ResNet or an FNAChildNet. OUT.py inherits from it, and says
    why of every line that it adds. Before it is written, everything is built, and one step of each kind is
    made on two images. For other backbones, --swap first writes the baseline with MobileNetV2: what maps
    neck or head need is asked of CONFIG's own backbone.

    \b
    Example:  fna search-config my_resnet.py my_mobilenet.py --swap
              fna search-config my_mobilenet.py my_search.py --budget 0.7
    """
    from fna_mm.user_config.flow import search_config as make_search
    from fna_mm.user_config.flow import swap_config
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # mm warns when it builds models
        if swap:
            text = swap_config(config, out, seed, not no_trial)
        else:
            text = make_search(config, out, seed, shape or None, budget, not no_trial)
    click.echo(f'{text}\nwritten: {out}')


@main.command()
@click.argument('config', type=FILE)
@click.option('--out', required=True, type=FILE, metavar='TABLE.json', help='The table.')
@click.option('--runtime', default='onnxruntime', show_default=True, help='What runs the blocks: onnxruntime or torch.')
@click.option('--threads', default=1, show_default=True, help='Threads of one operator.')
@click.option('--device', default='cpu', show_default=True, help='cpu, or cuda with --runtime torch.')
@click.option('--shape', nargs=2, type=SIDE, metavar='H W', help='Height and width of an image. Defaults to the size '
              'to which the test pipeline resizes.')
@click.option('--rounds', default=20, show_default=True, help='Rounds of measurements; the table has their medians.')
def latency(config: str, out: str, runtime: str, threads: int, device: str, shape: Optional[tuple[int, int]],
            rounds: int) -> None:
    """Measure milliseconds of every block that may be chosen, on this machine.

    CONFIG is the config of a search, or one whose backbone is MobileNetV2, ResNet or an FNAChildNet. The table is for
    fna adapt --by latency --table TABLE.json, and for cost=dict(type='TableCost', table='TABLE.json') in a
    search. A table of another device, made there in the same format, works the same (docs/latency.md).

    \b
    Example:  fna latency my_config.py --threads 1 --out my_device.json
              fna adapt my_config.py epoch_24.pth --by latency --table my_device.json --budget 12ms
    """
    from fna_mm.latency.flow import measure_latency
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # mm warns when it builds models
        table = measure_latency(config, out, runtime, threads, device, shape or None, rounds, bar)
    made = table.made or {}
    click.echo(f'{made["device"]}, {runtime}, {threads} thread(s): the backbone takes {made["backbone"]:.2f} ms'
               + ('' if table.rest is None else f', neck and head {table.rest:.2f} ms')
               + f'; sums of blocks are {made["error"]:.1%} from the times of {made["networks"]} whole backbones')
    click.echo(f'written: {out}')


@main.command()
@click.argument('config', type=FILE)
@click.argument('checkpoint', type=FILE)
@click.option('--budget', 'budgets', multiple=True, default=('0.5', ), show_default=True, metavar='SHARE',
              help='What a child may cost: a share such as 0.5, or a number such as 250M. Repeat it for several.')
@click.option('--of', default='backbone', show_default=True, help='What budgets are meant for: backbone, or model: '
              'then neck and head become narrower, too.')
@click.option('--narrow/--no-narrow', default=True, show_default=True, help='Let the config of neck and head change: '
              'for --of model, and for SSD, whose head may read fewer channels.')
@click.option('--cost', '--by', 'cost', default='madds', show_default=True, help='What budgets are meant in, and '
              'what is chosen by: madds, params, or latency with a --table.')
@click.option('--table', type=FILE, metavar='TABLE.json', help='Milliseconds of blocks on your device, which `fna '
              'latency` writes. Budgets are shares, or such as 12ms.')
@click.option('--work-dir', type=FILE, help='Folder of all files. Defaults to work_dirs/<name of CONFIG>_adapted.')
@click.option('--shape', nargs=2, type=SIDE, metavar='H W', help='Height and width at which MAdds are counted. '
              'Defaults to those of the first measured image.')
@click.option('--min-width', default=.1, show_default=True, help='Smallest width of a block, as a share of its own.')
@click.option('--min-depth', default=1, show_default=True, help='Layers that every stage keeps at least.')
@click.option('--statistics-images', type=int, help='Training images for statistics. Defaults to 256, at most 60 % of '
              'the data.')
@click.option('--score-images', type=int, help='Training images for scores at most. Defaults to 128 of the others.')
@click.option('--tolerance', default=.25, show_default=True, help='Images are added until the standard error of every '
              "child's predicted growth of the loss is at most this share of it, or 2 % of the loss.")
@click.option('--schedule', default=.2, show_default=True, help="Length of the fine-tuning, as a share of CONFIG's.")
@click.option('--rate', default=.5, show_default=True, help="Learning rate of the fine-tuning, as a share of CONFIG's.")
@click.option('--distill', default=1., show_default=True, help='Factor of the loss that holds a child near the trained '
              "model while it is fine-tuned: the outputs of a detector's dense head, or the maps of another model's "
              'backbone; 0 leaves it out.')
@click.option('--seed', default=0, show_default=True, help='Random seed of the order of images.')
@click.option('--evaluate', is_flag=True, help='Evaluate the trained model and every child on the validation data.')
@click.option('--grow', is_flag=True, help='Let layers also grow: larger kernels, more hidden channels, more layers. '
              'What is new in them is trained for a while first. Budgets above 1 need it and switch it on.')
@click.option('--rehearsal', default=500, show_default=True, help='Weight steps of that training.')
@click.option('--prepare-search', 'search', type=FILE, metavar='SEARCH.py', help='Make no child, but a checkpoint from '
              'which the gradient search of this config starts: every candidate fitted to the trained model.')
def adapt(config: str, checkpoint: str, budgets: Sequence[str], work_dir: Optional[str],
          shape: Optional[tuple[int, int]], min_width: float, min_depth: int, grow: bool, rehearsal: int,
          search: Optional[str], **options: Any) -> None:
    """Make a trained model cheaper, and keep what it knows.

    CONFIG is an mmdet or mmseg config whose backbone is mm's MobileNetV2 or ResNet or an FNAChildNet, CHECKPOINT the
    trained model. For every budget, hidden channels and layers that the model's loss needs least are removed
    from the backbone, and the rest is fitted to make up for them, without training. Each child is a
    checkpoint and a config: mim test evaluates it as it is, mim train fine-tunes it. Stopped, the same
    command goes on. Under torchrun, processes share the images.

    \b
    Example:  fna adapt my_config.py epoch_24.pth --budget 0.5 --budget 0.35 --evaluate
    """
    from fna_mm.adaptation import AdaptOptions, Growing, Limits, needs_growing, prepare_search
    from fna_mm.adaptation import adapt as run
    from fna_mm.adaptation.processes import join_processes
    from fna_mm.report.run import main_metric
    settings = AdaptOptions(shape=shape or None, limits=Limits(min_width, min_depth), **options)
    if grow or needs_growing(budgets, settings.prices.unit):
        settings = replace(settings, grow=Growing(steps=rehearsal))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # mm warns when it builds models
        with join_processes() as first:
            shown = bar if first else None
            if search is not None:
                path = prepare_search(config, checkpoint, search, work_dir, settings, shown)
                children = []
            else:
                children = run(config, checkpoint, budgets, work_dir, settings, shown)
    if search is not None and first:
        click.echo(f'written: {path}; the search starts from it with --cfg-options load_from={path}')
    for child in children if first else ():
        metric = main_metric(child.metrics)
        of_model = '' if child.share_of_model is None else f', {child.share_of_model:.3f} of the model'
        click.echo(f'budget {child.budget}: {child.share:.3f} of the backbone{of_model}; loss {child.measured:+.4f} '
                   f'(predicted {child.predicted:+.4f})'
                   + (f'; {metric} {child.metrics[metric]:.4g}' if metric else ''))
        click.echo(f'  written: {child.folder}')


@main.command('export')
@click.argument('config', type=FILE)
@click.argument('checkpoint', type=FILE)
@click.argument('out', type=FILE)
@click.option('--shape', nargs=2, type=SIDE, metavar='H W', help='Height and width of an image. Defaults to those of '
              'the test pipeline.')
@click.option('--dynamic', is_flag=True, help='Let the file take any height and width.')
@click.option('--opset', default=17, show_default=True, help="Version of ONNX's operators.")
@click.option('--threads', default=1, show_default=True, help='Threads of the time measurement.')
def export_file(config: str, checkpoint: str, out: str, shape: Optional[tuple[int, int]], dynamic: bool, opset: int,
                threads: int) -> None:
    """Write the network of a trained model as an ONNX file.

    The file is compared with PyTorch in ONNX Runtime before it is written. It takes a normalised image, and
    gives what the head gives, without post-processing: docs/export.md shows how that becomes boxes. Needs
    pip install "fna-mm[onnx]".

    \b
    Example:  fna export child_config.py child.pth child.onnx
    """
    from fna_mm.export import export_onnx
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # mm warns when it builds models
        made = export_onnx(config, checkpoint, out, shape or None, dynamic, opset, threads)
    seed = '' if made.seed_milliseconds is None else f'; with the seed as backbone {made.seed_milliseconds:.1f} ms'
    click.echo(f'{made.milliseconds:.1f} ms at {made.shape[0]}x{made.shape[1]} on {threads} thread'
               f'{"s" if threads > 1 else ""} of this CPU in ONNX Runtime{seed}; at most {made.difference:.1g} from '
               'PyTorch')
    for name, size in made.outputs.items():
        click.echo(f'  {name} {"x".join(map(str, size))}')
    click.echo(f'written: {out}')


@main.command()
@click.argument('arguments', nargs=-1, type=FILE, metavar='[CONFIG_A CKPT_A CONFIG_B CKPT_B] [IMAGES]...')
@click.option('--model', 'models', nargs=3, multiple=True, type=FILE, metavar='NAME CONFIG CHECKPOINT', help='Title, '
              'config and checkpoint of one trained model, instead of the first four arguments. Repeat it for every '
              'model.')
@click.option('--images', 'num_images', type=click.IntRange(1), help='How many images of the test set are drawn when '
              'no IMAGES are given. Defaults to 4.')
@click.option('--score-thr', default=.4, show_default=True, type=click.FloatRange(0, 1), help='Detections with '
              'a lower score are not drawn.')
@click.option('--out', default='comparison.png', show_default=True, type=FILE, help='Where the picture goes: png, jpg, '
              'svg or pdf.')
def compare(arguments: Sequence[str], models: Sequence[tuple[str, str, str]], num_images: Optional[int],
            score_thr: float, out: str) -> None:
    """Draw the predictions of trained models on the same images, side by side.

    The models are detectors or segmentation networks; the picture has one row for each image. IMAGES are
    files or folders. Without IMAGES, images of the models' test set are drawn, with the truth beside them.

    \b
    Example:  fna compare seed.py seed.pth child_config.py child.pth photo.jpg more_photos/
              fna compare --model MobileNetV2 seed.py seed.pth --model child child_config.py child.pth
    """
    if not models and len(arguments) < 4:
        raise click.UsageError('give CONFIG_A CKPT_A CONFIG_B CKPT_B, or --model NAME CONFIG CHECKPOINT')
    images = arguments if models else arguments[4:]
    if images and num_images:
        raise click.UsageError('--images counts images of the test set: give either --images or IMAGES, not both')
    from fna_mm.report.comparison import (
        comparison_figure,
        find_images,
        name_models,
        picture_format,
        trained_models,
        write_picture,
    )
    picture_format(out)  # a wrong suffix is an error before any model runs
    named = models or name_models([(arguments[0], arguments[1]), (arguments[2], arguments[3])])
    paths = find_images(images)
    _check_out(out, *paths, *(path for _, *files in named for path in files))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # mm warns when it builds models
        figure = comparison_figure(trained_models(named), num_images or 4, score_thr, paths, progress)
    write_picture(figure, out)
    click.echo(f'written: {out}')


@main.command()
@click.argument('work_dirs', nargs=-1, required=True, metavar='WORK_DIR...')
@click.option('--out', metavar='DIR', help='Where index.html and the figures go. Defaults to fna_report in the first '
              'WORK_DIR.')
@click.option('--metric', help="Metric that is compared. Defaults to the task's usual one, such as coco/bbox_mAP or "
              'mIoU.')
def report(work_dirs: Sequence[str], out: Optional[str], metric: Optional[str]) -> None:
    """Make one HTML page about a search and the trainings after it.

    A WORK_DIR is the work directory of a search or of a training, or a folder that holds several of them.
    Each run's role is read from its config, and the runs are compared side by side.

    \b
    Example:  fna report work_dirs/fna_retinanet_search work_dirs/mobilenet_v2_retinanet --out report
    """
    from fna_mm.report import make_report
    click.echo(f'written: {make_report(work_dirs, out, metric, progress)}')


@main.command()
@click.option('--work-dir', default='work_dirs/fna_demo', show_default=True, type=FILE, help='Work directory: all '
              'files of the demo are written there.')
@click.option('--seed', default=0, show_default=True, help="Random seed of the images' order and of the trainings.")
def demo(work_dir: str, seed: int) -> None:
    """Adapt a trained detector of blood cells, in minutes on two CPU cores, without any download.

    Detector and photographs come with the package. The demo adapts it to two budgets, fine-tunes the
    smaller child, searches from it by gradient, measures milliseconds, and draws what all of them detect.

    \b
    Example:  fna demo --work-dir work_dirs/fna_demo
    """
    from fna_mm.demo.flow import run_demo
    run_demo(work_dir, seed)


@main.command()
@click.argument('name', required=False, shell_complete=_configs)
@_json
def configs(name: Optional[str], as_json: bool) -> None:
    """List the configs that came with this package, or print the path of one.

    \b
    Example:  fna configs
              mim train mmdet "$(fna configs bccd/fna_retinanet_search.py)"
    """
    from fna_mm.configs import config_names, config_path
    if name is not None:
        click.echo(json.dumps(config_path(name)) if as_json else config_path(name))
    else:
        click.echo(json.dumps(config_names(), indent=2) if as_json else '\n'.join(config_names()))


@main.command()
@click.argument('shell', type=click.Choice(['bash', 'zsh', 'fish']))
def completion(shell: str) -> None:
    """Print a script for tab completion of commands, options, files and published architectures.

    \b
    Example:  fna completion bash >> ~/.bashrc
              fna completion zsh >> ~/.zshrc
              fna completion fish > ~/.config/fish/completions/fna.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(main, {}, 'fna', '_FNA_COMPLETE').source())
