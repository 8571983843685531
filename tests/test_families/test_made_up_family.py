"""The family of docs/new_family.md, whose code runs here: everything is built from it, from the costs to a search."""

import re
from math import prod
from pathlib import Path

import pytest
import torch
from mmcv.cnn import ConvModule
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner
from toy_search import TOY, ToyClassifier, search_config, train
from toy_segmentation import train_segmentor

from fna_mm import Architecture, FNAChildNet, FNASuperNet, ParameterRemapping, SearchSpace, families
from fna_mm.adaptation import AdaptOptions, adapt
from fna_mm.checkpoints.remapped import write_remapped_checkpoint
from fna_mm.checkpoints.searched import read_architecture
from fna_mm.cost import madds_table
from fna_mm.families import forget_family, register_family
from fna_mm.remapping.parameter_remapping import remap_parameters
from fna_mm.remapping.seed_checkpoint import read_seed

SIZE = (32, 48)
PAGE = (Path(__file__).resolve().parents[2] / 'docs/new_family.md').read_text()
*PARTS, USE = re.findall(r'```python\n(.*?)```', PAGE, re.DOTALL)
NAMES = dict(__name__='docs.new_family')
exec('\n'.join(PARTS), NAMES)  # registers the family
forget_family('plain')
Plain = NAMES['Plain']


SPACE = dict(seed='plain', layers_per_stage=(3, 1), kernel_sizes=(3, 5), expand_ratios=(1, 2))
SUPERNET = dict(type='FNASuperNet', out_indices=(2, ), output_stride=16, **SPACE)


@MODELS.register_module(force=True)
class PlainClassifier(ToyClassifier):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.neck = ConvModule(self.backbone.out_channels[0], 8, 1, norm_cfg=dict(type='BN'))


@pytest.fixture(scope='module', autouse=True)
def _plain_is_known():
    """For the tests of this file alone: others count and name all families."""
    register_family(Plain())
    yield
    forget_family('plain')


@pytest.fixture(scope='module')
def plain_seed(randomize):
    """A random checkpoint of the seed, with our names."""
    return randomize(FNAChildNet('plain', (2, ), 16), seed=5).state_dict()


@pytest.fixture(scope='module')
def plain_checkpoint(plain_seed, tmp_path_factory):
    path = tmp_path_factory.mktemp('plain') / 'plain.pth'
    torch.save(plain_seed, path)
    return str(path)


def test_the_page_uses_it(capsys):
    exec(USE, dict(NAMES))
    printed = capsys.readouterr().out
    assert 'c3x2 c3x2' in printed
    assert '[(1, 12, 8, 8), (1, 16, 4, 4)]' in printed
    assert f'{Architecture.create("plain").madds((64, 64), 16):,} multiply-adds' in printed
    assert "'layer2.1': ['c3x1', 'c5x1', 'c3x2', 'c5x2', 'skip']" in printed


def test_its_architectures_name_it():
    seed = Architecture.create('plain')
    assert seed.family == 'plain'
    assert seed.to_text().startswith('plain: [[8, 8]')
    assert Architecture.parse(seed.to_text()) == Architecture.from_json(seed.to_json()) == seed
    assert [str(layer) for layer in seed.stages[1].layers] == ['c3x2', 'c3x2']
    assert seed.total_stride == 16
    assert seed.widened(.5).stages[2].out_channels == 8
    with pytest.raises(ValueError, match=r"unknown operation 'k3_e6': expected cKxR"):
        Architecture.parse("plain: [[8, 8], ['k3_e6'], 1]")
    with pytest.raises(ValueError, match="unknown family 'plane': expected one of .*'mobilenet_v2', 'plain'"):
        Architecture.parse("plane: [[8, 8], ['c3x1'], 1]")


def test_a_name_is_published_once():
    class Other(Plain):
        name = 'other'

    with pytest.raises(ValueError, match="the family 'other' publishes 'plain', which is an architecture of 'plain'"):
        register_family(Other())
    assert 'other' not in [family.name for family in families.all_families()]


@pytest.mark.parametrize(('output_stride', 'sizes'), [(16, [(8, 12), (4, 6), (2, 3)]), (8, [(8, 12), (4, 6), (4, 6)])])
def test_a_child_has_the_maps_and_the_cost_of_its_architecture(output_stride, sizes, count_by_hooks):
    net = FNAChildNet('plain', (0, 'expand1', 1, 2), output_stride).eval()
    maps = net(torch.zeros(1, 3, *SIZE))
    assert net.out_channels == (8, 16, 12, 16)
    assert FNAChildNet('plain', (3, ), output_stride).out_channels == (20, )
    assert [tuple(x.shape[2:]) for x in (maps[0], maps[2], maps[3])] == sizes
    counted = count_by_hooks(net, lambda: net(torch.zeros(1, 3, *SIZE)))
    assert counted == Architecture.create('plain').madds(SIZE, output_stride)
    assert sum(parameter.numel() for parameter in net.parameters()) == Architecture.create('plain').params()


def test_every_path_of_a_supernet_costs_what_the_table_says(count_by_hooks):
    net = FNASuperNet(out_indices=(2, ), output_stride=16, **SPACE).eval()
    assert net.search_space.candidate_names()['layer2.1'] == ['c3x1', 'c5x1', 'c3x2', 'c5x2', 'skip']
    table = madds_table(net.search_space, SIZE, 16)
    for choice in ((0, 1, 2, 3), (3, 4, 4, 2)):
        net.use_path(choice)
        assert count_by_hooks(net, lambda: net(torch.zeros(1, 3, *SIZE))) / 1e9 == pytest.approx(table.of_path(choice))


