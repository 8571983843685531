"""How checkpoints spell the place of a tensor in a network.

A layout is a table of patterns; the place itself is a :class:`Key`. A slot is what stands between a block and a
tensor's name in a key, such as ``conv.1.0`` or ``linear_conv.bn``.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Optional

#: Stage number of the stem; the last 1x1 convolution has the number of stages.
STEM = -1
TENSOR = r'(?P<tensor>weight|bias|running_mean|running_var|num_batches_tracked)'
#: How ``ConvModule`` of mmcv calls its two tensors' owners.
CONV_MODULE = {'conv': 'conv', 'bn': 'bn'}
#: What ``ConvModule`` calls a normalisation that is no batch normalisation.
_OTHER_NORMS = r'\.(?P<norm>gn|in|ln|norm_layer)\.(?=weight$|bias$|running_)'


class Key(NamedTuple):
    """A tensor's place: ``part`` is stem, last or a part of the family's blocks, ``kind`` conv or bn."""

    stage: int
    layer: int
    part: str
    kind: str
    tensor: str


@dataclass(frozen=True)
class Layout:
    """How one code base spells the keys of a family's networks.

    Args:
        name (str): For logs and errors.
        stem (str): Pattern of the stem's keys, groups ``slot`` and ``tensor``.
        last (str): Pattern of the last convolution's keys, likewise.
        block (str): Pattern of a block's keys, groups ``slot``, ``tensor`` and either ``stage`` (from
            ``first_stage``) and ``layer`` (from 0), or ``index``, counted through all stages from 1.
        ends (Mapping): Slot → kind, for stem and last convolution.
        slots (tuple[Mapping, ...]): For each form of a block, the one with most parts first: slot → (part, kind).
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

    def parse(self, key: str) -> Optional[tuple[Key, Optional[str]]]:
        """The place of a tensor and its candidate in a supernet; None if the key is no weight of this layout.

        Only for layouts whose keys name the stage. A normalisation of another kind than BN stands in BN's place.

        Args:
            key (str): Key in the backbone's state dict.
        """
        key = re.sub(_OTHER_NORMS, '.bn.', key)
        for pattern, stage, part in ((self.stem, STEM, 'stem'), (self.last, 0, 'last')):
            match = re.fullmatch(pattern, key)
            if match:
                return Key(stage, 0, part, self.ends[match['slot']], match['tensor']), None
        match = re.fullmatch(self.block, key)
        if not match:
            return None
        part, kind = self.slots[0][match['slot']]
        return (Key(int(match['stage']) - self.first_stage, int(match['layer']), part, kind, match['tensor']),
                match.groupdict().get('candidate'))


def other_norm(key: str) -> Optional[str]:
    """The normalisation that is no batch normalisation and owns a tensor, such as ``'gn'``; None for all else.

    Args:
        key (str): Key in a state dict of this package's networks.
    """
    match = re.search(_OTHER_NORMS, key)
    return match['norm'] if match else None


def slot_table(parts: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, str]]:
    """Slot → (part, kind), for one form of a block.

    Args:
        parts (Mapping[str, Iterable[str]]): Part → the slots of its convolution and of its normalisation.
    """
    return {slot: (part, kind) for part, slots in parts.items() for slot, kind in zip(slots, ('conv', 'bn'))}


def own_layout(name: str, slots: Iterable[Mapping[str, Iterable[str]]], head: str) -> Layout:
    """The layout of this package's networks, which is mmdet's of a MobileNetV2 with other names inside the blocks.

    The stem is ``conv1``, the last convolution ``conv2``, a block ``layer<stage>.<layer>``; in a supernet the
    candidate's name follows.

    Args:
        name (str): For logs and errors.
        slots (Iterable[Mapping]): For each form of a block, the one with most parts first, as for
            :func:`slot_table`.
        head (str): Pattern of keys behind the backbone.
    """
    tables = tuple(slot_table(parts) for parts in slots)
    names = '|'.join(re.escape(slot) for slot in dict.fromkeys(slot for table in tables for slot in table))
    return Layout(
        name=name,
        stem=rf'conv1\.(?P<slot>conv|bn)\.{TENSOR}',
        last=rf'conv2\.(?P<slot>conv|bn)\.{TENSOR}',
        block=(r'layer(?P<stage>\d+)\.(?P<layer>\d+)\.(?:candidates\.(?P<candidate>\w+)\.)?'
               rf'(?P<slot>{names})\.{TENSOR}'),
        ends=CONV_MODULE,
        slots=tables,
        head=head)
