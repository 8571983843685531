"""SSDLite: the tapped layer in a whole detector, and the head that mmdet leaves unable to predict."""

import copy
from pathlib import Path

import mmdet.registry
import mmengine.registry
import mmseg.registry
import pytest
import torch
from mmdet.models.dense_heads import SSDHead
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from fna_mm import Architecture
from fna_mm.configs import child_config
from fna_mm.heads.ssd_head import SSDLiteHead

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'


def detector(name, **backbone):
    cfg = Config.fromfile(CONFIGS / name)
    cfg.model.backbone.init_cfg = None
    cfg.model.backbone.update(backbone)
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(cfg.model))
    model.init_weights()
    return model, cfg


def batch(model, training, size=128, images=2):
    data = demo_mm_inputs(images, [(3, size, size)] * images, num_classes=3, num_items=[4] * images)
    return model.data_preprocessor(data, training)


@pytest.mark.parametrize('registry', [mmengine.registry.MODELS, mmdet.registry.MODELS, mmseg.registry.MODELS])
def test_head_is_found_from_every_scope(registry):
    assert registry.get('SSDLiteHead') is SSDLiteHead


def test_head_computes_what_mmdets_does():
    model, cfg = detector('bccd/mobilenet_v2_ssdlite.py')
    theirs = mmdet.registry.MODELS.build(dict(cfg.model.bbox_head, type='SSDHead', train_cfg=cfg.model.train_cfg))
    theirs.load_state_dict(model.bbox_head.state_dict())
    assert isinstance(model.bbox_head, SSDHead)
    maps = [torch.randn(1, channels, 4, 4) for channels in model.bbox_head.in_channels]
    for ours, other in zip(model.bbox_head.eval()(maps), theirs.eval()(maps)):
        assert all(torch.equal(one, two) for one, two in zip(ours, other))


@pytest.mark.parametrize('name', ['fna_ssdlite_retrain.py', 'bccd/fna_ssdlite_retrain.py'])
def test_trains_and_predicts(name):
    model, cfg = detector(name)
    losses, variables = model.train().parse_losses(model(**batch(model, True), mode='loss'))
    losses.backward()
    assert {'loss_cls', 'loss_bbox'} <= set(variables)
    for module in (model.backbone.conv1, model.backbone.layer6[0].expand_conv, model.backbone.conv2, model.bbox_head):
        assert max(float(parameter.grad.abs().max()) for parameter in module.parameters()) > 0
    with torch.no_grad():
        results = model.eval()(**batch(model, False), mode='predict')
    assert len(results) == 2
    for result in results:
        assert (result.pred_instances.labels < cfg.model.bbox_head.num_classes).all()
        assert torch.isfinite(result.pred_instances.bboxes).all()


def test_the_heads_maps_at_the_papers_size():
    """Strides 16, 32, 64, 107, 160 and 320 of 320 pixels, with 4, 6, 6, 6, 4 and 4 anchors of 81 classes."""
    model, _ = detector('fna_ssdlite_retrain.py')
    with torch.no_grad():
        scores, boxes = model.eval()(torch.zeros(1, 3, 320, 320), mode='tensor')
    assert [tuple(score.shape[1:]) for score in scores] == [
        (anchors * 81, side, side) for anchors, side in zip((4, 6, 6, 6, 4, 4), (20, 10, 5, 3, 2, 1))]
    assert [box.shape[1] for box in boxes] == [anchors * 4 for anchors in (4, 6, 6, 6, 4, 4)]


def test_an_architecture_step_reaches_the_tapped_layer():
    model, _ = detector('bccd/fna_ssdlite_search.py', layers_per_stage=(1, 1, 1, 1, 1, 1))
    supernet = model.backbone
    assert supernet.out_channels == (576, 1280)
    # Its head starts with tiny weights: give the features something to say.
    for module in model.bbox_head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    supernet.use_mixture()
    supernet.architecture_parameters.requires_grad_(True)
    losses, _ = model.train().parse_losses(model(**batch(model, True), mode='loss'))
    (gradient, ) = torch.autograd.grad(losses, supernet.architecture_parameters)
    sizes = [len(layer.candidates) for layer in supernet.search_space.layers]
    assert sizes == [6, 6, 6, 6, 3, 6]
    assert all(part.abs().max() > 0 for part in gradient.split(sizes))


def test_the_childs_config_keeps_the_tap(tmp_path):
    """Both ways to it: from the search's own config, and on the retraining config that the search names."""
    search = Config.fromfile(CONFIGS / 'bccd/fna_ssdlite_search.py')
    retraining = Config.fromfile(CONFIGS / 'bccd/fna_ssdlite_retrain.py')
    for given in (None, retraining):
        child = child_config(search, Architecture.create('fna_ssdlite'), str(tmp_path), given)
        assert child.model.backbone.out_indices == ('expand5', 7)
        child.model.backbone.init_cfg = None
        assert MODELS.build(child.model).backbone.out_channels == (576, 1280)
