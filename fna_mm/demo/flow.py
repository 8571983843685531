"""The demo: a trained detector of blood cells is adapted to budgets, fine-tuned, searched from, timed and drawn."""

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Optional

import click
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner, find_latest_checkpoint
from tabulate import tabulate

from fna_mm.adaptation import AdaptedChild, AdaptOptions, adapt, prepare_search
from fna_mm.architecture import Architecture
from fna_mm.checkpoints.search_child import write_search_child
from fna_mm.configs import configs_dir, package_of
from fna_mm.export import export_onnx
from fna_mm.report import make_report
from fna_mm.report.canvas import to_png
from fna_mm.report.comparison import samples_figure

#: Photographs of blood cells and a detector that was trained on them, which come with the package.
CELLS = Path(__file__).resolve().parent / 'cells'
BUDGETS = ('0.5', '0.35')
#: Fewer than by default, for the sake of time.
_SCORE_IMAGES = 24
#: Length of the fine-tuning as a share of the training's.
_SCHEDULE = .125
#: Seconds between two progress lines.
_LINE_EVERY = 5.
_SHOWN_IMAGES = 5
#: Cells lie on each other: below this score, boxes of one cell are drawn twice.
_LEAST_SCORE = .5
_COLOURS = [(220, 20, 60), (40, 70, 220), (0, 140, 70)]
_METRIC, _METRIC_50 = 'coco/bbox_mAP', 'coco/bbox_mAP_50'


@dataclass(frozen=True)
class Shown:
    """A detector in the table.

    Args:
        name (str): What it is.
        share (float): Multiply-adds of its backbone, as a share of the trained one's.
        metrics (dict[str, float]): Metrics of mm's evaluator on the test images.
        milliseconds (float): Time of one image in ONNX Runtime.
        minutes (float, optional): Minutes until it was there; None for the trained one.
    """

    name: str
    share: float
    metrics: dict[str, float]
    milliseconds: float
    minutes: Optional[float]


class _Clock:
    """Says when the next progress line is due."""

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()

    def left(self, done: int, steps: int) -> Optional[float]:
        """The seconds that the steps that are left will take, if a line is due; None if not.

        Args:
            done (int): Steps that are done, at least one.
            steps (int): Steps in all.
        """
        now = time.monotonic()
        if now - self._last < _LINE_EVERY:
            return None
        self._last = now
        return (now - self._start) / done * (steps - done)


class _Progress(Hook):
    """Prints the progress of a training every few seconds, and keeps the samples of the first test images."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.samples: list[Any] = []

    def before_train(self, runner: Any) -> None:
        self._clock = _Clock()

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None,
                         outputs: Optional[dict] = None) -> None:
        done = runner.iter + 1
        left = 0. if done == runner.max_iters else self._clock.left(done, runner.max_iters)
        if left is None:
            return
        scalars = runner.message_hub.log_scalars
        values = [f'{label} {scalars[key].mean(10):.3f}' for label, key in (
            ('loss', 'train/loss'), ('loss of the mixture', 'train/arch_loss'),
            ('expected GMAdds', 'train/expected_gmadds')) if key in scalars]
        _say(f'   epoch {runner.epoch + 1:2}/{runner.max_epochs}  {100 * done // runner.max_iters:3} %  '
             f'{", ".join(values)}  (about {left:.0f} s left)')

    def after_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None,
                        outputs: Optional[Sequence] = None) -> None:
        self.samples += list(outputs or [])[:_SHOWN_IMAGES - len(self.samples)]


class _Parts:
    """Says every few seconds how far a part of the adaptation is."""

    def __init__(self, label: str, steps: int) -> None:
        self._label, self._steps, self._done, self._clock = label, steps, 0, _Clock()

    def update(self, steps: int) -> None:
        """Go on by some steps."""
        self._done += steps
        left = self._clock.left(self._done, self._steps) if self._done else None
        if left is not None:
            _say(f'   {self._label:12} {100 * self._done // self._steps:3} %  (about {left:.0f} s left)')


@contextmanager
def _progress(label: str, steps: int) -> Iterator[_Parts]:
    yield _Parts(label, steps)


def _say(text: str) -> None:
    """Print to the user's screen, also while mm's own output goes to a file."""
    click.echo(text, file=sys.__stdout__)


def _runner(cfg: Config, work_dir: Path, seed: int) -> tuple[Runner, _Progress]:
    cfg.work_dir = str(work_dir)
    cfg.visualizer.name = f'fna_demo_{work_dir.name}'  # with one name, all runs log into the first one's folder
    cfg.randomness = dict(seed=seed)
    progress = _Progress()
    runner = Runner.from_cfg(cfg)
    runner.register_hook(progress)
    return runner, progress


def _train(cfg: Config, work_dir: Path, seed: int, test: bool = True) -> tuple[dict[str, float], _Progress, float]:
    """Train a config; return the metrics on the test images, the progress hook, and the minutes of the training."""
    runner, progress = _runner(cfg, work_dir, seed)
    start = time.monotonic()
    runner.train()
    minutes = (time.monotonic() - start) / 60
    return (runner.test() if test else {}), progress, minutes


def _samples(config: Path, checkpoint: Path) -> tuple[Any, ...]:
    """The first test images with a model's predictions."""
    cfg = Config.fromfile(str(config))
    cfg.load_from, cfg.model.backbone.init_cfg = str(checkpoint), None
    cfg.test_dataloader.dataset.indices = _SHOWN_IMAGES
    with TemporaryDirectory() as folder:
        cfg.test_evaluator = dict(type='DumpResults', out_file_path=os.path.join(folder, 'shown.pkl'))
        runner, progress = _runner(cfg, Path(folder), 0)
        runner.test()
    return tuple(progress.samples)


