"""Sensitivity: how the loss follows the errors of the backbone's maps, which tells scores from few images.

The difference of the loss on one image is mostly noise: which anchors are matched, which pixels are hard. The relative
squared error of the maps that the backbone returns is nearly the same on every image, and on average the loss grows in
proportion to it, each map with a weight of its own. The weights are found from all candidates together.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from fna_mm.adaptation.scores import Replacement, mean_and_error

#: Relative spreads that are tried, of what the loss really grows by around what the maps say.
_SPREADS = np.geomspace(.05, 1, 30)
#: The largest spread of a loss that follows the maps (SSDLite's). Where a larger one is found, the loss of so few
#: images is mostly noise, and noise must not choose: scores are put together as if the spread were this one.
_MOST_SPREAD = .4
#: Rounds of weights and spread, each from the other.
_ROUNDS = 20
#: A measured score that is this many standard errors away from what the maps say stands as it was measured.
_CONTRADICTED = 3.
#: Weight of all maps in common, as a share of what could have been measured, if the loss does not grow with them.
_UNSEEN = .01
#: Candidates for every map that are needed: weights from fewer would be of these candidates alone.
_LEAST_CANDIDATES = 4


class Sensitivity(NamedTuple):
    """What the maps say about the loss.

    Args:
        weights (tuple[float, ...]): By how much the loss grows when the relative squared error of a map is 1; one for
            every map.
        spread (float): Standard deviation of what the loss really grows by, as a share of what the maps say.
    """

    weights: tuple[float, ...]
    spread: float


class Score(NamedTuple):
    """By how much a candidate is said to add to the loss.

    Args:
        values (np.ndarray): What it adds on every image, (images,).
        doubt (float): Standard deviation of what is not certain on any number of images. Defaults to 0.
    """

    values: np.ndarray
    doubt: float = 0.

    @property
    def mean(self) -> float:
        """The score."""
        return mean_and_error(self.values)[0]

    @property
    def error(self) -> float:
        """Its standard error."""
        return float(np.hypot(mean_and_error(self.values)[1], self.doubt))


def steadied(differences: Mapping[Replacement, np.ndarray], errors: Mapping[Replacement, np.ndarray]
             ) -> tuple[dict[Replacement, Score], Sensitivity]:
    """The scores of candidates from what was measured and from what the maps say, each by its precision.

    Args:
        differences (Mapping[Replacement, np.ndarray]): Candidate → what it adds to the loss of every image, (images,).
        errors (Mapping[Replacement, np.ndarray]): Candidate → errors of its maps on these images, (images, maps).

    Returns:
        tuple: Candidate → score; and what the maps say. With few candidates or one image the scores are the
        differences, and the weights are 0.
    """
    keys = list(differences)
    pairs = [mean_and_error(differences[key]) for key in keys]
    means, own = (np.array(column, float) for column in zip(*pairs)) if pairs else (np.empty(0), np.empty(0))
    maps = np.array([errors[key].mean(0) for key in keys])
    measured = {key: Score(values) for key, values in differences.items()}
    number = maps.shape[-1] if keys else 0
    nothing = Sensitivity((0., ) * number, float('inf'))
    if len(keys) < _LEAST_CANDIDATES * number or not number or not np.isfinite(own).all():
        return measured, nothing
    # No difference at all, of which the error is 0, too, says nothing.
    own = np.maximum(own, own[own > 0].min(initial=1.))
    even = maps.sum(1)
    if not even.any():
        return measured, nothing
    # The loss of a model that is not trained to the end may not grow at all. Then the maps do no more than to put the
    # candidates in an order, far below what could have been measured.
    least = _UNSEEN * float(np.median(own[even > 0] / even[even > 0]))
    share = max(least, float((even / own**2) @ means) / float((even / own**2) @ even))
    weights, spread = _fitted(means, own, maps, share, least)
    said, doubt = maps @ weights, spread * _scale(maps, weights, share)
    believed = min(1., _MOST_SPREAD / spread) * doubt
    trust = believed**2 / (believed**2 + own**2)
    trust[np.abs(means - said) > _CONTRADICTED * np.hypot(own, doubt)] = 1.
    scores = {key: Score(part * differences[key] + (1 - part) * (errors[key] @ weights), float((1 - part) * unsure))
              for key, part, unsure in zip(keys, trust, doubt)}
    return scores, Sensitivity(tuple(weights.tolist()), spread)


def _scale(maps: np.ndarray, weights: np.ndarray, share: float) -> np.ndarray:
    """What a doubt is in proportion to. A map whose weight was found to be small may have more nevertheless."""
    return np.hypot(maps @ weights, share * maps.sum(1)) / 2**.5


def _fitted(means: np.ndarray, own: np.ndarray, maps: np.ndarray, share: float, least: float
            ) -> tuple[np.ndarray, float]:
    """The weights of the maps (least squares) and the most likely spread.

    Args:
        means (np.ndarray): Measured scores, (candidates,).
        own (np.ndarray): Their standard errors.
        maps (np.ndarray): Errors of the maps, (candidates, maps).
        share (float): The weight that all maps would have in common.
        least (float): The least weight of a map.
    """
    weights, spread = np.full(maps.shape[1], share), 1.
    for _ in range(_ROUNDS):
        precision = 1 / np.hypot(own, spread * _scale(maps, weights, share))
        weights = np.maximum(nnls(maps * precision[:, None], means * precision)[0], least)
        variances = own**2 + (_SPREADS[:, None] * _scale(maps, weights, share))**2
        likelihood = -np.sum(np.log(variances) + (means - maps @ weights)**2 / variances, 1)
        spread = float(_SPREADS[int(likelihood.argmax())])
    return weights, spread
