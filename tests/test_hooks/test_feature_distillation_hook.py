"""A child that is held near its teacher's maps: the loss against a sum by hand, and through the Runner."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import HOOKS, MODELS
from toy_search import CHILD, TOY, build, child_net_config, load, train

from fna_mm.hooks.distillation import LOSS
from fna_mm.hooks.feature_distillation_hook import relative_error

NAME = 'FeatureDistillationHook'
NARROW = TOY.replace("['k3_e6', 'k3_e6'], 2", "['k3_e3', 'k3_e6'], 2")


@pytest.fixture(scope='session')
def teacher(tmp_path_factory):
    """The checkpoint of a training of the toy network."""
    work_dir = tmp_path_factory.mktemp('teacher')
    train(child_net_config(work_dir, epochs=8))
    return work_dir / 'epoch_8.pth'


def config(work_dir, teacher, weight=1., section=CHILD, **overrides):
    cfg = child_net_config(work_dir, custom_hooks=[
        dict(type=NAME, teacher=section, checkpoint=str(teacher), weight=weight)], **overrides)
    cfg.model.backbone = dict(CHILD, arch=NARROW)
    cfg.model.dropout = 0.
    return cfg


def losses(work_dir):
    (path, ) = Path(work_dir).glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [row for row in rows if 'loss' in row]


@pytest.mark.parametrize('weight', [0, -1, float('nan'), True, '1', None])
def test_bad_weight(weight):
    with pytest.raises(ValueError, match=f'weight of {NAME} must be'):
        HOOKS.build(dict(type=NAME, teacher=CHILD, checkpoint='teacher.pth', weight=weight))


def test_the_error_is_a_share_of_the_variance():
    rng = np.random.default_rng(0)
    wanted = [rng.normal(3., scale, (2, channels, 4, 5)) for scale, channels in ((1., 3), (10., 6))]
    maps = [one + rng.normal(0., .5, one.shape) for one in wanted]
    by_hand = np.mean([((one - other) ** 2).mean() / np.mean([other[:, c].var() for c in range(other.shape[1])])
                       for one, other in zip(maps, wanted)])
    found = relative_error([torch.tensor(one) for one in maps], [torch.tensor(one) for one in wanted])
    assert found.item() == pytest.approx(by_hand, rel=1e-5)
    assert relative_error([torch.zeros(1, 2, 3, 3)], [torch.ones(1, 2, 3, 3)]).isfinite()  # a map without variance


def test_a_child_may_have_some_channels_of_the_maps(tmp_path, teacher):
    """The loss compares each of the child's channels with the teacher's that the file names."""
    path = tmp_path / 'channels.json'
    cfg = config(tmp_path / 'work', teacher, epochs=1)
    maps = MODELS.build(dict(CHILD))(torch.zeros(1, 3, 32, 32))
    path.write_text(json.dumps([list(range(maps[0].shape[1])), *[None] * (len(maps) - 1)]))
    cfg.custom_hooks[0].channels = str(path)
    train(cfg)
    train(config(tmp_path / 'all', teacher, epochs=1))
    found, wanted = ([row[LOSS] for row in losses(tmp_path / name)] for name in ('work', 'all'))
    assert found == wanted
    path.write_text(json.dumps([list(reversed(range(maps[0].shape[1]))), *[None] * (len(maps) - 1)]))
    cfg.work_dir, cfg.experiment_name = str(tmp_path / 'other'), 'other'
    train(cfg)
    assert losses(tmp_path / 'other')[0][LOSS] != pytest.approx(wanted[0], rel=1e-3)


@pytest.mark.parametrize(('content', 'error', 'message'), [
    (None, FileNotFoundError, r"channels='.*channels\.json' does not exist: it must be a list"),
    ('{', ValueError, r"channels='.*' is no JSON"),
    ('{"0": [1]}', ValueError, r"channels='.*': it must be a list with null, or a list of channels, for every map"),
    ('[[-1]]', ValueError, r'it must be a list with null'),
    ('[[]]', ValueError, r'it must be a list with null'),
    ('[[true]]', ValueError, r'it must be a list with null'),
    ('[null, null, null, null, null]', ValueError, r'has 5 lists, the backbone \d maps'),
    ('[[0, 1000]]', ValueError, r'names channel 1000 of a map that has \d+')])
def test_bad_channels(tmp_path, teacher, content, error, message):
    path = tmp_path / 'channels.json'
    if content is not None:
        path.write_text(content)
    cfg = config(tmp_path / 'work', teacher, epochs=1)
    cfg.custom_hooks[0].channels = str(path)
    with pytest.raises(error, match=message):
        train(cfg)


def test_the_loss_is_added_and_pulls_the_child(tmp_path, teacher):
    train(config(tmp_path / 'near', teacher, epochs=8))
    train(child_net_config(tmp_path / 'free', epochs=8))
    rows = losses(tmp_path / 'near')
    for row in rows:
        assert row['loss'] == pytest.approx(row['loss_cls'] + row[LOSS], rel=1e-4)
    assert rows[-1][LOSS] < .8 * rows[0][LOSS]
    assert not any(LOSS in row for row in losses(tmp_path / 'free'))


def test_the_teacher_stays_outside_of_the_checkpoint(tmp_path, teacher):
    before = Path(teacher).read_bytes()
    runner = train(config(tmp_path, teacher))
    alone = build(child_net_config(tmp_path / 'alone'))
    alone.model.backbone = MODELS.build(dict(CHILD, arch=NARROW))
    assert list(load(tmp_path / 'epoch_1.pth')['state_dict']) == list(alone.model.state_dict())
    assert Path(teacher).read_bytes() == before
    assert not runner.model._forward_hooks
    assert not runner.model.backbone._forward_hooks


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, teacher):
    train(config(tmp_path / 'whole', teacher, epochs=3))
    train(config(tmp_path / 'stopped', teacher, epochs=2))
    train(config(tmp_path / 'stopped', teacher, epochs=3, resume=True))
    whole, resumed = (load(tmp_path / name / 'epoch_3.pth')['state_dict'] for name in ('whole', 'stopped'))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_what_is_no_training_step_is_left_alone(tmp_path, teacher):
    runner = build(config(tmp_path, teacher))
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == NAME)
    hook.before_train(runner)
    images, labels = torch.randn(2, 3, 32, 32), torch.zeros(2, dtype=torch.int64)
    runner.model.train()
    assert LOSS in runner.model(images, labels, mode='loss')
    with torch.no_grad():  # as the calibration of BN runs it
        assert LOSS not in runner.model(images, labels, mode='loss')
    runner.model.eval()
    assert LOSS not in runner.model(images, labels, mode='loss')
    assert len(runner.model(images, mode='tensor')) == 2


@pytest.mark.parametrize(('change', 'error', 'message'), [
    (dict(checkpoint='nothing.pth'), FileNotFoundError, "checkpoint='nothing.pth' of the teacher does not exist"),
    (dict(teacher=dict(CHILD, arch=NARROW)), ValueError, 'does not fit the teacher of FeatureDistillationHook'),
    (dict(teacher=dict(CHILD, out_indices=(1, 2))), ValueError, r'the backbone gives maps of \[\(4, 8, 4, 4\)\], the '
     r'teacher of FeatureDistillationHook of \[\(4, 6, 8, 8\), \(4, 8, 4, 4\)\]')])
def test_wrong_teachers(tmp_path, teacher, change, error, message):
    cfg = config(tmp_path, teacher)
    cfg.custom_hooks[0].update(change)
    with pytest.raises(error, match=message):
        train(cfg)
