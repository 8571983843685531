"""A search that is killed anywhere and started again ends as one that was not, bit for bit.

These take minutes, so a plain ``pytest`` leaves them out: ``make faults``, or ``pytest -m faults``.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from faulty_search import KILLED
from toy_search import assert_same, load

HERE = Path(__file__).parent
pytestmark = pytest.mark.faults
FAULTS = ('weight_step', 'arch_step', 'checkpoint', 'evaluation')
LAST = dict(epochs='epoch_4', iters='iter_8')


def start(work_dir, loop, processes, *arguments):
    """A search in processes of its own, in a process group of its own."""
    environment = dict(os.environ, OMP_NUM_THREADS='1', CUBLAS_WORKSPACE_CONFIG=':4096:8',
                       PYTHONPATH=os.pathsep.join([str(HERE), os.environ.get('PYTHONPATH', '')]))
    if processes > 1:
        environment['CUDA_VISIBLE_DEVICES'] = ''  # gloo, and mostly fewer devices than processes
    launcher = [] if processes == 1 else ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node',
                                          str(processes)]
    return subprocess.Popen(
        [sys.executable, '-W', 'ignore', *launcher, str(HERE / 'faulty_search.py'), str(work_dir), loop,
         *map(str, arguments)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True)


def run(work_dir, loop, processes, fault='none', *arguments):
    """A search until it ends; its exit code."""
    process = start(work_dir, loop, processes, fault, *arguments)
    output, _ = process.communicate(timeout=600)
    if fault == 'none':
        assert process.returncode == 0, output
    return process.returncode


def assert_same_end(found_dir, expected_dir, last):
    """Everything that a checkpoint holds, and the exported architecture."""
    expected, found = (load(folder / f'{last}.pth') for folder in (expected_dir, found_dir))
    for part in ('state_dict', 'optimizer', 'param_schedulers', 'alternating_optimizer'):
        assert_same(found[part], expected[part], part)
    assert (found_dir / 'arch.json').read_text() == (expected_dir / 'arch.json').read_text()
    return expected['alternating_optimizer']


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
    """Work directories of searches that nothing happened to, made when first asked for."""
    made = {}

    def get(loop, processes):
        if (loop, processes) not in made:
            made[loop, processes] = tmp_path_factory.mktemp(f'{loop}_{processes}')
            run(made[loop, processes], loop, processes)
        return made[loop, processes]

    return get


@pytest.mark.parametrize('fault', FAULTS)
@pytest.mark.parametrize('loop', ['epochs', 'iters'])
@pytest.mark.parametrize('processes', [1, 2])
def test_nothing_is_lost(tmp_path, uninterrupted, processes, loop, fault):
    code = run(tmp_path, loop, processes, fault)
    assert code != 0
    assert processes == 2 or code == -signal.SIGKILL
    assert (tmp_path / KILLED).exists()
    last = LAST[loop]
    assert not (tmp_path / f'{last}.pth').exists()
    if fault == 'checkpoint':
        with pytest.raises(ValueError, match='truncated or damaged'):
            load(tmp_path / ('epoch_3.pth' if loop == 'epochs' else 'iter_6.pth'))
    run(tmp_path, loop, processes)
    assert assert_same_end(tmp_path, uninterrupted(loop, processes), last)['arch_steps'] == 6
