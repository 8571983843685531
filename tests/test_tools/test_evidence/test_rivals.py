"""How rivals come from a trained model: narrowed, fitted, pruned, and the config that fine-tunes them."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from toy_search import CHILD, TOY

from fna_mm import Architecture
from fna_mm.adaptation.chain import Chain
from fna_mm.adaptation.statistics import collect, statistics_of
from tools.evidence.child_files import Source, rival_config
from tools.evidence.even_widths import narrowed, with_share
from tools.evidence.fitted_rivals import added, fitted, origins_in
from tools.evidence.protocol import LESS, SIZES, task_of
from tools.evidence.pruned_rivals import IMPORTANCES, prune, pruned_architecture, pruned_to
from tools.evidence.remapped_rivals import remapped
from tools.results.adapted_runs import PACKAGES

SEED = Architecture.create('mobilenet_v2')


@pytest.mark.parametrize('size', [((192, 256), 32, 0), ((180, 240), 16, 0), ((192, 256), 32, 1280), ((480, 640), 32)])
def test_even_narrowing_ends_right_below_the_budget(size):
    kept = [(5, 0)] if 1280 in size else []
    for budget in map(float, LESS):
        found = narrowed(SEED, budget, *size, kept=kept)
        share = found.madds(*size) / SEED.madds(*size)
        assert .99 * budget <= share <= budget
        widths = [(spec.hidden_channels(layer.in_channels), own.hidden_channels(layer.in_channels))
                  for stage, other in zip(SEED.walk(), found.stages)
                  for (own, layer), spec in zip(stage.layers(), other.layers)
                  if own.searchable and (layer.stage, layer.index) not in kept]
        assert all(width % 8 == 0 for width, _ in widths)
        # Even: 8 channels are the least step, and the rest of the budget makes blocks a tenth wider at most.
        shares = [(max(8., width - 8.) / own, (width + 8.) / own) for width, own in widths]
        assert max(low for low, _ in shares) <= 1.1 * min(high for _, high in shares)
        assert all(found.stages[stage].layers[layer] == SEED.stages[stage].layers[layer] for stage, layer in kept)


def test_the_whole_is_not_narrowed():
    assert narrowed(SEED, 1., (192, 256), 32) == SEED
    assert with_share(SEED, 1.) == SEED
    with pytest.raises(ValueError, match='still costs more'):
        narrowed(SEED, .01, (192, 256), 32)


@pytest.fixture
def source(randomize):
    """A toy network whose BN statistics are those of its images, with what a Source says of it."""
    net = MODELS.build(dict(CHILD))
    randomize(net)
    generator = torch.Generator().manual_seed(1)
    images = [torch.randn(1, 3, 32, 32, generator=generator) for _ in range(24)]
    net.train()
    with torch.no_grad():
        for _ in range(30):
            net(torch.cat(images))
    net.eval()
    model = SimpleNamespace(data_preprocessor=lambda batch, training: dict(inputs=batch), backbone=net)
    config = Config(dict(model=dict(backbone=dict(CHILD))))
    found = Source(SimpleNamespace(), SimpleNamespace(config=config, model=model, backbone=net,
                                                      architecture=net.architecture), 0)
    found.__dict__.update(images=images, shape=(32, 32))
    return found


def measured(source):
    chain = Chain(source.backbone, source.shape)
    statistics = statistics_of(chain)
    for image in source.images:
        collect(chain, image, statistics)
    return chain, statistics


def error(source, backbone):
    """Mean squared difference of the last maps, as a share of the trained one's variance."""
    with torch.no_grad():
        own, other = (torch.cat([net.eval()(image)[-1] for image in source.images])
                      for net in (backbone, source.backbone))
    return float((own - other).square().mean() / other.var())


def architecture_of(*stages):
    one, two = stages
    return Architecture.create(f"[[8, 4], ['k3_e1'], 1]|[[4, 6], {one}, 2]|[[6, 8], {two}, 2]")


def test_blocks_come_from_their_places(source):
    chain, statistics = measured(source)
    origins = origins_in(chain, architecture_of(['k5_e3', 'k3_e6', 'k3_e3'], ['k3_e6']), statistics)
    assert [(origin.block, origin.upto, len(origin.kept), origin.kernel) for origin in origins] == [
        (0, 0, 8, 3), (1, 1, 12, 3), (2, 2, 36, 3), (2, 1, 18, 3), (3, 5, 36, 3)]
    assert added(origins) == [3]


def test_the_same_architecture_is_the_trained_network(source):
    _, statistics = measured(source)
    assert error(source, fitted(source, Architecture.create(TOY), statistics, range(24))) < 1e-6


