"""The MBConv block as a value. Its PyTorch module is in :mod:`fna_mm.families.mbconv_block`."""

import re
from dataclasses import dataclass
from typing import Any

from fna_mm.checks import check_integer
from fna_mm.families.family import BlockSpec, Convolution

_OPERATION = re.compile(r'k(\d+)_e(\d+)')


@dataclass(frozen=True)
class MBConvSpec(BlockSpec):
    """One MBConv layer: the kernel of its depthwise convolution and its expansion ratio.

    Args:
        kernel_size (int): Side of the depthwise kernel, odd.
        expand_ratio (int): Hidden channels per input channel; 1 leaves out the expand convolution.

    Raises:
        ValueError: If the kernel is not odd and positive or the ratio not positive.

    >>> str(MBConvSpec(5, 6))
    'k5_e6'
    """

    kernel_size: int
    expand_ratio: int

    def __post_init__(self) -> None:
        check_integer('kernel_size of an MBConv', self.kernel_size)
        check_integer('expand_ratio of an MBConv', self.expand_ratio)
        if self.kernel_size % 2 == 0:
            raise ValueError(f'kernel_size of an MBConv must be odd, not {self.kernel_size}')

    @classmethod
    def parse(cls, text: Any) -> 'MBConvSpec':
        """Build the spec from its text form: ``'k5_e6'`` has kernel size 5 and expansion ratio 6.

        Raises:
            ValueError: If the text has another form.
        """
        match = _OPERATION.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ValueError(f'unknown operation {text!r}: expected kK_eE (K an odd kernel size, E an expansion ratio'
                             "), such as 'k5_e6', or 'skip'")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f'k{self.kernel_size}_e{self.expand_ratio}'

    @property
    def searchable(self) -> bool:
        """Whether the block expands; the block of MobileNetV2's first stage does not."""
        return self.expand_ratio > 1

    def hidden_channels(self, in_channels: int) -> int:
        """Number of channels of the depthwise convolution."""
        return in_channels * self.expand_ratio

    def convolutions(self, in_channels: int, out_channels: int, stride: int = 1) -> tuple[Convolution, ...]:
        """The expand convolution (unless the ratio is 1), the depthwise convolution and the linear 1x1 convolution."""
        hidden = self.hidden_channels(in_channels)
        expand = (Convolution(in_channels, hidden), ) if self.expand_ratio > 1 else ()
        return (*expand, Convolution(hidden, hidden, self.kernel_size, stride, groups=hidden),
                Convolution(hidden, out_channels))
