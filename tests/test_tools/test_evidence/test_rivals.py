"""How rivals come from a trained model: narrowed, fitted, pruned, and the config that fine-tunes them."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from toy_search import CHILD, TOY, load
from toy_ssdlite import LAST, STEM, TAPPED

from fna_mm import Architecture
from fna_mm.adaptation import AdaptOptions, adapt
from fna_mm.adaptation.chain import Chain
from fna_mm.adaptation.statistics import collect, statistics_of
from tools.evidence.child_files import Source, rival_config
from tools.evidence.even_widths import narrowed, narrowed_with_last, with_share
from tools.evidence.fitted_rivals import added, fitted, origins_in
from tools.evidence.protocol import LESS, SIZES, Rival, Task, task_of
from tools.evidence.pruned_rivals import IMPORTANCES, prune, pruned_architecture, pruned_to, same_rows
from tools.evidence.remapped_rivals import remapped
from tools.evidence.rival_making import make_rival
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


@pytest.mark.parametrize('budget', map(float, LESS))
def test_even_narrowing_with_the_last_convolution(budget):
    size = (240, 320), 32
    found, last = narrowed_with_last(SEED, budget, *size, 1280)
    assert .99 * budget <= found.madds(*size, last) / SEED.madds(*size, 1280) <= budget
    widths = [spec.hidden_channels(layer.in_channels) for stage in found.walk() for spec, layer in stage.layers()]
    assert last % 8 == 0
    assert last / 1280 == pytest.approx(widths[-1] / 960, rel=.1)
    assert narrowed_with_last(SEED, 1., *size, 1280) == (SEED, 1280)


def test_rows_that_are_left():
    whole = torch.randn(12, 3, 1, 1)
    whole[5] = whole[4]  # of two that are equal, the first one
    kept = torch.tensor([0, 4, 7, 11])
    assert torch.equal(same_rows(whole[kept], whole), kept)


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


def fit(source, architecture, images=24):
    """A backbone that is fitted to the source's; its refit uses some of the images."""
    chain, statistics = measured(source)
    return fitted(chain, source.trained.config.model.backbone, architecture, statistics,
                  lambda: iter(source.images[:images]))


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
    assert error(source, fit(source, Architecture.create(TOY))) < 1e-6


def test_larger_kernels_and_more_layers_lose_nothing(source):
    larger = architecture_of(['k5_e6', 'k3_e6', 'k3_e3'], ['k3_e6', 'k7_e6', 'k3_e6', 'k5_e6'])
    assert error(source, fit(source, larger)) < 1e-9
    assert error(source, fit(source, larger, 1)) < 1e-9  # what is not known stays the identity


def test_a_fit_is_nearer_than_the_papers_rule(source):
    smaller = architecture_of(['k3_e3', 'k3_e6'], ['k3_e3', 'k3_e3'])
    near = error(source, fit(source, smaller))
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
    found = pruned_to(source, 'pruned_norm', budget)[0].architecture
    assert .8 * budget <= source.madds(found) / source.madds(source.backbone.architecture) <= budget


def test_pruning_removes_more_of_a_block_where_it_must(source, monkeypatch):
    """Blocks keep a tenth, or a twentieth if that is not enough."""
    pytest.importorskip('torch_pruning')
    tried = []

    def pruned(backbone, importance, ratio, example, kept, most, with_last, with_stem):
        tried.append(most)
        return prune(backbone, importance, ratio if most > .9 else 0., example, kept, most, with_last, with_stem)

    monkeypatch.setattr('tools.evidence.pruned_rivals.prune', pruned)
    found = pruned_to(source, 'pruned_norm', .6)[0].architecture
    assert source.madds(found) / source.madds(source.backbone.architecture) <= .6
    assert list(dict.fromkeys(tried)) == [.9, .95]


