"""Every shipped config, and those that the README shows."""

import copy
import functools
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS, OPTIMIZERS, PARAM_SCHEDULERS, init_default_scope
from mmengine.runner import Runner
from mmengine.visualization import Visualizer

from fna_mm import Architecture, FNAChildNet, FNASuperNet
from fna_mm.adaptation.trained_model import section_as_child
from fna_mm.configs import child_config
from fna_mm.demo.shapes import draw_shapes
from fna_mm.sections import find_sections

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(path.relative_to(ROOT / 'configs') for path in (ROOT / 'configs').rglob('*.py')
                 if '_base_' not in path.parts)
IMAGENET = [path for path in CONFIGS if path.name.startswith('imagenet')]  # tests/test_imagenet.py
CONFIGS = [path for path in CONFIGS if path not in IMAGENET]
#: mm's own ResNets, and searches of them.
RESNETS = [path for path in CONFIGS if path.parts[0] == 'resnet']
CONFIGS = [path for path in CONFIGS if path not in RESNETS]
SEARCHES = [path for path in CONFIGS if 'search' in path.name]
ABLATED = [path for path in CONFIGS if path.name.startswith('table')]
#: They take an architecture that another command writes.
OF_A_SEARCH = [path for path in CONFIGS if path.parts[0] == 'comparison' and path.stem in ('found', 'random')]
OTHERS = [path for path in CONFIGS if path not in SEARCHES + ABLATED + OF_A_SEARCH]


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmdet')


@functools.cache
def read(path):
    return Config.fromfile(ROOT / 'configs' / path)


def load(path):
    """A config of one's own to change; the file is read once, for all tests."""
    cfg = copy.deepcopy(read(str(path)))
    init_default_scope(cfg.default_scope)
    return cfg


def is_segmentation(path):
    return 'deeplab' in str(path) or 'ablations' in path.parts and 'bccd' not in path.parts


def is_ssd(path):
    return 'ssdlite' in str(path)


def check_channels(model, cfg):
    """What comes behind the backbone takes what it gives."""
    channels = model.backbone.out_channels
    if 'neck' in cfg.model:
        assert tuple(cfg.model.neck.in_channels) == channels
        if cfg.model.bbox_head.type == 'SSDLiteHead':
            assert cfg.model.bbox_head.in_channels == cfg.model.neck.out_channels == (576, 1280, 512, 256, 256, 128)
        return
    head = cfg.model.decode_head
    assert head.in_channels == channels[head.in_index]
    assert head.get('c1_in_channels') in (None, channels[head.get('c1_index', 0)])


def build_model(cfg):
    """On the meta device: modules and shapes, no memory and no initialization."""
    with torch.device('meta'):
        return MODELS.build(copy.deepcopy(cfg.model))  # mmdet's detectors write into their section


def without_data(node):
    """A data set's section that is built without reading annotations, which are not here."""
    if node.type == 'RepeatDataset':  # it reads in any case
        node = node.dataset
    for section in [node, *(section for name in ('CocoDataset', 'CityscapesDataset', 'BaseSegDataset')
                            for section in find_sections(node, name))]:
        section.lazy_init = True
    return node


def test_there_are_configs():
    assert len(SEARCHES) >= 3
    assert len(OTHERS) >= 6


@pytest.mark.parametrize('path', CONFIGS + RESNETS, ids=str)
@pytest.mark.slow
def test_sections_build(path):
    cfg = load(path)
    assert cfg.default_scope == ('mmseg' if is_segmentation(path) else 'mmdet')
    head = cfg.model.decode_head if is_segmentation(path) else cfg.model.bbox_head
    assert cfg.custom_imports['imports'] == ['fna_mm', *(
        ['tools.ablation.fitted_remapping_hook'] if path.stem == FITTED else [])]
    for name in ('train', 'val', 'test'):
        dataset = DATASETS.build(without_data(cfg[f'{name}_dataloader'].dataset))
        assert len(dataset.metainfo['classes']) == head.num_classes
        if name != 'train':
            evaluator = cfg[f'{name}_evaluator']
            METRICS.build(dict(evaluator, ann_file=None) if 'ann_file' in evaluator else dict(evaluator))
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = OPTIMIZERS.build(dict(cfg.optim_wrapper.optimizer, params=[parameter]))
    for scheduler in cfg.param_scheduler:
        # The runner turns convert_to_iter_based into a schedule of its own.
        PARAM_SCHEDULERS.build(dict({key: value for key, value in scheduler.items() if key != 'convert_to_iter_based'},
                                    optimizer=optimizer))
    Visualizer.get_instance(f'test_configs {path}')  # the visualization hook wants one to be there
    for hook in list(cfg.default_hooks.values()) + list(cfg.get('custom_hooks') or []):
        HOOKS.build(dict(hook))


