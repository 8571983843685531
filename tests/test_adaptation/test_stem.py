"""The stem: its channels go with the first block, whose hidden channels they are."""

import copy
from dataclasses import replace

import pytest
import torch
from swapped_blocks import loss_of, with_backbone
from toy_search import load
from toy_ssdlite import STEM, Measured

from fna_mm import Architecture, FNAChildNet
from fna_mm.adaptation import AdaptOptions, adapt
from fna_mm.adaptation.candidates import Limits, candidates_of, with_stem
from fna_mm.adaptation.chain import Chain
from fna_mm.adaptation.child import write_fit
from fna_mm.adaptation.prices import Prices
from fna_mm.adaptation.scores import Replacement, Scorer

OPTIONS = AdaptOptions(statistics_images=10, score_images=6, tolerance=100.)


@pytest.fixture(scope='module')
def measured(ssdlite, tmp_path_factory):
    return Measured(ssdlite, tmp_path_factory.mktemp('measured') / 'work')


@pytest.mark.parametrize(('arch', 'is_hidden'), [
    ('mobilenet_v2', True),
    ("[[16, 16], ['k3_e1'], 1]|[[16, 24], ['k3_e6'], 2]|[[24, 32], ['k3_e6'], 2]", False),  # a shortcut needs it
    ("[[32, 16], ['k3_e1', 'k3_e1'], 1]|[[16, 24], ['k3_e6'], 2]|[[24, 32], ['k3_e6'], 2]", False),
    ("[[32, 16], ['k3_e3'], 1]|[[16, 24], ['k3_e6'], 2]|[[24, 32], ['k3_e6'], 2]", False), ('resnet18', False)])
def test_what_stems_are_hidden_channels(arch, is_hidden):
    chain = Chain(FNAChildNet(arch, (2, ), 8 if arch.startswith('[') else 32), (64, 64))
    assert chain.stem_is_hidden == is_hidden
    found = candidates_of(chain, Prices('madds'), Limits(), stem=True)[0]
    kept = candidates_of(chain, Prices('madds'), Limits())[0]
    assert (found != kept) == is_hidden
    if is_hidden:
        assert [candidate.width for candidate in found] == [32, 24, 16, 8]
        assert len(kept) == 1


@pytest.mark.parametrize('cost', ['madds', 'params'])
def test_what_a_narrower_stem_saves(cost):
    net = FNAChildNet('mobilenet_v2')
    prices = Prices(cost)
    found = candidates_of(Chain(net, (64, 96)), prices, Limits(), stem=True)[0]
    for candidate in found:
        other = FNAChildNet(with_stem(net.architecture, candidate.width))
        saved = prices.of_backbone(net, (64, 96)) - prices.of_backbone(other, (64, 96))
        assert found[0].cost - candidate.cost == pytest.approx(saved)
        assert candidate.cost > 0


def test_channels_without_effect_go_first_and_are_not_missed(ssdlite, tmp_path):
    """A third of the stem's channels reads nothing: without them the backbone computes the same."""
    config, checkpoint = ssdlite
    content = load(checkpoint)
    dead = [0, 3, 7, 10, 11, 12, 20, 23]
    for name in ('weight', 'bias'):
        content['state_dict'][f'backbone.conv1.bn.{name}'][dead] = 0
    torch.save(content, tmp_path / 'dead.pth')
    measured = Measured((config, str(tmp_path / 'dead.pth')), tmp_path / 'work')
    model, kept = measured.child({0: 16})
    child = model.backbone
    assert kept[0].tolist() == sorted(set(range(STEM)) - set(dead))
    assert child.architecture.stem_channels == 16
    data = measured.trained.model.data_preprocessor(measured.images[12], False)['inputs']
    with torch.no_grad():
        for one, two in zip(child(data), measured.trained.backbone(data)):
            torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('width', [16, 8])
def test_a_score_is_the_loss_of_the_narrower_network(measured, width):
    """With 8 channels, as many as its output has, the first block has a shortcut that it did not have."""
    scorer = Scorer(measured.trained.model, measured.chain, measured.statistics)
    (_, found), = scorer.measure(measured.images[12], [Replacement(0, width)])
    child = measured.child({0: width})[0].backbone
    assert Chain(child).links[0].block.with_shortcut == (width == 8)
    by_hand = loss_of(with_backbone(measured.trained, child), measured.images, 12)
    assert found.loss == pytest.approx(by_hand, rel=1e-4)


def test_a_shortcut_that_comes_is_made_up_for(measured):
    """The fit knows of the shortcut: without that, the error would be that of the input added to the output."""
    statistics = measured.statistics[0, 3]
    own = statistics.moments.target_variance[:8].sum()
    errors = []
    for of_stem in (True, False):
        other = copy.copy(statistics)
        other.of_stem = of_stem
        model, kept = measured.child({0: 8})
        child = model.backbone
        link, trained = Chain(child).links[0], measured.chain.links[0]
        fit = other.fit(kept[0])
        write_fit(link.output, fit, trained.output.norm.running_var)
        with torch.no_grad():
            image = measured.trained.model.data_preprocessor(measured.images[3], False)['inputs']
            found = link.block(child.conv1(image)), trained.block(measured.trained.backbone.conv1(image))
        errors.append(float((found[0] - found[1]).square().mean(dim=(0, 2, 3)).sum() / own))
    assert errors[0] < .5 * errors[1]


def test_an_adapted_model_has_a_narrower_stem(ssdlite, tmp_path):
    (child, ) = adapt(*ssdlite, ('0.4', ), str(tmp_path / 'work'), OPTIONS)
    state = load(f'{child.folder}/child.pth')['state_dict']
    width = child.widths[0]
    assert width < STEM
    assert state['backbone.conv1.conv.weight'].shape[0] == child.architecture.stem_channels == width
    assert Architecture.create(f'{child.folder}/arch.json').stem_channels == width
    (whole, ) = adapt(*ssdlite, ('0.9', ), str(tmp_path / 'narrow'), replace(OPTIONS, limits=Limits(min_width=1.)))
    assert whole.architecture.stem_channels == STEM
