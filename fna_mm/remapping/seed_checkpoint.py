"""Known layouts of MobileNetV2 checkpoints, as tables, and their canonical form.

A layout says how its keys spell a place in the network; the place itself is a :class:`Key`. A slot is
what stands between a block and a tensor's name in a key, such as ``conv.1.0`` or ``linear_conv.bn``.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from fna_mm.architecture import Architecture

#: Stage number of the stem; the last 1x1 convolution has the number of stages.
STEM = -1
PARTS = ('expand', 'depthwise', 'project')

_TENSOR = r'(?P<tensor>weight|bias|running_mean|running_var|num_batches_tracked)'


class Key(NamedTuple):
    """A tensor's place: ``part`` is stem, expand, depthwise, project or last, ``kind`` conv or bn."""

    stage: int
    layer: int
    part: str
    kind: str
    tensor: str


@dataclass(frozen=True)
class Layout:
    """How one family of checkpoints spells its keys.

    Args:
        name (str): For logs and errors.
        stem (str): Pattern of the stem's keys, groups ``slot`` and ``tensor``.
        last (str): Pattern of the last convolution's keys, likewise.
        block (str): Pattern of a block's keys, groups ``slot``, ``tensor`` and either ``stage`` (from
            ``first_stage``) and ``layer`` (from 0), or ``index``, counted through all stages from 1.
        ends (Mapping): Slot → kind, for stem and last convolution.
        slots (tuple[Mapping, ...]): For each form of a block: slot → (part, kind).
        head (str): Pattern of keys behind the backbone, which are left alone.
        first_stage (int): The number of the first stage of blocks. Defaults to 1.
    """

    name: str
    stem: str
    last: str
    block: str
    ends: Mapping[str, str]
    slots: tuple[Mapping[str, tuple[str, str]], ...]
    head: str
    first_stage: int = 1


def _slot_table(expand: Iterable[str], depthwise: Iterable[str], project: Iterable[str]) -> dict[str, tuple[str, str]]:
    slots = {}
    for part, names in zip(PARTS, (expand, depthwise, project)):
        slots.update({name: (part, kind) for name, kind in zip(names, ('conv', 'bn'))})
    return slots


_CONV_MODULE = {'conv': 'conv', 'bn': 'bn'}

#: How our own networks spell theirs: mmdet's names; in a supernet a candidate's name before the slot.
OWN = Layout(
    name='mmdet',
    stem=rf'conv1\.(?P<slot>conv|bn)\.{_TENSOR}',
    last=rf'conv2\.(?P<slot>conv|bn)\.{_TENSOR}',
    block=(r'layer(?P<stage>\d+)\.(?P<layer>\d+)\.(?:candidates\.(?P<candidate>\w+)\.)?'
           rf'(?P<slot>(?:expand|depthwise|linear)_conv\.(?:conv|bn))\.{_TENSOR}'),
    ends=_CONV_MODULE,
    slots=(
        _slot_table(('expand_conv.conv', 'expand_conv.bn'), ('depthwise_conv.conv', 'depthwise_conv.bn'),
                    ('linear_conv.conv', 'linear_conv.bn')),
        _slot_table((), ('depthwise_conv.conv', 'depthwise_conv.bn'), ('linear_conv.conv', 'linear_conv.bn')),
    ),
    head=r'(\w*head|neck|fc|classifier)\..*')

LAYOUTS = (
    OWN,
    Layout(
        name='mmseg/mmpretrain',
        stem=OWN.stem,
        last=OWN.last,
        block=rf'layer(?P<stage>\d+)\.(?P<layer>\d+)\.conv\.(?P<slot>\d\.(?:conv|bn))\.{_TENSOR}',
        ends=_CONV_MODULE,
        slots=(
            _slot_table(('0.conv', '0.bn'), ('1.conv', '1.bn'), ('2.conv', '2.bn')),
            _slot_table((), ('0.conv', '0.bn'), ('1.conv', '1.bn')),
        ),
        head=OWN.head),
    Layout(
        name='torchvision',
        stem=rf'features\.0\.(?P<slot>[01])\.{_TENSOR}',
        last=rf'features\.[1-9]\d*\.(?P<slot>[01])\.{_TENSOR}',
        block=rf'features\.(?P<index>\d+)\.conv\.(?P<slot>\d(?:\.\d)?)\.{_TENSOR}',
        ends={'0': 'conv', '1': 'bn'},
        slots=(
            _slot_table(('0.0', '0.1'), ('1.0', '1.1'), ('2', '3')),
            _slot_table((), ('0.0', '0.1'), ('1', '2')),
        ),
        head=r'classifier\..*'),
    Layout(  # the authors' release: its ``seed_mbv2.pt`` and its retrained networks
        name='FNA release',
        stem=rf'blocks\.0\.(?P<slot>[01])\.{_TENSOR}',
        last=rf'blocks\.[1-9]\d*\.conv\.(?P<slot>[01])\.{_TENSOR}',
        block=rf'blocks\.(?P<stage>[1-9]\d*)\.layers\.(?P<layer>\d+)\.op\.(?P<slot>\d)\.{_TENSOR}',
        ends={'0': 'conv', '1': 'bn'},
        slots=(
            _slot_table(('0', '1'), ('3', '4'), ('6', '7')),
            _slot_table((), ('0', '1'), ('3', '4')),
        ),
        head=r'(classifier|extra)\..*'),
    Layout(
        name='timm',
        stem=rf'(?P<slot>conv_stem|bn1)\.{_TENSOR}',
        last=rf'(?P<slot>conv_head|bn2)\.{_TENSOR}',
        block=rf'blocks\.(?P<stage>\d+)\.(?P<layer>\d+)\.(?P<slot>conv_pw|conv_dw|conv_pwl|bn[123])\.{_TENSOR}',
        ends={'conv_stem': 'conv', 'bn1': 'bn', 'conv_head': 'conv', 'bn2': 'bn'},
        slots=(
            _slot_table(('conv_pw', 'bn1'), ('conv_dw', 'bn2'), ('conv_pwl', 'bn3')),
            _slot_table((), ('conv_dw', 'bn1'), ('conv_pw', 'bn2')),
        ),
        head=r'classifier\..*',
        first_stage=0),
)