@pytest.mark.parametrize('path', OTHERS, ids=str)
@pytest.mark.slow
def test_plain_trainings(path):
    cfg = load(path)
    model = build_model(cfg)
    assert isinstance(model.backbone, FNAChildNet)
    published = 'fna_deeplabv3' if is_segmentation(path) else 'fna_ssdlite' if is_ssd(path) else 'fna_retinanet'
    name = 'mobilenet_v2' if 'mobilenet_v2' in path.name else published
    assert model.backbone.architecture == Architecture.create(name)
    check_channels(model, cfg)
    assert list(find_sections(cfg._cfg_dict, 'RandomSplit')) == []


@pytest.mark.parametrize('path', SEARCHES, ids=str)
@pytest.mark.slow
def test_searches(path):
    cfg = load(path)
    model = build_model(cfg)
    assert isinstance(model.backbone, FNASuperNet)
    check_channels(model, cfg)
    if 'demo' not in path.parts:  # which has fewer layers, for the sake of time
        # The paper's spaces: 21 and 25 layers, of which the first in each of 6 stages cannot be skipped; SSDLite's
        # tapped layer has the ratio 6 alone.
        expected = 25 * 7 - 6 if is_segmentation(path) else 21 * 7 - 6 - 3 * is_ssd(path)
        assert model.backbone.search_space.num_candidates == expected
    assert cfg.model_wrapper_cfg.type == 'FNADistributedDataParallel'
    (hook, ) = find_sections(cfg.custom_hooks, 'AlternatingOptimizerHook')
    assert 0 < hook.begin_epoch < cfg.train_cfg.max_epochs
    weights, arch = cfg.train_dataloader.dataset, hook.dataloader.dataset
    if weights.type == 'RepeatDataset':
        weights = weights.dataset
    assert (weights.type, weights.part, arch.type, arch.part) == ('RandomSplit', 'weights', 'RandomSplit', 'arch')
    transforms = [transform.type for transform in weights.dataset.pipeline + arch.dataset.pipeline]
    for part in (weights, arch):
        part.dataset.pop('pipeline')
    assert dict(weights, part='arch') == arch, 'both parts must be of the same data set, ratio and seed'
    assert not any('Flip' in name for name in transforms)  # as in the paper


@pytest.mark.parametrize('path', SEARCHES, ids=str)
@pytest.mark.slow
def test_a_searchs_child_is_trained_as_the_baseline(path):
    """By the config that the search names: the found architecture is all that differs."""
    search = load(path)
    (hook, ) = find_sections(search.custom_hooks, 'ArchitectureExportHook')
    retraining = Config.fromfile(hook.child_config)
    child = child_config(search, Architecture.create('fna_ssdlite'), 'x', retraining)
    assert build_model(child).backbone.architecture == Architecture.create('fna_ssdlite')
    if search.model.backbone.get('init_cfg'):
        assert child.model.backbone.init_cfg == search.model.backbone.init_cfg
    child.model.backbone.arch = retraining.model.backbone.arch
    for section in set(retraining) - {'work_dir', 'resume'}:
        assert child[section] == retraining[section]


# ResNets


def of_resnets(search):
    return [path for path in RESNETS if path.stem.endswith('_search') == search]


