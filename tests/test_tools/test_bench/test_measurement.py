import json
import math
import sys

import pytest
import torch
from click.testing import CliRunner

from tools.__main__ import main
from tools.bench.iteration import PARTS
from tools.bench.tables import RATIOS

pytestmark = pytest.mark.slow
#: Named in the issue; checks read them.
KEYS = ('weight_step_over_plain', 'weight_step_over_static_path', 'architecture_step_over_plain',
        'architecture_step_over_simple_mixture', 'architecture_memory_over_simple_mixture',
        'child_over_mobilenet_v2_inference')
STEPS = {'plain', 'static_path', 'weight_step', 'architecture_step', 'architecture_step_with_cp', 'simple_mixture'}


@pytest.fixture(scope='module')
def quick(tmp_path_factory):
    """What ``python -m tools bench --quick`` says and writes."""
    path = tmp_path_factory.mktemp('bench') / 'bench.json'
    outcome = CliRunner().invoke(main, ['bench', '--quick', '--device', 'cpu', '--out', str(path)],
                                 catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return outcome.output, json.loads(path.read_text())


def numbers(node):
    if isinstance(node, dict):
        for value in node.values():
            yield from numbers(value)
    elif isinstance(node, list):
        for value in node:
            yield from numbers(value)
    elif isinstance(node, (int, float)) and not isinstance(node, bool):
        yield node


def test_every_ratio(quick):
    _, result = quick
    assert set(KEYS) <= set(RATIOS)
    for key in RATIOS:
        assert math.isfinite(result[key])
        assert result[key] > 0


def test_every_number_is_one(quick):
    _, result = quick
    found = list(numbers(result))
    assert len(found) > 200
    assert all(math.isfinite(number) for number in found)


def test_steps_layers_and_memory(quick):
    _, result = quick
    assert set(result['seconds']) == set(result['peak_memory_bytes']) == set(result['bounds']) == STEPS
    assert all(spread['median_s'] > 0 for spread in result['seconds'].values())
    memory = result['peak_memory_bytes']
    assert memory['architecture_step_with_cp'] < memory['architecture_step']
    assert result['architecture_memory_over_simple_mixture'] == (
        memory['architecture_step_with_cp'] / memory['simple_mixture'])
    bounds = result['bounds']
    assert bounds['plain']['gmadds'] < bounds['architecture_step']['gmadds'] \
        < bounds['architecture_step_with_cp']['gmadds']
    assert len(result['layers']) == 11
    assert result['slowest_layer_over_simple_mixture'] == max(layer['fast_over_simple'] for layer in result['layers'])


def test_children_at_equal_madds(quick):
    _, result = quick
    assert [row['child'] for row in result['inference']] == ['fna_retinanet', 'fna_deeplabv3']
    assert result['child_over_mobilenet_v2_madds'] == pytest.approx(1, abs=.01)


@pytest.mark.parametrize(('name', 'package'), [('retinanet', 'mmdet'), ('deeplabv3', 'mmseg')])
def test_whole_iterations(quick, name, package):
    pytest.importorskip(package)
    _, result = quick
    search = result['searches'][name]
    assert tuple(search['shares']) == PARTS
    assert sum(search['shares'].values()) == pytest.approx(1)
    assert all(spread['repeats'] >= 1 for spread in search['iterations'].values())
    assert search['projected_hours'] is None  # not at the size of the config
    assert result['fixed_costs'][f'export ({name})']['median_s'] > 0


def test_machine_and_settings(quick):
    output, result = quick
    assert result['machine']['cpu']
    assert result['machine']['torch_threads'] == torch.get_num_threads()
    # The wheel's version may lack what the module's has behind a plus, such as the release of CUDA.
    assert result['versions']['torch'].partition('+')[0] == torch.__version__.partition('+')[0]
    assert result['settings']['quick'] is True
    assert result['settings']['keep_memory'] is False
    assert 'projected_gpu_hours' not in result
    assert all(key in output for key in KEYS)


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_without_a_gpu():
    outcome = CliRunner().invoke(main, ['bench', '--device', 'cuda'])
    assert outcome.exit_code != 0
    assert "device='cuda', but torch" in outcome.output
    assert 'use cpu' in outcome.output


def test_memory_is_kept_when_asked_for_alone(monkeypatch):
    calls = []
    monkeypatch.setattr('tools.bench.measurement.keep_freed_memory', lambda: calls.append('kept') or False)
    monkeypatch.setattr('tools.bench.measurement.measure_peak', lambda settings: sys.exit('measured'))
    for options in ([], ['--keep-memory']):
        outcome = CliRunner().invoke(main, ['bench', '--quick', '--device', 'cpu', *options])
        assert (isinstance(outcome.exception, ValueError) or 'keep-memory' in outcome.output) == bool(options)
        assert calls == ['kept'] * bool(options)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').touch()
    outcome = CliRunner().invoke(main, ['bench', '--quick', '--out', str(tmp_path / 'file' / 'bench.json')])
    assert outcome.exit_code != 0
    assert 'peak' not in outcome.output
