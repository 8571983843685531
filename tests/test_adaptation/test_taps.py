"""Channels of the backbone that neck and head read: they become fewer, and what reads them is built for that."""

import copy
import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner
from swapped_blocks import loss_of, with_backbone
from toy_search import load
from toy_ssdlite import LAST, SHAPE, TAPPED, Measured

from fna_mm import Architecture
from fna_mm.adaptation import AdaptOptions, adapt
from fna_mm.adaptation.candidate_table import CandidateTable, Choice
from fna_mm.adaptation.chain import Chain
from fna_mm.adaptation.child import child_section_of
from fna_mm.adaptation.fitting import prediction
from fna_mm.adaptation.measuring import measure_statistics
from fna_mm.adaptation.prices import Prices
from fna_mm.adaptation.scores import Replacement, Scorer
from fna_mm.adaptation.statistics import statistics_of
from fna_mm.adaptation.tap_widths import TapWidths
from fna_mm.adaptation.taps import tap_statistics_of, taps_of
from fna_mm.adaptation.trained_model import load_trained
from fna_mm.adaptation.work_folder import WorkFolder
from fna_mm.cost.complexity import count_config

pytest.importorskip('mmdet')
OPTIONS = AdaptOptions(statistics_images=10, score_images=6, tolerance=100.)


@pytest.fixture(scope='module')
def measured(ssdlite, tmp_path_factory):
    return Measured(ssdlite, tmp_path_factory.mktemp('measured') / 'work')


@pytest.fixture(scope='module')
def adapted(ssdlite, tmp_path_factory):
    """The work directory of an adaptation, and its child."""
    folder = tmp_path_factory.mktemp('adapted') / 'work'
    (child, ) = adapt(*ssdlite, ('0.22', ), str(folder), replace(OPTIONS, evaluate=True))
    return folder, child


def narrowed(measured, **named):
    """The model whose taps have some numbers of channels, and the channels that narrower taps keep."""
    model, kept = measured.child({tap.row: named[tap.name] for tap in measured.taps.taps if tap.name in named})
    return model, {row: channels for row, channels in kept.items() if row}


def outputs(model, image):
    with torch.no_grad():
        return [level for kind in model(image, None, mode='tensor') for level in kind]


def test_what_reads_the_taps(measured):
    tapped, last = measured.taps.taps
    assert (tapped.name, tapped.width, tapped.position) == ('expand5', TAPPED, 0)
    assert measured.chain.links[tapped.row].name == 'layer6.0'
    assert (last.name, last.width, last.position, last.row) == ('conv2', LAST, 1, len(measured.chain.links))
    assert [reader.path for reader in tapped.readers] == ['bbox_head.cls_convs.0.1', 'bbox_head.reg_convs.0.1']
    assert [reader.through for reader in last.readers] == ['', 'bbox_head.cls_convs.1.0', 'bbox_head.reg_convs.1.0']
    assert last.readers[0].path == 'neck.extra_layers.0.0'


@pytest.mark.parametrize(('changed', 'left'), [
    (dict(neck=dict(l2_norm_scale=20, init_cfg=[])), ['conv2']),
    (dict(neck=dict(use_depthwise=False), bbox_head=dict(use_depthwise=False)), ['expand5', 'conv2']),
    (dict(bbox_head=dict(stacked_convs=1, feat_channels=8, use_depthwise=False)), ['expand5', 'conv2']),
    (dict(bbox_head=dict(stacked_convs=1, feat_channels=8)), []),  # a depthwise separable convolution inside of another
    (dict(backbone=dict(out_indices=(4, 7)), neck=dict(in_channels=(24, LAST), out_channels=(24, LAST, 32, 16, 16, 8)),
          bbox_head=dict(in_channels=(24, LAST, 32, 16, 16, 8))), ['conv2'])])
