"""Which models are adapted, and what is refused before any work."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from mmdet.models import MobileNetV2 as DetectionMobileNetV2
from mmengine.config import Config
from mmseg.models import MobileNetV2 as SegmentationMobileNetV2
from toy_search import load
from toy_segmentation import TOY, write_config

from fna_mm import FNAChildNet
from fna_mm.adaptation import AdaptOptions, Limits, adapt
from fna_mm.adaptation.images import MeasuredImages, evaluation_pipeline
from fna_mm.adaptation.prices import Prices
from fna_mm.adaptation.trained_model import child_section, load_trained
from fna_mm.adaptation.work_folder import WorkFolder
from fna_mm.cli import main
from fna_mm.cost.budget import Budget

BACKBONE = f'''dict(type='FNAChildNet', arch="""{TOY}""", out_indices=(1, 2), output_stride=8, norm_cfg=norm_cfg)'''
LABELS = "    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='RandomFlip', prob=0.5),"
RATES = dict(statistics_images=12, score_images=8, tolerance=100.)


def whole_config(folder, name, backbone):
    """The config of the toy segmentor with another backbone."""
    cfg = Config.fromfile(str(write_config(folder)))
    cfg.model.backbone = backbone
    cfg.model.decode_head.update(in_channels=320, in_index=len(backbone['out_indices']) - 1)
    path = folder / f'{name}.py'
    cfg.dump(str(path))
    return str(path)


@pytest.mark.parametrize(('backbone', 'section', 'output_stride'), [
    (DetectionMobileNetV2, dict(out_indices=(1, 2, 4, 6)), 32),
    (DetectionMobileNetV2, dict(out_indices=(2, 7), widen_factor=.5), 32),
    (SegmentationMobileNetV2, dict(out_indices=(1, 6)), 32),
    (SegmentationMobileNetV2, dict(
        out_indices=(1, 2, 4, 6), strides=(1, 2, 2, 1, 1, 1, 1), dilations=(1, 1, 1, 2, 2, 4, 4)), 8),
])
def test_the_child_of_mms_mobilenet_v2_computes_the_same(backbone, section, output_stride, randomize):
    from fna_mm.adaptation.trained_model import _child_like
    net = randomize(backbone(**section))
    net.eval()  # mm's train() returns nothing
    made = child_section(dict(section, type='MobileNetV2'), net)
    assert made['output_stride'] == output_stride
    child = _child_like(net, made)  # compares the outputs itself; here once more on another image
    image = torch.randn(1, 3, 97, 64)
    with torch.no_grad():
        for one, other in zip(net(image), child(image)):
            assert torch.allclose(one, other, atol=1e-4)


def test_other_dilations_are_refused():
    section = dict(strides=(1, 2, 2, 1, 1, 1, 1), dilations=(1, 1, 1, 2, 2, 2, 2))
    with pytest.raises(ValueError, match=r'dilations=\(1, 1, 1, 2, 2, 2, 2\), which is no output stride'):
        child_section(section, SegmentationMobileNetV2(**section))


def test_mmsegs_mobilenet_v2_is_adapted(segmentor, tmp_path, randomize):
    """The whole flow, from mm's own backbone; a checkpoint in mmseg's layout."""
    from mmengine.registry import MODELS, init_default_scope
    folder = Path(segmentor[0]).parent
    path = whole_config(folder, 'mmseg_mobilenet', dict(type='MobileNetV2', out_indices=(2, 6)))
    cfg = Config.fromfile(path)
    init_default_scope('mmseg')
    model = randomize(MODELS.build(cfg.model))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'model.pth')
    child, = adapt(path, str(tmp_path / 'model.pth'), ('0.9', ), str(tmp_path / 'work'),
                   AdaptOptions(statistics_images=4, score_images=2, tolerance=10., limits=Limits(min_width=.7)))
    assert child.share <= .9
    made = Config.fromfile(str(Path(child.folder) / 'child_config.py'))
    assert made.model.backbone.type == 'FNAChildNet'
    assert made.model.backbone.arch.count('k3_c') > 0


def broken(segmentor, folder, change):
    """A changed copy of the trained checkpoint."""
    state = load(segmentor[1])['state_dict']
    change(state)
    torch.save(dict(state_dict=state), folder / 'changed.pth')
    return str(folder / 'changed.pth')


def fresh(state):
    for key in state:
        if key.startswith('backbone.') and 'running' in key:
            state[key] = torch.full_like(state[key], float('var' in key))


@pytest.mark.parametrize(('change', 'message'), [
    (lambda state: state.pop('decode_head.conv_seg.bias'), r'does not fit .*: it lacks: decode_head\.conv_seg\.bias'),
    (lambda state: state.update(more=torch.zeros(1)), 'it has besides: more'),
    (lambda state: state.update({'backbone.conv1.conv.weight': torch.zeros(4, 3, 3, 3)}),
     r'other shapes: backbone\.conv1\.conv\.weight \(4, 3, 3, 3\) instead of \(8, 3, 3, 3\)'),
    (lambda state: state['backbone.conv1.conv.weight'].fill_(float('nan')), r'NaN or infinity in backbone\.conv1'),
    (fresh, 'was never trained'),
    (lambda state: state.clear(), 'holds no weights'),
])
def test_wrong_checkpoints(segmentor, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        adapt(segmentor[0], broken(segmentor, tmp_path, change), work_dir=str(tmp_path / 'work'))
    assert not (tmp_path / 'work').exists()


def test_weights_of_an_ema_hook_are_those_that_mm_evaluates(segmentor, tmp_path):
    """mmengine's EMAHook stores the averaged weights as the state dict, and the others beside them."""
    saved = load(segmentor[1])
    other = {f'module.{key}': value + 1 for key, value in saved['state_dict'].items()}
    torch.save(dict(state_dict=saved['state_dict'], ema_state_dict=other), tmp_path / 'ema.pth')
    trained = load_trained(segmentor[0], str(tmp_path / 'ema.pth'))
    for key, value in trained.model.state_dict().items():
        assert torch.equal(value, saved['state_dict'][key])


