import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import set_random_seed
from torch import nn
from toy_search import (
    CHILD,
    COST,
    SUPERNET,
    TOY,
    assert_same,
    build,
    changed,
    child_net_config,
    find_hook,
    load,
    search_config,
    snapshot,
    toy_dataloader,
    train,
)

from fna_mm import FNASuperNet, MAddsCost
from fna_mm.checkpoints.folder_lock import HOLDER, FolderLock
from fna_mm.checkpoints.searched import best_architecture
from fna_mm.cost import madds_table
from fna_mm.hooks.alternating_optimizer_hook import find_supernet, only_architecture_trains
from fna_mm.hooks.architecture_optimizer import build_architecture_optimizer
from fna_mm.hooks.pending_gradients import restore_gradients

ADAM = dict(type='Adam', lr=.05, betas=(.5, .999), weight_decay=1e-3)


def recorded(cfg):
    """Train with a recorder before the search's hook and one behind it; the runner and both."""
    cfg.custom_hooks = [dict(type='Recorder', priority='HIGH'), *cfg.custom_hooks, dict(type='Recorder')]
    runner = train(cfg)
    first, last = (hook for hook in runner.hooks if type(hook).__name__ == 'Recorder')
    return runner, first, last


def started(cfg):
    """A runner whose search is ready for its first architecture step, and the hook."""
    runner = build(cfg)
    runner.train_loop  # noqa: B018  builds the loop
    runner.optim_wrapper = runner.build_optim_wrapper(cfg.optim_wrapper)
    hook = find_hook(runner, 'AlternatingOptimizerHook')
    hook.before_train(runner)
    runner.model.train()
    return runner, hook


def recorded_paths(supernet):
    """A list that gets every path that the supernet is told to run from now on."""
    paths, use_path = [], supernet.use_path

    def use_and_record(path):
        use_path(path)
        paths.append(tuple(path))

    supernet.use_path = use_and_record
    return paths


def scalars(runner):
    """The lines that mm's LocalVisBackend wrote, architecture entropies and all."""
    (path, ) = Path(runner.log_dir).glob('vis_data/scalars.json')
    return [json.loads(line) for line in path.read_text().splitlines()]


# Arguments


@pytest.mark.parametrize(('arguments', 'message'), [
    (dict(), 'either begin_epoch or begin_iter'),
    (dict(begin_epoch=1, begin_iter=1), 'given are begin_epoch=1, begin_iter=1'),
    (dict(begin_epoch=-1), 'begin_epoch .* at least 0, not -1'),
    (dict(begin_iter=1.5), 'begin_iter .* at least 0, not 1.5'),
    (dict(begin_epoch=True), 'begin_epoch .* not True'),
    (dict(begin_epoch=1, weight_steps_per_arch_step=0), 'weight_steps_per_arch_step .* a positive integer, not 0'),
    (dict(begin_epoch=1, weight_steps_per_arch_step='5'), "weight_steps_per_arch_step .* not '5'"),
    (dict(begin_epoch=1, cost=dict(type='MAddsCost')), r'input_shape of MAddsCost.*\(height, width\)'),
])
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        HOOKS.build(dict(type='AlternatingOptimizerHook', dataloader=toy_dataloader('arch'),
                         optim_wrapper=dict(optimizer=dict(type='Adam', lr=.1)), **arguments))


@pytest.mark.parametrize('cfg', [dict(type='OptimWrapper'), dict(optimizer='Adam'), {}])
def test_optim_wrapper_needs_an_optimizer(cfg):
    with pytest.raises(ValueError, match=r"such as dict\(optimizer=dict\(type='Adam'"):
        build_architecture_optimizer(torch.zeros(3), cfg)


def test_a_hook_without_an_optimizer_is_not_built():
    with pytest.raises(ValueError, match='optim_wrapper of AlternatingOptimizerHook needs an optimizer'):
        HOOKS.build(dict(type='AlternatingOptimizerHook', begin_epoch=1, dataloader=toy_dataloader('arch'),
                         optim_wrapper=dict()))


def test_arguments_are_not_changed():
    cfg = dict(optimizer=dict(type='Adam', lr=.1), clip_grad=dict(max_norm=1))
    wrapper = build_architecture_optimizer(torch.zeros(3, requires_grad=True), cfg)
    assert cfg == dict(optimizer=dict(type='Adam', lr=.1), clip_grad=dict(max_norm=1))
    assert type(wrapper.optimizer) is torch.optim.Adam


def test_the_runners_message_hub_stays_the_current_one():
    # mm's modules ask for the current one to learn the iteration.
    hub = MessageHub.get_instance('the hub that was made last')
    wrapper = build_architecture_optimizer(torch.zeros(3, requires_grad=True), dict(optimizer=dict(type='Adam')))
    assert MessageHub.get_current_instance() is hub is not wrapper.message_hub


# What stops a search before its first iteration


