"""Growing: layers of a trained model become larger where that pays."""

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import Runner
from swapped_blocks import loss_of, with_backbone
from torch import nn
from toy_search import assert_same, load
from toy_segmentation import write_config

from fna_mm import Architecture
from fna_mm.adaptation import AdaptOptions, Growing, adapt, prepare_search
from fna_mm.adaptation.chain import Chain
from fna_mm.adaptation.growing import space_of
from fna_mm.adaptation.growth import Growth, elastic_section, settle, start_growing
from fna_mm.adaptation.images import MeasuredImages
from fna_mm.adaptation.rehearsal import rehearsal_config
from fna_mm.adaptation.scores import Replacement, Scorer, grown_measured
from fna_mm.adaptation.trained_model import load_trained
from fna_mm.hooks import RehearsalHook

GROWING = Growing(steps=20)
OPTIONS = AdaptOptions(statistics_images=10, score_images=6, tolerance=100., grow=GROWING)


@pytest.fixture(scope='module')
def grown(segmentor):
    """The trained model, its images, and its elastic backbone at the start."""
    trained = load_trained(*segmentor)
    images = MeasuredImages(trained.config)
    inputs = [trained.model.data_preprocessor(images[position], False)['inputs'] for position in range(6)]
    elastic = start_growing(trained.backbone, dict(trained.config.model.backbone), GROWING.space, inputs)
    return trained, images, inputs, elastic


@pytest.fixture(scope='module')
def rehearsed(segmentor, tmp_path_factory):
    """The work directory of an adaptation that may grow, and its children."""
    folder = tmp_path_factory.mktemp('rehearsed') / 'work'
    return folder, adapt(*segmentor, ('1', '0.6'), str(folder), OPTIONS)


def test_every_path_starts_with_the_function_of_the_trained_backbone(grown):
    trained, _, inputs, elastic = grown
    for share in (0, .3, 1):
        elastic.path = elastic.space.sample_path(np.random.default_rng(1), share)
        with torch.no_grad():
            for output, wanted in zip(elastic(inputs[0]), trained.backbone(inputs[0]), strict=True):
                torch.testing.assert_close(output, wanted, rtol=1e-4, atol=1e-5)
    elastic.path = elastic.space.seed_path


def test_what_was_added_trains(grown):
    """Rings of kernels, projections of new channels and scales of new layers get gradients at once."""
    trained, _, inputs, elastic = grown
    elastic = copy.deepcopy(elastic)
    elastic.path = [len(layer.choices) - 1 for layer in elastic.space.layers]
    elastic(inputs[0])[-1].square().mean().backward()
    for number, layer in enumerate(elastic.space.layers):
        block = elastic.stage(layer.stage)[layer.place]
        if layer.added:
            assert block.linear_conv.bn.weight.grad.abs().sum() > 0
        elif len(layer.choices) > 1:
            hidden = layer.choices[0].hidden_channels(layer.in_channels)
            assert block.linear_conv.conv.weight.grad[:, hidden:].abs().sum() > 0, number
            assert not block.linear_conv.conv.weight[:, hidden:].any()
            ring = block.depthwise_conv.conv.weight.grad[:hidden].clone()
            ring[:, :, 2:5, 2:5] = 0
            assert ring.abs().sum() > 0


def test_new_channels_are_normalised_on_images(grown):
    trained, _, inputs, elastic = grown
    layer = next(layer for layer in elastic.space.layers if not layer.added and len(layer.choices) > 1)
    hidden = layer.choices[0].hidden_channels(layer.in_channels)
    block = elastic.stage(layer.stage)[layer.place]
    link = Chain(trained.backbone).links[elastic.space.layers.index(layer)]
    features = []
    handle = link.block.register_forward_hook(lambda module, args, output: features.append(args[0]))
    with torch.no_grad():
        for image in inputs:
            trained.backbone(image)
        handle.remove()
        expanded = torch.cat([block.expand_conv.conv(x) for x in features])[:, hidden:]
    torch.testing.assert_close(expanded.mean((0, 2, 3)), block.expand_conv.bn.running_mean[hidden:], rtol=1e-3,
                               atol=1e-4)
    torch.testing.assert_close(expanded.var((0, 2, 3), correction=0), block.expand_conv.bn.running_var[hidden:],
                               rtol=1e-3, atol=1e-4)


def noisy(elastic):
    state = elastic.state_dict()
    generator = torch.Generator().manual_seed(3)
    return {key: value + .05 * torch.randn(value.shape, generator=generator) if key.endswith(('weight', 'bias'))
            else value for key, value in state.items()}


