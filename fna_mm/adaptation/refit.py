"""Refit: every block of a child is solved anew, in order, on the child's own features towards the trained model's."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Optional

import torch
from torch import Tensor

from fna_mm.adaptation.chain import Chain, Maps
from fna_mm.adaptation.child import Origin, write_fit
from fna_mm.adaptation.fitting import Fit, folded, ridge_fit
from fna_mm.adaptation.moments import Moments
from fna_mm.adaptation.statistics import Statistics

#: Bytes of features that are remembered between blocks. Images beyond are run again from their start.
REMEMBERED = 2**29


class _Front:
    """The features of one image in front of a block: the child's, and the trained backbone's."""

    def __init__(self, child: Chain, trained: Chain, image: Tensor) -> None:
        self.child = child.stem(image)
        self.trained = self.child if child.backbone is trained.backbone else trained.stem(image)

    def advance(self, child: Chain, trained: Chain, index: int, origin: Origin, start: int) -> None:
        """Run the child's block and those of the trained backbone that it stands for."""
        maps: Maps = {}
        self.child = child.step(index, self.child, maps)
        for block in range(start, origin.upto + 1):
            self.trained = trained.step(block, self.trained, maps)

    @property
    def bytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in (self.child, self.trained))


def first_changed(trained: Chain, origins: Sequence[Origin]) -> int:
    """Index of the child's first block that is not the trained backbone's."""
    for index, origin in enumerate(origins):
        source = trained.links[origin.block]
        if (origin.upto > origin.block or len(origin.kept) < source.hidden
                or origin.kernel != source.spec.kernel_size):
            return index
    return len(origins)


def refit(trained: Chain, child: Chain, origins: Sequence[Origin], images: Callable[[], Iterable[Tensor]],
          start: int = 0, done: Optional[Callable[[int], None]] = None,
          merge: Optional[Callable[[Moments], None]] = None) -> None:
    """Solve the last convolution of the child's blocks anew, in order.

    The target of a block is what stands in the trained backbone behind it and behind the blocks that were left out
    after it, less what the child's shortcut brings. Blocks in front of the first changed one stay as they are.

    Args:
        trained (Chain): The trained backbone.
        child (Chain): The child, with the weights of :func:`build_child`.
        origins (Sequence[Origin]): Where every block of the child comes from.
        images (Callable): Gives the images, each (1, 3, H, W), every time in the same order.
        start (int): Blocks before this one were refitted already. Defaults to 0.
        done (Callable, optional): Is called with the index of each refitted block. Defaults to None.
        merge (Callable, optional): Adds up the moments of several processes. Defaults to None: there is one.
    """
    with torch.no_grad():
        remembered: dict[int, _Front] = {}
        at = max(first_changed(trained, origins), start)
        for index in range(at, len(origins)):
            origin, link = origins[index], child.links[index]
            moments = Moments(link.hidden, link.place.out_channels, link.output.conv.weight.device)
            used = sum(front.bytes for front in remembered.values())
            for number, image in enumerate(images()):
                front = remembered.get(number)
                if front is None:
                    front = _Front(child, trained, image)
                    _advance(front, child, trained, origins, 0, index)
                    if used + front.bytes <= REMEMBERED:
                        remembered[number] = front
                        used += front.bytes
                _add(moments, front, child, trained, index, origin)
            if merge is not None:
                merge(moments)
            write_fit(link.output, fit_of(moments, link.output), link.output.norm.running_var)
            for front in remembered.values():
                _advance(front, child, trained, origins, index, index + 1)
            if done is not None:
                done(index)


def _advance(front: _Front, child: Chain, trained: Chain, origins: Sequence[Origin], start: int, stop: int) -> None:
    for index in range(start, stop):
        front.advance(child, trained, index, origins[index], origins[index].block)


def _add(moments: Moments, front: _Front, child: Chain, trained: Chain, index: int, origin: Origin) -> None:
    link, maps = child.links[index], {}  # type: Any, Maps
    features: list[Tensor] = []
    handle = link.output.register_forward_pre_hook(lambda module, inputs: features.append(inputs[0]))
    try:
        child.step(index, front.child, maps)
    finally:
        handle.remove()
    wanted = front.trained
    for block in range(origin.block, origin.upto + 1):
        wanted = trained.step(block, wanted, maps)
    moments.add(features[0], wanted - front.child if link.shortcut else wanted)


def fit_of(moments: Moments, output: Any) -> Fit:
    """Fit a block's last convolution to moments; the ridge pulls to the weights that it has.

    Args:
        moments (Moments): Moments of the block's hidden features and of its targets.
        output (nn.Module): The last convolution with its BN.
    """
    norm = output.norm
    prior, _ = folded(output.conv.weight, norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.eps)
    return ridge_fit(moments.mean, moments.covariance, moments.mean_target, moments.cross_covariance,
                     moments.target_variance, prior)


def fit_alone(child: Chain, trained: Chain, origins: Sequence[Origin], statistics: Statistics) -> None:
    """Write into every changed block the fit that its own statistics give: the start of the refit.

    Args:
        child (Chain): The child.
        trained (Chain): The trained backbone.
        origins (Sequence[Origin]): Where every block of the child comes from.
        statistics (Statistics): Statistics of the trained backbone's blocks.
    """
    for link, origin in zip(child.links, origins):
        block = statistics.get((origin.block, origin.kernel))
        source = trained.links[origin.block]
        same = len(origin.kept) == source.hidden and origin.kernel == source.spec.kernel_size
        if block is None or (same and origin.upto == origin.block):
            continue
        absorb = origin.upto > origin.block
        write_fit(link.output, block.fit(origin.kept, absorb), source.output.norm.running_var)

