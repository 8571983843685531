"""Two processes share the images: both end with the table of one."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from toy_search import load

pytestmark = pytest.mark.slow


def run(segmentor, work_dir, processes, *more):
    environment = dict(os.environ, OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')
    launcher = [] if processes == 1 else ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node',
                                          str(processes)]
    call = [sys.executable, *launcher, '-m', 'fna_mm', 'adapt', *segmentor, '--work-dir', str(work_dir),
            '--budget', '0.6', '--statistics-images', '11', '--score-images', '7', '--tolerance', '100', '--evaluate',
            *more]
    done = subprocess.run(call, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=240)
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def test_two_processes_find_what_one_finds(segmentor, tmp_path):
    outputs = [run(segmentor, tmp_path / str(number), number) for number in (1, 2)]
    assert all(output.count('of the model; loss') == 1 for output in outputs)  # one of the two speaks
    one, two = (json.loads((tmp_path / str(number) / 'front.json').read_text()) for number in (1, 2))
    assert one['children'][0]['arch'] == two['children'][0]['arch']
    assert one['candidates'] == two['candidates']
    for first, second in zip(one['blocks'], two['blocks']):
        assert first['measured'].keys() == second['measured'].keys()
        # Sums of float64 in another order; losses are float32.
        for width, pair in first['measured'].items():
            assert np.allclose(pair, second['measured'][width], rtol=1e-3, atol=1e-6)
    assert one['trained']['metrics'] == pytest.approx(two['trained']['metrics'])
    states = [load(tmp_path / str(number) / 'budget_0.6/child.pth')['state_dict'] for number in (1, 2)]
    for key, value in states[0].items():
        assert np.allclose(value, states[1][key], rtol=1e-3, atol=1e-4), key
    # What one process has begun, two finish: the files of all are read.
    assert {path.name for path in (tmp_path / '2').glob('scores_*')} == {'scores_0.json', 'scores_1.json'}


def test_two_processes_narrow_what_neck_and_head_read(ssdlite, tmp_path):
    """Taps are measured, ranked and fitted on the images of both."""
    for number in (1, 2):
        run(ssdlite, tmp_path / str(number), number, '--budget', '0.22')
    one, two = (json.loads((tmp_path / str(number) / 'front.json').read_text()) for number in (1, 2))
    for first, second in zip(one['children'], two['children']):
        assert first['arch'] == second['arch']
        assert first['outside'] == second['outside']
    assert one['children'][1]['outside']['conv2'][1] < one['children'][1]['outside']['conv2'][0]
    folders = [tmp_path / str(number) / 'budget_0.22' for number in (1, 2)]
    assert len({(folder / 'distilled_channels.json').read_text() for folder in folders}) == 1
    states = [load(folder / 'child.pth')['state_dict'] for folder in folders]
    for key, value in states[0].items():
        assert np.allclose(value, states[1][key], rtol=1e-3, atol=1e-3), key


def test_two_processes_rehearse_one_network(segmentor, tmp_path):
    """Each sees other images, so the weights are not those of one process, but all of them go on from the same ones."""
    output = run(segmentor, tmp_path / 'work', 2, '--grow', '--rehearsal', '6')
    assert output.count('of the model; loss') == 1
    values = json.loads((tmp_path / 'work/front.json').read_text())
    rows = [json.loads((tmp_path / f'work/scores_{rank}.json').read_text()) for rank in (0, 1)]
    assert not set(rows[0]) & set(rows[1])  # images
    measured = {key for row in [*rows[0].values(), *rows[1].values()] for key in row}
    assert all(set(row) == measured for row in [*rows[0].values(), *rows[1].values()])
    assert len(values['growth']['candidates']) > 10
    assert values['growth']['metrics']['mIoU'] > 60
    # The rehearsal of a child's weights: one file, and it is whole.
    assert load(tmp_path / 'work/rehearsed.pth')['state_dict'].keys() == load(
        tmp_path / 'work/growing_start.pth')['state_dict'].keys()
