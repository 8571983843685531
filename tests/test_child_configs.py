import copy

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS
from toy_search import child_net_config, search_config, toy_dataloader

from fna_mm import Architecture, configs
from fna_mm.configs import child_config, child_config_text
from fna_mm.sections import find_sections

FOUND = Architecture.create('fna_ssdlite')


def search(**overrides):
    """A search's config with everything that a child must not inherit."""
    cfg = search_config('search_dir', find_unused_parameters=True, launcher='pytorch', resume=True,
                        load_from='warm.pth', **dict(dict(model_wrapper_cfg=dict(type='FNADistributedDataParallel')),
                                                     **overrides))
    cfg.custom_hooks += [dict(type='ArchitectureExportHook'), dict(type='EMAHook', momentum=.01)]
    cfg.model.backbone.update(with_cp=True, init_cfg=dict(type='ParameterRemapping', checkpoint='seed.pth'),
                              candidate_norm_cfg=dict(type='BN', affine=False), arch_sample_num=2, fused=False,
                              seed_preference=2.)
    return cfg


def test_find_sections():
    tree = dict(type='A', x=[dict(type='scope.A', y=dict(type='B')), (dict(type='A'), 3)], z=None)
    assert [node.get('type') for node in find_sections(tree, 'A')] == ['A', 'scope.A', 'A']
    assert list(find_sections(tree, 'B')) == [dict(type='B')]
    assert list(find_sections(tree, 'C')) == list(find_sections(None, 'A')) == []


@pytest.mark.parametrize(('installed', 'scope', 'package'), [
    (dict(mmdet=['mmdet'], mmseg=['mmsegmentation']), 'mmdet', 'mmdet'),
    (dict(mmdet=['mmdet'], mmseg=['mmsegmentation']), 'mmseg', 'mmsegmentation'),
    (dict(mmdet=['onedl-mmdetection'], mmseg=['onedl-mmsegmentation']), 'mmseg', 'onedl-mmsegmentation'),
    ({}, 'mmseg', 'mmsegmentation'), ({}, 'mmdet', 'mmdet'), ({}, 'mmrotate', 'mmrotate')])
def test_mim_knows_packages_by_what_is_installed(monkeypatch, installed, scope, package):
    monkeypatch.setattr(configs, 'packages_distributions', lambda: installed)
    assert configs.package_of.__wrapped__(scope) == package


# Out of the search's own config


@pytest.fixture
def child():
    return child_config(search(), FOUND, 'child_dir')


def test_backbone_becomes_the_child(child):
    backbone = child.model.backbone
    assert set(backbone) == {'type', 'arch', 'out_indices', 'output_stride', 'with_cp', 'init_cfg'}
    assert backbone.type == 'FNAChildNet'
    assert Architecture.create(backbone.arch) == FOUND
    assert backbone.init_cfg == dict(type='ParameterRemapping', checkpoint='seed.pth')
    assert backbone.with_cp is True
    assert MODELS.build(dict(backbone, init_cfg=None)).architecture == FOUND


def test_the_search_is_taken_out(child):
    assert child.custom_hooks == [dict(type='EMAHook', momentum=.01)]
    assert list(find_sections(child._cfg_dict, 'RandomSplit')) == []
    assert child.train_dataloader.dataset == search().train_dataloader.dataset.dataset
    assert child.train_dataloader.batch_size == 4
    assert (child.work_dir, child.resume, child.load_from) == ('child_dir', False, None)
    assert not {'find_unused_parameters', 'model_wrapper_cfg', 'launcher', 'experiment_name'} & set(child)


def test_a_wrapper_of_the_users_own_stays():
    own = dict(type='MMDistributedDataParallel', static_graph=True)
    assert child_config(search(model_wrapper_cfg=own), FOUND, 'child_dir').model_wrapper_cfg == own


def test_the_rest_stays(child):
    for section in ('optim_wrapper', 'val_dataloader', 'train_cfg', 'default_hooks', 'randomness'):
        assert child[section] == search()[section]


