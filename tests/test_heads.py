"""The two decode heads of the paper."""

import mmengine.registry
import mmseg.registry
import pytest
import torch
from mmengine.config import Config

from fna_mm import FNAChildNet
from fna_mm.heads import aspp_heads

HEADS = {
    'SeparableASPPHead': dict(type='SeparableASPPHead', in_channels=320, in_index=0, channels=256, num_classes=19),
    'DeepLabV3PlusHead': dict(type='DeepLabV3PlusHead', in_channels=320, in_index=1, channels=256, num_classes=19),
}
LOSS = dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0)


def build(name, **options):
    cfg = dict(HEADS[name], norm_cfg=dict(type='BN'), align_corners=False, loss_decode=LOSS)
    with mmseg.registry.MODELS.switch_scope_and_registry('mmseg') as registry:
        return registry.build(dict(cfg, **options))


def maps(batch=2, side=16):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, channels, height, height, generator=generator)
            for channels, height in ((24, side), (320, side // 4))]


@pytest.mark.parametrize(('name', 'params'), [('SeparableASPPHead', 755_795), ('DeepLabV3PlusHead', 4_003_827)])
def test_parameters_are_those_of_the_paper(name, params):
    assert sum(parameter.numel() for parameter in build(name).parameters()) == params


@pytest.mark.parametrize(('name', 'used', 'side'), [('SeparableASPPHead', [1], 4), ('DeepLabV3PlusHead', [0, 1], 16)])
def test_output_has_the_size_of_the_finest_map_used(name, used, side):
    inputs = [maps()[index] for index in used]
    head = build(name)
    logits = head(inputs)
    assert logits.shape == (2, 19, side, side)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


@pytest.mark.parametrize('name', sorted(HEADS))
@pytest.mark.parametrize('registry', [mmengine.registry.MODELS, mmseg.registry.MODELS])
def test_registered_in_the_root(name, registry):
    assert registry.get(name) is getattr(aspp_heads, name)


def test_depthwise_rates_and_joints():
    head = build('SeparableASPPHead', dilations=(1, 2, 3))
    depthwise = [module for module in head.modules() if isinstance(module, torch.nn.Conv2d) and module.groups > 1]
    assert [(conv.groups, conv.dilation, conv.kernel_size) for conv in depthwise] == [
        (320, (2, 2), (3, 3)), (320, (3, 3), (3, 3))]
    assert head.bottleneck.conv.weight.shape == (256, 4 * 256, 1, 1)
    plus = build('DeepLabV3PlusHead')
    assert not any(module.groups > 1 for module in plus.modules() if isinstance(module, torch.nn.Conv2d))
    assert [tuple(layer.conv.weight.shape) for layer in plus.decoder] == [(256, 304, 3, 3), (256, 256, 3, 3)]


def test_the_finer_map_is_chosen_by_its_index():
    """The same weights on reordered maps give the same output."""
    fine, coarse = maps()
    head = build('DeepLabV3PlusHead').eval()
    swapped = build('DeepLabV3PlusHead', in_index=0, c1_index=1).eval()
    swapped.load_state_dict(head.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(head([fine, coarse]), swapped([coarse, fine]))
        assert not torch.allclose(head([fine, coarse]), head([fine + 1, coarse]))


SWAPPED = dict(
    deeplabv3='mobilenet_v2/mobilenet-v2-d8_deeplabv3_4xb2-80k_cityscapes-512x1024.py',
    pspnet='mobilenet_v2/mobilenet-v2-d8_pspnet_4xb2-80k_cityscapes-512x1024.py',
    fcn='mobilenet_v2/mobilenet-v2-d8_fcn_4xb2-80k_cityscapes-512x1024.py',
)


@pytest.mark.parametrize('backbone', ['FNAChildNet', 'FNASuperNet'])
@pytest.mark.parametrize('name', sorted(SWAPPED))
def test_backbone_swapped_in_stock_configs(name, backbone, tmp_path):
    arch = dict(arch='fna_deeplabv3') if backbone == 'FNAChildNet' else {}
    config = dict(_delete_=True, type=backbone, out_indices=(1, 2, 4, 6), output_stride=8, **arch)
    (tmp_path / 'swapped.py').write_text(
        f"_base_ = __import__('fna_mm').config_path('mmseg::{SWAPPED[name]}')\n"
        "custom_imports = dict(imports=['fna_mm'], allow_failed_imports=False)\n"
        f'model = dict(pretrained=None, backbone={config!r}, data_preprocessor=dict(size=(32, 32)),\n'
        "             decode_head=dict(channels=16, norm_cfg=dict(type='BN')),\n"
        "             auxiliary_head=dict(channels=16, norm_cfg=dict(type='BN')))\n")
    cfg = Config.fromfile(tmp_path / 'swapped.py')
    with mmseg.registry.MODELS.switch_scope_and_registry('mmseg') as registry:
        model = registry.build(cfg.model)
    data = model.data_preprocessor(dict(inputs=[torch.zeros(3, 32, 32, dtype=torch.uint8)] * 2,
                                        data_samples=segmented(2, 32)), True)
    losses = model(**data, mode='loss')
    loss, logs = model.parse_losses(losses)
    loss.backward()
    assert torch.isfinite(loss)
    assert 'decode.loss_ce' in logs
    assert 'aux.loss_ce' in logs


def segmented(number, side, value=3):
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample
    samples = []
    for _ in range(number):
        sample = SegDataSample(metainfo=dict(img_shape=(side, side), ori_shape=(side, side)))
        sample.gt_sem_seg = PixelData(data=torch.full((1, side, side), value, dtype=torch.long))
        samples.append(sample)
    return samples


@pytest.mark.parametrize('arch', ['mobilenet_v2', 'fna_deeplabv3'])
def test_impossible_output_stride(arch):
    with pytest.raises(ValueError, match=r'output_stride=4 .*\[8, 16, 32\]'):
        FNAChildNet(arch, output_stride=4)
