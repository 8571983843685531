import contextlib
import json
import shutil
import time
from pathlib import Path

import cv2
import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS
from toy_search import SIZE, TOY, build, child_net_config, find_hook, load, search_config, toy_dataloader, train

from fna_mm import Architecture
from fna_mm.checkpoints.searched import best_architecture, search_parameters
from fna_mm.report.history import read_history

HOOK = dict(type='ArchitectureExportHook')


@HOOKS.register_module(force=True)
class PageReader(Hook):
    """Keeps what a page says after every epoch, by iterations made."""

    priority = 'LOWEST'

    def __init__(self, path):
        self.path, self.pages = Path(path), {}

    def after_train_epoch(self, runner):
        self.pages[runner.iter] = self.path.read_text()


def exporting(folder, arguments=None, **loop):
    cfg = search_config(folder, **loop)
    cfg.custom_hooks.append(dict(HOOK, **(arguments or {})))
    return cfg


@pytest.fixture(scope='module')
def search(tmp_path_factory):
    """A finished search of three epochs that exported, and its folder."""
    folder = tmp_path_factory.mktemp('search')
    runner = train(exporting(folder, epochs=3))
    shutil.copytree(folder / 'fna_report', folder / 'kept/fna_report')  # some tests export again, as of earlier epochs
    return runner, folder


@pytest.fixture
def without_pages(monkeypatch):
    """Drawing the report takes longer than the toy search; most tests are not about it."""
    monkeypatch.setattr('fna_mm.hooks.architecture_export_hook.write_report', lambda runs, folder: (folder, []))


@pytest.mark.parametrize('interval', [0, -2, 1.5, True])
def test_bad_interval(interval):
    with pytest.raises(ValueError, match=f'must be a positive integer, not {interval!r}'):
        HOOKS.build(dict(HOOK, interval=interval))


def test_arch_json_is_the_best_path(search):
    runner, folder = search
    architecture = Architecture.create(str(folder / 'arch.json'))
    assert architecture == runner.model.backbone.best_architecture()
    assert (folder / 'arch.json').read_text() == (folder / 'arch_epoch_3.json').read_text()


def test_every_epochs_architecture_is_that_of_its_checkpoint(search):
    _, folder = search
    for epoch in (1, 2, 3):
        architecture = Architecture.create(str(folder / f'arch_epoch_{epoch}.json'))
        assert architecture == best_architecture(load(folder / f'epoch_{epoch}.pth'))


@pytest.mark.usefixtures('without_pages')
@pytest.mark.parametrize(('arguments', 'loop', 'names'), [
    (dict(interval=2), dict(epochs=3), ['arch_epoch_2.json', 'arch_epoch_3.json']),
    (dict(interval=5), dict(epochs=2), ['arch_epoch_2.json']),
    (dict(interval=2, by_epoch=False), dict(iters=5), ['arch_iter_2.json', 'arch_iter_4.json', 'arch_iter_5.json']),
    # As the loop counts: each epoch, or ten times.
    (dict(), dict(epochs=2), ['arch_epoch_1.json', 'arch_epoch_2.json']),
    (dict(), dict(iters=5), [f'arch_iter_{n}.json' for n in range(1, 6)]),
    (dict(interval=1, out_dir='found'), dict(epochs=2), ['arch_epoch_1.json', 'arch_epoch_2.json']),
])
def test_when_and_where(tmp_path, arguments, loop, names):
    if 'out_dir' in arguments:
        arguments = dict(arguments, out_dir=str(tmp_path / arguments['out_dir']))
    train(exporting(tmp_path / 'work', arguments, **loop))
    out = Path(arguments.get('out_dir', tmp_path / 'work'))
    assert sorted(path.name for path in out.glob('arch_*.json')) == names
    assert {'arch.json', 'child_config.py', 'architecture.png', 'probabilities.png'} <= \
        {path.name for path in out.iterdir()}
    assert (out / 'arch.json').read_text() == (out / names[-1]).read_text()
    if out != tmp_path / 'work':
        assert not list((tmp_path / 'work').glob('*.json'))


@pytest.mark.parametrize('name', ['architecture', 'probabilities'])
def test_pictures(search, name):
    runner, folder = search
    picture = cv2.imread(str(folder / f'{name}.png'))
    assert picture.shape[0] > 100
    assert picture.shape[1] > 300
    assert picture.std() > 10  # something is drawn
    logged = sorted(Path(runner.log_dir).glob(f'vis_data/vis_image/fna_{name}_*.png'))
    assert [path.name for path in logged] == [f'fna_{name}_{step}.png' for step in (2, 4, 6)]