def test_a_supernet_of_it_equals_the_child(randomize, plain_checkpoint):
    """Remapped from one seed, a path computes what the child of the path's architecture does, statistics kept."""
    init = ParameterRemapping(plain_checkpoint, width='l1')
    norm = dict(type='BN')
    net = FNASuperNet(out_indices=(2, ), output_stride=16, candidate_norm_cfg=norm, **SPACE).eval()
    init(net)
    choice = (2, 1, 4, 0)
    child = FNAChildNet(net.search_space.architecture(choice), (2, ), 16).eval()
    report = init(child)
    net.use_path(choice)
    x = torch.randn(2, 3, *SIZE)
    assert torch.equal(net(x)[0], child(x)[0])
    assert 'width 24 → 12' in report.table()
    assert 'kernel 3 → 5' in report.table()


def test_its_other_layout_is_recognised(plain_seed):
    renamed = {}
    for key, value in plain_seed.items():
        words = key.split('.')
        if words[0] == 'conv1':
            renamed[f'stem.{("conv", "bn").index(words[1])}.{words[2]}'] = value
            continue
        index = dict(zip(('layer1.0', 'layer2.0', 'layer2.1', 'layer3.0'), (1, 2, 3, 4)))['.'.join(words[:2])]
        slot = dict(inner='a', outer='b')[words[2]] + str(('conv', 'bn').index(words[3]))
        renamed[f'trunk.{index}.{slot}.{words[4]}'] = value
    seed = read_seed(renamed)
    assert (seed.family, seed.layout, seed.depths) == ('plain', 'trunk', (1, 2, 1))
    state, report = remap_parameters(seed, plain_seed)
    assert report.problems() == ()
    assert all(torch.equal(state[key], value) for key, value in plain_seed.items())


def test_families_are_not_mixed_up(plain_checkpoint, toy, toy_checkpoint):
    with pytest.raises(ValueError, match=r'no known MobileNetV2 layout \(.*\) but look like a Plain\'s'):
        ParameterRemapping(plain_checkpoint)(FNAChildNet(toy, (2, ), 8))
    with pytest.raises(ValueError, match=r'no known Plain layout \(plain, trunk\) but look like a MobileNetV2\'s'):
        ParameterRemapping(toy_checkpoint)(FNAChildNet('plain', (2, ), 16))
    with pytest.raises(ValueError, match="is of the family 'mobilenet_v2', the search space of 'plain'"):
        SearchSpace(**SPACE).choice(toy)


def test_a_file_of_remapped_weights(plain_checkpoint, tmp_path):
    text = "plain: [[8, 8], ['c3x1'], 1]|[[8, 12], ['c5x2'], 2]|[[12, 16], ['c3x1', 'c3x1'], 2]"
    with pytest.raises(ValueError, match=r'layer3\.1\.inner\.conv\.weight: .* does not fit'):
        write_remapped_checkpoint(plain_checkpoint, text, str(tmp_path / 'x.pth'))
    text = text.replace(", 'c3x1'], 2]", '], 2]')
    write_remapped_checkpoint(plain_checkpoint, text, str(tmp_path / 'x.pth'))
    assert read_architecture(str(tmp_path / 'x.pth')) == Architecture.parse(text)


def test_it_is_adapted(tmp_path):
    """A trained segmentor with such a backbone becomes cheaper, and still finds its squares."""
    text = "plain: [[8, 16], ['c3x2', 'c3x2'], 1]|[[16, 16], ['c3x2', 'c3x2', 'c5x2'], 2]"
    config, checkpoint = train_segmentor(tmp_path, arch=(TOY, text), maps=('out_indices=(1, 2)', 'out_indices=(0, 1)'),
                                         head=('in_channels=8, in_index=1', 'in_channels=16, in_index=1'))
    child, = adapt(config, checkpoint, ('0.5', ), str(tmp_path / 'work'),
                   AdaptOptions(statistics_images=12, score_images=8, tolerance=100.))
    whole = Architecture.parse(text).madds((32, 32), 8)
    assert .4 * whole < child.architecture.madds((32, 32), 8) <= .5 * whole
    assert Architecture.create(str(Path(child.folder) / 'arch.json')) == child.architecture
    assert child.measured < .1
    cfg = Config.fromfile(str(Path(child.folder) / 'child_config.py'))
    cfg.work_dir = str(tmp_path / 'tested')
    assert Runner.from_cfg(cfg).val()['mIoU'] > 60


def test_a_search_and_its_child(plain_checkpoint, tmp_path):
    backbone = dict(SUPERNET, init_cfg=dict(type='ParameterRemapping', checkpoint=plain_checkpoint),
                    layers_per_stage=(2, 1))
    cfg = search_config(tmp_path, model=dict(type='PlainClassifier', backbone=backbone))
    cfg.custom_hooks.append(dict(type='ArchitectureExportHook'))
    before = train(cfg).model.backbone
    found = Architecture.create(str(tmp_path / 'arch.json'))
    assert found == before.best_architecture() == read_architecture(str(tmp_path / 'epoch_2.pth'))
    assert found.family == 'plain'
    assert (tmp_path / 'fna_report/index.html').is_file()
    child = Config.fromfile(tmp_path / 'child_config.py')
    assert Architecture.create(child.model.backbone.arch) == found
    assert not set(child.model.backbone) & {'seed', 'layers_per_stage', 'kernel_sizes'}
    net = MODELS.build(child.model.backbone)
    net.init_weights()
    layer = net.layer3[0].inner.conv.weight
    assert prod(layer.shape[:1]) == found.stages[2].layers[0].hidden_channels(12)
