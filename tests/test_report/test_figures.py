import itertools

import cv2
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from fna_mm import Architecture, SearchSpace
from fna_mm.families.mobilenet_v2 import PUBLISHED
from fna_mm.report.architecture_figures import architecture_figure
from fna_mm.report.canvas import to_image, to_png, to_svg
from fna_mm.report.search_figures import (
    candidates_figure,
    cost_figure,
    entropy_figure,
    loss_figure,
    probability_figure,
)
from fna_mm.report.time_figures import time_figure

RED = (0xb0 / 255, 0, 0x20 / 255, 1)


def boxes(figure):
    """The rectangles of the first axes, those of layers that are left out excepted."""
    return [patch for patch in figure.axes[0].patches
            if isinstance(patch, Rectangle) and patch.get_linestyle() in ('-', 'solid')]


def ghosts(figure):
    return len([patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]) - len(boxes(figure))


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize('narrow', [False, True])
@pytest.mark.parametrize('name', sorted(PUBLISHED))
def test_one_box_a_layer(name, narrow):
    architecture = Architecture.create(name)
    figure = architecture_figure(architecture, title=name, narrow=narrow)
    layers = [layer for stage in architecture.stages for layer in stage.layers]
    assert [text.replace(' ' if narrow else '\n', '_') for text in texts(figure)
            if text.startswith('k')] == list(map(str, layers))
    assert [text for text in texts(figure) if '→' in text] == [stage.label for stage in architecture.stages]
    # Kernels are heights, expansion ratios widths.
    assert [box.get_height() for box in boxes(figure)] == pytest.approx([.12 * x.kernel_size for x in layers])
    widths = {layer.expand_ratio: box.get_width() for layer, box in zip(layers, boxes(figure))}
    assert widths[1] < widths[6]
    assert not any(box.get_edgecolor() == pytest.approx(RED) for box in boxes(figure))
    assert figure.axes[0].get_title() == name


@pytest.mark.parametrize('narrow', [False, True])
def test_what_differs_from_the_seed_is_marked(narrow):
    seed, found = Architecture.create('mobilenet_v2'), Architecture.create('fna_retinanet')
    figure = architecture_figure(found, seed, narrow=narrow)
    expected, left_out = [], 0
    for stage, known in zip(found.stages, seed.stages):  # of each stage the seed's row, then the other's
        expected += len(known.layers) * [False]
        expected += [layer != (known.layers[index] if index < len(known.layers) else None)
                     for index, layer in enumerate(stage.layers)]
        left_out += max(0, len(known.layers) - len(stage.layers))
    assert [box.get_edgecolor() == pytest.approx(RED) for box in boxes(figure)] == expected
    # Without colour the frames still tell.
    assert [box.get_linewidth() > 1 for box in boxes(figure)] == expected
    assert sum(expected) == 11
    assert ghosts(figure) == left_out == 2
    assert {'seed', 'found'} <= set(texts(figure)) or narrow


@pytest.mark.parametrize('narrow', [False, True])
def test_nothing_differs_from_itself(narrow):
    seed = Architecture.create('mobilenet_v2')
    figure = architecture_figure(seed, seed, narrow=narrow)
    assert len(boxes(figure)) == 34
    assert ghosts(figure) == 0
    assert not any(box.get_edgecolor() == pytest.approx(RED) for box in boxes(figure))


@pytest.mark.parametrize('narrow', [False, True])
def test_no_block_lies_on_another(narrow):
    figure = architecture_figure(Architecture.create('fna_deeplabv3'), Architecture.create('mobilenet_v2'),
                                 narrow=narrow)
    extents = [patch.get_bbox() for patch in figure.axes[0].patches]
    assert len(extents) == 17 + 20 + 1
    assert not [1 for one, other in itertools.combinations(extents, 2) if one.overlaps(other)]


PROBABILITIES = {'layer2.0': dict(k3_e3=.1, k5_e3=.2, k3_e6=.3, k5_e6=.4),
                 'layer2.1': dict(k3_e3=.1, k5_e3=.1, k3_e6=.1, k5_e6=.1, skip=.6),
                 'layer3.0': dict(k3_e3=.7, k5_e3=.1, k3_e6=.1, k5_e6=.1)}