def test_child_config_trains_as_it_is(search, tmp_path):
    runner, folder = search
    cfg = Config.fromfile(folder / 'child_config.py')
    assert cfg.work_dir == str(folder / 'child')
    assert cfg.model.backbone.type == 'FNAChildNet'
    assert cfg.custom_hooks == []
    assert MODELS.build(cfg.model).backbone.architecture == runner.model.backbone.best_architecture()
    cfg.work_dir = str(tmp_path)
    cfg.train_cfg.max_epochs = 1
    child = train(cfg)
    assert len(child.train_dataloader.dataset) == 16  # both parts of the split
    assert (tmp_path / 'epoch_1.pth').is_file()
    assert 'child_config.py' in (folder / 'child_config.py').read_text().splitlines()[0]


@pytest.mark.usefixtures('without_pages')
def test_child_config_on_another_config(tmp_path):
    retraining = child_net_config(tmp_path, optim_wrapper=dict(type='OptimWrapper', optimizer=dict(
        type='SGD', lr=.125)))
    retraining.dump(tmp_path / 'retrain.py')
    runner = train(exporting(tmp_path / 'work', dict(child_config=str(tmp_path / 'retrain.py'))))
    cfg = Config.fromfile(tmp_path / 'work/child_config.py')
    assert cfg.optim_wrapper.optimizer.lr == .125
    assert cfg.train_dataloader == Config(dict(x=toy_dataloader(None, length=8))).x
    assert Architecture.create(cfg.model.backbone.arch) == runner.model.backbone.best_architecture()
    assert build(cfg).work_dir == str(tmp_path / 'work/child')


@pytest.mark.parametrize(('prepare', 'error', 'message'), [
    (lambda path: None, FileNotFoundError, 'retrain.py'),
    (lambda path: path.write_text("model = dict(type='X', backbone=dict(type='ResNet'))"), ValueError,
     'child_config must have one FNAChildNet in its model, but has 0'),
    (lambda path: path.write_text('work_dir = 1'), ValueError, 'child_config must have one FNAChildNet'),
])
def test_a_useless_retraining_config_stops_the_search_at_once(tmp_path, prepare, error, message):
    prepare(tmp_path / 'retrain.py')
    cfg = exporting(tmp_path / 'work', dict(child_config=str(tmp_path / 'retrain.py')))
    cfg.custom_hooks.append(dict(type='Recorder'))
    runner = build(cfg)
    with pytest.raises(error, match=message):
        runner.train()
    assert not find_hook(runner, 'Recorder').batches


@pytest.mark.parametrize('what', ['architecture_figure', 'probability_figure', 'to_image', 'child_config'])
def test_a_failed_export_leaves_the_last_one_whole(search, tmp_path, monkeypatch, what):
    runner, _ = search
    hook = find_hook(runner, 'ArchitectureExportHook')
    monkeypatch.setattr(hook, 'out_dir', str(tmp_path))
    hook.export(runner, 'epoch_1', 2)
    contents = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(contents) == 5
    supernet = runner.model.backbone
    saved = supernet.architecture_parameters.clone()
    supernet.architecture_parameters.copy_(-saved)  # another architecture, so that an overwritten file shows

    def fail(*args, **kwargs):
        raise RuntimeError('no')

    monkeypatch.setattr(f'fna_mm.hooks.architecture_export_hook.{what}', fail)
    try:
        with pytest.raises(RuntimeError, match='no'):
            hook.export(runner, 'epoch_2', 4)
    finally:
        supernet.architecture_parameters.copy_(saved)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == contents


def test_only_the_first_rank_writes(search, tmp_path, monkeypatch):
    runner, _ = search
    hook = find_hook(runner, 'ArchitectureExportHook')
    monkeypatch.setattr(hook, 'out_dir', str(tmp_path))
    monkeypatch.setattr('mmengine.dist.utils.get_rank', lambda group=None: 1)
    hook.export(runner, 'epoch_1', 2)
    assert list(tmp_path.iterdir()) == []


# The report's history


