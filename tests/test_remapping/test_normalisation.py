"""Images that a seed has not seen are warned of."""

from types import SimpleNamespace

import pytest
from mmengine.config import Config

from fna_mm.remapping.normalisation import MEAN, STD, other_normalisation, warn_of_normalisation

SAME = dict(mean=list(MEAN), std=list(STD), bgr_to_rgb=True)


@pytest.mark.parametrize('preprocessor', [
    SAME, dict(SAME, mean=[123.68, 116.78, 103.94]), dict(SAME, pad_size_divisor=32, mean=tuple(MEAN))])
def test_the_same_images(preprocessor):
    assert other_normalisation(preprocessor) is None


@pytest.mark.parametrize(('preprocessor', 'named'), [
    (dict(mean=[103.53, 116.28, 123.675], std=[1., 1., 1.], bgr_to_rgb=False), 'std=[1.0, 1.0, 1.0], bgr_to_rgb=False'),
    (dict(SAME, bgr_to_rgb=False), 'bgr_to_rgb=False, but'),
    (dict(SAME, std=[1., 1., 1.]), 'std=[1.0, 1.0, 1.0]'),
    (dict(SAME, mean=[100.]), 'mean=[100.0]'),
    (dict(type='DetDataPreprocessor'), 'mean=None, std=None'),
])
def test_other_images_are_described(preprocessor, named):
    assert named in other_normalisation(preprocessor)


@pytest.mark.parametrize(('cfg', 'warned'), [
    (dict(model=dict(data_preprocessor=dict(SAME, std=[1., 1., 1.]))), True),
    (dict(data_preprocessor=dict(SAME, std=[1., 1., 1.])), True),
    (dict(model=dict(data_preprocessor=SAME)), False),
    (dict(model=dict(type='ToyClassifier')), False),
    ({}, False),
])
def test_a_run_is_warned(cfg, warned):
    lines = []
    warn_of_normalisation(SimpleNamespace(cfg=Config(cfg), logger=SimpleNamespace(warning=lines.append)))
    assert len(lines) == warned