def test_larger_kernels_and_more_layers_lose_nothing(source):
    _, statistics = measured(source)
    larger = architecture_of(['k5_e6', 'k3_e6', 'k3_e3'], ['k3_e6', 'k7_e6', 'k3_e6', 'k5_e6'])
    assert error(source, fitted(source, larger, statistics, range(24))) < 1e-9
    assert error(source, fitted(source, larger, statistics, range(1))) < 1e-9  # what is not known stays the identity


def test_a_fit_is_nearer_than_the_papers_rule(source):
    _, statistics = measured(source)
    smaller = architecture_of(['k3_e3', 'k3_e6'], ['k3_e3', 'k3_e3'])
    near = error(source, fitted(source, smaller, statistics, range(24)))
    far = error(source, remapped(source, smaller))
    assert near < .7 * far


def test_the_papers_rule_takes_the_first_channels(source):
    child = remapped(source, architecture_of(['k3_c8', 'k3_e6'], ['k3_e6', 'k3_e6', 'k3_e6']))
    own, other = (net.layer2[0].expand_conv.conv.weight for net in (child, source.backbone))
    assert len(own) == 8
    assert torch.equal(own, other[:8])


def test_torch_pruning_removes_hidden_channels_alone(source):
    torch_pruning = pytest.importorskip('torch_pruning')
    importance = torch_pruning.importance.GroupMagnitudeImportance()
    pruned = prune(source.backbone, importance, .4, source.images[0], [(2, 0)])
    found = pruned_architecture(source.backbone, pruned)
    assert [stage.out_channels for stage in found.stages] == [4, 6, 8]
    widths = [[spec.hidden_channels(layer.in_channels) for spec, layer in stage.layers()] for stage in found.walk()]
    assert widths[2][0] == 36  # which a head takes
    assert all(width % 8 == 0 for width in (*widths[1], *widths[2][1:]) if width not in (24, 36, 48))
    child = source.child(found)
    child.load_state_dict(pruned.state_dict())
    with torch.no_grad():
        assert torch.allclose(child(source.images[0])[-1], pruned(source.images[0])[-1])


@pytest.mark.parametrize('budget', [.8, .6])
def test_pruning_ends_below_the_budget(source, budget):
    pytest.importorskip('torch_pruning')
    found = pruned_to(source, 'pruned_norm', budget).architecture
    assert .8 * budget <= source.madds(found) / source.madds(source.backbone.architecture) <= budget


def test_pruning_removes_more_of_a_block_where_it_must(source, monkeypatch):
    """Blocks keep a tenth, or a twentieth if that is not enough."""
    pytest.importorskip('torch_pruning')
    tried = []

    def pruned(backbone, importance, ratio, example, kept, most):
        tried.append(most)
        return prune(backbone, importance, ratio if most > .9 else 0., example, kept, most)

    monkeypatch.setattr('tools.evidence.pruned_rivals.prune', pruned)
    found = pruned_to(source, 'pruned_norm', .6).architecture
    assert source.madds(found) / source.madds(source.backbone.architecture) <= .6
    assert list(dict.fromkeys(tried)) == [.9, .95]


def test_what_is_missing_is_said(source, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch_pruning', None)
    with pytest.raises(ImportError, match='pip install --no-deps --target FOLDER torch-pruning'):
        pruned_to(source, next(iter(IMPORTANCES)), .5)


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('task', PACKAGES)
def test_all_rivals_are_fine_tuned_alike(task, size):
    """The schedule, rate and hooks of ``fna adapt``, whatever the architecture is."""
    found = task_of(task, size)
    config = Config.fromfile(str(found.trained))
    section = dict(config.model.backbone)
    section.pop('init_cfg')
    config.model.backbone = section
    source = Source(found, SimpleNamespace(config=config), 0)
    one, other = (rival_config(source, architecture) for architecture in (SEED, narrowed(SEED, .5, (192, 256), 32)))
    assert one.model.backbone.arch != other.model.backbone.arch
    other.model.backbone.arch = one.model.backbone.arch
    assert json.dumps(one.to_dict(), default=str) == json.dumps(other.to_dict(), default=str)
    assert one.optim_wrapper.optimizer.lr == pytest.approx(config.optim_wrapper.optimizer.lr / 2)
    name = 'max_epochs' if 'max_epochs' in config.train_cfg else 'max_iters'
    assert one.train_cfg[name] == one.train_cfg.val_interval == round(found.share * config.train_cfg[name])
    hook = one.custom_hooks[-1]
    assert (hook.type, hook.weight, hook.checkpoint) == (
        'FeatureDistillationHook', 1., '{{ fileDirname }}/../teacher.pth')
    assert hook.teacher.arch == 'mobilenet_v2'
    assert 'BNCalibrationHook' in [hook.type for hook in config.custom_hooks]  # whose length a calibration takes over
    assert [hook.type for hook in one.custom_hooks[:-1]] == [hook.type for hook in config.custom_hooks]
