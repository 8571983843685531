"""``python -m tools ablate``: what it plans, what it runs, what it shows."""

import json
import re
import statistics
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from mmengine.config import Config
from mmengine.runner import Runner
from toy_search import SIZE, child_net_config, search_config, toy_dataloader

from fna_mm import Architecture, FNAChildNet
from fna_mm.adaptation.images import MeasuredImages
from fna_mm.adaptation.measuring import normalised_images
from fna_mm.adaptation.trained_model import load_trained
from fna_mm.checkpoints.opening import load_checkpoint
from tools.__main__ import main
from tools.ablation import ablation_table, collect_rows, parse_options, plan_runs
from tools.ablation.fitted_remapping_hook import FittedRemappingHook  # noqa: F401  registers it
from tools.ablation.schedule import carry_out
from tools.ablation.table import AblationRow

ROOT = Path(__file__).resolve().parents[2]
CAMVID = ROOT / 'configs/ablations/camvid'
OWN = 'table5_expansion_remapped_adaptation_remapped'

#: A hook that kills its process once: in iteration 3 of 4, after the checkpoint of the first epoch.
KILL_ONCE = """
import os, signal
from pathlib import Path
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class KillOnce(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        marker = Path(runner.work_dir) / 'killed'
        if runner.iter == 2 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
"""


