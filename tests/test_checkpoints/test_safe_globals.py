import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

import fna_mm  # noqa: F401  registers the names
from fna_mm.checkpoints.safe_globals import history_buffer_statistic


def reload(value, path):
    torch.save(value, path)
    return torch.load(path, weights_only=True)


def test_history_buffers_open(tmp_path):
    buffer = HistoryBuffer([1., 3.], [1, 1])
    loaded = reload(dict(message_hub=dict(log_scalars={'train/loss': buffer})), tmp_path / 'x.pth')
    other = loaded['message_hub']['log_scalars']['train/loss']
    assert (other.mean(2), other.current()) == (2., 3.)
    assert (other.statistics('min'), other.statistics('max')) == (1., 3.)


@pytest.mark.parametrize('value', [np.float64(1.5), np.float32(1.5), np.int64(3), np.bool_(True),
                                   np.arange(4, dtype=np.int64), np.ones((2, 3), np.float32), np.uint8(7)])
def test_numpy_opens(tmp_path, value):
    loaded = reload(dict(value=value), tmp_path / 'x.pth')['value']
    assert np.array_equal(loaded, value)
    assert loaded.dtype == value.dtype


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
def test_code_is_refused(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    torch.save(call, 'x.pth')
    with pytest.raises((pickle.UnpicklingError, AttributeError)):
        torch.load('x.pth', weights_only=True)
    assert not (tmp_path / 'exploded').exists()


def test_the_real_getattr_is_not_let_in():
    """Under the name of builtins.getattr stands a function that answers for four names only."""
    registered = torch.serialization.get_safe_globals()
    assert getattr not in registered
    assert (history_buffer_statistic, 'builtins.getattr') in registered
