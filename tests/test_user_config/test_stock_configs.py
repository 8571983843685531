"""Searches from mm's own configs: every family builds, and makes one step of each kind on two images."""

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from stock_configs import draw_detection, draw_segmentation, user_config

from fna_mm.sections import find_sections
from fna_mm.user_config import flow
from fna_mm.user_config.flow import search_config, swap_config

#: Config → largest side of an image; None keeps the config's sizes.
MMDET = {
    'retinanet/retinanet_r50_fpn_1x_coco.py': 96,
    'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py': 96,
    'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py': 96,
    'cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py': 96,
    'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py': 96,
    'atss/atss_r50_fpn_1x_coco.py': 96,
    'gfl/gfl_r50_fpn_1x_coco.py': 96,
    'vfnet/vfnet_r50_fpn_1x_coco.py': 96,
    'tood/tood_r50_fpn_1x_coco.py': 96,
    'centernet/centernet-update_r50-caffe_fpn_ms-1x_coco.py': 96,
    'yolof/yolof_r50-c5_8xb8-1x_coco.py': 96,
    'yolo/yolov3_d53_8xb8-320-273e_coco.py': 96,
    'yolo/yolov3_mobilenetv2_8xb24-320-300e_coco.py': 96,
    'yolox/yolox_s_8xb8-300e_coco.py': 96,
    'rtmdet/rtmdet_s_8xb32-300e_coco.py': 96,
    'ssd/ssd300_coco.py': None,
    'ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py': None,
    'detr/detr_r50_8xb2-150e_coco.py': 96,
    'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py': 96,
    'dino/dino-4scale_r50_8xb2-12e_coco.py': 256,
    'solov2/solov2_r50_fpn_1x_coco.py': 96,
    'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py': 96,
    'foveabox/fovea_r50_fpn_4xb4-1x_coco.py': 96,
    'swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py': 96,
    'hrnet/faster-rcnn_hrnetv2p-w18-1x_coco.py': 96,
}
MMSEG = {
    'fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py': 96,
    'pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py': 96,
    'deeplabv3/deeplabv3_r50-d8_4xb2-40k_cityscapes-512x1024.py': 96,
    'deeplabv3plus/deeplabv3plus_r50-d8_4xb2-40k_cityscapes-512x1024.py': 96,
    'upernet/upernet_r50_4xb2-40k_cityscapes-512x1024.py': 96,
    'sem_fpn/fpn_r50_4xb2-80k_cityscapes-512x1024.py': 96,
    'mobilenet_v3/mobilenet-v3-d8_lraspp_4xb4-320k_cityscapes-512x1024.py': 400,
    'segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py': 96,
    'ocrnet/ocrnet_hr18_4xb2-40k_cityscapes-512x1024.py': 96,
    'ocrnet/ocrnet_r101-d8_4xb2-40k_cityscapes-512x1024.py': 96,
    'ccnet/ccnet_r50-d8_4xb2-40k_cityscapes-512x1024.py': 96,
    'danet/danet_r50-d8_4xb2-40k_cityscapes-512x1024.py': 96,
    'encnet/encnet_r50-d8_4xb2-40k_cityscapes-512x1024.py': 96,
    'mobilenet_v2/mobilenet-v2-d8_deeplabv3_4xb2-80k_cityscapes-512x1024.py': 96,
}
#: These two stand for all others in the fast tests.
FAST = ('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', 'encnet/encnet_r50-d8_4xb2-40k_cityscapes-512x1024.py')
WRONG = {
    'bisenetv1/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024.py':
    'the backbone BiSeNetV1 of .* gives 2 maps of stride 8: at output stride 16 MobileNetV2 has 1 of this stride',
    'bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024.py':
    r'the backbone BiSeNetV2 of .* gives maps of strides \[8, 4, 8, 16, 32\], which do not rise',
    'vit/vit_deit-b16_upernet_8xb2-80k_ade20k-512x512.py':
    'the backbone VisionTransformer of .* gives 4 maps of stride 16: at output stride 16 MobileNetV2 has 2',
}


def cases(configs):
    return [pytest.param(name, side, id=name.partition('/')[2], marks=() if name in FAST else pytest.mark.slow)
            for name, side in configs.items()]


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    made = {}
    for package, draw in (('mmdet', draw_detection), ('mmseg', draw_segmentation)):
        pytest.importorskip(package)
        made[package] = tmp_path_factory.mktemp(package)
        draw(made[package])
    return made


def check(package, name, side, folders, monkeypatch, tmp_path):
    """Swap if needed, search, and look at what the steps of the trial have reached."""
    path = user_config(package, name, folders[package], side)
    reached = []
    steps = flow.make_steps
    monkeypatch.setattr(flow, 'make_steps', lambda *args: reached.append(steps(*args)))
    baseline = path
    if 'mobilenetv2' not in name and 'mobilenet_v2' not in name:
        baseline = str(tmp_path / 'baseline.py')
        # The step of the trial is the search's below; the swap's own trial is tested with the fast configs.
        swap_config(path, baseline, trial=name in FAST)
    search_config(baseline, str(tmp_path / 'search.py'))
    cfg = Config.fromfile(tmp_path / 'search.py')
    init_default_scope(package)
    parts = [split['part'] for split in find_sections(cfg._cfg_dict, 'RandomSplit')]
    assert parts.count('arch') == parts.count('weights') > 0
    assert len(parts) == 2 * parts.count('arch')
    supernet = MODELS.build(cfg.model.backbone)
    names = {name.removeprefix('backbone.') for name in reached[-1] if name.startswith('backbone.')}
    stages = {name.split('.')[0] for name, _ in supernet.named_parameters()}
    assert {name.split('.')[0] for name in names} == stages  # the path's parameters in every stage, and the stem's
    for layer in supernet.search_space.layers:
        # Of a layer that is not left out, all parameters of one candidate are reached.
        its = [name for name in names if name.startswith(layer.name + '.')]
        candidates = {'.'.join(name.split('.')[:4]) for name in its}
        assert len(candidates) <= 1
        for candidate in candidates:
            all_of_it = {name for name, _ in supernet.named_parameters() if name.startswith(candidate + '.')}
            assert all_of_it <= names


@pytest.mark.parametrize(('name', 'side'), cases(MMDET))
def test_detectors(name, side, folders, monkeypatch, tmp_path):
    check('mmdet', name, side, folders, monkeypatch, tmp_path)


@pytest.mark.parametrize(('name', 'side'), cases(MMSEG))
def test_segmentors(name, side, folders, monkeypatch, tmp_path):
    check('mmseg', name, side, folders, monkeypatch, tmp_path)


@pytest.mark.parametrize('name', WRONG)
def test_what_cannot_work_is_a_sentence(name, folders, tmp_path):
    path = user_config('mmseg', name, folders['mmseg'])
    with pytest.raises(ValueError, match=WRONG[name]):
        swap_config(path, str(tmp_path / 'baseline.py'))
    assert not (tmp_path / 'baseline.py').exists()
