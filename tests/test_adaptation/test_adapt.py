"""The whole of measured adaptation on a tiny trained model."""

import json
import re
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from swapped_blocks import child_of, loss_of, with_backbone
from toy_search import assert_same, load
from toy_segmentation import write_config

from fna_mm import Architecture
from fna_mm.adaptation import AdaptOptions, adapt
from fna_mm.adaptation.candidates import LEFT_OUT
from fna_mm.adaptation.chain import Chain
from fna_mm.adaptation.images import MeasuredImages
from fna_mm.adaptation.measuring import measure_statistics
from fna_mm.adaptation.refit import refit
from fna_mm.adaptation.scores import Measurement, Replacement, Scorer, first_measured
from fna_mm.adaptation.statistics import statistics_of
from fna_mm.adaptation.trained_model import load_trained
from fna_mm.adaptation.work_folder import WorkFolder

OPTIONS = AdaptOptions(statistics_images=12, score_images=8, tolerance=100.)


@pytest.fixture(scope='module')
def adapted(segmentor, tmp_path_factory):
    """The work directory of an adaptation, and its children."""
    folder = tmp_path_factory.mktemp('adapted') / 'work'
    return folder, adapt(*segmentor, ('0.7', '0.45'), str(folder), OPTIONS)


@pytest.fixture(scope='module')
def measured(segmentor, tmp_path_factory):
    """The trained model, its chain, its statistics and the images."""
    trained = load_trained(*segmentor)
    images = MeasuredImages(trained.config)
    chain = Chain(trained.backbone, (32, 32))
    statistics = statistics_of(chain)
    folder = WorkFolder(str(tmp_path_factory.mktemp('measured') / 'work'), dict(a=1))
    measure_statistics(trained.model, chain, statistics, images, range(12), folder)
    return trained, chain, statistics, images


def test_children_are_within_their_budgets(adapted):
    folder, children = adapted
    trained = Architecture.create(load_trained_arch(folder))
    whole = trained.madds((32, 32), 8)
    for child, budget in zip(children, (.7, .45)):
        assert .9 * budget < child.architecture.madds((32, 32), 8) / whole <= budget
        assert child.share == pytest.approx(child.architecture.madds((32, 32), 8) / whole)
        assert child.share < child.share_of_model < 1
        assert Architecture.create(str(Path(child.folder) / 'arch.json')) == child.architecture


def load_trained_arch(folder):
    return json.loads((folder / 'front.json').read_text())['trained']['arch']


def test_a_child_is_an_ordinary_config_and_checkpoint(adapted, tmp_path):
    _, children = adapted
    for child in children:
        cfg = Config.fromfile(str(Path(child.folder) / 'child_config.py'))
        cfg.work_dir = str(tmp_path / child.budget)
        assert cfg.load_from == cfg.model.init_cfg.checkpoint == str(Path(child.folder) / 'child.pth')
        assert cfg.train_cfg.max_iters == 40  # a fifth of 200
        assert cfg.optim_wrapper.optimizer.lr == pytest.approx(.05)
        runner = Runner.from_cfg(cfg)
        before = runner.val()['mIoU']
        assert before > 60  # the ground alone would have less than 50
        state = load(Path(child.folder) / 'child.pth')
        assert_same(OrderedDict(runner.model.state_dict()), OrderedDict(state['state_dict']))
        runner.train()


