"""``fna search-config``: what it writes, that it runs, and what it refuses."""

import copy
from pathlib import Path

import pytest
from click.testing import CliRunner
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner
from toy_search import TOY
from toy_segmentation import draw_images, write_config

from fna_mm import Architecture
from fna_mm.cli import main
from fna_mm.configs import child_from_retraining, config_text, package_of
from fna_mm.sections import find_sections
from fna_mm.user_config.flow import search_config, swap_config
from fna_mm.user_config.inherited import UserConfig
from fna_mm.user_config.search import Schedule, in_two_parts

pytest.importorskip('mmseg')


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp('squares')
    draw_images(folder)
    return folder


@pytest.fixture
def user(images, tmp_path):
    """A user's config, changed by texts → texts."""
    def make(**replaced):
        path = Path(write_config(images, **replaced))
        moved = tmp_path / 'mine' / 'user.py'
        moved.parent.mkdir(exist_ok=True)
        moved.write_text(path.read_text(encoding='utf-8'), encoding='utf-8')
        return str(moved)
    return make


def read(path):
    return Config.fromfile(path)


def hook_of(cfg, name='AlternatingOptimizerHook'):
    (hook, ) = find_sections(cfg.custom_hooks, name)
    return hook


def test_a_search_is_written_and_trains(user, tmp_path):
    out = str(tmp_path / 'search.py')
    text = search_config(user(), out, seed='seed.pth', budget='0.9')
    assert Path(out).read_text(encoding='utf-8') == text
    assert text.splitlines()[:3] == ['# A search from user.py, written by fna_mm. Search with:',
                                     f'# mim train {package_of("mmseg")} search.py', "_base_ = 'mine/user.py'"]
    images = 'data_preprocessor has mean=[128.0, 128.0, 128.0], std=[64.0, 64.0, 64.0], bgr_to_rgb=True, but the seed'
    assert f'Careful: {images}' in ' '.join(text.replace('\n#', '').split())
    # Every section that is added has a comment in front of it.
    lines = text.splitlines()
    added = [index for index, line in enumerate(lines) if line[:1].isalpha() and not line.startswith('_base_')]
    assert len(added) == 6
    assert all(lines[index - 1].startswith('# ') for index in added)
    cfg = read(out)
    assert cfg.input_shape == (32, 32)
    assert cfg.model.backbone.layers_per_stage == (4, 4)
    assert cfg.model.backbone.init_cfg == dict(type='ParameterRemapping', checkpoint='seed.pth')
    hook = hook_of(cfg)
    assert (hook.begin_iter, hook.cost.budget) == (114, .9)
    assert hook.optim_wrapper.optimizer.lr == .1  # 86 steps
    splits = list(find_sections(cfg._cfg_dict, 'RandomSplit'))
    assert sorted(split.part for split in splits) == ['arch', 'weights']
    assert {split.ratio for split in splits} == {.2}
    assert splits[0].dataset == splits[1].dataset == read(user()).train_dataloader.dataset

    cfg.model.backbone.pop('init_cfg')
    cfg.work_dir = str(tmp_path / 'run')
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=12, val_interval=12)
    hook_of(cfg).begin_iter = 6
    Runner.from_cfg(cfg).train()
    (log, ) = (tmp_path / 'run').glob('*/*.log')
    assert images in log.read_text(encoding='utf-8')
    child = read(tmp_path / 'run/child_config.py')
    assert child.model.backbone.type == 'FNAChildNet'
    assert child.train_dataloader == read(user()).train_dataloader


def test_a_backbone_of_mm_is_searched_and_its_child_takes_its_place(images, user, tmp_path):
    path = user(backbone=(f'''type='FNAChildNet', arch="""{TOY}""", out_indices=(1, 2), output_stride=8''',
                          "type='MobileNetV2', out_indices=(2, 4), strides=(1, 2, 2, 1, 1, 1, 1), "
                          'dilations=(1, 1, 1, 2, 2, 4, 4)'), head=('in_channels=8', 'in_channels=96'))
    out = str(tmp_path / 'search.py')
    search_config(path, out)
    cfg = read(out)
    backbone = cfg.model.backbone
    assert (backbone.type, backbone.output_stride, backbone.dilated) == ('FNASuperNet', 8, 'first')
    assert 'seed' not in backbone
    assert backbone.init_cfg.checkpoint == 'open-mmlab://mmdet/mobilenet_v2'
    found = Architecture.create('fna_deeplabv3')
    child = child_from_retraining(read(path), cfg, found)
    init_default_scope('mmseg')
    built = MODELS.build(dict(child.model.backbone, init_cfg=None))
    assert built.architecture == found
    assert (built.out_indices, built.output_stride) == ((2, 4), 8)
    assert child.custom_imports == cfg.custom_imports


