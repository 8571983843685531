"""The widths of a trained model's taps: what they cost, and a child whose neck and head read fewer channels."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

import torch
from torch import Tensor

from fna_mm.adaptation.candidate_table import Choice
from fna_mm.adaptation.chain import Chain
from fna_mm.adaptation.child import Origin
from fna_mm.adaptation.narrowing import Kept, both_maps, cut_model, fit_outside
from fna_mm.adaptation.prices import Prices
from fna_mm.adaptation.shared_widths import Outside, convolution_at
from fna_mm.adaptation.taps import SETTINGS, Tap, TapStatistics
from fna_mm.adaptation.trained_model import TrainedModel
from fna_mm.cost.complexity import Complexity, count_leaves

#: File beside a child: which channels of the trained backbone's maps it has.
CHANNELS = 'distilled_channels.json'
#: Row of a tap that became narrower → the channels that it keeps.
KeptOfTaps = Mapping[int, Tensor]


class TapWidths:
    """The taps of a trained model.

    Args:
        trained (TrainedModel): The trained model.
        taps (Sequence[Tap]): Its taps.
        chain (Chain): Its backbone.
        prices (Prices): What costs are; they can be counted.
        input_shape (tuple[int, int]): (height, width) of the image.
    """

    def __init__(self, trained: TrainedModel, taps: Sequence[Tap], chain: Chain, prices: Prices,
                 input_shape: tuple[int, int]) -> None:
        self.trained, self.taps = trained, taps
        #: Row of the last convolution.
        self.last_row = len(chain.links)
        #: Statistics of every tap, by its row.
        self.statistics: dict[int, TapStatistics] = {}
        counted = count_leaves(copy.deepcopy(trained.model), input_shape) if taps else {}
        #: Row of a tap → what each of its channels costs in neck and head.
        self.read_costs = {tap.row: _read_cost(trained.model, tap, counted, prices.cost) for tap in taps}

    @property
    def names(self) -> list[str]:
        """Names of the taps."""
        return [tap.name for tap in self.taps]

    @property
    def last(self) -> int:
        """Channels of the last convolution; 0 if it stays."""
        return next((tap.width for tap in self.taps if tap.row == self.last_row), 0)

    @property
    def readers(self) -> set[str]:
        """Paths of all convolutions of neck and head that have fewer channels when a tap has."""
        return {path for tap in self.taps for reader in tap.readers for path in (reader.path, reader.through) if path}

    def kept(self, choice: Choice, origins: Sequence[Origin]) -> dict[int, Tensor]:
        """The channels that the narrower taps of a child keep.

        Args:
            choice (Choice): What was chosen.
            origins (Sequence[Origin]): Where every block of the child comes from.
        """
        of_blocks = {origin.block: origin.kept for origin in origins}
        widths = {tap.row: choice.candidates[tap.row].width for tap in self.taps}
        return {tap.row: of_blocks[tap.row] if tap.row in of_blocks else self.statistics[tap.row].kept(widths[tap.row])
                for tap in self.taps if widths[tap.row] < tap.width}

    def saved(self, kept: KeptOfTaps) -> float:
        """What neck and head save as they read fewer channels.

        Args:
            kept (Mapping[int, Tensor]): What :meth:`kept` gave.
        """
        return sum(self.read_costs[tap.row] * (tap.width - len(kept[tap.row])) for tap in self.taps if tap.row in kept)

    def described(self, choice: Choice) -> dict[str, tuple[int, int]]:
        """Name of every tap → the channels that it had and has.

        Args:
            choice (Choice): What was chosen.
        """
        return {tap.name: (tap.width, choice.candidates[tap.row].width) for tap in self.taps}

    def channels_of_maps(self, kept: KeptOfTaps) -> list[Any]:
        """For every map that the backbone returns, the list of the channels that are kept; None for all of them.

        Args:
            kept (Mapping[int, Tensor]): What :meth:`kept` gave.
        """
        rows = {tap.position: kept[tap.row].tolist() for tap in self.taps if tap.row in kept}
        return [rows.get(position) for position in range(len(self.trained.backbone.out_indices))]

    def kept_of_maps(self, channels: Sequence[Any]) -> dict[int, Tensor]:
        """What :meth:`kept` gave, from what :meth:`channels_of_maps` made of it.

        Args:
            channels (Sequence): One list or None for every map; () if all channels are kept.
        """
        return {tap.row: torch.tensor(channels[tap.position]) for tap in self.taps
                if channels and channels[tap.position]}

    def last_of(self, kept: Optional[KeptOfTaps]) -> Optional[int]:
        """Channels of the last convolution; None if all are kept.

        Args:
            kept (Mapping[int, Tensor], optional): What :meth:`kept` gave; None for all.
        """
        return len(kept[self.last_row]) if kept and self.last_row in kept else None

    def section(self, kept: KeptOfTaps) -> dict[str, Any]:
        """The section of the model whose neck and head read fewer channels; its backbone is the trained one's.

        Args:
            kept (Mapping[int, Tensor]): What :meth:`kept` gave.
        """
        result: Any = self.trained.config.model.to_dict()
        for tap in self.taps:
            for part, argument in SETTINGS if tap.row in kept else ():
                values = list(result[part][argument])
                values[tap.position] = len(kept[tap.row])
                result[part][argument] = type(result[part][argument])(values)
        return result

    def cut(self, kept: KeptOfTaps, backbone: Any) -> Any:
        """The trained model with another backbone, whose neck and head keep the weights of what they still read.

        Args:
            kept (Mapping[int, Tensor]): What :meth:`kept` gave.
            backbone (nn.Module): The backbone with fewer channels.
        """
        return cut_model(self.section(kept), self.trained.model, backbone, self._channels(kept))

    def _channels(self, kept: KeptOfTaps) -> dict[str, Kept]:
        """The channels that the convolutions which read the taps keep."""
        channels: dict[str, Kept] = {}
        for tap in self.taps:
            for reader in tap.readers if tap.row in kept else ():
                outputs = convolution_at(self.trained.model, reader.path)[0].out_channels
                channels[reader.path] = Kept(torch.arange(outputs), kept[tap.row])
                if reader.through:
                    channels[reader.through] = Kept(kept[tap.row], torch.arange(1))
        return channels

    def narrowed(self, kept: KeptOfTaps, backbone: Any, images: Iterable[Tensor]) -> Any:
        """The trained model with another backbone, whose neck and head read fewer channels and are fitted to it.

        The depthwise convolutions behind a tap keep the weights of its channels. What reads these is solved anew.

        Args:
            kept (Mapping[int, Tensor]): What :meth:`kept` gave.
            backbone (nn.Module): The backbone with fewer channels.
            images (Iterable[Tensor]): Normalised images of this process, each (1, 3, H, W).
        """
        model = self.cut(kept, backbone)
        solved = tuple(reader.path for tap in self.taps if tap.row in kept for reader in tap.readers)
        fit_outside(model, self.trained.model, Outside((), (solved, )), self._channels(kept),
                    lambda: both_maps(backbone, self.trained.backbone, images))
        return model


def _read_cost(model: Any, tap: Tap, counted: Mapping[str, Complexity], cost: str) -> float:
    """What one channel of a tap costs in what reads it.

    Args:
        model (nn.Module): The trained model.
        tap (Tap): The tap.
        counted (Mapping[str, Complexity]): Path of every leaf of the model → its parameters and multiply-adds.
        cost (str): ``madds`` or ``params``.
    """
    total = 0.
    for reader in tap.readers:
        convolution, _, _ = convolution_at(model, reader.path)
        weights = convolution.weight.numel()
        biases = 0 if convolution.bias is None else convolution.bias.numel()
        for path, numbers in counted.items():
            if path in (reader.path, f'{reader.path}.conv'):
                total += getattr(numbers, cost) * weights / (weights + biases)  # biases stay
            elif reader.through and path.startswith(f'{reader.through}.'):
                total += getattr(numbers, cost)
    return total / tap.width
