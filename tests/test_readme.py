"""Every command that the README and the pages show runs, in their order, on drawn data and for a step or two.

Excepted are commands that install, that start this test or minutes of others, and those that need several GPUs.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset
from nbclient import NotebookClient
from released import FORMS, release_backbone
from toy_search import TOY
from toy_segmentation import train_segmentor, write_config

from fna_mm import FNAChildNet
from fna_mm.configs import package_of
from fna_mm.registration import REGISTERED

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / 'README.md').read_text()
#: The README, and behind it the pages, whose commands run in the same folder.
PAGES = README + ''.join((ROOT / f'docs/{name}.md').read_text() for name in (
    'adapt', 'gradient_search', 'own_config', 'latency', 'export', 'seeds', 'long_runs', 'paper', 'searches',
    'installation', 'troubleshooting'))
#: Every page that people read.
WRITTEN = [*sorted(ROOT.glob('*.md')), *sorted((ROOT / 'docs').rglob('*.md'))]
SIDE = '"(64,64)"'
#: Not run here: what starts with these words, and why.
ELSEWHERE = {
    'make': 'the targets are looked at below',
    'pip': 'installs; a wheel is installed by test_wheel.py',
    'mim install': 'the same',
    'bash tools/': 'of a clone of mm, on several GPUs',
    'GPUS=16': 'on a slurm cluster',
    'fna latency configs/adaptation': 'a minute at full size; a toy model is measured before it',
    'python -m tools': 'of a clone of this repository; test_latency_check.py looks at it',
}
LAYERS = '1,1,1,1,1,1'
#: What makes a training of the README's short: (start of the command, replaced settings).
SHORT = {
    'mim train mmdet configs/fna_retinanet_search.py': {
        'train_cfg.max_epochs': 2, 'train_cfg.val_interval': 9, 'custom_hooks.0.begin_epoch': 1,
        'model.backbone.layers_per_stage': LAYERS, 'model.backbone.init_cfg.checkpoint': 'mobilenet_v2.pth',
        'model.test_cfg.score_thr': 0., 'train_dataloader.num_workers': 0,
        'train_dataloader.dataset.dataset.pipeline.2.scale': SIDE,
        'custom_hooks.0.dataloader.num_workers': 0,
        'custom_hooks.0.dataloader.dataset.dataset.pipeline.2.scale': SIDE,
        'val_dataloader.dataset.pipeline.1.scale': SIDE, 'val_dataloader.num_workers': 0,
        'val_dataloader.persistent_workers': False},
    'mim train mmdet work_dirs': {
        'train_cfg.max_epochs': 1, 'train_dataloader.dataset.pipeline.2.scale': SIDE, 'model.test_cfg.score_thr': 0.,
        'train_dataloader.num_workers': 0, 'train_dataloader.persistent_workers': False,
        'val_dataloader.dataset.pipeline.1.scale': SIDE, 'val_dataloader.num_workers': 0,
        'val_dataloader.persistent_workers': False},
    'mim train mmsegmentation configs/fna_deeplabv3_search.py': {
        'train_cfg.max_epochs': 2, 'train_cfg.val_interval': 9, 'custom_hooks.0.begin_epoch': 1,
        'model.backbone.layers_per_stage': LAYERS, 'model.backbone.init_cfg.checkpoint': 'mobilenet_v2.pth',
        'model.data_preprocessor.size': SIDE, 'train_dataloader.num_workers': 0, 'train_dataloader.batch_size': 2,
        'train_dataloader.dataset.dataset.pipeline.2.scale': SIDE,
        'train_dataloader.dataset.dataset.pipeline.3.crop_size': SIDE,
        'train_dataloader.dataset.ratio': .5, 'custom_hooks.0.dataloader.dataset.ratio': .5,
        'custom_hooks.0.dataloader.num_workers': 0, 'custom_hooks.0.dataloader.batch_size': 2,
        'custom_hooks.0.dataloader.dataset.dataset.pipeline.2.scale': SIDE,
        'custom_hooks.0.dataloader.dataset.dataset.pipeline.3.crop_size': SIDE,
        'val_dataloader.dataset.pipeline.1.scale': SIDE, 'val_dataloader.num_workers': 0,
        'val_dataloader.persistent_workers': False},
    'mim train mmsegmentation work_dirs': {
        'train_cfg.max_iters': 1, 'train_cfg.val_interval': 9, 'custom_hooks.0.num_iters': 1,
        'model.data_preprocessor.size': SIDE, 'train_dataloader.num_workers': 0, 'train_dataloader.batch_size': 2,
        'train_dataloader.persistent_workers': False, 'train_dataloader.dataset.pipeline.2.scales': '"[(64,64)]"',
        'train_dataloader.dataset.pipeline.3.crop_size': SIDE, 'val_dataloader.dataset.pipeline.1.scale': SIDE,
        'val_dataloader.num_workers': 0, 'val_dataloader.persistent_workers': False},
}


def commands():
    """The commands in the bash blocks, whole, without comments, each one once."""
    return dict.fromkeys(_commands())


def _commands():
    for block in re.findall(r'```bash\n(.*?)```', PAGES, re.DOTALL):
        for line in block.replace('\\\n', ' ').splitlines():
            if words := shlex.split(line, comments=True):
                yield from ' '.join(words).split(' && ')


def is_elsewhere(command):
    return any(command.startswith(words) for words in ELSEWHERE)


def draw_coco(root):
    """Four images of 64x64 with a box each, as COCO's two splits."""
    rng = np.random.default_rng(0)
    categories = [dict(id=index + 1, name=name) for index, name in enumerate(CocoDataset.METAINFO['classes'])]
    for split in ('train2017', 'val2017'):
        images, boxes = [], []
        for index in range(4):
            path = root / split / f'{index}.jpg'
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), rng.integers(0, 255, (64, 64, 3), np.uint8))
            images.append(dict(id=index, file_name=path.name, width=64, height=64))
            boxes.append(dict(id=index + 1, image_id=index, category_id=index + 1, bbox=[8, 8, 40, 32], area=1280,
                              iscrowd=0))
        path = root / f'annotations/instances_{split}.json'
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(dict(images=images, annotations=boxes, categories=categories)))


