"""What blocks, backbones and models cost: multiply-adds, parameters, or what a table says."""

import copy
from collections.abc import Collection
from typing import Any, Optional

from torch import nn

from fna_mm.architecture import Architecture, PlacedLayer
from fna_mm.backbones.fna_child_net import FNAChildNet
from fna_mm.cost.block_table import BlockTable
from fna_mm.cost.complexity import count_config, count_leaves
from fna_mm.families import BlockSpec

#: Name → what the name means on a page.
COUNTED = dict(madds='MAdds', params='parameters')
COSTS = (*COUNTED, 'latency')


class Prices:
    """Costs that are counted.

    Args:
        cost (str): ``madds`` or ``params``.
    """

    #: Unit of budgets that are absolute numbers; '' has K, M and G.
    unit = ''
    #: (height, width) of the image if costs are known at one size alone.
    input_shape: Optional[tuple[int, int]] = None
    #: Whether any network can be counted, with other necks and heads, too.
    counted = True

    def __init__(self, cost: str) -> None:
        self.cost = cost

    @property
    def name(self) -> str:
        """What costs are, on a page."""
        return COUNTED[self.cost]

    def check(self, backbone: FNAChildNet, input_shape: Optional[tuple[int, int]]) -> None:
        """Check that the costs of a backbone's blocks are known.

        Args:
            backbone (FNAChildNet): The backbone.
            input_shape (tuple[int, int], optional): (height, width) that the user wants costs at.

        Raises:
            ValueError: If they are not.
        """

    def of_block(self, place: PlacedLayer, spec: BlockSpec) -> float:
        """The cost of a block.

        Args:
            place (PlacedLayer): Its place in a network whose input size is known.
            spec (BlockSpec): The block.
        """
        return (place.madds(spec) if self.cost == 'madds' else
                spec.params(place.in_channels, place.out_channels, place.stride))

    def of_backbone(self, backbone: FNAChildNet, input_shape: tuple[int, int]) -> float:
        """The cost of a backbone.

        Args:
            backbone (FNAChildNet): The backbone.
            input_shape (tuple[int, int]): (height, width) of the image.
        """
        return self.of_architecture(backbone.architecture, backbone, input_shape)

    def of_architecture(self, architecture: Architecture, backbone: FNAChildNet, input_shape: tuple[int, int],
                        last: Optional[int] = None) -> float:
        """The cost of an architecture in the place of a backbone's.

        Args:
            architecture (Architecture): The architecture.
            backbone (FNAChildNet): The backbone, which says the output stride.
            input_shape (tuple[int, int]): (height, width) of the image.
            last (int, optional): Channels of the last convolution, 0 for none. Defaults to None: the backbone's.
        """
        channels = backbone.built_head_channels if last is None else last
        return (architecture.madds(input_shape, backbone.output_stride, channels) if self.cost == 'madds' else
                architecture.params(channels))

    def of_last(self, backbone: FNAChildNet, input_shape: tuple[int, int], width: int) -> float:
        """The cost of a backbone's last convolution with some number of channels.

        Args:
            backbone (FNAChildNet): The backbone.
            input_shape (tuple[int, int]): (height, width) of the image.
            width (int): The channels.
        """
        with_last, without = (self.of_architecture(backbone.architecture, backbone, input_shape, last)
                              for last in (width, 0))
        return with_last - without

    def of_rest(self, config: Any, input_shape: tuple[int, int], backbone: float) -> Optional[float]:
        """The cost of neck and head; None if it is not known.

        Args:
            config (Config): The config of the model.
            input_shape (tuple[int, int]): (height, width) of the image.
            backbone (float): Cost of the backbone.
        """
        whole, _ = count_config(config, input_shape)
        return (whole.madds if self.cost == 'madds' else whole.params) - backbone


    def of_parts(self, model: nn.Module, input_shape: tuple[int, int], without: Collection[str]) -> dict[str, int]:
        """What the parts of a model cost beside some of their modules: name and class of the part → cost.

        Args:
            model (nn.Module): The model; it stays as it is.
            input_shape (tuple[int, int]): (height, width) of the image.
            without (Collection[str]): Paths of modules that are not counted.
        """
        result: dict[str, int] = {}
        for path, counted in count_leaves(copy.deepcopy(model), input_shape).items():
            part = path.partition('.')[0]
            if not any(f'{path}.'.startswith(f'{other}.') for other in without):
                name = f'{part} ({type(getattr(model, part)).__name__})'
                result[name] = result.get(name, 0) + (counted.madds if self.cost == 'madds' else counted.params)
        return {name: cost for name, cost in result.items() if cost}


class TablePrices(Prices):
    """Costs of a table, such as ``fna latency`` writes.

    Args:
        table (BlockTable): The table.
    """

    counted = False

    def __init__(self, table: BlockTable) -> None:
        super().__init__('latency')
        self.table, self.unit, self.input_shape = table, table.unit, table.input_shape

    @property
    def name(self) -> str:
        """As :attr:`Prices.name`."""
        return self.table.unit

    def check(self, backbone: FNAChildNet, input_shape: Optional[tuple[int, int]]) -> None:
        """As :meth:`Prices.check`."""
        self.table.check(backbone.architecture, backbone.output_stride, input_shape)
        self.table.of_network(backbone.architecture)

    def of_block(self, place: PlacedLayer, spec: BlockSpec) -> float:
        """As :meth:`Prices.of_block`."""
        return self.table.of_block(place, spec)

    def of_backbone(self, backbone: FNAChildNet, input_shape: tuple[int, int]) -> float:
        """As :meth:`Prices.of_backbone`."""
        return self.table.of_network(backbone.architecture)

    def of_rest(self, config: Any, input_shape: tuple[int, int], backbone: float) -> Optional[float]:
        """As :meth:`Prices.of_rest`."""
        return self.table.rest


def prices_of(cost: str, table: Optional[str] = None) -> Prices:
    """The prices that a user asks for.

    Args:
        cost (str): One of :data:`COSTS`.
        table (str, optional): Path of the table of ``latency``. Defaults to None.

    Raises:
        FileNotFoundError: If there is no such table.
        ValueError: If ``cost`` is none of these, or the table is missing, not wanted or no table.
    """
    if cost not in COSTS:
        raise ValueError(f'cost={cost!r} must be one of {list(COSTS)}')
    if cost == 'latency':
        if table is None:
            raise ValueError('cost=latency needs the table of the device: give --table, which fna latency writes')
        return TablePrices(BlockTable.read(table))
    if table is not None:
        raise ValueError(f'table={table!r} is for cost=latency (--by latency), not for cost={cost}')
    return Prices(cost)
