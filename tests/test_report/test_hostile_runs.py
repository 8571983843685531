"""Work directories with anything in them: the page is made, and what cannot be read is named in it."""

import json
import os

import pytest
from fuzz.targets import ANYTHING
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic_runs import search_dir, state, train_line

from fna_mm.report import make_report
from fna_mm.report.history import history_path, read_history
from fna_mm.report.run import read_run

GOOD = json.loads(state(40, 2).to_json())


def page_of(folder, *more):
    return open(make_report([str(folder), *map(str, more)], str(folder / 'out')), encoding='utf-8').read()


def append(folder, line):
    with open(history_path(str(folder)), 'a', encoding='utf-8') as file:
        file.write((line if isinstance(line, str) else json.dumps(line)) + '\n')


@pytest.mark.parametrize('name', ['a $x_{ b', 'cost in $ and $', '\\frac', 'x' * 200])
def test_names_are_no_formulas(tmp_path, name):
    """Of the folder, a layer, and what was logged."""
    folder = search_dir(tmp_path / name, 2)
    values = dict(GOOD, step=41, probabilities={f'layer {name}'[:200]: dict(k3_e3=.4, k3_e6=.6)})
    append(folder, values)
    scalars = next(folder.glob('*/vis_data/scalars.json'))
    lines = scalars.read_text() + json.dumps(train_line(50, **{f'arch_entropy/{name}': 1., 'expected_$x_{': 3.})) + '\n'
    scalars.write_text(lines)
    assert 'cannot be drawn' not in page_of(folder)


def test_names_that_are_no_legal_unicode(tmp_path):
    folder = search_dir(tmp_path / os.fsdecode(b'caf\xe9'), 2)
    append(folder, dict(GOOD, step=41, moment='\ud800', probabilities={'\ud800': dict(k3_e3=.4, k3_e6=.6)}))
    assert 'caf?' in page_of(folder)


@pytest.mark.parametrize('line', [
    'half a li', '5', '"start"', '[]', 'null', '{"start": "now"}', '{"start": -1}', '{}', '[' * 10**5,
    dict(GOOD, step='5'), dict(GOOD, step=True), dict(GOOD, step=1e3), dict(GOOD, step=10**40), dict(GOOD, processes=0),
    dict(GOOD, probabilities=[1]), dict(GOOD, probabilities=dict(a=[1])), dict(GOOD, probabilities=dict(a=dict(b='1'))),
    dict(GOOD, probabilities=dict(a=dict(b=float('nan')))), dict(GOOD, probabilities={'x' * 10**5: dict(b=1.)}),
    dict(GOOD, seconds=3), dict(GOOD, seconds=dict(a='b')), dict(GOOD, gmadds=dict(expected=1)), dict(GOOD, moment=3),
    dict(GOOD, gmadds=dict(expected='1', best_path=1, seed=1)), dict(GOOD, device=[]), dict(GOOD, more=1),
    dict(GOOD, architecture=3), dict(GOOD, architecture='[[1, 2]]')])
def test_a_line_of_the_history_that_is_none(tmp_path, line):
    folder = search_dir(tmp_path / 'search', 2)
    before = read_history(str(folder))
    append(folder, line)
    problems = []
    assert read_history(str(folder), problems) == before
    (problem, ) = problems
    assert problem.startswith('line 6 of history.jsonl is no state of a search (')
    assert len(problem) < 400


def test_the_page_names_bad_lines_and_a_bad_config(tmp_path):
    folder = search_dir(tmp_path / 'search', 2)
    append(folder, dict(GOOD, step='<b>'))
    for _ in range(9):
        append(folder, '<i>')
    scalars = next(folder.glob('*/vis_data/scalars.json'))
    scalars.write_text(scalars.read_text() + '{"step": "x", "iter": 1, "time": 1}\n')
    (scalars.parent / 'config.py').write_text('import sys\nsys.exit("<b>")')
    page = page_of(folder)
    assert 'the config 20260101_100000/vis_data/config.py cannot be read (SystemExit: &lt;b&gt;)' in page
    assert 'line 5 of 20260101_100000/vis_data/scalars.json cannot be read' in page
    assert 'line 6 of history.jsonl is no state of a search (ValueError: step must be' in page
    assert '7 more such lines' in page
    assert '<b>' not in page
    assert '<i>' not in page


@pytest.mark.parametrize('config', ['raise KeyError', '1 / 0', 'import nothing', 'x = y', 'input_shape = "abc"',
                                    'input_shape = 5', 'train_cfg = dict(max_epochs="x")'])
def test_a_config_that_raises(tmp_path, config):
    folder = search_dir(tmp_path / 'search', 2)
    next(folder.glob('*/vis_data/config.py')).write_text(config)
    assert 'FNA: search' in page_of(folder)


@pytest.mark.parametrize('line', [
    'x', '[]', dict(iter=1, time=1), dict(iter=1, time='1', step=1), dict(iter=1, time=1, step=None),
    dict(iter=1, time=1, step=float('inf')), dict(iter=1, time=1, step=10**400), dict(step=[1])])
def test_a_line_of_mms_scalars_that_is_none(tmp_path, line):
    folder = search_dir(tmp_path / 'search', 2)
    scalars = next(folder.glob('*/vis_data/scalars.json'))
    before = read_run(str(folder)).scalars
    with open(scalars, 'a', encoding='utf-8') as file:
        file.write((line if isinstance(line, str) else json.dumps(line)) + '\n')
    run = read_run(str(folder))
    assert run.scalars == before
    assert run.problems == ['line 5 of 20260101_100000/vis_data/scalars.json cannot be read']


@given(st.lists(st.one_of(
    ANYTHING.map(json.dumps), st.text(max_size=50),
    st.builds(lambda key, value: json.dumps(dict(GOOD, **{key: value})), st.sampled_from(sorted(GOOD)), ANYTHING),
    st.builds(lambda key, value: json.dumps(dict(train_line(10), **{key: value})),
              st.sampled_from(sorted(train_line(10))), ANYTHING)), max_size=4))
@settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))
def test_lines_of_anything(tmp_path_factory, lines):
    folder = search_dir(tmp_path_factory.mktemp('any'), 1, steps=(10, 20))
    content = '\n'.join(lines).encode('utf-8', 'surrogatepass') + b'\n'
    for path in (history_path(str(folder)), next(folder.glob('*/vis_data/scalars.json'))):
        with open(path, 'ab') as file:
            file.write(content)
    assert read_run(str(folder)).history
