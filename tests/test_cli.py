import functools
import http.server
import json
import os
import pickle
import pty
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from mmengine.config import Config
from mmengine.config.config import ConfigParsingError
from synthetic_runs import search_dir
from toy_search import TOY, search_config, train

import fna_mm
from fna_mm import Architecture, config_path
from fna_mm.cli import main
from fna_mm.families.mobilenet_v2 import PUBLISHED

ROOT = Path(__file__).resolve().parents[1]
FNA = str(Path(sys.executable).with_name('fna'))


def fna(*arguments, code=0):
    """Run the command in this process; what it printed."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def rows(table):
    """The numbers of a table of ``fna complexity`` by the row's name."""
    lines = [re.split(r'\s{2,}', line.strip()) for line in table.splitlines()[1:]]
    return {name: tuple(cells) for name, *cells in lines}


@pytest.mark.parametrize('command', [[FNA], [sys.executable, '-m', 'fna_mm']])
def test_as_a_command(command, tmp_path):
    done = subprocess.run([*command, '--help'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          cwd=tmp_path)
    assert done.returncode == 0
    for word in ('complexity', 'arch', 'convert', 'remap', 'report', 'demo', '--debug', '--version'):
        assert word in done.stdout
    done = subprocess.run([*command, 'arch', 'show', 'nothing'], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ''
    assert done.stderr.startswith("Error: unknown arch 'nothing': expected one of")
    assert 'Traceback' not in done.stderr


def test_version():
    assert fna_mm.__version__ in fna('--version')


@pytest.mark.parametrize('arguments', [
    ['complexity'], ['arch', 'show'], ['arch', 'export'], ['arch', 'random'], ['convert'], ['remap'], ['compare'],
    ['report'], ['demo'], ['configs'], ['completion'], ['arch'], []])
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
@pytest.mark.slow
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
    assert found != Architecture.create(TOY)
    assert fna('arch', 'export', tmp_path / 'epoch_2.pth') == found.to_json()
    assert fna('arch', 'export', tmp_path / 'epoch_2.pth', tmp_path / 'out.json') == \
        f'written: {tmp_path / "out.json"}\n'
    assert Architecture.create(str(tmp_path / 'out.json')) == found


def test_export_of_an_architecture():
    assert fna('arch', 'export', 'fna_ssdlite') == Architecture.create('fna_ssdlite').to_json()


def test_a_random_architecture(tmp_path):
    arguments = ['arch', 'random', ROOT / 'configs/bccd/fna_ssdlite_search.py', '--like', 'fna_ssdlite', '--seed', '1']
    drawn = Architecture.from_json(fna(*arguments))
    shape = (240, 320)
    assert drawn.madds(shape) == pytest.approx(Architecture.create('fna_ssdlite').madds(shape), rel=.01)
    fna(*arguments[:3], tmp_path / 'out.json', *arguments[3:])
    assert Architecture.create(str(tmp_path / 'out.json')) == drawn


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


@pytest.mark.parametrize('content', ['x' * 10**6, '{"stages": [{"a": "' + 'x' * 10**6 + '"}]}',
                                     '{"stages": "' + 'x' * 10**6 + '"}', '{"version": "' + 'x' * 10**6 + '"}',
                                     '{"stages": [{"in_channels": 1, "out_channels": 1, "stride": 1, "layers": ["'
                                     + 'x' * 10**6 + '"]}]}', '[' * 10**6])
def test_messages_are_bounded_and_name_the_file(tmp_path, content):
    path = write(tmp_path, 'arch.json', content)
    printed = fna('arch', 'show', path, code=1)
    assert f'arch={path!r}: ' in printed
    assert len(printed) < 1000
    for text in (content, content.replace('"', '')):
        assert len(fna('arch', 'show', text, code=1)) < 2500


@pytest.mark.parametrize('name', ['arch.json', 'run[1].json', 'x [[1]].json'])
def test_names_and_beginnings_of_files(tmp_path, name):
    """A byte order mark, as some editors write it."""
    text = Architecture.create('fna_ssdlite').to_json()
    assert fna('arch', 'show', write(tmp_path, name, '\ufeff' + text), '--json') == text


def test_an_architecture_over_http(tmp_path):
    write(tmp_path, 'arch.json', Architecture.create('fna_ssdlite').to_json())
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f'http://127.0.0.1:{server.server_port}'
    try:
        assert fna('arch', 'show', f'{address}/arch.json').startswith(str(Architecture.create('fna_ssdlite')))
        assert 'there is no such file' in fna('arch', 'show', f'{address}/none.json', code=1)
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='this system has no pipes with names')
def test_a_pipe_does_not_hang(tmp_path):
    for name in ('x.json', 'x.pth', 'x.py', 'x.jpg'):
        os.mkfifo(tmp_path / name)
    config = write(tmp_path, 'c.py', 'a = 1')
    for arguments, code in (
            (['arch', 'show', tmp_path / 'x.json'], 1), (['arch', 'show', tmp_path / 'x.pth'], 1),
            (['complexity', tmp_path / 'x.py'], 2), (['adapt', config, tmp_path / 'x.pth'], 2),
            (['compare', config, 'x.pth', config, 'y.pth', tmp_path / 'x.jpg'], 2)):
        done = subprocess.run([FNA, *map(str, arguments)], capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert done.returncode == code
        assert 'cannot be read: it is no regular file' in done.stderr


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
                                       ['nonsense'], ['demo', '--seed', 'x'], ['demo', 'x'], ['report'],
                                       ['complexity', 'fna_ssdlite', '--shape', '0', '320'],
                                       ['complexity', 'fna_ssdlite', '--shape', '32', '32', '--output-stride', '0'],
                                       ['complexity', 'fna_ssdlite', '--shape', '32', '32', '--json', '--format',
                                        'markdown']])
