"""Steps of backbones: plain, static, the supernet's two kinds, and the straightforward mixture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from fna_mm.architecture import Architecture
from fna_mm.backbones import FNAChildNet, FNASuperNet
from fna_mm.hooks.alternating_optimizer_hook import only_architecture_trains
from tools.bench.settings import Settings
from tools.bench.simple_mixture import simple_mixture

#: As in a supernet's candidates.
CANDIDATE_NORM = dict(type='BN', affine=False, track_running_stats=False)
#: Paths that weight steps take in turn.
NUM_PATHS = 5
#: A network whose candidates run one after another, and its search space.
OTHER_FAMILY = 'resnet18'
_OTHER_SPACE: dict[str, Any] = dict(layers_per_stage=(2, 2, 2, 2), kernel_sizes=(3, 5), expand_ratios=(.5, 1))
#: Published children, and the output stride of their task.
CHILDREN = dict(fna_retinanet=32, fna_deeplabv3=16)


def plain_mobilenet_v2() -> tuple[nn.Module, str]:
    """MobileNetV2 and where it is from: mmdet's if mmdet is installed, else ours, which equals it.

    mmdet's would run its last convolution (320 → 1280) even where nobody asks for its output. It is
    taken out, because neither mmseg's nor ours has it.
    """
    try:
        from mmdet.models.backbones import MobileNetV2
    except ImportError:
        return FNAChildNet('mobilenet_v2'), "FNAChildNet('mobilenet_v2'): mmdet is not installed"
    net = MobileNetV2(out_indices=(1, 2, 4, 6))
    net.layers.remove('conv2')
    del net.conv2
    return net, "mmdet's MobileNetV2 without its last convolution"


def static_network(architecture: Architecture) -> FNAChildNet:
    """A child that does the same work as a supernet's path: normalised like it, in the candidates and before them.

    Args:
        architecture (Architecture): The path's.
    """
    net, ordinary = FNAChildNet(architecture, norm_cfg=CANDIDATE_NORM), FNAChildNet(architecture)
    net.conv1, net.layer1 = ordinary.conv1, ordinary.layer1
    return net


@dataclass(frozen=True)
class Step:
    """Something to be timed.

    Args:
        run (Callable): Runs it; takes the number of the round.
        models (tuple[nn.Module, ...]): What it runs on; it uses one of them at a time.
    """

    run: Callable[[int], Any]
    models: tuple[nn.Module, ...]


def prepared(net: Any, settings: Settings) -> Any:
    """Initialize a network and bring it to the device, in training mode."""
    net.init_weights()
    net.to(settings.device, memory_format=settings.memory_format).train()  # mmdet's train() returns nothing
    return net


class BackboneSteps:
    """Steps of backbones on the same images, the gradients of their four outputs given.

    A weight step takes one of a few random paths in turn, the static network is the child of the same
    path. An architecture step is made as ``AlternatingOptimizerHook`` makes it, its switching included.

    Args:
        settings (Settings): Of the benchmark.
    """

    def __init__(self, settings: Settings) -> None:
        init_default_scope('mmengine')
        torch.manual_seed(0)
        self.settings = settings
        size, device = settings.input_size, settings.device
        self.images = torch.randn(settings.batch_size, 3, size, size, device=device).to(
            memory_format=settings.memory_format)
        plain, self.plain_name = plain_mobilenet_v2()
        self.plain = prepared(plain, settings)
        self.supernet = prepared(FNASuperNet(), settings)
        self.recomputing = prepared(FNASuperNet(with_cp=True), settings)
        self.recomputing.load_state_dict(self.supernet.state_dict())
        self.simple = prepared(FNASuperNet(fused=False), settings)
        self.simple.load_state_dict(self.supernet.state_dict())
        rng = np.random.default_rng(0)
        self.paths = [self.supernet.sample_path(rng, uniform=True) for _ in range(NUM_PATHS)]
        self.architectures = [self.supernet.search_space.architecture(path) for path in self.paths]
        self.static_nets = [prepared(static_network(architecture), settings) for architecture in self.architectures]
        with torch.no_grad():
            self._gradients = [torch.randn_like(out) for out in self.plain(self.images)]

    def _forward_backward(self, net: Any) -> None:
        with self.settings.autocast():
            outs = net(self.images)
        torch.autograd.backward(outs, [gradient.to(out.dtype) for gradient, out in zip(self._gradients, outs)])

    def weight_step(self, net: nn.Module) -> None:
        """Forward and backward through the weights of a network."""
        net.zero_grad()
        self._forward_backward(net)

    def path_step(self, number: int) -> None:
        """A weight step of the supernet on one of the paths."""
        self.supernet.use_path(self.paths[number % NUM_PATHS])
        self.weight_step(self.supernet)

    def architecture_step(self, net: FNASuperNet) -> None:
        """Forward and backward through the mixture, for the architecture parameters alone."""
        net.architecture_parameters.grad = None
        with only_architecture_trains(net, net):
            self._forward_backward(net)

    def steps(self) -> dict[str, Step]:
        """All of them, by name."""
        return dict(
            plain=Step(lambda number: self.weight_step(self.plain), (self.plain, )),
            static_path=Step(
                lambda number: self.weight_step(self.static_nets[number % NUM_PATHS]), tuple(self.static_nets)),
            weight_step=Step(self.path_step, (self.supernet, )),
            architecture_step=Step(lambda number: self.architecture_step(self.supernet), (self.supernet, )),
            architecture_step_with_cp=Step(
                lambda number: self.architecture_step(self.recomputing), (self.recomputing, )),
            simple_mixture=Step(lambda number: self.architecture_step(self.simple), (self.simple, )))

    def layers(self) -> dict[str, dict[str, Step]]:
        """Every shape of layer alone, its mixture and the straightforward one, by the layer's description."""
        space, settings = self.supernet.search_space, self.settings
        found: dict[str, dict[str, Step]] = {}
        places = space.seed.walk(input_shape=(settings.input_size, ) * 2)
        for searched in space.layers:
            place = places[searched.stage].layer(searched.index)
            size, stride = place.input_size or (0, 0), place.stride
            name = (f'{searched.in_channels} → {searched.out_channels}, stride {stride}, {size[0]}x{size[1]}, '
                    f'{len(searched.candidates)} candidates')
            if name not in found:
                layers: Any = self.supernet.stage(searched.stage)
                found[name] = self._layer_steps(layers[searched.index], searched.in_channels, size,
                                                len(searched.candidates))
        return found

    def _layer_steps(self, layer: Any, channels: int, size: Sequence[int], candidates: int) -> dict[str, Step]:
        settings = self.settings
        x = torch.randn(settings.batch_size, channels, *size, device=settings.device, dtype=settings.dtype)
        x = x.to(memory_format=settings.memory_format).requires_grad_()
        weights = torch.full((candidates, ), 1 / candidates, device=settings.device, requires_grad=True)

        def step(mixture: Callable[[Tensor, Tensor], Tensor]) -> None:
            layer.requires_grad_(False)
            with settings.autocast():
                out = mixture(x, weights)
            torch.autograd.grad(out, (x, weights), torch.ones_like(out))
            layer.requires_grad_(True)

        return dict(fast=Step(lambda number: step(layer.forward_mixture), (layer, )),
                    simple=Step(lambda number: step(lambda x, w: simple_mixture(layer, x, w)), (layer, )))


