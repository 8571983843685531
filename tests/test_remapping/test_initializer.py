import copy
import itertools
import logging
import os
import pickle
import zipfile
from pathlib import Path

import mmdet.registry
import mmseg.registry
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.registry import HOOKS, WEIGHT_INITIALIZERS, init_default_scope
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from fna_mm import Architecture, FNAChildNet, FNASuperNet, ParameterRemapping, ParameterRemappingHook
from fna_mm.remapping.parameter_remapping import remap_parameters
from fna_mm.remapping.seed_checkpoint import read_seed

_NAMES = itertools.count()
#: A child of the toy seed with layers that are added, left out, narrowed and have larger kernels.
CHILD = "[[8, 4], ['k5_e1'], 1]|[[4, 6], ['k3_e6'], 2]|[[6, 8], ['k7_e3', 'k3_e6', 'k5_e6', 'k3_e2'], 2]"


def child(**kwargs):
    return FNAChildNet(CHILD, (0, 2), 8, **kwargs)


@pytest.fixture(scope='session')
def expected(toy_seed):
    """What remapping makes of the toy seed."""
    return remap_parameters(read_seed(toy_seed), child().state_dict())[0]


def assert_state(module, expected):
    state = module.state_dict()
    assert set(state) == set(expected)
    for key, value in expected.items():
        assert torch.equal(state[key], value), key