@pytest.mark.parametrize(('change', 'message'), [
    (dict(hook=dict(begin_epoch=2)), 'begin_epoch=2, but training ends after 2 epochs: .* at most 1'),
    (dict(iters=4, hook=dict(begin_iter=4)), 'begin_iter=4, but training ends after 4 iterations: .* at most 3'),
    (dict(iters=4, hook=dict(begin_epoch=1, begin_iter=None)),
     'begin_epoch=1 has no meaning under IterBasedTrainLoop: use begin_iter'),
    (dict(hook=dict(weight_steps_per_arch_step=3)),
     'weight_steps_per_arch_step=3, but only 2 iterations .* no architecture step'),
    (dict(model=dict(type='ToyClassifier', backbone=CHILD)),
     'exactly one FNASuperNet in the model, but ToyClassifier has 0'),
    (dict(hook=dict(dataloader=toy_dataloader('arch', batch_size=16, drop_last=True))),
     'dataloader has no batch: 8 samples for batch_size=16 with drop_last'),
    (dict(hook=dict(dataloader=toy_dataloader('arch', length=1))),
     r'RandomSplit of ToyImages \(.*\): a data set of 1 samples cannot be split with ratio=0.5'),
])
def test_an_impossible_search_stops_before_training(tmp_path, change, message):
    cfg = search_config(tmp_path, **change)
    cfg.custom_hooks.append(dict(type='Recorder'))
    runner = build(cfg)
    with pytest.raises(ValueError, match=message):
        runner.train()
    assert not find_hook(runner, 'Recorder').batches


def test_more_than_one_supernet_is_refused():
    model = nn.ModuleList([FNASuperNet((1, 1), (3, ), (3, ), (2, ), 8, seed=TOY) for _ in range(2)])
    with pytest.raises(ValueError, match='exactly one FNASuperNet in the model, but ModuleList has 2'):
        find_supernet(model)


# Whose step changes what


@pytest.fixture(scope='module')
def search(tmp_path_factory):
    """A search of three epochs of two iterations, recorded; architecture steps from the second epoch on."""
    cfg = search_config(tmp_path_factory.mktemp('search'), epochs=3)
    cfg.train_cfg.val_interval = 1
    return recorded(cfg)


def test_no_architecture_step_before_its_epoch(search):
    runner, weights, everything = search
    assert [changed(before, after) for before, after in zip(weights.after, everything.after)] == \
        2 * [set()] + 4 * [{'alpha'}]
    assert find_hook(runner, 'AlternatingOptimizerHook').arch_steps == 4


def test_a_weight_step_leaves_the_architecture_parameters_alone(search):
    _, weights, _ = search
    assert len(weights.before) == 6
    for before, after in zip(weights.before, weights.after):
        keys = changed(before, after)
        assert 'alpha' not in keys
        assert {'head.weight', 'backbone.conv1.conv.weight', 'neck.bn.running_mean',
                'neck.bn.num_batches_tracked'} <= keys


def test_a_weight_step_trains_one_path(search):
    runner, weights, _ = search
    names = {name: [key for key in weights.before[0] if f'layer3.0.candidates.{name}.' in key]
             for name in ('k3_e3', 'k3_e6', 'k5_e3', 'k5_e6')}
    assert all(len(keys) == 3 for keys in names.values())
    # Momentum moves a candidate that was on an earlier path, so only the first step shows its path.
    keys = changed(weights.before[0], weights.after[0])
    assert [set(candidate) <= keys for candidate in names.values()].count(True) == 1
    assert [not set(candidate) & keys for candidate in names.values()].count(True) == 3


def test_paths_and_modes(search):
    runner, _, _ = search
    modes = runner.model.modes
    weight, arch, val = ('loss', 'path'), ('loss', 'mixture'), ('predict', 'best_path')
    assert modes == [weight, weight, val, *2 * [weight, arch], val, *2 * [weight, arch], val]


def test_architecture_parameters_are_none_of_the_weights_optimizer(search):
    runner, _, _ = search
    architecture = find_supernet(runner.model).architecture_parameters
    trained = [parameter for group in runner.optim_wrapper.param_groups for parameter in group['params']]
    assert len(trained) > 10
    assert all(parameter is not architecture for parameter in trained)
    assert not architecture.requires_grad
    assert all(parameter.requires_grad for parameter in runner.model.parameters())


@pytest.mark.parametrize(('every', 'steps'), [(1, [2, 3, 4, 5]), (2, [3, 5]), (3, [4]), (4, [5])])
def test_weight_steps_per_arch_step(tmp_path, every, steps):
    cfg = search_config(tmp_path, iters=6, hook=dict(weight_steps_per_arch_step=every))
    _, weights, everything = recorded(cfg)
    moved = [changed(before, after) for before, after in zip(weights.after, everything.after)]
    assert [index for index, keys in enumerate(moved) if keys] == steps
    assert all(moved[index] == {'alpha'} for index in steps)


@pytest.mark.parametrize(('begin', 'steps'), [(dict(begin_epoch=0), [0, 1, 2, 3]),
                                              (dict(begin_epoch=None, begin_iter=1), [1, 2, 3])])
