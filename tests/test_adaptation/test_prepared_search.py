"""A gradient search that starts from a trained model."""

import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from swapped_blocks import loss_of
from toy_search import TOY, load
from toy_segmentation import write_config

from fna_mm.adaptation.images import MeasuredImages
from fna_mm.adaptation.trained_model import load_trained
from fna_mm.cli import main

CHILD = f'''dict(type='FNAChildNet', arch="""{TOY}""", out_indices=(1, 2), output_stride=8, norm_cfg=norm_cfg)'''
NET = f'''dict(
        type='FNASuperNet', seed="""{TOY}""", layers_per_stage=(3, 3), kernel_sizes=(3, 5), expand_ratios=(3, 6),
        out_indices=(1, 2), output_stride=8, norm_cfg=norm_cfg,
        candidate_norm_cfg=dict(type='BN', affine=True, track_running_stats=False))'''
HOOK = '''
custom_hooks = [dict(
    type='AlternatingOptimizerHook', begin_iter=1,
    dataloader=dict(batch_size=4, num_workers=0, sampler=dict(type='InfiniteSampler', shuffle=True),
                    dataset=dict(type='RandomSplit', dataset=dataset, ratio=0.5, part='arch', seed=0)),
    optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.01)),
    cost=dict(type='MAddsCost', input_shape=(32, 32), budget=0.8))]
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='InfiniteSampler', shuffle=True), drop_last=True,
    dataset=dict(type='RandomSplit', dataset=dataset, ratio=0.5, part='weights', seed=0))
log_level = 'WARNING'
'''


@pytest.fixture(scope='module')
def search(segmentor):
    """The path of the search's config."""
    return str(write_config(Path(segmentor[0]).parent, gradient_search=(CHILD, NET),
                            with_hook=("log_level = 'WARNING'\n", HOOK)))


@pytest.fixture(scope='module')
def prepared(segmentor, search, tmp_path_factory):
    """The model of the search with what was prepared."""
    work_dir = tmp_path_factory.mktemp('prepared') / 'work'
    done = CliRunner().invoke(main, [
        '--debug', 'adapt', *segmentor, '--prepare-search', search, '--work-dir', str(work_dir), '--statistics-images',
        '12', '--score-images', '8', '--tolerance', '100'])
    assert done.exit_code == 0, done.output
    path = work_dir / 'prepared_search.pth'
    assert f'load_from={path}' in done.output
    init_default_scope('mmseg')
    model = MODELS.build(Config.fromfile(search).model)
    state = load(path)
    assert state['meta']['fitted'] == 20
    assert state['meta']['identity'] == 4
    model.load_state_dict(state['state_dict'])
    return model, path


def path_of(net, names):
    return [layer.index(name) for layer, name in zip(net.search_space.candidate_names().values(), names)]


def test_the_seeds_path_is_the_trained_model(segmentor, prepared):
    """Nearly: candidates normalise with the statistics of their batch, the trained model with running ones."""
    trained = load_trained(*segmentor)
    images = MeasuredImages(trained.config)
    model, _ = prepared
    net = model.backbone
    batch = torch.stack([trained.model.data_preprocessor(images[i], False)['inputs'][0] for i in range(12)])
    own, with_added, large, other = (
        path_of(net, ['k3_e6', 'k3_e6', third, first, 'k3_e6', last])
        for third, first, last in (('skip', 'k3_e6', 'k3_e6'), ('k5_e3', 'k3_e6', 'k3_e6'), ('skip', 'k5_e6', 'k3_e6'),
                                   ('skip', 'k3_e3', 'k3_e6')))
    model.eval()
    with torch.no_grad():
        wanted = trained.backbone(batch)[-1]
        outputs = []
        for path in (own, with_added, large, other):
            net.use_path(path)
            outputs.append(net(batch)[-1])
    assert (outputs[0] - wanted).square().mean() < .05 * wanted.var()
    assert torch.allclose(outputs[1], outputs[0], atol=1e-5)  # an added layer is the identity
    assert torch.allclose(outputs[2], outputs[0], atol=1e-5)  # a larger kernel has the trained one in its centre
    assert .2 * wanted.var() > (outputs[3] - outputs[0]).square().mean() > 0
    assert loss_of(trained.model, images, 13) >= 0


def test_the_architecture_parameters_say_what_the_scores_say(prepared):
    net = prepared[0].backbone
    names = net.search_space.candidate_names()
    by_name = {layer: dict(zip(candidates, p.tolist()))
               for (layer, candidates), p in zip(names.items(), net.probabilities())}
    assert net.best_path() == tuple(path_of(net, [
        max(layer, key=layer.get) for layer in by_name.values()]))
    for layer in by_name.values():
        assert layer['k3_e6'] >= layer['k3_e3'] - 1e-6
        assert layer['k3_e6'] == pytest.approx(layer['k5_e6'])
    added = by_name['layer2.2']
    assert max(added.values()) == pytest.approx(min(added.values()))


def test_the_search_starts_from_it(search, prepared, tmp_path):
    cfg = Config.fromfile(search)
    cfg.load_from, cfg.work_dir, cfg.experiment_name = str(prepared[1]), str(tmp_path), 'from_prepared'
    cfg.train_cfg.update(max_iters=3, val_interval=3)
    runner = Runner.from_cfg(cfg)
    runner.train()
    before = prepared[0].backbone.architecture_parameters
    moved = (runner.model.backbone.architecture_parameters - before).abs().max()
    assert 0 < float(moved) < .1


@pytest.mark.parametrize(('before', 'after', 'message'), [
    ('expand_ratios=(3, 6)', 'expand_ratios=(3, 9)', r'k3_e9 of layer2\.0 has 36 hidden channels, the trained .* 24'),
    ('expand_ratios=(3, 6)', "expand_ratios=(3, 6), dilated='first'", r"set dilated='stage' in the backbone"),
    ('affine=True', 'affine=False', 'have no scale and shift'),
    ('channels=8, num_convs=1', 'channels=16, num_convs=1', r'differs from the trained one .*: decode_head'),
])
def test_searches_that_cannot_start_from_it(segmentor, search, tmp_path, before, after, message):
    text = Path(search).read_text()
    assert before in text
    path = tmp_path / 'other.py'
    path.write_text(text.replace(before, after))
    done = CliRunner().invoke(main, [
        'adapt', *segmentor, '--prepare-search', str(path), '--work-dir', str(tmp_path / 'work'), '--statistics-images',
        '12', '--score-images', '8', '--tolerance', '100'])
    assert done.exit_code == 1
    assert re.search(message, done.output)
    assert not (tmp_path / 'work').exists()
