"""Neck and head in an adaptation of the whole model: what their widths cost, score, and how a child gets them."""

import copy
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_dist_info, is_main_process

from fna_mm.adaptation.images import MeasuredImages
from fna_mm.adaptation.measuring import Progress, normalised_images
from fna_mm.adaptation.narrowing import Kept, Maps, both_maps, cut_model, elimination_orders, fit_outside, kept_by
from fna_mm.adaptation.prices import Prices
from fna_mm.adaptation.scores import Curve, mean_and_error, same_random_numbers
from fna_mm.adaptation.shared_widths import Outside, SharedWidth, legal_widths, narrowed_section
from fna_mm.adaptation.trained_model import TrainedModel
from fna_mm.adaptation.work_folder import WorkFolder
from fna_mm.checkpoints.whole_files import write_whole

#: Smallest width, as a share of the trained one.
LEAST = .25
#: Shares that are measured; other widths are interpolated.
_SHARES = (.75, .5, LEAST)
#: Images on which neck and head are fitted. On BCCD's RetinaNet, 64 gave children whose loss differed by 0.01.
IMAGES = 24
_FILE = 'outside.json'


class OutsideChoice(NamedTuple):
    """Widths of neck and head.

    Args:
        widths (tuple[int, ...]): One number for every shared width, in order.
        cost (float): Cost of neck and head.
        value (float): What is added up: the scores, and what is not certain of them.
        predicted (float): Sum of the scores.
        error (float): Standard error of that.
    """

    widths: tuple[int, ...]
    cost: float
    value: float
    predicted: float
    error: float


