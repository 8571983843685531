"""Pre-training of a child on ImageNet with mmpretrain, for table 5; skipped where mmpretrain is not installed."""

import copy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

from fna_mm import Architecture
from fna_mm.checkpoints.opening import load_checkpoint

pytest.importorskip('mmpretrain')

FOLDER = Path(__file__).resolve().parents[1] / 'configs/ablations'
STARTS = ['remapped', 'random']


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What the searches of an ablation leave: two architectures."""
    for start, name in zip(STARTS, ('fna_deeplabv3', 'fna_ssdlite')):
        (tmp_path / f'search_{start}').mkdir()
        (tmp_path / f'search_{start}/arch.json').write_text(Architecture.create(name).to_json())
    monkeypatch.setenv('FNA_ABLATION_DIR', str(tmp_path))
    return tmp_path


def load(name):
    cfg = Config.fromfile(FOLDER / f'{name}.py')
    init_default_scope(cfg.default_scope)
    return cfg


@pytest.mark.parametrize('start', STARTS)
def test_a_classifier_is_built_of_the_child(folder, start):
    cfg = load(f'imagenet_pretrain_{start}')
    assert (cfg.default_scope, cfg.work_dir) == ('mmpretrain', str(folder / f'imagenet_pretrain_{start}'))
    model = MODELS.build(copy.deepcopy(cfg.model)).train()
    assert model.backbone.architecture == Architecture.create(str(folder / f'search_{start}/arch.json'))
    from mmpretrain.structures import DataSample
    samples = [DataSample().set_gt_label(label) for label in (3, 999)]
    torch.manual_seed(0)
    loss = model(torch.randn(2, 3, 64, 64), samples, mode='loss')['loss']
    loss.backward()
    assert 3 < float(loss.detach()) < 15  # ln 1000 is 6.9
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_schedule_is_mmpretrains_own(folder):
    cfg = load('imagenet_pretrain_remapped')
    base = Config.fromfile(Path(__import__('mmpretrain').__file__).parent
                           / '.mim/configs/mobilenet_v2/mobilenet-v2_8xb32_in1k.py')
    for section in ('train_cfg', 'optim_wrapper', 'param_scheduler', 'train_dataloader', 'test_dataloader'):
        inherited = cfg[section].to_dict()
        for part in (inherited, *inherited.values()):  # mmengine marks what comes from another package
            if isinstance(part, dict):
                part.pop('_scope_', None)
        assert inherited == base[section].to_dict()
    assert cfg.train_cfg.max_epochs == 300  # the retraining's config names epoch_300.pth


def test_the_checkpoint_starts_the_segmentor(folder):
    """Two iterations on random images, then the child of table 5 from what they left."""
    rng = np.random.default_rng(0)
    for index in range(4):
        path = folder / f'images/class{index % 2}/{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (48, 48, 3), dtype=np.uint8))
    cfg = load('imagenet_pretrain_remapped')
    data = dict(batch_size=2, num_workers=0, persistent_workers=False)
    pipeline = [dict(type='LoadImageFromFile'), dict(type='RandomResizedCrop', scale=64), dict(type='PackInputs')]
    cfg.train_dataloader.update(**data)
    cfg.train_dataloader.dataset = dict(type='CustomDataset', data_root=str(folder / 'images'), pipeline=pipeline)
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
    for section in ('val', 'test'):
        cfg[f'{section}_dataloader'] = cfg[f'{section}_cfg'] = cfg[f'{section}_evaluator'] = None
    cfg.experiment_name = 'test_imagenet'
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 2
    trained = load_checkpoint(str(folder / 'imagenet_pretrain_remapped/epoch_1.pth'))['state_dict']

    cfg = load('table5_expansion_remapped_adaptation_imagenet')
    init = cfg.model.backbone.init_cfg
    assert init.checkpoint == str(folder / 'imagenet_pretrain_remapped/epoch_300.pth')
    init.checkpoint = init.checkpoint.replace('epoch_300', 'epoch_1')
    model = MODELS.build(cfg.model)
    model.init_weights()
    state = model.backbone.state_dict()
    assert 'layer7.0.linear_conv.conv.weight' in state
    for key, value in state.items():
        assert torch.equal(value, trained[f'backbone.{key}']), key
    assert {key for key in trained if key.startswith('backbone.')} - {f'backbone.{key}' for key in state} == {
        key for key in trained if key.startswith('backbone.conv2.')}
