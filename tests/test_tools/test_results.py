"""What docs/results says, against the figures of every run in results.json; the script that measures it."""

import copy
import json
import os
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from fna_mm import Architecture
from tools.evidence.protocol import MODELS as EVIDENCE
from tools.results.collect import page_of, rows_text
from tools.results.result_rows import MODELS
from tools.results.result_tables import tables_of

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / 'docs/results'
SCRIPT = ROOT / 'tools/results/run.sh'
ROWS = json.loads((RESULTS / 'results.json').read_text())
MEASURED = [row for row in ROWS if 'mean' in row]
#: The rows that docs/searches.md, docs/paper.md and the page print, the paper's table 5 among them.
COMPARED = [row for row in ROWS if row['table'] in ('comparison', 'remapping')]
CASES = {('CamVid', 'DeepLabv3'): 'camvid_deeplabv3', ('BCCD', 'RetinaNet'): 'bccd_retinanet',
         ('BCCD', 'SSDLite'): 'bccd_ssdlite'}


def name_of(row):
    return ' '.join(str(row[key]) for key in ('table', 'folder', 'framework', 'model', 'name', 'config') if key in row)


def deviation(values):
    return pytest.approx(statistics.stdev(values), abs=.006) if len(values) > 1 else None


@pytest.mark.parametrize('row', MEASURED, ids=name_of)
def test_a_row_is_what_its_runs_measured(row):
    """The mean of its seeds' figures, and every other figure likewise."""
    runs, factor = row['runs'], 1 if row['metric'] == 'mIoU' else 100
    values = [factor * run['metrics'][row['metric']] for run in runs]
    assert row['seeds'] == [run['seed'] for run in runs]
    assert row['values'] == pytest.approx(values, abs=.006)
    assert row['mean'] == pytest.approx(statistics.mean(values), abs=.006)
    assert row['std'] == deviation(values)
    assert row['params_m'] == pytest.approx(statistics.mean(run['params'] for run in runs) / 1e6, abs=6e-4)
    assert row['madds_g'] == pytest.approx(statistics.mean(run['madds'] for run in runs) / 1e9, abs=6e-5)
    if row['table'] == 'ablations':  # whose runs were tested alone
        return
    checks = [factor * run['validation'] for run in runs]
    assert row['validation_values'] == pytest.approx(checks, abs=.006)
    assert row['validation_mean'] == pytest.approx(statistics.mean(checks), abs=.006)
    assert row['validation_std'] == deviation(checks)
    assert row['madds_g_of_seeds'] == pytest.approx([run['madds'] / 1e9 for run in runs], abs=6e-5)
    assert row['minutes'] == pytest.approx(statistics.mean(run['minutes'] for run in runs), abs=.06)
    assert row['model'] in (EVIDENCE if row['table'] == 'evidence' else MODELS)


@pytest.mark.parametrize('row', [row for row in ROWS if row['table'] == 'searches'], ids=name_of)
def test_a_searchs_minutes_are_those_of_its_runs(row):
    assert row['minutes'] == pytest.approx(statistics.mean(run['minutes'] for run in row['runs']), abs=.06)
    assert row['seeds'] == [run['seed'] for run in row['runs']]


@pytest.mark.parametrize('row', ROWS, ids=name_of)
def test_an_architecture_is_the_searchs(row):
    """Those of one folder and seed, whether found, fine-tuned, or fine-tuned again elsewhere."""
    for run in row['runs']:
        assert Architecture.create(run['arch']).madds((192, 256)) > 0
    if row.get('model') == 'found' and 'folder' in row:
        lender = dict(x_double='x_quiet', x_long='main').get(
            row['folder'], row['folder'].removesuffix('_adaptation_random'))
        (search, ) = [other for other in ROWS if other['table'] == 'searches' and other['folder'] == lender
                      and other['framework'] == row['framework']]
        found = {run['seed']: run['arch'] for run in search['runs']}
        assert [run['arch'] for run in row['runs']] == [found[seed] for seed in row['seeds']]


