import copy
import dataclasses
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fna_mm import Architecture, FNAChildNet, MBConvSpec, Stage
from fna_mm.architecture import PlacedLayer, PlacedStage
from fna_mm.checks import check_input_shape
from fna_mm.families import Convolution, family
from fna_mm.families.family import strided_size
from fna_mm.families.mobilenet_v2 import PUBLISHED

CITYSCAPES, COCO, SSD = (1024, 2048), (800, 1088), (320, 320)
# name, (height, width), output stride, parameters, GMAdds to the last digit of shared/reference.md
GOLDEN = [
    ('mobilenet_v2', COCO, 32, 1811712, '4.8471'),
    ('fna_retinanet', COCO, 32, 2055712, '4.8234'),
    ('fna_ssdlite', SSD, 32, 2119040, '0.6424'),
    ('fna_deeplabv3', CITYSCAPES, 16, 1710624, '18.6953'),
    ('mobilenet_v2', CITYSCAPES, 16, 1811712, '19.0421'),
]
GOOD_STAGE = dict(in_channels=4, out_channels=6, stride=2, layers=['k3_e6'])

specs = st.one_of(
    st.builds(MBConvSpec, st.sampled_from([1, 3, 5, 7, 9, 11]), st.integers(1, 12)),
    st.builds(MBConvSpec, st.sampled_from([1, 3, 5, 7, 9, 11]), channels=st.integers(1, 400)))


@st.composite
def architectures(draw, max_channels=700, max_stages=6, max_layers=5, spec=specs):
    channels = draw(st.lists(st.integers(1, max_channels), min_size=2, max_size=max_stages + 1))
    return Architecture(
        tuple(
            Stage(before, after, draw(st.sampled_from([1, 2])),
                  tuple(draw(st.lists(spec, min_size=1, max_size=max_layers))))
            for before, after in zip(channels, channels[1:])))


small_architectures = architectures(
    max_channels=9, max_stages=3, max_layers=3,
    spec=st.builds(MBConvSpec, st.sampled_from([1, 3, 5]), st.integers(1, 4)))


# Published numbers


@pytest.mark.parametrize(('name', 'input_shape', 'output_stride', 'params', 'gmadds'), GOLDEN)
def test_golden_params_and_madds(name, input_shape, output_stride, params, gmadds):
    architecture = Architecture.create(name)
    assert architecture.params() == params
    assert f'{architecture.madds(input_shape, output_stride) / 1e9:.4f}' == gmadds


@pytest.mark.parametrize('name', sorted(PUBLISHED))
def test_published_network_has_the_counted_parameters(name):
    architecture = Architecture.create(name)
    net = FNAChildNet(name)
    assert sum(parameter.numel() for parameter in net.parameters()) == architecture.params()
    net = FNAChildNet(name, out_indices=(7, ))
    assert sum(parameter.numel() for parameter in net.parameters()) == architecture.params(head_channels=1280)


def test_output_stride_of_madds_defaults_to_the_own_one():
    architecture = Architecture.create('mobilenet_v2')
    assert architecture.madds(SSD) == architecture.madds(SSD, 32) < architecture.madds(SSD, 16)


def test_head_costs_a_pointwise_convolution():
    architecture = Architecture.create('mobilenet_v2')
    assert architecture.madds(SSD, head_channels=1280) - architecture.madds(SSD) == 320 * 1280 * 10 * 10
    assert architecture.params(head_channels=1280) - architecture.params() == 320 * 1280 + 2 * 1280