@pytest.mark.parametrize('path', of_resnets(False), ids=str)
@pytest.mark.slow
def test_mms_own_resnets_can_be_adapted(path):
    cfg = load(path)
    assert cfg.model.backbone.type in ('ResNet', 'ResNetV1c')
    section = section_as_child(cfg.model.backbone)
    with torch.device('meta'):
        child = MODELS.build(dict(section))
    depth = re.match(r'resnet(\d+)', path.stem)[1]
    assert child.architecture == Architecture.create(f'resnet{depth}{"_v1c" if is_segmentation(path) else ""}')
    model = build_model(cfg)
    if 'neck' in cfg.model:
        assert tuple(cfg.model.neck.in_channels) == child.out_channels
    else:
        assert [head.in_channels for head in (cfg.model.auxiliary_head, cfg.model.decode_head)] == [
            child.out_channels[2], child.out_channels[3]]
    assert sum(parameter.numel() for parameter in child.parameters()) == sum(
        parameter.numel() for parameter in model.backbone.parameters())


@pytest.mark.parametrize('path', of_resnets(True), ids=str)
@pytest.mark.slow
def test_searches_of_resnets(path):
    """The supernet has the maps of mm's own ResNet; the child takes its place in that config."""
    cfg = load(path)
    model = build_model(cfg)
    space = model.backbone.search_space
    assert space.architecture(space.choice(space.seed)) == space.seed
    (hook, ) = find_sections(cfg.custom_hooks, 'AlternatingOptimizerHook')
    assert hook.cost.budget == .7
    assert 0 < hook.begin_epoch < cfg.train_cfg.max_epochs
    weights, arch = cfg.train_dataloader.dataset, hook.dataloader.dataset
    assert dict(weights, part='arch') == arch
    (hook, ) = find_sections(cfg.custom_hooks, 'ArchitectureExportHook')
    plain = Config.fromfile(hook.child_config)
    assert Path(hook.child_config).stem == path.stem.removesuffix('_search')
    own = section_as_child(plain.model.backbone)
    assert (own['output_stride'], own.get('dilated', 'stage')) == (model.backbone.output_stride, model.backbone.dilated)
    child = child_config(cfg, space.seed, 'x', plain)
    assert build_model(child).backbone.out_channels == model.backbone.out_channels
    assert child.model.backbone.init_cfg == cfg.model.backbone.init_cfg
    assert cfg.input_shape == plain.input_shape


# Tables 5 and 6


FOLDERS = dict(cityscapes='ablations', camvid='ablations/camvid', bccd='ablations/bccd')
OWN = 'table5_expansion_remapped_adaptation_remapped'
#: The row of table 6 that the paper does not have.
FITTED = 'table6_fit'


def without(cfg, *keys):
    """The config's sections, without what two configs are allowed to differ in: dotted keys."""
    cfg = cfg.to_dict()
    for key in ('work_dir', *keys):
        *outer, last = key.split('.')
        section = cfg
        for word in outer:
            section = section[word]
        section.pop(last, None)
    return cfg


@pytest.mark.parametrize(('folder', 'count'), [('ablations', 11), ('ablations/camvid', 9), ('ablations/bccd', 10)])
def test_there_are_ablations(folder, count):
    assert len([path for path in ABLATED if str(path.parent) == folder]) == count
    assert len([path for path in SEARCHES if str(path.parent) == folder]) == 2


@pytest.mark.parametrize('path', [path for path in CONFIGS if 'ablations' in path.parts], ids=str)
@pytest.mark.slow
def test_an_ablation_lies_where_the_others_look_for_it(path):
    cfg, folder = load(path), Path('work_dirs') / path.parent
    assert cfg.work_dir == str(folder / path.stem)
    assert set(re.findall(r'{{\$(.*?)}}', (ROOT / 'configs' / path).read_text())) == {f'FNA_ABLATION_DIR:{folder}'}
    if path in ABLATED:
        expansion = 'random' if 'expansion_random' in path.name else 'remapped'
        assert cfg.model.backbone.arch == str(folder / f'search_{expansion}/arch.json')
        assert path.with_name(f'search_{expansion}.py') in SEARCHES


def test_the_environment_says_where_an_ablation_lies(monkeypatch):
    monkeypatch.setenv('FNA_ABLATION_DIR', '/some where/v1.2')
    cfg = Config.fromfile(ROOT / 'configs/ablations/table5_expansion_random_adaptation_imagenet.py')
    backbone = cfg.model.backbone
    assert (cfg.work_dir, backbone.arch, backbone.init_cfg.checkpoint) == tuple(f'/some where/v1.2/{name}' for name in (
        'table5_expansion_random_adaptation_imagenet', 'search_random/arch.json',
        'imagenet_pretrain_random/epoch_300.pth'))


