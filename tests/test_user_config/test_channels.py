"""Channels of necks and heads behind another backbone."""

import copy

import pytest

from fna_mm.user_config.channels import with_channels

BEFORE, AFTER = [256, 512, 1024, 2048], [24, 32, 96, 320]


@pytest.mark.parametrize(('section', 'expected'), [
    (dict(type='FPN', in_channels=[256, 512, 1024, 2048], out_channels=256), dict(in_channels=AFTER)),
    (dict(type='FPN', in_channels=(256, 512, 1024, 2048), out_channels=256), dict(in_channels=tuple(AFTER))),
    (dict(type='YOLOV3Neck', in_channels=[2048, 1024, 512, 256]), dict(in_channels=AFTER[::-1])),
    (dict(type='Encoder', in_channels=2048, out_channels=512), dict(in_channels=320)),
    (dict(type='ChannelMapper', in_channels=[512, 2048], out_channels=256), dict(in_channels=[32, 320])),
    (dict(type='Other', in_channels=300), {}),
])
def test_a_neck_takes_the_maps(section, expected):
    model = dict(backbone=dict(type='ResNet'), neck=section, bbox_head=dict(type='Head', in_channels=256))
    before = copy.deepcopy(model)
    changed = with_channels(model, BEFORE, AFTER)
    assert model == before
    assert changed == ({'neck': {**section, **expected}} if expected else {})


def test_of_several_necks_the_first_takes_the_maps():
    necks = [dict(type='FPN', in_channels=BEFORE, out_channels=256), dict(type='BFP', in_channels=256)]
    assert with_channels(dict(neck=necks), BEFORE, AFTER) == dict(neck=[dict(necks[0], in_channels=AFTER), necks[1]])


def test_a_neck_that_hands_its_maps_on():
    """SSD: the first outputs are the inputs, and the head takes them all."""
    neck = dict(type='SSDNeck', in_channels=(512, 1024), out_channels=(512, 1024, 512, 256))
    head = dict(type='SSDHead', in_channels=(512, 1024, 512, 256), anchors=dict(strides=[8, 16]))
    changed = with_channels(dict(neck=neck, bbox_head=head), [512, 1024], [32, 320])
    assert changed == dict(neck=dict(neck, in_channels=(32, 320), out_channels=(32, 320, 512, 256)),
                           bbox_head=dict(head, in_channels=(32, 320, 512, 256)))


@pytest.mark.parametrize(('section', 'expected'), [
    (dict(in_channels=2048, in_index=3, channels=512), dict(in_channels=320)),
    (dict(in_channels=1024, in_index=2, channels=256), dict(in_channels=96)),
    (dict(in_channels=2048, channels=512), dict(in_channels=320)),  # the last map is mmseg's default
    (dict(in_channels=[256, 1024], in_index=[0, 2]), dict(in_channels=[24, 96])),
    (dict(in_channels=2048, in_index=3, c1_in_channels=256, c1_channels=48), dict(in_channels=320, c1_in_channels=24)),
    (dict(in_channels=512, in_index=3), dict(in_channels=32)),
])
def test_without_a_neck_heads_take_the_maps(section, expected):
    model = dict(backbone=dict(type='ResNetV1c'), decode_head=section, train_cfg=dict(), auxiliary_head=[section] * 2)
    result = {**section, **expected}
    assert with_channels(model, BEFORE, AFTER) == dict(decode_head=result, auxiliary_head=[result] * 2)


def test_sections_inside_of_a_head_take_the_maps_only_if_they_say_so():
    """K-Net: its kernels have 512 channels, as many as a map, and take none."""
    inner = dict(type='FCNHead', in_channels=2048, in_index=3)
    updates = [dict(type='KernelUpdateHead', in_channels=512)]
    head = dict(type='IterativeDecodeHead', kernel_update_head=updates, kernel_generate_head=inner)
    changed = with_channels(dict(decode_head=head), BEFORE, AFTER)
    assert changed == dict(decode_head=dict(head, kernel_generate_head=dict(inner, in_channels=320)))


def test_maps_of_equal_channels_are_told_apart_by_their_index():
    maps, new = [64, 64, 128], [24, 32, 96]
    head = dict(in_channels=64, in_index=1)
    assert with_channels(dict(decode_head=head), maps, new) == dict(decode_head=dict(in_channels=32, in_index=1))
    # Without an index, a number that two maps have says nothing; the trial then says what does not fit.
    assert with_channels(dict(neck=dict(in_channels=64)), maps, new) == {}
