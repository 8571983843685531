"""Pictures of several models on images of one's own, without annotations."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from fna_mm.cli import main
from fna_mm.report.comparison import (
    TrainedModel,
    comparison_figure,
    find_images,
    name_models,
    predict_images,
    trained_models,
)

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = dict(detection=ROOT / 'configs/demo/mobilenet_v2.py',
               segmentation=ROOT / 'configs/camvid/mobilenet_v2_deeplabv3.py')


def write_image(path, size, seed):
    noise = np.random.default_rng(seed).integers(0, 255, (4, 5, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.resize(noise, size[::-1], interpolation=cv2.INTER_NEAREST))
    return str(path)


@pytest.fixture(scope='module', params=['detection', pytest.param('segmentation', marks=pytest.mark.slow)])
def models(request, tmp_path_factory, randomize):
    """Two checkpoints of one network with different random weights: (config, first, second). There is no data set."""
    pytest.importorskip(dict(detection='mmdet', segmentation='mmseg')[request.param])
    folder = tmp_path_factory.mktemp(request.param)
    cfg = Config.fromfile(CONFIGS[request.param])
    init_default_scope(cfg.default_scope)
    paths = []
    for seed in (1, 2):
        model = randomize(MODELS.build(cfg.model), seed)
        paths.append(str(folder / f'{seed}.pth'))
        torch.save(dict(state_dict=model.state_dict(), meta={}), paths[-1])
    return str(CONFIGS[request.param]), *paths


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """A file, and a folder of two beside a text."""
    root = tmp_path_factory.mktemp('images')
    one = write_image(root / 'one.png', (60, 90), 0)
    write_image(root / 'more/b.png', (90, 60), 1)
    write_image(root / 'more/a.JPG', (60, 60), 2)
    (root / 'more/notes.txt').write_text('no image')
    return one, str(root / 'more')


def fna(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_columns_and_rows(models, images):
    """Input and answers, drawn on the whole image; equal weights answer alike, others do not."""
    config, first, second = models
    paths = find_images(images)
    assert [Path(path).name for path in paths] == ['one.png', 'a.JPG', 'b.png']
    named = [('A', config, first), ('same', config, first), ('B', config, second)]
    figure = comparison_figure(trained_models(named), score_threshold=0., paths=paths)
    assert [axes.get_title() for axes in figure.axes[:4]] == ['input', 'A', 'same', 'B']
    pictures = [axes.images[0].get_array().astype(int) for axes in figure.axes]
    assert len(pictures) == 3 * 4
    for path, (image, one, same, other) in zip(paths, zip(*[iter(pictures)] * 4)):
        assert np.array_equal(image, cv2.imread(path)[..., ::-1])
        assert np.array_equal(one, same)
        assert one.shape == other.shape
        assert one.shape[0] * image.shape[1] == one.shape[1] * image.shape[0]
        assert not np.array_equal(one, other)


def test_answers_are_those_of_mms_own_inference(models, images):
    config, first, _ = models
    (trained, ) = trained_models([('A', config, first)])
    (sample, ), metainfo = predict_images(trained, [images[0]])
    trained.config.test_dataloader.dataset.lazy_init = True  # mmdet's own looks there for colours
    if 'pred_sem_seg' in sample:
        from mmseg.apis import inference_model, init_model
        expected = inference_model(init_model(config, first, 'cpu'), images[0])
        assert torch.equal(sample.pred_sem_seg.data, expected.pred_sem_seg.data)
        assert sample.pred_sem_seg.shape == (60, 90)
        assert len(metainfo['classes']) == 11
    else:
        from mmdet.apis import inference_detector, init_detector
        expected = inference_detector(init_detector(trained.config, first, device='cpu'), images[0])
        assert len(expected.pred_instances) > 0
        assert torch.equal(sample.pred_instances.bboxes, expected.pred_instances.bboxes)
        assert metainfo['classes'] == ('circle', 'square', 'triangle')


@pytest.mark.parametrize('suffix', ['png', 'svg'])
def test_the_command(models, images, tmp_path, suffix):
    config, first, second = models
    out = tmp_path / f'x.{suffix}'
    assert fna('compare', config, first, config, second, *images, '--out', out).endswith(f'written: {out}\n')
    start = out.read_bytes()[:200]
    assert start.startswith(b'\x89PNG') if suffix == 'png' else b'<svg' in start + out.read_bytes()[200:2000]


def test_names():
    assert [name for name, *_ in name_models([('a/seed.py', 'x.pth'), ('b/child.py', 'y.pth')])] == ['seed', 'child']
    assert [name for name, *_ in name_models([('c.py', 'd/1.pth'), ('c.py', 'd/2.pth')])] == ['c, 1', 'c, 2']
    assert name_models([('c.py', 'd/1.pth'), ('c.py', 'e/1.pth')])[1] == ('c.py, e/1.pth', 'c.py', 'e/1.pth')


def test_a_checkpoint_of_another_model_is_refused(models, images, tmp_path):
    config, first, _ = models
    state = torch.load(first)['state_dict']
    name, tensor = next((key, value) for key, value in state.items() if value.dim() == 4)
    torch.save(dict(state, **{name: tensor[:1]}), tmp_path / 'other.pth')
    printed = fna('compare', config, first, config, tmp_path / 'other.pth', images[0], code=1)
    assert "other.pth' does not fit the config of" in printed
    assert name in printed
    state.pop(name)
    torch.save(state, tmp_path / 'less.pth')
    assert name in fna('compare', config, tmp_path / 'less.pth', config, first, images[0], code=1)


def test_bad_input(models, images, tmp_path):
    config, first, second = models
    pair = [config, first, config, second]
    assert 'none.jpg: there is no such image' in fna('compare', *pair, 'none.jpg', code=1)
    assert 'no image in the folder' in fna('compare', *pair, tmp_path, code=1)
    (tmp_path / 'broken.jpg').write_text('no picture')
    assert 'broken.jpg is no image that can be read' in fna('compare', *pair, tmp_path / 'broken.jpg', code=1)
    assert "expected .png, .jpg, .svg or .pdf" in fna('compare', *pair, *images, '--out', 'x.txt', code=1)
    assert 'none.pth' in fna('compare', config, 'none.pth', config, first, images[0], code=1)
    assert '51 images are too many' in fna('compare', *pair, *[images[0]] * 51, code=1)
    assert 'Usage:' in fna('compare', *pair[:3], code=2)
    assert 'give either --images or IMAGES' in fna('compare', *pair, *images, '--images', 3, code=2)
    (tmp_path / 'pose.py').write_text("default_scope = 'mmpose'\n")
    assert "default_scope='mmpose'" in fna('compare', '--model', 'A', tmp_path / 'pose.py', first, images[0], code=1)


def test_a_picture_is_never_written_over_an_input(models, images):
    config, first, second = models
    before = Path(images[0]).read_bytes(), Path(first).read_bytes()
    for out in (images[0], str(Path(images[1]) / 'b.png')):
        assert 'it is one of the inputs' in fna('compare', config, first, config, second, *images, '--out', out, code=1)
    assert (Path(images[0]).read_bytes(), Path(first).read_bytes()) == before


def test_titles_stay_above_their_pictures(models, images):
    config, first, second = models
    config, names = Config.fromfile(config), [f'{"/".join(["a long folder"] * 9)}/{end} $x_y$' for end in 'ab']
    figure = comparison_figure([TrainedModel(name, config, path) for name, path in zip(names, (first, second))],
                               paths=[images[0]])
    figure.draw_without_rendering()
    boxes = [axes.title.get_window_extent() for axes in figure.axes]
    assert all(left.x1 < right.x0 for left, right in zip(boxes, boxes[1:]))
    assert [axes.get_title()[-7:] for axes in figure.axes[1:]] == ['a $x_y$', 'b $x_y$']