def test_begin(tmp_path, begin, steps):
    _, weights, everything = recorded(search_config(tmp_path, hook=begin))
    moved = [changed(before, after) for before, after in zip(weights.after, everything.after)]
    assert [index for index, keys in enumerate(moved) if keys] == steps


def test_paths_are_uniform_before_and_from_the_softmax_after_the_beginning(tmp_path):
    runner, hook = started(search_config(tmp_path, iters=60, hook=dict(begin_iter=20)))
    supernet = find_supernet(runner.model)
    with torch.no_grad():
        supernet.architecture_parameters.copy_(torch.zeros_like(supernet.architecture_parameters))
        for alpha in supernet.architecture_parameters.split([len(x.candidates) for x in supernet.search_space.layers]):
            alpha[1] = 20.
    paths = recorded_paths(supernet)
    for iteration in range(40):
        runner.train_loop._iter = iteration
        hook.before_train_iter(runner, iteration)
    assert len(paths) == 40
    assert len(set(paths[:20])) > 10
    assert set(paths[20:]) == {(1, ) * 3}


# An architecture step on its own


def test_a_step_of_the_architecture_is_that_of_its_optimizer(tmp_path):
    """Against the same loss and gradient written out; of plain SGD, as Adam's first step forgets their size."""
    wrapper = dict(optimizer=dict(type='SGD', lr=1., weight_decay=.1))
    runner, hook = started(search_config(tmp_path, hook=dict(optim_wrapper=wrapper, cost=dict(COST, weight=.5))))
    model, supernet = runner.model, runner.model.backbone
    batch = next(iter(runner.build_dataloader(toy_dataloader('arch'))))
    alpha = supernet.architecture_parameters.detach().clone().requires_grad_()
    torch.manual_seed(5)
    buffer = supernet._buffers['architecture_parameters']
    before = {key: value.clone() for key, value in model.state_dict().items()}
    supernet._buffers['architecture_parameters'] = alpha
    supernet.use_mixture()
    model.requires_grad_(False)  # with gradients of weights the mixture rounds differently
    loss = model(**batch, mode='loss')['loss_cls']
    model.requires_grad_(True)
    table = madds_table(supernet.search_space, (32, 32), 8)
    expected = table.fixed + sum((p * torch.tensor(costs)).sum()
                                 for p, costs in zip(supernet.probabilities(), table.layers))
    term = .5 * torch.log10(5 * expected)
    (loss + term).backward()
    after = alpha.detach() - (alpha.grad + .1 * alpha.detach())
    supernet._buffers['architecture_parameters'] = buffer
    model.load_state_dict(before)  # the forward above moved BN statistics

    torch.manual_seed(5)
    logs = hook.arch_step(batch)
    torch.testing.assert_close(supernet.architecture_parameters, after)
    assert (after - alpha.detach()).abs().max() > 1e-3
    assert logs['arch_loss_cls'] == pytest.approx(float(loss.detach()), rel=1e-5)
    assert logs['arch_cost_loss'] == pytest.approx(float(term.detach()), rel=1e-5)
    assert logs['expected_gmadds'] == pytest.approx(float(expected.detach()), rel=1e-5)


def test_steps_on_sampled_candidates(tmp_path):
    """Which ones depends on (seed, architecture steps made) alone; those that are not drawn get no gradient."""
    model = dict(type='ToyClassifier', backbone=dict(SUPERNET, arch_sample_num=2))
    wrapper = dict(optimizer=dict(type='SGD', lr=1.))
    drawn, moved = [], []
    for run in range(2):
        runner, hook = started(search_config(tmp_path / str(run), model=model, hook=dict(optim_wrapper=wrapper)))
        supernet = runner.model.backbone
        start = supernet.architecture_parameters.zero_().clone()
        use_mixture = supernet.use_mixture
        supernet.use_mixture = lambda sampled=None, use=use_mixture: drawn.append(sampled) or use(sampled)
        batch = next(iter(runner.build_dataloader(toy_dataloader('arch'))))
        hook.arch_steps = 7
        logs = hook.arch_step(batch)
        moved.append([layer.nonzero().flatten().tolist() for layer in
                      (supernet.architecture_parameters - start).split(
                          [len(layer.candidates) for layer in supernet.search_space.layers])])
        assert logs['expected_gmadds'] > 0
    first, second = [sampled for sampled in drawn if sampled is not None]
    assert first == second
    assert {len(indices) for indices in first} == {2}
    assert moved == [[list(indices) for indices in first]] * 2


def test_a_step_leaves_gradients_of_the_weights_alone(tmp_path):
    """They are there between the steps when the weights' wrapper accumulates."""
    runner, hook = started(search_config(tmp_path))
    batch = next(iter(runner.build_dataloader(toy_dataloader('arch'))))
    frozen = runner.model.backbone.conv1.conv.weight.requires_grad_(False)
    runner.model.head.weight.grad = torch.full_like(runner.model.head.weight, 7.)
    hook.arch_step(batch)
    assert runner.model.head.weight.grad.eq(7).all()
    assert runner.model.neck.conv.weight.grad is None
    assert runner.model.backbone.architecture_parameters.grad is None
    assert not frozen.requires_grad
    assert runner.model.head.weight.requires_grad


