"""Blocks with a smaller kernel than the trained one's, whose normalisation is set right by a few images."""

import copy
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from fna_mm import families
from fna_mm.adaptation.chain import Chain, Link, watched
from fna_mm.remapping.tensor_remapping import remap_kernel

#: Kernels that a block may have, as far as they are smaller than its own.
KERNELS = (3, 5)
_TINY = 1e-12


def smaller_kernels(link: Link) -> tuple[int, ...]:
    """The kernels, rising, that are smaller than the block's own."""
    return tuple(kernel for kernel in KERNELS if kernel < link.spec.kernel_size)


def kernel_layers(block: nn.Module, kernel: int, family: str = families.DEFAULT) -> dict[str, Any]:
    """The layers of a block, mm's ConvModules, whose convolution has the block's kernel: name → layer.

    The convolution that computes the output is none of them: its kernel does not change.

    Args:
        block (nn.Module): The block.
        kernel (int): Side of its kernel.
        family (str): Name of its family. Defaults to 'mobilenet_v2'.
    """
    own = families.family(family)
    output = own.part_name(own.output_part)
    return {name.rpartition('.')[0]: block.get_submodule(name.rpartition('.')[0])
            for name, module in block.named_modules()
            if isinstance(module, nn.Conv2d) and module.kernel_size == (kernel, kernel) and kernel > 1
            and name != output}


def with_smaller_kernel(link: Link, kernel: int) -> Link:
    """The block with the central part of its kernel (equation 3 the other way round).

    Args:
        link (Link): The block; it is not changed.
        kernel (int): Side of the new kernel.
    """
    block = copy.deepcopy(link.block)
    for layer in kernel_layers(block, link.spec.kernel_size, link.family).values():
        conv = layer.conv
        conv.weight = nn.Parameter(remap_kernel(conv.weight.detach(), kernel), conv.weight.requires_grad)
        conv.kernel_size = (kernel, kernel)
        conv.padding = tuple(dilation * (kernel // 2) for dilation in conv.dilation)
    spec = link.spec.resized(kernel, link.hidden, link.place.in_channels)
    return link._replace(spec=spec, block=block)


class _Regression:
    """Sums, for each channel, of the outputs z of a convolution and w of the one with the smaller kernel."""

    def __init__(self) -> None:
        self.count, self.sums = 0, torch.zeros(())

    def add(self, z: Tensor, w: Tensor) -> None:
        z, w = z.double(), w.double()
        terms = torch.stack([value.sum((0, 2, 3)) for value in (z, w, z * w, w * w)])
        self.sums, self.count = self.sums.to(terms) + terms, self.count + z.numel() // z.shape[1]

    def write(self, layer: Any) -> None:
        """Scale the small kernel and shift the normalisation, so that it sees what it saw before, as well as can be."""
        mean_z, mean_w, both, square = self.sums / self.count
        variance = (square - mean_w.square()).clamp(min=0)
        slope = torch.where(variance > _TINY, (both - mean_z * mean_w) / variance.clamp(min=_TINY),
                            torch.ones_like(variance))
        norm = layer.norm
        with torch.no_grad():
            layer.conv.weight.mul_(slope.to(layer.conv.weight)[:, None, None, None])
            new_variance = slope.square() * variance
            # It normalises slope · w + (mean_z - slope · mean_w), with the same result in both of its modes.
            old = (norm.running_var.double() + norm.eps).sqrt()
            norm.bias.add_((norm.weight.double() * (mean_z - norm.running_mean) / old).to(norm.bias))
            norm.weight.mul_(((new_variance + norm.eps).sqrt() / old).to(norm.weight))
            norm.running_mean.copy_(slope * mean_w)
            norm.running_var.copy_(new_variance)


def fit_kernels(chain: Chain, small: Mapping[tuple[int, int], Link], images: Iterable[Tensor]) -> None:
    """Scale smaller kernels and set their normalisations right: a regression for each channel, on the block's inputs.

    Args:
        chain (Chain): The trained backbone.
        small (Mapping): (index of the block, kernel) → the block with that kernel; it is changed.
        images (Iterable[Tensor]): Images, each (N, 3, H, W).
    """
    if not small:
        return
    layers = {(index, kernel, name): layer for (index, kernel), link in small.items()
              for name, layer in kernel_layers(link.block, kernel, link.family).items()
              if name in kernel_layers(chain.links[index].block, chain.links[index].spec.kernel_size, link.family)}
    sums = {key: _Regression() for key in layers}
    with torch.no_grad(), ExitStack() as stack:
        seen: dict[str, Any] = {name: stack.enter_context(watched({
            index: chain.links[index].block.get_submodule(name).conv for index, _, other in layers if other == name}))
            for name in {name for _, _, name in layers}}
        for batch in images:
            chain.backbone(batch)
            for (index, kernel, name), layer in layers.items():
                shown = seen[name][index]
                sums[index, kernel, name].add(shown.output, layer.conv(shown.features))
        for key, layer in layers.items():
            sums[key].write(layer)
