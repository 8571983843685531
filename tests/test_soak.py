"""Searches that are killed at random moments again and again: ``make soak``, half an hour on two cores."""

import os
import random
import signal
import subprocess
import time

import pytest
from faulty_search import STARTED
from test_faults import assert_same_end, run, start

pytestmark = pytest.mark.soak
#: In each of the four searches below, which have this many epochs of two iterations and an evaluation.
KILLS, EPOCHS = 5, 40


def reached(work_dir):
    """The number of the last checkpoint, 0 if there is none."""
    return max((int(path.stem.partition('_')[2]) for path in work_dir.glob('*_*.pth')), default=0)


def kill_at_random(work_dir, loop, processes, checkpoint, one_rank):
    """Start the search, and kill it within a second or so from a checkpoint on; the moment, in words."""
    (work_dir / STARTED).unlink(missing_ok=True)
    process = start(work_dir, loop, processes, 'none', EPOCHS)
    patience = time.monotonic() + 600
    while not (work_dir / STARTED).exists() or reached(work_dir) < checkpoint:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < patience
        time.sleep(.01)
    seconds = random.uniform(0, 1)
    time.sleep(seconds)
    assert process.poll() is None, 'it ended before it was killed: give it more EPOCHS'
    workers = subprocess.run(['pgrep', '-P', str(process.pid)], stdout=subprocess.PIPE, text=True).stdout.split()
    # The launcher's workers have process groups of their own and would go on without it; it ends both when one dies.
    for pid in [random.choice(workers)] if one_rank else [process.pid, *workers]:
        os.kill(int(pid), signal.SIGKILL)
    process.communicate(timeout=300)
    return f'{"one rank" if one_rank else "all"} killed {seconds:.3f} s after checkpoint {checkpoint}'


@pytest.mark.parametrize('loop', ['epochs', 'iters'])
@pytest.mark.parametrize('processes', [1, 2])
def test_killed_at_random(tmp_path, capsys, processes, loop):
    work_dir = tmp_path / 'killed'
    work_dir.mkdir()
    step = 1 if loop == 'epochs' else 2  # iterations a checkpoint
    for number, checkpoint in enumerate(sorted(random.sample(range(EPOCHS - 5), KILLS))):
        moment = kill_at_random(work_dir, loop, processes, step * checkpoint, processes == 2 and number % 2 == 1)
        with capsys.disabled():
            print(f'\n{loop} x {processes}: {moment}', end='')
    run(work_dir, loop, processes, 'none', EPOCHS)
    run(tmp_path / 'whole', loop, processes, 'none', EPOCHS)
    last = f'epoch_{EPOCHS}' if loop == 'epochs' else f'iter_{2 * EPOCHS}'
    assert assert_same_end(work_dir, tmp_path / 'whole', last)['arch_steps'] == 2 * EPOCHS - 2
