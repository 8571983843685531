"""What was found once, and a little fuzzing of every target; ``make fuzz`` does more of it."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from fuzz.targets import CORPUS, TARGETS, Finding, Target, inputs

FOUND = [(name, path.name) for name in TARGETS for path in sorted((CORPUS / name).iterdir())]


@pytest.mark.parametrize(('name', 'file'), FOUND, ids=['/'.join(pair) for pair in FOUND])
def test_the_corpus(name, file):
    """Files whose names begin with ``good`` are read, the others are a sentence."""
    data = (CORPUS / name / file).read_bytes()
    TARGETS[name](data)
    if file.startswith('good'):
        TARGETS[name].read(data)
    elif name != 'history':  # where bad lines are left out
        with pytest.raises(ValueError, match=r'\w'):
            TARGETS[name].read(data)


@pytest.mark.parametrize('name', TARGETS)
def test_a_little_fuzzing(name):
    @given(inputs(TARGETS[name]))
    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    def run(data):
        TARGETS[name](data)
    run()


@pytest.mark.parametrize(('error', 'said'), [(TypeError('x'), 'TypeError: x'), (ValueError(''), 'of 0 characters'),
                                             (ValueError('x' * 10**5), 'of 100000 characters')])
def test_what_a_finding_is(error, said):
    def read(data):
        raise error
    with pytest.raises(Finding, match=said):
        Target(read, (b'x', ))(b'')
    Target(lambda data: None, (b'x', ))(b'')


@pytest.mark.slow
def test_make_fuzz_in_small():
    """Every target has its share of the time, and says how much it ran."""
    run = subprocess.run([sys.executable, '-m', 'fuzz.run', '7'], cwd=Path(__file__).parents[1], text=True,
                         capture_output=True)
    assert run.returncode == 0, run.stdout + run.stderr
    for name in TARGETS:
        assert any(line.startswith(f'{name} ') and ' inputs' in line for line in run.stdout.splitlines()), run.stdout
    assert 'nothing was found' in run.stdout


@pytest.mark.slow
def test_make_fuzz_keeps_what_it_finds(tmp_path):
    code = ('from fuzz import run, targets\n'
            'def architecture(data):\n    if b"k" in data: raise KeyError("k")\n'
            'targets.TARGETS["architecture"] = targets.Target(architecture, (b"k", ), ("architecture", ))\n'
            f'raise SystemExit(run.main(["--only", "architecture", "--found", {str(tmp_path)!r}, "5"]))')
    run = subprocess.run([sys.executable, '-c', code], cwd=Path(__file__).parents[1], text=True, capture_output=True)
    assert run.returncode == 1, run.stdout + run.stderr
    assert 'KeyError' in run.stdout
    [kept] = [path for path in tmp_path.iterdir() if path.is_file()]  # beside libFuzzer's folder
    assert b'k' in kept.read_bytes()
    assert kept.name in run.stdout
