"""Plausible mistakes in the sections of a search's hook: one sentence, before training."""

import pytest
from toy_search import search_config, toy_dataloader, train

ADAM = dict(optimizer=dict(type='Adam', lr=.05))
GN = dict(type='GN', num_groups=2)
#: Whose last map is one pixel at 32x32.
ONE_PIXEL = dict(type='ToyClassifier', channels=320, backbone=dict(type='FNASuperNet', out_indices=(6, )))


@pytest.mark.parametrize(('hook', 'message'), [
    (dict(cost='MAddsCost'), "cost of AlternatingOptimizerHook must be a section such as .*, not 'MAddsCost'"),
    (dict(optim_wrapper=None), 'optim_wrapper of .* needs an optimizer, .* is None'),
    (dict(optim_wrapper=dict(optimizer='Adam')), 'needs an optimizer'),
    (dict(optim_wrapper=dict(optimizer=dict(type='Adam', lr='0.1'))), "lr of the optimizer .*, not '0.1'"),
    (dict(optim_wrapper=dict(optimizer=dict(type='Adam', lr=.1, betas=.5))),
     "'betas': 0.5.*: 'float' object is not subscriptable"),
    (dict(optim_wrapper=dict(optimizer=dict(type='LBFGS', lr=.1))), 'LBFGS computes the loss several times in a step'),
    (dict(optim_wrapper=dict(ADAM, clip_grad=35)), r'clip_grad=35 of .* should be such as dict\(max_norm=35\)'),
    (dict(optim_wrapper=dict(ADAM, clip_grad=dict(max_norm='35'))), "max_norm in .* a positive number, not '35'"),
    (dict(optim_wrapper=dict(ADAM, accumulative_counts='3')), "accumulative_counts of .*, not '3'"),
    (dict(dataloader=None), 'dataloader of .* must be a section with a dataset, .* not None'),
    (dict(dataloader=toy_dataloader('arch', persistent_workers=True)),
     'dataloader of AlternatingOptimizerHook: persistent_workers option needs num_workers > 0'),
])
def test_one_sentence(tmp_path, hook, message):
    with pytest.raises(ValueError, match=message):
        train(search_config(tmp_path, hook=hook))
    assert not list(tmp_path.glob('*.pth'))


@pytest.mark.parametrize('which', ['weights', 'arch'])
@pytest.mark.parametrize('loader', [dict(batch_size=1), dict(batch_size=7)])
def test_batches_of_one_pixel(tmp_path, which, loader):
    """Of 16 images each part has 8: in batches of 7, the last one is alone."""
    loader = toy_dataloader(which, **loader)
    changes = dict(train_dataloader=loader) if which == 'weights' else dict(hook=dict(dataloader=loader))
    with pytest.raises(ValueError, match=r'one image of 32x32 .* 8 images\) has a last map of a single pixel'):
        train(search_config(tmp_path, model=ONE_PIXEL, **changes))


@pytest.mark.parametrize('changes', [
    dict(train_dataloader=toy_dataloader('weights', batch_size=7, drop_last=True)),
    dict(train_dataloader=toy_dataloader('weights', batch_size=1), model=dict(ONE_PIXEL, norm_cfg=GN, backbone=dict(
        ONE_PIXEL['backbone'], norm_cfg=GN, candidate_norm_cfg=GN)))])
def test_statistics_that_are_there_or_not_needed(tmp_path, changes):
    train(search_config(tmp_path, epochs=1, hook=dict(begin_epoch=0, dataloader=toy_dataloader('arch', batch_size=2)),
                        **changes))
