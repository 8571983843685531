import json
import math
import shutil
from collections import namedtuple

import pytest
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS
from torch import nn
from toy_search import build, find_hook, search_config, toy_dataloader

from fna_mm.cost import CostTable
from fna_mm.hooks.preflight import (
    check_can_write,
    check_costs_are_finite,
    check_parts_are_disjoint,
    check_space,
    find_splits,
)

#: mmengine registers its base class only through its children.
DATASETS.register_module(name='ListedImages', module=type('ListedImages', (BaseDataset, ), {}), force=True)


def split(part='weights', **kwargs):
    return DATASETS.build(dict(toy_dataloader(part)['dataset'], **kwargs))


# The two parts of the data


def test_parts_are_found_through_wrappers():
    part, other = (dict(toy_dataloader('weights', length=length)['dataset']) for length in (16, 6))
    repeated = dict(type='RepeatDataset', times=3, dataset=part)
    assert [split.part for split in find_splits(DATASETS.build(repeated))] == ['weights']
    several = DATASETS.build(dict(type='ConcatDataset', datasets=[repeated, other]))
    assert [split.read_as['samples'] for split in find_splits(several)] == [16, 6]
    assert list(find_splits(DATASETS.build(dict(type='ToyImages')))) == []


def test_disjoint_parts_pass():
    for seed in (0, 5):
        check_parts_are_disjoint(split(seed=seed), split('arch', seed=seed))


@pytest.mark.parametrize(('weights', 'arch', 'shared'), [
    (dict(seed=0), dict(seed=1), r'\d'), (dict(ratio=.25), dict(ratio=.75), '[48]'), ({}, dict(part='weights'), 8)])
def test_overlapping_parts_are_refused(weights, arch, shared):
    with pytest.raises(ValueError, match=rf'share {shared} of 16 samples: both RandomSplits need the same ratio and '
                                         r'seed.* they are RandomSplit\(ratio=.*\) and RandomSplit\('):
        check_parts_are_disjoint(split(**weights), split(**dict(dict(part='arch'), **arch)))


def test_other_data_cannot_be_compared():
    other = split('arch', seed=1, dataset=dict(type='ToyImages', length=20))
    check_parts_are_disjoint(split(), other)
    check_parts_are_disjoint(split().dataset, split('arch'))  # the whole set: the user's own choice


def listed(path, names, part, **kwargs):
    """A part of the images of an annotation file of mmengine's own format."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(dict(metainfo=dict(), data_list=[dict(img_path=name) for name in names])))
    return DATASETS.build(dict(
        type='RandomSplit', ratio=.5, part=part, dataset=dict(dict(type='ListedImages', ann_file=str(path)), **kwargs)))


NAMES = [f'{index}.jpg' for index in range(12)]


def test_one_file_spelled_in_two_ways_is_one_whole(tmp_path):
    one = listed(tmp_path / 'x.json', NAMES, 'weights')
    for spelled in (tmp_path / 'a/../x.json', tmp_path / 'linked.json'):
        (tmp_path / 'a').mkdir(exist_ok=True)
        if spelled.name == 'linked.json':
            spelled.symlink_to('x.json')
        check_parts_are_disjoint(one, listed(spelled, NAMES, 'arch'))
        with pytest.raises(ValueError, match='share 6 of 12 samples'):
            check_parts_are_disjoint(one, listed(spelled, NAMES, 'weights'))


@pytest.mark.parametrize('changes', [dict(indices=8), dict(filter_cfg=dict(min_size=32))])
def test_one_file_read_in_two_ways_is_refused(tmp_path, changes):
    with pytest.raises(ValueError, match=r"read from the same files in two ways.*'samples': 12.*same data set"):
        check_parts_are_disjoint(listed(tmp_path / 'x.json', NAMES, 'weights'),
                                 listed(tmp_path / 'x.json', NAMES, 'arch', **changes))


def test_parts_of_two_files_are_compared_by_their_images(tmp_path):
    """Such as a list of all and a longer one."""
    one, longer = listed(tmp_path / 'x.json', NAMES, 'weights'), [*NAMES, *map('more_{}.jpg'.format, range(8))]
    with pytest.raises(ValueError, match=r'share \d of 12 samples'):
        check_parts_are_disjoint(one, listed(tmp_path / 'y.json', longer, 'arch'))
    check_parts_are_disjoint(one, listed(tmp_path / 'z.json', [f'other/{name}' for name in NAMES], 'arch'))


def test_a_search_on_overlapping_parts_stops_before_training(tmp_path):
    arch = toy_dataloader('arch')
    arch['dataset']['seed'] = 1
    cfg = search_config(tmp_path, hook=dict(dataloader=arch))
    cfg.custom_hooks.append(dict(type='Recorder'))
    runner = build(cfg)
    with pytest.raises(ValueError, match='the data of the weights and of the architecture share'):
        runner.train()
    assert not find_hook(runner, 'Recorder').batches


# Cost


@pytest.mark.parametrize('table', [CostTable(math.nan, ((1., ), )), CostTable(1., ((1., math.inf), (2., )))])
def test_costs_must_be_finite(table):
    check_costs_are_finite(CostTable(1., ((0., 2.), )))
    with pytest.raises(ValueError, match='the cost table holds 1 entries that are no finite numbers'):
        check_costs_are_finite(table)


# Disks


def test_a_writable_folder_is_left_as_it_was(tmp_path):
    check_can_write(str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / 'out').write_text('mine')
    with pytest.raises(OSError, match="out' cannot be written to, but the run needs to write there"):
        check_can_write(str(tmp_path / 'out'))
    assert (tmp_path / 'out').read_text() == 'mine'


def test_a_search_that_could_not_export_stops_before_training(tmp_path):
    (tmp_path / 'out').write_text('mine')
    cfg = search_config(tmp_path / 'work')
    cfg.custom_hooks += [dict(type='ArchitectureExportHook', out_dir=str(tmp_path / 'out')), dict(type='Recorder')]
    runner = build(cfg)
    with pytest.raises(OSError, match="out' cannot be written to"):
        runner.train()
    assert not find_hook(runner, 'Recorder').batches


def test_space_for_a_checkpoint(tmp_path, monkeypatch):
    free = namedtuple('Usage', 'free')
    model = nn.BatchNorm1d(1000)  # weight, bias and two statistics of four bytes, and a counter of eight
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: free(3 * 16_008))
    check_space(model, str(tmp_path))
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: free(3 * 16_008 - 1))
    with pytest.raises(OSError, match=r'0 MB are free in .*, but a checkpoint may take 0 MB: make space, or set'):
        check_space(model, str(tmp_path))
    check_space(model, 's3://bucket/folder')
