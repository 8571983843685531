"""Streaming statistics of features: means, covariances, and covariances with the features that are to be predicted."""

from typing import Optional

import torch
from mmengine.dist import all_reduce
from torch import Tensor

#: Hidden features of MBConv blocks are so correlated that their covariance has condition numbers beyond 1e7. In float32
#: its small directions, which the fit divides by, would be noise.
DTYPE = torch.float64


def as_rows(features: Tensor) -> Tensor:
    """Features (N, C, H, W) → one row for each pixel, (N · H · W, C), in double precision."""
    return features.detach().movedim(1, -1).reshape(-1, features.shape[1]).to(DTYPE)


class Moments:
    """Sums over all pixels of all images: of features h, of targets t, of h hᵀ and of h tᵀ.

    The memory does not depend on the number of images. Sums of several processes are added by :meth:`merge`.

    Args:
        features (int): Number of channels of the features, C.
        targets (int): Number of channels of the targets, T. Defaults to 0.
        device (torch.device, optional): Where the sums are kept. Defaults to None: the CPU.
    """

    def __init__(self, features: int, targets: int = 0, device: Optional[torch.device] = None) -> None:
        self.count = 0
        self.sum_features = torch.zeros(features, dtype=DTYPE, device=device)
        self.sum_targets = torch.zeros(targets, dtype=DTYPE, device=device)
        self.gram = torch.zeros(features, features, dtype=DTYPE, device=device)
        self.cross = torch.zeros(features, targets, dtype=DTYPE, device=device)
        self.square_targets = torch.zeros(targets, dtype=DTYPE, device=device)

    def add(self, features: Tensor, targets: Optional[Tensor] = None) -> None:
        """Add the pixels of a batch.

        Args:
            features (Tensor): (N, C, H, W).
            targets (Tensor, optional): (N, T, H, W). Defaults to None: there are none.
        """
        rows = as_rows(features)
        self.count += len(rows)
        self.sum_features += rows.sum(0)
        self.gram.addmm_(rows.T, rows)
        if targets is not None:
            wanted = as_rows(targets)
            self.sum_targets += wanted.sum(0)
            self.cross.addmm_(rows.T, wanted)
            self.square_targets += wanted.square().sum(0)

    def tensors(self) -> tuple[Tensor, ...]:
        """The sums, in a fixed order; they are not copied."""
        return self.sum_features, self.sum_targets, self.gram, self.cross, self.square_targets

    def state(self) -> dict:
        """The sums as plain values for a file."""
        return dict(count=self.count, tensors=[tensor.cpu() for tensor in self.tensors()])

    def load(self, state: dict, add: bool = False) -> None:
        """Take over what :meth:`state` gave.

        Args:
            state (dict): The saved sums.
            add (bool): Add them to the sums that are there. Defaults to False: replace these.
        """
        self.count = state['count'] + (self.count if add else 0)
        for own, saved in zip(self.tensors(), state['tensors']):
            own.copy_(own + saved.to(own) if add else saved)

    def merge(self) -> None:
        """Add up the sums of all processes; afterwards all hold the same.

        Sums of several processes are added in another order than those of one: they agree to a relative 1e-12.
        """
        count = torch.tensor(float(self.count), dtype=DTYPE, device=self.gram.device)
        for tensor in (count, *self.tensors()):
            all_reduce(tensor)
        self.count = int(count)

    @property
    def mean(self) -> Tensor:
        """Mean of the features, (C,)."""
        return self.sum_features / self.count

    @property
    def covariance(self) -> Tensor:
        """Covariance of the features, (C, C)."""
        mean = self.mean
        return self.gram / self.count - torch.outer(mean, mean)

    @property
    def mean_target(self) -> Tensor:
        """Mean of the targets, (T,)."""
        return self.sum_targets / self.count

    @property
    def cross_covariance(self) -> Tensor:
        """Covariance of features and targets, (C, T)."""
        return self.cross / self.count - torch.outer(self.mean, self.mean_target)

    @property
    def target_variance(self) -> Tensor:
        """Variance of the targets, (T,)."""
        return self.square_targets / self.count - self.mean_target.square()
