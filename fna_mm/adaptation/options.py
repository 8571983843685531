"""What an adaptation is asked for, and what it gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Optional, Union

from fna_mm.adaptation.candidates import Limits
from fna_mm.adaptation.prices import COSTS, Prices, prices_of
from fna_mm.adaptation.rehearsal import Growing
from fna_mm.architecture import Architecture
from fna_mm.checks import check_input_shape, check_integer, check_number
from fna_mm.cost.budget import WHOLES, Budget

#: Largest share that a budget may be. What growing can reach is said when the network is known.
MOST = 100.


@dataclass(frozen=True)
class AdaptOptions:
    """How a trained model is adapted.

    Args:
        of (str): What budgets are meant for: the ``backbone`` or the whole ``model``. Defaults to 'backbone'.
        narrow (bool): Let neck and head change, where their config can say it: with budgets of the whole model they
            become narrower as well, and with any budget those of SSD read fewer channels of the backbone. Not with a
            table or with ``grow``. Defaults to True.
        cost (str): What costs are: ``madds``, ``params`` or ``latency``. Defaults to 'madds'.
        table (str, optional): Path of the table of ``latency``, as ``fna latency`` writes it. Defaults to None.
        shape (tuple[int, int], optional): (height, width) at which MAdds are counted. Defaults to None: that of the
            table, or of the first measured image.
        limits (Limits, optional): Limits of width and depth. Defaults to None: no limit.
        seed (int): Seed of the images' order. Defaults to 0.
        statistics_images (int, optional): Number of images for statistics. Defaults to None: 256, at most 60 % of the
            training data.
        score_images (int, optional): Largest number of images for scores. Defaults to None: 128, or what is left.
        tolerance (float): Images are added until the standard error of every child's predicted growth of the loss,
            with what the backbone's maps say of it, is at most this share of it, or 2 % of the loss. Defaults to 0.25.
        schedule (float): Length of the fine-tuning, as a share of the trained model's. Defaults to 0.2.
        rate (float): Learning rate of the fine-tuning, as a share of the trained model's. Defaults to 0.5.
        distill (float): Factor of the weight of the loss that holds a child near the trained model while it is
            fine-tuned: 5 for the outputs of a detector's dense head, 1 for the backbone's maps of other models. 0
            leaves it out, and so does ``grow``: what grows may become better than the trained model. Defaults to 1.
        evaluate (bool): Evaluate the trained model and every child on the validation data. Defaults to False.
        grow (Growing, optional): Let layers also become larger than they are, and stages deeper. Defaults to None:
            only if a budget is larger than the trained backbone, or model.

    Raises:
        ValueError: If a value is illegal.
    """

    of: str = 'backbone'
    narrow: bool = True
    cost: str = 'madds'
    table: Optional[str] = None
    shape: Optional[tuple[int, int]] = None
    limits: Optional[Limits] = None
    seed: int = 0
    statistics_images: Optional[int] = None
    score_images: Optional[int] = None
    tolerance: float = .25
    schedule: float = .2
    rate: float = .5
    distill: float = 1.
    evaluate: bool = False
    grow: Optional[Growing] = None

    @cached_property
    def prices(self) -> Prices:
        """What blocks cost; a table is read once.

        Raises:
            FileNotFoundError: If there is no such table.
            ValueError: If the table is missing, not wanted or no table.
        """
        return prices_of(self.cost, self.table)

    def __post_init__(self) -> None:
        for name, value, legal in (('of', self.of, WHOLES), ('cost', self.cost, COSTS)):
            if value not in legal:
                raise ValueError(f'{name}={value!r} must be one of {list(legal)}')
        if self.shape is not None:
            check_input_shape(self.shape, 'shape')
        check_integer('seed', self.seed, least=0)
        for name in ('statistics_images', 'score_images'):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), least=2)
        for name in ('tolerance', 'schedule', 'rate'):
            check_number(name, getattr(self, name), above=0)
        check_number('distill', self.distill, least=0)


@dataclass(frozen=True)
class AdaptedChild:
    """A child that was written.

    Args:
        budget (str): The budget as it was given.
        folder (str): Folder of ``arch.json``, ``child.pth`` and ``child_config.py``.
        architecture (Architecture): Its architecture.
        cost (float): Cost of its backbone, in the unit of the budget.
        share (float): Cost of its backbone as a share of the trained one's.
        share_of_model (float, optional): Cost of the whole model as a share of the trained one's; None if the cost of
            neck and head is not known.
        predicted (float): By how much the loss was said to grow.
        predicted_error (float): Standard error of that.
        measured (float): By how much the loss of the refitted child is larger, on images that no fit saw.
        measured_error (float): Standard error of that.
        widths (tuple[int, ...]): Hidden channels that the child has of every block, of the last convolution if it could
            become narrower, and of every layer that could be added; 0 is left out.
        metrics (dict): Metrics on the validation data; empty if it was not evaluated.
        layers (tuple[dict, ...]): Of every layer, in order, its name and what it was and is.
        outside (dict, optional): Name of each width of neck and head, or of the backbone's that these read → what it
            was and is. Defaults to None: they stay.
    """

    budget: str
    folder: str
    architecture: Architecture
    cost: float
    share: float
    share_of_model: Optional[float]
    predicted: float
    predicted_error: float
    measured: float
    measured_error: float
    widths: tuple[int, ...]
    metrics: dict[str, float]
    layers: tuple[dict[str, Any], ...]
    outside: Optional[dict[str, tuple[int, int]]] = None


def needs_growing(budgets: Sequence[Union[str, float]], unit: str = '') -> bool:
    """Whether a budget is a share above 1, which only growing reaches.

    Args:
        budgets (Sequence): Budgets, as in :func:`adapt`.
        unit (str): Unit of absolute numbers, as in :meth:`Budget.parse`. Defaults to ''.

    Raises:
        ValueError: If one of them is no budget.
    """
    return any((Budget.parse(budget, MOST, unit).fraction or 0) > 1 for budget in budgets)
