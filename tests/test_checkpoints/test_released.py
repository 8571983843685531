"""Checkpoints of the authors' release, made by its naming rules (``released.py``): the files are not needed."""

import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.backbones import MobileNetV2, ResNet
from mmdet.models.dense_heads import SSDHead
from mmdet.models.necks import SSDNeck
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from released import FORMS, ReleasedDeepLabv3, ReleasedSSDLite, prefixed, release_backbone

from fna_mm import Architecture, FNAChildNet, MBConvSpec, ParameterRemapping, Stage
from fna_mm.checkpoints.released import background_last, convert_file, convert_released, released_architecture
from fna_mm.checkpoints.searched import read_architecture
from fna_mm.cli import main
from fna_mm.families.mobilenet_v2 import PUBLISHED
from fna_mm.heads.aspp_heads import SeparableASPPHead
from fna_mm.remapping.seed_checkpoint import read_seed

ROOT = Path(__file__).resolve().parents[2]
BN = dict(type='BN', eps=1e-3)


def fna(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def load(path):
    return torch.load(path, map_location='cpu', weights_only=True)


@pytest.fixture(scope='module')
def nets(randomize):
    """The published networks with their last convolution, random, by name."""
    return {name: randomize(FNAChildNet(name, out_indices=(1, 2, 4, 6, 7)), seed).eval()
            for seed, name in enumerate(sorted(PUBLISHED))}


@pytest.fixture(scope='module')
def image():
    return torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def released(nets):
    """``fna_retinanet`` as the release names it, bare. It may be changed."""
    return release_backbone(nets['fna_retinanet'].state_dict())


# The backbone


@pytest.mark.parametrize('with_net_config', [False, True])
@pytest.mark.parametrize('form', sorted(FORMS))
@pytest.mark.parametrize('name', [
    'mobilenet_v2', 'fna_retinanet', *(pytest.param(name, marks=pytest.mark.slow) for name in sorted(PUBLISHED)
                                       if name not in ('mobilenet_v2', 'fna_retinanet'))])
def test_every_network_in_every_form(tmp_path, nets, image, name, form, with_net_config):
    released, net_config = tmp_path / 'released.pt', tmp_path / 'net_config'
    torch.save(FORMS[form](release_backbone(nets[name].state_dict())), released)
    net_config.write_text(PUBLISHED[name] + '\n')
    out = tmp_path / 'out/converted.pth'
    printed = fna('convert', released, out, *(['--net-config', net_config] if with_net_config else []))
    assert str(Architecture.create(name)) in printed
    assert printed.endswith(f'written: {out}, {out.with_suffix(".arch.json")}\n')

    checkpoint = load(out)
    assert set(checkpoint) == {'meta', 'state_dict'}
    assert Architecture.parse(checkpoint['meta']['arch']) == Architecture.create(name)
    child = FNAChildNet(str(out.with_suffix('.arch.json')), out_indices=(1, 2, 4, 6, 7), init_cfg=dict(
        type='Pretrained', checkpoint=str(out), prefix='backbone.'))
    child.init_weights()
    for ours, theirs in zip(child.eval()(image), nets[name](image)):
        assert torch.equal(ours, theirs)
    assert prefixed(child.state_dict(), 'backbone.').keys() == checkpoint['state_dict'].keys()


def test_without_the_last_convolution(nets):
    state = {key: value for key, value in nets['fna_retinanet'].state_dict().items() if not key.startswith('conv2')}
    conversion = convert_released(prefixed(release_backbone(state), 'backbone.'))
    FNAChildNet('fna_retinanet').load_state_dict(
        {key.removeprefix('backbone.'): value for key, value in conversion.state.items()}, strict=True)
    assert (conversion.kind, conversion.kept, conversion.left_out) == ('Backbone', (), ())


@pytest.mark.parametrize('form', sorted(FORMS))
def test_as_a_seed(nets, form):
    """Remapping from a released seed, or detector, is remapping from the same weights under any names."""
    state = nets['mobilenet_v2'].state_dict()
    checkpoint = FORMS[form](release_backbone(state))
    seed, same = read_seed(checkpoint), read_seed(state)
    assert (seed.layout, seed.depths, seed.unknown) == ('FNA release', (1, 2, 3, 4, 3, 3, 1), ())
    assert set(seed.tensors) == set(same.tensors)
    for key, value in seed.tensors.items():
        assert torch.equal(value, same.tensors[key])
        assert seed.names[key].startswith('blocks.')


def test_remapping_from_a_released_seed(tmp_path, nets):
    state = nets['mobilenet_v2'].state_dict()
    seed = dict(release_backbone(state), **{'classifier.weight': torch.zeros(2, 1280)})
    results = []
    for name, given_state in (('seed_mbv2.pt', seed), ('mmdet.pth', state)):
        torch.save(given_state, tmp_path / name)
        child = FNAChildNet('fna_ssdlite', out_indices=(6, ), init_cfg=None)
        report = ParameterRemapping(str(tmp_path / name))(child)
        assert report.problems() == ()
        results.append(child.state_dict())
    assert results[0].keys() == results[1].keys()
    assert all(torch.equal(results[0][key], results[1][key]) for key in results[0])


def test_the_extra_layers_of_a_detector_are_no_seed(nets):
    state = dict(release_backbone(nets['fna_ssdlite'].state_dict()), **ReleasedSSDLite().backbone.state_dict())
    seed = read_seed(prefixed(state, 'backbone.'))
    assert seed.unknown == ()
    assert {key.split('.')[0] for key in seed.ignored} == {'extra'}


def test_seed_with_its_classifier(nets):
    state = release_backbone(nets['mobilenet_v2'].state_dict())
    weight, bias = torch.randn(1000, 1280), torch.randn(1000)
    conversion = convert_released(dict(state, **{'classifier.weight': weight, 'classifier.bias': bias}))
    assert conversion.kind == 'Seed'
    assert torch.equal(conversion.state['head.fc.weight'], weight)
    assert torch.equal(conversion.state['head.fc.bias'], bias)
    assert len(conversion.state) == len(state) + 2


@st.composite
def architectures(draw):
    """Any network of the family with seven stages and MobileNetV2's strides."""
    widths = [8 * draw(st.integers(1, 3)) for _ in range(8)]
    stages = []
    for before, after, stride in zip(widths, widths[1:], (1, 2, 2, 2, 1, 2, 1)):
        layers = draw(st.lists(st.builds(MBConvSpec, st.sampled_from([1, 3, 5, 7]), st.integers(1, 6)),
                               min_size=1, max_size=3))
        stages.append(Stage(before, after, stride, tuple(layers)))
    return Architecture(tuple(stages))


@settings(max_examples=15)
@given(architectures())
def test_any_architecture_comes_back_from_names_and_shapes(architecture):
    state = FNAChildNet(architecture, out_indices=(7, ), head_channels=16).state_dict()
    conversion = convert_released(release_backbone(state))
    assert conversion.architecture == architecture
    assert released_architecture(release_backbone(state), architecture.to_text()) == architecture
    assert {key: value.shape for key, value in conversion.state.items()} == {
        f'backbone.{key}': value.shape for key, value in state.items()}


def test_other_stages_need_a_net_config(toy, toy_seed):
    state = release_backbone(toy_seed)
    with pytest.raises(ValueError, match='do not tell strides, and .* fit 7 stages, not 3: give the net_config'):
        convert_released(state)
    assert released_architecture(state, toy.to_text()) == toy


def test_strides_are_those_of_the_net_config(nets):
    given_text = PUBLISHED['mobilenet_v2'].replace('2]|', '1]|', 1)
    state = release_backbone(nets['mobilenet_v2'].state_dict())
    assert [stage.stride for stage in released_architecture(state, given_text).stages] == [1, 1, 2, 2, 1, 2, 1]
    assert [stage.stride for stage in released_architecture(state).stages] == [1, 2, 2, 2, 1, 2, 1]


def test_files_from_before_the_counters(released):
    """PyTorch ≤ 0.4.0 had no num_batches_tracked; loading such a file strictly is still fine."""
    state = {key: value for key, value in released.items() if not key.endswith('num_batches_tracked')}
    conversion = convert_released(state)
    assert len(conversion.state) == len(state) < len(released)
    FNAChildNet('fna_retinanet', (7, )).load_state_dict(
        {key.removeprefix('backbone.'): value for key, value in conversion.state.items()}, strict=True)


def test_the_checkpoint_is_not_changed(released):
    checkpoint = dict(state_dict=prefixed(released, 'module.backbone.'), meta=dict(epoch=1))
    keys, before = list(checkpoint['state_dict']), {key: value.clone() for key, value in released.items()}
    convert_released(checkpoint)
    assert list(checkpoint['state_dict']) == keys
    assert all(torch.equal(value, before[key]) for key, value in released.items())


# Necks and heads


@pytest.fixture(scope='module')
def retinanet(randomize):
    """Two models of the shipped config: a random one and another."""
    init_default_scope('mmdet')
    cfg = Config.fromfile(ROOT / 'configs/fna_retinanet_retrain.py').model
    cfg.backbone.init_cfg = None
    cfg.bbox_head.init_cfg = None
    models = []
    for seed in (3, 4):
        model = randomize(MODELS.build(Config(cfg.to_dict())), seed).eval()
        torch.nn.init.normal_(model.bbox_head.retina_cls.bias)
        models.append(model)
    return models


def release_detector(state):
    """mmdet 0.6 has the names of neck and head that mmdet 3 has."""
    backbone = {key.removeprefix('backbone.'): value for key, value in state.items() if key.startswith('backbone.')}
    others = {key: value for key, value in state.items() if not key.startswith('backbone.')}
    return dict(prefixed(release_backbone(backbone), 'backbone.'), **others)


@pytest.mark.parametrize('bare_head', [False, True])
def test_retinanet(tmp_path, retinanet, image, bare_head):
    source, target = retinanet
    state = release_detector(source.state_dict())
    if bare_head:
        state = {re.sub(r'(bbox_head\.\w+_convs\.\d)\.conv', r'\1', key): value for key, value in state.items()}
        assert 'bbox_head.cls_convs.3.weight' in state
    torch.save(dict(meta=dict(mmdet_version='0.6.0'), state_dict=state, optimizer={}), tmp_path / 'released.pth')
    printed = fna('convert', tmp_path / 'released.pth', tmp_path / 'out.pth')
    assert printed.startswith("RetinaNet of the authors' release\n")
    assert 'LegacyAnchorGenerator' in printed
    for row in (r'backbone.blocks +backbone.layer1 +12', r'neck.fpn_convs +neck.fpn_convs +10', r'meta +left out',
                r'bbox_head.retina_cls +bbox_head.retina_cls +2'):
        assert re.search(row, printed), printed
    target.load_state_dict(load(tmp_path / 'out.pth')['state_dict'], strict=True)
    with torch.no_grad():
        expected, found = (model(image, mode='tensor') for model in (source, target))
    assert len(expected) == 2
    for ours, theirs in zip(found, expected):
        assert len(ours) == len(theirs) == 5
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs))


