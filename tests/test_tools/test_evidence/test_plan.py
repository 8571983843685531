"""The steps of a run, and the queue that does them."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from mmengine.config import Config

from fna_mm.configs import read_search
from fna_mm.cost.madds import GIGA, madds_table
from fna_mm.search_space import tapped_stages
from tools.evidence.__main__ import main
from tools.evidence.hours import whole_length
from tools.evidence.plan import TRAINED, Job, jobs_of, training_command
from tools.evidence.protocol import (
    BUDGETS,
    MODELS,
    NOT_REACHED,
    OF_THE_SPACE,
    Rival,
    in_order,
    last_checkpoint,
    rivals_of,
    task_of,
)
from tools.evidence.searched_rivals import search_config
from tools.evidence.trained_to_the_end import VALIDATED, doubled_config
from tools.evidence.work_queue import MINUTES, QueuedRun, WorkQueue
from tools.results.adapted_runs import PACKAGES, TIMES, steps_of


def trained(folder, name='epoch_9.pth'):
    folder.mkdir(parents=True)
    (folder / name).touch()
    (folder / 'last_checkpoint').write_text(f'/another/machine/{name}')


@pytest.mark.parametrize('task', PACKAGES)
def test_what_a_step_needs_comes_before_it(task, tmp_path):
    jobs = jobs_of(task_of(task), 1, tmp_path, 'a.pth')
    names = [job.name for job in jobs]
    assert len(set(names)) == len(names)
    for place, job in enumerate(jobs):
        assert set(job.needs) <= set(names[:place]), job.name
        # Also of a search that ends before the training: steps run side by side.
        assert not job.name.endswith('/child') or TRAINED in job.needs
    for rival in rivals_of(task):
        assert [f'{rival.name}/{step}' for step in ('child', 'raw', 'tuned', 'tested')] == [
            name for name in names if name.startswith(f'{rival.name}/')]


def test_the_training_is_that_of_adapted_runs(tmp_path):
    step = next(steps_of('bccd_retinanet', 2, tmp_path, 'a.pth'))
    assert jobs_of(task_of('bccd_retinanet'), 2, tmp_path, 'a.pth')[0].name == step.name
    assert training_command(task_of('bccd_retinanet'), 2, tmp_path, 'a.pth') == step.command
    full = training_command(task_of('bccd_retinanet', 'full'), 2, tmp_path, 'a.pth')
    assert [one for one, other in zip(full, step.command) if one != other] == [
        str(task_of('bccd_retinanet', 'full').trained)]


@pytest.mark.parametrize('size', ['small', 'full'])
@pytest.mark.parametrize('task', PACKAGES)
def test_budgets_that_the_space_does_not_reach_are_left_out(task, size):
    """Searches, and draws at random, must find something as cheap."""
    found = task_of(task, size)
    search = read_search(str(found.search))
    space, shape, output_stride = search.space, search.input_shape, search.output_stride
    backbone = Config.fromfile(str(found.trained)).model.backbone
    last = 1280 if 7 in backbone.out_indices else 0
    assert bool(tapped_stages(backbone.out_indices)) == (task == 'bccd_ssdlite')
    table = madds_table(space, shape, output_stride, last)
    least = (table.fixed + sum(map(min, table.layers))) / (space.seed.madds(shape, output_stride, last) / GIGA)
    assert [budget for budget in BUDGETS if float(budget) < least] == [
        budget for name, budget in NOT_REACHED if name == task]
    for model in OF_THE_SPACE:
        assert [rival.budget for rival in rivals_of(task) if rival.model == model] == [
            budget for budget in MODELS[model] if float(budget) >= least]


@pytest.mark.parametrize('task', PACKAGES)
def test_a_search_has_a_budget_in_the_place_of_a_weight(task):
    found = task_of(task)
    plain = Config.fromfile(str(found.search))
    cfg = search_config(found, .5, 3, 'seed.pth')
    assert cfg.custom_hooks[0].cost == dict(type='MAddsCost', input_shape=tuple(plain.input_shape), budget=.5)
    assert cfg.randomness.seed == 3
    assert cfg.model.backbone.init_cfg.checkpoint == 'seed.pth'
    assert cfg.train_cfg == plain.train_cfg
    fitted = search_config(found, .5, 3, 'seed.pth', 'prepared.pth')
    assert fitted.load_from == 'prepared.pth'
    assert fitted.model.backbone.init_cfg is None
    assert fitted.optim_wrapper.optimizer.lr == pytest.approx(.2 * plain.optim_wrapper.optimizer.lr)


def test_commands(tmp_path):
    trained(tmp_path / 'trained')
    jobs = {job.name: job for job in jobs_of(task_of('camvid_deeplabv3'), 1, tmp_path, 'a.pth')}
    adapt = jobs['adapted'].command()
    assert adapt[:2] == ['fna', 'adapt']
    assert adapt[3:] == [str(tmp_path / 'trained/epoch_9.pth'), '--budget', '0.7', '--budget', '0.5', '--budget', '0.3',
                         '--schedule', '0.2', '--seed', '1', '--work-dir', str(tmp_path / 'evidence/adapted')]
    assert '--grow' in jobs['grown'].command()
    folder = tmp_path / 'evidence/narrowed_0.5'
    assert jobs['narrowed_0.5/tuned'].command() == [
        'mim', 'train', 'mmseg', str(folder / 'child_config.py'), '--work-dir', str(folder / 'tuned'), '--cfg-options',
        'randomness.seed=1']
    trained(folder / 'tuned', 'iter_8.pth')
    assert '--resume' in jobs['narrowed_0.5/tuned'].command()
    assert str(folder / 'tuned/iter_8.pth') in jobs['narrowed_0.5/tested'].command()
    search = jobs['search_0.7'].command()
    assert Config.fromfile(search[3]).custom_hooks[0].cost.budget == .7


def test_a_folder_that_was_moved_has_its_checkpoint(tmp_path):
    trained(tmp_path / 'there')
    assert last_checkpoint(tmp_path / 'there') == tmp_path / 'there/epoch_9.pth'
    with pytest.raises(FileNotFoundError, match='nothing was trained there'):
        last_checkpoint(tmp_path)


@pytest.mark.parametrize(('arguments', 'message'), [
    (('bccd', ), "task 'bccd' is unknown"), (('bccd_ssdlite', 'huge'), "size 'huge' is unknown")])
def test_unknown_tasks(arguments, message):
    with pytest.raises(ValueError, match=message):
        task_of(*arguments)


def run_of(folder, fail=''):
    """Steps that write their name down: a → b → c, and d, which needs nothing."""
    def job(name, *needs):
        code = f'print({name!r}, file=open({str(folder / "calls")!r}, "a")); assert {name!r} != {fail!r}'
        return Job(name, needs, lambda: [sys.executable, '-c', code])
    folder.mkdir(exist_ok=True, parents=True)
    return QueuedRun(folder, (job('trained'), job('b', 'trained'), job('c', 'b'), job('d')))


@pytest.mark.parametrize('jobs', [1, 3])
def test_the_queue_does_each_step_once(tmp_path, jobs):
    runs = [run_of(tmp_path / f'task/seed_{seed}') for seed in (0, 1)]
    assert WorkQueue(runs, jobs).work()
    assert WorkQueue(runs, jobs).work()
    for run in runs:
        calls = (run.folder / 'calls').read_text().split()
        assert sorted(calls) == ['b', 'c', 'd', 'trained']
        assert calls.index('trained') < calls.index('b') < calls.index('c')
        assert set(json.loads((run.folder / MINUTES).read_text())) == {'b', 'c', 'd'}
        assert set(json.loads((run.folder / TIMES).read_text())) == {'trained'}


def test_a_training_of_adapted_runs_is_not_repeated(tmp_path):
    run = run_of(tmp_path / 'task/seed_0')
    (run.folder / TIMES).write_text(json.dumps(dict(trained=6.7, adapted=2.1)))
    assert WorkQueue([run], 1).work()
    assert (run.folder / 'calls').read_text().split() == ['b', 'c', 'd']
    assert json.loads((run.folder / TIMES).read_text()) == dict(trained=6.7, adapted=2.1)


def test_a_step_that_fails_stops_those_that_need_it(tmp_path, capsys):
    folder = tmp_path / 'task/seed_0'
    queue = WorkQueue([run_of(folder, fail='b')], 1)
    assert not queue.work()
    assert queue.failed == [f'{folder}: b']
    assert 'b failed, see' in capsys.readouterr().err
    assert 'AssertionError' in (folder / 'evidence/logs/b.log').read_text()
    assert (folder / 'calls').read_text().split() == ['trained', 'b', 'd']
    assert WorkQueue([run_of(folder)], 1).work()
    assert (folder / 'calls').read_text().split() == ['trained', 'b', 'd', 'b', 'c']


def test_a_step_whose_command_cannot_be_made_fails(tmp_path):
    (tmp_path / 'run').mkdir()
    job = Job('a', (), lambda: [str(last_checkpoint(Path('nowhere')))])
    assert not WorkQueue([QueuedRun(tmp_path / 'run', (job, ))], 1).work()
    assert 'nothing was trained there' in (tmp_path / 'run/evidence/logs/a.log').read_text()


def test_hours_are_of_whole_trainings():
    assert whole_length(dict(max_iters=4000), 7) == 4000
    assert whole_length(dict(max_epochs=24), 51) == 1224


@pytest.mark.parametrize('command', ['run', 'collect'])
def test_the_command_has_help_with_an_example(command):
    result = CliRunner().invoke(main, [command, '--help'])
    assert f'Example:  python -m tools.evidence {command}' in result.output


def test_names_of_rivals():
    assert Rival('pruned_norm', '0.3').name == 'pruned_norm_0.3'
    assert rivals_of('bccd_retinanet')[0] == Rival('mobilenet_v2', '1')


def test_what_says_most_is_run_first():
    ordered = in_order(rivals_of('bccd_retinanet'))
    assert sorted(ordered) == sorted(rivals_of('bccd_retinanet'))
    assert [rival.name for rival in ordered[:4]] == [
        'mobilenet_v2_1', 'narrowed_0.5', 'pruned_norm_0.5', 'pruned_taylor_0.5']
    assert [rival.model for rival in ordered[-8:]] == 4 * ['found_fitted'] + 4 * ['found']


@pytest.mark.parametrize('task', PACKAGES)
def test_the_longer_training_is_the_same_otherwise(task, tmp_path):
    found = task_of(task)
    plain, longer = Config.fromfile(str(found.trained)), doubled_config(found, 'seed.pth')
    name = 'max_epochs' if 'max_epochs' in plain.train_cfg else 'max_iters'
    assert longer.train_cfg[name] == longer.train_cfg.val_interval == 2 * plain.train_cfg[name]
    assert longer.param_scheduler[0] == plain.param_scheduler[0]
    assert longer.param_scheduler[1].end == 2 * plain.param_scheduler[1].end
    assert longer.optim_wrapper == plain.optim_wrapper
    names = [job.name for job in jobs_of(found, 0, tmp_path, 'a.pth')]
    assert names[-3:] == ['doubled', *VALIDATED]
    assert 'doubled' not in [job.name for job in jobs_of(found, 1, tmp_path, 'a.pth')]
