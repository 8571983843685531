"""What blocks of all families share that give their hidden features besides, and may be recomputed."""

import torch
from mmengine.model import BaseModule
from torch import Tensor
from torch.utils.checkpoint import checkpoint


class TappedBlock(BaseModule):
    """A block whose ``_forward`` returns its output and its hidden features.

    Args:
        with_cp (bool): Recompute the block in the backward pass to save memory. Defaults to False.
    """

    def __init__(self, with_cp: bool = False) -> None:
        super().__init__()
        self.with_cp = with_cp

    def _forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) → (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        return self.forward_tapped(x)[0]

    def forward_tapped(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output, and the hidden features after their activation, (N, hidden, H, W)."""
        if self.with_cp and torch.is_grad_enabled():
            return checkpoint(self._forward, x, use_reentrant=False)
        return self._forward(x)
