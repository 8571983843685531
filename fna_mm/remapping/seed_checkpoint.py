"""Reading a seed: a loaded checkpoint → its canonical form, which gives the place of every tensor in the network."""

import itertools
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

import torch
from torch import Tensor

from fna_mm import families
from fna_mm.architecture import Architecture
from fna_mm.families import Family
from fna_mm.families.layouts import STEM, Key, Layout

#: Keys under which training programs store the weights, and prefixes that wrappers add to every key.
_WRAPPERS = ('state_dict', 'model', 'model_state', 'state_dict_ema', 'ema_state_dict', 'ema')
_PREFIXES = ('module.', 'model.', 'backbone.')


@dataclass(frozen=True)
class Seed:
    """A seed network in canonical form.

    Args:
        family (str): Name of the seed's family.
        layout (str): Name of the checkpoint's layout.
        tensors (dict[Key, Tensor]): All tensors of the backbone, by their places.
        names (dict[Key, str]): The keys of these tensors in the checkpoint, behind the prefixes of wrappers.
        depths (tuple[int, ...]): Number of layers of each stage.
        ignored (tuple[str, ...]): Keys that belong to a head or neck. Defaults to ().
        unknown (tuple[str, ...]): Keys of the backbone that the layout does not know. Defaults to ().
    """

    family: str
    layout: str
    tensors: dict[Key, Tensor]
    names: dict[Key, str]
    depths: tuple[int, ...]
    ignored: tuple[str, ...] = field(default=())
    unknown: tuple[str, ...] = field(default=())


