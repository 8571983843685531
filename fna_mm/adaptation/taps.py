"""Taps: channels of the backbone that neck and head read, which may go if what reads them is known.

A map that a backbone returns may be the hidden channels of a block (``'expand5'`` of SSDLite) or the output of the last
1x1 convolution.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from fna_mm.adaptation.chain import Chain
from fna_mm.adaptation.fitting import elimination_order, kept_channels, prediction
from fna_mm.adaptation.moments import DTYPE, Moments
from fna_mm.adaptation.narrowing import seen_at
from fna_mm.adaptation.shared_widths import convolution_at
from fna_mm.adaptation.statistics import Statistics

_TINY = 1e-12
#: Sections of a model that hold the channels of maps, and their arguments.
SETTINGS = (('neck', 'in_channels'), ('neck', 'out_channels'), ('bbox_head', 'in_channels'))


class Reader(NamedTuple):
    """A convolution of neck or head that reads a map of the backbone.

    Args:
        path (str): Its path in the model.
        through (str): Path of the depthwise convolution between the map and it; '' if there is none.
    """

    path: str
    through: str = ''


class Tap(NamedTuple):
    """A map of the backbone whose channels can be narrowed.

    Args:
        name (str): Name of the channels: ``'expand5'``, or ``'conv2'`` for the last convolution.
        row (int): Index of the block whose hidden channels they are; the number of blocks for the last convolution.
        position (int): Index of the map among those that the backbone returns.
        width (int): Number of channels.
        readers (tuple[Reader, ...]): All that reads the map.
    """

    name: str
    row: int
    position: int
    width: int
    readers: tuple[Reader, ...]


def taps_of(model: Any, chain: Chain, section: Mapping[str, Any]) -> tuple[Tap, ...]:
    """The maps of a model's backbone whose channels can be narrowed.

    What reads a map is known of mm's ``SSDNeck`` and ``SSDHead``. Of other necks and heads nothing is.

    Args:
        model (nn.Module): The model.
        chain (Chain): Its backbone.
        section (Mapping): The section of the model.
    """
    neck, head = getattr(model, 'neck', None), getattr(model, 'bbox_head', None)
    if type(neck).__name__ != 'SSDNeck' or 'SSDHead' not in {kind.__name__ for kind in type(head).__mro__}:
        return ()
    backbone = chain.backbone
    rows: dict[Any, int] = {
        f'expand{link.stage}': index for index, link in enumerate(chain.links)
        if link.layer == 0 and link.stage in backbone.tapped_stages and hasattr(link.block, 'expand_conv')}
    if backbone.built_head_channels:
        rows[backbone.num_stages] = len(chain.links)
    result = []
    for position, (name, width) in enumerate(zip(backbone.out_indices, backbone.out_channels)):
        if name in rows and _says(section, position, width) and not (position == 0 and hasattr(neck, 'l2_norm')):
            readers = _ssd_readers(model, position, last=position + 1 == len(backbone.out_indices))
            if readers:
                result.append(Tap(name if isinstance(name, str) else 'conv2', rows[name], position, width, readers))
    return tuple(result)


def _says(section: Mapping[str, Any], position: int, width: int) -> bool:
    """Whether the config says the channels of a map in all places that have it."""
    for part, argument in SETTINGS:
        values = (section.get(part) or {}).get(argument)
        if not isinstance(values, (list, tuple)) or len(values) <= position or values[position] != width:
            return False
    return True


def _ssd_readers(model: Any, position: int, last: bool) -> tuple[Reader, ...]:
    """What reads a map: the first layers of both branches of the head, and of the neck the first one of the last map.

    Of a branch that is something else, nothing is known: then it is ().
    """
    result = [Reader('neck.extra_layers.0.0')] if last else []
    for branch in ('cls_convs', 'reg_convs'):
        path = f'bbox_head.{branch}.{position}'
        first, *rest = model.get_submodule(path).children()
        if _is_plain(first):
            result.append(Reader(f'{path}.0'))
        elif isinstance(first, ConvModule) and first.conv.groups == first.conv.in_channels and rest and _is_plain(
                rest[0]):
            result.append(Reader(f'{path}.1', f'{path}.0'))
        else:
            return ()
    return tuple(result)


def _is_plain(module: nn.Module) -> bool:
    convolution = module.conv if isinstance(module, ConvModule) else module
    return isinstance(convolution, nn.Conv2d) and convolution.groups == 1


class TapStatistics:
    """What is known of a tap's channels: their moments, and what readers make of each.

    Args:
        tap (Tap): The tap.
        activate (nn.Module): The activation behind the channels.
        device (torch.device, optional): Where sums are kept. Defaults to None: the CPU.
    """

    def __init__(self, tap: Tap, activate: nn.Module, device: Optional[torch.device] = None) -> None:
        self.tap, self._activate = tap, activate
        self.moments = Moments(tap.width, device=device)
        #: What one standard deviation of each channel adds to the readers' outputs, as a share of the standard
        #: deviation of all their outputs together, (outputs, C).
        self.importance: Optional[Tensor] = None
        self._order: Optional[Tensor] = None
        self._predictions: dict[bytes, tuple[Tensor, Tensor, Tensor, Tensor]] = {}

    def merge(self) -> None:
        """Add up the sums of all processes."""
        self.moments.merge()

    def state(self) -> list[dict]:
        """The sums as plain values for a file."""
        return [self.moments.state()]

    def load(self, state: Sequence[dict], add: bool = False) -> None:
        """Take over what :meth:`state` gave.

        Args:
            state (Sequence[dict]): The saved sums.
            add (bool): Add them to the sums that are there. Defaults to False: replace these.
        """
        self.moments.load(state[0], add)

    @property
    def ranked(self) -> bool:
        """Whether its channels have an order of their own: those of a block go with the block."""
        return self.tap.name == 'conv2'

    def orders(self) -> dict[str, list[int]]:
        """The order in which the channels of the last convolution go; it is computed once, from all statistics."""
        if self._order is None:
            assert self.importance is not None  # measured before
            covariance = self.moments.covariance.cpu()
            scale = covariance.diagonal().clamp(min=_TINY).sqrt()
            self._order = elimination_order(covariance, self.importance.cpu() / scale)
        return {self.tap.name: self._order.tolist()}

    def set_orders(self, orders: Mapping[str, Sequence[int]]) -> None:
        """Take over orders that were computed elsewhere."""
        for order in orders.values():
            self._order = torch.tensor(list(order), dtype=torch.long)

    def kept(self, width: int) -> Tensor:
        """The channels of the last convolution that are kept, (width,)."""
        self.orders()
        assert self._order is not None
        return kept_channels(self._order, self.tap.width, width)

    def restored(self, map: Tensor, kept: Tensor) -> Tensor:
        """The map with all channels, as the kept ones predict it: what the trained readers are given.

        Readers that are solved anew do better, so what is measured with it says a little too much.

        Args:
            map (Tensor): The map with all its channels, (N, C, H, W).
            kept (Tensor): Indices of the channels that are kept, (K,).
        """
        key = kept.cpu().numpy().tobytes()
        if key not in self._predictions:
            kept = kept.to(self.moments.gram.device)
            lost = torch.ones(self.tap.width, dtype=torch.bool, device=kept.device)
            lost[kept] = False
            weight, constant = prediction(self.moments.mean, self.moments.covariance, kept, lost)
            self._predictions[key] = kept, lost.nonzero()[:, 0], weight.to(map), constant.to(map)
        kept, lost, weight, constant = self._predictions[key]
        result = map.clone()
        guess = torch.einsum('nkhw,kl->nlhw', map[:, kept], weight) + constant[:, None, None]
        result[:, lost] = self._activate(guess)
        return result


#: Row of a tap → its statistics.
TapsStatistics = Mapping[int, TapStatistics]


def convolution_of(tap: Tap, chain: Chain) -> Any:
    """The convolution that makes a tap's channels, with its normalisation and activation.

    Args:
        tap (Tap): The tap.
        chain (Chain): The backbone.
    """
    return chain.backbone.conv2 if tap.row == len(chain.links) else chain.links[tap.row].block.expand_conv


def tap_statistics_of(chain: Chain, taps: Sequence[Tap]) -> dict[int, TapStatistics]:
    """Empty statistics of taps.

    Args:
        chain (Chain): The trained backbone.
        taps (Sequence[Tap]): Its taps.
    """
    result = {}
    for tap in taps:
        owner = convolution_of(tap, chain)
        result[tap.row] = TapStatistics(tap, copy.deepcopy(owner.activate), owner.conv.weight.device)
    return result


@torch.no_grad()
def weigh_readers(model: Any, taps: TapsStatistics, statistics: Statistics, images: Iterable[Tensor]) -> None:
    """Find what every channel of a tap is worth to what reads it, and tell the statistics.

    Args:
        model (nn.Module): The trained model.
        taps (Mapping[int, TapStatistics]): Statistics of its taps.
        statistics (Statistics): Statistics of its blocks; those of tapped blocks learn it, too.
        images (Iterable[Tensor]): A few normalised images, each (1, 3, H, W).
    """
    readers = [reader for of_tap in taps.values() for reader in of_tap.tap.readers]
    convolutions = {reader.path: convolution_at(model, reader.path)[0] for reader in readers}
    features = {path: Moments(convolution.in_channels) for path, convolution in convolutions.items()}
    outputs = {path: Moments(convolution.out_channels) for path, convolution in convolutions.items()}
    for image in images:
        seen = seen_at(model, [reader.path for reader in readers], tuple(model.backbone(image)))
        for reader in readers:
            for one in seen[reader.path]:
                features[reader.path].add(one.features.cpu())
                outputs[reader.path].add(one.output.cpu())
    for row, of_tap in taps.items():
        rows = []
        for reader in of_tap.tap.readers:
            weight = convolutions[reader.path].weight.detach().cpu().to(DTYPE)
            spread = features[reader.path].covariance.diagonal().clamp(min=0).sqrt()
            seen_outputs = outputs[reader.path]
            unbiased = seen_outputs.count / max(1, seen_outputs.count - 1)
            whole = (unbiased * seen_outputs.covariance.diagonal().sum()).clamp(min=_TINY).sqrt()
            rows.append(weight.movedim(1, -1).flatten(0, -2) * spread / whole)
        of_tap.importance = torch.cat(rows)
        for (block, _), of_block in statistics.items():
            if block == row:
                of_block.importance = of_tap.importance
