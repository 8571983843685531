"""What holds for every family: text forms, counts, remapping, functions that are preserved, searches that resume."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from mmengine.registry import MODELS
from toy_families import TOYS, space_of, toy_of
from toy_search import SIZE, ToyClassifier, assert_same, load, search_config, train

from fna_mm import Architecture, FNAChildNet, FNASuperNet, ParameterRemapping, SearchSpace, families
from fna_mm.checkpoints.searched import read_architecture
from fna_mm.cli import main
from fna_mm.cost import madds_table
from fna_mm.remapping.parameter_remapping import remap_parameters
from fna_mm.remapping.seed_checkpoint import read_seed

NAMES = list(TOYS)
PUBLISHED = families.published_names()


@MODELS.register_module(force=True)
class WideClassifier(ToyClassifier):
    """A toy classifier on a last map of any width."""

    def __init__(self, backbone, **kwargs):
        super().__init__(backbone, channels=MODELS.build(backbone).out_channels[-1], **kwargs)


def child_of(architecture, **kwargs):
    last = len(architecture.stages) - 1
    return FNAChildNet(architecture, **dict(dict(out_indices=(last, ), output_stride=architecture.total_stride),
                                            **kwargs))


@pytest.fixture(scope='module', params=NAMES)
def seed(request, randomize, tmp_path_factory):
    """Name, architecture, network and checkpoint of a toy with random weights."""
    architecture = toy_of(request.param)
    net = randomize(child_of(architecture), seed=7).eval()
    path = tmp_path_factory.mktemp('seed') / f'{request.param}.pth'
    torch.save(net.state_dict(), path)
    return request.param, architecture, net, str(path)


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_architectures_have_a_text_form(name):
    architecture = Architecture.create(name)
    assert Architecture.parse(architecture.to_text()) == architecture
    assert Architecture.from_dict(json.loads(architecture.to_json())) == architecture
    assert Architecture.create(architecture) == architecture
    assert architecture.total_stride == 32
    family = families.family(architecture.family)
    assert architecture.family == families.find_published(name)[0].name
    assert family.seeds
    assert set(family.seeds) <= set(family.published)


@pytest.mark.parametrize('name', NAMES)
def test_specs_have_a_text_form(name):
    architecture = toy_of(name)
    family = families.family(architecture.family)
    for stage in architecture.stages:
        for spec in stage.layers:
            assert family.parse_spec(str(spec)) == spec
            if spec.searchable:
                other = spec.resized(7, 16, stage.in_channels)
                assert family.parse_spec(str(other)) == other
                assert (other.kernel_size, other.hidden_channels(stage.in_channels)) == (7, 16)
    assert family.parse_spec(family.example).searchable
    assert Architecture.parse(architecture.to_text()) == Architecture.from_json(architecture.to_json()) == architecture
    with pytest.raises(ValueError, match="unknown operation 'nonsense': expected kK_"):
        family.parse_spec('nonsense')


def test_counts_are_those_of_the_network(seed, count_by_hooks):
    _, architecture, net, _ = seed
    shape = (37, 50)
    counted = count_by_hooks(net, lambda: net(torch.zeros(1, 3, *shape)))
    assert counted == architecture.madds(shape)
    assert sum(parameter.numel() for parameter in net.parameters()) == architecture.params()


def test_a_dilated_network_has_its_size_and_cost(seed, count_by_hooks):
    _, architecture, _, _ = seed
    if architecture.total_stride <= 8:
        deeper = replace(architecture, stages=(*architecture.stages, replace(
            architecture.stages[-1], in_channels=architecture.stages[-1].out_channels)))
        architecture = replace(deeper, stages=(*deeper.stages[:-1], replace(deeper.stages[-1], stride=2)))
    net = child_of(architecture, output_stride=8).eval()
    counted = count_by_hooks(net, lambda: net(torch.zeros(1, 3, 64, 48)))
    assert counted == architecture.madds((64, 48), 8)
    assert net(torch.zeros(1, 3, 64, 48))[0].shape[2:] == (8, 6)


def test_a_seed_is_remapped_onto_itself(seed):
    _, architecture, net, path = seed
    state, report = remap_parameters(read_seed(net.state_dict(), architecture.family), net.state_dict())
    assert report.problems() == report.unused == ()
    assert all(torch.equal(state[key], value) for key, value in net.state_dict().items())


@pytest.mark.parametrize('width', ['first', 'bn', 'std', 'l1'])
def test_a_narrower_network_keeps_the_same_channels_everywhere(seed, width):
    """In every group of hidden channels: whoever computes, normalises and reads them keeps the same ones."""
    _, architecture, net, path = seed
    stages = tuple(replace(stage, layers=tuple(
        spec.resized(spec.kernel_size, 16, stage.in_channels if index == 0 else stage.out_channels)
        if spec.searchable else spec for index, spec in enumerate(stage.layers))) for stage in architecture.stages)
    child = child_of(replace(architecture, stages=stages))
    state, report = remap_parameters(read_seed(net.state_dict(), architecture.family), child.state_dict(), width)
    assert report.problems() == ()
    family, own = families.family(architecture.family), net.state_dict()
    checked = 0
    for key, value in state.items():
        place, _ = family.parse_own_key(key)
        groups = family.hidden_groups(place.part, place.kind)
        if value.shape == own[key].shape or not groups:
            continue
        source = own[key]
        for dim, group in groups.items():
            if value.dim() <= dim or source.shape[dim] == value.shape[dim]:
                continue
            scale = f'layer{place.stage + 1}.{place.layer}.{family.part_name(group, "bn")}.weight'
            # All scales are different, so they tell which channels were kept.
            kept = [int((own[scale] == one).nonzero()) for one in state[scale]]
            source = source.index_select(dim, torch.tensor(kept))
            checked += 1
        assert torch.equal(value, source), key
    assert checked > 4


def test_a_larger_kernel_computes_the_same(seed):
    _, architecture, net, path = seed
    stages = tuple(replace(stage, layers=tuple(
        replace(spec, kernel_size=7) if spec.searchable else spec for spec in stage.layers))
        for stage in architecture.stages)
    child = child_of(replace(architecture, stages=stages)).eval()
    ParameterRemapping(path)(child)
    x = torch.randn(2, 3, 40, 56)
    assert torch.allclose(child(x)[0], net(x)[0], rtol=1e-4, atol=1e-5)


def test_every_path_of_a_supernet_costs_what_the_table_says(seed, count_by_hooks):
    name, architecture, _, _ = seed
    net = FNASuperNet(out_indices=(len(architecture.stages) - 1, ), output_stride=8, **space_of(name)).eval()
    table = madds_table(net.search_space, (SIZE, SIZE), 8)
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        choice = [int(torch.randint(len(layer.candidates), (), generator=generator))
                  for layer in net.search_space.layers]
        net.use_path(choice)
        counted = count_by_hooks(net, lambda: net(torch.zeros(1, 3, SIZE, SIZE)))
        assert counted / 1e9 == pytest.approx(table.of_path(choice))
        found = net.search_space.architecture(choice)
        assert net.search_space.architecture(net.search_space.choice(found)) == found


def test_a_path_of_a_supernet_equals_the_child(seed):
    """Remapped from one seed, a path computes what the child of the path's architecture does, statistics kept."""
    name, architecture, _, path = seed
    init, last = ParameterRemapping(path, width='l1'), len(architecture.stages) - 1
    net = FNASuperNet(out_indices=(last, ), output_stride=8, candidate_norm_cfg=dict(type='BN'),
                      **space_of(name)).eval()
    init(net)
    choice = [(3 * index + 1) % len(layer.candidates) for index, layer in enumerate(net.search_space.layers)]
    child = child_of(net.search_space.architecture(choice)).eval()
    init(child)
    net.use_path(choice)
    x = torch.randn(2, 3, SIZE, SIZE)
    assert torch.equal(net(x)[0], child(x)[0])