def test_taps_of_other_heads(ssdlite, changed, left):
    """A map behind a normalisation of its own is not narrowed, nor one that something unknown reads."""
    cfg = load_trained(*ssdlite).config
    cfg.merge_from_dict(dict(model=changed))
    model = MODELS.build(copy.deepcopy(cfg.model))
    assert [tap.name for tap in taps_of(model, Chain(model.backbone), cfg.model)] == left


def test_nothing_is_known_of_other_necks(segmentor):
    trained = load_trained(*segmentor)
    assert taps_of(trained.model, Chain(trained.backbone), trained.config.model) == ()


def test_all_channels_are_the_trained_model(measured):
    model, kept = narrowed(measured)
    assert kept == {}
    image = next(measured.normalised([11]))
    for one, two in zip(outputs(model, image), outputs(measured.trained.model, image)):
        torch.testing.assert_close(one, two)


def test_channels_that_nothing_reads_go_first_and_are_not_missed(ssdlite, tmp_path):
    """Half of the channels have weights of zero wherever they are read: without them the model computes the same."""
    config, checkpoint = ssdlite
    content = load(checkpoint)
    state = content['state_dict']
    for name in ('backbone.layer6.0.linear_conv.conv.weight', 'bbox_head.cls_convs.0.1.weight',
                 'bbox_head.reg_convs.0.1.weight', 'bbox_head.cls_convs.1.1.weight', 'bbox_head.reg_convs.1.1.weight',
                 'neck.extra_layers.0.0.conv.weight'):
        state[name][:, ::2] = 0
    torch.save(content, tmp_path / 'half.pth')
    measured = Measured((config, str(tmp_path / 'half.pth')), tmp_path / 'work')
    model, kept = narrowed(measured, expand5=TAPPED // 2, conv2=LAST // 2)
    for row, width in ((measured.taps.taps[0].row, TAPPED), (measured.taps.last_row, LAST)):
        assert kept[row].tolist() == list(range(1, width, 2))
    image = next(measured.normalised([11]))
    for one, two in zip(outputs(model, image), outputs(measured.trained.model, image)):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3)


def test_readers_that_are_fitted_do_better_than_cut_ones(measured):
    """What the narrower model computes is nearer to the trained one than with the trained weights of what is kept."""
    model, kept = narrowed(measured, expand5=48, conv2=24)
    cut = copy.deepcopy(model)
    trained = measured.trained.model
    with torch.no_grad():
        for tap in measured.taps.taps:
            for reader in tap.readers:
                own, theirs = (whole.get_submodule(reader.path) for whole in (cut, trained))
                own, theirs = (getattr(layer, 'conv', layer) for layer in (own, theirs))
                own.weight.copy_(theirs.weight[:, kept[tap.row]])
    images = list(measured.normalised(range(10, 16)))

    def error(other):
        return sum(float((one - two).square().sum()) for image in images
                   for one, two in zip(outputs(other, image), outputs(trained, image)))
    assert error(model) < .7 * error(cut)


@pytest.mark.parametrize('section', [
    dict(arch='mobilenet_v2', widen_factor=1.4, out_indices=(4, 7)), dict(arch='mobilenet_v2', widen_factor=.5),
    dict(arch='mobilenet_v2', widen_factor=1.4, head_channels=100, out_indices=('expand5', 7)),
    dict(arch='resnet18')])
def test_the_section_of_a_child_of_a_widened_backbone(section):
    """The architecture has the widened channels of the stages; the last convolution has them, too."""
    section = dict(section, type='FNAChildNet')
    net = MODELS.build(dict(section))
    child = MODELS.build(child_section_of(section, net.architecture))
    assert child.state_dict().keys() == net.state_dict().keys()
    child.load_state_dict(net.state_dict())
    assert child.out_channels == net.out_channels


