"""Converting checkpoints of the authors' release into mm checkpoints with this package's names.

The release has four kinds of files: the seed (``seed_mbv2.pt``), RetinaNet and SSDLite for MMDetection 0.6,
and DeepLabv3 for TorchSeg. The names of their tensors are defined by https://github.com/JaminFong/FNA.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import torch
from tabulate import tabulate
from torch import Tensor

from fna_mm import families
from fna_mm.architecture import Architecture, Stage
from fna_mm.backbones import FNAChildNet
from fna_mm.checkpoints.opening import load_checkpoint
from fna_mm.checkpoints.searched import ARCHITECTURE_META
from fna_mm.checkpoints.whole_files import check_outputs, checkpoint_bytes, write_whole
from fna_mm.families import BlockSpec
from fna_mm.families.layouts import STEM, Key
from fna_mm.families.mobilenet_v2 import RELEASE, RELEASE_BLOCKS, MobileNetV2, release_name
from fna_mm.remapping.seed_checkpoint import Seed, read_seed

#: The family of all networks in the release.
FAMILY = families.family(MobileNetV2.name)
#: Strides of the stages, which weights do not contain. In every network of the release they are the seed's.
PUBLISHED_STRIDES = tuple(stage.stride for stage in Architecture.create(FAMILY.name).stages)
#: The eps of every BN in the release's SSDLite and in its seed; the other networks have PyTorch's 1e-5.
SSDLITE_BN_EPS = 1e-3

_BACKBONE = 'backbone.'
_SUFFIXES = ('.pth', '.pt')
_MAX_PROBLEMS = 5
_Rule = tuple[str, Callable[['re.Match[str]'], str]]


@dataclass(frozen=True)
class Conversion:
    """A released checkpoint with this package's and mm's names.

    Args:
        kind (str): Kind of network, such as ``RetinaNet``.
        architecture (Architecture): Architecture of the backbone.
        state (dict[str, Tensor]): The tensors by their new names.
        moves (tuple[tuple[str, str], ...]): The released key and the new key of every tensor.
        kept (tuple[str, ...]): Keys of tensors that have no counterpart in mm; they do not change.
        left_out (tuple[str, ...]): Names of everything in the file but its weights.
        notes (tuple[str, ...]): Settings that a config needs so that the network computes the same.
    """

    kind: str
    architecture: Architecture
    state: dict[str, Tensor]
    moves: tuple[tuple[str, str], ...]
    kept: tuple[str, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]

    def checkpoint(self) -> dict[str, Any]:
        """An ordinary mm checkpoint with the architecture's text in its ``meta``."""
        return dict(meta={ARCHITECTURE_META: self.architecture.to_text()}, state_dict=self.state)

    def report(self) -> str:
        """A table for the screen of the old and the new name of every tensor."""
        counts = Counter((_group(released), _group(ours)) for released, ours in self.moves)
        rows = [(released, ours, str(count)) for (released, ours), count in counts.items()]
        rows += [(key, 'kept under its own name', '1') for key in self.kept]
        rows += [(key, 'left out', '-') for key in self.left_out]
        table = tabulate(rows, ('released', 'here', 'tensors'), tablefmt='plain', disable_numparse=True)
        return '\n'.join((f"{self.kind} of the authors' release", str(self.architecture), '', table, *self.notes))


def _group(key: str) -> str:
    return '.'.join(key.split('.')[:2])


def _tensors(checkpoint: Any) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """All tensors, the backbone's with ``backbone.`` before their names, and the names of everything else."""
    state: Any = checkpoint
    left_out: list[str] = []
    for wrapper in ('state_dict', 'model'):  # mmcv's, TorchSeg's
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            left_out += [str(name) for name in state if name != wrapper]
            state = state[wrapper]
    tensors = {re.sub(r'^(module\.)+', '', str(key)): value for key, value in state.items()
               if isinstance(value, Tensor)} if isinstance(state, Mapping) else {}
    bare = re.compile(rf'({re.escape(RELEASE_BLOCKS)}|extra\.)')
    named = {_BACKBONE * bool(bare.match(key)) + key: value for key, value in tensors.items()}
    return named, tuple(left_out)