def test_a_file_of_remapped_weights(seed, tmp_path):
    """``fna remap``: the file names its architecture, and holds what the initializer gives."""
    _, architecture, _, path = seed
    stages = tuple(replace(stage, layers=stage.layers[:1]) for stage in architecture.stages)
    shallow = replace(architecture, stages=stages)
    done = CliRunner().invoke(main, ['remap', path, shallow.to_text(), str(tmp_path / 'remapped.pth')])
    assert done.exit_code == 0, done.output
    assert read_architecture(str(tmp_path / 'remapped.pth')) == shallow
    child = child_of(shallow)
    ParameterRemapping(path)(child)
    found = load(tmp_path / 'remapped.pth')['state_dict']
    assert all(torch.equal(found[f'backbone.{key}'], value) for key, value in child.state_dict().items())


@pytest.mark.parametrize('name', NAMES)
def test_the_commands_know_it(name, tmp_path):
    architecture = toy_of(name)
    done = CliRunner().invoke(main, ['arch', 'export', TOYS[name], str(tmp_path / 'arch.json')])
    assert done.exit_code == 0, done.output
    assert Architecture.create(str(tmp_path / 'arch.json')) == architecture
    shown = CliRunner().invoke(main, ['arch', 'show', str(tmp_path / 'arch.json')])
    assert str(architecture.stages[-1].layers[0]) in shown.output
    counted = CliRunner().invoke(main, ['complexity', str(tmp_path / 'arch.json'), '--shape', '64', '64'])
    assert f'{architecture.params() / 1e6:.6f}' in counted.output