def test_wrong_usage_is_clicks_to_explain(arguments):
    assert 'Usage:' in fna(*arguments, code=2)


def test_report(tmp_path):
    search_dir(tmp_path / 'search', 1)
    assert fna('report', tmp_path / 'search', '--out', tmp_path / 'out') == f'written: {tmp_path / "out/index.html"}\n'
    assert (tmp_path / 'out/index.html').is_file()
    assert fna('report', tmp_path / 'search') == f'written: {tmp_path / "search/fna_report/index.html"}\n'
    assert "no run has the metric 'x'" in fna('report', tmp_path / 'search', '--metric', 'x', code=1)


def test_demo_hands_its_arguments_on(monkeypatch):
    calls = []
    monkeypatch.setattr('fna_mm.demo.flow.run_demo', lambda *args: calls.append(args))
    fna('demo')
    fna('demo', '--work-dir', 'x', '--seed', 5)
    assert calls == [('work_dirs/fna_demo', 0), ('x', 5)]


def test_the_demos_configs_are_where_it_looks():
    from fna_mm.configs import configs_dir
    assert Config.fromfile(configs_dir() / 'demo/search.py').model.backbone.type == 'FNASuperNet'


# What programs read


def test_json_of_an_architecture():
    printed = json.loads(fna('arch', 'show', 'fna_ssdlite', '--json'))
    assert Architecture.create(printed) == Architecture.create('fna_ssdlite')


def test_json_of_a_complexity():
    arguments = ('complexity', 'fna_ssdlite', '--shape', 320, 320)
    assert json.loads(fna(*arguments, '--json')) == json.loads(fna(*arguments, '--format', 'json'))
    assert json.loads(fna(*arguments, '--json'))[0]['params_m'] == 2.11904