@pytest.mark.parametrize('folder', FOLDERS.values(), ids=FOLDERS)
def test_searches_of_table_5_differ_in_their_start(folder):
    remapped, random = (load(f'{folder}/search_{start}.py') for start in ('remapped', 'random'))
    assert remapped.model.backbone.init_cfg.type == 'ParameterRemapping'
    assert random.model.backbone.init_cfg is None
    assert without(remapped, 'model.backbone.init_cfg') == without(random, 'model.backbone.init_cfg')


@pytest.mark.parametrize('path', ABLATED, ids=str)
def test_trainings_of_tables_5_and_6(path):
    """Each differs from FNA's own in what its name says, and in nothing else."""
    cfg, own = load(path), load(path.with_name(f'{OWN}.py'))
    assert cfg.model.backbone.type == 'FNAChildNet'
    allowed, init = ['model.backbone.arch', 'model.backbone.init_cfg'], cfg.model.backbone.init_cfg
    hooks = [hook.type for hook in cfg.custom_hooks]
    if path.stem.endswith('adaptation_random'):
        assert init is None
        assert hooks == []
        allowed.append('custom_hooks')
    elif path.stem.endswith('adaptation_imagenet'):
        expansion = path.stem.split('_')[2]
        assert init == dict(type='Pretrained', prefix='backbone.', checkpoint=str(
            Path('work_dirs/ablations') / f'imagenet_pretrain_{expansion}/epoch_300.pth'))
        assert path.with_name(f'imagenet_pretrain_{expansion}.py') in IMAGENET
    else:
        options = dict(width_bn=dict(width='bn'), width_std=dict(width='std'), width_l1=dict(width='l1'),
                       kernel_dilate=dict(kernel='dilate'))
        expected = options.get(path.stem.partition('_')[2], {})
        assert init == dict(own.model.backbone.init_cfg, **expected)
        assert bool(expected) == (path.stem.startswith('table6') and path.stem not in ('table6_fna', FITTED))
    if path.stem == FITTED:
        assert hooks == ['FittedRemappingHook', 'BNCalibrationHook']
        allowed += ['custom_hooks', 'custom_imports']
    elif hooks:
        assert hooks == ['BNCalibrationHook']
    assert without(cfg, *allowed) == without(own, *allowed)


def test_ablations_on_cityscapes_have_the_papers_settings():
    search, base = load('ablations/search_remapped.py'), load('fna_deeplabv3_search.py')
    assert without(search) == without(base)
    child, base = load(f'ablations/{OWN}.py'), load('fna_deeplabv3_retrain.py')
    assert without(child, 'model.backbone.arch') == without(base, 'model.backbone.arch')


@pytest.mark.parametrize('folder', FOLDERS.values(), ids=FOLDERS)
def test_a_random_start_needs_no_seed(folder):
    """And takes the architecture that its search wrote."""
    cfg = load(f'{folder}/table5_expansion_random_adaptation_random.py')
    cfg.model.backbone.arch = 'fna_ssdlite'
    model = MODELS.build(cfg.model)
    model.init_weights()
    weight = model.backbone.layer3[0].expand_conv.conv.weight
    # Kaiming's normal, fan-out: mmengine's defaults.
    assert float(weight.std()) == pytest.approx((2 / weight.shape[0])**.5, rel=.1)


@pytest.mark.parametrize(('one', 'other'), [
    ('fna_retinanet_retrain.py', 'mobilenet_v2_retinanet.py'),
    ('bccd/fna_retinanet_retrain.py', 'bccd/mobilenet_v2_retinanet.py'),
    ('fna_ssdlite_retrain.py', 'mobilenet_v2_ssdlite.py'),
    ('bccd/fna_ssdlite_retrain.py', 'bccd/mobilenet_v2_ssdlite.py'),
    ('fna_deeplabv3_retrain.py', 'mobilenet_v2_deeplabv3.py'),
    ('camvid/fna_deeplabv3_retrain.py', 'camvid/mobilenet_v2_deeplabv3.py'),
    ('camvid/fna_deeplabv3_retrain_full.py', 'camvid/mobilenet_v2_deeplabv3_full.py')])
