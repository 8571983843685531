"""A trained model as an ONNX file."""

import builtins
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from toy_search import TOY

from fna_mm import Architecture
from fna_mm.cli import main
from fna_mm.export import export_onnx
from fna_mm.export.network import named_outputs
from fna_mm.export.onnx_file import written_network

onnxruntime = pytest.importorskip('onnxruntime', reason='onnxruntime is not installed: pip install "fna-mm[onnx]"')
pytest.importorskip('onnx')

DOCS = Path(__file__).resolve().parents[2] / 'docs/export.md'
RETINANET = f'''
default_scope = 'mmdet'
custom_imports = dict(imports=['fna_mm', 'mmdet.models', 'mmdet.datasets'])
model = dict(
    type='RetinaNet',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[120., 110., 100.], std=[60., 50., 55.], bgr_to_rgb=True,
                           pad_size_divisor=32),
    backbone=dict(type='FNAChildNet', arch="""{TOY}""", out_indices=(1, 2), output_stride=8),
    neck=dict(type='FPN', in_channels=[6, 8], out_channels=16, num_outs=5, add_extra_convs='on_input', start_level=1),
    bbox_head=dict(
        type='RetinaHead', num_classes=3, in_channels=16, stacked_convs=1, feat_channels=16,
        anchor_generator=dict(type='AnchorGenerator', octave_base_scale=4, scales_per_octave=3, ratios=[.5, 1., 2.],
                              strides=[8, 16, 32, 64, 128]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'), loss_bbox=dict(type='L1Loss')),
    test_cfg=dict(nms_pre=1000, min_bbox_size=0, score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5),
                  max_per_img=100))
test_pipeline = [
    dict(type='LoadImageFromFile'), dict(type='Resize', scale=(128, 96), keep_ratio=False),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
test_dataloader = dict(dataset=dict(type='CocoDataset', metainfo=dict(classes=('a', 'b', 'c')), pipeline=test_pipeline))
'''


@pytest.fixture(scope='module')
def retinanet(tmp_path_factory):
    """Config and checkpoint of a RetinaNet whose random weights find many boxes."""
    folder = tmp_path_factory.mktemp('retinanet')
    (folder / 'retinanet.py').write_text(RETINANET)
    cfg = Config.fromfile(folder / 'retinanet.py')
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    with torch.no_grad():
        model.bbox_head.retina_cls.weight.normal_(0, .3)
        model.bbox_head.retina_cls.bias.fill_(-2.)
        model.bbox_head.retina_reg.weight.normal_(0, .05)
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / 'model.pth')
    return str(folder / 'retinanet.py'), str(folder / 'model.pth')


def blocks():
    return re.findall(r'```python\n(.*?)```', DOCS.read_text(), re.DOTALL)


def code_of_the_page(path):
    """Run the page's Python, with another file than child.onnx."""
    names = {}
    for block in blocks():
        exec(compile(block.replace("'child.onnx'", repr(str(path))), str(DOCS), 'exec'), names)
    return names


def photo(height=120, width=200):
    generator = np.random.default_rng(0)
    return cv2.resize(generator.integers(0, 256, (12, 20, 3)).astype(np.uint8), (width, height))


def test_a_detector_and_the_pages_boxes(retinanet, tmp_path):
    config, checkpoint = retinanet
    made = export_onnx(config, checkpoint, str(tmp_path / 'child.onnx'))
    assert made.shape == (96, 128)
    assert made.difference < 1e-4
    assert made.milliseconds > 0
    assert made.seed_milliseconds is None  # of other channels than MobileNetV2
    assert list(made.outputs) == [f'{kind}_{level}' for kind in ('cls_score', 'bbox_pred') for level in range(5)]
    assert made.outputs['cls_score_0'] == (1, 27, 12, 16)
    code = code_of_the_page(tmp_path / 'child.onnx')
    assert code['about']['classes'] == ['a', 'b', 'c']
    assert code['about']['pad_size_divisor'] == 32
    cv2.imwrite(str(tmp_path / 'photo.png'), photo())
    boxes, scores, kinds = code['detect'](cv2.imread(str(tmp_path / 'photo.png')))
    from mmdet.apis import inference_detector, init_detector
    found = inference_detector(init_detector(config, checkpoint, device='cpu'), str(tmp_path / 'photo.png'))
    wanted = found.pred_instances
    assert len(wanted) > 20
    assert len(boxes) == len(wanted)
    assert np.allclose(scores, wanted.scores.numpy(), atol=1e-4)
    # Boxes of equal scores may change places.
    assert np.isclose(boxes, wanted.bboxes.numpy(), atol=.1).all(1).mean() > .9
    assert (kinds == wanted.labels.numpy()).mean() > .9