def test_published_layers_are_those_of_the_paper():
    retinanet = Architecture.create('fna_retinanet')
    assert [' '.join(map(str, stage.layers)) for stage in retinanet.stages] == [
        'k3_e1', 'k3_e6 k3_e6', 'k7_e6 k5_e6', 'k3_e6 k5_e6 k7_e6 k3_e6', 'k5_e6 k7_e6', 'k7_e6 k7_e6 k7_e3 k7_e6',
        'k7_e6'
    ]
    depths = {name: [len(stage.layers) for stage in Architecture.create(name).stages] for name in PUBLISHED}
    assert depths == dict(
        mobilenet_v2=[1, 2, 3, 4, 3, 3, 1],
        fna_retinanet=[1, 2, 2, 4, 2, 4, 1],
        fna_ssdlite=[1, 1, 4, 3, 4, 3, 1],
        fna_deeplabv3=[1, 2, 4, 6, 4, 2, 1])
    for name in PUBLISHED:
        architecture = Architecture.create(name)
        assert architecture.total_stride == 32
        assert architecture.stem_channels == 32
        assert [stage.label for stage in architecture.stages] == [
            '32 → 16', '16 → 24', '24 → 32', '32 → 64', '64 → 96', '96 → 160', '160 → 320'
        ]


# Arithmetic


def test_counts_of_one_layer_written_out():
    spec = MBConvSpec(5, 6)
    hidden = 24
    assert spec.hidden_channels(4) == hidden
    # expand on 9x7, depthwise and project on 5x4
    assert spec.madds(4, 10, 2, (9, 7)) == 4 * hidden * 63 + 25 * hidden * 20 + hidden * 10 * 20
    assert spec.params(4, 10) == (4 * hidden + 2 * hidden) + (25 * hidden + 2 * hidden) + (hidden * 10 + 20)
    assert MBConvSpec(3, 1).madds(4, 10, 1, (9, 7)) == 9 * 4 * 63 + 4 * 10 * 63
    assert MBConvSpec(3, 1).params(4, 10) == 9 * 4 + 8 + 40 + 20


def test_counts_of_a_stage_are_those_of_its_layers():
    stage = Stage(4, 6, 2, (MBConvSpec(3, 6), MBConvSpec(7, 3)))
    first, second = stage.layers
    for stride, size in ((2, (5, 4)), (1, (10, 8))):
        madds = [place.madds(spec) for spec, place in PlacedStage(1, stage, stride, 1, (10, 8)).layers()]
        assert madds == [first.madds(4, 6, stride, (10, 8)), second.madds(6, 6, 1, size)]
    assert stage.params() == first.params(4, 6) + second.params(6, 6)


def test_a_walk_knows_every_place():
    """fna_deeplabv3 at output stride 16: the stage 96 → 160 loses its stride and is dilated."""
    places = Architecture.create('fna_deeplabv3').walk(16, (65, 96))
    assert [(place.stride, place.dilation, place.input_size) for place in places] == [
        (1, 1, (33, 48)), (2, 1, (33, 48)), (2, 1, (17, 24)), (2, 1, (9, 12)), (1, 1, (5, 6)), (1, 2, (5, 6)),
        (1, 2, (5, 6))]
    assert places[1].layer(0) == PlacedLayer(1, 0, 16, 24, 2, 1, (33, 48))
    assert places[1].layer(3) == PlacedLayer(1, 3, 24, 24, 1, 1, (17, 24))
    assert {place.input_size for place in Architecture.create('fna_deeplabv3').walk()} == {None}
    with pytest.raises(ValueError, match='multiply-adds need the size of the image: give input_shape'):
        PlacedLayer(1, 0, 16, 24, 2, 1, None).madds(MBConvSpec(3, 6))


def test_convolution_madds_and_sizes():
    assert Convolution(8, 12, 3).madds((5, 4)) == 9 * 8 * 12 * 20
    assert Convolution(8, 8, 3, groups=8).madds((5, 4)) == 9 * 8 * 20
    assert [strided_size((height, 4), 2) for height in (6, 7)] == [(3, 2), (4, 2)]