def draw_cityscapes(root):
    """Four images of 64x128 in each of its two splits."""
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for index in range(4):
            for folder, kind, image in (
                    ('leftImg8bit', 'leftImg8bit', rng.integers(0, 255, (64, 128, 3), np.uint8)),
                    ('gtFine', 'gtFine_labelTrainIds', rng.integers(0, 19, (64, 128), np.uint8))):
                path = root / folder / split / f'town/town_{index:06d}_000000_{kind}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), image)


@pytest.fixture(scope='module')
def workplace(tmp_path_factory):
    """A clone's root as far as the README's commands see it."""
    root = tmp_path_factory.mktemp('readme')
    (root / 'configs').symlink_to(ROOT / 'configs')
    draw_coco(root / 'data/coco')
    draw_cityscapes(root / 'data/cityscapes')
    torch.manual_seed(0)
    for name, arch in (('mobilenet_v2', 'mobilenet_v2'), ('released', 'fna_retinanet')):
        net = FNAChildNet(arch)
        net.init_weights()
        state = net.state_dict() if name == 'mobilenet_v2' else FORMS['mmdet'](release_backbone(net.state_dict()))
        torch.save(state, root / f'{name}.pth')
    config, checkpoint = train_segmentor(root)
    (root / 'my_config.py').symlink_to(config)
    write_config(root, a=(f'''type='FNAChildNet', arch="""{TOY}""", out_indices=(1, 2), output_stride=8''',
                          "type='ResNet', depth=18, out_indices=(2, 3)"),
                 b=('in_channels=8', 'in_channels=512')).rename(root / 'my_resnet.py')
    (root / 'work_dirs/my_config').mkdir(parents=True)
    (root / 'work_dirs/my_config/epoch_24.pth').symlink_to(checkpoint)
    return root


def test_the_commands_are_found():
    found = list(commands())
    assert {'make demo', 'make test'} <= set(found)
    assert sum(command.startswith('mim train') for command in found) >= 4
    assert sum(command.startswith('fna ') for command in found) >= 4
    assert all(command.startswith((*ELSEWHERE, 'mim train', 'fna ')) for command in found)


