"""Tables of what blocks cost on a device."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_search import SIZE, TOY

from fna_mm import Architecture
from fna_mm.cost.block_table import BlockCost, BlockTable, Place
from fna_mm.cost.madds import GIGA, madds_table
from fna_mm.families.mbconv import MBConvSpec
from fna_mm.search_space import SearchSpace

SPACE = SearchSpace((2, 1), (3, 5), (3, 6), TOY)


def table_of(space, output_stride=8, size=(SIZE, SIZE), cost=lambda layer, spec: layer.madds(spec) / 1e6, **changed):
    """A table in which a block costs a number that is made of it; by default its multiply-adds."""
    blocks = {}
    for stage in space.seed.walk(output_stride, size):
        placed = list(stage.layers()) + [(spec, stage.layer(layer.index)) for layer in space.layers
                                         if layer.stage == stage.index for spec in layer.candidates if spec]
        for spec, layer in placed:
            blocks[Place.of(layer, spec), spec.hidden_channels(layer.in_channels)] = cost(layer, spec)
    fixed = space.seed.ends_madds(size, output_stride, 0) / 1e6
    values = dict(unit='ms', family='mobilenet_v2', input_shape=size, output_stride=output_stride, fixed=fixed,
                  blocks=tuple(BlockCost(*key, value) for key, value in blocks.items()), rest=3.)
    return BlockTable(**{**values, **changed})


def test_a_network_costs_the_sum_of_its_blocks():
    """With multiply-adds as costs, the table says what is counted."""
    table = table_of(SPACE)
    for choice in ((0, 1, 2), (3, 4, 0), (1, 0, 3)):
        architecture = SPACE.architecture(choice)
        assert table.of_network(architecture) == pytest.approx(architecture.madds((SIZE, SIZE), 8) / 1e6)
        assert table.of_space(SPACE).of_path(choice) == pytest.approx(table.of_network(architecture))
    counted = madds_table(SPACE, (SIZE, SIZE), 8)
    assert table.of_space(SPACE).fixed == pytest.approx(counted.fixed * GIGA / 1e6)


def test_the_file_keeps_everything(tmp_path):
    table = table_of(SPACE, made=dict(device='a phone', threads=2))
    (tmp_path / 'table.json').write_text(table.to_json())
    assert BlockTable.read(str(tmp_path / 'table.json')) == table
    values = json.loads(table.to_json())
    assert values['format'] == 1
    assert values['blocks'][0] == dict(
        in_channels=8, out_channels=4, stride=1, dilation=1, height=16, width=16, kernel=3, expands=False, hidden=8,
        cost=table.blocks[0].cost)


PLACE = Place(8, 8, 1, 1, 4, 4, 3, True)


def curve(points):
    return BlockTable('ms', 'mobilenet_v2', (8, 8), 8, 0., tuple(
        BlockCost(PLACE, hidden, cost) for hidden, cost in points.items()))


class Layer:
    in_channels, out_channels, stride, dilation, input_size = 8, 8, 1, 1, (4, 4)


@given(st.dictionaries(st.integers(1, 200), st.floats(0, 100), min_size=2, max_size=6), st.floats(0, 1))
def test_costs_between_entries_are_interpolated(points, share):
    table, (least, *_, most) = curve(points), sorted(points)
    hidden = round(least + share * (most - least))
    found = table.of_block(Layer, MBConvSpec(3, channels=hidden))
    below = max(key for key in points if key <= hidden)
    above = min(key for key in points if key >= hidden)
    assert min(points[below], points[above]) - 1e-9 <= found <= max(points[below], points[above]) + 1e-9
    assert hidden not in points or found == points[hidden]


@pytest.mark.parametrize(('spec', 'message'), [
    (MBConvSpec(3, channels=8), 'has blocks of 8 → 8 channels, kernel 3, stride 1, at 4x4 with 16 to 48 hidden '
     'channels, not with 8'),
    (MBConvSpec(3, channels=56), 'not with 56'),
    (MBConvSpec(5, channels=32), 'has no block of 8 → 8 channels, kernel 5, stride 1, at 4x4; it has, for '
     'example: 8 → 8'),
])
def test_a_block_that_is_not_there_is_an_error(spec, message):
    with pytest.raises(ValueError, match=message):
        curve({16: 1., 48: 2.}).of_block(Layer, spec)


@pytest.mark.parametrize(('arguments', 'message'), [
    ((Architecture.parse(TOY), 32), 'made for the output stride 8, the network has 32'),
    ((Architecture.parse(TOY), 8, (64, 64)), r'made for the input size \(32, 32\), the network has \(64, 64\)'),
])
def test_a_table_of_something_else_is_an_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        table_of(SPACE).check(*arguments)
    with pytest.raises(ValueError, match='made for the family other'):
        table_of(SPACE, family='other').check(Architecture.parse(TOY), 8)


@pytest.mark.parametrize(('change', 'message'), [
    (lambda values: values.pop('unit'), 'is no table of costs: it lacks unit; docs/latency.md describes the format'),
    (lambda values: values.update(format=2), 'has the format 2: this version reads format 1'),
    (lambda values: values.update(fixed=-1.), 'fixed of a table of costs must be a number of at least 0, not -1.0'),
    (lambda values: values.update(fixed='1'), 'fixed of a table of costs must be'),
    (lambda values: values.update(blocks=[]), 'needs at least one block'),
    (lambda values: values['blocks'][0].pop('hidden'), "lacks 'hidden'"),
    (lambda values: values['blocks'][0].update(cost=float('nan')), 'must be a number of at least 0, not nan'),
    (lambda values: values['blocks'][0].update(cost=-2.), 'must be a number of at least 0, not -2.0'),
    (lambda values: values['blocks'][0].update(hidden=1.5), r'hidden=1.5 of a block must be a positive integer'),
    (lambda values: values.update(input_shape=[3]), r'input_shape must be \(height, width\)'),
    (lambda values: values.update(blocks=7), 'table='),
])
def test_a_damaged_file_is_a_sentence(change, message, tmp_path):
    values = json.loads(table_of(SPACE).to_json())
    change(values)
    path = tmp_path / 'table.json'
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=message):
        BlockTable.read(str(path))


@pytest.mark.parametrize('text', ['', '{', '[]', 'null', '3'])
def test_other_files_are_a_sentence(text, tmp_path):
    path = tmp_path / 'table.json'
    path.write_text(text)
    with pytest.raises(ValueError, match='is no JSON file|is no table of costs'):
        BlockTable.read(str(path))


def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / 'table.json')
    with pytest.raises(ValueError, match="no JSON file: .*table.json' cannot be read: it is no regular file"):
        BlockTable.read(str(tmp_path / 'table.json'))
