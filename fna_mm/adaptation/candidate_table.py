"""The table of all candidates with their costs and values, from which every budget is answered."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from fna_mm.adaptation.candidates import LEFT_OUT, Candidate, Limits, candidates_of
from fna_mm.adaptation.chain import Chain
from fna_mm.adaptation.outside import OutsideChoice
from fna_mm.adaptation.prices import Prices
from fna_mm.adaptation.scores import Curve, Replacement, mean_and_error
from fna_mm.adaptation.sensitivity import Score, Sensitivity, steadied
from fna_mm.adaptation.taps import Tap
from fna_mm.backbones.elastic_space import ElasticSpace
from fna_mm.cost.choice import DepthLimit, choose

#: Candidates of one network are measured at most.
MOST_MEASURED = 150
#: A width is measured itself if it differs from every measured one by more than this factor.
_NEAR = 1.2
#: A gain counts less this number of standard errors: of sixty candidates, ten gain one standard error by chance.
_GAIN_ERRORS = 2.
#: Shares of a block's hidden channels at which its curve is drawn.
_SHARES = tuple(round(1 - step / 20, 2) for step in range(20))


class Choice(NamedTuple):
    """What was chosen for a budget.

    Args:
        candidates (tuple[Candidate, ...]): One for every row of the table: blocks first.
        cost (float): Cost of the whole backbone.
        predicted (float): Sum of the scores: by how much the loss is said to grow.
        error (float): Standard error of that sum, over images.
        outside (OutsideChoice, optional): Widths of neck and head. Defaults to None: they stay.
    """

    candidates: tuple[Candidate, ...]
    cost: float
    predicted: float
    error: float
    outside: Optional[OutsideChoice] = None


def _error_of_sum(rows: Sequence[np.ndarray]) -> float:
    """The standard error of the sum of what several candidates add on the same images; of none it is 0."""
    return mean_and_error(np.sum(rows, 0))[1] if rows else 0.


class CandidateTable:
    """Candidates, costs and, as soon as there are measurements, curves of scores.

    Args:
        chain (Chain): The trained backbone; its places know their size.
        prices (Prices): What blocks cost.
        limits (Limits): Limits of width and depth.
        space (ElasticSpace, optional): What the backbone may grow to. Layers that may be added are rows of the table
            behind the blocks. Defaults to None: it does not grow.
        taps (Sequence[Tap]): Maps of the backbone that can be narrowed; the last convolution is the last row then.
            Defaults to ().
        stem (bool): As in :func:`candidates_of`. Defaults to False.
    """

    def __init__(self, chain: Chain, prices: Prices, limits: Limits, space: Optional[ElasticSpace] = None,
                 taps: Sequence[Tap] = (), stem: bool = False) -> None:
        self.chain, self.limits, self.space = chain, limits, space
        self.candidates = candidates_of(chain, prices, limits, space, [tap.row for tap in taps], stem)
        #: Hidden channels of every block, and the channels of the last convolution if these can be narrowed.
        self.channels = [link.hidden for link in chain.links]
        self.channels += [tap.width for tap in taps if tap.row == len(chain.links)]
        #: Row of a tap → what each of its channels costs in neck and head, if the budget is meant for these, too.
        self.read_costs: dict[int, float] = {}
        blocks = sum(block[0].cost for block in self.candidates)
        self.total = prices.of_backbone(chain.backbone, chain.input_shape or (0, 0))
        self.fixed = self.total - blocks
        self.curves: list[Curve] = []
        self._differences: Mapping[Replacement, np.ndarray] = {}
        #: What the maps say about the loss.
        self.sensitivity = Sensitivity((), float('inf'))
        #: What neck and head may become, and what they cost as they are; empty if they stay.
        self.outside: Sequence[OutsideChoice] = ()
        self.rest = 0.

    @property
    def allowed(self) -> list[list[int]]:
        """The widths of every block's candidates."""
        return [[candidate.width for candidate in block] for block in self.candidates]

    def _solve(self, values: Sequence[Sequence[float]], costs: Sequence[Sequence[float]],
               budget: float) -> Optional[list[int]]:
        """The indices with the least values within a budget of the blocks alone, and within the limit of depth."""
        limits, start = [], 0
        for stage in self.chain.backbone.architecture.stages:
            depth = len(stage.layers)
            limits.append(DepthLimit(start, start + depth, max(0, depth - self.limits.min_depth)))
            start += depth
        left_out: list[Optional[int]] = [len(block) - 1 if block[-1].width == LEFT_OUT else None
                                         for block in self.candidates]
        left_out += [None] * (len(values) - len(left_out))
        return choose(values, costs, budget, limits, left_out)

    @property
    def costs(self) -> list[list[float]]:
        """The costs of every block's candidates, with what they save in neck and head if that is asked for."""
        return [[candidate.cost - self._saved(row, candidate) for candidate in block]
                for row, block in enumerate(self.candidates)]

    def _saved(self, row: int, candidate: Candidate) -> float:
        per_channel = self.read_costs.get(row, 0.)
        return per_channel * (self.channels[row] - candidate.width) if per_channel else 0.

    @property
    def largest(self) -> float:
        """The cost of the largest child."""
        return self.fixed + sum(max(costs) for costs in self.costs)

    @property
    def smallest(self) -> float:
        """The least cost that a choice can have, with the stem and what is never changed."""
        cheapest = self._solve(self.costs, [[0.] * len(block) for block in self.candidates], 0.)
        assert cheapest is not None
        return self.fixed + sum(costs[index] for costs, index in zip(self.costs, cheapest))

    def learn(self, differences: Mapping[Replacement, np.ndarray], errors: Mapping[Replacement, np.ndarray]) -> None:
        """Make the curves of scores.

        Args:
            differences (Mapping[Replacement, np.ndarray]): Candidate → what it adds to the loss of every image.
            errors (Mapping[Replacement, np.ndarray]): Candidate → errors of the maps on every image, (images, maps).
        """
        self._differences = differences
        links = self.chain.links
        grown = {key for key in differences if key.block >= len(self.channels) or key.width > self.channels[key.block]
                 or key.block < len(links) and key.kernel > links[key.block].spec.kernel_size}
        #: Candidate of growth → its score, below zero if it is a gain, and its standard error. Maps that differ from
        #: the trained ones may be better ones: here they say nothing.
        self.grown = {key: mean_and_error(differences[key]) for key in sorted(grown)}
        self._own, self.sensitivity = steadied(
            {key: values for key, values in differences.items() if key not in grown}, errors)
        self._scores = {**self._own, **{key: Score(differences[key]) for key in grown}}
        own = {key: (score.mean, score.error) for key, score in self._own.items() if not key.kernel}
        self.curves = [Curve(channels, {key.width: pair for key, pair in own.items() if key.block == index})
                       for index, channels in enumerate(self.channels)]
        added: dict[tuple[int, int], list[tuple[float, float]]] = {}
        for key, score in self._own.items():
            if key.kernel:
                added.setdefault((key.block, key.kernel), []).append(
                    (score.mean - self.curves[key.block](key.width)[0], score.error))
        #: (block, smaller kernel) → what it adds to the score of any width, and its standard error.
        self._kernels = {place: (max(0., float(np.mean([mean for mean, _ in pairs]))), max(error for _, error in pairs))
                         for place, pairs in added.items()}

    def score(self, block: int, candidate: Candidate) -> tuple[float, float]:
        """The score of a candidate and its standard error.

        A smaller kernel adds the same to the score of every width: what it added to those that were measured with it.
        What a larger kernel gains is in proportion to the channels that have it.

        Args:
            block (int): Index of the block, or of a layer that may be added.
            candidate (Candidate): One of its candidates.
        """
        if block >= len(self.channels):
            return (0., 0.) if candidate.spec is None else self.grown[
                Replacement(block, candidate.width, candidate.kernel)]
        if block == len(self.chain.links):
            return self.curves[block](candidate.width)
        link = self.chain.links[block]
        mean, error = (self.grown[Replacement(block, candidate.width)] if candidate.width > link.hidden else
                       self.curves[block](candidate.width))
        if candidate.kernel in (0, link.spec.kernel_size):
            return mean, error
        if candidate.kernel > link.spec.kernel_size:
            added, own_error = self.grown[Replacement(block, link.hidden, candidate.kernel)]
            if added < 0:
                added *= min(1., candidate.width / link.hidden)
        else:
            added, own_error = self._kernels[block, candidate.kernel]
        return mean + added, float(np.hypot(error, own_error))

    def _value(self, block: int, candidate: Candidate) -> float:
        """What is added up: the score and what is not certain of it."""
        mean, error = self.score(block, candidate)
        return mean + (_GAIN_ERRORS if mean < 0 else 1.) * error

    def choose(self, budget: float) -> Optional[Choice]:
        """The choice for a budget of the backbone; None if nothing is within it.

        What is added up is each score plus one standard error, or two if it is a gain: noise is no gain, and what is
        not certain costs.
        """
        values, costs = [[self._value(index, candidate) for candidate in block]
                         for index, block in enumerate(self.candidates)], self.costs
        if self.outside:  # neck and head are one more block; the budget is meant for all
            values.append([choice.value for choice in self.outside])
            costs.append([choice.cost for choice in self.outside])
            budget += self.rest
        picked = self._solve(values, costs, budget - self.fixed)
        if picked is None:
            return None
        chosen = tuple(block[index] for block, index in zip(self.candidates, picked))
        outside = self.outside[picked[-1]] if self.outside else None
        predicted = sum(self.score(index, candidate)[0] for index, candidate in enumerate(chosen))
        error, cost = self._error(chosen), self.fixed + sum(candidate.cost for candidate in chosen)
        if outside is None:
            return Choice(chosen, cost, predicted, error)
        return Choice(chosen, cost, predicted + outside.predicted, float(np.hypot(error, outside.error)), outside)

    def _kernel(self, block: int, candidate: Candidate) -> int:
        """The kernel as replacements have it: 0 for the block's own, or if it is left out."""
        links = self.chain.links
        own = block < len(links) and candidate.kernel == links[block].spec.kernel_size
        return 0 if own else candidate.kernel

    def _nearest(self, chosen: Sequence[Candidate]) -> list[Replacement]:
        """The measured candidates next to those of a choice, without blocks that stay."""
        result = []
        for index, candidate in enumerate(chosen):
            kernel = self._kernel(index, candidate)
            if candidate == self.candidates[index][0]:
                continue
            result.append(min((key for key in self._differences if key.block == index
                               and (key.width == LEFT_OUT) == (candidate.width == LEFT_OUT)),
                              key=lambda key: (key.kernel != kernel, abs(key.width - candidate.width))))
        return result

    def _error(self, chosen: Sequence[Candidate]) -> float:
        """The standard error of the sum of scores as it was measured, without what the maps say.

        Images are shared by all scores, so errors do not just add up; and the weights of the maps, which are found on
        the same images, are as certain as the whole.
        """
        return _error_of_sum([self._differences[key] for key in self._nearest(chosen)])

    def doubt(self, choice: Choice) -> float:
        """What is not certain of a choice: the standard error of its sum of scores, with what the maps say.

        It lacks what all scores have in common, by which no choice changes: how much loss the errors of maps stand for.

        Args:
            choice (Choice): A choice.
        """
        scores = [self._scores[key] for key in self._nearest(choice.candidates)]
        outside = [] if choice.outside is None else [choice.outside.error]
        return float(np.hypot.reduce([_error_of_sum([score.values for score in scores]),
                                      *(score.doubt for score in scores), *outside]))

    def unmeasured(self, choice: Choice) -> list[Replacement]:
        """The chosen candidates whose width is far from every one that was measured with their kernel."""
        result = []
        for index, (channels, candidate) in enumerate(zip(self.channels, choice.candidates)):
            kernel = self._kernel(index, candidate)
            if candidate.width > channels or kernel and kernel > self.chain.links[index].spec.kernel_size:
                continue  # as wide as it was measured, or narrower with a kernel that no narrow block was fitted with
            known = [key.width for key in self._own
                     if key.block == index and key.width and key.kernel == kernel]
            known += [] if kernel else [channels]
            if candidate.width and all(not 1 / _NEAR <= candidate.width / width <= _NEAR for width in known):
                result.append(Replacement(index, candidate.width, kernel))
        return result

    def blocks(self) -> list[dict[str, Any]]:
        """Of every block what a page draws: name, stage, hidden channels, and scores where they are known."""
        result = []
        for index, (row, curve) in enumerate(zip(self._named(), self.curves)):
            hidden = row['hidden']
            own = {key.width: (score.mean, score.error) for key, score in self._own.items()
                   if key.block == index and not key.kernel}
            floor = min((width for width in own if width), default=hidden)
            scores = [curve(round(share * hidden))[0] if round(share * hidden) >= floor else None for share in _SHARES]
            result.append(dict(
                name=row['name'], stage=row['stage'], hidden=hidden, shares=list(_SHARES), scores=scores,
                measured={str(width): list(pair) for width, pair in own.items() if width},
                left_out=list(own[LEFT_OUT]) if LEFT_OUT in own else None))
        return result

    def layers_of(self, choice: Choice) -> list[dict[str, Any]]:
        """Of every layer what a page draws of a child: name, stage, and hidden channels and kernel before and now.

        Args:
            choice (Choice): A choice.
        """
        rows = [dict(row, width=candidate.width, new_kernel=candidate.kernel)
                for row, candidate in zip([*self._named(), *self._added()], choice.candidates)]
        return sorted(rows, key=lambda row: (row['stage'], row['added']))

    def _named(self) -> list[dict[str, Any]]:
        """Of every block, and of the last convolution if it can be narrowed, name, stage, channels and kernel."""
        rows = [dict(name=link.name, stage=link.stage, added=False, hidden=link.hidden, kernel=link.spec.kernel_size)
                for link in self.chain.links]
        rows += [dict(name='conv2', stage=self.chain.backbone.num_stages, added=False, hidden=channels, kernel=0)
                 for channels in self.channels[len(rows):]]
        return rows

    def _added(self) -> list[dict[str, Any]]:
        return [dict(name=f'layer{layer.stage + 1}.{layer.place}', stage=layer.stage, added=True, hidden=0, kernel=0)
                for layer in (self.space.added if self.space else ())]

    def growth(self) -> list[dict[str, Any]]:
        """The measured candidates of growth: name and stage of the layer, what grows, score and standard error."""
        links = self.chain.links
        names = [dict(name=link.name, stage=link.stage) for link in links] + self._added()
        result = []
        for key, (score, error) in self.grown.items():
            kind = (f'kernel {key.kernel}' if key.kernel and key.block < len(links) else
                    'more channels' if key.block < len(links) else f'a layer with kernel {key.kernel}')
            result.append(dict(name=names[key.block]['name'], stage=names[key.block]['stage'], kind=kind, score=score,
                               error=error))
        return sorted(result, key=lambda row: row['stage'])