@pytest.mark.parametrize('anchors', [(4, 6, 6, 6, 4, 4), (6, ) * 6])
def test_ssdlite(nets, randomize, anchors):
    source = randomize(ReleasedSSDLite(anchors), 5).eval()
    backbone = release_backbone(nets['fna_ssdlite'].state_dict())
    conversion = convert_released(dict(prefixed(backbone, 'backbone.'), **source.state_dict()))
    assert (conversion.kind, conversion.kept) == ('SSDLite', ())
    assert any('eps=0.001' in note for note in conversion.notes)

    widths = (576, 1280, 512, 256, 256, 128)
    neck = SSDNeck(widths[:2], widths, (2, ) * 4, (1, ) * 4, l2_norm_scale=None, use_depthwise=True, norm_cfg=BN,
                   act_cfg=dict(type='ReLU6'))
    head = SSDHead(80, widths, use_depthwise=True, norm_cfg=BN, act_cfg=dict(type='ReLU6'), anchor_generator=dict(
        type='SSDAnchorGenerator', scale_major=False, strides=[16, 32, 64, 107, 160, 320],
        ratios=[[2] if number == 4 else [2, 3] for number in anchors],
        min_sizes=[48, 100, 150, 202, 253, 304], max_sizes=[100, 150, 202, 253, 304, 320]))
    assert tuple(head.num_base_priors) == anchors
    for module, prefix in ((neck, 'neck.'), (head, 'bbox_head.')):
        module.eval().load_state_dict({key.removeprefix(prefix): value for key, value in conversion.state.items()
                                       if key.startswith(prefix)}, strict=True)
    maps = torch.randn(1, 576, 20, 20), torch.randn(1, 1280, 10, 10)
    with torch.no_grad():
        (old_scores, old_boxes), (scores, boxes) = source(maps), head(neck(maps))
    assert len(old_scores) == len(scores) == 6
    for old, new, number in zip(old_scores, scores, anchors):
        old, new = (value.permute(0, 2, 3, 1).reshape(-1, number, 81) for value in (old, new))
        torch.testing.assert_close(new[..., 80], old[..., 0], rtol=1e-4, atol=1e-4)  # the background
        torch.testing.assert_close(new[..., :80], old[..., 1:], rtol=1e-4, atol=1e-4)
    for old, new in zip(old_boxes, boxes):
        torch.testing.assert_close(new, old, rtol=1e-4, atol=1e-4)