@settings(max_examples=15)
@given(small_architectures)
def test_arithmetic_agrees_with_the_real_network(count_by_hooks, architecture):
    net = FNAChildNet(architecture, (len(architecture.stages), ), architecture.total_stride, head_channels=5).eval()
    assert sum(parameter.numel() for parameter in net.parameters()) == architecture.params(head_channels=5)
    measured = count_by_hooks(net, lambda: net(torch.zeros(1, 3, 37, 26)))
    assert measured == architecture.madds((37, 26), head_channels=5)


@pytest.mark.parametrize('output_stride', [32, 16, 8])
def test_madds_agree_with_the_real_network_at_every_output_stride(count_by_hooks, output_stride):
    net = FNAChildNet('fna_ssdlite', output_stride=output_stride).eval()
    measured = count_by_hooks(net, lambda: net(torch.zeros(1, 3, 64, 96)))
    assert measured == net.architecture.madds((64, 96), output_stride)


# Round trips


@given(architectures())
def test_round_trips(architecture):
    assert Architecture.parse(architecture.to_text()) == architecture
    assert Architecture.from_json(architecture.to_json()) == architecture
    assert Architecture.from_dict(architecture.to_dict()) == architecture
    assert json.loads(architecture.to_json()) == architecture.to_dict()
    assert hash(Architecture.parse(architecture.to_text())) == hash(architecture)


@given(architectures())
def test_create_takes_every_form(architecture):
    for form in (architecture, architecture.to_dict(), architecture.to_text()):
        assert Architecture.create(form) == architecture


@given(architectures())
def test_printed_table_says_everything(architecture):
    head, *rows = str(architecture).split('\n')
    assert head.split() == ['stage', 'stride', 'layers']
    stages = []
    for row in rows:
        in_channels, _, out_channels, stride, *operations = row.split()
        stages.append(Stage.from_operations(int(in_channels), int(out_channels), int(stride), operations))
    assert Architecture(stages) == architecture


@given(st.data())
def test_left_out_layers_leave_no_trace(data):
    architecture = data.draw(architectures())
    stages = []
    for stage in architecture.stages:
        operations = [str(layer) for layer in stage.layers]
        for _ in range(data.draw(st.integers(0, 3))):
            operations.insert(data.draw(st.integers(1, len(operations))), 'skip')
        stages.append(f'[[{stage.in_channels}, {stage.out_channels}], {operations}, {stage.stride}]')
    assert Architecture.parse('|'.join(stages)) == architecture


@given(specs)
def test_operation_round_trip(spec):
    assert MBConvSpec.parse(str(spec)) == spec


def test_create_from_file(tmp_path):
    architecture = Architecture.create('fna_ssdlite')
    path = tmp_path / 'arch.json'
    path.write_text(architecture.to_json(), encoding='utf-8')
    assert Architecture.create(str(path)) == architecture


def test_json_is_one_line_a_stage():
    lines = Architecture.create('fna_retinanet').to_json().splitlines()
    assert [line for line in lines if 'k3_e1' in line] == [
        '    {"in_channels": 32, "out_channels": 16, "stride": 1, "layers": ["k3_e1"]},'
    ]
    assert sum('layers' in line for line in lines) == 7


def test_dict_is_left_as_it_was():
    values = Architecture.create('mobilenet_v2').to_dict()
    before = copy.deepcopy(values)
    Architecture.create(values)
    assert values == before


def test_architectures_are_values():
    architecture = Architecture.create('mobilenet_v2')
    assert architecture == Architecture.create('mobilenet_v2')
    assert architecture != Architecture.create('fna_retinanet')
    with pytest.raises(dataclasses.FrozenInstanceError):
        architecture.stages = ()
    listed = Stage(4, 4, 1, [MBConvSpec(3, 1)])
    assert listed.layers == (MBConvSpec(3, 1), )


# Errors


@pytest.mark.parametrize('text', [
    'k3', 'k3e6', 'k3_e6 ', ' k3_e6', 'K3_E6', 'k3_e', 'k-3_e6', 'k3_e6_s2', 'conv3x3', '', 'k3.0_e6', 'skip', None, 36
])
def test_unknown_operation(text):
    with pytest.raises(ValueError, match='unknown operation .*expected kK_eE'):
        MBConvSpec.parse(text)


