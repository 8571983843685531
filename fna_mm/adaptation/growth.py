"""Growth: a trained backbone becomes an elastic one with its function, and parts of that become backbones again."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmcv.cnn import ConvModule
from mmengine.registry import MODELS
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import Tensor, nn

from fna_mm import families
from fna_mm.adaptation.candidates import Candidate
from fna_mm.adaptation.chain import Chain, watched
from fna_mm.adaptation.child import child_section_of
from fna_mm.adaptation.scores import GrownBlock, Replacement, replacement_of
from fna_mm.backbones.elastic_space import ElasticLayer, ElasticSpace
from fna_mm.backbones.fna_child_net import FNAChildNet
from fna_mm.backbones.fna_elastic_net import FNAElasticNet, central_part


class _Spread:
    """The mean and the variance of every channel, over batches."""

    def __init__(self) -> None:
        self._count, self._sums = 0, torch.zeros(())

    def add(self, features: Tensor) -> None:
        values = features.double()
        terms = torch.stack([values.sum((0, 2, 3)), values.square().sum((0, 2, 3))])
        self._sums, self._count = self._sums.to(terms) + terms, self._count + values.numel() // values.shape[1]

    @property
    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        mean, square = self._sums / self._count
        return mean, (square - mean.square()).clamp(min=0)


def _layers(block: nn.Module) -> list[Any]:
    """The convolutions of a block with their normalisations, mm's ConvModules, in order."""
    return [module for module in block.modules() if isinstance(module, ConvModule)]


def _with_more_channels(old: Tensor, new: Tensor, dim: int, part: str, family: families.Family,
                        generator: torch.Generator) -> Tensor:
    """A trained tensor with more hidden channels: new filters are random, nothing reads them yet."""
    more = new.shape[dim] - old.shape[dim]
    copies = old.index_select(dim, torch.arange(more, device=old.device) % old.shape[dim])
    if old.dim() > 1 and dim == 1:
        copies = torch.zeros_like(copies)
    elif old.dim() > 1 and family.hidden_groups(part, 'conv')[dim] == part:
        copies = (torch.randn(copies.shape, generator=generator) * old.std().cpu()).to(old)
    return torch.cat([old, copies], dim)


def _copy_own(block: nn.Module, source: nn.Module, family: families.Family, generator: torch.Generator) -> None:
    places, wanted, state = family.places, block.state_dict(), {}
    for key, value in source.state_dict().items():
        part, kind = places[key.rpartition('.')[0]]
        for dim in family.hidden_groups(part, kind):
            if value.dim() > dim and value.shape[dim] != wanted[key].shape[dim]:
                value = _with_more_channels(value, wanted[key], dim, part, family, generator)
        state[key] = value
    block.load_state_dict(state)


def _calibrate(trained: Chain, wide: Mapping[int, tuple[int, Any, bool]], images: Sequence[Tensor]) -> None:
    """Set the running statistics of new channels, layer by layer from the front of the blocks.

    Args:
        trained (Chain): The trained backbone.
        wide (Mapping): Any number → (index of the trained block, new block, whether it stands behind that block).
        images (Sequence[Tensor]): Images, each (N, 3, H, W).
    """
    layers = {key: _layers(block) for key, (_, block, _) in wide.items()}
    for number in range(max(map(len, layers.values()))):
        shown = {key: own[number] for key, own in layers.items() if number < len(own)}
        spreads = {key: _Spread() for key in shown}
        for image in images:
            with watched({index: link.block for index, link in enumerate(trained.links)}) as seen, \
                    watched({key: layer.conv for key, layer in shown.items()}) as outputs:
                trained.backbone(image)
                for key in shown:
                    index, block, behind = wide[key]
                    block(seen[index].output if behind else seen[index].features)
                    spreads[key].add(outputs[key].output)
        for key, layer in shown.items():
            index, _, behind = wide[key]
            old = 0 if behind else _layers(trained.links[index].block)[number].norm.num_features
            mean, variance = spreads[key].mean_and_variance
            layer.norm.running_mean[old:] = mean[old:].to(layer.norm.running_mean)
            layer.norm.running_var[old:] = variance[old:].to(layer.norm.running_var)