@pytest.fixture
def log():
    """The lines of mm's current logger."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.extend(record.getMessage().splitlines())
    # The last test's runner may have left a logger that is quiet.
    logger = MMLogger.get_instance(f'remapping_{next(_NAMES)}', logger_name='mmengine', log_level='INFO')
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def saved(state, path, **kwargs):
    torch.save(state, path, **kwargs)
    return str(path)


# The initializer


def test_remaps_in_place(toy_checkpoint, expected):
    net = child()
    parameters = {name: id(parameter) for name, parameter in net.named_parameters()}
    ParameterRemapping(toy_checkpoint)(net)
    assert_state(net, expected)
    assert {name: id(parameter) for name, parameter in net.named_parameters()} == parameters
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_path_object(toy_checkpoint, expected):
    net = child()
    ParameterRemapping(Path(toy_checkpoint))(net)
    assert_state(net, expected)


def test_table_is_logged(toy_checkpoint, log):
    ParameterRemapping(toy_checkpoint)(child())
    log = log[next(i for i, line in enumerate(log) if 'ParameterRemapping' in line):]
    assert log[0] == f'ParameterRemapping onto FNAChildNet from {toy_checkpoint} (mmdet layout, width=first, ' \
                     'kernel=center):'
    assert log[1].split() == ['layer', 'seed', 'tensors', 'remapped']
    table = {line.split()[0]: line for line in log[2:]}
    assert list(table) == ['conv1', 'layer1.0', 'layer2.0', 'layer3.0', 'layer3.1', 'layer3.2', 'layer3.3', '-']
    assert 'layer3.2' in table['layer3.3']
    assert 'width 48 → 16' in table['layer3.3']
    assert 'kernel 3 → 7' in table['layer3.0']


def test_report_is_returned(toy_checkpoint):
    report = ParameterRemapping(toy_checkpoint)(child())
    assert report.problems() == ()
    assert {row.target for row in report.rows} == set(child().state_dict())


def test_mmdets_own_mobilenet_v2_can_be_remapped_too(seed_layouts, tmp_path):
    net = mmdet.registry.MODELS.build(dict(type='mmdet.MobileNetV2', out_indices=(7, )))
    ParameterRemapping(saved(seed_layouts['torchvision'], tmp_path / 'seed.pth'))(net)
    assert_state(net, seed_layouts['mmdet'])


@pytest.mark.parametrize('kind', ['initializer', 'hook'])
def test_registered(kind, toy_checkpoint):
    if kind == 'initializer':
        built = WEIGHT_INITIALIZERS.build(dict(type='ParameterRemapping', checkpoint=toy_checkpoint, strict=False))
        assert type(built) is ParameterRemapping
        assert (built.checkpoint, built.width, built.kernel, built.strict) == (toy_checkpoint, 'first', 'center', False)
    else:
        assert type(HOOKS.build(dict(type='ParameterRemappingHook', checkpoint='x.pth'))) is ParameterRemappingHook


@pytest.mark.parametrize(('arguments', 'message'), [
    (dict(width='widest'), "width='widest' is no remapping method: choose one of"),
    (dict(kernel='corner'), "kernel='corner' is no remapping method: choose one of"),
    (dict(checkpoint=''), "checkpoint must be a path or URL of a checkpoint of the seed, not ''"),
    (dict(checkpoint=None), 'checkpoint must be a path or URL of a checkpoint of the seed, not None'),
    (dict(checkpoint=7), 'checkpoint must be a path or URL of a checkpoint of the seed, not 7'),
])
@pytest.mark.parametrize('kind', [ParameterRemapping, ParameterRemappingHook])
def test_illegal_arguments(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(**dict(dict(checkpoint='seed.pth'), **arguments))


# Strictness


def test_strict_names_what_does_not_fit_and_changes_nothing(toy_checkpoint):
    net = FNAChildNet(CHILD.replace('k3_e6', 'k3_e7'), (0, 2), 8)
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match=r'does not fit FNAChildNet \(strict=False would leave') as caught:
        ParameterRemapping(toy_checkpoint)(net)
    assert toy_checkpoint in str(caught.value)
    lines = str(caught.value).splitlines()[1:]
    assert lines[0].strip() == (
        "layer2.0.expand_conv.conv.weight: layer2.0.expand_conv.conv.weight does not fit: 28 channels cannot be taken "
        "from the seed's 24: remapping narrows layers, it does not widen them")
    # Ten lines and a count, not a screenful: 2 layers, 2 convolutions with 4 BN tensors each and the projection.
    assert len(lines) == 11
    assert lines[-1].strip() == '… and 12 more'
    assert_state(net, before)


def test_not_strict_remaps_the_rest(toy_checkpoint, expected, log):
    net = FNAChildNet(CHILD.replace('k3_e6', 'k3_e7'), (0, 2), 8)
    before = copy.deepcopy(net.state_dict())
    report = ParameterRemapping(toy_checkpoint, strict=False)(net)
    left = {row.target for row in report.rows if row.source is None}
    assert len(report.problems()) == len(left) == 22
    assert {key.rsplit('.', 3)[0] for key in left} == {'layer2.0', 'layer3.1'}
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key] if key in left else expected[key]), key
    assert any(line.startswith('layer2.0') and 'does not fit' in line for line in log)


def test_strict_refuses_an_unknown_tensor(toy_seed, tmp_path, expected):
    path = saved(dict(toy_seed, extra=torch.zeros(1)), tmp_path / 'seed.pth')
    with pytest.raises(ValueError, match='extra: unknown in the mmdet layout'):
        ParameterRemapping(path)(child())
    net = child()
    ParameterRemapping(path, strict=False)(net)
    assert_state(net, expected)


@pytest.mark.parametrize('strict', [True, False])
def test_a_module_of_other_names_is_refused(toy_checkpoint, strict):
    with pytest.raises(ValueError, match='no tensor of Linear has a name that remapping knows'):
        ParameterRemapping(toy_checkpoint, strict=strict)(torch.nn.Linear(2, 2))


# Checkpoints that cannot be used


@pytest.mark.parametrize('strict', [True, False])
def test_missing_file(tmp_path, strict):
    remapping = ParameterRemapping(str(tmp_path / 'nowhere.pth'), strict=strict)
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth.*there is no such file'):
        remapping(child())


def write_text(path):
    path.write_text('backbone: MobileNetV2\n', encoding='utf-8')


def write_zip(path):
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('readme.txt', 'no tensors here')


FILES = {
    'empty': lambda path: path.write_bytes(b''),
    'text': write_text,
    'picture': lambda path: path.write_bytes(b'\x89PNG\r\n\x1a\n' + bytes(range(256)) * 8),
    'zip': write_zip,
    'number': lambda path: torch.save(3, path),
    'list': lambda path: torch.save([torch.zeros(2)], path),
    'nothing': lambda path: torch.save({}, path),
    'optimizer': lambda path: torch.save(dict(optimizer=dict(state={}, lr=.1)), path),
    'pickle': lambda path: path.write_bytes(pickle.dumps(dict(a=1))),
    'protocol': lambda path: path.write_bytes(pickle.dumps(dict(a=1), protocol=5)),
    'another_network': lambda path: torch.save(
        mmdet.registry.MODELS.build(dict(type='mmdet.ResNet', depth=18)).state_dict(), path),
}


@pytest.mark.parametrize('strict', [True, False])
@pytest.mark.parametrize('kind', sorted(FILES))
def test_no_checkpoint(tmp_path, kind, strict):
    path = tmp_path / 'seed.pth'
    FILES[kind](path)
    net = child()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match=r'checkpoint=.*seed\.pth'):
        ParameterRemapping(str(path), strict=strict)(net)
    assert_state(net, before)


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('share', [.01, .3, .7, .95, .9999])
def test_truncated_file(toy_seed, tmp_path, share, zipped):
    whole = Path(saved(toy_seed, tmp_path / 'whole.pth', _use_new_zipfile_serialization=zipped)).read_bytes()
    path = tmp_path / 'cut.pth'
    path.write_bytes(whole[:int(len(whole) * share)])
    net = child()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match=r'cut\.pth.* is no readable checkpoint: it is truncated or damaged'):
        ParameterRemapping(str(path))(net)
    assert_state(net, before)


@pytest.mark.parametrize('zipped', [True, False])
def test_both_file_formats(toy_seed, tmp_path, zipped, expected):
    net = child()
    ParameterRemapping(saved(toy_seed, tmp_path / 'x.pth', _use_new_zipfile_serialization=zipped))(net)
    assert_state(net, expected)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path), )


@pytest.mark.parametrize('zipped', [True, False])
def test_code_in_a_checkpoint_is_not_executed(toy_seed, tmp_path, zipped):
    marker = tmp_path / 'exploded'
    path = saved(dict(state_dict=toy_seed, meta=Bomb(marker)), tmp_path / 'bomb.pth',
                 _use_new_zipfile_serialization=zipped)
    net = child()
    before = copy.deepcopy(net.state_dict())
    message = r'it holds more than tensors: opening it would run code, \w+\.mkdir\. That was refused, nothing'
    with pytest.raises(ValueError, match=message):
        ParameterRemapping(path, strict=False)(net)
    assert_state(net, before)
    assert not marker.exists()
    torch.load(path, weights_only=False)  # the bomb is a real one
    assert marker.exists()


# Inside mm's models


def detector(checkpoint, **backbone):
    return dict(
        type='RetinaNet',
        backbone=dict(dict(type='FNAChildNet', arch='fna_retinanet', out_indices=(4, 6), init_cfg=dict(
            type='ParameterRemapping', checkpoint=checkpoint)), **backbone),
        neck=dict(type='FPN', in_channels=[96, 320], out_channels=8, num_outs=2),
        bbox_head=dict(
            type='RetinaHead', num_classes=2, in_channels=8, feat_channels=8, stacked_convs=1,
            anchor_generator=dict(type='AnchorGenerator', octave_base_scale=4, scales_per_octave=1, ratios=[1.],
                                  strides=[16, 32]),
            bbox_coder=dict(type='DeltaXYWHBBoxCoder')))


def segmentor(checkpoint, **backbone):
    return dict(
        type='EncoderDecoder',
        backbone=dict(detector(checkpoint)['backbone'], **backbone),
        decode_head=dict(type='FCNHead', in_channels=320, in_index=1, channels=8, num_classes=2, num_convs=1))


@pytest.fixture(scope='session')
def seed_checkpoint(seed_layouts, tmp_path_factory):
    return saved(seed_layouts['torchvision'], tmp_path_factory.mktemp('seed') / 'mobilenet_v2.pth')


@pytest.mark.parametrize('norm_type', ['BN', 'SyncBN'])
@pytest.mark.parametrize(('registry', 'config'), [
    (mmdet.registry.MODELS, detector), (mmseg.registry.MODELS, segmentor)], ids=['mmdet', 'mmseg'])
def test_remapped_weights_survive_the_models_initialization(seed_checkpoint, seed_state, registry, config, norm_type):
    """ConvModules that initialize themselves, after the initializer of the module they are in, must not win."""
    init_default_scope(registry.scope)
    cfg = config(seed_checkpoint, norm_cfg=dict(type=norm_type))
    before = copy.deepcopy(cfg['backbone'])
    model = registry.build(cfg)
    model.init_weights()
    expected, _ = remap_parameters(read_seed(seed_state), model.backbone.state_dict())
    assert_state(model.backbone, expected)
    assert cfg['backbone'] == before


def test_other_initializers_run_before(toy_checkpoint, expected):
    net = child(init_cfg=[dict(type='ParameterRemapping', checkpoint=toy_checkpoint),
                          dict(type='Constant', layer=['Conv2d', '_BatchNorm'], val=7.)])
    net.init_weights()
    assert_state(net, expected)
    assert [cfg['type'] for cfg in net.init_cfg] == ['ParameterRemapping', 'Constant']


def test_not_strict_leaves_a_fresh_initialization(toy_checkpoint):
    net = FNAChildNet(CHILD.replace('k3_e6', 'k3_e7'), (0, 2), 8, init_cfg=dict(
        type='ParameterRemapping', checkpoint=toy_checkpoint, strict=False))
    with torch.no_grad():
        net.layer2[0].expand_conv.bn.weight.fill_(9)
    net.init_weights()
    assert (net.layer2[0].expand_conv.bn.weight == 1).all()


def test_supernet_in_a_detector(seed_checkpoint, seed_state):
    init_default_scope('mmdet')
    cfg = detector(seed_checkpoint, type='FNASuperNet', layers_per_stage=(1, 2, 1, 1, 1, 1))
    cfg['backbone'].pop('arch')
    model = mmdet.registry.MODELS.build(cfg)
    before = model.backbone.architecture_parameters.clone()
    model.init_weights()
    assert isinstance(model.backbone, FNASuperNet)
    expected, _ = remap_parameters(read_seed(seed_state), model.backbone.state_dict())
    assert_state(model.backbone, dict(expected, architecture_parameters=before))


# Through the Runner


class Toy(BaseModel):
    """A backbone and nothing else."""

    def __init__(self, **backbone):
        super().__init__()
        self.backbone = child(**backbone)

    def forward(self, images, mode='tensor'):
        outs = self.backbone(images)
        return dict(loss=sum(out.square().mean() for out in outs)) if mode == 'loss' else outs


def run(work_dir, model, max_iters=1, **kwargs):
    """Train with a learning rate of 0: no weight changes."""
    images = [dict(images=torch.rand(3, 16, 16)) for _ in range(2)]
    runner = Runner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=DataLoader(images, batch_size=2),
        train_cfg=dict(by_epoch=False, max_iters=max_iters),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=False)),
        default_scope='mmengine',
        experiment_name=f'{work_dir.parent.name}_{work_dir.name}',
        **kwargs)
    runner.train()
    assert runner.iter == max_iters
    return runner


@pytest.mark.parametrize('how', ['init_cfg', 'hook'])
def test_runner_trains_from_remapped_weights(toy_checkpoint, expected, tmp_path, how):
    remapping = dict(checkpoint=toy_checkpoint)
    if how == 'init_cfg':
        model, hooks = Toy(norm_eval=True, init_cfg=dict(type='ParameterRemapping', **remapping)), []
    else:
        model, hooks = Toy(norm_eval=True), [dict(type='ParameterRemappingHook', **remapping)]
    run(tmp_path / how, model, custom_hooks=hooks)
    assert_state(model.backbone, expected)
    logs = list((tmp_path / how).rglob('*.log'))
    assert len(logs) == 1
    assert 'ParameterRemapping onto FNAChildNet' in logs[0].read_text(encoding='utf-8')


def different(toy_checkpoint, tmp_path):
    """A checkpoint of mm whose weights are not the remapped ones."""
    torch.manual_seed(1)
    model = Toy(norm_eval=True)
    run(tmp_path / 'first', model)
    return model, str(tmp_path / 'first' / 'iter_1.pth')


@pytest.mark.parametrize('how', ['load_from', 'resume'])
@pytest.mark.parametrize('remapping', ['hook', 'init_cfg'])
def test_a_checkpoint_of_its_own_stands(toy_checkpoint, tmp_path, how, remapping, expected):
    first, path = different(toy_checkpoint, tmp_path)
    init_cfg = dict(type='ParameterRemapping', checkpoint=toy_checkpoint)
    model = Toy(norm_eval=True, **(dict(init_cfg=init_cfg) if remapping == 'init_cfg' else {}))
    hooks = [dict(init_cfg, type='ParameterRemappingHook')] if remapping == 'hook' else []
    run(tmp_path / 'second', model, max_iters=2, custom_hooks=hooks, load_from=path, resume=how == 'resume')
    assert_state(model.backbone, first.backbone.state_dict())
    assert not torch.equal(model.backbone.layer2[0].expand_conv.conv.weight,
                           expected['layer2.0.expand_conv.conv.weight'])


def test_hook_remaps_a_model_without_a_backbone(toy_checkpoint, expected, tmp_path):

    class Bare(BaseModel):

        def __init__(self):
            super().__init__()
            for name, module in child(norm_eval=True).named_children():
                self.add_module(name, module)

        def train(self, mode=True):
            return super().train(False)

        def forward(self, images, mode='tensor'):
            return dict(loss=self.conv1(images).mean())

    model = Bare()
    run(tmp_path / 'bare', model, custom_hooks=[dict(type='ParameterRemappingHook', checkpoint=toy_checkpoint)])
    assert_state(model, expected)


def test_hook_stops_the_run_when_the_seed_does_not_fit(tmp_path):
    hooks = [dict(type='ParameterRemappingHook', checkpoint=str(tmp_path / 'nowhere.pth'))]
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth'):
        run(tmp_path / 'stopped', Toy(), custom_hooks=hooks)


def test_in_a_config_file(toy_checkpoint, tmp_path, expected):
    """What a config may hold survives mm's own reading and writing of it."""
    path = tmp_path / 'config.py'
    Config(dict(backbone=dict(
        type='FNAChildNet', arch=CHILD, out_indices=(0, 2), output_stride=8,
        init_cfg=dict(type='ParameterRemapping', checkpoint=toy_checkpoint)))).dump(str(path))
    from mmengine.registry import MODELS
    net = MODELS.build(Config.fromfile(str(path)).backbone)
    assert net.architecture == Architecture.parse(CHILD)
    net.init_weights()
    assert_state(net, expected)