def _read_backbone(tensors: Mapping[str, Tensor]) -> Seed:
    seed = read_seed({key: value for key, value in tensors.items() if key.startswith(_BACKBONE)} or dict(tensors),
                     FAMILY.name)
    if seed.layout != RELEASE.name:
        raise ValueError(f"this is no checkpoint of the authors' release, but a {FAMILY.title} in the {seed.layout} "
                         "layout: init_cfg=dict(type='ParameterRemapping', checkpoint=…) takes it as it is")
    return seed


def _conv_shape(seed: Seed, stage: int, layer: int, part: str) -> tuple[int, ...]:
    weight = seed.tensors.get(Key(stage, layer, part, 'conv', 'weight'))
    if weight is None or weight.dim() != 4:
        where = release_name(stage, None if stage == STEM else layer)
        raise ValueError(f'the {part} convolution of {where} has '
                         f'{"no weight" if weight is None else f"a weight of shape {tuple(weight.shape)}"}')
    return tuple(weight.shape)


def _spec(seed: Seed, stage: int, layer: int, in_channels: int) -> BlockSpec:
    hidden, _, kernel_size, _ = _conv_shape(seed, stage, layer, 'depthwise')
    try:
        return FAMILY.spec_of(kernel_size, hidden, in_channels)
    except ValueError as error:
        raise ValueError(f'{release_name(stage, layer)}: {error}') from None


def _infer(seed: Seed, strides: Sequence[int]) -> Architecture:
    channels, stages = _conv_shape(seed, STEM, 0, 'stem')[0], []
    for stage, (depth, stride) in enumerate(zip(seed.depths, strides)):
        out_channels = _conv_shape(seed, stage, 0, 'project')[0]
        inputs = [channels] + [out_channels] * (depth - 1)
        stages.append(Stage(channels, out_channels, stride,
                            tuple(_spec(seed, stage, layer, before) for layer, before in enumerate(inputs))))
        channels = out_channels
    return Architecture(tuple(stages))


def _check_net_config(found: Architecture, given: Architecture) -> None:
    for index, (ours, theirs) in enumerate(zip(found.stages, given.stages)):
        name = release_name(index)
        if ours.label != theirs.label:
            raise ValueError(f"the net_config is another network's: {name} is {ours.label} in the weights, "
                             f'{theirs.label} in the net_config')
        for layer, (here, there) in enumerate(zip(ours.layers, theirs.layers)):
            if here != there:
                raise ValueError(f"the net_config is another network's: {release_name(index, layer)} is {here} in the "
                                 f'weights, {there} in the net_config')
        if len(ours.layers) != len(theirs.layers):
            raise ValueError(f"the net_config is another network's: {name} ({ours.label}) has {len(ours.layers)} "
                             f'layers in the weights, {len(theirs.layers)} in the net_config')


def _architecture(seed: Seed, net_config: Optional[str]) -> Architecture:
    if net_config is None:
        if len(seed.depths) != len(PUBLISHED_STRIDES):
            raise ValueError(f"the weights do not tell strides, and MobileNetV2's fit {len(PUBLISHED_STRIDES)} stages, "
                             f'not {len(seed.depths)}: give the net_config that came with the checkpoint')
        return _infer(seed, PUBLISHED_STRIDES)
    given = Architecture.parse(net_config)
    if len(given.stages) != len(seed.depths):
        raise ValueError(f"the net_config is another network's: it has {len(given.stages)} stages, "
                         f'the weights {len(seed.depths)}')
    found = _infer(seed, [stage.stride for stage in given.stages])
    _check_net_config(found, given)
    return found


def released_architecture(checkpoint: Any, net_config: Optional[str] = None) -> Architecture:
    """Find the architecture of a released checkpoint's backbone from names and shapes.

    Args:
        checkpoint (dict): The loaded checkpoint.
        net_config (str, optional): The architecture in the published text form, which is checked against
            the shapes. Defaults to None: the strides are MobileNetV2's.

    Raises:
        ValueError: If it is no checkpoint of the release, if the ``net_config`` belongs to another
            network, or if there is no ``net_config`` and the number of stages is not MobileNetV2's.
    """
    return _architecture(_read_backbone(_tensors(checkpoint)[0]), net_config)


