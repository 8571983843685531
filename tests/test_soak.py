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


def kill_at_random(work_dir, loop, processes, seconds, one_rank):
    """Start the search, and kill it some time after its first iteration; whether it was still running."""
    (work_dir / STARTED).unlink(missing_ok=True)
    process = start(work_dir, loop, processes, 'none', EPOCHS)
    patience = time.monotonic() + 300
    while not (work_dir / STARTED).exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < patience
        time.sleep(.01)
    time.sleep(seconds)
    running = process.poll() is None
    if running and one_rank:  # the launcher ends the other one
        workers = subprocess.run(['pgrep', '-P', str(process.pid)], stdout=subprocess.PIPE, text=True).stdout.split()
        os.kill(int(random.choice(workers)), signal.SIGKILL)
    elif running:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=300)
    return running


@pytest.mark.parametrize('loop', ['epochs', 'iters'])
@pytest.mark.parametrize('processes', [1, 2])
def test_killed_at_random(tmp_path, capsys, processes, loop):
    begin = time.monotonic()
    run(tmp_path / 'whole', loop, processes, 'none', EPOCHS)
    last = f'epoch_{EPOCHS}' if loop == 'epochs' else f'iter_{2 * EPOCHS}'
    # Four fifths of its time, start included, is a guess that leaves some of the search for every kill.
    longest = .8 * (time.monotonic() - begin) / KILLS
    work_dir = tmp_path / 'killed'
    work_dir.mkdir()
    for number in range(KILLS):
        seconds = random.uniform(0, longest)
        one_rank = processes == 2 and number % 2 == 1
        running = kill_at_random(work_dir, loop, processes, seconds, one_rank)
        reached = max((int(path.stem.partition('_')[2]) for path in work_dir.glob('*_*.pth')), default=0)
        with capsys.disabled():
            print(f'\n{loop} x {processes}: {"one rank" if one_rank else "all"} killed {seconds:.2f} s after the first '
                  f'iteration; last checkpoint: {reached}', end='')
        assert running, 'it had ended before it was killed: give it more EPOCHS'
    run(work_dir, loop, processes, 'none', EPOCHS)
    state = assert_same_end(work_dir, tmp_path / 'whole', last)
    assert state['arch_steps'] == 2 * EPOCHS - 2