def other_family_steps(settings: Settings) -> dict[str, Step]:
    """A step of a ResNet-18 and the architecture step of its supernet, which has no fused mixture.

    Args:
        settings (Settings): Of the benchmark.
    """
    images = torch.randn(settings.batch_size, 3, settings.input_size, settings.input_size, device=settings.device)
    images = images.to(memory_format=settings.memory_format)
    plain = prepared(FNAChildNet(OTHER_FAMILY), settings)
    supernet = prepared(FNASuperNet(seed=OTHER_FAMILY, **_OTHER_SPACE), settings)

    def backward(net: nn.Module) -> None:
        with settings.autocast():
            outs = net(images)
        torch.autograd.backward(outs, [torch.ones_like(out) for out in outs])

    def weight_step(number: int) -> None:
        plain.zero_grad()
        backward(plain)

    def architecture_step(number: int) -> None:
        supernet.architecture_parameters.grad = None
        with only_architecture_trains(supernet, supernet):
            backward(supernet)

    return dict(plain=Step(weight_step, (plain, )), architecture_step=Step(architecture_step, (supernet, )))


def inference_steps(settings: Settings) -> dict[str, Step]:
    """A forward pass of each published child, and of MobileNetV2 with the same output stride.

    Args:
        settings (Settings): Of the benchmark.
    """
    images = torch.randn(settings.batch_size, 3, settings.input_size, settings.input_size, device=settings.device)
    images = images.to(memory_format=settings.memory_format)
    nets: dict[str, Any] = {}
    for name, output_stride in CHILDREN.items():
        baseline: Any = FNAChildNet('mobilenet_v2', output_stride=output_stride)
        if output_stride == Architecture.create('mobilenet_v2').total_stride:
            baseline, _ = plain_mobilenet_v2()
        nets[name] = FNAChildNet(name, output_stride=output_stride)
        nets[f'mobilenet_v2_for_{name}'] = baseline

    def step(net: nn.Module) -> Step:
        net.eval()

        def run(number: int) -> None:
            with torch.inference_mode(), settings.autocast():
                net(images)
        return Step(run, (net, ))

    return {name: step(prepared(net, settings)) for name, net in nets.items()}