def _backbone(seed: Seed, architecture: Architecture) -> dict[str, str]:
    """Map our keys of the backbone to the release's, and check all shapes against the built network."""
    num_stages = len(architecture.stages)
    last = seed.tensors.get(Key(0, 0, 'last', 'conv', 'weight'))
    with torch.device('meta'):
        child = FNAChildNet(architecture, (num_stages - 1 if last is None else num_stages, ),
                            architecture.total_stride, head_channels=1 if last is None else len(last))
    problems, sources = [f'{name} is unknown' for name in seed.unknown], {}
    for ours, expected in child.state_dict().items():
        parsed = FAMILY.parse_own_key(ours)
        assert parsed is not None, ours
        place = parsed[0]
        if place in seed.tensors:
            sources[ours] = seed.names[place]
            if seed.tensors[place].shape != expected.shape:
                problems.append(f'{seed.names[place]} has the shape {tuple(seed.tensors[place].shape)}, not '
                                f'{tuple(expected.shape)}')
        elif place.tensor != 'num_batches_tracked':  # files from before torch 0.4.1 do not have it
            where = '' if place.part in ('stem', 'last') else f' of {release_name(place.stage, place.layer)}'
            problems.append(f'the {place.kind} {place.tensor} of the {place.part}{where} is missing')
    problems += [f'{name} is unknown' for name in seed.names.values() if name not in set(sources.values())]
    if problems:
        more = f', … and {len(problems) - _MAX_PROBLEMS} more' if len(problems) > _MAX_PROBLEMS else ''
        raise ValueError('the weights are no whole network of this family: '
                         + ', '.join(problems[:_MAX_PROBLEMS]) + more)
    return sources


# Necks and heads: patterns of the release's keys, and mm's names for them.

_CONV_BN = {'0': 'conv', '1': 'bn'}
_SEPARABLE = {'0': 'depthwise_conv.conv', '1': 'depthwise_conv.bn', '3': 'pointwise_conv.conv',
              '4': 'pointwise_conv.bn'}
_ASPP = {'depthwise': 'depthwise_conv.conv', 'bn1': 'depthwise_conv.bn', 'pointwise': 'pointwise_conv.conv',
         'bn2': 'pointwise_conv.bn'}
_ONE_PIXEL = 'mmdet 0.6 measured boxes one pixel wider, as {} and LegacyDeltaXYWHBBoxCoder do.'
_PREDICTION = r'bbox_head\.(cls|reg)_convs\.(\d+)\.3\.weight'


@dataclass(frozen=True)
class _Family:
    kind: str
    marker: str
    rules: tuple[_Rule, ...]
    notes: tuple[str, ...]


_FAMILIES = (
    _Family(
        'RetinaNet', 'bbox_head.retina_cls.weight', (
            (r'neck\.(?:lateral|fpn)_convs\.\d+\.conv\.(?:weight|bias)', lambda m: m[0]),
            # A head from before mmdet's ConvModule has no ".conv" in its keys.
            (r'bbox_head\.((?:cls|reg)_convs\.\d+)\.(?:conv\.)?(weight|bias)',
             lambda m: f'bbox_head.{m[1]}.conv.{m[2]}'),
            (r'bbox_head\.retina_(?:cls|reg)\.(?:weight|bias)', lambda m: m[0]),
        ), (_ONE_PIXEL.format('LegacyAnchorGenerator'), )),
    _Family(
        'SSDLite', 'backbone.extra.0.0.weight', (
            (r'backbone\.extra\.(\d*[02468])\.([01])\.(\w+)',
             lambda m: f'neck.extra_layers.{int(m[1]) // 2}.0.{_CONV_BN[m[2]]}.{m[3]}'),
            (r'backbone\.extra\.(\d*[13579])\.([0134])\.(\w+)',
             lambda m: f'neck.extra_layers.{int(m[1]) // 2}.1.{_SEPARABLE[m[2]]}.{m[3]}'),
            (r'bbox_head\.((?:cls|reg)_convs\.\d+)\.([01])\.(\w+)',
             lambda m: f'bbox_head.{m[1]}.0.{_CONV_BN[m[2]]}.{m[3]}'),
        ), (f"Its BN, the backbone's too, has eps={SSDLITE_BN_EPS}: norm_cfg=dict(type='BN', eps={SSDLITE_BN_EPS}). "
            'Its images keep std=[1, 1, 1].',
            _ONE_PIXEL.format('LegacySSDAnchorGenerator'))),
    _Family(
        'DeepLabv3', 'head.branch1.0.weight', (
            (r'head\.branch1\.([01])\.(\w+)', lambda m: f'decode_head.aspp_modules.0.{_CONV_BN[m[1]]}.{m[2]}'),
            (r'head\.branch([234])\.0\.(depthwise|bn1|pointwise|bn2)\.(\w+)',
             lambda m: f'decode_head.aspp_modules.{int(m[1]) - 1}.{_ASPP[m[2]]}.{m[3]}'),
            (r'head\.branch5_(conv|bn)\.(\w+)', lambda m: f'decode_head.image_pool.1.{m[1]}.{m[2]}'),
            (r'head\.conv_cat\.([01])\.(\w+)', lambda m: f'decode_head.bottleneck.{_CONV_BN[m[1]]}.{m[2]}'),
            (r'cls_conv\.(weight|bias)', lambda m: f'decode_head.conv_seg.{m[1]}'),
        ), ('The release enlarges its scores with align_corners=True.', )),
    _Family('Seed', 'classifier.weight', ((r'classifier\.(weight|bias)', lambda m: f'head.fc.{m[1]}'), ), ()),
)


