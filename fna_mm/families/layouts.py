"""Layouts: the names that code bases give to the tensors of a network.

A layout is a table of patterns. A :class:`Key` is the place of a tensor in the network. A slot is the part of a key
between the block and the tensor's name, such as ``conv.1.0`` or ``linear_conv.bn``.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Optional, Union

#: Stage number of the stem.
STEM = -1
TENSOR = r'(?P<tensor>weight|bias|running_mean|running_var|num_batches_tracked)'
#: The names that mmcv's ``ConvModule`` gives to its convolution and its batch normalisation.
CONV_MODULE = {'conv': 'conv', 'bn': 'bn'}
#: The names that ``ConvModule`` gives to other normalisations than batch normalisation.
_OTHER_NORMS = r'\.(?P<norm>gn|in|ln|norm_layer)\.(?=weight$|bias$|running_)'


class Key(NamedTuple):
    """The place of a tensor. ``part`` is stem, last or a part of the family's blocks; ``kind`` is conv or bn."""

    stage: int
    layer: int
    part: str
    kind: str
    tensor: str


@dataclass(frozen=True)
class Layout:
    """The names that one code base gives to the tensors of a family's networks.

    Args:
        name (str): Name of the layout in logs and errors.
        stem (str): Pattern of the stem's keys, with the groups ``slot`` and ``tensor``.
        last (str): Pattern of the last convolution's keys, with the same groups.
        block (str): Pattern of a block's keys, with the groups ``slot``, ``tensor`` and either ``stage`` (from
            ``first_stage``) and ``layer`` (from 0), or ``index``, which counts the blocks of all stages from 1.
        ends (Mapping): Slot → kind, for the stem and the last convolution. In a stem of several convolutions: slot →
            (number of the convolution, kind).
        slots (tuple[Mapping, ...]): Slot → (part, kind), for each form of a block; the form with most parts is first.
        head (str): Pattern of the keys of heads and necks, which are not used.
        first_stage (int): Number of the first stage of blocks. Defaults to 1.
    """

    name: str
    stem: str
    last: str
    block: str
    ends: Mapping[str, Union[str, tuple[int, str]]]
    slots: tuple[Mapping[str, tuple[str, str]], ...]
    head: str
    first_stage: int = 1

    def end(self, slot: str) -> tuple[int, str]:
        """The number of the convolution and the kind of a slot of the stem or of the last convolution."""
        place = self.ends[slot]
        return (0, place) if isinstance(place, str) else place

    def parse(self, key: str) -> Optional[tuple[Key, Optional[str]]]:
        """Find the place of a tensor and its candidate in a supernet; None for keys that are not in this layout.

        This works for layouts whose keys name the stage. Other normalisations have the place of BN.

        Args:
            key (str): Key in the backbone's state dict.
        """
        key = re.sub(_OTHER_NORMS, '.bn.', key)
        for pattern, stage, part in ((self.stem, STEM, 'stem'), (self.last, 0, 'last')):
            match = re.fullmatch(pattern, key)
            if match:
                number, kind = self.end(match['slot'])
                return Key(stage, number, part, kind, match['tensor']), None
        match = re.fullmatch(self.block, key)
        if not match:
            return None
        part, kind = self.slots[0][match['slot']]
        return (Key(int(match['stage']) - self.first_stage, int(match['layer']), part, kind, match['tensor']),
                match.groupdict().get('candidate'))


def other_norm(key: str) -> Optional[str]:
    """The normalisation, such as ``'gn'``, that a tensor belongs to; None for BN and for other layers.

    Args:
        key (str): Key in a state dict of this package's networks.
    """
    match = re.search(_OTHER_NORMS, key)
    return match['norm'] if match else None


def slot_table(parts: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, str]]:
    """Make the table slot → (part, kind) of one form of a block.

    Args:
        parts (Mapping[str, Iterable[str]]): Part → the slots of its convolution and of its normalisation.
    """
    return {slot: (part, kind) for part, slots in parts.items() for slot, kind in zip(slots, ('conv', 'bn'))}


def own_layout(name: str, slots: Iterable[Mapping[str, Iterable[str]]], head: str, stem_convolutions: int = 1
               ) -> Layout:
    """Make the layout of this package's networks.

    Stem, stages and last convolution have the names of mmdet's MobileNetV2: ``conv1``, ``layer<stage>.<layer>`` for a
    block, and ``conv2``. In a supernet the candidate's name follows the block's. The names inside the blocks are the
    family's.

    Args:
        name (str): Name of the layout in logs and errors.
        slots (Iterable[Mapping]): Part → its slots as for :func:`slot_table`, for each form of a block; the form with
            most parts is first.
        head (str): Pattern of the keys of heads and necks.
        stem_convolutions (int): Convolutions of the stem; if there are several, each is named by its number, from 0.
            Defaults to 1.
    """
    stem = '' if stem_convolutions == 1 else rf'[0-{stem_convolutions - 1}]\.'
    numbered = {f'{number}.{kind}': (number, kind) for number in range(stem_convolutions) for kind in CONV_MODULE}
    tables = tuple(slot_table(parts) for parts in slots)
    names = '|'.join(re.escape(slot) for slot in dict.fromkeys(slot for table in tables for slot in table))
    return Layout(
        name=name,
        stem=rf'conv1\.(?P<slot>{stem}(?:conv|bn))\.{TENSOR}',
        last=rf'conv2\.(?P<slot>conv|bn)\.{TENSOR}',
        block=(r'layer(?P<stage>\d+)\.(?P<layer>\d+)\.(?:candidates\.(?P<candidate>\w+)\.)?'
               rf'(?P<slot>{names})\.{TENSOR}'),
        ends={**CONV_MODULE, **numbered},
        slots=tables,
        head=head)
