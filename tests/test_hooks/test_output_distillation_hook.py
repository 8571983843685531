"""A child whose head is held near its teacher's outputs: the loss against sums by hand, and through the Runner."""

import json
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import HOOKS, MODELS
from mmengine.runner import Runner
from toy_search import assert_same, load
from toy_segmentation import train_segmentor

from fna_mm.hooks.distillation import LOSS, error_of_kinds
from fna_mm.hooks.output_distillation_hook import maps_by_kind

NAME = 'OutputDistillationHook'
PART = 'decode_head.conv_seg'


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """The paths of config and checkpoint of a small segmentation model."""
    return train_segmentor(tmp_path_factory.mktemp('teacher'))


def config(trained, work_dir, iterations=3, changes=None, **arguments):
    """A training from other weights, held near the trained model."""
    cfg = Config.fromfile(trained[0])
    cfg.work_dir, cfg.experiment_name = str(work_dir), f'{NAME}_{work_dir.name}'
    cfg.custom_hooks = [dict(dict(
        type=NAME, teacher=cfg.model.to_dict(), checkpoint=trained[1], outputs=PART, weight=2.), **arguments)]
    cfg.model.decode_head.dropout_ratio = 0.
    cfg.merge_from_dict(changes or {})
    cfg.train_cfg.max_iters, cfg.default_hooks.checkpoint.interval = iterations, 1
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.default_hooks.logger = dict(type='LoggerHook', interval=1)
    cfg.log_level = 'INFO'
    return cfg


def losses(work_dir):
    rows = [json.loads(line) for path in sorted(work_dir.glob('*/vis_data/scalars.json'))
            for line in path.read_text().splitlines()]
    return [row for row in rows if 'loss' in row]


@pytest.mark.parametrize('weight', [0, -1, float('nan'), True, '1', None])
def test_bad_weight(weight):
    with pytest.raises(ValueError, match=f'weight of {NAME} must be'):
        HOOKS.build(dict(type=NAME, teacher={}, checkpoint='teacher.pth', outputs=PART, weight=weight))


def test_kinds_of_outputs():
    one, two, three = (torch.zeros(1, 2, side, side) for side in (1, 2, 3))
    assert maps_by_kind(one) == [[one]]
    assert maps_by_kind(([one, two], [three, None], None, 'text', [])) == [[one, two], [three]]
    assert maps_by_kind([one, two]) == [[one], [two]]


def test_the_error_is_a_share_of_the_variance():
    """A level with many places counts for more of its kind than one with few; every kind counts the same."""
    rng = np.random.default_rng(0)
    shapes = [[(2, 3, 4, 5), (2, 3, 2, 2)], [(2, 4, 4, 5), (2, 4, 2, 2)]]
    wanted = [[rng.normal(3., scale, shape) for shape in kind] for kind, scale in zip(shapes, (1., 10.))]
    outputs = [[one + rng.normal(0., .5, one.shape) for one in kind] for kind in wanted]
    by_hand = []
    for own, others in zip(outputs, wanted):
        error = sum(((one - other) ** 2).sum() for one, other in zip(own, others))
        variance = sum(other[:, c].var() * other[:, c].size for other in others for c in range(other.shape[1]))
        by_hand.append(error / variance)
    tensors = [[[torch.tensor(one) for one in kind] for kind in kinds] for kinds in (outputs, wanted)]
    assert error_of_kinds(*tensors).item() == pytest.approx(np.mean(by_hand), rel=1e-5)
    assert error_of_kinds([[torch.zeros(1, 2, 3, 3)]], [[torch.ones(1, 2, 3, 3)]]).isfinite()  # without variance


def test_the_loss_is_that_of_the_outputs(trained, tmp_path):
    """The first iteration, by hand: its batch through the model as it trains, and through the trained model."""
    runner = Runner.from_cfg(config(trained, tmp_path, iterations=1))
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == NAME)
    teacher = MODELS.build(runner.cfg.custom_hooks[0]['teacher'])
    teacher.load_state_dict(load(trained[1])['state_dict'])
    hook.before_train(runner)
    runner.model.train()
    batch = next(iter(runner.build_dataloader(runner.cfg.train_dataloader, seed=0)))
    data = runner.model.data_preprocessor(batch, True)
    losses = runner.model(**data, mode='loss')
    task = losses['decode.loss_ce']  # decode.acc_seg is no loss
    (of_child, ) = torch.autograd.grad(losses[LOSS], runner.model.decode_head.conv_seg.weight, retain_graph=True)
    own = runner.model.decode_head(runner.model.extract_feat(data['inputs']))
    with torch.no_grad():
        wanted = teacher.eval().decode_head(teacher.extract_feat(data['inputs']))
    by_hand = 2 * task.item() * (own - wanted).square().sum() / (
        wanted - wanted.mean((0, 2, 3), keepdim=True)).square().sum()
    assert losses[LOSS].item() == pytest.approx(by_hand.item(), rel=1e-4)
    # The model's own loss is a factor: its gradient is not part of this one's.
    (expected, ) = torch.autograd.grad(by_hand, runner.model.decode_head.conv_seg.weight)
    assert torch.allclose(of_child, expected, rtol=1e-3, atol=1e-6)