def test_the_single_runs_fine_tuned_the_architectures_that_are_here():
    for folder, name in (('bccd', 'fna_retinanet_bccd'), ('bccd/ssdlite', 'fna_ssdlite_bccd'),
                         ('camvid', 'fna_deeplabv3_camvid')):
        for start in ('', ', random start'):
            (row, ) = [row for row in ROWS if row.get('name') == name + start]
            assert Architecture.create(row['runs'][0]['arch']) == Architecture.create(
                str(RESULTS / folder / 'arch.json'))


def test_every_comparison_is_complete():
    for dataset, framework in CASES:
        rows = {(row['model'], row['search']): row for row in ROWS if row['table'] == 'comparison'
                and (row['dataset'], row['framework']) == (dataset, framework)}
        assert list(rows)[:4] == [('mobilenet_v2', None), ('published', None), ('found', 'short'), ('random', 'short')]
        # Another draw for every seed, of the cost of what that seed found; the heads are not counted in the 1 %.
        for search in {search for model, search in rows if model == 'random'}:
            found, random = rows['found', search], rows['random', search]
            assert random['seeds'] == found['seeds']
            assert random['madds_g_of_seeds'] == pytest.approx(found['madds_g_of_seeds'], rel=.01)


def test_the_pages_are_made_from_the_rows():
    pages = [path.read_text() for path in RESULTS.glob('*.md')]
    assert [page_of(page, ROWS) for page in pages] == pages
    for name in tables_of(ROWS):
        assert sum(f'<!-- made by collect.py: {name} -->' in page for page in pages) == 1, name
    changed = copy.deepcopy(ROWS)
    changed[0]['mean'] += 1
    assert [page_of(page, changed) for page in pages] != pages


def test_the_pages_have_the_single_runs():
    page = (RESULTS / 'small_data.md').read_text() + (RESULTS / 'ablations.md').read_text()
    for row in (row for row in ROWS if row['table'] in ('small data', 'ablations') and 'mean' in row):
        if row['table'] == 'ablations':
            assert f'| {", ".join(f"{value:.1f}" for value in row["values"])} |' in page
            continue
        others = [f'{100 * row["runs"][0]["metrics"]["coco/bbox_mAP_50"]:.1f}'] if row['dataset'] == 'BCCD' else []
        cells = [f'{row["params_m"]:.3f}', f'{row["runs"][0]["madds"] / 1e9:.3f}', f'{row["mean"]:.1f}', *others]
        assert f' | {" | ".join(cells)} |' in page


def test_files_that_the_pages_show_are_all_there_are():
    page = ''.join(path.read_text() for path in RESULTS.glob('*.md'))
    shown = {path for path in RESULTS.rglob('*') if path.is_file()} - {RESULTS / 'README.md'}
    shown -= {path for path in shown if path.name.startswith('bench_cpu')}  # docs/gradient_search.md names these
    assert {str(path.relative_to(RESULTS)) for path in shown if f'({path.relative_to(RESULTS)})' not in page} == set()


def test_the_pages_have_every_row():
    page = (ROOT / 'docs/searches.md').read_text() + (ROOT / 'docs/paper.md').read_text()
    for row in COMPARED:
        assert f'{row["mean"]:.1f} ± {row["std"]:.1f}' in page
        assert row['table'] == 'remapping' or f'({row["madds_g"]:.3f})' in page


@pytest.fixture
def commands(tmp_path):
    """Runs run.sh with commands that only write down how they were called, and leave the files that others need."""
    stub = tmp_path / 'bin'
    stub.mkdir()
    (stub / 'fna').write_text(f'''#!/bin/bash
echo "fna $*" >> {tmp_path}/calls
touch "$4"
''')
    (stub / 'python').write_text(f'''#!/bin/bash
echo "python $*" >> {tmp_path}/calls
[ "$3" = rate ] && echo 0.02
if [ "$3" = ablate ]; then
    while [ "$1" != --work-dir ]; do shift; done
    for seed in 0 1 2; do mkdir -p "$2/seed_$seed/search"; touch "$2/seed_$seed/search/arch.json"; done
fi
exit 0
''')
    for path in stub.iterdir():
        path.chmod(0o755)

    def run(*arguments, **environment):
        subprocess.run(['bash', str(SCRIPT), *arguments], check=True, capture_output=True, text=True,
                       env=dict(os.environ, PATH=f'{stub}:{os.environ["PATH"]}', WORK=str(tmp_path / 'work'),
                                **environment))
        return (tmp_path / 'calls').read_text().splitlines()
    return run


