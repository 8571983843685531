"""The blocks of ResNets as values. Their PyTorch modules are in :mod:`fna_mm.families.residual_block`."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from fna_mm.checks import MOST_CHANNELS, MOST_KERNEL, check_integer, shown
from fna_mm.families.family import BlockSpec, Convolution

_OPERATION = re.compile(r'k(\d+)_(basic|bottleneck)(\d+)')
#: Side of the second convolution's kernel in a basic block.
OUTER_KERNEL = 3


@dataclass(frozen=True)
class ResidualSpec(BlockSpec):
    """One block of a ResNet: its kind, the kernel of its inner convolution, and its inner channels.

    The inner convolution of a basic block is its first 3x3 convolution, that of a bottleneck its only one.

    Args:
        kernel_size (int): Side of the inner convolution's kernel, odd.
        channels (int): Inner channels: those between the convolutions of the block.
        bottleneck (bool): Whether 1x1 convolutions stand before and behind the inner one. Otherwise a 3x3 convolution
            stands behind it. Defaults to False.
        strided_first (bool): Whether the first 1x1 convolution of a bottleneck has the stride, as in Caffe's ResNets.
            Defaults to False: the inner one has it.

    Raises:
        ValueError: If the kernel is not odd and positive, or the channels are not positive.

    >>> str(ResidualSpec(3, 64)), str(ResidualSpec(5, 128, bottleneck=True))
    ('k3_basic64', 'k5_bottleneck128')
    """

    kernel_size: int
    channels: int
    bottleneck: bool = False
    strided_first: bool = False

    def __post_init__(self) -> None:
        check_integer('kernel_size of a residual block', self.kernel_size, most=MOST_KERNEL)
        check_integer('inner channels of a residual block', self.channels, most=MOST_CHANNELS)
        if self.kernel_size % 2 == 0:
            raise ValueError(f'kernel_size of a residual block must be odd, not {self.kernel_size}')

    @classmethod
    def parse(cls, text: Any, strided_first: bool = False) -> 'ResidualSpec':
        """Build the spec from its text form.

        ``'k3_basic64'`` is a basic block, ``'k3_bottleneck64'`` a bottleneck, each with kernel size 3 and 64 inner
        channels.

        Args:
            text (Any): The text form.
            strided_first (bool): As in the class. Defaults to False.

        Raises:
            ValueError: If the text has another form.
        """
        match = _OPERATION.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ValueError(f'unknown operation {shown(text)}: expected kK_basicC (K an odd kernel size, C inner '
                             "channels), such as 'k3_basic64', kK_bottleneckC, such as 'k3_bottleneck64', or 'skip'")
        bottleneck = match[2] == 'bottleneck'
        return cls(int(match[1]), int(match[3]), bottleneck, strided_first and bottleneck)

    def __str__(self) -> str:
        return f'k{self.kernel_size}_{"bottleneck" if self.bottleneck else "basic"}{self.channels}'

    @property
    def searchable(self) -> bool:
        """Every block is."""
        return True

    def hidden_channels(self, in_channels: int) -> int:
        """The inner channels; they do not depend on the input."""
        return self.channels

    def resized(self, kernel_size: int, hidden_channels: int, in_channels: int) -> 'ResidualSpec':
        """The same kind of block with another kernel or other inner channels."""
        return replace(self, kernel_size=kernel_size, channels=hidden_channels)

    def widened(self, scaled: Callable[[int], int]) -> 'ResidualSpec':
        """The block in a network whose channels are scaled: the inner ones are scaled, too."""
        return replace(self, channels=scaled(self.channels))

    def strides(self, stride: int) -> tuple[int, int]:
        """The strides of the first 1x1 convolution of a bottleneck and of the inner convolution.

        Args:
            stride (int): Stride of the block.
        """
        return (stride, 1) if self.strided_first else (1, stride)

    def convolutions(self, in_channels: int, out_channels: int, stride: int = 1) -> tuple[Convolution, ...]:
        """The first 1x1 convolution of a bottleneck, the inner convolution, and the one that computes the output."""
        first, second = self.strides(stride)
        if not self.bottleneck:
            return (Convolution(in_channels, self.channels, self.kernel_size, stride),
                    Convolution(self.channels, out_channels, OUTER_KERNEL))
        return (Convolution(in_channels, self.channels, 1, first),
                Convolution(self.channels, self.channels, self.kernel_size, second),
                Convolution(self.channels, out_channels))

    def side_convolutions(self, in_channels: int, out_channels: int, stride: int = 1) -> tuple[Convolution, ...]:
        """The 1x1 convolution of the shortcut, where the block changes the channels or has a stride."""
        return (Convolution(in_channels, out_channels, 1, stride), ) if changes_shape(in_channels, out_channels,
                                                                                     stride) else ()


def changes_shape(in_channels: int, out_channels: int, stride: int) -> bool:
    """Whether a block's input cannot be added to its output as it is.

    Args:
        in_channels (int): Input channels of the block.
        out_channels (int): Output channels of the block.
        stride (int): Stride of the block.
    """
    return stride != 1 or in_channels != out_channels
