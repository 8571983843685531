"""A child outside of training: mm's inferencers and scripts open its config and checkpoint as any other model's."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from stock_configs import CLASSES, draw_detection, user_config
from toy_segmentation import train_segmentor

from fna_mm.adaptation import adapt
from fna_mm.user_config.flow import swap_config


@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    """Config and checkpoint of a RetinaNet with a child as its backbone, and an image."""
    pytest.importorskip('mmdet')
    folder = tmp_path_factory.mktemp('detector')
    draw_detection(folder)
    config, checkpoint = str(folder / 'child_config.py'), str(folder / 'child.pth')
    swap_config(user_config('mmdet', 'retinanet/retinanet_r50_fpn_1x_coco.py', folder), config, trial=False)
    cfg = Config.fromfile(config)
    init_default_scope('mmdet')
    cfg.model.backbone.init_cfg = None
    torch.save(dict(meta=dict(dataset_meta=dict(classes=CLASSES)), state_dict=MODELS.build(cfg.model).state_dict()),
               checkpoint)
    return config, checkpoint, str(folder / 'images/0.png')


@pytest.fixture(scope='module')
def segmentor(tmp_path_factory):
    """Config and checkpoint of an adapted segmentor, and an image."""
    pytest.importorskip('mmseg')
    folder = tmp_path_factory.mktemp('segmentor')
    config, checkpoint = train_segmentor(folder)
    with open(config, 'a', encoding='utf-8') as file:  # mmseg's inferencer wants mmseg's visualizer
        file.write("visualizer = dict(type='SegLocalVisualizer', vis_backends=[])\n")
    (child, ) = adapt(config, checkpoint, budgets=(.7, ), work_dir=str(folder / 'adapted'))
    return f'{child.folder}/child_config.py', f'{child.folder}/child.pth', str(folder / 'images/00.png')


def in_a_service(code, *arguments):
    """Run code in a fresh process that does not import this package by itself."""
    done = subprocess.run([sys.executable, '-c', code, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_det_inferencer(detector):
    out = in_a_service('import sys\n'
                       'from mmdet.apis import DetInferencer\n'
                       'inferencer = DetInferencer(sys.argv[1], sys.argv[2], device="cpu", show_progress=False)\n'
                       'made = inferencer(sys.argv[3], no_save_vis=True, pred_score_thr=0)\n'
                       'meta = inferencer.visualizer.dataset_meta\n'
                       'print(type(inferencer.model.backbone).__name__, meta["classes"])\n'
                       'print(sorted(made["predictions"][0]))', *detector)
    assert out.splitlines()[-2:] == [f'FNAChildNet {CLASSES}', "['bboxes', 'labels', 'scores']"]


@pytest.mark.slow
def test_mmseg_inferencer(segmentor):
    out = in_a_service('import sys\n'
                       'from mmseg.apis import MMSegInferencer\n'
                       'inferencer = MMSegInferencer(sys.argv[1], sys.argv[2], device="cpu")\n'
                       'made = inferencer(sys.argv[3])["predictions"]\n'
                       'found = set(made.ravel().tolist())\n'
                       'print(type(inferencer.model.backbone).__name__, made.shape, found <= {0, 1})',
                       *segmentor)
    assert out.splitlines()[-1] == 'FNAChildNet (32, 32) True'


def run_script(package, name, *arguments):
    """Run one of mm's own analysis tools."""
    script = Path(__import__(package).__file__).parent / f'.mim/tools/analysis_tools/{name}.py'
    done = subprocess.run([sys.executable, str(script), *map(str, arguments)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


@pytest.mark.slow
def test_scripts_of_mmdet(detector, tmp_path):
    """mmdet's benchmark.py needs psutil, which is not installed with mmdet."""
    config, _, _ = detector
    assert 'Flops: ' in run_script('mmdet', 'get_flops', config, '--num-images', 1)
    run_script('mmdet', 'browse_dataset', config, '--output-dir', tmp_path, '--not-show')
    assert len(list(tmp_path.glob('*.png'))) == 8


@pytest.mark.slow
def test_scripts_of_mmseg(segmentor, tmp_path):
    """mmseg's get_flops.py does not run with mmengine 0.10.7, its browse_dataset.py not with OpenCV 5: for no model."""
    config, checkpoint, _ = segmentor
    assert 'Average fps' in run_script('mmseg', 'benchmark', config, checkpoint, '--log-interval', 10,
                                       '--work-dir', tmp_path)
