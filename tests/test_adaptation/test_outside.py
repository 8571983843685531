"""Neck and head of the whole model: what shares a width, which channels are kept, and what a child gets."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

from fna_mm.adaptation import AdaptOptions, adapt
from fna_mm.adaptation.narrowing import (
    POSITIONS,
    copy_weights,
    elimination_orders,
    fit_outside,
    kept_by,
    run_outside,
    seen_at,
)
from fna_mm.adaptation.outside import OutsideWidths
from fna_mm.adaptation.patches import patches, places_of
from fna_mm.adaptation.prices import Prices
from fna_mm.adaptation.shared_widths import legal_widths, narrowed_section, outside_of
from fna_mm.adaptation.trained_model import load_trained
from fna_mm.cost.complexity import count_config

OPTIONS = AdaptOptions(statistics_images=12, score_images=8, tolerance=100., of='model')
BN = dict(type='BN', requires_grad=True)
BACKBONE = dict(type='FNAChildNet', arch='mobilenet_v2', out_indices=(2, 4, 6))


def detector(head, neck=None, **arguments):
    """A detector with FPN and a stacked head of 16 channels."""
    neck = dict(dict(type='FPN', in_channels=[32, 96, 320], out_channels=16, num_outs=5), **(neck or {}))
    common = dict(type=head, num_classes=2, in_channels=16, stacked_convs=2, feat_channels=16, **arguments)
    return dict(type='RetinaNet' if head == 'RetinaHead' else head[:-4], backbone=BACKBONE, neck=neck, bbox_head=common)


def segmentor(**head):
    loss = dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.)
    values = dict(in_channels=320, in_index=2, channels=16, num_classes=3, norm_cfg=BN, align_corners=False,
                  dropout_ratio=0., loss_decode=loss)
    return dict(type='EncoderDecoder', backbone=BACKBONE, decode_head=dict(values, **head), test_cfg=dict(mode='whole'))


MODELS_OF = dict(
    retinanet=('mmdet', detector('RetinaHead', dict(add_extra_convs='on_input'))),
    retinanet_on_output=('mmdet', detector('RetinaHead', dict(add_extra_convs='on_output'))),
    retinanet_on_lateral=('mmdet', detector('RetinaHead', dict(add_extra_convs='on_lateral'))),
    fcos=('mmdet', detector('FCOSHead', dict(add_extra_convs='on_output', relu_before_extra_convs=True),
                            strides=[8, 16, 32, 64, 128], norm_cfg=dict(type='GN', num_groups=4))),
    gfl=('mmdet', detector('GFLHead', dict(add_extra_convs='on_output'), norm_cfg=dict(type='BN'),
                           anchor_generator=dict(type='AnchorGenerator', ratios=[1.], octave_base_scale=8,
                                                 scales_per_octave=1, strides=[8, 16, 32, 64, 128]))),
    fcn=('mmseg', segmentor(type='FCNHead', num_convs=2, concat_input=True)),
    fcn_plain=('mmseg', segmentor(type='FCNHead', num_convs=1, concat_input=False)),
    aspp=('mmseg', segmentor(type='ASPPHead', dilations=(1, 2))),
    separable=('mmseg', segmentor(type='SeparableASPPHead', dilations=(1, 2))),
)
WIDTHS = dict(fcn=['decode_head.channels'], fcn_plain=['decode_head.channels'], aspp=['decode_head.channels'],
              separable=['decode_head.channels'])


@pytest.fixture(params=list(MODELS_OF))
def built(request):
    """Name, section and model, with weights of their own, and maps of three images."""
    library, section = MODELS_OF[request.param]
    pytest.importorskip(library)
    init_default_scope(library)
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(section)).eval()
    for name, buffer in model.named_buffers():
        if name.endswith('running_var'):
            buffer.uniform_(.5, 1.5)
    maps = [tuple(torch.randn(1, channels, side, side) for channels, side in ((32, 16), (96, 8), (320, 4)))
            for _ in range(3)]
    return request.param, section, model, maps


def outputs(model, maps):
    if getattr(model, 'bbox_head', None) is not None:
        return [level for kind in model.bbox_head(model.neck(maps)) for level in kind]
    return [model.decode_head(maps)]


def assert_alike(model, child, maps, tolerance):
    with torch.no_grad():
        for one, two in zip(outputs(model, maps), outputs(child, maps)):
            torch.testing.assert_close(one, two, rtol=tolerance, atol=tolerance)


def narrowed(section, model, outside, chosen, maps, fit=True):
    child = MODELS.build(copy.deepcopy(narrowed_section(section, outside, chosen))).eval()
    kept = kept_by(model, outside, elimination_orders(model, outside, maps), chosen)
    copy_weights(child, model, kept)
    if fit:
        fit_outside(child, model, outside, kept, lambda: ((one, one) for one in maps))
    return child


def test_what_shares_a_width(built):
    name, _, model, _ = built
    outside = outside_of(model)
    assert [shared.name for shared in outside.widths] == WIDTHS.get(name, ['neck.out_channels',
                                                                           'bbox_head.feat_channels'])
    assert all(shared.width == 16 for shared in outside.widths)
    # Every convolution without groups, outside of the backbone, is fitted once.
    ours = {path for wave in outside.waves for path in wave}
    convolutions = {path for path, module in model.named_modules() if isinstance(module, torch.nn.Conv2d)
                    and module.groups == 1 and not path.startswith('backbone.')}
    assert {path if path in ours else path.removesuffix('.conv') for path in convolutions} == ours


def test_the_own_widths_change_nothing(built):
    _, section, model, maps = built
    child = narrowed(section, model, outside_of(model), {}, maps)
    assert_alike(model, child, maps[0], 1e-3)


def test_channels_that_are_not_used_cost_nothing(built):
    """Half of the channels of every group are zero: the narrower model keeps the others, and computes the same."""
    name, section, model, maps = built
    outside = outside_of(model)
    with torch.no_grad():
        for shared in outside.widths:
            for group in shared.groups:
                for consumer in group.consumers:
                    layer = model.get_submodule(consumer.path)
                    getattr(layer, 'conv', layer).weight[:, consumer.first + 8:consumer.first + 16] = 0
    chosen = {shared.name: 8 for shared in outside.widths}
    child = narrowed(section, model, outside, chosen, maps, fit=name != 'fcos')
    if name == 'fcos':
        return  # GN looks at all channels of a group, also at those that nothing else takes
    assert_alike(model, child, maps[0], 1e-2)


def test_fitted_weights_are_closer(built):
    _, section, model, maps = built
    outside = outside_of(model)
    chosen = {shared.name: 8 for shared in outside.widths}

    def error(child):
        with torch.no_grad():
            return sum(float((one - two).square().sum()) for image in maps
                       for one, two in zip(outputs(model, image), outputs(child, image)))
    cut, fitted = (error(narrowed(section, model, outside, chosen, maps, fit)) for fit in (False, True))
    assert fitted < .9 * cut


def test_costs_of_any_widths_are_those_that_are_counted(built):
    name, section, model, _ = built
    library = MODELS_OF[name][0]

    class Trained:
        config = Config(dict(model=copy.deepcopy(section), default_scope=library))

    Trained.model = model
    whole, backbone = count_config(Trained.config, (64, 64))
    for cost, kind in (('madds', 'madds'), ('params', 'params')):
        widths = OutsideWidths(Trained, outside_of(model), Prices(cost), (64, 64), getattr(backbone, kind))
        for wanted in ([8] * len(widths.outside.widths), [16] * len(widths.outside.widths), [8, 16], [16, 8]):
            if len(wanted) != len(widths.outside.widths):
                continue
            changed = Config(dict(model=widths.section(dict(zip(
                [shared.name for shared in widths.outside.widths], wanted))), default_scope=library))
            counted = getattr(count_config(changed, (64, 64))[0], kind) - getattr(backbone, kind)
            assert widths._cost(wanted) == pytest.approx(counted, rel=1e-6)


def test_patches_are_what_a_convolution_sees():
    torch.manual_seed(0)
    for convolution in (torch.nn.Conv2d(4, 3, 3, padding=1), torch.nn.Conv2d(4, 3, 3, stride=2, padding=1),
                        torch.nn.Conv2d(4, 3, 1), torch.nn.Conv2d(4, 3, 3, padding=2, dilation=2)):
        features = torch.randn(1, 4, 20, 20)
        output = convolution(features)
        places = places_of(output, POSITIONS)
        seen = patches(features, convolution, places)
        wanted = output.flatten(2)[:, :, places]
        found = convolution.weight.flatten(1) @ seen[0, :, 0] + convolution.bias[:, None]
        torch.testing.assert_close(found, wanted[0], rtol=1e-4, atol=1e-4)


def test_a_shared_convolution_is_seen_at_every_level(built):
    name, _, model, maps = built
    if name != 'retinanet':
        pytest.skip('one detector is enough')
    seen = seen_at(model, ['bbox_head.cls_convs.0'], maps[0])['bbox_head.cls_convs.0']
    assert len(seen) == 5
    run_outside(model, maps[0])  # hooks are gone
    assert len(seen) == 5


def test_legal_widths():
    shared = outside_of(MODELS.build(copy.deepcopy(MODELS_OF['fcn'][1]))).widths[0]
    assert list(legal_widths(shared, .25)) == [16, 8]
    assert list(legal_widths(shared._replace(width=60, step=8), .25)) == [60, 56, 48, 40, 32, 24, 16]


def test_the_whole_models_budget(segmentor, tmp_path):
    """The toy's head has one convolution of 8 channels; a wider one is trained here."""
    config = Path(segmentor[0]).with_name('wide_head.py')
    config.write_text(Path(segmentor[0]).read_text().replace(
        'channels=8, num_convs=1, kernel_size=1', 'channels=32, num_convs=2, kernel_size=3').replace(
        'in_channels=32', 'in_channels=8'))
    cfg = Config.fromfile(config)
    cfg.work_dir, cfg.experiment_name = str(tmp_path / 'trained'), 'wide_head'
    torch.manual_seed(0)
    Runner.from_cfg(cfg).train()
    checkpoint = str(tmp_path / 'trained/iter_200.pth')
    (child, ) = adapt(str(config), checkpoint, ('0.5', ), str(tmp_path / 'narrow'), OPTIONS)
    assert child.share_of_model <= .5
    (before, after) = child.outside['decode_head.channels']
    assert before == 32
    assert 8 <= after < 32
    made = Config.fromfile(f'{child.folder}/child_config.py')
    assert made.model.decode_head.channels == after
    whole, _ = count_config(load_trained(str(config), checkpoint).config, (32, 32))
    assert count_config(made, (32, 32))[0].madds / whole.madds == pytest.approx(child.share_of_model, rel=1e-6)
    front = json.loads((tmp_path / 'narrow/front.json').read_text())
    assert front['front_of'] == 'model'
    assert front['outside'][0]['name'] == 'decode_head.channels'
    assert front['fixed'] == {}
    assert 'decode_head.channels' in (tmp_path / 'narrow/report/index.html').read_text()
    # The same command again measures nothing anew, and ends alike.
    again = adapt(str(config), checkpoint, ('0.5', ), str(tmp_path / 'narrow'), OPTIONS)[0]
    assert again.architecture == child.architecture
    assert again.measured == pytest.approx(child.measured, abs=1e-6)
    # Without it, the backbone alone cannot save as much.
    with pytest.raises(ValueError, match=r'budget=0\.5 of the model cannot be reached'):
        adapt(str(config), checkpoint, ('0.5', ), str(tmp_path / 'other'), replace(OPTIONS, narrow=False))
    Runner.from_cfg(Config(dict(made.to_dict(), work_dir=str(tmp_path / 'tuned'),
                                experiment_name='tuned_wide_head'))).train()


