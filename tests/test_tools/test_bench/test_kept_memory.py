import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
GLIBC = platform.libc_ver()[0] == 'glibc'
#: Makes and frees 64 MiB many times, so that a place for it is found; prints how many pages the system cleared for
#: the last.
PROGRAM = '''
import resource
import torch
from tools.bench.kept_memory import keep_freed_memory
done = {call}
for _ in range(40):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(done, faults)
'''


def run(call, **environment):
    done, faults = subprocess.run([sys.executable, '-c', PROGRAM.format(call=call)], capture_output=True, text=True,
                                  check=True, env=dict(environment, PYTHONPATH=str(ROOT))).stdout.split()
    return done == 'True', int(faults)


@pytest.mark.slow
@pytest.mark.skipif(not GLIBC, reason='needs glibc')
def test_freed_memory_is_used_again_without_the_system():
    assert run('None')[1] > 1000
    done, faults = run('keep_freed_memory()')
    assert done
    assert faults < 100


@pytest.mark.slow
def test_settings_in_the_environment_stay():
    assert run('keep_freed_memory()', MALLOC_TRIM_THRESHOLD_='1000000')[0] is False


def test_another_c_library(monkeypatch):
    from tools.bench import kept_memory
    monkeypatch.setattr(kept_memory.ctypes, 'CDLL', lambda name: object())
    assert kept_memory.keep_freed_memory() is False
