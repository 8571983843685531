import json
import math

import pytest
from synthetic_runs import SIZE, state

from fna_mm import Architecture, SearchSpace
from fna_mm.cost.madds import madds_table
from fna_mm.report.history import (
    Gmadds,
    append_history,
    history_path,
    named_probabilities,
    read_history,
    start_history,
)


@pytest.mark.parametrize('layers', [1, 21])
def test_what_is_written_is_read(tmp_path, layers):
    states = [state(step, layers) for step in (10, 20)]
    start_history(str(tmp_path), 0)
    for one in states:
        append_history(str(tmp_path), one)
    assert read_history(str(tmp_path)) == states
    assert len(states[0].probabilities) == layers


def test_nothing_is_no_error(tmp_path):
    assert read_history(str(tmp_path)) == []


def steps(folder):
    return [one.step for one in read_history(str(folder))]


def test_a_resumed_run_drops_what_came_after_its_checkpoint(tmp_path):
    for step in (10, 20, 30):
        append_history(str(tmp_path), state(step))
    start_history(str(tmp_path), 20)
    assert steps(tmp_path) == [10, 20]
    append_history(str(tmp_path), state(25, moment='again'))
    assert steps(tmp_path) == [10, 20, 25]
    start_history(str(tmp_path), 0)
    assert steps(tmp_path) == []
    assert len((tmp_path / 'fna_report/history.jsonl').read_text().splitlines()) == 6  # nothing is ever taken away


def test_the_same_step_again_replaces_it(tmp_path):
    append_history(str(tmp_path), state(10, moment='first'))
    append_history(str(tmp_path), state(10, moment='second'))
    assert [one.moment for one in read_history(str(tmp_path))] == ['second']


@pytest.mark.parametrize('cut', [1, 20, 400, -2])
def test_a_line_that_was_cut_off_costs_only_itself(tmp_path, cut):
    path = tmp_path / 'fna_report/history.jsonl'
    append_history(str(tmp_path), state(10))
    whole = path.read_bytes()
    path.write_bytes(whole + state(20).to_json().encode()[:cut])
    assert steps(tmp_path) == [10]
    append_history(str(tmp_path), state(30))
    assert steps(tmp_path) == [10, 30]


@pytest.mark.parametrize('line', ['', '7', 'null', '[]', '{}', '{"step": 3}', '{"start": "x"}', '\x00\xff', '[' * 9999,
                                  '{"start": null}'])
def test_lines_that_are_no_states_are_passed_over(tmp_path, line):
    append_history(str(tmp_path), state(10))
    with open(history_path(str(tmp_path)), 'a', encoding='latin-1') as file:
        file.write(line + '\n')
    append_history(str(tmp_path), state(20))
    assert steps(tmp_path) == [10, 20]


def test_a_line_is_json_that_others_can_read(tmp_path):
    values = json.loads(state(10).to_json())
    assert values['probabilities']['layer2.0'].keys() == {f'k{k}_e{e}' for k in (3, 5, 7) for e in (3, 6)}
    assert Architecture.create(values['architecture']) == Architecture.create('fna_retinanet')


def test_entropy():
    chances = dict(decided=dict(a=1., b=0.), open=dict(a=.25, b=.25, c=.25, d=.25))
    assert state(10, probabilities=chances).entropies == pytest.approx(dict(decided=0, open=math.log(4)))


@pytest.mark.parametrize('name', ['mobilenet_v2', 'fna_retinanet', 'fna_ssdlite'])
def test_the_gmadds_of_certainty_are_the_architectures(name):
    """Counted by Architecture.madds, which knows nothing of tables."""
    space, architecture = SearchSpace(), Architecture.create(name)
    choice = space.choice(architecture)
    certain = named_probabilities(space, [[float(index == chosen) for index in range(len(layer.candidates))]
                                          for layer, chosen in zip(space.layers, choice)])
    expected = architecture.madds(SIZE) / 1e9
    assert vars(Gmadds.of(madds_table(space, SIZE), space, certain, 1.)) == \
        pytest.approx(dict(expected=expected, best_path=expected, seed=1.), abs=1e-6)