def test_history(search):
    runner, folder = search
    history = read_history(str(folder / 'kept'))
    assert [(state.step, state.max_steps, state.moment) for state in history] == [
        (2, 6, 'epoch 1'), (4, 6, 'epoch 2'), (6, 6, 'epoch 3')]
    for epoch, state in enumerate(history, 1):
        checkpoint = load(folder / f'epoch_{epoch}.pth')
        assert state.architecture == best_architecture(checkpoint)
        space, alphas = search_parameters(checkpoint)
        for layer, alpha in zip(space.layers, alphas):
            assert list(state.probabilities[layer.name].values()) == pytest.approx(alpha.softmax(0).tolist(), abs=1e-6)
    # What the architecture steps logged before their last change; the report counts after it.
    size = (32, 32)
    assert history[-1].gmadds.best_path == pytest.approx(history[-1].architecture.madds(size) / 1e9, abs=1e-6)
    assert history[-1].gmadds.seed == pytest.approx(Architecture.create(TOY).madds(size) / 1e9, abs=1e-6)
    assert (history[-1].processes, history[-1].device) == (1, 'CPU')


@pytest.mark.usefixtures('without_pages')
def test_the_time_account_knows_every_kind_of_step(tmp_path):
    cfg = exporting(tmp_path, epochs=3)
    cfg.train_cfg.val_interval = 1
    cfg.custom_hooks.append(dict(type='Recorder'))
    start = time.perf_counter()
    train(cfg)
    whole = time.perf_counter() - start
    one, two, three = (state.seconds for state in read_history(str(tmp_path)))
    assert one['architecture steps'] == 0  # they begin with the second epoch
    assert all(three[part] > 0 for part in ('weight steps', 'architecture steps', 'data', 'evaluation', 'other'))
    for part, seconds in three.items():
        assert one[part] <= two[part] <= seconds
    assert sum(three.values()) < whole


@pytest.mark.usefixtures('without_pages')
def test_a_resumed_search_goes_on_in_its_history(tmp_path):
    train(exporting(tmp_path, epochs=3))
    spent = load(tmp_path / 'epoch_2.pth')['architecture_export']['seconds']
    with (tmp_path / 'fna_report/history.jsonl').open('a') as file:
        file.write('{"step": 7, "cut')
    train(exporting(tmp_path, epochs=4, resume=True, load_from=str(tmp_path / 'epoch_2.pth')))
    assert [line.get('start', 'state') for line in lines_that_parse(tmp_path)] == [
        0, 'state', 'state', 'state', 'state', 4, 'state', 'state', 'state']
    history = read_history(str(tmp_path))
    assert [state.step for state in history] == [2, 4, 6, 8]
    assert all(history[2].seconds[part] >= seconds for part, seconds in spent.items())
    assert history[2].seconds['architecture steps'] > spent['architecture steps']


def lines_that_parse(folder):
    result = []
    for line in (folder / 'fna_report/history.jsonl').read_text().splitlines():
        with contextlib.suppress(ValueError):
            result.append(json.loads(line))
    return result


@pytest.mark.usefixtures('without_pages')
def test_a_new_search_in_an_old_folder_starts_a_new_history(tmp_path):
    train(exporting(tmp_path, epochs=3))
    train(exporting(tmp_path, epochs=2))
    assert [(state.step, state.max_steps) for state in read_history(str(tmp_path))] == [(2, 4), (4, 4)]


@pytest.mark.usefixtures('without_pages')
def test_iterations_have_a_history_too(tmp_path):
    cfg = exporting(tmp_path, dict(interval=2, by_epoch=False), iters=5)
    cfg.train_cfg.val_interval = 2
    train(cfg)
    history = read_history(str(tmp_path))
    assert [(state.step, state.moment) for state in history] == [(2, 'iter 2'), (4, 'iter 4'), (5, 'iter 5')]
    assert history[-1].seconds['evaluation'] > 0


FIGURES = ['architecture', 'candidates', 'entropy', 'losses', 'madds', 'probabilities', 'time']


def test_the_report_is_there_during_the_search_and_last_at_its_end(tmp_path):
    cfg = exporting(tmp_path, epochs=2)
    cfg.custom_hooks.append(dict(type='PageReader', path=str(tmp_path / 'fna_report/index.html')))
    runner = train(cfg)
    during, after = find_hook(runner, 'PageReader').pages, (tmp_path / 'fna_report/index.html').read_text()
    assert 'at 2 of 4' in during[2]
    assert 'finished' not in during[2]
    assert 'Train the most probable architecture, although the search has not decided' in during[2]
    assert '(finished)' in after
    names = {f'{figure}.{kind}' for figure in FIGURES for kind in ('svg', 'png')}
    assert {path.name for path in (tmp_path / 'fna_report').iterdir()} == names | {'index.html', 'history.jsonl'}


