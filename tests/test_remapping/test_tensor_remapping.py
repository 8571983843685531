import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fna_mm.remapping.tensor_remapping import (
    KERNEL_METHODS,
    WIDTH_METHODS,
    check_methods,
    depth_index,
    reference_vector,
    remap_kernel,
    select_channels,
)

odd = st.integers(0, 4).map(lambda half: 2 * half + 1)


# Depth


@pytest.mark.parametrize(('layer', 'seed_depth', 'expected'), [
    (0, 1, 0), (3, 1, 0), (0, 3, 0), (1, 3, 1), (2, 3, 2), (3, 3, 2), (9, 3, 2)])
def test_depth_index(layer, seed_depth, expected):
    assert depth_index(layer, seed_depth) == expected


@given(st.integers(0, 50), st.integers(1, 20))
def test_depth_index_is_the_layer_itself_or_the_last(layer, seed_depth):
    assert depth_index(layer, seed_depth) == (layer if layer < seed_depth else seed_depth - 1)


# Width


@given(st.integers(1, 100), st.data())
def test_first_channels(seed_channels, data):
    channels = data.draw(st.integers(1, seed_channels))
    assert select_channels(seed_channels, channels).tolist() == list(range(channels))


def test_width_is_never_made_up():
    with pytest.raises(ValueError, match=r"7 channels cannot be taken from the seed's 6: .*narrows"):
        select_channels(6, 7)


def test_reference_vectors_written_out():
    weight = torch.tensor([[1., 3.], [-4, 4], [2, 2]]).reshape(3, 2, 1, 1)
    scale = torch.tensor([.5, -2., 1.])
    assert reference_vector('first', weight, scale) is None
    assert reference_vector('bn', weight, scale).tolist() == [.5, 2, 1]
    assert reference_vector('std', weight, scale).tolist() == [1, 4, 0]
    assert reference_vector('l1', weight, scale).tolist() == [4, 8, 4]


