import copy
from pathlib import Path

import pytest
import torch
from mmengine.registry import HOOKS
from torch import nn
from toy_search import build, changed, child_net_config, toy_dataloader, train

from fna_mm.hooks.bn_calibration_hook import calibrate_batch_norm


def toy(tmp_path, **backbone):
    """The toy classifier with a child in it, and two batches of different sizes."""
    cfg = child_net_config(tmp_path)
    cfg.model.backbone.update(backbone)
    runner = build(cfg)
    batches = [dict(inputs=torch.randn(size, 3, 32, 32, generator=torch.Generator().manual_seed(size)),
                    labels=torch.zeros(size, dtype=torch.int64)) for size in (4, 6)]
    return runner.model, batches


def norms_of(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}


def statistics_by_hand(model, batches):
    """Mean over the batches of mean and unbiased variance of what enters every BN, in training mode."""
    model = copy.deepcopy(model)
    inputs = {name: [] for name in norms_of(model)}
    for name, norm in norms_of(model).items():
        norm.register_forward_hook(lambda _, args, __, name=name: inputs[name].append(args[0]))
    for module in model.modules():
        module.training = True
    with torch.no_grad():
        for batch in batches:
            model(**batch, mode='loss')
    dims = (0, 2, 3)
    return {name: (sum(x.mean(dims) for x in xs) / len(xs), sum(x.var(dims) for x in xs) / len(xs))
            for name, xs in inputs.items()}


@pytest.mark.parametrize('num_iters', [0, -1, 1.5, True, '10', None])
def test_bad_number_of_iterations(num_iters):
    with pytest.raises(ValueError, match=f'num_iters of BNCalibrationHook must be a positive integer, not '
                                         f'{num_iters!r}'):
        HOOKS.build(dict(type='BNCalibrationHook', num_iters=num_iters))


@pytest.mark.parametrize('backbone', [{}, dict(norm_eval=True), dict(frozen_stages=3)])
def test_statistics_are_the_mean_over_the_batches(tmp_path, backbone):
    model, batches = toy(tmp_path, **backbone)
    model.dropout.p = 0.
    expected = statistics_by_hand(model, batches)
    calibrate_batch_norm(model, iter(batches), 2)
    assert len(expected) == 1 + 3 * 6 - 1 + 1  # stem, six blocks of which one does not expand, neck
    for name, norm in norms_of(model).items():
        mean, var = expected[name]
        torch.testing.assert_close(norm.running_mean, mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_var, var, rtol=1e-4, atol=1e-5)
        assert norm.num_batches_tracked == 2


def test_nothing_else_changes(tmp_path):
    model, batches = toy(tmp_path, norm_eval=True)
    model.eval()
    model.neck.bn.momentum = .03
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    calibrate_batch_norm(model, iter(batches), 2)
    keys = changed(before, model.state_dict())
    assert {key.rpartition('.')[2] for key in keys} == {'running_mean', 'running_var', 'num_batches_tracked'}
    assert len(keys) == 3 * len(norms_of(model))
    assert [module.training for module in model.modules()] == modes
    assert [norm.momentum for norm in norms_of(model).values()] == (len(norms_of(model)) - 1) * [.1] + [.03]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_earlier_statistics_leave_no_trace(tmp_path):
    model, batches = toy(tmp_path)
    model.dropout.p = 0.
    results = []
    for value in (0., 100.):
        for norm in norms_of(model).values():
            norm.running_mean.fill_(value)
        calibrate_batch_norm(model, iter(batches), 2)
        results.append({key: tensor.clone() for key, tensor in model.state_dict().items()})
    assert changed(*results) == set()


def test_only_as_many_batches_as_asked_for(tmp_path):
    model, batches = toy(tmp_path)
    done = []
    stream = iter(batches)
    calibrate_batch_norm(model, stream, 1, done.append)
    assert done == [1]
    assert next(stream) is batches[1]