def test_a_segmentor_and_the_pages_classes(segmentor, tmp_path):
    config, checkpoint = segmentor
    made = export_onnx(config, checkpoint, str(tmp_path / 'child.onnx'))
    assert made.outputs == dict(logits=(1, 2, 4, 4))
    code = code_of_the_page(tmp_path / 'child.onnx')
    from mmseg.apis import inference_model, init_model
    model = init_model(config, checkpoint, device='cpu')
    agree = []
    for path in sorted(Path(config).parent.glob('images/*.png'))[:6]:
        image = cv2.imread(str(path))
        wanted = inference_model(model, image).pred_sem_seg.data[0].numpy()
        agree.append((code['segment'](image) == wanted).mean())
    assert np.mean(agree) > .97  # cv2 and PyTorch interpolate alike but for borders


def test_a_file_of_dynamic_size(retinanet, tmp_path):
    export_onnx(*retinanet, str(tmp_path / 'child.onnx'), dynamic=True)
    session = onnxruntime.InferenceSession(str(tmp_path / 'child.onnx'))
    first = session.run(None, {'image': np.zeros((1, 3, 64, 192), np.float32)})[0]
    assert first.shape == (1, 27, 8, 24)
    assert json.loads(session.get_modelmeta().custom_metadata_map['input_shape']) is None


def test_the_command_prints_the_seeds_time(tmp_path):
    """The backbone has MobileNetV2's channels: its own time and the seed's stand side by side."""
    text = RETINANET.replace(TOY, 'fna_retinanet').replace('out_indices=(1, 2), output_stride=8',
                                                           'out_indices=(1, 2)').replace('[6, 8]', '[24, 32]')
    (tmp_path / 'config.py').write_text(text)
    cfg = Config.fromfile(tmp_path / 'config.py')
    init_default_scope('mmdet')
    torch.save(MODELS.build(cfg.model).state_dict(), tmp_path / 'model.pth')
    paths = [str(tmp_path / name) for name in ('config.py', 'model.pth', 'new/a.onnx')]
    done = CliRunner().invoke(main, ['export', *paths, '--shape', '64', '64'])
    assert done.exit_code == 0, done.output
    assert re.search(r'[\d.]+ ms at 64x64 on 1 thread of this CPU in ONNX Runtime; with the seed as backbone [\d.]+ '
                     r'ms; at most \S+ from PyTorch', done.output)
    assert '  cls_score_0 1x27x8x8' in done.output
    assert (tmp_path / 'new/a.onnx').exists()


@pytest.mark.parametrize(('results', 'names'), [
    (torch.zeros(1), ['logits']),
    (([torch.zeros(1)] * 2, [torch.zeros(1)] * 2, [torch.zeros(1)] * 2),
     ['cls_score_0', 'cls_score_1', 'bbox_pred_0', 'bbox_pred_1', 'score_factor_0', 'score_factor_1']),
    ((torch.zeros(1), [dict(a=torch.zeros(1))]), ['output_0', 'output_1_0_a'])])
def test_names_of_outputs(results, names):
    assert list(named_outputs(results)) == names


@pytest.mark.parametrize(('change', 'message'), [
    (dict(out='model.onx'), 'must end in .onnx'),
    (dict(opset=9), 'opset=9 is too low'),
    (dict(opset='17'), 'opset'),
    (dict(threads=0), 'threads'),
    (dict(shape=(0, 64)), 'input_shape'),
    (dict(checkpoint='nothing.pth'), 'there is no such file')])
def test_wrong_input(retinanet, tmp_path, change, message):
    values = dict(config=retinanet[0], checkpoint=retinanet[1], out='model.onnx', **{})
    values.update(change)
    out = str(tmp_path / values.pop('out'))
    with pytest.raises((ValueError, FileNotFoundError, TypeError), match=message):
        export_onnx(out=out, **values)
    assert not list(tmp_path.iterdir())


def test_a_size_that_nothing_says(retinanet, tmp_path):
    text = Path(retinanet[0]).read_text().replace("dict(type='Resize', scale=(128, 96), keep_ratio=False),", '')
    (tmp_path / 'config.py').write_text(text)
    with pytest.raises(ValueError, match='does not say the size of an image: give --shape'):
        export_onnx(str(tmp_path / 'config.py'), retinanet[1], str(tmp_path / 'a.onnx'))


def test_the_inputs_are_never_overwritten(retinanet, tmp_path):
    linked = tmp_path / 'linked.onnx'
    linked.symlink_to(retinanet[1])
    before = Path(retinanet[1]).read_bytes()
    with pytest.raises(ValueError, match='cannot be written: it is one of the inputs'):
        export_onnx(*retinanet, str(linked))
    assert Path(retinanet[1]).read_bytes() == before


def test_a_file_that_computes_something_else_is_not_written(retinanet, tmp_path, monkeypatch):
    monkeypatch.setattr('fna_mm.export.onnx_file.TOLERANCE', -1.)
    with pytest.raises(ValueError, match=r'the output cls_score_\d in ONNX Runtime is not what PyTorch computes'):
        export_onnx(*retinanet, str(tmp_path / 'a.onnx'))
    assert not list(tmp_path.iterdir())