def test_lost_channels_are_predicted():
    """A channel that is the sum of others is known from these."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(500, 4, generator=generator, dtype=torch.double)
    rows[:, 3] = rows[:, 0] - 2 * rows[:, 1] + 3
    lost = torch.tensor([False, False, False, True])
    weight, constant = prediction(rows.mean(0), torch.cov(rows.T, correction=0), torch.tensor([0, 1, 2]), lost, 1e-9)
    torch.testing.assert_close(weight[:, 0], torch.tensor([1., -2., 0.], dtype=torch.double), atol=1e-6, rtol=0)
    assert float(constant) == pytest.approx(3)


@pytest.mark.parametrize(('name', 'width'), [('expand5', 48), ('conv2', 24)])
def test_a_score_is_the_loss_with_the_restored_map(measured, name, width):
    """The block, or the last convolution, is swapped by hand, and the lost channels of the map are put back."""
    tap = next(tap for tap in measured.taps.taps if tap.name == name)
    trained = measured.trained
    scorer = Scorer(trained.model, measured.chain, measured.statistics, taps=measured.taps.statistics)
    found = dict(scorer.measure(measured.images[12], [None, Replacement(tap.row, width)]))
    model, kept = narrowed(measured, **{name: width})
    backbone, of_tap = model.backbone, measured.taps.statistics[tap.row]

    class Restored(torch.nn.Module):
        def forward(self, image):
            maps, whole = list(backbone(image)), trained.backbone(image)[tap.position]
            maps[tap.position] = of_tap.restored(whole, kept[tap.row])
            if name == 'conv2':
                assert torch.equal(maps[0], trained.backbone(image)[0])
            return tuple(maps)

    by_hand = loss_of(with_backbone(trained, Restored()), measured.images, 12)
    assert found[Replacement(tap.row, width)].loss == pytest.approx(by_hand, rel=1e-4)
    assert found[None].loss == pytest.approx(loss_of(trained.model, measured.images, 12), rel=1e-6)
    errors = found[Replacement(tap.row, width)].errors
    assert 0 < errors[tap.position] < 1


@pytest.mark.parametrize('cost', ['madds', 'params'])
def test_what_readers_cost(measured, cost):
    """What neck and head save is what counting the narrower model gives."""
    trained = measured.trained
    widths = TapWidths(trained, measured.taps.taps, measured.chain, Prices(cost), SHAPE)
    kept = {tap.row: torch.arange(tap.width // 2) for tap in widths.taps}
    other = copy.deepcopy(trained.config)
    other.model = widths.section(kept)
    other.model.backbone = trained.config.model.backbone
    rests = []
    for config, taps in ((trained.config, None), (other, kept)):
        config = copy.deepcopy(config)
        if taps:  # the backbone that belongs to it
            link = measured.chain.links[widths.taps[0].row]
            architecture = trained.architecture
            stages = list(architecture.stages)
            spec = link.spec.resized(link.spec.kernel_size, TAPPED // 2, link.place.in_channels)
            stages[link.stage] = replace(stages[link.stage], layers=(spec, *stages[link.stage].layers[1:]))
            config.model.backbone = dict(trained.config.model.backbone, head_channels=LAST // 2,
                                         arch=Architecture(tuple(stages)), tapped_channels=(TAPPED // 2, ))
        whole, backbone = count_config(config, SHAPE)
        rests.append(getattr(whole, cost) - getattr(backbone, cost))
    assert widths.saved(kept) == pytest.approx(rests[0] - rests[1], rel=1e-6)


def test_a_child_is_an_ordinary_config(adapted, ssdlite, tmp_path):
    _, child = adapted
    assert .2 < child.share <= .22
    cfg = Config.fromfile(f'{child.folder}/child_config.py')
    tapped, last = child.outside['expand5'][1], child.outside['conv2'][1]
    assert child.outside == dict(expand5=(TAPPED, tapped), conv2=(LAST, last))
    assert tapped < TAPPED
    assert last < LAST
    assert tuple(cfg.model.neck.in_channels) == tuple(cfg.model.bbox_head.in_channels[:2]) == (tapped, last)
    assert list(cfg.model.backbone.tapped_channels) == [tapped]
    assert cfg.model.backbone.head_channels == last
    whole, backbone = count_config(cfg, SHAPE)
    trained, of_trained = count_config(Config.fromfile(ssdlite[0]), SHAPE)
    assert backbone.madds / of_trained.madds == pytest.approx(child.share)
    assert whole.madds / trained.madds == pytest.approx(child.share_of_model)
    # It trains, held near the outputs of the trained head.
    cfg.work_dir, cfg.experiment_name = str(tmp_path), 'tuned_child'
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
    cfg.val_cfg, cfg.val_dataloader, cfg.val_evaluator = None, None, None
    assert cfg.custom_hooks[-1].outputs == 'bbox_head'
    runner = Runner.from_cfg(cfg)
    runner.train()
    history = runner.message_hub.get_scalar('train/loss_distillation').data[0]
    assert len(history) == 12
    assert (history > 0).all()


def test_where_outputs_are_not_known_maps_are_held(measured, ssdlite, tmp_path, monkeypatch):
    """A child whose head is called in another way trains near the channels that it has of the trained maps."""
    head = type(measured.trained.model.bbox_head)
    monkeypatch.setattr(head, 'loss', lambda self, x, samples: self.loss_by_feat(*self.forward(x), **_labels(samples)))
    (child, ) = adapt(*ssdlite, ('0.22', ), str(tmp_path / 'work'), OPTIONS)
    cfg = Config.fromfile(f'{child.folder}/child_config.py')
    hook = cfg.custom_hooks[-1]
    assert (hook.type, hook.weight) == ('FeatureDistillationHook', 1)
    assert hook.channels == f'{child.folder}/distilled_channels.json'
    cfg.work_dir, cfg.experiment_name = str(tmp_path), 'held_near_maps'
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
    cfg.val_cfg, cfg.val_dataloader, cfg.val_evaluator = None, None, None
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert (runner.message_hub.get_scalar('train/loss_distillation').data[0] > 0).all()


def _labels(samples):
    return dict(batch_gt_instances=[sample.gt_instances for sample in samples],
                batch_img_metas=[sample.metainfo for sample in samples])


def test_the_page_says_what_neck_and_head_read(adapted):
    folder, child = adapted
    page = (folder / 'report/index.html').read_text()
    assert 'Channels of the backbone that neck and head read, which are built for them.' in page
    assert 'conv2' in page
    front = json.loads((folder / 'front.json').read_text())
    assert front['taps'] == ['expand5', 'conv2']
    assert front['blocks'][-1]['name'] == 'conv2'
    assert front['children'][0]['layers'][-1]['width'] == child.outside['conv2'][1]


def test_the_same_command_again_measures_nothing(adapted, ssdlite):
    folder, child = adapted
    scores = (folder / 'scores_0.json').read_text()
    (again, ) = adapt(*ssdlite, ('0.22', ), str(folder), OPTIONS)
    assert (folder / 'scores_0.json').read_text() == scores
    assert again.architecture == child.architecture
    assert again.outside == child.outside


def test_a_child_can_be_adapted_again(adapted, tmp_path):
    _, child = adapted
    of_child = f'{child.folder}/child_config.py', f'{child.folder}/child.pth'
    (second, ) = adapt(*of_child, ('0.8', ), str(tmp_path / 'work'), OPTIONS)
    assert second.outside['conv2'][0] == child.outside['conv2'][1]
    assert second.share <= .8
    assert Runner.from_cfg(quiet(f'{second.folder}/child_config.py', tmp_path)).val()


def quiet(path, folder):
    cfg = Config.fromfile(path)
    cfg.work_dir, cfg.experiment_name = str(folder / 'quiet'), 'quiet'
    return cfg


def test_the_whole_models_budget_counts_what_readers_save(ssdlite, tmp_path):
    (child, ) = adapt(*ssdlite, ('0.5', ), str(tmp_path / 'work'), replace(OPTIONS, of='model'))
    assert .48 < child.share_of_model <= .5
    cfg = Config.fromfile(f'{child.folder}/child_config.py')
    whole, trained = (count_config(config, SHAPE)[0].madds for config in (cfg, Config.fromfile(ssdlite[0])))
    assert whole / trained == pytest.approx(child.share_of_model)


def test_neck_and_head_stay_if_that_is_asked_for(ssdlite, tmp_path):
    (child, ) = adapt(*ssdlite, ('0.6', ), str(tmp_path / 'work'), replace(OPTIONS, narrow=False))
    assert child.outside is None
    cfg = Config.fromfile(f'{child.folder}/child_config.py')
    assert cfg.model.bbox_head.in_channels[:2] == (TAPPED, LAST)
    assert 'tapped_channels' not in cfg.model.backbone
    assert 'channels' not in cfg.custom_hooks[-1]
    # What was measured serves both.
    scores = json.loads((tmp_path / 'work/scores_0.json').read_text())
    (child, ) = adapt(*ssdlite, ('0.22', ), str(tmp_path / 'work'), OPTIONS)
    assert child.outside['conv2'][1] < LAST
    both = json.loads((tmp_path / 'work/scores_0.json').read_text())
    assert all(both[image][key] == value for image, row in scores.items() for key, value in row.items())


def test_statistics_go_on_where_they_were_stopped(ssdlite, measured, tmp_path, monkeypatch):
    """Stopped behind some images, the sums of blocks and taps end as those of one go."""
    monkeypatch.setattr('fna_mm.adaptation.measuring._SAVE_EVERY', 0.)
    chain = measured.chain

    @contextmanager
    def stopping(label, steps):
        done = []

        class Bar:
            def update(self, number):
                done.append(number)
                if label == 'statistics' and len(done) == 6:
                    raise KeyboardInterrupt
        yield Bar()

    def measure(progress):
        statistics, taps = statistics_of(chain), tap_statistics_of(chain, measured.taps.taps)
        measure_statistics(measured.trained.model, chain, statistics, measured.images, range(10),
                           WorkFolder(str(tmp_path / 'work'), dict(a=1)), progress, taps)
        return taps

    with pytest.raises(KeyboardInterrupt):
        measure(stopping)
    taps = measure(None)
    for row, of_tap in taps.items():
        whole = measured.taps.statistics[row]
        assert of_tap.moments.count == whole.moments.count
        torch.testing.assert_close(of_tap.moments.gram, whole.moments.gram)
    last = measured.taps.last_row
    assert torch.equal(taps[last].kept(24), measured.taps.statistics[last].kept(24))


def test_a_child_whose_last_convolution_alone_is_narrower(ssdlite, tmp_path, monkeypatch):
    """It is another network than the trained one, though its architecture is the same, and is held near it."""
    monkeypatch.setattr(CandidateTable, 'choose', narrowest_last)
    (child, ) = adapt(*ssdlite, ('0.99', ), str(tmp_path / 'work'), OPTIONS)
    assert child.architecture == load_trained(*ssdlite).architecture
    assert child.outside == dict(expand5=(TAPPED, TAPPED), conv2=(LAST, 8))
    cfg = Config.fromfile(f'{child.folder}/child_config.py')
    assert cfg.model.neck.in_channels == (TAPPED, 8)
    assert cfg.custom_hooks[-1].outputs == 'bbox_head'
    assert json.loads(Path(child.folder, 'distilled_channels.json').read_text())[0] is None


def narrowest_last(table, budget):
    """Every block as it is, and the narrowest last convolution."""
    chosen = (*(block[0] for block in table.candidates[:-1]), table.candidates[-1][-1])
    return Choice(chosen, table.fixed + sum(candidate.cost for candidate in chosen), 0., 0.)