def test_hidden_channels_as_a_number():
    spec = MBConvSpec(3, channels=136)
    assert str(spec) == 'k3_c136'
    assert spec.hidden_channels(24) == 136
    assert spec.madds(24, 32, 1, (5, 7)) == 35 * 136 * (24 + 9 + 32)
    # A block as narrow as its input keeps its expand convolution; that of ratio 1 has none.
    assert MBConvSpec(3, channels=24).params(24, 24) == MBConvSpec(3, 1).params(24, 24) + 24 * 24 + 2 * 24
    assert MBConvSpec(3, channels=24).searchable
    with pytest.raises(ValueError, match='channels of an MBConv must be an integer from 1 to .*, not 0'):
        MBConvSpec(3, channels=0)
    with pytest.raises(ValueError, match='either expand_ratio or channels, not 6 and 136'):
        MBConvSpec(3, 6, 136)


@pytest.mark.parametrize(('hidden', 'text'), [(144, 'k5_e6'), (48, 'k5_e2'), (24, 'k5_c24'), (8, 'k5_c8'),
                                              (136, 'k5_c136')])
def test_a_resized_block(hidden, text):
    resized = MBConvSpec(3, 6).resized(5, hidden, 24)
    assert str(resized) == text
    assert resized.hidden_channels(24) == hidden
    assert MBConvSpec.parse(text) == resized


def test_a_block_without_expansion_keeps_its_width():
    assert str(MBConvSpec(3, 1).resized(5, 16, 16)) == 'k5_e1'
    with pytest.raises(ValueError, match='no expand convolution: its 16 hidden channels'):
        MBConvSpec(3, 1).resized(3, 8, 16)


def test_a_width_multiplier_scales_hidden_channels_too():
    network = Architecture((Stage(32, 16, 1, (MBConvSpec(3, 1), )), Stage(16, 24, 2, (MBConvSpec(3, channels=88), ))))
    assert [str(layer) for stage in network.widened(.5).stages for layer in stage.layers] == ['k3_e1', 'k3_c48']


@pytest.mark.parametrize(('kernel_size', 'expand_ratio', 'message'), [
    (4, 6, 'kernel_size of an MBConv must be odd, not 4'),
    (0, 6, 'kernel_size of an MBConv must be an integer from 1 to .*, not 0'),
    (-3, 6, 'kernel_size of an MBConv must be an integer from 1 to .*, not -3'),
    (3., 6, 'kernel_size of an MBConv must be an integer from 1 to .*, not 3.0'),
    ('3', 6, "kernel_size of an MBConv must be an integer from 1 to .*, not '3'"),
    (True, 6, 'kernel_size of an MBConv must be an integer from 1 to .*, not True'),
    (3, 0, 'expand_ratio of an MBConv must be an integer from 1 to .*, not 0'),
    (3, None, 'an MBConv needs either expand_ratio or channels, not None and None'),
    (3, 1.5, 'expand_ratio of an MBConv must be an integer from 1 to .*, not 1.5'),
])
def test_illegal_layer(kernel_size, expand_ratio, message):
    with pytest.raises(ValueError, match=message):
        MBConvSpec(kernel_size, expand_ratio)


