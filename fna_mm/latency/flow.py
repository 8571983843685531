"""``fna latency``: measure the blocks of a config on the machine at hand, and write the table."""

import copy
import os
import platform
import random
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Optional

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from scipy.optimize import isotonic_regression, nnls
from torch import nn

from fna_mm import families
from fna_mm.adaptation.measuring import Progress, no_progress
from fna_mm.architecture import Architecture, PlacedLayer
from fna_mm.backbones.base_backbone import block_options
from fna_mm.backbones.fna_child_net import FNAChildNet
from fna_mm.checkpoints.whole_files import check_outputs, write_whole
from fna_mm.checks import check_integer
from fna_mm.configs import CHILD
from fna_mm.cost.block_table import BlockCost, BlockTable, Place
from fna_mm.cost.complexity import image_size
from fna_mm.export.network import ExportedNetwork
from fna_mm.families import BlockSpec
from fna_mm.latency.measured_blocks import MeasuredNetwork, measured_network, random_networks
from fna_mm.latency.runners import RUNTIMES, Timed, check_runtime, timed

UNIT = 'ms'
#: Networks that are measured whole, beside the backbone itself, so that sums of blocks can be compared with them.
NETWORKS = 8
#: A block runs so often in a round that the round takes at least this long, in seconds.
_LEAST = 2e-3
_MOST_TIMES = 20
_NORM = dict(type='BN')
_STEM, _HEAD, _MODEL = 'stem', 'last convolution', 'model'


class Latency(NamedTuple):
    """A measured time.

    Args:
        median (float): Median over the rounds, in ms.
        spread (float): Half of the distance between the quartiles, in ms.
    """

    median: float
    spread: float


def measure_latency(config: str, out: str, runtime: str = RUNTIMES[0], threads: int = 1, device: str = 'cpu',
                    shape: Optional[Sequence[int]] = None, rounds: int = 20, progress: Optional[Progress] = None
                    ) -> BlockTable:
    """Measure every block that a search or an adaptation of a config may choose, and write the table.

    All of them take turns, in another order every round, so that a busy moment does not meet one of them alone. Sums
    of blocks are not quite the time of a network: the backbone and some random networks are measured whole, too, and
    the costs in the table are scaled, with a fixed part, so that their sums meet these times best.

    Args:
        config (str): Path of a config whose backbone is an ``FNASuperNet``, an ``FNAChildNet`` or mm's MobileNetV2.
        out (str): Path of the table.
        runtime (str): ``'onnxruntime'`` or ``'torch'``. Defaults to 'onnxruntime'.
        threads (int): Threads of one operator. Defaults to 1.
        device (str): ``'cpu'``, or for PyTorch ``'cuda'``. Defaults to 'cpu'.
        shape (Sequence[int], optional): (height, width) of the image. Defaults to None: that of the test pipeline.
        rounds (int): Rounds of measurements. Defaults to 20.
        progress (Progress, optional): Shows the progress. Defaults to None: nothing is shown.

    Raises:
        FileNotFoundError: If there is no such config.
        ImportError: If the runtime is not installed.
        ValueError: If an argument or the backbone is illegal.
        OSError: If ``out`` cannot be written.
    """
    check_outputs([out], [config])
    check_runtime(runtime, device)
    check_integer('threads', threads)
    check_integer('rounds', rounds, least=3)
    cfg = Config.fromfile(config)
    size = image_size(cfg, config, shape)
    network = measured_network(cfg, config, size)
    measuring = Measuring(network, size, runtime, threads, device)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        table = measuring.table(cfg, rounds, progress or no_progress)
    finally:
        torch.set_num_threads(before)
    write_whole({out: table.to_json().encode()})
    return table


