"""The built wheel in a clean environment beside the mm packages: what someone has after ``pip install fna-mm``."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fna_mm.configs import package_of
from fna_mm.demo.shapes import draw_shapes

ROOT = Path(__file__).resolve().parents[1]
CONFIG = """
_base_ = __import__('fna_mm').config_path('demo/search.py')
train_dataloader = dict(batch_size=2)
train_cfg = dict(max_epochs=1, val_interval=1)
model = dict(backbone=dict(init_cfg=None))
default_hooks = dict(checkpoint=dict(interval=1), logger=dict(interval=1))
"""
#: With four images in each half: two steps of the weights, each followed by one of the architecture.
OPTIONS = {'begin_epoch': 0, 'dataloader.batch_size': 2}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec('hatchling') is None, reason='hatchling builds the wheel; not here'),
    pytest.mark.skipif(importlib.util.find_spec('mmdet') is None, reason='mmdet trains; it is not here'),
]


def run(*command, cwd, **environment):
    """Run a command as a user would, without this source tree on the path."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(('PYTHON', 'FNA_'))}
    done = subprocess.run([str(word) for word in command], cwd=cwd, env={**clean, **environment}, text=True,
                          capture_output=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def environment(folder, wheel):
    """A new virtual environment with one package of its own, and all that the present one has behind it."""
    run(sys.executable, '-m', 'venv', '--without-pip', folder, cwd=ROOT)
    run(sys.executable, '-m', 'pip', '--python', folder / 'bin/python', 'install', '-q', '--no-deps', '--no-index',
        wheel, cwd=folder)
    (site, ) = folder.glob('lib/*/site-packages')
    # Only now, so that pip has nothing else to look at. Files ending in .pth are read in the environment's own folder
    # alone: an editable fna_mm of the present one stays out.
    (site / 'present.pth').write_text('\n'.join(path for path in sys.path if path.endswith('-packages')))
    return site


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the tree that leaves nothing behind here."""
    folder = tmp_path_factory.mktemp('wheel')
    shutil.copytree(ROOT, folder / 'tree', symlinks=True, ignore=shutil.ignore_patterns(
        '.git', '.venv*', 'work_dirs', 'data', '*cache*', 'build', 'dist'))
    run(sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', folder,
        folder / 'tree', cwd=folder)
    (path, ) = folder.glob('*.whl')
    return path


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    """(its python, its site-packages) of an environment with the wheel."""
    folder = tmp_path_factory.mktemp('environment')
    site = environment(folder, wheel)
    return folder / 'bin/python', site


def test_the_wheel_is_what_is_imported_and_is_typed(installed, tmp_path):
    python, site = installed
    printed = run(python, '-W', 'ignore', '-c', 'import fna_mm, mmdet; print(fna_mm.__file__)', cwd=tmp_path)
    assert printed.split()[-1] == str(site / 'fna_mm/__init__.py')
    assert (site / 'fna_mm/py.typed').is_file()


def test_the_wheel_holds_the_package_alone(wheel):
    """None of what this repository's people run."""
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split('/')[0].split('-')[0] for name in names} == {'fna_mm'}
    assert not [name for name in names if 'bench' in name or 'ablation/' in name]


def test_the_wheel_holds_what_commands_read(wheel):
    """Templates of pages, and the demo's photographs and detector."""
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ('report/templates', 'demo/cells'):
        inside = {path.relative_to(ROOT).as_posix() for path in (ROOT / 'fna_mm' / folder).rglob('*') if path.is_file()}
        assert inside <= names
        assert len(inside) > 4


def test_the_command(installed, tmp_path):
    import fna_mm
    fna = installed[0].with_name('fna')
    assert run(fna, '--version', cwd=tmp_path).strip().endswith(fna_mm.__version__)
    assert run(fna, 'arch', 'show', 'fna_retinanet', cwd=tmp_path) == \
        str(fna_mm.Architecture.create('fna_retinanet')) + '\n'
    names = run(fna, 'configs', cwd=tmp_path).split()
    assert 'fna_retinanet_search.py' in names
    path = run(fna, 'configs', 'fna_retinanet_search.py', cwd=tmp_path).strip()
    assert path == str(installed[1] / 'fna_mm/.mim/configs/fna_retinanet_search.py')


def test_two_iterations_from_a_packaged_config(installed, tmp_path):
    """mmdet's own training tool, a config over a packaged one, two weight and two architecture steps."""
    import mmdet
    draw_shapes(tmp_path / 'shapes', dict(train=8, val=2, test=2))
    (tmp_path / 'mine.py').write_text(CONFIG)
    tool = Path(mmdet.__file__).parent / '.mim/tools/train.py'
    run(installed[0], '-W', 'ignore', tool, 'mine.py', '--work-dir', tmp_path / 'out', '--cfg-options',
        *(f'custom_hooks.0.{name}={value}' for name, value in OPTIONS.items()), cwd=tmp_path,
        FNA_DEMO_DATA=str(tmp_path / 'shapes'), OMP_NUM_THREADS='1')
    assert {'arch.json', 'child_config.py', 'epoch_1.pth'} <= {path.name for path in (tmp_path / 'out').iterdir()}
    (log, ) = (tmp_path / 'out').glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    losses = [line['loss'] for line in lines if 'loss' in line]
    assert len(losses) == 2
    assert all(0 < loss < 100 for loss in losses)
    assert 'arch_loss' in lines[1]


def test_mim_finds_the_models(installed, tmp_path):
    pytest.importorskip('mim')
    if package_of('mim') == 'onedl-mim':
        pytest.skip("the maintained line's mim looks in the folder of the first installed file: the command fna")
    code = ("from mim.commands.search import get_model_info as info; "
            "print(info('fna_mm', models=['fna ssdlite'], to_dict=True))")
    printed = run(installed[0], '-W', 'ignore', '-c', code, cwd=tmp_path)
    assert 'configs/fna_ssdlite_retrain.py' in printed
    assert 'configs/fna_retinanet_retrain.py' not in printed


def test_configs_of_an_editable_install_do_not_grow_old(wheel, tmp_path):
    """What mim finds beside an editable install follows the source tree."""
    pytest.importorskip('editables')
    tree = wheel.parent / 'tree'
    built = run(sys.executable, '-c', f'import hatchling.build as it; print(it.build_editable({str(tmp_path)!r}))',
                cwd=tree)
    site = environment(tmp_path / 'env', tmp_path / built.split()[-1])
    config = tree / 'configs/demo/search.py'
    config.write_text(config.read_text() + 'added_later = 7\n')
    code = (f"from mmengine.config import Config; import fna_mm; print(fna_mm.__file__, "
            f"Config.fromfile({str(site / 'fna_mm/.mim/configs/demo/search.py')!r}).added_later)")
    printed = run(tmp_path / 'env/bin/python', '-W', 'ignore', '-c', code, cwd=tmp_path)
    assert printed.split()[-2:] == [str(tree / 'fna_mm/__init__.py'), '7']
    assert (site / 'fna_mm/.mim/model-index.yml').read_text() == (ROOT / 'model-index.yml').read_text()