def test_the_seed_is_in_its_search_space():
    for name in NAMES:
        space = SearchSpace(**space_of(name))
        assert space.architecture(space.choice(space.seed)) == space.seed


def test_a_search_resumes_bit_for_bit_and_gives_a_child_that_trains(seed, tmp_path):
    name, architecture, _, path = seed
    check_search(dict(space_of(name), output_stride=8), architecture, path, tmp_path)


def test_the_search_of_a_resnet_18_does(randomize, tmp_path):
    """The space of ``configs/resnet``, on tiny images."""
    architecture = Architecture.create('resnet18')
    torch.save(randomize(child_of(architecture), seed=7).state_dict(), tmp_path / 'seed.pth')
    space = dict(seed='resnet18', layers_per_stage=(2, 2, 2, 2), kernel_sizes=(3, 5), expand_ratios=(.5, 1),
                 output_stride=8)
    check_search(space, architecture, str(tmp_path / 'seed.pth'), tmp_path)


def check_search(space, architecture, path, tmp_path):
    """A search, the same one stopped and resumed, and the training of its child."""
    last = len(architecture.stages) - 1
    backbone = dict(type='FNASuperNet', out_indices=(last, ), **space,
                    init_cfg=dict(type='ParameterRemapping', checkpoint=path))

    def config(folder):
        cfg = search_config(folder, epochs=3, model=dict(type='WideClassifier', backbone=backbone))
        cfg.custom_hooks.append(dict(type='ArchitectureExportHook'))
        return cfg

    whole = train(config(tmp_path / 'whole')).model.backbone
    shutil.copytree(tmp_path / 'whole', tmp_path / 'stopped')
    for later in (tmp_path / 'stopped').glob('epoch_[23].pth'):
        later.unlink()
    (tmp_path / 'stopped/last_checkpoint').write_text(str(tmp_path / 'stopped/epoch_1.pth'))
    cfg = config(tmp_path / 'stopped')
    cfg.resume = True
    train(cfg)
    one, other = (load(tmp_path / folder / 'epoch_3.pth') for folder in ('whole', 'stopped'))
    assert_same(dict(one['state_dict']), dict(other['state_dict']))
    found = Architecture.create(str(tmp_path / 'whole/arch.json'))
    assert found == whole.best_architecture() == read_architecture(str(tmp_path / 'whole/epoch_3.pth'))
    assert found.family == architecture.family

    child = search_config(tmp_path / 'child', epochs=1, model=dict(type='WideClassifier', backbone=dict(
        type='FNAChildNet', arch=found.to_text().replace('\n', ' '), out_indices=(last, ), output_stride=8,
        init_cfg=dict(type='ParameterRemapping', checkpoint=path))))
    child.custom_hooks = []
    trained = train(child).model.backbone
    before = child_of(found)
    ParameterRemapping(path)(before)
    assert any(not torch.equal(value, trained.state_dict()[key]) for key, value in before.state_dict().items())
