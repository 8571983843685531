"""Names in mm's registries: all of them, from the start, and what stands behind them."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from mmengine.registry import MODEL_WRAPPERS

import fna_mm
from fna_mm.registration import REGISTERED

NAMES = [(registry, module, name) for registry, module, names in REGISTERED for name in names]


def test_every_registered_class_is_in_the_table():
    """Those with ``register_module`` above them; TASK_UTILS takes classes that know nothing of mm."""
    decorated = set()
    for path in Path(fna_mm.__file__).parent.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and any('register_module' in ast.unparse(decorator)
                                                      for decorator in node.decorator_list):
                decorated.add(node.name)
    assert decorated | {'MAddsCost', 'TableCost'} == {name for _, _, name in NAMES}


@pytest.mark.parametrize(('registry', 'module', 'name'), NAMES, ids=[name for *_, name in NAMES])
def test_an_imported_class_takes_its_place(registry, module, name):
    if 'heads' in module:
        pytest.importorskip('mmdet' if name == 'SSDLiteHead' else 'mmseg')
    wanted = getattr(import_module(module), name)
    assert isinstance(wanted, type)
    assert (registry or MODEL_WRAPPERS).get(name) is wanted
    if 'heads' not in module:
        assert getattr(fna_mm, name) is wanted


@pytest.fixture(scope='module')
def process():
    """What a new process prints, before and after something of ours is asked for."""
    code = """
import fna_mm, sys, torch
from mmengine.model import is_model_wrapper
from mmengine.registry import MODELS
print(is_model_wrapper(torch.nn.Linear(1, 1)), fna_mm.FNADistributedDataParallel.__name__)
print('mmdet' in sys.modules, 'mmseg' in sys.modules, MODELS.get('SSDLiteHead').__module__)
"""
    run = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return [line.split() for line in run.stdout.splitlines()]


def test_a_wrapper_is_never_a_function(process):
    """mmengine asks ``isinstance(model, everything that is registered)``: also before any import."""
    assert process[0] == ['False', 'FNADistributedDataParallel']


def test_heads_are_imported_when_they_are_built(process):
    assert process[1] == ['False', 'False', 'fna_mm.heads.ssd_head']


def test_without_mm_one_sentence_says_what_to_install():
    """mm is no dependency of the package alone, because it has two lines."""
    code = """
import sys

class WithoutMM:
    def find_spec(self, name, *_):
        if name == 'mmengine':
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)

sys.meta_path.insert(0, WithoutMM())
import fna_mm
"""
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert run.returncode
    assert "ImportError: fna_mm needs mm, which comes with an extra: pip install 'fna-mm[det]'" in run.stderr
