import cv2
import numpy as np
import pytest
from matplotlib.patches import Rectangle

from fna_mm import Architecture, SearchSpace
from fna_mm.architecture import PUBLISHED
from fna_mm.visualization import architecture_figure, probability_figure, to_image, to_png

RED = (0xb0 / 255, 0, 0x20 / 255, 1)


def boxes(figure):
    (axes, *_) = figure.axes
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize('name', sorted(PUBLISHED))
def test_one_box_a_layer(name):
    architecture = Architecture.create(name)
    figure = architecture_figure(architecture, title=name)
    layers = [layer for stage in architecture.stages for layer in stage.layers]
    assert [text.replace('\n', '_') for text in texts(figure) if text.startswith('k')] == list(map(str, layers))
    assert [text for text in texts(figure) if '→' in text] == [stage.label for stage in architecture.stages]
    # Kernels are heights, expansion ratios widths.
    assert [box.get_height() for box in boxes(figure)] == pytest.approx([.12 * x.kernel_size for x in layers])
    widths = {layer.expand_ratio: box.get_width() for layer, box in zip(layers, boxes(figure))}
    assert widths[1] < widths[6]
    assert not any(box.get_edgecolor() == pytest.approx(RED) for box in boxes(figure))
    assert figure.axes[0].get_title() == name


def test_what_differs_from_the_seed_is_red():
    seed, found = Architecture.create('mobilenet_v2'), Architecture.create('fna_retinanet')
    figure = architecture_figure(found, seed)
    red = [box.get_edgecolor() == pytest.approx(RED) for box in boxes(figure)]
    expected = [layer != (known.layers[index] if index < len(known.layers) else None)
                for stage, known in zip(found.stages, seed.stages) for index, layer in enumerate(stage.layers)]
    assert red == 17 * [False] + expected
    assert sum(expected) == 11
    assert {'seed', 'found'} <= set(texts(figure))


def test_nothing_differs_from_itself():
    seed = Architecture.create('mobilenet_v2')
    assert len(boxes(architecture_figure(seed, seed))) == 34
    assert not any(box.get_edgecolor() == pytest.approx(RED) for box in boxes(architecture_figure(seed, seed)))


def test_probabilities():
    space = SearchSpace((2, 1, 1, 1, 1, 1), (3, 5), (3, 6))
    probabilities = [[.1, .2, .3, .4], [.1, .1, .1, .1, .6]] + 5 * [[.7, .1, .1, .1]]
    figure = probability_figure(space, probabilities, 'title')
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == [layer.name for layer in space.layers]
    assert [label.get_text() for label in axes.get_yticklabels()] == ['k3_e3', 'k5_e3', 'k3_e6', 'k5_e6', 'skip']
    grid = np.ma.filled(axes.images[0].get_array(), np.nan)
    assert grid.shape == (5, 7)
    assert grid[:4, 0].tolist() == [.1, .2, .3, .4]
    assert np.isnan(grid[4, 0])  # no identity in a stage's first layer
    assert grid[4, 1] == .6
    assert [box.get_xy() for box in boxes(figure)] == [(-.5, 2.5), (.5, 3.5)] + [(x - .5, -.5) for x in range(2, 7)]
    assert sorted(texts(figure)) == sorted(f'{value:.2f}' for values in probabilities for value in values)


def test_files_and_images():
    figure = architecture_figure(Architecture.create('fna_ssdlite'))
    png = to_png(figure)
    assert png.startswith(b'\x89PNG')
    decoded = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    image = to_image(figure)
    assert image.dtype == np.uint8
    assert np.array_equal(image, decoded)
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 8  # stage colours and text
