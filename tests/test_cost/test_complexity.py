import copy
import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from fna_mm import Architecture, FNAChildNet, FNASuperNet
from fna_mm.configs import config_path
from fna_mm.cost.complexity import (
    Complexity,
    CountedModel,
    complexity_table,
    count,
    count_config,
    evaluation_size,
    render,
)

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
#: Measured from the authors' networks: (height, width), output stride, parameters, G multiply-adds.
BACKBONES = {
    'mobilenet_v2': ((800, 1088), 32, 1811712, 4.8471),
    'fna_retinanet': ((800, 1088), 32, 2055712, 4.8234),
    'fna_ssdlite': ((320, 320), 32, 2119040, .6424),
    'fna_deeplabv3': ((1024, 2048), 16, 1710624, 18.6953),
}
#: The paper's table 2, and more digits of the same: parameters, multiply-adds in G at 800x1088.
DETECTORS = {
    'mobilenet_v2_retinanet.py': (11488244, 133.0534),
    'fna_retinanet_retrain.py': (11732244, 133.0297),
}


@pytest.mark.parametrize('name', sorted(BACKBONES))
def test_backbones(name):
    shape, output_stride, params, madds = BACKBONES[name]
    counted = count(FNAChildNet(name, (6, ), output_stride), shape)
    assert counted.params == params
    assert round(counted.madds / 1e9, 4) == madds
    architecture = Architecture.create(name)
    assert counted == Complexity(architecture.params(), architecture.madds(shape, output_stride))


def test_dilated_mobilenet_v2():
    counted = count(FNAChildNet('mobilenet_v2', (6, ), 16), (1024, 2048))
    assert (counted.params, round(counted.madds / 1e9, 4)) == (1811712, 19.0421)


@pytest.mark.parametrize('name', sorted(DETECTORS))
def test_detectors_of_the_paper(name):
    whole, backbone = count_config(Config.fromfile(CONFIGS / name), (800, 1088))
    params, madds = DETECTORS[name]
    assert whole.params == params
    assert round(whole.madds / 1e9, 4) == madds
    of_backbone = BACKBONES['fna_retinanet' if name.startswith('fna') else 'mobilenet_v2']
    assert backbone.params == of_backbone[2]
    assert round(backbone.madds / 1e9, 4) == of_backbone[3]


#: The paper's table 3, to its printed digits.
SSDLITES = {'mobilenet_v2_ssdlite.py': (4.3, .8), 'fna_ssdlite_retrain.py': (4.6, .9)}


@pytest.mark.parametrize('name', sorted(SSDLITES))
def test_ssdlites_of_the_paper(name):
    whole, backbone = count_config(Config.fromfile(CONFIGS / name), (320, 320))
    assert (round(whole.params / 1e6, 1), round(whole.madds / 1e9, 1)) == SSDLITES[name]
    arch = 'fna_ssdlite' if name.startswith('fna') else 'mobilenet_v2'
    architecture = Architecture.create(arch)
    assert backbone == Complexity(architecture.params(1280), architecture.madds((320, 320), head_channels=1280))


@pytest.mark.parametrize(('name', 'shape'), [
    ('fna_ssdlite_retrain.py', (320, 320)), ('fna_retinanet_retrain.py', (128, 160)),
    ('fna_deeplabv3_retrain.py', (97, 130)), ('fna_deeplabv3plus_os8_retrain.py', (64, 64))])
@pytest.mark.slow
def test_whole_models_agree_with_the_independent_counter(name, shape, count_by_hooks):
    cfg = Config.fromfile(CONFIGS / name)
    counted, _ = count_config(cfg, shape)
    # Weights without memory would not run; SyncBN would not train on a CPU, but evaluates there.
    init_default_scope(cfg.default_scope)
    model = MODELS.build(copy.deepcopy(cfg.model)).eval()
    assert count_by_hooks(model, lambda: model(torch.zeros(1, 3, *shape), mode='tensor')) == counted.madds
    assert sum(parameter.numel() for parameter in model.parameters()) == counted.params


