"""Rivals that torch-pruning makes: hidden channels of MobileNetV2's blocks removed by its importances."""

import copy
from collections.abc import Sequence
from typing import Any, Optional

import torch
from torch import Tensor

from fna_mm import Architecture, FNAChildNet, families
from fna_mm.adaptation.candidates import with_stem as narrower_stem
from fna_mm.adaptation.chain import Chain
from fna_mm.adaptation.scores import same_random_numbers
from fna_mm.adaptation.taps import convolution_of
from fna_mm.architecture import Stage
from fna_mm.families import BlockSpec
from tools.evidence.child_files import Source

#: Model → importance of torch-pruning.
IMPORTANCES = dict(pruned_norm='GroupMagnitudeImportance', pruned_taylor='GroupTaylorImportance')
#: Images whose loss the Taylor importance is of.
TAYLOR_IMAGES = 128
#: Largest share of a block's hidden channels that is removed, and what is tried if that is not enough: fna adapt's
#: smallest width is a tenth, too, but it also leaves blocks out.
_MOST = (.9, .95)
_HALVINGS = 12
#: Share of the stem's channels that is removed: of MobileNetV2's 32, an ImageNet checkpoint uses 24 at most.
STEM = .25


def accumulate_gradients(source: Source, images: int = TAYLOR_IMAGES) -> int:
    """Add up the gradients of the trained model's loss over training images, in evaluation mode.

    Args:
        source (Source): The trained model; its parameters get gradients.
        images (int): How many images, if there are as many. Defaults to 128.

    Returns:
        int: How many images were used.
    """
    model = source.trained.model
    model.eval().zero_grad()
    number = min(images, len(source.images))
    for position in range(number):
        data = model.data_preprocessor(source.images[position], False)
        with same_random_numbers():
            losses = model.loss(data['inputs'], data['data_samples'])
        model.parse_losses(losses)[0].backward()
    return number


def _with_gradients(backbone: FNAChildNet) -> FNAChildNet:
    """A copy with the gradients, which a plain copy leaves out."""
    result = copy.deepcopy(backbone)
    for own, other in zip(result.parameters(), backbone.parameters()):
        own.requires_grad_(True)
        own.grad = None if other.grad is None else other.grad.clone()
    return result


def expanding(backbone: FNAChildNet, kept: Sequence[tuple[int, int]]) -> list[Any]:
    """The convolutions whose outputs are the hidden channels of the blocks that may be pruned.

    Args:
        backbone (FNAChildNet): The backbone.
        kept (Sequence[tuple[int, int]]): (stage, layer) of the blocks that keep their width.
    """
    return [link.block.expand_conv.conv for link in Chain(backbone).links
            if link.spec.searchable and (link.stage, link.layer) not in kept]


def same_rows(pruned: Tensor, whole: Tensor) -> Tensor:
    """Which rows of a weight are left, (K,).

    Args:
        pruned (Tensor): The rows that are left, in their old order, (K, …).
        whole (Tensor): All rows, (C, …).
    """
    found: list[int] = []
    for row in pruned:
        start = found[-1] + 1 if found else 0
        found.append(next(index for index in range(start, len(whole)) if torch.equal(whole[index], row)))
    return torch.tensor(found)


def prune(backbone: FNAChildNet, importance: Any, ratio: float, example: Tensor, kept: Sequence[tuple[int, int]] = (),
          most: float = _MOST[0], with_last: bool = False, with_stem: bool = False) -> FNAChildNet:
    """A pruned copy of a backbone: channels of all blocks are ranked together, and a share of them is removed.

    Args:
        backbone (FNAChildNet): The backbone; its parameters have gradients if the importance needs them.
        importance (Any): An importance of torch-pruning.
        ratio (float): Share of all hidden channels that is removed.
        example (Tensor): An image, (1, 3, H, W).
        kept (Sequence[tuple[int, int]]): (stage, layer) of the blocks that keep their width. Defaults to ().
        most (float): Largest share of a block's channels that is removed. Defaults to 0.9.
        with_last (bool): Whether channels of the last convolution go, too. Defaults to False.
        with_stem (bool): Whether a quarter of those of the stem do. Defaults to False.
    """
    import torch_pruning
    result = _with_gradients(backbone).eval()
    roots = [*expanding(result, kept), *([result.conv2.conv] if with_last else []),
             *([result.conv1.conv] if with_stem else [])]
    # As many channels as the first block's output would give that block a shortcut, which the pruned network has not.
    alone = {result.conv1.conv: STEM} if with_stem else {}
    others = [module for module in result.modules() if isinstance(module, torch.nn.Conv2d)
              and not any(module is root for root in roots) and module.groups == 1]
    pruner = torch_pruning.pruner.BasePruner(
        result, example, importance, global_pruning=True, pruning_ratio=ratio, max_pruning_ratio=most,
        pruning_ratio_dict=alone, ignored_layers=others, round_to=families.family(backbone.family).width_step)
    pruner.step()
    return result


