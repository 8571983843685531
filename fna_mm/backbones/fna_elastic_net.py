"""A network whose layers also run with larger kernels, more hidden channels, or more of them."""

from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from fna_mm import families
from fna_mm.architecture import Architecture
from fna_mm.backbones.base_backbone import OWN_ACTIVATION, block_options, checked_act_cfg
from fna_mm.backbones.elastic_space import ElasticLayer, ElasticSpace
from fna_mm.backbones.fna_child_net import FNAChildNet
from fna_mm.checks import check_number
from fna_mm.search_space import tapped_stages


def central_part(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """The part of a layer's tensor that a smaller layer has: the first channels, and the middle of the kernel.

    Args:
        tensor (Tensor): A weight, a bias or a running statistic.
        shape (Sequence[int]): Shape of the same tensor in the smaller layer.

    Returns:
        Tensor: A view of ``tensor``.
    """
    for dim, size in enumerate(shape):
        start = (tensor.shape[dim] - size) // 2 if dim > 1 else 0
        tensor = tensor.narrow(dim, start, size)
    return tensor


class _Multiply:
    """Multiplies a gradient. A hook that is an object can be copied and pickled."""

    def __init__(self, factors: Tensor) -> None:
        self._factors = factors

    def __call__(self, gradient: Tensor) -> Tensor:
        self._factors = self._factors.to(gradient)
        return gradient * self._factors


class _Tapped(nn.Module):
    """A block whose forward returns the hidden features, too."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.block.forward_tapped(x)


@MODELS.register_module(force=True)
class FNAElasticNet(FNAChildNet):
    """A network that may grow, with the weights of all that it may grow to (elastic kernels, widths and depths).

    The tensors are those of the largest network. A smaller layer uses the first hidden channels and the middle of the
    kernel (Cai et al. 2020, "Once-for-all", without their kernel transformation). A forward pass runs :attr:`path`. BN
    stays in evaluation mode, so that all paths share its statistics.

    Args:
        arch (str | dict | Architecture): The network that grows, as in ``FNAChildNet``.
        growth (dict, optional): ``kernel_sizes``, ``width`` and ``added_layers`` of :class:`ElasticSpace`. Defaults to
            None: the defaults of these.
        boost (float): Factor of the gradients of what starts at zero: the outer parts of kernels, what reads added
            channels, scale and shift behind added layers. At the rate of a fine-tuning they would not leave zero in a
            few hundred steps. Defaults to 1.
        kept (bool): Whether the weights of the network that grows are not trained, only what it may grow to. Defaults
            to False.
        child (Any): The other arguments of ``FNAChildNet``; ``norm_eval`` is always True.

    Raises:
        ValueError: If an argument is illegal.
    """

    def __init__(self, arch: Union[str, Mapping[str, Any], Architecture], growth: Optional[Mapping[str, Any]] = None,
                 boost: float = 1., kept: bool = False, **child: Any) -> None:
        base = Architecture.create(arch).widened(child.pop('widen_factor', 1.))
        space = ElasticSpace(base, **(growth or {}), tapped_stages=tapped_stages(child.get('out_indices')),
                             frozen_stages=child.get('frozen_stages', -1))
        self._with_cp = bool(child.pop('with_cp', False))
        super().__init__(space.largest, **{**child, 'norm_eval': True})
        self.space = space
        #: Index of the choice of every layer; 0 is the layer as it was.
        self.path: tuple[int, ...] = space.seed_path
        settings = (dict(child.get('norm_cfg', dict(type='BN'))),
                    checked_act_cfg(child.get('act_cfg', OWN_ACTIVATION), base.family), False,
                    child.get('dilated', 'stage'))
        #: (number of the layer, index of the choice) → a module of that size without tensors of its own.
        self._templates: dict[tuple[int, int], Any] = {}
        places = list(space.largest.walk(self.output_stride))
        build = families.family(self.family).build_block
        with torch.device('meta'):
            for number, layer in enumerate(space.layers):
                options = block_options(places[layer.stage].layer(layer.place), *settings)
                for choice, spec in enumerate(layer.choices):
                    if spec is not None:
                        self._templates[number, choice] = _Tapped(build(spec, options)).eval()

        check_number('boost', boost, above=0)
        self.kept = kept
        if kept:
            self._freeze_what_stays()
        if kept or boost != 1:
            self._scale_gradients(boost, 0. if kept else 1.)

    def _freeze_what_stays(self) -> None:
        """Train nothing but the layers that may grow."""
        growing = {id(parameter) for layer in self.space.layers if len(layer.choices) > 1
                   for parameter in self._block(layer).parameters()}
        for parameter in self.parameters():
            if id(parameter) not in growing:
                parameter.requires_grad_(False)

    def _block(self, layer: ElasticLayer) -> Any:
        return self.stage(layer.stage)[layer.place]  # type: ignore[index]

    def _scale_gradients(self, boost: float, own: float) -> None:
        """Multiply the gradients of what starts at zero by one factor, those of the network as it was by another."""
        family = families.family(self.family)
        norm = family.part_name(family.output_part, 'bn')
        readers = {family.part_name(part) for part, kind in family.hidden_dims
                   if kind == 'conv' and 1 in family.hidden_groups(part, kind)}
        for number, layer in enumerate(self.space.layers):
            first = next(choice for choice, spec in enumerate(layer.choices) if spec is not None)
            shapes = {name: value.shape for name, value in self._templates[number, first].block.named_parameters()}
            for name, parameter in self._block(layer).named_parameters():
                factors = torch.ones_like(parameter)
                if name.rpartition('.')[0] == norm and layer.added:
                    factors.fill_(boost)
                elif parameter.dim() == 4:
                    from_the_start = list(parameter.shape)
                    from_the_start[2:] = shapes[name][2:]  # the kernel that it starts with
                    if name.rpartition('.')[0] in readers:
                        from_the_start[1] = shapes[name][1]
                    factors.fill_(boost)
                    central_part(factors, from_the_start).fill_(1.)
                if not layer.added:
                    central_part(factors, shapes[name]).mul_(own)
                if parameter.requires_grad and (factors != 1).any():
                    parameter.register_hook(_Multiply(factors))

    def _layers(self, stage: int) -> list[int]:
        return [number for number, layer in enumerate(self.space.layers) if layer.stage == stage]

    def _run(self, number: int, x: Tensor) -> tuple[Tensor, Optional[Tensor]]:
        """Run a layer as the path has it; return its output and its hidden features, None if it is absent."""
        layer, choice = self.space.layers[number], self.path[number]
        if layer.choices[choice] is None:
            return x, None
        template = self._templates[number, choice]
        state = self.stage(layer.stage)[layer.place].state_dict(keep_vars=True)  # type: ignore[index]
        tensors = {f'block.{key}': central_part(state[key], value.shape)
                   for key, value in template.block.state_dict().items()}

        def run(features: Tensor) -> tuple[Tensor, Tensor]:
            return functional_call(template, tensors, (features, ))

        if self._with_cp and torch.is_grad_enabled():
            return checkpoint(run, x, use_reentrant=False)
        return run(x)

    def run_stage(self, index: int, x: Tensor) -> Tensor:
        """Run one stage on x of shape (N, C, H, W), as the path has it."""
        for number in self._layers(index):
            x, _ = self._run(number, x)
        return x

    def run_tapped_stage(self, index: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Run one stage on x; return its output and the expanded features of its first layer."""
        first, *others = self._layers(index)
        x, expanded = self._run(first, x)
        assert expanded is not None
        for number in others:
            x, _ = self._run(number, x)
        return x, expanded