@torch.no_grad()
def start_growing(trained: FNAChildNet, section: dict[str, Any], growth: Mapping[str, Any], images: Sequence[Tensor],
                  seed: int = 0) -> FNAElasticNet:
    """Build an elastic network with the function of a trained one on every path.

    Larger kernels have the trained one in their centre (equation 3). Added channels have random filters, normalised on
    images, and a zero projection. Added layers are copies of the last layer of their stage, normalised on images, with
    a zero scale and shift behind them. All of that trains.

    Args:
        trained (FNAChildNet): The trained backbone, in evaluation mode.
        section (dict): Its config section.
        growth (Mapping): As in ``FNAElasticNet``.
        images (Sequence[Tensor]): A few images, each (N, 3, H, W), normalised as the backbone takes them.
        seed (int): Seed of the random filters. Defaults to 0.
    """
    elastic: FNAElasticNet = MODELS.build(elastic_section(section, trained, growth))
    space, device = elastic.space, next(trained.parameters()).device
    # The widest network with the trained kernels has ordinary blocks, which can be run and watched.
    path = [_own_kernel(layer) for layer in space.layers]
    wide_net: FNAChildNet = MODELS.build(child_section_of(section, space.architecture(path))).to(device).eval()
    wide, chain = Chain(wide_net), Chain(trained)
    family, generator = families.family(trained.family), torch.Generator().manual_seed(seed)
    grown: dict[int, tuple[int, Any, bool]] = {}
    own = iter(range(len(chain.links)))
    last = -1
    for number, (layer, link) in enumerate(zip(space.layers, wide.links)):
        last = last if layer.added else next(own)
        source = chain.links[last].block
        _copy_own(link.block, source, family, generator)
        if layer.added or link.hidden > chain.links[last].hidden:
            grown[number] = (last, link.block, layer.added)
    if grown:
        _calibrate(chain, grown, images)
    for layer, link in zip(space.layers, wide.links):
        if layer.added:
            nn.init.zeros_(link.output.norm.weight)
            nn.init.zeros_(link.output.norm.bias)
    state, trained_state = wide_net.state_dict(), trained.state_dict()
    for key, tensor in elastic.state_dict().items():
        value = state[key] if key.startswith('layer') else trained_state[key]
        tensor.zero_()
        central_part(tensor, value.shape).copy_(value)
    return elastic.to(device).eval()


def _own_kernel(layer: Any) -> int:
    """The widest choice of a layer that has the kernel that it starts with."""
    specs = [(number, spec) for number, spec in enumerate(layer.choices) if spec is not None]
    kernel = specs[0][1].kernel_size
    return max((number for number, spec in specs if spec.kernel_size == kernel),
               key=lambda number: layer.choices[number].hidden_channels(layer.in_channels))


def elastic_section(section: Mapping[str, Any], trained: FNAChildNet, growth: Mapping[str, Any], boost: float = 1.,
                    kept: bool = False) -> dict[str, Any]:
    """The config section of the elastic network of a trained backbone.

    Args:
        section (Mapping): Config section of the trained backbone.
        trained (FNAChildNet): The trained backbone.
        growth (Mapping): As in ``FNAElasticNet``.
        boost (float): As in ``FNAElasticNet``. Defaults to 1.
        kept (bool): As in ``FNAElasticNet``. Defaults to False.
    """
    made = dict(child_section_of(dict(section), trained.architecture), type='FNAElasticNet', growth=dict(growth),
                boost=boost, kept=kept)
    made.pop('norm_eval', None)
    return made


