"""What is fuzzed: functions that read texts or files that anybody may have written.

A target takes bytes. It must end quietly, or with a ``ValueError`` of a bounded length that says something; what it
could read must survive its own writer. Everything else is a finding.
"""

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from hypothesis import strategies as st

from fna_mm import Architecture
from fna_mm.checkpoints.opening import load_checkpoint
from fna_mm.checkpoints.released import released_architecture
from fna_mm.checkpoints.searched import best_architecture
from fna_mm.cost.block_table import BlockTable
from fna_mm.remapping.seed_checkpoint import read_seed
from fna_mm.report.history import SearchState, history_path, read_history

CORPUS = Path(__file__).parent / 'corpus'
#: Characters of a message that a person still reads.
MOST = 4000


class Finding(AssertionError):
    """A target did what it must not do."""


def _text(data):
    return data.decode('utf-8', 'surrogateescape')


def _json_of(data):
    try:
        return json.loads(_text(data))
    except (ValueError, RecursionError):
        return None


def architecture(data):
    """``Architecture.parse``: what is read is written as the same."""
    read = Architecture.parse(_text(data))
    if Architecture.parse(read.to_text()) != read or Architecture.from_json(read.to_json()) != read:
        raise Finding(f'{read.to_text()} is not what was read')


def arch_json(data):
    """``arch.json``."""
    read = Architecture.from_json(_text(data))
    if Architecture.from_dict(json.loads(read.to_json())) != read:
        raise Finding(f'{read.to_json()} is not what was read')


def _state_dict(data):
    """A line is a key and a shape: ``features.0.0.weight 32 3 3 3``. At most a million numbers in all."""
    tensors, left = {}, 10**6
    for line in _text(data).splitlines()[:2000]:
        key, *sides = line.split(' ')
        shape = [int(side) for side in sides if side.isascii() and side.isdecimal() and len(side) < 5][:5]
        count = torch.Size(shape).numel()
        if count <= left:
            left -= count
            tensors[key] = torch.ones(shape)
    return tensors


def keys(data):
    """Names and shapes of a checkpoint's tensors: as a seed, and as a checkpoint of the authors' release."""
    tensors = _state_dict(data)
    try:
        released_architecture(tensors)
    except ValueError as error:
        _check(error)
    seed = read_seed(tensors)
    # A name may be that of two tensors, one of them behind the prefix of a wrapper.
    if any(not any(key.endswith(name) for key in tensors) for name in seed.names.values()):
        raise Finding('tensors were invented')
    if len(seed.names) + len(seed.ignored) + len(seed.unknown) != len(tensors):
        raise Finding('tensors are ignored and used, or lost')


def searched(data):
    """The checkpoint of a search: the first line is the number of its architecture parameters, the rest its config."""
    head, _, config = _text(data).partition('\n')
    size = int(head) if head.isascii() and head.isdecimal() and len(head) < 5 else 29
    best_architecture(dict(state_dict={'backbone.architecture_parameters': torch.arange(float(size))},
                           meta=dict(cfg=config)))


def _in_file(data, name, read):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as file:
            file.write(data)
        read(path, folder)


def history(data):
    """The history of a search: bad lines are named, none is an error."""
    def read(path, folder):
        problems = []
        states = read_history(folder, problems)
        if any(len(problem) > MOST for problem in problems):
            raise Finding('a problem is longer than anybody reads')
        if any(before.step >= after.step for before, after in zip(states, states[1:])):
            raise Finding('steps do not rise')
        for state in states:
            _ = state.undecided
            if SearchState.from_dict(json.loads(state.to_json())) != state:
                raise Finding(f'{state.to_json()} is not what was read')
    _in_file(data, os.path.relpath(history_path('.')), read)


def block_table(data):
    """A table of a device's milliseconds."""
    def read(path, _):
        table = BlockTable.read(path)
        Path(path).write_text(table.to_json(), encoding='utf-8')
        if BlockTable.read(path) != table:
            raise Finding(f'{table} is not what was read')
    _in_file(data, 'table.json', read)


def checkpoint(data):
    """The file of a checkpoint."""
    _in_file(data, 'checkpoint.pth', lambda path, _: load_checkpoint(path))


def _check(error):
    if not str(error).strip() or len(str(error)) > MOST:
        raise Finding(f'a message of {len(str(error))} characters: {str(error)[:200]!r}') from error


@dataclass(frozen=True)
class Target:
    """One target.

    Args:
        read: Reads bytes, and raises ``ValueError`` where they are nothing that it can read.
        words: What its inputs are made of, beside those of the corpus.
        modules: The modules of fna_mm that it is to reach.
    """

    read: Callable[[bytes], None]
    words: tuple[bytes, ...]
    modules: tuple[str, ...] = ()

    @property
    def name(self):
        return self.read.__name__

    @cached_property
    def corpus(self):
        """Inputs that were found, and such as are read."""
        return [path.read_bytes() for path in sorted((CORPUS / self.name).iterdir())]

    def __call__(self, data):
        """Read the bytes.

        Raises:
            Finding: If that goes wrong in another way than it may.
        """
        try:
            self.read(data)
        except ValueError as error:
            _check(error)
        except Finding:
            raise
        except BaseException as error:
            raise Finding(f'{type(error).__name__}: {error}') from error