def test_the_models_own_losses(trained):
    """Everything with loss in its name, each averaged, and no metric."""
    losses = dict(loss_cls=[torch.tensor([1., 3.]), torch.tensor(4.)], loss_bbox=torch.tensor(.5), acc=torch.tensor(9.))
    hook = HOOKS.build(dict(type=NAME, teacher={}, checkpoint='teacher.pth', outputs=PART, weight=1.))
    model = MODELS.build(Config.fromfile(trained[0]).model)
    assert hook.weighted(torch.tensor(1.), model, losses).item() == 6.5


def test_the_loss_is_added_and_pulls_the_child(trained, tmp_path):
    runner = Runner.from_cfg(config(trained, tmp_path, iterations=60))
    runner.train()
    rows = losses(tmp_path)
    for row in rows:
        assert row['loss'] == pytest.approx(row['decode.loss_ce'] + row[LOSS], rel=1e-4)
    assert rows[-1][LOSS] < .5 * rows[0][LOSS]
    state, trained_state = load(tmp_path / 'iter_60.pth')['state_dict'], load(trained[1])['state_dict']
    assert list(state) == list(trained_state)  # the teacher is no part of it
    assert not any(module._forward_hooks for module in runner.model.modules())


def test_a_child_may_be_held_near_maps_as_well(trained, tmp_path):
    """The losses of both hooks are added up, and neither counts the other's as one of the model's own."""
    found = {}
    for name in ('outputs', 'maps', 'both'):
        cfg = config(trained, tmp_path / name, iterations=1)
        maps = dict(type='FeatureDistillationHook', teacher=cfg.model.backbone.to_dict(), checkpoint=trained[1])
        cfg.custom_hooks = dict(outputs=cfg.custom_hooks, maps=[maps], both=[maps, *cfg.custom_hooks])[name]
        Runner.from_cfg(cfg).train()
        found[name] = losses(tmp_path / name)[0][LOSS]
    assert found['both'] == pytest.approx(found['outputs'] + found['maps'], rel=1e-4)


def test_a_resumed_run_is_the_uninterrupted_one(trained, tmp_path):
    # A pipeline without random numbers, and every image once in each batch: mm does not restore the order of images.
    still = {'train_dataloader.batch_size': 24, 'train_dataloader.dataset.pipeline.2.prob': 0.}
    Runner.from_cfg(config(trained, tmp_path / 'whole', 3, still)).train()
    Runner.from_cfg(config(trained, tmp_path / 'stopped', 2, still)).train()
    Runner.from_cfg(config(trained, tmp_path / 'stopped', 3, dict(still, resume=True))).train()
    whole, resumed = (load(tmp_path / name / 'iter_3.pth')['state_dict'] for name in ('whole', 'stopped'))
    for key, value in whole.items():
        assert torch.allclose(value.float(), resumed[key].float(), rtol=1e-3, atol=1e-4), key


def test_what_is_no_training_step_is_left_alone(trained, tmp_path):
    runner = Runner.from_cfg(config(trained, tmp_path))
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == NAME)
    hook.before_train(runner)
    data = runner.model.train().data_preprocessor(next(iter(runner.train_dataloader)), True)
    assert LOSS in runner.model(**data, mode='loss')
    assert runner.model(data['inputs'], mode='tensor').shape[1] == 2
    with torch.no_grad():  # as the calibration of BN runs it
        assert LOSS not in runner.model(**data, mode='loss')
    runner.model.eval()
    assert LOSS not in runner.model(**data, mode='loss')


def test_the_teacher_stays_as_it_is(trained, tmp_path):
    before = load(trained[1])['state_dict']
    runner = Runner.from_cfg(config(trained, tmp_path, 2))
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == NAME)
    seen, after_train = [], hook.after_train
    hook.after_train = lambda runner: (seen.append(OrderedDict(hook._net.state_dict())), after_train(runner))
    runner.train()
    assert_same(seen[0], OrderedDict(before))


@pytest.mark.parametrize(('change', 'error', 'message'), [
    (dict(checkpoint='nothing.pth'), FileNotFoundError, "checkpoint='nothing.pth' of the teacher does not exist"),
    (dict(outputs='bbox_head'), ValueError, "the model has no outputs='bbox_head': give the path of a module"),
    (dict(outputs=''), ValueError, "the model has no outputs=''"),
    (dict(outputs='decode_head'), ValueError, "the model's loss does not call outputs='decode_head'")])
def test_wrong_arguments(trained, tmp_path, change, error, message):
    with pytest.raises(error, match=message):
        Runner.from_cfg(config(trained, tmp_path, **change)).train()


@pytest.mark.parametrize(('changes', 'message'), [
    ({'model.decode_head.num_classes': 3}, r'decode_head.conv_seg gives outputs of \[\[\(4, 3, 4, 4\)\]\], that of the '
     rf'teacher of {NAME} of \[\[\(4, 2, 4, 4\)\]\]: they must have the same shapes'),
    ({'custom_hooks.0.teacher.decode_head.channels': 4}, f'does not fit the teacher of {NAME}')])
def test_models_that_are_no_teacher_and_pupil(trained, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        Runner.from_cfg(config(trained, tmp_path, changes=changes)).train()
