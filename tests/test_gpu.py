"""What only a GPU can show: mixed precision with a scaler, NCCL, SyncBN, a device that is too small."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toy_search import assert_same, load, search_config, train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no CUDA device')
HERE = Path(__file__).parent
ALPHA = 'backbone.architecture_parameters'


def amp_config(work_dir, dtype, epochs, **overrides):
    """Both optimizers under AMP; only float16 has a scaler that does anything."""
    wrapper = dict(type='AmpOptimWrapper', dtype=dtype, clip_grad=dict(max_norm=35))
    if dtype == 'bfloat16':
        wrapper['loss_scale'] = dict(enabled=False)
    return search_config(
        work_dir, epochs=epochs, optim_wrapper=dict(wrapper, optimizer=dict(type='SGD', lr=.05, momentum=.9)),
        hook=dict(optim_wrapper=dict(wrapper, optimizer=dict(type='Adam', lr=.05))),
        randomness=dict(seed=3), **overrides)


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_mixed_precision_and_resume(tmp_path, dtype):
    train(amp_config(tmp_path / 'whole', dtype, 6))
    train(amp_config(tmp_path / 'stopped', dtype, 4))
    train(amp_config(tmp_path / 'stopped', dtype, 6, resume=True))
    whole, resumed = (load(tmp_path / name / 'epoch_6.pth') for name in ('whole', 'stopped'))
    state, other = whole['alternating_optimizer'], resumed['alternating_optimizer']
    assert state['arch_steps'] == other['arch_steps'] == 10
    assert state['skipped_steps'] == other['skipped_steps']
    assert_same(other['optim_wrapper']['loss_scaler'], state['optim_wrapper']['loss_scaler'])
    assert bool(state['optim_wrapper']['loss_scaler']) == (dtype == 'float16')
    assert torch.isfinite(whole['state_dict'][ALPHA]).all()
    assert whole['state_dict'][ALPHA].abs().max() > .05  # it began at some thousandths
    # Convolutions on a GPU may add in another order each time.
    torch.testing.assert_close(resumed['state_dict'][ALPHA], whole['state_dict'][ALPHA], rtol=.1, atol=.05)


def test_nccl_and_sync_bn(tmp_path):
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(HERE), os.environ.get('PYTHONPATH', '')]))
    done = subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '1',
         str(HERE / 'distributed_search.py'), str(tmp_path), 'nccl'], env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-4000:]
    assert load(tmp_path / 'epoch_3.pth')['alternating_optimizer']['arch_steps'] == 4


def test_a_device_that_is_too_small_is_found_before_training(tmp_path):
    cfg = search_config(tmp_path)
    cfg.custom_hooks[0].dataloader.update(batch_size=4096, sampler=dict(type='DefaultSampler', shuffle=True))
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(.4e9 / torch.cuda.get_device_properties(0).total_memory)
    try:
        with pytest.raises(RuntimeError, match='does not fit into the memory of the device: set with_cp=True'):
            train(cfg)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.)
    assert not list(tmp_path.glob('*.pth'))
