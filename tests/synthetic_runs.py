"""Work directories as mm and our hooks would have left them, without any training."""

import json
import math

from fna_mm import Architecture, SearchSpace
from fna_mm.cost.madds import GIGA, madds_table
from fna_mm.report.history import Gmadds, SearchState, append_history, named_probabilities, start_history

SIZE = (64, 96)
FOUND = """[[32, 16], ['k3_e1'], 1]|[[16, 24], ['k5_e3', 'k3_e6'], 2]|[[24, 32], ['k3_e6'], 2]|
           [[32, 64], ['k7_e6', 'k3_e6'], 2]|[[64, 96], ['k3_e3'], 1]|[[96, 160], ['k3_e6'], 2]|
           [[160, 320], ['k3_e6'], 1]"""
SECONDS = {'weight steps': 60., 'architecture steps': 90., 'data': 12., 'evaluation': 6., 'other': 12.}
#: mm's own lines, as it prints them.
LOG = """{day} 10:00:00 - mmengine - INFO -
System environment:
    CUDA available: {cuda}
    GPU number: {processes}
{day} 10:01:00 - mmengine - INFO - Epoch(train) [1][10/10]  lr: 1.0000e-03  time: 0.5000  data_time: 0.1000
{day} 10:01:10 - mmengine - INFO - Epoch(val) [1][2/4]    eta: 0:00:10  time: 0.9000  data_time: 0.0500
{day} 10:01:20 - mmengine - INFO - Epoch(val) [1][4/4]    mIoU: 31.0000  data_time: 0.0500  time: 0.2500
{day} 10:02:00 - mmengine - INFO - Saving checkpoint at 1 epochs
{day} 11:00:00 - mmengine - INFO - Epoch(test) [9/9]    mIoU: 30.0000  data_time: 0.0500  time: 0.2500
"""


def probabilities(space, sharpness):
    """Of every layer, softmax of numbers that differ between layers and candidates."""
    result = []
    for number, layer in enumerate(space.layers):
        powers = [math.exp(sharpness * math.sin(7 * number + 3 * index)) for index in range(len(layer.candidates))]
        result.append([power / sum(powers) for power in powers])
    return named_probabilities(space, result)


def state(step, layers=21, max_steps=40, architecture='fna_retinanet', **changes):
    """What a search with 21 layers, or with the first ones of them alone, may have thought."""
    space = SearchSpace()
    chances = probabilities(space, step / 10)
    gmadds = Gmadds.of(madds_table(space, SIZE), space, chances, space.seed.madds(SIZE) / GIGA)
    values = dict(
        step=step, max_steps=max_steps, moment=f'epoch {step // 10}', architecture=Architecture.create(architecture),
        seed=space.seed, probabilities=dict(list(chances.items())[:layers]), gmadds=gmadds,
        seconds={part: seconds * step / max_steps for part, seconds in SECONDS.items()}, device='CPU')
    return SearchState(**dict(values, **changes))


def train_line(step, **values):
    return dict(dict(loss=2 - step / 100, data_time=.1, time=.5, iter=step, step=step), **values)


def mm_run(folder, timestamp, lines=(), config='', log=None, tests=None):
    """One timestamped run of mm in a work directory."""
    made = folder / timestamp
    (made / 'vis_data').mkdir(parents=True)
    (made / 'vis_data/scalars.json').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    (made / 'vis_data/config.py').write_text(config)
    if log is not None:
        (made / f'{timestamp}.log').write_text(log)
    if tests is not None:
        (made / f'{timestamp}.json').write_text(json.dumps(tests))
    return folder


def search_dir(folder, layers=21, steps=(10, 20, 30, 40), **changes):
    """A search with history and scalars."""
    lines = [train_line(step, arch_loss=1.5, weight_step_time=.15, arch_step_time=.25, expected_gmadds=.05,
                        best_path_gmadds=.04) for step in range(10, 41, 10)]
    config = "default_scope = 'mmseg'\nmodel = dict(backbone=dict(type='FNASuperNet'))\ninput_shape = (64, 96)\n"
    mm_run(folder, '20260101_100000', lines, config)
    start_history(str(folder), 0)
    for step in steps:
        append_history(str(folder), state(step, layers, **changes))
    (folder / 'child_config.py').write_text('# trains the child')
    return folder


def training_dir(folder, arch, miou, remapped=True, tested=True, timestamp='20260101_120000', epochs=1, more=''):
    """A finished training of a small segmenter's child backbone."""
    init = "init_cfg=dict(type='ParameterRemapping', checkpoint='x.pth')" if remapped else ''
    config = f"""default_scope = 'mmengine'
train_cfg = dict(max_epochs={epochs})
input_shape = (32, 32)
custom_imports = dict(imports=['toy_search'])
model = dict(type='ToyClassifier', channels=320, backbone=dict(
    type='FNAChildNet', arch={Architecture.create(arch).to_text()!r}, out_indices=(6, ), {init}))
{more}
"""
    mm_run(folder, timestamp, [train_line(10, epoch=1), dict(mIoU=miou + 1, time=.2, data_time=.1, step=1)], config,
           LOG.format(day='2026/01/01', cuda=False, processes=1), dict(aAcc=80., mIoU=miou) if tested else None)
    (folder / f'{folder.name}.py').write_text(config)
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_1.pth'))
    return folder