@pytest.mark.parametrize(('field', 'value', 'message'), [
    ('in_channels', 0, 'in_channels of a stage must be an integer from 1 to .*, not 0'),
    ('in_channels', '4', "in_channels of a stage must be an integer from 1 to .*, not '4'"),
    ('in_channels', [4], r'in_channels of a stage must be an integer from 1 to .*, not \[4\]'),
    ('out_channels', -6, 'out_channels of a stage must be an integer from 1 to .*, not -6'),
    ('out_channels', 6., 'out_channels of a stage must be an integer from 1 to .*, not 6.0'),
    ('out_channels', True, 'out_channels of a stage must be an integer from 1 to .*, not True'),
    ('stride', 3, 'stride of the stage 4 → 6 must be 1 or 2, not 3'),
    ('stride', 0, 'stride of the stage 4 → 6 must be 1 or 2, not 0'),
    ('stride', '2', "stride of the stage 4 → 6 must be 1 or 2, not '2'"),
    ('stride', True, 'stride of the stage 4 → 6 must be 1 or 2, not True'),
    ('stride', 2., 'stride of the stage 4 → 6 must be 1 or 2, not 2.0'),
    ('layers', [], 'the stage 4 → 6 is empty: it needs at least one layer'),
    ('layers', 'k3_e6', "the layers of the stage 4 → 6 must be a list of operations, not 'k3_e6'"),
    ('layers', 3, 'the layers of the stage 4 → 6 must be a list of operations, not 3'),
    ('layers', ['skip', 'k3_e6'], "the first layer of the stage 4 → 6 is 'skip'.*put a block such as k3_e6"),
    ('layers', ['k3_e6', 'k4_e6'], 'layer 1 of the stage 4 → 6: kernel_size of an MBConv must be odd'),
    ('layers', ['k3_e6', 'pool'], "layer 1 of the stage 4 → 6: unknown operation 'pool'"),
    ('layers', ['k3_e6', 5], 'layer 1 of the stage 4 → 6: unknown operation 5'),
])
def test_illegal_stage(field, value, message):
    values = dict(GOOD_STAGE, **{field: value})
    with pytest.raises(ValueError, match=message):
        Architecture.from_dict(dict(stages=[values]))
    text = (f'[[{values["in_channels"]!r}, {values["out_channels"]!r}], {values["layers"]!r}, '
            f'{values["stride"]!r}]')
    with pytest.raises(ValueError, match=message):
        Architecture.parse(text)


def test_stage_of_only_skips_is_refused():
    with pytest.raises(ValueError, match='an identity cannot change channels or stride'):
        Architecture.parse("[[4, 6], ['skip', 'skip'], 2]")


def test_stage_wants_specs():
    with pytest.raises(ValueError, match="the stage 4 → 6 holds 'k3_e6', which is no block of a family"):
        Stage(4, 6, 1, ('k3_e6', ))


def test_channels_must_chain():
    with pytest.raises(ValueError, match='channels do not chain: the stage 4 → 6 is followed by 8 → 8, '
                       'which should start with 6'):
        Architecture.parse("[[4, 6], ['k3_e6'], 1]|[[8, 8], ['k3_e6'], 1]")


@pytest.mark.parametrize('build', [
    lambda: Architecture(()), lambda: Architecture.from_dict(dict(stages=[])), lambda: Architecture.parse(''),
    lambda: Architecture.parse(' | ')
])
def test_no_stages(build):
    with pytest.raises(ValueError, match='an architecture needs at least one stage'):
        build()


@pytest.mark.parametrize('text', [
    '[[4, 6], [\'k3_e6\'], 1', '[[4, 6], 1]', '[[4, 6, 8], [\'k3_e6\'], 1]', '[4, [\'k3_e6\'], 1]', '[[4, 6]] * 3',
    '[4 6]', '[k3_e6]', '[[x, 6], [\'k3_e6\'], 1]', '[\0]', '[[4, 6], [\'k3_e6\'], 1] and more'
])
def test_text_of_another_form(text):
    with pytest.raises(ValueError, match=r"stage 1 of the architecture text is .*expected \[\[in_channels, out"):
        Architecture.create("[[4, 4], ['k3_e6'], 1]|" + text)


