"""What docs/results says, against the results that lie beside it; the script that measures it."""

import json
import os
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from fna_mm import Architecture

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / 'docs/results'
ROWS = json.loads((RESULTS / 'results.json').read_text())
CASES = {('CamVid', 'DeepLabv3'): 'camvid_deeplabv3', ('BCCD', 'RetinaNet'): 'bccd_retinanet',
         ('BCCD', 'SSDLite'): 'bccd_ssdlite'}


def name_of(row):
    return ' '.join(str(row[key]) for key in ('framework', 'model', 'search', 'remapped'))


@pytest.mark.parametrize('row', ROWS, ids=name_of)
def test_a_row_is_what_its_runs_measured(row):
    case = CASES[row['dataset'], row['framework']]
    folder = {'long': 'x_quiet', 'random start': 'expansion_random'}.get(row['search'], 'main')
    folder += '' if row['remapped'] else '_adaptation_random'
    runs = [json.loads((RESULTS / f'comparison/{case}/{folder}/seed_{seed}/{row["model"]}_result.json').read_text())
            for seed in row['seeds']]
    factor = 1 if row['metric'] == 'mIoU' else 100
    values = [factor * run['metrics'][row['metric']] for run in runs]
    assert row['mean'] == pytest.approx(statistics.mean(values), abs=.006)
    assert row['std'] == (pytest.approx(statistics.stdev(values), abs=.006) if len(values) > 1 else None)
    assert row['params_m'] == pytest.approx(statistics.mean(run['params'] for run in runs) / 1e6, abs=6e-4)
    assert row['madds_g'] == pytest.approx(statistics.mean(run['madds'] for run in runs) / 1e9, abs=6e-5)
    assert row['model'] in ('mobilenet_v2', 'published', 'found', 'random')


@pytest.mark.parametrize('row', ROWS, ids=name_of)
def test_the_command_of_a_row_is_what_was_run(row):
    *before, last = [shlex.split(step) for step in row['command'].split(' && ')]
    assert [step[:3] for step in before if step[1] == 'arch'] == (
        [['fna', 'arch', 'random']] * len(row['seeds']) if row['model'] == 'random' else [])
    for step in [step for step in [*before, last] if step[1] == 'ablate']:
        assert all((ROOT / word).is_file() for word in step if word.endswith('.py'))
        assert [int(word) for word in step[step.index('--seeds') + 1:step.index('--seed-checkpoint')]] == row['seeds']
        folder = RESULTS / step[step.index('--work-dir') + 1].removeprefix('work_dirs/').replace('small/', '')
        if '--cfg-options' not in step:  # the comparison's own search
            continue
        for seed in row['seeds']:
            config = Config.fromfile(folder / f'seed_{seed}' / Path(step[2]).name)
            for option in step[step.index('--cfg-options') + 1:]:
                key, value = option.split('=')
                found = config
                for part in key.split('.'):
                    found = found[int(part)] if part.isdigit() else found[part]
                assert str(found) == value


def test_every_comparison_is_complete():
    for dataset, framework in {(row['dataset'], row['framework']) for row in ROWS}:
        rows = {(row['model'], row['search']): row for row in ROWS
                if (row['dataset'], row['framework'], row['remapped']) == (dataset, framework, True)}
        assert list(rows)[:4] == [('mobilenet_v2', None), ('published', None), ('found', 'short'), ('random', 'short')]
        # Another draw for every seed, of the cost of what that seed found; the heads are not counted in the 1 %.
        for search in {search for model, search in rows if model == 'random'}:
            found, random = rows['found', search], rows['random', search]
            assert random['seeds'] == found['seeds']
            assert random['madds_g_of_seeds'] == pytest.approx(found['madds_g_of_seeds'], rel=.01)


def test_the_page_has_every_row():
    page = (RESULTS / 'README.md').read_text()
    for row in ROWS:
        assert f'| {row["madds_g"]:.3f} ' in page
        assert f'{row["mean"]:.1f} ± {row["std"]:.1f}' in page
    assert 'made by collect.py: comparison' in page


def test_the_readme_has_every_row():
    page = (ROOT / 'README.md').read_text()
    for row in ROWS:
        assert f'{row["mean"]:.1f} ± {row["std"]:.1f}' in page
        ablated = not row['remapped'] or row['search'] == 'random start'
        assert ablated or f'({row["madds_g"]:.3f})' in page


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