def ablate(*arguments, code=0):
    """Run the command in this process; what it printed."""
    result = CliRunner().invoke(main, ['ablate', *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def write(folder, name, cfg, **strings):
    """A config file; ``strings`` are names of the architecture's or checkpoint's place in other runs."""
    path = folder / f'{name}.py'
    text = cfg.pretty_text
    for placeholder, value in strings.items():
        assert placeholder in text
        text = text.replace(placeholder, value)
    path.write_text(text)
    return path


def child_config(**overrides):
    """A plain training of two epochs with a test set."""
    return child_net_config('unused', **dict(dict(
        epochs=2, input_shape=(SIZE, SIZE), test_dataloader=toy_dataloader(None, length=4),
        test_evaluator=dict(type='ToyScore'), test_cfg=dict(type='TestLoop')), **overrides))


@pytest.fixture(scope='module')
def environment(tmp_path_factory):
    """Other processes find the toys, and a hook that kills them."""
    folder = tmp_path_factory.mktemp('modules')
    (folder / 'kill_once.py').write_text(KILL_ONCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('PYTHONPATH', f'{ROOT}:{ROOT / "tests"}:{folder}')
        patch.setenv('OMP_NUM_THREADS', '1')
        yield


# Real runs


@pytest.fixture(scope='module')
def finished(environment, tmp_path_factory):
    """A search and its child with two seeds, two at a time: the folder, the configs, what was printed."""
    folder = tmp_path_factory.mktemp('ablate')
    search = search_config('unused')
    search.custom_hooks.append(dict(type='ArchitectureExportHook'))
    child = child_config()
    child.model.backbone.arch = 'ARCH'
    # The child first: it waits for the search, whose name is in it.
    configs = [write(folder, 'child', child, ARCH='{{$FNA_ABLATION_DIR:none}}/toy/arch.json'),
               write(folder, 'toy', search)]
    printed = ablate(*configs, '--seeds', 0, 5, '--work-dir', folder / 'out', '--jobs', 2, '--out',
                     folder / 'rows.json')
    return folder, configs, printed


@pytest.mark.slow
def test_a_child_waits_for_its_search(finished):
    folder, _, printed = finished
    lines = [line for line in printed.splitlines() if line.startswith('[')]
    assert [line.split(' ')[0] for line in lines] == ['[1/4]', '[2/4]', '[3/4]', '[4/4]']
    for seed in (0, 5):
        order = [re.search(rf'seed {seed} (\w+):', line) for line in lines]
        assert [match[1] for match in order if match] == ['toy', 'child']
        complete = Config.fromfile(folder / f'out/seed_{seed}/child.py')
        assert complete.randomness.seed == seed
        found = Architecture.create(complete.model.backbone.arch)
        assert complete.model.backbone.arch == str(folder / f'out/seed_{seed}/toy/arch.json')
        state = load_checkpoint(str(folder / f'out/seed_{seed}/child/epoch_2.pth'))['state_dict']
        inner = {key[len('backbone.'):] for key in state if key.startswith('backbone.')}
        assert inner == set(FNAChildNet(found, out_indices=(2, ), output_stride=8).state_dict())


@pytest.mark.slow
def test_rows_hold_what_the_runs_measured(finished):
    folder, _, printed = finished
    child, toy = json.loads((folder / 'rows.json').read_text())
    assert list(child) == ['config', 'params_m', 'madds_g', 'metric', 'values', 'mean', 'std', 'seeds', 'minutes']
    assert (child['config'], child['metric'], child['seeds']) == ('child', 'score', [0, 5])
    results = [json.loads((folder / f'out/seed_{seed}/child/result.json').read_text()) for seed in (0, 5)]
    assert child['values'] == [result['metrics']['score'] for result in results]
    assert child['values'][0] != child['values'][1]
    assert child['mean'] == pytest.approx(sum(child['values']) / 2)
    assert child['std'] == pytest.approx(abs(child['values'][0] - child['values'][1]) / 2**.5)
    found = [Architecture.create(str(folder / f'out/seed_{seed}/toy/arch.json')) for seed in (0, 5)]
    behind = 8 * 8 + 16 + 8 * 2 + 2  # the toy's neck and head
    assert child['params_m'] == pytest.approx(sum(one.params() + behind for one in found) / 2e6)
    assert child['madds_g'] == pytest.approx(
        sum(one.madds((SIZE, SIZE)) + 4 * 4 * 8 * 8 + 8 * 2 + 2 for one in found) / 2e9)
    assert (toy['values'], toy['mean'], toy['params_m']) == ([None, None], None, None)
    assert toy['minutes'] > 0
    table = printed[printed.index('config '):].splitlines()
    assert table[0].split() == ['config', 'params', '(M)', 'MAdds', '(G)', 'metric', 'seed', '0', 'seed', '5', 'mean',
                                'std', 'minutes']
    assert table[1].split()[:4] == ['child', f'{child["params_m"]:.3f}', f'{child["madds_g"]:.4f}', 'score']
    assert f'{child["mean"]:.4g}' in table[1].split()


@pytest.mark.slow
def test_nothing_is_repeated(finished):
    folder, configs, _ = finished
    before = {path: path.stat().st_mtime_ns for path in (folder / 'out').rglob('*') if path.is_file()}
    printed = ablate(*configs, '--seeds', 0, 5, '--work-dir', folder / 'out', '--out', folder / 'rows.md', '--format',
                     'markdown')
    assert printed.count('finished earlier') == 4
    after = {path: path.stat().st_mtime_ns for path in (folder / 'out').rglob('*') if path.suffix != '.py'}
    assert {path: before[path] for path in before if path.suffix != '.py'} == \
        {path: time for path, time in after.items() if path.is_file()}
    lines = (folder / 'rows.md').read_text().splitlines()
    assert re.match(r'\| config +\| +params \(M\) \|', lines[0])
    assert '\n'.join(lines) in printed
    assert len(lines) == 4


@pytest.mark.slow
def test_an_unknown_metric_and_other_options(finished):
    folder, configs, _ = finished
    arguments = [*configs, '--seeds', 0, 5, '--work-dir', folder / 'out']
    assert "child has no metric 'mIoU': choose one of score" in ablate(*arguments, '--metric', 'mIoU', code=1)
    printed = ablate(*arguments, '--cfg-options', 'train_cfg.max_epochs=3', code=1)
    assert re.search(r'seed_0/child.py is of a run with another config or other options: give another --work-dir',
                     printed)


@pytest.mark.slow
def test_a_killed_run_is_continued(environment, tmp_path):
    """And what needs it is skipped until then; what does not is run."""
    dies = child_config(custom_hooks=[dict(type='KillOnce')])
    dies.custom_imports.imports.append('kill_once')
    needs, wrong = child_config(epochs=1), child_config()
    needs.load_from = 'CHECKPOINT'
    wrong.model.backbone.arch = 'fna_none'
    configs = [write(tmp_path, 'dies', dies), write(tmp_path, 'wrong', wrong),
               write(tmp_path, 'needs', needs, CHECKPOINT='{{$FNA_ABLATION_DIR:none}}/dies/epoch_2.pth')]
    arguments = [*configs, '--work-dir', tmp_path / 'out', '--jobs', 3]
    printed = ablate(*arguments, code=1)
    assert 'seed 0 dies: FAILED, killed by signal 9' in printed
    assert 'seed 0 needs: SKIPPED, it needs dies' in printed
    assert re.search(r"seed 0 wrong: FAILED, exit code 1, see .*run.log\n(.*\n)*.*unknown arch 'fna_none'", printed)
    assert printed.splitlines()[-1].startswith('Error: 3 of 3 runs failed or were skipped: seed 0 ')
    assert re.search(r'^dies +- +- +- +- +- +- +-$', printed, re.MULTILINE)
    assert not (tmp_path / 'out/seed_0/dies/epoch_2.pth').exists()

    arguments.remove(configs[1])
    printed = ablate(*arguments)
    assert re.search(r'seed 0 dies: score \S+, 0\.\d min', printed)
    assert re.search(r'seed 0 needs: score \S+, 0\.\d min', printed)
    scalars = [json.loads(line) for path in sorted((tmp_path / 'out/seed_0/dies').glob('*/vis_data/scalars.json'))
               for line in path.read_text().splitlines()]
    assert [line['step'] for line in scalars if 'loss_cls' in line] == [1, 2, 3, 4]  # none of them twice


# Plans


@pytest.mark.slow
def test_the_papers_tables_on_camvid(tmp_path):
    configs = [str(CAMVID / f'{name}.py') for name in ('table6_width_bn', OWN, 'table6_fna', 'search_remapped')]
    runs = plan_runs(configs, [2], str(tmp_path), {}, 'my/seed.pth')
    assert [run.name for run in runs] == ['table6_width_bn', OWN, 'table6_fna', 'search_remapped']
    assert [run.needs for run in runs] == [('search_remapped', ), ('search_remapped', ), ('search_remapped', ), ()]
    assert [run.same_as for run in runs] == [None, None, OWN, None]
    assert [run.search for run in runs] == [False, False, False, True]
    assert {run.metric for run in runs} == {'mIoU'}
    for run in runs:
        cfg = Config.fromfile(run.config)
        assert cfg.model.backbone.init_cfg.checkpoint == 'my/seed.pth'
        assert (cfg.work_dir, cfg.randomness.seed) == (str(tmp_path / 'seed_2' / run.name), 2)
    assert cfg.train_dataloader.dataset.seed == cfg.custom_hooks[0].dataloader.dataset.seed == 0


def toy(folder, name, text=''):
    path = folder / f'{name}.py'
    path.write_text(f"model = dict(type='ToyClassifier', backbone=dict(type='FNAChildNet'))\n{text}")
    return str(path)


def test_no_initializer_is_left_without_one(tmp_path):
    text = "custom_hooks = [dict(type='ParameterRemappingHook', checkpoint='a.pth')]"
    runs = plan_runs([toy(tmp_path, 'one'), toy(tmp_path, 'two', text)], [0], str(tmp_path / 'out'), {}, 'b.pth')
    one, two = (Config.fromfile(run.config) for run in runs)
    assert 'init_cfg' not in one.model.backbone
    assert two.custom_hooks[0].checkpoint == 'b.pth'


def test_options(tmp_path):
    assert parse_options(()) == {}
    options = parse_options(['a.b=1', 'c=[1,2]', 'd=None', 'e=x=y'])
    assert options == {'a.b': 1, 'c': [1, 2], 'd': None, 'e': 'x=y'}
    (run, ) = plan_runs([toy(tmp_path, 'one')], [0], str(tmp_path / 'out'), parse_options(['model.backbone.arch=x']))
    assert Config.fromfile(run.config).model.backbone.arch == 'x'


@pytest.mark.parametrize(('arguments', 'message'), [
    (lambda folder: [toy(folder, 'one'), toy(folder, 'one')], 'two configs are named one: give each once'),
    (lambda folder: [toy(folder, 'one'), '--seeds', 1, 1], 'two runs have seed 1: give each once'),
    (lambda folder: [toy(folder, 'one'), '--cfg-options', 'x'], '--cfg-options x: expected KEY=VALUE'),
    (lambda folder: [toy(folder, 'one', 'custom_hooks = []'), '--cfg-options', 'custom_hooks.0.num_iters=3'],
     '--cfg-options do not fit .*one.py: '),
    (lambda folder: [folder / 'none.py'], r"No such file or directory: '.*none.py'"),
    (lambda folder: [write(folder, 'empty', Config(dict(a=1)))], 'empty.py is no config of a training'),
    (lambda folder: [toy(folder, 'one', "load_from = '{{$FNA_ABLATION_DIR:x}}/two/x.pth'"),
                     toy(folder, 'two', "load_from = '{{$FNA_ABLATION_DIR:x}}/one/x.pth'")],
     "these configs need each other's results: one, two"),
])
def test_what_cannot_be_planned_is_one_line(tmp_path, arguments, message):
    printed = ablate(*arguments(tmp_path), '--work-dir', tmp_path / 'out', code=1)
    (line, ) = [line for line in printed.splitlines() if line.startswith('Error: ')]
    assert re.search(message, line), line
    assert not (tmp_path / 'out').exists()


# Rows


def leave(run, **result):
    run.work_dir.mkdir(parents=True)
    (run.work_dir / 'result.json').write_text(json.dumps(dict(dict(params=None, madds=None), **result)))


def test_one_training_under_two_names_runs_once(tmp_path):
    """Also when the first of them was finished earlier."""
    runs = plan_runs([toy(tmp_path, 'one'), toy(tmp_path, 'two')], [0], str(tmp_path / 'out'), {})
    leave(runs[0], metrics=dict(aAcc=70., mIoU=30.), minutes=2.)
    assert carry_out(runs) == []
    assert runs[1].result() == runs[0].result()


def test_rows(tmp_path):
    """With a seed that failed, and a metric that is not the first."""
    text = "test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])"
    runs = plan_runs([toy(tmp_path, 'one', text)], [0, 1, 2], str(tmp_path / 'out'), {})
    leave(runs[0], metrics=dict(aAcc=70., mIoU=30.), params=2_000_000, madds=10**9, minutes=2.)
    leave(runs[2], metrics=dict(aAcc=80., mIoU=33.), params=3_000_000, madds=2 * 10**9, minutes=4.)
    expected = AblationRow('one', 2.5, 1.5, 'mIoU', [30., None, 33.], 31.5, statistics.stdev([30, 33]), [0, 1, 2], 3.)
    assert collect_rows(runs) == [expected]
    (row, ) = collect_rows(runs, 'aAcc')
    assert (row.metric, row.values, row.mean) == ('aAcc', [70., None, 80.], 75.)
    line = ablation_table([expected]).splitlines()[1]
    assert line.split() == ['one', '2.500', '1.5000', 'mIoU', '30', '-', '33', '31.5', '2.1', '3.0']


# The row that is fitted


@pytest.fixture
def narrower(ssdlite, tmp_path):
    """The config of a training with a cheaper backbone than its seed, which is the trained SSDLite's."""
    from toy_ssdlite import ARCH
    path, checkpoint = ssdlite
    cfg = Config.fromfile(path)
    front, stage, rest = ARCH.rpartition('[[24, 40]')  # whose hidden channels the head takes
    cfg.model.backbone.update(arch=front.replace("'k3_e6', ", "'k3_e3', ") + stage + rest,
                              init_cfg=dict(type='ParameterRemapping', checkpoint=checkpoint))
    cfg.update(work_dir=str(tmp_path), val_cfg=None, val_dataloader=None, val_evaluator=None,
               custom_hooks=[dict(type='FittedRemappingHook', images=10, seed_arch=ARCH)])
    return cfg


def test_a_fitted_backbone_is_nearer_to_the_seed_than_a_remapped_one(narrower, ssdlite):
    runner = Runner.from_cfg(narrower)
    model = runner.model
    model.init_weights()
    images = MeasuredImages(narrower, 0)
    seed = load_trained(*ssdlite).backbone

    def error():
        with torch.no_grad():
            own, other = (torch.cat([net(image)[-1] for image in normalised_images(model, images, range(10, 20))])
                          for net in (model.backbone.eval(), seed))
        return float((own - other).square().mean() / other.var())

    before = error()
    runner.call_hook('before_train')
    assert error() < .7 * before


def test_what_is_not_remapped_is_not_fitted(narrower):
    narrower.model.backbone.init_cfg = None
    with pytest.raises(ValueError, match='the backbone has init_cfg=None: FittedRemappingHook needs a Parameter'):
        Runner.from_cfg(narrower).call_hook('before_train')
    narrower.custom_hooks[0].images = 0
    with pytest.raises(ValueError, match='images of FittedRemappingHook'):
        Runner.from_cfg(narrower)