class OutsideWidths:
    """The widths of a trained model's neck and head.

    Args:
        trained (TrainedModel): The trained model.
        outside (Outside): What of it can be narrowed.
        prices (Prices): What costs are.
        input_shape (tuple[int, int]): (height, width) of the image.
        backbone (float): Cost of the backbone.
    """

    def __init__(self, trained: TrainedModel, outside: Outside, prices: Prices, input_shape: tuple[int, int],
                 backbone: float) -> None:
        self.trained, self.outside = trained, outside
        self._cost = _quadratic(self.outside.widths, lambda chosen: self._counted(
            prices, input_shape, backbone, chosen))
        self._orders: list[Any] = []
        self._models: dict[tuple[str, int], Any] = {}
        self._losses: dict[tuple[str, int], dict[int, float]] = {}
        self._curves: dict[str, Curve] = {}
        self._differences: dict[str, dict[int, np.ndarray]] = {}

    def _counted(self, prices: Prices, input_shape: tuple[int, int], backbone: float,
                 chosen: Mapping[str, int]) -> float:
        config = copy.deepcopy(self.trained.config)
        config.model = narrowed_section(config.model.to_dict(), self.outside, chosen)
        rest = prices.of_rest(config, input_shape, backbone)
        assert rest is not None  # multiply-adds and parameters are counted
        return rest

    @property
    def least(self) -> float:
        """The least that neck and head can cost."""
        return self._cost([legal_widths(shared, LEAST)[-1] for shared in self.outside.widths])

    def measured(self) -> list[tuple[str, int]]:
        """The widths that are measured, each alone: (name, number)."""
        result = []
        for shared in self.outside.widths:
            legal = legal_widths(shared, LEAST)[1:]
            nearest = (min(legal, key=lambda width: abs(width - share * shared.width)) for share in _SHARES)
            result += [(shared.name, width) for width in dict.fromkeys(nearest)] if legal else []
        return result

    def measure(self, images: MeasuredImages, fitted_on: Sequence[int], positions: Sequence[int],
                seed_losses: np.ndarray, folder: WorkFolder, progress: Progress) -> None:
        """Measure every width on images, as far as it is not measured yet, and make the curves of scores.

        Args:
            images (MeasuredImages): The images.
            fitted_on (Sequence[int]): Places of images on which neck and head may be fitted.
            positions (Sequence[int]): Places of the images of the scores.
            seed_losses (np.ndarray): Losses of the trained model on these, (positions,).
            folder (WorkFolder): Where losses are saved.
            progress (Progress): Shows the progress.
        """
        self._load(folder)
        rank, world = get_dist_info()
        missing = {key: [position for position in positions if position not in self._losses.get(key, {})]
                   for key in self.measured()}
        missing = {key: places for key, places in missing.items() if places}
        with progress('neck and head', len(missing)) as bar:
            for key, places in missing.items():
                if key not in self._models:
                    self._models[key] = self.narrowed(dict([key]), self.trained.backbone, images, fitted_on)
                found = {position: self._loss(self._models[key], images, position) for position in places[rank::world]}
                for part in all_gather_object(found):
                    self._losses.setdefault(key, {}).update(part)
                self._save(folder)
                bar.update(1)
        for shared in self.outside.widths:
            rows = {width: np.array([self._losses[name, width][position] for position in positions]) - seed_losses
                    for name, width in self.measured() if name == shared.name}
            self._differences[shared.name] = rows
            self._curves[shared.name] = Curve(shared.width, {
                width: mean_and_error(values) for width, values in rows.items()})

    @torch.no_grad()
    def _maps(self, images: MeasuredImages, positions: Sequence[int]) -> Iterator[Maps]:
        for image in normalised_images(self.trained.model, images, positions):
            yield tuple(self.trained.backbone(image))

    @torch.no_grad()
    def _loss(self, model: Any, images: MeasuredImages, position: int) -> float:
        data = model.data_preprocessor(images[position], False)
        with same_random_numbers():
            return float(model.parse_losses(model.loss(data['inputs'], data['data_samples']))[0])

    def choices(self) -> list[OutsideChoice]:
        """All combinations of widths, with their costs and scores, the trained one first."""
        result = []
        for widths in itertools.product(*(legal_widths(shared, LEAST) for shared in self.outside.widths)):
            scores = [self._curves[shared.name](width) for shared, width in zip(self.outside.widths, widths)]
            mean, error = sum(score for score, _ in scores), float(np.hypot.reduce([error for _, error in scores]))
            result.append(OutsideChoice(widths, self._cost(widths), mean + sum(error for _, error in scores), mean,
                                        error))
        return result

    def named(self, widths: Sequence[int]) -> dict[str, int]:
        """The widths that differ from the trained ones: name → number.

        Args:
            widths (Sequence[int]): One number for every shared width, in order.
        """
        return {shared.name: width for shared, width in zip(self.outside.widths, widths) if width != shared.width}

    def section(self, chosen: Mapping[str, int]) -> dict[str, Any]:
        """The section of the model with other widths.

        Args:
            chosen (Mapping[str, int]): Name → number.
        """
        return narrowed_section(self.trained.config.model.to_dict(), self.outside, chosen)

    def narrowed(self, chosen: Mapping[str, int], backbone: Any, images: MeasuredImages,
                 positions: Sequence[int]) -> Any:
        """The trained model with another backbone and other widths of neck and head, fitted.

        Args:
            chosen (Mapping[str, int]): Name → number.
            backbone (nn.Module): The backbone.
            images (MeasuredImages): The images.
            positions (Sequence[int]): Places of images. Neck and head are fitted on the first 24; processes share them.
        """
        trained = self.trained.model
        rank, world = get_dist_info()
        own = list(positions[:IMAGES])[rank::world]
        if not self._orders:
            self._orders = elimination_orders(trained, self.outside, self._maps(images, own))
        kept: dict[str, Kept] = kept_by(trained, self.outside, self._orders, chosen)
        model = cut_model(self.section(chosen), trained, backbone, kept)
        fit_outside(model, trained, self.outside, kept, lambda: both_maps(
            backbone, self.trained.backbone, normalised_images(trained, images, own)))
        return model

    def described(self) -> list[dict[str, Any]]:
        """What a page says of every width: name, number, and the measured scores with their errors."""
        return [dict(name=shared.name, width=shared.width, measured={
            str(width): list(mean_and_error(values)) for width, values in self._differences[shared.name].items()})
            for shared in self.outside.widths]

    def _load(self, folder: WorkFolder) -> None:
        path = folder.file(_FILE)
        if not self._losses and os.path.exists(path):
            with open(path, encoding='utf-8') as file:
                for name, rows in json.load(file).items():
                    key = name.rpartition(':')
                    self._losses[key[0], int(key[2])] = {int(position): loss for position, loss in rows.items()}

    def _save(self, folder: WorkFolder) -> None:
        if is_main_process():
            values = {f'{name}:{width}': rows for (name, width), rows in self._losses.items()}
            write_whole({folder.file(_FILE): json.dumps(values).encode()})


def _quadratic(widths: Sequence[SharedWidth], counted: Callable[[dict[str, int]], float]
               ) -> Callable[[Sequence[int]], float]:
    """The cost of any widths from a few that are counted: a convolution costs the product of at most two of them.

    Args:
        widths (Sequence[SharedWidth]): The widths.
        counted (Callable): Name → number of every width → cost.
    """
    number = len(widths)
    own = [shared.width for shared in widths]
    half = [max(1, shared.width // 2) for shared in widths]
    points = {tuple(own)}
    for one, two in itertools.combinations_with_replacement(range(number), 2):
        point = list(own)
        point[one] = half[one]
        point[two] = half[two]
        points.add(tuple(point))
    for one in range(number):
        point = list(own)
        point[one] = own[one] + half[one]
        points.add(tuple(point))

    def row(values: Sequence[int]) -> list[float]:
        scaled = [value / shared.width for value, shared in zip(values, widths)]
        pairs = itertools.combinations_with_replacement(scaled, 2)
        return [1., *scaled, *(one * two for one, two in pairs)]
    chosen = sorted(points)
    names = [shared.name for shared in widths]
    costs = [counted(dict(zip(names, point))) for point in chosen]
    weights = np.linalg.lstsq(np.array([row(point) for point in chosen]), np.array(costs), rcond=None)[0]
    return lambda values: float(np.round(np.array(row(values)) @ weights))