def test_json_of_a_remapping(toy, toy_checkpoint, tmp_path):
    printed = fna('remap', toy_checkpoint, toy.to_text(), tmp_path / 'x.pth', '--report', tmp_path / 'x.json', '--json')
    assert printed == (tmp_path / 'x.json').read_text()
    assert json.loads(printed)['seed'] == toy_checkpoint


# Shipped configs


def test_configs_are_listed_and_found(tmp_path):
    names = fna('configs').split()
    assert names == json.loads(fna('configs', '--json'))
    files = (path.relative_to(ROOT / 'configs') for path in (ROOT / 'configs').rglob('*.py'))
    assert sorted(names) == sorted(str(path) for path in files if '_base_' not in path.parts)
    path = fna('configs', 'bccd/fna_retinanet_search.py').strip()
    assert path == str(ROOT / 'configs/bccd/fna_retinanet_search.py')
    base = "__import__('fna_mm').config_path('bccd/fna_retinanet_search.py')"
    (tmp_path / 'mine.py').write_text(f'_base_ = {base}\nx = 1\n')
    mine = Config.fromfile(tmp_path / 'mine.py')
    assert mine.pop('x') == 1
    assert mine.to_dict() == Config.fromfile(path).to_dict()
    assert "'fna_retinanet.py': expected fna_retinanet_" in fna('configs', 'fna_retinanet.py', code=1)


def test_configs_of_mms_packages_are_found(tmp_path):
    """Also where the package that holds the module has another name, as in the maintained line."""
    pytest.importorskip('mmseg')
    path = config_path('mmseg::_base_/default_runtime.py')
    (tmp_path / 'mine.py').write_text("_base_ = __import__('fna_mm').config_path('mmseg::_base_/default_runtime.py')\n")
    assert Config.fromfile(tmp_path / 'mine.py').to_dict() == Config.fromfile(path).to_dict()
    with pytest.raises(ValueError, match="mmseg has no config 'nothing.py'"):
        config_path('mmseg::nothing.py')
    for module in ('mmnothing', '../mmseg'):
        with pytest.raises(ImportError, match=f'{module}::x.py needs the package {module}'):
            config_path(f'{module}::x.py')


# How it ends


@pytest.mark.parametrize('error', [
    RuntimeError('size mismatch'), AssertionError('mmcv is too new'), pickle.UnpicklingError('no pickle'),
    AttributeError('no such thing'), ConfigParsingError('odd config'), MemoryError()])
def test_no_exception_shows_a_traceback(monkeypatch, error):
    def fail(*arguments):
        raise error

    monkeypatch.setattr('fna_mm.demo.flow.run_demo', fail)
    assert fna('demo', code=1) == f'Error: {type(error).__name__}: {error}'.rstrip(': ') + '\n'
    assert CliRunner().invoke(main, ['--debug', 'demo']).exception is error


@pytest.mark.parametrize('debug', [[], ['--debug']])
def test_interrupted(monkeypatch, debug):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr('fna_mm.demo.flow.run_demo', interrupt)
    assert fna(*debug, 'demo', code=130).strip() == 'Interrupted.'


def test_a_closed_pipe_is_no_error(tmp_path):
    """As in ``fna configs | head -1``: no message."""
    done = subprocess.run(f'{FNA} configs 2>errors | (read line; echo "$line"); cat errors', shell=True, text=True,
                          capture_output=True, cwd=tmp_path)
    assert done.stdout.splitlines() == [fna('configs').splitlines()[0]]


def test_a_full_screen_has_a_bar(monkeypatch):
    """Who looks at the error stream sees how far it is; the output stream has the table alone."""
    leader, follower = pty.openpty()
    done = subprocess.Popen([FNA, 'complexity', 'fna_ssdlite', 'fna_retinanet', '--shape', '64', '64', '--json'],
                            stdout=subprocess.PIPE, stderr=follower, text=True)
    printed, _ = done.communicate(timeout=120)
    os.close(follower)
    assert len(json.loads(printed)) == 2
    assert b'100%' in os.read(leader, 100000)


