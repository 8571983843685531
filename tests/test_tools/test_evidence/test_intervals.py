"""Metrics on resampled images and paired intervals, against the same by brute force."""

import contextlib
import io
import itertools

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tools.evidence.image_results import DetectionResults, SegmentationResults
from tools.evidence.intervals import DRAWS, image_draws, paired, resampled


def test_iou_of_images_that_are_drawn_twice():
    truth = [np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), np.array([2, 2, 0, 0])]
    found = [np.array([0, 1, 1, 1]), np.array([0, 0, 1, 1]), np.array([2, 0, 0, 0])]
    areas = [[[(np.logical_and if inner else np.logical_or)(one == label, other == label).sum() for label in range(4)]
              for one, other in zip(truth, found)] for inner in (True, False)]
    results = SegmentationResults(*map(np.array, areas))
    for chosen in itertools.product(range(3), repeat=3):
        one, other = (np.concatenate([maps[image] for image in chosen]) for maps in (truth, found))
        values = [((one == label) & (other == label)).sum() / ((one == label) | (other == label)).sum()
                  for label in range(4) if ((one == label) | (other == label)).any()]
        assert results.value(np.array(chosen)) == pytest.approx(100 * np.mean(values))


@pytest.fixture
def boxes():
    """Truth and detections of four images and two categories, some right, some shifted, some too many."""
    rng = np.random.default_rng(3)
    annotations, detections = [], []
    for image in range(4):
        for category in (1, 2):
            for _ in range(rng.integers(0, 3)):
                box = [*rng.uniform(0, 60, 2), *rng.uniform(10, 40, 2)]
                annotations.append(dict(id=len(annotations) + 1, image_id=image, category_id=category, bbox=box,
                                        area=box[2] * box[3], iscrowd=0))
                shift = rng.uniform(0, 6)
                detections.append(dict(image_id=image, category_id=category, score=float(rng.random()),
                                       bbox=[box[0] + shift, *box[1:]]))
        detections.append(dict(image_id=image, category_id=2, score=float(rng.random()), bbox=[5., 5., 20., 20.]))
    truth = dict(images=[dict(id=image, width=100, height=100) for image in range(4)], annotations=annotations,
                 categories=[dict(id=1, name='a'), dict(id=2, name='b')])
    return truth, detections


def evaluated(truth, detections):
    """COCO's mAP from scratch."""
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = truth
        known.createIndex()
        evaluation = COCOeval(known, known.loadRes(detections), 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return 100 * evaluation.stats[0]


def of_images(truth, detections, chosen):
    """The data set in which every drawn image is an image of its own."""
    def copies(entries):
        return [dict(entry, image_id=place, id=10 * place + number + 1) for place, image in enumerate(chosen)
                for number, entry in enumerate(entry for entry in entries if entry['image_id'] == image)]
    return dict(truth, images=[dict(truth['images'][image], id=place) for place, image in enumerate(chosen)],
                annotations=copies(truth['annotations'])), copies(detections)


def test_map_of_images_that_are_drawn_twice(boxes):
    results = DetectionResults(*boxes)
    assert results.whole == pytest.approx(evaluated(*boxes))
    for chosen in ((0, 0, 1, 2), (3, 2, 2, 2), (1, 1, 3, 3), (3, 2, 1, 0)):
        assert results.value(np.array(chosen)) == pytest.approx(evaluated(*of_images(*boxes, chosen)))
    assert results.whole == pytest.approx(evaluated(*boxes))  # what was drawn leaves nothing behind
    with pytest.raises(ValueError, match='3 images, but accumulation is over 4'):
        results.value(np.array([0, 1, 2]))


def test_no_detection_at_all(boxes):
    assert DetectionResults(boxes[0], []).whole == 0


def test_all_models_see_the_same_draws(boxes):
    assert (image_draws(7) == image_draws(7)).all()
    assert image_draws(7).shape == (DRAWS, 7)
    results = DetectionResults(*boxes)
    wanted = [results.value(images) for images in image_draws(4, 5)]
    assert resampled(results, 5).tolist() == wanted


def test_the_difference_is_that_of_the_same_seeds():
    found = paired([41., 43.], [40., 40.])
    assert found.mean == 2
    assert found.over == 'seeds'
    # Of two seeds that differ by 1 and 3, draws have means of 1, 2 and 3.
    assert found.interval == (1, 3)
    assert paired([41.], [40.]).interval is None
    with pytest.raises(ValueError, match='2 and 1 seeds cannot be paired'):
        paired([1., 2.], [1.])


def test_an_interval_over_images_of_one_seed():
    draws = np.arange(1000.)[None]
    found = paired([5.], [1.], draws, np.zeros((1, 1000)))
    assert found.mean == 4
    assert found.over == 'images'
    assert found.interval == pytest.approx(np.percentile(draws, (2.5, 97.5)))


def test_an_interval_over_seeds_and_images():
    rng = np.random.default_rng(0)
    own, other = rng.normal(2, 1, (3, 1000)), rng.normal(0, 1, (3, 1000))
    found = paired([2., 2., 2.], [0., 0., 0.], own, other)
    # By brute force: every seed of every draw is looked up on its own.
    chosen = np.random.default_rng(1).integers(3, size=(3, 1000))
    means = [np.mean([own[seed, draw] - other[seed, draw] for seed in chosen[:, draw]]) for draw in range(1000)]
    assert found.over == 'seeds and images'
    assert found.interval == pytest.approx(np.percentile(means, (2.5, 97.5)))
    with pytest.raises(ValueError, match='do not belong to 2 seeds'):
        paired([1., 2.], [1., 2.], own, other)