def test_a_whole_ssdlite(tmp_path, nets, randomize, image):
    """The converted file in the shipped config, with the eps that the command names, computes what the released did."""
    source = randomize(ReleasedSSDLite(), 5).eval()
    state = dict(prefixed(release_backbone(nets['fna_ssdlite'].state_dict()), 'backbone.'), **source.state_dict())
    torch.save(dict(meta=dict(mmdet_version='0.6.0'), state_dict=prefixed(state, 'module.')), tmp_path / 'released.pth')
    fna('convert', tmp_path / 'released.pth', tmp_path / 'out.pth')
    init_default_scope('mmdet')
    cfg = Config.fromfile(ROOT / 'configs/fna_ssdlite_retrain.py').model
    cfg.backbone.update(init_cfg=None, arch=str(tmp_path / 'out.arch.json'), norm_cfg=dict(type='BN', eps=1e-3))
    model = MODELS.build(cfg).eval()
    model.load_state_dict(load(tmp_path / 'out.pth')['state_dict'], strict=True)
    with torch.no_grad():
        scores, boxes = model(image, mode='tensor')
        old_scores, old_boxes = source(model.backbone(image))
    assert [score.shape for score in scores] == [score.shape for score in old_scores]
    for old, new in zip(old_boxes, boxes):
        torch.testing.assert_close(new, old, rtol=1e-3, atol=1e-3)
    for old, new in zip(old_scores, scores):
        old, new = (value.permute(0, 2, 3, 1).reshape(-1, 81) for value in (old, new))
        torch.testing.assert_close(new, old.roll(-1, 1), rtol=1e-3, atol=1e-3)