@pytest.mark.slow
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
    def variant(folder, seeds, *options):
        yield (f'small fna ablate {configs}/search.py --work-dir {work}/{folder} --seeds {seeds} {rest} '
               f'--cfg-options {" ".join(options)}')

    def found(folder, seeds):
        yield f'small fna ablate {configs}/found.py --work-dir {work}/{folder} --seeds {seeds} {rest} {tuned}'

    for weight in ('0.001', '0.009'):
        wanted += variant(f'lambda_{weight}', '0', f'custom_hooks.0.cost.weight={weight}')
        wanted += found(f'lambda_{weight}', '0')
    wanted += variant('x_affine_false', '0 1', 'model.backbone.candidate_norm_cfg.affine=False')
    wanted += variant('x_depth', '0 1', 'model.backbone.layers_per_stage=2,3,4,3,3,1')
    wanted += [*found('x_affine_false', '0 1'), *found('x_depth', '0 1')]
    wanted += variant('x_sampling', '0 1', 'model.backbone.arch_sample_num=2')
    wanted += found('x_sampling', '0 1')
    wanted += variant('x_preference', '0 1', 'model.backbone.seed_preference=2',
                      'custom_hooks.0.optim_wrapper.optimizer.lr=0.05')
    wanted += found('x_preference', '0 1')
    wanted += variant('x_quiet', '0 1', 'train_cfg.max_epochs=12', 'train_cfg.val_interval=12',
                      'param_scheduler.1.end=12', 'custom_hooks.0.begin_epoch=8',
                      'custom_hooks.0.dataloader.batch_size=12')
    wanted += (f'small fna arch random {configs}/search.py {work}/x_quiet/seed_{seed}/random_arch.json '
               f'--like {work}/x_quiet/seed_{seed}/search/arch.json --seed 1{seed}' for seed in (0, 1))
    wanted.append(f'small fna ablate {configs}/found.py {configs}/random.py --work-dir {work}/x_quiet --seeds 0 1 '
                  f'{rest} {tuned}')
    wanted.append(f'small fna ablate {configs}/mobilenet_v2.py {configs}/found.py --work-dir {work}/x_double '
                  f'--seeds 0 1 {rest} {tuned} train_dataloader.batch_size=8 train_cfg.val_interval=200 '
                  'param_scheduler.0.end=50 param_scheduler.1.begin=50')
    wanted.append(f'small fna ablate {models} --work-dir {work}/x_long --seeds 0 1 {rest} {tuned} '
                  'train_cfg.max_iters=1200 train_cfg.val_interval=300 param_scheduler.1.end=1200')
    wanted += variant('expansion_random', '0 1', 'model.backbone.init_cfg=None')
    wanted += found('expansion_random', '0 1')
    for expansion in ('main', 'expansion_random'):
        wanted += (f'{call} model.backbone.init_cfg=None' for call in found(f'{expansion}_adaptation_random', '0 1'))
    assert calls == [*wanted, f'python docs/results/collect.py results {tmp_path / "work"} docs/results']


def test_the_weight_that_is_best_with_one_seed_is_run_with_all(commands):
    calls = commands('seed.pth', SEEDS='0 1', CASES='bccd_retinanet')
    runs = [call.split('--work-dir ')[1].split(' --jobs')[0] for call in calls if '/lambda_' in call]
    folders = [run.rsplit('/', 1)[1] for run in runs]
    assert folders == [f'lambda_{rest}' for rest in ('0.004 --seeds 0', '0.1 --seeds 0', '0.1 --seeds 0 1')
                       for _ in ('search', 'found')]


def test_the_script_at_full_size(commands):
    calls = commands('seed.pth', SIZE='full', SEEDS='0', CASES='camvid_deeplabv3')
    assert all(call.startswith(('full fna', 'python')) for call in calls)
    folders = [call.split('--work-dir ')[1].split()[0].rsplit('/', 1)[1] for call in calls if '--work-dir' in call]
    assert {'main', 'lambda_0.001', 'x_affine_false', 'main_adaptation_random'} <= set(folders)
    assert not {'x_preference', 'x_quiet', 'x_double', 'x_long'} & set(folders)  # answers to searches that are short


@pytest.fixture
def finished(tmp_path):
    """A folder of runs like those that run.sh leaves, of RetinaNet on BCCD."""
    work = tmp_path / 'work'

    def run(folder, seed, name, mean_average_precision=0., madds=5e8):
        path = work / f'bccd_retinanet/{folder}/seed_{seed}/{name}'
        (path / '1/vis_data').mkdir(parents=True)
        (path / '1/1.log').write_text(f'Epoch(val) [1][9/9] coco/bbox_mAP: 0.1000\n'
                                      f'Epoch(val) [8][9/9] coco/bbox_mAP: {mean_average_precision + .01:.4f}\n')
        (path / '1/vis_data/scalars.json').write_text('{"loss": 1.0, "time": 0.5, "iter": 120, "step": 120}\n')
        (path / 'result.json').write_text(json.dumps(dict(
            params=2e6, madds=madds, metrics={'coco/bbox_mAP': mean_average_precision})))
        weight = .2 if 'lambda' in folder else .02
        path.with_name(f'{name}.py').write_text(f"work_dir = '{ROOT}/x'\noptim_wrapper = dict(optimizer=dict(lr=.05))\n"
                                                f'custom_hooks = [dict(cost=dict(weight={weight}))]\n')
        return path

    def search(folder, seed, architecture):
        path = run(folder, seed, 'search')
        (path / 'fna_report').mkdir()
        (path / 'fna_report/candidates.png').write_bytes(b'')
        (path / 'arch.json').write_text(architecture)

    for rate, value in (('0.01', .3), ('0.02', .4)):
        run(f'lr_{rate}', 0, 'mobilenet_v2', value)
    for seed in (0, 1):
        other = Architecture.create('fna_retinanet' if seed else 'mobilenet_v2').to_json()
        search('main', seed, other)
        (work / f'bccd_retinanet/main/seed_{seed}/random_arch.json').write_text(other)
        for shift, name in enumerate(('mobilenet_v2', 'published', 'found', 'random')):
            run('main', seed, name, .3 + seed / 50 + shift / 10, 5e8 + seed * 1e7)
    search('x_quiet', 1, other)
    run('x_quiet', 1, 'found', .55, 4e8)
    search('lambda_0.2', 0, other)
    run('lambda_0.2', 0, 'found', .25, 3e8)
    run('main_adaptation_random', 0, 'found', .15)
    run('expansion_random_adaptation_random', 0, 'found', .05)
    return work


