"""The MBConv block as a value. Its PyTorch module is in :mod:`fna_mm.families.mbconv_block`."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Optional

from fna_mm.checks import MOST_CHANNELS, MOST_KERNEL, MOST_RATIO, check_integer, shown
from fna_mm.families.family import BlockSpec, Convolution

_OPERATION = re.compile(r'k(\d+)_([ec])(\d+)')


@dataclass(frozen=True)
class MBConvSpec(BlockSpec):
    """One MBConv layer: the kernel of its depthwise convolution, and its hidden channels.

    The hidden channels are given either as a ratio to the input channels or as a number.

    Args:
        kernel_size (int): Side of the depthwise kernel, odd.
        expand_ratio (int, optional): Hidden channels per input channel; 1 leaves out the expand convolution. Defaults
            to None: ``channels`` gives the hidden channels.
        channels (int, optional): Hidden channels. The block has its expand convolution, whatever their number.
            Defaults to None: ``expand_ratio`` gives them.

    Raises:
        ValueError: If the kernel is not odd and positive, the ratio or the channels are not positive, or not exactly
            one of both is given.

    >>> str(MBConvSpec(5, 6)), str(MBConvSpec(3, channels=136))
    ('k5_e6', 'k3_c136')
    """

    kernel_size: int
    expand_ratio: Optional[int] = None
    channels: Optional[int] = None

    def __post_init__(self) -> None:
        check_integer('kernel_size of an MBConv', self.kernel_size, most=MOST_KERNEL)
        if (self.expand_ratio is None) == (self.channels is None):
            raise ValueError(f'an MBConv needs either expand_ratio or channels, not {self.expand_ratio!r} and '
                             f'{self.channels!r}')
        for name, most in (('expand_ratio', MOST_RATIO), ('channels', MOST_CHANNELS)):
            if (value := getattr(self, name)) is not None:
                check_integer(f'{name} of an MBConv', value, most=most)
        if self.kernel_size % 2 == 0:
            raise ValueError(f'kernel_size of an MBConv must be odd, not {self.kernel_size}')

    @classmethod
    def parse(cls, text: Any) -> 'MBConvSpec':
        """Build the spec from its text form.

        ``'k5_e6'`` has kernel size 5 and expansion ratio 6, ``'k3_c136'`` has kernel size 3 and 136 hidden channels.

        Raises:
            ValueError: If the text has another form.
        """
        match = _OPERATION.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ValueError(f'unknown operation {shown(text)}: expected kK_eE (K an odd kernel size, E an expansion '
                             "ratio), such as 'k5_e6', kK_cC (C hidden channels), such as 'k3_c136', or 'skip'")
        number = int(match[3])
        return cls(int(match[1]), number) if match[2] == 'e' else cls(int(match[1]), channels=number)

    def __str__(self) -> str:
        hidden = f'e{self.expand_ratio}' if self.channels is None else f'c{self.channels}'
        return f'k{self.kernel_size}_{hidden}'

    @property
    def expands(self) -> bool:
        """Whether the block has an expand convolution."""
        return self.expand_ratio != 1

    @property
    def searchable(self) -> bool:
        """Whether the block expands; the block of MobileNetV2's first stage does not."""
        return self.expands

    def hidden_channels(self, in_channels: int) -> int:
        """Number of channels of the depthwise convolution."""
        return in_channels * self.expand_ratio if self.expand_ratio is not None else self.channels or 0

    def resized(self, kernel_size: int, hidden_channels: int, in_channels: int) -> 'MBConvSpec':
        """The same block with another kernel or other hidden channels.

        The hidden channels are written as a ratio if they are a multiple of the input channels, but never as ratio 1:
        the block keeps its expand convolution.

        Raises:
            ValueError: If the block has no expand convolution and the hidden channels are to change.
        """
        if not self.expands:
            if hidden_channels != in_channels:
                raise ValueError(f'{self} has no expand convolution: its {in_channels} hidden channels are those of '
                                 f'its input and cannot become {hidden_channels}')
            return MBConvSpec(kernel_size, 1)
        ratio, rest = divmod(hidden_channels, in_channels)
        return (MBConvSpec(kernel_size, ratio) if rest == 0 and ratio > 1 else
                MBConvSpec(kernel_size, channels=hidden_channels))

    def widened(self, scaled: Callable[[int], int]) -> 'MBConvSpec':
        """The block in a network whose channels are scaled: hidden channels that are a number are scaled, too."""
        return self if self.channels is None else MBConvSpec(self.kernel_size, channels=scaled(self.channels))

    def convolutions(self, in_channels: int, out_channels: int, stride: int = 1) -> tuple[Convolution, ...]:
        """The expand convolution (unless the ratio is 1), the depthwise convolution and the linear 1x1 convolution."""
        hidden = self.hidden_channels(in_channels)
        expand = (Convolution(in_channels, hidden), ) if self.expands else ()
        return (*expand, Convolution(hidden, hidden, self.kernel_size, stride, groups=hidden),
                Convolution(hidden, out_channels))
