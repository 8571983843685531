"""A user's way: mim and configs, from a seed checkpoint to the evaluated child; and what goes wrong on it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from fna_mm import Architecture, FNAChildNet
from fna_mm.checkpoints.opening import load_checkpoint
from fna_mm.checkpoints.searched import best_architecture
from fna_mm.configs import package_of
from fna_mm.demo.shapes import draw_shapes

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs/demo/search.py'
#: So little training leaves no score above mm's threshold, and without detections there is no mAP.
NO_THRESHOLD = 'model.test_cfg.score_thr=0.0'
#: Everything that makes the demo's search short.
SHORT = {
    'model.backbone.layers_per_stage': '2,1,1,1,1,1',
    'model.backbone.kernel_sizes': '3,5',
    'train_cfg.max_epochs': '2',
    'train_cfg.val_interval': '2',
    'train_dataloader.batch_size': '4',
    'val_dataloader.batch_size': '4',
    'default_hooks.logger.interval': '1',
    'default_hooks.checkpoint.interval': '1',
    'custom_hooks.0.begin_epoch': '1',
    'custom_hooks.0.dataloader.batch_size': '4',
    'custom_hooks.0.cost.input_shape': '64,64',
}


@pytest.fixture(scope='module')
def material(tmp_path_factory):
    """A folder with drawn images and the checkpoint of a random MobileNetV2."""
    root = tmp_path_factory.mktemp('end_to_end')
    draw_shapes(root / 'shapes', dict(train=16, val=8, test=8), size=(64, 64))
    torch.manual_seed(0)
    net = FNAChildNet('mobilenet_v2')
    net.init_weights()
    torch.save(net.state_dict(), root / 'seed.pth')
    return root


def environment(material):
    """The demo's configs take their paths from the environment; one thread, as the rest of the tests."""
    return dict(os.environ, FNA_DEMO_DATA=str(material / 'shapes'), FNA_DEMO_SEED=str(material / 'seed.pth'),
                OMP_NUM_THREADS='1')


def mim(command, config, work_dir, material, *arguments):
    """``mim train`` or ``mim test`` in a process of its own; its output."""
    call = [sys.executable, '-m', 'mim', command, package_of('mmdet'), str(config), '--gpus', '0', '--work-dir',
            str(work_dir), *arguments]
    done = subprocess.run(call, env=environment(material), cwd=material, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def scalars(work_dir):
    (path, ) = work_dir.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in path.read_text().splitlines()]


# The way that works


@pytest.fixture(scope='module')
def search(material):
    """A finished search: its folder and what it printed."""
    options = [NO_THRESHOLD] + [f'{key}={value}' for key, value in SHORT.items()]
    printed = mim('train', CONFIG, material / 'search', material, '--cfg-options', *options)
    return material / 'search', printed


@pytest.mark.slow
def test_search_leaves_what_it_promises(search):
    folder, _ = search
    assert {'arch.json', 'arch_epoch_1.json', 'arch_epoch_2.json', 'child_config.py', 'architecture.png',
            'probabilities.png', 'epoch_1.pth', 'epoch_2.pth'} <= {path.name for path in folder.iterdir()}
    architecture = Architecture.create(str(folder / 'arch.json'))
    assert architecture == best_architecture(load_checkpoint(str(folder / 'epoch_2.pth')))
    for name in ('architecture', 'probabilities'):
        assert cv2.imread(str(folder / f'{name}.png')) is not None


@pytest.mark.slow
def test_search_says_what_it_does(search):
    _, printed = search
    assert 'ParameterRemapping onto FNASuperNet' in printed
    assert 'architecture steps from iteration 3 of 4, 2 in all, on 8 samples' in printed
    assert 'has not decided' in printed  # two steps of the architecture
    assert 'Most probable architecture after epoch 2' in printed
    assert 'bbox_mAP_50' in printed


@pytest.mark.slow
def test_search_logs_both_steps(search):
    lines = scalars(search[0])
    steps = [line for line in lines if 'loss_cls' in line]
    assert len(steps) == 4
    names = {'arch_loss', 'arch_loss_cls', 'arch_loss_bbox', 'arch_cost_loss', 'expected_gmadds', 'best_path_gmadds',
             'arch_entropy', 'arch_grad_norm', 'arch_step_time'}
    assert [names <= set(line) for line in steps] == [False, False, True, True]
    assert [line['coco/bbox_mAP'] >= 0 for line in lines if 'coco/bbox_mAP' in line] == [True]


@pytest.mark.slow
def test_search_trained_weights_and_architecture(search):
    one, two = (load_checkpoint(str(search[0] / f'epoch_{epoch}.pth'))['state_dict'] for epoch in (1, 2))
    assert not torch.equal(one['backbone.architecture_parameters'], two['backbone.architecture_parameters'])
    assert not torch.equal(one['bbox_head.retina_cls.weight'], two['bbox_head.retina_cls.weight'])