@pytest.mark.parametrize('where', ['forward', 'backward', 'step'])
def test_everything_comes_back_when_a_step_raises(tmp_path, monkeypatch, where):
    runner, hook = started(search_config(tmp_path))
    model = runner.model
    frozen = model.neck.conv.weight.requires_grad_(False)
    before = snapshot(model)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]

    def fail(*args, **kwargs):
        raise RuntimeError('out of memory')

    # By the time the head runs, the BN layers before it have moved their statistics.
    monkeypatch.setattr(*dict(forward=(model.head, 'forward'), backward=(hook.optim_wrapper, 'backward'),
                              step=(hook.optim_wrapper, 'step'))[where], fail)
    with pytest.raises(RuntimeError, match='out of memory'):
        hook.arch_step(next(iter(runner.build_dataloader(toy_dataloader('arch')))))
    assert changed(before, snapshot(model)) == set()
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == trained
    assert not frozen.requires_grad
    assert not model.backbone.architecture_parameters.requires_grad
    assert model.backbone.mode == 'best_path'
    assert model.training


def test_only_architecture_trains_inside():
    model = nn.Sequential(FNASuperNet((1, 1), (3, ), (3, 6), (2, ), 8, seed=TOY), nn.BatchNorm2d(8))
    with only_architecture_trains(model, model[0]):
        assert model[0].mode == 'mixture'
        assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == []
        assert model[0].architecture_parameters.requires_grad
        model[1].running_mean += 1
        model[0].architecture_parameters.detach().add_(1)
    assert model[1].running_mean.eq(0).all()
    assert model[0].architecture_parameters.mean() > .9
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_accumulation_takes_the_mean_gradient(tmp_path):
    def moves(accumulative_counts):
        """Where each of two batches moves the architecture parameters to, from where the last one left them."""
        wrapper = dict(optimizer=dict(type='SGD', lr=1.), accumulative_counts=accumulative_counts)
        runner, hook = started(search_config(tmp_path, iters=10, hook=dict(optim_wrapper=wrapper)))
        runner.model.dropout.p = 0.
        alpha = runner.model.backbone.architecture_parameters
        alpha.copy_(torch.randn(alpha.shape, generator=torch.Generator().manual_seed(1)))
        start, ends = alpha.clone(), []
        set_random_seed(0)
        for batch, _ in zip(runner.build_dataloader(toy_dataloader('arch'), seed=0), range(2)):
            hook.arch_step(batch)
            ends.append(alpha - start)
            if accumulative_counts == 1:  # both gradients at the same place
                alpha.copy_(start)
        return ends

    first, second = moves(1)
    none, both = moves(2)
    assert none.abs().max() == 0
    torch.testing.assert_close(both, (first + second) / 2)
    assert (first - second).abs().max() > 1e-4


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_step_that_is_not_finite_is_skipped_and_counted(tmp_path, value):
    cfg = search_config(tmp_path)
    runner, hook = started(cfg)
    batch = next(iter(runner.build_dataloader(toy_dataloader('arch'))))
    broken = dict(batch, inputs=batch['inputs'] * value)
    before, optimizer = snapshot(runner.model), json.dumps(hook.optim_wrapper.state_dict(), default=str)
    logs = hook.arch_step(broken)
    assert logs['arch_skipped_steps'] == hook.skipped_steps == 1
    assert changed(before, snapshot(runner.model)) == set()
    assert json.dumps(hook.optim_wrapper.state_dict(), default=str) == optimizer
    logs = hook.arch_step(batch)
    assert changed(before, snapshot(runner.model)) == {'alpha'}
    assert logs['arch_skipped_steps'] == 1
    checkpoint = {}
    hook.before_save_checkpoint(runner, checkpoint)
    assert checkpoint['alternating_optimizer']['skipped_steps'] == 1


def test_mixed_precision(tmp_path, monkeypatch):
    # mmengine refuses its AMP wrapper without a GPU, though autocast to bfloat16 works on a CPU.
    monkeypatch.setattr('mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available', lambda: True)
    wrapper = dict(type='AmpOptimWrapper', dtype='bfloat16', optimizer=ADAM, clip_grad=dict(max_norm=35))
    cfg = search_config(tmp_path, hook=dict(optim_wrapper=wrapper))
    dtypes = []

    class Watch(nn.Module):
        def forward(self, x):
            dtypes.append(x.dtype)
            return x

    cfg.custom_hooks = [dict(type='Recorder', priority='HIGH'), *cfg.custom_hooks, dict(type='Recorder')]
    runner = build(cfg)
    runner.model.dropout = Watch()
    runner.train()
    hook = find_hook(runner, 'AlternatingOptimizerHook')
    assert isinstance(hook.optim_wrapper, AmpOptimWrapper)
    weights, everything = (hook for hook in runner.hooks if type(hook).__name__ == 'Recorder')
    assert [changed(*states) for states in zip(weights.after, everything.after)] == 2 * [set()] + 2 * [{'alpha'}]
    assert runner.model.backbone.architecture_parameters.dtype == torch.float32
    # Two weight steps alone, two with an architecture step, the evaluation at the end.
    assert dtypes == 2 * [torch.float32] + 2 * [torch.float32, torch.bfloat16] + [torch.float32]
    assert 'loss_scaler' in load(tmp_path / 'epoch_2.pth')['alternating_optimizer']['optim_wrapper']