def _check_folder(root: Path) -> None:
    """Check that the folder is empty or holds an earlier demo."""
    if root.exists() and any(root.iterdir()) and not (root / 'console.log').is_file():
        raise FileExistsError(f'{root} is not empty and holds no earlier demo: give another --work-dir')


def run_demo(work_dir: str, seed: int = 0) -> None:
    """Adapt a trained detector to two budgets, fine-tune, search from it, time and draw everything; print a table.

    The files of an earlier demo in the folder are replaced, but what it measured is used again.

    Args:
        work_dir (str): Work directory: all files of the demo are written there.
        seed (int): Random seed of the images' order and of every training. Defaults to 0.

    Raises:
        FileExistsError: If ``work_dir`` is not empty and holds no earlier demo.
        ImportError: If mmdet, onnx or onnxruntime is not installed.
    """
    try:
        import mmdet  # noqa: F401
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ImportError("the demo needs MMDetection and ONNX Runtime: pip install 'fna-mm[det,onnx]'") from error
    root = Path(work_dir)
    _check_folder(root)
    root.mkdir(parents=True, exist_ok=True)
    # One file for everything: mm's loggers keep writing to the stream that they were made with.
    with (root / 'console.log').open('w', buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
        _run(root, configs_dir() / 'demo', seed)


def _run(root: Path, configs: Path, seed: int) -> None:
    start = time.monotonic()
    checkpoint = CELLS / 'retinanet.pth'
    # The configs read them.
    os.environ.update(FNA_DEMO_CELLS=str(CELLS), FNA_DEMO_FOUND=str((root / 'search/child.pth').resolve()))
    config = configs / 'mobilenet_v2_cells.py'
    options = AdaptOptions(schedule=_SCHEDULE, seed=seed, score_images=_SCORE_IMAGES, evaluate=True)
    _say('== A trained detector: RetinaNet with MobileNetV2, photographs of blood cells\n'
         f'== fna adapt mobilenet_v2_cells.py retinanet.pth --budget {" --budget ".join(BUDGETS)} --evaluate')
    children = adapt(str(config), str(checkpoint), BUDGETS, str(root / 'adapted'), options, _progress)
    adapted = (time.monotonic() - start) / 60
    values = _front(root)
    least = Path(children[-1].folder)
    _say(f'\n== Fine-tuning the child of {children[-1].share:.0%}')
    tuned, tuned_progress, tuning = _train(Config.fromfile(str(least / 'child_config.py')), least / 'fine_tuning', seed)

    _say('\n== A gradient search for half of the cost, which starts from the trained detector')
    begun = time.monotonic()
    prepared = prepare_search(str(config), str(checkpoint), str(configs / 'cells_search.py'), str(root / 'adapted'),
                              options, _progress)
    searching = Config.fromfile(str(configs / 'cells_search.py'))
    searching.load_from = prepared
    _train(searching, root / 'search', seed, test=False)
    found = Architecture.create(str(root / 'search/arch.json'))
    write_search_child(find_latest_checkpoint(str(root / 'search')), str(root / 'search/child.pth'))
    _say('   found, and fine-tuned now:\n   ' + str(found).replace('\n', '\n   '))
    searched, _, _ = _train(Config.fromfile(str(root / 'search/child_config.py')), root / 'search/child', seed)
    search_minutes = (time.monotonic() - begun) / 60

    _say('\n== Milliseconds in ONNX Runtime, one thread')
    folders = [Path(child.folder) for child in children]
    times = [_milliseconds(folder / 'child_config.py', folder / 'child.pth') for folder in folders]
    search_time, _ = _milliseconds(root / 'search/child_config.py',
                                   Path(find_latest_checkpoint(str(root / 'search/child'))))
    madds = [architecture.madds(tuple(values['input_shape'])) for architecture in (
        found, Architecture.create(values['trained']['arch']))]
    rows = [Shown('trained detector', 1., values['trained']['metrics'], times[0][1], None)]
    rows += [Shown(f'adapted to {float(child.budget):.0%}', child.share, child.metrics, time_of, adapted)
             for child, (time_of, _) in zip(children, times)]
    rows += [Shown(f'{rows[-1].name}, fine-tuned', children[-1].share, tuned, times[-1][0], adapted + tuning),
             Shown('gradient search, fine-tuned', madds[0] / madds[1], searched, search_time, search_minutes)]
    table = table_of(rows)
    (root / 'table.txt').write_text(table + '\n')
    _draw(root, config, checkpoint, children, tuned_progress.samples)
    page = make_report([str(root)])
    _say(f'\n{table}\n\n{answer(rows[0], rows[1])}\n{answer(rows[0], rows[-2])}\n\n'
         f'{root}/detections.png                 the truth, the trained detector and its children\n'
         f'{root}/adapted/report/front.png       what every budget costs, and keeps\n'
         f'{root}/adapted/report/index.html      what was removed where, and why\n'
         f'{least}/child_config.py   trains on: mim train {package_of("mmdet")} {least}/child_config.py\n'
         f'{root}/console.log                    what mm printed\n\n'
         f'{(time.monotonic() - start) / 60:.1f} minutes in all. The report of the trainings:\n{page}')


def _front(root: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((root / 'adapted/front.json').read_text())
    return values


def _milliseconds(config: Path, checkpoint: Path) -> tuple[float, float]:
    """Milliseconds of a child, and of MobileNetV2 in its place."""
    exported = export_onnx(str(config), str(checkpoint), str(config.parent / 'child.onnx'))
    assert exported.seed_milliseconds is not None
    return exported.milliseconds, exported.seed_milliseconds


def _draw(root: Path, config: Path, checkpoint: Path, children: Sequence[AdaptedChild], tuned: Sequence[Any]) -> None:
    """Draw the detections of the trained detector, of its children, and of the one that was fine-tuned."""
    samples = {'trained detector': _samples(config, checkpoint)}
    for child in children:
        folder = Path(child.folder)
        samples[f'adapted to {float(child.budget):.0%}'] = _samples(
            folder / 'child_config.py', folder / 'child.pth')
    samples[f'adapted to {float(children[-1].budget):.0%}, fine-tuned'] = tuple(tuned)
    cfg = Config.fromfile(str(config))
    figure = samples_figure(samples, cfg, dict(classes=cfg.classes, palette=_COLOURS), _LEAST_SCORE)
    (root / 'detections.png').write_bytes(to_png(figure))


def table_of(rows: Sequence[Shown]) -> str:
    """The table of all detectors.

    Args:
        rows (Sequence[Shown]): The detectors, the trained one first.
    """
    cells = [(row.name, f'{row.share:.0%}', f'{100 * row.metrics[_METRIC]:.1f}', f'{100 * row.metrics[_METRIC_50]:.1f}',
              f'{row.milliseconds:.1f}', '-' if row.minutes is None else f'{row.minutes:.1f}') for row in rows]
    headers = ('detector', "backbone's\nMAdds", 'mAP', 'mAP50', 'ms', 'minutes')
    return tabulate(cells, headers, disable_numparse=True, colalign=('left', *('right', ) * 5))


def answer(trained: Shown, child: Shown) -> str:
    """What a child keeps, and what it saves, in a sentence.

    Args:
        trained (Shown): The trained detector.
        child (Shown): The child.
    """
    points = 100 * (child.metrics[_METRIC] - trained.metrics[_METRIC])
    kept = (f'{-points:.1f} points of mAP less than the trained detector' if points <= -.05 else
            f'{points:.1f} points of mAP more than the trained detector' if points >= .05 else
            "the trained detector's mAP")
    return f'{child.name}: {kept}, in {child.milliseconds / trained.milliseconds:.0%} of its time.'