class Growth(NamedTuple):
    """A rehearsed elastic network, of which any path becomes a backbone.

    Args:
        space (ElasticSpace): What the layers may be.
        section (dict): Config section of the trained backbone.
        state (Mapping[str, Tensor]): State dict of the rehearsed ``FNAElasticNet``.
    """

    space: ElasticSpace
    section: dict[str, Any]
    state: Mapping[str, Tensor]

    def backbone(self, path: Sequence[int]) -> FNAChildNet:
        """The backbone of a path, in evaluation mode.

        Args:
            path (Sequence[int]): Index of the choice of every layer.
        """
        net: FNAChildNet = MODELS.build(child_section_of(self.section, self.space.architecture(path)))
        device = next(iter(self.state.values())).device
        net.to(device).eval()
        names = dict(self._names(path))
        with torch.no_grad():
            for key, tensor in net.state_dict().items():
                stage, _, rest = key.partition('.')
                layer, _, name = rest.partition('.')
                source = self.state[f'{names[stage, layer]}.{name}' if (stage, layer) in names else key]
                tensor.copy_(central_part(source, tensor.shape))
        return net

    def _names(self, path: Sequence[int]) -> Iterator[tuple[tuple[str, str], str]]:
        """((stage, layer) of the path's backbone, prefix of the layer in the elastic network)."""
        depths: dict[int, int] = {}
        for layer, choice in zip(self.space.layers, path):
            if layer.choices[choice] is not None:
                index = depths.setdefault(layer.stage, 0)
                depths[layer.stage] += 1
                yield (f'layer{layer.stage + 1}', str(index)), f'layer{layer.stage + 1}.{layer.place}'

    def blocks(self) -> dict[Replacement, GrownBlock]:
        """The blocks of all choices, by the replacement that they are measured as."""
        result: dict[Replacement, GrownBlock] = {}
        for number in range(1, max(len(layer.choices) for layer in self.space.layers)):
            path = [min(number, len(layer.choices) - 1) for layer in self.space.layers]
            links = iter(Chain(self.backbone(path)).links)
            position = -1
            for index, layer in enumerate(self.space.layers):
                position += not layer.added
                spec, link = layer.choices[path[index]], next(links)
                if spec is not None and path[index] == number:
                    result[replacement_of(self.space, index, spec)] = GrownBlock(link.block, position, layer.added)
        return result

    def _rows(self, choice: Sequence[Candidate]) -> list[tuple[ElasticLayer, Candidate]]:
        """Every layer of the largest network, in its order, and its candidate."""
        number = len(choice) - len(self.space.added)
        own, added = iter(choice[:number]), iter(choice[number:])
        return [(layer, next(added) if layer.added else next(own)) for layer in self.space.layers]

    def teacher_path(self, choice: Sequence[Candidate]) -> list[int]:
        """The smallest path that holds all that was chosen; what is smaller than the trained layer is cut from it.

        Args:
            choice (Sequence[Candidate]): One candidate for every row of the table: own layers, then added ones.
        """
        return [_least_choice(layer, candidate) for layer, candidate in self._rows(choice)]

    def in_order(self, choice: Sequence[Candidate]) -> list[Candidate]:
        """The candidates of a choice in the order of the teacher's blocks; absent layers are left out.

        Args:
            choice (Sequence[Candidate]): As in :meth:`teacher_path`.
        """
        return [candidate for layer, candidate in self._rows(choice) if not (layer.added and candidate.spec is None)]


def _least_choice(layer: ElasticLayer, candidate: Candidate) -> int:
    if candidate.spec is None:
        return 0
    fitting = [(spec.kernel_size, spec.hidden_channels(layer.in_channels), number)
               for number, spec in enumerate(layer.choices) if spec is not None]
    return min((kernel, width, number) for kernel, width, number in fitting
               if kernel >= candidate.kernel and width >= candidate.width)[2]


@torch.no_grad()
def settle(backbone: nn.Module, images: Iterable[Tensor]) -> None:
    """Set the running statistics of a backbone to those of images, and keep its function in evaluation mode.

    The rehearsal trains with fixed running statistics, which the features leave. A fine-tuning that normalises by its
    batches starts from the same function then.

    Args:
        backbone (nn.Module): The backbone, in evaluation mode; it is changed.
        images (Iterable[Tensor]): Images, each (N, 3, H, W).
    """
    norms = [module for module in backbone.modules() if isinstance(module, _BatchNorm)]
    spreads = [_Spread() for _ in norms]
    with watched(dict(enumerate(norms))) as seen:
        for image in images:
            backbone(image)
            for number, spread in enumerate(spreads):
                if number in seen:
                    spread.add(seen[number].features)
    for number in sorted(seen):
        norm: Any = norms[number]
        mean, variance = spreads[number].mean_and_variance
        old = (norm.running_var.double() + norm.eps).sqrt()
        new = (variance + norm.eps).sqrt()
        norm.bias.add_((norm.weight.double() * (mean - norm.running_mean) / old).to(norm.bias))
        norm.weight.mul_((new / old).to(norm.weight))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
