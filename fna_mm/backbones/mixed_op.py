"""One layer of the supernet: all its candidates."""

from collections.abc import Sequence
from typing import Any, Optional

from mmengine.model import BaseModule
from torch import Tensor, nn

from fna_mm import families
from fna_mm.backbones.fused_mixture import fused_mixture, is_covered
from fna_mm.families import BlockOptions
from fna_mm.search_space import SearchableLayer, candidate_name


class MixedOp(BaseModule):
    """The candidates of a layer, of which one runs, or all as a weighted sum (paper, equation 4).

    Args:
        layer (SearchableLayer): The layer's channels and candidates.
        stride (int): Stride of every candidate. Defaults to 1.
        dilation (int): Dilation of every candidate. Defaults to 1.
        norm_cfg (dict, optional): Normalisation in the candidates.
        act_cfg (dict, optional): Activation in the candidates.
        with_cp (bool): Recompute candidates in the backward pass. Defaults to False.
        family (str): The family of the candidates. Defaults to 'mobilenet_v2'.
        fused (bool): Run the candidates of a mixture together where that is possible. Defaults to True.
    """

    def __init__(self,
                 layer: SearchableLayer,
                 stride: int = 1,
                 dilation: int = 1,
                 norm_cfg: Optional[dict] = None,
                 act_cfg: Optional[dict] = None,
                 with_cp: bool = False,
                 family: str = families.DEFAULT,
                 fused: bool = True) -> None:
        super().__init__()
        self.fused = fused
        self.with_cp = with_cp
        self.names = tuple(candidate_name(spec) for spec in layer.candidates)
        options = BlockOptions(layer.in_channels, layer.out_channels, stride, dilation, norm_cfg, act_cfg, with_cp)
        build = families.family(family).build_block
        self.candidates = nn.ModuleDict({
            name: nn.Identity() if spec is None else build(spec, options)
            for name, spec in zip(self.names, layer.candidates)
        })

    def forward_path(self, x: Tensor, index: int) -> Tensor:
        """Run candidate ``index`` alone on x of shape (N, in_channels, H, W)."""
        return self.candidates[self.names[index]](x)

    def forward_mixture(self, x: Tensor, weights: Tensor, indices: Optional[Sequence[int]] = None) -> Tensor:
        """Sum candidates, each times its weight.

        If none of their weights requires a gradient, as in an architecture step, they run together
        (:mod:`fna_mm.backbones.fused_mixture`). They run one after another if ``fused`` is False, or if anything in
        them is not what that module computes: a hook, another layer, a changed part.

        Args:
            x (Tensor): Input, (N, in_channels, H, W).
            weights (Tensor): One weight per summed candidate, (candidates,).
            indices (Sequence[int], optional): The candidates to sum. Defaults to None: all.
        """
        candidates = self._chosen(indices)
        if self.fused and is_covered(candidates, x):
            return fused_mixture(candidates, x, weights, self.with_cp)
        outputs: Any = (weight * candidate(x) for candidate, weight in zip(candidates, weights.unbind()))
        return sum(outputs)

    def _chosen(self, indices: Optional[Sequence[int]]) -> list[Any]:
        names = self.names if indices is None else [self.names[index] for index in indices]
        return [self.candidates[name] for name in names]

    def forward_path_tapped(self, x: Tensor, index: int) -> tuple[Tensor, Tensor]:
        """Candidate ``index`` alone: its output and its expanded features, (N, hidden, H, W)."""
        candidate: Any = self.candidates[self.names[index]]
        return candidate.forward_tapped(x)

    def forward_mixture_tapped(self, x: Tensor, weights: Tensor,
                               indices: Optional[Sequence[int]] = None) -> tuple[Tensor, Tensor]:
        """The weighted sums of candidates' outputs and of their expanded features.

        Args:
            x (Tensor): Input, (N, in_channels, H, W).
            weights (Tensor): One weight per summed candidate, (candidates,). No candidate is an identity,
                and all have the same expansion ratio.
            indices (Sequence[int], optional): The candidates to sum. Defaults to None: all.
        """
        pairs = [candidate.forward_tapped(x) for candidate in self._chosen(indices)]
        outputs, expanded = (sum(weight * tensor for weight, tensor in zip(weights.unbind(), tensors))
                             for tensors in zip(*pairs))
        return outputs, expanded