def test_modes_and_momenta_come_back_when_a_batch_raises(tmp_path, monkeypatch):
    model, batches = toy(tmp_path, norm_eval=True)
    model.train()
    modes = [module.training for module in model.modules()]
    assert False in modes

    def fail(inputs):
        raise RuntimeError('out of memory')

    monkeypatch.setattr(model.head, 'forward', fail)
    with pytest.raises(RuntimeError, match='out of memory'):
        calibrate_batch_norm(model, iter(batches), 2)
    assert [module.training for module in model.modules()] == modes
    assert {norm.momentum for norm in norms_of(model).values()} == {.1}


def test_a_model_without_bn_is_left_alone():
    calibrate_batch_norm(nn.Linear(2, 2), iter(()), 3)  # it has no data_preprocessor, so nothing may run


# Through the runner


def log_of(runner):
    (path, ) = Path(runner.log_dir).glob('*.log')
    return path.read_text()


def test_runs_before_the_first_iteration_and_not_on_resume(tmp_path):
    """8 images in batches of 4: three batches are more than an epoch."""
    def config(folder, **sections):
        return child_net_config(tmp_path / folder, custom_hooks=[dict(type='BNCalibrationHook', num_iters=3)],
                                log_level='INFO', **sections)

    runner = build(config('whole'))
    batches = [dict(batch) for batch in runner.train_dataloader]
    runner.model.init_weights()
    state = copy.deepcopy(runner.model.state_dict())
    expected = statistics_by_hand(runner.model, [*batches, batches[0]])['backbone.conv1.bn']
    seen = []
    original = runner.model.train_step

    def first_step(*args, **kwargs):
        seen.append(copy.deepcopy(runner.model.backbone.conv1.bn.state_dict()))
        return original(*args, **kwargs)

    runner.model.train_step = first_step
    runner.model.init_weights = lambda: runner.model.load_state_dict(state)
    runner.train()
    assert len(seen) == 2
    torch.testing.assert_close(seen[0]['running_mean'], expected[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(seen[0]['running_var'], expected[1], rtol=1e-4, atol=1e-5)
    assert 'BNCalibrationHook: measuring BN statistics on 3 batches' in log_of(runner)
    assert 'BN calibration [3/3]' in log_of(runner)

    cfg = config('resumed', load_from=str(tmp_path / 'whole/epoch_1.pth'), resume=True)
    cfg.train_cfg.max_epochs = 2
    resumed = build(cfg)
    resumed.train()
    assert 'the run resumes, BN statistics stay as they are' in log_of(resumed)
    assert 'measuring' not in log_of(resumed)
    assert resumed.model.neck.bn.num_batches_tracked == 3 + 2 + 2


@pytest.mark.parametrize('workers', [0, 1])
def test_takes_no_batch_from_the_training(tmp_path, workers):
    """IterBasedTrainLoop draws from an endless sampler, and its workers stay, before any hook runs."""
    seen = []
    for folder, hooks in (('with', [dict(type='BNCalibrationHook', num_iters=3)]), ('without', [])):
        cfg = child_net_config(tmp_path / folder, iters=2, custom_hooks=hooks)
        cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=2, val_interval=100)
        cfg.train_dataloader = toy_dataloader(None, num_workers=workers, persistent_workers=workers > 0,
                                              sampler=dict(type='InfiniteSampler', shuffle=True))
        runner = build(cfg)
        original = runner.model.train_step

        def step(data, *args, original=original, **kwargs):
            seen.append(data['inputs'].clone())
            return original(data, *args, **kwargs)

        runner.model.train_step = step
        runner.train()
    assert len(seen) == 4
    assert torch.equal(seen[0], seen[2])
    assert torch.equal(seen[1], seen[3])
    assert not torch.equal(seen[0], seen[1])


def test_no_batch_is_an_error_instead_of_a_wait(tmp_path):
    cfg = child_net_config(tmp_path, custom_hooks=[dict(type='BNCalibrationHook', num_iters=3)])
    cfg.train_dataloader = toy_dataloader(None, length=3, drop_last=True)
    with pytest.raises(ValueError, match='train_dataloader has none: 3 samples with drop_last; use a smaller'):
        train(cfg)
