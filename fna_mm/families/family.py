"""The interface of a seed family: the blocks of its networks, and the names of the tensors in its checkpoints.

The rest of the package knows a kind of network only through its family. Values and arithmetic need no PyTorch; the two
methods that build modules import it when they are called.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional, Union

from fna_mm.families.layouts import Key, Layout

IMAGE_CHANNELS = 3


def strided_size(size: Sequence[int], stride: int) -> tuple[int, int]:
    """(height, width) after a convolution whose odd kernel is padded to keep the size at stride 1."""
    return -(-size[0] // stride), -(-size[1] // stride)


class Convolution(NamedTuple):
    """A convolution without bias whose odd kernel is padded to keep the size at stride 1.

    Args:
        in_channels (int): Input channels.
        out_channels (int): Output channels.
        kernel_size (int): Side of the square kernel. Defaults to 1.
        stride (int): Stride of the convolution. Defaults to 1.
        groups (int): Groups of the convolution. Defaults to 1.
    """

    in_channels: int
    out_channels: int
    kernel_size: int = 1
    stride: int = 1
    groups: int = 1

    @property
    def weights(self) -> int:
        """Number of elements in the weight tensor."""
        return self.kernel_size**2 * (self.in_channels // self.groups) * self.out_channels

    def output_size(self, input_size: Sequence[int]) -> tuple[int, int]:
        """(height, width) of the output on an input of (height, width)."""
        return strided_size(input_size, self.stride)

    def madds(self, input_size: Sequence[int]) -> int:
        """Multiply-adds on an input of (height, width), each counted once; dilation does not change them."""
        height, width = self.output_size(input_size)
        return self.weights * height * width


def chain_madds(convolutions: Sequence[Convolution], input_size: Sequence[int]) -> int:
    """Multiply-adds of a chain of convolutions.

    Args:
        convolutions (Sequence[Convolution]): The convolutions in order.
        input_size (Sequence[int]): (height, width) of the first convolution's input.
    """
    total, size = 0, (input_size[0], input_size[1])
    for convolution in convolutions:
        total += convolution.madds(size)
        size = convolution.output_size(size)
    return total


def chain_params(convolutions: Sequence[Convolution]) -> int:
    """Number of parameters of convolutions and the affine normalisation behind each, without running statistics."""
    return sum(convolution.weights + 2 * convolution.out_channels for convolution in convolutions)


class BlockSpec(ABC):
    """One block of a network, as a value: immutable, hashable, with a text form that its family parses.

    A block has *hidden* channels between its input and its output.
    """

    #: Side of the kernel that a search may change; an odd number.
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
        """Number of hidden channels of the block for an input with ``in_channels`` channels."""

    @abstractmethod
    def convolutions(self, in_channels: int, out_channels: int, stride: int = 1) -> tuple[Convolution, ...]:
        """The convolutions of the block in order.

        Args:
            in_channels (int): Input channels of the block.
            out_channels (int): Output channels of the block.
            stride (int): Stride of the block. Defaults to 1.
        """

    def side_convolutions(self, in_channels: int, out_channels: int, stride: int = 1) -> tuple[Convolution, ...]:
        """Convolutions of the block's input beside the chain, such as that of a shortcut; by default none.

        Args:
            in_channels (int): Input channels of the block.
            out_channels (int): Output channels of the block.
            stride (int): Stride of the block. Defaults to 1.
        """
        return ()

    def resized(self, kernel_size: int, hidden_channels: int, in_channels: int) -> 'BlockSpec':
        """The same block with another kernel or other hidden channels.

        Args:
            kernel_size (int): Side of the new kernel.
            hidden_channels (int): Hidden channels of the new block.
            in_channels (int): Input channels of the block.

        Raises:
            ValueError: If there is no such block.
        """
        raise ValueError(f'{self} cannot have another kernel or other hidden channels')

    def widened(self, scaled: Callable[[int], int]) -> 'BlockSpec':
        """The block in a network whose channels are scaled; by default the same.

        Args:
            scaled (Callable): Number of channels → number of channels in the scaled network.
        """
        return self

    def madds(self, in_channels: int, out_channels: int, stride: int, input_size: Sequence[int]) -> int:
        """Multiply-adds of the block for one image.

        Args:
            in_channels (int): Input channels.
            out_channels (int): Output channels.
            stride (int): Stride of the block.
            input_size (Sequence[int]): (height, width) of the block's input.
        """
        beside = sum(one.madds(input_size) for one in self.side_convolutions(in_channels, out_channels, stride))
        return chain_madds(self.convolutions(in_channels, out_channels, stride), input_size) + beside

    def params(self, in_channels: int, out_channels: int, stride: int = 1) -> int:
        """Number of parameters of the block with affine normalisation, without running statistics.

        Args:
            in_channels (int): Input channels.
            out_channels (int): Output channels.
            stride (int): Stride of the block. Defaults to 1.
        """
        return chain_params((*self.convolutions(in_channels, out_channels, stride),
                             *self.side_convolutions(in_channels, out_channels, stride)))


@dataclass(frozen=True)
class BlockOptions:
    """The arguments, other than the spec, with which a family builds a block.

    Args:
        in_channels (int): Input channels.
        out_channels (int): Output channels.
        stride (int): Stride of the block. Defaults to 1.
        dilation (int): Dilation of the block's kernel. Defaults to 1.
        norm_cfg (dict, optional): Normalisation of each convolution. Defaults to None: BN.
        act_cfg (dict, optional): Activation of the block. Defaults to None: the family's own.
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

    Attributes such as :attr:`layouts` and :attr:`hidden_dims` name a block's tensors by the part of the block
    (such as ``'expand'``) and the kind of layer (``'conv'`` or ``'bn'``).
    """

    #: The name of the family in architectures and messages; a Python identifier.
    name: str
    #: The usual name of the seed, such as ``'MobileNetV2'``.
    title: str
    #: Published architectures in their text form, those of :attr:`seeds` among them.
    published: Mapping[str, str]
    #: The text form of a typical block, which messages give as an example.
    example: str
    #: Input pixels per pixel of the stem's output, along one side.
    stem_stride: int
    #: Output channels of the 1x1 convolution behind the last stage, in backbones that have one; None: they have none.
    head_channels: Optional[int] = None
    #: Activation of the family's networks.
    act_cfg: Mapping[str, Any] = dict(type='ReLU6')
    #: Stages whose maps a backbone returns if it is not told; None: all.
    out_indices: Optional[tuple[int, ...]] = None
    #: Hidden channels of narrower and wider blocks are multiples of this number.
    width_step: int = 8
    #: Arguments of a supernet's search space that differ from those of MobileNetV2's.
    search_space: Mapping[str, Any] = {}
    #: Names of mm's own backbones that are or may be networks of this family.
    library: tuple[str, ...] = ()
    #: The layouts of the family's checkpoints; the first one is that of this package's own networks.
    layouts: tuple[Layout, ...]
    #: (part, kind) → the dimension of the tensor that carries the hidden channels; other tensors do not carry them.
    #: In blocks that have hidden channels in several places: dimension → the part that computes these channels.
    hidden_dims: Mapping[tuple[str, str], Union[int, Mapping[int, str]]]
    #: The part whose convolution computes the hidden channels that the output is computed from. They are ranked by
    #: the rows of its weight.
    ranked_part: str
    #: The part whose convolution computes the output channels.
    output_part: str

    @abstractmethod
    def parse_spec(self, text: Any) -> BlockSpec:
        """Build a block's spec from its text form; the inverse of ``str(spec)``.

        Raises:
            ValueError: If the text has another form.
        """

    def candidates(self, kernel_sizes: Sequence[int], expand_ratios: Sequence[float]) -> tuple[BlockSpec, ...]:
        """All candidate blocks of a searched layer; the identity is not among them.

        Args:
            kernel_sizes (Sequence[int]): Kernels to choose from.
            expand_ratios (Sequence[float]): Ratios of hidden to input channels to choose from.

        Raises:
            ValueError: If the family has no such block.
        """
        raise ValueError(f'the candidates of a {self.title} depend on the layer')

    def layer_candidates(self, kernel_sizes: Sequence[int], expand_ratios: Sequence[float], seed: BlockSpec,
                         in_channels: int) -> tuple[BlockSpec, ...]:
        """All candidate blocks of one layer; by default :meth:`candidates`, the same for all layers.

        Args:
            kernel_sizes (Sequence[int]): Kernels to choose from.
            expand_ratios (Sequence[float]): Ratios to choose from; their meaning is the family's.
            seed (BlockSpec): The seed's block in this place, or its last one of the stage.
            in_channels (int): Input channels of the layer.

        Raises:
            ValueError: If the family has no such block.
        """
        return self.candidates(kernel_sizes, expand_ratios)

    def spec_of(self, kernel_size: int, hidden_channels: int, in_channels: int) -> BlockSpec:
        """Build the spec of a block from the shapes of its tensors.

        Args:
            kernel_size (int): Side of the block's kernel.
            hidden_channels (int): Hidden channels of the block.
            in_channels (int): Input channels of the block.

        Raises:
            ValueError: If the family has no such block, or shapes do not tell.
        """
        raise ValueError(f'shapes do not tell what block of a {self.title} it is')

    def tapped_channels(self, in_channels: int) -> int:
        """Number of hidden channels in the seed of a layer whose hidden features are returned (``'expandN'``).

        Args:
            in_channels (int): Input channels of the layer.

        Raises:
            ValueError: If the family's layers return none.
        """
        raise ValueError(f"out_indices asks for hidden features ('expandN'), which a {self.title} does not return")

    @abstractmethod
    def stem(self, out_channels: int) -> tuple[Convolution, ...]:
        """The convolutions in front of the first stage."""

    @abstractmethod
    def scaled_channels(self, channels: int, factor: float) -> int:
        """Number of channels after multiplication with a width multiplier and rounding."""

    @abstractmethod
    def build_stem(self, out_channels: int, norm_cfg: dict, act_cfg: dict) -> Any:
        """Build the module of :meth:`stem`: (N, 3, H, W) → (N, out_channels, H / stem_stride, W / stem_stride)."""

    @abstractmethod
    def build_block(self, spec: BlockSpec, options: BlockOptions) -> Any:
        """Build the module of a block.

        The module maps (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride). Its ``forward_tapped``
        returns the hidden features, (N, hidden, H, W), as a second result.

        Args:
            spec (BlockSpec): Spec of a block of this family.
            options (BlockOptions): Channels, stride and the other arguments of the block.
        """

    @property
    def seeds(self) -> tuple[str, ...]:
        """The names of all architectures that are seeds, the shallowest first; by default that of the family."""
        return (self.name, )

    @property
    def places(self) -> dict[str, tuple[str, str]]:
        """The layers of a block of this package: name, such as ``'linear_conv.conv'`` → (part, kind)."""
        return {name: place for table in self.layouts[0].slots for name, place in table.items()}

    def hidden_groups(self, part: str, kind: str) -> Mapping[int, str]:
        """The dimensions of a tensor that carry hidden channels: dimension → the part that computes these channels.

        Args:
            part (str): Part of the block.
            kind (str): Kind of the layer.
        """
        dims = self.hidden_dims.get((part, kind), {})
        return {dims: self.ranked_part} if isinstance(dims, int) else dims

    def inner_groups(self) -> dict[str, str]:
        """Hidden channels that the output is not computed from: the part that computes them → the part that reads them.

        A bottleneck has such channels between its first and its second convolution.
        """
        return {group: part for part, kind in self.hidden_dims for dim, group in self.hidden_groups(part, kind).items()
                if kind == 'conv' and dim == 1 and group != self.ranked_part}

    def shortcut(self, block: Any, x: Any) -> Any:
        """What a block adds to the result of its chain of convolutions; None if it adds nothing.

        By default this is the block's input, if the block has the attribute ``with_shortcut`` and that is True.

        Args:
            block (nn.Module): The block.
            x (Tensor): Its input, (N, in_channels, H, W).
        """
        return x if block.with_shortcut else None

    @property
    def sum_is_output(self) -> bool:
        """Whether the output of a block is the sum of its chain and its shortcut, with nothing behind it."""
        return type(self).behind_sum is Family.behind_sum

    def behind_sum(self, block: Any, total: Any) -> Any:
        """The output of a block from the sum of its chain and its shortcut; by default the sum itself.

        Args:
            block (nn.Module): The block.
            total (Tensor): The sum, (N, out_channels, H, W); it may be changed.
        """
        return total

    def child_arguments(self, section: Mapping[str, Any], backbone: Any) -> dict[str, Any]:
        """What mm's own backbone, one of :attr:`library`, is in arguments of ``FNAChildNet``.

        In the place of ``output_stride`` the result has ``strides`` and ``dilations`` of the stages.

        Args:
            section (Mapping): The config section of the backbone.
            backbone (nn.Module): What was built from it.

        Raises:
            ValueError: If it is no network of the family.
        """
        raise ValueError(f'mm has no {self.title}')

    def part_name(self, part: str, kind: str = 'conv') -> str:
        """The name of a layer within a block of this package, such as ``'linear_conv.conv'``.

        Args:
            part (str): Part of the block.
            kind (str): Kind of the layer, ``'conv'`` or ``'bn'``. Defaults to 'conv'.
        """
        return next(slot for slot, place in self.layouts[0].slots[0].items() if place == (part, kind))

    def parse_own_key(self, key: str) -> Union[tuple[Key, Optional[str]], None]:
        """Find the place of a tensor in a network of this package, and its candidate; None for keys of no weight.

        Args:
            key (str): Key in the backbone's state dict.
        """
        return self.layouts[0].parse(key)
