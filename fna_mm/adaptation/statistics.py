"""Statistics of a trained backbone: the hidden features of every block, and what its last convolution makes of them."""

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fna_mm import families
from fna_mm.adaptation.chain import Chain, Link, watched
from fna_mm.adaptation.fitting import Fit, elimination_order, folded, kept_channels, ridge_fit, ridge_of
from fna_mm.adaptation.kernels import smaller_kernels, with_smaller_kernel
from fna_mm.adaptation.moments import Moments
from fna_mm.adaptation.patches import patch_size, seen_by

_TINY = 1e-12


def linear_map(link: Link) -> tuple[Tensor, Tensor]:
    """The weight (T, C) and bias (T,) of a block's last convolution with its BN in evaluation mode."""
    norm = link.output.norm
    return folded(link.output.conv.weight, norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.eps)


class BlockStatistics:
    """The moments of a block's hidden features and of what its last convolution makes of them.

    If that convolution is larger than 1x1, its features are patches, channel by channel. Hidden channels that it does
    not read, those between the first two convolutions of a bottleneck, have moments of their own.

    Args:
        link (Link): The block.
        following (Link, optional): The next block, if it can be left out; this block then makes up for it.
            Defaults to None: there is no such block.
        images (int, optional): Number of images that will be added. Defaults to None: it is not known.
        of_stem (bool): Whether its hidden channels are those of the stem. As narrow as its output it has a shortcut,
            which the fit makes up for. Defaults to False.
    """

    def __init__(self, link: Link, following: Optional[Link] = None, images: Optional[int] = None,
                 of_stem: bool = False) -> None:
        self.link, self.following, self.images, self.of_stem = link, following, images, of_stem
        self.channels = link.hidden
        self.outputs = link.place.out_channels
        self.positions = patch_size(link.output.conv)
        device = link.output.conv.weight.device
        more = self.channels if of_stem else 0 if following is None else self.outputs
        self.moments = Moments(self.channels * self.positions, self.outputs + more, device)
        #: Part that computes inner channels → their moments.
        self.inner = {group: Moments(reader.conv.in_channels, device=device)
                      for group, reader in readers_of(link.block, link.family).items()}
        self._orders: dict[str, Tensor] = {}
        #: Of a tapped block: what its channels are worth to what else reads them, as a share of a standard deviation
        #: of its outputs, (outputs, C).
        self.importance: Optional[Tensor] = None

    @property
    def ranked(self) -> bool:
        """Whether the block can become narrower, so that its channels have orders."""
        return self.link.spec.searchable or self.of_stem

    @property
    def _family(self) -> families.Family:
        return families.family(self.link.family)

    def add(self, features: Tensor, output: Tensor, following: Optional[Tensor] = None,
            inner: Optional[Mapping[str, Tensor]] = None) -> None:
        """Add the features of a batch.

        Args:
            features (Tensor): Hidden features, (N, C, H, W).
            output (Tensor): Output of the last convolution and its BN, (N, T, H, W).
            following (Tensor, optional): What it is to give besides if the next block is left out; of a block whose
                hidden channels are those of the stem, its input. Defaults to None: there is neither.
            inner (Mapping[str, Tensor], optional): Features of inner channels. Defaults to None: there are none.
        """
        target = output if following is None else torch.cat([output, following], 1)
        self.moments.add(*seen_by(self.link.output.conv, features, target, self.images))
        for group, of_group in (inner or {}).items():
            self.inner[group].add(of_group)

    def all_moments(self) -> tuple[Moments, ...]:
        """All moments, in a fixed order."""
        return (self.moments, *self.inner.values())

    def merge(self) -> None:
        """Add up the sums of all processes."""
        for moments in self.all_moments():
            moments.merge()

    def state(self) -> list[dict]:
        """The sums as plain values for a file."""
        return [moments.state() for moments in self.all_moments()]

    def load(self, state: Sequence[dict], add: bool = False) -> None:
        """Take over what :meth:`state` gave.

        Args:
            state (Sequence[dict]): The saved sums.
            add (bool): Add them to the sums that are there. Defaults to False: replace these.
        """
        for moments, saved in zip(self.all_moments(), state):
            moments.load(saved, add)

    def orders(self) -> dict[str, list[int]]:
        """The orders in which hidden channels go; they are computed once, from all statistics."""
        if not self._orders:
            self._orders = {self._family.ranked_part: self._last_order()}
            for group, reader in readers_of(self.link.block, self.link.family).items():
                weight = reader.conv.weight.detach().movedim(1, -1).flatten(0, 2)
                self._orders[group] = elimination_order(self.inner[group].covariance.cpu(), weight.double().cpu())
        return {group: order.tolist() for group, order in self._orders.items()}

    def _last_order(self) -> Tensor:
        covariance, weight = self.moments.covariance.cpu(), linear_map(self.link)[0].cpu()
        if self.positions > 1:
            # Channels go as if the others made up for them at every position of the kernel alone. The fit does better.
            centre = slice(self.positions // 2, None, self.positions)
            covariance = covariance[centre, centre]
            weight = weight.reshape(len(weight), self.channels, self.positions).movedim(1, -1).flatten(0, 1)
        if self.importance is not None:
            whole = self.moments.target_variance[:self.outputs].sum().clamp(min=_TINY).sqrt().cpu()
            spread = covariance.diagonal().clamp(min=_TINY).sqrt()
            weight = torch.cat([weight / whole, self.importance.to(weight) / spread])
        return elimination_order(covariance, weight)

    def set_orders(self, orders: Mapping[str, Sequence[int]]) -> None:
        """Take over orders that were computed elsewhere."""
        self._orders = {group: torch.tensor(list(order), dtype=torch.long) for group, order in orders.items()}

    def kept(self, width: int) -> Tensor:
        """The hidden channels that a narrower block keeps, (width,)."""
        return self._kept(self._family.ranked_part, width)

    def kept_inner(self, width: int) -> dict[str, Tensor]:
        """The inner channels that a narrower block keeps: part that computes them → indices, (width,)."""
        return {group: self._kept(group, width) for group in self.inner}

    def _kept(self, group: str, width: int) -> Tensor:
        if width == self.channels:
            return torch.arange(self.channels)
        self.orders()
        return kept_channels(self._orders[group], self.channels, width)

    def adds_input(self, width: int) -> bool:
        """Whether the block has a shortcut with some number of hidden channels, which it does not have with all.

        Args:
            width (int): The number.
        """
        return self.of_stem and width == self.outputs < self.channels and self.link.place.stride == 1

    def fit(self, kept: Tensor, absorb: bool = False) -> Fit:
        """Fit the last convolution on some of the hidden channels.

        Args:
            kept (Tensor): Indices of the channels, (K,).
            absorb (bool): Whether the next block is left out, and this one makes up for it. Defaults to False.
        """
        moments, own = self.moments, slice(0, self.outputs)
        kept = (kept[:, None] * self.positions + torch.arange(self.positions)).flatten().to(moments.gram.device)
        mean, cross, variance = moments.mean_target, moments.cross_covariance, moments.target_variance
        if absorb:
            # The variance of a sum is not known; it only shifts the error, not the fit.
            mean, cross, variance = (tensor[..., own] + tensor[..., self.outputs:]
                                     for tensor in (mean, cross, variance))
        elif self.adds_input(len(kept) // self.positions):
            mean, cross = (tensor[..., own] - tensor[..., self.outputs + kept] for tensor in (mean, cross))
            variance = variance[own]
        else:
            mean, cross, variance = mean[own], cross[:, own], variance[own]
        return ridge_fit(moments.mean[kept], moments.covariance[kept][:, kept], mean, cross[kept], variance,
                         prior=linear_map(self.link)[0][:, kept], ridge=ridge_of(moments.count, len(kept)))


#: (index of a block in the chain, side of its kernel) → statistics.
Statistics = dict[tuple[int, int], BlockStatistics]


def readers_of(block: nn.Module, family: str) -> dict[str, Any]:
    """The layers of a block that read inner channels: part that computes the channels → mm's ConvModule.

    Args:
        block (nn.Module): The block.
        family (str): Name of its family.
    """
    own, layers = families.family(family), dict(block.named_children())
    names = {group: [own.part_name(part).rpartition('.')[0] for part in (group, reader)]
             for group, reader in own.inner_groups().items()}
    return {group: layers[reader] for group, (part, reader) in names.items() if part in layers}


def collect(chain: Chain, images: Tensor, statistics: Statistics) -> tuple[Tensor, ...]:
    """Run a batch through a backbone in evaluation mode and add its features to the statistics of the blocks.

    Args:
        chain (Chain): The backbone.
        images (Tensor): (N, 3, H, W), normalised as the backbone takes them.
        statistics (Statistics): The statistics of blocks.

    Returns:
        tuple[Tensor, ...]: The maps that the backbone gives.
    """
    links = chain.links
    small = {key: block for key, block in statistics.items() if key[1] != links[key[0]].spec.kernel_size}
    wanted = {index for index, _ in statistics} | {index + 1 for (index, _), block in statistics.items()
                                                   if block.following}
    whole = {index for index, _ in small} | {index for (index, _), block in statistics.items()
                                             if block.following or block.of_stem}
    readers = {(index, group): reader for index in sorted(wanted)
               for group, reader in readers_of(links[index].block, links[index].family).items()}
    with torch.no_grad(), watched({index: links[index].output for index in sorted(wanted)}) as seen, \
            watched({index: links[index].block for index in sorted(whole)}) as blocks, watched(readers) as read:
        maps = chain.backbone(images)
        for (index, kernel), block in statistics.items():
            features = (hidden_features(block.link, blocks[index].features) if (index, kernel) in small else
                        seen[index].features)
            following = blocks[index].features if block.of_stem else None
            if block.following:
                following = seen[index + 1].output
                if not families.family(block.link.family).sum_is_output:
                    # What the next block reads is more than the sum: this block's activation has changed it.
                    total = seen[index].output + links[index].beside(blocks[index].features)
                    following = following + blocks[index].output - total
            block.add(features, seen[index].output, following,
                      {group: read[index, group].features for group in block.inner})
    return tuple(maps)


def hidden_features(link: Link, x: Tensor) -> Tensor:
    """The features in front of a block's last convolution, (N, C, H, W), for an input of the block."""
    with watched({0: link.output}) as seen:
        link.block(x)
    return seen[0].features


def statistics_of(chain: Chain, images: Optional[int] = None) -> Statistics:
    """Empty statistics of all blocks whose width can change or that can make up for the next one, for every kernel.

    The channels of the stem go with the first block if they are its hidden channels.

    The blocks with smaller kernels have the central part of the trained one's; :func:`fit_kernels` sets them right.

    Args:
        chain (Chain): The trained backbone.
        images (int, optional): Number of images that will be added. Defaults to None: it is not known.
    """
    links = chain.links
    found: Statistics = {}
    for index, link in enumerate(links):
        following = links[index + 1] if index + 1 < len(links) and links[index + 1].shortcut else None
        of_stem = index == 0 and chain.stem_is_hidden
        if link.spec.searchable or following or of_stem:
            found[index, link.spec.kernel_size] = BlockStatistics(link, following, images, of_stem)
        for kernel in smaller_kernels(link) if link.spec.searchable else ():
            found[index, kernel] = BlockStatistics(with_smaller_kernel(link, kernel), following, images)
    return found
