import os
import pickle
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

import fna_mm  # noqa: F401  registers the names
from fna_mm.checkpoints import restricted_pickle
from fna_mm.checkpoints.opening import load_checkpoint
from fna_mm.checkpoints.safe_globals import TORCH_LOADS_SAFELY, allow_mmengine_checkpoints, history_buffer_statistic

needs_safe_torch = pytest.mark.skipif(not TORCH_LOADS_SAFELY, reason='torch before 2.6 takes no such names')


@pytest.fixture(params=[pytest.param(dict(weights_only=True), marks=needs_safe_torch),
                        dict(weights_only=False, pickle_module=restricted_pickle)], ids=['torch', 'restricted'])
def reload(request, tmp_path):
    """``reload(value)``: saved, and opened in one of the two safe ways."""
    allow_mmengine_checkpoints()  # the maintained line's mmengine takes them back when it has opened a file

    def reload(value, **options):
        torch.save(value, tmp_path / 'x.pth', **options)
        return torch.load(tmp_path / 'x.pth', **request.param)
    return reload


def test_what_another_takes_back_is_allowed_again(tmp_path):
    """onedl's mmengine lets these names through while it opens a file, and takes them back, ours with its own."""
    saved = dict(state_dict={'w': torch.ones(2)}, message_hub=HistoryBuffer([1., 2.], [1, 1]))
    torch.save(saved, tmp_path / 'x.pth')
    if TORCH_LOADS_SAFELY:
        torch.serialization.clear_safe_globals()
    assert load_checkpoint(str(tmp_path / 'x.pth'))['message_hub'].current() == 2


def test_history_buffers_open(reload):
    buffer = HistoryBuffer([1., 3.], [1, 1])
    loaded = reload(dict(message_hub=dict(log_scalars={'train/loss': buffer})))
    other = loaded['message_hub']['log_scalars']['train/loss']
    assert (other.mean(2), other.current()) == (2., 3.)
    assert (other.statistics('min'), other.statistics('max')) == (1., 3.)


@pytest.mark.parametrize('value', [np.float64(1.5), np.float32(1.5), np.int64(3), np.bool_(True),
                                   np.arange(4, dtype=np.int64), np.ones((2, 3), np.float32), np.uint8(7)])
def test_numpy_opens(reload, value):
    loaded = reload(dict(value=value))['value']
    assert np.array_equal(loaded, value)
    assert loaded.dtype == value.dtype


@pytest.mark.parametrize('zipped', [True, False])
def test_tensors_open(reload, zipped):
    state = dict(a=torch.arange(6.).view(2, 3).t(), b=nn.Parameter(torch.ones(2)), c=torch.tensor(7),
                 d=torch.ones(2, dtype=torch.bfloat16), kind=torch.float16, size=torch.Size([1, 2]))
    loaded = reload(OrderedDict(state), _use_new_zipfile_serialization=zipped)
    assert type(loaded) is OrderedDict
    assert all(torch.equal(loaded[name], state[name]) and loaded[name].dtype == state[name].dtype for name in 'abcd')
    assert (type(loaded['b']), loaded['kind'], loaded['size']) == (nn.Parameter, torch.float16, (1, 2))


@needs_safe_torch
def test_nothing_opens_without_us(tmp_path):
    """The names are what makes the difference: torch alone refuses the same file."""
    path = tmp_path / 'x.pth'
    torch.save(HistoryBuffer([1.], [1]), path)
    code = f"""
import torch, mmengine.logging
try:
    torch.load({str(path)!r}, weights_only=True)
except Exception as error:
    print('weights_only' in str(error))
import fna_mm
print(torch.load({str(path)!r}, weights_only=True).current())
"""
    run = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, timeout=120)
    assert run.stdout.split() == ['True', '1.0'], run.stderr


@pytest.mark.parametrize('name', ['min', 'max', 'current', 'mean'])
def test_statistics(name):
    assert history_buffer_statistic(HistoryBuffer, name) is getattr(HistoryBuffer, name)


@pytest.mark.parametrize(('owner', 'name'), [
    (HistoryBuffer, '__init__'), (HistoryBuffer, '__globals__'), (HistoryBuffer, 'update'), (os, 'system'),
    (HistoryBuffer([1.], [1]), 'mean'), (dict, 'get'), (HistoryBuffer, ''),
    (type('Other', (HistoryBuffer, ), {}), 'mean')])
def test_nothing_else_is_named(owner, name):
    with pytest.raises(AttributeError, match='a checkpoint may name only the statistics'):
        history_buffer_statistic(owner, name)


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize('call', [
    Call(getattr, dict, 'get'), Call(getattr, HistoryBuffer, '__init__'), Call(os.mkdir, 'exploded'),
    Call(eval, '1 + 1'), Call(exec, 'pass'),
], ids=['getattr_dict', 'getattr_buffer', 'mkdir', 'eval', 'exec'])
def test_code_is_refused(tmp_path, monkeypatch, reload, call):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((pickle.UnpicklingError, AttributeError)):
        reload(call)
    assert not (tmp_path / 'exploded').exists()


@needs_safe_torch
def test_the_real_getattr_is_not_let_in():
    """Under the name of builtins.getattr stands a function that answers for four names only."""
    registered = torch.serialization.get_safe_globals()
    assert getattr not in registered
    assert (history_buffer_statistic, 'builtins.getattr') in registered
