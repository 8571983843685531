"""The rules of who may import whom, read off the sources."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fna_mm

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it there

PACKAGE = Path(fna_mm.__file__).parent
#: Modules may import from earlier rows, or from earlier in their own row.
ROWS = [
    ['checkpoints.safe_globals', 'checkpoints.restricted_pickle', 'registration', 'checkpoints.whole_files',
     'checkpoints.opening', 'checkpoints.whole_models',
     'checkpoints.folder_lock', 'checkpoints.last_checkpoint', 'checkpoints'],
    ['checks', 'sections', 'families.layouts', 'families.family', 'families.tapped_block', 'families.mbconv',
     'families.mbconv_block',
     'families.mobilenet_v2', 'families.efficientnet_lite', 'families.residual', 'families.residual_block',
     'families.resnet', 'families', 'architecture', 'search_space'],
    ['cost.budget', 'cost.choice', 'cost.madds', 'cost.block_table', 'cost.best_path', 'cost.cost_loss',
     'cost.complexity', 'cost.random_architecture', 'cost'],
    ['backbones.base_backbone', 'backbones.believed_strides', 'backbones.fna_child_net', 'backbones.elastic_space',
     'backbones.fna_elastic_net', 'backbones.fused_mixture', 'backbones.mixed_op',
     'backbones.fna_supernet', 'backbones.supernet_parallel', 'backbones'],
    ['remapping.normalisation', 'remapping.tensor_remapping', 'remapping.seed_checkpoint',
     'remapping.parameter_remapping', 'remapping.initializer', 'remapping'],
    ['configs', 'checkpoints.searched', 'checkpoints.search_child', 'checkpoints.released', 'checkpoints.remapped'],
    ['datasets.random_split', 'datasets', 'heads.aspp_heads', 'heads.ssd_head', 'heads'],
    ['hooks.endless_batches', 'hooks.pending_gradients', 'hooks.preflight', 'hooks.rank_agreement',
     'hooks.architecture_optimizer', 'hooks.alternating_optimizer_hook', 'hooks.bn_calibration_hook',
     'hooks.distillation', 'hooks.feature_distillation_hook', 'hooks.output_distillation_hook',
     'hooks.rehearsal_hook'],
    ['report.canvas', 'report.architecture_figures', 'report.search_figures', 'report.time_figures',
     'report.comparison', 'report.time_account', 'report.history', 'report.mm_logs', 'report.run',
     'report.drawing', 'report.html', 'report.answers', 'report.fronts', 'report.page', 'report'],
    ['hooks.architecture_export_hook', 'hooks'],
    ['adaptation.moments', 'adaptation.fitting', 'adaptation.patches', 'adaptation.chain', 'adaptation.kernels',
     'adaptation.prices', 'adaptation.candidates',
     'adaptation.statistics', 'adaptation.narrow_block', 'adaptation.child', 'adaptation.shared_widths',
     'adaptation.narrowing', 'adaptation.taps', 'adaptation.scores', 'adaptation.sensitivity',
     'adaptation.refit', 'adaptation.trained_model', 'adaptation.images', 'adaptation.work_folder',
     'adaptation.measuring', 'adaptation.outside', 'adaptation.candidate_table', 'adaptation.tap_widths',
     'adaptation.finetuning', 'adaptation.teaching', 'adaptation.evaluation', 'adaptation.figures',
     'adaptation.page', 'adaptation.prepared_search', 'adaptation.growth', 'adaptation.rehearsal',
     'adaptation.growing', 'adaptation.options', 'adaptation.flow', 'adaptation', 'adaptation.processes'],
    ['user_config.inherited', 'user_config.maps', 'user_config.channels', 'user_config.swap', 'user_config.search',
     'user_config.trial', 'user_config.flow', 'user_config'],
    ['export.network', 'export.onnx_timing', 'export.pooling', 'export.onnx_file', 'export'],
    ['latency.runners', 'latency.measured_blocks', 'latency.flow', 'latency'],
    ['demo', 'demo.shapes', 'demo.flow', 'cli', '__main__', ''],
]
ORDER = [module for row in ROWS for module in row]
#: What every installation has: mmengine, and mmcv with cv2, come with each of mm's extras.
PROJECT = tomllib.loads((PACKAGE.parent / 'pyproject.toml').read_text(encoding='utf-8'))['project']
INSTALLED = {re.match(r'\w+', requirement)[0] for requirement in PROJECT['dependencies']} | {'mmengine', 'mmcv', 'cv2'}


def modules():
    """Dotted name within the package → syntax tree."""
    result = {}
    for path in sorted(PACKAGE.rglob('*.py')):
        parts = path.relative_to(PACKAGE).with_suffix('').parts
        name = '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)
        result[name] = ast.parse(path.read_text(encoding='utf-8'))
    return result


MODULES = modules()


def imports(nodes):
    """Dotted names of the modules that are imported by these nodes."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, 'relative imports are not used here'
            # "from fna_mm.cost import madds" may name a module.
            inner = [f'{node.module}.{alias.name}' for alias in node.names]
            ours = [name for name in inner if name.removeprefix('fna_mm.') in MODULES]
            yield from ours or [node.module]


