"""Remapping of a whole network: a canonical seed → the network's new tensors, and a report of their sources."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Optional

import torch
from tabulate import tabulate
from torch import Tensor

from fna_mm import families
from fna_mm.families.layouts import Key, other_norm
from fna_mm.remapping.seed_checkpoint import Seed
from fna_mm.remapping.tensor_remapping import (
    check_methods,
    depth_index,
    reference_vector,
    remap_kernel,
    select_channels,
)

RANDOM = 'left at its start'

@dataclass(frozen=True)
class Row:
    """The report's line about one tensor of the network.

    Args:
        target (str): Key of the tensor in the network.
        source (str, optional): Key of the seed's tensor that it came from; None if it was left at its start.
        action (str): What was done, or why nothing was done.
        explained (bool): Whether ``strict`` accepts the line. Defaults to True.
    """

    target: str
    source: Optional[str]
    action: str
    explained: bool = True


@dataclass(frozen=True)
class Report:
    """The sources of all tensors of a network.

    Args:
        layout (str): Name of the seed's layout.
        width (str): How narrowed layers chose channels.
        kernel (str): How kernels of another size were filled.
        rows (tuple[Row, ...]): One line for every tensor of the network.
        unused (tuple[str, ...]): Keys of the seed's backbone that no tensor of the network came from.
        ignored (tuple[str, ...]): Keys of the checkpoint outside the backbone.
        unknown (tuple[str, ...]): Keys that the layout does not know.
    """

    layout: str
    width: str
    kernel: str
    rows: tuple[Row, ...]
    unused: tuple[str, ...]
    ignored: tuple[str, ...]
    unknown: tuple[str, ...]

    def problems(self) -> tuple[str, ...]:
        """What strict remapping does not accept, one line for each tensor."""
        left = [f'{row.target}: {row.action}' for row in self.rows if not row.explained]
        return tuple(left + [f'{key}: unknown in the {self.layout} layout' for key in self.unknown])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: one entry for each tensor, and the keys of the seed that were not used."""
        tensors = [dict(target=row.target, source=row.source, action=row.action) for row in self.rows]
        return dict(layout=self.layout, width=self.width, kernel=self.kernel, tensors=tensors,
                    unused=list(self.unused), ignored=list(self.ignored), unknown=list(self.unknown))

    def table(self) -> str:
        """The report as a table with one line for each layer, for the log."""
        layers: dict[str, list[Row]] = {}
        for row in self.rows:
            layers.setdefault(_layer_of(row.target), []).append(row)
        lines = []
        for layer, rows in layers.items():
            sources = sorted({_layer_of(row.source) for row in rows if row.source})
            actions = Counter(row.action for row in rows)
            lines.append((layer, ', '.join(sources) or '-', str(len(rows)),
                          ', '.join(f'{action} ({count})' for action, count in actions.items())))
        for name, keys in (('not needed', self.unused), ('outside the backbone', self.ignored),
                           ('unknown', self.unknown)):
            if keys:
                lines.append(('-', f'{keys[0]}{" …" if len(keys) > 1 else ""}', str(len(keys)), name))
        return tabulate(lines, ('layer', 'seed', 'tensors', 'remapped'), tablefmt='plain', disable_numparse=True)


def _layer_of(key: str) -> str:
    """The part of a key that names the layer, such as ``layer2.0`` or ``features.3``, or else the key's first word."""
    words = key.split('.')
    return '.'.join(words[:2]) if len(words) > 1 and words[1].isdigit() else words[0]