@pytest.mark.parametrize('cost', ['madds', 'params'])
def test_what_cannot_be_narrowed_has_a_share(cost):
    """An auxiliary head is trained and not run; a neck without a stacked head behind it stays."""
    pytest.importorskip('mmdet')
    init_default_scope('mmdet')
    section = MODELS_OF['retinanet'][1]
    model = MODELS.build(copy.deepcopy(section))
    outside = outside_of(model)
    prices = Prices(cost)
    assert prices.of_parts(model, (64, 64), {'backbone', *outside.narrowed}) == {}
    whole = prices.of_parts(model, (64, 64), {'backbone'})
    assert list(whole) == ['neck (FPN)', 'bbox_head (RetinaHead)']
    counted, backbone = count_config(Config(dict(model=section, default_scope='mmdet')), (64, 64))
    assert sum(whole.values()) == getattr(counted, cost) - getattr(backbone, cost)
    neck = {path for path in outside.narrowed if path.startswith('neck')}
    assert prices.of_parts(model, (64, 64), {'backbone', *neck}) == {
        'bbox_head (RetinaHead)': whole['bbox_head (RetinaHead)']}


def test_what_stays_as_it_is_is_named(segmentor, tmp_path):
    """A head that no width is known of."""
    from mmseg.models import FCNHead
    init_default_scope('mmseg')

    class OwnHead(FCNHead):
        pass

    config, checkpoint = segmentor
    own = Path(config).with_name('own_head.py')
    own.write_text(f"{Path(config).read_text()}\nmodel['decode_head']['type'] = 'OwnHead'\n")
    MODELS.register_module(module=OwnHead)
    try:
        adapt(str(own), checkpoint, ('0.9', ), str(tmp_path / 'own'), OPTIONS)
        with pytest.raises(ValueError, match=r'cannot be reached: .*; cannot be narrowed: decode_head \(OwnHead\) .*%'):
            adapt(str(own), checkpoint, ('0.01', ), str(tmp_path / 'none'), OPTIONS)
    finally:
        MODELS.module_dict.pop('OwnHead')
    front = json.loads((tmp_path / 'own/front.json').read_text())
    whole, backbone = front['trained']['model'], front['trained']['backbone']
    assert front['fixed'] == {'decode_head (OwnHead)': pytest.approx(1 - backbone / whole)}
    page = (tmp_path / 'own/report/index.html').read_text()
    assert f'Outside of the backbone cannot be narrowed: decode_head (OwnHead) {1 - backbone / whole:.1%}' in page
