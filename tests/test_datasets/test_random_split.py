import copy
import json

import mmdet.registry
import mmengine.registry
import mmseg.registry
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from mmengine.registry import DATASETS

from fna_mm import RandomSplit
from fna_mm.datasets.random_split import split_indices

#: mmengine registers its base class only through its children.
PLAIN = DATASETS.register_module(name='PlainDataset', module=type('PlainDataset', (BaseDataset, ), {}), force=True)
REGISTRIES = [mmengine.registry.DATASETS, mmdet.registry.DATASETS, mmseg.registry.DATASETS]


@pytest.fixture
def annotations(tmp_path):
    """The annotation file of ten samples, mmengine's own format."""
    path = tmp_path / 'annotations.json'
    samples = [dict(img_path=f'{index}.jpg', label=index % 3) for index in range(10)]
    path.write_text(json.dumps(dict(metainfo=dict(classes=['a', 'b', 'c']), data_list=samples)), encoding='utf-8')
    return str(path)


def names(dataset):
    return [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]


# Indices


@given(st.integers(2, 300), st.floats(.01, .99), st.integers(0, 2**32 - 1))
def test_parts_are_disjoint_and_complete(length, ratio, seed):
    wanted = round(length * ratio)
    if not 0 < wanted < length:
        with pytest.raises(ValueError, match='both parts need at least one sample'):
            split_indices(length, ratio, seed)
        return
    parts = split_indices(length, ratio, seed)
    assert set(parts) == {'weights', 'arch'}
    assert len(parts['arch']) == wanted
    assert sorted([*parts['arch'], *parts['weights']]) == list(range(length))
    for part in parts.values():
        assert list(part) == sorted(part)


