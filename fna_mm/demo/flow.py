"""The demo: the whole flow on drawn images, from training a seed to a table of results."""

import os
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import click
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from tabulate import tabulate

from fna_mm.architecture import Architecture
from fna_mm.configs import configs_dir, package_of
from fna_mm.cost.complexity import Complexity, count_config
from fna_mm.demo.shapes import draw_shapes
from fna_mm.report import make_report
from fna_mm.report.canvas import to_png
from fna_mm.report.comparison import samples_figure

NUM_IMAGES = dict(train=400, val=50, test=200)
#: Seconds between two progress lines.
_LINE_EVERY = 5.
_SHOWN_IMAGES = 6


@dataclass(frozen=True)
class Trained:
    """A detector that was trained and tested.

    Args:
        name (str): Name of the detector in the table.
        minutes (float): Wall-clock time of the training, in minutes.
        complexity (Complexity): Parameters and multiply-adds of the whole detector.
        metrics (dict[str, float]): Metrics of mm's evaluator on the test split.
        samples (tuple): Data samples of the first test images, with truth and predictions.
    """

    name: str
    minutes: float
    complexity: Complexity
    metrics: dict[str, float]
    samples: tuple[Any, ...]


class _Progress(Hook):
    """Prints the progress of a training every few seconds, and keeps the samples of the first test images."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.samples: list[Any] = []
        self._start = self._last = time.monotonic()

    def before_train(self, runner: Any) -> None:
        self._start = self._last = time.monotonic()

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None,
                         outputs: Optional[dict] = None) -> None:
        now, done = time.monotonic(), runner.iter + 1
        if now - self._last < _LINE_EVERY and done < runner.max_iters:
            return
        self._last = now
        scalars = runner.message_hub.log_scalars
        values = [f'{label} {scalars[key].mean(10):.3f}' for label, key in (
            ('loss', 'train/loss'), ('loss of the mixture', 'train/arch_loss'),
            ('expected GMAdds', 'train/expected_gmadds')) if key in scalars]
        left = (now - self._start) / done * (runner.max_iters - done)
        _say(f'   epoch {runner.epoch + 1:2}/{runner.max_epochs}  {100 * done // runner.max_iters:3} %  '
             f'{", ".join(values)}  (about {left:.0f} s left)')

    def after_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None,
                        outputs: Optional[Sequence] = None) -> None:
        self.samples += list(outputs or [])[:_SHOWN_IMAGES - len(self.samples)]


def _say(text: str) -> None:
    """Print to the user's screen, also while mm's own output goes to a file."""
    click.echo(text, file=sys.__stdout__)


def _train(cfg: Config, work_dir: Path, seed: int) -> tuple[Runner, _Progress, float]:
    """Train a config from its start; return the runner, the progress hook and the minutes."""
    cfg.work_dir = str(work_dir)
    cfg.visualizer.name = f'fna_demo_{work_dir.name}'  # with one name, all trainings log into the first one's folder
    cfg.randomness = dict(seed=seed)
    progress = _Progress()
    runner = Runner.from_cfg(cfg)
    runner.register_hook(progress)
    start = time.monotonic()
    runner.train()
    return runner, progress, (time.monotonic() - start) / 60


def _train_and_test(name: str, cfg: Config, work_dir: Path, seed: int) -> Trained:
    _say(f'\n== {name}')
    complexity, _ = count_config(cfg, _image_size(cfg))
    runner, progress, minutes = _train(cfg, work_dir, seed)
    metrics = runner.test()
    _say(f'   test split: mAP {metrics["coco/bbox_mAP"]:.3f}, mAP50 {metrics["coco/bbox_mAP_50"]:.3f}')
    return Trained(name, minutes, complexity, metrics, tuple(progress.samples))


def _image_size(cfg: Config) -> tuple[int, int]:
    width, height = cfg.image_scale
    return height, width


def _load(path: Path, **environment: str) -> Config:
    """Load a config of the demo. It reads its paths from environment variables."""
    os.environ.update(environment)
    return Config.fromfile(str(path))


def _table(trained: Sequence[Trained], search_minutes: float) -> str:
    rows = []
    for one in trained:
        rows.append((one.name, f'{one.complexity.params / 1e6:.3f}', f'{one.complexity.madds / 1e9:.4f}',
                     f'{100 * one.metrics["coco/bbox_mAP"]:.1f}', f'{100 * one.metrics["coco/bbox_mAP_50"]:.1f}',
                     f'{search_minutes:.1f}' if one is trained[-1] else '-', f'{one.minutes:.1f}'))
    headers = ('detector', 'params\n(M)', 'MAdds\n(G)', 'mAP', 'mAP50', 'search\n(min)', 'training\n(min)')
    return tabulate(rows, headers, disable_numparse=True, colalign=('left', ) + ('right', ) * 6)


def _check_folder(root: Path) -> None:
    """Check that the folder is empty or holds an earlier demo."""
    if root.exists() and any(root.iterdir()) and not (root / 'shapes').is_dir():
        raise FileExistsError(f'{root} is not empty and holds no earlier demo: give another --work-dir')


def run_demo(work_dir: str, seed: int = 0) -> None:
    """Draw data, train a seed detector, search, remap, fine-tune, evaluate; print a table.

    The files of an earlier demo in the folder are replaced, but its drawn images are used again.

    Args:
        work_dir (str): Work directory: all files of the demo are written there.
        seed (int): Random seed of the data and of every training. Defaults to 0.

    Raises:
        FileExistsError: If ``work_dir`` is not empty and holds no earlier demo.
        ImportError: If mmdet is not installed.
    """
    try:
        import mmdet  # noqa: F401
    except ImportError as error:
        raise ImportError("the demo needs MMDetection: pip install 'fna-mm[det]'") from error
    root = Path(work_dir)
    _check_folder(root)
    root.mkdir(parents=True, exist_ok=True)
    # One file for all trainings: mm's loggers keep writing to the stream that they were made with.
    with (root / 'console.log').open('w', buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
        _run(root, configs_dir() / 'demo', seed)


def _run(root: Path, configs: Path, seed: int) -> None:
    start = time.monotonic()
    _say(f'== Drawing {NUM_IMAGES} images of shapes into {root / "shapes"}')
    draw_shapes(root / 'shapes', NUM_IMAGES, seed=seed)

    data = dict(FNA_DEMO_DATA=str(root / 'shapes'))
    cfg = _load(configs / 'mobilenet_v2.py', **data)
    checkpoint = root / 'seed' / f'epoch_{cfg.train_cfg.max_epochs}.pth'
    trained = [_train_and_test('seed: MobileNetV2, random start', cfg, root / 'seed', seed)]

    data['FNA_DEMO_SEED'] = str(checkpoint)
    _say('\n== Search: weight steps on sampled paths, then architecture steps on the mixture')
    _, _, search_minutes = _train(_load(configs / 'search.py', **data), root / 'search', seed)
    found = Architecture.create(str(root / 'search' / 'arch.json'))
    _say('   found:\n   ' + str(found).replace('\n', '\n   '))

    baseline = _load(configs / 'retrain.py', **data)
    baseline.model.backbone.arch = 'mobilenet_v2'
    child = Config.fromfile(str(root / 'search' / 'child_config.py'))
    trained.append(_train_and_test('MobileNetV2, remapped, fine-tuned', baseline, root / 'mobilenet_v2', seed))
    trained.append(_train_and_test('child, remapped, fine-tuned', child, root / 'child', seed))

    figure = samples_figure({one.name: one.samples for one in trained}, cfg, cfg.metainfo)
    (root / 'detections.png').write_bytes(to_png(figure))
    table = _table(trained, search_minutes)
    (root / 'table.txt').write_text(table + '\n')
    page = make_report([str(root)])
    _say(f'\n{table}\n\n'
         f'{root}/detections.png               the truth, and the detections of all three\n'
         f'{root}/search/architecture.png      the architecture that was found, and the seed\n'
         f'{root}/search/probabilities.png     the probability of every candidate\n'
         f'{root}/search/arch.json             the architecture; fna arch show prints it\n'
         f'{root}/search/child_config.py       trains it: '
         f'mim train {package_of("mmdet")} {root}/search/child_config.py\n'
         f'{root}/console.log                  what mm printed\n\n'
         f'{(time.monotonic() - start) / 60:.1f} minutes in all. Is it better, what did it cost, what now? Open\n'
         f'{page}')
