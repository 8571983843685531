"""Scores: how much the task loss of the trained model grows when one block becomes something else."""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Optional, Union

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression
from torch import Tensor
from torch.nn import functional

from fna_mm import families
from fna_mm.adaptation.candidates import LEFT_OUT
from fna_mm.adaptation.chain import Chain, GivenFeatures, Link, Maps, Watched, watched
from fna_mm.adaptation.fitting import Fit
from fna_mm.adaptation.kernels import smaller_kernels
from fna_mm.adaptation.narrow_block import narrowed_copy
from fna_mm.adaptation.statistics import Statistics, hidden_features
from fna_mm.adaptation.taps import TapsStatistics
from fna_mm.backbones.elastic_space import ElasticSpace
from fna_mm.families import BlockSpec

#: Shares of a block's hidden channels that are measured first.
FIRST_SHARES = (.75, .5, .3)


class Replacement(NamedTuple):
    """A measured candidate.

    Args:
        block (int): Index of the block in the chain; layers that may be added are counted behind its blocks.
        width (int): Its hidden channels; 0 leaves it out.
        kernel (int): Side of its kernel. Defaults to 0: the block's own.
    """

    block: int
    width: int
    kernel: int = 0


class GrownBlock(NamedTuple):
    """A rehearsed block that is measured in a trained backbone.

    Args:
        block (nn.Module): The block.
        position (int): Index of the block of the chain that it stands for, or behind which it stands.
        added (bool): Whether it stands behind that block.
    """

    block: Any
    position: int
    added: bool


def replacement_of(space: ElasticSpace, number: int, spec: BlockSpec) -> Replacement:
    """The replacement that a choice of an elastic layer is measured as.

    Args:
        space (ElasticSpace): What the backbone may grow to.
        number (int): Index of the layer in the largest network.
        spec (BlockSpec): One of its choices.
    """
    layer = space.layers[number]
    before = sum(not other.added for other in space.layers[:number])
    row = len(space.own) + number - before if layer.added else before
    start = layer.choices[0]
    kernel = 0 if start is not None and start.kernel_size == spec.kernel_size else spec.kernel_size
    return Replacement(row, spec.hidden_channels(layer.in_channels), kernel)


def grown_measured(space: ElasticSpace) -> list[Replacement]:
    """The candidates of growth that are measured: larger kernels and more channels, each alone, and added layers.

    Args:
        space (ElasticSpace): What the backbone may grow to.
    """
    result = []
    for number, layer in enumerate(space.layers):
        start = layer.choices[0]
        for spec in layer.choices[1:]:
            assert spec is not None
            alone = start is None or (start.kernel_size == spec.kernel_size) != (
                start.hidden_channels(layer.in_channels) == spec.hidden_channels(layer.in_channels))
            if alone:
                result.append(replacement_of(space, number, spec))
    return result


def first_measured(chain: Chain, allowed: Sequence[Sequence[int]], last: int = 0) -> list[Replacement]:
    """The candidates that are measured first: a handful of widths of every block, and leaving it out.

    Args:
        chain (Chain): The backbone.
        allowed (Sequence[Sequence[int]]): The widths of every block's candidates, and of the last convolution's if
            that can be narrowed.
        last (int): Channels of the last convolution; 0 if it stays. Defaults to 0.
    """
    result = []
    step = families.family(chain.backbone.family).width_step
    if last:
        row = len(chain.links)
        result += [Replacement(row, width) for width in _first_widths(last, allowed[row], step)]
    for index, (link, legal) in enumerate(zip(chain.links, allowed)):
        result += [Replacement(index, width) for width in _first_widths(link.hidden, legal, step)]
        if LEFT_OUT in legal:
            result.append(Replacement(index, LEFT_OUT))
        half = min((width for width in legal if width != LEFT_OUT), key=lambda width: abs(width - link.hidden / 2))
        result += [Replacement(index, half, kernel) for kernel in smaller_kernels(link) if link.spec.searchable]
    return result


def _first_widths(channels: int, legal: Sequence[int], step: int) -> list[int]:
    """The widths of some channels that are measured first, falling."""
    wanted = {max(step, round(share * channels / step) * step) for share in FIRST_SHARES}
    smallest = min((width for width in legal if width != LEFT_OUT), default=channels)
    return sorted({width for width in (*wanted, smallest) if width in legal and width != channels}, reverse=True)


@contextmanager
def same_random_numbers() -> Iterator[None]:
    """Start from the same random numbers, which some losses sample with, and put back what was there."""
    states = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def map_errors(maps: Sequence[Tensor], trained: Sequence[Tensor]) -> tuple[float, ...]:
    """The relative squared error of every map: its squared difference over the squares of the trained one.

    Args:
        maps (Sequence[Tensor]): What a backbone returns, (N, C, H, W) each.
        trained (Sequence[Tensor]): What the trained one returns, of the same shapes.
    """
    return tuple(float((one - other).square().sum(dtype=torch.float64)
                       / other.square().sum(dtype=torch.float64).clamp(min=torch.finfo(torch.float32).tiny))
                 for one, other in zip(maps, trained))


