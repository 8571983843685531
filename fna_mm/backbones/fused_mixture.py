"""The weighted mixture of a layer's candidates in few operations and few passes over memory.

It is for architecture steps, in which no weight requires a gradient. That allows what autograd cannot know:

* The candidates of one kernel size are one expansion and one depthwise convolution, of concatenated weights.
* The statistics of an expansion follow from the covariance of its few input channels: ``E x`` has mean
  ``E mean(x)`` and variance ``diag(E cov(x) E^T)``. So this normalisation is part of the convolution's
  weights, and its backward pass a small matrix: the widest tensors of a layer are never normalised.
* The backward pass needs the two hidden tensors of a branch, and nothing else as wide; with ``recompute`` it
  makes even these again, from the statistics, which are kept.
"""

import functools
import math
from collections.abc import Sequence, Set
from typing import Any, NamedTuple, Optional

import torch
import torch.distributed as dist
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.utils.dl_utils.parrots_wrapper import SyncBatchNorm
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules import module as of_all_modules

from fna_mm.families.mbconv_block import MBConv

#: The two ends of ReLU6.
RELU6 = (0., 6.)
#: Normalisations over the batch: BN, and SyncBN by itself and as mm wraps it.
NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, SyncBatchNorm)
#: Names in a block, in its parts, and in convolution and normalisation.
PARTS = frozenset({'expand_conv', 'depthwise_conv', 'linear_conv'})
LINEAR, ACTIVATED = frozenset({'conv', 'bn'}), frozenset({'conv', 'bn', 'activate'})
AFFINE, NOTHING = frozenset({'weight', 'bias'}), frozenset[str]()
#: Kernel, stride and dilation of a 1x1 convolution.
POINT = (1, 1)
#: All dimensions of an activation but its channels.
PIXELS = (0, 2, 3)
#: Pixels per input channel of a layer from which on statistics by covariance cost less than a pass over the features.
#:
#: All that rests on measurements, as ratios to the simple mixture, in time of one core of an AMD EPYC (first
#: generation, AVX2, torch 2.13, float32) that other work disturbed, for 4 images of 224x224:
#:
#: ============================================  ============  ==========  ==========  ==========  ===========
#: layer                                         16→24, 112²   32→32, 28²  64→64, 14²  96→96, 14²  160→160, 7²
#: pixels per input channel                      3136          98          12          8           1.2
#: ============================================  ============  ==========  ==========  ==========  ===========
#: as it is (all layers: 0.63 to 0.92)           0.63          0.80        0.87        0.86        0.89
#: a pass over the features in every layer       0.73          0.82        0.86        0.89        0.88
#: covariance in every layer                     0.64          0.81        0.87        0.90        1.06
#: 1x1 convolutions instead of matrix products   0.63          0.82        0.84        0.87        0.92
#: torch's backward of depthwise convolutions    0.63          0.83        0.81        0.91        0.93
#: torch's batch normalisation                   0.64          0.91        0.89        0.98        0.91
#: ============================================  ============  ==========  ==========  ==========  ===========
#:
#: Memory formats chosen by the size of a layer gained 0.03 of the simple mixture here, but on another CPU a layer took
#: 1.11 of it with them. So a layer keeps the format of its input.
COVARIANCE_PIXELS = 16

aten = torch.ops.aten


@functools.cache
def _names(kind: type) -> frozenset[str]:
    return frozenset(dir(kind))


def _is_exactly(module: Any, kind: Any, parts: Set[str] = NOTHING, parameters: Set[str] = NOTHING) -> bool:
    """Whether a module runs as its class says, and holds what is named and nothing else.

    Args:
        module (nn.Module): The module.
        kind (type): Its class. A subclass is another one; a parametrization makes one.
        parts (Set[str]): Names of its submodules. Defaults to NOTHING.
        parameters (Set[str]): Names of its parameters, each frozen or None. Defaults to NOTHING.
    """
    if (module.__class__ is not kind or module._modules.keys() != parts or module._parameters.keys() != parameters
            or module._forward_hooks or module._forward_pre_hooks or module._backward_hooks
            or module._backward_pre_hooks):
        return False
    for parameter in module._parameters.values():
        if parameter is not None and (type(parameter) is not nn.Parameter or parameter.requires_grad):
            return False
    for buffer in module._buffers.values():
        if buffer is not None:
            return False
    # What an instance has under a name of its class, such as forward, runs in place of it.
    return _names(kind).isdisjoint(module.__dict__)