def test_what_is_missing_is_said(source, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch_pruning', None)
    with pytest.raises(ImportError, match='pip install --no-deps --target FOLDER torch-pruning'):
        pruned_to(source, next(iter(IMPORTANCES)), .5)


@pytest.mark.parametrize('outputs', ['', 'bbox_head'])
@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('task', PACKAGES)
def test_all_rivals_are_fine_tuned_alike(task, size, outputs):
    """The schedule, rate and hooks of ``fna adapt``, whatever the architecture is."""
    found = task_of(task, size)
    config = Config.fromfile(str(found.trained))
    section = dict(config.model.backbone)
    section.pop('init_cfg')
    config.model.backbone = section
    source = Source(found, SimpleNamespace(config=config), 0)
    source.outputs = outputs
    narrower = narrowed(SEED, .5, (192, 256), 32, kept=[(5, 0)])
    one, other = (rival_config(source, architecture) for architecture in (SEED, narrower))
    assert one.model.backbone.arch != other.model.backbone.arch
    other.model.backbone.arch = one.model.backbone.arch
    assert json.dumps(one.to_dict(), default=str) == json.dumps(other.to_dict(), default=str)
    assert one.optim_wrapper.optimizer.lr == pytest.approx(config.optim_wrapper.optimizer.lr / 2)
    name = 'max_epochs' if 'max_epochs' in config.train_cfg else 'max_iters'
    assert one.train_cfg[name] == one.train_cfg.val_interval == round(found.share * config.train_cfg[name])
    hook = one.custom_hooks[-1]
    assert (hook.type, hook.weight, hook.checkpoint) == (
        *(('OutputDistillationHook', 5.) if outputs else ('FeatureDistillationHook', 1.)),
        '{{ fileDirname }}/../teacher.pth')
    assert (hook.teacher.backbone if outputs else hook.teacher).arch == 'mobilenet_v2'
    assert 'BNCalibrationHook' in [hook.type for hook in config.custom_hooks]  # whose length a calibration takes over
    assert [hook.type for hook in one.custom_hooks[:-1]] == [hook.type for hook in config.custom_hooks]


@pytest.mark.parametrize('model', ['narrowed', 'pruned_norm', 'pruned_taylor', 'adapted'])
def test_neck_and_head_of_a_rival_read_what_is_left(ssdlite, tmp_path, model):
    """All that is narrower is written, costs what its budget says, loads and predicts."""
    if model.startswith('pruned'):
        pytest.importorskip('torch_pruning')
    config, checkpoint = ssdlite
    run = tmp_path / 'run'
    (run / 'trained').mkdir(parents=True)
    (run / 'trained/last_checkpoint').write_text(checkpoint)
    (run / 'trained' / Path(checkpoint).name).symlink_to(checkpoint)
    budget = '0.22' if model == 'adapted' else '0.5'
    task = Task('bccd_ssdlite', 'small', 'mmdet', .5, Path(config), Path(config))
    if model == 'adapted':
        adapt(config, checkpoint, ('0.22', ), str(run / 'evidence/adapted'),
              AdaptOptions(statistics_images=10, score_images=6, tolerance=100.))
    make_rival(task, Rival(model, budget), 0, run)
    folder = run / f'evidence/{model}_{budget}'
    assert .9 * float(budget) < json.loads((folder / 'costs.json').read_text())['share'] <= float(budget)
    cfg = Config.fromfile(folder / 'child_config.py')
    tapped, last = cfg.model.bbox_head.in_channels[:2]
    assert tapped < TAPPED
    assert last < LAST
    assert (Architecture.create(cfg.model.backbone.arch).stem_channels < STEM) == (model != 'narrowed')
    channels = json.loads((folder / 'distilled_channels.json').read_text())
    assert [len(row) for row in channels] == [tapped, last]
    hook = cfg.custom_hooks[-1]
    assert (hook.type, hook.outputs) == ('OutputDistillationHook', 'bbox_head')  # as fna adapt itself writes it
    state, trained = load(folder / 'child.pth')['state_dict'], load(checkpoint)['state_dict']
    MODELS.build(hook.teacher).load_state_dict(load(hook.checkpoint)['state_dict'])  # strictly, head and all
    own = MODELS.build(cfg.model)
    own.load_state_dict(state)  # strictly
    depthwise = 'bbox_head.cls_convs.0.0.conv.weight'
    assert torch.equal(state[depthwise], trained[depthwise][channels[0]])
    readers = 'bbox_head.cls_convs.0.1.weight'
    assert torch.equal(state[readers], trained[readers][:, channels[0]]) == (model != 'adapted')  # that one is fitted
    assert torch.equal(state['backbone.conv2.conv.weight'][0], trained['backbone.conv2.conv.weight'][channels[1][0]])
