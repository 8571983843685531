import os

import pytest
import torch
from mmengine.registry import DATASETS, init_default_scope

from fna_mm.sections import find_sections
from tools.bench.iteration import PARTS, SEARCHES, _from_stamps, projected_hours, search_config
from tools.bench.settings import Settings


def search_hook(cfg):
    (hook, ) = find_sections(cfg.custom_hooks, 'AlternatingOptimizerHook')
    return hook


def test_hours_of_a_schedule():
    """By hand: 3 epochs of 10 iterations with 2 s, 2 with 6 s, and 4 s an epoch: 200 s."""
    hours = projected_hours(dict(weights=(1., 3.), both=(6., )), (3., 5.), epochs=5, begin_epoch=3,
                            iterations_per_epoch=10)
    assert hours == pytest.approx((3 * 10 * 2 + 2 * 10 * 6 + 5 * 4) / 3600)


def test_times_from_stamps():
    """Two epochs of four iterations, weights alone in the first one; every part has a length of its own."""
    stamps, waited, now = {}, {}, 0.
    for index in range(8):
        both = index >= 4
        now += 1. + (10. if index == 4 else 0.)  # the data; new workers at the second epoch
        for name, seconds in (('begin', 0.), ('weights', 2.), ('architecture', 12. if both else 0.), ('end', .5)):
            now += seconds
            stamps[index, name] = now
        if both:
            waited[index] = 4.
    iterations, parts, boundaries = _from_stamps(stamps, waited, per_epoch=4, total=8, first=4, warmup=2)
    assert iterations == dict(weights=(3.5, 3.5), both=(15.5, 15.5))
    assert parts == dict(zip(PARTS, ((1., 1.), (2., 2.), (4., 4.), (8., 8.), (.5, .5))))
    assert boundaries == (10., )


@pytest.mark.slow
def test_the_segmentation_search_at_its_own_size():
    settings = Settings.create('cpu', quick=False, whole_size=True, iterations=200)
    cfg, whole = search_config(SEARCHES['deeplabv3'], settings, 'seed.pth', 'work')
    # Section 4.1 of the paper: 2380 and 595 images, batches of 16, 80 epochs, of which 50 with both steps.
    assert whole == dict(batch_size=16, epochs=80, begin_epoch=30, iterations_per_epoch=2380 // 16)
    assert (cfg.train_cfg.max_epochs, search_hook(cfg).begin_epoch) == (4, 2)  # at least 200 of each kind
    assert cfg.model.backbone.init_cfg.checkpoint == 'seed.pth'
    assert not list(find_sections(cfg.model, 'SyncBN'))
    init_default_scope('mmseg')
    sizes = []
    for loader in (cfg.train_dataloader, search_hook(cfg).dataloader):
        assert loader.batch_size == 16
        assert loader.num_workers == min(8, os.cpu_count())
        dataset = DATASETS.build(loader.dataset)
        sizes.append(len(dataset))
        sample = dataset[0]
        assert sample['inputs'].shape == (3, 321, 321)
        assert sample['data_samples'].gt_sem_seg.data.shape == (1, 321, 321)
        assert int(sample['data_samples'].gt_sem_seg.data.max()) < 19
    assert sizes == [2380, 595]


@pytest.mark.parametrize(('whole_size', 'shape', 'batch_size'), [(True, (3, 800, 1067), 2), (False, (3, 96, 128), 5)])
def test_the_detection_search(whole_size, shape, batch_size):
    settings = Settings.create('cpu', quick=False, whole_size=whole_size, iterations=3, input_size=96, batch_size=5)
    cfg, whole = search_config(SEARCHES['retinanet'], settings, 'seed.pth', 'work')
    assert whole == dict(batch_size=batch_size, epochs=14, begin_epoch=8, iterations_per_epoch=58633 // batch_size)
    init_default_scope('mmdet')
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert len(dataset) == (3 + 2) * batch_size
    sample = dataset[0]
    assert sample['inputs'].shape == shape
    boxes = sample['data_samples'].gt_instances.bboxes.tensor
    assert boxes.shape == (7, 4)
    assert bool((boxes[:, :2] < boxes[:, 2:]).all())
    assert bool((boxes[:, 2:] <= torch.tensor([shape[2], shape[1]]) + .5).all())


def test_mixed_precision_reaches_both_optimizers():
    settings = Settings.create('cpu', quick=True, precision='bf16')
    cfg, _ = search_config(SEARCHES['deeplabv3'], settings, 'seed.pth', 'work')
    for wrapper in (cfg.optim_wrapper, search_hook(cfg).optim_wrapper):
        assert (wrapper.type, wrapper.dtype) == ('AmpOptimWrapper', 'bfloat16')