def test_seed_decides():
    first, again, other = (split_indices(100, .5, seed)['arch'].tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_global_random_state_does_not():
    np.random.seed(1)
    first = split_indices(50, .2, 0)['arch'].tolist()
    np.random.seed(2)
    state = np.random.get_state()[1].copy()
    assert split_indices(50, .2, 0)['arch'].tolist() == first
    assert np.array_equal(np.random.get_state()[1], state)


def test_golden_split():
    """A search resumed with a later release must see the same two parts."""
    assert split_indices(10, .3, 0)['arch'].tolist() == [2, 4, 8]
    assert split_indices(10, .3, 0)['weights'].tolist() == [0, 1, 3, 5, 6, 7, 9]


def test_parts_are_mixed():
    """Data sets are often sorted: a part must not be one end of it."""
    arch = split_indices(1000, .5, 0)['arch']
    assert 200 < (arch < 500).sum() < 300


@pytest.mark.parametrize(('length', 'ratio'), [(0, .5), (1, .5), (2, .1), (10, .96), (3, .1)])
def test_too_small_to_split(length, ratio):
    message = f'a data set of {length} samples cannot be split with ratio={ratio}: one part would be empty'
    with pytest.raises(ValueError, match=message):
        split_indices(length, ratio, 0)


# Of mmengine's data sets


@pytest.mark.parametrize('ratio', [.5, .2])
@pytest.mark.parametrize('lazy', [True, False])
def test_base_dataset(annotations, ratio, lazy):
    cfg = dict(type='PlainDataset', ann_file=annotations, lazy_init=lazy)
    before = copy.deepcopy(cfg)
    parts = [DATASETS.build(dict(type='RandomSplit', dataset=cfg, ratio=ratio, part=part)) for part in
             ('weights', 'arch')]
    assert cfg == before
    assert [len(part) for part in parts] == [10 - 10 * ratio, 10 * ratio]
    found = [names(part) for part in parts]
    assert sorted(found[0] + found[1]) == sorted(names(PLAIN(ann_file=annotations)))
    assert not set(found[0]) & set(found[1])
    # Written in the annotation file, which a lazy data set has not read when it is built.
    assert all(part.metainfo['classes'] == ['a', 'b', 'c'] for part in parts)


def test_a_built_dataset(annotations):
    part = RandomSplit(PLAIN(ann_file=annotations), .5, 'arch', seed=3)
    again = RandomSplit(dict(type='PlainDataset', ann_file=annotations), .5, 'arch', seed=3)
    assert names(part) == names(again)
    assert names(part) != names(RandomSplit(PLAIN(ann_file=annotations), .5, 'arch', seed=4))


def test_samples_are_the_datasets_own(annotations):
    part = RandomSplit(dict(type='PlainDataset', ann_file=annotations, pipeline=[]), .5, 'weights')
    whole = PLAIN(ann_file=annotations)
    place = {whole.get_data_info(index)['img_path']: index for index in range(10)}
    for index in range(len(part)):
        sample = part[index]
        assert sample['img_path'] == part.get_data_info(index)['img_path']
        assert sample['label'] == place[sample['img_path']] % 3


@pytest.mark.parametrize('serialize', [True, False])
def test_nothing_but_the_samples_is_copied(annotations, serialize):
    """mmengine's copies of data sets share a memo over the life of the process, and can give back a stale object."""
    whole = PLAIN(ann_file=annotations, serialize_data=serialize, pipeline=[lambda results: results])
    parts = [RandomSplit(whole, ratio=.3, part=part) for part in ('weights', 'arch')]
    assert [part.dataset.pipeline is whole.pipeline for part in parts] == [True, True]
    assert [len(whole), *map(len, parts)] == [10, 7, 3]
    assert {*names(parts[0]), *names(parts[1])} == {*names(whole)}


def test_lazy_until_needed(tmp_path):
    missing = dict(type='PlainDataset', ann_file=str(tmp_path / 'nowhere.json'))
    with pytest.raises(FileNotFoundError):
        RandomSplit(dict(missing), .5, 'arch')
    part = RandomSplit(dict(missing, lazy_init=True), .5, 'arch', lazy_init=True)
    with pytest.raises(FileNotFoundError):
        len(part)


@pytest.mark.parametrize('use', [len, lambda part: part[0], lambda part: part.get_data_info(0),
                                 lambda part: part.full_init()], ids=['len', 'item', 'info', 'full_init'])
def test_lazy_split_reads_when_used(annotations, use):
    part = RandomSplit(dict(type='PlainDataset', ann_file=annotations, lazy_init=True), .5, 'arch', lazy_init=True)
    use(part)
    part.full_init()  # the second time it must not split again
    assert len(part) == 5
    assert names(part) == names(RandomSplit(dict(type='PlainDataset', ann_file=annotations), .5, 'arch'))


def test_wrapped_from_outside(annotations):
    part = dict(type='RandomSplit', dataset=dict(type='PlainDataset', ann_file=annotations), ratio=.2, part='arch')
    assert len(RepeatDataset(part, times=3)) == 6
    assert len(ConcatDataset([part, dict(part, part='weights')])) == 10


def test_wrappers_inside_are_refused(annotations):
    inner = dict(type='RepeatDataset', dataset=dict(type='PlainDataset', ann_file=annotations), times=2)
    with pytest.raises(TypeError, match='not a RepeatDataset: put wrappers around RandomSplit'):
        RandomSplit(inner, .5, 'arch')
    with pytest.raises(TypeError, match='not a list'):
        RandomSplit([1, 2, 3, 4], .5, 'arch')


def test_too_small_a_dataset_is_named(tmp_path):
    path = tmp_path / 'one.json'
    path.write_text(json.dumps(dict(metainfo={}, data_list=[dict(img_path='0.jpg')])), encoding='utf-8')
    with pytest.raises(ValueError, match=r'RandomSplit of PlainDataset \(.*one\.json\): a data set of 1 samples'):
        RandomSplit(dict(type='PlainDataset', ann_file=str(path)), .5, 'arch')


@pytest.mark.parametrize(('arguments', 'message'), [
    (dict(part='train'), "part of RandomSplit must be 'weights' or 'arch', not 'train'"),
    (dict(part=None), 'part of RandomSplit must be'),
    (dict(ratio=0), 'ratio of RandomSplit.*must be a number above 0 and below 1, not 0'),
    (dict(ratio=1), 'ratio of RandomSplit.*not 1'),
    (dict(ratio=1.5), 'ratio of RandomSplit.*not 1.5'),
    (dict(ratio=-.5), 'ratio of RandomSplit.*not -0.5'),
    (dict(ratio=True), 'ratio of RandomSplit.*not True'),
    (dict(ratio='0.5'), "ratio of RandomSplit.*not '0.5'"),
    (dict(ratio=float('nan')), 'ratio of RandomSplit.*not nan'),
])
def test_illegal_arguments(annotations, arguments, message):
    with pytest.raises(ValueError, match=message):
        RandomSplit(**dict(dict(dataset=dict(type='PlainDataset', ann_file=annotations), ratio=.5, part='arch'),
                           **arguments))


@pytest.mark.parametrize('registry', REGISTRIES, ids=lambda registry: registry.scope)
def test_found_from_every_scope(annotations, registry):
    cfg = dict(type='RandomSplit', dataset=dict(type='mmengine.PlainDataset', ann_file=annotations), ratio=.5,
               part='arch')
    assert type(registry.build(cfg)) is RandomSplit


# Of mmdet's


@pytest.fixture
def coco(tmp_path):
    """Eight images, of which the last four have no box."""
    images = [dict(id=index, file_name=f'{index}.jpg', width=64, height=64) for index in range(8)]
    boxes = [dict(id=index, image_id=index, category_id=index % 2, bbox=[1, 2, 30, 40], area=1200, iscrowd=0)
             for index in range(4)]
    categories = [dict(id=0, name='cat'), dict(id=1, name='dog')]
    path = tmp_path / 'coco.json'
    path.write_text(json.dumps(dict(images=images, annotations=boxes, categories=categories)), encoding='utf-8')
    return dict(type='CocoDataset', ann_file=str(path), data_prefix=dict(img=''),
                metainfo=dict(classes=('cat', 'dog')), _scope_='mmdet')


def image_ids(dataset):
    return [dataset.get_data_info(index)['img_id'] for index in range(len(dataset))]


@pytest.mark.parametrize(('filter_empty_gt', 'images'), [(True, range(4)), (False, range(8))])
def test_coco_dataset(coco, filter_empty_gt, images):
    """Images are dropped before the split, so no part is larger than its share of what is left."""
    coco['filter_cfg'] = dict(filter_empty_gt=filter_empty_gt)
    parts = [mmdet.registry.DATASETS.build(dict(type='RandomSplit', dataset=dict(coco), ratio=.5, part=part))
             for part in ('weights', 'arch')]
    weights, arch = map(image_ids, parts)
    assert len(weights) == len(arch) == len(images) / 2
    assert sorted(weights + arch) == list(images)
    for part in parts:
        assert part.metainfo['classes'] == ('cat', 'dog')
        for index in range(len(part)):
            info = part.get_data_info(index)
            expected = [info['img_id'] % 2] if info['img_id'] < 4 else []
            assert part.get_cat_ids(index) == expected
            assert [instance['bbox'] for instance in info['instances']] == [[1, 2, 31, 42]] * len(expected)
