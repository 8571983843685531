"""Remapping of single tensors: depth, width and kernel (paper, section 3.1). Nothing else."""

import torch
from torch import Tensor

WIDTH_METHODS = ('first', )
KERNEL_METHODS = ('center', )


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


def select_channels(seed_channels: int, channels: int) -> Tensor:
    """Indices of the seed's channels that a narrower layer keeps: the first ones (equation 2).

    Args:
        seed_channels (int): Channels in the seed.
        channels (int): Channels to keep, at most ``seed_channels``.

    Returns:
        Tensor: Rising indices, (channels,).

    Raises:
        ValueError: If there are fewer channels in the seed.
    """
    if channels > seed_channels:
        raise ValueError(f'{channels} channels cannot be taken from the seed\'s {seed_channels}: '
                         'remapping narrows layers, it does not widen them')
    return torch.arange(channels)


def remap_kernel(weight: Tensor, kernel_size: int) -> Tensor:
    """Put a kernel into the centre of a larger one, zeros around it (equation 3).

    Args:
        weight (Tensor): (out, in, k, k) with odd k.
        kernel_size (int): Side of the new kernel, odd and at least k.

    Returns:
        Tensor: (out, in, kernel_size, kernel_size).

    Raises:
        ValueError: If the new kernel is smaller or one of the two is even.
    """
    out_channels, in_channels, height, width = weight.shape
    if height != width or height % 2 == 0 or kernel_size % 2 == 0 or kernel_size < height:
        raise ValueError(f'a {height}x{width} kernel cannot be put into the centre of a '
                         f'{kernel_size}x{kernel_size} one: both must be odd and the new one not smaller')
    margin = (kernel_size - height) // 2
    result = weight.new_zeros(out_channels, in_channels, kernel_size, kernel_size)
    result[:, :, margin:margin + height, margin:margin + width] = weight
    return result
