"""A backbone as a chain of blocks, which can be run from any block on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Optional, Union

from mmcv.cnn import ConvModule
from torch import Tensor, nn

from fna_mm import families
from fna_mm.architecture import PlacedLayer
from fna_mm.backbones.fna_child_net import FNAChildNet
from fna_mm.families import BlockSpec


class Link(NamedTuple):
    """A block of a chain.

    Args:
        stage (int): Index of its stage.
        layer (int): Index in its stage.
        spec (BlockSpec): Its spec.
        place (PlacedLayer): Its place in the network.
        block (nn.Module): Its module.
        last (bool): Whether it is the last block of its stage.
        family (str): Name of its family.
    """

    stage: int
    layer: int
    spec: BlockSpec
    place: PlacedLayer
    block: Any
    last: bool
    family: str

    @property
    def name(self) -> str:
        """The name of the block in the state dict, such as ``'layer2.0'``."""
        return f'layer{self.stage + 1}.{self.layer}'

    @property
    def output(self) -> Any:
        """The last convolution of the block with its normalisation."""
        family = families.family(self.family)
        return self.block.get_submodule(family.part_name(family.output_part).rpartition('.')[0])

    @property
    def hidden(self) -> int:
        """Number of hidden channels."""
        return self.spec.hidden_channels(self.place.in_channels)

    @property
    def shortcut(self) -> bool:
        """Whether the block adds its input to its output, so that it can be left out."""
        return self.layer > 0

    def beside(self, x: Tensor) -> Union[Tensor, int]:
        """What the block adds to the output of its last convolution, for its input x; 0 if it adds nothing."""
        added = families.family(self.family).shortcut(self.block, x)
        return 0 if added is None else added

    def finished(self, total: Tensor) -> Tensor:
        """The block's output from the sum of its last convolution's output and its shortcut."""
        return families.family(self.family).behind_sum(self.block, total)

    def total(self, x: Tensor) -> Tensor:
        """The sum of the last convolution's output and the shortcut, for the block's input x."""
        with watched({0: self.output}) as seen:
            self.block(x)
        return seen[0].output + self.beside(x)


Maps = dict[Union[int, str], Tensor]


class Chain:
    """The blocks of a child in order.

    Args:
        backbone (FNAChildNet): The backbone.
        input_shape (tuple[int, int], optional): (height, width) of images, for places that know their size.
            Defaults to None.
    """

    def __init__(self, backbone: FNAChildNet, input_shape: Optional[tuple[int, int]] = None) -> None:
        self.backbone, self.input_shape = backbone, input_shape
        self.links = [
            Link(stage.index, place.index, spec, place, list(backbone.stage(stage.index).children())[place.index],
                 place.index + 1 == len(stage.stage.layers), backbone.family)
            for stage in backbone.architecture.walk(backbone.output_stride, input_shape)
            for spec, place in stage.layers()]

    @property
    def stem_is_hidden(self) -> bool:
        """Whether the channels of the stem are the hidden channels of the first block, and nothing else needs them."""
        first, second = self.links[0].block, self.links[1].stage
        return (isinstance(self.backbone.conv1, ConvModule) and getattr(first, 'with_expand_conv', None) is False
                and not first.with_shortcut and second > 0)

    def stem(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) → the input of the first block."""
        return self.backbone.conv1(images)

    def after(self, position: int, x: Tensor, maps: Maps) -> tuple[Tensor, ...]:
        """Run everything behind a block.

        Args:
            position (int): Index of the block.
            x (Tensor): Output of that block, (N, C, H, W).
            maps (dict): Feature maps that the backbone returns and that are made before that output; they are not
                changed.

        Returns:
            tuple[Tensor, ...]: What the backbone returns.
        """
        maps = dict(maps)
        self.note(position, x, maps)
        for index in range(position + 1, len(self.links)):
            x = self.step(index, x, maps)
            self.note(index, x, maps)
        return self.results(x, maps)

    def step(self, index: int, x: Tensor, maps: Maps) -> Tensor:
        """Run one block; a tapped block's hidden features are noted in the maps."""
        link = self.links[index]
        if link.layer == 0 and link.stage in self.backbone.tapped_stages:
            x, maps[f'expand{link.stage}'] = link.block.forward_tapped(x)
            return x
        return link.block(x)

    def note(self, position: int, x: Tensor, maps: Maps) -> None:
        """Note the output of a block in the maps if the backbone returns it."""
        link = self.links[position]
        if link.last and link.stage in self.backbone.out_indices:
            maps[link.stage] = x

    def results(self, x: Tensor, maps: Maps) -> tuple[Tensor, ...]:
        """What the backbone returns, from the output of its last block and the noted maps."""
        if self.backbone.built_head_channels:
            maps[self.backbone.num_stages] = self.backbone.conv2(x)
        return tuple(maps[index] for index in self.backbone.out_indices)


class Watched(NamedTuple):
    """The last input and output of a watched module."""

    features: Tensor
    output: Tensor


@contextmanager
def watched(modules: Mapping[Any, nn.Module]) -> Iterator[dict[Any, Watched]]:
    """Keep the last input and output of each module while the context lasts.

    Args:
        modules (Mapping[Any, nn.Module]): The modules, by any key.
    """
    kept: dict[Any, Watched] = {}

    def keep(index: Any) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            kept[index] = Watched(inputs[0], output)
        return hook

    handles = [module.register_forward_hook(keep(index)) for index, module in modules.items()]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


class GivenFeatures(nn.Module):
    """Stands in a model in the place of its backbone and returns feature maps that are there already."""

    def __init__(self) -> None:
        super().__init__()
        self.features: tuple[Tensor, ...] = ()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images are not looked at."""
        return self.features
