"""The candidates of every searchable layer; choices of candidates ↔ architectures."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union

from fna_mm import families
from fna_mm.architecture import SKIP, Architecture, Stage
from fna_mm.checks import check_integer, check_list
from fna_mm.families import BlockSpec

#: A candidate of a layer: a block, or ``None`` for the identity, which leaves the layer out.
Candidate = Optional[BlockSpec]

#: Arguments of a supernet that are arguments of its search space.
SPACE_ARGUMENTS = ('layers_per_stage', 'kernel_sizes', 'expand_ratios', 'seed')

#: More layers than a stage of a supernet can have.
MOST_SEARCHED = 100

_TAP = re.compile(r'expand(\d+)')


def tapped_stage(index: Union[int, str]) -> Optional[int]:
    """The stage whose expanded features an entry of ``out_indices`` asks for: ``'expand5'`` → 5, else None.

    Args:
        index (int | str): An entry of a backbone's ``out_indices``.
    """
    match = _TAP.fullmatch(index) if isinstance(index, str) else None
    return int(match[1]) if match else None


def tapped_stages(out_indices: Optional[Sequence[Union[int, str]]]) -> tuple[int, ...]:
    """The stages, from 0, of all ``'expandN'`` in a backbone's ``out_indices``; none if it has the default ones."""
    if out_indices is None:
        return ()
    check_list('out_indices', out_indices)
    stages = (tapped_stage(index) for index in out_indices)
    return tuple(stage for stage in stages if stage is not None)


def candidate_name(candidate: Candidate) -> str:
    """The name of a candidate, such as ``'k5_e6'`` or ``'skip'``."""
    return SKIP if candidate is None else str(candidate)


@dataclass(frozen=True)
class SearchableLayer:
    """A layer of the supernet with its candidates.

    Args:
        stage (int): Index of the layer's stage in the architecture, from 0.
        index (int): Index of the layer in its stage, from 0.
        in_channels (int): Input channels of the layer.
        out_channels (int): Output channels of the layer.
        candidates (tuple[BlockSpec | None, ...]): The candidates; ``None`` is the identity.
    """

    stage: int
    index: int
    in_channels: int
    out_channels: int
    candidates: tuple[Candidate, ...]

    @property
    def name(self) -> str:
        """The layer's name in state dicts and logs: ``'layer3.0'`` is the first layer of stage 2."""
        return f'layer{self.stage + 1}.{self.index}'