@pytest.mark.slow
def test_a_baseline_differs_in_its_architecture_alone(one, other):
    child, baseline = load(one), load(other)
    assert baseline.model.backbone.arch == 'mobilenet_v2' != child.model.backbone.arch
    baseline.model.backbone.arch = child.model.backbone.arch
    assert baseline._cfg_dict == child._cfg_dict


@pytest.mark.parametrize('size', ['small', 'full'])
@pytest.mark.parametrize('case', ['camvid_deeplabv3', 'bccd_retinanet', 'bccd_ssdlite'])
@pytest.mark.slow
def test_comparisons_differ_in_their_architecture_alone(case, size, monkeypatch):
    monkeypatch.setenv('FNA_ABLATION_DIR', 'runs/seed_0')
    folder = ROOT / 'configs/comparison' / case / size
    trainings = {path.stem: Config.fromfile(path) for path in sorted(folder.glob('*.py'))}
    search = trainings.pop('search')
    architectures = {name: cfg.model.backbone.pop('arch') for name, cfg in trainings.items()}
    published = dict(camvid_deeplabv3='fna_deeplabv3', bccd_retinanet='fna_retinanet', bccd_ssdlite='fna_ssdlite')
    assert architectures == dict(mobilenet_v2='mobilenet_v2', published=published[case],
                                 found='runs/seed_0/search/arch.json', random='runs/seed_0/random_arch.json')
    baseline = trainings['mobilenet_v2']
    assert all(cfg._cfg_dict == baseline._cfg_dict for cfg in trainings.values())
    # The search sees the same images at the same size, and its child's config is that of the others.
    (hook, ) = find_sections(search.custom_hooks, 'ArchitectureExportHook')
    assert Path(hook.child_config).resolve() == folder / 'mobilenet_v2.py'
    assert search.input_shape == baseline.input_shape
    assert search.val_dataloader == baseline.val_dataloader
    assert search.model.backbone.init_cfg == baseline.model.backbone.init_cfg


def test_the_environment_names_files_and_no_bases():
    for path in sorted((ROOT / 'configs').rglob('*.py')):
        text = path.read_text()
        assert set(re.findall(r'{{\$(\w+)', text)) <= {
            'FNA_ABLATION_DIR', 'FNA_DEMO_CELLS', 'FNA_DEMO_DATA', 'FNA_DEMO_FOUND', 'FNA_DEMO_SEED'}
        bases = re.search(r'^_base_ = (\[.*?\]|.*?$)', text, re.DOTALL | re.MULTILINE)
        assert bases is None or '{{' not in bases[1]


def test_the_papers_settings():
    """shared/reference.md, hyperparameters of RetinaNet."""
    search, child = load('fna_retinanet_search.py'), load('fna_retinanet_retrain.py')
    (hook, ) = find_sections(search.custom_hooks, 'AlternatingOptimizerHook')
    assert (search.train_cfg.max_epochs, hook.begin_epoch, hook.weight_steps_per_arch_step) == (14, 8, 1)
    assert hook.cost == dict(type='MAddsCost', input_shape=(800, 1088), weight=.02, log_base=10, scale=5)
    assert hook.optim_wrapper.optimizer == dict(type='Adam', lr=3e-4, betas=(.5, .999), weight_decay=1e-3)
    assert hook.optim_wrapper.clip_grad.max_norm == 35
    assert search.train_dataloader.dataset.ratio == .5
    assert search.optim_wrapper.optimizer == dict(type='SGD', lr=.02, momentum=.9, weight_decay=1e-4)
    assert (child.optim_wrapper.optimizer.lr, child.optim_wrapper.optimizer.weight_decay) == (.05, 5e-5)
    assert [step.milestones for step in child.param_scheduler if 'milestones' in step] == [[8, 11]]
    assert child.train_cfg.max_epochs == 12