def test_what_is_made_can_be_made():
    targets = set(re.findall(r'(?:^|`)make ([\w-]+)', PAGES, re.MULTILINE))
    assert {'demo', 'test', 'bench', 'install'} <= targets
    for target in targets:
        done = subprocess.run(['make', '-n', target], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, target


def anchors(text):
    """The anchors of a page's headings, as forges make them."""
    return {re.sub(r'[^\w\- ]', '', heading.strip().lower()).replace(' ', '-')
            for heading in re.findall(r'^#+ (.*)$', text, re.MULTILINE)}


@pytest.mark.parametrize('page', WRITTEN, ids=[str(page.relative_to(ROOT)) for page in WRITTEN])
def test_links_lead_somewhere(page):
    text = re.sub(r'```.*?```', '', page.read_text(), flags=re.DOTALL)
    for link in re.findall(r'\]\(([^)\s]+)\)', text):
        if not link.startswith(('http://', 'https://')):
            path, _, anchor = link.partition('#')
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target.read_text()), link


def test_pages_are_in_the_index():
    """``make docs`` builds what the index names, and the reference has every name of configs."""
    named = (ROOT / 'docs/index.md').read_text().split('```{toctree}')[1].split()
    pages = {str(page.relative_to(ROOT / 'docs').with_suffix('')) for page in (ROOT / 'docs').rglob('*.md')}
    assert {name for name in named if name[0].isalpha()} == pages - {'index'}
    reference = (ROOT / 'docs/reference/configs.md').read_text()
    for _, _, names in REGISTERED:
        assert all(f'.{name}\n' in reference for name in names)


def test_pages_can_be_read():
    """The README is two screens and a list of pages, a page has one purpose, and each page is listed."""
    assert len(README.encode()) <= 9000
    for page in (ROOT / 'docs').rglob('*.md'):
        assert len(page.read_bytes()) <= 12000, page
        assert page.parent.name != 'docs' or page.name == 'index.md' or f'](docs/{page.name})' in README, page


NOTEBOOK = ROOT / 'docs/tutorial.ipynb'


def outputs_of(notebook):
    return [output for cell in notebook.cells if cell.cell_type == 'code' for output in cell.outputs]


def test_the_notebook_shows_results_and_no_machine():
    notebook = nbformat.read(NOTEBOOK, 4)
    outputs = outputs_of(notebook)
    assert sum('image/png' in output.get('data', {}) for output in outputs) == 2
    assert all(output.output_type in ('stream', 'display_data', 'execute_result') for output in outputs)
    assert all(output.get('name') != 'stderr' for output in outputs)
    for output in outputs:
        assert not re.search(r'(^|[\s\'"])/\w+/', str(output.get('text', '')))


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    notebook = nbformat.read(NOTEBOOK, 4)
    where = dict(metadata=dict(path=tmp_path))
    NotebookClient(notebook, timeout=600, kernel_name='python3', resources=where).execute()
    shown = outputs_of(notebook)[-1].text
    trained, child = (float(line.split()[-1]) for line in shown.splitlines())
    assert 40 < trained < 44
    assert abs(child - trained) < 2.


@pytest.mark.slow
def test_every_command_runs(workplace):
    for command in commands():
        if is_elsewhere(command):
            continue
        words = shlex.split(command)
        if words[:2] == ['mim', 'train']:
            if '--gpus' in words:  # the same config, on eight GPUs
                assert (workplace / words[3]).is_file()
                continue
            (short, ) = (settings for start, settings in SHORT.items() if command.startswith(start))
            words[2] = package_of({'mmsegmentation': 'mmseg'}.get(words[2], words[2]))  # the maintained line has others
            words = [*words, '--gpus', '0', '--cfg-options', *(f'{key}={value}' for key, value in short.items())]
        words = ['fna_mm' if words[0] == 'fna' else words[0], *words[1:]]
        done = subprocess.run(
            [sys.executable, '-m', *words], cwd=workplace, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=dict(os.environ, OMP_NUM_THREADS='1'), timeout=600)
        assert done.returncode == 0, f'{command}\n{done.stdout[-4000:]}'
