"""Measured adaptation of ResNets: larger last convolutions, inner channels, an activation behind the sum."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from swapped_blocks import child_of, loss_of, with_backbone
from torch.nn import functional
from toy_families import TOYS
from toy_search import TOY, load
from toy_segmentation import train_segmentor, write_config

from fna_mm import Architecture
from fna_mm.adaptation import AdaptOptions, Growing, Limits, adapt, prepare_search
from fna_mm.adaptation.candidates import LEFT_OUT, candidates_of
from fna_mm.adaptation.chain import Chain
from fna_mm.adaptation.fitting import absorbed
from fna_mm.adaptation.growth import start_growing
from fna_mm.adaptation.images import MeasuredImages
from fna_mm.adaptation.measuring import measure_statistics
from fna_mm.adaptation.narrow_block import narrowed_copy
from fna_mm.adaptation.patches import patches, seen_by
from fna_mm.adaptation.prices import prices_of
from fna_mm.adaptation.refit import refit
from fna_mm.adaptation.scores import Replacement, Scorer
from fna_mm.adaptation.statistics import hidden_features, linear_map, statistics_of
from fna_mm.adaptation.trained_model import load_trained
from fna_mm.adaptation.work_folder import WorkFolder
from fna_mm.latency.flow import measure_latency

OPTIONS = AdaptOptions(statistics_images=12, score_images=8, tolerance=100.)
KINDS = {'basic': 24, 'bottleneck': 32}


def replaced(kind):
    """What turns the toy config into one with a ResNet."""
    return dict(arch=(TOY, TOYS[kind]), maps=('out_indices=(1, 2)', 'out_indices=(0, 1)'),
                head=('in_channels=8, in_index=1', f'in_channels={KINDS[kind]}, in_index=1'))


@pytest.fixture(scope='module', params=list(KINDS))
def residual(request, tmp_path_factory):
    """Config and checkpoint of a trained segmentor with a toy ResNet."""
    return train_segmentor(tmp_path_factory.mktemp(request.param), **replaced(request.param))


@pytest.fixture(scope='module')
def measured(residual, tmp_path_factory):
    """The trained model, its chain, its statistics and the images."""
    trained = load_trained(*residual)
    images, chain = MeasuredImages(trained.config), Chain(trained.backbone, (32, 32))
    statistics = statistics_of(chain)
    folder = WorkFolder(str(tmp_path_factory.mktemp('measured') / 'work'), dict(a=1))
    measure_statistics(trained.model, chain, statistics, images, range(20), folder)
    return trained, chain, statistics, images


def inputs_of(trained, images, position):
    return trained.model.data_preprocessor(images[position], False)['inputs']


def test_the_fit_of_all_channels_is_the_trained_convolution(measured):
    _, chain, statistics, _ = measured
    for (index, kernel), block in statistics.items():
        if kernel != chain.links[index].spec.kernel_size:
            continue
        weight, bias = linear_map(chain.links[index])
        fit = block.fit(block.kept(block.channels))
        assert torch.allclose(fit.weight, weight, atol=1e-4 * float(weight.abs().max()))
        assert torch.allclose(fit.bias, bias, atol=1e-3)
        assert float(fit.error.sum()) < 1e-6 * float(block.moments.target_variance.sum())


def test_absorbed_channels_are_predicted_from_those_that_are_left():
    """Against least squares; features that depend on others can be left out without a loss."""
    generator = torch.Generator().manual_seed(0)
    free = torch.randn(500, 4, generator=generator, dtype=torch.float64)
    mixed = free @ torch.randn(4, 2, generator=generator, dtype=torch.float64) + 3
    features = torch.cat([free, mixed], 1)
    weight = torch.randn(5, 6, 3, 3, generator=generator, dtype=torch.float64)
    kept = torch.arange(4)
    new, constant = absorbed(weight, features.mean(0), features.T.cov(correction=0), kept, ridge=1e-12)
    design = torch.cat([free, torch.ones(500, 1, dtype=torch.float64)], 1)
    solved = torch.linalg.lstsq(design, mixed).solution
    assert torch.allclose(new, weight[:, :4] + torch.einsum('olhw,kl->okhw', weight[:, 4:], solved[:4]), atol=1e-6)
    image = features.T.reshape(1, 6, 20, 25)
    whole, part = (functional.conv2d(image[:, :len(one[0])], one) for one in (weight, new))
    assert torch.allclose(whole, part + constant[:, None, None], atol=1e-6)


@pytest.mark.parametrize('dilation', [1, 2])
def test_patches_times_the_weight_are_the_convolution(dilation):
    convolution = torch.nn.Conv2d(5, 3, 3, padding=dilation, dilation=dilation, bias=False)
    x = torch.randn(2, 5, 9, 7)
    rows, target = seen_by(convolution, x, convolution(x))
    found = torch.einsum('tf,nfhw->nthw', convolution.weight.flatten(1), rows)
    assert torch.allclose(found, target, atol=1e-5)
    some = patches(x, convolution, torch.tensor([0, 31, 62]))
    assert torch.equal(some, rows[..., [0, 31, 62]])


def test_channels_that_nothing_needs_go_first(measured):
    """Of all pairs of channels, the first two in the order cost about the least when the others make up for them."""
    _, chain, statistics, _ = measured
    block = statistics[0, 3]

    def error(gone):
        kept = torch.tensor([one for one in range(block.channels) if one not in gone])
        return float(block.fit(kept).error.sum())

    first = block.orders()['inner'][:2]
    errors = sorted(error(pair) for pair in combinations(range(0, block.channels, 3), 2))
    assert error(first) <= np.quantile(errors, .2)


@pytest.mark.parametrize(('block', 'width'), [(0, 16), (1, 16), (1, LEFT_OUT), (2, 32), (3, 16), (4, 32),
                                              (4, LEFT_OUT)])
def test_a_score_is_that_of_the_swapped_block(measured, block, width):
    trained, chain, statistics, images = measured
    replacement = Replacement(block, width)
    child, _ = child_of(trained, chain, statistics, {block: width})
    scorer, model = Scorer(trained.model, chain, statistics), with_backbone(trained, child)
    for position in (13, 14):
        (_, (seed, _)), (_, (score, _)) = scorer.measure(images[position], [None, replacement])
        assert seed == pytest.approx(loss_of(trained.model, images, position), rel=1e-6)
        assert score == pytest.approx(loss_of(model, images, position), rel=1e-5)


def test_a_smaller_kernel_is_measured_as_it_is_built(measured):
    trained, chain, statistics, images = measured
    child, _ = child_of(trained, chain, statistics, {3: 32}, {3: 3})
    _, (score, _) = next(Scorer(trained.model, chain, statistics).measure(images[13], [Replacement(3, 32, 3)]))
    assert score == pytest.approx(loss_of(with_backbone(trained, child), images, 13), rel=1e-5)
    assert chain.links[3].spec.kernel_size == 5


def test_a_narrowed_copy_shares_nothing_with_the_trained_block(measured):
    trained, chain, statistics, images = measured
    before = {key: value.clone() for key, value in chain.links[1].block.state_dict().items()}
    copy = narrowed_copy(statistics[1, 3], 16)
    x = torch.randn(1, chain.links[1].place.in_channels, 8, 8)
    assert hidden_features(chain.links[1]._replace(block=copy), x).shape == (1, 16, 8, 8)
    for value in copy.state_dict().values():
        value.zero_()
    assert all(torch.equal(before[key], value) for key, value in chain.links[1].block.state_dict().items())


def test_a_refit_comes_closer_to_the_trained_features(measured):
    """On mosaics of four images: single ones have fewer pixels on the last map than a fit has unknowns."""
    trained, chain, statistics, images = measured
    child, origins = child_of(trained, chain, statistics, {0: 16, 1: LEFT_OUT, 2: 32, 3: 32, 4: 16})
    single = [inputs_of(trained, images, position) for position in range(24)]

    def mosaics(own):
        shifted = [own[shift:] + own[:shift] for shift in range(4)]
        return [torch.cat([torch.cat(four[:2], 3), torch.cat(four[2:], 3)], 2) for four in map(list, zip(*shifted))]

    def distance(batches):
        with torch.no_grad():
            return sum(float((child(x)[-1] - trained.backbone(x)[-1]).square().mean()) for x in batches)

    before = distance(mosaics(single[20:]))
    refit(chain, Chain(child), origins, lambda: mosaics(single[:20]))
    assert distance(mosaics(single[20:])) < .95 * before


def test_the_whole_flow_and_its_fine_tuning(residual, tmp_path):
    children = adapt(*residual, ('0.7', '0.4'), str(tmp_path / 'work'), OPTIONS)
    trained = load_trained(*residual).architecture
    for child, budget in zip(children, (.7, .4)):
        assert .85 * budget < child.architecture.madds((32, 32), 8) / trained.madds((32, 32), 8) <= budget
        widths = [width for width in child.widths if width]
        assert all(width % 16 == 0 for width in widths)
        cfg = Config.fromfile(str(Path(child.folder) / 'child_config.py'))
        cfg.work_dir = str(tmp_path / child.budget)
        runner = Runner.from_cfg(cfg)
        assert runner.val()['mIoU'] > 60
        runner.train()
    again = adapt(*residual, ('0.7', ), str(tmp_path / 'work'), OPTIONS)
    assert again[0].architecture == children[0].architecture


@pytest.mark.parametrize(('kind', 'section', 'arch', 'arguments'), [
    ('ResNet', dict(depth=18), 'resnet18', dict(output_stride=32)),
    ('ResNet', dict(depth=50, style='caffe', norm_eval=True, frozen_stages=1), 'resnet50_caffe',
     dict(output_stride=32, norm_eval=True, frozen_stages=1)),
    ('ResNetV1c', dict(depth=18, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), contract_dilation=True),
     'resnet18_v1c', dict(output_stride=8, dilated='contract')),
    ('ResNetV1c', dict(depth=50, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)), 'resnet50_v1c',
     dict(output_stride=16)),
    ('ResNet', dict(depth=34, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2, )), None,
     dict(output_stride=16, out_indices=(2, ))),
])
def test_mms_resnets_are_adapted(tmp_path, kind, section, arch, arguments, randomize):
    """mm's own backbone becomes a child that computes the same; its section is what a child's config has."""
    channels = 2048 if section['depth'] == 50 else 256 if section.get('num_stages') else 512
    text = f'dict(type={kind!r}, {", ".join(f"{name}={value!r}" for name, value in section.items())})'
    path = write_config(tmp_path, backbone=(
        f'dict(type=\'FNAChildNet\', arch="""{TOY}""", out_indices=(1, 2), output_stride=8, norm_cfg=norm_cfg)', text),
        head=('in_channels=8, in_index=1', f'in_channels={channels}, in_index={0 if "num_stages" in section else 3}'))
    init_default_scope('mmseg')
    model = randomize(MODELS.build(Config.fromfile(path).model), seed=3)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'model.pth')
    trained = load_trained(str(path), str(tmp_path / 'model.pth'))
    model.eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(trained.model.decode_head(trained.backbone(x)), model.decode_head(model.backbone(x)),
                              rtol=1e-3, atol=1e-3)
    found = dict(trained.config.model.backbone)
    assert Architecture.create(found['arch']).family == ('resnet' if arch is None else
                                                        Architecture.create(arch).family)
    assert arch is None or found['arch'] == arch
    assert {name: found[name] for name in arguments} == arguments


@pytest.mark.parametrize(('section', 'message'), [
    (dict(depth=18, plugins=[dict(cfg=dict(type='ContextBlock', ratio=.25), position='after_conv1')]), 'plugins='),
    (dict(depth=152), r'with depth=152: it can be a ResNet of depth \[18, 34, 50, 101\]'),
    (dict(depth=18, avg_down=True), 'avg_down=True'),
    (dict(depth=50, multi_grid=(1, 2, 4)), r'multi_grid=\(1, 2, 4\)'),
    (dict(depth=18, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 1)), 'which is no output stride'),
    (dict(depth=50, deep_stem=True, style='caffe'), "deep_stem=True and style='caffe'"),
])
def test_other_resnets_are_refused(section, message):
    from mmseg.models.backbones import ResNet

    from fna_mm.adaptation.trained_model import child_section
    if 'plugins' in section:
        section = dict(section, plugins=None)
        net = ResNet(**section)
        net.plugins, section = [dict()], dict(section, plugins=[dict()])
    else:
        net = ResNet(**section)
    with pytest.raises(ValueError, match=message):
        child_section(dict(section, type='ResNet'), net)


@pytest.fixture(scope='module')
def grown(residual):
    """The trained model, images, and its elastic backbone at the start."""
    trained = load_trained(*residual)
    images = MeasuredImages(trained.config)
    inputs = [inputs_of(trained, images, position) for position in range(6)]
    section = dict(trained.config.model.backbone)
    return trained, inputs, start_growing(trained.backbone, section, Growing(steps=20).space, inputs)


@pytest.mark.parametrize('share', [0, .4, 1])
def test_every_path_starts_with_the_function_of_the_trained_backbone(grown, share):
    trained, inputs, elastic = grown
    elastic.path = elastic.space.sample_path(np.random.default_rng(1), share)
    with torch.no_grad():
        for output, wanted in zip(elastic(inputs[0]), trained.backbone(inputs[0]), strict=True):
            torch.testing.assert_close(output, wanted, rtol=1e-4, atol=1e-4)
    assert share == 0 or any(elastic.path)


def test_what_was_added_trains(grown):
    """What reads new channels starts at zero and gets gradients; so do the scales of new layers."""
    _, inputs, elastic = grown
    elastic.path = [len(layer.choices) - 1 for layer in elastic.space.layers]
    elastic.zero_grad()
    elastic(inputs[0])[-1].square().mean().backward()
    for layer in elastic.space.layers:
        block = elastic.stage(layer.stage)[layer.place]
        if layer.added:
            assert block.outer_conv.bn.weight.grad.abs().sum() > 0
            continue
        hidden = layer.choices[0].hidden_channels(layer.in_channels)
        readers = [block.outer_conv.conv] + ([block.inner_conv.conv] if hasattr(block, 'reduce_conv') else [])
        for reader in readers:
            assert not reader.weight[:, hidden:].any()
        assert readers[0].weight.grad[:, hidden:].abs().sum() > 0


def test_a_resnet_grows(residual, tmp_path):
    options = AdaptOptions(statistics_images=10, score_images=6, tolerance=100., grow=Growing(steps=4))
    children = adapt(*residual, ('1', '0.6'), str(tmp_path / 'work'), options)
    trained = load_trained(*residual).architecture
    for child, budget in zip(children, (1, .6)):
        assert child.architecture.madds((32, 32), 8) <= budget * trained.madds((32, 32), 8)
        cfg = Config.fromfile(str(Path(child.folder) / 'child_config.py'))
        cfg.work_dir = str(tmp_path / child.budget)
        assert Runner.from_cfg(cfg).val()['mIoU'] > 50


def test_a_search_starts_from_a_trained_resnet(residual, tmp_path):
    """Every candidate is fitted; the best path of the prepared search does what the trained model does."""
    folder = Path(residual[0]).parent
    text = Path(residual[0]).read_text()
    kind = 'bottleneck' if 'bottleneck' in text else 'basic'
    supernet = (f'dict(type=\'FNASuperNet\', seed="""{TOYS[kind]}""", layers_per_stage=(2, 3), kernel_sizes=(3, 5), '
                "expand_ratios=(.5, 1), candidate_norm_cfg=dict(type='BN', affine=True, track_running_stats=False)")
    path = folder / 'search.py'
    path.write_text(text.replace(f'dict(type=\'FNAChildNet\', arch="""{TOYS[kind]}"""', supernet))
    prepare_search(*residual, str(path), str(tmp_path / 'work'), OPTIONS)
    init_default_scope('mmseg')
    model = MODELS.build(Config.fromfile(path).model)
    model.load_state_dict(load(tmp_path / 'work/prepared_search.pth')['state_dict'])
    net = model.eval().backbone
    trained = load_trained(*residual)
    images = MeasuredImages(trained.config)
    batch = torch.cat([inputs_of(trained, images, position) for position in range(12)])
    own = list(net.search_space.choice(trained.architecture))
    larger = [layer.index(name if name == 'skip' else f'k5{name[2:]}') for layer, name in (
        (layer, layer[choice]) for layer, choice in zip(net.search_space.candidate_names().values(), own))]
    with torch.no_grad():
        wanted = trained.backbone(batch)[-1]
        net.use_path(own)
        found = net(batch)[-1]
        net.use_path(larger)
        grown = net(batch)[-1]
    # Candidates normalise with the statistics of their batch, the trained model with running ones.
    assert (found - wanted).square().mean() < .05 * wanted.var()
    assert torch.allclose(grown, found, atol=1e-5)  # a larger kernel has the trained one in its centre


def test_milliseconds_of_a_resnet_are_measured(residual, tmp_path):
    """The table has every block that an adaptation may choose."""
    table = measure_latency(residual[0], str(tmp_path / 'table.json'), 'torch', rounds=3)
    trained = load_trained(*residual)
    assert table.of_network(trained.architecture) > 0
    prices, chain = prices_of('latency', str(tmp_path / 'table.json')), Chain(trained.backbone, (32, 32))
    prices.check(trained.backbone, (32, 32))
    found = candidates_of(chain, prices, Limits())
    assert all(candidate.cost >= 0 for block in found for candidate in block)  # a busy machine may say 0
    assert sum(map(len, found)) == 2 * 2 + 1 + 3 + 6 + 4 + 1
