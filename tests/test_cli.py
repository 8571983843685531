import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from mmengine.config import Config
from synthetic_runs import search_dir
from toy_search import search_config, train

import fna_mm
from fna_mm import Architecture
from fna_mm.architecture import PUBLISHED
from fna_mm.cli import main

ROOT = Path(__file__).resolve().parents[1]


def fna(*arguments, code=0):
    """Run the command in this process; what it printed."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def rows(table):
    """The numbers of a table of ``fna complexity`` by the row's name."""
    lines = [re.split(r'\s{2,}', line.strip()) for line in table.splitlines()[1:]]
    return {name: tuple(cells) for name, *cells in lines}


@pytest.mark.parametrize('command', [[str(Path(sys.executable).with_name('fna'))], [sys.executable, '-m', 'fna_mm']])
def test_as_a_command(command, tmp_path):
    done = subprocess.run([*command, '--help'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          cwd=tmp_path)
    assert done.returncode == 0
    for word in ('complexity', 'arch', 'convert', 'remap', 'report', 'ablate', 'demo', '--debug', '--version'):
        assert word in done.stdout
    done = subprocess.run([*command, 'arch', 'show', 'nothing'], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ''
    assert done.stderr.startswith("Error: unknown arch 'nothing': expected one of")
    assert 'Traceback' not in done.stderr


def test_version():
    assert fna_mm.__version__ in fna('--version')


@pytest.mark.parametrize('arguments', [['complexity'], ['arch', 'show'], ['arch', 'export'], ['convert'], ['remap'],
                                       ['compare'], ['report'], ['ablate'], ['demo'], ['arch'], []])
def test_every_command_has_help_with_an_example(arguments):
    printed = fna(*arguments, '--help')
    assert 'Usage:' in printed
    if arguments not in ([], ['arch']):
        assert f'Example:  fna {" ".join(arguments)}' in printed


# complexity


@pytest.mark.parametrize(('config', 'whole', 'backbone'), [
    ('mobilenet_v2_retinanet.py', ('11.488244', '133.0534'), ('1.811712', '4.8471')),
    ('fna_retinanet_retrain.py', ('11.732244', '133.0297'), ('2.055712', '4.8234')),
])
def test_retinanets_of_the_paper(config, whole, backbone):
    """shared/reference.md to the last digit; the paper's table rounds them."""
    printed = fna('complexity', ROOT / 'configs' / config)
    (model, *_), (name, *_) = rows(printed).items()
    assert model == str(ROOT / 'configs' / config)
    assert 'FNAChildNet' in name
    assert list(rows(printed).values()) == [('800x1088', *whole), ('800x1088', *backbone)]


@pytest.mark.parametrize(('name', 'arguments', 'expected'), [
    ('mobilenet_v2', ['--shape', 800, 1088], ('800x1088', '1.811712', '4.8471')),
    ('fna_retinanet', ['--shape', 800, 1088], ('800x1088', '2.055712', '4.8234')),
    ('fna_ssdlite', ['--shape', 320, 320], ('320x320', '2.119040', '0.6424')),
    ('fna_deeplabv3', ['--shape', 1024, 2048, '--output-stride', 16], ('1024x2048', '1.710624', '18.6953')),
    ('mobilenet_v2', ['--shape', 1024, 2048, '--output-stride', 16], ('1024x2048', '1.811712', '19.0421')),
])
def test_backbones_of_the_paper(name, arguments, expected):
    assert rows(fna('complexity', name, *arguments)) == {name: expected}


def test_several_targets_at_another_size(tmp_path):
    (tmp_path / 'arch.json').write_text(Architecture.create('fna_ssdlite').to_json())
    printed = rows(fna('complexity', ROOT / 'configs/fna_retinanet_retrain.py', 'fna_ssdlite', tmp_path / 'arch.json',
                       '--shape', 64, 96))
    assert len(printed) == 4
    assert {cells[0] for cells in printed.values()} == {'64x96'}
    assert printed['fna_ssdlite'] == printed[str(tmp_path / 'arch.json')]


# arch


@pytest.mark.parametrize('name', sorted(PUBLISHED))
def test_show(name, tmp_path):
    architecture = Architecture.create(name)
    assert fna('arch', 'show', name) == fna('arch', 'show', architecture.to_text()) == f'{architecture}\n'
    (tmp_path / 'arch.json').write_text(architecture.to_json())
    assert fna('arch', 'show', tmp_path / 'arch.json') == f'{architecture}\n'


def test_export_from_a_searchs_checkpoint(tmp_path):
    runner = train(search_config(tmp_path))
    found = runner.model.backbone.best_architecture()
    assert found != Architecture.create('mobilenet_v2')
    assert fna('arch', 'export', tmp_path / 'epoch_2.pth') == found.to_json()
    assert fna('arch', 'export', tmp_path / 'epoch_2.pth', tmp_path / 'out.json') == \
        f'written: {tmp_path / "out.json"}\n'
    assert Architecture.create(str(tmp_path / 'out.json')) == found


def test_export_of_an_architecture():
    assert fna('arch', 'export', 'fna_ssdlite') == Architecture.create('fna_ssdlite').to_json()


# Bad input: one line that says what and what instead


def write(folder, name, content):
    path = folder / name
    if name.endswith('.pth'):
        torch.save(content, path)
    else:
        path.write_text(content)
    return str(path)


CASES = [
    (lambda folder: ['arch', 'show', 'none.json'], r"arch='none.json': there is no such file"),
    (lambda folder: ['arch', 'show', 'fna_retina'], "unknown arch 'fna_retina': expected one of .*'fna_retinanet'"),
    (lambda folder: ['arch', 'show', '[[1, 2], ['], r"stage 0 of the architecture text is .*: expected \[\[in_cha"),
    (lambda folder: ['arch', 'show', "__import__('os').system('id')[0]"], 'stage 0 of the architecture text'),
    (lambda folder: ['arch', 'show', write(folder, 'arch.json', '{"stages": 7}')], 'needs a list under "stages"'),
    (lambda folder: ['arch', 'show', write(folder, 'arch.json', 'k3_e6')], 'the text is no JSON'),
    (lambda folder: ['arch', 'export', 'none.pth'], r"checkpoint='none.pth': there is no such file"),
    (lambda folder: ['arch', 'export', write(folder, 'seed.pth', dict(a=torch.zeros(2)))],
     'seed.pth: no checkpoint of a search'),
    (lambda folder: ['complexity', 'none.py'], "No such file or directory: 'none.py'"),
    (lambda folder: ['complexity', 'fna_ssdlite'],
     'fna_ssdlite does not say at which size .* give --shape HEIGHT WIDTH'),
    (lambda folder: ['complexity', 'fna_ssdlite', '--shape', '0', '320'], r'input_shape must be \(height, width\)'),
    (lambda folder: ['complexity', 'fna_ssdlite', '--shape', '320', '320', '--output-stride', '7'],
     r'output_stride=7 is not possible .* choose one of \[8, 16, 32\]'),
    (lambda folder: ['complexity', write(folder, 'x.py', 'a = 1'), '--shape', '64', '64'], 'the config has no model'),
    (lambda folder: ['complexity', write(folder, 'x.py', "model = dict(type='Nope')"), '--shape', '64', '64'],
     'KeyError: .*Nope is not in the .* registry'),
    (lambda folder: ['complexity', write(folder, 'x.py', "model = dict(type='FNAChildNet', depth=3)"), '--shape',
                     '64', '64'], "TypeError: .* unexpected keyword argument 'depth'"),
    (lambda folder: ['complexity', write(folder, 'x.py', 'model = dict('), '--shape', '64', '64'], 'SyntaxError: '),
    (lambda folder: ['demo', '--work-dir', os.path.dirname(write(folder, 'mine.txt', 'x'))],
     'is not empty and holds no earlier demo: give another --work-dir'),
    (lambda folder: ['report', folder], r"'.*' holds no search and no training: neither it nor its subfolders have"),
    (lambda folder: ['report', 'none'], "'none' is no folder: a report is made from the work directory of a search"),
]


@pytest.mark.parametrize(('arguments', 'message'), CASES)
def test_an_error_is_one_line(tmp_path, arguments, message):
    printed = fna(*arguments(tmp_path), code=1)
    (line, ) = [line for line in printed.splitlines() if line.startswith('Error: ')]
    assert printed.splitlines()[-1] == line
    assert re.search(message, line), line
    assert 'Traceback' not in printed


@pytest.mark.parametrize(('arguments', 'error'), [
    (['arch', 'show', 'none.json'], FileNotFoundError), (['arch', 'show', 'none'], ValueError),
    (['complexity', 'none.py'], FileNotFoundError)])
def test_debug_shows_the_traceback(arguments, error):
    result = CliRunner().invoke(main, ['--debug', *arguments])
    assert isinstance(result.exception, error)


def test_debug_in_a_process():
    done = subprocess.run([sys.executable, '-m', 'fna_mm', '--debug', 'arch', 'show', 'none'], stderr=subprocess.PIPE,
                          text=True)
    assert done.returncode == 1
    assert 'Traceback (most recent call last)' in done.stderr
    assert "ValueError: unknown arch 'none'" in done.stderr


@pytest.mark.parametrize('arguments', [['complexity'], ['arch', 'show'], ['complexity', 'x', '--shape', 'a', 'b'],
                                       ['nonsense'], ['demo', '--seed', 'x'], ['demo', 'x'], ['ablate'], ['report'],
                                       ['ablate', 'x.py', '--seeds', '-1'],
                                       ['ablate', 'x.py', '--jobs', '0'], ['ablate', '--seeds', '0', 'x.py']])
def test_wrong_usage_is_clicks_to_explain(arguments):
    assert 'Usage:' in fna(*arguments, code=2)


def test_ablate_hands_its_arguments_on(monkeypatch):
    calls = []
    monkeypatch.setattr('fna_mm.ablation.run_ablation', lambda *args: calls.append(args))
    fna('ablate', 'a.py', 'b.py')
    fna('ablate', 'a.py', '--seeds', 3, 1, '--cfg-options', 'x=1', 'y.z=2', '--cfg-options', 'w=3', '--jobs', 2,
        '--work-dir', 'there', '--seed-checkpoint', 's.pth', '--metric', 'aAcc', '--out', 'rows.md',
        '--format', 'markdown')
    assert calls == [
        (('a.py', 'b.py'), (0, ), 'work_dirs/ablations', (), None, 1, None, None, False),
        (('a.py', ), (3, 1), 'there', ('x=1', 'y.z=2', 'w=3'), 's.pth', 2, 'aAcc', 'rows.md', True)]


def test_report(tmp_path):
    search_dir(tmp_path / 'search', 1)
    assert fna('report', tmp_path / 'search', '--out', tmp_path / 'out') == f'written: {tmp_path / "out/index.html"}\n'
    assert (tmp_path / 'out/index.html').is_file()
    assert fna('report', tmp_path / 'search') == f'written: {tmp_path / "search/fna_report/index.html"}\n'
    assert "no run has the metric 'x'" in fna('report', tmp_path / 'search', '--metric', 'x', code=1)


def test_demo_hands_its_arguments_on(monkeypatch):
    calls = []
    monkeypatch.setattr('fna_mm.demo.run_demo', lambda *args: calls.append(args))
    fna('demo')
    fna('demo', '--work-dir', 'x', '--seed', 5)
    assert calls == [('work_dirs/fna_demo', 0), ('x', 5)]


def test_the_demos_configs_are_where_it_looks():
    from fna_mm.shipped_configs import configs_dir
    assert Config.fromfile(configs_dir() / 'demo/search.py').model.backbone.type == 'FNASuperNet'
