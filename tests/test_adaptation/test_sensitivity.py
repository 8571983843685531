"""What the errors of maps say about the loss: weights that are found again, and what measured scores gain by them."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from fna_mm.adaptation.scores import Replacement, map_errors, mean_and_error
from fna_mm.adaptation.sensitivity import Score, Sensitivity, steadied

WEIGHTS = np.array([.3, 0., .05])
IMAGES = 16


def measured(noise=1., spread=0., candidates=40, images=IMAGES, seed=0):
    """Candidates whose true scores follow the errors of three maps, and noisy losses of some images."""
    random = np.random.default_rng(seed)
    keys = [Replacement(number, 8) for number in range(candidates)]
    mean = random.lognormal(-3, 1.5, (candidates, len(WEIGHTS)))
    truth = dict(zip(keys, (mean @ WEIGHTS) * np.exp(random.normal(0, spread, candidates))))
    errors = {key: of_key * random.lognormal(0, .1, (images, len(WEIGHTS))) for key, of_key in zip(keys, mean)}
    differences = {key: truth[key] * (1 + noise * random.normal(0, 1, images)) for key in keys}
    return truth, differences, errors


def value(score):
    return score.mean if isinstance(score, Score) else score[0]


def off(scores, truth):
    """The root of the mean square of log of scores over true ones."""
    return np.sqrt(np.mean([np.log(max(value(scores[key]), 1e-6) / truth[key])**2 for key in truth]))


def test_errors_of_maps():
    maps, trained = ([torch.randn(2, channels, 4, 5) for channels in (3, 8)] for _ in range(2))
    assert map_errors(maps, trained) == pytest.approx(
        [float((one - other).square().sum() / other.square().sum()) for one, other in zip(maps, trained)], rel=1e-5)
    assert map_errors(trained, trained) == (0., 0.)
    zero = [torch.zeros(1, 2, 1, 1)]
    assert map_errors(zero, zero) == (0., )


@pytest.mark.parametrize('seed', range(5))
def test_maps_tell_what_few_images_do_not(seed):
    truth, differences, errors = measured(seed=seed)
    scores, found = steadied(differences, errors)
    assert found.weights == pytest.approx(WEIGHTS, abs=.06)
    assert found.spread < .2
    alone = {key: mean_and_error(values) for key, values in differences.items()}
    assert off(scores, truth) < .5 * off(alone, truth)
    assert np.mean([scores[key].error / alone[key][1] for key in truth]) < .6
    # Errors are honest: nearly all scores are within three of them.
    assert np.mean([abs(scores[key].mean - truth[key]) < 3 * scores[key].error for key in truth]) > .9


def test_many_images_are_believed_where_maps_tell_little():
    truth, differences, errors = measured(spread=1., noise=.05)
    scores, found = steadied(differences, errors)
    assert found.spread > .4
    for key, values in differences.items():
        mean, error = mean_and_error(values)
        assert scores[key].mean == pytest.approx(mean, abs=2 * error)


def test_what_contradicts_the_maps_stands_as_it_was_measured():
    truth, differences, errors = measured()
    key = Replacement(7, 8)
    differences[key] = np.full(IMAGES, 40 * truth[key]) * np.linspace(.9, 1.1, IMAGES)
    scores, _ = steadied(differences, errors)
    assert (scores[key].mean, scores[key].error) == pytest.approx(mean_and_error(differences[key]))


@pytest.mark.parametrize('case', ['few candidates', 'one image', 'no maps', 'same maps', 'nothing'])
def test_scores_are_means_where_nothing_can_be_learnt(case):
    truth, differences, errors = measured(candidates=8 if case == 'few candidates' else 40,
                                          images=1 if case == 'one image' else IMAGES)
    if case == 'no maps':
        errors = {key: of_key[:, :0] for key, of_key in errors.items()}
    elif case == 'same maps':
        errors = {key: 0 * of_key for key, of_key in errors.items()}
    elif case == 'nothing':
        differences = errors = {}
    scores, found = steadied(differences, errors)
    assert {key: (score.mean, score.error) for key, score in scores.items()} == {
        key: mean_and_error(values) for key, values in differences.items()}
    assert not any(found.weights)
    assert isinstance(found, Sensitivity)


@pytest.mark.parametrize('seed', range(3))
def test_noise_does_not_choose(seed):
    """With few images and a loss that hardly follows the maps these put the candidates in an order."""
    _, differences, errors = measured(spread=1.5, noise=2., seed=seed)
    scores, found = steadied(differences, errors)
    assert found.spread > .4
    parts, doubts = [], []
    for key, values in differences.items():
        said, (mean, error) = errors[key].mean(0) @ np.array(found.weights), mean_and_error(values)
        parts.append((scores[key].mean - said) / (mean - said))
        doubts.append(scores[key].error / min(error, found.spread * said))
    assert np.median(parts) < .2
    assert np.median(doubts) > .6  # what is not believed of the loss stays in the error


@pytest.mark.parametrize('sign', [-.1, 0])
def test_maps_put_candidates_in_an_order_where_the_loss_does_not_grow(sign):
    """As that of a model that is not trained to the end, with noise on every image."""
    random = np.random.default_rng(3)
    truth, differences, errors = measured()
    differences = {key: sign * values + random.normal(0, .01, IMAGES) for key, values in differences.items()}
    scores, found = steadied(differences, errors)
    assert min(found.weights) > 0
    pairs = {key: mean_and_error(values) for key, values in differences.items()}
    calm = [key for key, (mean, error) in pairs.items() if abs(mean) < 2 * error]
    assert len(calm) > 20
    said = [errors[key].mean(0) @ np.array(found.weights) for key in calm]
    assert spearmanr(said, [scores[key].mean + scores[key].error for key in calm]).statistic > .9
    assert max(scores[key].mean for key in calm) < 3 * .01 / IMAGES**.5


def test_a_candidate_that_changes_nothing_has_no_score():
    truth, differences, errors = measured()
    key = Replacement(3, 8)
    differences[key], errors[key] = np.zeros(IMAGES), np.zeros((IMAGES, len(WEIGHTS)))
    scores, _ = steadied(differences, errors)
    assert (scores[key].mean, scores[key].error) == (0., 0.)
