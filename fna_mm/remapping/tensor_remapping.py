"""Remapping of single tensors: depth, width and kernel (paper, sections 3.1 and 4.4). Nothing else."""

from typing import Optional

import torch
from torch import Tensor

WIDTH_METHODS = ('first', 'bn', 'std', 'l1')
KERNEL_METHODS = ('center', 'dilate')


def check_methods(width: str, kernel: str) -> None:
    """Check the names of the methods.

    Raises:
        ValueError: If one is unknown.
    """
    for name, value, legal in (('width', width, WIDTH_METHODS), ('kernel', kernel, KERNEL_METHODS)):
        if value not in legal:
            raise ValueError(f'{name}={value!r} is no remapping method: choose one of {list(legal)}')


def depth_index(layer: int, seed_depth: int) -> int:
    """The seed's layer that a layer of the new stage comes from, both counted from 0.

    Equation 1 as its sentence has it (the printed max is a slip): existing layers from themselves,
    new ones from the last.

    Args:
        layer (int): Place in the new stage.
        seed_depth (int): Layers in the seed's stage.
    """
    return min(layer, seed_depth - 1)


def reference_vector(width: str, weight: Optional[Tensor], scale: Optional[Tensor]) -> Optional[Tensor]:
    """What a width method ranks channels by (paper, section 4.4).

    Args:
        width (str): ``bn`` for |γ|, ``std`` for the standard deviation and ``l1`` for the L1 norm of each
            channel's weights; ``first`` does not rank.
        weight (Tensor, optional): (channels, …), the convolution that makes the channels.
        scale (Tensor, optional): (channels,), γ of the BN behind it.

    Returns:
        Tensor | None: (channels,) in double precision; None for ``first``.

    Raises:
        ValueError: If what the method ranks by is missing.
    """
    if width == 'first':
        return None
    source, name = (scale, 'scale of the BN') if width == 'bn' else (weight, 'weights of the convolution')
    if source is None:
        raise ValueError(f'width={width!r} needs the {name} that makes the channels, which the seed does not have: '
                         "choose another width method, such as 'first'")
    rows = source.detach().double().reshape(source.shape[0], -1)
    return rows.std(1, correction=0) if width == 'std' else rows.abs().sum(1)


def select_channels(seed_channels: int, channels: int, reference: Optional[Tensor] = None) -> Tensor:
    """Indices of the seed's channels that a narrower layer keeps.

    Without a reference vector the first ones (equation 2), otherwise those with the largest values
    (algorithm 1); among equals the lower index.

    Args:
        seed_channels (int): Channels in the seed.
        channels (int): Channels to keep, at most ``seed_channels``.
        reference (Tensor, optional): (seed_channels,). Defaults to None.

    Returns:
        Tensor: Rising indices, (channels,).

    Raises:
        ValueError: If there are fewer channels in the seed, or the vector has another length.
    """
    if channels > seed_channels:
        raise ValueError(f'{channels} channels cannot be taken from the seed\'s {seed_channels}: '
                         'remapping narrows layers, it does not widen them')
    if reference is None:
        return torch.arange(channels)
    if reference.shape != (seed_channels, ):
        raise ValueError(f'it has {seed_channels} channels, but the convolution that makes them {len(reference)}')
    return reference.sort(descending=True, stable=True).indices[:channels].sort().values


def _positions(small: int, large: int, kernel: str) -> Tensor:
    """Where, along one side and counted from 0, a small kernel's values lie in a large one."""
    if kernel == 'center' or small == large:
        margin = (large - small) // 2
        return torch.arange(margin, margin + small)
    if small == 1 or (large - 1) % (small - 1):
        raise ValueError(f"kernel='dilate' does not go between {small}x{small} and {large}x{large}: the places "
                         f'1 + i * ({large} - 1) / ({small} - 1) are not whole numbers')
    return torch.arange(0, large, (large - 1) // (small - 1))


def remap_kernel(weight: Tensor, kernel_size: int, kernel: str = 'center') -> Tensor:
    """Put a kernel into a larger one with zeros elsewhere, or take a smaller one out of it.

    ``center`` puts it into the centre (equation 3), ``dilate`` spreads it from corner to corner: the
    i-th value of a side of s goes to 1 + i(k - 1)/(s - 1), i from 0 (equation 6, where s is 3). A new
    kernel that is smaller is what the same rule would have written into the seed's: with ``center`` its
    central part, with ``dilate`` its corners and what lies evenly between them.

    Args:
        weight (Tensor): (out, in, s, s) with odd s.
        kernel_size (int): Side k of the new kernel, odd.
        kernel (str): ``center`` or ``dilate``. Defaults to 'center'.

    Returns:
        Tensor: (out, in, k, k), a copy.

    Raises:
        ValueError: If a side is even, the kernel is not square, or ``dilate`` would need places
            between the values.
    """
    out_channels, in_channels, side, other = weight.shape
    if side != other or side % 2 == 0 or kernel_size % 2 == 0:
        raise ValueError(f'a {side}x{other} kernel cannot become a {kernel_size}x{kernel_size} one: '
                         'both must be square and odd')
    places = _positions(min(side, kernel_size), max(side, kernel_size), kernel).to(weight.device)
    if kernel_size <= side:
        return weight[:, :, places[:, None], places]
    result = weight.new_zeros(out_channels, in_channels, kernel_size, kernel_size)
    result[:, :, places[:, None], places] = weight
    return result