@pytest.mark.parametrize(('replaced', 'message'), [
    (dict(resnet=(BACKBONE, "dict(type='ResNeXt', depth=50)")),
     'the backbone of .* is ResNeXt: adapt works on MobileNetV2, ResNet, ResNetV1c of mmdet'),
    (dict(search=(BACKBONE, "dict(type='FNASuperNet')")), 'config of a search: adapt takes a trained model'),
    (dict(empty=("img_path='images'", "img_path='none'")), 'no images'),
    (dict(unlabelled=(LABELS, "    dict(type='LoadImageFromFile'),")), 'no LoadAnnotations for the labels'),
    (dict(loaderless=('train_dataloader = dict(', 'other_dataloader = dict(')), 'the config needs train_dataloader'),
])
def test_wrong_configs(segmentor, tmp_path, replaced, message):
    folder = Path(segmentor[0]).parent
    (folder / 'none').mkdir(exist_ok=True)
    path = write_config(folder, **replaced)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        adapt(str(path), segmentor[1], work_dir=str(tmp_path / 'work'))
    assert not (tmp_path / 'work').exists()


@pytest.mark.parametrize(('budget', 'message'), [
    (0, 'budget=0 must be a share above 0'),
    (-1, 'budget=-1 must be a share above 0'),
    (float('nan'), 'budget=nan must be a share above 0'),
    (101, 'budget=101 must be a share above 0 and not above 100'),
    ('half', "budget='half' must be a share"),
    ('0M', 'budget must be a positive number'),
    (.01, r'budget=0.01 of the backbone cannot be reached: the smallest child costs [\d,.e+]+ MAdds, 0\.\d+ of the'),
    ('1k', r'budget=1k of the backbone cannot be reached'),
])
def test_wrong_budgets(segmentor, tmp_path, budget, message):
    with pytest.raises(ValueError, match=message):
        adapt(*segmentor, (.5, budget), str(tmp_path / 'work'), AdaptOptions(**RATES))
    assert not (tmp_path / 'work').exists()


@pytest.mark.parametrize(('text', 'of', 'expected'), [
    ('0.5', 'backbone', 50), ('0.5', 'model', 25), ('80', 'backbone', None), ('0.08k', 'backbone', 80),
    ('0.08K', 'model', 30)])
def test_budgets_of_a_backbone(text, of, expected):
    if expected is None:
        with pytest.raises(ValueError, match='with K, M or G'):
            Budget.parse(text)
    else:
        assert Budget.parse(text).of_backbone(100, 50, of) == pytest.approx(expected)


@pytest.mark.parametrize(('values', 'message'), [
    (dict(of='head'), r"of='head' must be one of \['backbone', 'model'\]"),
    (dict(cost='flops'), r"cost='flops' must be one of \['madds', 'params', 'latency'\]"),
    (dict(statistics_images=0), 'statistics_images must be an integer of at least 2, not 0'),
    (dict(tolerance=-1), 'tolerance must be a positive number'),
    (dict(shape=(0, 5)), 'shape must be'),
])
def test_wrong_options(values, message):
    with pytest.raises(ValueError, match=message):
        AdaptOptions(**values)


@pytest.mark.parametrize(('values', 'message'), [
    (dict(min_width=2), 'min_width is a share'), (dict(min_depth=0), 'min_depth must be a positive integer')])