def test_the_last_convolution_of_ssdlite(nets):
    backbone = release_backbone(nets['fna_ssdlite'].state_dict())
    conversion = convert_released(prefixed(backbone, 'module.backbone.'))
    assert torch.equal(conversion.state['backbone.conv2.conv.weight'], backbone['blocks.8.conv.0.weight'])


def test_background_last_written_out():
    scores = torch.tensor([0., 1, 2, 10, 11, 12])  # two anchors, background and two classes
    assert background_last(scores, 2).tolist() == [1, 2, 0, 11, 12, 10]
    weight = scores.reshape(6, 1, 1, 1).expand(6, 4, 1, 1)
    assert background_last(weight, 2)[:, 3, 0, 0].tolist() == [1, 2, 0, 11, 12, 10]
    with pytest.raises(ValueError, match='6 channels of scores are no multiple of 4 anchors'):
        background_last(scores, 4)


def test_a_prediction_layer_that_is_not_whole(nets):
    state = dict(prefixed(release_backbone(nets['fna_ssdlite'].state_dict()), 'backbone.'),
                 **ReleasedSSDLite().state_dict())
    del state['bbox_head.cls_convs.2.4.running_var']
    with pytest.raises(ValueError, match=r'not whole: it lacks bbox_head\.cls_convs\.2\.4\.running_var'):
        convert_released(state)


