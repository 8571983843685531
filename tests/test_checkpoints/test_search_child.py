"""The best path out of a search's checkpoint: the same function as in the supernet, whatever was left out."""

import pytest
import torch
from mmengine.registry import MODELS
from toy_search import CHILD, SUPERNET, search_config, train

from fna_mm import Architecture
from fna_mm.checkpoints.opening import load_checkpoint
from fna_mm.checkpoints.search_child import child_weights, write_search_child
from fna_mm.checkpoints.searched import best_path
from fna_mm.cli import main

AFFINE = dict(candidate_norm_cfg=dict(type='BN', affine=True, track_running_stats=False))
GROUPS = dict(norm_cfg=dict(type='GN', num_groups=2), candidate_norm_cfg=dict(type='GN', num_groups=2))


def search(work_dir, **backbone):
    """The runner of a toy search, its last checkpoint, and the section of its children."""
    cfg = search_config(work_dir, epochs=3)
    cfg.model.backbone = dict(SUPERNET, **backbone)
    kept = {name: value for name, value in backbone.items() if name == 'norm_cfg'}
    return train(cfg), work_dir / 'epoch_3.pth', dict(CHILD, **kept)


@pytest.fixture(scope='module')
def searched(tmp_path_factory):
    """A search whose candidates have no scale and shift, as in the paper."""
    return search(tmp_path_factory.mktemp('searched'))


@pytest.fixture(scope='module', params=[{}, AFFINE, GROUPS], ids=['paper', 'affine', 'groups'])
def any_search(request, tmp_path_factory):
    return search(tmp_path_factory.mktemp('any'), **request.param)


def with_path(checkpoint, space, path):
    """The checkpoint, with architecture parameters that want this path."""
    state = dict(checkpoint['state_dict'])
    (key, ) = [key for key in state if key.endswith('architecture_parameters')]
    alphas = [torch.zeros(len(layer.candidates)) for layer in space.layers]
    for alpha, index in zip(alphas, path):
        alpha[index] = 1.
    state[key] = torch.cat(alphas)
    return {**checkpoint, 'state_dict': state, 'alternating_optimizer': {}}


@pytest.mark.parametrize('path', [(0, 0, 0), (1, 4, 2), (3, 2, 3), (2, 1, 1)])
def test_the_child_computes_what_the_path_did(any_search, path):
    runner, file, section = any_search
    checkpoint = load_checkpoint(str(file))
    space, _ = best_path(checkpoint)
    checkpoint = with_path(checkpoint, space, path)
    assert best_path(checkpoint)[1] == list(path)
    architecture = space.architecture(path)
    child = MODELS.build(dict(type='ToyClassifier', backbone=dict(section, arch=architecture.to_text())))
    found, weights = child_weights(checkpoint)
    assert found == architecture
    child.load_state_dict(weights, strict=True)
    net = runner.model.backbone
    net.use_path(path)
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    net.train()
    child.train()  # candidates normalise by the batch
    with torch.no_grad():
        torch.testing.assert_close(child.backbone(images)[0], net(images)[0], rtol=1e-5, atol=1e-5)


def test_the_command(searched, tmp_path, capsys):
    _, file, _ = searched
    out = tmp_path / 'child.pth'
    main(['child', str(file), str(out)], standalone_mode=False)
    printed = capsys.readouterr().out
    found = load_checkpoint(str(out))
    architecture = Architecture.parse(found['meta']['arch'])
    assert printed == f'{architecture}\nwritten: {out}\n'
    space, path = best_path(load_checkpoint(str(file)))
    assert architecture == space.architecture(path)


def test_what_is_no_whole_search(searched, tmp_path):
    _, file, _ = searched
    with pytest.raises(ValueError, match='cannot be written: it is one of the inputs'):
        write_search_child(str(file), str(file))
    checkpoint = load_checkpoint(str(file))
    state = {key: value for key, value in checkpoint['state_dict'].items() if '.layer2.0.' not in key}
    torch.save({**checkpoint, 'state_dict': state}, tmp_path / 'part.pth')
    with pytest.raises(ValueError, match=r'part.pth: the checkpoint lacks the weights of layer2\.0 for the candidate'):
        write_search_child(str(tmp_path / 'part.pth'), str(tmp_path / 'out.pth'))
    torch.save(dict(state_dict=state), tmp_path / 'plain.pth')
    with pytest.raises(ValueError, match='plain.pth: no checkpoint of a search'):
        write_search_child(str(tmp_path / 'plain.pth'), str(tmp_path / 'out.pth'))
    broken = {key: value * float('nan') if key.endswith('head.weight') else value
              for key, value in checkpoint['state_dict'].items()}
    torch.save({**checkpoint, 'state_dict': broken}, tmp_path / 'broken.pth')
    with pytest.raises(ValueError, match='broken.pth holds a NaN or infinity in head.weight'):
        write_search_child(str(tmp_path / 'broken.pth'), str(tmp_path / 'out.pth'))
    assert not (tmp_path / 'out.pth').exists()
