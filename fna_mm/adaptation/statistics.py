"""Statistics of a trained backbone: the hidden features of every block, and what its last convolution makes of them."""

from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor

from fna_mm.adaptation.chain import Chain, Link, watched
from fna_mm.adaptation.fitting import Fit, elimination_order, folded, kept_channels, ridge_fit
from fna_mm.adaptation.kernels import smaller_kernels, with_smaller_kernel
from fna_mm.adaptation.moments import Moments


def linear_map(link: Link) -> tuple[Tensor, Tensor]:
    """The weight (T, C) and bias (T,) of a block's last convolution with its BN in evaluation mode."""
    norm = link.output.norm
    return folded(link.output.conv.weight, norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.eps)


class BlockStatistics:
    """The moments of a block's hidden features and of what its last convolution makes of them.

    Args:
        link (Link): The block.
        following (Link, optional): The next block, if it can be left out; this block then makes up for it.
            Defaults to None: there is no such block.
    """

    def __init__(self, link: Link, following: Optional[Link] = None) -> None:
        self.link, self.following = link, following
        self.channels = link.hidden
        self.outputs = link.place.out_channels
        device = link.output.conv.weight.device
        self.moments = Moments(self.channels, self.outputs * (1 if following is None else 2), device)
        self._order: Optional[Tensor] = None

    def add(self, features: Tensor, output: Tensor, following: Optional[Tensor] = None) -> None:
        """Add the features of a batch.

        Args:
            features (Tensor): Hidden features, (N, C, H, W).
            output (Tensor): Output of the last convolution and its BN, (N, T, H, W).
            following (Tensor, optional): The same of the next block. Defaults to None: it cannot be left out.
        """
        self.moments.add(features, output if following is None else torch.cat([output, following], 1))

    @property
    def order(self) -> Tensor:
        """The order in which hidden channels go; it is computed once, from all statistics."""
        if self._order is None:
            self._order = elimination_order(self.moments.covariance.cpu(), linear_map(self.link)[0].cpu())
        return self._order

    def set_order(self, order: Sequence[int]) -> None:
        """Take over an order that was computed elsewhere."""
        self._order = torch.tensor(list(order), dtype=torch.long)

    def kept(self, width: int) -> Tensor:
        """The hidden channels that a narrower block keeps, (width,)."""
        return (torch.arange(self.channels) if width == self.channels else
                kept_channels(self.order, self.channels, width))

    def fit(self, kept: Tensor, absorb: bool = False) -> Fit:
        """Fit the last convolution on some of the hidden channels.

        Args:
            kept (Tensor): Indices of the channels, (K,).
            absorb (bool): Whether the next block is left out, and this one makes up for it. Defaults to False.
        """
        moments, own = self.moments, slice(0, self.outputs)
        kept = kept.to(moments.gram.device)
        mean, cross, variance = moments.mean_target, moments.cross_covariance, moments.target_variance
        if absorb:
            # The variance of a sum is not known; it only shifts the error, not the fit.
            mean, cross, variance = (tensor[..., own] + tensor[..., self.outputs:]
                                     for tensor in (mean, cross, variance))
        else:
            mean, cross, variance = mean[own], cross[:, own], variance[own]
        return ridge_fit(moments.mean[kept], moments.covariance[kept][:, kept], mean, cross[kept], variance,
                         prior=linear_map(self.link)[0][:, kept])


#: (index of a block in the chain, side of its kernel) → statistics.
Statistics = dict[tuple[int, int], BlockStatistics]


def collect(chain: Chain, images: Tensor, statistics: Statistics) -> None:
    """Run a batch through a backbone in evaluation mode and add its features to the statistics of the blocks.

    Args:
        chain (Chain): The backbone.
        images (Tensor): (N, 3, H, W), normalised as the backbone takes them.
        statistics (Statistics): The statistics of blocks.
    """
    links = chain.links
    small = {key: block for key, block in statistics.items() if key[1] != links[key[0]].spec.kernel_size}
    wanted = {index for index, _ in statistics} | {index + 1 for (index, _), block in statistics.items()
                                                   if block.following}
    with torch.no_grad(), watched({index: links[index].output for index in sorted(wanted)}) as seen, \
            watched({index: links[index].block for index in sorted({index for index, _ in small})}) as blocks:
        chain.backbone(images)
        for (index, kernel), block in statistics.items():
            following = seen[index + 1].output if block.following else None
            features = (hidden_features(block.link, blocks[index].features) if (index, kernel) in small else
                        seen[index].features)
            block.add(features, seen[index].output, following)


def hidden_features(link: Link, x: Tensor) -> Tensor:
    """The features in front of a block's last convolution, (N, C, H, W), for an input of the block."""
    with watched({0: link.output}) as seen:
        link.block(x)
    return seen[0].features


def statistics_of(chain: Chain) -> Statistics:
    """Empty statistics of all blocks whose width can change or that can make up for the next one, for every kernel.

    The blocks with smaller kernels have the central part of the trained one's; :func:`fit_kernels` sets them right.

    Args:
        chain (Chain): The trained backbone.
    """
    links = chain.links
    found: Statistics = {}
    for index, link in enumerate(links):
        following = links[index + 1] if index + 1 < len(links) and links[index + 1].shortcut else None
        if link.spec.searchable or following:
            found[index, link.spec.kernel_size] = BlockStatistics(link, following)
        for kernel in smaller_kernels(link) if link.spec.searchable else ():
            found[index, kernel] = BlockStatistics(with_smaller_kernel(link, kernel), following)
    return found
