"""The benchmark: its sections one after another."""

import json
import statistics
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Optional

import click
import torch
from mmengine.logging import MMLogger

from fna_mm.architecture import Architecture
from fna_mm.backbones import FNAChildNet
from tools.bench import tables
from tools.bench.bound import Peak, Work, architecture_step_work, measure_peak, weight_step_work
from tools.bench.fixed_costs import fixed_costs
from tools.bench.iteration import SEARCHES, measure_search
from tools.bench.kept_memory import keep_freed_memory
from tools.bench.memory import held_bytes, peak_bytes
from tools.bench.settings import Settings
from tools.bench.steps import CHILDREN, OTHER_FAMILY, BackboneSteps, inference_steps, other_family_steps
from tools.bench.timing import interleaved, progress, ratio, spread

_FIXED_COST_REPEATS = 5


def run_bench(settings: Settings, out: Optional[str] = None) -> dict[str, Any]:
    """Measure everything, print a table after each part, and write JSON.

    Args:
        settings (Settings): What is measured, and on what.
        out (str, optional): Path of the JSON, on any mmengine file backend. Defaults to None: none.

    Returns:
        dict: What the JSON holds.

    Raises:
        OSError: If ``out`` cannot be written; before anything is measured.
        ValueError: If freed memory is to be kept, and cannot be.
    """
    if out is not None:
        _write('', out)
    if settings.keep_memory and not keep_freed_memory():
        raise ValueError('--keep-memory needs glibc, and an environment without MALLOC_TRIM_THRESHOLD_ and '
                         'MALLOC_MMAP_THRESHOLD_: leave it out')
    MMLogger.get_instance('fna_bench', log_level='ERROR')  # a line for each parameter that is initialized
    with warnings.catch_warnings(), settings.applied(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter('ignore')  # mm's about building
        result: dict[str, Any] = dict(
            format='fna_bench', version=1, machine=tables.machine(settings.device), versions=tables.versions(),
            settings=settings.to_dict(), definitions=tables.RATIOS)
        click.echo(_heading(result))
        with progress(1, 'peak of the machine') as bar:
            peak = measure_peak(settings)
            bar.update(1)
        result['peak'] = asdict(peak)
        click.echo(f'peak of a matrix product or convolution: {peak.madds_per_second / 1e9:.0f} GMAdds/s; '
                   f'memory: {peak.bytes_per_second / 1e9:.1f} GB/s')
        result.update(_steps(settings, peak))
        click.echo(f'\n{tables.steps_table(result)}\nplain: {result["plain"]}\n')
        click.echo(tables.layers_table(result['layers']))
        result.update(_other_family(settings))
        result.update(_inference(settings))
        click.echo(f'\n{tables.inference_table(result["inference"])}')
        seed = _seed(Path(folder))
        costs = fixed_costs(seed, min(settings.repeats, _FIXED_COST_REPEATS))
        result['searches'], exports = _searches(settings, seed, folder)
        costs.update(exports)
        result['fixed_costs'] = {name: spread(seconds) for name, seconds in costs.items()}
        click.echo(f'\n{tables.searches_table(result["searches"])}\n')
        click.echo(tables.table([(name, f'{cost["median_s"]:.3f}') for name, cost in result['fixed_costs'].items()],
                                ('fixed cost', 's')))
    click.echo(f'\n{tables.ratios_table(result)}')
    if settings.device == 'cuda' and settings.whole_size and isinstance(result['searches'].get('deeplabv3'), dict):
        result['projected_gpu_hours'] = result['searches']['deeplabv3']['projected_hours']
        click.echo(f'projected_gpu_hours {result["projected_gpu_hours"]:.3f}: the segmentation search of the paper, '
                   f'which says {SEARCHES["deeplabv3"].paper_gpu_hours} on a V100; evaluations not counted')
    if out is not None:
        _write(json.dumps(result, indent=1, ensure_ascii=False) + '\n', out)
        click.echo(f'written: {out}')
    return result


def _write(text: str, path: str) -> None:
    from mmengine.fileio import put_text
    put_text(text, path)


def _heading(result: Mapping[str, Any]) -> str:
    where = ', '.join(f'{name} {value}' for name, value in result['machine'].items() if name != 'system')
    what = ', '.join(f'{name}={value}' for name, value in result['settings'].items())
    return f'{where}\n{what}'


def _seed(folder: Path) -> str:
    """A random MobileNetV2 as a checkpoint: the time of remapping does not depend on its numbers."""
    net = FNAChildNet('mobilenet_v2', out_indices=(7, ))
    net.init_weights()
    torch.save(net.state_dict(), folder / 'seed.pth')
    return str(folder / 'seed.pth')


def _steps(settings: Settings, peak: Peak) -> dict[str, Any]:
    backbones = BackboneSteps(settings)
    steps = backbones.steps()
    memory = {}
    with progress(len(steps), 'memory') as bar:
        for name, step in steps.items():
            step.run(0)  # gradients, where a step leaves any, are there in a search too
            for model in step.models:
                model.zero_grad()
            memory[name] = peak_bytes(lambda step=step: step.run(0), settings.device) + held_bytes(  # type: ignore
                (step.models[0], backbones.images))
            for model in step.models:
                model.zero_grad()
            bar.update(1)
    seconds = interleaved({name: step.run for name, step in steps.items()}, settings.repeats, settings.device, 'steps')
    layers = _layers(backbones)

    def over(one: str, other: str) -> float:
        return ratio(seconds[one], seconds[other])

    simple = memory['simple_mixture']
    return dict(
        plain=backbones.plain_name,
        paths=[architecture.to_text().replace('\n', ' ') for architecture in backbones.architectures],
        weight_step_over_plain=over('weight_step', 'plain'),
        weight_step_over_static_path=over('weight_step', 'static_path'),
        architecture_step_over_plain=over('architecture_step', 'plain'),
        architecture_step_over_simple_mixture=over('architecture_step', 'simple_mixture'),
        architecture_step_with_cp_over_plain=over('architecture_step_with_cp', 'plain'),
        simple_mixture_over_plain=over('simple_mixture', 'plain'),
        slowest_layer_over_simple_mixture=max(layer['fast_over_simple'] for layer in layers),
        architecture_memory_over_simple_mixture=memory['architecture_step_with_cp'] / simple,
        architecture_memory_without_cp_over_simple_mixture=memory['architecture_step'] / simple,
        seconds={name: spread(values) for name, values in seconds.items()},
        peak_memory_bytes=memory, layers=layers, bounds=_bounds(backbones, seconds, peak))


def _layers(backbones: BackboneSteps) -> list[dict[str, Any]]:
    settings, steps = backbones.settings, backbones.layers()
    flat = {f'{name} {key}': step.run for name, pair in steps.items() for key, step in pair.items()}
    seconds = interleaved(flat, settings.repeats, settings.device, 'layers')
    rows = []
    for name in steps:
        fast, simple = (seconds[f'{name} {key}'] for key in ('fast', 'simple'))
        rows.append(dict(layer=name, fast=spread(fast), simple=spread(simple), fast_over_simple=ratio(fast, simple)))
    return rows


def _bounds(backbones: BackboneSteps, seconds: Mapping[str, tuple[float, ...]], peak: Peak) -> dict[str, Any]:
    settings, space = backbones.settings, backbones.supernet.search_space
    size = (settings.input_size, ) * 2
    path = sum((weight_step_work(architecture, size) for architecture in backbones.architectures), Work())
    path *= 1 / len(backbones.architectures)
    mixture = architecture_step_work(space, size)
    work = dict(plain=weight_step_work(space.seed, size), static_path=path, weight_step=path,
                architecture_step=mixture, simple_mixture=mixture,
                architecture_step_with_cp=architecture_step_work(space, size, with_cp=True))
    result = {}
    for name, values in seconds.items():
        bounds = peak.bounds(work[name], settings.batch_size, settings.dtype.itemsize)
        median = statistics.median(values)
        result[name] = dict(bounds, arithmetic_fraction=bounds['arithmetic_bound_s'] / median,
                            traffic_fraction=bounds['traffic_bound_s'] / median)
    return result


def _other_family(settings: Settings) -> dict[str, Any]:
    steps = other_family_steps(settings)
    seconds = interleaved({name: step.run for name, step in steps.items()}, settings.repeats, settings.device,
                          OTHER_FAMILY)
    return dict(other_family={name: spread(values) for name, values in seconds.items()},
                resnet_architecture_step_over_plain=ratio(seconds['architecture_step'], seconds['plain']))


def _inference(settings: Settings) -> dict[str, Any]:
    steps = inference_steps(settings)
    seconds = interleaved({name: step.run for name, step in steps.items()}, 2 * settings.repeats, settings.device,
                          'inference')
    size = (settings.input_size, ) * 2
    rows: list[dict[str, Any]] = []
    for name, stride in CHILDREN.items():
        own, plain = seconds[name], seconds[f'mobilenet_v2_for_{name}']
        madds = [Architecture.create(arch).madds(size, stride) for arch in (name, 'mobilenet_v2')]
        rows.append(dict(child=name, output_stride=stride, seconds=spread(own), mobilenet_v2_seconds=spread(plain),
                         ratio=ratio(own, plain), madds_ratio=madds[0] / madds[1]))
    first = rows[0]
    return dict(inference=rows, child_over_mobilenet_v2_inference=first['ratio'],
                child_over_mobilenet_v2_madds=first['madds_ratio'],
                child_over_mobilenet_v2_inference_per_madd=first['ratio'] / first['madds_ratio'])


def _obstacle(settings: Settings, package: str) -> Optional[str]:
    """Why a search cannot be measured, if it cannot."""
    if find_spec(package) is None:
        return f'{package} is not installed'
    if settings.device == 'cpu' and torch.cuda.is_available():
        return "mm's Runner takes the GPU; hide it with CUDA_VISIBLE_DEVICES="
    if settings.device == 'cpu' and settings.precision != 'float32':
        return "mm's AmpOptimWrapper needs a GPU"
    return None


def _searches(settings: Settings, seed: str, folder: str) -> tuple[dict[str, Any], dict[str, tuple[float, ...]]]:
    results: dict[str, Any] = {}
    exports = {}
    for name, search in SEARCHES.items():
        obstacle = _obstacle(settings, search.package)
        if obstacle is not None:
            results[name] = obstacle
            continue
        measured = measure_search(name, settings, seed, f'{folder}/{name}')
        results[name] = dict(
            measured.description, iterations={kind: spread(values) for kind, values in measured.iterations.items()},
            mean_iteration_s={kind: statistics.fmean(values) for kind, values in measured.iterations.items()},
            parts={part: spread(values) for part, values in measured.parts.items()}, shares=measured.shares(),
            epoch_adds_s=statistics.fmean(measured.boundaries),
            projected_hours=measured.hours if settings.whole_size else None,
            paper_gpu_hours=search.paper_gpu_hours)
        exports[f'export ({name})'] = measured.export
    return results, exports