# Other widths


@pytest.mark.parametrize('layout', ['mmdet', 'mmseg', 'torchvision'])
@pytest.mark.parametrize('widen_factor', [.5, .75, 1.4])
def test_a_seed_of_another_width(tmp_path, randomize, in_layout, widen_factor, layout):
    """Onto a child of that width; onto one of width 1 it is an error that names the first layer that does not fit."""
    seed = randomize(FNAChildNet('mobilenet_v2', (7, ), widen_factor=widen_factor), 4).eval()
    torch.save(in_layout(seed.state_dict(), layout), tmp_path / 'seed.pth')
    remapping = ParameterRemapping(str(tmp_path / 'seed.pth'))
    child = FNAChildNet('mobilenet_v2', (7, ), widen_factor=widen_factor).eval()
    remapping(child)
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(child(image)[0], seed(image)[0])
    deeper = FNAChildNet('fna_ssdlite', (7, ), widen_factor=widen_factor)
    assert remapping(deeper).problems() == ()
    other = FNAChildNet('mobilenet_v2', (7, ))
    before = {key: value.clone() for key, value in other.state_dict().items()}
    with pytest.raises(ValueError, match=r'does not fit FNAChildNet .*\n  conv1.conv.weight: .* does not fit: shape'):
        remapping(other)
    assert all(torch.equal(value, before[key]) for key, value in other.state_dict().items())


