"""Neck and head with fewer channels: which ones they keep, and their weights, fitted in the order of computation."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from mmengine.registry import MODELS
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import Tensor, nn

from fna_mm.adaptation.chain import Watched
from fna_mm.adaptation.child import write_fit
from fna_mm.adaptation.fitting import Fit, elimination_order, folded, kept_channels, ridge_fit
from fna_mm.adaptation.moments import DTYPE, Moments
from fna_mm.adaptation.patches import patches, places_of
from fna_mm.adaptation.shared_widths import ChannelGroup, Outside, convolution_at

#: Positions of a map that a fit looks at; a patch of 3x3 has nine times as many features as a pixel.
POSITIONS = 256

#: The maps that a backbone gives for one image.
Maps = tuple[Tensor, ...]


def run_outside(model: Any, maps: Maps) -> None:
    """Run neck and head on the maps of a backbone.

    Args:
        model (nn.Module): An mm model.
        maps (tuple[Tensor, ...]): The maps.
    """
    features = model.neck(maps) if getattr(model, 'neck', None) is not None else maps
    if getattr(model, 'bbox_head', None) is not None:
        model.bbox_head(features)
    else:
        model.decode_head(features)


@torch.no_grad()
def seen_at(model: nn.Module, paths: Sequence[str], maps: Maps) -> dict[str, list[Watched]]:
    """What passes through convolutions; one that several maps share is passed several times.

    Args:
        model (nn.Module): An mm model.
        paths (Sequence[str]): Paths of the convolutions.
        maps (tuple[Tensor, ...]): What its backbone gives.
    """
    result: dict[str, list[Watched]] = {path: [] for path in paths}
    with ExitStack() as stack:
        for path in paths:
            convolution, _, _ = convolution_at(model, path)

            def hook(module: nn.Module, inputs: Any, output: Tensor, path: str = path) -> None:
                result[path].append(Watched(inputs[0], output.clone()))  # an activation may work in place
            stack.callback(convolution.register_forward_hook(hook).remove)
        run_outside(model, maps)
    return result


@torch.no_grad()
def elimination_orders(model: nn.Module, outside: Outside, images: Iterable[Maps]) -> list[list[Tensor]]:
    """The orders in which the channels of every group are left out, for every width in its order.

    The channels that go are those that all consumers together can best do without, if the others make up for them at
    every position of the kernel alone.

    Args:
        model (nn.Module): The trained model.
        outside (Outside): What can be narrowed.
        images (Iterable): The backbone's maps of every image.
    """
    groups = [group for shared in outside.widths for group in shared.groups]
    first = [group.consumers[0] for group in groups]
    moments = [Moments(_width(model, group), device=next(model.parameters()).device) for group in groups]
    for maps in images:
        seen = seen_at(model, list(dict.fromkeys(consumer.path for consumer in first)), maps)
        for consumer, own in zip(first, moments):
            for one in seen[consumer.path]:
                own.add(one.features[:, consumer.first:consumer.first + len(own.gram)])
    orders = []
    for group, own in zip(groups, moments):
        own.merge()
        orders.append(elimination_order(own.covariance, _taken(model, group, len(own.gram))))
    result, start = [], 0
    for shared in outside.widths:
        result.append(orders[start:start + len(shared.groups)])
        start += len(shared.groups)
    return result


def _width(model: nn.Module, group: ChannelGroup) -> int:
    return convolution_at(model, group.producers[0])[0].out_channels


def _taken(model: nn.Module, group: ChannelGroup, width: int) -> Tensor:
    """The weights of all consumers of a group, one row for each output and position of the kernel, (rows, width)."""
    rows = []
    for consumer in group.consumers:
        weight = convolution_at(model, consumer.path)[0].weight.detach().to(DTYPE)
        rows.append(weight[:, consumer.first:consumer.first + width].movedim(1, -1).reshape(-1, width))
    return torch.cat(rows)


class Kept(NamedTuple):
    """The channels that a convolution keeps.

    Args:
        outputs (Tensor): Indices of its output channels.
        inputs (Tensor): Indices of its input channels.
    """

    outputs: Tensor
    inputs: Tensor


def kept_by(model: nn.Module, outside: Outside, orders: Sequence[Sequence[Tensor]], chosen: Mapping[str, int]
            ) -> dict[str, Kept]:
    """The channels that every convolution keeps: path → channels.

    Args:
        model (nn.Module): The trained model.
        outside (Outside): What can be narrowed.
        orders (Sequence): What :func:`elimination_orders` gave.
        chosen (Mapping[str, int]): Name of a width → the number.
    """
    result: dict[str, Kept] = {}
    for path in (path for wave in outside.waves for path in wave):
        convolution, _, _ = convolution_at(model, path)
        result[path] = Kept(torch.arange(convolution.out_channels), torch.arange(convolution.in_channels))
    for shared, of_groups in zip(outside.widths, orders):
        width = chosen.get(shared.name, shared.width)
        if width == shared.width:
            continue
        for group, order in zip(shared.groups, of_groups):
            kept = kept_channels(order, shared.width, width)
            for path in group.producers:
                result[path] = result[path]._replace(outputs=kept)
            for consumer in group.consumers:
                own = result[consumer.path].inputs
                inside = (own >= consumer.first) & (own < consumer.first + shared.width)
                mine = torch.cat([own[own < consumer.first], kept + consumer.first,
                                  own[(own >= consumer.first) & ~inside]])
                result[consumer.path] = result[consumer.path]._replace(inputs=mine)
    return result


@torch.no_grad()
def copy_weights(child: nn.Module, trained: nn.Module, kept: Mapping[str, Kept]) -> None:
    """Give a narrower neck and head the trained weights of the channels that they keep.

    Args:
        child (nn.Module): The model with narrower neck and head; tensors that have the trained shape are copied.
        trained (nn.Module): The trained model.
        kept (Mapping[str, Kept]): What :func:`kept_by` gave.
    """
    own, theirs = child.state_dict(), trained.state_dict()
    for name, tensor in own.items():
        if name in theirs and theirs[name].shape == tensor.shape and not name.startswith('backbone.'):
            tensor.copy_(theirs[name])
    for path, channels in kept.items():
        convolution, norm, _ = convolution_at(child, path)
        source, source_norm, _ = convolution_at(trained, path)
        convolution.weight.copy_(source.weight[channels.outputs][:, channels.inputs])
        if convolution.bias is not None and source.bias is not None:
            convolution.bias.copy_(source.bias[channels.outputs])
        for name, tensor in (norm.state_dict() if norm is not None else {}).items():
            whole = source_norm.state_dict()[name]  # type: ignore[union-attr]
            tensor.copy_(whole[channels.outputs] if whole.ndim else whole)


def cut_model(section: Mapping[str, Any], trained: Any, backbone: nn.Module, kept: Mapping[str, Kept]) -> Any:
    """A trained model with another backbone and the trained weights of what is left of neck and head.

    Args:
        section (Mapping): The section of the model with other widths; it is not changed.
        trained (nn.Module): The trained model.
        backbone (nn.Module): The backbone.
        kept (Mapping[str, Kept]): Path of a convolution → the channels that it keeps.
    """
    model = MODELS.build(copy.deepcopy(dict(section)))
    model.to(next(trained.parameters()).device).eval()
    model.backbone = backbone
    copy_weights(model, trained, kept)
    return model


@torch.no_grad()
def both_maps(backbone: nn.Module, trained: nn.Module, images: Iterable[Tensor]) -> Iterator[tuple[Maps, Maps]]:
    """The maps of a child's backbone and of the trained one, image by image.

    Args:
        backbone (nn.Module): The child's backbone; it may be the trained one.
        trained (nn.Module): The trained backbone.
        images (Iterable[Tensor]): Normalised images, each (1, 3, H, W).
    """
    for image in images:
        theirs = tuple(trained(image))
        yield theirs if backbone is trained else tuple(backbone(image)), theirs


@torch.no_grad()
def fit_outside(child: nn.Module, trained: nn.Module, outside: Outside, kept: Mapping[str, Kept],
                images: Callable[[], Iterable[tuple[Maps, Maps]]]) -> None:
    """Solve the convolutions of neck and head anew, wave by wave, on the child's own features.

    The target of a convolution is what the trained one gives, in the channels that are kept. With a BN behind it, both
    modes of the BN compute the same afterwards. Convolutions whose inputs and outputs are as they were stay.

    Args:
        child (nn.Module): The model with the weights of :func:`copy_weights`.
        trained (nn.Module): The trained model.
        outside (Outside): What can be narrowed.
        kept (Mapping[str, Kept]): What :func:`kept_by` gave.
        images (Callable): Gives for every image the maps of the child's backbone and of the trained one.
    """
    for wave in outside.waves:
        moments: dict[str, Moments] = {}
        for own, theirs in images():
            before, after = seen_at(child, wave, own), seen_at(trained, wave, theirs)
            for path in wave:
                convolution, _, _ = convolution_at(child, path)
                for one, two in zip(before[path], after[path]):
                    places = places_of(two.output, POSITIONS)
                    features = patches(one.features, convolution, places)
                    target = _target(trained, path, two.output)[:, kept[path].outputs].flatten(2)[:, :, places]
                    if path not in moments:
                        moments[path] = Moments(features.shape[1], target.shape[1], features.device)
                    moments[path].add(features, target.unsqueeze(2))
        for path, sums in moments.items():
            sums.merge()
            _write(child, path, sums)


def _target(trained: nn.Module, path: str, output: Tensor) -> Tensor:
    """What a convolution gives, behind its BN if it has one."""
    _, norm, _ = convolution_at(trained, path)
    return norm(output) if isinstance(norm, _BatchNorm) else output


def _write(child: nn.Module, path: str, sums: Moments) -> None:
    convolution, norm, module = convolution_at(child, path)
    batch_norm = isinstance(norm, _BatchNorm) and norm.affine and norm.track_running_stats
    centred = batch_norm or convolution.bias is not None
    if batch_norm:
        prior = folded(convolution.weight, norm.running_mean, norm.running_var,  # type: ignore[union-attr, arg-type]
                       norm.weight, norm.bias, norm.eps)[0]  # type: ignore[union-attr, arg-type]
    else:
        prior = convolution.weight.detach().to(DTYPE).flatten(1)
    if centred:
        fit = ridge_fit(sums.mean, sums.covariance, sums.mean_target, sums.cross_covariance, sums.target_variance,
                        prior)
    else:  # nothing can add a constant
        none = torch.zeros_like
        fit = ridge_fit(none(sums.mean), sums.gram / sums.count, none(sums.mean_target), sums.cross / sums.count,
                        sums.square_targets / sums.count, prior)
    if batch_norm:
        write_fit(module, fit, norm.running_var)  # type: ignore[union-attr, arg-type]
    else:
        _write_convolution(convolution, fit)


def _write_convolution(convolution: nn.Conv2d, fit: Fit) -> None:
    convolution.weight.copy_(fit.weight.reshape(convolution.weight.shape))
    if convolution.bias is not None:
        convolution.bias.copy_(fit.bias)