def background_last(scores: Tensor, num_anchors: int) -> Tensor:
    """Move the background class of every anchor from the first place (mmdet ≤ 1) to the last (mmdet ≥ 2).

    Args:
        scores (Tensor): Weight or bias of a classifying convolution; channel ``a · classes + c`` is
            class c of anchor a.
        num_anchors (int): Anchors per cell.

    Raises:
        ValueError: If the channels are no multiple of the anchors.
    """
    if len(scores) % num_anchors:
        raise ValueError(f'{len(scores)} channels of scores are no multiple of {num_anchors} anchors per cell')
    return scores.unflatten(0, (num_anchors, -1)).roll(-1, 1).flatten(0, 1)


def _tensor(tensors: Mapping[str, Tensor], key: str) -> Tensor:
    if key not in tensors:
        raise ValueError(f'the head is not whole: it lacks {key}')
    return tensors[key]


def _fold_prediction(tensors: Mapping[str, Tensor], branch: str, level: str) -> tuple[Tensor, Tensor]:
    """Fold the BN behind a prediction's 1x1 convolution into its weight and bias; mmdet has no such BN."""
    layer = f'bbox_head.{branch}_convs.{level}'
    gain, shift, mean, var = (_tensor(tensors, f'{layer}.4.{name}').double()
                              for name in ('weight', 'bias', 'running_mean', 'running_var'))
    convolution = tensors[f'{layer}.3.weight']
    scale = gain / (var + SSDLITE_BN_EPS).sqrt()
    weight, bias = convolution.double() * scale.reshape(-1, 1, 1, 1), shift - mean * scale
    if branch == 'cls':
        num_anchors = max(len(_tensor(tensors, f'bbox_head.reg_convs.{level}.3.weight')) // 4, 1)
        weight, bias = background_last(weight, num_anchors), background_last(bias, num_anchors)
    return weight.to(convolution.dtype), bias.to(convolution.dtype)


def _neck_and_head(tensors: Mapping[str, Tensor], family: _Family) -> tuple[dict[str, Tensor], list[tuple[str, str]]]:
    """The new tensors by mm's keys, and the released and the new key of every tensor that they come from."""
    state, moves = {}, []
    for key, value in tensors.items():
        if family.kind == 'SSDLite' and (match := re.fullmatch(_PREDICTION, key)):
            ours = f'bbox_head.{match[1]}_convs.{match[2]}.1'
            state[f'{ours}.weight'], state[f'{ours}.bias'] = _fold_prediction(tensors, match[1], match[2])
            folded = key.replace('.3.weight', '.4.')
            moves += [(key, f'{ours}.weight')] + [(name, f'{ours}.bias') for name in tensors if name.startswith(folded)]
            continue
        for pattern, replacement in family.rules:
            if match := re.fullmatch(pattern, key):
                ours = replacement(match)
                # The pooled image is the last input of this convolution in the release, and the first in mmseg.
                state[ours] = value.roll(value.shape[1] // 5, 1) if key == 'head.conv_cat.0.weight' else value
                moves.append((key, ours))
                break
    return state, moves


def convert_released(checkpoint: Any, net_config: Optional[str] = None) -> Conversion:
    """Give the backbone of a released checkpoint this package's names, and its neck and head mm's.

    - RetinaNet: neck and head keep their names.
    - SSDLite: the extra layers become mmdet's ``SSDNeck``, the head its ``SSDHead`` with
      ``use_depthwise=True``. The release has a BN behind its predictions; it is folded into weight and
      bias. The background class moves from the first place to the last (:func:`background_last`). The
      anchors per cell stay what they are, (4, 6, 6, 6, 4, 4) in the release and 6 everywhere in mmdet's
      own SSDLite: the config decides, by its anchor generator's ``ratios``.
    - DeepLabv3: the head becomes this package's ``SeparableASPPHead``.
    - The seed: the classifier becomes that of mmpretrain's ``LinearClsHead``.

    Args:
        checkpoint (dict): The loaded checkpoint. It is not changed.
        net_config (str, optional): As for :func:`released_architecture`. Defaults to None.

    Raises:
        ValueError: As :func:`released_architecture`; and if a tensor of the backbone is missing, unknown
            or of a wrong shape, or a tensor of a prediction layer is missing.
    """
    tensors, left_out = _tensors(checkpoint)
    seed = _read_backbone(tensors)
    architecture = _architecture(seed, net_config)
    moves = [(_BACKBONE + theirs, _BACKBONE + ours) for ours, theirs in _backbone(seed, architecture).items()]
    state = {ours: tensors[theirs] for theirs, ours in moves}
    rest = {key: value for key, value in tensors.items() if not key.startswith(_BACKBONE + RELEASE_BLOCKS)}
    family = next((family for family in _FAMILIES if family.marker in rest),
                  _Family('Network with a head of its own' if rest else 'Backbone', '', (), ()))
    others, other_moves = _neck_and_head(rest, family)
    moved = {theirs for theirs, _ in other_moves}
    kept = tuple(key for key in rest if key not in moved)
    if clash := sorted(set(kept) & (set(state) | set(others))):
        raise ValueError(f"the checkpoint holds {clash[0]} under our name and under the release's")
    state.update(others)
    state.update({key: rest[key] for key in kept})
    return Conversion(family.kind, architecture, state, tuple(moves + other_moves), kept, left_out, family.notes)


def convert_file(released: str, out: str, net_config: Optional[str] = None) -> tuple[Conversion, tuple[str, str]]:
    """Convert the file of a released checkpoint.

    Args:
        released (str): Path or URL of the file; code that it may contain is never executed.
        out (str): Path of the new checkpoint, ``*.pth``. The architecture is written beside it, as
            ``*.arch.json``.
        net_config (str, optional): Path of the ``net_config`` that came with the file. Defaults to None.

    Returns:
        tuple: The conversion, and the paths of the two files that were written.

    Raises:
        ValueError: As :func:`convert_released`; and if a file is of another kind, or ``out`` would overwrite
            the released file. No file is written then.
        FileNotFoundError: If there is no such file.
    """
    path = Path(out)
    if path.suffix not in _SUFFIXES:
        raise ValueError(f'OUT={out!r}: the name of a checkpoint ends in {" or ".join(_SUFFIXES)}')
    arch = path.with_suffix('.arch.json')
    check_outputs([str(path), str(arch)], [released, *([] if net_config is None else [net_config])])
    text = None if net_config is None else _read_net_config(net_config)
    checkpoint = load_checkpoint(released)
    try:
        conversion = convert_released(checkpoint, text)
    except ValueError as error:
        raise ValueError(f'{released}: {error}') from error
    write_whole({str(path): checkpoint_bytes(conversion.checkpoint()),
                 str(arch): conversion.architecture.to_json().encode()})
    return conversion, (str(path), str(arch))


def _read_net_config(path: str) -> str:
    """Read the text up to the first empty line, as the release does."""
    try:
        text = Path(path).read_text(encoding='utf-8')
    except UnicodeDecodeError:
        raise ValueError(f'net_config={path!r} is no text') from None
    text = re.split(r'\n[ \t\r]*\n', text.strip())[0]
    try:
        Architecture.parse(text)
    except ValueError as error:
        raise ValueError(f'net_config={path!r}: {error}') from None
    return text
