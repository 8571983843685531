"""What else a training of mm may ask for: SyncBN, compile, accumulation, little memory, safe loading."""

import pytest
import torch
from mmengine.model import convert_sync_batchnorm
from mmengine.registry import MODELS
from mmengine.utils import digit_version
from torch import nn
from toy_search import (
    CHILD,
    SUPERNET,
    assert_same,
    build,
    changed,
    child_net_config,
    find_hook,
    load,
    search_config,
    toy_dataloader,
    train,
)

from fna_mm.hooks.preflight import check_memory

# SyncBN, which runs on GPUs only


@pytest.mark.parametrize('backbone', [SUPERNET, CHILD])
def test_sync_bn_takes_the_place_of_every_bn(backbone):
    net = MODELS.build(backbone)
    before = {name: module for name, module in net.named_modules() if isinstance(module, nn.BatchNorm2d)}
    state = {key: value.clone() for key, value in net.state_dict().items()}
    converted = convert_sync_batchnorm(net)
    after = {name: module for name, module in converted.named_modules() if isinstance(module, nn.SyncBatchNorm)}
    assert list(after) == list(before)
    for name, module in before.items():
        assert (after[name].affine, after[name].track_running_stats) == (module.affine, module.track_running_stats)
    assert_same(dict(converted.state_dict()), state)
    by_name = MODELS.build(dict(backbone, norm_cfg=dict(type='SyncBN', requires_grad=True)))
    assert isinstance(by_name.conv1.bn, nn.SyncBatchNorm)


# Compiled by mm


@pytest.mark.slow
@pytest.mark.skipif(digit_version(torch.__version__) < digit_version('2.4'),
                    reason='the compiler of PyTorch 2.1 fails on it with an internal error')
def test_a_compiled_child_trains_as_one_that_is_not(tmp_path):
    runs = [train(child_net_config(tmp_path / name, compile=compile, randomness=dict(seed=5, deterministic=True)))
            for name, compile in (('plain', False), ('compiled', dict(backend='aot_eager')))]
    assert 'train_step' in vars(runs[1].model)
    one, other = (runner.model.state_dict() for runner in runs)
    for key, value in one.items():
        torch.testing.assert_close(other[key], value, rtol=1e-3, atol=1e-4, msg=key)


# Accumulated gradients of the weights


def test_weights_accumulate_over_paths_with_architecture_steps_between(tmp_path):
    cfg = search_config(tmp_path, epochs=3, optim_wrapper=dict(
        type='OptimWrapper', optimizer=dict(type='SGD', lr=.1), accumulative_counts=2, clip_grad=dict(max_norm=1e-3)))
    cfg.custom_hooks = [dict(type='Recorder', priority='HIGH'), *cfg.custom_hooks, dict(type='Recorder')]
    runner = train(cfg)
    weights, everything = (hook for hook in runner.hooks if type(hook).__name__ == 'Recorder')
    arch = [changed(*states) for states in zip(weights.after, everything.after)]
    assert arch == 2 * [set()] + 4 * [{'alpha'}]
    for index, states in enumerate(zip(weights.before, weights.after)):
        trained = {key for key in changed(*states) if 'running' not in key and 'num_batches' not in key}
        assert bool(trained) == (index % 2 == 1)
        if trained:
            moved = sum((states[1][key] - states[0][key]).square().sum() for key in trained)**.5
            assert float(moved) == pytest.approx(.1 * 1e-3, rel=1e-2)  # rate times the clipped norm


# Too little memory


def out_of_memory():
    raise torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB')


@pytest.mark.parametrize(('with_cp', 'advice'), [
    (False, r'set with_cp=True in model.backbone.*after that, lower batch_size .*\(now 16\)'),
    (True, r"device: lower batch_size of AlternatingOptimizerHook's dataloader \(now 16\)")])
def test_too_little_memory_names_the_setting(with_cp, advice):
    supernet = MODELS.build(dict(SUPERNET, with_cp=with_cp))
    with pytest.raises(RuntimeError, match='an architecture step does not fit .*' + advice):
        check_memory(out_of_memory, supernet, 16)


def test_the_trial_is_a_step_that_changes_nothing(tmp_path):
    runner = build(search_config(tmp_path))
    runner.train()
    hook, model = find_hook(runner, 'AlternatingOptimizerHook'), runner.model
    before, forwards = {key: value.clone() for key, value in model.state_dict().items()}, len(model.modes)
    dataloader = runner.build_dataloader(toy_dataloader('arch'))
    check_memory(lambda: hook._try_step(dataloader), model.backbone, 4)  # the hook itself tries on GPUs only
    assert model.modes[forwards:] == [('loss', 'mixture')]
    assert_same(dict(model.state_dict()), before)
    assert model.backbone.architecture_parameters.grad is None


# torch's safe loading, which is what ``--resume`` and ``load_from`` use


@pytest.mark.parametrize(('config', 'longer', 'last'), [
    (search_config, dict(epochs=3), 'epoch_2'), (search_config, dict(iters=6), 'iter_4'),
    (child_net_config, dict(epochs=2), 'epoch_1')], ids=['epochs', 'iters', 'child'])
def test_checkpoints_open_safely_and_go_on(tmp_path, config, longer, last):
    key, value = next(iter(longer.items()))
    length = int(last.partition('_')[2])
    train(config(tmp_path, **{key: length}))
    meta = load(tmp_path / f'{last}.pth')['meta']
    runner = train(config(tmp_path, **longer, resume=True))
    assert meta['iter'] < runner.iter
    assert (runner.epoch if key == 'epochs' else runner.iter) == value