@pytest.mark.parametrize('width', ['std', 'l1'])
def test_every_dimension_of_a_channel_counts(width):
    weight = torch.randn(5, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    rows = weight.flatten(1).double()
    mean = rows.mean(1, keepdim=True)
    expected = (rows - mean).square().mean(1).sqrt() if width == 'std' else rows.abs().sum(1)
    torch.testing.assert_close(reference_vector(width, weight, None), expected)


@pytest.mark.parametrize(('width', 'weight', 'scale', 'message'), [
    ('bn', torch.ones(2, 2), None, "width='bn' needs the scale of the BN .* the seed does not have"),
    ('std', None, torch.ones(2), "width='std' needs the weights of the convolution"),
    ('l1', None, torch.ones(2), "width='l1' needs the weights"),
])
def test_nothing_to_rank_by(width, weight, scale, message):
    with pytest.raises(ValueError, match=message):
        reference_vector(width, weight, scale)


def test_algorithm_1_written_out():
    reference = torch.tensor([3., 1, 4, 1, 5, 9, 2, 6])
    assert select_channels(8, 3, reference).tolist() == [4, 5, 7]
    assert select_channels(8, 5, reference).tolist() == [0, 2, 4, 5, 7]


#: Few different values, so that many channels are equal.
references = st.lists(st.integers(0, 4).map(float), min_size=1, max_size=40)


@given(references, st.data())
def test_top_channels(values, data):
    """Exactly q different ones, rising; none left out beats one that is kept, and of equals the first are kept."""
    channels = data.draw(st.integers(1, len(values)))
    kept = select_channels(len(values), channels, torch.tensor(values)).tolist()
    assert len(kept) == channels
    assert kept == sorted(set(kept))
    for left_out in set(range(len(values))) - set(kept):
        assert all((values[left_out], -left_out) < (values[index], -index) for index in kept)


@given(references, st.data())
def test_narrowing_twice_is_narrowing_once(values, data):
    reference = torch.tensor(values)
    middle = data.draw(st.integers(1, len(values)))
    channels = data.draw(st.integers(1, middle))
    first = select_channels(len(values), middle, reference)
    second = first[select_channels(middle, channels, reference[first])]
    assert torch.equal(second, select_channels(len(values), channels, reference))


def test_a_reference_of_another_length():
    with pytest.raises(ValueError, match='it has 6 channels, but the convolution that makes them 5'):
        select_channels(6, 3, torch.ones(5))


# Kernel


def test_kernel_written_out():
    weight = torch.arange(1., 10).reshape(1, 1, 3, 3)
    assert remap_kernel(weight, 5)[0, 0].tolist() == [
        [0, 0, 0, 0, 0],
        [0, 1, 2, 3, 0],
        [0, 4, 5, 6, 0],
        [0, 7, 8, 9, 0],
        [0, 0, 0, 0, 0],
    ]


@given(odd, odd, st.integers(1, 4), st.integers(1, 3))
def test_centre_holds_the_old_kernel_and_the_rest_nothing(small, more, out_channels, in_channels):
    large = small + more - 1
    weight = torch.randn(out_channels, in_channels, small, small, generator=torch.Generator().manual_seed(small))
    remapped = remap_kernel(weight, large)
    assert remapped.shape == (out_channels, in_channels, large, large)
    margin = (large - small) // 2
    cropped = remapped[:, :, margin:large - margin, margin:large - margin]
    assert torch.equal(cropped, weight)
    assert remapped.abs().sum().item() == pytest.approx(weight.abs().sum().item())
    assert torch.equal(remapped == 0, torch.nn.functional.pad(weight, [margin] * 4) == 0)


@given(odd, odd, odd)
def test_two_steps_are_one(small, more, yet_more):
    weight = torch.randn(2, 1, small, small, generator=torch.Generator().manual_seed(0))
    middle = small + more - 1
    large = middle + yet_more - 1
    assert torch.equal(remap_kernel(remap_kernel(weight, middle), large), remap_kernel(weight, large))


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('kernel_size', [3, 5, 7])
def test_depthwise_convolution_keeps_its_output(kernel_size, stride):
    weight = torch.randn(4, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    x = torch.randn(2, 4, 11, 8, generator=torch.Generator().manual_seed(1))

    def run(weight):
        return torch.nn.functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=4)

    torch.testing.assert_close(run(remap_kernel(weight, kernel_size)), run(weight))


@given(st.sampled_from([1, 3, 5]), st.sampled_from([5, 7, 9, 11]), st.integers(1, 4), st.integers(1, 2))
def test_centre_keeps_the_output_at_any_dilation(small, large, dilation, stride):
    """Away from the border exactly what the small kernel sees; at the border too, if that is padded with zeros."""
    generator = torch.Generator().manual_seed(small)
    weight = torch.randn(3, 1, small, small, generator=generator)
    x = torch.randn(1, 3, 47, 50, generator=generator)

    def run(weight, padding):
        return torch.nn.functional.conv2d(x, weight, stride=stride, padding=padding, dilation=dilation, groups=3)

    remapped = remap_kernel(weight, large, 'center')
    padded = run(weight, dilation * (small // 2))
    torch.testing.assert_close(run(remapped, dilation * (large // 2)), padded)
    inner = run(remapped, 0)
    margin = dilation * (large // 2)
    shifted = torch.nn.functional.conv2d(x[:, :, margin - dilation * (small // 2):, margin - dilation * (small // 2):],
                                         weight, stride=stride, dilation=dilation, groups=3)
    torch.testing.assert_close(inner, shifted[:, :, :inner.shape[2], :inner.shape[3]])


def test_result_is_a_copy_of_the_same_kind():
    weight = torch.ones(1, 1, 3, 3, dtype=torch.float16)
    for kernel_size, kernel in itertools.product((1, 3, 5), KERNEL_METHODS):
        if (kernel_size, kernel) == (1, 'dilate'):
            continue
        remapped = remap_kernel(weight, kernel_size, kernel)
        assert remapped.dtype == torch.float16
        remapped.fill_(5)
        assert (weight == 1).all()


def test_dilated_kernel_written_out():
    """Equation 6: h, w = 1 + i(k - 1)/2, counted from 1."""
    weight = torch.arange(1., 10).reshape(1, 1, 3, 3)
    assert remap_kernel(weight, 7, 'dilate')[0, 0].tolist() == [
        [1, 0, 0, 2, 0, 0, 3],
        [0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
        [4, 0, 0, 5, 0, 0, 6],
        [0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
        [7, 0, 0, 8, 0, 0, 9],
    ]


@pytest.mark.parametrize('kernel_size', [3, 5, 7, 9, 11, 13])
def test_equation_6(kernel_size):
    weight = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    remapped = remap_kernel(weight, kernel_size, 'dilate')
    expected = torch.zeros(4, 2, kernel_size, kernel_size)
    for i in range(3):
        for j in range(3):
            h, w = 1 + i * (kernel_size - 1) / 2, 1 + j * (kernel_size - 1) / 2
            expected[:, :, int(h) - 1, int(w) - 1] = weight[:, :, i, j]
    assert torch.equal(remapped, expected)


@pytest.mark.parametrize('kernel_size', [5, 7, 9, 11])
def test_dilated_kernel_is_a_dilated_convolution(kernel_size):
    weight = torch.randn(4, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    x = torch.randn(2, 4, 11, 8, generator=torch.Generator().manual_seed(1))
    dilation = (kernel_size - 1) // 2
    large = torch.nn.functional.conv2d(x, remap_kernel(weight, kernel_size, 'dilate'), padding=dilation, groups=4)
    small = torch.nn.functional.conv2d(x, weight, padding=dilation, dilation=dilation, groups=4)
    torch.testing.assert_close(large, small)


def test_smaller_kernels_written_out():
    weight = torch.arange(49.).reshape(1, 1, 7, 7)
    assert remap_kernel(weight, 3, 'center')[0, 0].tolist() == [[16, 17, 18], [23, 24, 25], [30, 31, 32]]
    assert remap_kernel(weight, 3, 'dilate')[0, 0].tolist() == [[0, 3, 6], [21, 24, 27], [42, 45, 48]]
    assert remap_kernel(weight, 1, 'center')[0, 0].tolist() == [[24]]


@given(odd, odd, st.sampled_from(KERNEL_METHODS))
def test_there_and_back(small, factor, kernel):
    """A kernel that was enlarged and is made small again is itself."""
    if kernel == 'dilate' and small == 1:
        small = 3
    weight = torch.randn(2, 1, small, small, generator=torch.Generator().manual_seed(small))
    large = 1 + (small - 1) * factor if kernel == 'dilate' else small + factor - 1
    assert torch.equal(remap_kernel(remap_kernel(weight, large, kernel), small, kernel), weight)


@pytest.mark.parametrize(('side', 'kernel_size'), [(5, 7), (7, 5), (7, 9), (5, 11), (1, 3), (3, 1), (7, 11)])
def test_no_whole_places(side, kernel_size):
    small, large = sorted((side, kernel_size))
    with pytest.raises(ValueError, match=rf"kernel='dilate' does not go between {small}x{small} and {large}x{large}: "
                                         rf'the places 1 \+ i \* \({large} - 1\) / \({small} - 1\) are not whole'):
        remap_kernel(torch.zeros(1, 1, side, side), kernel_size, 'dilate')


@pytest.mark.parametrize(('large', 'small', 'step'), [
    (9, 5, 2), (13, 5, 3), (13, 7, 2), (13, 3, 6), (5, 5, 1), (1, 1, 1)])
def test_seeds_of_other_sides(large, small, step):
    weight = torch.randn(2, 3, large, large, generator=torch.Generator().manual_seed(0))
    found = remap_kernel(weight, small, 'dilate')
    assert torch.equal(found, weight[:, :, ::step, ::step])
    spread = remap_kernel(found, large, 'dilate')
    assert torch.equal(spread[:, :, ::step, ::step], found)
    assert torch.count_nonzero(spread) == torch.count_nonzero(found)


@pytest.mark.parametrize('kernel', KERNEL_METHODS)
@pytest.mark.parametrize(('shape', 'kernel_size', 'message'), [
    ((1, 1, 3, 3), 4, 'a 3x3 kernel cannot become a 4x4 one: both must be square and odd'),
    ((1, 1, 2, 2), 5, 'a 2x2 kernel cannot become a 5x5 one: both must be square and odd'),
    ((1, 1, 1, 3), 5, 'a 1x3 kernel'),
])
def test_illegal_kernels(shape, kernel_size, message, kernel):
    with pytest.raises(ValueError, match=message):
        remap_kernel(torch.zeros(shape), kernel_size, kernel)


# Methods


@pytest.mark.parametrize('kernel', ['center', 'dilate'])
@pytest.mark.parametrize('width', ['first', 'bn', 'std', 'l1'])
def test_legal_methods(width, kernel):
    check_methods(width, kernel)
    assert width in WIDTH_METHODS
    assert kernel in KERNEL_METHODS


@pytest.mark.parametrize(('width', 'kernel', 'message'), [
    ('last', 'center', r"width='last' is no remapping method: choose one of \['first', 'bn', 'std', 'l1'\]"),
    (None, 'center', 'width=None is no remapping method'),
    ('first', 'centre', r"kernel='centre' is no remapping method: choose one of \['center', 'dilate'\]"),
    ('center', 'first', "width='center' is no remapping method"),
])
def test_illegal_methods(width, kernel, message):
    with pytest.raises(ValueError, match=message):
        check_methods(width, kernel)