class Measuring:
    """Blocks and networks that are measured at one input size.

    Args:
        network (MeasuredNetwork): The backbone and the blocks.
        input_shape (tuple[int, int]): (height, width) of the image.
        runtime (str): As in :func:`measure_latency`.
        threads (int): As in :func:`measure_latency`.
        device (str): As in :func:`measure_latency`.
    """

    def __init__(self, network: MeasuredNetwork, input_shape: tuple[int, int], runtime: str, threads: int,
                 device: str) -> None:
        self.network, self.input_shape = network, input_shape
        self.runtime, self.threads, self.device = runtime, threads, device

    def timed(self, module: nn.Module, channels: int, size: tuple[int, int]) -> Timed:
        """A module that is ready to be timed on a tensor of (1, channels, *size)."""
        image = torch.randn(1, channels, *size, generator=torch.Generator().manual_seed(0))
        return timed(module, image, self.runtime, self.threads, self.device)

    def child(self, architecture: Architecture) -> FNAChildNet:
        """A backbone of an architecture, like the measured one in all else."""
        return FNAChildNet(architecture, self.network.out_indices, self.network.output_stride, norm_cfg=_NORM,
                           dilated=self.network.dilated)

    def networks(self, architectures: Sequence[Architecture]) -> dict[Hashable, Timed]:
        """Whole backbones, ready to be timed: index → run."""
        return {('network', index): self.timed(self.child(architecture), 3, self.input_shape)
                for index, architecture in enumerate(architectures)}

    def table(self, cfg: Any, rounds: int, progress: Progress) -> BlockTable:
        """Measure, and make the table.

        Args:
            cfg (Config): The config, whose neck and head are measured with the whole model.
            rounds (int): Rounds of measurements.
            progress (Progress): Shows the progress.
        """
        entries = [(place, hidden, spec) for place, widths in self.network.blocks.items()
                   for hidden, spec in widths.items()]
        architectures = [self.network.architecture, *random_networks(self.network, NETWORKS, 0)]
        runs: dict[Hashable, Timed] = {}
        with progress('build blocks', len(entries) + 1) as bar:
            for place, hidden, spec in entries:
                runs[place, hidden] = self.timed(self._block(place, spec), place.in_channels, (
                    place.height, place.width))
                bar.update(1)
            backbone = self.child(self.network.architecture)
            runs[_STEM] = self.timed(backbone.conv1, 3, self.input_shape)
            if backbone.built_head_channels:
                last = list(self.network.architecture.walk(self.network.output_stride, self.input_shape))[-1]
                assert last.output_size is not None
                runs[_HEAD] = self.timed(backbone.conv2, last.stage.out_channels, last.output_size)
            runs.update(self.networks(architectures))
            whole = self._model(cfg)
            if whole is not None:
                runs[_MODEL] = whole
            bar.update(1)
        with progress('measure', rounds) as bar:
            times = measure(runs, rounds, lambda: bar.update(1))
        return self._table(entries, architectures, times, rounds)

    def _block(self, place: Place, spec: BlockSpec) -> nn.Module:
        # The first layer of a stage is the one that changes its size or channels.
        first = place.stride > 1 or place.in_channels != place.out_channels
        layer = PlacedLayer(0, 0 if first else 1, place.in_channels, place.out_channels, place.stride, place.dilation,
                            (place.height, place.width))
        family = families.family(self.network.architecture.family)
        return family.build_block(spec, block_options(layer, _NORM, dict(family.act_cfg), False, self.network.dilated))

    def _model(self, cfg: Any) -> Optional[Timed]:
        """The whole model, ready to be timed; None if its network needs more than an image."""
        section = copy.deepcopy(cfg.model)
        section.backbone = dict(
            type=CHILD, arch=self.network.architecture.to_text().replace('\n', ' '),
            out_indices=self.network.out_indices, output_stride=self.network.output_stride,
            dilated=self.network.dilated, norm_cfg=_NORM)
        section.pop('pretrained', None)
        try:
            model = MODELS.build(section).eval()
            return self.timed(ExportedNetwork(model), 3, self.input_shape)
        except Exception:  # two-stage detectors, transformers: neck and head are not known then
            return None

    def _table(self, entries: Sequence[tuple[Place, int, BlockSpec]], architectures: Sequence[Architecture],
               times: Mapping[Hashable, Latency], rounds: int) -> BlockTable:
        fixed = times[_STEM].median + (times[_HEAD].median if _HEAD in times else 0.)
        blocks = tuple(BlockCost(place, hidden, cost, times[place, hidden].spread)
                       for (place, hidden), cost in _monotone(entries, times).items())
        raw = self._made(fixed, blocks)
        sums = np.array([raw.of_network(architecture) for architecture in architectures])
        found = np.array([times['network', index].median for index in range(len(architectures))])
        scale, overhead = calibrate(sums, found)
        errors = np.abs(scale * sums + overhead - found) / found
        rest = max(0., times[_MODEL].median - times['network', 0].median) if _MODEL in times else None
        made = dict(
            made_by='fna_mm latency', device=_device(self.device), runtime=self.runtime, threads=self.threads,
            versions=_versions(self.runtime), rounds=rounds, backbone=round(float(found[0]), 4),
            networks=len(found), scale=round(scale, 4), overhead=round(overhead, 4),
            error=round(float(errors.mean()), 4))
        scaled = tuple(replace(block, cost=round(scale * block.cost, 6)) for block in blocks)
        return self._made(scale * fixed + overhead, scaled, rest, made)

    def _made(self, fixed: float, blocks: tuple[BlockCost, ...], rest: Optional[float] = None,
              made: Optional[Mapping[str, Any]] = None) -> BlockTable:
        return BlockTable(UNIT, self.network.architecture.family, self.input_shape, self.network.output_stride, fixed,
                          blocks, rest, made)


