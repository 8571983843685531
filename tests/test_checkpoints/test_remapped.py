"""``fna remap``: through the command, through mm's Runner."""

import json
import re

import mmdet.registry
import mmseg.registry
import pytest
import torch
from click.testing import CliRunner
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from fna_mm import Architecture, FNAChildNet
from fna_mm.cli import main
from fna_mm.remapping.parameter_remapping import remap_parameters
from fna_mm.remapping.seed_checkpoint import read_seed

#: A child of the toy seed with layers that are added, left out, narrowed and have larger kernels.
CHILD = "[[8, 4], ['k5_e1'], 1]|[[4, 6], ['k3_e6'], 2]|[[6, 8], ['k7_e3', 'k3_e6', 'k5_e6', 'k3_e2'], 2]"


def fna(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def child(**kwargs):
    return FNAChildNet(CHILD, (0, 2), 8, **kwargs)


def expected_state(seed, width='first', kernel='center'):
    net = FNAChildNet(CHILD, (3, ), 8, head_channels=10)
    return remap_parameters(read_seed(seed), net.state_dict(), width, kernel)[0]


def assert_state(state, expected):
    assert set(state) == set(expected)
    for key, value in expected.items():
        assert torch.equal(state[key], value), key


@pytest.fixture
def out(toy_checkpoint, tmp_path):
    """What the command makes of the toy seed."""
    path = tmp_path / 'remapped.pth'
    fna('remap', toy_checkpoint, CHILD, path)
    return str(path)


@pytest.mark.parametrize(('width', 'kernel'), [('first', 'center'), ('bn', 'dilate'), ('std', 'center'),
                                               ('l1', 'dilate')])
def test_file(toy_checkpoint, toy_seed, tmp_path, width, kernel):
    path, report = tmp_path / 'new folder' / 'remapped.pth', tmp_path / 'report.json'
    printed = fna('remap', toy_checkpoint, CHILD, path, '--width', width, '--kernel', kernel, '--report', report)
    lines = printed.splitlines()
    assert lines[0] == f'{toy_checkpoint} (mmdet layout) → {path}, width={width}, kernel={kernel}'
    assert lines[1].split() == ['layer', 'seed', 'tensors', 'remapped']
    assert [line.split()[0] for line in lines[2:10]] == [
        'conv1', 'layer1.0', 'layer2.0', 'layer3.0', 'layer3.1', 'layer3.2', 'layer3.3', 'conv2']
    assert lines[-1] == f'written: {path}'

    checkpoint = torch.load(path, weights_only=True)
    assert set(checkpoint) == {'meta', 'state_dict'}
    state = {key.removeprefix('backbone.'): value for key, value in checkpoint['state_dict'].items()}
    assert all(key.startswith('backbone.') for key in checkpoint['state_dict'])
    assert_state(state, expected_state(toy_seed, width, kernel))
    meta = checkpoint['meta']
    assert Architecture.create(meta['arch']) == Architecture.create(CHILD)
    assert meta == dict(arch=meta['arch'], made_by='fna_mm remap', seed=toy_checkpoint, seed_layout='mmdet',
                        width=width, kernel=kernel)

    values = json.loads(report.read_text(encoding='utf-8'))
    assert [row['target'] for row in values['tensors']] == list(state)
    assert all(set(row) == {'target', 'source', 'action'} and row['source'] in toy_seed for row in values['tensors'])
    assert (values['layout'], values['width'], values['kernel']) == ('mmdet', width, kernel)
    assert (values['seed'], values['arch']) == (toy_checkpoint, meta['arch'])
    assert {key.rsplit('.', 3)[0] for key in values['unused']} == {'layer2.1'}
    assert sorted(path.parent.iterdir()) == [path]


def test_without_a_last_convolution(toy_seed, tmp_path):
    seed = {key: value for key, value in toy_seed.items() if not key.startswith('conv2')}
    torch.save(seed, tmp_path / 'seed.pth')
    fna('remap', tmp_path / 'seed.pth', CHILD, tmp_path / 'out.pth')
    state = torch.load(tmp_path / 'out.pth', weights_only=True)['state_dict']
    assert set(state) == {f'backbone.{key}' for key in child().state_dict()}


def test_without_counters(toy_seed, tmp_path):
    """They start at 0; the file has them, as mm expects."""
    torch.save({key: value for key, value in toy_seed.items() if 'num_batches' not in key}, tmp_path / 'seed.pth')
    fna('remap', tmp_path / 'seed.pth', CHILD, tmp_path / 'out.pth')
    state = torch.load(tmp_path / 'out.pth', weights_only=True)['state_dict']
    counters = [value for key, value in state.items() if key.endswith('num_batches_tracked')]
    assert set(state) == {f'backbone.{key}' for key in expected_state(toy_seed)}
    assert len(counters) == 19
    assert not any(counters)


def test_any_architecture(toy_checkpoint, toy_seed, tmp_path):
    """An arch.json, and the file itself as the seed of another."""
    (tmp_path / 'arch.json').write_text(Architecture.create(CHILD).to_json())
    fna('remap', toy_checkpoint, tmp_path / 'arch.json', tmp_path / 'one.pth')
    fna('remap', tmp_path / 'one.pth', CHILD, tmp_path / 'two.pth')
    one, two = (torch.load(tmp_path / name, weights_only=True) for name in ('one.pth', 'two.pth'))
    assert_state(two['state_dict'], one['state_dict'])
    assert one['meta']['arch'] == two['meta']['arch']


def test_an_older_file_is_replaced(toy_checkpoint, out):
    before = torch.load(out, weights_only=True)
    fna('remap', toy_checkpoint, CHILD, out, '--width', 'l1')
    after = torch.load(out, weights_only=True)
    assert (before['meta']['width'], after['meta']['width']) == ('first', 'l1')


# Failures change nothing


def remap_arguments(seed='SEED', arch=CHILD, out='OUT', **options):
    return ['remap', seed, arch, out, *(word for name, value in options.items() for word in (f'--{name}', value))]


@pytest.mark.parametrize(('arguments', 'message'), [
    (remap_arguments(seed='nowhere.pth'), r"checkpoint='nowhere\.pth': there is no such file"),
    (remap_arguments(seed='TEXT'), 'is no readable checkpoint: it is no checkpoint of PyTorch'),
    (remap_arguments(seed='RESNET'), "but look like a ResNet's"),
    (remap_arguments(arch='fna_retina'), "unknown arch 'fna_retina': expected one of"),
    (remap_arguments(arch='fna_retinanet'), r'conv1\.conv\.weight does not fit: shape \(8, 3, 3, 3\) in the seed, '
                                            r'\(32, 3, 3, 3\) here'),
    (remap_arguments(width='widest'), "width='widest' is no remapping method: choose one of"),
    (remap_arguments(kernel='corner'), "kernel='corner' is no remapping method: choose one of"),
    (remap_arguments(arch=CHILD.replace('k3_e6', 'k3_e7')), '28 channels cannot be taken'),
    (remap_arguments(out='FOLDER'), 'cannot be written: it is a folder'),
    (remap_arguments(report='FOLDER'), 'cannot be written: it is a folder'),
    (remap_arguments(out='SEED'), 'cannot be written: it is one of the inputs'),
    (remap_arguments(report='SEED'), 'cannot be written: it is one of the inputs'),
    (remap_arguments(report='OUT'), 'cannot be written: it is another output'),
    (remap_arguments(report='TEXT/report.json'), 'Not a directory|File exists'),
    (remap_arguments(out='TEXT/out.pth', report='REPORT'), 'Not a directory|File exists'),
])
def test_failures_change_nothing(toy_seed, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    torch.save(toy_seed, 'SEED')
    torch.save(mmdet.registry.MODELS.build(dict(type='mmdet.ResNet', depth=18)).state_dict(), 'RESNET')
    for name in ('OUT', 'TEXT', 'REPORT'):
        (tmp_path / name).write_text(f'something else called {name}')
    (tmp_path / 'FOLDER').mkdir()
    before = {path.name: path.is_dir() or path.read_bytes() for path in tmp_path.iterdir()}
    printed = fna(*arguments, code=1)
    (line, ) = [line for line in printed.splitlines() if line.startswith('Error: ')]
    assert 'Traceback' not in printed
    assert re.search(message, printed), printed
    assert {path.name: path.is_dir() or path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_disk_that_fails_half_way(toy_checkpoint, out, tmp_path, monkeypatch):
    """The second file cannot be written: the first is not left alone."""
    report = tmp_path / 'locked' / 'report.json'
    before = torch.load(out, weights_only=True)['meta']
    real = open

    def failing(path, *args, **kwargs):
        if str(path).startswith(str(report)):
            raise OSError('no space left on device')
        return real(path, *args, **kwargs)

    monkeypatch.setattr('builtins.open', failing)
    printed = fna('remap', toy_checkpoint, CHILD, out, '--width', 'bn', '--report', report, code=1)
    monkeypatch.undo()
    assert 'Error: no space left on device' in printed
    assert torch.load(out, weights_only=True)['meta'] == before
    assert list(report.parent.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir() if 'tmp' in path.name] == []


# In mm


class Toy(BaseModel):
    """A backbone and nothing else."""

    def __init__(self, **backbone):
        super().__init__()
        self.backbone = child(norm_eval=True, **backbone)

    def forward(self, images, mode='tensor'):
        outs = self.backbone(images)
        return dict(loss=sum(out.square().mean() for out in outs)) if mode == 'loss' else outs


def run(work_dir, model, **kwargs):
    """Train with a learning rate of 0: no weight changes."""
    runner = Runner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=DataLoader([dict(images=torch.rand(3, 16, 16))] * 2, batch_size=2),
        train_cfg=dict(by_epoch=False, max_iters=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.)),
        default_scope='mmengine',
        experiment_name=f'{work_dir.parent.name}_{work_dir.name}',
        **kwargs)
    runner.train()


def backbone_only(state):
    return {key: value for key, value in state.items() if not key.startswith('conv2')}


@pytest.mark.parametrize('how', ['load_from', 'Pretrained', 'load_from with a remapping hook'])
def test_a_runner_starts_from_it(toy_checkpoint, toy_seed, tmp_path, how):
    path = str(tmp_path / 'remapped.pth')
    fna('remap', toy_checkpoint, CHILD, path, '--width', 'bn')
    init = dict(init_cfg=dict(type='Pretrained', checkpoint=path, prefix='backbone.')) if how == 'Pretrained' else {}
    # The hook would choose other channels, but a checkpoint of the model's own stands.
    hooks = [dict(type='ParameterRemappingHook', checkpoint=toy_checkpoint)] if 'hook' in how else []
    model = Toy(**init)
    run(tmp_path / 'run', model, load_from=None if init else path, custom_hooks=hooks)
    assert_state(model.backbone.state_dict(), backbone_only(expected_state(toy_seed, 'bn')))


def detector(**backbone):
    return dict(
        type='RetinaNet',
        backbone=dict(dict(type='FNAChildNet', arch='fna_retinanet', out_indices=(4, 7)), **backbone),
        neck=dict(type='FPN', in_channels=[96, 1280], out_channels=8, num_outs=2),
        bbox_head=dict(
            type='RetinaHead', num_classes=2, in_channels=8, feat_channels=8, stacked_convs=1,
            anchor_generator=dict(type='AnchorGenerator', octave_base_scale=4, scales_per_octave=1, ratios=[1.],
                                  strides=[16, 32]),
            bbox_coder=dict(type='DeltaXYWHBBoxCoder')))


def segmentor(**backbone):
    return dict(
        type='EncoderDecoder',
        backbone=dict(detector()['backbone'], out_indices=(4, 6), **backbone),
        decode_head=dict(type='FCNHead', in_channels=320, in_index=1, channels=8, num_classes=2, num_convs=1))


@pytest.fixture(scope='module')
def mobilenet(seed_layouts, tmp_path_factory):
    """A MobileNetV2 in timm's layout, remapped onto the paper's RetinaNet backbone."""
    folder = tmp_path_factory.mktemp('mobilenet')
    torch.save(seed_layouts['timm'], folder / 'seed.pth')
    fna('remap', folder / 'seed.pth', 'fna_retinanet', folder / 'remapped.pth')
    return str(folder / 'remapped.pth')


@pytest.mark.parametrize('how', ['load_from', 'Pretrained'])
@pytest.mark.parametrize(('registry', 'config'), [
    (mmdet.registry.MODELS, detector), (mmseg.registry.MODELS, segmentor)], ids=['mmdet', 'mmseg'])
def test_detectors_and_segmentors_load_it(mobilenet, seed_state, tmp_path, registry, config, how):
    init_default_scope(registry.scope)
    init = dict(init_cfg=dict(type='Pretrained', checkpoint=mobilenet, prefix='backbone.'))
    runner = Runner(registry.build(config(**(init if how == 'Pretrained' else {}))), str(tmp_path),
                    load_from=mobilenet if how == 'load_from' else None, default_scope=registry.scope,
                    experiment_name=tmp_path.name)
    if how == 'load_from':
        runner.load_or_resume()
    else:
        runner.model.init_weights()
    found = runner.model.backbone.state_dict()
    expected, _ = remap_parameters(read_seed(seed_state), found)
    assert any(key.startswith('conv2') for key in found) == (config is detector)
    assert_state(found, expected)
