import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fna_mm.remapping.tensor_remapping import check_methods, depth_index, remap_kernel, select_channels

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


def test_result_is_a_copy_of_the_same_kind():
    weight = torch.ones(1, 1, 3, 3, dtype=torch.float16)
    for kernel_size in (3, 5):
        remapped = remap_kernel(weight, kernel_size)
        assert remapped.dtype == torch.float16
        remapped.fill_(5)
        assert (weight == 1).all()


@pytest.mark.parametrize(('shape', 'kernel_size', 'message'), [
    ((1, 1, 5, 5), 3, 'a 5x5 kernel cannot be put into the centre of a 3x3 one'),
    ((1, 1, 3, 3), 4, 'a 3x3 kernel .* 4x4 one: both must be odd'),
    ((1, 1, 2, 2), 5, 'a 2x2 kernel .* 5x5 one: both must be odd'),
    ((1, 1, 1, 3), 5, 'a 1x3 kernel'),
])
def test_illegal_kernels(shape, kernel_size, message):
    with pytest.raises(ValueError, match=message):
        remap_kernel(torch.zeros(shape), kernel_size)


# Methods


def test_legal_methods():
    check_methods('first', 'center')


@pytest.mark.parametrize(('width', 'kernel', 'message'), [
    ('last', 'center', r"width='last' is no remapping method: choose one of \['first'"),
    (None, 'center', 'width=None is no remapping method'),
    ('first', 'centre', r"kernel='centre' is no remapping method: choose one of \['center'"),
    ('center', 'first', "width='center' is no remapping method"),
])
def test_illegal_methods(width, kernel, message):
    with pytest.raises(ValueError, match=message):
        check_methods(width, kernel)