def test_the_papers_settings_for_ssdlite():
    """shared/reference.md, hyperparameters of SSDLite; batches and the repeated data set from the release."""
    search, child = load('fna_ssdlite_search.py'), load('fna_ssdlite_retrain.py')
    (hook, ) = find_sections(search.custom_hooks, 'AlternatingOptimizerHook')
    assert (search.train_cfg.max_epochs, hook.begin_epoch, hook.weight_steps_per_arch_step) == (24, 12, 5)
    assert hook.cost == dict(type='MAddsCost', input_shape=(320, 320), weight=.2, log_base=10, scale=10)
    assert hook.optim_wrapper.optimizer == dict(type='Adam', lr=3e-4, betas=(.5, .999), weight_decay=1e-3)
    rmsprop = dict(type='RMSprop', momentum=.9, eps=1., weight_decay=4e-5)
    assert search.optim_wrapper.optimizer == dict(rmsprop, lr=.03)
    assert child.optim_wrapper.optimizer == dict(rmsprop, lr=.2)
    for cfg, epochs, milestones in ((search, 24, [16, 22]), (child, 60, [36, 50, 56])):
        assert cfg.train_cfg.max_epochs == epochs
        warm_up, decay = cfg.param_scheduler
        assert (warm_up.end, warm_up.by_epoch, decay.milestones, decay.gamma) == (500, False, milestones, .1)
        assert cfg.train_dataloader.dataset.type == 'RepeatDataset'
        assert cfg.train_dataloader.dataset.times == 5
        names = [step.type for step in list(find_sections(cfg.train_dataloader, 'CocoDataset'))[0].pipeline]
        assert {'Expand', 'MinIoURandomCrop', 'PhotoMetricDistortion'} < set(names)
        for resize in find_sections([cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader], 'Resize'):
            assert (resize.scale, resize.keep_ratio) == ((320, 320), False)
    assert search.train_dataloader.dataset.dataset.ratio == .5
    # The published 4, 6, 6, 6, 4, 4 anchors a cell; 81 classes with mmdet's background.
    assert [1 + 1 + 2 * len(ratios) for ratios in child.model.bbox_head.anchor_generator.ratios] == [4, 6, 6, 6, 4, 4]
    assert (child.model.neck.use_depthwise, child.model.bbox_head.use_depthwise) == (True, True)
    assert child.model.bbox_head.num_classes == 80


def test_the_papers_settings_for_segmentation():
    """shared/reference.md, hyperparameters of DeepLabv3."""
    search, child = load('fna_deeplabv3_search.py'), load('fna_deeplabv3_retrain.py')
    (hook, ) = find_sections(search.custom_hooks, 'AlternatingOptimizerHook')
    assert (search.train_cfg.max_epochs, hook.begin_epoch, hook.get('weight_steps_per_arch_step', 1)) == (80, 30, 1)
    assert search.model.backbone.layers_per_stage == (4, 4, 6, 6, 4, 1)
    assert hook.cost == dict(type='MAddsCost', input_shape=(1024, 2048), weight=9e-3, log_base=45, scale=10)
    assert hook.optim_wrapper.optimizer == dict(type='Adam', lr=1e-3, betas=(.5, .999), weight_decay=4e-5)
    assert search.train_dataloader.dataset.ratio == .2
    assert search.train_dataloader.batch_size == hook.dataloader.batch_size == 16
    assert search.optim_wrapper.optimizer == dict(type='SGD', lr=.02, momentum=.9, weight_decay=5e-4)
    crops = [step.crop_size for step in find_sections(search.train_dataloader, 'RandomCrop')]
    assert crops == [(321, 321)]
    assert search.model.data_preprocessor.size == (321, 321)
    assert child.optim_wrapper.optimizer == dict(type='SGD', lr=.01, momentum=.9, weight_decay=5e-4)
    assert child.train_cfg.max_iters == child.param_scheduler[-1].end == 100_000
    (calibration, ) = find_sections(child.custom_hooks, 'BNCalibrationHook')
    assert calibration.num_iters == 2000
    (crop, ) = find_sections(child.train_dataloader, 'RandomCrop')
    assert crop.crop_size == child.model.data_preprocessor.size == (769, 769)
    (resize, ) = find_sections(child.train_dataloader, 'RandomChoiceResize')
    assert [width / 2048 for width, _ in resize.scales] == [.75, 1, 1.25, 1.5, 1.75, 2]
    (test_resize, ) = find_sections(child.test_dataloader, 'Resize')
    assert test_resize.scale == (2048, 1024)
    assert child.model.test_cfg.mode == 'whole'


