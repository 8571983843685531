"""A user's way with mmsegmentation: search, child, test, pictures; and data that does not fit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope

from fna_mm import Architecture, FNAChildNet
from fna_mm.configs import package_of

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / 'configs/camvid'
NUM_CLASSES = 11
SPLITS = dict(train=10, val=2, test=3)


def write_sample(root, split, index, image_size=(48, 64), label_size=None, labels=None):
    """A picture whose colours say what its label map says."""
    rng = np.random.default_rng((index, len(split)))
    label_size = label_size or image_size
    if labels is None:
        labels = rng.integers(0, NUM_CLASSES, (3, 4))
        labels[0, 0] = 255
    labels = cv2.resize(np.array(labels, np.uint8), label_size[::-1], interpolation=cv2.INTER_NEAREST)
    image = cv2.resize(np.stack([labels * 20, 255 - labels * 20, labels], -1), image_size[::-1])
    for folder, suffix, content in (('img_dir', 'jpg', image), ('ann_dir', 'png', labels)):
        path = root / folder / split / f'{index}.{suffix}'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), content)


@pytest.fixture(scope='module')
def material(tmp_path_factory):
    """A folder to run in: label maps in CamVid's place, and the checkpoint of a random MobileNetV2."""
    root = tmp_path_factory.mktemp('segmentation')
    for split, number in SPLITS.items():
        for index in range(number):
            write_sample(root / 'data/camvid', split, index)
    torch.manual_seed(0)
    net = FNAChildNet('mobilenet_v2')
    net.init_weights()
    torch.save(net.state_dict(), root / 'seed.pth')
    return root