class Layers(nn.Module):
    """Every kind of layer that is counted, and some that are not."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(8, 8, 5, padding=2, groups=4, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.linear = nn.Linear(4, 6)
        self.plain = nn.Linear(6, 2, bias=False)

    def forward(self, x):
        x = self.up(self.norm(self.grouped(self.conv(x)).relu()))
        return self.plain(self.linear(x.mean((2, 3))))


def test_every_kind_of_layer_by_hand():
    counted = count(Layers(), (16, 32))
    conv, grouped = (27 + 1) * 8 * 8 * 16, 25 * 2 * 8 * 8 * 16
    up = 8 * 4 * 4 * 8 * 16 + 4 * 16 * 32  # every input pixel into four outputs; a bias on every output
    assert counted.madds == conv + grouped + up + (4 + 1) * 6 + 6 * 2
    assert counted.params == 27 * 8 + 8 + 50 * 8 + 16 + 8 * 4 * 4 + 4 + 30 + 12


def test_agrees_with_the_independent_counter(count_by_hooks):
    net = FNAChildNet('fna_ssdlite', (4, 7), 16).eval()
    by_hooks = count_by_hooks(net, lambda: net(torch.zeros(1, 3, 65, 96)))
    assert count(net, (65, 96)).madds == by_hooks


def test_architecture_parameters_are_no_parameters():
    net = FNASuperNet((1, 2, 1, 1, 1, 1))
    weights = sum(parameter.numel() for parameter in net.parameters())
    net.architecture_parameters.requires_grad_(True)
    assert count(net, (64, 64)).params == weights


class NotOnMeta(nn.Module):
    """Needs numbers, which tensors on the meta device do not have."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, x):
        return self.conv(x) if float(x.sum()) < 1 else x


def test_falls_back_to_the_cpu():
    assert count(NotOnMeta(), (4, 5)) == Complexity(8, 4 * 2 * 4 * 5)


def test_other_channels():
    assert count(nn.Conv2d(5, 2, 1, bias=False), (4, 4), channels=5).madds == 5 * 2 * 16


#: shared/reference.md: M parameters, GMAdds at 1024x2048 of the paper's segmentation models, within 0.1 %.
SEGMENTORS = {
    'mobilenet_v2_deeplabv3.py': (2.5675, 24.52),
    'fna_deeplabv3_retrain.py': (2.466, 24.17),
    'fna_deeplabv3plus_os16_retrain.py': (5.714, 210.1),
    'fna_deeplabv3plus_os8_retrain.py': (5.714, 313.8),
}


@pytest.mark.parametrize('name', sorted(SEGMENTORS))
@pytest.mark.slow
def test_segmentors_of_the_paper(name):
    whole, _ = count_config(Config.fromfile(CONFIGS / name), (1024, 2048))
    assert (whole.params / 1e6, whole.madds / 1e9) == pytest.approx(SEGMENTORS[name], rel=1e-3)


@pytest.mark.parametrize('shape', [None, (800, ), (0, 64), (64., 64)])
def test_illegal_input_shape(shape):
    with pytest.raises(ValueError, match=r'input_shape must be \(height, width\)'):
        count(nn.Conv2d(3, 2, 1), shape)


def test_config_without_a_model():
    with pytest.raises(ValueError, match='the config has no model'):
        count_config(Config(dict(train_cfg=dict())), (64, 64))


# The table of `fna complexity`


def cells(line):
    return [cell for cell in line.split('  ') if cell.strip()]


def test_table_of_architectures():
    lines = complexity_table(['fna_retinanet', 'mobilenet_v2'], (800, 1088)).splitlines()
    assert [cell.strip() for cell in cells(lines[0])] == ['model', 'input', 'params (M)', 'MAdds (G)']
    assert lines[1].split() == ['fna_retinanet', '800x1088', '2.055712', '4.8234']
    assert lines[2].split() == ['mobilenet_v2', '800x1088', '1.811712', '4.8471']
    assert len({len(line) for line in lines}) == 1


def test_table_of_a_dilated_architecture():
    assert complexity_table(['fna_deeplabv3'], (1024, 2048), 16).splitlines()[1].split()[2:] == ['1.710624', '18.6953']


def test_table_of_the_published_text():
    text = Architecture.create('fna_retinanet').to_text()
    assert complexity_table([text], (800, 1088)).splitlines()[1].split() == [
        'architecture', '800x1088', '2.055712', '4.8234']


