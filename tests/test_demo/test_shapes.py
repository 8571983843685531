import hashlib
import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fna_mm.demo import shapes
from fna_mm.demo.shapes import CLASSES, MARKER, draw_shapes, sample_of, tight_box

SIZE = (64, 64)
NUMBERS = dict(train=4, val=2)


def digests(root):
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in root.rglob('*') if path.is_file()}


@pytest.fixture(scope='session')
def drawn(tmp_path_factory):
    """A data set that nobody may change."""
    root = tmp_path_factory.mktemp('data') / 'shapes'
    assert draw_shapes(root, NUMBERS, SIZE, seed=3) is True
    return root


# One image


@given(st.sampled_from(['train', 'val', 'test']), st.integers(0, 1000), st.integers(0, 2**32 - 1),
       st.sampled_from([(64, 64), (48, 80)]))
def test_any_sample(split, index, seed, size):
    sample = sample_of(split, index, size, seed)
    assert sample.image.shape == (*size, 3)
    assert sample.image.dtype == np.uint8
    assert 1 <= len(sample.labels) <= 6
    assert sample.masks.shape == (len(sample.labels), *size)
    assert set(sample.labels) <= set(range(len(CLASSES)))
    assert sample.masks.any((1, 2)).all()
    assert sample.masks.sum(0).max() == 1  # a pixel shows one shape


def test_a_sample_depends_on_its_place_and_seed_only():
    np.random.seed(1)
    first = sample_of('train', 7, SIZE, 0)
    np.random.seed(2)
    assert np.array_equal(sample_of('train', 7, SIZE, 0).image, first.image)
    for other in (sample_of('train', 8, SIZE, 0), sample_of('val', 7, SIZE, 0), sample_of('train', 7, SIZE, 1)):
        assert not np.array_equal(other.image, first.image)


def test_shapes_stand_out():
    """A shape differs from its surroundings, or nobody could learn to find it."""
    contrasts = []
    for index in range(20):
        sample = sample_of('train', index, SIZE, 0)
        for mask in sample.masks:
            ring = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7))).astype(bool) & ~sample.masks.any(0)
            contrasts.append(np.linalg.norm(sample.image[mask].mean(0) - sample.image[ring].mean(0)))
    assert len(contrasts) > 30
    assert np.median(contrasts) > 45


def test_every_class_is_drawn():
    labels = [label for index in range(20) for label in sample_of('train', index, SIZE, 0).labels]
    counts = np.bincount(labels, minlength=3)
    assert (counts > len(labels) / 6).all()


@pytest.mark.parametrize(('rows', 'columns', 'box'), [
    ([3], [5], (5, 3, 1, 1)), ([0, 7], [0, 9], (0, 0, 10, 8)), ([2, 4], [6, 1], (1, 2, 6, 3))])
def test_tight_box(rows, columns, box):
    mask = np.zeros((8, 10), bool)
    mask[rows, columns] = True
    assert tight_box(mask) == box


def test_empty_mask_has_no_box():
    with pytest.raises(ValueError, match='an empty mask has no box'):
        tight_box(np.zeros((4, 4), bool))


# The files


def test_same_seed_same_bytes(drawn, tmp_path):
    draw_shapes(tmp_path / 'again', NUMBERS, SIZE, seed=3)
    files = digests(drawn)
    assert digests(tmp_path / 'again') == files
    assert len(files) == 4 + 2 + 2 + 1


def test_other_seed_other_images(drawn, tmp_path):
    draw_shapes(tmp_path / 'other', NUMBERS, SIZE, seed=4)
    first, other = digests(drawn), digests(tmp_path / 'other')
    assert set(first) == set(other)
    assert not set(first.values()) & set(other.values())


def test_a_longer_split_begins_like_a_shorter_one(drawn, tmp_path):
    draw_shapes(tmp_path / 'longer', dict(val=3, train=5), SIZE, seed=3)
    first, longer = digests(drawn), digests(tmp_path / 'longer')
    images = [name for name in first if name.endswith('.jpg')]
    assert len(images) == 6
    assert all(longer[name] == first[name] for name in images)


@pytest.mark.parametrize('split', sorted(NUMBERS))
def test_annotations_are_those_of_the_masks(drawn, split):
    coco = json.loads((drawn / 'annotations' / f'{split}.json').read_text(encoding='utf-8'))
    assert coco['categories'] == [dict(id=index, name=name) for index, name in enumerate(CLASSES)]
    assert [image['file_name'] for image in coco['images']] == [f'{i:05d}.jpg' for i in range(NUMBERS[split])]
    identifiers = [annotation['id'] for annotation in coco['annotations']]
    assert identifiers == list(range(1, len(identifiers) + 1))
    for image in coco['images']:
        assert (image['height'], image['width']) == SIZE
        sample = sample_of(split, image['id'], SIZE, 3)
        read = cv2.imread(str(drawn / 'images' / split / image['file_name']))
        assert read.shape == (*SIZE, 3)
        # JPEG changes a little, not the picture.
        assert np.abs(read.astype(float) - sample.image).mean() < 8
        own = [annotation for annotation in coco['annotations'] if annotation['image_id'] == image['id']]
        assert [annotation['category_id'] for annotation in own] == list(sample.labels)
        for annotation, mask in zip(own, sample.masks):
            x, y, width, height = annotation['bbox']
            assert 0 <= x < x + width <= SIZE[1]
            assert 0 <= y < y + height <= SIZE[0]
            inside = mask[y:y + height, x:x + width]
            assert inside.sum() == mask.sum() == annotation['area']
            # Tight: every side of the box touches the shape.
            assert inside[0].any()
            assert inside[-1].any()
            assert inside[:, 0].any()
            assert inside[:, -1].any()


