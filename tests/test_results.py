"""What docs/results says, against the results that lie beside it; the script that measures it."""

import json
import os
import statistics
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'docs/results'
ROWS = json.loads((RESULTS / 'results.json').read_text())
CASES = {('CamVid', 'DeepLabv3'): 'camvid_deeplabv3', ('BCCD', 'RetinaNet'): 'bccd_retinanet',
         ('BCCD', 'SSDLite'): 'bccd_ssdlite'}


@pytest.mark.parametrize('row', ROWS, ids=lambda row: f'{row["framework"]} {row["model"]}')
def test_a_row_is_what_its_runs_measured(row):
    case = CASES[row['dataset'], row['framework']]
    runs = [json.loads((RESULTS / f'comparison/{case}/main/seed_{seed}/{row["model"]}_result.json').read_text())
            for seed in row['seeds']]
    factor = 1 if row['metric'] == 'mIoU' else 100
    values = [factor * run['metrics'][row['metric']] for run in runs]
    assert row['mean'] == pytest.approx(statistics.mean(values), abs=.006)
    assert row['std'] == (pytest.approx(statistics.stdev(values), abs=.006) if len(values) > 1 else None)
    assert row['params_m'] == pytest.approx(statistics.mean(run['params'] for run in runs) / 1e6, abs=6e-4)
    assert row['madds_g'] == pytest.approx(statistics.mean(run['madds'] for run in runs) / 1e9, abs=6e-5)
    assert row['model'] in ('mobilenet_v2', 'published', 'found', 'random')
    assert row['remapped'] is True
    assert (ROOT / row['command'].split()[-1]).is_file()


def test_every_comparison_is_complete():
    for dataset, framework in {(row['dataset'], row['framework']) for row in ROWS}:
        rows = {row['model']: row for row in ROWS if (row['dataset'], row['framework']) == (dataset, framework)}
        assert list(rows) == ['mobilenet_v2', 'published', 'found', 'random']
        # Another draw for every seed, of the cost of what that seed found; the heads are not counted in the 1 %.
        assert rows['random']['seeds'] == rows['found']['seeds']
        assert rows['random']['madds_g_of_seeds'] == pytest.approx(rows['found']['madds_g_of_seeds'], rel=.01)


def test_the_page_has_every_row():
    page = (RESULTS / 'README.md').read_text()
    for row in ROWS:
        assert f'| {row["madds_g"]:.3f} ' in page
        assert f'{row["mean"]:.1f} ± {row["std"]:.1f}' in page
    assert 'made by collect.py: comparison' in page


def test_the_readme_has_every_row():
    table = (ROOT / 'README.md').read_text()
    for row in ROWS:
        assert f'{row["mean"]:.1f} ± {row["std"]:.1f}' in table
        assert f'({row["madds_g"]:.3f})' in table


@pytest.fixture
def commands(tmp_path):
    """Runs run.sh with commands that only write down how they were called, and leave the files that others need."""
    stub = tmp_path / 'bin'
    stub.mkdir()
    (stub / 'fna').write_text(f'''#!/bin/bash
echo "$FNA_COMPARISON_SIZE fna $*" >> {tmp_path}/calls
[ "$1 $2" = "arch random" ] && touch "$4"
if [ "$1" = ablate ]; then
    while [ "$1" != --work-dir ]; do shift; done
    for seed in 0 1; do mkdir -p "$2/seed_$seed/search"; touch "$2/seed_$seed/search/arch.json"; done
fi
exit 0
''')
    (stub / 'python').write_text(f'#!/bin/bash\necho "python $*" >> {tmp_path}/calls\n'
                                 '[ "$2" = rate ] && echo 0.02\nexit 0\n')
    for path in stub.iterdir():
        path.chmod(0o755)

    def run(*arguments, **environment):
        subprocess.run(['bash', str(RESULTS / 'run.sh'), *arguments], check=True, capture_output=True, text=True,
                       env=dict(os.environ, PATH=f'{stub}:{os.environ["PATH"]}', WORK=str(tmp_path / 'work'),
                                **environment))
        return (tmp_path / 'calls').read_text().splitlines()
    return run


def test_the_script(commands, tmp_path):
    calls = commands('seed.pth', SEEDS='0 1', CASES='camvid_deeplabv3')
    work, configs = tmp_path / 'work/camvid_deeplabv3', 'configs/comparison/camvid_deeplabv3'
    rest = '--jobs 2 --seed-checkpoint seed.pth'
    models = ' '.join(f'{configs}/{model}.py' for model in ('mobilenet_v2', 'published', 'found', 'random'))
    tuned = '--cfg-options optim_wrapper.optimizer.lr=0.02'
    wanted = [
        *(f'small fna ablate {configs}/mobilenet_v2.py --work-dir {work}/lr_{rate} --seeds 0 {rest} '
          f'--cfg-options optim_wrapper.optimizer.lr={rate}' for rate in ('0.01', '0.02', '0.05')),
        f'python docs/results/collect.py rate {work}',
        f'small fna ablate {configs}/search.py --work-dir {work}/main --seeds 0 1 {rest}',
        *(f'small fna arch random {configs}/search.py {work}/main/seed_{seed}/random_arch.json '
          f'--like {work}/main/seed_{seed}/search/arch.json --seed {seed}' for seed in (0, 1)),
        f'small fna ablate {models} --work-dir {work}/main --seeds 0 1 {rest} {tuned}']
    for weight in ('0.001', '0.009'):
        folder = f'{work}/lambda_{weight}'
        wanted += [f'small fna ablate {configs}/search.py --work-dir {folder} --seeds 0 {rest} '
                   f'--cfg-options custom_hooks.0.cost.weight={weight}',
                   f'small fna ablate {configs}/found.py --work-dir {folder} --seeds 0 {rest} {tuned}']
    assert calls == [*wanted, f'python docs/results/collect.py results {tmp_path / "work"} docs/results']


def test_the_script_at_full_size_adds_table_5(commands):
    calls = commands('seed.pth', SIZE='full', SEEDS='0', CASES='camvid_deeplabv3')
    assert all(call.startswith(('full fna', 'python')) for call in calls)
    random = [call for call in calls if 'model.backbone.init_cfg=None' in call]
    assert [call.split('--work-dir ')[1].split()[0].rsplit('/', 1)[1] for call in random] == [
        'expansion_random', 'main_adaptation_random', 'expansion_random_adaptation_random']