@pytest.mark.slow
def test_the_script(commands, tmp_path):
    calls = commands('seed.pth', SEEDS='0 1', CASES='camvid_deeplabv3')
    work, configs = tmp_path / 'work/camvid_deeplabv3', 'configs/comparison/camvid_deeplabv3/small'
    rest = '--jobs 2 --seed-checkpoint seed.pth'
    models = ' '.join(f'{configs}/{model}.py' for model in ('mobilenet_v2', 'published', 'found', 'random'))
    tuned = '--cfg-options optim_wrapper.optimizer.lr=0.02'
    wanted = [
        *(f'python -m tools ablate {configs}/mobilenet_v2.py --work-dir {work}/lr_{rate} --seeds 0 {rest} '
          f'--cfg-options optim_wrapper.optimizer.lr={rate}' for rate in ('0.01', '0.02', '0.05')),
        f'python -m tools.results.collect rate {work}',
        f'python -m tools ablate {configs}/search.py --work-dir {work}/main --seeds 0 1 {rest}',
        *(f'fna arch random {configs}/search.py {work}/main/seed_{seed}/random_arch.json '
          f'--like {work}/main/seed_{seed}/search/arch.json --seed {seed}' for seed in (0, 1)),
        f'python -m tools ablate {models} --work-dir {work}/main --seeds 0 1 {rest} {tuned}']
    def variant(folder, seeds, *options):
        yield (f'python -m tools ablate {configs}/search.py --work-dir {work}/{folder} --seeds {seeds} {rest} '
               f'--cfg-options {" ".join(options)}')

    def found(folder, seeds):
        yield f'python -m tools ablate {configs}/found.py --work-dir {work}/{folder} --seeds {seeds} {rest} {tuned}'

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
    wanted += (f'fna arch random {configs}/search.py {work}/x_quiet/seed_{seed}/random_arch.json '
               f'--like {work}/x_quiet/seed_{seed}/search/arch.json --seed 1{seed}' for seed in (0, 1))
    wanted.append(f'python -m tools ablate {configs}/found.py {configs}/random.py --work-dir {work}/x_quiet '
                  f'--seeds 0 1 {rest} {tuned}')
    wanted.append(f'python -m tools ablate {configs}/mobilenet_v2.py {configs}/found.py --work-dir {work}/x_double '
                  f'--seeds 0 1 {rest} {tuned} train_dataloader.batch_size=8 train_cfg.val_interval=200 '
                  'param_scheduler.0.end=50 param_scheduler.1.begin=50')
    wanted.append(f'python -m tools ablate {models} --work-dir {work}/x_long --seeds 0 1 {rest} {tuned} '
                  'train_cfg.max_iters=1200 train_cfg.val_interval=300 param_scheduler.1.end=1200')
    wanted += variant('expansion_random', '0 1', 'model.backbone.init_cfg=None')
    wanted += found('expansion_random', '0 1')
    for expansion in ('main', 'expansion_random'):
        wanted += (f'{call} model.backbone.init_cfg=None' for call in found(f'{expansion}_adaptation_random', '0 1'))
    assert calls == [*wanted, f'python -m tools.results.collect results {tmp_path / "work"} docs/results small']


def test_the_weight_that_is_best_with_one_seed_is_run_with_all(commands):
    calls = commands('seed.pth', SEEDS='0 1', CASES='bccd_retinanet')
    runs = [call.split('--work-dir ')[1].split(' --jobs')[0] for call in calls if '/lambda_' in call]
    folders = [run.rsplit('/', 1)[1] for run in runs]
    assert folders == [f'lambda_{rest}' for rest in ('0.004 --seeds 0', '0.1 --seeds 0', '0.1 --seeds 0 1')
                       for _ in ('search', 'found')]


