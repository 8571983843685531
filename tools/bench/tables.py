"""What a benchmark found, as tables and as JSON."""

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

_PACKAGES = ('fna-mm', 'torch', 'mmengine', 'mmcv', 'mmdet', 'mmsegmentation', 'numpy')

#: The ratios at the top of the JSON, and what each is. Times: medians of the quotients of each round.
RATIOS = dict(
    weight_step_over_plain='weight step of the supernet / step of MobileNetV2',
    weight_step_over_static_path='weight step of the supernet / step of an FNAChildNet of the same path',
    architecture_step_over_plain='architecture step / step of MobileNetV2',
    architecture_step_over_simple_mixture='architecture step / the same on the straightforward mixture',
    architecture_step_with_cp_over_plain='architecture step with with_cp / step of MobileNetV2',
    simple_mixture_over_plain='architecture step on the straightforward mixture / step of MobileNetV2',
    resnet_architecture_step_over_plain='architecture step of ResNet-18, not fused / step of ResNet-18',
    slowest_layer_over_simple_mixture='the same of single layers, the largest of them',
    architecture_memory_over_simple_mixture='peak memory: architecture step with with_cp / straightforward mixture',
    architecture_memory_without_cp_over_simple_mixture='peak memory: architecture step / straightforward mixture',
    child_over_mobilenet_v2_inference='inference: fna_retinanet / MobileNetV2',
    child_over_mobilenet_v2_madds='MAdds: fna_retinanet / MobileNetV2, the "equal MAdds" of the line before',
    child_over_mobilenet_v2_inference_per_madd='the quotient of the two',
)


def _cpu_name() -> str:
    path = Path('/proc/cpuinfo')
    lines = path.read_text(encoding='utf-8', errors='replace').splitlines() if path.exists() else []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()


def machine(device: str) -> dict[str, Any]:
    """What it runs on.

    Args:
        device (str): ``cpu`` or ``cuda``.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    result = dict(cpu=_cpu_name(), cores=cores, torch_threads=torch.get_num_threads(), system=platform.platform())
    if device == 'cuda':
        result.update(
            gpu=torch.cuda.get_device_name(), gpu_memory_bytes=torch.cuda.get_device_properties(0).total_memory,
            cuda=torch.version.cuda, cudnn=torch.backends.cudnn.version(),
            tf32_convolutions=torch.backends.cudnn.allow_tf32, tf32_products=torch.backends.cuda.matmul.allow_tf32)
    return result


def versions() -> dict[str, str]:
    """Of Python and of what matters for speed; what is not installed is left out."""
    result = dict(python=platform.python_version())
    for name in _PACKAGES:
        try:
            result[name] = version(name)
        except PackageNotFoundError:
            continue
    return result


def table(rows: Sequence[Sequence[Any]], headers: Sequence[str]) -> str:
    """A table, first column left, the others right.

    Args:
        rows (Sequence[Sequence]): Cells, already formatted.
        headers (Sequence[str]): One a column.
    """
    return tabulate(rows, headers, disable_numparse=True, colalign=('left', ) + ('right', ) * (len(headers) - 1))


def steps_table(result: Mapping[str, Any]) -> str:
    """Time, ratio, memory and bound of every step.

    Args:
        result (dict): As :func:`tools.bench.measurement.run_bench` makes it.
    """
    seconds, memory, bounds = result['seconds'], result['peak_memory_bytes'], result['bounds']
    plain = seconds['plain']['median_s']
    rows = []
    for name in memory:
        bound = bounds[name]
        rows.append((name, f'{1e3 * seconds[name]["median_s"]:.1f}', f'{seconds[name]["median_s"] / plain:.2f}',
                     f'{memory[name] / 2**20:.0f}', f'{bound["gmadds"]:.1f}',
                     f'{1e3 * bound["arithmetic_bound_s"]:.1f}', f'{bound["arithmetic_fraction"]:.1%}',
                     f'{1e3 * bound["traffic_bound_s"]:.1f}', f'{bound["traffic_fraction"]:.1%}'))
    return table(rows, ('step', 'ms', '/ plain', 'peak MiB', 'GMAdds', 'arithmetic: ms', 'reached', 'traffic: ms',
                        'reached'))


def layers_table(layers: Sequence[Mapping[str, Any]]) -> str:
    """The layers one by one.

    Args:
        layers (Sequence[dict]): As in the JSON.
    """
    return table([(layer['layer'], f'{1e3 * layer["fast"]["median_s"]:.1f}', f'{1e3 * layer["simple"]["median_s"]:.1f}',
                   f'{layer["fast_over_simple"]:.2f}') for layer in layers],
                 ('layer', 'ms', 'simple mixture: ms', 'ratio'))


def inference_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Children beside MobileNetV2.

    Args:
        rows (Sequence[dict]): As in the JSON.
    """
    return table([(row['child'], f'{1e3 * row["seconds"]["median_s"]:.1f}',
                   f'{1e3 * row["mobilenet_v2_seconds"]["median_s"]:.1f}', f'{row["ratio"]:.3f}',
                   f'{row["madds_ratio"]:.3f}', f'{row["ratio"] / row["madds_ratio"]:.3f}') for row in rows],
                 ('inference', 'ms', 'MobileNetV2: ms', 'ratio', 'MAdds ratio', 'per MAdd'))


def searches_table(searches: Mapping[str, Any]) -> str:
    """Whole iterations and the shares of their parts.

    Args:
        searches (dict): As in the JSON; a text where a search could not be measured.
    """
    rows: list[tuple[str, ...]] = []
    for name, search in searches.items():
        if isinstance(search, str):
            rows.append((name, search) + ('', ) * 8)
            continue
        iterations = search['iterations']
        rows.append((name, *(f'{1e3 * iterations[kind]["median_s"]:.0f}' for kind in ('weights', 'both')),
                     *(f'{share:.1%}' for share in search['shares'].values()), f'{search["epoch_adds_s"]:.2f}',
                     f'{search["projected_hours"]:.3f}' if search['projected_hours'] else '-'))
    return table(rows, ('search iteration', 'weights: ms', 'both: ms', 'data', 'weights', 'arch. data', 'architecture',
                        'rest', 'epoch adds: s', 'schedule: h'))


def ratios_table(result: Mapping[str, Any]) -> str:
    """The ratios at the top of the JSON.

    Args:
        result (dict): As :func:`tools.bench.measurement.run_bench` makes it.
    """
    return tabulate([(name, f'{result[name]:.3f}', text) for name, text in RATIOS.items()],
                    ('ratio', '', 'of'), disable_numparse=True, colalign=('left', 'right', 'left'))