def test_models_whose_network_needs_more_than_an_image(tmp_path):
    text = RETINANET.replace("type='RetinaNet',", "type='DETR',", 1)
    a, b = text.index('    neck='), text.index('test_pipeline')
    text = text[:a] + '''    num_queries=4,
    neck=dict(type='ChannelMapper', in_channels=[8], kernel_size=1, out_channels=16, act_cfg=None, norm_cfg=None),
    encoder=dict(num_layers=1, layer_cfg=dict(self_attn_cfg=dict(embed_dims=16, num_heads=2),
                 ffn_cfg=dict(embed_dims=16, feedforward_channels=16))),
    decoder=dict(num_layers=1, layer_cfg=dict(self_attn_cfg=dict(embed_dims=16, num_heads=2),
                 cross_attn_cfg=dict(embed_dims=16, num_heads=2),
                 ffn_cfg=dict(embed_dims=16, feedforward_channels=16)), return_intermediate=True),
    positional_encoding=dict(num_feats=8, normalize=True),
    bbox_head=dict(
        type='DETRHead', num_classes=3, embed_dims=16,
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, class_weight=1., bg_cls_weight=.1)),
    test_cfg=dict(max_per_img=4))
''' + text[b:].replace('out_indices=(1, 2)', 'out_indices=(2, )')
    text = text.replace('out_indices=(1, 2)', 'out_indices=(2, )')
    (tmp_path / 'detr.py').write_text(text)
    cfg = Config.fromfile(tmp_path / 'detr.py')
    init_default_scope('mmdet')
    torch.save(MODELS.build(cfg.model).state_dict(), tmp_path / 'detr.pth')
    with pytest.raises(ValueError, match='DETR, cannot be exported: its network needs more than an image'):
        export_onnx(str(tmp_path / 'detr.py'), str(tmp_path / 'detr.pth'), str(tmp_path / 'a.onnx'))


def test_a_missing_package_is_named(retinanet, tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == 'onnxruntime':
            raise ImportError('no', name='onnxruntime')
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', without)
    with pytest.raises(ImportError, match=r'needs the package onnxruntime: pip install "fna-mm\[onnx\]"'):
        export_onnx(*retinanet, str(tmp_path / 'a.onnx'))


@pytest.mark.parametrize(('size', 'out'), [
    ((23, 30), (1, 1)), ((23, 30), (2, 2)), ((23, 30), (3, 3)), ((23, 30), (6, 6)), ((12, 6), (6, 2)),
    ((2, 5), (3, 7))])
def test_adaptive_pooling_to_any_size(size, out):
    network, image = torch.nn.AdaptiveAvgPool2d(out), torch.randn(1, 3, *size)
    session = onnxruntime.InferenceSession(written_network(network, image, 17), providers=['CPUExecutionProvider'])
    (found, ) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    np.testing.assert_allclose(found, network(image).numpy(), atol=1e-6)


def test_adaptive_pooling_at_any_size_of_the_image_is_a_sentence():
    with pytest.raises(ValueError, match=r'adaptive pooling to \(2, 2\) is written for one size of the image'):
        written_network(torch.nn.AdaptiveAvgPool2d(2), torch.randn(1, 3, 23, 30), 17,
                        dynamic_axes={'image': {2: 'height', 3: 'width'}})


def test_a_resnet_is_exported_beside_its_own_depth(tmp_path):
    """A child of a ResNet-34 is timed beside a ResNet-34, a shallow one beside the shallowest."""
    from fna_mm.export.onnx_file import _seed_of
    narrow = [[64, 64, ['k3_basic48'] * 3, 1], [64, 128, ['k3_basic64'] * 2, 2], [128, 256, ['k3_basic64'] * 2, 2],
              [256, 512, ['k3_basic128'], 2]]
    text = '|'.join(f'[[{first}, {last}], {layers}, {stride}]' for first, last, layers, stride in narrow)
    assert _seed_of(Architecture.parse(f'resnet: {text}')) == Architecture.create('resnet34')
    shallow = text.replace("['k3_basic48', 'k3_basic48', 'k3_basic48']", "['k3_basic48']")
    assert _seed_of(Architecture.parse(f'resnet: {shallow}')) == Architecture.create('resnet18')
    assert _seed_of(Architecture.create('fna_ssdlite')) == Architecture.create('mobilenet_v2')
    assert _seed_of(Architecture.parse(TOY)) is None

    config = tmp_path / 'resnet.py'
    config.write_text(RETINANET.replace(f'arch="""{TOY}""", out_indices=(1, 2), output_stride=8',
                                        f'arch="resnet: {shallow}", out_indices=(0, 1)').replace('[6, 8]', '[64, 128]'))
    init_default_scope('mmdet')
    model = MODELS.build(Config.fromfile(config).model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'resnet.pth')
    made = export_onnx(str(config), str(tmp_path / 'resnet.pth'), str(tmp_path / 'resnet.onnx'), (64, 64))
    assert made.seed_milliseconds > 0