class SearchSpace:
    """The seed's stages with the candidates of all their searchable layers (paper, section 3.2).

    The stages of the seed that have a searchable block are searched. The others stay as they are, such as
    MobileNetV2's 32 → 16, which does not expand. The candidates of a layer are the blocks of ``kernel_sizes`` ×
    ``expand_ratios``. Every layer but the first of its stage, which changes the channels, may also be left out.

    Args:
        layers_per_stage (Sequence[int]): Number of layers of each searched stage. Defaults to (4, 4, 4, 4, 4, 1).
        kernel_sizes (Sequence[int]): Kernels to choose from. Defaults to (3, 5, 7).
        expand_ratios (Sequence[float]): Expansion ratios to choose from; of a ResNet shares of the seed's inner
            channels, such as (0.5, 1). Defaults to (3, 6).
        seed (str | dict | Architecture): The network whose stages are searched.
            Defaults to 'mobilenet_v2'.
        tapped_stages (Sequence[int]): Stages, counted from 0, whose first layer also returns its expanded features.
            The candidates of that layer all expand as the seed does, so that the features have the seed's width
            (SSDLite: stage 5, 576 channels). Defaults to ().

    Raises:
        ValueError: If a number is illegal, a list is empty or holds a number twice, ``layers_per_stage`` has not one
            entry for each searched stage, or a tapped stage is not searched or has no candidate of the seed's width.

    >>> space = SearchSpace()
    >>> len(space.layers), space.num_candidates
    (21, 141)
    """

    def __init__(self,
                 layers_per_stage: Sequence[int] = (4, 4, 4, 4, 4, 1),
                 kernel_sizes: Sequence[int] = (3, 5, 7),
                 expand_ratios: Sequence[float] = (3, 6),
                 seed: Union[str, Mapping[str, Any], Architecture] = 'mobilenet_v2',
                 tapped_stages: Sequence[int] = ()) -> None:
        self.seed = Architecture.create(seed)
        check_list('layers_per_stage', layers_per_stage)
        for name, values in (('kernel_sizes', kernel_sizes), ('expand_ratios', expand_ratios)):
            check_list(name, values)
            try:
                different = len(set(values)) == len(values)
            except TypeError:  # a list or dict among them
                different = False
            if not values or not different:
                raise ValueError(f'{name} must be a list of different numbers, not {values!r}')
        family = families.family(self.seed.family)
        searched = [i for i, stage in enumerate(self.seed.stages) if any(layer.searchable for layer in stage.layers)]
        if len(layers_per_stage) != len(searched):
            raise ValueError(f'layers_per_stage={tuple(layers_per_stage)} has {len(layers_per_stage)} entries, '
                             f'but the seed has {len(searched)} stages to search')
        layers, places = [], self.seed.walk()
        for stage_index, depth in zip(searched, layers_per_stage):
            check_integer(f'every entry of layers_per_stage={tuple(layers_per_stage)}', depth, most=MOST_SEARCHED)
            for index in range(depth):
                place, blocks = places[stage_index].layer(index), self.seed.stages[stage_index].layers
                operations = family.layer_candidates(kernel_sizes, expand_ratios, blocks[min(index, len(blocks) - 1)],
                                                     place.in_channels)
                candidates: tuple[Candidate, ...] = operations if index == 0 else (*operations, None)
                if index == 0 and stage_index in tapped_stages:
                    width = family.tapped_channels(place.in_channels)
                    candidates = tuple(spec for spec in operations if spec.hidden_channels(place.in_channels) == width)
                    if not candidates:
                        raise ValueError(f"'expand{stage_index}' hands out {width} channels, those of the seed, but no "
                                         f'candidate has as many; expand_ratios is {tuple(expand_ratios)}')
                layers.append(SearchableLayer(stage_index, index, place.in_channels, place.out_channels, candidates))
        for stage_index in tapped_stages:
            if stage_index not in searched:
                raise ValueError(f"'expand{stage_index}' asks for hidden features of a stage that is not searched; "
                                 f'the searched stages are {searched}')
        self.layers: tuple[SearchableLayer, ...] = tuple(layers)
        self.searched_stages: tuple[int, ...] = tuple(searched)

    @classmethod
    def of_supernet(cls, section: Mapping[str, Any]) -> 'SearchSpace':
        """The search space of an ``FNASuperNet``'s section in a config; other arguments in the section are ignored.

        Args:
            section (Mapping[str, Any]): The section.

        Raises:
            ValueError: As the constructor.
        """
        given = {name: section[name] for name in SPACE_ARGUMENTS if name in section}
        return cls(**given, tapped_stages=tapped_stages(section.get('out_indices')))

    @property
    def num_candidates(self) -> int:
        """Number of candidates of all layers together, which is the number of architecture parameters."""
        return sum(len(layer.candidates) for layer in self.layers)

    def candidate_names(self) -> dict[str, list[str]]:
        """The names of the candidates of every layer: layer name → candidate names."""
        return {layer.name: [candidate_name(spec) for spec in layer.candidates] for layer in self.layers}

    def architecture(self, choice: Sequence[int]) -> Architecture:
        """The architecture of one candidate per layer; identities are left out.

        Args:
            choice (Sequence[int]): Index of a candidate for every layer, in the order of ``layers``.

        Raises:
            ValueError: If the length or an index does not fit the search space.
        """
        chosen: dict[int, list[BlockSpec]] = {stage: [] for stage in self.searched_stages}
        for layer, candidate in zip(self.layers, self.check_choice(choice)):
            spec = layer.candidates[candidate]
            if spec is not None:
                chosen[layer.stage].append(spec)
        return Architecture(tuple(
            Stage(stage.in_channels, stage.out_channels, stage.stride, tuple(chosen.get(i, stage.layers)))
            for i, stage in enumerate(self.seed.stages)), self.seed.family)

    def choice(self, architecture: Architecture) -> tuple[int, ...]:
        """The choice that gives ``architecture``; left-out layers are at the end of their stage.

        Raises:
            ValueError: If the architecture is not in the search space; the message names the layer or stage.
        """
        if architecture.family != self.seed.family:
            raise ValueError(f'the architecture is of the family {architecture.family!r}, the search space of '
                             f'{self.seed.family!r}')
        own = [(s.in_channels, s.out_channels, s.stride) for s in self.seed.stages]
        other = [(s.in_channels, s.out_channels, s.stride) for s in architecture.stages]
        if own != other:
            raise ValueError(f'the architecture has stages (in, out, stride) {other}, the search space {own}')
        result = []
        for layer in self.layers:
            specs = architecture.stages[layer.stage].layers
            spec = specs[layer.index] if layer.index < len(specs) else None
            if spec not in layer.candidates:
                raise ValueError(f'{layer.name} is {candidate_name(spec)}, but the search space offers '
                                 f'{[candidate_name(c) for c in layer.candidates]}')
            result.append(layer.candidates.index(spec))
        built = self.architecture(result)
        for stage, wanted in zip(built.stages, architecture.stages):
            if stage != wanted:
                raise ValueError(f'the stage {wanted.label} has {len(wanted.layers)} layers '
                                 f'({" ".join(map(str, wanted.layers))}), the search space '
                                 f'at most {" ".join(map(str, stage.layers))}')
        return tuple(result)

    def check_choice(self, choice: Sequence[int]) -> tuple[int, ...]:
        """Check a choice, and return it as a tuple of ints.

        Raises:
            ValueError: If the length or an index does not fit the search space.
        """
        choice = tuple(int(index) for index in choice)
        if len(choice) != len(self.layers):
            raise ValueError(f'a path needs one index for each of the {len(self.layers)} layers, '
                             f'not {len(choice)}')
        for layer, index in zip(self.layers, choice):
            if not 0 <= index < len(layer.candidates):
                raise ValueError(f'{layer.name} has candidates 0 to {len(layer.candidates) - 1}, not {index}')
        return choice