def test_scoped_hooks_are_taken_out_too():
    cfg = search()
    for hook in cfg.custom_hooks:
        hook.type = f'fna_mm.{hook.type}' if hook.type != 'EMAHook' else hook.type
    assert child_config(cfg, FOUND, 'x').custom_hooks == [dict(type='EMAHook', momentum=.01)]


def test_a_wrapper_around_the_split_stays():
    cfg = search()
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=3, dataset=inner)
    assert child_config(cfg, FOUND, 'x').train_dataloader.dataset == dict(
        type='RepeatDataset', times=3, dataset=inner.dataset)


def test_the_searchs_config_is_not_changed():
    cfg = search()
    before = copy.deepcopy(cfg._cfg_dict)
    child_config(cfg, FOUND, 'x')
    child_config(cfg, FOUND, 'x', child_net_config('retrain_dir'))
    assert cfg._cfg_dict == before


# On a retraining config


def test_on_a_retraining_config():
    retraining = child_net_config('retrain_dir', load_from='mine.pth', custom_hooks=[dict(type='EMAHook')])
    retraining.model.backbone.init_cfg = dict(type='ParameterRemapping', checkpoint='other.pth', strict=False)
    before = copy.deepcopy(retraining._cfg_dict)
    child = child_config(search(), FOUND, 'child_dir', retraining)
    assert retraining._cfg_dict == before
    assert Architecture.create(child.model.backbone.arch) == FOUND
    # The seed that the search started from, in the way that the retraining config wants it remapped.
    assert child.model.backbone.init_cfg == dict(type='ParameterRemapping', checkpoint='seed.pth', strict=False)
    assert child.custom_hooks == [dict(type='EMAHook')]
    assert child.load_from == 'mine.pth'
    assert child.train_dataloader == Config(dict(x=toy_dataloader(None, length=8))).x
    assert (child.work_dir, child.resume) == ('child_dir', False)


def test_without_remapping_nothing_is_added():
    retraining = child_net_config('retrain_dir')
    assert 'init_cfg' not in child_config(search(), FOUND, 'x', retraining).model.backbone
    bare = search()
    del bare.model.backbone.init_cfg
    retraining.model.backbone.init_cfg = dict(type='ParameterRemapping', checkpoint='other.pth')
    assert child_config(bare, FOUND, 'x', retraining).model.backbone.init_cfg.checkpoint == 'other.pth'


@pytest.mark.parametrize(('make', 'message'), [
    (lambda: (child_net_config('x'), None),
     'the config of the search must have one FNASuperNet in its model, but has 0'),
    (lambda: (search(), search()), 'child_config must have one FNAChildNet in its model, but has 0'),
    (lambda: (child_net_config('x'), child_net_config('x')), 'the config of the search must have one FNASuperNet'),
    (lambda: (search(), Config(dict(a=1))), 'child_config must have one FNAChildNet'),
])
def test_the_wrong_kind_of_config(make, message):
    config, retraining = make()
    with pytest.raises(ValueError, match=message):
        child_config(config, FOUND, 'x', retraining)


# As a file


def test_dump_and_load(child, tmp_path):
    path = tmp_path / 'child_config.py'
    path.write_text(child_config_text(child, str(path)))
    assert Config.fromfile(path)._cfg_dict == child._cfg_dict
    first, *_ = path.read_text().splitlines()
    assert first == '# The child of a search, written by fna_mm. Train it with: mim train <package> child_config.py'


def test_every_kind_of_value_is_written_as_it_is(tmp_path):
    values = dict(
        empty=dict(dict={}, list=[], tuple=()), one=(1, ), nested=[(1, (2, )), [None, True, 1e-05]],
        quotes='it\'s "so"\n', path='C:\\data', keys={'lr_mult.x': 1, 'class': 'a'}, keyword={'lambda': .5},
        numbers={3: 4}, long=dict(steps=list(range(60)), text='x' * 130))
    path = tmp_path / 'config.py'
    path.write_text(child_config_text(Config(values), str(path)))
    read = Config.fromfile(path).to_dict()
    assert read == values
    assert [type(value) for value in read['nested']] == [tuple, list]
    lines = path.read_text().splitlines()
    assert "keyword = {'lambda': 0.5}" in lines
    assert max(len(line) for line in lines if 'xxx' not in line) <= 120