def test_a_score_of_growth_is_that_of_the_grown_network(grown):
    trained, images, _, elastic = grown
    growth = Growth(elastic.space, dict(trained.config.model.backbone), noisy(elastic))
    base = with_backbone(trained, growth.backbone(elastic.space.seed_path))
    scorer = Scorer(base, Chain(base.backbone), {}, growth.blocks())
    measured = grown_measured(elastic.space)
    # Of every grown layer: two kernels, more channels; of added layers three kernels.
    own = [layer for layer in elastic.space.own if len(layer.choices) > 1]
    assert len(measured) == 3 * len(own) + 3 * len(elastic.space.added)
    found = {key: of_key.loss for key, of_key in scorer.measure(images[11], [None, *measured])}
    assert found[None] == pytest.approx(loss_of(base, images, 11), rel=1e-6)
    rows = [*elastic.space.own, *elastic.space.added]
    for key in measured:
        layer = rows[key.block]
        start = layer.choices[0]
        wanted = next(number for number, spec in enumerate(layer.choices) if spec is not None
                      and spec.hidden_channels(layer.in_channels) == key.width
                      and spec.kernel_size == (key.kernel or start.kernel_size))
        path = [wanted if other is layer else 0 for other in elastic.space.layers]
        assert found[key] == pytest.approx(loss_of(with_backbone(base_of(trained, base), growth.backbone(path)), images,
                                                   11), rel=1e-5), key
        assert found[key] != found[None]


def base_of(trained, base):
    return replace(trained, model=base)


def test_settling_keeps_the_function_and_serves_both_modes(grown):
    trained, _, inputs, elastic = grown
    growth = Growth(elastic.space, dict(trained.config.model.backbone), noisy(elastic))
    net = growth.backbone([len(layer.choices) - 1 for layer in elastic.space.layers])
    batch = torch.cat(inputs)
    with torch.no_grad():
        before = net(batch)
        apart = float((copy.deepcopy(net).train()(batch)[-1] - before[-1]).square().mean())
        settle(net, [batch])
        after = net(batch)
        both = copy.deepcopy(net).train()(batch)
    for one, two, three in zip(before, after, both):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(two, three, rtol=1e-2, atol=1e-3)
    assert apart > 1e-4


def test_the_rehearsal_does_not_see_the_images_of_the_scores(segmentor):
    trained = load_trained(*segmentor)
    images = MeasuredImages(trained.config, 1)
    held_out = (3, 5, 21)
    cfg = rehearsal_config(trained.config, trained.config.model.backbone, GROWING, images.without(held_out), 0)
    seen = {item['data_samples'].img_path for item in DATASETS.build(cfg.train_dataloader.dataset)}
    hidden = {images[position]['data_samples'][0].img_path for position in held_out}
    assert len(hidden) == 3
    assert len(seen) == len(images) - 3
    assert not seen & hidden
    assert cfg.train_cfg.max_iters == 20
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(.005)
    assert cfg.optim_wrapper.optimizer.weight_decay == 0
    # A data set that is a part of another one already: places are counted in that part.
    part = copy.deepcopy(trained.config)
    part.train_dataloader.dataset.indices = [8, 6, 4, 2]
    cfg = rehearsal_config(part, part.model.backbone, GROWING, MeasuredImages(part).without([1]), 0)
    left = MeasuredImages(part).order[1]
    assert cfg.train_dataloader.dataset.indices == [place for number, place in enumerate((8, 6, 4, 2))
                                                    if number != left]


def test_files_and_page(rehearsed):
    folder, children = rehearsed
    values = json.loads((folder / 'front.json').read_text())
    growth = values['growth']
    assert growth['steps'] == 20
    assert {row['kind'] for row in growth['candidates']} == {
        'kernel 5', 'kernel 7', 'more channels', 'a layer with kernel 3', 'a layer with kernel 5',
        'a layer with kernel 7'}
    assert growth['loss'] == values['trained']['loss']
    assert 'rehearsal' in values['seconds']
    page = (folder / 'report/index.html').read_text()
    assert 'rehearsed together for 20 weight steps' in page
    assert 'The trained weights stayed as they are.' in page
    assert 'rehearsed model' not in page
    assert (folder / 'report/growth.png').exists()
    for child, budget in zip(children, (1, .6)):
        assert child.share <= budget
    # The rehearsed model is a model as any other.
    assert Architecture.create(str(folder / 'rehearsed/arch.json')) == Architecture.create(values['trained']['arch'])
    assert mean_iou(folder / 'rehearsed') > 60