def test_wrong_limits(values, message):
    with pytest.raises(ValueError, match=message):
        Limits(**values)


def test_too_many_images_for_statistics(segmentor, tmp_path):
    with pytest.raises(ValueError, match='statistics_images=23 leaves no images for scores: .* 24, give at most 22'):
        adapt(*segmentor, work_dir=str(tmp_path / 'work'), options=AdaptOptions(statistics_images=23))


@pytest.mark.parametrize('left', [
    '.fna_mm.lock', '.fna_mm.holder', '.fna_mm.holder.99999999.tmp', f'adaptation.json.{10**30}.tmp'])
def test_a_run_that_was_killed_while_it_began_goes_on(tmp_path, left):
    (tmp_path / left).write_text('')
    WorkFolder(str(tmp_path), dict(a=1))
    assert (tmp_path / 'adaptation.json').exists()
    assert not list(tmp_path.glob('*.tmp'))


def test_a_work_directory_of_something_else(segmentor, tmp_path):
    (tmp_path / 'notes.txt').write_text('mine')
    with pytest.raises(ValueError, match='holds files, but no adaptation'):
        adapt(*segmentor, work_dir=str(tmp_path), options=AdaptOptions(**RATES))
    with pytest.raises(ValueError, match='is a file'):
        adapt(*segmentor, work_dir=str(tmp_path / 'notes.txt'), options=AdaptOptions(**RATES))
    (tmp_path / 'notes.txt').unlink()
    (tmp_path / 'adaptation.json').write_text(json.dumps(dict(config='other.py')))
    with pytest.raises(ValueError, match=r"holds another adaptation \(config: 'other.py' there, 'toy.py' here"):
        adapt(*segmentor, work_dir=str(tmp_path), options=AdaptOptions(**RATES))


def test_the_pipeline_of_evaluation_with_labels_that_follow_the_image():
    train = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True), dict(type='Mosaic')]
    test = [dict(type='mmdet.LoadImageFromFile'), dict(type='Resize'), dict(type='LoadAnnotations'), dict(type='Pack')]
    assert [transform['type'] for transform in evaluation_pipeline(test, train)] == [
        'mmdet.LoadImageFromFile', 'LoadAnnotations', 'Resize', 'Pack']
    assert evaluation_pipeline(test, train)[1] == dict(type='LoadAnnotations', with_bbox=True)


def test_wrapped_data_sets_count_every_image_once(segmentor):
    cfg = Config.fromfile(segmentor[0])
    plain = MeasuredImages(cfg)
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset', times=5, dataset=dict(type='ConcatDataset', datasets=[inner, inner]))
    wrapped = MeasuredImages(cfg)
    assert (len(plain), len(wrapped)) == (24, 48)
    one, other = MeasuredImages(cfg, seed=1)[0], MeasuredImages(cfg, seed=1)[0]
    assert torch.equal(one['inputs'][0], other['inputs'][0])
    assert sorted(plain.order) == list(range(24))


def test_a_tapped_block_keeps_its_width_and_a_limited_stage_its_depth(toy):
    from fna_mm.adaptation.candidates import LEFT_OUT, candidates_of
    from fna_mm.adaptation.chain import Chain
    chain = Chain(FNAChildNet(toy, ('expand2', 2), 8), (32, 32))
    found = candidates_of(chain, Prices('madds'), Limits(min_width=.5, min_depth=2))
    widths = [[candidate.width for candidate in block] for block in found]
    # One block without expansion; two of 24 and 36; a tapped one of 36, and two of 48.
    assert widths == [[8], [24, 16], [36, 32, 24], [36], [48, 40, 32, 24, LEFT_OUT], [48, 40, 32, 24, LEFT_OUT]]
    for block in found:
        assert [candidate.cost for candidate in block] == sorted((c.cost for c in block), reverse=True)


def test_the_command(segmentor, tmp_path):
    call = ['adapt', *segmentor, '--budget', '0.6', '--work-dir', str(tmp_path / 'work'), '--statistics-images', '12',
            '--score-images', '8', '--tolerance', '100', '--evaluate']
    done = CliRunner().invoke(main, call)
    assert done.exit_code == 0, done.output
    assert 'of the model; loss' in done.output
    assert 'mIoU' in done.output
    values = json.loads((tmp_path / 'work/front.json').read_text())
    assert values['trained']['metrics']['mIoU'] > 60
    assert values['children'][0]['metrics']['mIoU'] > 50
    wrong = CliRunner().invoke(main, ['adapt', *segmentor, '--budget', '-1'])
    assert wrong.exit_code == 1
    assert 'Error: budget=' in wrong.output