def measure(runs: Mapping[Hashable, Timed], rounds: int, done: Any = None) -> dict[Hashable, Latency]:
    """Time several modules, which take turns.

    Args:
        runs (Mapping): Name → run.
        rounds (int): How many rounds.
        done (Callable, optional): Called behind every round. Defaults to None.
    """
    times = {name: max(1, min(_MOST_TIMES, int(_LEAST / max(1e-9, run(2))))) for name, run in runs.items()}
    seconds: dict[Hashable, list[float]] = {name: [] for name in runs}
    order, shuffled = list(runs), random.Random(0)
    for _ in range(rounds):
        shuffled.shuffle(order)
        for name in order:
            runs[name](1)  # its weights are in no cache any more
            seconds[name].append(1e3 * runs[name](times[name]))
        if done:
            done()
    result = {}
    for name, values in seconds.items():
        low, median, high = np.percentile(values, (25, 50, 75))
        result[name] = Latency(float(median), float(high - low) / 2)
    return result


def _monotone(entries: Sequence[tuple[Place, int, BlockSpec]], times: Mapping[Hashable, Latency]
              ) -> dict[tuple[Place, int], float]:
    """The medians, of which none is below that of a narrower block in the same place."""
    result: dict[tuple[Place, int], float] = {}
    for place in dict.fromkeys(place for place, _, _ in entries):
        widths = sorted(hidden for other, hidden, _ in entries if other == place)
        costs = isotonic_regression([times[place, hidden].median for hidden in widths]).x
        result.update({(place, hidden): round(float(cost), 6) for hidden, cost in zip(widths, costs)})
    return result


def calibrate(sums: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """Scale and fixed part, neither below zero, with the least relative errors.

    Args:
        sums (np.ndarray): Sums of the blocks of some networks, (N,).
        found (np.ndarray): Times of these networks, (N,).

    >>> calibrate(np.array([1., 2., 4.]), np.array([2.5, 4.5, 8.5]))
    (2.0, 0.5)
    """
    rows = np.stack([sums / found, 1 / found], 1)
    scale, overhead = nnls(rows, np.ones(len(found)))[0]
    return round(float(scale), 9), round(float(overhead), 9)


def _device(device: str) -> str:
    if device == 'cuda':
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as file:
            name = next((line.partition(':')[2].strip() for line in file if line.startswith('model name')), name)
    except OSError:
        pass
    return f'{name} ({os.cpu_count()} cores)'


def _versions(runtime: str) -> dict[str, str]:
    versions = dict(python=platform.python_version(), torch=torch.__version__)
    if runtime == 'onnxruntime':
        import onnxruntime
        versions['onnxruntime'] = onnxruntime.__version__
    return versions

