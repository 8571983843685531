"""Fitted remapping: which hidden channels a narrower block keeps, and the weights of its last convolution.

The last convolution of a block is linear in its hidden features. A narrower block keeps some of these features, and its
last convolution is solved anew, so that the block's output changes as little as possible in the least-squares sense.
"""

import math
from typing import NamedTuple, Optional

import torch
from torch import Tensor

#: Ridge of fits and eliminations, as a share of the mean variance of the features.
RIDGE = 1e-4
#: The same where there are no more samples than features.
FEW_RIDGE = .1
#: Samples for every feature from which on the ridge is :data:`RIDGE`.
_ENOUGH = 3
_TINY = 1e-12


class Fit(NamedTuple):
    """A linear map from features h to targets: weight · h + bias.

    Args:
        weight (Tensor): (T, K).
        bias (Tensor): (T,).
        mean (Tensor): Mean of weight · h, (T,).
        variance (Tensor): Variance of weight · h, (T,).
        error (Tensor): Mean squared error of each target, (T,).
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    variance: Tensor
    error: Tensor


class Normalised(NamedTuple):
    """A linear map written as a convolution without bias and the batch normalisation behind it.

    Args:
        weight (Tensor): Weight of the convolution, (T, K).
        running_mean (Tensor): (T,).
        running_var (Tensor): (T,).
        scale (Tensor): γ of the normalisation, (T,).
        shift (Tensor): β of the normalisation, (T,).
    """

    weight: Tensor
    running_mean: Tensor
    running_var: Tensor
    scale: Tensor
    shift: Tensor


def ridge_of(samples: int, features: int) -> float:
    """The ridge for a number of samples, as a share of the mean variance of the features.

    With few samples a fit follows what is chance in them: it rises to a tenth, geometrically.

    Args:
        samples (int): Number of samples.
        features (int): Number of features.
    """
    lacking = 1 - math.log(min(max(samples / features, 1.), _ENOUGH)) / math.log(_ENOUGH)
    return RIDGE * (FEW_RIDGE / RIDGE)**lacking


def absolute_ridge(covariance: Tensor, ridge: float = RIDGE) -> float:
    """The ridge in the units of a covariance.

    Args:
        covariance (Tensor): (C, C).
        ridge (float): Share of the mean variance. Defaults to 0.0001.
    """
    return ridge * float(covariance.diagonal().mean()) + _TINY


def elimination_order(covariance: Tensor, weight: Tensor, ridge: float = RIDGE, keep: int = 1) -> Tensor:
    """The order in which hidden channels are left out: backward elimination, as in the optimal brain surgeon.

    In every step the channel goes whose loss costs the least squared error, when the weights of all others make up for
    it (Hassibi and Stork 1993, with the covariance of the features as the Hessian, for all outputs together). Widths
    are nested: the channels of a narrow block are among those of a wider one.

    Args:
        covariance (Tensor): Covariance of the features, (C, C), in double precision.
        weight (Tensor): The linear map whose output is to be kept, (T, C).
        ridge (float): Share of the mean variance that is added to the diagonal. Defaults to 0.0001.
        keep (int): The elimination ends when this many channels are left. Defaults to 1.

    Returns:
        Tensor: The channels in the order in which they go, the least important first, (C - keep,).
    """
    channels = len(covariance)
    left = torch.arange(channels)
    inverse = torch.linalg.inv(covariance + absolute_ridge(covariance, ridge) * torch.eye(
        channels, dtype=covariance.dtype, device=covariance.device))
    rows = weight.to(covariance).T.clone()  # (C, T)
    order = []
    for _ in range(channels - keep):
        position = int((rows.square().sum(1) / inverse.diagonal()).argmin())
        order.append(int(left[position]))
        column = inverse[:, position] / inverse[position, position]
        others = torch.cat([torch.arange(position), torch.arange(position + 1, len(left))])
        rows = rows[others] - torch.outer(column[others], rows[position])
        inverse = inverse[others][:, others] - torch.outer(column[others], inverse[position, others])
        left = left[others]
    return torch.tensor(order, dtype=torch.long)


def kept_channels(order: Tensor, channels: int, width: int) -> Tensor:
    """The channels that a block of some width keeps, in their old order.

    Args:
        order (Tensor): What :func:`elimination_order` gives.
        channels (int): Channels before the elimination.
        width (int): Channels that are kept.

    Returns:
        Tensor: Indices, (width,).
    """
    kept = torch.ones(channels, dtype=torch.bool)
    kept[order[:channels - width]] = False
    return kept.nonzero()[:, 0]


def ridge_fit(mean: Tensor, covariance: Tensor, mean_target: Tensor, cross_covariance: Tensor,
              target_variance: Tensor, prior: Optional[Tensor] = None, ridge: float = RIDGE) -> Fit:
    """The linear map with the least squared error plus ridge · ‖weight - prior‖².

    Args:
        mean (Tensor): Mean of the features, (K,).
        covariance (Tensor): Covariance of the features, (K, K).
        mean_target (Tensor): Mean of the targets, (T,).
        cross_covariance (Tensor): Covariance of features and targets, (K, T).
        target_variance (Tensor): Variance of the targets, (T,).
        prior (Tensor, optional): Weights that the ridge pulls to, (T, K). Defaults to None: zero.
        ridge (float): Share of the mean variance of the features. Defaults to 0.0001.
    """
    strength = absolute_ridge(covariance, ridge)
    start = torch.zeros_like(cross_covariance) if prior is None else prior.to(cross_covariance).T
    system = covariance + strength * torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    change = torch.linalg.solve(system, cross_covariance - covariance @ start)
    weight = (start + change).T
    explained = weight @ covariance
    variance = (explained * weight).sum(1).clamp(min=0)
    error = (target_variance - 2 * (weight * cross_covariance.T).sum(1) + variance).clamp(min=0)
    return Fit(weight, mean_target - weight @ mean, weight @ mean, variance, error)


def prediction(mean: Tensor, covariance: Tensor, kept: Tensor, lost: Tensor, ridge: float = RIDGE
               ) -> tuple[Tensor, Tensor]:
    """Predict channels from others at the same pixel.

    Args:
        mean (Tensor): Mean of all channels, (C,).
        covariance (Tensor): Their covariance, (C, C), in double precision.
        kept (Tensor): Indices of the channels that are known, (K,).
        lost (Tensor): Which channels are predicted, (C,), True for L of them.
        ridge (float): Share of the mean variance that is added to the diagonal. Defaults to 0.0001.

    Returns:
        tuple[Tensor, Tensor]: Weight (K, L) and constant (L,).
    """
    system = covariance[kept][:, kept]
    system = system + absolute_ridge(system, ridge) * torch.eye(len(kept), dtype=system.dtype, device=system.device)
    weight = torch.linalg.solve(system, covariance[kept][:, lost])
    return weight, mean[lost] - mean[kept] @ weight


def absorbed(weight: Tensor, mean: Tensor, covariance: Tensor, kept: Tensor, ridge: float = RIDGE
             ) -> tuple[Tensor, Tensor]:
    """A convolution that reads some of its channels and makes up for the others.

    At every position of the kernel the lost channels are predicted from the kept ones at the same pixel.

    Args:
        weight (Tensor): Weight of the convolution, (T, C, k, k).
        mean (Tensor): Mean of the features that it reads, (C,).
        covariance (Tensor): Their covariance, (C, C), in double precision.
        kept (Tensor): Indices of the channels that are left, (K,).
        ridge (float): Share of the mean variance that is added to the diagonal. Defaults to 0.0001.

    Returns:
        tuple[Tensor, Tensor]: The new weight, (T, K, k, k), and the constant that it leaves out of its output, (T,).
    """
    lost = torch.ones(len(mean), dtype=torch.bool, device=mean.device)
    lost[kept] = False
    predicted, constant = prediction(mean, covariance, kept, lost, ridge)
    own, gone = weight.to(mean)[:, kept], weight.to(mean)[:, lost]
    return own + torch.einsum('tlhw,kl->tkhw', gone, predicted), torch.einsum('tlhw,l->t', gone, constant)


def normalised(fit: Fit, running_var: Tensor, eps: float) -> Normalised:
    """Write a linear map as a convolution and its BN, so that both modes of the BN compute the same.

    The running statistics are those of the data of the fit. The weights are scaled so that the variance in front of
    the normalisation is that of the seed, which leaves the size of the weights, and with it their effective learning
    rate, as it was.

    Args:
        fit (Fit): The linear map.
        running_var (Tensor): The seed's running variance, (T,).
        eps (float): ε of the normalisation.
    """
    wanted = running_var.to(fit.variance)
    usable = (fit.variance > _TINY) & (wanted > _TINY)
    factor = torch.where(usable, (wanted / fit.variance.clamp(min=_TINY)).sqrt(), torch.ones_like(wanted))
    variance = factor.square() * fit.variance
    return Normalised(fit.weight * factor[:, None], fit.mean * factor, variance, (variance + eps).sqrt() / factor,
                      fit.bias + fit.mean)


def folded(weight: Tensor, running_mean: Tensor, running_var: Tensor, scale: Tensor, shift: Tensor,
           eps: float) -> tuple[Tensor, Tensor]:
    """Fold a BN in evaluation mode into the convolution in front of it.

    Args:
        weight (Tensor): Weight of the convolution, (T, K, …).
        running_mean (Tensor): (T,).
        running_var (Tensor): (T,).
        scale (Tensor): γ of the normalisation, (T,).
        shift (Tensor): β of the normalisation, (T,).
        eps (float): ε of the normalisation.

    Returns:
        tuple[Tensor, Tensor]: Weight (T, K) and bias (T,), in double precision.
    """
    weight, mean, variance, scale, shift = (
        tensor.detach().double() for tensor in (weight, running_mean, running_var, scale, shift))
    factor = scale / (variance + eps).sqrt()
    return weight.flatten(1) * factor[:, None], shift - factor * mean