def test_a_fine_tuning_is_held_near_the_trained_backbone(adapted, segmentor, tmp_path):
    folder, (child, _) = adapted
    cfg = Config.fromfile(str(Path(child.folder) / 'child_config.py'))
    (hook, ) = cfg.custom_hooks
    assert (hook.type, hook.weight) == ('FeatureDistillationHook', 1)
    assert Path(hook.checkpoint).resolve() == folder.resolve() / 'teacher.pth'
    trained, teacher = load(segmentor[1])['state_dict'], load(hook.checkpoint)['state_dict']
    assert list(teacher) == [key for key in trained if key.startswith('backbone.')]
    assert all(torch.equal(value, trained[key]) for key, value in teacher.items())
    cfg.work_dir, cfg.experiment_name, cfg.train_cfg.max_iters = str(tmp_path), 'held_near', 2
    cfg.default_hooks.logger = dict(type='LoggerHook', interval=1)
    Runner.from_cfg(cfg).train()
    (scalars, ) = tmp_path.glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in scalars.read_text().splitlines()]
    found = [row['loss_distillation'] for row in rows if 'loss_distillation' in row]
    assert len(found) == 2
    assert all(0 < loss < 1 for loss in found)  # a share of the maps' variance


@pytest.mark.parametrize(('budget', 'distill'), [('0.7', 0.), ('1', 1.)])
def test_a_fine_tuning_that_is_held_near_nothing(segmentor, tmp_path, budget, distill):
    """Without the option, and where the child is the trained model."""
    child, = adapt(*segmentor, (budget, ), str(tmp_path / 'work'), replace(OPTIONS, distill=distill))
    cfg = Config.fromfile(str(Path(child.folder) / 'child_config.py'))
    assert not cfg.get('custom_hooks')


def test_the_hook_of_an_earlier_adaptation_goes(adapted, tmp_path):
    """A child is adapted again: near what it was, or near nothing, but never near its own trained model."""
    _, (child, _) = adapted
    files = [str(Path(child.folder) / name) for name in ('child_config.py', 'child.pth')]
    for distill in (1., 0.):
        again, = adapt(*files, ('0.8', ), str(tmp_path / f'again_{distill}'), replace(OPTIONS, distill=distill))
        hooks = Config.fromfile(str(Path(again.folder) / 'child_config.py')).get('custom_hooks') or []
        assert [Path(hook.checkpoint).resolve() for hook in hooks] == (
            [(tmp_path / 'again_1.0/teacher.pth').resolve()] if distill else [])


@pytest.mark.parametrize('distill', [-1, float('nan'), '1', True])
def test_wrong_weights_of_the_distillation(distill):
    with pytest.raises(ValueError, match='distill must be a number of at least 0'):
        replace(OPTIONS, distill=distill)


def test_a_training_that_has_nothing_to_resume_starts_from_the_child(adapted, tmp_path):
    """As ``mim train mmdet child_config.py --resume`` does it: without ``load_from``."""
    _, (child, _) = adapted
    cfg = Config.fromfile(str(Path(child.folder) / 'child_config.py'))
    cfg.work_dir, cfg.resume, cfg.load_from = str(tmp_path), True, None
    cfg.experiment_name = 'nothing_to_resume'
    cfg.train_cfg.max_iters, cfg.optim_wrapper.optimizer.lr = 1, 0.
    runner = Runner.from_cfg(cfg)
    runner.train()
    state = load(Path(child.folder) / 'child.pth')['state_dict']
    for key, value in runner.model.state_dict().items():
        if key.endswith(('weight', 'bias')):
            assert torch.equal(value, state[key]), key


def test_the_page_and_the_front(adapted):
    folder, children = adapted
    values = json.loads((folder / 'front.json').read_text())
    assert [child['budget'] for child in values['children']] == ['0.7', '0.45']
    shares = [point['share'] for point in values['front']]
    predicted = [point['predicted'] for point in values['front']]
    assert shares == sorted(shares)
    assert predicted[-1] == 0
    assert set(values['seconds']) == {'statistics', 'scores', 'refit', 'check'}
    page = re.sub('</?span>', '', (folder / 'report/index.html').read_text())
    assert 'share of the model' in page
    maps = json.loads((folder / 'front.json').read_text())['maps']
    assert min(maps['weights']) > 0
    follows = f'the loss follows within {maps["spread"]:.0%}' if maps['spread'] < 1 else 'hardly follows these'
    assert 'others by the loss and by the errors of the backbone' in page
    assert follows in page
    assert f'--checkpoint {folder}/budget_0.7/child.pth' in page
    assert (folder / 'report/scores.png').exists()


