import json
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import HOOKS, MODELS
from toy_search import build, child_net_config, find_hook, load, search_config, toy_dataloader, train

from fna_mm import Architecture
from fna_mm.search_checkpoint import best_architecture

HOOK = dict(type='ArchitectureExportHook')


def exporting(folder, arguments=None, **loop):
    cfg = search_config(folder, **loop)
    cfg.custom_hooks.append(dict(HOOK, **(arguments or {})))
    return cfg


@pytest.fixture(scope='module')
def search(tmp_path_factory):
    """A finished search of three epochs that exported, and its folder."""
    folder = tmp_path_factory.mktemp('search')
    return train(exporting(folder, epochs=3)), folder


@pytest.mark.parametrize('interval', [0, -2, 1.5, True, None])
def test_bad_interval(interval):
    with pytest.raises(ValueError, match=f'must be a positive integer, not {interval!r}'):
        HOOKS.build(dict(HOOK, interval=interval))


def test_arch_json_is_the_best_path(search):
    runner, folder = search
    architecture = Architecture.create(str(folder / 'arch.json'))
    assert architecture == runner.model.backbone.best_architecture()
    assert (folder / 'arch.json').read_text() == (folder / 'arch_epoch_3.json').read_text()


def test_every_epochs_architecture_is_that_of_its_checkpoint(search):
    _, folder = search
    for epoch in (1, 2, 3):
        architecture = Architecture.create(str(folder / f'arch_epoch_{epoch}.json'))
        assert architecture == best_architecture(load(folder / f'epoch_{epoch}.pth'))


@pytest.mark.parametrize(('arguments', 'loop', 'names'), [
    (dict(interval=2), dict(epochs=3), ['arch_epoch_2.json', 'arch_epoch_3.json']),
    (dict(interval=5), dict(epochs=2), ['arch_epoch_2.json']),
    (dict(interval=2, by_epoch=False), dict(iters=5), ['arch_iter_2.json', 'arch_iter_4.json', 'arch_iter_5.json']),
    (dict(interval=1, out_dir='found'), dict(epochs=2), ['arch_epoch_1.json', 'arch_epoch_2.json']),
])
def test_when_and_where(tmp_path, arguments, loop, names):
    if 'out_dir' in arguments:
        arguments = dict(arguments, out_dir=str(tmp_path / arguments['out_dir']))
    train(exporting(tmp_path / 'work', arguments, **loop))
    out = Path(arguments.get('out_dir', tmp_path / 'work'))
    assert sorted(path.name for path in out.glob('arch_*.json')) == names
    assert {'arch.json', 'child_config.py', 'architecture.png', 'probabilities.png'} <= \
        {path.name for path in out.iterdir()}
    assert (out / 'arch.json').read_text() == (out / names[-1]).read_text()
    if out != tmp_path / 'work':
        assert not list((tmp_path / 'work').glob('*.json'))


@pytest.mark.parametrize('name', ['architecture', 'probabilities'])
def test_pictures(search, name):
    runner, folder = search
    picture = cv2.imread(str(folder / f'{name}.png'))
    assert picture.shape[0] > 100
    assert picture.shape[1] > 300
    assert picture.std() > 10  # something is drawn
    logged = sorted(Path(runner.log_dir).glob(f'vis_data/vis_image/fna_{name}_*.png'))
    assert [path.name for path in logged] == [f'fna_{name}_{step}.png' for step in (2, 4, 6)]


def test_child_config_trains_as_it_is(search, tmp_path):
    runner, folder = search
    cfg = Config.fromfile(folder / 'child_config.py')
    assert cfg.work_dir == str(folder / 'child')
    assert cfg.model.backbone.type == 'FNAChildNet'
    assert cfg.custom_hooks == []
    assert MODELS.build(cfg.model).backbone.architecture == runner.model.backbone.best_architecture()
    cfg.work_dir = str(tmp_path)
    cfg.train_cfg.max_epochs = 1
    child = train(cfg)
    assert len(child.train_dataloader.dataset) == 16  # both parts of the split
    assert (tmp_path / 'epoch_1.pth').is_file()
    assert 'child_config.py' in (folder / 'child_config.py').read_text().splitlines()[0]


