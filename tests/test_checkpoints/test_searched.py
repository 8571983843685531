import pickle

import pytest
import torch
from toy_search import load, search_config, train

from fna_mm import Architecture, FNASuperNet, SearchSpace
from fna_mm.checkpoints.searched import best_architecture, read_architecture

SPACE = dict(layers_per_stage=(2, 1, 1, 1, 1, 1), kernel_sizes=(3, 5), expand_ratios=(3, 6))
TEXT = f"model = dict(backbone=dict(type='FNASuperNet', {', '.join(f'{k}={v}' for k, v in SPACE.items())}))"


def checkpoint(text=TEXT, size=29, prefix='backbone.', seed=0):
    alpha = torch.randn(size, generator=torch.Generator().manual_seed(seed))
    return dict(state_dict={f'{prefix}architecture_parameters': alpha, 'head.weight': torch.zeros(2)},
                meta=dict(cfg=text))


@pytest.fixture(scope='module')
def search(tmp_path_factory):
    """A finished toy search and its last checkpoint's path."""
    folder = tmp_path_factory.mktemp('search')
    return train(search_config(folder)), str(folder / 'epoch_2.pth')


def test_of_a_real_search(search):
    runner, path = search
    assert best_architecture(load(path)) == runner.model.backbone.best_architecture()
    assert read_architecture(path) == runner.model.backbone.best_architecture()


@pytest.mark.parametrize('text', [
    TEXT,
    TEXT.replace("'FNASuperNet'", "'fna_mm.FNASuperNet'"),
    "model = {'backbone': {'type': 'FNASuperNet', 'layers_per_stage': [2, 1, 1, 1, 1, 1], 'kernel_sizes': [3, 5], "
    "'expand_ratios': [3, 6]}, 1: 2}",
])
@pytest.mark.parametrize('prefix', ['', 'backbone.', 'module.backbone.'])
def test_of_other_spellings(text, prefix):
    given = checkpoint(text, prefix=prefix)
    net = FNASuperNet(**SPACE)
    net.architecture_parameters.copy_(given['state_dict'][f'{prefix}architecture_parameters'])
    assert best_architecture(given) == net.best_architecture()


def test_defaults_of_the_search_space():
    space = SearchSpace()
    given = checkpoint("model = dict(backbone=dict(type='FNASuperNet', out_indices=(1, 2, 4, 6)))", 141)
    alphas = given['state_dict']['backbone.architecture_parameters'].split([len(x.candidates) for x in space.layers])
    assert best_architecture(given) == space.architecture([int(alpha.argmax()) for alpha in alphas])


def test_a_tapped_layer_has_fewer_candidates():
    """SSDLite's search: three of the first layer of stage 5 instead of six."""
    space = SearchSpace(tapped_stages=(5, ))
    given = checkpoint("model = dict(backbone=dict(type='FNASuperNet', out_indices=('expand5', 7)))", 138)
    alphas = given['state_dict']['backbone.architecture_parameters'].split([len(x.candidates) for x in space.layers])
    found = best_architecture(given)
    assert found == space.architecture([int(alpha.argmax()) for alpha in alphas])
    assert found.stages[5].layers[0].expand_ratio == 6


def test_the_config_in_a_checkpoint_is_never_run(tmp_path):
    """It is Python, and whoever wrote the checkpoint wrote it."""
    bait = tmp_path / 'bait'
    given = checkpoint(f"open({str(bait)!r}, 'w').close()\n{TEXT}\nx = __import__('os').system('touch {bait}')")
    assert best_architecture(given) == best_architecture(checkpoint())
    assert not bait.exists()


@pytest.mark.parametrize(('given', 'message'), [
    ({}, 'it must hold one architecture_parameters and a config with one FNASuperNet, but has 0 and 0'),
    ([1, 2], 'no checkpoint of a search'),
    (dict(state_dict={}), 'no checkpoint of a search'),
    (dict(checkpoint(), meta={}), 'but has 1 and 0'),
    (dict(checkpoint(), meta=dict(cfg=7)), 'but has 1 and 0'),
    (checkpoint('model = dict('), 'but has 1 and 0'),
    (checkpoint("model = dict(backbone=dict(type='ResNet'))"), 'but has 1 and 0'),
    (checkpoint(TEXT + '\n' + TEXT), 'but has 1 and 2'),
    (checkpoint(size=30), r'architecture parameters of shape \(30,\), but its config a search space with 29'),
    (checkpoint(TEXT.replace('(3, 5)', 'kernels')), 'kernel_sizes of the FNASuperNet in its config'),
])
def test_no_search(given, message):
    with pytest.raises(ValueError, match=message):
        best_architecture(given)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_architecture_parameters_that_are_no_numbers(value):
    """They once gave the first candidate everywhere."""
    given = checkpoint()
    given['state_dict']['backbone.architecture_parameters'][3] = value
    with pytest.raises(ValueError, match='architecture parameters of layer.* hold a NaN or infinity'):
        best_architecture(given)


def test_read_anything(search, tmp_path):
    architecture = Architecture.create('fna_ssdlite')
    assert read_architecture('fna_ssdlite') == read_architecture(architecture.to_text()) == architecture
    (tmp_path / 'arch.json').write_text(architecture.to_json())
    assert read_architecture(str(tmp_path / 'arch.json')) == architecture


def test_errors_name_the_file(tmp_path):
    path = tmp_path / 'seed.pth'
    torch.save({'weight': torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r'seed.pth: no checkpoint of a search'):
        read_architecture(str(path))
    path.write_bytes(pickle.dumps(pytest.raises))
    with pytest.raises(ValueError, match='seed.pth.* is no readable checkpoint'):
        read_architecture(str(path))
    with pytest.raises(FileNotFoundError, match='none.pth'):
        read_architecture('none.pth')