def test_deeplabv3(nets, randomize):
    source = randomize(ReleasedDeepLabv3(), 6).eval()
    backbone = {key: value for key, value in release_backbone(nets['fna_deeplabv3'].state_dict()).items()
                if not key.startswith('blocks.8')}
    conversion = convert_released(dict(
        model=dict(prefixed(backbone, 'backbone.'), **source.state_dict(), **{'criterion.weight': torch.ones(19)}),
        epoch=99))
    assert (conversion.kind, conversion.kept, conversion.left_out) == ('DeepLabv3', ('criterion.weight', ), ('epoch', ))
    assert re.search(r'criterion\.weight +kept under its own name', conversion.report())
    head = SeparableASPPHead(in_channels=320, channels=256, num_classes=19, norm_cfg=dict(type='BN')).eval()
    head.load_state_dict({key.removeprefix('decode_head.'): value for key, value in conversion.state.items()
                          if key.startswith('decode_head.')}, strict=True)
    x = torch.randn(2, 320, 9, 13)
    with torch.no_grad():
        torch.testing.assert_close(head([x]), source(x), rtol=1e-4, atol=1e-4)


def test_a_head_that_is_not_known(released):
    state = dict(prefixed(released, 'backbone.'), **{'bbox_head.fcos_cls.weight': torch.ones(2)})
    conversion = convert_released(state)
    assert conversion.kind == 'Network with a head of its own'
    assert conversion.kept == ('bbox_head.fcos_cls.weight', )
    assert torch.equal(conversion.state['bbox_head.fcos_cls.weight'], torch.ones(2))


# Files


def test_read_architecture(tmp_path, released):
    torch.save(released, tmp_path / 'released.pt')
    out = tmp_path / 'out.pth'
    conversion, files = convert_file(str(tmp_path / 'released.pt'), str(out))
    assert files == (str(out), str(tmp_path / 'out.arch.json'))
    architecture = Architecture.create('fna_retinanet')
    assert read_architecture(str(out)) == Architecture.create(files[1]) == conversion.architecture == architecture
    assert fna('arch', 'show', out) == f'{architecture}\n'
    assert fna('arch', 'export', out) == architecture.to_json()
    torch.save(dict(meta=dict(arch='[['), state_dict={}), out)
    with pytest.raises(ValueError, match=r'out\.pth: stage 0 of the architecture text'):
        read_architecture(str(out))


def test_the_format_of_old_pytorch(tmp_path, released):
    """The release was made with PyTorch 1.1, whose files were no zip archives."""
    torch.save(released, tmp_path / 'old.pt', _use_new_zipfile_serialization=False)
    assert convert_file(str(tmp_path / 'old.pt'), str(tmp_path / 'out.pth'))[0].kind == 'Backbone'


def test_only_the_first_paragraph_of_a_net_config_counts(tmp_path, released):
    torch.save(released, tmp_path / 'released.pt')
    (tmp_path / 'net_config').write_text(PUBLISHED['fna_retinanet'] + '\n \n33.9 mAP\n')
    convert_file(str(tmp_path / 'released.pt'), str(tmp_path / 'out.pth'), str(tmp_path / 'net_config'))
    assert read_architecture(str(tmp_path / 'out.pth')) == Architecture.create('fna_retinanet')


def test_files_are_as_readable_as_any_other(tmp_path, released):
    torch.save(released, tmp_path / 'released.pt')
    (tmp_path / 'plain').touch()
    _, files = convert_file(str(tmp_path / 'released.pt'), str(tmp_path / 'out.pth'))
    assert {Path(path).stat().st_mode for path in files} == {(tmp_path / 'plain').stat().st_mode}
    assert sorted(path.name for path in tmp_path.iterdir()) == ['out.arch.json', 'out.pth', 'plain', 'released.pt']


