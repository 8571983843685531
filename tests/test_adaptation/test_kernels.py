"""Blocks whose kernel becomes smaller."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from swapped_blocks import child_of, loss_of, with_backbone
from toy_search import TOY
from toy_segmentation import write_config

from fna_mm import Architecture, FNAChildNet
from fna_mm.adaptation import AdaptOptions, Limits, adapt
from fna_mm.adaptation.candidates import candidates_of
from fna_mm.adaptation.chain import Chain
from fna_mm.adaptation.images import MeasuredImages
from fna_mm.adaptation.kernels import fit_kernels, kernel_layers, smaller_kernels, with_smaller_kernel
from fna_mm.adaptation.measuring import measure_statistics
from fna_mm.adaptation.prices import Prices
from fna_mm.adaptation.refit import refit
from fna_mm.adaptation.scores import Replacement, Scorer
from fna_mm.adaptation.statistics import statistics_of
from fna_mm.adaptation.trained_model import load_trained
from fna_mm.adaptation.work_folder import WorkFolder
from fna_mm.remapping.tensor_remapping import remap_kernel

LARGE = TOY.replace("['k3_e6', 'k3_e6', 'k3_e6']", "['k7_e6', 'k5_e6', 'k3_e6']")


@pytest.fixture(scope='module')
def network(randomize):
    return randomize(FNAChildNet(LARGE, (1, 2), 8)).eval()


@pytest.fixture(scope='module')
def large(segmentor, tmp_path_factory, randomize):
    """Config and checkpoint of a model with large kernels."""
    path = str(write_config(Path(segmentor[0]).parent, large=(TOY, LARGE)))
    cfg = Config.fromfile(path)
    init_default_scope('mmseg')
    model = randomize(MODELS.build(cfg.model))
    checkpoint = tmp_path_factory.mktemp('large') / 'large.pth'
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    return path, str(checkpoint)


def test_which_kernels_there_are(network):
    chain = Chain(network, (32, 32))
    assert [smaller_kernels(link) for link in chain.links] == [(), (), (), (3, 5), (3, ), ()]
    found = candidates_of(chain, Prices('madds'), Limits(min_width=.7))
    assert [str(candidate.spec) for candidate in found[3]] == [
        'k7_e6', 'k7_c32', 'k5_e6', 'k5_c32', 'k3_e6', 'k3_c32']
    assert [str(candidate.spec) for candidate in found[4][-3:]] == ['k3_e6', 'k3_e5', 'None']


def test_the_central_part_of_a_kernel(network):
    link = Chain(network).links[3]
    small = with_smaller_kernel(link, 5)
    assert str(small.spec) == 'k5_e6'
    own = FNAChildNet(LARGE.replace('k7_e6', 'k5_e6'), (1, 2), 8).eval().layer3[0]
    state = link.block.state_dict()
    name = next(iter(kernel_layers(link.block, 7))) + '.conv.weight'
    own.load_state_dict(dict(state, **{name: remap_kernel(state[name], 5)}))
    x = torch.randn(1, 6, 9, 9)
    with torch.no_grad():
        assert torch.allclose(small.block(x), own(x))
    assert link.block.get_submodule(name.removesuffix('.weight')).kernel_size == (7, 7)


@pytest.mark.parametrize('kernel', [3, 5])
def test_a_fitted_kernel_is_closer_and_its_normalisation_the_same_in_both_modes(network, kernel):
    chain = Chain(network)
    images = [torch.randn(4, 3, 64, 64) for _ in range(3)]
    plain, fitted = (with_smaller_kernel(chain.links[3], kernel) for _ in range(2))
    fit_kernels(chain, {(3, kernel): fitted}, images)
    inputs = []
    handle = chain.links[3].block.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    with torch.no_grad():
        for batch in images:
            network(batch)
    handle.remove()
    x = torch.cat(inputs)

    def normalised(link):
        with torch.no_grad():
            (layer, ) = kernel_layers(link.block, link.spec.kernel_size).values()
            return layer.norm(layer.conv(link.block.expand_conv(x)))

    wanted = normalised(chain.links[3])
    before, after = ((normalised(link) - wanted).square().mean() for link in (plain, fitted))
    assert after < .9 * before
    evaluated = normalised(fitted)
    for layer in kernel_layers(fitted.block, kernel).values():
        layer.norm.train()
    assert torch.allclose(normalised(fitted), evaluated, atol=.02)


@pytest.mark.parametrize(('block', 'width', 'kernel'), [(3, 36, 3), (3, 24, 5), (4, 32, 3)])
def test_a_score_is_that_of_the_swapped_block(large, tmp_path, block, width, kernel):
    trained = load_trained(*large)
    images = MeasuredImages(trained.config)
    chain = Chain(trained.backbone, (32, 32))
    statistics = statistics_of(chain)
    measure_statistics(trained.model, chain, statistics, images, range(12), WorkFolder(str(tmp_path), dict(a=1)))
    (_, (score, _)), = Scorer(trained.model, chain, statistics).measure(
        images[15], [Replacement(block, width, kernel)])
    child, origins = child_of(trained, chain, statistics, {block: width}, {block: kernel})
    assert child.architecture.stages[2].layers[block - 3].kernel_size == kernel
    assert score == pytest.approx(loss_of(with_backbone(trained, child), images, 15), rel=1e-5)
    refit(chain, Chain(child), origins, lambda: (
        trained.model.data_preprocessor(images[position], False)['inputs'] for position in range(12)))


def test_kernels_are_adapted(large, tmp_path):
    """Where nothing else may change, the budget takes the kernels."""
    options = AdaptOptions(statistics_images=12, score_images=6, tolerance=100., limits=Limits(1., 3))
    whole, least = (Architecture.parse(text).madds((32, 32), 8) for text in (LARGE, TOY))
    child, = adapt(*large, (least / whole + 1e-6, ), str(tmp_path / 'work'), options)
    assert child.architecture == Architecture.parse(TOY)
    assert child.measured < 10
    again, = adapt(*large, (.98, ), str(tmp_path / 'work'), options)
    assert max(layer.kernel_size for layer in again.architecture.stages[2].layers) in (5, 7)
    assert again.share <= .98
