"""Refit: every block of a child is solved anew, in order, on the child's own features towards the trained model's."""

from collections.abc import Callable, Iterable, Sequence
from typing import Optional

import torch
from torch import Tensor

from fna_mm.adaptation.chain import Chain, Link
from fna_mm.adaptation.child import Origin, write_fit
from fna_mm.adaptation.fitting import Fit, ridge_fit, ridge_of
from fna_mm.adaptation.moments import Moments
from fna_mm.adaptation.patches import patch_size, seen_by
from fna_mm.adaptation.statistics import Statistics, hidden_features, linear_map

#: Bytes of features that are remembered between blocks. Images beyond are run again from their start.
REMEMBERED = 2**29


class _Front:
    """The features of one image in front of a block: the child's, and the trained backbone's."""

    def __init__(self, child: Chain, trained: Chain, image: Tensor) -> None:
        self.child, self.trained = child.stem(image), trained.stem(image)

    def advance_trained(self, trained: Chain, origin: Origin) -> Tensor:
        """Run the blocks of the trained backbone that a child's block stands for; return the last one's sum."""
        if origin.upto < origin.block:
            return self.trained
        for block in range(origin.block, origin.upto):
            self.trained = trained.step(block, self.trained, {})
        link = trained.links[origin.upto]
        total = link.total(self.trained)
        self.trained = link.finished(total.clone())
        return total

    def advance_child(self, child: Chain, index: int) -> None:
        """Run a block of the child."""
        self.child = child.step(index, self.child, {})

    @property
    def bytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in (self.child, self.trained))


def is_changed(origin: Origin, source: Link) -> bool:
    """Whether a child's block is another one than the trained backbone's, or stands for more than that.

    Args:
        origin (Origin): Where the child's block comes from.
        source (Link): That block of the trained backbone.
    """
    return origin.upto > origin.block or not origin.is_whole(source)


def first_changed(trained: Chain, origins: Sequence[Origin]) -> int:
    """Index of the child's first block that is not the trained backbone's."""
    return next((index for index, origin in enumerate(origins) if is_changed(origin, trained.links[origin.block])),
                len(origins))


def refit(trained: Chain, child: Chain, origins: Sequence[Origin], images: Callable[[], Iterable[Tensor]],
          done: Optional[Callable[[int], None]] = None, number_of_images: Optional[int] = None) -> None:
    """Solve the last convolution of the child's blocks anew, in order.

    The target of a block is what stands in the trained backbone behind it and behind the blocks that were left out
    after it, less what the child's shortcut brings. Blocks in front of the first changed one stay as they are. Several
    processes add up their moments.

    Args:
        trained (Chain): The trained backbone.
        child (Chain): The child, with the weights of :func:`build_child`.
        origins (Sequence[Origin]): Where every block of the child comes from.
        images (Callable): Gives this process' images, each (1, 3, H, W), every time in the same order.
        done (Callable, optional): Is called with the index of each refitted block. Defaults to None.
        number_of_images (int, optional): Images of all processes together. Defaults to None: it is not known.
    """
    with torch.no_grad():
        remembered: dict[int, _Front] = {}
        for index in range(first_changed(trained, origins), len(origins)):
            link = child.links[index]
            moments = Moments(link.hidden * patch_size(link.output.conv), link.place.out_channels,
                              link.output.conv.weight.device)
            used = sum(front.bytes for front in remembered.values())
            for number, image in enumerate(images()):
                front = remembered.get(number)
                if front is None:
                    front = _Front(child, trained, image)
                    for before in range(index):
                        front.advance_trained(trained, origins[before])
                        front.advance_child(child, before)
                    if used + front.bytes <= REMEMBERED:
                        remembered[number] = front
                        used += front.bytes
                total = front.advance_trained(trained, origins[index])
                moments.add(*seen_by(link.output.conv, hidden_features(link, front.child),
                                     total - link.beside(front.child), number_of_images))
            moments.merge()
            write_fit(link.output, fit_of(moments, link), link.output.norm.running_var)
            for front in remembered.values():
                front.advance_child(child, index)
            if done is not None:
                done(index)


def fit_of(moments: Moments, link: Link) -> Fit:
    """Fit a block's last convolution to moments; the ridge pulls to the weights that it has.

    Args:
        moments (Moments): Moments of the block's hidden features and of its targets.
        link (Link): The block.
    """
    return ridge_fit(moments.mean, moments.covariance, moments.mean_target, moments.cross_covariance,
                     moments.target_variance, linear_map(link)[0], ridge_of(moments.count, len(moments.gram)))


def fit_alone(child: Chain, trained: Chain, origins: Sequence[Origin], statistics: Statistics) -> None:
    """Write into every changed block the fit that its own statistics give: the start of the refit.

    Args:
        child (Chain): The child.
        trained (Chain): The trained backbone.
        origins (Sequence[Origin]): Where every block of the child comes from.
        statistics (Statistics): Statistics of the trained backbone's blocks.
    """
    for link, origin in zip(child.links, origins):
        source = trained.links[origin.block]
        if is_changed(origin, source):
            fit = statistics[origin.block, origin.kernel].fit(origin.kept, absorb=origin.upto > origin.block)
            write_fit(link.output, fit, source.output.norm.running_var)