def test_height_comes_first(tmp_path):
    draw_shapes(tmp_path / 'wide', dict(test=1), (48, 96))
    assert cv2.imread(str(tmp_path / 'wide' / 'images' / 'test' / '00000.jpg')).shape == (48, 96, 3)
    coco = json.loads((tmp_path / 'wide' / 'annotations' / 'test.json').read_text(encoding='utf-8'))
    assert (coco['images'][0]['height'], coco['images'][0]['width']) == (48, 96)


def test_mmdets_coco_dataset_reads_it(drawn):
    from mmdet.registry import DATASETS
    from mmengine.registry import init_default_scope
    init_default_scope('mmdet')
    dataset = DATASETS.build(dict(
        type='CocoDataset', data_root=str(drawn), ann_file='annotations/train.json',
        data_prefix=dict(img='images/train/'), metainfo=dict(classes=CLASSES), test_mode=True,
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True),
                  dict(type='PackDetInputs')]))
    assert len(dataset) == 4
    for index in range(4):
        sample = sample_of('train', index, SIZE, 3)
        packed = dataset[index]
        assert packed['inputs'].shape == (3, *SIZE)
        instances = packed['data_samples'].gt_instances
        assert instances.labels.tolist() == list(sample.labels)
        x, y, width, height = tight_box(sample.masks[0])
        assert instances.bboxes.tensor[0].tolist() == [x, y, x + width, y + height]


# Drawing again


def test_complete_data_is_left_alone(drawn):
    times = {path: path.stat().st_mtime_ns for path in drawn.rglob('*') if path.is_file()}
    assert draw_shapes(drawn, NUMBERS, SIZE, seed=3) is False
    assert draw_shapes(str(drawn), dict(reversed(NUMBERS.items())), list(SIZE), seed=3) is False
    assert {path: path.stat().st_mtime_ns for path in drawn.rglob('*') if path.is_file()} == times


@pytest.mark.parametrize('lost', ['images/train/00002.jpg', 'annotations/val.json', 'images/val/00001.jpg'])
def test_what_is_missing_is_drawn_again(drawn, tmp_path, lost):
    root = tmp_path / 'shapes'
    draw_shapes(root, NUMBERS, SIZE, seed=3)
    (root / lost).unlink()
    assert draw_shapes(root, NUMBERS, SIZE, seed=3) is True
    assert digests(root) == digests(drawn)
    assert draw_shapes(root, NUMBERS, SIZE, seed=3) is False


@pytest.mark.parametrize('again', [False, True])
@pytest.mark.parametrize('after', [0, 3, 5])
def test_an_interrupted_drawing_is_finished(drawn, tmp_path, monkeypatch, after, again):
    """Killed in the middle, also in the middle of a file, the first time or when drawing what was lost."""
    root, calls = tmp_path / 'shapes', []
    if again:
        draw_shapes(root, NUMBERS, SIZE, seed=3)
        (root / 'images' / 'train' / '00000.jpg').unlink()
    original = shapes.sample_of

    def interrupted(*args):
        calls.append(args)
        if len(calls) > after:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(shapes, 'sample_of', interrupted)
    with pytest.raises(KeyboardInterrupt):
        draw_shapes(root, NUMBERS, SIZE, seed=3)
    monkeypatch.setattr(shapes, 'sample_of', original)
    for path in root.rglob('*.jpg'):
        path.write_bytes(path.read_bytes()[:100])
    assert draw_shapes(root, NUMBERS, SIZE, seed=3) is True
    assert digests(root) == digests(drawn)


def test_a_foreign_folder_is_refused(tmp_path):
    (tmp_path / 'thesis.tex').write_text('years of work', encoding='utf-8')
    with pytest.raises(FileExistsError, match=f'is not empty and has no {MARKER}'):
        draw_shapes(tmp_path, NUMBERS, SIZE)
    assert [path.name for path in tmp_path.iterdir()] == ['thesis.tex']


@pytest.mark.parametrize('other', [dict(seed=4), dict(size=(64, 96)), dict(num_images=dict(train=5, val=2)),
                                   dict(num_images=dict(train=4))])
def test_shapes_of_other_arguments_are_refused(drawn, other):
    before = digests(drawn)
    with pytest.raises(FileExistsError, match='holds shapes drawn with .* asked for are'):
        draw_shapes(drawn, **dict(dict(num_images=NUMBERS, size=SIZE, seed=3), **other))
    assert digests(drawn) == before


def test_an_empty_folder_is_used(tmp_path):
    assert draw_shapes(tmp_path, dict(val=1), SIZE) is True
    assert (tmp_path / 'images' / 'val' / '00000.jpg').is_file()


@pytest.mark.parametrize(('arguments', 'message'), [
    (dict(num_images={}), 'num_images must give a positive number for some of'),
    (dict(num_images=dict(train=0)), 'num_images must give a positive number'),
    (dict(num_images=dict(training=4)), 'num_images must give a positive number'),
    (dict(num_images=dict(train=2.5)), 'num_images must give a positive number'),
    (dict(size=(64, )), r'size must be \(height, width\) of at least 32 pixels each'),
    (dict(size=(64, 31)), r'size must be \(height, width\)'),
    (dict(size=(64., 64.)), r'size must be \(height, width\)'),
    (dict(seed=-1), r'seed must be an integer from 0 to 4294967295, not -1'),
    (dict(seed=2**32), 'seed must be an integer'),
    (dict(seed=True), 'seed must be an integer'),
    (dict(seed=.5), 'seed must be an integer'),
])
def test_illegal_arguments(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_shapes(tmp_path / 'shapes', **dict(dict(num_images=NUMBERS, size=SIZE), **arguments))
    assert not (tmp_path / 'shapes').exists()