def everywhere(name):
    return set(imports(ast.walk(MODULES[name])))


def at_import_time(name):
    """Imports outside of functions."""
    pending, found = list(MODULES[name].body), []
    while pending:
        node = pending.pop()
        found.append(node)
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            pending += list(ast.iter_child_nodes(node))
    return set(imports(found))


def ours(names):
    return {name.removeprefix('fna_mm').removeprefix('.') for name in names if name.split('.')[0] == 'fna_mm'}


def roots(names):
    return {name.split('.')[0] for name in names}


def test_the_package_does_without_the_tools():
    assert {name for name in MODULES if 'tools' in roots(everywhere(name))} == set()
    tools = [ast.parse(path.read_text(encoding='utf-8')) for path in (PACKAGE.parent / 'tools').rglob('*.py')]
    assert {'fna_mm', 'tools'} < roots(name for tree in tools for name in imports(ast.walk(tree)))


def test_a_name_means_one_thing_in_package_and_tools():
    """Modules, and classes that others see."""
    found = []
    for folder in (PACKAGE, PACKAGE.parent / 'tools'):
        paths = [path for path in folder.rglob('*.py') if not path.name.startswith('__')]
        classes = {node.name for path in paths for node in ast.parse(path.read_text(encoding='utf-8')).body
                   if isinstance(node, ast.ClassDef)}
        rooms = {path.name for path in folder.rglob('*') if path.is_dir() and path.name != '__pycache__'}
        found.append(classes | rooms | {path.stem for path in paths})
    assert min(map(len, found)) > 20
    assert found[0] & found[1] == set()


def test_every_module_has_its_place():
    assert set(MODULES) == set(ORDER)
    assert len(ORDER) == len(set(ORDER))


@pytest.mark.parametrize('name', sorted(MODULES))
def test_imports_go_one_way(name):
    later = {other for other in ours(everywhere(name)) if ORDER.index(other) >= ORDER.index(name)}
    assert later == set()


@pytest.mark.parametrize('name', sorted(MODULES))
def test_three_neighbours_do_not_know_each_other(name):
    neighbours = {'backbones', 'remapping', 'cost'}
    own = name.split('.')[0]
    if own in neighbours:
        assert not {other.split('.')[0] for other in ours(everywhere(name))} & (neighbours - {own})


@pytest.mark.parametrize('name', sorted(MODULES))
def test_only_what_is_installed_is_imported_unconditionally(name):
    foreign = roots(at_import_time(name)) - {'fna_mm'} - set(sys.stdlib_module_names)
    # Heads are nothing without the mm package whose parts they are made of; the package does without them.
    assert foreign <= INSTALLED | {'heads.aspp_heads': {'mmseg'}, 'heads.ssd_head': {'mmdet'}}.get(name, set())