@pytest.mark.parametrize('broken', ['torch.save', 'os.replace', 'folder'])
def test_a_failure_writes_nothing(tmp_path, monkeypatch, released, broken):
    torch.save(released, tmp_path / 'released.pt')
    out, arch = tmp_path / 'out.pth', tmp_path / 'out.arch.json'
    out.write_text('mine')
    if broken == 'folder':
        arch.mkdir()
    else:
        arch.write_text('mine too')

        def fail(*args):
            raise OSError('the disk is full')

        monkeypatch.setattr(broken, fail)
    with pytest.raises((OSError, ValueError), match='the disk is full|it is a folder'):
        convert_file(str(tmp_path / 'released.pt'), str(out))
    assert out.read_text() == 'mine'
    assert arch.is_dir() if broken == 'folder' else arch.read_text() == 'mine too'
    assert len(list(tmp_path.iterdir())) == 3


# Wrong inputs


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def without(start):
    return lambda state: {key: value for key, value in state.items() if not key.startswith(start)}


def with_(key, value):
    return lambda state: dict(state, **{key: value})


@pytest.mark.parametrize(('change', 'message'), [
    (without('blocks.2.layers.0.op.1.'), r"block of 'blocks\.2\.layers\.0\.op\.\S+' .FNA release layout. is no"),
    (without('blocks.2.layers.1.op.4.running_mean'),
     r'no whole network of this family: the bn running_mean of the depthwise of blocks\.2\.layers\.1 is missing$'),
    (without('blocks.0.1.weight'), 'the bn weight of the stem is missing'),
    (without('blocks.8.conv.1.'), r'the bn weight of the last is missing, .* running_var of the last is missing$'),
    (without('blocks.4.layers.2.'), r'\(FNA release layout\) lacks layer 2 of stage 3: it is not whole'),
    (without('blocks.0.0.weight'), 'the stem convolution of blocks.0 has no weight'),
    (lambda state: with_('blocks.3.layers.0.op.6.bias', torch.zeros(32))(without('blocks.3.layers.0.op.6.')(state)),
     r'the project convolution of blocks\.3\.layers\.0 has no weight'),
    (with_('blocks.3.layers.0.op.3.weight', torch.zeros(144)),
     r'blocks\.3\.layers\.0.* of shape \(144,\)'),
    (with_('blocks.3.layers.0.op.3.weight', torch.zeros(144, 1, 5, 7)),
     r'blocks\.3\.layers\.0\.op\.3\.weight has the shape \(144, 1, 5, 7\), not \(144, 1, 5, 5\)'),
    (with_('blocks.3.layers.0.op.3.weight', torch.zeros(144, 1, 4, 4)),
     r'blocks\.3\.layers\.0: kernel_size of an MBConv must be odd, not 4'),
    (with_('blocks.3.layers.0.op.3.weight', torch.zeros(100, 1, 7, 7)),
     r'blocks\.3\.layers\.0\.op\.0\.weight has the shape \(144, 24, 1, 1\), not \(100, 24, 1, 1\)'),
    (with_('blocks.3.layers.0.op.1.bias', torch.zeros(7)),
     r'blocks\.3\.layers\.0\.op\.1\.bias has the shape \(7,\), not \(144,\)'),
    (with_('blocks.3.layers.0.op.0.bias', torch.zeros(144)), r'blocks\.3\.layers\.0\.op\.0\.bias is unknown'),
    (with_('blocks.3.layers.0.se.weight', torch.zeros(1)), r'blocks\.3\.layers\.0\.se\.weight is unknown'),
    (lambda state: {key: value for key, value in state.items() if 'running' not in key}, r', … and \d+ more$'),
    (lambda state: dict(prefixed(state, 'backbone.'), **{'backbone.conv1.conv.weight': torch.zeros(1)}), 'unknown'),
    (lambda state: {}, r'no tensors in the checkpoint'),
    (lambda state: [1, 2], r'no tensors in the checkpoint'),
    (lambda state: MobileNetV2().state_dict(), r"no checkpoint of the authors' release, but .* in the mmdet layout: "
     "init_cfg=dict"),
    (lambda state: ResNet(18).state_dict(), 'the keys are those of no known MobileNetV2 layout'),
])
def test_what_is_no_released_network(released, change, message):
    with pytest.raises(ValueError, match=message):
        convert_released(change(released))


def test_torchvision_is_named(seed_layouts):
    with pytest.raises(ValueError, match="in the torchvision layout: init_cfg=dict.type='ParameterRemapping'"):
        convert_released(seed_layouts['torchvision'])