def _is_convolution(conv: Any, kernel_size: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...],
                    groups: int) -> bool:
    if not _is_exactly(conv, nn.Conv2d, parameters=AFFINE):
        return False
    weight, bias = conv._parameters.values()
    return (bias is None and conv.padding_mode == 'zeros' and weight.shape[2:] == kernel_size
            and (conv.stride, conv.dilation, conv.groups) == (stride, dilation, groups)
            and conv.padding == (dilation[0] * (kernel_size[0] // 2), dilation[1] * (kernel_size[1] // 2)))


def _norm_of(part: Any, activated: bool) -> Optional[nn.Module]:
    """The normalisation of a part that is a convolution, BN on the batch's own statistics and ReLU6, else None.

    Args:
        part (nn.Module): The part of a block.
        activated (bool): Whether there is to be a ReLU6.
    """
    if not (_is_exactly(part, ConvModule, ACTIVATED if activated else LINEAR) and part.order == ('conv', 'norm', 'act')
            and part.with_norm and part.norm_name == 'bn' and part.with_activation is activated
            and not part.with_explicit_padding and part.efficient_conv_bn_eval_forward is None):
        return None
    parts = part._modules
    norm, kind = parts['bn'], type(parts['bn'])
    if kind not in NORMS or not _is_exactly(norm, kind, parameters=AFFINE):
        return None
    if (norm._parameters['weight'] is None) is not (norm._parameters['bias'] is None):
        return None
    if activated:
        activate = parts['activate']
        if not _is_exactly(activate, nn.ReLU6) or (activate.min_val, activate.max_val) != RELU6:
            return None
    return norm


def _form(block: Any) -> Optional[tuple[Any, ...]]:
    """What has to be alike in all blocks of a layer; None if a block is not exactly one that is covered."""
    if not _is_exactly(block, MBConv, PARTS):
        return None
    expand, depthwise, linear = (block._modules[name] for name in ('expand_conv', 'depthwise_conv', 'linear_conv'))
    norms: list[Any] = [_norm_of(expand, True), _norm_of(depthwise, True), _norm_of(linear, False)]
    if None in norms:
        return None
    forms = {(type(norm), norm.eps, norm._parameters['weight'] is None, norm.training,
              norm.__dict__.get('process_group')) for norm in norms}
    expand, depthwise, linear = (part._modules['conv'] for part in (expand, depthwise, linear))
    exact = (len(forms) == 1 and _is_convolution(expand, POINT, POINT, POINT, 1)
             and _is_convolution(linear, POINT, POINT, POINT, 1)
             and _is_convolution(depthwise, depthwise.kernel_size, depthwise.stride, depthwise.dilation,
                                 len(expand._parameters['weight'])))
    return (*forms, depthwise.stride, depthwise.dilation, block.with_shortcut) if exact else None


def is_covered(candidates: Sequence[nn.Module], x: Tensor) -> bool:
    """Whether :func:`fused_mixture` can stand in for these candidates, identities and blocks of MobileNetV2.

    It stands in only for what it computes. So every module must be of the expected class, have the expected
    parts and parameters and no others, and no hook. No parameter may require a gradient. The convolutions,
    ReLU6 and BN on the batch's own statistics must be as the blocks have them, and alike in all candidates.

    Args:
        candidates (Sequence[nn.Module]): The candidates of a layer.
        x (Tensor): Their input.
    """
    blocks: list[Any] = [candidate for candidate in candidates if type(candidate) is not nn.Identity]
    forms = {_form(block) for block in blocks}
    if (len(forms) != 1 or None in forms or _has_global_hook()
            or not all(_is_exactly(candidate, nn.Identity) for candidate in candidates
                       if type(candidate) is nn.Identity)):
        return False
    # Of a single pixel there are no statistics; the candidates themselves say so.
    strides = blocks[0].depthwise_conv.conv.stride
    return len(x) * math.prod(-(-size // stride) for size, stride in zip(x.shape[2:], strides)) > 1


def _has_global_hook() -> bool:
    """Whether a hook is registered for all modules of the program; torch 2.1 has no function that says so."""
    return bool(of_all_modules._global_forward_hooks or of_all_modules._global_forward_pre_hooks
                or of_all_modules._global_backward_hooks or of_all_modules._global_backward_pre_hooks)


def _has_channels_last(x: Tensor) -> bool:
    return x.stride(1) == 1


def _pointwise(x: Tensor, weight: Tensor) -> Tensor:
    """A 1x1 convolution of x (N, inputs, H, W) with ``weight`` (outputs, inputs)."""
    if x.device.type != 'cpu' or _has_channels_last(x):
        return F.conv2d(x, weight[:, :, None, None])
    # A matrix product, without the conversions to and from the convolution's own memory format.
    return torch.bmm(weight.expand(len(x), -1, -1), x.flatten(2)).view(len(x), -1, *x.shape[2:])


def _channels(vector: Tensor) -> Tensor:
    """(C,) → (C, 1, 1), to be combined with an activation."""
    return vector[:, None, None]


def _statistics_dtype(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


class _Affine(NamedTuple):
    """What follows a normalisation: times ``scale``, plus ``shift``, each (channels,)."""

    scale: Tensor
    shift: Tensor

    @property
    def divisor(self) -> Tensor:
        """``scale`` without its zeros, behind which nothing has a gradient."""
        return torch.where(self.scale == 0, torch.ones_like(self.scale), self.scale)


def _affine(norms: Sequence[Any]) -> Optional[_Affine]:
    if norms[0].weight is None:
        return None
    return _Affine(torch.cat([norm.weight for norm in norms]), torch.cat([norm.bias for norm in norms]))


class _Statistics(NamedTuple):
    """Mean and 1 / standard deviation, each (channels,)."""

    mean: Tensor
    inverse: Tensor


class _Normalization:
    """Normalisation over the batch, of one process or of a group that normalises together (SyncBN)."""

    def __init__(self, norm: Any) -> None:
        self.eps = norm.eps
        together = isinstance(norm, nn.SyncBatchNorm) and norm.training and dist.is_available() \
            and dist.is_initialized() and dist.get_world_size(norm.process_group) > 1
        self.group = (norm.process_group or dist.group.WORLD) if together else None

    def mean(self, sums: Tensor, x: Tensor) -> Tensor:
        """Sums over the pixels of x in this process → means over all pixels of the group."""
        count = x.numel() // x.shape[1]
        if self.group is None:
            return sums / count
        packed = torch.cat([sums.flatten(), sums.new_full((1, ), count)])
        dist.all_reduce(packed, group=self.group)
        return packed[:-1].view_as(sums) / packed[-1]

    def apply_(self, x: Tensor, affine: Optional[_Affine],
               known: Optional[_Statistics] = None) -> tuple[Tensor, _Statistics]:
        """x normalised, where possible in its own memory, and with which statistics."""
        kind = _statistics_dtype(x)
        fast = x.device.type != 'cpu' or (_has_channels_last(x) and x.dtype == kind)
        if known is None and self.group is None and fast:
            scale, shift = affine or (None, None)
            out, *statistics = torch.native_batch_norm(x, scale, shift, None, None, True, 0., self.eps)
            return out, _Statistics(*statistics)
        if known is None:
            # In the CPU's default memory format faster than batch_norm.
            mean = self.mean(x.sum(PIXELS, dtype=kind), x)
            x.sub_(_channels(mean))
            norms = torch.linalg.vector_norm(x.flatten(2), dim=2, dtype=kind)
            known = _Statistics(mean, (self.mean(norms.square().sum(0), x) + self.eps).rsqrt())
        else:
            x.sub_(_channels(known.mean))
        x.mul_(_channels(known.inverse if affine is None else known.inverse * affine.scale))
        return (x if affine is None else x.add_(_channels(affine.shift))), known

    def gradient_means(self, grad: Tensor, out: Tensor, affine: Optional[_Affine]) -> Tensor:
        """(2, C): the means of the gradient, and of its product with the normalised value.

        Args:
            grad (Tensor): Gradient of ``out``.
            out (Tensor): What was normalised, scaled and shifted; anything where the gradient is 0.
            affine (_Affine, optional): The scale and shift.
        """
        statistics = self._undone(out, affine)
        dots, totals = aten.native_batch_norm_backward(grad, out, torch.ones_like(statistics.mean), None, None,
                                                       *statistics, True, self.eps, [False, True, True])[1:]
        return self.mean(torch.stack([totals, dots]), grad)

    def backward(self, grad: Tensor, out: Tensor, inverse: Tensor, affine: Optional[_Affine]) -> Tensor:
        """The gradient of what :meth:`apply_` turned into ``out``, from that of ``out``."""
        if self.group is None:
            # As if out were to be normalised: its statistics are shift and scale.
            weight = inverse if affine is None else inverse * affine.scale * affine.divisor
            return aten.native_batch_norm_backward(grad, out, weight, None, None, *self._undone(out, affine), True,
                                                   self.eps, [True, False, False])[0]
        mean, dot = self.gradient_means(grad, out, affine)
        if affine is not None:
            out, dot, inverse = out - _channels(affine.shift), dot / affine.divisor, inverse * affine.scale
        return ((grad - _channels(mean) - out * _channels(dot)) * _channels(inverse)).to(grad.dtype)

    def mixture_backward(self, grad: Tensor, outputs: Tensor, dots: Tensor, weights: Tensor, inverse: Tensor,
                         affine: Optional[_Affine]) -> Tensor:
        """The gradient of what :meth:`apply_` turned into the outputs of all blocks, from that of their weighted sum.

        Args:
            grad (Tensor): Gradient of the sum, (N, C, H, W).
            outputs (Tensor): The outputs, (N, blocks, C, H, W).
            dots (Tensor): Sums over the pixels of their products with ``grad``, (blocks, C).
            weights (Tensor): One a block, (blocks,).
            inverse (Tensor): 1 / standard deviation, (blocks * C,).
            affine (_Affine, optional): The scale and shift.
        """
        sums = grad.sum(PIXELS, dtype=dots.dtype)
        means = self.mean(torch.cat([sums[None], dots]), grad)
        scale, common = inverse.view_as(dots) * weights[:, None], means[1:]
        if affine is not None:
            shift, divisor = affine.shift.view_as(dots), affine.divisor.view_as(dots)
            scale = scale * affine.scale.view_as(dots)
            common = (common - shift * means[0]) / divisor**2
        result = (grad - _channels(means[0]))[:, None] * scale[:, :, None, None]
        result.addcmul_(outputs, -(scale * common)[:, :, None, None])
        if affine is not None:
            result += (scale * common * shift)[:, :, None, None]
        return result.to(outputs.dtype)

    @staticmethod
    def _undone(out: Tensor, affine: Optional[_Affine]) -> _Statistics:
        if affine is not None:
            return _Statistics(affine.shift, 1 / affine.divisor)
        zeros = torch.zeros(out.shape[1], dtype=_statistics_dtype(out), device=out.device)
        return _Statistics(zeros, zeros + 1)


class _Branch:
    """The candidates of one kernel size, run as one block.

    Args:
        blocks (dict[int, MBConv]): The candidates, by their place among all blocks.
        norm (_Normalization): Of the layer.
        kind (torch.dtype): In which the convolutions run.
        exact (torch.dtype): Of statistics.
    """

    def __init__(self, blocks: dict[int, Any], norm: _Normalization, kind: torch.dtype, exact: torch.dtype) -> None:
        members = list(blocks.values())
        conv = members[0].depthwise_conv.conv
        self.norm, self.kind = norm, kind
        self.places = list(blocks)
        #: Weights of the expansion (hidden, C): before and after its normalisation, if that becomes part of them.
        self.expand = torch.cat([block.expand_conv.conv.weight for block in members]).flatten(1).to(exact)
        self.folded: Optional[Tensor] = None
        self.depthwise = torch.cat([block.depthwise_conv.conv.weight for block in members]).to(kind)
        self.projections = [block.linear_conv.conv.weight.flatten(1).to(kind) for block in members]
        self.affines = [_affine([block.expand_conv.norm for block in members]),
                        _affine([block.depthwise_conv.norm for block in members])]
        #: Of the expansion and of the depthwise convolution, once they are known.
        self.statistics: list[Any] = [None, None]
        self.stride, self.padding, self.dilation = conv.stride, conv.padding, conv.dilation

    def fold(self, covariance: Tensor) -> None:
        """Make the normalisation of the expansion part of its weights.

        Args:
            covariance (Tensor): Of the input channels, (C, C).
        """
        variance = ((self.expand @ covariance) * self.expand).sum(1).clamp_(min=0)
        self.expand = self.expand * (variance + self.norm.eps).rsqrt()[:, None]
        affine = self.affines[0]
        self.folded = self.expand if affine is None else self.expand * affine.scale[:, None]

    def forward(self, centred: Tensor, needed: bool) -> tuple[Tensor, Tensor]:
        """The hidden features around the depthwise convolution, for :meth:`backward`, the last not yet activated.

        Args:
            centred (Tensor): Input without its mean, (N, C, H, W).
            needed (bool): Whether the first of the results is.
        """
        affine = self.affines[0]
        if self.folded is not None:
            kept = _pointwise(centred, self.folded.to(self.kind))
            kept = hidden = (kept if affine is None else kept.add_(_channels(affine.shift))).clamp_(*RELU6)
        else:
            kept = _pointwise(centred, self.expand.to(self.kind))
            kept, self.statistics[0] = self.norm.apply_(kept, affine, self.statistics[0])
            hidden = kept.clamp(*RELU6) if needed else kept.clamp_(*RELU6)
        out = F.conv2d(hidden, self.depthwise, None, self.stride, self.padding, self.dilation, hidden.shape[1])
        del hidden
        out, self.statistics[1] = self.norm.apply_(out, self.affines[1], self.statistics[1])
        return kept, out

    def project(self, out: Tensor) -> dict[int, Tensor]:
        """The projection of every candidate, by its place."""
        parts = out.split([weight.shape[1] for weight in self.projections], 1)
        return {place: _pointwise(part.clamp(*RELU6), weight)
                for place, part, weight in zip(self.places, parts, self.projections)}

    def backward(self, projected: Tensor, centred: Tensor, kept: Tensor, out: Tensor) -> Tensor:
        """The gradient of the input.

        Args:
            projected (Tensor): Gradient of the projections of all blocks, (N, blocks, out_channels, H', W').
            centred (Tensor): As in :meth:`forward`.
            kept (Tensor): Result of :meth:`forward`.
            out (Tensor): Result of :meth:`forward`.
        """
        grad = torch.empty_like(out)
        widths = [weight.shape[1] for weight in self.projections]
        for place, weight, part, target in zip(self.places, self.projections, out.split(widths, 1),
                                               grad.split(widths, 1)):
            activated = _pointwise(projected[:, place], weight.t())
            aten.hardtanh_backward(activated, part, *RELU6, grad_input=target)
        grad = self.norm.backward(grad, out, self.statistics[1].inverse, self.affines[1])
        grad = self._convolution_backward(grad, kept)
        aten.hardtanh_backward(grad, kept, *RELU6, grad_input=grad)
        if self.folded is None:
            grad = self.norm.backward(grad, kept, self.statistics[0].inverse, self.affines[0])
            return _pointwise(grad, self.expand.to(self.kind).t())
        means, dots = self.norm.gradient_means(grad, kept, self.affines[0])
        folded = self.folded.t()
        of_statistics = _pointwise(centred, ((folded * dots) @ self.expand).to(self.kind))
        result = _pointwise(grad, folded.to(self.kind))
        return result.sub_(of_statistics).sub_(_channels(folded @ means))

    def _convolution_backward(self, grad: Tensor, hidden: Tensor) -> Tensor:
        if self.stride == (1, 1) and grad.device.type == 'cpu' and not _has_channels_last(grad):
            # A convolution, too, and in this memory format faster as such.
            return F.conv2d(grad, self.depthwise.flip(2, 3), None, 1, self.padding, self.dilation, len(self.depthwise))
        return aten.convolution_backward(grad, hidden, self.depthwise, None, self.stride, self.padding, self.dilation,
                                         False, (0, 0), len(self.depthwise), (True, False, False))[0]


class _Mixture(torch.autograd.Function):
    """x (N, C, H, W) and the weights (candidates,) → the weighted sum, (N, out_channels, …)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, candidates: Sequence[Any], recompute: bool) -> Tensor:
        device = x.device.type
        kind = _autocast_dtype(device) or x.dtype
        exact = _statistics_dtype(x)
        ctx.places = [place for place, candidate in enumerate(candidates) if isinstance(candidate, MBConv)]
        blocks = [candidates[place] for place in ctx.places]
        ctx.shortcut, ctx.recompute = blocks[0].with_shortcut, recompute
        ctx.norm = norm = _Normalization(blocks[0].linear_conv.norm)
        ctx.affine = _affine([block.linear_conv.norm for block in blocks])
        by_kernel: dict[Any, dict[int, Any]] = {}
        for place, block in enumerate(blocks):
            by_kernel.setdefault(block.depthwise_conv.conv.kernel_size, {})[place] = block
        with torch.autocast(device, enabled=False):
            ctx.branches = [_Branch(members, norm, kind, exact) for members in by_kernel.values()]
            ctx.mean = norm.mean(x.sum(PIXELS, dtype=exact), x)
            centred = x - _channels(ctx.mean)
            if x.numel() >= COVARIANCE_PIXELS * x.shape[1]**2:
                rows = centred.flatten(2)
                covariance = norm.mean(torch.bmm(rows, rows.transpose(1, 2)).sum(0), x)
                for branch in ctx.branches:
                    branch.fold(covariance)
            centred = centred.to(kind)
            projected, saved = {}, []
            needed = ctx.needs_input_grad[0] and not recompute
            for branch in ctx.branches:
                kept, out = branch.forward(centred, needed)
                projected.update(branch.project(out))
                saved += [kept, out] if needed else []
                del kept, out
            outputs = torch.cat([projected.pop(place) for place in range(len(blocks))], 1)
            outputs, (_, ctx.inverse) = norm.apply_(outputs, ctx.affine)
            ctx.save_for_backward(x, weights, outputs, *saved)
            mixing = _of_blocks(weights, ctx.places).to(kind)
            if outputs.is_contiguous():
                result = (mixing @ outputs.view(len(x), len(blocks), -1)).view(len(x), -1, *outputs.shape[2:])
            else:
                result = (outputs.unflatten(1, (len(blocks), -1)) * mixing[:, None, None, None]).sum(1)
            return torch.addcmul(result, x, weights.sum()) if ctx.shortcut else result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        x, weights, outputs, *saved = ctx.saved_tensors
        kind, exact, blocks = outputs.dtype, ctx.mean.dtype, len(ctx.places)
        with torch.autocast(x.device.type, enabled=False):
            outputs = outputs.unflatten(1, (blocks, -1))
            # The gradient of a weight is what the upstream gradient has in common with its candidate.
            dots = (outputs * grad[:, None].to(exact)).sum((0, 3, 4))
            of_outputs = dots.sum(1)
            of_candidates = list(torch.zeros_like(weights).unbind())
            for place, of_output in zip(ctx.places, of_outputs.unbind()):
                of_candidates[place] = of_output
            grad_weights = torch.stack(of_candidates)
            if ctx.shortcut:
                grad_weights += (grad * x).sum(dtype=exact)
            if not ctx.needs_input_grad[0]:
                return None, grad_weights.to(weights.dtype), None, None
            projected = ctx.norm.mixture_backward(grad, outputs, dots, _of_blocks(weights, ctx.places), ctx.inverse,
                                                  ctx.affine)
            centred = (x - _channels(ctx.mean)).to(kind)
            result = grad * weights.sum() if ctx.shortcut else torch.zeros_like(x)
            for index, branch in enumerate(ctx.branches):
                kept, out = branch.forward(centred, True) if ctx.recompute else saved[2 * index:2 * index + 2]
                result += branch.backward(projected, centred, kept, out)
                del kept, out
            return result.to(x.dtype), grad_weights.to(weights.dtype), None, None


def _autocast_dtype(device: str) -> Optional[torch.dtype]:
    """In which dtype autocast runs convolutions on a kind of device; None where it is off."""
    if hasattr(torch, 'get_autocast_dtype'):
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    # Before torch 2.4 the CPU has functions of its own.
    if device == 'cpu':
        return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None
    return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None


def _of_blocks(weights: Tensor, places: Sequence[int]) -> Tensor:
    """The weights of the blocks, without those of identities."""
    of_all = weights.unbind()
    return torch.stack([of_all[place] for place in places])


def fused_mixture(candidates: Sequence[nn.Module], x: Tensor, weights: Tensor, recompute: bool = False) -> Tensor:
    """The candidates' outputs, each times its weight, summed (paper, equation 4).

    Args:
        candidates (Sequence[nn.Module]): Candidates for which :func:`is_covered` holds.
        x (Tensor): Input, (N, in_channels, H, W).
        weights (Tensor): One weight per candidate, (candidates,).
        recompute (bool): Make the hidden features again in the backward pass to save memory. Defaults to False.

    Returns:
        Tensor: (N, out_channels, ceil(H / stride), ceil(W / stride)).
    """
    return _Mixture.apply(x, weights, candidates, recompute)