@pytest.mark.slow
def test_child_trains_from_its_config_as_it_is(search, material):
    """And the result is an ordinary detector's checkpoint, which mm's own test tool takes."""
    folder = search[0]
    options = ['train_cfg.max_epochs=1', 'train_cfg.val_interval=1', 'train_dataloader.batch_size=4',
               'val_dataloader.batch_size=4', 'test_dataloader.batch_size=4', 'custom_hooks.0.num_iters=3',
               'default_hooks.checkpoint.interval=1', 'default_hooks.logger.interval=1', NO_THRESHOLD]
    printed = mim('train', folder / 'child_config.py', folder / 'child', material, '--cfg-options', *options)
    assert 'ParameterRemapping onto FNAChildNet' in printed
    assert str(material / 'seed.pth') in printed
    assert 'BN calibration [3/3]' in printed
    lines = scalars(folder / 'child')
    assert len([line for line in lines if 'loss_cls' in line]) == 4  # all 16 images, not one part of them
    assert not any('arch_loss' in line for line in lines)
    assert any('coco/bbox_mAP' in line for line in lines)

    init_default_scope('mmdet')
    cfg = Config.fromfile(folder / 'child_config.py')
    backbone = FNAChildNet(cfg.model.backbone.arch)
    assert backbone.architecture == Architecture.create(str(folder / 'arch.json'))
    state = load_checkpoint(str(folder / 'child/epoch_1.pth'))['state_dict']
    inner = {key[len('backbone.'):]: value for key, value in state.items() if key.startswith('backbone.')}
    assert list(inner) == list(backbone.state_dict())
    printed = mim('test', folder / 'child_config.py', folder / 'child_test', material, '--checkpoint',
                  str(folder / 'child/epoch_1.pth'), '--cfg-options', NO_THRESHOLD)
    assert 'coco/bbox_mAP_50' in printed


# What goes wrong: one clear sentence, before training


def truncated(material):
    path = material / 'truncated.pth'
    path.write_bytes((material / 'seed.pth').read_bytes()[:100000])
    return str(path)


def other_keys(material):
    path = material / 'resnet.pth'
    torch.save({'conv1.weight': torch.zeros(3), 'layer1.0.conv1.weight': torch.zeros(2)}, path)
    return str(path)


def checkpoint(path):
    return {'model.backbone.init_cfg.checkpoint': path}


@pytest.mark.parametrize(('options', 'error', 'message'), [
    (lambda material: checkpoint('seeds/none.pth'), FileNotFoundError,
     r"checkpoint='seeds/none.pth': there is no such file .* give the path of a MobileNetV2 checkpoint"),
    (lambda material: checkpoint(truncated(material)), ValueError, r"truncated.pth' is no readable checkpoint"),
    (lambda material: checkpoint(other_keys(material)), ValueError,
     r"resnet.pth': the keys are those of no known .* but look like a ResNet's: the first of 2 are conv1.weight"),
    (lambda material: {'model.backbone': dict(type='FNAChildNet', arch='fna_retinanetto')}, ValueError,
     "unknown arch 'fna_retinanetto': expected one of .*'fna_retinanet'"),
    (lambda material: {'model.backbone': dict(type='FNAChildNet', arch='found/arch.json')}, FileNotFoundError,
     "arch='found/arch.json': there is no such file"),
    (lambda material: {'custom_hooks.0.begin_epoch': 2}, ValueError,
     'begin_epoch=2, but training ends after 2 epochs: .* use at most 1'),
    (lambda material: {'train_dataloader.dataset.ratio': .01}, ValueError,
     r'RandomSplit of CocoDataset \(.*train.json\): a data set of 16 samples cannot be split with ratio=0.01'),
    (lambda material: {'custom_hooks.0.cost': dict(type='MAddsCost')}, ValueError,
     r'input_shape of MAddsCost.* must be \(height, width\) in pixels'),
    (lambda material: {'custom_hooks.0.dataloader.batch_size': 64}, ValueError,
     'dataloader has no batch: 8 samples for batch_size=64'),
    (lambda material: {'custom_hooks.1.child_config': 'none.py'}, FileNotFoundError, 'none.py'),
    (lambda material: {'model.backbone.out_indices': (1, 9)}, ValueError, r'out_indices=\(1, 9\) must name stages'),
    (lambda material: {'model.backbone.layers_per_stage': (4, 4)}, ValueError,
     r'layers_per_stage=\(4, 4\) has 2 entries, but the seed has 6 stages to search'),
])
def test_wrong_input_is_one_clear_sentence(material, tmp_path, monkeypatch, options, error, message):
    for name, value in environment(material).items():
        monkeypatch.setenv(name, value)
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict({'train_cfg.max_epochs': 2, 'train_dataloader.batch_size': 4, 'log_level': 'WARNING',
                         'custom_hooks.0.begin_epoch': 1, 'custom_hooks.0.dataloader.batch_size': 4,
                         'model.backbone.layers_per_stage': (1, 1, 1, 1, 1, 1), 'model.backbone.kernel_sizes': (3, )})
    changes = options(material)
    if 'model.backbone' in changes:
        cfg.model.backbone = changes.pop('model.backbone')
    if 'custom_hooks.0.cost' in changes:
        cfg.custom_hooks[0].cost = changes.pop('custom_hooks.0.cost')
    cfg.merge_from_dict(changes)
    cfg.work_dir, cfg.experiment_name = str(tmp_path), tmp_path.name

    def no_iteration(self, *args, **kwargs):
        pytest.fail('training began')

    monkeypatch.setattr('mmengine.runner.loops.EpochBasedTrainLoop.run_iter', no_iteration)
    with pytest.raises(error, match=message) as raised:
        Runner.from_cfg(cfg).train()
    assert len(str(raised.value)) < 700
