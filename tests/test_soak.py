"""Searches and commands that are killed at random moments again and again: ``make soak``, an hour on two cores."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from faulty_search import STARTED
from released import release_backbone
from synthetic_runs import search_dir
from test_faults import assert_same_end, run, start
from toy_segmentation import train_segmentor

from fna_mm import FNAChildNet

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


def inputs_of(command, folder):
    """Make what a command reads in a folder; its arguments. It writes below ``out``."""
    seed = FNAChildNet(arch='mobilenet_v2').state_dict()
    if command == 'remap':
        torch.save(seed, folder / 'seed.pth')
        return ['remap', 'seed.pth', 'fna_retinanet', 'out/remapped.pth', '--report', 'out/remapped.json']
    if command == 'convert':
        torch.save(release_backbone(seed), folder / 'released.pth')
        return ['convert', 'released.pth', 'out/converted.pth']
    if command == 'report':
        search_dir(folder / 'search')
        return ['report', 'search', '--out', 'out']
    config, checkpoint = (os.path.relpath(path, folder) for path in train_segmentor(folder))
    if command == 'export':
        return ['export', config, checkpoint, 'out/network.onnx']
    return ['adapt', config, checkpoint, '--budget', '0.7', '--budget', '0.45', '--work-dir', 'out',
            '--statistics-images', '12', '--score-images', '8']


@pytest.mark.parametrize('command', ['adapt', 'remap', 'convert', 'export', 'report'])
def test_commands_killed_at_random(tmp_path, capsys, command):
    """The inputs stay what they are; every output is whole or absent; the last run leaves nothing half behind."""
    folder = tmp_path / 'work'
    folder.mkdir()
    arguments = inputs_of(command, folder)
    script = Path(__file__).with_name('killed_commands.py')
    ended = subprocess.run([sys.executable, '-W', 'ignore', str(script), '50', *arguments], cwd=folder, text=True,
                           capture_output=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    with capsys.disabled():
        print(f'\n{command}: {ended.stdout.splitlines()[-1]}', end='')