@pytest.mark.parametrize(('share', 'pages'), [(1e-9, 2), (1e9, 3)])
def test_a_report_costs_no_more_than_its_share(tmp_path, monkeypatch, share, pages):
    """After the first one the next has to wait for twenty times as long as that took; the last one comes anyway."""
    drawn = []
    monkeypatch.setattr('fna_mm.hooks.architecture_export_hook.write_report',
                        lambda runs, folder: (folder, drawn.append(runs) or []))
    monkeypatch.setattr('fna_mm.hooks.architecture_export_hook.REPORT_SHARE', share)
    train(exporting(tmp_path, epochs=3))
    assert len(drawn) == pages


def test_a_report_that_fails_does_not_end_the_search(tmp_path, monkeypatch):
    def fail(*args):
        raise RuntimeError('no ink')

    monkeypatch.setattr('fna_mm.hooks.architecture_export_hook.write_report', fail)
    train(exporting(tmp_path, epochs=2))
    assert (tmp_path / 'arch.json').is_file()
    assert not (tmp_path / 'fna_report/index.html').exists()
    (log, ) = tmp_path.glob('*/*.log')
    assert 'the report could not be written: RuntimeError: no ink' in log.read_text()


@pytest.mark.slow
def test_every_backend_gets_scalars_and_figures(tmp_path):
    """TensorBoard beside mm's own."""
    event_accumulator = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    cfg = exporting(tmp_path, epochs=2)
    cfg.visualizer.vis_backends.append(dict(type='TensorboardVisBackend'))
    runner = train(cfg)
    (events, ) = Path(runner.log_dir).glob('vis_data/events.*')
    board = event_accumulator.EventAccumulator(str(events), size_guidance=dict(images=0))
    board.Reload()
    assert {f'fna_{name}' for name in FIGURES} <= set(board.Tags()['images'])
    scalars = board.Tags()['scalars']
    last = read_history(str(tmp_path))[-1]
    for layer, of_layer in last.probabilities.items():
        for candidate, probability in of_layer.items():
            points = board.Scalars(f'arch_probability/{layer}/{candidate}')
            assert [point.step for point in points] == [2, 4]
            assert points[-1].value == pytest.approx(probability, abs=1e-6)
    assert {'minutes/weight_steps', 'minutes/architecture_steps', 'minutes/evaluation', 'expected_gmadds',
            'arch_loss', 'loss', 'arch_entropy'} <= set(scalars)
    local = {path.name for path in Path(runner.log_dir).glob('vis_data/vis_image/*')}
    assert {f'fna_{name}_4.png' for name in FIGURES} <= local


def test_a_front_of_several_budgets(tmp_path):
    runner = train(exporting(tmp_path, dict(budgets=(.6, '200k')), epochs=2))
    seed = runner.model.backbone.search_space.seed.madds((SIZE, SIZE), 8)
    for budget, most in (('0.6', .6 * seed), ('200k', 200e3)):
        found = Architecture.create(str(tmp_path / f'arch_budget_{budget}.json'))
        assert found.madds((SIZE, SIZE), 8) <= most
        child = Config.fromfile(str(tmp_path / f'child_config_budget_{budget}.py'))
        assert Architecture.create(child.model.backbone.arch) == found
        assert child.work_dir.endswith(f'child_budget_{budget}')


@pytest.mark.parametrize(('budgets', 'message'), [
    ((.6, 0), 'budget=0 must be a share'), ((.01, ), r'budget=0\.01 of MAddsCost is .* GMAdds, but the paths')])
def test_wrong_budgets_stop_before_training(tmp_path, budgets, message):
    with pytest.raises(ValueError, match=message):
        train(exporting(tmp_path, dict(budgets=budgets)))
    assert not list(tmp_path.glob('*.pth'))


def test_budgets_need_a_size(tmp_path):
    cfg = exporting(tmp_path, dict(budgets=(.6, )))
    cfg.custom_hooks[0].pop('cost')
    with pytest.raises(ValueError, match='budgets of ArchitectureExportHook need costs'):
        train(cfg)