def test_the_whole_budget_changes_nothing(segmentor, tmp_path):
    child, = adapt(*segmentor, (1, ), str(tmp_path / 'work'), OPTIONS)
    assert child.architecture == load_trained(*segmentor).architecture
    assert child.measured == 0
    own, theirs = load(Path(child.folder) / 'child.pth')['state_dict'], load(segmentor[1])['state_dict']
    assert own.keys() == theirs.keys()
    for key, value in own.items():
        assert torch.equal(value, theirs[key])


@pytest.mark.parametrize(('block', 'width'), [(1, 16), (1, 8), (2, 24), (2, LEFT_OUT), (3, 16), (4, 32), (5, LEFT_OUT)])
def test_a_score_is_that_of_the_swapped_block(measured, block, width):
    trained, chain, statistics, images = measured
    scorer = Scorer(trained.model, chain, statistics)
    child, _ = child_of(trained, chain, statistics, {block: width})
    model = with_backbone(trained, child)
    for position in (13, 17):
        (none, (seed, _)), (key, (score, _)) = scorer.measure(images[position], [None, Replacement(block, width)])
        assert none is None
        assert key == Replacement(block, width)
        assert seed == pytest.approx(loss_of(trained.model, images, position), rel=1e-6)
        assert score == pytest.approx(loss_of(model, images, position), rel=1e-5)
        assert score != seed


def test_maps_are_those_of_the_swapped_block(measured):
    """The errors of a candidate are zero for maps in front of its block, and grow as channels go."""
    trained, chain, statistics, images = measured
    scorer = Scorer(trained.model, chain, statistics)
    allowed = [[link.hidden, *range(link.hidden - 8, 7, -8)] if link.spec.searchable else [link.hidden]
               for link in chain.links]
    wanted = first_measured(chain, allowed)
    found = dict(scorer.measure(images[14], [None, *wanted]))
    number = len(trained.backbone.out_indices)
    assert found[None].errors == (0., ) * number
    for key, of_key in found.items():
        assert isinstance(of_key, Measurement)
        assert len(of_key.errors) == number
        if key is not None:
            assert of_key.errors[-1] > 0
            stage = chain.links[key.block].stage
            before = [of_key.errors[index] for index, out in enumerate(trained.backbone.out_indices)
                      if isinstance(out, int) and out < stage]
            assert not any(before)
    for block in range(len(chain.links)):
        rows = sorted((key.width, of_key.errors[-1]) for key, of_key in found.items()
                      if key and key.block == block and key.width and not key.kernel)
        values = [error for _, error in rows]
        assert values == sorted(values, reverse=True)


def test_refitted_children_are_closer_to_the_trained_model(measured):
    trained, chain, statistics, images = measured
    child, origins = child_of(trained, chain, statistics, {1: 8, 2: 16, 3: 16, 4: LEFT_OUT, 5: 16})

    def distance(backbone):
        total = 0.
        with torch.no_grad():
            for position in range(12):
                image = trained.model.data_preprocessor(images[position], False)['inputs']
                total += float((backbone(image)[-1] - trained.backbone(image)[-1]).square().mean())
        return total

    alone = distance(child)
    refit(chain, Chain(child), origins, lambda: (
        trained.model.data_preprocessor(images[position], False)['inputs'] for position in range(12)))
    assert distance(child) < .8 * alone


def test_remembered_features_change_nothing(measured, monkeypatch):
    trained, chain, statistics, images = measured

    def result():
        child, origins = child_of(trained, chain, statistics, {1: 8, 2: LEFT_OUT, 3: 16})
        refit(chain, Chain(child), origins, lambda: (
            trained.model.data_preprocessor(images[position], False)['inputs'] for position in range(6)))
        return child.state_dict()

    remembered = result()
    monkeypatch.setattr('fna_mm.adaptation.refit.REMEMBERED', 0)
    assert_same(dict(remembered), dict(result()))