# Logs


def test_logged_scalars(search):
    runner, _, _ = search
    lines = [line for line in scalars(runner) if 'loss' in line]
    assert len(lines) == 6
    names = {'arch_loss', 'arch_loss_cls', 'arch_cost_loss', 'expected_gmadds', 'best_path_gmadds', 'arch_entropy',
             'arch_grad_norm', 'arch_step_time'}
    for line in lines[:2]:
        assert not names & set(line)
        assert line['weight_step_time'] > 0
    space = runner.model.backbone.search_space
    table = madds_table(space, (32, 32), 8)
    cheapest = table.fixed + sum(min(costs) for costs in table.layers)
    dearest = table.fixed + sum(max(costs) for costs in table.layers)
    for line in lines[2:]:
        assert names | {'weight_step_time'} <= set(line)
        assert line['arch_loss'] == pytest.approx(line['arch_loss_cls'])
        assert line['arch_cost_loss'] == pytest.approx(float(MAddsCost((32, 32))(torch.tensor(
            line['expected_gmadds']))), abs=1e-5)
        assert cheapest < line['expected_gmadds'] < dearest
        assert cheapest <= line['best_path_gmadds'] <= dearest
        assert 0 < line['arch_entropy'] <= np.log(5)
        assert min(line['arch_grad_norm'], line['weight_step_time'], line['arch_step_time']) > 0
    assert lines[-1]['best_path_gmadds'] == pytest.approx(table.of_path(runner.model.backbone.best_path()))


def test_entropy_of_every_layer_is_logged(search):
    runner, _, _ = search
    supernet = runner.model.backbone
    lines = [line for line in scalars(runner) if 'arch_entropy/layer2.0' in line]
    assert [line['step'] for line in lines] == [3, 4, 5, 6]
    layers = [layer.name for layer in supernet.search_space.layers]
    assert set(lines[-1]) == {'step'} | {f'arch_entropy/{name}' for name in layers}
    for name, probabilities in zip(layers, supernet.probabilities()):
        expected = -sum(float(p) * np.log(float(p)) for p in probabilities)
        assert lines[-1][f'arch_entropy/{name}'] == pytest.approx(expected, abs=1e-4)
    mean = np.mean([lines[-1][f'arch_entropy/{name}'] for name in layers])
    assert [line for line in scalars(runner) if 'arch_entropy' in line][-1]['arch_entropy'] == \
        pytest.approx(mean, abs=1e-4)


def test_logs_without_cost_and_clipping(tmp_path):
    runner = train(search_config(tmp_path, hook=dict(cost=None, optim_wrapper=dict(optimizer=ADAM))))
    last = [line for line in scalars(runner) if 'loss' in line][-1]
    assert {'arch_loss', 'arch_entropy', 'arch_step_time'} <= set(last)
    assert not {'arch_cost_loss', 'expected_gmadds', 'best_path_gmadds', 'arch_grad_norm'} & set(last)


def test_a_larger_cost_weight_finds_cheaper_paths(tmp_path):
    ends = []
    for weight in (0., 50.):
        cfg = search_config(tmp_path, iters=8, hook=dict(begin_iter=0, cost=dict(COST, weight=weight)))
        lines = [line for line in scalars(train(cfg)) if 'expected_gmadds' in line]
        assert len(lines) == 8
        ends.append((lines[0]['expected_gmadds'], lines[-1]['expected_gmadds']))
    (free, free_end), (_, dear_end) = ends
    assert dear_end < .97 * free
    assert dear_end < .97 * free_end


# Evaluation


def test_evaluation_is_that_of_the_best_path(search, tmp_path):
    runner, _, _ = search
    supernet = runner.model.backbone
    assert supernet.best_path() == tuple(
        int(alpha.argmax()) for alpha in supernet.architecture_parameters.split([4, 5, 4]))
    score = runner.val_loop.run()['score']
    supernet.use_path(tuple((index + 1) % 2 for index in supernet.best_path()))
    assert runner.val_loop.run()['score'] == score
    supernet.use_path(supernet.best_path())
    batch = next(iter(runner.val_dataloader))
    with torch.no_grad():
        expected = np.mean([float(scores.sum()) for scores in runner.model.eval()(**batch)])
    assert score == pytest.approx(expected, rel=1e-6)


