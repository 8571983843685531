"""What several test files share: random seeds in every layout, the real one, an independent counter."""

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from mmengine.runner import set_random_seed
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import nn
from toy_search import TOY

from fna_mm import Architecture, FNAChildNet

ROOT = Path(__file__).resolve().parents[1]
REAL_SEED = ROOT / '../shared/seeds/mobilenet_v2_imagenet_torchvision.pth'

settings.register_profile('fna_mm', deadline=None, derandomize=True, database=None, max_examples=40)
settings.load_profile('fna_mm')


def _randomize(module, seed=0):
    """Give every parameter and BN statistic a value of its own, of a size that keeps ReLU6 busy."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor, low, high):
        tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))

    with torch.no_grad():
        for child in module.modules():
            if isinstance(child, nn.Conv2d):
                fan_in = child.weight[0].numel()
                child.weight.copy_(torch.randn(child.weight.shape, generator=generator) * fan_in**-.5)
            elif isinstance(child, _BatchNorm):
                if child.affine:
                    uniform(child.weight, .5, 1.5)
                    uniform(child.bias, -.2, .6)
                if child.track_running_stats:
                    uniform(child.running_mean, -.3, .3)
                    uniform(child.running_var, .5, 1.5)
                    child.num_batches_tracked.fill_(7)
    return module


def _in_layout(state, layout):
    """The state dict of a child (mmdet's layout) as another code base would have written it."""
    if layout == 'mmdet':
        return OrderedDict(state)
    blocks = list(OrderedDict.fromkeys(tuple(key.split('.')[:2]) for key in state if key.startswith('layer')))
    expanded = {block for block in blocks if '.'.join(block) + '.expand_conv.conv.weight' in state}
    result = OrderedDict()
    for key, value in state.items():
        words = key.split('.')
        if words[0] in ('conv1', 'conv2'):
            if layout == 'torchvision':
                index = 0 if words[0] == 'conv1' else len(blocks) + 1
                key = f'features.{index}.{("conv", "bn").index(words[1])}.{words[2]}'
            elif layout == 'timm':
                names = dict(conv=('conv_stem', 'conv_head'), bn=('bn1', 'bn2'))
                key = f'{names[words[1]][words[0] == "conv2"]}.{words[2]}'
        else:
            stage, layer, part, kind, tensor = words
            place = ('expand_conv', 'depthwise_conv', 'linear_conv').index(part)
            place -= (stage, layer) not in expanded
            if layout == 'timm':
                convs = ('conv_pw', 'conv_dw', 'conv_pwl') if (stage, layer) in expanded else ('conv_dw', 'conv_pw')
                name = convs[place] if kind == 'conv' else f'bn{place + 1}'
                key = f'blocks.{int(stage[5:]) - 1}.{layer}.{name}.{tensor}'
            elif layout == 'mmseg':
                key = f'{stage}.{layer}.conv.{place}.{kind}.{tensor}'
            else:
                number = ('conv', 'bn').index(kind)
                slot = str(place + number) if part == 'linear_conv' else f'{place}.{number}'
                key = f'features.{blocks.index((stage, layer)) + 1}.conv.{slot}.{tensor}'
        result[key] = value
    if layout in ('torchvision', 'timm'):
        classifier = 'classifier.1' if layout == 'torchvision' else 'classifier'
        result[f'{classifier}.weight'] = torch.zeros(5, 1280)
        result[f'{classifier}.bias'] = torch.zeros(5)
    return result


def _count_by_hooks(model, run):
    """Multiply-adds of convolutions and linear layers, biases included, from what really flows."""
    total, handles = [0], []

    def hook(module, inputs, output):
        weight = module.weight
        per_output = weight[0].numel()  # (in / groups) · k · k, or the inputs of a linear layer
        total[0] += output.numel() * (per_output + (module.bias is not None))

    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            handles.append(module.register_forward_hook(hook))
    with torch.no_grad():
        run()
    for handle in handles:
        handle.remove()
    return total[0]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Before a test's fixtures: its random numbers do not depend on which tests ran before it, in which process."""
    set_random_seed(0)


@pytest.fixture(scope='session', autouse=True)
def _configs_without_layout():
    """mm has yapf lay out a run's config for its log and every checkpoint: nine tenths of a toy search's time."""
    with pytest.MonkeyPatch.context() as patch:
        for place in ('mmengine.config.config.FormatCode', 'yapf.yapflib.yapf_api.FormatCode'):  # imported late by some
            patch.setattr(place, lambda text, **options: (text, True), raising=False)
        yield


@pytest.fixture(scope='session', autouse=True)
def _one_thread():
    """Tensors here are so small that threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope='session')
def randomize():
    """``randomize(module, seed)`` fills weights and BN statistics with random numbers, and returns it."""
    return _randomize


@pytest.fixture(scope='session')
def in_layout():
    """``in_layout(state, 'torchvision' | 'timm' | 'mmseg' | 'mmdet')`` renames the keys of a child's state dict."""
    return _in_layout


@pytest.fixture(scope='session')
def count_by_hooks():
    """``count_by_hooks(model, run)``: multiply-adds of everything that ``run()`` sends through ``model``."""
    return _count_by_hooks


@pytest.fixture(scope='session')
def seed_state():
    """A random MobileNetV2 with its last convolution, mmdet's layout. Do not change it."""
    return _randomize(FNAChildNet('mobilenet_v2', out_indices=(7, )), seed=1).state_dict()


@pytest.fixture(scope='session')
def seed_layouts(seed_state):
    """The same MobileNetV2 in every layout, by the layout's name."""
    return {layout: _in_layout(seed_state, layout) for layout in ('torchvision', 'timm', 'mmdet', 'mmseg')}


@pytest.fixture(scope='session')
def toy():
    """The toy architecture, as a value."""
    return Architecture.parse(TOY)


@pytest.fixture(scope='session')
def toy_seed(toy):
    """A random checkpoint of the toy architecture with a last convolution, mmdet's layout."""
    return _randomize(FNAChildNet(toy, (3, ), toy.total_stride, head_channels=10), seed=2).state_dict()


@pytest.fixture(scope='session')
def toy_checkpoint(toy_seed, tmp_path_factory):
    """The path of the toy seed, saved."""
    path = tmp_path_factory.mktemp('seed') / 'toy.pth'
    torch.save(toy_seed, path)
    return str(path)


@pytest.fixture(scope='session')
def real_seed():
    """The path of the ImageNet seed; skips the test where there is none."""
    if not REAL_SEED.is_file():
        pytest.skip('the ImageNet seed ../shared/seeds/mobilenet_v2_imagenet_torchvision.pth is not here')
    return str(REAL_SEED)


@pytest.fixture(scope='session')
def ssdlite(tmp_path_factory):
    """The paths of config and checkpoint of a small SSDLite that was trained for a moment."""
    pytest.importorskip('mmdet')
    from toy_ssdlite import train_ssdlite
    return train_ssdlite(tmp_path_factory.mktemp('ssdlite'))