class Stop(Exception):
    pass


class StopAfter:
    """A progress that stops the run after a number of steps of one part."""

    def __init__(self, part, steps):
        self.part, self.steps, self.seen = part, steps, []

    def __call__(self, label, steps):
        self.seen.append((label.split()[0], steps))
        return _Bar(self, label.split()[0])


class _Bar:
    def __init__(self, owner, part):
        self.owner, self.part = owner, part

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def update(self, steps):
        if self.part == self.owner.part:
            self.owner.steps -= steps
            if self.owner.steps == 0:
                raise Stop


@pytest.mark.parametrize(('part', 'steps'), [('statistics', 5), ('elimination', 2), ('scores', 40), ('refit', 4)])
def test_a_stopped_run_goes_on_and_ends_alike(segmentor, adapted, tmp_path, monkeypatch, part, steps):
    monkeypatch.setattr('fna_mm.adaptation.measuring._SAVE_EVERY', 0)
    folder = tmp_path / 'work'
    with pytest.raises(Stop):
        adapt(*segmentor, ('0.7', '0.45'), str(folder), OPTIONS, StopAfter(part, steps))
    again = StopAfter('', 0)
    children = adapt(*segmentor, ('0.7', '0.45'), str(folder), OPTIONS, again)
    whole, expected = adapted
    counts = dict(reversed(again.seen))
    if part == 'statistics':
        assert counts['statistics'] == 12 - steps + 1  # the image at which it stopped was not saved
    elif part == 'scores':
        assert counts['scores'] % 1 == 0
        assert 'statistics' not in counts
    for child, other in zip(children, expected):
        assert_same(load(Path(child.folder) / 'child.pth'), load(Path(other.folder) / 'child.pth'))
    fronts = [json.loads((place / 'front.json').read_text()) for place in (folder, whole)]
    for front in fronts:
        front.pop('seconds')
    assert fronts[0] == fronts[1]


@pytest.mark.parametrize('replaced', [
    dict(frozen=('output_stride=8, norm_cfg=norm_cfg', 'output_stride=8, norm_cfg=norm_cfg, frozen_stages=2, '
                 'norm_eval=True, with_cp=True')),
    dict(synchronised=("norm_cfg = dict(type='BN', requires_grad=True)",
                       "norm_cfg = dict(type='SyncBN', requires_grad=True)"))])
def test_other_ways_of_training_have_the_same_child(segmentor, adapted, tmp_path, replaced):
    """Frozen stages, BN in evaluation mode, recomputation and SyncBN change how a model trains alone."""
    path = write_config(Path(segmentor[0]).parent, **replaced)
    child, _ = adapt(str(path), segmentor[1], ('0.7', '0.45'), str(tmp_path / 'work'), OPTIONS)
    _, (other, _) = adapted
    assert child.architecture == other.architecture
    assert_same(load(Path(child.folder) / 'child.pth'), load(Path(other.folder) / 'child.pth'))
    made = Config.fromfile(str(Path(child.folder) / 'child_config.py')).model.backbone
    before = Config.fromfile(str(path)).model.backbone
    assert {name: made.get(name) for name in ('frozen_stages', 'norm_eval', 'with_cp', 'norm_cfg')} == {
        name: before.get(name) for name in ('frozen_stages', 'norm_eval', 'with_cp', 'norm_cfg')}


@pytest.mark.parametrize(('tolerance', 'images'), [(1e-9, 8), (100., 3)])
def test_the_number_of_images_follows_from_the_error(segmentor, tmp_path, monkeypatch, tolerance, images):
    monkeypatch.setattr('fna_mm.adaptation.flow._FIRST_SCORES', 3)
    monkeypatch.setattr('fna_mm.adaptation.flow._SMALL', 0.)
    adapt(*segmentor, (.6, ), str(tmp_path / 'work'), replace(OPTIONS, tolerance=tolerance))
    assert json.loads((tmp_path / 'work/front.json').read_text())['images'] == dict(statistics=12, scores=images)