def remap_parameters(seed: Seed, target: Mapping[str, Tensor], width: str = 'first', kernel: str = 'center',
                     no_weights: Collection[str] = ()) -> tuple[dict[str, Tensor], Report]:
    """Remap a seed onto a network (paper, section 3.1: depth first, then width and kernel).

    All tensors of a block that carry its hidden channels keep the same channels. In the paper's section
    3.1 the first 1x1 convolution computes them, so ``bn``, ``std`` and ``l1`` (section 4.4) rank them by
    that convolution's rows and by the BN behind it.

    Args:
        seed (Seed): The seed in canonical form.
        target (Mapping[str, Tensor]): The network's state dict, of which only names, shapes and
            dtypes are read.
        width (str): How narrowed layers choose channels: the ``first`` ones, or those with the largest BN
            scale (``bn``), standard deviation (``std``) or L1 norm (``l1``). Defaults to 'first'.
        kernel (str): How kernels of another size are filled: in the ``center``, or spread from corner
            to corner (``dilate``). Defaults to 'center'.
        no_weights (Collection[str]): Keys of the network that are not remapped, such as a supernet's architecture
            parameters. Defaults to ().

    Returns:
        tuple: New tensors by the network's keys, and the report. A tensor without a source is missing
        among the new ones.

    Raises:
        ValueError: If a method is unknown.
    """
    check_methods(width, kernel)
    family = families.family(seed.family)
    channels = _HiddenChannels(seed, width)
    state: dict[str, Tensor] = {}
    rows, used = [], set()
    without_last = not any(key.part == 'last' for key in seed.tensors)
    for name, tensor in target.items():
        parsed = family.parse_own_key(name)
        if parsed is None:
            known = name in no_weights
            rows.append(Row(name, None, RANDOM if known else f'no tensor of a {family.title} has this name',
                            explained=known))
            continue
        source_key = _source(parsed[0], seed)
        if source_key not in seed.tensors:
            # Checkpoints from before torch 0.4.1 have no num_batches_tracked, which starts at 0 anyway. Seeds that were
            # saved as backbones of segmentors do not have the last 1x1 convolution.
            explained = parsed[0].tensor == 'num_batches_tracked' or (parsed[0].part == 'last' and without_last)
            rows.append(Row(name, None, RANDOM if explained else f'the seed has no such layer {tuple(parsed[0][:3])}',
                            explained=explained))
            continue
        try:
            state[name], action = _remap(source_key, seed.tensors[source_key], tensor, channels, kernel)
            # Scale and shift act after the normalisation, so they fit other normalisations than BN too.
            norm = other_norm(name)
            rows.append(Row(name, seed.names[source_key], f'{action} from BN to {norm.upper()}' if norm else action))
            used.add(source_key)
        except ValueError as error:
            rows.append(Row(name, None, f'{seed.names[source_key]} does not fit: {error}', explained=False))
    unused = tuple(seed.names[key] for key in seed.tensors if key not in used)
    return state, Report(seed.layout, width, kernel, tuple(rows), unused, seed.ignored, seed.unknown)


def _source(key: Key, seed: Seed) -> Key:
    """The place in the seed for a place in the network; only the layer's index differs."""
    if 0 <= key.stage < len(seed.depths) and key.part not in ('stem', 'last'):
        return key._replace(layer=depth_index(key.layer, seed.depths[key.stage]))
    return key


class _HiddenChannels:
    """The hidden channels that a narrower block keeps, ranked once for each block of the seed."""

    def __init__(self, seed: Seed, width: str) -> None:
        self.seed, self.width = seed, width
        self.family = families.family(seed.family)
        self.references: dict[tuple[int, int, str], Optional[Tensor]] = {}

    def __call__(self, key: Key, group: str, seed_channels: int, channels: int) -> Tensor:
        """The channels that a tensor keeps of those that the part ``group`` of its block computes."""
        place = (*key[:2], group)
        if place not in self.references:
            weight, scale = (self.seed.tensors.get(Key(*place, kind, 'weight')) for kind in ('conv', 'bn'))
            if weight is None:
                raise ValueError(f'the block expands nothing: its {seed_channels} channels are those of its input, '
                                 f'where {channels} are wanted')
            self.references[place] = reference_vector(self.width, weight, scale)
        return select_channels(seed_channels, channels, self.references[place])


def _remap(key: Key, source: Tensor, target: Tensor, channels: _HiddenChannels, kernel: str) -> tuple[Tensor, str]:
    actions = []
    result = source.detach()
    for dim, group in channels.family.hidden_groups(key.part, key.kind).items():
        if result.dim() > dim and target.dim() > dim and result.shape[dim] != target.shape[dim]:
            actions.append(f'width {result.shape[dim]} → {target.shape[dim]}')
            kept = channels(key, group, result.shape[dim], target.shape[dim])
            result = result.index_select(dim, kept.to(result.device))
    if result.dim() == target.dim() == 4 and result.shape[2:] != target.shape[2:]:
        actions.append(f'kernel {result.shape[-1]} → {target.shape[-1]}')
        result = remap_kernel(result, target.shape[-1], kernel)
    if result.shape != target.shape:
        raise ValueError(f'shape {tuple(source.shape)} in the seed, {tuple(target.shape)} here')
    result = result.to(dtype=target.dtype, memory_format=torch.contiguous_format, copy=True)
    return result, ', '.join(actions) or 'copied'