@pytest.mark.parametrize(('change', 'message'), [
    (lambda text: PUBLISHED['fna_ssdlite'], r"another network's: blocks\.2\.layers\.0 is k3_e6 in the weights, k5_e6"),
    (lambda text: PUBLISHED['mobilenet_v2'], r'blocks\.3\.layers\.0 is k7_e6 in the weights, k3_e6 in the net_config'),
    (lambda text: text.replace("'k7_e3'", "'k7_e6'"), r'blocks\.6\.layers\.2 is k7_e3 in the weights, k7_e6 in'),
    (lambda text: text.replace("'k7_e3', 'k7_e6'", "'k7_e3'"),
     r'blocks\.6 \(96 → 160\) has 4 layers in the weights, 3 in the net_config'),
    (lambda text: text.replace('160', '128'), r'blocks\.6 is 96 → 160 in the weights, 96 → 128 in the net_config'),
    (lambda text: text[:text.rindex('|')], 'it has 6 stages, the weights 7'),
    (lambda text: "__import__('os').system('touch bait')", 'stage 0 of the architecture text is .__import__'),
    (lambda text: text.replace("'k7_e3'", "open('bait', 'w')"), 'stage 5 of the architecture text'),
    (lambda text: '', 'an architecture needs at least one stage'),
    (lambda text: b'\xff\xfe\x00', 'net_config=.* is no text'),
])
def test_a_wrong_net_config(tmp_path, monkeypatch, released, change, message):
    monkeypatch.chdir(tmp_path)
    torch.save(released, 'released.pt')
    text = change(PUBLISHED['fna_retinanet'])
    Path('net_config').write_bytes(text if isinstance(text, bytes) else text.encode())
    Path('out.arch.json').write_text('mine')
    printed = fna('convert', 'released.pt', 'out.pth', '--net-config', 'net_config', code=1)
    assert re.search(message, printed), printed
    assert [line for line in printed.splitlines() if line.startswith('Error: ')] == printed.splitlines()
    assert sorted(path.name for path in tmp_path.iterdir()) == ['net_config', 'out.arch.json', 'released.pt']
    assert Path('out.arch.json').read_text() == 'mine'


@pytest.mark.parametrize(('arguments', 'message'), [
    (['none.pt', 'out.pth'], "checkpoint='none.pt': there is no such file"),
    (['cut.pt', 'out.pth'], "checkpoint='cut.pt' is no readable checkpoint"),
    (['bait.pt', 'out.pth'], "checkpoint='bait.pt' is no readable checkpoint"),
    (['released.pt', 'out.json'], "OUT='out.json': the name of a checkpoint ends in .pth or .pt"),
    (['released.pt', './released.pt'], "'released.pt' cannot be written: it is one of the inputs"),
    (['released.pt', 'out.pth', '--net-config', 'none'], "No such file or directory: 'none'"),
    (['other.pt', 'out.pth'], 'other.pt: the keys are those of no known MobileNetV2 layout'),
])
def test_wrong_files(tmp_path, monkeypatch, released, arguments, message):
    monkeypatch.chdir(tmp_path)
    torch.save(released, 'released.pt')
    torch.save(dict(weight=torch.zeros(2)), 'other.pt')
    torch.save(dict(state_dict=released, meta=Call(exec, "open('bait', 'w')")), 'bait.pt')
    Path('cut.pt').write_bytes(Path('released.pt').read_bytes()[:-1000])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    printed = fna('convert', *arguments, code=1)
    assert message in printed
    assert [line for line in printed.splitlines() if line.startswith('Error: ')] == printed.splitlines()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_as_a_command(tmp_path, monkeypatch, released):
    monkeypatch.chdir(tmp_path)
    torch.save(released, 'released.pt')
    assert fna('convert', 'released.pt', 'out.pth').endswith('written: out.pth, out.arch.json\n')
    printed = fna('convert', tmp_path / 'out.pth', tmp_path / 'twice.pth', code=1)
    assert "out.pth: this is no checkpoint of the authors' release" in printed
    assert not (tmp_path / 'twice.pth').exists()