def unwrap(checkpoint: Any) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Find the backbone's tensors in a loaded checkpoint.

    Args:
        checkpoint: The loaded checkpoint: a state dict, or a dict that holds one under ``state_dict``,
            ``model`` or a similar key. The prefixes ``module.``, ``model.`` and ``backbone.`` are removed.

    Returns:
        tuple: The backbone's tensors by key, and the keys of tensors outside the backbone.

    Raises:
        ValueError: If the checkpoint holds no tensor.
    """
    state = checkpoint
    # Beside the weights there may be other tensors, such as an accuracy. The number of rounds is limited, because a
    # dict may hold itself.
    for _ in _WRAPPERS:
        inner = [state[name] for name in _WRAPPERS if isinstance(state.get(name), Mapping)] \
            if isinstance(state, Mapping) else []
        state = inner[0] if inner else state
    if not isinstance(state, Mapping) or not any(isinstance(value, Tensor) for value in state.values()):
        found = sorted(map(str, state))[:5] if isinstance(state, Mapping) else type(state).__name__
        raise ValueError(f'no tensors in the checkpoint: expected a state dict, found {found}')
    tensors = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    beside: list[str] = []
    changed = True
    while changed:
        changed = False
        for prefix in _PREFIXES:
            inside = {key[len(prefix):]: value for key, value in tensors.items() if key.startswith(prefix)}
            if inside:
                beside += [key for key in tensors if not key.startswith(prefix)]
                tensors, changed = inside, True
    return tensors, tuple(beside)


def read_seed(checkpoint: Any, family: Optional[str] = None) -> Seed:
    """Recognise the layout of a loaded checkpoint and bring it into canonical form.

    Args:
        checkpoint: As for :func:`unwrap`.
        family (str, optional): Name of the family that the seed must be of. Defaults to None: any.

    Raises:
        ValueError: If no layout fits, a block is incomplete, stages cannot be told apart, or a tensor
            has a wrong shape or type, or holds a NaN or infinity.
    """
    tensors, beside = unwrap(checkpoint)
    known = families.all_families() if family is None else (families.family(family), )
    for candidate in known:
        layout = _recognise(candidate, tensors)
        if layout is not None:
            return _read(candidate, layout, tensors, beside)
    shown = ', '.join(list(tensors)[:4])
    layouts = [layout for candidate in known for layout in candidate.layouts]
    if all(any(re.fullmatch(layout.head, key) for layout in layouts) for key in tensors):
        raise ValueError(f'it holds only what stands behind a backbone, such as a classifier ({shown}): '
                         'the seed is the backbone')
    alike = [candidate.title for candidate in families.all_families() if _recognise(candidate, tensors)]
    looks = f' but look like a {alike[0]}\'s' if alike else ''
    names = ', '.join(layout.name for layout in known[0].layouts)
    others = ', and of no other family' if len(known) > 1 else ''
    raise ValueError(f'the keys are those of no known {known[0].title} layout ({names}){others}{looks}: '
                     f'the first of {len(tensors)} are {shown}')


def _recognise(family: Family, tensors: Mapping[str, Tensor]) -> Optional[Layout]:
    return next((layout for layout in family.layouts if any(re.fullmatch(layout.stem, key) for key in tensors)
                 and any(re.fullmatch(layout.block, key) for key in tensors)), None)


def _read(family: Family, layout: Layout, tensors: dict[str, Tensor], beside: tuple[str, ...]) -> Seed:
    places: dict[str, Key] = {}
    blocks: dict[tuple[int, int], dict[str, list[tuple[str, str]]]] = defaultdict(lambda: defaultdict(list))
    ignored, unknown = list(beside), []
    for key in tensors:
        if match := re.fullmatch(layout.block, key):
            groups = match.groupdict()
            place = ((int(groups['stage']) - layout.first_stage, int(groups['layer'])) if groups.get('stage') else
                     (0, int(groups['index'])))
            blocks[place][match['slot']].append((key, match['tensor']))
        elif match := re.fullmatch(layout.stem, key):
            number, kind = layout.end(match['slot'])
            places[key] = Key(STEM, number, 'stem', kind, match['tensor'])
        elif match := re.fullmatch(layout.last, key):
            places[key] = Key(0, 0, 'last', layout.end(match['slot'])[1], match['tensor'])
        elif re.fullmatch(layout.head, key):
            ignored.append(key)
        else:
            unknown.append(key)

    parts: dict[tuple[int, int], Mapping[str, tuple[str, str]]] = {}
    for place, slots in blocks.items():
        table = next((table for table in layout.slots if set(table) == set(slots)), None)
        if table is None:
            example = next(iter(slots.values()))[0][0]
            raise ValueError(f'the block of {example!r} ({layout.name} layout) is no whole block: '
                             f'it has {sorted(slots)}, expected {sorted(layout.slots[0])}')
        parts[place] = table
        for slot, entries in slots.items():
            for key, name in entries:
                _check_tensor(key, tensors[key], table[slot][1], name)
    for key, end in places.items():
        _check_tensor(key, tensors[key], end.kind, end.tensor)
    if 'index' in re.compile(layout.block).groupindex:
        stage_of = _group_into_stages(family, blocks, parts, tensors)
    else:
        stage_of = {place: place for place in blocks}
    for place, slots in blocks.items():
        for slot, entries in slots.items():
            for key, tensor in entries:
                places[key] = Key(*stage_of[place], *parts[place][slot], tensor)
    depths = _depths(set(stage_of.values()), layout)
    names: dict[Key, str] = {}
    for key, where in places.items():
        if where in names:
            raise ValueError(f'{names[where]!r} and {key!r} have the same place in a {family.title} (the checkpoint '
                             'of a search, with many candidates for every layer, is no seed)')
        names[where] = key
    return Seed(family.name, layout.name, {where: tensors[key] for where, key in names.items()}, names, depths,
                tuple(ignored), tuple(unknown))


def _check_tensor(key: str, tensor: Tensor, kind: str, name: str) -> None:
    if name == 'num_batches_tracked':
        return
    dims = 4 if (kind, name) == ('conv', 'weight') else 1
    if tensor.layout != torch.strided or not tensor.is_floating_point() or tensor.dim() != dims:
        raise ValueError(f'{key} is {tensor.dtype} of shape {tuple(tensor.shape)}: a {kind}\'s {name} is floating '
                         f'point with {dims} dimension{"s" * (dims > 1)} (a quantized network is no seed)')
    broken = tensor.numel() - int(tensor.isfinite().sum())
    if broken:
        raise ValueError(f'{key} holds a NaN or infinity in {broken} of {tensor.numel()} places: the file is damaged, '
                         'or its training went wrong')
    if name == 'running_var' and bool((tensor < 0).any()):
        raise ValueError(f'{key} holds {float(tensor.min()):g}: a variance is not negative, the file is damaged')


def _group_into_stages(family: Family, blocks: Any, parts: Any,
                       tensors: dict[str, Tensor]) -> dict[tuple[int, int], tuple[int, int]]:
    """Find the stages in a layout whose keys count all blocks and do not name stages: place → (stage, layer)."""
    missing = sorted(set(range(1, 1 + max(index for _, index in blocks))) - {index for _, index in blocks})
    if missing:
        raise ValueError(f'the checkpoint lacks the blocks {missing} of those up to '
                         f'{max(index for _, index in blocks)}: it is not whole')
    channels = []
    for place in sorted(blocks):
        slot = next(slot for slot, part in parts[place].items() if part == (family.output_part, 'conv'))
        channels.append(tensors[blocks[place][slot][0][0]].shape[0])
    places = iter(sorted(blocks))
    return {next(places): (stage, layer) for stage, depth in enumerate(stage_depths(channels, family.name))
            for layer in range(depth)}


def stage_depths(channels: Sequence[int], family: str = families.DEFAULT) -> tuple[int, ...]:
    """Find the number of layers of each stage from the output channels of all blocks.

    A new stage begins where the channels change. In a narrow network two neighbouring stages may have the same
    channels: in MobileNetV2 at half width, 24 and 32 channels both become 16. If its depth fits, the stages then have
    the depths of the family's seed.

    Args:
        channels (Sequence[int]): Output channels of every block, in order.
        family (str): Name of the network's family. Defaults to 'mobilenet_v2'.

    Raises:
        ValueError: If stages of equal channels cannot be told apart.

    >>> stage_depths([8, 16, 16, 24])
    (1, 2, 1)
    """
    runs = tuple(len(list(run)) for _, run in itertools.groupby(channels))
    seed = tuple(len(stage.layers) for stage in Architecture.create(families.family(family).seeds[0]).stages)
    # A network with fewer blocks than the seed has stages is another network; no stages of it are merged.
    if len(runs) >= len(seed) or len(channels) < len(seed):
        return runs
    bounds = list(itertools.accumulate(seed, initial=0))
    if len(channels) == bounds[-1] and all(len(set(channels[a:b])) == 1 for a, b in zip(bounds, bounds[1:])):
        return seed
    raise ValueError(f'the stages cannot be told apart: the {len(channels)} blocks have {list(channels)} output '
                     f'channels, which change {len(runs) - 1} times, where {families.family(family).title} has '
                     f'{len(seed)} stages (of {list(seed)} layers, if they are as deep as the original): give the '
                     'checkpoint in a layout whose keys name the stages, such as mmdet\'s or timm\'s')


def _depths(places: set[tuple[int, int]], layout: Layout) -> tuple[int, ...]:
    depths = tuple(sum(place[0] == stage for place in places) for stage in range(1 + max(p[0] for p in places)))
    missing = [f'layer {layer} of stage {stage}' for stage, depth in enumerate(depths)
               for layer in range(max(depth, 1)) if (stage, layer) not in places]
    if missing:
        raise ValueError(f'the checkpoint ({layout.name} layout) lacks {", ".join(missing)}: it is not whole')
    return depths