def pruned_architecture(backbone: FNAChildNet, pruned: FNAChildNet) -> Architecture:
    """The architecture of a pruned backbone.

    Args:
        backbone (FNAChildNet): The backbone before it was pruned.
        pruned (FNAChildNet): The pruned one.
    """
    specs: dict[int, list[BlockSpec]] = {}
    for link, own in zip(Chain(backbone).links, Chain(pruned).links):
        width = own.output.conv.in_channels
        specs.setdefault(link.stage, []).append(
            link.spec.resized(link.spec.kernel_size, width, link.place.in_channels) if link.spec.searchable else
            link.spec)
    found = Architecture(tuple(
        Stage(stage.in_channels, stage.out_channels, stage.stride, tuple(specs[index]))
        for index, stage in enumerate(backbone.architecture.stages)), backbone.architecture.family)
    return narrower_stem(found, pruned.conv1.conv.out_channels)


def pruned_to(source: Source, model: str, budget: float) -> tuple[FNAChildNet, dict[int, Tensor]]:
    """The backbone pruned to a budget: the least ratio of channels whose removal is enough.

    Where that is known, what neck and head read is pruned as well.

    Args:
        source (Source): The trained model.
        model (str): One of ``IMPORTANCES``.
        budget (float): Share of the trained backbone's multiply-adds.

    Returns:
        tuple: The backbone, and row of a narrower tap → the channels that are left.

    Raises:
        ImportError: If torch-pruning is not installed.
        ValueError: If the budget cannot be reached.
    """
    try:
        import torch_pruning
    except ImportError as error:
        raise ImportError('the pruned rivals need torch-pruning, which is no dependency: pip install --no-deps '
                          '--target FOLDER torch-pruning, and PYTHONPATH=FOLDER') from error
    importance = getattr(torch_pruning.importance, IMPORTANCES[model])()
    if model == 'pruned_taylor':
        accumulate_gradients(source)
    backbone, taps, stem = source.backbone, source.taps, Chain(source.backbone).stem_is_hidden
    kept = [] if taps.taps else sorted(source.kept)
    example = torch.zeros(1, 3, *source.shape, device=next(backbone.parameters()).device)
    limit = budget * source.madds(backbone.architecture)

    def least_pruned(most: float) -> Optional[FNAChildNet]:
        low, high, found = 0., 1., None
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            pruned = prune(backbone, importance, middle, example, kept, most, taps.last > 0, stem)
            last = pruned.conv2.conv.out_channels if taps.last else None
            if source.madds(pruned_architecture(backbone, pruned), last) <= limit:
                high, found = middle, pruned
            else:
                low = middle
        return found

    found = next((pruned for most in _MOST if (pruned := least_pruned(most)) is not None), None)
    if found is None:
        raise ValueError(f'budget {budget}: torch-pruning cannot remove as many channels')
    child = source.child(pruned_architecture(backbone, found), found.conv2.conv.out_channels if taps.last else None)
    child.load_state_dict(found.state_dict())
    left = {}
    for tap in taps.taps:
        own, other = (convolution_of(tap, Chain(net)).conv for net in (found, backbone))
        if own.out_channels < tap.width:
            left[tap.row] = same_rows(own.weight, other.weight)
    return child, left