def test_table_of_a_config_takes_its_input_shape(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text("model = dict(type='FNAChildNet', arch='fna_retinanet', _scope_='mmengine')\n"
                    "input_shape = (64, 96)\ndefault_scope = 'mmengine'\n", encoding='utf-8')
    madds = Architecture.create('fna_retinanet').madds((64, 96)) / 1e9
    row = complexity_table([str(path)]).splitlines()[1].split()
    assert row[1:] == ['64x96', '2.055712', f'{madds:.4f}']
    assert complexity_table([str(path)], (800, 1088)).splitlines()[1].split()[1:] == ['800x1088', '2.055712', '4.8234']


def test_styles():
    rows = [CountedModel('one', (64, 96), Complexity(1_000_000, 2_000_000_000), ('0.8', '2.0')),
            CountedModel('other', (4, 4), Complexity(5, 6))]
    text = [cells(line) for line in render(rows).splitlines()]
    assert [cell.strip() for cell in text[0]] == [
        'model', 'input', 'params (M)', 'MAdds (G)', 'paper (M)', 'difference', 'paper (G)', 'difference']
    assert [cell.strip() for cell in text[1]] == ['one', '64x96', '1.000000', '2.0000', '0.8', '+25.0%', '2.0', '+0.0%']
    assert [cell.strip() for cell in text[2]] == ['other', '4x4', '0.000005', '0.0000', '-', '-', '-', '-']
    markdown = render(rows, 'markdown').splitlines()
    assert all(line.startswith('|') and line.endswith('|') for line in markdown)
    assert [cell.strip() for cell in markdown[2].strip('|').split('|')] == [cell.strip() for cell in text[1]]
    first, second = json.loads(render(rows, 'json'))
    assert first == dict(
        model='one', input_shape=[64, 96], params_m=1., madds_g=2., paper_params_m=.8, paper_madds_g=2.,
        params_difference=pytest.approx(.25), madds_difference=0)
    assert second == dict(model='other', input_shape=[4, 4], params_m=5e-6, madds_g=6e-9)
    with pytest.raises(ValueError, match="style='html' must be text, markdown or json"):
        render(rows, 'html')


@pytest.mark.parametrize(('target', 'message'), [
    ('fna_retinanet', 'fna_retinanet does not say at which size to count: give --shape HEIGHT WIDTH'),
    ('resnet50', "unknown arch 'resnet50'|does not say at which size"),
])
def test_table_errors(target, message):
    with pytest.raises(ValueError, match=message):
        complexity_table([target])


#: Published figures of mmdet's and mmseg's model zoos and of the papers: parameters in M, GMAdds or None.
STOCK = {
    'mmdet/faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py': (41.75, None),
    'mmdet/mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py': (44.4, None),
    'mmdet/detr/detr_r50_8xb2-150e_coco.py': (41.6, None),
    'mmdet/solov2/solov2_r50_fpn_1x_coco.py': (46.6, None),
    'mmdet/yolox/yolox_s_8xb8-300e_coco.py': (8.97, 13.4),
    'mmdet/rtmdet/rtmdet_s_8xb32-300e_coco.py': (8.89, 14.8),
    'mmseg/pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py': (48.98, None)}


@pytest.mark.slow
@pytest.mark.parametrize('name', STOCK)
def test_stock_models(name):
    """mm's own configs say their size in the test pipeline, and need no --shape."""
    scope, _, path = name.partition('/')
    text = complexity_table([config_path(f'{scope}::{path}')], style='json')
    whole, backbone = json.loads(text)
    params, madds = STOCK[name]
    assert whole['params_m'] == pytest.approx(params, rel=.005)
    if madds is not None:
        assert whole['madds_g'] == pytest.approx(madds, rel=.01)
    assert 0 < backbone['madds_g'] < whole['madds_g']
    if 'r50' in name and scope == 'mmdet':
        assert backbone['params_m'] == 23.508032


def test_mms_resnet_is_counted():
    """Its eval() returns None."""
    init_default_scope('mmdet')
    counted = count(MODELS.build(dict(type='mmdet.ResNet', depth=18, out_indices=(3, ))), (224, 224))
    # torchvision's ResNet-18 has 1.81 GMAdds and 11.69 M parameters with its last layer of 512 x 1000.
    assert counted.madds == pytest.approx(1.81e9, rel=.005)
    assert counted.params == pytest.approx(11.69e6 - 513000, rel=.001)


@pytest.mark.parametrize(('wrap', 'divisor', 'expected'), [
    (lambda data: data, 1, (180, 250)), (lambda data: data, 32, (192, 256)),
    (lambda data: dict(type='RepeatDataset', times=2, dataset=data), 1, (180, 250)),
    (lambda data: dict(type='ConcatDataset', datasets=[data, data]), 1, (180, 250)),
    (lambda data: dict(type='Other', pipeline=[dict(type='PackSegInputs')]), 1, None)])
def test_the_size_of_the_test_pipeline(wrap, divisor, expected):
    data = dict(type='Any', pipeline=[dict(type='LoadImageFromFile'), dict(type='mmdet.Resize', scale=(250, 180))])
    cfg = Config(dict(model=dict(data_preprocessor=dict(pad_size_divisor=divisor)),
                      test_dataloader=dict(dataset=wrap(data))))
    assert evaluation_size(cfg) == expected