def test_a_test_run_needs_no_training(tmp_path):
    sections = dict(test_dataloader=toy_dataloader(None, length=4), test_evaluator=dict(type='ToyScore'),
                    test_cfg=dict(type='TestLoop'))
    runner = build(search_config(tmp_path, **sections))
    runner.model.backbone.use_path((0, ) * 3)
    runner.test()
    assert runner.model.modes == [('predict', 'best_path')]


# Killed and resumed


def stop_at(cfg, checkpoint):
    """Resume a config from a checkpoint in another folder, and train to the end."""
    cfg.load_from, cfg.resume = str(checkpoint), True
    # A started process differs from this one; nothing here may rest on what the last run left behind.
    set_random_seed(99)
    return train(cfg)


@pytest.mark.parametrize(('loop', 'stop', 'end'), [
    # The architecture has 12 samples in batches of 4: stops lie in the middle of a pass and at its end.
    (dict(epochs=4), 'epoch_1', 'epoch_4'),
    (dict(epochs=4), 'epoch_2', 'epoch_4'),
    (dict(epochs=4), 'epoch_3', 'epoch_4'),
    (dict(iters=6), 'iter_1', 'iter_6'),
    (dict(iters=6), 'iter_3', 'iter_6'),
    (dict(iters=6), 'iter_5', 'iter_6'),
])
def test_a_resumed_search_is_the_uninterrupted_one(tmp_path, loop, stop, end):
    def config(folder):
        cfg = search_config(tmp_path / folder, **loop, hook=dict(dataloader=toy_dataloader('arch', length=24)))
        if 'iters' in loop:
            cfg.train_cfg.val_interval = 2
            cfg.train_dataloader = toy_dataloader('weights', length=32, sampler=dict(type='InfiniteSampler'))
        return cfg

    train(config('whole'))
    stop_at(config('resumed'), tmp_path / f'whole/{stop}.pth')
    whole, resumed = (load(tmp_path / folder / f'{end}.pth') for folder in ('whole', 'resumed'))
    stopped = load(tmp_path / f'whole/{stop}.pth')
    assert changed(stopped['state_dict'], whole['state_dict'])
    for part in ('state_dict', 'optimizer', 'alternating_optimizer'):
        assert_same(resumed[part], whole[part], part)
    assert whole['alternating_optimizer']['arch_steps'] == (6 if 'epochs' in loop else 4)


@pytest.mark.parametrize('stop', ['iter_4', 'iter_5', 'iter_6'])
def test_a_search_resumed_between_two_updates_is_the_uninterrupted_one(tmp_path, stop):
    """Both optimizers accumulate over three steps; those of the architecture begin behind the second."""
    def config(folder):
        cfg = search_config(tmp_path / folder, iters=9)
        cfg.train_dataloader = toy_dataloader('weights', length=32, sampler=dict(type='InfiniteSampler'))
        cfg.optim_wrapper.accumulative_counts = cfg.custom_hooks[0].optim_wrapper.accumulative_counts = 3
        return cfg

    train(config('whole'))
    stop_at(config('resumed'), tmp_path / f'whole/{stop}.pth')
    whole, resumed, stopped = (load(path) for path in (
        tmp_path / 'whole/iter_9.pth', tmp_path / 'resumed/iter_9.pth', tmp_path / f'whole/{stop}.pth'))
    (pending, ) = stopped['alternating_optimizer']['gradients']
    assert ('architecture_parameters' in pending) is (stop != 'iter_5')
    assert ('head.weight' in pending) is (stop != 'iter_6')
    for part in ('state_dict', 'optimizer', 'alternating_optimizer'):
        assert_same(resumed[part], whole[part], part)


def test_gradients_of_other_numbers_of_processes_are_averaged():
    weight = torch.zeros(2)
    restore_gradients(dict(weight=weight), [dict(weight=torch.tensor(row)) for row in ([1., 2.], [3., 6.])])
    assert torch.equal(weight.grad, torch.tensor([2., 4.]))


# One search at a time