#: Other families that people try, by a key that only they have.
_OTHERS = {'ResNet': r'layer\d+\.\d+\.conv\d\.weight'}

#: Keys under which trainers put the weights, and prefixes that wrappers put before every key.
_WRAPPERS = ('state_dict', 'model', 'model_state', 'state_dict_ema', 'ema_state_dict', 'ema')
_PREFIXES = ('module.', 'model.', 'backbone.')


@dataclass(frozen=True)
class Seed:
    """A MobileNetV2 in canonical form.

    Args:
        layout (str): Name of the layout it came in.
        tensors (dict[Key, Tensor]): Every tensor of the backbone.
        names (dict[Key, str]): The key of each in the checkpoint.
        depths (tuple[int, ...]): Layers of each stage.
        ignored (tuple[str, ...]): Keys that belong to a head or neck. Defaults to ().
        unknown (tuple[str, ...]): Keys of the backbone that the layout does not know. Defaults to ().
    """

    layout: str
    tensors: dict[Key, Tensor]
    names: dict[Key, str]
    depths: tuple[int, ...]
    ignored: tuple[str, ...] = field(default=())
    unknown: tuple[str, ...] = field(default=())


def unwrap(checkpoint: Any) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Find the backbone's tensors in a loaded checkpoint, whatever wraps them.

    Args:
        checkpoint: What was loaded: a state dict, or a dict that holds one under ``state_dict``,
            ``model`` and the like. Prefixes ``module.``, ``model.`` and ``backbone.`` are taken off.

    Returns:
        tuple: The backbone's tensors by key, and the keys of tensors beside the backbone.

    Raises:
        ValueError: If there is no tensor in it.
    """
    state = checkpoint
    # Beside the weights there may be tensors, such as an accuracy. A file may also hold itself: never loop for ever.
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


def parse_own_key(key: str) -> Optional[tuple[Key, Optional[str]]]:
    """The place of a tensor in a supernet or child, and its candidate; None if it is no weight.

    Args:
        key (str): Key in the backbone's state dict.
    """
    for pattern, stage, part in ((OWN.stem, STEM, 'stem'), (OWN.last, 0, 'last')):
        match = re.fullmatch(pattern, key)
        if match:
            return Key(stage, 0, part, OWN.ends[match['slot']], match['tensor']), None
    match = re.fullmatch(OWN.block, key)
    if not match:
        return None
    part, kind = OWN.slots[0][match['slot']]
    return Key(int(match['stage']) - 1, int(match['layer']), part, kind, match['tensor']), match['candidate']


def read_seed(checkpoint: Any) -> Seed:
    """Recognise the layout of a loaded checkpoint and bring it into canonical form.

    Args:
        checkpoint: As for :func:`unwrap`.

    Raises:
        ValueError: If no layout fits, a block is incomplete, stages cannot be told apart, or a tensor
            is not what it should be: not floating point, or with a NaN or infinity in it.
    """
    tensors, beside = unwrap(checkpoint)
    for layout in LAYOUTS:
        if any(re.fullmatch(layout.stem, key) for key in tensors) and \
                any(re.fullmatch(layout.block, key) for key in tensors):
            return _read(layout, tensors, beside)
    shown = ', '.join(list(tensors)[:4])
    if all(any(re.fullmatch(layout.head, key) for layout in LAYOUTS) for key in tensors):
        raise ValueError(f'it holds only what stands behind a backbone, such as a classifier ({shown}): '
                         'the seed is the backbone')
    alike = ''.join(f' but look like a {name}\'s' for name, pattern in _OTHERS.items()
                    if any(re.fullmatch(pattern, key) for key in tensors))
    names = ', '.join(layout.name for layout in LAYOUTS)
    raise ValueError(f'the keys are those of no known MobileNetV2 layout ({names}){alike}: '
                     f'the first of {len(tensors)} are {shown}')


def _read(layout: Layout, tensors: dict[str, Tensor], beside: tuple[str, ...]) -> Seed:
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
            places[key] = Key(STEM, 0, 'stem', layout.ends[match['slot']], match['tensor'])
        elif match := re.fullmatch(layout.last, key):
            places[key] = Key(0, 0, 'last', layout.ends[match['slot']], match['tensor'])
        elif re.fullmatch(layout.head, key):
            ignored.append(key)
        else:
            unknown.append(key)

    parts: dict[tuple[int, int], Mapping[str, tuple[str, str]]] = {}
    for place, slots in blocks.items():
        table = next((table for table in layout.slots if set(table) == set(slots)), None)
        if table is None:
            example = next(iter(slots.values()))[0][0]
            raise ValueError(f'the block of {example!r} ({layout.name} layout) is no whole MBConv: '
                             f'it has {sorted(slots)}, expected {sorted(layout.slots[0])}')
        parts[place] = table
        for slot, entries in slots.items():
            for key, name in entries:
                _check_tensor(key, tensors[key], table[slot][1], name)
    for key, end in places.items():
        _check_tensor(key, tensors[key], end.kind, end.tensor)
    if 'index' in re.compile(layout.block).groupindex:
        stage_of = _group_into_stages(blocks, parts, tensors)
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
            raise ValueError(f'{names[where]!r} and {key!r} have the same place in a MobileNetV2 (the checkpoint of a '
                             'search, with many candidates for every layer, is no seed)')
        names[where] = key
    return Seed(layout.name, {where: tensors[key] for where, key in names.items()}, names, depths,
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


def _group_into_stages(blocks: Any, parts: Any, tensors: dict[str, Tensor]) -> dict[tuple[int, int], tuple[int, int]]:
    """The stages of blocks that are only counted through."""
    missing = sorted(set(range(1, 1 + max(index for _, index in blocks))) - {index for _, index in blocks})
    if missing:
        raise ValueError(f'the checkpoint lacks the blocks {missing} of those up to '
                         f'{max(index for _, index in blocks)}: it is not whole')
    channels = []
    for place in sorted(blocks):
        slot = next(slot for slot, part in parts[place].items() if part == ('project', 'conv'))
        channels.append(tensors[blocks[place][slot][0][0]].shape[0])
    places = iter(sorted(blocks))
    return {next(places): (stage, layer) for stage, depth in enumerate(stage_depths(channels))
            for layer in range(depth)}


def stage_depths(channels: Sequence[int]) -> tuple[int, ...]:
    """Layers of each stage, from the output channels of all blocks in order.

    A stage begins where the channels change. Of a narrow MobileNetV2 this sees too few stages: at half
    width, 24 and 32 channels both become 16. Its seven stages are then those of the original depths.

    Args:
        channels (Sequence[int]): Output channels of every block.

    Raises:
        ValueError: If stages of equal channels cannot be told apart.

    >>> stage_depths([8, 16, 16, 24])
    (1, 2, 1)
    """
    runs = tuple(len(list(run)) for _, run in itertools.groupby(channels))
    seed = tuple(len(stage.layers) for stage in Architecture.create('mobilenet_v2').stages)
    # With fewer blocks than MobileNetV2 has stages, it is another network: nothing is hidden.
    if len(runs) >= len(seed) or len(channels) < len(seed):
        return runs
    bounds = list(itertools.accumulate(seed, initial=0))
    if len(channels) == bounds[-1] and all(len(set(channels[a:b])) == 1 for a, b in zip(bounds, bounds[1:])):
        return seed
    raise ValueError(f'the stages cannot be told apart: the {len(channels)} blocks have {list(channels)} output '
                     f'channels, which change {len(runs) - 1} times, where MobileNetV2 has {len(seed)} stages (of '
                     f'{list(seed)} layers, if they are as deep as the original): give the checkpoint in a layout '
                     'whose keys name the stages, such as mmdet\'s or timm\'s')


def _depths(places: set[tuple[int, int]], layout: Layout) -> tuple[int, ...]:
    depths = tuple(sum(place[0] == stage for place in places) for stage in range(1 + max(p[0] for p in places)))
    missing = [f'layer {layer} of stage {stage}' for stage, depth in enumerate(depths)
               for layer in range(max(depth, 1)) if (stage, layer) not in places]
    if missing:
        raise ValueError(f'the checkpoint ({layout.name} layout) lacks {", ".join(missing)}: it is not whole')
    return depths
