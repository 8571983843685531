"""``python -m tools``: its commands and what they hand on."""

import json

import pytest
from click.testing import CliRunner

from tools.__main__ import main


def tools(*arguments, code=0):
    """Run the command in this process; what it printed."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.parametrize('command', ['ablate', 'bench', 'paper'])
def test_every_command_has_help_with_an_example(command):
    assert f'Example:  python -m tools {command}' in tools(command, '--help')


@pytest.mark.parametrize('arguments', [
    [], ['ablate'], ['ablate', 'x.py', '--seeds', '-1'], ['ablate', 'x.py', '--jobs', '0'],
    ['ablate', '--seeds', '0', 'x.py'], ['bench', '--repeats', '0'], ['paper', '--format', 'x']])
def test_wrong_usage_is_clicks_to_explain(arguments):
    assert 'Usage:' in tools(*arguments, code=2)


def test_ablate_hands_its_arguments_on(monkeypatch):
    calls = []
    monkeypatch.setattr('tools.ablation.run_ablation', lambda *args: calls.append(args))
    tools('ablate', 'a.py', 'b.py')
    tools('ablate', 'a.py', '--seeds', 3, 1, '--cfg-options', 'x=1', 'y.z=2', '--cfg-options', 'w=3', '--jobs', 2,
        '--work-dir', 'there', '--seed-checkpoint', 's.pth', '--metric', 'aAcc', '--out', 'rows.md',
        '--format', 'markdown')
    assert calls == [
        (('a.py', 'b.py'), (0, ), 'work_dirs/ablations', (), None, 1, None, None, False, False),
        (('a.py', ), (3, 1), 'there', ('x=1', 'y.z=2', 'w=3'), 's.pth', 2, 'aAcc', 'rows.md', True, False)]


@pytest.mark.slow
def test_json_of_an_ablation(monkeypatch, tmp_path):
    """The rows alone on the output stream, what happens meanwhile on the other one."""
    config = tmp_path / 'one.py'
    config.write_text("model = dict(type='Nothing')\n")
    result = CliRunner().invoke(main, ['ablate', str(config), '--work-dir', str(tmp_path / 'out'), '--json'])
    assert result.exit_code == 1
    assert [row['config'] for row in json.loads(result.stdout)] == ['one']
    assert 'FAILED' in result.stderr