@pytest.mark.parametrize('code', [
    "__import__('os').system('touch {marker}')",
    "[__import__('os').system('touch {marker}')]",
    "[[4, __import__('os').system('touch {marker}') or 6], ['k3_e6'], 1]",
    "[[4, 6], [open('{marker}', 'w') and 'k3_e6'], 1]",
    "[[4, 6], ['k3_e6'], (lambda: open('{marker}', 'w'))() and 1]",
    "[x for x in [open('{marker}', 'w')]]",
    "[[4, 6], ['k3_e6' if open('{marker}', 'w') else 'k5_e6'], 1]",
])
def test_text_is_never_evaluated(code, tmp_path):
    marker = tmp_path / 'executed'
    code = code.format(marker=marker)
    for build in (Architecture.create, Architecture.parse):
        with pytest.raises(ValueError, match='unknown arch|of the architecture text is'):
            build(code)
    operation = "k3_e6') or __import__('os').system('true"
    with pytest.raises(ValueError, match='unknown operation'):
        MBConvSpec.parse(operation)
    assert not marker.exists()


@pytest.mark.parametrize('text', ['[' * 100000, '[' * 60 + ']' * 60, '[' + '(' * 5000 + ')' * 5000 + ']',
                                  '[' + '-' * 100000 + '1]', '[' + '1+' * 50000 + '1]', '[' + '~' * 3000 + '1]'])
def test_hostile_nesting_in_text(text):
    with pytest.raises(ValueError, match='stage 0 of the architecture text is'):
        Architecture.create(text)


@pytest.mark.parametrize('text', ['[' * 100000, '{"stages":' * 100000])
def test_hostile_nesting_in_json(text):
    with pytest.raises(ValueError, match='not an architecture'):
        Architecture.from_json(text)


