"""Remapping of single tensors in depth, width and kernel (paper, sections 3.1 and 4.4)."""

from typing import Optional

import torch
from torch import Tensor

WIDTH_METHODS = ('first', 'bn', 'std', 'l1')
KERNEL_METHODS = ('center', 'dilate')


def check_methods(width: str, kernel: str) -> None:
    """Check the names of the remapping methods.

    Raises:
        ValueError: If a method is unknown.
    """
    for name, value, legal in (('width', width, WIDTH_METHODS), ('kernel', kernel, KERNEL_METHODS)):
        if value not in legal:
            raise ValueError(f'{name}={value!r} is no remapping method: choose one of {list(legal)}')


def depth_index(layer: int, seed_depth: int) -> int:
    """The layer of the seed's stage that a layer of the new stage is copied from, both counted from 0.

    This is equation 1 as the paper's text describes it (the printed max is a mistake): a layer that the
    seed has is copied from itself, a new one from the seed's last layer.

    Args:
        layer (int): Index of the layer in the new stage.
        seed_depth (int): Number of layers in the seed's stage.
    """
    return min(layer, seed_depth - 1)


def reference_vector(width: str, weight: Optional[Tensor], scale: Optional[Tensor]) -> Optional[Tensor]:
    """The values by which a width method ranks channels (paper, section 4.4).

    Args:
        width (str): ``bn`` for |γ|, ``std`` for the standard deviation and ``l1`` for the L1 norm of each
            channel's weights; ``first`` does not rank.
        weight (Tensor, optional): (channels, …), weight of the convolution that computes the channels.
        scale (Tensor, optional): (channels,), γ of the BN behind that convolution.

    Returns:
        Tensor | None: (channels,) in double precision; None for ``first``.

    Raises:
        ValueError: If the tensor that the method needs is missing.
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

    Without a reference vector these are the first channels (equation 2), otherwise those with the largest
    values (algorithm 1). Of equal values, the one with the lower index is kept.

    Args:
        seed_channels (int): Number of channels in the seed.
        channels (int): Number of channels to keep, at most ``seed_channels``.
        reference (Tensor, optional): (seed_channels,), the values to rank by. Defaults to None.

    Returns:
        Tensor: Indices in rising order, (channels,).

    Raises:
        ValueError: If the seed has fewer channels, or the vector has another length.
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
    """The places of a small kernel's values in a large one, along one side and counted from 0."""
    if kernel == 'center' or small == large:
        margin = (large - small) // 2
        return torch.arange(margin, margin + small)
    if small == 1 or (large - 1) % (small - 1):
        raise ValueError(f"kernel='dilate' does not go between {small}x{small} and {large}x{large}: the places "
                         f'1 + i * ({large} - 1) / ({small} - 1) are not whole numbers')
    return torch.arange(0, large, (large - 1) // (small - 1))


def remap_kernel(weight: Tensor, kernel_size: int, kernel: str = 'center') -> Tensor:
    """Put a kernel into a larger one with zeros elsewhere, or take a smaller one out of it.

    ``center`` puts it into the centre (equation 3). ``dilate`` spreads it from corner to corner: the i-th
    value of a side of s goes to 1 + i(k - 1)/(s - 1), i from 0 (equation 6, where s is 3). A smaller new
    kernel takes the values at the places to which the same rule would write them: with ``center`` the
    central part, with ``dilate`` the corners and evenly spaced values between them.

    Args:
        weight (Tensor): The kernel, (out, in, s, s) with odd s.
        kernel_size (int): Side k of the new kernel, odd.
        kernel (str): ``center`` or ``dilate``. Defaults to 'center'.

    Returns:
        Tensor: The new kernel, (out, in, k, k), a copy.

    Raises:
        ValueError: If a side is even, the kernel is not square, or the places of ``dilate`` are not whole
            numbers.
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