# Quick answers


def test_answers_that_need_no_torch():
    code = """
import sys
sys.modules.update(dict.fromkeys(['torch', 'mmcv', 'matplotlib']))
from click.testing import CliRunner
from fna_mm.cli import main
for arguments in ('--help', '--version', 'arch show fna_retinanet', 'configs', 'completion zsh'):
    result = CliRunner().invoke(main, arguments.split(), prog_name='fna', catch_exceptions=False)
    print(arguments, result.exit_code, len(result.stdout) > 5, sep=';')
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line.split(';')[1:] for line in done.stdout.splitlines()] == 5 * [['0', 'True']], done.stdout


def test_the_command_has_everything_once_it_is_needed(tmp_path):
    """A name in a registry, an import of ours, and checkpoints that mmengine wrote."""
    code = """
import sys
sys.argv = ['fna']
import fna_mm
from mmengine.registry import HOOKS, MODELS
assert 'torch' not in sys.modules
made = MODELS.build(dict(type='FNAChildNet', arch='fna_ssdlite'))
assert type(made) is fna_mm.FNAChildNet is MODELS.get('FNAChildNet')
assert HOOKS.build(dict(type='BNCalibrationHook', num_iters=3)).num_iters == 3
import torch
from mmengine.logging import HistoryBuffer
torch.save(HistoryBuffer([1.], [1]), 'x.pth')
from fna_mm.checkpoints.safe_globals import TORCH_LOADS_SAFELY
if TORCH_LOADS_SAFELY:
    assert torch.load('x.pth', weights_only=True).current() == 1
try:
    fna_mm.nothing
except AttributeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "module 'fna_mm' has no attribute 'nothing'\n", done.stderr


@pytest.mark.parametrize('shell', ['bash', 'zsh', 'fish'])
def test_completion_script(shell):
    script = fna('completion', shell)
    assert '_FNA_COMPLETE' in script
    if shutil.which(shell):
        done = subprocess.run([shell, '-n'], input=script, text=True, capture_output=True)
        assert (done.returncode, done.stderr) == (0, '')


@pytest.mark.parametrize(('words', 'offered'), [
    ('fna comp', ['plain,compare', 'plain,completion', 'plain,complexity']),
    ('fna arch show fna_', ['plain,fna_deeplabv3', 'plain,fna_retinanet', 'plain,fna_ssdlite']),
    ('fna arch show work_dirs/', ['file,work_dirs/']),
    ('fna configs demo/cells', ['plain,demo/cells_found.py', 'plain,demo/cells_search.py']),
    ('fna complexity conf', ['file,conf']),
    ('fna remap --wi', ['plain,--width']),
])
def test_completion(words, offered):
    result = CliRunner().invoke(main, prog_name='fna', env=dict(
        _FNA_COMPLETE='bash_complete', COMP_WORDS=words, COMP_CWORD=str(words.count(' '))))
    assert sorted(result.stdout.split()) == offered


def test_no_command_writes_over_what_it_reads(toy_checkpoint, tmp_path):
    """Each of these once exited with 0, and the input was gone."""
    search = tmp_path / 'search.py'
    text = (ROOT / 'configs/bccd/fna_ssdlite_search.py').read_text()
    search.write_text(text.replace("'../_base_", f"'{ROOT}/configs/_base_"))
    like = tmp_path / 'like.json'
    like.write_text(Architecture.create('fna_ssdlite').to_json())
    before = {path: path.read_bytes() for path in (search, like, Path(toy_checkpoint))}
    for arguments in (['arch', 'export', like, like], ['arch', 'random', search, search, '--like', like],
                      ['arch', 'random', search, like, '--like', like],
                      ['arch', 'export', toy_checkpoint, toy_checkpoint]):
        assert 'cannot be written: it is one of the inputs' in fna(*arguments, code=1)
    assert {path: path.read_bytes() for path in before} == before