class Measurement(NamedTuple):
    """What was measured of a candidate on an image.

    Args:
        loss (float): The loss.
        errors (tuple[float, ...]): Relative squared error of every map that the backbone returns.
    """

    loss: float
    errors: tuple[float, ...]


#: Image → candidate → what was measured; None stands for the trained model.
Measurements = Mapping[int, Mapping[Optional[Replacement], Measurement]]


class Scorer:
    """Measures the task loss with one block replaced, and how far the maps of the backbone are from the trained ones.

    Args:
        model (nn.Module): The trained model in evaluation mode.
        chain (Chain): Its backbone.
        statistics (Statistics): Statistics of its blocks.
        grown (Mapping[Replacement, GrownBlock], optional): Rehearsed blocks. Defaults to None: there are none.
        taps (Mapping[int, TapStatistics], optional): Statistics of taps that can be narrowed. Defaults to None: there
            are none.
    """

    def __init__(self, model: Any, chain: Chain, statistics: Statistics,
                 grown: Optional[Mapping[Replacement, GrownBlock]] = None,
                 taps: Optional[TapsStatistics] = None) -> None:
        self.taps = taps or {}
        self.model, self.chain, self.statistics, self.grown = model, chain, statistics, grown or {}
        self._fits: dict[Replacement, tuple[Tensor, Fit]] = {}
        #: Narrower blocks that are more than a part of the features of the trained one.
        self._narrowed: dict[Replacement, Link] = {}

    def _fit(self, measured: Replacement) -> tuple[Tensor, Fit]:
        if measured not in self._fits:
            if measured.width == LEFT_OUT:
                source = measured.block - 1
                block = self.statistics[source, self.chain.links[source].spec.kernel_size]
                kept = block.kept(block.channels)
                self._fits[measured] = kept, block.fit(kept, absorb=True)
            else:
                block = self.statistics[measured.block, self._kernel(measured)]
                kept = block.kept(measured.width)
                self._fits[measured] = kept, block.fit(kept)
        return self._fits[measured]

    def _kernel(self, replacement: Replacement) -> int:
        return replacement.kernel or self.chain.links[replacement.block].spec.kernel_size

    @torch.no_grad()
    def measure(self, batch: Mapping[str, Any], wanted: Sequence[Optional[Replacement]]
                ) -> Iterator[tuple[Optional[Replacement], Measurement]]:
        """Measure candidates on a batch, one after the other.

        Args:
            batch (Mapping): A batch as the model's data preprocessor takes it.
            wanted (Sequence[Replacement | None]): The candidates; None stands for the trained model.

        Yields:
            tuple: Candidate and what was measured.
        """
        given, backbone = GivenFeatures(), self.model.backbone
        links = self.chain.links
        data = self.model.data_preprocessor(batch, False)
        inputs: list[Tensor] = []
        noted: list[Maps] = []
        maps: Maps = {}
        x = self.chain.stem(data['inputs'])
        with watched({index: link.output for index, link in enumerate(links)}) as seen:
            for index in range(len(links)):
                inputs.append(x)
                x = self.chain.step(index, x, maps)
                noted.append(dict(maps))  # with what the block's tap gives, without its output
                self.chain.note(index, x, maps)
        inputs.append(x)
        trained = self.chain.results(x, maps)
        for candidate in wanted:
            if candidate is None:
                features = trained
            elif candidate in self.grown:
                features = self._grown(self.grown[candidate], inputs, noted)
            elif candidate.block == len(links):  # the last convolution
                of_tap = self.taps[candidate.block]
                place = of_tap.tap.position
                restored = of_tap.restored(trained[place], of_tap.kept(candidate.width))
                features = (*trained[:place], restored, *trained[place + 1:])
            else:
                y = self._replaced(candidate, inputs, seen)
                features = self.chain.after(candidate.block, y, self._noted(candidate, noted[candidate.block]))
            self.model.backbone = given
            try:
                loss = self._loss(given, features, data)
            finally:
                self.model.backbone = backbone
            yield candidate, Measurement(loss, map_errors(features, trained))

    def _noted(self, candidate: Replacement, maps: Maps) -> Maps:
        """The maps in front of a candidate's output; of a tapped block, with what its kept channels tell of the map."""
        of_tap = self.taps.get(candidate.block)
        if of_tap is None or candidate.width in (LEFT_OUT, of_tap.tap.width):
            return maps
        name = of_tap.tap.name
        kept = self.statistics[candidate.block, self._kernel(candidate)].kept(candidate.width)
        return {**maps, name: of_tap.restored(maps[name], kept)}

    def _replaced(self, candidate: Replacement, inputs: Sequence[Tensor], seen: Mapping[int, Watched]) -> Tensor:
        """The output of a block, or of the one before it if it is left out, with the candidate in its place."""
        kept, fit = self._fit(candidate)
        source = candidate.block - (candidate.width == LEFT_OUT)
        link = self.chain.links[source]
        narrowed = self._narrowed_link(candidate)
        if narrowed:
            features = hidden_features(narrowed, inputs[source])
        else:
            features = (hidden_features(self.statistics[source, candidate.kernel].link, inputs[source])
                        if candidate.kernel else seen[source].features)
            features = features[:, kept.to(features.device)]
        conv = link.output.conv
        weight = fit.weight.to(features).reshape(len(fit.weight), -1, *conv.kernel_size)
        y = functional.conv2d(features, weight, fit.bias.to(features), padding=conv.padding, dilation=conv.dilation)
        y = y + link.beside(inputs[source])
        if candidate.width != LEFT_OUT and self.statistics[source, self._kernel(candidate)].adds_input(candidate.width):
            y = y + inputs[source][:, kept.to(y.device)]
        return link.finished(y)

    def _narrowed_link(self, candidate: Replacement) -> Optional[Link]:
        """The narrower block of a candidate, if its features are not simply some of the trained block's."""
        if candidate.width == LEFT_OUT:
            return None
        statistics = self.statistics[candidate.block, self._kernel(candidate)]
        if not statistics.inner or candidate.width == statistics.channels:
            return None
        if candidate not in self._narrowed:
            self._narrowed[candidate] = statistics.link._replace(block=narrowed_copy(statistics, candidate.width))
        return self._narrowed[candidate]

    def _grown(self, grown: GrownBlock, inputs: Sequence[Tensor], noted: Sequence[Maps]) -> tuple[Tensor, ...]:
        """What the backbone returns with a rehearsed block in it."""
        position, maps = grown.position, dict(noted[grown.position])
        link = self.chain.links[position]
        if not grown.added and link.layer == 0 and link.stage in self.chain.backbone.tapped_stages:
            y, maps[f'expand{link.stage}'] = grown.block.forward_tapped(inputs[position])
        else:
            y = grown.block(inputs[position + grown.added])
        return self.chain.after(position, y, maps)

    def _loss(self, given: GivenFeatures, features: tuple[Tensor, ...], data: Mapping[str, Any]) -> float:
        given.features = features
        with same_random_numbers():
            losses = self.model.loss(data['inputs'], data['data_samples'])
        return float(self.model.parse_losses(losses)[0])