@pytest.mark.parametrize('case', CASES.values())
def test_the_command_of_a_row_is_what_the_script_runs(commands, tmp_path, case):
    calls = commands('mobilenet_v2.pth', CASES=case)
    work = str(tmp_path / 'work')
    ran = [shlex.split(call.replace(work, 'work_dirs/comparison/small').replace(' --jobs 2', '')) for call in calls]

    def of_one_config(step):
        """The step as the script writes it, which gives several configs to one command."""
        if step[0] == 'fna':
            return [words for words in ran if words == step]
        return [words for words in ran if words[2:4] == ['tools', 'ablate'] and step[4] in words
                and words[words.index('--work-dir'):] == step[5:]]

    rows = [row for row in COMPARED if CASES[row['dataset'], row['framework']] == case]
    assert len(rows) >= 6
    for row in rows:
        rate = f'optim_wrapper.optimizer.lr={row["learning_rate"]:g}'
        *before, last = [shlex.split(step) for step in row['command'].replace(rate, 'optim_wrapper.optimizer.lr=0.02')
                         .split(' && ')]
        assert rate in row['command']
        assert len([step for step in before if step[0] == 'fna']) == len(row['seeds']) * (row['model'] == 'random')
        for step in [step for step in [*before, last] if step[0] in ('python', 'fna')]:
            assert all((ROOT / word).is_file() for word in step if word.endswith('.py'))
            assert of_one_config(step), shlex.join(step)


def test_an_unknown_size_is_an_error():
    done = subprocess.run(['bash', str(SCRIPT), 'seed.pth'], capture_output=True, text=True,
                          env=dict(os.environ, SIZE='huge'))
    assert done.returncode == 1
    assert done.stderr == 'SIZE=huge: expected small or full\n'


def test_the_script_at_full_size(commands):
    calls = commands('seed.pth', SIZE='full', SEEDS='0', CASES='camvid_deeplabv3')
    assert all('configs/comparison/camvid_deeplabv3/full/' in call for call in calls if 'tools.results' not in call)
    assert calls[-1].endswith('docs/results full')
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
    for folder, value in (('main_adaptation_random', .15), ('expansion_random_adaptation_random', .05)):
        lent = run(folder, 0, 'found', value).with_name('search')
        lent.mkdir()
        (lent / 'arch.json').write_text(other)
    return work


def collect(*arguments):
    return subprocess.run([sys.executable, '-W', 'ignore', '-m', 'tools.results.collect', *map(str, arguments)],
                          cwd=ROOT, capture_output=True, text=True)


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
    shown = collect('results', finished, out, 'small')
    assert shown.returncode == 0, shown.stderr
    every = json.loads((out / 'results.json').read_text())
    rows = [row for row in every if row['table'] in ('comparison', 'remapping')]
    assert [(row['model'], row['remapped'], row['mean'], row['seeds']) for row in rows] == [
        ('mobilenet_v2', True, 31, [0, 1]), ('published', True, 41, [0, 1]), ('found', True, 51, [0, 1]),
        ('random', True, 61, [0, 1]), ('found', True, 55, [1]), ('found', False, 15, [0]), ('found', False, 5, [0])]
    assert [row['search'] for row in rows] == [None, None, 'short', 'short', 'long', 'short', 'random start']
    assert rows[0]['madds_g'] == .505
    assert rows[0]['std'] == 1.41
    assert rows[0]['minutes'] == 1
    steps = rows[3]['command'].split(' && ')
    names = [step.split()[4 if 'tools' in step else 2].rsplit('/')[-1] for step in steps]
    assert names == ['search.py', 'random', 'random', 'random.py']
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
    assert rows[2]['runs'][1] == dict(
        seed=1, metrics={'coco/bbox_mAP': .52}, validation=.53, params=2000000, madds=510000000., minutes=1.,
        arch=Architecture.create('fna_retinanet').to_text().replace('\n', ''))
    assert [(row['folder'], row['cost_weight'], row['seeds']) for row in every if row['table'] == 'searches'] == [
        ('lambda_0.2', .2, [0]), ('main', .02, [0, 1]), ('x_quiet', .02, [1])]
    # Rows of other runs stay, and the page can be made again from the file alone.
    kept = dict(table='small data', name='by hand', dataset='BCCD', framework='RetinaNet', runs=[])
    (out / 'results.json').write_text(f'[{rows_text([*every, kept])}]')
    assert collect('results', finished, out, 'small').returncode == 0
    assert json.loads((out / 'results.json').read_text()) == [*every, kept]
    (out / 'README.md').write_text(page.replace('51.0', '0'))
    assert collect('page', out).returncode == 0
    assert (out / 'README.md').read_text() == page