def test_the_trained_model_stays(segmentor, rehearsed, tmp_path):
    """What the network has is not trained, neck and head are not either, and their BN statistics stay."""
    trained = load_trained(*segmentor)
    own = {key: value for key, value in trained.model.state_dict().items() if not key.startswith('backbone.')}

    def read(folder):
        state = load(folder / 'rehearsed.pth')['state_dict']
        growth = Growth(space_of(trained.backbone, GROWING), dict(trained.config.model.backbone), {
            key.removeprefix('backbone.'): value for key, value in state.items() if key.startswith('backbone.')})
        return state, growth.backbone(growth.space.seed_path).state_dict()

    state, backbone = read(rehearsed[0])
    assert_same({key: state[key] for key in own}, own)
    assert_same(backbone, trained.backbone.state_dict())
    adapt(*segmentor, ('1', ), str(tmp_path / 'work'), replace(OPTIONS, grow=replace(GROWING, kept=False)))
    state, backbone = read(tmp_path / 'work')
    for moved, before in ((state, own), (backbone, trained.backbone.state_dict())):
        assert any(not torch.equal(moved[key], value) for key, value in before.items())
    values = json.loads((tmp_path / 'work/front.json').read_text())
    assert values['growth']['loss'] != values['trained']['loss']
    page = (tmp_path / 'work/report/index.html').read_text()
    assert 'That also trained the network itself: it took the loss from' in page
    assert 'rehearsed model' in page


def test_a_step_that_keeps_everything_grows(segmentor):
    """Of the network as it was nothing would be trained, and its loss has no gradient."""
    trained = load_trained(*segmentor)
    runner = SimpleNamespace(model=nn.Module(), train_loop=None, iter=0)
    for kept in (True, False):
        net = runner.model.backbone = MODELS.build(elastic_section(
            dict(trained.config.model.backbone), trained.backbone, GROWING.space, kept=kept))
        hook = RehearsalHook(share=.02)
        hook.before_train(runner)
        paths = set()
        for runner.iter in range(40):
            hook.before_train_iter(runner, 0)
            paths.add(net.path)
        assert (net.space.seed_path in paths) != kept


def mean_iou(folder):
    cfg = Config.fromfile(str(folder / 'child_config.py'))
    cfg.work_dir = str(folder / 'evaluated')
    cfg.experiment_name = folder.parent.parent.name + folder.name
    return Runner.from_cfg(cfg).val()['mIoU']


@pytest.fixture(scope='module')
def gained(segmentor, rehearsed, tmp_path_factory):
    """An adaptation in which three candidates of growth have a gain: it goes on from doctored scores."""
    whole, _ = rehearsed
    folder = tmp_path_factory.mktemp('gained') / 'work'
    shutil.copytree(whole, folder)
    rows = json.loads((folder / 'scores_0.json').read_text())
    trained = load_trained(*segmentor)
    space = space_of(trained.backbone, GROWING)
    links = len(space.own)
    keys = [Replacement(1, Chain(trained.backbone).links[1].hidden, 5), Replacement(3, space.own[3].largest.
            hidden_channels(space.own[3].in_channels)), Replacement(links + 1, space.added[1].largest.hidden_channels(
                space.added[1].in_channels), 3)]
    assert set(keys) <= set(grown_measured(space))
    for row in rows.values():
        for number, key in enumerate(keys):
            row[':'.join(map(str, key))][0] = row['trained model'][0] - .1 * (number + 1)
    (folder / 'scores_0.json').write_text(json.dumps(rows))
    return folder, adapt(*segmentor, ('1.4', '0.9'), str(folder), OPTIONS)


def test_what_gains_is_chosen_within_the_budget(gained, segmentor):
    folder, (large, small) = gained
    trained = load_trained(*segmentor).architecture
    stages = large.architecture.stages
    assert large.share > 1
    assert large.predicted == pytest.approx(-.6, abs=.05)
    # The kernel, the width and the layer that were said to gain.
    assert stages[1].layers[0].kernel_size == 5
    assert len(stages[2].layers) == len(trained.stages[2].layers) + 1
    assert small.share <= .9
    assert small.predicted < -.3  # gains are kept, and others pay for them
    assert any(layer['width'] < layer['hidden'] for layer in small.layers)
    for child in (large, small):
        assert Architecture.create(str(Path(child.folder) / 'arch.json')) == child.architecture
        assert mean_iou(Path(child.folder)) > 55
        # Nothing of that was true: the loss says so.
        assert child.measured > child.predicted + .2
    values = json.loads((folder / 'front.json').read_text())
    added = [row for row in values['children'][0]['layers'] if row['added'] and row['width']]
    assert [row['name'] for row in added] == [f'layer3.{len(trained.stages[2].layers)}']
    assert 'layers of the children grew' in (folder / 'report/index.html').read_text()


