"""Heads that believe other strides than their feature maps have."""

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, init_default_scope
from torch import nn
from toy_search import TOY

from fna_mm import config_path
from fna_mm.backbones.believed_strides import check_strides


def build(head, out_indices=(1, 2), neck=None, **model):
    init_default_scope('mmdet')
    neck = neck or dict(type='FPN', in_channels=[6, 8][-len(out_indices):], out_channels=8, num_outs=3,
                        add_extra_convs='on_output')
    return MODELS.build(ConfigDict(dict(dict(
        type='RetinaNet', backbone=dict(type='FNAChildNet', arch=TOY, out_indices=out_indices, output_stride=8),
        neck=neck, bbox_head=head), **model)))


def retina(strides):
    return dict(type='RetinaHead', num_classes=2, in_channels=8, stacked_convs=1, feat_channels=8,
                bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
                anchor_generator=dict(type='AnchorGenerator', octave_base_scale=4, scales_per_octave=1, ratios=[1.],
                                      strides=strides))


def fcos(strides):
    return dict(type='FCOSHead', num_classes=2, in_channels=8, stacked_convs=1, feat_channels=8, strides=strides,
                regress_ranges=((-1, 64), (64, 128), (128, 1e8)), norm_cfg=None)


@pytest.mark.parametrize(('head', 'kind'), [(retina, 'RetinaNet'), (fcos, 'FCOS')])
def test_strides_are_compared(head, kind):
    model = build(head([4, 8, 16]), type=kind).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    check_strides(model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    with pytest.raises(ValueError, match=r'bbox_head places its boxes by strides \(8, 16, 32\), but its feature maps '
                       r'have the strides \(4, 8, 16\): set other out_indices'):
        check_strides(build(head([8, 16, 32]), type=kind))
    check_strides(build(head([8, 16, 32]), out_indices=(2, ), type=kind))


@pytest.mark.parametrize('name', ['bccd/fna_ssdlite_search.py', 'bccd/fna_retinanet_search.py',
                                  'bccd/mobilenet_v2_ssdlite.py'])
def test_the_shipped_detectors(name):
    """SSD's last strides are those of the size that it was made for, rounded."""
    cfg = Config.fromfile(config_path(name))
    init_default_scope('mmdet')
    check_strides(MODELS.build(cfg.model))


def test_other_models_are_not_looked_at():
    check_strides(nn.Linear(2, 2))
    model = build(retina([8, 16, 32]))
    model.extract_feat = None
    check_strides(model)