def run(material, *call):
    done = subprocess.run([sys.executable, '-m', *map(str, call)], cwd=material,
                          env=dict(os.environ, OMP_NUM_THREADS='1'),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def mim(material, command, config, work_dir, *arguments):
    return run(material, 'mim', command, package_of('mmseg'), config, '--gpus', '0', '--work-dir', work_dir, *arguments)


def scalars(work_dir):
    return [json.loads(line) for path in sorted(work_dir.glob('*/vis_data/scalars.json'))
            for line in path.read_text().splitlines()]


@pytest.fixture(scope='module')
def search(material):
    options = {
        'model.backbone.init_cfg.checkpoint': 'seed.pth', 'model.backbone.layers_per_stage': '2,1,1,1,1,1',
        'model.backbone.kernel_sizes': '3,5', 'train_cfg.max_epochs': 2, 'train_cfg.val_interval': 2,
        'train_dataloader.batch_size': 4, 'default_hooks.logger.interval': 1, 'custom_hooks.0.begin_epoch': 1,
        'custom_hooks.0.weight_steps_per_arch_step': 1, 'custom_hooks.0.dataloader.batch_size': 2}
    mim(material, 'train', CONFIGS / 'fna_deeplabv3_search.py', 'search', '--cfg-options',
        *(f'{key}={value}' for key, value in options.items()))
    return material / 'search'


@pytest.mark.slow
def test_search(search):
    lines = scalars(search)
    steps = [line for line in lines if 'decode.loss_ce' in line]
    assert ['arch_decode.loss_ce' in line for line in steps] == [False, False, True, True]
    assert all({'expected_gmadds', 'best_path_gmadds', 'decode.acc_seg'} <= set(line) for line in steps[2:])
    assert [0 <= line['mIoU'] <= 100 for line in lines if 'mIoU' in line] == [True]
    assert Architecture.create(str(search / 'arch.json')).stages[-1].out_channels == 320


@pytest.fixture(scope='module')
def child(search, material):
    mim(material, 'train', search / 'child_config.py', 'search/child', '--cfg-options', 'train_cfg.max_iters=2',
        'train_cfg.val_interval=2', 'train_dataloader.batch_size=2', 'custom_hooks.0.num_iters=2',
        'default_hooks.logger.interval=1', 'default_hooks.checkpoint.interval=2')
    return search / 'child'


@pytest.mark.slow
def test_child_of_the_search(search, child, material):
    """Its config runs as it is, at the output stride of the search, and mm's test tool takes the result."""
    cfg = Config.fromfile(search / 'child_config.py')
    assert (cfg.model.backbone.type, cfg.model.backbone.output_stride) == ('FNAChildNet', 16)
    assert Architecture.create(cfg.model.backbone.arch) == Architecture.create(str(search / 'arch.json'))
    assert cfg.model.backbone.init_cfg.checkpoint == 'seed.pth'
    assert [0 <= line['mIoU'] <= 100 for line in scalars(child) if 'mIoU' in line] == [True]
    printed = mim(material, 'test', search / 'child_config.py', 'tested', '--checkpoint', child / 'iter_2.pth')
    assert 'mIoU' in printed


@pytest.mark.slow
def test_pictures_side_by_side(search, child, material):
    model = [search / 'child_config.py', child / 'iter_2.pth']
    run(material, 'fna_mm', 'compare', '--model', 'one', *model, '--model', 'two', *model, '--images', 2,
        '--out', 'x.png')
    picture = cv2.imread(str(material / 'x.png'))
    height, width = picture.shape[:2]
    columns = np.array_split(picture[height // 5:].astype(int), 4, axis=1)
    # Both models are one and the same here: equal pictures; the truth differs from them and from the input.
    least = min(column.shape[1] for column in columns)
    columns = [column[:, :least] for column in columns]
    assert width > height
    assert np.abs(columns[2] - columns[3]).mean() < 2
    assert np.abs(columns[0] - columns[1]).mean() > 10
    assert np.abs(columns[1] - columns[2]).mean() > 10


# Data that does not fit


def pipeline(tmp_path, **sizes):
    """A sample of CamVid's training data, after its transforms."""
    write_sample(tmp_path, 'train', 0, **sizes)
    init_default_scope('mmseg')
    section = Config.fromfile(CONFIGS / 'fna_deeplabv3_retrain.py').train_dataloader.dataset
    section.data_root = str(tmp_path)
    return DATASETS.build(section)[0]


def build_model(**options):
    init_default_scope('mmseg')
    cfg = Config.fromfile(CONFIGS / 'fna_deeplabv3_retrain.py')
    cfg.model.backbone.update(init_cfg=None, arch='mobilenet_v2', **options)
    return MODELS.build(cfg.model)


def loss(model, *samples):
    data = model.data_preprocessor(pseudo_collate(list(samples)), True)
    return data, model(**data, mode='loss')


def test_labels_outside_the_classes_stop_the_training(tmp_path):
    # Everywhere, so that every random crop has it. Labels of 255 are ignored, any other that is no class is refused by
    # the loss.
    sample = pipeline(tmp_path, labels=[[30]])
    with pytest.raises(IndexError, match='Target 30 is out of bounds'):
        loss(build_model(), sample, sample)


def test_unlabelled_pixels_are_ignored(tmp_path):
    sample = pipeline(tmp_path, labels=[[255, 255], [255, 255]])
    _, losses = loss(build_model(), sample, sample)
    assert float(losses['decode.loss_ce'].detach()) == 0


def test_label_maps_of_another_scale_are_brought_to_the_images(tmp_path):
    """mmseg scales both to the size that the pipeline asks for."""
    sample = pipeline(tmp_path, image_size=(96, 128), label_size=(48, 64))
    assert sample['inputs'].shape[1:] == sample['data_samples'].gt_sem_seg.data.shape[1:]


def test_label_maps_of_another_shape_do_not_fit_beside_others(tmp_path):
    """Both are cut at the same place, where the narrower label map ends: mmseg cannot put them into one batch."""
    fitting = pipeline(tmp_path / 'fitting', image_size=(96, 128))
    narrow = pipeline(tmp_path / 'narrow', image_size=(96, 128), label_size=(96, 32))
    assert narrow['data_samples'].gt_sem_seg.data.shape[2] < narrow['inputs'].shape[2]
    with pytest.raises(RuntimeError, match='stack expects each tensor to be equal size'):
        loss(build_model(), fitting, narrow)


def test_images_smaller_than_the_crop_are_padded():
    """The image with zeros after normalization, the label map with ignored pixels."""
    model = build_model()
    sample = dict(inputs=torch.full((3, 100, 120), 9, dtype=torch.uint8), data_samples=labelled(100, 120))
    data, losses = loss(model, sample, sample)
    assert data['inputs'].shape == (2, 3, 161, 161)
    assert data['inputs'][:, :, 100:].abs().max() == 0
    label = data['data_samples'][0].gt_sem_seg.data[0]
    assert (label[:100, :120] == 4).all()
    assert (label[100:] == 255).all()
    assert torch.isfinite(losses['decode.loss_ce'])


def labelled(height, width):
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample
    sample = SegDataSample(metainfo=dict(img_shape=(height, width)))
    sample.gt_sem_seg = PixelData(data=torch.full((1, height, width), 4, dtype=torch.long))
    return sample


def test_output_stride_that_the_network_cannot_have():
    with pytest.raises(ValueError, match=r'output_stride=12 .*\[8, 16, 32\]'):
        build_model(output_stride=12)


def test_camvids_data():
    root = ROOT / '../shared/data/camvid'
    if not root.is_dir():
        pytest.skip('the data set ../shared/data/camvid is not here')
    init_default_scope('mmseg')
    cfg = Config.fromfile(CONFIGS / 'fna_deeplabv3_search.py')
    parts = [cfg.train_dataloader.dataset, cfg.custom_hooks[0].dataloader.dataset]
    names = []
    for part in parts:
        part.dataset.data_root = str(root)
        dataset = DATASETS.build(part)
        sample = dataset[0]
        assert sample['inputs'].shape == (3, 161, 161)
        assert set(sample['data_samples'].gt_sem_seg.data.unique().tolist()) <= {*range(NUM_CLASSES), 255}
        names.append({dataset.get_data_info(index)['img_path'] for index in range(len(dataset))})
    assert not names[0] & names[1]
    assert [len(part) for part in names] == [294, 73]  # 80 and 20 % of 367
