"""The backbone that holds every architecture of a search space."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional, Union

import numpy as np
import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from fna_mm.architecture import Architecture
from fna_mm.backbones.base_backbone import (
    OWN_ACTIVATION,
    FNABackbone,
    build_stage,
    check_pretrained,
    checked_act_cfg,
    checked_head_channels,
    checked_norm_cfg,
    dilation_of,
)
from fna_mm.backbones.mixed_op import MixedOp
from fna_mm.checks import check_integer, check_number
from fna_mm.search_space import SearchSpace, tapped_stages

#: Standard deviation of the architecture parameters at the start (authors' release).
ARCHITECTURE_INIT_STD = 1e-3


@MODELS.register_module(force=True)
class FNASuperNet(FNABackbone):
    """The expanded seed network, in which every layer holds all its candidates (paper, section 3.2).

    It runs in one of three modes: one given path (:meth:`use_path`, for a weight step), the weighted
    mixture of all candidates (:meth:`use_mixture`, for an architecture step) or the currently best
    path (:meth:`use_best_path`, for evaluation; a new supernet is in this mode).
    ``AlternatingOptimizerHook`` switches the modes during a search.

    The architecture parameters are one flat buffer and no ``nn.Parameter``. They are in the state dict,
    but no weight optimizer, gradient clipping or DDP reducer sees them, whatever the config says.

    Args:
        layers_per_stage (Sequence[int]): Number of layers of each searched stage. Defaults to (4, 4, 4, 4, 4, 1).
        kernel_sizes (Sequence[int]): Depthwise kernels to choose from. Defaults to (3, 5, 7).
        expand_ratios (Sequence[float]): Expansion ratios to choose from, as in ``SearchSpace``. Defaults to (3, 6).
        out_indices (Sequence[int | str], optional): As in ``FNAChildNet``. With ``'expand5'``, the candidates of stage
            5's first layer all have expansion ratio 6. Defaults to None: as in ``FNAChildNet``.
        output_stride (int): As in ``FNAChildNet``. Defaults to 32.
        head_channels (int, optional): As in ``FNAChildNet``. Defaults to None: the family's.
        with_cp (bool): Recompute candidates in the backward pass to save memory. Defaults to False.
        arch_sample_num (int, optional): Number of candidates of every layer that a mixture runs, to save memory and
            time. They are drawn anew for each architecture step (:meth:`sample_candidates`). ProxylessNAS takes 2 (Cai
            et al. 2019, section 3.2); with 1 nothing is learnt. Defaults to None: all candidates, as in the paper.
        fused (bool): Run the candidates of a mixture together, in less time and memory, where that is possible
            (:meth:`MixedOp.forward_mixture`). With False they run one after another. Defaults to True.
        seed (str | dict | Architecture): The network whose stages are searched, as ``arch`` of ``FNAChildNet``.
            Defaults to 'mobilenet_v2'.
        seed_preference (float): Number that is added to the initial architecture parameters of the seed's own path, so
            that a short search stays near the seed unless it is sure. With 2, each of the seed's candidates is about as
            probable as all others of its layer together. Defaults to 0: no preference, as in the paper.
        norm_cfg (dict): Normalisation outside the candidates. Defaults to dict(type='BN').
        candidate_norm_cfg (dict): Normalisation in the candidates. Many paths share them, so by default
            they have neither affine parameters nor running statistics.
            Defaults to dict(type='BN', affine=False, track_running_stats=False).
        act_cfg (dict | str): Activation of all layers, as in ``FNAChildNet``. Defaults to 'family'.
        init_cfg (dict | list[dict], optional): Initialization; ``ParameterRemapping`` is applied
            last. Defaults to None: Kaiming for convolutions.
        dilated (str): As in ``FNAChildNet``. Defaults to 'stage'.
        pretrained (str, optional): As in ``FNAChildNet``. Defaults to None.

    Raises:
        ValueError: If an argument is illegal; the message says what is legal.

    >>> net = FNASuperNet()
    >>> len(net.best_path()), tuple(net.architecture_parameters.shape)
    (21, (141,))
    """

    architecture_parameters: Tensor

    def __init__(
            self,
            layers_per_stage: Sequence[int] = (4, 4, 4, 4, 4, 1),
            kernel_sizes: Sequence[int] = (3, 5, 7),
            expand_ratios: Sequence[float] = (3, 6),
            out_indices: Optional[Sequence[Union[int, str]]] = None,
            output_stride: int = 32,
            head_channels: Optional[int] = None,
            with_cp: bool = False,
            arch_sample_num: Optional[int] = None,
            fused: bool = True,
            seed: Union[str, Mapping[str, Any], Architecture] = 'mobilenet_v2',
            seed_preference: float = 0.,
            norm_cfg: Mapping[str, Any] = dict(type='BN'),
            candidate_norm_cfg: Mapping[str, Any] = dict(
                type='BN', affine=False, track_running_stats=False),
            act_cfg: Union[Mapping[str, Any], str] = OWN_ACTIVATION,
            init_cfg: Optional[Union[dict, list]] = None,
            dilated: str = 'stage',
            pretrained: Optional[str] = None) -> None:
        check_pretrained(pretrained)
        space = SearchSpace(layers_per_stage, kernel_sizes, expand_ratios, seed, tapped_stages(out_indices))
        least = min(len(layer.candidates) for layer in space.layers)
        if arch_sample_num is not None:
            check_integer('arch_sample_num', arch_sample_num, most=least,
                          note=', the candidates of the smallest layer, or None for all candidates')
        check_number('seed_preference', seed_preference, least=0)
        norm_cfg, act_cfg = checked_norm_cfg(norm_cfg), checked_act_cfg(act_cfg, space.seed.family)
        candidate_norm_cfg = checked_norm_cfg(candidate_norm_cfg, 'candidate_norm_cfg')
        stages: list[nn.Module] = []
        for place in space.seed.walk(output_stride):
            if place.index not in space.searched_stages:
                stages.append(build_stage(place, space.seed.family, norm_cfg, act_cfg, with_cp, dilated))
                continue
            stages.append(nn.ModuleList(
                MixedOp(layer, place.layer(layer.index).stride, dilation_of(place.layer(layer.index), dilated),
                        candidate_norm_cfg, act_cfg, with_cp, space.seed.family, fused)
                for layer in space.layers if layer.stage == place.index))
        super().__init__(space.seed, stages, out_indices, checked_head_channels(head_channels, space.seed.family),
                         -1, False, norm_cfg, act_cfg, init_cfg)
        self.search_space = space
        self.output_stride = output_stride
        self.dilated = dilated
        self.arch_sample_num = arch_sample_num
        self.register_buffer('architecture_parameters',
                             ARCHITECTURE_INIT_STD * torch.randn(space.num_candidates))
        self.no_weights = ('architecture_parameters', )
        self._sizes = [len(layer.candidates) for layer in space.layers]
        if seed_preference:
            try:
                seed_path = space.choice(space.seed)
            except ValueError as error:
                raise ValueError(f'seed_preference={seed_preference}, but the seed is not in the search space: '
                                 f'{error}') from error
            for alpha, own in zip(self.architecture_parameters.split(self._sizes), seed_path):
                alpha[own] += seed_preference
        self._first_layer = {stage: next(i for i, layer in enumerate(space.layers) if layer.stage == stage)
                             for stage in space.searched_stages}
        self._mode = 'best_path'
        self._most_probable: Optional[Callable[[list[list[float]]], Optional[tuple[int, ...]]]] = None
        self._solved: Optional[tuple[Tensor, tuple[int, ...]]] = None
        self._path: tuple[int, ...] = ()
        self._weights: tuple[Tensor, ...] = ()
        self._sampled: Optional[tuple[tuple[int, ...], ...]] = None

    @property
    def mode(self) -> str:
        """``'path'``, ``'mixture'`` or ``'best_path'``."""
        return self._mode

    def use_path(self, choice: Sequence[int]) -> None:
        """Run the given candidate of every layer from now on.

        Args:
            choice (Sequence[int]): Index of a candidate for each layer.

        Raises:
            ValueError: If the choice does not fit the search space.
        """
        self._path = self.search_space.check_choice(choice)
        self._mode = 'path'

    def use_mixture(self, sampled: Optional[Sequence[Sequence[int]]] = None) -> None:
        """Run the weighted mixture of candidates from now on (paper, equation 4).

        Args:
            sampled (Sequence[Sequence[int]], optional): Indices of the candidates to mix in each layer. They are
                different, and equally many in every layer. Defaults to None: all candidates.

        Raises:
            ValueError: If ``sampled`` does not fit the search space.
        """
        if sampled is not None:
            sampled = tuple(tuple(int(index) for index in indices) for indices in sampled)
            wrong = [indices for indices in sampled
                     if not indices or len(indices) != len(sampled[0]) or len(set(indices)) != len(indices)]
            if wrong:
                raise ValueError('every layer needs equally many candidates to mix, at least one, all different; '
                                 f'not {wrong[0]} beside {sampled[0]}')
            for choice in zip(*sampled):
                self.search_space.check_choice(choice)
        self._sampled = sampled
        self._mode = 'mixture'

    def use_best_path(self) -> None:
        """Run the most probable candidate of every layer from now on."""
        self._mode = 'best_path'

    def candidate_parameters(self) -> list[nn.Parameter]:
        """The weights of all candidates; a weight step uses those of one path."""
        return [parameter for stage in self.search_space.searched_stages for parameter in
                self.stage(stage).parameters()]

    def probabilities(self) -> tuple[Tensor, ...]:
        """The softmax of the architecture parameters of every layer, each of shape (candidates,)."""
        return tuple(alpha.softmax(0) for alpha in self.architecture_parameters.split(self._sizes))

    def log_probabilities(self) -> list[list[float]]:
        """The logarithms of the probabilities of every layer's candidates, in double precision."""
        alphas = self.architecture_parameters.detach().cpu().double().split(self._sizes)
        return [alpha.log_softmax(0).tolist() for alpha in alphas]

    def mixture_probabilities(self) -> tuple[Tensor, ...]:
        """The weights of the candidates in the mixture of every layer, each of shape (candidates,).

        In a mixture of all candidates they are :meth:`probabilities`. In a mixture of sampled candidates they are the
        softmax over the sampled ones, and 0 for the others, which get no gradient. The expected cost of an architecture
        step is computed from these weights.
        """
        if self._sampled is None:
            return self.probabilities()
        index, weights = self._sampled_weights(self._sampled)
        alphas = self.architecture_parameters
        return torch.zeros_like(alphas).index_copy(0, index, weights.flatten()).split(self._sizes)

    def _sampled_weights(self, sampled: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Indices of the sampled candidates in the architecture parameters, and their softmax, (layers, sampled)."""
        starts = np.cumsum([0, *self._sizes[:-1]])
        index = torch.from_numpy((np.array(sampled) + starts[:, None]).ravel()).to(self.architecture_parameters.device)
        return index, self.architecture_parameters[index].view(len(sampled), -1).softmax(1)

    def limit_best_path(self, most_probable: Callable[[list[list[float]]], Optional[tuple[int, ...]]]) -> None:
        """Let :meth:`best_path` be the most probable path that is allowed, from now on.

        Args:
            most_probable (Callable): Logarithms of the probabilities of every layer's candidates → that path.
        """
        self._most_probable, self._solved = most_probable, None

    def best_path(self) -> tuple[int, ...]:
        """Index of a candidate for every layer: the most probable path, of those that are allowed."""
        parameters = self.architecture_parameters.detach().cpu()
        if self._most_probable is None:
            return tuple(int(alpha.argmax()) for alpha in parameters.split(self._sizes))
        # Evaluation asks for every image, and a knapsack takes milliseconds.
        if self._solved is None or not torch.equal(self._solved[0], parameters):
            path = self._most_probable(self.log_probabilities())
            assert path is not None  # that there is one was checked before the search
            self._solved = parameters.clone(), path
        return self._solved[1]

    def best_architecture(self) -> Architecture:
        """The architecture of the best path."""
        return self.search_space.architecture(self.best_path())

    def sample_path(self, rng: np.random.Generator, uniform: bool = False) -> tuple[int, ...]:
        """Draw one candidate for every layer.

        Args:
            rng (np.random.Generator): Source of random numbers; one is drawn for each layer.
            uniform (bool): Draw all candidates with equal probability instead of the softmax. Defaults to False.
        """
        alphas = self.architecture_parameters.detach().cpu().double().split(self._sizes)
        path = []
        for alpha, draw in zip(alphas, rng.random(len(alphas))):
            weights = torch.zeros_like(alpha) if uniform else alpha
            cumulative = weights.softmax(0).cumsum(0)
            # The last cumulative probability may be below 1 by rounding.
            path.append(min(int((cumulative <= draw).sum()), len(alpha) - 1))
        return tuple(path)

    def sample_candidates(self, rng: np.random.Generator) -> Optional[tuple[tuple[int, ...], ...]]:
        """Draw ``arch_sample_num`` different candidates of every layer from the softmax, for :meth:`use_mixture`.

        The result depends on the architecture parameters and ``rng`` alone, so it is the same on all ranks and after a
        restart. Without ``arch_sample_num`` nothing is drawn, and the result is None, which means all candidates.

        Args:
            rng (np.random.Generator): Source of random numbers; one is drawn for each candidate.
        """
        if self.arch_sample_num is None:
            return None
        alphas = self.architecture_parameters.detach().cpu().double().numpy()
        # The candidates with the largest sums of logit and Gumbel noise are a sample without replacement (Kool et al.
        # 2019).
        keys = alphas + rng.gumbel(size=len(alphas))
        return tuple(tuple(sorted(np.argsort(-layer, kind='stable')[:self.arch_sample_num].tolist()))
                     for layer in np.split(keys, np.cumsum(self._sizes)[:-1]))

    def run_stage(self, index: int, x: Tensor) -> Tensor:
        """Run one stage in the current mode on x of shape (N, C, H, W)."""
        if index not in self._first_layer:
            return super().run_stage(index, x)
        return self._run_layers(index, 0, x)

    def run_tapped_stage(self, index: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Run one stage in the current mode; return its output and the expanded features of its first layer."""
        layers: Any = self.stage(index)
        position = self._first_layer[index]
        if self._mode == 'mixture':
            x, expanded = layers[0].forward_mixture_tapped(x, self._weights[position], self._indices(position))
        else:
            x, expanded = layers[0].forward_path_tapped(x, self._path[position])
        return self._run_layers(index, 1, x), expanded

    def _indices(self, position: int) -> Optional[tuple[int, ...]]:
        return None if self._sampled is None else self._sampled[position]

    def _run_layers(self, index: int, begin: int, x: Tensor) -> Tensor:
        layers: Any = self.stage(index)
        for position, layer in enumerate(list(layers)[begin:], self._first_layer[index] + begin):
            if self._mode == 'mixture':
                x = layer.forward_mixture(x, self._weights[position], self._indices(position))
            else:
                x = layer.forward_path(x, self._path[position])
        return x

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (N, 3, H, W) → the feature maps of ``out_indices``, in the current mode."""
        if self._mode == 'mixture':
            self._weights = self.probabilities() if self._sampled is None else \
                self._sampled_weights(self._sampled)[1].unbind()
        elif self._mode == 'best_path':
            self._path = self.best_path()
        try:
            return super().forward(x)
        finally:
            self._weights = ()  # they keep the graph of this step in memory


def find_supernet(model: nn.Module) -> Any:
    """Find the one supernet in a model.

    Raises:
        ValueError: If there is no supernet, or more than one.
    """
    found = [module for module in model.modules() if isinstance(module, FNASuperNet)]
    if len(found) != 1:
        raise ValueError(f'the search needs exactly one FNASuperNet in the model, but {type(model).__name__} has '
                         f'{len(found)}: set model.backbone.type to FNASuperNet')
    return found[0]