def test_batches_of_one_aspect_ratio(tmp_path):
    """COCO's batch sampler asks the data set for its sizes, through RandomSplit."""
    draw_shapes(tmp_path / 'shapes', dict(train=8), size=(32, 64))
    dataloader = load('fna_retinanet_search.py').arch_dataloader
    dataloader.update(num_workers=0)
    dataloader.dataset.dataset.update(
        data_root=str(tmp_path / 'shapes'), ann_file='annotations/train.json', data_prefix=dict(img='images/train'),
        filter_cfg=None, metainfo=dict(classes=('circle', 'square', 'triangle')))
    built = Runner.build_dataloader(dataloader, seed=0)
    batches = list(built)
    assert isinstance(built.batch_sampler.sampler, DefaultSampler)
    assert [len(batch['inputs']) for batch in batches] == [2, 2]
    assert {tuple(image.shape) for batch in batches for image in batch['inputs']} == {(3, 667, 1333)}


@pytest.mark.parametrize('name', ['fna_retinanet_search.py', 'fna_retinanet_retrain.py', 'fna_ssdlite_search.py',
                                  'fna_ssdlite_retrain.py'])
def test_bccds_data(name, monkeypatch):
    root = ROOT / '../shared/data/bccd'
    if not (root / 'annotations/train.json').is_file():
        pytest.skip('the data set ../shared/data/bccd is not here')
    cfg = load(f'bccd/{name}')
    datasets = [cfg.train_dataloader.dataset, cfg.val_dataloader.dataset]
    datasets += [hook.dataloader.dataset for hook in find_sections(cfg.custom_hooks, 'AlternatingOptimizerHook')]
    ids = []
    for section in datasets:
        section.get('dataset', section).data_root = str(root)
        dataset = DATASETS.build(section)
        sample = dataset[0]
        assert sample['inputs'].shape == (3, 240, 320)
        assert len(sample['data_samples'].gt_instances.bboxes) > 0
        ids.append({dataset.get_data_info(index)['img_path'] for index in range(len(dataset))})
    assert not ids[0] & ids[1]
    if len(ids) == 3:
        assert not ids[0] & ids[2]
        assert abs(len(ids[0]) - len(ids[2])) <= 1


# The pages


def shown_configs(word):
    """The page's Python blocks that hold ``word``."""
    blocks = re.findall(r'```python\n(.*?)```', (ROOT / 'docs/own_config.md').read_text(), re.DOTALL)
    return [block for block in blocks if word in block]


def test_swapping_the_backbone_of_mmdets_retinanet(tmp_path, seed_state):
    """The page's config as it is, but for the checkpoint, which it takes from the internet."""
    (text, ) = shown_configs('mmdet::retinanet/retinanet_r50_fpn_1x_coco.py')
    torch.save(seed_state, tmp_path / 'seed.pth')
    path = tmp_path / 'mine.py'
    path.write_text(text.replace('open-mmlab://mmdet/mobilenet_v2', str(tmp_path / 'seed.pth')))
    cfg = Config.fromfile(path)
    assert cfg.model.backbone.init_cfg.checkpoint == str(tmp_path / 'seed.pth')
    model = MODELS.build(cfg.model)
    model.init_weights()
    remapped = model.backbone.layer2[0].expand_conv.conv.weight
    assert torch.equal(remapped, seed_state['layer2.0.expand_conv.conv.weight'])
    from mmdet.testing import demo_mm_inputs
    data = model.data_preprocessor(demo_mm_inputs(1, [(3, 64, 64)], num_classes=80), True)
    losses, variables = model.train().parse_losses(model(**data, mode='loss'))
    losses.backward()
    assert torch.isfinite(losses)
    assert {'loss_cls', 'loss_bbox'} <= set(variables)
    # The first stage that the FPN takes is the second one, as ResNet's config has it.
    for name in ('conv1', 'layer2', 'layer7'):
        gradients = [parameter.grad for parameter in getattr(model.backbone, name).parameters()]
        assert max(float(gradient.abs().max()) for gradient in gradients) > 0


def test_files_that_the_pages_name_exist():
    text = ''.join(page.read_text() for page in (*ROOT.glob('*.md'), *ROOT.glob('docs/*.md')))
    names = set(re.findall(r'(?:configs|fna_mm)/[\w/]+\.py', text))
    assert len(names) >= 4
    assert [name for name in sorted(names) if not (ROOT / name).is_file()] == []
