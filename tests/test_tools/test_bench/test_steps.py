import copy

import pytest
import torch
from torch import nn

from tools.bench.settings import Settings
from tools.bench.steps import NUM_PATHS, BackboneSteps, plain_mobilenet_v2


@pytest.fixture(scope='module')
def backbones():
    return BackboneSteps(Settings.create('cpu', True))


def convolutions(*modules):
    return [inner for module in modules for inner in module.modules() if isinstance(inner, nn.Conv2d)]


def mixture_results(net, images):
    """Loss and gradient of the architecture parameters in float64."""
    net = copy.deepcopy(net).double()
    net.use_mixture()
    net.requires_grad_(False)
    net.architecture_parameters.requires_grad_(True)
    loss = sum(out.square().mean() for out in net(images.double()))
    return loss.detach(), torch.autograd.grad(loss, net.architecture_parameters)[0]


@pytest.mark.slow
def test_the_simple_supernet_is_the_supernet(backbones):
    for net in (backbones.supernet, backbones.simple):
        with torch.no_grad():
            net.architecture_parameters.normal_(generator=torch.Generator().manual_seed(1))
    loss, gradient = mixture_results(backbones.supernet, backbones.images)
    simple_loss, simple_gradient = mixture_results(backbones.simple, backbones.images)
    assert gradient.abs().max() > 1e-4
    torch.testing.assert_close(simple_loss, loss, rtol=1e-9, atol=0)
    torch.testing.assert_close(simple_gradient, gradient, rtol=1e-6, atol=1e-10)


def test_the_static_network_is_the_path(backbones):
    """With the path's weights the static network gives the path's maps."""
    net, static = copy.deepcopy(backbones.supernet), copy.deepcopy(backbones.static_nets[0])
    net.use_path(backbones.paths[0])
    layers = [layer for stage in net.search_space.searched_stages for layer in net.stage(stage)]
    path = convolutions(net.conv1, net.layer1, *(
        layer.candidates[layer.names[index]] for layer, index in zip(layers, backbones.paths[0])))
    own = convolutions(static)
    assert len(own) == len(path)
    for one, other in zip(own, path):
        one.load_state_dict(other.state_dict())
    with torch.no_grad():
        for out, expected in zip(static(backbones.images), net(backbones.images)):
            torch.testing.assert_close(out, expected)


def test_steps_leave_the_gradients_that_they_should(backbones):
    steps = backbones.steps()
    for name in ('architecture_step', 'architecture_step_with_cp', 'simple_mixture'):
        (net, ) = steps[name].models
        net.zero_grad()
        steps[name].run(0)
        assert torch.isfinite(net.architecture_parameters.grad).all()
        assert net.architecture_parameters.grad.abs().sum() > 0
        assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    for number in (0, NUM_PATHS + 1):
        steps['weight_step'].run(number)
        steps['static_path'].run(number)
        supernet, static = backbones.supernet, backbones.static_nets[number % NUM_PATHS]
        trained, own = ([parameter.numel() for parameter in net.parameters() if parameter.grad is not None]
                        for net in (supernet, static))
        assert len(own) == len(list(static.parameters()))
        assert sum(trained) == sum(own)


def test_plain_mobilenet_v2_has_no_last_convolution():
    net, name = plain_mobilenet_v2()
    assert 'MobileNetV2' in name or 'mobilenet_v2' in name
    assert sum(module.weight.numel() for module in net.modules() if isinstance(module, nn.Conv2d)) == 1811712 - 2 * sum(
        module.num_features for module in net.modules() if isinstance(module, nn.BatchNorm2d))
    assert [out.shape[1] for out in net(torch.zeros(2, 3, 64, 64))] == [24, 32, 96, 320]


def test_every_shape_of_layer_once(backbones):
    layers = backbones.layers()
    assert len(layers) == 11  # of six stages the first layer, of five the others
    assert list(layers)[:2] == ['16 → 24, stride 2, 32x32, 6 candidates', '24 → 24, stride 1, 16x16, 7 candidates']
    list(layers.values())[-1]['fast'].run(0)
    assert all(parameter.requires_grad for parameter in backbones.supernet.parameters())


@pytest.mark.parametrize(('given', 'message'), [
    (dict(device='tpu'), "device='tpu' must be cpu or cuda"),
    (dict(device='cpu', precision='fp8'), "precision='fp8' must be one of float32, fp16, bf16"),
    (dict(device='cpu', batch_size=1), 'batch_size=1 must be at least 2'),
    (dict(device='cpu', input_size=32), 'input_size=32 must be at least 64'),
])
def test_illegal_settings(given, message):
    with pytest.raises(ValueError, match=message):
        Settings.create(quick=True, **given)
