"""What maps a backbone gives, and the stages of MobileNetV2 that give the same."""

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from fna_mm.architecture import Architecture
from fna_mm.user_config.maps import FeatureMap, described, maps_of, stages_like

SEED = Architecture.create('mobilenet_v2')


@MODELS.register_module()
class BackboneOfAUser(nn.Module):
    """Gives maps of the strides that it is told."""

    def __init__(self, strides, shape=4):
        super().__init__()
        self.strides, self.shape = strides, shape

    def forward(self, x):
        maps = [torch.zeros(1, 10 + i, *(-(-side // stride) for side in x.shape[2:]))
                for i, stride in enumerate(self.strides)]
        return maps if self.shape == 4 else maps[0].flatten(1)


@MODELS.register_module()
class BackboneOfOneSize(BackboneOfAUser):

    def forward(self, x):
        assert x.shape[-1] == 224, 'only 224'
        return super().forward(x)


@pytest.mark.parametrize('kind', ['BackboneOfAUser', 'BackboneOfOneSize'])
def test_maps_are_asked_of_the_backbone(kind):
    maps = maps_of(dict(type=kind, strides=[4, 8, 32], init_cfg=dict(type='Pretrained', checkpoint='nowhere.pth')))
    assert maps == (FeatureMap(10, 4), FeatureMap(11, 8), FeatureMap(12, 32))
    assert described(maps) == '10, 11 and 12 channels at strides 4, 8 and 32'
    assert described(maps[:1]) == '10 channels at stride 4'


@pytest.mark.parametrize(('section', 'message'), [
    (dict(type='NoSuchBackbone'), 'the backbone NoSuchBackbone cannot be built: KeyError'),
    (dict(type='BackboneOfAUser', strides=[4], shape=2), 'gives no feature maps of shape'),
    (dict(type='BackboneOfAUser', strides=[0]), 'gives no feature maps .*ZeroDivisionError'),
])
def test_a_backbone_without_maps_is_a_sentence(section, message):
    with pytest.raises(ValueError, match=message):
        maps_of(section)


@pytest.mark.parametrize(('strides', 'output_stride', 'stages'), [
    ([4, 8, 16, 32], 32, (1, 2, 4, 6)),
    ([8, 16, 32], 32, (2, 4, 6)),
    ([32], 32, (6, )),
    ([4, 8, 8, 8], 8, (1, 2, 4, 6)),
    ([4, 8, 16, 16], 16, (1, 2, 4, 6)),
    ([8, 16], 16, (2, 6)),
    ([2, 4, 8], 8, (0, 1, 6)),
    ([2, 4], 32, (0, 1)),
])
def test_stages_of_the_same_strides(strides, output_stride, stages):
    assert stages_like([FeatureMap(9, stride) for stride in strides], SEED, 'X') == (output_stride, stages)


@pytest.mark.parametrize(('strides', 'message'), [
    ([16, 16, 16, 16], 'X gives 4 maps of stride 16: at output stride 16 MobileNetV2 has 2 of this stride'),
    ([8, 16, 64], r'X gives maps of strides \[8, 16, 64\]: MobileNetV2 has output strides 8, 16 and 32'),
    ([32, 8], r'X gives maps of strides \[32, 8\], which do not rise'),
    ([1, 8], 'X gives 1 map of stride 1: at output stride 8 MobileNetV2 has 0'),
])
def test_what_the_seed_cannot_give_is_a_sentence(strides, message):
    with pytest.raises(ValueError, match=message):
        stages_like([FeatureMap(9, stride) for stride in strides], SEED, 'X')


@pytest.mark.parametrize('output_stride', [8, 16, 32])
def test_the_chosen_stages_give_these_maps(output_stride):
    """The reverse: what MobileNetV2 itself gives leads back to its own stages."""
    init_default_scope('mmengine')
    section = dict(type='FNAChildNet', arch='mobilenet_v2', out_indices=(1, 2, 4, 6), output_stride=output_stride)
    maps = maps_of(section)
    assert [one.channels for one in maps] == [24, 32, 96, 320]
    assert stages_like(maps, SEED, 'X') == (output_stride, (1, 2, 4, 6))