@pytest.mark.parametrize(('name', 'forbidden'), [
    *((name, {'torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg'}) for name in (
        'checks', 'families', 'families.family', 'families.layouts', 'families.mbconv',
        'families.mobilenet_v2', 'architecture', 'search_space', 'cost.madds')),
    *((name, {'mmengine', 'mmcv', 'mmdet', 'mmseg'}) for name in (
        'remapping.tensor_remapping', 'remapping.seed_checkpoint', 'remapping.parameter_remapping', 'cost.cost_loss')),
])
def test_light_modules(name, forbidden):
    assert not roots(at_import_time(name)) & forbidden


def python(code, *blocked):
    """Run code in a fresh interpreter in which importing the blocked packages fails."""
    block = ''.join(f'import sys; sys.modules[{name!r}] = None\n' for name in blocked)
    return subprocess.run([sys.executable, '-W', 'ignore', '-c', block + code], capture_output=True, text=True,
                          timeout=120, cwd=PACKAGE.parent)


def test_values_need_neither_torch_nor_mm():
    code = f"""
import types
for name, folder in (('fna_mm', ''), ('fna_mm.cost', '/cost')):
    package = types.ModuleType(name)  # in place of an __init__, which imports everything
    package.__path__ = [{str(PACKAGE)!r} + folder]
    sys.modules[name] = package
from fna_mm.architecture import Architecture
from fna_mm.search_space import SearchSpace
from fna_mm.cost.madds import madds_table
architecture = Architecture.create('fna_retinanet')
space = SearchSpace()
print(architecture.params(), round(madds_table(space, (800, 1088)).of_path(space.choice(architecture)), 4))
"""
    run = python(code, 'torch', 'numpy', 'mmengine', 'mmcv', 'mmdet', 'mmseg')
    assert run.stdout.split() == ['2055712', '4.8234'], run.stderr


def test_package_needs_neither_mmdet_nor_mmseg():
    """Only the heads do, and say so."""
    code = """
import fna_mm
from mmengine.registry import MODELS
print(len(MODELS.build(dict(type='FNAChildNet', arch='fna_retinanet')).out_channels))
for head in ('SeparableASPPHead', 'SSDLiteHead'):
    try:
        MODELS.build(dict(type=head))
    except ImportError as error:
        print(error)
"""
    run = python(code, 'mmdet', 'mmseg')
    channels, *errors = run.stdout.splitlines()
    assert channels == '4', run.stderr
    assert errors == [f'{head} needs the package {package}, which is not installed'
                      for head, package in (('SeparableASPPHead', 'mmseg'), ('SSDLiteHead', 'mmdet'))]


def test_the_bench_alone_registers_its_images():
    code = '''
import fna_mm
from mmengine.registry import DATASETS
print('RandomSplit' in DATASETS, 'SyntheticImages' in DATASETS)
import tools.bench.iteration
print('SyntheticImages' in DATASETS)
'''
    run = python(code)
    assert run.stdout.split() == ['True', 'False', 'True'], run.stderr


def test_public_names():
    assert all(hasattr(fna_mm, name) for name in fna_mm.__all__)
    assert len(set(fna_mm.__all__)) == len(fna_mm.__all__)


@pytest.mark.parametrize('extra', ['det', 'seg', 'onedl-det', 'onedl-seg'])
def test_an_extra_brings_one_line_of_mm(extra):
    """The two lines are packages of different names with the same modules: both together overwrite each other."""
    names = {re.match(r'[\w-]+', requirement)[0] for requirement in PROJECT['optional-dependencies'][extra]}
    line = 'onedl-' if extra.startswith('onedl') else ''
    assert {f'{line}mmengine', f'{line}mmcv'} <= names
    assert all(name.startswith('onedl-') == bool(line) for name in names if 'mm' in name)
    assert not any('mm' in requirement for requirement in PROJECT['dependencies'])