_SPECS = (b'k3_e6', b'k5_e3', b'k7_e1', b'k3_c136', b'k9999_e1', b'k3_e0', b'k0_e6', b'k3_e', b'skip', b'k3_c0')
_NUMBERS = (b'0', b'1', b'2', b'16', b'24', b'-1', b'1.5', b'1e999', b'9' * 30, b'1e3', b'true', b'None', b'NaN')
_MARKS = (b'[', b']', b'[[', b']]', b'(', b')', b'{', b'}', b',', b'|', b':', b"'", b'"', b' ', b'\n', b'\\', b'\0',
          b'\xff', b'\xef\xbb\xbf', b'#', b'*', b'+', b'-', b'lambda: 0', b'[' * 300, b'resnet50: ', b'null')
_FIELDS = (b'"stages"', b'"in_channels"', b'"out_channels"', b'"stride"', b'"layers"', b'"format"', b'"version"',
           b'"family"', b'"fna_mm.architecture"')
_PLACES = (b'"blocks"', b'"fixed"', b'"unit"', b'"input_shape"', b'"output_stride"', b'"rest"', b'"made"', b'"cost"',
           b'"hidden"', b'"kernel"', b'"expands"', b'"spread"', b'"height"', b'"dilation"')
_STATE = (b'"step"', b'"max_steps"', b'"start"', b'"moment"', b'"probabilities"', b'"gmadds"', b'"seconds"',
          b'"architecture"', b'"seed"', b'"processes"', b'"device"', b'"expected"', b'"best_path"')
_SPACE = (b'layers_per_stage', b'kernel_sizes', b'expand_ratios', b'out_indices', b'FNASuperNet', b'type', b'dict',
          b'widen_factor', b'seed_arch', b'(3, 5)', b'10**9', b'(2, 1)')
_KEYS = (b'features.', b'.conv.', b'.weight', b'.bias', b'.running_var', b'layer1.0.', b'expand_conv.', b'conv1.',
         b'depthwise_conv.', b'linear_conv.', b'bn.', b'blocks.0.0.', b'module.', b'backbone.', b'net.blocks.')
_PICKLE = (b'PK\x03\x04', b'\x80\x02', b'cos\nsystem\n', b'(S"ls"\ntR.', b'}q\x00', b'.', b'{"__metadata__"', b'R',
           b'cbuiltins\neval\n', b'\x94', b'ctorch._utils\n_rebuild_tensor_v2\n', b'data.pkl', b'constants.pkl')

TARGETS = {target.name: target for target in (
    Target(architecture, (*_SPECS, *_NUMBERS, *_MARKS), ('architecture', 'families.mbconv', 'families.family')),
    Target(arch_json, (*_SPECS, *_NUMBERS, *_MARKS, *_FIELDS), ('architecture', )),
    Target(keys, (*_KEYS, *_NUMBERS, *_MARKS),
           ('remapping.seed_checkpoint', 'checkpoints.released', 'families.layouts')),
    Target(searched, (*_SPACE, *_NUMBERS, *_MARKS), ('checkpoints.searched', 'search_space')),
    Target(history, (*_STATE, *_SPECS, *_NUMBERS, *_MARKS), ('report.history', )),
    Target(block_table, (*_PLACES, *_NUMBERS, *_MARKS), ('cost.block_table', )),
    Target(checkpoint, (*_PICKLE, *_MARKS), ('checkpoints.opening', )),
)}


#: Any small JSON value.
ANYTHING = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
                        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner,
                                                                                   max_size=3), max_leaves=6)


@st.composite
def _mutated(draw, target):
    """An entry of the corpus in which some places were cut, doubled or replaced by words of the target."""
    data = draw(st.sampled_from(target.corpus))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from((0, 0, 1, 2, 5, 20, 200))))
        put = draw(st.one_of(st.sampled_from(target.words), st.just(b''), st.just(data[start:end] * 2),
                             st.binary(max_size=8)))
        data = data[:start] + put + data[end:]
    return data


def _replaced(value, draw):
    """A JSON value in which one place, drawn at random, holds something else."""
    if isinstance(value, (dict, list)) and value and draw(st.integers(0, 4)):
        value = dict(value) if isinstance(value, dict) else list(value)
        place = draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
        value[place] = _replaced(value[place], draw)
        return value
    return draw(ANYTHING)


@st.composite
def _other_json(draw, target):
    """An entry of the corpus in which one JSON value is another one."""
    lines = draw(st.sampled_from(target.corpus)).split(b'\n')
    whole = _json_of(b'\n'.join(lines))
    if whole is not None:
        return json.dumps(_replaced(whole, draw)).encode('utf-8', 'surrogatepass')
    place = draw(st.integers(0, len(lines) - 1))
    value = _json_of(lines[place])
    if value is not None:
        lines[place] = json.dumps(_replaced(value, draw)).encode('utf-8', 'surrogatepass')
    return b'\n'.join(lines)


def inputs(target):
    """The inputs of a target.

    Args:
        target (Target): The target.
    """
    words = st.lists(st.sampled_from(target.words), max_size=30).map(b''.join)
    ways = [_mutated(target), _mutated(target), words, st.binary(max_size=200)]
    if target.name in ('arch_json', 'history', 'block_table'):
        ways += [_other_json(target), _other_json(target)]
    return st.one_of(*ways)
