"""Measuring blocks, and choosing by the table: in an adaptation, and in a search."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.runner import Runner
from toy_search import SIZE, find_hook, search_config, train
from toy_segmentation import train_segmentor

from fna_mm import Architecture
from fna_mm.adaptation import AdaptOptions, adapt
from fna_mm.architecture import PlacedLayer
from fna_mm.cli import main
from fna_mm.cost.block_table import BlockCost, BlockTable
from fna_mm.latency import flow
from fna_mm.latency.flow import Latency, calibrate, measure, measure_latency
from fna_mm.latency.measured_blocks import measured_network, random_networks

OPTIONS = AdaptOptions(statistics_images=12, score_images=8, tolerance=100.)


@pytest.fixture(scope='module')
def segmentor(tmp_path_factory):
    pytest.importorskip('mmseg')
    return train_segmentor(tmp_path_factory.mktemp('segmentor'))


@pytest.fixture(scope='module')
def table(segmentor, tmp_path_factory):
    """A table that was measured, in PyTorch, and its path."""
    path = str(tmp_path_factory.mktemp('table') / 'table.json')
    return measure_latency(segmentor[0], path, 'torch', rounds=3), path


@pytest.fixture(scope='module')
def known_table(segmentor, tmp_path_factory):
    """A table of the same blocks with known times, and its path: what is chosen must not hang on a busy moment."""
    made = counted(measured_network(Config.fromfile(segmentor[0]), segmentor[0], (SIZE, SIZE)))
    path = tmp_path_factory.mktemp('known') / 'table.json'
    path.write_text(made.to_json())
    return made, str(path)


@pytest.fixture
def search_table(tmp_path):
    """The table of the toy search with one time for every multiply-add, and its path."""
    cfg = search_config(tmp_path)
    config = tmp_path / 'search_config.py'
    cfg.dump(config)
    network = measured_network(Config.fromfile(config), str(config), (SIZE, SIZE))
    path = tmp_path / 'table.json'
    path.write_text(counted(network).to_json())
    return str(path)


def counted(network):
    """A table in which ms are millions of multiply-adds."""
    blocks = []
    for place, widths in network.blocks.items():
        layer = PlacedLayer(0, 0, place.in_channels, place.out_channels, place.stride, place.dilation,
                            (place.height, place.width))
        blocks += [BlockCost(place, hidden, layer.madds(spec) / 1e6) for hidden, spec in widths.items()]
    fixed = network.architecture.ends_madds((SIZE, SIZE), network.output_stride, 0) / 1e6
    return BlockTable('ms', 'mobilenet_v2', (SIZE, SIZE), network.output_stride, fixed, tuple(blocks), 2.)


def test_what_is_measured(table, segmentor):
    made, path = table
    assert BlockTable.read(path) == made
    assert (made.unit, made.input_shape, made.output_stride) == ('ms', (32, 32), 8)
    assert {'device', 'runtime', 'threads', 'versions', 'rounds', 'error', 'scale'} <= set(made.made)
    # Every child that an adaptation may choose has a cost, and wider blocks do not cost less.
    cfg = Config.fromfile(segmentor[0])
    network = measured_network(cfg, segmentor[0], (32, 32))
    for architecture in random_networks(network, 10, 3):
        assert made.fixed <= made.of_network(architecture) < float('inf')
    for curve in made._curves.values():
        costs = [cost for _, cost in curve]
        assert costs == sorted(costs)
        assert curve[0][0] == 8 or len(curve) == 1
    assert made.rest is not None
    assert 0 < made.made['error'] < 10


@given(st.floats(.1, 10), st.floats(0, 10), st.lists(st.floats(.5, 50), min_size=3, max_size=9, unique=True))
def test_calibration_finds_scale_and_overhead(scale, overhead, sums):
    values = np.array(sums)
    if np.ptp(values) < .1:
        return
    found = calibrate(values, scale * values + overhead)
    assert found[0] * values + found[1] == pytest.approx(scale * values + overhead, rel=1e-4)


def test_modules_take_turns():
    """Every module runs in every round, and a busy moment does not move a median."""
    calls = []

    def run(name):
        def timed(times):
            calls.append(name)
            # Warm-up, then for each round one run that is not counted: the fifth round is busy.
            return 1. if calls.count(name) in (11, 12) else {'a': .001, 'b': .003}[name]
        return timed

    found = measure({'a': run('a'), 'b': run('b')}, 9)
    assert found == {'a': Latency(1., 0.), 'b': Latency(3., 0.)}
    assert calls.count('a') == calls.count('b') == 1 + 2 * 9
    rounds = [calls[2 + 4 * n:6 + 4 * n] for n in range(9)]
    assert all(sorted(names) == ['a', 'a', 'b', 'b'] for names in rounds)
    assert {tuple(names) for names in rounds} == {('a', 'a', 'b', 'b'), ('b', 'b', 'a', 'a')}


def test_onnxruntime_measures_the_same_blocks(segmentor, tmp_path):
    pytest.importorskip('onnxruntime')
    made = measure_latency(segmentor[0], str(tmp_path / 'table.json'), rounds=3)
    assert made.made['runtime'] == 'onnxruntime'
    assert 'onnxruntime' in made.made['versions']


def test_adapting_by_latency(known_table, segmentor, tmp_path):
    """Budgets are milliseconds, and so is the front."""
    made, path = known_table
    whole = made.of_network(Architecture.create(Config.fromfile(segmentor[0]).model.backbone.arch))
    absolute = f'{.7 * whole:.4f}ms'
    options = replace(OPTIONS, cost='latency', table=path)
    children = adapt(*segmentor, ('0.8', absolute), str(tmp_path / 'work'), options)
    for child, share in zip(children, (.8, .7)):
        assert child.cost == pytest.approx(made.of_network(child.architecture))
        assert child.cost <= share * whole + 1e-4
        assert child.share == pytest.approx(child.cost / whole)
        assert child.share_of_model == pytest.approx((child.cost + made.rest) / (whole + made.rest))
    front = json.loads((tmp_path / 'work/front.json').read_text())
    assert front['unit'] == 'ms'
    page = (tmp_path / 'work/report/index.html').read_text()
    assert 'backbone, ms' in page
    assert 'million' not in page
    # The same measurements answer another unit: nothing is measured again.
    (counted_child, ) = adapt(*segmentor, ('0.7', ), str(tmp_path / 'work'), OPTIONS)
    assert counted_child.architecture.madds((32, 32), 8) == counted_child.cost


def test_a_table_without_neck_and_head(known_table, segmentor, tmp_path):
    made, _ = known_table
    path = tmp_path / 'table.json'
    path.write_text(replace(made, rest=None).to_json())
    options = replace(OPTIONS, cost='latency', table=str(path))
    (child, ) = adapt(*segmentor, ('0.8', ), str(tmp_path / 'work'), options)
    assert child.share_of_model is None
    with pytest.raises(ValueError, match="does not say what neck and head cost: it has no 'rest'"):
        adapt(*segmentor, ('0.8', ), str(tmp_path / 'other'), replace(options, of='model'))


@pytest.mark.parametrize(('options', 'budget', 'message'), [
    (dict(cost='latency'), '0.5', 'cost=latency needs the table of the device: give --table'),
    (dict(table='table.json'), '0.5', r"table='table.json' is for cost=latency \(--by latency\), not for cost=madds"),
    (dict(cost='energy'), '0.5', r"cost='energy' must be one of \['madds', 'params', 'latency'\]"),
    (dict(cost='latency', table='TABLE'), '250M', "budget='250M' must be a share .* or a number in ms, such as '12ms'"),
    (dict(cost='latency', table='TABLE'), '0.0001ms', 'budget=0.0001ms of the backbone cannot be reached'),
    (dict(cost='latency', table='TABLE', shape=(64, 64)), '0.5', r'made for the input size \(32, 32\), the network has '
     r'\(64, 64\)'),
    ({}, '12ms', "budget='12ms' must be a share .* or a number with K, M or G"),
])
def test_what_does_not_fit_is_a_sentence(options, budget, message, known_table, segmentor, tmp_path):
    options = {key: known_table[1] if value == 'TABLE' else value for key, value in options.items()}
    with pytest.raises(ValueError, match=message):
        adapt(*segmentor, (budget, ), str(tmp_path / 'work'), replace(OPTIONS, **options))
    assert not (tmp_path / 'work').exists()


def test_a_search_by_a_table(search_table, tmp_path):
    """The same costs in another unit: the same search, with other names in the log."""
    cost = dict(type='TableCost', table=search_table, budget=.7)
    runner = train(search_config(tmp_path / 'run', epochs=4, hook=dict(cost=cost)))
    hook, net = find_hook(runner, 'AlternatingOptimizerHook'), runner.model.backbone
    found, seed = net.best_architecture(), net.search_space.seed
    assert hook.cost.limit == pytest.approx(.7 * seed.madds((SIZE, SIZE), 8) / 1e6, rel=1e-3)
    assert hook.cost.table.of_network(found) <= hook.cost.limit
    (path, ) = (tmp_path / 'run').glob('*/vis_data/scalars.json')
    logged = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [line for line in logged if 'expected_ms' in line]
    assert lines
    assert all('best_path_ms' in line for line in lines)
    assert not any('expected_gmadds' in line for line in logged)


def test_a_search_in_milliseconds_is_that_in_multiply_adds(search_table, tmp_path):
    """A budget has no unit of its own: with proportional costs, the architecture parameters are the same."""
    shape = (SIZE, SIZE)
    ends = []
    for name, cost in (('ms', dict(type='TableCost', table=search_table, budget=.7)),
                       ('madds', dict(type='MAddsCost', input_shape=shape, budget=.7))):
        runner = train(search_config(tmp_path / name, epochs=3, hook=dict(cost=cost)))
        ends.append(runner.model.backbone.architecture_parameters)
    assert np.allclose(ends[0].detach(), ends[1].detach(), atol=1e-4)


def test_a_front_in_milliseconds(search_table, tmp_path):
    cfg = search_config(tmp_path / 'run', epochs=2, hook=dict(cost=dict(type='TableCost', table=search_table)))
    cfg.custom_hooks.append(dict(type='ArchitectureExportHook', budgets=[.8, '0.2ms']))
    runner = train(cfg)
    table = find_hook(runner, 'AlternatingOptimizerHook').cost.table
    within = Architecture.create(str(tmp_path / 'run/arch_budget_0.2ms.json'))
    assert table.of_network(within) <= .2
    assert (tmp_path / 'run/child_config_budget_0.8.py').exists()
    page = (tmp_path / 'run/fna_report/index.html').read_text()
    assert 'What the search’s table says in ms' in page or 'table says in ms' in page
    assert (tmp_path / 'run/fna_report/cost_ms.svg').exists() or 'cost_ms' in page


@pytest.mark.parametrize(('changed', 'message'), [
    (dict(table='nowhere.json'), 'nowhere.json'),
    (dict(table=3), 'table of TableCost must be the path of a file'),
    (dict(weight=.1, budget=.5), 'TableCost has both weight=0.1 and budget=0.5'),
    (dict(budget='100M'), "or a number in ms, such as '12ms'"),
    (dict(budget='900ms'), 'budget=900ms of TableCost is 900 ms, but the paths of the search space cost from'),
])
def test_a_wrong_table_cost_stops_before_training(changed, message, search_table, tmp_path):
    cost = dict(dict(type='TableCost', table=search_table), **changed)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train(search_config(tmp_path / 'run', hook=dict(cost=cost)))
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_a_table_of_another_search_space_stops_before_training(search_table, tmp_path):
    cfg = search_config(tmp_path / 'run', hook=dict(cost=dict(type='TableCost', table=search_table)))
    cfg.model.backbone.kernel_sizes = (3, 7)
    with pytest.raises(ValueError, match='the table of costs has no block of .*kernel 7.*; it has, for example'):
        Runner.from_cfg(cfg).train()


def test_the_command(segmentor, tmp_path):
    out = str(tmp_path / 'table.json')
    done = CliRunner().invoke(main, ['latency', segmentor[0], '--runtime', 'torch', '--rounds', '3', '--out', out])
    assert done.exit_code == 0, done.output
    assert 'torch, 1 thread(s): the backbone takes' in done.output
    assert f'written: {out}' in done.output
    assert Path(out).exists()


@pytest.mark.parametrize(('options', 'message'), [
    (['--runtime', 'tensorrt'], "runtime='tensorrt' must be one of ['onnxruntime', 'torch']"),
    (['--device', 'tpu'], "device='tpu' must be 'cpu' or 'cuda'"),
    (['--device', 'cuda'], 'in ONNX Runtime, blocks are measured on the CPU; use --runtime torch'),
    (['--threads', '0'], 'threads must be a positive integer, not 0'),
    (['--rounds', '2'], 'rounds must be an integer of at least 3, not 2'),
    (['--shape', '0', '3'], "Invalid value for '--shape': 0 is not in the range x>=1"),
])
def test_wrong_arguments_of_the_command(options, message, segmentor, tmp_path):
    out = tmp_path / 'table.json'
    done = CliRunner().invoke(main, ['latency', segmentor[0], '--out', str(out), *options])
    assert done.exit_code == (2 if 'Invalid value' in message else 1)  # click's own errors
    assert message in done.output
    assert not out.exists()


def test_configs_that_cannot_be_measured(segmentor, tmp_path):
    wrong = tmp_path / 'wrong.py'
    wrong.write_text(f'_base_ = {segmentor[0]!r}\n'
                     "model = dict(backbone=dict(_delete_=True, type='ResNeXt', depth=50))\n")
    with pytest.raises(ValueError, match='the backbone of .* is ResNeXt: the blocks of FNASuperNet, FNAChildNet'):
        measure_latency(str(wrong), str(tmp_path / 'table.json'))
    with pytest.raises((ValueError, OSError), match='toy.py'):
        measure_latency(segmentor[0], segmentor[0])
    assert flow.UNIT == 'ms'