def test_what_is_not_cut_is_the_rehearsed_network(gained, segmentor):
    """A child that only grows is a path of the rehearsed network: the same function."""
    folder, (large, _) = gained
    trained = load_trained(*segmentor)
    state = {key.removeprefix('backbone.'): value for key, value in
             load(folder / 'rehearsed.pth')['state_dict'].items() if key.startswith('backbone.')}
    growth = Growth(space_of(trained.backbone, GROWING), dict(trained.config.model.backbone), state)
    path = [next(number for number, spec in enumerate(layer.choices) if
                 (0 if spec is None else spec.hidden_channels(layer.in_channels)) == row['width']
                 and (0 if spec is None else spec.kernel_size) == row['new_kernel'])
            for layer, row in zip(growth.space.layers, large.layers)]
    wanted = growth.backbone(path)
    cfg = Config.fromfile(str(Path(large.folder) / 'child_config.py'))
    found = MODELS.build(cfg.model).eval()
    found.load_state_dict(load(Path(large.folder) / 'child.pth')['state_dict'])
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        for one, two in zip(found.backbone(x), wanted(x), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3)


class Stop(Exception):
    pass


def test_a_stopped_rehearsal_goes_on_and_ends_alike(segmentor, rehearsed, tmp_path, monkeypatch):
    whole, expected = rehearsed
    draw = RehearsalHook.before_train_iter

    def stop(self, runner, batch_idx, data_batch=None):
        if runner.iter == 13:
            raise Stop
        draw(self, runner, batch_idx, data_batch)

    with monkeypatch.context() as patch:
        patch.setattr(RehearsalHook, 'before_train_iter', stop)
        with pytest.raises(Stop):
            adapt(*segmentor, ('1', '0.6'), str(tmp_path / 'work'), OPTIONS)
    assert not (tmp_path / 'work/rehearsed.pth').exists()
    children = adapt(*segmentor, ('1', '0.6'), str(tmp_path / 'work'), OPTIONS)
    assert_same(load(tmp_path / 'work/rehearsed.pth'), load(whole / 'rehearsed.pth'))
    for child, other in zip(children, expected):
        assert_same(load(Path(child.folder) / 'child.pth'), load(Path(other.folder) / 'child.pth'))


@pytest.mark.parametrize(('budget', 'options', 'message'), [
    ('50', OPTIONS, 'the largest child costs'),
    ('50', replace(OPTIONS, grow=None), 'the largest child costs'),  # a share above 1 grows
    ('1G', replace(OPTIONS, grow=None), 'with --grow, layers can become larger'),
    ('101', OPTIONS, 'must be a share above 0 and not above 100')])
def test_budgets_that_cannot_be_reached(segmentor, tmp_path, budget, options, message):
    with pytest.raises(ValueError, match=message):
        adapt(*segmentor, (budget, ), str(tmp_path / 'work'), options)
    assert not (tmp_path / 'work').exists()


def test_a_folder_of_another_rehearsal_is_refused(segmentor, rehearsed):
    folder, _ = rehearsed
    for growing in (Growing(steps=21), None, Growing(steps=20, rate=.3)):
        options = replace(OPTIONS, grow=growing)
        with pytest.raises(ValueError, match='holds another adaptation'):
            adapt(*segmentor, ('1', ), str(folder), options)


@pytest.mark.parametrize('arguments', [dict(steps=0), dict(share=1.5), dict(share=0), dict(steps=True), dict(rate=0)])
def test_wrong_settings_of_growing(arguments):
    with pytest.raises((ValueError, TypeError)):
        Growing(**arguments)


def test_growing_needs_an_optimizer(segmentor, tmp_path):
    config = write_config(Path(segmentor[0]).parent, untrainable=("optim_wrapper = dict(type='OptimWrapper', ",
                                                                 "other = dict(type='OptimWrapper', "))
    with pytest.raises(ValueError, match='growing trains the model: its config needs optim_wrapper'):
        adapt(str(config), segmentor[1], ('1', ), str(tmp_path / 'work'), OPTIONS)
    assert not (tmp_path / 'work').exists()


def test_a_prepared_search_does_not_grow(segmentor, tmp_path):
    with pytest.raises(ValueError, match='a search that is prepared does not grow'):
        prepare_search(*segmentor, segmentor[0], str(tmp_path / 'work'), OPTIONS)


def test_a_rehearsal_that_diverges_says_so(segmentor, tmp_path):
    config = write_config(Path(segmentor[0]).parent, diverging=('lr=0.1', 'lr=1e30'))
    with pytest.raises(ValueError, match='the rehearsal diverged'):
        adapt(str(config), segmentor[1], ('1', ), str(tmp_path / 'work'), OPTIONS)
    assert not (tmp_path / 'work/rehearsed.pth').exists()
