"""The runs behind docs/results/adaptation.md: their commands, with stand-ins, and the figures that are made of them."""

import json
import os
import re
import stat
import statistics
from pathlib import Path

import pytest
from mmengine.config import Config

from tools.results.adapted_front import front
from tools.results.adapted_runs import (
    BUDGETS,
    PACKAGES,
    PLAIN,
    RESNET,
    alike,
    behind,
    main,
    merged,
    page_of,
    rows_of,
    run_case,
    steps_of,
    table_of,
    titles,
    write,
)

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / 'docs/results'

#: A training, an adaptation; of each budget a test as it is, a fine-tuning, a test; of some another fine-tuning.
STEPS = 2 + 3 * len(BUDGETS) + 2 * len(PLAIN)
#: Stand-ins for mim and fna: they write down how they were called, and leave what the real ones leave.
STAND_IN = '''#!{python}
import json, os, sys
from pathlib import Path
arguments = sys.argv[1:]
with open({calls!r}, 'a') as file:
    file.write(' '.join([Path(sys.argv[0]).name, *arguments]) + '\\n')
if {stop!r} in ' '.join(arguments) and not os.path.exists({stopped!r}):
    open({stopped!r}, 'w').close()
    sys.exit(3)
folder = Path(arguments[arguments.index('--work-dir') + 1])
folder.mkdir(parents=True, exist_ok=True)
if arguments[0] == 'train':
    (folder / 'last_checkpoint').write_text(str(folder / 'iter_9.pth'))
elif arguments[0] == 'test':
    tuned = 'tuned' in str(folder) or .5 * ('plain' in str(folder))
    budget = float(folder.name.split('_')[1])
    (folder / 'now').mkdir(exist_ok=True)
    (folder / 'now/now.json').write_text(json.dumps({{'mIoU': 40 * budget + 5 * tuned}}))
elif arguments[0] == 'adapt':
    budgets = [arguments[at + 1] for at, text in enumerate(arguments) if text == '--budget']
    children = [dict(budget=text, share_of_model=float(text), widths=[16, int(80 * float(text))]) for text in budgets]
    (folder / 'front.json').write_text(json.dumps(dict(children=children)))
'''


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Puts the stand-ins in place; returns the file of calls."""
    calls = tmp_path / 'calls'

    def place(stop='nothing'):
        folder = tmp_path / 'bin'
        folder.mkdir(exist_ok=True)
        for name in ('mim', 'fna'):
            path = folder / name
            path.write_text(STAND_IN.format(python=os.sys.executable, calls=str(calls), stop=stop,
                                            stopped=str(tmp_path / 'stopped')))
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv('PATH', f'{folder}:{os.environ["PATH"]}')
        return calls
    return place


def test_a_run_is_trained_adapted_tested_and_fine_tuned(commands, tmp_path):
    calls = commands()
    run_case('camvid_deeplabv3', 1, tmp_path / 'work', '/seeds/seed.pth')
    lines = calls.read_text().splitlines()
    run = tmp_path / 'work/camvid_deeplabv3/seed_1'
    assert len(lines) == STEPS
    assert re.fullmatch(rf'mim train mmseg \S+/adaptation/mobilenet_v2_camvid_deeplabv3.py --work-dir {run}/trained '
                        r'--cfg-options randomness.seed=1 model.backbone.init_cfg.checkpoint=/seeds/seed.pth', lines[0])
    assert re.fullmatch(rf'fna adapt \S+/mobilenet_v2_camvid_deeplabv3.py {run}/trained/iter_9.pth '
                        rf'--budget 1 .*--budget 0.25 --schedule 0.2 --seed 1 --work-dir {run}/adapted', lines[1])
    assert f'--checkpoint {run}/tuned_0.5/iter_9.pth' in lines[-5 - 2 * len(PLAIN)]
    assert lines[-2] == (f'mim train mmseg {run}/adapted/budget_0.25/child_config.py --work-dir {run}/plain_0.25 '
                         '--cfg-options randomness.seed=1 custom_hooks.1.weight=1e-9')
    rows = rows_of(tmp_path / 'work')
    assert [row['budget'] for row in rows] == list(BUDGETS)
    assert rows[0]['raw'] == [40.]
    assert rows[0]['tuned'] == [45.]
    assert behind(rows[3], rows[0], 'raw') == behind(rows[3], rows[0], 'tuned') == [20.]
    assert behind(rows[3], rows[0], 'plain') == [22.5]
    assert behind(rows[1], rows[0], 'plain') == []
    assert set(json.loads((run / 'cpu_minutes.json').read_text())) == {
        'trained', 'adapted', *(f'raw_{budget}' for budget in BUDGETS), *(f'tuned_{budget}' for budget in BUDGETS),
        *(f'tuned_{budget}_test' for budget in BUDGETS), *(f'plain_{budget}' for budget in PLAIN),
        *(f'plain_{budget}_test' for budget in PLAIN)}


def test_collected_runs_are_added_to_those_that_are_known(commands, tmp_path):
    commands()
    rows = json.loads((RESULTS / 'adaptation.json').read_text())
    assert merged(rows, []) == rows
    for name in ('adaptation.json', 'adaptation.md'):
        (tmp_path / name).write_bytes((RESULTS / name).read_bytes())
    run_case('camvid_deeplabv3', 1, tmp_path / 'work', '/seeds/seed.pth')
    (tmp_path / 'work/camvid_deeplabv3/seed_1').rename(tmp_path / 'work/camvid_deeplabv3/seed_99')
    run_case('camvid_deeplabv3', 0, tmp_path / 'work', '/seeds/seed.pth')
    write(tmp_path / 'work', tmp_path)
    after = json.loads((tmp_path / 'adaptation.json').read_text())
    assert [(row['case'], row['budget']) for row in after] == [(row['case'], row['budget']) for row in rows]
    for old, new in zip(rows, after):
        if new['case'] != 'camvid_deeplabv3':
            assert new == old
            continue
        assert new['seeds'] == [*old['seeds'], 99]
        value = 40 * float(new['budget'])
        assert [new['raw'][0], new['raw'][-1]] == [value, value]  # the new run of seed 0 takes the old one's place
        assert new['raw'][1:-1] == old['raw'][1:]
    assert (tmp_path / 'front.png').exists()


@pytest.mark.parametrize('stop', ['seed_0/trained --cfg', 'seed_0/adapted', 'seed_0/tuned_0.5 --cfg'])
def test_a_stopped_run_goes_on(commands, tmp_path, stop):
    calls = commands(stop)
    arguments = 'bccd_retinanet', 0, tmp_path / 'work', '/seeds/seed.pth'
    with pytest.raises(Exception, match='exit status 3'):
        run_case(*arguments)
    before = calls.read_text().splitlines()
    run_case(*arguments)
    after = calls.read_text().splitlines()[len(before):]
    assert len(before) + len(after) == STEPS + 1  # the stopped one twice
    assert stop in after[0]


def test_a_stopped_training_is_resumed(tmp_path):
    run = tmp_path / 'run'
    (run / 'trained').mkdir(parents=True)
    (run / 'trained/last_checkpoint').write_text('epoch_3.pth')
    command = ' '.join(next(steps_of('bccd_retinanet', 0, run, 'a.pth')).command)
    assert '--resume --cfg-options load_from=None' in command


def test_children_that_are_alike():
    assert alike([[16, 100]]) is None
    assert alike([[16, 100], [16, 80]]) == 1
    assert alike([[16, 100], [16, 79]]) == .5
    assert alike([[16, 100], [16, 80], [8, 60]]) == 0
    assert alike([[0, 10], [0, 10]]) == 1


def test_adaptations_are_compared(tmp_path, capsys):
    for name, widths in (('one', [16, 100]), ('two', [16, 80]), ('three', [24, 80])):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'front.json').write_text(json.dumps(dict(children=[
            dict(budget='0.5', widths=widths), dict(budget='0.4', widths=[8, 8])])))
    main(['alike', *(str(tmp_path / name) for name in ('one', 'two'))])
    assert capsys.readouterr().out == '0.5: 100% of 2 children\n0.4: 100% of 2 children\n'
    main(['alike', *(str(tmp_path / name) for name in ('one', 'two', 'three'))])
    assert capsys.readouterr().out == '0.5: 50% of 3 children\n0.4: 100% of 3 children\n'


@pytest.mark.parametrize('case', PACKAGES)
def test_the_trainings_are_longer_than_the_baselines(case):
    short, long = (Config.fromfile(ROOT / f'configs/{name}.py') for name in (
        f'comparison/{case}/small/mobilenet_v2', f'adaptation/mobilenet_v2_{case}'))
    for key in ('max_iters', 'max_epochs'):
        if key in short.train_cfg:
            assert long.train_cfg[key] >= 3 * short.train_cfg[key]
            assert long.param_scheduler[-1]['end'] == long.train_cfg[key]
    assert long.model == short.model
    assert long.optim_wrapper == short.optim_wrapper


def test_the_page_is_made_from_the_figures():
    rows = json.loads((RESULTS / 'adaptation.json').read_text())
    page = (RESULTS / 'adaptation.md').read_text()
    assert page_of(page, rows) == page
    assert table_of(rows) in page
    for row in rows:
        assert len(row['seeds']) == len(row['raw']) == len(row['tuned']) == len(row['plain']) == len(row['widths'])


def test_the_readmes_table_has_these_figures():
    rows = {(row['case'], row['budget']): row
            for row in json.loads((RESULTS / 'adaptation.json').read_text())}
    readme = (ROOT / 'README.md').read_text()
    for case in PACKAGES:
        trained, half = rows[case, '1'], rows[case, '0.5']
        minutes = [statistics.mean(known) for name in ('trained', 'adapted') if (
            known := [of_seed[name] for of_seed in trained['minutes'] if of_seed[name] is not None])]
        raw = behind(half, trained, 'raw')
        tuned, mark = behind(half, trained, 'tuned'), ''
        if not tuned:
            tuned, mark = behind(half, trained, 'plain'), ' ¹'
        spread = [f'{statistics.mean(values):.1f}' + (f' ± {statistics.stdev(values):.1f}' if len(values) > 1 else '')
                  for values in ([value for value in trained['tuned'] if value is not None], raw, tuned)]
        cells = [spread[0], f'{spread[1]} ({len(raw)})', f'{spread[2]} ({len(tuned)}){mark}',
                 ', '.join(f'{value:.1f}' for value in minutes)]
        assert ' | '.join(cells) in readme


def test_the_figure_shows_what_the_table_says():
    rows = json.loads((RESULTS / 'adaptation.json').read_text())
    figure = front(rows, titles())
    raw, tuned = figure.axes
    assert [text.get_text() for text in tuned.get_legend().get_texts()] == list(titles().values())
    for axis, key in ((raw, 'raw'), (tuned, 'tuned')):
        drawn = [container.lines[0].get_xydata().tolist() for container in axis.containers]
        for case, line in zip(PACKAGES, drawn):
            trained = next(row for row in rows if row['case'] == case and row['budget'] == '1')
            wanted = [[100 * float(row['budget']), -statistics.mean(behind(row, trained, key))] for row in rows
                      if row['case'] == case and behind(row, trained, key)]
            assert line == [pytest.approx(pair, abs=.011) for pair in wanted]


def test_a_resnet_starts_from_random_weights_or_its_own(commands, tmp_path):
    calls = commands()
    run_case(RESNET, 0, tmp_path / 'work', 'random')
    lines = calls.read_text().splitlines()
    assert lines[0].endswith('--cfg-options randomness.seed=0 model.pretrained=None')
    assert '/configs/resnet/resnet18_camvid_deeplabv3.py ' in lines[0]
    assert '--budget 1 --budget 0.7 --budget 0.5 --budget 0.3 --schedule 0.2' in lines[1]
    assert not [line for line in lines if 'custom_hooks' in line]
    table = table_of(rows_of(tmp_path / 'work'))
    assert 'CamVid DeepLabv3 with ResNet-18' in table
    assert 'without distillation' not in table