def test_two_searches_in_one_work_directory(tmp_path):
    """The second one ends with a sentence and leaves all as it is; a crash leaves no lock."""
    other = subprocess.Popen([sys.executable, '-c', f"""
import sys, time
from fna_mm.checkpoints.folder_lock import FolderLock
lock = FolderLock({str(tmp_path)!r})
print('locked', flush=True)
time.sleep(600)
"""], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == 'locked\n'
        with pytest.raises(ValueError, match=f'process {other.pid} of .* writes to .*: wait until it ends, or give'):
            train(search_config(tmp_path))
        assert not list(tmp_path.glob('*.pth'))
        # A test beside a search is allowed.
        cfg = search_config(tmp_path)
        cfg.test_dataloader, cfg.test_evaluator, cfg.test_cfg = cfg.val_dataloader, cfg.val_evaluator, dict()
        assert 'score' in build(cfg).test()
    finally:
        other.kill()
        other.wait()
    train(search_config(tmp_path))
    train(search_config(tmp_path))  # and the end of a search unlocks
    assert not (tmp_path / HOLDER).exists()


def test_a_search_goes_on_in_the_process_of_one_that_failed(tmp_path):
    held = FolderLock(str(tmp_path))  # such as one in a traceback that a notebook keeps
    train(search_config(tmp_path))
    held.release()


@pytest.mark.parametrize('stop', ['epoch_1', 'epoch_3'])
def test_another_number_of_processes_goes_on(tmp_path, stop, caplog):
    """A checkpoint of two processes, whose epochs had half as many iterations, continued by one."""
    cfg = search_config(tmp_path / 'two', epochs=4, hook=dict(begin_epoch=2))
    cfg.train_dataloader.batch_size = 8  # one iteration an epoch, as two processes with batches of 4 have it
    train(cfg)
    checkpoint = load(tmp_path / f'two/{stop}.pth')
    assert checkpoint['meta']['iter'] == checkpoint['meta']['epoch'] == int(stop[-1])
    checkpoint['alternating_optimizer'].update(world_size=2)
    torch.save(checkpoint, tmp_path / 'two.pth')
    cfg = search_config(tmp_path / 'one', epochs=4, hook=dict(begin_epoch=2), log_level='INFO')
    runner = stop_at(cfg, tmp_path / 'two.pth')
    assert runner.epoch == 4
    hook = find_hook(runner, 'AlternatingOptimizerHook')
    # Two iterations in each epoch that is left, each with a step of the architecture from epoch 2 on.
    assert hook.arch_steps == (4 if stop == 'epoch_1' else 1 + 2)
    (log, ) = Path(runner.log_dir).glob('*.log')
    assert 'the search was saved by 2 processes and is resumed by 1: a step sees 1/2 as many images' in log.read_text()


@pytest.mark.parametrize('name', ['architecture_parameters', 'conv.weight'])
def test_a_search_that_went_wrong_is_not_resumed(tmp_path, name):
    train(search_config(tmp_path / 'whole', epochs=1, hook=dict(begin_epoch=0)))
    checkpoint = load(tmp_path / 'whole/epoch_1.pth')
    key = next(key for key in checkpoint['state_dict'] if key.endswith(name))
    checkpoint['state_dict'][key].view(-1)[0] = float('nan')
    torch.save(checkpoint, tmp_path / 'broken.pth')
    with pytest.raises(ValueError, match=f'the search starts from holds a NaN or infinity in {key}'):
        stop_at(search_config(tmp_path / 'resumed', epochs=2, hook=dict(begin_epoch=0)), tmp_path / 'broken.pth')


@pytest.mark.parametrize('content', ['', 'epoc', '/nowhere/epoch_3.pth', 'half'])
def test_a_resume_whose_last_checkpoint_is_broken_takes_the_newest_whole_one(tmp_path, content):
    """A kill left the file empty or cut, or half a checkpoint behind it."""
    def config(epochs):
        return search_config(tmp_path / 'work', epochs=epochs, hook=dict(begin_epoch=0), log_level='WARNING')

    train(config(2))
    last = tmp_path / 'work/last_checkpoint'
    if content == 'half':
        half = tmp_path / 'work/epoch_3.pth'
        half.write_bytes((tmp_path / 'work/epoch_2.pth').read_bytes()[:2000])
        content = str(half)
    last.write_text(content)
    cfg = config(3)
    cfg.resume, cfg.experiment_name = True, f'broken_{len(content)}'
    runner = train(cfg)
    assert find_hook(runner, 'AlternatingOptimizerHook').arch_steps == 6
    logs = ''.join(path.read_text() for path in (tmp_path / 'work').glob('*/*.log'))
    assert f'no whole checkpoint: going on from the newest one that is, {tmp_path}/work/epoch_2.pth' in logs


def test_a_resume_without_any_whole_checkpoint(tmp_path):
    cfg = search_config(tmp_path / 'work', epochs=1)
    (tmp_path / 'work').mkdir()
    (tmp_path / 'work/last_checkpoint').write_text('')
    cfg.resume = True
    with pytest.raises(ValueError, match='is no whole checkpoint, and there is none in .*: remove that file'):
        train(cfg)


def test_workers_read_the_same_after_a_resume(tmp_path):
    """Workers draw their augmentations elsewhere, so they need a test of their own."""
    def config(folder):
        cfg = search_config(tmp_path / folder, epochs=3, hook=dict(
            dataloader=toy_dataloader('arch', num_workers=1, length=24)))
        cfg.train_dataloader.num_workers = 1
        return cfg

    train(config('whole'))
    stop_at(config('resumed'), tmp_path / 'whole/epoch_2.pth')
    whole, resumed = (load(tmp_path / folder / 'epoch_3.pth') for folder in ('whole', 'resumed'))
    assert_same(resumed['state_dict'], whole['state_dict'])
    assert_same(resumed['alternating_optimizer'], whole['alternating_optimizer'])


def test_a_seed_makes_a_search_repeatable_and_another_one_differs(tmp_path):
    states = []
    for number, seed in enumerate((3, 3, 4)):
        states.append(train(search_config(tmp_path / str(number), randomness=dict(seed=seed))).model.state_dict())
    assert changed(states[0], states[1]) == set()
    assert changed(states[0], states[2])


def test_random_numbers_of_a_step_follow_from_seed_iteration_and_rank(tmp_path, monkeypatch):
    runner, hook = started(search_config(tmp_path, iters=6))
    paths = recorded_paths(runner.model.backbone)

    def drawn(iteration, rank=0):
        monkeypatch.setattr('fna_mm.hooks.endless_batches.get_rank', lambda: rank)
        runner.train_loop._iter = iteration
        hook.before_train_iter(runner, iteration)
        return random.random(), np.random.rand(), float(torch.rand(())), paths[-1]

    first, again, later, other_rank = drawn(1), drawn(1), drawn(2), drawn(1, rank=1)
    assert first == again
    assert not set(first) & set(later)
    assert not set(first[:3]) & set(other_rank[:3])
    assert first[3] == other_rank[3]  # DDP averages the gradients of one path


def test_resuming_without_the_searchs_state_warns(tmp_path, caplog):
    train(search_config(tmp_path / 'first'))
    checkpoint = load(tmp_path / 'first/epoch_1.pth')
    del checkpoint['alternating_optimizer']
    torch.save(checkpoint, tmp_path / 'bare.pth')
    runner = stop_at(search_config(tmp_path / 'second'), tmp_path / 'bare.pth')
    (log, ) = Path(runner.log_dir).glob('*.log')
    assert "has no 'alternating_optimizer': the architecture optimizer and its data start anew" in log.read_text()
    assert find_hook(runner, 'AlternatingOptimizerHook').arch_steps == 2


def test_a_checkpoint_that_is_only_loaded_starts_the_search_anew(tmp_path):
    train(search_config(tmp_path / 'first'))
    cfg = search_config(tmp_path / 'second', load_from=str(tmp_path / 'first/epoch_2.pth'))
    runner, weights, _ = recorded(cfg)
    loaded = load(tmp_path / 'first/epoch_2.pth')
    torch.testing.assert_close(weights.before[0]['alpha'], loaded['state_dict']['backbone.architecture_parameters'])
    assert find_hook(runner, 'AlternatingOptimizerHook').arch_steps == 2
    steps = find_hook(runner, 'AlternatingOptimizerHook').optim_wrapper.state_dict()['state'][0]['step']
    assert steps == 2


def test_a_plain_training_has_no_use_for_the_hook(tmp_path):
    cfg = child_net_config(tmp_path)
    cfg.custom_hooks = search_config(tmp_path, hook=dict(begin_epoch=0)).custom_hooks
    with pytest.raises(ValueError, match='set model.backbone.type to FNASuperNet'):
        train(cfg)


# A budget instead of a weight

BUDGET = dict(type='MAddsCost', input_shape=COST['input_shape'], budget=.7)


def test_a_search_with_a_budget_ends_within_it(tmp_path):
    runner = train(search_config(tmp_path, epochs=4, hook=dict(cost=BUDGET)))
    hook, net = find_hook(runner, 'AlternatingOptimizerHook'), runner.model.backbone
    seed = net.search_space.seed.madds(COST['input_shape'], 8) / 1e9
    assert hook.cost.limit == pytest.approx(.7 * seed)
    found = net.best_architecture()
    assert found.madds(COST['input_shape'], 8) / 1e9 <= hook.cost.limit
    # Without the budget, the most probable path is the one of the largest parameters.
    alphas = net.architecture_parameters.split([len(layer.candidates) for layer in net.search_space.layers])
    table = madds_table(net.search_space, COST['input_shape'], 8)
    free = [int(alpha.argmax()) for alpha in alphas]
    assert table.of_path(net.best_path()) <= hook.cost.limit
    state = load(tmp_path / 'epoch_4.pth')
    assert state['alternating_optimizer']['cost']['multiplier'] == hook.cost.multiplier != 0
    assert best_architecture(state) == found
    net.limit_best_path(lambda log_probabilities: tuple(free))
    assert net.best_path() == tuple(free)


def test_a_resumed_search_with_a_budget_is_the_uninterrupted_one(tmp_path):
    def config(folder):
        return search_config(tmp_path / folder, epochs=4, hook=dict(cost=BUDGET))

    train(config('whole'))
    stop_at(config('resumed'), tmp_path / 'whole/epoch_3.pth')
    whole, resumed = (load(tmp_path / folder / 'epoch_4.pth') for folder in ('whole', 'resumed'))
    for part in ('state_dict', 'optimizer', 'alternating_optimizer'):
        assert_same(resumed[part], whole[part], part)
    assert whole['alternating_optimizer']['cost']['task_loss'] > 0


def test_a_budget_that_cannot_be_reached_stops_before_training(tmp_path):
    with pytest.raises(ValueError, match=r'budget=0\.01 of MAddsCost is .* GMAdds, but the paths'):
        train(search_config(tmp_path, hook=dict(cost=dict(BUDGET, budget=.01))))
    assert not list(tmp_path.glob('*.pth'))