def collect(*arguments):
    return subprocess.run([sys.executable, '-W', 'ignore', RESULTS / 'collect.py', *map(str, arguments)], cwd=ROOT,
                          capture_output=True, text=True)


@pytest.mark.slow
def test_the_rate_is_the_best_of_the_validation(finished):
    assert collect('rate', finished / 'bccd_retinanet').stdout == '0.02\n'
    (finished / 'bccd_retinanet/lr_0.01/seed_0/mobilenet_v2/result.json').unlink()
    assert "no validation of the rates ['0.01']" in collect('rate', finished / 'bccd_retinanet').stderr


@pytest.mark.slow
def test_results_are_collected(finished, tmp_path):
    out = tmp_path / 'out'
    out.mkdir()
    names = ('comparison', 'rates', 'cost', 'agreement', 'weights', 'variants', 'remapping', 'changes')
    (out / 'README.md').write_text('\n'.join(f'<!-- made by collect.py: {name} -->\nold\n<!-- end of {name} -->'
                                             for name in names))
    shown = collect('results', finished, out)
    assert shown.returncode == 0, shown.stderr
    rows = json.loads((out / 'results.json').read_text())
    assert [(row['model'], row['remapped'], row['mean'], row['seeds']) for row in rows] == [
        ('mobilenet_v2', True, 31, [0, 1]), ('published', True, 41, [0, 1]), ('found', True, 51, [0, 1]),
        ('random', True, 61, [0, 1]), ('found', True, 55, [1]), ('found', False, 15, [0]), ('found', False, 5, [0])]
    assert [row['search'] for row in rows] == [None, None, 'short', 'short', 'long', 'short', 'random start']
    assert rows[0]['madds_g'] == .505
    assert rows[0]['std'] == 1.41
    assert rows[0]['minutes'] == 1
    steps = rows[3]['command'].split(' && ')
    assert [step.split()[2].rsplit('/')[-1] for step in steps] == ['search.py', 'random', 'random', 'random.py']
    assert steps[-1].endswith(
        '--seeds 0 1 --seed-checkpoint mobilenet_v2.pth --cfg-options optim_wrapper.optimizer.lr=0.05')
    assert 'custom_hooks.0.begin_epoch=20 ' in rows[4]['command'].split(' && ')[0]
    assert rows[5]['command'].endswith('optim_wrapper.optimizer.lr=0.05 model.backbone.init_cfg=None')
    search, make, copy, tune = (step.split() for step in rows[6]['command'].split(' && '))
    assert search[-1] == tune[-1] == 'model.backbone.init_cfg=None'
    assert copy[1].startswith(search[search.index('--work-dir') + 1] + '/')
    assert copy[2] == make[2]
    assert copy[2].startswith(tune[tune.index('--work-dir') + 1] + '/')
    page = (out / 'README.md').read_text()
    assert 'old' not in page
    lines = [line for line in page.splitlines() if line.startswith('| BCCD')]
    cells = [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines]
    assert ['BCCD', 'RetinaNet', 'found here', '2.000', '0.505', '52.0 ± 1.4', '51.0 ± 1.4', '50.0, **52.0**'] in cells
    assert ['BCCD', 'RetinaNet', '0.2', '1', '0.300', '26.0', '25.0'] in cells
    assert ['BCCD', 'RetinaNet', '0.02', '1', '0.500', '51.0', '50.0'] in cells  # of the seed that both weights have
    assert ['BCCD', 'RetinaNet', '0.02', '41.0'] in cells
    assert ['BCCD', 'RetinaNet', 'found here, longer search', '2.000', '0.400', '56.0', '55.0', '**55.0**'] in cells
    assert ['BCCD', 'RetinaNet', 'short', *['1.0'] * 5, '50%'] in cells
    assert ['BCCD', 'RetinaNet', 'remapped', 'random', '1', '0.500', '16.0', '15.0'] in cells
    # fna_retinanet, which has one layer more than the seed in one stage, is mostly found with the better seed.
    (changes, ) = [row for row in cells if row[2:3] == ['10']]
    assert changes[3].startswith('+')
    assert (out / 'comparison/madds.png').stat().st_size > 1000
    kept = out / 'comparison/bccd_retinanet/main/seed_1'
    names = {path.name for path in kept.iterdir()}
    assert names >= {'found.jsonl', 'found.py', 'found_result.json', 'search_arch.json'}
    assert str(ROOT) not in (kept / 'found.py').read_text()