def test_child_config_on_another_config(tmp_path):
    retraining = child_net_config(tmp_path, optim_wrapper=dict(type='OptimWrapper', optimizer=dict(
        type='SGD', lr=.125)))
    retraining.dump(tmp_path / 'retrain.py')
    runner = train(exporting(tmp_path / 'work', dict(child_config=str(tmp_path / 'retrain.py'))))
    cfg = Config.fromfile(tmp_path / 'work/child_config.py')
    assert cfg.optim_wrapper.optimizer.lr == .125
    assert cfg.train_dataloader == Config(dict(x=toy_dataloader(None, length=8))).x
    assert Architecture.create(cfg.model.backbone.arch) == runner.model.backbone.best_architecture()
    assert build(cfg).work_dir == str(tmp_path / 'work/child')


@pytest.mark.parametrize(('prepare', 'error', 'message'), [
    (lambda path: None, FileNotFoundError, 'retrain.py'),
    (lambda path: path.write_text("model = dict(type='X', backbone=dict(type='ResNet'))"), ValueError,
     'child_config must have one FNAChildNet in its model, but has 0'),
    (lambda path: path.write_text('work_dir = 1'), ValueError, 'child_config must have one FNAChildNet'),
])
def test_a_useless_retraining_config_stops_the_search_at_once(tmp_path, prepare, error, message):
    prepare(tmp_path / 'retrain.py')
    cfg = exporting(tmp_path / 'work', dict(child_config=str(tmp_path / 'retrain.py')))
    cfg.custom_hooks.append(dict(type='Recorder'))
    runner = build(cfg)
    with pytest.raises(error, match=message):
        runner.train()
    assert not find_hook(runner, 'Recorder').batches


@pytest.mark.parametrize('what', [
    'architecture_figure', 'probability_figure', 'to_image', 'encode_png', 'child_config'])
def test_a_failed_export_leaves_the_last_one_whole(search, tmp_path, monkeypatch, what):
    runner, _ = search
    hook = find_hook(runner, 'ArchitectureExportHook')
    monkeypatch.setattr(hook, 'out_dir', str(tmp_path))
    hook.export(runner, 'epoch_1', 2)
    contents = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(contents) == 5
    supernet = runner.model.backbone
    saved = supernet.architecture_parameters.clone()
    supernet.architecture_parameters.copy_(-saved)  # another architecture, so that an overwritten file shows

    def fail(*args, **kwargs):
        raise RuntimeError('no')

    monkeypatch.setattr(f'fna_mm.hooks.architecture_export_hook.{what}', fail)
    try:
        with pytest.raises(RuntimeError, match='no'):
            hook.export(runner, 'epoch_2', 4)
    finally:
        supernet.architecture_parameters.copy_(saved)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == contents


def test_only_the_first_rank_writes(search, tmp_path, monkeypatch):
    runner, _ = search
    hook = find_hook(runner, 'ArchitectureExportHook')
    monkeypatch.setattr(hook, 'out_dir', str(tmp_path))
    monkeypatch.setattr('mmengine.dist.utils.get_rank', lambda group=None: 1)
    hook.export(runner, 'epoch_1', 2)
    assert list(tmp_path.iterdir()) == []


def test_a_search_without_the_alternating_hook_can_still_be_exported(tmp_path):
    """Weights alone, as an ablation of the search trains them."""
    cfg = exporting(tmp_path, epochs=1)
    cfg.custom_hooks = cfg.custom_hooks[1:]
    runner = train(cfg)
    assert json.loads((tmp_path / 'arch.json').read_text()) == runner.model.backbone.best_architecture().to_dict()
    assert isinstance(runner.model.backbone.architecture_parameters, torch.Tensor)