@pytest.mark.parametrize('wrap', [
    lambda leaf: leaf,
    lambda leaf: dict(type='RepeatDataset', times=2, dataset=leaf),
    lambda leaf: dict(type='ConcatDataset', datasets=[leaf, copy.deepcopy(leaf)]),
    lambda leaf: dict(type='RepeatDataset', times=2, dataset=dict(
        type='ConcatDataset', datasets=[dict(type='RepeatDataset', times=3, dataset=leaf), leaf])),
    lambda leaf: dict(type='MultiImageMixDataset', pipeline=leaf['pipeline'][2:], dataset=dict(
        leaf, pipeline=leaf['pipeline'][:2])),
], ids=['none', 'repeat', 'concat', 'nested', 'mix'])
def test_wrappers_stay_around_both_parts(wrap, user, tmp_path):
    cfg = read(user())
    leaf = cfg.train_dataloader.dataset.to_dict()
    cfg.train_dataloader.dataset = wrap(leaf)
    path = tmp_path / 'wrapped.py'
    path.write_text(config_text(cfg, 'wrapped'), encoding='utf-8')
    search_config(str(path), str(tmp_path / 'search.py'))
    made = read(tmp_path / 'search.py')
    for part, loader in (('weights', made.train_dataloader), ('arch', hook_of(made).dataloader)):
        wanted = in_two_parts(wrap(leaf), part, .2, False, '')
        assert loader.dataset.to_dict() == wanted, part
    number = len(DATASETS.build(wrap(leaf)))
    lengths = [len(DATASETS.build(loader.dataset)) for loader in (made.train_dataloader, hook_of(made).dataloader)]
    assert sum(lengths) == number
    assert min(lengths) > 0


@DATASETS.register_module()
class WrapperOfAUser:
    """A wrapper that nobody knows: its data set is called otherwise."""

    def __init__(self, images):
        self.images = DATASETS.build(images)
        self.metainfo = self.images.metainfo

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


def test_an_unknown_wrapper_is_a_sentence(user, tmp_path):
    cfg = read(user())
    cfg.train_dataloader.dataset = dict(type='WrapperOfAUser', images=cfg.train_dataloader.dataset.to_dict())
    path = tmp_path / 'wrapped.py'
    path.write_text(config_text(cfg, 'wrapped'), encoding='utf-8')
    with pytest.raises(ValueError, match="mmengine's BaseDataset, not a WrapperOfAUser: put wrappers"):
        search_config(str(path), str(tmp_path / 'search.py'))
    assert not (tmp_path / 'search.py').exists()


@pytest.mark.parametrize(('schedule', 'begin', 'steps', 'rate'), [
    (Schedule(True, 14, 3700), 8, 22200, 4.5e-4),
    (Schedule(True, 12, 26), 7, 130, .077),
    (Schedule(True, 1, 100), 0, 100, .1),
    (Schedule(False, 80000, 1), 45714, 34286, 3e-4),
    (Schedule(False, 200, 1), 114, 86, .1),
])
def test_the_rate_follows_the_number_of_steps(schedule, begin, steps, rate):
    assert (schedule.begin, schedule.arch_steps, schedule.rate) == (begin, steps, rate)


LOADER = '''val_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(dataset, pipeline=test_pipeline))
test_dataloader = val_dataloader'''