@pytest.mark.parametrize('norm_cfg', [dict(type='GN', num_groups=2), dict(type='IN', affine=True)])
def test_scale_and_shift_go_to_another_normalisation(toy, toy_checkpoint, toy_seed, norm_cfg):
    """Every tensor of the network has a source, and the table says which kind of normalisation it came from."""
    net = FNAChildNet(toy, (3, ), toy.total_stride, head_channels=10, norm_cfg=norm_cfg)
    name = norm_cfg['type'].lower()
    report = ParameterRemapping(toy_checkpoint)(net)
    assert {row.target for row in report.rows if row.source} == set(net.state_dict())
    assert f'copied from BN to {name.upper()}' in report.table()
    state = net.state_dict()
    assert torch.equal(state[f'layer2.1.expand_conv.{name}.weight'], toy_seed['layer2.1.expand_conv.bn.weight'])
    assert torch.equal(state[f'conv1.{name}.bias'], toy_seed['conv1.bn.bias'])


def test_a_supernet_with_another_normalisation_is_remapped_too(toy, toy_checkpoint):
    group_norm = dict(type='GN', num_groups=1)
    net = FNASuperNet((2, 3), seed=toy, out_indices=(2, ), output_stride=8, norm_cfg=group_norm,
                      candidate_norm_cfg=group_norm)
    report = ParameterRemapping(toy_checkpoint)(net)
    assert {row.target for row in report.rows if not row.source} == {'architecture_parameters'}


def test_a_tensor_of_an_unknown_name_is_a_problem(toy, toy_checkpoint):
    net = FNAChildNet(toy, (2, ), toy.total_stride)
    net.layer2[0].add_module('attention', nn.Conv2d(6, 6, 1))
    with pytest.raises(ValueError, match=r'layer2\.0\.attention\.weight: no tensor of a MobileNetV2 has this name'):
        ParameterRemapping(toy_checkpoint)(net)
    report = ParameterRemapping(toy_checkpoint, strict=False)(net)
    assert 'layer2.0.attention.bias' in [row.target for row in report.rows if not row.source]
