"""What a seed family defines: the blocks of its networks, and how its checkpoints spell their tensors.

A family is all that the rest of the package knows of a kind of network. Values and arithmetic need no PyTorch; the two
methods that build modules import it when they are called.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional, Union

from fna_mm.families.layouts import Key, Layout

IMAGE_CHANNELS = 3


class Convolution(NamedTuple):
    """A convolution without bias whose odd kernel is padded to keep the size at stride 1.

    Args:
        in_channels (int): Input channels.
        out_channels (int): Output channels.
        kernel_size (int): Side of the square kernel. Defaults to 1.
        stride (int): Defaults to 1.
        groups (int): Defaults to 1.
    """

    in_channels: int
    out_channels: int
    kernel_size: int = 1
    stride: int = 1
    groups: int = 1

    @property
    def weights(self) -> int:
        """Numbers in the weight tensor."""
        return self.kernel_size**2 * (self.in_channels // self.groups) * self.out_channels

    def output_size(self, input_size: Sequence[int]) -> tuple[int, int]:
        """(height, width) of the output on an input of (height, width)."""
        return -(-input_size[0] // self.stride), -(-input_size[1] // self.stride)

    def madds(self, input_size: Sequence[int]) -> int:
        """Multiply-adds on an input of (height, width), each counted once; dilation does not change them."""
        height, width = self.output_size(input_size)
        return self.weights * height * width


def chain_madds(convolutions: Sequence[Convolution], input_size: Sequence[int]) -> int:
    """Multiply-adds of convolutions that follow each other.

    Args:
        convolutions (Sequence[Convolution]): In order.
        input_size (Sequence[int]): (height, width) of the first one's input.
    """
    total, size = 0, (input_size[0], input_size[1])
    for convolution in convolutions:
        total += convolution.madds(size)
        size = convolution.output_size(size)
    return total


def chain_params(convolutions: Sequence[Convolution]) -> int:
    """Parameters of convolutions with an affine normalisation behind each, running statistics not counted."""
    return sum(convolution.weights + 2 * convolution.out_channels for convolution in convolutions)


class BlockSpec(ABC):
    """One block of a network, as a value: immutable, hashable, with a text form that its family parses.

    A block narrows or widens *hidden* channels between its input and its output.
    """

    #: Side of the kernel that a search may change, odd.
    kernel_size: int

    @abstractmethod
    def __str__(self) -> str:
        """The text form, such as ``'k5_e6'``."""

    @property
    @abstractmethod
    def searchable(self) -> bool:
        """Whether a stage of such blocks is searched."""

    @abstractmethod
    def hidden_channels(self, in_channels: int) -> int:
        """Channels inside the block, behind an input of ``in_channels``."""

    @abstractmethod
    def convolutions(self, in_channels: int, out_channels: int, stride: int = 1) -> tuple[Convolution, ...]:
        """The convolutions in order.

        Args:
            in_channels (int): Input channels of the block.
            out_channels (int): Output channels of the block.
            stride (int): Stride of the block. Defaults to 1.
        """

    def madds(self, in_channels: int, out_channels: int, stride: int, input_size: Sequence[int]) -> int:
        """Multiply-adds of the block at batch 1.

        Args:
            in_channels (int): Input channels.
            out_channels (int): Output channels.
            stride (int): Stride of the block.
            input_size (Sequence[int]): (height, width) of the input map.
        """
        return chain_madds(self.convolutions(in_channels, out_channels, stride), input_size)

    def params(self, in_channels: int, out_channels: int) -> int:
        """Parameters of the block with affine normalisation, running statistics not counted."""
        return chain_params(self.convolutions(in_channels, out_channels))


@dataclass(frozen=True)
class BlockOptions:
    """What a family needs to build a block beside its spec.

    Args:
        in_channels (int): Input channels.
        out_channels (int): Output channels.
        stride (int): Stride of the block. Defaults to 1.
        dilation (int): Dilation of its kernel. Defaults to 1.
        norm_cfg (dict, optional): Normalisation of each convolution. Defaults to None: BN.
        act_cfg (dict, optional): Activation. Defaults to None: the family's own.
        with_cp (bool): Recompute the block in the backward pass to save memory. Defaults to False.
    """

    in_channels: int
    out_channels: int
    stride: int = 1
    dilation: int = 1
    norm_cfg: Optional[dict] = None
    act_cfg: Optional[dict] = None
    with_cp: bool = False


class Family(ABC):
    """A seed and the networks that it can become.

    Args of a block's tensors, in :attr:`layouts`, :attr:`hidden_dims` and so on, are parts of a block
    (such as ``'expand'``) and kinds of tensors (``'conv'``, ``'bn'``).
    """

    #: How architectures and messages call the family; a Python identifier.
    name: str
    #: How people call the seed, such as ``'MobileNetV2'``.
    title: str
    #: Published architectures in their text form, the seed's own under the family's ``name``.
    published: Mapping[str, str]
    #: The text form of a typical block, for messages.
    example: str
    #: Input pixels per pixel of the stem's output, along one side.
    stem_stride: int
    #: Outputs of the 1x1 convolution behind the last stage, where a backbone has one.
    head_channels: int
    #: How checkpoints spell the place of a tensor; the first is how this package's own networks do.
    layouts: tuple[Layout, ...]
    #: Which dimension of a tensor carries the block's hidden channels, by (part, kind). Others have none.
    hidden_dims: Mapping[tuple[str, str], int]
    #: The part whose convolution makes the hidden channels: they are ranked by its rows.
    ranked_part: str
    #: The part whose convolution makes the output channels.
    output_part: str

    @abstractmethod
    def parse_spec(self, text: Any) -> BlockSpec:
        """The inverse of ``str(spec)``.

        Raises:
            ValueError: If the text has another form.
        """

    @abstractmethod
    def candidates(self, kernel_sizes: Sequence[int], expand_ratios: Sequence[int]) -> tuple[BlockSpec, ...]:
        """Every block that a searched layer may become, the identity excepted.

        Args:
            kernel_sizes (Sequence[int]): Kernels to choose from.
            expand_ratios (Sequence[int]): Ratios of hidden to input channels to choose from.

        Raises:
            ValueError: If the family has no such block.
        """

    @abstractmethod
    def spec_of(self, kernel_size: int, hidden_channels: int, in_channels: int) -> BlockSpec:
        """The spec of a block that is known by the shapes of its tensors.

        Args:
            kernel_size (int): Side of its kernel.
            hidden_channels (int): Channels inside the block.
            in_channels (int): Input channels.

        Raises:
            ValueError: If the family has no such block.
        """

    @abstractmethod
    def tapped_channels(self, in_channels: int) -> int:
        """Hidden channels of a layer whose hidden features are handed out (``'expandN'``), as the seed has them."""

    @abstractmethod
    def stem(self, out_channels: int) -> tuple[Convolution, ...]:
        """The convolutions in front of the first stage."""

    @abstractmethod
    def scaled_channels(self, channels: int, factor: float) -> int:
        """Channels under a width multiplier."""

    @abstractmethod
    def build_stem(self, out_channels: int, norm_cfg: dict, act_cfg: dict) -> Any:
        """The module of :meth:`stem`: images (N, 3, H, W) → (N, out_channels, H / stem_stride, W / stem_stride)."""

    @abstractmethod
    def build_block(self, spec: BlockSpec, options: BlockOptions) -> Any:
        """The module of a block.

        It maps (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride), and its ``forward_tapped`` gives
        the hidden features, (N, hidden, H, W), as a second result.

        Args:
            spec (BlockSpec): One of this family's.
            options (BlockOptions): Channels, stride and so on.
        """

    def parse_own_key(self, key: str) -> Union[tuple[Key, Optional[str]], None]:
        """The place of a tensor in a network of this package, and its candidate; None if it is no weight.

        Args:
            key (str): Key in the backbone's state dict.
        """
        return self.layouts[0].parse(key)
