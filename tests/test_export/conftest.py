"""A trained segmentation model for the tests here."""

import pytest
from toy_segmentation import train_segmentor


@pytest.fixture(scope='session')
def segmentor(tmp_path_factory):
    """The paths of config and checkpoint of a trained toy model."""
    return train_segmentor(tmp_path_factory.mktemp('exported'))