class Curve:
    """The score of a block at every width, from those that were measured.

    Scores are made monotone (isotonic regression, weighted by their precision), zero at the block's own width and never
    below zero, and interpolated monotonically (PCHIP) between measured widths.

    Args:
        channels (int): Hidden channels of the block.
        scores (Mapping[int, tuple[float, float]]): Measured width → score and its standard error.
    """

    def __init__(self, channels: int, scores: Mapping[int, tuple[float, float]]) -> None:
        self.channels = channels
        self.left_out = scores.get(LEFT_OUT)
        known = sorted((width, *pair) for width, pair in scores.items() if width != LEFT_OUT)
        self.widths = np.array([*(width for width, _, _ in known), channels], float)
        means = np.array([*(mean for _, mean, _ in known), 0.])
        errors = np.array([*(error for _, _, error in known), 0.])
        floor = errors[errors > 0].min(initial=1e-9) if len(errors) > 1 else 1.
        precision = 1 / np.maximum(errors, floor)**2
        precision[-1] = precision.sum() * 1e6
        smooth = isotonic_regression(means, weights=precision, increasing=False).x
        several = len(self.widths) > 1
        self._score = PchipInterpolator(self.widths, np.maximum(smooth - smooth[-1], 0)) if several else None
        self._error = PchipInterpolator(self.widths, np.maximum.accumulate(errors[::-1])[::-1]) if several else None

    def __call__(self, width: int) -> tuple[float, float]:
        """The score of a width and its standard error.

        Raises:
            ValueError: If it is below the smallest measured width.
        """
        if width == LEFT_OUT:
            if self.left_out is None:
                raise ValueError('leaving the block out was not measured')
            return max(self.left_out[0], 0.), self.left_out[1]
        if width == self.channels:
            return 0., 0.
        if self._score is None or self._error is None or width < self.widths[0]:
            raise ValueError(f'width {width} is below the measured ones')
        return max(float(self._score(width)), 0.), max(float(self._error(width)), 0.)


def mean_and_error(values: Union[Sequence[float], np.ndarray]) -> tuple[float, float]:
    """The mean of values and its standard error.

    Args:
        values (Sequence[float]): At least one value; of one alone the error is infinite.
    """
    array = np.asarray(values, float)
    return float(array.mean()), float(array.std(ddof=1) / len(array)**.5) if len(array) > 1 else float('inf')