def test_error_does_not_repeat_a_huge_text():
    with pytest.raises(ValueError, match='of the architecture text is') as caught:
        Architecture.create('[' * 100000)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(('text', 'message'), [
    ('{', 'not an architecture: the text is no JSON'),
    ('', 'not an architecture: the text is no JSON'),
    ('[]', 'not an architecture: expected a JSON object, not list'),
    ('"mobilenet_v2"', 'not an architecture: expected a JSON object, not str'),
    ('{}', 'an architecture needs a list under "stages", not None'),
    ('{"stages": "k3_e6"}', 'an architecture needs a list under "stages", not \'k3_e6\''),
    ('{"stages": {}}', 'an architecture needs a list under "stages", not {}'),
    ('{"format": "other", "stages": []}', "format 'other' version None is unknown"),
    ('{"format": "fna_mm.architecture", "version": 2, "stages": []}', 'version 2 is unknown: this release reads'),
    ('{"stages": [3]}', 'stage 0 of the architecture must have exactly the keys .* but is 3'),
    ('{"stages": [{"in_channels": 4}]}', r"must have exactly the keys \['in_channels', 'layers', 'out_channels', "),
])
def test_bad_json(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        Architecture.from_json(text)
    path = tmp_path / 'arch.json'
    path.write_text(text, encoding='utf-8')
    with pytest.raises(ValueError, match=message):
        Architecture.create(str(path))


def test_stage_with_an_unknown_key():
    with pytest.raises(ValueError, match='stage 0 of the architecture must have exactly the keys .*dilation'):
        Architecture.from_dict(dict(stages=[dict(GOOD_STAGE, dilation=2)]))


@pytest.mark.parametrize('name', ['mobilenet_v3', 'fna-retinanet', '', 'arch.yaml', 'some/where/arch'])
def test_unknown_name(name):
    with pytest.raises(ValueError, match=f"unknown arch '{name}': expected one of .*fna_retinanet.*the path of an"):
        Architecture.create(name)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.json.*no such file; published names are .*fna_ssdlite'):
        Architecture.create(str(tmp_path / 'nowhere.json'))


@pytest.mark.parametrize('arch', [None, 3, [[4, 6]], ('mobilenet_v2', )])
def test_create_from_something_else(arch):
    with pytest.raises(ValueError, match='arch must be a name, a dict, a path or the published text form, not'):
        Architecture.create(arch)


@pytest.mark.parametrize('shape', [None, 320, (320, ), (320, 320, 3), (0, 320), (320, -1), (320., 320), '32',
                                   (True, 320), {320, 321}])
def test_illegal_input_shape(shape):
    with pytest.raises(ValueError, match=r'input_shape must be \(height, width\) in pixels'):
        check_input_shape(shape)
    with pytest.raises(ValueError, match=r'input_shape must be \(height, width\) in pixels'):
        Architecture.create('mobilenet_v2').madds(shape)


def test_input_shape_may_be_a_list():
    assert check_input_shape([800, 1088]) == (800, 1088)


# Strides and dilations


@pytest.mark.parametrize(('output_stride', 'expected'), [
    (32, ((1, 1), (2, 1), (2, 1), (2, 1), (1, 1), (2, 1), (1, 1))),
    (16, ((1, 1), (2, 1), (2, 1), (2, 1), (1, 1), (1, 2), (1, 2))),
    (8, ((1, 1), (2, 1), (2, 1), (1, 2), (1, 2), (1, 4), (1, 4))),
])
@pytest.mark.parametrize('name', sorted(PUBLISHED))
def test_strides_and_dilations(name, output_stride, expected):
    assert Architecture.create(name).strides_and_dilations(output_stride) == expected


@pytest.mark.parametrize('output_stride', [64, 4, 2, 1, 12, 0, -8, None, '16'])
def test_impossible_output_stride(output_stride):
    with pytest.raises(ValueError, match=r'output_stride=.* is not possible .*choose one of \[8, 16, 32\]'):
        Architecture.create('mobilenet_v2').strides_and_dilations(output_stride)


@given(st.data())
def test_dilation_makes_up_for_every_stride_taken_away(data):
    architecture = data.draw(architectures(max_channels=4, max_stages=7, max_layers=1))
    legal = {architecture.total_stride} | {s for s in (8, 16, 32, 64, 128) if s <= architecture.total_stride}
    output_stride = data.draw(st.sampled_from(sorted(legal)))
    result = architecture.strides_and_dilations(output_stride)
    assert len(result) == len(architecture.stages)
    full, reduced = 2, 2
    for stage, (stride, dilation) in zip(architecture.stages, result):
        full, reduced = full * stage.stride, reduced * stride
        assert reduced == min(full, output_stride)
        assert reduced * dilation == full
    assert reduced == output_stride


# Width


@pytest.mark.parametrize(('channels', 'factor', 'expected'), [
    (32, 1, 32), (32, .5, 16), (24, .5, 16), (16, .35, 8), (24, .35, 8), (96, .35, 32), (320, 1.4, 448), (24, 1.4, 32),
    (16, .01, 8), (64, .75, 48), (160, 1.3, 208)])
def test_scaled_channels(channels, factor, expected):
    assert family('mobilenet_v2').scaled_channels(channels, factor) == expected


@given(st.integers(1, 2000), st.floats(.01, 4))
def test_scaled_channels_are_near_and_whole(channels, factor):
    scaled = family('mobilenet_v2').scaled_channels(channels, factor)
    assert scaled % 8 == 0
    assert scaled == 8 or .9 * channels * factor <= scaled <= channels * factor + 8


def test_widened():
    wide = Architecture.create('fna_retinanet').widened(.5)
    assert [stage.out_channels for stage in wide.stages] == [8, 16, 16, 32, 48, 80, 160]
    assert wide.stem_channels == 16
    assert [stage.layers for stage in wide.stages] == [
        stage.layers for stage in Architecture.create('fna_retinanet').stages]
    assert wide.widened(1) is wide
    assert Architecture.parse(wide.to_text()) == wide


@pytest.mark.parametrize('factor', [0, -1, float('inf'), float('nan'), '1', None, True])
def test_illegal_width(factor):
    with pytest.raises(ValueError, match='width multiplier .* must be a positive number'):
        Architecture.create('mobilenet_v2').widened(factor)