@pytest.mark.parametrize('narrow', [False, True])
def test_probabilities(narrow):
    figure = probability_figure(PROBABILITIES, 'title', narrow)
    axes = figure.axes[0]
    labels = [[label.get_text() for label in labels] for labels in (axes.get_xticklabels(), axes.get_yticklabels())]
    layers, candidates = reversed(labels) if narrow else labels
    assert layers == ['layer2.0', 'layer2.1', 'layer3.0']
    assert candidates == ['k3_e3', 'k5_e3', 'k3_e6', 'k5_e6', 'skip']
    grid = np.ma.filled(axes.images[0].get_array(), np.nan)
    grid = grid.T if narrow else grid
    assert grid.shape == (5, 3)
    assert grid[:4, 0].tolist() == [.1, .2, .3, .4]
    assert np.isnan(grid[4, 0])  # no identity in a stage's first layer
    assert grid[4, 1] == .6
    framed = [(-.5, 2.5), (.5, 3.5), (1.5, -.5)]
    assert [box.get_xy() for box in boxes(figure)] == [place[::-1] if narrow else place for place in framed]
    values = [value for of_layer in PROBABILITIES.values() for value in of_layer.values()]
    assert sorted(texts(figure)) == sorted(f'{value:.2f}' for value in values)


def lines(axes):
    return [tuple(line.get_ydata()) for line in axes.get_lines()]


@pytest.mark.parametrize('narrow', [False, True])
@pytest.mark.parametrize('layers', [1, 3])
def test_candidates_over_time(layers, narrow):
    names = list(PROBABILITIES)[:layers]
    first = {layer: dict.fromkeys(PROBABILITIES[layer], .2) for layer in names}
    last = {layer: PROBABILITIES[layer] for layer in names}
    figure = candidates_figure([10, 30], [first, last], 'title', narrow)
    assert [axes.get_title() for axes in figure.axes] == \
        [f'{layer}: {best}' for layer, best in zip(names, ('k5_e6', 'skip', 'k3_e3'))]
    for axes, layer in zip(figure.axes, names):
        assert lines(axes) == [(.2, value) for value in PROBABILITIES[layer].values()]
        assert tuple(axes.get_lines()[0].get_xdata()) == (10, 30)
        looks = [(line.get_color(), line.get_linestyle()) for line in axes.get_lines()]
        assert len(set(looks)) == len(looks)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(
        dict.fromkeys(name for layer in names for name in PROBABILITIES[layer]))


def luminance(color):
    return float(np.dot(to_rgb(color), (.299, .587, .114)))


def test_kernels_are_told_apart_in_grey():
    space = SearchSpace()
    figure = candidates_figure([0, 1], 2 * [{layer.name: {str(spec or 'skip'): .1 for spec in layer.candidates}
                                             for layer in space.layers}])
    assert len(figure.axes) == 21
    greys = sorted({round(luminance(line.get_color()), 2) for line in figure.axes[1].get_lines()})
    assert len(greys) == 4
    assert min(np.diff(greys)) > .08


def test_madds_losses_and_entropy():
    curve = ([0, 10], [.5, .4])
    figure = cost_figure(curve, ([0, 10], [.45, .3]), seed=.6)
    assert lines(figure.axes[0]) == [(.5, .4), (.45, .3), (.6, .6)]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ['expected', 'best path', 'seed']
    assert len(lines(cost_figure(curve, curve).axes[0])) == 2
    assert cost_figure(curve, curve, unit='ms').axes[0].get_ylabel() == 'ms'
    figure = loss_figure({'weight steps': curve, 'architecture steps': ([10], [.2])})
    assert lines(figure.axes[0]) == [(.5, .4), (.2, )]
    figure = entropy_figure({'layer2.0': curve, 'layer2.1': ([0, 10], [1.5, .2])})
    assert lines(figure.axes[0]) == [(.5, .4), (1.5, .2), pytest.approx((1., .3))]


def test_times():
    figure = time_figure(dict(search=dict(data=60., evaluation=30., other=0.), child=dict(data=120.)))
    bars = [(bar.get_x(), bar.get_width()) for bar in figure.axes[0].patches]
    assert bars == [(0, 1), (1, .5), (0, 2), (2, 0)]
    assert texts(figure) == ['search: 1.5', 'child: 2.0']
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ['data', 'evaluation']


def test_a_part_that_took_no_time_leaves_the_others_their_looks():
    def looks(**account):
        return [(bar.get_facecolor(), bar.get_hatch()) for bar in time_figure(dict(search=account)).axes[0].patches]

    (one, two, three) = looks(data=1., evaluation=1., other=1.)
    assert looks(data=1., evaluation=0., other=1.) == [one, three]
    assert len({one, two, three}) == 3


def test_files_and_images():
    figure = architecture_figure(Architecture.create('fna_ssdlite'))
    png = to_png(figure)
    assert png.startswith(b'\x89PNG')
    decoded = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    image = to_image(figure)
    assert image.dtype == np.uint8
    assert np.array_equal(image, decoded)
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 8  # stage colours and text


def test_an_svg_says_the_same_every_day():
    assert b'<dc:date>' not in to_svg(architecture_figure(Architecture.create('fna_ssdlite')))