@pytest.mark.parametrize(('replaced', 'options', 'message'), [
    (dict(a=("type='FNAChildNet'", "type='FNASuperNet'")), {}, 'is a search already: its backbone is FNASuperNet'),
    (dict(a=(LOADER, '')), {}, 'has no val_dataloader: a search is judged on images that it does not train on'),
    (dict(a=(" dict(type='Resize', scale=(32, 32), keep_ratio=True),", '')), {},
     'does not say at which size it is evaluated: give --shape HEIGHT WIDTH'),
    (dict(a=("train_cfg = dict(type='IterBasedTrainLoop', max_iters=200, val_interval=200)",
             "train_cfg = dict(type='IterBasedTrainLoop', val_interval=200)")), {},
     'does not say how long it trains: set max_epochs or max_iters in train_cfg'),
    (dict(a=("data_root='{root}'", "data_root='/nowhere'")), {}, 'the training data set BaseSegDataset of .* cannot be '
     'read|is empty|does not train'),
    ({}, dict(budget='much'), "budget='much'"),
    ({}, dict(budget='0.001'), 'budget=0.001 of MAddsCost'),
    ({}, dict(shape=(0, 3)), r'input_shape must be \(height, width\)'),
    (dict(a=('in_channels=8, in_index=1', 'in_channels=7, in_index=1')), {}, 'the search from .* does not train: '
     'RuntimeError: Given groups=1, weight of size'),
])
def test_what_cannot_become_a_search_is_a_sentence(replaced, options, message, user, images, tmp_path):
    replaced = {name: tuple(text.replace('{root}', str(images)) for text in pair) for name, pair in replaced.items()}
    with pytest.raises(ValueError, match=message):
        search_config(user(**replaced), str(tmp_path / 'search.py'), **options)
    assert not (tmp_path / 'search.py').exists()


def test_a_config_in_the_new_style_is_a_sentence(tmp_path):
    path = tmp_path / 'new_style.py'
    (tmp_path / 'base.py').write_text('from torch.nn import Linear\nmodel = dict(type=Linear, backbone=dict(a=1))\n')
    path.write_text('from mmengine.config import read_base\nwith read_base():\n    from .base import *\n')
    with pytest.raises(ValueError, match='is written in the new style'):
        UserConfig.read(str(path))


def test_inputs_are_not_written_over(user, tmp_path):
    path = user()
    for function in (search_config, swap_config):
        with pytest.raises((ValueError, OSError), match='user.py'):
            function(path, path)


def test_the_command(user, tmp_path):
    path, out = user(), str(tmp_path / 'search.py')
    done = CliRunner().invoke(main, ['search-config', path, out, '--budget', '0.9', '--no-trial'])
    assert done.exit_code == 0, done.output
    assert done.output.endswith(f'\nwritten: {out}\n')
    assert hook_of(read(out)).cost.budget == .9
    resnet = user(backbone=("type='FNAChildNet'", "type='ResNeXt', depth=50"))
    wrong = CliRunner().invoke(main, ['search-config', resnet, out])
    assert wrong.exit_code == 1
    assert 'is ResNeXt: a search starts from MobileNetV2, ResNet, ResNetV1c or FNAChildNet. With --swap' in wrong.output


def test_a_swap_names_what_the_new_backbone_changes(user, tmp_path):
    path = user(backbone=(f'''type='FNAChildNet', arch="""{TOY}""", out_indices=(1, 2), output_stride=8''',
                          "type='ResNet', depth=18, out_indices=(2, 3)"), head=('in_channels=8', 'in_channels=512'))
    out = str(tmp_path / 'baseline.py')
    text = swap_config(path, out, seed='seed.pth')
    assert '# ResNet gives 256 and 512 channels at strides 16 and 32, MobileNetV2 96 and 320 channels at' in text
    assert '# New in_channels for decode_head.' in text
    model = read(out).model
    assert model.decode_head.in_channels == 320
    assert model.backbone == dict(
        type='FNAChildNet', arch='mobilenet_v2', out_indices=(4, 6), output_stride=32, norm_cfg=dict(type='BN'),
        init_cfg=dict(type='ParameterRemapping', checkpoint='seed.pth'))
    assert list(model.data_preprocessor.mean) == [123.675, 116.28, 103.53]
    # The search from it warns no more, and keeps what it says.
    assert 'Careful' not in search_config(out, str(tmp_path / 'search.py'), trial=False)
    assert read(tmp_path / 'search.py').model.backbone.init_cfg.checkpoint == 'seed.pth'


def test_a_pipeline_can_be_switched_in_a_part(images):
    """RTMDet's PipelineSwitchHook sets other transforms for the last epochs."""
    init_default_scope('mmseg')
    cfg = read(write_config(images))
    split = DATASETS.build(dict(type='RandomSplit', dataset=cfg.train_dataloader.dataset, ratio=.5, part='arch'))
    split.pipeline = lambda results: 'switched'
    assert isinstance(split.dataset, BaseDataset)
    assert split[0] == split.pipeline({}) == 'switched'
